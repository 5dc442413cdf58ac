// SPDX-License-Identifier: Apache-2.0
// See crash.h. Async-signal-safe: log_write() only. The walk of frame pointers stops at the first
// that does not grow upwards within a stack's size; a bad one faults, and SA_RESETHAND ends it.
#include "host/crash.h"
#include "base/assert.h"
#include "base/log.h"
#include <signal.h>
#include <string.h>
#include <ucontext.h>

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

static void put_frame(uintptr_t pc)
{
    uintptr_t off = pc - (uintptr_t)__ehdr_start;
    if (off < (uintptr_t)etext - (uintptr_t)__ehdr_start)
        log_write(LOG_ERROR, "  at nacre+0x%lx", off);
}

void crash_backtrace(const void *frame)
{
    const uintptr_t *fp = frame;
    for (int i = 0; i < 24 && fp; i++) {
        const uintptr_t *next = (const uintptr_t *)fp[0];
        put_frame(fp[1] - 1);
        if (next <= fp || (uintptr_t)next - (uintptr_t)fp > 256 << 10)
            break;
        fp = next;
    }
}

void crash_backtrace_in(uintptr_t pc, uintptr_t fp, uintptr_t low, uintptr_t high)
{
    put_frame(pc);
    for (int i = 0; i < 24 && fp >= low && fp < high && high - fp >= 16 && fp % 8 == 0; i++) {
        const uintptr_t *at = (const uintptr_t *)fp;
        put_frame(at[1] - 1);
        if (at[0] <= fp)
            break;
        fp = at[0];
    }
}

static void on_fault(int sig, siginfo_t *si, void *ctx)
{
    const greg_t *r = ((ucontext_t *)ctx)->uc_mcontext.gregs;
    const char *name = sigabbrev_np(sig);
    log_write(LOG_ERROR, "internal fault: SIG%s, address %p", name ? name : "?", si->si_addr);
    put_frame((uintptr_t)r[REG_RIP]);
    crash_backtrace((const void *)(uintptr_t)r[REG_RBP]);
    // Returning repeats the instruction, with the default action this time.
}

static void on_panic(void)
{
    crash_backtrace(__builtin_frame_address(0));
}

void crash_report_init(void)
{
    static const int sigs[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND};
    for (size_t i = 0; i < sizeof(sigs) / sizeof(*sigs); i++)
        sigaction(sigs[i], &sa, nullptr);
    panic_hook = on_panic;
}
