// SPDX-License-Identifier: Apache-2.0
// Harness of the platforms' tests, see platform_test.c: a guest is hand-written code, the test is its
// kernel. Bodies run in a fiber of a child that is pid 1 of a pid namespace: CHECK there, not assert.
#pragma once
#include "base/assert.h"
#include "base/test.h"
#include "platform/platform.h"
#include "sched/fiber.h"
#include <errno.h>

constexpr uint64_t TEXT = 0x400000, STACK = 0x600000, DATA = 0x700000, SIZE = 0x10000;
extern const struct platform_ops *P; // the platform under test

void platform_boot(const struct platform_ops *p, void (*body)(void));
#define SYSTRAP_TEST(name)                                                 \
    static void body_##name(void);                                         \
    TEST(systrap_##name) { platform_boot(&systrap_ops, body_##name); }     \
    static void body_##name(void)
#define PLATFORM_TEST(name)                                                \
    static void body_##name(void);                                         \
    TEST(systrap_##name) { platform_boot(&systrap_ops, body_##name); }     \
    TEST(ptrace_##name) { platform_boot(&ptrace_ops, body_##name); }       \
    static void body_##name(void)

// A guest task and what its "kernel" does with its calls.
struct guest {
    struct aspace *as;
    struct pcontext *ctx;
    struct user_regs r;
    struct pevent ev;
    bool (*call)(struct guest *); // false: stop
    struct fiber *waiter;
    uint64_t calls, interrupts, exit_code;
    uint64_t tramp, patches; // page of trampolines, places taken
    struct ppatch patched;   // the last one
    bool keep; // guest_spawn: the context is not freed
    bool done;
};
// Code [start, end) at TEXT, with memory at STACK and DATA; registers to start it at entry.
void guest_load(struct aspace *as, struct pcontext *ctx, const char *start, const char *end);
void guest_regs(struct user_regs *r, const char *start, const char *entry);
void guest_free(struct guest *g);
// A space of its own with the code of platform_test.c, from entry.
void guest_new(struct guest *g, const char *entry);
extern const char g_zmm[], g_ymm[]; // there, for platform_fp_test.c
extern const char g_start[], g_end[], g_regs[], g_spin[]; // ... and platform_space_test.c
bool call_regs(struct guest *g);                  // the kernel of g_regs: looks at all registers
void check_exit(struct guest *g, uint64_t code);
// Until exit (call 60), an event that is no call, or until the handler says so.
void guest_run(struct guest *g);
// The same in a fiber of its own, which frees the context at the end.
void guest_spawn(struct guest *g);
void guest_join(struct guest *g);
void guest_sleep_ms(int ms);
bool guest_stop_after_2000(struct guest *g);
