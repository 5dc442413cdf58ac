// SPDX-License-Identifier: Apache-2.0
// mq_* system calls.
#include "fs/mqueue.h"
#include "base/slab.h"
#include "sys/fs_util.h"
#include "sys/protos.h"
#include "sys/waitarg.h"
#include <fcntl.h>

constexpr unsigned PRIO_MAX_MQ = 32768; // MQ_PRIO_MAX
constexpr size_t BUF_FAST = 256;

static int name_in(struct task *t, uaddr_t p, char *buf, size_t size)
{
    long n = copy_in_str(t->mm, buf, p, size);
    return n < 0 ? (int)n : 0;
}

long sys_mq_open(struct task *t, uaddr_t name, int flags, uint32_t mode, uaddr_t attr)
{
    char buf[257];
    struct mq_attr a;
    struct file *f;
    bool with_attr = (flags & O_CREAT) && !uaddr_null(attr);
    if (with_attr && get_user(t->mm, attr, a))
        return -EFAULT;
    int err = name_in(t, name, buf, sizeof(buf));
    if (!err)
        err = mqueue_open(t, buf, flags, mode, with_attr ? &a : nullptr, &f);
    if (err)
        return err;
    int fd = fd_install(t->files, f, 0, true, task_rlimit(t, RLIMIT_NOFILE));
    if (fd < 0)
        file_put(f);
    return fd;
}

long sys_mq_unlink(struct task *t, uaddr_t name)
{
    char buf[257];
    int err = name_in(t, name, buf, sizeof(buf));
    return err ? err : mqueue_unlink(t, buf);
}

// An absolute time of the realtime clock in ns; null: INT64_MAX.
static int until_in(struct task *t, uaddr_t p, int64_t *until)
{
    struct timespec ts;
    *until = INT64_MAX;
    if (uaddr_null(p))
        return 0;
    if (get_user(t->mm, p, ts))
        return -EFAULT;
    if (!timespec_valid(&ts))
        return -EINVAL;
    *until = timespec_ns(&ts);
    return 0;
}

long sys_mq_timedsend(struct task *t, int fd, uaddr_t msg, size_t n, uint32_t prio, uaddr_t timeout)
{
    uint8_t fast[BUF_FAST], *buf = fast;
    int64_t until;
    if (prio >= PRIO_MAX_MQ)
        return -EINVAL;
    int err = until_in(t, timeout, &until);
    if (err)
        return err;
    FD_FILE(f, t, fd);
    if (!f || !mqueue_is(f) || !f->can_write)
        return -EBADF;
    if (n > mqueue_msgsize(f))
        return -EMSGSIZE;
    if (n > sizeof(fast) && !(buf = mem_alloc(n)))
        return -ENOMEM;
    err = n ? copy_in(t->mm, buf, msg, n) : 0;
    if (!err)
        err = mqueue_send(f, buf, n, prio, until);
    if (buf != fast)
        mem_free(buf);
    return err;
}

long sys_mq_timedreceive(struct task *t, int fd, uaddr_t msg, size_t n, uaddr_t prio, uaddr_t timeout)
{
    uint8_t fast[BUF_FAST], *buf = fast;
    int64_t until;
    unsigned p;
    int err = until_in(t, timeout, &until);
    if (err)
        return err;
    FD_FILE(f, t, fd);
    if (!f || !mqueue_is(f) || !f->can_read)
        return -EBADF;
    size_t size = mqueue_msgsize(f);
    if (n < size)
        return -EMSGSIZE;
    if (size > sizeof(fast) && !(buf = mem_alloc(size)))
        return -ENOMEM;
    long ret = mqueue_receive(f, buf, size, &p, until);
    if (ret >= 0) {
        if ((!uaddr_null(prio) && put_user(t->mm, prio, p)) || (ret && copy_out(t->mm, msg, buf, (size_t)ret)))
            ret = -EFAULT;
    }
    if (buf != fast)
        mem_free(buf);
    return ret;
}

long sys_mq_notify(struct task *t, int fd, uaddr_t sev)
{
    struct sigevent se;
    if (!uaddr_null(sev)) {
        if (get_user(t->mm, sev, se))
            return -EFAULT;
        // SIGEV_THREAD needs a netlink socket made by the C library.
        if (se.sigev_notify != SIGEV_NONE && se.sigev_notify != SIGEV_SIGNAL)
            return -EINVAL;
        if (se.sigev_notify == SIGEV_SIGNAL && (se.sigev_signo < 0 || se.sigev_signo > NSIG_MAX))
            return -EINVAL;
    }
    FD_FILE(f, t, fd);
    if (!f || !mqueue_is(f))
        return -EBADF;
    return mqueue_notify(f, t, uaddr_null(sev) ? nullptr : &se);
}

long sys_mq_getsetattr(struct task *t, int fd, uaddr_t new_attr, uaddr_t old_attr)
{
    struct mq_attr n, o;
    if (!uaddr_null(new_attr)) {
        if (get_user(t->mm, new_attr, n))
            return -EFAULT;
        if (n.mq_flags & ~(long)O_NONBLOCK)
            return -EINVAL;
    }
    FD_FILE(f, t, fd);
    if (!f || !mqueue_is(f))
        return -EBADF;
    mqueue_attr(f, &o);
    if (!uaddr_null(new_attr)) {
        if (n.mq_flags & O_NONBLOCK)
            __atomic_fetch_or(&f->flags, O_NONBLOCK, __ATOMIC_RELAXED);
        else
            __atomic_fetch_and(&f->flags, ~(uint32_t)O_NONBLOCK, __ATOMIC_RELAXED);
    }
    return uaddr_null(old_attr) ? 0 : put_user(t->mm, old_attr, o);
}
