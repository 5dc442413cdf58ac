// SPDX-License-Identifier: Apache-2.0
// File locks: POSIX records, open-file-description locks, flock(2).
#include "gtfs.h"
#include <sys/file.h>

static int lk(int fd, int cmd, int type, off_t start, off_t len)
{
    struct flock l = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    return fcntl(fd, cmd, &l);
}
// What a child sees when it asks for a write lock on [start, start + len).
static struct flock seen(const char *name, off_t start, off_t len)
{
    int p[2];
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    GT_OK(pipe(p));
    pid_t c = fork();
    if (!c) {
        int fd = open(name, O_RDWR);
        fcntl(fd, F_GETLK, &l);
        _exit(write(p[1], &l, sizeof(l)) != sizeof(l));
    }
    GT_EQ(read(p[0], &l, sizeof(l)), (long)sizeof(l));
    waitpid(c, NULL, 0);
    close(p[0]);
    close(p[1]);
    return l;
}
GT(posix_basic)
{
    int fd = gtfs_file("pb", "0123456789");
    GT_OK(lk(fd, F_SETLK, F_WRLCK, 2, 4));
    struct flock l = seen("pb", 0, 0);
    GT_EQ(l.l_type, F_WRLCK);
    GT_EQ(l.l_start, 2);
    GT_EQ(l.l_len, 4);
    GT_EQ(l.l_pid, getpid());
    GT_EQ(l.l_whence, SEEK_SET);
    GT_EQ(seen("pb", 6, 1).l_type, F_UNLCK);
    GT_EQ(seen("pb", 0, 2).l_type, F_UNLCK);
    GT_EQ(seen("pb", 5, 1).l_type, F_WRLCK);
    GT_OK(lk(fd, F_SETLK, F_WRLCK, 0, 0)); // own locks never conflict
    l = seen("pb", 100, 1);
    GT_EQ(l.l_start, 0);
    GT_EQ(l.l_len, 0);
}
GT(posix_split_and_join)
{
    int fd = gtfs_file("ps", "");
    GT_OK(lk(fd, F_SETLK, F_WRLCK, 0, 100));
    GT_OK(lk(fd, F_SETLK, F_UNLCK, 40, 20));
    GT_EQ(seen("ps", 40, 20).l_type, F_UNLCK);
    struct flock l = seen("ps", 39, 30);
    GT_EQ(l.l_start, 0);
    GT_EQ(l.l_len, 40);
    l = seen("ps", 50, 50);
    GT_EQ(l.l_start, 60);
    GT_EQ(l.l_len, 40);
    GT_OK(lk(fd, F_SETLK, F_RDLCK, 10, 10));
    l = seen("ps", 12, 1);
    GT_EQ(l.l_type, F_RDLCK);
    GT_EQ(l.l_start, 10);
    GT_OK(lk(fd, F_SETLK, F_WRLCK, 10, 50)); // fills every gap
    l = seen("ps", 99, 1);
    GT_EQ(l.l_start, 0);
    GT_EQ(l.l_len, 100);
    GT_OK(lk(fd, F_SETLK, F_UNLCK, 0, 0));
    GT_EQ(seen("ps", 0, 0).l_type, F_UNLCK);
}
GT(posix_errors)
{
    int fd = gtfs_file("pe", "abc"), r = open("pe", O_RDONLY), w = open("pe", O_WRONLY);
    struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = -1};
    GT_ERR(fcntl(fd, F_SETLK, &l), EINVAL);
    l.l_start = 0, l.l_whence = 9;
    GT_ERR(fcntl(fd, F_SETLK, &l), EINVAL);
    l.l_whence = SEEK_SET, l.l_type = 9;
    GT_ERR(fcntl(fd, F_SETLK, &l), EINVAL);
    GT_ERR(lk(r, F_SETLK, F_WRLCK, 0, 1), EBADF);
    GT_ERR(lk(w, F_SETLK, F_RDLCK, 0, 1), EBADF);
    GT_OK(lk(fd, F_SETLK, F_RDLCK, 5, -5));
    struct flock s = seen("pe", 0, 1);
    GT_EQ(s.l_start, 0);
    GT_EQ(s.l_len, 5);
    l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -1, .l_len = 1};
    GT_OK(fcntl(fd, F_SETLK, &l));
    s = seen("pe", 2, 1);
    GT_EQ(s.l_type, F_WRLCK);
    GT_EQ(s.l_start, 2);
}
GT(posix_dies_with_any_close)
{
    int fd = gtfs_file("pd", "x");
    GT_OK(lk(fd, F_SETLK, F_WRLCK, 0, 0));
    close(open("pd", O_RDONLY)); // the infamous rule
    GT_EQ(seen("pd", 0, 1).l_type, F_UNLCK);
}
GT(posix_not_inherited)
{
    int fd = gtfs_file("pi", "x");
    GT_OK(lk(fd, F_SETLK, F_WRLCK, 0, 0));
    pid_t c = fork();
    if (!c)
        _exit(lk(fd, F_SETLK, F_WRLCK, 0, 1) == -1 && (errno == EAGAIN || errno == EACCES) ? 0 : 1);
    int st;
    GT_OK(waitpid(c, &st, 0));
    GT_EQ(st, 0);
    GT_EQ(seen("pi", 0, 1).l_type, F_WRLCK); // the child's end took nothing away
}
GT(posix_blocking)
{
    int fd = gtfs_file("pw", "x"), p[2];
    char b;
    GT_OK(pipe(p));
    GT_OK(lk(fd, F_SETLK, F_WRLCK, 0, 0));
    pid_t c = fork();
    if (!c) {
        int mine = open("pw", O_RDWR);
        if (lk(mine, F_SETLKW, F_WRLCK, 0, 0))
            _exit(1);
        _exit(write(p[1], "g", 1) != 1);
    }
    usleep(50000);
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    GT_ERR(read(p[0], &b, 1), EAGAIN);
    fcntl(p[0], F_SETFL, 0);
    GT_OK(lk(fd, F_SETLK, F_UNLCK, 0, 0));
    GT_EQ(read(p[0], &b, 1), 1);
    int st;
    GT_OK(waitpid(c, &st, 0));
    GT_EQ(st, 0);
}
static void on_alarm(int s)
{
    (void)s;
}
GT(posix_interrupted)
{
    int fd = gtfs_file("in", "x");
    GT_OK(lk(fd, F_SETLK, F_WRLCK, 0, 0));
    pid_t c = fork();
    if (!c) {
        struct sigaction sa = {.sa_handler = on_alarm};
        sigaction(SIGALRM, &sa, NULL);
        int mine = open("in", O_RDWR);
        ualarm(50000, 50000);
        _exit(lk(mine, F_SETLKW, F_WRLCK, 0, 0) == -1 && errno == EINTR ? 0 : 1);
    }
    int st;
    GT_OK(waitpid(c, &st, 0));
    GT_EQ(st, 0);
}
GT(posix_deadlock)
{
    int fd = gtfs_file("dl", "x"), p[2];
    char b;
    GT_OK(pipe(p));
    GT_OK(lk(fd, F_SETLK, F_WRLCK, 0, 1));
    pid_t c = fork();
    if (!c) {
        int mine = open("dl", O_RDWR);
        if (lk(mine, F_SETLK, F_WRLCK, 1, 1) || write(p[1], "r", 1) != 1)
            _exit(1);
        _exit(lk(mine, F_SETLKW, F_WRLCK, 0, 1) ? 2 : 0);
    }
    GT_EQ(read(p[0], &b, 1), 1);
    usleep(100000);
    GT_ERR(lk(fd, F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
    GT_OK(lk(fd, F_SETLK, F_UNLCK, 0, 0));
    int st;
    GT_OK(waitpid(c, &st, 0));
    GT_EQ(st, 0);
}
GT(ofd)
{
    int a = gtfs_file("od", "x"), b = open("od", O_RDWR), d = dup(a);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    GT_OK(fcntl(a, F_OFD_SETLK, &l));
    GT_ERR(fcntl(b, F_OFD_SETLK, &l), EAGAIN);
    GT_OK(fcntl(d, F_OFD_SETLK, &l)); // the same description
    GT_ERR(lk(b, F_SETLK, F_WRLCK, 0, 0), EAGAIN);
    l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
    GT_OK(fcntl(b, F_OFD_GETLK, &l));
    GT_EQ(l.l_type, F_WRLCK);
    GT_EQ(l.l_pid, -1);
    l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_pid = 1};
    GT_ERR(fcntl(b, F_OFD_SETLK, &l), EINVAL);
    l.l_pid = 0;
    close(a);
    GT_ERR(fcntl(b, F_OFD_SETLK, &l), EAGAIN); // still held through the duplicate
    close(d);
    GT_OK(fcntl(b, F_OFD_SETLK, &l));
}
GT(flock_rules)
{
    int a = gtfs_file("fl", "x"), b = open("fl", O_RDONLY), d = dup(a);
    GT_OK(flock(a, LOCK_SH));
    GT_OK(flock(b, LOCK_SH));
    GT_ERR(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    GT_OK(flock(a, LOCK_UN));
    GT_OK(flock(b, LOCK_EX | LOCK_NB)); // works on a read-only descriptor
    GT_ERR(flock(a, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    GT_ERR(flock(d, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    GT_OK(flock(b, LOCK_UN));
    GT_OK(flock(d, LOCK_EX | LOCK_NB));
    GT_OK(flock(a, LOCK_EX | LOCK_NB)); // shares d's description
    GT_ERR(flock(a, LOCK_EX | LOCK_SH), EINVAL);
    GT_ERR(flock(a, 0), EINVAL);
    GT_ERR(flock(77, LOCK_EX), EBADF);
    GT_OK(lk(b, F_SETLK, F_RDLCK, 0, 0)); // the families do not see each other
    close(a);
    GT_ERR(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    close(d);
    GT_OK(flock(b, LOCK_SH | LOCK_NB));
}
GT(flock_shared_by_fork)
{
    int fd = gtfs_file("ff", "x");
    GT_OK(flock(fd, LOCK_EX));
    pid_t c = fork();
    if (!c)
        _exit(flock(fd, LOCK_EX | LOCK_NB) ? 1 : flock(fd, LOCK_UN) ? 2 : 0);
    int st;
    GT_OK(waitpid(c, &st, 0));
    GT_EQ(st, 0);
    GT_OK(flock(open("ff", O_RDWR), LOCK_EX | LOCK_NB)); // the child's unlock was ours too
}
GT(flock_blocking)
{
    int fd = gtfs_file("fb", "x");
    GT_OK(flock(fd, LOCK_EX));
    pid_t c = fork();
    if (!c) {
        int mine = open("fb", O_RDWR);
        _exit(flock(mine, LOCK_SH) != 0);
    }
    usleep(50000);
    GT_EQ(waitpid(c, NULL, WNOHANG), 0);
    GT_OK(flock(fd, LOCK_UN));
    int st;
    GT_OK(waitpid(c, &st, 0));
    GT_EQ(st, 0);
}
// A counter in a file, guarded by each family in turn.
static void hammer(const char *name, int how)
{
    close(gtfs_file(name, "0      "));
    for (int p = 0; p < 4; p++)
        if (!fork()) {
            int fd = open(name, O_RDWR);
            for (int i = 0; i < 100; i++) {
                char b[16] = "";
                struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
                if (how == 0 ? lk(fd, F_SETLKW, F_WRLCK, 0, 0)
                    : how == 1 ? fcntl(fd, F_OFD_SETLKW, &l)
                               : flock(fd, LOCK_EX))
                    _exit(1);
                if (pread(fd, b, 7, 0) != 7)
                    _exit(2);
                snprintf(b, sizeof(b), "%-7d", atoi(b) + 1);
                if (pwrite(fd, b, 7, 0) != 7)
                    _exit(3);
                l.l_type = F_UNLCK;
                if (how == 0 ? lk(fd, F_SETLK, F_UNLCK, 0, 0)
                    : how == 1 ? fcntl(fd, F_OFD_SETLK, &l)
                               : flock(fd, LOCK_UN))
                    _exit(4);
            }
            _exit(0);
        }
    int st;
    while (wait(&st) > 0)
        GT_EQ(st, 0);
    gtfs_is(name, "400    ");
}
GT(mutual_exclusion)
{
    hammer("mu0", 0);
    hammer("mu1", 1);
    hammer("mu2", 2);
}
GT_MAIN
