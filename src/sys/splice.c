// SPDX-License-Identifier: Apache-2.0
// splice(2), tee(2), vmsplice(2). Pages move between pipes; between a pipe and a file the bytes are
// copied once, by the file's own read or write. vmsplice copies too: what the caller does with the
// memory afterwards is not seen by the reader.
#include "abi/errno.h"
#include "fs/pipe.h"
#include "sys/fs_util.h"
#include "sys/protos.h"
#include <fcntl.h>
#include <string.h>

constexpr uint32_t SPLICE_FLAGS = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;

// --- pipe to file ------------------------------------------------------------------------------
static long write_slot(struct file *out, const struct pipe_buf *b, size_t n, int64_t *pos)
{
    struct uiovec v;
    struct uio u = uio_kernel(&v, b->pages->data + b->off, n);
    return file_write(out, &u, pos);
}

static long pipe_to_file(struct pipe *p, struct file *out, int64_t *pos, size_t len, bool nonblock)
{
    long total = 0;
    while (len) {
        mutex_lock(&p->lock);
        int have = pipe_wait_data(p, nonblock || total);
        struct pipe_buf b = have > 0 ? pipe_take(p) : (struct pipe_buf){};
        mutex_unlock(&p->lock);
        if (have <= 0)
            return total ? total : have;
        size_t n = MIN((size_t)b.len, len);
        long done = write_slot(out, &b, n, pos);
        if (done > 0) {
            b.off += (uint32_t)done;
            b.len -= (uint32_t)done;
            total += done;
            len -= (size_t)done;
        }
        mutex_lock(&p->lock);
        pipe_put_back(p, &b);
        mutex_unlock(&p->lock);
        if (done < 0)
            return total ? total : done;
        if ((size_t)done < n)
            break;
    }
    return total;
}

// --- file to pipe ------------------------------------------------------------------------------
// Reads up to n bytes into free slots of the pipe.
static long read_slots(struct file *in, int64_t *pos, struct pipe *p, size_t n)
{
    struct uiovec v;
    mutex_lock(&p->lock);
    uint32_t slots = (uint32_t)MIN((n + PAGE_SIZE - 1) / PAGE_SIZE, (size_t)MIN(pipe_room(p), PIPE_RUN));
    struct pipe_pages *pg = slots ? pipe_pages_get(p, slots) : nullptr;
    if (pg)
        p->held += slots; // they are ours while we read
    mutex_unlock(&p->lock);
    if (!pg)
        return slots ? -ENOMEM : 0;
    struct uio u = uio_kernel(&v, pg->data, MIN(n, slots * PAGE_SIZE));
    long got = file_read(in, &u, pos);
    mutex_lock(&p->lock);
    p->held -= slots;
    if (got > 0)
        pipe_append_pages(p, pg, (size_t)got, false, false);
    else
        pipe_pages_put(p, pg);
    mutex_unlock(&p->lock);
    return got;
}

// As much as the pipe has room for; only the first part waits, for room and for data.
static long file_to_pipe(struct file *in, int64_t *pos, struct pipe *p, size_t len, bool nonblock)
{
    long total = 0;
    while (len) {
        mutex_lock(&p->lock);
        int err = pipe_wait_room(p, nonblock || total);
        mutex_unlock(&p->lock);
        if (err == -EPIPE && !total)
            pipe_sigpipe();
        if (err)
            return total ? total : err;
        // A stream may have no more now, and must not be waited for again.
        if (total && in->ops->stream && !(file_poll(in, nullptr) & POLLIN))
            break;
        long got = read_slots(in, pos, p, len);
        if (got <= 0)
            return total ? total : got;
        total += got;
        len -= (size_t)got;
        if ((size_t)got % PAGE_SIZE)
            break; // a short read
    }
    return total;
}

// --- pipe to pipe ------------------------------------------------------------------------------
static void lock_pipes(struct pipe *a, struct pipe *b) NO_LOCK_ANALYSIS
{
    mutex_lock(a < b ? &a->lock : &b->lock);
    mutex_lock_nested(a < b ? &b->lock : &a->lock);
}
static void unlock_pipes(struct pipe *a, struct pipe *b) NO_LOCK_ANALYSIS
{
    mutex_unlock(&a->lock);
    mutex_unlock(&b->lock);
}

// The first `n` bytes of a slot in a page of their own.
static int copy_slot(struct pipe *to, const struct pipe_buf *b, size_t n, struct pipe_buf *out)
{
    struct pipe_pages *pg = pipe_pages_get(to, 1);
    if (!pg)
        return -ENOMEM;
    memcpy(pg->data, b->pages->data + b->off, n);
    *out = (struct pipe_buf){.pages = pg, .len = (uint32_t)n, .end = PAGE_SIZE, .packet = b->packet};
    return 0;
}

// Moves or (tee) copies what is there and fits. Both locked.
static long transfer_locked(struct pipe *in, struct pipe *out, size_t len, bool tee)
{
    long total = 0;
    for (uint32_t i = in->tail; len && i != in->head && !pipe_full(out); i++) {
        struct pipe_buf *b = pipe_slot(in, i), n;
        size_t part = MIN((size_t)b->len, len);
        if (!tee && part == b->len) {
            n = *b;
            n.merge = false;
            *b = (struct pipe_buf){};
            in->tail++;
        } else {
            int err = copy_slot(out, b, part, &n);
            if (err)
                return total ? total : err;
            if (!tee) {
                b->off += (uint32_t)part;
                b->len -= (uint32_t)part;
            }
        }
        pipe_append(out, &n);
        total += (long)part;
        len -= part;
    }
    return total;
}

static long pipe_to_pipe(struct pipe *in, struct pipe *out, size_t len, bool nonblock, bool tee)
{
    for (;;) {
        mutex_lock(&in->lock);
        int err = pipe_wait_data(in, nonblock);
        mutex_unlock(&in->lock);
        if (err <= 0)
            return err;
        mutex_lock(&out->lock);
        err = pipe_wait_room(out, nonblock);
        mutex_unlock(&out->lock);
        if (err == -EPIPE)
            pipe_sigpipe();
        if (err)
            return err;
        lock_pipes(in, out);
        long n = transfer_locked(in, out, len, tee);
        unlock_pipes(in, out);
        if (n && !tee)
            waitq_wake(&in->wr, POLLOUT | POLLWRNORM);
        if (n)
            return n;
    }
}

// --- system calls ------------------------------------------------------------------------------
// A position argument: read from and written back to the caller. Null: the file's own.
static int offset_in(struct task *t, uaddr_t p, struct file *f, int64_t *pos, int64_t **use)
{
    *use = nullptr;
    if (uaddr_null(p))
        return 0;
    if (f->ops->stream)
        return -ESPIPE;
    if (get_user(t->mm, p, *pos))
        return -EFAULT;
    if (*pos < 0)
        return -EINVAL;
    *use = pos;
    return 0;
}

static long do_splice(struct task *t, struct file *in, uaddr_t off_in, struct file *out, uaddr_t off_out,
                      size_t len, uint32_t flags)
{
    struct pipe *ip = pipe_of(in), *op = pipe_of(out);
    int64_t pos, *use;
    if (!in->can_read || !out->can_write)
        return -EBADF;
    bool nonblock = flags & SPLICE_F_NONBLOCK;
    if (ip && op) {
        if (!uaddr_null(off_in) || !uaddr_null(off_out))
            return -ESPIPE;
        if (ip == op)
            return -EINVAL;
        nonblock |= ((READ_SHARED(in->flags) | READ_SHARED(out->flags)) & O_NONBLOCK) != 0;
        return pipe_to_pipe(ip, op, len, nonblock, false);
    }
    if (!ip && !op)
        return -EINVAL;
    if (!uaddr_null(ip ? off_in : off_out))
        return -ESPIPE;
    struct file *file = ip ? out : in;
    uaddr_t off = ip ? off_out : off_in;
    int err = offset_in(t, off, file, &pos, &use);
    if (err)
        return err;
    long ret;
    if (ip) {
        if (READ_SHARED(out->flags) & O_APPEND)
            return -EINVAL;
        if (!out->ops->write)
            return -EINVAL;
        ret = pipe_to_file(ip, out, use, len, nonblock || (READ_SHARED(in->flags) & O_NONBLOCK));
    } else {
        if (!in->ops->read)
            return -EINVAL;
        ret = file_to_pipe(in, use, op, len, nonblock || (READ_SHARED(out->flags) & O_NONBLOCK));
    }
    if (ret > 0 && use && put_user(t->mm, off, pos))
        return -EFAULT;
    return ret;
}

long sys_splice(struct task *t, int fd_in, uaddr_t off_in, int fd_out, uaddr_t off_out, size_t len,
                uint32_t flags)
{
    if (!len)
        return 0;
    if (flags & ~SPLICE_FLAGS)
        return -EINVAL;
    FD_FILE(in, t, fd_in);
    FD_FILE(out, t, fd_out);
    if (!in || !out)
        return -EBADF;
    return do_splice(t, in, off_in, out, off_out, MIN(len, (size_t)INT32_MAX & ~(PAGE_SIZE - 1)), flags);
}

long sys_tee(struct task *t, int fd_in, int fd_out, size_t len, uint32_t flags)
{
    if (flags & ~SPLICE_FLAGS)
        return -EINVAL;
    if (!len)
        return 0;
    FD_FILE(in, t, fd_in);
    FD_FILE(out, t, fd_out);
    if (!in || !out || !in->can_read || !out->can_write)
        return -EBADF;
    struct pipe *ip = pipe_of(in), *op = pipe_of(out);
    if (!ip || !op || ip == op)
        return -EINVAL;
    bool nonblock = (flags & SPLICE_F_NONBLOCK) ||
                    ((READ_SHARED(in->flags) | READ_SHARED(out->flags)) & O_NONBLOCK);
    return pipe_to_pipe(ip, op, len, nonblock, true);
}

long sys_vmsplice(struct task *t, int fd, uaddr_t iov, uint64_t n, uint32_t flags)
{
    struct user_iov u;
    if (flags & ~SPLICE_FLAGS)
        return -EINVAL;
    FD_FILE(f, t, fd);
    if (!f)
        return -EBADF;
    struct pipe *p = pipe_of(f);
    if (!p)
        return -EBADF;
    int err = user_iov_get(t, &u, iov, n);
    if (err)
        return err;
    bool nonblock = (flags & SPLICE_F_NONBLOCK) || (READ_SHARED(f->flags) & O_NONBLOCK);
    long ret = 0;
    if (u.uio.resid && f->can_write) {
        // Waits for the first room only and takes what fits.
        mutex_lock(&p->lock);
        ret = pipe_wait_room(p, nonblock);
        mutex_unlock(&p->lock);
        if (ret == -EPIPE)
            pipe_sigpipe();
        if (!ret)
            ret = pipe_write_uio(p, &u.uio, true, false);
    } else if (u.uio.resid) {
        ret = pipe_read_uio(p, &u.uio, nonblock);
    }
    user_iov_free(&u);
    return ret;
}
