// SPDX-License-Identifier: Apache-2.0
// Changes of directories by path: mkdir, mknod, symlink, link, unlink, rmdir. (rename.c has
// rename.) The order of checks, and so of error numbers, is Linux's.
#include "vfs/internal.h"
#include "abi/errno.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

// "" stands for the root itself; "." and ".." for themselves.
static bool name_is_normal(const char *s)
{
    return *s && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

struct spot { // where an entry is made: dir->lock held between begin and end
    struct path dir;
    struct dentry *d; // negative
};

static int spot_begin(const struct lookup_ctx *c, int dirfd, const char *name, bool is_dir,
                      struct spot *s)
{
    char last[NAME_LEN_MAX + 1];
    bool slash;
    int err = path_lookup_parent(c, dirfd, name, 0, &s->dir, last, &slash);
    if (err)
        return err;
    struct inode *di = dentry_inode(s->dir.dentry);
    if (!name_is_normal(last)) {
        path_put(s->dir);
        return -EEXIST;
    }
    mutex_lock(&di->lock);
    err = dentry_lookup_locked(s->dir.dentry, last, strlen(last), &s->d);
    if (!err) {
        if (s->d->inode)
            err = -EEXIST;
        else if (slash && !is_dir)
            err = -ENOENT;
        else if (mount_readonly(s->dir.mnt))
            err = -EROFS;
        if (err)
            dentry_put(s->d);
    }
    if (err) {
        mutex_unlock(&di->lock);
        path_put(s->dir);
    }
    return err;
}

static int spot_end(struct spot *s, int err, uint32_t notify)
{
    struct inode *di = dentry_inode(s->dir.dentry);
    if (!err && !s->d->inode) // the file system says yes and shows nothing: somebody was faster
        err = -ENOENT;
    if (!err)
        dentry_rehash(s->d);
    mutex_unlock(&di->lock);
    if (!err)
        fsnotify_entry(di, s->d, notify);
    dentry_put(s->d);
    path_put(s->dir);
    return err;
}

int vfs_mkdir(const struct lookup_ctx *c, int dirfd, const char *name, uint32_t mode)
{
    struct spot s;
    int err = spot_begin(c, dirfd, name, true, &s);
    if (err)
        return err;
    struct inode *di = dentry_inode(s.dir.dentry);
    err = may_create(di, c->cred);
    if (!err && !di->ops->mkdir)
        err = -EPERM;
    if (!err) {
        mode = S_IFDIR | (mode & 01777 & ~fs_umask(c->fs));
        err = di->ops->mkdir(di, s.d, mode, c->cred);
    }
    return spot_end(&s, err, IN_CREATE | IN_ISDIR);
}

static int do_mknod(const struct lookup_ctx *c, int dirfd, const char *name, uint32_t mode,
                    uint64_t rdev, struct path *out)
{
    uint32_t fmt = mode & S_IFMT;
    struct spot s;
    if (fmt == 0)
        fmt = S_IFREG;
    if (fmt == S_IFDIR)
        return -EPERM;
    if (fmt != S_IFREG && fmt != S_IFCHR && fmt != S_IFBLK && fmt != S_IFIFO && fmt != S_IFSOCK)
        return -EINVAL;
    int err = spot_begin(c, dirfd, name, false, &s);
    if (err)
        return err;
    struct inode *di = dentry_inode(s.dir.dentry);
    mode = vfs_new_mode(di, fmt | (mode & 07777), fs_umask(c->fs), c->cred);
    err = may_create(di, c->cred);
    bool dev = fmt == S_IFCHR || fmt == S_IFBLK;
    if (!err && dev && !(fmt == S_IFCHR && rdev == 0) && !cred_capable(c->cred, CAP_MKNOD))
        err = -EPERM;
    if (!err && fmt == S_IFREG)
        err = di->ops->create ? di->ops->create(di, s.d, mode, c->cred) : -EACCES;
    else if (!err)
        err = di->ops->mknod ? di->ops->mknod(di, s.d, mode, dev ? rdev : 0, c->cred) : -EPERM;
    if (!err && out && s.d->inode)
        *out = path_get((struct path){.mnt = s.dir.mnt, .dentry = s.d});
    return spot_end(&s, err, IN_CREATE);
}

int vfs_mknod(const struct lookup_ctx *c, int dirfd, const char *name, uint32_t mode, uint64_t rdev)
{
    return do_mknod(c, dirfd, name, mode, rdev, nullptr);
}

int vfs_bind_socket(const struct lookup_ctx *c, const char *name, uint32_t mode, struct path *out)
{
    int err = do_mknod(c, AT_FDCWD, name, S_IFSOCK | (mode & 07777), 0, out);
    return err == -EEXIST ? -EADDRINUSE : err;
}

int vfs_symlink(const struct lookup_ctx *c, const char *target, int dirfd, const char *name)
{
    struct spot s;
    if (!*target)
        return -ENOENT;
    int err = spot_begin(c, dirfd, name, false, &s);
    if (err)
        return err;
    struct inode *di = dentry_inode(s.dir.dentry);
    err = may_create(di, c->cred);
    if (!err)
        err = di->ops->symlink ? di->ops->symlink(di, s.d, target, c->cred) : -EPERM;
    return spot_end(&s, err, IN_CREATE);
}

static int link_locked(struct path *old, struct spot *s, const struct cred *cred)
{
    struct inode *i = dentry_inode(old->dentry), *di = dentry_inode(s->dir.dentry);
    if (old->mnt != s->dir.mnt)
        return -EXDEV;
    int err = may_create(di, cred);
    if (err)
        return err;
    if (i->sb != di->sb)
        return -EXDEV;
    if (!di->ops->link || S_ISDIR(i->mode))
        return -EPERM;
    if (READ_SHARED(i->nlink) == 0 && !i->linkable)
        return -ENOENT;
    return di->ops->link(i, di, s->d);
}

int vfs_link(const struct lookup_ctx *c, int olddirfd, const char *oldname, int newdirfd,
             const char *newname, unsigned lookup_flags)
{
    struct path old;
    struct spot s;
    int err = path_lookup(c, olddirfd, oldname, lookup_flags, &old);
    if (err)
        return err;
    err = spot_begin(c, newdirfd, newname, false, &s);
    if (!err) {
        struct inode *i = dentry_inode(old.dentry);
        err = spot_end(&s, link_locked(&old, &s, c->cred), IN_CREATE);
        if (!err)
            fsnotify(i, nullptr, IN_ATTRIB, nullptr, 0);
    }
    path_put(old);
    return err;
}

// --- removal ---
// An entry is gone: the cache forgets it, and mounts of other namespaces on it go as well.
static void notify_removed(struct inode *di, struct dentry *d, uint32_t isdir)
{
    struct inode *i = dentry_inode(d);
    if (!isdir)
        fsnotify(i, nullptr, IN_ATTRIB, nullptr, 0);
    fsnotify_entry(di, d, IN_DELETE | isdir);
    if (READ_SHARED(d->mounted))
        mounts_detach_dentry(d);
}

static int unlink_locked(struct inode *di, struct dentry *d, bool slash, struct mntns *ns,
                         const struct cred *cred)
{
    struct inode *i = d->inode;
    if (!i)
        return -ENOENT;
    if (slash)
        return S_ISDIR(i->mode) ? -EISDIR : -ENOTDIR;
    int err = may_delete(di, d, false, cred);
    if (err)
        return err;
    if (!di->ops->unlink)
        return -EPERM;
    if (dentry_mounted_in(d, ns))
        return -EBUSY;
    return di->ops->unlink(di, d);
}

static int rmdir_locked(struct inode *di, struct dentry *d, struct mntns *ns,
                        const struct cred *cred)
{
    struct inode *i = d->inode;
    if (!i)
        return -ENOENT;
    int err = may_delete(di, d, true, cred);
    if (err)
        return err;
    if (!di->ops->rmdir)
        return -EPERM;
    mutex_lock_nested(&i->lock);
    if (dentry_mounted_in(d, ns))
        err = -EBUSY;
    else
        err = di->ops->rmdir(di, d);
    if (!err)
        i->dead = true;
    mutex_unlock(&i->lock);
    return err;
}

static int remove_entry(const struct lookup_ctx *c, int dirfd, const char *name, bool is_dir)
{
    struct path dir;
    char last[NAME_LEN_MAX + 1];
    bool slash;
    struct dentry *d = nullptr;
    int err = path_lookup_parent(c, dirfd, name, 0, &dir, last, &slash);
    if (err)
        return err;
    struct inode *di = dentry_inode(dir.dentry);
    if (!name_is_normal(last)) {
        if (!is_dir)
            err = -EISDIR;
        else
            err = !*last ? -EBUSY : !last[1] ? -EINVAL : -ENOTEMPTY;
    } else if (mount_readonly(dir.mnt)) {
        err = -EROFS;
    }
    if (!err) {
        mutex_lock(&di->lock);
        err = dentry_lookup_locked(dir.dentry, last, strlen(last), &d);
        if (!err && is_dir)
            err = rmdir_locked(di, d, c->fs->ns, c->cred);
        else if (!err)
            err = unlink_locked(di, d, slash, c->fs->ns, c->cred);
        if (!err)
            dentry_unhash(d);
        mutex_unlock(&di->lock);
    }
    if (!err)
        notify_removed(di, d, is_dir ? IN_ISDIR : 0);
    dentry_put(d);
    path_put(dir);
    return err;
}

int vfs_unlink(const struct lookup_ctx *c, int dirfd, const char *name)
{
    return remove_entry(c, dirfd, name, false);
}

int vfs_rmdir(const struct lookup_ctx *c, int dirfd, const char *name)
{
    return remove_entry(c, dirfd, name, true);
}
