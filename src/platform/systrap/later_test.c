// SPDX-License-Identifier: Apache-2.0
// Deferred memory calls of several threads of a space, real stubs behind them: who waits for one is told
// when it has been made, was refused, or will never be made. See platform_test.c for the harness.
#include "host/raw.h"
#include "platform/platform_test.h"
#include "platform/systrap/systrap.h"
#include <signal.h>
#include <sys/mman.h>

constexpr int RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS, THREADS = 3;
constexpr uint64_t PLACE = 0x20000000, LEN = 0x4000;

extern const char l_start[], l_end[], l_calls[];
__asm__(".pushsection .rodata\n"
        ".balign 64\n"
        "l_start:\n"
        "l_calls: mov $39, %eax; syscall; jmp l_calls\n"
        "l_end:\n"
        ".popsection\n");

static struct mutex lock = MUTEX_INIT(lock, RANK_MM);

static void later_new(struct guest *g, bool (*call)(struct guest *))
{
    *g = (struct guest){.call = call};
    CHECK(!P->aspace_new(nullptr, &g->as, &g->ctx));
    guest_load(g->as, g->ctx, l_start, l_end);
    guest_regs(&g->r, l_start, l_calls);
}
static bool stop_at_call(struct guest *g)
{
    return false;
}
static struct pdefer op(int kind)
{
    return (struct pdefer){.kind = kind, .addr = PLACE, .len = LEN,
                           .prot = kind == PDEFER_PROTECT ? PROT_READ : RW, .flags = ANON};
}

// --- order -----------------------------------------------------------------------------------------
// One place, mapped, protected and unmapped by turns, each step by whoever comes: the host refuses a
// step that does not find the one before.
static struct {
    struct pcontext *by; // [lock] who has the last step
    unsigned step, waits;
} chain;

static bool next_step(struct guest *g)
{
    static const int kinds[] = {PDEFER_MAP, PDEFER_PROTECT, PDEFER_UNMAP};
    mutex_lock(&lock);
    while (chain.by && chain.by != g->ctx && P->deferred(chain.by)) {
        chain.waits++;
        P->await(chain.by, &lock);
    }
    struct pdefer d = op(kinds[chain.step % 3]);
    bool more = chain.step < 6000;
    if (more) {
        CHECK(P->defer(g->ctx, &d) && P->deferred(g->ctx));
        chain.step++;
        chain.by = g->ctx;
    }
    mutex_unlock(&lock);
    return more;
}

SYSTRAP_TEST(later_order)
{
    struct guest g, t[THREADS] = {};
    later_new(&g, stop_at_call);
    for (int i = 0; i < THREADS; i++) {
        CHECK(!P->context_new(g.ctx, &t[i].ctx));
        t[i].call = next_step;
        t[i].keep = true;
        guest_regs(&t[i].r, l_start, l_calls);
        guest_spawn(&t[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        guest_join(&t[i]);
        CHECK(t[i].ev.kind == PEV_SYSCALL && !P->deferred(t[i].ctx)); // none was refused
    }
    CHECK(chain.step == 6000 && list_empty(&st_as(g.as)->gates));
    for (int i = 0; i < THREADS; i++)
        P->context_free(t[i].ctx);
    guest_free(&g);
}

// --- one who waits ---------------------------------------------------------------------------------
struct watcher {
    struct pcontext *of;
    struct fiber *parent;
    bool waits, done; // [A]
};
static void watch(void *arg)
{
    struct watcher *w = arg;
    mutex_lock(&lock);
    __atomic_store_n(&w->waits, true, __ATOMIC_SEQ_CST);
    while (P->deferred(w->of))
        P->await(w->of, &lock);
    mutex_unlock(&lock);
    __atomic_store_n(&w->done, true, __ATOMIC_SEQ_CST);
    fiber_wake(w->parent);
    fiber_exit(nullptr, nullptr);
}
static bool gated(struct pcontext *ctx)
{
    struct st_aspace *as = st_as(ctx->as);
    spin_lock(&as->ctx_lock);
    bool any = !list_empty(&as->gates);
    spin_unlock(&as->ctx_lock);
    return any;
}
// It waits, or has found already that it need not.
static void watch_begin(struct watcher *w, struct pcontext *of)
{
    *w = (struct watcher){.of = of, .parent = fiber_current()};
    struct fiber *f = fiber_new(watch, w, nullptr);
    CHECK(f);
    fiber_start(f);
    while (!gated(of) && !__atomic_load_n(&w->done, __ATOMIC_SEQ_CST))
        fiber_yield();
}
static void watch_end(struct watcher *w)
{
    while (!__atomic_load_n(&w->done, __ATOMIC_SEQ_CST))
        (void)fiber_park(ktime_now() + 1000000000, PARK_UNINTERRUPTIBLE);
}

SYSTRAP_TEST(later_made_and_refused)
{
    struct guest g;
    struct watcher w;
    later_new(&g, stop_at_call);
    for (int i = 0; i < 200; i++) {
        guest_run(&g);
        struct pdefer d = op(i % 2 ? PDEFER_UNMAP : PDEFER_MAP);
        CHECK(P->defer(g.ctx, &d) && !P->defer(g.ctx, &d));
        watch_begin(&w, g.ctx);
        CHECK(!w.done);
        if (i % 3 == 0) {
            CHECK(!P->settle(g.ctx));
            watch_end(&w); // before the guest goes on
        }
        guest_run(&g);
        CHECK(g.ev.kind == PEV_SYSCALL && !P->deferred(g.ctx));
        watch_end(&w);
    }
    for (int i = 0; i < 100; i++) { // there is nothing to protect
        struct pdefer d = op(PDEFER_PROTECT);
        CHECK(P->defer(g.ctx, &d));
        watch_begin(&w, g.ctx);
        if (i % 2) {
            CHECK(P->settle(g.ctx) == -ENOMEM);
        } else {
            P->run(g.ctx, &g.r, &g.ev);
            CHECK(g.ev.kind == PEV_REFUSED && g.ev.code == ENOMEM);
        }
        for (int k = 0; k < 20; k++)
            fiber_yield();
        CHECK(P->deferred(g.ctx) && !w.done); // not before it has been dealt with
        P->deferred_end(g.ctx);
        watch_end(&w);
        guest_run(&g);
    }
    guest_free(&g);
}

// A stub that has the call and does not make it, says so without a word, or dies.
SYSTRAP_TEST(later_liars)
{
    struct guest g;
    struct watcher w;
    for (int k = 0; k < 3; k++) {
        later_new(&g, stop_at_call);
        guest_run(&g);
        struct st_context *c = st_ctx(g.ctx);
        struct st_aspace *as = st_as(g.as);
        st_later_send(c); // but it is not
        CHECK(P->deferred(g.ctx));
        watch_begin(&w, g.ctx);
        if (k == 0) {
            WRITE_SHARED(c->slot->work[0].ret, 0);
        } else if (k == 1) {
            for (uint32_t t = st_tick(); st_tick() - t < 3;) // seconds, as the sweep counts them
                guest_sleep_ms(100);
            bool late = false, never = false;
            spin_lock(&as->ctx_lock);
            CHECK(st_gates_sweep(as, 1, &late) && st_gates_sweep(as, 1000, &never));
            spin_unlock(&as->ctx_lock);
            CHECK(late && !never && !w.done);
            st_kill(as, nullptr);
        } else {
            CHECK(host_call(__NR_tgkill, as->pid, as->pid, SIGKILL) == 0);
        }
        watch_end(&w);
        CHECK(k == 0 || st_dead(as));
        CHECK(!P->deferred(g.ctx));
        guest_free(&g);
    }
}
