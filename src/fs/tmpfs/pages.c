// SPDX-License-Identifier: Apache-2.0
// The pages of a small file by index: a radix tree of 64-way nodes that is as high as the highest
// index needs, so a page at 4 TiB costs five nodes and a file of one page none at all. The caller's
// lock (inode.lock) covers it. Invariant: no node is empty.
#include "fs/tmpfs/internal.h"
#include "abi/errno.h"

constexpr unsigned BITS = 6, FANOUT = 1u << BITS, HEIGHT_MAX = 6;
static_assert(TMPFS_PAGES_MAX == 1ull << (BITS * HEIGHT_MAX));
struct tmpfs_node {
    uint32_t count;       // slots in use
    void *slot[FANOUT];   // nodes, or pages in the lowest level
};
SLAB_DEFINE(node_slab, struct tmpfs_node);

static unsigned slot_of(uint64_t index, unsigned level) // level 1 is the lowest
{
    return (unsigned)(index >> (BITS * (level - 1))) & (FANOUT - 1);
}
static bool fits(const struct tmpfs_pages *t, uint64_t index)
{
    return index >> (BITS * t->height) == 0;
}

struct tmpfs_page *tmpfs_pages_get(const struct tmpfs_pages *t, uint64_t index)
{
    if (!fits(t, index))
        return nullptr;
    void *p = t->root;
    for (unsigned level = t->height; p && level; level--)
        p = ((struct tmpfs_node *)p)->slot[slot_of(index, level)];
    return p;
}

// Makes the tree high enough: what it was becomes the first branch of a new top.
static int grow(struct tmpfs_pages *t, uint64_t index)
{
    while (!fits(t, index)) {
        if (t->root) {
            struct tmpfs_node *n = slab_alloc(&node_slab);
            if (!n)
                return -ENOMEM;
            n->count = 1;
            n->slot[0] = t->root;
            t->root = n;
        }
        t->height++;
    }
    return 0;
}

// Frees nodes that have become empty, from level upwards. path[l] is the slot that holds the node
// of level l.
static void trim(struct tmpfs_pages *t, void **path[HEIGHT_MAX + 1], unsigned level)
{
    for (; level <= t->height; level++) {
        struct tmpfs_node *n = *path[level];
        if (n->count)
            return;
        *path[level] = nullptr;
        slab_free(&node_slab, n);
        if (level < t->height)
            ((struct tmpfs_node *)*path[level + 1])->count--;
    }
    t->height = 0;
}

int tmpfs_pages_put(struct tmpfs_pages *t, uint64_t index, struct tmpfs_page *page)
{
    void **path[HEIGHT_MAX + 1], **at = &t->root;
    struct tmpfs_node *parent = nullptr;
    if (index >= TMPFS_PAGES_MAX)
        return -EFBIG;
    int err = grow(t, index);
    if (err)
        return err;
    for (unsigned level = t->height; level; level--) {
        path[level] = at;
        if (!*at) {
            *at = slab_alloc(&node_slab);
            if (!*at) {
                if (parent)
                    trim(t, path, level + 1);
                return -ENOMEM;
            }
            if (parent)
                parent->count++;
        }
        parent = *at;
        at = &parent->slot[slot_of(index, level)];
    }
    if (parent)
        parent->count++;
    *at = page;
    t->count++;
    return 0;
}

struct tmpfs_page *tmpfs_pages_take(struct tmpfs_pages *t, uint64_t index)
{
    void **path[HEIGHT_MAX + 1], **at = &t->root;
    if (!fits(t, index))
        return nullptr;
    for (unsigned level = t->height; level; level--) {
        if (!*at)
            return nullptr;
        path[level] = at;
        at = &((struct tmpfs_node *)*at)->slot[slot_of(index, level)];
    }
    struct tmpfs_page *page = *at;
    if (!page)
        return nullptr;
    *at = nullptr;
    t->count--;
    if (t->height) {
        ((struct tmpfs_node *)*path[1])->count--;
        trim(t, path, 1);
    }
    return page;
}

uint64_t tmpfs_pages_next(const struct tmpfs_pages *t, uint64_t index)
{
    while (t->root && fits(t, index)) {
        const void *p = t->root;
        unsigned level = t->height;
        for (; level; level--) {
            const struct tmpfs_node *n = p;
            unsigned s = slot_of(index, level), shift = BITS * (level - 1);
            p = n->slot[s];
            if (p)
                continue;
            while (s < FANOUT && !n->slot[s])
                s++;
            // The first index below that slot; past the last one it carries into the level above.
            index = ((index >> (shift + BITS)) << (shift + BITS)) + ((uint64_t)s << shift);
            break;
        }
        if (!level)
            return index;
    }
    return UINT64_MAX;
}
