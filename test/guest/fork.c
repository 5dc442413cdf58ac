// SPDX-License-Identifier: Apache-2.0
// fork and vfork: separate memory, shared files, return values, many children.
#include "gt.h"
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

GT(fork_memory_is_copied)
{
    volatile int x = 1;
    int *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t p = GT_OK(fork());
    if (!p) {
        x = 2;
        *shared = 7;
        _exit(x == 2 ? 0 : 1);
    }
    int st;
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(st, 0);
    GT_EQ(x, 1);
    GT_EQ(*shared, 7);
}

GT(fork_shares_file_position)
{
    char name[] = "/tmp/gtforkXXXXXX", c;
    int fd = GT_OK(mkstemp(name));
    unlink(name);
    GT_EQ(write(fd, "abcdef", 6), 6);
    lseek(fd, 0, SEEK_SET);
    if (!fork()) {
        c = 0;
        _exit(read(fd, &c, 1) == 1 && c == 'a' ? 0 : 1);
    }
    int st;
    wait(&st);
    GT_EQ(st, 0);
    GT_EQ(read(fd, &c, 1), 1);
    GT_EQ(c, 'b');
}

GT(fork_pids)
{
    pid_t me = getpid();
    int p[2];
    GT_OK(pipe(p));
    pid_t c = GT_OK(fork());
    if (!c) {
        pid_t v[2] = {getpid(), getppid()};
        write(p[1], v, sizeof(v));
        _exit(0);
    }
    pid_t v[2];
    GT_EQ(read(p[0], v, sizeof(v)), sizeof(v));
    GT_EQ(v[0], c);
    GT_EQ(v[1], me);
    GT_EQ(syscall(SYS_gettid), me);
    wait(0);
}

GT(vfork_parent_waits)
{
    volatile int x = 0;
    pid_t p = vfork();
    if (!p) {
        usleep(30000);
        x = 5;
        _exit(3);
    }
    GT_EQ(x, 5); // shared memory, and the child came first
    int st;
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(WEXITSTATUS(st), 3);
}

GT(vfork_exec)
{
    pid_t p = vfork();
    if (!p) {
        execl("/bin/sh", "sh", "-c", "exit 9", (char *)0);
        _exit(1);
    }
    int st;
    GT_EQ(waitpid(p, &st, 0), p);
    GT_EQ(WEXITSTATUS(st), 9);
}

GT(fork_many)
{
    enum { N = 60 };
    for (int i = 0; i < N; i++) {
        pid_t p = GT_OK(fork());
        if (!p)
            _exit(i & 0x7f);
    }
    int sum = 0, st, n = 0;
    while (wait(&st) > 0) {
        sum += WEXITSTATUS(st);
        n++;
    }
    GT_EQ(n, N);
    GT_EQ(sum, N * (N - 1) / 2);
}

GT(fork_tree)
{
    int p[2];
    GT_OK(pipe(p));
    pid_t root = getpid();
    for (int depth = 0; depth < 5; depth++)
        GT_OK(fork());
    while (wait(0) > 0)
        ;
    GT_EQ(write(p[1], "x", 1), 1);
    if (getpid() != root)
        _exit(0);
    char buf[64];
    int n = 0;
    while (n < 32)
        n += (int)GT_OK(read(p[0], buf, sizeof(buf)));
    GT_EQ(n, 32);
}

GT(fork_fpu_state_survives)
{
    double a = 1.5;
    __asm__ volatile("movsd %0, %%xmm7" ::"m"(a) : "xmm7");
    long pid;
    __asm__ volatile("syscall" : "=a"(pid) : "a"(SYS_fork) : "rcx", "r11", "memory");
    double b = 0;
    __asm__ volatile("movsd %%xmm7, %0" : "=m"(b));
    if (pid == 0)
        _exit(b == 1.5 ? 0 : 1);
    int st;
    waitpid((pid_t)pid, &st, 0);
    GT_TRUE(b == 1.5);
    GT_EQ(st, 0);
}

GT(fork_signals_not_inherited)
{
    sigset_t s, o;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    sigprocmask(SIG_BLOCK, &s, 0);
    raise(SIGUSR1);
    pid_t p = GT_OK(fork());
    if (!p) {
        sigpending(&o);
        sigprocmask(SIG_BLOCK, 0, &s);
        _exit(sigismember(&o, SIGUSR1) ? 1 : !sigismember(&s, SIGUSR1) ? 2 : 0);
    }
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0);
    sigpending(&o);
    GT_TRUE(sigismember(&o, SIGUSR1));
}

GT(fork_alarm_not_inherited)
{
    alarm(100);
    pid_t p = GT_OK(fork());
    if (!p)
        _exit(alarm(0) != 0);
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0);
    GT_TRUE(alarm(0) > 90);
}

// Who has waited for a process finds nothing that it still holds.
GT(fork_wait_finds_all_released)
{
    char name[] = "/tmp/gtforkXXXXXX", c;
    int fd = GT_OK(mkstemp(name));
    for (int i = 0; i < 100; i++) {
        int p[2];
        GT_OK(pipe2(p, O_NONBLOCK));
        pid_t child = GT_OK(fork());
        if (!child) {
            struct flock l = {.l_type = F_WRLCK};
            int own = open(name, O_RDWR);
            _exit(flock(own, LOCK_EX) || fcntl(own, F_SETLK, &l));
        }
        close(p[1]);
        int st;
        GT_EQ(waitpid(child, &st, 0), child);
        GT_EQ(st, 0);
        struct flock l = {.l_type = F_WRLCK};
        GT_EQ(read(p[0], &c, 1), 0); // no writer is left
        GT_OK(flock(fd, LOCK_EX | LOCK_NB));
        GT_OK(flock(fd, LOCK_UN));
        GT_OK(fcntl(fd, F_SETLK, &l));
        l.l_type = F_UNLCK;
        GT_OK(fcntl(fd, F_SETLK, &l));
        GT_ERR(kill(child, 0), ESRCH);
        close(p[0]);
    }
    close(fd);
    unlink(name);
}

// What a process has used up to its end is in what the parent is told.
GT(fork_cpu_time_is_told)
{
    int p[2];
    GT_OK(pipe(p));
    pid_t child = GT_OK(fork());
    if (!child) {
        struct timespec t;
        do
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        while (t.tv_sec == 0 && t.tv_nsec < 30000000);
        int64_t ns = t.tv_sec * 1000000000ll + t.tv_nsec;
        _exit(write(p[1], &ns, sizeof(ns)) != sizeof(ns));
    }
    struct rusage u;
    int st;
    int64_t ns;
    GT_EQ(wait4(child, &st, 0, &u), child);
    GT_EQ(st, 0);
    GT_EQ(read(p[0], &ns, sizeof(ns)), sizeof(ns));
    int64_t told = (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000ll + u.ru_utime.tv_usec +
                   u.ru_stime.tv_usec;
    GT_TRUE(told >= ns / 1000 - 10000); // hosts that count by ticks
}

GT(fork_nproc_limit)
{
    if (getuid() == 0 && setuid(54321) != 0)
        GT_SKIP("cannot change uid");
    struct rlimit r = {1, 1};
    GT_OK(setrlimit(RLIMIT_NPROC, &r));
    GT_ERR(fork(), EAGAIN);
}
GT_MAIN
