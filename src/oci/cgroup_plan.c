// SPDX-License-Identifier: Apache-2.0
// linux.resources -> control files and their values, for v1 and v2. Pure: no host calls, so that
// each conversion is a unit test. The formulas are runc's, whose users compare.
#include "oci/cgroup.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct writer {
    struct cgroup_plan *p;
    bool full;
};
PRINTF_LIKE(5, 6)
static void put(struct writer *w, const char *controller, const char *file, bool optional,
                const char *fmt, ...)
{
    va_list ap;
    if (w->p->n == CGROUP_SETTINGS) {
        w->full = true;
        return;
    }
    struct cgroup_setting *s = &w->p->s[w->p->n++];
    int a = snprintf(s->controller, sizeof(s->controller), "%s", controller),
        b = snprintf(s->file, sizeof(s->file), "%s", file);
    va_start(ap, fmt);
    int c = vsnprintf(s->value, sizeof(s->value), fmt, ap);
    va_end(ap);
    s->optional = optional;
    if (a >= (int)sizeof(s->controller) || b >= (int)sizeof(s->file) || c >= (int)sizeof(s->value))
        w->full = true;
}
// A number, or "max".
static void put_max(struct writer *w, const char *controller, const char *file, int64_t v)
{
    if (v < 0)
        put(w, controller, file, false, "max");
    else
        put(w, controller, file, false, "%lld", (long long)v);
}

uint64_t cgroup_weight_of_shares(uint64_t shares)
{
    constexpr uint64_t lo = 2, hi = 262144;
    if (shares == 0)
        return 0;
    shares = MIN(MAX(shares, lo), hi);
    return 1 + (shares - lo) * 9999 / (hi - lo);
}
int64_t cgroup_host_pids(int64_t guest)
{
    constexpr int64_t own = 128, most = 1 << 22;
    return guest < 0 || guest > most ? -1 : 2 * guest + own;
}

// --- v1 ---------------------------------------------------------------------------------------------
static void v1_memory(struct writer *w, const struct resources *r)
{
    bool limit = res_given(r, RES_MEMORY), swap = res_given(r, RES_MEMORY_SWAP);
    // No limit for memory means none for both, unless it is said otherwise.
    bool both = limit && r->v[RES_MEMORY] == -1 && !swap;
    if (limit && !both)
        put(w, "memory", "memory.limit_in_bytes", false, "%lld", (long long)r->v[RES_MEMORY]);
    if (both)
        put(w, "memory", "memory.memsw.limit_in_bytes", true, "-1");
    if (swap)
        put(w, "memory", "memory.memsw.limit_in_bytes", false, "%lld",
            (long long)r->v[RES_MEMORY_SWAP]);
    if (both)
        put(w, "memory", "memory.limit_in_bytes", false, "-1");
    if (res_given(r, RES_MEMORY_LOW))
        put(w, "memory", "memory.soft_limit_in_bytes", false, "%lld",
            (long long)r->v[RES_MEMORY_LOW]);
    if (res_given(r, RES_NO_OOM_KILLER) && r->v[RES_NO_OOM_KILLER])
        put(w, "memory", "memory.oom_control", false, "1");
    if (res_given(r, RES_SWAPPINESS))
        put(w, "memory", "memory.swappiness", false, "%lld", (long long)r->v[RES_SWAPPINESS]);
}
static void v1_cpu(struct writer *w, const struct resources *r)
{
    static const struct {
        enum resource which;
        const char *file;
        bool optional;
    } rows[] = {
        {RES_CPU_SHARES, "cpu.shares", false},
        {RES_CPU_PERIOD, "cpu.cfs_period_us", false},
        {RES_CPU_QUOTA, "cpu.cfs_quota_us", false},
        {RES_CPU_BURST, "cpu.cfs_burst_us", true},
        {RES_CPU_RT_PERIOD, "cpu.rt_period_us", false},
        {RES_CPU_RT_RUNTIME, "cpu.rt_runtime_us", false},
        {RES_CPU_IDLE, "cpu.idle", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (res_given(r, rows[i].which) && !(rows[i].optional && r->v[rows[i].which] == 0))
            put(w, "cpu", rows[i].file, false, "%lld", (long long)r->v[rows[i].which]);
    if (r->mems) // before cpus: nothing runs without memory
        put(w, "cpuset", "cpuset.mems", false, "%s", r->mems);
    if (r->cpus)
        put(w, "cpuset", "cpuset.cpus", false, "%s", r->cpus);
}
static void v1_io(struct writer *w, const struct resources *r)
{
    static const char *const files[] = {
        [IO_WEIGHT] = "blkio.weight_device",
        [IO_LEAF_WEIGHT] = "blkio.leaf_weight_device",
        [IO_READ_BPS] = "blkio.throttle.read_bps_device",
        [IO_WRITE_BPS] = "blkio.throttle.write_bps_device",
        [IO_READ_IOPS] = "blkio.throttle.read_iops_device",
        [IO_WRITE_IOPS] = "blkio.throttle.write_iops_device",
    };
    if (res_given(r, RES_IO_WEIGHT)) {
        put(w, "blkio", "blkio.weight", true, "%lld", (long long)r->v[RES_IO_WEIGHT]);
        put(w, "blkio", "blkio.bfq.weight", true, "%lld", (long long)r->v[RES_IO_WEIGHT]);
    }
    if (res_given(r, RES_IO_LEAF_WEIGHT))
        put(w, "blkio", "blkio.leaf_weight", true, "%lld", (long long)r->v[RES_IO_LEAF_WEIGHT]);
    for (size_t i = 0; i < r->nio; i++) {
        const struct io_device *d = &r->io[i];
        put(w, "blkio", files[d->kind], d->kind <= IO_LEAF_WEIGHT, "%u:%u %llu", d->major, d->minor,
            (unsigned long long)d->value);
        if (d->kind == IO_WEIGHT)
            put(w, "blkio", "blkio.bfq.weight_device", true, "%u:%u %llu", d->major, d->minor,
                (unsigned long long)d->value);
    }
}

// --- v2 ---------------------------------------------------------------------------------------------
static int v2_swap(const struct resources *r, int64_t *out, struct err *e)
{
    int64_t memory = res_given(r, RES_MEMORY) ? r->v[RES_MEMORY] : 0,
            swap = res_given(r, RES_MEMORY_SWAP) ? r->v[RES_MEMORY_SWAP] : 0;
    *out = swap;
    if (swap == 0 && memory == -1)
        *out = -1;
    if (swap <= 0)
        return 0;
    if (memory <= 0)
        return err_set(e, -EINVAL, "unable to set swap limit without memory limit");
    if (swap < memory)
        return err_set(e, -EINVAL, "memory+swap limit should be >= memory limit");
    *out = swap - memory;
    return 0;
}
static int v2_memory(struct writer *w, const struct resources *r, struct err *e)
{
    int64_t swap;
    int err = v2_swap(r, &swap, e);
    if (err)
        return err;
    if (swap || res_given(r, RES_MEMORY_SWAP))
        put(w, "memory", "memory.swap.max", !res_given(r, RES_MEMORY_SWAP), swap < 0 ? "max" : "%lld",
            (long long)swap);
    if (res_given(r, RES_MEMORY))
        put_max(w, "memory", "memory.max", r->v[RES_MEMORY]);
    if (res_given(r, RES_MEMORY_LOW))
        put_max(w, "memory", "memory.low", r->v[RES_MEMORY_LOW]);
    return 0;
}
static void v2_cpu(struct writer *w, const struct resources *r)
{
    bool quota = res_given(r, RES_CPU_QUOTA), period = res_given(r, RES_CPU_PERIOD);
    constexpr long long usual = 100000;
    if (res_given(r, RES_CPU_IDLE))
        put(w, "cpu", "cpu.idle", true, "%lld", (long long)r->v[RES_CPU_IDLE]);
    if (res_given(r, RES_CPU_SHARES))
        put(w, "cpu", "cpu.weight", res_given(r, RES_CPU_IDLE) && r->v[RES_CPU_IDLE], "%llu",
            (unsigned long long)cgroup_weight_of_shares((uint64_t)r->v[RES_CPU_SHARES]));
    if (quota || period) {
        long long p = period ? (long long)r->v[RES_CPU_PERIOD] : usual;
        if (quota && r->v[RES_CPU_QUOTA] > 0)
            put(w, "cpu", "cpu.max", false, "%lld %lld", (long long)r->v[RES_CPU_QUOTA], p);
        else
            put(w, "cpu", "cpu.max", false, "max %lld", p);
    }
    if (res_given(r, RES_CPU_BURST) && r->v[RES_CPU_BURST])
        put(w, "cpu", "cpu.max.burst", false, "%lld", (long long)r->v[RES_CPU_BURST]);
    if (r->mems)
        put(w, "cpuset", "cpuset.mems", false, "%s", r->mems);
    if (r->cpus)
        put(w, "cpuset", "cpuset.cpus", false, "%s", r->cpus);
}
static void v2_io(struct writer *w, const struct resources *r)
{
    static const char *const keys[] = {[IO_READ_BPS] = "rbps", [IO_WRITE_BPS] = "wbps",
                                       [IO_READ_IOPS] = "riops", [IO_WRITE_IOPS] = "wiops"};
    if (res_given(r, RES_IO_WEIGHT)) {
        uint64_t weight = (uint64_t)r->v[RES_IO_WEIGHT];
        put(w, "io", "io.bfq.weight", true, "%llu", (unsigned long long)weight);
        // 10..1000 -> 1..10000
        if (weight >= 10 && weight <= 1000)
            weight = 1 + (weight - 10) * 9999 / 990;
        put(w, "io", "io.weight", true, "default %llu", (unsigned long long)weight);
    }
    for (size_t i = 0; i < r->nio; i++) {
        const struct io_device *d = &r->io[i];
        if (d->kind == IO_WEIGHT)
            put(w, "io", "io.bfq.weight", true, "%u:%u %llu", d->major, d->minor,
                (unsigned long long)d->value);
        else if (d->kind != IO_LEAF_WEIGHT && d->value == 0)
            put(w, "io", "io.max", false, "%u:%u %s=max", d->major, d->minor, keys[d->kind]);
        else if (d->kind != IO_LEAF_WEIGHT)
            put(w, "io", "io.max", false, "%u:%u %s=%llu", d->major, d->minor, keys[d->kind],
                (unsigned long long)d->value);
    }
}
// unified: a value may be several lines, each a write of its own.
static int v2_unified(struct writer *w, const struct resources *r, struct err *e)
{
    for (size_t i = 0; i < r->nunified; i++) {
        const struct unified_value *u = &r->unified[i];
        char controller[16];
        size_t n = strcspn(u->file, ".");
        snprintf(controller, sizeof(controller), "%.*s", (int)MIN(n, sizeof(controller) - 1), u->file);
        for (const char *line = u->value; *line;) {
            size_t len = strcspn(line, "\n");
            if (len >= sizeof(w->p->s[0].value))
                return err_set(e, -EINVAL, "resources.unified.%s: too long", u->file);
            if (len)
                put(w, controller, u->file, false, "%.*s", (int)len, line);
            line += len + (line[len] == '\n');
        }
    }
    return 0;
}

int cgroup_plan(struct cgroup_plan *p, const struct resources *r, bool v2, struct err *e)
{
    struct writer w = {.p = p};
    int err = 0;
    p->n = 0;
    if (v2) {
        err = v2_memory(&w, r, e);
        v2_cpu(&w, r);
        v2_io(&w, r);
    } else {
        v1_memory(&w, r);
        v1_cpu(&w, r);
        v1_io(&w, r);
    }
    if (res_given(r, RES_PIDS)) {
        int64_t host = cgroup_host_pids(r->v[RES_PIDS]);
        put_max(&w, "pids", "pids.max", host);
    }
    for (size_t i = 0; i < r->nhuge; i++) {
        char file[64];
        snprintf(file, sizeof(file), "hugetlb.%s.%s", r->huge[i].size, v2 ? "max" : "limit_in_bytes");
        put(&w, "hugetlb", file, false, "%llu", (unsigned long long)r->huge[i].limit);
    }
    if (!err && v2)
        err = v2_unified(&w, r, e);
    if (!err && w.full)
        err = err_set(e, -E2BIG, "linux.resources: more than %d settings", CGROUP_SETTINGS);
    return err;
}
