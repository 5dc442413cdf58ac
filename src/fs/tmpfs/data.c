// SPDX-License-Identifier: Apache-2.0
// tmpfs file data. A file starts as a tree of kernel pages (missing: a hole). The first mmap moves it,
// once and under the inode's lock, into a shared memory object, whose host file holds the data from
// then on: there is always one copy of every byte. Everything here runs under inode.lock unless said
// otherwise; guest memory is copied under it, which its rank allows.
#include "abi/errno.h"
#include "fs/tmpfs/internal.h"
#include "host/raw.h"
#include "sched/fiber.h"
#include "vfs/window.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

SLAB_DEFINE(page_slab, struct tmpfs_page);
constexpr size_t BOUNCE = 65536;
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif

// --- pages ------------------------------------------------------------------------------------------
// The page at index, made when it is a hole. -ENOSPC.
static int page_make(struct tmpfs_inode *t, uint64_t index, struct tmpfs_page **out)
{
    *out = tmpfs_pages_get(&t->pages, index);
    if (*out)
        return 0;
    int err = tmpfs_charge(t->quota, 1);
    if (err)
        return err;
    struct tmpfs_page *p = slab_alloc(&page_slab);
    err = p ? tmpfs_pages_put(&t->pages, index, p) : -ENOSPC;
    if (err) {
        if (p)
            slab_free(&page_slab, p);
        tmpfs_uncharge(t->quota, 1);
        return err == -ENOMEM ? -ENOSPC : err;
    }
    t->pages_held++;
    WRITE_SHARED(t->inode.blocks, t->inode.blocks + PAGE_SIZE / 512);
    *out = p;
    return 0;
}
static void pages_drop(struct tmpfs_inode *t, uint64_t from, uint64_t to)
{
    uint64_t n = 0;
    for (uint64_t i = from; (i = tmpfs_pages_next(&t->pages, i)) < to; i++) {
        slab_free(&page_slab, tmpfs_pages_take(&t->pages, i));
        n++;
    }
    t->pages_held -= n;
    WRITE_SHARED(t->inode.blocks, t->inode.blocks - n * (PAGE_SIZE / 512));
    tmpfs_uncharge(t->quota, n);
}
static void page_zero_part(struct tmpfs_inode *t, uint64_t from, uint64_t to) // within one page
{
    struct tmpfs_page *p = tmpfs_pages_get(&t->pages, from / PAGE_SIZE);
    if (p)
        memset(p->b + from % PAGE_SIZE, 0, to - from);
}
// Zeroes [from, to): whole pages become holes.
static void pages_zero(struct tmpfs_inode *t, uint64_t from, uint64_t to)
{
    if (from >= to)
        return;
    uint64_t first = PAGE_ALIGN_UP(from), last = PAGE_ALIGN_DOWN(to);
    if (first > last || first > to) {
        page_zero_part(t, from, to);
        return;
    }
    if (from < first)
        page_zero_part(t, from, first);
    pages_drop(t, first / PAGE_SIZE, last / PAGE_SIZE);
    if (last < to)
        page_zero_part(t, last, to);
}

// --- the host file of a mapped one ----------------------------------------------------------------------
static long shm_io(struct tmpfs_inode *t, void *buf, size_t n, uint64_t off, bool write)
{
    struct iovec v = {.iov_base = buf, .iov_len = n};
    return host_call(write ? __NR_pwritev2 : __NR_preadv2, shmobj_rdwr_fd(t->shm), &v, 1, off, 0, 0);
}
// Charges what the host file has grown by (its blocks are what the mount pays for).
static void shm_account(struct tmpfs_inode *t)
{
    struct stat st;
    if (host_call(__NR_fstat, shmobj_rdwr_fd(t->shm), &st) < 0)
        return;
    uint64_t now = (uint64_t)st.st_blocks * 512 / PAGE_SIZE;
    t->shm_full = !t->shm_odd && now * PAGE_SIZE >= PAGE_ALIGN_UP((uint64_t)st.st_size);
    if (now > t->pages_held)
        tmpfs_charge_force(t->quota, now - t->pages_held); // over the limit only by what was mapped
    else
        tmpfs_uncharge(t->quota, t->pages_held - now);
    t->pages_held = now;
    if (t->inode.blocks == now * (PAGE_SIZE / 512))
        return;
    inode_change_begin(&t->inode);
    WRITE_SHARED(t->inode.blocks, now * (PAGE_SIZE / 512));
    inode_change_end(&t->inode);
}
static int move_to_shm(struct tmpfs_inode *t)
{
    struct memobj *shm;
    int err = shmobj_new(t->inode.size, t->memfd_name, &shm);
    if (err)
        return err;
    t->shm = shm;
    uint64_t end = (t->inode.size + PAGE_SIZE - 1) / PAGE_SIZE;
    for (uint64_t i = 0; !err && (i = tmpfs_pages_next(&t->pages, i)) < end; i++) {
        size_t n = MIN(t->inode.size - i * PAGE_SIZE, PAGE_SIZE);
        long put = shm_io(t, tmpfs_pages_get(&t->pages, i)->b, n, i * PAGE_SIZE, true);
        err = put == (long)n ? 0 : put < 0 ? (int)put : -ENOSPC;
    }
    if (err) {
        t->shm = nullptr;
        memobj_put(shm);
        return err;
    }
    for (uint64_t i = 0; (i = tmpfs_pages_next(&t->pages, i)) != UINT64_MAX; i++)
        slab_free(&page_slab, tmpfs_pages_take(&t->pages, i)); // the charge stays with the data
    shm_account(t);
    return 0;
}

// --- what mappings refer to -----------------------------------------------------------------------------
static struct tmpfs_inode *obj_inode(struct memobj *o)
{
    return container_of(o, struct tmpfs_inode, obj);
}
static int obj_hostfd(struct memobj *o, bool shared, bool write, int *fd)
{
    struct tmpfs_inode *t = obj_inode(o);
    mutex_lock(&t->inode.lock);
    int err = 0;
    if (shared && write && (t->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
        err = -EPERM;
    else if (shared && write)
        t->obj_shared_write = true;
    if (!err)
        err = t->shm->ops->hostfd(t->shm, shared, write, fd);
    mutex_unlock(&t->inode.lock);
    return err;
}
static void obj_describe(struct memobj *o, uint64_t *dev, uint64_t *ino, struct strbuf *path)
{
    struct tmpfs_inode *t = obj_inode(o);
    *dev = t->inode.sb->dev;
    *ino = t->inode.ino;
    if (t->memfd_name) {
        strbuf_str(path, t->memfd_name);
        strbuf_str(path, " (deleted)");
    }
}
static void obj_release(struct memobj *o)
{
    struct tmpfs_inode *t = obj_inode(o);
    struct super *sb = t->inode.sb;
    inode_put(&t->inode);
    super_put(sb);
}
static int obj_punch(struct memobj *o, uint64_t off, uint64_t len)
{
    struct tmpfs_inode *t = obj_inode(o);
    mutex_lock(&t->inode.lock);
    t->shm_odd = true;
    shmobj_cut(t->shm);
    int err = t->seals & F_SEAL_WRITE ? -EPERM : t->shm->ops->punch(t->shm, off, len);
    shm_account(t);
    mutex_unlock(&t->inode.lock);
    return err;
}
static const struct memobj_ops obj_ops = {
    .hostfd = obj_hostfd, .describe = obj_describe, .release = obj_release, .punch = obj_punch};

void tmpfs_obj_init(struct tmpfs_inode *t)
{
    t->obj.ops = &obj_ops;
}
static int file_mmap(struct file *f, struct memobj **obj)
{
    struct tmpfs_inode *t = tmpfs_i(f->inode);
    int err = 0;
    mutex_lock(&t->inode.lock);
    if (!t->shm)
        err = move_to_shm(t);
    if (!err && !ref_get_unless_zero(&t->obj.ref)) {
        // The inode and its superblock live as long as a mapping does.
        inode_get(&t->inode);
        super_get(t->inode.sb);
        ref_init(&t->obj.ref);
        t->obj_shared_write = false;
    }
    mutex_unlock(&t->inode.lock);
    if (!err)
        *obj = &t->obj;
    return err;
}

// --- read and write ---------------------------------------------------------------------------------------
static void pages_copy_out(struct tmpfs_inode *t, uint8_t *to, uint64_t pos, size_t n)
{
    for (size_t done = 0, part; done < n; done += part) {
        uint64_t off = (pos + done) % PAGE_SIZE;
        part = MIN(n - done, PAGE_SIZE - off);
        struct tmpfs_page *p = tmpfs_pages_get(&t->pages, (pos + done) / PAGE_SIZE);
        if (p)
            memcpy(to + done, p->b + off, part);
        else
            memset(to + done, 0, part);
    }
}
// More than a page goes through a buffer: one copy into the guest costs as much as sixteen in here.
static long read_pages(struct tmpfs_inode *t, struct uio *u, uint64_t pos, size_t n)
{
    uint64_t off = pos % PAGE_SIZE;
    if (n <= PAGE_SIZE - off) {
        struct tmpfs_page *p = tmpfs_pages_get(&t->pages, pos / PAGE_SIZE);
        return p ? uio_copy_to(u, p->b + off, n) : uio_zero_to(u, n);
    }
    uint8_t *buf = mem_alloc(MIN(n, BOUNCE));
    size_t done = 0;
    long err = buf ? 0 : -ENOMEM;
    while (!err && done < n) {
        size_t part = MIN(n - done, BOUNCE);
        pages_copy_out(t, buf, pos + done, part);
        long put = uio_copy_to(u, buf, part);
        if (put < 0) {
            err = put;
            break;
        }
        done += (size_t)put;
        if ((size_t)put < part)
            break;
    }
    mem_free(buf);
    return done ? (long)done : err;
}
static long read_shm(struct tmpfs_inode *t, struct uio *u, uint64_t pos, size_t n)
{
    const uint8_t *view = shmobj_view(t->shm, pos, n); // (within the file's size)
    if (view)
        return uio_copy_to(u, view, n);
    uint8_t small[PAGE_SIZE], *buf = n <= sizeof(small) ? small : mem_alloc(MIN(n, BOUNCE));
    size_t done = 0;
    long err = buf ? 0 : -ENOMEM;
    while (!err && done < n) {
        long got = shm_io(t, buf, MIN(n - done, BOUNCE), pos + done, false);
        if (got <= 0) {
            err = got;
            break;
        }
        long put = uio_copy_to(u, buf, (size_t)got);
        if (put < 0) {
            err = put;
            break;
        }
        done += (size_t)put;
        if (put < got)
            break;
    }
    if (buf != small)
        mem_free(buf);
    return done ? (long)done : err;
}
static long file_read_(struct file *f, struct uio *u, int64_t *pos)
{
    struct tmpfs_inode *t = tmpfs_i(f->inode);
    long ret = 0;
    mutex_lock(&t->inode.lock);
    uint64_t size = t->inode.size;
    if ((uint64_t)*pos < size && u->resid) {
        size_t n = MIN(u->resid, size - (uint64_t)*pos);
        ret = t->shm ? read_shm(t, u, (uint64_t)*pos, n) : read_pages(t, u, (uint64_t)*pos, n);
    }
    mutex_unlock(&t->inode.lock);
    if (ret > 0)
        *pos += ret;
    file_accessed(f);
    return ret;
}

// Bytes stored before the mount was full; an error only for none.
static long pages_copy_in(struct tmpfs_inode *t, const uint8_t *from, uint64_t pos, size_t n)
{
    size_t done = 0, part;
    for (; done < n; done += part) {
        struct tmpfs_page *p;
        uint64_t off = (pos + done) % PAGE_SIZE;
        part = MIN(n - done, PAGE_SIZE - off);
        int err = page_make(t, (pos + done) / PAGE_SIZE, &p);
        if (err)
            return done ? (long)done : err;
        memcpy(p->b + off, from + done, part);
    }
    return (long)done;
}
static long write_one_page(struct tmpfs_inode *t, struct uio *u, uint64_t pos, size_t n)
{
    uint64_t i = pos / PAGE_SIZE;
    struct tmpfs_page *p;
    bool hole = !tmpfs_pages_get(&t->pages, i);
    long got = page_make(t, i, &p);
    if (got == 0)
        got = uio_copy_from(u, p->b + pos % PAGE_SIZE, n);
    if (got < 0 && hole)
        pages_drop(t, i, i + 1);
    return got;
}
static long write_pages(struct tmpfs_inode *t, struct uio *u, uint64_t pos, size_t n)
{
    if (n <= PAGE_SIZE - pos % PAGE_SIZE)
        return write_one_page(t, u, pos, n);
    uint8_t *buf = mem_alloc(MIN(n, BOUNCE));
    size_t done = 0;
    long err = buf ? 0 : -ENOMEM;
    while (!err && done < n) {
        if (!tmpfs_free_pages(t->quota) && !tmpfs_pages_get(&t->pages, (pos + done) / PAGE_SIZE)) {
            err = -ENOSPC; // before the writer's bytes are taken
            break;
        }
        size_t part = MIN(n - done, BOUNCE);
        long got = uio_copy_from(u, buf, part);
        if (got > 0)
            got = pages_copy_in(t, buf, pos + done, (size_t)got);
        if (got <= 0) {
            err = got;
            break;
        }
        done += (size_t)got;
        if ((size_t)got < part)
            break;
    }
    mem_free(buf);
    return done ? (long)done : err;
}
static uint64_t shm_hole_pages(struct tmpfs_inode *t, uint64_t from, uint64_t to);
// How many of n bytes at pos the mount still has room for.
static size_t shm_room(struct tmpfs_inode *t, uint64_t pos, size_t n)
{
    uint64_t free = tmpfs_free_pages(t->quota);
    if (free > n / PAGE_SIZE + 1)
        return n;
    while (n && shm_hole_pages(t, pos, pos + n) > free) {
        uint64_t last = PAGE_ALIGN_DOWN(pos + n - 1);
        n = last > pos ? last - pos : 0;
    }
    return n;
}
static long write_shm(struct tmpfs_inode *t, struct uio *u, uint64_t pos, size_t n)
{
    uint8_t *view = pos + n <= t->inode.size ? shmobj_view(t->shm, pos, n) : nullptr;
    if (view)
        return uio_copy_from(u, view, n);
    uint8_t small[PAGE_SIZE], *buf = n <= sizeof(small) ? small : mem_alloc(MIN(n, BOUNCE));
    size_t done = 0;
    long err = buf ? 0 : -ENOMEM;
    // Where all pages are there already, nothing needs room or is to be paid for.
    bool grows = !t->shm_full || pos + n > PAGE_ALIGN_UP(t->inode.size);
    while (!err && done < n) {
        size_t part = MIN(n - done, BOUNCE);
        if (grows)
            part = shm_room(t, pos + done, part);
        if (!part) {
            err = -ENOSPC;
            break;
        }
        long got = uio_copy_from(u, buf, part);
        if (got <= 0) {
            err = got;
            break;
        }
        long put = shm_io(t, buf, (size_t)got, pos + done, true);
        if (put < 0) {
            err = put;
            break;
        }
        shmobj_written(t->shm, pos + done, (size_t)put);
        done += (size_t)put;
        if (grows)
            shm_account(t);
        if (put < got)
            break;
    }
    if (buf != small)
        mem_free(buf);
    return done ? (long)done : err;
}
// The VFS holds inode.lock and has settled position and limits (file_ops.lock_writes).
static long file_write_(struct file *f, struct uio *u, int64_t *pos)
{
    struct tmpfs_inode *t = tmpfs_i(f->inode);
    size_t n = u->resid;
    uint64_t at = (uint64_t)*pos;
    if (t->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return -EPERM;
    if ((t->seals & F_SEAL_GROW) && at + n > t->inode.size) {
        if (at >= t->inode.size)
            return -EPERM;
        n = t->inode.size - at;
    }
    if (n == 0)
        return 0;
    long ret = t->shm ? write_shm(t, u, at, n) : write_pages(t, u, at, n);
    if (ret > 0) {
        *pos += ret;
        if ((uint64_t)*pos > t->inode.size)
            WRITE_SHARED(t->inode.size, (uint64_t)*pos);
        inode_touch(&t->inode, IATTR_MTIME | IATTR_CTIME);
    }
    return ret;
}

// --- size ---------------------------------------------------------------------------------------------------
int tmpfs_truncate(struct tmpfs_inode *t, uint64_t size)
{
    uint64_t old = t->inode.size;
    if ((size < old && (t->seals & F_SEAL_SHRINK)) || (size > old && (t->seals & F_SEAL_GROW)))
        return -EPERM;
    if (size / PAGE_SIZE >= TMPFS_PAGES_MAX)
        return -EFBIG;
    if (t->shm) {
        shmobj_cut(t->shm);
        long err = host_call(__NR_ftruncate, shmobj_rdwr_fd(t->shm), size);
        if (err < 0)
            return (int)err;
        shm_account(t);
    } else if (size < old) {
        pages_zero(t, size, TMPFS_PAGES_MAX * PAGE_SIZE); // what KEEP_SIZE made as well
    }
    WRITE_SHARED(t->inode.size, size);
    return 0;
}
static int file_setattr(struct inode *i, const struct iattr *a)
{
    if (a->valid & IATTR_SIZE) {
        int err = tmpfs_truncate(tmpfs_i(i), a->size);
        if (err)
            return err;
    }
    inode_setattr_fields(i, a);
    return 0;
}
void tmpfs_data_free(struct tmpfs_inode *t)
{
    for (uint64_t i = 0; (i = tmpfs_pages_next(&t->pages, i)) != UINT64_MAX; i++)
        slab_free(&page_slab, tmpfs_pages_take(&t->pages, i));
    if (t->shm)
        memobj_put(t->shm);
    tmpfs_uncharge(t->quota, t->pages_held);
}

// All of it or nothing: pages that this call made go again when the mount is full.
static int fallocate_pages(struct tmpfs_inode *t, uint64_t off, uint64_t end)
{
    uint64_t first = off / PAGE_SIZE, last = (end + PAGE_SIZE - 1) / PAGE_SIZE;
    uint64_t before = t->pages.count, need = last - first, made = 0;
    for (uint64_t i = first; (i = tmpfs_pages_next(&t->pages, i)) < last; i++)
        need--;
    if (need > tmpfs_free_pages(t->quota))
        return -ENOSPC;
    int err = 0;
    for (uint64_t i = first; i < last && !err; i++) {
        struct tmpfs_page *p;
        err = page_make(t, i, &p);
        if (!err && (++made & 1023) == 0 && fiber_current())
            fiber_yield(); // only i->lock is held, a mutex
    }
    // Without bookkeeping of which pages were new, only a region that was all hole is undone.
    if (err && before + made == t->pages.count)
        pages_drop(t, first, first + made);
    return err;
}
// Pages of [from, to) that the host file does not have yet.
static uint64_t shm_hole_pages(struct tmpfs_inode *t, uint64_t from, uint64_t to)
{
    int fd = shmobj_rdwr_fd(t->shm);
    uint64_t need = 0, pos = PAGE_ALIGN_DOWN(from);
    to = PAGE_ALIGN_UP(to);
    while (pos < to) {
        long data = host_call(__NR_lseek, fd, pos, SEEK_DATA);
        uint64_t hole_end = data < 0 ? to : MIN((uint64_t)data, to);
        need += (hole_end - pos) / PAGE_SIZE;
        if (hole_end >= to)
            break;
        long next = host_call(__NR_lseek, fd, hole_end, SEEK_HOLE);
        if (next <= (long)hole_end)
            break;
        pos = PAGE_ALIGN_UP((uint64_t)next);
    }
    return need;
}
static int file_fallocate(struct file *f, int mode, int64_t off, int64_t len)
{
    struct tmpfs_inode *t = tmpfs_i(f->inode);
    bool punch = mode & FALLOC_FL_PUNCH_HOLE, zero = mode & FALLOC_FL_ZERO_RANGE;
    uint64_t from = (uint64_t)off, to = from + (uint64_t)len;
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE) || (punch && !(mode & FALLOC_FL_KEEP_SIZE)) || zero)
        return -EOPNOTSUPP; // as Linux's tmpfs: no ZERO_RANGE
    mutex_lock(&t->inode.lock);
    t->shm_odd = true;
    if (t->shm)
        shmobj_cut(t->shm);
    int err = 0;
    bool grows = !(mode & FALLOC_FL_KEEP_SIZE) && to > t->inode.size;
    if ((punch && (t->seals & F_SEAL_WRITE)) || (grows && (t->seals & F_SEAL_GROW)))
        err = -EPERM;
    else if (t->shm && !punch && shm_hole_pages(t, from, to) > tmpfs_free_pages(t->quota))
        err = -ENOSPC;
    else if (t->shm)
        err = (int)host_call(__NR_fallocate, shmobj_rdwr_fd(t->shm), mode, off, len);
    else if (punch)
        pages_zero(t, from, MIN(to, TMPFS_PAGES_MAX * PAGE_SIZE));
    else
        err = fallocate_pages(t, from, to);
    if (t->shm)
        shm_account(t);
    if (!err && grows)
        WRITE_SHARED(t->inode.size, to);
    if (!err)
        inode_touch(&t->inode, IATTR_MTIME | IATTR_CTIME);
    mutex_unlock(&t->inode.lock);
    return err;
}

static int64_t seek_hole_data(struct tmpfs_inode *t, int64_t off, bool data)
{
    uint64_t size = t->inode.size, at = (uint64_t)off;
    if (off < 0 || at >= size)
        return -ENXIO;
    if (t->shm)
        return host_call(__NR_lseek, shmobj_rdwr_fd(t->shm), off, data ? SEEK_DATA : SEEK_HOLE);
    uint64_t i = at / PAGE_SIZE;
    if (data) {
        i = tmpfs_pages_next(&t->pages, i);
        if (i >= (size + PAGE_SIZE - 1) / PAGE_SIZE)
            return -ENXIO;
    } else {
        while (tmpfs_pages_get(&t->pages, i))
            i++;
    }
    return (int64_t)MIN(MAX(at, i * PAGE_SIZE), size);
}
static int64_t file_llseek_(struct file *f, int64_t off, int whence)
{
    struct tmpfs_inode *t = tmpfs_i(f->inode);
    int64_t base = 0, to;
    mutex_lock(&t->inode.lock);
    if (whence == SEEK_DATA || whence == SEEK_HOLE) {
        to = seek_hole_data(t, off, whence == SEEK_DATA);
    } else {
        base = whence == SEEK_CUR ? f->pos : whence == SEEK_END ? (int64_t)t->inode.size : 0;
        if (whence < SEEK_SET || whence > SEEK_END || __builtin_add_overflow(base, off, &to) || to < 0)
            to = -EINVAL;
    }
    if (to >= 0)
        f->pos = to;
    mutex_unlock(&t->inode.lock);
    return to;
}
static int file_fsync_(struct file *f, bool datasync)
{
    return 0;
}

// --- seals (fcntl(2)) -----------------------------------------------------------------------------------------
static int file_fcntl(struct file *f, struct task *task, unsigned cmd, uint64_t arg)
{
    struct tmpfs_inode *t = tmpfs_i(f->inode);
    if (cmd == F_GET_SEALS)
        return (int)READ_SHARED(t->seals);
    if (cmd != F_ADD_SEALS)
        return -EINVAL;
    if (!f->can_write)
        return -EPERM;
    if (arg & ~0x3full)
        return -EINVAL;
    mutex_lock(&t->inode.lock);
    int err = 0;
    if (t->seals & F_SEAL_SEAL)
        err = -EPERM;
    else if ((arg & F_SEAL_WRITE) && !(t->seals & F_SEAL_WRITE) && ref_count(&t->obj.ref) > 0 &&
             t->obj_shared_write)
        err = -EBUSY;
    else
        WRITE_SHARED(t->seals, t->seals | (uint32_t)arg);
    mutex_unlock(&t->inode.lock);
    return err;
}

const struct inode_ops tmpfs_file_iops = {
    .setattr = file_setattr,
    .getxattr = tmpfs_getxattr,
    .setxattr = tmpfs_setxattr,
    .listxattr = tmpfs_listxattr,
    .removexattr = tmpfs_removexattr,
    .release = tmpfs_release,
};
const struct file_ops tmpfs_file_fops = {
    .read = file_read_,
    .write = file_write_,
    .llseek = file_llseek_,
    .mmap = file_mmap,
    .fsync = file_fsync_,
    .fallocate = file_fallocate,
    .fcntl = file_fcntl,
    .nowait = true,
    .lock_writes = true,
};
