// SPDX-License-Identifier: Apache-2.0
// Permissions: mode bits, sticky and set-id bits, ownership, access(2), read-only mounts.
// Everything here changes user, so root is needed.
#include "gtfs.h"
#include <sys/mount.h>

GT(file_bits)
{
    close(gtfs_file("owner", "x"));
    GT_OK(chmod("owner", 0600));
    close(gtfs_file("group", "x"));
    if (chown("group", 0, 65534))
        GT_SKIP("needs root");
    GT_OK(chmod("group", 0640));
    close(gtfs_file("mine", "x"));
    GT_OK(chown("mine", 65534, 0));
    GT_OK(chmod("mine", 0077)); // the owner's bits count, not the wider ones
    gtfs_be_nobody();
    GT_ERR(open("owner", O_RDONLY), EACCES);
    GT_OK(open("group", O_RDONLY));
    GT_ERR(open("group", O_RDWR), EACCES);
    GT_ERR(open("group", O_RDONLY | O_TRUNC), EACCES);
    GT_ERR(truncate("group", 0), EACCES);
    GT_ERR(open("mine", O_RDONLY), EACCES);
    GT_OK(chmod("mine", 0600));
    GT_OK(open("mine", O_RDWR));
    GT_OK(open("owner", O_PATH)); // no permission of the file is needed for that
}
GT(dir_bits)
{
    GT_OK(mkdir("nox", 0744));
    gtfs_touch("nox/f");
    GT_OK(mkdir("nor", 0711));
    gtfs_touch("nor/f");
    GT_OK(mkdir("now", 0755));
    gtfs_touch("now/f");
    gtfs_be_nobody();
    GT_ERR(open("nox/f", O_RDONLY), EACCES);
    GT_ERR(open("nox/missing", O_RDONLY), EACCES);
    GT_OK(open("nox", O_RDONLY));
    GT_OK(open("nor/f", O_RDONLY));
    GT_ERR(open("nor", O_RDONLY), EACCES);
    GT_ERR(open("now/new", O_CREAT | O_RDWR, 0644), EACCES);
    GT_ERR(unlink("now/f"), EACCES);
    GT_ERR(unlink("now/missing"), ENOENT);
    GT_ERR(mkdir("now/f", 0755), EEXIST);
    GT_ERR(mkdir("now/d", 0755), EACCES);
    GT_ERR(symlink("a", "now/s"), EACCES);
    GT_ERR(rename("now/f", "now/g"), EACCES);
    GT_ERR(chdir("nox"), EACCES);
}
GT(sticky)
{
    GT_OK(mkdir("st", 0777));
    GT_OK(chmod("st", 01777));
    gtfs_touch("st/theirs");
    GT_OK(chmod("st/theirs", 0666));
    gtfs_be_nobody();
    gtfs_touch("st/mine");
    GT_ERR(unlink("st/theirs"), EPERM);
    GT_ERR(rename("st/theirs", "st/x"), EPERM);
    GT_ERR(rename("st/mine", "st/theirs"), EPERM);
    GT_OK(rename("st/mine", "st/mine2"));
    GT_OK(unlink("st/mine2"));
    int fd = open("st/theirs", O_RDWR);
    GT_OK(fd);
}
GT(chmod_chown)
{
    struct stat st;
    gtfs_touch("theirs");
    gtfs_touch("mine");
    if (chown("mine", 65534, 65534))
        GT_SKIP("needs root");
    gtfs_be_nobody();
    GT_ERR(chmod("theirs", 0777), EPERM);
    GT_ERR(chown("theirs", 65534, -1), EPERM);
    GT_OK(chmod("mine", 06755));
    GT_OK(stat("mine", &st));
    GT_EQ(st.st_mode & 07777, 06755);
    GT_ERR(chown("mine", 0, -1), EPERM);
    GT_ERR(chown("mine", -1, 0), EPERM);
    GT_OK(chown("mine", 65534, 65534)); // allowed, and takes the set-id bits
    GT_OK(stat("mine", &st));
    GT_EQ(st.st_mode & 07777, 0755);
    struct timespec t[2] = {{1, 0}, {1, 0}};
    GT_ERR(utimensat(AT_FDCWD, "theirs", t, 0), EPERM);
    GT_ERR(utimensat(AT_FDCWD, "theirs", NULL, 0), EACCES);
    GT_OK(utimensat(AT_FDCWD, "mine", t, 0));
    GT_ERR(open("theirs", O_RDONLY | O_NOATIME), EPERM);
    GT_OK(open("mine", O_RDONLY | O_NOATIME));
}
GT(touch_with_write_permission)
{
    gtfs_touch("w");
    GT_OK(chmod("w", 0666));
    gtfs_be_nobody();
    GT_OK(utimensat(AT_FDCWD, "w", NULL, 0));
    struct timespec t[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
    GT_ERR(utimensat(AT_FDCWD, "w", t, 0), EPERM);
}
GT(sgid_stripped_on_chmod)
{
    struct stat st;
    gtfs_touch("sg");
    if (chown("sg", 65534, 0))
        GT_SKIP("needs root");
    gtfs_be_nobody();
    GT_OK(chmod("sg", 02755)); // group is not ours
    GT_OK(stat("sg", &st));
    GT_EQ(st.st_mode & 07777, 0755);
}
GT(sgid_stripped_on_create)
{
    struct stat st;
    GT_OK(mkdir("sgd", 0777));
    if (chown("sgd", 0, 1000))
        GT_SKIP("needs root");
    GT_OK(chmod("sgd", 02777));
    gtfs_be_nobody();
    umask(0);
    GT_OK(open("sgd/f", O_CREAT | O_RDWR, 02775));
    GT_OK(stat("sgd/f", &st));
    GT_EQ(st.st_gid, 1000);
    GT_EQ(st.st_mode & 07777, 0775);
}
GT(access_uses_real_ids)
{
    gtfs_touch("ac");
    GT_OK(chmod("ac", 0600));
    GT_OK(access("ac", R_OK | W_OK));
    GT_ERR(access("ac", X_OK), EACCES); // not even root without an x bit
    GT_ERR(access("ac", 8), EINVAL);
    GT_ERR(access("acn", F_OK), ENOENT);
    if (getuid() != 0)
        GT_SKIP("needs root");
    GT_OK(setresuid(65534, 0, 0));
    GT_ERR(access("ac", R_OK), EACCES);
    GT_OK(faccessat(AT_FDCWD, "ac", R_OK, AT_EACCESS));
    GT_OK(open("ac", O_RDONLY));
    GT_OK(access("ac", F_OK));
}
GT(root_overrides)
{
    gtfs_touch("ro");
    GT_OK(chmod("ro", 0));
    if (getuid() != 0)
        GT_SKIP("needs root");
    GT_OK(open("ro", O_RDWR));
    GT_OK(mkdir("rod", 0));
    gtfs_touch("rod/f");
}
GT(exec_permission)
{
    close(gtfs_file("sh", "#!/bin/true\n"));
    GT_OK(chmod("sh", 0644));
    char *argv[] = {"sh", 0};
    GT_ERR(execv("./sh", argv), EACCES);
    GT_ERR(execv(".", argv), EACCES);
    GT_ERR(execv("./shn", argv), ENOENT);
}
GT(readonly_mount)
{
    struct stat st;
    GT_OK(mkdir("rom", 0755));
    if (mount("none", "rom", "tmpfs", 0, "mode=755"))
        GT_SKIP("cannot mount");
    close(gtfs_file("rom/f", "x"));
    GT_OK(mkdir("rom/d", 0755));
    GT_OK(mount(NULL, "rom", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    GT_ERR(open("rom/f", O_RDWR), EROFS);
    GT_ERR(open("rom/f", O_RDONLY | O_TRUNC), EROFS);
    GT_OK(open("rom/f", O_RDONLY | O_CREAT, 0644));
    GT_ERR(open("rom/g", O_RDONLY | O_CREAT, 0644), EROFS);
    GT_ERR(unlink("rom/f"), EROFS);
    GT_ERR(mkdir("rom/x", 0755), EROFS);
    GT_ERR(mkdir("rom/d", 0755), EEXIST);
    GT_ERR(rmdir("rom/d"), EROFS);
    GT_ERR(rename("rom/f", "rom/g"), EROFS);
    GT_ERR(symlink("x", "rom/s"), EROFS);
    GT_ERR(chmod("rom/f", 0600), EROFS);
    GT_ERR(chown("rom/f", 1, 1), EROFS);
    GT_ERR(truncate("rom/f", 0), EROFS);
    GT_ERR(utimensat(AT_FDCWD, "rom/f", NULL, 0), EROFS);
    GT_ERR(access("rom/f", W_OK), EROFS);
    GT_OK(access("rom/f", R_OK));
    GT_ERR(link("rom/f", "rom/h"), EROFS);
    GT_OK(mount(NULL, "rom", NULL, MS_REMOUNT, NULL));
    GT_OK(open("rom/f", O_RDWR));
    // A read-only bind beside a writable original.
    GT_OK(mkdir("bind", 0755));
    GT_OK(mount("rom", "bind", NULL, MS_BIND, NULL));
    GT_OK(mount(NULL, "bind", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    GT_ERR(open("bind/f", O_RDWR), EROFS);
    GT_OK(open("rom/f", O_RDWR));
    GT_ERR(rmdir("bind"), EBUSY);
    GT_ERR(rename("bind", "bind2"), EBUSY);
    GT_ERR(rename("rom/f", "bind/g"), EXDEV);
    GT_ERR(umount("nix"), ENOENT);
    GT_ERR(umount("rom/d"), EINVAL);
    GT_OK(umount("bind"));
    int busy = open("rom/d", O_RDONLY);
    GT_OK(close(open("rom/f", O_RDONLY)));
    GT_ERR(umount("rom"), EBUSY);
    GT_OK(umount2("rom", MNT_DETACH));
    GT_OK(fstatat(busy, "../f", &st, 0)); // lives on until the last user
    GT_TRUE(!gtfs_exists("rom/f"));
    GT_OK(rmdir("rom"));
}
GT_MAIN
