// SPDX-License-Identifier: Apache-2.0
// Making, filling, entering and removing cgroups: see cgroup.h. Every path is resolved by openat2
// below the mount, without links and without leaving the file system.
#include "oci/cgroup.h"
#include "base/log.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

static int open_beneath(int dir, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    return (int)host_call(__NR_openat2, dir, path, &how, sizeof(how));
}
static int open_mount(const struct cgroup_dir *d)
{
    struct statfs st;
    int fd = open(d->point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstatfs(fd, &st) == 0 &&
        (unsigned long)st.f_type == (d->v2 ? CGROUP2_SUPER_MAGIC : CGROUP_SUPER_MAGIC))
        return fd;
    close(fd);
    return -ENOTSUP;
}
static int open_dir(const struct cgroup_dir *d)
{
    int top = open_mount(d);
    if (top < 0)
        return top;
    int fd = open_beneath(top, d->path + 1, O_RDONLY | O_DIRECTORY);
    close(top);
    return fd;
}

static int write_at(int dir, const char *file, const char *value)
{
    int fd = open_beneath(dir, file, O_WRONLY);
    if (fd < 0)
        return fd;
    ssize_t r = write(fd, value, strlen(value));
    int err = r < 0 ? -errno : 0;
    close(fd);
    return err;
}
static long read_at(int dir, const char *file, char *buf, size_t n)
{
    int fd = open_beneath(dir, file, O_RDONLY);
    size_t len = 0;
    ssize_t r = 1;
    if (fd < 0)
        return fd;
    while (len < n - 1 && (r = read(fd, buf + len, n - 1 - len)) > 0)
        len += (size_t)r;
    int err = r < 0 ? -errno : 0;
    close(fd);
    while (len && buf[len - 1] == '\n')
        len--;
    buf[len] = 0;
    return err ? err : (long)len;
}
int cgroup_open_file(const struct cgroup_dir *d, const char *file, int flags)
{
    int dir = open_dir(d);
    if (dir < 0)
        return dir;
    int fd = open_beneath(dir, file, flags);
    close(dir);
    return fd;
}
long cgroup_read(const struct cgroup_dir *d, const char *file, char *buf, size_t n)
{
    int dir = open_dir(d);
    if (dir < 0)
        return dir;
    long r = read_at(dir, file, buf, n);
    close(dir);
    return r;
}
int cgroup_write(const struct cgroup_dir *d, const char *file, const char *value)
{
    int dir = open_dir(d);
    if (dir < 0)
        return dir;
    int err = write_at(dir, file, value);
    close(dir);
    return err;
}

// --- making -----------------------------------------------------------------------------------------
// A new group of the cpuset hierarchy can take no process before it has CPUs and memory nodes.
static void inherit_cpuset(int parent, int dir)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    char text[4096];
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (read_at(dir, files[i], text, sizeof(text)) == 0 &&
            read_at(parent, files[i], text, sizeof(text)) > 0)
            (void)write_at(dir, files[i], text); // shows when somebody wants to enter
}
// v2: what the parent has, its children may have.
static void hand_out_controllers(int parent)
{
    char text[512], one[64];
    if (read_at(parent, "cgroup.controllers", text, sizeof(text)) <= 0)
        return;
    for (char *name, *rest = text; (name = strsep(&rest, " ")) != nullptr;) {
        snprintf(one, sizeof(one), "+%s", name);
        (void)write_at(parent, "cgroup.subtree_control", one); // shows when its files are missing
    }
}

static int make_dir(const struct cgroup_dir *d, bool inner)
{
    char part[sizeof(d->path) + sizeof(CGROUP_INNER) + 1];
    bool cpuset = !d->v2 && strstr(d->controllers, "cpuset");
    int dir = open_mount(d);
    snprintf(part, sizeof(part), "%s%s", d->path, inner ? "/" CGROUP_INNER : "");
    for (char *name, *rest = part + 1; dir >= 0 && (name = strsep(&rest, "/")) != nullptr;) {
        bool last_inner = inner && !rest;
        int next = open_beneath(dir, name, O_RDONLY | O_DIRECTORY);
        if (d->v2 && !last_inner)
            hand_out_controllers(dir);
        if (next == -ENOENT) {
            if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
                next = -errno;
            else
                next = open_beneath(dir, name, O_RDONLY | O_DIRECTORY);
        }
        if (cpuset && next >= 0)
            inherit_cpuset(dir, next);
        close(dir);
        dir = next;
    }
    if (dir < 0)
        return dir;
    close(dir);
    return 0;
}

int cgroup_create(const struct cgroup *c, struct err *e)
{
    for (int i = 0; i < c->n; i++) {
        int err = make_dir(&c->d[i], c->unified);
        if (err)
            return err_errno(e, err, "cgroup %s%s", c->d[i].point, c->d[i].path);
    }
    return 0;
}

// --- filling ----------------------------------------------------------------------------------------
static bool means_nothing(const struct cgroup_setting *s)
{
    return s->optional || strcmp(s->value, "-1") == 0 || strncmp(s->value, "max", 3) == 0;
}
// The group for a setting in this pass; null: the other pass has it, or nobody.
static const struct cgroup_dir *dir_for(const struct cgroup *c, const struct cgroup_setting *s, bool v2)
{
    const struct cgroup_dir *d = cgroup_find(c, s->controller);
    return d && d->v2 == v2 ? d : nullptr;
}
static int setting_failed(const struct cgroup_setting *s, const struct cgroup_dir *d, int err,
                          struct err *e)
{
    char usage[64];
    if (!d)
        return err_set(e, -ENOENT, "cannot set %s: no cgroup of the %s controller on this host", s->file,
                       s->controller);
    if (err == -EBUSY && strcmp(s->controller, "memory") == 0 &&
        cgroup_read(d, d->v2 ? "memory.current" : "memory.usage_in_bytes", usage, sizeof(usage)) > 0)
        return err_set(e, err, "unable to set memory limit to %s (current usage: %s)", s->value, usage);
    return err_errno(e, err, "cgroup: %s = \"%s\"", s->file, s->value);
}

static int apply_plan(const struct cgroup *c, const struct cgroup_plan *p, bool v2, struct err *e)
{
    bool later[CGROUP_SETTINGS] = {}, again = false;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < p->n; i++) {
            const struct cgroup_setting *s = &p->s[i];
            const struct cgroup_dir *d = dir_for(c, s, v2);
            if (round ? !later[i] : !d)
                continue;
            int err = cgroup_write(d, s->file, s->value);
            // Limits that bind each other (memory and memory+swap, quota and period) go up in one
            // order and down in the other.
            if (err && round == 0 && (err == -EINVAL || err == -EBUSY)) {
                later[i] = again = true;
                continue;
            }
            if (err && !(means_nothing(s) && (err == -ENOENT || err == -ENOTSUP || s->optional)))
                return setting_failed(s, d, err, e);
        }
        if (!again)
            break;
    }
    return 0;
}

int cgroup_apply(const struct cgroup *c, const struct resources *r, bool update, struct err *e)
{
    static struct cgroup_plan plan;
    char current[64];
    struct resources changed = *r;
    // v2 has quota and period in one file: what is not given stays.
    const struct cgroup_dir *cpu = cgroup_find(c, "cpu");
    bool quota = res_given(r, RES_CPU_QUOTA), period = res_given(r, RES_CPU_PERIOD);
    if (update && cpu && cpu->v2 && quota != period &&
        cgroup_read(cpu, "cpu.max", current, sizeof(current)) > 0) {
        char *space = strchr(current, ' ');
        if (quota && space)
            res_set(&changed, RES_CPU_PERIOD, strtoll(space + 1, nullptr, 10));
        else if (period)
            res_set(&changed, RES_CPU_QUOTA, current[0] == 'm' ? -1 : strtoll(current, nullptr, 10));
    }
    // systemd first: it writes the files too, and rounds.
    int err = update && c->unit[0] ? cgroup_systemd_update(c, &changed, e) : 0;
    if (err)
        return err;
    for (int v2 = 0; v2 < 2; v2++) {
        err = cgroup_plan(&plan, &changed, v2, e);
        if (err || (err = apply_plan(c, &plan, v2, e)) != 0)
            return err;
        for (int i = 0; i < plan.n && v2 == c->unified; i++)
            if (!cgroup_find(c, plan.s[i].controller) && !means_nothing(&plan.s[i]))
                return setting_failed(&plan.s[i], nullptr, 0, e);
    }
    return 0;
}

// --- removing ---------------------------------------------------------------------------------------
static void pause_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000l}, nullptr);
}
static int remove_dir(const struct cgroup_dir *d, bool inner)
{
    char part[sizeof(d->path)];
    snprintf(part, sizeof(part), "%s", d->path);
    char *name = strrchr(part, '/');
    *name++ = 0;
    int top = open_mount(d);
    if (top < 0)
        return 0; // the hierarchy is gone, its groups with it
    int parent = part[0] ? open_beneath(top, part + 1, O_RDONLY | O_DIRECTORY) : dup(top), err = 0;
    close(top);
    if (parent < 0)
        return parent == -ENOENT ? 0 : parent;
    int dir = inner ? open_beneath(parent, name, O_RDONLY | O_DIRECTORY) : -1;
    if (dir >= 0) {
        unlinkat(dir, CGROUP_INNER, AT_REMOVEDIR);
        close(dir);
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        err = -errno;
    close(parent);
    return err;
}

int cgroup_remove(const struct cgroup *c)
{
    constexpr int patience = 300, step_ms = 10;
    struct err ignored = {};
    int err = 0;
    if (c->unit[0])
        (void)cgroup_systemd_stop(c);
    for (int waited = 0; waited < patience; waited++) {
        err = 0;
        for (int i = 0; i < c->n; i++) {
            int one = remove_dir(&c->d[i], c->unified);
            err = one ? one : err;
        }
        if (err != -EBUSY)
            return err;
        if (waited == 2) // processes that are frozen do not die
            (void)!cgroup_freeze(c, false, &ignored);
        pause_ms(step_ms);
    }
    return err;
}

bool cgroup_populated(const struct cgroup *c)
{
    char text[256];
    for (int i = 0; i < c->n; i++) {
        const struct cgroup_dir *d = &c->d[i];
        long r = cgroup_read(d, d->v2 ? "cgroup.events" : "cgroup.procs", text, sizeof(text));
        if (r > 0 && (!d->v2 || strstr(text, "populated 1")))
            return true;
    }
    return false;
}

// --- the freezer ------------------------------------------------------------------------------------
// v1: a hierarchy of its own, which the supervisor is not in; v2: the inner group.
static const struct cgroup_dir *freezer_of(const struct cgroup *c, struct cgroup_dir *inner)
{
    const struct cgroup_dir *d = cgroup_find(c, "freezer");
    if (!d || !d->v2)
        return d;
    if (!c->unified)
        return nullptr;
    *inner = *d;
    size_t n = strlen(inner->path);
    snprintf(inner->path + n, sizeof(inner->path) - n, "/%s", CGROUP_INNER);
    return inner;
}
bool cgroup_frozen(const struct cgroup *c)
{
    struct cgroup_dir inner;
    const struct cgroup_dir *d = freezer_of(c, &inner);
    char text[256];
    if (!d || cgroup_read(d, d->v2 ? "cgroup.events" : "freezer.state", text, sizeof(text)) < 0)
        return false;
    return d->v2 ? strstr(text, "frozen 1") != nullptr : strcmp(text, "FROZEN") == 0;
}
bool cgroup_found_frozen(const struct cgroup *c)
{
    const struct cgroup_dir *d = cgroup_find(c, "freezer");
    char text[256];
    if (!d || cgroup_read(d, d->v2 ? "cgroup.freeze" : "freezer.state", text, sizeof(text)) < 0)
        return false;
    return d->v2 ? strcmp(text, "1") == 0 : strcmp(text, "THAWED") != 0;
}
int cgroup_freeze(const struct cgroup *c, bool freeze, struct err *e)
{
    constexpr int patience = 1000;
    struct cgroup_dir inner;
    const struct cgroup_dir *d = freezer_of(c, &inner);
    if (!d)
        return 0; // the Sentry has stopped its tasks; nothing else is left to stop
    int err = cgroup_write(d, d->v2 ? "cgroup.freeze" : "freezer.state",
                           d->v2 ? (freeze ? "1" : "0") : freeze ? "FROZEN" : "THAWED");
    if (err)
        return err == -ENOENT ? 0 : err_errno(e, err, "freezer");
    for (int i = 0; freeze && i < patience; i++) {
        if (cgroup_frozen(c))
            return 0;
        // v1 gives up on a process that is just being made: asked again, it goes on.
        if (!d->v2 && i % 50 == 49)
            (void)!cgroup_write(d, "freezer.state", "FROZEN");
        pause_ms(1);
    }
    return freeze ? err_set(e, -ETIMEDOUT, "freezer: the container does not stop") : 0;
}

// --- entering ---------------------------------------------------------------------------------------
static int open_entry(struct cgroup_entry *n, const struct cgroup *c, int i)
{
    const struct cgroup_dir *d = &c->d[i];
    struct cgroup_mount m = {};
    int dir = open_dir(d), k = n->n++;
    n->tasks[k] = -1;
    if (dir < 0)
        return dir;
    if (c->unified) {
        n->outer = dir;
        n->inner = open_beneath(dir, CGROUP_INNER, O_RDONLY | O_DIRECTORY);
        return MIN(n->inner, 0);
    }
    snprintf(m.controllers, sizeof(m.controllers), "%s", d->controllers);
    if (!d->v2 && cgroup_has_controller(&m, "freezer"))
        n->freezer = k;
    n->tasks[k] = open_beneath(dir, d->v2 ? "cgroup.procs" : "tasks", O_WRONLY);
    close(dir);
    return MIN(n->tasks[k], 0);
}
int cgroup_entry_open(struct cgroup_entry *n, const struct cgroup *c, struct err *e)
{
    *n = (struct cgroup_entry){.outer = -1, .inner = -1, .freezer = -1};
    for (int i = 0; i < c->n; i++) {
        int err = open_entry(n, c, i);
        if (err)
            return err_errno(e, err, "cgroup %s%s", c->d[i].point, c->d[i].path);
    }
    return 0;
}
int cgroup_enter(const struct cgroup_entry *n, bool all, bool freezer)
{
    for (int i = 0; i < n->n; i++) {
        bool this_one = i == n->freezer ? freezer : all;
        if (!this_one || n->tasks[i] < 0)
            continue;
        // "tasks" and 0, not cgroup.procs: moving a single thread that asks for itself takes no
        // system-wide lock (which costs ten milliseconds).
        long r = host_call(__NR_write, n->tasks[i], "0", 1);
        if (r < 0)
            return (int)r;
    }
    return 0;
}
int cgroup_place(const struct cgroup_entry *n, pid_t pid)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%d", (int)pid);
    for (int i = 0; i < n->n; i++) {
        int own = n->tasks[i] < 0 ? open_beneath(n->outer, "cgroup.procs", O_WRONLY) : -1;
        int fd = n->tasks[i] < 0 ? own : n->tasks[i];
        ssize_t r = i == n->freezer ? len : fd < 0 ? fd : write(fd, text, (size_t)len);
        int err = r == len ? 0 : fd < 0 ? fd : -errno;
        if (own >= 0)
            close(own);
        if (err)
            return err;
    }
    return 0;
}
int cgroup_record_remove(int dir)
{
    static struct cgroup c;
    return cgroup_record_read(dir, &c) ? cgroup_remove(&c) : 0;
}

// --- what is in force -------------------------------------------------------------------------------
static bool read_number(const struct cgroup *c, const char *controller, const char *v1, const char *v2,
                        int64_t *out)
{
    const struct cgroup_dir *d = cgroup_find(c, controller);
    char text[256];
    if (!d || !(d->v2 ? v2 : v1) || cgroup_read(d, d->v2 ? v2 : v1, text, sizeof(text)) <= 0)
        return false;
    *out = strncmp(text, "max", 3) == 0 ? -1 : strtoll(text, nullptr, 10);
    return true;
}
static void view_cpu(const struct cgroup *c, struct cgroup_view *v)
{
    const struct cgroup_dir *d = cgroup_find(c, "cpu");
    char text[128];
    int64_t n;
    if (d && d->v2 && cgroup_read(d, "cpu.max", text, sizeof(text)) > 0) {
        char *space = strchr(text, ' ');
        v->cpu_quota = text[0] == 'm' ? -1 : strtoll(text, nullptr, 10);
        v->cpu_period = space ? strtoull(space + 1, nullptr, 10) : v->cpu_period;
    } else if (read_number(c, "cpu", "cpu.cfs_quota_us", nullptr, &n)) {
        v->cpu_quota = n > 0 ? n : -1;
        if (read_number(c, "cpu", "cpu.cfs_period_us", nullptr, &n) && n > 0)
            v->cpu_period = (uint64_t)n;
    }
    if (read_number(c, "cpu", "cpu.shares", "cpu.weight", &n) && n > 0)
        v->cpu_weight = d && d->v2 ? (uint64_t)n : cgroup_weight_of_shares((uint64_t)n);
    d = cgroup_find(c, "cpuset");
    char list[4096];
    if (d && (cgroup_read(d, d->v2 ? "cpuset.cpus.effective" : "cpuset.effective_cpus", list,
                          sizeof(list)) > 0 ||
              cgroup_read(d, "cpuset.cpus", list, sizeof(list)) > 0)) {
        int cpus = cpu_list_count(list, 8192);
        v->cpus = cpus > 0 ? (uint32_t)cpus : 0;
    }
}
void cgroup_view_read(const struct cgroup *c, struct cgroup_view *v)
{
    constexpr int64_t no_limit_v1 = 1ll << 60;
    int64_t n, both;
    *v = CGROUP_VIEW_NONE;
    v->present = true;
    if (read_number(c, "memory", "memory.limit_in_bytes", "memory.max", &n) && n >= 0 &&
        n < no_limit_v1)
        v->memory_max = (uint64_t)n;
    if (read_number(c, "memory", "memory.soft_limit_in_bytes", "memory.low", &n) && n > 0 &&
        n < no_limit_v1)
        v->memory_low = (uint64_t)n;
    const struct cgroup_dir *d = cgroup_find(c, "memory");
    if (d && d->v2) {
        if (read_number(c, "memory", nullptr, "memory.high", &n) && n >= 0)
            v->memory_high = (uint64_t)n;
        if (read_number(c, "memory", nullptr, "memory.min", &n))
            v->memory_min = (uint64_t)n; // -1: all
    }
    if (read_number(c, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max", &both) &&
        both >= 0 && both < no_limit_v1)
        v->swap_max = d->v2 ? (uint64_t)both
                      : v->memory_max != UINT64_MAX && (uint64_t)both > v->memory_max
                          ? (uint64_t)both - v->memory_max
                          : 0;
    view_cpu(c, v);
}
