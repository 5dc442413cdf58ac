// SPDX-License-Identifier: Apache-2.0
// Reads the seccomp filter of a live process back (PTRACE_SECCOMP_GET_FILTER) and compares what it
// does with a golden table: every number, with arguments at the edges of what the table allows and
// with high halves set. Its own interpreter and its own reading of the table, nothing shared with
// the product.
//
//     filtercheck PID GOLDEN [ip]     exit 0: equal
//
// A golden line is "NUMBER NAME [ARG OP VALUES...]..."; conditions of a line hold together, lines of
// one number are alternatives. With "ip" the lines hold for calls from inside a range of addresses,
// which is taken from the filter itself and printed as "range START END".
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>

#ifndef PTRACE_SECCOMP_GET_FILTER
#define PTRACE_SECCOMP_GET_FILTER 0x420c
#endif
struct cond {
    int arg;
    char op[12];
    uint64_t v[32];
    int n;
};
struct row {
    uint32_t nr;
    struct cond c[8];
    int n;
};
static struct row rows[512];
static int nrows;
static struct sock_filter prog[4096];
static long prog_len;
static uint64_t ip_start, ip_end;

static void read_golden(const char *path)
{
    char line[4096];
    FILE *f = fopen(path, "r");
    if (!f) {
        perror(path);
        exit(2);
    }
    while (fgets(line, sizeof(line), f)) {
        struct row *r = &rows[nrows];
        *r = (struct row){.nr = (uint32_t)strtoul(line, 0, 10)};
        if (line[0] < '0' || line[0] > '9')
            continue;
        for (char *p = strchr(line, '['); p; p = strchr(p, '[')) {
            struct cond *c = &r->c[r->n++];
            int used = 0;
            sscanf(++p, "%d %11s%n", &c->arg, c->op, &used);
            for (p += used; *p == ' ';)
                c->v[c->n++] = strtoull(p, &p, 0);
        }
        nrows++;
    }
    fclose(f);
}

static void read_filter(pid_t pid)
{
    int st;
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0) ||
        waitpid(pid, &st, __WALL) != pid) {
        perror("ptrace");
        exit(2);
    }
    prog_len = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, prog);
    int e = errno;
    long second = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 1, 0);
    ptrace(PTRACE_DETACH, pid, 0, 0);
    if (prog_len <= 0) {
        fprintf(stderr, "no filter: %s\n", strerror(e));
        exit(2);
    }
    if (second > 0)
        fprintf(stderr, "# a second filter is installed\n");
}

static uint32_t eval(const struct seccomp_data *d)
{
    uint32_t a = 0;
    for (long pc = 0; pc < prog_len; pc++) {
        const struct sock_filter *f = &prog[pc];
        int t;
        switch (f->code) {
        case BPF_LD | BPF_W | BPF_ABS: memcpy(&a, (const char *)d + f->k, 4); continue;
        case BPF_ALU | BPF_AND | BPF_K: a &= f->k; continue;
        case BPF_RET | BPF_K: return f->k;
        case BPF_JMP | BPF_JA: pc += f->k; continue;
        case BPF_JMP | BPF_JEQ | BPF_K: t = a == f->k; break;
        case BPF_JMP | BPF_JGT | BPF_K: t = a > f->k; break;
        case BPF_JMP | BPF_JGE | BPF_K: t = a >= f->k; break;
        case BPF_JMP | BPF_JSET | BPF_K: t = (a & f->k) != 0; break;
        default: fprintf(stderr, "unknown instruction %x\n", f->code); exit(2);
        }
        pc += t ? f->jt : f->jf;
    }
    return 0;
}

// The range that the program compares the instruction pointer with: hi == H, lo >= A, not lo > B.
static void find_range(void)
{
    const uint32_t hi = offsetof(struct seccomp_data, instruction_pointer) + 4;
    for (long i = 0; i + 5 < prog_len; i++)
        if (prog[i].code == (BPF_LD | BPF_W | BPF_ABS) && prog[i].k == hi &&
            prog[i + 1].code == (BPF_JMP | BPF_JEQ | BPF_K) && prog[i + 2].k == hi - 4 &&
            prog[i + 3].code == (BPF_JMP | BPF_JGE | BPF_K) &&
            prog[i + 4].code == (BPF_JMP | BPF_JGT | BPF_K)) {
            ip_start = ((uint64_t)prog[i + 1].k << 32 | prog[i + 3].k) - 1;
            ip_end = (uint64_t)prog[i + 1].k << 32 | prog[i + 4].k;
            printf("range %llx %llx\n", (long long)ip_start, (long long)ip_end);
            return;
        }
    fprintf(stderr, "the filter compares no instruction pointer\n");
    exit(2);
}

static int holds(const struct cond *c, uint64_t v)
{
    if (!strcmp(c->op, "==")) return v == c->v[0];
    if (!strcmp(c->op, "!=")) return v != c->v[0];
    if (!strcmp(c->op, "within")) return !(v & ~c->v[0]);
    if (!strcmp(c->op, "masked")) return (v & c->v[0]) == c->v[1];
    if (!strcmp(c->op, "range")) return v >= c->v[0] && v <= c->v[1];
    for (int i = 0; i < c->n; i++)
        if (c->v[i] == v)
            return 1;
    return 0;
}
static int allowed(const struct seccomp_data *d)
{
    if (d->arch != AUDIT_ARCH_X86_64)
        return 0;
    if (ip_end && !(d->instruction_pointer > ip_start && d->instruction_pointer <= ip_end))
        return 0;
    for (int i = 0; i < nrows; i++) {
        int all = rows[i].nr == (uint32_t)d->nr;
        for (int k = 0; all && k < rows[i].n; k++)
            all = holds(&rows[i].c[k], d->args[rows[i].c[k].arg]);
        if (all)
            return 1;
    }
    return 0;
}

static uint64_t state = 0x9e3779b97f4a7c15;
static uint64_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
// A value for an argument near the edges of a condition on it, or anything.
static uint64_t pick(const struct row *r, int arg)
{
    static const uint64_t any[] = {0, 1, 2, 3, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
                                   ~0ull, 1ull << 63, 0x100000003};
    uint64_t v = any[rnd() % (sizeof(any) / sizeof(any[0]))];
    for (int k = 0; k < r->n; k++)
        if (r->c[k].arg == arg) {
            const struct cond *c = &r->c[k];
            v = c->v[rnd() % (c->n ? c->n : 1)];
            if (!strcmp(c->op, "within"))
                v = c->v[0] & rnd();
            if (!strcmp(c->op, "masked"))
                v = c->v[1] | (rnd() & ~c->v[0]);
        }
    switch (rnd() % 8) {
    case 0: return v | 1ull << (32 + rnd() % 32);
    case 1: return v ^ 1ull << (rnd() % 64);
    case 2: return v + 1;
    case 3: return v - 1;
    default: return v;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4)
        return 2;
    read_golden(argv[2]);
    read_filter((pid_t)atoi(argv[1]));
    if (argc == 4)
        find_range();
    long tried = 0, let = 0, wrong = 0;
    static const struct row none;
    for (int nr = -2; nr < 600; nr++) {
        const struct row *of[64];
        int n = 0;
        for (int i = 0; i < nrows && n < 63; i++)
            if (rows[i].nr == (uint32_t)nr)
                of[n++] = &rows[i];
        if (!n)
            of[n++] = &none;
        for (int q = 0; q < (of[0] == &none ? 60 : 6000); q++) {
            struct seccomp_data d = {.nr = nr, .arch = AUDIT_ARCH_X86_64};
            const struct row *r = of[rnd() % n];
            for (int a = 0; a < 6; a++)
                d.args[a] = pick(r, a);
            d.instruction_pointer = ip_end ? ip_start + 1 + rnd() % (ip_end - ip_start) : rnd();
            if (ip_end && q % 5 == 0) {
                const uint64_t out[] = {ip_start, ip_end + 1, ip_start - 1, rnd(),
                                        ip_start + 1 + (1ull << 32), 0x401000};
                d.instruction_pointer = out[rnd() % 6];
            }
            if (q % 17 == 0)
                d.arch = rnd() % 2 ? AUDIT_ARCH_I386 : AUDIT_ARCH_ARM;
            if (q % 23 == 0)
                d.nr |= 0x40000000;
            int want = allowed(&d), got = eval(&d) == SECCOMP_RET_ALLOW;
            tried++;
            let += got;
            if (want != got && wrong++ < 5)
                printf("# call %d(%llx, %llx, %llx, %llx, %llx, %llx) arch %x ip %llx: table says %s\n",
                       d.nr, (long long)d.args[0], (long long)d.args[1], (long long)d.args[2],
                       (long long)d.args[3], (long long)d.args[4], (long long)d.args[5], d.arch,
                       (long long)d.instruction_pointer, want ? "allowed" : "refused");
        }
    }
    printf("# %ld instructions, %ld combinations, %ld allowed, %ld differ\n", prog_len, tried, let,
           wrong);
    return wrong != 0 || let == 0;
}
