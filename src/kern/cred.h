// SPDX-License-Identifier: Apache-2.0
// Credentials (credentials(7), capabilities(7)). Immutable once published: a change makes a copy
// (cred_dup), edits it and publishes it in the task, so readers need no lock.
#pragma once
#include "base/ref.h"
#include <sys/types.h>

constexpr int NGROUPS_LIMIT = 65536;
struct userns; // one per sandbox for now: ids of the guest are ids, no nesting
struct cred {
    struct ref ref;
    uint32_t uid, euid, suid, fsuid, gid, egid, sgid, fsgid;
    uint64_t cap_inheritable, cap_permitted, cap_effective, cap_bounding, cap_ambient;
    uint32_t securebits;
    bool no_new_privs;
    uint32_t ngroups;
    uint32_t *groups; // owned, sorted
};
struct cred *cred_get(struct cred *c);
void cred_put(struct cred *c);
MUST_CHECK struct cred *cred_new(void);                  // root with all capabilities
MUST_CHECK struct cred *cred_dup(const struct cred *c);  // ref 1
bool cred_capable(const struct cred *c, int cap);
bool cred_in_group(const struct cred *c, uint32_t gid);  // fsgid or supplementary
