// SPDX-License-Identifier: Apache-2.0
// Typed readers of JSON values, see reader.h. Every refusal names the place.
#include "oci/reader.h"
#include "base/slab.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct place place_of(const struct place *p, struct json_object *v, const char *fmt,
                             const char *name, size_t index)
{
    struct place c = {.v = v, .e = p->e};
    int n = snprintf(c.path, sizeof(c.path), "%s", p->path);
    if (n >= 0 && (size_t)n < sizeof(c.path)) {
        if (name)
            snprintf(c.path + n, sizeof(c.path) - (size_t)n, fmt, n ? "." : "", name);
        else
            snprintf(c.path + n, sizeof(c.path) - (size_t)n, "[%zu]", index);
    }
    return c;
}
struct place place_member(const struct place *p, const char *name)
{
    struct json_object *v = nullptr;
    if (p->v)
        json_object_object_get_ex(p->v, name, &v);
    return place_of(p, v, "%s%s", name, 0);
}
static struct place element(const struct place *p, size_t i)
{
    return place_of(p, json_object_array_get_idx(p->v, i), nullptr, nullptr, i);
}

int place_wrong(const struct place *p, const char *what)
{
    return err_set(p->e, -EINVAL, "%s: expected %s, found %s", p->path, what,
                   p->v ? json_object_to_json_string_ext(p->v, JSON_C_TO_STRING_PLAIN) : "nothing");
}
int place_is(const struct place *p, json_type t, const char *what)
{
    return json_object_is_type(p->v, t) ? 0 : place_wrong(p, what);
}

// Readers: an absent value leaves *out as it is.
int read_bool(struct place p, bool *out)
{
    if (!p.v)
        return 0;
    if (place_is(&p, json_type_boolean, "true or false"))
        return -EINVAL;
    *out = json_object_get_boolean(p.v);
    return 0;
}
int read_int(struct place p, int64_t lo, int64_t hi, int64_t *out)
{
    if (!p.v)
        return 0;
    if (place_is(&p, json_type_int, "an integer"))
        return -EINVAL;
    int64_t v = json_object_get_int64(p.v);
    if (v < lo || v > hi || (v == INT64_MAX && json_object_get_uint64(p.v) > INT64_MAX))
        return err_set(p.e, -EINVAL, "%s: %s is out of range", p.path, json_object_get_string(p.v));
    *out = v;
    return 0;
}
int read_u32(struct place p, uint32_t *out)
{
    int64_t v = *out;
    int err = read_int(p, 0, UINT32_MAX, &v);
    *out = (uint32_t)v;
    return err;
}
// Unsigned 64 bits; -1 means "no limit" to some writers.
int read_u64(struct place p, uint64_t *out)
{
    if (!p.v)
        return 0;
    if (place_is(&p, json_type_int, "an integer"))
        return -EINVAL;
    if (json_object_get_int64(p.v) < 0)
        return err_set(p.e, -EINVAL, "%s: %s is out of range", p.path, json_object_get_string(p.v));
    *out = json_object_get_uint64(p.v);
    return 0;
}
int read_str(struct place p, char **out)
{
    if (!p.v)
        return 0;
    if (place_is(&p, json_type_string, "a string"))
        return -EINVAL;
    const char *s = json_object_get_string(p.v);
    if (strlen(s) != (size_t)json_object_get_string_len(p.v))
        return err_set(p.e, -EINVAL, "%s: contains a NUL character", p.path);
    char *copy = mem_strdup(s);
    if (!copy)
        return err_set(p.e, -ENOMEM, "%s: out of memory", p.path);
    mem_free(*out);
    *out = copy;
    return 0;
}
// Calls fn for each element of an array that may be absent or null.
int read_each(struct place p, int (*fn)(struct place el, void *arg), void *arg)
{
    if (!p.v)
        return 0;
    if (place_is(&p, json_type_array, "an array"))
        return -EINVAL;
    for (size_t i = 0; i < json_object_array_length(p.v); i++) {
        int err = fn(element(&p, i), arg);
        if (err)
            return err;
    }
    return 0;
}
int read_each_member(struct place p, int (*fn)(struct place el, const char *key, void *arg),
                       void *arg)
{
    if (!p.v)
        return 0;
    if (place_is(&p, json_type_object, "an object"))
        return -EINVAL;
    json_object_object_foreach(p.v, key, val)
    {
        int err = fn(place_of(&p, val, "%s%s", key, 0), key, arg);
        if (err)
            return err;
    }
    return 0;
}
int read_object(struct place p)
{
    return p.v ? place_is(&p, json_type_object, "an object") : 0;
}

int read_add_string(struct place el, void *list)
{
    char *s = nullptr;
    int err = el.v ? read_str(el, &s) : place_wrong(&el, "a string");
    if (!err && strlist_add(list, s))
        err = err_set(el.e, -ENOMEM, "%s: out of memory", el.path);
    mem_free(s);
    return err;
}
int read_add_kv(struct place el, const char *key, void *list)
{
    char *s = nullptr;
    int err = el.v ? read_str(el, &s) : place_wrong(&el, "a string");
    if (!err && spec_kv_add(list, key, s))
        err = err_set(el.e, -ENOMEM, "%s: out of memory", el.path);
    mem_free(s);
    return err;
}
int read_name(struct place p, const char *const *names, size_t n, uint32_t *out)
{
    char *s = nullptr;
    int err = p.v ? read_str(p, &s) : place_wrong(&p, "a string");
    if (err)
        return err;
    err = -EINVAL;
    for (size_t i = 0; i < n && err; i++)
        if (names[i] && strcmp(names[i], s) == 0) {
            *out = (uint32_t)i;
            err = 0;
        }
    if (err)
        err_set(p.e, err, "%s: %s is not known", p.path, s);
    mem_free(s);
    return err;
}
