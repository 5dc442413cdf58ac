// SPDX-License-Identifier: Apache-2.0
// epoll, eventfd and pipes under load from several fibers on several workers: for lost wake-ups,
// and for the sanitizers. (What they mean is tested by the guest programs.)
#include "base/test.h"
#include "base/assert.h"
#include "fs/eventfd.h"
#include "fs/pipe.h"
#include "vfs/epoll.h"
#include "vfs/poll.h"
#include "sched/fiber_test.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static struct cred *cred;
static void spawn(void (*fn)(void *), void *arg)
{
    spawn_with(fn, arg, nullptr);
}
static void run(void (*fn)(void *), void *arg)
{
    struct sched_config cfg = {.nworkers = 3};
    cred = cred_new();
    assert_non_null(cred);
    assert_int_equal(sched_init(&cfg), 0);
    spawn(fn, arg);
    sched_run();
    assert_int_equal(alive, 0);
    cred_put(cred);
}

// --- pipes -------------------------------------------------------------------------------------
constexpr size_t STREAM = 300000;
static struct file *pr, *pw;
static size_t pipe_sum;

static void pipe_writer(UNUSED void *arg)
{
    static uint8_t chunk[5000];
    size_t left = STREAM;
    for (size_t k = 1; left; k = k * 7 % 4999 + 1) {
        struct uiovec v;
        size_t n = MIN(k, left);
        struct uio u = uio_kernel(&v, chunk, n);
        CHECK(file_write(pw, &u, nullptr) == (long)n);
        left -= n;
    }
    file_put(pw);
}
static void pipe_reader(UNUSED void *arg)
{
    uint8_t b[3000];
    for (;;) {
        struct poll_entry e = {.file = pr, .events = POLLIN | POLLHUP};
        CHECK(poll_files(&e, 1, KTIME_MAX) == 1);
        struct uiovec v;
        struct uio u = uio_kernel(&v, b, sizeof(b));
        long n = file_read(pr, &u, nullptr);
        CHECK(n >= 0);
        if (!n)
            break;
        __atomic_add_fetch(&pipe_sum, (size_t)n, __ATOMIC_RELAXED);
    }
    file_put(pr);
}
static void pipes(UNUSED void *arg)
{
    CHECK(pipe_create(0, cred, &pr, &pw) == 0);
    file_get(pw);
    spawn(pipe_writer, nullptr);
    spawn(pipe_writer, nullptr);
    spawn(pipe_reader, nullptr);
}
TEST(event_pipe_stream)
{
    pipe_sum = 0;
    run(pipes, nullptr);
    assert_int_equal(pipe_sum, 2 * STREAM);
}

// --- epoll -------------------------------------------------------------------------------------
constexpr int SETS = 6, ROUNDS = 1500;
static struct file *ep, *ev[SETS];
static int taken, done_writers;

static int count_events(UNUSED struct epoll_sink *s, UNUSED size_t at, UNUSED const struct epoll_event *e,
                        UNUSED size_t n)
{
    return 0;
}
static void signaller(void *arg)
{
    struct file *f = arg;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(eventfd_signal(f, 1));
        if (i % 8 == 0)
            fiber_yield();
    }
    __atomic_add_fetch(&done_writers, 1, __ATOMIC_SEQ_CST);
}
// Takes from whichever is ready until everything that was signalled has been seen.
static void taker(UNUSED void *arg)
{
    struct epoll_sink sink = {count_events};
    while (__atomic_load_n(&taken, __ATOMIC_SEQ_CST) < SETS * ROUNDS) {
        long n = epoll_collect(ep, &sink, 4, ktime_now() + 20000000);
        CHECK(n >= 0);
        for (int i = 0; i < SETS; i++) {
            uint64_t v = 0;
            struct uiovec vec;
            struct uio u = uio_kernel(&vec, &v, sizeof(v));
            if (file_read(ev[i], &u, nullptr) == sizeof(v))
                __atomic_add_fetch(&taken, (int)v, __ATOMIC_SEQ_CST);
        }
    }
}
static void churner(UNUSED void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        struct file *f;
        struct epoll_event e = {.events = EPOLLIN};
        CHECK(eventfd_new(1, 0, cred, &f) == 0);
        CHECK(epoll_control(ep, EPOLL_CTL_ADD, 100, f, &e) == 0);
        if (i & 1)
            CHECK(epoll_control(ep, EPOLL_CTL_DEL, 100, f, &e) == 0);
        file_put(f);
    }
}
static void epolls(UNUSED void *arg)
{
    CHECK(epoll_new(cred, &ep) == 0);
    for (int i = 0; i < SETS; i++) {
        struct epoll_event e = {.events = EPOLLIN | (i & 1 ? EPOLLET : 0), .data.u32 = (uint32_t)i};
        CHECK(eventfd_new(0, O_NONBLOCK, cred, &ev[i]) == 0);
        CHECK(epoll_control(ep, EPOLL_CTL_ADD, i, ev[i], &e) == 0);
        spawn(signaller, ev[i]);
    }
    spawn(taker, nullptr);
    spawn(taker, nullptr);
    spawn(churner, nullptr);
}
TEST(event_epoll_stress)
{
    taken = done_writers = 0;
    run(epolls, nullptr);
    assert_int_equal(taken, SETS * ROUNDS);
}

static void closing(UNUSED void *arg) // the sets and their files end in any order
{
    for (int i = 0; i < SETS; i++)
        file_put(ev[i]);
    file_put(ep);
    for (int i = 0; i < 50; i++) {
        struct file *a, *b, *c;
        struct epoll_event e = {.events = EPOLLIN};
        CHECK(epoll_new(cred, &a) == 0 && epoll_new(cred, &b) == 0 && eventfd_new(1, 0, cred, &c) == 0);
        CHECK(epoll_control(b, EPOLL_CTL_ADD, 1, c, &e) == 0);
        CHECK(epoll_control(a, EPOLL_CTL_ADD, 2, b, &e) == 0);
        CHECK(epoll_control(b, EPOLL_CTL_ADD, 3, a, &e) == -ELOOP);
        CHECK(file_poll(a, nullptr) & POLLIN);
        struct file *order[3] = {a, b, c};
        for (int k = 0; k < 3; k++)
            file_put(order[(i + k) % 3]);
    }
}
TEST(event_closing_order)
{
    run(closing, nullptr);
}
