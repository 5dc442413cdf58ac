// SPDX-License-Identifier: Apache-2.0
// What the processes that stand for containers outside want of a running Sentry: the supervisor,
// and one for each container that has joined. Messages are taken off the sockets by the thread that
// polls; each is worked on by a fiber of its own, because all of it takes sleeping locks.
#include "abi/errno.h"
#include "base/slab.h"
#include "cmd/boot_task.h"
#include "fs/tty.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include "kern/limits.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

constexpr int REQUEST_FDS = 6 + PRESERVE_MAX; // of CTL_JOIN
struct request {
    struct boot_container *b; // ref
    bool gone;                // no message: the end of the socket
    struct ctl_msg m;
    int fds[REQUEST_FDS], nfds;
};
SLAB_DEFINE(request_slab, struct request);

// Before `start` there is nobody to take a signal; the container ends as its program would.
static bool ends_held(int sig)
{
    return sig != SIGCHLD && sig != SIGCONT && sig != SIGURG && sig != SIGWINCH &&
           sig != SIGSTOP && sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU;
}

void boot_signal(struct boot_container *b, int sig, bool everybody)
{
    siginfo_t si;
    siginfo_kernel(&si, sig);
    si.si_code = SI_USER;
    if (ends_held(sig) && __atomic_exchange_n(&b->held, false, __ATOMIC_ACQ_REL)) {
        task_end_held(b->first, sig);
        return;
    }
    if (sig == SIGKILL && __atomic_load_n(&b->first->group->container->frozen, __ATOMIC_SEQ_CST)) {
        task_freeze_all(b->first, false);
        ctl_tell(b->fd, CTL_STATE, 0, CONTAINER_RUNNING, nullptr); // `pause` is not to freeze it now
    }
    if (everybody)
        task_signal_all(b->first, sig);
    else
        signal_send_group(b->first->group, &si);
}

static void do_terminal_signal(struct boot_container *b, int sig)
{
    bool keys = sig == SIGINT || sig == SIGQUIT || sig == SIGTSTP || sig == SIGWINCH;
    struct tty_ctl *tty = b->terminal ? tty_of_file(b->terminal) : nullptr;
    if (keys && tty && READ_SHARED(tty->fg))
        tty_signal_foreground(tty, sig);
    else if (sig != SIGWINCH)
        boot_signal(b, sig, false);
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
        ok = !w.bad && span_ok(&w.in) && w.in.n == 0 && p->args.n > 0 && p->cwd;
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
    if (next < q->nfds) { // the rest is for 3 and above; what is not taken is closed with the request
        r.more = q->fds + next;
        r.nmore = q->nfds - next;
    }
    if (r.process) {
        status = boot_exec(q->b, &r, text, sizeof(text));
        spec_process_free(r.process);
        mem_free(r.process);
    }
    for (int i = 0; i < 3; i++)
        if (r.stdio[i] >= 0)
            host_call(__NR_close, r.stdio[i]);
    if (status)
        ctl_tell(q->b->fd, CTL_REPLY, q->m.token, status, text);
}

static void do_ps(struct request *q)
{
    struct strbuf out = {};
    task_list_all(q->b->first, &out);
    struct iovec v = {out.p, out.len};
    bool ok = !out.bad && q->nfds > 0 &&
              host_call(__NR_pwritev2, q->fds[0], &v, 1, 0, 0, 0) == (long)out.len;
    strbuf_free(&out);
    ctl_tell(q->b->fd, CTL_REPLY, q->m.token, ok ? 0 : 1, ok ? nullptr : "the list cannot be written");
}

static void do_start(struct request *q)
{
    struct boot_container *b = q->b;
    if (!__atomic_exchange_n(&b->held, false, __ATOMIC_ACQ_REL)) {
        ctl_tell(b->fd, CTL_REPLY, q->m.token, 1, "cannot start an already running container");
        return;
    }
    char text[900];
    if (boot_hooks_run(b, text, sizeof(text))) {
        ctl_tell(b->fd, CTL_REPLY, q->m.token, 1, text);
        task_end_held(b->first, SIGKILL);
        return;
    }
    ctl_tell(b->fd, CTL_STATE, 0, CONTAINER_RUNNING, nullptr);
    ctl_tell(b->fd, CTL_REPLY, q->m.token, 0, nullptr);
    task_start_held(b->first);
}

static void do_freeze(struct request *q, bool freeze)
{
    task_freeze_all(q->b->first, freeze);
    ctl_tell(q->b->fd, CTL_STATE, 0, freeze ? CONTAINER_PAUSED : CONTAINER_RUNNING, nullptr);
    ctl_tell(q->b->fd, CTL_REPLY, q->m.token, 0, nullptr);
}

// --- limits -----------------------------------------------------------------------------------------
static uint32_t host_cpus;   // without limits
static uint64_t host_memory;
static uint32_t set_machine_limits(const struct cgroup_view *v)
{
    WRITE_SHARED(machine.ncpus, (int)cgroup_view_cpus(v, host_cpus));
    WRITE_SHARED(machine.mem_total, MIN(host_memory, v->memory_max));
    machine_set_view(v);
    return MAX(cgroup_view_headroom(v, host_cpus), 1u); // less than one CPU is none to poll on
}
uint32_t boot_set_limits(const struct boot_config *c)
{
    host_cpus = c->host_cpus;
    host_memory = c->host_memory;
    return set_machine_limits(&c->view);
}

// `update`: the host's limits have changed already; the guest hears of it. The machine is the
// sandbox's: of a container that joined it, the number of tasks is its own.
static void do_update(struct request *q)
{
    struct cgroup_view v, old;
    constexpr uint64_t most = 1 << 22;
    static_assert(sizeof(v) < sizeof(q->m.text));
    memcpy(&v, q->m.text, sizeof(v));
    machine_get_view(&old);
    bool limited = v.pids_max < most;
    if (v.pids_max)
        task_set_max(q->b->first, limited ? (int)v.pids_max : 0);
    if (q->b->sandbox) {
        if (v.pids_max)
            WRITE_SHARED(machine.tasks_max, limited ? v.pids_max : most);
        else
            v.pids_max = old.pids_max;
        sched_set_headroom(set_machine_limits(&v));
        boot_machine_changed();
    }
    ctl_tell(q->b->fd, CTL_REPLY, q->m.token, 0, nullptr);
}

static void work(struct request *q)
{
    const struct ctl_msg *m = &q->m;
    bool sig_ok = m->value >= 1 && m->value <= NSIG_MAX;
    switch (m->kind) {
    case CTL_SIGNAL:
    case CTL_WINCH:
        if (sig_ok)
            do_terminal_signal(q->b, m->value);
        return;
    case CTL_START:
        do_start(q);
        return;
    case CTL_KILL:
    case CTL_KILL_ALL:
        ctl_tell(q->b->fd, CTL_REPLY, m->token, sig_ok ? 0 : 1, sig_ok ? nullptr : "invalid signal");
        if (sig_ok)
            boot_signal(q->b, m->value, m->kind == CTL_KILL_ALL);
        return;
    case CTL_EXEC:
        do_exec(q);
        return;
    case CTL_EXEC_SIGNAL:
    case CTL_EXEC_WINCH:
        if (sig_ok)
            boot_exec_signal(q->b, m->token, m->value);
        return;
    case CTL_HANGUP:
        boot_exec_hangup(q->b, m->token);
        return;
    case CTL_PAUSE:
    case CTL_RESUME:
        do_freeze(q, m->kind == CTL_PAUSE);
        return;
    case CTL_JOIN:
        boot_join(q->b, m->token, q->fds, q->nfds, m->value);
        return;
    case CTL_UPDATE:
        do_update(q);
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
    boot_container_put(q->b);
    slab_free(&request_slab, q);
}
static void request_fiber(void *arg)
{
    struct request *q = arg;
    if (q->gone)
        boot_container_abandon(q->b);
    else
        work(q);
    request_end(q);
    fiber_exit(nullptr, nullptr);
}

// Putting a reference may end a container, which sleeps: only the fiber does that. The reference is
// taken last, therefore.
static void request_start(struct boot_container *b, struct request *q)
{
    struct fiber *f = fiber_new(request_fiber, q, nullptr);
    if (f) {
        q->b = boot_container_get(b);
        fiber_start(f);
        return;
    }
    for (int i = 0; i < q->nfds; i++)
        host_call(__NR_close, q->fds[i]);
    slab_free(&request_slab, q);
}

static void on_control(struct hostpoll *hp, uint32_t events)
{
    struct boot_container *b = container_of(hp, struct boot_container, control);
    (void)events;
    for (;;) {
        struct request *q = slab_alloc(&request_slab);
        if (!q)
            return; // the next event tries again
        q->nfds = REQUEST_FDS;
        long r = fd_recv(hp->fd, &q->m, sizeof(q->m), q->fds, &q->nfds, MSG_DONTWAIT);
        if (r == -EAGAIN || r == -EINTR) {
            slab_free(&request_slab, q);
            return;
        }
        if (r != sizeof(q->m)) { // nobody wants this container any more
            if (b->sandbox)
                for (;;)
                    host_call(__NR_exit_group, 1);
            q->nfds = 0;
            q->gone = true;
            request_start(b, q);
            return;
        }
        request_start(b, q);
    }
}

int boot_control_open(struct boot_container *b)
{
    b->listening = true;
    int err = hostpoll_add(&b->control, b->fd, EPOLLIN | EPOLLRDHUP | (uint32_t)EPOLLET, on_control);
    if (err)
        b->listening = false;
    return err;
}
