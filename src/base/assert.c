// SPDX-License-Identifier: Apache-2.0
// The end of a process whose invariants are broken. Uses no lock, no allocation and only host calls
// that the Sentry's filter allows, so that it works in signal handlers and after lockdown.
#include "base/assert.h"
#include "base/log.h"
#include "host/raw.h"
#include <stdarg.h>
#include <stdio.h>
#include <sys/uio.h>
#if __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#endif

void (*panic_hook)(void);
static int panicking;
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static size_t clamp_len(int n, size_t cap)
{
    return n < 0 ? 0 : MIN((size_t)n, cap - 1);
}

void panic_at(const char *file, int line, const char *fmt, ...)
{
    char buf[640];
    // A panic within a panic (or on a second thread) ends at once and leaves the first's message.
    if (__atomic_exchange_n(&panicking, 1, __ATOMIC_SEQ_CST) == 0) {
        size_t n = clamp_len(snprintf(buf, sizeof(buf) - 1, "panic: %s:%d: ", file, line),
                             sizeof(buf) - 1);
        va_list ap;
        va_start(ap, fmt);
        n += clamp_len(vsnprintf(buf + n, sizeof(buf) - 1 - n, fmt, ap), sizeof(buf) - 1 - n);
        va_end(ap);
        // Relative to the image, as addr2line wants it.
        uintptr_t pc = (uintptr_t)__builtin_return_address(0) - (uintptr_t)__ehdr_start;
        n += clamp_len(snprintf(buf + n, sizeof(buf) - 1 - n, " (pc 0x%zx)", (size_t)pc),
                       sizeof(buf) - 1 - n);
        log_write(LOG_ERROR, "%s", buf);
        if (log_fd() != 2) {
            buf[n++] = '\n';
            struct iovec iov = {buf, n};
            host_call(__NR_pwritev2, 2, &iov, 1, -1, -1, 0);
        }
#if __has_feature(address_sanitizer)
        __sanitizer_print_stack_trace();
#endif
        if (panic_hook)
            panic_hook();
    }
    host_call(__NR_exit_group, 134);
    __builtin_trap();
}
