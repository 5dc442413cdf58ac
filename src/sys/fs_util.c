// SPDX-License-Identifier: Apache-2.0
// See fs_util.h. Everything here copies guest memory once and works on the copy.
#include "sys/fs_util.h"
#include <string.h>

struct user_path user_path_get(struct task *t, uaddr_t addr)
{
    char buf[PATH_MAX] UNINIT;
    long n = copy_in_str(t->mm, buf, addr, sizeof(buf));
    if (n < 0)
        return (struct user_path){.err = (int)n};
    char *p = mem_alloc((size_t)n + 1);
    if (!p)
        return (struct user_path){.err = -ENOMEM};
    memcpy(p, buf, (size_t)n + 1);
    return (struct user_path){.p = p};
}

int user_path_lookup(struct task *t, int dirfd, uaddr_t name, unsigned flags, struct path *out)
{
    struct lookup_ctx c = task_lookup_ctx(t);
    if ((flags & LOOKUP_EMPTY) && uaddr_null(name))
        return path_lookup(&c, dirfd, "", flags, out); // Linux 6.11: null is the empty path
    USER_PATH(path, t, name);
    if (path.err)
        return path.err;
    return path_lookup(&c, dirfd, path.p, flags, out);
}

int user_iov_get(struct task *t, struct user_iov *u, uaddr_t iov, uint64_t n)
{
    struct iovec raw[IOV_FAST], *copy = raw;
    int err = 0;
    u->v = u->fast;
    if (n > IOV_MAX)
        return -EINVAL;
    if (n > IOV_FAST) {
        copy = mem_alloc_array(n, sizeof(*copy));
        u->v = mem_alloc_array(n, sizeof(*u->v));
        if (!copy || !u->v)
            err = -ENOMEM;
    }
    if (!err && n)
        err = copy_in(t->mm, copy, iov, n * sizeof(*copy));
    size_t total = 0;
    for (uint64_t i = 0; !err && i < n; i++) {
        size_t len = copy[i].iov_len;
        if (len > SSIZE_MAX)
            err = -EINVAL;
        len = MIN(len, RW_MAX - total);
        total += len;
        u->v[i] = (struct uiovec){.base = (uint64_t)copy[i].iov_base, .len = len};
    }
    if (copy != raw)
        mem_free(copy);
    if (err) {
        user_iov_free(u);
        return err;
    }
    u->uio = (struct uio){.mm = t->mm, .v = u->v, .nv = n, .resid = total};
    return 0;
}

void user_iov_free(struct user_iov *u)
{
    if (u->v != u->fast)
        mem_free(u->v);
    u->v = u->fast;
}
