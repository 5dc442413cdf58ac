// SPDX-License-Identifier: Apache-2.0
// /proc/self/maps against what the program has done: merging, splitting, names, permissions.
#include "gt.h"
#include <sys/mman.h>
#include <sys/prctl.h>

#define PG 4096ul
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
struct line {
    unsigned long start, end, off, ino;
    char perm[5], name[256];
};
static struct line lines[4096];
static int nlines;
static void read_maps(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    GT_TRUE(f != 0);
    char b[1024];
    for (nlines = 0; nlines < 4096 && fgets(b, sizeof(b), f); nlines++) {
        struct line *l = &lines[nlines];
        unsigned maj, min;
        int at = 0;
        GT_EQ(sscanf(b, "%lx-%lx %4s %lx %x:%x %lu %n", &l->start, &l->end, l->perm, &l->off, &maj, &min, &l->ino, &at), 7);
        b[strcspn(b, "\n")] = 0;
        snprintf(l->name, sizeof(l->name), "%s", b + at);
        if (l->name[0])
            GT_TRUE(at == 73 || strlen(b) > 73); // the name's column
    }
    fclose(f);
    for (int i = 1; i < nlines; i++)
        GT_TRUE(lines[i - 1].end <= lines[i].start);
}
static struct line *at(void *p)
{
    for (int i = 0; i < nlines; i++)
        if (lines[i].start <= (unsigned long)p && (unsigned long)p < lines[i].end)
            return &lines[i];
    return 0;
}
static char *area(int pages)
{
    // A place with free pages on both sides, so that nothing merges with strangers.
    char *p = mmap(0, (pages + 2) * PG, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(p != MAP_FAILED);
    GT_OK(munmap(p, (pages + 2) * PG));
    p = mmap(p + PG, pages * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return p;
}
static void expect(char *p, int pages, const char *perm)
{
    struct line *l = at(p);
    if (!l)
        GT_FAIL("%p is not in maps", p);
    GT_EQ(l->start, (unsigned long)p);
    GT_EQ((l->end - l->start) / PG, pages);
    GT_STR(l->perm, perm);
}

GT(maps_split_and_merge)
{
    char *p = area(6);
    read_maps();
    expect(p, 6, "rw-p");
    GT_OK(mprotect(p + 2 * PG, 2 * PG, PROT_READ));
    read_maps();
    expect(p, 2, "rw-p");
    expect(p + 2 * PG, 2, "r--p");
    expect(p + 4 * PG, 2, "rw-p");
    GT_OK(mprotect(p + 2 * PG, 2 * PG, PROT_READ | PROT_WRITE));
    read_maps();
    expect(p, 6, "rw-p");
    GT_OK(munmap(p + PG, PG));
    read_maps();
    expect(p, 1, "rw-p");
    expect(p + 2 * PG, 4, "rw-p");
    GT_TRUE(at(p + PG) == 0);
    GT_TRUE(mmap(p + PG, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + PG);
    read_maps();
    expect(p, 6, "rw-p");
    GT_OK(madvise(p + PG, PG, MADV_DONTFORK));
    read_maps();
    expect(p + PG, 1, "rw-p");
    GT_OK(madvise(p + PG, PG, MADV_DOFORK));
    read_maps();
    expect(p, 6, "rw-p");
}
GT(maps_files)
{
    char name[] = "gt-maps-XXXXXX", path[512];
    int fd = GT_OK(mkstemp(name));
    GT_TRUE(getcwd(path, 400));
    strcat(path, "/");
    strcat(path, name);
    GT_OK(ftruncate(fd, 8 * PG));
    char *p = area(8);
    GT_TRUE(mmap(p, 2 * PG, PROT_READ, MAP_SHARED | MAP_FIXED, fd, PG) == p);
    GT_TRUE(mmap(p + 2 * PG, 2 * PG, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 3 * PG) == p + 2 * PG);
    GT_TRUE(mmap(p + 4 * PG, PG, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == p + 4 * PG);
    read_maps();
    expect(p, 4, "r--s"); // the second continues the first
    GT_EQ(at(p)->off, PG);
    GT_STR(at(p)->name, path);
    GT_TRUE(at(p)->ino != 0);
    expect(p + 4 * PG, 1, "r--s");
    unlink(name);
}
static void maps_special_names_dummy(void)
{
}
GT(maps_special_names)
{
    int local;
    void *brk0 = sbrk(0);
    GT_TRUE(sbrk(8192) != (void *)-1);
    read_maps();
    struct line *l = at(&local);
    GT_TRUE(l != 0);
    GT_STR(l->name, "[stack]");
    GT_TRUE(!strcmp(l->perm, "rw-p"));
    l = at((char *)brk0 + 4096);
    GT_TRUE(l != 0);
    GT_STR(l->name, "[heap]");
    l = at((void *)maps_special_names_dummy);
    GT_TRUE(l != 0 && !strcmp(l->perm, "r-xp"));
    char exe[512];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    exe[n] = 0;
    GT_STR(l->name, exe);
    for (int i = 0; i < nlines; i++)
        if (!strcmp(lines[i].name, "[vdso]"))
            GT_STR(lines[i].perm, "r-xp");
}
static __attribute__((noinline)) void check_deep(int n)
{
    char b[100000];
    b[0] = (char)n;
    if (n)
        check_deep(n - 1);
    else {
        read_maps();
        GT_TRUE(at(b) != 0);
        GT_STR(at(b)->name, "[stack]");
    }
    *(volatile char *)b = 1;
}
GT(maps_show_the_grown_stack)
{
    check_deep(20);
}
GT(maps_anonymous_names)
{
    char *p = area(3);
    if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p + PG, PG, "gt pool"))
        GT_SKIP("no names for anonymous memory");
    read_maps();
    GT_STR(at(p + PG)->name, "[anon:gt pool]");
    expect(p, 1, "rw-p");
    GT_ERR(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p + 1, PG, "x"), EINVAL);
    GT_ERR(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, PG, "a[b"), EINVAL);
    GT_OK(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p + PG, PG, 0));
    read_maps();
    expect(p, 3, "rw-p");
}
GT(maps_shared_anonymous)
{
    char *p = mmap(0, PG, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    read_maps();
    GT_STR(at(p)->perm, "rw-s");
    GT_STR(at(p)->name, "/dev/zero (deleted)");
}
GT(maps_reads_in_pieces)
{
    for (int i = 0; i < 300; i++)
        mmap(0, PG, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static char whole[1 << 20], parts[1 << 20];
    int fd = GT_OK(open("/proc/self/maps", O_RDONLY));
    size_t n = 0, m = 0;
    ssize_t r;
    while ((r = read(fd, whole + n, 65536)) > 0)
        n += r;
    GT_OK(lseek(fd, 0, SEEK_SET));
    while ((r = read(fd, parts + m, 100)) > 0)
        m += r;
    GT_EQ(n, m);
    GT_EQ(memcmp(whole, parts, n), 0);
}
GT_MAIN
