// SPDX-License-Identifier: Apache-2.0
// Open files: life, reading and writing with the checks that every file system shares, positions.
#include "vfs/internal.h"
#include "vfs/window.h"
#include "abi/errno.h"
#include "sched/fiber.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

SLAB_DEFINE(file_slab, struct file);
const struct file_ops opath_file_ops = {};

int file_new(const struct file_ops *ops, struct inode *i, const struct path *p, int flags,
             const struct cred *c, struct file **out)
{
    struct file *f = slab_alloc(&file_slab);
    if (!f)
        return -ENOMEM;
    if (!p) { // named after its kind, as /proc/PID/fd shows it
        struct strbuf name = {};
        strbuf_fmt(&name, "%s:[%lu]", S_ISSOCK(i->mode) ? "socket" : S_ISFIFO(i->mode) ? "pipe" : "anon_inode", i->ino);
        struct dentry *d = name.bad ? nullptr : dentry_new_anon(i->sb, inode_get(i), name.p);
        strbuf_free(&name);
        if (!d) {
            inode_put(i);
            slab_free(&file_slab, f);
            return -ENOMEM;
        }
        f->path.dentry = d;
    } else {
        f->path = path_get(*p);
    }
    f->ops = ops;
    ref_init(&f->ref);
    f->flags = (uint32_t)flags;
    f->inode = inode_get(i);
    mutex_init(&f->pos_lock, RANK_FPOS);
    f->cred = cred_get((struct cred *)c);
    list_init(&f->epoll_items);
    f->opath = flags & O_PATH;
    int acc = flags & O_ACCMODE;
    f->can_read = !f->opath && (acc == O_RDONLY || acc == O_RDWR);
    f->can_write = !f->opath && (acc == O_WRONLY || acc == O_RDWR);
    *out = f;
    return 0;
}

int file_new_on_inode(const struct file_ops *ops, struct inode *i, const char *name, int flags,
                      void *data, const struct cred *c, struct file **out)
{
    struct path p = {.dentry = dentry_new_anon(i->sb, inode_get(i), name)};
    if (!p.dentry) {
        inode_put(i);
        return -ENOMEM;
    }
    int err = file_new(ops, i, &p, flags, c, out);
    dentry_put(p.dentry);
    if (!err)
        (*out)->data = data;
    return err;
}

static const struct inode_ops anon_inode_ops = {};

// All anonymous files share one inode, as on Linux; it never goes.
static struct inode *anon_inode(void)
{
    static struct inode *shared;
    struct inode *i = __atomic_load_n(&shared, __ATOMIC_ACQUIRE), *none = nullptr;
    if (i)
        return i;
    i = inode_alloc();
    if (!i)
        return nullptr;
    inode_init(i, vfs_anon_super(), &anon_inode_ops, nullptr, 0600, nullptr);
    if (__atomic_compare_exchange_n(&shared, &none, i, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return i;
    inode_put(i);
    return none;
}

int file_new_anon(const struct file_ops *ops, const char *name, int flags, void *data,
                  const struct cred *c, struct file **out)
{
    struct inode *i = anon_inode();
    return i ? file_new_on_inode(ops, i, name, flags, data, c, out) : -ENOMEM;
}

struct file *file_get(struct file *f)
{
    ref_get(&f->ref);
    return f;
}

void file_abort(struct file *f)
{
    CHECK(ref_put(&f->ref));
    path_put(f->path);
    inode_put(f->inode);
    cred_put((struct cred *)f->cred);
    slab_free(&file_slab, f);
}

void file_put(struct file *f)
{
    if (!f || !ref_put(&f->ref))
        return;
    if (READ_SHARED(f->epolled))
        epoll_file_release(f);
    if (!f->opath) {
        uint32_t isdir = S_ISDIR(f->inode->mode) ? IN_ISDIR : 0;
        fsnotify(f->inode, f->path.dentry,
                 (f->can_write ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE) | isdir, nullptr, 0);
    }
    locks_release_file(f);
    if (f->ops->release)
        f->ops->release(f);
    if (f->write_counted)
        inode_put_write(f->inode);
    path_put(f->path);
    inode_put(f->inode);
    cred_put((struct cred *)f->cred);
    slab_free(&file_slab, f);
}

int file_print(struct file *f, const struct path *root, struct strbuf *out)
{
    return path_print(&f->path, root, out);
}

// --- access times ---
static bool not_before(const struct ktimespec *t, struct ktimespec b)
{
    struct ktimespec a = ktimespec_load(t);
    return a.sec != b.sec ? a.sec > b.sec : a.nsec >= b.nsec;
}

static bool atime_wanted(struct inode *i, uint32_t flags, const struct ktimespec *now)
{
    if (flags & (MS_NOATIME | MS_RDONLY) || (READ_SHARED(i->sb->flags) & (MS_RDONLY | MS_NOATIME)))
        return false;
    if ((flags & MS_NODIRATIME) && S_ISDIR(i->mode))
        return false;
    if (flags & MS_STRICTATIME)
        return true;
    struct ktimespec last = ktimespec_load(&i->atime);
    return not_before(&i->mtime, last) || not_before(&i->ctime, last) ||
           now->sec - last.sec >= 24 * 3600;
}

// Without the lock: of two accesses at once one wins.
void path_accessed(const struct path *p)
{
    struct inode *i = dentry_inode(p->dentry);
    struct ktimespec now = vfs_now();
    if (!i || !i->sb || !atime_wanted(i, mount_flags(p->mnt), &now))
        return;
    inode_change_begin(i);
    ktimespec_store(&i->atime, now);
    inode_change_end(i);
}

bool file_atime_settled(struct file *f)
{
    struct inode *i = f->inode;
    struct ktimespec now = vfs_now();
    return (READ_SHARED(f->flags) & O_NOATIME) || !i->sb || !atime_wanted(i, mount_flags(f->path.mnt), &now);
}

void file_accessed(struct file *f)
{
    if (!(READ_SHARED(f->flags) & O_NOATIME))
        path_accessed(&f->path);
}

// --- read and write ---
static bool has_position(const struct file *f)
{
    return !f->ops->stream;
}

static int check_area(int64_t pos, size_t n)
{
    int64_t end;
    if (pos < 0 || n > INT64_MAX || __builtin_add_overflow(pos, (int64_t)n, &end))
        return -EINVAL;
    return 0;
}

static long read_at(struct file *f, struct uio *u, int64_t *pos)
{
    int err = has_position(f) ? check_area(*pos, u->resid) : 0;
    if (err)
        return err;
    long n = f->ops->read(f, u, pos);
    if (n > 0)
        fsnotify(f->inode, f->path.dentry, IN_ACCESS, nullptr, 0);
    return n;
}

long file_read(struct file *f, struct uio *u, int64_t *pos)
{
    if (!f->can_read)
        return -EBADF;
    if (S_ISDIR(f->inode->mode) && !f->ops->read)
        return -EISDIR;
    if (!f->ops->read)
        return -EINVAL;
    if (f->ops->own_position && !pos)
        return read_at(f, u, &f->pos);
    if (pos || !has_position(f)) {
        int64_t dummy = 0;
        return read_at(f, u, pos ? pos : &dummy);
    }
    mutex_lock(&f->pos_lock);
    file_pos_mine(f);
    int64_t at = f->pos;
    long n = read_at(f, u, &at);
    if (n >= 0)
        WRITE_SHARED(f->pos, at);
    mutex_unlock(&f->pos_lock);
    return n;
}

// Where a write may end: RLIMIT_FSIZE and the file system's maximum. Cuts u; *cut is what to add
// to resid again afterwards.
static int write_limits(struct file *f, struct uio *u, int64_t pos, size_t *cut)
{
    uint64_t max = f->inode->sb->maxbytes;
    uint64_t limit = vfs_hooks.fsize_limit ? vfs_hooks.fsize_limit() : UINT64_MAX;
    if ((uint64_t)pos >= limit) {
        if (vfs_hooks.fsize_exceeded)
            vfs_hooks.fsize_exceeded();
        return -EFBIG;
    }
    if ((uint64_t)pos >= max)
        return -EFBIG;
    uint64_t room = MIN(limit, max) - (uint64_t)pos;
    if (u->resid > room) {
        *cut = u->resid - room;
        u->resid = room;
    }
    return 0;
}

static long write_locked(struct file *f, struct uio *u, int64_t *pos, bool append)
{
    struct inode *i = f->inode;
    size_t cut = 0;
    mutex_lock(&i->lock);
    if (append)
        *pos = (int64_t)i->size;
    inode_change_begin(i);
    long n = check_area(*pos, u->resid);
    if (!n)
        n = write_limits(f, u, *pos, &cut);
    if (!n)
        n = inode_remove_privs_locked(i, f->cred);
    if (!n)
        n = f->ops->write(f, u, pos);
    u->resid += cut;
    inode_change_end(i);
    mutex_unlock(&i->lock);
    return n;
}

static long write_at(struct file *f, struct uio *u, int64_t *pos, bool append, bool sync)
{
    long n;
    if (f->ops->lock_writes && u->resid) {
        n = write_locked(f, u, pos, append);
    } else {
        if (append && has_position(f))
            *pos = (int64_t)READ_SHARED(f->inode->size);
        int err = has_position(f) ? check_area(*pos, u->resid) : 0;
        bool counts = S_ISREG(f->inode->mode); // streams share inodes and lines of the cache
        if (counts)
            inode_change_begin(f->inode);
        n = err ? err : f->ops->write(f, u, pos);
        if (counts)
            inode_change_end(f->inode);
    }
    if (n > 0) {
        fsnotify(f->inode, f->path.dentry, IN_MODIFY, nullptr, 0);
        if (sync && S_ISREG(f->inode->mode)) {
            int err = vfs_fsync(f, true);
            if (err && err != -EINVAL)
                return err;
        }
    }
    return n;
}

long file_write_flags(struct file *f, struct uio *u, int64_t *pos, bool append, bool sync)
{
    if (!f->can_write)
        return -EBADF;
    if (!f->ops->write)
        return -EINVAL;
    if (f->ops->own_position && !pos)
        return write_at(f, u, &f->pos, false, sync);
    if (pos || !has_position(f)) {
        int64_t dummy = 0;
        return write_at(f, u, pos ? pos : &dummy, append, sync);
    }
    mutex_lock(&f->pos_lock);
    file_pos_mine(f);
    int64_t at = f->pos;
    long n = write_at(f, u, &at, append, sync);
    if (n >= 0)
        WRITE_SHARED(f->pos, at);
    mutex_unlock(&f->pos_lock);
    return n;
}

long file_write(struct file *f, struct uio *u, int64_t *pos)
{
    uint32_t fl = READ_SHARED(f->flags);
    return file_write_flags(f, u, pos, fl & O_APPEND, fl & O_DSYNC);
}

long file_read_kernel(struct file *f, void *buf, size_t n, int64_t off)
{
    if (!f->ops->read)
        return -EINVAL;
    size_t done = 0;
    while (done < n) {
        struct uiovec v;
        struct uio u = uio_kernel(&v, (char *)buf + done, n - done);
        int64_t pos;
        if (__builtin_add_overflow(off, (int64_t)done, &pos))
            return -EINVAL;
        long r = f->ops->read(f, &u, &pos);
        if (r < 0)
            return done ? (long)done : r;
        if (r == 0)
            break;
        done += (size_t)r;
    }
    return (long)done;
}

// --- positions ---
static int64_t seek_target(struct file *f, int64_t off, int whence)
{
    int64_t size = (int64_t)READ_SHARED(f->inode->size), pos;
    switch (whence) {
    case SEEK_SET:
        pos = off;
        break;
    case SEEK_CUR:
        if (__builtin_add_overflow(f->pos, off, &pos))
            return -EINVAL;
        break;
    case SEEK_END:
        if (__builtin_add_overflow(size, off, &pos))
            return -EINVAL;
        break;
    case SEEK_DATA: // without knowledge of holes, all is data and the hole is at the end
    case SEEK_HOLE:
        if (off < 0 || off >= size)
            return -ENXIO;
        pos = whence == SEEK_DATA ? off : size;
        break;
    default:
        return -EINVAL;
    }
    if (pos < 0 || (uint64_t)pos > f->inode->sb->maxbytes)
        return -EINVAL;
    return pos;
}

int64_t file_noop_llseek(struct file *f, int64_t off, int whence)
{
    return 0;
}

int64_t file_seek(struct file *f, int64_t off, int whence)
{
    if (f->ops->stream)
        return f->ops->llseek ? f->ops->llseek(f, off, whence) : -ESPIPE;
    // A file system over another seeks in its own file and then in the one below: same rank.
    mutex_lock_nested(&f->pos_lock);
    file_pos_mine(f);
    int64_t pos = f->ops->llseek ? f->ops->llseek(f, off, whence) : seek_target(f, off, whence);
    if (pos >= 0)
        WRITE_SHARED(f->pos, pos);
    mutex_unlock(&f->pos_lock);
    return pos;
}

uint32_t file_poll(struct file *f, struct poll_table *pt)
{
    if (!f->ops->poll)
        return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
    return f->ops->poll(f, pt);
}

int vfs_fsync(struct file *f, bool datasync)
{
    return f->ops->fsync ? f->ops->fsync(f, datasync) : -EINVAL;
}

bool dir_emit_dots(struct file *f, struct dir_context *dc)
{
    if (dc->pos == 0) {
        if (!dc->emit(dc, ".", 1, f->inode->ino, S_IFDIR >> 12, 1))
            return false;
        dc->pos = 1;
    }
    if (dc->pos == 1) {
        struct dentry *up = dentry_parent_get(f->path.dentry);
        bool ok = dc->emit(dc, "..", 2, dentry_inode(up)->ino, S_IFDIR >> 12, 2);
        dentry_put(up);
        if (!ok)
            return false;
        dc->pos = 2;
    }
    return true;
}
