// SPDX-License-Identifier: Apache-2.0
// What the kernel publishes about a task, so that its own host thread can answer for it: one line of
// values for each thread of an address space. Written by the Sentry through its own mapping; in the
// stub the pages are read-only for good (the memory file is sealed against further writers), and
// they hold nothing of another process.
#pragma once
#include <stdint.h>

// ppublic.full: why no call of this task is answered outside the kernel. 0: the values are true.
enum : uint32_t {
    PUB_STALE = 1,  // a number has changed (or was never written): the task writes it on its way out
    PUB_TRACED = 2, // the kernel wants to see every call: strace, ptrace, a seccomp filter
    PUB_OFF = 4,    // --systrap-fast=off
};
struct ppublic {
    uint32_t full;
    uint32_t tid, tgid, ppid, pgid, sid; // as its own pid namespace numbers them
    uint32_t uid, euid, gid, egid;
    uint32_t ncpus;
    uint32_t altstack_flags;
    uint64_t altstack_sp, altstack_size;
    uint64_t affinity;
    uint64_t pending; // signals, its own and its group's: a mask that touches one is the kernel's to set
    uint64_t pad[6];
};
static_assert(sizeof(struct ppublic) == 128);
