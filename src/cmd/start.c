// SPDX-License-Identifier: Apache-2.0
// nacre start, pause, resume, wait: one request each.
#include "cmd/cgroups.h"
#include "cmd/client.h"
#include "oci/hooks.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static int simple(struct globals *g, int argc, char **argv, enum ctl_kind kind,
                  const char *stopped, struct container *c, struct err *e)
{
    const char *id = only_id(argc, argv, e);
    if (!id || container_find(g, id, c, e))
        return 1;
    if (c->status == CONTAINER_STOPPED)
        return err_set(e, 1, "%s", stopped);
    return container_request(c, kind, 0, e);
}

static int start_run(struct globals *g, int argc, char **argv, struct err *e)
{
    struct container c;
    const char *id = only_id(argc, argv, e);
    if (!id || container_find(g, id, &c, e))
        return 1;
    if (c.status == CONTAINER_STOPPED)
        return err_set(e, 1, "cannot start a container that has stopped");
    int status = container_request(&c, CTL_START, 0, e);
    if (!status)
        hooks_run_all(&c.info.hooks[HOOK_POSTSTART], HOOK_POSTSTART,
                      &(struct hook_context){.id = id, .bundle = c.info.bundle, .pid = c.info.pid,
                                             .annotations = &c.info.annotations, .netns = -1});
    return status;
}
static int pause_run(struct globals *g, int argc, char **argv, struct err *e)
{
    static struct cgroup cg;
    struct container c;
    int status = simple(g, argc, argv, CTL_PAUSE, "container not running", &c, e);
    // The Sentry has stopped its tasks; the host's freezer stops it too, its timers, its threads and
    // the file server.
    if (status || !cgroups_of(c.root, c.info.id, &cg))
        return status;
    struct err ignored = {};
    if (cgroup_freeze(&cg, true, e)) {
        (void)!cgroup_freeze(&cg, false, &ignored);
        (void)!container_request(&c, CTL_RESUME, 0, &ignored);
        return 1;
    }
    // Killed or resumed between the two, and nobody would come to thaw it: what is frozen does not die.
    struct container now;
    if (container_look(c.root, c.info.id, &now, &ignored) || now.status != CONTAINER_PAUSED)
        (void)!cgroup_freeze(&cg, false, &ignored);
    return 0;
}
static int resume_run(struct globals *g, int argc, char **argv, struct err *e)
{
    struct container c;
    return simple(g, argc, argv, CTL_RESUME, "container not paused", &c, e);
}

static int wait_run(struct globals *g, int argc, char **argv, struct err *e)
{
    struct container c;
    struct ctl_msg m = {};
    const char *id = only_id(argc, argv, e);
    if (!id || container_find(g, id, &c, e))
        return 1;
    int status = -1;
    int sock = c.status == CONTAINER_STOPPED ? -ECONNREFUSED : state_connect(c.root, id, &c.info, e);
    if (sock >= 0) {
        int err = control_send(sock, CTL_WAIT, 0, nullptr, 0);
        while (!err && (err = control_receive(sock, &m)) == -EINTR)
            err = 0;
        if (!err && m.kind == CTL_EXITED)
            status = m.value;
        close(sock);
    }
    if (sock == -ESTALE)
        return err_set(e, 1, "container does not exist");
    if (status < 0 && container_look(c.root, id, &c, e))
        return 1; // it was removed meanwhile
    if (status < 0)
        status = c.info.exit_status >= 0 ? c.info.exit_status : 137;
    printf("%d\n", status);
    return 0;
}

const struct command command_start = {
    .name = "start", .args = "ID", .help = "start the program of a created container",
    .run = start_run,
};
const struct command command_pause = {
    .name = "pause", .args = "ID", .help = "stop all processes of a container for a while",
    .run = pause_run,
};
const struct command command_resume = {
    .name = "resume", .args = "ID", .help = "let a paused container go on", .run = resume_run,
};
const struct command command_wait = {
    .name = "wait", .args = "ID",
    .help = "wait for the end of a container and print its exit status", .run = wait_run,
};
