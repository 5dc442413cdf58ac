// SPDX-License-Identifier: Apache-2.0
// The state directory: one folder per container id, 0700, locked for as long as its supervisor
// lives. A folder that nobody has locked belongs to a supervisor that was killed and is removed when
// its id is wanted again.
#pragma once
#include "oci/err.h"
#include <sys/types.h>

struct state {
    int root;        // the state root
    int dir;         // ROOT/ID, locked
    char id[256];
};
// [A-Za-z0-9_+.-]{1,255}, not "." or "..".
MUST_CHECK int state_check_id(const char *id, struct err *e);
// Opens (and makes) the root: a directory of ours that nobody else can write. Then ROOT/ID, which
// must not be in use.
MUST_CHECK int state_create(struct state *s, const char *root, const char *id, struct err *e);
// Writes ROOT/ID/state.json by rename: a reader sees all of it or the old one.
MUST_CHECK int state_write(struct state *s, const char *bundle, pid_t pid, const char *status,
                           struct err *e);
void state_remove(struct state *s);
