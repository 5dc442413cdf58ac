// SPDX-License-Identifier: Apache-2.0
// Process groups, sessions, orphaned groups, terminals and job control.
#include "gt.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <termios.h>

static pid_t sleeper(void)
{
    pid_t p = fork();
    if (!p)
        for (;;)
            pause();
    return p;
}
static void finish(pid_t p)
{
    kill(p, SIGKILL);
    waitpid(p, 0, 0);
}

GT(pgrp_basics)
{
    pid_t p = sleeper();
    GT_EQ(getpgid(0), getpgrp());
    GT_EQ(getpgid(p), getpgrp());
    GT_OK(setpgid(p, 0));
    GT_EQ(getpgid(p), p);
    GT_OK(setpgid(p, getpgrp()));
    GT_EQ(getpgid(p), getpgrp());
    GT_ERR(setpgid(p, 4000000), EPERM);
    GT_ERR(setpgid(4000000, 0), ESRCH);
    GT_ERR(setpgid(getppid(), 0), ESRCH); // no child of ours
    GT_ERR(setpgid(0, -1), EINVAL);
    GT_ERR(getpgid(4000000), ESRCH);
    finish(p);
}

GT(pgrp_after_exec)
{
    int q[2];
    char c;
    GT_OK(pipe(q));
    pid_t p = fork();
    if (!p) {
        dup2(q[1], 1);
        execl("/bin/sh", "sh", "-c", "echo; read x; sleep 100", (char *)0);
        _exit(1);
    }
    read(q[0], &c, 1);
    GT_ERR(setpgid(p, p), EACCES);
    finish(p);
}

GT(session_basics)
{
    GT_ERR(getsid(4000000), ESRCH);
    pid_t p = fork();
    if (!p) {
        pid_t s = setsid();
        if (s != getpid() || getsid(0) != s || getpgrp() != s)
            _exit(1);
        if (setsid() != -1 || errno != EPERM)
            _exit(2);
        if (setpgid(0, 0) != -1 || errno != EPERM)
            _exit(3);
        pid_t k = fork();
        if (!k) {
            if (getsid(0) != s)
                _exit(1);
            setpgid(0, 0);
            if (setsid() != -1 || errno != EPERM) // leads a group
                _exit(2);
            _exit(0);
        }
        int st;
        waitpid(k, &st, 0);
        _exit(st ? 4 : 0);
    }
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0);
    p = sleeper();
    GT_EQ(getsid(p), getsid(0));
    finish(p);
}

GT(session_other)
{
    int q[2];
    char c;
    GT_OK(pipe(q));
    pid_t p = fork();
    if (!p) {
        setsid();
        write(q[1], "x", 1);
        for (;;)
            pause();
    }
    read(q[0], &c, 1);
    GT_ERR(setpgid(p, 0), EPERM);       // another session
    GT_ERR(setpgid(0, p), EPERM);
    finish(p);
}

GT(pgrp_outlives_leader)
{
    pid_t a = sleeper(), b = sleeper();
    GT_OK(setpgid(a, a));
    GT_OK(setpgid(b, a));
    finish(a);
    GT_EQ(getpgid(b), a);
    GT_OK(kill(-a, 0));
    pid_t c = sleeper();
    GT_OK(setpgid(c, a)); // the group is still there to be joined
    finish(b);
    finish(c);
    GT_ERR(kill(-a, 0), ESRCH);
}

static volatile int hup, cont;
static void on(int sig)
{
    if (sig == SIGHUP)
        hup = 1;
    else
        cont = 1;
}

GT(orphaned_group_gets_hup_and_cont)
{
    int q[2];
    char c = 0;
    GT_OK(pipe(q));
    GT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t mid = fork();
    if (!mid) {
        setsid(); // a session of its own: the reaper is outside of it
        pid_t k = fork();
        if (!k) {
            setpgid(0, 0);
            signal(SIGHUP, on);
            signal(SIGCONT, on);
            write(q[1], "r", 1);
            raise(SIGSTOP);
            while (!hup || !cont)
                usleep(1000);
            write(q[1], "k", 1);
            _exit(0);
        }
        read(q[0], &c, 1);
        waitpid(k, 0, WUNTRACED); // it has stopped
        _exit(0);
    }
    waitpid(mid, 0, 0);
    GT_EQ(read(q[0], &c, 1), 1);
    GT_EQ(c, 'k');
}

GT(orphaned_group_does_not_stop)
{
    GT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t p = fork();
    if (!p) {
        setsid(); // its parent is in another session: orphaned
        raise(SIGTSTP);
        raise(SIGTTIN);
        _exit(5);
    }
    int st;
    GT_EQ(waitpid(p, &st, WUNTRACED), p);
    GT_EQ(st, 5 << 8);
}

GT(stop_signal_cancelled_by_cont)
{
    sigset_t s, pend;
    sigemptyset(&s);
    sigaddset(&s, SIGTSTP);
    sigaddset(&s, SIGCONT);
    sigprocmask(SIG_BLOCK, &s, 0);
    kill(getpid(), SIGTSTP);
    sigpending(&pend);
    GT_TRUE(sigismember(&pend, SIGTSTP));
    kill(getpid(), SIGCONT);
    sigpending(&pend);
    GT_TRUE(!sigismember(&pend, SIGTSTP));
    GT_TRUE(!sigismember(&pend, SIGCONT) || sigismember(&pend, SIGCONT));
    kill(getpid(), SIGTSTP);
    sigpending(&pend);
    GT_TRUE(!sigismember(&pend, SIGCONT) && sigismember(&pend, SIGTSTP));
}

GT(stop_all_threads)
{
    int q[2];
    GT_OK(pipe(q));
    pid_t p = fork();
    if (!p) {
        for (int i = 0; i < 3; i++) {
            // threads that count in a shared pipe
            if (syscall(SYS_fork) == 0) {
                setpgid(0, getppid());
                for (;;) {
                    write(q[1], "x", 1);
                    usleep(1000);
                }
            }
        }
        for (;;)
            pause();
    }
    setpgid(p, p);
    usleep(30000);
    kill(-p, SIGSTOP);
    int st;
    GT_EQ(waitpid(p, &st, WUNTRACED), p);
    usleep(20000);
    kill(-p, SIGKILL);
    kill(p, SIGKILL);
    waitpid(p, 0, 0);
}

// --- terminals ---
static int with_tty(void (*fn)(void))
{
    int m, s, st;
    if (openpty(&m, &s, 0, 0, 0))
        GT_SKIP("no ptys");
    pid_t p = fork();
    if (!p) {
        close(m);
        setsid();
        if (ioctl(s, TIOCSCTTY, 0))
            _exit(100);
        dup2(s, 0);
        fn();
        _exit(0);
    }
    close(s);
    waitpid(p, &st, 0);
    close(m);
    return st;
}

static void tty_pgrp(void)
{
    int st;
    if (tcgetpgrp(0) != getpgrp() || tcgetsid(0) != getsid(0))
        _exit(1);
    pid_t k = sleeper();
    setpgid(k, k);
    if (tcsetpgrp(0, 4000000) == 0 || errno != ESRCH)
        _exit(2);
    signal(SIGTTOU, SIG_IGN);
    if (tcsetpgrp(0, k) || tcgetpgrp(0) != k)
        _exit(3);
    if (tcsetpgrp(0, getpgrp()))
        _exit(4);
    finish(k);
    int fd = open("/dev/tty", O_RDWR);
    if (fd < 0)
        _exit(5);
    // a background reader is stopped
    k = fork();
    if (!k) {
        char c;
        setpgid(0, 0);
        read(0, &c, 1);
        _exit(0);
    }
    setpgid(k, k);
    if (waitpid(k, &st, WUNTRACED) != k || !WIFSTOPPED(st) || WSTOPSIG(st) != SIGTTIN)
        _exit(6);
    finish(k);
}

GT(tty_foreground_group)
{
    GT_EQ(with_tty(tty_pgrp), 0);
}

GT(tty_signal_characters)
{
    int m, s, st;
    if (openpty(&m, &s, 0, 0, 0))
        GT_SKIP("no ptys");
    pid_t p = fork();
    if (!p) {
        setsid();
        ioctl(s, TIOCSCTTY, 0);
        write(s, "r", 1);
        for (;;)
            pause();
    }
    char c;
    GT_EQ(read(m, &c, 1), 1);
    GT_EQ(write(m, "\003", 1), 1);
    GT_EQ(waitpid(p, &st, 0), p);
    GT_TRUE(WIFSIGNALED(st));
    GT_EQ(WTERMSIG(st), SIGINT);
}

GT(tty_hangup_on_leader_exit)
{
    int m, s, q[2];
    if (openpty(&m, &s, 0, 0, 0))
        GT_SKIP("no ptys");
    GT_OK(pipe(q));
    pid_t p = fork();
    if (!p) {
        char c;
        setsid();
        ioctl(s, TIOCSCTTY, 0);
        if (!fork()) {
            signal(SIGHUP, on);
            write(q[1], "r", 1);
            while (!hup)
                usleep(1000);
            write(q[1], "h", 1);
            _exit(0);
        }
        read(q[0], &c, 1);
        _exit(0); // the foreground group, child included, gets SIGHUP
    }
    waitpid(p, 0, 0);
    char c = 0;
    GT_EQ(read(q[0], &c, 1), 1);
    GT_EQ(c, 'h');
}
GT_MAIN
