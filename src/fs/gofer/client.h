// SPDX-License-Identifier: Apache-2.0
// 9P client below the file system: requests and replies (client.c), one function per operation with
// a fall-back for servers that speak plain 9P2000.L (rpc.c). Every function here may sleep, except
// c9_clunk.
#pragma once
#include "base/ref.h"
#include "fs/gofer/gofer_fs.h"
#include "ninep/ninep.h"
#include "sched/fiber.h"
#include "sched/waitq.h"
#include <sys/stat.h>

constexpr size_t C9_TAGS = 256;
constexpr size_t C9_INLINE = 640;
constexpr size_t C9_MAX_FDS = 16384;
constexpr uint8_t C9_ATTRS_WANTED = 4; // requests for trees after the last look-up of a file

// Where a reply goes: `inl`, or the caller's buffer, or (when larger than both) an allocated one.
struct c9_reply {
    struct np_msg m;   // views into the buffer
    uint8_t *buf;      // caller's; null: inl
    size_t cap;
    int fd;            // donated, checked; -1. The caller closes or keeps it
    bool fd_lost;      // one was sent, but we have no room for another descriptor
    int *fds;          // caller's, null, or room for NP_OPEN_MAX in place of fd: not checked yet
    size_t nfds;
    // --- client.c's ---
    uint8_t *heap;     // owned
    size_t len;
    bool done, failed; // [c->lock]
    struct fiber *fiber;
    uint8_t inl[C9_INLINE];
};
// Descriptors that came before anybody asked for them, and where files are opened one after the other
// (ahead.c).
struct gofer_super;
struct gfs_ahead {
    const struct gofer_super *gs; // null: free
    uint64_t ino;
    int fd;                    // owned, not checked yet
};
struct gfs_stream {
    const struct gofer_super *gs; // null: free
    uint64_t dir;              // its inode number
    uint64_t used;             // c->stream_clock when last looked at
    uint8_t order, count;      // enum gfs_order; files asked for at once
    uint8_t len;
    char last[NP_NAME_MAX];    // the name that was opened, or asked for, last
};
struct gofer_client {
    struct ref ref;
    int fd;                     // [C] owned
    struct hostpoll poll;
    struct source source;       // its answers, to idle workers
    bool polled;
    struct spinlock arm_lock;   // source.armed and the events asked for are one
    bool want_out;              // [arm_lock] somebody waits for room to send
    uint32_t msize;             // [C after new]
    bool ext;                   // [C after new] the server knows our extensions
    uint64_t ncalls;            // [A] requests sent, for tests and statistics
    bool dead;                  // [A] connection lost or server out of bounds
    struct spinlock lock;
    struct c9_reply *calls[C9_TAGS + 1]; // [lock] by tag; the last one is NP_NOTAG's
    uint64_t tags[C9_TAGS / 64];         // [lock] in use
    uint32_t clunking[C9_TAGS];          // [lock] fid of an unattended Tclunk, else NP_NOFID
    uint32_t *free_fids;                 // [lock] owned: released numbers
    size_t nfree, free_cap;              // [lock]
    uint32_t next_fid;                   // [lock]
    uint32_t *clunk_queue;               // [lock] owned
    size_t nclunk, clunk_cap;            // [lock]
    struct waitq tag_wait, send_wait;
    uint32_t send_gen;                   // [A] counts EPOLLOUT events
    struct spinlock rx_lock;
    bool rx_again;                       // [A]
    uint8_t *rx;                         // [rx_lock] owned, NP_MSIZE_DEFAULT
    // --- fids and descriptors of cached inodes: inode.c, fds.c ---
    struct spinlock inode_lock;
    struct list idle_fids;               // [inode_lock] struct gofer_inode.fid_lru
    size_t nfids;                        // [inode_lock] held by inodes
    struct list idle_fds;                // [inode_lock] struct gofer_fds.lru
    size_t nfds, max_fds;                // [inode_lock] donated descriptors held, and wanted at most
    struct list listings;                // [inode_lock] struct gfs_listing.lru
    size_t listing_bytes;                // [A]
    uint64_t dir_changes;                // [inode_lock] counts what we did to directories
    uint8_t attrs_wanted;                // [inode_lock] look-ups of files lately, see tree_start
    bool no_tree;                        // [A] the server does not know Tlisttree
    size_t nnames;                       // [A] hashes of names held
    struct gfs_ahead ahead[64];          // [inode_lock]
    struct gfs_stream streams[4];        // [inode_lock]
    size_t ahead_next;                   // [inode_lock] of ahead, the oldest one
    uint64_t stream_clock;               // [inode_lock]
    uint8_t order_hint;                  // [inode_lock] enum gfs_order that proved right last
    bool no_lookup;                      // [A] ... Tlookup
    bool no_ahead;                       // [A] the server does not know Topenfiles
};

extern bool c9_offer_plain; // tests: do not ask for our extensions
// Sends t (tag is set here) and waits. 0 with r->m decoded and of the right type, or -errno. `data`
// (may be null) replaces the encoder's payload copy. After 0, c9_done() frees the buffer.
MUST_CHECK int c9_call(struct gofer_client *c, struct np_msg *t, struct c9_reply *r);
void c9_reply_init(struct c9_reply *r);
void c9_done(struct c9_reply *r);
void c9_close_fd(int fd);
bool c9_fd_ok(int fd); // a donated descriptor that we may keep
uint32_t c9_fid_new(struct gofer_client *c); // NP_NOFID: none left
// Gives the fid back, without waiting.
void c9_clunk(struct gofer_client *c, uint32_t fid);
void c9_fid_unused(struct gofer_client *c, uint32_t fid); // was never made on the server

struct c9_node {
    struct np_qid qid;
    struct np_attr attr;
};
struct c9_setattr {
    uint32_t valid, mode, uid, gid;
    uint64_t size, atime_sec, atime_nsec, mtime_sec, mtime_nsec;
};
struct c9_new { // what to make
    struct span name, target;
    uint32_t mode, uid, gid;
    uint64_t rdev;
};
// On failure, or when not all names were found, a newfid has been disposed of.
int c9_attach(struct gofer_client *c, uint32_t fid, const char *aname);
// Walks; *found counts the names that exist, *last is the last of them. newfid is made (unless
// NP_NOFID) when all exist. No names: attributes of fid.
int c9_walk(struct gofer_client *c, uint32_t fid, uint32_t newfid, const struct np_names *names,
            size_t *found, struct c9_node *last);
// The same, then opens: *fd is a donated descriptor, or -1 and newfid is open on the server. When
// the open fails the error is returned and newfid is not made.
int c9_open(struct gofer_client *c, uint32_t fid, uint32_t newfid, uint32_t flags,
            const struct np_names *names, size_t *found, struct c9_node *last, int *fd);
// A new file. newfid (may be NP_NOFID) is made; *fd donated or -1 (then newfid is open).
int c9_create(struct gofer_client *c, uint32_t dfid, uint32_t newfid, const struct c9_new *n,
              uint32_t flags, struct c9_node *out, int *fd);
int c9_make(struct gofer_client *c, uint32_t dfid, const struct c9_new *n, struct c9_node *out);
int c9_setattr(struct gofer_client *c, uint32_t fid, const struct c9_setattr *a, struct c9_node *out);
// One name; *newfid is made if it is a directory, else disposed of and NP_NOFID. *target (may stay
// empty): a link's text, not checked.
int c9_lookup(struct gofer_client *c, uint32_t fid, uint32_t *newfid, struct span name, bool *found,
              struct c9_node *n, struct strbuf *target);
int c9_readlink(struct gofer_client *c, uint32_t fid, struct strbuf *out);
int c9_link(struct gofer_client *c, uint32_t dfid, uint32_t fid, struct span name);
int c9_unlink(struct gofer_client *c, uint32_t dfid, struct span name, bool dir);
int c9_rename(struct gofer_client *c, uint32_t odfid, struct span oname, uint32_t ndfid,
              struct span nname, unsigned flags);
// Reads entries into r->buf (set by the caller); *entries views it. *eof: nothing comes after them.
// They have attributes when c->ext.
int c9_readdir(struct gofer_client *c, uint32_t fid, uint64_t off, struct c9_reply *r,
               struct span *entries, bool *eof);
// Names only, in any protocol version; entries for np_dirent_get.
int c9_readnames(struct gofer_client *c, uint32_t fid, uint64_t off, struct c9_reply *r,
                 struct span *entries);
// Opens a directory, and (c->ext) reads as c9_readdir does: newfid is open, or with *eof just walked.
int c9_opendir(struct gofer_client *c, uint32_t fid, uint32_t newfid, const struct np_names *names,
               size_t *found, struct c9_node *last, struct c9_reply *r, struct span *entries,
               bool *eof);
// c->ext only. Directories of fid, see np_tree_get; r->buf is set by the caller.
int c9_listtree(struct gofer_client *c, uint32_t fid, bool attrs, uint32_t count, struct span names,
                struct c9_reply *r, struct span *dirs);
// c->ext only. Opens n files of the directory fid for reading (names for np_name_next): v[i].fd is
// donated, not checked yet, or -1.
struct c9_opened {
    uint64_t ino;
    int fd;
};
int c9_openfiles(struct gofer_client *c, uint32_t fid, struct span names, size_t n, struct c9_opened *v);
long c9_read(struct gofer_client *c, uint32_t fid, void *buf, size_t n, uint64_t off);
long c9_write(struct gofer_client *c, uint32_t fid, const void *buf, size_t n, uint64_t off);
int c9_fsync(struct gofer_client *c, uint32_t fid, bool datasync);
int c9_allocate(struct gofer_client *c, uint32_t fid, int mode, uint64_t off, uint64_t len);
int c9_statfs(struct gofer_client *c, uint32_t fid, struct np_rstatfs *out);
// name empty: the list. Length; with n == 0 only the length. -ERANGE.
long c9_xattr_get(struct gofer_client *c, uint32_t fid, const char *name, void *buf, size_t n);
int c9_xattr_set(struct gofer_client *c, uint32_t fid, const char *name, const void *buf, size_t n,
                 int flags, bool remove);
bool c9_node_ok(const struct c9_node *n); // believable: type, size, times
