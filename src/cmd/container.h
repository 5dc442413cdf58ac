// SPDX-License-Identifier: Apache-2.0
// What create, run and exec share: bundles, consoles, pid files.
#pragma once
#include "cmd/cmd.h"
#include "oci/state.h"

struct container_args {
    const char *bundle, *console, *pid_file;
    int npreserve;
    bool detach; // the supervisor is a process of its own, and the state stays
    bool keep;   // in the foreground: the state stays, for `delete`
    bool hold;   // the program waits for `start`
};
// Options of create and of run: where the arguments behind them begin, or 0.
int container_options(struct container_args *a, bool run, int argc, char **argv, struct err *e);
// argv[i]: the container's id. The exit status.
int container_run(struct globals *g, struct container_args *a, int argc, char **argv, int i,
                  struct err *e);
// --preserve-fds: the caller's descriptors from 3 on. main() has kept as many open, and no other.
MUST_CHECK int preserve_parse(const char *text, int *n, struct err *e);
void preserve_close(int n);
// Reads BUNDLE/config.json, without effective capabilities meanwhile.
MUST_CHECK int bundle_parse(struct spec *s, const char *bundle, struct err *e);
// Pods: finds the sandbox that c joins by its annotations, and the containers whose namespaces it
// shares; for any other container, refuses namespaces of others. See pod.c.
// The sandbox that a container with these annotations joins, or null.
const char *pod_sandbox(const struct spec_kvs *annotations);
MUST_CHECK int pod_resolve(struct boot_config *c, const char *state_root, struct err *e);
// Puts the process from which all others of a member come, by its number inside, into o's cgroups.
MUST_CHECK int pod_place_zygote(const struct boot_config *c, const struct launch_options *o,
                                int state_root, int inner, struct err *e);
MUST_CHECK int pid_file_write(const char *path, pid_t pid, struct err *e);
// A new host terminal. console_open: its master goes to the socket, its slave comes back.
MUST_CHECK int console_pair(const struct spec_process *p, int *master, int *slave, struct err *e);
MUST_CHECK int console_open(const char *socket_path, const struct spec_process *p, struct err *e);
// Makes it 0-2 and the terminal of this session, which we lead.
MUST_CHECK int console_attach(int slave, struct err *e);
