// SPDX-License-Identifier: Apache-2.0
// Futexes in the Sentry's queue (see futex.c). Called from the task's own fiber, no lock held.
#pragma once
#include "task/task.h"

// deadline: CLOCK_MONOTONIC, KTIME_MAX for none. -ETIMEDOUT, -EINTR, -EAGAIN, -EFAULT.
long futex_wait(struct task *t, uaddr_t addr, uint32_t val, uint32_t bitset, ktime_t deadline);
long futex_wake(struct task *t, uaddr_t addr, int n, uint32_t bitset);
long futex_requeue(struct task *t, uaddr_t from, uaddr_t to, int nwake, int nrequeue,
                   const uint32_t *expect);
long futex_wake_op(struct task *t, uaddr_t a1, uaddr_t a2, int n1, int n2, uint32_t enc, bool private);
long futex_lock_pi(struct task *t, uaddr_t addr, ktime_t deadline, bool try_only);
long futex_unlock_pi(struct task *t, uaddr_t addr);
