// SPDX-License-Identifier: Apache-2.0
// UTS and IPC namespaces: what else a task shares by namespace.
#pragma once
#include "base/ref.h"
#include "sched/mutex.h"

struct utsns {
    struct ref ref;
    struct mutex lock;
    char nodename[65], domainname[65]; // [lock]
    uint64_t ino;                      // [C]
};
MUST_CHECK struct utsns *utsns_new(const char *nodename, const char *domainname);
struct utsns *utsns_get(struct utsns *);
void utsns_put(struct utsns *);

// System V objects carry the number of theirs (sys/sysvipc.h); message queues hang here.
struct super;
struct mount;
struct ipcns {
    struct ref ref;              // tasks and containers
    uint64_t ino;                // [C] never used twice
    struct super *mqueue;        // [fs/mqueue.c's lock] ref, made at first use
    struct mount *mqueue_mount;  // [the same] ref
};
MUST_CHECK struct ipcns *ipcns_new(void);
struct ipcns *ipcns_get(struct ipcns *);
void ipcns_put(struct ipcns *); // the last one sleeps: a fiber only
// Called at the end of each, by constructors.
void ipcns_on_release(void (*fn)(struct ipcns *));
