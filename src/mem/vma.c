// SPDX-License-Identifier: Apache-2.0
// See vma.h. Every change of shape ends in a walk from the lowest touched node to the root that
// restores heights and augmentation; the walk is as long as the tree is high.
#include "mem/vma.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "mem/mm.h"
#include <string.h>

SLAB_DEFINE(vma_slab, struct vma);

int vma_pool_fill(struct vma_pool *p, int n)
{
    for (int i = 0; i < n; i++) {
        struct vma *v = slab_alloc(&vma_slab);
        if (!v) {
            vma_pool_drain(p);
            return -ENOMEM;
        }
        v->hostfd = -1;
        v->next = p->free;
        p->free = v;
    }
    return 0;
}

struct vma *vma_pool_take(struct vma_pool *p)
{
    struct vma *v = p->free;
    CHECK(v);
    p->free = v->next;
    v->next = nullptr;
    return v;
}

void vma_pool_drain(struct vma_pool *p)
{
    while (p->free)
        vma_free(vma_pool_take(p));
}

SLAB_DEFINE(vma_name_slab, struct vma_name);

void vma_name_put(struct vma_name *n)
{
    if (n && ref_put(&n->ref))
        slab_free(&vma_name_slab, n);
}

static const struct mm_file_ops *file_ops;

void vma_use_file_ops(const struct mm_file_ops *ops)
{
    file_ops = ops;
}

const struct mm_file_ops *vma_file_ops(void)
{
    return file_ops;
}

void vma_free(struct vma *v)
{
    memobj_put(v->obj);
    if (v->file)
        file_ops->put(v->file);
    vma_name_put(v->name);
    slab_free(&vma_slab, v);
}

struct vma_name *vma_name_new(const char *s)
{
    struct vma_name *n = slab_alloc(&vma_name_slab);
    if (!n)
        return nullptr;
    ref_init(&n->ref);
    size_t len = strnlen(s, VMA_NAME_MAX - 1);
    memcpy(n->s, s, len);
    return n;
}

void vma_set_name(struct vma *v, struct vma_name *n)
{
    if (n)
        ref_get(&n->ref);
    vma_name_put(v->name);
    v->name = n;
}

// --- balance -------------------------------------------------------------------------------------

static int height(const struct vma *v)
{
    return v ? v->height : 0;
}

static uint64_t hole(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0;
}

static void update(struct vma *v)
{
    const struct vma *l = v->left, *r = v->right;
    v->height = (int8_t)(1 + MAX(height(l), height(r)));
    v->sub_lo = l ? l->sub_lo : vma_gap_start(v);
    v->sub_hi = r ? r->sub_hi : v->end;
    uint64_t gap = 0;
    if (l)
        gap = MAX(l->sub_gap, hole(l->sub_hi, vma_gap_start(v)));
    if (r)
        gap = MAX(gap, MAX(r->sub_gap, hole(v->end, r->sub_lo)));
    v->sub_gap = gap;
}

static void replace_child(struct vma_tree *t, struct vma *parent, struct vma *old, struct vma *new)
{
    if (!parent)
        t->root = new;
    else if (parent->left == old)
        parent->left = new;
    else
        parent->right = new;
    if (new)
        new->parent = parent;
}

static struct vma *rotate(struct vma_tree *t, struct vma *v, bool to_left)
{
    struct vma *up = to_left ? v->right : v->left;
    struct vma *inner = to_left ? up->left : up->right;
    replace_child(t, v->parent, v, up);
    v->parent = up;
    if (to_left) {
        up->left = v;
        v->right = inner;
    } else {
        up->right = v;
        v->left = inner;
    }
    if (inner)
        inner->parent = v;
    update(v);
    update(up);
    return up;
}

static void fix_upwards(struct vma_tree *t, struct vma *v)
{
    for (; v; v = v->parent) {
        int balance = height(v->left) - height(v->right);
        if (balance > 1) {
            if (height(v->left->left) < height(v->left->right))
                rotate(t, v->left, true);
            v = rotate(t, v, false);
        } else if (balance < -1) {
            if (height(v->right->right) < height(v->right->left))
                rotate(t, v->right, false);
            v = rotate(t, v, true);
        } else {
            update(v);
        }
    }
}

struct vma *vma_find(const struct vma_tree *t, uint64_t addr)
{
    struct vma *best = nullptr, *v = t->root;
    while (v) {
        if (v->end > addr) {
            best = v;
            v = v->left;
        } else {
            v = v->right;
        }
    }
    return best;
}

struct vma *vma_intersect(const struct vma_tree *t, uint64_t start, uint64_t end)
{
    struct vma *v = vma_find(t, start);
    return v && v->start < end ? v : nullptr;
}

void vma_insert(struct vma_tree *t, struct vma *v)
{
    struct vma *parent = nullptr, **link = &t->root, *prev = nullptr, *next = nullptr;
    while (*link) {
        parent = *link;
        if (v->start < parent->start) {
            next = parent;
            link = &parent->left;
        } else {
            prev = parent;
            link = &parent->right;
        }
    }
    ASSERT(v->start < v->end);
    ASSERT((!prev || prev->end <= v->start) && (!next || v->end <= next->start));
    *link = v;
    v->parent = parent;
    v->left = v->right = nullptr;
    v->prev = prev;
    v->next = next;
    *(prev ? &prev->next : &t->first) = v;
    *(next ? &next->prev : &t->last) = v;
    t->count++;
    fix_upwards(t, v);
}

void vma_remove(struct vma_tree *t, struct vma *v)
{
    struct vma *fix;
    if (v->left && v->right) {
        struct vma *s = v->next; // leftmost of the right subtree
        fix = s->parent == v ? s : s->parent;
        if (s->parent != v) {
            replace_child(t, s->parent, s, s->right);
            s->right = v->right;
            s->right->parent = s;
        }
        s->left = v->left;
        s->left->parent = s;
        replace_child(t, v->parent, v, s);
    } else {
        fix = v->parent;
        replace_child(t, v->parent, v, v->left ? v->left : v->right);
    }
    *(v->prev ? &v->prev->next : &t->first) = v->next;
    *(v->next ? &v->next->prev : &t->last) = v->prev;
    v->left = v->right = v->parent = v->prev = v->next = nullptr;
    t->count--;
    fix_upwards(t, fix);
}

void vma_resize(struct vma_tree *t, struct vma *v, uint64_t start, uint64_t end)
{
    ASSERT(start < end);
    ASSERT((!v->prev || v->prev->end <= start) && (!v->next || end <= v->next->start));
    v->off += start - v->start;
    v->start = start;
    v->end = end;
    fix_upwards(t, v);
}

// --- split and merge -----------------------------------------------------------------------------

// Everything but place, tree links and the pool's node; takes references.
void vma_copy_kind(struct vma *to, const struct vma *from)
{
    to->off = from->off;
    to->obj = from->obj ? memobj_get(from->obj) : nullptr;
    to->file = from->file;
    if (to->file)
        file_ops->get(to->file);
    to->hostfd = from->hostfd;
    to->special = from->special;
    to->flags = from->flags;
    to->prot = from->prot;
    vma_set_name(to, from->name);
}

struct vma *vma_split(struct vma_tree *t, struct vma *v, uint64_t addr, struct vma_pool *p)
{
    ASSERT(v->start < addr && addr < v->end);
    struct vma *upper = vma_pool_take(p);
    vma_copy_kind(upper, v);
    upper->start = addr;
    upper->end = v->end;
    upper->off += addr - v->start;
    v->end = addr;
    fix_upwards(t, v);
    vma_insert(t, upper);
    return upper;
}

static bool same_name(const struct vma_name *a, const struct vma_name *b)
{
    return a == b || (a && b && strcmp(a->s, b->s) == 0);
}

bool vma_same_kind(const struct vma *a, const struct vma *b)
{
    return a->prot == b->prot && a->flags == b->flags && a->obj == b->obj &&
           a->file == b->file && !a->special && !b->special && same_name(a->name, b->name);
}

static bool continues(const struct vma *a, const struct vma *b)
{
    return a->end == b->start && vma_same_kind(a, b) &&
           a->off + (a->end - a->start) == b->off;
}

struct vma *vma_merge(struct vma_tree *t, struct vma *v)
{
    struct vma *p = v->prev, *n = v->next;
    if (n && continues(v, n)) {
        uint64_t end = n->end;
        vma_remove(t, n);
        vma_free(n);
        vma_resize(t, v, v->start, end);
    }
    if (p && continues(p, v)) {
        uint64_t end = v->end;
        vma_remove(t, v);
        vma_free(v);
        vma_resize(t, p, p->start, end);
        v = p;
    }
    return v;
}

// --- holes ---------------------------------------------------------------------------------------

struct gap_query {
    uint64_t low, high, len;
    bool topdown;
};

// `below` is where the hole in front of the subtree begins, `above` where the one behind it ends.
// The depth of the recursion is the height of the tree: at most 1.44 log2(65 530) = 24.
static bool gap_search(const struct vma *v, uint64_t below, uint64_t above,
                       const struct gap_query *q, uint64_t *addr)
{
    if (above <= q->low || below >= q->high)
        return false;
    if (!v) {
        uint64_t from = MAX(below, q->low), to = MIN(above, q->high);
        if (hole(from, to) < q->len)
            return false;
        *addr = q->topdown ? to - q->len : from;
        return true;
    }
    if (MAX(v->sub_gap, MAX(hole(below, v->sub_lo), hole(v->sub_hi, above))) < q->len)
        return false;
    if (q->topdown)
        return gap_search(v->right, v->end, above, q, addr) ||
               gap_search(v->left, below, vma_gap_start(v), q, addr);
    return gap_search(v->left, below, vma_gap_start(v), q, addr) ||
           gap_search(v->right, v->end, above, q, addr);
}

bool vma_gap_topdown(const struct vma_tree *t, uint64_t low, uint64_t high, uint64_t len,
                     uint64_t *addr)
{
    struct gap_query q = {.low = low, .high = high, .len = len, .topdown = true};
    return gap_search(t->root, 0, UINT64_MAX, &q, addr);
}

bool vma_gap_bottomup(const struct vma_tree *t, uint64_t low, uint64_t high, uint64_t len,
                      uint64_t *addr)
{
    struct gap_query q = {.low = low, .high = high, .len = len, .topdown = false};
    return gap_search(t->root, 0, UINT64_MAX, &q, addr);
}

void vma_tree_check(const struct vma_tree *t)
{
    size_t n = 0;
    for (const struct vma *v = t->first, *prev = nullptr; v; prev = v, v = v->next) {
        CHECK(v->prev == prev && v->start < v->end && (!prev || prev->end <= v->start));
        CHECK(v->parent ? v->parent->left == v || v->parent->right == v : t->root == v);
        struct vma copy = *v;
        update(&copy);
        CHECK(copy.height == v->height && copy.sub_lo == v->sub_lo && copy.sub_hi == v->sub_hi &&
              copy.sub_gap == v->sub_gap);
        int balance = height(v->left) - height(v->right);
        CHECK(balance >= -1 && balance <= 1);
        CHECK(v->next || t->last == v);
        n++;
    }
    CHECK(n == t->count);
}
