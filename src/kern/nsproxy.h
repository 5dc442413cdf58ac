// SPDX-License-Identifier: Apache-2.0
// UTS namespace and what else a task shares by namespace.
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
