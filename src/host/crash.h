// SPDX-License-Identifier: Apache-2.0
// Last words of a process of ours: a fault handler that logs where it happened, as offsets into the
// binary that `addr2line -e nacre` understands, and then lets the process die of the signal.
#pragma once
#include <stdint.h>

void crash_report_init(void); // before lockdown; sigaltstack is the caller's business
void crash_backtrace(const void *frame); // logs the return addresses from a frame pointer on
// The same of something that lives on: the frame pointer may be anything and is followed only while
// it points into the stack [low, high).
void crash_backtrace_in(uintptr_t pc, uintptr_t fp, uintptr_t low, uintptr_t high);
