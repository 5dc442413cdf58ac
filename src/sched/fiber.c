// SPDX-License-Identifier: Apache-2.0
// Fibers: stacks, switching, parking and waking. See internal.h for the parking protocol.
#include "base/slab.h"
#include "host/raw.h"
#include "sched/internal.h"
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

void sched_switch(void **save_sp, void *to_sp);
void sched_fiber_entry(void);
void sched_fiber_main(struct fiber *f);

SLAB_DEFINE(fiber_slab, struct fiber);

// --- stacks ------------------------------------------------------------------------------------
constexpr size_t STACK_DEFAULT = NACRE_ASAN || NACRE_TSAN ? 128 << 10 : 32 << 10;
constexpr unsigned STACK_CACHE = 32;
static struct spinlock stack_lock;
static char *stack_cache[STACK_CACHE]; // [stack_lock]
static unsigned stack_cached;          // [stack_lock]
size_t fiber_stack_size = STACK_DEFAULT;

static char *stack_new(size_t size)
{
    char *p = nullptr;
    spin_lock(&stack_lock);
    if (stack_cached)
        p = stack_cache[--stack_cached];
    spin_unlock(&stack_lock);
    if (p)
        return p;
    long r = host_call(__NR_mmap, 0, size + PAGE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (r < 0 && r > -4096)
        return nullptr;
    if (host_call(__NR_mprotect, r, PAGE_SIZE, PROT_NONE) != 0) {
        host_call(__NR_munmap, r, size + PAGE_SIZE);
        return nullptr;
    }
    return (char *)r + PAGE_SIZE;
}

static void stack_free(char *p, size_t size)
{
    spin_lock(&stack_lock);
    bool keep = stack_cached < STACK_CACHE && size == fiber_stack_size;
    if (keep)
        stack_cache[stack_cached++] = p;
    spin_unlock(&stack_lock);
    if (!keep)
        host_call(__NR_munmap, p - PAGE_SIZE, size + PAGE_SIZE);
}

void fiber_stacks_free(void)
{
    while (stack_cached)
        host_call(__NR_munmap, stack_cache[--stack_cached] - PAGE_SIZE,
                  fiber_stack_size + PAGE_SIZE);
}

// --- who am I ----------------------------------------------------------------------------------
static _Thread_local struct fiber thread_fiber = {.is_thread = true};

// Not inlined and opaque to the optimiser: a fiber may ask again on another thread.
NOINLINE static struct fiber *thread_stand_in(void)
{
    struct fiber *f = &thread_fiber;
    __asm__ volatile("" : "+r"(f));
    return f;
}

struct fiber *fiber_current(void)
{
    struct worker *w = worker_self();
    return w ? w->current : nullptr;
}
struct fiber *fiber_self(void)
{
    struct fiber *f = fiber_current();
    return f ? f : thread_stand_in();
}
void *fiber_data(void)
{
    struct fiber *f = fiber_current();
    return f ? f->data : nullptr;
}
void *fiber_local(void)
{
    struct fiber *f = fiber_current();
    return f ? f->local : nullptr;
}
void fiber_set_local(void *p)
{
    struct fiber *f = fiber_current();
    if (f)
        f->local = p;
}

// --- life --------------------------------------------------------------------------------------
static void park_timeout(struct timer *t)
{
    struct fiber *f = container_of(t, struct fiber, timer);
    __atomic_store_n(&f->timed_out, true, __ATOMIC_RELEASE);
    fiber_wake(f);
}

// What sched_switch pops, lowest address first.
struct switch_frame {
    uint32_t mxcsr;
    uint16_t fcw, pad;
    uint64_t r15, r14, r13, r12, rbx, rbp, rip;
};
static_assert(sizeof(struct switch_frame) == 64);

struct fiber *fiber_new(void (*fn)(void *), void *arg, void *data)
{
    struct fiber *f = slab_alloc(&fiber_slab);
    if (!f)
        return nullptr;
    f->stack_size = fiber_stack_size;
    f->stack = stack_new(f->stack_size);
    if (!f->stack) {
        slab_free(&fiber_slab, f);
        return nullptr;
    }
    f->fn = fn;
    f->arg = arg;
    f->data = data;
    list_init(&f->link);
    timer_init(&f->timer, park_timeout);
    struct switch_frame *s = (struct switch_frame *)(f->stack + f->stack_size) - 1;
    *s = (struct switch_frame){.mxcsr = 0x1f80, .fcw = 0x37f, .rbx = (uintptr_t)f,
                               .rip = (uintptr_t)sched_fiber_entry};
    f->sp = s;
#if NACRE_TSAN
    f->tsan = __tsan_create_fiber(0);
#endif
    return f;
}

void fiber_start(struct fiber *f)
{
    worker_push(f);
}

static void fiber_free(struct fiber *f)
{
#if NACRE_TSAN
    __tsan_destroy_fiber(f->tsan);
#endif
    stack_free(f->stack, f->stack_size);
    slab_free(&fiber_slab, f);
}

__attribute__((used)) void sched_fiber_main(struct fiber *f)
{
#if NACRE_ASAN
    struct worker *w = worker_self();
    __sanitizer_finish_switch_fiber(nullptr, &w->asan_bottom, &w->asan_size);
#endif
    f->fn(f->arg);
    fiber_exit(nullptr, nullptr);
}

void fiber_exit(void (*last)(void *), void *arg)
{
    struct worker *w = worker_self();
    struct fiber *f = w->current;
    CHECK(f && f->nheld == 0);
    w->last_fn = last;
    w->last_arg = arg;
    fiber_leave(w, f, AFTER_EXIT);
    panic("an ended fiber ran again");
}

// --- switching ---------------------------------------------------------------------------------
// From the fiber to its worker's loop; returns when the fiber runs again, perhaps elsewhere.
void fiber_leave(struct worker *w, struct fiber *f, enum after after)
{
    w->after = after;
#if NACRE_ASAN
    __sanitizer_start_switch_fiber(after == AFTER_EXIT ? nullptr : &f->asan_fake, w->asan_bottom,
                                   w->asan_size);
#endif
#if NACRE_TSAN
    __tsan_switch_to_fiber(w->tsan, 0);
#endif
    sched_switch(&f->sp, w->loop_sp);
#if NACRE_ASAN
    w = worker_self();
    __sanitizer_finish_switch_fiber(f->asan_fake, &w->asan_bottom, &w->asan_size);
#endif
}

// Worker loop: runs f until it leaves, then does what it asked for on the worker's own stack.
void fiber_run(struct worker *w, struct fiber *f)
{
    w->current = f;
    WRITE_SHARED(f->last, w);
#if NACRE_ASAN
    __sanitizer_start_switch_fiber(&w->asan_fake, f->stack, f->stack_size);
#endif
#if NACRE_TSAN
    __tsan_switch_to_fiber(f->tsan, 0);
#endif
    sched_switch(&w->loop_sp, f->sp);
#if NACRE_ASAN
    __sanitizer_finish_switch_fiber(w->asan_fake, nullptr, nullptr);
#endif
    w->current = nullptr;
    if (likely(w->after == AFTER_PARK)) {
        uint32_t s = FIBER_PARKING;
        if (!__atomic_compare_exchange_n(&f->state, &s, FIBER_PARKED, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_RELAXED)) {
            // Woken while it was on its way: the token is used up by running on.
            __atomic_store_n(&f->state, FIBER_RUN, __ATOMIC_RELAXED);
            worker_push(f);
        }
    } else if (w->after == AFTER_YIELD) {
        worker_push(f);
    } else {
        void (*last)(void *) = w->last_fn;
        void *arg = w->last_arg;
        fiber_free(f);
        if (last)
            last(arg);
    }
}

// --- parking -----------------------------------------------------------------------------------
static bool token_take(struct fiber *f)
{
    uint32_t s = FIBER_TOKEN;
    return __atomic_load_n(&f->state, __ATOMIC_RELAXED) == FIBER_TOKEN &&
           __atomic_compare_exchange_n(&f->state, &s, FIBER_RUN, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

bool fiber_park_begin(struct fiber *f)
{
    uint32_t s = FIBER_RUN;
    if (__atomic_compare_exchange_n(&f->state, &s, FIBER_PARKING, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return true;
    __atomic_store_n(&f->state, FIBER_RUN, __ATOMIC_RELAXED);
    return false;
}

bool fiber_claim(struct fiber *f)
{
    uint32_t s = FIBER_PARKED;
    return __atomic_compare_exchange_n(&f->state, &s, FIBER_RUN, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

void fiber_wake(struct fiber *f)
{
    uint32_t s = __atomic_load_n(&f->state, __ATOMIC_RELAXED), to;
    do {
        // Also when the token is there already: orders our writes before the fiber's next look.
        to = s == FIBER_PARKED && !f->is_thread ? FIBER_RUN : FIBER_TOKEN;
    } while (!__atomic_compare_exchange_n(&f->state, &s, to, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    if (s != FIBER_PARKED)
        return;
    if (f->is_thread)
        host_call(__NR_futex, &f->state, FUTEX_WAKE_PRIVATE, 1);
    else
        worker_push(f);
}

static uint32_t intr_mask(enum park_mode mode)
{
    return mode == PARK_INTERRUPTIBLE ? FIBER_INTR_SIGNAL | FIBER_INTR_KILL
           : mode == PARK_KILLABLE    ? FIBER_INTR_KILL
                                      : 0;
}
static bool interrupted(const struct fiber *f, enum park_mode mode)
{
    return mode != PARK_UNINTERRUPTIBLE &&
           (__atomic_load_n(&f->intr, __ATOMIC_ACQUIRE) & intr_mask(mode));
}

void fiber_interrupt(struct fiber *f, uint32_t flags)
{
    __atomic_fetch_or(&f->intr, flags, __ATOMIC_RELEASE);
    fiber_wake(f);
}
void fiber_clear_interrupt(struct fiber *f, uint32_t flags)
{
    __atomic_fetch_and(&f->intr, ~flags, __ATOMIC_ACQ_REL);
}
bool fiber_interrupted(enum park_mode mode)
{
    return interrupted(fiber_self(), mode);
}

int fiber_park_mode(const struct fiber *f)
{
    return __atomic_load_n(&f->state, __ATOMIC_RELAXED) == FIBER_PARKED ? READ_SHARED(f->mode) : -1;
}

// A host thread outside any fiber sleeps on its own state word. True: the deadline passed.
static bool thread_park(struct fiber *f, ktime_t deadline)
{
    struct timespec ts = {deadline / 1000000000, deadline % 1000000000};
    long r = 0;
    if (!fiber_park_begin(f))
        return false;
    uint32_t s = FIBER_PARKING;
    if (__atomic_compare_exchange_n(&f->state, &s, FIBER_PARKED, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED)) {
        while (__atomic_load_n(&f->state, __ATOMIC_ACQUIRE) == FIBER_PARKED && r != -ETIMEDOUT)
            r = host_call(__NR_futex, &f->state, FUTEX_WAIT_BITSET_PRIVATE, FIBER_PARKED,
                          deadline == KTIME_MAX ? nullptr : &ts, 0, FUTEX_BITSET_MATCH_ANY);
    }
    // A token that came together with the timeout counts as a wake.
    return __atomic_exchange_n(&f->state, FIBER_RUN, __ATOMIC_ACQ_REL) == FIBER_PARKED;
}

void fiber_set_caller(struct user_wait *uw)
{
    struct fiber *f = fiber_current();
    if (f)
        f->caller = uw;
}
// What the guest waits for takes until somebody wakes us: it spins only where a CPU is left over.
static void caller_rest(struct fiber *f)
{
    struct user_wait *uw = f->caller;
    if (uw && uw->rest && sched_crowded(worker_self()))
        uw->rest(uw);
}

int fiber_park(ktime_t deadline, enum park_mode mode)
{
    struct fiber *f = fiber_self();
    bool late = false;
    if (interrupted(f, mode))
        return -EINTR;
    if (token_take(f))
        return 0;
    if (deadline != KTIME_MAX && deadline <= ktime_now())
        return -ETIMEDOUT;
    WRITE_SHARED(f->mode, (uint8_t)mode);
    f->slept = true;
    caller_rest(f);
    if (f->is_thread) {
        late = thread_park(f, deadline);
    } else if (deadline == KTIME_MAX) {
        if (fiber_park_begin(f))
            fiber_leave(worker_self(), f, AFTER_PARK);
    } else {
        __atomic_store_n(&f->timed_out, false, __ATOMIC_RELAXED);
        timer_arm(&f->timer, deadline);
        if (fiber_park_begin(f))
            fiber_leave(worker_self(), f, AFTER_PARK);
        timer_cancel_sync(&f->timer);
        late = __atomic_load_n(&f->timed_out, __ATOMIC_ACQUIRE);
    }
    if (interrupted(f, mode))
        return -EINTR;
    return late ? -ETIMEDOUT : 0;
}

// --- clocks (the vDSO: no host call, no errno on success) ----------------------------------------
static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return ts.tv_sec * (int64_t)1000000000 + ts.tv_nsec;
}
ktime_t ktime_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}
int64_t ktime_realtime(void)
{
    return clock_ns(CLOCK_REALTIME);
}
int64_t ktime_boottime(void)
{
    return clock_ns(CLOCK_BOOTTIME);
}
