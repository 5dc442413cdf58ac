// SPDX-License-Identifier: Apache-2.0
// Copy-up: a lower file gets a copy of data, attributes and times in the upper layer before its
// first change. Directories on the way come first. One copy of an inode at a time (copy_lock);
// users see the lower file until the copy is whole, since they go by oi->upper.
#include "fs/overlay/ovl.h"
#include "vfs/window.h"
#include "mem/uio.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

constexpr size_t COPY_BUF = 64 << 10;
constexpr size_t XATTR_BUF = 64 << 10;

long ovl_real_write(struct file *real, struct uio *u, int64_t *pos)
{
    struct inode *i = real->inode;
    if (!real->ops->write)
        return -EINVAL;
    bool locks = real->ops->lock_writes;
    if (locks)
        mutex_lock(&i->lock);
    inode_change_begin(i);
    long n = real->ops->write(real, u, pos);
    inode_change_end(i);
    if (locks)
        mutex_unlock(&i->lock);
    return n;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && !memcmp(p, p + 1, n - 1));
}
static int put_all(struct file *to, const uint8_t *buf, size_t n, int64_t pos)
{
    for (size_t done = 0; done < n;) {
        struct uiovec v;
        struct uio u = uio_kernel(&v, (void *)(buf + done), n - done);
        int64_t at = pos + (int64_t)done;
        long k = ovl_real_write(to, &u, &at);
        if (k <= 0)
            return k ? (int)k : -EIO;
        done += (size_t)k;
    }
    return 0;
}
static int copy_bytes(struct file *from, struct file *to, uint64_t size)
{
    uint8_t *buf = mem_alloc(COPY_BUF);
    int err = buf ? 0 : -ENOMEM;
    uint64_t off = 0;
    while (!err && off < size) {
        long n = file_read_kernel(from, buf, MIN(COPY_BUF, size - off), (int64_t)off);
        if (n <= 0) {
            err = (int)n;
            break;
        }
        if (!all_zero(buf, (size_t)n)) // holes stay holes
            err = put_all(to, buf, (size_t)n, (int64_t)off);
        off += (uint64_t)n;
    }
    mem_free(buf);
    return err;
}
static int set_upper(struct inode *i, const struct iattr *a)
{
    int err = 0;
    mutex_lock_nested(&i->lock);
    if (i->ops->setattr)
        err = i->ops->setattr(i, a);
    else
        inode_setattr_fields(i, a);
    mutex_unlock(&i->lock);
    return err;
}
static int copy_data(struct ovl_inode *oi, struct dentry *ud, uint64_t limit)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    struct path lp = ovl_real_path(oi), up = {.mnt = os->upper.mnt, .dentry = ud};
    struct file *from, *to;
    struct kstat st;
    int err = inode_getattr(lp.dentry->inode, &st);
    uint64_t size = MIN(st.size, limit);
    if (err || !size)
        return err;
    err = vfs_open_path(&lp, O_RDONLY | O_NOATIME, os->cred, &from);
    if (err)
        return err;
    err = vfs_open_path(&up, O_WRONLY, os->cred, &to);
    if (!err) {
        err = copy_bytes(from, to, size);
        struct iattr a = {.valid = IATTR_SIZE, .size = size};
        if (!err && READ_SHARED(ud->inode->size) != size)
            err = set_upper(ud->inode, &a);
        file_put(to);
    }
    file_put(from);
    return err;
}

static int copy_xattr(struct inode *from, struct inode *to, const char *name, char *val)
{
    long n = from->ops->getxattr(from, name, val, XATTR_BUF);
    if (n < 0)
        return n == -ENODATA || n == -EOPNOTSUPP ? 0 : (int)n;
    mutex_lock_nested(&to->lock);
    int err = to->ops->setxattr(to, name, val, (size_t)n, 0);
    mutex_unlock(&to->lock);
    // What the upper file system cannot keep is lost, as on Linux for what is not a security matter.
    return err == -EOPNOTSUPP && strncmp(name, "security.", 9) ? 0 : err;
}
static int copy_xattrs(struct inode *from, struct inode *to)
{
    if (!from->ops->listxattr || !from->ops->getxattr || !to->ops->setxattr)
        return 0;
    long len = from->ops->listxattr(from, nullptr, 0);
    if (len <= 0)
        return len == -EOPNOTSUPP ? 0 : (int)len;
    char *list = mem_alloc((size_t)len), *val = mem_alloc(XATTR_BUF);
    int err = list && val ? 0 : -ENOMEM;
    if (!err) {
        len = from->ops->listxattr(from, list, (size_t)len);
        err = len < 0 ? (int)len : 0;
    }
    for (long at = 0; !err && at < len;) {
        size_t l = strnlen(list + at, (size_t)(len - at));
        if (at + (long)l >= len)
            break;
        if (!ovl_xattr_private(list + at))
            err = copy_xattr(from, to, list + at, val);
        at += (long)l + 1;
    }
    mem_free(list);
    mem_free(val);
    return err;
}
static int copy_attrs(struct ovl_inode *oi, struct inode *lower, struct inode *upper)
{
    struct kstat st;
    int err = inode_getattr(lower, &st);
    if (err)
        return err;
    struct iattr owner = {.valid = IATTR_UID | IATTR_GID, .uid = st.uid, .gid = st.gid};
    struct iattr mode = {.valid = IATTR_MODE, .mode = st.mode}; // after the owner: keeps set-id bits
    struct iattr times = {.valid = IATTR_ATIME | IATTR_MTIME | IATTR_ATIME_SET | IATTR_MTIME_SET,
                          .atime = st.atime, .mtime = st.mtime};
    err = set_upper(upper, &owner);
    if (!err && !S_ISLNK(st.mode))
        err = set_upper(upper, &mode);
    if (!err)
        err = copy_xattrs(lower, upper);
    if (!err)
        err = set_upper(upper, &times);
    return err;
}

static int make_upper(struct ovl_inode *oi, struct inode *di, struct dentry *ud)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    struct inode *lower = oi->lower[0].dentry->inode;
    uint32_t mode = lower->mode;
    struct strbuf text = {};
    int err = -EPERM;
    switch (mode & S_IFMT) {
    case S_IFREG:
        return di->ops->create ? di->ops->create(di, ud, S_IFREG | 0600, os->cred) : err;
    case S_IFDIR:
        return di->ops->mkdir ? di->ops->mkdir(di, ud, S_IFDIR | 0700, os->cred) : err;
    case S_IFLNK:
        err = lower->ops->readlink ? lower->ops->readlink(lower, &text) : -EINVAL;
        if (!err)
            err = di->ops->symlink ? di->ops->symlink(di, ud, text.p, os->cred) : -EPERM;
        strbuf_free(&text);
        return err;
    default:
        return di->ops->mknod ? di->ops->mknod(di, ud, (mode & S_IFMT) | 0600, lower->rdev, os->cred)
                              : err;
    }
}
// The empty upper file at its place (parent's upper, same name); or nameless when d is null.
static int place(struct ovl_inode *oi, struct dentry *d, struct dentry **out)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    struct dentry *updir = os->upper.root, *parent = nullptr;
    int err;
    if (d) {
        parent = dentry_parent_get(d);
        updir = ovl_upper(oi_of(parent->inode));
    } else if (!S_ISREG(oi->vfs.mode)) {
        return -ESTALE;
    }
    struct inode *di = updir->inode;
    mutex_lock(&di->lock);
    if (!d) { // removed, but still open: a copy for those who have it
        *out = dentry_alloc(updir, "#", 1);
        err = !*out ? -ENOMEM
              : di->ops->tmpfile ? di->ops->tmpfile(di, *out, S_IFREG | 0600, os->cred)
                                 : -ESTALE;
        if (err)
            dentry_put(*out);
    } else {
        struct ktimespec mtime = di->mtime, atime = di->atime;
        err = dentry_lookup_locked(updir, d->name, d->namelen, out);
        if (!err) {
            err = (*out)->inode ? -EEXIST : make_upper(oi, di, *out);
            if (err)
                dentry_put(*out);
            else
                dentry_rehash(*out);
        }
        if (!err && di->ops->setattr) { // nobody changed the directory
            struct iattr a = {.valid = IATTR_ATIME | IATTR_MTIME | IATTR_ATIME_SET | IATTR_MTIME_SET,
                              .atime = atime, .mtime = mtime};
            (void)!di->ops->setattr(di, &a);
        }
    }
    mutex_unlock(&di->lock);
    dentry_put(parent);
    return err;
}
static void unplace(struct dentry *ud)
{
    struct dentry *dir = dentry_parent_get(ud);
    struct inode *di = dir->inode;
    if (!ud->unhashed) {
        mutex_lock(&di->lock);
        if (S_ISDIR(ud->inode->mode)) {
            mutex_lock_nested(&ud->inode->lock);
            (void)!di->ops->rmdir(di, ud);
            mutex_unlock(&ud->inode->lock);
        } else {
            (void)!di->ops->unlink(di, ud);
        }
        dentry_unhash(ud);
        mutex_unlock(&di->lock);
    }
    dentry_put(dir);
    dentry_put(ud);
}
static int copy_one_locked(struct ovl_inode *oi, uint64_t limit)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    struct inode *lower = oi->lower[0].dentry->inode;
    struct dentry *d = ovl_alias_get(oi), *ud;
    char ino[24];
    if (!d && !oi->own_nlink) // never unlinked: its name went out of the cache
        return -ESTALE;
    int err = place(oi, d, &ud);
    dentry_put(d);
    if (err)
        return err;
    if (S_ISREG(lower->mode))
        err = copy_data(oi, ud, limit);
    if (!err)
        err = copy_attrs(oi, lower, ud->inode);
    snprintf(ino, sizeof(ino), "%llu", (unsigned long long)oi->vfs.ino);
    if (!err && oi->nlower && !S_ISDIR(lower->mode)) {
        err = ovl_meta_set(os, ud, "origin", ino);
        err = err == -EOPNOTSUPP || err == -EPERM ? 0 : err; // (symbolic links have none)
    }
    if (err) {
        unplace(ud);
        return err;
    }
    if (!S_ISDIR(lower->mode) && lower->nlink > 1 && !oi->own_nlink) {
        oi->own_nlink = true; // its other names show this copy from now on
        ovl_pin(oi);
    }
    __atomic_store_n(&oi->upper, ud, __ATOMIC_RELEASE);
    ovl_key_upper(oi);
    ovl_mirror(oi);
    return 0;
}
static int copy_one(struct ovl_inode *oi, uint64_t limit)
{
    mutex_lock(&oi->copy_lock);
    int err = ovl_upper(oi) ? 0 : copy_one_locked(oi, limit);
    mutex_unlock(&oi->copy_lock);
    return err;
}

int ovl_copy_up(struct ovl_inode *oi, uint64_t limit)
{
    if (ovl_upper(oi))
        return 0;
    if (!os_of(oi->vfs.sb)->upper.mnt)
        return -EROFS;
    for (;;) {
        // The topmost directory on the way that has no upper yet.
        struct dentry *d = ovl_alias_get(oi);
        struct ovl_inode *top = oi;
        while (d) {
            struct dentry *parent = dentry_parent_get(d);
            struct ovl_inode *po = oi_of(parent->inode);
            if (parent == d || ovl_upper(po)) {
                dentry_put(parent);
                break;
            }
            top = po;
            dentry_put(d);
            d = parent;
        }
        inode_get(&top->vfs);
        dentry_put(d);
        inode_change_begin(&top->vfs);
        int err = copy_one(top, top == oi ? limit : OVL_ALL);
        inode_change_end(&top->vfs);
        bool done = top == oi;
        inode_put(&top->vfs);
        if (err || done)
            return err;
    }
}
