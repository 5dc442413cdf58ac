// SPDX-License-Identifier: Apache-2.0
// A few host threads for host calls that may block. They are made before lockdown and sleep on a
// futex when there is nothing to do.
#include "host/raw.h"
#include "sched/internal.h"
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>

constexpr int POOL_THREADS = 8;
struct job {
    struct list link;
    long (*fn)(void *);
    void *arg;
    struct fiber *fiber;
    long result;
    bool done; // [pool_lock]
};
static struct spinlock pool_lock;
static struct list jobs = LIST_INIT(jobs); // [pool_lock]
static bool pool_stopping;                 // [pool_lock]
static uint32_t pool_seq;                  // [A] futex: changes with every new job
static uint32_t pool_idle;                 // [pool_lock]
static pthread_t pool_threads[POOL_THREADS];
static void *pool_altstacks[POOL_THREADS];
static int pool_n;

static void *pool_main(void *arg)
{
    if (thread_prepare(arg) != 0)
        panic("no signal stack for an I/O thread");
    thread_started();
    spin_lock(&pool_lock);
    while (!pool_stopping) {
        if (list_empty(&jobs)) {
            uint32_t seq = __atomic_load_n(&pool_seq, __ATOMIC_RELAXED);
            pool_idle++;
            spin_unlock(&pool_lock);
            host_call(__NR_futex, &pool_seq, FUTEX_WAIT_PRIVATE, seq, 0);
            spin_lock(&pool_lock);
            pool_idle--;
            continue;
        }
        struct job *j = list_first(&jobs, struct job, link);
        list_del(&j->link);
        spin_unlock(&pool_lock);
        long r = j->fn(j->arg);
        spin_lock(&pool_lock);
        j->result = r;
        j->done = true;
        fiber_wake(j->fiber); // under the lock: the job and its fiber stay until we let go
    }
    spin_unlock(&pool_lock);
    return nullptr;
}

long iopool_run(long (*fn)(void *), void *arg)
{
    struct fiber *f = fiber_current();
    if (!f)
        return fn(arg);
    struct job j = {.fn = fn, .arg = arg, .fiber = f};
    spin_lock(&pool_lock);
    CHECK(pool_n > 0);
    list_push_back(&jobs, &j.link);
    __atomic_add_fetch(&pool_seq, 1, __ATOMIC_RELAXED);
    bool wake = pool_idle > 0;
    spin_unlock(&pool_lock);
    if (wake)
        host_call(__NR_futex, &pool_seq, FUTEX_WAKE_PRIVATE, 1);
    for (;;) {
        spin_lock(&pool_lock);
        bool done = j.done;
        spin_unlock(&pool_lock);
        if (done)
            return j.result;
        fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE);
    }
}

uint32_t iopool_threads(void)
{
    return (uint32_t)pool_n;
}

int iopool_start(void)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, NACRE_ASAN || NACRE_TSAN ? 512 << 10 : 128 << 10);
    int err = 0;
    pool_stopping = false;
    for (pool_n = 0; pool_n < POOL_THREADS && !err; pool_n += !err)
        err = pthread_create(&pool_threads[pool_n], &attr, pool_main, &pool_altstacks[pool_n]);
    pthread_attr_destroy(&attr);
    return pool_n ? 0 : -err;
}

void iopool_stop(void)
{
    spin_lock(&pool_lock);
    pool_stopping = true;
    __atomic_add_fetch(&pool_seq, 1, __ATOMIC_RELAXED);
    spin_unlock(&pool_lock);
    host_call(__NR_futex, &pool_seq, FUTEX_WAKE_PRIVATE, POOL_THREADS);
    while (pool_n > 0) {
        pthread_join(pool_threads[--pool_n], nullptr);
        free(pool_altstacks[pool_n]);
    }
}
