// SPDX-License-Identifier: Apache-2.0
// The guest's general registers, x86_64: the layout of user_regs_struct (asm/user_64.h), as
// PTRACE_GETREGS and core dumps show it.
#pragma once
#include "base/attr.h"

struct user_regs {
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    uint64_t orig_rax; // system call number on a syscall stop, ~0 otherwise
    uint64_t rip, cs, rflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs;
};
static_assert(sizeof(struct user_regs) == 27 * 8);
