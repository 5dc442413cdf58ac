// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: sending and receiving. Guest memory is copied with no spinlock held: a sender fills a
// message before it queues it; a stream reader holds iolock, so that the message at the head of
// the queue stays while its bytes are copied out.
#include "abi/errno.h"
#include "base/slab.h"
#include "socket/unix.h"
#include <string.h>

constexpr size_t CHUNK_MAX = 65536;
constexpr size_t LARGE = 16384;
constexpr uint32_t MSG_OVERHEAD = 512; // Linux charges its buffer heads too; see truesize

// --- messages ----------------------------------------------------------------------------------
static struct unix_msg *msg_new(struct unix_sock *from, size_t n)
{
    // A sender of large messages gets the same memory again and again: the allocator would give it
    // back to the host each time. It is not zeroed: the data is filled before it is read.
    size_t cap = n > LARGE ? CHUNK_MAX : n;
    struct unix_msg *m = cap == CHUNK_MAX && READ_SHARED(from->spare)
                             ? __atomic_exchange_n(&from->spare, nullptr, __ATOMIC_ACQ_REL)
                             : nullptr;
    if (n > cap)
        cap = n;
    if (!m || n > CHUNK_MAX) {
        mem_free(m);
        m = mem_realloc(nullptr, sizeof(*m) + cap);
    }
    if (!m)
        return nullptr;
    *m = (struct unix_msg){};
    list_init(&m->link);
    m->from = unix_get(from);
    m->cap = (uint32_t)cap;
    m->charge = (uint32_t)n + MSG_OVERHEAD;
    __atomic_fetch_add(&from->wmem, m->charge, __ATOMIC_RELAXED);
    return m;
}

void unix_msg_free(struct unix_msg *m)
{
    struct unix_sock *from = m->from;
    if (m->fds)
        unix_fds_free(m->fds);
    if (m->pid)
        kpid_put(m->pid);
    __atomic_fetch_sub(&from->wmem, m->charge, __ATOMIC_RELEASE);
    if (unix_writable(from) && waitq_active(&from->sk.wq))
        waitq_wake(&from->sk.wq, POLLOUT | POLLWRNORM | POLLWRBAND);
    if (m->cap == CHUNK_MAX)
        m = __atomic_exchange_n(&from->spare, m, __ATOMIC_ACQ_REL);
    mem_free(m);
    unix_put(from);
}

void unix_msgs_free(struct list *msgs)
{
    while (!list_empty(msgs)) {
        struct unix_msg *m = list_first(msgs, struct unix_msg, link);
        list_del(&m->link);
        if (m->fds)
            unix_fds_leave(m->fds);
        unix_msg_free(m);
    }
}

static void msg_set_creds(struct unix_msg *m, struct task *t, const struct unix_scm *scm,
                          const struct unix_sock *from, const struct unix_sock *to)
{
    if (scm->pid) {
        m->pid = kpid_get(scm->pid);
        m->uid = scm->uid;
        m->gid = scm->gid;
    } else if (from->sk.passcred || to->sk.passcred || !to->sk.ino) {
        m->pid = kpid_get(t->group->tgid_pid);
        m->uid = t->cred->uid;
        m->gid = t->cred->gid;
    }
}

// Waits until the send buffer has room.
static int wait_room(struct unix_sock *u, ktime_t deadline)
{
    for (;;) {
        int err = socket_take_error(&u->sk);
        if (err)
            return err;
        if (READ_SHARED(u->shut) & UNIX_SHUT_WR)
            return -EPIPE;
        if (READ_SHARED(u->wmem) < READ_SHARED(u->sk.sndbuf))
            return 0;
        if (!deadline)
            return -EAGAIN;
        err = wait_event(&u->sk.wq,
                         READ_SHARED(u->wmem) < READ_SHARED(u->sk.sndbuf) || READ_SHARED(u->sk.so_error) ||
                             (READ_SHARED(u->shut) & UNIX_SHUT_WR),
                         deadline, PARK_INTERRUPTIBLE);
        if (err)
            return err == -EINTR ? socket_intr(u->sk.sndtimeo) : -EAGAIN;
    }
}

static struct unix_msg *msg_fill(struct unix_sock *u, struct uio *src, size_t n, int *err)
{
    struct unix_msg *m = msg_new(u, n);
    if (!m) {
        *err = -ENOMEM;
        return nullptr;
    }
    if (n && uio_copy_from(src, m->data, n) != (long)n) {
        unix_msg_free(m);
        *err = -EFAULT;
        return nullptr;
    }
    m->len = (uint32_t)n;
    return m;
}

static void queue_msg(struct unix_sock *p, struct unix_msg *m) // [p->lock]
{
    list_push_back(&p->rxq, &m->link);
    ADD_SHARED(p->rxn, 1);
    ADD_SHARED(p->rxbytes, m->len);
}

// --- stream ------------------------------------------------------------------------------------
// Queues one chunk. -EPIPE when nobody will read it.
static int stream_push(struct unix_sock *p, struct unix_msg *m)
{
    if (m->fds)
        unix_fds_enter(m->fds);
    spin_lock(&p->lock);
    bool gone = p->dead || (p->shut & UNIX_SHUT_RD);
    if (!gone)
        queue_msg(p, m);
    spin_unlock(&p->lock);
    if (!gone) {
        waitq_wake(&p->sk.wq, POLLIN | POLLRDNORM);
        return 0;
    }
    if (m->fds)
        unix_fds_leave(m->fds);
    unix_msg_free(m);
    return -EPIPE;
}

static long send_chunks(struct unix_sock *u, struct unix_sock *p, struct task *t, struct sockmsg *sm,
                        struct unix_scm *scm, struct uio *src)
{
    ktime_t deadline = socket_deadline(u->sk.sndtimeo, sm->flags & MSG_DONTWAIT);
    long total = 0;
    int err = 0;
    while (src->resid) {
        if (READ_SHARED(p->dead) || (READ_SHARED(p->shut) & UNIX_SHUT_RD)) {
            err = -EPIPE;
            break;
        }
        err = wait_room(u, deadline);
        if (err)
            break;
        // At most half of the buffer, so that reader and writer overlap.
        size_t n = MIN(src->resid, MIN(CHUNK_MAX, MAX((size_t)u->sk.sndbuf / 2, 1024)));
        struct unix_msg *m = msg_fill(u, src, n, &err);
        if (!m)
            break;
        msg_set_creds(m, t, scm, u, p);
        m->fds = scm->fds; // with the first byte
        scm->fds = nullptr;
        err = stream_push(p, m);
        if (err)
            break;
        total += (long)n;
    }
    if (err == -EPIPE && !total)
        socket_sigpipe(sm->flags);
    return total ? total : err;
}

static long send_stream(struct unix_sock *u, struct task *t, struct sockmsg *sm, struct unix_scm *scm,
                        struct uio *src)
{
    if (sm->addrlen)
        return READ_SHARED(u->state) == UNIX_CONNECTED ? -EISCONN : -EOPNOTSUPP;
    struct unix_sock *p = unix_peer_get(u);
    if (!p)
        return -ENOTCONN;
    long ret;
    if (READ_SHARED(u->shut) & UNIX_SHUT_WR) {
        ret = socket_take_error(&u->sk);
        if (!ret) {
            ret = -EPIPE;
            socket_sigpipe(sm->flags);
        }
    } else {
        ret = send_chunks(u, p, t, sm, scm, src);
    }
    unix_put(p);
    return ret;
}

// Everything a reading call keeps while it goes along the queue.
struct reader {
    struct unix_sock *u;
    struct task *t;
    struct sockmsg *m;
    struct uio *dst;
    bool peek, have_cred, stop;
    struct kpid *pid;  // ref: of the bytes read so far
    uint32_t uid, gid;
    struct unix_fds *fds; // owned: taken off a message, or a copy when peeking
    long copied;
};

static bool reader_same_cred(struct reader *r, const struct unix_msg *m)
{
    if (!r->u->sk.passcred)
        return true;
    if (!r->have_cred) {
        r->have_cred = true;
        r->pid = m->pid ? kpid_get(m->pid) : nullptr;
        r->uid = m->pid ? m->uid : 65534;
        r->gid = m->pid ? m->gid : 65534;
        return true;
    }
    return r->pid == m->pid && (!m->pid || (r->uid == m->uid && r->gid == m->gid));
}

// Copies from one message. Consumes it unless peeking. False: stop here.
static bool reader_take(struct reader *r, struct unix_msg *m)
{
    struct unix_sock *u = r->u;
    if (!reader_same_cred(r, m))
        return false;
    size_t n = MIN((size_t)(m->len - m->off), r->dst->resid);
    long got = n ? uio_copy_to(r->dst, m->data + m->off, n) : 0;
    if (got < 0 || (size_t)got < n) {
        if (got <= 0 && !r->copied)
            r->copied = -EFAULT;
        r->stop = true;
        if (got <= 0)
            return false;
    }
    r->copied += got;
    if (r->peek) {
        if (m->fds)
            r->fds = unix_fds_dup(m->fds);
        return !m->fds && !r->stop;
    }
    spin_lock(&u->lock);
    m->off += (uint32_t)got;
    ADD_SHARED(u->rxbytes, -(uint64_t)got);
    r->fds = m->fds;
    m->fds = nullptr;
    bool done = m->off == m->len;
    if (done) {
        list_del(&m->link);
        ADD_SHARED(u->rxn, -1u);
    }
    spin_unlock(&u->lock);
    if (r->fds)
        unix_fds_leave(r->fds);
    if (done)
        unix_msg_free(m);
    return done && !r->fds && !r->stop;
}

// Takes what is there. True: the call is complete whatever MSG_WAITALL says.
static bool reader_drain(struct reader *r)
{
    struct unix_msg *prev = nullptr;
    while (r->dst->resid) {
        spin_lock(&r->u->lock);
        struct list *l = prev ? prev->link.next : r->u->rxq.next;
        struct unix_msg *m = l == &r->u->rxq ? nullptr : list_entry(l, struct unix_msg, link);
        spin_unlock(&r->u->lock);
        if (!m)
            return r->peek && r->copied;
        if (!reader_take(r, m))
            return true;
        prev = r->peek ? m : nullptr;
    }
    return true;
}

static long reader_wait(struct reader *r, ktime_t *deadline)
{
    struct unix_sock *u = r->u;
    int err = socket_take_error(&u->sk);
    if (err)
        return err;
    if (READ_SHARED(u->shut) & UNIX_SHUT_RD)
        return 1;
    if (!*deadline)
        return -EAGAIN;
    mutex_unlock(&u->iolock);
    struct waiter w;
    waiter_init(&w);
    w.mask = POLLIN | POLLHUP | POLLERR | POLLRDHUP;
    waitq_add(&u->sk.wq, &w);
    err = 0;
    if (!READ_SHARED(u->rxn) && !(READ_SHARED(u->shut) & UNIX_SHUT_RD) && !READ_SHARED(u->sk.so_error))
        err = fiber_park(*deadline, PARK_INTERRUPTIBLE);
    waitq_remove(&w);
    mutex_lock(&u->iolock);
    if (err == -ETIMEDOUT)
        *deadline = 0;
    return err == -EINTR && !READ_SHARED(u->rxn) ? socket_intr(u->sk.rcvtimeo) : 0;
}

static void reader_finish(struct reader *r)
{
    struct unix_msg head = {.pid = r->pid, .uid = r->uid, .gid = r->gid};
    if (!r->pid)
        head.uid = head.gid = 65534;
    if (r->copied >= 0)
        unix_scm_deliver(r->u, r->t, r->m, &head, r->fds);
    if (r->fds)
        unix_fds_free(r->fds);
    if (r->pid)
        kpid_put(r->pid);
}

static long recv_stream(struct unix_sock *u, struct task *t, struct sockmsg *sm, struct uio *dst)
{
    struct reader r = {.u = u, .t = t, .m = sm, .dst = dst, .peek = sm->flags & MSG_PEEK};
    ktime_t deadline = socket_deadline(u->sk.rcvtimeo, sm->flags & MSG_DONTWAIT);
    size_t want = sm->flags & MSG_WAITALL ? dst->resid : MIN(dst->resid, (size_t)u->sk.rcvlowat);
    long err = 0;
    sm->addrlen = 0;
    if (READ_SHARED(u->state) != UNIX_CONNECTED)
        return -EINVAL;
    mutex_lock(&u->iolock);
    while (dst->resid) {
        if (reader_drain(&r) || (r.copied > 0 && (size_t)r.copied >= want))
            break;
        err = reader_wait(&r, &deadline);
        if (err)
            break;
    }
    mutex_unlock(&u->iolock);
    reader_finish(&r);
    return r.copied || err >= 0 ? r.copied : err;
}

// --- datagrams and records ---------------------------------------------------------------------
// Whom to send to; ref.
static int dgram_target(struct unix_sock *u, struct task *t, const struct sockmsg *sm,
                        struct unix_sock **out)
{
    if (sm->addrlen && unix_is_dgram(u))
        return unix_find(t, &sm->addr, sm->addrlen, u->sk.type, out);
    *out = unix_peer_get(u);
    return *out ? 0 : -ENOTCONN;
}

// The connected peer is gone: forget it.
static void dgram_forget(struct unix_sock *u, struct unix_sock *p)
{
    spin_lock(&u->lock);
    bool was = u->peer == p;
    if (was) {
        waitq_remove(&u->relay);
        u->peer = nullptr;
        WRITE_SHARED(u->state, UNIX_IDLE);
    }
    spin_unlock(&u->lock);
    if (was)
        unix_put(p);
}

// One try. 0: queued; -EAGAIN: the receiver's queue is full.
static int dgram_push(struct unix_sock *u, struct unix_sock *p, struct unix_msg *m)
{
    int err = 0;
    spin_lock(&p->lock);
    if (p->dead)
        err = unix_is_dgram(u) ? -ECONNREFUSED : -EPIPE;
    else if (p->peer && p->peer != u)
        err = -EPERM;
    else if (p->shut & UNIX_SHUT_RD)
        err = -EPIPE;
    else if (p != u && p->peer != u && unix_dgram_full(p))
        err = -EAGAIN;
    else
        queue_msg(p, m);
    spin_unlock(&p->lock);
    return err;
}

static int dgram_deliver(struct unix_sock *u, struct task *t, struct sockmsg *sm, struct unix_msg *m,
                         ktime_t deadline)
{
    for (;;) {
        struct unix_sock *p;
        int err = dgram_target(u, t, sm, &p);
        if (err)
            return err;
        err = dgram_push(u, p, m);
        if (err == -ECONNREFUSED && !sm->addrlen)
            dgram_forget(u, p);
        if (err == -EAGAIN && deadline) {
            int w = wait_event(&p->peer_wait,
                               !unix_dgram_full(p) || READ_SHARED(p->dead) ||
                                   (READ_SHARED(p->shut) & UNIX_SHUT_RD),
                               deadline, PARK_INTERRUPTIBLE);
            unix_put(p);
            if (w == -EINTR)
                return socket_intr(u->sk.sndtimeo);
            if (w)
                deadline = 0;
            continue;
        }
        if (!err)
            waitq_wake(&p->sk.wq, POLLIN | POLLRDNORM);
        unix_put(p);
        return err;
    }
}

static long send_dgram(struct unix_sock *u, struct task *t, struct sockmsg *sm, struct unix_scm *scm,
                       struct uio *src)
{
    size_t n = src->resid;
    int err = 0;
    if (!unix_is_dgram(u)) {
        err = socket_take_error(&u->sk);
        if (err)
            return err;
        if (READ_SHARED(u->state) != UNIX_CONNECTED)
            return -ENOTCONN;
    } else if (u->sk.passcred) {
        err = unix_autobind(u);
    }
    struct unix_sock *p;
    if (!err)
        err = dgram_target(u, t, sm, &p);
    if (err)
        return err;
    if (n > (size_t)u->sk.sndbuf - 32 || n > INT32_MAX / 2)
        err = -EMSGSIZE;
    ktime_t deadline = socket_deadline(u->sk.sndtimeo, sm->flags & MSG_DONTWAIT);
    if (!err)
        err = wait_room(u, deadline);
    struct unix_msg *m = err ? nullptr : msg_fill(u, src, n, &err);
    if (m) {
        msg_set_creds(m, t, scm, u, p);
        m->fds = scm->fds;
        scm->fds = nullptr;
        if (m->fds)
            unix_fds_enter(m->fds);
        err = dgram_deliver(u, t, sm, m, deadline);
        if (err) {
            if (m->fds)
                unix_fds_leave(m->fds);
            unix_msg_free(m);
        }
    }
    unix_put(p);
    return err ? err : (long)n;
}

// The first message, taken off the queue unless peeking (then iolock keeps it). Null and *err.
static struct unix_msg *dgram_next(struct unix_sock *u, struct sockmsg *sm, int *err)
{
    ktime_t deadline = socket_deadline(u->sk.rcvtimeo, sm->flags & MSG_DONTWAIT);
    struct reader r = {.u = u};
    for (;;) {
        spin_lock(&u->lock);
        struct unix_msg *m = list_first(&u->rxq, struct unix_msg, link);
        if (m && !(sm->flags & MSG_PEEK)) {
            list_del(&m->link);
            ADD_SHARED(u->rxn, -1u);
            ADD_SHARED(u->rxbytes, -(uint64_t)m->len);
        }
        spin_unlock(&u->lock);
        if (m)
            return m;
        // A datagram socket that does not wait says EAGAIN even after shutdown.
        long w = !deadline && unix_is_dgram(u) && !READ_SHARED(u->sk.so_error) ? -EAGAIN
                                                                                : reader_wait(&r, &deadline);
        if (w) {
            *err = w > 0 ? 0 : (int)w;
            return nullptr;
        }
    }
}

static long recv_dgram(struct unix_sock *u, struct task *t, struct sockmsg *sm, struct uio *dst)
{
    bool peek = sm->flags & MSG_PEEK;
    int err = 0;
    sm->addrlen = 0;
    if (!unix_is_dgram(u) && READ_SHARED(u->state) != UNIX_CONNECTED)
        return -ENOTCONN;
    mutex_lock(&u->iolock);
    struct unix_msg *m = dgram_next(u, sm, &err);
    if (!m) {
        mutex_unlock(&u->iolock);
        return err;
    }
    size_t n = MIN((size_t)m->len, dst->resid);
    if (n < m->len)
        sm->out_flags |= MSG_TRUNC;
    struct unix_addr *from = __atomic_load_n(&m->from->addr, __ATOMIC_ACQUIRE);
    if (from) {
        memcpy(&sm->addr, &from->sun, MIN(from->len, sizeof(from->sun)));
        sm->addrlen = from->len;
    }
    long ret = n && uio_copy_to(dst, m->data, n) != (long)n ? -EFAULT
               : sm->flags & MSG_TRUNC                      ? (long)m->len
                                                            : (long)n;
    struct unix_msg head = {.pid = m->pid ? kpid_get(m->pid) : nullptr, .uid = m->uid, .gid = m->gid};
    if (!m->pid)
        head.uid = head.gid = 65534;
    struct unix_fds *fds = m->fds;
    if (fds && peek)
        fds = unix_fds_dup(fds);
    else
        m->fds = nullptr;
    mutex_unlock(&u->iolock);
    if (fds && !peek)
        unix_fds_leave(fds);
    if (ret >= 0)
        unix_scm_deliver(u, t, sm, &head, fds);
    if (fds)
        unix_fds_free(fds);
    if (head.pid)
        kpid_put(head.pid);
    if (!peek) {
        unix_msg_free(m);
        waitq_wake(&u->peer_wait, POLLOUT | POLLWRNORM | POLLWRBAND);
    }
    return ret;
}

// --- entry points ------------------------------------------------------------------------------
long unix_send(struct socket *s, struct task *t, struct sockmsg *m, struct uio *u)
{
    struct unix_sock *us = unix_of(s);
    struct unix_scm scm = {};
    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    int err = m->ctl_len ? unix_scm_parse(t, m, &scm) : 0;
    long ret = err                  ? err
               : unix_is_stream(us) ? send_stream(us, t, m, &scm, u)
                                    : send_dgram(us, t, m, &scm, u);
    unix_scm_free(&scm);
    return ret;
}

long unix_recv(struct socket *s, struct task *t, struct sockmsg *m, struct uio *u)
{
    struct unix_sock *us = unix_of(s);
    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    return unix_is_stream(us) ? recv_stream(us, t, m, u) : recv_dgram(us, t, m, u);
}
