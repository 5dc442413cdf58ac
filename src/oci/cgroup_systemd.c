// SPDX-License-Identifier: Apache-2.0
// Cgroups that systemd makes (`--systemd-cgroup`, cgroupsPath "slice:prefix:name"): a transient scope
// over D-Bus, only when asked for. It gets the limits that systemd knows as properties, so that a
// reload of systemd does not undo them; the files are then written as without systemd.
#include "base/slab.h"
#include "oci/cgroup.h"
#include "oci/dbus.h"
#include <errno.h>
#include <stdio.h>
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

static void put_limits(struct strbuf *b, const struct resources *r, bool v2)
{
    if (res_given(r, RES_MEMORY))
        put_u64(b, v2 ? "MemoryMax" : "MemoryLimit", (uint64_t)r->v[RES_MEMORY]); // -1: no limit
    if (v2 && res_given(r, RES_MEMORY_LOW))
        put_u64(b, "MemoryLow", (uint64_t)r->v[RES_MEMORY_LOW]);
    if (res_given(r, RES_CPU_SHARES)) {
        uint64_t shares = (uint64_t)r->v[RES_CPU_SHARES];
        put_u64(b, v2 ? "CPUWeight" : "CPUShares", v2 ? cgroup_weight_of_shares(shares) : shares);
    }
    if (res_given(r, RES_CPU_QUOTA)) {
        constexpr uint64_t usual = 100000, us_per_s = 1000000, step = 10000;
        uint64_t period = res_given(r, RES_CPU_PERIOD) ? (uint64_t)r->v[RES_CPU_PERIOD] : usual;
        uint64_t per_s = UINT64_MAX;
        if (r->v[RES_CPU_QUOTA] > 0 &&
            !__builtin_mul_overflow((uint64_t)r->v[RES_CPU_QUOTA], us_per_s, &per_s) && period)
            per_s = (per_s / period + step - 1) / step * step; // systemd knows whole per cents
        put_u64(b, "CPUQuotaPerSecUSec", per_s);
    }
    if (res_given(r, RES_PIDS)) {
        put_bool(b, "TasksAccounting", true);
        put_u64(b, "TasksMax", (uint64_t)cgroup_host_pids(r->v[RES_PIDS]));
    }
}

static void put_scope(struct strbuf *b, const struct cgroup *c, pid_t pid, const struct resources *r)
{
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
    put_bool(b, "MemoryAccounting", true);
    put_bool(b, "CPUAccounting", true);
    put_bool(b, c->unified ? "IOAccounting" : "BlockIOAccounting", true);
    put_bool(b, "DefaultDependencies", false);
    put_limits(b, r, c->unified);
    dbus_array_end(b, at, 8);
    at = dbus_array_begin(b, 8); // auxiliary units
    dbus_array_end(b, at, 8);
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

int cgroup_systemd_start(const struct cgroup *c, pid_t pid, const struct resources *r, struct err *e)
{
    struct dbus d;
    struct strbuf b = {};
    struct stat st;
    // As libsystemd's sd_booted(): elsewhere the bus may be there, systemd is not.
    if (geteuid() == 0 && stat("/run/systemd/system", &st) < 0)
        return err_set(e, -ENOENT, "--systemd-cgroup: systemd does not run this host");
    int err = dbus_open(&d, geteuid() != 0, e);
    if (err)
        return err;
    put_scope(&b, c, pid, r);
    err = run_job(&d, "StartTransientUnit", "ssa(sv)a(sa(sv))", &b, c->unit, e);
    strbuf_free(&b);
    dbus_close(&d);
    return err;
}

int cgroup_systemd_stop(const struct cgroup *c)
{
    struct dbus d;
    struct err ignored = {};
    struct strbuf b = {};
    int err = dbus_open(&d, geteuid() != 0, &ignored);
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
    int err = dbus_open(&d, geteuid() != 0, e);
    if (err)
        return err;
    dbus_put_str(&b, c->unit);
    dbus_put_u32(&b, true); // until the next boot
    size_t at = dbus_array_begin(&b, 8);
    put_limits(&b, r, c->unified);
    dbus_array_end(&b, at, 8);
    err = b.bad ? err_set(e, -ENOMEM, "out of memory")
                : dbus_call(&d, "SetUnitProperties", "sba(sv)", &b, nullptr, e);
    strbuf_free(&b);
    dbus_close(&d);
    return err;
}
