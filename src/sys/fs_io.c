// SPDX-License-Identifier: Apache-2.0
// read(2), write(2) and their relatives, lseek, sync, truncate, sendfile, copy_file_range, getdents.
#include "sys/fs_util.h"
#include "vfs/window.h"
#include <stddef.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/uio.h>

// --- what the VFS asks of the calling task -----------------------------------------------------------
static uint64_t fsize_limit(void)
{
    struct task *t = task_current();
    return t ? task_rlimit(t, RLIMIT_FSIZE) : UINT64_MAX;
}
static void fsize_exceeded(void)
{
    siginfo_t si;
    struct task *t = task_current();
    if (!t)
        return;
    siginfo_user(&si, SIGXFSZ, t);
    (void)signal_send_task(t, &si);
}
static int current_tgid(void)
{
    struct task *t = task_current();
    return t ? task_tgid_in(t, t->pidns) : 0;
}
__attribute__((constructor)) static void hooks_set(void)
{
    vfs_hooks = (struct vfs_hooks){
        .fsize_limit = fsize_limit, .fsize_exceeded = fsize_exceeded, .current_tgid = current_tgid};
}

// --- read and write -------------------------------------------------------------------------------
static long rw_buffer(struct task *t, int fd, uaddr_t buf, size_t count, int64_t *pos, bool write)
{
    struct uiovec v;
    FD_FILE(f, t, fd);
    if (!f)
        return -EBADF;
    if (pos && f->ops->stream)
        return -ESPIPE;
    if ((int64_t)count < 0)
        return -EFAULT; // no buffer is that long
    struct uio u = uio_user(&v, t->mm, buf, MIN(count, RW_MAX));
    if (write)
        return file_write(f, &u, pos);
    long n = file_read(f, &u, pos);
    if (n > 0)
        fd_was_read(t, fd, f, (uint64_t)(pos ? *pos : READ_SHARED(f->pos)), !pos);
    return n;
}
long sys_read(struct task *t, int fd, uaddr_t buf, size_t count)
{
    return rw_buffer(t, fd, buf, count, nullptr, false);
}
long sys_write(struct task *t, int fd, uaddr_t buf, size_t count)
{
    return rw_buffer(t, fd, buf, count, nullptr, true);
}
long sys_pread64(struct task *t, int fd, uaddr_t buf, size_t count, int64_t pos)
{
    return pos < 0 ? -EINVAL : rw_buffer(t, fd, buf, count, &pos, false);
}
long sys_pwrite64(struct task *t, int fd, uaddr_t buf, size_t count, int64_t pos)
{
    return pos < 0 ? -EINVAL : rw_buffer(t, fd, buf, count, &pos, true);
}

static long rw_vector(struct task *t, int fd, uaddr_t iov, uint64_t n, int64_t *pos, uint32_t flags,
                      bool write)
{
    struct user_iov u;
    FD_FILE(f, t, fd);
    if (!f)
        return -EBADF;
    if (pos && f->ops->stream)
        return -ESPIPE;
    int err = user_iov_get(t, &u, iov, n);
    if (err)
        return err;
    long ret;
    uint32_t fl = READ_SHARED(f->flags);
    if ((flags & RWF_NOWAIT) && !f->ops->nowait)
        ret = -EOPNOTSUPP;
    else if (write)
        ret = file_write_flags(f, &u.uio, pos, (fl & O_APPEND) || (flags & RWF_APPEND),
                               (fl & O_DSYNC) || (flags & (RWF_SYNC | RWF_DSYNC)));
    else
        ret = file_read(f, &u.uio, pos);
    user_iov_free(&u);
    return ret;
}
long sys_readv(struct task *t, int fd, uaddr_t iov, uint64_t n)
{
    return rw_vector(t, fd, iov, n, nullptr, 0, false);
}
long sys_writev(struct task *t, int fd, uaddr_t iov, uint64_t n)
{
    return rw_vector(t, fd, iov, n, nullptr, 0, true);
}
// On x86_64 the low word is the whole position.
long sys_preadv(struct task *t, int fd, uaddr_t iov, uint64_t n, uint64_t lo, uint64_t hi)
{
    int64_t pos = (int64_t)lo;
    return pos < 0 ? -EINVAL : rw_vector(t, fd, iov, n, &pos, 0, false);
}
long sys_pwritev(struct task *t, int fd, uaddr_t iov, uint64_t n, uint64_t lo, uint64_t hi)
{
    int64_t pos = (int64_t)lo;
    return pos < 0 ? -EINVAL : rw_vector(t, fd, iov, n, &pos, 0, true);
}
static long rw_vector2(struct task *t, int fd, uaddr_t iov, uint64_t n, int64_t pos, uint32_t flags,
                       bool write)
{
    uint32_t known = RWF_HIPRI | RWF_NOWAIT | (write ? RWF_DSYNC | RWF_SYNC | RWF_APPEND : 0);
    if (flags & ~known)
        return -EOPNOTSUPP;
    if (pos == -1)
        return rw_vector(t, fd, iov, n, nullptr, flags, write);
    return pos < 0 ? -EINVAL : rw_vector(t, fd, iov, n, &pos, flags, write);
}
long sys_preadv2(struct task *t, int fd, uaddr_t iov, uint64_t n, uint64_t lo, uint64_t hi, uint32_t flags)
{
    return rw_vector2(t, fd, iov, n, (int64_t)lo, flags, false);
}
long sys_pwritev2(struct task *t, int fd, uaddr_t iov, uint64_t n, uint64_t lo, uint64_t hi, uint32_t flags)
{
    return rw_vector2(t, fd, iov, n, (int64_t)lo, flags, true);
}

long sys_lseek(struct task *t, int fd, int64_t off, int whence)
{
    FD_FILE(f, t, fd);
    return f ? file_seek(f, off, whence) : -EBADF;
}

// --- copies inside the kernel ------------------------------------------------------------------------
constexpr size_t COPY_CHUNK = 65536;

// Moves up to n bytes from in to out through a kernel buffer. Positions null: the files' own. What
// was read from a stream and could not be written is lost to nobody but a stream's reader, so a
// stream source is read only as far as the sink took the chunk before.
static long copy_between(struct file *in, int64_t *ipos, struct file *out, int64_t *opos, size_t n)
{
    uint8_t *buf = mem_alloc(MIN(n, COPY_CHUNK) ? MIN(n, COPY_CHUNK) : 1);
    long done = 0, err = 0;
    if (!buf)
        return -ENOMEM;
    while (n && !err) {
        struct uiovec rv, wv;
        int64_t before = ipos ? *ipos : 0;
        struct uio r = uio_kernel(&rv, buf, MIN(n, COPY_CHUNK));
        long got = file_read(in, &r, ipos);
        if (got <= 0) {
            err = got;
            break;
        }
        struct uio w = uio_kernel(&wv, buf, (size_t)got);
        long put = 0;
        while (w.resid) {
            long k = file_write(out, &w, opos);
            if (k <= 0) {
                err = k ? k : -EIO;
                break;
            }
            put += k;
        }
        if (put < got && !in->ops->stream) { // give back what was not taken
            if (ipos)
                *ipos = before + put;
            else
                file_seek(in, put - got, SEEK_CUR);
        }
        done += put;
        n -= (size_t)put;
        if (!err && fiber_interrupted(PARK_INTERRUPTIBLE))
            break;
    }
    mem_free(buf);
    return done ? done : err;
}

long sys_sendfile(struct task *t, int out_fd, int in_fd, uaddr_t offset, size_t count)
{
    int64_t pos = 0;
    FD_FILE(in, t, in_fd);
    FD_FILE(out, t, out_fd);
    if (!in || !out || !in->can_read || !out->can_write)
        return -EBADF;
    if (in->ops->stream)
        return uaddr_null(offset) ? -EINVAL : -ESPIPE;
    if (S_ISDIR(in->inode->mode) || (READ_SHARED(out->flags) & O_APPEND))
        return -EINVAL;
    if (!uaddr_null(offset) && get_user(t->mm, offset, pos))
        return -EFAULT;
    if (pos < 0 || (int64_t)count < 0)
        return -EINVAL;
    long n = copy_between(in, uaddr_null(offset) ? nullptr : &pos, out, nullptr, MIN(count, RW_MAX));
    if (!uaddr_null(offset) && put_user(t->mm, offset, pos))
        return -EFAULT;
    return n;
}

long sys_copy_file_range(struct task *t, int fd_in, uaddr_t off_in, int fd_out, uaddr_t off_out,
                         size_t len, uint32_t flags)
{
    int64_t ipos = 0, opos = 0;
    FD_FILE(in, t, fd_in);
    FD_FILE(out, t, fd_out);
    if (!in || !out || !in->can_read || !out->can_write || (READ_SHARED(out->flags) & O_APPEND))
        return -EBADF;
    if (flags)
        return -EINVAL;
    if (S_ISDIR(in->inode->mode) || S_ISDIR(out->inode->mode))
        return -EISDIR;
    if (!S_ISREG(in->inode->mode) || !S_ISREG(out->inode->mode))
        return -EINVAL;
    if ((!uaddr_null(off_in) && get_user(t->mm, off_in, ipos)) ||
        (!uaddr_null(off_out) && get_user(t->mm, off_out, opos)))
        return -EFAULT;
    // Without an offset the file's own position counts and moves (which, for a host file, the host
    // keeps: f->pos says nothing about it).
    if (uaddr_null(off_in))
        ipos = file_seek(in, 0, SEEK_CUR);
    if (uaddr_null(off_out))
        opos = file_seek(out, 0, SEEK_CUR);
    int64_t iend, oend;
    if (ipos < 0 || opos < 0 || (int64_t)len < 0 ||
        __builtin_add_overflow(ipos, (int64_t)len, &iend) ||
        __builtin_add_overflow(opos, (int64_t)len, &oend))
        return -EOVERFLOW;
    if (in->inode == out->inode && ipos < oend && opos < iend && len)
        return -EINVAL;
    long n = copy_between(in, uaddr_null(off_in) ? nullptr : &ipos, out,
                          uaddr_null(off_out) ? nullptr : &opos, MIN(len, RW_MAX));
    if (n >= 0 && ((!uaddr_null(off_in) && put_user(t->mm, off_in, ipos)) ||
                   (!uaddr_null(off_out) && put_user(t->mm, off_out, opos))))
        return -EFAULT;
    return n;
}

// --- sync and size ------------------------------------------------------------------------------------
static long do_fsync(struct task *t, int fd, bool datasync)
{
    FD_FILE(f, t, fd);
    return f ? vfs_fsync(f, datasync) : -EBADF;
}
long sys_fsync(struct task *t, int fd) { return do_fsync(t, fd, false); }
long sys_fdatasync(struct task *t, int fd) { return do_fsync(t, fd, true); }

static int super_sync(struct super *sb)
{
    return sb->ops->sync ? sb->ops->sync(sb) : 0;
}
long sys_syncfs(struct task *t, int fd)
{
    FD_FILE(f, t, fd);
    return f ? super_sync(f->inode->sb) : -EBADF;
}
long sys_sync(struct task *t)
{
    struct path root = path_get(t->fs->root);
    super_sync(root.dentry->sb);
    path_put(root);
    vfs_sync_all();
    return 0;
}
long sys_sync_file_range(struct task *t, int fd, int64_t off, int64_t n, uint32_t flags)
{
    int64_t end;
    FD_FILE(f, t, fd);
    if (!f)
        return -EBADF;
    if (flags & ~7u || off < 0 || n < 0 || __builtin_add_overflow(off, n, &end))
        return -EINVAL;
    if (f->ops->stream)
        return -ESPIPE;
    return flags & 7 ? vfs_fsync(f, true) : 0;
}
long sys_fadvise64(struct task *t, int fd, int64_t off, int64_t len, int advice)
{
    FD_FILE(f, t, fd);
    if (!f)
        return -EBADF;
    if (f->ops->stream)
        return -ESPIPE;
    return len < 0 || advice < 0 || advice > 5 ? -EINVAL : 0;
}
long sys_readahead(struct task *t, int fd, int64_t off, size_t count)
{
    FD_FILE(f, t, fd);
    if (!f || !f->can_read)
        return -EBADF;
    return S_ISREG(f->inode->mode) ? 0 : -EINVAL;
}
long sys_fallocate(struct task *t, int fd, int mode, int64_t off, int64_t len)
{
    int64_t end;
    FD_FILE(f, t, fd);
    if (!f || !f->can_write)
        return -EBADF;
    if (off < 0 || len <= 0)
        return -EINVAL;
    if (mode & ~0x7f)
        return -EOPNOTSUPP;
    if (f->ops->stream)
        return -ESPIPE;
    if (S_ISDIR(f->inode->mode))
        return -EISDIR;
    if (!S_ISREG(f->inode->mode))
        return -ENODEV;
    if (__builtin_add_overflow(off, len, &end))
        return -EFBIG;
    if (!f->ops->fallocate)
        return -EOPNOTSUPP;
    inode_change_begin(f->inode);
    int err = f->ops->fallocate(f, mode, off, len);
    inode_change_end(f->inode);
    return err;
}

static int truncate_inode(struct inode *i, struct dentry *d, int64_t length, const struct cred *c)
{
    if (S_ISDIR(i->mode))
        return -EISDIR;
    if (!S_ISREG(i->mode))
        return -EINVAL;
    int err = inode_truncate(i, (uint64_t)length, c);
    if (!err)
        fsnotify(i, d, IN_MODIFY, nullptr, 0);
    return err;
}
long sys_truncate(struct task *t, uaddr_t name, int64_t length)
{
    PATH_VAR(p);
    if (length < 0)
        return -EINVAL;
    int err = user_path_lookup(t, AT_FDCWD, name, LOOKUP_FOLLOW, &p);
    if (err)
        return err;
    struct inode *i = p.dentry->inode;
    if (S_ISDIR(i->mode))
        return -EISDIR;
    if (!S_ISREG(i->mode))
        return -EINVAL;
    if (mount_readonly(p.mnt))
        return -EROFS;
    if ((err = inode_permission(i, 2, t->cred)) != 0)
        return err;
    if ((err = inode_get_write(i)) != 0)
        return err;
    err = truncate_inode(i, p.dentry, length, t->cred);
    inode_put_write(i);
    return err;
}
long sys_ftruncate(struct task *t, int fd, int64_t length)
{
    if (length < 0)
        return -EINVAL;
    FD_FILE(f, t, fd);
    if (!f)
        return -EBADF;
    if (!S_ISREG(f->inode->mode) || !f->can_write)
        return -EINVAL;
    return truncate_inode(f->inode, f->path.dentry, length, t->cred);
}

// --- getdents -------------------------------------------------------------------------------------------
constexpr size_t DENTS_CHUNK = 32768;
struct dents {
    struct dir_context dc;
    uint8_t *buf;
    size_t cap, used;
    bool old;      // struct linux_dirent: the type is the last byte
    bool too_small;
};
static bool dents_emit(struct dir_context *dc, const char *name, size_t n, uint64_t ino,
                       uint8_t dtype, int64_t next_pos)
{
    struct dents *d = container_of(dc, struct dents, dc);
    size_t head = 18 + (d->old ? 0 : 1); // d_ino, d_off, d_reclen (and d_type)
    size_t len = (head + n + 1 + (d->old ? 1 : 0) + 7) & ~(size_t)7;
    if (len > d->cap - d->used) {
        d->too_small = d->used == 0;
        return false;
    }
    uint8_t *p = d->buf + d->used;
    uint16_t reclen = (uint16_t)len;
    memset(p, 0, len);
    memcpy(p, &ino, 8);
    memcpy(p + 8, &next_pos, 8);
    memcpy(p + 16, &reclen, 2);
    if (!d->old)
        p[18] = dtype;
    memcpy(p + head, name, n);
    if (d->old)
        p[len - 1] = dtype;
    d->used += len;
    return true;
}
static long getdents(struct task *t, int fd, uaddr_t out, uint32_t count, bool old)
{
    FD_FILE(f, t, fd);
    if (!f)
        return -EBADF;
    if (!S_ISDIR(f->inode->mode) || !f->ops->readdir)
        return -ENOTDIR;
    struct dents d = {.dc.emit = dents_emit, .cap = MIN(count, DENTS_CHUNK), .old = old};
    d.buf = mem_alloc(d.cap ? d.cap : 1);
    if (!d.buf)
        return -ENOMEM;
    mutex_lock(&f->pos_lock);
    long ret = -ENOENT;
    if (!f->inode->dead) {
        d.dc.pos = f->pos;
        ret = f->ops->readdir(f, &d.dc);
        if (d.too_small)
            ret = -EINVAL;
        if (ret == 0 || d.used) {
            ret = copy_out(t->mm, out, d.buf, d.used) ? -EFAULT : (long)d.used;
            if (ret >= 0)
                f->pos = d.dc.pos;
        }
    }
    mutex_unlock(&f->pos_lock);
    if (ret >= 0)
        file_accessed(f);
    mem_free(d.buf);
    return ret;
}
long sys_getdents(struct task *t, int fd, uaddr_t out, uint32_t count)
{
    return getdents(t, fd, out, count, true);
}
long sys_getdents64(struct task *t, int fd, uaddr_t out, uint32_t count)
{
    return getdents(t, fd, out, count, false);
}
