// SPDX-License-Identifier: Apache-2.0
// Regular files of the 9P client. An open file works on the inode's donated descriptors (f->data is
// null then); where the server gives none, or too many are held, on a fid opened for this file. No
// data is cached here: the host's page cache holds the one copy.
#include "fs/gofer/gfs.h"
#include "base/slab.h"
#include "host/raw.h"
#include "mem/uio.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <unistd.h>

struct gofer_open { // file without donated descriptor
    uint32_t fid;
};
SLAB_DEFINE(gofer_open_slab, struct gofer_open);
constexpr size_t SMALL_IO = 4096;
constexpr size_t BIG_IO = 128 << 10;

// Buffers for larger transfers: a few are kept, so that a copy loop does not clear fresh memory.
static struct {
    struct spinlock lock;
    void *p[8]; // [lock]
    size_t n;   // [lock]
} pool;
static void *buf_get(void)
{
    void *p = nullptr;
    spin_lock(&pool.lock);
    if (pool.n)
        p = pool.p[--pool.n];
    spin_unlock(&pool.lock);
    return p ? p : mem_alloc(BIG_IO);
}
static void buf_put(void *p)
{
    spin_lock(&pool.lock);
    bool keep = pool.n < ARRAY_LEN(pool.p);
    if (keep)
        pool.p[pool.n++] = p;
    spin_unlock(&pool.lock);
    if (!keep)
        mem_free(p);
}

static int open_fid(struct gofer_inode *gi, struct file *f)
{
    struct gofer_client *c = gc_of(gi);
    uint32_t flags = f->can_read && f->can_write ? O_RDWR : f->can_write ? O_WRONLY : O_RDONLY;
    struct gofer_open *o = slab_alloc(&gofer_open_slab);
    if (!o)
        return -ENOMEM;
    int err = 0;
    for (int tries = 0; tries < 3; tries++) {
        struct gofer_inode *base;
        struct np_names names;
        struct c9_node n;
        size_t found;
        uint32_t fid;
        char buf[NP_NAME_MAX + 1];
        int fd = -1;
        err = gfs_locate(gi, &base, &fid, &names, buf);
        if (err)
            break;
        o->fid = c9_fid_new(c);
        err = o->fid == NP_NOFID ? -ENFILE
                                 : c9_open(c, fid, o->fid, flags | NP_OPEN_NODONATE, &names, &found,
                                           &n, &fd);
        gfs_unlocate(base);
        if (!err && found < names.n)
            err = -ESTALE;
        else if (!err && n.qid.path != gi->vfs.ino) {
            c9_clunk(c, o->fid);
            err = -ESTALE;
        }
        if (fd >= 0)
            host_call(__NR_close, fd);
        if (err != -ESTALE)
            break;
        gfs_fid_forget(gi);
    }
    if (err) {
        slab_free(&gofer_open_slab, o);
        return err;
    }
    f->data = o;
    return 0;
}
static int gofer_open(struct file *f)
{
    struct gofer_inode *gi = gi_of(f->inode);
    struct gofer_super *gs = gs_of(f->inode->sb);
    if (f->can_write && gs->readonly)
        return -EROFS;
    struct dentry *d = f->path.dentry;
    if (!READ_SHARED(gi->parent) && d && !d->unhashed && d->parent != d) { // another hard link
        char name[256];
        struct dentry *parent;
        size_t n = dentry_position(d, name, &parent);
        gfs_alias_set(gi, gi_of(parent->inode), span_of(name, n));
        dentry_put(parent);
    }
    int err = gfs_fds_pin(gi, f->can_write ? GFS_WRITE : GFS_READ);
    if (!err && f->can_read && f->can_write && !gi->fds->wr_reads) {
        gfs_fds_unpin(gi);
        err = -EACCES;
    }
    return err == -ENODEV || err == -ENFILE || err == -EMFILE ? open_fid(gi, f) : err;
}
static void gofer_file_release(struct file *f)
{
    struct gofer_inode *gi = gi_of(f->inode);
    struct gofer_open *o = f->data;
    if (o) {
        c9_clunk(gc_of(gi), o->fid);
        slab_free(&gofer_open_slab, o);
        return;
    }
    if (f->can_write && READ_SHARED(gi->stale) && gs_of(f->inode->sb)->exclusive)
        gfs_attr_from_fd(gi, gi->fds->wr);
    gfs_fds_unpin(gi);
}

static long read_some(struct file *f, void *buf, size_t n, uint64_t off)
{
    struct gofer_inode *gi = gi_of(f->inode);
    struct gofer_open *o = f->data;
    if (o)
        return c9_read(gc_of(gi), o->fid, buf, n, off);
    return gfs_host_read(gi->fds, gfs_read_fd(gi->fds), buf, n, off);
}
static long gofer_read(struct file *f, struct uio *u, int64_t *pos)
{
    uint8_t small[SMALL_IO], *buf = small;
    size_t cap = sizeof(small);
    long done = 0, err = 0;
    if (u->resid > SMALL_IO) {
        buf = buf_get();
        cap = BIG_IO;
        if (!buf)
            return -ENOMEM;
    }
    while (u->resid) {
        size_t n = MIN(cap, u->resid);
        long r = read_some(f, buf, n, (uint64_t)*pos);
        if (r <= 0) {
            err = r;
            break;
        }
        long k = uio_copy_to(u, buf, (size_t)r);
        if (k > 0) {
            done += k;
            *pos += k;
        }
        if (k != r) {
            err = k < 0 ? k : -EFAULT;
            break;
        }
        // Short at the end of the file, as far as we know it; else (page not in memory) go on.
        if ((size_t)r < n && (uint64_t)*pos >= READ_SHARED(f->inode->size))
            break;
    }
    if (buf != small)
        buf_put(buf);
    if (done)
        file_accessed(f);
    return done ? done : err;
}

// Under inode->lock, placed by the VFS (lock_writes). In a shared mount the host appends.
static long write_some(struct file *f, const void *buf, size_t n, int64_t *pos)
{
    struct gofer_inode *gi = gi_of(f->inode);
    struct gofer_open *o = f->data;
    if (o)
        return c9_write(gc_of(gi), o->fid, buf, n, (uint64_t)*pos);
    bool append = (READ_SHARED(f->flags) & O_APPEND) && !gs_of(f->inode->sb)->exclusive;
    long r = gfs_host_write(gi->fds, gi->fds->wr, buf, n, (uint64_t)*pos, append ? RWF_APPEND : 0);
    if (r > 0 && append) {
        gfs_attr_from_fd(gi, gi->fds->wr);
        *pos = (int64_t)READ_SHARED(f->inode->size) - r;
    }
    return r;
}
static long gofer_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct gofer_inode *gi = gi_of(f->inode);
    struct inode *i = f->inode;
    uint8_t small[SMALL_IO], *buf = small;
    size_t cap = sizeof(small);
    long done = 0, err = 0;
    if (u->resid > SMALL_IO) {
        buf = buf_get();
        cap = BIG_IO;
        if (!buf)
            return -ENOMEM;
    }
    while (u->resid && !err) {
        long k = uio_copy_from(u, buf, MIN(cap, u->resid));
        if (k <= 0) {
            err = k ? k : -EFAULT;
            break;
        }
        for (long put = 0; put < k && !err;) {
            long r = write_some(f, buf + put, (size_t)(k - put), pos);
            if (r <= 0) {
                err = r ? r : -EIO;
                break;
            }
            put += r;
            *pos += r;
            done += r;
            if ((uint64_t)*pos > i->size)
                WRITE_SHARED(i->size, (uint64_t)*pos);
        }
    }
    if (buf != small)
        buf_put(buf);
    if (done)
        WRITE_SHARED(gi->stale, true);
    return done ? done : err;
}

static int gofer_fsync(struct file *f, bool datasync)
{
    struct gofer_inode *gi = gi_of(f->inode);
    struct gofer_open *o = f->data;
    if (o)
        return c9_fsync(gc_of(gi), o->fid, datasync);
    int fd = gi->fds->wr >= 0 ? gi->fds->wr : gi->fds->ro;
    return gfs_host_call(datasync ? __NR_fdatasync : __NR_fsync, fd, 0, 0, 0);
}
static int gofer_fallocate(struct file *f, int mode, int64_t off, int64_t len)
{
    struct gofer_inode *gi = gi_of(f->inode);
    struct gofer_open *o = f->data;
    int err;
    mutex_lock(&f->inode->lock);
    if (o)
        err = c9_allocate(gc_of(gi), o->fid, mode, (uint64_t)off, (uint64_t)len);
    else
        err = gfs_host_call(__NR_fallocate, gi->fds->wr, (uint64_t)mode, (uint64_t)off,
                            (uint64_t)len);
    WRITE_SHARED(gi->stale, true);
    if (!err)
        err = gfs_refresh(gi); // the size may have changed, and O_APPEND goes by it
    mutex_unlock(&f->inode->lock);
    return err;
}
static int64_t gofer_llseek(struct file *f, int64_t off, int whence)
{
    struct gofer_inode *gi = gi_of(f->inode);
    struct kstat st;
    int err = 0;
    switch (whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        if (__builtin_add_overflow(off, f->pos, &off))
            return -EINVAL;
        break;
    case SEEK_END:
        if (!gs_of(f->inode->sb)->exclusive)
            err = gfs_getattr(f->inode, &st);
        if (err)
            return err;
        if (__builtin_add_overflow(off, (int64_t)READ_SHARED(f->inode->size), &off))
            return -EINVAL;
        break;
    case SEEK_DATA:
    case SEEK_HOLE: {
        uint64_t size = READ_SHARED(f->inode->size);
        if (off < 0 || (uint64_t)off >= size)
            return -ENXIO;
        if (f->data) {
            off = whence == SEEK_DATA ? off : (int64_t)size;
            break;
        }
        // The descriptor's own position is used by nobody.
        int fd = gi->fds->ro >= 0 ? gi->fds->ro : gi->fds->wr;
        off = host_call(__NR_lseek, fd, off, whence);
        break;
    }
    default:
        return -EINVAL;
    }
    return off < 0 && (whence == SEEK_SET || whence == SEEK_CUR || whence == SEEK_END) ? -EINVAL : off;
}

const struct file_ops gofer_file_fops = {
    .open = gofer_open,
    .read = gofer_read,
    .write = gofer_write,
    .llseek = gofer_llseek,
    .mmap = gfs_mmap,
    .fsync = gofer_fsync,
    .fallocate = gofer_fallocate,
    .release = gofer_file_release,
    .lock_writes = true,
};
const struct file_ops gofer_special_fops = {}; // opened by the VFS itself: devices, FIFOs, sockets

const struct inode_ops gofer_file_iops = {
    .getattr = gfs_getattr,
    .setattr = gfs_setattr,
    .getxattr = gfs_getxattr,
    .setxattr = gfs_setxattr,
    .listxattr = gfs_listxattr,
    .removexattr = gfs_removexattr,
    .common = gfs_common,
    .release = gfs_release,
};
