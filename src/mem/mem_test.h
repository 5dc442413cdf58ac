// SPDX-License-Identifier: Apache-2.0
// For unit tests: a platform whose guest memory is an array. It remembers page by page what it was
// told to map, so that a test can compare the tree with "what the host really has", and it can be
// told to fail its n-th call.
#pragma once
#include "abi/errno.h"
#include "base/slab.h"
#include "mem/mm_int.h"
#include "mem/uaccess.h"
#include "mem/uio.h"
#include <stdlib.h>
#include <string.h>

constexpr uint64_t FAKE_PAGES = 1024, FAKE_SIZE = FAKE_PAGES * PAGE_SIZE;
struct fake_page {
    bool used, shared;
    uint8_t prot;
    int fd;
    uint64_t off;
};
struct fake_as {
    struct aspace as;
    struct fake_page page[FAKE_PAGES];
    uint8_t mem[FAKE_SIZE];
    int advised;           // last advice
};
struct fake_ctx {
    struct pcontext ctx;
};
static int fake_fail_in;   // > 0: the n-th memory call from now fails with ENOMEM
UNUSED static int fake_calls;
static const struct platform_ops fake_ops;

static inline struct fake_as *fake(struct pcontext *c)
{
    return container_of(c->as, struct fake_as, as);
}
static bool fake_fails(void)
{
    fake_calls++;
    return fake_fail_in > 0 && --fake_fail_in == 0;
}
static uint64_t fake_task_size(void)
{
    return FAKE_SIZE;
}
static void fake_vdso(uint64_t *v, uint64_t *s, uint64_t *e)
{
    *v = *s = *e = 0;
}
static int fake_as_new(struct pzygote *from, struct aspace **as, struct pcontext **ctx)
{
    (void)from;
    struct fake_as *a = calloc(1, sizeof(*a));
    struct fake_ctx *c = calloc(1, sizeof(*c));
    a->as.ops = c->ctx.ops = &fake_ops;
    c->ctx.as = *as = &a->as;
    *ctx = &c->ctx;
    return 0;
}
static int fake_as_fork(struct pcontext *caller, struct aspace **as, struct pcontext **ctx)
{
    fake_as_new(nullptr, as, ctx);
    struct fake_as *to = fake(*ctx), *from = fake(caller);
    memcpy(to->page, from->page, sizeof(to->page));
    memcpy(to->mem, from->mem, sizeof(to->mem));
    return 0;
}
static void fake_ctx_free(struct pcontext *c)
{
    free(container_of(c, struct fake_ctx, ctx));
}
static void fake_as_free(struct aspace *a)
{
    free(container_of(a, struct fake_as, as));
}
static int fake_map(struct pcontext *c, uint64_t addr, uint64_t len, int prot, int flags, int fd,
                    uint64_t off)
{
    CHECK(addr % PAGE_SIZE == 0 && len % PAGE_SIZE == 0 && len && addr + len <= FAKE_SIZE);
    if (fake_fails()) { // some hosts have emptied the place by then
        if (fake_calls % 2)
            memset(&fake(c)->page[addr / PAGE_SIZE], 0, len / PAGE_SIZE * sizeof(struct fake_page));
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < len; i += PAGE_SIZE)
        fake(c)->page[(addr + i) / PAGE_SIZE] = (struct fake_page){.used = true,
                                                                   .shared = flags & MAP_SHARED,
                                                                   .prot = (uint8_t)prot,
                                                                   .fd = fd,
                                                                   .off = fd < 0 ? 0 : off + i};
    memset(fake(c)->mem + addr, 0, len);
    return 0;
}
static int fake_unmap(struct pcontext *c, uint64_t addr, uint64_t len)
{
    CHECK(addr + len <= FAKE_SIZE && len);
    if (fake_fails())
        return -ENOMEM;
    memset(&fake(c)->page[addr / PAGE_SIZE], 0, len / PAGE_SIZE * sizeof(struct fake_page));
    return 0;
}
static int fake_protect(struct pcontext *c, uint64_t addr, uint64_t len, int prot)
{
    CHECK(addr + len <= FAKE_SIZE && len);
    if (fake_fails()) { // a part is done first, as a host may
        fake(c)->page[addr / PAGE_SIZE].prot = (uint8_t)prot;
        return -ENOMEM;
    }
    for (uint64_t i = addr; i < addr + len; i += PAGE_SIZE) {
        if (!fake(c)->page[i / PAGE_SIZE].used)
            return -ENOMEM;
        fake(c)->page[i / PAGE_SIZE].prot = (uint8_t)prot;
    }
    return 0;
}
static int fake_remap(struct pcontext *c, uint64_t old, uint64_t old_len, uint64_t to,
                      uint64_t new_len)
{
    struct fake_as *a = fake(c);
    CHECK(old_len && new_len >= old_len && to + new_len <= FAKE_SIZE);
    if (fake_fails()) {
        if (fake_calls % 2 && to != old)
            memset(&a->page[to / PAGE_SIZE], 0, new_len / PAGE_SIZE * sizeof(struct fake_page));
        return -ENOMEM;
    }
    if (to == old)
        for (uint64_t i = old_len; i < new_len; i += PAGE_SIZE)
            CHECK(!a->page[(old + i) / PAGE_SIZE].used);
    uint64_t n = old_len / PAGE_SIZE, m = new_len / PAGE_SIZE;
    struct fake_page *tmp = calloc(m, sizeof(*tmp));
    for (uint64_t i = 0; i < m; i++) {
        if (i < n) {
            tmp[i] = a->page[old / PAGE_SIZE + i];
        } else {
            tmp[i] = tmp[i - 1];
            tmp[i].off += tmp[i].fd < 0 ? 0 : PAGE_SIZE;
        }
        CHECK(tmp[i].used);
    }
    memset(&a->page[old / PAGE_SIZE], 0, n * sizeof(*tmp));
    memcpy(&a->page[to / PAGE_SIZE], tmp, m * sizeof(*tmp));
    uint64_t keep = to == old ? old_len : 0;
    memset(a->mem + to + keep, 0, new_len - keep);
    memcpy(a->mem + to, a->mem + old, old_len - keep);
    free(tmp);
    return 0;
}
static int fake_advise(struct pcontext *c, uint64_t addr, uint64_t len, int advice)
{
    if (fake_fails())
        return -ENOMEM;
    fake(c)->advised = advice;
    if (advice == MADV_DONTNEED)
        memset(fake(c)->mem + addr, 0, len);
    return 0;
}
static long fake_copy(struct aspace *as, uint64_t at, size_t n, bool write, void *buf)
{
    struct fake_as *a = container_of(as, struct fake_as, as);
    size_t done = 0;
    while (done < n) {
        uint64_t p = at + done;
        size_t k = MIN(n - done, PAGE_SIZE - p % PAGE_SIZE);
        if (p >= FAKE_SIZE || !a->page[p / PAGE_SIZE].used ||
            !(a->page[p / PAGE_SIZE].prot & (write ? PROT_WRITE : PROT_READ)))
            break;
        if (write)
            memcpy(a->mem + p, (char *)buf + done, k);
        else
            memcpy((char *)buf + done, a->mem + p, k);
        done += k;
    }
    return done ? (long)done : -EFAULT;
}
static long fake_read(struct aspace *as, void *dst, uaddr_t src, size_t n)
{
    return fake_copy(as, src.v, n, false, dst);
}
static long fake_write(struct aspace *as, uaddr_t dst, const void *src, size_t n)
{
    return fake_copy(as, dst.v, n, true, (void *)(uintptr_t)src);
}
static int fake_cmpxchg(struct pcontext *c, uaddr_t addr, uint32_t expect, uint32_t desired,
                        uint32_t *old)
{
    if (fake_read(c->as, old, addr, 4) != 4)
        return -EFAULT;
    return *old != expect || fake_write(c->as, addr, &desired, 4) == 4 ? 0 : -EFAULT;
}
static int fake_pid(struct aspace *as)
{
    return 1;
}
static const struct platform_ops fake_ops = {
    .name = "fake",
    .task_size = fake_task_size,
    .vdso = fake_vdso,
    .aspace_new = fake_as_new,
    .aspace_fork = fake_as_fork,
    .context_free = fake_ctx_free,
    .aspace_free = fake_as_free,
    .map = fake_map,
    .unmap = fake_unmap,
    .protect = fake_protect,
    .remap = fake_remap,
    .advise = fake_advise,
    .read_mem = fake_read,
    .write_mem = fake_write,
    .cmpxchg32 = fake_cmpxchg,
    .host_pid = fake_pid,
};

// An object that is nothing but a number.
struct fake_obj {
    struct memobj o;
    int fd;
};
static int fake_obj_fd(struct memobj *o, bool shared, bool write, int *fd)
{
    *fd = container_of(o, struct fake_obj, o)->fd;
    return 0;
}
static void fake_obj_describe(struct memobj *o, uint64_t *dev, uint64_t *ino, struct strbuf *path)
{
    *dev = 0x801;
    *ino = 77;
    strbuf_fmt(path, "/file%d", container_of(o, struct fake_obj, o)->fd);
}
static void fake_obj_release(struct memobj *o)
{
    CHECK(!"a static object has lost its first reference");
}
UNUSED static const struct memobj_ops fake_obj_ops = {
    .hostfd = fake_obj_fd, .describe = fake_obj_describe, .release = fake_obj_release};
UNUSED static const struct mm_limits no_limits = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};

// The tree against the host, page by page.
static inline void fake_compare(struct mm *mm)
{
    struct fake_as *a = container_of(mm->as, struct fake_as, as);
    vma_tree_check(mm->vmas);
    uint64_t total = 0, data = 0, locked = 0;
    for (uint64_t i = 0; i < FAKE_PAGES; i++) {
        const struct fake_page *p = &a->page[i];
        const struct vma *v = vma_find(mm->vmas, i * PAGE_SIZE);
        if (v && v->start > i * PAGE_SIZE)
            v = nullptr;
        CHECK(!!v == p->used);
        if (!v)
            continue;
        CHECK(host_prot(v->prot) == p->prot && !!(v->flags & VMA_SHARED) == p->shared);
        CHECK((v->obj ? container_of(v->obj, struct fake_obj, o)->fd : -1) == p->fd);
        CHECK(!v->obj || v->off + (i * PAGE_SIZE - v->start) == p->off);
        total += !vma_hidden(v);
        data += !vma_hidden(v) && mm_is_data(v->flags, v->prot);
        locked += !!(v->flags & VMA_LOCKED);
    }
    CHECK(total == mm->total_vm && data == mm->data_vm && locked == mm->locked_vm);
}
