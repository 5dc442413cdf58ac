// SPDX-License-Identifier: Apache-2.0
// The mount tree: stacking, bind, move, detach, pivot, namespaces, propagation.
#include "vfs/vfs_test.h"

static bool there(struct world *w, const char *name)
{
    struct kstat st;
    return world_stat(&w->c, name, 0, &st) == 0;
}
static int mount_tmpfs(struct world *w, const char *at)
{
    return vfs_mount(&w->c, "none", at, "tmpfs", 0, "");
}

TEST(mount_stacking)
{
    struct world w;
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "m", 0755));
    OK(world_make(&w, "m/under", ""));
    OK(mount_tmpfs(&w, "m"));
    assert_false(there(&w, "m/under"));
    OK(world_make(&w, "m/one", ""));
    OK(mount_tmpfs(&w, "/m"));
    assert_false(there(&w, "m/one"));
    assert_true(there(&w, "m/../m"));
    ERR(vfs_rmdir(&w.c, AT_FDCWD, "m"), EBUSY);
    ERR(vfs_rename(&w.c, AT_FDCWD, "m", AT_FDCWD, "n", 0), EBUSY);
    ERR(vfs_umount(&w.c, "m/..", 0), EINVAL);
    ERR(vfs_mount(&w.c, "x", "m", "nofs", 0, ""), ENODEV);
    OK(vfs_umount(&w.c, "m", 0));
    assert_true(there(&w, "m/one"));
    OK(vfs_umount(&w.c, "m", 0));
    assert_true(there(&w, "m/under"));
    ERR(vfs_umount(&w.c, "m", 0), EINVAL);
    OK(world_make(&w, "f", ""));
    ERR(mount_tmpfs(&w, "f"), ENOTDIR);
    world_close(&w);
}

TEST(mount_busy_and_lazy)
{
    struct world w;
    struct file *f, *g;
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "m", 0755));
    OK(mount_tmpfs(&w, "m"));
    OK(world_make(&w, "m/f", "x"));
    OK(vfs_open(&w.c, AT_FDCWD, "m/f", O_RDONLY, 0, 0, &f));
    ERR(vfs_umount(&w.c, "m", 0), EBUSY);
    ERR(vfs_umount(&w.c, "m", MNT_EXPIRE), EBUSY);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "m/sub", 0755));
    OK(mount_tmpfs(&w, "m/sub"));
    OK(vfs_open(&w.c, AT_FDCWD, "m/sub", O_RDONLY | O_DIRECTORY, 0, 0, &g));
    OK(vfs_umount(&w.c, "m", MNT_DETACH));
    assert_false(there(&w, "m/f"));
    char c;
    assert_int_equal(file_read_kernel(f, &c, 1, 0), 1);
    int fd = world_fd(&w, g);
    struct path p;
    OK(path_lookup(&w.c, fd, "..", 0, &p)); // a detached root is its own parent
    assert_ptr_equal(p.dentry, g->path.dentry);
    path_put(p);
    struct strbuf s = {};
    OK(path_print_cwd(&f->path, &w.fs->root, &s));
    assert_string_equal(s.p, "(unreachable)/f");
    strbuf_free(&s);
    file_put(f);
    world_close(&w);
}

TEST(mount_bind_and_readonly)
{
    struct world w;
    struct file *f;
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "src", 0755));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "src/in", 0755));
    OK(mount_tmpfs(&w, "src/in"));
    OK(world_make(&w, "src/in/deep", ""));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "dst", 0755));
    OK(vfs_mount(&w.c, "src", "dst", nullptr, MS_BIND, nullptr));
    assert_false(there(&w, "dst/in/deep"));
    OK(vfs_umount(&w.c, "dst", 0));
    OK(vfs_mount(&w.c, "src", "dst", nullptr, MS_BIND | MS_REC, nullptr));
    assert_true(there(&w, "dst/in/deep"));
    OK(vfs_mount(&w.c, nullptr, "dst", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr));
    ERR(vfs_open(&w.c, AT_FDCWD, "dst/new", O_CREAT | O_RDWR, 0644, 0, &f), EROFS);
    OK(world_make(&w, "dst/in/new", "")); // the mount below is writable
    ERR(vfs_mkdir(&w.c, AT_FDCWD, "dst/in", 0755), EEXIST);
    ERR(vfs_mkdir(&w.c, AT_FDCWD, "dst/x", 0755), EROFS);
    ERR(vfs_link(&w.c, AT_FDCWD, "src/in/deep", AT_FDCWD, "dst/in/x", 0), EXDEV);
    ERR(vfs_rename(&w.c, AT_FDCWD, "src/in/deep", AT_FDCWD, "dst/in/x", 0), EXDEV);
    ERR(vfs_umount(&w.c, "dst", 0), EBUSY); // has a child
    OK(vfs_umount(&w.c, "dst", MNT_DETACH));
    assert_true(there(&w, "src/in/deep"));
    OK(vfs_mount(&w.c, nullptr, "src/in", nullptr, MS_REMOUNT | MS_RDONLY, ""));
    ERR(vfs_unlink(&w.c, AT_FDCWD, "src/in/deep"), EROFS);
    world_close(&w);
}

TEST(mount_move_and_pivot)
{
    struct world w;
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "a", 0755));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "b", 0755));
    OK(mount_tmpfs(&w, "a"));
    OK(world_make(&w, "a/f", ""));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "a/old", 0755));
    OK(vfs_mount(&w.c, "a", "b", nullptr, MS_MOVE, nullptr));
    assert_false(there(&w, "a/f"));
    assert_true(there(&w, "b/f"));
    ERR(vfs_mount(&w.c, "b", "b/old", nullptr, MS_MOVE, nullptr), ELOOP);
    ERR(vfs_mount(&w.c, "a", "b", nullptr, MS_MOVE, nullptr), EINVAL);
    ERR(vfs_pivot_root(&w.c, "a", "a"), EBUSY);
    ERR(vfs_pivot_root(&w.c, "/b", "/a"), EBUSY);
    OK(vfs_pivot_root(&w.c, "b", "b/old"));
    assert_true(there(&w, "/f"));
    assert_true(there(&w, "/old/a"));
    OK(vfs_umount(&w.c, "/old", MNT_DETACH));
    assert_false(there(&w, "/old/a"));
    assert_true(there(&w, "/../f"));
    world_close(&w);
}

TEST(mount_namespace_copy)
{
    struct world w;
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "m", 0755));
    OK(mount_tmpfs(&w, "m"));
    OK(world_make(&w, "m/f", ""));
    struct fs_context *nfs;
    OK(fs_context_copy_ns(w.fs, &nfs));
    struct lookup_ctx c2 = {.fs = nfs, .files = w.files, .cred = w.root};
    struct kstat st;
    OK(world_stat(&c2, "/m/f", 0, &st));
    OK(vfs_umount(&c2, "/m", 0));
    ERR(world_stat(&c2, "/m/f", 0, &st), ENOENT);
    assert_true(there(&w, "m/f"));
    // In its own eyes a mountpoint is busy; in others' it is not, and the mount there goes.
    OK(vfs_rmdir(&c2, AT_FDCWD, "/m"));
    assert_false(there(&w, "m"));
    fs_context_put(nfs);
    world_close(&w);
}

TEST(mount_propagation)
{
    struct world w;
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "s", 0755));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "t", 0755));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "v", 0755));
    OK(mount_tmpfs(&w, "s"));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "s/m", 0755));
    OK(vfs_mount(&w.c, nullptr, "s", nullptr, MS_SHARED, nullptr));
    OK(vfs_mount(&w.c, "s", "t", nullptr, MS_BIND, nullptr));
    OK(vfs_mount(&w.c, "s", "v", nullptr, MS_BIND, nullptr));
    OK(vfs_mount(&w.c, nullptr, "v", nullptr, MS_SLAVE, nullptr));
    OK(mount_tmpfs(&w, "s/m"));
    OK(world_make(&w, "s/m/f", ""));
    assert_true(there(&w, "t/m/f"));
    assert_true(there(&w, "v/m/f"));
    struct strbuf out = {};
    mounts_show(w.ns, &w.fs->root, &out, true);
    assert_non_null(strstr(out.p, "/t/m rw,relatime shared:"));
    assert_non_null(strstr(out.p, "/v/m rw,relatime master:"));
    strbuf_free(&out);
    OK(vfs_umount(&w.c, "t/m", 0));
    assert_false(there(&w, "s/m/f"));
    assert_false(there(&w, "v/m/f"));
    OK(mount_tmpfs(&w, "v/m")); // from the slave nothing goes back
    OK(world_make(&w, "v/m/g", ""));
    assert_false(there(&w, "s/m/g"));
    ERR(vfs_mount(&w.c, nullptr, "s/m", nullptr, MS_SHARED, nullptr), EINVAL);
    ERR(vfs_mount(&w.c, nullptr, "s", nullptr, MS_SHARED | MS_PRIVATE, nullptr), EINVAL);
    OK(vfs_mount(&w.c, nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr));
    OK(mount_tmpfs(&w, "s/m"));
    OK(world_make(&w, "s/m/h", ""));
    assert_false(there(&w, "t/m/h"));
    world_close(&w);
}

TEST(mount_show_text)
{
    struct world w;
    struct strbuf out = {};
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "with space", 0755));
    OK(vfs_mount(&w.c, "so urce", "with space", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME,
                 "size=64k"));
    mounts_show(w.ns, &w.fs->root, &out, false);
    assert_non_null(strstr(out.p, "so\\040urce /with\\040space tmpfs rw,nosuid,nodev,noexec,noatime,size=64k"));
    strbuf_reset(&out);
    mounts_show(w.ns, &w.fs->root, &out, true);
    assert_non_null(strstr(out.p, " / /with\\040space rw,nosuid,nodev,noexec,noatime - tmpfs so\\040urce rw,size=64k"));
    strbuf_free(&out);
    world_close(&w);
}
