// SPDX-License-Identifier: Apache-2.0
// linux.resources from hostile JSON to control files; cgroupsPath; the record in a state directory;
// the host's tables. Values that get through hold no control character and no path.
#include "base/assert.h"
#include "base/slab.h"
#include "base/strbuf.h"
#include "oci/cgroup.h"
#include <string.h>

static void check_plan(const struct cgroup_plan *p)
{
    for (int i = 0; i < p->n; i++) {
        CHECK(p->s[i].file[0] && !strchr(p->s[i].file, '/') && p->s[i].file[0] != '.');
        CHECK(strncmp(p->s[i].file, "cgroup.", 7) != 0);
        CHECK(!strchr(p->s[i].value, '\n'));
    }
}
static void check_path(const char *path)
{
    CHECK(path[0] == '/' && path[1]);
    for (const char *s = path; *s; s += strcspn(s, "/")) {
        s++;
        size_t n = strcspn(s, "/");
        CHECK(n > 0 && !(n == 1 && s[0] == '.') && !(n == 2 && s[0] == '.' && s[1] == '.'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct cgroup_plan plan;
    static struct cgroup c;
    static struct cgroup_host host;
    struct resources r = {};
    struct err e = {};
    if (n == 0)
        return 0;
    if (resources_parse(&r, (const char *)data, n, &e) == 0)
        for (int v2 = 0; v2 < 2; v2++)
            if (cgroup_plan(&plan, &r, v2, &e) == 0)
                check_plan(&plan);
    struct strbuf properties = {};
    if (cgroup_systemd_limits(&properties, &r, true, data[0], &e) == 0)
        CHECK(!properties.bad);
    strbuf_free(&properties);
    resources_free(&r);
    char *text = mem_strndup((const char *)data, strnlen((const char *)data, n)), *own;
    char path[1024], slice[300], unit[300];
    if (!text)
        return 0;
    if (cgroup_path_of(path, sizeof(path), text, "id", "/own", data[0] & 1, &e) == 0)
        check_path(path);
    if (cgroup_systemd_path(path, sizeof(path), slice, unit, text, "id", false, &e) == 0)
        check_path(path);
    if ((own = mem_strdup(text)) != nullptr) {
        cgroup_host_parse(&host, text, own);
        mem_free(own);
    }
    mem_free(text);
    if ((text = mem_strndup((const char *)data, strnlen((const char *)data, n))) != nullptr &&
        cgroup_record_parse(&c, text))
        for (int i = 0; i < c.n; i++)
            check_path(c.d[i].path);
    mem_free(text);
    return 0;
}
