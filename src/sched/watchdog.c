// SPDX-License-Identifier: Apache-2.0
// The watchdog: a host thread that reports a worker which does not come back to its loop: a host call
// that blocks, or code that does not end.
//
// Workers count the passes of their loops and say when they sleep in epoll. While not all of them
// sleep, the watchdog looks at the counts a few times per limit; while all sleep, so does it, and the
// first worker that awakes wakes it (nothing is periodic when nothing happens). It counts its own looks,
// not time: a machine that stood still or was starved stood still for both.
//
// The report itself is made by a signal handler on the stuck worker: there, what the current fiber
// refers to cannot go away under it.
#include "base/log.h"
#include "host/crash.h"
#include "host/raw.h"
#include "sched/internal.h"
#include <errno.h>
#include <linux/futex.h>
#include <linux/time_types.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

constexpr uint32_t LOOKS = 3;           // looks without a change that make a stuck worker
constexpr uint32_t STUCK_MS = 3000;
enum : uint32_t { WATCHING, RESTING, ENDING };

static uint32_t state;                  // [A] futex
static uint32_t limit_ms;               // [C]
static pthread_t thread;
static bool started;
static int own_pid;                     // [C]
static void *altstack;
void (*sched_stuck_hook)(void *fiber_data);

// --- on the stuck worker -------------------------------------------------------------------------
static void on_stuck(int sig, siginfo_t *si, void *ctx)
{
    struct worker *w = worker_self();
    if (!w || si->si_code != SI_TKILL || READ_SHARED(w->beat) != READ_SHARED(w->stuck_beat))
        return; // it has come back in the meantime
    const greg_t *r = ((ucontext_t *)ctx)->uc_mcontext.gregs;
    int saved = errno;
    struct fiber *f = w->current;
    if (f && sched_stuck_hook)
        sched_stuck_hook(f->data);
    const char *low = f ? f->stack : nullptr;
    crash_backtrace_in((uintptr_t)r[REG_RIP], (uintptr_t)r[REG_RBP], (uintptr_t)low,
                       (uintptr_t)low + (f ? f->stack_size : 0));
    errno = saved;
}

// --- the looks -----------------------------------------------------------------------------------
static void worker_look(struct worker *w)
{
    uint32_t beat = READ_SHARED(w->beat);
    if (READ_SHARED(w->waiting) || beat != w->seen_beat) {
        w->seen_beat = beat;
        w->seen_looks = 0;
    } else if (w->seen_looks < LOOKS && ++w->seen_looks == LOOKS) {
        log_warn("worker %d has not come back to its loop for %u ms", w->id, limit_ms);
        WRITE_SHARED(w->stuck_beat, beat);
        host_call(__NR_tgkill, own_pid, w->tid, SIGURG);
    }
}

static bool all_wait(void)
{
    for (int i = 0; i < sched_nworkers(); i++)
        if (!__atomic_load_n(&worker_at(i)->waiting, __ATOMIC_SEQ_CST))
            return false;
    return true;
}

static void *watchdog_main(void *arg)
{
    if (thread_prepare(&altstack) != 0)
        panic("no signal stack for the watchdog");
    thread_started();
    struct __kernel_timespec ts = {.tv_sec = limit_ms / LOOKS / 1000,
                                   .tv_nsec = limit_ms / LOOKS % 1000 * 1000000};
    uint32_t s;
    while ((s = __atomic_load_n(&state, __ATOMIC_SEQ_CST)) != ENDING) {
        // RESTING is set before the look, and a worker that awakes looks at it after it has said so.
        if (s == WATCHING && all_wait()) {
            __atomic_compare_exchange_n(&state, &s, RESTING, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST);
            continue;
        }
        if (s == RESTING && all_wait()) {
            host_call(__NR_futex, &state, FUTEX_WAIT_PRIVATE, RESTING, 0);
            continue;
        }
        if (s == RESTING && !__atomic_compare_exchange_n(&state, &s, WATCHING, false,
                                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            continue;
        for (int i = 0; i < sched_nworkers(); i++)
            worker_look(worker_at(i));
        host_call(__NR_futex, &state, FUTEX_WAIT_PRIVATE, WATCHING, &ts);
    }
    return nullptr;
}

static void state_set(uint32_t to)
{
    __atomic_store_n(&state, to, __ATOMIC_SEQ_CST);
    host_call(__NR_futex, &state, FUTEX_WAKE_PRIVATE, 1);
}

void watchdog_awake(void)
{
    uint32_t s = RESTING;
    if (__atomic_compare_exchange_n(&state, &s, WATCHING, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        host_call(__NR_futex, &state, FUTEX_WAKE_PRIVATE, 1);
}
bool watchdog_rests(void)
{
    return __atomic_load_n(&state, __ATOMIC_SEQ_CST) == RESTING;
}

// --- start and stop ------------------------------------------------------------------------------
int watchdog_start(uint32_t ms)
{
    struct sigaction sa = {.sa_sigaction = on_stuck, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    limit_ms = ms ? MAX(ms, LOOKS) : STUCK_MS;
    __atomic_store_n(&state, WATCHING, __ATOMIC_SEQ_CST);
    own_pid = (int)host_call(__NR_getpid);
    if (sigaction(SIGURG, &sa, nullptr))
        return -EINVAL;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, NACRE_ASAN || NACRE_TSAN ? 512 << 10 : 128 << 10);
    int err = pthread_create(&thread, &attr, watchdog_main, nullptr);
    pthread_attr_destroy(&attr);
    started = !err;
    return -err;
}

void watchdog_stop(void)
{
    if (!started)
        return;
    state_set(ENDING);
    pthread_join(thread, nullptr);
    free(altstack);
    altstack = nullptr;
    started = false;
}
