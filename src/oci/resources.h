// SPDX-License-Identifier: Apache-2.0
// linux.resources of config.json and of `update`: what was asked for, as typed values. A value that
// was not given is not touched; -1 means "no limit" where the specification has it.
#pragma once
#include "oci/err.h"

enum resource : int {
    RES_MEMORY, RES_MEMORY_LOW, RES_MEMORY_SWAP, RES_SWAPPINESS, RES_NO_OOM_KILLER,
    RES_CPU_SHARES, RES_CPU_QUOTA, RES_CPU_BURST, RES_CPU_PERIOD, RES_CPU_RT_RUNTIME,
    RES_CPU_RT_PERIOD, RES_CPU_IDLE,
    RES_PIDS,
    RES_IO_WEIGHT, RES_IO_LEAF_WEIGHT,
    RES_COUNT,
};
enum io_device_kind : uint8_t {
    IO_WEIGHT, IO_LEAF_WEIGHT, IO_READ_BPS, IO_WRITE_BPS, IO_READ_IOPS, IO_WRITE_IOPS,
};
struct io_device {
    enum io_device_kind kind;
    uint32_t major, minor;
    uint64_t value;
};
struct hugetlb_limit {
    char size[16]; // "2MB"
    uint64_t limit;
};
struct unified_value { // a file of cgroup v2 by its name
    char *file, *value;
};
struct resources {
    uint32_t given;      // bits of enum resource
    int64_t v[RES_COUNT];
    char *cpus, *mems;   // "0-2,7"; null: not given
    struct io_device *io;
    size_t nio;
    struct hugetlb_limit *huge;
    size_t nhuge;
    struct unified_value *unified;
    size_t nunified;
};
static inline bool res_given(const struct resources *r, enum resource which)
{
    return r->given & 1u << which;
}
static inline void res_set(struct resources *r, enum resource which, int64_t v)
{
    r->given |= 1u << which;
    r->v[which] = v;
}
bool resources_any(const struct resources *r);
void resources_free(struct resources *r); // what it points to

struct json_object;
// From the object `o` (may be null); at: where it stands, for messages.
MUST_CHECK int resources_read(struct resources *r, struct json_object *o, const char *at,
                              struct err *e);
// `update --resources`: the text of such an object. Hostile.
MUST_CHECK int resources_parse(struct resources *r, const char *text, size_t n, struct err *e);
constexpr unsigned CPU_LIST_MAX = 8192;
// "0-2,7" as bits, the first in the lowest of byte 0; -EINVAL: not such a list.
MUST_CHECK int cpu_list_mask(const char *list, uint8_t mask[CPU_LIST_MAX / 8]);
// "0-2,7": how many CPUs below `limit` are named; -EINVAL: not such a list.
MUST_CHECK int cpu_list_count(const char *list, unsigned limit);
// Later values replace earlier ones.
MUST_CHECK int resources_merge(struct resources *into, const struct resources *from);
