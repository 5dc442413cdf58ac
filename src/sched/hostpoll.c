// SPDX-License-Identifier: Apache-2.0
// Host descriptors in the scheduler's epoll. An event names a slot and its generation, never a
// pointer: an event that another worker fetched before hostpoll_del finds the slot changed and is
// dropped. A slot's state serialises its callback: an event that comes while it runs is left to the
// worker that runs it.
#include "base/slab.h"
#include "host/raw.h"
#include "sched/internal.h"
#include <errno.h>
#include <sys/epoll.h>

int sched_epfd = -1;

struct slot {
    struct spinlock lock;
    uint32_t gen;         // [lock]
    struct hostpoll *hp;  // [lock] null: free
    uint32_t pending;     // [lock] events to deliver
    bool running;         // [lock]
    uint32_t next_free;   // [table_lock]
};
constexpr uint32_t CHUNK = 256, CHUNKS = 4096;
static struct spinlock table_lock;
static struct slot *chunks[CHUNKS]; // [A] grows, never shrinks
static uint32_t nslots = 1;         // [table_lock] slot 0 is never used
static uint32_t free_head;          // [table_lock]

static struct slot *slot_at(uint32_t i)
{
    struct slot *c = i / CHUNK < CHUNKS
                         ? __atomic_load_n(&chunks[i / CHUNK], __ATOMIC_ACQUIRE)
                         : nullptr;
    return c ? &c[i % CHUNK] : nullptr;
}

static uint32_t slot_new(void)
{
    uint32_t i = 0;
    spin_lock(&table_lock);
    if (free_head) {
        i = free_head;
        free_head = slot_at(i)->next_free;
    } else if (nslots < CHUNK * CHUNKS) {
        if (!chunks[nslots / CHUNK])
            __atomic_store_n(&chunks[nslots / CHUNK], mem_alloc_array(CHUNK, sizeof(struct slot)),
                             __ATOMIC_RELEASE);
        if (chunks[nslots / CHUNK])
            i = nslots++;
    }
    spin_unlock(&table_lock);
    return i;
}
static void slot_free(uint32_t i)
{
    spin_lock(&table_lock);
    slot_at(i)->next_free = free_head;
    free_head = i;
    spin_unlock(&table_lock);
}

int hostpoll_add(struct hostpoll *hp, int fd, uint32_t epoll_events,
                 void (*fn)(struct hostpoll *, uint32_t))
{
    uint32_t i = slot_new();
    if (!i)
        return -ENOMEM;
    struct slot *s = slot_at(i);
    hp->fd = fd;
    hp->fn = fn;
    hp->dead = false;
    spin_lock(&s->lock);
    hp->gen = (uint64_t)++s->gen << 32 | i;
    s->hp = hp;
    s->pending = 0;
    spin_unlock(&s->lock);
    struct epoll_event ev = {.events = epoll_events | EPOLLET, .data.u64 = hp->gen};
    long err = host_call(__NR_epoll_ctl, sched_epfd, EPOLL_CTL_ADD, fd, &ev);
    if (err) {
        spin_lock(&s->lock);
        s->hp = nullptr;
        spin_unlock(&s->lock);
        hp->dead = true;
        slot_free(i);
    }
    return (int)err;
}

void hostpoll_change(struct hostpoll *hp, uint32_t epoll_events)
{
    struct epoll_event ev = {.events = epoll_events, .data.u64 = hp->gen};
    if (!READ_SHARED(hp->dead)) // a handler may be at it while hostpoll_del waits for its end
        host_call(__NR_epoll_ctl, sched_epfd, EPOLL_CTL_MOD, hp->fd, &ev);
}

void hostpoll_del(struct hostpoll *hp)
{
    if (hp->dead || !hp->gen)
        return;
    struct slot *s = slot_at((uint32_t)hp->gen);
    struct epoll_event ev = {};
    WRITE_SHARED(hp->dead, true);
    host_call(__NR_epoll_ctl, sched_epfd, EPOLL_CTL_DEL, hp->fd, &ev);
    spin_lock(&s->lock);
    s->gen++;
    s->hp = nullptr;
    while (s->running) {
        spin_unlock(&s->lock);
        if (fiber_current())
            fiber_yield();
        else
            host_call(__NR_sched_yield);
        spin_lock(&s->lock);
    }
    spin_unlock(&s->lock);
    slot_free((uint32_t)hp->gen);
    hp->gen = 0;
}

void hostpoll_event(uint64_t id, uint32_t events)
{
    struct slot *s = slot_at((uint32_t)id);
    CHECK(s);
    spin_lock(&s->lock);
    if (s->hp && s->gen == id >> 32) {
        s->pending |= events;
        if (!s->running) {
            s->running = true;
            while (s->hp && s->pending) {
                struct hostpoll *hp = s->hp;
                events = s->pending;
                s->pending = 0;
                spin_unlock(&s->lock);
                hp->fn(hp, events);
                spin_lock(&s->lock);
            }
            s->running = false;
        }
    }
    spin_unlock(&s->lock);
}
