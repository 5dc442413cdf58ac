// SPDX-License-Identifier: Apache-2.0
// CHECK is always on and cheap; ASSERT is for debug builds. Neither is ever used on guest input:
// a broken invariant of ours ends the sandbox, never limps on.
#pragma once
#include "base/attr.h"

[[noreturn]] PRINTF_LIKE(3, 4) void panic_at(const char *file, int line, const char *fmt, ...);
// Called once by the first panic, after its message and before the end: must not panic or lock.
extern void (*panic_hook)(void);
#define panic(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(c)                                    \
    do {                                            \
        if (unlikely(!(c)))                         \
            panic("check failed: %s", #c);          \
    } while (0)
#ifdef NACRE_DEBUG
#define ASSERT(c) CHECK(c)
#else
#define ASSERT(c) ((void)sizeof(!(c)))
#endif
