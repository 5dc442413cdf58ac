// SPDX-License-Identifier: Apache-2.0
// Passes bytes between a new host terminal and the caller's streams, see relay.h. Nothing blocks but
// the last writes, when the program has ended: a stream that nobody reads must not keep signals away.
#include "cmd/relay.h"
#include "cmd/container.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

bool relay_wanted(void)
{
    return !isatty(0) || !isatty(1) || !isatty(2);
}

static int caller_terminal(struct err *e)
{
    for (int i = 2; i >= 0; i--)
        if (isatty(i))
            return fcntl(i, F_DUPFD_CLOEXEC, 3);
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? err_errno(e, -errno, "process.terminal is true: open /dev/tty") : fd;
}

static void copy_size(const struct relay *r)
{
    struct winsize size;
    if (r->master >= 0 && ioctl(r->tty, TIOCGWINSZ, &size) == 0)
        (void)ioctl(r->master, TIOCSWINSZ, &size);
}

int relay_open(struct relay *r, const struct spec_process *p, struct err *e)
{
    *r = (struct relay){.master = -1, .slave = -1};
    for (int i = 0; i < 3; i++) // none of ours is to land there
        if (fcntl(i, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_NOCTTY) != i)
            return err_set(e, -EBADF, "standard stream %d: /dev/null does not open", i);
    if ((r->tty = caller_terminal(e)) < 0)
        return r->tty;
    int err = console_pair(p, &r->master, &r->slave, e);
    if (err)
        return err;
    struct termios plain;
    if (fcntl(r->master, F_SETFL, O_RDWR | O_NONBLOCK) < 0 || tcgetattr(r->master, &plain) < 0)
        return err_errno(e, -errno, "terminal");
    plain.c_oflag &= ~(tcflag_t)ONLCR; // lines in a file end as without a terminal; the caller's adds its own
    if (tcsetattr(r->master, TCSANOW, &plain) < 0)
        return err_errno(e, -errno, "terminal");
    copy_size(r);
    return 0;
}

void relay_begin(struct relay *r)
{
    struct termios raw;
    sigset_t set;
    close(r->slave);
    r->slave = -1;
    signal(SIGPIPE, SIG_IGN);
    // Only where its keys come to us, and not from the background, where another one is using it.
    if (!isatty(0) || tcgetpgrp(0) != getpgrp() || tcgetattr(0, &r->modes) < 0)
        return;
    raw = r->modes;
    cfmakeraw(&raw);
    raw.c_oflag |= r->modes.c_oflag & OPOST;
    sigemptyset(&set);
    sigaddset(&set, SIGTTOU);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    r->raw = tcsetattr(0, TCSANOW, &raw) == 0;
}

void relay_poll(const struct relay *r, struct pollfd p[RELAY_POLL])
{
    bool open = r->master >= 0 && !r->gone;
    bool want_in = open && !r->in_end && r->in_n == 0;
    short events = (short)((r->out_n == 0 ? POLLIN : 0) | (r->in_n ? POLLOUT : 0));
    p[0] = (struct pollfd){.fd = want_in ? 0 : -1, .events = POLLIN};
    p[1] = (struct pollfd){.fd = open && events ? r->master : -1, .events = events};
    p[2] = (struct pollfd){.fd = r->out_n ? 1 : -1, .events = POLLOUT};
}

static void drop(char *buf, size_t *n, size_t done)
{
    memmove(buf, buf + done, *n - done);
    *n -= done;
}

static void hang_up(struct relay *r)
{
    close(r->master);
    r->master = -1;
    r->in_n = r->out_n = 0;
}

// False: nobody will read it.
static bool write_out(struct relay *r)
{
    ssize_t n = write(1, r->out, r->out_n);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    drop(r->out, &r->out_n, (size_t)n);
    return true;
}

void relay_step(struct relay *r, const struct pollfd p[RELAY_POLL])
{
    ssize_t n;
    if (p[2].revents && !write_out(r))
        hang_up(r); // SIGHUP, as when a terminal's window is closed
    if (p[0].revents) {
        n = read(0, r->in, sizeof(r->in));
        r->in_end = n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
        r->in_n = n > 0 ? (size_t)n : 0;
    }
    if (r->master < 0)
        return;
    if (p[1].revents & POLLOUT && (n = write(r->master, r->in, r->in_n)) > 0)
        drop(r->in, &r->in_n, (size_t)n);
    if (p[1].revents & (POLLIN | POLLHUP) && r->out_n == 0) {
        n = read(r->master, r->out, sizeof(r->out));
        r->out_n = n > 0 ? (size_t)n : 0;
        r->gone = n < 0 && errno != EINTR && errno != EAGAIN; // they have; the program may go on
    }
}

void relay_signal(struct relay *r, pid_t pid, int sig)
{
    if (sig == SIGWINCH)
        copy_size(r);
    else
        kill(pid, sig);
}

void relay_end(struct relay *r)
{
    sigset_t none;
    sigemptyset(&none);
    if (r->raw)
        tcsetattr(0, TCSADRAIN, &r->modes);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, nullptr); // a reader who never reads: we can be killed
    // What lies in the terminal is read until it says that there is no more: the writers are gone.
    while (r->master >= 0) {
        while (r->out_n && write_out(r))
            ;
        ssize_t n = read(r->master, r->out, sizeof(r->out));
        if (n > 0)
            r->out_n = (size_t)n;
        else if (n == 0 || errno != EINTR)
            hang_up(r);
    }
    close(r->tty);
}

int relay_run(struct relay *r, pid_t pid, int sigfd)
{
    int status = 0, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p[2 + RELAY_POLL] = {{.fd = pidfd, .events = POLLIN},
                                       {.fd = sigfd, .events = POLLIN}};
    relay_begin(r);
    while (pidfd >= 0 && !p[0].revents) {
        struct signalfd_siginfo si;
        relay_poll(r, p + 2);
        if (poll(p, ARRAY_LEN(p), -1) < 0)
            continue;
        if (p[1].revents && read(sigfd, &si, sizeof(si)) == sizeof(si))
            relay_signal(r, pid, (int)si.ssi_signo);
        relay_step(r, p + 2);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    relay_end(r);
    return status;
}
