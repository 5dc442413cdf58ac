// SPDX-License-Identifier: Apache-2.0
// Opening by path: creation on the way (O_CREAT), O_TMPFILE, permission checks of the last
// component, and the open file itself. flags are those of openat2(2), checked for nonsense by the
// system call.
#include "vfs/walk.h"
#include "abi/errno.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>

constexpr int O_TMPFILE_BIT = 020000000; // __O_TMPFILE without O_DIRECTORY

static bool mode_is_special(uint32_t mode)
{
    return S_ISFIFO(mode) || S_ISCHR(mode) || S_ISBLK(mode) || S_ISSOCK(mode);
}

static int acc_mode(int flags)
{
    static const int by_mode[4] = {MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE};
    return by_mode[flags & O_ACCMODE] | (flags & O_TRUNC ? MAY_WRITE : 0);
}

static int may_open(const struct path *p, struct inode *i, int flags, const struct cred *c)
{
    int acc = acc_mode(flags);
    uint32_t fmt = i->mode & S_IFMT;
    if (fmt == S_IFLNK)
        return -ELOOP;
    if (fmt == S_IFDIR && (acc & MAY_WRITE))
        return -EISDIR;
    if ((fmt == S_IFCHR || fmt == S_IFBLK) && (mount_flags(p->mnt) & MS_NODEV))
        return -EACCES;
    int err = inode_permission(i, acc, c);
    if (err)
        return err;
    if ((flags & O_NOATIME) && !inode_owner_or_capable(i, c))
        return -EPERM;
    return 0;
}

// The driver or file system has its say. f->ops is the inode's when we come here.
static int open_last_step(struct inode *i, struct file *f)
{
    if (S_ISSOCK(i->mode))
        return -ENXIO;
    if (mode_is_special(i->mode) && !(i->fops && i->fops->own_open))
        return vfs_open_special(i, f);
    if (!i->fops)
        return -ENXIO;
    return f->ops->open ? f->ops->open(f) : 0;
}

static void notify_open(struct file *f, bool created)
{
    uint32_t isdir = S_ISDIR(f->inode->mode) ? IN_ISDIR : 0;
    struct dentry *d = f->path.dentry;
    if (created) {
        struct dentry *dir = dentry_parent_get(d);
        if (dir->inode)
            fsnotify_entry(dir->inode, d, IN_CREATE);
        dentry_put(dir);
    }
    fsnotify(f->inode, d, IN_OPEN | isdir, nullptr, 0);
}

static int open_opath(const struct path *p, int flags, const struct cred *c, struct file **out)
{
    return file_new(&opath_file_ops, dentry_inode(p->dentry), p,
                    flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW), c, out);
}

// created: by this very open, so that no permission of the new inode matters.
static int finish_open(const struct path *p, int flags, bool created, const struct cred *c,
                       struct file **out)
{
    struct inode *i = dentry_inode(p->dentry);
    if (!i)
        return -ENOENT;
    if (flags & O_PATH)
        return open_opath(p, flags, c, out);
    if (flags & O_CREAT) {
        if ((flags & O_EXCL) && !created)
            return -EEXIST;
        if (S_ISDIR(i->mode))
            return -EISDIR;
    }
    if ((flags & O_DIRECTORY) && !S_ISDIR(i->mode))
        return -ENOTDIR;
    bool truncate = (flags & O_TRUNC) && !created && S_ISREG(i->mode);
    if (!created) {
        if (truncate && mount_readonly(p->mnt))
            return -EROFS;
        int err = may_open(p, i, flags, c);
        if (err)
            return err;
    }
    bool write = acc_mode(flags & O_ACCMODE) & MAY_WRITE;
    bool counted = S_ISREG(i->mode) && (write || truncate);
    if (write && !mode_is_special(i->mode) && mount_readonly(p->mnt))
        return -EROFS;
    int err = counted ? inode_get_write(i) : 0;
    if (err)
        return err;
    struct file *f;
    err = file_new(i->fops ? i->fops : &opath_file_ops, i, p,
                   flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC), c, &f);
    if (!err) {
        f->wants_tty = !(flags & O_NOCTTY);
        f->wants_trunc = truncate;
        err = open_last_step(i, f);
        if (err)
            file_abort(f);
    }
    if (!err && truncate) {
        err = inode_truncate(i, 0, c);
        if (err)
            file_put(f);
        else
            fsnotify(i, p->dentry, IN_MODIFY, nullptr, 0);
    }
    if (counted && (err || !write))
        inode_put_write(i);
    if (err)
        return err;
    f->write_counted = counted && write;
    notify_open(f, created);
    *out = f;
    return 0;
}

uint32_t vfs_new_mode(const struct inode *dir, uint32_t mode, uint32_t umask, const struct cred *c)
{
    if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && !S_ISDIR(mode) &&
        (dir->mode & S_ISGID) && !cred_in_group(c, dir->gid) && !cred_capable(c, CAP_FSETID))
        mode &= ~(uint32_t)S_ISGID;
    return mode & ~umask;
}

// Looks the last component up and creates it when it is not there. 0: w->cur is the file; 1: a
// link's text is next.
static int lookup_or_create(struct walk *w, int flags, uint32_t mode, bool *created)
{
    const struct cred *cred = w->c->cred;
    struct inode *di = dentry_inode(w->cur.dentry);
    struct dentry *d;
    mutex_lock(&di->lock);
    int err, again = 16; // somebody outside makes it in the same moment, and may remove it again
look:
    err = dentry_lookup_locked(w->cur.dentry, w->last, w->last_len, &d);
    if (!err && !d->inode) {
        if (mount_readonly(w->cur.mnt))
            err = -EROFS;
        else if (!(err = may_create(di, cred)))
            err = di->ops->create ? 0 : -EACCES;
        if (!err) {
            uint32_t m = vfs_new_mode(di, S_IFREG | (mode & 07777), fs_umask(w->c->fs), cred);
            err = di->ops->create(di, d, m, cred);
        }
        if (!err && !d->inode)
            err = -ENOENT;
        if (err) {
            bool found = err == -EEXIST && !(flags & O_EXCL);
            if (found)
                dentry_unhash(d);
            dentry_put(d);
            if (found && again--)
                goto look;
        } else {
            dentry_rehash(d);
            *created = true;
        }
    }
    mutex_unlock(&di->lock);
    if (err)
        return err;
    bool follow = (w->flags & LOOKUP_FOLLOW) && !*created;
    return walk_step_into(w, d, follow);
}

static int open_tmpfile(struct walk *w, int flags, uint32_t mode, struct file **out)
{
    const struct cred *cred = w->c->cred;
    struct inode *di = dentry_inode(w->cur.dentry);
    if (mount_readonly(w->cur.mnt))
        return -EROFS;
    int err = inode_permission(di, MAY_WRITE | MAY_EXEC, cred);
    if (err)
        return err;
    if (!di->ops->tmpfile)
        return -EOPNOTSUPP;
    struct strbuf name = {};
    strbuf_fmt(&name, "#%lu", vfs_new_ino());
    struct dentry *d = name.bad ? nullptr : dentry_alloc(w->cur.dentry, name.p, name.len);
    strbuf_free(&name);
    if (!d)
        return -ENOMEM;
    mutex_lock(&di->lock);
    mode = vfs_new_mode(di, S_IFREG | (mode & 07777), fs_umask(w->c->fs), cred);
    err = di->dead ? -ENOENT : di->ops->tmpfile(di, d, mode, cred);
    mutex_unlock(&di->lock);
    if (!err) {
        d->inode->linkable = !(flags & O_EXCL);
        struct path p = {.mnt = w->cur.mnt, .dentry = d};
        err = finish_open(&p, flags & ~(O_DIRECTORY | O_TMPFILE_BIT | O_CREAT | O_EXCL), true,
                          cred, out);
    }
    dentry_put(d);
    return err;
}

static int open_walk(struct walk *w, int flags, uint32_t mode, bool *created)
{
    for (;;) {
        int err = walk_to_last(w);
        if (err)
            return err;
        if (!(flags & O_CREAT) || (flags & O_PATH)) {
            err = walk_last(w);
        } else if (w->last_type != LAST_NORM || w->slash) {
            return -EISDIR;
        } else {
            err = lookup_or_create(w, flags, mode, created);
        }
        if (err <= 0)
            return err;
    }
}

int vfs_open(const struct lookup_ctx *c, int dirfd, const char *name, int flags, uint32_t mode,
             unsigned lookup_flags, struct file **out)
{
    struct walk w UNINIT;
    bool tmpfile = (flags & O_TMPFILE_BIT) && !(flags & O_PATH);
    if (flags & O_PATH)
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    bool exclusive = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
    if (!(flags & O_NOFOLLOW) && !exclusive)
        lookup_flags |= LOOKUP_FOLLOW;
    if ((flags & O_DIRECTORY) && !(flags & O_CREAT))
        lookup_flags |= LOOKUP_DIRECTORY;
    bool created = false;
    int err = walk_start(&w, c, dirfd, name, lookup_flags);
    if (!err)
        err = open_walk(&w, flags, mode, &created);
    if (!err)
        err = walk_finish(&w);
    if (!err)
        err = tmpfile ? open_tmpfile(&w, flags, mode, out)
                      : finish_open(&w.cur, flags, created, c->cred, out);
    walk_end(&w);
    return err;
}

int vfs_open_path(const struct path *p, int flags, const struct cred *c, struct file **out)
{
    if (flags & (O_CREAT | O_TMPFILE_BIT))
        return -EINVAL;
    return finish_open(p, flags, false, c, out);
}
