// SPDX-License-Identifier: Apache-2.0
// Last words of a process of ours: a fault handler that logs where it happened, as offsets into the
// binary that `addr2line -e nacre` understands, and then lets the process die of the signal.
#pragma once

void crash_report_init(void); // before lockdown; sigaltstack is the caller's business
void crash_backtrace(const void *frame); // logs the return addresses from a frame pointer on
