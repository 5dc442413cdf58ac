// SPDX-License-Identifier: Apache-2.0
// Numbers that processes of a sandbox have on the host, for commands that have its /proc: the Sentry
// knows its stubs by the numbers of its own pid namespace only.
#pragma once
#include "base/attr.h"
#include <stddef.h>

struct host_process {
    int pid, ppid, inner; // inner: in the innermost namespace that it is in
};
struct host_processes {
    struct host_process *v; // owned
    size_t n;
};
MUST_CHECK int host_processes_read(struct host_processes *all);
void host_processes_free(struct host_processes *all);
// The host's number of a process of the Sentry's namespace: a child of a child of the supervisor. 0:
// there is none.
int host_process_inside(const struct host_processes *all, int supervisor, int inner);
// Is pid that process still? Asked while a pidfd says that it lives, the answer holds as long as that does.
bool host_process_is(int pid, int supervisor, int inner);
