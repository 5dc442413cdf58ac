// SPDX-License-Identifier: Apache-2.0
// Pseudo terminals: blocking, waking, signals, hang-up, and the files around the line discipline.
//
// p->lock is held across the line discipline only, never across guest memory or signals (sending
// takes the outermost lock): bytes go through a small buffer, signals are sent after unlocking.
#include "fs/devpts/pty.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "mem/uaccess.h"
#include "vfs/special.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/tty.h>
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
static void feed(struct pty *p)
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
static void after(struct pty *p, uint64_t signals)
{
    waitq_wake(&p->slave_wq, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
    waitq_wake(&p->master_wq, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLPRI);
    for (int sig = 1; signals && sig < 64; sig++) {
        if (signals >> sig & 1)
            tty_signal_foreground(&p->ctl, sig);
        signals &= ~(1ull << sig);
    }
}

static uint64_t take_signals(struct pty *p) // [lock]
{
    uint64_t s = p->ld->signals;
    p->ld->signals = 0;
    return s;
}

static bool hung(const struct pty *p, const struct file *f)
{
    return READ_SHARED(p->generation) != f->pos;
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
    feed(p);
    bool eol, canon = p->ld->tio.c_lflag & ICANON;
    size_t got = ldisc_read(p->ld, buf, n, &eol);
    bool fed = got || eol;
    if (fed)
        feed(p);
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
    uint64_t sigs = take_signals(p);
    mutex_unlock(&p->lock);
    if (fed)
        after(p, sigs);
    return got;
}

static bool slave_ready(struct pty *p, struct file *f)
{
    mutex_lock(&p->lock);
    feed(p);
    bool r = ldisc_readable(p->ld, false) || hung(p, f);
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
    if (hung(p, f))
        return 0;
    int err = tty_check_background(&p->ctl, task_current(), SIGTTIN);
    while (!err && u->resid) {
        bool done = false;
        size_t got = slave_step(&r, buf, MIN(u->resid, sizeof(buf)), &done);
        if (got && uio_copy_to(u, buf, got) != (long)got)
            err = -EFAULT;
        if (done || err || hung(p, f))
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
    bool r = (!p->ld->stopped && ldisc_out_room(p->ld) >= 8) || hung(p, f);
    mutex_unlock(&p->lock);
    return r;
}

static long pts_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct pty *p = f->data;
    uint8_t buf[STEP];
    long total = 0;
    int err = 0;
    if (hung(p, f))
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
            if (hung(p, f))
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
    if (hung(p, f))
        return POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM;
    mutex_lock(&p->lock);
    feed(p);
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
    feed(p);
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
    feed(p);
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

static size_t master_put(struct pty *p, const uint8_t *buf, size_t n)
{
    mutex_lock(&p->lock);
    feed(p);
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
    uint64_t sigs = take_signals(p);
    mutex_unlock(&p->lock);
    if (done)
        after(p, sigs);
    return done;
}

static bool master_writable(struct pty *p)
{
    mutex_lock(&p->lock);
    feed(p);
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
            size_t k = master_put(p, buf + done, n - done);
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
    feed(p);
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

// --- ioctls ------------------------------------------------------------------------------------
union termios_any {
    struct termio old;
    struct termios v1;
    struct termios2 v2;
};

static const struct {
    uint32_t bits, speed;
} speeds[] = {
    {B0, 0}, {B50, 50}, {B75, 75}, {B110, 110}, {B134, 134}, {B150, 150}, {B200, 200}, {B300, 300},
    {B600, 600}, {B1200, 1200}, {B1800, 1800}, {B2400, 2400}, {B4800, 4800}, {B9600, 9600},
    {B19200, 19200}, {B38400, 38400}, {B57600, 57600}, {B115200, 115200}, {B230400, 230400},
    {B460800, 460800}, {B500000, 500000}, {B576000, 576000}, {B921600, 921600}, {B1000000, 1000000},
    {B1152000, 1152000}, {B1500000, 1500000}, {B2000000, 2000000}, {B2500000, 2500000},
    {B3000000, 3000000}, {B3500000, 3500000}, {B4000000, 4000000},
};

static void speed_from_cflag(struct termios2 *t)
{
    if ((t->c_cflag & CBAUD) == BOTHER)
        return;
    for (size_t i = 0; i < ARRAY_LEN(speeds); i++) {
        if (speeds[i].bits == (t->c_cflag & CBAUD))
            t->c_ospeed = t->c_ispeed = speeds[i].speed;
    }
}

static long termios_get(struct pty *p, struct task *t, unsigned cmd, uint64_t arg)
{
    union termios_any u = {};
    struct termios2 now;
    mutex_lock(&p->lock);
    now = p->ld->tio;
    mutex_unlock(&p->lock);
    size_t n;
    if (cmd == TCGETA) {
        n = sizeof(u.old);
        u.old.c_iflag = (uint16_t)now.c_iflag;
        u.old.c_oflag = (uint16_t)now.c_oflag;
        u.old.c_cflag = (uint16_t)now.c_cflag;
        u.old.c_lflag = (uint16_t)now.c_lflag;
        u.old.c_line = now.c_line;
        memcpy(u.old.c_cc, now.c_cc, NCC);
    } else {
        n = cmd == TCGETS ? sizeof(u.v1) : sizeof(u.v2);
        u.v2 = now; // termios is a prefix of termios2
    }
    return copy_out(t->mm, UADDR(arg), &u, n);
}

// Waits until the master has taken all output.
static int drain(struct pty *p, struct file *f)
{
    return wait_event(&p->slave_wq, !READ_SHARED(p->ld->out_len) || hung(p, f) || !p->master_open,
                      KTIME_MAX, PARK_INTERRUPTIBLE)
               ? -ERESTARTSYS
               : 0;
}

static long termios_set(struct pty *p, struct file *f, struct task *t, unsigned cmd, uint64_t arg,
                        bool master)
{
    static const struct {
        unsigned cmd;
        uint8_t kind; // 0 termios, 1 termios2, 2 termio
        bool wait, flush;
    } table[] = {
        {TCSETS, 0, false, false}, {TCSETSW, 0, true, false}, {TCSETSF, 0, true, true},
        {TCSETS2, 1, false, false}, {TCSETSW2, 1, true, false}, {TCSETSF2, 1, true, true},
        {TCSETA, 2, false, false}, {TCSETAW, 2, true, false}, {TCSETAF, 2, true, true},
    };
    size_t k = 0;
    while (table[k].cmd != cmd)
        k++;
    int err = master ? 0 : tty_check_background(&p->ctl, t, SIGTTOU);
    if (err)
        return err;
    static const size_t sizes[] = {sizeof(struct termios), sizeof(struct termios2), sizeof(struct termio)};
    union termios_any u = {};
    if (copy_in(t->mm, &u, UADDR(arg), sizes[table[k].kind]))
        return -EFAULT;
    if (table[k].wait && !master && (err = drain(p, f)))
        return err;
    mutex_lock(&p->lock);
    struct termios2 n = p->ld->tio;
    if (table[k].kind == 2) {
        n.c_iflag = (n.c_iflag & 0xffff0000) | u.old.c_iflag;
        n.c_oflag = (n.c_oflag & 0xffff0000) | u.old.c_oflag;
        n.c_cflag = (n.c_cflag & 0xffff0000) | u.old.c_cflag;
        n.c_lflag = (n.c_lflag & 0xffff0000) | u.old.c_lflag;
        memcpy(n.c_cc, u.old.c_cc, NCC);
    } else if (table[k].kind == 1) {
        n = u.v2;
    } else {
        memcpy(&n, &u.v1, sizeof(u.v1));
    }
    speed_from_cflag(&n);
    n.c_cflag &= ~(uint32_t)(CSIZE | PARENB); // a pty is always 8 bits without parity
    n.c_cflag |= CS8 | CREAD;
    if (table[k].flush) {
        p->npending = 0;
        ldisc_flush_in(p->ld);
    }
    ldisc_set_termios(p->ld, &n);
    feed(p);
    uint64_t sigs = take_signals(p);
    mutex_unlock(&p->lock);
    after(p, sigs);
    return 0;
}

static long set_winsize(struct pty *p, struct task *t, uint64_t arg)
{
    struct winsize ws;
    if (get_user(t->mm, UADDR(arg), ws))
        return -EFAULT;
    mutex_lock(&p->lock);
    bool same = !memcmp(&ws, &p->ws, sizeof(ws));
    p->ws = ws;
    mutex_unlock(&p->lock);
    if (!same)
        tty_signal_foreground(&p->ctl, SIGWINCH);
    return 0;
}

static long flush(struct pty *p, struct task *t, uint64_t what, bool master)
{
    int err = master ? 0 : tty_check_background(&p->ctl, t, SIGTTOU);
    if (err)
        return err;
    if (what > TCIOFLUSH)
        return -EINVAL;
    // Seen from the master, input and output change places; its "input" is what the slave wrote.
    bool in = what == TCIFLUSH || what == TCIOFLUSH, out = what == TCOFLUSH || what == TCIOFLUSH;
    mutex_lock(&p->lock);
    if (master ? out : in) {
        p->npending = 0;
        ldisc_flush_in(p->ld);
        p->ld->pkt |= TIOCPKT_FLUSHREAD;
    }
    if (master ? in : out) {
        ldisc_flush_out(p->ld);
        p->ld->pkt |= TIOCPKT_FLUSHWRITE;
    }
    mutex_unlock(&p->lock);
    after(p, 0);
    return 0;
}

static long flow(struct pty *p, struct task *t, uint64_t what, bool master)
{
    int err = master ? 0 : tty_check_background(&p->ctl, t, SIGTTOU);
    if (err)
        return err;
    if (what > TCION)
        return -EINVAL;
    mutex_lock(&p->lock);
    if (what == TCOOFF || what == TCOON)
        ldisc_set_stopped(p->ld, what == TCOOFF);
    else if (p->ld->tio.c_cc[what == TCIOFF ? VSTOP : VSTART])
        ldisc_write(p->ld, &p->ld->tio.c_cc[what == TCIOFF ? VSTOP : VSTART], 1);
    mutex_unlock(&p->lock);
    after(p, 0);
    return 0;
}

static long count_bytes(struct pty *p, struct task *t, uint64_t arg, bool in, bool master)
{
    mutex_lock(&p->lock);
    feed(p);
    int n = master == in ? (int)p->ld->out_len : (int)ldisc_count(p->ld);
    mutex_unlock(&p->lock);
    if (!in && !master)
        n = 0; // what was written is at the master already
    return put_user(t->mm, UADDR(arg), n);
}

// TIOCSTI: as if the character had been typed.
static long simulate(struct pty *p, struct task *t, uint64_t arg)
{
    uint8_t c;
    if (!tty_is_controlling(&p->ctl, t) && !cred_capable(t->cred, CAP_SYS_ADMIN))
        return -EPERM;
    if (get_user(t->mm, UADDR(arg), c))
        return -EFAULT;
    master_put(p, &c, 1);
    return 0;
}

static long set_flag_ioctl(struct pty *p, struct task *t, uint64_t arg, bool *flag)
{
    int v;
    if (get_user(t->mm, UADDR(arg), v))
        return -EFAULT;
    mutex_lock(&p->lock);
    if (flag == &p->packet && v && !p->packet)
        p->ld->pkt = 0;
    *flag = v != 0;
    mutex_unlock(&p->lock);
    return 0;
}

static long open_peer(struct file *f, struct pty *p, struct task *t, uint64_t flags)
{
    struct path path;
    struct file *nf;
    int err = devpts_slave_path(f, p, &path);
    if (err)
        return err;
    err = vfs_open_path(&path, (int)flags & ~O_CLOEXEC, t->cred, &nf);
    path_put(path);
    if (err)
        return err;
    int fd = fd_install(t->files, nf, 0, flags & O_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
    if (fd < 0)
        file_put(nf);
    return fd;
}

static long pty_ioctl(struct file *f, struct pty *p, struct task *t, unsigned cmd, uint64_t arg, bool master)
{
    struct winsize ws;
    bool handled;
    int v;
    switch (cmd) {
    case TCGETS: case TCGETS2: case TCGETA:
        return termios_get(p, t, cmd, arg);
    case TCSETS: case TCSETSW: case TCSETSF: case TCSETS2: case TCSETSW2: case TCSETSF2:
    case TCSETA: case TCSETAW: case TCSETAF:
        return termios_set(p, f, t, cmd, arg, master);
    case TIOCGWINSZ:
        mutex_lock(&p->lock);
        ws = p->ws;
        mutex_unlock(&p->lock);
        return put_user(t->mm, UADDR(arg), ws);
    case TIOCSWINSZ:
        return set_winsize(p, t, arg);
    case TCFLSH:
        return flush(p, t, arg, master);
    case TCXONC:
        return flow(p, t, arg, master);
    case TCSBRK: case TCSBRKP: case TIOCSBRK: case TIOCCBRK:
        return master ? 0 : drain(p, f);
    case FIONREAD:
        return count_bytes(p, t, arg, true, master);
    case TIOCOUTQ:
        return count_bytes(p, t, arg, false, master);
    case TIOCSTI:
        return simulate(p, t, arg);
    case TIOCEXCL:
        p->exclusive = true;
        return 0;
    case TIOCNXCL:
        p->exclusive = false;
        return 0;
    case TIOCGEXCL:
        v = p->exclusive;
        return put_user(t->mm, UADDR(arg), v);
    case TIOCGETD:
        v = N_TTY;
        return put_user(t->mm, UADDR(arg), v);
    case TIOCGSOFTCAR:
        v = (p->ld->tio.c_cflag & CLOCAL) != 0;
        return put_user(t->mm, UADDR(arg), v);
    case TIOCGDEV:
        v = (int)p->ctl.rdev;
        return put_user(t->mm, UADDR(arg), v);
    case TIOCVHANGUP:
        if (!cred_capable(t->cred, CAP_SYS_ADMIN))
            return -EPERM;
        tty_hangup(&p->ctl);
        return 0;
    default:
        return tty_ctl_ioctl(&p->ctl, f, t, cmd, arg, master, &handled);
    }
}

static long pts_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct pty *p = f->data;
    if (hung(p, f))
        return cmd == TIOCSPGRP ? -ENOTTY : -EIO;
    return pty_ioctl(f, p, t, cmd, arg, false);
}

static long ptmx_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct pty *p = f->data;
    int v;
    switch (cmd) {
    case TIOCGPTN:
        return put_user(t->mm, UADDR(arg), p->index);
    case TIOCSPTLCK:
        return set_flag_ioctl(p, t, arg, &p->slave_locked);
    case TIOCGPTLCK:
        v = p->slave_locked;
        return put_user(t->mm, UADDR(arg), v);
    case TIOCPKT:
        return set_flag_ioctl(p, t, arg, &p->packet);
    case TIOCGPKT:
        v = p->packet;
        return put_user(t->mm, UADDR(arg), v);
    case TIOCGPTPEER:
        return open_peer(f, p, t, arg);
    case TIOCSIG:
        if (arg < 1 || arg >= 64 || (arg != SIGINT && arg != SIGQUIT && arg != SIGTSTP))
            return -EINVAL;
        tty_signal_foreground(&p->ctl, (int)arg);
        return 0;
    case TIOCSCTTY:
        return -ENOTTY; // the master is nobody's controlling terminal
    default:
        return pty_ioctl(f, p, t, cmd, arg, true);
    }
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
