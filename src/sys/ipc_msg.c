// SPDX-License-Identifier: Apache-2.0
// System V message queues (msgop(2)).
#include "abi/errno.h"
#include "base/slab.h"
#include "kern/sysctl.h"
#include "sys/protos.h"
#include "sys/sysvipc.h"
#include <linux/capability.h>
#include <limits.h>
#include <sys/msg.h>

#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

struct msg {
    struct list link;
    long type;
    size_t n;
    uint8_t data[];
};
struct msgq {
    struct ipc_obj ipc;
    struct list msgs;           // [lock]
    uint64_t nmsgs, bytes, max; // [lock]
    int64_t stime, rtime, ctime;// [lock]
    struct kpid *lspid, *lrpid; // [lock] refs
    struct waitq senders, receivers;
};
SLAB_DEFINE(msgq_slab, struct msgq);
static struct ipc_table msgqs;

static struct msgq *q_of(struct ipc_obj *o)
{
    return container_of(o, struct msgq, ipc);
}

static void q_free(struct ipc_obj *o)
{
    struct msgq *q = q_of(o);
    while (!list_empty(&q->msgs)) {
        struct msg *m = list_first(&q->msgs, struct msg, link);
        list_del(&m->link);
        mem_free(m);
    }
    if (q->lspid)
        kpid_put(q->lspid);
    if (q->lrpid)
        kpid_put(q->lrpid);
    slab_free(&msgq_slab, q);
}

static void set_pid(struct kpid **p, struct task *t)
{
    struct kpid *old = *p;
    *p = kpid_get(t->group->tgid_pid);
    if (old)
        kpid_put(old);
}

static int q_new(struct task *t, int key, int flags)
{
    struct msgq *q = slab_alloc(&msgq_slab);
    if (!q)
        return -ENOMEM;
    list_init(&q->msgs);
    waitq_init(&q->senders);
    waitq_init(&q->receivers);
    q->max = READ_SHARED(sysctls.msgmnb);
    q->ctime = ipc_now();
    mutex_lock(&msgqs.lock);
    int err = key != IPC_PRIVATE && ipc_by_key(&msgqs, t->ipc, key)
                  ? -EEXIST
                  : ipc_add(&msgqs, &q->ipc, key, (uint32_t)flags, t);
    int id = q->ipc.id;
    mutex_unlock(&msgqs.lock);
    if (err)
        slab_free(&msgq_slab, q);
    return err ? err : id;
}

long sys_msgget(struct task *t, int key, int flags)
{
    struct ipc_obj *o;
    for (;;) {
        mutex_lock(&msgqs.lock);
        int ret = ipc_get(&msgqs, key, flags, t, &o);
        if (!ret && o)
            ret = o->id;
        mutex_unlock(&msgqs.lock);
        if (ret || o)
            return ret;
        ret = q_new(t, key, flags);
        if (ret != -EEXIST)
            return ret;
    }
}

// The queue by reference, with the lock held, after the permission check.
static int q_lock(struct task *t, int id, uint32_t want, struct msgq **out)
{
    mutex_lock(&msgqs.lock);
    struct ipc_obj *o = ipc_by_id(&msgqs, t->ipc, id);
    int err = o ? ipc_may(o, t->cred, want) : -EINVAL;
    if (err) {
        mutex_unlock(&msgqs.lock);
        return err;
    }
    ref_get(&o->ref);
    *out = q_of(o);
    return 0;
}

static void q_unlock(struct msgq *q)
{
    mutex_unlock(&msgqs.lock);
    ipc_put(&msgqs, &q->ipc);
}

// Sleeps with the lock dropped. -EINTR; -EIDRM when the queue has gone.
static int q_sleep(struct msgq *q, struct waitq *wq)
{
    struct waiter w;
    waiter_init(&w);
    waitq_add(wq, &w);
    mutex_unlock(&msgqs.lock);
    int err = fiber_park(KTIME_MAX, PARK_INTERRUPTIBLE);
    waitq_remove(&w);
    mutex_lock(&msgqs.lock);
    return q->ipc.dead ? -EIDRM : err;
}

long sys_msgsnd(struct task *t, int id, uaddr_t msg, size_t n, int flags)
{
    struct msgq *q;
    long type;
    if (n > READ_SHARED(sysctls.msgmax) || id < 0)
        return -EINVAL;
    if (get_user(t->mm, msg, type))
        return -EFAULT;
    if (type < 1)
        return -EINVAL;
    struct msg *m = mem_alloc(sizeof(*m) + n);
    if (!m)
        return -ENOMEM;
    m->type = type;
    m->n = n;
    int err = n ? copy_in(t->mm, m->data, uaddr_add(msg, sizeof(type)), n) : 0;
    if (!err)
        err = q_lock(t, id, 0222, &q);
    if (err) {
        mem_free(m);
        return err;
    }
    while (!err && (q->bytes + n > q->max || q->nmsgs + 1 > q->max)) {
        err = flags & IPC_NOWAIT ? -EAGAIN : q_sleep(q, &q->senders);
        if (!err)
            err = ipc_may(&q->ipc, t->cred, 0222);
    }
    if (!err) {
        list_push_back(&q->msgs, &m->link);
        q->nmsgs++;
        q->bytes += n;
        q->stime = ipc_now();
        set_pid(&q->lspid, t);
        waitq_wake_all(&q->receivers, ~0u);
        m = nullptr;
    }
    q_unlock(q);
    mem_free(m);
    return err == -EINTR ? -ERESTARTNOHAND : err;
}

static bool wanted(const struct msg *m, long type, int flags)
{
    if (type == 0)
        return true;
    if (flags & MSG_EXCEPT)
        return m->type != type;
    return m->type == type;
}

// The message that msgrcv takes; null: none.
static struct msg *q_find(struct msgq *q, long type, int flags)
{
    struct msg *best = nullptr;
    long nth = type;
    list_for_each(l, &q->msgs) {
        struct msg *m = list_entry(l, struct msg, link);
        if (flags & MSG_COPY) {
            if (!nth--)
                return m;
        } else if (type < 0) {
            if (m->type <= -type && (!best || m->type < best->type))
                best = m;
        } else if (wanted(m, type, flags)) {
            return m;
        }
    }
    return best;
}

static struct msg *msg_copy(const struct msg *m)
{
    struct msg *c = mem_alloc(sizeof(*c) + m->n);
    if (!c)
        return nullptr;
    c->type = m->type;
    c->n = m->n;
    for (size_t i = 0; i < m->n; i++)
        c->data[i] = m->data[i];
    return c;
}

// Takes a message off the queue, waiting if need be.
static int q_receive(struct task *t, struct msgq *q, size_t n, long type, int flags, struct msg **out)
{
    for (;;) {
        struct msg *m = q_find(q, type, flags);
        if (m && m->n > n && !(flags & MSG_NOERROR))
            return -E2BIG;
        if (m && (flags & MSG_COPY)) {
            *out = msg_copy(m);
            return *out ? 0 : -ENOMEM;
        }
        if (m) {
            list_del(&m->link);
            q->nmsgs--;
            q->bytes -= m->n;
            q->rtime = ipc_now();
            set_pid(&q->lrpid, t);
            waitq_wake_all(&q->senders, ~0u);
            *out = m;
            return 0;
        }
        if (flags & IPC_NOWAIT)
            return -ENOMSG;
        int err = q_sleep(q, &q->receivers);
        if (!err)
            err = ipc_may(&q->ipc, t->cred, 0444);
        if (err)
            return err;
    }
}

long sys_msgrcv(struct task *t, int id, uaddr_t msg, size_t n, long type, int flags)
{
    struct msgq *q;
    struct msg *m = nullptr;
    if (id < 0 || (ssize_t)n < 0)
        return -EINVAL;
    if ((flags & MSG_COPY) && ((flags & MSG_EXCEPT) || !(flags & IPC_NOWAIT)))
        return -EINVAL;
    if (type == LONG_MIN)
        type = -LONG_MAX;
    int err = q_lock(t, id, 0444, &q);
    if (err)
        return err;
    err = q_receive(t, q, n, type, flags, &m);
    q_unlock(q);
    if (err)
        return err == -EINTR ? -ERESTARTNOHAND : err;
    size_t k = MIN(n, m->n);
    if (put_user(t->mm, msg, m->type) || (k && copy_out(t->mm, uaddr_add(msg, sizeof(long)), m->data, k)))
        err = -EFAULT;
    mem_free(m);
    return err ? err : (long)k;
}

static long q_stat(struct task *t, int id, int cmd, uaddr_t buf)
{
    struct msqid_ds d = {};
    mutex_lock(&msgqs.lock);
    struct ipc_obj *o = cmd == IPC_STAT ? ipc_by_id(&msgqs, t->ipc, id) : ipc_by_index(&msgqs, t->ipc, id);
    long ret = !o ? -EINVAL : cmd == MSG_STAT_ANY ? 0 : ipc_may(o, t->cred, 0444);
    if (!ret) {
        struct msgq *q = q_of(o);
        ipc_perm_out(o, &d.msg_perm);
        d.msg_stime = q->stime;
        d.msg_rtime = q->rtime;
        d.msg_ctime = q->ctime;
        d.__msg_cbytes = q->bytes;
        d.msg_qnum = q->nmsgs;
        d.msg_qbytes = q->max;
        d.msg_lspid = q->lspid ? kpid_nr_in(q->lspid, t->pidns) : 0;
        d.msg_lrpid = q->lrpid ? kpid_nr_in(q->lrpid, t->pidns) : 0;
        ret = cmd == IPC_STAT ? 0 : o->id;
    }
    mutex_unlock(&msgqs.lock);
    return ret >= 0 && put_user(t->mm, buf, d) ? -EFAULT : ret;
}

static long q_set(struct task *t, int id, uaddr_t buf)
{
    struct msqid_ds d;
    if (get_user(t->mm, buf, d))
        return -EFAULT;
    mutex_lock(&msgqs.lock);
    struct ipc_obj *o = ipc_by_id(&msgqs, t->ipc, id);
    int err = o ? ipc_owner(o, t->cred) : -EINVAL;
    if (!err && d.msg_qbytes > READ_SHARED(sysctls.msgmnb) && !cred_capable(t->cred, CAP_SYS_RESOURCE))
        err = -EPERM;
    if (!err) {
        struct msgq *q = q_of(o);
        ipc_perm_in(o, &d.msg_perm);
        q->max = d.msg_qbytes;
        q->ctime = ipc_now();
        waitq_wake_all(&q->senders, ~0u);
        waitq_wake_all(&q->receivers, ~0u); // who may no longer read learns it
    }
    mutex_unlock(&msgqs.lock);
    return err;
}

static long q_remove(struct task *t, int id)
{
    mutex_lock(&msgqs.lock);
    struct ipc_obj *o = ipc_by_id(&msgqs, t->ipc, id);
    int err = o ? ipc_owner(o, t->cred) : -EINVAL;
    if (!err) {
        ipc_unlink(&msgqs, o);
        waitq_wake_all(&q_of(o)->senders, ~0u);
        waitq_wake_all(&q_of(o)->receivers, ~0u);
    }
    mutex_unlock(&msgqs.lock);
    if (!err)
        ipc_put(&msgqs, o);
    return err;
}

static long q_info(struct task *t, int cmd, uaddr_t buf)
{
    struct msginfo mi = {.msgmax = (int)sysctls.msgmax, .msgmnb = (int)sysctls.msgmnb,
                         .msgmni = (int)sysctls.msgmni, .msgssz = 16, .msgseg = 0xffff,
                         .msgpool = (int)(sysctls.msgmni * sysctls.msgmnb / 1024),
                         .msgmap = (int)sysctls.msgmnb, .msgtql = (int)sysctls.msgmnb};
    int top;
    mutex_lock(&msgqs.lock);
    uint32_t n = ipc_count(&msgqs, t->ipc, &top);
    if (cmd == MSG_INFO) {
        mi.msgpool = (int)n;
        mi.msgmap = mi.msgtql = 0;
        for (int i = 0; i <= top; i++) {
            struct ipc_obj *o = ipc_by_index(&msgqs, t->ipc, i);
            mi.msgmap += o ? (int)q_of(o)->nmsgs : 0;
            mi.msgtql += o ? (int)q_of(o)->bytes : 0;
        }
    }
    mutex_unlock(&msgqs.lock);
    return put_user(t->mm, buf, mi) ? -EFAULT : top;
}

long sys_msgctl(struct task *t, int id, int cmd, uaddr_t buf)
{
    if (id < 0)
        return -EINVAL;
    switch (cmd) {
    case IPC_STAT: case MSG_STAT: case MSG_STAT_ANY:
        return q_stat(t, id, cmd, buf);
    case IPC_SET:
        return q_set(t, id, buf);
    case IPC_RMID:
        return q_remove(t, id);
    case IPC_INFO: case MSG_INFO:
        return q_info(t, cmd, buf);
    default:
        return -EINVAL;
    }
}

static void msg_ns_release(struct ipcns *ns)
{
    mutex_lock(&msgqs.lock);
    for (int i = 0; i < (int)msgqs.nslots; i++) {
        struct ipc_obj *o = ipc_by_index(&msgqs, ns, i);
        if (!o)
            continue;
        ipc_unlink(&msgqs, o); // nobody is left to wait on it
        mutex_unlock(&msgqs.lock);
        ipc_put(&msgqs, o);
        mutex_lock(&msgqs.lock);
    }
    mutex_unlock(&msgqs.lock);
}

__attribute__((constructor)) static void msg_setup(void)
{
    ipcns_on_release(msg_ns_release);
    ipc_table_init(&msgqs, &sysctls.msgmni, q_free);
}
