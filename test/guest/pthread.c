// SPDX-License-Identifier: Apache-2.0
// Threads as libc makes them: creation, join, mutexes, condition variables, exit, exec from a thread.
#include "gt.h"
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long counter;
static volatile int turn;

static void *count(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return (void *)7;
}

GT(pthread_mutex_counter)
{
    pthread_t t[8];
    void *r;
    for (int i = 0; i < 8; i++)
        GT_EQ(pthread_create(&t[i], 0, count, 0), 0);
    for (int i = 0; i < 8; i++) {
        GT_EQ(pthread_join(t[i], &r), 0);
        GT_EQ((long)r, 7);
    }
    GT_EQ(counter, 160000);
}

static void *ping(void *arg)
{
    int me = (int)(long)arg;
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != me)
            pthread_cond_wait(&cond, &mutex);
        turn = !me;
        pthread_cond_broadcast(&cond);
        pthread_mutex_unlock(&mutex);
    }
    return 0;
}

GT(pthread_cond_ping_pong)
{
    pthread_t a, b;
    pthread_create(&a, 0, ping, (void *)0);
    pthread_create(&b, 0, ping, (void *)1);
    pthread_join(a, 0);
    pthread_join(b, 0);
}

GT(pthread_cond_timedwait)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += 30000000;
    if (t.tv_nsec >= 1000000000)
        t.tv_nsec -= 1000000000, t.tv_sec++;
    pthread_mutex_lock(&mutex);
    GT_EQ(pthread_cond_timedwait(&cond, &mutex, &t), ETIMEDOUT);
}

GT(pthread_many_short)
{
    for (int i = 0; i < 300; i++) {
        pthread_t t;
        void *nothing(void *a) { return a; }
        GT_EQ(pthread_create(&t, 0, nothing, (void *)(long)i), 0);
        void *r;
        GT_EQ(pthread_join(t, &r), 0);
        GT_EQ((long)r, i);
    }
}

static __thread int tls = 5;
static void *use_tls(void *arg)
{
    tls += (int)(long)arg;
    usleep(1000);
    return (void *)(long)tls;
}

GT(pthread_tls)
{
    pthread_t t[10];
    for (int i = 0; i < 10; i++)
        pthread_create(&t[i], 0, use_tls, (void *)(long)i);
    for (int i = 0; i < 10; i++) {
        void *r;
        pthread_join(t[i], &r);
        GT_EQ((long)r, 5 + i);
    }
}

static sem_t sem;
static void *poster(void *arg)
{
    for (int i = 0; i < 1000; i++)
        sem_post(&sem);
    return 0;
}

GT(pthread_semaphore)
{
    pthread_t t;
    sem_init(&sem, 0, 0);
    pthread_create(&t, 0, poster, 0);
    for (int i = 0; i < 1000; i++)
        sem_wait(&sem);
    pthread_join(t, 0);
}

GT(pthread_barrier)
{
    static pthread_barrier_t b;
    static volatile int serial;
    pthread_barrier_init(&b, 0, 5);
    void *wait_at(void *a)
    {
        for (int i = 0; i < 100; i++)
            if (pthread_barrier_wait(&b) == PTHREAD_BARRIER_SERIAL_THREAD)
                __atomic_fetch_add(&serial, 1, __ATOMIC_SEQ_CST);
        return 0;
    }
    pthread_t t[5];
    for (int i = 0; i < 5; i++)
        pthread_create(&t[i], 0, wait_at, 0);
    for (int i = 0; i < 5; i++)
        pthread_join(t[i], 0);
    GT_EQ(serial, 100);
}

static void *sleeper(void *arg)
{
    pause();
    return 0;
}
static void *spinner(void *arg)
{
    for (;;)
        ;
}

static int status_of(void (*fn)(void))
{
    int st;
    pid_t p = fork();
    if (!p) {
        fn();
        _exit(99);
    }
    waitpid(p, &st, 0);
    return st;
}
static void do_exit_group(void)
{
    pthread_t t;
    for (int i = 0; i < 4; i++)
        pthread_create(&t, 0, i & 1 ? sleeper : spinner, 0);
    usleep(10000);
    _exit(13);
}
static void do_signal_death(void)
{
    pthread_t t;
    for (int i = 0; i < 4; i++)
        pthread_create(&t, 0, i & 1 ? sleeper : spinner, 0);
    usleep(10000);
    kill(getpid(), SIGTERM);
    pause();
}
static void *exit_later(void *arg)
{
    usleep(30000);
    _exit(21);
}
static void do_leader_exit(void)
{
    pthread_t t;
    pthread_create(&t, 0, exit_later, 0);
    pthread_exit(0);
}
static void *end_later(void *arg)
{
    usleep(30000);
    return 0;
}
static void do_all_exit(void)
{
    pthread_t t;
    pthread_create(&t, 0, end_later, 0);
    syscall(SYS_exit, 33);
}
static void *do_exec(void *arg)
{
    execl("/bin/sh", "sh", "-c", "exit 44", (char *)0);
    return 0;
}
static void exec_from_thread(void)
{
    pthread_t t;
    pthread_create(&t, 0, spinner, 0);
    pthread_create(&t, 0, sleeper, 0);
    pthread_create(&t, 0, do_exec, 0);
    pause();
}
static void exec_from_leader(void)
{
    pthread_t t;
    pthread_create(&t, 0, spinner, 0);
    pthread_create(&t, 0, sleeper, 0);
    usleep(5000);
    do_exec(0);
}
static void *do_exec_pid(void *arg)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", getpid());
    setenv("WANT", pid, 1);
    execl("/bin/sh", "sh", "-c", "test $$ = $WANT && exit 45", (char *)0);
    return 0;
}
static void exec_keeps_pid(void)
{
    pthread_t t;
    pthread_create(&t, 0, do_exec_pid, 0);
    pthread_exit(0); // the leader is a zombie by then
}

GT(pthread_process_ends)
{
    GT_EQ(status_of(do_exit_group), 13 << 8);
    GT_EQ(status_of(do_signal_death), SIGTERM);
    GT_EQ(status_of(do_leader_exit), 21 << 8);
    GT_EQ(status_of(do_all_exit), 0); // the last thread's, not the leader's
}

GT(pthread_exec)
{
    GT_EQ(status_of(exec_from_thread), 44 << 8);
    GT_EQ(status_of(exec_from_leader), 44 << 8);
    GT_EQ(status_of(exec_keeps_pid), 45 << 8);
}

static void *fork_in_thread(void *arg)
{
    int st;
    pid_t p = fork();
    if (!p)
        _exit(3);
    return (void *)(long)(waitpid(p, &st, 0) == p ? st : -1);
}

GT(pthread_fork_in_threads)
{
    pthread_t t[6];
    for (int i = 0; i < 6; i++)
        pthread_create(&t[i], 0, fork_in_thread, 0);
    for (int i = 0; i < 6; i++) {
        void *r;
        pthread_join(t[i], &r);
        GT_EQ((long)r, 3 << 8);
    }
}

GT(pthread_cancel)
{
    pthread_t t;
    void *r;
    pthread_create(&t, 0, sleeper, 0);
    usleep(10000);
    GT_EQ(pthread_cancel(t), 0);
    GT_EQ(pthread_join(t, &r), 0);
    GT_TRUE(r == PTHREAD_CANCELED);
}

GT(pthread_rwlock)
{
    static pthread_rwlock_t l = PTHREAD_RWLOCK_INITIALIZER;
    static long v;
    void *rw(void *a)
    {
        for (int i = 0; i < 2000; i++) {
            if (a) {
                pthread_rwlock_wrlock(&l);
                v++;
            } else {
                pthread_rwlock_rdlock(&l);
                __asm__ volatile("" ::"r"(v));
            }
            pthread_rwlock_unlock(&l);
        }
        return 0;
    }
    pthread_t t[6];
    for (int i = 0; i < 6; i++)
        pthread_create(&t[i], 0, rw, (void *)(long)(i & 1));
    for (int i = 0; i < 6; i++)
        pthread_join(t[i], 0);
    GT_EQ(v, 6000);
}
GT_MAIN
