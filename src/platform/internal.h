// SPDX-License-Identifier: Apache-2.0
// What systrap and ptrace share: addresses of the stub's region, the layout of FP state in signal
// frames, the making of the first stub process, plain copies. Private to src/platform.
#pragma once
#include "platform/platform.h"
#include "platform/stub/sysmsg.h"

struct st_global { // [C] after init
    uint64_t base;                 // of the stub's region
    uint64_t slots;                // base + STUB_SLOTS_OFF
    uint64_t task_size;
    uint64_t vdso, vdso_start, vdso_end;
    uint64_t vdso_clock;           // its clock_gettime, 0: none
    uint64_t vdso_random;          // its getrandom, 0: none that the stub can use
    uint32_t random_len;           // of that one's state
    bool no_answers;               // platform_config
    uint32_t fp_xstate, fp_ext;    // bytes of the XSAVE area, and with the closing magic
    uint64_t fp_features;
    uint32_t mxcsr_mask;
    uint32_t boot_uc, boot_fp;     // offsets in a slot of the frame that we prepare
    int self;                      // our pid
    bool patching;                 // system call sites are patched
};
extern struct st_global st;
static inline uint64_t st_slot_va(uint32_t index)
{
    return st.slots + (uint64_t)index * SLOT_SIZE;
}

// --- zygote.c: the first stub process -----------------------------------------------------------
struct zygote_report { // in memory shared with the zygote
    uint64_t failed;               // step << 32 | -errno, 0: none
    uint64_t vdso_start, vdso_end;
};
struct zygote_plan {
    const struct platform_config *cfg;
    int sock, bell;                // become STUB_CTL_FD(0), STUB_BELL_FD(0); bell -1: none
    bool traced;                   // ptrace: faults stop in stub_trap, slots are private memory
    struct zygote_report *report;
};
// Addresses, FP layout, vDSO, the filter. Before fork, in the Sentry; 0 or -errno, with a message.
MUST_CHECK int zygote_prepare(const struct platform_config *cfg);
// In a forked child: becomes the zygote and goes to the stub (stub_child). Never returns.
[[noreturn]] void zygote_become(struct zygote_plan *plan);
// In the Sentry, once the zygote runs: takes what it reports.
void zygote_adopt(const struct zygote_report *r);
void zygote_log_failure(const struct zygote_report *r);

// --- vdso.c: the host's vDSO, at base in ourselves -----------------------------------------------------
uint64_t vdso_symbol(uint64_t base, const char *name); // offset from base, 0: none
// The size of the state that its getrandom at fn wants, 0: the stub cannot use it.
uint32_t vdso_random_state(uint64_t fn);

// --- filter.c: table A of the security notes for a stub whose text is [start, end) -------------------
struct sock_filter;
MUST_CHECK int stub_filter_build(uint64_t start, uint64_t end, struct sock_filter *out, size_t cap);

// --- fpstate.c: the XSAVE area as it lies in signal frames --------------------------------------------
void fp_initial(uint8_t *buf);     // st.fp_ext bytes
void fp_seal(uint8_t *buf);        // writes the software-reserved words and the closing magic
// What fp_set got: FP_EXTENDED, FP_LEGACY (only the first 512 bytes count) or -EINVAL.
enum : int { FP_LEGACY, FP_EXTENDED };
MUST_CHECK int fp_check(const uint8_t *buf, size_t n);
// dst (st.fp_ext bytes) becomes the state that buf, of the given kind, describes.
void fp_store(uint8_t *dst, const uint8_t *buf, int kind);

// --- copy.c: process_vm_readv and writev on guest memory; as read_mem, write_mem -------------------------
long guest_read(int pid, void *dst, uaddr_t src, size_t n);
long guest_write(int pid, uaddr_t dst, const void *src, size_t n);
long guest_copy_vec(int pid, bool write, void *buf, const struct pvec *v, size_t n);
// Anywhere in the process, the stub's region included.
long stub_read(int pid, void *dst, uint64_t src, size_t n);
long stub_write(int pid, uint64_t dst, const void *src, size_t n);
// Page-aligned, not empty, below task_size.
bool guest_range_ok(uint64_t addr, uint64_t len);
// A host call's result as a stub reports it: kept clear of the kernel's private codes.
static inline long stub_result(int64_t r)
{
    return r < -133 ? -22 : r;
}
