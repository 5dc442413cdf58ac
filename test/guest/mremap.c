// SPDX-License-Identifier: Apache-2.0
// mremap in all its forms.
#include "gt.h"
#include <sys/mman.h>

#define PG 4096ul
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
static char *anon(size_t pages, int flags)
{
    char *p = mmap(0, pages * PG, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(p != MAP_FAILED);
    for (size_t i = 0; i < pages; i++)
        p[i * PG] = (char)('a' + i % 26);
    return p;
}
static int mapped(char *p)
{
    unsigned char v;
    return mincore(p, PG, &v) == 0;
}

GT(mremap_shrink)
{
    char *p = anon(4, MAP_PRIVATE);
    GT_TRUE(mremap(p, 4 * PG, 2 * PG, 0) == p);
    GT_TRUE(mapped(p + PG) && !mapped(p + 2 * PG));
    GT_EQ(p[PG], 'b');
    GT_TRUE(mremap(p, 2 * PG, 2 * PG, 0) == p);
    GT_TRUE(mremap(p, PG + 1, 2 * PG - 5, 0) == p); // same number of pages
}

GT(mremap_grow_in_place)
{
    char *p = anon(6, MAP_PRIVATE);
    GT_OK(munmap(p + 2 * PG, 4 * PG));
    GT_TRUE(mremap(p, 2 * PG, 4 * PG, 0) == p);
    GT_EQ(p[PG], 'b');
    GT_EQ(p[2 * PG], 0);
    p[3 * PG] = 1;
    char *q = mmap(p + 4 * PG, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    GT_TRUE(q == p + 4 * PG);
    GT_ERR((long)mremap(p, 4 * PG, 6 * PG, 0), ENOMEM);
    GT_ERR((long)mremap(p, 2 * PG, 3 * PG, 0), ENOMEM); // not at the end of the mapping
}

GT(mremap_move)
{
    char *p = anon(4, MAP_PRIVATE);
    mmap(p + 3 * PG, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    char *q = mremap(p, 3 * PG, 700 * PG, MREMAP_MAYMOVE);
    GT_TRUE(q != MAP_FAILED && q != p);
    GT_EQ(q[2 * PG], 'c');
    GT_EQ(q[699 * PG], 0);
    GT_TRUE(!mapped(p));
    // The middle of a mapping.
    char *r = mremap(q + PG, PG, 2 * PG, MREMAP_MAYMOVE);
    GT_TRUE(r != MAP_FAILED);
    GT_EQ(r[0], 'b');
    GT_TRUE(mapped(q) && !mapped(q + PG) && mapped(q + 2 * PG));
}

GT(mremap_fixed)
{
    char *p = anon(2, MAP_PRIVATE), *t = anon(6, MAP_PRIVATE);
    GT_TRUE(mremap(p, 2 * PG, 3 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, t + PG) == t + PG);
    GT_EQ(t[PG], 'a');
    GT_EQ(t[2 * PG], 'b');
    GT_EQ(t[3 * PG], 0);
    GT_EQ(t[4 * PG], 'e');
    GT_TRUE(!mapped(p));
    GT_TRUE(mremap(t + PG, 3 * PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, p) == p); // shrinks first
    GT_EQ(p[0], 'a');
    GT_TRUE(!mapped(t + 2 * PG) && !mapped(p + PG));
    GT_ERR((long)mremap(t + 4 * PG, 2 * PG, 2 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, t + 3 * PG), EINVAL);
    GT_ERR((long)mremap(t, PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, t + PG + 1), EINVAL);
    GT_ERR((long)mremap(t, PG, PG, MREMAP_FIXED, p), EINVAL);
}

GT(mremap_errors)
{
    char *p = anon(2, MAP_PRIVATE);
    GT_ERR((long)mremap(p + 1, PG, PG, 0), EINVAL);
    GT_ERR((long)mremap(p, PG, 0, 0), EINVAL);
    GT_ERR((long)mremap(p, PG, PG, 0x100), EINVAL);
    GT_ERR((long)mremap(p, 0, PG, MREMAP_MAYMOVE), EINVAL); // private: no duplicate
    GT_TRUE(mremap(p, 2 * PG, 1ul << 50, MREMAP_MAYMOVE) == MAP_FAILED);
    GT_TRUE(errno == ENOMEM || errno == EINVAL); // EINVAL since Linux 6.17
    GT_OK(munmap(p + PG, PG));
    GT_ERR((long)mremap(p + PG, PG, 2 * PG, MREMAP_MAYMOVE), EFAULT);
    GT_ERR((long)mremap(p, 2 * PG, 3 * PG, MREMAP_MAYMOVE), EFAULT); // over its end
    GT_ERR((long)mremap(p, PG, 2 * PG, MREMAP_MAYMOVE | MREMAP_DONTUNMAP), EINVAL);
}

GT(mremap_file_grows_into_the_file)
{
    char name[] = "gt-mremap-XXXXXX";
    int fd = GT_OK(mkstemp(name));
    unlink(name);
    for (int i = 0; i < 4; i++) {
        char b[PG];
        memset(b, 'A' + i, PG);
        GT_EQ(write(fd, b, PG), PG);
    }
    for (int shared = 0; shared < 2; shared++) {
        char *p = mmap(0, PG, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE, fd, PG);
        p[1] = 'x';
        char *q = mremap(p, PG, 3 * PG, MREMAP_MAYMOVE);
        GT_TRUE(q != MAP_FAILED);
        GT_EQ(q[0], 'B');
        GT_EQ(q[1], 'x');
        GT_EQ(q[2 * PG], 'D');
        q = mremap(q + PG, 2 * PG, 2 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, anon(2, MAP_PRIVATE));
        GT_TRUE(q != MAP_FAILED);
        GT_EQ(q[0], 'C');
    }
}

GT(mremap_duplicates_shared)
{
    char *p = anon(2, MAP_SHARED);
    char *q = mremap(p, 0, 2 * PG, MREMAP_MAYMOVE);
    GT_TRUE(q != MAP_FAILED && q != p);
    GT_EQ(q[PG], 'b');
    p[PG] = 'z';
    GT_EQ(q[PG], 'z');
}

GT(mremap_dontunmap)
{
    char *p = anon(2, MAP_PRIVATE);
    char *q = mremap(p, 2 * PG, 2 * PG, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
    if (q == MAP_FAILED) {
        GT_EQ(errno, EINVAL); // before Linux 5.7
        return;
    }
    GT_EQ(q[PG], 'b');
    GT_EQ(p[PG], 0);
    p[0] = 'n';
    GT_EQ(q[0], 'a');
}

GT(mremap_realloc_pattern)
{
    size_t n = 64;
    char *p = anon(n, MAP_PRIVATE);
    while (n < 20000) {
        p = mremap(p, n * PG, n * 2 * PG, MREMAP_MAYMOVE);
        GT_TRUE(p != MAP_FAILED);
        GT_EQ(p[63 * PG], 'a' + 63 % 26);
        p[n * 2 * PG - 1] = 1;
        n *= 2;
    }
    GT_OK(munmap(p, n * PG));
}
GT_MAIN
