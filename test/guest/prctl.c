// SPDX-License-Identifier: Apache-2.0
// prctl, arch_prctl, personality.
#include "gt.h"
#include <asm/prctl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

GT(prctl_name)
{
    char n[16], file[32] = {0};
    GT_OK(prctl(PR_SET_NAME, "a-very-long-name-indeed"));
    GT_OK(prctl(PR_GET_NAME, n));
    GT_STR(n, "a-very-long-nam");
    int fd = open("/proc/self/comm", O_RDONLY);
    if (fd >= 0) {
        GT_TRUE(read(fd, file, 31) > 0);
        GT_STR(file, "a-very-long-nam\n");
    }
    GT_ERR(prctl(PR_SET_NAME, 8), EFAULT);
}

GT(prctl_pdeathsig)
{
    int v, p[2];
    char c;
    GT_ERR(prctl(PR_SET_PDEATHSIG, 65), EINVAL);
    GT_OK(prctl(PR_SET_PDEATHSIG, SIGTERM));
    GT_OK(prctl(PR_GET_PDEATHSIG, &v));
    GT_EQ(v, SIGTERM);
    GT_OK(prctl(PR_SET_PDEATHSIG, 0));
    GT_OK(pipe(p));
    pid_t mid = fork();
    if (!mid) {
        pid_t k = fork();
        if (!k) {
            prctl(PR_GET_PDEATHSIG, &v);
            if (v)
                _exit(1); // not inherited
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(p[0]);
            write(p[1], "x", 1);
            for (;;)
                pause();
        }
        read(p[0], &c, 1);
        _exit(0);
    }
    close(p[1]);
    waitpid(mid, 0, 0);
    GT_EQ(read(p[0], &c, 1), 0); // the grandchild is dead: the last writer is gone
}

GT(prctl_dumpable)
{
    GT_EQ(prctl(PR_GET_DUMPABLE), 1);
    GT_OK(prctl(PR_SET_DUMPABLE, 0));
    GT_EQ(prctl(PR_GET_DUMPABLE), 0);
    GT_ERR(prctl(PR_SET_DUMPABLE, 2), EINVAL);
    GT_OK(prctl(PR_SET_DUMPABLE, 1));
    if (getuid() == 0 && setuid(1000) == 0)
        GT_EQ(prctl(PR_GET_DUMPABLE), 0);
}

GT(prctl_timerslack)
{
    GT_OK(prctl(PR_SET_TIMERSLACK, 12345));
    GT_EQ(prctl(PR_GET_TIMERSLACK), 12345);
}

GT(prctl_misc)
{
    GT_ERR(prctl(12345), EINVAL);
    GT_EQ(prctl(PR_GET_TIMING), PR_TIMING_STATISTICAL);
    GT_ERR(prctl(PR_SET_TIMING, 1), EINVAL);
    GT_OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    GT_EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
    GT_ERR(prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0), EINVAL);
    int v = 0;
    GT_OK(prctl(PR_GET_TSC, &v));
    GT_EQ(v, PR_TSC_ENABLE);
    GT_ERR(prctl(PR_SET_UNALIGN, 0), EINVAL);
}

GT(arch_prctl_bases)
{
    unsigned long fs = 0, gs = 1;
    GT_OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
    unsigned long self;
    __asm__("mov %%fs:0, %0" : "=r"(self));
    GT_EQ(fs, self);
    static char area[64] = "gs area";
    GT_OK(syscall(SYS_arch_prctl, ARCH_SET_GS, area));
    GT_OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
    GT_EQ(gs, (unsigned long)area);
    char c;
    __asm__ volatile("movb %%gs:0, %0" : "=q"(c));
    GT_EQ(c, 'g');
    sched_yield();
    usleep(1000);
    __asm__ volatile("movb %%gs:3, %0" : "=q"(c));
    GT_EQ(c, 'a');
    GT_ERR(syscall(SYS_arch_prctl, ARCH_SET_GS, 0x8000000000000000ul), EPERM);
    GT_ERR(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
    GT_ERR(syscall(SYS_arch_prctl, ARCH_GET_FS, 8), EFAULT);
    pid_t p = fork();
    if (!p) {
        __asm__ volatile("movb %%gs:1, %0" : "=q"(c));
        _exit(c != 's');
    }
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0);
}

GT(personality_values)
{
    int old = personality(0xffffffff);
    GT_TRUE(old >= 0);
    GT_EQ(personality(old | ADDR_NO_RANDOMIZE), old);
    GT_EQ(personality(0xffffffff), old | ADDR_NO_RANDOMIZE);
}

GT(prctl_anon_name)
{
    void *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long r = prctl(0x53564d41, 0, m, 8192, "gtname");
    GT_TRUE(r == 0 || errno == EINVAL);
    if (r == 0)
        GT_ERR(prctl(0x53564d41, 0, m, 8192, "bad[name]"), EINVAL);
    GT_ERR(prctl(0x53564d41, 99, m, 8192, 0), EINVAL);
}
GT_MAIN
