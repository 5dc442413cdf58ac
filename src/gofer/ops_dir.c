// SPDX-License-Identifier: Apache-2.0
// 9P requests that make, move or remove directory entries. Each name is one component in a
// directory that the fid holds; what was made is looked at again before anyone hears of it.
#include "gofer/server.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>

// --- making entries ---
struct make {
    struct span name, target;
    uint32_t mode, uid, gid; // ids (uint32_t)-1: leave
    uint64_t rdev;
};
static void own(int fd, const struct make *m, struct stat *st)
{
    uint32_t uid = m->uid == st->st_uid ? (uint32_t)-1 : m->uid;
    uint32_t gid = m->gid == st->st_gid ? (uint32_t)-1 : m->gid;
    if (uid == (uint32_t)-1 && gid == (uint32_t)-1)
        return;
    // Without CAP_CHOWN, or for an id that our user namespace lacks, the file stays ours, as on a
    // server that squashes ids; the attributes that we report say so.
    if (host_call(__NR_fchownat, fd, "", uid, gid, AT_EMPTY_PATH) == 0)
        host_call(__NR_newfstatat, fd, "", st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
}
static int make_call(struct server *s, struct node *dir, const char *name, const struct make *m)
{
    uint32_t perm = mode_kept(dir, m->mode & 07777);
    char target[NP_STR_MAX + 1];
    switch (m->mode & S_IFMT) {
    case S_IFDIR:
        return (int)host_call(__NR_mkdirat, dir->fd, name, perm);
    case S_IFLNK: {
        int err = str_copy(m->target, target, sizeof(target));
        return err ? err : (int)host_call(__NR_symlinkat, target, dir->fd, name);
    }
    case S_IFCHR:
        if (m->rdev != 0)
            return -EPERM;
        [[fallthrough]];
    case S_IFIFO:
    case S_IFSOCK:
        return (int)host_call(__NR_mknodat, dir->fd, name, (m->mode & S_IFMT) | perm, 0);
    case S_IFREG: {
        int flags = O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
        int fd = (int)host_call(__NR_openat, dir->fd, name, flags, perm);
        if (fd >= 0)
            host_call(__NR_close, fd);
        return fd < 0 ? fd : 0;
    }
    default:
        return -EPERM; // devices
    }
}
static int make(struct server *s, uint32_t dfid, const struct make *m, struct stat *st)
{
    struct node *dir, *n;
    char name[NP_NAME_MAX + 1];
    int err = fid_dir(s, dfid, &dir);
    if (!err)
        err = name_copy(m->name, name);
    if (!err)
        err = make_call(s, dir, name, m);
    if (!err)
        err = node_walk(s, dir, m->name, st, &n);
    if (err)
        return err;
    if (n->type != (m->mode & S_IFMT)) {
        err = -ESTALE; // somebody on the host was faster
    } else {
        uint32_t perm = mode_kept(dir, m->mode & 07777);
        // A default ACL or a parent's set-group-id bit may have changed it.
        if (n->type != S_IFLNK && (st->st_mode & 0777) != (perm & 0777) &&
            node_chmod(n, -1, perm | (st->st_mode & 07000)) == 0)
            (void)!node_stat(n, st);
        own(n->fd, m, st);
    }
    node_put(s, n);
    return err;
}
int op_tmakenode(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_tmakenode *a = &t->tmakenode;
    struct make m = {.name = a->name, .target = a->target, .mode = a->mode, .uid = a->uid,
                     .gid = a->gid, .rdev = a->rdev};
    struct stat st;
    int err = make(s, a->fid, &m, &st);
    if (err)
        return err;
    qid_of(s, &st, &r->rmakenode.qid);
    attr_of(s, &st, &r->rmakenode.attr);
    return 0;
}
static int make_plain(struct server *s, uint32_t dfid, struct make *m, struct np_qid *q)
{
    struct stat st;
    m->uid = (uint32_t)-1;
    int err = make(s, dfid, m, &st);
    if (!err)
        qid_of(s, &st, q);
    return err;
}
int op_tmkdir(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct make m = {.name = t->tmkdir.name, .mode = S_IFDIR | (t->tmkdir.mode & 07777),
                     .gid = t->tmkdir.gid};
    return make_plain(s, t->tmkdir.dfid, &m, &r->rmkdir.qid);
}
int op_tsymlink(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct make m = {.name = t->tsymlink.name, .mode = S_IFLNK | 0777, .gid = t->tsymlink.gid,
                     .target = t->tsymlink.target};
    return make_plain(s, t->tsymlink.fid, &m, &r->rsymlink.qid);
}
int op_tmknod(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct make m = {.name = t->tmknod.name, .mode = t->tmknod.mode, .gid = t->tmknod.gid,
                     .rdev = t->tmknod.major | t->tmknod.minor};
    uint32_t type = m.mode & S_IFMT;
    if (type == S_IFDIR || type == S_IFLNK)
        return -EINVAL;
    if (!type)
        m.mode |= S_IFREG;
    return make_plain(s, t->tmknod.dfid, &m, &r->rmknod.qid);
}

// A new file, open; *n has a reference. Never opens what exists.
static int create(struct server *s, struct node *dir, const struct make *m, uint32_t flags,
                  struct stat *st, struct node **n, int *fd)
{
    char name[NP_NAME_MAX + 1];
    int err = name_copy(m->name, name);
    if (err)
        return err;
    int mode = (int)(flags & O_ACCMODE);
    if (mode == O_ACCMODE)
        return -EINVAL;
    uint32_t perm = mode_kept(dir, m->mode & 07777);
    int oflags = mode | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    *fd = (int)host_call(__NR_openat, dir->fd, name, oflags, perm);
    if (*fd < 0)
        return *fd;
    struct stat pst;
    err = (int)host_call(__NR_newfstatat, *fd, "", st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    if (!err && (st->st_mode & 0777) != (perm & 0777) &&
        host_call(__NR_fchmod, *fd, perm) == 0)
        st->st_mode = (st->st_mode & S_IFMT) | perm;
    if (!err) {
        own(*fd, m, st);
        err = node_walk(s, dir, m->name, &pst, n);
    }
    if (!err && (pst.st_ino != st->st_ino || pst.st_dev != st->st_dev)) {
        node_put(s, *n);
        err = -ESTALE;
    }
    if (err)
        host_call(__NR_close, *fd);
    return err;
}
int op_tcreateopen(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_tcreateopen *a = &t->tcreateopen;
    struct make m = {.name = a->name, .mode = a->mode, .uid = a->uid, .gid = a->gid};
    struct node *dir, *n;
    struct fid *nf = nullptr;
    struct stat st;
    int fd;
    int err = fid_dir(s, a->fid, &dir);
    if (!err && a->newfid != NP_NOFID && fid_find(s, a->newfid))
        err = -EBADF;
    if (!err)
        err = create(s, dir, &m, a->flags, &st, &n, &fd);
    if (err)
        return err;
    if (a->newfid != NP_NOFID)
        err = fid_new(s, a->newfid, n, &nf);
    if (!err && dir->root->donate) {
        s->donated = fd;
        r->rcreateopen.donated = 1;
    } else if (!err && nf) {
        nf->io = fd;
        nf->io_mode = (int)(a->flags & O_ACCMODE);
    } else {
        host_call(__NR_close, fd);
    }
    node_put(s, n);
    qid_of(s, &st, &r->rcreateopen.qid);
    attr_of(s, &st, &r->rcreateopen.attr);
    r->rcreateopen.iounit = s->msize - 24;
    return err;
}
int op_tlcreate(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_tlcreate *a = &t->tlcreate;
    struct make m = {.name = a->name, .mode = a->mode, .uid = (uint32_t)-1, .gid = a->gid};
    struct node *dir, *n;
    struct fid *f;
    struct stat st;
    int fd = -1;
    int err = fid_file(s, a->fid, &f);
    if (!err && f->io >= 0)
        err = -EBADF;
    if (!err)
        err = fid_dir(s, a->fid, &dir);
    if (!err)
        err = create(s, dir, &m, a->flags, &st, &n, &fd);
    if (err == -EEXIST && !(a->flags & O_EXCL)) {
        err = node_walk(s, dir, a->name, &st, &n);
        if (!err) {
            fd = n->type == S_IFREG ? node_open(n, (int)a->flags) : -EEXIST;
            err = fd < 0 ? fd : 0;
            if (!err && (a->flags & O_TRUNC))
                err = (int)host_call(__NR_ftruncate, fd, 0);
            if (err) {
                if (fd >= 0)
                    host_call(__NR_close, fd);
                node_put(s, n);
            }
        }
    }
    if (err)
        return err;
    node_put(s, f->node);
    f->node = n; // the fid is now the file, as the protocol has it
    f->io = fd;
    f->io_mode = (int)(a->flags & O_ACCMODE);
    qid_of(s, &st, &r->rlcreate.qid);
    r->rlcreate.iounit = s->msize - 24;
    return 0;
}

// --- moving and removing entries ---
int op_tlink(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct node *dir;
    struct fid *f;
    char name[NP_NAME_MAX + 1];
    int err = fid_dir(s, t->tlink.dfid, &dir);
    if (!err)
        err = fid_file(s, t->tlink.fid, &f);
    if (!err)
        err = name_copy(t->tlink.name, name);
    if (err)
        return err;
    struct node *n = f->node;
    if (n->type == S_IFDIR)
        return -EPERM;
    if (n->root != dir->root)
        return -EXDEV;
    if (!n->parent)
        return -ESTALE;
    // Only by name can a link be made (AT_EMPTY_PATH needs a capability): make sure of what it is.
    struct stat st;
    err = node_walk(s, n->parent, span_of(n->name, n->namelen), &st, nullptr);
    if (err || st.st_ino != n->ino || st.st_dev != n->dev)
        return err && err != -ENOENT ? err : -ESTALE;
    err = (int)host_call(__NR_linkat, n->parent->fd, n->name, dir->fd, name, 0);
    if (err)
        return err;
    err = node_walk(s, dir, t->tlink.name, &st, nullptr);
    if (!err && (st.st_ino != n->ino || st.st_dev != n->dev)) {
        host_call(__NR_unlinkat, dir->fd, name, 0);
        err = -ESTALE;
    }
    return err;
}

static int rename_at(struct server *s, struct node *od, struct span oname, struct node *nd,
                     struct span nname, uint32_t flags)
{
    char o[NP_NAME_MAX + 1], n[NP_NAME_MAX + 1];
    int err = name_copy(oname, o);
    if (!err)
        err = name_copy(nname, n);
    if (err)
        return err;
    if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE)
        return -EINVAL;
    if (od->root != nd->root)
        return -EXDEV;
    return (int)host_call(__NR_renameat2, od->fd, o, nd->fd, n, flags);
}
int op_trenameat2(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_trenameat2 *a = &t->trenameat2;
    struct node *od, *nd;
    int err = fid_dir(s, a->olddirfid, &od);
    if (!err)
        err = fid_dir(s, a->newdirfid, &nd);
    return err ? err : rename_at(s, od, a->oldname, nd, a->newname, a->flags);
}
int op_trenameat(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    const struct np_trenameat *a = &t->trenameat;
    struct node *od, *nd;
    int err = fid_dir(s, a->olddirfid, &od);
    if (!err)
        err = fid_dir(s, a->newdirfid, &nd);
    return err ? err : rename_at(s, od, a->oldname, nd, a->newname, 0);
}
int op_trename(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f;
    struct node *nd;
    int err = fid_file(s, t->trename.fid, &f);
    if (!err)
        err = fid_dir(s, t->trename.dfid, &nd);
    if (err)
        return err;
    struct node *n = f->node;
    if (!n->parent || !n->namelen || n->parent->type != S_IFDIR)
        return -EBUSY;
    if (node_readonly(n->parent))
        return -EROFS;
    return rename_at(s, n->parent, span_of(n->name, n->namelen), nd, t->trename.name, 0);
}
int op_tunlinkat(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct node *dir;
    char name[NP_NAME_MAX + 1];
    if (t->tunlinkat.flags & ~(uint32_t)AT_REMOVEDIR)
        return -EINVAL;
    int err = fid_dir(s, t->tunlinkat.dirfd, &dir);
    if (!err)
        err = name_copy(t->tunlinkat.name, name);
    return err ? err : (int)host_call(__NR_unlinkat, dir->fd, name, t->tunlinkat.flags);
}
int op_tremove(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f;
    int err = fid_file(s, t->tremove.fid, &f);
    if (err)
        return err;
    struct node *n = f->node;
    if (!n->parent || n->parent->type != S_IFDIR || !n->parent->root)
        err = -EBUSY;
    else if (node_readonly(n))
        err = -EROFS;
    else
        err = (int)host_call(__NR_unlinkat, n->parent->fd, n->name,
                             n->type == S_IFDIR ? AT_REMOVEDIR : 0);
    fid_free(s, f); // gone whether it worked or not
    return err;
}
