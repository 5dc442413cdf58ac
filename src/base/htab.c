// SPDX-License-Identifier: Apache-2.0
// Intrusive hash table and SipHash-1-3. Grows by doubling at a load of one; a growth that finds no
// memory leaves longer chains and is tried again at the next insert.
#include "base/htab.h"
#include "base/assert.h"
#include "base/secret.h"
#include "base/slab.h"
#include "host/raw.h"
#include <errno.h>
#include <string.h>
#include <time.h>

uint64_t base_secret[4];
static uint64_t key0, key1;

// Before any other constructor may hash or allocate.
__attribute__((constructor(101))) static void secret_init(void)
{
    if (host_call(__NR_getrandom, base_secret, sizeof(base_secret), 0) != sizeof(base_secret)) {
        struct timespec ts = {};
        clock_gettime(CLOCK_MONOTONIC, &ts);
        base_secret[0] ^= (uint64_t)ts.tv_nsec * 0x9e3779b97f4a7c15u ^ (uintptr_t)&ts;
        base_secret[1] ^= base_secret[0] << 21;
    }
    key0 = base_secret[2] * 0xff51afd7ed558ccdu;
    key1 = base_secret[3] * 0xc4ceb9fe1a85ec53u;
}

void hash_seed(const uint8_t key[16])
{
    memcpy(&key0, key, 8);
    memcpy(&key1, key + 8, 8);
}

struct sip {
    uint64_t v0, v1, v2, v3;
};
static inline uint64_t rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}
static inline struct sip sip_init(void)
{
    return (struct sip){key0 ^ 0x736f6d6570736575u, key1 ^ 0x646f72616e646f6du,
                        key0 ^ 0x6c7967656e657261u, key1 ^ 0x7465646279746573u};
}
static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v2 = rotl(s->v2, 32);
}
static inline void sip_word(struct sip *s, uint64_t m)
{
    s->v3 ^= m;
    sip_round(s);
    s->v0 ^= m;
}
static inline uint64_t sip_end(struct sip *s)
{
    s->v2 ^= 0xff;
    sip_round(s);
    sip_round(s);
    sip_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

uint64_t hash_bytes(const void *p, size_t n)
{
    struct sip s = sip_init();
    const uint8_t *b = p;
    uint64_t m;
    size_t left = n;
    for (; left >= 8; left -= 8, b += 8) {
        memcpy(&m, b, 8);
        sip_word(&s, m);
    }
    m = 0;
    if (left)
        memcpy(&m, b, left);
    sip_word(&s, m | (uint64_t)n << 56);
    return sip_end(&s);
}

uint64_t hash_u64(uint64_t v)
{
    struct sip s = sip_init();
    sip_word(&s, v);
    sip_word(&s, (uint64_t)8 << 56);
    return sip_end(&s);
}

static int htab_grow(struct htab *t)
{
    size_t n = t->n ? t->n * 2 : 16;
    struct hnode **b = mem_alloc_array(n, sizeof(*b));
    if (!b)
        return t->n ? 0 : -ENOMEM;
    for (size_t i = 0; i < t->n; i++) {
        struct hnode *next;
        for (struct hnode *h = t->b[i]; h; h = next) {
            next = h->next;
            h->next = b[h->hash & (n - 1)];
            b[h->hash & (n - 1)] = h;
        }
    }
    mem_free(t->b);
    t->b = b;
    t->n = n;
    return 0;
}

int htab_insert(struct htab *t, struct hnode *n, uint64_t hash)
{
    if (t->count >= t->n) {
        int err = htab_grow(t);
        if (err)
            return err;
    }
    struct hnode **slot = &t->b[hash & (t->n - 1)];
    n->hash = hash;
    n->next = *slot;
    *slot = n;
    t->count++;
    return 0;
}

void htab_remove(struct htab *t, struct hnode *n)
{
    CHECK(t->n);
    struct hnode **at = &t->b[n->hash & (t->n - 1)];
    while (*at && *at != n)
        at = &(*at)->next;
    CHECK(*at == n);
    *at = n->next;
    n->next = nullptr;
    t->count--;
}

void htab_free(struct htab *t)
{
    mem_free(t->b);
    *t = (struct htab){};
}
