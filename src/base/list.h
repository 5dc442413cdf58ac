// SPDX-License-Identifier: Apache-2.0
// Intrusive doubly linked circular list. A node that is on no list points to itself.
#pragma once
#include "base/attr.h"

struct list {
    struct list *next, *prev;
};
#define LIST_INIT(name) {&(name), &(name)}
static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}
static inline void list_insert_between(struct list *n, struct list *prev, struct list *next)
{
    n->prev = prev;
    n->next = next;
    prev->next = n;
    next->prev = n;
}
static inline void list_push_front(struct list *head, struct list *n)
{
    list_insert_between(n, head, head->next);
}
static inline void list_push_back(struct list *head, struct list *n)
{
    list_insert_between(n, head->prev, head);
}
static inline void list_del(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}
#define list_entry(n, type, member) container_of(n, type, member)
#define list_first(head, type, member) \
    (list_empty(head) ? nullptr : list_entry((head)->next, type, member))
#define list_last(head, type, member) \
    (list_empty(head) ? nullptr : list_entry((head)->prev, type, member))
#define list_for_each(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
// Safe against removal of the current node.
#define list_for_each_safe(it, head) \
    for (struct list *it = (head)->next, *it##_n = it->next; it != (head); it = it##_n, it##_n = it->next)
