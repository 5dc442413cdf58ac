// SPDX-License-Identifier: Apache-2.0
// The VMA tree of one address space: a balanced (AVL) tree ordered by address, threaded as a list,
// each node augmented with extent and largest hole of its subtree, so that finding, placing,
// splitting and merging are all O(log n). Pure data structure: no host call, no lock of its own
// (the mm's covers it), nothing here can fail: nodes come from a struct vma_pool filled before.
#pragma once
#include "mem/memobj.h"

struct mm_file_ops;
enum vma_flag : uint32_t {
    VMA_SHARED = 1u << 0,      // MAP_SHARED, also of a read-only descriptor
    VMA_GROWSDOWN = 1u << 1,
    VMA_NORESERVE = 1u << 2,
    VMA_ACCOUNT = 1u << 3,     // counted by the overcommit policy
    VMA_DONTFORK = 1u << 4,
    VMA_WIPEONFORK = 1u << 5,
    VMA_LOCKED = 1u << 6,
    VMA_LOCKONFAULT = 1u << 7,
    VMA_DONTDUMP = 1u << 8,
    VMA_HUGE = 1u << 9,
    VMA_NOHUGE = 1u << 10,
    VMA_SEQ = 1u << 11,
    VMA_RAND = 1u << 12,
    VMA_MAYWRITE = 1u << 13,   // a later mprotect may add PROT_WRITE
    VMA_MAYEXEC = 1u << 14,
    VMA_SPECIAL = 1u << 15,    // [vdso], [vvar]: never resized
    // The part of a stack's reservation that the stack has not visibly reached. Mapped on the host
    // like the stack; to the guest a hole that is not given out.
    VMA_RESERVE = 1u << 16,
    VMA_TRAMP = 1u << 17,      // with VMA_RESERVE: trampolines of patched calls (mm_patch.c)
};
constexpr uint64_t STACK_GUARD_GAP = 256 * PAGE_SIZE;
constexpr size_t VMA_NAME_MAX = 80; // ANON_VMA_NAME_MAX_LEN, NUL included

struct vma_name { // of PR_SET_VMA_ANON_NAME; immutable
    struct ref ref;
    char s[VMA_NAME_MAX];
};
struct vma {
    uint64_t start, end;
    // Into obj. Anonymous memory: where it was first mapped, kept when it moves. The host keeps the
    // same (vm_pgoff) and never joins areas that do not continue each other by it; nor must we, or
    // an mremap of what is one VMA here would meet two there.
    uint64_t off;
    struct memobj *obj;                 // ref; null: anonymous private
    void *file;                         // ref or null: the struct file that was mapped
    struct vma_name *name;              // ref or null
    const char *special;                // static: "[vdso]", "[vvar]"
    int hostfd;                         // of obj, valid as long as the reference
    uint32_t flags;                     // VMA_*
    uint8_t prot;                       // PROT_READ|WRITE|EXEC
    // --- the tree's ---
    int8_t height;
    struct vma *left, *right, *parent;  // weak
    struct vma *prev, *next;            // weak
    uint64_t sub_lo, sub_hi, sub_gap;   // extent (with guard gap) and largest hole of the subtree
};
struct vma_tree {
    struct vma *root, *first, *last;
    size_t count;
};
// Nodes taken before the point where nothing may fail any more.
struct vma_pool {
    struct vma *free; // linked by next
};
MUST_CHECK int vma_pool_fill(struct vma_pool *p, int n); // 0 / -ENOMEM (pool then empty)
struct vma *vma_pool_take(struct vma_pool *p);           // never null: the caller counted
void vma_pool_drain(struct vma_pool *p);
void vma_free(struct vma *v);                            // drops its references
void vma_copy_kind(struct vma *to, const struct vma *from); // all but place; takes references
void vma_use_file_ops(const struct mm_file_ops *ops);
const struct mm_file_ops *vma_file_ops(void);
MUST_CHECK struct vma_name *vma_name_new(const char *s);    // ref 1
void vma_name_put(struct vma_name *n);
void vma_set_name(struct vma *v, struct vma_name *n);       // takes a reference; null: none

// Where a hole that ends at v really ends: a stack keeps its guard gap.
static inline uint64_t vma_gap_start(const struct vma *v)
{
    if (!(v->flags & VMA_GROWSDOWN))
        return v->start;
    return v->start > STACK_GUARD_GAP ? v->start - STACK_GUARD_GAP : 0;
}
static inline bool vma_is_anon(const struct vma *v)
{
    return !v->obj && !v->special;
}
// The first VMA that ends above addr (it may start above it too); null at the end.
struct vma *vma_find(const struct vma_tree *t, uint64_t addr);
// The first VMA that overlaps [start, end).
struct vma *vma_intersect(const struct vma_tree *t, uint64_t start, uint64_t end);
void vma_insert(struct vma_tree *t, struct vma *v); // must overlap nothing
void vma_remove(struct vma_tree *t, struct vma *v); // unlinked, not freed
void vma_resize(struct vma_tree *t, struct vma *v, uint64_t start, uint64_t end); // order is kept
// Cuts v at addr (start < addr < end); v keeps the lower part, the upper one is returned.
struct vma *vma_split(struct vma_tree *t, struct vma *v, uint64_t addr, struct vma_pool *p);
// Joins v with its neighbours where they continue each other; returns what v has become.
struct vma *vma_merge(struct vma_tree *t, struct vma *v);
bool vma_same_kind(const struct vma *a, const struct vma *b); // all but place: could be one VMA
// The highest (lowest) address where len bytes are free in [low, high). False: nowhere.
bool vma_gap_topdown(const struct vma_tree *t, uint64_t low, uint64_t high, uint64_t len,
                     uint64_t *addr);
bool vma_gap_bottomup(const struct vma_tree *t, uint64_t low, uint64_t high, uint64_t len,
                      uint64_t *addr);
void vma_tree_check(const struct vma_tree *t); // panics on a broken invariant (tests, debug)
