// SPDX-License-Identifier: Apache-2.0
// Saturating reference count: 0 -> 1 and underflow end the process, a count that nears overflow
// sticks for ever (a leak is better than a use after free).
#pragma once
#include "base/assert.h"

struct ref {
    uint32_t n;
};
constexpr uint32_t REF_SATURATED = 0xc0000000u;

static inline void ref_init(struct ref *r)
{
    __atomic_store_n(&r->n, 1, __ATOMIC_RELAXED);
}
static inline void ref_get(struct ref *r)
{
    uint32_t old = __atomic_fetch_add(&r->n, 1, __ATOMIC_RELAXED);
    if (unlikely(old == 0 || old >= REF_SATURATED)) {
        CHECK(old != 0);
        __atomic_store_n(&r->n, REF_SATURATED, __ATOMIC_RELAXED);
    }
}
// For look-ups in a table whose entries do not hold a reference: false when the object is dying.
static inline bool ref_get_unless_zero(struct ref *r)
{
    uint32_t old = __atomic_load_n(&r->n, __ATOMIC_RELAXED);
    do {
        if (old == 0)
            return false;
        if (old >= REF_SATURATED)
            return true;
    } while (!__atomic_compare_exchange_n(&r->n, &old, old + 1, true, __ATOMIC_ACQUIRE,
                                          __ATOMIC_RELAXED));
    return true;
}
// True when this was the last reference: the caller releases the object.
MUST_CHECK static inline bool ref_put(struct ref *r)
{
    uint32_t old = __atomic_load_n(&r->n, __ATOMIC_RELAXED);
    if (unlikely(old >= REF_SATURATED))
        return false;
    old = __atomic_fetch_sub(&r->n, 1, __ATOMIC_ACQ_REL);
    CHECK(old != 0);
    return old == 1;
}
static inline uint32_t ref_count(const struct ref *r)
{
    return __atomic_load_n(&r->n, __ATOMIC_RELAXED);
}
