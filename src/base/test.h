// SPDX-License-Identifier: Apache-2.0
// Unit tests: TEST(name) { ... } registers a cmocka test of its own. Assertions are cmocka's
// (assert_int_equal ...) and work on the test's own stack only: inside a fiber or a second thread
// use CHECK. A test that must see a panic uses assert_panics.
#pragma once
#include "base/attr.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

struct test_case {
    const char *file, *name;
    void (*fn)(void **);
    struct test_case *next;
};
void test_register(struct test_case *t);
#define TEST(n)                                                                       \
    static void test_fn_##n(void **);                                                 \
    __attribute__((constructor)) static void test_reg_##n(void)                       \
    {                                                                                 \
        static struct test_case t = {.file = __FILE__, .name = #n, .fn = test_fn_##n}; \
        test_register(&t);                                                            \
    }                                                                                 \
    static void test_fn_##n(UNUSED void **test_state)

// Runs fn in a child process; true when it ended by panic.
bool test_panics(void (*fn)(void));
#define assert_panics(fn) assert_true(test_panics(fn))
