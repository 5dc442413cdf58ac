// SPDX-License-Identifier: Apache-2.0
// linux.resources, see resources.h. The bytes are the bundle author's or an engine's: every value is
// checked for its type and range, and messages name the place. Strings that will become contents of
// control files hold nothing but what such a value consists of.
#include "oci/resources.h"
#include "base/slab.h"
#include "oci/spec.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

struct at {
    struct json_object *o; // null: not there
    const char *path;
    struct err *e;
};

static int wrong(const struct at *a, const char *key, const char *what)
{
    return err_set(a->e, -EINVAL, "%s%s%s: expected %s", a->path, key ? "." : "", key ? key : "",
                   what);
}
static struct json_object *member(const struct at *a, const char *key)
{
    struct json_object *v = nullptr;
    if (a->o)
        json_object_object_get_ex(a->o, key, &v);
    return v;
}
static int object(const struct at *a)
{
    return !a->o || json_object_is_type(a->o, json_type_object) ? 0 : wrong(a, nullptr, "an object");
}

struct number {
    const char *key;
    enum resource which;
    int64_t lo, hi;
    bool flag; // true or false
};
static int read_number(const struct at *a, const struct number *n, struct resources *r)
{
    struct json_object *v = member(a, n->key);
    if (!v)
        return 0;
    if (n->flag) {
        if (!json_object_is_type(v, json_type_boolean))
            return wrong(a, n->key, "true or false");
        res_set(r, n->which, json_object_get_boolean(v));
        return 0;
    }
    if (!json_object_is_type(v, json_type_int))
        return wrong(a, n->key, "an integer");
    int64_t i = json_object_get_int64(v);
    // Some writers give "no limit" as a number beyond any limit.
    if (i == INT64_MAX && json_object_get_uint64(v) > INT64_MAX)
        i = n->lo < 0 && json_object_get_uint64(v) == UINT64_MAX ? -1 : INT64_MAX;
    if (i < n->lo || i > n->hi)
        return err_set(a->e, -EINVAL, "%s.%s: %s is out of range", a->path, n->key,
                       json_object_get_string(v));
    res_set(r, n->which, i);
    return 0;
}
static int read_numbers(const struct at *a, const struct number *n, size_t count,
                        struct resources *r)
{
    int err = object(a);
    for (size_t i = 0; !err && i < count; i++)
        err = read_number(a, &n[i], r);
    return err;
}

// --- strings ----------------------------------------------------------------------------------------
int cpu_list_mask(const char *s, uint8_t seen[CPU_LIST_MAX / 8])
{
    memset(seen, 0, CPU_LIST_MAX / 8);
    while (*s) {
        unsigned range[2] = {};
        for (int k = 0; k < 2; k++) {
            int digits = 0;
            for (; *s >= '0' && *s <= '9' && digits < 5; s++, digits++)
                range[k] = range[k] * 10 + (unsigned)(*s - '0');
            if (!digits || range[k] >= CPU_LIST_MAX)
                return -EINVAL;
            if (k == 0 && *s != '-') {
                range[1] = range[0];
                break;
            }
            s += k == 0;
        }
        if (range[1] < range[0] || (*s && *s != ',') || (*s == ',' && !s[1]))
            return -EINVAL;
        for (unsigned c = range[0]; c <= range[1]; c++)
            seen[c / 8] |= (uint8_t)(1 << c % 8);
        s += *s == ',';
    }
    return 0;
}
int cpu_list_count(const char *s, unsigned limit)
{
    uint8_t seen[CPU_LIST_MAX / 8];
    int err = cpu_list_mask(s, seen), count = 0;
    for (unsigned c = 0; !err && c < MIN(limit, CPU_LIST_MAX); c++)
        count += seen[c / 8] >> c % 8 & 1;
    return err ? err : count;
}

static int read_list(const struct at *a, const char *key, char **out)
{
    struct json_object *v = member(a, key);
    if (!v)
        return 0;
    if (!json_object_is_type(v, json_type_string))
        return wrong(a, key, "a string");
    const char *s = json_object_get_string(v);
    if (strlen(s) != (size_t)json_object_get_string_len(v) || cpu_list_count(s, 0) < 0)
        return err_set(a->e, -EINVAL, "%s.%s: %.200s is no list of numbers", a->path, key, s);
    if (!*s)
        return 0; // as if it had not been given
    mem_free(*out);
    *out = mem_strdup(s);
    return *out ? 0 : -ENOMEM;
}

// --- block devices ----------------------------------------------------------------------------------
static int read_u64(const struct at *a, const char *key, uint64_t hi, uint64_t *out)
{
    struct json_object *v = member(a, key);
    if (!v)
        return 0;
    if (!json_object_is_type(v, json_type_int))
        return wrong(a, key, "an integer");
    if (json_object_get_int64(v) < 0 || json_object_get_uint64(v) > hi)
        return err_set(a->e, -EINVAL, "%s.%s: %s is out of range", a->path, key,
                       json_object_get_string(v));
    *out = json_object_get_uint64(v);
    return 0;
}
static int add_device(struct resources *r, struct io_device d)
{
    struct io_device *v = mem_realloc(r->io, (r->nio + 1) * sizeof(*v));
    if (!v)
        return -ENOMEM;
    r->io = v;
    v[r->nio++] = d;
    return 0;
}
static int read_devices(const struct at *blk, const char *key, enum io_device_kind kind,
                        struct resources *r)
{
    struct json_object *list = member(blk, key);
    char path[160];
    if (!list)
        return 0;
    if (!json_object_is_type(list, json_type_array))
        return wrong(blk, key, "an array");
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        snprintf(path, sizeof(path), "%s.%s[%zu]", blk->path, key, i);
        struct at el = {json_object_array_get_idx(list, i), path, blk->e};
        uint64_t major = 0, minor = 0, value = 0, leaf = 0;
        int err = el.o ? object(&el) : wrong(&el, nullptr, "an object");
        if (err || (err = read_u64(&el, "major", UINT32_MAX, &major)) ||
            (err = read_u64(&el, "minor", UINT32_MAX, &minor)))
            return err;
        struct io_device d = {.kind = kind, .major = (uint32_t)major, .minor = (uint32_t)minor};
        if (kind != IO_WEIGHT) {
            if ((err = read_u64(&el, "rate", UINT64_MAX, &d.value)) || (err = add_device(r, d)))
                return err;
            continue;
        }
        if ((err = read_u64(&el, "weight", 10000, &value)) ||
            (err = read_u64(&el, "leafWeight", 10000, &leaf)))
            return err;
        d.value = value;
        if (value && (err = add_device(r, d)))
            return err;
        d.kind = IO_LEAF_WEIGHT;
        d.value = leaf;
        if (leaf && (err = add_device(r, d)))
            return err;
    }
    return 0;
}
static int read_block(const struct at *blk, struct resources *r)
{
    static const struct number numbers[] = {
        {"weight", RES_IO_WEIGHT, 0, 10000, false},
        {"leafWeight", RES_IO_LEAF_WEIGHT, 0, 10000, false},
    };
    int err = read_numbers(blk, numbers, ARRAY_LEN(numbers), r);
    if (err || (err = read_devices(blk, "weightDevice", IO_WEIGHT, r)) ||
        (err = read_devices(blk, "throttleReadBpsDevice", IO_READ_BPS, r)) ||
        (err = read_devices(blk, "throttleWriteBpsDevice", IO_WRITE_BPS, r)) ||
        (err = read_devices(blk, "throttleReadIOPSDevice", IO_READ_IOPS, r)) ||
        (err = read_devices(blk, "throttleWriteIOPSDevice", IO_WRITE_IOPS, r)))
        return err;
    return 0;
}

// --- huge pages, files by name ----------------------------------------------------------------------
static bool page_size_ok(const char *s)
{
    size_t digits = strspn(s, "0123456789");
    return digits >= 1 && digits <= 6 &&
           (strcmp(s + digits, "KB") == 0 || strcmp(s + digits, "MB") == 0 ||
            strcmp(s + digits, "GB") == 0);
}
static int read_hugepages(const struct at *res, struct resources *r)
{
    struct json_object *list = member(res, "hugepageLimits"), *size;
    char path[160];
    if (list && !json_object_is_type(list, json_type_array))
        return wrong(res, "hugepageLimits", "an array");
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        snprintf(path, sizeof(path), "%s.hugepageLimits[%zu]", res->path, i);
        struct at el = {json_object_array_get_idx(list, i), path, res->e};
        struct hugetlb_limit h = {};
        int err = el.o ? object(&el) : wrong(&el, nullptr, "an object");
        if (err || (err = read_u64(&el, "limit", UINT64_MAX, &h.limit)))
            return err;
        size = member(&el, "pageSize");
        if (!size || !json_object_is_type(size, json_type_string) ||
            !page_size_ok(json_object_get_string(size)))
            return wrong(&el, "pageSize", "a size such as 2MB");
        snprintf(h.size, sizeof(h.size), "%s", json_object_get_string(size));
        struct hugetlb_limit *v = mem_realloc(r->huge, (r->nhuge + 1) * sizeof(*v));
        if (!v)
            return -ENOMEM;
        r->huge = v;
        v[r->nhuge++] = h;
    }
    return 0;
}

// The name of a control file, one component: "memory.high". Not the core files: what cgroup.procs,
// cgroup.kill and their like do is not the configuration's to say.
static bool file_name_ok(const char *s)
{
    size_t n = strlen(s);
    bool ok = n >= 3 && n < 64 && s[0] != '.' && strchr(s, '.') && strncmp(s, "cgroup.", 7) != 0;
    for (size_t i = 0; ok && i < n; i++)
        ok = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
             (s[i] >= '0' && s[i] <= '9') || s[i] == '.' || s[i] == '_';
    return ok;
}
static int add_unified(struct resources *r, const char *file, const char *value)
{
    struct unified_value *v = mem_realloc(r->unified, (r->nunified + 1) * sizeof(*v));
    if (!v)
        return -ENOMEM;
    r->unified = v;
    v[r->nunified] = (struct unified_value){mem_strdup(file), mem_strdup(value)};
    r->nunified++;
    return v[r->nunified - 1].file && v[r->nunified - 1].value ? 0 : -ENOMEM;
}
static int read_unified(const struct at *res, struct resources *r)
{
    struct json_object *o = member(res, "unified");
    constexpr size_t most = 4096;
    if (o && !json_object_is_type(o, json_type_object))
        return wrong(res, "unified", "an object");
    if (!o)
        return 0;
    json_object_object_foreach(o, key, v)
    {
        if (!file_name_ok(key))
            return err_set(res->e, -EINVAL, "%s.unified: \"%.100s\" is no file of a controller",
                           res->path, key);
        const char *s = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : nullptr;
        if (!s || strlen(s) != (size_t)json_object_get_string_len(v) || strlen(s) > most)
            return err_set(res->e, -EINVAL, "%s.unified.%s: expected a string", res->path, key);
        int err = add_unified(r, key, s);
        if (err)
            return err;
    }
    return 0;
}

// --- all of it --------------------------------------------------------------------------------------
static int read_groups(struct resources *r, const struct at *res)
{
    static const struct number memory[] = {
        {"limit", RES_MEMORY, -1, INT64_MAX, false},
        {"reservation", RES_MEMORY_LOW, -1, INT64_MAX, false},
        {"swap", RES_MEMORY_SWAP, -1, INT64_MAX, false},
        {"swappiness", RES_SWAPPINESS, 0, INT64_MAX, false},
        {"disableOOMKiller", RES_NO_OOM_KILLER, 0, 1, true},
    };
    static const struct number cpu[] = {
        {"shares", RES_CPU_SHARES, 0, INT64_MAX, false},
        {"quota", RES_CPU_QUOTA, -1, INT64_MAX, false},
        {"burst", RES_CPU_BURST, 0, INT64_MAX, false},
        {"period", RES_CPU_PERIOD, 0, INT64_MAX, false},
        {"realtimeRuntime", RES_CPU_RT_RUNTIME, 0, INT64_MAX, false},
        {"realtimePeriod", RES_CPU_RT_PERIOD, 0, INT64_MAX, false},
        {"idle", RES_CPU_IDLE, 0, 1, false},
    };
    static const struct number pids[] = {{"limit", RES_PIDS, -1, INT64_MAX, false}};
    char path[4][96];
    static const char *const names[] = {"memory", "cpu", "pids", "blockIO"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        snprintf(path[i], sizeof(path[i]), "%s.%s", res->path, names[i]);
    struct at m = {member(res, "memory"), path[0], res->e}, c = {member(res, "cpu"), path[1], res->e},
              p = {member(res, "pids"), path[2], res->e},
              b = {member(res, "blockIO"), path[3], res->e};
    int err = read_numbers(&m, memory, ARRAY_LEN(memory), r);
    if (err || (err = read_numbers(&c, cpu, ARRAY_LEN(cpu), r)) ||
        (err = read_list(&c, "cpus", &r->cpus)) || (err = read_list(&c, "mems", &r->mems)) ||
        (err = read_numbers(&p, pids, ARRAY_LEN(pids), r)) || (err = read_block(&b, r)) ||
        (err = read_hugepages(res, r)) || (err = read_unified(res, r)))
        return err;
    // Engines fill in zeros for what nobody asked for. (A pids limit of 0 is one, too.)
    for (int i = 0; i < RES_COUNT; i++)
        if (r->v[i] == 0 && i != RES_SWAPPINESS && i != RES_CPU_IDLE && i != RES_CPU_BURST)
            r->given &= ~(1u << i);
    return 0;
}
int resources_read(struct resources *r, struct json_object *o, const char *where, struct err *e)
{
    struct at res = {o, where, e};
    int err = object(&res);
    if (!err && o)
        err = read_groups(r, &res);
    return err == -ENOMEM ? err_set(e, err, "%s: out of memory", where) : err;
}

int resources_parse(struct resources *r, const char *text, size_t n, struct err *e)
{
    if (n > SPEC_JSON_MAX)
        return err_set(e, -EFBIG, "resources: larger than %zu bytes", SPEC_JSON_MAX);
    struct json_tokener *tok = json_tokener_new_ex(SPEC_JSON_DEPTH);
    if (!tok)
        return err_set(e, -ENOMEM, "out of memory");
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 |
                                    JSON_TOKENER_ALLOW_TRAILING_CHARS);
    struct json_object *o = json_tokener_parse_ex(tok, text, (int)n);
    enum json_tokener_error jerr = json_tokener_get_error(tok);
    int err = 0;
    if (jerr != json_tokener_success)
        err = err_set(e, -EINVAL, "resources: %s", json_tokener_error_desc(jerr));
    else if (!json_object_is_type(o, json_type_object))
        err = err_set(e, -EINVAL, "resources: not a JSON object");
    else
        err = resources_read(r, o, "resources", e);
    json_object_put(o);
    json_tokener_free(tok);
    return err;
}

bool resources_any(const struct resources *r)
{
    return r->given || r->cpus || r->mems || r->nio || r->nhuge || r->nunified;
}

static int replace(char **to, const char *from)
{
    if (!from)
        return 0;
    mem_free(*to);
    *to = mem_strdup(from);
    return *to ? 0 : -ENOMEM;
}
int resources_merge(struct resources *to, const struct resources *from)
{
    for (int i = 0; i < RES_COUNT; i++)
        if (res_given(from, i))
            res_set(to, i, from->v[i]);
    return replace(&to->cpus, from->cpus) || replace(&to->mems, from->mems) ? -ENOMEM : 0;
}

void resources_free(struct resources *r)
{
    mem_free(r->cpus);
    mem_free(r->mems);
    mem_free(r->io);
    mem_free(r->huge);
    for (size_t i = 0; i < r->nunified; i++) {
        mem_free(r->unified[i].file);
        mem_free(r->unified[i].value);
    }
    mem_free(r->unified);
    *r = (struct resources){};
}
