// SPDX-License-Identifier: Apache-2.0
// Typed slabs and the buffers on top of them. A free object holds its mangled successor and a
// marker in its first two words; the rest is zero (debug builds: poison that is checked when the
// object is given out). A wrong marker is a double free or a write after free: the process ends.
//
// Nothing here uses the C library's heap: its brk and mremap are not in the Sentry's filter. Under
// AddressSanitizer every object is an allocation of its own, so that misuse is reported.
#include "base/slab.h"
#include "base/assert.h"
#include "base/secret.h"
#include "host/raw.h"
#include <stdckdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if __has_feature(address_sanitizer)
constexpr bool SANITIZED = true;
#else
constexpr bool SANITIZED = false;
#endif
#ifdef NACRE_DEBUG
constexpr size_t POISON_MAX = 256; // bytes poisoned and checked per object
#else
constexpr size_t POISON_MAX = 0;
#endif
constexpr uint8_t POISON = 0x6b;
constexpr size_t CHUNK_FIRST = 2 * PAGE_SIZE, CHUNK_MAX = 16 * PAGE_SIZE;
constexpr size_t CHUNK_MIN_OBJECTS = 4;

struct chunk {
    struct chunk *next;
    size_t size; // bytes, this header included
};
struct free_object {
    uint64_t next;   // mangled
    uint64_t marker;
};
static_assert(sizeof(struct chunk) % 16 == 0 && sizeof(struct free_object) == 16);

static uint64_t mangle(const void *at, uint64_t v)
{
    return v ^ base_secret[0] ^ ((uintptr_t)at >> 4);
}
static uint64_t marker_of(const struct slab *s, const void *p)
{
    return base_secret[1] ^ (uintptr_t)p ^ (uintptr_t)s;
}
static size_t poison_len(const struct slab *s)
{
    return MIN((size_t)s->size, POISON_MAX);
}

static void object_push(struct slab *s, void *p)
{
    struct free_object *o = p;
    if (poison_len(s) > sizeof(*o))
        memset(o + 1, POISON, poison_len(s) - sizeof(*o));
    o->next = mangle(p, (uintptr_t)s->free_head);
    o->marker = marker_of(s, p);
    s->free_head = p;
}

static void poison_check(const struct slab *s, const uint8_t *p)
{
    for (size_t i = sizeof(struct free_object); i < poison_len(s); i++)
        if (unlikely(p[i] != POISON))
            panic("slab %s: object %p written after free at +%zu", s->name, (const void *)p, i);
}

static void *host_pages(size_t n)
{
    long r = host_call(__NR_mmap, 0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return r < 0 && r > -4096 ? nullptr : (void *)r;
}

// A new chunk; its objects enter the free list in a scrambled order, so that neighbours in memory
// are seldom neighbours in time.
static bool slab_grow(struct slab *s)
{
    const struct chunk *last = s->chunks;
    size_t size = last ? MIN(last->size * 2, CHUNK_MAX) : CHUNK_FIRST;
    size_t least = PAGE_ALIGN_UP(sizeof(struct chunk) + CHUNK_MIN_OBJECTS * (size_t)s->size);
    size = MAX(size, least);
    struct chunk *c = host_pages(size);
    if (!c)
        return false;
    c->size = size;
    c->next = s->chunks;
    s->chunks = c;
    size_t n = (size - sizeof(*c)) / s->size;
    // i * step mod n runs through all of 0..n-1 when step and n have no common divisor.
    size_t step = (base_secret[2] >> 8) % n | 1, a = n, b = step;
    while (b) {
        size_t t = a % b;
        a = b;
        b = t;
    }
    if (a != 1)
        step = 1;
    size_t at = base_secret[3] % n;
    for (size_t i = 0; i < n; i++, at = (at + step) % n)
        object_push(s, (char *)(c + 1) + at * s->size);
    return true;
}

void *slab_alloc(struct slab *s)
{
    if (SANITIZED) {
        void *p = aligned_alloc(16, s->size);
        if (p) {
            memset(p, 0, s->size);
            __atomic_add_fetch(&s->live, 1, __ATOMIC_RELAXED);
        }
        return p;
    }
    spin_lock(&s->lock);
    if (unlikely(!s->free_head) && !slab_grow(s)) {
        spin_unlock(&s->lock);
        return nullptr;
    }
    struct free_object *o = s->free_head;
    if (unlikely(o->marker != marker_of(s, o)))
        panic("slab %s: free object %p was written to", s->name, (void *)o);
    s->free_head = (void *)(uintptr_t)mangle(o, o->next);
    s->live++;
    spin_unlock(&s->lock);
    poison_check(s, (uint8_t *)o);
    memset(o, 0, MAX(sizeof(*o), poison_len(s)));
    return o;
}

void slab_free(struct slab *s, void *p)
{
    if (!p)
        return;
    if (SANITIZED) {
        __atomic_sub_fetch(&s->live, 1, __ATOMIC_RELAXED);
        free(p);
        return;
    }
    struct free_object *o = p;
    if (unlikely(o->marker == marker_of(s, p)))
        panic("slab %s: double free of %p", s->name, p);
    memset(p, 0, s->size);
    spin_lock(&s->lock);
    object_push(s, p);
    s->live--;
    spin_unlock(&s->lock);
}

// --- buffers: slabs by size, larger ones are mappings of their own ------------------------------
struct mem_head {
    uint64_t size; // capacity after this header
    uint64_t tag;  // address mangled: catches wild and double frees
};
constexpr size_t MEM_LIMIT = (size_t)1 << 30;
#define MEM_SLAB(n) {.name = "mem-" #n, .size = (n) + sizeof(struct mem_head)}
static struct slab mem_slabs[] = {
    MEM_SLAB(16),   MEM_SLAB(32),   MEM_SLAB(64),   MEM_SLAB(96),    MEM_SLAB(128),   MEM_SLAB(192),
    MEM_SLAB(256),  MEM_SLAB(384),  MEM_SLAB(512),  MEM_SLAB(768),   MEM_SLAB(1024),  MEM_SLAB(1536),
    MEM_SLAB(2048), MEM_SLAB(3072), MEM_SLAB(4096), MEM_SLAB(8192),  MEM_SLAB(16384), MEM_SLAB(32768),
    MEM_SLAB(65536),
};

static struct slab *mem_slab_for(size_t n)
{
    size_t lo = 0, hi = ARRAY_LEN(mem_slabs);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (mem_slabs[mid].size - sizeof(struct mem_head) < n)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < ARRAY_LEN(mem_slabs) ? &mem_slabs[lo] : nullptr;
}
static uint64_t mem_tag(const struct mem_head *h)
{
    return base_secret[2] ^ (uintptr_t)h ^ h->size;
}

void *mem_alloc(size_t n)
{
    if (n > MEM_LIMIT)
        return nullptr;
    if (SANITIZED)
        return calloc(1, n ? n : 1);
    struct slab *s = mem_slab_for(n);
    struct mem_head *h;
    size_t cap;
    if (s) {
        h = slab_alloc(s);
        cap = s->size - sizeof(*h);
    } else {
        cap = PAGE_ALIGN_UP(n + sizeof(*h)) - sizeof(*h);
        h = host_pages(cap + sizeof(*h));
    }
    if (!h)
        return nullptr;
    h->size = cap;
    h->tag = mem_tag(h);
    return h + 1;
}

void *mem_alloc_array(size_t n, size_t size)
{
    size_t total;
    return ckd_mul(&total, n, size) ? nullptr : mem_alloc(total);
}

void mem_free(void *p)
{
    if (!p)
        return;
    if (SANITIZED) {
        free(p);
        return;
    }
    struct mem_head *h = (struct mem_head *)p - 1;
    if (unlikely(h->tag != mem_tag(h)))
        panic("mem_free of %p: not an allocation, or freed before", p);
    struct slab *s = mem_slab_for(h->size);
    if (s)
        slab_free(s, h);
    else
        host_call(__NR_munmap, h, h->size + sizeof(*h));
}

void *mem_realloc(void *p, size_t n)
{
    if (n > MEM_LIMIT)
        return nullptr;
    if (SANITIZED)
        return realloc(p, n ? n : 1);
    if (!p)
        return mem_alloc(n);
    const struct mem_head *h = (struct mem_head *)p - 1;
    if (unlikely(h->tag != mem_tag(h)))
        panic("mem_realloc of %p: not an allocation, or freed before", p);
    if (n <= h->size && (n >= h->size / 4 || h->size <= 256))
        return p;
    void *q = mem_alloc(n);
    if (q) {
        memcpy(q, p, MIN(n, h->size));
        mem_free(p);
    }
    return q;
}

char *mem_strndup(const char *s, size_t n)
{
    n = strnlen(s, n);
    char *p = mem_alloc(n + 1);
    if (p)
        memcpy(p, s, n);
    return p;
}
char *mem_strdup(const char *s)
{
    return mem_strndup(s, MEM_LIMIT - 1);
}
