// SPDX-License-Identifier: Apache-2.0
// Calls that the task's own host thread answers, with no word to the kernel: what concerns the caller
// alone and can mislead the caller alone. The values come from the published page (public.h), which
// only the Sentry writes, or from the host: its vDSO, its queue of private futexes.
//
// Every answer is what the kernel would give. Where that is not certain (a bad pointer, an odd
// argument, an interrupt, a signal that a new mask would let in) nothing has been changed and the
// kernel does the call from its beginning.
#include "platform/stub/stub.h"
#include "platform/stub/window.h"
#include <asm/unistd.h>
#include <linux/futex.h>

constexpr int64_t NS = 1000000000;
constexpr int64_t FUTURE = INT64_MAX / NS - 1; // seconds; what lies beyond is the kernel's
enum : int { REALTIME = 0, MONOTONIC = 1, RAW = 4, BOOTTIME = 7 };

AI struct ppublic *pub_of(const struct slot *s)
{
    return (struct ppublic *)stub_pub + ((uintptr_t)s - (uintptr_t)stub_slots) / SLOT_SIZE;
}
// n bytes from addr lie where guest memory may be.
AI bool guest(uint64_t addr, uint64_t n)
{
    return addr < STUB_GUEST_END - n;
}
static bool get(uint64_t addr, uint64_t *v, int n)
{
    if (!guest(addr, 8ull * (unsigned)n))
        return false;
    for (int i = 0; i < n; i++)
        if (stub_load(addr + 8ull * (unsigned)i, &v[i]))
            return false;
    return true;
}
static bool put(uint64_t addr, const uint64_t *v, int n)
{
    if (!guest(addr, 8ull * (unsigned)n))
        return false;
    for (int i = 0; i < n; i++)
        if (stub_store(addr + 8ull * (unsigned)i, v[i]))
            return false;
    return true;
}

// --- time ----------------------------------------------------------------------------------------
// The vDSO's clocks keep away from vector registers (they are built as the kernel is). Where it cannot answer it
// makes a system call, which the filter refuses: -ENOSYS, see signal_in_stub.
static bool clock(struct slot *s, uint64_t id, int64_t ts[2])
{
    long (*fn)(uint64_t, int64_t *) = (long (*)(uint64_t, int64_t *))s->vdso_clock;
    if (!fn)
        return false;
    __atomic_store_n(&s->in_vdso, 1, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    long r = fn(id, ts);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&s->in_vdso, 0, __ATOMIC_RELEASE);
    return r == 0;
}

static bool clock_gettime(struct slot *s, struct stub_ucontext *uc)
{
    int64_t ts[2];
    uint32_t id = (uint32_t)uc->rdi;
    if (id > BOOTTIME || (id > MONOTONIC && id < RAW)) // the rest and CPU clocks: the kernel
        return false;
    return clock(s, id, ts) && put(uc->rsi, (uint64_t *)ts, 2);
}

static bool gettimeofday(struct slot *s, struct stub_ucontext *uc)
{
    int64_t ts[2];
    uint64_t tv[2];
    if (uc->rsi || !clock(s, REALTIME, ts))
        return false;
    tv[0] = (uint64_t)ts[0];
    tv[1] = (uint64_t)ts[1] / 1000;
    return !uc->rdi || put(uc->rdi, tv, 2);
}

static bool get_time(struct slot *s, struct stub_ucontext *uc, long *ret)
{
    int64_t ts[2];
    if (!clock(s, REALTIME, ts))
        return false;
    *ret = ts[0];
    return !uc->rdi || put(uc->rdi, (uint64_t *)ts, 1);
}

// --- signals -------------------------------------------------------------------------------------
// The mask word is ours while the guest runs. A sender makes the signal pending in the published
// page, then looks at the mask; we store the mask, then look at what is pending: one of the two sees
// the other. A mask under which something pending changes its state is the kernel's to set.
static bool sigprocmask(struct slot *s, const struct ppublic *p, struct stub_ucontext *uc)
{
    constexpr uint64_t never = 1ull << (9 - 1) | 1ull << (19 - 1); // SIGKILL, SIGSTOP
    uint64_t old = s->mask, set;
    if (uc->r10 != 8)
        return false;
    if (!uc->rsi)
        return !uc->rdx || put(uc->rdx, &old, 1);
    if (!get(uc->rsi, &set, 1))
        return false;
    switch ((uint32_t)uc->rdi) {
    case 0: set |= old; break;  // SIG_BLOCK
    case 1: set = old & ~set; break; // SIG_UNBLOCK
    case 2: break;              // SIG_SETMASK
    default: return false;
    }
    set &= ~never;
    if (set != old) {
        __atomic_exchange_n(&s->mask, set, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&p->pending, __ATOMIC_SEQ_CST) & (set ^ old))
            goto undo;
    }
    if (!uc->rdx || put(uc->rdx, &old, 1))
        return true;
undo:
    __atomic_store_n(&s->mask, old, __ATOMIC_SEQ_CST);
    return false;
}

static bool sigaltstack(const struct ppublic *p, struct stub_ucontext *uc)
{
    constexpr uint32_t onstack = 1, disable = 2, autodisarm = 1u << 31;
    if (uc->rdi || !uc->rsi)
        return false;
    bool on = !(p->altstack_flags & autodisarm) && uc->rsp > p->altstack_sp &&
              uc->rsp - p->altstack_sp <= p->altstack_size;
    uint32_t flags = (!p->altstack_size ? disable : on ? onstack : 0) |
                     (p->altstack_flags & autodisarm);
    uint64_t ss[3] = {p->altstack_sp, flags, p->altstack_size};
    return put(uc->rsi, ss, 3);
}

// The mask is the process's and the kernel's at once: in the space's word as long as it names what our
// task's umask belongs to. Both a vfork child and a thread that has unshared its own are of the same
// memory and have another number.
static bool umask(const struct ppublic *p, const struct stub_ucontext *uc, long *ret)
{
    uint64_t *at = &((struct slot *)stub_slots)->umask, word = LOAD(*at);
    for (int i = 0; i < 8 && p->fs && word >> 9 == p->fs; i++) {
        *ret = (long)(word & PUB_UMASK);
        if (__atomic_compare_exchange_n(at, &word, pub_umask(p->fs, uc->rdi), false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return true;
    }
    return false;
}

// --- processors ----------------------------------------------------------------------------------
static bool getcpu(const struct ppublic *p, struct stub_ucontext *uc)
{
    if ((uc->rdi && !guest(uc->rdi, 4)) || (uc->rsi && !guest(uc->rsi, 4)))
        return false;
    if (uc->rdi && stub_store32(uc->rdi, p->ncpus ? cpu_now() % p->ncpus : 0))
        return false;
    return !uc->rsi || !stub_store32(uc->rsi, 0);
}

static bool getaffinity(const struct ppublic *p, struct stub_ucontext *uc, long *ret)
{
    uint32_t pid = (uint32_t)uc->rdi;
    if ((pid && pid != p->tid) || uc->rsi < 8 || uc->rsi % 8)
        return false;
    *ret = 8;
    return put(uc->rdx, &p->affinity, 1);
}

// --- private futexes -----------------------------------------------------------------------------
// The timeout as an absolute one in s->ts. *relative: until when, for the kernel to go on with.
static bool wait_timeout(struct slot *s, uint64_t addr, bool relative)
{
    uint64_t v[2];
    int64_t now[2] = {0, 0};
    if (!get(addr, v, 2) || (int64_t)v[0] < 0 || (int64_t)v[0] > FUTURE || v[1] >= (uint64_t)NS)
        return false;
    if (relative && !clock(s, MONOTONIC, now))
        return false;
    s->ts[0] = (int64_t)v[0] + now[0];
    s->ts[1] = (int64_t)v[1] + now[1];
    if (s->ts[1] >= NS) {
        s->ts[0]++;
        s->ts[1] -= NS;
    }
    if (s->ts[0] > FUTURE)
        return false;
    if (relative)
        s->deadline = s->ts[0] * NS + s->ts[1];
    return true;
}

// Interrupted: the kernel makes the call, from the same registers and with the same deadline, and
// decides what the interrupt was about. A wake-up is not lost: the host says EINTR only to a waiter
// that was not woken.
static bool futex_wait(struct slot *s, struct stub_ucontext *uc, bool bitset, long *ret)
{
    uint32_t val, set = bitset ? (uint32_t)uc->r9 : ~0u;
    uint64_t op = FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | ((uint32_t)uc->rsi & FUTEX_CLOCK_REALTIME);
    if (!set || (uc->rdi & 3) || stub_load32(uc->rdi, &val))
        return false;
    if (uc->r10 && !wait_timeout(s, uc->r10, !bitset)) {
        s->deadline = 0;
        return false;
    }
    long r = -11;
    if (val == (uint32_t)uc->rdx) {
        uint32_t cpu = s->cpu;
        s->sleeping = 1;
        s->cpu = 0; // a worker need not make room for us
        r = stub_futex(uc->rdi, op, (uint32_t)uc->rdx, uc->r10 ? (uintptr_t)s->ts : 0, 0, set, &s->intr);
        s->cpu = cpu;
        s->sleeping = 0;
        if (r == -4)
            return false;
    }
    s->deadline = 0;
    *ret = r;
    return true;
}

static bool futex(struct slot *s, struct stub_ucontext *uc, long *ret)
{
    uint32_t op = (uint32_t)uc->rsi;
    if (!guest(uc->rdi, 3) || !(op & FUTEX_PRIVATE_FLAG))
        return false;
    switch (op & ~(uint32_t)FUTEX_PRIVATE_FLAG) {
    case FUTEX_WAIT: return futex_wait(s, uc, false, ret);
    case FUTEX_WAIT_BITSET:
    case FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME: return futex_wait(s, uc, true, ret);
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
        if (!guest(uc->r8, 3))
            return false;
        [[fallthrough]];
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
        *ret = call6(__NR_futex, uc->rdi, op, (uint32_t)uc->rdx, uc->r10, uc->r8, (uint32_t)uc->r9);
        return *ret != -38;
    }
    return false;
}

// -------------------------------------------------------------------------------------------------
static bool answer(struct slot *s, const struct ppublic *p, struct stub_ucontext *uc, long *ret)
{
    *ret = 0;
    switch ((uint32_t)uc->rax) {
    // (what is answered here is listed in task/seccomp.c, too)
    case __NR_getpid: *ret = (int)p->tgid; return true;
    case __NR_gettid: *ret = (int)p->tid; return true;
    case __NR_getppid: *ret = (int)p->ppid; return true;
    case __NR_getpgrp: *ret = (int)p->pgid; return true;
    case __NR_getpgid: *ret = (int)p->pgid; return (uint32_t)uc->rdi == 0;
    case __NR_getsid: *ret = (int)p->sid; return (uint32_t)uc->rdi == 0;
    case __NR_getuid: *ret = p->uid; return true;
    case __NR_geteuid: *ret = p->euid; return true;
    case __NR_getgid: *ret = p->gid; return true;
    case __NR_getegid: *ret = p->egid; return true;
    case __NR_umask: return umask(p, uc, ret);
    case __NR_sched_yield: call6(__NR_sched_yield, 0, 0, 0, 0, 0, 0); return true;
    case __NR_getcpu: return getcpu(p, uc);
    case __NR_sched_getaffinity: return getaffinity(p, uc, ret);
    case __NR_clock_gettime: return clock_gettime(s, uc);
    case __NR_gettimeofday: return gettimeofday(s, uc);
    case __NR_time: return get_time(s, uc, ret);
    case __NR_rt_sigprocmask: return sigprocmask(s, p, uc);
    case __NR_sigaltstack: return sigaltstack(p, uc);
    case __NR_futex: return futex(s, uc, ret);
    case __NR_getrandom: return random_call(s, uc, ret);
    }
    return window_call(p, uc, ret);
}

bool fast_call(struct slot *s, struct stub_ucontext *uc)
{
    const struct ppublic *p = pub_of(s);
    long ret;
    if (LOAD(p->full) || !answer(s, p, uc, &ret))
        return false;
    uc->rax = (uint64_t)ret;
    s->answers++;
    return true;
}
