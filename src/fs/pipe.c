// SPDX-License-Identifier: Apache-2.0
// Pipes and FIFOs. A pipe is a ring of page slots guarded by one mutex. The mutex is held across
// the copy from or to guest memory, so a write of up to PIPE_BUF bytes is atomic by construction.
//
// A woken waiter is exclusive (one reader per write, which is what make's job server needs); one
// that leaves while there is more to do passes the wake-up on.
#include "fs/pipe.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "mem/uaccess.h"
#include "task/task.h"
#include "vfs/special.h"
#include <fcntl.h>
#include <stdio.h>
#include <linux/capability.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

SLAB_DEFINE(pipe_slab, struct pipe);
struct pipe_inode {
    struct inode inode;
};
SLAB_DEFINE(pipe_inode_slab, struct pipe_inode);

uint32_t pipe_max_size = 1u << 20;
uint32_t pipe_user_pages_soft = 16384;
uint32_t pipe_user_pages_hard = 0;

// Slots charged to each user, so that one user's pipes cannot take all memory. Ids share a bucket
// rarely; the effect is a shared limit.
static uint32_t user_slots[256];

static uint32_t *user_account(uint32_t uid)
{
    return &user_slots[(uid * 2654435761u) >> 24];
}
static bool cred_is_privileged(const struct cred *c)
{
    return cred_capable(c, CAP_SYS_RESOURCE) || cred_capable(c, CAP_SYS_ADMIN);
}

struct pipe_pages *pipe_pages_get(struct pipe *p, uint32_t n)
{
    struct pipe_pages **spare = n == 1 ? &p->spare : n == PIPE_RUN ? &p->spare_run : nullptr;
    struct pipe_pages *pg = spare ? *spare : nullptr;
    if (pg)
        *spare = nullptr;
    else
        pg = mem_realloc(nullptr, sizeof(*pg) + n * PAGE_SIZE); // not zeroed: filled before it is read
    if (!pg)
        return nullptr;
    ref_init(&pg->ref);
    pg->n = n;
    return pg;
}

void pipe_pages_put(struct pipe *p, struct pipe_pages *pg)
{
    if (!ref_put(&pg->ref))
        return;
    struct pipe_pages **spare = pg->n == 1 ? &p->spare : pg->n == PIPE_RUN ? &p->spare_run : nullptr;
    if (spare && !*spare)
        *spare = pg;
    else
        mem_free(pg);
}

void pipe_append_pages(struct pipe *p, struct pipe_pages *pg, size_t bytes, bool packet, bool merge)
{
    uint32_t n = (uint32_t)((bytes + PAGE_SIZE - 1) / PAGE_SIZE);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t off = i * (uint32_t)PAGE_SIZE;
        if (i)
            ref_get(&pg->ref);
        *pipe_slot(p, p->head++) = (struct pipe_buf){
            .pages = pg, .off = off, .len = (uint32_t)MIN(PAGE_SIZE, bytes - off),
            .end = off + (uint32_t)PAGE_SIZE, .packet = packet, .merge = merge};
    }
    waitq_wake(&p->rd, POLLIN | POLLRDNORM);
}

static struct pipe *pipe_new(const struct cred *c)
{
    struct pipe *p = slab_alloc(&pipe_slab);
    if (!p)
        return nullptr;
    uint32_t slots = PIPE_DEFAULT_SLOTS;
    uint32_t *acc = user_account(c->uid);
    uint32_t used = __atomic_load_n(acc, __ATOMIC_RELAXED);
    if (pipe_user_pages_soft && used + slots > pipe_user_pages_soft && !cred_is_privileged(c))
        slots = 2;
    p->bufs = mem_alloc_array(slots, sizeof(p->bufs[0]));
    if (!p->bufs) {
        slab_free(&pipe_slab, p);
        return nullptr;
    }
    __atomic_fetch_add(acc, slots, __ATOMIC_RELAXED);
    ref_init(&p->ref);
    mutex_init(&p->lock, RANK_PIPE);
    waitq_init(&p->rd);
    waitq_init(&p->wr);
    waitq_init(&p->partner);
    p->nslots = slots;
    p->uid = c->uid;
    return p;
}

static void pipe_put(struct pipe *p)
{
    if (!ref_put(&p->ref))
        return;
    for (uint32_t i = p->tail; i != p->head; i++)
        pipe_pages_put(p, pipe_slot(p, i)->pages);
    mem_free(p->spare);
    mem_free(p->spare_run);
    __atomic_fetch_sub(user_account(p->uid), p->nslots, __ATOMIC_RELAXED);
    mem_free(p->bufs);
    slab_free(&pipe_slab, p);
}

int pipe_sleep(struct pipe *p, struct waitq *q)
{
    struct waiter w;
    waiter_init(&w);
    w.exclusive = true;
    waitq_add(q, &w);
    mutex_unlock(&p->lock);
    int err = fiber_park(KTIME_MAX, PARK_INTERRUPTIBLE);
    waitq_remove(&w);
    mutex_lock(&p->lock);
    return err == -EINTR ? -ERESTARTSYS : 0;
}

void pipe_sigpipe(void)
{
    struct task *t = task_current();
    if (!t)
        return;
    siginfo_t si;
    siginfo_user(&si, SIGPIPE, t);
    signal_send_task(t, &si);
}

int pipe_wait_data(struct pipe *p, bool nonblock)
{
    while (pipe_empty(p)) {
        if (!p->writers)
            return 0;
        if (nonblock)
            return -EAGAIN;
        int err = pipe_sleep(p, &p->rd);
        if (err)
            return err;
    }
    return 1;
}

int pipe_wait_room(struct pipe *p, bool nonblock)
{
    for (;;) {
        if (!p->readers)
            return -EPIPE;
        if (!pipe_full(p))
            return 0;
        if (nonblock)
            return -EAGAIN;
        int err = pipe_sleep(p, &p->wr);
        if (err)
            return err;
    }
}

struct pipe_buf pipe_take(struct pipe *p)
{
    struct pipe_buf *s = pipe_slot(p, p->tail), b = *s;
    *s = (struct pipe_buf){};
    p->tail++;
    p->held++;
    return b;
}

void pipe_put_back(struct pipe *p, const struct pipe_buf *b)
{
    p->held--;
    if (b->len) {
        *pipe_slot(p, --p->tail) = *b;
        return;
    }
    pipe_pages_put(p, b->pages);
    waitq_wake(&p->wr, POLLOUT | POLLWRNORM);
}

void pipe_append(struct pipe *p, const struct pipe_buf *b)
{
    *pipe_slot(p, p->head++) = *b;
    waitq_wake(&p->rd, POLLIN | POLLRDNORM);
}

// --- reading -----------------------------------------------------------------------------------
static void slot_release(struct pipe *p, struct pipe_buf *b)
{
    pipe_pages_put(p, b->pages);
    *b = (struct pipe_buf){};
    p->tail++;
}

// Bytes that lie in a row from the first slot on, at most `max`.
static size_t run_length(struct pipe *p, size_t max)
{
    struct pipe_buf *b = pipe_slot(p, p->tail);
    size_t n = b->len;
    for (uint32_t i = p->tail + 1; i != p->head && n < max && !b->packet; i++) {
        struct pipe_buf *next = pipe_slot(p, i);
        if (next->pages != b->pages || next->off != b->off + b->len)
            break;
        n += next->len;
        b = next;
    }
    return MIN(n, max);
}

// Takes n bytes, that have been copied, off the front.
static void consume(struct pipe *p, size_t n)
{
    while (n) {
        struct pipe_buf *b = pipe_slot(p, p->tail);
        size_t k = MIN(n, (size_t)b->len);
        b->off += (uint32_t)k;
        b->len -= (uint32_t)k;
        n -= k;
        if (!b->len)
            slot_release(p, b);
    }
}

// What a copy that faulted after n bytes has taken: whole buffers only, so that nothing is lost.
static size_t whole_buffers(struct pipe *p, size_t n)
{
    size_t sum = 0;
    for (uint32_t i = p->tail; i != p->head && sum + pipe_slot(p, i)->len <= n; i++)
        sum += pipe_slot(p, i)->len;
    return sum;
}

// Moves what is there. *done: the reader must not go on (packet boundary or fault).
static long pipe_drain_locked(struct pipe *p, struct uio *u, bool *done)
{
    long total = 0;
    while (u->resid && !pipe_empty(p) && !*done) {
        struct pipe_buf *b = pipe_slot(p, p->tail);
        size_t n = run_length(p, u->resid);
        long got = uio_copy_to(u, b->pages->data + b->off, n);
        if (got <= 0) {
            *done = true;
            return total ? total : -EFAULT;
        }
        if ((size_t)got < n) {
            *done = true;
            got = (long)whole_buffers(p, (size_t)got);
            consume(p, (size_t)got);
            total += got;
            return total ? total : -EFAULT;
        }
        total += got;
        *done = b->packet;
        consume(p, b->packet ? b->len : (size_t)got); // the rest of a packet is discarded
    }
    return total;
}

long pipe_read_uio(struct pipe *p, struct uio *u, bool nonblock)
{
    if (!u->resid)
        return 0;
    long ret = 0;
    mutex_lock(&p->lock);
    for (;;) {
        bool done = false, was_full = pipe_full(p);
        if (!pipe_empty(p)) {
            ret = pipe_drain_locked(p, u, &done);
            if (was_full && !pipe_full(p))
                waitq_wake(&p->wr, POLLOUT | POLLWRNORM);
            if (ret)
                break;
        }
        int have = pipe_wait_data(p, nonblock);
        if (have <= 0) {
            ret = have;
            break;
        }
    }
    bool more = !pipe_empty(p);
    mutex_unlock(&p->lock);
    if (more && waitq_active(&p->rd))
        waitq_wake(&p->rd, POLLIN | POLLRDNORM);
    return ret;
}

static long pipe_read(struct file *f, struct uio *u, int64_t *pos)
{
    long ret = pipe_read_uio(f->data, u, READ_SHARED(f->flags) & O_NONBLOCK);
    if (ret > 0 && f->path.mnt)
        inode_touch(f->inode, IATTR_ATIME);
    return ret;
}

// --- writing -----------------------------------------------------------------------------------
// The odd bytes of a write go behind the last partly filled page, so that small writes share one.
static long pipe_merge_locked(struct pipe *p, struct uio *u)
{
    size_t odd = u->resid & (PAGE_SIZE - 1);
    if (!odd || pipe_empty(p))
        return 0;
    struct pipe_buf *b = pipe_slot(p, p->head - 1);
    if (!b->merge || b->off + b->len + odd > b->end)
        return 0;
    long got = uio_copy_from(u, b->pages->data + b->off + b->len, odd);
    if (got <= 0)
        return -EFAULT;
    b->len += (uint32_t)got;
    return (size_t)got < odd ? -EFAULT : got;
}

// Fills free slots. Bytes moved, or -errno when none.
static long pipe_fill_locked(struct pipe *p, struct uio *u, bool packet, bool *fault)
{
    long total = 0;
    while (u->resid && !pipe_full(p)) {
        size_t want = (u->resid + PAGE_SIZE - 1) / PAGE_SIZE;
        uint32_t slots = packet ? 1 : (uint32_t)MIN(want, (size_t)MIN(pipe_room(p), PIPE_RUN));
        struct pipe_pages *pg = pipe_pages_get(p, slots);
        if (!pg) {
            *fault = true;
            return total ? total : -ENOMEM;
        }
        size_t n = MIN(slots * PAGE_SIZE, u->resid);
        long got = uio_copy_from(u, pg->data, n);
        if (got <= 0 || (packet && (size_t)got < n)) {
            pipe_pages_put(p, pg);
            *fault = true;
            return total ? total : -EFAULT;
        }
        pipe_append_pages(p, pg, (size_t)got, packet, !packet);
        total += got;
        if ((size_t)got < n) {
            *fault = true;
            break;
        }
    }
    return total;
}

static long pipe_write_locked(struct pipe *p, struct uio *u, bool nonblock, bool packet)
{
    bool fault = false;
    long total = 0;
    if (!p->readers)
        return -EPIPE;
    if (!packet) {
        total = pipe_merge_locked(p, u);
        if (total)
            waitq_wake(&p->rd, POLLIN | POLLRDNORM);
        if (total < 0)
            return total;
    }
    while (u->resid) {
        if (!p->readers)
            return total ? total : -EPIPE;
        if (!pipe_full(p)) {
            long n = pipe_fill_locked(p, u, packet, &fault);
            if (n > 0)
                total += n;
            if (fault)
                return total ? total : n;
            continue;
        }
        int err = pipe_wait_room(p, nonblock);
        if (err)
            return total ? total : err;
    }
    return total;
}

long pipe_write_uio(struct pipe *p, struct uio *u, bool nonblock, bool packet)
{
    if (!u->resid)
        return 0;
    mutex_lock(&p->lock);
    long ret = pipe_write_locked(p, u, nonblock, packet);
    bool room = !pipe_full(p), broken = !p->readers;
    mutex_unlock(&p->lock);
    if (room && waitq_active(&p->wr))
        waitq_wake(&p->wr, POLLOUT | POLLWRNORM);
    // Linux signals also when part of the data went before the last reader left.
    if (ret == -EPIPE || (broken && u->resid))
        pipe_sigpipe();
    return ret;
}

static long pipe_write(struct file *f, struct uio *u, int64_t *pos)
{
    uint32_t fl = READ_SHARED(f->flags);
    long ret = pipe_write_uio(f->data, u, fl & O_NONBLOCK, fl & O_DIRECT);
    if (ret > 0 && f->path.mnt)
        inode_touch(f->inode, IATTR_MTIME | IATTR_CTIME);
    return ret;
}

// --- the rest ----------------------------------------------------------------------------------
static uint32_t pipe_poll(struct file *f, struct poll_table *pt)
{
    struct pipe *p = f->data;
    uint32_t mask = 0;
    if (f->can_read)
        poll_wait(pt, &p->rd);
    if (f->can_write)
        poll_wait(pt, &p->wr);
    mutex_lock(&p->lock);
    if (f->can_read) {
        if (!pipe_empty(p))
            mask |= POLLIN | POLLRDNORM;
        // A FIFO opened O_NONBLOCK before any writer came shows no HUP yet: f->pos is the number
        // of writers' opens seen then (streams have no position).
        if (!p->writers && f->pos != p->w_counter)
            mask |= POLLHUP;
    }
    if (f->can_write) {
        if (!pipe_full(p))
            mask |= POLLOUT | POLLWRNORM;
        if (!p->readers)
            mask |= POLLERR;
    }
    mutex_unlock(&p->lock);
    return mask;
}

static long pipe_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct pipe *p = f->data;
    if (cmd != FIONREAD)
        return -ENOTTY;
    int count = 0;
    mutex_lock(&p->lock);
    for (uint32_t i = p->tail; i != p->head; i++)
        count += (int)pipe_slot(p, i)->len;
    mutex_unlock(&p->lock);
    return put_user(t->mm, UADDR(arg), count);
}

static int pipe_resize_locked(struct pipe *p, uint32_t slots)
{
    uint32_t used = p->head - p->tail;
    if (slots < used + p->held)
        return -EBUSY;
    struct pipe_buf *nb = mem_alloc_array(slots, sizeof(nb[0]));
    if (!nb)
        return -ENOMEM;
    for (uint32_t i = 0; i < used; i++)
        nb[i] = *pipe_slot(p, p->tail + i);
    mem_free(p->bufs);
    __atomic_fetch_add(user_account(p->uid), slots - p->nslots, __ATOMIC_RELAXED);
    p->bufs = nb;
    p->tail = 0;
    p->head = used;
    p->nslots = slots;
    return 0;
}

static int pipe_set_size(struct pipe *p, const struct cred *c, uint64_t arg)
{
    uint64_t size = (uint32_t)arg;
    if (size < PAGE_SIZE)
        size = PAGE_SIZE;
    if (size > (1u << 31))
        return -EINVAL;
    uint32_t slots = 1;
    while ((uint64_t)slots * PAGE_SIZE < size)
        slots *= 2;
    int err = 0;
    mutex_lock(&p->lock);
    uint32_t used = __atomic_load_n(user_account(p->uid), __ATOMIC_RELAXED);
    if (slots > p->nslots) {
        if ((uint64_t)slots * PAGE_SIZE > pipe_max_size && !cred_capable(c, CAP_SYS_RESOURCE))
            err = -EPERM;
        else if (pipe_user_pages_soft && !cred_is_privileged(c) &&
                 used - p->nslots + slots > pipe_user_pages_soft)
            err = -EPERM;
        else if (slots > PIPE_MAX_SLOTS)
            err = -ENOMEM;
    }
    if (!err)
        err = pipe_resize_locked(p, slots);
    int ret = err ? err : (int)(p->nslots * PAGE_SIZE);
    mutex_unlock(&p->lock);
    if (!err)
        waitq_wake(&p->wr, POLLOUT | POLLWRNORM);
    return ret;
}

static int pipe_fcntl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct pipe *p = f->data;
    switch (cmd) {
    case F_GETPIPE_SZ:
        mutex_lock(&p->lock);
        int n = (int)(p->nslots * PAGE_SIZE);
        mutex_unlock(&p->lock);
        return n;
    case F_SETPIPE_SZ:
        return pipe_set_size(p, t->cred, arg);
    default:
        return -EINVAL;
    }
}

// One open file of the pipe goes away. The last one of a FIFO detaches the pipe from its inode.
static void pipe_drop(struct pipe *p, struct inode *i, bool r, bool w)
{
    i = inode_common_known(i);
    bool fifo = S_ISFIFO(i->mode) && i->fifo == p;
    if (fifo)
        mutex_lock(&i->lock);
    mutex_lock(&p->lock);
    p->readers -= r;
    p->writers -= w;
    bool last_r = r && !p->readers, last_w = w && !p->writers, dead = !p->readers && !p->writers;
    mutex_unlock(&p->lock);
    if (last_w)
        waitq_wake_all(&p->rd, POLLIN | POLLRDNORM | POLLHUP);
    if (last_r)
        waitq_wake_all(&p->wr, POLLOUT | POLLWRNORM | POLLERR);
    if (fifo) {
        if (dead && i->fifo == p)
            i->fifo = nullptr;
        mutex_unlock(&i->lock);
    }
    pipe_put(p);
}

static void pipe_release(struct file *f)
{
    pipe_drop(f->data, f->inode, f->can_read, f->can_write);
}

const struct file_ops pipe_fops = {
    .read = pipe_read,
    .write = pipe_write,
    .poll = pipe_poll,
    .ioctl = pipe_ioctl,
    .fcntl = pipe_fcntl,
    .release = pipe_release,
    .stream = true,
    .nowait = true,
};

struct pipe *pipe_of(struct file *f)
{
    return f->ops == &pipe_fops ? f->data : nullptr;
}

// --- pipe(2) -----------------------------------------------------------------------------------
static void pipe_inode_release(struct inode *i)
{
    slab_free(&pipe_inode_slab, container_of(i, struct pipe_inode, inode));
}
static const struct inode_ops pipe_inode_ops = {
    .release = pipe_inode_release,
};

int pipe_create(int flags, const struct cred *c, struct file **r, struct file **w)
{
    struct pipe *p = pipe_new(c);
    if (!p)
        return -ENOMEM;
    struct pipe_inode *pi = slab_alloc(&pipe_inode_slab);
    if (!pi) {
        pipe_put(p);
        return -ENOMEM;
    }
    struct inode *i = &pi->inode;
    inode_init(i, vfs_anon_super(), &pipe_inode_ops, &pipe_fops, S_IFIFO | 0600, c);
    i->nlink = 1;
    char name[40];
    snprintf(name, sizeof(name), "pipe:[%lu]", i->ino);
    int err = file_new_on_inode(&pipe_fops, i, name, O_RDONLY | (flags & O_NONBLOCK), p, c, r);
    if (err) {
        inode_put(i);
        pipe_put(p);
        return err;
    }
    p->readers = 1; // from here on the read end's release undoes everything
    err = file_new_on_inode(&pipe_fops, i, name, O_WRONLY | (flags & (O_NONBLOCK | O_DIRECT)), p, c, w);
    inode_put(i); // the files hold it
    i->fifo = p;  // for opens of /proc/PID/fd/N
    if (err) {
        file_put(*r);
        *r = nullptr;
        return err;
    }
    ref_get(&p->ref);
    p->writers = 1;
    p->r_counter = p->w_counter = 1;
    return 0;
}

// --- FIFOs -------------------------------------------------------------------------------------
// Waits until the other side has been opened once more than *counter says now.
static int fifo_wait(struct pipe *p, const uint32_t *counter)
{
    uint32_t was = *counter;
    int err = 0;
    while (*counter == was && !err) {
        struct waiter w;
        waiter_init(&w);
        waitq_add(&p->partner, &w);
        mutex_unlock(&p->lock);
        err = fiber_park(KTIME_MAX, PARK_INTERRUPTIBLE);
        waitq_remove(&w);
        mutex_lock(&p->lock);
    }
    return *counter != was ? 0 : -ERESTARTSYS;
}

// An end of a pipe(2) opened again by way of /proc/PID/fd waits for nobody (fifo_open() in Linux).
static int fifo_open_locked(struct pipe *p, struct file *f)
{
    bool nonblock = f->flags & O_NONBLOCK, is_pipe = f->inode->sb == vfs_anon_super();
    int err = 0;
    if (f->can_write && !f->can_read && nonblock && !p->readers && !is_pipe)
        return -ENXIO;
    if (f->can_read) {
        p->r_counter++;
        p->readers++;
    }
    if (f->can_write) {
        p->w_counter++;
        p->writers++;
    }
    f->pos = 0;
    waitq_wake_all(&p->partner, ~0u);
    if ((f->can_read && f->can_write) || is_pipe)
        return 0;
    if (f->can_read && !p->writers) {
        if (nonblock)
            f->pos = p->w_counter; // no HUP before the first writer
        else
            err = fifo_wait(p, &p->w_counter);
    } else if (f->can_write && !p->readers) {
        err = fifo_wait(p, &p->r_counter);
    }
    return err;
}

static int fifo_open(struct inode *i, struct file *f)
{
    if (!f->can_read && !f->can_write)
        return -EINVAL;
    i = inode_common(i);
    mutex_lock(&i->lock);
    struct pipe *p = i->fifo;
    if (p) {
        ref_get(&p->ref);
    } else {
        p = pipe_new(f->cred);
        if (!p) {
            mutex_unlock(&i->lock);
            return -ENOMEM;
        }
        i->fifo = p;
    }
    mutex_lock(&p->lock);
    mutex_unlock(&i->lock);
    int err = fifo_open_locked(p, f);
    bool counted = err != -ENXIO;
    mutex_unlock(&p->lock);
    if (err) {
        if (!counted) { // if nobody has it open, the pipe must not stay on the inode
            mutex_lock(&i->lock);
            mutex_lock(&p->lock);
            if (!p->readers && !p->writers && i->fifo == p)
                i->fifo = nullptr;
            mutex_unlock(&p->lock);
            mutex_unlock(&i->lock);
        }
        pipe_drop(p, i, counted && f->can_read, counted && f->can_write);
        return err;
    }
    f->ops = &pipe_fops;
    f->data = p;
    return 0;
}

__attribute__((constructor)) static void pipe_register(void)
{
    vfs_register_fifo(fifo_open);
}
