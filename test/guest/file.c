// SPDX-License-Identifier: Apache-2.0
// Regular files: open flags, read and write, positions, append, vectors, limits, truncation.
#include "gtfs.h"
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static void *volatile bad_address = (void *)8;

GT(open_missing)
{
    GT_ERR(open("nope", O_RDONLY), ENOENT);
    GT_ERR(open("", O_RDONLY), ENOENT);
    GT_ERR(open("nope/x", O_CREAT | O_RDWR, 0644), ENOENT);
    GT_ERR(open(bad_address, O_RDONLY), EFAULT);
}
GT(open_create_excl)
{
    int fd = open("ce", O_CREAT | O_EXCL | O_RDWR, 0640);
    GT_OK(fd);
    struct stat st;
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_mode, S_IFREG | 0640);
    GT_EQ(st.st_nlink, 1);
    GT_EQ(st.st_size, 0);
    GT_ERR(open("ce", O_CREAT | O_EXCL | O_RDWR, 0640), EEXIST);
    GT_OK(open("ce", O_CREAT | O_RDWR, 0600)); // mode of an existing file stays
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_mode & 0777, 0640);
}
GT(open_kinds)
{
    GT_OK(mkdir("okd", 0755));
    gtfs_touch("okf");
    GT_ERR(open("okd", O_WRONLY), EISDIR);
    GT_ERR(open("okd", O_RDWR), EISDIR);
    GT_ERR(open("okd", O_RDONLY | O_CREAT, 0644), EISDIR);
    GT_ERR(open("okd/", O_RDONLY | O_CREAT, 0644), EISDIR);
    GT_ERR(open("newfile/", O_RDONLY | O_CREAT, 0644), EISDIR);
    GT_ERR(open("okd/.", O_RDWR | O_CREAT, 0644), EISDIR);
    GT_ERR(open("okf", O_RDONLY | O_DIRECTORY), ENOTDIR);
    GT_ERR(open("okf/", O_RDONLY), ENOTDIR);
    GT_ERR(open("okf/x", O_RDONLY), ENOTDIR);
    GT_ERR(open("okf/x", O_RDWR | O_CREAT, 0644), ENOTDIR);
    GT_ERR(open("okf/..", O_RDONLY), ENOTDIR);
    GT_OK(open("okd/..", O_RDONLY));
    GT_OK(open("okd", O_RDONLY | O_DIRECTORY));
    GT_ERR(open("okdd", O_RDONLY | O_DIRECTORY | O_CREAT, 0644), EINVAL);
}
GT(open_noent_before_slash)
{
    GT_ERR(open("missing/", O_RDONLY), ENOENT);
    GT_ERR(open("./missing/../x", O_RDONLY), ENOENT);
}
GT(open_trunc)
{
    close(gtfs_file("ot", "hello"));
    int fd = open("ot", O_RDONLY | O_TRUNC); // truncates, strange as it is
    GT_OK(fd);
    struct stat st;
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, 0);
}
GT(open_name_too_long)
{
    char name[300];
    memset(name, 'a', 299);
    name[256] = 0;
    GT_ERR(open(name, O_CREAT | O_RDWR, 0644), ENAMETOOLONG);
    GT_ERR(open(name, O_RDONLY), ENAMETOOLONG);
    GT_ERR(mkdir(name, 0755), ENAMETOOLONG);
    GT_ERR(unlink(name), ENAMETOOLONG);
    name[255] = 0;
    int fd = open(name, O_CREAT | O_RDWR, 0644);
    GT_OK(fd);
    GT_OK(unlink(name));
    static char path[5000];
    memset(path, '/', 4999);
    GT_ERR(open(path, O_RDONLY), ENAMETOOLONG);
    path[4096] = 0;
    GT_ERR(open(path, O_RDONLY), ENAMETOOLONG);
    path[4095] = 0;
    GT_OK(open(path, O_RDONLY)); // the root
}
GT(open_mode_and_umask)
{
    struct stat st;
    umask(027);
    int fd = open("um", O_CREAT | O_RDWR, 0777);
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_mode & 07777, 0750);
    GT_EQ(umask(0777), 027);
    GT_EQ(umask(0x12345), 0777);
    GT_EQ(umask(0), 0x12345 & 0777);
    fd = open("um2", O_CREAT | O_WRONLY, 07777);
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_mode & 07777, 07777);
    fd = open("um0", O_CREAT | O_RDWR, 0); // usable although nobody may open it again
    GT_EQ(write(fd, "x", 1), 1);
}
GT(access_mode)
{
    char c;
    close(gtfs_file("am", "abc"));
    int r = open("am", O_RDONLY), w = open("am", O_WRONLY);
    GT_ERR(write(r, "x", 1), EBADF);
    GT_ERR(read(w, &c, 1), EBADF);
    GT_ERR(pwrite(r, "x", 1, 0), EBADF);
    GT_ERR(ftruncate(r, 0), EINVAL);
    GT_OK(mkdir("amd", 0755));
    int d = open("amd", O_RDONLY);
    GT_ERR(read(d, &c, 1), EISDIR);
    GT_ERR(write(d, &c, 1), EBADF);
    GT_ERR(read(99, &c, 1), EBADF);
    GT_ERR(read(-1, &c, 1), EBADF);
}
GT(getfl)
{
    int fd = open("gf", O_CREAT | O_RDWR | O_APPEND | O_EXCL | O_TRUNC | O_NONBLOCK | O_CLOEXEC, 0644);
    GT_OK(fd);
    GT_EQ(fcntl(fd, F_GETFL), 0100000 | O_RDWR | O_APPEND | O_NONBLOCK);
    GT_OK(fcntl(fd, F_SETFL, O_NOATIME));
    GT_EQ(fcntl(fd, F_GETFL), 0100000 | O_RDWR | O_NOATIME);
    GT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    int d = open(".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    GT_EQ(fcntl(d, F_GETFL), 0100000 | O_DIRECTORY | O_NOFOLLOW);
    int s = open("gf", O_WRONLY | O_SYNC);
    GT_EQ(fcntl(s, F_GETFL), 0100000 | O_WRONLY | O_SYNC);
}
GT(rw_positions)
{
    char b[16] = "";
    int fd = gtfs_file("rp", "0123456789");
    GT_EQ(lseek(fd, 0, SEEK_CUR), 10);
    GT_EQ(read(fd, b, 4), 0);
    GT_EQ(lseek(fd, -3, SEEK_END), 7);
    GT_EQ(read(fd, b, 16), 3);
    GT_EQ(memcmp(b, "789", 3), 0);
    GT_EQ(pread(fd, b, 3, 2), 3);
    GT_EQ(memcmp(b, "234", 3), 0);
    GT_EQ(lseek(fd, 0, SEEK_CUR), 10);
    GT_EQ(pwrite(fd, "XY", 2, 4), 2);
    GT_EQ(lseek(fd, 0, SEEK_CUR), 10);
    GT_EQ(pread(fd, b, 16, 100), 0);
    GT_ERR(pread(fd, b, 1, -1), EINVAL);
    GT_ERR(pwrite(fd, b, 1, -1), EINVAL);
    GT_ERR(lseek(fd, -1, SEEK_SET), EINVAL);
    GT_ERR(lseek(fd, -11, SEEK_END), EINVAL);
    GT_ERR(lseek(fd, 0, 77), EINVAL);
    GT_EQ(lseek(fd, 0, SEEK_CUR), 10);
    GT_ERR(pread(fd, b, 10, INT64_MAX - 5), EINVAL);
    int d = dup(fd);
    GT_EQ(lseek(d, 1, SEEK_SET), 1);
    GT_EQ(lseek(fd, 0, SEEK_CUR), 1);
    gtfs_is("rp", "0123XY6789");
}
GT(rw_zero_and_fault)
{
    int fd = gtfs_file("rz", "abc");
    GT_EQ(write(fd, NULL, 0), 0);
    GT_EQ(read(fd, NULL, 0), 0);
    GT_ERR(write(fd, bad_address, 1), EFAULT);
    lseek(fd, 0, SEEK_SET);
    GT_ERR(read(fd, bad_address, 1), EFAULT);
    GT_EQ(lseek(fd, 0, SEEK_CUR), 0);
    struct stat st;
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, 3);
    GT_ERR(syscall(SYS_read, fd, &st, (size_t)-1), EFAULT);
}
GT(append)
{
    int a = open("ap", O_CREAT | O_RDWR | O_APPEND, 0644), b = open("ap", O_RDWR);
    GT_EQ(write(a, "one", 3), 3);
    GT_EQ(write(b, "XX", 2), 2);
    GT_EQ(write(a, "two", 3), 3);
    GT_EQ(lseek(a, 0, SEEK_SET), 0);
    GT_EQ(write(a, "3", 1), 1);
    GT_EQ(lseek(a, 0, SEEK_CUR), 7);
    GT_EQ(pwrite(a, "4", 1, 0), 1); // the documented bug: appends
    gtfs_is("ap", "XXetwo34");
    GT_OK(fcntl(a, F_SETFL, 0));
    GT_EQ(pwrite(a, "Z", 1, 0), 1);
    gtfs_is("ap", "ZXetwo34");
}
GT(append_concurrent)
{
    enum { N = 200, P = 4 };
    int fd = open("ac", O_CREAT | O_RDWR | O_APPEND, 0644);
    for (int p = 0; p < P; p++)
        if (fork() == 0) {
            int mine = open("ac", O_WRONLY | O_APPEND);
            char rec[16];
            memset(rec, 'a' + p, sizeof(rec));
            for (int i = 0; i < N; i++)
                if (write(mine, rec, sizeof(rec)) != sizeof(rec))
                    _exit(1);
            _exit(0);
        }
    int st;
    for (int p = 0; p < P; p++) {
        GT_OK(wait(&st));
        GT_EQ(st, 0);
    }
    char rec[16];
    int seen[P] = {0};
    while (read(fd, rec, 16) == 16) {
        for (int i = 1; i < 16; i++)
            GT_EQ(rec[i], rec[0]);
        seen[rec[0] - 'a']++;
    }
    for (int p = 0; p < P; p++)
        GT_EQ(seen[p], N);
}
GT(vectors)
{
    char x[4] = "", y[8] = "";
    int fd = open("ve", O_CREAT | O_RDWR, 0644);
    struct iovec w[3] = {{"ab", 2}, {NULL, 0}, {"cdef", 4}};
    GT_EQ(writev(fd, w, 3), 6);
    struct iovec r[2] = {{x, 3}, {y, 8}};
    GT_EQ(preadv(fd, r, 2, 0), 6);
    GT_EQ(memcmp(x, "abc", 3) | memcmp(y, "def", 3), 0);
    GT_EQ(pwritev(fd, w, 3, 10), 6);
    struct stat st;
    fstat(fd, &st);
    GT_EQ(st.st_size, 16);
    GT_ERR(syscall(SYS_writev, fd, w, -1L), EINVAL);
    GT_ERR(syscall(SYS_writev, fd, w, 1025L), EINVAL);
    GT_EQ(writev(fd, w, 0), 0);
    struct iovec bad[2] = {{x, 1}, {x, (size_t)-1}};
    GT_ERR(readv(fd, bad, 2), EINVAL);
    GT_ERR(readv(fd, bad_address, 2), EFAULT);
    // A fault in the second buffer gives what came before it.
    struct iovec part[2] = {{x, 3}, {bad_address, 8}};
    lseek(fd, 0, SEEK_SET);
    GT_EQ(readv(fd, part, 2), 3);
}
GT(vectors2)
{
    int fd = gtfs_file("v2", "abcdef");
    char x[4];
    struct iovec v = {x, 2};
    lseek(fd, 2, SEEK_SET);
    GT_EQ(preadv2(fd, &v, 1, -1, 0), 2);
    GT_EQ(x[0], 'c');
    GT_EQ(lseek(fd, 0, SEEK_CUR), 4);
    GT_EQ(preadv2(fd, &v, 1, 0, 0), 2);
    GT_EQ(x[0], 'a');
    GT_ERR(preadv2(fd, &v, 1, 0, 0x40000000), EOPNOTSUPP);
    GT_ERR(preadv2(fd, &v, 1, -2, 0), EINVAL);
    x[0] = 'Y', x[1] = 'Z';
    GT_EQ(pwritev2(fd, &v, 1, 0, RWF_APPEND), 2);
    GT_EQ(lseek(fd, 0, SEEK_CUR), 4);
    GT_EQ(pwritev2(fd, &v, 1, 0, RWF_DSYNC), 2);
    gtfs_is("v2", "YZcdefYZ");
}
GT(truncate_rules)
{
    int fd = gtfs_file("tr", "0123456789");
    GT_OK(truncate("tr", 4));
    gtfs_is("tr", "0123");
    GT_OK(ftruncate(fd, 8));
    char b[8];
    GT_EQ(pread(fd, b, 8, 0), 8);
    GT_EQ(memcmp(b, "0123\0\0\0\0", 8), 0);
    GT_ERR(truncate("tr", -1), EINVAL);
    GT_ERR(ftruncate(fd, -1), EINVAL);
    GT_OK(mkdir("trd", 0755));
    GT_ERR(truncate("trd", 0), EISDIR);
    GT_ERR(truncate("trn", 0), ENOENT);
    GT_ERR(ftruncate(77, 0), EBADF);
    GT_OK(mkfifo("trf", 0644));
    GT_ERR(truncate("trf", 0), EINVAL);
}
GT(truncate_zeroes_tail)
{
    int fd = open("tz", O_CREAT | O_RDWR, 0644);
    char b[6000];
    memset(b, 'x', sizeof(b));
    GT_EQ(write(fd, b, sizeof(b)), 6000);
    GT_OK(ftruncate(fd, 100));
    GT_OK(ftruncate(fd, 6000));
    GT_EQ(pread(fd, b, 6000, 0), 6000);
    for (int i = 0; i < 6000; i++)
        GT_EQ(b[i], i < 100 ? 'x' : 0);
}
GT(fsize_limit)
{
    int fd = open("fl", O_CREAT | O_RDWR, 0644);
    struct rlimit rl = {1000, 1000};
    char b[600];
    memset(b, 'q', 600);
    GT_OK(setrlimit(RLIMIT_FSIZE, &rl));
    signal(SIGXFSZ, SIG_IGN);
    GT_EQ(write(fd, b, 600), 600);
    GT_EQ(write(fd, b, 600), 400); // cut
    GT_ERR(write(fd, b, 600), EFBIG);
    GT_ERR(ftruncate(fd, 1001), EFBIG);
    GT_OK(ftruncate(fd, 1000));
    GT_ERR(pwrite(fd, b, 1, 5000), EFBIG);
    signal(SIGXFSZ, SIG_DFL);
    pid_t p = fork();
    if (!p) {
        if (write(fd, b, 1) < 0)
            _exit(1);
        _exit(0);
    }
    int st;
    GT_OK(waitpid(p, &st, 0));
    GT_TRUE(WIFSIGNALED(st) && WTERMSIG(st) == SIGXFSZ);
}
GT(max_size)
{
    int fd = open("ms", O_CREAT | O_RDWR, 0644);
    GT_ERR(pwrite(fd, "x", 1, INT64_MAX), EINVAL);
}
GT(write_clears_setid)
{
    struct stat st;
    gtfs_touch("ws");
    GT_OK(chmod("ws", 06777));
    pid_t p = fork();
    if (!p) {
        gtfs_be_nobody();
        int fd = open("ws", O_WRONLY);
        _exit(fd < 0 || write(fd, "x", 1) != 1);
    }
    int s;
    GT_OK(waitpid(p, &s, 0));
    if (WEXITSTATUS(s) == 77)
        GT_SKIP("needs root");
    GT_EQ(s, 0);
    GT_OK(stat("ws", &st));
    GT_EQ(st.st_mode & 07777, 0777);
    GT_OK(chmod("ws", 02666)); // set-group-ID without execute stays for those in the group only
    GT_OK(chown("ws", 0, 0));
    GT_OK(stat("ws", &st));
    GT_EQ(st.st_mode & 07777, 02666);
    GT_OK(chmod("ws", 06755));
    GT_OK(chown("ws", 0, 0)); // root too
    GT_OK(stat("ws", &st));
    GT_EQ(st.st_mode & 07777, 0755);
}
GT(times)
{
    struct stat a, b;
    int fd = gtfs_file("ti", "x");
    struct timespec old[2] = {{1000, 5}, {2000, 7}};
    GT_OK(futimens(fd, old));
    GT_OK(fstat(fd, &a));
    GT_EQ(a.st_atim.tv_sec, 1000);
    GT_EQ(a.st_mtim.tv_nsec, 7);
    GT_TRUE(a.st_ctim.tv_sec > 2000);
    GT_EQ(write(fd, "y", 1), 1);
    GT_OK(fstat(fd, &b));
    GT_TRUE(b.st_mtim.tv_sec > 2000);
    GT_EQ(b.st_atim.tv_sec, 1000);
    struct timespec omit[2] = {{0, UTIME_OMIT}, {3000, 0}};
    GT_OK(utimensat(AT_FDCWD, "ti", omit, 0));
    GT_OK(fstat(fd, &b));
    GT_EQ(b.st_atim.tv_sec, 1000);
    GT_EQ(b.st_mtim.tv_sec, 3000);
    struct timespec bad[2] = {{0, 1000000000}, {0, 0}};
    GT_ERR(utimensat(AT_FDCWD, "ti", bad, 0), EINVAL);
    GT_ERR(utimensat(AT_FDCWD, "tinot", NULL, 0), ENOENT);
    struct timespec both[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
    GT_OK(utimensat(AT_FDCWD, "ti", both, 0));
    GT_OK(utimensat(AT_FDCWD, "ti", NULL, 0));
    GT_OK(fstat(fd, &b));
    GT_TRUE(b.st_atim.tv_sec > 3000 && b.st_mtim.tv_sec > 3000);
}
GT(sendfile_copy)
{
    int in = gtfs_file("sf", "hello world"), out = open("sfo", O_CREAT | O_RDWR, 0644);
    off_t off = 6;
    GT_EQ(sendfile(out, in, &off, 100), 5);
    GT_EQ(off, 11);
    gtfs_is("sfo", "world");
    lseek(in, 0, SEEK_SET);
    GT_EQ(sendfile(out, in, NULL, 5), 5);
    GT_EQ(lseek(in, 0, SEEK_CUR), 5);
    gtfs_is("sfo", "worldhello");
    loff_t i = 0, o = 0;
    GT_EQ(copy_file_range(in, &i, out, &o, 3, 0), 3);
    GT_EQ(i, 3);
    gtfs_is("sfo", "helldhello");
    GT_ERR(copy_file_range(in, &i, out, &o, 3, 1), EINVAL);
    int r = open("sfo", O_RDONLY);
    GT_ERR(copy_file_range(in, &i, r, &o, 3, 0), EBADF);
    GT_ERR(sendfile(r, in, NULL, 1), EBADF);
}
GT(sync_calls)
{
    int fd = gtfs_file("sy", "x"), p[2];
    GT_OK(fsync(fd));
    GT_OK(fdatasync(fd));
    GT_OK(syncfs(fd));
    GT_OK(sync_file_range(fd, 0, 0, 7));
    sync();
    GT_OK(pipe(p));
    GT_ERR(fsync(p[0]), EINVAL);
    GT_ERR(fsync(77), EBADF);
    int d = open(".", O_RDONLY);
    GT_OK(fsync(d));
    GT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
    GT_EQ(posix_fadvise(fd, 0, 0, 99), EINVAL);
    GT_EQ(posix_fadvise(p[0], 0, 0, 0), ESPIPE);
    GT_OK(readahead(fd, 0, 1));
}
GT(opath)
{
    char b[8];
    close(gtfs_file("op", "data"));
    int fd = open("op", O_PATH);
    GT_OK(fd);
    GT_ERR(read(fd, b, 1), EBADF);
    GT_ERR(fchmod(fd, 0600), EBADF);
    GT_ERR(ftruncate(fd, 0), EBADF);
    GT_ERR(lseek(fd, 0, SEEK_SET), EBADF);
    GT_ERR(fsync(fd), EBADF);
    struct stat st;
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, 4);
    GT_EQ(fcntl(fd, F_GETFL), O_PATH);
    GT_OK(fcntl(fd, F_DUPFD, 0));
    GT_OK(dup(fd));
    char link[64];
    sprintf(link, "/proc/self/fd/%d", fd);
    int r = open(link, O_RDONLY);
    GT_OK(r);
    GT_EQ(read(r, b, 8), 4);
    GT_OK(symlink("op", "opl"));
    int l = open("opl", O_PATH | O_NOFOLLOW);
    GT_OK(l);
    GT_OK(fstat(l, &st));
    GT_TRUE(S_ISLNK(st.st_mode));
    char text[16] = "";
    GT_EQ(readlinkat(l, "", text, 16), 2);
    GT_STR(text, "op");
    int d = open(".", O_PATH | O_DIRECTORY);
    GT_OK(openat(d, "op", O_RDONLY));
    GT_OK(fchdir(d));
    GT_ERR(ioctl(fd, FIONBIO, &st), EBADF);
}
GT(tmpfile)
{
    int fd = open(".", O_TMPFILE | O_RDWR, 0600);
    if (fd < 0 && errno == EOPNOTSUPP)
        GT_SKIP("no O_TMPFILE here");
    GT_OK(fd);
    struct stat st;
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_nlink, 0);
    GT_EQ(write(fd, "temp", 4), 4);
    char path[64];
    sprintf(path, "/proc/self/fd/%d", fd);
    GT_OK(linkat(AT_FDCWD, path, AT_FDCWD, "tfl", AT_SYMLINK_FOLLOW));
    gtfs_is("tfl", "temp");
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_nlink, 1);
    int ex = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
    GT_OK(ex);
    sprintf(path, "/proc/self/fd/%d", ex);
    GT_ERR(linkat(AT_FDCWD, path, AT_FDCWD, "tfx", AT_SYMLINK_FOLLOW), ENOENT);
    GT_ERR(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
    GT_ERR(open("tfl", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
}
GT(unlinked_still_there)
{
    char b[8], path[64], text[300];
    int fd = gtfs_file("us", "alive");
    GT_OK(unlink("us"));
    GT_ERR(open("us", O_RDONLY), ENOENT);
    GT_EQ(pread(fd, b, 8, 0), 5);
    struct stat st;
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_nlink, 0);
    sprintf(path, "/proc/self/fd/%d", fd);
    long n = readlink(path, text, sizeof(text) - 1);
    GT_OK(n);
    text[n] = 0;
    GT_TRUE(strlen(text) > 13 && !strcmp(text + strlen(text) - 13, "/us (deleted)"));
    GT_OK(open(path, O_RDWR)); // through the magic link it can still be opened
    GT_ERR(linkat(AT_FDCWD, path, AT_FDCWD, "us2", AT_SYMLINK_FOLLOW), ENOENT);
}
GT(text_busy)
{
    // A program that runs cannot be opened for writing.
    GT_ERR(open("/proc/self/exe", O_WRONLY), ETXTBSY);
}
GT(statx_fields)
{
    struct statx x;
    int fd = gtfs_file("sx", "12345");
    GT_OK(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &x));
    GT_EQ(x.stx_size, 5);
    GT_EQ(x.stx_mode, S_IFREG | 0644);
    GT_EQ(x.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
    GT_OK(statx(AT_FDCWD, "sx", 0, STATX_SIZE, &x));
    GT_ERR(statx(AT_FDCWD, "sxn", 0, STATX_SIZE, &x), ENOENT);
    GT_ERR(statx(AT_FDCWD, "sx", 0x40000000, STATX_SIZE, &x), EINVAL);
    GT_ERR(statx(AT_FDCWD, "sx", 0, STATX__RESERVED, &x), EINVAL);
    GT_ERR(statx(AT_FDCWD, "sx", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_SIZE, &x), EINVAL);
}
GT(stat_errors)
{
    struct stat st;
    GT_ERR(stat("nix", &st), ENOENT);
    GT_ERR(fstatat(AT_FDCWD, "", &st, 0), ENOENT);
    GT_OK(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH));
    GT_TRUE(S_ISDIR(st.st_mode));
    GT_ERR(fstat(77, &st), EBADF);
    GT_ERR(fstatat(77, "x", &st, 0), EBADF);
    GT_ERR(fstatat(AT_FDCWD, ".", &st, 0x10000), EINVAL);
    gtfs_touch("se");
    int fd = open("se", O_RDONLY);
    GT_ERR(fstatat(fd, "x", &st, 0), ENOTDIR);
    GT_OK(fstatat(77, gtfs_path, &st, 0)); // absolute: dirfd is not looked at
    GT_ERR(stat(".", bad_address), EFAULT);
}
GT(empty_write_anywhere)
{
    // No byte, no fault: runtimes write empty buffers whose address is null, on descriptors that
    // came from outside as well as on their own.
    int p[2];
    struct iovec v = {bad_address, 0};
    GT_OK(pipe(p));
    int fds[] = {1, 2, p[1], GT_OK(open("ewa", O_CREAT | O_RDWR, 0600)), GT_OK(open("/dev/null", O_RDWR))};
    for (int i = 0; i < 5; i++) {
        GT_EQ(write(fds[i], bad_address, 0), 0);
        GT_EQ(writev(fds[i], &v, 1), 0);
        v.iov_base = NULL;
    }
}
GT_MAIN
