// SPDX-License-Identifier: Apache-2.0
// The only way the kernel touches guest memory. Copies once, into or out of kernel memory; the
// caller validates its local copy afterwards. No spinlock and no mm->lock may be held.
// All return 0 or -EFAULT unless stated.
#pragma once
#include "abi/uaddr.h"
#include "base/attr.h"

struct mm;
struct pcontext;
MUST_CHECK int copy_in(struct mm *mm, void *dst, uaddr_t src, size_t n);
MUST_CHECK int copy_out(struct mm *mm, uaddr_t dst, const void *src, size_t n);
// Bytes copied before the fault; -EFAULT only if none (n > 0).
MUST_CHECK long copy_in_partial(struct mm *mm, void *dst, uaddr_t src, size_t n);
MUST_CHECK long copy_out_partial(struct mm *mm, uaddr_t dst, const void *src, size_t n);
// NUL-terminated string into dst[size]. Length without NUL, -EFAULT, or -ENAMETOOLONG when no NUL
// within size bytes.
MUST_CHECK long copy_in_str(struct mm *mm, char *dst, uaddr_t src, size_t size);
MUST_CHECK int clear_user(struct mm *mm, uaddr_t dst, size_t n);
MUST_CHECK int user_cmpxchg32(struct mm *mm, struct pcontext *ctx, uaddr_t addr, uint32_t expect,
                              uint32_t desired, uint32_t *old);
#define get_user(mm, addr, lvalue) copy_in((mm), &(lvalue), (addr), sizeof(lvalue))
#define put_user(mm, addr, value)                                   \
    ({                                                              \
        typeof(value) pu_v = (value);                               \
        copy_out((mm), (addr), &pu_v, sizeof(pu_v));                \
    })
