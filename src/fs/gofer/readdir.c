// SPDX-License-Identifier: Apache-2.0
// Reading directories of the 9P client. They are read with attributes, and what comes is kept as a
// listing (listing.c), so that `ls -l` costs a round trip per some hundred files. When sibling
// directories are opened one after the other, a tree is being walked: then those that come next, and
// what is below them, come along (Tlisttree).
#include "fs/gofer/gfs.h"
#include "base/slab.h"
#include <errno.h>
#include <fcntl.h>

// --- reading a directory ---
constexpr size_t DIR_BUF = 32 << 10;
constexpr size_t TREE_BUF = 64 << 10;
constexpr size_t TREE_NAMES = 4096;
constexpr unsigned TREE_SIBLINGS = 64;
constexpr unsigned LOOK_FEW = 4, LOOK_MANY = 24; // look-ups of names, each a round trip
constexpr size_t TREE_MAX = 1024; // directories of one reply
constexpr int64_t DIR_FIRST = 2; // after "." and ".."
struct gofer_dir {
    uint32_t fid;          // NP_NOFID: all that there is is in `rest` and the chunks after it
    struct c9_reply reply;
    struct span rest;      // entries not emitted yet, in a chunk of the listing or in reply's buffer
    int64_t pos;           // position of `rest`
    bool eof;              // nothing comes after it
    bool started;          // has been read from
    uint8_t *buf;          // owned
    struct gfs_listing *listing; // ref
    struct gfs_chunk *chunk;     // of the listing, with `rest`; null: it is in the buffer
    uint64_t changes;      // gfs_changes() before the listing was begun
};
SLAB_DEFINE(gofer_dir_slab, struct gofer_dir);

static int dir_buf(struct gofer_dir *gd, size_t size)
{
    c9_done(&gd->reply);
    c9_reply_init(&gd->reply);
    if (!gd->buf)
        gd->buf = mem_alloc(TREE_BUF);
    gd->reply.buf = gd->buf;
    gd->reply.cap = size;
    gd->pos = -1;
    gd->chunk = nullptr;
    return gd->buf ? 0 : -ENOMEM;
}
static void dir_buf_free(struct gofer_dir *gd)
{
    c9_done(&gd->reply);
    mem_free(gd->buf);
    gd->buf = nullptr;
}
static bool next_chunk(struct gofer_inode *gi, struct gofer_dir *gd)
{
    struct gfs_chunk *k = gd->chunk ? gfs_chunk_next(gc_of(gi), gd->chunk) : nullptr;
    if (!k)
        return false;
    gd->chunk = k;
    gd->rest = gfs_chunk_entries(k);
    return true;
}
static void listing_leave(struct gofer_inode *gi, struct gofer_dir *gd)
{
    gfs_listing_unref(gc_of(gi), gd->listing);
    gd->listing = nullptr;
    gd->chunk = nullptr;
}
// From the start of a whole listing, whose reference it takes over.
static void listing_enter(struct gofer_dir *gd, struct gfs_listing *l)
{
    gd->listing = l;
    gd->chunk = gfs_listing_first(l);
    gd->rest = gfs_chunk_entries(gd->chunk);
    gd->eof = true;
    gd->pos = DIR_FIRST;
}
// Keeps what has come in the listing, which is the inode's from the first part on.
static void listing_keep(struct gofer_inode *gi, struct gofer_dir *gd)
{
    struct gofer_client *c = gc_of(gi);
    bool first = !gd->listing;
    if (first)
        gd->listing = gfs_listing_new((struct span){});
    if (!gd->listing)
        return;
    struct gfs_chunk *k = gfs_listing_add(c, gd->listing, gd->rest);
    if (k) {
        gd->chunk = k;
        gd->rest = gfs_chunk_entries(k);
    }
    if (gd->eof)
        gfs_listing_finish(c, gd->listing, gd->changes);
    if (first && k) {
        ref_get(&gd->listing->ref);
        gfs_listing_set(gi, gd->listing, true);
    } else if (first) {
        listing_leave(gi, gd);
    }
}

// --- walks of a tree: directories that come after this one are asked for with it ---
// Where gi is, and how many bytes to ask for. Null: its siblings are not being opened.
static struct gofer_inode *tree_parent(struct gofer_inode *gi, uint32_t *count, bool *attrs,
                                       char name[static NP_NAME_MAX + 1])
{
    struct gofer_client *c = gc_of(gi);
    struct gofer_inode *p;
    unsigned walked = 0;
    spin_lock(&c->inode_lock);
    p = gi->parent;
    if (p) {
        p->walked += p->walked < 255;
        walked = p->walked + (p->parent ? p->parent->walked : 0);
        memcpy(name, gi->name, strlen(gi->name) + 1);
    }
    if (p && walked > 1)
        inode_get(&p->vfs);
    else
        p = nullptr;
    // Attributes of files cost the server most of its time: not for those who look at names only.
    *attrs = c->attrs_wanted;
    c->attrs_wanted -= p && c->attrs_wanted;
    spin_unlock(&c->inode_lock);
    *count = walked < 4 ? 8 << 10 : walked < 8 ? 24 << 10 : 60 << 10;
    return p;
}
// One directory of the reply goes to its inode, or to the listing that names it.
static void tree_put(struct gofer_inode *parent, struct gfs_listing *in, uint64_t ino,
                     struct gfs_listing *l)
{
    struct gofer_super *gs = gs_of(parent->vfs.sb);
    struct gofer_inode *gi = gfs_inode_find(gs, ino);
    if (gi && S_ISDIR(gi->vfs.mode))
        gfs_listing_set(gi, l, false);
    else if (in)
        gfs_listing_hang(gs->c, in, l);
    else
        gfs_listing_disown(gs->c, l);
    if (gi)
        inode_put(&gi->vfs);
}
static void tree_take(struct gofer_inode *gi, struct gofer_inode *parent, struct gofer_dir *gd,
                      struct span s)
{
    struct gofer_client *c = gc_of(gi);
    struct gfs_listing **v = mem_alloc_array(TREE_MAX, sizeof(*v));
    struct gfs_listing *top = gfs_listing_get_any(parent);
    struct np_tree_dir t;
    size_t n = 0;
    while (v && n < TREE_MAX && np_tree_get(&s, &t)) {
        struct gfs_listing *l = gfs_listing_new(t.name);
        struct gfs_chunk *k = l ? gfs_listing_add(c, l, t.entries) : nullptr;
        if (k)
            gfs_listing_finish(c, l, gd->changes);
        if (!k || !gfs_listing_whole(c, l)) { // or something has changed meanwhile
            gfs_listing_disown(c, l);
            break;
        }
        ref_get(&l->ref); // ours, until all have found their places
        v[n++] = l;
        struct gfs_listing *in = t.parent == NP_NOFID ? top : t.parent < n - 1 ? v[t.parent] : nullptr;
        if (n == 1 && t.ino == gi->vfs.ino && !gd->listing) {
            ref_get(&l->ref);
            listing_enter(gd, l);
            gfs_listing_set(gi, l, true);
        } else {
            tree_put(parent, in, t.ino, l);
        }
    }
    for (size_t i = 0; i < n; i++)
        gfs_listing_unref(c, v[i]);
    gfs_listing_unref(c, top);
    mem_free(v);
}
// True: gi's entries have come with it.
static bool tree_start(struct gofer_inode *gi, struct gofer_dir *gd)
{
    struct gofer_client *c = gc_of(gi);
    char name[NP_NAME_MAX + 1];
    uint32_t count, fid;
    bool attrs;
    if (!gs_of(gi->vfs.sb)->exclusive || READ_SHARED(c->no_tree))
        return false;
    struct gofer_inode *p = tree_parent(gi, &count, &attrs, name);
    if (!p)
        return false;
    struct span dirs;
    uint8_t *names = mem_alloc(TREE_NAMES);
    int err = names ? dir_buf(gd, TREE_BUF) : -ENOMEM;
    if (!err)
        err = gfs_fid_get(p, &fid);
    if (!err) {
        struct wspan w = wspan_of(names, TREE_NAMES);
        gfs_listing_names(p, np_cstr(name), TREE_SIBLINGS, &w);
        err = c9_listtree(c, fid, attrs, count, span_of(names, w.used), &gd->reply, &dirs);
        gfs_fid_put(p);
        if (err == -EPROTO || err == -EOPNOTSUPP)
            WRITE_SHARED(c->no_tree, true);
    }
    if (!err)
        tree_take(gi, p, gd, dirs);
    mem_free(names);
    inode_put(&p->vfs);
    return gd->listing;
}

// Opens the directory on the server; the first entries come along.
static int server_start(struct gofer_inode *gi, struct gofer_dir *gd)
{
    struct gofer_client *c = gc_of(gi);
    struct gofer_inode *base;
    struct np_names names;
    struct c9_node n;
    size_t found;
    uint32_t fid;
    char buf[NP_NAME_MAX + 1];
    int err = dir_buf(gd, DIR_BUF);
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
    if (c->ext) {
        gd->pos = DIR_FIRST;
        listing_keep(gi, gd);
    }
    return 0;
}
static int dir_start(struct gofer_inode *gi, struct gofer_dir *gd)
{
    struct gofer_client *c = gc_of(gi);
    listing_leave(gi, gd);
    if (!c->ext)
        return server_start(gi, gd);
    gd->changes = gfs_changes(c);
    struct gfs_listing *l = gfs_listing_get(gi);
    if (l)
        listing_enter(gd, l);
    int err = l || tree_start(gi, gd) ? 0 : server_start(gi, gd);
    if (!err && gd->eof && gd->chunk)
        dir_buf_free(gd);
    return err;
}
static int gofer_dir_open(struct file *f)
{
    struct gofer_dir *gd = slab_alloc(&gofer_dir_slab);
    if (!gd)
        return -ENOMEM;
    gd->fid = NP_NOFID;
    int err = dir_start(gi_of(f->inode), gd);
    if (err) {
        listing_leave(gi_of(f->inode), gd);
        dir_buf_free(gd);
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
    listing_leave(gi_of(f->inode), gd);
    dir_buf_free(gd);
    slab_free(&gofer_dir_slab, gd);
}
// Host cookies are 63 bits wide; the two dots come first.
static int64_t pos_of(uint64_t cookie)
{
    return cookie > (uint64_t)(INT64_MAX - DIR_FIRST) ? INT64_MAX : (int64_t)cookie + DIR_FIRST;
}
// In a directory that came as a whole.
static bool skip_to(struct gofer_inode *gi, struct gofer_dir *gd, int64_t pos)
{
    struct np_dirent d;
    do
        while (gd->pos != pos && np_dirent_plus_get(&gd->rest, &d))
            gd->pos = pos_of(d.offset);
    while (gd->pos != pos && next_chunk(gi, gd));
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
        if (gd->fid == NP_NOFID && skip_to(gi, gd, pos))
            return 0;
        if (gd->fid == NP_NOFID) // an entry that is gone: the server knows what came after
            err = dir_open_server(gi, gd);
        if (err)
            return err;
    }
    bool follows = gd->pos == pos && pos != DIR_FIRST; // not from anywhere: those are in no listing
    err = dir_buf(gd, DIR_BUF);
    if (!err)
        err = c9_readdir(c, gd->fid, (uint64_t)(pos - DIR_FIRST), &gd->reply, &gd->rest, &gd->eof);
    if (err)
        return err;
    gd->pos = pos;
    if (!follows)
        listing_leave(gi, gd);
    else if (gd->listing)
        listing_keep(gi, gd);
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
        if (gd->pos == dc->pos && !gd->rest.n && !rewound && !next_chunk(gi, gd) && gd->eof)
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
void gfs_dir_look(struct gofer_inode *dir, unsigned misses)
{
    struct gofer_client *c = gc_of(dir);
    if (!gs_of(dir->vfs.sb)->exclusive || !c->ext)
        return;
    unsigned parts = misses == LOOK_FEW ? 1 : misses == LOOK_MANY ? 32 : 0;
    struct gofer_dir gd = {.fid = NP_NOFID};
    if (!parts)
        return;
    gd.changes = gfs_changes(c);
    int err = server_start(dir, &gd);
    while (!err && --parts && !gd.eof && gd.chunk) {
        struct np_dirent d;
        int64_t pos = gd.pos;
        while (np_dirent_plus_get(&gd.rest, &d))
            pos = pos_of(d.offset);
        if (pos == gd.pos)
            break;
        gd.pos = pos;
        err = fill(dir, &gd, pos);
    }
    c9_clunk(c, gd.fid);
    listing_leave(dir, &gd);
    dir_buf_free(&gd);
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
