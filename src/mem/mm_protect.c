// SPDX-License-Identifier: Apache-2.0
// Changes to existing ranges: mprotect, the mlock family (recorded, limited and faulted in, but not
// pinned: a stub may not lock memory of the host), VMA names. What Linux does to the mapped part in front of a hole, these do too.
#include "mem/mm_int.h"
#include "abi/errno.h"
#include "base/slab.h"
#include <stdckdint.h>

#ifndef PROT_GROWSDOWN
#define PROT_GROWSDOWN 0x01000000
#define PROT_GROWSUP 0x02000000
#endif
#ifndef PROT_SEM
#define PROT_SEM 8
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
constexpr int PROT_RWX = PROT_READ | PROT_WRITE | PROT_EXEC;

// --- mprotect ------------------------------------------------------------------------------------

static void set_prot(struct vma *v, void *arg)
{
    v->prot = *(const uint8_t *)arg;
    if ((v->prot & PROT_WRITE) && !(v->flags & (VMA_SHARED | VMA_NORESERVE | VMA_SPECIAL)))
        v->flags |= VMA_ACCOUNT;
}

// How far from start the change is allowed; *err says why no further.
static uint64_t protect_limit(struct mm *mm, uint64_t start, uint64_t end, int prot, int *err)
{
    uint64_t pos = start, more_data = 0;
    struct vma *v = vma_find_visible(mm->vmas, start);
    for (; pos < end; v = vma_next_visible(v)) {
        if (!v || v->start > pos) {
            *err = -ENOMEM;
            break;
        }
        if (((prot & PROT_WRITE) && !(v->flags & VMA_MAYWRITE)) ||
            ((prot & PROT_EXEC) && !(v->flags & VMA_MAYEXEC))) {
            *err = -EACCES;
            break;
        }
        uint64_t pages = (MIN(v->end, end) - pos) >> PAGE_SHIFT;
        if (mm_is_data(v->flags, prot) && !mm_is_data(v->flags, v->prot)) {
            more_data += pages;
            if (mm->data_vm + more_data > mm->lim.data >> PAGE_SHIFT ||
                (!(v->flags & (VMA_ACCOUNT | VMA_NORESERVE)) && !mm_overcommit_ok(pages))) {
                *err = -ENOMEM;
                break;
            }
        }
        pos = MIN(v->end, end);
    }
    return pos;
}

static bool all_have(struct mm *mm, uint64_t start, uint64_t end, int prot)
{
    for (struct vma *v = vma_find_visible(mm->vmas, start); v && v->start < end;
         v = vma_next_visible(v))
        if (v->prot != prot)
            return false;
    return true;
}

// Locked private memory that becomes writable is copied at once (Linux does, to spare the fault):
// the first few such areas of a range, to be populated without the lock.
struct fill {
    struct {
        uint64_t from, to;
    } r[8];
    size_t n;
};
static void note_fill(struct mm *mm, uint64_t start, uint64_t end, int prot, struct fill *f)
{
    f->n = 0;
    if (!(prot & PROT_WRITE) || !mm->locked_vm)
        return;
    for (struct vma *v = vma_find_visible(mm->vmas, start);
         v && v->start < end && f->n < ARRAY_LEN(f->r); v = vma_next_visible(v))
        if ((v->flags & (VMA_LOCKED | VMA_SHARED)) == VMA_LOCKED && !(v->prot & PROT_WRITE)) {
            f->r[f->n].from = MAX(v->start, start);
            f->r[f->n++].to = MIN(v->end, end);
        }
}

// When the host refuses the whole, it may have done a part: go piece by piece. Returns the end of
// what was done.
static uint64_t protect_pieces(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end,
                               int prot, int *err)
{
    uint64_t pos = start;
    for (struct vma *v = vma_find(mm->vmas, start); v && pos < end; v = v->next) {
        uint64_t to = MIN(v->end, end);
        *err = mm_ops(mm)->protect(ctx, pos, to - pos, host_prot(prot));
        if (*err)
            break;
        pos = to;
    }
    return pos;
}

static int protect_locked(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end,
                          int prot)
{
    int err = 0, host_err = 0;
    uint8_t bits = (uint8_t)prot;
    uint64_t limit = protect_limit(mm, start, end, prot, &err);
    if (limit == start || all_have(mm, start, limit, prot))
        return err;
    mm_patch_clear(mm, ctx, start, limit);
    struct vma_pool pool = {};
    int e = mm_reserve_splits(mm, start, limit, &pool);
    if (e)
        return e;
    // A stack's reservation shares the fate of its lowest visible page.
    struct vma *v = vma_find_visible(mm->vmas, start), *r = nullptr;
    if (v->start == start && mm->reserve_end == start && v->prev && vma_hidden(v->prev))
        r = v->prev;
    uint64_t host_start = r ? r->start : start;
    bool later = !err && !r && mm_protect_later(mm, ctx, start, limit, prot);
    if (!later && mm_ops(mm)->protect(ctx, host_start, limit - host_start, host_prot(prot))) {
        limit = protect_pieces(mm, ctx, host_start, limit, prot, &host_err);
        err = host_err ? host_err : err;
    }
    if (r && limit > r->start)
        r->prot = bits;
    if (limit > start)
        mm_edit_range(mm, start, limit, &pool, set_prot, &bits);
    vma_pool_drain(&pool);
    return err;
}

int mm_mprotect(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t len, int prot)
{
    uint64_t end;
    int grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
    prot &= ~(PROT_GROWSDOWN | PROT_GROWSUP);
    if (grows == (PROT_GROWSDOWN | PROT_GROWSUP) || (addr & (PAGE_SIZE - 1)))
        return -EINVAL;
    if (!len)
        return 0;
    if (ckd_add(&end, addr, PAGE_ALIGN_UP(len)) || end <= addr)
        return -ENOMEM;
    if (prot & ~(PROT_RWX | PROT_SEM))
        return -EINVAL;
    prot &= PROT_RWX;
    mutex_lock(&mm->lock);
    mm_settle(mm, ctx, grows ? 0 : addr, end);
    struct vma *v = addr < mm->task_size ? vma_find_visible(mm->vmas, addr) : nullptr;
    int err = 0;
    if (!v || v->start >= mm->task_size || (grows ? v->start >= end : v->start > addr))
        err = -ENOMEM;
    else if ((grows & PROT_GROWSUP) || (grows && !(v->flags & VMA_GROWSDOWN)))
        err = -EINVAL;
    struct fill fill = {};
    if (!err) {
        note_fill(mm, addr, end, prot, &fill);
        err = protect_locked(mm, ctx, grows ? v->start : addr, end, prot);
    }
    mutex_unlock(&mm->lock);
    for (size_t i = 0; !err && i < fill.n; i++)
        (void)mm_populate(mm, ctx, fill.r[i].from, fill.r[i].to - fill.r[i].from, true);
    return err;
}

// --- mlock ---------------------------------------------------------------------------------------

static void set_lock(struct vma *v, void *arg)
{
    if (v->flags & (VMA_SPECIAL | VMA_RESERVE))
        return;
    v->flags = (v->flags & ~(uint32_t)(VMA_LOCKED | VMA_LOCKONFAULT)) | *(uint32_t *)arg;
}

static uint64_t locked_in(const struct mm *mm, uint64_t start, uint64_t end)
{
    uint64_t n = 0;
    for (const struct vma *v = vma_find(mm->vmas, start); v && v->start < end; v = v->next)
        if (v->flags & VMA_LOCKED)
            n += (MIN(v->end, end) - MAX(v->start, start)) >> PAGE_SHIFT;
    return n;
}

// The end of the run without holes that begins at start.
static uint64_t mapped_until(const struct mm *mm, uint64_t start, uint64_t end)
{
    uint64_t pos = start;
    for (struct vma *v = vma_find_visible(mm->vmas, start); v && v->start <= pos && pos < end;
         v = vma_next_visible(v))
        pos = MIN(v->end, end);
    return pos;
}

static int lock_range(struct mm *mm, uint64_t start, uint64_t end, uint32_t flags)
{
    uint64_t limit = mapped_until(mm, start, end);
    if (limit > start) {
        struct vma_pool pool = {};
        int err = mm_reserve_splits(mm, start, limit, &pool);
        if (err)
            return err;
        mm_edit_range(mm, start, limit, &pool, set_lock, &flags);
        vma_pool_drain(&pool);
    }
    return limit < end ? -ENOMEM : 0;
}

static int mlock_common(struct mm *mm, uint64_t addr, uint64_t len, uint32_t flags,
                        const struct mm_limits *lim)
{
    uint64_t start = PAGE_ALIGN_DOWN(addr), end;
    if ((flags & VMA_LOCKED) && !lim->memlock)
        return -EPERM;
    len = PAGE_ALIGN_UP(len + (addr - start)); // may wrap to 0, as in Linux
    if (ckd_add(&end, start, len))
        return -EINVAL;
    if (start == end)
        return 0;
    if (end > mm->task_size)
        return -ENOMEM;
    mutex_lock(&mm->lock);
    mm_settle(mm, nullptr, start, end);
    int err = 0;
    if (flags & VMA_LOCKED) {
        uint64_t total = mm->locked_vm + (len >> PAGE_SHIFT), limit = lim->memlock >> PAGE_SHIFT;
        if (total > limit && total - locked_in(mm, start, end) > limit)
            err = -ENOMEM;
    }
    if (!err)
        err = lock_range(mm, start, end, flags);
    mutex_unlock(&mm->lock);
    return err;
}

int mm_mlock(struct mm *mm, uint64_t addr, uint64_t len, bool lock, const struct mm_limits *lim)
{
    return mlock_common(mm, addr, len, lock ? VMA_LOCKED : 0, lim);
}

int mm_mlock2(struct mm *mm, uint64_t addr, uint64_t len, bool onfault, const struct mm_limits *lim)
{
    return mlock_common(mm, addr, len, VMA_LOCKED | (onfault ? VMA_LOCKONFAULT : 0), lim);
}

int mm_mlockall(struct mm *mm, int flags, const struct mm_limits *lim)
{
    uint32_t bits = VMA_LOCKED | (flags & MCL_ONFAULT ? VMA_LOCKONFAULT : 0);
    struct vma_pool none = {};
    if (flags && !lim->memlock)
        return -EPERM;
    mutex_lock(&mm->lock);
    mm_settle_all(mm, nullptr);
    int err = 0;
    if ((flags & MCL_CURRENT) && mm->total_vm > lim->memlock >> PAGE_SHIFT) {
        err = -ENOMEM;
    } else {
        mm->def_flags = flags & MCL_FUTURE ? bits : 0;
        uint32_t set = flags ? bits : 0;
        if ((flags & MCL_CURRENT) || !flags)
            mm_edit_range(mm, 0, UINT64_MAX, &none, set_lock, &set);
    }
    mutex_unlock(&mm->lock);
    return err;
}

int mm_populate(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t len, bool all)
{
    uint64_t pos = PAGE_ALIGN_DOWN(addr), end = PAGE_ALIGN_UP(addr + len);
    end = MIN(end, mm->task_size);
    int err = 0;
    while (pos < end && !err) {
        mutex_lock(&mm->lock);
        mm_settle(mm, ctx, pos, end);
        struct vma *v = vma_find_visible(mm->vmas, pos);
        if (!v || v->start >= end) {
            mutex_unlock(&mm->lock);
            break;
        }
        uint64_t from = MAX(v->start, pos), to = MIN(v->end, end);
        bool special = v->flags & VMA_SPECIAL, none = !v->prot;
        bool write = (v->prot & PROT_WRITE) && !(v->flags & VMA_SHARED);
        mutex_unlock(&mm->lock);
        if (!special)
            err = none ? -EFAULT
                       : mm_ops(mm)->advise(ctx, from, to - from,
                                            write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
        if (err == -EINVAL || (all && err != -ESRCH)) // EINVAL: a host before 5.14
            err = 0;
        pos = to;
    }
    return err;
}

// --- names ---------------------------------------------------------------------------------------

static void set_name(struct vma *v, void *arg)
{
    if (!vma_hidden(v) && !v->special)
        vma_set_name(v, arg);
}

int mm_set_anon_name(struct mm *mm, uint64_t addr, uint64_t len, const char *name)
{
    uint64_t end;
    if ((addr & (PAGE_SIZE - 1)) || (len && !PAGE_ALIGN_UP(len)) ||
        ckd_add(&end, addr, PAGE_ALIGN_UP(len)))
        return -EINVAL;
    if (end == addr)
        return 0;
    struct vma_name *n = nullptr;
    if (name && !(n = vma_name_new(name)))
        return -ENOMEM;
    int err = 0;
    bool hole = false;
    uint64_t pos = addr;
    mutex_lock(&mm->lock);
    mm_settle(mm, nullptr, addr, end);
    struct vma *v = vma_find_visible(mm->vmas, addr);
    while (!err && pos < end && v && v->start < end) {
        hole |= v->start > pos;
        uint64_t from = MAX(v->start, pos), to = MIN(v->end, end);
        struct vma_pool pool = {};
        err = v->obj && !(v->flags & VMA_SHARED) ? -EBADF : mm_reserve_splits(mm, from, to, &pool);
        if (!err)
            mm_edit_range(mm, from, to, &pool, set_name, n);
        vma_pool_drain(&pool);
        pos = to;
        v = vma_find_visible(mm->vmas, to);
    }
    hole |= pos < end;
    mutex_unlock(&mm->lock);
    vma_name_put(n);
    return err ? err : hole ? -ENOMEM : 0;
}
