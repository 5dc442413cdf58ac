// SPDX-License-Identifier: Apache-2.0
// Access to guest memory that may fault. Between stub_user_start and stub_user_end a fault makes the
// function return what is in rcx: none of them uses the stack there.
    .section .text.user, "ax", @progbits
    .globl stub_user_start, stub_user_end, stub_user_fault, stub_copy, stub_copy_str, stub_probe
    .globl stub_clear

// uint64_t stub_copy(dst, src, n): bytes that were not copied; after a fault up to 7 more may have been.
    .balign 16
stub_copy:
    mov %rdx, %rcx
stub_user_start:
    cmp $128, %rcx
    jae 3f
1:  cmp $8, %rcx
    jb 2f
    mov (%rsi), %rax
    mov %rax, (%rdi)
    add $8, %rsi
    add $8, %rdi
    sub $8, %rcx
    jmp 1b
2:  test %ecx, %ecx
    jz 4f
    mov (%rsi), %al
    mov %al, (%rdi)
    inc %rsi
    inc %rdi
    dec %ecx
    jmp 2b
3:  rep movsb
4:  mov %rcx, %rax
    ret

// int64_t stub_copy_str(dst, src, max): length with the terminator, 0: not within max, -1: a fault.
// Never reads a page that the string does not reach; writes up to 7 bytes more than the length.
    .balign 16
stub_copy_str:
    mov $-1, %rcx
    mov %rdi, %r8
    lea (%rdi, %rdx), %r9
    movabs $0xfefefefefefefeff, %r10
    movabs $0x8080808080808080, %r11
1:  cmp %r9, %rdi
    jae 4f
    mov %esi, %eax
    and $4095, %eax
    cmp $4088, %eax
    ja 3f
    mov (%rsi), %rax
    mov %rax, (%rdi)
    lea (%rax, %r10), %rdx
    not %rax
    and %rax, %rdx
    and %r11, %rdx
    jnz 2f
    add $8, %rsi
    add $8, %rdi
    jmp 1b
2:  bsf %rdx, %rdx
    shr $3, %rdx
    lea 1(%rdi, %rdx), %rax
    sub %r8, %rax
    ret
3:  mov (%rsi), %al
    mov %al, (%rdi)
    inc %rsi
    inc %rdi
    test %al, %al
    jnz 1b
    mov %rdi, %rax
    sub %r8, %rax
    ret
4:  xor %eax, %eax
    ret

// uint64_t stub_probe(addr): 0 when the byte may be written. Changes nothing, whoever else writes.
    .balign 16
stub_probe:
    mov $1, %ecx
    lock orb $0, (%rdi)
    xor %eax, %eax
    ret

// uint64_t stub_clear(dst, n): bytes that were not cleared.
    .balign 16
stub_clear:
    mov %rsi, %rcx
    xor %eax, %eax
    rep stosb
    mov %rcx, %rax
    ret
stub_user_end:
    .balign 16
stub_user_fault:
    mov %rcx, %rax
    ret

    .section .note.GNU-stack, "", @progbits
