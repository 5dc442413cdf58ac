// SPDX-License-Identifier: Apache-2.0
// A guest virtual address. A struct, so that it is never dereferenced or mixed with a pointer.
#pragma once
#include "base/attr.h"

typedef struct {
    uint64_t v;
} uaddr_t;
#define UADDR(x) ((uaddr_t){(uint64_t)(x)})
static inline bool uaddr_null(uaddr_t a)
{
    return a.v == 0;
}
static inline uaddr_t uaddr_add(uaddr_t a, uint64_t n)
{
    return UADDR(a.v + n);
}
