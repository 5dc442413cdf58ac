// SPDX-License-Identifier: Apache-2.0
// The figures of a container's cgroups, as the JSON that `runc events` prints: the same keys in the
// same order, empty objects where the host does not say. Read from the host's files, whose text is
// the kernel's.
#include "base/slab.h"
#include "oci/cgroup.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

constexpr size_t TEXT = 16 << 10;
struct reader {
    const struct cgroup *c;
    char *text; // TEXT bytes
};

static void add_u64(struct json_object *o, const char *key, uint64_t v)
{
    json_object_object_add(o, key, json_object_new_uint64(v));
}
// As Go's omitempty.
static void add_some(struct json_object *o, const char *key, uint64_t v)
{
    if (v)
        add_u64(o, key, v);
}
static const char *text_of(struct reader *r, const char *controller, const char *file)
{
    const struct cgroup_dir *d = cgroup_find(r->c, controller);
    return d && cgroup_read(d, file, r->text, TEXT) >= 0 ? r->text : nullptr;
}
static uint64_t number_of(struct reader *r, const char *controller, const char *file)
{
    const char *t = text_of(r, controller, file);
    return !t ? 0 : strncmp(t, "max", 3) == 0 ? UINT64_MAX : strtoull(t, nullptr, 10);
}
static uint64_t key_of(const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : line)
        if (strncmp(line, key, n) == 0 && line[n] == ' ')
            return strtoull(line + n + 1, nullptr, 10);
    return 0;
}
static struct json_object *numbers(const char *text) // separated by blanks
{
    struct json_object *a = json_object_new_array();
    char *end;
    for (unsigned long long v; text && *text; text = end) {
        v = strtoull(text, &end, 10);
        if (end == text)
            break;
        json_object_array_add(a, json_object_new_uint64(v));
    }
    return a;
}

// --- cpu --------------------------------------------------------------------------------------------
static struct json_object *throttling(const char *stat, bool v2)
{
    struct json_object *o = json_object_new_object();
    if (stat) {
        add_some(o, "periods", key_of(stat, "nr_periods"));
        add_some(o, "throttledPeriods", key_of(stat, "nr_throttled"));
        add_some(o, "throttledTime",
                 v2 ? key_of(stat, "throttled_usec") * 1000 : key_of(stat, "throttled_time"));
    }
    return o;
}
// cpuacct.usage_all: a heading, then "cpu user system".
static void per_cpu(struct reader *r, struct json_object *usage)
{
    const char *t = text_of(r, "cpuacct", "cpuacct.usage_all");
    struct json_object *kernel = json_object_new_array(), *user = json_object_new_array();
    for (t = t ? strchr(t, '\n') : nullptr; t; t = strchr(t + 1, '\n')) {
        unsigned long long cpu, u, s;
        if (sscanf(t, "\n%llu %llu %llu", &cpu, &u, &s) != 3)
            continue;
        json_object_array_add(user, json_object_new_uint64(u));
        json_object_array_add(kernel, json_object_new_uint64(s));
    }
    json_object_object_add(usage, "percpu_kernel", kernel);
    json_object_object_add(usage, "percpu_user", user);
}
static struct json_object *cpu_stats(struct reader *r, bool v2)
{
    struct json_object *o = json_object_new_object(), *usage = json_object_new_object();
    uint64_t kernel, user;
    const char *t = nullptr;
    struct json_object *throttled;
    if (v2) {
        t = text_of(r, "cpu", "cpu.stat");
        add_some(usage, "total", t ? key_of(t, "usage_usec") * 1000 : 0);
        kernel = t ? key_of(t, "system_usec") * 1000 : 0;
        user = t ? key_of(t, "user_usec") * 1000 : 0;
        throttled = throttling(t, true);
    } else {
        add_some(usage, "total", number_of(r, "cpuacct", "cpuacct.usage"));
        json_object_object_add(usage, "percpu",
                               numbers(text_of(r, "cpuacct", "cpuacct.usage_percpu")));
        per_cpu(r, usage);
        uint64_t tick = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
        t = text_of(r, "cpuacct", "cpuacct.stat");
        kernel = t ? key_of(t, "system") * tick : 0;
        user = t ? key_of(t, "user") * tick : 0;
        throttled = throttling(text_of(r, "cpu", "cpu.stat"), false);
    }
    add_u64(usage, "kernel", kernel);
    add_u64(usage, "user", user);
    json_object_object_add(o, "usage", usage);
    json_object_object_add(o, "throttling", throttled);
    return o;
}

static struct json_object *list_numbers(const char *t)
{
    struct json_object *a = json_object_new_array();
    while (t && *t >= '0' && *t <= '9') {
        char *end;
        unsigned long lo = strtoul(t, &end, 10), hi = lo;
        if (*end == '-')
            hi = strtoul(end + 1, &end, 10);
        for (unsigned long i = lo; i <= hi && i < 8192; i++)
            json_object_array_add(a, json_object_new_uint64(i));
        t = end + (*end == ',');
    }
    return a;
}
static struct json_object *cpuset_stats(struct reader *r, bool v2)
{
    static const char *const v1_files[] = {"cpu_exclusive", "mems", "mem_hardwall", "mem_exclusive",
                                           "memory_migrate", "memory_spread_page",
                                           "memory_spread_slab", "memory_pressure",
                                           "sched_load_balance"};
    struct json_object *o = json_object_new_object();
    char file[64];
    if (!v2) {
        json_object_object_add(o, "cpus", list_numbers(text_of(r, "cpuset", "cpuset.cpus")));
        for (size_t i = 0; i < ARRAY_LEN(v1_files); i++) {
            snprintf(file, sizeof(file), "cpuset.%s", v1_files[i]);
            if (strcmp(v1_files[i], "mems") == 0)
                json_object_object_add(o, "mems", list_numbers(text_of(r, "cpuset", file)));
            else
                add_u64(o, v1_files[i], number_of(r, "cpuset", file));
        }
    } else {
        static const char *const keys[] = {"cpu_exclusive", "mem_hardwall", "mem_exclusive",
                                           "memory_migrate", "memory_spread_page",
                                           "memory_spread_slab", "memory_pressure",
                                           "sched_load_balance"};
        for (size_t i = 0; i < ARRAY_LEN(keys); i++)
            add_u64(o, keys[i], 0);
    }
    const char *t = v2 ? nullptr : text_of(r, "cpuset", "cpuset.sched_relax_domain_level");
    json_object_object_add(o, "sched_relax_domain_level", json_object_new_int64(t ? atoll(t) : 0));
    return o;
}

// --- memory -----------------------------------------------------------------------------------------
static struct json_object *entry(uint64_t limit, uint64_t usage, uint64_t max, uint64_t failures)
{
    struct json_object *o = json_object_new_object();
    add_u64(o, "limit", limit);
    add_some(o, "usage", usage);
    add_some(o, "max", max);
    add_u64(o, "failcnt", failures);
    return o;
}
static struct json_object *v1_entry(struct reader *r, const char *name)
{
    char file[64];
    uint64_t v[4];
    static const char *const what[] = {"limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes",
                                       "failcnt"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(file, sizeof(file), "memory.%s%s%s", name, *name ? "." : "", what[i]);
        v[i] = number_of(r, "memory", file);
    }
    return entry(v[0], v[1], v[2], v[3]);
}
static struct json_object *raw_stats(const char *t)
{
    struct json_object *o = json_object_new_object();
    char key[64];
    unsigned long long v;
    int used;
    for (; t && sscanf(t, "%63s %llu%n", key, &v, &used) == 2; t += used)
        add_u64(o, key, v);
    return o;
}
static struct json_object *memory_stats(struct reader *r, bool v2)
{
    struct json_object *o = json_object_new_object();
    const char *t = text_of(r, "memory", "memory.stat");
    add_some(o, "cache", t ? key_of(t, v2 ? "file" : "cache") : 0);
    struct json_object *raw = raw_stats(t);
    if (v2) {
        uint64_t limit = number_of(r, "memory", "memory.max"),
                 swap = number_of(r, "memory", "memory.swap.max"),
                 usage = number_of(r, "memory", "memory.current");
        // As v1 counts it: memory and swap together.
        bool unlimited = swap == UINT64_MAX || limit == UINT64_MAX;
        json_object_object_add(o, "usage",
                               entry(limit, usage, number_of(r, "memory", "memory.peak"), 0));
        json_object_object_add(
            o, "swap", entry(unlimited ? UINT64_MAX : swap + limit,
                             usage + number_of(r, "memory", "memory.swap.current"), 0, 0));
        json_object_object_add(o, "kernel", entry(0, 0, 0, 0));
        json_object_object_add(o, "kernelTCP", entry(0, 0, 0, 0));
    } else {
        json_object_object_add(o, "usage", v1_entry(r, ""));
        json_object_object_add(o, "swap", v1_entry(r, "memsw"));
        json_object_object_add(o, "kernel", v1_entry(r, "kmem"));
        json_object_object_add(o, "kernelTCP", v1_entry(r, "kmem.tcp"));
    }
    json_object_object_add(o, "raw", raw);
    return o;
}

// --- the others -------------------------------------------------------------------------------------
// Lines "MAJOR:MINOR OP VALUE" of v1.
static void v1_block(struct reader *r, struct json_object *o, const char *key, const char *file)
{
    const char *t = text_of(r, "blkio", file);
    struct json_object *a = json_object_new_array();
    unsigned long long major, minor, v;
    char op[16];
    for (; t && *t; t = strchr(t, '\n') ? strchr(t, '\n') + 1 : nullptr) {
        if (sscanf(t, "%llu:%llu %15[A-Za-z] %llu", &major, &minor, op, &v) != 4)
            continue;
        struct json_object *e = json_object_new_object();
        add_some(e, "major", major);
        add_some(e, "minor", minor);
        json_object_object_add(e, "op", json_object_new_string(op));
        add_some(e, "value", v);
        json_object_array_add(a, e);
    }
    if (json_object_array_length(a))
        json_object_object_add(o, key, a);
    else
        json_object_put(a);
}
// io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ..."
static void v2_block(struct reader *r, struct json_object *o)
{
    static const struct {
        const char *key, *op;
        bool bytes;
    } rows[] = {{" rbytes=", "Read", true}, {" wbytes=", "Write", true}, {" rios=", "Read", false},
                {" wios=", "Write", false}};
    struct json_object *list[2] = {json_object_new_array(), json_object_new_array()};
    char *t = (char *)text_of(r, "io", "io.stat");
    for (char *line; t && (line = strsep(&t, "\n")) != nullptr;) {
        unsigned long long major, minor;
        if (sscanf(line, "%llu:%llu", &major, &minor) != 2)
            continue;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            const char *v = strstr(line, rows[i].key);
            if (!v)
                continue;
            struct json_object *e = json_object_new_object();
            add_some(e, "major", major);
            add_some(e, "minor", minor);
            json_object_object_add(e, "op", json_object_new_string(rows[i].op));
            add_some(e, "value", strtoull(v + strlen(rows[i].key), nullptr, 10));
            json_object_array_add(list[!rows[i].bytes], e);
        }
    }
    static const char *const names[] = {"ioServiceBytesRecursive", "ioServicedRecursive"};
    for (int i = 0; i < 2; i++)
        if (json_object_array_length(list[i]))
            json_object_object_add(o, names[i], list[i]);
        else
            json_object_put(list[i]);
}
static struct json_object *block_stats(struct reader *r, bool v2)
{
    struct json_object *o = json_object_new_object();
    const struct cgroup_dir *d = cgroup_find(r->c, "blkio");
    if (v2 || (d && d->v2)) {
        v2_block(r, o);
        return o;
    }
    v1_block(r, o, "ioServiceBytesRecursive", "blkio.throttle.io_service_bytes_recursive");
    v1_block(r, o, "ioServicedRecursive", "blkio.throttle.io_serviced_recursive");
    return o;
}

static int huge_sizes(char sizes[8][16])
{
    DIR *dir = opendir("/sys/kernel/mm/hugepages");
    int n = 0;
    for (struct dirent *e; dir && n < 8 && (e = readdir(dir)) != nullptr;) {
        unsigned long kb;
        if (sscanf(e->d_name, "hugepages-%lukB", &kb) != 1)
            continue;
        bool gb = kb >= 1 << 20, mb = kb >= 1 << 10;
        snprintf(sizes[n++], 16, "%lu%s", gb ? kb >> 20 : mb ? kb >> 10 : kb,
                 gb ? "GB" : mb ? "MB" : "KB");
    }
    if (dir)
        closedir(dir);
    return n;
}
static struct json_object *huge_stats(struct reader *r)
{
    struct json_object *o = json_object_new_object();
    const struct cgroup_dir *d = cgroup_find(r->c, "hugetlb");
    char sizes[8][16], file[64];
    int n = d ? huge_sizes(sizes) : 0;
    for (int i = 0; i < n; i++) {
        snprintf(file, sizeof(file), "hugetlb.%s.%s", sizes[i], d->v2 ? "current" : "usage_in_bytes");
        if (!text_of(r, "hugetlb", file))
            continue;
        struct json_object *e = json_object_new_object();
        add_some(e, "usage", number_of(r, "hugetlb", file));
        snprintf(file, sizeof(file), "hugetlb.%s.max_usage_in_bytes", sizes[i]);
        add_some(e, "max", d->v2 ? 0 : number_of(r, "hugetlb", file));
        snprintf(file, sizeof(file), "hugetlb.%s.%s", sizes[i], d->v2 ? "events" : "failcnt");
        const char *t = d->v2 ? text_of(r, "hugetlb", file) : nullptr;
        add_u64(e, "failcnt", t ? key_of(t, "max") : d->v2 ? 0 : number_of(r, "hugetlb", file));
        json_object_object_add(o, sizes[i], e);
    }
    return o;
}

struct json_object *cgroup_stats(const struct cgroup *c)
{
    struct reader r = {.c = c, .text = mem_alloc(TEXT)};
    const struct cgroup_dir *memory = cgroup_find(c, "memory"), *cpu = cgroup_find(c, "cpu");
    struct json_object *o = json_object_new_object(), *pids = json_object_new_object();
    if (!r.text)
        return o;
    json_object_object_add(o, "cpu", cpu_stats(&r, cpu && cpu->v2));
    json_object_object_add(o, "cpuset", cpuset_stats(&r, cpu && cpu->v2));
    json_object_object_add(o, "memory", memory_stats(&r, memory && memory->v2));
    add_some(pids, "current", number_of(&r, "pids", "pids.current"));
    uint64_t most = number_of(&r, "pids", "pids.max");
    add_some(pids, "limit", most == UINT64_MAX ? 0 : most);
    json_object_object_add(o, "pids", pids);
    json_object_object_add(o, "blkio", block_stats(&r, c->unified));
    json_object_object_add(o, "hugetlb", huge_stats(&r));
    json_object_object_add(o, "intel_rdt", json_object_new_object());
    json_object_object_add(o, "network_interfaces", nullptr);
    mem_free(r.text);
    return o;
}
