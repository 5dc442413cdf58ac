// SPDX-License-Identifier: Apache-2.0
// mremap(2). Growing and moving are the host's mremap, which moves pages and not bytes.
#include "mem/mm_int.h"
#include "abi/errno.h"
#include <stdckdint.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

struct remap {
    struct mm *mm;
    struct pcontext *ctx;
    uint64_t old, old_len, new_len, new_addr;
    int flags;
    const struct mm_limits *lim;
};

// The VMA to resize or move; the checks of Linux's vma_to_resize().
static int check_source(const struct remap *r, struct vma **out)
{
    struct mm *mm = r->mm;
    struct vma *v = vma_find_visible(mm->vmas, r->old);
    uint64_t pgend;
    if (!v || v->start > r->old)
        return -EFAULT;
    *out = v;
    if (!r->old_len && !(v->flags & VMA_SHARED))
        return -EINVAL;
    if ((r->flags & MREMAP_DONTUNMAP) && (v->flags & VMA_SPECIAL))
        return -EINVAL;
    if (r->old_len > v->end - r->old)
        return -EFAULT;
    if (r->new_len == r->old_len)
        return 0;
    if (v->obj && (ckd_add(&pgend, v->off + (r->old - v->start), r->new_len) || pgend > INT64_MAX))
        return -EINVAL;
    if (v->flags & VMA_SPECIAL)
        return -EFAULT;
    uint64_t more = (r->new_len - r->old_len) >> PAGE_SHIFT;
    if ((v->flags & VMA_LOCKED) && mm->locked_vm + more > r->lim->memlock >> PAGE_SHIFT)
        return -EAGAIN;
    if (!mm_may_expand(mm, more, mm_is_data(v->flags, v->prot), r->lim))
        return -ENOMEM;
    if ((v->flags & VMA_ACCOUNT) && !mm_overcommit_ok(more))
        return -ENOMEM;
    return 0;
}

// The tree divides anonymous memory more finely than the host where only the host knows that pages
// were never touched (it then forgets that they were counted, or where they came from). What may be
// one area there is made one here, and the host decides.
static void join_source(struct mm *mm, uint64_t old, uint64_t old_len)
{
    struct vma *v = vma_find_visible(mm->vmas, old), *n;
    while (v && v->start <= old && vma_is_anon(v) && v->end < old + old_len) {
        n = v->next;
        if (!n || n->start != v->end || !vma_is_anon(n) || ((n->flags ^ v->flags) & ~VMA_ACCOUNT))
            return;
        uint32_t flags = n->flags, vflags = v->flags;
        n->flags = v->flags |= flags & VMA_ACCOUNT;
        if (!vma_same_kind(v, n)) { // they differ in more than that
            n->flags = flags;
            v->flags = vflags;
            return;
        }
        n->off = v->off + (v->end - v->start);
        v = vma_merge(mm->vmas, vma_merge(mm->vmas, v)); // what follows may now continue it too
    }
}

static int grow_in_place(const struct remap *r, struct vma *v)
{
    struct mm *mm = r->mm;
    uint64_t from = r->old + r->old_len, to = r->old + r->new_len;
    // The host's mremap keeps its area one piece; where it has several, more of the same will do.
    int err = mm_ops(mm)->remap(r->ctx, r->old, r->old_len, r->old, r->new_len);
    if (err == -EFAULT)
        err = mm_host_map(mm, r->ctx, v, from, to);
    if (err)
        return err;
    mm_account(mm, v, false);
    vma_resize(mm->vmas, v, v->start, to);
    mm_account(mm, v, true);
    vma_merge(mm->vmas, v);
    return 0;
}

static bool can_grow(const struct remap *r, const struct vma *v)
{
    uint64_t to;
    if (r->old + r->old_len != v->end || ckd_add(&to, r->old, r->new_len) || to > r->mm->task_size)
        return false;
    return !v->next || to <= vma_gap_start(v->next);
}

// old_len 0: a second mapping of the same shared object.
static int host_duplicate(const struct remap *r, const struct vma *v, uint64_t to)
{
    return mm_ops(r->mm)->map(r->ctx, to, r->new_len, host_prot(v->prot), MAP_SHARED, v->hostfd,
                              v->off + (r->old - v->start));
}

// The host's part of a move to `to`. With DONTUNMAP the old place is mapped afresh; a thread that
// touches it in between faults, and mm_handle_fault has it try again.
static int host_move(const struct remap *r, const struct vma *v, uint64_t to)
{
    struct mm *mm = r->mm;
    if (!r->old_len)
        return host_duplicate(r, v, to);
    int err = mm_ops(mm)->remap(r->ctx, r->old, r->old_len, to, r->new_len);
    if (err || !(r->flags & MREMAP_DONTUNMAP))
        return err;
    err = mm_host_map(mm, r->ctx, v, r->old, r->old + r->old_len);
    if (err && mm_ops(mm)->remap(r->ctx, to, r->new_len, r->old, r->old_len))
        return -ESRCH; // neither here nor there: cannot happen to an honest stub
    return err;
}

static long move_to(const struct remap *r, struct vma *v, uint64_t to)
{
    struct mm *mm = r->mm;
    struct vma_pool pool = {};
    if (mm->vmas->count >= (size_t)MM_MAX_MAP_COUNT - 3)
        return -ENOMEM;
    int err = vma_pool_fill(&pool, 5); // new, two cuts at either place
    if (err)
        return err;
    struct vma *n = vma_pool_take(&pool);
    vma_copy_kind(n, v);
    n->off += r->old - v->start;
    n->start = to;
    n->end = to + r->new_len;
    err = host_move(r, v, to);
    if (err) {
        vma_free(n);
        if (r->flags & MREMAP_FIXED)
            mm_check_replaced(mm, r->ctx, to, to + r->new_len);
        vma_pool_drain(&pool);
        return err;
    }
    mm_clear_range(mm, to, to + r->new_len, &pool);
    if (r->old_len && !(r->flags & MREMAP_DONTUNMAP))
        mm_clear_range(mm, r->old, r->old + r->old_len, &pool);
    mm_insert(mm, n);
    mm_check_reserve(mm, r->ctx);
    vma_pool_drain(&pool);
    return (long)to;
}

static long remap_fixed(struct remap *r)
{
    struct mm *mm = r->mm;
    struct vma *v;
    bool fixed = r->flags & MREMAP_FIXED;
    if (fixed && r->new_addr < MM_MIN_ADDR)
        return -EPERM;
    if (mm->vmas->count + 2 >= (size_t)MM_MAX_MAP_COUNT - 3)
        return -ENOMEM;
    v = vma_find_visible(mm->vmas, r->old); // remap_locked() has seen it
    if (MIN(r->old_len, r->new_len) > v->end - r->old)
        return -EFAULT; // before the tail goes
    if (r->old_len > r->new_len) {
        int err = mm_unmap_locked(mm, r->ctx, r->old + r->new_len, r->old + r->old_len);
        if (err)
            return err;
        r->old_len = r->new_len;
    }
    int err = check_source(r, &v);
    if (err)
        return err;
    if ((r->flags & MREMAP_DONTUNMAP) &&
        !mm_may_expand(mm, r->old_len >> PAGE_SHIFT, mm_is_data(v->flags, v->prot), r->lim))
        return -ENOMEM;
    uint64_t to = r->new_addr;
    if (!fixed)
        err = mm_place(mm, r->new_addr, r->new_len, 0, vma_is_anon(v), &to);
    return err ? err : move_to(r, v, to);
}

static long remap_locked(struct remap *r)
{
    struct mm *mm = r->mm;
    join_source(mm, r->old, MIN(r->old_len, r->new_len));
    struct vma *v = vma_find_visible(mm->vmas, r->old);
    if (!v || v->start > r->old)
        return -EFAULT;
    mm_patch_clear(mm, r->ctx, r->old, r->old + r->old_len);
    if (r->flags & MREMAP_FIXED)
        mm_patch_clear(mm, r->ctx, r->new_addr, r->new_addr + r->new_len);
    if (r->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
        return remap_fixed(r);
    if (r->old_len >= r->new_len) {
        if (r->old_len == r->new_len)
            return (long)r->old;
        int err = mm_unmap_locked(mm, r->ctx, r->old + r->new_len, r->old + r->old_len);
        return err ? err : (long)r->old;
    }
    int err = check_source(r, &v);
    if (err)
        return err;
    if (r->old_len && can_grow(r, v))
        return (err = grow_in_place(r, v)) ? err : (long)r->old;
    if (!(r->flags & MREMAP_MAYMOVE))
        return -ENOMEM;
    uint64_t to;
    err = mm_place(mm, 0, r->new_len, 0, vma_is_anon(v), &to);
    return err ? err : move_to(r, v, to);
}

long mm_mremap(struct mm *mm, struct pcontext *ctx, uint64_t old, uint64_t old_len,
               uint64_t new_len, int flags, uint64_t new_addr, const struct mm_limits *lim)
{
    struct remap r = {.mm = mm, .ctx = ctx, .old = old, .flags = flags, .lim = lim};
    if ((flags & ~(MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP)) ||
        ((flags & MREMAP_FIXED) && !(flags & MREMAP_MAYMOVE)))
        return -EINVAL;
    if ((flags & MREMAP_DONTUNMAP) && (!(flags & MREMAP_MAYMOVE) || old_len != new_len))
        return -EINVAL;
    r.old_len = PAGE_ALIGN_UP(old_len);
    r.new_len = PAGE_ALIGN_UP(new_len);
    r.new_addr = new_addr;
    if ((old & (PAGE_SIZE - 1)) || !r.new_len)
        return -EINVAL;
    if ((flags & MREMAP_FIXED) &&
        ((new_addr & (PAGE_SIZE - 1)) || !range_ok(mm, new_addr, r.new_len) ||
         (old + r.old_len > new_addr && new_addr + r.new_len > old)))
        return -EINVAL;
    if (old >= mm->task_size)
        return -EFAULT;
    if (!range_ok(mm, old, r.old_len))
        return r.old_len > r.new_len ? -EINVAL : -EFAULT;
    mutex_lock(&mm->lock);
    mm_settle_all(mm, ctx);
    mm->lim = *lim;
    long ret = remap_locked(&r);
    struct vma *v = ret >= 0 ? vma_find(mm->vmas, (uint64_t)ret) : nullptr;
    bool fill = v && r.new_len > r.old_len &&
                (v->flags & (VMA_LOCKED | VMA_LOCKONFAULT)) == VMA_LOCKED;
    mm_unlock(mm);
    if (fill)
        (void)mm_populate(mm, ctx, (uint64_t)ret + r.old_len, r.new_len - r.old_len, true);
    return ret;
}

// Obsolete, and emulated as Linux does: another part of the same object is mapped over the place.
long mm_remap_file_pages(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t size,
                         uint64_t pgoff, int flags, const struct mm_limits *lim)
{
    uint64_t end;
    addr = PAGE_ALIGN_DOWN(addr);
    size = PAGE_ALIGN_DOWN(size);
    if (!size || ckd_add(&end, addr, size) || pgoff + (size >> PAGE_SHIFT) < pgoff ||
        pgoff > INT64_MAX >> PAGE_SHIFT)
        return -EINVAL;
    struct mmap_args a = {.addr = addr, .len = size, .off = pgoff << PAGE_SHIFT, .lim = *lim};
    a.flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE | (flags & MAP_NONBLOCK);
    mutex_lock(&mm->lock);
    struct vma *v = vma_find_visible(mm->vmas, addr);
    if (v && v->start <= addr && (v->flags & VMA_SHARED)) {
        a.obj = memobj_get(v->obj);
        a.file = v->file;
        if (a.file)
            vma_file_ops()->get(a.file);
        a.prot = v->prot;
        a.may_write = v->flags & VMA_MAYWRITE;
        a.may_exec = v->flags & VMA_MAYEXEC;
        for (uint64_t pos = v->end; pos < end; pos = v->end) {
            struct vma *n = vma_next_visible(v);
            if (!n || n->start != pos || n->obj != v->obj || n->flags != v->flags ||
                n->prot != v->prot)
                break;
            v = n;
        }
    }
    bool ok = a.obj && v->end >= end;
    mm_unlock(mm);
    long ret = ok ? mm_mmap(mm, ctx, &a) : -EINVAL;
    memobj_put(a.obj);
    if (a.file)
        vma_file_ops()->put(a.file);
    return ret < 0 ? ret : 0;
}
