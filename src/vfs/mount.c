// SPDX-License-Identifier: Apache-2.0
// The mount tree: attaching, detaching, copying, crossing, and mount namespaces. The tree holds one
// reference to each attached mount; a mount holds its superblock and its root dentry.
#include "vfs/mount_int.h"
#include "abi/errno.h"
#include <sys/mount.h>
#include <sys/stat.h>

SLAB_DEFINE(mount_slab, struct mount);
SLAB_DEFINE(mntns_slab, struct mntns);
struct mutex mount_lock = MUTEX_INIT(mount_lock, RANK_MOUNT);
struct spinlock mount_spin = SPINLOCK_INIT;
struct list all_mounts = LIST_INIT(all_mounts);
static uint64_t next_id = 20, next_group, next_ns;

uint64_t mount_new_group(void)
{
    return __atomic_add_fetch(&next_group, 1, __ATOMIC_RELAXED);
}

struct mount *mount_new(struct super *sb, struct dentry *root, uint32_t flags)
{
    struct mount *m = slab_alloc(&mount_slab);
    if (!m)
        return nullptr;
    ref_init(&m->ref);
    m->sb = super_get(sb);
    m->root = dentry_get(root);
    if (!(flags & (MS_NOATIME | MS_STRICTATIME)))
        flags |= MS_RELATIME; // the default since Linux 2.6.30
    m->flags = flags;
    list_init(&m->siblings);
    list_init(&m->children);
    list_init(&m->all);
    spin_lock(&mount_spin);
    m->id = ++next_id;
    list_push_back(&all_mounts, &m->all);
    spin_unlock(&mount_spin);
    return m;
}

struct mount *mount_get(struct mount *m)
{
    ref_get(&m->ref);
    return m;
}

void mount_put(struct mount *m)
{
    if (!m || !ref_put(&m->ref))
        return;
    spin_lock(&mount_spin);
    list_del(&m->all);
    spin_unlock(&mount_spin);
    dentry_put(m->root);
    super_put(m->sb);
    slab_free(&mount_slab, m);
}

bool mount_readonly(const struct mount *m)
{
    return m && ((mount_flags(m) | READ_SHARED(m->sb->flags)) & MS_RDONLY);
}

void mount_set_flags(struct mount *m, uint32_t flags)
{
    WRITE_SHARED(m->flags, flags);
}

struct mount *mount_child_locked(const struct mount *parent, const struct dentry *at)
{
    list_for_each(it, &parent->children) {
        struct mount *m = list_entry(it, struct mount, siblings);
        if (m->mountpoint == at)
            return m;
    }
    return nullptr;
}

void mount_attach_locked(struct mount *m, struct mount *parent, struct dentry *at)
{
    spin_lock(&mount_spin);
    m->parent = parent;
    m->mountpoint = dentry_get(at);
    __atomic_fetch_add(&at->mounted, 1, __ATOMIC_RELAXED);
    list_push_back(&parent->children, &m->siblings);
    ref_get(&m->ref); // the tree's
    spin_unlock(&mount_spin);
}

static void detach_spin_locked(struct mount *m, struct mount_garbage *g)
{
    list_del(&m->siblings);
    if (m->mountpoint)
        __atomic_fetch_sub(&m->mountpoint->mounted, 1, __ATOMIC_RELAXED);
    m->parent = nullptr;
    m->ns = nullptr;
    m->copy = g->first; // the mountpoint's reference stays with m until it is freed
    g->first = m;
}

void mount_detach_locked(struct mount *m, struct mount_garbage *g)
{
    spin_lock(&mount_spin);
    detach_spin_locked(m, g);
    spin_unlock(&mount_spin);
}

void mount_detach_tree_locked(struct mount *top, struct mount_garbage *g)
{
    dcache_rename_bump();
    spin_lock(&mount_spin);
    for (;;) {
        struct mount *m = top;
        while (!list_empty(&m->children))
            m = list_first(&m->children, struct mount, siblings);
        m->peer_group = m->master_group = 0;
        detach_spin_locked(m, g);
        if (m == top)
            break;
    }
    spin_unlock(&mount_spin);
    dcache_rename_bump();
}

// Mountpoints go first: each lies on the superblock of a mount that may be further on in the list.
void mount_garbage_free(struct mount_garbage *g)
{
    for (struct mount *m = g->first; m; m = m->copy) {
        struct dentry *at = m->mountpoint;
        m->mountpoint = nullptr;
        dentry_put(at);
    }
    for (struct mount *m = g->first, *next; m; m = next) {
        next = m->copy;
        m->copy = nullptr;
        mount_put(m);
    }
    g->first = nullptr;
}

struct mount *mount_next(struct mount *m, struct mount *top, bool skip)
{
    if (!skip && !list_empty(&m->children))
        return list_first(&m->children, struct mount, siblings);
    for (; m != top; m = m->parent)
        if (m->siblings.next != &m->parent->children)
            return list_entry(m->siblings.next, struct mount, siblings);
    return nullptr;
}

bool mount_is_below(const struct mount *m, const struct mount *ancestor)
{
    for (; m; m = m->parent)
        if (m == ancestor)
            return true;
    return false;
}

void mount_set_ns_locked(struct mount *top, struct mntns *ns)
{
    spin_lock(&mount_spin);
    for (struct mount *m = top; m; m = mount_next(m, top, false))
        m->ns = ns;
    spin_unlock(&mount_spin);
}

static struct mount *copy_one(struct mount *src, struct dentry *root)
{
    struct mount *m = mount_new(src->sb, root, src->flags);
    if (!m)
        return nullptr;
    m->peer_group = src->peer_group;
    m->master_group = src->master_group;
    m->unbindable = src->unbindable;
    return m;
}

int mount_copy_tree_locked(struct mount *src, struct dentry *root, bool recursive,
                           bool skip_unbindable, struct mount **out)
{
    struct mount *top = copy_one(src, root);
    if (!top)
        return -ENOMEM;
    src->copy = top;
    bool skip = !recursive;
    for (struct mount *m = src; (m = mount_next(m, src, skip));) {
        skip = (m->parent == src && !dentry_is_below(m->mountpoint, root)) ||
               (skip_unbindable && m->unbindable);
        if (skip)
            continue;
        struct mount *c = copy_one(m, m->root);
        if (!c) {
            struct mount_garbage g = {};
            mount_get(top); // what the tree would hold: detach gives it back
            mount_detach_tree_locked(top, &g);
            mount_garbage_free(&g);
            mount_put(top);
            return -ENOMEM;
        }
        m->copy = c;
        mount_attach_locked(c, m->parent->copy, m->mountpoint);
        mount_put(c); // now the tree's
    }
    *out = top;
    return 0;
}

// --- crossing ---
bool path_follow_mounts(struct path *p)
{
    bool moved = false;
    while (__atomic_load_n(&p->dentry->mounted, __ATOMIC_RELAXED) && p->mnt) {
        spin_lock(&mount_spin);
        struct mount *m = mount_child_locked(p->mnt, p->dentry);
        struct path np = {};
        if (m)
            np = (struct path){.mnt = mount_get(m), .dentry = dentry_get(m->root)};
        spin_unlock(&mount_spin);
        if (!m)
            break;
        path_put(*p);
        *p = np;
        moved = true;
    }
    return moved;
}

bool path_follow_up(struct path *p)
{
    struct path np = {};
    spin_lock(&mount_spin);
    if (p->mnt->parent)
        np = (struct path){.mnt = mount_get(p->mnt->parent),
                           .dentry = dentry_get(p->mnt->mountpoint)};
    spin_unlock(&mount_spin);
    if (!np.mnt)
        return false;
    path_put(*p);
    *p = np;
    return true;
}

bool dentry_mounted_in(struct dentry *d, struct mntns *ns)
{
    if (!__atomic_load_n(&d->mounted, __ATOMIC_RELAXED))
        return false;
    bool found = false;
    spin_lock(&mount_spin);
    list_for_each(it, &all_mounts) {
        struct mount *m = list_entry(it, struct mount, all);
        if (m->mountpoint == d && m->parent && m->ns == ns) {
            found = true;
            break;
        }
    }
    spin_unlock(&mount_spin);
    return found;
}

// Caller holds directory locks, which rank inside mount_lock; so it comes here after dropping them.
void mounts_detach_dentry(struct dentry *d)
{
    while (__atomic_load_n(&d->mounted, __ATOMIC_RELAXED)) {
        struct mount_garbage g = {};
        struct mount *victim = nullptr;
        mutex_lock(&mount_lock);
        spin_lock(&mount_spin);
        list_for_each(it, &all_mounts) {
            struct mount *m = list_entry(it, struct mount, all);
            if (m->mountpoint == d && m->parent) {
                victim = m; // attached: the tree keeps it while mount_lock is held
                break;
            }
        }
        spin_unlock(&mount_spin);
        if (victim)
            mount_detach_tree_locked(victim, &g);
        mutex_unlock(&mount_lock);
        mount_garbage_free(&g);
        if (!victim)
            break;
    }
}

int mount_attach(struct mount *m, const struct path *at)
{
    struct path p = path_get(*at);
    mutex_lock(&mount_lock);
    path_follow_mounts(&p);
    int err = 0;
    if (!p.mnt->ns)
        err = -EINVAL;
    else if (dentry_is_dir(p.dentry) != dentry_is_dir(m->root))
        err = -ENOTDIR;
    else if (p.dentry->unhashed && p.dentry->parent != p.dentry)
        err = -ENOENT;
    if (!err)
        err = mount_attach_propagate_locked(m, p.mnt, p.dentry);
    mutex_unlock(&mount_lock);
    path_put(p);
    return err;
}

// One superblock after the other, with no lock held: after each, the walk goes on behind its mount.
void vfs_sync_all(void)
{
    uint64_t done = 0; // ids grow along the list
    for (;;) {
        struct mount *next = nullptr;
        spin_lock(&mount_spin);
        list_for_each(it, &all_mounts) {
            struct mount *m = list_entry(it, struct mount, all);
            if (m->id > done && m->sb->ops->sync && ref_get_unless_zero(&m->ref)) {
                next = m;
                break;
            }
        }
        spin_unlock(&mount_spin);
        if (!next)
            return;
        done = next->id;
        next->sb->ops->sync(next->sb);
        mount_put(next);
    }
}

// --- namespaces ---
int mntns_new(struct mount *root, struct mntns **out)
{
    struct mntns *ns = slab_alloc(&mntns_slab);
    if (!ns)
        return -ENOMEM;
    ref_init(&ns->ref);
    uint64_t n = __atomic_fetch_add(&next_ns, 1, __ATOMIC_RELAXED);
    ns->ino = n ? 4026532001ull + n * 16 : 4026531841ull;
    ns->root = mount_get(root);
    mutex_lock(&mount_lock);
    mount_set_ns_locked(root, ns);
    mutex_unlock(&mount_lock);
    *out = ns;
    return 0;
}

struct mntns *mntns_get(struct mntns *ns)
{
    ref_get(&ns->ref);
    return ns;
}

void mntns_put(struct mntns *ns)
{
    if (!ns || !ref_put(&ns->ref))
        return;
    struct mount_garbage g = {};
    mutex_lock(&mount_lock);
    mount_detach_tree_locked(ns->root, &g); // its own tree reference is the namespace's
    mutex_unlock(&mount_lock);
    mount_garbage_free(&g);
    slab_free(&mntns_slab, ns);
}

// A path in the old namespace, on the copies that mount_copy_tree_locked left in `copy`.
static struct path path_in_copy(struct path p, const struct mntns *old)
{
    if (p.mnt->ns == old && p.mnt->copy)
        p.mnt = p.mnt->copy;
    return path_get(p);
}

int fs_context_copy_ns(struct fs_context *fs, struct fs_context **out)
{
    struct fs_context *nfs = fs_context_dup(fs);
    if (!nfs)
        return -ENOMEM;
    struct mount *top = nullptr;
    struct mntns *ns = nullptr;
    struct path cwd = nfs->cwd, root = nfs->root;
    mutex_lock(&mount_lock);
    struct mount *old = fs->ns->root;
    for (struct mount *m = old; m; m = mount_next(m, old, false))
        m->copy = nullptr;
    int err = mount_copy_tree_locked(old, old->root, true, false, &top);
    if (!err) {
        nfs->cwd = path_in_copy(cwd, fs->ns);
        nfs->root = path_in_copy(root, fs->ns);
    }
    mutex_unlock(&mount_lock);
    if (!err) {
        path_put(cwd);
        path_put(root);
        err = mntns_new(top, &ns);
        if (err)
            mount_put(top);
    }
    if (err) {
        fs_context_put(nfs);
        return err;
    }
    mount_put(top);
    mntns_put(nfs->ns);
    nfs->ns = ns;
    *out = nfs;
    return 0;
}
