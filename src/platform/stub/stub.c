// SPDX-License-Identifier: Apache-2.0
// The code that Nacre keeps in every guest process: signal handlers that turn system calls, faults
// and interrupts into events in the thread's slot, and a loop that does what the reply says.
//
// Freestanding: no libc, no writable data, no thread-local storage, general registers only. It
// runs on the alternate signal stack, which lies in the slot; the slot is found from that stack's
// address and never from %gs, which belongs to the guest. Nothing here is a wall: the guest can jump
// into it and write all of its data. The walls are the seccomp filter and the Sentry's checks.
#include "platform/stub/marshal.h"
#include "platform/stub/stub.h"
#include <asm/unistd.h>
#include <linux/futex.h>

// Handed to the kernel, reached from assembly, or defined there.
HIDDEN bool stub_call(struct slot *s, struct stub_ucontext *uc);
HIDDEN [[noreturn]] void stub_call_on(struct slot *s, struct stub_ucontext *uc);
HIDDEN [[noreturn]] void stub_exit_live(struct stub_ucontext *uc, struct slot *s);
HIDDEN void stub_signal(int sig, struct stub_siginfo *si, struct stub_ucontext *uc);
HIDDEN [[noreturn]] void stub_interrupted(struct slot *s);
HIDDEN [[noreturn]] void stub_child(void);
HIDDEN [[noreturn]] void stub_thread(struct slot *s);
HIDDEN [[noreturn]] void stub_first(struct slot *s);
HIDDEN [[noreturn]] void stub_exit_sigreturn(struct stub_ucontext *uc, struct slot *s);
HIDDEN [[noreturn]] void stub_exit_final(struct stub_ucontext *uc);
HIDDEN [[noreturn]] void stub_exit_fast(struct stub_ucontext *uc, struct slot *s);
HIDDEN [[noreturn]] void stub_enter(struct slot *s, uintptr_t sp, void (*fn)(struct slot *));
HIDDEN void stub_exit_thread(void);
HIDDEN [[noreturn]] void stub_trap(void);
HIDDEN void stub_exit_interrupted(void);
HIDDEN long stub_clone_fork(uintptr_t sp);
HIDDEN long stub_clone_thread(struct slot *s, uintptr_t sp);
HIDDEN int64_t stub_cmpxchg(uint64_t addr, uint32_t expect, uint32_t desired);
extern HIDDEN char stub_peek_insn[], stub_peek_fault[];
extern HIDDEN char stub_cmpxchg_insn[], stub_cmpxchg_fault[], stub_futex_win[], stub_futex_end[],
    stub_futex_abort[], stub_win_resume[], stub_win_resume_end[], stub_win_fast[],
    stub_win_fast_end[], stub_win_last[], stub_win_last_end[];

// The compiler may turn loops and copies into calls of these.
HIDDEN void *memset(void *p, int c, size_t n);
HIDDEN void *memcpy(void *d, const void *s, size_t n);
void *memset(void *p, int c, size_t n)
{
    void *d = p;
    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
    return p;
}
void *memcpy(void *d, const void *s, size_t n)
{
    void *p = d;
    __asm__ volatile("rep movsb" : "+D"(p), "+S"(s), "+c"(n) : : "memory");
    return d;
}

// --- handover ------------------------------------------------------------------------------------
static __attribute__((noinline)) void ring(struct slot *s)
{
    uint64_t one = 1;
    call6(__NR_write, s->bell_fd, (uintptr_t)&one, 8, 0, 0, 0);
}

static void post_within(struct slot *s, uint32_t event)
{
    STORE(s->cpu, cpu_now() + 1);
    STORE(s->event, event);
    __atomic_exchange_n(&s->state, SLOT_EVENT, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&s->asleep, __ATOMIC_SEQ_CST))
        ring(s);
}
static void post(struct slot *s, uint32_t event)
{
    s->intr = 0; // any event answers an interrupt; a later one sets it again
    post_within(s, event);
}

// Spins only while the worker that polls us runs on another CPU (or did, and has been rung for: the
// answer of a worker that must wake up comes in half the time when we need not be woken as well), and
// as long as it says so: a call that has to wait takes the CPU's number away. Then sleeps on the state
// word.
static void wait_reply(struct slot *s)
{
    uint32_t cpu = LOAD(s->worker_cpu);
    if (cpu != ~0u && cpu != cpu_now()) {
        for (int i = 0; i < 1000 && LOAD(s->worker_cpu) == cpu; i++) {
            if (LOAD(s->state) == SLOT_STUB)
                return;
            __asm__ volatile("pause");
        }
    }
    uint32_t v = SLOT_EVENT;
    if (!__atomic_compare_exchange_n(&s->state, &v, SLOT_SLEEP, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
        return;
    while (LOAD(s->state) == SLOT_SLEEP)
        call6(__NR_futex, (uintptr_t)&s->state, FUTEX_WAIT, SLOT_SLEEP, 0, 0, 0);
    s->cpu = cpu_now() + 1;
}

// In a call that may be answered here: an interrupt waits for its end.
bool stub_seed(struct slot *s)
{
    post_within(s, STUB_EV_SEED);
    wait_reply(s);
    return s->reply == STUB_SEED;
}

// --- work ----------------------------------------------------------------------------------------
struct kmsghdr {
    void *name;
    uint64_t namelen;
    void *iov;
    uint64_t iovlen;
    void *control;
    uint64_t controllen;
    uint64_t flags;
};
// Descriptors from the control socket: n (1 to 3) of them, the first one's number or -errno.
static long recv_fds(uint32_t ctl, int *fds, uint32_t n)
{
    uint64_t data = 0, iov[2] = {(uintptr_t)&data, 8};
    uint64_t control[4] = {}; // cmsg_len, level | type << 32, the descriptors
    struct kmsghdr m = {.iov = iov, .iovlen = 1, .control = control, .controllen = sizeof(control)};
    long r = call6(__NR_recvmsg, ctl, (uintptr_t)&m, 0x40000000 | 0x40, 0, 0, 0);
    if (r < 0)
        return r;
    if (control[0] != 16 + 4 * n || control[1] != (1ull << 32 | 1)) // SOL_SOCKET, SCM_RIGHTS
        return -9;
    fds[0] = (int)control[2];
    if (n > 1)
        fds[1] = (int)(control[2] >> 32);
    if (n > 2)
        fds[2] = (int)control[3];
    return fds[0];
}
AI void close_fd(uint64_t fd)
{
    call6(__NR_close, fd, 0, 0, 0, 0, 0);
}

static int64_t do_fork(struct slot *s, uint64_t ctl, uint64_t bell)
{
    struct fork_args *fa = (struct fork_args *)stub_fork;
    int fd;
    long r = recv_fds(s->ctl_fd, &fd, 1);
    if (r < 0)
        return r;
    if ((uint64_t)fd != ctl) {
        close_fd((uint64_t)fd);
        return -9;
    }
    fa->ctl_fd = (uint32_t)ctl;
    fa->bell_fd = (uint32_t)bell;
    fa->old_ctl = s->ctl_fd;
    fa->old_bell = s->bell_fd;
    fa->nunmap = 0;
    long pid = stub_clone_fork((uintptr_t)stub_fork + STUB_FORK_SIZE - 64);
    close_fd(ctl);
    return pid;
}

static int64_t do_clone(uint64_t index)
{
    struct slot *n = (struct slot *)((uintptr_t)stub_slots + (index % SLOT_COUNT) * SLOT_SIZE);
    uintptr_t sp = ((uintptr_t)n + n->boot_uc - 256) & ~(uintptr_t)15;
    return stub_clone_thread(n, sp);
}

// The frame of a trampoline's call becomes one that rt_sigreturn takes. This code uses no vector
// register: the CPU still has the guest's.
static int64_t frame_complete(struct slot *s, uint64_t features, uint64_t fp_off)
{
    struct stub_ucontext *uc = frame_of(s);
    uint8_t *fp = (uint8_t *)s + (fp_off & (SLOT_SIZE - 64));
    uc->uc_flags = STUB_UC_FP_XSTATE | STUB_UC_SIGCONTEXT_SS | STUB_UC_STRICT_SS;
    uc->uc_link = 0;
    uc->ss_sp = (uintptr_t)s + SLOT_STACK_OFF;
    uc->ss_flags = 0;
    uc->ss_size = SLOT_STACK_SIZE;
    uc->fpstate = (uintptr_t)fp;
    uc->sigmask = 0;
    memset(fp + 512, 0, 64);
    stub_xsave(fp, features);
    return 0;
}

static int64_t do_copy(struct slot *s, uint64_t addr, uint64_t off, uint64_t n)
{
    if (off == WORK_ZEROS)
        return stub_clear((void *)(uintptr_t)addr, n) ? -14 : 0;
    if (off > SLOT_DATA_SIZE || n > SLOT_DATA_SIZE - off)
        return -22;
    return stub_copy((void *)(uintptr_t)addr, (uint8_t *)s + SLOT_DATA_OFF + off, n) ? -14 : 0;
}

static int64_t cpu_time(void)
{
    int64_t ts[2] = {0, 0};
    long r = call6(__NR_clock_gettime, 3, (uintptr_t)ts, 0, 0, 0, 0);
    return r < 0 ? r : ts[0] * 1000000000 + ts[1];
}

static int64_t do_item(struct slot *s, struct stub_work *w, int *fd)
{
    switch (w->op) {
    case WORK_CALL:
        if (w->flags & WORK_FD)
            w->a[4] = *fd;
        return call6(w->nr, w->a[0], w->a[1], w->a[2], w->a[3], w->a[4], w->a[5]);
    case WORK_RECVFD:
        if (*fd >= 0)
            close_fd((uint64_t)*fd);
        *fd = -1;
        return recv_fds(s->ctl_fd, fd, 1);
    case WORK_CMPXCHG: return stub_cmpxchg(w->a[0], w->a[1], w->a[2]);
    case WORK_FUTEX:
        return stub_futex(w->a[0], w->a[1], w->a[2],
                          w->flags & WORK_TIMEOUT ? (uintptr_t)s->ts : w->a[3], w->a[4], w->a[5],
                          &s->intr);
    case WORK_CLONE: return do_clone(w->a[0]);
    case WORK_FORK: return do_fork(s, w->a[0], w->a[1]);
    case WORK_XSAVE: return frame_complete(s, w->a[0], w->a[1]);
    case WORK_PATCH: return patch_site(s, w);
    case WORK_POKE: return patch_poke(w);
    case WORK_COPY: return do_copy(s, w->a[0], w->a[1], w->a[2]);
    case WORK_CPUTIME: return cpu_time();
    }
    return -38;
}

// The items in order; the first failure ends the list, its results beyond are -ECANCELED.
static void do_work(struct slot *s)
{
    int fd = -1;
    uint32_t n = s->nwork;
    bool stop = false;
    for (uint32_t i = 0; i < n && i < SLOT_WORK_MAX; i++) {
        struct stub_work *w = &s->work[i];
        int64_t r = stop ? -125 : do_item(s, w, &fd);
        stop = stop || (r < 0 && r >= -4095);
        w->ret = r;
    }
    if (fd >= 0)
        close_fd((uint64_t)fd);
}

// The call that goes with a return. The kernel, and what waits for it there, may see at once that it
// has been made; that it was refused shows with the event.
static bool do_later(struct slot *s)
{
    struct stub_work *w = &s->work[0];
    int64_t r = do_item(s, w, &(int){-1});
    if (r < 0 && r >= -4095) {
        w->ret = r;
        return false;
    }
    if (__atomic_exchange_n(&w->ret, r, __ATOMIC_SEQ_CST) == LATER_WAITED)
        ring(s);
    return true;
}

AI uint32_t live_flag(const struct slot *s)
{
    return s->live ? STUB_EV_LIVE : 0;
}
// Where sites are patched, %gs is the slot as long as the guest has no use for it: then its base is 0
// as far as the guest's registers go. A guest that loads it is left with what it has loaded.
static void read_bases(struct slot *s)
{
    uint64_t fs, gs;
    __asm__ volatile("rdfsbase %0" : "=r"(fs));
    STORE(s->ev_fs_base, fs);
    __asm__ volatile("rdgsbase %0" : "=r"(gs));
    if (s->tag && gs == (uintptr_t)s)
        gs = 0;
    else if (s->tag && !gs)
        __asm__ volatile("wrgsbase %0" : : "r"(s));
    STORE(s->ev_gs_base, gs);
}
static void set_gs_base(struct slot *s)
{
    uint64_t gs = s->gs_base ? s->gs_base : s->tag ? (uintptr_t)s : 0;
    __asm__ volatile("wrgsbase %0" : : "r"(gs));
}

// --- the loop ------------------------------------------------------------------------------------
// By way of rt_sigreturn, which blocks every signal: a late interrupt must find no stack to use.
[[noreturn]] static void exit_thread(struct slot *s)
{
    struct stub_ucontext *uc = frame_of(s);
    uc->rip = (uintptr_t)stub_exit_thread;
    uc->rdi = (uintptr_t)s;
    uc->rsp = (uintptr_t)s + SLOT_SIZE;
    uc->rflags = 0x202;
    uc->fpstate = 0;
    uc->sigmask = ~0ull;
    stub_exit_final(uc);
}

AI void exit_prepare(struct slot *s, const struct stub_ucontext *uc)
{
    s->exit_rip = uc->rip;
    s->exit_rsp = uc->rsp;
    s->exit_flags = uc->rflags;
}
// The result of a system call is in the frame: back to the guest, if nothing came in between.
[[noreturn]] static void leave_call(struct slot *s, struct stub_ucontext *uc)
{
    exit_prepare(s, uc);
    if (s->live)
        stub_exit_live(uc, s);
    stub_exit_fast(uc, s); // both look at s->intr
}

[[noreturn]] static void serve(struct slot *s)
{
    for (;;) {
        struct stub_ucontext *uc = frame_of(s);
        wait_reply(s);
        uint32_t event = STUB_EV_BROKEN;
        switch (s->reply) {
        case STUB_WORK_RETURN:
            if (!do_later(s)) {
                event = STUB_EV_REFUSED;
                break;
            }
            [[fallthrough]];
        case STUB_RETURN:
            if (s->marshal.nout && !stub_unmarshal(s)) {
                event = STUB_EV_OUTFAULT;
                break;
            }
            uc->rax = s->ret;
            leave_call(s, uc);
        case STUB_RESUME:
            if (s->marshal.nout && !stub_unmarshal(s)) {
                event = STUB_EV_OUTFAULT;
                break;
            }
            if (s->set & STUB_SET_FS)
                __asm__ volatile("wrfsbase %0" : : "r"(s->fs_base));
            if (s->set & STUB_SET_GS)
                set_gs_base(s);
            if (!LOAD(s->intr))
                stub_exit_sigreturn(uc, s);
            event = STUB_EV_INTERRUPT | live_flag(s);
            break;
        case STUB_WORK:
            do_work(s);
            event = STUB_EV_DONE;
            break;
        case STUB_EXIT: exit_thread(s);
        }
        if ((event & 0xff) == STUB_EV_INTERRUPT)
            read_bases(s);
        post(s, event);
    }
}

AI void clear_ac(void)
{
    __asm__ volatile("pushfq; andq $~0x40000, (%%rsp); popfq" : : : "memory", "cc");
}

// --- one system call -----------------------------------------------------------------------------
constexpr uint64_t ODD_FLAGS = 0x100 | 0x4000 | 0x10000 | 0x40000; // TF, NT, RF, AC
// May the call's return skip rt_sigreturn? (rcx and r11 as the kernel leaves them, flags that popf
// restores, 64-bit code.)
AI bool plain_call(const struct slot *s, const struct stub_ucontext *uc)
{
    return s->arch == 0xc000003e && uc->rcx == uc->rip && uc->r11 == uc->rflags &&
           !(uc->rflags & ODD_FLAGS) && uc->cs == 0x33 && uc->ss == 0x2b;
}

// To the Sentry. s->uc, s->uc_off, s->arch and s->live are set.
[[noreturn]] static void hand_call(struct slot *s, struct stub_ucontext *uc, bool hot)
{
    uint64_t nr = uc->rax;
    stub_marshal(s, uc);
    read_bases(s);
    if (nr == __NR_exit || nr == __NR_exit_group || nr == __NR_execve || nr == __NR_execveat)
        s->cputime = cpu_time(); // the kernel will want it at once
    post(s, STUB_EV_SYSCALL | live_flag(s) | (hot ? STUB_EV_HOT : 0));
    serve(s);
}

// A system call that came by SIGSYS: registers in *uc, rip after the instruction, rax the number.
[[noreturn]] static void serve_call(struct slot *s, struct stub_ucontext *uc)
{
    s->sigsys++;
    bool hot = s->tag && site_hot(s, uc->rip);
    if (plain_call(s, uc) && !hot && fast_call(s, uc))
        leave_call(s, uc);
    hand_call(s, uc, hot);
}

// The same from a patched site, by way of stub_tramp. True: answered, to stub_exit_live.
bool stub_call(struct slot *s, struct stub_ucontext *uc)
{
    if (uc->rflags & 0x40000) // AC
        clear_ac();
    s->uc = (uintptr_t)uc;
    STORE(s->uc_off, (uint32_t)((uintptr_t)uc - (uintptr_t)s));
    STORE(s->arch, 0xc000003e);
    s->live = 1;
    uint32_t form = (uint32_t)uc->trapno - 1; // of this slot, which others of the guest can write
    if (form < ARRAY_LEN(s->calls))
        s->calls[form]++;
    if ((uc->rflags & ODD_FLAGS) || !fast_call(s, uc))
        return false;
    exit_prepare(s, uc);
    return true;
}
void stub_call_on(struct slot *s, struct stub_ucontext *uc)
{
    hand_call(s, uc, false);
}

void stub_interrupted(struct slot *s)
{
    if (s->tag)
        (void)patch_signal(s, STUB_SIGNAL, frame_of(s), 0);
    read_bases(s);
    post(s, STUB_EV_INTERRUPT | live_flag(s));
    serve(s);
}

// --- signals -------------------------------------------------------------------------------------
// The signal hit stub code. Interrupts are noted, or turn back a return to the guest that has not
// left yet; a fault in an access on the guest's behalf becomes its result.
static void signal_in_stub(struct slot *s, int sig, struct stub_ucontext *uc)
{
    uint64_t rip = uc->rip;
    if (sig == STUB_SIGNAL) {
        s->intr = 1;
        if (within(rip, stub_win_resume, stub_win_resume_end) ||
            within(rip, stub_win_fast, stub_win_fast_end)) {
            uc->rip = (uintptr_t)stub_exit_interrupted;
            uc->rdi = s->uc;
            uc->rsi = (uintptr_t)s;
            uc->rsp = s->uc;
        } else if (within(rip, stub_futex_win, stub_futex_end)) {
            uc->rip = (uintptr_t)stub_futex_abort;
        }
    } else if (sig == 31) { // SIGSYS: the filter refused a call of ours, or of the vDSO
        uc->rax = LOAD(s->in_vdso) && random_key(s, uc) ? uc->rsi : (uint64_t)-38;
    } else if (rip == (uintptr_t)stub_cmpxchg_insn) {
        uc->rip = (uintptr_t)stub_cmpxchg_fault;
    } else if (within(rip, stub_user_start, stub_user_end)) {
        uc->rip = (uintptr_t)stub_user_fault;
    } else if (within(rip, stub_access, stub_access_end)) {
        uc->rip = (uintptr_t)stub_access_fault;
    } else if (rip == (uintptr_t)stub_peek_insn) {
        uc->rip = (uintptr_t)stub_peek_fault;
    } else {
        s->uc = (uintptr_t)uc;
        post(s, STUB_EV_BROKEN);
        for (;;)
            call6(__NR_exit, 1, 0, 0, 0, 0, 0);
    }
}

void stub_signal(int sig, struct stub_siginfo *si, struct stub_ucontext *uc)
{
    struct slot *s = slot_of(uc);
    if (uc->rflags & 0x40000) // AC: stays set in a handler
        clear_ac();
    uint64_t rip = uc->rip;
    if (within(rip, stub_start, stub_end) || LOAD(s->in_vdso)) {
        if (sig != STUB_SIGNAL || !within(rip, stub_win_last, stub_win_last_end)) {
            signal_in_stub(s, sig, uc);
            return;
        }
        // The last two instructions of a fast return: all but these are the guest's already.
        uc->rip = uc->rcx = s->exit_rip;
        uc->r11 = s->exit_flags;
    }
    s->live = 0;
    s->uc = (uintptr_t)uc;
    s->uc_off = (uint32_t)((uintptr_t)uc - (uintptr_t)s);
    if (s->tag && patch_signal(s, sig, uc, si->code))
        stub_exit_sigreturn(uc, s);
    if (sig == 31) {
        s->arch = si->arch;
        serve_call(s, uc);
    }
    s->signo = sig;
    s->code = si->code;
    s->addr = si->addr;
    read_bases(s);
    post(s, sig == STUB_SIGNAL ? STUB_EV_INTERRUPT : STUB_EV_FAULT);
    serve(s);
}

// --- new threads and processes -------------------------------------------------------------------
static void set_altstack(struct slot *s)
{
    uint64_t ss[3] = {(uintptr_t)s + SLOT_STACK_OFF, 0, SLOT_STACK_SIZE};
    call6(__NR_sigaltstack, (uintptr_t)ss, 0, 0, 0, 0, 0);
    s->uc = (uintptr_t)s + s->boot_uc;
    s->uc_off = s->boot_uc;
}

// On the slot's own stack. The Sentry has left the slot in its hands: nothing to report.
void stub_thread(struct slot *s)
{
    set_altstack(s);
    serve(s);
}
void stub_first(struct slot *s)
{
    set_altstack(s);
    post(s, STUB_EV_BORN);
    serve(s);
}

// A new process, on the fork stack: gets slots of its own, drops what it inherited.
void stub_child(void)
{
    struct fork_args *fa = (struct fork_args *)stub_fork;
    for (uint32_t i = 0; i < fa->nunmap && i < STUB_UNMAP_MAX; i++)
        if (fa->unmap[i].len &&
            call6(__NR_munmap, fa->unmap[i].start, fa->unmap[i].len, 0, 0, 0, 0) < 0)
            goto fail;
    if (fa->traced)
        stub_trap();
    uintptr_t slots = (uintptr_t)stub_slots;
    uint64_t len = (uint64_t)SLOT_SIZE * SLOT_COUNT;
    int fds[3];
    bool first = fa->old_ctl == ~0u;
    if (recv_fds(fa->ctl_fd, fds, first ? 1 : 3) < 0)
        goto fail;
    uint64_t memfd = (uint64_t)fds[first ? 0 : 1];
    if (!first && (uint32_t)fds[0] != fa->bell_fd)
        goto fail;
    if (call6(__NR_mmap, slots, len, 3, 0x01 | 0x10 | 0x4000, memfd, 0) != (long)slots)
        goto fail; // SHARED, FIXED, NORESERVE
    close_fd(memfd);
    if (!first) {
        uintptr_t pub = (uintptr_t)stub_pub; // SHARED, FIXED, NORESERVE; MADV_DONTFORK
        if (call6(__NR_mmap, pub, STUB_PUB_SIZE, 1, 0x01 | 0x10 | 0x4000, (uint64_t)fds[2], 0) !=
                (long)pub ||
            call6(__NR_madvise, pub, STUB_PUB_SIZE, 10, 0, 0, 0) < 0)
            goto fail;
        close_fd((uint64_t)fds[2]);
        close_fd(fa->old_ctl);
        close_fd(fa->old_bell);
    }
    if (call6(__NR_madvise, slots, len, 10, 0, 0, 0) < 0) // MADV_DONTFORK
        goto fail;
    struct slot *s = (struct slot *)slots;
    stub_enter(s, ((uintptr_t)s + s->boot_uc - 256) & ~(uintptr_t)15, (void *)stub_first);
fail:
    for (;;)
        call6(__NR_exit, 1, 0, 0, 0, 0, 0);
}
