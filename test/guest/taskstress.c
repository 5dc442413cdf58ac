// SPDX-License-Identifier: Apache-2.0
// Races of the task code: kills during fork, exec and exit, stops during everything, many waiters.
#include "gt.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static void *forker(void *arg)
{
    for (;;) {
        pid_t p = fork();
        if (!p)
            _exit(0);
        waitpid(p, 0, 0);
    }
}
static void *execer(void *arg)
{
    usleep((unsigned)(long)arg);
    execl("/bin/true", "true", (char *)0);
    return 0;
}
static void *thread_maker(void *arg)
{
    void *nothing(void *a) { return a; }
    for (;;) {
        pthread_t t;
        if (!pthread_create(&t, 0, nothing, 0))
            pthread_join(t, 0);
    }
}
static void reap_all(void)
{
    while (waitpid(-1, 0, __WALL) > 0)
        ;
}

GT(stress_kill_while_forking)
{
    GT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    double end = seconds() + 1.5;
    for (int i = 0; seconds() < end; i++) {
        pid_t p = fork();
        if (!p) {
            pthread_t t;
            for (int k = 0; k < 3; k++)
                pthread_create(&t, 0, k == 2 ? thread_maker : forker, 0);
            for (;;)
                pause();
        }
        usleep(1000 * (i % 10));
        int st;
        GT_OK(kill(p, SIGKILL));
        GT_EQ(waitpid(p, &st, 0), p);
        GT_EQ(st, SIGKILL);
    }
    reap_all();
}

GT(stress_exec_from_busy_groups)
{
    double end = seconds() + 1.5;
    for (int i = 0; seconds() < end; i++) {
        pid_t p = fork();
        if (!p) {
            pthread_t t;
            signal(SIGCHLD, SIG_IGN);
            pthread_create(&t, 0, thread_maker, 0);
            pthread_create(&t, 0, forker, 0);
            for (int k = 0; k < 2; k++) // two at once: one wins
                pthread_create(&t, 0, execer, (void *)(long)(i % 5 * 500));
            if (i & 1)
                pthread_exit(0);
            for (;;)
                pause();
        }
        int st;
        GT_EQ(waitpid(p, &st, 0), p);
        GT_EQ(st, 0);
    }
}

GT(stress_stop_continue)
{
    pid_t p = fork();
    if (!p) {
        pthread_t t;
        pthread_create(&t, 0, forker, 0);
        pthread_create(&t, 0, thread_maker, 0);
        for (;;)
            usleep(100);
    }
    double end = seconds() + 1.5;
    int st;
    while (seconds() < end) {
        GT_OK(kill(p, SIGSTOP));
        GT_EQ(waitpid(p, &st, WUNTRACED), p);
        GT_TRUE(WIFSTOPPED(st));
        GT_OK(kill(p, SIGCONT));
        GT_EQ(waitpid(p, &st, WCONTINUED), p);
        GT_TRUE(WIFCONTINUED(st));
    }
    kill(p, SIGKILL);
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(st, SIGKILL);
}

GT(stress_many_waiters)
{
    // threads that all wait for any child: each child is reported exactly once
    enum { N = 200 };
    static int reported;
    for (int i = 0; i < N; i++)
        if (!fork()) {
            usleep(1000 * (i % 7));
            _exit(0);
        }
    void *w(void *a)
    {
        while (waitpid(-1, 0, 0) > 0)
            __atomic_fetch_add(&reported, 1, __ATOMIC_SEQ_CST);
        return 0;
    }
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], 0, w, 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], 0);
    GT_EQ(reported, N);
}

static volatile int handled;
static void on(int sig)
{
    handled++;
}

GT(stress_signal_storm)
{
    signal(SIGUSR1, on);
    signal(SIGUSR2, on);
    pid_t me = getpid(), p[3];
    for (int i = 0; i < 3; i++) {
        p[i] = fork();
        if (!p[i])
            for (;;) { // leaves the receiver time between two
                kill(me, i & 1 ? SIGUSR1 : SIGUSR2);
                usleep(200);
            }
    }
    double end = seconds() + 1; // and on, on a busy machine, until both have come far enough
    long sum = 0;
    int fd[2];
    GT_OK(pipe(fd));
    while (seconds() < end || handled <= 100 || sum <= 10) {
        char c = 'x';
        while (write(fd[1], &c, 1) < 0)
            GT_EQ(errno, EINTR);
        while (read(fd[0], &c, 1) < 0)
            GT_EQ(errno, EINTR);
        sum++;
        void *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        GT_TRUE(m != MAP_FAILED);
        *(volatile char *)m = 1;
        munmap(m, 8192);
    }
    for (int i = 0; i < 3; i++) {
        kill(p[i], SIGKILL);
        waitpid(p[i], 0, 0);
    }
}

GT(stress_exit_with_threads)
{
    double end = seconds() + 1;
    for (int i = 0; seconds() < end; i++) {
        pid_t p = fork();
        if (!p) {
            pthread_t t;
            pthread_create(&t, 0, thread_maker, 0);
            pthread_create(&t, 0, thread_maker, 0);
            usleep(i % 3 * 300);
            _exit(i & 127);
        }
        int st;
        GT_EQ(waitpid(p, &st, 0), p);
        GT_EQ(st, (i & 127) << 8);
    }
}
GT_MAIN
