// SPDX-License-Identifier: Apache-2.0
// Host seccomp filters from rows: one row allows one host call under conditions on its arguments.
// Several rows with one number are alternatives. Every condition looks at the whole 64-bit word
// (a test that forgets the high half lets close(0x100000003) close descriptor 3).
//
//     static const struct seccomp_rule rows[] = {
//         {SECCOMP_NR(read), .c = {SC_EQ(0, 7), SC_RANGE(2, 0, 4096)}},
//         {SECCOMP_NR(futex), .hot = 1, .c = {SC_IN(1, FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE)}},
//     };
//     struct seccomp_policy p = {.rules = rows, .n = ARRAY_LEN(rows),
//                                .otherwise = SECCOMP_RET_TRAP, .bad_arch = SECCOMP_RET_TRAP,
//                                .ip_check = true, .ip_start = text, .ip_end = text + size,
//                                .bad_ip = SECCOMP_RET_TRAP};
//     n = seccomp_compile(&p, prog, ARRAY_LEN(prog));   // instructions, or -errno
//     err = seccomp_install(prog, n, 0);
#pragma once
#include "base/attr.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

enum seccomp_op : uint8_t {
    SC_OP_NONE,   // end of the row's conditions
    SC_OP_EQ,     // arg == a
    SC_OP_NE,     // arg != a
    SC_OP_IN,     // arg is one of list[0..n)
    SC_OP_SUBSET, // no bit outside a: (arg & ~a) == 0
    SC_OP_MASKED, // (arg & a) == b
    SC_OP_RANGE,  // a <= arg <= b, unsigned, both ends inclusive
};
struct seccomp_cond {
    enum seccomp_op op;
    uint8_t arg;          // 0..5
    uint16_t n;           // of list
    uint64_t a, b;
    const uint64_t *list; // borrowed
};
constexpr int SECCOMP_MAX_CONDS = 8;
struct seccomp_rule {
    uint32_t nr;
    uint32_t action;      // 0: SECCOMP_RET_ALLOW
    bool hot;             // tested before the binary search, in row order
    bool any_ip;          // holds wherever the instruction is (the policy's ip_check is skipped)
    struct seccomp_cond c[SECCOMP_MAX_CONDS]; // all must hold
    const char *why;      // for the document; may be null
    const char *text;     // the conditions as written, for the document; may be null
};
#define SC_EQ(arg_, v) {.op = SC_OP_EQ, .arg = (arg_), .a = (uint64_t)(v)}
#define SC_NE(arg_, v) {.op = SC_OP_NE, .arg = (arg_), .a = (uint64_t)(v)}
#define SC_SUBSET(arg_, bits) {.op = SC_OP_SUBSET, .arg = (arg_), .a = (uint64_t)(bits)}
#define SC_MASKED(arg_, mask, v) \
    {.op = SC_OP_MASKED, .arg = (arg_), .a = (uint64_t)(mask), .b = (uint64_t)(v)}
#define SC_RANGE(arg_, lo, hi) \
    {.op = SC_OP_RANGE, .arg = (arg_), .a = (uint64_t)(lo), .b = (uint64_t)(hi)}
#define SC_IN(arg_, ...)                                             \
    {.op = SC_OP_IN, .arg = (arg_), .list = (const uint64_t[]){__VA_ARGS__}, \
     .n = sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)}
#define SECCOMP_NR(name) .nr = __NR_##name

struct seccomp_policy {
    const struct seccomp_rule *rules;
    size_t n;
    uint32_t otherwise;         // calls that no row allows
    uint32_t bad_arch;          // i386 entry (x32 numbers count as calls that no row allows)
    bool ip_check;              // rows hold only for instructions in [ip_start, ip_end)
    uint32_t bad_ip;            // calls from elsewhere
    uint64_t ip_start, ip_end;
};
constexpr size_t SECCOMP_MAX_INSNS = 4096; // BPF_MAXINSNS

// Writes the program; number of instructions, -EINVAL for a bad row, -E2BIG when it does not fit.
// Uses no memory but the caller's and calls nothing.
MUST_CHECK int seccomp_compile(const struct seccomp_policy *p, struct sock_filter *out, size_t cap);
// flags: SECCOMP_FILTER_FLAG_*. no_new_privs (or CAP_SYS_ADMIN) is the caller's business. With
// TSYNC a thread that cannot be synchronised gives -ESRCH.
MUST_CHECK int seccomp_install(const struct sock_filter *prog, size_t n, unsigned flags);
// The action that prog returns for d: for tests and for reading back live filters. A malformed
// program gives SECCOMP_RET_KILL_PROCESS.
uint32_t seccomp_eval(const struct sock_filter *prog, size_t n, const struct seccomp_data *d);
