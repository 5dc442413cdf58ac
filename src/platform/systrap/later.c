// SPDX-License-Identifier: Apache-2.0
// Deferred memory calls: kept until the context's next return to the guest and made by its stub on the
// way (STUB_WORK_RETURN), or before anything else that it is asked for; and the waiting of others for
// them. Called by mem/ and by this folder.
//
// Trust: that a call has been made is the stub's word, in hostile memory. One that says so too early
// confuses the order of its own space's mappings, and it can change those as it likes anyway. One that
// never says so is killed with its space (st_gates_sweep), which ends every wait.
#include "base/slab.h"
#include "host/raw.h"
#include "platform/systrap/systrap.h"
#include <sys/mman.h>

// Who waits, on its own stack. It watches the word in the slot while the call is with the stub, as
// workers watch for events, and asks to be rung when nobody looks.
struct st_gate {
    struct list link;      // [ctx_lock]
    struct user_wait uw;
    struct st_aspace *as;
    struct slot *slot;     // null: it has not been sent
    uint32_t seq;          // of the space when the wait began
    uint32_t tick;
};

bool st_defer(struct pcontext *ctx, const struct pdefer *d)
{
    struct st_context *c = st_ctx(ctx);
    if (st.no_answers || c->refused || !c->fast || !c->cur_valid || !guest_range_ok(d->addr, d->len) ||
        !(st_later_is(c, LATER_NONE) || st_later_is(c, LATER_REFUSED)))
        return false;
    struct stub_work w = {.op = WORK_CALL, .a = {d->addr, d->len, (uint64_t)d->prot}};
    switch (d->kind) {
    case PDEFER_MAP:
        w.nr = __NR_mmap;
        w.a[3] = (uint64_t)(d->flags | MAP_FIXED);
        w.a[4] = ~0ull;
        break;
    case PDEFER_UNMAP:
        w.nr = __NR_munmap;
        w.a[2] = 0;
        break;
    case PDEFER_PROTECT: w.nr = __NR_mprotect; break;
    case PDEFER_ADVISE: w.nr = __NR_madvise; break;
    }
    st_shape_changes(st_space_of(c));
    c->later = w;
    __atomic_store_n(&c->later_state, LATER_SET, __ATOMIC_SEQ_CST);
    return true;
}

int st_refusal(const struct stub_work *w)
{
    return w->ret < 0 && w->ret >= -4095 ? (int)stub_result(w->ret) : 0;
}

// Who begins to wait marks the context and then looks at the state: we see the mark, or it the state.
void st_later_state(struct st_context *c, enum st_later state)
{
    struct st_aspace *as = st_space_of(c);
    __atomic_store_n(&c->later_state, state, __ATOMIC_SEQ_CST);
    if (likely(!__atomic_load_n(&c->later_waited, __ATOMIC_SEQ_CST)))
        return;
    __atomic_store_n(&c->later_waited, 0, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&as->later_seq, 1, __ATOMIC_SEQ_CST);
    spin_lock(&as->ctx_lock);
    st_gates_wake(as, false);
    spin_unlock(&as->ctx_lock);
}

void st_later(struct st_context *c)
{
    struct stub_work w = c->later;
    if (!st_later_is(c, LATER_SET))
        return;
    __atomic_store_n(&c->later_state, LATER_MAKING, __ATOMIC_SEQ_CST);
    if (!st_work(c, &w, 1, false)) // else run() finds it dead
        c->refused = st_refusal(&w);
    st_later_state(c, c->refused ? LATER_REFUSED : LATER_NONE);
}

// Who waits already wakes and waits again, for the word in the slot.
void st_later_send(struct st_context *c)
{
    WRITE_SHARED(c->slot->work[0].ret, LATER_PENDING);
    st_later_state(c, LATER_SENT);
}

int st_settle(struct pcontext *ctx)
{
    struct st_context *c = st_ctx(ctx);
    struct st_aspace *as = st_as(ctx->as);
    if (as->batch) {
        int err = st_batch_flush(as);
        mem_free(as->batch);
        as->batch = nullptr;
        return err;
    }
    st_later(c);
    int err = c->refused;
    c->refused = 0;
    return err;
}

void st_deferred_end(struct pcontext *ctx)
{
    struct st_context *c = st_ctx(ctx);
    if (st_later_is(c, LATER_REFUSED))
        st_later_state(c, LATER_NONE);
}

// --- waiting for it ------------------------------------------------------------------------------
// In the slot of a call that was sent. An error: its owner will hear of it.
static bool sent_pending(struct slot *s)
{
    int64_t v = __atomic_load_n(&s->work[0].ret, __ATOMIC_SEQ_CST);
    return v == LATER_PENDING || v == LATER_WAITED || (v < 0 && v >= -4095);
}

static bool pending(struct st_context *c, enum st_later state)
{
    if (state == LATER_NONE || st_dead(st_space_of(c)))
        return false;
    return state != LATER_SENT || sent_pending(c->slot);
}

bool st_deferred(struct pcontext *ctx)
{
    struct st_context *c = st_ctx(ctx);
    return pending(c, __atomic_load_n(&c->later_state, __ATOMIC_SEQ_CST));
}

static bool gate_ready(struct user_wait *uw)
{
    struct st_gate *g = container_of(uw, struct st_gate, uw);
    return __atomic_load_n(&g->as->later_seq, __ATOMIC_SEQ_CST) != g->seq || st_dead(g->as) ||
           (g->slot && !sent_pending(g->slot));
}

static void gate_asleep(struct user_wait *uw, bool asleep)
{
    struct st_gate *g = container_of(uw, struct st_gate, uw);
    int64_t v = LATER_PENDING;
    if (asleep && g->slot)
        __atomic_compare_exchange_n(&g->slot->work[0].ret, &v, LATER_WAITED, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
}

void st_gates_wake(struct st_aspace *as, bool everybody)
{
    list_for_each (it, &as->gates) {
        struct st_gate *g = list_entry(it, struct st_gate, link);
        struct fiber *f = READ_SHARED(g->uw.fiber);
        if (f && (everybody || gate_ready(&g->uw)))
            fiber_wake(f);
    }
}

bool st_gates_sweep(struct st_aspace *as, uint32_t patience, bool *late)
{
    list_for_each (it, &as->gates) {
        struct st_gate *g = list_entry(it, struct st_gate, link);
        *late |= st_tick() - g->tick > patience && !gate_ready(&g->uw);
    }
    st_gates_wake(as, false); // a guest can silence its own doorbell
    return !list_empty(&as->gates);
}

// The context may be gone as soon as m is released; the slots are not, since the caller has the space.
void st_await(struct pcontext *ctx, struct mutex *m)
{
    struct st_context *c = st_ctx(ctx);
    struct st_aspace *as = st_space_of(c);
    struct st_gate g = {.as = as,
                        .seq = __atomic_load_n(&as->later_seq, __ATOMIC_SEQ_CST),
                        .tick = st_tick(),
                        .uw = {.ready = gate_ready,
                               .set_asleep = gate_asleep,
                               .blocked = true,
                               .fiber = fiber_current(),
                               .cpu = &c->slot->cpu}};
    list_init(&g.uw.link);
    __atomic_store_n(&c->later_waited, 1, __ATOMIC_SEQ_CST);
    enum st_later state = __atomic_load_n(&c->later_state, __ATOMIC_SEQ_CST);
    if (!pending(c, state))
        return;
    g.slot = state == LATER_SENT ? c->slot : nullptr;
    spin_lock(&as->ctx_lock);
    list_push_back(&as->gates, &g.link);
    spin_unlock(&as->ctx_lock);
    st_watch_waits();
    mutex_unlock(m);
    while (!gate_ready(&g.uw))
        fiber_park_user(&g.uw);
    spin_lock(&as->ctx_lock);
    list_del(&g.link);
    spin_unlock(&as->ctx_lock);
    mutex_lock(m);
}
