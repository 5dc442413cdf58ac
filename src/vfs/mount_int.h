// SPDX-License-Identifier: Apache-2.0
// The mount tree's inside: mount.c (tree), mount_ops.c (mount(2) and friends), mount_show.c.
//
// mount_lock (a mutex) serialises changes; they are made with mount_spin held too, so readers need
// only one of the two. Walks hold mount_spin; dentry_lock may be taken inside it.
#pragma once
#include "vfs/internal.h"

extern struct mutex mount_lock;
extern struct spinlock mount_spin;
extern struct list all_mounts; // [mount_lock and mount_spin]

// What a detached mount still owes, paid when no lock is held: its dentry and the tree's reference.
struct mount_garbage {
    struct mount *first; // chained by `copy`
};
void mount_attach_locked(struct mount *m, struct mount *parent, struct dentry *at);
// Takes one mount off its parent (children stay on it).
void mount_detach_locked(struct mount *m, struct mount_garbage *g);
// The whole subtree comes apart: every mount detached and without namespace.
void mount_detach_tree_locked(struct mount *top, struct mount_garbage *g);
void mount_garbage_free(struct mount_garbage *g);
struct mount *mount_child_locked(const struct mount *parent, const struct dentry *at);
// Preorder walk of the subtree of top; null at the end. skip: not the children of m.
struct mount *mount_next(struct mount *m, struct mount *top, bool skip);
bool mount_is_below(const struct mount *m, const struct mount *ancestor); // or equal
// Copies the subtree of src that is visible below `root` (recursive) or src alone. The copies are
// attached to each other; *out gets a reference for the top one. [mount_lock]
MUST_CHECK int mount_copy_tree_locked(struct mount *src, struct dentry *root, bool recursive,
                                      bool skip_unbindable, struct mount **out);
void mount_set_ns_locked(struct mount *top, struct mntns *ns);
// mount_attach_locked of the tree m, and copies of it wherever parent's events propagate to.
int mount_attach_propagate_locked(struct mount *m, struct mount *parent, struct dentry *at);
uint64_t mount_new_group(void);
// What mount_attach_propagate_locked made at (peer of parent, at) goes again.
void mount_detach_propagate_locked(struct mount *parent, struct dentry *at, struct mount_garbage *g);
bool mount_group_has_peers_locked(struct mount *m);
