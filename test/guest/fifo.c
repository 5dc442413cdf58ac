// SPDX-License-Identifier: Apache-2.0
// fifo(7): the rules of opening, and what poll says.
#include "gt.h"
#include <poll.h>
#include <sys/stat.h>

static char path[200];
static void make(const char *n)
{
    const char *d = getenv("GT_DIR");
    snprintf(path, sizeof(path), "%s/%s.%d", d ? d : "/tmp", n, getpid());
    unlink(path);
    GT_OK(mkfifo(path, 0600));
}
static short revents(int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT, 0};
    GT_OK(poll(&p, 1, 0));
    return p.revents;
}
static volatile sig_atomic_t got;
static void on_sig(int s)
{
    got = s;
}

GT(nonblocking)
{
    make("a");
    GT_ERR(open(path, O_WRONLY | O_NONBLOCK), ENXIO);
    int r = (int)GT_OK(open(path, O_RDONLY | O_NONBLOCK));
    char c;
    GT_EQ(revents(r), 0); // no HUP before the first writer
    GT_EQ(read(r, &c, 1), 0);
    int w = (int)GT_OK(open(path, O_WRONLY | O_NONBLOCK));
    GT_ERR(read(r, &c, 1), EAGAIN);
    GT_EQ(write(w, "x", 1), 1);
    close(w);
    GT_EQ(revents(r), POLLIN | POLLHUP);
    GT_EQ(read(r, &c, 1), 1);
    GT_EQ(revents(r), POLLHUP);
    w = (int)GT_OK(open(path, O_WRONLY | O_NONBLOCK));
    GT_EQ(revents(r), 0);
    close(w);
    close(r);
    unlink(path);
}

GT(open_waits_for_partner)
{
    make("b");
    pid_t c = fork();
    if (!c) {
        usleep(50000);
        int w = open(path, O_WRONLY);
        write(w, "hello", 5);
        _exit(0);
    }
    int r = (int)GT_OK(open(path, O_RDONLY));
    char b[8];
    GT_EQ(read(r, b, 8), 5);
    GT_EQ(read(r, b, 8), 0);
    waitpid(c, 0, 0);
    unlink(path);
}

GT(open_is_interrupted)
{
    make("c");
    struct sigaction sa = {.sa_handler = on_sig};
    sigaction(SIGALRM, &sa, 0);
    gt_alarm(20);
    GT_ERR(open(path, O_RDONLY), EINTR);
    gt_alarm(20);
    GT_ERR(open(path, O_WRONLY), EINTR);
    // Nothing is left of the attempts.
    GT_ERR(open(path, O_WRONLY | O_NONBLOCK), ENXIO);
    unlink(path);
}

GT(read_write)
{
    make("d");
    int f = (int)GT_OK(open(path, O_RDWR)); // does not wait
    char c;
    GT_EQ(write(f, "q", 1), 1);
    GT_EQ(read(f, &c, 1), 1);
    GT_EQ(revents(f), POLLOUT);
    close(f);
    unlink(path);
}

GT(data_goes_with_the_last_close)
{
    make("e");
    int f = (int)GT_OK(open(path, O_RDWR));
    GT_EQ(write(f, "gone", 4), 4);
    close(f);
    int r = (int)GT_OK(open(path, O_RDONLY | O_NONBLOCK));
    char b[4];
    GT_EQ(read(r, b, 4), 0);
    unlink(path);
}

GT(writer_opens_and_closes_quickly)
{
    make("f");
    for (int i = 0; i < 50; i++) {
        pid_t c = fork();
        if (!c) {
            int w = open(path, O_WRONLY);
            write(w, "1", 1);
            close(w);
            _exit(0);
        }
        int r = (int)GT_OK(open(path, O_RDONLY));
        char b[4];
        GT_EQ(read(r, b, 4), 1);
        GT_EQ(read(r, b, 4), 0);
        close(r);
        GT_EQ(waitpid(c, 0, 0), c);
    }
    unlink(path);
}

GT(stat_and_unlinked)
{
    make("g");
    struct stat st;
    GT_OK(stat(path, &st));
    GT_TRUE(S_ISFIFO(st.st_mode));
    int r = (int)GT_OK(open(path, O_RDONLY | O_NONBLOCK)), w = (int)GT_OK(open(path, O_WRONLY));
    unlink(path);
    GT_EQ(write(w, "abc", 3), 3);
    char b[4];
    GT_EQ(read(r, b, 4), 3);
}

GT_MAIN
