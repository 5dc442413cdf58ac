// SPDX-License-Identifier: Apache-2.0
// Limits, priorities, scheduling parameters, names of the machine.
#include "gt.h"
#include <sched.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

GT(rlimit_get_set)
{
    struct rlimit r, o;
    for (int i = 0; i < RLIM_NLIMITS; i++) {
        GT_OK(getrlimit(i, &r));
        GT_TRUE(r.rlim_cur <= r.rlim_max);
    }
    GT_ERR(syscall(SYS_getrlimit, 99, &r), EINVAL);
    GT_ERR(syscall(SYS_setrlimit, 99, &r), EINVAL);
    GT_OK(getrlimit(RLIMIT_NOFILE, &o));
    r = (struct rlimit){100, o.rlim_max};
    GT_OK(setrlimit(RLIMIT_NOFILE, &r));
    GT_OK(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &o));
    GT_EQ(o.rlim_cur, 100);
    r = (struct rlimit){200, 100};
    GT_ERR(setrlimit(RLIMIT_NOFILE, &r), EINVAL);
    GT_ERR(syscall(SYS_prlimit64, 4000000, RLIMIT_NOFILE, 0, &o), ESRCH);
    GT_ERR(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 8, 0), EFAULT);
}

GT(rlimit_nofile_enforced)
{
    struct rlimit r = {10, 10};
    GT_OK(setrlimit(RLIMIT_NOFILE, &r));
    int fd = -1, n = 0;
    while ((fd = dup(0)) >= 0)
        n++;
    GT_EQ(errno, EMFILE);
    GT_TRUE(n < 10);
}

GT(rlimit_raise_hard)
{
    struct rlimit r = {50, 50};
    GT_OK(setrlimit(RLIMIT_NOFILE, &r));
    if (getuid() == 0 && setuid(12345))
        GT_SKIP("setuid");
    r.rlim_max = 60;
    GT_ERR(setrlimit(RLIMIT_NOFILE, &r), EPERM);
}

GT(rlimit_inherited)
{
    struct rlimit r = {123456, 999999};
    GT_OK(setrlimit(RLIMIT_FSIZE, &r));
    pid_t p = fork();
    if (!p) {
        struct rlimit o;
        getrlimit(RLIMIT_FSIZE, &o);
        _exit(o.rlim_cur == 123456 ? 0 : 1);
    }
    GT_OK(syscall(SYS_prlimit64, p, RLIMIT_FSIZE, 0, &r));
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0);
}

GT(priority)
{
    errno = 0;
    GT_EQ(getpriority(PRIO_PROCESS, 0), 0);
    GT_OK(setpriority(PRIO_PROCESS, 0, 5));
    GT_EQ(getpriority(PRIO_PROCESS, 0), 5);
    GT_EQ(syscall(SYS_getpriority, PRIO_PROCESS, 0), 15);
    GT_OK(setpriority(PRIO_PROCESS, 0, 100));
    GT_EQ(getpriority(PRIO_PROCESS, 0), 19);
    GT_ERR(getpriority(77, 0), EINVAL);
    GT_ERR(getpriority(PRIO_PROCESS, 4000000), ESRCH);
    GT_ERR(setpriority(PRIO_PROCESS, 4000000, 0), ESRCH);
    pid_t p = fork();
    if (!p)
        _exit(getpriority(PRIO_PROCESS, 0) != 19);
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0);
    if (getuid() == 0 && setuid(12345) == 0)
        GT_ERR(setpriority(PRIO_PROCESS, 0, 3), EACCES);
}

GT(sched_params)
{
    struct sched_param sp = {0};
    GT_EQ(sched_getscheduler(0), SCHED_OTHER);
    GT_EQ(sched_get_priority_max(SCHED_FIFO), 99);
    GT_EQ(sched_get_priority_min(SCHED_RR), 1);
    GT_EQ(sched_get_priority_max(SCHED_OTHER), 0);
    GT_ERR(sched_get_priority_max(77), EINVAL);
    GT_OK(sched_getparam(0, &sp));
    GT_EQ(sp.sched_priority, 0);
    sp.sched_priority = 5;
    GT_ERR(sched_setscheduler(0, SCHED_OTHER, &sp), EINVAL);
    sp.sched_priority = 0;
    GT_ERR(sched_setscheduler(0, SCHED_FIFO, &sp), EINVAL);
    GT_ERR(sched_setscheduler(0, 77, &sp), EINVAL);
    GT_ERR(sched_setscheduler(4000000, SCHED_OTHER, &sp), ESRCH);
    GT_ERR(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, 0), EINVAL);
    GT_OK(sched_setscheduler(0, SCHED_BATCH, &sp));
    GT_EQ(sched_getscheduler(0), SCHED_BATCH);
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t prio; uint64_t d[3]; uint32_t u[2]; } a;
    GT_OK(syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0));
    GT_EQ(a.policy, SCHED_BATCH);
    GT_ERR(syscall(SYS_sched_getattr, 0, &a, 10, 0), EINVAL);
    struct timespec ts;
    GT_OK(sched_rr_get_interval(0, &ts));
    GT_OK(sched_yield());
}

GT(affinity)
{
    cpu_set_t s;
    GT_OK(sched_getaffinity(0, sizeof(s), &s));
    int n = CPU_COUNT(&s);
    GT_TRUE(n >= 1);
    unsigned long m[16];
    long r = syscall(SYS_sched_getaffinity, 0, sizeof(m), m);
    GT_TRUE(r >= 8 && r % 8 == 0);
    GT_ERR(syscall(SYS_sched_getaffinity, 0, 4, m), EINVAL);
    GT_ERR(syscall(SYS_sched_getaffinity, 0, 12, m), EINVAL);
    int first = 0;
    while (!CPU_ISSET(first, &s))
        first++;
    cpu_set_t one;
    CPU_ZERO(&one);
    GT_ERR(sched_setaffinity(0, sizeof(one), &one), EINVAL);
    CPU_SET(first, &one);
    GT_OK(sched_setaffinity(0, sizeof(one), &one));
    GT_OK(sched_getaffinity(0, sizeof(s), &s));
    GT_EQ(CPU_COUNT(&s), 1);
    GT_EQ(sysconf(_SC_NPROCESSORS_ONLN) >= 1, 1);
    unsigned cpu, node;
    GT_OK(syscall(SYS_getcpu, &cpu, &node, 0));
}

GT(machine)
{
    struct utsname u;
    GT_OK(uname(&u));
    GT_STR(u.sysname, "Linux");
    GT_STR(u.machine, "x86_64");
    GT_TRUE(u.release[0] >= '4');
    struct sysinfo si;
    GT_OK(sysinfo(&si));
    GT_TRUE(si.uptime > 0 && si.totalram > 0 && si.procs > 0 && si.freeram <= si.totalram);
    GT_TRUE(sysconf(_SC_PHYS_PAGES) > 0);
}

GT(getrandom_bytes)
{
    unsigned char a[300] = {0}, b[300] = {0};
    GT_EQ(getrandom(a, sizeof(a), 0), 300);
    GT_EQ(getrandom(b, sizeof(b), GRND_NONBLOCK), 300);
    GT_TRUE(memcmp(a, b, sizeof(a)) != 0);
    GT_ERR(syscall(SYS_getrandom, a, 10, 0x80), EINVAL);
    GT_ERR(syscall(SYS_getrandom, a, 10, 6), EINVAL);
    GT_ERR(syscall(SYS_getrandom, 8, 10, 0), EFAULT);
    GT_EQ(getrandom(a, 0, 0), 0);
}

GT(unknown_calls)
{
    GT_ERR(syscall(500), ENOSYS);
    GT_ERR(syscall(10000), ENOSYS);
    GT_ERR(syscall(-1), ENOSYS);
    GT_ERR(syscall(0x40000000 | 39), ENOSYS); // x32
    GT_ERR(syscall(183), ENOSYS);
}
GT_MAIN
