// SPDX-License-Identifier: Apache-2.0
// The objects: tasks, thread groups, signal handler tables; what other tasks may read of them;
// limits, per-user counts and CPU time.
//
// A task has one reference for being on its group's list and one for its fiber. What a dead task's
// memory still holds (credentials, numbers, group) goes with the last reference.
#include "abi/errno.h"
#include "base/slab.h"
#include "task/internal.h"
#include "task/seccomp.h"
#include <linux/capability.h>
#include <string.h>

SLAB_DEFINE(task_slab, struct task);
SLAB_DEFINE(group_slab, struct thread_group);
SLAB_DEFINE(sighand_slab, struct sighand);

const struct tty_task_hooks *tty_task_hooks;

struct task *task_alloc(void)
{
    struct task *t = slab_alloc(&task_slab);
    if (!t)
        return nullptr;
    ref_init(&t->ref);
    list_init(&t->thread_link);
    spin_init(&t->task_lock);
    sigpending_init(&t->pending);
    waitq_init(&t->vfork_wait);
    t->vfork_done = true;
    t->start_time_ns = ktime_boottime();
    return t;
}

struct task *task_get(struct task *t)
{
    ref_get(&t->ref);
    return t;
}

void task_put(struct task *t)
{
    if (!t || !ref_put(&t->ref))
        return;
    if (t->cred)
        cred_put(t->cred);
    if (t->sighand)
        sighand_put(t->sighand);
    if (t->uts)
        utsns_put(t->uts);
    kpid_put(t->pid);
    kpid_put(t->old_pid);
    pidns_put(t->pidns);
    pidns_put(t->pidns_children);
    seccomp_drop(t);
    sigpending_flush(&t->pending);
    if (t->group)
        group_put(t->group);
    slab_free(&task_slab, t);
}

struct thread_group *group_alloc(void)
{
    struct thread_group *g = slab_alloc(&group_slab);
    if (!g)
        return nullptr;
    ref_init(&g->ref);
    list_init(&g->threads);
    list_init(&g->children);
    list_init(&g->sibling);
    list_init(&g->pgrp_link);
    spin_init(&g->sig_lock);
    spin_init(&g->rlim_lock);
    sigpending_init(&g->pending);
    waitq_init(&g->child_wait);
    waitq_init(&g->sig_wait);
    g->exit_signal = SIGCHLD;
    g->start_time_ns = ktime_boottime();
    g->timers = timers_new(g);
    if (!g->timers) {
        slab_free(&group_slab, g);
        return nullptr;
    }
    return g;
}

struct thread_group *group_get(struct thread_group *g)
{
    ref_get(&g->ref);
    return g;
}

void group_put(struct thread_group *g)
{
    while (g && ref_put(&g->ref)) {
        struct thread_group *parent = g->parent;
        sigpending_flush(&g->pending);
        timers_free(g->timers);
        kpid_put(g->tgid_pid);
        task_container_put(g->container);
        slab_free(&group_slab, g);
        g = parent;
    }
}

struct sighand *sighand_new(const struct sighand *from)
{
    struct sighand *s = slab_alloc(&sighand_slab);
    if (!s)
        return nullptr;
    ref_init(&s->ref);
    spin_init(&s->lock);
    if (from)
        memcpy(s->action, from->action, sizeof(s->action));
    return s;
}

struct sighand *sighand_get(struct sighand *s)
{
    ref_get(&s->ref);
    return s;
}

void sighand_put(struct sighand *s)
{
    if (ref_put(&s->ref))
        slab_free(&sighand_slab, s);
}

// --- what other tasks read ---
struct cred *task_cred_get(struct task *t)
{
    spin_lock(&t->task_lock);
    struct cred *c = cred_get(t->cred);
    spin_unlock(&t->task_lock);
    return c;
}

struct mm *task_mm_get(struct task *t)
{
    spin_lock(&t->task_lock);
    struct mm *mm = t->mm ? mm_get(t->mm) : nullptr;
    spin_unlock(&t->task_lock);
    return mm;
}

struct fdtab *task_files_get(struct task *t)
{
    spin_lock(&t->task_lock);
    struct fdtab *f = t->files ? fdtab_get(t->files) : nullptr;
    spin_unlock(&t->task_lock);
    return f;
}

struct ipcns *task_ipc_get(struct task *t)
{
    spin_lock(&t->task_lock);
    struct ipcns *n = t->ipc ? ipcns_get(t->ipc) : nullptr;
    spin_unlock(&t->task_lock);
    return n;
}

struct fs_context *task_fs_get(struct task *t)
{
    spin_lock(&t->task_lock);
    struct fs_context *f = t->fs ? fs_context_get(t->fs) : nullptr;
    spin_unlock(&t->task_lock);
    return f;
}

void task_set_comm(struct task *t, const char *comm)
{
    char buf[sizeof(t->comm)] = {};
    memcpy(buf, comm, strnlen(comm, sizeof(buf) - 1));
    spin_lock(&t->task_lock);
    memcpy(t->comm, buf, sizeof(buf));
    spin_unlock(&t->task_lock);
}

void task_set_mm(struct task *t, struct mm *mm, struct pcontext *ctx)
{
    struct pcontext *old_ctx = t->ctx;
    struct mm *old_mm = t->mm;
    if (old_ctx)
        task_sample_cpu(t);
    t->cpu_base_ns = READ_SHARED(t->cpu_ns);
    spin_lock(&t->group->sig_lock); // senders call interrupt(ctx) under it
    t->ctx = ctx;
    spin_unlock(&t->group->sig_lock);
    spin_lock(&t->task_lock);
    t->mm = mm;
    spin_unlock(&t->task_lock);
    if (old_ctx && old_mm)
        mm_leave(old_mm, old_ctx);
    if (old_ctx)
        old_ctx->ops->context_free(old_ctx);
    if (old_mm)
        mm_put(old_mm);
}

static bool access_ids_match(const struct cred *c, const struct cred *o)
{
    return c->fsuid == o->euid && c->fsuid == o->suid && c->fsuid == o->uid &&
           c->fsgid == o->egid && c->fsgid == o->sgid && c->fsgid == o->gid;
}

int task_may_access(struct task *t)
{
    struct task *self = task_current();
    if (!self || self->group == t->group || cred_capable(self->cred, CAP_SYS_PTRACE))
        return 0;
    struct cred *o = task_cred_get(t);
    bool ok = access_ids_match(self->cred, o) &&
              (o->cap_permitted & ~self->cred->cap_effective) == 0;
    cred_put(o);
    struct mm *mm = task_mm_get(t);
    if (mm) {
        ok &= mm->dumpable;
        mm_put(mm);
    }
    return ok ? 0 : -EPERM;
}

// --- per-user counts ---
struct ucount {
    struct list link;
    uint32_t uid;
    uint64_t n[UCOUNT_KINDS];
};
SLAB_DEFINE(ucount_slab, struct ucount);
constexpr uint32_t UCOUNT_BUCKETS = 32;
static struct spinlock ucount_lock = SPINLOCK_INIT;
static struct list ucount_bucket[UCOUNT_BUCKETS]; // [ucount_lock] zeroed until first use

static struct ucount *ucount_find(uint32_t uid, bool make)
{
    struct list *b = &ucount_bucket[uid % UCOUNT_BUCKETS];
    if (!b->next)
        list_init(b);
    list_for_each(it, b) {
        struct ucount *u = list_entry(it, struct ucount, link);
        if (u->uid == uid)
            return u;
    }
    struct ucount *u = make ? slab_alloc(&ucount_slab) : nullptr;
    if (u) {
        u->uid = uid;
        list_push_front(b, &u->link);
    }
    return u;
}

static void ucount_drop_unused(struct ucount *u)
{
    if (u->n[UCOUNT_TASKS] || u->n[UCOUNT_SIGNALS])
        return;
    list_del(&u->link);
    slab_free(&ucount_slab, u);
}

int ucount_charge(uint32_t uid, enum ucount_kind k, uint64_t limit)
{
    int err = 0;
    spin_lock(&ucount_lock);
    struct ucount *u = ucount_find(uid, true);
    if (!u) {
        err = -ENOMEM;
    } else if (u->n[k] >= limit) {
        err = -EAGAIN;
        ucount_drop_unused(u);
    } else {
        u->n[k]++;
    }
    spin_unlock(&ucount_lock);
    return err;
}

void ucount_uncharge(uint32_t uid, enum ucount_kind k)
{
    spin_lock(&ucount_lock);
    struct ucount *u = ucount_find(uid, false);
    if (u && u->n[k]) {
        u->n[k]--;
        ucount_drop_unused(u);
    }
    spin_unlock(&ucount_lock);
}

// More tasks of this user than the limit (execve looks at it after set*uid).
bool rlimit_nproc_exceeded(struct task *t)
{
    uint64_t n = 0;
    spin_lock(&ucount_lock);
    struct ucount *u = ucount_find(t->cred->uid, false);
    if (u)
        n = u->n[UCOUNT_TASKS];
    spin_unlock(&ucount_lock);
    return t->cred->uid != 0 && n > task_rlimit(t, RLIMIT_NPROC);
}

void task_commit_cred(struct task *t, struct cred *c)
{
    struct cred *old = t->cred;
    if (old->euid != c->euid || old->egid != c->egid || old->fsuid != c->fsuid ||
        old->fsgid != c->fsgid || (c->cap_permitted & ~old->cap_permitted)) {
        WRITE_SHARED(t->pdeath_signal, 0);
        if (t->mm) {
            mutex_lock(&t->mm->lock);
            t->mm->dumpable = false;
            mutex_unlock(&t->mm->lock);
        }
    }
    if (old->uid != c->uid) {
        int err = ucount_charge(c->uid, UCOUNT_TASKS, UINT64_MAX);
        if (!err)
            ucount_uncharge(old->uid, UCOUNT_TASKS);
    }
    spin_lock(&t->task_lock);
    t->cred = c;
    spin_unlock(&t->task_lock);
    task_public_stale_self(t);
    cred_put(old);
}

// --- limits ---
uint64_t task_rlimit(const struct task *t, int which)
{
    return READ_SHARED(t->group->rlim[which].rlim_cur);
}

uint64_t task_rlimit_max(const struct task *t, int which)
{
    return READ_SHARED(t->group->rlim[which].rlim_max);
}

struct mm_limits task_mm_limits(const struct task *t)
{
    return (struct mm_limits){
        .as = task_rlimit(t, RLIMIT_AS),
        .data = task_rlimit(t, RLIMIT_DATA),
        .stack = task_rlimit(t, RLIMIT_STACK),
        .memlock = cred_capable(t->cred, CAP_IPC_LOCK) ? RLIM64_INFINITY
                                                      : task_rlimit(t, RLIMIT_MEMLOCK),
    };
}

void rlimits_default(struct rlimit64 rlim[RLIM_NLIMITS])
{
    for (int i = 0; i < RLIM_NLIMITS; i++)
        rlim[i] = (struct rlimit64){RLIM64_INFINITY, RLIM64_INFINITY};
    rlim[RLIMIT_STACK].rlim_cur = 8 << 20;
    rlim[RLIMIT_CORE].rlim_cur = 0;
    rlim[RLIMIT_NOFILE] = (struct rlimit64){1024, 1048576};
    rlim[RLIMIT_MEMLOCK] = (struct rlimit64){8 << 20, 8 << 20};
    rlim[RLIMIT_SIGPENDING] = (struct rlimit64){16384, 16384};
    rlim[RLIMIT_MSGQUEUE] = (struct rlimit64){819200, 819200};
    rlim[RLIMIT_NICE] = (struct rlimit64){0, 0};
    rlim[RLIMIT_RTPRIO] = (struct rlimit64){0, 0};
}

// --- CPU time ---
// A thread's own clock can be read by its own host thread only. A thread in user mode is
// interrupted and reads it; one that is in the kernel does not use any, and what it used since its
// last look is missing until it looks again.
constexpr int64_t SAMPLE_WAIT = 100000000; // a thread that does not answer keeps its last value
static struct waitq sample_wait = WAITQ_INIT(sample_wait);

void task_sample_cpu(struct task *t)
{
    if (t->ctx)
        __atomic_store_n(&t->cpu_ns, t->cpu_base_ns + t->ctx->ops->cpu_time(t->ctx),
                         __ATOMIC_RELAXED);
    if (__atomic_exchange_n(&t->sample_cpu, false, __ATOMIC_SEQ_CST))
        waitq_wake_all(&sample_wait, ~0u);
}

uint64_t task_cpu_ns(struct task *t)
{
    if (t == task_current()) {
        task_sample_cpu(t);
    } else if (fiber_current() && __atomic_load_n(&t->in_user, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&t->sample_cpu, true, __ATOMIC_SEQ_CST);
        spin_lock(&t->group->sig_lock);
        if (!t->dead && t->ctx)
            t->ctx->ops->interrupt(t->ctx);
        spin_unlock(&t->group->sig_lock);
        (void)wait_event(&sample_wait, !READ_SHARED(t->sample_cpu), ktime_now() + SAMPLE_WAIT,
                         PARK_UNINTERRUPTIBLE);
    }
    return __atomic_load_n(&t->cpu_ns, __ATOMIC_RELAXED);
}

uint64_t group_cpu_ns(struct thread_group *g)
{
    struct task *t;
    uint64_t sum = 0;
    for (int tid = 1; (t = group_next_thread(g, g->tgid_pid->ns, &tid)); tid++) {
        if (READ_SHARED(t->state) != TASK_ZOMBIE)
            sum += task_cpu_ns(t);
        task_put(t);
    }
    spin_lock(&g->sig_lock);
    sum += g->utime_ns;
    spin_unlock(&g->sig_lock);
    return sum;
}

static struct timeval ns_to_timeval(uint64_t ns)
{
    return (struct timeval){(time_t)(ns / 1000000000), (suseconds_t)(ns % 1000000000 / 1000)};
}

void task_rusage(struct task *t, struct rusage *ru)
{
    *ru = (struct rusage){
        .ru_utime = ns_to_timeval(task_cpu_ns(t)),
        .ru_stime = ns_to_timeval(READ_SHARED(t->stime_ns)),
        .ru_nvcsw = (long)READ_SHARED(t->nvcsw),
        .ru_nivcsw = (long)READ_SHARED(t->nivcsw),
    };
}

static uint64_t group_rss_kb(struct thread_group *g)
{
    uint64_t pages[7] = {};
    struct task *t = group_leader_get(g);
    struct mm *mm = t ? task_mm_get(t) : nullptr;
    if (mm) {
        mm_statm(mm, pages);
        mm_put(mm);
    }
    task_put(t);
    return pages[1] * 4;
}

void group_rusage(struct thread_group *g, struct rusage *ru)
{
    uint64_t cpu = group_cpu_ns(g), rss = group_rss_kb(g);
    spin_lock(&g->sig_lock);
    g->maxrss_kb = MAX(g->maxrss_kb, rss);
    *ru = (struct rusage){
        .ru_utime = ns_to_timeval(cpu),
        .ru_stime = ns_to_timeval(g->stime_ns),
        .ru_maxrss = (long)g->maxrss_kb,
        .ru_minflt = (long)g->minflt,
        .ru_majflt = (long)g->majflt,
        .ru_nvcsw = (long)g->nvcsw,
        .ru_nivcsw = (long)g->nivcsw,
    };
    spin_unlock(&g->sig_lock);
}

void group_rusage_children(struct thread_group *g, struct rusage *ru)
{
    spin_lock(&g->sig_lock);
    *ru = (struct rusage){
        .ru_utime = ns_to_timeval(g->cutime_ns),
        .ru_stime = ns_to_timeval(g->cstime_ns),
        .ru_maxrss = (long)g->cmaxrss_kb,
        .ru_nvcsw = (long)g->cnvcsw,
        .ru_nivcsw = (long)g->cnivcsw,
    };
    spin_unlock(&g->sig_lock);
}
