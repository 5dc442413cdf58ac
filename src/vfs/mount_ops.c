// SPDX-License-Identifier: Apache-2.0
// mount(2), umount2(2), pivot_root(2) on paths. Capabilities are the caller's business.
#include "vfs/mount_int.h"
#include "abi/errno.h"
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

constexpr uint32_t ATIME_FLAGS = MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME;
constexpr uint32_t MNT_FLAGS =
    MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_STRICTATIME |
    256 /* MS_NOSYMFOLLOW */;
constexpr uint32_t PROPAGATION = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;
constexpr uint32_t SB_FLAGS = MS_RDONLY | MS_SYNCHRONOUS | MS_MANDLOCK | MS_DIRSYNC | (1u << 25);

// The flags of a mount from those of mount(2): relatime unless asked otherwise.
static uint32_t mount_flags_from(uint32_t flags)
{
    uint32_t f = flags & MNT_FLAGS;
    if (flags & MS_STRICTATIME)
        f &= ~(uint32_t)MS_NOATIME;
    else if (!(flags & MS_NOATIME))
        f |= MS_RELATIME;
    return f;
}

static bool path_is_mount_root(const struct path *p)
{
    return p->mnt && p->dentry == p->mnt->root;
}

static bool mount_is_mine(const struct mount *m, const struct lookup_ctx *c)
{
    return m->ns && m->ns == c->fs->ns;
}

static int do_new(const struct lookup_ctx *c, const char *source, const struct path *at,
                  const char *type, uint32_t flags, const char *options)
{
    if (!type)
        return -EINVAL;
    const struct fs_type *t = fs_type_find(type);
    if (!t)
        return -ENODEV;
    struct super *sb = nullptr;
    int err = t->mount(t, source ? source : "none", options ? options : "", c->cred, &sb);
    if (err)
        return err;
    if (!sb->source)
        sb->source = mem_strdup(source ? source : "none");
    __atomic_fetch_or(&sb->flags, flags & SB_FLAGS, __ATOMIC_RELAXED);
    struct mount *m = nullptr;
    if (!mount_is_mine(at->mnt, c))
        err = -EINVAL;
    else if (at->mnt->sb == sb && path_is_mount_root(at))
        err = -EBUSY;
    else if (!(m = mount_new(sb, sb->root, mount_flags_from(flags))))
        err = -ENOMEM;
    else
        err = mount_attach(m, at);
    if (m)
        mount_put(m);
    super_put(sb);
    return err;
}

static int do_bind(const struct lookup_ctx *c, const char *source, const struct path *at,
                   uint32_t flags)
{
    struct path old;
    if (!source || !*source)
        return -EINVAL;
    int err = path_lookup(c, AT_FDCWD, source, LOOKUP_FOLLOW, &old);
    if (err)
        return err;
    struct mount *m = nullptr;
    mutex_lock(&mount_lock);
    if (!old.mnt || !mount_is_mine(old.mnt, c) || !mount_is_mine(at->mnt, c) || old.mnt->unbindable)
        err = -EINVAL;
    else
        err = mount_copy_tree_locked(old.mnt, old.dentry, flags & MS_REC, true, &m);
    mutex_unlock(&mount_lock);
    if (!err) {
        err = mount_attach(m, at);
        if (err) {
            struct mount_garbage g = {};
            mutex_lock(&mount_lock);
            mount_get(m); // in place of the tree's, which it never got
            mount_detach_tree_locked(m, &g);
            mutex_unlock(&mount_lock);
            mount_garbage_free(&g);
        }
        mount_put(m);
    }
    path_put(old);
    return err;
}

// Takes m off its place and puts it elsewhere without ever being free.
static void reattach_locked(struct mount *m, struct mount *parent, struct dentry *at,
                            struct mount_garbage *g)
{
    struct mntns *ns = m->ns;
    mount_detach_locked(m, g);
    // Off the garbage list again: only the old mountpoint is owed.
    g->first = m->copy;
    m->copy = nullptr;
    struct dentry *old = m->mountpoint;
    mount_attach_locked(m, parent, at);
    mount_set_ns_locked(m, ns);
    (void)ref_put(&m->ref); // attach took another tree reference
    dentry_put(old);
}

static int do_move(const struct lookup_ctx *c, const char *source, const struct path *to)
{
    struct path old;
    if (!source || !*source)
        return -EINVAL;
    int err = path_lookup(c, AT_FDCWD, source, LOOKUP_FOLLOW, &old);
    if (err)
        return err;
    struct mount_garbage g = {};
    struct path at = path_get(*to);
    mutex_lock(&mount_lock);
    path_follow_mounts(&at);
    struct mount *m = old.mnt;
    if (!m || !mount_is_mine(m, c) || !mount_is_mine(at.mnt, c) || !path_is_mount_root(&old) ||
        !m->parent)
        err = -EINVAL;
    else if (dentry_is_dir(m->root) != dentry_is_dir(at.dentry))
        err = -EINVAL;
    else if (m->parent->peer_group)
        err = -EINVAL;
    else if (mount_is_below(at.mnt, m))
        err = -ELOOP;
    if (!err) {
        dcache_rename_bump();
        reattach_locked(m, at.mnt, at.dentry, &g);
        dcache_rename_bump();
    }
    mutex_unlock(&mount_lock);
    mount_garbage_free(&g);
    path_put(at);
    path_put(old);
    return err;
}

static int do_remount(const struct path *at, uint32_t flags, const char *options)
{
    if (!path_is_mount_root(at))
        return -EINVAL;
    struct mount *m = at->mnt;
    uint32_t f = mount_flags_from(flags);
    if (!(flags & ATIME_FLAGS))
        f = (f & ~ATIME_FLAGS) | (mount_flags(m) & ATIME_FLAGS);
    if (!(flags & MS_BIND)) {
        if (m->sb->ops->remount) {
            int err = m->sb->ops->remount(m->sb, options ? options : "");
            if (err)
                return err;
        }
        WRITE_SHARED(m->sb->flags, (m->sb->flags & ~SB_FLAGS) | (flags & SB_FLAGS));
    }
    mutex_lock(&mount_lock);
    mount_set_flags(m, f);
    mutex_unlock(&mount_lock);
    return 0;
}

static void set_propagation_locked(struct mount *m, uint32_t type)
{
    if (type == MS_SHARED) {
        if (!m->peer_group)
            m->peer_group = mount_new_group();
        m->unbindable = false;
        return;
    }
    uint64_t master = m->master_group;
    if (type == MS_SLAVE && m->peer_group && mount_group_has_peers_locked(m))
        master = m->peer_group;
    m->peer_group = 0;
    m->master_group = type == MS_SLAVE ? master : 0;
    m->unbindable = type == MS_UNBINDABLE;
}

static int do_propagation(const struct path *at, uint32_t flags)
{
    uint32_t type = flags & ~(uint32_t)(MS_REC | MS_SILENT);
    if ((type & ~PROPAGATION) || (type & (type - 1)) || !path_is_mount_root(at))
        return -EINVAL;
    mutex_lock(&mount_lock);
    bool recursive = flags & MS_REC;
    for (struct mount *m = at->mnt; m; m = recursive ? mount_next(m, at->mnt, false) : nullptr)
        set_propagation_locked(m, type);
    mutex_unlock(&mount_lock);
    return 0;
}

int vfs_mount(const struct lookup_ctx *c, const char *source, const char *target, const char *type,
              uint32_t flags, const char *options)
{
    if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
        flags &= ~(uint32_t)MS_MGC_MSK;
    if (flags & MS_NOUSER)
        return -EINVAL;
    struct path at;
    int err = path_lookup(c, AT_FDCWD, target, LOOKUP_FOLLOW, &at);
    if (err)
        return err;
    if (!at.mnt)
        err = -EINVAL;
    else if (flags & MS_REMOUNT)
        err = mount_is_mine(at.mnt, c) ? do_remount(&at, flags, options) : -EINVAL;
    else if (flags & MS_BIND)
        err = do_bind(c, source, &at, flags);
    else if (flags & PROPAGATION)
        err = mount_is_mine(at.mnt, c) ? do_propagation(&at, flags) : -EINVAL;
    else if (flags & MS_MOVE)
        err = do_move(c, source, &at);
    else
        err = do_new(c, source, &at, type, flags, options);
    path_put(at);
    return err;
}

static int umount_locked(struct mount *m, int flags, struct mount_garbage *g)
{
    if (!m->parent)
        return -EINVAL;
    if (flags & MNT_EXPIRE) {
        if (!list_empty(&m->children) || ref_count(&m->ref) > 2)
            return -EBUSY;
        if (!m->expire) {
            m->expire = true;
            return -EAGAIN;
        }
    }
    // Two references: the tree's and the path's that names it.
    if (!(flags & MNT_DETACH) && (!list_empty(&m->children) || ref_count(&m->ref) > 2))
        return -EBUSY;
    struct mount *parent = m->parent;
    struct dentry *at = dentry_get(m->mountpoint);
    mount_detach_tree_locked(m, g);
    mount_detach_propagate_locked(parent, at, g);
    dentry_put(at);
    return 0;
}

int vfs_umount(const struct lookup_ctx *c, const char *target, int flags)
{
    if (flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW))
        return -EINVAL;
    struct path p;
    int err = path_lookup(c, AT_FDCWD, target, flags & UMOUNT_NOFOLLOW ? 0 : LOOKUP_FOLLOW, &p);
    if (err)
        return err;
    struct mount_garbage g = {};
    mutex_lock(&mount_lock);
    if (!path_is_mount_root(&p) || !mount_is_mine(p.mnt, c))
        err = -EINVAL;
    else if ((flags & MNT_EXPIRE) && (flags & (MNT_FORCE | MNT_DETACH)))
        err = -EINVAL;
    else
        err = umount_locked(p.mnt, flags, &g);
    mutex_unlock(&mount_lock);
    mount_garbage_free(&g);
    path_put(p);
    return err;
}

// pivot_root(2): the checks in the order of its ERRORS section.
static int pivot_check(const struct lookup_ctx *c, const struct path *new, const struct path *old,
                       const struct path *root)
{
    if (!mount_is_mine(new->mnt, c) || !mount_is_mine(root->mnt, c) || !mount_is_mine(old->mnt, c))
        return -EINVAL;
    if (new->mnt->peer_group && new->mnt->parent && new->mnt->parent->peer_group)
        return -EINVAL;
    if (root->mnt->parent && root->mnt->parent->peer_group)
        return -EINVAL;
    if (new->mnt == root->mnt || old->mnt == root->mnt)
        return -EBUSY;
    if (!path_is_mount_root(root) || !path_is_mount_root(new) || !new->mnt->parent)
        return -EINVAL;
    if (!mount_is_below(old->mnt, new->mnt) ||
        (old->mnt == new->mnt && !dentry_is_below(old->dentry, new->dentry)))
        return -EINVAL;
    if (!mount_is_below(new->mnt, root->mnt))
        return -EINVAL;
    return 0;
}

static void pivot_locked(struct mount *nm, struct mount *rm, const struct path *old,
                         struct mount_garbage *g)
{
    struct mntns *ns = rm->ns;
    dcache_rename_bump();
    struct mount *rparent = rm->parent;
    struct dentry *rat = rm->mountpoint;
    if (rparent) {
        dentry_get(rat);
        reattach_locked(nm, rparent, rat, g);
        reattach_locked(rm, old->mnt, old->dentry, g);
        dentry_put(rat);
    } else { // the namespace's own root: nm loses its mountpoint, rm gets one
        mount_detach_locked(nm, g); // the tree's reference to nm is owed; ns->root takes one
        ns->root = mount_get(nm);
        mount_attach_locked(rm, old->mnt, old->dentry);
        mount_set_ns_locked(nm, ns);
        (void)ref_put(&rm->ref); // the namespace's, now the tree's
    }
    dcache_rename_bump();
}

int vfs_pivot_root(const struct lookup_ctx *c, const char *new_root, const char *put_old)
{
    struct path new, old, root;
    int err = path_lookup(c, AT_FDCWD, new_root, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &new);
    if (err)
        return err;
    err = path_lookup(c, AT_FDCWD, put_old, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &old);
    if (err) {
        path_put(new);
        return err;
    }
    mutex_lock(&c->fs->lock);
    root = path_get(c->fs->root);
    mutex_unlock(&c->fs->lock);
    struct mount_garbage g = {};
    mutex_lock(&mount_lock);
    err = pivot_check(c, &new, &old, &root);
    if (!err)
        pivot_locked(new.mnt, root.mnt, &old, &g);
    mutex_unlock(&mount_lock);
    mount_garbage_free(&g);
    if (!err) // other tasks' root and cwd are the caller's business
        fs_context_replace(c->fs, &root, &new);
    path_put(root);
    path_put(old);
    path_put(new);
    return err;
}
