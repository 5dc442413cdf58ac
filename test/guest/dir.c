// SPDX-License-Identifier: Apache-2.0
// Directories: mkdir, rmdir, unlink, reading them while they change, cwd.
#include "gtfs.h"

GT(mkdir_rules)
{
    struct stat st;
    GT_OK(mkdir("md", 0777));
    GT_OK(stat("md", &st));
    GT_EQ(st.st_mode, S_IFDIR | 0755);
    GT_ERR(mkdir("md", 0777), EEXIST);
    GT_ERR(mkdir("md/", 0777), EEXIST);
    GT_ERR(mkdir("md/.", 0777), EEXIST);
    GT_ERR(mkdir("md/..", 0777), EEXIST);
    GT_ERR(mkdir("/", 0777), EEXIST);
    GT_ERR(mkdir("no/such", 0777), ENOENT);
    GT_ERR(mkdir("", 0777), ENOENT);
    GT_OK(mkdir("md2/", 0700)); // a trailing slash is fine here
    GT_OK(mkdir("md3///", 07777));
    GT_OK(stat("md3", &st));
    GT_EQ(st.st_mode & 07777, 01755);
    gtfs_touch("mf");
    GT_ERR(mkdir("mf", 0777), EEXIST);
    GT_ERR(mkdir("mf/x", 0777), ENOTDIR);
    GT_OK(symlink("dangling", "msl"));
    GT_ERR(mkdir("msl", 0777), EEXIST);
}
GT(mkdir_setgid)
{
    struct stat st;
    GT_OK(mkdir("sg", 0755));
    if (chown("sg", -1, 1234) || chmod("sg", 02755))
        GT_SKIP("needs root");
    GT_OK(mkdir("sg/d", 0755));
    GT_OK(stat("sg/d", &st));
    GT_EQ(st.st_gid, 1234);
    GT_EQ(st.st_mode & 07777, 02755);
    gtfs_touch("sg/f");
    GT_OK(stat("sg/f", &st));
    GT_EQ(st.st_gid, 1234);
    GT_EQ(st.st_mode & 07777, 0644);
}
GT(rmdir_rules)
{
    GT_OK(mkdir("rd", 0755));
    GT_OK(mkdir("rd/sub", 0755));
    GT_ERR(rmdir("rd"), ENOTEMPTY);
    GT_ERR(rmdir("rd/sub/."), EINVAL);
    GT_ERR(rmdir("rd/sub/.."), ENOTEMPTY);
    GT_ERR(rmdir("/"), EBUSY);
    GT_ERR(rmdir("rdn"), ENOENT);
    GT_OK(rmdir("rd/sub/"));
    gtfs_touch("rd/f");
    GT_ERR(rmdir("rd/f"), ENOTDIR);
    GT_ERR(rmdir("rd"), ENOTEMPTY);
    GT_OK(unlink("rd/f"));
    GT_OK(rmdir("rd"));
    GT_OK(symlink(".", "rsl"));
    GT_ERR(rmdir("rsl"), ENOTDIR);
}
GT(unlink_rules)
{
    GT_OK(mkdir("ud", 0755));
    GT_ERR(unlink("ud"), EISDIR);
    GT_ERR(unlink("ud/"), EISDIR);
    GT_ERR(unlink("."), EISDIR);
    GT_ERR(unlink("ud/.."), EISDIR);
    GT_ERR(unlink("/"), EISDIR);
    GT_ERR(unlink("un"), ENOENT);
    GT_ERR(unlink("un/"), ENOENT);
    gtfs_touch("uf");
    GT_ERR(unlink("uf/"), ENOTDIR);
    GT_ERR(unlinkat(AT_FDCWD, "uf", 0x10000), EINVAL);
    GT_ERR(unlinkat(AT_FDCWD, "uf", AT_REMOVEDIR), ENOTDIR);
    GT_OK(unlink("uf"));
    GT_OK(symlink("nowhere", "ul"));
    GT_OK(unlink("ul"));
    GT_OK(unlinkat(AT_FDCWD, "ud", AT_REMOVEDIR));
}
GT(dead_directory)
{
    char buf[512];
    struct stat st;
    GT_OK(mkdir("dd", 0755));
    int fd = open("dd", O_RDONLY | O_DIRECTORY);
    GT_OK(chdir("dd"));
    GT_OK(rmdir("../dd"));
    GT_ERR(open("x", O_CREAT | O_RDWR, 0644), ENOENT);
    GT_ERR(mkdir("x", 0755), ENOENT);
    GT_ERR(openat(fd, "x", O_CREAT | O_RDWR, 0644), ENOENT);
    GT_ERR(symlinkat("a", fd, "x"), ENOENT);
    GT_ERR(syscall(SYS_getcwd, buf, sizeof(buf)), ENOENT);
    GT_OK(stat(".", &st));
    GT_EQ(st.st_nlink, 0);
    GT_ERR(syscall(SYS_getdents64, fd, buf, sizeof(buf)), ENOENT);
    GT_OK(chdir(".."));
    GT_TRUE(getcwd(buf, sizeof(buf)));
    GT_STR(buf, gtfs_path);
}
GT(nlink)
{
    struct stat st;
    GT_OK(mkdir("nl", 0755));
    GT_OK(stat("nl", &st));
    GT_EQ(st.st_nlink, 2);
    GT_OK(mkdir("nl/a", 0755));
    GT_OK(mkdir("nl/b", 0755));
    GT_OK(stat("nl", &st));
    GT_EQ(st.st_nlink, 4);
    GT_OK(rename("nl/a", "nla"));
    GT_OK(rmdir("nl/b"));
    GT_OK(stat("nl", &st));
    GT_EQ(st.st_nlink, 2);
}
GT(dir_times)
{
    struct stat a, b;
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    GT_OK(mkdir("dt", 0755));
    GT_OK(utimensat(AT_FDCWD, "dt", old, 0));
    gtfs_touch("dt/x");
    GT_OK(stat("dt", &a));
    GT_TRUE(a.st_mtim.tv_sec > 1000 && a.st_ctim.tv_sec > 1000);
    GT_OK(utimensat(AT_FDCWD, "dt", old, 0));
    GT_OK(unlink("dt/x"));
    GT_OK(stat("dt", &b));
    GT_TRUE(b.st_mtim.tv_sec > 1000);
}
static int count_names(DIR *d, const char *prefix)
{
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        n += !strncmp(e->d_name, prefix, strlen(prefix));
    return n;
}
GT(readdir_all)
{
    char name[64];
    GT_OK(mkdir("ra", 0755));
    for (int i = 0; i < 1000; i++) {
        sprintf(name, "ra/entry-number-%d", i);
        gtfs_touch(name);
    }
    DIR *d = opendir("ra");
    GT_EQ(count_names(d, "entry-"), 1000);
    rewinddir(d);
    GT_EQ(count_names(d, "."), 2);
    rewinddir(d);
    // What stays is seen exactly once, whatever else goes and comes meanwhile.
    int seen[1000] = {0}, steps = 0;
    for (struct dirent *e; (e = readdir(d)); steps++) {
        int i;
        if (sscanf(e->d_name, "entry-number-%d", &i) != 1)
            continue;
        seen[i]++;
        if (steps < 100) {
            sprintf(name, "ra/entry-number-%d", 999 - steps);
            unlink(name);
            sprintf(name, "ra/other-%d", steps);
            gtfs_touch(name);
        }
    }
    for (int i = 0; i < 1000; i++)
        GT_TRUE(i >= 899 ? seen[i] <= 1 : seen[i] == 1);
    closedir(d);
}
GT(telldir_seekdir)
{
    char name[64], first[64];
    GT_OK(mkdir("ts", 0755));
    for (int i = 0; i < 50; i++) {
        sprintf(name, "ts/f%d", i);
        gtfs_touch(name);
    }
    DIR *d = opendir("ts");
    for (int i = 0; i < 20; i++)
        GT_TRUE(readdir(d));
    long pos = telldir(d);
    struct dirent *e = readdir(d);
    GT_TRUE(e);
    strcpy(first, e->d_name);
    while (readdir(d))
        ;
    seekdir(d, pos);
    e = readdir(d);
    GT_TRUE(e);
    GT_STR(e->d_name, first);
}
GT(getdents_details)
{
    char buf[1024];
    GT_OK(mkdir("gd", 0755));
    gtfs_touch("gd/f");
    GT_OK(mkdir("gd/d", 0755));
    GT_OK(symlink("x", "gd/l"));
    GT_OK(mkfifo("gd/p", 0600));
    int fd = open("gd", O_RDONLY);
    GT_ERR(syscall(SYS_getdents64, fd, buf, 8), EINVAL);
    int types = 0, n;
    while ((n = (int)GT_OK(syscall(SYS_getdents64, fd, buf, sizeof(buf)))) > 0)
        for (int o = 0; o < n;) {
            struct dirent64 *e = (void *)(buf + o);
            GT_EQ(e->d_reclen % 8, 0);
            GT_TRUE(e->d_ino != 0);
            switch (e->d_name[0]) {
            case 'f': GT_EQ(e->d_type, DT_REG); types++; break;
            case 'd': GT_EQ(e->d_type, DT_DIR); types++; break;
            case 'l': GT_EQ(e->d_type, DT_LNK); types++; break;
            case 'p': GT_EQ(e->d_type, DT_FIFO); types++; break;
            case '.': GT_EQ(e->d_type, DT_DIR); break;
            }
            o += e->d_reclen;
        }
    GT_EQ(types, 4);
    GT_EQ(syscall(SYS_getdents64, fd, buf, sizeof(buf)), 0);
    GT_EQ(lseek(fd, 0, SEEK_SET), 0);
    GT_TRUE(syscall(SYS_getdents, fd, buf, sizeof(buf)) > 0);
    int f = open("gd/f", O_RDONLY);
    GT_ERR(syscall(SYS_getdents64, f, buf, sizeof(buf)), ENOTDIR);
    struct stat sd, se = {0};
    GT_OK(stat("gd/f", &sd));
    lseek(fd, 0, SEEK_SET);
    n = (int)syscall(SYS_getdents64, fd, buf, sizeof(buf));
    for (int o = 0; o < n; o += ((struct dirent64 *)(buf + o))->d_reclen)
        if (!strcmp(((struct dirent64 *)(buf + o))->d_name, ".."))
            se.st_ino = ((struct dirent64 *)(buf + o))->d_ino;
    GT_OK(stat(".", &sd));
    GT_EQ(se.st_ino, sd.st_ino);
}
GT(cwd)
{
    char buf[512], want[600];
    GT_OK(mkdir("cw", 0755));
    GT_OK(mkdir("cw/in", 0755));
    GT_OK(chdir("cw/in"));
    GT_TRUE(getcwd(buf, sizeof(buf)));
    sprintf(want, "%s/cw/in", gtfs_path);
    GT_STR(buf, want);
    GT_EQ(syscall(SYS_getcwd, buf, sizeof(buf)), (long)strlen(want) + 1);
    GT_ERR(syscall(SYS_getcwd, buf, 3), ERANGE);
    GT_OK(rename("../../cw", "../../cw2"));
    GT_TRUE(getcwd(buf, sizeof(buf)));
    sprintf(want, "%s/cw2/in", gtfs_path);
    GT_STR(buf, want);
    GT_OK(chdir(".."));
    int fd = open("in", O_RDONLY);
    GT_OK(fchdir(fd));
    GT_ERR(chdir("nope"), ENOENT);
    gtfs_touch("f");
    GT_ERR(chdir("f"), ENOTDIR);
    GT_ERR(fchdir(open("f", O_RDONLY)), ENOTDIR);
    GT_ERR(fchdir(99), EBADF);
    GT_OK(symlink("/", "root"));
    GT_OK(chdir("root"));
    GT_TRUE(getcwd(buf, sizeof(buf)));
    GT_STR(buf, "/");
    GT_OK(chdir(".."));
    GT_TRUE(getcwd(buf, sizeof(buf)));
    GT_STR(buf, "/");
}
GT(chroot_jail)
{
    char buf[64];
    GT_OK(mkdir("jail", 0755));
    close(gtfs_file("jail/inside", "in"));
    GT_OK(symlink("/inside", "jail/abs"));
    if (chroot("jail"))
        GT_SKIP("needs root");
    GT_OK(chdir("/"));
    gtfs_is("/inside", "in");
    gtfs_is("/../../inside", "in");
    gtfs_is("/abs", "in");
    GT_TRUE(getcwd(buf, sizeof(buf)));
    GT_STR(buf, "/");
    GT_ERR(open("/tmp", O_RDONLY), ENOENT);
}
GT(chroot_unreachable)
{
    char buf[512];
    GT_OK(mkdir("jail2", 0755));
    GT_OK(mkdir("out", 0755));
    GT_OK(chdir("out"));
    if (chroot("../jail2"))
        GT_SKIP("needs root");
    GT_OK(syscall(SYS_getcwd, buf, sizeof(buf)));
    GT_TRUE(!strncmp(buf, "(unreachable)/", 14));
}
GT(symlink_loops)
{
    char name[32], to[32];
    GT_OK(symlink("loop", "loop"));
    GT_ERR(open("loop", O_RDONLY), ELOOP);
    GT_ERR(open("loop/x", O_RDONLY), ELOOP);
    GT_OK(mkdir("lp", 0755));
    close(gtfs_file("lp/l0", "end"));
    for (int i = 1; i <= 41; i++) {
        sprintf(name, "lp/l%d", i);
        sprintf(to, "l%d", i - 1);
        GT_OK(symlink(to, name));
    }
    gtfs_is("lp/l40", "end");
    GT_ERR(open("lp/l41", O_RDONLY), ELOOP);
    GT_ERR(open("loop", O_CREAT | O_RDWR, 0644), ELOOP);
}
GT(symlink_rules)
{
    char buf[64];
    struct stat st;
    GT_ERR(symlink("", "se"), ENOENT);
    GT_ERR(symlink("x", ""), ENOENT);
    GT_OK(symlink("target-text", "s1"));
    GT_ERR(symlink("y", "s1"), EEXIST);
    GT_ERR(symlink("y", "s2/"), ENOENT);
    GT_EQ(readlink("s1", buf, sizeof(buf)), 11);
    GT_EQ(readlink("s1", buf, 3), 3);
    GT_ERR(readlink("s1", buf, 0), EINVAL);
    GT_ERR(readlink(".", buf, 3), EINVAL);
    GT_ERR(readlinkat(AT_FDCWD, "", buf, 3), ENOENT);
    GT_OK(lstat("s1", &st));
    GT_EQ(st.st_mode, S_IFLNK | 0777);
    GT_EQ(st.st_size, 11);
    GT_ERR(stat("s1", &st), ENOENT);
    GT_ERR(open("s1", O_RDONLY), ENOENT);
    GT_ERR(open("s1", O_RDONLY | O_NOFOLLOW), ELOOP);
    GT_ERR(open("s1", O_RDONLY | O_NOFOLLOW | O_DIRECTORY), ENOTDIR);
    GT_ERR(open("s1", O_CREAT | O_EXCL | O_RDWR, 0644), EEXIST);
    close(GT_OK(open("s1", O_CREAT | O_RDWR, 0644))); // makes the target
    GT_TRUE(gtfs_exists("target-text"));
    GT_ERR(open("s1", O_CREAT | O_NOFOLLOW | O_RDWR, 0644), ELOOP);
    GT_OK(mkdir("sd", 0755));
    GT_OK(symlink("sd", "sdl"));
    GT_OK(lstat("sdl/", &st));
    GT_TRUE(S_ISDIR(st.st_mode));
    GT_OK(lstat("sdl", &st));
    GT_TRUE(S_ISLNK(st.st_mode));
    GT_OK(symlink("sdl", "sdl2"));
    GT_OK(lstat("sdl2/", &st));
    GT_TRUE(S_ISDIR(st.st_mode));
    GT_ERR(lstat("s1/", &st), ENOTDIR);
    GT_ERR(rmdir("sdl/"), ENOTDIR);
    GT_OK(symlink("sd/", "sdl3"));
    GT_OK(open("sdl3/../sdl3/.", O_RDONLY));
    GT_OK(symlink("notyet/", "sls"));
    GT_ERR(open("sls", O_CREAT | O_RDWR, 0644), EISDIR);
}
GT(dotdot_through_symlink)
{
    GT_OK(mkdir("da", 0755));
    GT_OK(mkdir("da/deep", 0755));
    close(gtfs_file("da/f", "in da"));
    GT_OK(symlink("da/deep", "dlink"));
    gtfs_is("dlink/../f", "in da");
}
GT(mknod_kinds)
{
    struct stat st;
    GT_OK(mknod("mk1", S_IFIFO | 0600, 0));
    GT_OK(mknod("mk2", 0644, 0));
    GT_OK(stat("mk2", &st));
    GT_TRUE(S_ISREG(st.st_mode));
    GT_OK(mknod("mk3", S_IFSOCK | 0600, 0));
    GT_ERR(open("mk3", O_RDWR), ENXIO);
    GT_ERR(mknod("mk4", S_IFDIR | 0700, 0), EPERM);
    GT_ERR(mknod("mk4", S_IFLNK | 0700, 0), EINVAL);
    GT_ERR(mknod("mk1", S_IFIFO | 0600, 0), EEXIST);
    GT_ERR(mknod("mk5/", S_IFIFO | 0600, 0), ENOENT);
}
GT_MAIN
