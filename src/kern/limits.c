// SPDX-License-Identifier: Apache-2.0
// The machine's figures, and those that the host keeps of our cgroup: read through descriptors that
// came with the start. Their text is the host kernel's; only numbers are taken from it.
#include "kern/limits.h"
#include "base/lock.h"
#include "host/raw.h"
#include <string.h>
#include <sys/uio.h>

struct machine machine = {.ncpus = 1, .mem_total = 1ull << 30, .tasks_max = 4096,
                          .memory_usage_fd = -1, .memory_stat_fd = -1, .memory_events_fd = -1};
static struct spinlock view_lock;
static struct cgroup_view view = {.memory_max = UINT64_MAX, .swap_max = UINT64_MAX, .cpu_quota = -1,
                                  .cpu_period = 100000, .cpu_weight = 100}; // [view_lock]

uint32_t cgroup_view_cpus(const struct cgroup_view *v, uint32_t host)
{
    uint32_t n = v->cpus && v->cpus < host ? v->cpus : host;
    if (v->cpu_quota > 0 && v->cpu_period > 0) {
        uint64_t q = ((uint64_t)v->cpu_quota + v->cpu_period - 1) / v->cpu_period;
        n = (uint32_t)MIN((uint64_t)n, q);
    }
    return MAX(n, 1u);
}
uint32_t cgroup_view_headroom(const struct cgroup_view *v, uint32_t host)
{
    uint32_t n = v->cpus && v->cpus < host ? v->cpus : host;
    if (v->cpu_quota > 0 && v->cpu_period > 0)
        n = (uint32_t)MIN((uint64_t)n, (uint64_t)v->cpu_quota / v->cpu_period);
    return n;
}

void machine_set_view(const struct cgroup_view *v)
{
    spin_lock(&view_lock);
    view = *v;
    spin_unlock(&view_lock);
}
void machine_get_view(struct cgroup_view *v)
{
    spin_lock(&view_lock);
    *v = view;
    spin_unlock(&view_lock);
}

// The whole of a small file of cgroupfs, NUL-terminated.
static bool read_text(int fd, char *buf, size_t n)
{
    size_t len = 0;
    long r = fd < 0 ? -1 : 1;
    while (r > 0 && len < n - 1) {
        struct iovec v = {buf + len, n - 1 - len};
        r = host_call(__NR_preadv2, fd, &v, 1, len, 0, 0);
        len += r > 0 ? (size_t)r : 0;
    }
    buf[len] = 0;
    return len > 0;
}
static uint64_t parse(const char *s)
{
    uint64_t v = 0;
    for (; *s >= '0' && *s <= '9'; s++)
        v = v * 10 + (uint64_t)(*s - '0');
    return v;
}
// The number behind `key ` at the beginning of a line.
static bool find(const char *text, const char *key, uint64_t *out)
{
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : nullptr)
        if (strncmp(line, key, n) == 0 && line[n] == ' ') {
            *out = parse(line + n + 1);
            return true;
        }
    return false;
}

bool machine_memory(struct memory_figures *f)
{
    char text[4096];
    *f = (struct memory_figures){};
    if (!read_text(machine.memory_usage_fd, text, sizeof(text)))
        return false;
    f->usage = parse(text);
    if (!read_text(machine.memory_stat_fd, text, sizeof(text)))
        return true;
    // v1 counts the group alone without total_; ours has no children, but an engine's may.
    if (!find(text, "total_inactive_file", &f->inactive_file))
        find(text, "inactive_file", &f->inactive_file);
    if (!find(text, "total_active_file", &f->active_file))
        find(text, "active_file", &f->active_file);
    if (!find(text, "anon", &f->anon) && !find(text, "total_rss", &f->anon))
        find(text, "rss", &f->anon);
    if (!find(text, "total_shmem", &f->shmem))
        find(text, "shmem", &f->shmem);
    return true;
}

bool machine_oom(uint64_t *kills, uint64_t *ooms)
{
    char text[512];
    *kills = *ooms = 0;
    if (!read_text(machine.memory_events_fd, text, sizeof(text)))
        return false;
    find(text, "oom_kill", kills);
    if (!find(text, "oom", ooms) || machine.events_v1)
        *ooms = *kills;
    return true;
}
