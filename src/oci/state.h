// SPDX-License-Identifier: Apache-2.0
// The state directory: one folder per container id, 0700, locked for as long as its supervisor
// lives, so that a dead supervisor is known by the lock that nobody holds. Inside: state.json,
// written once, the control socket, and the exit status.
//
// A folder whose state says that it is kept (create, run --detach) stays until `delete`. Any other
// that nobody has locked is what a killed foreground run left: its id can be taken again.
#pragma once
#include "oci/err.h"
#include "oci/spec.h"
#include <sys/types.h>

struct state {
    int root;        // the state root
    int dir;         // ROOT/ID, locked
    int listener;    // control socket
    int exit;        // file for the exit status
    char id[256];
};
constexpr int STATE_SCHEMA = 1;
#define STATE_OCI_VERSION "1.2.0"
struct state_info {
    char id[256];
    char *bundle, *rootfs, *created, *owner;
    struct spec_kvs annotations;
    struct spec_hooks hooks[HOOK_KINDS]; // those that are still to come: poststart, poststop
    pid_t pid;           // the supervisor's
    uint64_t start_time; // its, in clock ticks since boot
    bool keep;
    bool alive;          // the supervisor lives
    int exit_status;     // of one that has ended; -1: it could not say, or goes on
};
// [A-Za-z0-9_+.-]{1,255}, not "." or "..".
MUST_CHECK int state_check_id(const char *id, struct err *e);
// Opens (and makes) the root: a directory of ours that nobody else can write. Then ROOT/ID, which
// must not be in use, and the control socket in it.
MUST_CHECK int state_create(struct state *s, const char *root, const char *id, struct err *e);
// Writes ROOT/ID/state.json by rename: a reader sees all of it or nothing.
MUST_CHECK int state_write(struct state *s, const struct spec *spec, const char *bundle, pid_t pid,
                           bool keep, struct err *e);
// From now on commands can connect; before, they find a container that is being created.
MUST_CHECK int state_listen(struct state *s, struct err *e);
// Host calls: only writes, unlinks, closes (they happen under the supervisor's filter).
void state_exit_status(struct state *s, int status);
void state_remove(struct state *s);

// --- other commands ---
MUST_CHECK int state_open_root(const char *root, struct err *e); // descriptor
// What is known of a container. -ENOENT with "container does not exist".
MUST_CHECK int state_read(int root, const char *id, struct state_info *out, struct err *e);
void state_info_free(struct state_info *i);
// A connection to the supervisor's control socket. -ECONNREFUSED: it is dead. With `who`: to that one's
// supervisor; -ESTALE, without *e, when the id is another container's by now, or nobody's.
MUST_CHECK int state_connect(int root, const char *id, const struct state_info *who, struct err *e);
// Removes what a dead supervisor left. -EBUSY: it lives. With `who`: what that one left; -ENOENT when
// the id is another container's by now.
MUST_CHECK int state_delete(int root, const char *id, const struct state_info *who, struct err *e);
// Somebody has sent it SIGSTOP: it does not answer until SIGCONT.
bool state_supervisor_stopped(const struct state_info *i);
// A descriptor for the supervisor, made sure of by its start time, or -ESRCH.
MUST_CHECK int state_pidfd(const struct state_info *i);
