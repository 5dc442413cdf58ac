// SPDX-License-Identifier: Apache-2.0
// wait4 and waitid: statuses, options, groups, zombies, rusage, SIGCHLD.
#include "gt.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

static pid_t child_exit(int code)
{
    pid_t p = fork();
    if (!p)
        _exit(code);
    return p;
}

GT(wait_echild)
{
    int st;
    GT_ERR(wait(&st), ECHILD);
    GT_ERR(waitpid(getpid(), &st, 0), ECHILD);
    GT_ERR(waitpid(-getpgrp(), &st, 0), ECHILD);
    GT_ERR(waitpid(999999, &st, 0), ECHILD);
}

GT(wait_status)
{
    int st;
    pid_t p = child_exit(300);
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(st, (300 & 255) << 8);
    p = fork();
    if (!p) {
        signal(SIGTERM, SIG_DFL);
        raise(SIGTERM);
        _exit(1);
    }
    GT_EQ(waitpid(p, &st, 0), p);
    GT_TRUE(WIFSIGNALED(st));
    GT_EQ(WTERMSIG(st), SIGTERM);
}

GT(wait_nohang)
{
    int st, p[2];
    char c;
    GT_OK(pipe(p));
    pid_t k = fork();
    if (!k) {
        close(p[1]);
        _exit((int)read(p[0], &c, 1));
    }
    GT_EQ(waitpid(k, &st, WNOHANG), 0);
    close(p[1]);
    GT_EQ(waitpid(k, &st, 0), k);
    GT_ERR(waitpid(k, &st, WNOHANG), ECHILD);
}

GT(wait_bad_options)
{
    siginfo_t si;
    GT_ERR(waitpid(-1, 0, 0x100), EINVAL);
    GT_ERR(waitid(P_ALL, 0, &si, 0), EINVAL);
    GT_ERR(waitid(P_ALL, 0, &si, WNOHANG), EINVAL);
    GT_ERR(waitid(99, 0, &si, WEXITED), EINVAL);
    GT_ERR(waitid(P_PID, 0, &si, WEXITED), EINVAL);
    GT_ERR(syscall(SYS_wait4, (int)0x80000000, 0, 0, 0), ESRCH);
    GT_ERR(syscall(SYS_wait4, -1, 0, 0, 0), ECHILD);
}

GT(wait_nowait_keeps_zombie)
{
    siginfo_t si;
    memset(&si, 0xff, sizeof(si));
    pid_t p = child_exit(5);
    GT_OK(waitid(P_PID, p, &si, WEXITED | WNOWAIT));
    GT_EQ(si.si_pid, p);
    GT_EQ(si.si_code, CLD_EXITED);
    GT_EQ(si.si_status, 5);
    GT_EQ(si.si_signo, SIGCHLD);
    GT_EQ(si.si_errno, 0);
    GT_OK(kill(p, 0)); // a zombie is still there
    GT_OK(waitid(P_PID, p, &si, WEXITED));
    GT_ERR(kill(p, 0), ESRCH);
    GT_ERR(waitid(P_PID, p, &si, WEXITED), ECHILD);
}

GT(wait_waitid_nohang_zeroes)
{
    siginfo_t si;
    memset(&si, 0xff, sizeof(si));
    pid_t p = fork();
    if (!p) {
        pause();
        _exit(0);
    }
    GT_EQ(waitid(P_ALL, 0, &si, WEXITED | WNOHANG), 0);
    GT_EQ(si.si_pid, 0);
    GT_EQ(si.si_signo, 0);
    kill(p, SIGKILL);
    GT_EQ(waitid(P_ALL, 0, &si, WEXITED), 0);
    GT_EQ(si.si_code, CLD_KILLED);
    GT_EQ(si.si_status, SIGKILL);
}

GT(wait_stop_continue)
{
    int st;
    siginfo_t si;
    pid_t p = fork();
    if (!p) {
        for (;;)
            pause();
    }
    kill(p, SIGSTOP);
    GT_EQ(waitpid(p, &st, WUNTRACED), p);
    GT_TRUE(WIFSTOPPED(st));
    GT_EQ(WSTOPSIG(st), SIGSTOP);
    GT_EQ(waitpid(p, &st, WUNTRACED | WNOHANG), 0); // reported once
    kill(p, SIGCONT);
    GT_OK(waitid(P_PID, p, &si, WCONTINUED));
    GT_EQ(si.si_code, CLD_CONTINUED);
    GT_EQ(si.si_status, SIGCONT);
    kill(p, SIGSTOP);
    GT_OK(waitid(P_PID, p, &si, WSTOPPED));
    GT_EQ(si.si_code, CLD_STOPPED);
    GT_EQ(si.si_status, SIGSTOP);
    kill(p, SIGKILL); // works on a stopped process
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(WTERMSIG(st), SIGKILL);
}

GT(wait_by_group)
{
    int st;
    pid_t a = fork();
    if (!a) {
        setpgid(0, 0);
        _exit(1);
    }
    setpgid(a, a);
    pid_t b = child_exit(2);
    GT_EQ(waitpid(0, &st, 0), b);
    GT_EQ(WEXITSTATUS(st), 2);
    GT_EQ(waitpid(-a, &st, 0), a);
    siginfo_t si;
    GT_ERR(waitid(P_PGID, a, &si, WEXITED), ECHILD);
}

static volatile int chld_seen, chld_pid, chld_code, chld_status;
static void on_chld(int sig, siginfo_t *si, void *uc)
{
    chld_seen++;
    chld_pid = si->si_pid;
    chld_code = si->si_code;
    chld_status = si->si_status;
}

GT(wait_sigchld_info)
{
    struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO};
    sigset_t s, o;
    sigaction(SIGCHLD, &sa, 0);
    sigemptyset(&s);
    sigaddset(&s, SIGCHLD);
    sigprocmask(SIG_BLOCK, &s, &o);
    pid_t p = child_exit(4);
    sigsuspend(&o);
    GT_EQ(chld_seen, 1);
    GT_EQ(chld_pid, p);
    GT_EQ(chld_code, CLD_EXITED);
    GT_EQ(chld_status, 4);
    GT_EQ(waitpid(p, 0, WNOHANG), p);
}

GT(wait_nocldstop)
{
    struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | SA_NOCLDSTOP | SA_RESTART};
    sigaction(SIGCHLD, &sa, 0);
    pid_t p = fork();
    if (!p)
        for (;;)
            pause();
    int st;
    kill(p, SIGSTOP);
    GT_EQ(waitpid(p, &st, WUNTRACED), p);
    GT_EQ(chld_seen, 0);
    kill(p, SIGKILL);
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(chld_seen, 1);
    GT_EQ(chld_code, CLD_KILLED);
}

GT(wait_ignored_children_vanish)
{
    signal(SIGCHLD, SIG_IGN);
    pid_t p = child_exit(0);
    GT_ERR(waitpid(p, 0, 0), ECHILD); // waits for the end, then nothing is left
    GT_ERR(kill(p, 0), ESRCH);
}

GT(wait_nocldwait)
{
    struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | SA_NOCLDWAIT | SA_RESTART};
    sigaction(SIGCHLD, &sa, 0);
    pid_t p = child_exit(0);
    GT_ERR(waitpid(p, 0, 0), ECHILD);
    GT_EQ(chld_seen, 1);
}

GT(wait_orphans_go_to_subreaper)
{
    GT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    int p[2];
    GT_OK(pipe(p));
    prctl(PR_GET_CHILD_SUBREAPER, &p[0]);
    GT_EQ(p[0], 1);
    GT_OK(pipe(p));
    pid_t mid = fork();
    if (!mid) {
        pid_t k = fork();
        if (!k) {
            pid_t was = getppid();
            for (int i = 0; i < 1000 && getppid() == was; i++)
                usleep(1000);
            _exit(getppid());
        }
        write(p[1], &k, sizeof(k));
        _exit(0);
    }
    pid_t grand;
    int st;
    GT_EQ(read(p[0], &grand, sizeof(grand)), sizeof(grand));
    GT_EQ(waitpid(mid, &st, 0), mid);
    GT_EQ(waitpid(grand, &st, 0), grand);
    GT_EQ(WEXITSTATUS(st), getpid() & 255);
}

GT(wait_rusage)
{
    struct rusage ru, self;
    pid_t p = fork();
    if (!p) {
        struct timespec t0, t;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
        do
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        while ((t.tv_sec - t0.tv_sec) * 1000000000ll + t.tv_nsec - t0.tv_nsec < 60000000);
        _exit(0);
    }
    GT_EQ(wait4(p, 0, 0, &ru), p);
    long us = ru.ru_utime.tv_usec + ru.ru_stime.tv_usec + 1000000 * (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec);
    GT_TRUE(us >= 40000);
    getrusage(RUSAGE_CHILDREN, &self);
    GT_TRUE(self.ru_utime.tv_usec + self.ru_stime.tv_usec + 1000000 * self.ru_utime.tv_sec >= 40000);
}

GT(wait_clone_children)
{
    // exit signal 0: only __WALL or __WCLONE see it
    pid_t p = (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (!p)
        _exit(6);
    int st;
    GT_ERR(waitpid(p, &st, 0), ECHILD);
    GT_EQ(waitpid(p, &st, __WCLONE), p);
    GT_EQ(WEXITSTATUS(st), 6);
    p = child_exit(7);
    GT_ERR(waitpid(p, &st, __WCLONE), ECHILD);
    GT_EQ(waitpid(p, &st, __WALL), p);
}

GT(wait_interrupted)
{
    struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO};
    sigaction(SIGALRM, &sa, 0);
    pid_t p = fork();
    if (!p)
        for (;;)
            pause();
    gt_alarm(30);
    GT_ERR(waitpid(p, 0, 0), EINTR);
    kill(p, SIGKILL);
    GT_EQ(waitpid(p, 0, 0), p);
}
GT_MAIN
