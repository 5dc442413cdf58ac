// SPDX-License-Identifier: Apache-2.0
// The dentry cache: a hash table of (parent, name), and an LRU list of entries without users.
//
// References: being in the hash table counts as one reference, so a cached dentry without users
// has count 1 and a struct ref never rises from zero. An entry whose count falls to one is put on
// the LRU; it stays there when it is taken into use again, and the shrinker skips it then. All
// transitions to "unused" and "free" happen under dentry_lock; freeing itself (which may do I/O
// through inode release) with no lock of this file held.
#include "vfs/internal.h"
#include "abi/errno.h"
#include "kern/limits.h"
#include <string.h>

SLAB_DEFINE(dentry_slab, struct dentry);
struct spinlock dentry_lock = SPINLOCK_INIT;
static struct htab table;                      // [dentry_lock]
static struct list lru = LIST_INIT(lru);       // [dentry_lock] oldest first
static size_t lru_count;                       // [dentry_lock]
static uint64_t rename_seq;                    // [A]
static bool shrinking;                         // [A]
// A file of an overlay has two entries, of about 500 bytes with their inodes.
constexpr uint64_t DCACHE_UNUSED_MIN = 20'000, DCACHE_UNUSED_MAX = 200'000, DCACHE_SHARE = 16 << 10;
constexpr size_t SHRINK_BATCH = 64;

static uint64_t key_hash(const struct dentry *dir, const char *name, size_t n)
{
    return hash_bytes(name, n) + ((uint64_t)(uintptr_t)dir >> 4) * 0x9e3779b97f4a7c15ull;
}

uint64_t dcache_rename_seq(void)
{
    return __atomic_load_n(&rename_seq, __ATOMIC_ACQUIRE);
}

void dcache_rename_bump(void)
{
    __atomic_fetch_add(&rename_seq, 1, __ATOMIC_ACQ_REL);
}

static void lru_add_locked(struct dentry *d)
{
    if (list_empty(&d->lru))
        lru_count++;
    else
        list_del(&d->lru);
    list_push_back(&lru, &d->lru);
}

static void lru_del_locked(struct dentry *d)
{
    if (list_empty(&d->lru))
        return;
    list_del(&d->lru);
    lru_count--;
}

// Unused entries that may stay: by the container's memory, a thirty-second of it at most.
static size_t unused_max(void)
{
    uint64_t n = machine_mem_total() / DCACHE_SHARE;
    return n < DCACHE_UNUSED_MIN ? DCACHE_UNUSED_MIN : MIN(n, DCACHE_UNUSED_MAX);
}

// Out of table, LRU and its siblings' list. The table's reference becomes the caller's.
static bool unhash_locked(struct dentry *d)
{
    if (d->unhashed)
        return false;
    htab_remove(&table, &d->hnode);
    __atomic_store_n(&d->unhashed, true, __ATOMIC_RELEASE);
    d->pinned = false;
    lru_del_locked(d);
    list_del(&d->child);
    return true;
}

static bool cacheable(const struct dentry *d)
{
    return d->pinned || d->watchers || !(d->sb->nocache || (d->sb->nocache_negative && !d->inode));
}

// Drops one reference. True when d is now free: unhashed, count zero; the caller frees it.
static bool put_locked(struct dentry *d)
{
    if (ref_count(&d->ref) == 2 && !d->unhashed && !d->pinned && !d->watchers) {
        if (cacheable(d))
            lru_add_locked(d);
        else
            (void)(unhash_locked(d) && ref_put(&d->ref));
    }
    return ref_put(&d->ref);
}

// --- names: short ones are in the entry ---
static bool name_set(struct dentry *d, const char *name, size_t n)
{
    d->name = n < DENTRY_NAME_INLINE ? d->iname : mem_alloc(n + 1);
    if (!d->name)
        return false;
    memcpy(d->name, name, n);
    d->name[n] = 0;
    d->namelen = (uint16_t)n;
    return true;
}
static void name_free(struct dentry *d)
{
    if (d->name != d->iname)
        mem_free(d->name);
    d->name = nullptr;
}
static void names_swap_locked(struct dentry *a, struct dentry *b)
{
    struct dentry old = {.name = a->name, .namelen = a->namelen};
    memcpy(old.iname, a->iname, sizeof(old.iname));
    memcpy(a->iname, b->iname, sizeof(a->iname));
    memcpy(b->iname, old.iname, sizeof(b->iname));
    a->name = b->name == b->iname ? a->iname : b->name;
    b->name = old.name == a->iname ? b->iname : old.name;
    a->namelen = b->namelen;
    b->namelen = old.namelen;
}

// Frees d (count zero, in no list) and puts its parent, and so on upwards.
static void dentry_free_chain(struct dentry *d)
{
    while (d) {
        struct dentry *parent = d->parent != d ? d->parent : nullptr;
        if (d->fsdata && d->sb && d->sb->ops && d->sb->ops->d_release)
            d->sb->ops->d_release(d);
        if (d->inode) {
            if (d->watchers)
                inotify_dentry_gone(d);
            if (READ_SHARED(d->inode->nlink) == 0)
                fsnotify_inode_removed(d->inode);
            inode_put(d->inode);
        }
        name_free(d);
        slab_free(&dentry_slab, d);
        d = nullptr;
        if (parent) {
            spin_lock(&dentry_lock);
            if (put_locked(parent))
                d = parent;
            spin_unlock(&dentry_lock);
        }
    }
}

// Takes up to SHRINK_BATCH unused entries (of sb, when given) off the cold end; frees them.
// Returns how many entries it looked at: 0 means the list has nothing more.
static size_t shrink_batch(struct super *sb, size_t max)
{
    struct list gone = LIST_INIT(gone);
    size_t taken = 0;
    spin_lock(&dentry_lock);
    list_for_each_safe(it, &lru) {
        struct dentry *d = list_entry(it, struct dentry, lru);
        if (taken >= max || taken >= SHRINK_BATCH)
            break;
        if (sb && d->sb != sb)
            continue;
        if (ref_count(&d->ref) > 1) { // in use again: comes back with its last put
            lru_del_locked(d);
            continue;
        }
        unhash_locked(d);
        list_push_back(&gone, &d->lru);
        taken++;
    }
    spin_unlock(&dentry_lock);
    list_for_each_safe(it, &gone) {
        struct dentry *d = list_entry(it, struct dentry, lru);
        list_del(&d->lru);
        CHECK(ref_put(&d->ref));
        dentry_free_chain(d);
    }
    return taken;
}

void dcache_shrink(struct super *sb, size_t keep)
{
    for (;;) {
        spin_lock(&dentry_lock);
        size_t n = 0;
        if (sb) {
            list_for_each(it, &lru)
                n += list_entry(it, struct dentry, lru)->sb == sb;
        } else {
            n = lru_count;
        }
        spin_unlock(&dentry_lock);
        if (n <= keep || !shrink_batch(sb, n - keep))
            return;
    }
}

struct dentry *dentry_get(struct dentry *d)
{
    ref_get(&d->ref);
    return d;
}

void dentry_put(struct dentry *d)
{
    if (!d)
        return;
    // More than two references: neither "unused" nor "free" can follow.
    uint32_t n = __atomic_load_n(&d->ref.n, __ATOMIC_RELAXED);
    while (n > 2 && n < REF_SATURATED)
        if (__atomic_compare_exchange_n(&d->ref.n, &n, n - 1, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
            return;
    spin_lock(&dentry_lock);
    bool freed = put_locked(d);
    size_t max = unused_max(), excess = lru_count > max ? lru_count - max : 0;
    spin_unlock(&dentry_lock);
    if (freed)
        dentry_free_chain(d);
    // Freeing an entry may put others (an overlay's holds those of its layers): the one who shrinks
    // does all of it, or each would call the next, deeper and deeper.
    if (excess && !__atomic_test_and_set(&shrinking, __ATOMIC_ACQUIRE)) {
        shrink_batch(nullptr, excess);
        __atomic_clear(&shrinking, __ATOMIC_RELEASE);
    }
}

static struct dentry *dentry_alloc_raw(struct super *sb, const char *name, size_t n)
{
    struct dentry *d = slab_alloc(&dentry_slab);
    if (!d)
        return nullptr;
    if (!name_set(d, name, n)) {
        slab_free(&dentry_slab, d);
        return nullptr;
    }
    d->sb = sb;
    d->unhashed = true;
    ref_init(&d->ref);
    list_init(&d->lru);
    list_init(&d->child);
    list_init(&d->children);
    return d;
}

struct dentry *dentry_alloc(struct dentry *dir, const char *name, size_t n)
{
    struct dentry *d = dentry_alloc_raw(dir->sb, name, n);
    if (d)
        d->parent = dentry_get(dir);
    return d;
}

struct dentry *dentry_new_root(struct super *sb, struct inode *i)
{
    struct dentry *d = dentry_alloc_raw(sb, "/", 1);
    if (!d)
        return nullptr;
    d->parent = d;
    d->inode = i;
    return d;
}

struct dentry *dentry_new_anon(struct super *sb, struct inode *i, const char *name)
{
    struct dentry *d = dentry_alloc_raw(sb, name, strnlen(name, NAME_LEN_MAX));
    if (!d)
        return nullptr;
    d->parent = d;
    d->inode = i;
    return d;
}

void dentry_instantiate(struct dentry *d, struct inode *i)
{
    ASSERT(!d->inode);
    __atomic_store_n(&d->inode, i, __ATOMIC_RELEASE);
}

void dentry_rehash(struct dentry *d)
{
    spin_lock(&dentry_lock);
    if (d->unhashed && d->parent != d) {
        uint64_t h = key_hash(d->parent, d->name, d->namelen);
        if (htab_insert(&table, &d->hnode, h) == 0) {
            ref_get(&d->ref); // the table's
            list_push_back(&d->parent->children, &d->child);
            __atomic_store_n(&d->unhashed, false, __ATOMIC_RELEASE);
        }
    }
    spin_unlock(&dentry_lock);
}

// Drops the unused entries below d; those in use stay, unreachable, until their last put.
static void prune_children(struct dentry *d)
{
    for (;;) {
        struct dentry *leaf = nullptr;
        spin_lock(&dentry_lock);
        list_for_each(it, &d->children) {
            struct dentry *c = list_entry(it, struct dentry, child);
            if (ref_count(&c->ref) == 1 || c->pinned) {
                leaf = c;
                break;
            }
        }
        if (leaf)
            unhash_locked(leaf);
        spin_unlock(&dentry_lock);
        if (!leaf)
            return;
        dentry_put(leaf);
    }
}

void dentry_unhash(struct dentry *d)
{
    spin_lock(&dentry_lock);
    bool was = unhash_locked(d);
    spin_unlock(&dentry_lock);
    if (!was)
        return;
    if (!list_empty(&d->children))
        prune_children(d);
    dentry_put(d); // the table's
}

static struct dentry *find_locked(struct dentry *dir, const char *name, size_t n, uint64_t h)
{
    for (struct hnode *it = htab_chain(&table, h); it; it = htab_chain_next(it)) {
        struct dentry *d = container_of(it, struct dentry, hnode);
        if (d->parent == dir && d->namelen == n && memcmp(d->name, name, n) == 0)
            return d;
    }
    return nullptr;
}

struct dentry *dcache_find(struct dentry *dir, const char *name, size_t n)
{
    uint64_t h = key_hash(dir, name, n);
    spin_lock(&dentry_lock);
    struct dentry *d = find_locked(dir, name, n, h);
    if (d)
        ref_get(&d->ref);
    spin_unlock(&dentry_lock);
    return d;
}

int dentry_lookup_locked(struct dentry *dir, const char *name, size_t n, struct dentry **out)
{
    struct inode *di = dentry_inode(dir);
    if (!di || !di->ops->lookup)
        return -ENOTDIR;
    if (n > NAME_LEN_MAX)
        return -ENAMETOOLONG;
    struct dentry *d = dcache_find(dir, name, n);
    if (d) {
        int v = d->sb->ops->d_revalidate ? d->sb->ops->d_revalidate(d) : 1;
        if (v > 0) {
            *out = d;
            return 0;
        }
        if (v == 0)
            dentry_unhash(d);
        dentry_put(d);
        if (v < 0)
            return v;
    }
    if (di->dead)
        return -ENOENT;
    d = dentry_alloc(dir, name, n);
    if (!d)
        return -ENOMEM;
    int err = di->ops->lookup(di, d);
    if (err) {
        dentry_put(d);
        return err;
    }
    if (d->inode || !(d->sb->nocache || d->sb->nocache_negative))
        dentry_rehash(d);
    *out = d;
    return 0;
}

int vfs_lookup_child(struct dentry *dir, const char *name, size_t n, struct dentry **out)
{
    struct inode *di = dentry_inode(dir);
    if (!di || (di->mode & 0170000) != 0040000)
        return -ENOTDIR;
    struct dentry *d = dir->sb->ops->d_revalidate ? nullptr : dcache_find(dir, name, n);
    if (d) {
        *out = d;
        return 0;
    }
    mutex_lock(&di->lock);
    int err = dentry_lookup_locked(dir, name, n, out);
    mutex_unlock(&di->lock);
    return err;
}

int dentry_add_child(struct dentry *dir, const char *name, struct inode *i, struct dentry **out)
{
    size_t n = strlen(name);
    if (n > NAME_LEN_MAX)
        return -ENAMETOOLONG;
    struct dentry *d = dentry_alloc(dir, name, n);
    if (!d)
        return -ENOMEM;
    uint64_t h = key_hash(dir, name, n);
    int err = 0;
    spin_lock(&dentry_lock);
    if (find_locked(dir, name, n, h))
        err = -EEXIST;
    else
        err = htab_insert(&table, &d->hnode, h);
    if (!err) {
        d->inode = i;
        ref_get(&d->ref); // the table's
        list_push_back(&dir->children, &d->child);
        d->unhashed = false;
        d->pinned = true;
    }
    spin_unlock(&dentry_lock);
    if (err || !out)
        dentry_put(d);
    else
        *out = d;
    return err;
}

static void enter_locked(struct dentry *d)
{
    uint64_t h = key_hash(d->parent, d->name, d->namelen);
    if (htab_insert(&table, &d->hnode, h) == 0) {
        ref_get(&d->ref);
        list_push_back(&d->parent->children, &d->child);
        __atomic_store_n(&d->unhashed, false, __ATOMIC_RELEASE);
    }
}

// Cannot fail. Without exchange nd leaves the table and keeps its name and parent for those who
// still have it open; od gets a copy of them (out of memory: they swap, and nd's path looks odd).
void dentry_move(struct dentry *od, struct dentry *nd, bool exchange)
{
    bool dir = dentry_is_dir(od) || (exchange && dentry_is_dir(nd));
    struct dentry neu = {}; // the name that od gets
    bool copy = !exchange && name_set(&neu, nd->name, nd->namelen);
    struct dentry *old_parent = nullptr;
    spin_lock(&dentry_lock);
    if (dir)
        dcache_rename_bump();
    bool pinned = od->pinned;
    bool oh = unhash_locked(od), nh = unhash_locked(nd);
    struct dentry *op = od->parent;
    if (copy) {
        names_swap_locked(od, &neu);
        old_parent = op;
        od->parent = dentry_get(nd->parent);
    } else {
        names_swap_locked(od, nd);
        od->parent = nd->parent;
        nd->parent = op;
    }
    enter_locked(od);
    od->pinned = pinned;
    if (exchange)
        enter_locked(nd);
    if (dir)
        dcache_rename_bump();
    spin_unlock(&dentry_lock);
    if (oh)
        dentry_put(od);
    if (nh)
        dentry_put(nd);
    name_free(&neu);
    dentry_put(old_parent);
}

void dentry_watch(struct dentry *d)
{
    spin_lock(&dentry_lock);
    d->watchers++;
    lru_del_locked(d);
    spin_unlock(&dentry_lock);
}

bool dentry_unwatch(struct dentry *d)
{
    spin_lock(&dentry_lock);
    d->watchers--;
    bool held = ref_get_unless_zero(&d->ref); // its put enters the LRU if nobody else uses d
    spin_unlock(&dentry_lock);
    return held;
}

struct dentry *dentry_parent_get(struct dentry *d)
{
    spin_lock(&dentry_lock);
    struct dentry *p = dentry_get(d->parent);
    spin_unlock(&dentry_lock);
    return p;
}

size_t dentry_position(struct dentry *d, char name[static 256], struct dentry **parent)
{
    spin_lock(&dentry_lock);
    size_t n = MIN(d->namelen, NAME_LEN_MAX);
    memcpy(name, d->name, n);
    name[n] = 0;
    *parent = dentry_get(d->parent);
    spin_unlock(&dentry_lock);
    return n;
}

struct dentry *dentry_branch(struct dentry *d, struct dentry *ancestor)
{
    struct dentry *found = nullptr;
    spin_lock(&dentry_lock);
    for (struct dentry *p = d; p->parent != p; p = p->parent)
        if (p->parent == ancestor) {
            found = p;
            break;
        }
    spin_unlock(&dentry_lock);
    return found;
}

bool dentry_is_below(struct dentry *d, struct dentry *ancestor)
{
    return d == ancestor || dentry_branch(d, ancestor);
}

void dcache_kill(struct super *sb)
{
    struct dentry *root = sb->root;
    if (!root)
        return;
    dcache_shrink(sb, 0);
    // What is left are pinned entries: leaves first, from the root down each time.
    for (;;) {
        spin_lock(&dentry_lock);
        struct dentry *d = root;
        while (!list_empty(&d->children))
            d = list_first(&d->children, struct dentry, child);
        if (d != root)
            unhash_locked(d);
        spin_unlock(&dentry_lock);
        if (d == root)
            break;
        dentry_put(d);
    }
    sb->root = nullptr;
    dentry_put(root);
}
