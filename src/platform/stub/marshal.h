// SPDX-License-Identifier: Apache-2.0
// Inside the stub: marshalling of system call arguments (marshal.c).
#pragma once
#include "platform/marshal.h"
#include "platform/stub/stub.h"

// Before a system call is handed over: what its row says into slot.marshal and the data area.
HIDDEN void stub_marshal(struct slot *s, const struct stub_ucontext *uc);
// Before the return to the guest: slot.marshal.out[] into guest memory. False: something faulted.
HIDDEN bool stub_unmarshal(struct slot *s);
// Bytes that were not copied, 0: all. Either side may fault.
HIDDEN uint64_t stub_copy(void *dst, const void *src, uint64_t n);
HIDDEN uint64_t stub_clear(void *dst, uint64_t n);
// An access to guest memory that faults with rip in here continues at stub_user_fault.
extern HIDDEN char stub_user_start[], stub_user_end[], stub_user_fault[];
