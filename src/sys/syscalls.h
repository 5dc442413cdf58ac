// SPDX-License-Identifier: Apache-2.0
// The system call table: rows in syscalls.def, prototypes, dispatch.
//
// A handler `long sys_NAME(struct task *t, ...)` gets typed arguments converted by kind and returns
// the result or -errno (incl. -ERESTART*). It may park. New call: one row in the .def of its family,
// one function, one guest test.
#pragma once
#include "task/task.h"

struct syscall_row {
    const char *name;
    long (*fn)(struct task *t, const uint64_t a[6]); // null: ENOSYS
    const char *kinds;  // comma-separated argument kinds, for strace
    const char *level;  // FULL PARTIAL ENOSYS CAPS
    const char *note;
    uint8_t nargs;
};
constexpr int SYSCALL_TABLE_LEN = 512;
extern const struct syscall_row syscall_table[SYSCALL_TABLE_LEN];
struct marshal_row;
extern const struct marshal_row *const syscall_marshal; // the same rows for the stub (marshal.c)
long syscall_dispatch(struct task *t); // from t->regs; the result is not yet stored
