// SPDX-License-Identifier: Apache-2.0
// Requests to supervisors, see client.h.
#include "cmd/client.h"
#include "cmd/cgroups.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static int send_message(int sock, const struct ctl_msg *m, const int *fds, int nfds)
{
    long r;
    do
        r = fd_send(sock, m, sizeof(*m), fds, nfds, 0);
    while (r == -EINTR);
    return r < 0 ? -ECONNRESET : 0;
}
int control_send(int sock, enum ctl_kind kind, int value, const int *fds, int nfds)
{
    struct ctl_msg m = {.kind = kind, .value = value};
    return send_message(sock, &m, fds, nfds);
}

int control_receive(int sock, struct ctl_msg *m)
{
    int n = 0;
    long r = fd_recv(sock, m, sizeof(*m), nullptr, &n, 0);
    if (r == -EINTR)
        return -EINTR;
    if (r != sizeof(*m))
        return -ECONNRESET;
    m->text[sizeof(m->text) - 1] = 0;
    return 0;
}

const char *container_status_name(enum container_status s)
{
    static const char *const names[] = {"creating", "created", "running", "paused", "stopped"};
    return s >= 0 && (size_t)s < ARRAY_LEN(names) ? names[s] : "unknown";
}

constexpr int patience_ms = 200;
// A supervisor answers at once. One in a cgroup that somebody else has frozen never does, and looks like
// any other that sleeps.
constexpr int patience_all_ms = 10'000;
static int ask(int sock, const struct container *c, const struct ctl_msg *what, struct ctl_msg *m)
{
    struct pollfd p = {.fd = sock, .events = POLLIN};
    int err = send_message(sock, what, nullptr, 0);
    for (int waited = 0; !err;) {
        while (poll(&p, 1, patience_ms) == 0)
            if (state_supervisor_stopped(&c->info) || (waited += patience_ms) >= patience_all_ms)
                return -ETIMEDOUT;
        if ((err = control_receive(sock, m)) != -EINTR)
            return err;
        err = 0;
    }
    return err;
}
// For what the Sentry answers.
int container_answer(int sock, struct frozen *f, struct ctl_msg *m)
{
    struct pollfd p = {.fd = sock, .events = POLLIN};
    int err;
    do {
        while (poll(&p, 1, patience_ms) == 0) {
            if (state_supervisor_stopped(&f->c->info))
                return -ETIMEDOUT;
            container_wake(f, f->c, true); // paused after we had looked
        }
        err = control_receive(sock, m);
    } while (err == -EINTR);
    return err;
}
// What can be told of a container whose supervisor does not answer.
static enum container_status status_unasked(const struct container *c)
{
    static struct cgroup cg;
    return cgroups_of(c->root, c->info.id, &cg) && cgroup_frozen(&cg) ? CONTAINER_PAUSED
                                                                     : CONTAINER_RUNNING;
}

int container_look(int root, const char *id, struct container *c, struct err *e)
{
    struct ctl_msg m;
    int err, sock;
    c->root = root;
    for (;;) {
        if ((err = state_read(root, id, &c->info, e)) != 0)
            return err;
        c->status = CONTAINER_STOPPED;
        if (!c->info.alive)
            return 0;
        if (state_supervisor_stopped(&c->info)) {
            c->status = status_unasked(c);
            return 0;
        }
        sock = state_connect(root, id, &c->info, e);
        if (sock != -ESTALE)
            break;
        state_info_free(&c->info); // deleted, and perhaps made anew, between the two
    }
    if (sock == -ECONNREFUSED) { // ending just now, or not begun: its hooks run
        state_info_free(&c->info);
        err = state_read(root, id, &c->info, e);
        if (!err && c->info.alive && c->info.exit_status < 0)
            c->status = CONTAINER_CREATING;
        return err;
    }
    if (sock < 0)
        return sock;
    // No answer: it has come to its end between the two.
    const struct ctl_msg what = {.kind = CTL_STATE};
    err = ask(sock, c, &what, &m);
    if (!err && m.kind == CTL_REPLY)
        c->status = (enum container_status)m.value;
    else if (err == -ETIMEDOUT)
        c->status = status_unasked(c);
    close(sock);
    return 0;
}

int container_find(struct globals *g, const char *id, struct container *c, struct err *e)
{
    int root = state_open_root(g->launch.state_root, e);
    return root < 0 ? root : container_look(root, id, c, e);
}

void container_wake(struct frozen *f, const struct container *c, bool look)
{
    struct err ignored = {};
    f->c = c;
    if (!look && c->status != CONTAINER_PAUSED)
        return;
    f->frozen |= cgroups_of(c->root, c->info.id, &f->cgroup) && cgroup_frozen(&f->cgroup) &&
                 cgroup_freeze(&f->cgroup, false, &ignored) == 0;
}
void container_sleep(struct frozen *f)
{
    struct container now;
    struct err ignored = {};
    if (!f->frozen || container_look(f->c->root, f->c->info.id, &now, &ignored))
        return;
    // Resumed meanwhile, or ended: then it must not be frozen again.
    if (now.status == CONTAINER_PAUSED)
        (void)!cgroup_freeze(&f->cgroup, true, &ignored);
    state_info_free(&now.info);
}

bool container_unreachable(const struct container *c, struct err *e)
{
    if (!state_supervisor_stopped(&c->info))
        return false;
    err_set(e, 1, "the supervisor of the container (process %d) is stopped", (int)c->info.pid);
    return true;
}

// The supervisor itself, by SIGKILL: Sentry and Gofer die with it.
static int end_by_force(const struct container *c)
{
    int fd = state_pidfd(&c->info);
    if (fd < 0)
        return fd;
    int err = (int)host_call(__NR_pidfd_send_signal, fd, SIGKILL, 0, 0);
    close(fd);
    return err;
}
static int request(const struct container *c, struct ctl_msg *send, struct err *e)
{
    static struct frozen frozen;
    frozen.frozen = false;
    struct ctl_msg m;
    bool deadly = (send->kind == CTL_KILL || send->kind == CTL_KILL_ALL) && send->value == SIGKILL;
    if (container_unreachable(c, e)) {
        if (!deadly || end_by_force(c))
            return 1;
        *e = (struct err){};
        return 0;
    }
    int sock = state_connect(c->root, c->info.id, &c->info, e);
    if (sock < 0)
        return err_set(e, 1, "container not running");
    container_wake(&frozen, c, false);
    int err = send_message(sock, send, nullptr, 0);
    if (!err)
        err = container_answer(sock, &frozen, &m);
    close(sock);
    if (!deadly) // frozen processes do not die
        container_sleep(&frozen);
    if (err == -ETIMEDOUT && deadly && end_by_force(c) == 0)
        return 0;
    if (err || m.kind != CTL_REPLY)
        return err_set(e, 1, err == -ETIMEDOUT ? "the supervisor of the container is stopped"
                                               : "container not running");
    if (m.value == 0)
        return 0;
    err_set(e, 1, "%s", m.text);
    return m.value > 0 && m.value < 256 ? m.value : 1;
}

int container_request(const struct container *c, enum ctl_kind kind, int value, struct err *e)
{
    struct ctl_msg m = {.kind = kind, .value = value};
    return request(c, &m, e);
}
int container_tell(const struct container *c, enum ctl_kind kind, const void *data, size_t n,
                   struct err *e)
{
    struct ctl_msg m = {.kind = kind};
    if (n >= sizeof(m.text))
        return err_set(e, 1, "message too long");
    memcpy(m.text, data, n);
    return request(c, &m, e);
}

int signal_parse(const char *s)
{
    char *end;
    long n = strtol(s, &end, 10);
    if (end != s && !*end)
        return n >= 0 && n <= 64 ? (int)n : -1;
    if (strncasecmp(s, "SIG", 3) == 0)
        s += 3;
    for (int i = 1; i < 32; i++) {
        const char *name = sigabbrev_np(i);
        if (name && strcasecmp(name, s) == 0)
            return i;
    }
    if (strncasecmp(s, "RTMIN+", 6) == 0 && (n = strtol(s + 6, &end, 10)) >= 0 && n <= 30 && !*end)
        return 34 + (int)n;
    if (strncasecmp(s, "RTMAX-", 6) == 0 && (n = strtol(s + 6, &end, 10)) >= 0 && n <= 30 && !*end)
        return 64 - (int)n;
    return strcasecmp(s, "RTMIN") == 0 ? 34 : strcasecmp(s, "RTMAX") == 0 ? 64 : -1;
}

const char *only_id(int argc, char **argv, struct err *e)
{
    int i = 1;
    if (opts_parse_anywhere(nullptr, 0, argc, argv, &i, e))
        return nullptr;
    if (i + 1 == argc)
        return argv[i];
    err_set(e, 1, "exactly one argument, the container's id, is needed");
    return nullptr;
}
