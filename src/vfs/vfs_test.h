// SPDX-License-Identifier: Apache-2.0
// A small world for tests of the VFS without a guest: a tmpfs as root, root's credentials, an empty
// descriptor table.
#pragma once
#include "base/slab.h"
#include "base/test.h"
#include "abi/errno.h"
#include "mem/uio.h"
#include "vfs/file.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

struct world {
    struct cred *root, *user; // user: 1000
    struct mntns *ns;
    struct fs_context *fs;
    struct fdtab *files;
    struct lookup_ctx c, u; // as root, as user
};

static inline struct super *world_tmpfs(const char *options, struct cred *c)
{
    const struct fs_type *t = fs_type_find("tmpfs");
    struct super *sb = nullptr;
    assert_non_null(t);
    assert_int_equal(t->mount(t, "none", options, c, &sb), 0);
    return sb;
}
static inline void world_open(struct world *w)
{
    *w = (struct world){.root = cred_new(), .files = fdtab_new()};
    w->user = cred_dup(w->root);
    w->user->uid = w->user->euid = w->user->suid = w->user->fsuid = 1000;
    w->user->gid = w->user->egid = w->user->sgid = w->user->fsgid = 1000;
    w->user->cap_effective = w->user->cap_permitted = 0;
    struct super *sb = world_tmpfs("mode=755,size=64m,nr_inodes=100000", w->root);
    struct mount *m = mount_new(sb, sb->root, 0);
    super_put(sb);
    assert_int_equal(mntns_new(m, &w->ns), 0);
    w->fs = fs_context_new((struct path){m, m->root}, w->ns);
    mount_put(m);
    w->c = (struct lookup_ctx){.fs = w->fs, .files = w->files, .cred = w->root};
    w->u = (struct lookup_ctx){.fs = w->fs, .files = w->files, .cred = w->user};
}
static inline void world_close(struct world *w)
{
    fdtab_put(w->files, nullptr);
    fs_context_put(w->fs);
    mntns_put(w->ns);
    cred_put(w->user);
    cred_put(w->root);
}
static inline int world_fd(struct world *w, struct file *f)
{
    return fd_install(w->files, f, 0, false, 1024);
}
static inline int world_make(struct world *w, const char *name, const char *text)
{
    struct file *f;
    int err = vfs_open(&w->c, AT_FDCWD, name, O_CREAT | O_RDWR | O_TRUNC, 0644, 0, &f);
    if (err)
        return err;
    struct uiovec v;
    struct uio u = uio_kernel(&v, (void *)text, strlen(text));
    long n = file_write(f, &u, nullptr);
    file_put(f);
    return n == (long)strlen(text) ? 0 : (int)n;
}
// What is in the file, into buf; or a negative error.
static inline long world_read(const struct lookup_ctx *c, const char *name, char *buf, size_t n)
{
    struct file *f;
    int err = vfs_open(c, AT_FDCWD, name, O_RDONLY, 0, 0, &f);
    if (err)
        return err;
    long r = file_read_kernel(f, buf, n - 1, 0);
    if (r >= 0)
        buf[r] = 0;
    file_put(f);
    return r;
}
static inline int world_stat(const struct lookup_ctx *c, const char *name, unsigned flags,
                             struct kstat *st)
{
    struct path p;
    int err = path_lookup(c, AT_FDCWD, name, flags, &p);
    if (err)
        return err;
    err = vfs_getattr(&p, st);
    path_put(p);
    return err;
}
#define OK(e) assert_int_equal((e), 0)
#define ERR(e, code) assert_int_equal((e), -(code))
