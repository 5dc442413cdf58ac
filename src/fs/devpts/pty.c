// SPDX-License-Identifier: Apache-2.0
// Pseudo terminals: blocking, waking, signals, hang-up, and the files around the line discipline.
//
// p->lock is held across the line discipline only, never across guest memory or signals (sending
// takes the outermost lock): bytes go through a small buffer, signals are sent after unlocking.
#include "fs/devpts/pty.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "vfs/special.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

constexpr size_t PENDING_MAX = 65536;
constexpr size_t STEP = 1024;

SLAB_DEFINE(pty_slab, struct pty);

static struct pty *pty_of_ctl(struct tty_ctl *c)
{
    return container_of(c, struct pty, ctl);
}
struct pty *pty_get(struct pty *p)
{
    tty_ctl_get(&p->ctl);
    return p;
}
void pty_put(struct pty *p)
{
    tty_ctl_put(&p->ctl);
}

// --- moving bytes ------------------------------------------------------------------------------
// Pending bytes of the master go into the line discipline as far as it has room. [lock]
void pty_feed(struct pty *p)
{
    size_t done = 0;
    while (done < p->npending) {
        size_t n = MIN(ldisc_room(p->ld), p->npending - done);
        if (!n)
            break;
        ldisc_receive(p->ld, p->pending + done, n);
        done += n;
    }
    if (done) {
        memmove(p->pending, p->pending + done, p->npending - done);
        p->npending -= done;
    }
}

// What changed under the lock becomes visible: wake-ups, then signals. Called without the lock.
void pty_after(struct pty *p, uint64_t signals)
{
    waitq_wake(&p->slave_wq, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
    waitq_wake(&p->master_wq, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLPRI);
    for (int sig = 1; signals && sig < 64; sig++) {
        if (signals >> sig & 1)
            tty_signal_foreground(&p->ctl, sig);
        signals &= ~(1ull << sig);
    }
}

uint64_t pty_take_signals(struct pty *p) // [lock]
{
    uint64_t s = p->ld->signals;
    p->ld->signals = 0;
    return s;
}

// --- the slave ---------------------------------------------------------------------------------
struct slave_read {
    struct file *f;
    struct pty *p;
    size_t total, want; // read so far; asked for
    ktime_t deadline;   // of VTIME; KTIME_MAX none
};

// One look. >0 bytes in buf; 0 with *done: end of file or line; 0: wait.
static size_t slave_step(struct slave_read *r, uint8_t *buf, size_t n, bool *done)
{
    struct pty *p = r->p;
    mutex_lock(&p->lock);
    pty_feed(p);
    bool eol, canon = p->ld->tio.c_lflag & ICANON;
    size_t got = ldisc_read(p->ld, buf, n, &eol);
    bool fed = got || eol;
    if (fed)
        pty_feed(p);
    uint8_t min = p->ld->tio.c_cc[VMIN], time = p->ld->tio.c_cc[VTIME];
    r->total += got;
    if (canon) {
        *done = eol || r->total >= r->want || (got && !ldisc_readable(p->ld, false));
    } else {
        size_t need = min ? MIN((size_t)min, r->want) : 1;
        *done = r->total >= need || (!min && !time) || r->total >= r->want;
        if (min && time && got) // between bytes
            r->deadline = ktime_now() + (int64_t)time * 100000000;
        else if (!min && time && r->deadline == KTIME_MAX)
            r->deadline = ktime_now() + (int64_t)time * 100000000;
    }
    uint64_t sigs = pty_take_signals(p);
    mutex_unlock(&p->lock);
    if (fed)
        pty_after(p, sigs);
    return got;
}

static bool slave_ready(struct pty *p, struct file *f)
{
    mutex_lock(&p->lock);
    pty_feed(p);
    bool r = ldisc_readable(p->ld, false) || pty_hung(p, f);
    mutex_unlock(&p->lock);
    return r;
}

static long pts_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct pty *p = f->data;
    struct slave_read r = {.f = f, .p = p, .want = u->resid, .deadline = KTIME_MAX};
    uint8_t buf[STEP];
    if (!u->resid)
        return 0;
    if (pty_hung(p, f))
        return 0;
    int err = tty_check_background(&p->ctl, task_current(), SIGTTIN);
    while (!err && u->resid) {
        bool done = false;
        size_t got = slave_step(&r, buf, MIN(u->resid, sizeof(buf)), &done);
        if (got && uio_copy_to(u, buf, got) != (long)got)
            err = -EFAULT;
        if (done || err || pty_hung(p, f))
            break;
        if (got)
            continue;
        if (READ_SHARED(f->flags) & O_NONBLOCK) {
            err = -EAGAIN;
            break;
        }
        int w = wait_event(&p->slave_wq, slave_ready(p, f), r.deadline, PARK_INTERRUPTIBLE);
        if (w == -ETIMEDOUT)
            break;
        if (w == -EINTR)
            err = -ERESTARTSYS;
    }
    return r.total && err != -EFAULT ? (long)r.total : err;
}

// Puts bytes out; how many were taken.
static size_t slave_put(struct pty *p, const uint8_t *buf, size_t n)
{
    mutex_lock(&p->lock);
    size_t done = p->master_open ? ldisc_write(p->ld, buf, n) : 0;
    mutex_unlock(&p->lock);
    if (done)
        waitq_wake(&p->master_wq, POLLIN | POLLRDNORM);
    return done;
}

static bool slave_writable(struct pty *p, struct file *f)
{
    mutex_lock(&p->lock);
    bool r = (!p->ld->stopped && ldisc_out_room(p->ld) >= 8) || pty_hung(p, f);
    mutex_unlock(&p->lock);
    return r;
}

static long pts_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct pty *p = f->data;
    uint8_t buf[STEP];
    long total = 0;
    int err = 0;
    if (pty_hung(p, f))
        return -EIO;
    if (p->ld->tio.c_lflag & TOSTOP)
        err = tty_check_background(&p->ctl, task_current(), SIGTTOU);
    while (!err && u->resid) {
        size_t n = MIN(u->resid, sizeof(buf)), done = 0;
        struct uio before = *u;
        if (uio_copy_from(u, buf, n) != (long)n)
            return total ? total : -EFAULT;
        while (!err && done < n) {
            size_t k = slave_put(p, buf + done, n - done);
            done += k;
            if (k)
                continue;
            if (pty_hung(p, f))
                err = -EIO;
            else if (READ_SHARED(f->flags) & O_NONBLOCK)
                err = -EAGAIN;
            else if (wait_event(&p->slave_wq, slave_writable(p, f), KTIME_MAX, PARK_INTERRUPTIBLE))
                err = -ERESTARTSYS;
        }
        if (done < n) {
            *u = before;
            uio_advance(u, done);
        }
        total += (long)done;
    }
    return total ? total : err;
}

static uint32_t pts_poll(struct file *f, struct poll_table *pt)
{
    struct pty *p = f->data;
    uint32_t mask = 0;
    poll_wait(pt, &p->slave_wq);
    if (pty_hung(p, f))
        return POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM;
    mutex_lock(&p->lock);
    pty_feed(p);
    if (ldisc_readable(p->ld, true))
        mask |= POLLIN | POLLRDNORM;
    if (!p->ld->stopped && ldisc_out_room(p->ld) > STEP)
        mask |= POLLOUT | POLLWRNORM;
    mutex_unlock(&p->lock);
    return mask;
}

static int slave_attach(struct pty *p, struct file *f)
{
    int err = 0;
    mutex_lock(&p->lock);
    if (!p->master_open || p->slave_locked)
        err = -EIO;
    else if (p->exclusive && p->slaves && !cred_capable(f->cred, CAP_SYS_ADMIN))
        err = -EBUSY;
    if (!err) {
        p->slaves++;
        p->slave_gone = false;
        f->pos = p->generation;
        f->data = pty_get(p);
        f->ops = &pts_fops;
    }
    mutex_unlock(&p->lock);
    if (!err)
        tty_opened(&p->ctl, f);
    return err;
}

static int pts_open(struct file *f)
{
    struct pty *p = devpts_pty_of(f->inode);
    if (!p)
        return -EIO;
    int err = slave_attach(p, f);
    pty_put(p);
    return err;
}

static int ctl_open(struct tty_ctl *c, struct file *f)
{
    return slave_attach(pty_of_ctl(c), f);
}

static void pts_release(struct file *f)
{
    struct pty *p = f->data;
    mutex_lock(&p->lock);
    bool last = --p->slaves == 0;
    if (last)
        p->slave_gone = true;
    mutex_unlock(&p->lock);
    if (last)
        waitq_wake_all(&p->master_wq, ~0u);
    pty_put(p);
}

// Every open slave file is dead from now on. (The master sees it when they are closed.)
static void pty_kill_slaves(struct pty *p)
{
    mutex_lock(&p->lock);
    WRITE_SHARED(p->generation, p->generation + 1);
    p->npending = 0;
    ldisc_flush_in(p->ld);
    mutex_unlock(&p->lock);
    waitq_wake_all(&p->slave_wq, ~0u);
    waitq_wake_all(&p->master_wq, ~0u);
}

static void ctl_hangup(struct tty_ctl *c)
{
    pty_kill_slaves(pty_of_ctl(c));
}

static void ctl_release(struct tty_ctl *c)
{
    struct pty *p = pty_of_ctl(c);
    devpts_remove(p);
    mem_free(p->pending);
    mem_free(p->ld);
    slab_free(&pty_slab, p);
}
static const struct tty_ctl_ops ctl_ops = {
    .open = ctl_open,
    .hangup = ctl_hangup,
    .release = ctl_release,
};

// --- the master --------------------------------------------------------------------------------
// One look. Bytes, 0: wait, -EIO: nobody at the other end any more.
static long master_step(struct pty *p, uint8_t *buf, size_t n)
{
    long ret = 0;
    mutex_lock(&p->lock);
    pty_feed(p);
    if (p->packet && p->ld->pkt) {
        buf[0] = p->ld->pkt;
        p->ld->pkt = 0;
        ret = 1;
    } else if (p->ld->out_len) {
        size_t head = p->packet;
        if (head)
            buf[0] = TIOCPKT_DATA;
        ret = (long)(ldisc_out_take(p->ld, buf + head, n - head) + head);
    } else if (p->slave_gone) {
        ret = -EIO;
    }
    mutex_unlock(&p->lock);
    if (ret > 0)
        waitq_wake(&p->slave_wq, POLLOUT | POLLWRNORM);
    return ret;
}

static bool master_ready(struct pty *p)
{
    mutex_lock(&p->lock);
    pty_feed(p);
    bool r = p->ld->out_len || p->slave_gone || (p->packet && p->ld->pkt);
    mutex_unlock(&p->lock);
    return r;
}

static long ptmx_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct pty *p = f->data;
    uint8_t buf[4 * STEP];
    if (!u->resid)
        return 0;
    for (;;) {
        long got = master_step(p, buf, MIN(u->resid, sizeof(buf)));
        if (got > 0)
            return uio_copy_to(u, buf, (size_t)got) == got ? got : -EFAULT;
        if (got < 0)
            return got;
        if (READ_SHARED(f->flags) & O_NONBLOCK)
            return -EAGAIN;
        if (wait_event(&p->master_wq, master_ready(p), KTIME_MAX, PARK_INTERRUPTIBLE))
            return -ERESTARTSYS;
    }
}

size_t pty_type(struct pty *p, const uint8_t *buf, size_t n)
{
    mutex_lock(&p->lock);
    pty_feed(p);
    size_t done = 0;
    while (!p->npending && done < n) { // straight through while there is room
        size_t k = MIN(ldisc_room(p->ld), n - done);
        if (!k)
            break;
        ldisc_receive(p->ld, buf + done, k);
        done += k;
    }
    if (done < n) {
        size_t k = MIN(PENDING_MAX - p->npending, n - done);
        uint8_t *np = k ? mem_realloc(p->pending, p->npending + k) : nullptr;
        if (np) {
            memcpy(np + p->npending, buf + done, k);
            p->pending = np;
            p->npending += k;
            done += k;
        }
    }
    uint64_t sigs = pty_take_signals(p);
    mutex_unlock(&p->lock);
    if (done)
        pty_after(p, sigs);
    return done;
}

static bool master_writable(struct pty *p)
{
    mutex_lock(&p->lock);
    pty_feed(p);
    bool r = p->npending < PENDING_MAX;
    mutex_unlock(&p->lock);
    return r;
}

static long ptmx_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct pty *p = f->data;
    uint8_t buf[STEP];
    long total = 0;
    int err = 0;
    while (!err && u->resid) {
        size_t n = MIN(u->resid, sizeof(buf)), done = 0;
        struct uio before = *u;
        if (uio_copy_from(u, buf, n) != (long)n)
            return total ? total : -EFAULT;
        while (!err && done < n) {
            size_t k = pty_type(p, buf + done, n - done);
            done += k;
            if (k)
                continue;
            if (READ_SHARED(f->flags) & O_NONBLOCK)
                err = -EAGAIN;
            else if (wait_event(&p->master_wq, master_writable(p), KTIME_MAX, PARK_INTERRUPTIBLE))
                err = -ERESTARTSYS;
        }
        if (done < n) {
            *u = before;
            uio_advance(u, done);
        }
        total += (long)done;
    }
    return total ? total : err;
}

static uint32_t ptmx_poll(struct file *f, struct poll_table *pt)
{
    struct pty *p = f->data;
    uint32_t mask = 0;
    poll_wait(pt, &p->master_wq);
    mutex_lock(&p->lock);
    pty_feed(p);
    if (p->ld->out_len)
        mask |= POLLIN | POLLRDNORM;
    if (p->packet && p->ld->pkt)
        mask |= POLLPRI | POLLIN | POLLRDNORM;
    if (p->slave_gone)
        mask |= POLLHUP;
    if (p->npending < PENDING_MAX)
        mask |= POLLOUT | POLLWRNORM;
    mutex_unlock(&p->lock);
    return mask;
}

static void ptmx_release(struct file *f)
{
    struct pty *p = f->data;
    mutex_lock(&p->lock);
    p->master_open = false;
    mutex_unlock(&p->lock);
    devpts_hide(p);
    tty_hangup(&p->ctl); // SIGHUP to the session; the slaves die
    pty_put(p);
}

int pty_open_master(struct devpts *fs, struct file *f)
{
    struct pty *p = slab_alloc(&pty_slab);
    if (!p)
        return -ENOMEM;
    p->ld = mem_alloc(sizeof(*p->ld));
    if (!p->ld) {
        slab_free(&pty_slab, p);
        return -ENOMEM;
    }
    ldisc_init(p->ld);
    mutex_init(&p->lock, RANK_TTY);
    waitq_init(&p->slave_wq);
    waitq_init(&p->master_wq);
    p->master_open = true;
    p->slave_locked = true;
    int err = devpts_add(fs, p, f->cred);
    if (err) {
        mem_free(p->ld);
        slab_free(&pty_slab, p);
        return err;
    }
    tty_ctl_init(&p->ctl, &ctl_ops, makedev(PTS_MAJOR, (unsigned)p->index));
    f->ops = &ptmx_fops;
    f->data = p;
    return 0;
}

const struct file_ops pts_fops = {
    .open = pts_open,
    .read = pts_read,
    .write = pts_write,
    .poll = pts_poll,
    .ioctl = pts_ioctl,
    .release = pts_release,
    .stream = true,
    .own_open = true,
};
const struct file_ops ptmx_fops = {
    .read = ptmx_read,
    .write = ptmx_write,
    .poll = ptmx_poll,
    .ioctl = ptmx_ioctl,
    .release = ptmx_release,
    .stream = true,
};

static struct tty_ctl *pty_tty_of(struct file *f)
{
    return f->ops == &pts_fops ? &((struct pty *)f->data)->ctl : nullptr;
}
__attribute__((constructor)) static void pty_register(void)
{
    tty_register_kind(pty_tty_of);
}
