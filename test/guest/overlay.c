// SPDX-License-Identifier: Apache-2.0
// overlay by mount(2): a tmpfs holds lower, upper and work directories. Each test gets a fresh one,
// in a mount namespace of its own.
#include "gt.h"
#include <dirent.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

static void put(const char *p, const char *text, int flags)
{
    int fd = GT_OK(open(p, O_WRONLY | O_CREAT | flags, 0644));
    GT_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}
static char *get(const char *p)
{
    static char buf[4096];
    int fd = GT_OK(open(p, O_RDONLY));
    ssize_t n = GT_OK(read(fd, buf, sizeof(buf) - 1));
    buf[n] = 0;
    close(fd);
    return buf;
}
static int count(const char *p)
{
    DIR *d = opendir(p);
    int n = 0;
    GT_TRUE(d);
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}
static struct stat st(const char *p)
{
    struct stat s;
    GT_OK(lstat(p, &s));
    return s;
}
static int gone(const char *p)
{
    struct stat s;
    return lstat(p, &s) < 0 && errno == ENOENT;
}
// lower: a "lower", d/{x,y,sub/deep}, h1 = h2 "hard", s -> a, empty/, big (100 KiB), exe
static void lower_fill(void)
{
    put("lower/a", "lower", 0);
    GT_OK(mkdir("lower/d", 0755));
    put("lower/d/x", "x", 0);
    put("lower/d/y", "y", 0);
    GT_OK(mkdir("lower/d/sub", 0755));
    put("lower/d/sub/deep", "deep", 0);
    put("lower/h1", "hard", 0);
    GT_OK(link("lower/h1", "lower/h2"));
    GT_OK(symlink("a", "lower/s"));
    GT_OK(mkdir("lower/empty", 0755));
    char big[102400];
    memset(big, 'b', sizeof(big));
    int fd = GT_OK(open("lower/big", O_WRONLY | O_CREAT, 0644));
    GT_EQ(write(fd, big, sizeof(big)), sizeof(big));
    close(fd);
    GT_OK(mkfifo("lower/fifo", 0640));
    GT_OK(mkdir("low2", 0755));
    put("low2/a", "covered", 0);
    put("low2/only2", "two", 0);
    GT_OK(mkdir("low2/d", 0755));
    put("low2/d/z", "z", 0);
}
static void setup(void)
{
    char dir[4096];
    const char *top = getenv("GT_DIR"); // removed by who runs us: we cannot, it is mounted on
    snprintf(dir, sizeof(dir), "%s/ovl-XXXXXX", top ? top : "/tmp");
    if (unshare(CLONE_NEWNS) < 0)
        GT_SKIP("no mount namespace");
    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    GT_TRUE(mkdtemp(dir));
    if (mount("tmpfs", dir, "tmpfs", 0, "") < 0)
        GT_SKIP("no tmpfs");
    GT_OK(chdir(dir));
    umask(022);
    GT_OK(mkdir("lower", 0755));
    GT_OK(mkdir("upper", 0755));
    GT_OK(mkdir("work", 0755));
    GT_OK(mkdir("m", 0755));
    lower_fill();
    if (mount("overlay", "m", "overlay", 0,
              "lowerdir=lower:low2,upperdir=upper,workdir=work,redirect_dir=on,index=on") < 0)
        GT_SKIP("no overlay");
    GT_OK(chdir("m"));
}

GT(overlay_shows_layers)
{
    setup();
    GT_STR(get("a"), "lower");
    GT_STR(get("only2"), "two");
    GT_STR(get("d/z"), "z");
    GT_STR(get("s"), "lower");
    GT_EQ(count("d"), 4);
    GT_EQ(count("."), 9);
    struct statfs f;
    GT_OK(statfs(".", &f));
    GT_EQ(f.f_type, 0x794c7630);
    GT_EQ(st("a").st_dev, st("d").st_dev);
    GT_ERR(open("a/b", O_RDONLY), ENOTDIR);
    GT_ERR(open("nope", O_RDONLY), ENOENT);
}
GT(overlay_copy_up_by_write)
{
    setup();
    ino_t ino = st("a").st_ino;
    put("a", "+", O_APPEND);
    GT_STR(get("a"), "lower+");
    GT_STR(get("../upper/a"), "lower+");
    GT_STR(get("../lower/a"), "lower");
    GT_EQ(st("a").st_ino, ino);
    put("d/sub/deep", "new", O_TRUNC);
    GT_STR(get("d/sub/deep"), "new");
    GT_STR(get("../lower/d/sub/deep"), "deep");
    GT_EQ(st("d/sub/deep").st_size, 3);
    GT_TRUE(gone("../upper/d/x"));
    int fd = GT_OK(open("big", O_RDWR));
    GT_EQ(pwrite(fd, "!", 1, 50000), 1);
    char c[3];
    GT_EQ(pread(fd, c, 3, 49999), 3);
    GT_EQ(memcmp(c, "b!b", 3), 0);
    GT_EQ(st("big").st_size, 102400);
    close(fd);
}
GT(overlay_copy_up_by_attributes)
{
    setup();
    struct stat before = st("d/x");
    GT_OK(chmod("d/x", 0600));
    GT_EQ(st("d/x").st_mode, S_IFREG | 0600);
    GT_EQ(st("d/x").st_mtime, before.st_mtime);
    GT_EQ(st("d/x").st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    GT_STR(get("d/x"), "x");
    GT_OK(chown("d/y", 12, 34));
    GT_EQ(st("d/y").st_uid, 12);
    GT_EQ(st("d/y").st_gid, 34);
    struct timespec ts[2] = {{1000, 5}, {2000, 6}};
    GT_OK(utimensat(AT_FDCWD, "a", ts, 0));
    GT_EQ(st("a").st_mtime, 2000);
    GT_EQ(st("a").st_mtim.tv_nsec, 6);
    GT_OK(utimensat(AT_FDCWD, "s", ts, AT_SYMLINK_NOFOLLOW));
    GT_EQ(st("s").st_mtime, 2000);
    char t[8] = "";
    GT_EQ(readlink("s", t, 8), 1);
    GT_OK(truncate("big", 10));
    GT_EQ(st("big").st_size, 10);
    GT_STR(get("big"), "bbbbbbbbbb");
    GT_OK(chmod("d", 0700));
    GT_EQ(st("d").st_mode, S_IFDIR | 0700);
    GT_EQ(count("d"), 4);
    GT_OK(chmod("fifo", 0600));
    GT_EQ(st("fifo").st_mode, S_IFIFO | 0600);
}
GT(overlay_parent_times_survive_copy_up)
{
    setup();
    struct stat before = st("d");
    usleep(20000);
    GT_OK(chmod("d/x", 0600));
    GT_EQ(st("d").st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    put("d/new", "", 0);
    GT_TRUE(st("d").st_mtim.tv_nsec != before.st_mtim.tv_nsec);
}
GT(overlay_whiteouts)
{
    setup();
    GT_OK(unlink("a"));
    GT_TRUE(gone("a"));
    GT_ERR(unlink("a"), ENOENT);
    GT_EQ(count("."), 8);
    struct stat w = st("../upper/a");
    GT_TRUE(S_ISCHR(w.st_mode) && w.st_rdev == 0);
    put("a", "fresh", O_EXCL);
    GT_STR(get("a"), "fresh");
    GT_STR(get("../lower/a"), "lower");
    GT_OK(unlink("a"));
    GT_OK(mkdir("a", 0755));
    GT_EQ(count("a"), 0);
    GT_OK(rmdir("a"));
    GT_OK(symlink("only2", "a"));
    GT_STR(get("a"), "two");
    GT_OK(unlink("only2"));
    GT_TRUE(gone("only2"));
}
GT(overlay_rmdir_and_opaque)
{
    setup();
    GT_ERR(rmdir("d"), ENOTEMPTY);
    GT_OK(unlink("d/x"));
    GT_OK(unlink("d/y"));
    GT_OK(unlink("d/z"));
    GT_OK(unlink("d/sub/deep"));
    GT_ERR(rmdir("d"), ENOTEMPTY);
    GT_OK(rmdir("d/sub"));
    GT_EQ(count("d"), 0);
    GT_OK(rmdir("d"));
    GT_TRUE(gone("d"));
    GT_OK(mkdir("d", 0755));
    GT_EQ(count("d"), 0);
    GT_TRUE(gone("d/x"));
    put("d/x", "anew", O_EXCL);
    GT_STR(get("d/x"), "anew");
    GT_EQ(count("d"), 1);
    GT_OK(rmdir("empty"));
    GT_TRUE(gone("empty"));
}
static void rm_tree(int dirfd, const char *name)
{
    int fd = GT_OK(openat(dirfd, name, O_RDONLY | O_DIRECTORY));
    DIR *d = fdopendir(dup(fd));
    GT_TRUE(d);
    for (struct dirent *e; (e = readdir(d));) { // removing while reading, as rm -r does
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        struct stat s;
        GT_OK(fstatat(fd, e->d_name, &s, AT_SYMLINK_NOFOLLOW));
        GT_EQ(s.st_ino, e->d_ino);
        if (S_ISDIR(s.st_mode))
            rm_tree(fd, e->d_name);
        else
            GT_OK(unlinkat(fd, e->d_name, 0));
    }
    closedir(d);
    close(fd);
    GT_OK(unlinkat(dirfd, name, AT_REMOVEDIR));
}
GT(overlay_rm_r)
{
    setup();
    put("d/sub/more", "", 0);
    GT_OK(mkdir("d/sub/dir", 0755));
    for (int i = 0; i < 200; i++) {
        char p[64];
        snprintf(p, sizeof(p), "d/sub/dir/file-%d", i);
        put(p, p, 0);
    }
    GT_OK(chmod("d/y", 0600));
    rm_tree(AT_FDCWD, "d");
    GT_TRUE(gone("d"));
    GT_STR(get("../lower/d/sub/deep"), "deep");
}
GT(overlay_rename_files)
{
    setup();
    ino_t ino = st("a").st_ino;
    GT_OK(rename("a", "b"));
    GT_TRUE(gone("a"));
    GT_STR(get("b"), "lower");
    GT_EQ(st("b").st_ino, ino);
    GT_OK(rename("b", "d/sub/c"));
    GT_STR(get("d/sub/c"), "lower");
    GT_OK(rename("d/x", "d/y"));
    GT_STR(get("d/y"), "x");
    GT_TRUE(gone("d/x"));
    GT_OK(rename("d/sub/c", "a"));
    GT_STR(get("a"), "lower");
    GT_OK(rename("s", "d/s"));
    GT_TRUE(S_ISLNK(st("d/s").st_mode));
    GT_OK(rename("fifo", "f2"));
    GT_ERR(rename("f2", "d"), EISDIR);
    GT_ERR(rename("d", "a"), ENOTDIR);
    GT_ERR(rename("d", "d/sub/d"), EINVAL);
    GT_ERR(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "big", RENAME_NOREPLACE), EEXIST);
    GT_OK(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "only2", RENAME_EXCHANGE));
    GT_STR(get("a"), "two");
    GT_STR(get("only2"), "lower");
    GT_OK(rename("h1", "h2")); // the same file: nothing happens
    GT_STR(get("h1"), "hard");
}
GT(overlay_rename_directories)
{
    setup();
    ino_t ino = st("d").st_ino;
    GT_OK(rename("d", "e"));
    GT_TRUE(gone("d"));
    GT_STR(get("e/sub/deep"), "deep");
    GT_STR(get("e/z"), "z");
    GT_EQ(count("e"), 4);
    GT_EQ(st("e").st_ino, ino);
    put("e/x", "X", O_TRUNC);
    GT_OK(mkdir("n", 0755));
    GT_OK(rename("e/sub", "n/sub"));
    GT_STR(get("n/sub/deep"), "deep");
    GT_EQ(count("e"), 3);
    GT_OK(rename("e", "n/sub/e"));
    GT_STR(get("n/sub/e/x"), "X");
    GT_STR(get("n/sub/e/y"), "y");
    GT_OK(mkdir("d", 0755)); // where a lower one was
    GT_EQ(count("d"), 0);
    GT_OK(rename("n/sub/e", "d"));
    GT_STR(get("d/z"), "z");
    GT_ERR(rename("d", "n"), ENOTEMPTY);
    GT_OK(rename("n/sub", "empty")); // over an empty lower one
    GT_STR(get("empty/deep"), "deep");
    GT_OK(syscall(SYS_renameat2, AT_FDCWD, "d", AT_FDCWD, "empty", RENAME_EXCHANGE));
    GT_STR(get("d/deep"), "deep");
    GT_STR(get("empty/y"), "y");
    GT_OK(mkdir("pure", 0755));
    put("pure/p", "p", 0);
    rm_tree(AT_FDCWD, "d");
    GT_OK(rename("pure", "d")); // a new directory under a name that the lower layer knows
    GT_EQ(count("d"), 1);
    GT_STR(get("d/p"), "p");
}
GT(overlay_survives_remount)
{
    setup();
    put("d/x", "changed", O_TRUNC);
    GT_OK(unlink("d/y"));
    GT_OK(rename("d", "e"));
    GT_OK(mkdir("d", 0755));
    GT_OK(rename("a", "b"));
    ino_t dir = st("e").st_ino, file = st("b").st_ino;
    GT_OK(chdir(".."));
    GT_OK(umount("m"));
    GT_OK(mount("overlay", "m", "overlay", 0,
                "lowerdir=lower:low2,upperdir=upper,workdir=work,redirect_dir=on,index=on"));
    GT_OK(chdir("m"));
    GT_STR(get("e/x"), "changed");
    GT_TRUE(gone("e/y"));
    GT_STR(get("e/sub/deep"), "deep");
    GT_EQ(count("d"), 0);
    GT_TRUE(gone("a"));
    GT_STR(get("b"), "lower");
    GT_EQ(st("e").st_ino, dir);
    GT_EQ(st("b").st_ino, file);
}
GT(overlay_open_across_copy_up)
{
    setup();
    int r = GT_OK(open("a", O_RDONLY)), w = GT_OK(open("a", O_RDWR | O_APPEND));
    char b[16] = "";
    GT_EQ(write(w, "+", 1), 1);
    GT_EQ(pread(r, b, 16, 0), 6); // the older descriptor sees the copy
    GT_EQ(memcmp(b, "lower+", 6), 0);
    struct stat a, c;
    GT_OK(fstat(r, &a));
    GT_OK(fstat(w, &c));
    GT_EQ(a.st_ino, c.st_ino);
    GT_EQ(a.st_size, 6);
    GT_OK(unlink("a"));
    GT_OK(fstat(r, &a));
    GT_EQ(a.st_nlink, 0);
    GT_EQ(pread(w, b, 16, 0), 6);
    // A lower file that is removed while open.
    int d = GT_OK(open("d/x", O_RDONLY));
    GT_OK(unlink("d/x"));
    GT_EQ(read(d, b, 16), 1);
    if (fchmod(d, 0640) == 0) { // (Linux with index=on cannot)
        GT_OK(fstat(d, &a));
        GT_EQ(a.st_mode, S_IFREG | 0640);
    }
    GT_TRUE(gone("d/x"));
}
GT(overlay_mapping_stays_valid)
{
    setup();
    int fd = GT_OK(open("big", O_RDONLY));
    char *p = mmap(NULL, 102400, PROT_READ, MAP_PRIVATE, fd, 0);
    GT_TRUE(p != MAP_FAILED);
    close(fd);
    GT_EQ(p[0], 'b');
    GT_OK(truncate("big", 1));
    GT_OK(unlink("big"));
    GT_EQ(p[99999], 'b');
    fd = GT_OK(open("a", O_RDWR));
    char *q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    GT_TRUE(q != MAP_FAILED);
    q[0] = 'L';
    GT_OK(msync(q, 4096, MS_SYNC));
    GT_STR(get("a"), "Lower");
    GT_EQ(pwrite(fd, "W", 1, 2), 1);
    GT_EQ(q[2], 'W');
}
GT(overlay_hard_links)
{
    setup();
    GT_EQ(st("h1").st_ino, st("h2").st_ino);
    GT_EQ(st("h1").st_nlink, 2);
    put("h1", "er", O_APPEND);
    GT_STR(get("h2"), "harder");
    GT_EQ(st("h1").st_ino, st("h2").st_ino);
    GT_OK(link("h2", "d/h3"));
    GT_EQ(st("h1").st_nlink, 3);
    GT_OK(unlink("h1"));
    GT_EQ(st("h2").st_nlink, 2);
    put("d/h3", "x", O_TRUNC);
    GT_STR(get("h2"), "x");
    GT_OK(unlink("h2"));
    GT_EQ(st("d/h3").st_nlink, 1);
    GT_OK(link("a", "a2"));
    GT_EQ(st("a").st_nlink, 2);
    put("a2", "!", O_APPEND);
    GT_STR(get("a"), "lower!");
    GT_ERR(link("d", "d2"), EPERM);
    GT_ERR(link("a", "a2"), EEXIST);
}
GT(overlay_big_directory)
{
    setup();
    for (int i = 0; i < 1000; i++) {
        char p[64];
        snprintf(p, sizeof(p), "d/file-%d", i);
        int fd = GT_OK(open(p, O_WRONLY | O_CREAT | O_EXCL, 0600));
        close(fd);
    }
    GT_EQ(count("d"), 1004);
    DIR *d = opendir("d");
    GT_TRUE(d);
    long at = 0;
    char name[256] = "";
    for (int i = 0; i < 500; i++) {
        at = telldir(d);
        struct dirent *e = readdir(d);
        GT_TRUE(e);
        strcpy(name, e->d_name);
    }
    GT_OK(unlink("d/file-3")); // does not move what is still to come
    seekdir(d, at);
    struct dirent *e = readdir(d);
    GT_TRUE(e);
    GT_STR(e->d_name, name);
    int left = 0;
    while (readdir(d))
        left++;
    GT_TRUE(left >= 504 && left <= 506);
    rewinddir(d);
    int n = 0;
    while (readdir(d))
        n++;
    GT_EQ(n, 1005);
    closedir(d);
}
GT(overlay_xattrs)
{
    setup();
    char b[256];
    if (setxattr("d/x", "trusted.mine", "v", 1, 0) < 0)
        GT_SKIP("no trusted attributes");
    GT_EQ(getxattr("d/x", "trusted.mine", b, sizeof(b)), 1);
    ssize_t n = GT_OK(listxattr("d/x", b, sizeof(b)));
    for (ssize_t i = 0; i < n; i += (ssize_t)strlen(b + i) + 1)
        GT_TRUE(strncmp(b + i, "trusted.overlay.", 16));
    GT_OK(removexattr("d/x", "trusted.mine"));
    GT_ERR(getxattr("d/x", "trusted.mine", b, sizeof(b)), ENODATA);
    GT_ERR(removexattr("d/y", "trusted.none"), ENODATA);
    GT_TRUE(gone("../upper/d/y"));
}
GT(overlay_tmpfile_and_special)
{
    setup();
    int fd = GT_OK(open("d", O_TMPFILE | O_RDWR, 0600));
    GT_EQ(write(fd, "t", 1), 1);
    char p[64];
    snprintf(p, sizeof(p), "/proc/self/fd/%d", fd);
    GT_OK(linkat(AT_FDCWD, p, AT_FDCWD, "d/linked", AT_SYMLINK_FOLLOW));
    GT_STR(get("d/linked"), "t");
    close(fd);
    int r = GT_OK(open("fifo", O_RDONLY | O_NONBLOCK)), w = GT_OK(open("fifo", O_WRONLY));
    GT_EQ(write(w, "f", 1), 1);
    GT_EQ(read(r, p, 8), 1);
    GT_ERR(mknod("w", S_IFCHR, 0), EPERM);
}
GT(overlay_without_upper)
{
    setup();
    GT_OK(chdir(".."));
    GT_OK(mkdir("ro", 0755));
    GT_OK(mount("overlay", "ro", "overlay", 0, "lowerdir=lower:low2"));
    GT_STR(get("ro/a"), "lower");
    GT_EQ(count("ro/d"), 4);
    GT_ERR(open("ro/a", O_RDWR), EROFS);
    GT_ERR(unlink("ro/a"), EROFS);
    GT_ERR(mkdir("ro/n", 0755), EROFS);
    GT_ERR(chmod("ro/a", 0600), EROFS);
    GT_ERR(mount("overlay", "ro", "overlay", 0, "lowerdir=nowhere:lower"), ENOENT); // (one alone: 6.1 says EINVAL)
    GT_ERR(mount("overlay", "ro", "overlay", 0, "upperdir=upper,workdir=work"), EINVAL);
}
GT(overlay_over_overlay)
{
    setup();
    put("d/x", "middle", O_TRUNC);
    GT_OK(chdir(".."));
    GT_OK(mkdir("up2", 0755));
    GT_OK(mkdir("work2", 0755));
    GT_OK(mkdir("top", 0755));
    if (mount("overlay", "top", "overlay", 0, "lowerdir=m,upperdir=up2,workdir=work2") < 0)
        GT_SKIP("not stacked");
    GT_STR(get("top/d/x"), "middle");
    put("top/d/x", "top", O_TRUNC);
    GT_STR(get("top/d/x"), "top");
    GT_STR(get("m/d/x"), "middle");
    GT_OK(unlink("top/a"));
    GT_TRUE(gone("top/a"));
    GT_STR(get("m/a"), "lower");
}
GT(overlay_threads)
{
    setup();
    for (int k = 0; k < 4; k++) {
        if (fork())
            continue;
        for (int i = 0; i < 100; i++) {
            char p[64], q[64];
            snprintf(p, sizeof(p), "d/f-%d-%d", k, i);
            snprintf(q, sizeof(q), "empty/f-%d-%d", k, i);
            put(p, "1", 0);
            GT_OK(rename(p, q));
            put("a", "", O_APPEND);
            chmod("big", (mode_t)(0600 + i % 8));
            if (i % 2)
                GT_OK(unlink(q));
            count("d");
        }
        _exit(0);
    }
    int s;
    while (wait(&s) > 0)
        GT_EQ(s, 0);
    GT_EQ(count("empty"), 200);
    GT_EQ(st("big").st_size, 102400);
}
GT_MAIN
