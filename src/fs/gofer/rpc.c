// SPDX-License-Identifier: Apache-2.0
// One function per file operation of the 9P client: one round trip with our extensions, the plain
// 9P2000.L messages that amount to the same without. Fids that a failed sequence made are given
// back. See client.h.
#include "fs/gofer/client.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/sysmacros.h>

bool c9_node_ok(const struct c9_node *n)
{
    const struct np_attr *a = &n->attr;
    switch (a->mode & S_IFMT) {
    case S_IFREG: case S_IFDIR: case S_IFLNK: case S_IFIFO: case S_IFSOCK: case S_IFCHR: case S_IFBLK:
        break;
    default:
        return false;
    }
    bool dir = S_ISDIR(a->mode), qdir = n->qid.type & NP_QTDIR;
    return dir == qdir && !(a->mode & ~(S_IFMT | 07777u)) && a->size <= INT64_MAX &&
           a->blocks <= INT64_MAX / 512 && a->nlink <= UINT32_MAX && a->atime_nsec < 1000000000 &&
           a->mtime_nsec < 1000000000 && a->ctime_nsec < 1000000000;
}
static int node_of(const struct np_qid *q, const struct np_attr *a, struct c9_node *out)
{
    out->qid = *q;
    out->attr = *a;
    return c9_node_ok(out) ? 0 : -EIO;
}
// The last of the nodes; *found their number.
static int last_node(const struct np_nodes *nodes, const struct np_names *names, size_t *found,
                     struct c9_node *last)
{
    size_t want = names->n ? names->n : 1;
    struct span s = nodes->raw;
    if (nodes->n > want)
        return -EIO;
    *found = nodes->n;
    for (size_t i = 0; i < nodes->n; i++)
        if (!np_node_get(&s, &last->qid, &last->attr))
            return -EIO;
    if (!names->n) {
        if (!nodes->n)
            return -EIO;
        *found = 0;
    }
    return nodes->n && !c9_node_ok(last) ? -EIO : 0;
}
// Functions that take a newfid and fail, or find not all, have disposed of it.
static void fid_drop(struct gofer_client *c, uint32_t fid, bool made)
{
    if (made)
        c9_clunk(c, fid);
    else
        c9_fid_unused(c, fid);
}
// A call whose reply has nothing to say.
static int simple(struct gofer_client *c, struct np_msg *t)
{
    struct c9_reply r;
    c9_reply_init(&r);
    int err = c9_call(c, t, &r);
    if (!err)
        c9_done(&r);
    return err;
}

int c9_attach(struct gofer_client *c, uint32_t fid, const char *aname)
{
    struct np_msg t = {.type = NP_tattach};
    t.tattach.fid = fid;
    t.tattach.afid = NP_NOFID;
    t.tattach.uname = np_cstr("root");
    t.tattach.aname = np_cstr(aname);
    return simple(c, &t);
}

static int getattr(struct gofer_client *c, uint32_t fid, struct c9_node *out)
{
    struct np_msg t = {.type = NP_tgetattr};
    struct c9_reply r;
    t.tgetattr.fid = fid;
    t.tgetattr.mask = NP_GETATTR_BASIC;
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err)
        return err;
    err = node_of(&r.m.rgetattr.qid, &r.m.rgetattr.attr, out);
    c9_done(&r);
    return err;
}
static int plain_walk(struct gofer_client *c, uint32_t fid, uint32_t newfid,
                      const struct np_names *names, size_t *found)
{
    struct np_msg t = {.type = NP_twalk};
    struct c9_reply r;
    t.twalk.fid = fid;
    t.twalk.newfid = newfid;
    t.twalk.names = *names;
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    *found = 0;
    if (err == -ENOENT || (err == -ENOTDIR && names->n > 1))
        return 0;
    if (err)
        return err;
    *found = r.m.rwalk.qids.n;
    err = *found > names->n ? -EIO : 0;
    c9_done(&r);
    return err;
}
static int walk_fallback(struct gofer_client *c, uint32_t fid, uint32_t newfid,
                         const struct np_names *names, size_t *found, struct c9_node *last)
{
    if (names->n == 0 && newfid == NP_NOFID) {
        *found = 0;
        return getattr(c, fid, last);
    }
    uint32_t tmp = newfid == NP_NOFID ? c9_fid_new(c) : newfid;
    if (tmp == NP_NOFID)
        return -ENFILE;
    int err = plain_walk(c, fid, tmp, names, found);
    if (err || *found < names->n) {
        c9_fid_unused(c, tmp);
        return err;
    }
    err = getattr(c, tmp, last);
    if (err || newfid == NP_NOFID)
        c9_clunk(c, tmp);
    return err;
}
int c9_walk(struct gofer_client *c, uint32_t fid, uint32_t newfid, const struct np_names *names,
            size_t *found, struct c9_node *last)
{
    if (!c->ext)
        return walk_fallback(c, fid, newfid, names, found, last);
    struct np_msg t = {.type = NP_twalkgetattr};
    struct c9_reply r;
    t.twalkgetattr.fid = fid;
    t.twalkgetattr.newfid = newfid;
    t.twalkgetattr.names = *names;
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err) {
        fid_drop(c, newfid, false);
        return err;
    }
    err = last_node(&r.m.rwalkgetattr.nodes, names, found, last);
    if (err || *found < names->n)
        fid_drop(c, newfid, r.m.rwalkgetattr.nodes.n >= names->n);
    c9_done(&r);
    return err;
}

int c9_lookup(struct gofer_client *c, uint32_t fid, uint32_t *newfid, struct span name, bool *found,
              struct c9_node *n, struct strbuf *target)
{
    struct np_names one = {.n = 1, .v = {name}};
    struct np_msg t = {.type = NP_tlookup};
    struct c9_reply r;
    size_t k = 0;
    bool made = false;
    *found = false;
    t.tlookup = (struct np_tlookup){fid, *newfid, name};
    c9_reply_init(&r);
    int err = c->ext && !READ_SHARED(c->no_lookup) ? c9_call(c, &t, &r) : -EPROTO;
    if (err == -EPROTO) {
        WRITE_SHARED(c->no_lookup, true);
        err = c9_walk(c, fid, NP_NOFID, &one, &k, n);
        *found = !err && k;
    } else if (!err) {
        err = last_node(&r.m.rlookup.nodes, &one, &k, n);
        *found = !err && k;
        if (*found && S_ISLNK(n->attr.mode))
            strbuf_put(target, r.m.rlookup.target.p, r.m.rlookup.target.n);
        c9_done(&r);
        made = err || (*found && S_ISDIR(n->attr.mode));
    }
    if (made && !err)
        return 0;
    fid_drop(c, *newfid, made);
    *newfid = NP_NOFID;
    return err;
}

static int lopen(struct gofer_client *c, uint32_t fid, uint32_t flags)
{
    struct np_msg t = {.type = NP_tlopen};
    t.tlopen.fid = fid;
    t.tlopen.flags = flags & (O_ACCMODE | O_TRUNC | O_DIRECTORY);
    return simple(c, &t);
}
static int open_fallback(struct gofer_client *c, uint32_t fid, uint32_t newfid, uint32_t flags,
                         const struct np_names *names, size_t *found, struct c9_node *last)
{
    int err = walk_fallback(c, fid, newfid, names, found, last);
    if (err || *found < names->n)
        return err;
    err = lopen(c, newfid, flags);
    if (err)
        c9_clunk(c, newfid);
    return err;
}
int c9_open(struct gofer_client *c, uint32_t fid, uint32_t newfid, uint32_t flags,
            const struct np_names *names, size_t *found, struct c9_node *last, int *fd)
{
    *fd = -1;
    if (!c->ext)
        return open_fallback(c, fid, newfid, flags, names, found, last);
    struct np_msg t = {.type = NP_twalkopen};
    struct c9_reply r;
    t.twalkopen.fid = fid;
    t.twalkopen.newfid = newfid;
    t.twalkopen.flags = flags;
    t.twalkopen.names = *names;
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err) {
        fid_drop(c, newfid, false);
        return err;
    }
    uint32_t ecode = r.m.rwalkopen.ecode;
    bool donated = r.m.rwalkopen.donated;
    err = last_node(&r.m.rwalkopen.nodes, names, found, last);
    bool made = r.m.rwalkopen.nodes.n >= MAX(names->n, 1);
    if (!err && made && ecode)
        err = ecode < 134 ? -(int)ecode : -EIO;
    if (!err && donated != (r.fd >= 0))
        err = r.fd_lost ? -EMFILE : -EIO;
    if (!err && made)
        *fd = r.fd;
    else
        fid_drop(c, newfid, made);
    if (*fd < 0 && r.fd >= 0)
        c9_close_fd(r.fd);
    c9_done(&r);
    return err;
}

static int create_fallback(struct gofer_client *c, uint32_t dfid, uint32_t newfid,
                           const struct c9_new *n, uint32_t flags, struct c9_node *out)
{
    struct np_names none = {};
    size_t found;
    int err = plain_walk(c, dfid, newfid, &none, &found);
    if (err) {
        fid_drop(c, newfid, false);
        return err;
    }
    struct np_msg t = {.type = NP_tlcreate};
    t.tlcreate.fid = newfid;
    t.tlcreate.name = n->name;
    t.tlcreate.flags = flags | O_CREAT | O_EXCL;
    t.tlcreate.mode = n->mode & 07777;
    t.tlcreate.gid = n->gid;
    err = simple(c, &t);
    if (!err)
        err = getattr(c, newfid, out);
    if (err)
        c9_clunk(c, newfid);
    return err;
}
int c9_create(struct gofer_client *c, uint32_t dfid, uint32_t newfid, const struct c9_new *n,
              uint32_t flags, struct c9_node *out, int *fd)
{
    *fd = -1;
    if (!c->ext)
        return create_fallback(c, dfid, newfid, n, flags, out);
    struct np_msg t = {.type = NP_tcreateopen};
    struct c9_reply r;
    t.tcreateopen.fid = dfid;
    t.tcreateopen.newfid = newfid;
    t.tcreateopen.name = n->name;
    t.tcreateopen.flags = flags;
    t.tcreateopen.mode = n->mode & 07777;
    t.tcreateopen.uid = n->uid;
    t.tcreateopen.gid = n->gid;
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err) {
        fid_drop(c, newfid, false);
        return err;
    }
    bool donated = r.m.rcreateopen.donated;
    err = node_of(&r.m.rcreateopen.qid, &r.m.rcreateopen.attr, out);
    if (!err && ((donated != (r.fd >= 0) && !r.fd_lost) || !S_ISREG(out->attr.mode)))
        err = -EIO;
    if (!err)
        *fd = r.fd;
    else if (r.fd >= 0)
        c9_close_fd(r.fd);
    if (err)
        fid_drop(c, newfid, true);
    c9_done(&r);
    return err;
}

static int make_fallback(struct gofer_client *c, uint32_t dfid, const struct c9_new *n,
                         struct c9_node *out)
{
    struct np_msg t = {};
    if (S_ISDIR(n->mode)) {
        t.type = NP_tmkdir;
        t.tmkdir = (struct np_tmkdir){dfid, n->name, n->mode & 07777, n->gid};
    } else if (S_ISLNK(n->mode)) {
        t.type = NP_tsymlink;
        t.tsymlink = (struct np_tsymlink){dfid, n->name, n->target, n->gid};
    } else {
        t.type = NP_tmknod;
        t.tmknod = (struct np_tmknod){dfid, n->name, n->mode, major(n->rdev), minor(n->rdev), n->gid};
    }
    int err = simple(c, &t);
    struct np_names one = {.n = 1, .v = {n->name}};
    size_t found = 0;
    if (!err)
        err = c9_walk(c, dfid, NP_NOFID, &one, &found, out);
    return err ? err : found ? 0 : -ESTALE;
}
int c9_make(struct gofer_client *c, uint32_t dfid, const struct c9_new *n, struct c9_node *out)
{
    if (!c->ext)
        return make_fallback(c, dfid, n, out);
    struct np_msg t = {.type = NP_tmakenode};
    struct c9_reply r;
    t.tmakenode = (struct np_tmakenode){.fid = dfid, .name = n->name, .mode = n->mode,
                                        .rdev = n->rdev, .target = n->target, .uid = n->uid,
                                        .gid = n->gid};
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err)
        return err;
    err = node_of(&r.m.rmakenode.qid, &r.m.rmakenode.attr, out);
    c9_done(&r);
    return err;
}

int c9_setattr(struct gofer_client *c, uint32_t fid, const struct c9_setattr *a, struct c9_node *out)
{
    struct np_msg t = {.type = c->ext ? NP_tsetattrplus : NP_tsetattr};
    struct c9_reply r;
    struct np_tsetattr *s = &t.tsetattr; // the same fields
    static_assert(sizeof(struct np_tsetattr) == sizeof(struct np_tsetattrplus));
    *s = (struct np_tsetattr){fid, a->valid, a->mode, a->uid, a->gid, a->size, a->atime_sec,
                              a->atime_nsec, a->mtime_sec, a->mtime_nsec};
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err)
        return err;
    if (c->ext)
        err = node_of(&r.m.rsetattrplus.qid, &r.m.rsetattrplus.attr, out);
    c9_done(&r);
    return c->ext ? err : getattr(c, fid, out);
}

int c9_readlink(struct gofer_client *c, uint32_t fid, struct strbuf *out)
{
    struct np_msg t = {.type = NP_treadlink};
    struct c9_reply r;
    t.treadlink.fid = fid;
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err)
        return err;
    strbuf_put(out, r.m.rreadlink.target.p, r.m.rreadlink.target.n);
    c9_done(&r);
    return out->bad ? -ENOMEM : 0;
}

int c9_link(struct gofer_client *c, uint32_t dfid, uint32_t fid, struct span name)
{
    struct np_msg t = {.type = NP_tlink};
    t.tlink = (struct np_tlink){dfid, fid, name};
    return simple(c, &t);
}
int c9_unlink(struct gofer_client *c, uint32_t dfid, struct span name, bool dir)
{
    struct np_msg t = {.type = NP_tunlinkat};
    t.tunlinkat = (struct np_tunlinkat){dfid, name, dir ? AT_REMOVEDIR : 0};
    return simple(c, &t);
}
int c9_rename(struct gofer_client *c, uint32_t odfid, struct span oname, uint32_t ndfid,
              struct span nname, unsigned flags)
{
    struct np_msg t = {.type = c->ext ? NP_trenameat2 : NP_trenameat};
    if (!c->ext && (flags & ~(unsigned)RENAME_NOREPLACE))
        return -EINVAL;
    if (c->ext)
        t.trenameat2 = (struct np_trenameat2){odfid, oname, ndfid, nname, flags};
    else
        t.trenameat = (struct np_trenameat){odfid, oname, ndfid, nname};
    return simple(c, &t);
}

int c9_readdir(struct gofer_client *c, uint32_t fid, uint64_t off, struct c9_reply *r,
               struct span *entries, bool *eof)
{
    struct np_msg t = {.type = c->ext ? NP_treaddirplus : NP_treaddir};
    uint32_t count = (uint32_t)MIN(c->msize, r->cap) - 16;
    *eof = false;
    if (c->ext)
        t.treaddirplus = (struct np_treaddirplus){fid, off, count};
    else
        t.treaddir = (struct np_treaddir){fid, off, count};
    int err = c9_call(c, &t, r);
    if (err)
        return err;
    *entries = c->ext ? r->m.rreaddirplus.data : r->m.rreaddir.data;
    *eof = c->ext ? r->m.rreaddirplus.eof : !entries->n;
    return 0;
}
int c9_readnames(struct gofer_client *c, uint32_t fid, uint64_t off, struct c9_reply *r,
                 struct span *entries)
{
    struct np_msg t = {.type = NP_treaddir};
    t.treaddir = (struct np_treaddir){fid, off, (uint32_t)MIN(c->msize, r->cap) - 16};
    int err = c9_call(c, &t, r);
    if (!err)
        *entries = r->m.rreaddir.data;
    return err;
}
int c9_opendir(struct gofer_client *c, uint32_t fid, uint32_t newfid, const struct np_names *names,
               size_t *found, struct c9_node *last, struct c9_reply *r, struct span *entries,
               bool *eof)
{
    *entries = (struct span){};
    *eof = false;
    if (!c->ext)
        return open_fallback(c, fid, newfid, O_RDONLY | O_DIRECTORY, names, found, last);
    struct np_msg t = {.type = NP_twalkreaddir};
    uint32_t count = (uint32_t)MIN(c->msize, r->cap) - 16 - (uint32_t)(MAX(names->n, 1) * NP_NODE_SIZE);
    t.twalkreaddir = (struct np_twalkreaddir){fid, newfid, count, *names};
    int err = c9_call(c, &t, r);
    if (err) {
        fid_drop(c, newfid, false);
        return err;
    }
    err = last_node(&r->m.rwalkreaddir.nodes, names, found, last);
    bool made = r->m.rwalkreaddir.nodes.n >= MAX(names->n, 1);
    if (err || !made) {
        fid_drop(c, newfid, made);
        c9_done(r);
        return err;
    }
    *entries = r->m.rwalkreaddir.data;
    *eof = r->m.rwalkreaddir.eof;
    return 0;
}

int c9_listtree(struct gofer_client *c, uint32_t fid, bool attrs, uint32_t count, struct span names,
                struct c9_reply *r, struct span *dirs)
{
    struct np_msg t = {.type = NP_tlisttree};
    t.tlisttree = (struct np_tlisttree){fid, MIN(count, (uint32_t)MIN(c->msize, r->cap) - 16), attrs,
                                        names};
    int err = c9_call(c, &t, r);
    if (!err)
        *dirs = r->m.rlisttree.data;
    return err;
}

int c9_openfiles(struct gofer_client *c, uint32_t fid, struct span names, size_t n, struct c9_opened *v)
{
    struct np_msg t = {.type = NP_topenfiles};
    struct np_opened o;
    struct c9_reply r;
    int fds[NP_OPEN_MAX];
    size_t used = 0, i = 0;
    t.topenfiles = (struct np_topenfiles){fid, names};
    c9_reply_init(&r);
    r.fds = fds;
    int err = c9_call(c, &t, &r);
    if (err)
        return err;
    struct span s = r.m.ropenfiles.data;
    bool ok = true;
    for (; ok && i < n && np_opened_get(&s, &o); i++) {
        v[i] = (struct c9_opened){.ino = o.ino, .fd = o.open && used < r.nfds ? fds[used] : -1};
        used += v[i].fd >= 0;
        ok = !o.open || v[i].fd >= 0 || r.fd_lost;
    }
    if (!ok || i < n || !span_ok(&s) || s.n || used < r.nfds) {
        for (size_t k = 0; k < r.nfds; k++)
            c9_close_fd(fds[k]);
        err = -EIO;
    }
    c9_done(&r);
    return err;
}

long c9_read(struct gofer_client *c, uint32_t fid, void *buf, size_t n, uint64_t off)
{
    struct np_msg t = {.type = NP_tread};
    struct c9_reply r;
    n = MIN(n, c->msize - 24);
    t.tread = (struct np_tread){fid, off, (uint32_t)n};
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err)
        return err;
    struct span d = r.m.rread.data;
    long ret = d.n <= n ? (long)d.n : -EIO;
    if (ret > 0)
        memcpy(buf, d.p, d.n);
    c9_done(&r);
    return ret;
}
long c9_write(struct gofer_client *c, uint32_t fid, const void *buf, size_t n, uint64_t off)
{
    struct np_msg t = {.type = NP_twrite};
    struct c9_reply r;
    n = MIN(n, c->msize - 24);
    t.twrite = (struct np_twrite){fid, off, span_of(buf, n)};
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err)
        return err;
    uint32_t put = r.m.rwrite.count;
    c9_done(&r);
    return put <= n ? (long)put : -EIO;
}
int c9_fsync(struct gofer_client *c, uint32_t fid, bool datasync)
{
    struct np_msg t = {.type = NP_tfsync};
    t.tfsync = (struct np_tfsync){fid, datasync};
    return simple(c, &t);
}
int c9_allocate(struct gofer_client *c, uint32_t fid, int mode, uint64_t off, uint64_t len)
{
    struct np_msg t = {.type = NP_tallocate};
    if (!c->ext)
        return -EOPNOTSUPP;
    t.tallocate = (struct np_tallocate){fid, (uint32_t)mode, off, len};
    return simple(c, &t);
}
int c9_statfs(struct gofer_client *c, uint32_t fid, struct np_rstatfs *out)
{
    struct np_msg t = {.type = NP_tstatfs};
    struct c9_reply r;
    t.tstatfs.fid = fid;
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err)
        return err;
    *out = r.m.rstatfs;
    c9_done(&r);
    return 0;
}

// --- extended attributes ---
static long xattr_get_fallback(struct gofer_client *c, uint32_t fid, const char *name, void *buf,
                               size_t n)
{
    struct np_msg t = {.type = NP_txattrwalk};
    struct c9_reply r;
    uint32_t xfid = c9_fid_new(c);
    if (xfid == NP_NOFID)
        return -ENFILE;
    t.txattrwalk = (struct np_txattrwalk){fid, xfid, np_cstr(name)};
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err) {
        c9_fid_unused(c, xfid);
        return err;
    }
    uint64_t size = r.m.rxattrwalk.size;
    c9_done(&r);
    long ret = size > 65536 ? -E2BIG : (long)size;
    if (ret > 0 && n)
        ret = size > n ? -ERANGE : 0;
    for (size_t got = 0; ret == 0 && n && got < size;) {
        long k = c9_read(c, xfid, (char *)buf + got, size - got, got);
        if (k <= 0)
            ret = k < 0 ? k : -EIO;
        else
            got += (size_t)k;
    }
    c9_clunk(c, xfid);
    return ret < 0 ? ret : (long)size;
}
long c9_xattr_get(struct gofer_client *c, uint32_t fid, const char *name, void *buf, size_t n)
{
    if (!c->ext)
        return xattr_get_fallback(c, fid, name, buf, n);
    struct np_msg t = {.type = NP_txattrget};
    struct c9_reply r;
    t.txattrget = (struct np_txattrget){fid, np_cstr(name), (uint32_t)MIN(n, 65536)};
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err)
        return err;
    struct span d = r.m.rxattrget.data;
    long ret = (long)r.m.rxattrget.size;
    if (ret > 65536 || d.n > n || (n && d.n != (size_t)ret))
        ret = -EIO;
    else if (d.n)
        memcpy(buf, d.p, d.n);
    c9_done(&r);
    return ret;
}
static int xattr_set_fallback(struct gofer_client *c, uint32_t fid, const char *name,
                              const void *buf, size_t n, int flags)
{
    struct np_names none = {};
    size_t found;
    uint32_t xfid = c9_fid_new(c);
    if (xfid == NP_NOFID)
        return -ENFILE;
    int err = plain_walk(c, fid, xfid, &none, &found);
    if (err) {
        c9_fid_unused(c, xfid);
        return err;
    }
    struct np_msg t = {.type = NP_txattrcreate};
    t.txattrcreate = (struct np_txattrcreate){xfid, np_cstr(name), n, (uint32_t)flags};
    err = simple(c, &t);
    for (size_t put = 0; !err && put < n;) {
        long k = c9_write(c, xfid, (const char *)buf + put, n - put, put);
        if (k <= 0)
            err = k < 0 ? (int)k : -EIO;
        else
            put += (size_t)k;
    }
    if (err) {
        c9_clunk(c, xfid);
        return err;
    }
    t = (struct np_msg){.type = NP_tclunk}; // this is what stores it: its error counts
    t.tclunk.fid = xfid;
    err = simple(c, &t);
    c9_fid_unused(c, xfid);
    return err;
}
int c9_xattr_set(struct gofer_client *c, uint32_t fid, const char *name, const void *buf, size_t n,
                 int flags, bool remove)
{
    if (!c->ext)
        return remove ? -EOPNOTSUPP : xattr_set_fallback(c, fid, name, buf, n, flags);
    if (n > c->msize - 512)
        return -E2BIG;
    struct np_msg t = {.type = NP_txattrset};
    t.txattrset = (struct np_txattrset){fid, np_cstr(name), (uint32_t)flags, remove, span_of(buf, n)};
    return simple(c, &t);
}
