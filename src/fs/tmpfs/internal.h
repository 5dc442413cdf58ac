// SPDX-License-Identifier: Apache-2.0
// tmpfs internals. Directories are a hash table and a list in cookie order; file data is a tree of
// kernel pages until the file is first mapped, then a shared memory object, for good.
#pragma once
#include "base/slab.h"
#include "fs/tmpfs/tmpfs.h"
#include "mem/memobj.h"
#include "vfs/file.h"

// What a mount may hold. Shared by the superblock and every inode, which can outlive it.
struct tmpfs_quota {
    struct ref ref;
    struct spinlock lock;
    uint64_t max_pages, pages;   // [lock] 0: no limit
    uint64_t max_inodes, inodes; // [lock] 0: no limit
};
struct tmpfs_super {
    struct tmpfs_quota *quota; // ref
    uint32_t mode, uid, gid;   // for show_options
};
struct tmpfs_page {
    uint8_t b[PAGE_SIZE];
};
struct tmpfs_pages { // index -> page, pages.c
    void *root;      // owned; a page itself when height is 0
    unsigned height;
    uint64_t count;
};
constexpr uint64_t TMPFS_PAGES_MAX = 1ull << 36; // 256 TiB
struct tmpfs_dirent {
    struct hnode hnode;
    struct list link;
    uint64_t cookie;             // readdir position; grows, never reused in a directory
    struct tmpfs_inode *inode;   // ref
    uint16_t namelen;
    char *name;                  // owned
};
struct tmpfs_xattr {
    struct list link;
    char *name;  // owned
    void *value; // owned
    size_t size;
};
struct tmpfs_inode {
    struct inode inode;
    struct tmpfs_quota *quota;   // [C] ref
    // directories: [inode.lock]
    struct htab names;
    struct list entries;
    uint64_t next_cookie;
    // symbolic links [C]
    char *target;
    // regular files: [inode.lock]
    struct tmpfs_pages pages;    // what is not there is a hole
    uint64_t pages_held;         // pages charged
    struct memobj *shm;          // owned; once set, the data is there and pages is empty
    bool shm_odd;   // [lock] pages may have gone from the middle of it, or lie behind its end
    bool shm_full;  // [lock] every page below its size was there
    struct memobj obj;           // what mappings refer to; live while obj.ref > 0
    bool obj_shared_write;       // somebody mapped it shared and writable
    uint32_t seals;              // F_SEAL_*
    bool sealable;
    bool is_memfd;
    char *memfd_name;            // owned
    struct spinlock xattr_lock;
    struct list xattrs;          // [xattr_lock]
    size_t xattr_bytes;          // [xattr_lock]
};
static inline struct tmpfs_inode *tmpfs_i(struct inode *i)
{
    return container_of(i, struct tmpfs_inode, inode);
}
extern const struct inode_ops tmpfs_dir_iops, tmpfs_file_iops, tmpfs_link_iops, tmpfs_node_iops;
extern const struct file_ops tmpfs_dir_fops, tmpfs_file_fops;

// tmpfs.c
MUST_CHECK struct tmpfs_inode *tmpfs_inode_new(struct super *sb, struct inode *dir, uint32_t mode,
                                               const struct cred *c);
void tmpfs_release(struct inode *i);
MUST_CHECK int tmpfs_charge(struct tmpfs_quota *q, uint64_t pages); // -ENOSPC
void tmpfs_charge_force(struct tmpfs_quota *q, uint64_t pages); // what cannot be refused any more
void tmpfs_uncharge(struct tmpfs_quota *q, uint64_t pages);
uint64_t tmpfs_free_pages(struct tmpfs_quota *q);
// pages.c: inode.lock is held
struct tmpfs_page *tmpfs_pages_get(const struct tmpfs_pages *t, uint64_t index);
MUST_CHECK int tmpfs_pages_put(struct tmpfs_pages *t, uint64_t index, struct tmpfs_page *page);
struct tmpfs_page *tmpfs_pages_take(struct tmpfs_pages *t, uint64_t index); // out of the tree
uint64_t tmpfs_pages_next(const struct tmpfs_pages *t, uint64_t index); // first >= index, ~0: none
// data.c: inode.lock is held
int tmpfs_truncate(struct tmpfs_inode *t, uint64_t size);
void tmpfs_data_free(struct tmpfs_inode *t);
void tmpfs_obj_init(struct tmpfs_inode *t);
// dir.c
void tmpfs_dir_free(struct tmpfs_inode *t);
// xattr.c
long tmpfs_getxattr(struct inode *i, const char *name, void *buf, size_t n);
int tmpfs_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags);
long tmpfs_listxattr(struct inode *i, char *buf, size_t n);
int tmpfs_removexattr(struct inode *i, const char *name);
void tmpfs_xattr_free(struct tmpfs_inode *t);
