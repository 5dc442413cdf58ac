// SPDX-License-Identifier: Apache-2.0
// What the files of sched/ share: the fiber, the worker, and the entry points between them. Nobody
// outside this folder includes it.
#pragma once
#include "base/assert.h"
#include "sched/fiber.h"
#include "sched/timer.h"

#if __has_feature(address_sanitizer)
#define NACRE_ASAN 1
#include <sanitizer/common_interface_defs.h>
#else
#define NACRE_ASAN 0
#endif
#if __has_feature(thread_sanitizer)
#define NACRE_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define NACRE_TSAN 0
#endif

// The one word of the parking protocol. Only the fiber leaves RUN (to PARKING) and only its worker,
// on its own stack, turns PARKING into PARKED: whoever sees PARKED may run the fiber elsewhere at
// once, because nothing uses its stack any more.
enum fiber_state : uint32_t {
    FIBER_RUN,     // running or queued, no token
    FIBER_TOKEN,   // running or queued, holds the wake token
    FIBER_PARKING, // has decided to sleep, is still on its stack
    FIBER_PARKED,  // asleep; RUN by compare-and-swap is the right to queue it
};

constexpr int HELD_MAX = 16;
constexpr int LATE_MAX = 8;
struct held_lock {
    const void *lock;
    int rank;
};

struct fiber {
    void *sp;               // while off the CPU
    uint32_t state;         // [A] enum fiber_state
    uint32_t intr;          // [A] FIBER_INTR_*
    void *data;             // [C]
    void *local;            // own
    struct user_wait *caller; // own: who waits for what it does, perhaps spinning
    struct list link;       // [lock of the run queue]
    struct worker *last;    // [A] where it ran last
    void (*fn)(void *);     // [C]
    void *arg;              // [C]
    char *stack;            // owned: lowest usable byte
    size_t stack_size;
    struct timer timer;     // of a timed park
    bool timed_out;         // [A]
    uint8_t mode;           // [A] of the last park, for those who look from outside
    bool slept;             // own: parked since its context was last in user mode
    bool is_thread;         // stand-in of a host thread: parks on a futex (state)
    uint8_t nheld;          // own: locks held, for rank checks
    struct held_lock held[HELD_MAX];
    void *tsan, *asan_fake;
};

enum after : int { AFTER_PARK, AFTER_YIELD, AFTER_EXIT };

struct worker {
    // Own.
    void *loop_sp ALIGNED(64);
    struct fiber *current;
    enum after after;       // what the fiber that just left wants
    void (*last_fn)(void *);
    void *last_arg;
    uint64_t served_at;     // TSC of the last look at timers and descriptors
    uint64_t active_at;     // TSC when the last fiber left
    uint64_t poll_ticks;    // how long to poll after that
    const uint32_t *late[LATE_MAX]; // words of contexts whose wake-up is put off
    uint32_t nlate;
    uint32_t late_turn;     // counts the times that they were made up for
    uint64_t late_since;    // TSC of the first
    uint32_t late_answers;  // fibers run since then
    uint32_t late_worth, late_tries, late_every; // does it pay? see user_may_hold
    uint32_t glance_worth, glance_tries;         // and this? see glance_pays
    int id;
    unsigned long thread;   // pthread_t
    void *altstack;
    void *tsan, *asan_fake;
    const void *asan_bottom;
    size_t asan_size;
    // Shared.
    struct spinlock runq_lock ALIGNED(64);
    uint32_t runq_len;      // [A] written under runq_lock
    struct list runq;       // [runq_lock]
    struct spinlock user_lock ALIGNED(64);
    uint32_t nuser;         // [A] written under user_lock: contexts that compete for CPUs
    struct list polled;     // [user_lock] user_wait.link: looked at while awake
    struct list dozing;     // [user_lock] user_wait.link: will ring
    bool asleep, polling;   // [A]
    bool looking;           // [user_lock] looks at its polled ones: others may give it theirs
    uint64_t given_at;      // [A] the giver's active_at
    // The watchdog's. [A] what the worker writes
    uint32_t beat;          // passes of the loop
    bool waiting;           // in epoll, or not started
    uint32_t stuck_beat;    // [A] beat at which it was found stuck
    uint32_t seen_beat, seen_looks; // watchdog's own
    int tid;                // [C]
};

// worker.c
struct worker *worker_self(void);     // null on other threads
void worker_push(struct fiber *f);    // makes a fiber runnable
void worker_kick(void);               // wakes one sleeping worker, if there is one
uint32_t sched_user_count(void);      // contexts in user mode, all workers
void thread_started(void);            // prepared: sched_init waits for all, lockdown follows
struct worker *worker_at(int i);
int thread_prepare(void **altstack);  // timer slack, alternate signal stack
// fiber.c
struct fiber *fiber_self(void);       // current fiber, or the stand-in of this thread
void fiber_run(struct worker *w, struct fiber *f);
bool fiber_park_begin(struct fiber *f);  // false: a token was there, do not sleep
void fiber_leave(struct worker *w, struct fiber *f, enum after after);
bool fiber_claim(struct fiber *f);       // PARKED -> RUN: the right to run it
void fiber_stacks_free(void);
// user.c
struct fiber *user_take(struct worker *w);  // a claimed fiber whose context is ready, or null
uint32_t user_sleeping(struct worker *w);   // of those that count, how many sleep by themselves
bool user_shares_cpu(struct worker *w);     // one of its contexts runs on our CPU
struct fiber *user_doze(struct worker *w);  // marks all as asleep, looks once more
void user_wake_late(struct worker *w);      // wakes those that were put off
void user_look(struct worker *w, bool on);  // w looks at its contexts from now on, or no longer
void user_give(struct worker *w);           // to a worker that looks, if there is one
// timer.c
ktime_t timer_next(void);             // earliest deadline, KTIME_MAX: none
void timer_serve(void);               // runs what is due
// hostpoll.c
void hostpoll_event(uint64_t id, uint32_t events);
extern int sched_epfd;
// watchdog.c
int watchdog_start(uint32_t limit_ms); // 0: the usual
void watchdog_stop(void);
void watchdog_awake(void);            // a worker has left epoll and said so
bool watchdog_rests(void);
// source.c
extern uint32_t sources_waiting;
void sources_look(void);
void sources_arm(void);
// worker.c: is every CPU taken, w's own counted, by a worker or a guest?
bool sched_full(const struct worker *w);
// worker.c: would one more spinning thread take a CPU from somebody?
bool sched_crowded(struct worker *w);
// iopool.c
int iopool_start(void);
uint32_t iopool_threads(void);
void iopool_stop(void);
