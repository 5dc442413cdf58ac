// SPDX-License-Identifier: Apache-2.0
// The core of poll(2) and select(2). Registers once on every queue of every file, then looks again
// after each wake-up (wake-ups may be spurious; the wake token makes none of them get lost).
#include "vfs/poll.h"
#include "abi/errno.h"
#include "base/slab.h"

constexpr size_t INLINE_WAITERS = 12;
constexpr size_t CHUNK_WAITERS = 60;
struct waiter_chunk {
    struct waiter_chunk *next; // owned
    size_t used;
    struct waiter w[CHUNK_WAITERS];
};
SLAB_DEFINE(chunk_slab, struct waiter_chunk);

struct poll_run {
    struct poll_table pt;
    uint32_t mask;               // of the entry being registered
    bool nomem;
    size_t used;
    struct waiter w[INLINE_WAITERS];
    struct waiter_chunk *chunks; // owned
};

static void poll_register(struct poll_table *pt, struct waitq *q)
{
    struct poll_run *r = container_of(pt, struct poll_run, pt);
    struct waiter *w;
    if (r->used < INLINE_WAITERS) {
        w = &r->w[r->used++];
    } else {
        if (!r->chunks || r->chunks->used == CHUNK_WAITERS) {
            struct waiter_chunk *c = slab_alloc(&chunk_slab);
            if (!c) {
                r->nomem = true;
                return;
            }
            c->next = r->chunks;
            r->chunks = c;
        }
        w = &r->chunks->w[r->chunks->used++];
    }
    waiter_init(w);
    w->mask = r->mask;
    waitq_add(q, w);
}

static void poll_unregister(struct poll_run *r)
{
    for (size_t i = 0; i < r->used; i++)
        waitq_remove(&r->w[i]);
    while (r->chunks) {
        struct waiter_chunk *c = r->chunks;
        for (size_t i = 0; i < c->used; i++)
            waitq_remove(&c->w[i]);
        r->chunks = c->next;
        slab_free(&chunk_slab, c);
    }
}

// One look at everything; registers while nothing is ready when pt is not null.
static long poll_scan(struct poll_entry *e, size_t n, struct poll_run *r, bool reg)
{
    long count = 0;
    for (size_t i = 0; i < n; i++) {
        e[i].revents = 0;
        if (!e[i].file)
            continue;
        r->mask = e[i].events;
        e[i].revents = file_poll(e[i].file, reg && !count ? &r->pt : nullptr) & r->mask;
        count += e[i].revents != 0;
    }
    return count;
}

long poll_files(struct poll_entry *e, size_t n, ktime_t deadline)
{
    struct poll_run r = {};
    r.pt.wait = poll_register;
    if (deadline <= 0)
        return poll_scan(e, n, &r, false);
    long ret = poll_scan(e, n, &r, true);
    while (!ret && !r.nomem) {
        int err = fiber_park(deadline, PARK_INTERRUPTIBLE);
        ret = poll_scan(e, n, &r, false);
        if (!ret && err == -EINTR)
            ret = -EINTR;
        if (err == -ETIMEDOUT)
            break;
    }
    poll_unregister(&r);
    return !ret && r.nomem ? -ENOMEM : ret;
}
