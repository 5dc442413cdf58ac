// SPDX-License-Identifier: Apache-2.0
// seccomp(2) for guests: filters of their own over our system calls, and the profile of an OCI
// config. (Nacre's own walls are host/seccomp.h.)
//
// A chain of filters is immutable once attached: a new filter points to the older ones and holds
// them. task.seccomp is changed under group->sig_lock, by the task itself or by a thread of its group
// (TSYNC), and then always to a descendant, so that the task reads it without the lock.
#pragma once
#include "kern/cbpf.h"
#include "task/task.h"

// Adds the program to t (the caller, or a task not yet published). flags: SECCOMP_FILTER_FLAG_TSYNC,
// _TSYNC_ESRCH, _LOG, _SPEC_ALLOW. 0; -EINVAL, -ENOMEM; with TSYNC the number of a thread that has
// other filters (or -ESRCH). Permission is the caller's to check.
MUST_CHECK long seccomp_attach(struct task *t, const struct sock_filter *prog, size_t n, unsigned flags);
MUST_CHECK int seccomp_set_strict(struct task *t); // 0 or -EINVAL
int seccomp_mode(const struct task *t);            // SECCOMP_MODE_*
uint32_t seccomp_count(const struct task *t);      // filters in the chain
// Before a call is dispatched, for tasks with a mode. True: go on. False: *ret is the result; the
// thread may have been sent a signal, or does not come back at all.
bool seccomp_allows(struct task *t, uint32_t arch, long *ret);
// No filter of t has ever to see call nr (x86-64): it is allowed whatever its arguments.
bool seccomp_always_allows(const struct task *t, int nr);
void seccomp_inherit_locked(struct task *child, const struct task *parent); // [parent's sig_lock]
void seccomp_drop(struct task *t);
// no_new_privs, from prctl or from another thread's TSYNC.
bool task_no_new_privs(const struct task *t);
// PR_GET_SECCOMP, PR_SET_SECCOMP. (sys/seccomp.c)
long prctl_seccomp(struct task *t, int op, uint64_t mode, uaddr_t args);
// Some call that the platform's stub could answer by itself has to be seen by a filter.
bool seccomp_wants_all(const struct task *t);
