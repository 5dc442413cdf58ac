// SPDX-License-Identifier: Apache-2.0
// Inside of the 9P client file system. An inode knows where it is (parent inode and a name) and
// gets a fid on the server only when something needs one, so that millions of cached inodes cost
// the Gofer nothing; unused fids go back, least recently used first. Donated descriptors are kept
// per inode and shared by its open files and mappings.
//
// client->inode_lock (a spinlock) guards everything marked [n], in all file systems of a client.
#pragma once
#include "fs/gofer/client.h"
#include "mem/memobj.h"
#include "vfs/file.h"

constexpr size_t GFS_MAX_IDLE_FIDS = 8192;
// A stat(2) by path revalidates the name and then wants the attributes that this just brought.
constexpr uint64_t GFS_DIR_FRESH_NS = 1000 * 1000;
constexpr ktime_t GFS_ATTR_FRESH_NS = 200 * 1000;
constexpr ktime_t GFS_PREFETCH_SHARED_NS = 50 * 1000 * 1000;

struct gofer_super {
    struct gofer_client *c;  // ref
    struct super *sb;
    uint32_t root_fid;
    bool exclusive, readonly;
    bool no_donate;          // [A] the server gave an open fid where it could have given a descriptor
    struct htab inodes;      // [n] by ino
    struct list orphans;     // [n] inodes whose last reference is to be dropped, see gfs_release
    bool dropping;           // [n]
};
enum gfs_io : uint8_t { GFS_IO_UNKNOWN, GFS_IO_MEMORY, GFS_IO_NOWAIT, GFS_IO_POOL };
struct gofer_fds {
    struct list lru;         // [n] idle_fds, when users == 0
    uint32_t users;          // [n] open files, mappings, calls in progress
    int ro, wr;              // [n] -1; never closed while there are users
    bool wr_reads;           // wr is O_RDWR
    enum gfs_io rd_io, wr_io;// [A] how this host file takes reads and writes without blocking
    struct gofer_memobj *obj;// [n] weak
};
struct gofer_inode {
    struct inode vfs;
    struct hnode hnode;          // [n]
    struct gofer_inode *parent;  // [n] ref; null: the root, or unlinked
    char *name;                  // [n] owned; null with parent
    struct list fid_lru;         // [n] idle_fids; or super.orphans
    uint32_t fid, fid_users;     // [n]
    struct gofer_fds *fds;       // [n] owned
    struct gfs_listing *listing; // [n] ref, directories: see listing.c
    struct gfs_names *names;     // [lock] owned, directories: see names.c
    ktime_t attr_at;             // [A] when the server last told the attributes (shared)
    char *target;                // [A] owned, symlinks
    bool hashed;                 // [n]
    bool stale;                  // [A] attributes have changed on the server by what we did
    uint8_t misses;              // [lock] absent names looked up, directories
    uint8_t asked;               // [lock] names that were there looked up one by one
    uint8_t walked;              // [n] subdirectories opened, up to 255
    bool no_xattr;               // [A] known to have none (exclusive)
};
static inline struct gofer_inode *gi_of(struct inode *i)
{
    return container_of(i, struct gofer_inode, vfs);
}
static inline struct gofer_super *gs_of(const struct super *sb)
{
    return sb->fsdata;
}
static inline struct gofer_client *gc_of(const struct gofer_inode *gi)
{
    return gs_of(gi->vfs.sb)->c;
}

extern const struct inode_ops gofer_dir_iops, gofer_file_iops, gofer_link_iops;
extern const struct file_ops gofer_dir_fops, gofer_file_fops, gofer_special_fops;

// --- inode.c ---
// The inode of a node, cached or new, with a reference. fresh: it was just made, so an inode with
// that number is another, gone one.
MUST_CHECK int gfs_inode(struct super *sb, const struct c9_node *n, struct gofer_inode *parent,
                         struct span name, bool fresh, struct gofer_inode **out);
void gfs_attr_update(struct gofer_inode *gi, const struct np_attr *a);
// Our own doing changed the number of links, by n, not below 0. Returns what is left. An answer of
// the Gofer may set it at any time: takes inode_lock.
uint32_t gfs_nlink_add(struct gofer_inode *gi, int32_t n);
void gfs_attr_from_fd(struct gofer_inode *gi, int fd);
int gfs_refresh(struct gofer_inode *gi);       // attributes from fd or server
void gfs_unhash(struct gofer_inode *gi);
void gfs_alias_set(struct gofer_inode *gi, struct gofer_inode *parent, struct span name);
// The server has just said that gi is there: in a shared mount it may have been moved, or its number
// been given to another file, since we learned where it is.
void gfs_alias_found(struct gofer_inode *gi, struct gofer_inode *parent, struct span name);
// Forgets (parent, name) if that is where gi was thought to be.
void gfs_alias_drop(struct gofer_inode *gi, struct gofer_inode *parent, struct span name);
// A fid that stays valid until gfs_fid_put().
MUST_CHECK int gfs_fid_get(struct gofer_inode *gi, uint32_t *fid);
void gfs_fid_put(struct gofer_inode *gi);
void gfs_fid_offer(struct gofer_inode *gi, uint32_t fid); // keeps it, or gives it back
void gfs_fid_forget(struct gofer_inode *gi);   // unless in use: its name on the server is stale
// Where to walk from to reach gi: a fid (valid until gfs_unlocate(*base)) and no or one name,
// copied to buf.
MUST_CHECK int gfs_locate(struct gofer_inode *gi, struct gofer_inode **base, uint32_t *fid,
                          struct np_names *names, char buf[static NP_NAME_MAX + 1]);
void gfs_unlocate(struct gofer_inode *base);
int gfs_getattr(struct inode *i, struct kstat *st);
int gfs_setattr(struct inode *i, const struct iattr *a);
long gfs_getxattr(struct inode *i, const char *name, void *buf, size_t n);
int gfs_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags);
long gfs_listxattr(struct inode *i, char *buf, size_t n);
int gfs_removexattr(struct inode *i, const char *name);
void gfs_release(struct inode *i);
int gfs_walk_here(struct gofer_inode *gi, struct c9_node *out); // asks the server for gi's attributes

// --- common.c: one file, served by several Gofers ---
struct inode *gfs_common(struct inode *i);

// --- fds.c ---
enum gfs_need : int { GFS_READ /* ro, or wr if it reads */, GFS_RO, GFS_WRITE };
// 0 and a pin on gi's descriptors, which have what is needed; -ENODEV: the server does not donate.
MUST_CHECK int gfs_fds_pin(struct gofer_inode *gi, enum gfs_need need);
bool gfs_fds_pin_cached(struct gofer_inode *gi, enum gfs_need need); // without asking the server
void gfs_fds_unpin(struct gofer_inode *gi);
// Takes fd over (closes it when not needed); the caller gets no pin.
void gfs_fds_add(struct gofer_inode *gi, int fd);
void gfs_fds_free(struct gofer_inode *gi); // at release
static inline int gfs_read_fd(const struct gofer_fds *f)
{
    return f->ro >= 0 ? f->ro : f->wr_reads ? f->wr : -1;
}
long gfs_host_read(struct gofer_fds *f, int fd, void *buf, size_t n, uint64_t off);
long gfs_host_write(struct gofer_fds *f, int fd, const void *buf, size_t n, uint64_t off, int flags);
int gfs_host_call(long nr, int fd, uint64_t a, uint64_t b, uint64_t c); // may block: on the I/O pool
int gfs_mmap(struct file *f, struct memobj **obj);

// --- names.c: exclusive mounts; dir locked ---
bool gfs_names_absent(struct gofer_inode *dir, const char *name, size_t n); // known not to be there
void gfs_names_add(struct gofer_inode *dir, const char *name, size_t n);
void gfs_names_miss(struct gofer_inode *dir); // an absent name cost a round trip
void gfs_names_free(struct gofer_inode *dir);

// --- listing.c: entries that the server told ---
struct gfs_chunk;
struct gfs_listing {
    struct ref ref;            // who owns it (inode or parent listing), open directories
    struct gofer_inode *dir;   // [n] weak: the inode that has it
    struct list lru;           // [n] client->listings, with `dir`
    struct list children;      // [n] owned: of subdirectories that nobody has looked up yet
    struct list sibling;       // [n] in children
    struct gfs_chunk *first, *last; // [n] owned
    size_t bytes;              // its maker's
    bool partial;              // its maker's: not all that came is in here
    bool owned;                // [n] has an owner, may be given children
    bool complete;             // [n] all entries, and none of them changed by us since
    ktime_t stamp;             // [n]
    uint8_t namelen;           // [C] as a child
    char name[];
};
enum gfs_told : int { GFS_UNTOLD, GFS_TOLD, GFS_ABSENT };
struct gfs_listing *gfs_listing_new(struct span name);
void gfs_listing_unref(struct gofer_client *c, struct gfs_listing *l);  // an open directory's
void gfs_listing_disown(struct gofer_client *c, struct gfs_listing *l); // the owner's, children too
void gfs_listing_drop(struct gofer_inode *gi);                          // at release
// Makes l (its owner's reference) that of gi; without `replace` only if gi has none.
void gfs_listing_set(struct gofer_inode *gi, struct gfs_listing *l, bool replace);
// Appends a copy; null: not kept (too large, malformed).
struct gfs_chunk *gfs_listing_add(struct gofer_client *c, struct gfs_listing *l, struct span entries);
// All is in there, unless something has changed since gfs_changes() said `changes`.
uint64_t gfs_changes(struct gofer_client *c);
void gfs_listing_finish(struct gofer_client *c, struct gfs_listing *l, uint64_t changes);
void gfs_listing_changed(struct gofer_inode *dir); // by us, just now
struct gfs_listing *gfs_listing_get(struct gofer_inode *dir); // with a reference, if it is complete
struct gfs_listing *gfs_listing_get_any(struct gofer_inode *dir); // the same, whole or not
bool gfs_listing_whole(struct gofer_client *c, struct gfs_listing *l);
struct gfs_chunk *gfs_listing_first(struct gfs_listing *l);
struct gfs_chunk *gfs_chunk_next(struct gofer_client *c, struct gfs_chunk *k);
struct span gfs_chunk_entries(const struct gfs_chunk *k);
void gfs_listing_cached_locked(struct gofer_inode *dir, struct span name); // from now on
// Attributes of a name, told once; *below: the listing of that directory, now the caller's.
enum gfs_told gfs_listing_take(struct gofer_inode *dir, struct span name, struct c9_node *out,
                               struct gfs_listing **below);
void gfs_listing_forget(struct gofer_inode *dir, struct span name); // about to change
void gfs_listing_hang(struct gofer_client *c, struct gfs_listing *l, struct gfs_listing *child);
// The name and the subdirectories that come after it, up to max, for Tlisttree.
void gfs_listing_names(struct gofer_inode *dir, struct span name, unsigned max, struct wspan *w);
// The regular files that come after a name (empty: from the start), as views that are valid under
// inode_lock. At most max.
enum gfs_order : uint8_t { GFS_UNORDERED, GFS_LISTED /* as read from the directory */, GFS_SORTED };
struct gfs_next {
    struct span name;
    uint64_t ino;
};
size_t gfs_listing_next_locked(struct gofer_inode *dir, struct span name, enum gfs_order order,
                               struct gfs_next *v, size_t max);

// --- ahead.c: files that are opened for reading one after the other come with descriptors ---
bool gfs_ahead_take(struct gofer_inode *gi); // true: gi has one now
bool gfs_ahead_ask(struct gofer_inode *gi);  // the same, from the server, when a sequence is seen
void gfs_ahead_forget(struct gofer_super *gs, uint64_t ino); // the file is gone
void gfs_ahead_drop(struct gofer_client *c, const struct gofer_super *gs);
bool gfs_ino_open_locked(struct gofer_super *gs, uint64_t ino); // inode.c: has one for reading

// readdir.c: one more name was asked for; soon all are, at once. Dir locked.
void gfs_dir_look(struct gofer_inode *dir, unsigned misses);
bool gfs_inode_cached_locked(struct gofer_super *gs, uint64_t ino);
struct gofer_inode *gfs_inode_find(struct gofer_super *gs, uint64_t ino); // ref, or null
