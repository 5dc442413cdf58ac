// SPDX-License-Identifier: Apache-2.0
// Interrupted system calls: EINTR or restarted, with and without SA_RESTART, and what is left.
#include "gt.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>

static volatile int seen;
static void on(int sig)
{
    seen++;
}
static void handle(int flags)
{
    struct sigaction sa = {.sa_handler = on, .sa_flags = flags};
    sigaction(SIGALRM, &sa, 0);
}
static long ms_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

GT(restart_read_eintr)
{
    int p[2];
    char c;
    GT_OK(pipe(p));
    handle(0);
    gt_alarm(30);
    GT_ERR(read(p[0], &c, 1), EINTR);
    GT_EQ(seen, 1);
}

GT(restart_read_sa_restart)
{
    int p[2];
    char c = 0;
    GT_OK(pipe(p));
    handle(SA_RESTART);
    if (!fork()) {
        usleep(120000);
        write(p[1], "z", 1);
        _exit(0);
    }
    gt_alarm(30);
    GT_EQ(read(p[0], &c, 1), 1);
    GT_EQ(c, 'z');
    GT_EQ(seen, 1);
    wait(0);
}

GT(restart_partial_write)
{
    int p[2];
    GT_OK(pipe(p));
    static char big[1 << 20];
    handle(SA_RESTART);
    gt_alarm(30);
    long n = write(p[1], big, sizeof(big)); // 64 KiB fit, then it blocks
    GT_TRUE(n > 0 && n < (long)sizeof(big));
    GT_EQ(seen, 1);
}

GT(restart_nanosleep_eintr_remaining)
{
    struct timespec t = {5, 0}, rem = {0, 0};
    handle(SA_RESTART); // makes no difference
    gt_alarm(50);
    GT_ERR(nanosleep(&t, &rem), EINTR);
    GT_TRUE(rem.tv_sec == 4 && rem.tv_nsec > 0);
}

GT(restart_nanosleep_over_stop)
{
    pid_t p = fork();
    if (!p) {
        struct timespec t = {0, 200000000}, rem = {77, 77};
        long t0 = ms_now();
        int r = nanosleep(&t, &rem);
        long d = ms_now() - t0;
        _exit(r ? 1 : d < 195 ? 2 : d > 2000 ? 3 : 0);
    }
    usleep(50000);
    kill(p, SIGSTOP);
    usleep(20000);
    kill(p, SIGCONT);
    int st;
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(st, 0);
}

GT(restart_read_over_stop)
{
    int q[2];
    GT_OK(pipe(q));
    pid_t p = fork();
    if (!p) {
        char c;
        _exit(read(q[0], &c, 1) == 1 ? 0 : 1);
    }
    usleep(30000);
    kill(p, SIGSTOP);
    waitpid(p, 0, WUNTRACED);
    kill(p, SIGCONT);
    usleep(30000);
    write(q[1], "x", 1);
    int st;
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(st, 0);
}

GT(restart_clock_nanosleep_abs)
{
    struct timespec t;
    handle(0);
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += 5;
    gt_alarm(30);
    GT_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0), EINTR);
    clock_gettime(CLOCK_REALTIME, &t);
    GT_EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, 0), 0);
}

GT(restart_poll)
{
    int p[2];
    GT_OK(pipe(p));
    struct pollfd f = {p[0], POLLIN, 0};
    handle(SA_RESTART);
    gt_alarm(30);
    GT_ERR(poll(&f, 1, 5000), EINTR);
    handle(0);
    gt_alarm(30);
    GT_ERR(poll(&f, 1, -1), EINTR);
}

GT(restart_futex_wait)
{
    uint32_t w = 0;
    struct timespec t = {5, 0};
    handle(0);
    gt_alarm(30);
    GT_ERR(syscall(SYS_futex, &w, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, 0, 0, 0), EINTR);
    gt_alarm(30);
    GT_ERR(syscall(SYS_futex, &w, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &t, 0, 0), EINTR);
    gt_alarm(30);
    GT_ERR(syscall(SYS_futex, &w, FUTEX_WAIT, 0, &t, 0, 0), EINTR);
    handle(SA_RESTART);
    t = (struct timespec){0, 150000000};
    long t0 = ms_now();
    gt_alarm(30);
    GT_ERR(syscall(SYS_futex, &w, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &t, 0, 0), EINTR);
    GT_TRUE(ms_now() - t0 < 140);
    GT_EQ(seen, 4);
}

GT(restart_futex_over_stop)
{
    pid_t p = fork();
    if (!p) {
        uint32_t w = 0;
        struct timespec t = {0, 200000000};
        long t0 = ms_now();
        long r = syscall(SYS_futex, &w, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &t, 0, 0);
        long d = ms_now() - t0;
        _exit(r != -1 || errno != ETIMEDOUT ? 1 : d < 195 ? 2 : d > 2000 ? 3 : 0);
    }
    usleep(50000);
    kill(p, SIGSTOP);
    usleep(20000);
    kill(p, SIGCONT);
    int st;
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(st, 0);
}

GT(restart_waitpid)
{
    handle(SA_RESTART);
    pid_t p = fork();
    if (!p) {
        usleep(100000);
        _exit(4);
    }
    gt_alarm(30);
    int st;
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(WEXITSTATUS(st), 4);
    GT_EQ(seen, 1);
}

GT(restart_two_handlers)
{
    int p[2];
    char c;
    GT_OK(pipe(p));
    struct sigaction a = {.sa_handler = on, .sa_flags = SA_RESTART}, b = {.sa_handler = on};
    sigaction(SIGUSR1, &a, 0);
    sigaction(SIGUSR2, &b, 0);
    pid_t me = getpid(), k = fork();
    if (!k) {
        usleep(30000);
        kill(me, SIGUSR1);
        for (;;) { // again, should the first ones come before the read
            usleep(50000);
            kill(me, SIGUSR2);
        }
    }
    GT_ERR(read(p[0], &c, 1), EINTR);
    GT_TRUE(seen >= 2);
    kill(k, SIGKILL);
    wait(0);
}

GT(restart_socket_accept)
{
    int s = GT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr sa = {AF_UNIX};
    GT_OK(bind(s, &sa, sizeof(sa.sa_family))); // autobind
    GT_OK(listen(s, 1));
    handle(0);
    gt_alarm(30);
    GT_ERR(accept(s, 0, 0), EINTR);
}
GT_MAIN
