// SPDX-License-Identifier: Apache-2.0
// Topenfiles: files of a directory that are probably read next, opened at once. As everywhere a name
// is looked at before it is opened, so that nothing but a regular file ever is, and afterwards, so
// that the descriptor is what was looked at.
#include "gofer/server.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>

static int open_file(int dirfd, struct span name, struct stat *st)
{
    constexpr int look = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW;
    char buf[NP_NAME_MAX + 1];
    struct stat now;
    int err = name_copy(name, buf);
    if (!err)
        err = (int)host_call(__NR_newfstatat, dirfd, buf, st, look);
    if (err || !S_ISREG(st->st_mode))
        return err ? err : -ENXIO;
    int fd = (int)host_call(__NR_openat, dirfd, buf, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    err = (int)host_call(__NR_newfstatat, fd, "", &now, look);
    if (!err && (now.st_dev != st->st_dev || now.st_ino != st->st_ino || !S_ISREG(now.st_mode)))
        err = -ESTALE;
    if (err)
        host_call(__NR_close, fd);
    return err ? err : fd;
}

int op_topenfiles(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    constexpr size_t at = NP_HDR + 4; // of the data in the frame
    struct fid *f;
    int err = fid_file(s, t->topenfiles.fid, &f);
    if (!err && f->node->type != S_IFDIR)
        err = -ENOTDIR;
    if (!err && (!f->node->root || !f->node->root->donate))
        err = -EOPNOTSUPP;
    if (err)
        return err;
    struct wspan w = wspan_of(s->tx + at, s->msize - at);
    struct span names = t->topenfiles.names, name;
    for (size_t n = 0; np_name_next(&names, &name); n++) {
        struct np_opened o = {};
        struct np_qid q;
        struct stat st;
        if (n == NP_OPEN_MAX)
            return -EPROTO;
        int fd = open_file(f->node->fd, name, &st);
        if (fd >= 0) {
            qid_of(s, &st, &q);
            o = (struct np_opened){true, q.path};
            s->many[s->nmany++] = fd;
        }
        if (!np_opened_put(&w, &o))
            return -EPROTO;
    }
    if (!span_ok(&names))
        return -EPROTO;
    r->ropenfiles.data = span_of(w.p, w.used);
    return 0;
}
