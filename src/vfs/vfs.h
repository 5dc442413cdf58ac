// SPDX-License-Identifier: Apache-2.0
// The VFS: superblocks, inodes, dentries, mounts and open files, after Linux's own model, so that
// Linux's own semantics fall out of it.
//
// Life: a dentry holds its parent, its inode and its superblock; a struct path holds mount and
// dentry; a struct file holds its path and inode. A positive or negative dentry without users may
// stay cached (bounded LRU per superblock) unless its file system says no.
//
// Locking: dir->lock (RANK_DIR) is held across every ops call that looks up, adds or removes an
// entry of that directory; sb->rename_lock (RANK_RENAME) for cross-directory renames; inode->lock
// (RANK_INODE) guards attributes and data of a file. dentry name/parent: stable under dir->lock of
// the parent, or by dentry_lock (a spinlock in dcache.c). Mount tree: mount_lock (RANK_MOUNT).
// Who locks what around inode_ops: the VFS holds dir->lock for lookup, create, mkdir, mknod,
// symlink, link, unlink, rmdir, rename (both) and tmpfile, and also the lock of a directory that
// is being removed or replaced (rmdir, rename target; nested); file inodes are not locked there, so
// link, unlink and rename take target->lock themselves to change nlink. It holds i->lock for
// setattr, setxattr and removexattr. getattr, readlink, permission, getxattr, listxattr: no lock.
// file_ops take i->lock themselves, but see file_ops.lock_writes.
#pragma once
#include "abi/uaddr.h"
#include "base/htab.h"
#include "base/list.h"
#include "base/ref.h"
#include "base/strbuf.h"
#include "kern/cred.h"
#include "sched/mutex.h"
#include "sched/waitq.h"

struct file;
struct file_ops;
struct inode;
struct inode_ops;
struct dentry;
struct super;
struct mount;
struct mntns;
struct uio;
struct memobj;
struct fs_type;
struct poll_table;
struct fs_context;
struct lookup_ctx;
struct file_locks;   // POSIX, OFD and flock locks of an inode: vfs/lock.c
struct inotify_marks;

struct ktimespec {
    int64_t sec;
    uint32_t nsec;
};
// Times of an inode are written under its lock and read without it, word by word: a reader may see
// the seconds of one moment with the nanoseconds of another, for an instant.
static inline struct ktimespec ktimespec_load(const struct ktimespec *t)
{
    return (struct ktimespec){.sec = READ_SHARED(t->sec), .nsec = READ_SHARED(t->nsec)};
}
static inline void ktimespec_store(struct ktimespec *t, struct ktimespec v)
{
    WRITE_SHARED(t->sec, v.sec);
    WRITE_SHARED(t->nsec, v.nsec);
}
// The bits of struct statx, as the kernel carries them.
struct kstat {
    uint64_t ino, size, blocks, dev, rdev, mnt_id;
    uint32_t mode, nlink, uid, gid, blksize;
    struct ktimespec atime, mtime, ctime, btime;
    bool has_btime;
    bool mount_root; // STATX_ATTR_MOUNT_ROOT
};
enum : uint32_t {
    IATTR_MODE = 1, IATTR_UID = 2, IATTR_GID = 4, IATTR_SIZE = 8, IATTR_ATIME = 16,
    IATTR_MTIME = 32, IATTR_ATIME_SET = 64, IATTR_MTIME_SET = 128, IATTR_CTIME = 256,
    IATTR_KILL_PRIV = 512, // to vfs_setattr only (chown): set-id bits go; fs see it as MODE
};
struct iattr {
    uint32_t valid;      // IATTR_*; ATIME without ATIME_SET means "now"
    uint32_t mode, uid, gid;
    uint64_t size;
    struct ktimespec atime, mtime;
};

struct inode {
    const struct inode_ops *ops; // [C]
    const struct file_ops *fops; // [C] default for open()
    struct super *sb;            // [C] kept alive by its dentries and mounts
    struct ref ref;
    struct mutex lock;           // RANK_DIR for directories, RANK_INODE otherwise
    uint64_t ino;                // [C]
    uint32_t mode;               // [lock] type bits never change
    uint32_t uid, gid, nlink;    // [lock]
    uint64_t size, blocks, rdev; // [lock] size is also read racily, as a whole
    struct ktimespec atime, mtime, ctime, btime; // [lock]
    // Several inodes of one file (a host file that two containers of a pod have mounted) have this in
    // common: locks, the bound socket and the FIFO are there. Found by inode_common().
    struct inode *common;        // [A] ref, set once; null: these are here
    struct file_locks *locks;    // [file-lock spinlock] owned, made on demand
    struct inotify_marks *marks; // [inotify lock] owned, made on demand
    int32_t writers;             // [A] open-for-write count; negative: denied (being executed)
    void *sock;                  // [lock] bound AF_UNIX socket (struct unix_sock), weak
    void *fifo;                  // [lock] struct pipe of an open FIFO, ref held by its openers
    bool dead;                   // [lock] directory that was removed: nothing can be made in it
    // For vfs/window.c: who was told of its attributes, and how many changes began and ended.
    struct window_ref *published; // [window lock] owned
    uint32_t change_begun, change_ended; // [A]
    bool linkable;               // [lock] made by O_TMPFILE without O_EXCL: link() may revive it
};

constexpr size_t DENTRY_NAME_INLINE = 32;
struct dentry {
    // What a look-up touches, together.
    struct hnode hnode;     // (parent, name) table
    struct dentry *parent;  // ref (itself for a root)
    struct inode *inode;    // ref; null: negative
    struct super *sb;       // [C]
    char *name;             // NUL-terminated; iname, or owned
    struct ref ref;
    uint32_t mounted;       // [mount_lock] number of mounts on top
    uint16_t namelen;
    bool unhashed;          // removed or never entered
    bool pinned;            // stays cached without users (dentry_add_child)
    uint32_t watchers;      // [dentry_lock] inotify watches: stays cached like a pinned one
    char iname[DENTRY_NAME_INLINE];
    struct list lru;        // unused, cached
    struct list child, children; // siblings under parent; children
    uint64_t revalidate_at; // file system's
    void *fsdata;           // file system's, freed by super_ops.d_release
};

struct path {
    struct mount *mnt;     // ref
    struct dentry *dentry; // ref
};

// Arguments are already permission-checked by the VFS; directories are locked (see above).
// A null slot gets the stated default.
struct inode_ops {
    // Looks name up and, if found, calls dentry_instantiate(d, inode). Leaving d negative and
    // returning 0 is "not there".                                     default: -ENOTDIR
    int (*lookup)(struct inode *dir, struct dentry *d);
    // Each instantiates d on success.                                 default: -EPERM
    int (*create)(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *c);
    int (*mkdir)(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *c);
    int (*mknod)(struct inode *dir, struct dentry *d, uint32_t mode, uint64_t rdev,
                 const struct cred *c);
    int (*symlink)(struct inode *dir, struct dentry *d, const char *target, const struct cred *c);
    int (*link)(struct inode *target, struct inode *dir, struct dentry *d);
    int (*unlink)(struct inode *dir, struct dentry *d);
    int (*rmdir)(struct inode *dir, struct dentry *d);
    int (*rename)(struct inode *odir, struct dentry *od, struct inode *ndir, struct dentry *nd,
                  unsigned flags); // RENAME_NOREPLACE handled by the VFS; EXCHANGE passed on
    // O_TMPFILE: instantiates d, which is unhashed, with an inode of nlink 0.
    int (*tmpfile)(struct inode *dir, struct dentry *d, uint32_t mode,
                   const struct cred *c);                              // default: -EOPNOTSUPP
    int (*readlink)(struct inode *i, struct strbuf *out);              // default: -EINVAL
    // Magic links (/proc/PID/fd/N, exe, cwd, root): fills *out.       default: use readlink
    int (*get_link)(struct dentry *d, struct path *out);
    int (*getattr)(struct inode *i, struct kstat *st);                 // default: inode fields
    int (*setattr)(struct inode *i, const struct iattr *a);            // default: set fields, EPERM on size
    int (*permission)(struct inode *i, int mask, const struct cred *c);// default: mode bits
    long (*getxattr)(struct inode *i, const char *name, void *buf, size_t n); // default: -EOPNOTSUPP
    int (*setxattr)(struct inode *i, const char *name, const void *buf, size_t n, int flags);
    long (*listxattr)(struct inode *i, char *buf, size_t n);           // default: 0
    int (*removexattr)(struct inode *i, const char *name);
    // Where locks, socket and FIFO of i are: borrowed. May ask a server. default: i
    struct inode *(*common)(struct inode *i);
    // Last reference gone (nlink may be 0): free fs data, drop storage.
    void (*release)(struct inode *i);                                  // default: slab_free of inode
};

struct super_ops {
    int (*statfs)(struct super *sb, void *kstatfs);  // struct statfs of <sys/vfs.h>
    // Before a cached dentry is used: 1 valid, 0 look up again, -errno. null: always valid.
    int (*d_revalidate)(struct dentry *d);
    void (*d_release)(struct dentry *d);
    int (*sync)(struct super *sb);
    int (*remount)(struct super *sb, const char *options);      // default: options ignored
    void (*release)(struct super *sb);
    void (*show_options)(struct super *sb, struct strbuf *out); // ",size=..." for mountinfo
};
struct super {
    const struct super_ops *ops;   // [C]
    const struct fs_type *type;    // [C]
    struct ref ref;
    struct dentry *root;           // ref
    struct mutex rename_lock;
    uint64_t dev;                  // [C] st_dev
    uint64_t magic;                // [C] f_type
    uint32_t flags;                // [A] MS_RDONLY
    uint64_t maxbytes;             // [C] largest file; default INT64_MAX
    bool steady;                   // [C] inodes change only through calls on them, which tell window.c
    bool nocache_negative;         // negative dentries are not kept
    bool nocache;                  // dentries are not kept at all (procfs pid dirs)
    char *source;                  // owned, for mountinfo
    void *fsdata;
};
// One row per file system in fs/fs.def; `mount` parses options ("size=1m,mode=755").
struct fs_type {
    const char *name;
    bool nodev;        // /proc/filesystems
    bool user_mount;   // mountable by mount(2) inside
    int (*mount)(const struct fs_type *t, const char *source, const char *options,
                 const struct cred *c, struct super **out);
};
const struct fs_type *fs_type_find(const char *name);
const struct fs_type *const *fs_type_all(size_t *n);

// --- inodes and dentries (dcache.c, inode.c) ---
MUST_CHECK struct super *super_new(const struct fs_type *t, const struct super_ops *ops);
struct super *super_get(struct super *);
void super_put(struct super *);
void vfs_sync_all(void);      // sync(2): every mounted superblock
uint64_t vfs_new_dev(void);   // anonymous device numbers
uint64_t vfs_new_ino(void);
// Initialises an inode embedded in a file system's own: ref 1, times now.
void inode_init(struct inode *i, struct super *sb, const struct inode_ops *ops,
                const struct file_ops *fops, uint32_t mode, const struct cred *c);
// gid, and S_ISGID of a new directory, from a set-group-ID directory.
void inode_inherit(struct inode *i, const struct inode *dir);
// Plain inodes from the VFS's own slab, for file systems without an inode type of their own
// (without ops->release they are freed by inode_put).
MUST_CHECK struct inode *inode_alloc(void);
void inode_free(struct inode *i);
int inode_getattr(struct inode *i, struct kstat *st);
void inode_setattr_fields(struct inode *i, const struct iattr *a); // all but size; for ops->setattr
int inode_permission_generic(struct inode *i, int mask, const struct cred *c); // mode bits, caps
// truncate: limits, set-id bits, then setattr; takes i->lock. No permission check.
MUST_CHECK int inode_truncate(struct inode *i, uint64_t size, const struct cred *c);
struct inode *inode_get(struct inode *i);
void inode_put(struct inode *i);
static inline struct inode *inode_common(struct inode *i) // no lock held
{
    struct inode *c = __atomic_load_n(&i->common, __ATOMIC_ACQUIRE);
    return c ? c : i->ops && i->ops->common ? i->ops->common(i) : i;
}
static inline struct inode *inode_common_known(struct inode *i) // what has been used before
{
    struct inode *c = __atomic_load_n(&i->common, __ATOMIC_ACQUIRE);
    return c ? c : i;
}
void inode_touch(struct inode *i, uint32_t which /* IATTR_ATIME|MTIME|CTIME */);
struct ktimespec vfs_now(void);
MUST_CHECK struct dentry *dentry_new_root(struct super *sb, struct inode *i); // takes the inode ref
// A dentry without parent for an anonymous inode (a path with a null mount); takes the inode ref on
// success. `name` is what path_print shows.
MUST_CHECK struct dentry *dentry_new_anon(struct super *sb, struct inode *i, const char *name);
void dentry_instantiate(struct dentry *d, struct inode *i); // takes the inode ref; d was negative
struct dentry *dentry_get(struct dentry *d);
void dentry_put(struct dentry *d);
void dentry_unhash(struct dentry *d);              // drop from the cache: next walk looks up again
// The cached or newly looked-up child; dir->lock held by the caller. May be negative.
MUST_CHECK int dentry_lookup_locked(struct dentry *dir, const char *name, size_t n,
                                    struct dentry **out);
void dcache_shrink(struct super *sb, size_t keep); // drop unused dentries
// For pseudo file systems: a positive child under dir, without going through ops. Takes the inode
// ref; stays until dentry_unhash() even when nobody uses it. *out (may be null) gets a reference.
MUST_CHECK int dentry_add_child(struct dentry *dir, const char *name, struct inode *i,
                                struct dentry **out);

// --- mounts (mount.c) ---
struct mount {
    struct ref ref;
    struct super *sb;         // ref
    struct dentry *root;      // ref: what is shown (a subtree for binds)
    struct mount *parent;     // [mount_lock] weak while attached
    struct dentry *mountpoint;// [mount_lock] ref
    struct list siblings, children; // [mount_lock]
    struct mntns *ns;         // [mount_lock] weak; null: detached
    uint32_t flags;           // [mount_lock] MS_RDONLY|NOSUID|NODEV|NOEXEC|NOATIME|...
    uint64_t id;              // [C]
    uint64_t peer_group, master_group;     // [mount_lock] propagation
    bool unbindable;
    bool expire;              // [mount_lock] MNT_EXPIRE was asked for once
    struct mount *copy;       // [mount_lock] scratch of tree copies
    struct list all;          // [mount_lock] every mount, for propagation
};
struct mntns {
    struct ref ref;
    struct mount *root; // ref
    uint64_t ino;
};
MUST_CHECK struct mount *mount_new(struct super *sb, struct dentry *root, uint32_t flags);
struct mount *mount_get(struct mount *);
void mount_put(struct mount *);
MUST_CHECK int mntns_new(struct mount *root, struct mntns **out);
struct mntns *mntns_get(struct mntns *);
void mntns_put(struct mntns *);
MUST_CHECK int mount_attach(struct mount *m, const struct path *at);
bool mount_readonly(const struct mount *m); // mount or superblock; null: no
// CLONE_NEWNS / unshare: a copy of fs whose namespace is a copy of fs->ns, cwd and root moved over.
MUST_CHECK int fs_context_copy_ns(struct fs_context *fs, struct fs_context **out);
// A superblock of a type by name, mounted at target (MS_* flags, with MS_BIND, MS_REMOUNT, MS_MOVE
// and propagation changes as mount(2)). No capability check.
MUST_CHECK int vfs_mount(const struct lookup_ctx *c, const char *source, const char *target,
                         const char *type, uint32_t flags, const char *options);
int vfs_umount(const struct lookup_ctx *c, const char *target, int flags);
int vfs_pivot_root(const struct lookup_ctx *c, const char *new_root, const char *put_old);
void mount_set_flags(struct mount *m, uint32_t flags); // MS_RDONLY|NOSUID|NODEV|NOEXEC|...
void mounts_show(struct mntns *ns, const struct path *root, struct strbuf *out, bool mountinfo);

static inline struct path path_get(struct path p) // mnt may be null (anonymous files)
{
    if (p.mnt)
        mount_get(p.mnt);
    if (p.dentry)
        dentry_get(p.dentry);
    return p;
}
static inline void path_put(struct path p)
{
    if (p.dentry)
        dentry_put(p.dentry);
    if (p.mnt)
        mount_put(p.mnt);
}

// --- what path resolution starts from: cwd, root, umask; shared by CLONE_FS (fscontext.c) ---
struct fs_context {
    struct ref ref;
    struct mutex lock;
    struct path cwd, root; // [lock]
    uint32_t umask;        // [umask.c] not true while it is lent: fs_umask()
    struct mm *umask_lent; // [A, umask.c] weak: whose stub has it; or null
    uint64_t id;           // [C] never used again
    struct mntns *ns;      // [C] ref
};
MUST_CHECK struct fs_context *fs_context_new(struct path root, struct mntns *ns); // cwd = root
MUST_CHECK struct fs_context *fs_context_dup(struct fs_context *);
struct fs_context *fs_context_get(struct fs_context *);
void fs_context_put(struct fs_context *);
// umask.c. The value now; and umask(2) by a task that has mm (or null), whose stub may then answer such
// calls itself.
uint32_t fs_umask(struct fs_context *);
uint32_t fs_umask_set(struct fs_context *, uint32_t mask, struct mm *mm);
// root and cwd become `to` where they are exactly `from` (pivot_root).
void fs_context_replace(struct fs_context *fs, const struct path *from, const struct path *to);

// --- path resolution (namei.c) ---
struct fdtab;
struct lookup_ctx { // who asks
    struct fs_context *fs;
    struct fdtab *files; // for dirfd
    const struct cred *cred;
};
enum : unsigned {
    LOOKUP_FOLLOW = 1, LOOKUP_DIRECTORY = 2, LOOKUP_EMPTY = 4 /* AT_EMPTY_PATH */,
    LOOKUP_BENEATH = 8, LOOKUP_IN_ROOT = 16, LOOKUP_NO_XDEV = 32, LOOKUP_NO_MAGICLINKS = 64,
    LOOKUP_NO_SYMLINKS = 128, LOOKUP_NO_AUTOMOUNT = 256,
};
MUST_CHECK int path_lookup(const struct lookup_ctx *c, int dirfd, const char *name, unsigned flags,
                           struct path *out);
// Parent directory and last component (name[256]); *slash: the path ended in '/'.
MUST_CHECK int path_lookup_parent(const struct lookup_ctx *c, int dirfd, const char *name,
                                  unsigned flags, struct path *parent, char *last, bool *slash);
// The absolute path of p as seen from root, with " (deleted)"; the part below the topmost mount
// where root cannot be reached (as d_path). Anonymous files: their name.
int path_print(const struct path *p, const struct path *root, struct strbuf *out);
// As getcwd(2): -ENOENT when removed, "(unreachable)" in front when outside root.
int path_print_cwd(const struct path *p, const struct path *root, struct strbuf *out);
void path_accessed(const struct path *p); // atime by the mount's flags and relatime
int inode_permission(struct inode *i, int mask /* 4 r 2 w 1 x */, const struct cred *c);

// --- operations on paths (used by the system calls, by exec and by the boot code) ---
MUST_CHECK int vfs_open(const struct lookup_ctx *c, int dirfd, const char *name, int flags,
                        uint32_t mode, unsigned lookup_flags, struct file **out);
MUST_CHECK int vfs_open_path(const struct path *p, int flags, const struct cred *c,
                             struct file **out);
MUST_CHECK int vfs_mkdir(const struct lookup_ctx *c, int dirfd, const char *name, uint32_t mode);
MUST_CHECK int vfs_mknod(const struct lookup_ctx *c, int dirfd, const char *name, uint32_t mode,
                         uint64_t rdev);
int vfs_getattr(const struct path *p, struct kstat *st);
int vfs_setattr(const struct path *p, struct iattr *a, const struct cred *c); // checks ownership
MUST_CHECK int vfs_symlink(const struct lookup_ctx *c, const char *target, int dirfd,
                           const char *name);
MUST_CHECK int vfs_link(const struct lookup_ctx *c, int olddirfd, const char *oldname, int newdirfd,
                        const char *newname, unsigned lookup_flags);
MUST_CHECK int vfs_unlink(const struct lookup_ctx *c, int dirfd, const char *name);
MUST_CHECK int vfs_rmdir(const struct lookup_ctx *c, int dirfd, const char *name);
MUST_CHECK int vfs_rename(const struct lookup_ctx *c, int odirfd, const char *oname, int ndirfd,
                          const char *nname, unsigned flags);
MUST_CHECK int vfs_readlink(struct dentry *d, struct strbuf *out); // the text, also of magic links
// For AF_UNIX bind: makes a socket inode; *out gets its path. -EADDRINUSE when the name exists.
MUST_CHECK int vfs_bind_socket(const struct lookup_ctx *c, const char *name, uint32_t mode,
                               struct path *out);
// The same on dentries, for file systems over others (overlay): locks, may-checks with c and
// instantiation as the path calls do. vfs_lookup_child: under dir; may be negative.
MUST_CHECK int vfs_lookup_child(struct dentry *dir, const char *name, size_t n, struct dentry **out);
// What the VFS does around inode_ops, for those who call them on directories of a lower file system.
// An unhashed negative child (its parent referenced). null: no memory.
struct dentry *dentry_alloc(struct dentry *dir, const char *name, size_t n);
void dentry_rehash(struct dentry *d);  // enters an unhashed one; failure leaves it out
// After a successful rename: od takes the place (parent, name) of nd; with exchange also nd of od.
void dentry_move(struct dentry *od, struct dentry *nd, bool exchange);
struct dentry *dentry_parent_get(struct dentry *d);
// To the watches on dir: something happened under the name that d has, or had. A rename may change it
// at any time, so it is copied.
void fsnotify_entry(struct inode *dir, struct dentry *d, uint32_t mask);
// Name and parent (ref) as they are at one moment, for those who hold no lock (d_revalidate).
size_t dentry_position(struct dentry *d, char name[static 256], struct dentry **parent);
// For inotify: keeps d cached without holding it (so that its removal is seen). Unwatch is for a d
// for which inotify_dentry_gone() has not run; true: it has taken a reference, to be put later with
// no lock held.
void dentry_watch(struct dentry *d);
MUST_CHECK bool dentry_unwatch(struct dentry *d);
void inotify_dentry_gone(struct dentry *d); // inotify.c: d is about to be freed
// Writers and executors of a file exclude each other: -ETXTBSY.
MUST_CHECK int inode_get_write(struct inode *i);
void inode_put_write(struct inode *i);
MUST_CHECK int inode_deny_write(struct inode *i);
void inode_allow_write(struct inode *i);
// Upcalls into higher layers, set by constructors; each may be null.
struct mm;
struct task;
struct vfs_hooks {
    uint64_t (*fsize_limit)(void);   // RLIMIT_FSIZE of the calling task
    void (*fsize_exceeded)(void);    // sends SIGXFSZ
    int (*current_tgid)(void);       // for /proc/locks
    struct mm *(*task_mm)(struct task *t); // borrowed, of the calling task
};
extern struct vfs_hooks vfs_hooks;
