// SPDX-License-Identifier: Apache-2.0
// pipe(7): atomicity, sizes, blocking, end of file and broken pipes, poll masks, packets.
#include "gt.h"
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static volatile sig_atomic_t got;
static void on_sig(int s)
{
    got = s;
}

static void nonblock(int fd, int on)
{
    int fl = (int)GT_OK(fcntl(fd, F_GETFL));
    GT_OK(fcntl(fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK));
}

static short revents(int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT, 0};
    GT_OK(poll(&p, 1, 0));
    return p.revents;
}

GT(basic)
{
    int p[2];
    char b[16];
    struct stat st;
    GT_OK(pipe(p));
    GT_EQ(write(p[1], "hello", 5), 5);
    GT_EQ(read(p[0], b, 2), 2);
    GT_EQ(read(p[0], b, 16), 3);
    GT_EQ(memcmp(b, "llo", 3), 0);
    GT_ERR(read(p[1], b, 1), EBADF);
    GT_ERR(write(p[0], b, 1), EBADF);
    GT_ERR(lseek(p[0], 0, SEEK_SET), ESPIPE);
    GT_ERR(pread(p[0], b, 1, 0), ESPIPE);
    GT_ERR(pwrite(p[1], b, 1, 0), ESPIPE);
    GT_OK(fstat(p[0], &st));
    GT_TRUE(S_ISFIFO(st.st_mode));
    GT_EQ(st.st_mode & 0777, 0600);
    struct stat st2;
    GT_OK(fstat(p[1], &st2));
    GT_EQ(st.st_ino, st2.st_ino);
    GT_EQ(read(p[0], b, 0), 0);
    GT_EQ(write(p[1], b, 0), 0);
    GT_ERR(fsync(p[1]), EINVAL);
}

GT(name)
{
    int p[2];
    char path[64], link[64] = {0}, want[64];
    struct stat st;
    GT_OK(pipe(p));
    GT_OK(fstat(p[0], &st));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
    GT_OK(readlink(path, link, sizeof(link) - 1));
    snprintf(want, sizeof(want), "pipe:[%lu]", (unsigned long)st.st_ino);
    GT_STR(link, want);
}

GT(flags)
{
    int p[2];
    GT_OK(pipe2(p, O_CLOEXEC | O_NONBLOCK));
    GT_EQ(fcntl(p[0], F_GETFD), FD_CLOEXEC);
    GT_EQ(fcntl(p[0], F_GETFL), O_RDONLY | O_NONBLOCK);
    GT_EQ(fcntl(p[1], F_GETFL), O_WRONLY | O_NONBLOCK);
    GT_ERR(pipe2(p, O_APPEND), EINVAL);
    GT_ERR(pipe2((int *)8, 0), EFAULT);
}

GT(eof_and_epipe)
{
    int p[2];
    char c;
    GT_OK(pipe(p));
    GT_EQ(write(p[1], "x", 1), 1);
    close(p[1]);
    GT_EQ(read(p[0], &c, 1), 1);
    GT_EQ(read(p[0], &c, 1), 0);
    GT_EQ(revents(p[0]), POLLHUP);
    close(p[0]);
    GT_OK(pipe(p));
    close(p[0]);
    signal(SIGPIPE, on_sig);
    GT_ERR(write(p[1], "x", 1), EPIPE);
    GT_EQ(got, SIGPIPE);
    GT_EQ(revents(p[1]), POLLOUT | POLLERR);
    signal(SIGPIPE, SIG_IGN);
    GT_ERR(write(p[1], "x", 1), EPIPE);
}

GT(sigpipe_kills)
{
    int p[2], st;
    GT_OK(pipe(p));
    close(p[0]);
    pid_t c = fork();
    if (!c) {
        signal(SIGPIPE, SIG_DFL);
        write(p[1], "x", 1);
        _exit(0);
    }
    GT_EQ(waitpid(c, &st, 0), c);
    GT_TRUE(WIFSIGNALED(st) && WTERMSIG(st) == SIGPIPE);
}

GT(size)
{
    int p[2];
    GT_OK(pipe(p));
    GT_EQ(fcntl(p[0], F_GETPIPE_SZ), 65536);
    GT_EQ(fcntl(p[0], F_SETPIPE_SZ, 100), 4096);
    GT_EQ(fcntl(p[1], F_SETPIPE_SZ, 5000), 8192);
    GT_EQ(fcntl(p[1], F_GETPIPE_SZ), 8192);
    nonblock(p[1], 1);
    char page[4096] = {0};
    GT_EQ(write(p[1], page, 4096), 4096);
    GT_EQ(write(p[1], page, 4096), 4096);
    GT_ERR(write(p[1], page, 1), EAGAIN);
    GT_ERR(fcntl(p[1], F_SETPIPE_SZ, 4096), EBUSY);
    GT_EQ(fcntl(p[1], F_SETPIPE_SZ, 1 << 20), 1 << 20);
    GT_EQ(write(p[1], page, 4096), 4096);
}

GT(capacity)
{
    int p[2], total = 0, n;
    char buf[4096];
    memset(buf, 'a', sizeof(buf));
    GT_OK(pipe2(p, O_NONBLOCK));
    while ((n = write(p[1], buf, sizeof(buf))) > 0)
        total += n;
    GT_EQ(total, 65536);
    GT_EQ(errno, EAGAIN);
    GT_EQ(revents(p[1]), 0);
    GT_OK(ioctl(p[0], FIONREAD, &n));
    GT_EQ(n, 65536);
    // A slot is free only when all of it has been read.
    GT_EQ(read(p[0], buf, 4095), 4095);
    GT_ERR(write(p[1], buf, 1), EAGAIN);
    GT_EQ(read(p[0], buf, 1), 1);
    GT_EQ(write(p[1], buf, 1), 1);
}

GT(small_writes_share_a_page)
{
    int p[2], n = 0;
    GT_OK(pipe2(p, O_NONBLOCK));
    while (write(p[1], "abc", 3) == 3)
        n += 3;
    GT_TRUE(n > 65000);
}

GT(atomic_nonblocking)
{
    int p[2];
    char buf[8192] = {0};
    GT_OK(pipe2(p, O_NONBLOCK));
    for (int i = 0; i < 15; i++)
        GT_EQ(write(p[1], buf, 4096), 4096);
    GT_EQ(write(p[1], buf, 8192), 4096); // partial: more than PIPE_BUF
    GT_ERR(write(p[1], buf, 4096), EAGAIN);
    GT_EQ(read(p[0], buf, 100), 100);
    GT_ERR(write(p[1], buf, 100), EAGAIN);
}

static void *slow_reader(void *arg)
{
    int fd = *(int *)arg;
    char b[1000];
    long total = 0, n;
    while ((n = read(fd, b, sizeof(b))) > 0)
        total += n;
    return (void *)total;
}

GT(big_blocking_write)
{
    int p[2];
    GT_OK(pipe(p));
    size_t n = 1 << 20;
    char *big = calloc(1, n);
    pthread_t th;
    void *r;
    pthread_create(&th, 0, slow_reader, &p[0]);
    GT_EQ(write(p[1], big, n), n);
    close(p[1]);
    pthread_join(th, &r);
    GT_EQ((long)r, n);
}

GT(writers_do_not_mix)
{
    int p[2];
    GT_OK(pipe(p));
    for (int k = 0; k < 4; k++) {
        if (fork())
            continue;
        char b[4096];
        memset(b, 'a' + k, sizeof(b));
        for (int i = 0; i < 100; i++)
            if (write(p[1], b, sizeof(b)) != sizeof(b))
                _exit(1);
        _exit(0);
    }
    close(p[1]);
    char b[4096];
    int chunks = 0;
    for (;;) {
        size_t have = 0;
        while (have < sizeof(b)) {
            ssize_t n = GT_OK(read(p[0], b + have, sizeof(b) - have));
            if (!n)
                break;
            have += n;
        }
        if (!have)
            break;
        for (size_t i = 1; i < have; i++)
            GT_EQ(b[i], b[0]);
        chunks++;
    }
    GT_EQ(chunks, 400);
    for (int k = 0, st; k < 4; k++) {
        GT_OK(wait(&st));
        GT_EQ(st, 0);
    }
}

GT(packets)
{
    int p[2];
    char b[10];
    GT_OK(pipe2(p, O_DIRECT));
    GT_EQ(write(p[1], "abcdef", 6), 6);
    GT_EQ(write(p[1], "gh", 2), 2);
    GT_EQ(read(p[0], b, 3), 3); // the rest of the packet is lost
    GT_EQ(read(p[0], b, 10), 2);
    GT_EQ(memcmp(b, "gh", 2), 0);
}

GT(interrupted_read)
{
    int p[2];
    char c;
    GT_OK(pipe(p));
    struct sigaction sa = {.sa_handler = on_sig};
    sigaction(SIGALRM, &sa, 0);
    gt_alarm(20);
    GT_ERR(read(p[0], &c, 1), EINTR);
    GT_EQ(got, SIGALRM);
    // With SA_RESTART the read goes on.
    got = 0;
    sa.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &sa, 0);
    if (!fork()) {
        usleep(100000);
        write(p[1], "z", 1);
        _exit(0);
    }
    gt_alarm(20);
    GT_EQ(read(p[0], &c, 1), 1);
    GT_EQ(got, SIGALRM);
}

GT(interrupted_write_is_partial)
{
    int p[2];
    GT_OK(pipe(p));
    struct sigaction sa = {.sa_handler = on_sig};
    sigaction(SIGALRM, &sa, 0);
    char *b = calloc(1, 1 << 20);
    gt_alarm(30);
    GT_EQ(write(p[1], b, 1 << 20), 65536);
}

GT(poll_masks)
{
    int p[2];
    GT_OK(pipe(p));
    GT_EQ(revents(p[0]), 0);
    GT_EQ(revents(p[1]), POLLOUT);
    GT_EQ(write(p[1], "x", 1), 1);
    GT_EQ(revents(p[0]), POLLIN);
    close(p[1]);
    GT_EQ(revents(p[0]), POLLIN | POLLHUP);
}

GT(faults)
{
    int p[2];
    char b[4] = "abc";
    GT_OK(pipe(p));
    GT_ERR(write(p[1], (void *)8, 10), EFAULT);
    GT_EQ(write(p[1], b, 4), 4);
    GT_ERR(read(p[0], (void *)8, 4), EFAULT);
    GT_EQ(read(p[0], b, 4), 4); // nothing was lost
}

GT(reopen_through_proc)
{
    int p[2];
    char path[64], c;
    GT_OK(pipe(p));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
    int w = (int)GT_OK(open(path, O_WRONLY));
    GT_EQ(write(w, "q", 1), 1);
    close(p[1]);
    GT_EQ(read(p[0], &c, 1), 1);
    GT_EQ(c, 'q');
    GT_EQ(revents(p[0]), 0); // w is a writer
    close(w);
    GT_EQ(revents(p[0]), POLLHUP);
}

GT(one_wakeup_per_byte) // the job server of make: many readers, each byte for one
{
    int p[2], done[2];
    GT_OK(pipe(p));
    GT_OK(pipe(done));
    for (int i = 0; i < 6; i++) {
        if (!fork()) {
            char c;
            if (read(p[0], &c, 1) == 1)
                write(done[1], &c, 1);
            _exit(0);
        }
    }
    usleep(50000);
    for (int i = 0; i < 6; i++) {
        char c;
        GT_EQ(write(p[1], "t", 1), 1);
        GT_EQ(read(done[0], &c, 1), 1);
    }
    for (int i = 0; i < 6; i++)
        GT_OK(wait(0));
}

GT_MAIN
