// SPDX-License-Identifier: Apache-2.0
// Vector and floating point state of guests, on both platforms (see platform_test.c, whose guest code
// these use).
#include "platform/platform_test.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512bw");
}
PLATFORM_TEST(vector_registers)
{
    static uint8_t in[2176], out[2176];
    struct guest g = {};
    guest_new(&g, has_avx512() ? g_zmm : g_ymm);
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i * 7 + i / 256 + 1);
    uint32_t mxcsr = 0x7f80; // round to zero
    uint16_t fcw = 0x0f7f;
    memcpy(in + 2112, &mxcsr, 4);
    memcpy(in + 2116, &fcw, 2);
    memset(in + 2118, 0, sizeof(in) - 2118);
    CHECK(P->write_mem(g.as, UADDR(DATA), in, sizeof(in)) == sizeof(in));
    g.r.rsi = DATA;
    g.r.rdi = DATA + 4096;
    g.r.rbx = 20000;
    guest_run(&g);
    CHECK(g.ev.kind == PEV_SYSCALL);
    CHECK(P->read_mem(g.as, out, UADDR(DATA + 4096), sizeof(out)) == sizeof(out));
    size_t n = has_avx512() ? 2112 : 512;
    CHECK(!memcmp(in, out, n) && !memcmp(in + 2112, out + 2112, 6));
    guest_free(&g);
}

PLATFORM_TEST(fork_keeps_fp)
{
    static uint8_t a[8192], b[8192];
    struct guest g = {}, c = {};
    guest_new(&g, has_avx512() ? g_zmm : g_ymm);
    for (size_t i = 0; i < 2176; i++)
        a[i] = (uint8_t)(i * 3 + 1);
    uint32_t mxcsr = 0x1f80;
    uint16_t fcw = 0x37f;
    memcpy(a + 2112, &mxcsr, 4);
    memcpy(a + 2116, &fcw, 2);
    CHECK(P->write_mem(g.as, UADDR(DATA), a, 2176) == 2176);
    g.r.rsi = DATA;
    g.r.rdi = DATA + 4096;
    g.r.rbx = 10;
    P->run(g.ctx, &g.r, &g.ev);
    CHECK(g.ev.kind == PEV_SYSCALL);
    CHECK(!P->aspace_fork(g.ctx, &c.as, &c.ctx));
    c.r = g.r;
    size_t n = P->fp_size(g.ctx);
    CHECK(n == P->fp_size(c.ctx) && n <= sizeof(a));
    CHECK(!P->fp_get(g.ctx, a, n) && !P->fp_get(c.ctx, b, n) && !memcmp(a, b, n));
    guest_run(&c);
    guest_run(&g);
    CHECK(P->read_mem(g.as, a, UADDR(DATA + 4096), 2118) == 2118);
    CHECK(P->read_mem(c.as, b, UADDR(DATA + 4096), 2118) == 2118);
    CHECK(!memcmp(a, b, has_avx512() ? 2112 : 512));
    guest_free(&c);
    guest_free(&g);
}

PLATFORM_TEST(fp_state)
{
    static uint8_t a[8192], b[8192];
    struct guest g = {};
    guest_new(&g, has_avx512() ? g_zmm : g_ymm);
    size_t n = P->fp_size(g.ctx);
    CHECK(n >= 576 && n <= sizeof(a));
    CHECK(!P->fp_get(g.ctx, a, n)); // before it has run
    uint32_t mxcsr;
    memcpy(&mxcsr, a + 24, 4);
    CHECK(mxcsr == 0x1f80);
    CHECK(P->fp_get(g.ctx, a, n - 1) == -EINVAL);
    static uint8_t in[2176];
    for (size_t i = 0; i < 2112; i++)
        in[i] = (uint8_t)(i + 1);
    memcpy(in + 2112, &mxcsr, 4);
    in[2116] = 0x7f;
    in[2117] = 3;
    CHECK(P->write_mem(g.as, UADDR(DATA), in, sizeof(in)) == sizeof(in));
    g.r.rsi = DATA;
    g.r.rdi = DATA + 4096;
    g.r.rbx = 3;
    P->run(g.ctx, &g.r, &g.ev);
    CHECK(!P->fp_get(g.ctx, a, n) && !memcmp(a + 160, in, 16)); // xmm0
    memset(a + 160, 0x5a, 16);
    CHECK(!P->fp_set(g.ctx, a, n));
    g.r.rax = 0;
    P->run(g.ctx, &g.r, &g.ev);
    CHECK(!P->fp_get(g.ctx, b, n) && !memcmp(b + 160, a + 160, 16));
    uint32_t bad = 0x80000000; // reserved bits of mxcsr, features that do not exist, a bad header
    memcpy(b + 24, &bad, 4);
    CHECK(P->fp_set(g.ctx, b, n) == -EINVAL);
    memcpy(b, a, n);
    memset(b + 512, 0xff, 8);
    CHECK(P->fp_set(g.ctx, b, n) == -EINVAL);
    memcpy(b, a, n);
    b[520] = 1;
    CHECK(P->fp_set(g.ctx, b, n) == -EINVAL);
    CHECK(P->fp_set(g.ctx, a, 511) == -EINVAL);
    CHECK(!P->fp_set(g.ctx, a, 512));
    P->fp_reset(g.ctx);
    CHECK(!P->fp_get(g.ctx, b, n) && b[160] == 0);
    guest_run(&g);
    uint8_t out[64], zero[64] = {};
    CHECK(P->read_mem(g.as, out, UADDR(DATA + 4096), 64) == 64 && !memcmp(out, zero, 32));
    guest_free(&g);
}
