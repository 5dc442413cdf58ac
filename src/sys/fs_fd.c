// SPDX-License-Identifier: Apache-2.0
// Descriptors: close, dup, fcntl, ioctl, flock.
#include "sys/fs_util.h"
#include <linux/close_range.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

long sys_close(struct task *t, int fd)
{
    int err = fd_close(t->files, fd, t->files);
    // A close that was interrupted has closed: it must not be restarted (close(2)).
    return err <= -ERESTARTSYS && err >= -ERESTART_RESTARTBLOCK ? -EINTR : err;
}

long sys_close_range(struct task *t, uint32_t first, uint32_t last, uint32_t flags)
{
    if (flags & ~(uint32_t)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) || first > last)
        return -EINVAL;
    if ((flags & CLOSE_RANGE_UNSHARE) && fdtab_shared(t->files)) {
        struct fdtab *mine = fdtab_dup(t->files, UINT32_MAX), *old = t->files;
        if (!mine)
            return -ENOMEM;
        task_public_stale_self(t);
        spin_lock(&t->task_lock);
        t->files = mine;
        spin_unlock(&t->task_lock);
        fdtab_put(old, old);
    }
    if (flags & CLOSE_RANGE_CLOEXEC)
        fdtab_cloexec_range(t->files, first, last);
    else
        fdtab_close_range(t->files, first, last, t->files);
    return 0;
}

static long dup_from(struct task *t, int fd, int min, bool cloexec)
{
    struct file *f = fd_get_any(t->files, fd);
    if (!f)
        return -EBADF;
    int nfd = fd_install(t->files, f, min, cloexec, task_rlimit(t, RLIMIT_NOFILE));
    if (nfd < 0)
        file_put(f);
    return nfd;
}
long sys_dup(struct task *t, int fd)
{
    return dup_from(t, fd, 0, false);
}
static long dup_to(struct task *t, int oldfd, int newfd, bool cloexec)
{
    struct file *f, *old = nullptr;
    if (newfd < 0 || (uint64_t)newfd >= task_rlimit(t, RLIMIT_NOFILE))
        return -EBADF;
    f = fd_get_any(t->files, oldfd);
    if (!f)
        return -EBADF;
    int err = fd_install_at(t->files, f, newfd, cloexec, task_rlimit(t, RLIMIT_NOFILE), &old);
    if (err < 0) {
        file_put(f);
        return err;
    }
    if (old)
        file_close(old, t->files); // its error is lost, as Linux says
    return newfd;
}
long sys_dup2(struct task *t, int oldfd, int newfd)
{
    if (oldfd == newfd) {
        FD_FILE_ANY(f, t, oldfd);
        return f ? newfd : -EBADF;
    }
    return dup_to(t, oldfd, newfd, false);
}
long sys_dup3(struct task *t, int oldfd, int newfd, uint32_t flags)
{
    if (flags & ~(uint32_t)O_CLOEXEC || oldfd == newfd)
        return -EINVAL;
    return dup_to(t, oldfd, newfd, flags & O_CLOEXEC);
}

// --- fcntl ----------------------------------------------------------------------------------------------
static int lock_range(struct file *f, const struct flock *u, struct kflock *l)
{
    int64_t base = 0, start, end;
    if (u->l_whence == SEEK_CUR)
        base = f->ops->stream ? 0 : file_seek(f, 0, SEEK_CUR);
    else if (u->l_whence == SEEK_END)
        base = (int64_t)READ_SHARED(f->inode->size);
    else if (u->l_whence != SEEK_SET)
        return -EINVAL;
    if (__builtin_add_overflow(base, u->l_start, &start))
        return -EOVERFLOW;
    if (start < 0)
        return -EINVAL;
    end = INT64_MAX;
    if (u->l_len > 0 && __builtin_add_overflow(start, u->l_len - 1, &end))
        return -EOVERFLOW;
    if (u->l_len < 0) {
        end = start - 1;
        start += u->l_len;
        if (start < 0)
            return -EINVAL;
    }
    *l = (struct kflock){.type = u->l_type, .start = start, .end = end};
    return u->l_type == F_RDLCK || u->l_type == F_WRLCK || u->l_type == F_UNLCK ? 0 : -EINVAL;
}
static long fcntl_lock(struct task *t, struct file *f, uint32_t cmd, uaddr_t arg)
{
    bool ofd = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
    void *owner = ofd ? (void *)f : (void *)t->files;
    struct flock u;
    struct kflock l;
    if (get_user(t->mm, arg, u))
        return -EFAULT;
    if (ofd && u.l_pid != 0)
        return -EINVAL;
    int err = lock_range(f, &u, &l);
    if (err)
        return err;
    l.pid = ofd ? -1 : task_tgid_in(t, t->pidns);
    if (cmd == F_GETLK || cmd == F_OFD_GETLK) {
        if (l.type == F_UNLCK && !ofd)
            return -EINVAL;
        if ((err = posix_lock_test(f, owner, &l)) != 0)
            return err;
        u.l_type = (short)l.type;
        if (l.type != F_UNLCK) {
            u.l_whence = SEEK_SET;
            u.l_start = l.start;
            u.l_len = l.end == INT64_MAX ? 0 : l.end - l.start + 1;
            u.l_pid = l.pid;
        }
        return put_user(t->mm, arg, u);
    }
    if ((l.type == F_RDLCK && !f->can_read) || (l.type == F_WRLCK && !f->can_write))
        return -EBADF;
    return posix_lock(f, owner, &l, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
}

static long fcntl_setfl(struct task *t, struct file *f, uint32_t arg)
{
    constexpr uint32_t can = O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK;
    uint32_t old = READ_SHARED(f->flags);
    if ((arg & O_NOATIME) && !(old & O_NOATIME) && f->inode->uid != t->cred->fsuid &&
        !cred_capable(t->cred, 3 /* CAP_FOWNER */))
        return -EPERM;
    WRITE_SHARED(f->flags, (old & ~can) | (arg & can));
    return 0;
}

static long fcntl_owner(struct task *t, struct file *f, uint32_t cmd, uint64_t arg)
{
    struct f_owner_ex o;
    long ret = 0;
    if (cmd == F_SETOWN_EX && get_user(t->mm, UADDR(arg), o))
        return -EFAULT;
    if (cmd == F_SETOWN_EX && (o.type < F_OWNER_TID || o.type > F_OWNER_PGRP))
        return -EINVAL;
    if (cmd == F_SETOWN) {
        int32_t id = (int32_t)arg;
        if (id == INT32_MIN)
            return -EINVAL;
        o = (struct f_owner_ex){id < 0 ? F_OWNER_PGRP : F_OWNER_PID, id < 0 ? -id : id};
    }
    if (cmd == F_SETSIG && arg > (uint64_t)NSIG_MAX)
        return -EINVAL;
    spin_lock(&f->owner_lock);
    if (cmd == F_SETOWN || cmd == F_SETOWN_EX) {
        f->owner_type = o.type;
        f->owner_id = o.pid;
    } else if (cmd == F_SETSIG) {
        f->owner_sig = (int)arg;
    } else if (cmd == F_GETSIG) {
        ret = f->owner_sig;
    } else if (cmd == F_GETOWN) {
        ret = f->owner_type == F_OWNER_PGRP ? -f->owner_id : f->owner_id;
    } else {
        o = (struct f_owner_ex){f->owner_type, f->owner_id};
    }
    spin_unlock(&f->owner_lock);
    return cmd == F_GETOWN_EX ? put_user(t->mm, UADDR(arg), o) : ret;
}

long sys_fcntl(struct task *t, int fd, uint32_t cmd, uint64_t arg)
{
    FD_FILE_ANY(f, t, fd);
    if (!f)
        return -EBADF;
    switch (cmd) { // what an O_PATH descriptor can do too
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        if (arg >= task_rlimit(t, RLIMIT_NOFILE))
            return -EINVAL;
        return dup_from(t, fd, (int)arg, cmd == F_DUPFD_CLOEXEC);
    case F_GETFD:
        return fd_get_cloexec(t->files, fd) > 0 ? FD_CLOEXEC : 0;
    case F_SETFD:
        return fd_set_cloexec(t->files, fd, arg & FD_CLOEXEC);
    case F_GETFL:
        return READ_SHARED(f->flags) & ~(uint32_t)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
    }
    if (f->opath)
        return -EBADF;
    switch (cmd) {
    case F_SETFL:
        return fcntl_setfl(t, f, (uint32_t)arg);
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return fcntl_lock(t, f, cmd, UADDR(arg));
    case F_GETOWN:
    case F_SETOWN:
    case F_GETOWN_EX:
    case F_SETOWN_EX:
    case F_GETSIG:
    case F_SETSIG:
        return fcntl_owner(t, f, cmd, arg);
    case F_GETLEASE:
        return F_UNLCK;
    case F_SETLEASE:
    case F_NOTIFY:
        return -EINVAL;
    default:
        return f->ops->fcntl ? f->ops->fcntl(f, t, cmd, arg) : -EINVAL;
    }
}

// --- ioctl ----------------------------------------------------------------------------------------------
static long fionread_regular(struct task *t, struct file *f, uaddr_t arg)
{
    int64_t left = (int64_t)READ_SHARED(f->inode->size) - file_pos_peek(f);
    int n = (int)MAX((int64_t)0, MIN(left, (int64_t)INT32_MAX));
    return put_user(t->mm, arg, n);
}
long sys_ioctl(struct task *t, int fd, uint32_t cmd, uint64_t arg)
{
    int on;
    FD_FILE(f, t, fd);
    if (!f)
        return -EBADF;
    switch (cmd) {
    case FIOCLEX:
    case FIONCLEX:
        return fd_set_cloexec(t->files, fd, cmd == FIOCLEX);
    case FIONBIO:
    case FIOASYNC: {
        uint32_t bit = cmd == FIONBIO ? O_NONBLOCK : O_ASYNC;
        if (get_user(t->mm, UADDR(arg), on))
            return -EFAULT;
        if (on)
            __atomic_or_fetch(&f->flags, bit, __ATOMIC_RELAXED);
        else
            __atomic_and_fetch(&f->flags, ~bit, __ATOMIC_RELAXED);
        return 0;
    }
    case FIONREAD:
        if (S_ISREG(f->inode->mode))
            return fionread_regular(t, f, UADDR(arg));
        break;
    }
    return f->ops->ioctl ? f->ops->ioctl(f, t, cmd, arg) : -ENOTTY;
}

long sys_flock(struct task *t, int fd, int op)
{
    int kind = op & ~LOCK_NB;
    FD_FILE(f, t, fd);
    if (!f)
        return -EBADF;
    if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN)
        return -EINVAL;
    return flock_lock(f, op);
}
