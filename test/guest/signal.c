// SPDX-License-Identifier: Apache-2.0
// Sending, blocking, queueing, masks, waiting for signals, default actions.
#include "gt.h"
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

static volatile int seen, last, code, value;
static volatile pid_t from;
static void on(int sig, siginfo_t *si, void *uc)
{
    seen++;
    last = sig;
    code = si->si_code;
    from = si->si_pid;
    value = si->si_value.sival_int;
}
static void handle(int sig, int flags)
{
    struct sigaction sa = {.sa_sigaction = on, .sa_flags = SA_SIGINFO | flags};
    GT_OK(sigaction(sig, &sa, 0));
}
static sigset_t set1(int sig)
{
    sigset_t s;
    sigemptyset(&s);
    if (sig)
        sigaddset(&s, sig);
    return s;
}
static void block(int sig)
{
    sigset_t s = set1(sig);
    GT_OK(sigprocmask(SIG_BLOCK, &s, 0));
}
static void unblock(int sig)
{
    sigset_t s = set1(sig);
    GT_OK(sigprocmask(SIG_UNBLOCK, &s, 0));
}

GT(signal_kill_self)
{
    handle(SIGUSR1, 0);
    GT_OK(kill(getpid(), SIGUSR1));
    GT_EQ(seen, 1);
    GT_EQ(code, SI_USER);
    GT_EQ(from, getpid());
    GT_OK(raise(SIGUSR1));
    GT_EQ(code, SI_TKILL);
    union sigval v = {.sival_int = 42};
    GT_OK(sigqueue(getpid(), SIGUSR1, v));
    GT_EQ(code, SI_QUEUE);
    GT_EQ(value, 42);
}

GT(signal_errors)
{
    GT_ERR(kill(getpid(), 65), EINVAL);
    GT_ERR(kill(getpid(), -1), EINVAL);
    GT_ERR(kill(4000000, SIGTERM), ESRCH);
    GT_ERR(kill(4000000, 999), ESRCH);
    GT_ERR(kill(INT_MIN, 0), ESRCH);
    GT_OK(kill(getpid(), 0));
    GT_ERR(syscall(SYS_tgkill, getpid(), 0, SIGTERM), EINVAL);
    GT_ERR(syscall(SYS_tgkill, -1, getpid(), SIGTERM), EINVAL);
    GT_ERR(syscall(SYS_tgkill, getpid(), 4000000, SIGTERM), ESRCH);
    GT_ERR(syscall(SYS_tgkill, getppid(), getpid(), SIGTERM), ESRCH);
    GT_ERR(syscall(SYS_tkill, 0, SIGTERM), EINVAL);
    struct sigaction sa = {.sa_handler = SIG_IGN};
    GT_ERR(syscall(SYS_rt_sigaction, SIGKILL, &sa, 0, 8), EINVAL);
    GT_ERR(syscall(SYS_rt_sigaction, SIGSTOP, &sa, 0, 8), EINVAL);
    GT_OK(syscall(SYS_rt_sigaction, SIGSTOP, 0, &sa, 8));
    GT_ERR(syscall(SYS_rt_sigaction, 65, 0, &sa, 8), EINVAL);
    GT_ERR(syscall(SYS_rt_sigaction, SIGUSR1, &sa, 0, 16), EINVAL);
    GT_ERR(syscall(SYS_rt_sigprocmask, 77, &sa, 0, 8), EINVAL);
    GT_OK(syscall(SYS_rt_sigprocmask, 77, 0, 0, 8));
    GT_ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, (void *)8, 0, 8), EFAULT);
}

GT(signal_kill_stop_cannot_be_blocked)
{
    sigset_t s, o;
    sigfillset(&s);
    GT_OK(sigprocmask(SIG_SETMASK, &s, 0));
    GT_OK(sigprocmask(SIG_BLOCK, 0, &o));
    GT_TRUE(!sigismember(&o, SIGKILL) && !sigismember(&o, SIGSTOP) && sigismember(&o, SIGTERM));
}

GT(signal_standard_coalesce)
{
    handle(SIGUSR1, 0);
    block(SIGUSR1);
    for (int i = 0; i < 5; i++)
        kill(getpid(), SIGUSR1);
    unblock(SIGUSR1);
    GT_EQ(seen, 1);
}

static int order[64], norder;
static void on_order(int sig, siginfo_t *si, void *uc)
{
    order[norder++] = sig * 1000 + si->si_value.sival_int;
}

GT(signal_rt_queue_in_order)
{
    struct sigaction sa = {.sa_sigaction = on_order, .sa_flags = SA_SIGINFO};
    sigfillset(&sa.sa_mask);
    int a = SIGRTMIN, b = SIGRTMIN + 1;
    sigaction(a, &sa, 0);
    sigaction(b, &sa, 0);
    block(a);
    block(b);
    for (int i = 0; i < 3; i++) {
        union sigval v = {.sival_int = i};
        sigqueue(getpid(), b, v);
        sigqueue(getpid(), a, v);
    }
    sigset_t s = set1(a);
    sigaddset(&s, b);
    sigprocmask(SIG_UNBLOCK, &s, 0);
    GT_EQ(norder, 6);
    for (int i = 0; i < 6; i++)
        GT_EQ(order[i], (i < 3 ? a : b) * 1000 + i % 3);
}

GT(signal_rt_limit)
{
    struct rlimit r = {3, 3};
    GT_OK(setrlimit(RLIMIT_SIGPENDING, &r));
    block(SIGRTMIN);
    union sigval v = {.sival_int = 0};
    int i;
    for (i = 0; i < 10; i++)
        if (sigqueue(getpid(), SIGRTMIN, v))
            break;
    GT_TRUE(i <= 3);
    GT_EQ(errno, EAGAIN);
    block(SIGUSR1);
    GT_OK(kill(getpid(), SIGUSR1)); // kill is never refused
    sigset_t p;
    sigpending(&p);
    GT_TRUE(sigismember(&p, SIGUSR1));
}

GT(signal_ignored_are_dropped)
{
    block(SIGUSR1);
    kill(getpid(), SIGUSR1);
    signal(SIGUSR1, SIG_IGN); // flushes
    handle(SIGUSR1, 0);
    unblock(SIGUSR1);
    GT_EQ(seen, 0);
    block(SIGCHLD);
    kill(getpid(), SIGCHLD);
    signal(SIGCHLD, SIG_DFL); // default is to ignore: flushes too
    sigset_t p;
    sigpending(&p);
    GT_TRUE(!sigismember(&p, SIGCHLD));
}

static volatile int depth, maxdepth, rounds;
static void nest(int sig)
{
    int d = ++depth;
    if (d > maxdepth)
        maxdepth = d;
    if (d < 3 && ++rounds < 6)
        raise(sig);
    depth--;
}

GT(signal_nodefer_and_mask)
{
    struct sigaction sa = {.sa_handler = nest};
    sigaction(SIGUSR1, &sa, 0);
    raise(SIGUSR1);
    GT_EQ(maxdepth, 1);
    maxdepth = rounds = 0;
    sa.sa_flags = SA_NODEFER;
    sigaction(SIGUSR1, &sa, 0);
    raise(SIGUSR1);
    GT_EQ(maxdepth, 3);
}

GT(signal_resethand)
{
    handle(SIGUSR1, SA_RESETHAND);
    raise(SIGUSR1);
    GT_EQ(seen, 1);
    struct sigaction o;
    sigaction(SIGUSR1, 0, &o);
    GT_TRUE(o.sa_handler == SIG_DFL);
    GT_TRUE(o.sa_flags & SA_RESETHAND);
}

GT(signal_sigsuspend)
{
    handle(SIGUSR1, 0);
    handle(SIGUSR2, 0);
    block(SIGUSR1);
    block(SIGUSR2);
    kill(getpid(), SIGUSR1);
    sigset_t s;
    sigfillset(&s);
    sigdelset(&s, SIGUSR1);
    GT_ERR(sigsuspend(&s), EINTR);
    GT_EQ(seen, 1);
    GT_EQ(last, SIGUSR1);
    sigprocmask(SIG_BLOCK, 0, &s);
    GT_TRUE(sigismember(&s, SIGUSR1) && sigismember(&s, SIGUSR2));
}

GT(signal_sigtimedwait)
{
    sigset_t s = set1(SIGUSR1);
    siginfo_t si;
    struct timespec z = {0, 0}, t = {0, 30000000}, bad = {0, 1000000000};
    block(SIGUSR1);
    GT_ERR(sigtimedwait(&s, &si, &z), EAGAIN);
    GT_ERR(sigtimedwait(&s, &si, &t), EAGAIN);
    GT_ERR(sigtimedwait(&s, &si, &bad), EINVAL);
    kill(getpid(), SIGUSR1);
    GT_EQ(sigtimedwait(&s, &si, &z), SIGUSR1);
    GT_EQ(si.si_signo, SIGUSR1);
    GT_EQ(si.si_pid, getpid());
    pid_t me = getpid(), c = fork();
    if (!c) {
        usleep(30000);
        union sigval v = {.sival_int = 9};
        sigqueue(me, SIGUSR1, v);
        _exit(0);
    }
    GT_EQ(sigwaitinfo(&s, &si), SIGUSR1);
    GT_EQ(si.si_value.sival_int, 9);
    GT_EQ(si.si_pid, c);
    // another signal interrupts it
    handle(SIGALRM, 0);
    gt_alarm(30);
    GT_ERR(sigwaitinfo(&s, &si), EINTR);
    wait(0);
}

GT(signal_wait_for_unblocked_ignored)
{
    // a default-ignored signal that is waited for must not be lost
    sigset_t s = set1(SIGURG);
    block(SIGURG);
    pid_t me = getpid();
    if (!fork()) {
        usleep(20000);
        kill(me, SIGURG);
        _exit(0);
    }
    int sig;
    GT_EQ(sigwait(&s, &sig), 0);
    GT_EQ(sig, SIGURG);
}

static int child_with(void (*fn)(void))
{
    pid_t p = fork();
    int st;
    if (!p) {
        for (int i = 1; i < 32; i++)
            signal(i, SIG_DFL);
        fn();
        _exit(77);
    }
    waitpid(p, &st, WUNTRACED);
    if (WIFSTOPPED(st)) {
        kill(p, SIGKILL);
        waitpid(p, 0, 0);
    }
    return st & ~0x80;
}
static volatile int zero;
static void do_segv(void) { *(volatile int *)8 = 1; }
static void do_fpe(void) { __asm__ volatile("xor %%ecx, %%ecx\n\tcltd\n\tidiv %%ecx" ::: "rax", "rcx", "rdx"); }
static void do_ill(void) { __asm__ volatile("ud2"); }
static void do_trap(void) { __asm__ volatile("int3"); }
static void do_abrt(void) { abort(); }
static void do_stop(void) { raise(SIGSTOP); }
static void do_tstp(void) { raise(SIGTTOU); }
static void do_winch(void) { raise(SIGWINCH); raise(SIGURG); raise(SIGCONT); }
static void do_blocked_segv(void) { block(SIGSEGV); do_segv(); }
static void do_ignored_segv(void) { signal(SIGSEGV, SIG_IGN); do_segv(); }
static void do_rt(void) { raise(SIGRTMAX); }

GT(signal_default_actions)
{
    GT_EQ(child_with(do_segv), SIGSEGV);
    GT_EQ(child_with(do_fpe), SIGFPE);
    GT_EQ(child_with(do_ill), SIGILL);
    GT_EQ(child_with(do_trap), SIGTRAP);
    GT_EQ(child_with(do_abrt), SIGABRT);
    GT_EQ(child_with(do_blocked_segv), SIGSEGV);
    GT_EQ(child_with(do_ignored_segv), SIGSEGV);
    GT_EQ(child_with(do_rt), SIGRTMAX);
    GT_EQ(child_with(do_stop), SIGSTOP << 8 | 0x7f);
    GT_EQ(child_with(do_winch), 77 << 8 & ~0x80);
}

static int codes[8], ncodes;
static void *addrs[8];
static sigjmp_buf jb;
static void on_fault(int sig, siginfo_t *si, void *uc)
{
    codes[ncodes] = sig * 100 + si->si_code;
    addrs[ncodes++] = si->si_addr;
    siglongjmp(jb, 1);
}
GT(signal_fault_codes)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    for (int i = 0; i < 5; i++)
        sigaction((int[]){SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}[i], &sa, 0);
    char *ro = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!sigsetjmp(jb, 1))
        *(volatile int *)0x18 = 1;
    GT_EQ(codes[0], SIGSEGV * 100 + SEGV_MAPERR);
    GT_EQ((long)addrs[0], 0x18);
    if (!sigsetjmp(jb, 1))
        *(volatile char *)ro = 1;
    GT_EQ(codes[1], SIGSEGV * 100 + SEGV_ACCERR);
    GT_TRUE(addrs[1] == ro);
    if (!sigsetjmp(jb, 1))
        do_fpe();
    GT_EQ(codes[2], SIGFPE * 100 + FPE_INTDIV);
    if (!sigsetjmp(jb, 1))
        do_ill();
    GT_EQ(codes[3], SIGILL * 100 + ILL_ILLOPN);
    if (!sigsetjmp(jb, 1))
        *(volatile int *)0x8000000000000000ull = 1; // not canonical
    GT_EQ(codes[4], SIGSEGV * 100 + SI_KERNEL);
    GT_EQ((long)addrs[4], 0);
    char name[] = "/tmp/gtsigXXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    GT_OK(ftruncate(fd, 4096));
    char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!sigsetjmp(jb, 1))
        m[4096] = 1;
    GT_EQ(codes[5], SIGBUS * 100 + BUS_ADRERR);
    GT_TRUE(addrs[5] == m + 4096);
}

static volatile pid_t handler_tid;
static void note_tid(int sig)
{
    handler_tid = (pid_t)syscall(SYS_gettid);
}
static void *wait_thread(void *arg)
{
    for (int i = 0; i < 2000 && !handler_tid; i++)
        usleep(1000);
    return 0;
}

GT(signal_group_goes_to_thread_that_takes_it)
{
    pthread_t th;
    signal(SIGUSR1, note_tid);
    GT_EQ(pthread_create(&th, 0, wait_thread, 0), 0);
    block(SIGUSR1); // here only: the thread was made before
    kill(getpid(), SIGUSR1);
    pthread_join(th, 0);
    GT_TRUE(handler_tid != 0 && handler_tid != getpid());
}

GT(signal_thread_directed_stays)
{
    pthread_t th;
    signal(SIGUSR1, note_tid);
    GT_EQ(pthread_create(&th, 0, wait_thread, 0), 0);
    block(SIGUSR1);
    GT_OK(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1));
    usleep(20000);
    GT_EQ(handler_tid, 0);
    unblock(SIGUSR1);
    GT_EQ(handler_tid, getpid());
    pthread_join(th, 0);
}

GT(signal_spinning_thread_is_interrupted)
{
    handle(SIGALRM, 0);
    gt_alarm(20);
    while (!seen)
        ;
    GT_EQ(last, SIGALRM);
    GT_EQ(code, SI_KERNEL);
}

GT(signal_sigqueueinfo_pretending)
{
    siginfo_t si = {.si_code = SI_USER};
    pid_t p = fork();
    if (!p) {
        pause();
        _exit(0);
    }
    GT_ERR(syscall(SYS_rt_sigqueueinfo, p, SIGUSR1, &si), EPERM);
    si.si_code = SI_TKILL;
    GT_ERR(syscall(SYS_rt_sigqueueinfo, p, SIGUSR1, &si), EPERM);
    si.si_code = -77;
    GT_OK(syscall(SYS_rt_sigqueueinfo, p, 0, &si));
    kill(p, SIGKILL);
    wait(0);
    handle(SIGUSR1, 0);
    si.si_code = SI_USER;
    GT_OK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &si));
    GT_EQ(seen, 1);
    si.si_code = -77;
    GT_OK(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGUSR1, &si));
    GT_EQ(code, -77);
}

GT(signal_permission)
{
    if (getuid() != 0)
        GT_SKIP("needs root");
    pid_t p = fork();
    if (!p)
        for (;;)
            pause();
    pid_t k = fork();
    if (!k) {
        if (setuid(12345))
            _exit(9);
        if (kill(p, SIGTERM) == 0 || errno != EPERM)
            _exit(1);
        if (kill(p, 0) == 0 || errno != EPERM)
            _exit(2);
        if (kill(p, SIGCONT)) // same session
            _exit(3);
        _exit(0);
    }
    int st;
    waitpid(k, &st, 0);
    kill(p, SIGKILL);
    waitpid(p, 0, 0);
    GT_EQ(WEXITSTATUS(st), 0);
}

GT(signal_pgrp)
{
    int st, i;
    pid_t p[3];
    for (i = 0; i < 3; i++) {
        p[i] = fork();
        if (!p[i]) {
            for (;;)
                pause();
        }
        setpgid(p[i], p[0]);
    }
    GT_OK(kill(-p[0], SIGTERM));
    for (i = 0; i < 3; i++) {
        GT_EQ(waitpid(p[i], &st, 0), p[i]);
        GT_EQ(WTERMSIG(st), SIGTERM);
    }
    GT_ERR(kill(-p[0], SIGTERM), ESRCH);
}

GT(signal_pause)
{
    handle(SIGALRM, SA_RESTART);
    gt_alarm(20);
    GT_ERR(pause(), EINTR); // whatever SA_RESTART says
}

GT(signal_many_between_processes)
{
    enum { N = 2000 };
    block(SIGUSR1);
    pid_t me = getpid(), c = fork();
    sigset_t s = set1(SIGUSR1);
    int sig;
    if (!c) {
        for (int i = 0; i < N; i++) {
            kill(me, SIGUSR1);
            sigwait(&s, &sig);
        }
        _exit(0);
    }
    for (int i = 0; i < N; i++) {
        sigwait(&s, &sig);
        kill(c, SIGUSR1);
    }
    int st;
    waitpid(c, &st, 0);
    GT_EQ(st, 0);
}
GT_MAIN
