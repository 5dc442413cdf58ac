// SPDX-License-Identifier: Apache-2.0
// tmpfs extended attributes: a short list in memory, bounded per inode.
#include "abi/errno.h"
#include "fs/tmpfs/internal.h"
#include <linux/xattr.h>
#include <string.h>

constexpr size_t XATTR_BYTES_MAX = 128 * 1024; // names and values of one inode
SLAB_DEFINE(xattr_slab, struct tmpfs_xattr);

static struct tmpfs_xattr *find(struct tmpfs_inode *t, const char *name)
{
    list_for_each(n, &t->xattrs) {
        struct tmpfs_xattr *x = list_entry(n, struct tmpfs_xattr, link);
        if (!strcmp(x->name, name))
            return x;
    }
    return nullptr;
}
static void xattr_free(struct tmpfs_xattr *x)
{
    mem_free(x->name);
    mem_free(x->value);
    slab_free(&xattr_slab, x);
}
static size_t xattr_cost(const struct tmpfs_xattr *x)
{
    return strlen(x->name) + 1 + x->size;
}
static bool supported(const char *name)
{
    return !strncmp(name, "user.", 5) || !strncmp(name, "trusted.", 8) || !strncmp(name, "security.", 9);
}

long tmpfs_getxattr(struct inode *i, const char *name, void *buf, size_t n)
{
    struct tmpfs_inode *t = tmpfs_i(i);
    long ret = supported(name) ? -ENODATA : -EOPNOTSUPP;
    spin_lock(&t->xattr_lock);
    struct tmpfs_xattr *x = find(t, name);
    if (x) {
        ret = n && n < x->size ? -ERANGE : (long)x->size;
        if (ret > 0 && n)
            memcpy(buf, x->value, x->size);
    }
    spin_unlock(&t->xattr_lock);
    return ret;
}

int tmpfs_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags)
{
    struct tmpfs_inode *t = tmpfs_i(i);
    if (!supported(name))
        return -EOPNOTSUPP;
    struct tmpfs_xattr *x = slab_alloc(&xattr_slab);
    if (!x)
        return -ENOMEM;
    x->name = mem_strdup(name);
    x->value = mem_alloc(n ? n : 1);
    x->size = n;
    if (!x->name || !x->value) {
        xattr_free(x);
        return -ENOMEM;
    }
    if (n)
        memcpy(x->value, buf, n);
    spin_lock(&t->xattr_lock);
    struct tmpfs_xattr *old = find(t, name);
    size_t after = t->xattr_bytes + xattr_cost(x) - (old ? xattr_cost(old) : 0);
    int err = old && (flags & XATTR_CREATE)     ? -EEXIST
              : !old && (flags & XATTR_REPLACE) ? -ENODATA
              : after > XATTR_BYTES_MAX         ? -ENOSPC
                                                : 0;
    if (!err) {
        if (old)
            list_del(&old->link);
        list_push_back(&t->xattrs, &x->link);
        t->xattr_bytes = after;
    }
    spin_unlock(&t->xattr_lock);
    if (err) {
        xattr_free(x);
        return err;
    }
    if (old)
        xattr_free(old);
    inode_touch(i, IATTR_CTIME);
    return 0;
}

long tmpfs_listxattr(struct inode *i, char *buf, size_t n)
{
    struct tmpfs_inode *t = tmpfs_i(i);
    size_t used = 0;
    long ret = 0;
    spin_lock(&t->xattr_lock);
    list_for_each(l, &t->xattrs) {
        struct tmpfs_xattr *x = list_entry(l, struct tmpfs_xattr, link);
        size_t len = strlen(x->name) + 1;
        if (n && len > n - used) {
            ret = -ERANGE;
            break;
        }
        if (n)
            memcpy(buf + used, x->name, len);
        used += len;
    }
    spin_unlock(&t->xattr_lock);
    return ret ? ret : (long)used;
}

int tmpfs_removexattr(struct inode *i, const char *name)
{
    struct tmpfs_inode *t = tmpfs_i(i);
    spin_lock(&t->xattr_lock);
    struct tmpfs_xattr *x = find(t, name);
    if (x) {
        list_del(&x->link);
        t->xattr_bytes -= xattr_cost(x);
    }
    spin_unlock(&t->xattr_lock);
    if (!x)
        return supported(name) ? -ENODATA : -EOPNOTSUPP;
    xattr_free(x);
    inode_touch(i, IATTR_CTIME);
    return 0;
}

void tmpfs_xattr_free(struct tmpfs_inode *t)
{
    while (!list_empty(&t->xattrs)) {
        struct tmpfs_xattr *x = list_first(&t->xattrs, struct tmpfs_xattr, link);
        list_del(&x->link);
        xattr_free(x);
    }
}
