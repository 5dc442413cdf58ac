// SPDX-License-Identifier: Apache-2.0
// Host descriptors as guest files: see hostfile.h.
//
// No worker may block in a host call. Pipes, sockets and null devices take RWF_NOWAIT, and when
// that says EAGAIN the fiber waits for the host's epoll (edge-triggered: `ready` is cleared before
// the attempt, so an edge between attempt and sleep is kept). What does not know RWF_NOWAIT (regular
// files, terminals, old kernels) goes to the I/O pool, and for reading only after epoll has
// announced data, so that a pool thread is not lost to a terminal where nobody types.
//
// Trusted: nothing that is read. Host errors are passed on.
#include "fs/hostfile.h"
#include "fs/pipe.h"
#include "fs/devpts/pty.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "host/raw.h"
#include "mem/uaccess.h"
#include "vfs/special.h"
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

constexpr size_t BOUNCE_SMALL = 2048;
constexpr size_t BOUNCE_MAX = 65536;

struct hostfile;
// A terminal of the host, one per device however many descriptors name it. Open files and sessions
// keep it, and it keeps the file that /dev/tty and its node in devpts open.
struct host_tty {
    struct tty_ctl ctl;
    struct list link;        // [ttys_lock]
    uint64_t host_rdev;      // [C]
    struct hostfile *file;   // [C] the first one; ref
    struct inode *node;      // its name in the guest's devpts, or null; ref
};
SLAB_DEFINE(host_tty_slab, struct host_tty);
static struct list host_ttys = LIST_INIT(host_ttys); // [ttys_lock] weak
static struct spinlock ttys_lock;

struct hostfile {
    struct inode inode;
    struct tty_ctl *tty;     // null: no terminal. Weak in the terminal's own file [ttys_lock], else ref
    bool tty_weak;           // [C]
    int fd;                  // [C] owned
    bool is_reg;             // [C]
    bool pollable;           // [C] epoll took it; else always ready
    bool append;             // [C] the description is O_APPEND
    bool nonblock;           // [C] the description is O_NONBLOCK already: plain calls do not block
    bool no_nowait_rd, no_nowait_wr; // [A] RWF_NOWAIT is not supported
    struct hostpoll hp;
    struct waitq wq;
    uint32_t ready;          // [A] EPOLL* seen and not used up
    void *spare;             // [A] owned: a bounce buffer for the next large transfer
    struct mutex rlock, wlock; // RANK_PIPE: one reader and one writer in the host at a time
};
SLAB_DEFINE(hostfile_slab, struct hostfile);

// A bounce buffer of BOUNCE_MAX bytes; null: no memory.
static void *bounce_get(struct hostfile *h)
{
    void *b = READ_SHARED(h->spare) ? __atomic_exchange_n(&h->spare, nullptr, __ATOMIC_ACQ_REL) : nullptr;
    return b ? b : mem_alloc(BOUNCE_MAX);
}
static void bounce_put(struct hostfile *h, void *b)
{
    mem_free(__atomic_exchange_n(&h->spare, b, __ATOMIC_ACQ_REL));
}

static void hostfile_event(struct hostpoll *hp, uint32_t events)
{
    struct hostfile *h = container_of(hp, struct hostfile, hp);
    __atomic_fetch_or(&h->ready, events, __ATOMIC_ACQ_REL);
    waitq_wake_all(&h->wq, events | ((events & (EPOLLHUP | EPOLLERR)) ? POLLIN | POLLOUT : 0));
}

// --- host transfers ----------------------------------------------------------------------------
struct transfer {
    int fd;
    bool write;
    int64_t off;
    struct iovec v;
    int flags;
};
static long transfer_call(void *arg)
{
    struct transfer *x = arg;
    return host_call(x->write ? __NR_pwritev2 : __NR_preadv2, x->fd, &x->v, 1, x->off, 0, x->flags);
}

// One attempt. -EAGAIN: would block (wait for readiness and come again); -EOPNOTSUPP: come again.
static long hostfile_try(struct hostfile *h, bool write, void *buf, size_t n, int64_t off)
{
    bool *no_nowait = write ? &h->no_nowait_wr : &h->no_nowait_rd;
    struct transfer x = {.fd = h->fd, .write = write, .off = off, .v = {buf, n}, .flags = RWF_NOWAIT};
    if (h->nonblock) {
        x.flags = 0;
        return transfer_call(&x);
    }
    if (!READ_SHARED(*no_nowait)) {
        long r = transfer_call(&x);
        if (r == -EOPNOTSUPP)
            WRITE_SHARED(*no_nowait, true);
        if (r != -EAGAIN || h->pollable)
            return r;
    }
    x.flags = 0;
    if (!h->pollable)
        return iopool_run(transfer_call, &x);
    uint32_t want = write ? EPOLLOUT : EPOLLIN;
    if (!(READ_SHARED(h->ready) & (want | EPOLLHUP | EPOLLERR)))
        return -EAGAIN;
    return iopool_run(transfer_call, &x);
}

static bool host_readable(struct hostfile *h)
{
    int n = 0;
    return host_call(__NR_ioctl, h->fd, FIONREAD, &n) == 0 && n > 0;
}

// One attempt that keeps `ready` true to the host's state.
static long hostfile_attempt(struct hostfile *h, bool write, void *buf, size_t n, int64_t off)
{
    const uint32_t bit = write ? EPOLLOUT : EPOLLIN;
    // With RWF_NOWAIT the flag is cleared before the attempt, so that an edge after it is kept.
    // Without, the attempt needs the announcement, which is used up afterwards.
    bool late = h->pollable && !h->nonblock &&
                (write ? READ_SHARED(h->no_nowait_wr) : READ_SHARED(h->no_nowait_rd));
    uint32_t had = late ? 0 : __atomic_fetch_and(&h->ready, ~bit, __ATOMIC_ACQ_REL) & bit;
    long r = hostfile_try(h, write, buf, n, off);
    if (r == -EAGAIN)
        return r;
    if (r == -EOPNOTSUPP) {
        __atomic_fetch_or(&h->ready, had, __ATOMIC_ACQ_REL);
        return -EINTR;
    }
    if (!write && h->pollable && (r > 0 || h->tty)) { // end of file of a terminal is not for ever
        __atomic_fetch_and(&h->ready, ~bit, __ATOMIC_ACQ_REL);
        if (host_readable(h))
            __atomic_fetch_or(&h->ready, bit, __ATOMIC_ACQ_REL);
    } else if (r >= 0) {
        __atomic_fetch_or(&h->ready, bit, __ATOMIC_ACQ_REL);
    }
    return r;
}

static long hostfile_move(struct hostfile *h, bool write, void *buf, size_t n, int64_t off, bool wait)
{
    const uint32_t bits = (write ? EPOLLOUT : EPOLLIN) | EPOLLHUP | EPOLLERR;
    struct mutex *lock = write ? &h->wlock : &h->rlock;
    for (;;) {
        mutex_lock(lock);
        long r = hostfile_attempt(h, write, buf, n, off);
        mutex_unlock(lock);
        if (r == -EINTR)
            continue;
        if (r != -EAGAIN || !wait)
            return r;
        if (wait_event(&h->wq, READ_SHARED(h->ready) & bits, KTIME_MAX, PARK_INTERRUPTIBLE))
            return -ERESTARTSYS;
        fiber_yield(); // a description that others use may say EAGAIN although it is ready
    }
}

// The position is the host description's own unless the caller named one (pread).
static int64_t host_offset(struct hostfile *h, struct file *f, const int64_t *pos)
{
    return h->is_reg && pos && pos != &f->pos ? *pos : -1; // own_position: else f->pos itself
}

static long hostfile_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct hostfile *h = f->data;
    uint8_t small[BOUNCE_SMALL], *buf = small;
    size_t n = MIN(u->resid, BOUNCE_MAX);
    if (!n)
        return 0;
    if (h->tty) {
        int err = tty_check_background(h->tty, task_current(), SIGTTIN);
        if (err)
            return err;
    }
    if (n > sizeof(small)) {
        buf = bounce_get(h);
        if (!buf)
            return -ENOMEM;
    }
    long r = hostfile_move(h, false, buf, n, host_offset(h, f, pos),
                           !(READ_SHARED(f->flags) & O_NONBLOCK));
    if (r > 0) {
        long got = uio_copy_to(u, buf, (size_t)r);
        if (got >= 0 && host_offset(h, f, pos) >= 0)
            *pos += got;
        r = got < 0 ? got : got == 0 ? -EFAULT : got;
    }
    if (buf != small)
        bounce_put(h, buf);
    return r;
}

static long write_chunk(struct hostfile *h, struct file *f, struct uio *u, int64_t *pos, void *buf,
                        size_t n)
{
    struct uio before = *u;
    long got = n ? uio_copy_from(u, buf, n) : 0;
    if (n && got <= 0)
        return -EFAULT;
    if (h->is_reg && (READ_SHARED(f->flags) & O_APPEND) && !h->append)
        host_call(__NR_lseek, h->fd, 0, SEEK_END);
    long r = hostfile_move(h, true, buf, (size_t)got, host_offset(h, f, pos),
                           !(READ_SHARED(f->flags) & O_NONBLOCK));
    if (r < got) { // not all of it went
        *u = before;
        if (r > 0)
            uio_advance(u, (size_t)r);
    }
    if (r > 0 && host_offset(h, f, pos) >= 0)
        *pos += r;
    return r;
}

static long hostfile_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct hostfile *h = f->data;
    uint8_t small[BOUNCE_SMALL], *buf = small;
    long total = 0;
    if (h->tty && READ_SHARED(h->tty->fg)) {
        struct termios tio;
        if (host_call(__NR_ioctl, h->fd, TCGETS, &tio) == 0 && (tio.c_lflag & TOSTOP)) {
            int err = tty_check_background(h->tty, task_current(), SIGTTOU);
            if (err)
                return err;
        }
    }
    size_t cap = MIN(u->resid, BOUNCE_MAX);
    if (cap > sizeof(small)) {
        buf = bounce_get(h);
        if (!buf)
            return -ENOMEM;
    }
    do {
        size_t n = MIN(u->resid, MAX(cap, sizeof(small)));
        long r = write_chunk(h, f, u, pos, buf, n);
        if (r < 0) {
            if (!total)
                total = r;
            break;
        }
        total += r;
        if (!r)
            break;
    } while (u->resid);
    if (buf != small)
        bounce_put(h, buf);
    if (total == -EPIPE)
        pipe_sigpipe();
    return total;
}

static uint32_t hostfile_poll(struct file *f, struct poll_table *pt)
{
    struct hostfile *h = f->data;
    if (!h->pollable)
        return (f->can_read ? POLLIN | POLLRDNORM : 0) | (f->can_write ? POLLOUT | POLLWRNORM : 0);
    poll_wait(pt, &h->wq);
    uint32_t r = READ_SHARED(h->ready), mask = 0;
    // A stale announcement (somebody outside read the data) must not look like data.
    if ((r & EPOLLIN) && !(r & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) && !h->tty && !host_readable(h)) {
        __atomic_fetch_and(&h->ready, ~(uint32_t)EPOLLIN, __ATOMIC_ACQ_REL);
        if (host_readable(h))
            __atomic_fetch_or(&h->ready, EPOLLIN, __ATOMIC_ACQ_REL);
        r = READ_SHARED(h->ready);
    }
    if (r & EPOLLIN)
        mask |= POLLIN | POLLRDNORM;
    if (r & EPOLLOUT)
        mask |= POLLOUT | POLLWRNORM;
    return mask | (r & (EPOLLHUP | EPOLLERR | EPOLLRDHUP));
}

// --- terminals ---------------------------------------------------------------------------------
struct ioctl_call {
    int fd;
    unsigned cmd;
    void *arg;
};
static long ioctl_call(void *arg)
{
    struct ioctl_call *x = arg;
    return host_call(__NR_ioctl, x->fd, x->cmd, x->arg);
}

// The fixed list of security.md table B, each with the size of its argument.
static long host_tty_ioctl(struct hostfile *h, struct task *t, unsigned cmd, uint64_t arg)
{
    union {
        struct termios tio;
        struct termios2 tio2;
        struct winsize ws;
    } u = {.tio2 = {.c_ispeed = 38400, .c_ospeed = 38400}};
    size_t size = 0;
    bool in = false;
    switch (cmd) {
    case TCGETS: case TCGETS2: // the speeds of a termios2 mean nothing here
        size = cmd == TCGETS ? sizeof(u.tio) : sizeof(u.tio2);
        cmd = TCGETS;
        break;
    case TCSETS: case TCSETSW: case TCSETSF:
        size = sizeof(u.tio);
        in = true;
        break;
    case TCSETS2: case TCSETSW2: case TCSETSF2:
        size = sizeof(u.tio2);
        cmd = cmd == TCSETS2 ? TCSETS : cmd == TCSETSW2 ? TCSETSW : TCSETSF;
        in = true;
        break;
    case TIOCGWINSZ:
        size = sizeof(u.ws);
        break;
    case TIOCSWINSZ:
        size = sizeof(u.ws);
        in = true;
        break;
    default:
        return -ENOTTY;
    }
    if (in) {
        int err = tty_check_background(h->tty, t, SIGTTOU);
        if (err)
            return err;
        if (copy_in(t->mm, &u, UADDR(arg), size))
            return -EFAULT;
    }
    struct ioctl_call x = {h->fd, cmd, &u};
    // The draining variants wait for output.
    long r = cmd == TCSETSW || cmd == TCSETSF ? iopool_run(ioctl_call, &x) : ioctl_call(&x);
    if (!r && !in && copy_out(t->mm, UADDR(arg), &u, size))
        return -EFAULT;
    if (!r && cmd == TIOCSWINSZ)
        tty_signal_foreground(h->tty, SIGWINCH);
    return r;
}

// tcdrain and tcflush are not on the list; setting the attributes that are set already drains, and
// flushes input, just the same.
static long host_tty_drain(struct hostfile *h, struct task *t, unsigned cmd, uint64_t arg)
{
    struct termios tio;
    int err = tty_check_background(h->tty, t, SIGTTOU);
    if (err)
        return err;
    if (cmd == TCFLSH && arg != TCIFLUSH && arg != TCIOFLUSH)
        return arg == TCOFLUSH ? 0 : -EINVAL; // nothing of ours is queued
    long r = host_call(__NR_ioctl, h->fd, TCGETS, &tio);
    struct ioctl_call x = {h->fd, cmd == TCFLSH ? TCSETSF : TCSETSW, &tio};
    return r ? r : iopool_run(ioctl_call, &x);
}

static long hostfile_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct hostfile *h = f->data;
    bool handled;
    if (cmd == FIONREAD) {
        int n = 0;
        long r = host_call(__NR_ioctl, h->fd, FIONREAD, &n);
        return r ? r : put_user(t->mm, UADDR(arg), n);
    }
    if (!h->tty)
        return -ENOTTY;
    long r = tty_ctl_ioctl(h->tty, f, t, cmd, arg, false, &handled);
    if (handled)
        return r;
    bool drain = cmd == TCFLSH || (cmd == TCSBRK && arg) || cmd == TCSBRKP;
    return drain ? host_tty_drain(h, t, cmd, arg) : host_tty_ioctl(h, t, cmd, arg);
}

static int host_tty_open(struct tty_ctl *c, struct file *f);
static void host_tty_hangup(struct tty_ctl *c)
{
    // The terminal belongs to somebody outside and lives on; it controls nobody here any more.
}
static void host_tty_release(struct tty_ctl *c)
{
    struct host_tty *t = container_of(c, struct host_tty, ctl);
    spin_lock(&ttys_lock);
    list_del(&t->link);
    t->file->tty = nullptr;
    spin_unlock(&ttys_lock);
    if (t->node)
        devpts_remove_tty(t->node);
    inode_put(&t->file->inode);
    slab_free(&host_tty_slab, t);
}
static const struct tty_ctl_ops host_tty_ops = {
    .open = host_tty_open,
    .hangup = host_tty_hangup,
    .release = host_tty_release,
};

// --- files -------------------------------------------------------------------------------------
static int64_t hostfile_llseek(struct file *f, int64_t off, int whence)
{
    struct hostfile *h = f->data;
    return host_call(__NR_lseek, h->fd, off, whence);
}

static long fsync_call(void *arg)
{
    struct hostfile *h = arg;
    return host_call(__NR_fsync, h->fd);
}
static int hostfile_fsync(struct file *f, bool datasync)
{
    struct hostfile *h = f->data;
    return h->is_reg ? (int)iopool_run(fsync_call, h) : -EINVAL;
}

static int hostfile_open(struct file *f);
static struct tty_ctl *hostfile_tty_of(struct file *f);
static void hostfile_release(struct file *f)
{
    struct hostfile *h = f->data;
    tty_ctl_put(h->tty); // each open file has a reference
}
static const struct file_ops hostfile_fops = {
    .open = hostfile_open,
    .read = hostfile_read,
    .write = hostfile_write,
    .poll = hostfile_poll,
    .ioctl = hostfile_ioctl,
    .release = hostfile_release,
    .stream = true,
    .own_open = true,
};
static const struct file_ops hostfile_reg_fops = {
    .open = hostfile_open,
    .read = hostfile_read,
    .write = hostfile_write,
    .llseek = hostfile_llseek,
    .fsync = hostfile_fsync,
    .own_open = true,
    .own_position = true,
};

// Opened again, through /proc/self/fd/N or /dev/stdout: the same host description. What the
// description cannot do, the host refuses with EBADF.
static int hostfile_open(struct file *f)
{
    struct hostfile *h = container_of(f->inode, struct hostfile, inode);
    bool gone = false;
    spin_lock(&ttys_lock);
    if (h->tty)
        gone = !ref_get_unless_zero(&h->tty->ref);
    else
        gone = h->tty_weak;
    spin_unlock(&ttys_lock);
    f->data = h;
    return gone ? -EIO : 0;
}

// Through /dev/tty, /dev/console or the node in devpts: f is on the device's inode.
static int host_tty_open(struct tty_ctl *c, struct file *f)
{
    f->ops = &hostfile_fops;
    f->data = container_of(tty_ctl_get(c), struct host_tty, ctl)->file;
    tty_opened(c, f);
    return 0;
}

int hostfile_tty_name(struct file *f, struct super *devpts, const struct cred *cred)
{
    struct tty_ctl *c = hostfile_tty_of(f);
    struct host_tty *t = c ? container_of(c, struct host_tty, ctl) : nullptr;
    if (!t || t->file != f->data)
        return -ENOTTY;
    if (t->node)
        return (int)minor(t->node->rdev);
    int index = devpts_add_tty(devpts, c, cred, &t->node);
    if (index >= 0)
        c->rdev = t->node->rdev;
    return index;
}

static int hostfile_getattr(struct inode *i, struct kstat *st)
{
    struct hostfile *h = container_of(i, struct hostfile, inode);
    struct stat s;
    long r = host_call(__NR_fstat, h->fd, &s);
    if (r)
        return (int)r;
    *st = (struct kstat){
        .ino = s.st_ino, .size = (uint64_t)s.st_size, .blocks = (uint64_t)s.st_blocks,
        .dev = i->sb->dev, .rdev = s.st_rdev, .mode = i->mode, .nlink = (uint32_t)s.st_nlink,
        .uid = i->uid, .gid = i->gid, .blksize = (uint32_t)s.st_blksize,
        .atime = {s.st_atim.tv_sec, (uint32_t)s.st_atim.tv_nsec},
        .mtime = {s.st_mtim.tv_sec, (uint32_t)s.st_mtim.tv_nsec},
        .ctime = {s.st_ctim.tv_sec, (uint32_t)s.st_ctim.tv_nsec},
    };
    return 0;
}

static void hostfile_inode_release(struct inode *i)
{
    struct hostfile *h = container_of(i, struct hostfile, inode);
    if (!h->tty_weak)
        tty_ctl_put(h->tty);
    if (h->pollable)
        hostpoll_del(&h->hp);
    if (h->fd >= 0)
        host_call(__NR_close, h->fd);
    mem_free(h->spare);
    slab_free(&hostfile_slab, h);
}
static const struct inode_ops hostfile_iops = {
    .getattr = hostfile_getattr,
    .release = hostfile_inode_release,
};

static struct tty_ctl *hostfile_tty_of(struct file *f)
{
    if (f->ops != &hostfile_fops)
        return nullptr;
    struct hostfile *h = f->data;
    return h->tty;
}

static void hostfile_start_poll(struct hostfile *h, int access)
{
    uint32_t ev = EPOLLET | EPOLLRDHUP;
    if (access != O_WRONLY)
        ev |= EPOLLIN;
    if (access != O_RDONLY)
        ev |= EPOLLOUT;
    waitq_init(&h->wq);
    // Regular files and some devices are refused (EPERM): those are always ready.
    h->pollable = !h->is_reg && hostpoll_add(&h->hp, h->fd, ev, hostfile_event) == 0;
}

// The terminal of this device number; a new one when it is the first descriptor of it. A reference
// for the file that is to be made.
static int host_tty_find(struct hostfile *h, uint64_t rdev)
{
    struct host_tty *n = slab_alloc(&host_tty_slab), *found = nullptr;
    if (!n)
        return -ENOMEM;
    tty_ctl_init(&n->ctl, &host_tty_ops, rdev);
    n->host_rdev = rdev;
    n->file = h;
    spin_lock(&ttys_lock);
    list_for_each(it, &host_ttys) {
        struct host_tty *t = list_entry(it, struct host_tty, link);
        // One whose other end is gone only looks like this one: numbers are used again.
        if (t->host_rdev == rdev && !(READ_SHARED(t->file->ready) & EPOLLHUP) &&
            ref_get_unless_zero(&t->ctl.ref)) {
            found = t;
            break;
        }
    }
    if (found) {
        h->tty = tty_ctl_get(&found->ctl); // its own, beside the file's
    } else {
        list_push_back(&host_ttys, &n->link);
        inode_get(&h->inode);
        h->tty = &n->ctl;
        h->tty_weak = true;
    }
    spin_unlock(&ttys_lock);
    if (found)
        slab_free(&host_tty_slab, n);
    return 0;
}

int hostfile_new(int hostfd, const struct cred *c, struct file **out)
{
    struct stat s;
    struct termios tio;
    long r = host_call(__NR_fstat, hostfd, &s);
    if (r)
        return (int)r;
    long fl = host_call(__NR_fcntl, hostfd, F_GETFL, 0);
    if (fl < 0)
        return (int)fl;
    struct hostfile *h = slab_alloc(&hostfile_slab);
    if (!h)
        return -ENOMEM;
    h->fd = hostfd;
    h->is_reg = S_ISREG(s.st_mode);
    bool is_tty = S_ISCHR(s.st_mode) && host_call(__NR_ioctl, hostfd, TCGETS, &tio) == 0;
    h->no_nowait_rd = h->no_nowait_wr = is_tty; // terminals do not know RWF_NOWAIT
    h->nonblock = fl & O_NONBLOCK;
    h->append = fl & O_APPEND;
    mutex_init(&h->rlock, RANK_PIPE);
    mutex_init(&h->wlock, RANK_PIPE);
    hostfile_start_poll(h, (int)fl & O_ACCMODE);
    const struct file_ops *ops = h->pollable || is_tty ? &hostfile_fops : &hostfile_reg_fops;
    inode_init(&h->inode, vfs_anon_super(), &hostfile_iops, ops, s.st_mode & (S_IFMT | 0777), c);
    h->inode.rdev = s.st_rdev;
    h->inode.nlink = 1;
    char name[48];
    snprintf(name, sizeof(name), "%s:[%lu]",
             is_tty ? "/dev/pts/host" : S_ISFIFO(s.st_mode) ? "pipe" : S_ISSOCK(s.st_mode) ? "socket" : "host",
             (unsigned long)s.st_ino);
    int flags = (int)fl & (O_ACCMODE | O_APPEND);
    int err = is_tty ? host_tty_find(h, s.st_rdev) : 0;
    if (!err)
        err = file_new_on_inode(ops, &h->inode, name, flags, h, c, out);
    if (err) {
        h->fd = -1; // stays the caller's
        tty_ctl_put(h->tty);
    }
    inode_put(&h->inode);
    return err;
}

__attribute__((constructor)) static void hostfile_register(void)
{
    tty_register_kind(hostfile_tty_of);
}
