// SPDX-License-Identifier: Apache-2.0
// Calls that may be answered without the kernel: made raw, so that no library caches or redirects
// them, and compared with what else the system says about the same thing, while it changes.
#include "gt.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define RAW(nr, ...) syscall(SYS_##nr __VA_OPT__(, ) __VA_ARGS__)
static long fx(void *w, int op, uint32_t v, const void *t, void *w2, uint32_t v3)
{
    return syscall(SYS_futex, w, op | FUTEX_PRIVATE_FLAG, v, t, w2, v3);
}
static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}
static void nap(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000}, r;
    while (nanosleep(&t, &r) && errno == EINTR)
        t = r;
}
static long status_field(const char *file, const char *name, int base)
{
    char buf[4096], *p;
    int fd = GT_OK(open(file, O_RDONLY));
    long n = GT_OK(read(fd, buf, sizeof(buf) - 1));
    close(fd);
    buf[n] = 0;
    p = strstr(buf, name);
    GT_TRUE(p);
    return (long)strtoull(p + strlen(name), 0, base);
}
static void reap(pid_t p)
{
    int st = -1;
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(st, 0);
}

// --- numbers ---
static void ids_agree(void)
{
    GT_EQ(RAW(getpid), status_field("/proc/self/status", "\nTgid:", 10));
    GT_EQ(RAW(getppid), status_field("/proc/self/status", "\nPPid:", 10));
    GT_EQ(RAW(getuid), status_field("/proc/self/status", "\nUid:", 10));
    GT_EQ(RAW(getgid), status_field("/proc/self/status", "\nGid:", 10));
    GT_EQ(RAW(getpgrp), RAW(getpgid, RAW(getpid)));
    GT_EQ(RAW(getpgid, 0), RAW(getpgrp));
    GT_EQ(RAW(getsid, 0), RAW(getsid, RAW(getpid)));
}
GT(fast_ids_fork)
{
    pid_t me = RAW(getpid);
    ids_agree();
    GT_EQ(RAW(gettid), me);
    for (int i = 0; i < 20; i++) {
        pid_t p = GT_OK(fork());
        if (!p) {
            GT_TRUE(RAW(getpid) != me);
            GT_EQ(RAW(getppid), me);
            GT_EQ(RAW(gettid), RAW(getpid));
            GT_EQ(RAW(getpgrp), getpgid(me));
            ids_agree();
            GT_EQ(RAW(setsid), RAW(getpid));
            GT_EQ(RAW(getsid, 0), RAW(getpid));
            GT_EQ(RAW(getpgrp), RAW(getpid));
            _exit(0);
        }
        reap(p);
        GT_EQ(RAW(getpid), me);
    }
    GT_ERR(RAW(getpgid, -5), ESRCH);
    GT_ERR(RAW(getsid, 32000), ESRCH);
}
GT(fast_ids_vfork)
{
    volatile pid_t me = RAW(getpid), seen = 0;
    pid_t p = vfork();
    if (!p) {
        seen = RAW(getpid);
        _exit(0);
    }
    GT_EQ(seen, p);
    GT_EQ(RAW(getpid), me);
    reap(p);
}
static void *thread_ids(void *a)
{
    GT_EQ(RAW(getpid), getpid());
    GT_TRUE(RAW(gettid) != RAW(getpid));
    *(long *)a = RAW(gettid);
    return 0;
}
GT(fast_ids_threads)
{
    long tid[8];
    pthread_t t[8];
    for (int i = 0; i < 8; i++)
        GT_EQ(pthread_create(&t[i], 0, thread_ids, &tid[i]), 0);
    for (int i = 0; i < 8; i++) {
        GT_EQ(pthread_join(t[i], 0), 0);
        for (int j = 0; j < i; j++)
            GT_TRUE(tid[i] != tid[j]);
    }
}
GT(fast_ids_exec)
{
    char want[64];
    pid_t p = GT_OK(fork());
    if (!p) {
        // The program runs each test in a child: only its parent's number is known here.
        char *argv[] = {"fastpath", "fast_exec_child", 0};
        snprintf(want, sizeof(want), "%ld", (long)RAW(getpid));
        setenv("FAST_PARENT", want, 1);
        execv("/proc/self/exe", argv);
        _exit(9);
    }
    reap(p);
}
GT(fast_exec_child)
{
    if (!getenv("FAST_PARENT"))
        return;
    GT_EQ(RAW(getppid), atoi(getenv("FAST_PARENT")));
    ids_agree();
}
// The parent ends; the numbers change under a child that only looks.
GT(fast_reparent)
{
    int p[2], ok;
    GT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    GT_OK(pipe(p));
    pid_t mid = GT_OK(fork());
    if (!mid) {
        pid_t parent = RAW(getpid);
        if (!fork()) {
            uint64_t end = now() + 10000000000ull;
            while (RAW(getppid) == parent && now() < end)
                ;
            ok = RAW(getppid) == getppid() && RAW(getppid) != parent;
            ok = ok ? (int)RAW(getppid) : -1;
            (void)!write(p[1], &ok, sizeof(ok));
            _exit(0);
        }
        nap(50);
        _exit(0);
    }
    reap(mid);
    GT_EQ(read(p[0], &ok, sizeof(ok)), sizeof(ok));
    GT_EQ(ok, getpid());
    GT_OK(wait(0));
}
GT(fast_setpgid_by_parent)
{
    pid_t p = GT_OK(fork());
    if (!p) {
        uint64_t end = now() + 10000000000ull;
        while (RAW(getpgid, 0) != RAW(getpid) && now() < end)
            ;
        _exit(RAW(getpgrp) != RAW(getpid));
    }
    nap(30);
    GT_OK(setpgid(p, p));
    reap(p);
}
static void *creds_of_thread(void *a)
{
    volatile int *go = a;
    while (*go == 1)
        sched_yield();
    GT_EQ(RAW(getuid), 0); // raw setresuid is the calling thread's alone
    GT_EQ(RAW(geteuid), 0);
    return 0;
}
GT(fast_creds)
{
    volatile int go = 1;
    pthread_t t;
    if (RAW(getuid) != 0)
        GT_SKIP("needs root");
    GT_EQ(pthread_create(&t, 0, creds_of_thread, (void *)&go), 0);
    GT_OK(RAW(setresgid, 11, 12, 13));
    GT_EQ(RAW(getgid), 11);
    GT_EQ(RAW(getegid), 12);
    GT_OK(RAW(setresuid, 21, 22, 23));
    GT_EQ(RAW(getuid), 21);
    GT_EQ(RAW(geteuid), 22);
    go = 2;
    GT_EQ(pthread_join(t, 0), 0);
    GT_OK(RAW(setreuid, -1, 23));
    GT_EQ(RAW(geteuid), 23);
    GT_ERR(RAW(setuid, 0), EPERM);
    GT_EQ(RAW(geteuid), 23);
    pid_t p = GT_OK(fork());
    if (!p)
        _exit(RAW(getuid) != 21 || RAW(geteuid) != 23 || RAW(getegid) != 12);
    reap(p);
}

// --- time ---
static char *edge(void) // the last byte of memory, before a hole
{
    char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_OK(munmap(m + 4096, 4096));
    return m + 4095;
}
GT(fast_clocks)
{
    static const int ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
                              CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID,
                              CLOCK_THREAD_CPUTIME_ID};
    for (unsigned i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
        struct timespec a, b, c;
        GT_OK(RAW(clock_gettime, ids[i], &a));
        GT_OK(clock_gettime(ids[i], &b));
        GT_OK(RAW(clock_gettime, ids[i], &c));
        GT_TRUE(a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec <= b.tv_nsec));
        GT_TRUE(b.tv_sec < c.tv_sec || (b.tv_sec == c.tv_sec && b.tv_nsec <= c.tv_nsec));
        GT_TRUE(c.tv_sec - a.tv_sec < 20 && a.tv_nsec < 1000000000);
    }
    struct timeval tv;
    struct timezone tz = {7, 7};
    long t = RAW(time, 0), t2 = 0;
    GT_OK(RAW(gettimeofday, &tv, &tz));
    GT_TRUE(tv.tv_sec >= t && tv.tv_sec - t < 20 && tv.tv_usec < 1000000);
    GT_EQ(RAW(time, &t2), t2);
    GT_OK(RAW(gettimeofday, 0, 0));
    GT_ERR(RAW(clock_gettime, 77, &tv), EINVAL);
    GT_ERR(RAW(clock_gettime, 10, &tv), EINVAL);
}
GT(fast_faults)
{
    char *ro = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *none = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *e = edge(); // last: nothing fills the hole
    void *bad[] = {e - 6, ro, none, (void *)8, (void *)-4096l, (void *)0x7ffffffff000, (void *)(1ull << 47),
                   (void *)0x7f0000000000};
    uint64_t set = 0, old = 0;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        void *b = bad[i];
        GT_ERR(RAW(clock_gettime, 1, b), EFAULT);
        GT_ERR(RAW(gettimeofday, b, 0), EFAULT);
        GT_ERR(RAW(time, b), EFAULT);
        GT_ERR(RAW(rt_sigprocmask, 0, 0, b, 8), EFAULT);
        GT_ERR(RAW(sigaltstack, 0, b), EFAULT);
        GT_ERR(RAW(sched_getaffinity, 0, 8, b), EFAULT);
        if (b != e - 6) {
            GT_ERR(RAW(getcpu, b, 0, 0), EFAULT);
            GT_ERR(RAW(getcpu, 0, b, 0), EFAULT);
        }
        if (b != ro) {
            GT_ERR(RAW(rt_sigprocmask, 0, b, &old, 8), EFAULT);
            uint32_t w = 5;
            GT_ERR(fx(&w, FUTEX_WAIT, 5, b, 0, 0), EFAULT);
        }
        // The mask is set although the old one cannot be told.
        set = 1 << (SIGUSR1 - 1);
        GT_ERR(RAW(rt_sigprocmask, SIG_SETMASK, &set, b, 8), EFAULT);
        GT_OK(RAW(rt_sigprocmask, 0, 0, &old, 8));
        GT_EQ(old, set);
        set = 0;
        GT_OK(RAW(rt_sigprocmask, SIG_SETMASK, &set, 0, 8));
    }
    GT_ERR(fx(none, FUTEX_WAIT, 0, 0, 0, 0), EFAULT);
    GT_ERR(fx(e + 1, FUTEX_WAIT, 0, 0, 0, 0), EFAULT);
    GT_OK(RAW(clock_gettime, 1, e - 15)); // up to the last byte
}

// --- processors ---
GT(fast_cpus)
{
    unsigned cpu = 99, node = 99;
    uint64_t m = 0, m2[16] = {};
    GT_OK(RAW(getcpu, &cpu, &node, 0));
    GT_EQ(RAW(sched_getaffinity, 0, 8, &m) > 0, 1);
    GT_TRUE(m >> cpu & 1);
    GT_TRUE(RAW(sched_getaffinity, RAW(gettid), sizeof(m2), m2) >= 8);
    GT_EQ(m2[0], m);
    GT_ERR(RAW(sched_getaffinity, 0, 4, &m), EINVAL);
    GT_ERR(RAW(sched_getaffinity, 0, 12, &m), EINVAL);
    uint64_t one = m & -m;
    GT_OK(RAW(sched_setaffinity, 0, 8, &one));
    GT_TRUE(RAW(sched_getaffinity, 0, 8, &m) > 0);
    GT_EQ(m, one);
    GT_OK(RAW(sched_yield));
}

// --- masks ---
static volatile int hits;
static void hit(int sig)
{
    hits++;
}
#define BIT(sig) (1ull << ((sig) - 1))
static uint64_t mask_now(void)
{
    uint64_t m = ~0ull;
    GT_OK(RAW(rt_sigprocmask, 99, 0, &m, 8)); // `how` counts only with a set
    return m;
}
GT(fast_mask)
{
    uint64_t s = BIT(SIGUSR1), o = 1, all = ~0ull;
    GT_OK(RAW(rt_sigprocmask, SIG_BLOCK, &s, &o, 8));
    GT_EQ(o & BIT(SIGUSR1), 0);
    GT_EQ(status_field("/proc/self/status", "\nSigBlk:", 16), mask_now());
    GT_ERR(RAW(rt_sigprocmask, 3, &s, 0, 8), EINVAL);
    GT_ERR(RAW(rt_sigprocmask, SIG_BLOCK, &s, 0, 4), EINVAL);
    GT_OK(RAW(rt_sigprocmask, SIG_SETMASK, &all, 0, 8));
    GT_EQ(mask_now(), all & ~(BIT(SIGKILL) | BIT(SIGSTOP)));
    pid_t p = GT_OK(fork());
    if (!p)
        _exit(mask_now() != (all & ~(BIT(SIGKILL) | BIT(SIGSTOP))));
    reap(p);
    uint64_t both = BIT(SIGUSR2);
    GT_OK(RAW(rt_sigprocmask, SIG_SETMASK, &both, &both, 8)); // in and out at one address
    GT_EQ(both, all & ~(BIT(SIGKILL) | BIT(SIGSTOP)));
    GT_EQ(mask_now(), BIT(SIGUSR2));
    GT_OK(RAW(rt_sigprocmask, SIG_UNBLOCK, &all, 0, 8));
    GT_EQ(mask_now(), 0);
}
GT(fast_mask_pending)
{
    uint64_t s = BIT(SIGUSR1), none = 0, pend = 0;
    signal(SIGUSR1, hit);
    for (int i = 1; i <= 100; i++) {
        GT_OK(RAW(rt_sigprocmask, SIG_BLOCK, &s, 0, 8));
        if (i & 1)
            GT_OK(kill(getpid(), SIGUSR1));
        else
            GT_OK(RAW(tgkill, getpid(), RAW(gettid), SIGUSR1));
        GT_EQ(hits, i - 1);
        GT_OK(RAW(rt_sigpending, &pend, 8));
        GT_EQ(pend, s);
        GT_OK(RAW(rt_sigprocmask, i & 2 ? SIG_UNBLOCK : SIG_SETMASK, i & 2 ? &s : &none, 0, 8));
        GT_EQ(hits, i); // delivered before the call returns
        GT_EQ(mask_now(), 0);
    }
    signal(SIGUSR1, SIG_IGN); // blocked, then ignored: kept until the mask lets it go
    GT_OK(RAW(rt_sigprocmask, SIG_BLOCK, &s, 0, 8));
    GT_OK(kill(getpid(), SIGUSR1));
    signal(SIGUSR1, hit);
    GT_OK(RAW(rt_sigprocmask, SIG_UNBLOCK, &s, 0, 8));
    GT_TRUE(hits == 100 || hits == 101);
}
// Every queued signal arrives although the mask changes all the time.
static volatile int got[64];
static void count(int sig)
{
    got[sig - SIGRTMIN]++;
}
GT(fast_mask_storm)
{
    enum { N = 2000 };
    uint64_t s = BIT(SIGRTMIN), none = 0;
    int up[2];
    GT_OK(pipe(up));
    signal(SIGRTMIN, count);
    pid_t me = getpid(), p = GT_OK(fork());
    if (!p) {
        for (int i = 0; i < N; i++)
            while (sigqueue(me, SIGRTMIN, (union sigval){i}) && errno == EAGAIN)
                sched_yield();
        _exit(0);
    }
    uint64_t end = now() + 20000000000ull;
    while (got[0] < N && now() < end) {
        RAW(rt_sigprocmask, SIG_BLOCK, &s, 0, 8);
        int before = got[0];
        RAW(getpid);
        GT_EQ(got[0], before); // none while it is blocked
        RAW(rt_sigprocmask, SIG_SETMASK, &none, 0, 8);
    }
    GT_EQ(got[0], N);
    reap(p);
}
// A signal to the process finds the one thread that lets it in, however the masks were set.
static volatile int taker_ready, taken_by;
static void taken(int sig)
{
    taken_by = RAW(gettid);
}
static void *taker(void *a)
{
    uint64_t s = BIT(SIGUSR2);
    RAW(rt_sigprocmask, SIG_UNBLOCK, &s, 0, 8);
    *(long *)a = RAW(gettid);
    taker_ready = 1;
    while (!taken_by)
        RAW(getpid);
    RAW(rt_sigprocmask, SIG_BLOCK, &s, 0, 8);
    return 0;
}
GT(fast_mask_threads)
{
    uint64_t s = BIT(SIGUSR2);
    long tid = 0;
    pthread_t t;
    signal(SIGUSR2, taken);
    GT_OK(RAW(rt_sigprocmask, SIG_BLOCK, &s, 0, 8));
    for (int i = 0; i < 20; i++) {
        taken_by = taker_ready = 0;
        GT_EQ(pthread_create(&t, 0, taker, &tid), 0);
        while (!taker_ready)
            sched_yield();
        GT_OK(kill(getpid(), SIGUSR2));
        GT_EQ(pthread_join(t, 0), 0);
        GT_EQ(taken_by, tid);
    }
}
static char stack[65536];
static stack_t in_handler;
static void on_stack(int sig)
{
    RAW(sigaltstack, 0, &in_handler);
}
GT(fast_altstack)
{
    stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)}, o;
    struct sigaction sa = {.sa_handler = on_stack, .sa_flags = SA_ONSTACK};
    memset(&o, 0x55, sizeof(o));
    GT_OK(RAW(sigaltstack, 0, &o));
    GT_EQ(o.ss_flags, SS_DISABLE);
    GT_OK(RAW(sigaltstack, &ss, 0));
    GT_OK(RAW(sigaltstack, 0, &o));
    GT_TRUE(o.ss_sp == stack && o.ss_size == sizeof(stack) && o.ss_flags == 0);
    GT_OK(sigaction(SIGUSR1, &sa, 0));
    GT_OK(raise(SIGUSR1));
    GT_TRUE(in_handler.ss_sp == stack && in_handler.ss_flags == SS_ONSTACK);
    GT_OK(RAW(sigaltstack, 0, &o));
    GT_EQ(o.ss_flags, 0);
}

// --- futexes ---
static uint32_t word, word2;
static volatile long waiter_tid, waiter_ret, waiter_errno;
static void *waiter(void *timeout)
{
    waiter_tid = RAW(gettid);
    waiter_ret = fx(&word, FUTEX_WAIT, 0, timeout, 0, 0);
    waiter_errno = errno;
    return 0;
}
static char task_state(long tid)
{
    char path[64], buf[512], *p;
    snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", tid);
    int fd = GT_OK(open(path, O_RDONLY));
    long n = GT_OK(read(fd, buf, sizeof(buf) - 1));
    close(fd);
    buf[n] = 0;
    p = strrchr(buf, ')');
    GT_TRUE(p);
    return p[2];
}
static pthread_t start_waiter(void *timeout)
{
    pthread_t t;
    waiter_tid = 0;
    GT_EQ(pthread_create(&t, 0, waiter, timeout), 0);
    while (!waiter_tid || task_state(waiter_tid) != 'S') // this is a test, too
        nap(1);
    return t;
}
GT(fast_futex_wake)
{
    for (int i = 0; i < 50; i++) {
        pthread_t t = start_waiter(0);
        while (fx(&word, FUTEX_WAKE, 1, 0, 0, 0) != 1)
            sched_yield();
        GT_EQ(pthread_join(t, 0), 0);
        GT_EQ(waiter_ret, 0);
    }
}
GT(fast_futex_requeue)
{
    pthread_t t = start_waiter(0);
    while (fx(&word, FUTEX_CMP_REQUEUE, 0, (void *)1, &word2, 0) != 1)
        sched_yield();
    GT_EQ(fx(&word, FUTEX_WAKE, 1, 0, 0, 0), 0);
    GT_EQ(fx(&word2, FUTEX_WAKE, 1, 0, 0, 0), 1);
    GT_EQ(pthread_join(t, 0), 0);
    GT_EQ(waiter_ret, 0);
    GT_ERR(fx(&word, FUTEX_CMP_REQUEUE, 0, (void *)1, &word2, 1), EAGAIN);
    t = start_waiter(0);
    while (fx(&word, FUTEX_WAKE_BITSET, 1, 0, 0, 4) != 1) // a plain wait matches any
        sched_yield();
    GT_EQ(pthread_join(t, 0), 0);
}
GT(fast_futex_signals)
{
    struct sigaction sa = {.sa_handler = hit, .sa_flags = SA_RESTART};
    GT_OK(sigaction(SIGUSR1, &sa, 0));
    pthread_t t = start_waiter(0);
    for (int i = 1; i <= 10; i++) { // goes on after each
        GT_EQ(pthread_kill(t, SIGUSR1), 0);
        while (hits < i)
            sched_yield();
        while (task_state(waiter_tid) != 'S')
            nap(1);
    }
    while (fx(&word, FUTEX_WAKE, 1, 0, 0, 0) != 1)
        sched_yield();
    GT_EQ(pthread_join(t, 0), 0);
    GT_EQ(waiter_ret, 0);
    sa.sa_flags = 0;
    GT_OK(sigaction(SIGUSR1, &sa, 0));
    t = start_waiter(0);
    GT_EQ(pthread_kill(t, SIGUSR1), 0);
    GT_EQ(pthread_join(t, 0), 0);
    GT_EQ(waiter_ret, -1);
    GT_EQ(waiter_errno, EINTR);
    struct timespec far = {100, 0}; // with a timeout a handler ends it even with SA_RESTART
    sa.sa_flags = SA_RESTART;
    GT_OK(sigaction(SIGUSR1, &sa, 0));
    t = start_waiter(&far);
    GT_EQ(pthread_kill(t, SIGUSR1), 0);
    GT_EQ(pthread_join(t, 0), 0);
    GT_EQ(waiter_errno, EINTR);
}
// Stops and ignored signals do not prolong a relative timeout.
GT(fast_futex_timeout_stop)
{
    pid_t p = GT_OK(fork());
    if (!p) {
        struct timespec rel = {0, 300000000};
        uint64_t t0 = now();
        GT_ERR(fx(&word, FUTEX_WAIT, 0, &rel, 0, 0), ETIMEDOUT);
        uint64_t took = now() - t0;
        _exit(took < 300000000 || took > 5000000000ull);
    }
    for (int i = 0; i < 5; i++) {
        nap(30);
        kill(p, SIGSTOP);
        nap(10);
        kill(p, SIGCONT);
    }
    reap(p);
}
GT(fast_futex_stopped_waiter)
{
    int st;
    pid_t p = GT_OK(fork());
    if (!p) {
        fx(&word, FUTEX_WAIT, 0, 0, 0, 0);
        _exit(1);
    }
    nap(30);
    for (int i = 0; i < 3; i++) {
        GT_OK(kill(p, SIGSTOP));
        GT_EQ(waitpid(p, &st, WUNTRACED), p);
        GT_TRUE(WIFSTOPPED(st));
        GT_OK(kill(p, SIGCONT));
        GT_EQ(waitpid(p, &st, WCONTINUED), p);
        GT_TRUE(WIFCONTINUED(st));
    }
    GT_OK(kill(p, SIGTERM));
    GT_EQ(waitpid(p, &st, 0), p);
    GT_TRUE(WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM);
}
GT(fast_futex_exit_group)
{
    pid_t p = GT_OK(fork());
    if (!p) {
        start_waiter(0);
        _exit(0);
    }
    reap(p);
    p = GT_OK(fork());
    if (!p) {
        start_waiter(0);
        char *argv[] = {"true", 0};
        execv("/bin/true", argv); // ends the waiting thread
        _exit(1);
    }
    reap(p);
}
// Two threads hand a word back and forth while signals rain: no wake-up is lost.
static uint32_t turn;
static void *ping(void *arg)
{
    uint32_t me = (uintptr_t)arg;
    for (int i = 0; i < 5000; i++) {
        uint32_t v;
        while ((v = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) != me)
            fx(&turn, FUTEX_WAIT, v, 0, 0, 0);
        __atomic_store_n(&turn, !me, __ATOMIC_RELEASE);
        fx(&turn, FUTEX_WAKE, 1, 0, 0, 0);
    }
    return 0;
}
GT(fast_futex_rain)
{
    pthread_t t[2];
    signal(SIGALRM, hit);
    signal(SIGUSR1, hit);
    struct itimerval it = {{0, 3000}, {0, 3000}};
    for (uintptr_t i = 0; i < 2; i++)
        GT_EQ(pthread_create(&t[i], 0, ping, (void *)i), 0);
    GT_OK(setitimer(ITIMER_REAL, &it, 0));
    GT_EQ(pthread_join(t[0], 0), 0);
    GT_EQ(pthread_join(t[1], 0), 0);
}

// --- memory ---
// The host runs out of areas: what it refuses has not happened, however far the call had come.
GT(fast_map_limit)
{
    enum { N = 80000, P = 4096, AREAS = 8 };
    char *m = mmap(0, (size_t)N * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *area[AREAS];
    int i, refused;
    GT_TRUE(m != MAP_FAILED);
    int fd = GT_OK(memfd_create("file", 0));
    GT_OK(ftruncate(fd, 8 * P));
    char *f = mmap(0, 8 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    GT_TRUE(f != MAP_FAILED);
    for (i = 0; i < AREAS; i++) { // each with a hole behind it
        area[i] = mmap(0, 4 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        GT_OK(munmap(area[i] + 3 * P, P));
        area[i][P] = 'a' + i;
    }
    for (i = 1; i < N; i += 2)
        if (mprotect(m + (size_t)i * P, P, PROT_READ))
            break;
    if (i >= N)
        GT_SKIP("the limit is higher");
    GT_EQ(errno, ENOMEM);
    m[(size_t)i * P] = 1; // as it was
    m[(size_t)(i - 1) * P] = 1;
    GT_ERR(mprotect(m + (size_t)i * P, P, PROT_READ), ENOMEM);
    m[(size_t)i * P] = 2;
    GT_ERR(mprotect(f + 3 * P, P, PROT_READ), ENOMEM);
    f[3 * P] = 'y';
    for (i = refused = 0; i < AREAS; i++)
        if (munmap(area[i] + P, P)) {
            GT_EQ(errno, ENOMEM);
            GT_EQ(area[i][P], 'a' + i);
            refused++;
        }
    GT_TRUE(refused > 0);
    for (i = refused = 0; i < AREAS; i++) {
        char *x = mmap(0, P, i & 1 ? PROT_READ | PROT_EXEC : PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        refused += x == MAP_FAILED && errno == ENOMEM;
    }
    GT_TRUE(refused > 0);
    GT_OK(munmap(m, (size_t)N * P));
    GT_OK(mprotect(f + 3 * P, P, PROT_READ));
    GT_ERR(RAW(time, f + 3 * P), EFAULT);
    GT_EQ(f[3 * P], 'y');
    GT_EQ(RAW(time, f + 4 * P) > 0, 1);
    GT_OK(close(fd));
    for (i = 0; i < AREAS; i++) { // and now there is room
        GT_OK(munmap(area[i] + P, P));
        GT_OK(munmap(area[i], 3 * P));
    }
}
// Freed memory comes back empty, from place to place and call to call.
GT(fast_map_churn)
{
    for (int i = 0; i < 3000; i++) {
        size_t n = (1 + i % 5) * 4096;
        char *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        GT_TRUE(p != MAP_FAILED);
        for (size_t j = 0; j < n; j += 4096) {
            GT_EQ(p[j], 0);
            p[j] = 1;
        }
        if (i % 7 == 0) {
            GT_OK(madvise(p, n, MADV_DONTNEED));
            GT_EQ(*p, 0);
        }
        if (i % 11 == 0) {
            GT_OK(mprotect(p, 4096, PROT_NONE));
            GT_ERR(RAW(time, p), EFAULT);
            GT_OK(mprotect(p, 4096, PROT_READ));
            GT_ERR(RAW(time, p), EFAULT);
        }
        GT_OK(munmap(p, n));
        GT_ERR(RAW(time, p), EFAULT);
    }
    GT_ERR(madvise((void *)4096, 4096, MADV_DONTNEED), ENOMEM);
}
// A signal comes with the return of a call that changes memory.
GT(fast_map_signals)
{
    struct itimerval it = {{0, 200}, {0, 200}};
    signal(SIGALRM, hit);
    GT_OK(setitimer(ITIMER_REAL, &it, 0));
    uint64_t end = now() + 20000000000ull;
    for (int i = 0; (i < 3000 || hits < 50) && now() < end; i++) {
        char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        GT_TRUE(p != MAP_FAILED);
        GT_EQ(p[4096], 0);
        p[4096] = 1;
        GT_OK(mprotect(p, 4096, PROT_READ));
        GT_OK(munmap(p, 8192));
        GT_ERR(RAW(time, p + 4096), EFAULT);
    }
    it.it_value.tv_usec = it.it_interval.tv_usec = 0;
    GT_OK(setitimer(ITIMER_REAL, &it, 0));
    GT_TRUE(hits > 0);
}
GT_MAIN
