// SPDX-License-Identifier: Apache-2.0
// long pt_wait(int *status, uint32_t *flag). A signal that comes between the look at the flag and the
// system call finds rip in [pt_wait_window, pt_wait_end) and its handler moves it to pt_wait_abort:
// no request is slept through.
    .text
    .globl pt_wait, pt_wait_window, pt_wait_end, pt_wait_abort
    .hidden pt_wait, pt_wait_window, pt_wait_end, pt_wait_abort
    .type pt_wait, @function
pt_wait:
    mov %rsi, %r8
    mov %rdi, %rsi
    mov $-1, %rdi
    mov $0x40000000, %edx
    xor %r10d, %r10d
    mov $61, %eax
pt_wait_window:
    cmpl $0, (%r8)
    jne pt_wait_abort
    syscall
pt_wait_end:
    ret
pt_wait_abort:
    mov $-4, %rax
    ret
    .size pt_wait, . - pt_wait
    .section .note.GNU-stack, "", @progbits
