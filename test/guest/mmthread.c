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

// What one thread has done to a range counts for whoever hears of it: the ranges go round.
static struct {
    _Alignas(64) atomic_ulong at; // odd: somebody is at it
} ring[4];
static void *change_in_turns(void *arg)
{
    unsigned me = (unsigned)(long)arg - 1;
    for (int i = 0; i < 250; i++) {
        unsigned k = (me + (unsigned)i) % 4;
        unsigned long at;
        while (((at = atomic_load(&ring[k].at)) & 1) || !atomic_compare_exchange_weak(&ring[k].at, &at, at | 1))
            sched_yield();
        char *p = (char *)at;
        switch (i % 6) { // found readable and writable, with 9 in it
        case 0:
            wrong += munmap(p, SIZE) != 0;
            p = (char *)take(); // where another one has just been, perhaps
            if (!p)
                return NULL;
            wrong += p[4096] != 0;
            break;
        case 1:
            wrong += mmap(p, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != p ||
                     p[4096];
            break;
        case 2:
            wrong += mprotect(p, SIZE, PROT_READ) != 0 || p[4096] != 9;
            wrong += mprotect(p, SIZE, PROT_READ | PROT_WRITE) != 0;
            break;
        case 3:
            wrong += madvise(p, SIZE, MADV_DONTNEED) != 0 || p[4096];
            break;
        case 4: {
            char *q = mremap(p, SIZE, 2 * SIZE, MREMAP_MAYMOVE);
            if (q == MAP_FAILED || q[4096] != 9 || q[SIZE])
                wrong++;
            else
                p = q;
            wrong += munmap(p + SIZE, SIZE) != 0;
            break;
        }
        case 5: {
            int st = 0;
            pid_t pid = i % 30 == 5 ? fork() : -1;
            if (pid == 0)
                _exit(p[4096] == 9 ? 7 : 1);
            wrong += pid > 0 && (waitpid(pid, &st, 0) != pid || !WIFEXITED(st) || WEXITSTATUS(st) != 7);
        }
        }
        p[4096] = 9;
        atomic_store(&ring[k].at, (unsigned long)p);
    }
    return NULL;
}
GT(what_one_changes_others_find)
{
    pthread_t t[THREADS];
    for (int k = 0; k < 4; k++) {
        unsigned char *p = take();
        GT_TRUE(p != NULL);
        p[4096] = 9;
        ring[k].at = (unsigned long)p;
    }
    in_threads(change_in_turns, t);
    all_join(t);
    for (int k = 0; k < 4; k++)
        GT_TRUE(munmap((void *)ring[k].at, SIZE) == 0);
    GT_TRUE(wrong == 0);
}

// A call returns before a signal's handler runs, and has been made by then.
static atomic_int hits;
static void on_usr1(int sig)
{
    (void)sig;
    hits++;
    char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || p[0] || munmap(p, 4096))
        wrong++;
}
static void *signalled(void *arg)
{
    atomic_int *done = arg;
    for (int i = 0; i < 1500; i++) {
        unsigned char *p = take();
        if (!p || p[0]) {
            wrong++;
            continue;
        }
        p[0] = 1;
        wrong += mprotect(p, 4096, PROT_READ) != 0 || p[0] != 1;
        wrong += mprotect(p, 4096, PROT_READ | PROT_WRITE) != 0;
        p[0] = 2;
        wrong += madvise(p, SIZE, MADV_DONTNEED) != 0 || p[0];
        wrong += munmap(p, SIZE) != 0;
    }
    *done = 1;
    return NULL;
}
GT(signals_in_between)
{
    static atomic_int done[3];
    pthread_t t[3];
    struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &sa, NULL);
    for (int i = 0; i < 3; i++)
        GT_TRUE(pthread_create(&t[i], NULL, signalled, &done[i]) == 0);
    for (int i = 0; !done[0] || !done[1] || !done[2]; i++) {
        if (!done[i % 3])
            pthread_kill(t[i % 3], SIGUSR1);
        usleep(200);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    GT_TRUE(wrong == 0);
    signal(SIGUSR1, SIG_DFL);
}

// A thread ends, or the process begins another program, with a call just made.
static void *unmap_and_end(void *arg)
{
    return munmap(arg, SIZE) ? arg : NULL;
}
GT(threads_end_in_between)
{
    for (int i = 0; i < 100; i++) {
        pthread_t t[3];
        unsigned char *p[3];
        for (int k = 0; k < 3; k++) {
            GT_TRUE((p[k] = take()) != NULL);
            GT_TRUE(pthread_create(&t[k], NULL, unmap_and_end, p[k]) == 0);
        }
        for (int k = 0; k < 3; k++) {
            void *ret;
            GT_TRUE(pthread_join(t[k], &ret) == 0 && !ret);
        }
    }
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t t[THREADS];
            in_threads(map_and_unmap, t);
            usleep(1000 * (unsigned)i);
            execl("/bin/true", "true", NULL);
            _exit(1);
        }
        int st;
        GT_TRUE(pid > 0 && waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 0);
    }
}

// Who reads another process's maps in between finds whole lines.
GT(others_look_in_between)
{
    pthread_t t[THREADS];
    pid_t pid = fork();
    if (pid == 0) {
        in_threads(map_and_unmap, t);
        all_join(t);
        _exit(wrong ? 1 : 0);
    }
    char path[64], line[512];
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    int st;
    while (waitpid(pid, &st, WNOHANG) == 0) {
        FILE *f = fopen(path, "r");
        unsigned long a, b;
        while (f && fgets(line, sizeof(line), f)) {
            GT_TRUE(sscanf(line, "%lx-%lx", &a, &b) == 2 && a < b);
        }
        if (f)
            fclose(f);
    }
    GT_TRUE(WIFEXITED(st) && WEXITSTATUS(st) == 0);
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
