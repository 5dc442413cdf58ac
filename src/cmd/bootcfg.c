// SPDX-License-Identifier: Apache-2.0
// What Sentry and Gofer share in their first steps: the configuration, messages to the supervisor.
#include "base/slab.h"
#include "cmd/launch.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void wire_root(struct wire *w, struct boot_root *r)
{
    wire_str(w, &r->path);
    wire_bool(w, &r->readonly);
    wire_bool(w, &r->is_file);
    wire_bool(w, &r->shared);
    if (!w->bad && !r->path)
        w->bad = true;
}

static void wire_view(struct wire *w, struct cgroup_view *v)
{
    wire_bool(w, &v->present);
    wire_u64(w, &v->memory_max);
    wire_u64(w, &v->memory_low);
    wire_u64(w, &v->memory_high);
    wire_u64(w, &v->memory_min);
    wire_u64(w, &v->swap_max);
    wire_u64(w, (uint64_t *)&v->cpu_quota);
    wire_u64(w, &v->cpu_period);
    wire_u64(w, &v->cpu_weight);
    wire_u32(w, &v->cpus);
    wire_u64(w, &v->pids_max);
}

void wire_boot_config(struct wire *w, struct boot_config *c)
{
    if (!w->writing && !(c->spec = spec_new()))
        w->bad = true;
    if (w->bad)
        return;
    wire_spec(w, c->spec);
    size_t n = wire_array(w, &c->nroots, (void **)&c->roots, sizeof(*c->roots));
    for (size_t i = 0; i < n; i++)
        wire_root(w, &c->roots[i]);
    wire_str(w, &c->platform);
    wire_u32(w, &c->ncpus);
    wire_u64(w, &c->mem_total);
    wire_u32(w, &c->host_cpus);
    wire_u64(w, &c->host_memory);
    wire_view(w, &c->view);
    wire_bool(w, &c->memory_v1);
    wire_u32(w, (uint32_t *)&c->oom_own);
    wire_u32(w, (uint32_t *)&c->oom_stubs);
    wire_u64(w, &c->tmpfs_size);
    wire_u32(w, &c->log_format);
    wire_u32(w, &c->log_level);
    wire_bool(w, &c->debug);
    wire_bool(w, &c->strace);
    wire_bool(w, &c->fast_off);
    wire_bool(w, &c->patching_off);
    wire_str(w, &c->strace_list);
    wire_bool(w, &c->make_mountpoints);
    wire_bool(w, &c->overlay_off);
    wire_bool(w, &c->privileged);
    wire_bool(w, &c->mapped);
    wire_bool(w, &c->killable);
    wire_bool(w, &c->hold);
    wire_u32(w, &c->gofer_uid);
    wire_u32(w, &c->gofer_gid);
    wire_u64(w, &c->t0);
    wire_str(w, &c->sandbox);
    wire_bool(w, &c->own_cgroup);
    wire_str(w, &c->pid_of);
    wire_str(w, &c->uts_of);
    wire_str(w, &c->ipc_of);
    wire_str(w, &c->hook_state);
    wire_u32(w, &c->npreserve);
    if (c->npreserve > PRESERVE_MAX)
        w->bad = true;
    if (!w->bad && (c->nroots == 0 || !c->platform || c->ncpus == 0 || c->log_format > LOG_JSON ||
                    c->log_level > LOG_DEBUG))
        w->bad = true;
    if (!w->writing && !span_ok(&w->in))
        w->bad = true;
}

static void *read_config_bytes(int fd, size_t *n)
{
    struct stat st;
    if (host_call(__NR_fstat, fd, &st) < 0 || st.st_size <= 0 || st.st_size > (64 << 20))
        return nullptr;
    *n = (size_t)st.st_size;
    uint8_t *buf = mem_alloc(*n);
    for (size_t done = 0; buf && done < *n;) {
        struct iovec v = {buf + done, *n - done};
        long r = host_call(__NR_preadv2, fd, &v, 1, done, 0, 0);
        if (r <= 0) {
            mem_free(buf);
            return nullptr;
        }
        done += (size_t)r;
    }
    return buf;
}

const char *userns_hint(bool privileged)
{
    static const struct {
        const char *file;
        char bad;
        const char *text;
    } rows[] = {
        {"/proc/sys/user/max_user_namespaces", '0', " (user.max_user_namespaces is 0)"},
        {"/proc/sys/kernel/unprivileged_userns_clone", '0',
         " (kernel.unprivileged_userns_clone is 0: only root has user namespaces here)"},
        {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", '1',
         " (kernel.apparmor_restrict_unprivileged_userns is 1: only programs with an AppArmor profile that "
         "has \"userns\" have user namespaces here)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows) && !privileged; i++) {
        char text[2] = {};
        int fd = open(rows[i].file, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        bool hit = read(fd, text, 2) > 0 && text[0] == rows[i].bad && text[1] < '0';
        close(fd);
        if (hit)
            return rows[i].text;
    }
    return "";
}

struct boot_config *boot_config_parse(int fd)
{
    size_t n = 0;
    struct boot_config *c = mem_alloc(sizeof(*c));
    void *bytes = c ? read_config_bytes(fd, &n) : nullptr;
    bool ok = bytes;
    if (ok) {
        struct wire w = {.in = span_of(bytes, n)};
        wire_boot_config(&w, c);
        ok = !w.bad && w.in.n == 0;
    }
    mem_free(bytes);
    if (ok)
        return c;
    boot_config_free(c);
    return nullptr;
}

void boot_config_free(struct boot_config *c)
{
    if (!c)
        return;
    if (c->spec)
        spec_free(c->spec);
    for (size_t i = 0; i < c->nroots; i++)
        mem_free(c->roots[i].path);
    mem_free(c->roots);
    mem_free(c->platform);
    mem_free(c->strace_list);
    mem_free(c->sandbox);
    mem_free(c->pid_of);
    mem_free(c->uts_of);
    mem_free(c->ipc_of);
    mem_free(c->hook_state);
    mem_free(c);
}

struct boot_config *boot_config_read(void)
{
    constexpr int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (host_call(__NR_fcntl, BOOT_FD_CONFIG, F_GET_SEALS) != seals)
        boot_fail(1, "no configuration: this command is started by nacre itself");
    struct boot_config *c = boot_config_parse(BOOT_FD_CONFIG);
    if (!c)
        boot_fail(1, "malformed configuration");
    host_call(__NR_close, BOOT_FD_CONFIG);
    return c;
}

void ctl_send(enum ctl_kind kind, int value, const char *text)
{
    ctl_tell(BOOT_FD_CONTROL, kind, 0, value, text);
}
void ctl_tell(int fd, enum ctl_kind kind, uint32_t token, int value, const char *text)
{
    struct ctl_msg m = {.kind = kind, .value = value, .token = token};
    snprintf(m.text, sizeof(m.text), "%s", text ? text : "");
    if (fd_send(fd, &m, sizeof(m), nullptr, 0, MSG_DONTWAIT) < 0)
        return;
}

void boot_fail(int exit_status, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    ctl_send(CTL_FAILED, exit_status, text);
    for (;;)
        host_call(__NR_exit_group, 1);
}

void boot_stage(const struct boot_config *c, const char *what)
{
    struct timespec ts;
    if (!c->debug)
        return;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    uint64_t us = ((uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec - c->t0) / 1000;
    log_info("stage %s: %llu us", what, (unsigned long long)us);
}
