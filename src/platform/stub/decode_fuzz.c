// SPDX-License-Identifier: Apache-2.0
// Fuzz harness of the stub's length decoder: whatever the bytes, it reads none beyond the end, never
// says more than is there, and says the same when more follows. A run in front of a call is whole
// instructions up to it, of which the first has room for a jump; moved there and back it is the same.
#include "platform/stub/decode.c"
#include "base/assert.h"
#include <stdlib.h>
#include <string.h>

static void check_run(const uint8_t *p, size_t n)
{
    constexpr uint8_t never = INSN_FLOW | INSN_GS | INSN_REP;
    CHECK(n >= INSN_JUMP && n <= INSN_RUN_MAX);
    size_t at = 0;
    while (at < n) {
        struct insn i = insn_decode(p + at, n - at);
        CHECK(i.len && !(i.flags & never) && !insn_padding(p + at, i.len));
        CHECK(at ? i.len < INSN_JUMP : i.len >= INSN_JUMP);
        at += i.len;
    }
    CHECK(at == n);
    uint8_t moved[INSN_RUN_MAX];
    memcpy(moved, p, n);
    if (insn_move(moved, n, 0x12345678)) {
        CHECK(insn_decode(moved, n).len == insn_decode(p, n).len);
        CHECK(insn_move(moved, n, -0x12345678) && !memcmp(moved, p, n));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > 4096)
        return 0;
    uint8_t *p = malloc(n + 1); // of its own, for the sanitizer to see its end
    CHECK(p);
    memcpy(p, data, n);
    p[n] = 0x90;
    for (size_t i = 0; i < n; i++) {
        struct insn a = insn_decode(p + i, n - i), b = insn_decode(p + i, n + 1 - i);
        CHECK(a.len <= n - i && a.len <= 15);
        CHECK(!a.len || (a.len == b.len && a.flags == b.flags));
        CHECK(!(a.flags & INSN_RIP) || a.disp_off + 4 <= a.len);
        CHECK(insn_padding(p + i, n - i) <= n - i);
    }
    size_t start = insn_before(p, n);
    CHECK(start == 0 || (start < n && n - start <= 15));
    size_t run = insn_run(p, n);
    if (run)
        check_run(p + n - run, run);
    free(p);
    return 0;
}
