// SPDX-License-Identifier: Apache-2.0
// Extended attributes.
#include "gtfs.h"
#include <sys/xattr.h>

static void need_user_xattr(const char *name)
{
    if (setxattr(name, "user.probe", "", 0, 0) && errno == EOPNOTSUPP)
        GT_SKIP("no user.* attributes here");
    GT_OK(removexattr(name, "user.probe"));
}
GT(user)
{
    char b[64];
    gtfs_touch("u");
    need_user_xattr("u");
    GT_OK(setxattr("u", "user.one", "value", 5, 0));
    GT_EQ(getxattr("u", "user.one", b, sizeof(b)), 5);
    GT_EQ(memcmp(b, "value", 5), 0);
    GT_EQ(getxattr("u", "user.one", NULL, 0), 5);
    GT_ERR(getxattr("u", "user.one", b, 3), ERANGE);
    GT_ERR(getxattr("u", "user.two", b, 3), ENODATA);
    GT_ERR(setxattr("u", "user.one", "x", 1, XATTR_CREATE), EEXIST);
    GT_ERR(setxattr("u", "user.two", "x", 1, XATTR_REPLACE), ENODATA);
    GT_OK(setxattr("u", "user.one", "longer than before", 18, XATTR_REPLACE));
    GT_EQ(getxattr("u", "user.one", b, sizeof(b)), 18);
    GT_OK(setxattr("u", "user.empty", "", 0, XATTR_CREATE));
    GT_EQ(getxattr("u", "user.empty", b, sizeof(b)), 0);
    GT_OK(removexattr("u", "user.one"));
    GT_ERR(removexattr("u", "user.one"), ENODATA);
    GT_ERR(setxattr("u", "user.x", "y", 1, 8), EINVAL);
}
GT(names)
{
    char n[300];
    gtfs_touch("n");
    need_user_xattr("n");
    GT_ERR(setxattr("n", "", "x", 1, 0), ERANGE);
    GT_ERR(setxattr("n", "noprefix", "x", 1, 0), EOPNOTSUPP);
    GT_ERR(getxattr("n", "noprefix", NULL, 0), EOPNOTSUPP);
    GT_ERR(setxattr("n", "user.", "x", 1, 0), EINVAL);
    memset(n, 'a', sizeof(n));
    memcpy(n, "user.", 5);
    n[256] = 0;
    GT_ERR(setxattr("n", n, "x", 1, 0), ERANGE);
    n[255] = 0;
    GT_OK(setxattr("n", n, "x", 1, 0));
    static char big[70000];
    GT_ERR(setxattr("n", "user.big", big, 65537, 0), E2BIG);
    GT_ERR(setxattr("nn", "user.a", "x", 1, 0), ENOENT);
}
GT(list)
{
    char b[256];
    gtfs_touch("l");
    need_user_xattr("l");
    GT_OK(setxattr("l", "user.aa", "1", 1, 0));
    GT_OK(setxattr("l", "user.b", "1", 1, 0));
    long n = listxattr("l", b, sizeof(b));
    GT_OK(n);
    GT_EQ(listxattr("l", NULL, 0), n);
    GT_ERR(listxattr("l", b, 3), ERANGE);
    int found = 0;
    for (long o = 0; o < n; o += (long)strlen(b + o) + 1)
        found += !strcmp(b + o, "user.aa") + !strcmp(b + o, "user.b");
    GT_EQ(found, 2);
}
GT(fd_and_link)
{
    char b[16];
    int fd = gtfs_file("f", "x");
    need_user_xattr("f");
    GT_OK(symlink("f", "fl"));
    GT_OK(fsetxattr(fd, "user.k", "v", 1, 0));
    GT_EQ(getxattr("fl", "user.k", b, sizeof(b)), 1);
    GT_ERR(lsetxattr("fl", "user.k", "v", 1, 0), EPERM);
    GT_ERR(lgetxattr("fl", "user.k", b, sizeof(b)), ENODATA);
    GT_EQ(fgetxattr(fd, "user.k", b, sizeof(b)), 1);
    GT_TRUE(flistxattr(fd, b, sizeof(b)) >= 7);
    GT_OK(fremovexattr(fd, "user.k"));
    GT_ERR(fgetxattr(99, "user.k", b, sizeof(b)), EBADF);
    int p = open("f", O_PATH);
    GT_ERR(fgetxattr(p, "user.k", b, sizeof(b)), EBADF);
}
GT(survives_rename)
{
    char b[8];
    gtfs_touch("sr");
    need_user_xattr("sr");
    GT_OK(setxattr("sr", "user.k", "v", 1, 0));
    GT_OK(rename("sr", "sr2"));
    GT_EQ(getxattr("sr2", "user.k", b, sizeof(b)), 1);
}
GT(permissions)
{
    char b[8];
    gtfs_touch("p");
    need_user_xattr("p");
    GT_OK(mkfifo("pf", 0666));
    GT_ERR(setxattr("pf", "user.k", "v", 1, 0), EPERM);
    if (getuid() == 0) {
        GT_OK(setxattr("p", "trusted.t", "v", 1, 0));
        GT_EQ(getxattr("p", "trusted.t", b, sizeof(b)), 1);
    }
    GT_OK(setxattr("p", "user.k", "v", 1, 0));
    GT_OK(chmod("p", 0644));
    gtfs_be_nobody();
    GT_EQ(getxattr("p", "user.k", b, sizeof(b)), 1);
    GT_ERR(setxattr("p", "user.k", "v", 1, 0), EACCES);
    GT_ERR(getxattr("p", "trusted.t", b, sizeof(b)), ENODATA);
    GT_ERR(setxattr("p", "trusted.t", "v", 1, 0), EPERM);
}
GT_MAIN
