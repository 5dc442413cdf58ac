// SPDX-License-Identifier: Apache-2.0
// The stub, as bytes: it is copied into guest processes and never run here. The header is included
// so that a new stub makes a new object.
#include "stub_syms.h"

    .section .rodata
    .balign 64
    .globl stub_blob
    .hidden stub_blob
stub_blob:
    .incbin "stub.bin"
    .size stub_blob, STUB_SIZE
    .section .note.GNU-stack, "", @progbits
