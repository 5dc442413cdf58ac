// SPDX-License-Identifier: Apache-2.0
// Threads that change mappings at the same time: what one has been given is its own, zeroed, and gone
// when it says so; a fork in between has all of it or nothing; what the books say is what is there.
#include "gt.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { THREADS = 6, ROUNDS = 150, SIZE = 64 << 10 };
static atomic_int wrong;

static unsigned char *take(void)
{
    unsigned char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

// A place that one thread gives back is given to the next at once.
static void *map_and_unmap(void *arg)
{
    unsigned char mine = (unsigned char)(long)arg;
    for (int i = 0; i < ROUNDS; i++) {
        unsigned char *p = take();
        if (!p || p[0] || p[SIZE / 2] || p[SIZE - 1]) {
            wrong++;
            continue;
        }
        p[0] = p[SIZE / 2] = p[SIZE - 1] = mine;
        if (i % 3 == 0)
            wrong += mprotect(p, SIZE / 2, PROT_READ) != 0;
        if (i % 3 == 0)
            wrong += mprotect(p, SIZE / 2, PROT_READ | PROT_WRITE) != 0;
        wrong += p[0] != mine || p[SIZE / 2] != mine || p[SIZE - 1] != mine;
        if (i % 5 == 0) {
            wrong += madvise(p, SIZE, MADV_DONTNEED) != 0;
            wrong += p[0] || p[SIZE - 1];
        }
        if (i % 7 == 0) // replaced in place
            wrong += mmap(p, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                          0) != p || p[0];
        wrong += munmap(p, SIZE) != 0;
    }
    return NULL;
}

static void in_threads(void *(*fn)(void *), pthread_t *t)
{
    for (long i = 0; i < THREADS; i++)
        GT_TRUE(pthread_create(&t[i], NULL, fn, (void *)(i + 1)) == 0);
}
static void all_join(pthread_t *t)
{
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
}

GT(threads_own_what_they_map)
{
    pthread_t t[THREADS];
    in_threads(map_and_unmap, t);
    all_join(t);
    GT_TRUE(wrong == 0);
}

// A child reads every line of its maps that is its to read: all of it must be there.
static int maps_readable(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], prot[8], path[256];
    int bad = 0;
    while (f && fgets(line, sizeof(line), f)) {
        unsigned long a, b;
        path[0] = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &a, &b, prot, path) < 3 || prot[0] != 'r' || path[0] == '/' ||
            !strncmp(path, "[v", 2))
            continue;
        int fd[2];
        if (pipe(fd))
            return 1;
        for (unsigned long p = a; p < b && p < a + (256 << 10); p += 4096)
            bad += write(fd[1], (void *)p, 1) != 1;
        close(fd[0]);
        close(fd[1]);
    }
    if (f)
        fclose(f);
    return bad;
}

GT(forks_in_between)
{
    pthread_t t[THREADS];
    in_threads(map_and_unmap, t);
    for (int i = 0; i < 12; i++) {
        int st;
        pid_t pid = fork();
        if (pid == 0) {
            signal(SIGPIPE, SIG_DFL);
            _exit(maps_readable() ? 1 : 0);
        }
        GT_TRUE(pid > 0 && waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 0);
    }
    all_join(t);
    GT_TRUE(wrong == 0);
}

// What is unmapped faults, also when the place was another thread's a moment ago.
static _Thread_local sigjmp_buf back;
static void on_segv(int sig)
{
    siglongjmp(back, sig);
}
static void *touch_what_is_gone(void *arg)
{
    char *base = (char *)arg;
    for (int i = 0; i < 80; i++) {
        char *p = mmap(base, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (p != base) {
            wrong++;
            continue;
        }
        p[4096] = 1;
        wrong += mprotect(p, SIZE, PROT_READ) != 0;
        if (sigsetjmp(back, 1) == 0) {
            *(volatile char *)(p + 4096) = 2;
            wrong++;
        }
        wrong += munmap(p, SIZE) != 0;
        if (sigsetjmp(back, 1) == 0) {
            wrong += *(volatile char *)(p + 4096) != 77;
            wrong++;
        }
    }
    return NULL;
}
GT(what_is_gone_faults)
{
    pthread_t t[THREADS];
    struct sigaction sa = {.sa_handler = on_segv};
    sigaction(SIGSEGV, &sa, NULL);
    char *base = mmap(NULL, (size_t)SIZE * 2 * THREADS, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(base != MAP_FAILED);
    for (int i = 0; i < THREADS; i++)
        GT_TRUE(pthread_create(&t[i], NULL, touch_what_is_gone, base + (size_t)SIZE * 2 * i) == 0);
    all_join(t);
    GT_TRUE(wrong == 0);
    signal(SIGSEGV, SIG_DFL);
}

// Killed in the middle of it, a process ends.
GT(killed_in_between)
{
    for (int i = 0; i < 6; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t t[THREADS];
            in_threads(map_and_unmap, t);
            usleep(1000 * i);
            kill(getpid(), SIGKILL);
        }
        int st;
        GT_TRUE(pid > 0 && waitpid(pid, &st, 0) == pid && WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
    }
}
GT_MAIN
