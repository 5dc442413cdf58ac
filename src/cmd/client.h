// SPDX-License-Identifier: Apache-2.0
// Commands on containers that are there: their state, and requests to their supervisors.
#pragma once
#include "cmd/cmd.h"
#include "oci/cgroup.h"
#include "oci/state.h"

struct container {
    int root;               // state root
    struct state_info info;
    enum container_status status;
};
// A paused container may be frozen by the host, its Sentry with it. To ask it something it is woken
// (its tasks stay stopped: the Sentry keeps them) and put to sleep again if it is still paused.
struct frozen {
    const struct container *c;
    bool frozen;
    struct cgroup cgroup;
};
// `look`: whatever its status was when it was looked up.
void container_wake(struct frozen *f, const struct container *c, bool look);
void container_sleep(struct frozen *f);
// The answer to what was asked of the Sentry, however often somebody freezes it meanwhile. As
// control_receive(); -ETIMEDOUT: the supervisor is stopped.
MUST_CHECK int container_answer(int sock, struct frozen *f, struct ctl_msg *m);
// True, with *e: nobody would answer, its supervisor is stopped (SIGSTOP).
bool container_unreachable(const struct container *c, struct err *e);
// Looks it up and asks its supervisor. 0, or -errno and *e.
MUST_CHECK int container_find(struct globals *g, const char *id, struct container *c,
                              struct err *e);
MUST_CHECK int container_look(int root, const char *id, struct container *c, struct err *e);
const char *container_status_name(enum container_status s);
// One request, one answer. 0; or the exit status, at least 1, with *e.
MUST_CHECK int container_request(const struct container *c, enum ctl_kind kind, int value,
                                 struct err *e);
// With `n` bytes in the message. A container that is frozen is woken for the answer; its tasks stay
// where they are.
MUST_CHECK int container_tell(const struct container *c, enum ctl_kind kind, const void *data,
                              size_t n, struct err *e);
// The same over a connection that stays open. -ECONNRESET: the supervisor is gone.
MUST_CHECK int control_send(int sock, enum ctl_kind kind, int value, const int *fds, int nfds);
MUST_CHECK int control_receive(int sock, struct ctl_msg *m);
// SIGKILL, name with or without SIG, or number (0: only whether it is there); -1: unknown.
int signal_parse(const char *s);
// The only argument of a command without flags; null with *e.
const char *only_id(int argc, char **argv, struct err *e);
