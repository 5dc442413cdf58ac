// SPDX-License-Identifier: Apache-2.0
// Directories of the 9P client: lookup, creation, removal, rename, reading. A directory is read with
// attributes (Treaddirplus) and what that brings is kept for the look-ups that usually follow, so
// that `ls -l` and `find` cost a round trip per some hundred files and not one per file.
#include "fs/gofer/gfs.h"
#include "base/slab.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>

// --- prefetched attributes: one table per directory, the oldest table goes first ---
struct prefetch_entry {
    struct hnode hnode;
    struct c9_node node;
    uint8_t len;
    char name[];
};
struct prefetch {
    struct list lru;          // [n] client->prefetch_lru
    struct gofer_inode *dir;  // [n] weak: frees us
    struct htab entries;      // [n]
    ktime_t stamp;            // [n]
};
SLAB_DEFINE(prefetch_slab, struct prefetch);

static void table_free(struct prefetch *p)
{
    for (size_t i = 0; i < p->entries.n; i++) {
        for (struct hnode *h = p->entries.b[i], *next; h; h = next) {
            next = h->next;
            mem_free(container_of(h, struct prefetch_entry, hnode));
        }
    }
    htab_free(&p->entries);
    slab_free(&prefetch_slab, p);
}
static struct prefetch *detach_locked(struct gofer_client *c, struct gofer_inode *dir)
{
    struct prefetch *p = dir->prefetch;
    if (p) {
        list_del(&p->lru);
        c->nprefetch -= p->entries.count;
        dir->prefetch = nullptr;
    }
    return p;
}
void gfs_prefetch_free(struct gofer_client *c, struct gofer_inode *dir)
{
    spin_lock(&c->inode_lock);
    struct prefetch *p = detach_locked(c, dir);
    spin_unlock(&c->inode_lock);
    if (p)
        table_free(p);
}
static struct prefetch_entry *find_locked(struct prefetch *p, const void *name, size_t n)
{
    uint64_t hash = hash_bytes(name, n);
    for (struct hnode *h = htab_chain(&p->entries, hash); h; h = htab_chain_next(h)) {
        struct prefetch_entry *e = container_of(h, struct prefetch_entry, hnode);
        if (e->len == n && !memcmp(e->name, name, n))
            return e;
    }
    return nullptr;
}
// Takes the entry out: it is used once, or not at all when the name is about to change.
static bool prefetch_take(struct gofer_inode *dir, const char *name, size_t n, struct c9_node *out)
{
    struct gofer_client *c = gc_of(dir);
    struct prefetch_entry *e = nullptr;
    bool fresh = false;
    if (!READ_SHARED(dir->prefetch))
        return false;
    spin_lock(&c->inode_lock);
    struct prefetch *p = dir->prefetch;
    if (p)
        e = find_locked(p, name, n);
    if (e) {
        fresh = gs_of(dir->vfs.sb)->exclusive || ktime_now() - p->stamp < GFS_PREFETCH_SHARED_NS;
        htab_remove(&p->entries, &e->hnode);
        c->nprefetch--;
    }
    spin_unlock(&c->inode_lock);
    if (e && out)
        *out = e->node;
    mem_free(e);
    return fresh;
}
static bool inode_cached_locked(struct gofer_super *gs, uint64_t ino)
{
    for (struct hnode *h = htab_chain(&gs->inodes, hash_u64(ino)); h; h = htab_chain_next(h))
        if (container_of(h, struct gofer_inode, hnode)->vfs.ino == ino)
            return true;
    return false;
}
// Dir locked by the caller. Files that are cached already are left out: what we know is newer.
static void prefetch_put(struct gofer_inode *dir, const struct np_dirent *d)
{
    struct gofer_client *c = gc_of(dir);
    struct c9_node node = {.qid = d->qid, .attr = d->attr};
    if (!c9_node_ok(&node) || (!S_ISDIR(d->attr.mode) && d->attr.nlink != 1))
        return;
    struct prefetch_entry *e = mem_alloc(sizeof(*e) + d->name.n);
    struct prefetch *neu = dir->prefetch ? nullptr : slab_alloc(&prefetch_slab), *victim = nullptr;
    if (e) {
        e->node = node;
        e->len = (uint8_t)d->name.n;
        memcpy(e->name, d->name.p, d->name.n);
    }
    spin_lock(&c->inode_lock);
    if (!dir->prefetch && neu) {
        neu->dir = dir;
        list_push_front(&c->prefetch_lru, &neu->lru);
        dir->prefetch = neu;
        neu = nullptr;
    }
    struct prefetch *p = dir->prefetch;
    if (c->nprefetch >= GFS_MAX_PREFETCH) {
        struct prefetch *old = list_last(&c->prefetch_lru, struct prefetch, lru);
        if (old && old != p)
            victim = detach_locked(c, old->dir);
    }
    if (p && e && c->nprefetch < GFS_MAX_PREFETCH && !find_locked(p, e->name, e->len) &&
        !inode_cached_locked(gs_of(dir->vfs.sb), node.qid.path) &&
        htab_insert(&p->entries, &e->hnode, hash_bytes(e->name, e->len)) == 0) {
        p->stamp = ktime_now();
        c->nprefetch++;
        e = nullptr;
    }
    spin_unlock(&c->inode_lock);
    mem_free(e);
    if (neu)
        slab_free(&prefetch_slab, neu);
    if (victim)
        table_free(victim);
}

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
}

static int gofer_lookup(struct inode *dir, struct dentry *d)
{
    struct gofer_inode *di = gi_of(dir), *gi;
    struct c9_node n;
    if (d->namelen > NP_NAME_MAX)
        return -ENAMETOOLONG;
    if (!prefetch_take(di, d->name, d->namelen, &n)) {
        if (gfs_names_absent(di, d->name, d->namelen))
            return 0;
        struct np_names one = {.n = 1, .v = {dname(d)}};
        size_t found;
        uint32_t fid;
        int err = gfs_fid_get(di, &fid);
        if (err)
            return err == -ESTALE ? -ENOENT : err;
        err = c9_walk(gc_of(di), fid, NP_NOFID, &one, &found, &n);
        gfs_fid_put(di);
        if (err == -ENAMETOOLONG || err == -EINVAL)
            return err;
        if (!err && !found)
            gfs_names_miss(di);
        if (err || !found)
            return err;
    }
    int err = gfs_inode(dir->sb, &n, di, dname(d), false, &gi);
    if (!err)
        dentry_instantiate(d, &gi->vfs);
    return err;
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
    prefetch_take(gi_of(dir), d->name, d->namelen, nullptr);
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
    prefetch_take(gi_of(dir), d->name, d->namelen, nullptr);
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
    prefetch_take(di, d->name, d->namelen, nullptr);
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
    prefetch_take(gi_of(dir), d->name, d->namelen, nullptr);
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
    prefetch_take(oi, od->name, od->namelen, nullptr);
    prefetch_take(ni, nd->name, nd->namelen, nullptr);
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

// --- reading a directory ---
constexpr size_t DIR_BUF = 32 << 10;
constexpr int64_t DIR_FIRST = 2; // after "." and ".."
struct gofer_dir {
    uint32_t fid;          // NP_NOFID: all that there is is in `reply`
    struct c9_reply reply;
    struct span rest;      // entries not emitted yet, in reply's buffer
    int64_t pos;           // position of `rest`
    bool eof;              // nothing comes after it
    bool started;          // has been read from
    uint8_t *buf;          // owned
};
SLAB_DEFINE(gofer_dir_slab, struct gofer_dir);

static int dir_buf(struct gofer_dir *gd)
{
    if (!gd->buf)
        gd->buf = mem_alloc(DIR_BUF);
    c9_done(&gd->reply);
    c9_reply_init(&gd->reply);
    gd->reply.buf = gd->buf;
    gd->reply.cap = DIR_BUF;
    gd->pos = -1;
    return gd->buf ? 0 : -ENOMEM;
}
static void prefetch_all(struct gofer_inode *gi, struct gofer_dir *gd)
{
    struct span s = gd->rest;
    struct np_dirent d;
    while (gc_of(gi)->ext && np_dirent_plus_get(&s, &d))
        if (d.has_attr && np_name_ok(d.name))
            prefetch_put(gi, &d);
}
// Opens the directory on the server; the first entries come along.
static int dir_start(struct gofer_inode *gi, struct gofer_dir *gd)
{
    struct gofer_client *c = gc_of(gi);
    struct gofer_inode *base;
    struct np_names names;
    struct c9_node n;
    size_t found;
    uint32_t fid;
    char buf[NP_NAME_MAX + 1];
    int err = dir_buf(gd);
    if (!err)
        err = gfs_locate(gi, &base, &fid, &names, buf);
    if (err)
        return err;
    uint32_t newfid = c9_fid_new(c);
    err = newfid == NP_NOFID ? -ENFILE
                             : c9_opendir(c, fid, newfid, &names, &found, &n, &gd->reply, &gd->rest,
                                          &gd->eof);
    gfs_unlocate(base);
    if (err || found < names.n)
        return err ? err : -ENOENT;
    if (n.qid.path != gi->vfs.ino) {
        c9_clunk(c, newfid);
        return -ESTALE;
    }
    if (gd->eof)
        gfs_fid_offer(gi, newfid); // for what is looked up or opened below
    else
        gd->fid = newfid;
    if (c->ext)
        gd->pos = DIR_FIRST;
    prefetch_all(gi, gd);
    return 0;
}
static int gofer_dir_open(struct file *f)
{
    struct gofer_dir *gd = slab_alloc(&gofer_dir_slab);
    if (!gd)
        return -ENOMEM;
    gd->fid = NP_NOFID;
    int err = dir_start(gi_of(f->inode), gd);
    if (err) {
        c9_done(&gd->reply);
        mem_free(gd->buf);
        slab_free(&gofer_dir_slab, gd);
        return err;
    }
    f->data = gd;
    return 0;
}
static void gofer_dir_release(struct file *f)
{
    struct gofer_dir *gd = f->data;
    c9_clunk(gc_of(gi_of(f->inode)), gd->fid);
    c9_done(&gd->reply);
    mem_free(gd->buf);
    slab_free(&gofer_dir_slab, gd);
}
// Host cookies are 63 bits wide; the two dots come first.
static int64_t pos_of(uint64_t cookie)
{
    return cookie > (uint64_t)(INT64_MAX - DIR_FIRST) ? INT64_MAX : (int64_t)cookie + DIR_FIRST;
}
// In a small directory, which came as a whole.
static bool skip_to(struct gofer_dir *gd, int64_t pos)
{
    struct np_dirent d;
    while (gd->pos != pos && np_dirent_plus_get(&gd->rest, &d))
        gd->pos = pos_of(d.offset);
    return gd->pos == pos;
}
static int dir_open_server(struct gofer_inode *gi, struct gofer_dir *gd)
{
    struct gofer_client *c = gc_of(gi);
    struct np_names none = {};
    struct c9_node n;
    size_t found;
    uint32_t fid, newfid;
    int fd, err = gfs_fid_get(gi, &fid);
    if (err)
        return err;
    newfid = c9_fid_new(c);
    err = newfid == NP_NOFID ? -ENFILE
                             : c9_open(c, fid, newfid, O_RDONLY | O_DIRECTORY, &none, &found, &n, &fd);
    gfs_fid_put(gi);
    if (!err)
        gd->fid = newfid;
    return err;
}
static int fill(struct gofer_inode *gi, struct gofer_dir *gd, int64_t pos)
{
    struct gofer_client *c = gc_of(gi);
    int err = 0;
    if (gd->fid == NP_NOFID) { // again, or from somewhere else than the start
        err = dir_start(gi, gd);
        if (err || gd->pos == pos)
            return err;
        if (gd->fid == NP_NOFID && skip_to(gd, pos))
            return 0;
        if (gd->fid == NP_NOFID) // an entry that is gone: the server knows what came after
            err = dir_open_server(gi, gd);
        if (err)
            return err;
    }
    err = dir_buf(gd);
    if (!err)
        err = c9_readdir(c, gd->fid, (uint64_t)(pos - DIR_FIRST), &gd->reply, &gd->rest, &gd->eof);
    if (err)
        return err;
    prefetch_all(gi, gd);
    gd->pos = pos;
    return 0;
}
static int gofer_readdir(struct file *f, struct dir_context *dc)
{
    struct gofer_inode *gi = gi_of(f->inode);
    struct gofer_dir *gd = f->data;
    int err = 0;
    if (dc->pos < 0)
        return -EINVAL;
    if (!dir_emit_dots(f, dc))
        return 0;
    mutex_lock(&f->inode->lock);
    // From the start again: what is there now, not what came with the open.
    bool rewound = dc->pos == DIR_FIRST && gd->started;
    gd->started = true;
    while (dc->pos != INT64_MAX) {
        struct np_dirent d;
        if (gd->pos == dc->pos && !gd->rest.n && gd->eof && !rewound)
            break;
        if (gd->pos != dc->pos || !gd->rest.n || rewound) {
            err = fill(gi, gd, dc->pos);
            rewound = false;
            if (err || !gd->rest.n)
                break;
        }
        struct span before = gd->rest;
        bool ok = gc_of(gi)->ext ? np_dirent_plus_get(&gd->rest, &d) : np_dirent_get(&gd->rest, &d);
        if (!ok || d.type > 15) {
            err = -EIO;
            break;
        }
        int64_t next = pos_of(d.offset);
        if (np_name_ok(d.name)) { // "." and ".." we make ourselves
            char name[NP_NAME_MAX + 1];
            memcpy(name, d.name.p, d.name.n);
            name[d.name.n] = 0;
            if (!dc->emit(dc, name, d.name.n, d.qid.path, d.type, next)) {
                gd->rest = before;
                break;
            }
        }
        dc->pos = gd->pos = next;
    }
    mutex_unlock(&f->inode->lock);
    return err;
}
static int gofer_dir_fsync(struct file *f, bool datasync)
{
    struct gofer_inode *gi = gi_of(f->inode);
    uint32_t fid;
    int err = gfs_fid_get(gi, &fid);
    if (err)
        return err;
    err = c9_fsync(gc_of(gi), fid, datasync);
    gfs_fid_put(gi);
    return err;
}

const struct file_ops gofer_dir_fops = {
    .open = gofer_dir_open,
    .readdir = gofer_readdir,
    .fsync = gofer_dir_fsync,
    .release = gofer_dir_release,
};
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
