// SPDX-License-Identifier: Apache-2.0
// Expands syscalls.def: prototypes (a handler that disagrees does not compile), one thunk per call,
// all of one type (so that cfi-icall can check the indirect call), and the table by number.
#include "sys/protos.h"
#include "abi/errno.h"
#include "base/log.h"
#include <linux/capability.h>
#include <sys/syscall.h>

// 1. thunks
#define SYS0(name, level, note)                          \
    static long thunk_##name(struct task *t, const uint64_t a[6])    \
    {                                                                \
        return sys_##name(t);                               \
    }
#define SYS1(name, level, k0, a0, note)                          \
    static long thunk_##name(struct task *t, const uint64_t a[6])    \
    {                                                                \
        return sys_##name(t, TO_##k0(a[0]));                               \
    }
#define SYS2(name, level, k0, a0, k1, a1, note)                          \
    static long thunk_##name(struct task *t, const uint64_t a[6])    \
    {                                                                \
        return sys_##name(t, TO_##k0(a[0]), TO_##k1(a[1]));                               \
    }
#define SYS3(name, level, k0, a0, k1, a1, k2, a2, note)                          \
    static long thunk_##name(struct task *t, const uint64_t a[6])    \
    {                                                                \
        return sys_##name(t, TO_##k0(a[0]), TO_##k1(a[1]), TO_##k2(a[2]));                               \
    }
#define SYS4(name, level, k0, a0, k1, a1, k2, a2, k3, a3, note)                          \
    static long thunk_##name(struct task *t, const uint64_t a[6])    \
    {                                                                \
        return sys_##name(t, TO_##k0(a[0]), TO_##k1(a[1]), TO_##k2(a[2]), TO_##k3(a[3]));                               \
    }
#define SYS5(name, level, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, note)                          \
    static long thunk_##name(struct task *t, const uint64_t a[6])    \
    {                                                                \
        return sys_##name(t, TO_##k0(a[0]), TO_##k1(a[1]), TO_##k2(a[2]), TO_##k3(a[3]), TO_##k4(a[4]));                               \
    }
#define SYS6(name, level, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, k5, a5, note)                          \
    static long thunk_##name(struct task *t, const uint64_t a[6])    \
    {                                                                \
        return sys_##name(t, TO_##k0(a[0]), TO_##k1(a[1]), TO_##k2(a[2]), TO_##k3(a[3]), TO_##k4(a[4]), TO_##k5(a[5]));                               \
    }
#define NOSYS(name, note)
#define NEEDCAP(name, cap, note)                                     \
    static long thunk_##name(struct task *t, const uint64_t a[6])    \
    {                                                                \
        return cred_capable(t->cred, cap) ? -ENOSYS : -EPERM;        \
    }
#include "sys/syscalls.def"
#undef SYS0
#undef SYS1
#undef SYS2
#undef SYS3
#undef SYS4
#undef SYS5
#undef SYS6
#undef NOSYS
#undef NEEDCAP

// 2. the table
#define LEVEL_FULL(note) static_assert(sizeof(note) >= 1)
#define SYS0(name_, level_, note_) [__NR_##name_] = {.name = #name_, .fn = thunk_##name_, .kinds = "", .level = #level_, .note = note_, .nargs = 0},
#define SYS1(name_, level_, k0, a0, note_) [__NR_##name_] = {.name = #name_, .fn = thunk_##name_, .kinds = #k0 " " #a0, .level = #level_, .note = note_, .nargs = 1},
#define SYS2(name_, level_, k0, a0, k1, a1, note_) [__NR_##name_] = {.name = #name_, .fn = thunk_##name_, .kinds = #k0 " " #a0 "," #k1 " " #a1, .level = #level_, .note = note_, .nargs = 2},
#define SYS3(name_, level_, k0, a0, k1, a1, k2, a2, note_) [__NR_##name_] = {.name = #name_, .fn = thunk_##name_, .kinds = #k0 " " #a0 "," #k1 " " #a1 "," #k2 " " #a2, .level = #level_, .note = note_, .nargs = 3},
#define SYS4(name_, level_, k0, a0, k1, a1, k2, a2, k3, a3, note_) [__NR_##name_] = {.name = #name_, .fn = thunk_##name_, .kinds = #k0 " " #a0 "," #k1 " " #a1 "," #k2 " " #a2 "," #k3 " " #a3, .level = #level_, .note = note_, .nargs = 4},
#define SYS5(name_, level_, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, note_) [__NR_##name_] = {.name = #name_, .fn = thunk_##name_, .kinds = #k0 " " #a0 "," #k1 " " #a1 "," #k2 " " #a2 "," #k3 " " #a3 "," #k4 " " #a4, .level = #level_, .note = note_, .nargs = 5},
#define SYS6(name_, level_, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, k5, a5, note_) [__NR_##name_] = {.name = #name_, .fn = thunk_##name_, .kinds = #k0 " " #a0 "," #k1 " " #a1 "," #k2 " " #a2 "," #k3 " " #a3 "," #k4 " " #a4 "," #k5 " " #a5, .level = #level_, .note = note_, .nargs = 6},
#define NOSYS(name_, note_) [__NR_##name_] = {.name = #name_, .kinds = "", .level = "ENOSYS", .note = note_},
#define NEEDCAP(name_, cap, note_) [__NR_##name_] = {.name = #name_, .fn = thunk_##name_, .kinds = "", .level = #cap, .note = note_},
const struct syscall_row syscall_table[SYSCALL_TABLE_LEN] = {
#include "sys/syscalls.def"
};

// The number and arguments are the guest's registers, as the platform reported them: any value.
long syscall_dispatch(struct task *t)
{
    uint64_t nr = (uint32_t)t->regs.orig_rax; // Linux looks at 32 bits
    const uint64_t a[6] = {t->regs.rdi, t->regs.rsi, t->regs.rdx, t->regs.r10, t->regs.r8, t->regs.r9};
    if (nr >= SYSCALL_TABLE_LEN)
        return -ENOSYS;
    const struct syscall_row *row = &syscall_table[nr];
    if (!row->fn)
        return -ENOSYS;
    return row->fn(t, a);
}

// For the watchdog, in a signal handler of the task's own worker.
static void stuck_report(void *data)
{
    struct task *t = data;
    if (!t) {
        log_write(LOG_WARN, "it runs work of the kernel's own");
        return;
    }
    uint64_t nr = (uint32_t)t->regs.orig_rax;
    const char *name = nr < SYSCALL_TABLE_LEN ? syscall_table[nr].name : nullptr;
    log_write(LOG_WARN, "it runs task %d (%.16s), system call %d (%s)", t->pid->nr[0], t->comm,
              (int)nr, name ? name : "none");
}

[[gnu::constructor]] static void dispatch_register(void)
{
    sched_stuck_hook = stuck_report;
    task_syscall = syscall_dispatch;
}
