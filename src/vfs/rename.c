// SPDX-License-Identifier: Apache-2.0
// renameat2(2). Directories are locked ancestor first; renames across directories are serialised
// per superblock, so that "is an ancestor of" cannot change meanwhile.
#include "vfs/internal.h"
#include "abi/errno.h"
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

struct rename_op {
    const struct cred *cred;
    struct mntns *ns;
    struct path odir, ndir;
    struct dentry *od, *nd;
    char oname[NAME_LEN_MAX + 1], nname[NAME_LEN_MAX + 1];
    bool oslash, nslash;
    unsigned flags;
};

static bool name_is_normal(const char *s)
{
    return *s && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

// Locks both directories; the branch by which one lies below the other comes back in *trap.
static void lock_dirs(struct rename_op *r, struct dentry **trap)
{
    struct dentry *a = r->odir.dentry, *b = r->ndir.dentry;
    *trap = nullptr;
    if (a == b) {
        mutex_lock(&a->inode->lock);
        return;
    }
    mutex_lock(&a->sb->rename_lock);
    bool b_first = false;
    if (!(*trap = dentry_branch(b, a))) { // b below a: a first
        *trap = dentry_branch(a, b);
        b_first = *trap || (uintptr_t)b->inode < (uintptr_t)a->inode;
    }
    mutex_lock(b_first ? &b->inode->lock : &a->inode->lock);
    mutex_lock_nested(b_first ? &a->inode->lock : &b->inode->lock);
}

static void unlock_dirs(struct rename_op *r)
{
    struct dentry *a = r->odir.dentry, *b = r->ndir.dentry;
    mutex_unlock(&a->inode->lock);
    if (a == b)
        return;
    mutex_unlock(&b->inode->lock);
    mutex_unlock(&a->sb->rename_lock);
}

static int lookup_both(struct rename_op *r, struct dentry *trap)
{
    int err = dentry_lookup_locked(r->odir.dentry, r->oname, strlen(r->oname), &r->od);
    if (err)
        return err;
    if (!r->od->inode)
        return -ENOENT;
    err = dentry_lookup_locked(r->ndir.dentry, r->nname, strlen(r->nname), &r->nd);
    if (err)
        return err;
    bool exchange = r->flags & RENAME_EXCHANGE;
    if ((r->flags & RENAME_NOREPLACE) && r->nd->inode)
        return -EEXIST;
    if (exchange) {
        if (!r->nd->inode)
            return -ENOENT;
        if (!dentry_is_dir(r->nd) && r->nslash)
            return -ENOTDIR;
    }
    if (!dentry_is_dir(r->od) && (r->oslash || (!exchange && r->nslash)))
        return -ENOTDIR;
    if (r->od == trap) // the source holds the target
        return -EINVAL;
    if (r->nd == trap) // the target holds the source
        return exchange ? -EINVAL : -ENOTEMPTY;
    return 0;
}

static int check_both(struct rename_op *r)
{
    struct inode *odi = dentry_inode(r->odir.dentry), *ndi = dentry_inode(r->ndir.dentry);
    struct inode *si = r->od->inode, *ti = r->nd->inode;
    bool sdir = S_ISDIR(si->mode), exchange = r->flags & RENAME_EXCHANGE;
    int err = may_delete(odi, r->od, sdir, r->cred);
    if (err)
        return err;
    if (!ti)
        err = may_create(ndi, r->cred);
    else
        err = may_delete(ndi, r->nd, exchange ? S_ISDIR(ti->mode) : sdir, r->cred);
    if (err)
        return err;
    if (!odi->ops->rename)
        return -EPERM;
    if (odi != ndi) { // ".." of what moves is written
        if (sdir && (err = inode_permission(si, MAY_WRITE, r->cred)))
            return err;
        if (exchange && S_ISDIR(ti->mode) && (err = inode_permission(ti, MAY_WRITE, r->cred)))
            return err;
    }
    if (dentry_mounted_in(r->od, r->ns) || dentry_mounted_in(r->nd, r->ns))
        return -EBUSY;
    return 0;
}

// 1: both names are the same inode already, nothing to do.
static int rename_locked(struct rename_op *r, struct dentry *trap)
{
    int err = lookup_both(r, trap);
    if (err)
        return err;
    struct inode *odi = dentry_inode(r->odir.dentry), *ndi = dentry_inode(r->ndir.dentry);
    struct inode *ti = r->nd->inode;
    if (r->od->inode == ti)
        return 1;
    err = check_both(r);
    if (err)
        return err;
    bool exchange = r->flags & RENAME_EXCHANGE;
    bool over_dir = ti && S_ISDIR(ti->mode) && !exchange;
    if (over_dir)
        mutex_lock_nested(&ti->lock);
    err = odi->ops->rename(odi, r->od, ndi, r->nd, r->flags & RENAME_EXCHANGE);
    if (over_dir) {
        if (!err)
            ti->dead = true;
        mutex_unlock(&ti->lock);
    }
    if (!err)
        dentry_move(r->od, r->nd, exchange);
    return err;
}

static void notify_renamed(struct rename_op *r)
{
    struct inode *odi = dentry_inode(r->odir.dentry), *ndi = dentry_inode(r->ndir.dentry);
    struct inode *si = r->od->inode, *ti = r->nd->inode;
    uint32_t isdir = S_ISDIR(si->mode) ? IN_ISDIR : 0, cookie = fsnotify_cookie();
    fsnotify(odi, nullptr, IN_MOVED_FROM | isdir, r->oname, cookie);
    fsnotify(ndi, nullptr, IN_MOVED_TO | isdir, r->nname, cookie);
    fsnotify(si, nullptr, IN_MOVE_SELF, nullptr, 0);
    if (r->flags & RENAME_EXCHANGE) {
        isdir = S_ISDIR(ti->mode) ? IN_ISDIR : 0;
        cookie = fsnotify_cookie();
        fsnotify(ndi, nullptr, IN_MOVED_FROM | isdir, r->nname, cookie);
        fsnotify(odi, nullptr, IN_MOVED_TO | isdir, r->oname, cookie);
        fsnotify(ti, nullptr, IN_MOVE_SELF, nullptr, 0);
    } else if (ti) {
        if (!S_ISDIR(ti->mode))
            fsnotify(ti, nullptr, IN_ATTRIB, nullptr, 0);
        if (READ_SHARED(r->nd->mounted))
            mounts_detach_dentry(r->nd);
    }
}

static int rename_between(struct rename_op *r)
{
    if (r->odir.mnt != r->ndir.mnt)
        return -EXDEV;
    if (!name_is_normal(r->oname))
        return -EBUSY;
    if (!name_is_normal(r->nname))
        return r->flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
    if (mount_readonly(r->odir.mnt))
        return -EROFS;
    struct dentry *trap;
    lock_dirs(r, &trap);
    int err = rename_locked(r, trap);
    unlock_dirs(r);
    if (!err)
        notify_renamed(r);
    dentry_put(r->od);
    dentry_put(r->nd);
    return err == 1 ? 0 : err;
}

int vfs_rename(const struct lookup_ctx *c, int odirfd, const char *oname, int ndirfd,
               const char *nname, unsigned flags)
{
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) // RENAME_WHITEOUT included
        return -EINVAL;
    if ((flags & RENAME_NOREPLACE) && (flags & RENAME_EXCHANGE))
        return -EINVAL;
    struct rename_op r = {.cred = c->cred, .ns = c->fs->ns, .flags = flags};
    int err = path_lookup_parent(c, odirfd, oname, 0, &r.odir, r.oname, &r.oslash);
    if (err)
        return err;
    err = path_lookup_parent(c, ndirfd, nname, 0, &r.ndir, r.nname, &r.nslash);
    if (!err) {
        err = rename_between(&r);
        path_put(r.ndir);
    }
    path_put(r.odir);
    return err;
}
