// SPDX-License-Identifier: Apache-2.0
// How long is an x86-64 instruction, and may it run elsewhere? For the patching of call sites
// (patch.c): part of the stub, compiled for the unit tests, too. Pure functions on bytes.
//
// What is not certain (unknown opcodes, encodings that processors read differently) is length 0: the
// patcher then leaves the site alone. Wrong answers hurt only the guest whose text it is.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum : uint8_t {
    INSN_FLOW = 1,  // jumps, calls, returns, traps, system calls: says where execution goes on
    INSN_RIP = 2,   // an operand relative to rip, at disp_off
    INSN_GS = 4,    // has the %gs prefix
    INSN_END = 8,   // nothing falls through (with INSN_FLOW)
    INSN_REP = 16,  // repeated string instruction
};
struct insn {
    uint8_t len;      // 0: not known
    uint8_t flags;
    uint8_t disp_off; // of the 4 bytes of displacement when INSN_RIP
};
struct insn insn_decode(const uint8_t *p, size_t n);
// Does the instruction in front of p[at] begin at the returned offset? Decided by decoding from many
// places before it: 0 when they do not agree. p[0..at) must be there.
size_t insn_before(const uint8_t *p, size_t at);
// Bytes of dead padding at p (nop, int3, at most n), as compilers put behind a jump or return.
size_t insn_padding(const uint8_t *p, size_t n);
