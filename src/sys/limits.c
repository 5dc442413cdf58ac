// SPDX-License-Identifier: Apache-2.0
// Resource limits, resource use, priorities and scheduling parameters. Scheduling is the host's:
// what is set here is checked, recorded and told back.
#include "abi/errno.h"
#include "kern/limits.h"
#include "sys/protos.h"
#include "task/internal.h"
#include <linux/capability.h>
#include <sched.h>
#include <sys/times.h>

constexpr uint64_t NR_OPEN = 1048576;

// --- rlimits ---
static int rlimit_set(struct task *t, struct thread_group *g, unsigned res, const struct rlimit64 *in)
{
    struct rlimit64 v = *in;
    if (v.rlim_cur > v.rlim_max)
        return -EINVAL;
    if (res == RLIMIT_NOFILE && v.rlim_max > NR_OPEN)
        return -EPERM;
    if (res == RLIMIT_CPU && v.rlim_cur == 0)
        v.rlim_cur = 1; // at once would be never
    int err = 0;
    spin_lock(&g->rlim_lock);
    if (v.rlim_max > g->rlim[res].rlim_max && !cred_capable(t->cred, CAP_SYS_RESOURCE))
        err = -EPERM;
    else
        g->rlim[res] = v;
    spin_unlock(&g->rlim_lock);
    if (!err && res == RLIMIT_CPU)
        timers_rlimit_cpu(g);
    return err;
}

static struct rlimit64 rlimit_get(struct thread_group *g, unsigned res)
{
    spin_lock(&g->rlim_lock);
    struct rlimit64 v = g->rlim[res];
    spin_unlock(&g->rlim_lock);
    return v;
}

long sys_getrlimit(struct task *t, uint32_t res, uaddr_t rlim)
{
    return res >= RLIM_NLIMITS ? -EINVAL : put_user(t->mm, rlim, rlimit_get(t->group, res));
}

long sys_setrlimit(struct task *t, uint32_t res, uaddr_t rlim)
{
    struct rlimit64 v;
    if (get_user(t->mm, rlim, v) != 0)
        return -EFAULT;
    return res >= RLIM_NLIMITS ? -EINVAL : rlimit_set(t, t->group, res, &v);
}

static int prlimit_permission(struct task *t, struct task *o)
{
    if (o->group == t->group || cred_capable(t->cred, CAP_SYS_RESOURCE))
        return 0;
    struct cred *c = task_cred_get(o);
    uint32_t u = t->cred->uid, g = t->cred->gid;
    bool ok = u == c->euid && u == c->suid && u == c->uid && g == c->egid && g == c->sgid && g == c->gid;
    cred_put(c);
    return ok ? 0 : -EPERM;
}

long sys_prlimit64(struct task *t, int pid, uint32_t res, uaddr_t new, uaddr_t old)
{
    struct rlimit64 v, o;
    if (res >= RLIM_NLIMITS)
        return -EINVAL;
    if (!uaddr_null(new) && get_user(t->mm, new, v) != 0)
        return -EFAULT;
    struct task *p = pid ? task_find(t->pidns, pid) : task_get(t);
    if (!p)
        return -ESRCH;
    int err = prlimit_permission(t, p);
    o = rlimit_get(p->group, res);
    if (!err && !uaddr_null(new))
        err = rlimit_set(t, p->group, res, &v);
    task_put(p);
    return err || uaddr_null(old) ? err : put_user(t->mm, old, o);
}

// --- use ---
long sys_getrusage(struct task *t, int who, uaddr_t usage)
{
    struct rusage ru;
    switch (who) {
    case RUSAGE_SELF:
        group_rusage(t->group, &ru);
        break;
    case RUSAGE_CHILDREN:
        group_rusage_children(t->group, &ru);
        break;
    case RUSAGE_THREAD:
        task_rusage(t, &ru);
        break;
    default:
        return -EINVAL;
    }
    return put_user(t->mm, usage, ru);
}

long sys_times(struct task *t, uaddr_t buf)
{
    constexpr int64_t TICK = 10000000;
    struct thread_group *g = t->group;
    if (!uaddr_null(buf)) {
        uint64_t cpu = group_cpu_ns(g);
        spin_lock(&g->sig_lock);
        struct tms v = {(clock_t)(cpu / TICK), (clock_t)(g->stime_ns / TICK),
                        (clock_t)(g->cutime_ns / TICK), (clock_t)(g->cstime_ns / TICK)};
        spin_unlock(&g->sig_lock);
        if (put_user(t->mm, buf, v) != 0)
            return -EFAULT;
    }
    return ktime_now() / TICK;
}

// --- priorities ---
static int nice_permission(struct task *t, struct task *o, int nice)
{
    struct cred *c = task_cred_get(o);
    bool owner = c->uid == t->cred->euid || c->euid == t->cred->euid;
    cred_put(c);
    bool cap = cred_capable(t->cred, CAP_SYS_NICE);
    if (!owner && !cap)
        return -EPERM;
    if (nice < o->nice && !cap && (uint64_t)(20 - nice) > task_rlimit(o, RLIMIT_NICE))
        return -EACCES;
    return 0;
}

typedef void each_fn(struct task *t, struct task *o, int *state, int arg);

static void each_of_group(struct task *t, struct thread_group *g, each_fn *fn, int *state, int arg)
{
    list_for_each(it, &g->threads)
        fn(t, list_entry(it, struct task, thread_link), state, arg);
}

// Calls fn for what (which, who) of getpriority(2) and ioprio_get(2) names. tasklist_lock is held.
static int each_named(struct task *t, int which, int who, each_fn *fn, int *state, int arg)
{
    enum : int { BY_TASK, BY_PGRP, BY_USER };
    struct pidns *ns = t->pidns;
    struct kpid *p;
    switch (which) {
    case BY_TASK:
        p = who ? kpid_find_locked(ns, who) : t->pid;
        if (p && p->task)
            fn(t, p->task, state, arg);
        return 0;
    case BY_PGRP: {
        p = who ? kpid_find_locked(ns, who) : nullptr;
        struct pgrp *g = who ? p ? p->pgrp : nullptr : t->group->pgrp;
        if (g)
            list_for_each(it, &g->members)
                each_of_group(t, list_entry(it, struct thread_group, pgrp_link), fn, state, arg);
        return 0;
    }
    case BY_USER: {
        uint32_t uid = who ? (uint32_t)who : t->cred->uid;
        for (int nr = 1; nr < PID_MAX; nr++) {
            if (!ns->leaf[nr / PID_LEAF]) {
                nr = (nr / PID_LEAF + 1) * PID_LEAF - 1;
                continue;
            }
            p = ns->leaf[nr / PID_LEAF][nr % PID_LEAF];
            if (p && p->task && p->task->cred->uid == uid)
                fn(t, p->task, state, arg);
        }
        return 0;
    }
    default:
        return -EINVAL;
    }
}

static void nice_get(struct task *t, struct task *o, int *best, int arg)
{
    *best = MAX(*best, 20 - READ_SHARED(o->nice));
}

static void nice_set(struct task *t, struct task *o, int *err, int nice)
{
    int e = nice_permission(t, o, nice);
    if (!e)
        WRITE_SHARED(o->nice, nice);
    if (*err == -ESRCH || e)
        *err = e;
}

long sys_getpriority(struct task *t, int which, int who)
{
    int best = -ESRCH;
    mutex_lock(&tasklist_lock);
    int err = each_named(t, which, who, nice_get, &best, 0);
    mutex_unlock(&tasklist_lock);
    return err ? err : best;
}

long sys_setpriority(struct task *t, int which, int who, int nice)
{
    int result = -ESRCH;
    nice = MAX(MIN(nice, 19), -20);
    mutex_lock(&tasklist_lock);
    int err = each_named(t, which, who, nice_set, &result, nice);
    mutex_unlock(&tasklist_lock);
    return err ? err : result;
}

static void ioprio_read(struct task *t, struct task *o, int *best, int arg)
{
    int v = READ_SHARED(o->ioprio);
    if (*best < 0 || (v && v < *best))
        *best = v;
}

static void ioprio_write(struct task *t, struct task *o, int *err, int v)
{
    if (t->cred->uid != o->cred->uid && t->cred->euid != o->cred->uid && !cred_capable(t->cred, CAP_SYS_NICE)) {
        *err = -EPERM;
        return;
    }
    WRITE_SHARED(o->ioprio, v);
    if (*err == -ESRCH)
        *err = 0;
}

long sys_ioprio_get(struct task *t, int which, int who)
{
    int best = -ESRCH;
    mutex_lock(&tasklist_lock);
    int err = each_named(t, which - 1, who, ioprio_read, &best, 0);
    mutex_unlock(&tasklist_lock);
    return err ? err : best;
}

long sys_ioprio_set(struct task *t, int which, int who, int ioprio)
{
    int result = -ESRCH, class = ioprio >> 13;
    if (class < 0 || class > 3 || (class == 0 && (ioprio & 0x1fff)))
        return -EINVAL;
    if (class == 1 && !cred_capable(t->cred, CAP_SYS_ADMIN) && !cred_capable(t->cred, CAP_SYS_NICE))
        return -EPERM;
    mutex_lock(&tasklist_lock);
    int err = each_named(t, which - 1, who, ioprio_write, &result, ioprio);
    mutex_unlock(&tasklist_lock);
    return err ? err : result;
}

// --- scheduling parameters ---
constexpr int POLICY_RESET_ON_FORK = 0x40000000;

static bool policy_valid(int p)
{
    return p == SCHED_OTHER || p == SCHED_FIFO || p == SCHED_RR || p == SCHED_BATCH || p == SCHED_IDLE;
}

static bool policy_rt(int p)
{
    return p == SCHED_FIFO || p == SCHED_RR;
}

static struct task *sched_target(struct task *t, int pid)
{
    return pid ? task_find(t->pidns, pid) : task_get(t);
}

static bool sched_owner(struct task *t, struct task *o)
{
    struct cred *c = task_cred_get(o);
    bool ok = t->cred->euid == c->euid || t->cred->euid == c->uid;
    cred_put(c);
    return ok || cred_capable(t->cred, CAP_SYS_NICE);
}

// policy -1: unchanged.
static int sched_set(struct task *t, struct task *o, int policy, int prio, const int *nice)
{
    int old = READ_SHARED(o->policy);
    bool reset = policy != -1 ? policy & POLICY_RESET_ON_FORK : o->reset_on_fork;
    policy = policy == -1 ? old : policy & ~POLICY_RESET_ON_FORK;
    if (!policy_valid(policy))
        return -EINVAL;
    if (policy_rt(policy) ? prio < 1 || prio > 99 : prio != 0)
        return -EINVAL;
    if (!cred_capable(t->cred, CAP_SYS_NICE)) {
        uint64_t lim = task_rlimit(o, RLIMIT_RTPRIO);
        if (policy_rt(policy) && ((policy != old && !lim) || (prio > o->rt_priority && (uint64_t)prio > lim)))
            return -EPERM;
        if (!sched_owner(t, o) || (o->reset_on_fork && !reset))
            return -EPERM;
        if (nice && *nice < o->nice && (uint64_t)(20 - *nice) > task_rlimit(o, RLIMIT_NICE))
            return -EPERM;
    }
    WRITE_SHARED(o->policy, policy);
    WRITE_SHARED(o->rt_priority, prio);
    WRITE_SHARED(o->reset_on_fork, reset);
    if (nice && !policy_rt(policy))
        WRITE_SHARED(o->nice, *nice);
    return 0;
}

static long sched_set_param(struct task *t, int pid, int policy, uaddr_t param)
{
    int prio;
    if (uaddr_null(param) || pid < 0)
        return -EINVAL;
    if (get_user(t->mm, param, prio) != 0)
        return -EFAULT;
    struct task *o = sched_target(t, pid);
    if (!o)
        return -ESRCH;
    int err = sched_set(t, o, policy, prio, nullptr);
    task_put(o);
    return err;
}

long sys_sched_setscheduler(struct task *t, int pid, int policy, uaddr_t param)
{
    return policy < 0 ? -EINVAL : sched_set_param(t, pid, policy, param);
}

long sys_sched_setparam(struct task *t, int pid, uaddr_t param)
{
    return sched_set_param(t, pid, -1, param);
}

long sys_sched_getscheduler(struct task *t, int pid)
{
    struct task *o = pid < 0 ? nullptr : sched_target(t, pid);
    if (!o)
        return pid < 0 ? -EINVAL : -ESRCH;
    int r = o->policy | (o->reset_on_fork ? POLICY_RESET_ON_FORK : 0);
    task_put(o);
    return r;
}

long sys_sched_getparam(struct task *t, int pid, uaddr_t param)
{
    struct task *o = pid < 0 || uaddr_null(param) ? nullptr : sched_target(t, pid);
    if (!o)
        return pid < 0 || uaddr_null(param) ? -EINVAL : -ESRCH;
    int prio = o->rt_priority;
    task_put(o);
    return put_user(t->mm, param, prio);
}

struct uabi_sched_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
};
constexpr uint32_t SCHED_ATTR_V0 = 48;
static_assert(sizeof(struct uabi_sched_attr) == 56);

long sys_sched_setattr(struct task *t, int pid, uaddr_t attr, uint32_t flags)
{
    struct uabi_sched_attr a = {};
    uint32_t size;
    if (uaddr_null(attr) || pid < 0 || flags)
        return -EINVAL;
    if (get_user(t->mm, attr, size) != 0)
        return -EFAULT;
    if (!size)
        size = SCHED_ATTR_V0;
    if (size < SCHED_ATTR_V0 || size > sizeof(a)) {
        uint32_t mine = sizeof(a);
        return put_user(t->mm, attr, mine) != 0 ? -EFAULT : -E2BIG;
    }
    if (copy_in(t->mm, &a, attr, size) != 0)
        return -EFAULT;
    if ((int)a.policy < 0 || (a.flags & ~1ull) || a.priority > 99)
        return -EINVAL;
    struct task *o = sched_target(t, pid);
    if (!o)
        return -ESRCH;
    int nice = MAX(MIN(a.nice, 19), -20);
    int err = sched_set(t, o, (int)a.policy | (a.flags & 1 ? POLICY_RESET_ON_FORK : 0), (int)a.priority, &nice);
    task_put(o);
    return err;
}

long sys_sched_getattr(struct task *t, int pid, uaddr_t attr, uint32_t size, uint32_t flags)
{
    if (uaddr_null(attr) || pid < 0 || flags || size < SCHED_ATTR_V0 || size > PAGE_SIZE)
        return -EINVAL;
    struct task *o = sched_target(t, pid);
    if (!o)
        return -ESRCH;
    struct uabi_sched_attr a = {
        .size = MIN(size, (uint32_t)sizeof(a)),
        .policy = (uint32_t)o->policy,
        .flags = o->reset_on_fork,
        .nice = policy_rt(o->policy) ? 0 : o->nice,
        .priority = (uint32_t)o->rt_priority,
        .util_max = 1024,
    };
    task_put(o);
    return copy_out(t->mm, attr, &a, a.size);
}

long sys_sched_get_priority_max(struct task *t, int policy)
{
    return policy_rt(policy) ? 99 : policy_valid(policy) || policy == 6 ? 0 : -EINVAL;
}

long sys_sched_get_priority_min(struct task *t, int policy)
{
    return policy_rt(policy) ? 1 : policy_valid(policy) || policy == 6 ? 0 : -EINVAL;
}

long sys_sched_rr_get_interval(struct task *t, int pid, uaddr_t interval)
{
    struct task *o = pid < 0 ? nullptr : sched_target(t, pid);
    if (!o)
        return pid < 0 ? -EINVAL : -ESRCH;
    struct timespec ts = {0, o->policy == SCHED_RR ? 100000000 : o->policy == SCHED_FIFO ? 0 : 3000000};
    task_put(o);
    return put_user(t->mm, interval, ts);
}

long sys_sched_setaffinity(struct task *t, int pid, size_t len, uaddr_t mask)
{
    uint64_t m = 0;
    if (copy_in(t->mm, &m, mask, MIN(len, sizeof(m))) != 0)
        return -EFAULT;
    struct task *o = sched_target(t, pid);
    if (!o)
        return -ESRCH;
    int err = !sched_owner(t, o) ? -EPERM : !(m & cpus_visible()) ? -EINVAL : 0;
    if (!err)
        __atomic_store_n(&o->cpu_affinity, m & cpus_visible(), __ATOMIC_RELAXED);
    if (!err)
        task_public_stale(o);
    task_put(o);
    return err;
}

long sys_sched_getaffinity(struct task *t, int pid, size_t len, uaddr_t mask)
{
    if (len < sizeof(uint64_t) || len % sizeof(uint64_t))
        return -EINVAL;
    struct task *o = sched_target(t, pid);
    if (!o)
        return -ESRCH;
    uint64_t m = __atomic_load_n(&o->cpu_affinity, __ATOMIC_RELAXED) & cpus_visible();
    task_put(o);
    return put_user(t->mm, mask, m) ? -EFAULT : (long)sizeof(m);
}

long sys_sched_yield(struct task *t)
{
    fiber_yield();
    return 0;
}

long sys_getcpu(struct task *t, uaddr_t cpu, uaddr_t node, uaddr_t cache)
{
    int c = sched_worker_cpu();
    uint32_t nr = c >= 0 && machine_ncpus() > 0 ? (uint32_t)c % (uint32_t)machine_ncpus() : 0, zero = 0;
    if (!uaddr_null(cpu) && put_user(t->mm, cpu, nr) != 0)
        return -EFAULT;
    return uaddr_null(node) ? 0 : put_user(t->mm, node, zero);
}
