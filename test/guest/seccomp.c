// SPDX-License-Identifier: Apache-2.0
// seccomp(2): checks of programs, actions and their order, inheritance, TSYNC, strict mode.
#include "gt.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define STMT(c, k) BPF_STMT(c, k)
#define LOAD(field) STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ON(nr, ret) LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), STMT(BPF_RET | BPF_K, ret)
#define ALLOW STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define PROG(p) (&(struct sock_fprog){sizeof(p) / sizeof((p)[0]), p})

static int set(struct sock_filter *f, size_t n, unsigned flags)
{
    struct sock_fprog p = {(unsigned short)n, f};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}
#define SET(f, flags) set(f, sizeof(f) / sizeof((f)[0]), flags)
static void nnp(void)
{
    GT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}
static void on_call(int nr, unsigned ret)
{
    struct sock_filter f[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
                              STMT(BPF_RET | BPF_K, ret), ALLOW};
    GT_OK(SET(f, 0));
}
static int bad(struct sock_filter *f, size_t n)
{
    int r = set(f, n, 0);
    return r < 0 ? errno : 0;
}
#define BAD(...) ({ struct sock_filter b[] = {__VA_ARGS__}; bad(b, sizeof(b) / sizeof(b[0])); })

GT(seccomp_programs_are_checked)
{
    nnp();
    GT_EQ(BAD(STMT(BPF_LD | BPF_W | BPF_ABS, 0)), EINVAL);                     // no return at the end
    GT_EQ(BAD(STMT(BPF_LD | BPF_W | BPF_ABS, 2), ALLOW), EINVAL);              // not aligned
    GT_EQ(BAD(STMT(BPF_LD | BPF_W | BPF_ABS, sizeof(struct seccomp_data)), ALLOW), EINVAL);
    GT_EQ(BAD(STMT(BPF_LD | BPF_B | BPF_ABS, 0), ALLOW), EINVAL);              // bytes
    GT_EQ(BAD(STMT(BPF_LD | BPF_W | BPF_IND, 0), ALLOW), EINVAL);
    GT_EQ(BAD(BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), ALLOW), EINVAL);            // past the end
    GT_EQ(BAD(BPF_JUMP(BPF_JMP | BPF_JA, ~0u, 0, 0), ALLOW), EINVAL);
    GT_EQ(BAD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), ALLOW), EINVAL);
    GT_EQ(BAD(STMT(BPF_ALU | BPF_DIV | BPF_K, 0), ALLOW), EINVAL);
    GT_EQ(BAD(STMT(BPF_ALU | BPF_LSH | BPF_K, 32), ALLOW), EINVAL);
    GT_EQ(BAD(STMT(BPF_ALU | BPF_MOD | BPF_K, 3), ALLOW), EINVAL);             // not for seccomp
    GT_EQ(BAD(STMT(BPF_LD | BPF_MEM, 0), ALLOW), EINVAL);                      // never written
    GT_EQ(BAD(STMT(BPF_ST, 16), ALLOW), EINVAL);
    GT_EQ(BAD(LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1), STMT(BPF_ST, 3),
              STMT(BPF_LD | BPF_MEM, 3), ALLOW), EINVAL);                      // on one way only
    GT_EQ(BAD(STMT(0x1234, 0), ALLOW), EINVAL);
    GT_EQ(BAD(STMT(BPF_ST, 3), STMT(BPF_LD | BPF_MEM, 3), ALLOW), 0);
    GT_EQ(BAD(STMT(BPF_LD | BPF_W | BPF_LEN, 0), STMT(BPF_MISC | BPF_TAX, 0), ALLOW), 0);
    struct sock_fprog p = {0, NULL};
    GT_ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p), EINVAL);
    p.len = 2;
    GT_ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p), EINVAL);
    p.filter = (void *)8;
    GT_ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p), EFAULT);
    GT_ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL), EFAULT);
    GT_ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 1u << 30, &p), EINVAL);
    GT_ERR(syscall(SYS_seccomp, 77, 0, NULL), EINVAL);
    GT_ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL), EINVAL);
    GT_ERR(prctl(PR_SET_SECCOMP, 9, 0, 0, 0), EINVAL);
    unsigned act = SECCOMP_RET_ERRNO;
    GT_OK(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &act));
    act = 0x12340000;
    GT_ERR(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &act), EOPNOTSUPP);
}

GT(seccomp_needs_no_new_privs)
{
    if (geteuid() == 0)
        GT_OK(setresuid(65534, 65534, 65534));
    struct sock_filter f[] = {ALLOW};
    GT_ERR(SET(f, 0), EACCES);
    GT_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 0);
    nnp();
    GT_OK(SET(f, 0));
    GT_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2);
    GT_ERR(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0), EINVAL);
}

GT(seccomp_errno)
{
    nnp();
    on_call(SYS_getppid, SECCOMP_RET_ERRNO | 77);
    on_call(SYS_getpgrp, SECCOMP_RET_ERRNO | 0xffff);
    on_call(SYS_getsid, SECCOMP_RET_ERRNO);
    GT_EQ(syscall(SYS_getppid), -1);
    GT_EQ(errno, 77);
    GT_EQ(syscall(SYS_getpgrp), -1);
    GT_EQ(errno, 4095);
    GT_EQ(syscall(SYS_getsid, 0), 0);
    GT_EQ(syscall(SYS_getpid), getpid());
    on_call(SYS_uname, SECCOMP_RET_TRACE); // no tracer
    char buf[400];
    GT_ERR(syscall(SYS_uname, buf), ENOSYS);
    char *line = NULL, want[] = "Seccomp_filters:\t4\n";
    size_t n = 0;
    FILE *s = fopen("/proc/self/status", "r");
    int found = 0;
    while (s && getline(&line, &n, s) > 0)
        found += !strcmp(line, want) || !strcmp(line, "Seccomp:\t2\n");
    GT_EQ(found, 2);
}

GT(seccomp_arguments_and_arithmetic)
{
    nnp();
    // getpgid(x): errno (x * 3 + 1) & 0xff when the high half is 0, else EPERM
    struct sock_filter f[] = {
        LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 11),
        STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        STMT(BPF_ALU | BPF_MUL | BPF_K, 3), STMT(BPF_LDX | BPF_IMM, 1), STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
        STMT(BPF_ALU | BPF_AND | BPF_K, 0xff), STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),
        STMT(BPF_RET | BPF_A, 0), ALLOW, ALLOW};
    GT_OK(SET(f, 0));
    GT_EQ(syscall(SYS_getpgid, 5), -1);
    GT_EQ(errno, 16);
    GT_EQ(syscall(SYS_getpgid, 1l << 32), -1);
    GT_EQ(errno, EPERM);
    // division by a register that is 0 ends the program with 0: kills
    struct sock_filter g[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsid, 0, 3),
                              STMT(BPF_LDX | BPF_IMM, 0), STMT(BPF_ALU | BPF_DIV | BPF_X, 0), ALLOW, ALLOW};
    pid_t pid = fork();
    if (pid == 0) {
        SET(g, 0);
        syscall(SYS_getsid, 0);
        _exit(0);
    }
    int st;
    GT_OK(waitpid(pid, &st, 0));
    GT_TRUE(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
}

GT(seccomp_strictest_action_wins)
{
    nnp();
    on_call(SYS_getppid, SECCOMP_RET_ERRNO | 5);
    on_call(SYS_getppid, SECCOMP_RET_ERRNO | 6); // the newest of equals
    on_call(SYS_getppid, SECCOMP_RET_LOG);
    GT_EQ(syscall(SYS_getppid), -1);
    GT_EQ(errno, 6);
}

static volatile siginfo_t got;
static volatile long got_rax, got_rip;
static void on_sys(int sig, siginfo_t *si, void *u)
{
    ucontext_t *uc = u;
    got = *si;
    got_rax = uc->uc_mcontext.gregs[13]; // REG_RAX
    got_rip = uc->uc_mcontext.gregs[16];
    uc->uc_mcontext.gregs[13] = 4711;
}
GT(seccomp_trap)
{
    struct sigaction sa = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
    GT_OK(sigaction(SIGSYS, &sa, NULL));
    nnp();
    on_call(SYS_getppid, SECCOMP_RET_TRAP | 99);
    GT_EQ(syscall(SYS_getppid), 4711);
    GT_EQ(got.si_signo, SIGSYS);
    GT_EQ(got.si_code, 1);
    GT_EQ(got.si_errno, 99);
    GT_EQ(got.si_syscall, SYS_getppid);
    GT_EQ(got.si_arch, AUDIT_ARCH_X86_64);
    GT_EQ((long)got.si_call_addr, got_rip);
    GT_EQ(got_rax, SYS_getppid);
}

static int killed_by(void (*fn)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        fn();
        _exit(0);
    }
    int st;
    GT_OK(waitpid(pid, &st, 0));
    return WIFSIGNALED(st) ? WTERMSIG(st) : -WEXITSTATUS(st);
}
static void kill_process(void)
{
    signal(SIGSYS, SIG_IGN);
    nnp();
    on_call(SYS_getppid, SECCOMP_RET_KILL_PROCESS);
    syscall(SYS_getppid);
}
static void unknown_action(void)
{
    nnp();
    on_call(SYS_getppid, 0x00070000); // unknown, below ERRNO? as a signed word above KILL
    syscall(SYS_getppid);
}
static void *thread_killed(void *p)
{
    on_call(SYS_getppid, SECCOMP_RET_KILL_THREAD);
    syscall(SYS_getppid);
    *(int *)p = 1;
    return NULL;
}
static void kill_one_thread(void)
{
    nnp();
    pthread_t th;
    int returned = 0;
    pthread_create(&th, NULL, thread_killed, &returned);
    pthread_join(th, NULL); // by clear_child_tid
    _exit(returned ? 1 : 3);
}
static void strict_ok(void)
{
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0);
    syscall(SYS_exit, 5);
}
static void strict_bad(void)
{
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0);
    syscall(SYS_getpid);
    syscall(SYS_exit, 5);
}
GT(seccomp_kills)
{
    GT_EQ(killed_by(kill_process), SIGSYS);
    GT_EQ(killed_by(unknown_action), SIGSYS);
    GT_EQ(killed_by(kill_one_thread), -3);
    GT_EQ(killed_by(strict_ok), -5);
    GT_EQ(killed_by(strict_bad), SIGKILL);
}

GT(seccomp_inherited_by_fork_and_exec)
{
    nnp();
    on_call(SYS_getppid, SECCOMP_RET_ERRNO | 77);
    on_call(SYS_mkdir, SECCOMP_RET_ERRNO | ENOSPC);
    pid_t pid = fork();
    if (pid == 0) {
        if (syscall(SYS_getppid) != -1 || errno != 77)
            _exit(1);
        execl("/bin/sh", "sh", "-c", "grep -q '^Seccomp:.2' /proc/self/status && "
              "grep -q '^NoNewPrivs:.1' /proc/self/status && ! mkdir seccomp_no 2>err; "
              "! test -d seccomp_no", NULL);
        _exit(2);
    }
    int st;
    GT_OK(waitpid(pid, &st, 0));
    GT_EQ(st, 0);
}

static int stop;
static void *looper(void *p)
{
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
        usleep(1000);
    int r = (int)syscall(SYS_getppid);
    *(int *)p = r < 0 ? errno : 0;
    return (void *)(long)prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
}
GT(seccomp_tsync)
{
    pthread_t th;
    int seen = -1;
    void *has;
    GT_EQ(pthread_create(&th, NULL, looper, &seen), 0);
    nnp();
    struct sock_filter f[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
                              STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 33), ALLOW};
    GT_OK(SET(f, SECCOMP_FILTER_FLAG_TSYNC));
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    pthread_join(th, &has);
    GT_EQ(seen, 33);
    GT_EQ((long)has, 1);
}
static void *diverger(void *p)
{
    struct sock_filter f[] = {ALLOW};
    *(int *)p = SET(f, 0) == 0 ? (int)syscall(SYS_gettid) : -1;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
        usleep(1000);
    return NULL;
}
GT(seccomp_tsync_names_the_thread_that_differs)
{
    nnp();
    pthread_t th;
    volatile int tid = 0;
    GT_EQ(pthread_create(&th, NULL, diverger, (void *)&tid), 0);
    while (!tid)
        usleep(1000);
    struct sock_filter f[] = {ALLOW};
    GT_EQ(SET(f, SECCOMP_FILTER_FLAG_TSYNC), tid);
    GT_ERR(SET(f, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH), ESRCH);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    pthread_join(th, NULL);
    GT_OK(SET(f, SECCOMP_FILTER_FLAG_TSYNC));
}

GT(seccomp_long_chain)
{
    static struct sock_filter f[4096];
    for (int i = 0; i < 4096; i++)
        f[i] = (struct sock_filter)ALLOW;
    nnp();
    int i, r = 0;
    for (i = 0; i < 20 && r == 0; i++)
        r = SET(f, 0);
    GT_EQ(r, -1);
    GT_EQ(errno, ENOMEM);
    GT_TRUE(i >= 4 && i <= 8); // 32768 in all; Linux counts what it translates them to
}
GT_MAIN
