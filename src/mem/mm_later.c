// SPDX-License-Identifier: Apache-2.0
// Memory calls without a handover of their own: the host call travels with the return of the system
// call (platform.h, defer). The tree is edited as if it had been made; should the host refuse it, the
// platform says so before the guest has gone on, and mm_refused() takes the edit back.
//
// Only what can be taken back exactly: private memory (what is new or goes away: anonymous), one area,
// nothing replaced. Only where nobody else can look in between: in a space with several contexts the
// platform defers nothing but advice (another thread could be given the place, or fork, before the host
// has done it), and it carries out what it has deferred before anything else.
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
static bool defer(struct mm *mm, struct pcontext *ctx, const struct pdefer *d)
{
    return mm_ops(mm)->defer && mm_ops(mm)->defer(ctx, d);
}
static void remember(struct mm *mm, enum mm_undo_kind kind, uint64_t start, uint64_t end)
{
    mm->undo = (struct mm_undo){.kind = kind, .start = start, .end = end};
}

// As mm_host_map, of a new area in a free place. False: not this way.
bool mm_map_later(struct mm *mm, struct pcontext *ctx, const struct vma *v)
{
    struct pdefer d = {.kind = PDEFER_MAP, .addr = v->start, .len = v->end - v->start,
                       .prot = host_prot(v->prot),
                       .flags = MAP_PRIVATE | MAP_ANONYMOUS |
                                (v->flags & VMA_NORESERVE ? MAP_NORESERVE : 0)};
    if (!plain(v) || !defer(mm, ctx, &d))
        return false;
    remember(mm, MM_UNDO_MAP, v->start, v->end);
    return true;
}

// [start, end) has been taken out of one area by the caller's plan; it edits the tree next.
bool mm_unmap_later(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end)
{
    const struct vma *v = vma_find(mm->vmas, start);
    struct pdefer d = {.kind = PDEFER_UNMAP, .addr = start, .len = end - start};
    if (!v || v->start > start || v->end < end || !plain(v) || !defer(mm, ctx, &d))
        return false;
    remember(mm, MM_UNDO_UNMAP, start, end);
    mm->undo.prot = v->prot;
    mm->undo.flags = v->flags;
    return true;
}

bool mm_protect_later(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end, int prot)
{
    const struct vma *v = vma_find(mm->vmas, start);
    struct pdefer d = {.kind = PDEFER_PROTECT, .addr = start, .len = end - start,
                       .prot = host_prot(prot)};
    if (!v || v->start > start || v->end < end || !private(v) || !defer(mm, ctx, &d))
        return false;
    remember(mm, MM_UNDO_PROTECT, start, end);
    mm->undo.prot = v->prot;
    mm->undo.flags = v->flags;
    return true;
}

// Nothing in the tree: what the host says is what the call returns.
bool mm_advise_later(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end, int advice)
{
    struct pdefer d = {.kind = PDEFER_ADVISE, .addr = start, .len = end - start, .prot = advice};
    if (!defer(mm, ctx, &d))
        return false;
    remember(mm, MM_UNDO_NONE, start, end);
    return true;
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

long mm_refused(struct mm *mm, int err)
{
    mutex_lock(&mm->lock);
    struct mm_undo u = mm->undo;
    mm->undo.kind = MM_UNDO_NONE;
    int e = undo_locked(mm, &u);
    if (!e && u.brk)
        mm->brk = u.brk;
    mm_unlock(mm);
    return e ? -ESRCH : u.brk ? (long)u.brk : err;
}
