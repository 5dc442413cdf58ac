// SPDX-License-Identifier: Apache-2.0
// See uaccess.h. The platform copies; here addresses are bounded (a guest must never name the
// stub's own pages, which lie above task_size) and partial results are made whole.
#include "mem/uaccess.h"
#include "abi/errno.h"
#include "mem/mm.h"
#include <string.h>

// How many of n bytes at addr a guest may name. The vDSO may lie above task_size and is readable.
static size_t reachable(const struct mm *mm, uint64_t addr, size_t n, bool write)
{
    if (addr < mm->task_size)
        return MIN((uint64_t)n, mm->task_size - addr);
    if (!write && addr >= mm->vdso_start && addr < mm->vdso_end)
        return MIN((uint64_t)n, mm->vdso_end - addr);
    return 0;
}

long copy_in_partial(struct mm *mm, void *dst, uaddr_t src, size_t n)
{
    size_t want = reachable(mm, src.v, n, false), done = 0;
    while (done < want) {
        long r = mm->as->ops->read_mem(mm->as, (char *)dst + done, uaddr_add(src, done),
                                       want - done);
        if (r <= 0)
            break;
        done += MIN((size_t)r, want - done);
    }
    if (unlikely(__atomic_load_n(&mm->patches, __ATOMIC_RELAXED)))
        mm_patch_hide(mm, src.v, dst, done);
    return done || !n ? (long)done : -EFAULT;
}

long copy_out_partial(struct mm *mm, uaddr_t dst, const void *src, size_t n)
{
    size_t want = reachable(mm, dst.v, n, true), done = 0;
    while (done < want) {
        long r = mm->as->ops->write_mem(mm->as, uaddr_add(dst, done), (const char *)src + done,
                                        want - done);
        if (r <= 0)
            break;
        done += MIN((size_t)r, want - done);
    }
    return done || !n ? (long)done : -EFAULT;
}

int copy_in(struct mm *mm, void *dst, uaddr_t src, size_t n)
{
    return copy_in_partial(mm, dst, src, n) == (long)n ? 0 : -EFAULT;
}

int copy_out(struct mm *mm, uaddr_t dst, const void *src, size_t n)
{
    return copy_out_partial(mm, dst, src, n) == (long)n ? 0 : -EFAULT;
}

// Page by page: the page behind the terminator need not exist.
long copy_in_str(struct mm *mm, char *dst, uaddr_t src, size_t size)
{
    size_t done = 0;
    if (mm->as->ops->read_str && src.v < mm->task_size) {
        size_t n = mm->as->ops->read_str(mm->as, dst, src, size);
        if (n)
            return (long)n - 1;
    }
    while (done < size) {
        uint64_t at = src.v + done;
        size_t n = MIN(size - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
        long r = copy_in_partial(mm, dst + done, UADDR(at), n);
        if (r < 0)
            return r;
        const char *nul = memchr(dst + done, 0, (size_t)r);
        if (nul)
            return nul - dst;
        if ((size_t)r < n)
            return -EFAULT;
        done += n;
    }
    return -ENAMETOOLONG;
}

static const uint8_t zeros[PAGE_SIZE];

int clear_user(struct mm *mm, uaddr_t dst, size_t n)
{
    while (n) {
        size_t k = MIN(n, PAGE_SIZE - (dst.v & (PAGE_SIZE - 1)));
        int err = copy_out(mm, dst, zeros, k);
        if (err)
            return err;
        dst = uaddr_add(dst, k);
        n -= k;
    }
    return 0;
}

int user_cmpxchg32(struct mm *mm, struct pcontext *ctx, uaddr_t addr, uint32_t expect,
                   uint32_t desired, uint32_t *old)
{
    if ((addr.v & 3) || reachable(mm, addr.v, 4, true) != 4)
        return -EFAULT;
    return mm->as->ops->cmpxchg32(ctx, addr, expect, desired, old);
}
