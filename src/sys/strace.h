// SPDX-License-Identifier: Apache-2.0
// --strace: decoded guest system calls in the log, from the argument kinds of the table's rows.
#pragma once
#include "task/task.h"

// list: null or "" for all calls, else comma-separated names; -EINVAL (and *bad, a copy of the
// offending name in buf) for a name that is no system call. Before lockdown.
MUST_CHECK int strace_configure(const char *list, char *bad, size_t n);
bool strace_wants(uint64_t nr);
// Prints one call after it returned (and exit, execve before they run). Reads guest memory: called
// from the task's own fiber with no lock held.
void strace_print(struct task *t, uint64_t nr, const uint64_t args[6], long result, bool returned);
