// SPDX-License-Identifier: Apache-2.0
// Inside of the overlay. An overlay inode stands for a dentry of the upper layer, or for one or (a
// merged directory) several of the lower layers, or both. Its fields mirror those of the file that
// it shows, so that the VFS's checks work on it.
//
// What the upper layer keeps beside the files themselves, as Linux does: whiteouts (character
// devices 0:0), and the attributes PREFIX.opaque ("y": nothing shines through a directory),
// PREFIX.redirect (where a renamed directory's lower part is: "layer,layer:/path") and PREFIX.origin
// (the inode number that a copied-up file had before), with PREFIX trusted.overlay, or user.overlay
// where the upper file system has no trusted attributes.
//
// Locks: an overlay's inodes rank above (are taken before) those of its layers; copy_lock is taken
// after the overlay's inode locks and before those of the layers. At most two overlays stack.
#pragma once
#include "base/slab.h"
#include "fs/overlay/overlay.h"
#include "vfs/file.h"
#include <sys/stat.h>

struct ovl_layer {
    struct mount *mnt;   // ref, private
    struct dentry *root; // borrowed from mnt
};
struct ovl_super {
    struct super *sb;
    struct ovl_layer upper;   // mnt null: read-only
    struct ovl_layer *lower;  // owned
    size_t nlower;
    int depth;                // 1: over ordinary file systems, 2: over overlays
    bool user_xattr, revalidate;
    bool unsteady; // a layer may change behind our back (super.steady)
    const struct cred *cred;  // ref: ours, may do anything
    struct spinlock lock;
    struct htab inodes;       // [lock] by real inode: struct ovl_key
    struct list pinned;       // [lock] struct ovl_inode.pin
};
struct ovl_lower {
    struct dentry *dentry; // ref
    size_t layer;
};
struct ovl_key {
    struct hnode hnode;
    const struct inode *real; // null: not in the table
    struct ovl_inode *oi;
};
struct ovl_listing;
struct ovl_inode {
    struct inode vfs;
    struct dentry *upper;       // [A] ref; set once, by copy-up under copy_lock
    struct ovl_lower *lower;    // [C] owned (or &one)
    size_t nlower;              // [C]
    struct ovl_lower one;
    struct ovl_key by_upper, by_lower; // [super lock]
    struct dentry *alias;       // [super lock] weak: where it is; null: removed, or unknown
    struct list pin;            // [super lock]
    bool pinned;                // [super lock] a hard-linked lower file that has changed stays
    bool own_nlink;             // vfs.nlink counts, not the real file's
    struct mutex copy_lock;
    uint64_t version;           // [A] of a directory: counts changes
    struct spinlock list_lock;
    struct ovl_listing *listing;// [list_lock] weak, see readdir.c
};
static inline struct ovl_inode *oi_of(struct inode *i)
{
    return container_of(i, struct ovl_inode, vfs);
}
static inline struct ovl_super *os_of(const struct super *sb)
{
    return sb->fsdata;
}
static inline struct dentry *ovl_upper(const struct ovl_inode *oi)
{
    return __atomic_load_n(&oi->upper, __ATOMIC_ACQUIRE);
}
static inline struct dentry *ovl_real(const struct ovl_inode *oi)
{
    struct dentry *u = ovl_upper(oi);
    return u ? u : oi->lower[0].dentry;
}
static inline bool ovl_is_whiteout(const struct dentry *d)
{
    return d->inode && S_ISCHR(d->inode->mode) && d->inode->rdev == 0;
}
static inline bool ovl_merged(const struct ovl_inode *oi)
{
    return (ovl_upper(oi) ? 1 : 0) + oi->nlower > 1;
}

// --- inode.c ---
// Takes over the references in upper and lower[]. *out has a reference; an inode that is known
// already is given back.
MUST_CHECK int ovl_inode_new(struct super *sb, struct dentry *upper, const struct ovl_lower *lower,
                             size_t n, struct ovl_inode **out);
void ovl_instantiate(struct dentry *d, struct ovl_inode *oi); // takes the reference
void ovl_mirror(struct ovl_inode *oi);          // fields from the real file
void ovl_key_upper(struct ovl_inode *oi);       // after copy-up
void ovl_forget(struct ovl_inode *oi);          // nlink is 0: its real inode may mean another one
void ovl_pin(struct ovl_inode *oi);
void ovl_alias_set(struct ovl_inode *oi, struct dentry *d);
void ovl_alias_drop(struct ovl_inode *oi, struct dentry *d);
struct dentry *ovl_alias_get(struct ovl_inode *oi); // ref, or null
struct path ovl_real_path(const struct ovl_inode *oi); // borrowed
extern const struct inode_ops ovl_dir_iops, ovl_file_iops, ovl_link_iops;
extern const struct file_ops ovl_dir_fops, ovl_file_fops, ovl_special_fops;
void ovl_release(struct inode *i);
int ovl_getattr(struct inode *i, struct kstat *st);
int ovl_setattr(struct inode *i, const struct iattr *a);
long ovl_getxattr(struct inode *i, const char *name, void *buf, size_t n);
int ovl_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags);
long ovl_listxattr(struct inode *i, char *buf, size_t n);
int ovl_removexattr(struct inode *i, const char *name);
// Our own attributes on a layer's inode. Value length or -errno; set takes i->lock (nested).
long ovl_meta_get(const struct ovl_super *os, struct dentry *d, const char *key, char *buf, size_t n);
int ovl_meta_set(const struct ovl_super *os, struct dentry *d, const char *key, const char *val);
bool ovl_is_opaque(const struct ovl_super *os, struct dentry *d);
bool ovl_xattr_private(const char *name);

// --- copyup.c ---
constexpr uint64_t OVL_ALL = UINT64_MAX;
// Makes oi have an upper file, its parents first; at most `size` bytes of data are copied.
MUST_CHECK int ovl_copy_up(struct ovl_inode *oi, uint64_t size);
long ovl_real_write(struct file *real, struct uio *u, int64_t *pos);

// --- dir.c ---
int ovl_lookup(struct inode *dir, struct dentry *d);
// 1: a lower layer has something of that name in dir; 0; -errno.
int ovl_lower_has(struct ovl_inode *dir, const char *name, size_t n);

// --- readdir.c ---
// Visits the entries of a directory as the guest sees them, and the upper layer's whiteouts.
// 0: empty. 1: not. With `whiteouts`, those are removed when it is otherwise empty.
int ovl_check_empty(struct ovl_inode *dir, bool remove_whiteouts);
