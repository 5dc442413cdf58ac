// SPDX-License-Identifier: Apache-2.0
// inotify system calls.
#include "vfs/inotify.h"
#include "abi/errno.h"
#include "sys/fs_util.h"
#include "sys/protos.h"
#include <fcntl.h>
#include <sys/inotify.h>

long sys_inotify_init1(struct task *t, uint32_t flags)
{
    struct file *f;
    if (flags & ~(uint32_t)(IN_CLOEXEC | IN_NONBLOCK))
        return -EINVAL;
    int err = inotify_new((int)flags, t->cred, &f);
    if (err)
        return err;
    int fd = fd_install(t->files, f, 0, flags & IN_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
    if (fd < 0)
        file_put(f);
    return fd;
}

long sys_inotify_init(struct task *t)
{
    return sys_inotify_init1(t, 0);
}

long sys_inotify_add_watch(struct task *t, int fd, uaddr_t name, uint32_t mask)
{
    if (!(mask & (IN_ALL_EVENTS | IN_UNMOUNT)))
        return -EINVAL;
    if ((mask & IN_MASK_ADD) && (mask & IN_MASK_CREATE))
        return -EINVAL;
    struct file *f = fd_get(t->files, fd);
    if (!f)
        return -EBADF;
    unsigned flags = (mask & IN_DONT_FOLLOW ? 0 : LOOKUP_FOLLOW) | (mask & IN_ONLYDIR ? LOOKUP_DIRECTORY : 0);
    struct path p;
    int err = user_path_lookup(t, AT_FDCWD, name, flags, &p);
    if (!err) {
        err = p.dentry->inode ? inode_permission(p.dentry->inode, 4, t->cred) : -ENOENT;
        if (!err)
            err = inotify_add(f, &p, mask);
        path_put(p);
    }
    file_put(f);
    return err;
}

long sys_inotify_rm_watch(struct task *t, int fd, int wd)
{
    struct file *f = fd_get(t->files, fd);
    if (!f)
        return -EBADF;
    int err = inotify_remove(f, wd);
    file_put(f);
    return err;
}

static struct mm *task_mm(struct task *t)
{
    return t->mm;
}
__attribute__((constructor)) static void inotify_hook(void)
{
    vfs_hooks.task_mm = task_mm;
}
