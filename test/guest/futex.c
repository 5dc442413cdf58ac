// SPDX-License-Identifier: Apache-2.0
// futex(2): waits, wakes, requeues, bitsets, shared words, timeouts, PI locks.
#include "gt.h"
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static long fx(void *w, int op, uint32_t v, const void *t, void *w2, uint32_t v3)
{
    return syscall(SYS_futex, w, op, v, t, w2, v3);
}
static uint64_t ns_now(int clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}
static uint32_t word, word2;
static int priv;
static volatile int woken, waiting;

GT(futex_errors)
{
    uint32_t w[4] = {1, 2, 3, 4};
    struct timespec bad = {0, 1000000000}, neg = {-1, 0}, z = {0, 0};
    for (int p = 0; p <= FUTEX_PRIVATE_FLAG; p += FUTEX_PRIVATE_FLAG) {
        GT_ERR(fx(w, FUTEX_WAIT | p, 0, 0, 0, 0), EAGAIN);
        GT_ERR(fx((char *)w + 1, FUTEX_WAIT | p, 1, 0, 0, 0), EINVAL);
        GT_ERR(fx(w, FUTEX_WAIT | p, 1, &bad, 0, 0), EINVAL);
        GT_ERR(fx(w, FUTEX_WAIT | p, 1, &neg, 0, 0), EINVAL);
        GT_ERR(fx(w, FUTEX_WAIT | p, 1, (void *)8, 0, 0), EFAULT);
        GT_ERR(fx(w, FUTEX_WAIT | p, 1, &z, 0, 0), ETIMEDOUT);
        GT_ERR(fx((void *)4096, FUTEX_WAIT | p, 1, 0, 0, 0), EFAULT);
        GT_ERR(fx(w, FUTEX_WAIT_BITSET | p, 1, 0, 0, 0), EINVAL);
        GT_ERR(fx(w, FUTEX_WAKE_BITSET | p, 1, 0, 0, 0), EINVAL);
        GT_EQ(fx(w, FUTEX_WAKE | p, 1, 0, 0, 0), 0);
        GT_ERR(fx(w, FUTEX_CMP_REQUEUE | p, 1, (void *)1, w + 1, 77), EAGAIN);
        GT_ERR(fx(w, FUTEX_REQUEUE | p, -1, (void *)1, w + 1, 0), EINVAL);
        GT_ERR(fx(w, FUTEX_WAIT | FUTEX_CLOCK_REALTIME | 64, 1, 0, 0, 0), ENOSYS);
        GT_ERR(fx(w, 99 | p, 1, 0, 0, 0), ENOSYS);
    }
    GT_ERR(fx((void *)4096, FUTEX_WAKE, 1, 0, 0, 0), EFAULT);
}

GT(futex_timeouts)
{
    for (int p = 0; p <= FUTEX_PRIVATE_FLAG; p += FUTEX_PRIVATE_FLAG) {
        struct timespec rel = {0, 30000000}, abs;
        uint64_t t0 = ns_now(CLOCK_MONOTONIC);
        GT_ERR(fx(&word, FUTEX_WAIT | p, 0, &rel, 0, 0), ETIMEDOUT);
        GT_TRUE(ns_now(CLOCK_MONOTONIC) - t0 >= 30000000);
        t0 = ns_now(CLOCK_MONOTONIC) + 30000000;
        abs = (struct timespec){t0 / 1000000000, t0 % 1000000000};
        GT_ERR(fx(&word, FUTEX_WAIT_BITSET | p, 0, &abs, 0, ~0u), ETIMEDOUT);
        GT_TRUE(ns_now(CLOCK_MONOTONIC) >= t0);
        t0 = ns_now(CLOCK_REALTIME) + 30000000;
        abs = (struct timespec){t0 / 1000000000, t0 % 1000000000};
        GT_ERR(fx(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME | p, 0, &abs, 0, ~0u), ETIMEDOUT);
        GT_TRUE(ns_now(CLOCK_REALTIME) >= t0);
    }
}

static void *waiter(void *bits)
{
    uint32_t b = (uint32_t)(uintptr_t)bits;
    __atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
    long r = b ? fx(&word, FUTEX_WAIT_BITSET | priv, 0, 0, 0, b) : fx(&word, FUTEX_WAIT | priv, 0, 0, 0, 0);
    if (r == 0)
        __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
    return 0;
}
static void start(pthread_t *t, int n, uint32_t bits)
{
    int was = waiting;
    for (int i = 0; i < n; i++)
        GT_EQ(pthread_create(&t[i], 0, waiter, (void *)(uintptr_t)bits), 0);
    while (waiting < was + n)
        usleep(1000);
    usleep(50000);
}
static void settle(int n)
{
    for (int i = 0; i < 2000 && woken < n; i++)
        usleep(1000);
    GT_EQ(woken, n);
}

static void wake_counts(int p)
{
    pthread_t t[5];
    priv = p;
    start(t, 5, 0);
    GT_EQ(fx(&word, FUTEX_WAKE | p, 2, 0, 0, 0), 2);
    settle(2);
    GT_EQ(fx(&word, FUTEX_WAKE | p, INT_MAX, 0, 0, 0), 3);
    settle(5);
    for (int i = 0; i < 5; i++)
        pthread_join(t[i], 0);
    GT_EQ(fx(&word, FUTEX_WAKE | p, 1, 0, 0, 0), 0);
}

GT(futex_wake_counts_private) { wake_counts(FUTEX_PRIVATE_FLAG); }
GT(futex_wake_counts_shared) { wake_counts(0); }

static void bitsets(int p)
{
    pthread_t t[4];
    priv = p;
    start(t, 2, 1);
    start(t + 2, 2, 2);
    GT_EQ(fx(&word, FUTEX_WAKE_BITSET | p, INT_MAX, 0, 0, 4), 0);
    GT_EQ(fx(&word, FUTEX_WAKE_BITSET | p, INT_MAX, 0, 0, 2), 2);
    settle(2);
    GT_EQ(fx(&word, FUTEX_WAKE | p, INT_MAX, 0, 0, 0), 2);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], 0);
}

GT(futex_bitset_private) { bitsets(FUTEX_PRIVATE_FLAG); }
GT(futex_bitset_shared) { bitsets(0); }

static void requeue(int p)
{
    pthread_t t[4];
    priv = p;
    start(t, 4, 0);
    GT_EQ(fx(&word, FUTEX_CMP_REQUEUE | p, 1, (void *)2, &word2, 0), 3);
    settle(1);
    GT_EQ(fx(&word, FUTEX_WAKE | p, INT_MAX, 0, 0, 0), 1);
    GT_EQ(fx(&word2, FUTEX_WAKE | p, INT_MAX, 0, 0, 0), 2);
    settle(4);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], 0);
}

GT(futex_requeue_private) { requeue(FUTEX_PRIVATE_FLAG); }
GT(futex_requeue_shared) { requeue(0); }

static void wake_op(int p)
{
    pthread_t t;
    priv = p;
    start(&t, 1, 0);
    word2 = 5;
    // *word2 += 3; wake one at word; and at word2 if the old value was > 4
    GT_EQ(fx(&word, FUTEX_WAKE_OP | p, 1, (void *)1, &word2, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_GT, 4)), 1);
    GT_EQ(word2, 8);
    pthread_join(t, 0);
    GT_EQ(fx(&word, FUTEX_WAKE_OP | p, 1, (void *)1, &word2, FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 0)), 0);
    GT_EQ(word2, 1);
    GT_EQ(fx(&word, FUTEX_WAKE_OP | p, 1, (void *)1, &word2, FUTEX_OP(FUTEX_OP_OR, 6, FUTEX_OP_CMP_EQ, 0)), 0);
    GT_EQ(word2, 7);
    GT_EQ(fx(&word, FUTEX_WAKE_OP | p, 1, (void *)1, &word2, FUTEX_OP(FUTEX_OP_ANDN, 2, FUTEX_OP_CMP_EQ, 0)), 0);
    GT_EQ(word2, 5);
    GT_EQ(fx(&word, FUTEX_WAKE_OP | p, 1, (void *)1, &word2, FUTEX_OP(FUTEX_OP_XOR | FUTEX_OP_OPARG_SHIFT, 4, FUTEX_OP_CMP_EQ, 0)), 0);
    GT_EQ(word2, 21);
}

GT(futex_wake_op_private) { wake_op(FUTEX_PRIVATE_FLAG); }
GT(futex_wake_op_shared) { wake_op(0); }

GT(futex_between_processes)
{
    uint32_t *w = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t p = fork();
    if (!p) {
        while (__atomic_load_n(w, __ATOMIC_SEQ_CST) == 0)
            fx(w, FUTEX_WAIT, 0, 0, 0, 0);
        _exit(fx(w, FUTEX_WAKE, 1, 0, 0, 0) != 0);
    }
    while (fx(w, FUTEX_WAKE, 1, 0, 0, 0) != 1) // until the child sleeps there; it goes back to sleep
        usleep(1000);
    __atomic_store_n(w, 1, __ATOMIC_SEQ_CST);
    fx(w, FUTEX_WAKE, 1, 0, 0, 0);
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0);
}

GT(futex_file_mapped_twice)
{
    char name[] = "/tmp/gtfutexXXXXXX";
    int fd = GT_OK(mkstemp(name));
    unlink(name);
    GT_OK(ftruncate(fd, 8192));
    uint32_t *a = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    uint32_t *b = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
    GT_TRUE(a != MAP_FAILED && b != MAP_FAILED);
    pid_t p = fork();
    if (!p) {
        while (!__atomic_load_n(&a[1024], __ATOMIC_SEQ_CST))
            fx(&a[1024], FUTEX_WAIT, 0, 0, 0, 0);
        _exit(0);
    }
    long n; // the same word at another address; as long as it is 0 he waits again
    while ((n = fx(b, FUTEX_WAKE, 1, 0, 0, 0)) == 0)
        usleep(1000);
    GT_EQ(n, 1);
    *b = 1;
    GT_OK(fx(b, FUTEX_WAKE, 1, 0, 0, 0));
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0);
}

GT(futex_private_copies_do_not_meet)
{
    uint32_t *w = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *w = 0;
    pid_t p = fork();
    if (!p) {
        struct timespec t = {0, 100000000};
        _exit(fx(w, FUTEX_WAIT, 0, &t, 0, 0) == -1 && errno == ETIMEDOUT ? 0 : 1);
    }
    usleep(30000);
    GT_EQ(fx(w, FUTEX_WAKE, 1, 0, 0, 0), 0);
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0);
}

static uint32_t pi;
static volatile int in_section, bad;
static void *pi_thread(void *arg)
{
    uint32_t me = (uint32_t)syscall(SYS_gettid);
    for (int i = 0; i < 300; i++) {
        uint32_t z = 0;
        if (!__atomic_compare_exchange_n(&pi, &z, me, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            if (fx(&pi, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0, 0, 0, 0))
                bad++;
        if (__atomic_fetch_add(&in_section, 1, __ATOMIC_SEQ_CST) || (pi & FUTEX_TID_MASK) != me)
            bad++;
        __atomic_fetch_sub(&in_section, 1, __ATOMIC_SEQ_CST);
        z = me;
        if (!__atomic_compare_exchange_n(&pi, &z, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            if (fx(&pi, FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG, 0, 0, 0, 0))
                bad++;
    }
    return 0;
}

GT(futex_pi_mutual_exclusion)
{
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], 0, pi_thread, 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], 0);
    GT_EQ(bad, 0);
    GT_EQ(pi, 0);
}

GT(futex_pi_errors)
{
    uint32_t me = (uint32_t)syscall(SYS_gettid);
    uint32_t w = me;
    GT_ERR(fx(&w, FUTEX_LOCK_PI, 0, 0, 0, 0), EDEADLK);
    GT_ERR(fx(&w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0), EDEADLK);
    w = 0;
    GT_ERR(fx(&w, FUTEX_UNLOCK_PI, 0, 0, 0, 0), EPERM);
    w = 4000000;
    GT_ERR(fx(&w, FUTEX_LOCK_PI, 0, 0, 0, 0), ESRCH);
    w = 0;
    GT_OK(fx(&w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0));
    GT_EQ(w, me);
    GT_OK(fx(&w, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
    GT_EQ(w, 0);
}

GT(futex_wake_race)
{
    // Ping-pong: a lost wake-up hangs.
    static uint32_t turn;
    pthread_t th;
    void *pong(void *arg)
    {
        for (int i = 0; i < 5000; i++) {
            while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != 1)
                fx(&turn, FUTEX_WAIT | priv, 0, 0, 0, 0);
            __atomic_store_n(&turn, 0, __ATOMIC_SEQ_CST);
            fx(&turn, FUTEX_WAKE | priv, 1, 0, 0, 0);
        }
        return 0;
    }
    for (priv = 0; priv <= FUTEX_PRIVATE_FLAG; priv += FUTEX_PRIVATE_FLAG) {
        turn = 0;
        pthread_create(&th, 0, pong, 0);
        for (int i = 0; i < 5000; i++) {
            __atomic_store_n(&turn, 1, __ATOMIC_SEQ_CST);
            fx(&turn, FUTEX_WAKE | priv, 1, 0, 0, 0);
            while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != 0)
                fx(&turn, FUTEX_WAIT | priv, 1, 0, 0, 0);
        }
        pthread_join(th, 0);
    }
}

GT(futex_waitv_errors)
{
    long r = syscall(449, 0, 0, 0, 0, 0);
    GT_TRUE(r == -1 && (errno == ENOSYS || errno == EINVAL));
}
GT_MAIN
