// SPDX-License-Identifier: Apache-2.0
// The stack switch: callee-saved registers and the two floating point control words.
    .text
// void sched_switch(void **save_sp, void *to_sp)
    .globl sched_switch
    .hidden sched_switch
    .type sched_switch, @function
    .p2align 4
sched_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx           // not ret: the return predictor knows nothing of other stacks
    jmpq *%rcx
    .size sched_switch, . - sched_switch

// First instruction of every fiber; rbx is the fiber, the stack is 16-byte aligned.
    .globl sched_fiber_entry
    .hidden sched_fiber_entry
    .type sched_fiber_entry, @function
sched_fiber_entry:
    xorl %ebp, %ebp
    movq %rbx, %rdi
    call sched_fiber_main
    ud2
    .size sched_fiber_entry, . - sched_fiber_entry
    .section .note.GNU-stack, "", @progbits
