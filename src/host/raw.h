// SPDX-License-Identifier: Apache-2.0
// Raw host system calls: result or -errno. The kernel never uses libc's errno-setting wrappers from
// a fiber: a fiber may continue on another thread, and errno is thread-local.
#pragma once
#include "base/attr.h"
#include <asm/unistd.h>

static inline long host_call6(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long ret;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
#define HOST_CALL_X(nr, a, b, c, d, e, f, ...) \
    host_call6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
// host_call(__NR_x, up to six arguments)
#define host_call(nr, ...) HOST_CALL_X(nr __VA_OPT__(, ) __VA_ARGS__, 0, 0, 0, 0, 0, 0)
