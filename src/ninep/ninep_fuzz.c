// SPDX-License-Identifier: Apache-2.0
// libFuzzer harness: a frame is decoded, printed, its lists walked; what decodes must encode to the
// same bytes. Seeds: test/corpus/ninep (tools/ninep-seeds.py).
#include "base/assert.h"
#include "ninep/ninep.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct np_msg m;
    if (n > 4096 || np_decode(data, n, &m))
        return 0;
    uint8_t *out = malloc(n);
    struct wspan w = wspan_of(out, n);
    CHECK(np_encode(&w, &m) == 0 && w.used == n);
    // Booleans aside every field is kept as it came.
    CHECK(!memcmp(out + 4, data + 4, n - 4));
    free(out);
    struct strbuf b = {};
    np_print(&b, &m);
    strbuf_free(&b);
    struct np_dirent d;
    struct np_qid q;
    struct np_attr a;
    struct span s;
    if (m.type == NP_rreaddir)
        for (s = m.rreaddir.data; np_dirent_get(&s, &d);)
            (void)np_name_ok(d.name);
    if (m.type == NP_rreaddirplus)
        for (s = m.rreaddirplus.data; np_dirent_plus_get(&s, &d);)
            (void)np_name_ok(d.name);
    if (m.type == NP_rwalkgetattr)
        for (s = m.rwalkgetattr.nodes.raw; np_node_get(&s, &q, &a);)
            ;
    struct np_tree_dir t;
    struct span name;
    if (m.type == NP_rlisttree)
        for (s = m.rlisttree.data; np_tree_get(&s, &t);)
            while (np_dirent_plus_get(&t.entries, &d))
                (void)np_name_ok(d.name);
    if (m.type == NP_tlisttree)
        for (s = m.tlisttree.names; np_name_next(&s, &name);)
            (void)np_name_ok(name);
    struct np_opened o;
    if (m.type == NP_topenfiles)
        for (s = m.topenfiles.names; np_name_next(&s, &name);)
            (void)np_name_ok(name);
    if (m.type == NP_ropenfiles)
        for (s = m.ropenfiles.data; np_opened_get(&s, &o);)
            ;
    return 0;
}
