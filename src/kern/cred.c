// SPDX-License-Identifier: Apache-2.0
// Credentials: reference counting, copies, capability and group tests. Immutable once published,
// so readers need a reference and no lock. No user namespaces: an id is an id.
#include "kern/cred.h"
#include "base/slab.h"
#include <linux/capability.h>
#include <string.h>

SLAB_DEFINE(cred_slab, struct cred);
constexpr uint64_t CAP_ALL = (2ull << CAP_LAST_CAP) - 1;

struct cred *cred_get(struct cred *c)
{
    ref_get(&c->ref);
    return c;
}

void cred_put(struct cred *c)
{
    if (!c || !ref_put(&c->ref))
        return;
    mem_free(c->groups);
    slab_free(&cred_slab, c);
}

struct cred *cred_new(void)
{
    struct cred *c = slab_alloc(&cred_slab);
    if (!c)
        return nullptr;
    ref_init(&c->ref);
    c->cap_permitted = c->cap_effective = c->cap_bounding = CAP_ALL;
    return c;
}

struct cred *cred_dup(const struct cred *o)
{
    struct cred *c = slab_alloc(&cred_slab);
    if (!c)
        return nullptr;
    *c = *o;
    ref_init(&c->ref);
    c->groups = nullptr;
    if (o->ngroups) {
        c->groups = mem_alloc_array(o->ngroups, sizeof(*c->groups));
        if (!c->groups) {
            slab_free(&cred_slab, c);
            return nullptr;
        }
        memcpy(c->groups, o->groups, o->ngroups * sizeof(*c->groups));
    }
    return c;
}

bool cred_capable(const struct cred *c, int cap)
{
    return c->cap_effective >> cap & 1;
}

bool cred_in_group(const struct cred *c, uint32_t gid)
{
    if (c->fsgid == gid)
        return true;
    size_t lo = 0, hi = c->ngroups;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (c->groups[mid] == gid)
            return true;
        if (c->groups[mid] < gid)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}
