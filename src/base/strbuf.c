// SPDX-License-Identifier: Apache-2.0
// Growable string. Doubles its memory; the first failure sticks.
#include "base/strbuf.h"
#include "base/slab.h"
#include <stdarg.h>
#include <stdckdint.h>
#include <stdio.h>
#include <string.h>

// Room for n more bytes and the NUL.
static bool strbuf_room(struct strbuf *b, size_t n)
{
    size_t need;
    if (b->bad || ckd_add(&need, b->len, n) || ckd_add(&need, need, 1)) {
        b->bad = true;
        return false;
    }
    if (need <= b->cap)
        return true;
    size_t cap = MAX(need, MAX(b->cap * 2, (size_t)64));
    char *p = mem_realloc(b->p, cap);
    if (!p) {
        b->bad = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

void strbuf_put(struct strbuf *b, const void *p, size_t n)
{
    if (!strbuf_room(b, n))
        return;
    if (n)
        memcpy(b->p + b->len, p, n);
    b->len += n;
    b->p[b->len] = 0;
}

void strbuf_str(struct strbuf *b, const char *s)
{
    strbuf_put(b, s, strlen(s));
}

void strbuf_char(struct strbuf *b, char c)
{
    strbuf_put(b, &c, 1);
}

void strbuf_fmt(struct strbuf *b, const char *fmt, ...)
{
    if (!strbuf_room(b, 64))
        return;
    for (int round = 0; round < 2; round++) {
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(b->p + b->len, b->cap - b->len, fmt, ap);
        va_end(ap);
        if (n < 0) {
            b->bad = true;
            break;
        }
        if ((size_t)n < b->cap - b->len) {
            b->len += (size_t)n;
            return;
        }
        if (!strbuf_room(b, (size_t)n))
            break;
    }
    b->p[b->len] = 0; // no half-written tail
}

void strbuf_reset(struct strbuf *b)
{
    b->len = 0;
    b->bad = false;
    if (b->p)
        b->p[0] = 0;
}

void strbuf_free(struct strbuf *b)
{
    mem_free(b->p);
    *b = (struct strbuf){};
}
