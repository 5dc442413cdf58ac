// SPDX-License-Identifier: Apache-2.0
// Hard links.
#include "gtfs.h"

GT(basic)
{
    struct stat a, b;
    int fd = gtfs_file("a", "text");
    GT_OK(link("a", "b"));
    GT_OK(stat("a", &a));
    GT_OK(stat("b", &b));
    GT_EQ(a.st_ino, b.st_ino);
    GT_EQ(a.st_nlink, 2);
    GT_EQ(pwrite(fd, "T", 1, 0), 1);
    gtfs_is("b", "Text");
    GT_OK(unlink("a"));
    GT_OK(fstat(fd, &a));
    GT_EQ(a.st_nlink, 1);
    GT_OK(unlink("b"));
    GT_OK(fstat(fd, &a));
    GT_EQ(a.st_nlink, 0);
}
GT(errors)
{
    gtfs_touch("e");
    GT_OK(mkdir("d", 0755));
    GT_ERR(link("e", "e"), EEXIST);
    GT_ERR(link("e", "d"), EEXIST);
    GT_ERR(link("nope", "x"), ENOENT);
    GT_ERR(link("e", "nope/x"), ENOENT);
    GT_ERR(link("e", "x/"), ENOENT);
    GT_ERR(link("e/", "x"), ENOTDIR);
    GT_ERR(link("d", "x"), EPERM);
    GT_ERR(link("e", ""), ENOENT);
    GT_ERR(link("", "x"), ENOENT);
    GT_ERR(linkat(AT_FDCWD, "e", AT_FDCWD, "x", 0x8000), EINVAL);
}
GT(of_symlink)
{
    struct stat st;
    gtfs_touch("t");
    GT_OK(symlink("t", "s"));
    GT_OK(link("s", "s2")); // the link itself
    GT_OK(lstat("s2", &st));
    GT_TRUE(S_ISLNK(st.st_mode));
    GT_EQ(st.st_nlink, 2);
    GT_OK(linkat(AT_FDCWD, "s", AT_FDCWD, "t2", AT_SYMLINK_FOLLOW));
    GT_OK(lstat("t2", &st));
    GT_TRUE(S_ISREG(st.st_mode));
}
GT(special_files)
{
    struct stat st;
    GT_OK(mkfifo("ff", 0600));
    GT_OK(link("ff", "ff2"));
    GT_OK(stat("ff2", &st));
    GT_TRUE(S_ISFIFO(st.st_mode));
    GT_EQ(st.st_nlink, 2);
}
GT(ctime)
{
    struct stat a, b;
    gtfs_touch("c");
    GT_OK(stat("c", &a));
    usleep(20000);
    GT_OK(link("c", "c2"));
    GT_OK(stat("c", &b));
    GT_TRUE(b.st_ctim.tv_sec > a.st_ctim.tv_sec || b.st_ctim.tv_nsec > a.st_ctim.tv_nsec);
    GT_EQ(b.st_mtim.tv_nsec, a.st_mtim.tv_nsec);
}
GT(empty_path)
{
    int fd = gtfs_file("ep", "x");
    if (getuid() == 0) {
        GT_OK(linkat(fd, "", AT_FDCWD, "ep2", AT_EMPTY_PATH));
        GT_TRUE(gtfs_exists("ep2"));
    }
    GT_ERR(linkat(fd, "", AT_FDCWD, "ep3", 0), ENOENT);
}
GT_MAIN
