// SPDX-License-Identifier: Apache-2.0
// A container's cgroups between config.json and its processes: made before anything of it runs,
// removed when nothing of it is left. Used by the command line before the supervisor is confined,
// and by the commands on containers that are there.
#pragma once
#include "cmd/cmd.h"
#include "oci/cgroup.h"
#include "oci/state.h"

// What the configuration asks for: located, recorded in the state directory, made, filled in, and
// opened for those who enter (g->launch.cgroup). Nothing is done, and nothing spent, when neither a
// path nor a limit is given. Fills in what the guest will be told.
MUST_CHECK int cgroups_setup(struct globals *g, struct boot_config *c, struct state *s,
                             struct err *e);
// Foreground: a process that waits for our end, however it comes, and then removes the groups. The
// supervisor has no rights to do so, and the hierarchy's root is closed even to root without them.
MUST_CHECK int cgroups_janitor(struct launch_options *o, struct err *e);
// After a failure of the start, by the command that began it.
void cgroups_abandon(struct globals *g);
// By the supervisor (detached) itself, before its children exist.
MUST_CHECK int cgroups_enter_supervisor(const struct launch_options *o, struct err *e);
// Where the kernel does not let us: a supervisor into the scope, by systemd. Before it has children.
MUST_CHECK int cgroups_attach(const struct launch_options *o, pid_t pid, struct err *e);
// Descriptors of the host's figures, for the Sentry; -1 where there is none.
void cgroups_open_figures(const struct launch_options *o, struct boot_config *c, int fds[3]);

// The groups of a container that is there; false: none.
bool cgroups_of(int root, const char *id, struct cgroup *c);
