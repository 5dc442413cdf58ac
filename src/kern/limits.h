// SPDX-License-Identifier: Apache-2.0
// What the sandbox is as a machine: told truthfully in /proc, /sys, sysinfo and affinity masks.
// Set once at boot, before the first guest instruction; constant afterwards.
#pragma once
#include "base/attr.h"

struct machine {
    int ncpus;           // CPUs that guests see (affinity and quota of the sandbox)
    uint64_t mem_total;  // bytes: the container's limit, or the host's memory
    uint64_t tasks_max;  // pids limit
    uint64_t boot_realtime_ns;
};
extern struct machine machine;

// What uname(2) and /proc/version say.
#define UTS_SYSNAME "Linux"
#define UTS_RELEASE "6.12.0-nacre"
#define UTS_VERSION "#1 SMP PREEMPT_DYNAMIC"
#define UTS_MACHINE "x86_64"
