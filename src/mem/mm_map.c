// SPDX-License-Identifier: Apache-2.0
// Placement, mmap, munmap, brk, the stack and its growth. Follows mmap(2), brk(2) and Linux's order
// of checks, since programs see which error comes first.
#include "mem/mm_int.h"
#include "abi/errno.h"
#include <stdckdint.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif
constexpr uint64_t HUGE_SIZE = 2u << 20;

// --- placement -----------------------------------------------------------------------------------

// A hole of the tree that is one on the host as well.
static bool topdown(struct mm *mm, uint64_t low, uint64_t high, uint64_t len, uint64_t *addr)
{
    const struct mm_undo *u;
    while (vma_gap_topdown(mm->vmas, low, high, len, addr)) {
        if (likely(!mm->nlater || !(u = mm_leaving(mm, *addr, *addr + len))))
            return true;
        high = u->start;
    }
    return false;
}
static bool bottomup(struct mm *mm, uint64_t low, uint64_t high, uint64_t len, uint64_t *addr)
{
    const struct mm_undo *u;
    while (vma_gap_bottomup(mm->vmas, low, high, len, addr)) {
        if (likely(!mm->nlater || !(u = mm_leaving(mm, *addr, *addr + len))))
            return true;
        low = u->end;
    }
    return false;
}

static bool search(struct mm *mm, uint64_t len, uint64_t *addr)
{
    uint64_t base = PAGE_ALIGN_DOWN(mm->task_size / 3);
    if (mm->legacy_layout)
        return bottomup(mm, base, mm->task_size, len, addr);
    return topdown(mm, MM_MIN_ADDR, mm->mmap_base, len, addr) ||
           bottomup(mm, base, mm->task_size, len, addr);
}

static int place_fixed(struct mm *mm, uint64_t addr, uint64_t len, int flags)
{
    if (addr > mm->task_size - len)
        return -ENOMEM;
    if (addr & (PAGE_SIZE - 1))
        return -EINVAL;
    if (addr < MM_MIN_ADDR)
        return -EPERM;
    if (!(flags & MAP_FIXED_NOREPLACE))
        return 0;
    const struct vma *v = vma_find_visible(mm->vmas, addr);
    return v && v->start < addr + len ? -EEXIST : 0;
}

int mm_place(struct mm *mm, uint64_t hint, uint64_t len, int flags, bool anon, uint64_t *addr)
{
    if (len > mm->task_size)
        return -ENOMEM;
    if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
        *addr = hint;
        return place_fixed(mm, hint, len, flags);
    }
    bool low = flags & MAP_32BIT;
    uint64_t top = low ? MIN(mm->task_size, 0x80000000ull) : mm->task_size;
    hint = PAGE_ALIGN_DOWN(hint);
    if (hint && hint < MM_MIN_ADDR)
        hint = MM_MIN_ADDR;
    if (hint && len <= top && hint <= top - len) {
        const struct vma *v = vma_find(mm->vmas, hint);
        if ((!v || hint + len <= vma_gap_start(v)) && !mm_leaving(mm, hint, hint + len)) {
            *addr = hint;
            return 0;
        }
    }
    if (low)
        return bottomup(mm, 0x40000000, top, len, addr) ? 0 : -ENOMEM;
    // Large anonymous areas are aligned so that the host can back them with huge pages.
    if (anon && len >= HUGE_SIZE && len % HUGE_SIZE == 0 &&
        search(mm, len + HUGE_SIZE - PAGE_SIZE, addr)) {
        *addr = (*addr + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1);
        return 0;
    }
    return search(mm, len, addr) ? 0 : -ENOMEM;
}

int mm_find_gap(struct mm *mm, uint64_t len, uint64_t align, uint64_t *addr)
{
    uint64_t total;
    if (ckd_add(&total, len, align > PAGE_SIZE ? align - PAGE_SIZE : 0) || total > mm->task_size)
        return -ENOMEM;
    mutex_lock(&mm->lock);
    bool ok = search(mm, total, addr);
    mm_unlock(mm);
    if (!ok)
        return -ENOMEM;
    if (align > PAGE_SIZE)
        *addr = (*addr + align - 1) & ~(align - 1);
    return 0;
}

// --- mmap ----------------------------------------------------------------------------------------

static uint64_t pages_in(const struct mm *mm, uint64_t start, uint64_t end)
{
    uint64_t n = 0;
    for (const struct vma *v = vma_find_visible(mm->vmas, start); v && v->start < end;
         v = vma_next_visible(v))
        n += (MIN(v->end, end) - MAX(v->start, start)) >> PAGE_SHIFT;
    return n;
}

static uint32_t new_flags(const struct mm *mm, const struct mmap_args *a)
{
    int type = a->flags & MAP_TYPE;
    uint32_t f = mm->def_flags;
    if (type != MAP_PRIVATE)
        f |= VMA_SHARED;
    if (a->flags & MAP_GROWSDOWN)
        f |= VMA_GROWSDOWN;
    if (a->flags & MAP_LOCKED)
        f |= VMA_LOCKED;
    if (a->flags & MAP_NORESERVE)
        f |= VMA_NORESERVE;
    else if (type == MAP_PRIVATE && (a->prot & PROT_WRITE))
        f |= VMA_ACCOUNT;
    // A private copy may always be written; a shared file only as its descriptor allows.
    if (type == MAP_PRIVATE || !a->obj || a->may_write)
        f |= VMA_MAYWRITE;
    if (!a->obj || a->may_exec)
        f |= VMA_MAYEXEC;
    return f;
}

static int check_limits(struct mm *mm, const struct mmap_args *a, uint64_t addr, uint64_t len,
                        uint32_t flags)
{
    uint64_t pages = len >> PAGE_SHIFT;
    if (mm->vmas->count > (size_t)MM_MAX_MAP_COUNT)
        return -ENOMEM;
    if ((a->flags & MAP_LOCKED) && !a->lim.memlock)
        return -EPERM;
    if ((flags & VMA_LOCKED) && mm->locked_vm + pages > a->lim.memlock >> PAGE_SHIFT)
        return -EAGAIN;
    uint64_t replaced = a->flags & MAP_FIXED ? pages_in(mm, addr, addr + len) : 0;
    bool data = mm_is_data(flags, a->prot);
    if (!mm_may_expand(mm, pages, data, &a->lim) &&
        (!replaced || !mm_may_expand(mm, pages - replaced, data, &a->lim)))
        return -ENOMEM;
    bool counted = (flags & VMA_ACCOUNT) || ((flags & VMA_SHARED) && !(flags & VMA_NORESERVE));
    if (counted && !a->obj && !mm_overcommit_ok(pages))
        return -ENOMEM;
    return 0;
}

int mm_host_map(struct mm *mm, struct pcontext *ctx, const struct vma *v, uint64_t start,
                uint64_t end)
{
    int flags = v->flags & VMA_SHARED ? MAP_SHARED : MAP_PRIVATE;
    if (!v->obj)
        flags |= MAP_ANONYMOUS;
    if (v->flags & VMA_NORESERVE)
        flags |= MAP_NORESERVE;
    return mm_ops(mm)->map(ctx, start, end - start, host_prot(v->prot), flags, v->obj ? v->hostfd : -1,
                           v->obj ? v->off + (start - v->start) : 0);
}

// A host call that replaces has failed, perhaps (it depends on the host's version) after it had
// removed what was there: then it is gone for us too. Protecting it as it is protected tells.
void mm_check_replaced(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end)
{
    const struct vma *v = vma_find(mm->vmas, start);
    for (; v && v->start < end; v = v->next) {
        uint64_t from = MAX(v->start, start), to = MIN(v->end, end);
        if (mm_ops(mm)->protect(ctx, from, to - from, host_prot(v->prot)))
            break;
    }
    if (!v || v->start >= end)
        return;
    struct vma_pool pool = {};
    if (vma_pool_fill(&pool, 2) == 0 && mm_ops(mm)->unmap(ctx, start, end - start) == 0)
        mm_clear_range(mm, start, end, &pool);
    vma_pool_drain(&pool);
}

static long map_locked(struct mm *mm, struct pcontext *ctx, const struct mmap_args *a,
                       uint64_t len, struct memobj *obj, int hostfd)
{
    uint64_t addr;
    mm->lim = a->lim;
    int err = mm_place(mm, a->addr, len, a->flags, !obj, &addr);
    if (err)
        return err;
    uint32_t flags = new_flags(mm, a);
    err = check_limits(mm, a, addr, len, flags);
    if (err)
        return err;
    if (a->flags & MAP_FIXED)
        mm_patch_clear(mm, ctx, addr, addr + len);
    struct vma_pool pool = {};
    err = vma_pool_fill(&pool, 3);
    if (err)
        return err;
    struct vma *v = vma_pool_take(&pool);
    v->start = addr;
    v->end = addr + len;
    v->prot = a->prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
    v->flags = flags;
    v->obj = obj ? memobj_get(obj) : nullptr;
    v->hostfd = hostfd;
    v->off = obj ? a->off : addr;
    if (obj && a->file) {
        v->file = a->file;
        vma_file_ops()->get(v->file);
    }
    if ((a->flags & MAP_FIXED) || !mm_map_later(mm, ctx, v))
        err = mm_host_map(mm, ctx, v, v->start, v->end);
    if (err) {
        vma_free(v); // the caller holds obj and file
        if (a->flags & MAP_FIXED)
            mm_check_replaced(mm, ctx, addr, addr + len);
    } else {
        mm_clear_range(mm, addr, addr + len, &pool);
        mm_insert(mm, v);
    }
    mm_check_reserve(mm, ctx);
    vma_pool_drain(&pool);
    return err ? err : (long)addr;
}

long mm_mmap(struct mm *mm, struct pcontext *ctx, const struct mmap_args *a)
{
    uint64_t end;
    if (!a->len)
        return -EINVAL;
    uint64_t len = PAGE_ALIGN_UP(a->len);
    if (!len)
        return -ENOMEM;
    if (a->off & (PAGE_SIZE - 1))
        return -EINVAL;
    if (len > mm->task_size)
        return -ENOMEM;
    if (a->obj && (ckd_add(&end, a->off, len) || end > INT64_MAX))
        return -EOVERFLOW;
    bool shared = (a->flags & MAP_TYPE) != MAP_PRIVATE;
    struct mmap_args args = *a;
    if (args.flags & MAP_FIXED_NOREPLACE)
        args.flags |= MAP_FIXED;
    struct memobj *obj = a->obj ? memobj_get(a->obj) : nullptr;
    int hostfd = -1, err = 0;
    if (!obj && shared) {
        if (!mm_overcommit_ok(len >> PAGE_SHIFT))
            return -ENOMEM;
        err = shmobj_new(len, "/dev/zero", &obj);
        args.file = nullptr;
        args.off = 0;
        args.may_write = args.may_exec = true;
    }
    if (!err && obj)
        err = obj->ops->hostfd(obj, shared, shared && args.may_write, &hostfd);
    if (err == -EPERM && shared && args.may_write && !(args.prot & PROT_WRITE)) {
        args.may_write = false; // sealed: may be looked at
        err = obj->ops->hostfd(obj, shared, false, &hostfd);
    }
    if (err) {
        memobj_put(obj);
        return err;
    }
    mutex_lock(&mm->lock);
    if ((args.flags & MAP_FIXED) && range_ok(mm, a->addr, len))
        mm_settle(mm, ctx, a->addr, a->addr + len);
    if ((mm->def_flags & (VMA_LOCKED | VMA_LOCKONFAULT)) == VMA_LOCKED)
        args.flags |= MAP_POPULATE;
    long ret = map_locked(mm, ctx, &args, len, obj, hostfd);
    mm_unlock(mm);
    memobj_put(obj);
    if (ret >= 0 && (args.flags & (MAP_POPULATE | MAP_LOCKED)) && !(args.flags & MAP_NONBLOCK))
        (void)mm_populate(mm, ctx, (uint64_t)ret, len, true); // the mapping stands in any case
    return ret;
}

int mm_check_place(struct mm *mm, uint64_t addr, uint64_t len, int flags)
{
    uint64_t at;
    len = PAGE_ALIGN_UP(len);
    if (!len)
        return -ENOMEM;
    mutex_lock(&mm->lock);
    int err = mm_place(mm, addr, len, flags, false, &at);
    mutex_unlock(&mm->lock);
    return err;
}

// --- munmap --------------------------------------------------------------------------------------

int mm_unmap_locked(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end)
{
    if (!vma_intersect(mm->vmas, start, end))
        return 0;
    mm_patch_clear(mm, ctx, start, end);
    struct vma_pool pool = {};
    int err = mm_reserve_splits(mm, start, end, &pool);
    if (!err)
        err = mm_ops(mm)->unmap(ctx, start, end - start);
    if (!err) {
        mm_clear_range(mm, start, end, &pool);
        mm_check_reserve(mm, ctx);
    }
    vma_pool_drain(&pool);
    return err;
}

static int unmap_one(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end)
{
    struct vma_pool pool = {};
    mm_patch_clear(mm, ctx, start, end);
    int err = mm_reserve_splits(mm, start, end, &pool);
    if (!err && mm_unmap_later(mm, ctx, start, end))
        mm_clear_range(mm, start, end, &pool);
    else if (!err)
        err = mm_unmap_locked(mm, ctx, start, end);
    vma_pool_drain(&pool);
    return err;
}

int mm_munmap(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t len)
{
    if ((addr & (PAGE_SIZE - 1)) || !range_ok(mm, addr, len))
        return -EINVAL;
    len = PAGE_ALIGN_UP(len);
    if (!len || !range_ok(mm, addr, len))
        return -EINVAL;
    mutex_lock(&mm->lock);
    mm_settle(mm, ctx, addr, addr + len);
    int err = unmap_one(mm, ctx, addr, addr + len);
    mm_unlock(mm);
    return err;
}

// --- brk -----------------------------------------------------------------------------------------

static int brk_grow(struct mm *mm, struct pcontext *ctx, uint64_t from, uint64_t to,
                    const struct mm_limits *lim)
{
    uint64_t pages = (to - from) >> PAGE_SHIFT;
    mm_patch_clear(mm, ctx, from, to + PAGE_SIZE);
    struct vma *next = vma_find(mm->vmas, from);
    if (next && to + PAGE_SIZE > vma_gap_start(next))
        return -ENOMEM;
    if (!mm_may_expand(mm, pages, true, lim) || mm->vmas->count > (size_t)MM_MAX_MAP_COUNT ||
        !mm_overcommit_ok(pages))
        return -ENOMEM;
    if ((mm->def_flags & VMA_LOCKED) && mm->locked_vm + pages > lim->memlock >> PAGE_SHIFT)
        return -EAGAIN;
    struct vma_pool pool = {};
    int err = vma_pool_fill(&pool, 1);
    if (err)
        return err;
    struct vma *v = vma_pool_take(&pool);
    v->start = v->off = from;
    v->end = to;
    v->prot = PROT_READ | PROT_WRITE;
    v->flags = mm->def_flags | VMA_ACCOUNT | VMA_MAYWRITE | VMA_MAYEXEC;
    struct mm_undo *u = mm_map_later(mm, ctx, v);
    if (u)
        u->brk = mm->brk;
    else
        err = mm_host_map(mm, ctx, v, from, to);
    if (err)
        vma_free(v);
    else
        mm_insert(mm, v);
    return err;
}

uint64_t mm_brk(struct mm *mm, struct pcontext *ctx, uint64_t brk, const struct mm_limits *lim)
{
    mutex_lock(&mm->lock);
    mm_settle_all(mm, ctx);
    mm->lim = *lim;
    uint64_t now = mm->brk, sum;
    if (brk < mm->brk_start || brk > mm->task_size - PAGE_SIZE)
        goto out;
    uint64_t data = mm->end_data - mm->start_data;
    if (lim->data != UINT64_MAX && (ckd_add(&sum, brk - mm->brk_start, data) || sum > lim->data))
        goto out;
    uint64_t from = PAGE_ALIGN_UP(now), to = PAGE_ALIGN_UP(brk);
    int err = 0;
    if (to < from)
        err = mm_unmap_locked(mm, ctx, to, from);
    else if (to > from)
        err = brk_grow(mm, ctx, from, to, lim);
    if (!err)
        mm->brk = now = brk;
    bool fill = !err && to > from && (mm->def_flags & (VMA_LOCKED | VMA_LOCKONFAULT)) == VMA_LOCKED;
    mm_unlock(mm);
    if (fill)
        (void)mm_populate(mm, ctx, from, to - from, true);
    return now;
out:
    mm_unlock(mm);
    return now;
}

// --- the stack -----------------------------------------------------------------------------------

int mm_map_stack(struct mm *mm, struct pcontext *ctx, uint64_t top, uint64_t size,
                 uint64_t reserve, int prot)
{
    struct vma_pool pool = {};
    reserve = MAX(reserve, size);
    int err = vma_pool_fill(&pool, 2);
    if (err)
        return err;
    struct vma *v = vma_pool_take(&pool);
    v->start = v->off = top - size;
    v->end = top;
    v->prot = prot;
    v->flags = VMA_GROWSDOWN | VMA_ACCOUNT | VMA_MAYWRITE | VMA_MAYEXEC;
    mutex_lock(&mm->lock);
    err = vma_intersect(mm->vmas, top - reserve, top) ? -ENOMEM : 0;
    if (!err)
        err = mm_ops(mm)->map(ctx, top - reserve, reserve, host_prot(prot),
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (err) {
        vma_free(v);
    } else {
        mm_insert(mm, v);
        if (reserve > size) {
            struct vma *r = vma_pool_take(&pool);
            r->start = r->off = top - reserve;
            r->end = top - size;
            r->prot = prot;
            r->flags = VMA_RESERVE | VMA_MAYWRITE | VMA_MAYEXEC;
            mm_insert(mm, r);
            mm->reserve_end = r->end;
        }
    }
    mm_unlock(mm);
    vma_pool_drain(&pool);
    return err;
}

// The stack VMA takes over its reservation from `start` up.
static void take_reserve(struct mm *mm, struct vma *v, uint64_t start)
{
    struct vma *r = v->prev;
    start = MAX(start, r->start);
    mm_account(mm, v, false);
    if (start == r->start) {
        vma_remove(mm->vmas, r);
        vma_free(r);
        mm->reserve_end = 0;
    } else {
        vma_resize(mm->vmas, r, r->start, start);
        mm->reserve_end = start;
    }
    vma_resize(mm->vmas, v, start, v->end);
    mm_account(mm, v, true);
}

static bool has_reserve(const struct mm *mm, const struct vma *v)
{
    return mm->reserve_end && v->start == mm->reserve_end && v->prev && vma_hidden(v->prev) &&
           v->prev->end == v->start;
}

void mm_note_stack(struct mm *mm, uint64_t sp)
{
    mutex_lock(&mm->lock);
    if (mm->reserve_end && sp < mm->reserve_end) {
        struct vma *r = vma_find(mm->vmas, sp);
        if (r && vma_hidden(r) && r->start <= sp && r->next && has_reserve(mm, r->next))
            take_reserve(mm, r->next, PAGE_ALIGN_DOWN(sp));
    }
    mm_unlock(mm);
}

// 0 when [addr, v->start) has become part of v.
static int grow_down(struct mm *mm, struct pcontext *ctx, struct vma *v, uint64_t addr,
                     const struct mm_limits *lim)
{
    uint64_t start = PAGE_ALIGN_DOWN(addr);
    if (start < MM_MIN_ADDR || v->end - start > lim->stack)
        return -ENOMEM;
    mm_patch_clear(mm, ctx, start > STACK_GUARD_GAP ? start - STACK_GUARD_GAP : 0, v->start);
    if (has_reserve(mm, v))
        take_reserve(mm, v, v->prev->start);
    const struct vma *p = v->prev;
    if (start >= v->start)
        return 0;
    if (p && (p->end > start ||
              (p->prot && !(p->flags & VMA_GROWSDOWN) && start - p->end < STACK_GUARD_GAP)))
        return -ENOMEM;
    if (!mm_may_expand(mm, (v->start - start) >> PAGE_SHIFT, false, lim))
        return -ENOMEM;
    int err = mm_ops(mm)->map(ctx, start, v->start - start, host_prot(v->prot),
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (err)
        return err;
    mm_account(mm, v, false);
    vma_resize(mm->vmas, v, start, v->end);
    mm_account(mm, v, true);
    return 0;
}

static bool allowed(const struct vma *v, uint64_t err)
{
    constexpr uint64_t PF_WRITE = 2, PF_INSTR = 16;
    if (err & PF_WRITE)
        return v->prot & PROT_WRITE;
    if (err & PF_INSTR)
        return v->prot & PROT_EXEC;
    return v->prot; // x86 reads whatever it may write or execute
}

// The host found a fault where the tree has none: another thread has just changed the mapping.
// Worth another try, but not for ever.
static bool retry(struct mm *mm, uint64_t addr)
{
    mm->retry_n = mm->retry_addr == addr ? mm->retry_n + 1 : 0;
    mm->retry_addr = addr;
    return mm->retry_n < 16;
}

bool mm_handle_fault(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t err,
                     uint64_t rsp, const struct mm_limits *lim, int *code)
{
    constexpr int MAPERR = 1, ACCERR = 2; // SEGV_*; 2 is BUS_ADRERR as well
    bool again = false;
    *code = MAPERR;
    mutex_lock(&mm->lock);
    mm_settle_all(mm, ctx); // another thread's call on its way may be all that there is to it
    struct vma *v = addr < mm->task_size ? vma_find_visible(mm->vmas, addr) : nullptr;
    if (v && v->start <= addr) {
        *code = ACCERR;
        again = allowed(v, err) && vma_is_anon(v) && retry(mm, addr);
    } else if (v && (v->flags & VMA_GROWSDOWN)) {
        int e = grow_down(mm, ctx, v, addr, lim);
        if (e == 0 && !allowed(v, err))
            *code = ACCERR;
        else
            again = e == 0;
    }
    mm_unlock(mm);
    return again;
}
