// SPDX-License-Identifier: Apache-2.0
// See uio.h. The vector comes from a guest and was bounded by the system call (UIO_MAXIOV, total
// length); its bases are untrusted and go through uaccess.
#include "mem/uio.h"
#include "abi/errno.h"
#include "mem/uaccess.h"
#include <string.h>

struct uio uio_kernel(struct uiovec *v, void *buf, size_t n)
{
    *v = (struct uiovec){.base = (uint64_t)(uintptr_t)buf, .len = n};
    return (struct uio){.v = v, .nv = 1, .resid = n};
}

struct uio uio_user(struct uiovec *v, struct mm *mm, uaddr_t buf, size_t n)
{
    *v = (struct uiovec){.base = buf.v, .len = n};
    return (struct uio){.mm = mm, .v = v, .nv = 1, .resid = n};
}

// The first non-empty piece; its length, 0 at the end.
static size_t uio_front(struct uio *u, uint64_t *base)
{
    while (u->nv && u->v->len == u->off) {
        u->v++;
        u->nv--;
        u->off = 0;
    }
    if (!u->nv || !u->resid)
        return 0;
    *base = u->v->base + u->off;
    return MIN(u->v->len - u->off, u->resid);
}

static void uio_step(struct uio *u, size_t n)
{
    u->off += n;
    u->resid -= n;
}

enum uio_dir { UIO_TO, UIO_FROM, UIO_ZERO };

static long move_piece(struct uio *u, uint64_t base, char *buf, size_t n, enum uio_dir dir)
{
    void *k = (void *)(uintptr_t)base;
    if (u->mm) {
        if (dir == UIO_FROM)
            return copy_in_partial(u->mm, buf, UADDR(base), n);
        return copy_out_partial(u->mm, UADDR(base), buf, n);
    }
    if (dir == UIO_FROM)
        memcpy(buf, k, n);
    else
        memcpy(k, buf, n);
    return (long)n;
}

static long uio_move(struct uio *u, char *buf, size_t n, enum uio_dir dir)
{
    static char zeros[PAGE_SIZE]; // only read
    size_t done = 0;
    uint64_t base;
    while (done < n) {
        size_t k = MIN(uio_front(u, &base), n - done);
        if (!k)
            break;
        if (dir == UIO_ZERO)
            k = MIN(k, sizeof(zeros));
        long r = move_piece(u, base, dir == UIO_ZERO ? zeros : buf + done, k, dir);
        if (r <= 0)
            return done ? (long)done : r;
        uio_step(u, (size_t)r);
        done += (size_t)r;
        if ((size_t)r < k)
            break;
    }
    return (long)done;
}

long uio_copy_to(struct uio *u, const void *src, size_t n)
{
    return uio_move(u, (char *)(uintptr_t)src, n, UIO_TO);
}

long uio_copy_from(struct uio *u, void *dst, size_t n)
{
    return uio_move(u, dst, n, UIO_FROM);
}

long uio_zero_to(struct uio *u, size_t n)
{
    return uio_move(u, nullptr, n, UIO_ZERO);
}

void uio_advance(struct uio *u, size_t n)
{
    uint64_t base;
    while (n) {
        size_t k = MIN(uio_front(u, &base), n);
        if (!k)
            return;
        uio_step(u, k);
        n -= k;
    }
}
