// SPDX-License-Identifier: Apache-2.0
// What the stub's own files share. Freestanding code, compiled with general registers only: no
// libc, no writable data, no jump tables, no relocations (tools/build-stub.sh checks). Everything
// here runs in guest processes with the guest's rights; see stub.c.
#pragma once
#include "host/raw.h"
#include "platform/stub/sysmsg.h"

#define AI static inline __attribute__((always_inline))
// A polling worker holds the line too: a store that changes nothing would fetch it back from there.
#define STORE(x, v)        \
    do {                   \
        typeof(x) v_ = (v); \
        if ((x) != v_)     \
            (x) = v_;      \
    } while (0)
#define HIDDEN __attribute__((visibility("hidden")))
#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)

extern HIDDEN char stub_start[], stub_end[], stub_fork[], stub_pub[], stub_slots[];

// fast.c: true: the call is answered, uc->rax is the result. False: nothing has happened.
HIDDEN bool fast_call(struct slot *s, struct stub_ucontext *uc);
// random.c: the same; and the key that the vDSO's generator asks for, in *uc: true: it has been written.
HIDDEN bool random_call(struct slot *s, const struct stub_ucontext *uc, long *ret);
HIDDEN bool random_key(struct slot *s, const struct stub_ucontext *uc);
// stub.c: 32 bytes into s->seed, from the Sentry. False: not now.
HIDDEN bool stub_seed(struct slot *s);
// entry.S: the vDSO's getrandom, with the guest's vector registers put away.
HIDDEN long stub_vdso_random(void *buf, uint64_t n, uint32_t flags, void *state, uint64_t state_len,
                             uint64_t fn);
// entry.S: guest memory; 0, or -EFAULT.
HIDDEN long stub_load(uint64_t addr, uint64_t *v);
HIDDEN long stub_load32(uint64_t addr, uint32_t *v);
HIDDEN long stub_store(uint64_t addr, uint64_t v);
HIDDEN long stub_store32(uint64_t addr, uint32_t v);
extern HIDDEN char stub_access[], stub_access_end[], stub_access_fault[];
// A futex call, interruptible by what sets *intr.
HIDDEN long stub_futex(uint64_t uaddr, uint64_t op, uint64_t val, uint64_t timeout, uint64_t uaddr2,
                       uint64_t val3, uint32_t *intr);

AI long call6(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
    return host_call6(nr, (long)a, (long)b, (long)c, (long)d, (long)e, (long)f);
}

AI struct slot *slot_of(const void *p)
{
    uintptr_t off = (uintptr_t)p - (uintptr_t)stub_slots;
    return (struct slot *)((uintptr_t)stub_slots + (off & ~(uintptr_t)(SLOT_SIZE - 1)));
}
AI struct stub_ucontext *frame_of(struct slot *s)
{
    return (struct stub_ucontext *)s->uc;
}
AI bool within(uint64_t rip, const char *start, const char *end)
{
    return rip - (uintptr_t)start < (uintptr_t)end - (uintptr_t)start;
}
// The CPU we run on, from the limit of the kernel's per-CPU segment: works without RDPID.
AI uint32_t cpu_now(void)
{
    uint32_t v;
    __asm__ volatile("lsl %1, %0" : "=r"(v) : "r"(0x7b) : "cc");
    return v & 0xfff;
}

// --- entry.S -------------------------------------------------------------------------------------
HIDDEN void stub_tramp(void);
HIDDEN uint64_t stub_peek(uint64_t addr);
HIDDEN void stub_xsave(void *area, uint64_t features);

// --- patch.c -------------------------------------------------------------------------------------
// A call came by SIGSYS: has its site done so often enough to be worth a patch?
bool site_hot(struct slot *s, uint64_t rip);
int64_t patch_site(struct slot *s, struct stub_work *w);
int64_t patch_poke(const struct stub_work *w);
// A signal hit guest code. True: it was only on account of a patch, go back to *uc. False: *uc says
// now what the guest's state would be without patches.
bool patch_signal(struct slot *s, int sig, struct stub_ucontext *uc, int code);
