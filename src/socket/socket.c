// SPDX-License-Identifier: Apache-2.0
// The family table, socket files and the options that all sockets have.
#include "socket/socket.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/pipe.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>

constexpr int NFAMILIES = 64;
static socket_create_fn *families[NFAMILIES];

struct sock_inode {
    struct inode inode;
};
SLAB_DEFINE(sock_inode_slab, struct sock_inode);
static const struct file_ops socket_fops;

void socket_register_family(int family, socket_create_fn *fn)
{
    CHECK(family > 0 && family < NFAMILIES);
    families[family] = fn;
}

int socket_create(struct task *t, int family, int type, int protocol, struct socket **out)
{
    if (family < 0 || family >= NFAMILIES || !families[family])
        return -EAFNOSUPPORT;
    if (type < 0 || type > SOCK_PACKET)
        return -EINVAL;
    return families[family](t, type, protocol, out);
}

void socket_init(struct socket *s, const struct socket_ops *ops, int family, int type, int protocol)
{
    s->ops = ops;
    s->family = family;
    s->type = type;
    s->protocol = protocol;
    s->sndbuf = s->rcvbuf = SOCK_BUF_DEFAULT;
    s->rcvlowat = 1;
    waitq_init(&s->wq);
}

int socket_take_error(struct socket *s)
{
    return READ_SHARED(s->so_error) ? -__atomic_exchange_n(&s->so_error, 0, __ATOMIC_ACQ_REL) : 0;
}

ktime_t socket_deadline(int64_t timeo, bool nonblock)
{
    ktime_t d;
    if (nonblock)
        return 0;
    return !timeo || __builtin_add_overflow(ktime_now(), timeo, &d) ? KTIME_MAX : d;
}

void socket_sigpipe(int flags)
{
    if (!(flags & MSG_NOSIGNAL))
        pipe_sigpipe();
}

void sockmsg_put(struct sockmsg *m, int level, int type, const void *data, size_t n)
{
    struct cmsghdr h = {.cmsg_level = level, .cmsg_type = type};
    size_t room = m->ctl_len - m->ctl_used;
    if (!m->ctl_out || room < sizeof(h)) {
        m->out_flags |= MSG_CTRUNC;
        return;
    }
    size_t len = sizeof(h) + n;
    if (len > room) {
        m->out_flags |= MSG_CTRUNC;
        len = room;
    }
    h.cmsg_len = len;
    memcpy(m->ctl_out + m->ctl_used, &h, sizeof(h));
    memcpy(m->ctl_out + m->ctl_used + sizeof(h), data, len - sizeof(h));
    m->ctl_used += MIN(CMSG_ALIGN(len), room);
}

// --- files -------------------------------------------------------------------------------------
static long socket_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct socket *s = f->data;
    struct sockmsg m = {.flags = READ_SHARED(f->flags) & O_NONBLOCK ? MSG_DONTWAIT : 0};
    if (!u->resid)
        return 0; // read(2) of nothing takes no datagram and waits for none; recv(2) does both
    return s->ops->recv(s, task_current(), &m, u);
}

static long socket_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct socket *s = f->data;
    struct sockmsg m = {.flags = READ_SHARED(f->flags) & O_NONBLOCK ? MSG_DONTWAIT : 0};
    if (s->type == SOCK_SEQPACKET)
        m.flags |= MSG_EOR;
    return s->ops->send(s, task_current(), &m, u);
}

static uint32_t socket_poll(struct file *f, struct poll_table *pt)
{
    struct socket *s = f->data;
    return s->ops->poll(s, pt);
}

static long socket_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct socket *s = f->data;
    return s->ops->ioctl ? s->ops->ioctl(s, t, cmd, arg) : -ENOTTY;
}

static void socket_release(struct file *f)
{
    struct socket *s = f->data;
    s->ops->release(s);
}

static const struct file_ops socket_fops = {
    .read = socket_read,
    .write = socket_write,
    .poll = socket_poll,
    .ioctl = socket_ioctl,
    .release = socket_release,
    .stream = true,
    .nowait = true,
};

struct socket *socket_of(struct file *f)
{
    return f->ops == &socket_fops ? f->data : nullptr;
}

static void sock_inode_release(struct inode *i)
{
    slab_free(&sock_inode_slab, container_of(i, struct sock_inode, inode));
}
static const struct inode_ops sock_inode_ops = {
    .release = sock_inode_release,
};

int socket_file_new(struct socket *s, int flags, const struct cred *c, struct file **out)
{
    struct sock_inode *si = slab_alloc(&sock_inode_slab);
    if (!si)
        return -ENOMEM;
    inode_init(&si->inode, vfs_anon_super(), &sock_inode_ops, nullptr, S_IFSOCK | 0777, c);
    si->inode.nlink = 1;
    s->ino = si->inode.ino;
    char name[40];
    snprintf(name, sizeof(name), "socket:[%lu]", si->inode.ino);
    int err = file_new_on_inode(&socket_fops, &si->inode, name, O_RDWR | (flags & O_NONBLOCK), s, c, out);
    inode_put(&si->inode);
    return err;
}

// --- options -----------------------------------------------------------------------------------
static int set_timeo(int64_t *dst, const void *val, uint32_t len)
{
    struct timeval tv;
    if (len < sizeof(tv))
        return -EINVAL;
    memcpy(&tv, val, sizeof(tv));
    if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
        return -EDOM;
    int64_t ns = 0;
    // A negative time is "do not wait" in Linux; the shortest time there is.
    if (tv.tv_sec < 0)
        ns = 1;
    else if (__builtin_mul_overflow((int64_t)tv.tv_sec, 1000000000, &ns) ||
             __builtin_add_overflow(ns, tv.tv_usec * 1000, &ns))
        ns = 0;
    __atomic_store_n(dst, ns, __ATOMIC_RELAXED);
    return 0;
}

static void set_buf(uint32_t *dst, int val, uint32_t max, uint32_t min, bool force)
{
    uint32_t v = val < 0 ? (force ? 0 : max) : (uint32_t)val;
    if (!force && v > max)
        v = max;
    if (v > INT32_MAX / 2)
        v = INT32_MAX / 2;
    WRITE_SHARED(*dst, MAX(v * 2, min));
}

static bool *flag_option(struct socket *s, int name)
{
    switch (name) {
    case SO_REUSEADDR: return &s->reuseaddr;
    case SO_REUSEPORT: return &s->reuseport;
    case SO_KEEPALIVE: return &s->keepalive;
    case SO_BROADCAST: return &s->broadcast;
    case SO_OOBINLINE: return &s->oobinline;
    case SO_PASSCRED: return &s->passcred;
    case SO_PASSSEC: return &s->passsec;
    case SO_TIMESTAMP: return &s->timestamp;
    case SO_TIMESTAMPNS: return &s->timestampns;
    case SO_NO_CHECK: return &s->no_check;
    default: return nullptr;
    }
}

static int set_common(struct socket *s, struct task *t, int name, int v, const void *val, uint32_t len)
{
    switch (name) {
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE:
        if (!cred_capable(t->cred, CAP_NET_ADMIN))
            return -EPERM;
        [[fallthrough]];
    case SO_SNDBUF:
    case SO_RCVBUF: {
        bool snd = name == SO_SNDBUF || name == SO_SNDBUFFORCE;
        bool force = name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE;
        set_buf(snd ? &s->sndbuf : &s->rcvbuf, v, SOCK_BUF_DEFAULT,
                snd ? 4608 : 2304, force);
        if (snd)
            waitq_wake(&s->wq, POLLOUT | POLLWRNORM);
        return 0;
    }
    case SO_LINGER: {
        struct linger l;
        if (len < sizeof(l))
            return -EINVAL;
        memcpy(&l, val, sizeof(l));
        s->linger = l;
        return 0;
    }
    case SO_PRIORITY:
        if ((v < 0 || v > 6) && !cred_capable(t->cred, CAP_NET_ADMIN) &&
            !cred_capable(t->cred, CAP_NET_RAW))
            return -EPERM;
        s->priority = (uint32_t)v;
        return 0;
    case SO_MARK:
        if (!cred_capable(t->cred, CAP_NET_ADMIN) && !cred_capable(t->cred, CAP_NET_RAW))
            return -EPERM;
        s->mark = (uint32_t)v;
        return 0;
    case SO_RCVLOWAT:
        s->rcvlowat = v < 0 ? INT32_MAX : v ? (uint32_t)v : 1;
        return 0;
    case SO_TYPE: case SO_PROTOCOL: case SO_DOMAIN: case SO_ERROR: case SO_ACCEPTCONN: case SO_PEERCRED:
        return -ENOPROTOOPT;
    case SO_DEBUG:
        return v && !cred_capable(t->cred, CAP_NET_ADMIN) ? -EACCES : 0;
    case SO_DONTROUTE:
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

int socket_setopt(struct socket *s, struct task *t, int level, int name, const void *val, uint32_t len)
{
    if (level != SOL_SOCKET)
        return s->ops->setopt ? s->ops->setopt(s, t, level, name, val, len) : -ENOPROTOOPT;
    if (name == SO_RCVTIMEO_OLD || name == SO_RCVTIMEO_NEW)
        return set_timeo(&s->rcvtimeo, val, len);
    if (name == SO_SNDTIMEO_OLD || name == SO_SNDTIMEO_NEW)
        return set_timeo(&s->sndtimeo, val, len);
    if (len < sizeof(int))
        return -EINVAL;
    int v, err;
    memcpy(&v, val, sizeof(v));
    bool *flag = flag_option(s, name);
    if (flag) {
        *flag = v != 0;
        return 0;
    }
    // The family may know it better (and may refuse).
    err = s->ops->setopt ? s->ops->setopt(s, t, level, name, val, len) : -ENOPROTOOPT;
    return err == -ENOPROTOOPT ? set_common(s, t, name, v, val, len) : err;
}

static int put_bytes(void *val, uint32_t *len, const void *src, uint32_t n)
{
    *len = MIN(*len, n);
    memcpy(val, src, *len);
    return 0;
}
static int put_int(void *val, uint32_t *len, int v)
{
    return put_bytes(val, len, &v, sizeof(v));
}
static int put_timeo(void *val, uint32_t *len, int64_t ns)
{
    struct timeval tv = {.tv_sec = ns / 1000000000, .tv_usec = ns % 1000000000 / 1000};
    return put_bytes(val, len, &tv, sizeof(tv));
}

int socket_getopt(struct socket *s, struct task *t, int level, int name, void *val, uint32_t *len)
{
    uint32_t cap = *len;
    int err = s->ops->getopt ? s->ops->getopt(s, t, level, name, val, len) : -ENOPROTOOPT;
    if (level != SOL_SOCKET || err != -ENOPROTOOPT)
        return err;
    *len = cap;
    bool *flag = flag_option(s, name);
    if (flag)
        return put_int(val, len, *flag);
    switch (name) {
    case SO_TYPE: return put_int(val, len, s->type);
    case SO_DOMAIN: return put_int(val, len, s->family);
    case SO_PROTOCOL: return put_int(val, len, s->protocol);
    case SO_ERROR: return put_int(val, len, -socket_take_error(s));
    case SO_ACCEPTCONN: return put_int(val, len, 0);
    case SO_SNDBUF: return put_int(val, len, (int)s->sndbuf);
    case SO_RCVBUF: return put_int(val, len, (int)s->rcvbuf);
    case SO_PRIORITY: return put_int(val, len, (int)s->priority);
    case SO_MARK: return put_int(val, len, (int)s->mark);
    case SO_RCVLOWAT: return put_int(val, len, (int)s->rcvlowat);
    case SO_SNDLOWAT: return put_int(val, len, 1);
    case SO_DEBUG: case SO_DONTROUTE: return put_int(val, len, 0);
    case SO_LINGER: return put_bytes(val, len, &s->linger, sizeof(s->linger));
    case SO_RCVTIMEO_OLD: case SO_RCVTIMEO_NEW: return put_timeo(val, len, s->rcvtimeo);
    case SO_SNDTIMEO_OLD: case SO_SNDTIMEO_NEW: return put_timeo(val, len, s->sndtimeo);
    case 57 /* SO_COOKIE */: return put_bytes(val, len, &s->ino, sizeof(s->ino));
    default: return -ENOPROTOOPT;
    }
}
