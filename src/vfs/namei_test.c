// SPDX-License-Identifier: Apache-2.0
// Path resolution and what is done by path, against Linux's rules.
#include "vfs/vfs_test.h"
#include <stdlib.h>
#include <unistd.h>

static int lookup(const struct lookup_ctx *c, const char *name, unsigned flags)
{
    struct kstat st;
    return world_stat(c, name, flags, &st);
}
static int open_(const struct lookup_ctx *c, const char *name, int flags, unsigned lf)
{
    struct file *f;
    int err = vfs_open(c, AT_FDCWD, name, flags, 0644, lf, &f);
    if (!err)
        file_put(f);
    return err;
}

TEST(namei_plain)
{
    struct world w;
    char buf[64];
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "a", 0755));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "/a/b/", 0755));
    OK(world_make(&w, "a/b/f", "text"));
    assert_int_equal(world_read(&w.c, "/a//b/./../b/f", buf, sizeof(buf)), 4);
    assert_string_equal(buf, "text");
    assert_int_equal(world_read(&w.c, "/../../a/b/f", buf, sizeof(buf)), 4);
    ERR(lookup(&w.c, "", 0), ENOENT);
    OK(lookup(&w.c, "", LOOKUP_EMPTY));
    ERR(lookup(&w.c, "a/x", 0), ENOENT);
    ERR(lookup(&w.c, "a/x/y", 0), ENOENT);
    ERR(lookup(&w.c, "a/b/f/", 0), ENOTDIR);
    ERR(lookup(&w.c, "a/b/f/..", 0), ENOTDIR);
    ERR(lookup(&w.c, "a/b/f", LOOKUP_DIRECTORY), ENOTDIR);
    OK(lookup(&w.c, "/", 0));
    OK(lookup(&w.c, "////", LOOKUP_DIRECTORY));
    char name[300];
    memset(name, 'n', 256);
    name[256] = 0;
    ERR(lookup(&w.c, name, 0), ENAMETOOLONG);
    ERR(vfs_mkdir(&w.c, AT_FDCWD, name, 0755), ENAMETOOLONG);
    name[255] = 0;
    OK(vfs_mkdir(&w.c, AT_FDCWD, name, 0755));
    world_close(&w);
}

TEST(namei_links)
{
    struct world w;
    char name[32], to[32];
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "d", 0755));
    OK(world_make(&w, "d/f", "x"));
    OK(vfs_symlink(&w.c, "d", AT_FDCWD, "l"));
    OK(vfs_symlink(&w.c, "/l/f", AT_FDCWD, "lf"));
    OK(vfs_symlink(&w.c, "loop", AT_FDCWD, "loop"));
    OK(vfs_symlink(&w.c, "nowhere/", AT_FDCWD, "ns"));
    OK(lookup(&w.c, "lf", LOOKUP_FOLLOW));
    OK(lookup(&w.c, "l/f", 0));
    OK(lookup(&w.c, "l/../l/../lf", LOOKUP_FOLLOW));
    ERR(lookup(&w.c, "loop", LOOKUP_FOLLOW), ELOOP);
    OK(lookup(&w.c, "loop", 0));
    ERR(lookup(&w.c, "loop/", 0), ELOOP);
    ERR(lookup(&w.c, "lf/", 0), ENOTDIR);
    ERR(open_(&w.c, "ns", O_CREAT | O_RDWR, 0), EISDIR);
    ERR(open_(&w.c, "l", O_RDONLY | O_NOFOLLOW, 0), ELOOP);
    ERR(open_(&w.c, "l", O_RDONLY | O_NOFOLLOW | O_DIRECTORY, 0), ENOTDIR);
    OK(open_(&w.c, "l", O_PATH | O_NOFOLLOW, 0));
    OK(vfs_symlink(&w.c, "d/f", AT_FDCWD, "c0"));
    for (int i = 1; i <= 40; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        snprintf(to, sizeof(to), "c%d", i - 1);
        OK(vfs_symlink(&w.c, to, AT_FDCWD, name));
    }
    OK(lookup(&w.c, "c39", LOOKUP_FOLLOW));
    ERR(lookup(&w.c, "c40", LOOKUP_FOLLOW), ELOOP);
    // Links in the middle nest: every text keeps its rest.
    OK(vfs_symlink(&w.c, "l/../l", AT_FDCWD, "n1"));
    OK(vfs_symlink(&w.c, "n1/../n1/.", AT_FDCWD, "n2"));
    OK(lookup(&w.c, "n2/f", 0));
    OK(lookup(&w.c, "n2/../n2/f", 0));
    world_close(&w);
}

TEST(namei_resolve_flags)
{
    struct world w;
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "jail", 0755));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "jail/in", 0755));
    OK(world_make(&w, "secret", "s"));
    OK(vfs_symlink(&w.c, "../secret", AT_FDCWD, "jail/up"));
    OK(vfs_symlink(&w.c, "/in", AT_FDCWD, "jail/abs"));
    struct file *f;
    OK(vfs_open(&w.c, AT_FDCWD, "jail", O_RDONLY, 0, 0, &f));
    int fd = world_fd(&w, f);
    struct path p;
    ERR(path_lookup(&w.c, fd, "../secret", LOOKUP_BENEATH, &p), EXDEV);
    ERR(path_lookup(&w.c, fd, "up", LOOKUP_BENEATH | LOOKUP_FOLLOW, &p), EXDEV);
    ERR(path_lookup(&w.c, fd, "abs", LOOKUP_BENEATH | LOOKUP_FOLLOW, &p), EXDEV);
    ERR(path_lookup(&w.c, fd, "/in", LOOKUP_BENEATH, &p), EXDEV);
    ERR(path_lookup(&w.c, fd, "in/../..", LOOKUP_BENEATH, &p), EXDEV);
    OK(path_lookup(&w.c, fd, "in/..", LOOKUP_BENEATH, &p));
    path_put(p);
    OK(path_lookup(&w.c, fd, "abs", LOOKUP_IN_ROOT | LOOKUP_FOLLOW, &p));
    path_put(p);
    OK(path_lookup(&w.c, fd, "/../../in", LOOKUP_IN_ROOT, &p));
    path_put(p);
    ERR(path_lookup(&w.c, fd, "up", LOOKUP_IN_ROOT | LOOKUP_FOLLOW, &p), ENOENT);
    ERR(path_lookup(&w.c, fd, "abs", LOOKUP_NO_SYMLINKS | LOOKUP_FOLLOW, &p), ELOOP);
    ERR(path_lookup(&w.c, 99, "x", 0, &p), EBADF);
    OK(path_lookup(&w.c, 99, "/secret", 0, &p));
    path_put(p);
    world_close(&w);
}

TEST(namei_permissions)
{
    struct world w;
    struct iattr a = {.valid = IATTR_MODE};
    struct path p;
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "nox", 0744));
    OK(world_make(&w, "nox/f", ""));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "pub", 0777));
    w.fs->umask = 0;
    OK(path_lookup(&w.c, AT_FDCWD, "pub", 0, &p));
    a.mode = 01777;
    OK(vfs_setattr(&p, &a, w.root));
    ERR(vfs_setattr(&p, &a, w.user), EPERM);
    path_put(p);
    ERR(lookup(&w.u, "nox/f", 0), EACCES);
    ERR(lookup(&w.u, "nox/none", 0), EACCES);
    OK(lookup(&w.c, "nox/f", 0));
    ERR(open_(&w.u, "new", O_CREAT | O_RDWR, 0), EACCES);
    OK(open_(&w.u, "pub/mine", O_CREAT | O_RDWR, 0));
    OK(world_make(&w, "pub/theirs", ""));
    ERR(vfs_unlink(&w.u, AT_FDCWD, "pub/theirs"), EPERM);
    ERR(vfs_rename(&w.u, AT_FDCWD, "pub/mine", AT_FDCWD, "pub/theirs", 0), EPERM);
    OK(vfs_rename(&w.u, AT_FDCWD, "pub/mine", AT_FDCWD, "pub/mine2", 0));
    ERR(open_(&w.u, "pub/theirs", O_RDWR, 0), EACCES);
    ERR(open_(&w.u, "pub/theirs", O_RDONLY | O_TRUNC, 0), EACCES);
    OK(open_(&w.u, "pub/theirs", O_RDONLY, 0));
    ERR(open_(&w.u, "pub/theirs", O_RDONLY | O_NOATIME, 0), EPERM);
    ERR(vfs_mknod(&w.u, AT_FDCWD, "pub/dev", S_IFCHR | 0600, 0x103), EPERM);
    OK(vfs_mknod(&w.u, AT_FDCWD, "pub/fifo", S_IFIFO | 0600, 0));
    world_close(&w);
}

TEST(namei_remove)
{
    struct world w;
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "d", 0755));
    OK(world_make(&w, "d/f", ""));
    ERR(vfs_rmdir(&w.c, AT_FDCWD, "d"), ENOTEMPTY);
    ERR(vfs_rmdir(&w.c, AT_FDCWD, "d/."), EINVAL);
    ERR(vfs_rmdir(&w.c, AT_FDCWD, "d/.."), ENOTEMPTY);
    ERR(vfs_rmdir(&w.c, AT_FDCWD, "/"), EBUSY);
    ERR(vfs_rmdir(&w.c, AT_FDCWD, "d/f"), ENOTDIR);
    ERR(vfs_unlink(&w.c, AT_FDCWD, "d"), EISDIR);
    ERR(vfs_unlink(&w.c, AT_FDCWD, "d/f/"), ENOTDIR);
    ERR(vfs_unlink(&w.c, AT_FDCWD, "d/.."), EISDIR);
    OK(vfs_unlink(&w.c, AT_FDCWD, "d/f"));
    struct file *f;
    OK(vfs_open(&w.c, AT_FDCWD, "d", O_RDONLY, 0, 0, &f));
    int fd = world_fd(&w, f);
    OK(vfs_rmdir(&w.c, AT_FDCWD, "d"));
    ERR(vfs_mkdir(&w.c, fd, "x", 0755), ENOENT);
    struct strbuf s = {};
    OK(path_print(&f->path, &w.fs->root, &s));
    assert_string_equal(s.p, "/d (deleted)");
    strbuf_reset(&s);
    ERR(path_print_cwd(&f->path, &w.fs->root, &s), ENOENT);
    strbuf_free(&s);
    world_close(&w);
}

TEST(namei_rename)
{
    struct world w;
    char buf[16];
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "p", 0755));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "p/c", 0755));
    OK(world_make(&w, "a", "A"));
    OK(world_make(&w, "b", "B"));
    ERR(vfs_rename(&w.c, AT_FDCWD, "p", AT_FDCWD, "p/c/x", 0), EINVAL);
    ERR(vfs_rename(&w.c, AT_FDCWD, "p/c", AT_FDCWD, "p", 0), ENOTEMPTY);
    ERR(vfs_rename(&w.c, AT_FDCWD, "a", AT_FDCWD, "p", 0), EISDIR);
    ERR(vfs_rename(&w.c, AT_FDCWD, "p", AT_FDCWD, "a", 0), ENOTDIR);
    ERR(vfs_rename(&w.c, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
    OK(vfs_rename(&w.c, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
    assert_int_equal(world_read(&w.c, "a", buf, sizeof(buf)), 1);
    assert_string_equal(buf, "B");
    OK(vfs_rename(&w.c, AT_FDCWD, "p/c", AT_FDCWD, "c2", 0));
    OK(vfs_rename(&w.c, AT_FDCWD, "a", AT_FDCWD, "c2/a", 0));
    assert_int_equal(world_read(&w.c, "c2/a", buf, sizeof(buf)), 1);
    ERR(lookup(&w.c, "a", 0), ENOENT);
    struct kstat st;
    OK(world_stat(&w.c, "p", 0, &st));
    assert_int_equal(st.nlink, 2);
    OK(vfs_rename(&w.c, AT_FDCWD, "c2", AT_FDCWD, "p", RENAME_EXCHANGE));
    OK(lookup(&w.c, "p/a", 0));
    OK(world_stat(&w.c, "/", 0, &st));
    assert_int_equal(st.nlink, 4);
    world_close(&w);
}

// Random operations on a small tree, checked against the host's own file system in a directory of
// its own: same results, same errors.
static const char *random_name(void)
{
    static const char *const names[] = {"a", "b", "a/a", "a/b", "b/a", "b/b", "a/a/a", "a/../b", "l", "l/a",
                                        "./a", "a/", "b/./b", "l/", "m", "a/l", "."};
    return names[(size_t)rand() % ARRAY_LEN(names)];
}
static int host_result(int r)
{
    return r < 0 ? -errno : 0;
}
static void same_state(struct world *w, int dir, const char *n, int step, int what)
{
    struct kstat k;
    struct stat st;
    int ours = world_stat(&w->c, n, 0, &k);
    int theirs = host_result(fstatat(dir, n, &st, AT_SYMLINK_NOFOLLOW));
    if (ours != theirs || (!ours && (st.st_mode != k.mode || st.st_nlink != k.nlink)))
        fail_msg("after step %d, operation %d: lstat %s: %d, Linux %d; mode %o/%o nlink %u/%lu", step,
                 what, n, ours, theirs, k.mode, st.st_mode, k.nlink, (unsigned long)st.st_nlink);
}
static void one_step(struct world *w, int dir, int step)
{
    const char *n = random_name(), *m = random_name();
    int ours, theirs, what = rand() % 9;
    struct stat st;
    switch (what) {
    case 0:
        ours = vfs_mkdir(&w->c, AT_FDCWD, n, 0755);
        theirs = host_result(mkdirat(dir, n, 0755));
        break;
    case 1:
        ours = vfs_rmdir(&w->c, AT_FDCWD, n);
        theirs = host_result(unlinkat(dir, n, AT_REMOVEDIR));
        break;
    case 2:
        ours = vfs_unlink(&w->c, AT_FDCWD, n);
        theirs = host_result(unlinkat(dir, n, 0));
        break;
    case 3:
        ours = vfs_rename(&w->c, AT_FDCWD, n, AT_FDCWD, m, 0);
        theirs = host_result(renameat(dir, n, dir, m));
        break;
    case 4:
        ours = vfs_link(&w->c, AT_FDCWD, n, AT_FDCWD, m, 0);
        theirs = host_result(linkat(dir, n, dir, m, 0));
        break;
    case 5:
        ours = vfs_symlink(&w->c, m, AT_FDCWD, n);
        theirs = host_result(symlinkat(m, dir, n));
        break;
    case 6:
        ours = open_(&w->c, n, O_CREAT | O_RDWR, 0);
        theirs = openat(dir, n, O_CREAT | O_RDWR, 0644);
        theirs = theirs < 0 ? -errno : close(theirs);
        break;
    case 7:
        ours = vfs_rename(&w->c, AT_FDCWD, n, AT_FDCWD, m, RENAME_EXCHANGE);
        theirs = host_result(renameat2(dir, n, dir, m, RENAME_EXCHANGE));
        break;
    default: {
        struct kstat k;
        ours = world_stat(&w->c, n, LOOKUP_FOLLOW, &k);
        theirs = host_result(fstatat(dir, n, &st, 0));
    }
    }
    if (ours != theirs)
        fail_msg("step %d: operation %d on %s, %s: %d, Linux says %d", step, what, n, m, ours, theirs);
    same_state(w, dir, n, step, what);
    same_state(w, dir, m, step, what);
}
TEST(namei_like_linux)
{
    // tmpfs, so that link counts agree. Without one there is nothing to compare with.
    char name[] = "/dev/shm/nacre-namei.XXXXXX";
    if (!mkdtemp(name))
        skip();
    int dir = open(name, O_RDONLY | O_DIRECTORY);
    mode_t old = umask(022);
    srand(4711);
    for (int round = 0; round < 20; round++) {
        struct world w;
        struct path p;
        char sub[32];
        world_open(&w);
        snprintf(sub, sizeof(sub), "%d", round);
        assert_int_equal(mkdirat(dir, sub, 0755), 0);
        int d = openat(dir, sub, O_RDONLY | O_DIRECTORY);
        for (int i = 0; i < 8; i++) { // links with ".." lead out of the directory, not that far
            assert_int_equal(mkdirat(d, "w", 0755), 0);
            int deeper = openat(d, "w", O_RDONLY | O_DIRECTORY);
            close(d);
            d = deeper;
            OK(vfs_mkdir(&w.c, AT_FDCWD, "w", 0755));
            OK(path_lookup(&w.c, AT_FDCWD, "w", 0, &p));
            path_put(w.fs->cwd);
            w.fs->cwd = p;
        }
        for (int i = 0; i < 2000; i++)
            one_step(&w, d, round * 10000 + i);
        close(d);
        world_close(&w);
    }
    umask(old);
    close(dir);
    char cmd[64];
    snprintf(cmd, sizeof(cmd), "rm -r %s", name);
    assert_int_equal(system(cmd), 0);
}
