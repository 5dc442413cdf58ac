// SPDX-License-Identifier: Apache-2.0
// Which names a directory of an exclusive mount holds, as a set of hashes: after two look-ups of
// names that are not there the whole listing is fetched once, and further absent names (library
// search paths, new files) are known to be absent without a round trip. A hash in the set proves
// nothing; one that is not proves absence. All under the directory's lock.
#include "fs/gofer/gfs.h"
#include "base/slab.h"
#include <errno.h>
#include <fcntl.h>

constexpr size_t MAX_NAMES = 16384;        // per directory: larger ones are not worth it
constexpr size_t MAX_TOTAL = 1 << 20;      // of a client
constexpr uint8_t MISSES = 2;
constexpr size_t LIST_BUF = 32 << 10;

struct gfs_names {
    size_t n, size; // size: of hash, a power of two, at most half full
    uint32_t *hash; // owned; 0: free
};
static uint32_t name_hash(const void *p, size_t n)
{
    uint32_t h = (uint32_t)hash_bytes(p, n);
    return h ? h : 1;
}
static size_t slot(const struct gfs_names *s, uint32_t h)
{
    size_t i = h & (s->size - 1);
    while (s->hash[i] && s->hash[i] != h)
        i = (i + 1) & (s->size - 1);
    return i;
}
static bool set_add(struct gfs_names *s, uint32_t h)
{
    if ((s->n + 1) * 2 > s->size) {
        struct gfs_names big = {.size = s->size ? s->size * 2 : 64};
        big.hash = s->n < MAX_NAMES ? mem_alloc_array(big.size, sizeof(*big.hash)) : nullptr;
        if (!big.hash)
            return false;
        for (size_t i = 0; i < s->size; i++)
            if (s->hash[i])
                big.hash[slot(&big, s->hash[i])] = s->hash[i];
        mem_free(s->hash);
        s->hash = big.hash;
        s->size = big.size;
    }
    size_t i = slot(s, h);
    s->n += !s->hash[i];
    s->hash[i] = h;
    return true;
}
static void set_free(struct gfs_names *s)
{
    mem_free(s->hash);
    mem_free(s);
}

bool gfs_names_absent(struct gofer_inode *dir, const char *name, size_t n)
{
    struct gfs_names *s = dir->names;
    return s && !(s->size && s->hash[slot(s, name_hash(name, n))]);
}
void gfs_names_free(struct gofer_inode *dir)
{
    struct gfs_names *s = dir->names;
    dir->names = nullptr;
    if (s) {
        __atomic_sub_fetch(&gc_of(dir)->nnames, s->n, __ATOMIC_RELAXED);
        set_free(s);
    }
}
void gfs_names_add(struct gofer_inode *dir, const char *name, size_t n)
{
    struct gfs_names *s = dir->names;
    if (!s)
        return;
    size_t before = s->n;
    if (set_add(s, name_hash(name, n)))
        __atomic_add_fetch(&gc_of(dir)->nnames, s->n - before, __ATOMIC_RELAXED);
    else
        gfs_names_free(dir);
}

static int list(struct gofer_client *c, uint32_t fid, struct gfs_names *s, uint8_t *buf)
{
    uint64_t off = 0;
    for (;;) {
        struct c9_reply r;
        struct np_dirent d;
        c9_reply_init(&r);
        r.buf = buf;
        r.cap = LIST_BUF;
        struct span e;
        int err = c9_readnames(c, fid, off, &r, &e);
        if (err || !e.n) {
            if (!err)
                c9_done(&r);
            return err;
        }
        bool ok = true;
        while (ok && np_dirent_get(&e, &d)) {
            ok = set_add(s, name_hash(d.name.p, d.name.n));
            off = d.offset;
        }
        ok = ok && span_ok(&e);
        c9_done(&r);
        if (!ok)
            return -E2BIG;
    }
}
void gfs_names_miss(struct gofer_inode *dir)
{
    struct gofer_client *c = gc_of(dir);
    struct np_names none = {};
    struct c9_node n;
    size_t found;
    uint32_t fid, io;
    int fd;
    if (!gs_of(dir->vfs.sb)->exclusive || dir->names || dir->misses > MISSES)
        return;
    if (++dir->misses < MISSES || READ_SHARED(c->nnames) > MAX_TOTAL)
        return;
    dir->misses = MISSES + 1; // once, whatever comes of it
    struct gfs_names *s = mem_alloc(sizeof(*s));
    uint8_t *buf = mem_alloc(LIST_BUF);
    int err = s && buf ? gfs_fid_get(dir, &fid) : -ENOMEM;
    if (!err) {
        io = c9_fid_new(c);
        err = io == NP_NOFID ? -ENFILE
                             : c9_open(c, fid, io, O_RDONLY | O_DIRECTORY, &none, &found, &n, &fd);
        gfs_fid_put(dir);
        if (!err) {
            err = list(c, io, s, buf);
            c9_clunk(c, io);
        }
    }
    mem_free(buf);
    if (err) {
        if (s)
            set_free(s);
        return;
    }
    __atomic_add_fetch(&c->nnames, s->n, __ATOMIC_RELAXED);
    dir->names = s;
}
