// SPDX-License-Identifier: Apache-2.0
// See cgroups.h. The order is what makes a leak impossible: the record of the paths is on disk before
// the first directory is made, and whoever removes a state directory removes what its record names.
#include "cmd/cgroups.h"
#include "cmd/ids.h"
#include "host/spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static struct cgroup the_cgroup; // this command's container; it has one
static struct cgroup_entry the_entry;

// Without privilege and without a path, groups that cannot be made are done without, as by runc;
// limits that would then not hold are an error.
static int unprivileged(const struct resources *r, int err, struct err *e)
{
    if (geteuid() == 0 || (err != -EACCES && err != -EPERM && err != -EROFS && err != -ENOENT))
        return err;
    if (resources_any(r))
        return err_set(e, err, "cannot set limits: the container could not create its cgroup");
    e->text[0] = 0;
    the_cgroup.n = 0;
    return 0;
}

static void fill_in_view(struct boot_config *c, const struct resources *r)
{
    cgroup_view_read(&the_cgroup, &c->view);
    c->view.pids_max = r->v[RES_PIDS] > 0 ? (uint64_t)r->v[RES_PIDS] : 0;
    c->ncpus = cgroup_view_cpus(&c->view, c->ncpus);
    c->mem_total = MIN(c->mem_total, c->view.memory_max);
    c->tmpfs_size = MIN(c->tmpfs_size, MAX(c->mem_total / 2, 1ull << 20));
    const struct cgroup_dir *m = cgroup_find(&the_cgroup, "memory");
    c->memory_v1 = m && !m->v2;
}

// systemd makes a scope around a process, and removes it with the last one: this one does nothing and
// lives as long as we do, by when the container's own are inside.
static pid_t placeholder(void)
{
    int pidfd;
    pid_t parent = getpid(), pid = spawn_clone(0, &pidfd);
    if (pid != 0) {
        if (pid > 0)
            close(pidfd);
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) // killed in between
        _exit(1);
    close_range(0, ~0u, 0);
    for (;;)
        pause();
}
// Whose systemd: a user's own, also for one who is root in a user namespace only.
static enum cgroup_manager manager(const struct globals *g)
{
    if (!g->launch.systemd_cgroup)
        return CGROUP_FS;
    return geteuid() == 0 && host_ids_look().initial ? CGROUP_SYSTEMD : CGROUP_SYSTEMD_USER;
}

int cgroups_setup(struct globals *g, struct boot_config *c, struct state *s, struct err *e)
{
    static struct cgroup_host host;
    const struct resources *r = &c->spec->resources;
    const char *path = c->spec->cgroups_path;
    struct cgroup *cg = &the_cgroup;
    g->launch.cgroup = nullptr;
    bool asked = path && *path;
    if (!asked && !resources_any(r))
        return 0;
    int err = cgroup_host_read(&host, e);
    if (err)
        return err;
    err = cgroup_locate(cg, &host, path, c->spec->id, manager(g), r, e);
    if (!err)
        err = cgroup_systemd_locate(cg, &host, e);
    if (!err)
        err = cgroup_record_write(s->dir, cg, e);
    if (!err && cg->unit[0]) {
        pid_t pid = placeholder();
        err = pid < 0 ? err_errno(e, pid, "process for the scope") : cgroup_systemd_start(cg, pid, r, e);
    } else if (!err && cgroup_found_frozen(cg)) { // nothing of ours would ever run
        err = err_set(e, -EBUSY, "container's cgroup unexpectedly frozen");
        cg->n = 0; // not ours to remove
        return err;
    } else if (!err && cgroup_populated(cg)) { // then limits are for both, and the last one removes it
        log_warn("container's cgroup is not empty: %s", cg->d[0].path);
    }
    if (!err)
        err = cgroup_create(cg, e);
    if (err)
        return asked ? err : unprivileged(r, err, e);
    if ((err = cgroup_apply(cg, r, false, e)) != 0 || (err = cgroup_entry_open(&the_entry, cg, e)) != 0)
        return err;
    if (cg->apart) {
        close(the_entry.outer);
        the_entry.outer = -1;
    }
    fill_in_view(c, r);
    g->launch.cgroup = &the_entry;
    return 0;
}

int cgroups_attach(const struct launch_options *o, pid_t pid, struct err *e)
{
    return o->cgroup && the_cgroup.apart ? cgroup_systemd_attach(&the_cgroup, pid, e) : 0;
}

void cgroups_abandon(struct globals *g)
{
    if (the_cgroup.n)
        (void)cgroup_remove(&the_cgroup);
    the_cgroup.n = 0;
    g->launch.cgroup = nullptr;
}

[[noreturn]] static void janitor_main(int end)
{
    sigset_t all;
    char byte;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    setsid();
    // Not even the state directory's lock: it says whether the supervisor lives.
    if (dup2(end, 0) != 0)
        _exit(1);
    close_range(1, ~0u, 0);
    if (chdir("/") < 0)
        _exit(1);
    while (read(0, &byte, 1) < 0 && errno == EINTR)
        ;
    _exit(cgroup_remove(&the_cgroup) ? 1 : 0);
}
int cgroups_janitor(struct launch_options *o, struct err *e)
{
    int pair[2], pidfd;
    if (!o->cgroup)
        return 0;
    if (pipe2(pair, O_CLOEXEC) < 0)
        return err_errno(e, -errno, "pipe");
    o->janitor = spawn_clone(0, &pidfd);
    if (o->janitor == 0) {
        close(pair[1]);
        janitor_main(pair[0]);
    }
    close(pair[0]);
    if (o->janitor < 0)
        return err_errno(e, o->janitor, "process that removes the cgroup");
    close(pidfd);
    o->janitor_fd = pair[1];
    return 0;
}

int cgroups_enter_supervisor(const struct launch_options *o, struct err *e)
{
    if (!o->cgroup)
        return 0;
    int err = cgroup_enter(o->cgroup, true, false);
    return err ? err_errno(e, err, "cgroup: the supervisor cannot enter it") : 0;
}

void cgroups_open_figures(const struct launch_options *o, struct boot_config *c, int fds[3])
{
    static const char *const v1[] = {"memory.usage_in_bytes", "memory.stat", "memory.oom_control"},
                            *const v2[] = {"memory.current", "memory.stat", "memory.events"};
    const struct cgroup_dir *m = o->cgroup ? cgroup_find(&the_cgroup, "memory") : nullptr;
    for (int i = 0; i < 3; i++)
        fds[i] = m ? cgroup_open_file(m, m->v2 ? v2[i] : v1[i], O_RDONLY) : -1;
}

bool cgroups_of(int root, const char *id, struct cgroup *c)
{
    int dir = openat(root, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return false;
    bool ok = cgroup_record_read(dir, c);
    close(dir);
    return ok;
}
