// SPDX-License-Identifier: Apache-2.0
// What the server told of whole directories: entries with attributes, kept as they came. Look-ups
// take attributes from here (each once: what is cached afterwards is newer), and in an exclusive
// mount a directory that we have not changed since is read and searched without asking again.
// Listings of directories below that nobody has looked up yet hang on the listing that names them
// (Rlisttree). The least recently used go first.
#include "fs/gofer/gfs.h"
#include "base/slab.h"
#include "kern/limits.h"
#include <dirent.h>

// Of a client: a 512th of the container's memory, within bounds. A tree with its attributes takes
// about 150 bytes a file, without them 50.
constexpr size_t BYTES_MIN = 4 << 20, BYTES_MAX = 64 << 20, BYTES_SHARE = 512;
constexpr size_t MAX_ONE = 1 << 20;       // of one directory
constexpr uint32_t TAKEN = 1u << 31;
constexpr size_t offsetof_qid_path = 5;   // of an entry: qid type[1] version[4] path[8]
constexpr unsigned MAX_SCAN = 256;        // entries looked at for names that follow
constexpr unsigned MAX_SORT = 512;        // entries of a directory whose names are sorted for that

struct gfs_chunk { // entries of one reply
    struct gfs_chunk *next;  // [n] set once
    uint32_t len, nslots;    // [C] nslots: a power of two, at most half full
    uint32_t slots[];        // [n] 1 + offset of an entry; TAKEN
};
static size_t chunk_size(const struct gfs_chunk *k)
{
    return sizeof(*k) + k->nslots * sizeof(uint32_t) + k->len;
}
static const uint8_t *chunk_bytes(const struct gfs_chunk *k)
{
    return (const uint8_t *)(k->slots + k->nslots);
}
struct span gfs_chunk_entries(const struct gfs_chunk *k)
{
    return span_of(chunk_bytes(k), k->len);
}
struct gfs_chunk *gfs_chunk_next(struct gofer_client *c, struct gfs_chunk *k)
{
    spin_lock(&c->inode_lock);
    struct gfs_chunk *next = k->next;
    spin_unlock(&c->inode_lock);
    return next;
}
struct gfs_chunk *gfs_listing_first(struct gfs_listing *l)
{
    return l->first; // a listing that others can see has one
}

// --- life ---
struct gfs_listing *gfs_listing_new(struct span name)
{
    struct gfs_listing *l = mem_alloc(sizeof(*l) + name.n);
    if (!l)
        return nullptr;
    ref_init(&l->ref);
    list_init(&l->lru);
    list_init(&l->children);
    list_init(&l->sibling);
    l->namelen = (uint8_t)name.n;
    if (name.n)
        memcpy(l->name, name.p, name.n);
    l->owned = true;
    l->stamp = ktime_now();
    return l;
}
void gfs_listing_unref(struct gofer_client *c, struct gfs_listing *l)
{
    if (!l || !ref_put(&l->ref))
        return;
    for (struct gfs_chunk *k = l->first, *next; k; k = next) {
        next = k->next;
        __atomic_sub_fetch(&c->listing_bytes, chunk_size(k), __ATOMIC_RELAXED);
        mem_free(k);
    }
    mem_free(l);
}
void gfs_listing_disown(struct gofer_client *c, struct gfs_listing *l)
{
    struct list work;
    list_init(&work);
    if (!l)
        return;
    list_push_back(&work, &l->sibling);
    while (!list_empty(&work)) {
        l = list_entry(work.next, struct gfs_listing, sibling);
        list_del(&l->sibling);
        spin_lock(&c->inode_lock);
        l->owned = false;
        while (!list_empty(&l->children)) {
            struct list *k = l->children.next;
            list_del(k);
            list_push_back(&work, k);
        }
        spin_unlock(&c->inode_lock);
        gfs_listing_unref(c, l);
    }
}
static struct gfs_listing *detach_locked(struct gofer_inode *gi)
{
    struct gfs_listing *l = gi->listing;
    if (l) {
        list_del(&l->lru);
        l->dir = nullptr;
        WRITE_SHARED(gi->listing, nullptr);
    }
    return l;
}
void gfs_listing_drop(struct gofer_inode *gi)
{
    struct gofer_client *c = gc_of(gi);
    spin_lock(&c->inode_lock);
    struct gfs_listing *l = detach_locked(gi);
    spin_unlock(&c->inode_lock);
    gfs_listing_disown(c, l);
}
static size_t bytes_max(void)
{
    uint64_t n = machine_mem_total() / BYTES_SHARE;
    return n < BYTES_MIN ? BYTES_MIN : MIN(n, BYTES_MAX);
}
static void evict(struct gofer_client *c, const struct gfs_listing *keep)
{
    while (__atomic_load_n(&c->listing_bytes, __ATOMIC_RELAXED) > bytes_max()) {
        spin_lock(&c->inode_lock);
        struct gfs_listing *old = list_last(&c->listings, struct gfs_listing, lru);
        if (old && old != keep)
            detach_locked(old->dir);
        else
            old = nullptr;
        spin_unlock(&c->inode_lock);
        if (!old)
            return;
        gfs_listing_disown(c, old);
    }
}
static bool entry_at(const struct gfs_chunk *k, uint32_t slot, struct np_dirent *d)
{
    uint32_t off = (slot & ~TAKEN) - 1;
    struct span s = span_of(chunk_bytes(k) + off, k->len - off);
    return np_dirent_plus_get(&s, d);
}
static uint32_t *find_locked(struct gfs_listing *l, struct span name, struct np_dirent *d,
                             struct gfs_chunk **in)
{
    uint64_t hash = hash_bytes(name.p, name.n);
    for (struct gfs_chunk *k = l->first; k; k = k->next) {
        for (uint32_t i = (uint32_t)hash & (k->nslots - 1); k->slots[i];
             i = (i + 1) & (k->nslots - 1)) {
            if (entry_at(k, k->slots[i], d) && d->name.n == name.n &&
                !memcmp(d->name.p, name.p, name.n)) {
                *in = k;
                return &k->slots[i];
            }
        }
    }
    return nullptr;
}
// What is cached is newer than what was told, also once it has left the cache.
static void mark_cached_locked(struct gofer_inode *dir, struct gfs_chunk *k)
{
    struct gofer_super *gs = gs_of(dir->vfs.sb);
    for (uint32_t i = 0; i < k->nslots; i++) {
        uint64_t ino;
        if (!k->slots[i])
            continue;
        memcpy(&ino, chunk_bytes(k) + (k->slots[i] & ~TAKEN) - 1 + offsetof_qid_path, sizeof(ino));
        if (gfs_inode_cached_locked(gs, ino))
            k->slots[i] |= TAKEN;
    }
}
void gfs_listing_cached_locked(struct gofer_inode *dir, struct span name)
{
    struct gfs_chunk *in;
    struct np_dirent d;
    uint32_t *slot = dir->listing ? find_locked(dir->listing, name, &d, &in) : nullptr;
    if (slot)
        *slot |= TAKEN;
}
void gfs_listing_set(struct gofer_inode *gi, struct gfs_listing *l, bool replace)
{
    struct gofer_client *c = gc_of(gi);
    struct gfs_listing *old = l;
    spin_lock(&c->inode_lock);
    if (replace || !gi->listing) {
        old = detach_locked(gi);
        WRITE_SHARED(gi->listing, l);
        l->dir = gi;
        list_push_front(&c->listings, &l->lru);
        for (struct gfs_chunk *k = l->first; k; k = k->next)
            mark_cached_locked(gi, k);
    }
    spin_unlock(&c->inode_lock);
    gfs_listing_disown(c, old);
    evict(c, l);
}

// --- contents ---
static void slots_fill(struct gfs_chunk *k)
{
    struct span s = span_of(chunk_bytes(k), k->len);
    struct np_dirent d;
    for (size_t off = 0; np_dirent_plus_get(&s, &d); off = k->len - s.n) {
        if (!np_name_ok(d.name))
            continue;
        uint32_t i = (uint32_t)hash_bytes(d.name.p, d.name.n) & (k->nslots - 1);
        while (k->slots[i])
            i = (i + 1) & (k->nslots - 1);
        k->slots[i] = (uint32_t)off + 1;
    }
}
struct gfs_chunk *gfs_listing_add(struct gofer_client *c, struct gfs_listing *l, struct span entries)
{
    struct span s = entries;
    struct np_dirent d;
    uint32_t n = 0, nslots = 4;
    while (np_dirent_plus_get(&s, &d))
        n++;
    while (nslots < 2 * n)
        nslots *= 2;
    struct gfs_chunk *k = nullptr;
    size_t size = sizeof(*k) + nslots * sizeof(uint32_t) + entries.n;
    if (span_ok(&s) && !l->partial && l->bytes + size <= MAX_ONE)
        k = mem_alloc(size);
    if (!k) {
        l->partial = true;
        return nullptr;
    }
    k->len = (uint32_t)entries.n;
    k->nslots = nslots;
    if (entries.n)
        memcpy((uint8_t *)chunk_bytes(k), entries.p, entries.n);
    slots_fill(k);
    l->bytes += size;
    __atomic_add_fetch(&c->listing_bytes, size, __ATOMIC_RELAXED);
    spin_lock(&c->inode_lock);
    if (l->last)
        l->last->next = k;
    else
        l->first = k;
    l->last = k;
    if (l->dir)
        mark_cached_locked(l->dir, k);
    l->stamp = ktime_now();
    spin_unlock(&c->inode_lock);
    return k;
}
uint64_t gfs_changes(struct gofer_client *c)
{
    spin_lock(&c->inode_lock);
    uint64_t n = c->dir_changes;
    spin_unlock(&c->inode_lock);
    return n;
}
void gfs_listing_finish(struct gofer_client *c, struct gfs_listing *l, uint64_t changes)
{
    spin_lock(&c->inode_lock);
    l->complete = !l->partial && changes == c->dir_changes;
    spin_unlock(&c->inode_lock);
}
void gfs_listing_changed(struct gofer_inode *dir)
{
    struct gofer_client *c = gc_of(dir);
    spin_lock(&c->inode_lock);
    c->dir_changes++;
    if (dir->listing)
        dir->listing->complete = false;
    spin_unlock(&c->inode_lock);
}
struct gfs_listing *gfs_listing_get(struct gofer_inode *dir)
{
    struct gofer_client *c = gc_of(dir);
    if (!gs_of(dir->vfs.sb)->exclusive)
        return nullptr;
    spin_lock(&c->inode_lock);
    struct gfs_listing *l = dir->listing;
    if (l && l->complete) {
        ref_get(&l->ref);
        list_del(&l->lru);
        list_push_front(&c->listings, &l->lru);
    } else {
        l = nullptr;
    }
    spin_unlock(&c->inode_lock);
    return l;
}

struct gfs_listing *gfs_listing_get_any(struct gofer_inode *dir)
{
    struct gofer_client *c = gc_of(dir);
    spin_lock(&c->inode_lock);
    struct gfs_listing *l = dir->listing;
    if (l)
        ref_get(&l->ref);
    spin_unlock(&c->inode_lock);
    return l;
}
bool gfs_listing_whole(struct gofer_client *c, struct gfs_listing *l)
{
    spin_lock(&c->inode_lock);
    bool whole = l->complete;
    spin_unlock(&c->inode_lock);
    return whole;
}

// --- look-ups ---
static struct gfs_listing *child_take_locked(struct gfs_listing *l, struct span name)
{
    list_for_each(it, &l->children) {
        struct gfs_listing *k = list_entry(it, struct gfs_listing, sibling);
        if (k->namelen == name.n && !memcmp(k->name, name.p, name.n)) {
            list_del(&k->sibling);
            return k;
        }
    }
    return nullptr;
}
enum gfs_told gfs_listing_take(struct gofer_inode *dir, struct span name, struct c9_node *out,
                               struct gfs_listing **below)
{
    struct gofer_client *c = gc_of(dir);
    bool exclusive = gs_of(dir->vfs.sb)->exclusive;
    enum gfs_told told = GFS_UNTOLD;
    *below = nullptr;
    if (!READ_SHARED(dir->listing))
        return told;
    ktime_t now = exclusive ? 0 : ktime_now();
    struct gfs_listing *drop = nullptr;
    spin_lock(&c->inode_lock);
    struct gfs_listing *l = dir->listing;
    struct gfs_chunk *in;
    struct np_dirent d;
    uint32_t *slot = l ? find_locked(l, name, &d, &in) : nullptr;
    if (slot && !(*slot & TAKEN)) {
        *slot |= TAKEN;
        *out = (struct c9_node){.qid = d.qid, .attr = d.attr};
        bool dirs = d.type == DT_DIR;
        if (!dirs)
            c->attrs_wanted = C9_ATTRS_WANTED;
        if (dirs)
            drop = child_take_locked(l, name);
        // A file of several names may have changed by another; what is cached is newer than this.
        if (d.has_attr && c9_node_ok(out) && (dirs || d.attr.nlink == 1) &&
            (exclusive || now - l->stamp < GFS_PREFETCH_SHARED_NS) &&
            !gfs_inode_cached_locked(gs_of(dir->vfs.sb), d.qid.path)) {
            told = GFS_TOLD;
            *below = drop;
            drop = nullptr;
        }
    } else if (l && !slot && exclusive && l->complete) {
        told = GFS_ABSENT;
    }
    spin_unlock(&c->inode_lock);
    gfs_listing_disown(c, drop);
    return told;
}
void gfs_listing_forget(struct gofer_inode *dir, struct span name)
{
    struct gfs_listing *below;
    struct c9_node n;
    (void)gfs_listing_take(dir, name, &n, &below);
    gfs_listing_disown(gc_of(dir), below);
}
void gfs_listing_hang(struct gofer_client *c, struct gfs_listing *l, struct gfs_listing *child)
{
    struct gfs_chunk *in;
    struct np_dirent d;
    spin_lock(&c->inode_lock);
    uint32_t *slot = l->owned ? find_locked(l, span_of(child->name, child->namelen), &d, &in) : nullptr;
    bool ok = slot && !(*slot & TAKEN);
    if (ok)
        list_push_back(&l->children, &child->sibling);
    spin_unlock(&c->inode_lock);
    if (!ok)
        gfs_listing_disown(c, child);
}
void gfs_listing_names(struct gofer_inode *dir, struct span name, unsigned max, struct wspan *w)
{
    struct gofer_client *c = gc_of(dir);
    struct gfs_chunk *in;
    struct np_dirent d;
    spin_lock(&c->inode_lock);
    struct gfs_listing *l = dir->listing;
    uint32_t *slot = l ? find_locked(l, name, &d, &in) : nullptr;
    if (!slot) {
        np_name_add(w, name);
    } else {
        uint32_t off = (*slot & ~TAKEN) - 1;
        struct span s = span_of(chunk_bytes(in) + off, in->len - off);
        for (unsigned i = 0, n = 0; i < MAX_SCAN && n < max && np_dirent_plus_get(&s, &d); i++)
            if (d.type == DT_DIR && np_name_ok(d.name) && ++n && !np_name_add(w, d.name))
                break;
    }
    spin_unlock(&c->inode_lock);
}

// --- what is opened next ---
static bool name_less(struct span a, struct span b)
{
    int r = memcmp(a.p, b.p, MIN(a.n, b.n));
    return r ? r < 0 : a.n < b.n;
}
static size_t next_listed_locked(struct gfs_listing *l, struct span name, struct gfs_next *v, size_t max)
{
    struct gfs_chunk *k = l->first;
    struct np_dirent d;
    size_t n = 0, off = 0;
    if (name.n) {
        uint32_t *slot = find_locked(l, name, &d, &k);
        if (!slot)
            return 0;
        off = (*slot & ~TAKEN) - 1;
    }
    bool first = name.n; // the name itself
    unsigned scan = 0;
    for (; k && n < max && scan < MAX_SCAN; k = k->next, off = 0) {
        struct span s = span_of(chunk_bytes(k) + off, k->len - off);
        while (n < max && scan++ < MAX_SCAN && np_dirent_plus_get(&s, &d)) {
            if (!first && d.type == DT_REG && np_name_ok(d.name))
                v[n++] = (struct gfs_next){d.name, d.qid.path};
            first = false;
        }
    }
    return n;
}
static size_t next_sorted_locked(struct gfs_listing *l, struct span name, struct gfs_next *v, size_t max)
{
    size_t n = 0;
    unsigned scan = 0;
    for (struct gfs_chunk *k = l->first; k; k = k->next) {
        struct span s = gfs_chunk_entries(k);
        struct np_dirent d;
        while (np_dirent_plus_get(&s, &d)) {
            if (++scan > MAX_SORT)
                return 0;
            if (d.type != DT_REG || !np_name_ok(d.name) || (name.n && !name_less(name, d.name)) ||
                (n == max && !name_less(d.name, v[n - 1].name)))
                continue;
            size_t i = n < max ? n++ : n - 1;
            for (; i && name_less(d.name, v[i - 1].name); i--)
                v[i] = v[i - 1];
            v[i] = (struct gfs_next){d.name, d.qid.path};
        }
    }
    return n;
}
size_t gfs_listing_next_locked(struct gofer_inode *dir, struct span name, enum gfs_order order,
                               struct gfs_next *v, size_t max)
{
    struct gfs_listing *l = dir->listing;
    if (!l || !max)
        return 0;
    return order == GFS_LISTED ? next_listed_locked(l, name, v, max)
                               : next_sorted_locked(l, name, v, max);
}
