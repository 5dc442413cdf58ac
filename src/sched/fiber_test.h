// SPDX-License-Identifier: Apache-2.0
// For unit tests that run fibers: they are counted, and the end of the last one stops the scheduler.
#pragma once
#include "base/assert.h"
#include "sched/fiber.h"
#include <stdlib.h>

static int alive; // [A] fibers of the running test
struct body {
    void (*fn)(void *);
    void *arg;
};
static void last_one(UNUSED void *arg)
{
    if (__atomic_sub_fetch(&alive, 1, __ATOMIC_ACQ_REL) == 0)
        sched_stop();
}
static void body_main(void *p)
{
    struct body *b = p;
    b->fn(b->arg);
    free(b);
    fiber_exit(last_one, nullptr);
}
static struct fiber *spawn_with(void (*fn)(void *), void *arg, void *data)
{
    struct body *b = malloc(sizeof(*b));
    CHECK(b);
    *b = (struct body){fn, arg};
    struct fiber *f = fiber_new(body_main, b, data);
    CHECK(f);
    __atomic_add_fetch(&alive, 1, __ATOMIC_RELAXED);
    fiber_start(f);
    return f;
}
