// SPDX-License-Identifier: Apache-2.0
// Inside src/mem only: what the files that implement mm.h share. All functions want mm->lock.
//
// The pattern of every change: check, take vma nodes into a pool, let the host do it, and only then
// edit the tree, which cannot fail. So the tree never claims what the host does not have.
#pragma once
#include "mem/mm.h"
#include "mem/vma.h"
#include <sys/mman.h>

static inline const struct platform_ops *mm_ops(const struct mm *mm)
{
    return mm->as->ops;
}
// On x86 what may be written or executed may be read, also by the kernel on the guest's behalf. The
// host's process_vm_readv looks at its own protection bits, so those say it.
static inline int host_prot(int prot)
{
    return prot ? prot | PROT_READ : 0;
}
// A hole, as far as the guest is concerned.
static inline bool vma_hidden(const struct vma *v)
{
    return v->flags & VMA_RESERVE;
}
// The first VMA the guest knows that ends above addr.
static inline struct vma *vma_find_visible(const struct vma_tree *t, uint64_t addr)
{
    struct vma *v = vma_find(t, addr);
    while (v && vma_hidden(v))
        v = v->next;
    return v;
}
static inline struct vma *vma_next_visible(const struct vma *v)
{
    struct vma *n = v->next;
    while (n && vma_hidden(n))
        n = n->next;
    return n;
}
static inline bool range_ok(const struct mm *mm, uint64_t addr, uint64_t len)
{
    return len <= mm->task_size && addr <= mm->task_size - len;
}
static inline bool splits_at(const struct vma_tree *t, uint64_t addr)
{
    struct vma *v = vma_find(t, addr);
    return v && v->start < addr;
}
// Unlocks and frees what was removed: the last reference to a file or object may take other locks.
void mm_unlock(struct mm *mm) RELEASES(mm->lock);
void mm_account(struct mm *mm, const struct vma *v, bool add);
void mm_insert(struct mm *mm, struct vma *v); // accounts, inserts, merges
// Removes what lies in [start, end) from the tree; takes up to two nodes.
void mm_clear_range(struct mm *mm, uint64_t start, uint64_t end, struct vma_pool *p);
// Calls edit() on each VMA of [start, end), cut to it, then merges; takes up to two nodes.
void mm_edit_range(struct mm *mm, uint64_t start, uint64_t end, struct vma_pool *p,
                   void (*edit)(struct vma *v, void *arg), void *arg);
// Nodes for cutting at start and end, map count checked: 0 / -ENOMEM.
MUST_CHECK int mm_reserve_splits(struct mm *mm, uint64_t start, uint64_t end, struct vma_pool *p);
// The stack's reservation goes when the stack above it has gone.
void mm_check_reserve(struct mm *mm, struct pcontext *ctx);
bool mm_may_expand(const struct mm *mm, uint64_t pages, bool data, const struct mm_limits *lim);
bool mm_is_data(uint32_t flags, int prot);
bool mm_overcommit_ok(uint64_t pages);
// Chooses a place per mmap(2); the request as in mmap_args, len page-aligned.
MUST_CHECK int mm_place(struct mm *mm, uint64_t hint, uint64_t len, int flags, bool anon,
                        uint64_t *addr);
void mm_check_replaced(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end);
int mm_unmap_locked(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end);
// As mremap and growth want it: more of the same kind at [start, end).
int mm_host_map(struct mm *mm, struct pcontext *ctx, const struct vma *v, uint64_t start,
                uint64_t end);
// Waits until no deferred call of another context (ctx's own come in order; or null) that changes
// [start, end) has still to be made. Releases mm->lock if it has to wait: before anything is looked at.
void mm_settle(struct mm *mm, const struct pcontext *ctx, uint64_t start, uint64_t end);
static inline void mm_settle_all(struct mm *mm, const struct pcontext *ctx)
{
    mm_settle(mm, ctx, 0, UINT64_MAX);
}
// Free in the tree, but perhaps not yet on the host: the deferred unmapping in [start, end), or null.
const struct mm_undo *mm_leaving(struct mm *mm, uint64_t start, uint64_t end);
// [ctx] The host call goes with the system call's return; the caller edits the tree at once. False:
// make it now. (mm_later.c)
struct mm_undo *mm_map_later(struct mm *mm, struct pcontext *ctx, const struct vma *v); // null: not so
bool mm_unmap_later(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end);
bool mm_protect_later(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end, int prot);
bool mm_advise_later(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end, int advice);
// [ctx] Before the pages of [start, end) change their contents, their place or their rights: the
// original text comes back, trampolines there go.
void mm_patch_clear(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end);
MUST_CHECK int mm_patch_fork(struct mm *child, const struct mm *mm);
void mm_patch_free(struct mm *mm);
bool mm_rss(const struct mm *mm, uint64_t *resident, uint64_t *shared);
