// SPDX-License-Identifier: Apache-2.0
// /sys: what glibc, hwloc, java, go and python look for: CPU lists and topology, NUMA nodes, the
// loopback interface, huge page settings.
#include "gt.h"
#include <dirent.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static char buf[8192];
static const char *slurp(const char *path)
{
    int fd = GT_OK(open(path, O_RDONLY | O_CLOEXEC));
    ssize_t n = GT_OK(read(fd, buf, sizeof(buf) - 1));
    buf[n] = 0;
    close(fd);
    return buf;
}
// CPUs in a list like "0-3,7\n".
static int list_count(const char *s)
{
    int n = 0;
    while (*s && *s != '\n') {
        char *end;
        long a = strtol(s, &end, 10), b = a;
        GT_TRUE(end != s);
        if (*end == '-')
            b = strtol(end + 1, &end, 10);
        n += (int)(b - a) + 1;
        s = *end == ',' ? end + 1 : end;
    }
    return n;
}

GT(sys_is_sysfs)
{
    struct statfs st;
    GT_OK(statfs("/sys", &st));
    GT_EQ(st.f_type, SYSFS_MAGIC);
    static const char *const dirs[] = {"block", "bus", "class", "dev", "devices", "firmware", "fs",
                                       "kernel", "module", "fs/cgroup", "class/net",
                                       "devices/system/cpu", "devices/virtual/net"};
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        char path[128];
        struct stat s;
        snprintf(path, sizeof(path), "/sys/%s", dirs[i]);
        GT_OK(stat(path, &s));
        GT_TRUE(S_ISDIR(s.st_mode));
    }
    GT_TRUE(mkdir("/sys/gt", 0700) < 0 && (errno == EPERM || errno == EROFS));
    GT_TRUE(open("/sys/gt", O_CREAT | O_WRONLY, 0600) < 0 &&
            (errno == EACCES || errno == EROFS || errno == EPERM));
}

GT(cpu_lists)
{
    int online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    GT_EQ(list_count(slurp("/sys/devices/system/cpu/online")), online);
    GT_TRUE(list_count(slurp("/sys/devices/system/cpu/possible")) >= online);
    GT_TRUE(list_count(slurp("/sys/devices/system/cpu/present")) >= online);
    GT_EQ(sysconf(_SC_NPROCESSORS_CONF) >= online, 1);
    slurp("/sys/devices/system/cpu/offline");
    GT_TRUE(atoi(slurp("/sys/devices/system/cpu/kernel_max")) >= online - 1);
    DIR *d = opendir("/sys/devices/system/cpu");
    GT_TRUE(d);
    int n = 0;
    unsigned nr;
    char rest;
    for (struct dirent *e; (e = readdir(d));)
        n += sscanf(e->d_name, "cpu%u%c", &nr, &rest) == 1 && e->d_type == DT_DIR;
    GT_TRUE(n >= online);
}

GT(cpu_topology)
{
    static const char *const files[] = {"core_id", "physical_package_id", "thread_siblings",
                                        "thread_siblings_list", "core_siblings_list", "core_cpus",
                                        "core_cpus_list", "package_cpus_list"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/topology/%s", files[i]);
        GT_TRUE(strlen(slurp(path)) >= 2);
    }
    struct stat st;
    GT_OK(stat("/sys/devices/system/cpu/cpu0/topology/core_id", &st));
    GT_EQ(st.st_mode, S_IFREG | 0444);
    GT_EQ(st.st_size, 4096);
    // A file is read from any offset, and its end is its end.
    int fd = GT_OK(open("/sys/devices/system/cpu/online", O_RDONLY));
    char a[64], b[64];
    ssize_t n = GT_OK(read(fd, a, sizeof(a)));
    GT_EQ(read(fd, b, sizeof(b)), 0);
    GT_EQ(pread(fd, b, sizeof(b), 1), n - 1);
    GT_EQ(memcmp(a + 1, b, (size_t)n - 1), 0);
    GT_EQ(lseek(fd, 0, SEEK_SET), 0);
    GT_EQ(read(fd, b, 1), 1);
    GT_EQ(b[0], a[0]);
}

GT(cpu_caches)
{
    if (access("/sys/devices/system/cpu/cpu0/cache/index0", F_OK))
        GT_SKIP("no cache information");
    static const char *const files[] = {"level", "type", "size", "coherency_line_size",
                                        "shared_cpu_list", "shared_cpu_map", "number_of_sets",
                                        "ways_of_associativity"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index0/%s", files[i]);
        GT_TRUE(strlen(slurp(path)) >= 2);
    }
    GT_EQ(atoi(slurp("/sys/devices/system/cpu/cpu0/cache/index0/level")), 1);
    GT_TRUE(strchr(slurp("/sys/devices/system/cpu/cpu0/cache/index0/size"), 'K'));
}

GT(numa_node)
{
    if (access("/sys/devices/system/node", F_OK))
        GT_SKIP("no NUMA");
    GT_TRUE(list_count(slurp("/sys/devices/system/node/online")) >= 1);
    GT_TRUE(list_count(slurp("/sys/devices/system/node/node0/cpulist")) >= 1);
    GT_EQ(atoi(slurp("/sys/devices/system/node/node0/distance")), 10);
    slurp("/sys/devices/system/node/node0/meminfo");
    GT_TRUE(strncmp(buf, "Node 0 MemTotal: ", 17) == 0 && strstr(buf, "\nNode 0 MemFree: "));
    slurp("/sys/devices/system/node/node0/cpumap");
}

GT(loopback)
{
    struct { const char *file, *want; } rows[] = {
        {"address", "00:00:00:00:00:00\n"}, {"addr_len", "6\n"}, {"mtu", "65536\n"}, {"type", "772\n"},
        {"ifindex", "1\n"}, {"iflink", "1\n"}, {"broadcast", "00:00:00:00:00:00\n"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "/sys/class/net/lo/%s", rows[i].file);
        GT_STR(slurp(path), rows[i].want);
    }
    slurp("/sys/class/net/lo/operstate");
    GT_TRUE(!strcmp(buf, "unknown\n") || !strcmp(buf, "down\n"));
    GT_TRUE(strncmp(slurp("/sys/class/net/lo/flags"), "0x", 2) == 0);
    char l[128];
    ssize_t n = GT_OK(readlink("/sys/class/net/lo", l, sizeof(l) - 1));
    l[n] = 0;
    GT_STR(l, "../../devices/virtual/net/lo");
    GT_EQ(atoll(slurp("/sys/class/net/lo/statistics/rx_errors")), 0);
}

GT(memory_settings)
{
    slurp("/sys/kernel/mm/transparent_hugepage/enabled");
    GT_TRUE(strchr(buf, '[') && strstr(buf, "always") && strstr(buf, "never"));
    GT_EQ(atoi(slurp("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")), 2 << 20);
    slurp("/sys/kernel/mm/transparent_hugepage/defrag");
    GT_TRUE(strchr(buf, '['));
    GT_EQ(atoi(slurp("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")) >= 0, 1);
}

GT_MAIN
