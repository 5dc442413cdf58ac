// SPDX-License-Identifier: Apache-2.0
// Intrusive hash table with chaining, doubling growth and a keyed hash (SipHash-1-3, key drawn at
// start): guests choose the keys. Not locked; the owner's lock covers it.
#pragma once
#include "base/attr.h"

struct hnode {
    struct hnode *next;
    uint64_t hash;
};
struct htab {
    struct hnode **b; // owned
    size_t n;         // buckets, a power of two; 0 before the first insert
    size_t count;
};
uint64_t hash_bytes(const void *p, size_t n);
uint64_t hash_u64(uint64_t v);
void hash_seed(const uint8_t key[16]);
MUST_CHECK int htab_insert(struct htab *t, struct hnode *n, uint64_t hash); // 0 or -ENOMEM
void htab_remove(struct htab *t, struct hnode *n); // must be in the table
void htab_free(struct htab *t);                    // the table, not the nodes
// Iterates the chain of a hash; the caller compares keys.
static inline struct hnode *htab_chain(const struct htab *t, uint64_t hash)
{
    struct hnode *n = t->n ? t->b[hash & (t->n - 1)] : nullptr;
    while (n && n->hash != hash)
        n = n->next;
    return n;
}
static inline struct hnode *htab_chain_next(struct hnode *n)
{
    uint64_t h = n->hash;
    do
        n = n->next;
    while (n && n->hash != h);
    return n;
}
