// SPDX-License-Identifier: Apache-2.0
// Growable string, for /proc files, paths and messages. A failed allocation sets `bad`, and every
// later append is a no-op: check once at the end.
#pragma once
#include "base/attr.h"

struct strbuf {
    char *p; // owned; NUL-terminated when not null
    size_t len, cap;
    bool bad;
};
void strbuf_put(struct strbuf *b, const void *p, size_t n);
void strbuf_str(struct strbuf *b, const char *s);
void strbuf_char(struct strbuf *b, char c);
PRINTF_LIKE(2, 3) void strbuf_fmt(struct strbuf *b, const char *fmt, ...);
void strbuf_reset(struct strbuf *b); // len = 0, keeps the memory
void strbuf_free(struct strbuf *b);
