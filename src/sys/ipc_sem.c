// SPDX-License-Identifier: Apache-2.0
// System V semaphores (semop(2)). All operations of a call happen at once or not at all; a call
// that cannot go on sleeps on its set's queue and tries again after every change of the set.
//
// SEM_UNDO adjustments are kept per process (thread group) and set, applied when the process ends.
#include "abi/errno.h"
#include "base/slab.h"
#include "kern/sysctl.h"
#include "sys/protos.h"
#include "sys/sysvipc.h"
#include "sys/waitarg.h"
#include <sys/sem.h>

#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif
constexpr int SEMVMX = 32767;
constexpr size_t OPS_FAST = 16;

struct sem {
    int val;             // [lock]
    int ncnt, zcnt;      // [lock] who waits for an increase, for zero
    struct kpid *pid;    // [lock] ref: last to change it
};
struct sem_set {
    struct ipc_obj ipc;
    struct waitq wq;
    struct list undos;   // [lock] sem_undo.set_link
    int64_t otime, ctime;// [lock]
    uint32_t n;          // [C]
    struct sem sem[] COUNTED_BY(n);
};
struct sem_undo {
    struct list set_link;     // [lock]
    struct hnode hnode;       // [lock] by (group, set id)
    struct thread_group *group; // weak: the group's exit removes it
    struct list group_link;   // [lock] all undos, see undo_all
    struct sem_set *set;      // weak: the set's removal frees it
    int16_t adj[];            // [lock] set->n
};
static struct ipc_table sems; // its lock guards everything here
static struct list undo_all = LIST_INIT(undo_all);
static uint32_t total_sems, nundos;

static struct sem_set *set_of(struct ipc_obj *o)
{
    return container_of(o, struct sem_set, ipc);
}

static void set_free(struct ipc_obj *o)
{
    struct sem_set *s = set_of(o);
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->sem[i].pid)
            kpid_put(s->sem[i].pid);
    }
    mem_free(s);
}

static void set_pid(struct sem *m, struct task *t)
{
    struct kpid *old = m->pid;
    m->pid = kpid_get(t->group->tgid_pid);
    if (old)
        kpid_put(old);
}

// --- semget ------------------------------------------------------------------------------------
static int sem_new(struct task *t, int key, int n, int flags)
{
    if (n <= 0 || (uint32_t)n > READ_SHARED(sysctls.sem[0]))
        return -EINVAL;
    struct sem_set *s = mem_alloc(sizeof(*s) + (size_t)n * sizeof(s->sem[0]));
    if (!s)
        return -ENOMEM;
    s->n = (uint32_t)n;
    s->ctime = ipc_now();
    waitq_init(&s->wq);
    list_init(&s->undos);
    mutex_lock(&sems.lock);
    int err = key != IPC_PRIVATE && ipc_by_key(&sems, t->ipc, key) ? -EEXIST : 0;
    if (!err && total_sems + (uint32_t)n > READ_SHARED(sysctls.sem[1]))
        err = -ENOSPC;
    if (!err)
        err = ipc_add(&sems, &s->ipc, key, (uint32_t)flags, t);
    if (!err)
        total_sems += (uint32_t)n;
    int id = s->ipc.id;
    mutex_unlock(&sems.lock);
    if (err)
        mem_free(s);
    return err ? err : id;
}

long sys_semget(struct task *t, int key, int n, int flags)
{
    struct ipc_obj *o;
    if (n < 0 || (uint32_t)n > READ_SHARED(sysctls.sem[0]))
        return -EINVAL;
    for (;;) {
        mutex_lock(&sems.lock);
        int ret = ipc_get(&sems, key, flags, t, &o);
        if (!ret && o)
            ret = (uint32_t)n > set_of(o)->n ? -EINVAL : o->id;
        mutex_unlock(&sems.lock);
        if (ret || o)
            return ret;
        ret = sem_new(t, key, n, flags);
        if (ret != -EEXIST)
            return ret;
    }
}

// --- undo --------------------------------------------------------------------------------------
static struct sem_undo *undo_find(struct sem_set *s, struct thread_group *g)
{
    list_for_each(l, &s->undos) {
        struct sem_undo *u = list_entry(l, struct sem_undo, set_link);
        if (u->group == g)
            return u;
    }
    return nullptr;
}

static void undo_free(struct sem_undo *u)
{
    list_del(&u->set_link);
    list_del(&u->group_link);
    ADD_SHARED(nundos, -1u);
    mem_free(u);
}

// The undo record of the caller, made when missing.
static struct sem_undo *undo_get(struct sem_set *s, struct thread_group *g)
{
    struct sem_undo *u = undo_find(s, g);
    if (u)
        return u;
    u = mem_alloc(sizeof(*u) + s->n * sizeof(u->adj[0]));
    if (!u)
        return nullptr;
    u->group = g;
    u->set = s;
    list_push_back(&s->undos, &u->set_link);
    list_push_back(&undo_all, &u->group_link);
    ADD_SHARED(nundos, 1);
    return u;
}

static void sem_group_exit(struct thread_group *g)
{
    if (!READ_SHARED(nundos))
        return;
    mutex_lock(&sems.lock);
    list_for_each_safe(l, &undo_all) {
        struct sem_undo *u = list_entry(l, struct sem_undo, group_link);
        if (u->group != g)
            continue;
        struct sem_set *s = u->set;
        for (uint32_t i = 0; i < s->n; i++) {
            int v = s->sem[i].val + u->adj[i];
            s->sem[i].val = v < 0 ? 0 : v > SEMVMX ? SEMVMX : v;
        }
        s->otime = ipc_now();
        undo_free(u);
        waitq_wake_all(&s->wq, ~0u);
    }
    mutex_unlock(&sems.lock);
}

// --- semop -------------------------------------------------------------------------------------
struct semop_call {
    struct task *t;
    int id;
    const struct sembuf *ops;
    size_t n;
    bool alter, undo;
    int blocked;         // index of the operation that could not go on
};

static int check_ops(struct semop_call *c, struct sem_set *s)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->ops[i].sem_num >= s->n)
            return -EFBIG;
    }
    return ipc_may(&s->ipc, c->t->cred, c->alter ? 0222 : 0444);
}

// Tries the whole vector on the values; takes back what was done when it cannot. 0, 1: must wait,
// -ERANGE.
static int try_ops(struct semop_call *c, struct sem_set *s, struct sem_undo *u)
{
    int err = 0;
    size_t i = 0;
    for (; i < c->n; i++) {
        const struct sembuf *op = &c->ops[i];
        struct sem *m = &s->sem[op->sem_num];
        int v = m->val + op->sem_op;
        if ((op->sem_op == 0 && m->val) || v < 0) {
            err = 1;
            break;
        }
        if (v > SEMVMX) {
            err = -ERANGE;
            break;
        }
        if (op->sem_flg & SEM_UNDO) {
            int adj = u->adj[op->sem_num] - op->sem_op;
            if (adj < -SEMVMX - 1 || adj > SEMVMX) {
                err = -ERANGE;
                break;
            }
            u->adj[op->sem_num] = (int16_t)adj;
        }
        m->val = v;
    }
    if (!err)
        return 0;
    c->blocked = (int)i;
    while (i-- > 0) {
        const struct sembuf *op = &c->ops[i];
        s->sem[op->sem_num].val -= op->sem_op;
        if (op->sem_flg & SEM_UNDO)
            u->adj[op->sem_num] = (int16_t)(u->adj[op->sem_num] + op->sem_op);
    }
    return err;
}

static void ops_done(struct semop_call *c, struct sem_set *s)
{
    for (size_t i = 0; i < c->n; i++)
        set_pid(&s->sem[c->ops[i].sem_num], c->t);
    s->otime = ipc_now();
    if (c->alter)
        waitq_wake_all(&s->wq, ~0u);
}

// Sleeps until the set changes. Called and returns with the lock held; the set by reference.
static int sleep_on_set(struct semop_call *c, struct sem_set *s, ktime_t deadline)
{
    const struct sembuf *op = &c->ops[c->blocked];
    int *cnt = op->sem_op ? &s->sem[op->sem_num].ncnt : &s->sem[op->sem_num].zcnt;
    struct waiter w;
    (*cnt)++;
    waiter_init(&w);
    waitq_add(&s->wq, &w);
    mutex_unlock(&sems.lock);
    int err = fiber_park(deadline, PARK_INTERRUPTIBLE);
    waitq_remove(&w);
    mutex_lock(&sems.lock);
    (*cnt)--;
    return err;
}

static long do_ops(struct semop_call *c, ktime_t deadline)
{
    long ret = 0;
    mutex_lock(&sems.lock);
    struct ipc_obj *o = ipc_by_id(&sems, c->t->ipc, c->id);
    if (!o) {
        mutex_unlock(&sems.lock);
        return -EINVAL;
    }
    struct sem_set *s = set_of(o);
    ref_get(&o->ref);
    ret = check_ops(c, s);
    int woke = 0;
    while (!ret) {
        if (o->dead) {
            ret = -EIDRM;
            break;
        }
        struct sem_undo *u = c->undo ? undo_get(s, c->t->group) : nullptr;
        if (c->undo && !u) {
            ret = -ENOMEM;
            break;
        }
        int r = try_ops(c, s, u);
        if (r <= 0) {
            ret = r;
            if (!r)
                ops_done(c, s);
            break;
        }
        if (c->ops[c->blocked].sem_flg & IPC_NOWAIT)
            ret = -EAGAIN;
        else if (woke)
            ret = woke == -EINTR ? -EINTR : -EAGAIN;
        else
            woke = sleep_on_set(c, s, deadline);
    }
    mutex_unlock(&sems.lock);
    ipc_put(&sems, o);
    return ret;
}

long sys_semtimedop(struct task *t, int id, uaddr_t ops, size_t n, uaddr_t timeout)
{
    struct sembuf fast[OPS_FAST], *v = fast;
    ktime_t deadline;
    if (!n || id < 0)
        return -EINVAL;
    if (n > READ_SHARED(sysctls.sem[2]))
        return -E2BIG;
    if (n > OPS_FAST && !(v = mem_alloc_array(n, sizeof(*v))))
        return -ENOMEM;
    long ret = copy_in(t->mm, v, ops, n * sizeof(*v));
    if (!ret)
        ret = deadline_from_user(t, timeout, &deadline);
    if (!ret) {
        struct semop_call c = {.t = t, .id = id, .ops = v, .n = n};
        for (size_t i = 0; i < n; i++) {
            c.alter |= v[i].sem_op != 0;
            c.undo |= v[i].sem_flg & SEM_UNDO;
        }
        ret = do_ops(&c, deadline ? deadline : 1);
    }
    if (v != fast)
        mem_free(v);
    return ret;
}

long sys_semop(struct task *t, int id, uaddr_t ops, size_t n)
{
    return sys_semtimedop(t, id, ops, n, UADDR(0));
}

// --- semctl ------------------------------------------------------------------------------------
static int total_waiting(const struct sem *m, int cmd)
{
    return cmd == GETNCNT ? m->ncnt : m->zcnt;
}

static void forget_adjustments(struct sem_set *s, uint32_t from, uint32_t n)
{
    list_for_each(l, &s->undos) {
        struct sem_undo *u = list_entry(l, struct sem_undo, set_link);
        for (uint32_t i = from; i < from + n; i++)
            u->adj[i] = 0;
    }
}

// GETVAL GETPID GETNCNT GETZCNT SETVAL
static long sem_one(struct task *t, int id, int num, int cmd, int val)
{
    if (cmd == SETVAL && (val < 0 || val > SEMVMX))
        return -ERANGE; // before anything else, as on Linux
    mutex_lock(&sems.lock);
    struct ipc_obj *o = ipc_by_id(&sems, t->ipc, id);
    long ret = o ? 0 : -EINVAL;
    if (!ret && cmd == SETVAL && (num < 0 || (uint32_t)num >= set_of(o)->n))
        ret = -EINVAL;
    if (!ret)
        ret = ipc_may(o, t->cred, cmd == SETVAL ? 0222 : 0444);
    if (!ret && (num < 0 || (uint32_t)num >= set_of(o)->n))
        ret = -EINVAL;
    if (!ret) {
        struct sem_set *s = set_of(o);
        struct sem *m = &s->sem[num];
        switch (cmd) {
        case GETVAL:
            ret = m->val;
            break;
        case GETPID:
            ret = m->pid ? kpid_nr_in(m->pid, t->pidns) : 0;
            break;
        case SETVAL:
            m->val = val;
            set_pid(m, t);
            forget_adjustments(s, (uint32_t)num, 1);
            s->ctime = ipc_now();
            waitq_wake_all(&s->wq, ~0u);
            break;
        default:
            ret = total_waiting(m, cmd);
            break;
        }
    }
    mutex_unlock(&sems.lock);
    return ret;
}

// GETALL SETALL: the set by reference while guest memory is copied.
static long sem_all(struct task *t, int id, int cmd, uaddr_t buf)
{
    mutex_lock(&sems.lock);
    struct ipc_obj *o = ipc_by_id(&sems, t->ipc, id);
    long ret = o ? ipc_may(o, t->cred, cmd == SETALL ? 0222 : 0444) : -EINVAL;
    if (!ret)
        ref_get(&o->ref);
    mutex_unlock(&sems.lock);
    if (ret)
        return ret;
    struct sem_set *s = set_of(o);
    uint16_t *v = mem_alloc_array(s->n, sizeof(*v));
    ret = !v ? -ENOMEM : cmd == SETALL ? copy_in(t->mm, v, buf, s->n * sizeof(*v)) : 0;
    for (uint32_t i = 0; !ret && cmd == SETALL && i < s->n; i++)
        ret = v[i] > SEMVMX ? -ERANGE : 0;
    mutex_lock(&sems.lock);
    if (!ret && o->dead)
        ret = -EIDRM;
    for (uint32_t i = 0; !ret && i < s->n; i++) {
        if (cmd == SETALL) {
            s->sem[i].val = v[i];
            set_pid(&s->sem[i], t);
        } else {
            v[i] = (uint16_t)s->sem[i].val;
        }
    }
    if (!ret && cmd == SETALL) {
        forget_adjustments(s, 0, s->n);
        s->ctime = ipc_now();
        waitq_wake_all(&s->wq, ~0u);
    }
    mutex_unlock(&sems.lock);
    if (!ret && cmd == GETALL)
        ret = copy_out(t->mm, buf, v, s->n * sizeof(*v));
    mem_free(v);
    ipc_put(&sems, o);
    return ret;
}

static long sem_stat(struct task *t, int id, int cmd, uaddr_t buf)
{
    struct semid_ds d = {};
    mutex_lock(&sems.lock);
    struct ipc_obj *o = cmd == IPC_STAT ? ipc_by_id(&sems, t->ipc, id) : ipc_by_index(&sems, t->ipc, id);
    long ret = !o ? -EINVAL : cmd == SEM_STAT_ANY ? 0 : ipc_may(o, t->cred, 0444);
    if (!ret) {
        struct sem_set *s = set_of(o);
        ipc_perm_out(o, &d.sem_perm);
        d.sem_otime = s->otime;
        d.sem_ctime = s->ctime;
        d.sem_nsems = s->n;
        ret = cmd == IPC_STAT ? 0 : o->id;
    }
    mutex_unlock(&sems.lock);
    return ret >= 0 && put_user(t->mm, buf, d) ? -EFAULT : ret;
}

static long sem_set_perm(struct task *t, int id, uaddr_t buf)
{
    struct semid_ds d;
    if (get_user(t->mm, buf, d))
        return -EFAULT;
    mutex_lock(&sems.lock);
    struct ipc_obj *o = ipc_by_id(&sems, t->ipc, id);
    int err = o ? ipc_owner(o, t->cred) : -EINVAL;
    if (!err) {
        ipc_perm_in(o, &d.sem_perm);
        set_of(o)->ctime = ipc_now();
    }
    mutex_unlock(&sems.lock);
    return err;
}

// [lock] Its table's reference is the caller's.
static void set_remove(struct sem_set *s)
{
    while (!list_empty(&s->undos))
        undo_free(list_first(&s->undos, struct sem_undo, set_link));
    ipc_unlink(&sems, &s->ipc);
    total_sems -= s->n;
    waitq_wake_all(&s->wq, ~0u);
}

static long sem_remove(struct task *t, int id)
{
    mutex_lock(&sems.lock);
    struct ipc_obj *o = ipc_by_id(&sems, t->ipc, id);
    int err = o ? ipc_owner(o, t->cred) : -EINVAL;
    if (!err)
        set_remove(set_of(o));
    mutex_unlock(&sems.lock);
    if (!err)
        ipc_put(&sems, o);
    return err;
}

static long sem_info(struct task *t, int cmd, uaddr_t buf)
{
    struct seminfo si = {.semmap = (int)sysctls.sem[1], .semmni = (int)sysctls.sem[3],
                         .semmns = (int)sysctls.sem[1], .semmnu = (int)sysctls.sem[1],
                         .semmsl = (int)sysctls.sem[0], .semopm = (int)sysctls.sem[2],
                         .semume = (int)sysctls.sem[2], .semusz = 20, .semvmx = SEMVMX,
                         .semaem = SEMVMX};
    int top;
    mutex_lock(&sems.lock);
    uint32_t n = ipc_count(&sems, t->ipc, &top);
    if (cmd == SEM_INFO) {
        si.semusz = (int)n;
        si.semaem = 0;
        for (int i = 0; i <= top; i++) {
            struct ipc_obj *o = ipc_by_index(&sems, t->ipc, i);
            si.semaem += o ? (int)set_of(o)->n : 0;
        }
    }
    mutex_unlock(&sems.lock);
    return put_user(t->mm, buf, si) ? -EFAULT : top;
}

long sys_semctl(struct task *t, int id, int num, int cmd, uint64_t arg)
{
    if (id < 0)
        return -EINVAL;
    switch (cmd) {
    case GETVAL: case GETPID: case GETNCNT: case GETZCNT: case SETVAL:
        return sem_one(t, id, num, cmd, (int)arg);
    case GETALL: case SETALL:
        return sem_all(t, id, cmd, UADDR(arg));
    case IPC_STAT: case SEM_STAT: case SEM_STAT_ANY:
        return sem_stat(t, id, cmd, UADDR(arg));
    case IPC_SET:
        return sem_set_perm(t, id, UADDR(arg));
    case IPC_RMID:
        return sem_remove(t, id);
    case IPC_INFO: case SEM_INFO:
        return sem_info(t, cmd, UADDR(arg));
    default:
        return -EINVAL;
    }
}

static void sem_ns_release(struct ipcns *ns)
{
    int i = 0;
    mutex_lock(&sems.lock);
    for (struct ipc_obj *o; i < (int)sems.nslots; i++) {
        if (!(o = ipc_by_index(&sems, ns, i)))
            continue;
        set_remove(set_of(o));
        mutex_unlock(&sems.lock);
        ipc_put(&sems, o);
        mutex_lock(&sems.lock);
    }
    mutex_unlock(&sems.lock);
}

__attribute__((constructor)) static void sem_setup(void)
{
    ipcns_on_release(sem_ns_release);
    ipc_table_init(&sems, &sysctls.sem[3], set_free);
    group_exit_hook = sem_group_exit;
}
