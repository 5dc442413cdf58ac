// SPDX-License-Identifier: Apache-2.0
// Extended attributes (xattr(7)): which namespaces a task may touch is decided here, storage is the
// file system's.
#include "sys/fs_util.h"
#include "vfs/window.h"
#include <linux/xattr.h>
#include <string.h>
#include <sys/stat.h>

static int name_get(struct task *t, uaddr_t addr, char name[XATTR_NAME_MAX + 1])
{
    long n = copy_in_str(t->mm, name, addr, XATTR_NAME_MAX + 1);
    return n == -ENAMETOOLONG || n == 0 ? -ERANGE : n < 0 ? (int)n : 0;
}
static bool has_prefix(const char *name, const char *prefix)
{
    return !strncmp(name, prefix, strlen(prefix));
}
// xattr_permission(): user.* only on files and directories, trusted.* only with CAP_SYS_ADMIN.
static int xattr_allowed(struct task *t, struct inode *i, const char *name, bool write)
{
    if (has_prefix(name, "trusted."))
        return cred_capable(t->cred, 21) ? 0 : write ? -EPERM : -ENODATA;
    if (has_prefix(name, "security."))
        return !write || cred_capable(t->cred, 21) ? 0 : -EPERM;
    if (has_prefix(name, "system."))
        return -EOPNOTSUPP;
    if (!has_prefix(name, "user."))
        return -EOPNOTSUPP;
    if (!name[5])
        return -EINVAL;
    if (!S_ISREG(i->mode) && !S_ISDIR(i->mode))
        return write ? -EPERM : -ENODATA;
    if (write && S_ISDIR(i->mode) && (i->mode & S_ISVTX) && i->uid != t->cred->fsuid &&
        !cred_capable(t->cred, 3))
        return -EPERM;
    return inode_permission(i, write ? 2 : 4, t->cred);
}

static long do_set(struct task *t, struct inode *i, struct mount *m, uaddr_t uname, uaddr_t value,
                   size_t size, uint32_t flags)
{
    char name[XATTR_NAME_MAX + 1];
    if (flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
        return -EINVAL;
    int err = name_get(t, uname, name);
    if (err)
        return err;
    if (size > XATTR_SIZE_MAX)
        return -E2BIG;
    if (m && mount_readonly(m))
        return -EROFS;
    void *buf = mem_alloc(size ? size : 1);
    if (!buf)
        return -ENOMEM;
    if (size && copy_in(t->mm, buf, value, size))
        err = -EFAULT;
    if (!err)
        err = xattr_allowed(t, i, name, true);
    if (!err) {
        mutex_lock(&i->lock);
        inode_change_begin(i);
        err = i->ops->setxattr ? i->ops->setxattr(i, name, buf, size, (int)flags) : -EOPNOTSUPP;
        inode_change_end(i);
        mutex_unlock(&i->lock);
    }
    mem_free(buf);
    return err;
}
static long do_get(struct task *t, struct inode *i, uaddr_t uname, uaddr_t value, size_t size)
{
    char name[XATTR_NAME_MAX + 1];
    int err = name_get(t, uname, name);
    if (err || (err = xattr_allowed(t, i, name, false)) != 0)
        return err;
    if (!i->ops->getxattr)
        return -EOPNOTSUPP;
    size = MIN(size, (size_t)XATTR_SIZE_MAX);
    void *buf = mem_alloc(size ? size : 1);
    if (!buf)
        return -ENOMEM;
    long n = i->ops->getxattr(i, name, buf, size);
    if (n > 0 && size && copy_out(t->mm, value, buf, (size_t)n))
        n = -EFAULT;
    mem_free(buf);
    return n;
}
// trusted.* exists only for those who may read it.
static size_t drop_trusted(char *list, size_t n)
{
    size_t kept = 0;
    for (size_t at = 0, len; at < n; at += len) {
        len = strnlen(list + at, n - at) + 1;
        if (has_prefix(list + at, "trusted."))
            continue;
        memmove(list + kept, list + at, MIN(len, n - at));
        kept += len;
    }
    return MIN(kept, n);
}
static long do_list(struct task *t, struct inode *i, uaddr_t list, size_t size)
{
    if (!i->ops->listxattr)
        return 0;
    size = MIN(size, (size_t)XATTR_LIST_MAX);
    char *buf = mem_alloc(XATTR_LIST_MAX);
    if (!buf)
        return -ENOMEM;
    long n = i->ops->listxattr(i, buf, XATTR_LIST_MAX);
    if (n > 0 && !cred_capable(t->cred, 21))
        n = (long)drop_trusted(buf, (size_t)n);
    if (n > 0 && size && (size_t)n > size)
        n = -ERANGE;
    if (n > 0 && size && copy_out(t->mm, list, buf, (size_t)n))
        n = -EFAULT;
    mem_free(buf);
    return n;
}
static long do_remove(struct task *t, struct inode *i, struct mount *m, uaddr_t uname)
{
    char name[XATTR_NAME_MAX + 1];
    int err = name_get(t, uname, name);
    if (err)
        return err;
    if (m && mount_readonly(m))
        return -EROFS;
    if ((err = xattr_allowed(t, i, name, true)) != 0)
        return err;
    mutex_lock(&i->lock);
    inode_change_begin(i);
    err = i->ops->removexattr ? i->ops->removexattr(i, name) : -EOPNOTSUPP;
    inode_change_end(i);
    mutex_unlock(&i->lock);
    return err;
}

#define BY_NAME(t, name, follow, call)                                        \
    PATH_VAR(p);                                                              \
    int err = user_path_lookup((t), AT_FDCWD, (name), (follow), &p);          \
    if (err)                                                                  \
        return err;                                                           \
    struct inode *i = p.dentry->inode;                                        \
    return (call)
#define BY_FD(t, fd, call)                                                    \
    FD_FILE(f, (t), (fd));                                                    \
    if (!f)                                                                   \
        return -EBADF;                                                        \
    struct inode *i = f->inode;                                               \
    return (call)

long sys_setxattr(struct task *t, uaddr_t path, uaddr_t name, uaddr_t v, size_t n, uint32_t flags)
{
    BY_NAME(t, path, LOOKUP_FOLLOW, do_set(t, i, p.mnt, name, v, n, flags));
}
long sys_lsetxattr(struct task *t, uaddr_t path, uaddr_t name, uaddr_t v, size_t n, uint32_t flags)
{
    BY_NAME(t, path, 0, do_set(t, i, p.mnt, name, v, n, flags));
}
long sys_fsetxattr(struct task *t, int fd, uaddr_t name, uaddr_t v, size_t n, uint32_t flags)
{
    BY_FD(t, fd, do_set(t, i, f->path.mnt, name, v, n, flags));
}
long sys_getxattr(struct task *t, uaddr_t path, uaddr_t name, uaddr_t v, size_t n)
{
    BY_NAME(t, path, LOOKUP_FOLLOW, do_get(t, i, name, v, n));
}
long sys_lgetxattr(struct task *t, uaddr_t path, uaddr_t name, uaddr_t v, size_t n)
{
    BY_NAME(t, path, 0, do_get(t, i, name, v, n));
}
long sys_fgetxattr(struct task *t, int fd, uaddr_t name, uaddr_t v, size_t n)
{
    BY_FD(t, fd, do_get(t, i, name, v, n));
}
long sys_listxattr(struct task *t, uaddr_t path, uaddr_t list, size_t n)
{
    BY_NAME(t, path, LOOKUP_FOLLOW, do_list(t, i, list, n));
}
long sys_llistxattr(struct task *t, uaddr_t path, uaddr_t list, size_t n)
{
    BY_NAME(t, path, 0, do_list(t, i, list, n));
}
long sys_flistxattr(struct task *t, int fd, uaddr_t list, size_t n)
{
    BY_FD(t, fd, do_list(t, i, list, n));
}
long sys_removexattr(struct task *t, uaddr_t path, uaddr_t name)
{
    BY_NAME(t, path, LOOKUP_FOLLOW, do_remove(t, i, p.mnt, name));
}
long sys_lremovexattr(struct task *t, uaddr_t path, uaddr_t name)
{
    BY_NAME(t, path, 0, do_remove(t, i, p.mnt, name));
}
long sys_fremovexattr(struct task *t, int fd, uaddr_t name)
{
    BY_FD(t, fd, do_remove(t, i, f->path.mnt, name));
}
