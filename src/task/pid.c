// SPDX-License-Identifier: Apache-2.0
// Process numbers, pid namespaces, process groups and sessions.
//
// A kpid is hashed (findable, its numbers taken) while it has users: the task, the process group
// and the session named by it. Memory lives as long as references do, pidfds included. Everything
// here is guarded by tasklist_lock; groups and sessions exist while they have members.
#include "abi/errno.h"
#include "base/slab.h"
#include "task/internal.h"

SLAB_DEFINE(kpid_slab, struct kpid);
SLAB_DEFINE(pidns_slab, struct pidns);
SLAB_DEFINE(pgrp_slab, struct pgrp);
SLAB_DEFINE(session_slab, struct session);

constexpr int PID_RESERVED = 300; // not handed out again after a wrap
struct mutex tasklist_lock = {.lock = SPINLOCK_INIT, .rank = RANK_TASKLIST,
                              .waiters = LIST_INIT(tasklist_lock.waiters)};

// --- namespaces ---
int pidns_new(struct pidns *parent, struct pidns **out)
{
    if (parent && parent->level + 1 >= PIDNS_MAX_LEVEL)
        return -ENOSPC;
    struct pidns *ns = slab_alloc(&pidns_slab);
    if (!ns)
        return -ENOMEM;
    ref_init(&ns->ref);
    ns->parent = parent ? pidns_get(parent) : nullptr;
    ns->level = parent ? parent->level + 1 : 0;
    ns->ino = vfs_new_ino();
    *out = ns;
    return 0;
}

struct pidns *pidns_get(struct pidns *ns)
{
    ref_get(&ns->ref);
    return ns;
}

void pidns_put(struct pidns *ns)
{
    while (ns && ref_put(&ns->ref)) {
        struct pidns *parent = ns->parent;
        for (int i = 0; i < PID_MAX / PID_LEAF; i++)
            mem_free(ns->leaf[i]);
        slab_free(&pidns_slab, ns);
        ns = parent;
    }
}

bool pidns_is_ancestor(const struct pidns *a, const struct pidns *of)
{
    while (of && of->level > a->level)
        of = of->parent;
    return of == a;
}

static struct kpid **pid_slot(struct pidns *ns, int nr)
{
    if (nr <= 0 || nr >= PID_MAX || !ns->leaf[nr / PID_LEAF])
        return nullptr;
    return &ns->leaf[nr / PID_LEAF][nr % PID_LEAF];
}

static struct kpid **pid_slot_make(struct pidns *ns, int nr)
{
    struct kpid ***leaf = &ns->leaf[nr / PID_LEAF];
    if (!*leaf)
        *leaf = mem_alloc_array(PID_LEAF, sizeof(struct kpid *));
    return *leaf ? &(*leaf)[nr % PID_LEAF] : nullptr;
}

// A free number: the next after the last one, or `want`.
static int pid_pick(struct pidns *ns, int want)
{
    if (want) {
        struct kpid **s = pid_slot(ns, want);
        if (want < 1 || want >= PID_MAX || (want != 1 && !ns->init))
            return -EINVAL;
        return s && *s ? -EEXIST : want;
    }
    int nr = ns->last_pid;
    for (int i = 0; i < PID_MAX; i++) {
        nr = nr + 1 >= PID_MAX ? PID_RESERVED : nr + 1;
        struct kpid **s = pid_slot(ns, nr);
        if (!s || !*s) {
            ns->last_pid = nr;
            return nr;
        }
    }
    return -EAGAIN;
}

static void kpid_unhash(struct kpid *p, const struct pidns *down_to)
{
    for (struct pidns *n = p->ns; n != down_to; n = n->parent) {
        struct kpid **s = pid_slot(n, p->nr[n->level]);
        if (s && *s == p)
            *s = nullptr;
    }
}

static int pidns_charge(struct pidns *ns)
{
    for (struct pidns *n = ns; n; n = n->parent)
        if (n->max_tasks && n->ntasks >= n->max_tasks)
            return -EAGAIN;
    for (struct pidns *n = ns; n; n = n->parent)
        n->ntasks++;
    return 0;
}

void pidns_uncharge_locked(struct pidns *ns)
{
    for (struct pidns *n = ns; n; n = n->parent) {
        n->ntasks--;
        if (n->dying && n->init)
            waitq_wake_all(&n->init->group->child_wait, ~0u);
    }
}

int kpid_alloc_locked(struct pidns *ns, const int *set_tid, size_t n, struct kpid **out)
{
    if (ns->dying)
        return -ENOMEM;
    struct kpid *p = slab_alloc(&kpid_slab);
    if (!p)
        return -ENOMEM;
    int err = pidns_charge(ns);
    if (err) {
        slab_free(&kpid_slab, p);
        return err;
    }
    ref_init(&p->ref);
    waitq_init(&p->exit_wait);
    p->ns = pidns_get(ns);
    size_t i = 0;
    for (struct pidns *at = ns; at; at = at->parent, i++) {
        int nr = pid_pick(at, i < n ? set_tid[i] : 0);
        struct kpid **s = nr > 0 ? pid_slot_make(at, nr) : nullptr;
        if (!s) {
            kpid_unhash(p, at);
            pidns_uncharge_locked(ns);
            kpid_put(p);
            return nr < 0 ? nr : -ENOMEM;
        }
        *s = p;
        p->nr[at->level] = nr;
    }
    p->users = 1; // the task's
    *out = p;
    return 0;
}

void kpid_unalloc_locked(struct kpid *p)
{
    pidns_uncharge_locked(p->ns);
    kpid_unuse_locked(p);
    kpid_put(p);
}

void kpid_use_locked(struct kpid *p)
{
    p->users++;
}

void kpid_unuse_locked(struct kpid *p)
{
    CHECK(p->users > 0);
    if (--p->users == 0)
        kpid_unhash(p, nullptr);
}

struct kpid *kpid_get(struct kpid *p)
{
    ref_get(&p->ref);
    return p;
}

void kpid_put(struct kpid *p)
{
    if (p && ref_put(&p->ref)) {
        pidns_put(p->ns);
        slab_free(&kpid_slab, p);
    }
}

int kpid_nr_in(const struct kpid *p, const struct pidns *ns)
{
    if (!p || ns->level > p->ns->level || !pidns_is_ancestor(ns, p->ns))
        return 0;
    return p->nr[ns->level];
}

// --- process groups and sessions ---
struct pgrp *pgrp_get(struct pgrp *p)
{
    ref_get(&p->ref);
    return p;
}

void pgrp_put(struct pgrp *p)
{
    if (p && ref_put(&p->ref)) {
        kpid_put(p->pid);
        session_put(p->session);
        slab_free(&pgrp_slab, p);
    }
}

struct session *session_get(struct session *s)
{
    ref_get(&s->ref);
    return s;
}

void session_put(struct session *s)
{
    if (s && ref_put(&s->ref)) {
        kpid_put(s->pid);
        slab_free(&session_slab, s);
    }
}

int pgrp_new_locked(struct session *s, struct kpid *pid, struct pgrp **out)
{
    struct pgrp *p = slab_alloc(&pgrp_slab);
    if (!p)
        return -ENOMEM;
    ref_init(&p->ref);
    list_init(&p->members);
    p->pid = kpid_get(pid);
    kpid_use_locked(pid);
    pid->pgrp = p;
    p->session = session_get(s);
    list_push_back(&s->pgrps, &p->link);
    *out = p;
    return 0;
}

// A new session with one process group; the caller lets the leader join it.
int session_new_locked(struct thread_group *leader, struct kpid *pid, struct pgrp **out)
{
    struct session *s = slab_alloc(&session_slab);
    if (!s)
        return -ENOMEM;
    ref_init(&s->ref);
    spin_init(&s->tty_lock);
    list_init(&s->pgrps);
    s->pid = kpid_get(pid);
    int err = pgrp_new_locked(s, pid, out);
    if (!err) {
        kpid_use_locked(pid);
        pid->session = s;
        s->leader = leader;
    }
    session_put(s); // the group holds it
    return err;
}

void group_join_pgrp_locked(struct thread_group *g, struct pgrp *p)
{
    ref_get(&p->ref);
    group_leave_pgrp_locked(g);
    group_public_stale_locked(g);
    g->pgrp = p;
    list_push_back(&p->members, &g->pgrp_link);
}

void group_leave_pgrp_locked(struct thread_group *g)
{
    struct pgrp *p = g->pgrp;
    if (!p)
        return;
    list_del(&g->pgrp_link);
    g->pgrp = nullptr;
    if (list_empty(&p->members)) {
        struct session *s = p->session;
        p->pid->pgrp = nullptr;
        kpid_unuse_locked(p->pid);
        list_del(&p->link);
        if (list_empty(&s->pgrps)) {
            s->pid->session = nullptr;
            kpid_unuse_locked(s->pid);
        }
    }
    pgrp_put(p);
}

bool pgrp_orphaned_locked(struct pgrp *p, const struct thread_group *ignored)
{
    list_for_each(it, &p->members) {
        struct thread_group *g = list_entry(it, struct thread_group, pgrp_link);
        if (g == ignored || g->zombie || !g->parent || !g->parent->pgrp)
            continue;
        if (g->parent->pgrp != p && g->parent->pgrp->session == p->session)
            return false;
    }
    return true;
}

bool pgrp_orphaned(struct pgrp *p)
{
    mutex_lock(&tasklist_lock);
    bool r = pgrp_orphaned_locked(p, nullptr);
    mutex_unlock(&tasklist_lock);
    return r;
}

// --- look-ups ---
struct kpid *kpid_find_locked(struct pidns *ns, int nr)
{
    struct kpid **s = pid_slot(ns, nr);
    return s ? *s : nullptr;
}

struct kpid *kpid_find(struct pidns *ns, int nr)
{
    mutex_lock(&tasklist_lock);
    struct kpid *p = kpid_find_locked(ns, nr);
    if (p)
        kpid_get(p);
    mutex_unlock(&tasklist_lock);
    return p;
}

struct task *task_find(struct pidns *ns, int tid)
{
    mutex_lock(&tasklist_lock);
    struct kpid *p = kpid_find_locked(ns, tid);
    struct task *t = p && p->task ? task_get(p->task) : nullptr;
    mutex_unlock(&tasklist_lock);
    return t;
}

struct thread_group *group_find(struct pidns *ns, int tgid)
{
    mutex_lock(&tasklist_lock);
    struct kpid *p = kpid_find_locked(ns, tgid);
    struct thread_group *g = p && p->group ? group_get(p->group) : nullptr;
    mutex_unlock(&tasklist_lock);
    return g;
}

struct pgrp *pgrp_find(struct pidns *ns, int pgid)
{
    mutex_lock(&tasklist_lock);
    struct kpid *p = kpid_find_locked(ns, pgid);
    struct pgrp *r = p && p->pgrp ? pgrp_get(p->pgrp) : nullptr;
    mutex_unlock(&tasklist_lock);
    return r;
}

struct thread_group *group_next(struct pidns *ns, int *tgid)
{
    struct thread_group *g = nullptr;
    mutex_lock(&tasklist_lock);
    for (int nr = MAX(*tgid, 1); nr < PID_MAX && !g; nr++) {
        if (!ns->leaf[nr / PID_LEAF]) {
            nr = (nr / PID_LEAF + 1) * PID_LEAF - 1;
            continue;
        }
        struct kpid *p = ns->leaf[nr / PID_LEAF][nr % PID_LEAF];
        if (p && p->group) {
            g = group_get(p->group);
            *tgid = nr;
        }
    }
    mutex_unlock(&tasklist_lock);
    return g;
}

struct task *group_next_thread(struct thread_group *g, struct pidns *ns, int *tid)
{
    struct task *best = nullptr;
    int best_nr = 0;
    mutex_lock(&tasklist_lock);
    list_for_each(it, &g->threads) {
        struct task *t = list_entry(it, struct task, thread_link);
        int nr = kpid_nr_in(t->pid, ns);
        if (nr >= *tid && nr > 0 && (!best || nr < best_nr)) {
            best = t;
            best_nr = nr;
        }
    }
    if (best) {
        task_get(best);
        *tid = best_nr;
    }
    mutex_unlock(&tasklist_lock);
    return best;
}

struct task *group_leader_get(struct thread_group *g)
{
    mutex_lock(&tasklist_lock);
    struct task *t = g->leader && !list_empty(&g->threads) ? task_get(g->leader) : nullptr;
    mutex_unlock(&tasklist_lock);
    return t;
}

// The number changes only when exec takes over the leader's, in the task's own fiber; kpids that
// were once a task's stay allocated while the task is (task_release), so no lock is needed here.
int task_tid_in(const struct task *t, const struct pidns *ns)
{
    return kpid_nr_in(__atomic_load_n(&t->pid, __ATOMIC_ACQUIRE), ns);
}

int group_tgid_in(const struct thread_group *g, const struct pidns *ns)
{
    return kpid_nr_in(__atomic_load_n(&g->tgid_pid, __ATOMIC_ACQUIRE), ns);
}

int task_tgid_in(const struct task *t, const struct pidns *ns)
{
    return group_tgid_in(t->group, ns);
}

int group_ppid_in(struct thread_group *g, const struct pidns *ns)
{
    mutex_lock(&tasklist_lock);
    int nr = g->parent ? group_tgid_in(g->parent, ns) : 0;
    mutex_unlock(&tasklist_lock);
    return nr;
}

int group_pgid_in(struct thread_group *g, const struct pidns *ns)
{
    mutex_lock(&tasklist_lock);
    int nr = g->pgrp ? kpid_nr_in(g->pgrp->pid, ns) : 0;
    mutex_unlock(&tasklist_lock);
    return nr;
}

int group_sid_in(struct thread_group *g, const struct pidns *ns)
{
    mutex_lock(&tasklist_lock);
    int nr = g->pgrp ? kpid_nr_in(g->pgrp->session->pid, ns) : 0;
    mutex_unlock(&tasklist_lock);
    return nr;
}

struct pgrp *group_pgrp_get(struct thread_group *g)
{
    mutex_lock(&tasklist_lock);
    struct pgrp *p = g->pgrp ? pgrp_get(g->pgrp) : nullptr;
    mutex_unlock(&tasklist_lock);
    return p;
}

struct session *group_session_get(struct thread_group *g)
{
    mutex_lock(&tasklist_lock);
    struct session *s = g->pgrp ? session_get(g->pgrp->session) : nullptr;
    mutex_unlock(&tasklist_lock);
    return s;
}

bool group_is_session_leader(struct thread_group *g)
{
    mutex_lock(&tasklist_lock);
    bool r = g->pgrp && g->pgrp->session->leader == g;
    mutex_unlock(&tasklist_lock);
    return r;
}
