// SPDX-License-Identifier: Apache-2.0
// futex(2): private waits and wakes are handed to the host's queue through the platform, everything
// else goes to task/futex.c.
#include "task/futex.h"
#include "abi/errno.h"
#include "sys/protos.h"
#include "sys/waitarg.h"
#include "task/internal.h"
#include <linux/futex.h>

constexpr int OP_FLAGS = FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME;
constexpr int64_t NO_DEADLINE = INT64_MAX;

static bool word_ok(struct task *t, uaddr_t a)
{
    return a.v < t->ctx->ops->task_size() - 3;
}

// A call in the host's queue, as the context's thread. While it is there we count as in user mode:
// a signal interrupts it through the platform.
static long host_futex(struct task *t, const struct pfutex *p)
{
    for (;;) {
        task_user_enter(t);
        WRITE_SHARED(t->user_futex, true);
        long r = READ_SHARED(t->sig_work) ? -EINTR : t->ctx->ops->futex(t->ctx, p);
        WRITE_SHARED(t->user_futex, false);
        task_user_leave(t);
        if (r == -ESRCH) { // the stub is gone: run() will say so
            task_exit_group(t, SIGKILL);
            return -EINTR;
        }
        if (r != -EINTR || signal_pending(t))
            return r;
        if (READ_SHARED(t->sample_cpu))
            task_sample_cpu(t);
        if (READ_SHARED(t->group->cpu_timer_armed))
            timers_check_cpu(t);
    }
}

static ktime_t to_monotonic(int64_t deadline, bool realtime)
{
    int64_t r;
    if (deadline == NO_DEADLINE || !realtime)
        return deadline;
    return __builtin_add_overflow(deadline, ktime_now() - ktime_realtime(), &r) ? KTIME_MAX : r;
}

static long wait_once(struct task *t, uaddr_t addr, int op, uint32_t val, uint32_t bitset,
                      int64_t deadline)
{
    bool realtime = op & FUTEX_CLOCK_REALTIME;
    if (!(op & FUTEX_PRIVATE_FLAG))
        return futex_wait(t, addr, val, bitset, to_monotonic(deadline, realtime));
    if (!bitset)
        return -EINVAL;
    struct pfutex p = {
        .uaddr = addr,
        .op = FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | (realtime ? FUTEX_CLOCK_REALTIME : 0),
        .val = val,
        .val3 = bitset,
        .has_timeout = deadline != NO_DEADLINE,
        .timeout_ns = deadline,
    };
    return host_futex(t, &p);
}

static long wait_restart(struct task *t);

static long do_wait(struct task *t, uaddr_t addr, int op, uint32_t val, uint32_t bitset, int64_t deadline)
{
    long r = wait_once(t, addr, op, val, bitset, deadline);
    if (r != -EINTR)
        return r;
    if (deadline == NO_DEADLINE)
        return -ERESTARTSYS;
    t->restart_fn = wait_restart;
    t->restart.futex.uaddr = addr;
    t->restart.futex.val = val;
    t->restart.futex.bitset = bitset;
    t->restart.futex.deadline = deadline;
    t->restart.futex.op = op;
    return -ERESTART_RESTARTBLOCK;
}

static long wait_restart(struct task *t)
{
    return do_wait(t, t->restart.futex.uaddr, t->restart.futex.op, t->restart.futex.val,
                   t->restart.futex.bitset, t->restart.futex.deadline);
}

static int get_deadline(struct task *t, uaddr_t timeout, bool relative, int64_t *deadline)
{
    struct timespec ts;
    *deadline = NO_DEADLINE;
    if (uaddr_null(timeout))
        return 0;
    if (get_user(t->mm, timeout, ts) != 0)
        return -EFAULT;
    if (!timespec_valid(&ts))
        return -EINVAL;
    int64_t ns = timespec_ns(&ts);
    *deadline = relative ? deadline_after(ns) : ns;
    if (relative && t->futex_deadline) // it has waited for a while already
        *deadline = t->futex_deadline;
    if (*deadline == NO_DEADLINE)
        *deadline = NO_DEADLINE - 1; // far away, but a timeout: restarts as one
    return 0;
}

static long host_plain(struct task *t, uaddr_t addr, int op, uint32_t val, uint64_t val2,
                       uaddr_t addr2, uint32_t val3)
{
    struct pfutex p = {.uaddr = addr, .uaddr2 = addr2, .op = op, .val = val, .val2 = val2, .val3 = val3};
    return t->ctx->ops->futex(t->ctx, &p);
}

static long pi_result(long r)
{
    return r == -EINTR ? -ERESTARTNOINTR : r;
}

long sys_futex(struct task *t, uaddr_t addr, int op, uint32_t val, uaddr_t timeout, uaddr_t addr2,
               uint32_t val3)
{
    int cmd = op & ~OP_FLAGS;
    bool private = op & FUTEX_PRIVATE_FLAG;
    int64_t deadline;
    int err = 0;
    if ((op & FUTEX_CLOCK_REALTIME) && cmd != FUTEX_WAIT_BITSET && cmd != FUTEX_WAIT_REQUEUE_PI &&
        cmd != FUTEX_LOCK_PI2)
        return -ENOSYS;
    if (!word_ok(t, addr))
        return addr.v & 3 ? -EINVAL : -EFAULT;
    switch (cmd) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
        err = get_deadline(t, timeout, cmd == FUTEX_WAIT, &deadline);
        return err ? err : do_wait(t, addr, op, val, cmd == FUTEX_WAIT ? FUTEX_BITSET_MATCH_ANY : val3, deadline);
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
        if (private)
            return host_plain(t, addr, op, val, 0, UADDR(0), val3);
        return futex_wake(t, addr, (int)val, cmd == FUTEX_WAKE ? FUTEX_BITSET_MATCH_ANY : val3);
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
        if (!word_ok(t, addr2))
            return -EFAULT;
        if (private)
            return host_plain(t, addr, op, val, timeout.v, addr2, val3);
        return futex_requeue(t, addr, addr2, (int)val, (int)timeout.v, cmd == FUTEX_CMP_REQUEUE ? &val3 : nullptr);
    case FUTEX_WAKE_OP:
        if (!word_ok(t, addr2))
            return -EFAULT;
        return futex_wake_op(t, addr, addr2, (int)val, (int)timeout.v, val3, private);
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
        err = get_deadline(t, timeout, false, &deadline);
        return err ? err : pi_result(futex_lock_pi(t, addr, to_monotonic(deadline, cmd == FUTEX_LOCK_PI ||
                                     (op & FUTEX_CLOCK_REALTIME)), false));
    case FUTEX_TRYLOCK_PI:
        return futex_lock_pi(t, addr, KTIME_MAX, true);
    case FUTEX_UNLOCK_PI:
        return futex_unlock_pi(t, addr);
    default:
        return -ENOSYS;
    }
}

long sys_set_robust_list(struct task *t, uaddr_t head, size_t len)
{
    if (len != 24)
        return -EINVAL;
    t->robust_list = head;
    t->robust_len = len;
    return 0;
}

long sys_get_robust_list(struct task *t, int pid, uaddr_t head, uaddr_t len)
{
    struct task *o = pid ? task_find(t->pidns, pid) : task_get(t);
    uint64_t size = 24;
    if (!o)
        return -ESRCH;
    int err = task_may_access(o);
    uint64_t v = o->robust_list.v;
    task_put(o);
    if (!err)
        err = put_user(t->mm, len, size);
    return err ? err : put_user(t->mm, head, v);
}
