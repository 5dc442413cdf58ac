// SPDX-License-Identifier: Apache-2.0
// What the supervisor wants of a running Sentry. Messages are taken off the socket by the thread
// that polls; each is worked on by a fiber of its own, because all of it takes sleeping locks.
#include "abi/errno.h"
#include "base/slab.h"
#include "cmd/boot_task.h"
#include "fs/hostfile.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

constexpr int REQUEST_FDS = 4;
struct request {
    struct ctl_msg m;
    int fds[REQUEST_FDS], nfds;
};
SLAB_DEFINE(request_slab, struct request);
static struct hostpoll control;

static void signal_first(int sig)
{
    siginfo_t si;
    siginfo_kernel(&si, sig);
    si.si_code = SI_USER;
    signal_send_group(boot_tasks.first->group, &si);
}

// Before `start` there is nobody to take a signal; the container ends as its program would.
static bool ends_held(int sig)
{
    return __atomic_load_n(&boot_tasks.held, __ATOMIC_ACQUIRE) && sig != SIGCHLD &&
           sig != SIGCONT && sig != SIGURG && sig != SIGWINCH && sig != SIGSTOP &&
           sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU;
}

static void do_signal(int sig, bool everybody)
{
    if (ends_held(sig)) {
        ctl_send(CTL_EXITED, sig, nullptr);
        for (;;)
            host_call(__NR_exit_group, 0);
    }
    if (sig == SIGKILL)
        task_freeze_all(boot_tasks.first, false);
    if (everybody)
        task_signal_all(boot_tasks.first, sig);
    else
        signal_first(sig);
}

static void do_terminal_signal(int sig)
{
    bool terminal = sig == SIGINT || sig == SIGQUIT || sig == SIGTSTP || sig == SIGWINCH;
    if (!(terminal && hostfile_signal_foreground(sig)) && sig != SIGWINCH)
        do_signal(sig, false);
}

static struct spec_process *read_process(int fd)
{
    struct stat st;
    constexpr int64_t max = 16 << 20;
    if (host_call(__NR_fstat, fd, &st) < 0 || st.st_size <= 0 || st.st_size > max)
        return nullptr;
    size_t n = (size_t)st.st_size;
    uint8_t *buf = mem_alloc(n);
    struct spec_process *p = mem_alloc(sizeof(*p));
    bool ok = buf && p;
    for (size_t done = 0; ok && done < n;) {
        struct iovec v = {buf + done, n - done};
        long r = host_call(__NR_preadv2, fd, &v, 1, done, 0, 0);
        ok = r > 0;
        done += ok ? (size_t)r : 0;
    }
    if (ok) {
        struct wire w = {.in = span_of(buf, n)};
        wire_process(&w, p);
        ok = !w.bad && span_ok(&w.in) && w.in.n == 0 && p->args.n > 0 && p->cwd && !p->user;
    }
    mem_free(buf);
    if (ok)
        return p;
    mem_free(p);
    return nullptr;
}

static void do_exec(struct request *q)
{
    char text[900] = "malformed request";
    int next = 1, status = 1;
    struct exec_request r = {.token = q->m.token, .stdio = {-1, -1, -1}};
    for (int i = 0; i < 3; i++)
        if ((q->m.value & 1 << i) && next < q->nfds) {
            r.stdio[i] = q->fds[next];
            q->fds[next++] = -1;
        }
    r.process = q->nfds > 0 ? read_process(q->fds[0]) : nullptr;
    if (r.process) {
        status = boot_exec(&r, text, sizeof(text));
        spec_process_free(r.process);
        mem_free(r.process);
    }
    for (int i = 0; i < 3; i++)
        if (r.stdio[i] >= 0)
            host_call(__NR_close, r.stdio[i]);
    if (status)
        ctl_reply(CTL_REPLY, q->m.token, status, text);
}

static void do_ps(struct request *q)
{
    struct strbuf out = {};
    task_list_all(boot_tasks.first, &out);
    struct iovec v = {out.p, out.len};
    bool ok = !out.bad && q->nfds > 0 &&
              host_call(__NR_pwritev2, q->fds[0], &v, 1, 0, 0, 0) == (long)out.len;
    strbuf_free(&out);
    ctl_reply(CTL_REPLY, q->m.token, ok ? 0 : 1, ok ? nullptr : "the list cannot be written");
}

static void work(struct request *q)
{
    const struct ctl_msg *m = &q->m;
    bool sig_ok = m->value >= 1 && m->value <= NSIG_MAX;
    switch (m->kind) {
    case CTL_SIGNAL:
    case CTL_WINCH:
        if (sig_ok)
            do_terminal_signal(m->value);
        return;
    case CTL_START:
        if (!__atomic_exchange_n(&boot_tasks.held, false, __ATOMIC_ACQ_REL)) {
            ctl_reply(CTL_REPLY, m->token, 1, "cannot start an already running container");
            return;
        }
        ctl_send(CTL_STATE, CONTAINER_RUNNING, nullptr);
        ctl_reply(CTL_REPLY, m->token, 0, nullptr);
        task_start_held(boot_tasks.first);
        return;
    case CTL_KILL:
    case CTL_KILL_ALL:
        ctl_reply(CTL_REPLY, m->token, sig_ok ? 0 : 1, sig_ok ? nullptr : "invalid signal");
        if (sig_ok)
            do_signal(m->value, m->kind == CTL_KILL_ALL);
        return;
    case CTL_EXEC:
        do_exec(q);
        return;
    case CTL_EXEC_SIGNAL:
    case CTL_EXEC_WINCH:
        if (sig_ok)
            boot_exec_signal(m->token, m->value);
        return;
    case CTL_HANGUP:
        boot_exec_hangup(m->token);
        return;
    case CTL_PAUSE:
    case CTL_RESUME:
        task_freeze_all(boot_tasks.first, m->kind == CTL_PAUSE);
        ctl_send(CTL_STATE, m->kind == CTL_PAUSE ? CONTAINER_PAUSED : CONTAINER_RUNNING, nullptr);
        ctl_reply(CTL_REPLY, m->token, 0, nullptr);
        return;
    case CTL_PS:
        do_ps(q);
        return;
    default:
        return;
    }
}

static void request_end(struct request *q)
{
    for (int i = 0; i < q->nfds; i++)
        if (q->fds[i] >= 0)
            host_call(__NR_close, q->fds[i]);
    slab_free(&request_slab, q);
}
static void request_fiber(void *arg)
{
    work(arg);
    request_end(arg);
    fiber_exit(nullptr, nullptr);
}

static void on_control(struct hostpoll *hp, uint32_t events)
{
    (void)events;
    for (;;) {
        struct request *q = slab_alloc(&request_slab);
        if (!q)
            return; // the next event tries again
        q->nfds = REQUEST_FDS;
        long r = fd_recv(hp->fd, &q->m, sizeof(q->m), q->fds, &q->nfds, MSG_DONTWAIT);
        if (r == -EAGAIN || r == -EINTR) {
            q->nfds = 0;
            request_end(q);
            return;
        }
        if (r != sizeof(q->m)) { // the supervisor is gone: nobody wants this container any more
            for (;;)
                host_call(__NR_exit_group, 1);
        }
        struct fiber *f = fiber_new(request_fiber, q, nullptr);
        if (f) // sending takes sleeping locks, so it gets a fiber
            fiber_start(f);
        else
            request_end(q);
    }
}

void boot_control_open(void)
{
    int err = hostpoll_add(&control, BOOT_FD_CONTROL, EPOLLIN | EPOLLRDHUP, on_control);
    if (err)
        boot_fail(1, "control socket: %s", strerror(-err));
    on_control(&control, EPOLLIN);
}
