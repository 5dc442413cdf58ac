// SPDX-License-Identifier: Apache-2.0
// Guest tests: plain Linux C programs that must pass on the host's Linux and in the sandbox alike.
//
//     GT(pipe_partial_write) { int p[2]; GT_OK(pipe(p)); GT_EQ(write(p[1], "x", 1), 1); }
//     GT_MAIN
//
// Each test runs in a forked child with a time limit ($GT_ALARM seconds, 30 without). Output: "ok NAME" / "FAIL NAME: why".
// Exit status 0 when all passed. With arguments: only the tests named.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct gt {
    const char *name;
    void (*fn)(void);
    struct gt *next;
};
static struct gt *gt_first, **gt_tail = &gt_first;
#define GT(n)                                                            \
    static void gt_##n(void);                                            \
    static struct gt gt_e_##n = {#n, gt_##n, 0};                         \
    __attribute__((constructor)) static void gt_r_##n(void)              \
    {                                                                    \
        *gt_tail = &gt_e_##n;                                            \
        gt_tail = &gt_e_##n.next;                                        \
    }                                                                    \
    static void gt_##n(void)
#define GT_FAIL(...)                                                     \
    do {                                                                 \
        dprintf(1, "# %s:%d: ", __FILE__, __LINE__);                     \
        dprintf(1, __VA_ARGS__);                                         \
        dprintf(1, "\n");                                                \
        _exit(1);                                                        \
    } while (0)
#define GT_TRUE(c)                                                       \
    do {                                                                 \
        if (!(c))                                                        \
            GT_FAIL("false: %s (errno %d %s)", #c, errno, strerror(errno)); \
    } while (0)
#define GT_EQ(a, b)                                                      \
    do {                                                                 \
        long long gt_a = (long long)(a), gt_b = (long long)(b);          \
        if (gt_a != gt_b)                                                \
            GT_FAIL("%s is %lld, not %s (%lld), errno %d %s", #a, gt_a, #b, gt_b, errno, strerror(errno)); \
    } while (0)
#define GT_OK(c)                                                         \
    ({                                                                   \
        long long gt_v = (long long)(c);                                 \
        if (gt_v < 0)                                                    \
            GT_FAIL("%s failed: errno %d %s", #c, errno, strerror(errno)); \
        gt_v;                                                            \
    })
#define GT_ERR(c, e)                                                     \
    do {                                                                 \
        errno = 0;                                                       \
        long long gt_v = (long long)(c);                                 \
        if (gt_v != -1 || errno != (e))                                  \
            GT_FAIL("%s gave %lld errno %d (%s), not %s", #c, gt_v, errno, strerror(errno), #e); \
    } while (0)
#define GT_STR(a, b)                                                     \
    do {                                                                 \
        const char *gt_a = (a), *gt_b = (b);                             \
        if (strcmp(gt_a, gt_b))                                          \
            GT_FAIL("%s is \"%s\", not \"%s\"", #a, gt_a, gt_b);         \
    } while (0)
#define GT_SKIP(why)                                                     \
    do {                                                                 \
        dprintf(1, "# skipped: %s\n", why);                              \
        _exit(77);                                                       \
    } while (0)
static int gtalarm(void)
{
    const char *s = getenv("GT_ALARM");
    return s ? atoi(s) : 30;
}
// SIGALRM in so many milliseconds, to interrupt what is called next; and again after five seconds,
// because a busy machine may let it come before the call has begun.
static inline void gt_alarm(int ms)
{
    struct itimerval it = {{5, 0}, {0, ms * 1000}};
    setitimer(ITIMER_REAL, &it, 0);
}
// A test that has taken its alarm for something else ends, too.
static pid_t gtchild;
static void gttoolong(int sig)
{
    kill(gtchild, SIGKILL);
}
// What the caller had open is none of the tests' affair: they begin with 0, 1 and 2, and the next
// descriptor is 3.
static void gtdescriptors(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd < 3)
        ;
    syscall(SYS_close_range, 3, ~0u, 0);
}
static int gt_main(int argc, char **argv)
{
    int failed = 0;
    gtdescriptors();
    for (struct gt *t = gt_first; t; t = t->next) {
        int want = argc < 2;
        for (int i = 1; i < argc; i++)
            want |= !strcmp(argv[i], t->name);
        if (!want)
            continue;
        fflush(stdout);
        pid_t p = gtchild = fork();
        if (p == 0) {
            alarm(gtalarm());
            t->fn();
            _exit(0);
        }
        int st = -1;
        signal(SIGALRM, gttoolong);
        alarm(gtalarm() + 10);
        while (waitpid(p, &st, 0) < 0 && errno == EINTR)
            ;
        alarm(0);
        signal(SIGALRM, SIG_DFL);
        int ok = WIFEXITED(st) && (WEXITSTATUS(st) == 0 || WEXITSTATUS(st) == 77);
        failed += !ok;
        dprintf(1, ok ? "%s %s\n" : "%s %s (status 0x%x)\n",
                !ok ? "FAIL" : WEXITSTATUS(st) == 77 ? "skip" : "ok", t->name, st);
    }
    return failed != 0;
}
#define GT_MAIN                          \
    int main(int argc, char **argv)      \
    {                                    \
        return gt_main(argc, argv);      \
    }
