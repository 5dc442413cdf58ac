// SPDX-License-Identifier: Apache-2.0
// Typed readers over json-c, for configurations. json-c checks syntax and depth; here the types and
// ranges. A value that is not what it must be is refused with its place ("process.user.uid").
#pragma once
#include "oci/spec.h"
#include <json-c/json.h>

struct place { // a value and where it stands
    struct json_object *v; // borrowed; null: not there
    char path[256];
    struct err *e;
};
struct place place_member(const struct place *p, const char *name);
MUST_CHECK int place_is(const struct place *p, json_type t, const char *what);
int place_wrong(const struct place *p, const char *what); // -EINVAL

// An absent value leaves *out as it is.
MUST_CHECK int read_bool(struct place p, bool *out);
MUST_CHECK int read_int(struct place p, int64_t lo, int64_t hi, int64_t *out);
MUST_CHECK int read_u32(struct place p, uint32_t *out);
MUST_CHECK int read_u64(struct place p, uint64_t *out);
MUST_CHECK int read_str(struct place p, char **out); // owned; no NUL inside
MUST_CHECK int read_object(struct place p);          // absent, or an object
// Calls fn for each element of an array, each member of an object, that may be absent.
MUST_CHECK int read_each(struct place p, int (*fn)(struct place el, void *arg), void *arg);
MUST_CHECK int read_each_member(struct place p, int (*fn)(struct place el, const char *key, void *arg),
                                void *arg);
// For these: a string into a struct strlist, a member into a struct spec_kvs.
MUST_CHECK int read_add_string(struct place el, void *list);
MUST_CHECK int read_add_kv(struct place el, const char *key, void *list);
// A string that must be there, and one of n names: its index.
MUST_CHECK int read_name(struct place p, const char *const *names, size_t n, uint32_t *out);

// --- config_linux.c ---
MUST_CHECK int read_linux(struct place l, struct spec *s);
MUST_CHECK int read_hooks(struct place hooks, struct spec_hooks out[HOOK_KINDS]);
