// SPDX-License-Identifier: Apache-2.0
// The workers: run queues, stealing, polling, sleeping.
//
// Everything a worker can sleep for comes through one epoll instance: host descriptors
// (edge-triggered: one event wakes one sleeper), timers (the timeout of one sleeper, see cover_*)
// and an eventfd that is written only when a worker really sleeps and there is work for it.
//
// No wake-up is lost: a sleeper counts itself in `sleeping`, then looks at the queues; a producer
// queues, then looks at `sleeping` (both with full fences).
#include "host/raw.h"
#include "sched/internal.h"
#include <linux/futex.h>
#include <errno.h>
#include <linux/time_types.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>
#include <x86intrin.h>

constexpr int WORKERS_MAX = 64;
// In TSC ticks, which are 0.25 to 0.5 ns on the machines we run on: how exact they are matters little.
constexpr uint64_t POLL_TICKS = 150'000;  // ~50 us without activity, at most, before it sleeps
constexpr uint64_t POLL_TICKS_MIN = 20'000;
constexpr uint64_t SERVE_TICKS = 60'000;  // ~20 us at most between looks at timers and descriptors
constexpr uint64_t STUCK_TICKS = 30'000;  // ~10 us: a queue that does not move is helped
constexpr uint64_t GLANCE_TICKS = 12'000; // ~4 us
constexpr uint32_t GLANCE_PAYS = 4;       // so many more looks that found something than not
constexpr uint64_t LATE_TICKS = 120'000;  // ~40 us at most for which a wake-up is put off
constexpr int EVENTS_MAX = 32;

static struct worker workers[WORKERS_MAX];
static int nworkers, ncpus;
static uint32_t headroom; // [A] of those CPUs, what the quota leaves
static bool may_poll, have_pwait2;
static int kick_fd = -1;
static uint32_t sleeping;    // [A] workers in (or on their way into) epoll
static bool kick_pending;    // [A] an eventfd write that no worker has seen yet
static bool stopping;        // [A]
extern size_t fiber_stack_size;

static struct spinlock cover_lock;
static ktime_t covered = KTIME_MAX;  // [cover_lock] deadline that a sleeper's timeout serves
static struct worker *cover_owner;   // [cover_lock]

static _Thread_local struct worker *tls_worker;

NOINLINE struct worker *worker_self(void)
{
    struct worker *w = tls_worker;
    __asm__ volatile("" : "+r"(w)); // opaque: callers must not remember it across a park
    return w;
}

int sched_nworkers(void)
{
    return nworkers;
}
struct worker *worker_at(int i)
{
    return &workers[i];
}
int sched_worker_cpu(void)
{
    return sched_getcpu(); // a load from the rseq area
}

// --- run queues ----------------------------------------------------------------------------------
void worker_kick(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&sleeping, __ATOMIC_RELAXED) ||
        __atomic_exchange_n(&kick_pending, true, __ATOMIC_SEQ_CST))
        return;
    uint64_t one = 1;
    struct iovec iov = {&one, sizeof(one)};
    host_call(__NR_pwritev2, kick_fd, &iov, 1, -1, -1, 0);
}

static bool sched_tight(void);
void worker_push(struct fiber *f)
{
    struct worker *self = worker_self();
    struct worker *w = self ? self : READ_SHARED(f->last);
    if (!w)
        w = &workers[0];
    spin_lock(&w->runq_lock);
    list_push_back(&w->runq, &f->link);
    uint32_t n = w->runq_len + 1;
    __atomic_store_n(&w->runq_len, n, __ATOMIC_RELAXED);
    spin_unlock(&w->runq_lock);
    // One fiber on our own queue is run as soon as the current one leaves: nobody is woken for it; nor for
    // a second that this one makes runnable, where another worker's CPU is a guest's or ours.
    if (n > 2 || !self || (n == 2 && !(self->current && sched_tight())))
        worker_kick();
}

static struct fiber *runq_pop(struct worker *w)
{
    struct fiber *f = nullptr;
    if (!__atomic_load_n(&w->runq_len, __ATOMIC_RELAXED))
        return nullptr;
    spin_lock(&w->runq_lock);
    if (!list_empty(&w->runq)) {
        f = list_entry(w->runq.next, struct fiber, link);
        list_del(&f->link);
        __atomic_store_n(&w->runq_len, w->runq_len - 1, __ATOMIC_RELAXED);
    }
    spin_unlock(&w->runq_lock);
    return f;
}

// A queue is open to others when its owner sleeps or is busy and has more than the one fiber that
// it will run next.
static bool stealable(struct worker *v)
{
    uint32_t n = __atomic_load_n(&v->runq_len, __ATOMIC_RELAXED);
    return n > 1 || (n == 1 && __atomic_load_n(&v->asleep, __ATOMIC_RELAXED));
}

static struct fiber *steal(struct worker *w)
{
    for (int i = 1; i < nworkers; i++) {
        struct worker *v = &workers[(w->id + i) % nworkers];
        struct fiber *f = stealable(v) ? runq_pop(v) : nullptr;
        if (f) {
            if (stealable(v))
                worker_kick(); // more than we can take
            return f;
        }
    }
    return nullptr;
}

// Work for w, which has `own` fibers on its queue for itself.
static bool work_visible(const struct worker *w, uint32_t own)
{
    for (int i = 0; i < nworkers; i++)
        if (&workers[i] == w ? __atomic_load_n(&w->runq_len, __ATOMIC_RELAXED) > own
                             : stealable(&workers[i]))
            return true;
    return false;
}

// --- polling contexts in user mode ---------------------------------------------------------------
uint32_t sched_user_count(void)
{
    uint32_t n = 0;
    for (int i = 0; i < nworkers; i++)
        n += READ_SHARED(workers[i].nuser);
    return n;
}

// Since the last answer to one of those that w looks at. TSCs of two CPUs may differ a little.
static uint64_t quiet_for(const struct worker *w)
{
    uint64_t now = __rdtsc(), given = READ_SHARED(w->given_at);
    return now - MAX(w->active_at, MIN(given, now));
}

// A polling worker must not take a CPU from a guest thread: pollers and contexts fit the CPUs, and
// none of those that it polls waits for the very CPU that it polls on.
static bool poll_allowed(struct worker *w)
{
    uint32_t busy = 1;
    if (!may_poll)
        return false;
    for (int i = 0; i < nworkers; i++)
        busy += READ_SHARED(workers[i].nuser) +
                (&workers[i] != w && READ_SHARED(workers[i].polling));
    busy += READ_SHARED(sources_waiting) != 0; // the process that is to answer
    uint32_t room = READ_SHARED(headroom);
    for (int i = 0; i < nworkers && busy > room; i++)
        busy -= MIN(user_sleeping(&workers[i]), busy - 1);
    return busy <= room && !user_shares_cpu(w);
}
bool sched_crowded(struct worker *w)
{
    uint32_t busy = 2; // we, and who might spin for us
    for (int i = 0; i < nworkers; i++)
        busy += READ_SHARED(workers[i].nuser) +
                (&workers[i] != w && !READ_SHARED(workers[i].asleep));
    busy += READ_SHARED(w->runq_len) != 0; // it runs next, and then its caller
    busy += READ_SHARED(sources_waiting) != 0;
    return busy > READ_SHARED(headroom);
}

bool sched_full(const struct worker *w)
{
    uint32_t busy = 1, room = READ_SHARED(headroom);
    if (!may_poll || room < (uint32_t)ncpus)
        return false;
    for (int i = 0; i < nworkers; i++)
        busy += READ_SHARED(workers[i].nuser) +
                (&workers[i] != w && !READ_SHARED(workers[i].asleep));
    busy -= MIN(w->nlate, busy - 1);
    for (int i = 0; i < nworkers && busy >= room; i++)
        busy -= MIN(user_sleeping(&workers[i]), busy - 1);
    return busy >= room;
}

// A second worker that is awake takes a CPU from a guest or from the first one.
static bool sched_tight(void)
{
    return sched_user_count() + 1 >= READ_SHARED(headroom);
}

// A single fiber on the queue of a worker that is busy for long.
static struct fiber *steal_stuck(struct worker *w, uint64_t *since)
{
    bool any = false;
    for (int i = 0; i < nworkers; i++)
        any |= &workers[i] != w && __atomic_load_n(&workers[i].runq_len, __ATOMIC_RELAXED) != 0;
    uint64_t now = __rdtsc();
    if (!any || !*since)
        *since = any ? now : 0;
    if (!any || now - *since < STUCK_TICKS)
        return nullptr;
    *since = 0;
    struct fiber *f = nullptr;
    for (int i = 1; i < nworkers && !f; i++)
        f = runq_pop(&workers[(w->id + i) % nworkers]);
    return f;
}

// Looks at the mailboxes until one is ready, other work comes up or the time is over.
static struct fiber *worker_spin(struct worker *w)
{
    struct fiber *f = nullptr;
    uint64_t stuck = 0;
    WRITE_SHARED(w->polling, true);
    user_look(w, true);
    for (unsigned i = 1; !(f = user_take(w)); i++) {
        if (__atomic_load_n(&w->runq_len, __ATOMIC_RELAXED))
            break;
        __builtin_ia32_pause();
        if (i % 8 == 0 && READ_SHARED(sources_waiting))
            sources_look();
        if (i % 32)
            continue;
        uint64_t now = __rdtsc();
        if ((f = steal(w)) || (f = steal_stuck(w, &stuck)))
            break;
        if (quiet_for(w) > w->poll_ticks || now - w->served_at > SERVE_TICKS ||
            !poll_allowed(w))
            break;
        if (w->id && sched_tight())
            user_give(w);
    }
    user_look(w, false);
    WRITE_SHARED(w->polling, false);
    return f;
}

// Under a quota every look is CPU time that the guest has not: worth it as long as most looks find
// something, since a sleep and the bell cost twice as much. Tried again now and then.
static bool glance_pays(struct worker *w)
{
    constexpr uint32_t retry = 64;
    return READ_SHARED(headroom) >= (uint32_t)ncpus || w->glance_worth >= GLANCE_PAYS ||
           ++w->glance_tries % retry == 0;
}
static void glance_note(struct worker *w, bool found)
{
    if (found)
        w->glance_worth = MIN(MAX(w->glance_worth + 1, GLANCE_PAYS), 2 * GLANCE_PAYS);
    else if (w->glance_worth)
        w->glance_worth--;
}

// With more threads than CPUs a worker does not poll, but what it has just answered often calls again
// at once, and going to sleep, the bell and waking up take longer than this look.
static struct fiber *worker_glance(struct worker *w)
{
    struct fiber *f = nullptr;
    if (w->id)
        user_give(w);
    user_look(w, true);
    while (!(f = user_take(w)) && !__atomic_load_n(&w->runq_len, __ATOMIC_RELAXED) &&
           quiet_for(w) < GLANCE_TICKS && READ_SHARED(w->nuser) > w->nlate)
        __builtin_ia32_pause();
    user_look(w, false);
    glance_note(w, f);
    if (!f && w->id)
        user_give(w);
    return f;
}

// --- sleeping ------------------------------------------------------------------------------------
static ktime_t cover_take(struct worker *w)
{
    ktime_t next = timer_next(), mine = KTIME_MAX;
    spin_lock(&cover_lock);
    if (next < covered) {
        covered = mine = next;
        cover_owner = w;
    }
    spin_unlock(&cover_lock);
    return mine;
}
static void cover_drop(struct worker *w)
{
    spin_lock(&cover_lock);
    if (cover_owner == w) {
        cover_owner = nullptr;
        covered = KTIME_MAX;
    }
    spin_unlock(&cover_lock);
}

// One look at the host descriptors, sleeping until `deadline` (0: not at all).
static void events_serve(struct worker *w, ktime_t deadline)
{
    struct epoll_event ev[EVENTS_MAX];
    struct __kernel_timespec ts = {};
    long n;
    if (deadline && deadline != KTIME_MAX) {
        ktime_t left = deadline - ktime_now();
        left = MAX(left, (ktime_t)0);
        ts = (struct __kernel_timespec){left / 1000000000, left % 1000000000};
    }
    if (deadline)
        __atomic_store_n(&w->waiting, true, __ATOMIC_SEQ_CST);
    if (have_pwait2) {
        n = host_call(__NR_epoll_pwait2, sched_epfd, ev, EVENTS_MAX,
                      deadline == KTIME_MAX ? nullptr : &ts, 0, 0);
    } else {
        int64_t ms = ts.tv_sec * 1000 + (ts.tv_nsec + 999999) / 1000000;
        n = host_call(__NR_epoll_pwait, sched_epfd, ev, EVENTS_MAX,
                      deadline == KTIME_MAX ? -1 : MIN(ms, (int64_t)INT32_MAX), 0, 0);
    }
    if (deadline) {
        __atomic_store_n(&w->waiting, false, __ATOMIC_SEQ_CST);
        if (watchdog_rests())
            watchdog_awake();
    }
    CHECK(n >= 0 || n == -EINTR);
    for (long i = 0; i < n; i++) {
        if (ev[i].data.u64)
            hostpoll_event(ev[i].data.u64, ev[i].events);
        else
            __atomic_store_n(&kick_pending, false, __ATOMIC_SEQ_CST);
    }
}

// Polling pays when the next event comes soon. Sleeps that turn out short widen the time, long ones
// narrow it: a guest that computes for milliseconds between calls does not cost a spin each time.
static void poll_adapt(struct worker *w)
{
    uint64_t quiet = __rdtsc() - w->active_at;
    if (quiet <= POLL_TICKS)
        w->poll_ticks = MIN(w->poll_ticks * 2, POLL_TICKS);
    else if (quiet > 4 * POLL_TICKS)
        w->poll_ticks = MAX(w->poll_ticks / 2, POLL_TICKS_MIN);
}

static struct fiber *worker_sleep(struct worker *w)
{
    CHECK(!w->nlate);
    __atomic_store_n(&w->asleep, true, __ATOMIC_RELAXED);
    __atomic_add_fetch(&sleeping, 1, __ATOMIC_SEQ_CST);
    struct fiber *f = user_doze(w);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&sources_waiting, __ATOMIC_SEQ_CST))
        sources_arm();
    bool stay = f || work_visible(w, 0) || __atomic_load_n(&stopping, __ATOMIC_RELAXED);
    if (!stay) {
        events_serve(w, cover_take(w));
        cover_drop(w);
        poll_adapt(w);
        w->served_at = __rdtsc();
    }
    __atomic_store_n(&w->asleep, false, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&sleeping, 1, __ATOMIC_SEQ_CST);
    return f;
}

// --- the loop ------------------------------------------------------------------------------------
// What must not wait for an idle moment: due timers, ready contexts, host descriptors.
static void worker_serve(struct worker *w)
{
    struct fiber *f;
    w->served_at = __rdtsc();
    timer_serve();
    while ((f = user_take(w)))
        worker_push(f);
    if (READ_SHARED(sources_waiting))
        sources_look();
    if (!__atomic_load_n(&sleeping, __ATOMIC_RELAXED)) // else a sleeper gets them
        events_serve(w, 0);
    if (work_visible(w, 1)) // one is run next
        worker_kick();
}

static void worker_loop(struct worker *w)
{
    while (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) {
        struct fiber *f = nullptr;
        uint64_t now = __rdtsc();
        WRITE_SHARED(w->beat, w->beat + 1);
        if (now - w->served_at > SERVE_TICKS)
            worker_serve(w);
        if (w->nlate && now - w->late_since > LATE_TICKS)
            user_wake_late(w);
        if (!(f = runq_pop(w)) && !(f = user_take(w)) && !(f = steal(w))) {
            if (now - w->active_at < w->poll_ticks &&
                (READ_SHARED(w->nuser) || READ_SHARED(sources_waiting)) && poll_allowed(w)) {
                user_wake_late(w);
                f = worker_spin(w);
            } else {
                if (now - w->active_at < GLANCE_TICKS && READ_SHARED(w->nuser) && may_poll &&
                    !user_shares_cpu(w) && glance_pays(w))
                    f = worker_glance(w);
                if (!f && w->nlate) {
                    user_wake_late(w);
                    w->active_at = __rdtsc(); // they have their answers only now
                    continue;
                }
                if (!f)
                    timer_serve();
                if (!f && !READ_SHARED(w->runq_len))
                    f = worker_sleep(w);
            }
        }
        if (f) {
            // Nobody looks while it runs.
            if (READ_SHARED(sources_waiting) && __atomic_load_n(&sleeping, __ATOMIC_RELAXED))
                sources_arm();
            w->late_answers++;
            fiber_run(w, f);
            w->active_at = __rdtsc();
        }
    }
    user_wake_late(w);
    WRITE_SHARED(w->waiting, true);
    // The next one leaves too.
    __atomic_store_n(&kick_pending, false, __ATOMIC_SEQ_CST);
    worker_kick();
}

void fiber_yield(void)
{
    struct worker *w = worker_self();
    struct fiber *f = w ? w->current : nullptr;
    if (f && w->nlate)
        user_wake_late(w); // what yields takes its time
    if (!f)
        host_call(__NR_sched_yield);
    else if (READ_SHARED(w->runq_len) || __rdtsc() - w->served_at > SERVE_TICKS)
        fiber_leave(w, f, AFTER_YIELD);
}

// --- start and stop ------------------------------------------------------------------------------
static uint32_t threads_started; // [A] threads that have done what lockdown will forbid

static void threads_await(uint32_t n)
{
    uint32_t have;
    while ((have = __atomic_load_n(&threads_started, __ATOMIC_ACQUIRE)) < n)
        host_call(__NR_futex, &threads_started, FUTEX_WAIT_PRIVATE, have, 0);
}

void thread_started(void)
{
    __atomic_add_fetch(&threads_started, 1, __ATOMIC_RELEASE);
    host_call(__NR_futex, &threads_started, FUTEX_WAKE_PRIVATE, 1);
}

// Handlers run on a stack of their own: a fiber's is too small, and may be what overflowed.
int thread_prepare(void **altstack)
{
    size_t size = (64 << 10) + getauxval(AT_MINSIGSTKSZ);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    if (NACRE_ASAN) // has set its own, and unmaps at thread exit what it finds
        return 0;
    *altstack = malloc(size); // before lockdown
    if (!*altstack)
        return -ENOMEM;
    stack_t ss = {.ss_sp = *altstack, .ss_size = size};
    return sigaltstack(&ss, nullptr) ? -EINVAL : 0;
}

static void worker_enter(struct worker *w)
{
    tls_worker = w;
    WRITE_SHARED(w->waiting, false);
#if NACRE_TSAN
    w->tsan = __tsan_get_current_fiber();
#endif
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    if (thread_prepare(&w->altstack) != 0)
        panic("no signal stack for worker %d", w->id);
    w->tid = (int)host_call(__NR_gettid);
    thread_started();
    worker_enter(w);
    worker_loop(w);
    tls_worker = nullptr;
    return nullptr;
}

static int count_cpus(void)
{
    uint64_t mask[128] = {};
    long n = host_call(__NR_sched_getaffinity, 0, sizeof(mask), mask);
    int cpus = 0;
    for (long i = 0; i < n / 8; i++)
        cpus += __builtin_popcountll(mask[i]);
    return MAX(cpus, 1);
}

static int epoll_start(void)
{
    sched_epfd = (int)host_call(__NR_epoll_create1, EPOLL_CLOEXEC);
    if (sched_epfd < 0)
        return sched_epfd;
    kick_fd = (int)host_call(__NR_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (kick_fd < 0)
        return kick_fd;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET}; // data 0: a kick
    int err = (int)host_call(__NR_epoll_ctl, sched_epfd, EPOLL_CTL_ADD, kick_fd, &ev);
    struct __kernel_timespec ts = {};
    have_pwait2 = host_call(__NR_epoll_pwait2, sched_epfd, &ev, 1, &ts, 0, 0) >= 0;
    return err;
}

void sched_set_headroom(uint32_t cpus)
{
    WRITE_SHARED(headroom, cpus && cpus < (uint32_t)ncpus ? cpus : (uint32_t)ncpus);
}

int sched_init(const struct sched_config *cfg)
{
    CHECK(nworkers == 0);
    ncpus = count_cpus();
    may_poll = cfg->poll && ncpus > 1;
    sched_set_headroom(cfg->headroom);
    int n = MAX(1, MIN(cfg->nworkers, WORKERS_MAX));
    if (cfg->stack_size)
        fiber_stack_size = PAGE_ALIGN_UP(cfg->stack_size);
    int err = epoll_start();
    if (err)
        return err;
    stopping = kick_pending = false;
    threads_started = 0;
    for (int i = 0; i < n; i++) {
        struct worker *w = &workers[i];
        *w = (struct worker){.id = i, .poll_ticks = POLL_TICKS, .late_every = 16, .waiting = true};
        list_init(&w->runq);
        list_init(&w->polled);
        list_init(&w->dozing);
    }
    err = iopool_start();
    if (!err)
        err = thread_prepare(&workers[0].altstack);
    nworkers = n;
    workers[0].tid = (int)host_call(__NR_gettid);
    for (int i = 1; i < n && !err; i++)
        err = -pthread_create(&workers[i].thread, nullptr, worker_main, &workers[i]);
    if (!err)
        err = watchdog_start(cfg->stuck_ms);
    if (!err)
        threads_await((uint32_t)(n - 1) + iopool_threads() + 1);
    return err;
}

void sched_run(void)
{
    worker_enter(&workers[0]);
    if (watchdog_rests())
        watchdog_awake();
    worker_loop(&workers[0]);
    for (int i = 1; i < nworkers; i++) {
        pthread_join(workers[i].thread, nullptr);
        free(workers[i].altstack);
    }
    tls_worker = nullptr;
    watchdog_stop();
    iopool_stop();
    stack_t off = {.ss_flags = SS_DISABLE};
    if (!NACRE_ASAN)
        sigaltstack(&off, nullptr);
    free(workers[0].altstack);
    fiber_stacks_free();
    close(kick_fd);
    close(sched_epfd);
    nworkers = 0;
}

void sched_stop(void)
{
    __atomic_store_n(&stopping, true, __ATOMIC_SEQ_CST);
    worker_kick();
}
