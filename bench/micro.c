// SPDX-License-Identifier: Apache-2.0
// Micro benchmarks of what programs ask of a kernel. Prints "name<TAB>nanoseconds<TAB>spread" per
// line: the median of REPS runs, and how far the quartiles lie apart, in percent of it. Runs natively
// and in a sandbox; bench/run.sh makes ratios of the two. "word ping-pong" asks nothing of a kernel: it
// says how far apart the machine's CPUs are, on which every handover depends.
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REPS = 7 };
static int file_fd;
static char file_name[64] = "/tmp/bench-micro.XXXXXX";
static char buf[65536];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}
static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void b_getpid(int n) { while (n--) syscall(SYS_getpid); }
static void b_umask(int n) { while (n--) syscall(SYS_umask, 022); }
static void b_handover(int n) { while (n--) syscall(SYS_getpriority, 0, 0); } // nothing answers it but the kernel
static void b_getrandom(int n) { while (n--) syscall(SYS_getrandom, buf, 16, 0); }
static void b_getrandom_long(int n) { while (n--) syscall(SYS_getrandom, buf, 256, 0); }
static void b_clock(int n)
{
    struct timespec t;
    while (n--)
        clock_gettime(CLOCK_MONOTONIC, &t);
}
static void b_clock_sys(int n)
{
    struct timespec t;
    while (n--)
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
}
static void b_pread(int n) { while (n--) if (pread(file_fd, buf, 4096, 0) != 4096) die("pread"); }
static void b_pwrite(int n) { while (n--) if (pwrite(file_fd, buf, 4096, 0) != 4096) die("pwrite"); }
static void b_fstat(int n)
{
    struct stat st;
    while (n--)
        fstat(file_fd, &st);
}
static void b_stat(int n)
{
    struct stat st;
    while (n--)
        if (stat("/usr/bin/env", &st))
            die("stat");
}
static void b_pread_ro(int n)
{
    int fd = open("/usr/bin/env", O_RDONLY);
    while (n--)
        if (pread(fd, buf, 4096, 0) != 4096)
            die("pread");
    close(fd);
}
static void b_open(int n)
{
    while (n--) {
        int fd = open("/usr/bin/env", O_RDONLY);
        if (fd < 0)
            die("open");
        close(fd);
    }
}
static void b_mmap(int n)
{
    while (n--) {
        void *p = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            die("mmap");
        munmap(p, 4096);
    }
}
static void b_mmap_touch(int n)
{
    while (n--) {
        volatile char *p = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        p[0] = 1;
        munmap((void *)p, 4096);
    }
}
static void b_touch(int n) // per page of one large mapping
{
    volatile char *p = mmap(0, (size_t)n * 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("mmap");
    madvise((void *)p, (size_t)n * 4096, MADV_NOHUGEPAGE);
    for (int i = 0; i < n; i++)
        p[(size_t)i * 4096] = 1;
    munmap((void *)p, (size_t)n * 4096);
}
static void b_fork(int n)
{
    while (n--) {
        pid_t p = fork();
        if (p == 0)
            _exit(0);
        if (waitpid(p, 0, 0) != p)
            die("fork");
    }
}
static void b_vfork_exec(int n)
{
    char *argv[] = {"true", 0}, *envp[] = {0};
    while (n--) {
        pid_t p;
        if (posix_spawn(&p, "/bin/true", 0, 0, argv, envp))
            die("spawn");
        waitpid(p, 0, 0);
    }
}
static void b_fork_exec(int n)
{
    while (n--) {
        pid_t p = fork();
        if (p == 0) {
            execl("/bin/true", "true", (char *)0);
            _exit(9);
        }
        int st;
        if (waitpid(p, &st, 0) != p || st)
            die("fork+exec");
    }
}
static void *nothing(void *p) { return p; }
static void b_thread(int n)
{
    while (n--) {
        pthread_t t;
        if (pthread_create(&t, 0, nothing, 0))
            die("pthread_create");
        pthread_join(t, 0);
    }
}
static void b_pingpong(int n)
{
    int a[2], b[2];
    char c = 0;
    if (pipe(a) || pipe(b))
        die("pipe");
    pid_t p = fork();
    if (p == 0) {
        while (n--)
            if (read(a[0], &c, 1) != 1 || write(b[1], &c, 1) != 1)
                _exit(1);
        _exit(0);
    }
    for (int i = 0; i < n; i++)
        if (write(a[1], &c, 1) != 1 || read(b[0], &c, 1) != 1)
            die("ping-pong");
    waitpid(p, 0, 0);
    for (int i = 0; i < 2; i++)
        close(a[i]), close(b[i]);
}
static void b_unix(int n) // request and reply of 64 bytes between processes, as a database's client does
{
    int s[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, s))
        die("socketpair");
    pid_t p = fork();
    if (p == 0) {
        while (n--)
            if (read(s[1], buf, 64) != 64 || write(s[1], buf, 64) != 64)
                _exit(1);
        _exit(0);
    }
    for (int i = 0; i < n; i++)
        if (write(s[0], buf, 64) != 64 || read(s[0], buf, 64) != 64)
            die("unix");
    waitpid(p, 0, 0);
    close(s[0]), close(s[1]);
}
static void b_pipe_self(int n)
{
    int a[2];
    char c = 0;
    if (pipe(a))
        die("pipe");
    while (n--)
        if (write(a[1], &c, 1) != 1 || read(a[0], &c, 1) != 1)
            die("pipe");
    close(a[0]), close(a[1]);
}
static pthread_mutex_t mtx = PTHREAD_MUTEX_INITIALIZER;
static void *lock_loop(void *arg)
{
    for (long i = (long)arg; i; i--) {
        pthread_mutex_lock(&mtx);
        buf[0]++;
        pthread_mutex_unlock(&mtx);
    }
    return 0;
}
static void b_mutex2(int n)
{
    pthread_t t;
    pthread_create(&t, 0, lock_loop, (void *)(long)(n / 2));
    lock_loop((void *)(long)(n / 2));
    pthread_join(t, 0);
}
static _Alignas(64) volatile int word;
static void *word_back(void *arg)
{
    for (long i = (long)arg; i; i--) {
        while (word != 1)
            __builtin_ia32_pause();
        word = 0;
    }
    return 0;
}
static void b_word(int n)
{
    pthread_t t;
    pthread_create(&t, 0, word_back, (void *)(long)n);
    while (n--) {
        word = 1;
        while (word)
            __builtin_ia32_pause();
    }
    pthread_join(t, 0);
}
// Memory calls of a process with several threads, each on memory of its own: as allocators make them.
enum { MEM_THREADS = 4, MEM_BLOCK = 64 << 10 };
static void *mem_block(void)
{
    void *p = mmap(0, MEM_BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("mmap");
    return p;
}
static void m_map(int n) { b_mmap_touch(n); }
static void m_protect(int n) // per call
{
    char *p = mem_block();
    for (int i = 0; i < n; i++)
        if (mprotect(p + 4096, 4096, i & 1 ? PROT_READ | PROT_WRITE : PROT_READ))
            die("mprotect");
    munmap(p, MEM_BLOCK);
}
static void m_dontneed(int n)
{
    char *p = mem_block();
    while (n--) {
        *(volatile char *)p = 1;
        if (madvise(p, 4096, MADV_DONTNEED))
            die("madvise");
    }
    munmap(p, MEM_BLOCK);
}
static void m_malloc(int n) // an arena (the break, in the first thread) that grows and is trimmed
{
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 10);
    for (int i = 0; i < n; i++) {
        char *p = malloc((size_t)(100 + i % 200) << 10);
        if (!p)
            die("malloc");
        *(volatile char *)p = 1;
        free(p);
    }
}
struct mem_run {
    void (*fn)(int);
    int n;
};
static void *mem_thread(void *arg)
{
    const struct mem_run *r = arg;
    r->fn(r->n);
    return 0;
}
static void mem_all(void (*fn)(int), int n)
{
    pthread_t t[MEM_THREADS];
    struct mem_run r = {fn, n / MEM_THREADS};
    for (int i = 0; i < MEM_THREADS; i++)
        if (pthread_create(&t[i], 0, mem_thread, &r))
            die("pthread_create");
    for (int i = 0; i < MEM_THREADS; i++)
        pthread_join(t[i], 0);
}
static void *sleeper(void *arg)
{
    pthread_mutex_lock(arg);
    pthread_mutex_unlock(arg);
    return 0;
}
// The same by one thread while another one sleeps.
static void mem_beside(void (*fn)(int), int n)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_t t;
    pthread_mutex_lock(&m);
    if (pthread_create(&t, 0, sleeper, &m))
        die("pthread_create");
    fn(n);
    pthread_mutex_unlock(&m);
    pthread_join(t, 0);
}
static void b_map_beside(int n) { mem_beside(m_map, n); }
static void b_protect_beside(int n) { mem_beside(m_protect, n); }
static void b_dontneed_beside(int n) { mem_beside(m_dontneed, n); }
static void b_malloc_beside(int n) { mem_beside(m_malloc, n); }
static void b_map_all(int n) { mem_all(m_map, n); }
static void b_protect_all(int n) { mem_all(m_protect, n); }
static void b_dontneed_all(int n) { mem_all(m_dontneed, n); }
static void b_malloc_all(int n) { mem_all(m_malloc, n); }

static const struct {
    const char *name;
    void (*fn)(int);
    int n;
} benches[] = {
    {"getpid", b_getpid, 20000},
    {"umask", b_umask, 20000},
    {"a call that needs the kernel", b_handover, 20000},
    {"getrandom 16", b_getrandom, 20000},
    {"getrandom 256", b_getrandom_long, 10000},
    {"clock_gettime (vDSO)", b_clock, 100000},
    {"clock_gettime (syscall)", b_clock_sys, 20000},
    {"pread 4 KiB cached", b_pread, 10000},
    {"pread 4 KiB of a program", b_pread_ro, 10000},
    {"pwrite 4 KiB", b_pwrite, 5000},
    {"fstat", b_fstat, 20000},
    {"stat cached", b_stat, 10000},
    {"open+close cached", b_open, 5000},
    {"mmap+munmap 4 KiB", b_mmap, 5000},
    {"mmap+touch+munmap 4 KiB", b_mmap_touch, 5000},
    {"page touch", b_touch, 20000},
    {"mmap+touch+munmap, one thread of two", b_map_beside, 5000},
    {"mprotect, one thread of two", b_protect_beside, 5000},
    {"MADV_DONTNEED+touch, one thread of two", b_dontneed_beside, 5000},
    {"malloc+free 100-300 KiB, one thread of two", b_malloc_beside, 5000},
    {"mmap+touch+munmap, four threads", b_map_all, 4000},
    {"mprotect, four threads", b_protect_all, 4000},
    {"MADV_DONTNEED+touch, four threads", b_dontneed_all, 4000},
    {"malloc+free 100-300 KiB, four threads", b_malloc_all, 4000},
    {"pipe write+read, one process", b_pipe_self, 10000},
    {"pipe ping-pong, two processes", b_pingpong, 3000},
    {"AF_UNIX request+reply", b_unix, 3000},
    {"mutex, two threads", b_mutex2, 200000},
    {"thread create+join", b_thread, 1000},
    {"fork+exit+wait", b_fork, 200},
    {"posix_spawn+wait", b_vfork_exec, 100},
    {"fork+exec+wait", b_fork_exec, 100},
    {"word ping-pong, no kernel", b_word, 20000},
};
static int cmp(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
int main(int argc, char **argv)
{
    file_fd = mkstemp(file_name);
    if (file_fd < 0 || write(file_fd, buf, sizeof(buf)) != (ssize_t)sizeof(buf))
        die(file_name);
    for (size_t i = 0; i < sizeof(benches) / sizeof(*benches); i++) {
        int want = argc < 2;
        for (int k = 1; k < argc; k++)
            want |= !!strstr(benches[i].name, argv[k]);
        if (!want)
            continue;
        double r[REPS];
        benches[i].fn(benches[i].n / 10 + 1);
        for (int k = 0; k < REPS; k++) {
            double t = now();
            benches[i].fn(benches[i].n);
            r[k] = (now() - t) / benches[i].n;
        }
        qsort(r, REPS, sizeof(*r), cmp);
        printf("%s\t%.1f\t%.0f\n", benches[i].name, r[REPS / 2],
               100 * (r[REPS * 3 / 4] - r[REPS / 4]) / r[REPS / 2]);
        fflush(stdout);
    }
    unlink(file_name);
    return 0;
}
