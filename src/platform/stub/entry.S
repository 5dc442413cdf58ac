// SPDX-License-Identifier: Apache-2.0
// The stub's ways in and out that C cannot express. No relocation, no stack use where it says so.
#include "platform/stub/sysmsg.h"

    .section .text.entry, "ax", @progbits
    .globl stub_restorer, stub_exit_sigreturn, stub_exit_fast, stub_exit_interrupted
    .globl stub_exit_final, stub_exit_thread, stub_clone_fork, stub_clone_thread, stub_enter, stub_cmpxchg
    .globl stub_cmpxchg_insn, stub_cmpxchg_fault, stub_futex, stub_futex_win, stub_futex_end
    .globl stub_vdso_random
    .globl stub_load, stub_load32, stub_store, stub_store32, stub_access, stub_access_end
    .globl stub_access_fault
    .globl stub_exit_live, stub_tramp, stub_peek, stub_peek_insn, stub_peek_fault, stub_xsave
    .globl stub_futex_abort, stub_win_resume, stub_win_resume_end, stub_win_fast, stub_win_fast_end
    .globl stub_win_last, stub_win_last_end

// Return of a handler that interrupted stub code.
    .balign 16
stub_restorer:
    mov $15, %eax
    syscall
    ud2

// stub_exit_sigreturn(ucontext, slot): to the guest, everything from the frame. An interrupt that
// comes between the look at `intr` and the system call finds its return address in the window and
// sends us to stub_exit_interrupted.
    .balign 16
stub_exit_sigreturn:
    mov %rdi, %rsp
stub_win_resume:
    cmpl $0, S_INTR(%rsi)
    jne stub_exit_interrupted
    mov $15, %eax
    syscall
stub_win_resume_end:
    ud2

// In: rdi = ucontext, rsi = slot. The frame stays; the stack below it is free.
    .balign 16
stub_exit_interrupted:
    lea -256(%rdi), %rsp
    and $-16, %rsp
    mov %rsi, %rdi
    xor %ebp, %ebp
    call stub_interrupted
    ud2

// stub_exit_live(ucontext, slot): the same for a call that came by trampoline: the FP state is still
// in the CPU.
    .balign 16
stub_exit_live:
stub_win_fast:
    mov %rdi, %rcx
    cmpl $0, S_INTR(%rsi)
    jne stub_exit_interrupted
    jmp 1f
3:  pushq UC_FLAGS(%rcx)
    popfq
    jmp 2f
// stub_exit_fast(ucontext, slot): a system call's return without rt_sigreturn. Legal because rcx
// and r11 are what the kernel leaves there (rip, flags) and the signal mask has not changed.
    .balign 16
stub_exit_fast:
    mov %rdi, %rcx
    mov UC_FPSTATE(%rcx), %r11
    mov FP_SW_XFEATURES(%r11), %eax
    mov FP_SW_XFEATURES+4(%r11), %edx
    cmpl $0, S_INTR(%rsi)
    jne stub_exit_interrupted
    xrstor64 (%r11)
1:  mov %rsi, %r11
// popf is dear. But for the direction flag all that the stub's code has changed are the arithmetic
// ones: five of them by sahf, overflow by 8 + 0x78.
    mov UC_FLAGS(%rcx), %eax
    test $0x400, %eax
    jnz 3b
    xchg %al, %ah
    and $8, %al
    add $0x78, %al
    sahf
2:  mov UC_R8(%rcx), %r8
    mov UC_R9(%rcx), %r9
    mov UC_R10(%rcx), %r10
    mov UC_R12(%rcx), %r12
    mov UC_R13(%rcx), %r13
    mov UC_R14(%rcx), %r14
    mov UC_R15(%rcx), %r15
    mov UC_RDI(%rcx), %rdi
    mov UC_RSI(%rcx), %rsi
    mov UC_RBP(%rcx), %rbp
    mov UC_RBX(%rcx), %rbx
    mov UC_RDX(%rcx), %rdx
    mov UC_RAX(%rcx), %rax
    mov S_EXIT_RIP(%r11), %rcx
    mov S_EXIT_RSP(%r11), %rsp
stub_win_fast_end:
// From here the alternate stack counts as unused, a signal would overwrite the frame: what is
// still missing comes from the slot.
stub_win_last:
    mov S_EXIT_FLAGS(%r11), %r11
    jmp *%rcx
stub_win_last_end:

// From a trampoline (patch.c): rcx = the address behind the system call instruction, r11 is free,
// the rest is the guest's, %gs is the slot. Fills the frame as the kernel would, but for the FP state,
// which stays in the CPU, and goes on on the signal stack below it: a signal that comes from here
// on nests there, one that comes before finds nothing to overwrite. Interrupts are only noted.
// One entry for each form, for the sake of counting.
    .balign 64
stub_tramp:
    .irp form, 1, 2, 3, 4, 5
    .balign TRAMP_ENTRY
    mov %rsp, %r11
    mov %gs:S_TRAMP_UC, %rsp
    movl $\form, UC_TRAPNO(%rsp)
    .if \form < 5
    jmp 1f
    .endif
    .endr
1:  mov %r11, UC_RSP(%rsp)
    pushfq
    pop UC_FLAGS(%rsp)
    mov %rax, UC_RAX(%rsp)
    mov %rdi, UC_RDI(%rsp)
    mov %rsi, UC_RSI(%rsp)
    mov %rdx, UC_RDX(%rsp)
    mov %r10, UC_R10(%rsp)
    mov %r8, UC_R8(%rsp)
    mov %r9, UC_R9(%rsp)
    mov %rbx, UC_RBX(%rsp)
    mov %rbp, UC_RBP(%rsp)
    mov %r12, UC_R12(%rsp)
    mov %r13, UC_R13(%rsp)
    mov %r14, UC_R14(%rsp)
    mov %r15, UC_R15(%rsp)
    mov UC_FLAGS(%rsp), %r11
    mov %rcx, UC_RCX(%rsp)
    mov %rcx, UC_RIP(%rsp)
    mov %r11, UC_R11(%rsp)
    movabs $0x002b000000000033, %rcx
    mov %rcx, UC_SEGMENTS(%rsp)
    cld
    rdgsbase %rdi
    mov %rsp, %rsi
    xor %ebp, %ebp
    call stub_call
    mov %rsp, %rdi
    rdgsbase %rsi
    test %al, %al
    jnz stub_exit_live // calls and returns in pairs: the processor predicts the guest's next return
    xchg %rdi, %rsi
    call stub_call_on
    ud2

// long stub_vdso_random(buf, n, flags, state, state_len, fn). What the vDSO's generator uses are the
// sixteen registers of SSE, by instructions that leave the rest of the vector state alone
// (platform/vdso.c tries that); no status word changes.
    .balign 16
stub_vdso_random:
    push %rbp
    mov %rsp, %rbp
    sub $256, %rsp
    and $-64, %rsp
    .irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movaps %xmm\i, 16 * \i(%rsp)
    .endr
    call *%r9
    .irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movaps 16 * \i(%rsp), %xmm\i
    .endr
    mov %rbp, %rsp
    pop %rbp
    ret

// uint64_t stub_peek(addr): the 8 bytes there, 0 when they cannot be read.
    .balign 16
stub_peek:
stub_peek_insn:
    mov (%rdi), %rax
    ret
stub_peek_fault:
    xor %eax, %eax
    ret

// stub_xsave(area, features)
    .balign 16
stub_xsave:
    mov %esi, %eax
    mov %rsi, %rdx
    shr $32, %rdx
    xsave64 (%rdi)
    ret

// stub_exit_final(ucontext): as stub_exit_sigreturn, but nothing turns it back.
    .balign 16
stub_exit_final:
    mov %rdi, %rsp
    mov $15, %eax
    syscall
    ud2

// End of a thread, entered by rt_sigreturn with every signal blocked: rdi = slot. No stack: once
// the word is stored the slot may belong to another thread.
    .balign 16
stub_exit_thread:
    movl $SLOT_GONE, S_STATE(%rdi)
    xor %edi, %edi
    mov $60, %eax
    syscall
    ud2

// stub_clone_fork(child's stack): pid, in the parent; the child goes to stub_child.
    .balign 16
stub_clone_fork:
    mov %rdi, %rsi
    mov $STUB_CLONE_FORK, %edi
    xor %edx, %edx
    xor %r10d, %r10d
    xor %r8d, %r8d
    mov $56, %eax
    syscall
    test %rax, %rax
    jz 1f
    ret
1:  xor %ebp, %ebp
    call stub_child
    ud2

// stub_clone_thread(slot, stack): tid, in the parent; the new thread goes to stub_thread(slot).
    .balign 16
stub_clone_thread:
    mov %rdi, %r9
    mov $STUB_CLONE_THREAD, %edi
    xor %edx, %edx
    xor %r10d, %r10d
    xor %r8d, %r8d
    mov $56, %eax
    syscall
    test %rax, %rax
    jz 1f
    ret
1:  mov %r9, %rdi
    xor %ebp, %ebp
    call stub_thread
    ud2

// stub_enter(slot, stack, fn): fn(slot) on another stack.
    .balign 16
stub_enter:
    mov %rsi, %rsp
    xor %ebp, %ebp
    call *%rdx
    ud2

// int64_t stub_cmpxchg(addr, expect, desired): the old value, or -EFAULT.
    .balign 16
stub_cmpxchg:
    mov %esi, %eax
stub_cmpxchg_insn:
    lock cmpxchg %edx, (%rdi)
    mov %eax, %eax
    ret
stub_cmpxchg_fault:
    mov $-14, %rax
    ret

// Guest memory: long stub_load(addr, u64 *v), stub_store(addr, v) and of 32 bits. 0, or -EFAULT by
// way of the signal handler. They leave the stack alone.
    .balign 16
stub_access:
stub_load:
    mov (%rdi), %rax
    mov %rax, (%rsi)
    xor %eax, %eax
    ret
stub_load32:
    mov (%rdi), %eax
    mov %eax, (%rsi)
    xor %eax, %eax
    ret
stub_store:
    mov %rsi, (%rdi)
    xor %eax, %eax
    ret
stub_store32:
    mov %esi, (%rdi)
    xor %eax, %eax
    ret
stub_access_end:
stub_access_fault:
    mov $-14, %rax
    ret

// long stub_futex(uaddr, op, val, timeout, uaddr2, val3, uint32_t *intr): interruptible without a
// gap: an interrupt before the system call instruction has run sends us to stub_futex_abort.
    .balign 16
stub_futex:
    mov %rcx, %r10
    mov 8(%rsp), %rcx
    mov $202, %eax
stub_futex_win:
    cmpl $0, (%rcx)
    jne stub_futex_abort
    syscall
stub_futex_end:
    ret
stub_futex_abort:
    mov $-4, %rax
    ret

// For the ptrace platform: calls and a compare-exchange that it injects, and where its tracees stop
// when a signal is let through to see its frame.
    .globl stub_traced_call, stub_traced_cmpxchg, stub_trap
    .balign 16
stub_traced_call:
    syscall
    int3
    .balign 16
stub_traced_cmpxchg:
    lock cmpxchg %edx, (%rdi)
    int3
    .balign 16
stub_trap:
    int3
    ud2

    .section .note.GNU-stack, "", @progbits
