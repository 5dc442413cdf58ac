// SPDX-License-Identifier: Apache-2.0
// Directories of the overlay: look-up through the layers; making, linking, removing and renaming in
// the upper layer, with whiteouts where a lower entry must not shine through. The VFS holds the
// locks of the overlay's directories, which keeps these steps apart from each other; the upper
// directory's lock is taken for each step besides.
#include "fs/overlay/ovl.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>

// --- look-up ---
struct found {
    struct dentry *upper; // ref
    struct ovl_lower lower[OVL_MAX_LOWERS]; // refs
    size_t n;
    bool stop;            // nothing further down counts
};
static void found_drop(struct found *f)
{
    dentry_put(f->upper);
    for (size_t i = 0; i < f->n; i++)
        dentry_put(f->lower[i].dentry);
}
// Takes the reference to d, which is what a lower layer has.
static void found_lower(const struct ovl_super *os, struct found *f, struct dentry *d, size_t layer)
{
    bool dir = d->inode && S_ISDIR(d->inode->mode);
    if (!d->inode) {
        dentry_put(d);
        return;
    }
    if (ovl_is_whiteout(d) || (!dir && (f->upper || f->n))) {
        f->stop = true; // a whiteout, or a file below a directory
        dentry_put(d);
        return;
    }
    f->lower[f->n++] = (struct ovl_lower){d, layer};
    f->stop = !dir || (layer + 1 < os->nlower && ovl_is_opaque(os, d));
}
// What the path names in a layer, without following anything. *out may be negative, or null.
static int walk_layer(struct dentry *root, const char *path, struct dentry **out)
{
    struct dentry *d = dentry_get(root);
    int err = 0;
    while (!err && d->inode) {
        while (*path == '/')
            path++;
        size_t n = strcspn(path, "/");
        if (!n)
            break;
        struct dentry *next;
        if (!S_ISDIR(d->inode->mode)) {
            dentry_put(d);
            *out = nullptr;
            return 0;
        }
        err = vfs_lookup_child(d, path, n, &next);
        if (!err) {
            dentry_put(d);
            d = next;
        }
        path += n;
    }
    if (err) {
        dentry_put(d);
        return err;
    }
    *out = d;
    return 0;
}
// "0,2:/usr/lib": the layers that the directory's lower parts are in, and where there.
static int lookup_redirect(const struct ovl_super *os, struct found *f, const char *v)
{
    const char *path = strchr(v, ':');
    if (!path || path[1] != '/')
        return -EIO;
    for (path++; *v != ':' && !f->stop;) {
        size_t layer = 0;
        while (*v >= '0' && *v <= '9' && layer < OVL_MAX_LOWERS)
            layer = layer * 10 + (size_t)(*v++ - '0');
        if ((*v != ',' && *v != ':') || layer >= os->nlower || f->n >= os->nlower)
            return -EIO;
        if (*v == ',')
            v++;
        struct dentry *d;
        int err = walk_layer(os->lower[layer].root, path, &d);
        if (err)
            return err;
        if (d)
            found_lower(os, f, d, layer);
    }
    return 0;
}
static int lookup_upper(const struct ovl_super *os, struct dentry *updir, const struct dentry *d,
                        struct found *f, bool *redirected)
{
    struct dentry *u;
    int err = vfs_lookup_child(updir, d->name, d->namelen, &u);
    if (err)
        return err;
    if (!u->inode || ovl_is_whiteout(u)) {
        f->stop = u->inode;
        dentry_put(u);
        return 0;
    }
    f->upper = u;
    if (!S_ISDIR(u->inode->mode) || ovl_is_opaque(os, u)) {
        f->stop = true;
        return 0;
    }
    char *v = mem_alloc(4096 + 512);
    if (!v)
        return -ENOMEM;
    long n = ovl_meta_get(os, u, "redirect", v, 4096 + 512);
    if (n > 0) {
        *redirected = true;
        err = lookup_redirect(os, f, v);
    }
    mem_free(v);
    return err;
}
int ovl_lookup(struct inode *dir, struct dentry *d)
{
    struct ovl_inode *pd = oi_of(dir), *oi;
    struct ovl_super *os = os_of(dir->sb);
    struct dentry *updir = ovl_upper(pd);
    struct found *f = mem_alloc(sizeof(*f));
    bool redirected = false;
    if (!f)
        return -ENOMEM;
    int err = updir ? lookup_upper(os, updir, d, f, &redirected) : 0;
    for (size_t k = 0; !err && !f->stop && !redirected && k < pd->nlower; k++) {
        struct dentry *l;
        err = vfs_lookup_child(pd->lower[k].dentry, d->name, d->namelen, &l);
        if (!err)
            found_lower(os, f, l, pd->lower[k].layer);
    }
    if (err) {
        found_drop(f);
    } else if (f->upper || f->n) {
        err = ovl_inode_new(dir->sb, f->upper, f->lower, f->n, &oi);
        if (!err)
            ovl_instantiate(d, oi);
    }
    mem_free(f);
    return err;
}
int ovl_lower_has(struct ovl_inode *dir, const char *name, size_t n)
{
    for (size_t k = 0; k < dir->nlower; k++) {
        struct dentry *l;
        int err = vfs_lookup_child(dir->lower[k].dentry, name, n, &l);
        if (err)
            return err;
        bool there = l->inode, white = there && ovl_is_whiteout(l);
        dentry_put(l);
        if (there)
            return !white;
    }
    return 0;
}

// --- steps in an upper directory, whose lock the caller holds ---
static int make_whiteout(struct ovl_super *os, struct dentry *updir, const char *name, size_t n)
{
    struct inode *di = updir->inode;
    struct dentry *w;
    int err = dentry_lookup_locked(updir, name, n, &w);
    if (err)
        return err;
    if (w->inode)
        err = -EEXIST;
    else
        err = di->ops->mknod ? di->ops->mknod(di, w, S_IFCHR | 0, 0, os->cred) : -EPERM;
    if (!err)
        dentry_rehash(w);
    dentry_put(w);
    return err;
}
// A negative dentry for name: a whiteout that is there goes.
static int spot_begin(struct dentry *updir, const char *name, size_t n, struct dentry **out,
                      bool *was_white)
{
    struct inode *di = updir->inode;
    *was_white = false;
    for (;;) {
        int err = dentry_lookup_locked(updir, name, n, out);
        if (err || !(*out)->inode)
            return err;
        if (!ovl_is_whiteout(*out) || *was_white)
            err = -EEXIST;
        else
            err = di->ops->unlink(di, *out);
        if (!err)
            dentry_unhash(*out);
        dentry_put(*out);
        if (err)
            return err;
        *was_white = true;
    }
}
static void dir_changed(struct inode *dir)
{
    struct ovl_inode *oi = oi_of(dir);
    __atomic_add_fetch(&oi->version, 1, __ATOMIC_RELEASE);
    ovl_mirror(oi);
}

struct making {
    uint32_t mode;
    uint64_t rdev;
    const char *target;
    struct inode *link;
};
static int make_upper(struct inode *di, struct dentry *ud, const struct making *m,
                      const struct cred *c)
{
    const struct inode_ops *ops = di->ops;
    if (m->link)
        return ops->link ? ops->link(m->link, di, ud) : -EPERM;
    switch (m->mode & S_IFMT) {
    case S_IFREG:
        return ops->create ? ops->create(di, ud, m->mode, c) : -EACCES;
    case S_IFDIR:
        return ops->mkdir ? ops->mkdir(di, ud, m->mode, c) : -EPERM;
    case S_IFLNK:
        return ops->symlink ? ops->symlink(di, ud, m->target, c) : -EPERM;
    default:
        return ops->mknod ? ops->mknod(di, ud, m->mode, m->rdev, c) : -EPERM;
    }
}
static int make(struct inode *dir, struct dentry *d, const struct making *m, const struct cred *c)
{
    struct ovl_inode *pd = oi_of(dir), *oi;
    struct ovl_super *os = os_of(dir->sb);
    struct dentry *ud;
    bool was_white;
    int err = ovl_copy_up(pd, OVL_ALL);
    if (err)
        return err;
    struct dentry *updir = ovl_upper(pd);
    struct inode *di = updir->inode;
    mutex_lock(&di->lock);
    err = spot_begin(updir, d->name, d->namelen, &ud, &was_white);
    if (!err) {
        err = make_upper(di, ud, m, c);
        if (!err)
            dentry_rehash(ud);
        else if (was_white)
            (void)!make_whiteout(os, updir, d->name, d->namelen);
        if (err)
            dentry_put(ud);
    }
    mutex_unlock(&di->lock);
    if (err)
        return err;
    if (was_white && S_ISDIR(m->mode))
        err = ovl_meta_set(os, ud, "opaque", "y"); // else what was removed comes back
    if (m->link) {
        dentry_put(ud);
        dir_changed(dir);
        return 0;
    }
    err = err ? err : ovl_inode_new(dir->sb, dentry_get(ud), nullptr, 0, &oi);
    dentry_put(ud);
    if (!err)
        ovl_instantiate(d, oi);
    dir_changed(dir);
    return err;
}
static int ovl_create(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *c)
{
    struct making m = {.mode = S_IFREG | (mode & 07777)};
    return make(dir, d, &m, c);
}
static int ovl_mkdir(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *c)
{
    struct making m = {.mode = S_IFDIR | (mode & 07777)};
    return make(dir, d, &m, c);
}
static int ovl_mknod(struct inode *dir, struct dentry *d, uint32_t mode, uint64_t rdev,
                     const struct cred *c)
{
    struct making m = {.mode = mode, .rdev = rdev};
    if (S_ISCHR(mode) && rdev == 0)
        return -EPERM; // would be a whiteout
    return make(dir, d, &m, c);
}
static int ovl_symlink(struct inode *dir, struct dentry *d, const char *target, const struct cred *c)
{
    struct making m = {.mode = S_IFLNK | 0777, .target = target};
    return make(dir, d, &m, c);
}
static int ovl_link(struct inode *target, struct inode *dir, struct dentry *d)
{
    struct ovl_inode *oi = oi_of(target);
    int err = ovl_copy_up(oi, OVL_ALL);
    if (err)
        return err;
    struct making m = {.link = ovl_upper(oi)->inode};
    err = make(dir, d, &m, nullptr);
    if (err)
        return err;
    mutex_lock(&target->lock);
    if (oi->own_nlink)
        WRITE_SHARED(target->nlink, target->nlink + 1);
    ovl_mirror(oi);
    mutex_unlock(&target->lock);
    inode_get(target);
    ovl_instantiate(d, oi);
    return 0;
}
static int ovl_tmpfile(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *c)
{
    struct ovl_inode *oi;
    int err = ovl_copy_up(oi_of(dir), OVL_ALL);
    if (err)
        return err;
    struct dentry *updir = ovl_upper(oi_of(dir));
    struct inode *di = updir->inode;
    if (!di->ops->tmpfile)
        return -EOPNOTSUPP;
    struct dentry *ud = dentry_alloc(updir, "#", 1);
    if (!ud)
        return -ENOMEM;
    mutex_lock(&di->lock);
    err = di->ops->tmpfile(di, ud, mode, c);
    mutex_unlock(&di->lock);
    if (err) {
        dentry_put(ud);
        return err;
    }
    err = ovl_inode_new(dir->sb, ud, nullptr, 0, &oi);
    if (!err)
        ovl_instantiate(d, oi);
    return err;
}

// --- removal ---
// Keeps copy-ups away from a file that is losing a name. (The VFS has locked it if a directory.)
static void victim_lock(struct ovl_inode *oi)
{
    if (!S_ISDIR(oi->vfs.mode))
        mutex_lock(&oi->vfs.lock);
    mutex_lock(&oi->copy_lock);
}
static void victim_unlock(struct ovl_inode *oi)
{
    mutex_unlock(&oi->copy_lock);
    if (!S_ISDIR(oi->vfs.mode))
        mutex_unlock(&oi->vfs.lock);
}
// A name of i, which is locked, is gone.
static void name_gone(struct inode *i, struct dentry *d)
{
    struct ovl_inode *oi = oi_of(i);
    ovl_alias_drop(oi, d);
    if (S_ISDIR(i->mode)) {
        WRITE_SHARED(i->nlink, 0);
    } else {
        if (!oi->own_nlink && !ovl_upper(oi)) {
            oi->own_nlink = true;
            WRITE_SHARED(i->nlink, oi->lower[0].dentry->inode->nlink);
            if (i->nlink > 1)
                ovl_pin(oi); // the other names must know
        }
        if (oi->own_nlink && i->nlink > 0)
            WRITE_SHARED(i->nlink, i->nlink - 1);
        ktimespec_store(&i->ctime, vfs_now());
        if (ovl_upper(oi))
            ovl_mirror(oi);
    }
}
// Out of the upper directory (locked), which may not have it.
static int remove_upper(struct dentry *updir, const struct dentry *d, bool isdir)
{
    struct inode *di = updir->inode;
    struct dentry *ud;
    int err = dentry_lookup_locked(updir, d->name, d->namelen, &ud);
    if (err)
        return err;
    if (ud->inode && isdir) {
        struct inode *vi = ud->inode;
        mutex_lock_nested(&vi->lock);
        err = di->ops->rmdir ? di->ops->rmdir(di, ud) : -EPERM;
        if (!err)
            vi->dead = true;
        mutex_unlock(&vi->lock);
    } else if (ud->inode) {
        err = di->ops->unlink ? di->ops->unlink(di, ud) : -EPERM;
    }
    if (ud->inode && !err)
        dentry_unhash(ud);
    dentry_put(ud);
    return err;
}
static int ovl_remove(struct inode *dir, struct dentry *d, bool isdir)
{
    struct ovl_inode *pd = oi_of(dir), *oi = oi_of(d->inode);
    struct ovl_super *os = os_of(dir->sb);
    int err = ovl_copy_up(pd, OVL_ALL);
    if (err)
        return err;
    if (isdir) {
        err = ovl_check_empty(oi, true);
        if (err)
            return err > 0 ? -ENOTEMPTY : err;
    }
    int below = ovl_lower_has(pd, d->name, d->namelen);
    if (below < 0)
        return below;
    struct dentry *updir = ovl_upper(pd);
    victim_lock(oi);
    mutex_lock(&updir->inode->lock);
    err = remove_upper(updir, d, isdir);
    if (!err && below)
        err = make_whiteout(os, updir, d->name, d->namelen);
    mutex_unlock(&updir->inode->lock);
    if (!err)
        name_gone(d->inode, d);
    victim_unlock(oi);
    if (!err && d->inode->nlink == 0)
        ovl_forget(oi);
    dir_changed(dir);
    return err;
}
static int ovl_unlink(struct inode *dir, struct dentry *d)
{
    return ovl_remove(dir, d, false);
}
static int ovl_rmdir(struct inode *dir, struct dentry *d)
{
    return ovl_remove(dir, d, true);
}

// --- rename ---
// A directory that has lower parts carries along where they are.
static int set_redirect(struct ovl_super *os, struct ovl_inode *oi)
{
    struct strbuf b = {};
    for (size_t k = 0; k < oi->nlower; k++)
        strbuf_fmt(&b, "%s%zu", k ? "," : "", oi->lower[k].layer);
    strbuf_char(&b, ':');
    struct path p = {.mnt = os->lower[oi->lower[0].layer].mnt, .dentry = oi->lower[0].dentry};
    int err = path_print(&p, nullptr, &b);
    if (!err)
        err = b.bad ? -ENOMEM : ovl_meta_set(os, ovl_upper(oi), "redirect", b.p);
    strbuf_free(&b);
    // Without a place to note it: as Linux without redirect_dir.
    return err == -EOPNOTSUPP || err == -ENAMETOOLONG ? -EXDEV : err;
}
// Before a directory moves to a name: it must show there what it showed here.
static int prepare_dir(struct ovl_super *os, struct ovl_inode *oi, struct ovl_inode *ndir,
                       const struct dentry *nd)
{
    if (!S_ISDIR(oi->vfs.mode))
        return 0;
    if (oi->nlower)
        return set_redirect(os, oi);
    int below = ovl_lower_has(ndir, nd->name, nd->namelen);
    return below > 0 ? ovl_meta_set(os, ovl_upper(oi), "opaque", "y") : below;
}
struct rename {
    struct ovl_super *os;
    struct inode *odir, *ndir;
    struct dentry *od, *nd;
    bool exchange;
    int below_old; // a lower layer has the old name
};
// Both upper directories are locked.
static int rename_upper(struct rename *r)
{
    struct dentry *uod = ovl_upper(oi_of(r->odir)), *und = ovl_upper(oi_of(r->ndir));
    struct inode *odi = uod->inode, *ndi = und->inode;
    struct dentry *uo, *un;
    bool was_white = false;
    int err = dentry_lookup_locked(uod, r->od->name, r->od->namelen, &uo);
    if (err)
        return err;
    if (!uo->inode || uo->inode != ovl_upper(oi_of(r->od->inode))->inode) {
        dentry_put(uo);
        return -ESTALE;
    }
    err = dentry_lookup_locked(und, r->nd->name, r->nd->namelen, &un);
    if (!err && ovl_is_whiteout(un)) {
        dentry_put(un);
        err = spot_begin(und, r->nd->name, r->nd->namelen, &un, &was_white);
    }
    if (err) {
        dentry_put(uo);
        return err;
    }
    struct inode *victim = un->inode && S_ISDIR(un->inode->mode) && !r->exchange ? un->inode : nullptr;
    if (victim)
        mutex_lock_nested(&victim->lock);
    err = odi->ops->rename ? odi->ops->rename(odi, uo, ndi, un, r->exchange ? RENAME_EXCHANGE : 0)
                           : -EXDEV;
    if (victim) {
        if (!err)
            victim->dead = true;
        mutex_unlock(&victim->lock);
    }
    if (!err)
        dentry_move(uo, un, r->exchange);
    if (!err && !r->exchange && r->below_old)
        err = make_whiteout(r->os, uod, r->od->name, r->od->namelen);
    else if (err && was_white)
        (void)!make_whiteout(r->os, und, r->nd->name, r->nd->namelen);
    dentry_put(uo);
    dentry_put(un);
    return err;
}
static int rename_locked(struct rename *r)
{
    struct inode *a = ovl_upper(oi_of(r->odir))->inode, *b = ovl_upper(oi_of(r->ndir))->inode;
    // The overlay's own locks keep everyone else from holding one and waiting for the other.
    mutex_lock((uintptr_t)a < (uintptr_t)b ? &a->lock : &b->lock);
    if (a != b)
        mutex_lock_nested((uintptr_t)a < (uintptr_t)b ? &b->lock : &a->lock);
    int err = rename_upper(r);
    mutex_unlock(&a->lock);
    if (a != b)
        mutex_unlock(&b->lock);
    return err;
}
static int rename_prepare(struct rename *r)
{
    struct ovl_inode *oi = oi_of(r->od->inode), *ni = r->nd->inode ? oi_of(r->nd->inode) : nullptr;
    struct ovl_inode *op = oi_of(r->odir), *np = oi_of(r->ndir);
    int err = ovl_copy_up(op, OVL_ALL);
    if (!err)
        err = ovl_copy_up(np, OVL_ALL);
    if (!err)
        err = ovl_copy_up(oi, OVL_ALL);
    if (!err && r->exchange)
        err = ovl_copy_up(ni, OVL_ALL);
    if (!err && ni && !r->exchange && S_ISDIR(ni->vfs.mode)) {
        err = ovl_check_empty(ni, true);
        err = err > 0 ? -ENOTEMPTY : err;
    }
    if (!err) {
        r->below_old = ovl_lower_has(op, r->od->name, r->od->namelen);
        err = r->below_old < 0 ? r->below_old : 0;
    }
    if (!err)
        err = prepare_dir(r->os, oi, np, r->nd);
    if (!err && r->exchange)
        err = prepare_dir(r->os, ni, op, r->od);
    return err;
}
static int ovl_rename(struct inode *odir, struct dentry *od, struct inode *ndir, struct dentry *nd,
                      unsigned flags)
{
    struct rename r = {.os = os_of(odir->sb), .odir = odir, .ndir = ndir, .od = od, .nd = nd,
                       .exchange = flags & RENAME_EXCHANGE};
    struct ovl_inode *victim = nd->inode && !r.exchange ? oi_of(nd->inode) : nullptr;
    int err = rename_prepare(&r);
    if (err)
        return err;
    if (victim)
        victim_lock(victim);
    err = rename_locked(&r);
    if (victim) {
        if (!err)
            name_gone(&victim->vfs, nd);
        victim_unlock(victim);
    }
    if (!err && victim && victim->vfs.nlink == 0)
        ovl_forget(victim);
    if (!err)
        ovl_mirror(oi_of(od->inode));
    dir_changed(odir);
    if (ndir != odir)
        dir_changed(ndir);
    return err;
}

const struct inode_ops ovl_dir_iops = {
    .lookup = ovl_lookup,
    .create = ovl_create,
    .mkdir = ovl_mkdir,
    .mknod = ovl_mknod,
    .symlink = ovl_symlink,
    .link = ovl_link,
    .unlink = ovl_unlink,
    .rmdir = ovl_rmdir,
    .rename = ovl_rename,
    .tmpfile = ovl_tmpfile,
    .getattr = ovl_getattr,
    .setattr = ovl_setattr,
    .getxattr = ovl_getxattr,
    .setxattr = ovl_setxattr,
    .listxattr = ovl_listxattr,
    .removexattr = ovl_removexattr,
    .release = ovl_release,
};
