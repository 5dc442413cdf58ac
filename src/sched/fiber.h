// SPDX-License-Identifier: Apache-2.0
// Fibers: kernel-side stacks of guest tasks (and of kernel services), run by a few worker threads.
//
// Parking uses a wake token (as in java.util.concurrent LockSupport): fiber_wake() gives the token
// and makes a parked fiber runnable; fiber_park() consumes the token or sleeps until it is given.
// Wake-ups may be spurious: every caller loops over its own condition. So no wake-up is ever lost:
//
//     waitq_add(&q, &w);                  // first be found by wakers
//     while (!condition)                  // then look
//         if ((err = fiber_park(deadline, PARK_INTERRUPTIBLE)) != 0) break;
//     waitq_remove(&q, &w);
//
// or wait_event() below, which is that loop.
//
// A fiber may continue on another worker after any park: no pointer to thread-local data survives
// a park; thread-local state is reached only through the noinline accessors of this header.
#pragma once
#include "base/attr.h"
#include "base/list.h"
#include "base/lock.h"

typedef int64_t ktime_t; // nanoseconds of CLOCK_MONOTONIC (host, in the sandbox's time namespace)
constexpr ktime_t KTIME_MAX = INT64_MAX;
ktime_t ktime_now(void);                  // CLOCK_MONOTONIC
int64_t ktime_realtime(void);             // CLOCK_REALTIME, ns
int64_t ktime_boottime(void);             // CLOCK_BOOTTIME, ns

struct fiber;
enum park_mode : int { PARK_UNINTERRUPTIBLE, PARK_KILLABLE, PARK_INTERRUPTIBLE };
enum : uint32_t { FIBER_INTR_SIGNAL = 1, FIBER_INTR_KILL = 2 };

// Creates a fiber that will run fn(arg); it does not run before fiber_start(). null: no memory.
MUST_CHECK struct fiber *fiber_new(void (*fn)(void *), void *arg, void *data);
void fiber_start(struct fiber *f);
struct fiber *fiber_current(void); // null outside a fiber (worker loop, timer callbacks)
void *fiber_data(void);            // the `data` of the current fiber; null outside one
// A pointer of the platform's for the current fiber: the context whose system call it answers. Null
// outside a fiber.
void *fiber_local(void);
void fiber_set_local(void *p);
// Ends the current fiber. `last` (may be null) runs on the worker's own stack after the fiber's
// stack is no longer in use.
[[noreturn]] void fiber_exit(void (*last)(void *), void *arg);
void fiber_yield(void);            // back of the run queue; a yield point for long loops

// 0: woken (perhaps spuriously); -ETIMEDOUT: deadline passed; -EINTR: interrupted (mode permitting).
int fiber_park(ktime_t deadline, enum park_mode mode);
void fiber_wake(struct fiber *f);  // from any thread, also timer and I/O callbacks
// Interrupt flags of a fiber: set by signal delivery, cleared by the task when it has looked.
void fiber_interrupt(struct fiber *f, uint32_t flags); // sets flags and wakes
void fiber_clear_interrupt(struct fiber *f, uint32_t flags);
bool fiber_interrupted(enum park_mode mode);           // of the current fiber
int fiber_park_mode(const struct fiber *f);            // how it sleeps (racy), -1: it does not

// --- workers ---------------------------------------------------------------------------------
struct sched_config {
    int nworkers;        // host threads, one per CPU that the sandbox may use
    bool poll;           // may workers poll user-mode mailboxes at all
    size_t stack_size;   // 0: default
    uint32_t headroom;   // CPUs that cpuset and quota leave, rounded down; 0: as many as there are
    uint32_t stuck_ms;   // a worker away from its loop for so long is reported; 0: default
};
// Starts the workers (threads, epoll, timers, I/O pool). After this, seccomp with TSYNC may be
// installed by the caller. The calling thread becomes worker 0 in sched_run(). From then on only
// these host calls are made: futex (private), epoll_ctl, epoll_pwait2 (epoll_pwait where the host
// has none), pwritev2 on the eventfd, mmap, munmap, mprotect, madvise, sched_yield, clock_gettime.
MUST_CHECK int sched_init(const struct sched_config *cfg);
void sched_run(void);                 // returns after sched_stop()
void sched_stop(void);
// Says more about the fiber (its data) with which a worker is stuck. In a signal handler on that
// worker: only log_write().
extern void (*sched_stuck_hook)(void *fiber_data);
int sched_nworkers(void);
// The quota has changed: workers poll only where that takes no CPU time from guests. Any thread.
void sched_set_headroom(uint32_t cpus);
// Runs `fn(arg)` on an I/O pool thread while this fiber sleeps (uninterruptible): for host calls
// that may block. Returns fn's result.
long iopool_run(long (*fn)(void *), void *arg);

// --- a fiber whose task is in user mode ---------------------------------------------------------
// The platform fills one per context. The worker polls ready() for a while after the last
// activity, and before it goes to sleep in epoll it calls set_asleep(true) and looks once more, so
// that the other side knows to ring its doorbell (a host descriptor registered with hostpoll).
//
// The doorbell's hostpoll callback calls fiber_wake(uw->fiber) for every context behind that doorbell
// whose ready() is true (uw->fiber is null before the first park; a wake too many does no harm).
// Order for the other side: publish, full fence, look at the asleep mark, ring.
struct worker;
struct user_wait {
    struct list link;                           // scheduler's
    struct fiber *fiber;                        // scheduler's
    struct worker *owner;                       // scheduler's: on whose list it is
    bool asleep, counted;                       // scheduler's
    // The platform's, before each park: the context sleeps in a host call (a futex) and uses no
    // CPU, so it does not count among those that compete with a polling worker.
    bool blocked;
    // The platform's, null if it has none: a word that the other side keeps at 1 + the CPU it runs
    // on (0: unknown). A worker that finds itself on that CPU does not poll but makes room.
    const uint32_t *cpu;
    // The platform's, null if it has none: not 0 while the context sleeps in a host call of its own
    // accord, a futex. A hint, from hostile memory.
    const uint32_t *sleeping;
    // The platform's, before a park, or null: the context has its answer and sleeps on this word in the
    // host. The scheduler wakes it, now or a little later (see user.c), and forgets the word.
    const uint32_t *wake;
    struct worker *held_by;                     // scheduler's: who has put that wake-up off,
    uint32_t held_turn;                         // and until when
    // May be null: the call that the context waits for takes its time, it should not spin for it.
    void (*rest)(struct user_wait *);
    bool (*ready)(struct user_wait *);          // cheap: one load of a shared word
    void (*set_asleep)(struct user_wait *, bool asleep);
};
// Parks the current fiber until ready() is true or fiber_wake() (for example by interrupt).
void fiber_park_user(struct user_wait *uw);
// The context whose call the current fiber serves from now on (null: none); it outlives that.
void fiber_set_caller(struct user_wait *uw);
// The CPU a worker last polled on, published for the stub's "same CPU?" test; see systrap.
int sched_worker_cpu(void);

// --- host descriptors ------------------------------------------------------------------------
// Edge-triggered readiness of a host descriptor. fn runs in a worker's loop, outside any fiber,
// and must not park; it may run on any worker, never twice at once for one hostpoll.
struct hostpoll {
    int fd;
    void (*fn)(struct hostpoll *, uint32_t epoll_events);
    uint64_t gen;   // scheduler's
    bool dead;      // scheduler's
};
MUST_CHECK int hostpoll_add(struct hostpoll *hp, int fd, uint32_t epoll_events,
                            void (*fn)(struct hostpoll *, uint32_t));
// After return fn does not run any more and is not running. Callable from a fiber only.
void hostpoll_del(struct hostpoll *hp);
// The same with other events; EPOLLONESHOT is allowed here.
void hostpoll_change(struct hostpoll *hp, uint32_t epoll_events);

// --- answers that come soon ----------------------------------------------------------------------
// A host descriptor where another process answers what a fiber asked: idle workers look for the
// answer for a while before they sleep (see source.c). Between source_expect() and source_got(),
// which the look calls when an answer is there.
struct source {
    struct list link;     // scheduler's
    uint32_t waiting;     // [A] scheduler's
    bool armed;           // its owner's: an event has been asked for
    void (*look)(struct source *); // takes what is there. Any worker, outside fibers; must not park
    // Asks for an event with the next input, or at once if there is one; again and again.
    void (*arm)(struct source *);
};
void source_add(struct source *s);
void source_del(struct source *s);
void source_expect(struct source *s);
void source_got(struct source *s);
