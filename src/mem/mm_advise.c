// SPDX-License-Identifier: Apache-2.0
// madvise, msync and mincore. Advice that changes contents (DONTNEED, FREE) or the host's choices
// goes to the host in one call for the whole range; what is only remembered stays in the tree.
#include "mem/mm_int.h"
#include "abi/errno.h"
#include <stdckdint.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

enum advice_to : uint8_t {
    TO_HOST = 1,      // the host carries it out
    TO_TREE = 2,      // flags change
    TO_HOST_FILE = 4, // the host is told for objects only: read-ahead
    KNOWN = 8,        // accepted, nothing to do
};
struct advice {
    uint8_t to;
    uint32_t set, clear;  // VMA flags
    uint32_t not_with;    // EINVAL on these
    bool contents;        // what the pages hold changes, here or in a child
    bool anon_only;       // EINVAL on files and shared memory
    bool stop_at_hole;    // ENOMEM at once (populate), not at the end
    uint8_t needs;        // PROT_* without which it is EINVAL
};
// What the host never hears: MERGEABLE, UNMERGEABLE, REMOVE, PAGEOUT, COLLAPSE, HWPOISON.
static const struct advice advices[] = {
    [MADV_NORMAL] = {.to = TO_TREE | TO_HOST_FILE, .clear = VMA_SEQ | VMA_RAND},
    [MADV_RANDOM] = {.to = TO_TREE | TO_HOST_FILE, .set = VMA_RAND, .clear = VMA_SEQ},
    [MADV_SEQUENTIAL] = {.to = TO_TREE | TO_HOST_FILE, .set = VMA_SEQ, .clear = VMA_RAND},
    [MADV_WILLNEED] = {.to = TO_HOST_FILE | KNOWN},
    [MADV_DONTNEED] = {.contents = true, .to = TO_HOST, .not_with = VMA_LOCKED | VMA_SPECIAL},
    [MADV_FREE] = {.contents = true, .to = TO_HOST, .not_with = VMA_LOCKED | VMA_SPECIAL, .anon_only = true},
    [MADV_REMOVE] = {.to = KNOWN, .not_with = VMA_LOCKED},
    [MADV_DONTFORK] = {.contents = true, .to = TO_HOST | TO_TREE, .set = VMA_DONTFORK},
    [MADV_DOFORK] = {.to = TO_HOST | TO_TREE, .clear = VMA_DONTFORK},
    [MADV_HUGEPAGE] = {.to = TO_HOST | TO_TREE, .set = VMA_HUGE, .clear = VMA_NOHUGE},
    [MADV_NOHUGEPAGE] = {.to = TO_HOST | TO_TREE, .set = VMA_NOHUGE, .clear = VMA_HUGE},
    [MADV_DONTDUMP] = {.to = TO_TREE, .set = VMA_DONTDUMP},
    [MADV_DODUMP] = {.to = TO_TREE, .clear = VMA_DONTDUMP, .not_with = VMA_SPECIAL},
    [MADV_WIPEONFORK] = {.contents = true, .to = TO_HOST | TO_TREE, .set = VMA_WIPEONFORK, .anon_only = true},
    [MADV_KEEPONFORK] = {.to = TO_HOST | TO_TREE, .clear = VMA_WIPEONFORK},
    [MADV_COLD] = {.to = TO_HOST, .not_with = VMA_LOCKED | VMA_SPECIAL},
    [MADV_PAGEOUT] = {.to = KNOWN, .not_with = VMA_LOCKED | VMA_SPECIAL},
    [MADV_POPULATE_READ] = {.to = TO_HOST, .stop_at_hole = true, .needs = PROT_READ},
    [MADV_POPULATE_WRITE] = {.to = TO_HOST, .stop_at_hole = true, .needs = PROT_WRITE},
    [MADV_DONTNEED_LOCKED] = {.contents = true, .to = TO_HOST, .not_with = VMA_SPECIAL},
};

static int check_vma(const struct vma *v, const struct advice *a)
{
    if ((v->prot & a->needs) != a->needs || (v->flags & a->not_with) || (a->anon_only && !vma_is_anon(v)))
        return -EINVAL;
    return 0;
}

// How far from start the advice may be carried out; *hole: something in between is not mapped.
static uint64_t advise_limit(struct mm *mm, uint64_t start, uint64_t end, const struct advice *a,
                             int *err, bool *hole, bool *files)
{
    uint64_t pos = start;
    for (struct vma *v = vma_find_visible(mm->vmas, start); v && v->start < end;
         v = vma_next_visible(v)) {
        if (v->start > pos) {
            *hole = true;
            if (a->stop_at_hole)
                return pos;
        }
        *err = check_vma(v, a);
        if (*err)
            return MAX(v->start, start);
        *files |= v->obj != nullptr;
        pos = MIN(v->end, end);
    }
    *hole |= pos < end;
    return pos;
}

static void set_flags(struct vma *v, void *arg)
{
    const struct advice *a = arg;
    if (!vma_hidden(v))
        v->flags = (v->flags & ~a->clear) | a->set;
}

// MADV_REMOVE: object by object, and not under the lock, since objects may be far away.
static int remove_range(struct mm *mm, uint64_t start, uint64_t end)
{
    bool hole = false;
    for (uint64_t pos = start; pos < end;) {
        mutex_lock(&mm->lock);
        struct vma *v = vma_find_visible(mm->vmas, pos);
        if (!v || v->start >= end) {
            mutex_unlock(&mm->lock);
            hole = true;
            break;
        }
        hole |= v->start > pos;
        uint64_t from = MAX(v->start, pos), to = MIN(v->end, end), off = v->off + (from - v->start);
        int err = 0;
        if ((v->flags & VMA_LOCKED) || !v->obj)
            err = -EINVAL;
        else if (!(v->flags & VMA_SHARED) || !(v->prot & PROT_WRITE))
            err = -EACCES;
        else if (!v->obj->ops->punch)
            err = -EOPNOTSUPP;
        struct memobj *o = err ? nullptr : memobj_get(v->obj);
        mutex_unlock(&mm->lock);
        if (o)
            err = o->ops->punch(o, off, to - from);
        memobj_put(o);
        if (err)
            return err;
        pos = to;
    }
    return hole ? -ENOMEM : 0;
}

static int advise_locked(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end,
                         const struct advice *a, int advice)
{
    int err = 0;
    bool hole = false, files = false;
    uint64_t limit = advise_limit(mm, start, end, a, &err, &hole, &files);
    struct vma_pool pool = {};
    if (limit > start && a->contents)
        mm_patch_clear(mm, ctx, start, limit);
    if (limit > start && (a->to & TO_TREE)) {
        int e = mm_reserve_splits(mm, start, limit, &pool);
        if (e)
            return e;
    }
    if (limit > start && ((a->to & TO_HOST) || ((a->to & TO_HOST_FILE) && files))) {
        int host = advice == MADV_DONTNEED_LOCKED ? MADV_DONTNEED : advice;
        bool later = !err && !hole && (a->to & TO_HOST) && !(a->to & TO_TREE) &&
                     mm_advise_later(mm, ctx, start, limit, host);
        int e = later ? 0 : mm_ops(mm)->advise(ctx, start, limit - start, host);
        // Read-ahead hints never fail for a guest; a hole is reported below.
        if (e && !(e == -ENOMEM && hole) && (a->to & TO_HOST)) {
            vma_pool_drain(&pool);
            return e;
        }
    }
    if (limit > start && (a->to & TO_TREE))
        mm_edit_range(mm, start, limit, &pool, set_flags, (void *)(uintptr_t)a);
    vma_pool_drain(&pool);
    return err ? err : hole ? -ENOMEM : 0;
}

int mm_madvise(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t len, int advice)
{
    uint64_t end;
    if (advice < 0 || (size_t)advice >= ARRAY_LEN(advices) || !advices[advice].to)
        return -EINVAL;
    if ((addr & (PAGE_SIZE - 1)) || (len && !PAGE_ALIGN_UP(len)) ||
        ckd_add(&end, addr, PAGE_ALIGN_UP(len)))
        return -EINVAL;
    if (end == addr)
        return 0;
    if (advice == MADV_REMOVE)
        return remove_range(mm, addr, end);
    if (addr >= mm->task_size)
        return -ENOMEM;
    bool beyond = end > mm->task_size;
    mutex_lock(&mm->lock);
    mm_settle(mm, ctx, addr, end);
    int err = advise_locked(mm, ctx, addr, beyond ? mm->task_size : end, &advices[advice], advice);
    mutex_unlock(&mm->lock);
    return !err && beyond ? -ENOMEM : err;
}

int mm_msync(struct mm *mm, uint64_t addr, uint64_t len, int flags)
{
    uint64_t end;
    if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) || (addr & (PAGE_SIZE - 1)) ||
        ((flags & MS_ASYNC) && (flags & MS_SYNC)))
        return -EINVAL;
    if ((len && !PAGE_ALIGN_UP(len)) || ckd_add(&end, addr, PAGE_ALIGN_UP(len)))
        return -ENOMEM;
    bool hole = false;
    for (uint64_t pos = addr; pos < end;) {
        mutex_lock(&mm->lock);
        struct vma *v = vma_find_visible(mm->vmas, pos);
        int err = 0;
        struct memobj *o = nullptr;
        if (!v || v->start >= end) {
            hole = true;
            pos = end;
        } else {
            hole |= v->start > pos;
            pos = v->end;
            if ((flags & MS_INVALIDATE) && (v->flags & VMA_LOCKED))
                err = -EBUSY;
            else if ((flags & MS_SYNC) && (v->flags & VMA_SHARED) && v->obj->ops->sync)
                o = memobj_get(v->obj);
        }
        mutex_unlock(&mm->lock);
        if (o)
            err = o->ops->sync(o);
        memobj_put(o);
        if (err)
            return err;
    }
    return hole ? -ENOMEM : 0;
}

// Which pages are in memory is the host's knowledge and no stub may ask for it: every mapped page
// counts as resident. Callers that use mincore to find out what is mapped get the exact answer.
int mm_mincore(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t len, uint8_t *vec)
{
    uint64_t end;
    if (addr & (PAGE_SIZE - 1))
        return -EINVAL;
    if (ckd_add(&end, addr, len) || end > mm->task_size || (len && !PAGE_ALIGN_UP(len)))
        return -ENOMEM;
    end = PAGE_ALIGN_UP(end);
    mutex_lock(&mm->lock);
    uint64_t pos = addr;
    for (struct vma *v = vma_find_visible(mm->vmas, addr); v && v->start <= pos && pos < end;
         v = vma_next_visible(v))
        for (; pos < MIN(v->end, end); pos += PAGE_SIZE)
            vec[(pos - addr) >> PAGE_SHIFT] = 1;
    mutex_unlock(&mm->lock);
    return pos < end ? -ENOMEM : 0;
}
