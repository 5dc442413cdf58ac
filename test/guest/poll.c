// SPDX-License-Identifier: Apache-2.0
// poll, ppoll, select, pselect6: readiness, timeouts, signals and masks, bad arguments.
#include "gt.h"
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>

static volatile sig_atomic_t got;
static void on_sig(int s)
{
    got++;
}
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

GT(basic)
{
    int p[2];
    GT_OK(pipe(p));
    struct pollfd f[4] = {{p[0], POLLIN}, {p[1], POLLOUT}, {-1, POLLIN, 77}, {999, POLLIN}};
    GT_EQ(poll(f, 3, 0), 1);
    GT_EQ(f[0].revents, 0);
    GT_EQ(f[1].revents, POLLOUT);
    GT_EQ(f[2].revents, 0);
    GT_EQ(poll(f, 4, 0), 2);
    GT_EQ(f[3].revents, POLLNVAL);
    GT_EQ(poll(0, 0, 0), 0);
    GT_ERR(poll((void *)8, 1, 0), EFAULT);
}

GT(timeout)
{
    double t = now();
    GT_EQ(poll(0, 0, 50), 0);
    GT_TRUE(now() - t >= 0.05);
    struct timespec ts = {0, 30000000};
    t = now();
    GT_EQ(ppoll(0, 0, &ts, 0), 0);
    GT_TRUE(now() - t >= 0.03);
    ts.tv_nsec = 1000000000;
    GT_ERR(ppoll(0, 0, &ts, 0), EINVAL);
}

static void *writer(void *fd)
{
    usleep(30000);
    write(*(int *)fd, "x", 1);
    return 0;
}

GT(wakes_up)
{
    int p[2];
    pthread_t th;
    GT_OK(pipe(p));
    pthread_create(&th, 0, writer, &p[1]);
    struct pollfd f = {p[0], POLLIN | POLLRDNORM};
    GT_EQ(poll(&f, 1, 5000), 1);
    GT_EQ(f.revents, POLLIN | POLLRDNORM);
    pthread_join(th, 0);
}

GT(hangup_wakes)
{
    int p[2];
    GT_OK(pipe(p));
    if (!fork()) {
        usleep(30000);
        _exit(0);
    }
    close(p[1]);
    struct pollfd f = {p[0], 0};
    GT_EQ(poll(&f, 1, 5000), 1);
    GT_EQ(f.revents, POLLHUP);
}

GT(many)
{
    struct pollfd f[300];
    int p[300][2];
    struct rlimit rl = {1024, 1024};
    setrlimit(RLIMIT_NOFILE, &rl);
    for (int i = 0; i < 300; i++) {
        GT_OK(pipe(p[i]));
        f[i] = (struct pollfd){p[i][0], POLLIN};
    }
    GT_EQ(poll(f, 300, 0), 0);
    pthread_t th;
    pthread_create(&th, 0, writer, &p[299][1]);
    GT_EQ(poll(f, 300, 5000), 1);
    GT_EQ(f[299].revents, POLLIN);
    GT_EQ(f[298].revents, 0);
    pthread_join(th, 0);
    struct rlimit low = {100, 1024};
    setrlimit(RLIMIT_NOFILE, &low);
    GT_ERR(poll(f, 101, 0), EINVAL);
}

GT(interrupted)
{
    struct sigaction sa = {.sa_handler = on_sig, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, 0);
    gt_alarm(20);
    GT_ERR(poll(0, 0, 3000), EINTR); // SA_RESTART does not help
    GT_EQ(got, 1);
    gt_alarm(20);
    fd_set r;
    FD_ZERO(&r);
    GT_ERR(select(0, &r, 0, 0, 0), EINTR);
}

GT(ignored_signal_does_not_interrupt)
{
    signal(SIGUSR1, SIG_IGN);
    pid_t me = getpid();
    if (!fork()) {
        usleep(20000);
        kill(me, SIGUSR1);
        _exit(0);
    }
    double t = now();
    GT_EQ(poll(0, 0, 100), 0);
    GT_TRUE(now() - t >= 0.1);
}

GT(stop_and_continue_resumes)
{
    pid_t c = fork();
    if (!c) {
        double t = now();
        int r = poll(0, 0, 200);
        _exit(r == 0 && now() - t >= 0.2 && now() - t < 5 ? 0 : 1);
    }
    int st;
    usleep(50000);
    kill(c, SIGSTOP);
    GT_EQ(waitpid(c, &st, WUNTRACED), c);
    GT_TRUE(WIFSTOPPED(st));
    kill(c, SIGCONT);
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
}

GT(ppoll_mask)
{
    sigset_t block, none, cur;
    struct sigaction sa = {.sa_handler = on_sig};
    sigaction(SIGUSR1, &sa, 0);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigemptyset(&none);
    sigprocmask(SIG_BLOCK, &block, 0);
    raise(SIGUSR1);
    GT_EQ(got, 0);
    struct timespec ts = {5, 0};
    GT_ERR(ppoll(0, 0, &ts, &none), EINTR);
    GT_EQ(got, 1);
    sigprocmask(SIG_BLOCK, 0, &cur);
    GT_TRUE(sigismember(&cur, SIGUSR1)); // the old mask is back
    raise(SIGUSR1);
    GT_EQ(got, 1);
    // Ready at once: the signal stays pending.
    int p[2];
    GT_OK(pipe(p));
    struct pollfd f = {p[1], POLLOUT};
    int n = ppoll(&f, 1, &ts, &none);
    GT_TRUE(n == 1 || (n == -1 && errno == EINTR));
    GT_EQ(syscall(SYS_ppoll, 0, 0, 0, &none, 4), -1);
    GT_EQ(errno, EINVAL);
}

GT(select_basic)
{
    int p[2];
    fd_set r, w, e;
    struct timeval tv = {0, 0};
    GT_OK(pipe(p));
    FD_ZERO(&r);
    FD_ZERO(&w);
    FD_ZERO(&e);
    FD_SET(p[0], &r);
    FD_SET(p[1], &w);
    FD_SET(p[0], &e);
    GT_EQ(select(p[1] + 1, &r, &w, &e, &tv), 1);
    GT_TRUE(!FD_ISSET(p[0], &r) && FD_ISSET(p[1], &w) && !FD_ISSET(p[0], &e));
    GT_EQ(write(p[1], "x", 1), 1);
    FD_SET(p[0], &r);
    GT_EQ(select(p[1] + 1, &r, &w, 0, 0), 2);
    close(p[1]);
    GT_EQ(read(p[0], &tv, 1), 1);
    FD_ZERO(&w);
    FD_SET(p[0], &r);
    GT_EQ(select(p[0] + 1, &r, 0, 0, 0), 1); // HUP is readable
    FD_ZERO(&e);
    FD_SET(p[0], &e);
    tv = (struct timeval){0, 20000};
    GT_EQ(select(p[0] + 1, 0, 0, &e, &tv), 0); // but no exception
    GT_EQ(tv.tv_sec, 0);
    GT_EQ(tv.tv_usec, 0);
}

GT(select_errors)
{
    fd_set r;
    FD_ZERO(&r);
    GT_ERR(select(-1, &r, 0, 0, 0), EINVAL);
    FD_SET(500, &r);
    struct timeval tv = {0, 0};
    tv.tv_sec = -1;
    GT_ERR(select(1, 0, 0, 0, &tv), EINVAL);
    int fd = dup(1);
    close(fd);
    FD_ZERO(&r);
    FD_SET(fd, &r);
    GT_ERR(select(fd + 1, &r, 0, 0, 0), EBADF);
    GT_ERR(select(10, (fd_set *)8, 0, 0, 0), EFAULT);
}

GT(select_time_left)
{
    int p[2];
    fd_set r;
    pthread_t th;
    GT_OK(pipe(p));
    FD_ZERO(&r);
    FD_SET(p[0], &r);
    struct timeval tv = {5, 0};
    pthread_create(&th, 0, writer, &p[1]);
    GT_EQ(select(p[0] + 1, &r, 0, 0, &tv), 1);
    GT_TRUE(tv.tv_sec == 4 && tv.tv_usec > 0);
    pthread_join(th, 0);
}

GT(pselect_mask)
{
    sigset_t block, none;
    struct sigaction sa = {.sa_handler = on_sig};
    sigaction(SIGUSR2, &sa, 0);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR2);
    sigemptyset(&none);
    sigprocmask(SIG_BLOCK, &block, 0);
    raise(SIGUSR2);
    struct timespec ts = {2, 0};
    GT_ERR(pselect(0, 0, 0, 0, &ts, &none), EINTR);
    GT_EQ(got, 1);
    GT_EQ(pselect(0, 0, 0, 0, &(struct timespec){0, 1000}, &none), 0);
}

GT(regular_files_are_ready)
{
    int f = (int)GT_OK(open("/proc/self/exe", O_RDONLY));
    struct pollfd p = {f, POLLIN | POLLOUT};
    GT_EQ(poll(&p, 1, 0), 1);
    GT_EQ(p.revents, POLLIN | POLLOUT);
}

GT_MAIN
