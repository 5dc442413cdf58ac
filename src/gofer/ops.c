// SPDX-License-Identifier: Apache-2.0
// 9P requests of the session and of walking and opening. Arguments come from a hostile peer; the
// codec has checked counts and lengths, everything else is checked here.
#include "gofer/server.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>

int op_tversion(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    uint32_t msize = MIN(t->tversion.msize, NP_MSIZE_MAX);
    fids_reset(s);
    s->ext = false;
    if (msize < NP_MSIZE_MIN)
        return -EINVAL;
    s->msize = msize;
    r->rversion.msize = msize;
    if (str_is(t->tversion.version, NP_VERSION_EXT)) {
        s->ext = true;
        r->rversion.version = np_cstr(NP_VERSION_EXT);
    } else if (str_is(t->tversion.version, NP_VERSION)) {
        r->rversion.version = np_cstr(NP_VERSION);
    } else {
        r->rversion.version = np_cstr("unknown");
    }
    return 0;
}

int op_tauth(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    return -EOPNOTSUPP; // no authentication: the socket is the authority
}

int op_tattach(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct span a = t->tattach.aname;
    if (t->tattach.afid != NP_NOFID)
        return -EINVAL;
    size_t i = 0;
    if (a.n > 5)
        return -ENOENT;
    for (size_t k = 0; k < a.n; k++) {
        if (a.p[k] < '0' || a.p[k] > '9')
            return -ENOENT;
        i = i * 10 + (size_t)(a.p[k] - '0');
    }
    if (i >= s->nroots)
        return -ENOENT;
    struct stat st;
    int err = node_stat(s->root_nodes[i], &st);
    struct fid *f;
    if (!err)
        err = fid_new(s, t->tattach.fid, s->root_nodes[i], &f);
    if (err)
        return err;
    qid_of(s, &st, &r->rattach.qid);
    return 0;
}

int op_tflush(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    return 0; // requests are served in order: the old one has been answered
}

int op_tclunk(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f = fid_find(s, t->tclunk.fid);
    if (!f)
        return -EBADF;
    int err = 0;
    if (f->kind == FID_XATTR_WRITE && f->xlen == f->xsize) {
        int fd = node_open(f->node, O_RDONLY);
        err = fd < 0 ? fd : (int)host_call(__NR_fsetxattr, fd, f->xname, f->xbuf, f->xlen, f->xflags);
        if (fd >= 0)
            host_call(__NR_close, fd);
    }
    fid_free(s, f);
    return err;
}

// Walks from n; on success *out is the last node (ref). *done counts the names found; each is
// reported to each(). ENOENT and ENOTDIR end the walk, and *out is null then.
struct walk_sink {
    void (*each)(struct server *s, struct walk_sink *k, const struct stat *st);
    struct np_qids *qids;
    struct wspan nodes;
    uint16_t done;
};
static int walk(struct server *s, struct node *from, const struct np_names *names, bool dotdot,
                bool want_last, struct walk_sink *k, struct node **out)
{
    struct node *n = node_get(from);
    int err = 0;
    size_t i;
    *out = nullptr;
    for (i = 0; i < names->n; i++) {
        struct node *next = nullptr;
        struct stat st;
        if (dotdot && str_is(names->v[i], "..")) {
            next = node_get(n->parent && n->type == S_IFDIR ? n->parent : n);
            err = node_stat(next, &st);
        } else {
            bool last = i + 1 == names->n;
            err = node_walk(s, n, names->v[i], &st, last && !want_last ? nullptr : &next);
        }
        if (err) {
            node_put(s, next);
            break;
        }
        k->each(s, k, &st);
        k->done++;
        if (next) {
            node_put(s, n);
            n = next;
        }
    }
    bool all = i == names->n;
    if (!all && (err == -ENOENT || (err == -ENOTDIR && i > 0)))
        err = 0;
    if (err || !all)
        node_put(s, n);
    else
        *out = n;
    return err;
}

static void sink_qid(struct server *s, struct walk_sink *k, const struct stat *st)
{
    qid_of(s, st, &k->qids->v[k->done]);
    k->qids->n = k->done + 1;
}
int op_twalk(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f, *nf;
    int err = fid_file(s, t->twalk.fid, &f);
    if (err)
        return err;
    bool same = t->twalk.newfid == t->twalk.fid;
    if (same ? f->io >= 0 : t->twalk.newfid == NP_NOFID || fid_find(s, t->twalk.newfid))
        return -EBADF;
    struct walk_sink k = {.each = sink_qid, .qids = &r->rwalk.qids};
    struct node *n;
    err = walk(s, f->node, &t->twalk.names, true, true, &k, &n);
    if (err && k.done == 0)
        return err;
    if (err || !n)
        return k.done ? 0 : -ENOENT;
    if (same) {
        node_put(s, f->node);
        f->node = n;
        return 0;
    }
    err = fid_new(s, t->twalk.newfid, n, &nf);
    node_put(s, n);
    return err;
}

static void sink_node(struct server *s, struct walk_sink *k, const struct stat *st)
{
    struct np_qid q;
    struct np_attr a;
    qid_of(s, st, &q);
    attr_of(s, st, &a);
    np_node_put(&k->nodes, &q, &a);
}
// Shared by Twalkgetattr and Twalkopen: *nf is null when the walk stopped early or newfid is none.
int walk_nodes(struct server *s, uint32_t fid, uint32_t newfid, const struct np_names *names,
                      bool want_node, struct np_nodes *nodes, struct node **out)
{
    struct fid *f;
    int err = fid_file(s, fid, &f);
    if (err)
        return err;
    if (newfid != NP_NOFID && fid_find(s, newfid))
        return -EBADF;
    struct walk_sink k = {.each = sink_node,
                          .nodes = wspan_of(s->nodebuf, sizeof(s->nodebuf))};
    if (names->n == 0) {
        struct stat st;
        err = node_stat(f->node, &st);
        if (err)
            return err;
        sink_node(s, &k, &st);
        k.done = 1;
        *out = node_get(f->node);
    } else {
        err = walk(s, f->node, names, false, want_node, &k, out);
        if (err)
            return err;
    }
    *nodes = (struct np_nodes){.n = k.done, .raw = span_of(k.nodes.p, k.nodes.used)};
    return 0;
}
int op_twalkgetattr(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct node *n;
    bool want = t->twalkgetattr.newfid != NP_NOFID;
    int err = walk_nodes(s, t->twalkgetattr.fid, t->twalkgetattr.newfid, &t->twalkgetattr.names,
                         want, &r->rwalkgetattr.nodes, &n);
    if (err || !n)
        return err;
    struct fid *nf;
    if (want)
        err = fid_new(s, t->twalkgetattr.newfid, n, &nf);
    node_put(s, n);
    return err;
}

// What a path walk needs of a name: its attributes, and either a fid to go on from or a text to follow.
int op_tlookup(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_tlookup *a = &t->tlookup;
    struct wspan w = wspan_of(s->nodebuf, sizeof(s->nodebuf));
    struct walk_sink k = {.each = sink_node, .nodes = w};
    struct node *n = nullptr;
    struct fid *f, *nf;
    struct stat st;
    int err = fid_file(s, a->fid, &f);
    if (err)
        return err;
    if (a->newfid != NP_NOFID && fid_find(s, a->newfid))
        return -EBADF;
    err = node_walk(s, f->node, a->name, &st, nullptr);
    if (!err && (S_ISLNK(st.st_mode) || (S_ISDIR(st.st_mode) && a->newfid != NP_NOFID)))
        err = node_walk(s, f->node, a->name, &st, &n); // once more: it may have changed
    if (err)
        return err == -ENOENT ? 0 : err;
    if (n && n->type == S_IFLNK) {
        long len = host_call(__NR_readlinkat, n->fd, "", s->scratch, NP_STR_MAX);
        err = len < 0 ? (int)len : 0;
        r->rlookup.target = span_of(s->scratch, len < 0 ? 0 : (size_t)len);
    } else if (n && n->type == S_IFDIR && a->newfid != NP_NOFID) {
        err = fid_new(s, a->newfid, n, &nf);
    }
    node_put(s, n);
    if (err)
        return err;
    sink_node(s, &k, &st);
    r->rlookup.nodes = (struct np_nodes){.n = 1, .raw = span_of(k.nodes.p, k.nodes.used)};
    return 0;
}

// Opens n: a descriptor to give away in s->donated, else an open fid.
static int open_node(struct server *s, struct node *n, struct fid *f, uint32_t flags, bool *donated)
{
    int mode = (int)(flags & O_ACCMODE);
    *donated = false;
    if (mode == O_ACCMODE || (flags & O_CREAT))
        return -EINVAL;
    if ((mode != O_RDONLY || (flags & O_TRUNC)) && node_readonly(n))
        return -EROFS;
    if (n->type == S_IFDIR && mode != O_RDONLY)
        return -EISDIR;
    int fd = node_open(n, mode);
    if (fd < 0)
        return fd;
    if ((flags & O_TRUNC) && mode != O_RDONLY) {
        int err = (int)host_call(__NR_ftruncate, fd, 0);
        if (err) {
            host_call(__NR_close, fd);
            return err;
        }
    }
    if (s->ext && n->type == S_IFREG && n->root->donate && !(flags & NP_OPEN_NODONATE)) {
        s->donated = fd;
        *donated = true;
    } else if (f) {
        f->io = fd;
        f->io_mode = mode;
        f->dirpos = 0;
    } else {
        host_call(__NR_close, fd);
    }
    return 0;
}
int op_twalkopen(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct node *n;
    struct fid *nf = nullptr;
    int err = walk_nodes(s, t->twalkopen.fid, t->twalkopen.newfid, &t->twalkopen.names, true,
                         &r->rwalkopen.nodes, &n);
    if (err || !n)
        return err;
    if (t->twalkopen.newfid != NP_NOFID)
        err = fid_new(s, t->twalkopen.newfid, n, &nf);
    if (!err) {
        bool donated;
        r->rwalkopen.ecode = (uint32_t)-open_node(s, n, nf, t->twalkopen.flags, &donated);
        r->rwalkopen.donated = donated;
        r->rwalkopen.iounit = s->msize - 24;
    }
    node_put(s, n);
    return err;
}
int op_tlopen(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f;
    struct stat st;
    bool donated;
    int err = fid_file(s, t->tlopen.fid, &f);
    if (!err && f->io >= 0)
        err = -EBADF;
    if (!err)
        err = node_stat(f->node, &st);
    if (!err)
        err = open_node(s, f->node, f, t->tlopen.flags, &donated);
    if (err)
        return err;
    qid_of(s, &st, &r->rlopen.qid);
    r->rlopen.iounit = s->msize - 24;
    return 0;
}
