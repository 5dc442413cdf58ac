// SPDX-License-Identifier: Apache-2.0
// nacre kill, delete.
#include "cmd/client.h"
#include "host/raw.h"
#include "oci/hooks.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int kill_run(struct globals *g, int argc, char **argv, struct err *e)
{
    struct container c;
    bool all = false;
    const struct opt opts[] = {{"all", OPT_BOOL, &all}, {"a", OPT_BOOL, &all}};
    int i = 1;
    if (opts_parse_anywhere(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    if (i >= argc || argc > i + 2)
        return err_set(e, 1, "a container's id and a signal are needed");
    const char *name = i + 1 < argc ? argv[i + 1] : "SIGTERM";
    int sig = signal_parse(name);
    if (sig < 0)
        return err_set(e, 1, "unknown signal \"%s\"", name);
    if (container_find(g, argv[i], &c, e))
        return 1;
    if (c.status == CONTAINER_STOPPED)
        return all ? 0 : err_set(e, 1, "container not running");
    if (sig == 0)
        return 0;
    return container_request(&c, all ? CTL_KILL_ALL : CTL_KILL, sig, e);
}

// Until the supervisor has let go of its directory. 0, or -EBUSY after that time.
static int remove_when_dead(const struct container *c, int ms, struct err *e)
{
    for (int waited = 0;; waited += 10) {
        int err = state_delete(c->root, c->info.id, &c->info, e);
        if (err != -EBUSY || waited >= ms)
            return err;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, nullptr);
    }
}

static int force_end(const struct container *c, struct err *e)
{
    struct err ignored = {};
    constexpr int patience_ms = 5000;
    if (container_request(c, CTL_KILL, SIGKILL, &ignored) == 0 || !c->info.alive) {
        int err = remove_when_dead(c, patience_ms, e);
        if (err != -EBUSY)
            return err;
    }
    // It does not obey. Sentry and Gofer die with the supervisor.
    int fd = state_pidfd(&c->info);
    if (fd >= 0) {
        host_call(__NR_pidfd_send_signal, fd, SIGKILL, 0, 0);
        close(fd);
    }
    return remove_when_dead(c, 2 * patience_ms, e);
}

static int delete_one(struct globals *g, const char *id, bool force, struct err *e)
{
    struct container c;
    int err = container_find(g, id, &c, e);
    if (err == -ENOENT && force) {
        e->text[0] = 0;
        int root = state_open_root(g->launch.state_root, e);
        struct err ignored = {}; // what a `create` that was killed left, at most
        return root >= 0 && state_delete(root, id, nullptr, &ignored) == -EBUSY
                   ? err_set(e, 1, "cannot delete container %s that is being created", id)
                   : 0;
    }
    if (err)
        return 1;
    if (c.status == CONTAINER_STOPPED)
        err = remove_when_dead(&c, 10000, e);
    else if (force || c.status == CONTAINER_CREATED)
        err = force_end(&c, e);
    else
        return err_set(e, 1, "cannot delete container %s that is not stopped: %s", id,
                       container_status_name(c.status));
    if (err == -EBUSY)
        return err_set(e, 1, "container %s does not end", id);
    if (!err)
        hooks_run_all(&c.info.hooks[HOOK_POSTSTOP], HOOK_POSTSTOP,
                      &(struct hook_context){.id = id, .bundle = c.info.bundle, .netns = -1,
                                             .annotations = &c.info.annotations});
    // Somebody else has removed it in the same moment: with --force all the same.
    if (err == -ENOENT && force)
        e->text[0] = 0;
    return err && !(err == -ENOENT && force) ? 1 : 0;
}

static int delete_run(struct globals *g, int argc, char **argv, struct err *e)
{
    bool force = false;
    const struct opt opts[] = {{"force", OPT_BOOL, &force}, {"f", OPT_BOOL, &force}};
    int i = 1;
    if (opts_parse_anywhere(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    if (i + 1 != argc)
        return err_set(e, 1, "exactly one argument, the container's id, is needed");
    return delete_one(g, argv[i], force, e);
}

const struct command command_kill = {
    .name = "kill", .args = "[--all] ID [SIGNAL]",
    .help = "send a signal to a container (default SIGTERM)",
    .flags = "  --all   to all its processes, not only the first\n", .run = kill_run,
};
const struct command command_delete = {
    .name = "delete", .args = "[--force] ID", .help = "remove a container that has stopped",
    .flags = "  --force   kill it first if it runs\n", .run = delete_run,
};
