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
// places before it, up to INSN_LOOK bytes: 0 when they do not agree. p[0..at) must be there.
constexpr size_t INSN_LOOK = 128;
size_t insn_before(const uint8_t *p, size_t at);
// The shortest run of instructions right in front of p[at] that may run elsewhere and begins with one
// that a jump has room in: its length, or 0. None of them is a nop.
constexpr size_t INSN_RUN_MAX = 21, INSN_JUMP = 5;
size_t insn_run(const uint8_t *p, size_t at);
// The n bytes of whole instructions at p are a copy that will run `by` bytes further up: puts operands
// relative to rip right. False: one cannot be reached from there.
bool insn_move(uint8_t *p, size_t n, int64_t by);
// Bytes of dead padding at p (nop, int3, at most n), as compilers put behind a jump or return.
size_t insn_padding(const uint8_t *p, size_t n);
