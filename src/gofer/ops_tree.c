// SPDX-License-Identifier: Apache-2.0
// Tlisttree: many directories in one reply, for a peer that is walking a tree. Depth first and in the
// order of the directory, as find, tar and git go. Each directory is opened below the one before it,
// by one component, without following links. The depth and the reply bound the work.
#include "gofer/server.h"
#include "host/raw.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

constexpr int TREE_DEPTH = 8;
constexpr size_t TREE_READ = 16 << 10; // of getdents64 at once: a reply holds no more names
struct tree {
    struct server *s;
    struct wspan w;
    enum dir_attrs attrs;
    uint32_t n;
};

// All entries of the directory. False: no room, or it cannot be read.
static bool tree_entries(struct tree *t, int fd, uint64_t dev)
{
    long n;
    while ((n = host_call(__NR_getdents64, fd, t->s->scratch, TREE_READ)) > 0) {
        for (long i = 0; i < n;) {
            const struct host_dirent *e = (const void *)(t->s->scratch + i);
            if (!dir_emit(t->s, fd, dev, e, t->attrs, &t->w))
                return false;
            i += e->d_reclen;
        }
    }
    return n == 0;
}

// False: the reply is full.
static bool tree_list(struct tree *t, int dirfd, struct span name, uint32_t parent, int depth)
{
    char buf[NP_NAME_MAX + 1];
    struct stat st;
    struct np_qid q;
    if (name_copy(name, buf))
        return true;
    int fd = (int)host_call(__NR_openat, dirfd, buf,
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0)
        return true;
    bool ok = host_call(__NR_newfstatat, fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0;
    size_t mark = t->w.used, begin = 0;
    if (ok) {
        qid_of(t->s, &st, &q);
        begin = np_tree_begin(&t->w, parent, q.path, name);
        ok = begin && tree_entries(t, fd, st.st_dev);
    }
    if (ok) {
        np_tree_end(&t->w, begin);
        uint32_t me = t->n++;
        struct span e = span_of(t->w.p + begin, t->w.used - begin);
        struct np_dirent d;
        while (ok && depth < TREE_DEPTH && np_dirent_plus_get(&e, &d))
            if (d.type == DT_DIR)
                ok = tree_list(t, fd, d.name, me, depth + 1);
    } else {
        t->w.used = mark;
    }
    host_call(__NR_close, fd);
    return ok;
}

int op_tlisttree(struct server *s, const struct np_msg *m, struct np_msg *r)
{
    constexpr size_t at = NP_HDR + 4; // of the data in the frame
    const struct np_tlisttree *a = &m->tlisttree;
    struct fid *f;
    int err = fid_file(s, a->fid, &f);
    if (!err && f->node->type != S_IFDIR)
        err = -ENOTDIR;
    if (err)
        return err;
    struct tree t = {.s = s, .w = wspan_of(s->tx + at, MIN(a->count, s->msize - at)),
                     .attrs = a->attrs ? DIR_ATTRS : DIR_ATTRS_OF_DIRS};
    struct span names = a->names, name;
    while (np_name_next(&names, &name) && tree_list(&t, f->node->fd, name, NP_NOFID, 0))
        ;
    if (!span_ok(&names))
        return -EPROTO;
    r->rlisttree.data = span_of(t.w.p, t.w.used);
    return 0;
}
