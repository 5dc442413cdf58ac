// SPDX-License-Identifier: Apache-2.0
// A scatter list in guest or kernel memory that a read or write consumes from the front.
#pragma once
#include "abi/uaddr.h"
#include "base/attr.h"

struct mm;
struct uiovec {
    uint64_t base; // guest address, or kernel pointer when mm is null
    uint64_t len;
};
struct uio {
    struct mm *mm;        // borrowed; null: kernel memory
    const struct uiovec *v;
    size_t nv;
    size_t off;           // into v[0]
    size_t resid;         // bytes left in total
};
struct uio uio_kernel(struct uiovec *v, void *buf, size_t n); // fills *v
struct uio uio_user(struct uiovec *v, struct mm *mm, uaddr_t buf, size_t n);
// Moves up to n bytes (at most resid), advances. Bytes moved; -EFAULT when the first byte faults.
MUST_CHECK long uio_copy_to(struct uio *u, const void *src, size_t n);  // file -> reader
MUST_CHECK long uio_copy_from(struct uio *u, void *dst, size_t n);      // writer -> file
MUST_CHECK long uio_zero_to(struct uio *u, size_t n);
void uio_advance(struct uio *u, size_t n);
