// SPDX-License-Identifier: Apache-2.0
// Fuzz harness of the stub's length decoder: whatever the bytes, it reads none beyond the end, never
// says more than is there, and says the same when more follows.
#include "platform/stub/decode.c"
#include "base/assert.h"
#include <stdlib.h>
#include <string.h>

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
    free(p);
    return 0;
}
