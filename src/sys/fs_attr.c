// SPDX-License-Identifier: Apache-2.0
// Attributes: stat family, access, mode, owner, times, statfs.
#include "sys/fs_util.h"
#include "vfs/window.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <utime.h>

static struct stat make_stat(const struct kstat *k)
{
    return (struct stat){
        .st_dev = k->dev, .st_ino = k->ino, .st_nlink = k->nlink, .st_mode = k->mode,
        .st_uid = k->uid, .st_gid = k->gid, .st_rdev = k->rdev, .st_size = (off_t)k->size,
        .st_blksize = k->blksize, .st_blocks = (blkcnt_t)k->blocks,
        .st_atim = {k->atime.sec, k->atime.nsec}, .st_mtim = {k->mtime.sec, k->mtime.nsec},
        .st_ctim = {k->ctime.sec, k->ctime.nsec}};
}
static int put_stat(struct task *t, uaddr_t out, const struct kstat *k)
{
    struct stat st = make_stat(k);
    return copy_out(t->mm, out, &st, sizeof(st));
}
static int stat_name(struct task *t, int dirfd, uaddr_t name, unsigned flags, struct kstat *k)
{
    PATH_VAR(p);
    int err = user_path_lookup(t, dirfd, name, flags, &p);
    return err ? err : vfs_getattr(&p, k);
}
static int stat_file(struct file *f, struct kstat *k)
{
    if (f->path.dentry)
        return vfs_getattr(&f->path, k);
    return inode_getattr(f->inode, k);
}

// Attributes of a descriptor, and on the way a line for its stub (vfs/window.h): at the second
// fstat of a file that does not change, with its data at the sixteenth pread or read, and with the
// position if that was a read.
constexpr uint32_t STATS_BEFORE = 2, READS_BEFORE = 16;
static bool window_due(struct task *t, struct file *f, bool data)
{
    if (!t->ctx->pub || (READ_SHARED(t->ctx->pub->full) & ~PUB_STALE) || !S_ISREG(f->inode->mode))
        return false; // the stub asks in any case
    uint32_t now = __atomic_load_n(&f->inode->change_begun, __ATOMIC_RELAXED);
    if (READ_SHARED(f->win_change) != now) {
        WRITE_SHARED(f->win_change, now);
        WRITE_SHARED(f->win_reads, 0);
        WRITE_SHARED(f->win_stats, 0);
    }
    uint32_t *n = data ? &f->win_reads : &f->win_stats;
    WRITE_SHARED(*n, READ_SHARED(*n) + 1);
    return READ_SHARED(*n) >= (data ? READS_BEFORE : STATS_BEFORE);
}
static int stat_publish(struct task *t, int fd, struct file *f, struct kstat *k, bool data, bool pos)
{
    struct window_args a = {.f = f, .data = data, .pos = pos};
    bool can = window_possible(f, &a.real);
    if (can)
        a.gen = window_gen(f, a.real);
    int err = stat_file(f, k);
    if (err || !can)
        return err;
    struct stat st = make_stat(k);
    static_assert(sizeof(st) == sizeof(((struct pub_file *)0)->stat));
    a.size = k->size;
    a.stat = &st;
    if (!window_publish(t->mm, t->ctx, t->files, fd, &a))
        WRITE_SHARED(f->win_reads, 0); // not all of it; once more later
    return 0;
}
static int stat_fd(struct task *t, int fd, struct file *f, struct kstat *k)
{
    if (window_due(t, f, false))
        return stat_publish(t, fd, f, k, READ_SHARED(f->win_reads) >= READS_BEFORE, false);
    return stat_file(f, k);
}
void fd_was_read(struct task *t, int fd, struct file *f, uint64_t end, bool by_pos)
{
    struct kstat k;
    if (end <= PUB_WINDOW_SIZE && window_due(t, f, true))
        (void)stat_publish(t, fd, f, &k, true, by_pos);
}
long sys_stat(struct task *t, uaddr_t name, uaddr_t out)
{
    struct kstat k;
    int err = stat_name(t, AT_FDCWD, name, LOOKUP_FOLLOW, &k);
    return err ? err : put_stat(t, out, &k);
}
long sys_lstat(struct task *t, uaddr_t name, uaddr_t out)
{
    struct kstat k;
    int err = stat_name(t, AT_FDCWD, name, 0, &k);
    return err ? err : put_stat(t, out, &k);
}
long sys_fstat(struct task *t, int fd, uaddr_t out)
{
    struct kstat k;
    FD_FILE_ANY(f, t, fd);
    if (!f)
        return -EBADF;
    int err = stat_fd(t, fd, f, &k);
    return err ? err : put_stat(t, out, &k);
}

// newfstatat(fd, "", AT_EMPTY_PATH) is how libc spells fstat: no path walk.
static int stat_at(struct task *t, int dirfd, uaddr_t name, uint32_t flags, struct kstat *k)
{
    char first = 0;
    if (flags & ~(uint32_t)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE))
        return -EINVAL;
    if ((flags & AT_EMPTY_PATH) && dirfd >= 0) {
        if (!uaddr_null(name) && get_user(t->mm, name, first))
            return -EFAULT;
        if (!first) {
            FD_FILE_ANY(f, t, dirfd);
            return f ? stat_fd(t, dirfd, f, k) : -EBADF;
        }
    }
    unsigned lookup = (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
                      (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
    return stat_name(t, dirfd, name, lookup, k);
}
long sys_newfstatat(struct task *t, int dirfd, uaddr_t name, uaddr_t out, uint32_t flags)
{
    struct kstat k;
    int err = stat_at(t, dirfd, name, flags, &k);
    return err ? err : put_stat(t, out, &k);
}
static struct statx_timestamp statx_time(struct ktimespec ts)
{
    return (struct statx_timestamp){.tv_sec = ts.sec, .tv_nsec = ts.nsec};
}
long sys_statx(struct task *t, int dirfd, uaddr_t name, uint32_t flags, uint32_t mask, uaddr_t out)
{
    struct kstat k;
    if (mask & STATX__RESERVED || (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE)
        return -EINVAL;
    int err = stat_at(t, dirfd, name, flags, &k);
    if (err)
        return err;
    struct statx x = {
        .stx_mask = STATX_BASIC_STATS | (k.has_btime ? STATX_BTIME : 0) | 0x1000 /* MNT_ID */,
        .stx_blksize = k.blksize, .stx_nlink = k.nlink, .stx_uid = k.uid, .stx_gid = k.gid,
        .stx_mode = (uint16_t)k.mode, .stx_ino = k.ino, .stx_size = k.size, .stx_blocks = k.blocks,
        .stx_atime = statx_time(k.atime), .stx_btime = statx_time(k.btime),
        .stx_ctime = statx_time(k.ctime), .stx_mtime = statx_time(k.mtime),
        .stx_rdev_major = major(k.rdev), .stx_rdev_minor = minor(k.rdev),
        .stx_dev_major = major(k.dev), .stx_dev_minor = minor(k.dev), .stx_mnt_id = k.mnt_id,
        .stx_attributes = k.mount_root ? STATX_ATTR_MOUNT_ROOT : 0,
        .stx_attributes_mask = STATX_ATTR_MOUNT_ROOT};
    return copy_out(t->mm, out, &x, sizeof(x));
}

// --- statfs ------------------------------------------------------------------------------------------
static int statfs_super(struct task *t, struct super *sb, const struct mount *m, uaddr_t out)
{
    struct statfs s = {.f_type = (long)sb->magic, .f_bsize = PAGE_SIZE, .f_frsize = PAGE_SIZE,
                       .f_namelen = NAME_MAX};
    int err = sb->ops->statfs ? sb->ops->statfs(sb, &s) : 0;
    if (err)
        return err;
    memcpy(&s.f_fsid, &sb->dev, sizeof(s.f_fsid));
    if (m) { // ST_* equal MS_* for RDONLY, NOSUID, NODEV, NOEXEC; ST_VALID says that they are there
        s.f_flags = 0x20 | (READ_SHARED(m->flags) & 0xf) | (mount_readonly(m) ? 1 : 0) |
                    (READ_SHARED(m->flags) & (1024 | 2048)) | (READ_SHARED(m->flags) & (1 << 21) ? 4096 : 0);
    }
    return copy_out(t->mm, out, &s, sizeof(s));
}
long sys_statfs(struct task *t, uaddr_t name, uaddr_t out)
{
    PATH_VAR(p);
    int err = user_path_lookup(t, AT_FDCWD, name, LOOKUP_FOLLOW, &p);
    return err ? err : statfs_super(t, p.dentry->sb, p.mnt, out);
}
long sys_fstatfs(struct task *t, int fd, uaddr_t out)
{
    FD_FILE_ANY(f, t, fd);
    return f ? statfs_super(t, f->inode->sb, f->path.mnt, out) : -EBADF;
}
long sys_ustat(struct task *t, uint32_t dev, uaddr_t out)
{
    return -EINVAL; // no device number names a mounted block device here
}

// --- access -----------------------------------------------------------------------------------------
static long do_access(struct task *t, int dirfd, uaddr_t name, int mode, uint32_t flags)
{
    PATH_VAR(p);
    struct cred *real = nullptr;
    if (mode & ~7 || flags & ~(uint32_t)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    const struct cred *c = t->cred;
    if (!(flags & AT_EACCESS) && (c->fsuid != c->uid || c->fsgid != c->gid)) {
        real = cred_dup(c); // real ids, and capabilities as if they were the effective ones
        if (!real)
            return -ENOMEM;
        real->fsuid = real->euid = c->uid;
        real->fsgid = real->egid = c->gid;
        real->cap_effective = c->uid == 0 ? c->cap_permitted : 0;
    }
    struct lookup_ctx lc = {.fs = t->fs, .files = t->files, .cred = real ? real : c};
    USER_PATH(path, t, name);
    int err = path.err;
    if (!err)
        err = path_lookup(&lc, dirfd, path.p,
                          (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
                              (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0),
                          &p);
    if (!err && mode) {
        struct inode *i = p.dentry->inode;
        err = inode_permission(i, mode, lc.cred);
        if (!err && (mode & 1) && S_ISREG(i->mode) && p.mnt && (READ_SHARED(p.mnt->flags) & 8))
            err = -EACCES; // noexec
        if (!err && (mode & 2) && mount_readonly(p.mnt) &&
            (S_ISREG(i->mode) || S_ISDIR(i->mode) || S_ISLNK(i->mode)))
            err = -EROFS;
    }
    if (real)
        cred_put(real);
    return err;
}
long sys_access(struct task *t, uaddr_t name, int mode)
{
    return do_access(t, AT_FDCWD, name, mode, 0);
}
long sys_faccessat(struct task *t, int dirfd, uaddr_t name, int mode)
{
    return do_access(t, dirfd, name, mode, 0);
}
long sys_faccessat2(struct task *t, int dirfd, uaddr_t name, int mode, uint32_t flags)
{
    return do_access(t, dirfd, name, mode, flags);
}

// --- mode and owner -----------------------------------------------------------------------------------
static long set_named(struct task *t, int dirfd, uaddr_t name, unsigned lookup, struct iattr *a)
{
    PATH_VAR(p);
    int err = user_path_lookup(t, dirfd, name, lookup, &p);
    return err ? err : vfs_setattr(&p, a, t->cred);
}
static long set_fd(struct task *t, int fd, struct iattr *a, bool opath_ok)
{
    FD_FILE_ANY(f, t, fd);
    if (!f || (f->opath && !opath_ok))
        return -EBADF;
    struct path p = f->path;
    if (!p.dentry) { // anonymous files: their inode has an owner too
        struct inode *i = f->inode;
        mutex_lock(&i->lock);
        long err = i->ops && i->ops->setattr ? i->ops->setattr(i, a) : -EPERM;
        mutex_unlock(&i->lock);
        return err;
    }
    return vfs_setattr(&p, a, t->cred);
}
long sys_fchmodat(struct task *t, int dirfd, uaddr_t name, uint32_t mode)
{
    struct iattr a = {.valid = IATTR_MODE, .mode = mode & 07777};
    return set_named(t, dirfd, name, LOOKUP_FOLLOW, &a);
}
long sys_fchmodat2(struct task *t, int dirfd, uaddr_t name, uint32_t mode, uint32_t flags)
{
    struct iattr a = {.valid = IATTR_MODE, .mode = mode & 07777};
    if (flags & ~(uint32_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    unsigned lookup = (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
                      (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
    return set_named(t, dirfd, name, lookup, &a);
}
long sys_chmod(struct task *t, uaddr_t name, uint32_t mode)
{
    return sys_fchmodat(t, AT_FDCWD, name, mode);
}
long sys_fchmod(struct task *t, int fd, uint32_t mode)
{
    struct iattr a = {.valid = IATTR_MODE, .mode = mode & 07777};
    return set_fd(t, fd, &a, false);
}
static struct iattr chown_attr(uint32_t uid, uint32_t gid)
{
    return (struct iattr){.valid = (uid != UINT32_MAX ? IATTR_UID : 0) |
                                   (gid != UINT32_MAX ? IATTR_GID : 0) | IATTR_CTIME | IATTR_KILL_PRIV,
                          .uid = uid, .gid = gid};
}
long sys_fchownat(struct task *t, int dirfd, uaddr_t name, uint32_t uid, uint32_t gid, uint32_t flags)
{
    struct iattr a = chown_attr(uid, gid);
    if (flags & ~(uint32_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    unsigned lookup = (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
                      (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
    return set_named(t, dirfd, name, lookup, &a);
}
long sys_chown(struct task *t, uaddr_t name, uint32_t uid, uint32_t gid)
{
    return sys_fchownat(t, AT_FDCWD, name, uid, gid, 0);
}
long sys_lchown(struct task *t, uaddr_t name, uint32_t uid, uint32_t gid)
{
    return sys_fchownat(t, AT_FDCWD, name, uid, gid, AT_SYMLINK_NOFOLLOW);
}
long sys_fchown(struct task *t, int fd, uint32_t uid, uint32_t gid)
{
    struct iattr a = chown_attr(uid, gid);
    return set_fd(t, fd, &a, false);
}

// --- times ----------------------------------------------------------------------------------------------
static int times_attr(struct iattr *a, const struct timespec ts[2])
{
    static const uint32_t when[2] = {IATTR_ATIME, IATTR_MTIME};
    static const uint32_t set[2] = {IATTR_ATIME_SET, IATTR_MTIME_SET};
    *a = (struct iattr){};
    for (int i = 0; i < 2; i++) {
        if (ts[i].tv_nsec == UTIME_OMIT)
            continue;
        a->valid |= when[i];
        if (ts[i].tv_nsec == UTIME_NOW)
            continue;
        if (ts[i].tv_nsec < 0 || ts[i].tv_nsec > 999999999)
            return -EINVAL;
        a->valid |= set[i];
        *(i ? &a->mtime : &a->atime) =
            (struct ktimespec){.sec = ts[i].tv_sec, .nsec = (uint32_t)ts[i].tv_nsec};
    }
    return 0;
}
static long set_times(struct task *t, int dirfd, uaddr_t name, const struct timespec *ts, uint32_t flags)
{
    static const struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    struct iattr a;
    int err = times_attr(&a, ts ? ts : now);
    if (err)
        return err;
    if (uaddr_null(name) && dirfd != AT_FDCWD)
        return a.valid ? set_fd(t, dirfd, &a, false) : 0;
    unsigned lookup = (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
                      (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
    if (!a.valid) { // both omitted: still an error when the file is not there
        PATH_VAR(p);
        return user_path_lookup(t, dirfd, name, lookup, &p);
    }
    return set_named(t, dirfd, name, lookup, &a);
}
long sys_utimensat(struct task *t, int dirfd, uaddr_t name, uaddr_t times, uint32_t flags)
{
    struct timespec ts[2];
    if (flags & ~(uint32_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) || (uaddr_null(name) && flags))
        return -EINVAL;
    if (uaddr_null(times))
        return set_times(t, dirfd, name, nullptr, flags);
    if (copy_in(t->mm, ts, times, sizeof(ts)))
        return -EFAULT;
    return set_times(t, dirfd, name, ts, flags);
}
long sys_futimesat(struct task *t, int dirfd, uaddr_t name, uaddr_t times)
{
    struct timeval tv[2];
    if (uaddr_null(times))
        return set_times(t, dirfd, name, nullptr, 0);
    if (copy_in(t->mm, tv, times, sizeof(tv)))
        return -EFAULT;
    for (int i = 0; i < 2; i++)
        if (tv[i].tv_usec < 0 || tv[i].tv_usec >= 1000000)
            return -EINVAL;
    struct timespec ts[2] = {{tv[0].tv_sec, tv[0].tv_usec * 1000}, {tv[1].tv_sec, tv[1].tv_usec * 1000}};
    return set_times(t, dirfd, name, ts, 0);
}
long sys_utimes(struct task *t, uaddr_t name, uaddr_t times)
{
    return sys_futimesat(t, AT_FDCWD, name, times);
}
long sys_utime(struct task *t, uaddr_t name, uaddr_t times)
{
    struct utimbuf u;
    if (uaddr_null(times))
        return set_times(t, AT_FDCWD, name, nullptr, 0);
    if (copy_in(t->mm, &u, times, sizeof(u)))
        return -EFAULT;
    struct timespec ts[2] = {{u.actime, 0}, {u.modtime, 0}};
    return set_times(t, AT_FDCWD, name, ts, 0);
}
