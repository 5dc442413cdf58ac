// SPDX-License-Identifier: Apache-2.0
// 9P requests on data: read, write, readdir, fsync, allocate, extended attributes. Only for roots
// that do not donate descriptors, and for directories, does data pass through here. Replies are
// built in place in the transmit buffer.
#include "gofer/server.h"
#include "base/slab.h"
#include "host/raw.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

constexpr size_t DATA_OFF = NP_HDR + 4; // of Rread's data in the frame

static int open_fid(struct server *s, uint32_t id, struct fid **out)
{
    *out = fid_find(s, id);
    return *out && (*out)->kind == FID_FILE && (*out)->io >= 0 ? 0 : -EBADF;
}

int op_tread(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_tread *a = &t->tread;
    struct fid *f = fid_find(s, a->fid);
    if (!f)
        return -EBADF;
    size_t n = MIN(a->count, s->msize - DATA_OFF);
    if (f->kind == FID_XATTR_READ) {
        if (a->offset > f->xlen)
            return -EINVAL;
        r->rread.data = span_of(f->xbuf + a->offset, MIN(n, f->xlen - (size_t)a->offset));
        return 0;
    }
    if (f->kind != FID_FILE || f->io < 0 || f->io_mode == O_WRONLY)
        return -EBADF;
    if (f->node->type != S_IFREG)
        return -EISDIR;
    if (a->offset > INT64_MAX)
        return -EINVAL;
    struct iovec v = {s->tx + DATA_OFF, n};
    long got = host_call(__NR_preadv2, f->io, &v, 1, a->offset, 0, 0);
    if (got < 0)
        return (int)got;
    r->rread.data = span_of(v.iov_base, (size_t)got);
    return 0;
}

int op_twrite(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_twrite *a = &t->twrite;
    struct fid *f = fid_find(s, a->fid);
    if (!f)
        return -EBADF;
    if (f->kind == FID_XATTR_WRITE) {
        if (a->offset != f->xlen || a->data.n > f->xsize - f->xlen)
            return -EINVAL;
        if (a->data.n)
            memcpy(f->xbuf + f->xlen, a->data.p, a->data.n);
        f->xlen += (uint32_t)a->data.n;
        r->rwrite.count = (uint32_t)a->data.n;
        return 0;
    }
    if (f->kind != FID_FILE || f->io < 0 || f->io_mode == O_RDONLY)
        return -EBADF;
    if (a->offset > INT64_MAX)
        return -EINVAL;
    struct iovec v = {(void *)a->data.p, a->data.n};
    long put = host_call(__NR_pwritev2, f->io, &v, 1, a->offset, 0, 0);
    if (put < 0)
        return (int)put;
    r->rwrite.count = (uint32_t)put;
    return 0;
}

// --- directories ---
bool dir_emit(struct server *s, int dirfd, uint64_t dev, const struct host_dirent *e,
              enum dir_attrs attrs, struct wspan *w)
{
    bool plus = attrs != DIR_PLAIN;
    struct np_dirent d = {.offset = (uint64_t)e->d_off, .type = e->d_type,
                          .name = np_cstr(e->d_name)};
    bool dots = !np_name_ok(d.name);
    bool look = attrs == DIR_ATTRS ||
                (attrs == DIR_ATTRS_OF_DIRS && (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN));
    struct stat st;
    if (plus && dots)
        return true;
    if (look && host_call(__NR_newfstatat, dirfd, e->d_name, &st,
                          AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0) {
        d.has_attr = true;
        d.type = (st.st_mode & S_IFMT) >> 12;
        qid_of(s, &st, &d.qid);
        attr_of(s, &st, &d.attr);
    } else {
        // The number alone: as if on the directory's own device.
        st = (struct stat){.st_dev = dev, .st_ino = e->d_ino,
                           .st_mode = (uint32_t)e->d_type << 12};
        qid_of(s, &st, &d.qid);
        d.qid.version = 0;
    }
    return plus ? np_dirent_plus_put(w, &d) : np_dirent_put(w, &d);
}

// The entries are put where the reply has them: at `at` in the frame.
static int read_dir(struct server *s, struct fid *f, uint64_t offset, size_t count, bool plus,
                    size_t at, struct span *out, bool *eof)
{
    struct wspan w = wspan_of(s->tx + at, MIN(count, s->msize - at));
    *eof = false;
    if (f->node->type != S_IFDIR)
        return -ENOTDIR;
    if (offset != f->dirpos) {
        if (offset > INT64_MAX)
            return -EINVAL;
        long e = host_call(__NR_lseek, f->io, offset, SEEK_SET);
        if (e < 0)
            return (int)e;
        f->dirpos = offset;
    }
    bool full = false;
    while (!full) {
        // About as many as fit, so that little has to be read again.
        size_t room = w.n - w.used, want = plus ? room / 6 : room;
        want = MIN(MAX(want, 1024), GOFER_SCRATCH);
        long n = host_call(__NR_getdents64, f->io, s->scratch, want);
        if (n < 0)
            return (int)n;
        if (n == 0) {
            *eof = true;
            break;
        }
        long i = 0;
        while (i < n && !full) {
            const struct host_dirent *e = (const void *)(s->scratch + i);
            full = !dir_emit(s, f->node->fd, f->node->dev, e, plus ? DIR_ATTRS : DIR_PLAIN, &w);
            if (!full) {
                f->dirpos = (uint64_t)e->d_off;
                i += e->d_reclen;
            }
        }
        if (full && host_call(__NR_lseek, f->io, f->dirpos, SEEK_SET) < 0)
            f->dirpos = UINT64_MAX;
        full |= room < 1024;
    }
    if (full && w.used == 0)
        return -EINVAL; // not even one entry fits
    *out = span_of(w.p, w.used);
    return 0;
}
int op_treaddir(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f;
    bool eof;
    int err = open_fid(s, t->treaddir.fid, &f);
    return err ? err
               : read_dir(s, f, t->treaddir.offset, t->treaddir.count, false, DATA_OFF,
                          &r->rreaddir.data, &eof);
}
int op_treaddirplus(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f;
    bool eof = false;
    int err = open_fid(s, t->treaddirplus.fid, &f);
    if (!err)
        err = read_dir(s, f, t->treaddirplus.offset, t->treaddirplus.count, true, DATA_OFF + 1,
                       &r->rreaddirplus.data, &eof);
    r->rreaddirplus.eof = eof;
    return err;
}
int op_twalkreaddir(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_twalkreaddir *a = &t->twalkreaddir;
    struct np_nodes *nodes = &r->rwalkreaddir.nodes;
    struct node *n;
    struct fid *nf;
    bool eof = false;
    int err = walk_nodes(s, a->fid, a->newfid, &a->names, true, nodes, &n);
    if (err || !n)
        return err;
    err = n->type == S_IFDIR ? fid_new(s, a->newfid, n, &nf) : -ENOTDIR;
    node_put(s, n);
    if (err)
        return err;
    nf->io = node_open(n, O_RDONLY);
    err = nf->io < 0 ? nf->io : 0;
    if (!err)
        err = read_dir(s, nf, 0, a->count, true, DATA_OFF + 1 + 2 + nodes->raw.n,
                       &r->rwalkreaddir.data, &eof);
    if (err)
        fid_free(s, nf);
    else if (eof)
        fid_close_io(nf);
    r->rwalkreaddir.eof = eof;
    return err;
}

int op_tfsync(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f = fid_find(s, t->tfsync.fid);
    if (!f || f->kind != FID_FILE)
        return -EBADF;
    if (f->io >= 0)
        return (int)host_call(__NR_fsync, f->io);
    int fd = node_open(f->node, O_RDONLY);
    if (fd < 0)
        return fd;
    int err = (int)host_call(__NR_fsync, fd);
    host_call(__NR_close, fd);
    return err;
}

// Record locks are the Sentry's business: the Gofer keeps none on the host.
int op_tlock(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    return -EOPNOTSUPP;
}
int op_tgetlock(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    return -EOPNOTSUPP;
}

int op_tallocate(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_tallocate *a = &t->tallocate;
    struct fid *f = fid_find(s, a->fid);
    if (!f || f->kind != FID_FILE)
        return -EBADF;
    if (node_readonly(f->node))
        return -EROFS;
    if (f->node->type != S_IFREG)
        return -ENODEV;
    if (a->mode & ~0x7bu)
        return -EOPNOTSUPP;
    bool opened = f->io >= 0 && f->io_mode != O_RDONLY;
    int fd = opened ? f->io : node_open(f->node, O_RDWR);
    if (fd < 0)
        return fd;
    int err = (int)host_call(__NR_fallocate, fd, a->mode, a->offset, a->length);
    if (!opened)
        host_call(__NR_close, fd);
    return err;
}

// --- extended attributes: user.* only; security.capability can be read (exec needs it) ---
static bool xattr_name(struct span v, char buf[static 256], bool write)
{
    if (v.n < 6 || v.n > 255)
        return false;
    memcpy(buf, v.p, v.n);
    buf[v.n] = 0;
    return (!strncmp(buf, "user.", 5) && v.n > 5) || (!write && !strcmp(buf, "security.capability"));
}
static bool xattr_listed(const char *n)
{
    return !strncmp(n, "user.", 5) || !strcmp(n, "security.capability");
}
// Value (or list, when name is empty) into s->scratch; its length.
static long xattr_fetch(struct server *s, const struct node *n, struct span name)
{
    char nm[256];
    bool list = name.n == 0;
    if (!list && !xattr_name(name, nm, false))
        return -EOPNOTSUPP;
    if (n->type != S_IFREG && n->type != S_IFDIR)
        return list ? 0 : -ENODATA;
    int fd = node_open(n, O_RDONLY);
    if (fd < 0)
        return fd == -EACCES ? (list ? 0 : -ENODATA) : fd;
    long len = list ? host_call(__NR_flistxattr, fd, s->scratch, GOFER_MAX_XATTR)
                    : host_call(__NR_fgetxattr, fd, nm, s->scratch, GOFER_MAX_XATTR);
    host_call(__NR_close, fd);
    if (!list || len <= 0)
        return len;
    size_t used = 0;
    s->scratch[len - 1] = 0;
    for (size_t i = 0; i < (size_t)len;) {
        const char *e = (const char *)s->scratch + i;
        size_t l = strlen(e) + 1;
        if (xattr_listed(e)) {
            memmove(s->scratch + used, e, l);
            used += l;
        }
        i += l;
    }
    return (long)used;
}
static int xattr_store(const struct node *n, const char *name, const void *p, size_t len,
                       uint32_t flags, bool remove)
{
    if (node_readonly(n))
        return -EROFS;
    if (flags & ~3u)
        return -EINVAL;
    if (n->type != S_IFREG && n->type != S_IFDIR)
        return -EPERM;
    int fd = node_open(n, O_RDONLY);
    if (fd == -EACCES && n->type == S_IFREG)
        fd = node_open(n, O_WRONLY);
    if (fd < 0)
        return fd;
    int err = remove ? (int)host_call(__NR_fremovexattr, fd, name)
                     : (int)host_call(__NR_fsetxattr, fd, name, p, len, flags);
    host_call(__NR_close, fd);
    return err;
}
static struct fid *plain_fid(struct server *s, uint32_t id)
{
    struct fid *f = fid_find(s, id);
    return f && f->kind == FID_FILE ? f : nullptr;
}
int op_txattrget(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f = plain_fid(s, t->txattrget.fid);
    if (!f)
        return -EBADF;
    long len = xattr_fetch(s, f->node, t->txattrget.name);
    if (len < 0)
        return (int)len;
    r->rxattrget.size = (uint32_t)len;
    if (!t->txattrget.size)
        return 0;
    if ((size_t)len > t->txattrget.size || (size_t)len > s->msize - DATA_OFF - 4)
        return -ERANGE;
    r->rxattrget.data = span_of(s->scratch, (size_t)len);
    return 0;
}
int op_txattrset(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_txattrset *a = &t->txattrset;
    struct fid *f = plain_fid(s, a->fid);
    char nm[256];
    if (!f)
        return -EBADF;
    if (!xattr_name(a->name, nm, true))
        return -EOPNOTSUPP;
    return xattr_store(f->node, nm, a->data.p, a->data.n, a->flags, a->remove != 0);
}
int op_txattrwalk(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f = plain_fid(s, t->txattrwalk.fid), *nf;
    if (!f)
        return -EBADF;
    long len = xattr_fetch(s, f->node, t->txattrwalk.name);
    if (len < 0)
        return (int)len;
    uint8_t *buf = mem_alloc(len ? (size_t)len : 1);
    if (!buf)
        return -ENOMEM;
    int err = fid_new(s, t->txattrwalk.newfid, f->node, &nf);
    if (err) {
        mem_free(buf);
        return err;
    }
    memcpy(buf, s->scratch, (size_t)len);
    nf->kind = FID_XATTR_READ;
    nf->xbuf = buf;
    nf->xlen = (uint32_t)len;
    r->rxattrwalk.size = (uint64_t)len;
    return 0;
}
int op_txattrcreate(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_txattrcreate *a = &t->txattrcreate;
    struct fid *f = plain_fid(s, a->fid);
    char nm[256];
    if (!f || f->io >= 0)
        return -EBADF;
    if (node_readonly(f->node))
        return -EROFS;
    if (!xattr_name(a->name, nm, true))
        return -EOPNOTSUPP;
    if (a->size > GOFER_MAX_XATTR)
        return -E2BIG;
    if (a->flags & ~3u)
        return -EINVAL;
    if (f->node->type != S_IFREG && f->node->type != S_IFDIR)
        return -EPERM;
    uint8_t *buf = mem_alloc(a->size ? (size_t)a->size : 1);
    if (!buf)
        return -ENOMEM;
    f->xname = mem_strdup(nm);
    if (!f->xname) {
        mem_free(buf);
        return -ENOMEM;
    }
    f->xbuf = buf;
    f->xsize = (uint32_t)a->size;
    f->xflags = a->flags;
    f->kind = FID_XATTR_WRITE;
    return 0;
}
