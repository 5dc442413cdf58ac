// SPDX-License-Identifier: Apache-2.0
// Overlay inodes: identity (one per real inode), attributes, extended attributes.
#include "fs/overlay/ovl.h"
#include "vfs/window.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

SLAB_DEFINE(ovl_inode_slab, struct ovl_inode);
constexpr uint64_t UPPER_INO = 1ull << 48; // inode numbers of layers must not meet

// --- our attributes ---
static const char *meta_name(const struct ovl_super *os, const char *key, char buf[static 64])
{
    snprintf(buf, 64, "%s.overlay.%s", os->user_xattr ? "user" : "trusted", key);
    return buf;
}
bool ovl_xattr_private(const char *name)
{
    return !strncmp(name, "trusted.overlay.", 16) || !strncmp(name, "user.overlay.", 13);
}
long ovl_meta_get(const struct ovl_super *os, struct dentry *d, const char *key, char *buf, size_t n)
{
    char nm[64];
    struct inode *i = d->inode;
    if (!i->ops->getxattr)
        return -ENODATA;
    long r = i->ops->getxattr(i, meta_name(os, key, nm), buf, n - 1);
    if (r >= 0 && (size_t)r < n)
        buf[r] = 0;
    return r;
}
int ovl_meta_set(const struct ovl_super *os, struct dentry *d, const char *key, const char *val)
{
    char nm[64];
    struct inode *i = d->inode;
    if (!i->ops->setxattr)
        return -EOPNOTSUPP;
    mutex_lock_nested(&i->lock);
    int err = i->ops->setxattr(i, meta_name(os, key, nm), val, strlen(val), 0);
    mutex_unlock(&i->lock);
    return err;
}
bool ovl_is_opaque(const struct ovl_super *os, struct dentry *d)
{
    char v[8];
    return ovl_meta_get(os, d, "opaque", v, sizeof(v)) == 1 && v[0] == 'y';
}

// --- mirror ---
void ovl_mirror(struct ovl_inode *oi)
{
    const struct inode *r = ovl_real(oi)->inode;
    struct inode *i = &oi->vfs;
    uint32_t mode = READ_SHARED(r->mode);
    if (i->mode != mode) // read all over the VFS for its type bits
        WRITE_SHARED(i->mode, mode);
    WRITE_SHARED(i->uid, READ_SHARED(r->uid));
    WRITE_SHARED(i->gid, READ_SHARED(r->gid));
    WRITE_SHARED(i->size, READ_SHARED(r->size));
    WRITE_SHARED(i->blocks, READ_SHARED(r->blocks));
    ktimespec_store(&i->atime, ktimespec_load(&r->atime));
    ktimespec_store(&i->mtime, ktimespec_load(&r->mtime));
    ktimespec_store(&i->ctime, ktimespec_load(&r->ctime));
    if (S_ISDIR(i->mode))
        WRITE_SHARED(i->nlink, i->dead ? 0 : oi->nlower ? 1 : READ_SHARED(r->nlink));
    else if (!oi->own_nlink)
        WRITE_SHARED(i->nlink, READ_SHARED(r->nlink));
}

// --- identity ---
static uint64_t key_hash(const struct inode *real)
{
    return hash_u64((uint64_t)(uintptr_t)real);
}
static struct ovl_inode *find_locked(struct ovl_super *os, const struct inode *real)
{
    for (struct hnode *h = htab_chain(&os->inodes, key_hash(real)); h; h = htab_chain_next(h)) {
        struct ovl_key *k = container_of(h, struct ovl_key, hnode);
        if (k->real == real)
            return k->oi;
    }
    return nullptr;
}
static void key_add_locked(struct ovl_super *os, struct ovl_inode *oi, struct ovl_key *k,
                           const struct inode *real)
{
    k->oi = oi;
    if (!k->real && htab_insert(&os->inodes, &k->hnode, key_hash(real)) == 0)
        k->real = real;
}
static void key_del_locked(struct ovl_super *os, struct ovl_key *k)
{
    if (k->real)
        htab_remove(&os->inodes, &k->hnode);
    k->real = nullptr;
}
void ovl_key_upper(struct ovl_inode *oi)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    spin_lock(&os->lock);
    key_add_locked(os, oi, &oi->by_upper, ovl_upper(oi)->inode);
    spin_unlock(&os->lock);
}
void ovl_forget(struct ovl_inode *oi)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    spin_lock(&os->lock);
    key_del_locked(os, &oi->by_upper);
    key_del_locked(os, &oi->by_lower);
    bool pinned = oi->pinned;
    if (pinned)
        list_del(&oi->pin);
    oi->pinned = false;
    spin_unlock(&os->lock);
    if (pinned)
        inode_put(&oi->vfs);
}
void ovl_pin(struct ovl_inode *oi)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    spin_lock(&os->lock);
    if (!oi->pinned) {
        inode_get(&oi->vfs);
        list_push_back(&os->pinned, &oi->pin);
        oi->pinned = true;
    }
    spin_unlock(&os->lock);
}

static uint64_t number_of(const struct ovl_super *os, struct dentry *upper,
                          const struct ovl_lower *lower, size_t n)
{
    if (n) // salt 0 for the top layer: an image keeps its numbers
        return lower[0].dentry->inode->ino ^ (lower[0].layer * 0x9e3779b97f4a7c15u);
    char v[32];
    long len = ovl_meta_get(os, upper, "origin", v, sizeof(v));
    uint64_t ino = 0;
    for (long k = 0; k < len && v[k] >= '0' && v[k] <= '9'; k++)
        ino = ino * 10 + (uint64_t)(v[k] - '0');
    return len > 0 ? ino : upper->inode->ino ^ UPPER_INO;
}
static void drop_refs(struct dentry *upper, const struct ovl_lower *lower, size_t n)
{
    dentry_put(upper);
    for (size_t k = 0; k < n; k++)
        dentry_put(lower[k].dentry);
}
static struct ovl_inode *alloc(struct super *sb, struct dentry *upper,
                               const struct ovl_lower *lower, size_t n)
{
    struct ovl_super *os = os_of(sb);
    struct ovl_inode *oi = slab_alloc(&ovl_inode_slab);
    if (!oi)
        return nullptr;
    oi->lower = &oi->one;
    if (n > 1 && !(oi->lower = mem_alloc_array(n, sizeof(*lower)))) {
        slab_free(&ovl_inode_slab, oi);
        return nullptr;
    }
    if (n)
        memcpy(oi->lower, lower, n * sizeof(*lower));
    oi->nlower = n;
    oi->upper = upper;
    uint32_t mode = ovl_real(oi)->inode->mode;
    const struct inode_ops *ops = S_ISDIR(mode) ? &ovl_dir_iops : S_ISLNK(mode) ? &ovl_link_iops
                                                                                : &ovl_file_iops;
    inode_init(&oi->vfs, sb, ops,
               S_ISDIR(mode)   ? &ovl_dir_fops
               : S_ISREG(mode) ? &ovl_file_fops
                               : &ovl_special_fops,
               mode, nullptr);
    int rank = RANK_OVERLAY + (os->depth == 1 ? 3 : 0);
    mutex_init(&oi->vfs.lock, (enum lock_rank)(rank + (S_ISDIR(mode) ? 0 : 1)));
    mutex_init(&oi->copy_lock, (enum lock_rank)(rank + 2));
    oi->vfs.ino = number_of(os, upper, lower, n);
    oi->vfs.rdev = ovl_real(oi)->inode->rdev;
    oi->vfs.btime = ovl_real(oi)->inode->btime;
    list_init(&oi->pin);
    ovl_mirror(oi);
    return oi;
}
int ovl_inode_new(struct super *sb, struct dentry *upper, const struct ovl_lower *lower, size_t n,
                  struct ovl_inode **out)
{
    struct ovl_super *os = os_of(sb);
    const struct inode *ukey = upper ? upper->inode : nullptr;
    const struct inode *lkey = n ? lower[0].dentry->inode : nullptr;
    struct ovl_inode *neu = nullptr, *oi;
    spin_lock(&os->lock);
    for (;;) {
        oi = ukey ? find_locked(os, ukey) : find_locked(os, lkey);
        if (oi && ((oi->vfs.mode ^ (ukey ? ukey : lkey)->mode) & S_IFMT))
            oi = nullptr;
        if (oi && ref_get_unless_zero(&oi->vfs.ref))
            break;
        oi = nullptr;
        if (neu)
            break;
        spin_unlock(&os->lock);
        neu = alloc(sb, upper, lower, n);
        if (!neu) {
            drop_refs(upper, lower, n);
            return -ENOMEM;
        }
        spin_lock(&os->lock);
    }
    if (!oi) {
        oi = neu;
        if (ukey)
            key_add_locked(os, oi, &oi->by_upper, ukey);
        if (lkey)
            key_add_locked(os, oi, &oi->by_lower, lkey);
    }
    spin_unlock(&os->lock);
    if (oi != neu) {
        if (neu)
            inode_put(&neu->vfs); // with the references
        else
            drop_refs(upper, lower, n);
    }
    *out = oi;
    return 0;
}
void ovl_instantiate(struct dentry *d, struct ovl_inode *oi)
{
    d->fsdata = oi; // so that d_release is called
    ovl_alias_set(oi, d);
    dentry_instantiate(d, &oi->vfs);
}
void ovl_alias_set(struct ovl_inode *oi, struct dentry *d)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    spin_lock(&os->lock);
    oi->alias = d;
    spin_unlock(&os->lock);
}
void ovl_alias_drop(struct ovl_inode *oi, struct dentry *d)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    spin_lock(&os->lock);
    if (oi->alias == d)
        oi->alias = nullptr;
    spin_unlock(&os->lock);
}
struct dentry *ovl_alias_get(struct ovl_inode *oi)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    spin_lock(&os->lock);
    struct dentry *d = oi->alias;
    if (d && !ref_get_unless_zero(&d->ref))
        d = nullptr;
    spin_unlock(&os->lock);
    return d;
}
struct path ovl_real_path(const struct ovl_inode *oi)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    struct dentry *u = ovl_upper(oi);
    if (u)
        return (struct path){.mnt = os->upper.mnt, .dentry = u};
    return (struct path){.mnt = os->lower[oi->lower[0].layer].mnt, .dentry = oi->lower[0].dentry};
}
void ovl_release(struct inode *i)
{
    struct ovl_inode *oi = oi_of(i);
    struct ovl_super *os = os_of(i->sb);
    spin_lock(&os->lock);
    key_del_locked(os, &oi->by_upper);
    key_del_locked(os, &oi->by_lower);
    spin_unlock(&os->lock);
    drop_refs(oi->upper, oi->lower, oi->nlower);
    if (oi->lower != &oi->one)
        mem_free(oi->lower);
    slab_free(&ovl_inode_slab, oi);
}

// --- attributes ---
int ovl_getattr(struct inode *i, struct kstat *st)
{
    struct ovl_inode *oi = oi_of(i);
    struct inode *real = ovl_real(oi)->inode;
    int err = inode_getattr(real, st);
    if (err)
        return err;
    st->ino = i->ino;
    st->dev = i->sb->dev;
    if (S_ISDIR(i->mode))
        st->nlink = i->dead ? 0 : oi->nlower ? 1 : st->nlink;
    else if (oi->own_nlink)
        st->nlink = READ_SHARED(i->nlink);
    if (READ_SHARED(i->size) != st->size)
        WRITE_SHARED(i->size, st->size); // a lower file may have changed on the host
    return 0;
}
static int real_setattr(struct inode *real, const struct iattr *a)
{
    struct iattr copy = *a;
    mutex_lock(&real->lock);
    int err = 0;
    inode_change_begin(real);
    if (real->ops->setattr)
        err = real->ops->setattr(real, &copy);
    else if (a->valid & IATTR_SIZE)
        err = -EPERM;
    else
        inode_setattr_fields(real, a);
    inode_change_end(real);
    mutex_unlock(&real->lock);
    return err;
}
int ovl_setattr(struct inode *i, const struct iattr *a)
{
    struct ovl_inode *oi = oi_of(i);
    int err = ovl_copy_up(oi, a->valid & IATTR_SIZE ? a->size : OVL_ALL);
    if (err)
        return err;
    err = real_setattr(ovl_upper(oi)->inode, a);
    ovl_mirror(oi);
    return err;
}

// --- extended attributes ---
long ovl_getxattr(struct inode *i, const char *name, void *buf, size_t n)
{
    struct inode *r = ovl_real(oi_of(i))->inode;
    if (ovl_xattr_private(name) || !r->ops->getxattr)
        return -EOPNOTSUPP;
    return r->ops->getxattr(r, name, buf, n);
}
long ovl_listxattr(struct inode *i, char *buf, size_t n)
{
    struct inode *r = ovl_real(oi_of(i))->inode;
    if (!r->ops->listxattr)
        return 0;
    long len = r->ops->listxattr(r, buf, n);
    if (len <= 0)
        return len;
    char *tmp = n ? buf : mem_alloc((size_t)len);
    long used = 0;
    if (!tmp)
        return -ENOMEM;
    if (!n)
        len = r->ops->listxattr(r, tmp, (size_t)len);
    for (long at = 0; at < len;) {
        size_t l = strnlen(tmp + at, (size_t)(len - at));
        if (at + (long)l >= len)
            break;
        if (!ovl_xattr_private(tmp + at)) {
            memmove(tmp + used, tmp + at, l + 1);
            used += (long)l + 1;
        }
        at += (long)l + 1;
    }
    if (!n)
        mem_free(tmp);
    return len < 0 ? len : used;
}
static int xattr_change(struct inode *i, const char *name, const void *buf, size_t n, int flags,
                        bool remove)
{
    struct ovl_inode *oi = oi_of(i);
    if (ovl_xattr_private(name))
        return -EOPNOTSUPP;
    if (remove) { // not worth a copy when there is nothing to remove
        long has = ovl_getxattr(i, name, nullptr, 0);
        if (has < 0)
            return (int)has;
    }
    int err = ovl_copy_up(oi, OVL_ALL);
    if (err)
        return err;
    struct inode *r = ovl_upper(oi)->inode;
    mutex_lock(&r->lock);
    if (remove)
        err = r->ops->removexattr ? r->ops->removexattr(r, name) : -EOPNOTSUPP;
    else
        err = r->ops->setxattr ? r->ops->setxattr(r, name, buf, n, flags) : -EOPNOTSUPP;
    mutex_unlock(&r->lock);
    ovl_mirror(oi);
    return err;
}
int ovl_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags)
{
    return xattr_change(i, name, buf, n, flags, false);
}
int ovl_removexattr(struct inode *i, const char *name)
{
    return xattr_change(i, name, nullptr, 0, 0, true);
}
static int ovl_readlink(struct inode *i, struct strbuf *out)
{
    struct inode *r = ovl_real(oi_of(i))->inode;
    return r->ops->readlink ? r->ops->readlink(r, out) : -EINVAL;
}

const struct file_ops ovl_special_fops = {}; // the VFS opens devices and FIFOs itself
const struct inode_ops ovl_file_iops = {
    .getattr = ovl_getattr,
    .setattr = ovl_setattr,
    .getxattr = ovl_getxattr,
    .setxattr = ovl_setxattr,
    .listxattr = ovl_listxattr,
    .removexattr = ovl_removexattr,
    .release = ovl_release,
};
const struct inode_ops ovl_link_iops = {
    .readlink = ovl_readlink,
    .getattr = ovl_getattr,
    .setattr = ovl_setattr,
    .getxattr = ovl_getxattr,
    .setxattr = ovl_setxattr,
    .listxattr = ovl_listxattr,
    .removexattr = ovl_removexattr,
    .release = ovl_release,
};
