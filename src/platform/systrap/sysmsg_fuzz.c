// SPDX-License-Identifier: Apache-2.0
// The Sentry's side of the slot protocol against a stub that writes what it likes, when it likes. The
// input is the stub: at each of its turns it patches its slot and chooses the next state; beyond that
// each word of a slot may change right after the Sentry has looked at it, so whoever looks twice
// gets two answers. No host process is needed; the platform's sources are compiled in here so that
// the hooks (READ_SHARED, the wait for the stub) can be put in their place.
//
// Memory that the stub marshalled is asked for after each system call, too.
//
// Input: per operation of the Sentry one byte that chooses it, one of arguments, four that seed the
// changes; then the stub's turns (see stub_turn).
#include "base/assert.h"
#include "base/attr.h"
#include "platform/systrap/systrap.h"

static void word_read(const volatile void *p, size_t n);
static void stub_turn(struct user_wait *uw);
#undef READ_SHARED
#define READ_SHARED(x)                                       \
    ({                                                       \
        typeof(x) shared_v = __atomic_load_n(&(x), __ATOMIC_RELAXED); \
        word_read(&(x), sizeof(x));                          \
        shared_v;                                            \
    })
#define fiber_park_user stub_turn
#define call mem_call
#define fiber_local fuzz_local
#define fiber_set_local fuzz_set_local
static void *local;
static void *fuzz_local(void)
{
    return local;
}
static void fuzz_set_local(void *p)
{
    local = p;
}
#include "platform/systrap/ctx.c"
#include "platform/systrap/fp.c"
#include "platform/systrap/marshal.c"
#include "platform/systrap/later.c"
#include "platform/systrap/mem.c"
#undef call

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

constexpr uint32_t SLOTS = 4;
constexpr uint32_t NOBODY = INT32_MAX; // no process has this pid: every signal and copy is -ESRCH
static struct st_aspace space;
static const uint8_t *in;
static size_t left;
static uint32_t flips; // state of the generator; 0: words stay as they are
static int drain;
static uint32_t turns;  // of the stub, so far

// --- input ---------------------------------------------------------------------------------------
static uint64_t take(size_t n)
{
    uint64_t v = 0;
    n = MIN(n, left);
    memcpy(&v, in, n);
    in += n;
    left -= n;
    return v;
}

static uint32_t dice(void)
{
    flips ^= flips << 13;
    flips ^= flips >> 17;
    flips ^= flips << 5;
    return flips;
}

// After each look at a word of a slot. One in four changes; how depends on the dice.
static void word_read(const volatile void *p, size_t n)
{
    uint8_t *at = (uint8_t *)(uintptr_t)p;
    if (!flips || at < space.slots || at >= space.slots + SLOTS * SLOT_SIZE || dice() % 4)
        return;
    uint64_t v = dice() % 2 ? ~0ull : (uint64_t)dice() << 32 | dice();
    if (dice() % 2)
        v = dice() % 0x10000;
    memcpy(at, &v, MIN(n, sizeof(v)));
}

// The stub's turn: the number of patches, then each a place in the slot (2 bytes) and a value (8);
// then event, frame and state, mostly plausible. Without input it dies.
static void stub_turn(struct user_wait *uw)
{
    struct st_context *c = container_of(uw, struct st_context, uw);
    turns++;
    if (!left) {
        st_kill(&space, nullptr);
        return;
    }
    uint32_t ctl = (uint32_t)take(1);
    for (uint32_t i = 0; i < ctl % 16; i++) {
        uint64_t at = take(2) % (SLOT_SIZE - 8), v = take(8);
        memcpy((uint8_t *)c->slot + at, &v, sizeof(v));
    }
    if (ctl & 0x10)
        st_interrupt(&c->base); // finds nobody: the space is dead then
    if (!(ctl & 0x20))
        c->slot->event = (uint32_t)take(1);
    if (!(ctl & 0x40))
        c->slot->uc_off = (uint32_t)take(2);
    __atomic_store_n(&c->slot->state, ctl & 0x80 ? (uint32_t)take(1) : SLOT_EVENT, __ATOMIC_RELEASE);
}

// --- the Sentry's operations, and what must hold after them ------------------------------------------
static void check_context(const struct st_context *c)
{
    CHECK(c->uc_off >= SLOT_STACK_OFF && c->uc_off % 8 == 0 &&
          c->uc_off <= SLOT_SIZE - sizeof(struct stub_ucontext));
    uint32_t offs[] = {c->fp_off >= FP_LIVE ? 0 : c->fp_off, c->fp_home};
    for (size_t i = 0; i < ARRAY_LEN(offs); i++)
        CHECK(!offs[i] || (offs[i] >= SLOT_STACK_OFF && offs[i] <= SLOT_SIZE - st.fp_ext &&
                           offs[i] % 64 == 0));
    CHECK((uint8_t *)c->slot == space.slots + (size_t)c->index * SLOT_SIZE);
}

static void check_errno(long r)
{
    CHECK(r == 0 || (r < 0 && r >= -133));
}

// Everything that a call may ask for in the memory that its stub says to have marshalled, one byte
// more included. A copy that the stub did not make fails here: there is no process.
static void op_copies(struct st_context *c)
{
    struct aspace *as = c->base.as;
    const uint64_t a[6] = {c->cur.rdi, c->cur.rsi, c->cur.rdx, c->cur.r10, c->cur.r8, c->cur.r9};
    for (int k = (int)take(1) % 8; k > 0; k--) {
        uint32_t what = (uint32_t)take(1);
        uint64_t at = a[what % 6] + take(1);
        size_t n = take(2) % 0x3800 + 1;
        char *buf = malloc(n); // exact
        CHECK(buf);
        memset(buf, 1, n);
        if (what & 0x40) {
            long r = st_write_mem(as, UADDR(at), buf, n);
            CHECK(r == -ESRCH || r == -EFAULT || r == (long)n);
            CHECK(c->m.nout <= SLOT_OUT_MAX && c->m.used <= SLOT_DATA_SIZE);
        } else if (what & 0x80) {
            size_t r = st_read_str(as, buf, UADDR(at), n);
            CHECK(r <= n && (!r || memchr(buf, 0, n) == buf + r - 1));
        } else {
            long r = st_read_mem(as, buf, UADDR(at), n);
            CHECK(r == -ESRCH || r == -EFAULT || r == (long)n);
        }
        for (uint32_t i = 0; i < c->m.nout; i++)
            CHECK(c->m.pending[i].len <= SLOT_DATA_SIZE &&
                  c->m.pending[i].off <= SLOT_DATA_SIZE - c->m.pending[i].len);
        free(buf);
    }
}

static void op_defer(struct st_context *c)
{
    uint32_t what = (uint32_t)take(1);
    struct pdefer d = {.addr = 0x10000, .len = what & 0x40 ? 0 : 0x1000};
    d.kind = what % 4;
    if (what & 0x10)
        CHECK(!st_defer(&c->base, &d) ||
              (st_later_is(c, LATER_SET) && st_deferred(&c->base) && c->fast && d.len));
    if (what & 0x20) {
        int err = st_settle(&c->base);
        CHECK(err <= 0 && err >= -133 && !st_later_is(c, LATER_SET));
        st_deferred_end(&c->base);
    }
}

static void op_run(struct st_context *c)
{
    struct user_regs r = {.cs = 0x33, .ss = 0x2b, .rflags = 0x202};
    struct pevent ev;
    for (int i = 0; i < 4; i++) {
        uint32_t before = turns;
        bool later = st_later_is(c, LATER_SET);
        st_run(&c->base, &r, &ev);
        check_context(c);
        if (ev.kind == PEV_DEAD)
            return;
        if (ev.kind == PEV_REFUSED) { // a deferred call of the last round
            CHECK(ev.code > 0 && ev.code <= 133 && (st_deferred(&c->base) || st_dead(st_space_of(c))));
            st_deferred_end(&c->base);
            continue;
        }
        if (later && ev.kind == PEV_INTERRUPT) // perhaps after the deferred call alone
            continue;
        if (turns == before) { // an interrupt that was noted before: nothing ran
            CHECK(ev.kind == PEV_INTERRUPT);
            continue;
        }
        // What the caller got is what was noted: one look at each register.
        CHECK(same_but_rax(&r, &c->cur));
        if (ev.kind == PEV_SYSCALL)
            CHECK(r.rax == (uint64_t)-ENOSYS && (int64_t)r.orig_rax == (int32_t)c->cur.rax);
        else
            CHECK(r.rax == c->cur.rax && r.orig_rax == ~0ull);
        if (ev.kind == PEV_SYSCALL)
            op_copies(c);
        op_defer(c);
        CHECK(!c->fast || (ev.kind == PEV_SYSCALL && ev.arch == AUDIT_ARCH_X86_64 && r.cs == 0x33 &&
                           r.ss == 0x2b && r.rcx == r.rip && r.r11 == r.rflags));
        if (ev.kind == PEV_FAULT)
            CHECK(ev.signo == SIGSEGV || ev.signo == SIGBUS || ev.signo == SIGFPE ||
                  ev.signo == SIGILL || ev.signo == SIGTRAP);
        else
            CHECK(ev.kind == PEV_SYSCALL || ev.kind == PEV_INTERRUPT);
        r.rax = take(2);
        if (r.rax & 1)
            r.rip += 16;
        if (r.rax & 2)
            r.fs_base = take(8);
    }
}

static void op_fp(struct st_context *c, uint32_t arg)
{
    uint8_t *buf = malloc(st.fp_ext); // exact: one byte more is found
    CHECK(buf);
    check_errno(st_fp_get(&c->base, buf, st.fp_ext));
    if (arg & 1)
        st_fp_reset(&c->base);
    if (arg & 2)
        fp_initial(buf);
    for (uint32_t i = arg >> 4; i; i--) {
        uint64_t v = take(8);
        memcpy(buf + take(2) % (st.fp_ext - 8), &v, sizeof(v));
    }
    check_errno(st_fp_set(&c->base, buf, arg & 4 ? 512 : st.fp_ext));
    check_errno(st_fp_get(&c->base, buf, st.fp_ext));
    if (arg & 8)
        check_errno(st_fp_get(&c->base, buf, st.fp_ext - 1));
    free(buf);
    check_context(c);
}

static void op_memory(struct st_context *c, uint32_t arg)
{
    struct pcontext *p = &c->base;
    uint64_t at = (1 + take(1)) << 12, len = (uint64_t)(1 + arg / 16) << 12;
    uint32_t old = 0;
    uint8_t buf[8];
    char junk[64];
    switch (arg % 8) {
    case 0: check_errno(st_map(p, at, len, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); break;
    case 1:
        check_errno(st_map(p, at, len, 1, MAP_SHARED, drain, 0));
        while (recv(drain, junk, sizeof(junk), MSG_DONTWAIT) > 0)
            ;
        break;
    case 2: check_errno(st_unmap(p, at, len)); break;
    case 3: check_errno(st_protect(p, at, len, 1)); break;
    case 4: check_errno(st_remap(p, at, len, at + (arg & 64) * 4096, len + 4096)); break;
    case 5: check_errno(st_advise(p, at, len, MADV_DONTNEED)); break;
    case 6: check_errno(st_cmpxchg32(p, UADDR(at), 1, 2, &old)); break;
    default:
        CHECK(st_read_mem(p->as, buf, UADDR(at), 8) == -ESRCH);
        (void)st_cpu_time(p);
    }
}

static void op_futex(struct st_context *c, uint32_t arg)
{
    struct pfutex f = {.uaddr = UADDR(0x1000), .op = arg % 16 | FUTEX_PRIVATE_FLAG, .val = 1,
                       .has_timeout = arg & 32, .timeout_ns = 1};
    CHECK(st_futex(&c->base, &f) >= -133);
}

static void op_clone(struct st_context *c)
{
    struct pcontext *n;
    if (st_context_new(&c->base, &n) == 0) {
        CHECK(st_ctx(n)->tid > 0 && st_ctx(n)->index > 0 && st_ctx(n)->index < SLOTS);
        check_context(st_ctx(n));
        op_run(st_ctx(n));
        st_context_free(n);
    }
}

static void op_patch(struct st_context *c, uint32_t arg)
{
    struct ppatch p = {.rip = 0x1000 + take(1), .lo = 0x1000, .hi = 0x2000, .prot = 5,
                       .tramp = 0x3000 + arg * PATCH_TRAMP};
    uint8_t bytes[8] = {};
    if (st_patch(&c->base, &p) == 0) {
        CHECK(p.addr >= 0x1000 && p.len <= 5 && p.addr + p.len <= 0x2000);
        CHECK(!p.hole || (p.hole >= 0x1000 && p.hole_len == 5 && p.hole + 5 <= 0x2000));
    }
    (void)st_poke(&c->base, 0x1000 + arg, bytes, arg % 10, 5);
    st_patch_count(c);
}

static void op_any(struct st_context *c)
{
    uint32_t op = (uint32_t)take(1), arg = (uint32_t)take(1);
    space.dead = false; // a new victim for each
    flips = (uint32_t)take(4);
    switch (op % 9) {
    case 0: case 1: op_run(c); break;
    case 2: op_fp(c, arg); break;
    case 3: case 4: op_memory(c, arg); break;
    case 5: op_futex(c, arg); break;
    case 6: op_clone(c); break;
    case 7: op_patch(c, arg); break;
    default:
        if (st_wait_born(c) == 0)
            CHECK(!c->fiber);
        st_frame_prepare(c, c);
    }
    check_context(c);
}

// --- entry ---------------------------------------------------------------------------------------
static void setup(void)
{
    int sv[2];
    CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv));
    drain = sv[1];
    static struct marshal_row rows[MARSHAL_ROWS]; // every argument of every call may be anything
    for (int i = 0; i < MARSHAL_ROWS; i++)
        rows[i].any = 0x3f;
    marshal_rows = rows;
    st.base = 0x7e0000000000;
    st.slots = st.base + STUB_SLOTS_OFF;
    st.task_size = st.base;
    st.fp_xstate = 2696;
    st.fp_ext = 2700;
    st.fp_features = 0xe7;
    st.mxcsr_mask = 0xffff;
    st.boot_fp = (SLOT_SIZE - st.fp_ext - 64) & ~63u;
    st.boot_uc = (st.boot_fp - 512) & ~63u;
    space.base.ops = &systrap_ops;
    space.claimed = space.pid = NOBODY;
    space.ctl = sv[0];
    mutex_init(&space.lock, RANK_PLATFORM);
    list_init(&space.ctxs);
    list_init(&space.gates);
    log_init(STDERR_FILENO, LOG_TEXT, LOG_ERROR, "fuzz");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct st_context *c;
    if (!space.pid)
        setup();
    in = data;
    left = n;
    flips = 0;
    space.slots = aligned_alloc(SLOT_SIZE, SLOTS * SLOT_SIZE);
    CHECK(space.slots);
    memset(space.slots, 0, SLOTS * SLOT_SIZE);
    memset(space.used, 0xff, sizeof(space.used));
    memset(space.leaving, 0, sizeof(space.leaving));
    space.used[0] &= ~((1ull << SLOTS) - 1);
    space.nleaving = 0;
    space.dead = false;
    CHECK(!st_context_alloc(&space, &c));
    st_frame_prepare(c, nullptr);
    while (left)
        op_any(c);
    flips = 0;
    st_context_drop(c, ST_SLOT_KEPT);
    CHECK(list_empty(&space.ctxs));
    free(space.slots);
    return 0;
}
