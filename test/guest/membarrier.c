// SPDX-License-Identifier: Apache-2.0
// membarrier(2), private and expedited: who may, and that it orders.
#include "gt.h"
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PRIVATE = MEMBARRIER_CMD_PRIVATE_EXPEDITED, REGISTER = MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED };
static long membarrier(int cmd, unsigned flags, int cpu)
{
    return syscall(SYS_membarrier, cmd, flags, cpu);
}

GT(query_and_errors)
{
    long mask = GT_OK(membarrier(MEMBARRIER_CMD_QUERY, 0, 0));
    GT_TRUE((mask & PRIVATE) && (mask & REGISTER));
    GT_ERR(membarrier(MEMBARRIER_CMD_QUERY, 1, 0), EINVAL);
    GT_ERR(membarrier(PRIVATE, 1, 0), EINVAL);
    GT_ERR(membarrier(1 << 20, 0, 0), EINVAL);
    GT_ERR(membarrier(-1, 0, 0), EINVAL);
    GT_ERR(membarrier(PRIVATE, 0, 0), EPERM);
    GT_OK(membarrier(REGISTER, 0, 0));
    GT_OK(membarrier(REGISTER, 0, 0));
    GT_OK(membarrier(PRIVATE, 0, 0));
}

GT(children)
{
    int st;
    GT_OK(membarrier(REGISTER, 0, 0));
    pid_t p = GT_OK(fork());
    if (!p)
        _exit(membarrier(PRIVATE, 0, 0) == 0 ? 0 : errno);
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(st, 0); // inherited
    p = GT_OK(vfork());
    if (!p)
        _exit(membarrier(PRIVATE, 0, 0) == 0 ? 0 : errno);
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(st, 0);
}

// Store, then load, on both sides: without a barrier on both, both may miss the other's store. One
// side has none of its own. (Rounds meet by spinning: no system call orders anything for it.)
static volatile int x, y, seen_x, seen_y, round_a, round_b, done;
static void spin_until(volatile int *p, int v)
{
    for (long i = 0; *p != v; i++)
        if (i % 20000 == 19999)
            sched_yield();
}
static void *fast_side(void *arg)
{
    for (int i = 1;; i++) {
        spin_until(&round_a, i);
        if (done)
            return 0;
        y = 1;
        __asm__ volatile("" : : : "memory");
        seen_x = x;
        round_b = i;
    }
}
GT(orders)
{
    pthread_t th;
    int i = 1;
    GT_OK(membarrier(REGISTER, 0, 0));
    GT_EQ(pthread_create(&th, 0, fast_side, 0), 0);
    for (time_t end = time(0) + 2; i <= 3000 && time(0) < end; i++) { // on a busy machine fewer
        x = y = 0;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        round_a = i;
        for (volatile int k = i % 50; k > 0; k--) // meet at different points
            ;
        x = 1;
        if (membarrier(PRIVATE, 0, 0))
            GT_FAIL("membarrier in round %d", i);
        seen_y = y;
        spin_until(&round_b, i);
        if (!seen_x && !seen_y)
            GT_FAIL("round %d: neither saw the other", i);
    }
    done = 1;
    round_a = i;
    pthread_join(th, 0);
}

// Threads that sleep, run for ever and come and go do not hinder it, nor hear of it.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static volatile int stop, woken;
static int pipe_fd[2];
static void *waits(void *a)
{
    pthread_mutex_lock(&lock);
    while (!stop)
        pthread_cond_wait(&cond, &lock);
    woken++;
    pthread_mutex_unlock(&lock);
    return 0;
}
static void *reads(void *a)
{
    char c;
    return (void *)read(pipe_fd[0], &c, 1);
}
static void *spins(void *a)
{
    while (!stop)
        ;
    return 0;
}
static void *nothing(void *a)
{
    return a;
}
GT(threads_in_all_states)
{
    pthread_t th[3], t;
    void *got;
    GT_OK(pipe(pipe_fd));
    GT_OK(membarrier(REGISTER, 0, 0));
    GT_EQ(pthread_create(&th[0], 0, waits, 0), 0);
    GT_EQ(pthread_create(&th[1], 0, reads, 0), 0);
    GT_EQ(pthread_create(&th[2], 0, spins, 0), 0);
    for (int i = 0; i < 40; i++) {
        GT_EQ(pthread_create(&t, 0, nothing, 0), 0);
        GT_OK(membarrier(PRIVATE, 0, 0));
        pthread_join(t, 0);
    }
    pthread_mutex_lock(&lock);
    stop = 1;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&lock);
    GT_EQ(write(pipe_fd[1], "x", 1), 1);
    for (int i = 0; i < 3; i++) {
        pthread_join(th[i], &got);
        if (i == 1)
            GT_EQ((long)got, 1);
    }
    GT_EQ(woken, 1);
}

// Several at once.
static void *many(void *a)
{
    for (int i = 0; i < 50; i++)
        if (membarrier(PRIVATE, 0, 0))
            return (void *)1;
    return 0;
}
GT(at_once)
{
    pthread_t th[4];
    void *got;
    GT_OK(membarrier(REGISTER, 0, 0));
    for (int i = 0; i < 4; i++)
        GT_EQ(pthread_create(&th[i], 0, many, 0), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(th[i], &got);
        GT_TRUE(!got);
    }
}

GT_MAIN
