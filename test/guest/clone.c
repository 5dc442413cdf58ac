// SPDX-License-Identifier: Apache-2.0
// clone and clone3: flags, tids, threads without libc, errors, namespaces.
#include "gt.h"
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

static char *stack_new(void)
{
    return (char *)mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 65536;
}
static long raw_clone(unsigned long flags, int *ptid, int *ctid)
{
    return syscall(SYS_clone, flags, 0, ptid, ctid, 0);
}
static long raw_clone3(struct clone_args *a, size_t n)
{
    return syscall(SYS_clone3, a, n);
}

GT(clone_flag_errors)
{
    GT_ERR(raw_clone(CLONE_THREAD | SIGCHLD, 0, 0), EINVAL);
    GT_ERR(raw_clone(CLONE_THREAD | CLONE_SIGHAND, 0, 0), EINVAL);
    GT_ERR(raw_clone(CLONE_SIGHAND, 0, 0), EINVAL);
    GT_ERR(raw_clone(CLONE_NEWNS | CLONE_FS, 0, 0), EINVAL);
    int fd;
    GT_ERR(raw_clone(CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, &fd, 0), EINVAL);
    GT_ERR(raw_clone(CLONE_PIDFD | CLONE_DETACHED | SIGCHLD, &fd, 0), EINVAL);
}

GT(clone_settid)
{
    int ptid = 0, *ctid = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long p = raw_clone(CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, &ptid, ctid);
    if (!p)
        _exit(*ctid == syscall(SYS_gettid) ? 0 : 1);
    GT_EQ(ptid, p);
    int st;
    waitpid((pid_t)p, &st, 0);
    GT_EQ(st, 0);
    GT_EQ(*ctid, p);
}

static volatile int thread_tid, thread_pid;
static int thread_fn(void *arg)
{
    thread_tid = (int)syscall(SYS_gettid);
    thread_pid = (int)syscall(SYS_getpid);
    return 0;
}

GT(clone_thread_cleartid)
{
    static int tid;
    tid = 1;
    int fl = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
             CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    int ptid = 0;
    int r = GT_OK(clone(thread_fn, stack_new(), fl, 0, &ptid, 0, &tid));
    GT_EQ(r, ptid);
    int v;
    while ((v = __atomic_load_n(&tid, __ATOMIC_SEQ_CST)))
        syscall(SYS_futex, &tid, FUTEX_WAIT, v, 0, 0, 0);
    GT_EQ(thread_tid, r);
    GT_EQ(thread_pid, getpid());
    for (int i = 0; i < 1000 && syscall(SYS_tgkill, getpid(), r, 0) == 0; i++)
        usleep(1000);
    GT_ERR(syscall(SYS_tgkill, getpid(), r, 0), ESRCH);
}

GT(clone_vm_without_thread)
{
    int st;
    int r = GT_OK(clone(thread_fn, stack_new(), CLONE_VM | SIGCHLD, 0));
    GT_EQ(waitpid(r, &st, 0), r);
    GT_EQ(thread_tid, r);
    GT_EQ(thread_pid, r);
}

static int close_fd(void *arg)
{
    close((int)(long)arg);
    return 0;
}

GT(clone_files)
{
    int fd = GT_OK(dup(0)), st;
    int r = GT_OK(clone(close_fd, stack_new(), CLONE_FILES | SIGCHLD, (void *)(long)fd));
    waitpid(r, &st, 0);
    GT_ERR(fcntl(fd, F_GETFD), EBADF);
    fd = GT_OK(dup(0));
    r = GT_OK(clone(close_fd, stack_new(), SIGCHLD, (void *)(long)fd));
    waitpid(r, &st, 0);
    GT_OK(fcntl(fd, F_GETFD));
}

static int do_umask(void *arg)
{
    umask(0123);
    return chdir("/");
}

GT(clone_fs)
{
    char buf[256];
    GT_OK(chdir("/tmp"));
    umask(022);
    waitpid(GT_OK(clone(do_umask, stack_new(), SIGCHLD, 0)), 0, 0);
    GT_EQ(umask(022), 022);
    GT_STR(getcwd(buf, sizeof(buf)), "/tmp");
    waitpid(GT_OK(clone(do_umask, stack_new(), CLONE_FS | SIGCHLD, 0)), 0, 0);
    GT_EQ(umask(022), 0123);
    GT_STR(getcwd(buf, sizeof(buf)), "/");
}

static int set_handler(void *arg)
{
    signal(SIGUSR1, SIG_IGN);
    return 0;
}

GT(clone_sighand)
{
    struct sigaction o;
    waitpid(GT_OK(clone(set_handler, stack_new(), CLONE_VM | SIGCHLD, 0)), 0, 0);
    sigaction(SIGUSR1, 0, &o);
    GT_TRUE(o.sa_handler == SIG_DFL);
    waitpid(GT_OK(clone(set_handler, stack_new(), CLONE_VM | CLONE_SIGHAND | SIGCHLD, 0)), 0, 0);
    sigaction(SIGUSR1, 0, &o);
    GT_TRUE(o.sa_handler == SIG_IGN);
}

GT(clone_parent)
{
    pid_t me = getpid(), mid = fork();
    if (!mid) {
        long k = raw_clone(CLONE_PARENT | SIGCHLD, 0, 0);
        if (!k)
            _exit(getppid() == me ? 11 : 1);
        _exit(k < 0 ? 2 : 0);
    }
    int st, got = 0;
    for (int i = 0; i < 2; i++) {
        pid_t p = (pid_t)GT_OK(wait(&st));
        got |= p == mid ? 1 : WEXITSTATUS(st) == 11 ? 2 : 0;
    }
    GT_EQ(got, 3);
}

GT(clone_exit_signal)
{
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR2);
    sigprocmask(SIG_BLOCK, &s, 0);
    long p = raw_clone(SIGUSR2, 0, 0);
    if (!p)
        _exit(0);
    siginfo_t si;
    GT_EQ(sigwaitinfo(&s, &si), SIGUSR2);
    GT_EQ(si.si_code, CLD_EXITED);
    GT_ERR(waitpid((pid_t)p, 0, 0), ECHILD);
    GT_EQ(waitpid((pid_t)p, 0, __WALL), p);
}

GT(clone3_checks)
{
    struct clone_args a = {.exit_signal = SIGCHLD};
    GT_ERR(raw_clone3(&a, 16), EINVAL);
    GT_ERR(raw_clone3(&a, 8192), E2BIG);
    a.exit_signal = 65;
    GT_ERR(raw_clone3(&a, sizeof(a)), EINVAL);
    a.exit_signal = SIGCHLD;
    a.stack_size = 4096;
    GT_ERR(raw_clone3(&a, sizeof(a)), EINVAL);
    a.stack = 4096;
    a.stack_size = 0;
    GT_ERR(raw_clone3(&a, sizeof(a)), EINVAL);
    a.stack = 0;
    a.flags = CLONE_DETACHED;
    GT_ERR(raw_clone3(&a, sizeof(a)), EINVAL);
    a.flags = 1ull << 40;
    GT_ERR(raw_clone3(&a, sizeof(a)), EINVAL);
    a.flags = SIGCHLD;
    GT_ERR(raw_clone3(&a, sizeof(a)), EINVAL);
    a.flags = CLONE_PARENT;
    GT_ERR(raw_clone3(&a, sizeof(a)), EINVAL);
    char big[128] = {};
    memcpy(big, &(struct clone_args){.exit_signal = SIGCHLD}, sizeof(a));
    big[120] = 1;
    GT_ERR(raw_clone3((void *)big, sizeof(big)), E2BIG);
    big[120] = 0;
    long p = raw_clone3((void *)big, sizeof(big));
    if (!p)
        _exit(5);
    int st;
    GT_EQ(waitpid((pid_t)p, &st, 0), p);
    GT_EQ(WEXITSTATUS(st), 5);
}

GT(clone3_pidfd)
{
    int fd = -1;
    struct clone_args a = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&fd, .exit_signal = SIGCHLD};
    long p = raw_clone3(&a, sizeof(a));
    if (!p)
        _exit(3);
    GT_TRUE(fd > 2);
    GT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    siginfo_t si;
    GT_OK(waitid(3 /* P_PIDFD */, fd, &si, WEXITED));
    GT_EQ(si.si_status, 3);
    a.pidfd = 8; // unwritable: no child
    GT_ERR(raw_clone3(&a, sizeof(a)), EFAULT);
    GT_ERR(wait(0), ECHILD);
}

GT(clone3_clear_sighand)
{
    signal(SIGUSR1, (void (*)(int))thread_fn);
    signal(SIGUSR2, SIG_IGN);
    struct clone_args a = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
    long p = raw_clone3(&a, sizeof(a));
    if (!p) {
        struct sigaction x, y;
        sigaction(SIGUSR1, 0, &x);
        sigaction(SIGUSR2, 0, &y);
        _exit(x.sa_handler != SIG_DFL ? 1 : y.sa_handler != SIG_IGN ? 2 : 0);
    }
    int st;
    waitpid((pid_t)p, &st, 0);
    GT_EQ(st, 0);
}

GT(clone3_set_tid)
{
    if (getuid() != 0)
        GT_SKIP("needs root");
    int want = 31000;
    struct clone_args a = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&want, .set_tid_size = 1};
    long p = raw_clone3(&a, sizeof(a));
    if (!p)
        _exit(getpid() != want);
    if (p < 0 && (errno == EEXIST || errno == EPERM))
        GT_SKIP("number taken");
    int st;
    GT_EQ(p, want);
    want = getpid();
    GT_ERR(raw_clone3(&a, sizeof(a)), EEXIST);
    want = 0;
    GT_ERR(raw_clone3(&a, sizeof(a)), EINVAL);
    waitpid((pid_t)p, &st, 0);
    GT_EQ(st, 0);
}

GT(clone_newpid)
{
    if (getuid() != 0)
        GT_SKIP("needs root");
    long p = raw_clone(CLONE_NEWPID | SIGCHLD, 0, 0);
    if (p < 0 && errno == EPERM)
        GT_SKIP("not permitted");
    if (!p) {
        if (getpid() != 1 || getppid() != 0)
            _exit(1);
        pid_t k = fork();
        if (!k)
            _exit(getpid() == 2 && getppid() == 1 ? 7 : 1);
        int st;
        if (k != 2 || waitpid(k, &st, 0) != 2 || WEXITSTATUS(st) != 7)
            _exit(2);
        raise(SIGTERM); // pid 1 does not die of what it does not handle
        kill(1, SIGKILL);
        fork(); // an orphan that dies with the namespace
        if (getpid() != 1)
            for (;;)
                pause();
        _exit(9);
    }
    GT_TRUE(p > 1);
    int st;
    GT_EQ(waitpid((pid_t)p, &st, 0), p);
    GT_EQ(st, 9 << 8);
    p = raw_clone(CLONE_NEWPID | SIGCHLD, 0, 0);
    if (!p)
        for (;;)
            pause();
    GT_OK(kill((pid_t)p, SIGTERM)); // ignored
    usleep(20000);
    GT_EQ(waitpid((pid_t)p, &st, WNOHANG), 0);
    GT_OK(kill((pid_t)p, SIGKILL)); // from outside it works
    GT_EQ(waitpid((pid_t)p, &st, 0), p);
    GT_EQ(WTERMSIG(st), SIGKILL);
}

GT(clone_newuts)
{
    if (getuid() != 0)
        GT_SKIP("needs root");
    struct utsname before, u;
    uname(&before);
    long p = raw_clone(CLONE_NEWUTS | SIGCHLD, 0, 0);
    if (p < 0 && errno == EPERM)
        GT_SKIP("not permitted");
    if (!p) {
        if (sethostname("inner", 5) || uname(&u) || strcmp(u.nodename, "inner"))
            _exit(1);
        _exit(0);
    }
    int st;
    waitpid((pid_t)p, &st, 0);
    GT_EQ(st, 0);
    uname(&u);
    GT_STR(u.nodename, before.nodename);
}

GT(unshare_checks)
{
    GT_ERR(unshare(0x1), EINVAL);
    GT_OK(unshare(0));
    GT_OK(unshare(CLONE_FILES | CLONE_FS));
    GT_OK(unshare(CLONE_THREAD)); // alone in its group
}
GT_MAIN
