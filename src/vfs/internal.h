// SPDX-License-Identifier: Apache-2.0
// What the files of src/vfs/ share among themselves and nobody else needs.
#pragma once
#include "base/slab.h"
#include "vfs/file.h"
#include "vfs/special.h"
#include "vfs/vfs.h"

enum : int { MAY_EXEC = 1, MAY_WRITE = 2, MAY_READ = 4 };
constexpr size_t NAME_LEN_MAX = 255;

// --- dcache.c ---
extern struct spinlock dentry_lock; // hash table, LRU, names, parents, child lists
// The cached child with a reference, or null. No lock needed.
struct dentry *dcache_find(struct dentry *dir, const char *name, size_t n);
bool dentry_is_below(struct dentry *d, struct dentry *ancestor); // or equal
// The child of `ancestor` on the way down to d, without a reference; null when not below.
struct dentry *dentry_branch(struct dentry *d, struct dentry *ancestor);
void dcache_kill(struct super *sb);    // at the end of a superblock
uint64_t dcache_rename_seq(void);      // changes when a directory or mount moves
void dcache_rename_bump(void);

static inline struct inode *dentry_inode(const struct dentry *d)
{
    return __atomic_load_n(&d->inode, __ATOMIC_ACQUIRE);
}
static inline bool dentry_is_dir(const struct dentry *d)
{
    struct inode *i = dentry_inode(d);
    return i && (i->mode & 0170000) == 0040000;
}

// --- mount.c ---
// Steps down through everything mounted on p, in place; true when it moved.
bool path_follow_mounts(struct path *p);
// From the root of a mount to its mountpoint; false at the top. In place.
bool path_follow_up(struct path *p);
// Takes what is mounted on d away everywhere but in `ns` (an entry is being removed).
void mounts_detach_dentry(struct dentry *d);
bool dentry_mounted_in(struct dentry *d, struct mntns *ns);
static inline uint32_t mount_flags(const struct mount *m)
{
    return m ? __atomic_load_n(&m->flags, __ATOMIC_RELAXED) : 0;
}

// --- inode.c ---
// Checks for adding an entry to dir, and for taking victim out of it (is_dir: rmdir-like).
int may_create(struct inode *dir, const struct cred *c);
int may_delete(struct inode *dir, struct dentry *victim, bool is_dir, const struct cred *c);
int path_permission(const struct path *p, int mask, const struct cred *c); // with EROFS
bool inode_owner_or_capable(const struct inode *i, const struct cred *c);
int setattr_locked(struct inode *i, struct iattr *a);
// Takes set-user-ID and set-group-ID (when executable) off after a write; i->lock held.
int inode_remove_privs_locked(struct inode *i, const struct cred *c);

// --- path.c ---
int path_print_reachable(const struct path *p, const struct path *root, struct strbuf *out,
                         bool *reachable);
void dentry_print(struct dentry *d, struct strbuf *out); // from the root of its file system

// --- file.c ---
extern const struct file_ops opath_file_ops; // nothing works
void file_abort(struct file *f);             // a file whose open failed: no release
void umask_recall(struct fs_context *fs); // umask.c: before fs goes
// The mode of a new inode: set-group-ID rules and umask.
uint32_t vfs_new_mode(const struct inode *dir, uint32_t mode, uint32_t umask, const struct cred *c);
