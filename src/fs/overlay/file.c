// SPDX-License-Identifier: Apache-2.0
// Regular files of the overlay: an open file holds an open file of the layer that has the data and
// passes reads, mappings and the rest to it. Opening for writing copies up first. A file opened for
// reading before somebody else copied it up reads the copy from then on.
#include "fs/overlay/ovl.h"
#include "mem/uio.h"
#include "vfs/window.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct ovl_file {
    struct file *first; // [C] ref
    struct file *late;  // [A] ref; the upper file, when first is a lower one that was copied up
};
SLAB_DEFINE(ovl_file_slab, struct ovl_file);
constexpr uint32_t REAL_FLAGS = O_ACCMODE | O_DIRECT | O_NOATIME | O_LARGEFILE;

static int open_real(struct file *f, struct file **out)
{
    struct ovl_inode *oi = oi_of(f->inode);
    struct path p = ovl_real_path(oi);
    return vfs_open_path(&p, (int)(f->flags & REAL_FLAGS), os_of(f->inode->sb)->cred, out);
}
static int ovl_open(struct file *f)
{
    struct ovl_inode *oi = oi_of(f->inode);
    if (f->path.dentry && !f->path.dentry->unhashed && !READ_SHARED(oi->alias))
        ovl_alias_set(oi, f->path.dentry);
    if (f->can_write || f->wants_trunc) {
        int err = ovl_copy_up(oi, f->wants_trunc ? 0 : OVL_ALL);
        if (err)
            return err;
    }
    struct ovl_file *of = slab_alloc(&ovl_file_slab);
    if (!of)
        return -ENOMEM;
    int err = open_real(f, &of->first);
    if (err) {
        slab_free(&ovl_file_slab, of);
        return err;
    }
    f->data = of;
    return 0;
}
static void ovl_file_release(struct file *f)
{
    struct ovl_file *of = f->data;
    file_put(of->first);
    file_put(of->late);
    slab_free(&ovl_file_slab, of);
}
// Borrowed; falls back to what was opened first when the copy cannot be opened.
static struct file *real_of(struct file *f)
{
    struct ovl_file *of = f->data;
    struct dentry *u = ovl_upper(oi_of(f->inode));
    if (!u || of->first->inode == u->inode)
        return of->first;
    struct file *late = __atomic_load_n(&of->late, __ATOMIC_ACQUIRE), *none = nullptr;
    if (late)
        return late;
    if (open_real(f, &late))
        return of->first;
    if (__atomic_compare_exchange_n(&of->late, &none, late, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return late;
    file_put(late);
    return none;
}

static long ovl_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct file *r = real_of(f);
    return r->ops->read ? r->ops->read(r, u, pos) : -EINVAL;
}
// Under our inode's lock: limits, O_APPEND and set-id bits are the VFS's.
static long ovl_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct file *r = real_of(f);
    long n = ovl_real_write(r, u, pos);
    ovl_mirror(oi_of(f->inode));
    return n;
}
static int64_t ovl_llseek(struct file *f, int64_t off, int whence)
{
    struct file *r = real_of(f);
    if (whence == SEEK_DATA || whence == SEEK_HOLE)
        return file_seek(r, off, whence);
    int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? f->pos
                                        : whence == SEEK_END   ? (int64_t)READ_SHARED(f->inode->size)
                                                               : -1;
    if (base < 0)
        return -EINVAL;
    return __builtin_add_overflow(base, off, &off) || off < 0 ? -EINVAL : off;
}
static long ovl_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct file *r = real_of(f);
    return r->ops->ioctl ? r->ops->ioctl(r, t, cmd, arg) : -ENOTTY;
}
static int ovl_mmap(struct file *f, struct memobj **obj)
{
    struct file *r = real_of(f);
    return r->ops->mmap ? r->ops->mmap(r, obj) : -ENODEV;
}
static int ovl_fsync(struct file *f, bool datasync)
{
    struct file *r = real_of(f);
    // Nothing to write back for a lower file.
    return r->ops->fsync && r->can_write ? r->ops->fsync(r, datasync) : 0;
}
static int ovl_fallocate(struct file *f, int mode, int64_t off, int64_t len)
{
    struct file *r = real_of(f);
    if (!r->ops->fallocate)
        return -EOPNOTSUPP;
    mutex_lock(&f->inode->lock);
    inode_change_begin(r->inode);
    int err = r->ops->fallocate(r, mode, off, len);
    inode_change_end(r->inode);
    ovl_mirror(oi_of(f->inode));
    mutex_unlock(&f->inode->lock);
    return err;
}

const struct file_ops ovl_file_fops = {
    .open = ovl_open,
    .read = ovl_read,
    .write = ovl_write,
    .real = real_of,
    .llseek = ovl_llseek,
    .ioctl = ovl_ioctl,
    .mmap = ovl_mmap,
    .fsync = ovl_fsync,
    .fallocate = ovl_fallocate,
    .release = ovl_file_release,
    .lock_writes = true,
};
