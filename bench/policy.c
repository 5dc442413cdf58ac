// SPDX-License-Identifier: Apache-2.0
// Loads for the handover's polling policy: policy LOAD [SECONDS]. Prints "LOAD<TAB>units per second",
// more is better. busy2: two processes that mix computing and system calls; spin64: 64 threads at a
// barrier that spins with sched_yield, as OpenMP's does; futex64: the same with a futex barrier;
// calls: one process that does nothing but system calls.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double end;
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static void compute(int n)
{
    volatile unsigned v = 1;
    while (n--)
        v = v * 1664525 + 1013904223;
}
static long calls_loop(int work)
{
    long n = 0;
    for (; n % 64 || now() < end; n++) {
        syscall(SYS_personality, 0xffffffff); // not answered without the kernel
        compute(work);
    }
    return n;
}
static long busy2(void)
{
    long *n = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 2; i++)
        if (fork() == 0) {
            n[i * 64] = calls_loop(2000);
            _exit(0);
        }
    while (wait(0) > 0)
        ;
    return n[0] + n[64];
}

enum { THREADS = 64 };
static atomic_int arrived, phase, stop;
static int use_futex;
static void barrier(void)
{
    int p = atomic_load(&phase);
    if (atomic_fetch_add(&arrived, 1) == THREADS - 1) {
        atomic_store(&arrived, 0);
        atomic_store(&stop, now() >= end);
        atomic_fetch_add(&phase, 1);
        if (use_futex)
            syscall(SYS_futex, &phase, FUTEX_WAKE_PRIVATE, THREADS, 0, 0, 0);
        return;
    }
    while (atomic_load(&phase) == p)
        if (use_futex)
            syscall(SYS_futex, &phase, FUTEX_WAIT_PRIVATE, p, 0, 0, 0);
        else
            sched_yield();
}
static void *member(void *arg)
{
    while (!atomic_load(&stop)) {
        compute(20000);
        barrier();
    }
    return arg;
}
static long barriers(int futex)
{
    pthread_t t[THREADS];
    use_futex = futex;
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], 0, member, 0))
            return perror("pthread_create"), exit(1), 0;
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], 0);
    return atomic_load(&phase);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    double seconds = argc > 2 ? atof(argv[2]) : 2, start = now();
    long n;
    end = start + seconds;
    if (!strcmp(what, "busy2"))
        n = busy2();
    else if (!strcmp(what, "calls"))
        n = calls_loop(0);
    else if (!strcmp(what, "spin64") || !strcmp(what, "futex64"))
        n = barriers(what[0] == 'f');
    else
        return fprintf(stderr, "usage: policy busy2|calls|spin64|futex64 [seconds]\n"), 2;
    printf("%s\t%.0f\n", what, n / (now() - start));
    return 0;
}
