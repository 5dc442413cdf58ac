// SPDX-License-Identifier: Apache-2.0
// Random memory calls against a naive model (one record per page, plain loops) and against the fake
// host, with host failures injected; then the edge cases by hand.
#include "base/test.h"
#include "mem/mem_test.h"
#include <unistd.h>

constexpr uint64_t LOW = 16, HIGH = 112; // pages that the random calls play with
static struct fake_obj objs[2] = {{{&fake_obj_ops, {1}}, 1000}, {{&fake_obj_ops, {1}}, 1001}};

struct mpage {
    bool used;
    uint8_t prot;
    uint32_t flags;
    struct memobj *obj;
    uint64_t off;
};
struct model {
    struct mpage p[FAKE_PAGES];
    uint64_t brk;
};
static struct model m;
static struct mm *mm;
static struct pcontext *ctx;

static uint64_t rng = 0x853c49e6748fea9bull;
static uint64_t rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

static void setup(void)
{
    mm_use_platform(&fake_ops);
    fake_fail_in = 0;
    memset(&m, 0, sizeof(m));
    CHECK(mm_new(nullptr, &mm, &ctx) == 0);
    mm->mmap_base = HIGH * PAGE_SIZE;
}

static void teardown(void)
{
    fake_ctx_free(ctx);
    mm_put(mm);
    for (size_t i = 0; i < ARRAY_LEN(objs); i++)
        assert_int_equal(ref_count(&objs[i].o.ref), 1);
}

// --- the model -----------------------------------------------------------------------------------

static bool model_free(uint64_t at, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (m.p[at + i].used)
            return false;
    return true;
}

static long model_place(uint64_t hint, uint64_t n, int flags)
{
    if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
        if (hint + n > FAKE_PAGES)
            return -ENOMEM;
        if (hint < LOW)
            return -EPERM;
        return (flags & MAP_FIXED_NOREPLACE) && !model_free(hint, n) ? -EEXIST : (long)hint;
    }
    if (hint && hint < LOW)
        hint = LOW;
    if (hint && hint + n <= FAKE_PAGES && model_free(hint, n))
        return (long)hint;
    for (uint64_t at = HIGH - n + 1; at-- > LOW;)
        if (model_free(at, n))
            return (long)at;
    for (uint64_t at = FAKE_PAGES / 3; at + n <= FAKE_PAGES; at++)
        if (model_free(at, n))
            return (long)at;
    return -ENOMEM;
}

static long model_mmap(const struct mmap_args *a, uint64_t n)
{
    long at = model_place(a->addr / PAGE_SIZE, n, a->flags);
    if (at < 0)
        return at;
    bool shared = a->flags & MAP_SHARED;
    uint32_t f = (shared ? VMA_SHARED : 0) | (a->flags & MAP_NORESERVE ? VMA_NORESERVE : 0);
    if (!shared && (a->prot & PROT_WRITE) && !(a->flags & MAP_NORESERVE))
        f |= VMA_ACCOUNT;
    f |= (!shared || a->may_write ? VMA_MAYWRITE : 0) | (!a->obj || a->may_exec ? VMA_MAYEXEC : 0);
    uint64_t off = a->obj ? a->off : (uint64_t)at * PAGE_SIZE;
    for (uint64_t i = 0; i < n; i++)
        m.p[(uint64_t)at + i] =
            (struct mpage){true, (uint8_t)a->prot, f, a->obj, off + i * PAGE_SIZE};
    return at * (long)PAGE_SIZE;
}

static int model_mprotect(uint64_t at, uint64_t n, int prot)
{
    for (uint64_t i = at; i < at + n; i++) {
        struct mpage *p = &m.p[i];
        if (!p->used)
            return -ENOMEM;
        if (((prot & PROT_WRITE) && !(p->flags & VMA_MAYWRITE)) ||
            ((prot & PROT_EXEC) && !(p->flags & VMA_MAYEXEC)))
            return -EACCES;
        p->prot = (uint8_t)prot;
        if ((prot & PROT_WRITE) && !(p->flags & (VMA_SHARED | VMA_NORESERVE)))
            p->flags |= VMA_ACCOUNT;
    }
    return 0;
}

static bool same_run(const struct mpage *a, const struct mpage *b)
{
    return a->used && b->used && a->prot == b->prot && a->flags == b->flags && a->obj == b->obj &&
           a->off + PAGE_SIZE == b->off;
}

static uint64_t run_end(uint64_t at)
{
    while (same_run(&m.p[at], &m.p[at + 1]))
        at++;
    return at + 1;
}

static void model_move(uint64_t from, uint64_t n, uint64_t to, uint64_t new_n)
{
    struct mpage tmp[64];
    for (uint64_t i = 0; i < new_n; i++) {
        tmp[i] = m.p[from + (n ? MIN(i, n - 1) : 0)];
        tmp[i].off = m.p[from].off + i * PAGE_SIZE;
    }
    memset(&m.p[from], 0, n * sizeof(tmp[0]));
    memcpy(&m.p[to], tmp, new_n * sizeof(tmp[0]));
}

// What mremap takes for one area although counting or origin differ: see join_source().
static void model_join(uint64_t at, uint64_t n)
{
    for (uint64_t i = at; m.p[at].used && i + 1 < at + n; i++) {
        struct mpage *a = &m.p[i], *b = &m.p[i + 1];
        if (same_run(a, b))
            continue;
        if (!b->used || a->obj || b->obj || a->prot != b->prot ||
            ((a->flags ^ b->flags) & ~(uint32_t)VMA_ACCOUNT))
            return;
        uint64_t from = i, to = run_end(i + 1);
        while (from && same_run(&m.p[from - 1], &m.p[from]))
            from--;
        uint32_t counted = (a->flags | b->flags) & VMA_ACCOUNT;
        for (uint64_t k = from; k < to; k++) {
            m.p[k].flags |= counted;
            m.p[k].off = m.p[from].off + (k - from) * PAGE_SIZE;
        }
    }
}

static long model_mremap(uint64_t at, uint64_t n, uint64_t new_n, int flags, uint64_t to)
{
    bool fixed = flags & MREMAP_FIXED;
    if (fixed && at + n > to && to + new_n > at)
        return -EINVAL;
    model_join(at, MIN(n, new_n));
    if (!m.p[at].used)
        return -EFAULT;
    if (fixed && to < LOW)
        return -EPERM;
    if (fixed && MIN(n, new_n) > run_end(at) - at)
        return -EFAULT;
    if (n >= new_n) {
        if (n > new_n)
            memset(&m.p[at + new_n], 0, (n - new_n) * sizeof(m.p[0]));
        if (!fixed)
            return (long)(at * PAGE_SIZE);
        n = new_n;
    }
    if (!n && !(m.p[at].flags & VMA_SHARED))
        return -EINVAL;
    if (n > run_end(at) - at)
        return -EFAULT;
    if (n == new_n && !fixed)
        return (long)(at * PAGE_SIZE);
    if (!fixed && n && run_end(at) == at + n && at + new_n <= FAKE_PAGES &&
        model_free(at + n, new_n - n)) {
        for (uint64_t i = n; i < new_n; i++) {
            m.p[at + i] = m.p[at + i - 1];
            m.p[at + i].off += PAGE_SIZE;
        }
        return (long)(at * PAGE_SIZE);
    }
    if (!(flags & MREMAP_MAYMOVE))
        return -ENOMEM;
    long dest = fixed ? (long)to : model_place(0, new_n, 0);
    if (dest < 0)
        return dest;
    model_move(at, n, (uint64_t)dest, new_n);
    return dest * (long)PAGE_SIZE;
}

static int model_advise(uint64_t at, uint64_t n, int advice)
{
    bool hole = false;
    for (uint64_t i = at; i < at + n; i++) {
        struct mpage *p = &m.p[i];
        if (!p->used) {
            hole = true;
            continue;
        }
        if (advice == MADV_WIPEONFORK && p->obj)
            return -EINVAL;
        if (advice == MADV_DONTFORK)
            p->flags |= VMA_DONTFORK;
        else if (advice == MADV_DOFORK)
            p->flags &= ~(uint32_t)VMA_DONTFORK;
        else if (advice == MADV_WIPEONFORK)
            p->flags |= VMA_WIPEONFORK;
        else if (advice == MADV_NORMAL)
            p->flags &= ~(uint32_t)(VMA_SEQ | VMA_RAND);
        else if (advice == MADV_RANDOM)
            p->flags = (p->flags & ~(uint32_t)VMA_SEQ) | VMA_RAND;
    }
    return hole ? -ENOMEM : 0;
}

static int model_lock(uint64_t at, uint64_t n, bool lock)
{
    for (uint64_t i = at; i < at + n; i++) {
        if (!m.p[i].used)
            return -ENOMEM;
        m.p[i].flags = (m.p[i].flags & ~(uint32_t)VMA_LOCKED) | (lock ? VMA_LOCKED : 0);
    }
    return 0;
}

static void model_from_tree(void)
{
    memset(m.p, 0, sizeof(m.p));
    for (struct vma *v = mm->vmas->first; v; v = v->next)
        for (uint64_t a = v->start; a < v->end; a += PAGE_SIZE)
            m.p[a / PAGE_SIZE] = (struct mpage){true, v->prot, v->flags, v->obj,
                                                v->off + (a - v->start)};
}

// Same pages, and the same division into VMAs: the longest possible runs.
static void compare_model(void)
{
    struct vma *v = mm->vmas->first;
    for (uint64_t i = 0; i < FAKE_PAGES;) {
        if (!m.p[i].used) {
            i++;
            continue;
        }
        CHECK(v && v->start == i * PAGE_SIZE && v->prot == m.p[i].prot && v->obj == m.p[i].obj);
        CHECK(v->flags == m.p[i].flags && v->off == m.p[i].off);
        i = run_end(i);
        CHECK(v->end == i * PAGE_SIZE);
        v = v->next;
    }
    CHECK(!v);
}

// --- random calls --------------------------------------------------------------------------------

static void step_mmap(long *got, long *want)
{
    static const int flag_choice[] = {0, 0, MAP_FIXED, MAP_FIXED, MAP_FIXED_NOREPLACE,
                                      MAP_NORESERVE};
    static const uint8_t prots[] = {0, 1, 3, 3, 3, 5, 7};
    uint64_t n = 1 + rnd(9);
    struct mmap_args a = {.len = n * PAGE_SIZE - rnd(2) * 100, .lim = no_limits};
    a.addr = rnd(3) ? (LOW - 2 + rnd(HIGH - LOW)) * PAGE_SIZE : 0;
    a.flags = flag_choice[rnd(ARRAY_LEN(flag_choice))] | MAP_PRIVATE;
    a.prot = prots[rnd(ARRAY_LEN(prots))];
    uint64_t o = rnd(5);
    if (o < 2) {
        a.obj = &objs[o].o;
        a.off = (LOW + rnd(4)) * PAGE_SIZE;
        if (a.addr && rnd(2)) // so that neighbours often continue each other
            a.off = a.addr;
        a.may_write = rnd(2);
        a.may_exec = rnd(4);
        if (rnd(2))
            a.flags = (a.flags & ~MAP_PRIVATE) | MAP_SHARED;
        if ((a.flags & MAP_SHARED) && !a.may_write)
            a.prot &= ~PROT_WRITE;
    } else {
        a.flags |= MAP_ANONYMOUS;
        a.may_write = a.may_exec = true;
    }
    *want = model_mmap(&a, n);
    *got = mm_mmap(mm, ctx, &a);
}

static void step_mremap(long *got, long *want)
{
    static const int choice[] = {0, MREMAP_MAYMOVE, MREMAP_MAYMOVE, MREMAP_MAYMOVE | MREMAP_FIXED};
    uint64_t at = LOW + rnd(HIGH - LOW), n = rnd(8), new_n = 1 + rnd(10);
    uint64_t to = LOW - 1 + rnd(HIGH - LOW);
    int flags = choice[rnd(ARRAY_LEN(choice))];
    *want = model_mremap(at, n, new_n, flags, to);
    *got = mm_mremap(mm, ctx, at * PAGE_SIZE, n * PAGE_SIZE, new_n * PAGE_SIZE, flags,
                     to * PAGE_SIZE, &no_limits);
}

static void random_call(long *got, long *want)
{
    static const int advice[] = {MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_NORMAL,
                                 MADV_RANDOM, MADV_DONTNEED};
    uint64_t at = LOW + rnd(HIGH - LOW - 12), n = 1 + rnd(12);
    int prot = (int)rnd(8), adv = advice[rnd(ARRAY_LEN(advice))];
    bool lock = rnd(2);
    if (at < LOW)
        at = LOW;
    switch (rnd(10)) {
    case 0: case 1: case 2:
        step_mmap(got, want);
        break;
    case 3:
        memset(&m.p[at], 0, n * sizeof(m.p[0]));
        *want = 0;
        *got = mm_munmap(mm, ctx, at * PAGE_SIZE, n * PAGE_SIZE - rnd(2));
        break;
    case 4: case 5:
        *want = model_mprotect(at, n, prot);
        *got = mm_mprotect(mm, ctx, at * PAGE_SIZE, n * PAGE_SIZE, prot);
        break;
    case 6: case 7:
        step_mremap(got, want);
        break;
    case 8:
        if (adv == MADV_DONTNEED) // its own test
            adv = MADV_RANDOM;
        *want = model_advise(at, n, adv);
        *got = mm_madvise(mm, ctx, at * PAGE_SIZE, n * PAGE_SIZE, adv);
        break;
    default:
        *want = model_lock(at, n, lock);
        *got = mm_mlock(mm, at * PAGE_SIZE, n * PAGE_SIZE, lock, &no_limits);
    }
}

TEST(mm_random_calls_match_model)
{
    setup();
    for (int i = 0; i < 30000; i++) {
        long got = 0, want = 0;
        random_call(&got, &want);
        if (got != want)
            print_error("step %d: got %ld, want %ld\n", i, got, want);
        assert_int_equal(got, want);
        compare_model();
        if (i % 16 == 0)
            fake_compare(mm);
    }
    teardown();
}

TEST(mm_host_failures_keep_tree_true)
{
    setup();
    for (int i = 0; i < 20000; i++) {
        long got, want;
        fake_fail_in = rnd(3) ? 0 : 1 + (int)rnd(3);
        random_call(&got, &want);
        fake_fail_in = 0;
        fake_compare(mm);
        model_from_tree();
        compare_model(); // still the longest runs
    }
    teardown();
}

// --- by hand -------------------------------------------------------------------------------------

static long map_at(uint64_t page, uint64_t n, int prot, int flags)
{
    struct mmap_args a = {.addr = page * PAGE_SIZE,
                          .len = n * PAGE_SIZE,
                          .prot = prot,
                          .flags = flags | MAP_PRIVATE | MAP_ANONYMOUS,
                          .may_write = true,
                          .may_exec = true,
                          .lim = no_limits};
    return mm_mmap(mm, ctx, &a);
}

TEST(mm_mmap_errors)
{
    setup();
    struct mmap_args a = {.flags = MAP_PRIVATE | MAP_ANONYMOUS, .lim = no_limits};
    assert_int_equal(mm_mmap(mm, ctx, &a), -EINVAL); // length 0
    a.len = UINT64_MAX;
    assert_int_equal(mm_mmap(mm, ctx, &a), -ENOMEM);
    a.len = FAKE_SIZE + PAGE_SIZE;
    assert_int_equal(mm_mmap(mm, ctx, &a), -ENOMEM);
    a.len = PAGE_SIZE;
    a.flags |= MAP_FIXED;
    a.addr = LOW * PAGE_SIZE + 1;
    assert_int_equal(mm_mmap(mm, ctx, &a), -EINVAL);
    a.addr = 0;
    assert_int_equal(mm_mmap(mm, ctx, &a), -EPERM);
    a.addr = FAKE_SIZE;
    assert_int_equal(mm_mmap(mm, ctx, &a), -ENOMEM);
    a.addr = LOW * PAGE_SIZE;
    a.lim.as = 0;
    assert_int_equal(mm_mmap(mm, ctx, &a), -ENOMEM);
    a.lim = no_limits;
    a.lim.data = 0;
    a.prot = PROT_READ; // not data
    assert_int_equal(mm_mmap(mm, ctx, &a), LOW * PAGE_SIZE);
    a.prot = PROT_READ | PROT_WRITE;
    a.addr += 8 * PAGE_SIZE;
    assert_int_equal(mm_mmap(mm, ctx, &a), -ENOMEM);
    // RLIMIT_AS counts what a fixed mapping replaces only once.
    a.lim = no_limits;
    a.lim.as = PAGE_SIZE;
    a.addr = LOW * PAGE_SIZE;
    assert_int_equal(mm_mmap(mm, ctx, &a), LOW * PAGE_SIZE);
    a.addr += 8 * PAGE_SIZE;
    assert_int_equal(mm_mmap(mm, ctx, &a), -ENOMEM);
    a.lim = no_limits;
    a.flags |= MAP_LOCKED;
    a.lim.memlock = 0;
    assert_int_equal(mm_mmap(mm, ctx, &a), -EPERM);
    a.lim.memlock = 100;
    assert_int_equal(mm_mmap(mm, ctx, &a), -EAGAIN);
    teardown();
}

TEST(mm_overcommit_refuses_the_obvious)
{
    setup();
    mm_set_total_memory(8 * PAGE_SIZE);
    assert_int_equal(map_at(0, 9, PROT_READ | PROT_WRITE, 0), -ENOMEM);
    assert_true(map_at(0, 9, PROT_READ | PROT_WRITE, MAP_NORESERVE) > 0);
    long p = map_at(0, 9, PROT_READ, 0);
    assert_true(p > 0);
    assert_int_equal(mm_mprotect(mm, ctx, (uint64_t)p, 9 * PAGE_SIZE, 3), -ENOMEM);
    mm_set_total_memory(UINT64_MAX);
    teardown();
}

TEST(mm_mprotect_edges)
{
    setup();
    uint64_t base = LOW * PAGE_SIZE;
    assert_int_equal(mm_mprotect(mm, ctx, base + 1, PAGE_SIZE, 0), -EINVAL);
    assert_int_equal(mm_mprotect(mm, ctx, base, 0, 0), 0);
    assert_int_equal(mm_mprotect(mm, ctx, base, PAGE_SIZE, 0), -ENOMEM);
    assert_int_equal(mm_mprotect(mm, ctx, base, UINT64_MAX - 5, 0), -ENOMEM);
    assert_int_equal(map_at(LOW, 4, PROT_READ, MAP_FIXED), base);
    assert_int_equal(mm_mprotect(mm, ctx, base, PAGE_SIZE, 0x40), -EINVAL);
    assert_int_equal(mm_mprotect(mm, ctx, base, PAGE_SIZE, PROT_READ | 0x01000000), -EINVAL);
    // The part in front of a hole is changed.
    assert_int_equal(mm_mprotect(mm, ctx, base + PAGE_SIZE, 9 * PAGE_SIZE, PROT_NONE), -ENOMEM);
    assert_int_equal(mm->vmas->count, 2);
    assert_int_equal(mm->vmas->last->prot, 0);
    // No host call when nothing changes.
    int calls = fake_calls;
    assert_int_equal(mm_mprotect(mm, ctx, base, PAGE_SIZE, PROT_READ), 0);
    assert_int_equal(fake_calls, calls);
    fake_compare(mm);
    teardown();
}

TEST(mm_brk_moves_and_stops)
{
    setup();
    uint64_t start = 40 * PAGE_SIZE;
    mm->brk_start = mm->brk = start;
    assert_int_equal(mm_brk(mm, ctx, 0, &no_limits), start);
    assert_int_equal(mm_brk(mm, ctx, start + 100, &no_limits), start + 100);
    assert_int_equal(mm->total_vm, 1);
    assert_int_equal(mm_brk(mm, ctx, start + 5 * PAGE_SIZE, &no_limits), start + 5 * PAGE_SIZE);
    assert_int_equal(mm->vmas->count, 1);
    assert_int_equal(mm_brk(mm, ctx, start + PAGE_SIZE + 1, &no_limits), start + PAGE_SIZE + 1);
    assert_int_equal(mm->total_vm, 2);
    // Something in the way, with one page of distance.
    assert_int_equal(map_at(50, 1, PROT_READ, MAP_FIXED), 50 * PAGE_SIZE);
    assert_int_equal(mm_brk(mm, ctx, 49 * PAGE_SIZE, &no_limits), 49 * PAGE_SIZE);
    assert_int_equal(mm_brk(mm, ctx, 49 * PAGE_SIZE + 1, &no_limits), 49 * PAGE_SIZE);
    struct mm_limits lim = no_limits;
    lim.data = 2 * PAGE_SIZE;
    assert_int_equal(mm_brk(mm, ctx, 40 * PAGE_SIZE, &lim), 40 * PAGE_SIZE);
    assert_int_equal(mm_brk(mm, ctx, 43 * PAGE_SIZE, &lim), 40 * PAGE_SIZE);
    struct strbuf b = {};
    mm_brk(mm, ctx, 41 * PAGE_SIZE, &no_limits);
    mm_show_maps(mm, &b, false);
    assert_non_null(strstr(b.p, "rw-p 00000000 00:00 0                                  [heap]"));
    strbuf_free(&b);
    fake_compare(mm);
    teardown();
}

TEST(mm_stack_grows_within_limits)
{
    setup();
    struct mm_limits lim = no_limits;
    lim.stack = 500 * PAGE_SIZE;
    uint64_t top = 1000 * PAGE_SIZE;
    int code;
    assert_int_equal(mm_map_stack(mm, ctx, top, 4 * PAGE_SIZE, 20 * PAGE_SIZE, 3), 0);
    mm->start_stack = top - 64;
    assert_int_equal(mm->total_vm, 4);
    fake_compare(mm);
    struct strbuf b = {};
    mm_show_maps(mm, &b, false);
    assert_non_null(strstr(b.p, "003e4000-003e8000 rw-p"));
    assert_non_null(strstr(b.p, "[stack]"));
    // The reservation is memory, but a hole for calls that name it.
    assert_int_equal(mm_mprotect(mm, ctx, top - 8 * PAGE_SIZE, PAGE_SIZE, 0), -ENOMEM);
    assert_false(mm_range_mapped(mm, top - 8 * PAGE_SIZE, PAGE_SIZE));
    mm_note_stack(mm, top - 6 * PAGE_SIZE + 8);
    assert_int_equal(mm->total_vm, 6);
    // Past the reservation: by fault.
    assert_true(mm_handle_fault(mm, ctx, top - 30 * PAGE_SIZE, 6, 0, &lim, &code));
    assert_int_equal(mm->total_vm, 30);
    fake_compare(mm);
    assert_false(mm_handle_fault(mm, ctx, top - 501 * PAGE_SIZE, 6, 0, &lim, &code));
    assert_int_equal(code, 1);
    // The guard gap.
    assert_int_equal(map_at(600, 1, PROT_READ, MAP_FIXED), 600 * PAGE_SIZE);
    assert_false(mm_handle_fault(mm, ctx, 700 * PAGE_SIZE, 6, 0, &lim, &code));
    assert_true(mm_handle_fault(mm, ctx, 857 * PAGE_SIZE, 6, 0, &lim, &code));
    assert_false(mm_handle_fault(mm, ctx, 856 * PAGE_SIZE, 6, 0, &lim, &code));
    strbuf_free(&b);
    teardown();
}

TEST(mm_stack_reservation_follows_its_stack)
{
    setup();
    uint64_t top = 1000 * PAGE_SIZE;
    assert_int_equal(mm_map_stack(mm, ctx, top, 4 * PAGE_SIZE, 20 * PAGE_SIZE, 3), 0);
    // PROT_GROWSDOWN, as glibc makes stacks executable: what grows later is so too.
    assert_int_equal(mm_mprotect(mm, ctx, top - PAGE_SIZE, PAGE_SIZE, 7 | 0x01000000), 0);
    fake_compare(mm);
    assert_int_equal(mm->vmas->first->prot, 7);
    assert_int_equal(mm->vmas->count, 2);
    // Without its lowest page the stack does not grow any more.
    assert_int_equal(mm_munmap(mm, ctx, top - 4 * PAGE_SIZE, PAGE_SIZE), 0);
    fake_compare(mm);
    assert_int_equal(mm->vmas->count, 1);
    teardown();
    setup();
    assert_int_equal(mm_map_stack(mm, ctx, top, 4 * PAGE_SIZE, 20 * PAGE_SIZE, 3), 0);
    assert_int_equal(map_at(996, 1, PROT_READ, MAP_FIXED), 996 * PAGE_SIZE);
    fake_compare(mm);
    assert_int_equal(mm->vmas->count, 2);
    teardown();
}

TEST(mm_fault_codes)
{
    setup();
    int code;
    assert_int_equal(map_at(LOW, 1, PROT_READ, MAP_FIXED), LOW * PAGE_SIZE);
    assert_false(mm_handle_fault(mm, ctx, 20 * PAGE_SIZE, 4, 0, &no_limits, &code));
    assert_int_equal(code, 1);
    assert_false(mm_handle_fault(mm, ctx, LOW * PAGE_SIZE + 8, 7, 0, &no_limits, &code));
    assert_int_equal(code, 2);
    assert_false(mm_handle_fault(mm, ctx, UINT64_MAX - 7, 5, 0, &no_limits, &code));
    assert_int_equal(code, 1);
    // A fault that the tree does not explain is tried again, but not for ever.
    int n = 0;
    while (mm_handle_fault(mm, ctx, LOW * PAGE_SIZE, 4, 0, &no_limits, &code))
        n++;
    assert_in_range(n, 1, 32);
    teardown();
}

TEST(mm_fork_copies_what_it_should)
{
    setup();
    assert_int_equal(map_at(20, 3, 3, MAP_FIXED), 20 * PAGE_SIZE);
    assert_int_equal(mm_madvise(mm, ctx, 21 * PAGE_SIZE, PAGE_SIZE, MADV_DONTFORK), 0);
    assert_int_equal(mm_mlock(mm, 20 * PAGE_SIZE, PAGE_SIZE, true, &no_limits), 0);
    struct mm *child;
    struct pcontext *cc;
    assert_int_equal(mm_fork(mm, ctx, &child, &cc), 0);
    assert_int_equal(child->total_vm, 2);
    assert_int_equal(child->locked_vm, 0);
    assert_int_equal(mm->locked_vm, 1);
    vma_tree_check(child->vmas);
    fake_ctx_free(cc);
    mm_put(child);
    teardown();
}

TEST(mm_mremap_dontunmap_and_duplicate)
{
    setup();
    assert_int_equal(map_at(20, 2, 3, MAP_FIXED), 20 * PAGE_SIZE);
    assert_int_equal(copy_out(mm, UADDR(20 * PAGE_SIZE), "old", 4), 0);
    uint64_t old = 20 * PAGE_SIZE, len = 2 * PAGE_SIZE;
    assert_int_equal(mm_mremap(mm, ctx, old, len, PAGE_SIZE, 5, 0, &no_limits), -EINVAL);
    long at = mm_mremap(mm, ctx, old, len, len, 5, 0, &no_limits);
    assert_true(at > 0 && at != 20 * (long)PAGE_SIZE);
    char b[4];
    assert_int_equal(copy_in(mm, b, UADDR(at), 4), 0);
    assert_string_equal(b, "old");
    assert_int_equal(copy_in(mm, b, UADDR(20 * PAGE_SIZE), 4), 0);
    assert_int_equal(b[0], 0);
    fake_compare(mm);
    teardown();
}

// A move over areas that differ in what is counted, behind one that the first would then join.
TEST(mm_mremap_over_what_cannot_be_joined)
{
    setup();
    constexpr uint64_t at = 32 * PAGE_SIZE;
    struct mmap_args a = {.len = PAGE_SIZE, .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, .lim = no_limits};
    for (uint64_t i = 0; i < 3; i++) { // counted and not accessible, not counted, counted and accessible
        a.addr = at + i * PAGE_SIZE;
        a.prot = i == 1 ? PROT_NONE : PROT_READ | PROT_WRITE;
        assert_int_equal(mm_mmap(mm, ctx, &a), a.addr);
    }
    assert_int_equal(mm_mprotect(mm, ctx, at, PAGE_SIZE, PROT_NONE), 0);
    assert_int_equal(mm_mremap(mm, ctx, at + PAGE_SIZE, 2 * PAGE_SIZE, 3 * PAGE_SIZE, MREMAP_MAYMOVE, 0,
                               &no_limits), -EFAULT);
    assert_int_equal(mm->vmas->count, 3);
    fake_compare(mm);
    teardown();
}

TEST(mm_names_and_maps_text)
{
    setup();
    struct mmap_args a = {.addr = 20 * PAGE_SIZE, .len = 2 * PAGE_SIZE, .off = PAGE_SIZE,
                          .prot = PROT_READ, .flags = MAP_SHARED | MAP_FIXED, .obj = &objs[0].o,
                          .lim = no_limits};
    assert_int_equal(mm_mmap(mm, ctx, &a), 20 * PAGE_SIZE);
    assert_int_equal(map_at(30, 4, 3, MAP_FIXED), 30 * PAGE_SIZE);
    assert_int_equal(mm_set_anon_name(mm, 31 * PAGE_SIZE, PAGE_SIZE, "pool"), 0);
    struct strbuf b = {};
    mm_show_maps(mm, &b, false);
    assert_string_equal(
        b.p, "00014000-00016000 r--s 00001000 08:01 77                                 /file1000\n"
             "0001e000-0001f000 rw-p 00000000 00:00 0 \n"
             "0001f000-00020000 rw-p 00000000 00:00 0                                  [anon:pool]\n"
             "00020000-00022000 rw-p 00000000 00:00 0 \n");
    assert_int_equal(mm_set_anon_name(mm, 31 * PAGE_SIZE, PAGE_SIZE, nullptr), 0);
    assert_int_equal(mm->vmas->count, 2);
    strbuf_free(&b);
    teardown();
}

TEST(mm_madvise_and_friends)
{
    setup();
    uint64_t base = 20 * PAGE_SIZE;
    assert_int_equal(map_at(20, 4, 3, MAP_FIXED), base);
    assert_int_equal(mm_madvise(mm, ctx, base, PAGE_SIZE, 9999), -EINVAL);
    assert_int_equal(mm_madvise(mm, ctx, base, PAGE_SIZE, MADV_MERGEABLE), -EINVAL);
    assert_int_equal(mm_madvise(mm, ctx, base + 1, PAGE_SIZE, MADV_DONTNEED), -EINVAL);
    assert_int_equal(mm_madvise(mm, ctx, base, 0, MADV_DONTNEED), 0);
    assert_int_equal(mm_madvise(mm, ctx, base, PAGE_SIZE, MADV_REMOVE), -EINVAL);
    assert_int_equal(copy_out(mm, UADDR(base), "x", 1), 0);
    assert_int_equal(mm_madvise(mm, ctx, base, PAGE_SIZE, MADV_DONTNEED), 0);
    char c = 1;
    assert_int_equal(copy_in(mm, &c, UADDR(base), 1), 0);
    assert_int_equal(c, 0);
    assert_int_equal(mm_madvise(mm, ctx, base, 9 * PAGE_SIZE, MADV_DONTNEED), -ENOMEM);
    assert_int_equal(mm_mlock(mm, base, 1, true, &no_limits), 0);
    assert_int_equal(mm_madvise(mm, ctx, base, PAGE_SIZE, MADV_DONTNEED), -EINVAL);
    uint8_t vec[4] = {};
    assert_int_equal(mm_mincore(mm, ctx, base, 4 * PAGE_SIZE, vec), 0);
    assert_int_equal(vec[3], 1);
    assert_int_equal(mm_mincore(mm, ctx, base, 5 * PAGE_SIZE, vec), -ENOMEM);
    assert_int_equal(mm_msync(mm, base, PAGE_SIZE, MS_SYNC), 0);
    assert_int_equal(mm_msync(mm, base, 5 * PAGE_SIZE, MS_SYNC), -ENOMEM);
    assert_int_equal(mm_msync(mm, base, PAGE_SIZE, MS_SYNC | MS_ASYNC), -EINVAL);
    assert_int_equal(mm_msync(mm, base, PAGE_SIZE, MS_INVALIDATE), -EBUSY);
    struct mm_limits lim = no_limits;
    lim.memlock = 2 * PAGE_SIZE;
    assert_int_equal(mm_mlock(mm, base, 2 * PAGE_SIZE, true, &lim), 0);
    assert_int_equal(mm_mlock(mm, base, 3 * PAGE_SIZE, true, &lim), -ENOMEM);
    lim.memlock = 0;
    assert_int_equal(mm_mlock(mm, base, PAGE_SIZE, true, &lim), -EPERM);
    teardown();
}

TEST(uaccess_bounds_and_strings)
{
    setup();
    uint64_t base = 20 * PAGE_SIZE, end = 22 * PAGE_SIZE;
    char b[64];
    assert_int_equal(map_at(20, 2, 3, MAP_FIXED), base);
    assert_int_equal(copy_out(mm, UADDR(end - 4), "abcd", 4), 0);
    assert_int_equal(copy_in(mm, b, UADDR(end - 4), 5), -EFAULT);
    assert_int_equal(copy_in_partial(mm, b, UADDR(end - 4), 9), 4);
    assert_int_equal(copy_in_partial(mm, b, UADDR(end), 9), -EFAULT);
    assert_int_equal(copy_in_partial(mm, b, UADDR(end), 0), 0);
    assert_int_equal(copy_in(mm, b, UADDR(FAKE_SIZE), 1), -EFAULT);
    assert_int_equal(copy_out(mm, UADDR(UINT64_MAX), "x", 1), -EFAULT);
    assert_int_equal(copy_in_str(mm, b, UADDR(end - 4), sizeof(b)), -EFAULT); // no NUL
    assert_int_equal(copy_out(mm, UADDR(end - 1), "", 1), 0);
    assert_int_equal(copy_in_str(mm, b, UADDR(end - 4), sizeof(b)), 3);
    assert_string_equal(b, "abc");
    assert_int_equal(copy_in_str(mm, b, UADDR(end - 4), 3), -ENAMETOOLONG);
    assert_int_equal(copy_in_str(mm, b, UADDR(0), 3), -EFAULT);
    assert_int_equal(clear_user(mm, UADDR(base + 5), PAGE_SIZE), 0);
    assert_int_equal(clear_user(mm, UADDR(base + 5), 2 * PAGE_SIZE), -EFAULT);
    uint32_t old, v = 7;
    assert_int_equal(put_user(mm, UADDR(base), v), 0);
    assert_int_equal(user_cmpxchg32(mm, ctx, UADDR(base), 7, 8, &old), 0);
    assert_int_equal(old, 7);
    assert_int_equal(get_user(mm, UADDR(base), v), 0);
    assert_int_equal(v, 8);
    assert_int_equal(user_cmpxchg32(mm, ctx, UADDR(base + 2), 7, 8, &old), -EFAULT);
    teardown();
}

TEST(uio_moves_across_pieces)
{
    setup();
    uint64_t base = 20 * PAGE_SIZE;
    assert_int_equal(map_at(20, 1, 3, MAP_FIXED), base);
    struct uiovec v[4] = {{base, 3}, {base + 10, 0}, {base + 20, 5}, {base + PAGE_SIZE, 4}};
    struct uio u = {.mm = mm, .v = v, .nv = 4, .resid = 12};
    assert_int_equal(uio_copy_to(&u, "abcdef", 6), 6);
    char b[32] = {};
    assert_int_equal(copy_in(mm, b, UADDR(base), 24), 0);
    assert_memory_equal(b, "abc", 3);
    assert_memory_equal(b + 20, "def", 3);
    assert_int_equal(u.resid, 6);
    assert_int_equal(uio_copy_to(&u, "ghijkl", 6), 2); // then the hole
    assert_int_equal(uio_copy_to(&u, "ijkl", 4), -EFAULT);
    u = (struct uio){.mm = mm, .v = v, .nv = 4, .resid = 7};
    uio_advance(&u, 2);
    assert_int_equal(uio_copy_from(&u, b, 32), 5);
    assert_memory_equal(b, "cdefg", 5);
    assert_int_equal(uio_copy_from(&u, b, 1), 0);
    struct uiovec kv;
    struct uio k = uio_kernel(&kv, b, 8);
    assert_int_equal(uio_zero_to(&k, 4), 4);
    assert_int_equal(uio_copy_to(&k, "123456", 6), 4);
    assert_memory_equal(b, "\0\0\0\0001234", 8);
    teardown();
}

TEST(shmobj_is_a_file)
{
    struct memobj *o;
    assert_int_equal(shmobj_new(3 * PAGE_SIZE, "/dev/zero", &o), 0);
    int fd = -1;
    assert_int_equal(o->ops->hostfd(o, true, true, &fd), 0);
    assert_int_equal(fd, shmobj_rdwr_fd(o));
    struct strbuf b = {};
    uint64_t dev, ino;
    o->ops->describe(o, &dev, &ino, &b);
    assert_string_equal(b.p, "/dev/zero (deleted)");
    strbuf_free(&b);
    memobj_put(o);
    assert_int_equal(shmobj_new(UINT64_MAX, nullptr, &o), -EFBIG);
}

// Only pages that were written by the descriptor are seen, and none after a cut.
TEST(shmobj_has_a_view)
{
    struct memobj *o;
    char c = 0;
    assert_int_equal(shmobj_new(8 * PAGE_SIZE, nullptr, &o), 0);
    int fd = shmobj_rdwr_fd(o);
    assert_null(shmobj_view(o, 0, 1));
    for (int i = 0; i < 40; i++) {
        assert_int_equal(pwrite(fd, "view", 4, 2 * PAGE_SIZE - 2), 4);
        shmobj_written(o, 2 * PAGE_SIZE - 2, 4);
    }
    uint8_t *v = shmobj_view(o, 2 * PAGE_SIZE - 2, 4);
    assert_non_null(v);
    assert_memory_equal(v, "view", 4);
    v[1] = 'I';
    assert_int_equal(pread(fd, &c, 1, 2 * PAGE_SIZE - 1), 1);
    assert_int_equal(c, 'I');
    assert_ptr_equal(shmobj_view(o, PAGE_SIZE, 2 * PAGE_SIZE), v - (PAGE_SIZE - 2));
    assert_null(shmobj_view(o, PAGE_SIZE - 1, 2));
    assert_null(shmobj_view(o, 3 * PAGE_SIZE - 1, 2));
    assert_null(shmobj_view(o, PAGE_SIZE, 0));
    assert_null(shmobj_view(o, UINT64_MAX, 2));
    assert_null(shmobj_view(o, SHM_VIEW - 1, 2));
    shmobj_written(o, SHM_VIEW - 1, 2);
    shmobj_written(o, UINT64_MAX, SIZE_MAX);
    shmobj_cut(o);
    assert_null(shmobj_view(o, PAGE_SIZE, 1));
    memobj_put(o);
}
