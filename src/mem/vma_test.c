// SPDX-License-Identifier: Apache-2.0
// The tree by itself: shape, neighbours and hole search against an array of pages.
#include "abi/errno.h"
#include "base/test.h"
#include "mem/vma.h"
#include <string.h>
#include <sys/mman.h>

constexpr uint64_t N = 600;
static uint64_t rng = 88172645463325252ull;
static uint64_t rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

static struct vma *make(uint64_t from, uint64_t to, uint32_t flags)
{
    struct vma_pool p = {};
    assert_int_equal(vma_pool_fill(&p, 1), 0);
    struct vma *v = vma_pool_take(&p);
    v->start = from * PAGE_SIZE;
    v->end = to * PAGE_SIZE;
    v->flags = flags;
    return v;
}

static bool naive_gap(const uint8_t *used, uint64_t low, uint64_t high, uint64_t len, bool down,
                      uint64_t *at)
{
    for (uint64_t k = 0; k + len <= high - low; k++) {
        uint64_t i = down ? high - len - k : low + k, j = 0;
        while (j < len && !used[i + j])
            j++;
        if (j == len) {
            *at = i;
            return true;
        }
    }
    return false;
}

static void compare(const struct vma_tree *t, const uint8_t *used)
{
    vma_tree_check(t);
    for (uint64_t i = 0; i < N; i++) {
        struct vma *v = vma_find(t, i * PAGE_SIZE + 1);
        CHECK((v && v->start <= i * PAGE_SIZE) == used[i]);
    }
    for (int q = 0; q < 20; q++) {
        uint64_t low = rnd(N), high = low + rnd(N - low) + 1, len = 1 + rnd(12), want = 0, got = 0;
        bool down = rnd(2), found;
        bool naive = naive_gap(used, low, high, len, down, &want);
        if (down)
            found = vma_gap_topdown(t, low * PAGE_SIZE, high * PAGE_SIZE, len * PAGE_SIZE, &got);
        else
            found = vma_gap_bottomup(t, low * PAGE_SIZE, high * PAGE_SIZE, len * PAGE_SIZE, &got);
        CHECK(naive == found && (!found || got == want * PAGE_SIZE));
    }
}

static void random_step(struct vma_tree *t, uint8_t *used)
{
    uint64_t i = rnd(N);
    struct vma *v = vma_find(t, i * PAGE_SIZE);
    bool inside = v && v->start <= i * PAGE_SIZE;
    if (inside && rnd(3) == 0 && v->start < i * PAGE_SIZE) {
        struct vma_pool p = {};
        assert_int_equal(vma_pool_fill(&p, 1), 0);
        v->flags ^= VMA_SEQ; // so that the two differ or not by chance
        struct vma *u = vma_split(t, v, i * PAGE_SIZE, &p);
        u->flags ^= rnd(2) ? VMA_RAND : 0;
    } else if (inside && rnd(4) == 0) {
        vma_merge(t, v);
    } else if (inside) {
        memset(used + v->start / PAGE_SIZE, 0, (v->end - v->start) / PAGE_SIZE);
        vma_remove(t, v);
        vma_free(v);
    } else {
        uint64_t end = i + 1, most = i + 1 + rnd(6);
        while (end < most && end < N && !used[end])
            end++;
        memset(used + i, 1, end - i);
        vma_insert(t, make(i, end, 0));
    }
}

TEST(vma_tree_random)
{
    struct vma_tree t = {};
    uint8_t used[N] = {};
    for (int step = 0; step < 6000; step++) {
        random_step(&t, used);
        if (step % 7 == 0)
            compare(&t, used);
    }
    compare(&t, used);
    while (t.first) {
        struct vma *v = t.first;
        vma_remove(&t, v);
        vma_free(v);
    }
    assert_int_equal(t.count, 0);
}

TEST(vma_tree_is_balanced)
{
    struct vma_tree t = {};
    for (uint64_t i = 0; i < 65530; i++)
        vma_insert(&t, make(2 * i + 1, 2 * i + 2, 0));
    assert_true(t.root->height <= 24);
    uint64_t at;
    assert_true(vma_gap_topdown(&t, 0, 65530 * 2 * PAGE_SIZE, PAGE_SIZE, &at));
    assert_int_equal(at, 65529 * 2 * PAGE_SIZE);
    assert_false(vma_gap_topdown(&t, 0, 65530 * 2 * PAGE_SIZE, 2 * PAGE_SIZE, &at));
    while (t.first) {
        struct vma *v = t.first;
        vma_remove(&t, v);
        vma_free(v);
    }
}

TEST(vma_stack_keeps_guard_gap)
{
    struct vma_tree t = {};
    uint64_t guard = STACK_GUARD_GAP / PAGE_SIZE, at;
    vma_insert(&t, make(1000, 1010, VMA_GROWSDOWN));
    assert_true(vma_gap_topdown(&t, 0, 1005 * PAGE_SIZE, PAGE_SIZE, &at));
    assert_int_equal(at, (1000 - guard - 1) * PAGE_SIZE);
    // Something inside the gap already: no negative hole.
    vma_insert(&t, make(990, 995, 0));
    vma_tree_check(&t);
    assert_true(vma_gap_topdown(&t, 0, 1005 * PAGE_SIZE, PAGE_SIZE, &at));
    assert_int_equal(at, 989 * PAGE_SIZE);
    while (t.first) {
        struct vma *v = t.first;
        vma_remove(&t, v);
        vma_free(v);
    }
}
