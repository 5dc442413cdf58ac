// SPDX-License-Identifier: Apache-2.0
// 9P requests on attributes. Set-id bits are never stored (unless --host-suid): the guest sees
// those that the image has, and those that its overlay holds.
#include "gofer/server.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/statfs.h>

#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif

int op_tgetattr(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f = fid_find(s, t->tgetattr.fid);
    struct stat st;
    if (!f)
        return -EBADF;
    int err = node_stat(f->node, &st);
    if (err)
        return err;
    r->rgetattr.valid = NP_GETATTR_BASIC;
    qid_of(s, &st, &r->rgetattr.qid);
    attr_of(s, &st, &r->rgetattr.attr);
    return 0;
}

// --- changing attributes ---
uint32_t mode_kept(const struct node *n, uint32_t mode)
{
    return mode & (n->root && n->root->host_suid ? 07777u : 01777u);
}
int node_chmod(struct node *n, int fd, uint32_t mode)
{
    static bool no_fchmodat2;
    mode = mode_kept(n, mode);
    if (fd >= 0)
        return (int)host_call(__NR_fchmod, fd, mode);
    if (n->type == S_IFLNK)
        return -EOPNOTSUPP;
    if (!no_fchmodat2) {
        int err = (int)host_call(__NR_fchmodat2, n->fd, "", mode, AT_EMPTY_PATH);
        if (err != -ENOSYS)
            return err;
        no_fchmodat2 = true;
    }
    if (n->type != S_IFREG && n->type != S_IFDIR)
        return -EOPNOTSUPP;
    fd = node_open(n, O_RDONLY);
    if (fd == -EACCES && n->type == S_IFREG)
        fd = node_open(n, O_WRONLY);
    if (fd < 0)
        return fd;
    int err = (int)host_call(__NR_fchmod, fd, mode);
    host_call(__NR_close, fd);
    return err;
}
static int set_size(struct fid *f, uint64_t size)
{
    if (f->node->type != S_IFREG)
        return f->node->type == S_IFDIR ? -EISDIR : -EINVAL;
    if (size > INT64_MAX)
        return -EFBIG;
    if (f->io >= 0 && f->io_mode != O_RDONLY)
        return (int)host_call(__NR_ftruncate, f->io, size);
    int fd = node_open(f->node, O_WRONLY);
    if (fd < 0)
        return fd;
    int err = (int)host_call(__NR_ftruncate, fd, size);
    host_call(__NR_close, fd);
    return err;
}
static int set_times(struct node *n, const struct np_tsetattr *a)
{
    struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
    if (a->valid & NP_SET_ATIME) {
        ts[0].tv_sec = (int64_t)a->atime_sec;
        ts[0].tv_nsec = a->valid & NP_SET_ATIME_SET ? (long)a->atime_nsec : UTIME_NOW;
    }
    if (a->valid & NP_SET_MTIME) {
        ts[1].tv_sec = (int64_t)a->mtime_sec;
        ts[1].tv_nsec = a->valid & NP_SET_MTIME_SET ? (long)a->mtime_nsec : UTIME_NOW;
    }
    if (((a->valid & NP_SET_ATIME_SET) && a->atime_nsec > 999999999) ||
        ((a->valid & NP_SET_MTIME_SET) && a->mtime_nsec > 999999999))
        return -EINVAL;
    return (int)host_call(__NR_utimensat, n->fd, "", ts, AT_EMPTY_PATH);
}
static int setattr(struct server *s, const struct np_tsetattr *a, struct fid **out)
{
    struct fid *f;
    int err = fid_file(s, a->fid, &f);
    if (err)
        return err;
    if (node_readonly(f->node))
        return -EROFS;
    if (a->valid & NP_SET_SIZE)
        err = set_size(f, a->size);
    if (!err && (a->valid & (NP_SET_UID | NP_SET_GID)))
        err = (int)host_call(__NR_fchownat, f->node->fd, "",
                             a->valid & NP_SET_UID ? a->uid : (uint32_t)-1,
                             a->valid & NP_SET_GID ? a->gid : (uint32_t)-1, AT_EMPTY_PATH);
    if (!err && (a->valid & NP_SET_MODE))
        err = node_chmod(f->node, f->io, a->mode);
    if (!err && (a->valid & (NP_SET_ATIME | NP_SET_MTIME)))
        err = set_times(f->node, a);
    *out = f;
    return err;
}
int op_tsetattr(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f;
    return setattr(s, &t->tsetattr, &f);
}
int op_tsetattrplus(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    static_assert(sizeof(struct np_tsetattr) == sizeof(struct np_tsetattrplus));
    struct np_tsetattr a;
    memcpy(&a, &t->tsetattrplus, sizeof(a));
    struct fid *f;
    struct stat st;
    int err = setattr(s, &a, &f);
    if (!err)
        err = node_stat(f->node, &st);
    if (err)
        return err;
    qid_of(s, &st, &r->rsetattrplus.qid);
    attr_of(s, &st, &r->rsetattrplus.attr);
    return 0;
}

int op_tstatfs(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f = fid_find(s, t->tstatfs.fid);
    struct statfs b;
    if (!f)
        return -EBADF;
    int err = (int)host_call(__NR_fstatfs, f->node->fd, &b);
    if (err)
        return err;
    r->rstatfs = (struct np_rstatfs){
        .type = (uint32_t)b.f_type, .bsize = (uint32_t)b.f_bsize, .blocks = b.f_blocks,
        .bfree = b.f_bfree, .bavail = b.f_bavail, .files = b.f_files, .ffree = b.f_ffree,
        .fsid = 0, .namelen = (uint32_t)b.f_namelen,
    };
    return 0;
}

int op_treadlink(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    struct fid *f;
    int err = fid_file(s, t->treadlink.fid, &f);
    if (err)
        return err;
    if (f->node->type != S_IFLNK)
        return -EINVAL;
    long n = host_call(__NR_readlinkat, f->node->fd, "", s->scratch, NP_STR_MAX);
    if (n < 0)
        return (int)n;
    r->rreadlink.target = span_of(s->scratch, (size_t)n);
    return 0;
}
