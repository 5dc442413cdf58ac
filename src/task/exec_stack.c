// SPDX-License-Identifier: Apache-2.0
// See exec_stack.h. Layout from the top, as Linux (binfmt_elf.c, create_elf_tables):
//   8 zero bytes | execfn | envp strings | argv strings | gap | "x86_64" | random | auxv | envp[] |
//   argv[] | argc  <- sp
#include "task/exec_stack.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "mem/mm.h"
#include "mem/uaccess.h"
#include <elf.h>
#include <limits.h>
#include <stdckdint.h>
#include <string.h>
#include <sys/auxv.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
constexpr size_t MAX_ARG_STRLEN = 128 << 10;
static const char platform_name[] = "x86_64";

static int check_strings(const char *s, size_t len, int count)
{
    for (int i = 0; i < count; i++) {
        size_t n = strnlen(s, len);
        if (n == len || n >= MAX_ARG_STRLEN)
            return -E2BIG;
        s += n + 1;
        len -= n + 1;
    }
    return 0;
}

int exec_strings_check(const struct exec_strings *s, uint64_t stack_limit)
{
    constexpr uint64_t MOST = (8ull << 20) / 4 * 3, LEAST = 128 << 10;
    uint64_t limit = MAX(MIN(stack_limit / 4, MOST), LEAST), need;
    uint64_t pointers = ((uint64_t)MAX(s->argc, 1) + (uint64_t)s->envc) * 8;
    if (ckd_add(&need, s->argv_len, s->envp_len) || ckd_add(&need, need, pointers) ||
        ckd_add(&need, need, strlen(s->execfn) + 1) || need > limit)
        return -E2BIG;
    int err = check_strings(s->argv, s->argv_len, s->argc);
    return err ? err : check_strings(s->envp, s->envp_len, s->envc);
}

static void aux(struct stack_plan *p, uint64_t key, uint64_t value)
{
    if (p->nauxv + 2 > ARRAY_LEN(p->auxv))
        return;
    p->auxv[p->nauxv++] = key;
    p->auxv[p->nauxv++] = value;
}

static void fill_auxv(struct stack_plan *p)
{
    p->nauxv = 0;
    if (p->vdso)
        aux(p, AT_SYSINFO_EHDR, p->vdso);
    unsigned long minsig = getauxval(AT_MINSIGSTKSZ), hwcap2 = getauxval(AT_HWCAP2);
    if (minsig)
        aux(p, AT_MINSIGSTKSZ, minsig);
    aux(p, AT_HWCAP, getauxval(AT_HWCAP));
    aux(p, AT_PAGESZ, PAGE_SIZE);
    aux(p, AT_CLKTCK, 100);
    aux(p, AT_PHDR, p->phdr);
    aux(p, AT_PHENT, sizeof(Elf64_Phdr));
    aux(p, AT_PHNUM, p->phnum);
    aux(p, AT_BASE, p->base);
    aux(p, AT_FLAGS, 0);
    aux(p, AT_ENTRY, p->entry);
    aux(p, AT_UID, p->uid);
    aux(p, AT_EUID, p->euid);
    aux(p, AT_GID, p->gid);
    aux(p, AT_EGID, p->egid);
    aux(p, AT_SECURE, p->secure);
    aux(p, AT_RANDOM, p->random_at);
    aux(p, AT_HWCAP2, hwcap2);
    aux(p, AT_EXECFN, p->execfn);
    aux(p, AT_PLATFORM, p->platform);
    aux(p, AT_NULL, 0);
}

void stack_plan_at(struct stack_plan *p, uint64_t top)
{
    const struct exec_strings *s = &p->str;
    p->top = top;
    p->execfn = top - 8 - (strlen(s->execfn) + 1);
    p->env = p->execfn - s->envp_len;
    p->arg = p->env - s->argv_len;
    p->strings = p->arg;
    uint64_t at = (p->arg - p->sub_page) & ~15ull;
    p->platform = at - sizeof(platform_name);
    p->random_at = p->platform - sizeof(p->random);
    fill_auxv(p);
    uint64_t words = 1 + ((uint64_t)s->argc + 1) + ((uint64_t)s->envc + 1) + p->nauxv;
    p->sp = (p->random_at - words * 8) & ~15ull;
}

// The addresses of count strings that begin at `at`; returns the slot behind the null.
static uint64_t *put_pointers(uint64_t *slot, const char *s, int count, uint64_t at)
{
    for (int i = 0; i < count; i++) {
        size_t n = strlen(s) + 1; // exec_strings_check counted them
        *slot++ = at;
        s += n;
        at += n;
    }
    *slot++ = 0;
    return slot;
}

int stack_plan_write(const struct stack_plan *p, struct mm *mm)
{
    const struct exec_strings *s = &p->str;
    size_t size = p->top - p->sp;
    char *b = mem_alloc(size);
    if (!b)
        return -ENOMEM;
    uint64_t *slot = (uint64_t *)(void *)b;
    *slot++ = (uint64_t)s->argc;
    slot = put_pointers(slot, s->argv, s->argc, p->arg);
    slot = put_pointers(slot, s->envp, s->envc, p->env);
    memcpy(slot, p->auxv, p->nauxv * 8);
    memcpy(b + (p->random_at - p->sp), p->random, sizeof(p->random));
    memcpy(b + (p->platform - p->sp), platform_name, sizeof(platform_name));
    memcpy(b + (p->arg - p->sp), s->argv, s->argv_len);
    if (s->envp_len)
        memcpy(b + (p->env - p->sp), s->envp, s->envp_len);
    memcpy(b + (p->execfn - p->sp), s->execfn, strlen(s->execfn) + 1);
    int err = copy_out(mm, UADDR(p->sp), b, size);
    mem_free(b);
    mm->arg_start = p->arg;
    mm->arg_end = mm->env_start = p->env;
    mm->env_end = p->execfn;
    mm->auxv_len = MIN(p->nauxv * 8, sizeof(mm->auxv));
    memcpy(mm->auxv, p->auxv, mm->auxv_len);
    return err;
}
