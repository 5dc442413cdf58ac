// SPDX-License-Identifier: Apache-2.0
// Open files (open file descriptions) and descriptor tables.
#pragma once
#include "mem/uio.h"
#include "vfs/vfs.h"
#include <poll.h>

struct dir_context { // readdir sink: emit returns false when full (the entry is not consumed)
    bool (*emit)(struct dir_context *dc, const char *name, size_t n, uint64_t ino, uint8_t dtype,
                 int64_t next_pos);
    int64_t pos;     // in: where to go on; out: after the last emitted entry
};
struct poll_table { // who polls: wait() registers on a queue, or is null for a plain look
    void (*wait)(struct poll_table *pt, struct waitq *q);
};
static inline void poll_wait(struct poll_table *pt, struct waitq *q)
{
    if (pt && pt->wait)
        pt->wait(pt, q);
}

// The calling task as far as ioctl and mmap need it, without depending on task/.
struct task;

struct file_ops {
    // Last step of opening (O_PATH files excepted), before anyone else sees f: may set f->data and
    // replace f->ops; an error fails the open and release is not called. O_TRUNC is done by the
    // VFS afterwards, through setattr.                                default: 0
    int (*open)(struct file *f);
    // Data. *pos is where to go; advanced by the amount moved. Streams ignore it.
    // Partial transfers return the count; -EAGAIN when O_NONBLOCK; -ERESTARTSYS when interrupted.
    long (*read)(struct file *f, struct uio *u, int64_t *pos);        // default: -EINVAL
    long (*write)(struct file *f, struct uio *u, int64_t *pos);       // default: -EINVAL
    int (*readdir)(struct file *f, struct dir_context *dc);           // default: -ENOTDIR
    int64_t (*llseek)(struct file *f, int64_t off, int whence);       // default: by f->stream / size
    uint32_t (*poll)(struct file *f, struct poll_table *pt);          // default: always IN|OUT
    long (*ioctl)(struct file *f, struct task *t, unsigned cmd, uint64_t arg); // default: -ENOTTY
    // The object to map; *obj gets a reference, or stays null: anonymous memory (/dev/zero).
    //                                                                  default: -ENODEV
    int (*mmap)(struct file *f, struct memobj **obj);
    int (*fsync)(struct file *f, bool datasync);                      // default: -EINVAL
    int (*fallocate)(struct file *f, int mode, int64_t off, int64_t len); // default: -EOPNOTSUPP
    int (*fcntl)(struct file *f, struct task *t, unsigned cmd, uint64_t arg); // F_SETPIPE_SZ, seals; default -EINVAL
    int (*flush)(struct file *f, void *owner);   // at each close(2)   default: 0
    void (*release)(struct file *f);             // last reference     default: nothing
    void (*fdinfo)(struct file *f, struct strbuf *out); // extra lines for /proc/PID/fdinfo
    bool stream;   // no position: pread and pwrite give ESPIPE, and lseek unless there is an llseek
    bool own_position; // the position is kept elsewhere: read and write get &f->pos as a mark for
                       // "where you are", llseek answers; O_APPEND is the file's business
    bool nowait;   // read/write never block on disk: usable for RWF_NOWAIT
    // The VFS holds inode->lock across write, and under it places O_APPEND writes at i->size, keeps
    // RLIMIT_FSIZE and s_maxbytes, removes set-id bits and checks for overflow. For regular files
    // that keep i->size true; write must not take the lock. Without it O_APPEND positions come from
    // i->size read without the lock, and write does what it needs itself.
    bool lock_writes;
    // Device and FIFO inodes whose inode->fops are these are opened by ops->open (host terminals,
    // pts slaves), not through the tables of vfs/special.h.
    bool own_open;
    // Where the bytes are that read gives: an open file of another file system (overlay); borrowed.
    // Default: here. Together with mmap it says that windows on the file may be published.
    struct file *(*real)(struct file *f);
};

struct file {
    const struct file_ops *ops; // [C]
    struct ref ref;
    uint32_t flags;             // [A] O_* status flags and access mode
    struct path path;           // [C] ref; mnt null for anonymous files
    struct inode *inode;        // [C] ref
    struct mutex pos_lock;      // RANK_FPOS: outside everything that read and write take
    int64_t pos;                // [pos_lock] once file_pos_mine() was called (window.h)
    struct winfile *lease;      // [window lock] where a stub moves the position meanwhile (window.c)
    const struct cred *cred;    // [C] ref: opener
    void *data;                 // file system's
    struct list epoll_items;    // [epoll.c's lock] registrations, removed at release
    bool epolled;               // [A] was in an epoll set at some time
    struct spinlock owner_lock;
    int32_t owner_type, owner_id, owner_sig; // [owner_lock] F_SETOWN / F_SETSIG
    bool can_read, can_write;   // [C] by access mode
    bool opath;                 // [C] O_PATH
    bool write_counted;         // [C] holds inode_get_write
    bool wants_tty;             // during open: without O_NOCTTY
    bool wants_trunc;           // during open: truncated right afterwards (O_TRUNC)
    uint32_t win_stats, win_reads, win_change; // [A] sys/window.c: calls answered since the last change
};
// A file on inode (takes references itself). flags: O_*.
MUST_CHECK int file_new(const struct file_ops *ops, struct inode *i, const struct path *p, int flags,
                        const struct cred *c, struct file **out);
// A file on an anonymous inode named like "anon_inode:[eventfd]" (or "pipe:[123]" by the caller's
// inode): for /proc/PID/fd links.
MUST_CHECK int file_new_anon(const struct file_ops *ops, const char *name, int flags, void *data,
                             const struct cred *c, struct file **out);
// As file_new_anon, but on the caller's inode (takes its own reference): both ends of a pipe, or a
// socket; inode_init() with vfs_anon_super().
MUST_CHECK int file_new_on_inode(const struct file_ops *ops, struct inode *i, const char *name,
                                 int flags, void *data, const struct cred *c, struct file **out);
struct super *vfs_anon_super(void); // borrowed: of inodes without a mounted file system
struct file *file_get(struct file *f);
void file_put(struct file *f);
int vfs_fsync(struct file *f, bool datasync);

// Kernel-side entry points: check access mode, limits, append, position.
long file_read(struct file *f, struct uio *u, int64_t *pos);  // pos null: f->pos
long file_write(struct file *f, struct uio *u, int64_t *pos);
// file_write with RWF_APPEND and RWF_DSYNC as asked, whatever f->flags say.
long file_write_flags(struct file *f, struct uio *u, int64_t *pos, bool append, bool sync);
long file_read_kernel(struct file *f, void *buf, size_t n, int64_t off); // whole or to EOF
int64_t file_seek(struct file *f, int64_t off, int whence);
int64_t file_pos_peek(struct file *f); // where it is now, without a lock: fdinfo, FIONREAD
int64_t file_noop_llseek(struct file *f, int64_t off, int whence); // stays at 0: eventfd and the like
uint32_t file_poll(struct file *f, struct poll_table *pt);

// "." at position 0 and ".." at position 1 for readdir; false when the sink is full.
bool dir_emit_dots(struct file *f, struct dir_context *dc);
bool file_atime_settled(struct file *f); // a read now would leave the access time alone
void file_accessed(struct file *f); // atime by mount flags and relatime: for read of real files
// The name for /proc/PID/fd: path_print of f->path, or "pipe:[1]" and the like.
int file_print(struct file *f, const struct path *root, struct strbuf *out);

// --- descriptor table, shared by CLONE_FILES (fdtab.c) ---
struct fdtab; // opaque
MUST_CHECK struct fdtab *fdtab_new(void);
MUST_CHECK struct fdtab *fdtab_dup(struct fdtab *t, uint32_t upto); // copies [0, upto)
struct fdtab *fdtab_get(struct fdtab *t);
bool fdtab_shared(const struct fdtab *t); // more than one reference
void fdtab_put(struct fdtab *t, void *owner); // last: closes all (owner for POSIX locks)
struct file *fd_get(struct fdtab *t, int fd); // ref taken; null: EBADF
struct file *fd_get_any(struct fdtab *t, int fd); // also O_PATH files (fd_get refuses them)
// Lowest free descriptor >= min below limit: -EMFILE. Takes over the caller's file reference on
// success only.
MUST_CHECK int fd_install(struct fdtab *t, struct file *f, int min, bool cloexec, uint64_t limit);
MUST_CHECK int fd_install_at(struct fdtab *t, struct file *f, int fd, bool cloexec, uint64_t limit,
                             struct file **old); // dup2
struct file *fd_remove(struct fdtab *t, int fd); // the table's reference, or null
int fd_close(struct fdtab *t, int fd, void *owner); // flush + put
int fd_get_cloexec(struct fdtab *t, int fd);
int fd_set_cloexec(struct fdtab *t, int fd, bool on);
int file_close(struct file *f, void *owner); // of a descriptor already removed: flush + put
void fdtab_close_on_exec(struct fdtab *t, void *owner);
void fdtab_close_range(struct fdtab *t, uint32_t first, uint32_t last, void *owner);
void fdtab_cloexec_range(struct fdtab *t, uint32_t first, uint32_t last);
// Calls fn for each open descriptor in order from `from`; stops when it returns false.
void fdtab_iterate(struct fdtab *t, int from, bool (*fn)(int fd, struct file *f, void *arg), void *arg);
int fdtab_count(struct fdtab *t);
int fdtab_size(struct fdtab *t);  // descriptors that there is room for: a power of two, 64 or more
uint64_t fdtab_id(const struct fdtab *t); // never used twice

// --- record locks (lock.c) --- owner: the fdtab for POSIX locks, the file for OFD and flock.
struct kflock {
    int type;                // F_RDLCK F_WRLCK F_UNLCK
    int64_t start, end;      // inclusive, INT64_MAX = EOF
    int32_t pid;             // of the holder, for F_GETLK and /proc/locks
};
int posix_lock(struct file *f, void *owner, const struct kflock *l, bool wait);
int posix_lock_test(struct file *f, void *owner, struct kflock *l);
int flock_lock(struct file *f, int op /* LOCK_* */);
void locks_release_owner(struct inode *i, void *owner);
void locks_release_file(struct file *f);
void locks_inode_free(struct inode *i);   // by inode_put
void locks_show(struct strbuf *out);      // /proc/locks
// --- inotify hooks (inotify.c) ---
void fsnotify(struct inode *i, struct dentry *d, uint32_t mask, const char *name, uint32_t cookie);
