// SPDX-License-Identifier: Apache-2.0
// eventfd(2): a counter with a wait queue. The queue is one for readers and writers; keys tell.
#include "fs/eventfd.h"
#include "abi/errno.h"
#include "base/slab.h"
#include <fcntl.h>
#include <sys/eventfd.h>

struct eventfd {
    struct spinlock lock;
    uint64_t count;   // [lock] ~0 only after an overflow by eventfd_signal
    struct waitq wq;
    bool semaphore;   // [C]
    uint64_t id;      // [C] for fdinfo
};
SLAB_DEFINE(eventfd_slab, struct eventfd);
static uint64_t next_id;
static const struct file_ops eventfd_fops;

static bool take(struct eventfd *e, uint64_t *v)
{
    spin_lock(&e->lock);
    *v = e->count == 0 ? 0 : e->semaphore ? 1 : e->count;
    ADD_SHARED(e->count, -*v);
    spin_unlock(&e->lock);
    return *v != 0;
}

static bool add(struct eventfd *e, uint64_t v)
{
    spin_lock(&e->lock);
    bool fits = v < UINT64_MAX - e->count; // the count never reaches ~0 this way
    if (fits)
        ADD_SHARED(e->count, v);
    spin_unlock(&e->lock);
    return fits;
}

static long efd_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct eventfd *e = f->data;
    uint64_t v;
    if (u->resid < sizeof(v))
        return -EINVAL;
    if (!take(e, &v)) {
        if (READ_SHARED(f->flags) & O_NONBLOCK)
            return -EAGAIN;
        if (wait_event(&e->wq, take(e, &v), KTIME_MAX, PARK_INTERRUPTIBLE))
            return -ERESTARTSYS;
    }
    waitq_wake(&e->wq, POLLOUT | POLLWRNORM);
    return uio_copy_to(u, &v, sizeof(v)) == sizeof(v) ? (long)sizeof(v) : -EFAULT;
}

static long efd_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct eventfd *e = f->data;
    uint64_t v;
    if (u->resid != sizeof(v))
        return -EINVAL;
    if (uio_copy_from(u, &v, sizeof(v)) != sizeof(v))
        return -EFAULT;
    if (v == UINT64_MAX)
        return -EINVAL;
    if (!add(e, v)) {
        if (READ_SHARED(f->flags) & O_NONBLOCK)
            return -EAGAIN;
        if (wait_event(&e->wq, add(e, v), KTIME_MAX, PARK_INTERRUPTIBLE))
            return -ERESTARTSYS;
    }
    waitq_wake(&e->wq, POLLIN | POLLRDNORM);
    return sizeof(v);
}

static uint32_t eventfd_poll(struct file *f, struct poll_table *pt)
{
    struct eventfd *e = f->data;
    poll_wait(pt, &e->wq);
    uint64_t n = __atomic_load_n(&e->count, __ATOMIC_ACQUIRE);
    uint32_t mask = 0;
    if (n > 0)
        mask |= POLLIN | POLLRDNORM;
    if (n == UINT64_MAX)
        mask |= POLLERR;
    if (n < UINT64_MAX - 1)
        mask |= POLLOUT | POLLWRNORM;
    return mask;
}

bool eventfd_signal(struct file *f, uint64_t n)
{
    if (f->ops != &eventfd_fops)
        return false;
    struct eventfd *e = f->data;
    spin_lock(&e->lock);
    uint64_t now = n > UINT64_MAX - e->count ? UINT64_MAX : e->count + n;
    WRITE_SHARED(e->count, now);
    spin_unlock(&e->lock);
    waitq_wake(&e->wq, POLLIN | POLLRDNORM | (now == UINT64_MAX ? POLLERR : 0));
    return true;
}

static void eventfd_release(struct file *f)
{
    slab_free(&eventfd_slab, f->data);
}

static void eventfd_fdinfo(struct file *f, struct strbuf *out)
{
    struct eventfd *e = f->data;
    strbuf_fmt(out, "eventfd-count: %16lx\neventfd-id: %lu\neventfd-semaphore: %d\n",
               READ_SHARED(e->count), e->id, e->semaphore);
}

static const struct file_ops eventfd_fops = {
    .read = efd_read,
    .write = efd_write,
    .poll = eventfd_poll,
    .release = eventfd_release,
    .fdinfo = eventfd_fdinfo,
    .llseek = file_noop_llseek,
    .stream = true,
    .nowait = true,
};

int eventfd_new(uint32_t initval, int flags, const struct cred *c, struct file **out)
{
    struct eventfd *e = slab_alloc(&eventfd_slab);
    if (!e)
        return -ENOMEM;
    spin_init(&e->lock);
    waitq_init(&e->wq);
    e->count = initval;
    e->semaphore = flags & EFD_SEMAPHORE;
    e->id = __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
    int err = file_new_anon(&eventfd_fops, "anon_inode:[eventfd]", O_RDWR | (flags & EFD_NONBLOCK),
                            e, c, out);
    if (err)
        slab_free(&eventfd_slab, e);
    return err;
}
