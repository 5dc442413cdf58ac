// SPDX-License-Identifier: Apache-2.0
// Classic BPF programs (linux/filter.h) as seccomp filters use them: check once, run often.
// The instructions are the guest's: nothing about them is trusted until cbpf_check has passed.
#pragma once
#include "base/span.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

constexpr size_t CBPF_MAX = 4096; // BPF_MAXINSNS

// A seccomp filter as Linux accepts it: loads of aligned words of struct seccomp_data only, jumps
// forward and inside, constant divisors not 0, scratch words written before they are read on every
// path, the last instruction returns. 0 or -EINVAL.
MUST_CHECK int cbpf_check_seccomp(const struct sock_filter *prog, size_t n);
// Runs a checked program. Division by a zero register returns 0, as Linux.
uint32_t cbpf_run(const struct sock_filter *prog, const struct seccomp_data *d);
// Is the answer of a checked program SECCOMP_RET_ALLOW for this number and architecture, whatever
// the arguments and the instruction pointer? False also when that is not easily seen.
bool cbpf_always_allows(const struct sock_filter *prog, uint32_t arch, int nr);
