// SPDX-License-Identifier: Apache-2.0
// The initial stack of a program: strings, auxiliary vector, pointers. Used by exec.c only.
#pragma once
#include "base/attr.h"

struct mm;
constexpr uint64_t STACK_GUARD_GAP_BYTES = 256 * PAGE_SIZE;
struct exec_strings { // each: `len` bytes of NUL-terminated strings in a row
    const char *argv, *envp;
    size_t argv_len, envp_len;
    int argc, envc;
    const char *execfn; // AT_EXECFN: the file as named by the caller
};
// -E2BIG when strings and pointers exceed what a stack of that limit may carry.
MUST_CHECK int exec_strings_check(const struct exec_strings *s, uint64_t stack_limit);

struct stack_plan {
    struct exec_strings str;
    uint64_t phdr, phnum, entry, base, vdso;
    uint32_t uid, euid, gid, egid;
    bool secure;
    uint8_t random[16];  // AT_RANDOM
    uint64_t sub_page;   // random distance between strings and vector, below two pages
    // Set by stack_plan_at():
    uint64_t top, execfn, env, arg, strings; // strings: their lowest address
    uint64_t platform, random_at;
    uint64_t sp;
    uint64_t auxv[2 * 24];
    size_t nauxv;        // words
};
void stack_plan_at(struct stack_plan *p, uint64_t top);
// Writes it all and notes the places in mm. -EFAULT, -ENOMEM.
MUST_CHECK int stack_plan_write(const struct stack_plan *p, struct mm *mm);
