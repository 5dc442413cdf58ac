// SPDX-License-Identifier: Apache-2.0
// The host calls that each of our processes may make, as policies from the rows of the .def files.
#pragma once
#include "base/strbuf.h"
#include "host/seccomp.h"

enum hostcall_table : int { TABLE_SENTRY, TABLE_SENTRY_PTRACE, TABLE_GOFER, TABLE_SUPERVISOR,
                            TABLE_COUNT, TABLE_STUB = TABLE_COUNT };
const char *hostcall_table_name(enum hostcall_table t);
// TABLE_STUB has rows to print only: the platform compiles and installs it.
// The compiled filter; number of instructions. debug: violations trap (see below) in place of kill.
MUST_CHECK int hostcalls_compile(enum hostcall_table t, bool debug, struct sock_filter *out,
                                 size_t cap);
// Installs it on the calling thread, or on all threads. With debug, a SIGSYS handler names the call
// on the log and ends the process.
MUST_CHECK int hostcalls_install(enum hostcall_table t, bool debug, bool all_threads);
// doc/security.md's tables.
void hostcalls_markdown(struct strbuf *out);
// One line per number and rule, for the golden files: what the live filter must be.
void hostcalls_golden(enum hostcall_table t, struct strbuf *out);
