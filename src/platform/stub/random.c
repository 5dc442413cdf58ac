// SPDX-License-Identifier: Apache-2.0
// getrandom by the host's vDSO: its generator keeps its state in our slot, in memory that no other
// process has, that a child of fork does not inherit and that a new thread finds zeroed. The generator
// asks for a key when it has none, and whenever the host's own generator has got new seed since (about
// once a minute, and when a virtual machine finds itself copied): by a system call, which the filter
// turns into a signal in the middle of it. There the Sentry is asked for 32 bytes of the host's, and
// answers at once: so the key is younger than the generation that it counts for, as the vDSO wants it,
// and no host call is added to the stub's list.
//
// The bytes go by way of our stack, which is wiped: the vDSO would fault on a bad address.
#include "platform/stub/marshal.h"
#include "platform/stub/stub.h"
#include <asm/unistd.h>

constexpr uint64_t LARGEST = 256; // beyond, the host's own code is faster than the vDSO's
// So many calls of a thread are the kernel's: a key costs as much as three of them, and most threads
// make one or two.
constexpr uint32_t KERNELS = 4;

AI void wipe(uint64_t *p, uint64_t bytes)
{
    for (uint64_t i = 0; i < (bytes + 7) / 8; i++)
        *(volatile uint64_t *)&p[i] = 0;
}

bool random_call(struct slot *s, const struct stub_ucontext *uc, long *ret)
{
    constexpr uint32_t nonblock = 1, random = 2, insecure = 4;
    uint64_t buf[LARGEST / 8], n = uc->rsi;
    uint32_t flags = (uint32_t)uc->rdx;
    if (!s->vdso_random || !n || n > LARGEST || uc->rdi >= STUB_GUEST_END - n ||
        (flags & ~(nonblock | random | insecure)) || flags >= (random | insecure))
        return false;
    if (s->random_calls < KERNELS) {
        s->random_calls++;
        return false;
    }
    __atomic_store_n(&s->in_vdso, 1, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    long r = stub_vdso_random(buf, n, flags, s->random, s->random_len, s->vdso_random);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&s->in_vdso, 0, __ATOMIC_RELEASE);
    if (r != (long)n) { // no key now
        s->random_calls = 0;
        return false;
    }
    bool ok = stub_copy((void *)(uintptr_t)uc->rdi, buf, n) == 0;
    wipe(buf, n);
    *ret = r;
    return ok;
}

bool random_key(struct slot *s, const struct stub_ucontext *uc)
{
    uint64_t at = uc->rdi - (uintptr_t)s->random, n = uc->rsi;
    if (uc->rax != __NR_getrandom || n > sizeof(s->seed) || at > sizeof(s->random) - n)
        return false;
    if (!stub_seed(s))
        return false;
    (void)stub_copy((void *)(uintptr_t)uc->rdi, s->seed, n);
    wipe(s->seed, sizeof(s->seed));
    return true;
}
