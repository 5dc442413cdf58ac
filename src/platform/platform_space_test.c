// SPDX-License-Identifier: Apache-2.0
// Address spaces as a whole, on both platforms: killed from outside, many at once, from a zygote of a
// container's own; and figures ($NACRE_BENCH). Harness and guest code: platform_test.c.
#include "host/raw.h"
#include "platform/platform_test.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

PLATFORM_TEST(host_kill_is_seen)
{
    struct guest g = {}, h = {};
    guest_new(&g, g_spin);
    CHECK(!P->aspace_fork(g.ctx, &h.as, &h.ctx));
    guest_regs(&h.r, g_start, g_spin);
    guest_spawn(&h);
    guest_sleep_ms(5);
    CHECK(!kill(P->host_pid(h.as), SIGKILL));
    guest_join(&h);
    CHECK(h.ev.kind == PEV_DEAD);
    P->aspace_free(h.as);
    CHECK(!P->map(g.ctx, 0x900000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(!kill(P->host_pid(g.as), SIGKILL));
    uint64_t v;
    guest_sleep_ms(10);
    CHECK(P->map(g.ctx, 0x900000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -ESRCH);
    CHECK(P->read_mem(g.as, &v, UADDR(DATA), 8) < 0);
    P->run(g.ctx, &g.r, &g.ev);
    CHECK(g.ev.kind == PEV_DEAD);
    guest_free(&g);
}

PLATFORM_TEST(many_spaces)
{
    enum { N = 100 };
    static struct guest g[N];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            memset(&g[i], 0, sizeof(g[i]));
            guest_new(&g[i], g_regs);
            g[i].call = call_regs;
            g[i].r.rbx = 50;
            guest_spawn(&g[i]);
        }
        for (int i = 0; i < N; i++) {
            guest_join(&g[i]);
            check_exit(&g[i], 0x1111111111111111);
            P->aspace_free(g[i].as);
        }
    }
}

// Spaces of a zygote of its own, which ends with and without one that is kept ready; they live on.
PLATFORM_TEST(own_zygote)
{
    for (int spaces = 0; spaces < 4; spaces++) {
        struct pzygote *z;
        struct guest g[3] = {};
        int pid = 0;
        CHECK(!P->zygote_new(&z, &pid) && pid > 1);
        for (int i = 0; i < spaces; i++) {
            CHECK(!P->aspace_new(z, &g[i].as, &g[i].ctx));
            CHECK(P->host_pid(g[i].as) != pid);
            guest_load(g[i].as, g[i].ctx, g_start, g_end);
            guest_regs(&g[i].r, g_start, g_regs);
            g[i].call = call_regs;
            g[i].r.rbx = 20;
        }
        P->zygote_free(z);
        for (int i = 0; i < spaces; i++) {
            guest_run(&g[i]);
            check_exit(&g[i], 0x1111111111111111);
            guest_free(&g[i]);
        }
    }
}

// --- figures ---------------------------------------------------------------------------------------
static bool call_count(struct guest *g)
{
    g->r.rax = g->r.rbx + 1000;
    return true;
}
PLATFORM_TEST(bench)
{
    if (!getenv("NACRE_BENCH"))
        return;
    struct guest g = {.call = call_count};
    guest_new(&g, g_regs);
    for (int round = 0; round < 5; round++) {
        guest_regs(&g.r, g_start, g_regs);
        g.r.rbx = 200000;
        ktime_t t = ktime_now();
        guest_run(&g);
        printf("  call round trip %.0f ns\n", (double)(ktime_now() - t) / 200000);
    }
    ktime_t t = ktime_now();
    for (int i = 0; i < 50000; i++) {
        CHECK(!P->map(g.ctx, 0x10000000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        CHECK(!P->unmap(g.ctx, 0x10000000, 4096));
    }
    printf("  map+unmap %.0f ns\n", (double)(ktime_now() - t) / 50000);
    t = ktime_now();
    for (int i = 0; i < 2000; i++) {
        struct guest c = {};
        CHECK(!P->aspace_fork(g.ctx, &c.as, &c.ctx));
        guest_free(&c);
    }
    printf("  fork+exit %.0f ns\n", (double)(ktime_now() - t) / 2000);
    t = ktime_now();
    for (int i = 0; i < 2000; i++) {
        struct guest c = {};
        CHECK(!P->aspace_new(nullptr, &c.as, &c.ctx));
        guest_free(&c);
    }
    printf("  new space+free %.0f ns\n", (double)(ktime_now() - t) / 2000);
    t = ktime_now();
    for (int i = 0; i < 10000; i++) {
        struct guest c = {};
        CHECK(!P->context_new(g.ctx, &c.ctx));
        P->context_free(c.ctx);
    }
    printf("  new thread+free %.0f ns\n", (double)(ktime_now() - t) / 10000);
    guest_free(&g);
}
