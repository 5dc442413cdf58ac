// SPDX-License-Identifier: Apache-2.0
// A plain binary form of specs, for the sealed memory file that the command line hands to the
// processes that it starts. One function describes each structure and serves both directions, so
// that writer and reader cannot disagree; the reader checks every length against what is left.
#pragma once
#include "base/span.h"
#include "base/strbuf.h"
#include "oci/spec.h"

struct wire {
    bool writing, bad;
    struct strbuf out; // writing
    struct span in;    // reading
};
void wire_u32(struct wire *w, uint32_t *v);
void wire_u64(struct wire *w, uint64_t *v);
void wire_bool(struct wire *w, bool *v);
void wire_str(struct wire *w, char **s); // null stays null; no NUL inside
// The length of an array whose elements take at least one byte each. Reading, *v (null before) is
// allocated zeroed; 0 when bad.
size_t wire_array(struct wire *w, size_t *n, void **v, size_t size);
void wire_strlist(struct wire *w, struct strlist *l);
void wire_process(struct wire *w, struct spec_process *p);
void wire_spec(struct wire *w, struct spec *s);
