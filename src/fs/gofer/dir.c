// SPDX-License-Identifier: Apache-2.0
// Directories of the 9P client: lookup, creation, removal, rename. Reading is readdir.c's.
#include "fs/gofer/gfs.h"
#include "base/slab.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>

// --- names ---
static struct span dname(const struct dentry *d)
{
    return span_of(d->name, d->namelen);
}
static int dir_enter(struct inode *dir, uint32_t *fid)
{
    return gs_of(dir->sb)->readonly ? -EROFS : gfs_fid_get(gi_of(dir), fid);
}
// The directory has changed by our doing: times and size are asked for when somebody looks.
static void dir_changed(struct inode *dir, int dnlink)
{
    struct ktimespec now = vfs_now();
    ktimespec_store(&dir->mtime, now);
    ktimespec_store(&dir->ctime, now);
    gfs_nlink_add(gi_of(dir), dnlink);
    WRITE_SHARED(gi_of(dir)->stale, true);
    gfs_listing_changed(gi_of(dir));
}

// What a link says, told with its attributes: as gofer_readlink() would have asked for.
static char *link_text(struct strbuf *b)
{
    bool ok = b->len && b->len <= 4095 && !b->bad && strlen(b->p) == b->len;
    char *t = ok ? mem_strdup(b->p) : nullptr;
    strbuf_free(b);
    return t;
}
static void link_text_set(struct gofer_inode *gi, char *t)
{
    char *none = nullptr;
    if (t && (!S_ISLNK(gi->vfs.mode) || !__atomic_compare_exchange_n(&gi->target, &none, t, false,
                                                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)))
        mem_free(t);
}
struct looked { // besides the attributes
    uint32_t fid;  // of a directory; NP_NOFID
    char *text;    // of a link
};
// Asks the server. 0 without *found: there is no such name.
static int look(struct gofer_inode *di, struct dentry *d, struct c9_node *n, struct looked *l, bool *found)
{
    struct gofer_client *c = gc_of(di);
    struct strbuf text = {};
    uint32_t fid;
    *found = false;
    if (gfs_names_absent(di, d->name, d->namelen))
        return 0;
    int err = gfs_fid_get(di, &fid);
    if (err)
        return err == -ESTALE ? -ENOENT : err;
    l->fid = c9_fid_new(c);
    err = c9_lookup(c, fid, &l->fid, dname(d), found, n, &text);
    gfs_fid_put(di);
    l->text = link_text(&text);
    if (!err && !*found)
        gfs_names_miss(di);
    return err;
}
static int gofer_lookup(struct inode *dir, struct dentry *d)
{
    struct gofer_inode *di = gi_of(dir), *gi;
    struct gofer_client *c = gc_of(di);
    struct looked l = {.fid = NP_NOFID};
    struct c9_node n;
    if (d->namelen > NP_NAME_MAX)
        return -ENAMETOOLONG;
    struct gfs_listing *below;
    enum gfs_told told = gfs_listing_take(di, dname(d), &n, &below);
    if (told == GFS_ABSENT)
        return 0;
    bool found = true;
    int err = told == GFS_UNTOLD ? look(di, d, &n, &l, &found) : 0;
    if (err || !found)
        return err;
    err = gfs_inode(dir->sb, &n, di, dname(d), false, &gi);
    if (told == GFS_UNTOLD && di->asked < 255)
        gfs_dir_look(di, ++di->asked);
    if (err) {
        c9_clunk(c, l.fid);
        mem_free(l.text);
        gfs_listing_disown(c, below);
        return err;
    }
    gfs_alias_found(gi, di, dname(d));
    if (l.fid != NP_NOFID)
        gfs_fid_offer(gi, l.fid);
    link_text_set(gi, l.text);
    if (below)
        gfs_listing_set(gi, below, false);
    dentry_instantiate(d, &gi->vfs);
    return 0;
}

static void new_ids(const struct inode *dir, const struct cred *cr, struct c9_new *n)
{
    n->uid = cr->fsuid;
    n->gid = dir->mode & S_ISGID ? dir->gid : cr->fsgid;
}
static int instantiate(struct inode *dir, struct dentry *d, const struct c9_node *n,
                       struct gofer_inode **out)
{
    struct gofer_inode *gi;
    int err = gfs_inode(dir->sb, n, gi_of(dir), dname(d), true, &gi);
    if (err)
        return err;
    *out = gi;
    gfs_names_add(gi_of(dir), d->name, d->namelen);
    dentry_instantiate(d, &gi->vfs);
    dir_changed(dir, S_ISDIR(n->attr.mode) ? 1 : 0);
    return 0;
}
static int gofer_create(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *cr)
{
    struct gofer_inode *gi;
    struct c9_new what = {.name = dname(d), .mode = mode};
    struct gofer_client *c = gc_of(gi_of(dir));
    struct c9_node n;
    uint32_t fid, newfid = NP_NOFID;
    int fd;
    new_ids(dir, cr, &what);
    int err = dir_enter(dir, &fid);
    if (err)
        return err;
    gfs_listing_forget(gi_of(dir), dname(d));
    if (!c->ext)
        newfid = c9_fid_new(c);
    err = c9_create(c, fid, newfid, &what, O_RDWR, &n, &fd);
    gfs_fid_put(gi_of(dir));
    if (err)
        return err;
    c9_clunk(c, newfid);
    err = instantiate(dir, d, &n, &gi);
    if (fd >= 0 && !err)
        gfs_fds_add(gi, fd);
    else if (fd >= 0)
        c9_close_fd(fd);
    return err;
}
static int make(struct inode *dir, struct dentry *d, struct c9_new *what, const struct cred *cr)
{
    struct gofer_inode *gi;
    struct c9_node n;
    uint32_t fid;
    new_ids(dir, cr, what);
    what->name = dname(d);
    int err = dir_enter(dir, &fid);
    if (err)
        return err;
    gfs_listing_forget(gi_of(dir), dname(d));
    err = c9_make(gc_of(gi_of(dir)), fid, what, &n);
    gfs_fid_put(gi_of(dir));
    if (!err && ((n.attr.mode ^ what->mode) & S_IFMT))
        err = -EIO;
    return err ? err : instantiate(dir, d, &n, &gi);
}
static int gofer_mkdir(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *cr)
{
    struct c9_new n = {.mode = S_IFDIR | (mode & 07777)};
    return make(dir, d, &n, cr);
}
static int gofer_mknod(struct inode *dir, struct dentry *d, uint32_t mode, uint64_t rdev,
                       const struct cred *cr)
{
    struct c9_new n = {.mode = mode, .rdev = rdev};
    return make(dir, d, &n, cr);
}
static int gofer_symlink(struct inode *dir, struct dentry *d, const char *target,
                         const struct cred *cr)
{
    struct c9_new n = {.mode = S_IFLNK | 0777, .target = np_cstr(target)};
    return make(dir, d, &n, cr);
}

static int gofer_link(struct inode *target, struct inode *dir, struct dentry *d)
{
    struct gofer_inode *gi = gi_of(target), *di = gi_of(dir);
    uint32_t dfid, fid;
    int err = dir_enter(dir, &dfid);
    if (err)
        return err;
    gfs_listing_forget(di, dname(d));
    for (int tries = 0; tries < 2; tries++) {
        err = gfs_fid_get(gi, &fid);
        if (err)
            break;
        err = c9_link(gc_of(di), dfid, fid, dname(d));
        gfs_fid_put(gi);
        if (err != -ESTALE)
            break;
        gfs_fid_forget(gi);
    }
    gfs_fid_put(di);
    if (err)
        return err;
    mutex_lock(&target->lock);
    gfs_nlink_add(gi, 1);
    ktimespec_store(&target->ctime, vfs_now());
    mutex_unlock(&target->lock);
    WRITE_SHARED(gi->stale, true);
    gfs_names_add(di, d->name, d->namelen);
    dir_changed(dir, 0);
    dentry_instantiate(d, inode_get(target));
    return 0;
}

// Before a name goes away: a file that somebody still uses must stay reachable, by its fid.
static bool keep_reachable(struct inode *i)
{
    uint32_t fid;
    if (ref_count(&i->ref) <= 1)
        return false;
    return gfs_fid_get(gi_of(i), &fid) == 0;
}
static void name_gone(struct inode *i, struct inode *dir, struct span name, bool fid_held)
{
    struct gofer_inode *gi = gi_of(i);
    gfs_alias_drop(gi, gi_of(dir), name);
    if (fid_held)
        gfs_fid_put(gi);
    bool isdir = S_ISDIR(i->mode);
    if (!isdir)
        mutex_lock(&i->lock);
    uint32_t left = gfs_nlink_add(gi, isdir ? INT32_MIN : -1);
    ktimespec_store(&i->ctime, vfs_now());
    if (!isdir)
        mutex_unlock(&i->lock);
    WRITE_SHARED(gi->stale, left != 0);
    if (left == 0)
        gfs_unhash(gi); // its number may come back for another file
}
static int gofer_remove(struct inode *dir, struct dentry *d, bool isdir)
{
    struct inode *i = d->inode;
    uint32_t fid;
    int err = dir_enter(dir, &fid);
    if (err)
        return err;
    bool held = !isdir && keep_reachable(i);
    gfs_listing_forget(gi_of(dir), dname(d));
    err = c9_unlink(gc_of(gi_of(dir)), fid, dname(d), isdir);
    gfs_fid_put(gi_of(dir));
    if (!err) {
        name_gone(i, dir, dname(d), held);
        dir_changed(dir, isdir ? -1 : 0);
    } else if (held) {
        gfs_fid_put(gi_of(i));
    }
    return err;
}
static int gofer_unlink(struct inode *dir, struct dentry *d)
{
    return gofer_remove(dir, d, false);
}
static int gofer_rmdir(struct inode *dir, struct dentry *d)
{
    return gofer_remove(dir, d, true);
}

static void moved(struct inode *i, struct inode *to, struct span name)
{
    gfs_alias_set(gi_of(i), gi_of(to), name);
    if (!S_ISDIR(i->mode))
        gfs_fid_forget(gi_of(i)); // the server would open it by its old name
    ktimespec_store(&i->ctime, vfs_now());
    WRITE_SHARED(gi_of(i)->stale, true);
}
static int gofer_rename(struct inode *odir, struct dentry *od, struct inode *ndir, struct dentry *nd,
                        unsigned flags)
{
    struct gofer_inode *oi = gi_of(odir), *ni = gi_of(ndir);
    struct inode *replaced = flags & RENAME_EXCHANGE ? nullptr : nd->inode;
    bool exchange = flags & RENAME_EXCHANGE, isdir = S_ISDIR(od->inode->mode);
    uint32_t ofid, nfid;
    int err = dir_enter(odir, &ofid);
    if (err)
        return err;
    err = dir_enter(ndir, &nfid);
    if (err) {
        gfs_fid_put(oi);
        return err;
    }
    bool held = replaced && !S_ISDIR(replaced->mode) && keep_reachable(replaced);
    gfs_listing_forget(oi, dname(od));
    gfs_listing_forget(ni, dname(nd));
    err = c9_rename(gc_of(oi), ofid, dname(od), nfid, dname(nd), flags);
    gfs_fid_put(oi);
    gfs_fid_put(ni);
    if (err) {
        if (held)
            gfs_fid_put(gi_of(replaced));
        return err;
    }
    if (replaced)
        name_gone(replaced, ndir, dname(nd), held);
    gfs_names_add(ni, nd->name, nd->namelen);
    moved(od->inode, ndir, dname(nd));
    if (exchange)
        moved(nd->inode, odir, dname(od));
    int ndirs = (isdir ? 1 : 0) - (nd->inode && S_ISDIR(nd->inode->mode) ? 1 : 0);
    dir_changed(odir, odir != ndir ? -(exchange ? ndirs : isdir ? 1 : 0)
                                   : replaced && S_ISDIR(replaced->mode) ? -1 : 0);
    if (odir != ndir)
        dir_changed(ndir, ndirs);
    return 0;
}

static int gofer_readlink(struct inode *i, struct strbuf *out)
{
    struct gofer_inode *gi = gi_of(i);
    char *t = __atomic_load_n(&gi->target, __ATOMIC_ACQUIRE);
    if (!t) { // the text of a link never changes
        struct strbuf b = {};
        uint32_t fid;
        int err = gfs_fid_get(gi, &fid);
        if (err)
            return err;
        err = c9_readlink(gc_of(gi), fid, &b);
        gfs_fid_put(gi);
        if (!err && (!b.len || b.len > 4095 || strlen(b.p) != b.len))
            err = -EIO;
        if (err) {
            strbuf_free(&b);
            return err;
        }
        t = mem_strdup(b.p);
        strbuf_free(&b);
        if (!t)
            return -ENOMEM;
        char *none = nullptr;
        if (!__atomic_compare_exchange_n(&gi->target, &none, t, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE)) {
            mem_free(t);
            t = none;
        }
    }
    strbuf_str(out, t);
    return out->bad ? -ENOMEM : 0;
}

const struct inode_ops gofer_link_iops = {
    .readlink = gofer_readlink,
    .getattr = gfs_getattr,
    .setattr = gfs_setattr,
    .listxattr = gfs_listxattr,
    .release = gfs_release,
};
const struct inode_ops gofer_dir_iops = {
    .lookup = gofer_lookup,
    .create = gofer_create,
    .mkdir = gofer_mkdir,
    .mknod = gofer_mknod,
    .symlink = gofer_symlink,
    .link = gofer_link,
    .unlink = gofer_unlink,
    .rmdir = gofer_rmdir,
    .rename = gofer_rename,
    .getattr = gfs_getattr,
    .setattr = gfs_setattr,
    .getxattr = gfs_getxattr,
    .setxattr = gfs_setxattr,
    .listxattr = gfs_listxattr,
    .removexattr = gfs_removexattr,
    .release = gfs_release,
};
