// SPDX-License-Identifier: Apache-2.0
// Calls that work on names: open, mkdir, unlink, rename, links, getcwd, chdir.
#include "sys/fs_util.h"
#include <linux/capability.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>

static long install(struct task *t, struct file *f, int flags)
{
    int fd = fd_install(t->files, f, 0, flags & O_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
    if (fd < 0)
        file_put(f);
    return fd;
}

static long do_open(struct task *t, int dirfd, uaddr_t name, int flags, uint32_t mode,
                    unsigned lookup)
{
    struct lookup_ctx c = task_lookup_ctx(t);
    struct file *f;
    USER_PATH(path, t, name);
    if (path.err)
        return path.err;
    int err = vfs_open(&c, dirfd, path.p, flags, mode, lookup, &f);
    return err ? err : install(t, f, flags);
}

// What build_open_flags() of Linux refuses, and what it adds.
static int open_flags_check(int *flags)
{
    int f = *flags;
    if ((f & O_CREAT) && (f & O_DIRECTORY))
        return -EINVAL;
    if (f & (O_TMPFILE & ~O_DIRECTORY)) {
        if (!(f & O_DIRECTORY) || (f & O_ACCMODE) == O_RDONLY)
            return -EINVAL;
    }
    if (f & (O_SYNC & ~O_DSYNC))
        *flags |= O_DSYNC;
    return 0;
}

// Unknown bits are dropped by open(2) and refused by openat2(2).
constexpr int OPEN_FLAGS = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK |
                           O_SYNC | O_ASYNC | O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW |
                           O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE | 0100000;
constexpr int OPATH_FLAGS = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

static long open_legacy(struct task *t, int dirfd, uaddr_t name, uint32_t flags, uint32_t mode)
{
    int f = (int)flags & OPEN_FLAGS;
    if (f & O_PATH)
        f &= OPATH_FLAGS;
    else
        f |= 0100000; // O_LARGEFILE, whatever libc calls it: F_GETFL shows it
    if (!(f & O_CREAT) && (f & O_TMPFILE) != O_TMPFILE)
        mode = 0;
    int err = open_flags_check(&f);
    return err ? err : do_open(t, dirfd, name, f, mode & 07777, 0);
}
long sys_open(struct task *t, uaddr_t name, uint32_t flags, uint32_t mode)
{
    return open_legacy(t, AT_FDCWD, name, flags, mode);
}
long sys_openat(struct task *t, int dirfd, uaddr_t name, uint32_t flags, uint32_t mode)
{
    return open_legacy(t, dirfd, name, flags, mode);
}
long sys_creat(struct task *t, uaddr_t name, uint32_t mode)
{
    return open_legacy(t, AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

long sys_openat2(struct task *t, int dirfd, uaddr_t name, uaddr_t uhow, size_t usize)
{
    struct open_how how = {};
    if (usize < sizeof(how))
        return -EINVAL;
    if (usize > PAGE_SIZE)
        return -E2BIG;
    if (copy_in(t->mm, &how, uhow, sizeof(how)))
        return -EFAULT;
    for (size_t off = sizeof(how); off < usize; off++) { // later fields must be zero
        uint8_t b;
        if (get_user(t->mm, uaddr_add(uhow, off), b))
            return -EFAULT;
        if (b)
            return -E2BIG;
    }
    uint64_t r = how.resolve;
    if (how.flags & ~(uint64_t)OPEN_FLAGS || r & ~0x3full || how.mode & ~07777ull)
        return -EINVAL;
    if ((r & RESOLVE_BENEATH) && (r & RESOLVE_IN_ROOT))
        return -EINVAL;
    int flags = (int)how.flags;
    bool creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
    if ((how.mode && !creates) || ((flags & O_PATH) && (flags & ~OPATH_FLAGS)))
        return -EINVAL;
    int err = open_flags_check(&flags);
    if (err)
        return err;
    if (r & RESOLVE_CACHED)
        return -EAGAIN; // a caller must be ready for it at any time
    unsigned lookup = (r & RESOLVE_NO_XDEV ? LOOKUP_NO_XDEV : 0) |
                      (r & RESOLVE_NO_MAGICLINKS ? LOOKUP_NO_MAGICLINKS : 0) |
                      (r & RESOLVE_NO_SYMLINKS ? LOOKUP_NO_SYMLINKS : 0) |
                      (r & RESOLVE_BENEATH ? LOOKUP_BENEATH : 0) |
                      (r & RESOLVE_IN_ROOT ? LOOKUP_IN_ROOT : 0);
    return do_open(t, dirfd, name, flags, (uint32_t)how.mode, lookup);
}

long sys_mkdirat(struct task *t, int dirfd, uaddr_t name, uint32_t mode)
{
    struct lookup_ctx c = task_lookup_ctx(t);
    USER_PATH(path, t, name);
    return path.err ? path.err : vfs_mkdir(&c, dirfd, path.p, mode);
}
long sys_mkdir(struct task *t, uaddr_t name, uint32_t mode)
{
    return sys_mkdirat(t, AT_FDCWD, name, mode);
}

long sys_mknodat(struct task *t, int dirfd, uaddr_t name, uint32_t mode, uint32_t dev)
{
    struct lookup_ctx c = task_lookup_ctx(t);
    USER_PATH(path, t, name);
    if (path.err)
        return path.err;
    // new_decode_dev: 12 bits major, 20 bits minor, to the makedev() form.
    uint64_t major = (dev & 0xfff00) >> 8, minor = (dev & 0xff) | ((dev >> 12) & 0xfff00);
    uint64_t rdev = (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffull) << 12;
    return vfs_mknod(&c, dirfd, path.p, mode, rdev);
}
long sys_mknod(struct task *t, uaddr_t name, uint32_t mode, uint32_t dev)
{
    return sys_mknodat(t, AT_FDCWD, name, mode, dev);
}

long sys_unlinkat(struct task *t, int dirfd, uaddr_t name, uint32_t flags)
{
    struct lookup_ctx c = task_lookup_ctx(t);
    if (flags & ~(uint32_t)AT_REMOVEDIR)
        return -EINVAL;
    USER_PATH(path, t, name);
    if (path.err)
        return path.err;
    return flags & AT_REMOVEDIR ? vfs_rmdir(&c, dirfd, path.p) : vfs_unlink(&c, dirfd, path.p);
}
long sys_unlink(struct task *t, uaddr_t name) { return sys_unlinkat(t, AT_FDCWD, name, 0); }
long sys_rmdir(struct task *t, uaddr_t name) { return sys_unlinkat(t, AT_FDCWD, name, AT_REMOVEDIR); }

long sys_linkat(struct task *t, int odirfd, uaddr_t oname, int ndirfd, uaddr_t nname, uint32_t flags)
{
    struct lookup_ctx c = task_lookup_ctx(t);
    if (flags & ~(uint32_t)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    USER_PATH(o, t, oname);
    if (o.err)
        return o.err;
    USER_PATH(n, t, nname);
    if (n.err)
        return n.err;
    unsigned lookup = (flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0) |
                      (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
    if (!*o.p && (flags & AT_EMPTY_PATH) && !cred_capable(t->cred, CAP_DAC_READ_SEARCH)) {
        FD_FILE_ANY(f, t, odirfd); // without the capability only who opened it may link it
        if (!f || f->cred != t->cred)
            return -ENOENT;
    }
    return vfs_link(&c, odirfd, o.p, ndirfd, n.p, lookup);
}
long sys_link(struct task *t, uaddr_t oname, uaddr_t nname)
{
    return sys_linkat(t, AT_FDCWD, oname, AT_FDCWD, nname, 0);
}
long sys_symlinkat(struct task *t, uaddr_t target, int dirfd, uaddr_t name)
{
    struct lookup_ctx c = task_lookup_ctx(t);
    USER_PATH(to, t, target);
    if (to.err)
        return to.err;
    USER_PATH(path, t, name);
    if (path.err)
        return path.err;
    return *to.p ? vfs_symlink(&c, to.p, dirfd, path.p) : -ENOENT;
}
long sys_symlink(struct task *t, uaddr_t target, uaddr_t name)
{
    return sys_symlinkat(t, target, AT_FDCWD, name);
}
long sys_renameat2(struct task *t, int odirfd, uaddr_t oname, int ndirfd, uaddr_t nname,
                   uint32_t flags)
{
    struct lookup_ctx c = task_lookup_ctx(t);
    if (flags & ~3u || flags == 3)
        return -EINVAL; // NOREPLACE 1, EXCHANGE 2; WHITEOUT 4 belongs to the overlay
    USER_PATH(o, t, oname);
    if (o.err)
        return o.err;
    USER_PATH(n, t, nname);
    if (n.err)
        return n.err;
    return vfs_rename(&c, odirfd, o.p, ndirfd, n.p, flags);
}
long sys_renameat(struct task *t, int odirfd, uaddr_t oname, int ndirfd, uaddr_t nname)
{
    return sys_renameat2(t, odirfd, oname, ndirfd, nname, 0);
}
long sys_rename(struct task *t, uaddr_t oname, uaddr_t nname)
{
    return sys_renameat2(t, AT_FDCWD, oname, AT_FDCWD, nname, 0);
}

long sys_readlinkat(struct task *t, int dirfd, uaddr_t name, uaddr_t buf, int size)
{
    struct strbuf text = {};
    PATH_VAR(p);
    if (size <= 0)
        return -EINVAL;
    int err = user_path_lookup(t, dirfd, name, LOOKUP_EMPTY, &p);
    if (err)
        return err;
    if (!S_ISLNK(p.dentry->inode->mode)) {
        char first = 1; // an empty name on something that is no link says ENOENT (readlink(2))
        if (!uaddr_null(name) && get_user(t->mm, name, first))
            return -EFAULT;
        return first ? -EINVAL : -ENOENT;
    }
    path_accessed(&p);
    err = vfs_readlink(p.dentry, &text);
    if (!err)
        err = text.bad ? -ENOMEM : 0;
    size_t n = MIN(text.len, (size_t)size);
    if (!err && copy_out(t->mm, buf, text.p, n))
        err = -EFAULT;
    strbuf_free(&text);
    return err ? err : (long)n;
}
long sys_readlink(struct task *t, uaddr_t name, uaddr_t buf, int size)
{
    return sys_readlinkat(t, AT_FDCWD, name, buf, size);
}

// --- where a task is ------------------------------------------------------------------------------------
long sys_getcwd(struct task *t, uaddr_t buf, size_t size)
{
    struct strbuf text = {};
    mutex_lock(&t->fs->lock);
    PATH_VAR(cwd);
    PATH_VAR(root);
    cwd = path_get(t->fs->cwd);
    root = path_get(t->fs->root);
    mutex_unlock(&t->fs->lock);
    long ret = path_print_cwd(&cwd, &root, &text);
    if (ret == 0) {
        ret = text.bad ? -ENOMEM : text.len + 1 > size ? -ERANGE : (long)text.len + 1;
        if (ret > PATH_MAX)
            ret = -ENAMETOOLONG;
        if (ret > 0 && copy_out(t->mm, buf, text.p, (size_t)ret))
            ret = -EFAULT;
    }
    strbuf_free(&text);
    return ret;
}

// Replaces cwd or root; the reference in p is taken over.
static void fs_set(struct fs_context *fs, bool root, struct path p)
{
    mutex_lock(&fs->lock);
    struct path old = root ? fs->root : fs->cwd;
    if (root)
        fs->root = p;
    else
        fs->cwd = p;
    mutex_unlock(&fs->lock);
    path_put(old);
}
long sys_chdir(struct task *t, uaddr_t name)
{
    struct path p;
    int err = user_path_lookup(t, AT_FDCWD, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);
    if (err)
        return err;
    if ((err = inode_permission(p.dentry->inode, 1, t->cred)) != 0) {
        path_put(p);
        return err;
    }
    fs_set(t->fs, false, p);
    return 0;
}
long sys_fchdir(struct task *t, int fd)
{
    FD_FILE_ANY(f, t, fd);
    if (!f)
        return -EBADF;
    if (!S_ISDIR(f->inode->mode) || !f->path.dentry)
        return -ENOTDIR;
    int err = inode_permission(f->inode, 1, t->cred);
    if (err)
        return err;
    fs_set(t->fs, false, path_get(f->path));
    return 0;
}
long sys_chroot(struct task *t, uaddr_t name)
{
    struct path p;
    int err = user_path_lookup(t, AT_FDCWD, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);
    if (err)
        return err;
    err = inode_permission(p.dentry->inode, 1, t->cred);
    if (!err && !cred_capable(t->cred, CAP_SYS_CHROOT))
        err = -EPERM;
    if (err) {
        path_put(p);
        return err;
    }
    fs_set(t->fs, true, p);
    return 0;
}
long sys_umask(struct task *t, uint32_t mask)
{
    return fs_umask_set(t->fs, mask, t->mm);
}
