// SPDX-License-Identifier: Apache-2.0
// Host descriptors that are looked at by polling workers. While a worker polls, it looks itself and
// nobody is woken for an answer; before the last one that could look does something else (sleeps,
// runs a fiber beside sleeping workers) the descriptor is armed: its next input is an epoll event.
#include "sched/internal.h"

uint32_t sources_waiting;           // [A] answers that somebody waits for, all sources
static struct spinlock source_lock;
static struct list sources = LIST_INIT(sources); // [source_lock]

void source_add(struct source *s)
{
    spin_lock(&source_lock);
    list_push_back(&sources, &s->link);
    spin_unlock(&source_lock);
}
void source_del(struct source *s)
{
    spin_lock(&source_lock);
    list_del(&s->link);
    spin_unlock(&source_lock);
    __atomic_sub_fetch(&sources_waiting, s->waiting, __ATOMIC_RELAXED);
    s->waiting = 0;
}
void source_expect(struct source *s)
{
    __atomic_add_fetch(&s->waiting, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&sources_waiting, 1, __ATOMIC_SEQ_CST);
}
void source_got(struct source *s)
{
    __atomic_sub_fetch(&s->waiting, 1, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&sources_waiting, 1, __ATOMIC_SEQ_CST);
}

// Others who want to look do something else meanwhile.
void sources_look(void)
{
    if (!spin_trylock(&source_lock))
        return;
    list_for_each(it, &sources) {
        struct source *s = list_entry(it, struct source, link);
        if (__atomic_load_n(&s->waiting, __ATOMIC_RELAXED))
            s->look(s);
    }
    spin_unlock(&source_lock);
}
void sources_arm(void)
{
    spin_lock(&source_lock);
    list_for_each(it, &sources) {
        struct source *s = list_entry(it, struct source, link);
        if (__atomic_load_n(&s->waiting, __ATOMIC_SEQ_CST))
            s->arm(s);
    }
    spin_unlock(&source_lock);
}
