// SPDX-License-Identifier: Apache-2.0
// Patched system call sites, the Sentry's side: the context's own thread decodes and writes
// (stub/patch.c); here its report is checked. No byte of guest text is interpreted by us: what the
// stub says was there before is only ever shown to who reads the text of this very space.
#include "abi/errno.h"
#include "base/log.h"
#include "host/raw.h"
#include "platform/systrap/systrap.h"
#include "sched/timer.h"
#include <string.h>

constexpr uint32_t TRIES_MAX = 4096; // in vain, per space

static uint64_t sites[PATCH_FORMS], calls[PATCH_FORMS], refused, drains, answers, sigsys; // [A] counters

bool st_hot(struct st_aspace *as)
{
    return st.patching && READ_SHARED(as->patch_tries) < TRIES_MAX;
}

// Within what may be changed, and not across the end of a page.
static bool in_page(const struct ppatch *p, uint64_t addr, uint64_t len)
{
    return addr >= p->lo && addr < p->hi && len <= p->hi - addr && addr % PAGE_SIZE <= PAGE_SIZE - len;
}

int st_patch(struct pcontext *ctx, struct ppatch *p)
{
    struct st_context *c = st_ctx(ctx);
    struct stub_work w = {.op = WORK_PATCH,
                          .a = {p->rip, p->lo, p->hi, p->tramp, (uint64_t)p->prot}};
    uint64_t first = PAGE_ALIGN_DOWN(p->lo);
    if (p->lo >= p->hi || p->hi - first > 2 * PAGE_SIZE ||
        !guest_range_ok(first, PAGE_ALIGN_UP(p->hi) - first) ||
        !guest_range_ok(PAGE_ALIGN_DOWN(p->tramp), PAGE_SIZE))
        return -EINVAL;
    int err = st_work(c, &w, 1, false);
    if (err)
        return err;
    if (w.ret <= 0 || w.ret >= PATCH_FORMS) {
        __atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&st_as(ctx->as)->patch_tries, 1, __ATOMIC_RELAXED);
        if (w.ret != -EIO)
            return w.ret == -ENOENT ? -ENOENT : -EINVAL;
        st_kill(st_as(ctx->as), "its text could not be made executable again");
        return -ESRCH;
    }
    struct patch_made m;
    const uint64_t *a = c->slot->work[0].a;
    m.addr = READ_SHARED(a[0]);
    m.bytes = READ_SHARED(a[1]);
    m.len = READ_SHARED(a[2]);
    m.hole = READ_SHARED(a[3]);
    m.hole_bytes = READ_SHARED(a[4]);
    if (m.len < 2 || m.len > 5 || !in_page(p, m.addr, m.len) || m.addr + m.len > p->rip ||
        (m.hole && (!in_page(p, m.hole, 5) || PAGE_ALIGN_DOWN(m.hole) != PAGE_ALIGN_DOWN(m.addr)))) {
        st_kill(st_as(ctx->as), "the stub lied about a patch");
        return -ESRCH;
    }
    p->addr = m.addr;
    p->len = (uint8_t)m.len;
    p->hole = m.hole;
    p->hole_len = m.hole ? 5 : 0;
    memcpy(p->bytes, &m.bytes, sizeof(p->bytes));
    memcpy(p->hole_bytes, &m.hole_bytes, sizeof(p->hole_bytes));
    __atomic_fetch_add(&sites[w.ret], 1, __ATOMIC_RELAXED);
    return 0;
}

int st_poke(struct pcontext *ctx, uint64_t addr, const uint8_t *bytes, size_t n, int prot)
{
    struct stub_work w = {.op = WORK_POKE, .a = {addr, 0, n, (uint64_t)prot}};
    if (n > 8 || !guest_range_ok(PAGE_ALIGN_DOWN(addr), PAGE_SIZE))
        return -EINVAL;
    memcpy(&w.a[1], bytes, n);
    int err = st_work(st_ctx(ctx), &w, 1, false);
    return err ? err : (int)stub_result(w.ret);
}

// --- drain ---------------------------------------------------------------------------------------
// A thread that is interrupted in a trampoline goes back to its site (stub/patch.c). So it is enough
// that each of them has come to us once, for whatever reason.
static bool drained(struct st_context *c)
{
    if (c->drain && (READ_SHARED(c->nevents) != c->drain_from || c->uw.ready(&c->uw) ||
                     __atomic_load_n(&c->waiting, __ATOMIC_SEQ_CST) != ST_USER))
        c->drain = false;
    return !c->drain;
}

static bool drain_look(struct st_aspace *as, struct st_context *self, bool first, bool kick)
{
    bool all = true;
    spin_lock(&as->ctx_lock);
    list_for_each (it, &as->ctxs) {
        struct st_context *c = list_entry(it, struct st_context, link);
        if (first) {
            c->drain = c != self;
            c->drain_from = READ_SHARED(c->nevents);
        }
        if (drained(c))
            continue;
        all = false;
        if (kick && c->tid)
            host_call(__NR_tgkill, as->pid, c->tid, STUB_SIGNAL);
    }
    spin_unlock(&as->ctx_lock);
    return all;
}

void st_drain(struct pcontext *ctx)
{
    // Counted in looks: a machine that was frozen or starved counts few.
    constexpr ktime_t again = 10000000;
    constexpr unsigned patience = 500;
    struct st_aspace *as = st_as(ctx->as);
    if (st_prove(as))
        return;
    __atomic_fetch_add(&drains, 1, __ATOMIC_RELAXED);
    ktime_t kicked = ktime_now();
    unsigned kicks = 0;
    bool done = drain_look(as, st_ctx(ctx), true, true);
    while (!done && !st_dead(as)) {
        fiber_yield();
        ktime_t now = ktime_now();
        bool kick = now - kicked > again;
        if (kick) {
            kicked = now;
            if (++kicks > patience)
                st_kill(as, "it ignores interrupts");
        }
        done = drain_look(as, st_ctx(ctx), false, kick);
    }
}

// --- counters ------------------------------------------------------------------------------------
void st_patch_count(struct st_context *c)
{
    for (unsigned form = 1; form < PATCH_FORMS; form++)
        __atomic_fetch_add(&calls[form], READ_SHARED(c->slot->calls[form - 1]), __ATOMIC_RELAXED);
    __atomic_fetch_add(&sigsys, READ_SHARED(c->slot->sigsys), __ATOMIC_RELAXED);
    __atomic_fetch_add(&answers, READ_SHARED(c->slot->answers), __ATOMIC_RELAXED);
}

void st_report(void)
{
    static const char *const names[PATCH_FORMS] = {
        [PATCH_A] = "A", [PATCH_A2] = "A2", [PATCH_B] = "B", [PATCH_C] = "C", [PATCH_E] = "E"};
    for (unsigned form = 1; form < PATCH_FORMS; form++)
        log_debug("systrap: form %s: %lu sites patched, %lu calls by threads that have ended", names[form],
                  READ_SHARED(sites[form]), READ_SHARED(calls[form]));
    log_debug("systrap: sites refused %lu; drains %lu; calls by SIGSYS: %lu; answered by the stub: %lu",
              READ_SHARED(refused), READ_SHARED(drains), READ_SHARED(sigsys), READ_SHARED(answers));
}
