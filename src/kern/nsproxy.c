// SPDX-License-Identifier: Apache-2.0
// UTS namespaces: the names that uname(2) tells, cut to what the field holds. IPC namespaces: those who
// keep objects in them are told of their end.
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

// --- IPC ---
SLAB_DEFINE(ipcns_slab, struct ipcns);
static void (*ipcns_release[8])(struct ipcns *); // [C] after the constructors
static size_t nipcns_release;

void ipcns_on_release(void (*fn)(struct ipcns *))
{
    CHECK(nipcns_release < ARRAY_LEN(ipcns_release));
    ipcns_release[nipcns_release++] = fn;
}

struct ipcns *ipcns_new(void)
{
    static uint64_t next_ino = 4026531839; // the first is what Linux gives its own; as /proc shows it
    struct ipcns *n = slab_alloc(&ipcns_slab);
    if (!n)
        return nullptr;
    ref_init(&n->ref);
    n->ino = __atomic_fetch_add(&next_ino, 0x10000, __ATOMIC_RELAXED);
    return n;
}

struct ipcns *ipcns_get(struct ipcns *n)
{
    ref_get(&n->ref);
    return n;
}

void ipcns_put(struct ipcns *n)
{
    if (!n || !ref_put(&n->ref))
        return;
    for (size_t i = 0; i < nipcns_release; i++)
        ipcns_release[i](n);
    slab_free(&ipcns_slab, n);
}
