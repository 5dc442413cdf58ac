// SPDX-License-Identifier: Apache-2.0
// Inodes: life, times, permission checks (path_resolution(7), capabilities(7)) and attribute
// changes. The checks are those of Linux's generic_permission, setattr_prepare, may_create and
// may_delete; file systems get arguments that are already checked.
#include "vfs/internal.h"
#include "vfs/window.h"
#include "abi/errno.h"
#include "sched/fiber.h"
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

SLAB_DEFINE(inode_slab, struct inode);
static uint64_t next_ino = 1;
struct vfs_hooks vfs_hooks;

uint64_t vfs_new_ino(void)
{
    return __atomic_add_fetch(&next_ino, 1, __ATOMIC_RELAXED);
}

struct ktimespec vfs_now(void)
{
    int64_t ns = ktime_realtime();
    return (struct ktimespec){.sec = ns / 1'000'000'000, .nsec = (uint32_t)(ns % 1'000'000'000)};
}

struct inode *inode_alloc(void)
{
    return slab_alloc(&inode_slab);
}

void inode_free(struct inode *i)
{
    slab_free(&inode_slab, i);
}

void inode_init(struct inode *i, struct super *sb, const struct inode_ops *ops,
                const struct file_ops *fops, uint32_t mode, const struct cred *c)
{
    i->ops = ops;
    i->fops = fops;
    i->sb = sb;
    ref_init(&i->ref);
    mutex_init(&i->lock, S_ISDIR(mode) ? RANK_DIR : RANK_INODE);
    i->ino = vfs_new_ino();
    i->mode = mode;
    i->nlink = 1;
    if (c) {
        i->uid = c->fsuid;
        i->gid = c->fsgid;
    }
    i->atime = i->mtime = i->ctime = i->btime = vfs_now();
}

void inode_inherit(struct inode *i, const struct inode *dir)
{
    if (!(dir->mode & S_ISGID))
        return;
    i->gid = dir->gid;
    if (S_ISDIR(i->mode))
        i->mode |= S_ISGID;
}

struct inode *inode_get(struct inode *i)
{
    ref_get(&i->ref);
    return i;
}

void inode_put(struct inode *i)
{
    if (!i || !ref_put(&i->ref))
        return;
    locks_inode_free(i);
    struct inode *common = i->common;
    if (i->ops && i->ops->release)
        i->ops->release(i);
    else
        inode_free(i);
    inode_put(common); // not deep: it has none itself
}

void inode_touch(struct inode *i, uint32_t which)
{
    struct ktimespec now = vfs_now();
    if (which & IATTR_ATIME)
        ktimespec_store(&i->atime, now);
    if (which & IATTR_MTIME)
        ktimespec_store(&i->mtime, now);
    if (which & IATTR_CTIME)
        ktimespec_store(&i->ctime, now);
}

int inode_permission_generic(struct inode *i, int mask, const struct cred *c)
{
    uint32_t mode = READ_SHARED(i->mode);
    uint32_t bits;
    if (c->fsuid == READ_SHARED(i->uid))
        bits = mode >> 6;
    else if (cred_in_group(c, READ_SHARED(i->gid)))
        bits = mode >> 3;
    else
        bits = mode;
    mask &= 7;
    if ((bits & (uint32_t)mask) == (uint32_t)mask)
        return 0;
    if (S_ISDIR(mode)) {
        if (!(mask & MAY_WRITE) && cred_capable(c, CAP_DAC_READ_SEARCH))
            return 0;
        return cred_capable(c, CAP_DAC_OVERRIDE) ? 0 : -EACCES;
    }
    if (mask == MAY_READ && cred_capable(c, CAP_DAC_READ_SEARCH))
        return 0;
    if ((!(mask & MAY_EXEC) || (mode & 0111)) && cred_capable(c, CAP_DAC_OVERRIDE))
        return 0;
    return -EACCES;
}

int inode_permission(struct inode *i, int mask, const struct cred *c)
{
    if ((mask & MAY_WRITE) && i->sb && (READ_SHARED(i->sb->flags) & MS_RDONLY)) {
        uint32_t fmt = i->mode & S_IFMT;
        if (fmt == S_IFREG || fmt == S_IFDIR || fmt == S_IFLNK)
            return -EROFS;
    }
    return i->ops->permission ? i->ops->permission(i, mask, c) : inode_permission_generic(i, mask, c);
}

bool inode_owner_or_capable(const struct inode *i, const struct cred *c)
{
    return c->fsuid == READ_SHARED(i->uid) || cred_capable(c, CAP_FOWNER);
}

int may_create(struct inode *dir, const struct cred *c)
{
    if (dir->dead)
        return -ENOENT;
    return inode_permission(dir, MAY_WRITE | MAY_EXEC, c);
}

int may_delete(struct inode *dir, struct dentry *victim, bool is_dir, const struct cred *c)
{
    struct inode *i = victim->inode;
    int err = inode_permission(dir, MAY_WRITE | MAY_EXEC, c);
    if (err)
        return err;
    if ((dir->mode & S_ISVTX) && i->uid != c->fsuid && dir->uid != c->fsuid &&
        !cred_capable(c, CAP_FOWNER))
        return -EPERM;
    if (is_dir) {
        if (!S_ISDIR(i->mode))
            return -ENOTDIR;
        if (victim->parent == victim)
            return -EBUSY;
    } else if (S_ISDIR(i->mode)) {
        return -EISDIR;
    }
    return dir->dead ? -ENOENT : 0;
}

// --- attributes ---
static void fill_stat(struct inode *i, struct kstat *st)
{
    *st = (struct kstat){
        .ino = i->ino, .size = READ_SHARED(i->size), .blocks = READ_SHARED(i->blocks),
        .dev = i->sb ? i->sb->dev : 0, .rdev = i->rdev, .mode = READ_SHARED(i->mode),
        .nlink = READ_SHARED(i->nlink), .uid = READ_SHARED(i->uid), .gid = READ_SHARED(i->gid),
        .blksize = PAGE_SIZE, .atime = ktimespec_load(&i->atime),
        .mtime = ktimespec_load(&i->mtime), .ctime = ktimespec_load(&i->ctime),
        .btime = i->btime, .has_btime = i->btime.sec != 0,
    };
}

int inode_getattr(struct inode *i, struct kstat *st)
{
    fill_stat(i, st);
    return i->ops->getattr ? i->ops->getattr(i, st) : 0;
}

int vfs_getattr(const struct path *p, struct kstat *st)
{
    struct inode *i = p->dentry ? dentry_inode(p->dentry) : nullptr;
    if (!i)
        return -ENOENT;
    int err = inode_getattr(i, st);
    st->mnt_id = p->mnt ? p->mnt->id : 0;
    st->mount_root = p->mnt && p->dentry == p->mnt->root;
    return err;
}

void inode_setattr_fields(struct inode *i, const struct iattr *a)
{
    struct ktimespec now = vfs_now();
    if (a->valid & IATTR_MODE)
        WRITE_SHARED(i->mode, (i->mode & S_IFMT) | (a->mode & 07777));
    if (a->valid & IATTR_UID)
        WRITE_SHARED(i->uid, a->uid);
    if (a->valid & IATTR_GID)
        WRITE_SHARED(i->gid, a->gid);
    if (a->valid & IATTR_ATIME)
        ktimespec_store(&i->atime, a->valid & IATTR_ATIME_SET ? a->atime : now);
    if (a->valid & IATTR_MTIME)
        ktimespec_store(&i->mtime, a->valid & IATTR_MTIME_SET ? a->mtime : now);
    ktimespec_store(&i->ctime, now);
}

int setattr_locked(struct inode *i, struct iattr *a)
{
    int err = 0;
    if (!i->ops->setattr && (a->valid & IATTR_SIZE))
        return -EPERM;
    inode_change_begin(i);
    if (i->ops->setattr)
        err = i->ops->setattr(i, a);
    else
        inode_setattr_fields(i, a);
    inode_change_end(i);
    return err;
}

static bool keeps_sgid(uint32_t gid, const struct cred *c)
{
    return cred_in_group(c, gid) || cred_capable(c, CAP_FSETID);
}

// The mode without set-id bits that a change of owner or contents takes away.
static uint32_t mode_without_privs(const struct inode *i, const struct cred *c)
{
    uint32_t mode = i->mode & ~(uint32_t)S_ISUID;
    if ((mode & S_ISGID) && ((mode & S_IXGRP) || !keeps_sgid(i->gid, c)))
        mode &= ~(uint32_t)S_ISGID;
    return mode;
}

int inode_remove_privs_locked(struct inode *i, const struct cred *c)
{
    if (!S_ISREG(i->mode) || !(i->mode & (S_ISUID | S_ISGID)) || cred_capable(c, CAP_FSETID))
        return 0;
    uint32_t mode = mode_without_privs(i, c);
    if (mode == i->mode)
        return 0;
    struct iattr a = {.valid = IATTR_MODE | IATTR_CTIME, .mode = mode};
    return setattr_locked(i, &a);
}

static int setattr_check(struct inode *i, const struct iattr *a, const struct cred *c)
{
    constexpr uint32_t times = IATTR_ATIME | IATTR_MTIME | IATTR_ATIME_SET | IATTR_MTIME_SET;
    uint32_t v = a->valid;
    if ((v & IATTR_UID) && (c->fsuid != i->uid || a->uid != i->uid) && !cred_capable(c, CAP_CHOWN))
        return -EPERM;
    if ((v & IATTR_GID) &&
        (c->fsuid != i->uid || (!cred_in_group(c, a->gid) && a->gid != i->gid)) &&
        !cred_capable(c, CAP_CHOWN))
        return -EPERM;
    if ((v & IATTR_MODE) && !inode_owner_or_capable(i, c))
        return -EPERM;
    if ((v & times) == (IATTR_ATIME | IATTR_MTIME)) { // "touch": write permission is enough
        if (!inode_owner_or_capable(i, c))
            return inode_permission(i, MAY_WRITE, c);
    } else if ((v & times) && !inode_owner_or_capable(i, c)) {
        return -EPERM;
    }
    return 0;
}

// What watchers are told of a change (as Linux's fsnotify_change).
static uint32_t setattr_event(uint32_t valid)
{
    uint32_t times = valid & (IATTR_ATIME | IATTR_MTIME), ev = 0;
    if ((valid & (IATTR_MODE | IATTR_UID | IATTR_GID)) || times == (IATTR_ATIME | IATTR_MTIME))
        ev |= IN_ATTRIB;
    if ((valid & IATTR_SIZE) || times == IATTR_MTIME)
        ev |= IN_MODIFY;
    if (times == IATTR_ATIME)
        ev |= IN_ACCESS;
    return ev;
}

int vfs_setattr(const struct path *p, struct iattr *a, const struct cred *c)
{
    struct inode *i = p->dentry ? dentry_inode(p->dentry) : nullptr;
    if (!i)
        return -ENOENT;
    if (mount_readonly(p->mnt))
        return -EROFS;
    if ((a->valid & IATTR_MODE) && S_ISLNK(i->mode))
        return -EOPNOTSUPP; // links have no mode of their own
    uint32_t event = setattr_event(a->valid);
    mutex_lock(&i->lock);
    int err = setattr_check(i, a, c);
    if (!err) {
        if (a->valid & IATTR_MODE) {
            uint32_t gid = a->valid & IATTR_GID ? a->gid : i->gid;
            a->mode = (i->mode & S_IFMT) | (a->mode & 07777);
            if ((a->mode & S_ISGID) && !keeps_sgid(gid, c))
                a->mode &= ~(uint32_t)S_ISGID;
        } else if ((a->valid & IATTR_KILL_PRIV) && !S_ISDIR(i->mode)) {
            uint32_t mode = mode_without_privs(i, c);
            if (mode != i->mode) {
                a->valid |= IATTR_MODE;
                a->mode = mode;
            }
        }
        a->valid &= ~IATTR_KILL_PRIV;
        a->valid |= IATTR_CTIME;
        err = setattr_locked(i, a);
    }
    mutex_unlock(&i->lock);
    if (!err && event)
        fsnotify(i, p->dentry, event | (S_ISDIR(i->mode) ? IN_ISDIR : 0), nullptr, 0);
    return err;
}

int inode_truncate(struct inode *i, uint64_t size, const struct cred *c)
{
    if (size > i->sb->maxbytes)
        return -EFBIG;
    if (size > READ_SHARED(i->size) && vfs_hooks.fsize_limit && size > vfs_hooks.fsize_limit()) {
        if (vfs_hooks.fsize_exceeded)
            vfs_hooks.fsize_exceeded();
        return -EFBIG;
    }
    mutex_lock(&i->lock);
    struct iattr a = {.valid = IATTR_SIZE | IATTR_MTIME | IATTR_CTIME, .size = size};
    if (S_ISREG(i->mode) && (i->mode & (S_ISUID | S_ISGID)) && !cred_capable(c, CAP_FSETID)) {
        a.mode = mode_without_privs(i, c);
        if (a.mode != i->mode)
            a.valid |= IATTR_MODE;
    }
    int err = setattr_locked(i, &a);
    mutex_unlock(&i->lock);
    return err;
}

// --- writers against executors: the sign of i->writers says which side holds it ---
int inode_get_write(struct inode *i)
{
    int32_t n = __atomic_load_n(&i->writers, __ATOMIC_RELAXED);
    do {
        if (n < 0)
            return -ETXTBSY;
    } while (!__atomic_compare_exchange_n(&i->writers, &n, n + 1, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    return 0;
}

void inode_put_write(struct inode *i)
{
    __atomic_fetch_sub(&i->writers, 1, __ATOMIC_ACQ_REL);
}

int inode_deny_write(struct inode *i)
{
    int32_t n = __atomic_load_n(&i->writers, __ATOMIC_RELAXED);
    do {
        if (n > 0)
            return -ETXTBSY;
    } while (!__atomic_compare_exchange_n(&i->writers, &n, n - 1, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    return 0;
}

void inode_allow_write(struct inode *i)
{
    __atomic_fetch_add(&i->writers, 1, __ATOMIC_ACQ_REL);
}
