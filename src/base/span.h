// SPDX-License-Identifier: Apache-2.0
// Bounds-carrying byte ranges. Every parser of untrusted bytes takes a struct span and consumes it
// through these readers: a short span sets `bad` once and every later read gives 0, so a parser
// checks span_ok() at the end of a group and not after every field.
#pragma once
#include "base/attr.h"
#include <string.h>

struct span {
    const uint8_t *p;
    size_t n;
    bool bad;
};

static inline struct span span_of(const void *p, size_t n)
{
    return (struct span){.p = p, .n = n};
}
static inline bool span_ok(const struct span *s)
{
    return !s->bad;
}
// Takes n bytes off the front; null (and bad set) when fewer are left.
static inline const uint8_t *span_take(struct span *s, size_t n)
{
    if (s->bad || n > s->n) {
        s->bad = true;
        s->n = 0;
        return nullptr;
    }
    const uint8_t *p = s->p;
    s->p += n;
    s->n -= n;
    return p;
}
#define SPAN_READER(name, type, conv)                       \
    static inline type span_##name(struct span *s)          \
    {                                                       \
        type v = 0;                                         \
        const uint8_t *p = span_take(s, sizeof(v));         \
        if (!p)                                             \
            return 0;                                       \
        memcpy(&v, p, sizeof(v));                           \
        return conv(v);                                     \
    }
SPAN_READER(u8, uint8_t, )
SPAN_READER(u16le, uint16_t, )
SPAN_READER(u32le, uint32_t, )
SPAN_READER(u64le, uint64_t, )
SPAN_READER(u16be, uint16_t, __builtin_bswap16)
SPAN_READER(u32be, uint32_t, __builtin_bswap32)
SPAN_READER(u64be, uint64_t, __builtin_bswap64)
// A sub-span of n bytes taken off the front (empty and bad when too short).
static inline struct span span_sub(struct span *s, size_t n)
{
    const uint8_t *p = span_take(s, n);
    return (struct span){.p = p, .n = p ? n : 0, .bad = !p};
}

// The writing side: a fixed buffer that remembers overflow instead of writing past its end.
struct wspan {
    uint8_t *p;
    size_t n;    // capacity
    size_t used; // bytes written
    bool bad;    // something did not fit
};
static inline struct wspan wspan_of(void *p, size_t n)
{
    return (struct wspan){.p = p, .n = n};
}
static inline void wspan_put(struct wspan *w, const void *p, size_t n)
{
    if (w->bad || n > w->n - w->used) {
        w->bad = true;
        return;
    }
    if (n)
        memcpy(w->p + w->used, p, n);
    w->used += n;
}
static inline void wspan_u8(struct wspan *w, uint8_t v) { wspan_put(w, &v, sizeof(v)); }
static inline void wspan_u16le(struct wspan *w, uint16_t v) { wspan_put(w, &v, sizeof(v)); }
static inline void wspan_u32le(struct wspan *w, uint32_t v) { wspan_put(w, &v, sizeof(v)); }
static inline void wspan_u64le(struct wspan *w, uint64_t v) { wspan_put(w, &v, sizeof(v)); }
