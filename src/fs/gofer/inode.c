// SPDX-License-Identifier: Apache-2.0
// Inodes of the 9P client: identity (one inode per qid.path), position in the tree, fids on demand,
// attributes. In an exclusive mount the inode's fields are the truth, refreshed only after we did
// something whose outcome the server decides (`stale`); in a shared one each getattr asks.
#include "fs/gofer/gfs.h"
#include "base/slab.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>

SLAB_DEFINE(gofer_inode_slab, struct gofer_inode);

// --- attributes ---
static void set_locked(struct gofer_inode *gi, const struct np_attr *a)
{
    struct inode *i = &gi->vfs;
    if ((a->mode & S_IFMT) != (i->mode & S_IFMT))
        return;
    if (i->mode != a->mode) // read all over the VFS for its type bits
        WRITE_SHARED(i->mode, a->mode);
    WRITE_SHARED(i->uid, a->uid);
    WRITE_SHARED(i->gid, a->gid);
    WRITE_SHARED(i->nlink, (uint32_t)a->nlink);
    WRITE_SHARED(i->size, a->size);
    WRITE_SHARED(i->blocks, a->blocks);
    ktimespec_store(&i->atime,
                    (struct ktimespec){(int64_t)a->atime_sec, (uint32_t)a->atime_nsec});
    ktimespec_store(&i->mtime,
                    (struct ktimespec){(int64_t)a->mtime_sec, (uint32_t)a->mtime_nsec});
    ktimespec_store(&i->ctime,
                    (struct ktimespec){(int64_t)a->ctime_sec, (uint32_t)a->ctime_nsec});
}
void gfs_attr_update(struct gofer_inode *gi, const struct np_attr *a)
{
    struct gofer_client *c = gc_of(gi);
    if (!gs_of(gi->vfs.sb)->exclusive)
        WRITE_SHARED(gi->attr_at, ktime_now());
    spin_lock(&c->inode_lock);
    set_locked(gi, a);
    spin_unlock(&c->inode_lock);
}
uint32_t gfs_nlink_add(struct gofer_inode *gi, int32_t n)
{
    struct gofer_client *c = gc_of(gi);
    spin_lock(&c->inode_lock);
    int64_t left = (int64_t)gi->vfs.nlink + n;
    left = left < 0 ? 0 : left;
    WRITE_SHARED(gi->vfs.nlink, (uint32_t)left);
    spin_unlock(&c->inode_lock);
    return (uint32_t)left;
}
void gfs_attr_from_fd(struct gofer_inode *gi, int fd)
{
    struct stat st;
    WRITE_SHARED(gi->stale, false); // before looking: a change meanwhile sets it again
    if (host_call(__NR_fstat, fd, &st) != 0 || st.st_size < 0) {
        WRITE_SHARED(gi->stale, true);
        return;
    }
    struct np_attr a = {
        .mode = st.st_mode, .uid = st.st_uid, .gid = st.st_gid, .nlink = st.st_nlink,
        .size = (uint64_t)st.st_size, .blocks = (uint64_t)st.st_blocks, .rdev = st.st_rdev,
        .atime_sec = (uint64_t)st.st_atim.tv_sec, .atime_nsec = (uint64_t)st.st_atim.tv_nsec,
        .mtime_sec = (uint64_t)st.st_mtim.tv_sec, .mtime_nsec = (uint64_t)st.st_mtim.tv_nsec,
        .ctime_sec = (uint64_t)st.st_ctim.tv_sec, .ctime_nsec = (uint64_t)st.st_ctim.tv_nsec,
    };
    // The owner as the Gofer states it: it may live in another user namespace.
    a.uid = gi->vfs.uid;
    a.gid = gi->vfs.gid;
    gfs_attr_update(gi, &a);
}
int gfs_walk_here(struct gofer_inode *gi, struct c9_node *out)
{
    struct gofer_inode *base;
    struct np_names names;
    size_t found;
    uint32_t fid;
    char buf[NP_NAME_MAX + 1];
    int err = gfs_locate(gi, &base, &fid, &names, buf);
    if (err)
        return err;
    err = c9_walk(gc_of(gi), fid, NP_NOFID, &names, &found, out);
    gfs_unlocate(base);
    return !err && (found < names.n || out->qid.path != gi->vfs.ino) ? -ESTALE : err;
}
int gfs_refresh(struct gofer_inode *gi)
{
    if (S_ISREG(gi->vfs.mode) &&
        (gfs_fds_pin_cached(gi, GFS_READ) || gfs_fds_pin_cached(gi, GFS_WRITE))) {
        gfs_attr_from_fd(gi, gi->fds->ro >= 0 ? gi->fds->ro : gi->fds->wr);
        gfs_fds_unpin(gi);
        return 0;
    }
    struct c9_node n;
    WRITE_SHARED(gi->stale, false);
    int err = gfs_walk_here(gi, &n);
    if (err)
        WRITE_SHARED(gi->stale, true);
    else
        gfs_attr_update(gi, &n.attr);
    return err;
}
int gfs_getattr(struct inode *i, struct kstat *st)
{
    struct gofer_inode *gi = gi_of(i);
    bool fresh = gs_of(i->sb)->exclusive ||
                 ktime_now() - READ_SHARED(gi->attr_at) < GFS_ATTR_FRESH_NS;
    if (READ_SHARED(gi->stale) || !fresh) {
        int err = gfs_refresh(gi);
        // A file that is gone on the server but still in use here keeps what we know of it.
        if (err && err != -ESTALE)
            return err;
    }
    *st = (struct kstat){.ino = i->ino, .size = READ_SHARED(i->size),
                         .blocks = READ_SHARED(i->blocks), .dev = i->sb->dev, .rdev = i->rdev,
                         .mode = READ_SHARED(i->mode), .nlink = READ_SHARED(i->nlink),
                         .uid = READ_SHARED(i->uid), .gid = READ_SHARED(i->gid), .blksize = 4096,
                         .atime = ktimespec_load(&i->atime), .mtime = ktimespec_load(&i->mtime),
                         .ctime = ktimespec_load(&i->ctime)};
    return 0;
}
static bool set_size_here(struct gofer_inode *gi, uint64_t size, int *err)
{
    if (!gfs_fds_pin_cached(gi, GFS_WRITE))
        return false;
    *err = gfs_host_call(__NR_ftruncate, gi->fds->wr, size, 0, 0);
    if (!*err)
        gfs_attr_from_fd(gi, gi->fds->wr);
    gfs_fds_unpin(gi);
    return true;
}
int gfs_setattr(struct inode *i, const struct iattr *a)
{
    struct gofer_inode *gi = gi_of(i);
    struct c9_setattr s = {.mode = a->mode & 07777, .uid = a->uid, .gid = a->gid, .size = a->size};
    uint32_t valid = a->valid & ~(uint32_t)IATTR_CTIME;
    int err = 0;
    if (gs_of(i->sb)->readonly)
        return -EROFS;
    // ftruncate changes the times by itself.
    uint32_t alone = valid & ~(uint32_t)(IATTR_SIZE | IATTR_MTIME);
    if ((valid & IATTR_SIZE) && !alone && !(valid & IATTR_MTIME_SET) &&
        set_size_here(gi, a->size, &err))
        return err;
    static const struct { uint32_t from, to; } bits[] = {
        {IATTR_MODE, NP_SET_MODE}, {IATTR_UID, NP_SET_UID}, {IATTR_GID, NP_SET_GID},
        {IATTR_SIZE, NP_SET_SIZE}, {IATTR_ATIME, NP_SET_ATIME}, {IATTR_MTIME, NP_SET_MTIME},
        {IATTR_ATIME_SET, NP_SET_ATIME_SET}, {IATTR_MTIME_SET, NP_SET_MTIME_SET}};
    for (size_t k = 0; k < ARRAY_LEN(bits); k++)
        if (valid & bits[k].from)
            s.valid |= bits[k].to;
    if (!s.valid)
        return 0;
    s.atime_sec = (uint64_t)a->atime.sec;
    s.atime_nsec = a->atime.nsec;
    s.mtime_sec = (uint64_t)a->mtime.sec;
    s.mtime_nsec = a->mtime.nsec;
    uint32_t fid;
    err = gfs_fid_get(gi, &fid);
    if (err)
        return err;
    struct c9_node n;
    err = c9_setattr(gc_of(gi), fid, &s, &n);
    gfs_fid_put(gi);
    if (err == -ESTALE) { // opened by a name that has changed since
        gfs_fid_forget(gi);
        err = gfs_fid_get(gi, &fid);
        if (err)
            return err;
        err = c9_setattr(gc_of(gi), fid, &s, &n);
        gfs_fid_put(gi);
    }
    if (!err)
        gfs_attr_update(gi, &n.attr);
    return err;
}

// --- identity ---
static struct gofer_inode *find_locked(struct gofer_super *gs, uint64_t ino)
{
    for (struct hnode *h = htab_chain(&gs->inodes, hash_u64(ino)); h; h = htab_chain_next(h)) {
        struct gofer_inode *gi = container_of(h, struct gofer_inode, hnode);
        if (gi->vfs.ino == ino)
            return gi;
    }
    return nullptr;
}
bool gfs_inode_cached_locked(struct gofer_super *gs, uint64_t ino)
{
    return find_locked(gs, ino);
}
bool gfs_ino_open_locked(struct gofer_super *gs, uint64_t ino)
{
    struct gofer_inode *gi = find_locked(gs, ino);
    return gi && gi->fds && gfs_read_fd(gi->fds) >= 0;
}
struct gofer_inode *gfs_inode_find(struct gofer_super *gs, uint64_t ino)
{
    spin_lock(&gs->c->inode_lock);
    struct gofer_inode *gi = find_locked(gs, ino);
    if (gi && !ref_get_unless_zero(&gi->vfs.ref))
        gi = nullptr;
    spin_unlock(&gs->c->inode_lock);
    return gi;
}
static void unhash_locked(struct gofer_super *gs, struct gofer_inode *gi)
{
    if (gi->hashed)
        htab_remove(&gs->inodes, &gi->hnode);
    gi->hashed = false;
}
void gfs_unhash(struct gofer_inode *gi)
{
    struct gofer_client *c = gc_of(gi);
    spin_lock(&c->inode_lock);
    unhash_locked(gs_of(gi->vfs.sb), gi);
    spin_unlock(&c->inode_lock);
    gfs_ahead_forget(gs_of(gi->vfs.sb), gi->vfs.ino);
}
static struct gofer_inode *inode_new(struct super *sb, const struct c9_node *n)
{
    struct gofer_inode *gi = slab_alloc(&gofer_inode_slab);
    if (!gi)
        return nullptr;
    const struct inode_ops *ops = &gofer_file_iops;
    const struct file_ops *fops = &gofer_special_fops;
    if (S_ISDIR(n->attr.mode)) {
        ops = &gofer_dir_iops;
        fops = &gofer_dir_fops;
    } else if (S_ISLNK(n->attr.mode)) {
        ops = &gofer_link_iops;
    } else if (S_ISREG(n->attr.mode)) {
        fops = &gofer_file_fops;
    }
    inode_init(&gi->vfs, sb, ops, fops, n->attr.mode, nullptr);
    gi->vfs.ino = n->qid.path;
    gi->fid = NP_NOFID;
    list_init(&gi->fid_lru);
    gi->vfs.rdev = n->attr.rdev;
    set_locked(gi, &n->attr);
    return gi;
}
int gfs_inode(struct super *sb, const struct c9_node *n, struct gofer_inode *parent,
              struct span name, bool fresh, struct gofer_inode **out)
{
    struct gofer_super *gs = gs_of(sb);
    struct gofer_client *c = gs->c;
    struct gofer_inode *neu = nullptr, *gi;
    char *nm = mem_strndup((const char *)name.p, name.n);
    if (!nm)
        return -ENOMEM;
    spin_lock(&c->inode_lock);
    for (;;) {
        gi = find_locked(gs, n->qid.path);
        bool same = gi && !fresh && !((gi->vfs.mode ^ n->attr.mode) & S_IFMT);
        if (same && ref_get_unless_zero(&gi->vfs.ref))
            break;
        if (!neu) {
            spin_unlock(&c->inode_lock);
            neu = inode_new(sb, n);
            if (!neu) {
                mem_free(nm);
                return -ENOMEM;
            }
            spin_lock(&c->inode_lock);
            continue;
        }
        if (gi)
            unhash_locked(gs, gi);
        gi = neu;
        gi->hashed = htab_insert(&gs->inodes, &gi->hnode, hash_u64(gi->vfs.ino)) == 0;
        if (parent)
            gfs_listing_cached_locked(parent, name);
        break;
    }
    if (gi != neu && (!gs->exclusive || gi->stale))
        set_locked(gi, &n->attr);
    if (!gi->parent && parent && gi->fid != gs->root_fid) {
        gi->parent = parent;
        inode_get(&parent->vfs);
        gi->name = nm;
        nm = nullptr;
    }
    spin_unlock(&c->inode_lock);
    mem_free(nm);
    if (neu && gi != neu) {
        neu->parent = nullptr;
        inode_put(&neu->vfs);
    }
    *out = gi;
    return 0;
}

// --- position ---
static bool alias_is_locked(const struct gofer_inode *gi, const struct gofer_inode *parent, struct span name)
{
    return gi->parent == parent && strlen(gi->name) == name.n && !memcmp(gi->name, name.p, name.n);
}
// A server that lies must not make a directory its own ancestor.
static bool is_above_locked(const struct gofer_inode *gi, const struct gofer_inode *below)
{
    while (below && below != gi)
        below = below->parent;
    return below;
}
void gfs_alias_found(struct gofer_inode *gi, struct gofer_inode *parent, struct span name)
{
    struct gofer_client *c = gc_of(gi);
    struct gofer_inode *op = nullptr;
    if (gs_of(gi->vfs.sb)->exclusive)
        return;
    spin_lock(&c->inode_lock);
    bool moved = gi->parent && !alias_is_locked(gi, parent, name);
    spin_unlock(&c->inode_lock);
    char *nm = moved ? mem_strndup((const char *)name.p, name.n) : nullptr;
    if (!nm)
        return;
    spin_lock(&c->inode_lock);
    if (gi->parent && !is_above_locked(gi, parent)) {
        op = gi->parent;
        gi->parent = parent;
        inode_get(&parent->vfs);
        char *on = gi->name;
        gi->name = nm;
        nm = on;
    }
    spin_unlock(&c->inode_lock);
    mem_free(nm);
    if (op)
        inode_put(&op->vfs);
    if (!S_ISDIR(gi->vfs.mode))
        gfs_fid_forget(gi); // the server would open it by its old name
}
void gfs_alias_set(struct gofer_inode *gi, struct gofer_inode *parent, struct span name)
{
    struct gofer_client *c = gc_of(gi);
    char *nm = mem_strndup((const char *)name.p, name.n);
    if (!nm)
        return; // keeps a wrong position: ESTALE later, nothing worse
    inode_get(&parent->vfs);
    spin_lock(&c->inode_lock);
    struct gofer_inode *op = gi->parent;
    char *on = gi->name;
    gi->parent = parent;
    gi->name = nm;
    if (gi->fid != NP_NOFID && !gi->fid_users && list_empty(&gi->fid_lru))
        list_push_front(&c->idle_fids, &gi->fid_lru);
    spin_unlock(&c->inode_lock);
    mem_free(on);
    if (op)
        inode_put(&op->vfs);
}
void gfs_alias_drop(struct gofer_inode *gi, struct gofer_inode *parent, struct span name)
{
    struct gofer_client *c = gc_of(gi);
    struct gofer_inode *op = nullptr;
    char *on = nullptr;
    spin_lock(&c->inode_lock);
    if (alias_is_locked(gi, parent, name)) {
        op = gi->parent;
        on = gi->name;
        gi->parent = nullptr;
        gi->name = nullptr;
        list_del(&gi->fid_lru); // the fid is all that is left
    }
    spin_unlock(&c->inode_lock);
    mem_free(on);
    if (op)
        inode_put(&op->vfs);
}

// --- fids ---
static void fid_use_locked(struct gofer_inode *gi)
{
    gi->fid_users++;
    list_del(&gi->fid_lru);
}
// Takes idle fids off their inodes until few enough are left; those are clunked by the caller.
static size_t evict_locked(struct gofer_client *c, size_t keep, uint32_t *out, size_t max)
{
    size_t n = 0;
    while (c->nfids > keep && n < max && !list_empty(&c->idle_fids)) {
        struct gofer_inode *gi = list_entry(c->idle_fids.prev, struct gofer_inode, fid_lru);
        list_del(&gi->fid_lru);
        out[n++] = gi->fid;
        gi->fid = NP_NOFID;
        c->nfids--;
    }
    return n;
}
static void evict(struct gofer_client *c, size_t keep)
{
    uint32_t fids[64];
    size_t n;
    do {
        spin_lock(&c->inode_lock);
        n = evict_locked(c, keep, fids, ARRAY_LEN(fids));
        spin_unlock(&c->inode_lock);
        for (size_t i = 0; i < n; i++)
            c9_clunk(c, fids[i]);
    } while (n == ARRAY_LEN(fids));
}
void gfs_fid_put(struct gofer_inode *gi)
{
    struct gofer_client *c = gc_of(gi);
    spin_lock(&c->inode_lock);
    CHECK(gi->fid_users > 0);
    // Without a name the fid is the only way to the file: it is kept until release.
    if (--gi->fid_users == 0 && gi->parent)
        list_push_front(&c->idle_fids, &gi->fid_lru);
    bool many = c->nfids > GFS_MAX_IDLE_FIDS;
    spin_unlock(&c->inode_lock);
    if (many)
        evict(c, GFS_MAX_IDLE_FIDS);
}
void gfs_fid_offer(struct gofer_inode *gi, uint32_t fid)
{
    struct gofer_client *c = gc_of(gi);
    spin_lock(&c->inode_lock);
    if (gi->fid == NP_NOFID && gi->parent) {
        gi->fid = fid;
        fid = NP_NOFID;
        c->nfids++;
        list_push_front(&c->idle_fids, &gi->fid_lru);
    }
    bool many = c->nfids > GFS_MAX_IDLE_FIDS;
    spin_unlock(&c->inode_lock);
    c9_clunk(c, fid);
    if (many)
        evict(c, GFS_MAX_IDLE_FIDS);
}
void gfs_fid_forget(struct gofer_inode *gi)
{
    struct gofer_client *c = gc_of(gi);
    uint32_t fid = NP_NOFID;
    spin_lock(&c->inode_lock);
    if (!gi->fid_users && gi->parent && gi->fid != NP_NOFID) {
        list_del(&gi->fid_lru);
        fid = gi->fid;
        gi->fid = NP_NOFID;
        c->nfids--;
    }
    spin_unlock(&c->inode_lock);
    c9_clunk(c, fid);
}
// The last names.n components of the way to `to`.
static void way_locked(const struct gofer_inode *to, char (*bufs)[NP_NAME_MAX + 1], struct np_names *names)
{
    for (size_t i = names->n; i-- > 0; to = to->parent) {
        size_t len = strlen(to->name);
        CHECK(len <= NP_NAME_MAX);
        memcpy(bufs[i], to->name, len);
        names->v[i] = span_of(bufs[i], len);
    }
}
// fid names `to`, on the way to gi or gi itself: then it is in use. True: gi has one now.
static bool fid_arrived(struct gofer_inode *gi, struct gofer_inode *to, uint32_t fid)
{
    struct gofer_client *c = gc_of(gi);
    bool done = false;
    spin_lock(&c->inode_lock);
    if (to->fid == NP_NOFID) {
        to->fid = fid;
        fid = NP_NOFID;
        c->nfids++;
        done = to == gi;
        if (done)
            gi->fid_users++;
        else
            list_push_front(&c->idle_fids, &to->fid_lru);
    }
    spin_unlock(&c->inode_lock);
    c9_clunk(c, fid); // somebody else was faster
    return done;
}
// One step towards a fid for gi: walks up to 16 names down from the nearest ancestor with a fid.
// *done: gi has its fid now, in use.
static int fid_step(struct gofer_inode *gi, char (*bufs)[NP_NAME_MAX + 1], bool *done)
{
    struct gofer_client *c = gc_of(gi);
    struct gofer_inode *base = gi, *to = gi;
    struct np_names names = {};
    size_t depth = 0;
    *done = false;
    spin_lock(&c->inode_lock);
    while (base && base->fid == NP_NOFID) {
        depth++;
        if (depth > NP_MAXWALK)
            to = to->parent;
        base = base->parent;
    }
    if (!base) {
        spin_unlock(&c->inode_lock);
        return -ESTALE;
    }
    fid_use_locked(base);
    if (base == gi) {
        spin_unlock(&c->inode_lock);
        *done = true;
        return 0;
    }
    names.n = (uint16_t)MIN(depth, NP_MAXWALK);
    way_locked(to, bufs, &names);
    inode_get(&to->vfs);
    uint32_t from = base->fid;
    spin_unlock(&c->inode_lock);

    struct c9_node n;
    size_t found = 0;
    uint32_t newfid = c9_fid_new(c);
    int err = newfid == NP_NOFID ? -ENFILE : c9_walk(c, from, newfid, &names, &found, &n);
    gfs_fid_put(base);
    if (!err && found < names.n)
        err = -ESTALE;
    if (!err && n.qid.path != to->vfs.ino) {
        c9_clunk(c, newfid);
        err = -ESTALE;
    }
    if (!err)
        *done = fid_arrived(gi, to, newfid);
    inode_put(&to->vfs);
    return err;
}
int gfs_fid_get(struct gofer_inode *gi, uint32_t *fid)
{
    struct gofer_client *c = gc_of(gi);
    spin_lock(&c->inode_lock);
    if (gi->fid != NP_NOFID) {
        fid_use_locked(gi);
        *fid = gi->fid;
        spin_unlock(&c->inode_lock);
        return 0;
    }
    spin_unlock(&c->inode_lock);
    char(*bufs)[NP_NAME_MAX + 1] = mem_alloc_array(NP_MAXWALK, NP_NAME_MAX + 1);
    if (!bufs)
        return -ENOMEM;
    bool done = false;
    int err = 0, tries = 0;
    while (!done) {
        err = fid_step(gi, bufs, &done);
        if (!err)
            continue;
        // ESTALE: renamed on the way, perhaps by ourselves; EMFILE: the Gofer is at its limit.
        if (++tries > 3 || (err != -ESTALE && err != -EMFILE && err != -ENFILE))
            break;
        if (err != -ESTALE)
            evict(c, READ_SHARED(c->nfids) / 2);
    }
    mem_free(bufs);
    *fid = gi->fid;
    return done ? 0 : err;
}
int gfs_locate(struct gofer_inode *gi, struct gofer_inode **base, uint32_t *fid,
               struct np_names *names, char buf[static NP_NAME_MAX + 1])
{
    struct gofer_client *c = gc_of(gi);
    struct gofer_inode *p = nullptr;
    names->n = 0;
    spin_lock(&c->inode_lock);
    bool direct = gi->fid != NP_NOFID || !gi->parent;
    if (!direct) {
        p = gi->parent;
        inode_get(&p->vfs);
        size_t len = strlen(gi->name);
        memcpy(buf, gi->name, len);
        names->n = 1;
        names->v[0] = span_of(buf, len);
    }
    spin_unlock(&c->inode_lock);
    if (direct)
        inode_get(&gi->vfs);
    *base = direct ? gi : p;
    int err = gfs_fid_get(*base, fid);
    if (err)
        inode_put(&(*base)->vfs);
    return err;
}
void gfs_unlocate(struct gofer_inode *base)
{
    gfs_fid_put(base);
    inode_put(&base->vfs);
}

// --- extended attributes ---
static bool xattr_ours(const char *name)
{
    return !strncmp(name, "user.", 5) || !strcmp(name, "security.capability");
}
long gfs_getxattr(struct inode *i, const char *name, void *buf, size_t n)
{
    struct gofer_inode *gi = gi_of(i);
    if (!xattr_ours(name))
        return -EOPNOTSUPP;
    if (READ_SHARED(gi->no_xattr) || (!S_ISREG(i->mode) && !S_ISDIR(i->mode)))
        return -ENODATA;
    uint32_t fid;
    int err = gfs_fid_get(gi, &fid);
    if (err)
        return err;
    bool excl = gs_of(i->sb)->exclusive;
    long r = c9_xattr_get(gc_of(gi), fid, name, buf, n);
    if (r == -ENODATA && excl && c9_xattr_get(gc_of(gi), fid, "", nullptr, 0) == 0)
        WRITE_SHARED(gi->no_xattr, true);
    gfs_fid_put(gi);
    return r;
}
long gfs_listxattr(struct inode *i, char *buf, size_t n)
{
    struct gofer_inode *gi = gi_of(i);
    if (READ_SHARED(gi->no_xattr) || (!S_ISREG(i->mode) && !S_ISDIR(i->mode)))
        return 0;
    uint32_t fid;
    int err = gfs_fid_get(gi, &fid);
    if (err)
        return err;
    long r = c9_xattr_get(gc_of(gi), fid, "", buf, n);
    gfs_fid_put(gi);
    if (r == 0 && gs_of(i->sb)->exclusive)
        WRITE_SHARED(gi->no_xattr, true);
    if (r > 0 && n && buf[r - 1] != 0)
        return -EIO; // a list of strings, whatever the server says
    return r;
}
static int xattr_change(struct inode *i, const char *name, const void *buf, size_t n, int flags,
                        bool remove)
{
    struct gofer_inode *gi = gi_of(i);
    if (gs_of(i->sb)->readonly)
        return -EROFS;
    if (strncmp(name, "user.", 5))
        return -EOPNOTSUPP;
    uint32_t fid;
    int err = gfs_fid_get(gi, &fid);
    if (err)
        return err;
    err = c9_xattr_set(gc_of(gi), fid, name, buf, n, flags, remove);
    gfs_fid_put(gi);
    WRITE_SHARED(gi->no_xattr, false);
    WRITE_SHARED(gi->stale, true); // ctime
    return err;
}
int gfs_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags)
{
    return xattr_change(i, name, buf, n, flags, false);
}
int gfs_removexattr(struct inode *i, const char *name)
{
    return xattr_change(i, name, nullptr, 0, 0, true);
}

// --- end of life ---
// Dropping an inode may drop its parent's last reference, and so on up: done by the outermost
// caller in a loop, since the guest decides how deep the tree is.
static void drop_parents(struct gofer_super *gs)
{
    struct gofer_client *c = gs->c;
    spin_lock(&c->inode_lock);
    if (gs->dropping) {
        spin_unlock(&c->inode_lock);
        return;
    }
    gs->dropping = true;
    while (!list_empty(&gs->orphans)) {
        struct gofer_inode *gi = list_entry(gs->orphans.next, struct gofer_inode, fid_lru);
        list_del(&gi->fid_lru);
        struct gofer_inode *parent = gi->parent;
        spin_unlock(&c->inode_lock);
        slab_free(&gofer_inode_slab, gi);
        inode_put(&parent->vfs);
        spin_lock(&c->inode_lock);
    }
    gs->dropping = false;
    spin_unlock(&c->inode_lock);
}
void gfs_release(struct inode *i)
{
    struct gofer_inode *gi = gi_of(i);
    struct gofer_super *gs = gs_of(i->sb);
    struct gofer_client *c = gs->c;
    gfs_fds_free(gi);
    gfs_listing_drop(gi);
    gfs_names_free(gi);
    spin_lock(&c->inode_lock);
    unhash_locked(gs, gi);
    list_del(&gi->fid_lru);
    uint32_t fid = gi->fid;
    if (fid != NP_NOFID)
        c->nfids--;
    gi->fid = NP_NOFID;
    char *target = gi->target, *name = gi->name;
    gi->target = gi->name = nullptr;
    if (gi->parent) // whoever drops parents now may free it as soon as the lock is let go of
        list_push_back(&gs->orphans, &gi->fid_lru);
    bool parent = gi->parent;
    spin_unlock(&c->inode_lock);
    c9_clunk(c, fid);
    mem_free(target);
    mem_free(name);
    if (parent)
        drop_parents(gs);
    else
        slab_free(&gofer_inode_slab, gi);
}
