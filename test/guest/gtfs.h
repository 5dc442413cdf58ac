// SPDX-License-Identifier: Apache-2.0
// File tests run in a directory of their own under $GT_DIR or /tmp, which goes when the program
// ends. Each test uses names of its own in it.
#pragma once
#include "gt.h"
#include <dirent.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char gtfs_path[256]; // absolute, no trailing slash
static pid_t gtfs_owner;
static int gtfs_rm(const char *p, const struct stat *st, int type, struct FTW *f)
{
    (void)st, (void)type, (void)f;
    return remove(p);
}
static void gtfs_cleanup(void)
{
    if (getpid() == gtfs_owner) {
        if (chdir("/") == 0)
            nftw(gtfs_path, gtfs_rm, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    }
}
__attribute__((constructor)) static void gtfs_init(void)
{
    const char *base = getenv("GT_DIR");
    snprintf(gtfs_path, sizeof(gtfs_path), "%s/gtfs.XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(gtfs_path) || chdir(gtfs_path)) {
        perror(gtfs_path);
        _exit(2);
    }
    chmod(gtfs_path, 0755);
    umask(022);
    gtfs_owner = getpid();
    atexit(gtfs_cleanup);
}
static inline int gtfs_file(const char *name, const char *text)
{
    int fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0644);
    GT_OK(fd);
    GT_EQ(write(fd, text, strlen(text)), (long)strlen(text));
    return fd;
}
static inline void gtfs_touch(const char *name)
{
    close(gtfs_file(name, ""));
}
static inline void gtfs_is(const char *name, const char *text)
{
    char buf[4096] = "";
    int fd = open(name, O_RDONLY);
    GT_OK(fd);
    long n = read(fd, buf, sizeof(buf) - 1);
    GT_OK(n);
    buf[n] = 0;
    GT_STR(buf, text);
    close(fd);
}
static inline int gtfs_exists(const char *name)
{
    struct stat st;
    return lstat(name, &st) == 0;
}
// Runs what follows as uid and gid 65534 without capabilities (root only).
static inline void gtfs_be_nobody(void)
{
    if (getuid() != 0)
        GT_SKIP("needs root");
    GT_OK(syscall(SYS_setgroups, 0, NULL));
    GT_OK(setresgid(65534, 65534, 65534));
    GT_OK(setresuid(65534, 65534, 65534));
}
