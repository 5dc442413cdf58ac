// SPDX-License-Identifier: Apache-2.0
// Tests of the scheduler: tokens, ping-pong, timers, descriptors, locks, contexts in user mode. Every
// test starts the workers, runs fibers that use CHECK, and stops.
#include "base/assert.h"
#include "base/test.h"
#include "host/raw.h"
#include "sched/fiber_test.h"
#include "sched/mutex.h"
#include "sched/timer.h"
#include "sched/waitq.h"
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
constexpr int SCALE = 1;
#else
constexpr int SCALE = 10;
#endif
constexpr ktime_t MS = 1000000;

static struct fiber *spawn(void (*fn)(void *), void *arg)
{
    return spawn_with(fn, arg, arg);
}
static void run(int nworkers, bool poll, void (*fn)(void *), void *arg)
{
    struct sched_config cfg = {.nworkers = nworkers, .poll = poll};
    assert_int_equal(sched_init(&cfg), 0);
    spawn(fn, arg);
    sched_run();
    assert_int_equal(alive, 0);
}

static void tokens(void *arg)
{
    CHECK(fiber_data() == arg);
    struct fiber *f = fiber_current();
    CHECK(fiber_park(ktime_now() - 1, PARK_UNINTERRUPTIBLE) == -ETIMEDOUT);
    fiber_wake(f);
    fiber_wake(f); // tokens do not add up
    CHECK(fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE) == 0);
    ktime_t before = ktime_now();
    CHECK(fiber_park(before + 2 * MS, PARK_UNINTERRUPTIBLE) == -ETIMEDOUT);
    CHECK(ktime_now() >= before + 2 * MS);
    fiber_interrupt(f, FIBER_INTR_SIGNAL);
    CHECK(fiber_park(KTIME_MAX, PARK_INTERRUPTIBLE) == -EINTR);
    CHECK(fiber_park(KTIME_MAX, PARK_KILLABLE) == 0); // the interrupt's token
    CHECK(fiber_park(ktime_now() + MS, PARK_KILLABLE) == -ETIMEDOUT);
    CHECK(fiber_interrupted(PARK_INTERRUPTIBLE) && !fiber_interrupted(PARK_KILLABLE));
    fiber_clear_interrupt(f, FIBER_INTR_SIGNAL);
    CHECK(!fiber_interrupted(PARK_INTERRUPTIBLE));
    fiber_interrupt(f, FIBER_INTR_KILL);
    CHECK(fiber_park(KTIME_MAX, PARK_KILLABLE) == -EINTR);
    fiber_yield();
}
TEST(wake_tokens)
{
    int x;
    assert_null(fiber_current());
    run(1, false, tokens, &x);
    run(2, true, tokens, &x);
}

// A thread outside any fiber parks too.
static void *waker_thread(void *f)
{
    usleep(1000);
    fiber_wake(f);
    return nullptr;
}
static struct waitq thread_q = WAITQ_INIT(thread_q);
static bool thread_flag;
static void *flag_thread(UNUSED void *arg)
{
    __atomic_store_n(&thread_flag, true, __ATOMIC_RELEASE);
    waitq_wake(&thread_q, ~0u);
    return nullptr;
}
TEST(threads_park_without_a_scheduler)
{
    pthread_t t;
    struct waiter w;
    waiter_init(&w);
    assert_int_equal(pthread_create(&t, nullptr, waker_thread, w.fiber), 0);
    assert_int_equal(fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE), 0);
    pthread_join(t, nullptr);
    assert_int_equal(fiber_park(ktime_now() + MS, PARK_UNINTERRUPTIBLE), -ETIMEDOUT);
    assert_int_equal(pthread_create(&t, nullptr, flag_thread, nullptr), 0);
    assert_int_equal(wait_event(&thread_q, __atomic_load_n(&thread_flag, __ATOMIC_ACQUIRE), KTIME_MAX,
                                PARK_INTERRUPTIBLE), 0);
    pthread_join(t, nullptr);
}

// --- ping-pong -----------------------------------------------------------------------------------
struct pair {
    struct waitq q[2];
    int turn; // [A]
    int rounds, ended;
};
struct side {
    struct pair *p;
    int me;
};
static void pingpong(void *arg)
{
    struct side *s = arg;
    struct pair *p = s->p;
    for (int i = 0; i < p->rounds; i++) {
        int err = wait_event(&p->q[s->me], __atomic_load_n(&p->turn, __ATOMIC_ACQUIRE) == s->me,
                             KTIME_MAX, PARK_UNINTERRUPTIBLE);
        CHECK(err == 0);
        __atomic_store_n(&p->turn, !s->me, __ATOMIC_RELEASE);
        waitq_wake(&p->q[!s->me], ~0u);
    }
}
constexpr int PAIRS = 40;
static struct pair pairs[PAIRS];
static struct side sides[PAIRS][2];
static void pingpong_all(void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) {
        pairs[i] = (struct pair){.rounds = 20000 * SCALE / n};
        for (int k = 0; k < 2; k++) {
            waitq_init(&pairs[i].q[k]);
            sides[i][k] = (struct side){&pairs[i], k};
        }
        for (int k = 0; k < 2; k++)
            spawn(pingpong, &sides[i][k]);
    }
}
TEST(pingpong_stress)
{
    for (int workers = 1; workers <= 4; workers++) {
        int n = workers == 1 ? 1 : PAIRS;
        ktime_t t = ktime_now();
        run(workers, workers & 1, pingpong_all, &n);
        t = ktime_now() - t;
        print_message("  %d workers, %d pairs: %ld ns per wake and switch\n", workers, n,
                      (long)(t / (2l * 20000 * SCALE)));
    }
}

static void yielder(UNUSED void *arg)
{
    for (int i = 0; i < 50000 * SCALE; i++)
        fiber_yield();
}
static void yield_all(UNUSED void *arg)
{
    spawn(yielder, nullptr);
    spawn(yielder, nullptr);
}
TEST(yield_speed)
{
    ktime_t t = ktime_now();
    run(1, false, yield_all, nullptr);
    t = ktime_now() - t;
    print_message("  yield to another fiber: %ld ns\n", (long)(t / (2l * 50000 * SCALE)));
}

// Many short fibers, created by fibers: stacks are reused.
static void spawn_tree(void *arg)
{
    long depth = (long)arg;
    if (depth == 0)
        return;
    for (int i = 0; i < 3; i++)
        spawn(spawn_tree, (void *)(depth - 1));
    fiber_yield();
}
TEST(many_fibers)
{
    run(3, false, spawn_tree, (void *)6l);
}

// --- timers --------------------------------------------------------------------------------------
struct tick {
    struct timer timer;
    int fired; // [A]
    struct fiber *fiber;
};
static int tick_order[8], tick_n;
static struct tick ticks[8];
static void tick_fn(struct timer *t)
{
    struct tick *k = container_of(t, struct tick, timer);
    CHECK(!fiber_current());
    tick_order[tick_n++] = (int)(k - ticks);
    __atomic_add_fetch(&k->fired, 1, __ATOMIC_RELEASE);
    fiber_wake(k->fiber);
}
static void timers_ordered(UNUSED void *arg)
{
    static const int at[8] = {5, 2, 7, 1, 3, 8, 4, 6};
    ktime_t now = ktime_now();
    tick_n = 0;
    for (int i = 0; i < 8; i++) {
        ticks[i] = (struct tick){.fiber = fiber_current()};
        timer_init(&ticks[i].timer, tick_fn);
        timer_arm(&ticks[i].timer, now + (10 + at[i]) * MS / 2);
    }
    CHECK(timer_cancel(&ticks[2].timer)); // 7
    CHECK(!timer_cancel(&ticks[2].timer));
    timer_arm(&ticks[0].timer, now + 12 * MS); // 5 becomes the last
    while (!__atomic_load_n(&ticks[0].fired, __ATOMIC_ACQUIRE))
        CHECK(fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE) == 0);
    static const int want[] = {3, 1, 4, 6, 7, 5, 0};
    CHECK(tick_n == 7);
    for (int i = 0; i < 7; i++)
        CHECK(tick_order[i] == want[i]);
    CHECK(!timer_cancel_sync(&ticks[0].timer));
}
TEST(timers_in_order)
{
    run(1, false, timers_ordered, nullptr);
    run(3, false, timers_ordered, nullptr);
}

struct race {
    struct timer timer;
    int ran; // plain: cancel_sync orders it
    uint64_t seed;
};
static void race_fn(struct timer *t)
{
    container_of(t, struct race, timer)->ran++;
}
static void cancel_race(void *arg)
{
    struct race r = {.seed = (uintptr_t)arg};
    timer_init(&r.timer, race_fn);
    for (int i = 0; i < 300 * SCALE; i++) {
        r.seed = r.seed * 6364136223846793005u + 1442695040888963407u;
        r.ran = 0;
        timer_arm(&r.timer, ktime_now() + (int64_t)(r.seed >> 49)); // within 32 us
        if (r.seed & (1 << 20))
            fiber_park(ktime_now() + (int64_t)(r.seed >> 50), PARK_UNINTERRUPTIBLE);
        else
            fiber_yield();
        bool cancelled = timer_cancel_sync(&r.timer);
        CHECK(r.ran + cancelled == 1);
    }
}
static void cancel_races(UNUSED void *arg)
{
    for (long i = 0; i < 20; i++)
        spawn(cancel_race, (void *)i);
}
TEST(timer_cancel_races)
{
    run(2, false, cancel_races, nullptr);
    run(4, true, cancel_races, nullptr);
}

// --- locks ---------------------------------------------------------------------------------------
static struct mutex counter_mutex;
static struct rwsem counter_sem;
static long counter, shared_a, shared_b;
static void mutex_user(UNUSED void *arg)
{
    for (int i = 0; i < 1000 * SCALE; i++) {
        mutex_lock(&counter_mutex);
        CHECK(mutex_is_held(&counter_mutex));
        counter++;
        if (i % 16 == 0)
            fiber_yield(); // others pile up
        mutex_unlock(&counter_mutex);
        if (mutex_trylock(&counter_mutex)) {
            counter++;
            mutex_unlock(&counter_mutex);
        }
    }
}
static void rwsem_user(void *arg)
{
    bool writer = (long)arg & 1;
    for (int i = 0; i < 500 * SCALE; i++) {
        if (writer) {
            rwsem_write_lock(&counter_sem);
            shared_a++;
            if (i % 16 == 0)
                fiber_yield();
            shared_b++;
            rwsem_write_unlock(&counter_sem);
        } else {
            rwsem_read_lock(&counter_sem);
            CHECK(shared_a == shared_b);
            if (i % 16 == 0)
                fiber_yield();
            CHECK(shared_a == shared_b);
            rwsem_read_unlock(&counter_sem);
        }
    }
}
static void lock_users(UNUSED void *arg)
{
    mutex_init(&counter_mutex, RANK_LEAF);
    rwsem_init(&counter_sem, RANK_MM);
    for (long i = 0; i < 12; i++) {
        spawn(mutex_user, nullptr);
        spawn(rwsem_user, (void *)i);
    }
}
TEST(mutex_and_rwsem_stress)
{
    for (int workers = 1; workers <= 3; workers++) {
        counter = shared_a = shared_b = 0;
        run(workers, false, lock_users, nullptr);
        assert_true(counter >= 12 * 1000 * SCALE);
        assert_int_equal(shared_a, 6 * 500 * SCALE);
        assert_int_equal(shared_b, shared_a);
    }
}

// A mutex is shared by fibers, an I/O thread and a plain thread.
static long io_count(UNUSED void *arg)
{
    for (int i = 0; i < 100; i++) {
        mutex_lock(&counter_mutex);
        counter++;
        mutex_unlock(&counter_mutex);
    }
    return 7;
}
static void io_user(UNUSED void *arg)
{
    for (int i = 0; i < 20; i++) {
        CHECK(iopool_run(io_count, nullptr) == 7);
        io_count(nullptr);
    }
}
static void io_users(UNUSED void *arg)
{
    mutex_init(&counter_mutex, RANK_LEAF);
    for (int i = 0; i < 12; i++)
        spawn(io_user, nullptr);
}
TEST(iopool_and_threads_share_a_mutex)
{
    counter = 0;
    run(2, false, io_users, nullptr);
    assert_int_equal(counter, 12 * 20 * 200);
}

#ifdef NACRE_DEBUG
static struct mutex outer = MUTEX_INIT(outer, RANK_DIR), inner = MUTEX_INIT(inner, RANK_INODE);
static struct mutex same[2] = {MUTEX_INIT(same[0], RANK_DIR), MUTEX_INIT(same[1], RANK_DIR)};
static void wrong_order(void)
{
    mutex_lock(&inner);
    mutex_lock(&outer);
}
static void wrong_address(void)
{
    mutex_lock(&same[1]);
    mutex_lock(&same[0]);
}
static void taken_twice(void)
{
    mutex_lock(&same[0]);
    mutex_lock_nested(&same[0]);
}
static void not_owner(void)
{
    mutex_unlock(&outer);
}
TEST(lock_ranks)
{
    assert_panics(wrong_order);
    assert_panics(wrong_address);
    assert_panics(taken_twice);
    assert_panics(not_owner);
    mutex_lock(&same[0]);
    mutex_lock(&same[1]);
    mutex_lock(&inner);
    mutex_unlock(&same[0]);
    mutex_unlock(&inner);
    mutex_lock_nested(&same[0]);
    mutex_unlock(&same[1]);
    mutex_unlock(&same[0]);
}
#endif

// --- wait queues -----------------------------------------------------------------------------------
static struct waitq item_q;
static int items, taken, fn_calls; // [A]
static void count_call(UNUSED struct waiter *w, UNUSED uint32_t key)
{
    fn_calls++;
}
static bool item_take(void)
{
    int n = __atomic_load_n(&items, __ATOMIC_ACQUIRE);
    while (n > 0 && !__atomic_compare_exchange_n(&items, &n, n - 1, false, __ATOMIC_ACQ_REL,
                                                 __ATOMIC_ACQUIRE))
        ;
    return n > 0;
}
static void item_taker(UNUSED void *arg)
{
    struct waiter w;
    waiter_init(&w);
    w.exclusive = true;
    waitq_add(&item_q, &w);
    while (!item_take())
        fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE);
    waitq_remove(&w);
    waitq_remove(&w); // no-op
    __atomic_add_fetch(&taken, 1, __ATOMIC_RELAXED);
}
static void item_giver(UNUSED void *arg)
{
    struct waiter w;
    waitq_init(&item_q);
    waiter_init_fn(&w, count_call, EPOLLOUT);
    waitq_add(&item_q, &w);
    items = taken = fn_calls = 0;
    for (int i = 0; i < 10; i++)
        spawn(item_taker, nullptr);
    fiber_park(ktime_now() + MS, PARK_UNINTERRUPTIBLE);
    CHECK(waitq_active(&item_q));
    for (int i = 0; i < 10; i++) {
        __atomic_add_fetch(&items, 1, __ATOMIC_RELEASE);
        waitq_wake(&item_q, i == 4 ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
    waitq_remove(&w);
    CHECK(fn_calls == 1);
}
TEST(waitq_exclusive_reaches_all)
{
    for (int workers = 1; workers <= 3; workers++) {
        run(workers, false, item_giver, nullptr);
        assert_int_equal(taken, 10);
        assert_false(waitq_active(&item_q));
    }
}

// --- host descriptors --------------------------------------------------------------------------------
struct poll_box {
    struct hostpoll hp;
    struct waitq q;
    int calls, inside; // [A]
    uint64_t sum;      // [A]
};
static void box_fn(struct hostpoll *hp, UNUSED uint32_t events)
{
    struct poll_box *b = container_of(hp, struct poll_box, hp);
    uint64_t v;
    CHECK(__atomic_add_fetch(&b->inside, 1, __ATOMIC_ACQ_REL) == 1);
    if (read(hp->fd, &v, 8) == 8)
        __atomic_add_fetch(&b->sum, v, __ATOMIC_RELEASE);
    __atomic_add_fetch(&b->calls, 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&b->inside, 1, __ATOMIC_ACQ_REL);
    waitq_wake(&b->q, ~0u);
}
static long write_some(void *arg)
{
    uint64_t one = 1;
    for (int i = 0; i < 200; i++) {
        CHECK(write((int)(long)arg, &one, 8) == 8);
        if (i % 8 == 0)
            usleep(1);
    }
    return 0;
}
static void box_writer(void *arg)
{
    iopool_run(write_some, arg);
}
static void box_user(UNUSED void *arg)
{
    struct poll_box b = {};
    waitq_init(&b.q);
    int fd = eventfd(0, EFD_NONBLOCK);
    CHECK(hostpoll_add(&b.hp, -1, EPOLLIN, box_fn) == -EBADF);
    CHECK(hostpoll_add(&b.hp, fd, EPOLLIN, box_fn) == 0);
    for (int i = 0; i < 4; i++)
        spawn(box_writer, (void *)(long)fd);
    int err = wait_event(&b.q, __atomic_load_n(&b.sum, __ATOMIC_ACQUIRE) == 800, KTIME_MAX,
                         PARK_UNINTERRUPTIBLE);
    CHECK(err == 0);
    hostpoll_del(&b.hp);
    int calls = b.calls;
    uint64_t one = 1;
    CHECK(write(fd, &one, 8) == 8);
    CHECK(fiber_park(ktime_now() + 2 * MS, PARK_UNINTERRUPTIBLE) <= 0);
    CHECK(b.calls == calls);
    close(fd);
}
// Deletes while events keep coming: the box's memory goes at once.
static void box_del_race(UNUSED void *arg)
{
    for (int i = 0; i < 100 * SCALE; i++) {
        struct poll_box *b = calloc(1, sizeof(*b));
        CHECK(b);
        waitq_init(&b->q);
        int fd = eventfd(0, EFD_NONBLOCK);
        CHECK(hostpoll_add(&b->hp, fd, EPOLLIN, box_fn) == 0);
        uint64_t one = 1;
        CHECK(write(fd, &one, 8) == 8);
        if (i & 1)
            fiber_park(ktime_now() + 20000, PARK_UNINTERRUPTIBLE);
        hostpoll_del(&b->hp);
        free(b);
        close(fd);
    }
}
static void box_users(UNUSED void *arg)
{
    for (int i = 0; i < 3; i++)
        spawn(box_user, nullptr);
    for (int i = 0; i < 4; i++)
        spawn(box_del_race, nullptr);
}
TEST(hostpoll_delivers_and_ends)
{
    run(1, false, box_users, nullptr);
    run(3, true, box_users, nullptr);
}

// --- contexts in user mode ---------------------------------------------------------------------------
// A "stub": a host thread that answers through a shared word, and rings when its worker sleeps.
struct stub {
    struct user_wait uw;
    struct hostpoll hp;
    uint32_t word ALIGNED(64); // [A] 1: the kernel's turn, 0: the stub's, 2: end, 3: as 1, and it sleeps
    uint32_t asleep, cpu;      // [A]
    int bell, rounds, work;
    bool sleeps; // on the word, when no answer comes soon
    unsigned rings, marks; // [A] of the bell; of set_asleep(true)
    struct spinlock gone_lock;
    pthread_t thread;
};
static bool stub_ready(struct user_wait *uw)
{
    return __atomic_load_n(&container_of(uw, struct stub, uw)->word, __ATOMIC_ACQUIRE) & 1;
}
static void stub_set_asleep(struct user_wait *uw, bool asleep)
{
    struct stub *s = container_of(uw, struct stub, uw);
    s->marks += asleep;
    __atomic_store_n(&s->asleep, asleep, __ATOMIC_RELEASE);
}
static void stub_rung(struct hostpoll *hp, UNUSED uint32_t ev)
{
    struct stub *s = container_of(hp, struct stub, hp);
    struct fiber *f = READ_SHARED(s->uw.fiber);
    if (f && stub_ready(&s->uw))
        fiber_wake(f);
}
static void stub_sleep(struct stub *s)
{
    uint32_t v = 1;
    if (__atomic_compare_exchange_n(&s->word, &v, 3, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        while (__atomic_load_n(&s->word, __ATOMIC_ACQUIRE) == 3)
            syscall(SYS_futex, &s->word, FUTEX_WAIT, 3, nullptr, nullptr, 0);
}
static void *stub_thread(void *arg)
{
    struct stub *s = arg;
    for (int i = 0;; i++) {
        uint32_t v;
        for (int spins = 0; (v = __atomic_load_n(&s->word, __ATOMIC_ACQUIRE)) == 1; spins++) {
            __builtin_ia32_pause();
            if (s->sleeps && spins > 50)
                stub_sleep(s);
            else if (spins > 1000)
                sched_yield();
        }
        if (v == 2)
            return nullptr;
        __atomic_store_n(&s->cpu, (uint32_t)sched_getcpu() + 1, __ATOMIC_RELAXED);
        for (volatile int k = 0; k < s->work; k++)
            ;
        if (s->work && i % 64 == 0)
            usleep(200);
        __atomic_store_n(&s->word, 1, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (__atomic_load_n(&s->asleep, __ATOMIC_RELAXED)) {
            uint64_t one = 1;
            __atomic_add_fetch(&s->rings, 1, __ATOMIC_RELAXED);
            CHECK(write(s->bell, &one, 8) == 8);
        }
    }
}
static void stub_task(void *arg)
{
    struct stub *s = arg;
    s->word = 1;
    s->uw = (struct user_wait){
        .ready = stub_ready, .set_asleep = stub_set_asleep, .cpu = &s->cpu};
    s->bell = eventfd(0, EFD_NONBLOCK);
    CHECK(hostpoll_add(&s->hp, s->bell, EPOLLIN, stub_rung) == 0);
    CHECK(pthread_create(&s->thread, nullptr, stub_thread, s) == 0);
    ktime_t t = ktime_now();
    for (int i = 0; i < s->rounds; i++) {
        if (s->sleeps && i % 3 == 0) // a call that waits
            fiber_park(ktime_now() + 20000, PARK_UNINTERRUPTIBLE);
        if (__atomic_exchange_n(&s->word, 0, __ATOMIC_SEQ_CST) == 3)
            s->uw.wake = &s->word;
        while (!stub_ready(&s->uw))
            fiber_park_user(&s->uw);
    }
    t = ktime_now() - t;
    if (!s->work)
        print_message("  handoff round trip %ld ns, %u rings, %u marks, %d rounds\n",
                      (long)(t / s->rounds), READ_SHARED(s->rings), s->marks, s->rounds);
    if (__atomic_exchange_n(&s->word, 2, __ATOMIC_SEQ_CST) == 3)
        syscall(SYS_futex, &s->word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    pthread_join(s->thread, nullptr);
    hostpoll_del(&s->hp);
    close(s->bell);
    free(s);
}
static void interrupter(void *arg)
{
    struct fiber *f = arg;
    for (int i = 0; i < 200; i++) {
        fiber_wake(f);
        fiber_park(ktime_now() + 30000, PARK_UNINTERRUPTIBLE);
    }
    fiber_interrupt(f, FIBER_INTR_KILL);
}
static struct stub *stub_new(int rounds, int work)
{
    struct stub *s = aligned_alloc(64, sizeof(*s));
    CHECK(s);
    *s = (struct stub){.rounds = rounds, .work = work};
    return s;
}
static void stub_one(UNUSED void *arg)
{
    spawn(stub_task, stub_new(20000 * SCALE, 0));
}
static void stub_outlives_wakes(void *arg)
{
    // Ends only after the interrupter has: its fiber must exist as long as it is woken.
    struct stub *s = arg;
    s->word = 0;
    s->uw = (struct user_wait){.ready = stub_ready, .set_asleep = stub_set_asleep};
    spawn(interrupter, fiber_current());
    while (!fiber_interrupted(PARK_KILLABLE))
        fiber_park_user(&s->uw);
    free(s);
}
static void stub_many(UNUSED void *arg)
{
    for (int i = 0; i < 6; i++) {
        spawn(stub_task, stub_new(300 * SCALE, 100 + i * 300));
        spawn(stub_outlives_wakes, stub_new(0, 0));
    }
}
TEST(user_mode_polling)
{
    run(1, true, stub_one, nullptr);
    run(2, true, stub_one, nullptr);
}
TEST(user_mode_many)
{
    for (int workers = 1; workers <= 3; workers++) {
        run(workers, false, stub_many, nullptr);
        run(workers, true, stub_many, nullptr);
    }
}

// Some sleep on their word, and it is the scheduler that wakes them: in the end each has had its rounds.
static void stub_sleepers(UNUSED void *arg)
{
    for (int i = 0; i < 6; i++) {
        struct stub *s = stub_new(300 * SCALE, 50 + i * 200);
        s->sleeps = i % 3 != 2;
        spawn(stub_task, s);
    }
}
TEST(user_mode_sleepers)
{
    for (int workers = 1; workers <= 3; workers++) {
        run(workers, false, stub_sleepers, nullptr);
        run(workers, true, stub_sleepers, nullptr);
    }
}

static void sleeper(UNUSED void *arg)
{
    fiber_park(ktime_now() + 50 * MS, PARK_UNINTERRUPTIBLE);
}
TEST(idle_uses_no_cpu)
{
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    run(4, true, sleeper, nullptr);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    print_message("  start, 50 ms idle, stop: %ld us of CPU\n",
                  (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
}

// --- the watchdog ---------------------------------------------------------------------------------------
static uint32_t stuck_reports; // [A]
static void count_stuck(void *data)
{
    __atomic_add_fetch(&stuck_reports, 1, __ATOMIC_RELAXED);
}
static void stuck_fiber(void *arg)
{
    // Twice away from the loop, with a rest between during which the watchdog sleeps: once each.
    for (uint32_t round = 1; round <= 2; round++) {
        ktime_t end = ktime_now() + 20'000 * MS;
        while (READ_SHARED(stuck_reports) < round && ktime_now() < end)
            __builtin_ia32_pause();
        CHECK(READ_SHARED(stuck_reports) == round);
        end = ktime_now() + 200 * MS;
        while (ktime_now() < end)
            __builtin_ia32_pause();
        CHECK(READ_SHARED(stuck_reports) == round);
        CHECK(fiber_park(ktime_now() + 200 * MS, PARK_UNINTERRUPTIBLE) == -ETIMEDOUT);
    }
}
TEST(watchdog_reports_a_stuck_worker_once)
{
    void (*old)(void *) = sched_stuck_hook;
    sched_stuck_hook = count_stuck;
    for (int n = 1; n <= 2; n++) {
        stuck_reports = 0;
        struct sched_config cfg = {.nworkers = n, .stuck_ms = 60};
        assert_int_equal(sched_init(&cfg), 0);
        spawn(stuck_fiber, nullptr);
        sched_run();
        assert_int_equal(alive, 0);
    }
    sched_stuck_hook = old;
}
