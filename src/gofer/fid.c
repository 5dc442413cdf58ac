// SPDX-License-Identifier: Apache-2.0
// Nodes and fids of the Gofer. A node is reached one component at a time, each by openat(O_PATH |
// O_NOFOLLOW) relative to its parent's descriptor, so that no symbolic link and no ".." is ever
// followed. Numbers of both are bounded; the peer chooses fid numbers, hence the keyed hash.
#include "gofer/server.h"
#include "base/slab.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>

SLAB_DEFINE(fid_slab, struct fid);
constexpr int STAT_FLAGS = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW;
constexpr int PATH_FLAGS = O_PATH | O_NOFOLLOW | O_CLOEXEC;

int node_new(struct server *s, struct node *parent, const struct gofer_root *root,
             struct span name, int fd, const struct stat *st, struct node **out)
{
    if (s->nnodes >= GOFER_MAX_NODES)
        return -ENFILE;
    struct node *n = mem_alloc(sizeof(*n) + name.n + 1);
    if (!n)
        return -ENOMEM;
    s->nnodes++;
    n->refs = 1;
    n->type = st->st_mode & S_IFMT;
    n->fd = fd;
    n->dev = st->st_dev;
    n->ino = st->st_ino;
    n->parent = parent ? node_get(parent) : nullptr;
    n->root = root;
    n->namelen = (uint16_t)name.n;
    if (name.n)
        memcpy(n->name, name.p, name.n);
    *out = n;
    return 0;
}

struct node *node_get(struct node *n)
{
    n->refs++;
    return n;
}

void node_put(struct server *s, struct node *n)
{
    while (n && --n->refs == 0) {
        struct node *parent = n->parent;
        if (!n->borrowed)
            host_call(__NR_close, n->fd);
        mem_free(n);
        s->nnodes--;
        n = parent;
    }
}

int node_stat(const struct node *n, struct stat *st)
{
    return (int)host_call(__NR_newfstatat, n->fd, "", st, STAT_FLAGS);
}

int node_walk(struct server *s, struct node *dir, struct span name, struct stat *st,
              struct node **out)
{
    if (dir->type != S_IFDIR)
        return -ENOTDIR;
    if (!np_name_ok(name))
        return -EINVAL;
    char buf[NP_NAME_MAX + 1];
    memcpy(buf, name.p, name.n);
    buf[name.n] = 0;
    if (!out) // one path component, never followed: as good as opening it first
        return (int)host_call(__NR_newfstatat, dir->fd, buf, st, STAT_FLAGS);
    int fd = (int)host_call(__NR_openat, dir->fd, buf, PATH_FLAGS, 0);
    if (fd < 0)
        return fd;
    int err = (int)host_call(__NR_newfstatat, fd, "", st, STAT_FLAGS);
    if (!err)
        err = node_new(s, dir, dir->root, name, fd, st, out);
    if (err)
        host_call(__NR_close, fd);
    return err;
}

int node_open(const struct node *n, int flags)
{
    flags = (flags & O_ACCMODE) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    if (n->type == S_IFDIR)
        return (int)host_call(__NR_openat, n->fd, ".", flags | O_DIRECTORY, 0);
    if (n->type != S_IFREG)
        return -ENXIO;
    if (!n->parent)
        return -ESTALE;
    int fd = (int)host_call(__NR_openat, n->parent->fd, n->name, flags, 0);
    if (fd < 0)
        return fd == -ENOENT || fd == -ELOOP || fd == -ENOTDIR || fd == -EISDIR ? -ESTALE : fd;
    struct stat st;
    int err = (int)host_call(__NR_newfstatat, fd, "", &st, STAT_FLAGS);
    if (!err && (st.st_dev != n->dev || st.st_ino != n->ino || !S_ISREG(st.st_mode)))
        err = -ESTALE;
    if (err) {
        host_call(__NR_close, fd);
        return err;
    }
    return fd;
}

struct fid *fid_find(struct server *s, uint32_t id)
{
    for (struct hnode *h = htab_chain(&s->fids, hash_u64(id)); h; h = htab_chain_next(h)) {
        struct fid *f = container_of(h, struct fid, hnode);
        if (f->id == id)
            return f;
    }
    return nullptr;
}

int fid_new(struct server *s, uint32_t id, struct node *n, struct fid **out)
{
    if (id == NP_NOFID || fid_find(s, id))
        return -EBADF;
    if (s->nfids >= GOFER_MAX_FIDS)
        return -ENFILE;
    struct fid *f = slab_alloc(&fid_slab);
    if (!f)
        return -ENOMEM;
    f->id = id;
    f->io = -1;
    f->kind = FID_FILE;
    int err = htab_insert(&s->fids, &f->hnode, hash_u64(id));
    if (err) {
        slab_free(&fid_slab, f);
        return err;
    }
    f->node = node_get(n);
    s->nfids++;
    *out = f;
    return 0;
}

void fid_close_io(struct fid *f)
{
    if (f->io >= 0)
        host_call(__NR_close, f->io);
    f->io = -1;
}

void fid_free(struct server *s, struct fid *f)
{
    htab_remove(&s->fids, &f->hnode);
    fid_close_io(f);
    node_put(s, f->node);
    mem_free(f->xbuf);
    mem_free(f->xname);
    slab_free(&fid_slab, f);
    s->nfids--;
}

void fids_reset(struct server *s)
{
    for (size_t i = 0; i < s->fids.n; i++)
        while (s->fids.b[i])
            fid_free(s, container_of(s->fids.b[i], struct fid, hnode));
}

// Inode numbers are unique per device only; the guest sees one device per mount. The first device
// seen (that of the first root) keeps its numbers.
static uint64_t ident(struct server *s, uint64_t dev, uint64_t ino)
{
    size_t i = 0;
    while (i < s->ndevs && s->devs[i] != dev)
        i++;
    if (i == s->ndevs && s->ndevs < GOFER_MAX_DEVS)
        s->devs[s->ndevs++] = dev;
    // Past the table: mix the device itself.
    uint64_t salt = i < GOFER_MAX_DEVS ? i : dev + GOFER_MAX_DEVS;
    return ino ^ (salt * 0x9e3779b97f4a7c15u);
}

void qid_of(struct server *s, const struct stat *st, struct np_qid *q)
{
    q->type = S_ISDIR(st->st_mode) ? NP_QTDIR : S_ISLNK(st->st_mode) ? NP_QTSYMLINK : NP_QTFILE;
    q->version = (uint32_t)st->st_mtim.tv_nsec ^ (uint32_t)(st->st_mtim.tv_sec << 8) ^
                 (uint32_t)st->st_size;
    q->path = ident(s, st->st_dev, st->st_ino);
}

void attr_of(struct server *s, const struct stat *st, struct np_attr *a)
{
    *a = (struct np_attr){
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .nlink = st->st_nlink,
        .rdev = st->st_rdev,
        .size = (uint64_t)st->st_size,
        .blksize = (uint64_t)st->st_blksize,
        .blocks = (uint64_t)st->st_blocks,
        .atime_sec = (uint64_t)st->st_atim.tv_sec,
        .atime_nsec = (uint64_t)st->st_atim.tv_nsec,
        .mtime_sec = (uint64_t)st->st_mtim.tv_sec,
        .mtime_nsec = (uint64_t)st->st_mtim.tv_nsec,
        // Which host file this is: containers of a pod have Gofers of their own, and share files.
        .gen = st->st_dev,
        .data_version = st->st_ino,
        .ctime_sec = (uint64_t)st->st_ctim.tv_sec,
        .ctime_nsec = (uint64_t)st->st_ctim.tv_nsec,
    };
}

int fid_file(struct server *s, uint32_t id, struct fid **out)
{
    *out = fid_find(s, id);
    return *out && (*out)->kind == FID_FILE ? 0 : -EBADF;
}
// A directory fid that is going to be changed.
int fid_dir(struct server *s, uint32_t id, struct node **out)
{
    struct fid *f;
    int err = fid_file(s, id, &f);
    if (err)
        return err;
    if (f->node->type != S_IFDIR)
        return -ENOTDIR;
    if (node_readonly(f->node))
        return -EROFS;
    *out = f->node;
    return 0;
}
int name_copy(struct span n, char buf[static NP_NAME_MAX + 1])
{
    if (!np_name_ok(n))
        return -EINVAL;
    memcpy(buf, n.p, n.n);
    buf[n.n] = 0;
    return 0;
}
int str_copy(struct span v, char *buf, size_t size)
{
    if (v.n >= size)
        return -ENAMETOOLONG;
    if (v.n)
        memcpy(buf, v.p, v.n);
    buf[v.n] = 0;
    return 0;
}
bool str_is(struct span v, const char *s)
{
    return v.n == strlen(s) && !memcmp(v.p, s, v.n);
}
