// SPDX-License-Identifier: Apache-2.0
// Contexts: one guest thread each, and the handover of its slot. Owned by one fiber; interrupt() and
// the doorbell come from elsewhere. What a slot says is hostile (see systrap.h).
#include "abi/errno.h"
#include "base/log.h"
#include "base/slab.h"
#include "host/raw.h"
#include "platform/systrap/systrap.h"
#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/random.h>
#include <signal.h>
#include <string.h>

SLAB_DEFINE(context_slab, struct st_context);

// --- slots ---------------------------------------------------------------------------------------
// Threads that were told to end and have left their slots for good. [ctx_lock]
static void slots_reclaim(struct st_aspace *as)
{
    for (uint32_t w = 0; as->nleaving && w < ARRAY_LEN(as->leaving); w++) {
        for (uint64_t bits = as->leaving[w]; bits; bits &= bits - 1) {
            uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(bits);
            struct slot *s = (struct slot *)(as->slots + (size_t)i * SLOT_SIZE);
            if (__atomic_load_n(&s->state, __ATOMIC_ACQUIRE) != SLOT_GONE)
                continue;
            as->leaving[w] &= ~(1ull << (i % 64));
            as->used[w] &= ~(1ull << (i % 64));
            as->nleaving--;
        }
    }
}

static int slot_take(struct st_aspace *as)
{
    slots_reclaim(as);
    for (uint32_t w = 0; w < ARRAY_LEN(as->used); w++) {
        if (as->used[w] == ~0ull)
            continue;
        uint32_t bit = (uint32_t)__builtin_ctzll(~as->used[w]);
        as->used[w] |= 1ull << bit;
        return (int)(w * 64 + bit);
    }
    return -EAGAIN;
}

static bool ready(struct user_wait *uw)
{
    struct st_context *c = container_of(uw, struct st_context, uw);
    uint32_t v = __atomic_load_n(&c->slot->state, __ATOMIC_ACQUIRE);
    return v == SLOT_EVENT || v == SLOT_SLEEP || st_dead(st_space_of(c));
}
static void set_asleep(struct user_wait *uw, bool asleep)
{
    struct st_context *c = container_of(uw, struct st_context, uw);
    __atomic_store_n(&c->slot->asleep, asleep, __ATOMIC_SEQ_CST);
}

// Nothing is published yet: the kernel is asked until it has.
static void public_init(struct st_context *c)
{
    struct ppublic *p = &st_space_of(c)->pub[c->index];
    *p = (struct ppublic){.full = st.no_answers ? PUB_OFF : PUB_STALE};
    if (st.no_answers)
        return;
    c->base.pub = p;
    c->base.mask = &c->slot->mask;
    c->base.sleeping = &c->slot->sleeping;
}

static void rest(struct user_wait *uw)
{
    struct st_context *c = container_of(uw, struct st_context, uw);
    WRITE_SHARED(c->slot->worker_cpu, ~0u);
}

// The slot starts in the Sentry's hands; a new process is given it by its creator.
int st_context_alloc(struct st_aspace *as, struct st_context **out)
{
    struct st_context *c = slab_alloc(&context_slab);
    if (!c)
        return -ENOMEM;
    spin_lock(&as->ctx_lock);
    int index = slot_take(as);
    if (index >= 0) {
        c->index = (uint32_t)index;
        c->base.ops = &systrap_ops;
        c->base.as = &as->base;
        c->slot = (struct slot *)(as->slots + (size_t)index * SLOT_SIZE);
        list_push_back(&as->ctxs, &c->link);
        WRITE_SHARED(as->nctx, as->nctx + 1);
    }
    spin_unlock(&as->ctx_lock);
    if (index < 0) {
        slab_free(&context_slab, c);
        return index;
    }
    list_init(&c->uw.link);
    c->uw.ready = ready;
    c->uw.set_asleep = set_asleep;
    c->uw.rest = rest;
    c->uw.cpu = &c->slot->cpu;
    c->uw.sleeping = &c->slot->sleeping;
    struct slot *s = c->slot;
    memset(s, 0, sizeof(*s));
    WRITE_SHARED(s->ctl_fd, STUB_CTL_FD(as->parity));
    WRITE_SHARED(s->bell_fd, STUB_BELL_FD(as->parity));
    WRITE_SHARED(s->worker_cpu, ~0u);
    WRITE_SHARED(s->nonce, as->nonce);
    WRITE_SHARED(s->boot_uc, st.boot_uc);
    WRITE_SHARED(s->vdso_clock, st.vdso_clock);
    WRITE_SHARED(s->vdso_random, st.vdso_random);
    WRITE_SHARED(s->random_len, st.random_len);
    WRITE_SHARED(s->tramp_uc, st_slot_va(c->index) + st.boot_uc);
    WRITE_SHARED(s->tag, st.patching ? TRAMP_TAG : 0u);
    if (as->pub)
        public_init(c);
    __atomic_store_n(&s->state, SLOT_EVENT, __ATOMIC_RELEASE);
    c->uc_off = st.boot_uc;
    c->young = ST_YOUNG;
    *out = c;
    return 0;
}

// Frees our side. LEAVING: the thread ends by itself and its slot comes back when it has.
void st_context_drop(struct st_context *c, enum st_slot_fate fate)
{
    struct st_aspace *as = st_space_of(c);
    st_patch_count(c);
    if (fiber_local() == c)
        fiber_set_local(nullptr);
    spin_lock(&as->ctx_lock);
    list_del(&c->link);
    WRITE_SHARED(as->nctx, as->nctx - 1);
    uint64_t bit = 1ull << (c->index % 64);
    if (fate == ST_SLOT_LEAVING) {
        as->leaving[c->index / 64] |= bit;
        as->nleaving++;
    } else if (fate == ST_SLOT_FREE) {
        as->used[c->index / 64] &= ~bit;
    }
    spin_unlock(&as->ctx_lock);
    slab_free(&context_slab, c);
}

// A frame in the slot for a thread that has not run yet. Registers are written by its first run().
void st_frame_prepare(struct st_context *c, struct st_context *from)
{
    uint8_t *base = (uint8_t *)c->slot;
    struct stub_ucontext uc = {.uc_flags = STUB_UC_SIGCONTEXT_SS | STUB_UC_STRICT_SS,
                               .ss_sp = st_slot_va(c->index) + SLOT_STACK_OFF,
                               .ss_size = SLOT_STACK_SIZE,
                               .rflags = 0x202,
                               .cs = 0x33,
                               .ss = 0x2b};
    c->fp_off = c->fp_home = 0;
    uint32_t fp = from ? st_fp_find(from) : 0;
    if (fp) {
        memcpy(base + st.boot_fp, (uint8_t *)from->slot + fp, st.fp_ext);
        uc.uc_flags |= STUB_UC_FP_XSTATE;
        uc.fpstate = st_slot_va(c->index) + st.boot_fp;
        c->fp_off = st.boot_fp;
    }
    memcpy(base + st.boot_uc, &uc, sizeof(uc));
    c->uc_off = st.boot_uc;
    c->cur_valid = c->fast = c->live = false;
}

// --- handover ------------------------------------------------------------------------------------
static bool give_slot(struct st_context *c, uint32_t reply) // true: the stub sleeps
{
    struct slot *s = c->slot;
    WRITE_SHARED(s->reply, reply);
    WRITE_SHARED(s->worker_cpu, (uint32_t)sched_worker_cpu());
    return __atomic_exchange_n(&s->state, SLOT_STUB, __ATOMIC_SEQ_CST) == SLOT_SLEEP;
}
static void hand_over(struct st_context *c, uint32_t reply)
{
    if (give_slot(c, reply))
        host_call(__NR_futex, &c->slot->state, FUTEX_WAKE, 1);
}

// Until the slot is ours again (true) or the space is dead (false).
static bool wait_stub(struct st_context *c)
{
    struct st_aspace *as = st_space_of(c);
    struct fiber *self = fiber_current();
    if (READ_SHARED(c->fiber) != self)
        __atomic_store_n(&c->fiber, self, __ATOMIC_SEQ_CST);
    while (!ready(&c->uw))
        fiber_park_user(&c->uw);
    WRITE_SHARED(c->nevents, c->nevents + 1);
    // An interrupt that does not see this at once comes late: st_run expects such.
    __atomic_store_n(&c->waiting, ST_IDLE, __ATOMIC_RELEASE);
    if (!st_dead(as))
        return true;
    uint32_t v = __atomic_load_n(&c->slot->state, __ATOMIC_ACQUIRE);
    return v == SLOT_EVENT || v == SLOT_SLEEP;
}

static void wait_begin(struct st_context *c, enum st_wait kind)
{
    if (kind != ST_USER)
        __atomic_store_n(&c->wait_tick, st_tick(), __ATOMIC_RELAXED);
    __atomic_store_n(&c->waiting, kind, __ATOMIC_SEQ_CST);
    if (kind != ST_USER)
        st_watch_waits();
}

int st_wait_born(struct st_context *c)
{
    struct st_aspace *as = st_space_of(c);
    WRITE_SHARED(c->slot->worker_cpu, (uint32_t)sched_worker_cpu()); // the proof is quick: it spins
    wait_begin(c, ST_BORN);
    bool ok = wait_stub(c) && READ_SHARED(c->slot->event) == STUB_EV_BORN;
    spin_lock(&as->ctx_lock); // the context passes to another fiber, ours may end
    c->fiber = nullptr;
    spin_unlock(&as->ctx_lock);
    return ok ? 0 : -ESRCH;
}

static int work_results(struct st_context *c, struct stub_work *items, uint32_t n)
{
    struct slot *s = c->slot;
    if (!wait_stub(c))
        return -ESRCH;
    if (READ_SHARED(s->event) != STUB_EV_DONE) {
        st_kill(st_space_of(c), "the stub broke off its work");
        return -ESRCH;
    }
    for (uint32_t i = 0; i < n; i++)
        items[i].ret = READ_SHARED(s->work[i].ret);
    return 0;
}

static void work_put(struct st_context *c, const struct stub_work *items, uint32_t n)
{
    CHECK(n && n <= SLOT_WORK_MAX);
    // (others may look at the first result: later.c)
    memcpy(c->slot->work, items, offsetof(struct stub_work, ret));
    WRITE_SHARED(c->slot->work[0].ret, items[0].ret);
    memcpy(c->slot->work + 1, items + 1, (n - 1) * sizeof(*items));
    WRITE_SHARED(c->slot->nwork, n);
}

void st_work_start(struct st_context *c, const struct stub_work *items, uint32_t n)
{
    work_put(c, items, n);
    hand_over(c, STUB_WORK);
}

int st_work_finish(struct st_context *c, struct stub_work *items, uint32_t n)
{
    wait_begin(c, ST_WORK);
    return work_results(c, items, n);
}

int st_work(struct st_context *c, struct stub_work *items, uint32_t n, bool user)
{
    struct st_aspace *as = st_space_of(c);
    if (st_prove(as) || st_dead(as) || (as->batch && st_batch_flush(as)))
        return -ESRCH;
    st_later(c);
    wait_begin(c, user ? ST_USER : ST_WORK);
    if (user && __atomic_load_n(&c->intr, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&c->waiting, ST_IDLE, __ATOMIC_SEQ_CST);
        return -EINTR;
    }
    st_work_start(c, items, n);
    c->uw.blocked = user;
    int err = work_results(c, items, n);
    c->uw.blocked = false;
    return err;
}

// --- registers -----------------------------------------------------------------------------------
static struct stub_ucontext *frame(struct st_context *c)
{
    return (struct stub_ucontext *)((uint8_t *)c->slot + c->uc_off);
}
#define FRAME_REGS(X)                                                                        \
    X(r8) X(r9) X(r10) X(r11) X(r12) X(r13) X(r14) X(r15) X(rdi) X(rsi) X(rbp) X(rbx) X(rdx) \
    X(rax) X(rcx) X(rsp) X(rip) X(rflags)

static void frame_read(struct st_context *c, struct user_regs *r)
{
    struct stub_ucontext *uc = frame(c);
#define X(n) r->n = READ_SHARED(uc->n);
    FRAME_REGS(X)
#undef X
    r->cs = READ_SHARED(uc->cs);
    r->ss = READ_SHARED(uc->ss);
    r->ds = r->es = r->fs = r->gs = 0;
    r->fs_base = READ_SHARED(c->slot->ev_fs_base);
    r->gs_base = READ_SHARED(c->slot->ev_gs_base);
    r->orig_rax = ~0ull;
}
static void frame_write(struct st_context *c, const struct user_regs *r)
{
    struct stub_ucontext *uc = frame(c);
#define X(n) WRITE_SHARED(uc->n, r->n);
    FRAME_REGS(X)
#undef X
    WRITE_SHARED(uc->cs, (uint16_t)(r->cs ? r->cs : 0x33));
    WRITE_SHARED(uc->ss, (uint16_t)(r->ss ? r->ss : 0x2b));
}

static bool same_but_rax(const struct user_regs *a, const struct user_regs *b)
{
    constexpr size_t rcx = offsetof(struct user_regs, rcx), rip = offsetof(struct user_regs, rip);
    return !memcmp(a, b, offsetof(struct user_regs, rax)) &&
           !memcmp((const char *)a + rcx, (const char *)b + rcx,
                   offsetof(struct user_regs, orig_rax) - rcx) &&
           !memcmp((const char *)a + rip, (const char *)b + rip, sizeof(*a) - rip);
}

// wrfsbase faults on what is not canonical.
static uint64_t canonical(uint64_t v)
{
    return (uint64_t)((int64_t)(v << 16) >> 16) == v ? v : 0;
}

static bool returns_fast(const struct st_context *c, const struct user_regs *r)
{
    return c->cur_valid && c->fast && same_but_rax(r, &c->cur);
}
// Puts what differs from the stub's frame in place; how the stub is to return.
static uint32_t regs_put(struct st_context *c, const struct user_regs *r)
{
    struct slot *s = c->slot;
    if (returns_fast(c, r)) {
        WRITE_SHARED(s->ret, r->rax);
        return STUB_RETURN;
    }
    uint32_t set = 0;
    if (!c->cur_valid || r->fs_base != c->cur.fs_base) {
        WRITE_SHARED(s->fs_base, canonical(r->fs_base));
        set |= STUB_SET_FS;
    }
    if (!c->cur_valid || r->gs_base != c->cur.gs_base) {
        WRITE_SHARED(s->gs_base, canonical(r->gs_base));
        set |= STUB_SET_GS;
    }
    frame_write(c, r);
    WRITE_SHARED(s->set, set);
    return STUB_RESUME;
}

// --- events --------------------------------------------------------------------------------------
static bool is_last_call(uint64_t nr)
{
    return nr == __NR_exit || nr == __NR_exit_group || nr == __NR_execve || nr == __NR_execveat;
}

static void event_syscall(struct st_context *c, struct user_regs *r, struct pevent *ev)
{
    constexpr uint64_t odd_flags = 0x100 | 0x4000 | 0x10000 | 0x40000; // TF, NT, RF, AC
    *ev = (struct pevent){.kind = PEV_SYSCALL, .arch = READ_SHARED(c->slot->arch)};
    c->fast = ev->arch == AUDIT_ARCH_X86_64 && r->rcx == r->rip && r->r11 == r->rflags &&
              !(r->rflags & odd_flags) && r->cs == 0x33 && r->ss == 0x2b;
    r->orig_rax = (uint64_t)(int64_t)(int32_t)r->rax;
    if (ev->arch == AUDIT_ARCH_X86_64)
        st_marshal_take(c, r);
    if (unlikely(r->orig_rax == __NR_futex)) {
        ev->deadline = READ_SHARED(c->slot->deadline);
        WRITE_SHARED(c->slot->deadline, 0);
    }
    if (unlikely(is_last_call(r->orig_rax))) {
        if (r->orig_rax == __NR_exit_group) // it would spin for an answer that does not come
            WRITE_SHARED(c->slot->worker_cpu, ~0u);
        c->cpu_ns = READ_SHARED(c->slot->cputime);
        WRITE_SHARED(c->slot->cputime, 0);
    }
    r->rax = (uint64_t)-ENOSYS;
}

static bool event_fault(struct st_context *c, struct pevent *ev)
{
    struct slot *s = c->slot;
    *ev = (struct pevent){.kind = PEV_FAULT,
                          .signo = READ_SHARED(s->signo),
                          .code = READ_SHARED(s->code),
                          .addr = READ_SHARED(s->addr),
                          .trapno = READ_SHARED(frame(c)->trapno),
                          .err = READ_SHARED(frame(c)->err)};
    return ev->signo == SIGSEGV || ev->signo == SIGBUS || ev->signo == SIGFPE ||
           ev->signo == SIGILL || ev->signo == SIGTRAP;
}

// Takes the event out of the slot. False: the stub talks nonsense.
static bool event_take(struct st_context *c, struct user_regs *r, struct pevent *ev)
{
    uint32_t word = READ_SHARED(c->slot->event), off = READ_SHARED(c->slot->uc_off);
    uint32_t event = word & ~(uint32_t)(STUB_EV_LIVE | STUB_EV_HOT);
    if (off < SLOT_STACK_OFF || off > SLOT_SIZE - sizeof(struct stub_ucontext) || off % 8)
        return false;
    c->uc_off = off & (SLOT_SIZE - 1); // bounded under speculation, too
    c->live = word & STUB_EV_LIVE;
    if (c->live && c->uc_off != st.boot_uc)
        return false;
    c->fp_off = c->live ? FP_LIVE : FP_UNKNOWN;
    frame_read(c, r);
    c->cur = *r;
    c->cur_valid = true;
    c->fast = false;
    c->cpu_ns = 0;
    switch (event) {
    case STUB_EV_SYSCALL:
        event_syscall(c, r, ev);
        ev->hot = (word & STUB_EV_HOT) && !c->live && c->fast && st_hot(st_space_of(c));
        return true;
    case STUB_EV_FAULT: return event_fault(c, ev);
    case STUB_EV_INTERRUPT: *ev = (struct pevent){.kind = PEV_INTERRUPT}; return true;
    default: return false;
    }
}

// One look when nothing is there, which is nearly always: what comes later stays for the next time.
static bool intr_take(struct st_context *c)
{
    return __atomic_load_n(&c->intr, __ATOMIC_SEQ_CST) &&
           __atomic_exchange_n(&c->intr, 0, __ATOMIC_SEQ_CST);
}

// The generator in the stub wants a key: what the host gives now, and the guest goes on. While an
// interrupt waits it gets none; then the call that it was for comes to us, and answers the interrupt.
// False: the space is dead.
static bool give_seeds(struct st_context *c)
{
    struct slot *s = c->slot;
    bool refused = false;
    while (READ_SHARED(s->event) == STUB_EV_SEED) {
        uint64_t key[ARRAY_LEN(s->seed)];
        if (refused) {
            st_kill(st_space_of(c), "the stub insists on a key");
            return false;
        }
        wait_begin(c, ST_USER);
        refused = __atomic_load_n(&c->intr, __ATOMIC_SEQ_CST) ||
                  host_call(__NR_getrandom, key, sizeof(key), GRND_NONBLOCK) != sizeof(key);
        if (!refused) {
            memcpy(s->seed, key, sizeof(key));
            explicit_bzero(key, sizeof(key));
        }
        hand_over(c, refused ? STUB_NO_SEED : STUB_SEED);
        if (!wait_stub(c))
            return false;
    }
    return true;
}

// What became of the deferred call that went with the last reply.
static bool later_refused(struct st_context *c, struct pevent *ev)
{
    bool refused = READ_SHARED(c->slot->event) == STUB_EV_REFUSED;
    st_later_state(c, refused ? LATER_REFUSED : LATER_NONE);
    if (refused) {
        struct stub_work w = {.ret = READ_SHARED(c->slot->work[0].ret)};
        int err = st_refusal(&w);
        *ev = (struct pevent){.kind = PEV_REFUSED, .code = err ? -err : ENOMEM};
    }
    return refused;
}

void st_run(struct pcontext *pc, struct user_regs *r, struct pevent *ev)
{
    struct st_context *c = st_ctx(pc);
    struct st_aspace *as = st_space_of(c);
    *ev = (struct pevent){.kind = PEV_DEAD};
    st_marshal_end(c);
    fiber_set_caller(&c->uw);
    if (c->m.failed) // a result that somebody wanted to see before the end of the call
        r->rax = (uint64_t)-EFAULT;
    c->m.failed = false;
    while (!st_prove(as) && !st_dead(as)) {
        if (c->fp_off == FP_LIVE && !returns_fast(c, r))
            (void)st_fp_find(c); // by rt_sigreturn, then: from a whole frame
        if (!returns_fast(c, r))
            st_later(c);
        if (c->refused) {
            *ev = (struct pevent){.kind = PEV_REFUSED, .code = -c->refused};
            c->refused = 0;
            return;
        }
        wait_begin(c, ST_USER);
        if (intr_take(c)) { // after the store of `waiting`: st_interrupt has the other order
            __atomic_store_n(&c->waiting, ST_IDLE, __ATOMIC_SEQ_CST);
            *ev = (struct pevent){.kind = PEV_INTERRUPT};
            return;
        }
        bool writes = st_marshal_send(c), later = st_later_is(c, LATER_SET);
        uint32_t how = regs_put(c, r);
        if (later) {
            work_put(c, &c->later, 1);
            st_later_send(c);
        }
        uint32_t reply = later ? (uint32_t)STUB_WORK_RETURN : how;
        if (c->young) { // a new program faults its pages in before it calls
            c->young--;
            hand_over(c, reply);
            for (int i = 0; i < 4 && READ_SHARED(st_chores_due) && !ready(&c->uw); i++)
                st_chore();
        } else if (later) { // others may wait for it
            hand_over(c, reply);
        } else if (give_slot(c, reply)) {
            c->uw.wake = &c->slot->state; // the park in wait_stub
        }
        if (!wait_stub(c) || !give_seeds(c))
            return;
        if (later && later_refused(c, ev))
            return;
        if (writes && READ_SHARED(c->slot->event) == STUB_EV_OUTFAULT) {
            if (how == STUB_RETURN) // else a signal's handler starts: as if the call had come to that
                r->rax = (uint64_t)-EFAULT;
            continue;
        }
        if (!event_take(c, r, ev)) {
            *ev = (struct pevent){.kind = PEV_DEAD};
            st_kill(as, "the stub broke the protocol");
            return;
        }
        // An interrupt may come late, after what it was meant for: then there is nothing to tell.
        if (intr_take(c) || ev->kind != PEV_INTERRUPT)
            return;
    }
}

void st_interrupt(struct pcontext *pc)
{
    struct st_context *c = st_ctx(pc);
    struct st_aspace *as = st_space_of(c);
    if (__atomic_exchange_n(&c->intr, 1, __ATOMIC_SEQ_CST))
        return;
    if (__atomic_load_n(&c->waiting, __ATOMIC_SEQ_CST) != ST_USER || st_dead(as))
        return;
    __atomic_store_n(&c->wait_tick, st_tick(), __ATOMIC_SEQ_CST);
    if (host_call(__NR_tgkill, as->pid, c->tid, STUB_SIGNAL) == -ESRCH)
        st_kill(as, "a host thread is gone");
    else
        st_watch_waits();
}

void st_give_up(struct pcontext *pc)
{
    struct st_context *c = st_ctx(pc);
    if (!__atomic_exchange_n(&c->given_up, true, __ATOMIC_SEQ_CST))
        __atomic_store_n(&c->wait_tick, st_tick(), __ATOMIC_SEQ_CST);
}

// --- new and old threads -------------------------------------------------------------------------
int st_context_new(struct pcontext *caller, struct pcontext **out)
{
    struct st_context *p = st_ctx(caller), *c;
    int err = st_context_alloc(st_space_of(p), &c);
    if (err)
        return err;
    st_frame_prepare(c, p);
    struct stub_work w = {.op = WORK_CLONE, .a = {c->index}};
    err = st_work(p, &w, 1, false);
    if (!err && (w.ret <= 0 || w.ret > INT32_MAX))
        err = w.ret < 0 && w.ret >= -4095 ? (int)w.ret : -ESRCH;
    if (err) {
        st_context_drop(c, ST_SLOT_FREE);
        return err;
    }
    c->tid = (int)w.ret;
    *out = &c->base;
    return 0;
}

// The leader of the host process stays, asleep in its slot, as long as the space lives.
void st_context_free(struct pcontext *pc)
{
    struct st_context *c = st_ctx(pc);
    enum st_slot_fate fate = ST_SLOT_KEPT;
    fiber_set_caller(nullptr);
    (void)st_prove(st_space_of(c)); // our slot is what it is proved with
    if (c->index != 0 && !st_dead(st_space_of(c))) {
        hand_over(c, STUB_EXIT);
        fate = ST_SLOT_LEAVING;
    }
    st_context_drop(c, fate);
}
