// SPDX-License-Identifier: Apache-2.0
// Calls for which a kernel may have made a short cut, and seccomp filters that come later: each of them
// is seen from the moment on at which the filter stands, in the thread that sets it and in others that
// make such calls at that moment; and who sleeps in a futex meanwhile is still woken.
#include "gt.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static int fd = -1;
static char *page;
static uint32_t word;
static const int calls[] = {
    SYS_getpid, SYS_gettid, SYS_getppid, SYS_getpgrp, SYS_getpgid, SYS_getsid, SYS_getuid, SYS_geteuid,
    SYS_getgid, SYS_getegid, SYS_sched_yield, SYS_getcpu, SYS_sched_getaffinity, SYS_clock_gettime,
    SYS_gettimeofday, SYS_time, SYS_rt_sigprocmask, SYS_sigaltstack, SYS_umask, SYS_getrandom, SYS_futex,
    SYS_fstat, SYS_pread64, SYS_read, SYS_lseek, SYS_newfstatat, SYS_madvise, SYS_mprotect, SYS_munmap,
    SYS_mmap,
};
enum { CALLS = sizeof(calls) / sizeof(*calls) };

static long make(int nr)
{
    char buf[1024];
    switch (nr) {
    case SYS_getpgid:
    case SYS_getsid: return syscall(nr, 0);
    case SYS_getcpu: return syscall(nr, buf, buf + 8, 0);
    case SYS_sched_getaffinity: return syscall(nr, 0, 128, buf);
    case SYS_clock_gettime: return syscall(nr, CLOCK_MONOTONIC, buf);
    case SYS_gettimeofday: return syscall(nr, buf, 0);
    case SYS_time: return syscall(nr, buf);
    case SYS_rt_sigprocmask: return syscall(nr, SIG_BLOCK, 0, buf, 8);
    case SYS_sigaltstack: return syscall(nr, 0, buf);
    case SYS_umask: return syscall(nr, 022);
    case SYS_getrandom: return syscall(nr, buf, 16, 0);
    case SYS_futex: return syscall(nr, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0);
    case SYS_fstat: return syscall(nr, fd, buf);
    case SYS_pread64: return syscall(nr, fd, buf, 64, 128);
    case SYS_read: return syscall(nr, fd, buf, 16);
    case SYS_lseek: return syscall(nr, fd, 0, SEEK_SET);
    case SYS_newfstatat: return syscall(nr, fd, "", buf, AT_EMPTY_PATH);
    case SYS_madvise: return syscall(nr, page, 4096, MADV_DONTNEED);
    case SYS_mprotect: return syscall(nr, page, 4096, PROT_READ);
    case SYS_munmap: return syscall(nr, page + 4096, 4096);
    case SYS_mmap:
        return syscall(nr, page + 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) < 0 ? -1 : 0;
    }
    return syscall(nr);
}
static void prepare(void)
{
    static char data[8192];
    int w = GT_OK(open("filtered", O_CREAT | O_TRUNC | O_WRONLY, 0644));
    GT_EQ(write(w, data, sizeof(data)), sizeof(data));
    close(w);
    fd = GT_OK(open("filtered", O_RDONLY));
    page = mmap(0, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(page != MAP_FAILED);
}
static int filter(int nr, unsigned flags)
{
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog p = {4, f};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}
static int refused(long r) { return r == -1 && errno == 77; }

static int alone(int nr)
{
    for (int i = 0; i < 100; i++)
        if (make(nr) < 0)
            return 1;
    if (filter(nr, 0))
        return 2;
    for (int i = 0; i < 20; i++)
        if (!refused(make(nr)))
            return 3;
    return 0;
}
// In another thread, which goes on calling; after a filter that was set for all of them has come back
// no call gets past it.
static volatile int standing, begun, result;
static void *go_on(void *arg)
{
    int nr = (int)(intptr_t)arg;
    for (;;) {
        int after = __atomic_load_n(&standing, __ATOMIC_SEQ_CST), is = refused(make(nr));
        if (after && !is)
            result = 4;
        if (after)
            break;
        begun++;
    }
    if (!result)
        result = 100;
    for (;;)
        pause();
}
static int nap(int us)
{
    struct timespec t = {0, us * 1000};
    return nanosleep(&t, 0);
}
static int from_outside(int nr)
{
    pthread_t t;
    if (pthread_create(&t, 0, go_on, (void *)(intptr_t)nr))
        return 5;
    while (begun < 100)
        nap(100);
    if (filter(nr, SECCOMP_FILTER_FLAG_TSYNC))
        return 6;
    __atomic_store_n(&standing, 1, __ATOMIC_SEQ_CST);
    while (!result)
        nap(100);
    return result == 100 ? 0 : result;
}
static void each(int (*fn)(int))
{
    prepare();
    for (int i = 0; i < CALLS; i++) {
        int st;
        pid_t p = GT_OK(fork());
        if (!p)
            _exit(fn(calls[i]));
        GT_EQ(waitpid(p, &st, 0), p);
        if (st)
            GT_FAIL("call %d: status %#x", calls[i], st);
    }
}
GT(filter_sees_them) { each(alone); }
GT(filter_from_outside_sees_them) { each(from_outside); }
// And in what a filtered task starts.
static int inherited(int nr)
{
    int r = alone(nr), st;
    if (r)
        return r;
    pid_t p = fork();
    if (!p)
        _exit(!refused(make(nr)));
    return waitpid(p, &st, 0) == p && st == 0 ? 0 : 7;
}
GT(filter_is_inherited) { each(inherited); }

// --- two threads hand a word back and forth while filters come: no wake-up is lost ---
static uint32_t turn;
static volatile int rounds = 2000;
static long fx(int op, uint32_t v) { return syscall(SYS_futex, &turn, op | FUTEX_PRIVATE_FLAG, v, 0, 0, 0); }
static void *ping(void *arg)
{
    uint32_t me = (uint32_t)(uintptr_t)arg;
    for (int i = 0; i < rounds || !__atomic_load_n(&standing, __ATOMIC_SEQ_CST); i++) {
        uint32_t v;
        while (((v = __atomic_load_n(&turn, __ATOMIC_SEQ_CST)) & 1) != me && !(v & 2))
            fx(FUTEX_WAIT, v);
        if (v & 2)
            break;
        __atomic_compare_exchange_n(&turn, &v, !me, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        fx(FUTEX_WAKE, 1);
    }
    __atomic_fetch_or(&turn, 2, __ATOMIC_SEQ_CST); // the other need not wait any more
    fx(FUTEX_WAKE, 1);
    return (void *)(uintptr_t)!refused(syscall(SYS_getppid));
}
GT(filter_while_others_wait)
{
    pthread_t t[2];
    void *r;
    for (uintptr_t i = 0; i < 2; i++)
        GT_EQ(pthread_create(&t[i], 0, ping, (void *)i), 0);
    for (int i = 0; i < 30; i++) {
        GT_EQ(filter(i % 2 ? SYS_getpgrp : SYS_getppid, SECCOMP_FILTER_FLAG_TSYNC), 0);
        nap(300);
    }
    __atomic_store_n(&standing, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; i++) {
        GT_EQ(pthread_join(t[i], &r), 0);
        GT_TRUE(!r);
    }
}
// One thread sleeps without end while a filter comes for all: it goes on sleeping, and is woken.
static volatile long slept = -2;
static void *sleeper(void *arg)
{
    slept = -1;
    slept = fx(FUTEX_WAIT, 0);
    return (void *)(uintptr_t)!refused(syscall(SYS_getppid));
}
GT(filter_while_one_sleeps)
{
    void *r;
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        turn = 0;
        slept = -2;
        GT_EQ(pthread_create(&t, 0, sleeper, 0), 0);
        while (slept == -2)
            nap(100);
        nap(i * 100);
        GT_EQ(filter(SYS_getppid, SECCOMP_FILTER_FLAG_TSYNC), 0);
        while (fx(FUTEX_WAKE, 1) != 1)
            sched_yield();
        GT_EQ(pthread_join(t, &r), 0);
        GT_EQ(slept, 0);
        GT_TRUE(!r);
    }
}
GT_MAIN
