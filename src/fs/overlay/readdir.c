// SPDX-License-Identifier: Apache-2.0
// Reading directories of the overlay. One that exists in a single layer, where no whiteouts can be,
// is passed through. Others are merged into a listing once; positions are indices into it. Files
// open on the directory share the listing while nothing changes; rewinding takes a fresh one.
#include "fs/overlay/ovl.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

constexpr int64_t FIRST_POS = 2; // after the dots
struct entry {
    struct hnode hnode;
    uint64_t ino;
    uint32_t name; // offset into text
    uint8_t len, dtype;
    bool white;    // hides the rest below; not shown
    bool upper;    // number not yet that of a lower file
};
struct ovl_listing {
    struct ref ref;
    uint64_t version;
    struct entry **v;  // owned, in order
    size_t n, cap;
    struct htab names;
    struct strbuf text;
};
struct ovl_dir { // an open directory
    struct file *real;           // ref: passed through
    struct ovl_listing *listing; // [inode lock] ref
};
SLAB_DEFINE(ovl_dir_slab, struct ovl_dir);
SLAB_DEFINE(entry_slab, struct entry);
SLAB_DEFINE(listing_slab, struct ovl_listing);

static void listing_put(struct ovl_listing *l)
{
    if (!l || !ref_put(&l->ref))
        return;
    for (size_t i = 0; i < l->n; i++)
        slab_free(&entry_slab, l->v[i]);
    mem_free(l->v);
    htab_free(&l->names);
    strbuf_free(&l->text);
    slab_free(&listing_slab, l);
}
static struct entry *find(struct ovl_listing *l, const char *name, size_t n)
{
    struct hnode *h = htab_chain(&l->names, hash_bytes(name, n));
    for (; h; h = htab_chain_next(h)) {
        struct entry *e = container_of(h, struct entry, hnode);
        if (e->len == n && !memcmp(l->text.p + e->name, name, n))
            return e;
    }
    return nullptr;
}
struct collect {
    struct dir_context dc;
    struct ovl_listing *l;
    uint64_t salt;   // of a lower layer's inode numbers
    bool upper;
    int err;
};
static bool add(struct collect *c, const char *name, size_t n, uint64_t ino, uint8_t dtype)
{
    struct ovl_listing *l = c->l;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct entry **v = mem_realloc(l->v, cap * sizeof(*v));
        if (!v)
            return false;
        l->v = v;
        l->cap = cap;
    }
    struct entry *e = slab_alloc(&entry_slab);
    if (!e)
        return false;
    *e = (struct entry){.ino = ino, .name = (uint32_t)l->text.len, .len = (uint8_t)n,
                        .dtype = dtype, .upper = c->upper};
    strbuf_put(&l->text, name, n);
    if (l->text.bad || htab_insert(&l->names, &e->hnode, hash_bytes(name, n))) {
        slab_free(&entry_slab, e);
        return false;
    }
    l->v[l->n++] = e;
    return true;
}
static bool collect_one(struct dir_context *dc, const char *name, size_t n, uint64_t ino,
                        uint8_t dtype, int64_t next)
{
    struct collect *c = container_of(dc, struct collect, dc);
    dc->pos = next;
    if (n > 255 || (name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.'))))
        return true;
    ino = c->upper ? ino ^ (1ull << 48) : ino ^ c->salt;
    struct entry *e = find(c->l, name, n);
    if (e) {
        // A file or directory that was copied up keeps the number it had below.
        if (e->upper && e->dtype == dtype && !e->white)
            e->ino = ino;
        e->upper = false;
        return true;
    }
    if (!add(c, name, n, ino, dtype)) {
        c->err = -ENOMEM;
        return false;
    }
    return true;
}
static int read_layer(const struct ovl_super *os, struct mount *mnt, struct dentry *d,
                      struct collect *c)
{
    struct path p = {.mnt = mnt, .dentry = d};
    struct file *f;
    int err = vfs_open_path(&p, O_RDONLY | O_DIRECTORY, os->cred, &f);
    if (err)
        return err;
    size_t from = c->l->n;
    c->dc = (struct dir_context){.emit = collect_one};
    for (int64_t before = -1; !err && !c->err && c->dc.pos != before;) {
        before = c->dc.pos;
        err = f->ops->readdir ? f->ops->readdir(f, &c->dc) : -ENOTDIR;
    }
    file_put(f);
    // Character devices may be whiteouts; seen now that the directory is not locked any more.
    for (size_t i = from; !err && !c->err && i < c->l->n; i++) {
        struct entry *e = c->l->v[i];
        struct dentry *w;
        if (e->dtype != DT_CHR && e->dtype != DT_UNKNOWN)
            continue;
        err = vfs_lookup_child(d, c->l->text.p + e->name, e->len, &w);
        if (!err) {
            e->white = ovl_is_whiteout(w);
            dentry_put(w);
        }
    }
    return err ? err : c->err;
}
static int build(struct ovl_inode *oi, struct ovl_listing **out)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    struct ovl_listing *l = slab_alloc(&listing_slab);
    struct dentry *u = ovl_upper(oi);
    int err = 0;
    if (!l)
        return -ENOMEM;
    ref_init(&l->ref);
    l->version = __atomic_load_n(&oi->version, __ATOMIC_ACQUIRE);
    struct collect c = {.l = l, .upper = true};
    if (u)
        err = read_layer(os, os->upper.mnt, u, &c);
    c.upper = false;
    for (size_t k = 0; !err && k < oi->nlower; k++) {
        c.salt = oi->lower[k].layer * 0x9e3779b97f4a7c15u;
        err = read_layer(os, os->lower[oi->lower[k].layer].mnt, oi->lower[k].dentry, &c);
        }
    if (err)
        listing_put(l);
    else
        *out = l;
    return err;
}
// The shared listing when it is still right, else a new one.
static int listing_get(struct ovl_inode *oi, struct ovl_listing **out)
{
    spin_lock(&oi->list_lock);
    struct ovl_listing *l = oi->listing;
    bool ok = l && l->version == __atomic_load_n(&oi->version, __ATOMIC_ACQUIRE);
    if (ok)
        ref_get(&l->ref);
    spin_unlock(&oi->list_lock);
    if (ok) {
        *out = l;
        return 0;
    }
    int err = build(oi, out);
    if (err)
        return err;
    struct ovl_listing *old;
    ref_get(&(*out)->ref); // the inode's, until the last user goes
    spin_lock(&oi->list_lock);
    old = oi->listing;
    oi->listing = *out;
    spin_unlock(&oi->list_lock);
    listing_put(old);
    return 0;
}
// The inode lets go of a listing that nobody else uses.
static void listing_done(struct ovl_inode *oi, struct ovl_listing *l)
{
    struct ovl_listing *drop = nullptr;
    if (!l)
        return;
    listing_put(l);
    spin_lock(&oi->list_lock);
    if (oi->listing == l && ref_count(&l->ref) == 1) {
        drop = l;
        oi->listing = nullptr;
    }
    spin_unlock(&oi->list_lock);
    listing_put(drop);
}

int ovl_check_empty(struct ovl_inode *oi, bool remove_whiteouts)
{
    struct ovl_listing *l;
    struct dentry *u = ovl_upper(oi);
    int err = build(oi, &l);
    if (err)
        return err;
    for (size_t i = 0; i < l->n; i++)
        if (!l->v[i]->white)
            err = 1;
    if (!err && remove_whiteouts && u && l->n) {
        struct inode *di = u->inode;
        mutex_lock(&di->lock);
        for (size_t i = 0; i < l->n && !err; i++) {
            struct dentry *w;
            err = dentry_lookup_locked(u, l->text.p + l->v[i]->name, l->v[i]->len, &w);
            if (err)
                break;
            if (ovl_is_whiteout(w)) {
                err = di->ops->unlink(di, w);
                if (!err)
                    dentry_unhash(w);
            }
            dentry_put(w);
        }
        mutex_unlock(&di->lock);
    }
    listing_put(l);
    return err;
}

// --- open directories ---
static bool passes_through(struct ovl_inode *oi)
{
    struct ovl_super *os = os_of(oi->vfs.sb);
    return ovl_upper(oi) ? oi->nlower == 0 : oi->nlower == 1 && os->nlower == 1;
}
static int ovl_dir_open(struct file *f)
{
    struct ovl_inode *oi = oi_of(f->inode);
    struct ovl_dir *od = slab_alloc(&ovl_dir_slab);
    if (!od)
        return -ENOMEM;
    f->data = od;
    if (!passes_through(oi))
        return 0;
    struct path p = ovl_real_path(oi);
    int err = vfs_open_path(&p, O_RDONLY | O_DIRECTORY, os_of(f->inode->sb)->cred, &od->real);
    if (err)
        slab_free(&ovl_dir_slab, od);
    return err;
}
static void ovl_dir_release(struct file *f)
{
    struct ovl_dir *od = f->data;
    file_put(od->real);
    listing_done(oi_of(f->inode), od->listing);
    slab_free(&ovl_dir_slab, od);
}
struct pass { // numbers translated on the way
    struct dir_context dc, *out;
    uint64_t salt;
};
static bool pass_one(struct dir_context *dc, const char *name, size_t n, uint64_t ino, uint8_t dtype,
                     int64_t next)
{
    struct pass *p = container_of(dc, struct pass, dc);
    return p->out->emit(p->out, name, n, ino ^ p->salt, dtype, next);
}
static int pass_through(struct ovl_inode *oi, struct ovl_dir *od, struct dir_context *dc)
{
    struct pass p = {.dc = {.emit = pass_one, .pos = dc->pos}, .out = dc};
    p.salt = oi->nlower ? oi->lower[0].layer * 0x9e3779b97f4a7c15u : 1ull << 48;
    int err = od->real->ops->readdir(od->real, &p.dc);
    dc->pos = p.dc.pos;
    return err;
}
static int merged(struct file *f, struct ovl_dir *od, struct dir_context *dc)
{
    struct ovl_inode *oi = oi_of(f->inode);
    int err = 0;
    mutex_lock(&f->inode->lock);
    if (dc->pos == FIRST_POS || !od->listing) {
        listing_done(oi, od->listing);
        od->listing = nullptr;
        err = listing_get(oi, &od->listing);
    }
    struct ovl_listing *l = od->listing;
    while (!err && (uint64_t)(dc->pos - FIRST_POS) < l->n) {
        struct entry *e = l->v[dc->pos - FIRST_POS];
        char name[256];
        memcpy(name, l->text.p + e->name, e->len);
        name[e->len] = 0;
        int64_t next = dc->pos + 1;
        if (!e->white && !dc->emit(dc, name, e->len, e->ino, e->dtype, next))
            break;
        dc->pos = next;
    }
    mutex_unlock(&f->inode->lock);
    return err;
}
static int ovl_readdir(struct file *f, struct dir_context *dc)
{
    struct ovl_dir *od = f->data;
    if (dc->pos < 0)
        return -EINVAL;
    if (!dir_emit_dots(f, dc))
        return 0;
    return od->real ? pass_through(oi_of(f->inode), od, dc) : merged(f, od, dc);
}
static int64_t ovl_dir_llseek(struct file *f, int64_t off, int whence)
{
    if (whence == SEEK_CUR && __builtin_add_overflow(off, f->pos, &off))
        return -EOVERFLOW;
    if (whence != SEEK_CUR && whence != SEEK_SET)
        return -EINVAL;
    return off < 0 ? -EINVAL : off;
}
static int ovl_dir_fsync(struct file *f, bool datasync)
{
    struct ovl_dir *od = f->data;
    struct file *r = od->real;
    return r && r->ops->fsync ? r->ops->fsync(r, datasync) : 0;
}

const struct file_ops ovl_dir_fops = {
    .open = ovl_dir_open,
    .readdir = ovl_readdir,
    .llseek = ovl_dir_llseek,
    .fsync = ovl_dir_fsync,
    .release = ovl_dir_release,
};
