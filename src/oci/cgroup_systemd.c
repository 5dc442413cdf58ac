// SPDX-License-Identifier: Apache-2.0
// Cgroups that systemd makes (`--systemd-cgroup`, cgroupsPath "slice:prefix:name"): a transient scope
// over D-Bus, only when asked for; of the system's systemd, or, for users, of their own. It gets the
// limits that systemd knows as properties, so that a reload of systemd does not undo them; the files are
// then written as without systemd.
#include "base/slab.h"
#include "oci/cgroup.h"
#include "oci/dbus.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// --- properties: (sv) -------------------------------------------------------------------------------
static void property(struct strbuf *b, const char *name, const char *type)
{
    dbus_align(b, 8);
    dbus_put_str(b, name);
    dbus_put_sig(b, type);
}
static void put_bool(struct strbuf *b, const char *name, bool v)
{
    property(b, name, "b");
    dbus_put_u32(b, v);
}
static void put_text(struct strbuf *b, const char *name, const char *v)
{
    property(b, name, "s");
    dbus_put_str(b, v);
}
static void put_u64(struct strbuf *b, const char *name, uint64_t v)
{
    property(b, name, "t");
    dbus_put_u64(b, v);
}

// --- limits -----------------------------------------------------------------------------------------
// A number of a control file: "max", or digits with a unit, as the kernel reads it.
static bool read_value(const char *s, uint64_t *out)
{
    static const char units[] = "kmgtpe";
    char *end;
    if (strcmp(s, "max") == 0) {
        *out = UINT64_MAX;
        return true;
    }
    if (*s < '0' || *s > '9')
        return false;
    errno = 0;
    *out = strtoull(s, &end, 10);
    const char *unit = *end ? strchr(units, *end | 0x20) : nullptr;
    for (long i = unit ? unit - units + 1 : 0; i > 0; i--)
        if (__builtin_mul_overflow(*out, 1024u, out))
            return false;
    return !errno && !end[unit != nullptr];
}
// Microseconds of CPU time in a second. systemd writes whole per cents down: rounded up.
static uint64_t quota_per_second(uint64_t quota, uint64_t period)
{
    constexpr uint64_t us_per_s = 1000000, step = 10000;
    uint64_t v;
    if (quota == UINT64_MAX || !period || __builtin_mul_overflow(quota, us_per_s, &v))
        return UINT64_MAX;
    v /= period;
    return v > UINT64_MAX - step ? UINT64_MAX : MAX((v + step - 1) / step, 1ul) * step;
}
static void put_cpu_max(struct strbuf *b, const char *value, unsigned version)
{
    constexpr uint64_t usual = 100000;
    constexpr unsigned knows_period = 242;
    char quota[32];
    const char *space = strchr(value, ' ');
    uint64_t q, p = usual;
    snprintf(quota, sizeof(quota), "%.*s", (int)strcspn(value, " "), value);
    if (!read_value(quota, &q) || (space && (!read_value(space + 1, &p) || p == UINT64_MAX)))
        return;
    put_u64(b, "CPUQuotaPerSecUSec", quota_per_second(q, p));
    if (version >= knows_period)
        put_u64(b, "CPUQuotaPeriodUSec", p);
}
static void put_set(struct strbuf *b, const char *name, const char *list)
{
    uint8_t mask[CPU_LIST_MAX / 8];
    size_t n = sizeof(mask);
    if (!*list || cpu_list_mask(list, mask))
        return;
    while (n > 0 && !mask[n - 1])
        n--;
    property(b, name, "ay");
    size_t at = dbus_array_begin(b, 1);
    strbuf_put(b, mask, n);
    dbus_array_end(b, at, 1);
}
// What is about to be written to a file of v2, whether it stood under "unified" or not.
static void put_setting(struct strbuf *b, const struct cgroup_setting *s, unsigned version)
{
    static const struct {
        const char *file, *name;
        uint64_t least, most; // what systemd takes
        unsigned since;
    } numbers[] = {
        {"memory.max", "MemoryMax", 1, UINT64_MAX, 0},
        {"memory.high", "MemoryHigh", 1, UINT64_MAX, 0},
        {"memory.low", "MemoryLow", 0, UINT64_MAX, 0},
        {"memory.min", "MemoryMin", 0, UINT64_MAX, 240},
        {"memory.swap.max", "MemorySwapMax", 0, UINT64_MAX, 0},
        {"cpu.weight", "CPUWeight", 1, 10000, 0},
        {"pids.max", "TasksMax", 1, UINT64_MAX, 0},
    };
    constexpr unsigned knows_cpuset = 244, knows_idle = 252;
    uint64_t v;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (strcmp(s->file, numbers[i].file) == 0 && version >= numbers[i].since &&
            read_value(s->value, &v) && v >= numbers[i].least && v <= numbers[i].most)
            put_u64(b, numbers[i].name, v);
    if (strcmp(s->file, "cpu.max") == 0)
        put_cpu_max(b, s->value, version);
    else if (strcmp(s->file, "cpu.idle") == 0 && strcmp(s->value, "1") == 0 && version >= knows_idle)
        put_u64(b, "CPUWeight", 0);
    else if (strcmp(s->file, "cpuset.cpus") == 0 && version >= knows_cpuset)
        put_set(b, "AllowedCPUs", s->value);
    else if (strcmp(s->file, "cpuset.mems") == 0 && version >= knows_cpuset)
        put_set(b, "AllowedMemoryNodes", s->value);
    else if (strcmp(s->file, "io.weight") == 0 && strncmp(s->value, "default ", 8) == 0 &&
             read_value(s->value + 8, &v) && v >= 1 && v <= 10000)
        put_u64(b, "IOWeight", v);
}
static void put_limits_v1(struct strbuf *b, const struct resources *r)
{
    constexpr uint64_t usual = 100000;
    if (res_given(r, RES_MEMORY))
        put_u64(b, "MemoryLimit", (uint64_t)r->v[RES_MEMORY]); // -1: no limit
    if (res_given(r, RES_CPU_SHARES))
        put_u64(b, "CPUShares", (uint64_t)r->v[RES_CPU_SHARES]);
    if (res_given(r, RES_CPU_QUOTA))
        put_u64(b, "CPUQuotaPerSecUSec",
                quota_per_second(r->v[RES_CPU_QUOTA] > 0 ? (uint64_t)r->v[RES_CPU_QUOTA] : UINT64_MAX,
                                 res_given(r, RES_CPU_PERIOD) ? (uint64_t)r->v[RES_CPU_PERIOD] : usual));
    if (res_given(r, RES_PIDS))
        put_u64(b, "TasksMax", (uint64_t)cgroup_host_pids(r->v[RES_PIDS]));
}
int cgroup_systemd_limits(struct strbuf *b, const struct resources *r, bool v2, unsigned version,
                          struct err *e)
{
    static struct cgroup_plan plan;
    if (!v2) {
        put_limits_v1(b, r);
        return 0;
    }
    int err = cgroup_plan(&plan, r, true, e);
    for (int i = 0; !err && i < plan.n; i++)
        put_setting(b, &plan.s[i], version);
    return err;
}

// --- calls ------------------------------------------------------------------------------------------
// "252.39-1", "v245.4": 252, 245. 0: it does not say.
static unsigned version_of(struct dbus *d)
{
    struct err ignored = {};
    char *text = nullptr;
    unsigned v = 0;
    if (dbus_property(d, "Version", &text, &ignored) == 0)
        v = (unsigned)strtoul(text + strcspn(text, "0123456789"), nullptr, 10);
    mem_free(text);
    return v;
}

static int put_scope(struct strbuf *b, const struct cgroup *c, pid_t pid, const struct resources *r,
                     unsigned version, struct err *e)
{
    constexpr unsigned knows_collect = 236;
    bool is_slice = strlen(c->unit) > 6 && strcmp(c->unit + strlen(c->unit) - 6, ".slice") == 0;
    char text[400];
    dbus_put_str(b, c->unit);
    dbus_put_str(b, "replace");
    size_t at = dbus_array_begin(b, 8);
    snprintf(text, sizeof(text), "nacre container %s", c->unit);
    put_text(b, "Description", text);
    if (is_slice) {
        put_text(b, "Wants", c->slice);
    } else {
        put_text(b, "Slice", c->slice);
        put_bool(b, "Delegate", true);
        property(b, "PIDs", "au");
        size_t pids = dbus_array_begin(b, 4);
        dbus_put_u32(b, (uint32_t)pid);
        dbus_array_end(b, pids, 4);
    }
    if (version >= knows_collect) // one that ended badly (out of memory) must not stay in the list
        put_text(b, "CollectMode", "inactive-or-failed");
    put_bool(b, "MemoryAccounting", true);
    put_bool(b, "CPUAccounting", true);
    put_bool(b, "TasksAccounting", true);
    put_bool(b, c->unified ? "IOAccounting" : "BlockIOAccounting", true);
    put_bool(b, "DefaultDependencies", false);
    int err = cgroup_systemd_limits(b, r, c->unified, version, e);
    dbus_array_end(b, at, 8);
    at = dbus_array_begin(b, 8); // auxiliary units
    dbus_array_end(b, at, 8);
    return err;
}

static int run_job(struct dbus *d, const char *member, const char *signature, const struct strbuf *b,
                   const char *unit, struct err *e)
{
    char *job = nullptr, result[64] = "";
    int err = b->bad ? -ENOMEM : dbus_call(d, member, signature, b, &job, e);
    if (!err && job)
        err = dbus_await_job(d, job, result, sizeof(result), e);
    mem_free(job);
    if (!err && result[0] && strcmp(result, "done") != 0)
        err = err_set(e, -EIO, "systemd: %s of %s: %s", member, unit, result);
    return err;
}

int cgroup_systemd_locate(struct cgroup *c, const struct cgroup_host *h, struct err *e)
{
    struct dbus d;
    char *top = nullptr;
    if (!c->user)
        return 0;
    if (!c->unified)
        return err_set(e, -EPERM, "--systemd-cgroup: for users only where cgroups are of version 2");
    int err = dbus_open(&d, true, e);
    if (err)
        return err;
    err = dbus_property(&d, "ControlGroup", &top, e);
    if (!err)
        err = cgroup_move_below(c, h, top, e);
    mem_free(top);
    dbus_close(&d);
    return err;
}

int cgroup_systemd_start(const struct cgroup *c, pid_t pid, const struct resources *r, struct err *e)
{
    struct dbus d;
    struct strbuf b = {};
    struct stat st;
    // As libsystemd's sd_booted(): elsewhere the bus may be there, systemd is not.
    if (!c->user && stat("/run/systemd/system", &st) < 0)
        return err_set(e, -ENOENT, "--systemd-cgroup: systemd does not run this host");
    int err = dbus_open(&d, c->user, e);
    if (err)
        return err;
    err = put_scope(&b, c, pid, r, version_of(&d), e);
    if (!err)
        err = run_job(&d, "StartTransientUnit", "ssa(sv)a(sa(sv))", &b, c->unit, e);
    strbuf_free(&b);
    dbus_close(&d);
    return err;
}

int cgroup_systemd_attach(const struct cgroup *c, pid_t pid, struct err *e)
{
    struct dbus d;
    struct strbuf b = {};
    int err = dbus_open(&d, c->user, e);
    if (err)
        return err;
    dbus_put_str(&b, c->unit);
    dbus_put_str(&b, ""); // the scope's own group
    size_t at = dbus_array_begin(&b, 4);
    dbus_put_u32(&b, (uint32_t)pid);
    dbus_array_end(&b, at, 4);
    err = b.bad ? err_set(e, -ENOMEM, "out of memory")
                : dbus_call(&d, "AttachProcessesToUnit", "ssau", &b, nullptr, e);
    strbuf_free(&b);
    dbus_close(&d);
    return err;
}

int cgroup_systemd_stop(const struct cgroup *c)
{
    struct dbus d;
    struct err ignored = {};
    struct strbuf b = {};
    int err = dbus_open(&d, c->user, &ignored);
    if (err)
        return err;
    dbus_put_str(&b, c->unit);
    dbus_put_str(&b, "replace");
    err = run_job(&d, "StopUnit", "ss", &b, c->unit, &ignored); // gone with its last process: fine
    strbuf_free(&b);
    dbus_close(&d);
    return err;
}

int cgroup_systemd_update(const struct cgroup *c, const struct resources *r, struct err *e)
{
    struct dbus d;
    struct strbuf b = {};
    int err = dbus_open(&d, c->user, e);
    if (err)
        return err;
    dbus_put_str(&b, c->unit);
    dbus_put_u32(&b, true); // until the next boot
    size_t at = dbus_array_begin(&b, 8);
    err = cgroup_systemd_limits(&b, r, c->unified, version_of(&d), e);
    dbus_array_end(&b, at, 8);
    if (!err)
        err = b.bad ? err_set(e, -ENOMEM, "out of memory")
                    : dbus_call(&d, "SetUnitProperties", "sba(sv)", &b, nullptr, e);
    strbuf_free(&b);
    dbus_close(&d);
    return err;
}
