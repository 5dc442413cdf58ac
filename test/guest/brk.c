// SPDX-License-Identifier: Apache-2.0
// brk: growth, shrinking, refusal by returning the old value.
#include "gt.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static char *kbrk(void *p)
{
    return (char *)syscall(SYS_brk, p);
}
#define UP(p) ((char *)(((unsigned long)(p) + 4095) & ~4095ul))

GT(brk_grows_and_shrinks)
{
    char *b = kbrk(0);
    GT_TRUE(b != 0);
    GT_TRUE(kbrk(b + 100000) == b + 100000);
    char *first = UP(b);
    memset(first, 5, 90000);
    GT_TRUE(kbrk(first) == first);
    GT_TRUE(kbrk(b + 100000) == b + 100000);
    for (char *p = first; p < first + 90000; p++)
        GT_EQ(*p, 0); // given back and fresh again
    GT_TRUE(kbrk(b) == b);
}
GT(brk_is_byte_exact)
{
    char *b = UP(kbrk(0));
    GT_TRUE(kbrk(b) == b);
    for (int i = 1; i < 5; i++)
        GT_TRUE(kbrk(b + i) == b + i);
    GT_TRUE(kbrk(0) == b + 4);
}
GT(brk_refuses)
{
    char *b = kbrk(0);
    GT_TRUE(kbrk((void *)1) == b);
    GT_TRUE(kbrk((void *)-4096ul) == b);
    GT_TRUE(kbrk((void *)(1ul << 50)) == b);
    char *wall = UP(b) + (1 << 20);
    GT_TRUE(mmap(wall, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == wall);
    GT_TRUE(kbrk(wall) == b);         // one page of distance is kept
    GT_TRUE(kbrk(wall + 4096) == b);
    GT_TRUE(kbrk(wall - 4096) == wall - 4096);
}
GT(brk_rlimit_data)
{
    char *b = kbrk(0);
    struct rlimit r = {8 << 20, 8 << 20};
    GT_OK(setrlimit(RLIMIT_DATA, &r));
    GT_TRUE(kbrk(b + (64 << 20)) == b);
    GT_TRUE(kbrk(b + (1 << 20)) == b + (1 << 20));
}
GT(brk_after_fork_is_private)
{
    char *b = UP(kbrk(0));
    GT_TRUE(kbrk(b + 8192) == b + 8192);
    b[0] = 1;
    pid_t c = GT_OK(fork());
    if (!c) {
        GT_TRUE(kbrk(b + 65536) == b + 65536);
        b[0] = 2;
        _exit(b[65535]);
    }
    int st;
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
    GT_EQ(b[0], 1);
    GT_TRUE(kbrk(0) == b + 8192);
}
GT_MAIN
