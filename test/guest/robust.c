// SPDX-License-Identifier: Apache-2.0
// Robust mutexes: what the kernel does with the list of a thread that dies.
#include "gt.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static pthread_mutex_t *mutex_new(int shared, int proto)
{
    pthread_mutex_t *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&a, shared ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE);
    pthread_mutexattr_setprotocol(&a, proto);
    GT_EQ(pthread_mutex_init(m, &a), 0);
    return m;
}

GT(robust_list_calls)
{
    void *h;
    size_t n;
    GT_OK(syscall(SYS_get_robust_list, 0, &h, &n));
    GT_EQ(n, 24);
    GT_TRUE(h != 0);
    GT_ERR(syscall(SYS_set_robust_list, h, 23), EINVAL);
    GT_OK(syscall(SYS_set_robust_list, h, 24));
    GT_ERR(syscall(SYS_get_robust_list, 4000000, &h, &n), ESRCH);
}

static void *lock_and_die(void *m)
{
    pthread_mutex_lock(m);
    return 0;
}

GT(robust_thread_dies)
{
    pthread_mutex_t *m = mutex_new(0, PTHREAD_PRIO_NONE);
    pthread_t t;
    pthread_create(&t, 0, lock_and_die, m);
    pthread_join(t, 0);
    GT_EQ(pthread_mutex_lock(m), EOWNERDEAD);
    GT_EQ(pthread_mutex_consistent(m), 0);
    GT_EQ(pthread_mutex_unlock(m), 0);
    GT_EQ(pthread_mutex_lock(m), 0);
}

GT(robust_not_recoverable)
{
    pthread_mutex_t *m = mutex_new(0, PTHREAD_PRIO_NONE);
    pthread_t t;
    pthread_create(&t, 0, lock_and_die, m);
    pthread_join(t, 0);
    GT_EQ(pthread_mutex_lock(m), EOWNERDEAD);
    GT_EQ(pthread_mutex_unlock(m), 0);
    GT_EQ(pthread_mutex_lock(m), ENOTRECOVERABLE);
}

static void process_dies(int proto, int by_signal)
{
    pthread_mutex_t *m = mutex_new(1, proto);
    int p[2];
    char c;
    GT_OK(pipe(p));
    pid_t k = fork();
    if (!k) {
        if (pthread_mutex_lock(m))
            _exit(1);
        write(p[1], "x", 1);
        usleep(50000); // the parent waits in the kernel by then
        if (by_signal)
            kill(getpid(), SIGKILL);
        _exit(0);
    }
    GT_EQ(read(p[0], &c, 1), 1);
    GT_EQ(pthread_mutex_lock(m), EOWNERDEAD);
    GT_EQ(pthread_mutex_consistent(m), 0);
    GT_EQ(pthread_mutex_unlock(m), 0);
    waitpid(k, 0, 0);
}

GT(robust_process_exits_with_waiter) { process_dies(PTHREAD_PRIO_NONE, 0); }
GT(robust_process_killed_with_waiter) { process_dies(PTHREAD_PRIO_NONE, 1); }
GT(robust_pi_process_killed) { process_dies(PTHREAD_PRIO_INHERIT, 1); }

GT(robust_exec_releases)
{
    pthread_mutex_t *m = mutex_new(1, PTHREAD_PRIO_NONE);
    pid_t k = fork();
    if (!k) {
        pthread_mutex_lock(m);
        execl("/bin/true", "true", (char *)0);
        _exit(1);
    }
    waitpid(k, 0, 0);
    GT_EQ(pthread_mutex_trylock(m), EOWNERDEAD);
}

GT(robust_hostile_list)
{
    // a list that never ends and one that leads nowhere: the process ends all the same
    for (int i = 0; i < 3; i++) {
        pid_t k = fork();
        if (!k) {
            static struct { void *next; long off; void *pending; } h;
            static void *loop[2];
            loop[0] = loop;
            h.next = i == 0 ? (void *)loop : i == 1 ? (void *)16 : (void *)&h;
            h.pending = i == 2 ? (void *)0x7000000000001 : 0;
            syscall(SYS_set_robust_list, i == 1 ? (void *)&h : &h, 24);
            _exit(3);
        }
        int st;
        waitpid(k, &st, 0);
        GT_EQ(st, 3 << 8);
    }
}
// A list that never comes back to its head: each word in it is seen, and the end is reached.
static struct ring { struct ring *next; unsigned word; unsigned pad; } ring[3];
static struct { struct ring *next; long offset; struct ring *pending; } ring_head;
static void *in_ring(void *p)
{
    unsigned tid = (unsigned)syscall(SYS_gettid);
    for (int i = 0; i < 3; i++)
        ring[i] = (struct ring){&ring[i == 2 ? 1 : i + 1], tid, 0};
    ring_head.next = &ring[0];
    ring_head.offset = 8;
    GT_OK(syscall(SYS_set_robust_list, &ring_head, 24));
    return p;
}
GT(robust_ring)
{
    for (int k = 0; k < 50; k++) {
        pthread_t th;
        GT_EQ(pthread_create(&th, NULL, in_ring, NULL), 0);
        pthread_join(th, NULL);
        for (int i = 0; i < 3; i++)
            GT_EQ(ring[i].word, 0x40000000); // FUTEX_OWNER_DIED
    }
}
GT_MAIN
