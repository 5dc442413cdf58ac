// SPDX-License-Identifier: Apache-2.0
// What the sandbox is as a machine: told truthfully in /proc, /sys, sysinfo and affinity masks.
// Set at boot, before the first guest instruction; the limits change with `update` (boot_ctl.c).
#pragma once
#include "base/attr.h"

// The limits of the container's cgroup, as the guest finds them in /sys/fs/cgroup.
struct cgroup_view {
    bool present;                             // there is a cgroup
    uint64_t memory_max, memory_low, swap_max; // bytes; UINT64_MAX: no limit (low, min: 0)
    uint64_t memory_high, memory_min;         // v2's "unified" has them
    int64_t cpu_quota;                        // us in each period; -1: no limit
    uint64_t cpu_period, cpu_weight;
    uint32_t cpus;                            // of the cpuset; 0: all
    uint64_t pids_max;                        // of the guest; 0: the default
};
#define CGROUP_VIEW_NONE                                                                           \
    ((struct cgroup_view){.memory_max = UINT64_MAX, .swap_max = UINT64_MAX,                        \
                          .memory_high = UINT64_MAX, .cpu_quota = -1, .cpu_period = 100000,        \
                          .cpu_weight = 100})
// CPUs that these limits amount to, of `host` ones: 1.5 are 2.
uint32_t cgroup_view_cpus(const struct cgroup_view *v, uint32_t host);
// How many threads can run at once without one waiting for the quota: 1.5 are 1.
uint32_t cgroup_view_headroom(const struct cgroup_view *v, uint32_t host);

struct machine {
    int ncpus;           // [A] CPUs that guests see (affinity and quota of the sandbox)
    uint64_t mem_total;  // [A] bytes: the container's limit, or the host's memory
    uint64_t tasks_max;  // [A] pids limit
    uint64_t boot_realtime_ns; // [C]
    // Descriptors of the host's figures for our cgroup, read-only; -1: none. [C]
    int memory_usage_fd, memory_stat_fd, memory_events_fd;
    bool events_v1;      // [C] memory_events_fd is v1's memory.oom_control
};
extern struct machine machine;
static inline int machine_ncpus(void)
{
    return __atomic_load_n(&machine.ncpus, __ATOMIC_RELAXED);
}
static inline uint64_t machine_mem_total(void)
{
    return __atomic_load_n(&machine.mem_total, __ATOMIC_RELAXED);
}
static inline uint64_t machine_tasks_max(void)
{
    return __atomic_load_n(&machine.tasks_max, __ATOMIC_RELAXED);
}
void machine_set_view(const struct cgroup_view *v);
void machine_get_view(struct cgroup_view *v);

// What the cgroup has charged (guest memory, files in memory, our own share), and how much of it are
// pages of files that can be dropped. False: not known.
struct memory_figures {
    uint64_t usage, inactive_file, active_file, anon, shmem;
};
bool machine_memory(struct memory_figures *f);
// Processes that the host's OOM killer has taken, and how often it was called.
bool machine_oom(uint64_t *kills, uint64_t *ooms);

// What uname(2) and /proc/version say.
#define UTS_SYSNAME "Linux"
#define UTS_RELEASE "6.12.0-nacre"
#define UTS_VERSION "#1 SMP PREEMPT_DYNAMIC"
#define UTS_MACHINE "x86_64"
