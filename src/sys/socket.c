// SPDX-License-Identifier: Apache-2.0
// The socket system calls: addresses, vectors and control data are copied here, once; what the
// families get is kernel memory.
#include "socket/socket.h"
#include "base/slab.h"
#include "kern/sysctl.h"
#include "sys/fs_util.h"
#include "sys/protos.h"
#include "sys/waitarg.h"
#include <fcntl.h>
#include <limits.h>

constexpr size_t CONTROL_MAX = 20480; // net.core.optmem_max
constexpr size_t CONTROL_FAST = 128;
constexpr size_t OPT_MAX = 65536;
static_assert(sizeof(struct msghdr) == 56);

// A descriptor's socket; the file reference is the caller's. -EBADF, -ENOTSOCK.
static int get_socket(struct task *t, int fd, struct file **f, struct socket **s)
{
    *f = fd_get(t->files, fd);
    if (!*f)
        return -EBADF;
    *s = socket_of(*f);
    if (*s)
        return 0;
    file_put(*f);
    return -ENOTSOCK;
}

static int nonblock_flag(struct file *f)
{
    return (int)(READ_SHARED(f->flags) & O_NONBLOCK);
}

static int addr_in(struct task *t, struct sockaddr_storage *a, uaddr_t p, int len)
{
    *a = (struct sockaddr_storage){};
    if (len < 0 || (size_t)len > sizeof(*a))
        return -EINVAL;
    return len ? copy_in(t->mm, a, p, (size_t)len) : 0;
}

// Writes an address back: as much as fits, and its full length to *lenp.
static int addr_out(struct task *t, const struct sockaddr_storage *a, uint32_t len, uaddr_t p, uaddr_t lenp)
{
    int room;
    if (get_user(t->mm, lenp, room))
        return -EFAULT;
    if (room < 0)
        return -EINVAL;
    size_t n = MIN((size_t)room, MIN((size_t)len, sizeof(*a)));
    if (n && copy_out(t->mm, p, a, n))
        return -EFAULT;
    return put_user(t->mm, lenp, len);
}

static long install_file(struct task *t, struct file *f, uint32_t type_flags)
{
    int fd = fd_install(t->files, f, 0, type_flags & SOCK_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
    if (fd < 0)
        file_put(f);
    return fd;
}

// --- making ------------------------------------------------------------------------------------
static int new_socket(struct task *t, int family, int type, int protocol, struct socket **s)
{
    if ((type & ~0xf) & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
        return -EINVAL;
    return socket_create(t, family, type & 0xf, protocol, s);
}

long sys_socket(struct task *t, int family, int type, int protocol)
{
    struct socket *s;
    struct file *f;
    int err = new_socket(t, family, type, protocol, &s);
    if (err)
        return err;
    err = socket_file_new(s, type & SOCK_NONBLOCK, t->cred, &f);
    if (err) {
        s->ops->release(s);
        return err;
    }
    return install_file(t, f, (uint32_t)type);
}

long sys_socketpair(struct task *t, int family, int type, int protocol, uaddr_t out)
{
    struct socket *s[2] = {};
    struct file *f[2] = {};
    int fd[2] = {-1, -1}, err = 0;
    for (int i = 0; i < 2 && !err; i++) {
        err = new_socket(t, family, type, protocol, &s[i]);
        if (!err)
            err = socket_file_new(s[i], type & SOCK_NONBLOCK, t->cred, &f[i]);
        if (err && s[i])
            s[i]->ops->release(s[i]);
    }
    if (!err)
        err = s[0]->ops->pair ? s[0]->ops->pair(s[0], s[1], t) : -EOPNOTSUPP;
    for (int i = 0; i < 2 && !err; i++) {
        fd[i] = fd_install(t->files, f[i], 0, type & SOCK_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
        if (fd[i] < 0)
            err = fd[i];
        else
            f[i] = nullptr;
    }
    if (!err && copy_out(t->mm, out, fd, sizeof(fd)))
        err = -EFAULT;
    for (int i = 0; i < 2 && err; i++) {
        if (f[i])
            file_put(f[i]);
        else if (fd[i] >= 0)
            fd_close(t->files, fd[i], t->files);
    }
    return err;
}

// --- names and connections ---------------------------------------------------------------------
long sys_bind(struct task *t, int fd, uaddr_t addr, int len)
{
    struct file *f;
    struct socket *s;
    struct sockaddr_storage a;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    err = addr_in(t, &a, addr, len);
    if (!err)
        err = s->ops->bind(s, t, &a, (uint32_t)len);
    file_put(f);
    return err;
}

long sys_connect(struct task *t, int fd, uaddr_t addr, int len)
{
    struct file *f;
    struct socket *s;
    struct sockaddr_storage a;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    err = addr_in(t, &a, addr, len);
    if (!err)
        err = s->ops->connect(s, t, &a, (uint32_t)len, nonblock_flag(f));
    file_put(f);
    return err;
}

long sys_listen(struct task *t, int fd, int backlog)
{
    struct file *f;
    struct socket *s;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    uint32_t max = READ_SHARED(sysctls.somaxconn);
    if ((uint32_t)backlog > max)
        backlog = (int)max;
    err = s->ops->listen(s, t, backlog);
    file_put(f);
    return err;
}

static long do_accept(struct task *t, struct file *f, struct socket *s, uaddr_t addr, uaddr_t lenp,
                      uint32_t flags)
{
    struct socket *n;
    struct file *nf;
    int err = s->ops->accept(s, nonblock_flag(f), &n);
    if (err)
        return err;
    err = socket_file_new(n, flags & SOCK_NONBLOCK, t->cred, &nf);
    if (err) {
        n->ops->release(n);
        return err;
    }
    if (!uaddr_null(addr)) {
        struct sockaddr_storage a = {};
        uint32_t len = 0;
        err = n->ops->getname(n, &a, &len, true);
        // Gone again before we looked.
        if (err)
            err = -ECONNABORTED;
        if (!err)
            err = addr_out(t, &a, len, addr, lenp);
        if (err) {
            file_put(nf);
            return err;
        }
    }
    return install_file(t, nf, flags);
}

long sys_accept4(struct task *t, int fd, uaddr_t addr, uaddr_t lenp, uint32_t flags)
{
    struct file *f;
    struct socket *s;
    if (flags & ~(uint32_t)(SOCK_CLOEXEC | SOCK_NONBLOCK))
        return -EINVAL;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    long ret = do_accept(t, f, s, addr, lenp, flags);
    file_put(f);
    return ret;
}

long sys_accept(struct task *t, int fd, uaddr_t addr, uaddr_t lenp)
{
    return sys_accept4(t, fd, addr, lenp, 0);
}

static long get_name(struct task *t, int fd, uaddr_t addr, uaddr_t lenp, bool peer)
{
    struct file *f;
    struct socket *s;
    struct sockaddr_storage a = {};
    uint32_t len = 0;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    err = s->ops->getname(s, &a, &len, peer);
    if (!err)
        err = addr_out(t, &a, len, addr, lenp);
    file_put(f);
    return err;
}
long sys_getsockname(struct task *t, int fd, uaddr_t addr, uaddr_t lenp)
{
    return get_name(t, fd, addr, lenp, false);
}
long sys_getpeername(struct task *t, int fd, uaddr_t addr, uaddr_t lenp)
{
    return get_name(t, fd, addr, lenp, true);
}

long sys_shutdown(struct task *t, int fd, int how)
{
    struct file *f;
    struct socket *s;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    err = how < SHUT_RD || how > SHUT_RDWR ? -EINVAL : s->ops->shutdown(s, how);
    file_put(f);
    return err;
}

// --- options -----------------------------------------------------------------------------------
long sys_setsockopt(struct task *t, int fd, int level, int name, uaddr_t val, int len)
{
    struct file *f;
    struct socket *s;
    uint8_t fast[CONTROL_FAST], *buf = fast;
    if (len < 0)
        return -EINVAL;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    if ((size_t)len > OPT_MAX)
        err = -ENOMEM;
    else if ((size_t)len > sizeof(fast) && !(buf = mem_alloc((size_t)len)))
        err = -ENOMEM;
    if (!err && len)
        err = copy_in(t->mm, buf, val, (size_t)len);
    if (!err)
        err = socket_setopt(s, t, level, name, buf, (uint32_t)len);
    if (buf != fast)
        mem_free(buf);
    file_put(f);
    return err;
}

long sys_getsockopt(struct task *t, int fd, int level, int name, uaddr_t val, uaddr_t lenp)
{
    struct file *f;
    struct socket *s;
    uint8_t fast[CONTROL_FAST] = {}, *buf = fast;
    int room;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    err = get_user(t->mm, lenp, room);
    if (!err && room < 0)
        err = -EINVAL;
    size_t cap = err ? 0 : MIN((size_t)room, OPT_MAX);
    if (cap > sizeof(fast) && !(buf = mem_alloc(cap)))
        err = -ENOMEM;
    uint32_t len = (uint32_t)cap;
    if (!err)
        err = socket_getopt(s, t, level, name, buf, &len);
    if (!err && len && copy_out(t->mm, val, buf, MIN((size_t)len, cap)))
        err = -EFAULT;
    if ((!err || err == -ERANGE) && put_user(t->mm, lenp, (int)len))
        err = -EFAULT;
    if (buf != fast)
        mem_free(buf);
    file_put(f);
    return err;
}

// --- sending -----------------------------------------------------------------------------------
long sys_sendto(struct task *t, int fd, uaddr_t buf, size_t n, uint32_t flags, uaddr_t addr, int alen)
{
    struct file *f;
    struct socket *s;
    struct sockmsg m = {.flags = (int)flags};
    struct uiovec v;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    if (!uaddr_null(addr)) {
        err = addr_in(t, &m.addr, addr, alen);
        m.addrlen = (uint32_t)alen;
    }
    if (nonblock_flag(f))
        m.flags |= MSG_DONTWAIT;
    long ret = err;
    if (!err) {
        struct uio u = uio_user(&v, t->mm, buf, MIN(n, (size_t)INT_MAX & ~(PAGE_SIZE - 1)));
        ret = s->ops->send(s, t, &m, &u);
    }
    file_put(f);
    return ret;
}

static int read_msghdr(struct task *t, struct msghdr *h, uaddr_t p)
{
    if (get_user(t->mm, p, *h))
        return -EFAULT;
    if ((int)h->msg_namelen < 0)
        return -EINVAL;
    if (h->msg_namelen > sizeof(struct sockaddr_storage))
        h->msg_namelen = sizeof(struct sockaddr_storage);
    if (h->msg_iovlen > IOV_MAX)
        return -EMSGSIZE;
    return 0;
}

static long send_one(struct task *t, struct file *f, struct socket *s, uaddr_t hdr, int flags)
{
    struct msghdr h;
    struct user_iov iov;
    uint8_t fast[CONTROL_FAST], *ctl = fast;
    int err = read_msghdr(t, &h, hdr);
    if (err)
        return err;
    struct sockmsg m = {.flags = flags, .ctl_len = h.msg_controllen};
    if (h.msg_name && h.msg_namelen) {
        if (copy_in(t->mm, &m.addr, UADDR(h.msg_name), h.msg_namelen))
            return -EFAULT;
        m.addrlen = h.msg_namelen;
    }
    if (m.ctl_len > CONTROL_MAX)
        return -ENOBUFS;
    err = user_iov_get(t, &iov, UADDR(h.msg_iov), h.msg_iovlen);
    if (err)
        return err;
    if (m.ctl_len > sizeof(fast) && !(ctl = mem_alloc(m.ctl_len)))
        err = -ENOMEM;
    if (!err && m.ctl_len)
        err = copy_in(t->mm, ctl, UADDR(h.msg_control), m.ctl_len);
    m.control = ctl;
    if (nonblock_flag(f))
        m.flags |= MSG_DONTWAIT;
    long ret = err ? err : s->ops->send(s, t, &m, &iov.uio);
    if (ctl != fast)
        mem_free(ctl);
    user_iov_free(&iov);
    return ret;
}

long sys_sendmsg(struct task *t, int fd, uaddr_t hdr, uint32_t flags)
{
    struct file *f;
    struct socket *s;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    long ret = send_one(t, f, s, hdr, (int)flags);
    file_put(f);
    return ret;
}

long sys_sendmmsg(struct task *t, int fd, uaddr_t vec, uint32_t n, uint32_t flags)
{
    struct file *f;
    struct socket *s;
    long ret = 0;
    uint32_t done = 0;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    n = MIN(n, (uint32_t)IOV_MAX);
    while (done < n) {
        uaddr_t p = uaddr_add(vec, (uint64_t)done * sizeof(struct mmsghdr));
        ret = send_one(t, f, s, p, (int)flags);
        if (ret < 0)
            break;
        if (put_user(t->mm, uaddr_add(p, offsetof(struct mmsghdr, msg_len)), (uint32_t)ret)) {
            ret = -EFAULT;
            break;
        }
        done++;
    }
    file_put(f);
    return done ? (long)done : ret;
}

// --- receiving ---------------------------------------------------------------------------------
long sys_recvfrom(struct task *t, int fd, uaddr_t buf, size_t n, uint32_t flags, uaddr_t addr, uaddr_t lenp)
{
    struct file *f;
    struct socket *s;
    struct sockmsg m = {.flags = (int)flags};
    struct uiovec v;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    if (nonblock_flag(f))
        m.flags |= MSG_DONTWAIT;
    struct uio u = uio_user(&v, t->mm, buf, MIN(n, (size_t)INT_MAX & ~(PAGE_SIZE - 1)));
    long ret = s->ops->recv(s, t, &m, &u);
    if (ret >= 0 && !uaddr_null(addr)) {
        err = addr_out(t, &m.addr, m.addrlen, addr, lenp);
        if (err)
            ret = err;
    }
    file_put(f);
    return ret;
}

// What recvmsg writes back besides the data.
static int write_back(struct task *t, const struct msghdr *h, const struct sockmsg *m, uaddr_t hdr)
{
    if (h->msg_name) {
        size_t n = MIN((size_t)h->msg_namelen, MIN((size_t)m->addrlen, sizeof(m->addr)));
        if (n && copy_out(t->mm, UADDR(h->msg_name), &m->addr, n))
            return -EFAULT;
        if (put_user(t->mm, uaddr_add(hdr, offsetof(struct msghdr, msg_namelen)), m->addrlen))
            return -EFAULT;
    }
    if (m->ctl_used && copy_out(t->mm, UADDR(h->msg_control), m->ctl_out, m->ctl_used))
        return -EFAULT;
    int out_flags = m->out_flags | (m->flags & MSG_CMSG_CLOEXEC);
    if (put_user(t->mm, uaddr_add(hdr, offsetof(struct msghdr, msg_flags)), out_flags))
        return -EFAULT;
    return put_user(t->mm, uaddr_add(hdr, offsetof(struct msghdr, msg_controllen)), (uint64_t)m->ctl_used);
}

static long recv_one(struct task *t, struct file *f, struct socket *s, uaddr_t hdr, int flags)
{
    struct msghdr h;
    struct user_iov iov;
    uint8_t fast[CONTROL_FAST] = {}, *ctl = fast;
    int err = read_msghdr(t, &h, hdr);
    if (err)
        return err;
    size_t cap = h.msg_control ? MIN(h.msg_controllen, CONTROL_MAX) : 0;
    struct sockmsg m = {.flags = flags, .ctl_len = cap};
    err = user_iov_get(t, &iov, UADDR(h.msg_iov), h.msg_iovlen);
    if (err)
        return err;
    if (cap > sizeof(fast) && !(ctl = mem_alloc(cap)))
        err = -ENOMEM;
    m.ctl_out = cap ? ctl : nullptr;
    if (nonblock_flag(f))
        m.flags |= MSG_DONTWAIT;
    long ret = err ? err : s->ops->recv(s, t, &m, &iov.uio);
    if (ret >= 0) {
        err = write_back(t, &h, &m, hdr);
        if (err)
            ret = err;
    }
    if (ctl != fast)
        mem_free(ctl);
    user_iov_free(&iov);
    return ret;
}

long sys_recvmsg(struct task *t, int fd, uaddr_t hdr, uint32_t flags)
{
    struct file *f;
    struct socket *s;
    int err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    long ret = recv_one(t, f, s, hdr, (int)flags & ~MSG_WAITFORONE);
    file_put(f);
    return ret;
}

// The timeout is looked at after each message only, as in Linux.
static long recv_many(struct task *t, struct file *f, struct socket *s, uaddr_t vec, uint32_t n,
                      int flags, ktime_t deadline)
{
    long ret = 0;
    uint32_t done = 0;
    while (done < n) {
        uaddr_t p = uaddr_add(vec, (uint64_t)done * sizeof(struct mmsghdr));
        ret = recv_one(t, f, s, p, flags & ~MSG_WAITFORONE);
        if (ret < 0)
            break;
        if (put_user(t->mm, uaddr_add(p, offsetof(struct mmsghdr, msg_len)), (uint32_t)ret)) {
            ret = -EFAULT;
            break;
        }
        done++;
        if (flags & MSG_WAITFORONE)
            flags |= MSG_DONTWAIT;
        if (deadline != KTIME_MAX && ktime_now() >= deadline)
            break;
    }
    if (!done)
        return ret;
    // An error after some messages is reported by the next call.
    if (ret < 0 && ret != -EAGAIN && ret != -EFAULT && ret != -ERESTARTSYS && ret != -EINTR)
        WRITE_SHARED(s->so_error, (int)-ret);
    return done;
}

long sys_recvmmsg(struct task *t, int fd, uaddr_t vec, uint32_t n, uint32_t flags, uaddr_t tsp)
{
    struct file *f;
    struct socket *s;
    ktime_t deadline;
    int err = deadline_from_user(t, tsp, &deadline);
    if (!err)
        err = get_socket(t, fd, &f, &s);
    if (err)
        return err;
    long ret = socket_take_error(s);
    if (!ret)
        ret = recv_many(t, f, s, vec, MIN(n, (uint32_t)IOV_MAX), (int)flags, deadline);
    file_put(f);
    if (ret > 0 && !uaddr_null(tsp)) {
        struct timespec left = deadline_left(deadline);
        if (put_user(t->mm, tsp, left))
            return -EFAULT;
    }
    return ret;
}
