// SPDX-License-Identifier: Apache-2.0
// ioctls of pseudo terminals (tty_ioctl(4), ioctl_pty(2)), for both ends.
#include "abi/errno.h"
#include "fs/devpts/pty.h"
#include "mem/uaccess.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/tty.h>
#include <string.h>

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

// To wait for output is to wait for nothing: what is written to a pty is at the master at once.
static long termios_set(struct pty *p, struct task *t, unsigned cmd, uint64_t arg, bool master)
{
    static const struct {
        unsigned cmd;
        uint8_t kind; // 0 termios, 1 termios2, 2 termio
        bool flush;
    } table[] = {
        {TCSETS, 0, false}, {TCSETSW, 0, false}, {TCSETSF, 0, true},
        {TCSETS2, 1, false}, {TCSETSW2, 1, false}, {TCSETSF2, 1, true},
        {TCSETA, 2, false}, {TCSETAW, 2, false}, {TCSETAF, 2, true},
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
    pty_feed(p);
    uint64_t sigs = pty_take_signals(p);
    mutex_unlock(&p->lock);
    pty_after(p, sigs);
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
    pty_after(p, 0);
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
    pty_after(p, 0);
    return 0;
}

static long count_bytes(struct pty *p, struct task *t, uint64_t arg, bool in, bool master)
{
    mutex_lock(&p->lock);
    pty_feed(p);
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
    pty_type(p, &c, 1);
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
        return termios_set(p, t, cmd, arg, master);
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
        return master ? 0 : tty_check_background(&p->ctl, t, SIGTTOU);
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

long pts_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct pty *p = f->data;
    if (pty_hung(p, f))
        return cmd == TIOCSPGRP ? -ENOTTY : -EIO;
    return pty_ioctl(f, p, t, cmd, arg, false);
}

long ptmx_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
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
