// SPDX-License-Identifier: Apache-2.0
// nacre update: other limits for a container that is there. First the host's files, then the Sentry,
// which tells the guest what holds now.
#include "base/slab.h"
#include "cmd/cgroups.h"
#include "cmd/client.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct update_flags {
    const char *resources;
    const char *number[9];
    const char *cpus, *mems, *schema[2];
};
static const struct {
    const char *flag;
    enum resource which;
    bool bytes;
} numbers[] = {
    {"blkio-weight", RES_IO_WEIGHT, false},
    {"cpu-period", RES_CPU_PERIOD, false},
    {"cpu-quota", RES_CPU_QUOTA, false},
    {"cpu-rt-period", RES_CPU_RT_PERIOD, false},
    {"cpu-rt-runtime", RES_CPU_RT_RUNTIME, false},
    {"memory", RES_MEMORY, true},
    {"memory-reservation", RES_MEMORY_LOW, true},
    {"memory-swap", RES_MEMORY_SWAP, true},
    {"pids-limit", RES_PIDS, false},
};

// "512m", "1.5g", "-1"; without `bytes` a plain number.
static int parse_number(const char *s, bool bytes, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (end == s || errno)
        return -EINVAL;
    if (!*end) {
        *out = v;
        return v < -1 ? -EINVAL : 0;
    }
    static const char units[] = "bkmgtp";
    double d = strtod(s, &end);
    const char *unit = *end ? strchr(units, *end | 0x20) : nullptr;
    bool plain = unit && (!end[1] || ((end[1] | 0x20) == 'b' && !end[2]) ||
                          ((end[1] | 0x20) == 'i' && (end[2] | 0x20) == 'b' && !end[3]));
    if (!bytes || !plain || d < 0)
        return -EINVAL;
    for (long i = unit - units; i > 0; i--)
        d *= 1024;
    constexpr double most = 9e18;
    if (!(d < most))
        return -EINVAL;
    *out = (int64_t)d;
    return 0;
}

static int copy_list(const char *s, const char *flag, char **out, struct err *e)
{
    if (!s || !*s)
        return 0;
    if (cpu_list_count(s, 0) < 0)
        return err_set(e, -EINVAL, "--%s %s: no list of numbers", flag, s);
    *out = mem_strdup(s);
    return *out ? 0 : err_set(e, -ENOMEM, "out of memory");
}
static int from_flags(struct resources *r, const struct update_flags *f, const char *shares,
                      struct err *e)
{
    int64_t v;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (!f->number[i] || !*f->number[i])
            continue;
        if (parse_number(f->number[i], numbers[i].bytes, &v))
            return err_set(e, -EINVAL, "invalid value for %s: %s", numbers[i].flag, f->number[i]);
        if (v)
            res_set(r, numbers[i].which, v);
    }
    if (shares && *shares) {
        if (parse_number(shares, false, &v))
            return err_set(e, -EINVAL, "invalid value for cpu-share: %s", shares);
        if (v)
            res_set(r, RES_CPU_SHARES, v);
    }
    int err = copy_list(f->cpus, "cpuset-cpus", &r->cpus, e);
    return err ? err : copy_list(f->mems, "cpuset-mems", &r->mems, e);
}

static int from_json(struct resources *r, const char *path, struct err *e)
{
    constexpr size_t most = SPEC_JSON_MAX + 1;
    int fd = strcmp(path, "-") == 0 ? 0 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_errno(e, -errno, "%s", path);
    char *text = mem_alloc(most);
    size_t n = 0;
    ssize_t got = 1;
    while (text && n < most && (got = read(fd, text + n, most - n)) > 0)
        n += (size_t)got;
    int err = !text ? err_set(e, -ENOMEM, "out of memory")
              : got < 0 ? err_errno(e, -errno, "%s", path)
                        : resources_parse(r, text, n, e);
    mem_free(text);
    if (fd > 0)
        close(fd);
    if (fd_named(path) > 2)
        close(fd_named(path));
    return err;
}

// The Sentry hears what holds now. A container that is not running will hear it never: its limits
// are in its cgroup all the same.
static int tell(const struct container *c, const struct cgroup *cg, const struct resources *r,
                struct err *e)
{
    struct cgroup_view v;
    cgroup_view_read(cg, &v);
    v.pids_max = !res_given(r, RES_PIDS) ? 0
                 : r->v[RES_PIDS] > 0    ? (uint64_t)r->v[RES_PIDS]
                                         : UINT32_MAX;
    if (c->status == CONTAINER_STOPPED)
        return 0;
    return container_tell(c, CTL_UPDATE, &v, sizeof(v), e);
}

static int update(struct container *c, const struct resources *r, struct err *e)
{
    static struct cgroup cg;
    if (!cgroups_of(c->root, c->info.id, &cg))
        return err_set(e, 1, "container %s has no cgroup: it was made without limits", c->info.id);
    if (cgroup_apply(&cg, r, true, e))
        return 1;
    return tell(c, &cg, r, e);
}

static int update_run(struct globals *g, int argc, char **argv, struct err *e)
{
    struct update_flags f = {};
    const char *shares = nullptr, *unused = nullptr;
    struct opt opts[24] = {
        {"resources", OPT_STR, &f.resources}, {"r", OPT_STR, &f.resources},
        {"cpu-share", OPT_STR, &shares},      {"cpu-shares", OPT_STR, &shares},
        {"cpuset-cpus", OPT_STR, &f.cpus},    {"cpuset-mems", OPT_STR, &f.mems},
        {"kernel-memory", OPT_STR, &unused},  {"kernel-memory-tcp", OPT_STR, &unused},
        {"l3-cache-schema", OPT_STR, &f.schema[0]}, {"mem-bw-schema", OPT_STR, &f.schema[1]},
    };
    size_t n = 10;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        opts[n++] = (struct opt){numbers[i].flag, OPT_STR, &f.number[i]};
    struct container c;
    struct resources r = {};
    int i = 1;
    if (opts_parse_anywhere(opts, n, argc, argv, &i, e))
        return 1;
    if (i + 1 != argc)
        return err_set(e, 1, "exactly one argument, the container's id, is needed");
    if (f.schema[0] || f.schema[1])
        return err_set(e, 1, "--l3-cache-schema, --mem-bw-schema: Intel RDT is not supported");
    if (container_find(g, argv[i], &c, e))
        return 1;
    if (f.resources ? from_json(&r, f.resources, e) : from_flags(&r, &f, shares, e))
        return 1;
    return update(&c, &r, e);
}

const struct command command_update = {
    .name = "update", .args = "[flags] ID", .help = "change the limits of a container",
    .flags = "  --resources FILE          linux.resources as JSON; - is standard input\n"
             "  --memory, --memory-reservation, --memory-swap BYTES   512m, 1g, -1\n"
             "  --cpu-share N, --cpu-quota US, --cpu-period US\n"
             "  --cpu-rt-period US, --cpu-rt-runtime US\n"
             "  --cpuset-cpus LIST, --cpuset-mems LIST\n"
             "  --pids-limit N, --blkio-weight N\n",
    .run = update_run,
};
