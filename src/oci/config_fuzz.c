// SPDX-License-Identifier: Apache-2.0
// config.json and the binary form of specs, from hostile bytes. What the parser accepts must
// survive a round trip through the binary form.
#include "base/assert.h"
#include "oci/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct spec *s = spec_new();
    struct err e = {};
    if (s && spec_parse(s, (const char *)data, n, &e) == 0) {
        struct wire w = {.writing = true}, r = {};
        wire_spec(&w, s);
        CHECK(!w.bad);
        r.in = span_of(w.out.p, w.out.len);
        struct spec *copy = spec_new();
        if (copy) {
            wire_spec(&r, copy);
            CHECK(!r.bad && r.in.n == 0);
        }
        spec_free(copy);
        strbuf_free(&w.out);
    }
    spec_free(s);
    s = spec_new();
    struct wire r = {.in = span_of(data, n)};
    if (s)
        wire_spec(&r, s);
    spec_free(s);
    return 0;
}
