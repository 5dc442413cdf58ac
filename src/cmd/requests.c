// SPDX-License-Identifier: Apache-2.0
// The supervisor's side of the control socket: which commands may ask, what is answered here, what
// goes on to the Sentry. Runs under the supervisor's filter. Both sides are kept apart: a message
// of the Sentry reaches only the connection whose token it carries, and only as the answer to a
// request of that connection.
#include "cmd/supervise.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

constexpr int REQUEST_FDS = 6 + PRESERVE_MAX;

void clients_init(struct supervisor *s)
{
    for (int i = 0; i < SUPERVISOR_CLIENTS; i++)
        s->clients[i] = (struct client){.fd = -1};
}

static void client_close(struct client *c)
{
    host_call(__NR_close, c->fd);
    *c = (struct client){.fd = -1};
}

// 0 or -errno: -EAGAIN, or its end.
static int send_to_sentry(struct supervisor *s, const struct ctl_msg *m, const int *fds, int n)
{
    // A Sentry that does not read any more is not to hang us.
    long r = fd_send(s->sentry.control, m, sizeof(*m), fds, n, MSG_DONTWAIT);
    return r < 0 ? (int)r : 0;
}

static void reply(struct client *c, uint32_t kind, int value, const char *text)
{
    struct ctl_msg m = {.kind = kind, .value = value};
    if (text)
        snprintf(m.text, sizeof(m.text), "%s", text);
    if (fd_send(c->fd, &m, sizeof(m), nullptr, 0, MSG_DONTWAIT) < 0)
        return; // it will see its end
}

void client_accept(struct supervisor *s)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t len = sizeof(peer);
    long fd = host_call(__NR_accept4, s->state->listener, 0, 0,
                        SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    long r = host_call(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
    struct client *c = nullptr;
    for (int i = 0; i < SUPERVISOR_CLIENTS && !c; i++)
        if (s->clients[i].fd < 0)
            c = &s->clients[i];
    if (r < 0 || len != sizeof(peer) || (peer.uid != s->uid && peer.uid != 0) || !c) {
        host_call(__NR_close, fd);
        return;
    }
    *c = (struct client){.fd = (int)fd, .token = ++s->last_token};
}

// What is wrong with this request now, or null.
static const char *refused(const struct supervisor *s, uint32_t kind, int value)
{
    bool ready = s->status != CONTAINER_CREATING;
    switch (kind) {
    case CTL_START:
        return s->status == CONTAINER_CREATED   ? nullptr
               : s->status == CONTAINER_STOPPED ? "cannot start a container that has stopped"
               : ready ? "cannot start an already running container"
                       : "cannot start a container that is being created";
    case CTL_EXEC:
        if (s->status == CONTAINER_PAUSED && !(value & CTL_EXEC_PAUSED))
            return "cannot exec in a paused container (use --ignore-paused to override)";
        return s->status == CONTAINER_STOPPED ? "cannot exec in a stopped container"
               : ready                        ? nullptr
                                              : "cannot exec in a container that is being created";
    case CTL_JOIN:
        return s->member                   ? "this container is itself in a sandbox of another"
               : s->status == CONTAINER_STOPPED ? "the sandbox has stopped"
               : ready                          ? nullptr
                                                : "the sandbox is being created";
    case CTL_PAUSE:
        return s->status == CONTAINER_RUNNING ? nullptr : "container not running";
    case CTL_RESUME:
        return s->status == CONTAINER_PAUSED ? nullptr : "container not paused";
    default:
        return ready && s->status != CONTAINER_STOPPED ? nullptr : "container not running";
    }
}

static void request(struct supervisor *s, struct client *c, struct ctl_msg *m, const int *fds,
                    int n)
{
    if (m->kind == CTL_STATE) {
        reply(c, CTL_REPLY, (int)s->status, nullptr);
        return;
    }
    if (m->kind == CTL_EXEC_SIGNAL || m->kind == CTL_EXEC_WINCH) {
        m->token = c->token;
        if (c->process)
            (void)send_to_sentry(s, m, nullptr, 0); // as a signal to a process that does not run
        return;
    }
    if (c->kind != 0 || c->process) { // one at a time
        client_close(c);
        return;
    }
    if (m->kind == CTL_WAIT) {
        c->kind = m->kind;
        return;
    }
    if (m->kind < CTL_START || m->kind > CTL_PS) {
        client_close(c);
        return;
    }
    const char *why = refused(s, m->kind, m->value);
    m->token = c->token;
    int err = why ? 0 : send_to_sentry(s, m, fds, n);
    if (err == -EAGAIN)
        why = "the Sentry does not answer";
    else if (err) // it has just ended, which we are about to see
        why = m->kind == CTL_EXEC    ? "cannot exec in a stopped container"
              : m->kind == CTL_START ? "cannot start a container that has stopped"
                                     : "container not running";
    if (why)
        reply(c, CTL_REPLY, 1, why);
    else
        c->kind = m->kind;
}

void client_serve(struct supervisor *s, struct client *c)
{
    struct ctl_msg m;
    int fds[REQUEST_FDS], n = REQUEST_FDS;
    long r = fd_recv(c->fd, &m, sizeof(m), fds, &n, MSG_DONTWAIT);
    if (r == -EAGAIN || r == -EINTR)
        return;
    if (r == sizeof(m)) {
        m.text[sizeof(m.text) - 1] = 0;
        request(s, c, &m, fds, n);
    } else {
        struct ctl_msg gone = {.kind = CTL_HANGUP, .token = c->token};
        if (c->process || c->kind == CTL_EXEC)
            (void)send_to_sentry(s, &gone, nullptr, 0); // its process is killed
        client_close(c);
    }
    for (int i = 0; r >= 0 && i < n; i++)
        host_call(__NR_close, fds[i]);
}

void client_answer(struct supervisor *s, const struct ctl_msg *m)
{
    struct client *c = nullptr;
    for (int i = 0; i < SUPERVISOR_CLIENTS; i++)
        if (s->clients[i].fd >= 0 && s->clients[i].token == m->token)
            c = &s->clients[i];
    if (m->kind == CTL_EXITED) {
        if (c && c->process)
            reply(c, m->kind, m->value, nullptr);
        return;
    }
    if (!c) { // it went before its process was there
        struct ctl_msg gone = {.kind = CTL_HANGUP, .token = m->token};
        (void)send_to_sentry(s, &gone, nullptr, 0);
        return;
    }
    if (c->kind == 0 || c->kind == CTL_WAIT)
        return;
    c->process = c->kind == CTL_EXEC && m->value == 0;
    c->kind = 0;
    reply(c, CTL_REPLY, m->value, m->text);
}

void clients_end(struct supervisor *s, int status)
{
    s->status = CONTAINER_STOPPED;
    for (int i = 0; i < SUPERVISOR_CLIENTS; i++) {
        struct client *c = &s->clients[i];
        if (c->fd < 0)
            continue;
        if (c->kind == CTL_WAIT)
            reply(c, CTL_EXITED, status, nullptr);
        client_close(c);
    }
}
