// SPDX-License-Identifier: Apache-2.0
// User ids for sandboxes: see ids.h.
#include "cmd/ids.h"
#include "base/attr.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// Root gives each sandbox ids that nobody else has, far above users'; in a user namespace the last
// ones that are mapped.
constexpr uint32_t ID_BASE = 0x70000000, ID_PAIRS = 1 << 16, MAPPED_PAIRS = 1 << 10;
// As many mapped ids must be left to the container's own files.
constexpr uint32_t MAPPED_MIN = 1 << 14;

static struct host_ids look(const char *map)
{
    struct host_ids ids = {};
    unsigned in, out, n;
    FILE *f = fopen(map, "re");
    while (f && fscanf(f, "%u %u %u", &in, &out, &n) == 3) {
        if (in == 0)
            ids.owner = out;
        if (in == 0 && out == 0 && n == UINT32_MAX) {
            ids = (struct host_ids){.initial = true, .base = ID_BASE, .pairs = ID_PAIRS};
            break;
        }
        if (n >= MAPPED_MIN && in <= UINT32_MAX - n) {
            ids.base = in + n - 2 * MAPPED_PAIRS;
            ids.pairs = MAPPED_PAIRS;
        }
    }
    if (f)
        fclose(f);
    return ids;
}

struct host_ids host_ids_look(void)
{
    struct host_ids u = look("/proc/self/uid_map"), g = look("/proc/self/gid_map");
    u.initial &= g.initial;
    u.base = MIN(u.base, g.base);
    u.pairs = MIN(u.pairs, g.pairs);
    return u;
}

const char *default_state_root(void)
{
    static char path[4096];
    uint32_t uid = geteuid();
    struct host_ids ids = host_ids_look();
    if (uid == 0 && ids.initial)
        return "/run/nacre";
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime && runtime[0] == '/')
        snprintf(path, sizeof(path), "%s/nacre", runtime);
    else
        snprintf(path, sizeof(path), "/tmp/nacre-%u", uid == 0 ? ids.owner : uid);
    return path;
}
