// SPDX-License-Identifier: Apache-2.0
// Memory calls without a handover of their own: the host call travels with the return of the system
// call (platform.h, defer). The tree is edited as if it had been made; should the host refuse it, the
// platform says so before the guest has gone on, and mm_refused() takes the edit back.
//
// Only what can be taken back exactly: private memory (what is new or goes away: anonymous), one area,
// nothing replaced.
//
// Where other threads run in the space, the tree may be ahead of the host by one call per context. What
// the call's own thread does next comes after it. What another one does is ordered by ranges: before
// the kernel edits or maps a range for it, mm_settle() waits until deferred calls in that range have been
// made (or refused, and taken back); a fork, mremap or brk waits for all; a new area is not placed where
// an unmapping is still on its way (mm_leaving). What only reads the tree need not wait, and neither do
// copies from and to guest memory: a call that has not returned may just as well not have happened.
#include "mem/mm_int.h"
#include "abi/errno.h"

static bool private(const struct vma *v)
{
    constexpr uint32_t odd = VMA_SHARED | VMA_GROWSDOWN | VMA_SPECIAL | VMA_RESERVE | VMA_LOCKED |
                             VMA_DONTFORK | VMA_WIPEONFORK | VMA_HUGE | VMA_NOHUGE;
    return !(v->flags & odd) && !v->name;
}
static bool plain(const struct vma *v)
{
    return vma_is_anon(v) && private(v);
}

// --- what is on its way --------------------------------------------------------------------------
static struct mm_undo *later_of(struct mm *mm, const struct pcontext *ctx)
{
    for (unsigned i = 0; i < mm->nlater; i++)
        if (mm->later[i].ctx == ctx)
            return &mm->later[i];
    return nullptr;
}

static void later_drop(struct mm *mm, struct mm_undo *u)
{
    WRITE_SHARED(mm->nlater, mm->nlater - 1);
    *u = mm->later[mm->nlater];
}

// Changes the tree, in [start, end), and has still to be made; those that have been made go.
static struct mm_undo *later_in(struct mm *mm, const struct pcontext *ctx, uint64_t start, uint64_t end)
{
    for (unsigned i = 0; i < mm->nlater;) {
        struct mm_undo *u = &mm->later[i];
        if (u->ctx == ctx || u->kind == MM_UNDO_NONE || u->start >= end || u->end <= start)
            i++;
        else if (mm_ops(mm)->deferred(u->ctx))
            return u;
        else
            later_drop(mm, u);
    }
    return nullptr;
}

void mm_settle(struct mm *mm, const struct pcontext *ctx, uint64_t start, uint64_t end)
{
    struct mm_undo *u;
    if (likely(!mm->nlater || !(u = later_in(mm, ctx, start, end))))
        return;
    mm->nsettle++;
    do
        mm_ops(mm)->await(u->ctx, &mm->lock);
    while ((u = later_in(mm, ctx, start, end)));
    mm->nsettle--;
}

const struct mm_undo *mm_leaving(struct mm *mm, uint64_t start, uint64_t end)
{
    for (unsigned i = 0; i < mm->nlater; i++) {
        const struct mm_undo *u = &mm->later[i];
        if (u->kind == MM_UNDO_UNMAP && u->start < end && u->end > start &&
            mm_ops(mm)->deferred(u->ctx))
            return u;
    }
    return nullptr;
}

void mm_leave(struct mm *mm, struct pcontext *ctx)
{
    if (!READ_SHARED(mm->nlater)) // (what concerns ctx, its own fiber has written)
        return;
    mutex_lock(&mm->lock);
    struct mm_undo *u = later_of(mm, ctx);
    if (u)
        later_drop(mm, u);
    mutex_unlock(&mm->lock);
    mm_ops(mm)->deferred_end(ctx);
}

// Where this context's call is noted: in place of the one before, which has been made.
static struct mm_undo *later_slot(struct mm *mm, const struct pcontext *ctx)
{
    struct mm_undo *u = later_of(mm, ctx);
    for (unsigned i = 0; !u && mm->nlater == ARRAY_LEN(mm->later) && i < mm->nlater; i++)
        if (!mm_ops(mm)->deferred(mm->later[i].ctx))
            u = &mm->later[i];
    return u ? u : mm->nlater < ARRAY_LEN(mm->later) ? &mm->later[mm->nlater] : nullptr;
}

static struct mm_undo *defer(struct mm *mm, struct pcontext *ctx, const struct pdefer *d,
                             enum mm_undo_kind kind)
{
    struct mm_undo *u = nullptr;
    if (mm_ops(mm)->defer && !mm->nsettle)
        u = later_slot(mm, ctx);
    if (!u || !mm_ops(mm)->defer(ctx, d))
        return nullptr;
    if (u == &mm->later[mm->nlater])
        WRITE_SHARED(mm->nlater, mm->nlater + 1);
    *u = (struct mm_undo){.ctx = ctx, .kind = kind, .start = d->addr, .end = d->addr + d->len};
    return u;
}

// --- calls ---------------------------------------------------------------------------------------

// As mm_host_map, of a new area in a free place. Null: not this way.
struct mm_undo *mm_map_later(struct mm *mm, struct pcontext *ctx, const struct vma *v)
{
    struct pdefer d = {.kind = PDEFER_MAP, .addr = v->start, .len = v->end - v->start,
                       .prot = host_prot(v->prot),
                       .flags = MAP_PRIVATE | MAP_ANONYMOUS |
                                (v->flags & VMA_NORESERVE ? MAP_NORESERVE : 0)};
    return plain(v) ? defer(mm, ctx, &d, MM_UNDO_MAP) : nullptr;
}

// [start, end) has been taken out of one area by the caller's plan; it edits the tree next.
bool mm_unmap_later(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end)
{
    const struct vma *v = vma_find(mm->vmas, start);
    struct pdefer d = {.kind = PDEFER_UNMAP, .addr = start, .len = end - start};
    if (!v || v->start > start || v->end < end || !plain(v))
        return false;
    struct mm_undo *u = defer(mm, ctx, &d, MM_UNDO_UNMAP);
    if (u) {
        u->prot = v->prot;
        u->flags = v->flags;
    }
    return u;
}

bool mm_protect_later(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end, int prot)
{
    const struct vma *v = vma_find(mm->vmas, start);
    struct pdefer d = {.kind = PDEFER_PROTECT, .addr = start, .len = end - start,
                       .prot = host_prot(prot)};
    if (!v || v->start > start || v->end < end || !private(v))
        return false;
    struct mm_undo *u = defer(mm, ctx, &d, MM_UNDO_PROTECT);
    if (u) {
        u->prot = v->prot;
        u->flags = v->flags;
    }
    return u;
}

// Nothing in the tree: what the host says is what the call returns.
bool mm_advise_later(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end, int advice)
{
    struct pdefer d = {.kind = PDEFER_ADVISE, .addr = start, .len = end - start, .prot = advice};
    return defer(mm, ctx, &d, MM_UNDO_NONE);
}

static void put_back(struct vma *v, void *arg)
{
    const struct mm_undo *u = arg;
    v->prot = u->prot;
    v->flags = u->flags;
}

static int undo_locked(struct mm *mm, struct mm_undo *u)
{
    struct vma_pool pool = {};
    int err = 0;
    switch (u->kind) {
    case MM_UNDO_NONE: break;
    case MM_UNDO_MAP:
        err = vma_pool_fill(&pool, 2);
        if (!err)
            mm_clear_range(mm, u->start, u->end, &pool);
        break;
    case MM_UNDO_PROTECT:
        err = vma_pool_fill(&pool, 2);
        if (!err)
            mm_edit_range(mm, u->start, u->end, &pool, put_back, u);
        break;
    case MM_UNDO_UNMAP:
        err = vma_pool_fill(&pool, 1);
        if (!err) {
            struct vma *v = vma_pool_take(&pool);
            v->start = v->off = u->start;
            v->end = u->end;
            put_back(v, u);
            mm_insert(mm, v);
        }
    }
    vma_pool_drain(&pool);
    return err;
}

long mm_refused(struct mm *mm, struct pcontext *ctx, int err)
{
    mutex_lock(&mm->lock);
    struct mm_undo *found = later_of(mm, ctx), u;
    if (!found) { // the stub said that it had been made, and then that it had not
        mm_unlock(mm);
        return -ESRCH;
    }
    u = *found;
    later_drop(mm, found);
    int e = undo_locked(mm, &u);
    if (!e && u.brk)
        mm->brk = u.brk;
    mm_unlock(mm);
    mm_ops(mm)->deferred_end(ctx);
    return e ? -ESRCH : u.brk ? (long)u.brk : err;
}
