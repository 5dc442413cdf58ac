// SPDX-License-Identifier: Apache-2.0
// FP state in the form in which it travels in signal frames: an XSAVE area in the standard format
// whose software-reserved words (struct _fpx_sw_bytes) give its size and features, and a closing
// magic. Sizes and features were learned from a frame of our own. What a guest sets is checked here,
// so that it gets EINVAL, and once more by the host's kernel when it is loaded.
#include "abi/errno.h"
#include "platform/internal.h"
#include <string.h>

constexpr uint32_t FP_MAGIC1 = 0x46505853, FP_MAGIC2 = 0x46505845;
constexpr size_t OFF_MXCSR = 24, OFF_SW = 464, OFF_BV = 512, OFF_COMP = 520;
struct fp_sw { // struct _fpx_sw_bytes
    uint32_t magic1, ext_size;
    uint64_t features;
    uint32_t xstate_size, pad[7];
};
static_assert(OFF_SW + sizeof(struct fp_sw) == 512);

void fp_seal(uint8_t *buf)
{
    struct fp_sw sw = {FP_MAGIC1, st.fp_ext, st.fp_features, st.fp_xstate, {}};
    memcpy(buf + OFF_SW, &sw, sizeof(sw));
    memcpy(buf + st.fp_xstate, &FP_MAGIC2, sizeof(FP_MAGIC2));
}

// As after FNINIT with the default MXCSR: every component in its initial state.
void fp_initial(uint8_t *buf)
{
    constexpr uint16_t fcw = 0x37f;
    constexpr uint32_t mxcsr = 0x1f80;
    memset(buf, 0, st.fp_ext);
    memcpy(buf, &fcw, sizeof(fcw));
    memcpy(buf + OFF_MXCSR, &mxcsr, sizeof(mxcsr));
    fp_seal(buf);
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static bool header_ok(const uint8_t *p)
{
    if ((load64(p + OFF_BV) & ~st.fp_features) || load64(p + OFF_COMP))
        return false;
    for (size_t i = OFF_COMP + 8; i < OFF_BV + 64; i += 8)
        if (load64(p + i))
            return false;
    return true;
}

// Without the extended part only x87 and SSE are taken, as the kernel does.
int fp_check(const uint8_t *p, size_t n)
{
    struct fp_sw sw;
    uint32_t mxcsr, magic2 = 0;
    if (n < 512)
        return -EINVAL;
    memcpy(&mxcsr, p + OFF_MXCSR, sizeof(mxcsr));
    if (mxcsr & ~st.mxcsr_mask)
        return -EINVAL;
    memcpy(&sw, p + OFF_SW, sizeof(sw));
    if (n < st.fp_ext || sw.magic1 != FP_MAGIC1 || sw.xstate_size != st.fp_xstate)
        return FP_LEGACY;
    memcpy(&magic2, p + st.fp_xstate, sizeof(magic2));
    if (magic2 != FP_MAGIC2)
        return FP_LEGACY;
    return header_ok(p) ? FP_EXTENDED : -EINVAL;
}

void fp_store(uint8_t *dst, const uint8_t *buf, int kind)
{
    if (kind == FP_EXTENDED) {
        memcpy(dst, buf, st.fp_xstate);
    } else {
        constexpr uint64_t legacy = 3;
        memset(dst + 512, 0, st.fp_xstate - 512);
        memcpy(dst, buf, 512);
        memcpy(dst + OFF_BV, &legacy, sizeof(legacy));
    }
    fp_seal(dst);
}
