// SPDX-License-Identifier: Apache-2.0
// What `do` and `run` share: the configuration around a spec, and the machine's figures.
#include "base/slab.h"
#include "cmd/cmd.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>

// First number of a small file; false when it is not there or begins with something else ("max").
static bool read_numbers(const char *path, long long *a, long long *b)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    int n = b ? fscanf(f, "%lld %lld", a, b) : fscanf(f, "%lld", a);
    fclose(f);
    return n == (b ? 2 : 1);
}

// Calls fn with the directory of our cgroup and of each of its ancestors in one hierarchy (v1
// controller, or v2 when the name is empty).
struct cgroup_limits {
    double cpus;
    uint64_t memory;
};
static void look_at(const char *dir, bool v2, struct cgroup_limits *l)
{
    char path[4400];
    long long quota, period;
    snprintf(path, sizeof(path), "%s/%s", dir, v2 ? "cpu.max" : "cpu.cfs_quota_us");
    bool have = v2 ? read_numbers(path, &quota, &period) : read_numbers(path, &quota, nullptr);
    if (have && !v2) {
        snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", dir);
        have = read_numbers(path, &period, nullptr);
    }
    if (have && quota > 0 && period > 0 && (double)quota / (double)period < l->cpus)
        l->cpus = (double)quota / (double)period;
    long long mem;
    snprintf(path, sizeof(path), "%s/%s", dir, v2 ? "memory.max" : "memory.limit_in_bytes");
    if (read_numbers(path, &mem, nullptr) && mem > 0 && (uint64_t)mem < l->memory)
        l->memory = (uint64_t)mem;
}
static void cgroup_limits(struct cgroup_limits *l)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[2200];
    while (f && fgets(line, sizeof(line), f)) {
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : nullptr;
        if (!path)
            continue;
        *path++ = 0;
        names++;
        path[strcspn(path, "\n")] = 0;
        bool v2 = !*names, cpu = strstr(names, "cpu") && !strstr(names, "cpuset");
        if (!v2 && !cpu && strcmp(names, "memory") != 0)
            continue;
        for (;;) { // the cgroup itself and its ancestors
            char dir[4300];
            if (v2) {
                snprintf(dir, sizeof(dir), "/sys/fs/cgroup%s", path);
                look_at(dir, true, l);
            } else {
                snprintf(dir, sizeof(dir), "/sys/fs/cgroup/%s%s", names, path);
                look_at(dir, false, l);
            }
            char *slash = strrchr(path, '/');
            if (!slash || (slash == path && !path[1]))
                break;
            slash[slash == path] = 0;
        }
    }
    if (f)
        fclose(f);
}

struct boot_config *config_new(struct globals *g, struct spec *spec, struct err *e)
{
    struct boot_config *c = mem_alloc(sizeof(*c));
    struct sysinfo si;
    struct timespec ts;
    cpu_set_t set;
    if (!c || !(c->platform = mem_strdup(g->launch.platform)) || sysinfo(&si) < 0) {
        err_set(e, -ENOMEM, "out of memory");
        return nullptr;
    }
    clock_gettime(CLOCK_MONOTONIC, &ts);
    c->t0 = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    struct cgroup_limits l = {.memory = (uint64_t)si.totalram * si.mem_unit};
    l.cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    cgroup_limits(&l);
    c->spec = spec;
    c->ncpus = l.cpus <= 1 ? 1 : (uint32_t)(l.cpus + 0.999);
    c->mem_total = l.memory;
    if (spec->memory_limit && spec->memory_limit < c->mem_total)
        c->mem_total = spec->memory_limit;
    c->tmpfs_size = l.memory / 2;
    c->host_cpus = c->ncpus;
    c->host_memory = l.memory;
    c->view = CGROUP_VIEW_NONE;
    c->log_format = g->launch.log_format;
    c->log_level = g->launch.debug ? LOG_DEBUG : g->launch.strace ? LOG_INFO : LOG_WARN;
    c->debug = g->launch.debug;
    c->strace = g->launch.strace;
    c->fast_off = g->launch.fast_off;
    c->patching_off = g->launch.patching_off;
    if (g->launch.strace_list && !(c->strace_list = mem_strdup(g->launch.strace_list))) {
        err_set(e, -ENOMEM, "out of memory");
        return nullptr;
    }
    c->make_mountpoints = true;
    return c;
}

int config_add_root(struct boot_config *c, const char *path, bool readonly, bool shared,
                    bool *is_file, struct err *e)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_errno(e, -errno, "%s", path);
    if (!S_ISDIR(st.st_mode) && (!is_file || !S_ISREG(st.st_mode)))
        return err_set(e, -ENOTDIR, "%s: not a directory%s", path, is_file ? " or regular file" : "");
    struct boot_root *v = mem_realloc(c->roots, (c->nroots + 1) * sizeof(*v));
    char *copy = mem_strdup(path);
    if (!v || !copy)
        return err_set(e, -ENOMEM, "out of memory");
    c->roots = v;
    v[c->nroots] = (struct boot_root){
        .path = copy, .readonly = readonly, .shared = shared, .is_file = !S_ISDIR(st.st_mode)};
    if (is_file)
        *is_file = v[c->nroots].is_file;
    return (int)c->nroots++;
}
