// SPDX-License-Identifier: Apache-2.0
// The host's vDSO: an ELF image like any other, but the host kernel's own and to be believed. Looked at
// once, before lockdown, in the Sentry.
#include "base/log.h"
#include "host/raw.h"
#include "platform/internal.h"
#include <elf.h>
#include <string.h>

uint64_t vdso_symbol(uint64_t base, const char *name)
{
    const Elf64_Ehdr *eh = (const Elf64_Ehdr *)base;
    if (!eh->e_shoff || eh->e_shentsize != sizeof(Elf64_Shdr))
        return 0;
    const Elf64_Shdr *sh = (const Elf64_Shdr *)(base + eh->e_shoff);
    for (int i = 0; i < eh->e_shnum; i++) {
        if (sh[i].sh_type != SHT_DYNSYM || sh[i].sh_link >= eh->e_shnum)
            continue;
        const Elf64_Sym *sym = (const Elf64_Sym *)(base + sh[i].sh_offset);
        const char *names = (const char *)base + sh[sh[i].sh_link].sh_offset;
        for (size_t n = 0; n < sh[i].sh_size / sizeof(*sym); n++)
            if (!strcmp(names + sym[n].st_name, name))
                return sym[n].st_value;
    }
    return 0;
}

// --- getrandom -----------------------------------------------------------------------------------
// The stub runs it while a guest's vector registers are live, and puts the sixteen of SSE away. Whether
// that is enough depends on the host's kernel; here it is run with a pattern in all of the vector state.
constexpr size_t XMM_OFF = 160, XMM_END = 416, HEADER_OFF = 512, EXTENDED_OFF = 576;
static _Alignas(64) uint8_t before[4096], after[4096], clean[EXTENDED_OFF];

static uint64_t vector_features(void)
{
    constexpr uint32_t vectors = 0xe6; // SSE, AVX, AVX-512's three
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo & vectors;
}

// fn(buf, n, 0, state, size) between a load of `before` and a store to `after`.
static long between(uint64_t fn, void *buf, size_t n, void *state, uint64_t size, uint64_t features)
{
    register void *r12 __asm__("r12") = before;
    register void *r13 __asm__("r13") = after;
    register void *r14 __asm__("r14") = clean;
    register uint64_t r15 __asm__("r15") = features;
    register uint64_t r8 __asm__("r8") = size;
    register uint64_t r9 __asm__("r9") = fn;
    long ret;
    __asm__ volatile("mov %%rsp, %%rbx\n\t"
                     "lea -256(%%rsp), %%rsp\n\t"
                     "and $-64, %%rsp\n\t"
                     "mov %%r15d, %%eax\n\t"
                     "xor %%edx, %%edx\n\t"
                     "xrstor64 (%%r12)\n\t"
                     "call *%%r9\n\t"
                     "mov %%rbx, %%rsp\n\t"
                     "mov %%rax, %%rbx\n\t"
                     "mov %%r15d, %%eax\n\t"
                     "xor %%edx, %%edx\n\t"
                     "xsave64 (%%r13)\n\t"
                     "xrstor64 (%%r14)\n\t"
                     "mov %%rbx, %%rax"
                     : "=&a"(ret), "+D"(buf), "+S"(n), "+c"(state), "+r"(r8), "+r"(r9)
                     : "r"(r12), "r"(r13), "r"(r14), "r"(r15)
                     : "rbx", "rdx", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3",
                       "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
                       "xmm13", "xmm14", "xmm15");
    return ret;
}

// All of the state but the registers of SSE is what it was, none of it has become "unused".
static bool kept(void)
{
    return !memcmp(before + EXTENDED_OFF, after + EXTENDED_OFF, sizeof(before) - EXTENDED_OFF) &&
           !memcmp(before + HEADER_OFF, after + HEADER_OFF, 8) &&
           !memcmp(before + 24, after + 24, 4); // MXCSR
}

static bool keeps_vectors(uint64_t fn, uint32_t size)
{
    static const size_t lengths[] = {1, 16, 32, 64, 65, 128, 200, 256, 3, 96};
    static _Alignas(256) uint8_t state[32 + SLOT_RANDOM_SIZE]; // aligned as in a slot
    uint8_t buf[256];
    uint64_t features = vector_features();
    uint32_t mxcsr;
    if (st.fp_xstate > sizeof(before) || !(features & 2))
        return false;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    memcpy(clean + 24, &mxcsr, 4); // nothing else in it: all components as after a start
    memset(before, 0x5a, sizeof(before));
    memset(before, 0, XMM_OFF);
    memset(before + HEADER_OFF, 0, EXTENDED_OFF - HEADER_OFF);
    memcpy(before + 24, &mxcsr, 4);
    memcpy(before + HEADER_OFF, &features, 8);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        memset(after, 0x5a, sizeof(after));
        memset(after + HEADER_OFF, 0, EXTENDED_OFF - HEADER_OFF);
        if (between(fn, buf, lengths[i], state + 32, size, features) != (long)lengths[i] || !kept())
            return false;
    }
    explicit_bzero(state, sizeof(state));
    explicit_bzero(after + XMM_OFF, XMM_END - XMM_OFF);
    return true;
}

__attribute__((no_sanitize("cfi-icall", "function"))) uint32_t vdso_random_state(uint64_t fn)
{
    struct {
        uint32_t size, prot, flags, reserved[13];
    } want = {};
    long (*query)(void *, size_t, uint32_t, void *, size_t) =
        (long (*)(void *, size_t, uint32_t, void *, size_t))fn;
    if (query(nullptr, 0, 0, &want, ~0ul) || !want.size || want.size > SLOT_RANDOM_SIZE)
        return 0;
    if (!keeps_vectors(fn, want.size)) {
        log_debug("platform: the vDSO's getrandom touches more registers than it may");
        return 0;
    }
    return want.size;
}
