// SPDX-License-Identifier: Apache-2.0
// Runs hooks, see hooks.h.
#include "oci/hooks.h"
#include "base/log.h"
#include "base/slab.h"
#include "oci/reader.h"
#include "oci/state.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// --- what a hook hears --------------------------------------------------------------------------
char *hook_state(enum hook_kind kind, const struct hook_context *c)
{
    static const char *const status[HOOK_KINDS] = {"creating", "creating", "creating",
                                                   "created", "running", "stopped"};
    struct json_object *o = json_object_new_object(), *notes = json_object_new_object();
    json_object_object_add(o, "ociVersion", json_object_new_string(STATE_OCI_VERSION));
    json_object_object_add(o, "id", json_object_new_string(c->id));
    json_object_object_add(o, "status", json_object_new_string(status[kind]));
    if (c->pid)
        json_object_object_add(o, "pid", json_object_new_int(c->pid));
    json_object_object_add(o, "bundle", json_object_new_string(c->bundle));
    for (size_t i = 0; i < c->annotations->n; i++)
        json_object_object_add(notes, c->annotations->v[i].key,
                               json_object_new_string(c->annotations->v[i].value));
    json_object_object_add(o, "annotations", notes);
    const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                             JSON_C_TO_STRING_NOSLASHESCAPE);
    char *copy = text ? mem_strdup(text) : nullptr;
    json_object_put(o);
    return copy;
}

// --- one hook -----------------------------------------------------------------------------------
struct running {
    pid_t pid;
    int pidfd, in, out, err; // our ends: of its standard input, output and error
    const char *state;
    size_t fed, nout, nerr;
    char out_text[300], err_text[300];
};

[[noreturn]] static void child_main(const struct spec_hook *h, const struct hook_context *c,
                                    const int fds[3], int report)
{
    const char **argv = mem_alloc_array(h->args.n + 2, sizeof(*argv));
    const char **envp = mem_alloc_array(h->env.n + 1, sizeof(*envp));
    sigset_t none;
    int err = argv && envp ? 0 : ENOMEM;
    for (size_t i = 0; !err && i < h->args.n; i++)
        argv[i] = h->args.v[i];
    if (!err && h->args.n == 0)
        argv[0] = h->path;
    for (size_t i = 0; !err && i < h->env.n; i++)
        envp[i] = h->env.v[i];
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (!err && (setsid() < 0 || (c->netns >= 0 && setns(c->netns, CLONE_NEWNET) < 0) ||
                 chdir(c->bundle) < 0))
        err = errno;
    umask(022);
    // Above all that follows, so that none covers another: our own 0-2 may have been closed.
    int high[3] = {};
    constexpr int above = 16;
    for (int i = 0; i < 3 && !err; i++)
        if ((high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, above)) < 0)
            err = errno;
    if (!err && (report = fcntl(report, F_DUPFD_CLOEXEC, above)) < 0)
        err = errno;
    for (int i = 0; i < 3 && !err; i++)
        if (dup2(high[i], i) < 0)
            err = errno;
    if (!err && close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
        err = errno;
    if (!err) {
        execve(h->path, (char **)argv, (char **)envp);
        err = errno;
    }
    if (write(report, &err, sizeof(err)) < 0)
        _exit(127);
    _exit(126);
}

static int spawn(struct running *r, const struct spec_hook *h, const struct hook_context *c)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, er[2] = {-1, -1}, report[2] = {-1, -1}, err = 0;
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(er, O_CLOEXEC) < 0 ||
        pipe2(report, O_CLOEXEC) < 0)
        err = -errno;
    if (!err && (r->pid = fork()) == 0)
        child_main(h, c, (int[]){in[0], out[1], er[1]}, report[1]);
    if (!err && r->pid < 0)
        err = -errno;
    int theirs[] = {in[0], out[1], er[1], report[1]};
    for (size_t i = 0; i < ARRAY_LEN(theirs); i++)
        if (theirs[i] >= 0)
            close(theirs[i]);
    r->in = in[1];
    r->out = out[0];
    r->err = er[0];
    int why = 0;
    if (!err && read(report[0], &why, sizeof(why)) == sizeof(why))
        err = -why; // it did not get as far as the program
    if (report[0] >= 0)
        close(report[0]);
    if (!err && (r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0)) < 0)
        err = -errno;
    if (!err && fcntl(r->in, F_SETFL, O_NONBLOCK) < 0)
        err = -errno;
    if (!err)
        return 0;
    if (r->pid > 0) {
        kill(r->pid, SIGKILL);
        while (waitpid(r->pid, nullptr, 0) < 0 && errno == EINTR)
            ;
        r->pid = 0;
    }
    return err;
}

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
static void feed(struct running *r)
{
    size_t left = strlen(r->state) - r->fed;
    ssize_t n = left ? write(r->in, r->state + r->fed, left) : 0;
    if (n > 0)
        r->fed += (size_t)n;
    if ((n < 0 && errno != EAGAIN && errno != EINTR) || r->state[r->fed] == 0)
        close_end(&r->in); // all said, or it does not listen
}
// Keeps the beginning, throws the rest away.
static void drain(int *fd, char *text, size_t cap, size_t *have)
{
    char buf[4096];
    ssize_t n = read(*fd, buf, sizeof(buf));
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0) {
        close_end(fd);
        return;
    }
    size_t room = cap - 1 - *have, take = MIN((size_t)n, room);
    memcpy(text + *have, buf, take);
    *have += take;
    text[*have] = 0;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

// Until its end; what it has said by then is read, what its own children say later is not.
// -ETIMEDOUT: it was killed for its time.
static int follow(struct running *r, uint32_t timeout, int *status)
{
    int64_t end = timeout ? now_ms() + (int64_t)timeout * 1000 : INT64_MAX;
    for (bool dead = false; !dead;) {
        struct pollfd p[] = {{.fd = r->pidfd, .events = POLLIN}, {.fd = r->in, .events = POLLOUT},
                             {.fd = r->out, .events = POLLIN}, {.fd = r->err, .events = POLLIN}};
        int64_t left = timeout ? end - now_ms() : -1;
        if (timeout && left <= 0) {
            kill(-r->pid, SIGKILL); // its session
            kill(r->pid, SIGKILL);
            while (waitpid(r->pid, status, 0) < 0 && errno == EINTR)
                ;
            return -ETIMEDOUT;
        }
        if (poll(p, ARRAY_LEN(p), left < INT32_MAX ? (int)left : INT32_MAX) < 0)
            continue;
        if (p[1].revents)
            feed(r);
        if (p[2].revents)
            drain(&r->out, r->out_text, sizeof(r->out_text), &r->nout);
        if (p[3].revents)
            drain(&r->err, r->err_text, sizeof(r->err_text), &r->nerr);
        dead = p[0].revents && !(p[2].revents & POLLIN) && !(p[3].revents & POLLIN);
    }
    while (waitpid(r->pid, status, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

static int hook_run(const struct spec_hook *h, const struct hook_context *c, const char *state,
                    char *why, size_t n)
{
    static struct running r;
    int status = 0;
    r = (struct running){.pidfd = -1, .in = -1, .out = -1, .err = -1, .state = state};
    void (*old)(int) = signal(SIGPIPE, SIG_IGN);
    int err = spawn(&r, h, c);
    if (err)
        snprintf(why, n, "fork/exec %s: %s", h->path, strerror(-err));
    else if ((err = follow(&r, h->timeout, &status)) == -ETIMEDOUT)
        snprintf(why, n, "hook ran past specified timeout of %u.0s", h->timeout);
    else if (WIFSIGNALED(status))
        snprintf(why, n, "signal: %s, stdout: %s, stderr: %s", strsignal(WTERMSIG(status)),
                 r.out_text, r.err_text);
    else if (status)
        snprintf(why, n, "exit status %d, stdout: %s, stderr: %s", WEXITSTATUS(status), r.out_text,
                 r.err_text);
    signal(SIGPIPE, old);
    close_end(&r.pidfd);
    close_end(&r.in);
    close_end(&r.out);
    close_end(&r.err);
    return err ? err : status ? -EIO : 0;
}

int hooks_run(const struct spec_hooks *hooks, enum hook_kind kind, const struct hook_context *c,
              struct err *e)
{
    char why[800];
    char *state = hooks->n ? hook_state(kind, c) : nullptr;
    if (hooks->n && !state)
        return err_set(e, -ENOMEM, "out of memory");
    int err = 0;
    for (size_t i = 0; i < hooks->n && !err; i++)
        if ((err = hook_run(&hooks->v[i], c, state, why, sizeof(why))) != 0)
            err_set(e, err, "error running %s hook #%zu: %s", hook_kind_name(kind), i, why);
    mem_free(state);
    return err;
}

void hooks_run_all(const struct spec_hooks *hooks, enum hook_kind kind,
                   const struct hook_context *c)
{
    char why[800];
    char *state = hooks->n ? hook_state(kind, c) : nullptr;
    for (size_t i = 0; state && i < hooks->n; i++)
        if (hook_run(&hooks->v[i], c, state, why, sizeof(why)))
            log_warn("%s hook #%zu: %s", hook_kind_name(kind), i, why);
    mem_free(state);
}

// --- the state file -------------------------------------------------------------------------------
static struct json_object *strings(const struct strlist *l)
{
    struct json_object *a = json_object_new_array();
    for (size_t i = 0; i < l->n; i++)
        json_object_array_add(a, json_object_new_string(l->v[i]));
    return a;
}

struct json_object *hooks_to_json(const struct spec_hooks hooks[HOOK_KINDS])
{
    struct json_object *all = json_object_new_object();
    for (int k = 0; k < HOOK_KINDS; k++) {
        if (hooks[k].n == 0)
            continue;
        struct json_object *list = json_object_new_array();
        for (size_t i = 0; i < hooks[k].n; i++) {
            const struct spec_hook *h = &hooks[k].v[i];
            struct json_object *o = json_object_new_object();
            json_object_object_add(o, "path", json_object_new_string(h->path));
            json_object_object_add(o, "args", strings(&h->args));
            json_object_object_add(o, "env", strings(&h->env));
            if (h->timeout)
                json_object_object_add(o, "timeout", json_object_new_int64(h->timeout));
            json_object_array_add(list, o);
        }
        json_object_object_add(all, hook_kind_name((enum hook_kind)k), list);
    }
    return all;
}

int hooks_from_json(struct json_object *o, struct spec_hooks hooks[HOOK_KINDS])
{
    struct err ignored = {};
    return read_hooks((struct place){.v = o, .path = "hooks", .e = &ignored}, hooks);
}
