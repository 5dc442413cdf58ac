// SPDX-License-Identifier: Apache-2.0
// The tracer: the one host thread that talks ptrace. It carries out requests and turns stops into
// their results; asleep in wait4 when there is neither.
#include "abi/errno.h"
#include "base/log.h"
#include "base/slab.h"
#include "host/raw.h"
#include "platform/ptrace/ptrace.h"
#include "sched/mutex.h"
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/ptrace.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

SLAB_DEFINE(space_slab, struct pt_space);
SLAB_DEFINE(context_slab, struct pt_context);
constexpr int TID_BUCKETS = 1024;

struct pt_context *pt_zygote_ctx;
static struct spinlock queue_lock = SPINLOCK_INIT;
static struct list queue = LIST_INIT(queue); // [queue_lock] pt_req.link
static uint32_t wake;                        // [A] the queue has something
static int tracer_tid;                       // [C]
static struct list by_tid[TID_BUCKETS];      // the tracer's

static long pt(long request, int tid, void *addr, void *data)
{
    return host_call(__NR_ptrace, request, tid, addr, data);
}

// --- requests, from fibers -------------------------------------------------------------------------
int pt_request(struct pt_req *r)
{
    r->waiter = fiber_current();
    CHECK(r->waiter);
    spin_lock(&queue_lock);
    list_push_back(&queue, &r->link);
    spin_unlock(&queue_lock);
    if (!__atomic_exchange_n(&wake, 1, __ATOMIC_SEQ_CST))
        host_call(__NR_tgkill, st.self, tracer_tid, STUB_SIGNAL);
    while (!__atomic_load_n(&r->done, __ATOMIC_ACQUIRE))
        (void)!fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE);
    spin_lock(&queue_lock); // the tracer has let go of us
    spin_unlock(&queue_lock);
    return r->err;
}

static void complete(struct pt_req *r, int err)
{
    r->err = err;
    spin_lock(&queue_lock);
    __atomic_store_n(&r->done, true, __ATOMIC_RELEASE);
    fiber_wake(r->waiter);
    spin_unlock(&queue_lock);
}

// --- spaces and contexts ---------------------------------------------------------------------------
struct pt_space *pt_space_alloc(uint32_t parity, int *stub_sock)
{
    int sv[2];
    struct pt_space *s = slab_alloc(&space_slab);
    if (!s)
        return nullptr;
    if (host_call(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv)) {
        slab_free(&space_slab, s);
        return nullptr;
    }
    s->base.ops = &ptrace_ops;
    s->parity = parity;
    s->ctl = sv[0];
    list_init(&s->ctxs);
    mutex_init(&s->lock, RANK_PLATFORM);
    *stub_sock = sv[1];
    return s;
}
void pt_space_drop(struct pt_space *s)
{
    host_call(__NR_close, s->ctl);
    slab_free(&space_slab, s);
}
struct pt_context *pt_context_alloc(struct pt_space *s)
{
    struct pt_context *c = slab_alloc(&context_slab);
    if (!c)
        return nullptr;
    c->base.ops = &ptrace_ops;
    c->base.as = &s->base;
    list_init(&c->link);
    list_init(&c->space_link);
    return c;
}

void pt_context_drop(struct pt_context *c)
{
    slab_free(&context_slab, c);
}

static struct pt_context *find(int tid)
{
    list_for_each (it, &by_tid[tid % TID_BUCKETS]) {
        struct pt_context *c = list_entry(it, struct pt_context, link);
        if (c->tid == tid)
            return c;
    }
    return nullptr;
}

static void adopt(struct pt_context *c, int tid, uint32_t index)
{
    struct pt_space *s = pt_space(c->base.as);
    c->tid = tid;
    c->index = index;
    c->mode = PT_STOPPED;
    s->used[index / 64] |= 1ull << (index % 64);
    s->nthreads++;
    list_push_back(&by_tid[tid % TID_BUCKETS], &c->link);
    list_push_back(&s->ctxs, &c->space_link);
}

static void kill_space(struct pt_space *s)
{
    if (!__atomic_exchange_n(&s->dead, true, __ATOMIC_SEQ_CST) && s->pid)
        host_call(__NR_tgkill, s->pid, s->pid, SIGKILL);
}

static void space_unused(struct pt_space *s)
{
    if (s->freed && s->nthreads == 0)
        pt_space_drop(s);
}

static void context_forget(struct pt_context *c)
{
    list_del(&c->space_link);
    slab_free(&context_slab, c);
}

// wait4 has shown its end. The struct stays until the fibers' side lets go of it, too.
static void ended(struct pt_context *c)
{
    struct pt_space *s = pt_space(c->base.as);
    c->gone = true;
    list_del(&c->link);
    s->nthreads--;
    s->used[c->index / 64] &= ~(1ull << (c->index % 64));
    if (c->mode != PT_ENDING)
        kill_space(s); // a thread that nobody told to end: from outside
    struct pt_req *r = c->req;
    c->req = nullptr;
    if (c->orphan)
        context_forget(c);
    space_unused(s);
    if (r)
        complete(r, -ESRCH);
}

// --- requests, in the tracer -------------------------------------------------------------------------
static bool calls_run(struct pt_context *c, struct pt_req *r)
{
    struct pt_space *s = pt_space(c->base.as);
    int64_t fd = -1, closed;
    bool alive = true, stop = false;
    if (r->in_len && stub_write(s->pid, pt_scratch(c), r->in, r->in_len) != (long)r->in_len)
        return false;
    for (uint32_t i = 0; i < r->n && alive; i++) {
        struct pt_call *k = &r->calls[i];
        if (stop) {
            k->ret = -ECANCELED;
            continue;
        }
        if (k->flags & PT_CALL_TAKE_FD) {
            alive = pt_take_fd(c, &fd);
            k->ret = fd;
        } else {
            if (k->flags & PT_CALL_USE_FD)
                k->a[4] = (uint64_t)fd;
            alive = pt_inject(c, k->nr, k->a, &k->ret);
        }
        stop = k->ret < 0 && k->ret >= -4095;
    }
    if (alive && fd >= 0)
        alive = pt_inject(c, __NR_close, (uint64_t[6]){(uint64_t)fd}, &closed);
    if (alive && r->out_len)
        alive = stub_read(s->pid, r->out_buf, pt_scratch(c), r->out_len) == (long)r->out_len;
    return alive;
}

// The child's control socket waits in the caller's; the child closes the caller's.
static bool fork_run(struct pt_context *c, struct pt_req *r)
{
    struct pt_space *s = pt_space(c->base.as);
    int64_t fd, tid = -ESRCH, closed;
    if (!pt_take_fd(c, &fd))
        return false;
    if (fd != STUB_CTL_FD(r->space->parity)) {
        r->err = fd < 0 ? (int)fd : -EBADF;
        return true;
    }
    bool alive = pt_inject_clone(c, STUB_CLONE_FORK, &tid);
    if (alive)
        alive = pt_inject(c, __NR_close, (uint64_t[6]){(uint64_t)fd}, &closed);
    if (tid <= 0) {
        r->err = alive ? (int)tid : -ESRCH;
        return alive;
    }
    struct pt_context *n = r->out;
    r->space->pid = (int)tid;
    r->taken = true;
    adopt(n, (int)tid, c->index);
    if (!pt_inject(n, __NR_close, (uint64_t[6]){STUB_CTL_FD(s->parity)}, &closed)) {
        n->orphan = r->space->freed = true; // its end takes the space along
        kill_space(r->space);
        if (n->gone)
            ended(n);
        r->err = -EAGAIN;
    }
    return alive;
}

static int slot_free(const struct pt_space *s)
{
    for (uint32_t w = 0; w < ARRAY_LEN(s->used); w++)
        if (s->used[w] != ~0ull)
            return (int)(w * 64 + (uint32_t)__builtin_ctzll(~s->used[w]));
    return -EAGAIN;
}

static bool thread_run(struct pt_context *c, struct pt_req *r)
{
    struct pt_space *s = pt_space(c->base.as);
    int64_t tid, ret;
    int index = slot_free(s);
    if (index < 0) {
        r->err = index;
        return true;
    }
    if (!pt_inject_clone(c, STUB_CLONE_THREAD, &tid))
        return false;
    if (tid <= 0) {
        r->err = (int)tid;
        return true;
    }
    struct pt_context *n = r->out;
    r->taken = true;
    adopt(n, (int)tid, (uint32_t)index);
    uint64_t ss[3] = {st_slot_va(n->index) + SLOT_STACK_OFF, 0, SLOT_STACK_SIZE};
    if (stub_write(s->pid, pt_scratch(n), ss, sizeof(ss)) != sizeof(ss) ||
        !pt_inject(n, __NR_sigaltstack, (uint64_t[6]){pt_scratch(n)}, &ret) || ret) {
        r->err = -ESRCH;
        kill_space(s);
        n->orphan = true;
        if (n->gone)
            ended(n);
    }
    return true;
}

static void end_run(struct pt_context *c)
{
    struct pt_space *s = pt_space(c->base.as);
    if (c->gone) {
        context_forget(c);
        return;
    }
    c->orphan = true;
    if (c->tid == s->pid || s->dead) // the leader stays, stopped
        return;
    c->mode = PT_ENDING;
    pt_inject_start(c, pt_call_rip(), __NR_exit, (uint64_t[6]){});
}

static void kill_run(struct pt_space *s)
{
    kill_space(s);
    list_for_each_safe (it, &s->ctxs) {
        struct pt_context *c = list_entry(it, struct pt_context, space_link);
        c->orphan = true;
        if (c->gone)
            context_forget(c);
    }
    s->freed = true;
    space_unused(s);
}

static long copy_run(struct pt_req *r)
{
    struct pt_space *s = r->space;
    if (s->dead || s->nthreads == 0)
        return -ESRCH;
    return r->op == PT_READ ? guest_read(s->pid, r->buf, r->addr, r->len)
                            : guest_write(s->pid, r->addr, r->buf, r->len);
}

// Into user mode, or into a call that may last: completed by a later stop.
static bool start_run(struct pt_context *c, struct pt_req *r)
{
    struct pt_space *s = pt_space(c->base.as);
    bool ok;
    if (r->op == PT_RUN) {
        ok = pt_regs_set(c, r->regs) && pt(PTRACE_SYSEMU, c->tid, nullptr, nullptr) == 0;
        c->mode = PT_USER;
    } else {
        ok = (!r->in_len || stub_write(s->pid, pt_scratch(c), r->in, r->in_len) == (long)r->in_len) &&
             pt_inject_start(c, pt_call_rip(), r->calls[0].nr, r->calls[0].a) == 0;
        c->mode = PT_CALL;
    }
    if (ok)
        c->req = r;
    else
        c->mode = PT_STOPPED;
    return ok;
}

static void request_run(struct pt_req *r)
{
    struct pt_context *c = r->ctx;
    bool alive = true;
    switch (r->op) {
    case PT_READ:
    case PT_WRITE: r->copied = copy_run(r); complete(r, 0); return;
    case PT_END: end_run(c); complete(r, 0); return;
    case PT_KILL: kill_run(r->space); complete(r, 0); return;
    default: break;
    }
    if (c->gone || pt_space(c->base.as)->dead) {
        complete(r, -ESRCH);
        return;
    }
    r->err = 0;
    switch (r->op) {
    case PT_RUN:
    case PT_FUTEX:
        if (start_run(c, r))
            return;
        alive = false;
        break;
    case PT_CALLS: alive = calls_run(c, r); break;
    case PT_CMPXCHG: alive = pt_inject_cmpxchg(c, r->calls[0].a, &r->calls[0].ret); break;
    case PT_FORK: alive = fork_run(c, r); break;
    case PT_THREAD: alive = thread_run(c, r); break;
    case PT_FP_GET: alive = pt_fp_get(c, r->fp) == 0; break;
    case PT_FP_SET: alive = pt_fp_set(c, r->fp) == 0; break;
    default: break;
    }
    if (!alive) {
        r->err = -ESRCH;
        kill_space(pt_space(c->base.as));
        if (c->gone && !list_empty(&c->link))
            ended(c);
    }
    complete(r, r->err);
}

static void requests_run(void)
{
    for (;;) {
        spin_lock(&queue_lock);
        struct pt_req *r = list_first(&queue, struct pt_req, link);
        if (r)
            list_del(&r->link);
        spin_unlock(&queue_lock);
        if (!r)
            return;
        request_run(r);
    }
}

// --- stops -------------------------------------------------------------------------------------------
static void finish(struct pt_context *c)
{
    struct pt_req *r = c->req;
    c->req = nullptr;
    c->mode = PT_STOPPED;
    if (r)
        complete(r, 0);
}

static void user_syscall(struct pt_context *c, bool trapped)
{
    struct pt_req *r = c->req;
    struct ptrace_syscall_info info = {};
    uint32_t arch = AUDIT_ARCH_X86_64;
    if (!trapped && pt(PTRACE_GET_SYSCALL_INFO, c->tid, (void *)sizeof(info), &info) > 0)
        arch = info.arch;
    if (!pt_regs_get(c, r->regs))
        return; // its end follows
    uint64_t nr = trapped ? r->regs->rax : r->regs->orig_rax;
    r->regs->orig_rax = (uint64_t)(int64_t)(int32_t)nr;
    r->regs->rax = (uint64_t)-ENOSYS;
    *r->ev = (struct pevent){.kind = PEV_SYSCALL, .arch = arch};
    finish(c);
}

static void user_fault(struct pt_context *c, int sig)
{
    struct pt_req *r = c->req;
    siginfo_t si = {};
    if (!pt_regs_get(c, r->regs) || pt(PTRACE_GETSIGINFO, c->tid, nullptr, &si) < 0)
        return;
    r->regs->orig_rax = ~0ull;
    *r->ev = (struct pevent){.kind = PEV_FAULT,
                             .signo = sig,
                             .code = si.si_code,
                             .addr = (uint64_t)(uintptr_t)si.si_addr};
    if (pt_fault_info(c, sig, &r->ev->trapno, &r->ev->err))
        finish(c);
    else
        ended(c);
}

static void user_stop(struct pt_context *c, int status)
{
    int sig = WSTOPSIG(status), event = status >> 16;
    if (event == 0) {
        switch (sig) {
        case SIGTRAP | 0x80: user_syscall(c, false); return;
        case SIGSYS: user_syscall(c, true); return; // the vsyscall page: no stop of ptrace's
        case SIGSEGV:
        case SIGBUS:
        case SIGFPE:
        case SIGILL:
        case SIGTRAP: user_fault(c, sig); return;
        case STUB_SIGNAL:
            if (!pt_regs_get(c, c->req->regs))
                return;
            c->req->regs->orig_rax = ~0ull;
            *c->req->ev = (struct pevent){.kind = PEV_INTERRUPT};
            finish(c);
            return;
        }
    }
    pt(PTRACE_SYSEMU, c->tid, nullptr, nullptr); // a terminal's signals, stops from outside
}

static void call_stop(struct pt_context *c, int status)
{
    int sig = WSTOPSIG(status);
    struct user_regs r;
    if (status >> 16 == 0 && (sig == SIGTRAP || sig == SIGSYS || sig == STUB_SIGNAL)) {
        if (!pt_regs_get(c, &r))
            return;
        int64_t ret = sig == SIGSYS ? -ENOSYS : (int64_t)r.rax;
        bool not_yet = sig == STUB_SIGNAL && r.rip == pt_call_rip();
        if (not_yet || (ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK))
            ret = -EINTR;
        c->req->calls[0].ret = ret;
        finish(c);
        return;
    }
    pt(PTRACE_CONT, c->tid, nullptr, nullptr);
}

static void stop_run(int tid, int status)
{
    struct pt_context *c = find(tid);
    if (!c)
        return; // an orphan of the pid namespace, or a tracee that has just been dropped
    if (!WIFSTOPPED(status))
        ended(c);
    else if (c->mode == PT_USER && c->req)
        user_stop(c, status);
    else if (c->mode == PT_CALL && c->req)
        call_stop(c, status);
    else if (c->mode == PT_ENDING)
        pt(PTRACE_CONT, tid, nullptr, nullptr);
}

// --- the thread ----------------------------------------------------------------------------------------
static void on_wake(int sig, siginfo_t *si, void *ucontext)
{
    greg_t *rip = &((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP];
    if (*rip >= (greg_t)pt_wait_window && *rip < (greg_t)pt_wait_end)
        *rip = (greg_t)pt_wait_abort;
}

struct start {
    const struct platform_config *cfg;
    struct zygote_report *report;
    int sock, err;
    uint32_t done; // [A]
};

static int zygote_trace(struct start *s)
{
    constexpr long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE |
                             PTRACE_O_EXITKILL;
    struct zygote_plan plan = {.cfg = s->cfg, .sock = s->sock, .bell = -1, .traced = true,
                               .report = s->report};
    int gate[2], status = 0;
    char go = 0;
    if (pipe2(gate, O_CLOEXEC))
        return -EMFILE;
    long pid = host_call(__NR_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        host_call(__NR_read, gate[0], &go, 1); // not before it is traced
        zygote_become(&plan);
    }
    long err = pid < 0 ? pid : pt(PTRACE_SEIZE, (int)pid, nullptr, (void *)options);
    host_call(__NR_write, gate[1], &go, 1);
    host_call(__NR_close, gate[0]);
    host_call(__NR_close, gate[1]);
    while (!err) {
        if (host_call(__NR_wait4, pid, &status, __WALL, 0) != pid || !WIFSTOPPED(status)) {
            zygote_log_failure(s->report);
            return -EIO;
        }
        if (status >> 16 == 0 && WSTOPSIG(status) == SIGTRAP)
            break;
        err = pt(PTRACE_CONT, (int)pid, nullptr, nullptr);
    }
    if (err) {
        log_error("ptrace: the host does not let us trace our own child: errno %ld", -err);
        return (int)err;
    }
    pt_space(pt_zygote_ctx->base.as)->pid = (int)pid;
    adopt(pt_zygote_ctx, (int)pid, 0);
    // Nothing of the Sentry's vector registers is left in it or its descendants.
    static uint8_t fp[4096 + 64];
    fp_initial(fp);
    err = pt_fp_set(pt_zygote_ctx, fp);
    if (err)
        return (int)err;
    zygote_adopt(s->report);
    return 0;
}

static void *tracer_main(void *arg)
{
    struct start *s = arg;
    tracer_tid = (int)host_call(__NR_gettid);
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, STUB_SIGNAL);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGFPE);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    s->err = zygote_trace(s);
    bool ok = !s->err;
    __atomic_store_n(&s->done, 1, __ATOMIC_SEQ_CST);
    host_call(__NR_futex, &s->done, FUTEX_WAKE_PRIVATE, 1);
    while (ok) {
        int status;
        __atomic_store_n(&wake, 0, __ATOMIC_SEQ_CST);
        requests_run();
        long tid = pt_wait(&status, &wake);
        if (tid > 0)
            stop_run((int)tid, status);
        else
            CHECK(tid == -EINTR); // never ECHILD: the zygote is there
    }
    return nullptr;
}

int pt_tracer_start(const struct platform_config *cfg)
{
    struct start s = {.cfg = cfg};
    for (int i = 0; i < TID_BUCKETS; i++)
        list_init(&by_tid[i]);
    struct sigaction sa = {.sa_sigaction = on_wake, .sa_flags = SA_SIGINFO};
    sigaction(STUB_SIGNAL, &sa, nullptr);
    s.report = mmap(nullptr, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct pt_space *zygote = pt_space_alloc(0, &s.sock);
    pt_zygote_ctx = zygote ? pt_context_alloc(zygote) : nullptr;
    pthread_attr_t attr;
    pthread_t thread;
    if (s.report == MAP_FAILED || !pt_zygote_ctx || pthread_attr_init(&attr))
        return -ENOMEM;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int err = -pthread_create(&thread, &attr, tracer_main, &s);
    pthread_attr_destroy(&attr);
    while (!err && !__atomic_load_n(&s.done, __ATOMIC_SEQ_CST))
        host_call(__NR_futex, &s.done, FUTEX_WAIT_PRIVATE, 0, 0);
    host_call(__NR_close, s.sock);
    munmap(s.report, PAGE_SIZE);
    return err ? err : s.err;
}
