// SPDX-License-Identifier: Apache-2.0
// See uio.h. The vector comes from a guest and was bounded by the system call (UIO_MAXIOV, total
// length); its bases are untrusted and go through uaccess.
#include "mem/uio.h"
#include "abi/errno.h"
#include "mem/mm.h"
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

// Many pieces or much data: with one host call, where the platform can. Bytes moved, or <= 0: piece by
// piece, which also finds out about faults.
static long move_pieces(struct uio *u, char *buf, size_t n, bool to_user)
{
    constexpr size_t MUCH = 8192, MANY = 8;
    const struct platform_ops *ops = u->mm->as->ops;
    struct pvec v[PVEC_MAX];
    size_t k = 0, total = 0, off = u->off, left = MIN(n, u->resid);
    for (size_t i = 0; i < u->nv && k < PVEC_MAX && total < left; i++, off = 0) {
        size_t len = MIN(u->v[i].len - off, left - total);
        uint64_t at = u->v[i].base + off;
        if (!len)
            continue;
        if (at >= u->mm->task_size || len > u->mm->task_size - at)
            break;
        v[k++] = (struct pvec){at, len};
        total += len;
    }
    if (k < 2 || (total < MUCH && k < MANY))
        return 0;
    long r = ops->copy_vec(u->mm->as, to_user, buf, v, k);
    return r > (long)total ? 0 : r;
}

static long uio_move(struct uio *u, char *buf, size_t n, enum uio_dir dir)
{
    static char zeros[PAGE_SIZE]; // only read
    size_t done = 0;
    uint64_t base;
    bool vec = u->mm && dir != UIO_ZERO && u->nv > 1 && u->mm->as->ops->copy_vec;
    while (done < n) {
        size_t k = MIN(uio_front(u, &base), n - done);
        if (!k)
            break;
        if (vec) {
            long r = move_pieces(u, buf + done, n - done, dir == UIO_TO);
            vec = r > 0;
            if (vec) {
                uio_advance(u, (size_t)r);
                done += (size_t)r;
                continue;
            }
        }
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
