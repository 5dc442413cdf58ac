// SPDX-License-Identifier: Apache-2.0
// Memory devices (null(4), zero(4), full(4), random(4)) and devtmpfs: a tmpfs that is filled with
// the usual nodes, so that a guest with the right can add its own. A node made by mknod(2) anywhere
// works the same, because devices are found by number (vfs/special.h).
#include "abi/errno.h"
#include "base/slab.h"
#include "host/raw.h"
#include "kern/cred.h"
#include "mem/uaccess.h"
#include "task/task.h"
#include "vfs/file.h"
#include "vfs/special.h"
#include <linux/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

constexpr unsigned MEM_MAJOR = 1;

static long null_read(struct file *f, struct uio *u, int64_t *pos)
{
    return 0;
}
static long null_write(struct file *f, struct uio *u, int64_t *pos)
{
    size_t n = u->resid;
    uio_advance(u, n);
    return (long)n;
}
static int64_t null_llseek(struct file *f, int64_t off, int whence)
{
    return f->pos = 0;
}
static long zero_read(struct file *f, struct uio *u, int64_t *pos)
{
    return uio_zero_to(u, u->resid);
}
static long full_write(struct file *f, struct uio *u, int64_t *pos)
{
    return u->resid ? -ENOSPC : 0;
}

static long random_read(struct file *f, struct uio *u, int64_t *pos)
{
    uint8_t buf[4096];
    long done = 0;
    while (u->resid) {
        long got = host_call(__NR_getrandom, buf, MIN(u->resid, sizeof(buf)), 0);
        if (got == -EINTR)
            continue;
        if (got < 0)
            return done ? done : got;
        long put = uio_copy_to(u, buf, (size_t)got);
        if (put < 0)
            return done ? done : put;
        done += put;
        if (put < got)
            break;
        if (fiber_interrupted(PARK_INTERRUPTIBLE))
            break;
    }
    return done;
}

// Anonymous memory, private or shared: no object.
static int zero_mmap(struct file *f, struct memobj **obj)
{
    *obj = nullptr;
    return 0;
}

static long random_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    int32_t bits = 256;
    switch (cmd) {
    case RNDGETENTCNT:
        return copy_out(t->mm, UADDR(arg), &bits, sizeof(bits));
    case RNDADDTOENTCNT:
    case RNDADDENTROPY:
    case RNDZAPENTCNT:
    case RNDCLEARPOOL:
    case RNDRESEEDCRNG:
        return -EPERM; // the host's generator is not the guest's to feed
    }
    return -ENOTTY;
}

static const struct file_ops null_ops = {
    .read = null_read, .write = null_write, .llseek = null_llseek, .nowait = true};
static const struct file_ops zero_ops = {
    .read = zero_read, .write = null_write, .llseek = null_llseek, .mmap = zero_mmap, .nowait = true};
static const struct file_ops full_ops = {
    .read = zero_read, .write = full_write, .llseek = null_llseek, .nowait = true};
static const struct file_ops random_ops = {
    .read = random_read, .write = null_write, .llseek = null_llseek, .ioctl = random_ioctl,
    .nowait = true};

[[gnu::constructor]] static void dev_register(void)
{
    chrdev_register(MEM_MAJOR, 3, 1, "mem", &null_ops, nullptr);
    chrdev_register(MEM_MAJOR, 5, 1, "mem", &zero_ops, nullptr);
    chrdev_register(MEM_MAJOR, 7, 1, "mem", &full_ops, nullptr);
    chrdev_register(MEM_MAJOR, 8, 2, "mem", &random_ops, nullptr);
}

// --- devtmpfs --------------------------------------------------------------------------------------
static const struct {
    const char *name;
    uint32_t mode;
    unsigned major, minor;
} dev_nodes[] = {
    {"null", S_IFCHR | 0666, 1, 3},    {"zero", S_IFCHR | 0666, 1, 5},
    {"full", S_IFCHR | 0666, 1, 7},    {"random", S_IFCHR | 0666, 1, 8},
    {"urandom", S_IFCHR | 0666, 1, 9}, {"tty", S_IFCHR | 0666, 5, 0},
};
static const struct {
    const char *name, *target;
} dev_links[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};
static const char *const dev_dirs[] = {"pts", "shm", "mqueue"};

// The child `name` of root, negative, with root's inode locked.
static int dev_child(struct dentry *root, const char *name, struct dentry **d)
{
    return dentry_lookup_locked(root, name, __builtin_strlen(name), d);
}

static int dev_fill(struct dentry *root, const struct cred *c)
{
    struct inode *dir = root->inode;
    struct dentry *d;
    int err = 0;
    mutex_lock(&dir->lock);
    for (size_t i = 0; !err && i < ARRAY_LEN(dev_nodes); i++) {
        if ((err = dev_child(root, dev_nodes[i].name, &d)) != 0)
            break;
        err = dir->ops->mknod(dir, d, dev_nodes[i].mode,
                              makedev(dev_nodes[i].major, dev_nodes[i].minor), c);
        dentry_put(d);
    }
    for (size_t i = 0; !err && i < ARRAY_LEN(dev_links); i++) {
        if ((err = dev_child(root, dev_links[i].name, &d)) != 0)
            break;
        err = dir->ops->symlink(dir, d, dev_links[i].target, c);
        dentry_put(d);
    }
    for (size_t i = 0; !err && i < ARRAY_LEN(dev_dirs); i++) {
        if ((err = dev_child(root, dev_dirs[i], &d)) != 0)
            break;
        err = dir->ops->mkdir(dir, d, i == 1 ? 01777 : 0755, c);
        dentry_put(d);
    }
    mutex_unlock(&dir->lock);
    return err;
}

static int devtmpfs_mount(const struct fs_type *t, const char *source, const char *options,
                          const struct cred *c, struct super **out)
{
    const struct fs_type *tmpfs = fs_type_find("tmpfs");
    struct super *sb;
    if (!tmpfs)
        return -ENODEV;
    int err = tmpfs->mount(t, source, options && *options ? options : "mode=755,size=64k", c, &sb);
    if (err)
        return err;
    err = dev_fill(sb->root, c);
    if (err) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}

const struct fs_type devtmpfs_type = {
    .name = "devtmpfs",
    .nodev = true,
    .user_mount = true,
    .mount = devtmpfs_mount,
};
