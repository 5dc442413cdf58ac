// SPDX-License-Identifier: Apache-2.0
// UTS namespaces: the names that uname(2) tells. Names are cut to what the field holds.
#include "kern/nsproxy.h"
#include "base/slab.h"
#include <string.h>

SLAB_DEFINE(utsns_slab, struct utsns);

static void name_set(char dst[65], const char *src)
{
    size_t n = src ? strnlen(src, 64) : 0;
    memset(dst, 0, 65);
    if (n)
        memcpy(dst, src, n);
}

struct utsns *utsns_new(const char *nodename, const char *domainname)
{
    static uint64_t next_ino = 4026531838; // as /proc/PID/ns/uts shows it
    struct utsns *u = slab_alloc(&utsns_slab);
    if (!u)
        return nullptr;
    ref_init(&u->ref);
    mutex_init(&u->lock, RANK_LEAF);
    name_set(u->nodename, nodename);
    name_set(u->domainname, domainname ? domainname : "(none)");
    u->ino = __atomic_fetch_add(&next_ino, 1, __ATOMIC_RELAXED);
    return u;
}

struct utsns *utsns_get(struct utsns *u)
{
    ref_get(&u->ref);
    return u;
}

void utsns_put(struct utsns *u)
{
    if (u && ref_put(&u->ref))
        slab_free(&utsns_slab, u);
}
