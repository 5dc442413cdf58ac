// SPDX-License-Identifier: Apache-2.0
// Donated descriptors of an inode: asked for when an open file or a mapping needs one, shared by all
// of them, kept afterwards until 16 384 (or as many as we may have) are held and it is the least recently
// used. Host I/O on them
// never blocks a worker: what cannot be had at once goes to the I/O pool. Mappings are objects over
// these descriptors: read-only and private ones get the read-only one.
#include "fs/gofer/gfs.h"
#include "base/slab.h"
#include "host/raw.h"
#include "vfs/window.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/uio.h>
#include <sys/vfs.h>

SLAB_DEFINE(gofer_fds_slab, struct gofer_fds);

static bool has(const struct gofer_fds *f, enum gfs_need need)
{
    switch (need) {
    case GFS_READ:
        return gfs_read_fd(f) >= 0;
    case GFS_RO:
        return f->ro >= 0;
    case GFS_WRITE:
        return f->wr >= 0;
    }
    return false;
}
bool gfs_fds_pin_cached(struct gofer_inode *gi, enum gfs_need need)
{
    struct gofer_client *c = gc_of(gi);
    spin_lock(&c->inode_lock);
    struct gofer_fds *f = gi->fds;
    bool ok = f && has(f, need);
    if (ok && f->users++ == 0)
        list_del(&f->lru);
    spin_unlock(&c->inode_lock);
    return ok;
}
void gfs_fds_unpin(struct gofer_inode *gi)
{
    struct gofer_client *c = gc_of(gi);
    spin_lock(&c->inode_lock);
    CHECK(gi->fds && gi->fds->users > 0);
    if (--gi->fds->users == 0)
        list_push_front(&c->idle_fds, &gi->fds->lru);
    spin_unlock(&c->inode_lock);
}

// Makes room; the descriptors to close are put into out.
static size_t evict_locked(struct gofer_client *c, int *out, size_t max)
{
    size_t n = 0;
    while (c->nfds > c->max_fds && n + 2 <= max && !list_empty(&c->idle_fds)) {
        struct gofer_fds *f = list_entry(c->idle_fds.prev, struct gofer_fds, lru);
        list_del(&f->lru); // stays with its inode, empty; pinned and filled again when needed
        for (int k = 0; k < 2; k++) {
            int *fd = k ? &f->wr : &f->ro;
            if (*fd >= 0) {
                out[n++] = *fd;
                c->nfds--;
            }
            *fd = -1;
        }
    }
    return n;
}
// We are at our own limit of descriptors: keep fewer from now on.
static void shrink(struct gofer_client *c)
{
    int drop[64];
    size_t n;
    spin_lock(&c->inode_lock);
    c->max_fds = MIN(c->max_fds, c->nfds - c->nfds / 4);
    spin_unlock(&c->inode_lock);
    do {
        spin_lock(&c->inode_lock);
        n = evict_locked(c, drop, ARRAY_LEN(drop));
        spin_unlock(&c->inode_lock);
        for (size_t i = 0; i < n; i++)
            host_call(__NR_close, drop[i]);
    } while (n);
}
void gfs_fds_add(struct gofer_inode *gi, int fd)
{
    struct gofer_client *c = gc_of(gi);
    int mode = (int)host_call(__NR_fcntl, fd, F_GETFL, 0) & O_ACCMODE;
    struct gofer_fds *neu = slab_alloc(&gofer_fds_slab);
    int drop[8];
    size_t n = 0;
    spin_lock(&c->inode_lock);
    if (!gi->fds && neu) {
        list_init(&neu->lru);
        neu->ro = neu->wr = -1;
        gi->fds = neu;
        neu = nullptr;
    }
    struct gofer_fds *f = gi->fds;
    int *slot = !f ? nullptr : mode == O_RDONLY ? &f->ro : &f->wr;
    if (slot && *slot < 0) {
        *slot = fd;
        fd = -1;
        if (mode != O_RDONLY)
            f->wr_reads = mode == O_RDWR;
        c->nfds++;
        if (!f->users && list_empty(&f->lru))
            list_push_front(&c->idle_fds, &f->lru);
        n = evict_locked(c, drop, ARRAY_LEN(drop));
    }
    spin_unlock(&c->inode_lock);
    if (neu)
        slab_free(&gofer_fds_slab, neu);
    if (fd >= 0)
        host_call(__NR_close, fd);
    for (size_t i = 0; i < n; i++)
        host_call(__NR_close, drop[i]);
}
void gfs_fds_free(struct gofer_inode *gi)
{
    struct gofer_client *c = gc_of(gi);
    spin_lock(&c->inode_lock);
    struct gofer_fds *f = gi->fds;
    gi->fds = nullptr;
    if (f) {
        list_del(&f->lru);
        c->nfds -= (size_t)(f->ro >= 0) + (size_t)(f->wr >= 0);
    }
    spin_unlock(&c->inode_lock);
    if (!f)
        return;
    CHECK(f->users == 0);
    if (f->ro >= 0)
        host_call(__NR_close, f->ro);
    if (f->wr >= 0)
        host_call(__NR_close, f->wr);
    slab_free(&gofer_fds_slab, f);
}

static int ask(struct gofer_inode *gi, uint32_t flags, int *fd)
{
    struct gofer_inode *base;
    struct np_names names;
    struct c9_node n;
    size_t found;
    uint32_t fid;
    char buf[NP_NAME_MAX + 1];
    int err = gfs_locate(gi, &base, &fid, &names, buf);
    if (err)
        return err;
    err = c9_open(gc_of(gi), fid, NP_NOFID, flags, &names, &found, &n, fd);
    gfs_unlocate(base);
    if (!err && (found < names.n || n.qid.path != gi->vfs.ino)) {
        if (*fd >= 0)
            host_call(__NR_close, *fd);
        *fd = -1;
        err = -ESTALE;
    }
    if (!err && (!gs_of(gi->vfs.sb)->exclusive || READ_SHARED(gi->stale)))
        gfs_attr_update(gi, &n.attr);
    return err;
}
int gfs_fds_pin(struct gofer_inode *gi, enum gfs_need need)
{
    struct gofer_super *gs = gs_of(gi->vfs.sb);
    if (gfs_fds_pin_cached(gi, need))
        return 0;
    if (!gs->c->ext || READ_SHARED(gs->no_donate))
        return -ENODEV;
    // One descriptor that reads and writes serves both kinds of opening.
    uint32_t flags = need == GFS_WRITE ? O_RDWR : O_RDONLY;
    int err = 0;
    if (need != GFS_WRITE && (gfs_ahead_take(gi) || gfs_ahead_ask(gi)) && gfs_fds_pin_cached(gi, need))
        return 0;
    for (int tries = 0; tries < 4; tries++) {
        int fd;
        err = ask(gi, flags, &fd);
        if (err == -EACCES && flags == O_RDWR) {
            flags = O_WRONLY;
            continue;
        }
        if (err == -EMFILE && tries == 0) {
            shrink(gs->c);
            continue;
        }
        if (err == -ESTALE) { // the fid's name is out of date; by parent and name then
            gfs_fid_forget(gi);
            continue;
        }
        if (err)
            return err;
        if (fd < 0) {
            WRITE_SHARED(gs->no_donate, true);
            return -ENODEV;
        }
        gfs_fds_add(gi, fd);
        if (gfs_fds_pin_cached(gi, need))
            return 0;
        err = -ENFILE; // evicted at once, or the server gave another access mode
    }
    return err;
}

// --- host I/O ---
static enum gfs_io io_kind(int fd)
{
    struct statfs b;
    if (host_call(__NR_fstatfs, fd, &b) == 0 &&
        (b.f_type == TMPFS_MAGIC || b.f_type == RAMFS_MAGIC))
        return GFS_IO_MEMORY; // knows no RWF_NOWAIT, but does not wait either
    return GFS_IO_NOWAIT;
}
struct io_req {
    long nr;
    int fd, flags;
    struct iovec v;
    uint64_t off, arg[3];
};
static long io_run(void *p)
{
    struct io_req *r = p;
    return host_call(r->nr, r->fd, &r->v, 1, r->off, 0, r->flags);
}
static long io(enum gfs_io *kind, long nr, int fd, void *buf, size_t n, uint64_t off, int flags)
{
    struct io_req r = {.nr = nr, .fd = fd, .flags = flags, .v = {buf, n}, .off = off};
    enum gfs_io k = READ_SHARED(*kind);
    if (k == GFS_IO_UNKNOWN) {
        k = io_kind(fd);
        WRITE_SHARED(*kind, k);
    }
    if (k == GFS_IO_MEMORY)
        return io_run(&r);
    if (k == GFS_IO_NOWAIT) {
        r.flags = flags | RWF_NOWAIT;
        long ret = io_run(&r);
        if (ret != -EAGAIN && ret != -EOPNOTSUPP && ret != -EINVAL)
            return ret;
        if (ret == -EOPNOTSUPP)
            WRITE_SHARED(*kind, GFS_IO_POOL);
        r.flags = flags;
    }
    return fiber_current() ? iopool_run(io_run, &r) : io_run(&r);
}
long gfs_host_read(struct gofer_fds *f, int fd, void *buf, size_t n, uint64_t off)
{
    return io(&f->rd_io, __NR_preadv2, fd, buf, n, off, 0);
}
long gfs_host_write(struct gofer_fds *f, int fd, const void *buf, size_t n, uint64_t off, int flags)
{
    return io(&f->wr_io, __NR_pwritev2, fd, (void *)buf, n, off, flags);
}
static long call_run(void *p)
{
    struct io_req *r = p;
    return host_call(r->nr, r->fd, r->arg[0], r->arg[1], r->arg[2]);
}
int gfs_host_call(long nr, int fd, uint64_t a, uint64_t b, uint64_t c)
{
    struct io_req r = {.nr = nr, .fd = fd, .arg = {a, b, c}};
    return (int)(fiber_current() ? iopool_run(call_run, &r) : call_run(&r));
}

// --- mappings ---
struct gofer_memobj {
    struct memobj obj;
    struct gofer_inode *gi; // ref; and a pin on its descriptors, or `copy`
    bool pinned;
    struct mutex lock;
    struct memobj *copy;    // [lock] ref: without donation, the contents as they were at first use
    char *path;             // owned
};
SLAB_DEFINE(gofer_memobj_slab, struct gofer_memobj);

// For servers that do not donate: private and read-only mappings of a copy.
static int copy_make(struct gofer_memobj *m)
{
    struct gofer_client *c = gc_of(m->gi);
    struct np_names none = {};
    struct c9_node n;
    size_t found;
    uint32_t fid, io_fid = c9_fid_new(c);
    int err = gfs_fid_get(m->gi, &fid), fd;
    if (err || io_fid == NP_NOFID) {
        c9_fid_unused(c, io_fid);
        return err ? err : -ENFILE;
    }
    err = c9_open(c, fid, io_fid, O_RDONLY | NP_OPEN_NODONATE, &none, &found, &n, &fd);
    gfs_fid_put(m->gi);
    if (err)
        return err;
    constexpr size_t CHUNK = 32768;
    struct memobj *copy = nullptr;
    uint8_t *buf = mem_alloc(CHUNK);
    err = buf ? shmobj_new(n.attr.size, "gofer", &copy) : -ENOMEM;
    for (uint64_t off = 0; !err && off < n.attr.size;) {
        long k = c9_read(c, io_fid, buf, CHUNK, off);
        if (k <= 0) {
            err = (int)k;
            break;
        }
        struct iovec v = {buf, (size_t)k};
        long w = host_call(__NR_pwritev2, shmobj_rdwr_fd(copy), &v, 1, off, 0, 0);
        err = w == k ? 0 : w < 0 ? (int)w : -EIO;
        off += (uint64_t)k;
    }
    mem_free(buf);
    c9_clunk(c, io_fid);
    if (err)
        memobj_put(copy);
    else
        m->copy = copy;
    return err;
}
static int obj_hostfd(struct memobj *o, bool shared, bool write, int *fd)
{
    struct gofer_memobj *m = container_of(o, struct gofer_memobj, obj);
    struct gofer_inode *gi = m->gi;
    if (!m->pinned) {
        if (shared && write)
            return -ENODEV;
        mutex_lock(&m->lock);
        int err = m->copy ? 0 : copy_make(m);
        mutex_unlock(&m->lock);
        return err ? err : m->copy->ops->hostfd(m->copy, shared, false, fd);
    }
    bool wr = shared && write;
    int err = gfs_fds_pin(gi, wr ? GFS_WRITE : GFS_RO);
    if (err)
        return err;
    *fd = wr ? gi->fds->wr : gi->fds->ro;
    if (wr && !gi->fds->wr_reads)
        err = -EACCES;
    if (wr) {
        WRITE_SHARED(gi->stale, true); // the host changes times and blocks as it pleases
        inode_changed(&gi->vfs);
    }
    gfs_fds_unpin(gi); // ours remains
    return err;
}
static void obj_describe(struct memobj *o, uint64_t *dev, uint64_t *ino, struct strbuf *path)
{
    struct gofer_memobj *m = container_of(o, struct gofer_memobj, obj);
    *dev = m->gi->vfs.sb->dev;
    *ino = m->gi->vfs.ino;
    if (m->path)
        strbuf_str(path, m->path);
}
static void obj_release(struct memobj *o)
{
    struct gofer_memobj *m = container_of(o, struct gofer_memobj, obj);
    struct gofer_inode *gi = m->gi;
    struct gofer_client *c = gc_of(gi);
    spin_lock(&c->inode_lock);
    if (gi->fds && gi->fds->obj == m)
        gi->fds->obj = nullptr;
    spin_unlock(&c->inode_lock);
    if (m->pinned)
        gfs_fds_unpin(gi);
    memobj_put(m->copy);
    mem_free(m->path);
    slab_free(&gofer_memobj_slab, m);
    inode_put(&gi->vfs);
}
// msync(MS_SYNC): pages were dirtied only through the writable descriptor, if there is one.
static int obj_sync(struct memobj *o)
{
    struct gofer_memobj *m = container_of(o, struct gofer_memobj, obj);
    if (!m->pinned || !m->gi->fds || m->gi->fds->wr < 0)
        return 0;
    int err = gfs_fds_pin(m->gi, GFS_WRITE);
    if (err)
        return err;
    err = (int)gfs_host_call(__NR_fdatasync, m->gi->fds->wr, 0, 0, 0);
    gfs_fds_unpin(m->gi);
    return err;
}
static void *obj_identity(struct memobj *o)
{
    return inode_common_known(&container_of(o, struct gofer_memobj, obj)->gi->vfs);
}
static const struct memobj_ops gofer_memobj_ops = {
    .identity = obj_identity,
    .hostfd = obj_hostfd,
    .describe = obj_describe,
    .release = obj_release,
    .sync = obj_sync,
};
int gfs_mmap(struct file *f, struct memobj **obj)
{
    struct gofer_inode *gi = gi_of(f->inode);
    struct gofer_client *c = gc_of(gi);
    bool pinned = !f->data && gi->fds; // opened with a donated descriptor, which we pin once more
    if (pinned) {
        spin_lock(&c->inode_lock);
        struct gofer_memobj *old = gi->fds->obj;
        if (old && !ref_get_unless_zero(&old->obj.ref))
            old = nullptr;
        if (!old)
            gi->fds->users++;
        spin_unlock(&c->inode_lock);
        if (old) {
            *obj = &old->obj;
            return 0;
        }
    }
    if (pinned)
        (void)inode_common(f->inode); // before anybody waits on a futex in it
    struct gofer_memobj *m = slab_alloc(&gofer_memobj_slab);
    if (!m) {
        if (pinned)
            gfs_fds_unpin(gi);
        return -ENOMEM;
    }
    m->obj.ops = &gofer_memobj_ops;
    ref_init(&m->obj.ref);
    mutex_init(&m->lock, RANK_GOFER);
    m->gi = gi;
    m->pinned = pinned;
    inode_get(&gi->vfs);
    struct strbuf b = {};
    if (file_print(f, nullptr, &b) == 0 && !b.bad && b.p)
        m->path = mem_strdup(b.p);
    strbuf_free(&b);
    if (pinned) {
        spin_lock(&c->inode_lock);
        gi->fds->obj = m;
        spin_unlock(&c->inode_lock);
    }
    *obj = &m->obj;
    return 0;
}
