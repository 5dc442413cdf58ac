// SPDX-License-Identifier: Apache-2.0
// Deferred calls of several contexts in one space: the tree is ahead of the host, and still each host
// call finds what the tree said, in the order of the tree, refusals included.
#include "base/test.h"
#include "mem/mem_test.h"

constexpr int NCTX = 4;
static struct late {
    struct pcontext *ctx;
    struct pdefer d;
    enum : int { NONE, SET, REFUSED } state;
} late[NCTX];
static struct mm *mm;
static uint64_t seed;
static unsigned refusals, waits, deferrals, refuse_in; // > 0: one of so many is refused

static uint64_t rnd(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}
static struct late *late_of(const struct pcontext *ctx)
{
    for (int i = 0; i < NCTX; i++)
        if (late[i].ctx == ctx)
            return &late[i];
    return nullptr;
}

// The stub makes the call: what it replaces must be as the caller of defer() saw it.
static int late_do(struct late *l)
{
    struct fake_page *p = &fake(l->ctx)->page[l->d.addr / PAGE_SIZE];
    for (uint64_t i = 0; i < l->d.len / PAGE_SIZE; i++)
        CHECK(l->d.kind == PDEFER_ADVISE || p[i].used == (l->d.kind != PDEFER_MAP));
    if (refuse_in && rnd(refuse_in) == 0) {
        refusals++;
        return -ENOMEM;
    }
    switch (l->d.kind) {
    case PDEFER_MAP: return fake_map(l->ctx, l->d.addr, l->d.len, l->d.prot, l->d.flags, -1, 0);
    case PDEFER_UNMAP: return fake_unmap(l->ctx, l->d.addr, l->d.len);
    case PDEFER_PROTECT: return fake_protect(l->ctx, l->d.addr, l->d.len, l->d.prot);
    case PDEFER_ADVISE: return fake_advise(l->ctx, l->d.addr, l->d.len, l->d.prot);
    }
    return -EINVAL;
}
// The task goes back to its guest, perhaps in vain; its mm->lock is free.
static void late_make(struct late *l)
{
    if (l->state != SET)
        return;
    int err = late_do(l);
    l->state = err ? REFUSED : NONE;
    if (err) {
        long r = mm_refused(mm, l->ctx, err);
        CHECK(r != -ESRCH && l->state == NONE);
    }
}
static void late_make_all(void)
{
    for (int i = 0; i < NCTX; i++)
        late_make(&late[i]);
}

static bool late_defer(struct pcontext *ctx, const struct pdefer *d)
{
    struct late *l = late_of(ctx);
    if (l->state != NONE)
        return false;
    l->d = *d;
    l->state = SET;
    deferrals++;
    return true;
}
static int late_settle(struct pcontext *ctx)
{
    CHECK(!"not by mem/");
    return 0;
}
static bool late_deferred(struct pcontext *ctx)
{
    return late_of(ctx)->state != NONE;
}
NO_LOCK_ANALYSIS static void late_await(struct pcontext *ctx, struct mutex *m)
{
    CHECK(mutex_is_held(m));
    waits++;
    mutex_unlock(m);
    if (rnd(3)) // else it was woken for nothing
        late_make(rnd(4) ? late_of(ctx) : &late[rnd(NCTX)]);
    mutex_lock(m);
}
static void late_end(struct pcontext *ctx)
{
    struct late *l = late_of(ctx);
    if (l->state == REFUSED)
        l->state = NONE;
}

static int late_as_new(struct pzygote *from, struct aspace **as, struct pcontext **ctx);
static struct platform_ops late_ops;
static void late_init(void)
{
    late_ops = fake_ops;
    late_ops.aspace_new = late_as_new;
    late_ops.defer = late_defer;
    late_ops.settle = late_settle;
    late_ops.deferred = late_deferred;
    late_ops.await = late_await;
    late_ops.deferred_end = late_end;
}
static int late_as_new(struct pzygote *from, struct aspace **as, struct pcontext **ctx)
{
    fake_as_new(from, as, ctx);
    (*as)->ops = (*ctx)->ops = &late_ops;
    late[0].ctx = *ctx;
    for (int i = 1; i < NCTX; i++) {
        struct fake_ctx *c = calloc(1, sizeof(*c));
        c->ctx = (struct pcontext){.ops = &late_ops, .as = *as};
        late[i].ctx = &c->ctx;
    }
    return 0;
}

static void begin(uint64_t s, unsigned refuse)
{
    struct pcontext *ctx;
    late_init();
    seed = s;
    refuse_in = refuse;
    refusals = waits = deferrals = 0;
    memset(late, 0, sizeof(late));
    mm_use_platform(&late_ops);
    assert_int_equal(mm_new(nullptr, &mm, &ctx), 0);
    mm->brk_start = mm->brk = 64 * PAGE_SIZE;
}
static void end(void)
{
    late_make_all();
    fake_compare(mm);
    for (int i = 0; i < NCTX; i++) {
        mm_leave(mm, late[i].ctx);
        fake_ctx_free(late[i].ctx);
    }
    assert_int_equal(mm->nlater, 0);
    assert_int_equal(mm->nsettle, 0);
    mm_put(mm);
    mm_use_platform(nullptr);
}

static long map(int who, uint64_t addr, uint64_t pages, int prot, int flags)
{
    struct mmap_args a = {.addr = addr,
                          .len = pages * PAGE_SIZE,
                          .prot = prot,
                          .flags = MAP_PRIVATE | MAP_ANONYMOUS | flags,
                          .lim = no_limits};
    return mm_mmap(mm, late[who].ctx, &a);
}

TEST(mm_later_order)
{
    constexpr int RW = PROT_READ | PROT_WRITE;
    begin(1, 0);
    long a = map(0, 0, 4, RW, 0);
    assert_true(a > 0 && late[0].state == SET && mm->nlater == 1);
    late_make_all();
    // A place that is being given back is nobody's yet.
    assert_int_equal(mm_munmap(mm, late[0].ctx, (uint64_t)a, 4 * PAGE_SIZE), 0);
    assert_true(late[0].state == SET && !waits);
    long b = map(1, 0, 4, RW, 0), c = map(2, (uint64_t)a, 4, RW, 0);
    assert_true(b > 0 && b != a && c > 0 && c != a && !waits && mm->nlater == 3);
    // Who insists waits for it.
    assert_int_equal(map(3, (uint64_t)a, 2, RW, MAP_FIXED), a);
    assert_true(waits > 0 && late[0].state == NONE);
    // Rights and place of an area that is being made.
    unsigned n = waits;
    assert_int_equal(mm_mprotect(mm, late[3].ctx, (uint64_t)b, 4 * PAGE_SIZE, PROT_READ), 0);
    assert_true(waits > n && late[1].state == NONE);
    n = waits;
    assert_int_equal(mm_munmap(mm, late[0].ctx, (uint64_t)c, 4 * PAGE_SIZE), 0);
    assert_true(waits > n && late[2].state == NONE);
    // Its own order is kept by the platform, and who wants another range need not wait.
    n = waits;
    assert_true(map(3, 0, 1, RW, 0) > 0 && waits == n);
    // A child has all of it.
    struct mm *child;
    struct pcontext *cctx;
    assert_int_equal(mm_fork(mm, late[2].ctx, &child, &cctx), 0);
    fake_compare(child);
    fake_compare(mm);
    fake_ctx_free(cctx);
    mm_put(child);
    end();
}

// One that is refused is taken back before anybody acts on its range.
TEST(mm_later_refused)
{
    constexpr int RW = PROT_READ | PROT_WRITE;
    begin(2, 0);
    long a = map(0, 0, 4, RW, 0);
    late_make_all();
    refuse_in = 1;
    assert_int_equal(mm_munmap(mm, late[0].ctx, (uint64_t)a + PAGE_SIZE, PAGE_SIZE), 0);
    assert_int_equal(mm_mprotect(mm, late[1].ctx, (uint64_t)a, 4 * PAGE_SIZE, PROT_READ), 0);
    assert_true(refusals == 1 && mm_range_mapped(mm, (uint64_t)a, 4 * PAGE_SIZE));
    assert_int_equal(mm_madvise(mm, late[2].ctx, (uint64_t)a, PAGE_SIZE, MADV_DONTNEED), 0);
    assert_int_equal(refusals, 2);
    const struct vma *v = vma_find(mm->vmas, (uint64_t)a);
    assert_true(v->prot == RW && v->start == (uint64_t)a && v->end == (uint64_t)a + 4 * PAGE_SIZE);
    // A break that another thread has moved on from.
    refuse_in = 0;
    uint64_t brk = mm_brk(mm, late[0].ctx, 66 * PAGE_SIZE, &no_limits);
    assert_true(brk == 66 * PAGE_SIZE && late[0].state == SET);
    refuse_in = 1;
    assert_int_equal(mm_brk(mm, late[1].ctx, 0, &no_limits), 64 * PAGE_SIZE);
    // Of a context that has none, or said before that it had been made: the process cannot go on.
    late_make_all();
    assert_int_equal(mm_refused(mm, late[3].ctx, -ENOMEM), -ESRCH);
    end();
}

static void random_call(int who)
{
    struct pcontext *ctx = late[who].ctx;
    uint64_t addr = (128 + rnd(200)) * PAGE_SIZE, n = 1 + rnd(12), len = n * PAGE_SIZE;
    int prot = (int)rnd(4) & (PROT_READ | PROT_WRITE);
    struct mm *child;
    struct pcontext *cctx;
    switch (rnd(12)) {
    case 0:
    case 1:
    case 2: (void)map(who, rnd(2) ? addr : 0, n, prot, 0); break;
    case 3: (void)map(who, addr, n, prot, rnd(2) ? MAP_FIXED : MAP_FIXED_NOREPLACE); break;
    case 4:
    case 5:
    case 6: (void)mm_munmap(mm, ctx, addr, len); break;
    case 7:
    case 8: (void)mm_mprotect(mm, ctx, addr, len, prot); break;
    case 9: (void)mm_madvise(mm, ctx, addr, len, rnd(2) ? MADV_DONTNEED : MADV_DONTDUMP); break;
    case 10:
        if (rnd(2))
            (void)mm_brk(mm, ctx, (64 + rnd(20)) * PAGE_SIZE, &no_limits);
        else
            (void)mm_mremap(mm, ctx, addr, len, len + rnd(8) * PAGE_SIZE, MREMAP_MAYMOVE, 0, &no_limits);
        break;
    case 11:
        if (rnd(8) || mm_fork(mm, ctx, &child, &cctx))
            break;
        fake_compare(child);
        fake_ctx_free(cctx);
        mm_put(child);
    }
}

TEST(mm_later_random)
{
    for (unsigned round = 0; round < 60; round++) {
        begin(round + 100, round % 3 ? 0 : 6);
        mm->mmap_base = 330 * PAGE_SIZE; // crowded
        for (int i = 0; i < 600; i++) {
            int who = (int)rnd(NCTX);
            late_make(&late[who]); // it has come with another call
            random_call(who);
            if (rnd(4) == 0)
                late_make(&late[rnd(NCTX)]);
            vma_tree_check(mm->vmas);
            if (i % 20 == 19) {
                late_make_all();
                fake_compare(mm);
            }
        }
        assert_true(deferrals > 50 && waits > 5 && (round % 3 || refusals));
        end();
    }
}
