// SPDX-License-Identifier: Apache-2.0
// The position of an open file, of files read so often before that a kernel may have taken short cuts:
// one for all descriptors, processes and threads that have the file, whoever moves it by whatever call.
#include "gt.h"
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

enum { RECORDS = 1024 }; // a record: its number, in 16 characters
static char name[64];
static int make(void)
{
    char rec[32];
    strcpy(name, "/tmp/position.XXXXXX");
    int fd = (int)GT_OK(mkstemp(name));
    FILE *f = fdopen(dup(fd), "w");
    for (int i = 0; i < RECORDS; i++) {
        snprintf(rec, sizeof(rec), "%015d\n", i);
        fputs(rec, f);
    }
    GT_EQ(fclose(f), 0);
    return fd;
}
static long at(int fd)
{
    return lseek(fd, 0, SEEK_CUR);
}
// Often enough for any short cut to be in use. Ends at position 0.
static void warm(int fd)
{
    char c[16];
    GT_EQ(lseek(fd, 0, SEEK_SET), 0);
    for (int i = 0; i < 40; i++)
        GT_EQ(read(fd, c, sizeof(c)), 16);
    GT_EQ(at(fd), 640);
    GT_EQ(lseek(fd, 0, SEEK_SET), 0);
}
// The next record's number.
static int next(int fd)
{
    char c[17] = "";
    long n = read(fd, c, 16);
    if (n == 0)
        return -1;
    GT_EQ(n, 16);
    GT_EQ(c[15], '\n');
    return atoi(c);
}
static long shown(int fd)
{
    char file[64], b[256] = "";
    long pos = -1;
    snprintf(file, sizeof(file), "/proc/self/fdinfo/%d", fd);
    int d = (int)GT_OK(open(file, O_RDONLY));
    GT_TRUE(read(d, b, sizeof(b) - 1) > 0);
    close(d);
    GT_EQ(sscanf(b, "pos: %ld", &pos), 1);
    return pos;
}
static void reap(pid_t p)
{
    int st = -1;
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(st, 0);
}

GT(arithmetic)
{
    char b[64];
    int fd = make(), left;
    const long size = RECORDS * 16;
    warm(fd);
    GT_EQ(next(fd), 0);
    GT_EQ(next(fd), 1);
    GT_EQ(shown(fd), 32);
    GT_EQ(lseek(fd, 16, SEEK_CUR), 48);
    GT_EQ(next(fd), 3);
    GT_EQ(lseek(fd, -32, SEEK_CUR), 32);
    GT_EQ(next(fd), 2);
    GT_EQ(lseek(fd, -16, SEEK_END), size - 16);
    GT_EQ(next(fd), RECORDS - 1);
    GT_EQ(next(fd), -1);
    GT_EQ(at(fd), size);
    GT_EQ(lseek(fd, 100, SEEK_END), size + 100);
    GT_EQ(next(fd), -1);
    GT_EQ(at(fd), size + 100);
    GT_EQ(shown(fd), size + 100);
    GT_EQ(lseek(fd, -8, SEEK_END), size - 8);
    GT_EQ(read(fd, b, 64), 8);
    GT_EQ(at(fd), size);
    warm(fd);
    GT_EQ(lseek(fd, 160, SEEK_SET), 160);
    GT_ERR(lseek(fd, -1, SEEK_SET), EINVAL);
    GT_ERR(lseek(fd, -161, SEEK_CUR), EINVAL);
    GT_ERR(lseek(fd, -size - 1, SEEK_END), EINVAL);
    GT_ERR(lseek(fd, 0, 5), EINVAL);
    GT_ERR(lseek(fd, 0, -1), EINVAL);
    GT_ERR(lseek(fd, INT64_MAX, SEEK_CUR), EINVAL);
    GT_ERR(lseek(fd, INT64_MAX, SEEK_END), EINVAL);
    GT_EQ(at(fd), 160);
    GT_EQ(next(fd), 10);
    warm(fd);
    GT_EQ(lseek(fd, 1ll << 40, SEEK_SET), 1ll << 40);
    GT_EQ(next(fd), -1);
    GT_EQ(at(fd), 1ll << 40);
    GT_EQ(lseek(fd, -(1ll << 40) + 32, SEEK_CUR), 32);
    GT_EQ(next(fd), 2);
    warm(fd);
    GT_EQ(lseek(fd, 16, SEEK_DATA), 16);
    GT_EQ(next(fd), 1);
    GT_EQ(lseek(fd, 16, SEEK_HOLE), size);
    warm(fd);
    GT_EQ(lseek(fd, 32, SEEK_SET), 32);
    GT_OK(ioctl(fd, FIONREAD, &left));
    GT_EQ(left, size - 32);
    GT_EQ(read(fd, b, 0), 0);
    GT_EQ(at(fd), 32);
    GT_EQ(pread(fd, b, 16, 0), 16);
    GT_EQ(at(fd), 32);
    GT_OK(unlink(name));
}

GT(bad_buffers)
{
    char *end = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_OK(munmap(end + 4096, 4096));
    end += 4096;
    __asm__("" : "+r"(end)); // the compiler need not know how much is there
    int fd = make();
    warm(fd);
    GT_ERR(read(fd, end, 16), EFAULT);
    GT_EQ(at(fd), 0);
    GT_EQ(read(fd, end - 4, 16), 4);
    GT_EQ(at(fd), 4);
    warm(fd);
    GT_ERR(read(fd, (void *)8, 16), EFAULT);
    GT_ERR(read(fd, (void *)0x7ffffffff000, 16), EFAULT);
    GT_ERR(read(fd, (void *)-1ul, 16), EFAULT);
    GT_EQ(at(fd), 0);
    GT_EQ(next(fd), 0);
    char *ro = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    warm(fd);
    GT_ERR(read(fd, ro, 16), EFAULT);
    GT_EQ(next(fd), 0);
    GT_OK(unlink(name));
}

GT(other_calls_move_it)
{
    char b[64];
    int fd = make(), p[2];
    struct iovec v[2] = {{b, 16}, {b + 16, 16}};
    warm(fd);
    GT_EQ(next(fd), 0);
    GT_EQ(readv(fd, v, 2), 32);
    GT_EQ(next(fd), 3);
    warm(fd);
    GT_EQ(preadv2(fd, v, 1, -1, 0), 16);
    GT_EQ(next(fd), 1);
    warm(fd);
    GT_EQ(next(fd), 0);
    GT_EQ(write(fd, "000000000009999\n", 16), 16);
    GT_EQ(next(fd), 2);
    GT_EQ(lseek(fd, -32, SEEK_CUR), 16);
    GT_EQ(next(fd), 9999);
    warm(fd);
    GT_OK(fcntl(fd, F_SETFL, O_APPEND));
    GT_EQ(next(fd), 0);
    GT_EQ(write(fd, "000000000008888\n", 16), 16);
    GT_EQ(at(fd), RECORDS * 16 + 16);
    GT_OK(fcntl(fd, F_SETFL, 0));
    GT_OK(ftruncate(fd, RECORDS * 16));
    GT_EQ(next(fd), -1);
    warm(fd);
    GT_OK(pipe(p));
    GT_EQ(next(fd), 0);
    GT_EQ(sendfile(p[1], fd, 0, 16), 16);
    GT_EQ(next(fd), 2);
    GT_EQ(splice(fd, 0, p[1], 0, 16, 0), 16);
    GT_EQ(next(fd), 4);
    char other[80];
    snprintf(other, sizeof(other), "%s.c", name);
    int to = (int)GT_OK(open(other, O_RDWR | O_CREAT, 0600));
    warm(fd);
    GT_EQ(next(fd), 0);
    GT_EQ(copy_file_range(fd, 0, to, 0, 32, 0), 32);
    GT_EQ(next(fd), 3);
    warm(fd);
    GT_EQ(lseek(fd, 48, SEEK_SET), 48);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = -16, .l_len = 16};
    GT_OK(fcntl(fd, F_SETLK, &l));
    pid_t pid = fork();
    if (!pid) {
        struct flock q = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        GT_OK(fcntl(fd, F_GETLK, &q));
        GT_EQ(q.l_start, 32);
        _exit(0);
    }
    reap(pid);
    GT_EQ(next(fd), 3);
    warm(fd);
    GT_EQ(lseek(fd, 1600, SEEK_SET), 1600);
    GT_OK(ftruncate(fd, 800));
    GT_EQ(at(fd), 1600);
    GT_EQ(next(fd), -1);
    GT_EQ(lseek(fd, 784, SEEK_SET), 784);
    GT_EQ(next(fd), 49);
    GT_EQ(next(fd), -1);
    GT_OK(unlink(other));
    GT_OK(unlink(name));
}

GT(descriptors)
{
    int fd = make();
    for (int round = 0; round < 3; round++) {
        warm(fd);
        int copy = (int)GT_OK(dup(fd));
        GT_EQ(next(fd), 0);
        GT_EQ(next(copy), 1);
        GT_EQ(next(fd), 2);
        for (int i = 3; i < 200; i += 2) {
            GT_EQ(next(copy), i);
            GT_EQ(next(fd), i + 1);
        }
        warm(copy);
        GT_EQ(next(copy), 0);
        GT_EQ(shown(fd), 16);
        GT_OK(close(copy));
        GT_EQ(next(fd), 1);
    }
    // Another file of the same name has a position of its own; so has one with the same number.
    int second = (int)GT_OK(open(name, O_RDONLY));
    warm(fd);
    warm(second);
    GT_EQ(next(fd), 0);
    GT_EQ(next(second), 0);
    GT_EQ(next(fd), 1);
    int keep = (int)GT_OK(dup(fd));
    GT_OK(dup2(second, fd));
    GT_EQ(next(keep), 2);
    GT_EQ(next(fd), 1);
    GT_EQ(next(second), 2);
    warm(second);
    GT_EQ(lseek(second, 1600, SEEK_SET), 1600);
    int moved = (int)GT_OK(dup(second));
    GT_OK(close(second));
    GT_EQ(next(moved), 100);
    GT_EQ(open(name, O_RDONLY), second);
    GT_EQ(next(second), 0);
    GT_OK(unlink(name));
}

GT(children)
{
    int fd = make();
    warm(fd);
    for (int i = 0; i < 400; i += 40) {
        GT_EQ(next(fd), i);
        pid_t pid = fork();
        if (!pid) {
            for (int k = 1; k < 40; k++)
                GT_EQ(next(fd), i + k);
            _exit(0);
        }
        reap(pid);
    }
    GT_EQ(next(fd), 400);
    pid_t pid = vfork();
    if (!pid)
        _exit(next(fd) == 401 ? 0 : 1);
    reap(pid);
    GT_EQ(next(fd), 402);
    // Over exec: the next 48 bytes are somebody else's.
    warm(fd);
    GT_EQ(next(fd), 0);
    pid = fork();
    if (!pid) {
        dup2(fd, 0);
        execl("/bin/dd", "dd", "bs=48", "count=1", "of=/dev/null", "status=none", (char *)0);
        _exit(9);
    }
    reap(pid);
    GT_EQ(next(fd), 4);
    GT_OK(unlink(name));
}

GT(passed)
{
    int s[2], fd = make();
    char b[1], ctl[CMSG_SPACE(sizeof(int))];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    pid_t pid = fork();
    struct iovec v = {b, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
    if (!pid) {
        int got;
        GT_OK(close(fd));
        GT_EQ(recvmsg(s[1], &m, 0), 1);
        memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(got));
        for (int i = 1; i < 100; i += 2) {
            GT_EQ(next(got), i);
            GT_EQ(write(s[1], "x", 1), 1);
            GT_EQ(read(s[1], b, 1), 1);
        }
        warm(got);
        GT_EQ(lseek(got, 320, SEEK_SET), 320);
        _exit(0);
    }
    warm(fd);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    GT_EQ(next(fd), 0);
    GT_EQ(sendmsg(s[0], &m, 0), 1);
    for (int i = 2; i <= 100; i += 2) {
        GT_EQ(read(s[0], b, 1), 1);
        GT_EQ(next(fd), i);
        GT_EQ(write(s[0], "x", 1), 1);
    }
    reap(pid);
    GT_EQ(next(fd), 20);
    GT_OK(unlink(name));
}

// --- many at once: every record is read by exactly one ---
static uint8_t *taken;
static int shared_fd;
static void take_all(void)
{
    for (int i; (i = next(shared_fd)) >= 0;)
        __atomic_fetch_add(&taken[i], 1, __ATOMIC_RELAXED);
}
static void all_once(void)
{
    for (int i = 0; i < RECORDS; i++)
        if (taken[i] != 1)
            GT_FAIL("record %d was read %d times", i, taken[i]);
    memset(taken, 0, RECORDS);
}
static void prepare(void)
{
    taken = mmap(0, RECORDS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared_fd = make();
}
static void *taker(void *arg)
{
    take_all();
    return 0;
}
GT(threads_share_it)
{
    prepare();
    for (int round = 0; round < 4; round++) {
        pthread_t t[3];
        warm(shared_fd);
        for (int i = 0; i < 3; i++)
            GT_EQ(pthread_create(&t[i], 0, taker, 0), 0);
        for (int i = 0; i < 3; i++)
            GT_EQ(pthread_join(t[i], 0), 0);
        all_once();
    }
    GT_OK(unlink(name));
}
GT(processes_share_it)
{
    prepare();
    for (int round = 0; round < 4; round++) {
        pid_t p[3];
        warm(shared_fd);
        for (int i = 0; i < 3; i++)
            if (!(p[i] = fork())) {
                pthread_t t;
                GT_EQ(pthread_create(&t, 0, taker, 0), 0);
                take_all();
                GT_EQ(pthread_join(t, 0), 0);
                _exit(0);
            }
        for (int i = 0; i < 3; i++)
            reap(p[i]);
        all_once();
    }
    GT_OK(unlink(name));
}
static volatile int ticks, finished;
static void on_tick(int sig)
{
    int e = errno, i = finished ? -1 : next(shared_fd);
    if (i >= 0)
        taken[i]++;
    ticks++;
    errno = e;
}
GT(signals_in_between)
{
    prepare();
    struct itimerval it = {{0, 300}, {0, 300}}, off = {};
    signal(SIGALRM, on_tick);
    for (int round = 0; round < 10; round++) {
        finished = 0;
        warm(shared_fd);
        GT_OK(setitimer(ITIMER_REAL, &it, 0));
        for (int i; (i = next(shared_fd)) >= 0;)
            __atomic_fetch_add(&taken[i], 1, __ATOMIC_RELAXED);
        finished = 1;
        GT_OK(setitimer(ITIMER_REAL, &off, 0));
        all_once();
    }
    GT_OK(unlink(name));
}
GT(killed_in_between)
{
    prepare();
    for (int round = 0; round < 10; round++) {
        warm(shared_fd);
        volatile int *count = (volatile int *)taken;
        *count = 0;
        pid_t pid = fork();
        if (!pid)
            for (;;) {
                if (next(shared_fd) < 0)
                    pause();
                *count = *count + 1;
            }
        for (int i = 0; i < 1000000 && *count < 50 * round; i++)
            sched_yield();
        GT_OK(kill(pid, SIGKILL));
        GT_EQ(waitpid(pid, 0, 0), pid);
        long pos = at(shared_fd);
        GT_TRUE(pos % 16 == 0 && (pos / 16 == *count || pos / 16 == *count + 1));
        if (pos < RECORDS * 16)
            GT_EQ(next(shared_fd), pos / 16);
    }
    GT_OK(unlink(name));
}

// A writer changes a record and says so; what is read afterwards is the new one.
static volatile int version;
static void *writer(void *arg)
{
    char rec[32];
    int fd = (int)GT_OK(open(name, O_WRONLY));
    for (int v = 1; v <= 400; v++) {
        snprintf(rec, sizeof(rec), "%015d\n", v);
        GT_EQ(pwrite(fd, rec, 16, 0), 16);
        __atomic_store_n(&version, v, __ATOMIC_SEQ_CST);
        for (volatile int i = 0; i < 30000; i++)
            ;
    }
    finished = 1;
    return 0;
}
GT(changes_are_read)
{
    pthread_t t;
    finished = 0;
    shared_fd = make();
    warm(shared_fd);
    GT_EQ(pthread_create(&t, 0, writer, 0), 0);
    while (!finished) {
        int said = __atomic_load_n(&version, __ATOMIC_SEQ_CST);
        GT_EQ(lseek(shared_fd, 0, SEEK_SET), 0);
        int got = next(shared_fd);
        GT_TRUE(got >= said && got <= 400);
        GT_EQ(at(shared_fd), 16);
    }
    GT_EQ(pthread_join(t, 0), 0);
    GT_OK(unlink(name));
}
static void *table_of_its_own(void *arg)
{
    GT_OK(unshare(CLONE_FILES));
    GT_EQ(next(shared_fd), 1);
    warm(shared_fd);
    GT_EQ(next(shared_fd), 0);
    GT_OK(close(shared_fd));
    GT_EQ(open("/dev/null", O_RDONLY), shared_fd);
    GT_EQ(next(shared_fd), -1);
    return 0;
}
GT(threads_and_their_tables)
{
    pthread_t t;
    shared_fd = make();
    warm(shared_fd);
    GT_EQ(next(shared_fd), 0);
    GT_EQ(pthread_create(&t, 0, table_of_its_own, 0), 0);
    GT_EQ(pthread_join(t, 0), 0);
    GT_EQ(next(shared_fd), 1);
    GT_EQ(next(shared_fd), 2);
    GT_OK(unlink(name));
}
GT(read_only_image)
{
    char a[1024], b[1024];
    int fd = (int)GT_OK(open("/etc/services", O_RDONLY)), n = 0;
    long size = GT_OK(pread(fd, a, sizeof(a), 0));
    for (int round = 0; round < 3; round++) {
        for (n = 0; n < size; n++)
            GT_EQ(read(fd, b + n, 1), 1);
        GT_TRUE(!memcmp(a, b, (size_t)size));
        GT_EQ(lseek(fd, 0, SEEK_SET), 0);
    }
    int wo = (int)GT_OK(open("/dev/null", O_WRONLY)), dir = (int)GT_OK(open("/tmp", O_RDONLY));
    for (int i = 0; i < 40; i++) {
        GT_ERR(read(wo, b, 16), EBADF);
        GT_ERR(read(dir, b, 16), EISDIR);
        GT_ERR(read(-1, b, 16), EBADF);
        GT_ERR(lseek(1000000, 0, SEEK_CUR), EBADF);
    }
}
GT(beyond_a_window)
{
    enum { MB = 1 << 20 };
    char *a = malloc(MB), b[100];
    int fd = make();
    for (int i = 0; i < 20; i++) {
        memset(a, 'a' + i, MB);
        GT_EQ(pwrite(fd, a, MB, (off_t)i * MB), MB);
    }
    GT_EQ(pwrite(fd, "000000000000000\n", 16, 0), 16);
    GT_EQ(lseek(fd, 0, SEEK_SET), 0);
    for (int i = 0; i < 40; i++)
        GT_EQ(read(fd, b, 16), 16);
    GT_EQ(lseek(fd, 16 * MB - 150, SEEK_SET), 16 * MB - 150);
    GT_EQ(read(fd, b, 100), 100);
    GT_EQ(read(fd, b, 100), 100);
    GT_TRUE(b[49] == 'a' + 15 && b[50] == 'a' + 16);
    GT_EQ(at(fd), 16 * MB + 50);
    GT_EQ(lseek(fd, -3, SEEK_END), 20 * MB - 3);
    GT_EQ(read(fd, b, 100), 3);
    GT_EQ(read(fd, b, 100), 0);
    GT_EQ(at(fd), 20 * MB);
    GT_OK(unlink(name));
}
GT_MAIN
