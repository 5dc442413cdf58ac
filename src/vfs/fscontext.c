// SPDX-License-Identifier: Apache-2.0
// What path resolution starts from: current and root directory, umask and mount namespace of a
// task, shared by CLONE_FS.
#include "vfs/internal.h"
#include "abi/errno.h"

SLAB_DEFINE(fs_context_slab, struct fs_context);

struct fs_context *fs_context_new(struct path root, struct mntns *ns)
{
    struct fs_context *fs = slab_alloc(&fs_context_slab);
    if (!fs)
        return nullptr;
    ref_init(&fs->ref);
    mutex_init(&fs->lock, RANK_LEAF);
    fs->root = path_get(root);
    fs->cwd = path_get(root);
    fs->umask = 022;
    static uint64_t last;
    fs->id = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
    fs->ns = mntns_get(ns);
    return fs;
}

struct fs_context *fs_context_dup(struct fs_context *old)
{
    mutex_lock(&old->lock);
    struct path cwd = path_get(old->cwd);
    struct fs_context *fs = fs_context_new(old->root, old->ns);
    mutex_unlock(&old->lock);
    if (!fs) {
        path_put(cwd);
        return nullptr;
    }
    path_put(fs->cwd);
    fs->cwd = cwd;
    fs->umask = fs_umask(old);
    return fs;
}

struct fs_context *fs_context_get(struct fs_context *fs)
{
    ref_get(&fs->ref);
    return fs;
}

void fs_context_put(struct fs_context *fs)
{
    if (!fs || !ref_put(&fs->ref))
        return;
    umask_recall(fs);
    path_put(fs->cwd);
    path_put(fs->root);
    mntns_put(fs->ns);
    slab_free(&fs_context_slab, fs);
}

static bool path_is(const struct path *a, const struct path *b)
{
    return a->mnt == b->mnt && a->dentry == b->dentry;
}

void fs_context_replace(struct fs_context *fs, const struct path *from, const struct path *to)
{
    struct path drop[2] = {};
    mutex_lock(&fs->lock);
    if (path_is(&fs->root, from)) {
        drop[0] = fs->root;
        fs->root = path_get(*to);
    }
    if (path_is(&fs->cwd, from)) {
        drop[1] = fs->cwd;
        fs->cwd = path_get(*to);
    }
    mutex_unlock(&fs->lock);
    path_put(drop[0]);
    path_put(drop[1]);
}
