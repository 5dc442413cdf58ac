// SPDX-License-Identifier: Apache-2.0
// What the Sentry and the stub share: the layout of a slot (one per guest thread), of the stub's
// region in every guest address space, and of the kernel's signal frame. Included by C on both
// sides and by the stub's assembly.
//
// The guest can write every byte of a slot. The Sentry reads each field once, through READ_SHARED,
// into a local and checks it; the stub trusts what it finds (a lie hurts only the liar).
//
// Region, from the stub's base (random per sandbox, same in all its address spaces):
//   text            read-only, executable; position-independent
//   fork stack      private memory: the child of a fork runs on its own copy of it until it has
//                   mapped its own slots
//   public page     what the kernel publishes about each slot's task (public.h): a memfd of this
//                   address space alone, mapped read-only, MADV_DONTFORK
//   slots           the address space's own sysmsg memfd, MADV_DONTFORK; the last one is no thread's but
//                   holds file positions (public.h)
//   windows         the beginnings of files that its descriptors name, read-only, MADV_DONTFORK
#pragma once

#define STUB_TEXT_MAX 0x10000
#define STUB_FORK_OFF 0x100000
#define STUB_FORK_SIZE 0x2000
#define STUB_VDSO_OFF 0x180000 // where the zygote moves the host's vvar and vDSO, when it can
#define STUB_VDSO_MAX 0x40000
#define STUB_PUB_OFF 0x200000
#define STUB_PUB_FILES_OFF 0x80000 // in the public pages, behind the lines of the tasks
#define STUB_PUB_SIZE 0xa0000
#define STUB_SLOTS_OFF 0x300000
#define SLOT_SIZE 0x8000
#define SLOT_COUNT 4096
#define SLOT_POS (SLOT_COUNT - 1) // the slot of struct pub_pos
#define STUB_WIN_OFF (STUB_SLOTS_OFF + SLOT_SIZE * SLOT_COUNT)
#define STUB_WIN_SIZE 0x1000000
#define STUB_WIN_COUNT 32
#define STUB_SPAN (STUB_WIN_OFF + STUB_WIN_SIZE * STUB_WIN_COUNT)
// Inside a slot.
#define SLOT_DATA_OFF 0x1000
#define SLOT_DATA_SIZE 0x3000
#define SLOT_STACK_OFF 0x4000 // the thread's alternate signal stack, to the slot's end
#define SLOT_STACK_SIZE 0x4000
#define SLOT_RANDOM_SIZE 160

#define STUB_GUEST_END 0x7f0000000000 // guest mappings lie below, the stub above
#define STUB_SIGNAL 10 // SIGUSR1: the interrupt
#define STUB_CLONE_FORK 0x8011         // CLONE_PARENT | SIGCHLD
#define STUB_CLONE_THREAD 0x50f00      // VM | FS | FILES | SIGHAND | THREAD | SYSVSEM

// Offsets for the assembly; checked below.
#define S_STATE 0
#define S_INTR 64
#define S_EXIT_RIP 72
#define S_EXIT_RSP 80
#define S_EXIT_FLAGS 88
#define S_TAG 172
#define S_TRAMP_UC 184
#define UC_R8 40
#define UC_R9 48
#define UC_R10 56
#define UC_R11 64
#define UC_R12 72
#define UC_R13 80
#define UC_R14 88
#define UC_R15 96
#define UC_RDI 104
#define UC_RSI 112
#define UC_RBP 120
#define UC_RBX 128
#define UC_RDX 136
#define UC_RAX 144
#define UC_RCX 152
#define UC_RSP 160
#define UC_RIP 168
#define UC_FLAGS 176
#define UC_SEGMENTS 184
#define UC_TRAPNO 200
#define UC_FPSTATE 224
#define FP_SW_XFEATURES 472
#define SLOT_GONE 3
// Patched call sites: see patch.c. A trampoline's place, and what a slot says at S_TAG.
#define TRAMP_SIZE 64
#define TRAMP_TAG 0x2f4e6372
#define TRAMP_ENTRY 32 // stub_tramp has an entry of so many bytes for each form

#ifndef __ASSEMBLER__
#include "platform/stub/public.h"
#include <stddef.h>
#include <stdint.h>
static_assert(STUB_PUB_FILES_OFF == SLOT_COUNT * sizeof(struct ppublic) &&
              STUB_PUB_SIZE == STUB_PUB_FILES_OFF + PUB_FILES * sizeof(struct pub_file) &&
              STUB_PUB_OFF + STUB_PUB_SIZE <= STUB_SLOTS_OFF && STUB_WIN_COUNT == PUB_WINDOWS &&
              STUB_WIN_SIZE == PUB_WINDOW_SIZE && PUB_FILES * sizeof(struct pub_pos) <= SLOT_SIZE);

// slot.state. Whoever flips it hands the slot over; the payload is written before.
enum : uint32_t {
    SLOT_STUB = 0,  // the stub's turn: it runs guest code or reads the reply
    SLOT_EVENT = 1, // the Sentry's turn
    SLOT_SLEEP = 2, // the Sentry's turn, and the stub sleeps on the word
    // SLOT_GONE = 3   the thread has left the slot for ever
};
enum stub_event : uint32_t {
    STUB_EV_SYSCALL,
    STUB_EV_FAULT,
    STUB_EV_INTERRUPT,
    STUB_EV_DONE,   // the work list is done
    STUB_EV_BORN,   // first sign of life of a new process
    STUB_EV_BROKEN, // the stub itself faulted or understood nothing
    STUB_EV_REFUSED,  // STUB_WORK_RETURN: the host refused the work, the call has not returned
    STUB_EV_OUTFAULT, // a return was told to write results (slot.marshal.out), and one faulted
    STUB_EV_SEED,     // slot.seed, please: in the middle of a call that may come to nobody's ears
    // With SYSCALL and INTERRUPT:
    STUB_EV_LIVE = 0x100, // the frame has no FP state, it is still in the CPU (a trampoline's call)
    STUB_EV_HOT = 0x200,  // this site comes often
};
enum stub_reply : uint32_t {
    STUB_RETURN, // a system call returns `ret`; nothing else in the frame changes
    STUB_RESUME, // rt_sigreturn from the frame
    STUB_WORK,   // do work[0..nwork), report
    STUB_WORK_RETURN, // do work[0], a call; then as STUB_RETURN
    STUB_EXIT,   // end this thread
    STUB_SEED,   // to STUB_EV_SEED: there it is
    STUB_NO_SEED,
};
enum : uint32_t { STUB_SET_FS = 1, STUB_SET_GS = 2 };
enum stub_work_op : uint32_t {
    WORK_CALL,    // host call nr(a[0..5]); WORK_FD in `flags` puts the received descriptor in a[4]
    WORK_RECVFD,  // take a descriptor from the control socket; closed at the next, or at the list's end
    WORK_CMPXCHG, // a = addr, expect, desired; ret = old value or -EFAULT
    WORK_FUTEX,   // a = uaddr, op, val, val2, uaddr2, val3; timeout in slot.ts if flags & WORK_TIMEOUT
    WORK_CLONE,   // a = slot index: new thread there; ret = tid
    WORK_FORK,    // a = numbers that the child's control socket and doorbell must get; ret = pid
    WORK_CPUTIME, // ret = CLOCK_THREAD_CPUTIME_ID, ns
    // The frame gets the FP state that is still in the CPU: a = features, offset in slot
    WORK_XSAVE,
    // a = address behind a system call instruction, readable from, to, its trampoline's place, prot
    // of the text; ret = enum patch_form or -errno; a[0..4] become struct patch_made
    WORK_PATCH,
    WORK_POKE,    // a = address, bytes, how many (<= 8, in one page), prot of the text
    WORK_COPY,    // a = address, offset from SLOT_DATA_OFF or WORK_ZEROS, length: into guest memory
};
constexpr uint64_t WORK_ZEROS = ~0ull;
enum patch_form : uint32_t { // how a site is patched: see patch.c
    PATCH_A = 1, // 5-byte mov to eax in front
    PATCH_A2,    // 7-byte mov to rax in front
    PATCH_B,     // another instruction of 5 bytes or more in front
    PATCH_C,     // such an instruction further up, short ones between it and the call
    PATCH_E,     // short jump in place of the call, into dead padding
    PATCH_FORMS,
};
// Where the text was changed (len bytes, and 5 at hole unless that is 0) and what was there.
struct patch_made {
    uint64_t addr, bytes, len, hole, hole_bytes;
};
enum : uint16_t { WORK_FD = 1, WORK_TIMEOUT = 2 };
// What work[0].ret is until the work of STUB_WORK_RETURN is done; WAITED: ring then.
enum : int64_t { LATER_PENDING = -5000, LATER_WAITED = -5001 };
struct stub_work {
    uint16_t op, flags;
    uint32_t nr;
    uint64_t a[6];
    int64_t ret;
};
static_assert(sizeof(struct stub_work) == 64);
#define SLOT_WORK_MAX 32
#define STUB_HIT_SETS 64
#define STUB_HIT_WAYS 4

// What the stub did with the arguments of the call that it hands over (platform/marshal.h), and what
// it is to write into guest memory before the return. Offsets count from SLOT_DATA_OFF.
#define SLOT_OUT_MAX 16
#define SLOT_EXTRA_MAX 12
#define SLOT_PROBED 0xffffffffu
struct slot_marshal {
    uint32_t valid; // stub: bit i: argument i lies at in_off[i]; bit 8+i: out_len[i] bytes at it can be written
    uint32_t nout;  // Sentry: entries of out[]; the stub sets it to 0 when it has written them
    uint16_t in_off[6], in_len[6], out_len[6];
    uint32_t nextra; // stub: entries of extra[]
    uint32_t pad[4];
    struct slot_out {
        uint64_t addr;
        uint32_t off, len;
    } out[SLOT_OUT_MAX];
    struct slot_out extra[SLOT_EXTRA_MAX]; // stub: buffers that arguments name; off SLOT_PROBED: to be written
};
static_assert(sizeof(struct slot_marshal) == 64 + 16 * (SLOT_OUT_MAX + SLOT_EXTRA_MAX));

// One cache line carries a system call and its answer; the registers follow in the signal frame.
struct slot {
    // 0: the handover, both ways. state is flipped last.
    uint32_t state;
    uint32_t event;      // stub: enum stub_event
    uint32_t uc_off;     // stub: offset of the ucontext in the slot
    uint32_t arch;       // stub: si_arch
    uint64_t ev_fs_base, ev_gs_base; // stub
    uint64_t ret;        // Sentry: result of STUB_RETURN
    uint32_t reply;      // Sentry: enum stub_reply
    uint32_t worker_cpu; // Sentry: the CPU of the worker that polls, ~0 unknown
    uint32_t asleep;     // Sentry: no worker polls this slot, ring
    uint32_t cpu;        // stub: 1 + the CPU it runs on, for the polling worker
    uint64_t mask;       // the guest's signal mask while the guest runs, both ways
    // 64: the stub's own
    uint32_t intr;       // an interrupt came while stub code ran
    uint32_t in_vdso;    // stub code has called the vDSO: where it runs now is no guest code
    uint64_t exit_rip, exit_rsp, exit_flags; // of a fast return in progress
    uint64_t uc;         // address of the current frame's ucontext
    int64_t deadline;    // stub: absolute time of an interrupted relative FUTEX_WAIT, ns; or 0
    uint32_t sleeping;   // stub: sleeps in a futex of the guest's
    uint32_t live;       // as STUB_EV_LIVE, for the current frame
    uint32_t seen_gen;   // patch_gen at the last fault that was tried again
    uint32_t patch_gen;  // slot 0's is the space's: odd while text is being changed
    // 128: the Sentry's, rarely changed
    uint32_t ctl_fd, bell_fd; // numbers in this process: control socket, eventfd to ring
    uint32_t nwork;
    uint32_t set;        // STUB_SET_*
    uint64_t fs_base, gs_base;
    uint64_t nonce;
    uint32_t boot_uc;    // offset of the frame that a new thread starts from
    uint32_t tag;        // TRAMP_TAG; 0: no patching, %gs is left alone
    uint64_t vdso_clock; // address of the vDSO's clock_gettime, 0: none
    uint64_t tramp_uc;   // address of the frame that a trampoline's call fills
    // 192: a fault, written by the stub
    int32_t signo, code;
    uint64_t addr;
    int64_t cputime;     // stub, with exit and execve: CLOCK_THREAD_CPUTIME_ID, ns; else 0
    // getrandom: stub/random.c
    uint64_t seed[4];     // Sentry, with STUB_SEED
    uint64_t vdso_random; // Sentry: address of the vDSO's getrandom, 0: none or not to be trusted
    // 256
    int64_t ts[2];        // struct timespec of WORK_FUTEX
    uint64_t calls[PATCH_FORMS - 1]; // stub: that came by trampoline; [form - 1]
    uint32_t random_len;  // Sentry: of the generator's state
    uint32_t random_calls;
    struct stub_work work[SLOT_WORK_MAX];
    struct slot_marshal marshal;
    // The stub's own.
    uint64_t sigsys;           // that came by SIGSYS
    uint64_t answers;          // calls that were not handed over
    uint64_t umask;            // slot 0's is the space's: pub_umask()
    uint32_t hits[STUB_HIT_SETS * STUB_HIT_WAYS]; // sites that came by SIGSYS: key << 8 | how often
    alignas(32) uint8_t random[SLOT_RANDOM_SIZE]; // state of the vDSO's generator
};
static_assert(sizeof(struct slot) <= SLOT_DATA_OFF); // in one page, as the generator wants it
static_assert(offsetof(struct slot, state) == S_STATE && offsetof(struct slot, intr) == S_INTR &&
              offsetof(struct slot, exit_rip) == S_EXIT_RIP &&
              offsetof(struct slot, exit_rsp) == S_EXIT_RSP &&
              offsetof(struct slot, exit_flags) == S_EXIT_FLAGS);
static_assert(offsetof(struct slot, tramp_uc) == S_TRAMP_UC && offsetof(struct slot, tag) == S_TAG);
static_assert(offsetof(struct slot, ctl_fd) == 128 && offsetof(struct slot, signo) == 192 &&
              offsetof(struct slot, ts) == 256 && offsetof(struct slot, work) == 320);

// Descriptors of a stub process: the control socket and the doorbell (an eventfd), whose numbers
// change from parent to child, and for moments what is being mapped.
#define STUB_CTL_FD(parity) (parity)
#define STUB_BELL_FD(parity) (2 + (parity))

// At the bottom of the fork stack, written before the clone.
#define STUB_UNMAP_MAX 12
struct fork_args {
    uint32_t ctl_fd, bell_fd;    // the child's; the doorbell comes with its slots' descriptor
    uint32_t old_ctl, old_bell;  // the parent's, to be closed (~0: none, and the doorbell is there)
    uint32_t nunmap, traced;     // zygote only
    struct {
        uint64_t start, len;
    } unmap[STUB_UNMAP_MAX];
};

// The kernel's signal frame (asm/sigcontext.h, asm/ucontext.h), x86_64.
struct stub_ucontext {
    uint64_t uc_flags, uc_link;
    uint64_t ss_sp;
    uint32_t ss_flags, ss_pad;
    uint64_t ss_size;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip;
    uint64_t rflags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2;
    uint64_t fpstate; // address
    uint64_t reserved[8];
    uint64_t sigmask;
};
static_assert(offsetof(struct stub_ucontext, r8) == UC_R8 &&
              offsetof(struct stub_ucontext, r11) == UC_R11 &&
              offsetof(struct stub_ucontext, rax) == UC_RAX &&
              offsetof(struct stub_ucontext, rcx) == UC_RCX &&
              offsetof(struct stub_ucontext, rsp) == UC_RSP &&
              offsetof(struct stub_ucontext, rip) == UC_RIP &&
              offsetof(struct stub_ucontext, cs) == UC_SEGMENTS &&
              offsetof(struct stub_ucontext, rflags) == UC_FLAGS &&
              offsetof(struct stub_ucontext, trapno) == UC_TRAPNO &&
              offsetof(struct stub_ucontext, fpstate) == UC_FPSTATE &&
              sizeof(struct stub_ucontext) == 304);
enum : uint64_t { STUB_UC_FP_XSTATE = 1, STUB_UC_SIGCONTEXT_SS = 2, STUB_UC_STRICT_SS = 4 };
struct stub_siginfo {
    int32_t signo, errno_, code, pad;
    uint64_t addr; // si_addr, si_call_addr
    int32_t syscall;
    uint32_t arch;
};
#endif
