// SPDX-License-Identifier: Apache-2.0
// What the stub does with the pointer arguments of a system call before it hands the call over: one
// row per call number, made from the argument kinds of the system call table (sys/marshal.c) and
// mapped read-only behind the stub's text. Bytes that go in are copied to the slot's data area; memory
// that comes back is probed, so that what the Sentry leaves in the data area can be written by the
// stub on its way back to the guest. A row only saves copies: what it does not say, or what faults,
// goes the slow way through process_vm_readv and writev and gives the same results.
#pragma once
#include <stdint.h>

// One argument, 16 bits: direction, where its length is, size in bytes (of it, or of one element).
enum : uint16_t {
    MARSHAL_IN = 1,
    MARSHAL_OUT = 2,
    MARSHAL_STR = 4,        // NUL-terminated, in
    MARSHAL_LEN = 3 << 3,
    MARSHAL_FIXED = 0 << 3, // one of `size`
    MARSHAL_NEXT = 1 << 3,  // the next argument times `size`
    MARSHAL_PREV = 2 << 3,  // the argument before times `size`
    MARSHAL_REF = 3 << 3,   // the next argument points to the length, 4 bytes
};
// What is copied in is an array of struct iovec, or one struct msghdr (by the size), and the buffers that
// it names are wanted, too: copied in, or with NEST_OUT probed.
enum : uint16_t { MARSHAL_NEST = 1 << 14, MARSHAL_NEST_OUT = 1 << 15 };
constexpr int MARSHAL_SIZE_SHIFT = 5;
#define MARSHAL_ARG(flags, size) ((uint16_t)((flags) | (size) << MARSHAL_SIZE_SHIFT))
static inline uint32_t marshal_size(uint16_t m)
{
    return m >> MARSHAL_SIZE_SHIFT & 0x1ff;
}
constexpr uint32_t MARSHAL_IOVEC = 16, MARSHAL_MSGHDR = 56;

struct marshal_row {
    uint16_t arg[6];
    uint16_t any; // bit i: arg[i] is not 0
    uint16_t pad;
};
static_assert(sizeof(struct marshal_row) == 16);
constexpr int MARSHAL_ROWS = 512;
// Bounds: of what is copied in at once, of what is probed of a buffer (it might be touched for nothing).
constexpr uint32_t MARSHAL_STR_MAX = 4096, MARSHAL_IN_MAX = 8192, MARSHAL_OUT_MAX = 8192;
constexpr uint32_t MARSHAL_CONTROL_MAX = 1024; // of a message

// Set by the system call table before the platform starts; null: nothing is marshalled.
extern const struct marshal_row *marshal_rows;
