// SPDX-License-Identifier: Apache-2.0
// The Gofer's inside: nodes (one O_PATH descriptor each), fids (the peer's names for nodes) and the
// request being served. Single-threaded: no locks.
#pragma once
#include "base/htab.h"
#include "gofer/gofer.h"
#include "ninep/ninep.h"
#include <sys/stat.h>

constexpr size_t GOFER_MAX_FIDS = 65536;
constexpr size_t GOFER_MAX_NODES = 2 * 65536;
constexpr size_t GOFER_MAX_DEVS = 64;
constexpr size_t GOFER_MAX_XATTR = 65536;

// A file that was reached by walking. Holds its parent, since a regular file can be opened only by
// name in its parent (no /proc here); dev and ino then tell whether the name still means it.
struct node {
    uint32_t refs;
    uint32_t type;       // S_IFMT bits; never change
    int fd;              // O_PATH; owned unless borrowed
    bool borrowed;       // a root's: belongs to the caller of gofer_main
    uint64_t dev, ino;
    struct node *parent; // ref; null for roots that are directories
    const struct gofer_root *root; // null: the directory of a single-file root
    uint16_t namelen;
    char name[];
};
enum fid_kind : uint8_t { FID_FILE, FID_XATTR_READ, FID_XATTR_WRITE };
struct fid {
    struct hnode hnode;
    uint32_t id;
    enum fid_kind kind;
    int io;           // owned open descriptor, or -1
    int io_mode;      // access mode of io
    struct node *node;// ref
    uint64_t dirpos;  // where io stands, for directories
    uint8_t *xbuf;    // owned: FID_XATTR_*
    uint32_t xlen, xsize, xflags;
    char *xname;      // owned
};
struct server {
    int sock;
    const struct gofer_root *roots;
    size_t nroots;
    struct node **root_nodes; // owned refs
    struct htab fids;
    size_t nfids, nnodes;
    uint64_t devs[GOFER_MAX_DEVS];
    size_t ndevs;
    uint32_t msize;           // 0: before Tversion
    bool ext;
    uint8_t *rx, *tx;         // NP_MSIZE_MAX each; the arena of the request being served
    uint8_t *scratch;
    uint8_t nodebuf[NP_MAXWALK * NP_NODE_SIZE];
    int donated;              // descriptor to send with the reply; -1
    int many[NP_OPEN_MAX];    // or these
    size_t nmany;
};
constexpr size_t GOFER_SCRATCH = 65536;

MUST_CHECK int server_init(struct server *s, int sock, const struct gofer_root *roots, size_t n);
void server_free(struct server *s);
// Serves the request frame in [p, n); the reply is at s->tx. Its length, or -errno: hang up.
long server_handle(struct server *s, const uint8_t *p, size_t n);

// Sends those n bytes of s->tx, and the descriptors that go with them, which are closed then.
int server_reply(struct server *s, size_t n);
void server_drop(struct server *s); // closes the descriptors that were to go with a reply

// fid.c
MUST_CHECK int node_new(struct server *s, struct node *parent, const struct gofer_root *root,
                        struct span name, int fd, const struct stat *st, struct node **out);
struct node *node_get(struct node *n);
void node_put(struct server *s, struct node *n);
int node_stat(const struct node *n, struct stat *st);
// Child by name: O_PATH open and fstat. out null: only the attributes.
int node_walk(struct server *s, struct node *dir, struct span name, struct stat *st,
              struct node **out);
// Opens a regular file (by name, identity compared: -ESTALE) or a directory; never anything else.
// flags: access mode.
int node_open(const struct node *n, int flags);
struct fid *fid_find(struct server *s, uint32_t id);
MUST_CHECK int fid_new(struct server *s, uint32_t id, struct node *n, struct fid **out);
void fid_free(struct server *s, struct fid *f);
void fid_close_io(struct fid *f);
void fids_reset(struct server *s);
int fid_file(struct server *s, uint32_t id, struct fid **out);   // -EBADF
int fid_dir(struct server *s, uint32_t id, struct node **out);   // a directory to be changed
int name_copy(struct span n, char buf[static NP_NAME_MAX + 1]);  // NUL-terminated, checked
int str_copy(struct span v, char *buf, size_t size);
bool str_is(struct span v, const char *s);
// ops.c: *out (ref) is null when the walk stopped early, or !want_node
int walk_nodes(struct server *s, uint32_t fid, uint32_t newfid, const struct np_names *names,
               bool want_node, struct np_nodes *nodes, struct node **out);
// ops_attr.c
uint32_t mode_kept(const struct node *n, uint32_t mode);         // without set-id bits
int node_chmod(struct node *n, int fd, uint32_t mode);           // fd: open on n, or -1

// ops_io.c: appends one entry of getdents64; false: no room
struct host_dirent {
    uint64_t d_ino;
    int64_t d_off;
    uint16_t d_reclen;
    uint8_t d_type;
    char d_name[];
};
enum dir_attrs : int { DIR_PLAIN, DIR_ATTRS, DIR_ATTRS_OF_DIRS };
bool dir_emit(struct server *s, int dirfd, uint64_t dev, const struct host_dirent *e,
              enum dir_attrs attrs, struct wspan *w);

static inline bool node_readonly(const struct node *n)
{
    return !n->root || n->root->readonly;
}
void qid_of(struct server *s, const struct stat *st, struct np_qid *q);
void attr_of(struct server *s, const struct stat *st, struct np_attr *a);

// One function per request; 0 with the reply's fields set, or -errno.
#define GOFER_OPS(X)                                                                              \
    X(tversion) X(tauth) X(tattach) X(tflush) X(twalk) X(tclunk) X(tremove) X(tstatfs) X(tlopen)  \
    X(tlcreate) X(tsymlink) X(tmknod) X(trename) X(treadlink) X(tgetattr) X(tsetattr)             \
    X(txattrwalk) X(txattrcreate) X(treaddir) X(tfsync) X(tlock) X(tgetlock) X(tlink) X(tmkdir)   \
    X(trenameat) X(tunlinkat) X(tread) X(twrite) X(twalkgetattr) X(twalkopen) X(tcreateopen)      \
    X(tmakenode) X(tallocate) X(treaddirplus) X(txattrget) X(txattrset) X(trenameat2)             \
    X(tsetattrplus) X(twalkreaddir) X(tlisttree) X(topenfiles)  \
    X(tlookup)
#define X(name) int op_##name(struct server *s, const struct np_msg *t, struct np_msg *r);
GOFER_OPS(X)
#undef X
