// SPDX-License-Identifier: Apache-2.0
// Waits, forwards signals, reports: see supervise.h.
//
// Ends: the Sentry reports the container's exit and ends itself; or it dies, and the kernel with it
// kills all stubs (it is pid 1 of their namespace); or the Gofer dies, which the Sentry sees as the
// end of its 9P socket. When the Sentry is reaped, no guest process is left; the Gofer is then
// killed and reaped too. If we die, PDEATHSIG kills both.
//
// For a container in another's sandbox: the Sentry reports its exit over our own socket, when none
// of its processes is left; or that socket ends, because the sandbox did. If its Gofer dies, we have
// its processes killed; if we die, the Sentry sees the end of the socket and does it.
#include "cmd/supervise.h"
#include "cmd/hostcalls.h"
#include "cmd/launch.h"
#include "host/confine.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM,
                                SIGWINCH, SIGTSTP};

void supervise_signal_set(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
        sigaddset(set, forwarded[i]);
}

int supervise_signals(struct supervisor *s, struct err *e)
{
    sigset_t set;
    supervise_signal_set(&set);
    s->sentry.control = s->gofer.control = -1;
    clients_init(s);
    if ((s->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return err_errno(e, -errno, "signalfd");
    sigaddset(&set, SIGTTOU); // the terminal is put right from the background too
    if (sigprocmask(SIG_BLOCK, &set, nullptr) < 0)
        return err_errno(e, -errno, "signal mask");
    // Programs that die, or are killed with their sandbox, leave terminals without echo.
    s->tty = host_call(__NR_ioctl, 0, TCGETS, s->tty_modes) == 0 ? fcntl(0, F_DUPFD_CLOEXEC, 3) : -1;
    return 0;
}

static void kill_child(struct supervised *c)
{
    if (c->pid > 0)
        host_call(__NR_pidfd_send_signal, c->pidfd, SIGKILL, 0, 0);
}
// Waits for the end of c; its wait status.
static int reap(struct supervised *c)
{
    int status = 0;
    while (c->pid > 0) {
        long r = host_call(__NR_wait4, c->pid, &status, __WALL, 0);
        if (r == c->pid || (r < 0 && r != -EINTR))
            c->pid = 0;
    }
    return status;
}
// Nothing of the sandbox is left: its cgroup can go. Waits until it has.
static void end_janitor(struct supervisor *s)
{
    struct supervised janitor = {.pid = s->janitor};
    if (s->janitor <= 0)
        return;
    host_call(__NR_close, s->janitor_fd);
    reap(&janitor);
    s->janitor = 0;
}
void supervise_abort(struct supervisor *s)
{
    if (s->state && !s->detached && !s->keep)
        state_remove(s->state);
    s->state = nullptr;
    kill_child(&s->sentry);
    kill_child(&s->gofer);
    reap(&s->sentry);
    reap(&s->gofer);
    end_janitor(s);
}

// The container is not wanted any more.
static void end_container(struct supervisor *s)
{
    struct ctl_msg m = {.kind = CTL_KILL_ALL, .value = SIGKILL};
    if (!s->member)
        kill_child(&s->sentry);
    else if (s->sentry.control >= 0 && !s->ending &&
             fd_send(s->sentry.control, &m, sizeof(m), nullptr, 0, MSG_DONTWAIT) == sizeof(m))
        s->ending = true;
}

static int confine_self(bool debug, struct err *e)
{
    int err;
    if ((err = confine_no_new_privs()) || (err = geteuid() == 0 ? confine_caps(0) : 0) ||
        (err = confine_not_dumpable()) || (err = chdir("/") < 0 ? -errno : 0) ||
        (err = hostcalls_install(TABLE_SUPERVISOR, debug, false)))
        return err_errno(e, err, "confinement of the supervisor");
    return 0;
}

static void forward_signals(struct supervisor *s)
{
    struct signalfd_siginfo si;
    while (host_call(__NR_read, s->sigfd, &si, sizeof(si)) == sizeof(si)) {
        struct ctl_msg m = {.kind = CTL_SIGNAL, .value = (int)si.ssi_signo};
        if (si.ssi_signo == SIGWINCH)
            m.kind = CTL_WINCH;
        // A Sentry that does not read any more is not to hang us.
        if (fd_send(s->sentry.control, &m, sizeof(m), nullptr, 0, MSG_DONTWAIT) < 0)
            return;
    }
}

struct outcome {
    bool failed, exited;
    int status;     // of CTL_FAILED: exit status; of CTL_EXITED: wait status
    char text[1024];
};
static void on_started(struct supervisor *s)
{
    struct ctl_msg m = {.kind = CTL_STARTED};
    if (s->status != CONTAINER_CREATING)
        return;
    s->status = s->hold ? CONTAINER_CREATED : CONTAINER_RUNNING;
    if (s->unwanted)
        end_container(s); // before, a member had nothing to end
    if (s->notify < 0)
        return;
    if (fd_send(s->notify, &m, sizeof(m), nullptr, 0, MSG_DONTWAIT) < 0)
        end_container(s); // nobody would ever know of this container
    else if (s->detached)
        return; // nor if the command is killed before it has written the pid file
    host_call(__NR_close, s->notify);
    s->notify = -1;
}
// The command that waits for the start says that it is done, or has been killed.
static void on_notify(struct supervisor *s)
{
    struct ctl_msg m;
    long r = s->status == CONTAINER_CREATING
                 ? 0
                 : fd_recv(s->notify, &m, sizeof(m), nullptr, nullptr, MSG_DONTWAIT);
    if (r == -EAGAIN || r == -EINTR)
        return;
    if (r != sizeof(m) || m.kind != CTL_GO)
        end_container(s);
    if (s->status == CONTAINER_CREATING) {
        s->unwanted = true;
        s->ending = false;
    }
    host_call(__NR_close, s->notify);
    s->notify = -1;
}

// Reads what c has said so far, more than a socket holds of it never at once: a Sentry that talks
// without end is not to keep us from those who want to kill it. False at the end of its socket.
static bool receive(struct supervisor *s, struct supervised *c, struct outcome *o)
{
    for (int i = 0; i < 1024; i++) {
        struct ctl_msg m;
        int n = 0;
        long r = fd_recv(c->control, &m, sizeof(m), nullptr, &n, MSG_DONTWAIT);
        if (r == -EAGAIN)
            return true;
        if (r == -EINTR)
            continue;
        if (r != sizeof(m))
            return false;
        m.text[sizeof(m.text) - 1] = 0;
        if (m.kind == CTL_FAILED && !o->failed) {
            o->failed = true;
            o->status = m.value;
            memcpy(o->text, m.text, sizeof(o->text));
        } else if (m.kind == CTL_EXITED && !m.token && !o->exited) {
            o->exited = true;
            o->status = m.value;
        } else if (c == &s->sentry && m.kind == CTL_STARTED) {
            on_started(s);
        } else if (c == &s->sentry && m.kind == CTL_STATE && s->status != CONTAINER_CREATING) {
            if (m.value == CONTAINER_RUNNING || m.value == CONTAINER_PAUSED)
                s->status = (enum container_status)m.value;
        } else if (c == &s->sentry && (m.kind == CTL_REPLY || m.kind == CTL_EXITED)) {
            client_answer(s, &m);
        }
    }
    return true;
}

static int shell_status(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

static int conclude(const struct supervisor *s, const struct outcome *sentry,
                    const struct outcome *gofer, int wait_status, struct err *e)
{
    if (sentry->exited && !gofer->exited)
        return shell_status(sentry->status);
    // The Gofer's reason comes first: the Sentry only sees its socket end.
    const struct outcome *why = gofer->failed ? gofer : sentry;
    if (gofer->exited) {
        int st = gofer->status;
        if (WIFSIGNALED(st))
            err_set(e, -EIO, "the file server was killed by signal %d (%s), and the container with it",
                    WTERMSIG(st), strsignal(WTERMSIG(st)));
        else
            err_set(e, -EIO, "the file server ended with status %d, and the container with it",
                    WEXITSTATUS(st));
        return 1;
    }
    if (why->failed) {
        err_set(e, -EIO, "%s", why->text);
        return why->status & 0xff ? why->status & 0xff : 1;
    }
    if (s->member) {
        err_set(e, -EIO, "the sandbox has ended, and the container with it");
        return 128 + SIGKILL;
    }
    int status = shell_status(wait_status);
    if (WIFSIGNALED(wait_status))
        err_set(e, -EIO, "the Sentry was killed by signal %d (%s)", WTERMSIG(wait_status),
                strsignal(WTERMSIG(wait_status)));
    else
        err_set(e, -EIO, "the Sentry ended with status %d", status);
    return status ? status : 1;
}

// p[5]: the control socket; p[6]: who waits for the start; then the connections.
constexpr int POLL_CLIENTS = 7;
static void serve_requests(struct supervisor *s, const struct pollfd *p)
{
    for (int i = 0; i < SUPERVISOR_CLIENTS; i++)
        if (p[POLL_CLIENTS + i].revents && s->clients[i].fd == p[POLL_CLIENTS + i].fd)
            client_serve(s, &s->clients[i]);
    if (p[5].revents)
        client_accept(s);
    if (p[6].revents && s->notify >= 0)
        on_notify(s);
}

int supervise_run(struct supervisor *s, struct err *e)
{
    struct outcome sentry = {}, gofer = {};
    if ((s->state && state_listen(s->state, e)) || confine_self(s->debug, e)) {
        supervise_abort(s);
        return 1;
    }
    struct pollfd p[POLL_CLIENTS + SUPERVISOR_CLIENTS] = {
        {.fd = s->sentry.pidfd, .events = POLLIN},
        {.fd = s->sentry.control, .events = POLLIN},
        {.fd = s->gofer.control, .events = POLLIN},
        {.fd = s->sigfd, .events = POLLIN},
        {.fd = s->gofer.pidfd, .events = POLLIN},
        {.fd = s->state ? s->state->listener : -1, .events = POLLIN},
    };
    for (;;) {
        p[6] = (struct pollfd){.fd = s->notify, .events = POLLIN};
        for (int i = 0; i < SUPERVISOR_CLIENTS; i++)
            p[POLL_CLIENTS + i] = (struct pollfd){.fd = s->clients[i].fd, .events = POLLIN};
        long r = host_call(__NR_poll, p, ARRAY_LEN(p), -1);
        if (r < 0 && r != -EINTR)
            break;
        if (r <= 0)
            continue;
        if (p[1].revents && !receive(s, &s->sentry, &sentry))
            p[1].fd = -1;
        if (p[2].revents && !receive(s, &s->gofer, &gofer))
            p[2].fd = -1;
        if (p[3].revents)
            forward_signals(s);
        if (p[0].revents && p[1].fd < 0)
            break; // dead, and everything that it said is read
        if (s->member && (p[1].fd < 0 || sentry.exited || sentry.failed))
            break;
        if (p[4].revents && p[1].fd >= 0 && !receive(s, &s->sentry, &sentry))
            p[1].fd = -1; // what it said before its end comes first
        if (p[4].revents) { // without its files the container is lost, unless the Sentry hung up
            gofer.status = reap(&s->gofer);
            gofer.exited = !gofer.failed && gofer.status != 0 && !sentry.exited;
            p[4].fd = -1;
        }
        if (sentry.failed || gofer.failed || gofer.exited)
            end_container(s);
        serve_requests(s, p);
    }
    int status = reap(&s->sentry);
    if (p[2].fd >= 0 && !receive(s, &s->gofer, &gofer))
        p[2].fd = -1;
    kill_child(&s->gofer);
    reap(&s->gofer);
    end_janitor(s);
    if (s->tty >= 0)
        host_call(__NR_ioctl, s->tty, TCSETSW, s->tty_modes);
    status = conclude(s, &sentry, &gofer, status, e);
    if (s->state)
        state_exit_status(s->state, status);
    clients_end(s, status);
    if (s->state && !s->detached && !s->keep)
        state_remove(s->state);
    return status;
}
