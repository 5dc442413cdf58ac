// SPDX-License-Identifier: Apache-2.0
// FP state: the XSAVE area of the frame in the slot, in the form in which it travels in a guest's
// signal frames. Its size and features were learned from a signal frame of our own at start. What is
// set is checked here so that callers get -EINVAL, and by the host's kernel again at rt_sigreturn.
#include "abi/errno.h"
#include "platform/systrap/systrap.h"
#include <string.h>

constexpr uint32_t FP_MAGIC1 = 0x46505853, FP_MAGIC2 = 0x46505845;
constexpr size_t OFF_MXCSR = 24, OFF_SW = 464, OFF_BV = 512, OFF_COMP = 520;
struct fp_sw { // struct _fpx_sw_bytes
    uint32_t magic1, ext_size;
    uint64_t features;
    uint32_t xstate_size, pad[7];
};
static_assert(OFF_SW + sizeof(struct fp_sw) == 512);

size_t st_fp_size(struct pcontext *ctx)
{
    return st.fp_ext;
}

// Where the kernel put the FP state of the frame; looked up when first asked for. What makes no
// sense counts as none.
uint32_t st_fp_find(struct st_context *c)
{
    if (c->fp_off != FP_UNKNOWN)
        return c->fp_off;
    struct stub_ucontext *uc = (struct stub_ucontext *)((uint8_t *)c->slot + c->uc_off);
    uint64_t off = READ_SHARED(uc->fpstate) - st_slot_va(c->index);
    bool ok = off >= SLOT_STACK_OFF && off <= SLOT_SIZE - st.fp_ext && off % 64 == 0;
    c->fp_off = c->fp_home = ok ? (uint32_t)off : 0;
    return c->fp_off;
}

static void sw_write(uint8_t *buf)
{
    struct fp_sw sw = {FP_MAGIC1, st.fp_ext, st.fp_features, st.fp_xstate, {}};
    memcpy(buf + OFF_SW, &sw, sizeof(sw));
    memcpy(buf + st.fp_xstate, &FP_MAGIC2, sizeof(FP_MAGIC2));
}

// As after FNINIT with the default MXCSR: every component in its initial state.
static void initial(uint8_t *buf)
{
    constexpr uint16_t fcw = 0x37f;
    constexpr uint32_t mxcsr = 0x1f80;
    memset(buf, 0, st.fp_ext);
    memcpy(buf, &fcw, sizeof(fcw));
    memcpy(buf + OFF_MXCSR, &mxcsr, sizeof(mxcsr));
    sw_write(buf);
}

int st_fp_get(struct pcontext *ctx, void *buf, size_t n)
{
    struct st_context *c = st_ctx(ctx);
    if (n < st.fp_ext)
        return -EINVAL;
    uint32_t off = st_fp_find(c);
    if (!off) {
        initial(buf);
        return 0;
    }
    memcpy(buf, (uint8_t *)c->slot + off, st.fp_ext);
    sw_write(buf);
    return 0;
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

// The header of an XSAVE area in the standard format.
static bool header_ok(const uint8_t *p)
{
    if ((load64(p + OFF_BV) & ~st.fp_features) || load64(p + OFF_COMP))
        return false;
    for (size_t i = OFF_COMP + 8; i < OFF_BV + 64; i += 8)
        if (load64(p + i))
            return false;
    return true;
}

// n >= 512. Without the extended part only x87 and SSE are taken, as the kernel does.
int st_fp_set(struct pcontext *ctx, const void *buf, size_t n)
{
    struct st_context *c = st_ctx(ctx);
    const uint8_t *p = buf;
    struct fp_sw sw;
    uint32_t mxcsr, magic2 = 0;
    if (n < 512)
        return -EINVAL;
    memcpy(&mxcsr, p + OFF_MXCSR, sizeof(mxcsr));
    if (mxcsr & ~st.mxcsr_mask)
        return -EINVAL;
    memcpy(&sw, p + OFF_SW, sizeof(sw));
    bool extended = n >= st.fp_ext && sw.magic1 == FP_MAGIC1 && sw.xstate_size == st.fp_xstate;
    if (extended)
        memcpy(&magic2, p + st.fp_xstate, sizeof(magic2));
    extended = extended && magic2 == FP_MAGIC2;
    if (extended && !header_ok(p))
        return -EINVAL;
    uint32_t off = st_fp_find(c);
    if (!off) { // a prepared frame without FP state, or one that fp_reset has stripped of it
        struct stub_ucontext *uc = (struct stub_ucontext *)((uint8_t *)c->slot + c->uc_off);
        off = c->fp_home ? c->fp_home : st.boot_fp;
        WRITE_SHARED(uc->fpstate, st_slot_va(c->index) + off);
        WRITE_SHARED(uc->uc_flags,
                     STUB_UC_FP_XSTATE | STUB_UC_SIGCONTEXT_SS | STUB_UC_STRICT_SS);
        c->fp_off = off;
    }
    uint8_t *dst = (uint8_t *)c->slot + off;
    if (extended) {
        memcpy(dst, p, st.fp_xstate);
    } else {
        constexpr uint64_t legacy = 3;
        memset(dst + 512, 0, st.fp_xstate - 512);
        memcpy(dst, p, 512);
        memcpy(dst + OFF_BV, &legacy, sizeof(legacy));
    }
    sw_write(dst);
    return 0;
}

void st_fp_reset(struct pcontext *ctx)
{
    struct st_context *c = st_ctx(ctx);
    if (!st_fp_find(c))
        return;
    struct stub_ucontext *uc = (struct stub_ucontext *)((uint8_t *)c->slot + c->uc_off);
    WRITE_SHARED(uc->fpstate, (uint64_t)0);
    c->fp_home = c->fp_off;
    c->fp_off = 0;
    c->fast = false;
}
