// SPDX-License-Identifier: Apache-2.0
// Hosts of all kinds, paths that are refused, limits and what is written for them on v1 and v2.
#include "base/strbuf.h"
#include "base/test.h"
#include "oci/cgroup.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct err e;
static struct cgroup_host host;
static void host_of(const char *mountinfo, const char *own)
{
    char a[4096], b[1024];
    snprintf(a, sizeof(a), "%s", mountinfo);
    snprintf(b, sizeof(b), "%s", own);
    e = (struct err){};
    cgroup_host_parse(&host, a, b);
}
#define V1(n, where, opts) #n " 30 0:" #n " / /sys/fs/cgroup/" where " rw,relatime - cgroup cgroup rw," opts "\n"

TEST(cgroup_hosts)
{
    host_of("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n" V1(32, "cpu,cpuacct", "cpu,cpuacct")
            V1(33, "memory", "memory") V1(34, "systemd", "xattr,name=systemd")
            V1(36, "elsewhere", "memory")
            "35 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
            "9:cpu,cpuacct:/a\n3:memory:/b/c\n1:name=systemd:/\n0::/u\n");
    assert_int_equal(host.n, 4);
    assert_false(host.unified);
    assert_string_equal(host.m[0].controllers, "cpu,cpuacct");
    assert_true(cgroup_has_controller(&host.m[0], "cpuacct"));
    assert_false(cgroup_has_controller(&host.m[0], "cp"));
    assert_string_equal(host.m[0].own, "/a");
    assert_string_equal(host.m[1].own, "/b/c");
    assert_string_equal(host.m[1].point, "/sys/fs/cgroup/memory");
    assert_string_equal(host.m[2].controllers, "name=systemd");
    assert_string_equal(host.m[2].own, "/");
    assert_true(host.m[3].v2);
    assert_string_equal(host.m[3].own, "/u");

    host_of("35 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/user.slice/x\n");
    assert_true(host.unified);
    // In a container: what is mounted is not the whole hierarchy.
    host_of("35 31 0:38 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            "4:memory:/docker/abc/sub\n");
    assert_string_equal(host.m[0].own, "/sub");
    host_of("35 31 0:38 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            "4:memory:/docker/abcd\n");
    assert_string_equal(host.m[0].own, "");
    host_of("", "");
    assert_int_equal(host.n, 0);
    assert_false(host.unified);
}

static int path(char *out, const char *p, const char *own, bool v2)
{
    e = (struct err){};
    return cgroup_path_of(out, 256, p, "id", own, v2, &e);
}
TEST(cgroup_paths)
{
    char out[256];
    assert_int_equal(path(out, "/docker/x", "/own", false), 0);
    assert_string_equal(out, "/docker/x");
    assert_int_equal(path(out, "//a///b/", "/own", false), 0);
    assert_string_equal(out, "/a/b");
    assert_int_equal(path(out, nullptr, "/own/a", false), 0);
    assert_string_equal(out, "/own/a/id");
    assert_int_equal(path(out, "", "/own/a", true), 0);
    assert_string_equal(out, "/own/id");
    assert_int_equal(path(out, "rel/x", "/", false), 0);
    assert_string_equal(out, "/rel/x");
    static const char *const bad[] = {"/..", "..", "/a/../../b", "a/..", "/./x", "/", "/a\nb", "/a\x7f"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (path(out, bad[i], "/", false) == 0)
            fail_msg("%s is accepted as %s", bad[i], out);
    char longest[600];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[0] = '/';
    longest[sizeof(longest) - 1] = 0;
    assert_int_equal(path(out, longest, "/", false), -ENAMETOOLONG);
}

TEST(cgroup_systemd_names)
{
    char out[512], slice[300], unit[300];
    static const struct {
        const char *in, *path, *slice, *unit;
    } good[] = {
        {"system.slice:docker:abc", "/system.slice/docker-abc.scope", "system.slice", "docker-abc.scope"},
        {"a-b-c.slice:p:n", "/a.slice/a-b.slice/a-b-c.slice/p-n.scope", "a-b-c.slice", "p-n.scope"},
        {"x.slice::n", "/x.slice/n.scope", "x.slice", "n.scope"},
        {"-.slice:p:n", "/p-n.scope", "-.slice", "p-n.scope"},
        {"system.slice:p:m-n.slice", "/m.slice/m-n.slice", "system.slice", "m-n.slice"},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        e = (struct err){};
        assert_int_equal(cgroup_systemd_path(out, sizeof(out), slice, unit, good[i].in, "id", false, &e), 0);
        assert_string_equal(out, good[i].path);
        assert_string_equal(slice, good[i].slice);
        assert_string_equal(unit, good[i].unit);
    }
    static const char *const bad[] = {"/a/b", "a:b", "a:b:c:d", "a/b.slice:p:n", "a.slice:p:../x",
                                      "a--b.slice:p:n", "-a.slice:p:n", "a-.slice:p:n", "a:p:n",
                                      "a.slice:p q:n", "a.slice:p:", ".slice:p:n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        e = (struct err){};
        if (cgroup_systemd_path(out, sizeof(out), slice, unit, bad[i], "id", false, &e) == 0)
            fail_msg("%s is accepted", bad[i]);
    }
    e = (struct err){};
    assert_int_equal(cgroup_systemd_path(out, sizeof(out), slice, unit, "", "id", false, &e), 0);
    assert_string_equal(unit, "nacre-id.scope");
}

TEST(cgroup_locates)
{
    static struct cgroup c;
    struct resources r = {}, huge = {.nhuge = 1};
    const char *hybrid = V1(33, "memory", "memory") V1(34, "freezer", "freezer")
        "35 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    host_of(hybrid, "4:memory:/x\n5:freezer:/\n0::/\n");
    assert_int_equal(cgroup_locate(&c, &host, "/p/q", "id", CGROUP_FS, &r, &e), 0);
    assert_int_equal(c.n, 2); // v2 is left alone: entering it costs, and nothing there is wanted
    assert_string_equal(c.d[0].path, "/p/q");
    assert_string_equal(cgroup_find(&c, "freezer")->point, "/sys/fs/cgroup/freezer");
    assert_null(cgroup_find(&c, "cpu"));
    assert_int_equal(cgroup_locate(&c, &host, nullptr, "id", CGROUP_FS, &huge, &e), 0);
    assert_int_equal(c.n, 3);
    assert_string_equal(c.d[0].path, "/x/id");
    assert_true(cgroup_find(&c, "hugetlb")->v2);
    host_of("", "");
    assert_int_equal(cgroup_locate(&c, &host, "/p", "id", CGROUP_FS, &r, &e), -ENOENT);
}

TEST(cgroup_record)
{
    static struct cgroup c;
    char good[] = "unit\ta.slice\tp-n.scope\nv1\t/sys/fs/cgroup/cpu\t/a/b\tcpu,cpuacct\nv2\t/cg\t/x\t\n";
    assert_true(cgroup_record_parse(&c, good));
    assert_int_equal(c.n, 2);
    assert_string_equal(c.unit, "p-n.scope");
    assert_string_equal(c.d[0].controllers, "cpu,cpuacct");
    assert_true(c.d[1].v2);
    assert_false(c.unified);
    static const char *const bad[] = {"", "v3\t/a\t/b\tx\n", "v1\ta\t/b\tx\n", "v1\t/a\tb\tx\n",
                                      "v1\t/a\t/b/../c\tx\n", "v1\t/a\t/b\n", "v1\t/a\t/b//c\tx\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char text[64];
        snprintf(text, sizeof(text), "%s", bad[i]);
        if (cgroup_record_parse(&c, text))
            fail_msg("%s is accepted", bad[i]);
    }
}

// --- limits -----------------------------------------------------------------------------------------
static struct cgroup_plan plan;
static int plan_of(const char *json, bool v2)
{
    struct resources r = {};
    e = (struct err){};
    int err = resources_parse(&r, json, strlen(json), &e);
    if (!err)
        err = cgroup_plan(&plan, &r, v2, &e);
    resources_free(&r);
    return err;
}
static const char *value(const char *file)
{
    for (int i = 0; i < plan.n; i++)
        if (strcmp(plan.s[i].file, file) == 0)
            return plan.s[i].value;
    return "(none)";
}

TEST(cgroup_plan_v1)
{
    assert_int_equal(plan_of("{\"memory\":{\"limit\":1048576,\"reservation\":524288,\"swap\":2097152,"
                             "\"swappiness\":10},\"cpu\":{\"shares\":512,\"quota\":50000,\"period\":100000,"
                             "\"cpus\":\"0-1\",\"mems\":\"0\"},\"pids\":{\"limit\":10},"
                             "\"blockIO\":{\"weight\":100,\"throttleReadBpsDevice\":[{\"major\":8,"
                             "\"minor\":0,\"rate\":1000}]},\"hugepageLimits\":[{\"pageSize\":\"2MB\","
                             "\"limit\":0}],\"devices\":[]}", false), 0);
    assert_string_equal(value("memory.limit_in_bytes"), "1048576");
    assert_string_equal(value("memory.soft_limit_in_bytes"), "524288");
    assert_string_equal(value("memory.memsw.limit_in_bytes"), "2097152");
    assert_string_equal(value("memory.swappiness"), "10");
    assert_string_equal(value("cpu.shares"), "512");
    assert_string_equal(value("cpu.cfs_quota_us"), "50000");
    assert_string_equal(value("cpu.cfs_period_us"), "100000");
    assert_string_equal(value("cpuset.cpus"), "0-1");
    assert_string_equal(value("cpuset.mems"), "0");
    assert_string_equal(value("pids.max"), "148");
    assert_string_equal(value("blkio.weight"), "100");
    assert_string_equal(value("blkio.throttle.read_bps_device"), "8:0 1000");
    assert_string_equal(value("hugetlb.2MB.limit_in_bytes"), "0");
    assert_int_equal(plan_of("{\"memory\":{\"limit\":-1},\"pids\":{\"limit\":-1}}", false), 0);
    assert_string_equal(value("memory.memsw.limit_in_bytes"), "-1");
    assert_string_equal(value("pids.max"), "max");
    // What engines fill in for nobody.
    assert_int_equal(plan_of("{\"memory\":{\"limit\":0,\"swap\":0},\"cpu\":{\"shares\":0,\"cpus\":\"\"},"
                             "\"pids\":{\"limit\":0},\"blockIO\":{\"weight\":0}}", false), 0);
    assert_int_equal(plan.n, 0);
}
TEST(cgroup_plan_v2)
{
    assert_int_equal(plan_of("{\"memory\":{\"limit\":1048576,\"reservation\":524288,\"swap\":2097152},"
                             "\"cpu\":{\"shares\":1024,\"quota\":150000,\"idle\":0,\"burst\":7},"
                             "\"blockIO\":{\"weight\":1000,\"throttleWriteIOPSDevice\":[{\"major\":8,"
                             "\"minor\":16,\"rate\":5}]},\"unified\":{\"memory.high\":\"5\","
                             "\"io.max\":\"8:0 rbps=1\\n8:16 rbps=2\"}}", true), 0);
    assert_string_equal(value("memory.max"), "1048576");
    assert_string_equal(value("memory.swap.max"), "1048576"); // v1 counts both together
    assert_string_equal(value("memory.low"), "524288");
    assert_string_equal(value("cpu.weight"), "39");
    assert_string_equal(value("cpu.max"), "150000 100000");
    assert_string_equal(value("cpu.max.burst"), "7");
    assert_string_equal(value("io.weight"), "default 10000");
    assert_string_equal(value("io.max"), "8:16 wiops=5");
    assert_string_equal(value("memory.high"), "5");
    assert_string_equal(plan.s[plan.n - 1].value, "8:16 rbps=2"); // a line, a write
    assert_string_equal(plan.s[plan.n - 1].controller, "io");
    assert_int_equal(plan_of("{\"memory\":{\"limit\":-1},\"cpu\":{\"quota\":-1}}", true), 0);
    assert_string_equal(value("memory.max"), "max");
    assert_string_equal(value("memory.swap.max"), "max");
    assert_string_equal(value("cpu.max"), "max 100000");
    assert_int_equal(plan_of("{\"memory\":{\"swap\":5}}", true), -EINVAL);
    assert_int_equal(plan_of("{\"memory\":{\"limit\":6,\"swap\":5}}", true), -EINVAL);
}
TEST(cgroup_weights)
{
    assert_int_equal(cgroup_weight_of_shares(0), 0);
    assert_int_equal(cgroup_weight_of_shares(1), 1);
    assert_int_equal(cgroup_weight_of_shares(2), 1);
    assert_int_equal(cgroup_weight_of_shares(262144), 10000);
    assert_int_equal(cgroup_weight_of_shares(UINT64_MAX), 10000);
    assert_int_equal(cgroup_host_pids(-1), -1);
    assert_int_equal(cgroup_host_pids(100), 328);
}

TEST(resources_refused_by_name)
{
    static const struct {
        const char *json, *place;
    } bad[] = {
        {"[]", "not a JSON object"},
        {"{", "resources"},
        {"{\"memory\":1}", "resources.memory"},
        {"{\"memory\":{\"limit\":\"x\"}}", "resources.memory.limit"},
        {"{\"memory\":{\"limit\":-2}}", "resources.memory.limit"},
        {"{\"cpu\":{\"shares\":-1}}", "resources.cpu.shares"},
        {"{\"cpu\":{\"cpus\":\"0-\"}}", "resources.cpu.cpus"},
        {"{\"cpu\":{\"cpus\":\"0\\n1\"}}", "resources.cpu.cpus"},
        {"{\"cpu\":{\"mems\":5}}", "resources.cpu.mems"},
        {"{\"blockIO\":{\"weight\":99999}}", "resources.blockIO.weight"},
        {"{\"blockIO\":{\"weightDevice\":[{\"weight\":99999}]}}", "resources.blockIO.weightDevice[0].weight"},
        {"{\"blockIO\":{\"throttleReadBpsDevice\":[3]}}", "throttleReadBpsDevice[0]"},
        {"{\"hugepageLimits\":[{\"pageSize\":\"../2MB\",\"limit\":1}]}", "hugepageLimits[0].pageSize"},
        {"{\"unified\":{\"../x\":\"1\"}}", "resources.unified"},
        {"{\"unified\":{\"cgroup.kill\":\"1\"}}", "cgroup.kill"},
        {"{\"unified\":{\"memory.max\":1}}", "resources.unified.memory.max"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_true(plan_of(bad[i].json, true) < 0);
        if (!strstr(e.text, bad[i].place))
            fail_msg("%s: \"%s\" does not name %s", bad[i].json, e.text, bad[i].place);
    }
}
TEST(cpu_lists)
{
    assert_int_equal(cpu_list_count("0-2,7", 8192), 4);
    assert_int_equal(cpu_list_count("0-2,7", 3), 3);
    assert_int_equal(cpu_list_count("0,0,0-1", 8192), 2);
    assert_int_equal(cpu_list_count("", 8192), 0);
    static const char *const bad[] = {"a", "-1", "1-", "2-1", "0,", ",0", "99999", "0 1", "0-1-2"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (cpu_list_count(bad[i], 8192) >= 0)
            fail_msg("%s is accepted", bad[i]);
}

TEST(cgroup_views)
{
    struct cgroup_view v = CGROUP_VIEW_NONE;
    assert_int_equal(cgroup_view_cpus(&v, 8), 8);
    assert_int_equal(cgroup_view_headroom(&v, 8), 8);
    v.cpu_quota = 150000; // 1.5 CPUs: two to see, one to be used up by polling at most
    assert_int_equal(cgroup_view_cpus(&v, 8), 2);
    assert_int_equal(cgroup_view_headroom(&v, 8), 1);
    v.cpu_quota = 50000;
    assert_int_equal(cgroup_view_cpus(&v, 8), 1);
    assert_int_equal(cgroup_view_headroom(&v, 8), 0);
    v.cpu_quota = 800000;
    v.cpus = 3;
    assert_int_equal(cgroup_view_cpus(&v, 8), 3);
    assert_int_equal(cgroup_view_cpus(&v, 2), 2);
}

// --- systemd ----------------------------------------------------------------------------------------
// The properties as text: "Name=value ", u64 in decimal, byte arrays in hexadecimal.
static void properties(char *out, size_t n, const char *json, unsigned version)
{
    struct resources r = {};
    struct strbuf b = {};
    size_t len = 0;
    e = (struct err){};
    assert_int_equal(resources_parse(&r, json, strlen(json), &e), 0);
    assert_int_equal(cgroup_systemd_limits(&b, &r, true, version, &e), 0);
    assert_false(b.bad);
    out[0] = 0;
    for (size_t at = 0; at < b.len;) {
        uint32_t k;
        uint64_t v;
        at = (at + 7) / 8 * 8;
        memcpy(&k, b.p + at, sizeof(k));
        len += (size_t)snprintf(out + len, n - len, "%s=", b.p + at + 4);
        at += 4 + k + 1;
        bool array = b.p[at + 1] == 'a';
        at += (size_t)b.p[at] + 2;
        at = array ? (at + 3) / 4 * 4 : (at + 7) / 8 * 8;
        memcpy(&k, b.p + at, sizeof(k));
        if (array)
            for (at += 4; k--; at++)
                len += (size_t)snprintf(out + len, n - len, "%02x", (unsigned char)b.p[at]);
        else {
            memcpy(&v, b.p + at, sizeof(v));
            len += (size_t)snprintf(out + len, n - len, v == UINT64_MAX ? "max" : "%llu", (unsigned long long)v);
            at += sizeof(v);
        }
        len += (size_t)snprintf(out + len, n - len, " ");
    }
    strbuf_free(&b);
    resources_free(&r);
}
TEST(cgroup_systemd_properties)
{
    char out[1024];
    const char *all = "{\"memory\":{\"limit\":1048576,\"reservation\":524288,\"swap\":2097152},"
                      "\"cpu\":{\"shares\":512,\"quota\":75500,\"period\":50000,\"cpus\":\"0-1,9\","
                      "\"mems\":\"0\"},\"pids\":{\"limit\":10},\"blockIO\":{\"weight\":505},"
                      "\"unified\":{\"memory.high\":\"1M\",\"memory.min\":\"4096\"}}";
    properties(out, sizeof(out), all, 252);
    assert_string_equal(out, "MemorySwapMax=1048576 MemoryMax=1048576 MemoryLow=524288 CPUWeight=20 "
                             "CPUQuotaPerSecUSec=1510000 CPUQuotaPeriodUSec=50000 AllowedMemoryNodes=01 "
                             "AllowedCPUs=0302 IOWeight=5000 TasksMax=148 MemoryHigh=1048576 MemoryMin=4096 ");
    properties(out, sizeof(out), all, 239);
    assert_string_equal(out, "MemorySwapMax=1048576 MemoryMax=1048576 MemoryLow=524288 CPUWeight=20 "
                             "CPUQuotaPerSecUSec=1510000 IOWeight=5000 TasksMax=148 MemoryHigh=1048576 ");
    properties(out, sizeof(out), "{\"memory\":{\"limit\":-1},\"pids\":{\"limit\":-1},\"cpu\":{\"quota\":-1}}", 252);
    assert_string_equal(out, "MemorySwapMax=max MemoryMax=max CPUQuotaPerSecUSec=max CPUQuotaPeriodUSec=100000 "
                             "TasksMax=max ");
    // What systemd would refuse as a whole is left to the files, whose errors name the value.
    properties(out, sizeof(out), "{\"unified\":{\"memory.max\":\"lots\",\"memory.high\":\"0\",\"cpu.weight\":"
                                 "\"20000\",\"cpu.max\":\"x y\",\"pids.max\":\"-1\",\"cpuset.cpus\":\"a\","
                                 "\"memory.low\":\"99999999999999999999\",\"memory.min\":\"99999999E\"}}", 252);
    assert_string_equal(out, "");
    properties(out, sizeof(out), "{\"cpu\":{\"quota\":1000,\"period\":1000000}}", 252);
    assert_string_equal(out, "CPUQuotaPerSecUSec=10000 CPUQuotaPeriodUSec=1000000 ");
}
TEST(cgroup_of_a_users_systemd)
{
    static struct cgroup c;
    struct resources r = {};
    const char *v2 = "35 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    const char *top = "/user.slice/user-7.slice/user@7.service";
    host_of(v2, "0::/user.slice/user-7.slice/session-1.scope\n");
    assert_int_equal(cgroup_locate(&c, &host, nullptr, "id", CGROUP_SYSTEMD_USER, &r, &e), 0);
    assert_int_equal(cgroup_move_below(&c, &host, top, &e), 0);
    assert_string_equal(c.d[0].path, "/user.slice/user-7.slice/user@7.service/user.slice/nacre-id.scope");
    assert_true(c.apart && c.user);
    host_of(v2, "0::/user.slice/user-7.slice/user@7.service/app.slice/x\n");
    assert_int_equal(cgroup_locate(&c, &host, "a.slice:p:n", "id", CGROUP_SYSTEMD_USER, &r, &e), 0);
    assert_int_equal(cgroup_move_below(&c, &host, top, &e), 0);
    assert_string_equal(c.d[0].path, "/user.slice/user-7.slice/user@7.service/a.slice/p-n.scope");
    assert_false(c.apart);
    assert_true(cgroup_move_below(&c, &host, "/../x", &e) < 0);
    char record[] = "unit\ta.slice\tp-n.scope\tuser\nv2\t/cg\t/x\t\n";
    assert_true(cgroup_record_parse(&c, record));
    assert_true(c.user && c.unified);
}
