// SPDX-License-Identifier: Apache-2.0
// Placeholder until the D-Bus side is there.
#include "oci/cgroup.h"
#include <errno.h>
int cgroup_systemd_start(const struct cgroup *c, pid_t pid, const struct resources *r, struct err *e)
{
    (void)pid;
    (void)r;
    return err_set(e, -ENOTSUP, "systemd: unit %s: not supported", c->unit);
}
int cgroup_systemd_stop(const struct cgroup *c)
{
    (void)c;
    return 0;
}
int cgroup_systemd_update(const struct cgroup *c, const struct resources *r, struct err *e)
{
    (void)c;
    (void)r;
    (void)e;
    return 0;
}
