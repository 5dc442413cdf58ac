// SPDX-License-Identifier: Apache-2.0
// Random memory calls in a fixed area; prints every result, what /proc/self/maps says about the area
// and what the kernel reads there. Run on the host and in the sandbox with one seed, the output must
// be the same. Left out is what depends on the kernel's version or on pages that were never touched:
// mremap over several areas, and the borders between areas that continue each other.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PG = 4096, N = 64 };
static char *area;
static int fd_rw, fd_ro, pipe_fd[2];
static unsigned long state = 88172645463325252ul;
static unsigned long rnd(unsigned n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

static void show_maps(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], perm[8], last[8] = "";
    unsigned long s, e, off, ino, lo = (unsigned long)area, next_off = 0, run_end = 0;
    unsigned maj, min;
    while (fgets(line, sizeof(line), f)) {
        sscanf(line, "%lx-%lx %4s %lx %x:%x %lu", &s, &e, perm, &off, &maj, &min, &ino);
        if (s < lo || e > lo + N * PG)
            continue;
        if (run_end && (run_end != s || strcmp(perm, last) || (ino ? off : 0) != next_off)) {
            printf(" %lu\n", (run_end - lo) / PG);
            run_end = 0;
        }
        if (!run_end)
            printf("  %lu %s %lx %d", (s - lo) / PG, perm, off, ino != 0);
        run_end = e;
        next_off = ino ? off + (e - s) : 0;
        strcpy(last, perm);
    }
    if (run_end)
        printf(" %lu\n", (run_end - lo) / PG);
    fclose(f);
}

// Every page is read by the kernel (write to a pipe), one is written by it.
static void show_contents(void)
{
    unsigned char vec;
    char c;
    for (int i = 0; i < N; i++)
        putchar(mincore(area + i * PG, PG, &vec) == 0 ? 'm' : '.');
    for (int i = 0; i < N; i++)
        if (write(pipe_fd[1], area + i * PG, 1) == 1 && read(pipe_fd[0], &c, 1) == 1)
            printf(" %d", c);
        else
            printf(" e%d", errno);
    int page = rnd(N);
    write(pipe_fd[1], "Q", 1);
    ssize_t r = read(pipe_fd[0], area + page * PG, 1);
    printf("\nwrite %d: %zd\n", page, r);
    if (r != 1)
        read(pipe_fd[0], &c, 1);
}

static long call_mmap(char *p, unsigned long at, unsigned long n)
{
    int flags = MAP_FIXED | (rnd(3) ? MAP_PRIVATE : MAP_SHARED), fd = -1;
    int prot = rnd(8) & ~(rnd(2) ? PROT_EXEC : 0);
    if (rnd(4) == 0)
        flags |= MAP_NORESERVE;
    if (rnd(2))
        fd = rnd(2) ? fd_rw : fd_ro;
    else
        flags = (flags & ~MAP_SHARED) | MAP_ANONYMOUS | MAP_PRIVATE;
    if (rnd(5) == 0)
        flags = (flags & ~MAP_FIXED) | MAP_FIXED_NOREPLACE;
    unsigned long off = rnd(2) ? at : rnd(8);
    printf("mmap %lu %lu prot %d flags %x off %lu file %d", at, n, prot, flags, off, fd >= 0);
    return (long)mmap(p, n * PG, prot, flags, fd, off * PG);
}

static long call_mremap(char *p, unsigned long at, unsigned long n)
{
    static const int choice[] = {0, MREMAP_MAYMOVE, MREMAP_MAYMOVE | MREMAP_FIXED,
                                 MREMAP_MAYMOVE | MREMAP_FIXED};
    unsigned long new = 1 + rnd(8), to = rnd(N - 9);
    int flags = choice[rnd(4)];
    if ((flags & MREMAP_FIXED) && new == n)
        new ++;
    printf("mremap %lu %lu %lu flags %d to %lu", at, n, new, flags, to);
    return (long)mremap(p, n * PG, new * PG, flags, area + to * PG);
}

static long call(void)
{
    static const int advice[] = {0, 1, 2, 3, 4, 8, 10, 11, 16, 17, 18, 19, 20, 22, 23, 99};
    unsigned long at = rnd(N - 8), n = 1 + rnd(8);
    char *p = area + at * PG;
    int prot = rnd(8), a = advice[rnd(16)];
    switch (rnd(11)) {
    case 0: case 1: case 2:
        return call_mmap(p, at, n);
    case 3:
        printf("munmap %lu %lu", at, n);
        return munmap(p, n * PG);
    case 4: case 5:
        printf("mprotect %lu %lu %d", at, n, prot);
        return mprotect(p, n * PG, prot);
    case 6: case 7:
        return call_mremap(p, at, n);
    case 8:
        printf("madvise %lu %lu %d", at, n, a);
        return madvise(p, n * PG, a);
    case 9:
        printf("mlock %lu %lu %d", at, n, prot);
        return prot & 1 ? mlock(p, n * PG) : munlock(p, n * PG);
    default:
        printf("msync %lu %lu %d", at, n, prot);
        return msync(p, n * PG, prot & 1 ? MS_SYNC : MS_INVALIDATE);
    }
}

static void open_file(void)
{
    char name[] = "memdiff-XXXXXX";
    fd_rw = mkstemp(name);
    fd_ro = open(name, O_RDONLY);
    unlink(name);
    if (fd_rw < 0 || fd_ro < 0 || ftruncate(fd_rw, N * PG) || pipe(pipe_fd))
        exit(1);
    for (int i = 0; i < N; i++) {
        char c = i;
        if (pwrite(fd_rw, &c, 1, i * PG) != 1)
            exit(1);
    }
}

int main(int argc, char **argv)
{
    static char buf[1 << 16];
    setvbuf(stdout, buf, _IOFBF, sizeof(buf));
    state += argc > 1 ? strtoul(argv[1], 0, 0) * 7919 : 0;
    area = mmap((void *)0x200000000000, N * PG, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (area == MAP_FAILED || munmap(area, N * PG))
        return 1;
    open_file();
    for (int i = 0; i < 3000; i++) {
        printf("%d ", i);
        errno = 0;
        long ret = call();
        int err = ret == -1 ? errno : 0;
        if (ret >= (long)area && ret < (long)(area + N * PG))
            printf(" = area + %ld\n", (ret - (long)area) / PG);
        else
            printf(" = %s, errno %d\n", ret > 0 ? "elsewhere" : ret ? "-1" : "0", err);
        if (i % 5 == 0) {
            show_maps();
            show_contents();
        }
    }
    return 0;
}
