// SPDX-License-Identifier: Apache-2.0
// Opening ahead. An open for reading costs a round trip, and who reads a tree opens one file after
// the other: in the order of the directory (grep -r, tar) or of the names (shells, git). When two of a
// directory have come in one of these orders, the files that follow are opened with the next one
// (Topenfiles), more each time. Their descriptors wait here, by inode number: that cannot come to
// mean another file while one is open, so they need no looking at again but for their kind.
#include "fs/gofer/gfs.h"
#include <errno.h>

constexpr unsigned FIRST = 4, FIRST_HINTED = 8, MOST = NP_OPEN_MAX - 1;
constexpr size_t SKIP = 8; // files that are open already, between two that are opened

static struct gfs_ahead *find_locked(struct gofer_client *c, const struct gofer_super *gs, uint64_t ino)
{
    for (size_t i = 0; i < ARRAY_LEN(c->ahead); i++)
        if (c->ahead[i].gs == gs && c->ahead[i].ino == ino)
            return &c->ahead[i];
    return nullptr;
}
static int take_locked(struct gofer_client *c, const struct gofer_super *gs, uint64_t ino)
{
    struct gfs_ahead *a = find_locked(c, gs, ino);
    if (!a)
        return -1;
    a->gs = nullptr;
    return a->fd;
}
bool gfs_ahead_take(struct gofer_inode *gi)
{
    struct gofer_client *c = gc_of(gi);
    spin_lock(&c->inode_lock);
    // One that has lost its name is not the file that the number means now.
    int fd = gi->hashed && gi->parent ? take_locked(c, gs_of(gi->vfs.sb), gi->vfs.ino) : -1;
    spin_unlock(&c->inode_lock);
    if (fd < 0)
        return false;
    bool ok = c9_fd_ok(fd);
    if (ok)
        gfs_fds_add(gi, fd);
    else
        c9_close_fd(fd);
    return ok;
}
void gfs_ahead_forget(struct gofer_super *gs, uint64_t ino)
{
    spin_lock(&gs->c->inode_lock);
    int fd = take_locked(gs->c, gs, ino);
    spin_unlock(&gs->c->inode_lock);
    if (fd >= 0)
        c9_close_fd(fd);
}
void gfs_ahead_drop(struct gofer_client *c, const struct gofer_super *gs)
{
    int drop[ARRAY_LEN(c->ahead)];
    size_t n = 0;
    spin_lock(&c->inode_lock);
    for (size_t i = 0; i < ARRAY_LEN(c->ahead); i++) {
        if (c->ahead[i].gs == gs)
            drop[n++] = c->ahead[i].fd;
        if (c->ahead[i].gs == gs)
            c->ahead[i].gs = nullptr;
    }
    for (size_t i = 0; i < ARRAY_LEN(c->streams); i++)
        if (c->streams[i].gs == gs)
            c->streams[i].gs = nullptr;
    spin_unlock(&c->inode_lock);
    while (n)
        c9_close_fd(drop[--n]);
}
static void put(struct gofer_super *gs, uint64_t ino, int fd)
{
    struct gofer_client *c = gs->c;
    spin_lock(&c->inode_lock);
    int drop = fd;
    if (!find_locked(c, gs, ino)) {
        struct gfs_ahead *a = &c->ahead[c->ahead_next++ % ARRAY_LEN(c->ahead)];
        drop = a->gs ? a->fd : -1;
        *a = (struct gfs_ahead){gs, ino, fd};
    }
    spin_unlock(&c->inode_lock);
    if (drop >= 0)
        c9_close_fd(drop);
}

// --- sequences ---
static struct gfs_stream *stream_locked(struct gofer_client *c, const struct gofer_super *gs,
                                        uint64_t dir, bool *fresh)
{
    struct gfs_stream *old = &c->streams[0];
    *fresh = false;
    c->stream_clock++;
    for (size_t i = 0; i < ARRAY_LEN(c->streams); i++) {
        struct gfs_stream *s = &c->streams[i];
        if (s->gs == gs && s->dir == dir) {
            s->used = c->stream_clock;
            return s;
        }
        if (!s->gs || (old->gs && s->used < old->used))
            old = s;
    }
    *fresh = true;
    *old = (struct gfs_stream){.gs = gs, .dir = dir, .used = c->stream_clock};
    return old;
}
static bool have_locked(struct gofer_super *gs, uint64_t ino)
{
    return gfs_ino_open_locked(gs, ino) || find_locked(gs->c, gs, ino);
}
static void last_set(struct gfs_stream *s, struct span name)
{
    s->len = (uint8_t)name.n;
    memcpy(s->last, name.p, name.n);
}
// Whether the file is the next one that had to be opened.
static bool follows_locked(struct gofer_inode *dir, struct gofer_inode *gi, const struct gfs_stream *s,
                           enum gfs_order order)
{
    struct gfs_next v[SKIP];
    size_t n = gfs_listing_next_locked(dir, span_of(s->last, s->len), order, v, ARRAY_LEN(v));
    for (size_t i = 0; i < n; i++) {
        if (v[i].ino == gi->vfs.ino)
            return true;
        if (!have_locked(gs_of(gi->vfs.sb), v[i].ino))
            return false;
    }
    return false;
}
static enum gfs_order order_locked(struct gofer_client *c, struct gofer_inode *dir,
                                   struct gofer_inode *gi, const struct gfs_stream *s, bool fresh)
{
    enum gfs_order known = fresh ? c->order_hint : s->order;
    if (known != GFS_UNORDERED)
        return follows_locked(dir, gi, s, known) ? known : GFS_UNORDERED;
    if (fresh)
        return GFS_UNORDERED;
    return follows_locked(dir, gi, s, GFS_LISTED)   ? GFS_LISTED
           : follows_locked(dir, gi, s, GFS_SORTED) ? GFS_SORTED
                                                    : GFS_UNORDERED;
}
// The names to open, gi's first; how many. 0: it is opened alone.
static size_t plan_locked(struct gofer_inode *dir, struct gofer_inode *gi, struct wspan *w)
{
    struct gofer_super *gs = gs_of(gi->vfs.sb);
    struct gofer_client *c = gs->c;
    struct gfs_next v[MOST];
    bool fresh;
    struct gfs_stream *s = stream_locked(c, gs, dir->vfs.ino, &fresh);
    struct span name = np_cstr(gi->name);
    enum gfs_order order = order_locked(c, dir, gi, s, fresh);
    s->order = order;
    s->count = order == GFS_UNORDERED ? 0
               : s->count             ? (uint8_t)MIN(s->count * 2u, MOST)
                                      : (fresh ? FIRST_HINTED : FIRST);
    last_set(s, name);
    if (!s->count || !np_name_add(w, name))
        return 0;
    if (s->count > FIRST)
        c->order_hint = order;
    size_t n = gfs_listing_next_locked(dir, name, order, v, s->count), asked = 1;
    for (size_t i = 0; i < n; i++) {
        if (!have_locked(gs, v[i].ino)) {
            if (!np_name_add(w, v[i].name))
                break;
            asked++;
        }
        last_set(s, v[i].name);
    }
    return asked > 1 ? asked : 0;
}
bool gfs_ahead_ask(struct gofer_inode *gi)
{
    struct gofer_super *gs = gs_of(gi->vfs.sb);
    struct gofer_client *c = gs->c;
    struct c9_opened v[NP_OPEN_MAX];
    uint8_t names[2048];
    struct wspan w = wspan_of(names, sizeof(names));
    uint32_t fid;
    if (READ_SHARED(c->no_ahead))
        return false;
    spin_lock(&c->inode_lock);
    struct gofer_inode *dir = gi->hashed ? gi->parent : nullptr;
    size_t n = dir ? plan_locked(dir, gi, &w) : 0;
    if (n)
        inode_get(&dir->vfs);
    spin_unlock(&c->inode_lock);
    if (!n)
        return false;
    int err = gfs_fid_get(dir, &fid);
    if (!err) {
        err = c9_openfiles(c, fid, span_of(names, w.used), n, v);
        gfs_fid_put(dir);
        if (err == -EPROTO)
            WRITE_SHARED(c->no_ahead, true);
    }
    inode_put(&dir->vfs);
    for (size_t i = 0; !err && i < n; i++)
        if (v[i].fd >= 0)
            put(gs, v[i].ino, v[i].fd);
    return !err && gfs_ahead_take(gi);
}
