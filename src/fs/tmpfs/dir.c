// SPDX-License-Identifier: Apache-2.0
// tmpfs directories: entries by name in a hash table, in order of their cookies in a list. All under
// the directory inode's lock, which the VFS holds around the inode operations.
#include "abi/errno.h"
#include "fs/tmpfs/internal.h"
#include <dirent.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

constexpr uint64_t DIRENT_SIZE = 20; // what an entry adds to a directory's size, as Linux has it
SLAB_DEFINE(dirent_slab, struct tmpfs_dirent);

static struct tmpfs_dirent *entry_find(struct tmpfs_inode *dir, const char *name, size_t n)
{
    struct hnode *h = htab_chain(&dir->names, hash_bytes(name, n));
    for (; h; h = htab_chain_next(h)) {
        struct tmpfs_dirent *e = container_of(h, struct tmpfs_dirent, hnode);
        if (e->namelen == n && !memcmp(e->name, name, n))
            return e;
    }
    return nullptr;
}
static struct tmpfs_dirent *entry_alloc(const char *name, size_t n)
{
    struct tmpfs_dirent *e = slab_alloc(&dirent_slab);
    if (e && !(e->name = mem_strndup(name, n))) {
        slab_free(&dirent_slab, e);
        return nullptr;
    }
    if (e)
        e->namelen = (uint16_t)n;
    return e;
}
static void entry_free(struct tmpfs_dirent *e)
{
    mem_free(e->name);
    slab_free(&dirent_slab, e);
}
// Takes over the reference to t.
static int entry_add(struct tmpfs_inode *dir, struct tmpfs_dirent *e, struct tmpfs_inode *t)
{
    int err = htab_insert(&dir->names, &e->hnode, hash_bytes(e->name, e->namelen));
    if (err)
        return err;
    e->inode = t;
    e->cookie = dir->next_cookie++;
    list_push_back(&dir->entries, &e->link);
    WRITE_SHARED(dir->inode.size, dir->inode.size + DIRENT_SIZE);
    return 0;
}
static void entry_del(struct tmpfs_inode *dir, struct tmpfs_dirent *e)
{
    htab_remove(&dir->names, &e->hnode);
    list_del(&e->link);
    WRITE_SHARED(dir->inode.size, dir->inode.size - DIRENT_SIZE);
}
static void dir_changed(struct inode *dir)
{
    inode_touch(dir, IATTR_MTIME | IATTR_CTIME);
}

// Deep trees are taken apart with a list of work instead of recursion: a guest chooses the depth.
void tmpfs_dir_free(struct tmpfs_inode *t)
{
    struct list work;
    list_init(&work);
    for (;;) {
        while (!list_empty(&t->entries)) {
            struct list *n = t->entries.next;
            list_del(n);
            list_push_back(&work, n);
        }
        htab_free(&t->names);
        t->names = (struct htab){};
        struct tmpfs_dirent *e = list_first(&work, struct tmpfs_dirent, link);
        if (!e)
            return;
        list_del(&e->link);
        struct tmpfs_inode *child = e->inode;
        entry_free(e);
        if (S_ISDIR(child->inode.mode) && ref_count(&child->inode.ref) == 1) {
            while (!list_empty(&child->entries)) {
                struct list *n = child->entries.next;
                list_del(n);
                list_push_back(&work, n);
            }
        }
        inode_put(&child->inode);
    }
}

static int dir_lookup(struct inode *dir, struct dentry *d)
{
    struct tmpfs_dirent *e = entry_find(tmpfs_i(dir), d->name, d->namelen);
    if (e)
        dentry_instantiate(d, inode_get(&e->inode->inode));
    return 0;
}

// A new inode under d's name. `target` for symbolic links.
static int dir_add_new(struct inode *dir, struct dentry *d, uint32_t mode, uint64_t rdev,
                       const char *target, const struct cred *c)
{
    struct tmpfs_dirent *e = entry_alloc(d->name, d->namelen);
    if (!e)
        return -ENOMEM;
    struct tmpfs_inode *t = tmpfs_inode_new(dir->sb, dir, mode, c);
    int err = t ? 0 : -ENOSPC;
    if (t) {
        t->inode.rdev = rdev;
        if (target && !(t->target = mem_strdup(target)))
            err = -ENOMEM;
        if (target)
            t->inode.size = strlen(target);
    }
    if (!err)
        err = entry_add(tmpfs_i(dir), e, t);
    if (err) {
        entry_free(e);
        if (t)
            inode_put(&t->inode);
        return err;
    }
    if (S_ISDIR(mode))
        WRITE_SHARED(dir->nlink, dir->nlink + 1);
    dir_changed(dir);
    dentry_instantiate(d, inode_get(&t->inode));
    return 0;
}
static int dir_create(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *c)
{
    return dir_add_new(dir, d, S_IFREG | (mode & 07777), 0, nullptr, c);
}
static int dir_mkdir(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *c)
{
    return dir_add_new(dir, d, S_IFDIR | (mode & 07777), 0, nullptr, c);
}
static int dir_mknod(struct inode *dir, struct dentry *d, uint32_t mode, uint64_t rdev, const struct cred *c)
{
    return dir_add_new(dir, d, mode, rdev, nullptr, c);
}
static int dir_symlink(struct inode *dir, struct dentry *d, const char *target, const struct cred *c)
{
    return dir_add_new(dir, d, S_IFLNK | 0777, 0, target, c);
}
static int dir_tmpfile(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *c)
{
    struct tmpfs_inode *t = tmpfs_inode_new(dir->sb, dir, S_IFREG | (mode & 07777), c);
    if (!t)
        return -ENOSPC;
    t->inode.nlink = 0;
    dentry_instantiate(d, &t->inode);
    return 0;
}

static void inode_link_change(struct inode *i, int by)
{
    mutex_lock(&i->lock);
    WRITE_SHARED(i->nlink, (uint32_t)((int)i->nlink + by));
    inode_touch(i, IATTR_CTIME);
    mutex_unlock(&i->lock);
}
static int dir_link(struct inode *target, struct inode *dir, struct dentry *d)
{
    struct tmpfs_dirent *e = entry_alloc(d->name, d->namelen);
    if (!e)
        return -ENOMEM;
    int err = entry_add(tmpfs_i(dir), e, tmpfs_i(target));
    if (err) {
        entry_free(e);
        return err;
    }
    inode_get(target);
    inode_link_change(target, 1);
    dir_changed(dir);
    dentry_instantiate(d, inode_get(target));
    return 0;
}
static int dir_unlink(struct inode *dir, struct dentry *d)
{
    struct tmpfs_dirent *e = entry_find(tmpfs_i(dir), d->name, d->namelen);
    if (!e)
        return -ENOENT;
    struct inode *i = &e->inode->inode;
    entry_del(tmpfs_i(dir), e);
    entry_free(e);
    inode_link_change(i, -1);
    dir_changed(dir);
    inode_put(i);
    return 0;
}
static int dir_rmdir(struct inode *dir, struct dentry *d) // d's directory is locked by the VFS
{
    struct tmpfs_dirent *e = entry_find(tmpfs_i(dir), d->name, d->namelen);
    if (!e)
        return -ENOENT;
    if (!list_empty(&e->inode->entries))
        return -ENOTEMPTY;
    struct inode *i = &e->inode->inode;
    entry_del(tmpfs_i(dir), e);
    entry_free(e);
    WRITE_SHARED(i->nlink, 0);
    WRITE_SHARED(dir->nlink, dir->nlink - 1);
    dir_changed(dir);
    inode_put(i);
    return 0;
}

static void rename_exchange(struct inode *odir, struct tmpfs_dirent *o, struct inode *ndir,
                            struct tmpfs_dirent *n)
{
    struct tmpfs_inode *t = o->inode;
    int od = S_ISDIR(t->inode.mode), nd = S_ISDIR(n->inode->inode.mode);
    o->inode = n->inode;
    n->inode = t;
    if (odir != ndir) {
        WRITE_SHARED(odir->nlink, (uint32_t)((int)odir->nlink + nd - od));
        WRITE_SHARED(ndir->nlink, (uint32_t)((int)ndir->nlink + od - nd));
    }
}
// The entry that the moved name takes the place of: its inode loses a link.
static void rename_replaced(struct inode *ndir, struct tmpfs_dirent *n)
{
    struct inode *victim = &n->inode->inode;
    if (S_ISDIR(victim->mode)) {
        WRITE_SHARED(victim->nlink, 0); // locked by the VFS
        WRITE_SHARED(ndir->nlink, ndir->nlink - 1);
    } else {
        inode_link_change(victim, -1);
    }
    entry_del(tmpfs_i(ndir), n);
    entry_free(n);
    inode_put(victim);
}
static int dir_rename(struct inode *odir, struct dentry *od, struct inode *ndir, struct dentry *nd,
                      unsigned flags)
{
    struct tmpfs_dirent *o = entry_find(tmpfs_i(odir), od->name, od->namelen);
    struct tmpfs_dirent *n = entry_find(tmpfs_i(ndir), nd->name, nd->namelen);
    if (!o)
        return -ENOENT;
    if (flags & RENAME_EXCHANGE) {
        if (!n)
            return -ENOENT;
        rename_exchange(odir, o, ndir, n);
        dir_changed(odir);
        dir_changed(ndir);
        return 0;
    }
    struct tmpfs_inode *t = o->inode;
    bool is_dir = S_ISDIR(t->inode.mode);
    if (n && S_ISDIR(n->inode->inode.mode) && !list_empty(&n->inode->entries))
        return -ENOTEMPTY;
    struct tmpfs_dirent *e = entry_alloc(nd->name, nd->namelen);
    if (!e)
        return -ENOMEM;
    int err = entry_add(tmpfs_i(ndir), e, t); // beside n for a moment; the lock hides it
    if (err) {
        entry_free(e);
        return err;
    }
    if (n)
        rename_replaced(ndir, n);
    entry_del(tmpfs_i(odir), o);
    entry_free(o);
    if (is_dir && odir != ndir) {
        WRITE_SHARED(odir->nlink, odir->nlink - 1);
        WRITE_SHARED(ndir->nlink, ndir->nlink + 1);
    }
    dir_changed(odir);
    dir_changed(ndir);
    if (!is_dir)
        inode_link_change(&t->inode, 0);
    return 0;
}

static int dir_readdir(struct file *f, struct dir_context *dc)
{
    struct tmpfs_inode *dir = tmpfs_i(f->inode);
    if (!dir_emit_dots(f, dc))
        return 0;
    mutex_lock(&dir->inode.lock);
    // Positions past the middle are looked for from the end: most reads go on where one stopped.
    struct list *at = dir->entries.next;
    if ((uint64_t)dc->pos > dir->next_cookie / 2) {
        struct list *back = dir->entries.prev;
        while (back != &dir->entries && list_entry(back, struct tmpfs_dirent, link)->cookie >= (uint64_t)dc->pos)
            back = back->prev;
        at = back->next;
    }
    for (; at != &dir->entries; at = at->next) {
        struct tmpfs_dirent *e = list_entry(at, struct tmpfs_dirent, link);
        if (e->cookie < (uint64_t)dc->pos)
            continue;
        struct inode *i = &e->inode->inode;
        int64_t next = (int64_t)e->cookie + 1;
        if (!dc->emit(dc, e->name, e->namelen, i->ino, (uint8_t)IFTODT(i->mode), next))
            break;
        dc->pos = next;
    }
    mutex_unlock(&dir->inode.lock);
    return 0;
}
static int64_t dir_llseek(struct file *f, int64_t off, int whence)
{
    if (whence == SEEK_CUR)
        off += f->pos;
    else if (whence == SEEK_END)
        off += INT64_MAX / 2;
    else if (whence != SEEK_SET)
        return -EINVAL;
    return off < 0 ? -EINVAL : (f->pos = off);
}
static int dir_fsync(struct file *f, bool datasync)
{
    return 0;
}
static int dir_setattr(struct inode *i, const struct iattr *a)
{
    inode_setattr_fields(i, a);
    return 0;
}
static int link_readlink(struct inode *i, struct strbuf *out)
{
    strbuf_str(out, tmpfs_i(i)->target);
    return 0;
}

#define XATTR_OPS                                                                   \
    .getxattr = tmpfs_getxattr, .setxattr = tmpfs_setxattr, .listxattr = tmpfs_listxattr, \
    .removexattr = tmpfs_removexattr
const struct inode_ops tmpfs_dir_iops = {
    .lookup = dir_lookup,
    .create = dir_create,
    .mkdir = dir_mkdir,
    .mknod = dir_mknod,
    .symlink = dir_symlink,
    .tmpfile = dir_tmpfile,
    .link = dir_link,
    .unlink = dir_unlink,
    .rmdir = dir_rmdir,
    .rename = dir_rename,
    .setattr = dir_setattr,
    XATTR_OPS,
    .release = tmpfs_release,
};
const struct inode_ops tmpfs_link_iops = {
    .readlink = link_readlink, .setattr = dir_setattr, XATTR_OPS, .release = tmpfs_release};
const struct inode_ops tmpfs_node_iops = {
    .setattr = dir_setattr, XATTR_OPS, .release = tmpfs_release};
const struct file_ops tmpfs_dir_fops = {
    .readdir = dir_readdir, .llseek = dir_llseek, .fsync = dir_fsync};
