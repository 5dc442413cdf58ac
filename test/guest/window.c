// SPDX-License-Identifier: Apache-2.0
// fstat and pread of files that were read often before, so that a kernel may have taken short cuts:
// every change of file or descriptor is seen by the next call, whoever made it.
#include "gt.h"
#include <limits.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>

static char name[64];
static int make(const char *data, size_t n)
{
    strcpy(name, "/tmp/window.XXXXXX");
    int fd = (int)GT_OK(mkstemp(name));
    GT_EQ(write(fd, data, n), (long)n);
    return fd;
}
// Often enough for any short cut to be in use.
static void warm(int fd)
{
    char c[16];
    struct stat st;
    for (int i = 0; i < 60; i++) {
        GT_TRUE(pread(fd, c, sizeof(c), 0) >= 0);
        GT_OK(fstat(fd, &st));
    }
}
static long size_of(int fd)
{
    struct stat st;
    GT_OK(fstat(fd, &st));
    struct stat st2;
    GT_OK(syscall(SYS_newfstatat, fd, "", &st2, AT_EMPTY_PATH));
    GT_TRUE(!memcmp(&st, &st2, sizeof(st)));
    GT_OK(stat(name, &st2));
    GT_EQ(st.st_size, st2.st_size);
    return st.st_size;
}

GT(ends_and_edges)
{
    char b[64], *end = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_OK(munmap(end + 4096, 4096));
    end += 4096;
    __asm__("" : "+r"(end)); // the compiler need not know how much is there
    int fd = make("0123456789", 10);
    warm(fd);
    GT_EQ(pread(fd, b, 64, 0), 10);
    GT_EQ(pread(fd, b, 64, 9), 1);
    GT_EQ(b[0], '9');
    GT_EQ(pread(fd, b, 64, 10), 0);
    GT_EQ(pread(fd, b, 64, 1ll << 40), 0);
    GT_EQ(pread(fd, b, 0, 0), 0);
    GT_EQ(pread(fd, b, 0, 100), 0);
    GT_ERR(pread(fd, b, 1, -1), EINVAL);
    GT_ERR(pread(fd, b, 64, INT64_MAX - 3), EINVAL);
    GT_EQ(pread(fd, end - 10, 64, 0), 10);
    GT_EQ(pread(fd, end - 4, 10, 0), 4);
    GT_TRUE(!memcmp(end - 4, "0123", 4));
    GT_ERR(pread(fd, end, 10, 0), EFAULT);
    GT_ERR(pread(fd, (void *)8, 10, 0), EFAULT);
    GT_ERR(pread(fd, (void *)0x7ffffffff000, 10, 0), EFAULT);
    GT_ERR(pread(fd, (void *)-1ul, 10, 0), EFAULT);
    GT_ERR(fstat(fd, (struct stat *)(end - 100)), EFAULT);
    GT_ERR(fstat(fd, 0), EFAULT);
    GT_ERR(syscall(SYS_newfstatat, fd, end, b, AT_EMPTY_PATH), EFAULT);
    GT_ERR(syscall(SYS_newfstatat, fd, "", b, 0), ENOENT);
    GT_ERR(syscall(SYS_newfstatat, fd, "x", b, AT_EMPTY_PATH), ENOTDIR);
    GT_OK(unlink(name));
}

GT(changes_are_seen)
{
    char b[16];
    struct stat st;
    int fd = make("0123456789", 10), w = (int)GT_OK(open(name, O_RDWR));
    for (int round = 0; round < 3; round++) {
        warm(fd);
        GT_EQ(pwrite(w, "ab", 2, 3), 2);
        GT_EQ(pread(fd, b, 10, 0), 10);
        GT_TRUE(!memcmp(b, "012ab56789", 10));
        warm(fd);
        GT_OK(ftruncate(w, 5));
        GT_EQ(pread(fd, b, 10, 0), 5);
        GT_EQ(size_of(fd), 5);
        warm(fd);
        GT_OK(truncate(name, 20));
        GT_EQ(size_of(fd), 20);
        GT_EQ(pread(fd, b, 16, 4), 16);
        GT_TRUE(!memcmp(b, "b\0\0\0", 4));
        warm(fd);
        GT_EQ(pwrite(w, "X", 1, 30), 1);
        GT_EQ(size_of(fd), 31);
        GT_EQ(pread(fd, b, 16, 30), 1);
        GT_EQ(b[0], 'X');
        warm(fd);
        GT_OK(close(open(name, O_WRONLY | O_TRUNC)));
        GT_EQ(size_of(fd), 0);
        GT_EQ(pread(fd, b, 16, 0), 0);
        warm(fd);
        GT_EQ(pwrite(w, "0123456789", 10, 0), 10);
        GT_EQ(size_of(fd), 10);
    }
    warm(fd);
    GT_OK(fchmod(w, 0640));
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_mode & 07777, 0640);
    warm(fd);
    char other[80];
    snprintf(other, sizeof(other), "%s.l", name);
    GT_OK(link(name, other));
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_nlink, 2);
    warm(fd);
    GT_OK(unlink(other));
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_nlink, 1);
    warm(fd);
    struct timespec ts[2] = {{1000, 1}, {2000, 2}};
    GT_OK(utimensat(AT_FDCWD, name, ts, 0));
    GT_OK(fstat(fd, &st));
    GT_TRUE(st.st_atime == 1000 && st.st_mtime == 2000 && st.st_mtim.tv_nsec == 2);
    // The access time is older than the last change: the next read brings it up to date.
    GT_EQ(pread(fd, b, 1, 0), 1);
    GT_OK(fstat(fd, &st));
    GT_TRUE(st.st_atime > 2000 || st.st_atime == 1000); // (or the mount is noatime)
    warm(fd);
    GT_OK(rename(name, other));
    struct stat st2;
    GT_OK(fstat(fd, &st));
    GT_OK(stat(other, &st2));
    GT_TRUE(!memcmp(&st, &st2, sizeof(st)));
    warm(fd);
    GT_OK(unlink(other));
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_nlink, 0);
    GT_EQ(pread(fd, b, 10, 0), 10);
}

GT(holes_and_space)
{
    struct stat st;
    char b[16] = "";
    int fd = make("", 0);
    GT_OK(ftruncate(fd, 1 << 20));
    warm(fd);
    GT_OK(fstat(fd, &st));
    long before = st.st_blocks;
    GT_EQ(pwrite(fd, "x", 1, 500000), 1);
    GT_OK(fstat(fd, &st));
    GT_TRUE(st.st_blocks > before);
    GT_EQ(pread(fd, b, 1, 500000), 1);
    GT_EQ(b[0], 'x');
    warm(fd);
    if (fallocate(fd, 0, 0, 2 << 20) == 0)
        GT_EQ(size_of(fd), 2 << 20);
    warm(fd);
    if (fallocate(fd, 3 /* PUNCH_HOLE | KEEP_SIZE */, 499712, 4096) == 0) {
        GT_EQ(pread(fd, b, 1, 500000), 1);
        GT_EQ(b[0], 0);
    }
    GT_EQ(pwrite(fd, "y", 1, 500000), 1);
    GT_OK(unlink(name));
}

GT(descriptors_change)
{
    char b[16];
    int fd = make("first", 5);
    char one[64];
    strcpy(one, name);
    warm(fd);
    int fd2 = make("second!", 7);
    warm(fd2);
    int copy = (int)GT_OK(dup(fd));
    warm(copy);
    GT_OK(dup2(fd2, fd));
    GT_EQ(pread(fd, b, 16, 0), 7);
    GT_EQ(pread(copy, b, 16, 0), 5);
    GT_EQ(size_of(fd), 7);
    warm(fd);
    GT_OK(close(fd));
    GT_ERR(pread(fd, b, 16, 0), EBADF);
    struct stat st;
    GT_ERR(fstat(fd, &st), EBADF);
    GT_ERR(fstat(-1, &st), EBADF);
    GT_ERR(fstat(1000000, &st), EBADF);
    int p[2];
    GT_OK(pipe(p)); // the lowest number is fd
    GT_TRUE(p[0] == fd);
    GT_ERR(pread(fd, b, 16, 0), ESPIPE);
    warm(copy);
    GT_OK(syscall(SYS_close_range, copy, copy, 0));
    GT_ERR(pread(copy, b, 16, 0), EBADF);
    int wo = (int)GT_OK(open(one, O_WRONLY));
    for (int i = 0; i < 40; i++) {
        GT_ERR(pread(wo, b, 16, 0), EBADF);
        GT_OK(fstat(wo, &st));
    }
    int dir = (int)GT_OK(open("/tmp", O_RDONLY));
    for (int i = 0; i < 40; i++)
        GT_ERR(pread(dir, b, 16, 0), EISDIR);
    GT_OK(unlink(one));
    GT_OK(unlink(name));
}

GT(children_and_their_tables)
{
    char b[16];
    int st, fd = make("parent", 6);
    warm(fd);
    pid_t pid = fork();
    if (!pid) {
        GT_EQ(pread(fd, b, 16, 0), 6);
        GT_EQ(size_of(fd), 6);
        warm(fd);
        GT_EQ(pwrite(fd, "child!!", 7, 0), 7);
        GT_EQ(pread(fd, b, 16, 0), 7);
        GT_OK(close(fd));
        GT_ERR(pread(fd, b, 16, 0), EBADF);
        _exit(0);
    }
    GT_EQ(waitpid(pid, &st, 0), pid);
    GT_EQ(st, 0);
    GT_EQ(pread(fd, b, 16, 0), 7); // what the child wrote
    GT_TRUE(!memcmp(b, "child!!", 7));
    GT_EQ(size_of(fd), 7);
    warm(fd);
    // A table of its own in the same memory.
    pid = vfork();
    if (!pid) {
        close(fd);
        _exit(pread(fd, b, 16, 0) == -1 && errno == EBADF ? 0 : 1);
    }
    GT_EQ(waitpid(pid, &st, 0), pid);
    GT_EQ(st, 0);
    GT_EQ(pread(fd, b, 16, 0), 7);
    GT_OK(unlink(name));
}

static int shared_fd;
static void *own_table(void *arg)
{
    char b[16];
    warm(shared_fd);
    GT_OK(unshare(CLONE_FILES));
    GT_EQ(pread(shared_fd, b, 16, 0), 5);
    GT_OK(close(shared_fd));
    GT_ERR(pread(shared_fd, b, 16, 0), EBADF);
    int fd = (int)GT_OK(open("/dev/null", O_RDONLY));
    GT_EQ(fd, shared_fd);
    GT_EQ(pread(fd, b, 16, 0), 0);
    return 0;
}
GT(threads_and_their_tables)
{
    pthread_t t;
    char b[16];
    shared_fd = make("whole", 5);
    warm(shared_fd);
    GT_EQ(pthread_create(&t, 0, own_table, 0), 0);
    GT_EQ(pthread_join(t, 0), 0);
    GT_EQ(pread(shared_fd, b, 16, 0), 5);
    GT_EQ(size_of(shared_fd), 5);
    GT_OK(unlink(name));
}

GT(passed_descriptor)
{
    char b[16];
    int s[2], st, fd = make("passed", 6);
    warm(fd);
    GT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    pid_t pid = fork();
    char ctl[CMSG_SPACE(sizeof(int))];
    struct iovec v = {b, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
    if (!pid) {
        int got;
        GT_OK(close(fd));
        GT_EQ(recvmsg(s[1], &m, 0), 1);
        memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(got));
        warm(got);
        GT_EQ(pwrite(got, "P", 1, 0), 1);
        _exit(pread(got, b, 16, 0) == 6 && b[0] == 'P' ? 0 : 1);
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    GT_EQ(sendmsg(s[0], &m, 0), 1);
    GT_EQ(waitpid(pid, &st, 0), pid);
    GT_EQ(st, 0);
    GT_EQ(pread(fd, b, 16, 0), 6);
    GT_EQ(b[0], 'P');
    GT_OK(unlink(name));
}

GT(mapped_for_writing)
{
    char b[16];
    int fd = make("0123456789", 10);
    char *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    GT_TRUE(m != MAP_FAILED);
    warm(fd);
    memcpy(m, "mapped", 6);
    GT_EQ(pread(fd, b, 10, 0), 10);
    GT_TRUE(!memcmp(b, "mapped6789", 10));
    GT_EQ(pwrite(fd, "W", 1, 1), 1);
    GT_EQ(m[1], 'W');
    GT_EQ(pread(fd, m + 100, 10, 0), 10); // into itself
    GT_TRUE(!memcmp(m + 100, "mWpped6789", 10));
    GT_OK(unlink(name));
}

static volatile int stop;
static int race_fd;
static void *cutter(void *arg)
{
    char a[8192];
    memset(a, 'a', sizeof(a));
    int fd = (int)GT_OK(open(name, O_RDWR));
    while (!stop) {
        GT_OK(ftruncate(fd, 1));
        GT_EQ(pwrite(fd, a, sizeof(a), 0), (long)sizeof(a));
        for (volatile int i = 0; i < 3000; i++)
            ;
    }
    close(fd);
    return 0;
}
GT(cut_under_the_read)
{
    pthread_t t;
    char a[8192];
    memset(a, 'a', sizeof(a));
    race_fd = make(a, sizeof(a));
    GT_EQ(pthread_create(&t, 0, cutter, 0), 0);
    time_t end = time(0) + 4; // (a machine with other things to do)
    for (int i = 0; i < 30000 && time(0) < end; i++) {
        long n = pread(race_fd, a, sizeof(a), 0);
        GT_TRUE(n >= 1 && n <= (long)sizeof(a));
        struct stat st;
        GT_OK(fstat(race_fd, &st));
        GT_TRUE(st.st_size >= 1 && st.st_size <= (long)sizeof(a));
    }
    stop = 1;
    GT_EQ(pthread_join(t, 0), 0);
    GT_OK(unlink(name));
}

// A writer says how far it has come; what it said before the call must be in the file.
static volatile long written;
static void *appender(void *arg)
{
    int fd = (int)GT_OK(open(name, O_WRONLY | O_APPEND));
    for (long i = 1; i <= 3000; i++) {
        GT_EQ(write(fd, "0123456789abcdef", 16), 16);
        __atomic_store_n(&written, i * 16, __ATOMIC_SEQ_CST);
        if (i % 8 == 0)
            for (volatile int k = 0; k < 20000; k++)
                ;
    }
    stop = 1;
    return 0;
}
GT(growing_file)
{
    pthread_t t;
    char b[16];
    struct stat st;
    int fd = make("", 0);
    GT_EQ(pthread_create(&t, 0, appender, 0), 0);
    while (!stop) {
        long said = __atomic_load_n(&written, __ATOMIC_SEQ_CST);
        GT_OK(fstat(fd, &st));
        GT_TRUE(st.st_size >= said && st.st_size % 16 == 0);
        if (said) {
            GT_EQ(pread(fd, b, 16, said - 16), 16);
            GT_TRUE(!memcmp(b, "0123456789abcdef", 16));
        }
        GT_TRUE(pread(fd, b, 16, st.st_size) >= 0);
    }
    GT_EQ(pthread_join(t, 0), 0);
    GT_EQ(size_of(fd), 3000 * 16);
    GT_OK(unlink(name));
}

GT(watched_reads_are_told)
{
    char b[16], ev[512];
    int fd = make("watched", 7);
    warm(fd);
    int in = (int)GT_OK(inotify_init1(IN_NONBLOCK));
    GT_OK(inotify_add_watch(in, name, IN_ACCESS));
    for (int i = 0; i < 40; i++) {
        GT_EQ(pread(fd, b, 16, 0), 7);
        GT_TRUE(read(in, ev, sizeof(ev)) > 0);
    }
    GT_OK(unlink(name));
}

GT(many_files)
{
    char b[16], names[80][64];
    int fd[80];
    for (int i = 0; i < 80; i++) {
        char data[16];
        int n = snprintf(data, sizeof(data), "file %d", i);
        fd[i] = make(data, (size_t)n);
        strcpy(names[i], name);
    }
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 80; i++) {
            char data[16];
            int n = snprintf(data, sizeof(data), "file %d", i);
            warm(fd[i]);
            for (int k = 0; k <= i; k += 7) {
                snprintf(data, sizeof(data), "file %d", k);
                GT_EQ(pread(fd[k], b, 16, 0), (long)strlen(data));
                GT_TRUE(!memcmp(b, data, strlen(data)));
            }
            (void)n;
        }
    for (int i = 0; i < 80; i++)
        GT_OK(unlink(names[i]));
}

GT(large_file)
{
    enum { MB = 1 << 20 };
    char *a = malloc(MB), *b = malloc(MB);
    int fd = make("", 0);
    for (int i = 0; i < 20; i++) {
        memset(a, 'a' + i, MB);
        GT_EQ(write(fd, a, MB), MB);
    }
    warm(fd);
    for (int i = 0; i < 20; i++) {
        GT_EQ(pread(fd, b, MB, (off_t)i * MB), MB);
        GT_TRUE(b[0] == 'a' + i && b[MB - 1] == 'a' + i);
    }
    GT_EQ(pread(fd, b, 100, 16 * MB - 50), 100);
    GT_TRUE(b[49] == 'a' + 15 && b[50] == 'a' + 16);
    GT_EQ(pread(fd, b, MB, 20 * MB - 3), 3);
    GT_OK(unlink(name));
}

// Whatever moves its data about inside the kernel: a file is what was done to it.
static uint32_t dice_state;
static uint32_t dice(uint32_t n)
{
    dice_state = dice_state * 1664525 + 1013904223;
    return (dice_state >> 8) % n;
}
enum { MODEL = 40000 };
static void model_check(int fd, const uint8_t *model, uint32_t size)
{
    static uint8_t b[MODEL + 100];
    GT_EQ(size_of(fd), size);
    GT_EQ(pread(fd, b, sizeof(b), 0), size);
    for (uint32_t i = 0; i < size; i++)
        if (b[i] != model[i])
            GT_FAIL("byte %u of %u is %u, not %u", i, size, b[i], model[i]);
}
static void random_changes(uint32_t seed)
{
    static uint8_t model[MODEL], b[MODEL];
    uint32_t size = 30000;
    dice_state = seed;
    memset(model, 'm', sizeof(model));
    int fd = make((char *)model, size);
    memset(model + size, 0, MODEL - size);
    warm(fd);
    uint8_t *map = mmap(0, MODEL, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    GT_TRUE(map != MAP_FAILED);
    for (int i = 0; i < 1000; i++) {
        uint32_t what = dice(100), at = dice(MODEL - 1), n = 1 + dice(what % 2 ? 200 : 9000);
        n = n < MODEL - at ? n : MODEL - at;
        memset(b, 'A' + (int)dice(26), n);
        if (what < 60 && size) { // over what is there
            at = dice(size);
            n = n < size - at ? n : size - at;
            GT_EQ(pwrite(fd, b, n, at), n);
            memcpy(model + at, b, n);
        } else if (what < 70) {
            GT_EQ(pwrite(fd, b, n, at), n);
            memcpy(model + at, b, n);
            size = at + n > size ? at + n : size;
        } else if (what < 90) {
            long want = at >= size ? 0 : n < size - at ? n : size - at;
            GT_EQ(pread(fd, b, n, at), want);
            GT_TRUE(!memcmp(b, model + at, (size_t)want));
        } else if (what < 93 && size) {
            at = dice(size);
            map[at] = model[at] = b[0];
        } else if (what < 96) {
            GT_OK(ftruncate(fd, at));
            if (at < size)
                memset(model + at, 0, size - at);
            size = at;
        } else if (what < 98 && fallocate(fd, 3 /* PUNCH_HOLE | KEEP_SIZE */, at, n) == 0) {
            memset(model + at, 0, n);
        } else if (what < 99) {
            GT_EQ(pwrite(fd, map, size < 5000 ? size : 5000, 0), size < 5000 ? size : 5000); // itself
        }
        if (i % 50 == 0)
            model_check(fd, model, size);
        if (i % 300 == 0)
            warm(fd);
    }
    model_check(fd, model, size);
    GT_TRUE(!size || !memcmp(map, model, size));
    GT_OK(munmap(map, MODEL));
    GT_OK(close(fd));
    GT_OK(unlink(name));
}
GT(what_was_done_to_it)
{
    for (uint32_t seed = 1; seed < 4; seed++)
        random_changes(seed);
}

GT(read_only_image)
{
    char a[64], b[64];
    struct stat st, st2;
    int fd = (int)GT_OK(open("/etc/passwd", O_RDONLY));
    long n = GT_OK(pread(fd, a, sizeof(a), 0));
    GT_OK(fstat(fd, &st));
    warm(fd);
    GT_EQ(pread(fd, b, sizeof(b), 0), n);
    GT_TRUE(!memcmp(a, b, (size_t)n));
    GT_OK(fstat(fd, &st2));
    GT_TRUE(st.st_ino == st2.st_ino && st.st_size == st2.st_size && st.st_dev == st2.st_dev);
    GT_EQ(pread(fd, b, 64, st.st_size), 0);
    int again = (int)GT_OK(open("/etc/passwd", O_RDONLY));
    warm(again);
    GT_OK(close(fd));
    GT_EQ(pread(again, b, sizeof(b), 0), n);
    GT_TRUE(!memcmp(a, b, (size_t)n));
}

GT(not_in_maps)
{
    char line[512];
    int fd = make("x", 1);
    warm(fd);
    FILE *f = fopen("/proc/self/maps", "r");
    GT_TRUE(f);
    while (fgets(line, sizeof(line), f))
        GT_TRUE(!strstr(line, name));
    fclose(f);
    GT_OK(unlink(name));
}
GT_MAIN
