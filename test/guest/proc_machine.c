// SPDX-License-Identifier: Apache-2.0
// /proc files about the machine and /proc/sys: the formats that glibc, procps, python, java and
// shells parse. No value is fixed, only form and consistency with the matching system calls.
#include "gt.h"
#include <dirent.h>
#include <sched.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static char buf[1 << 18];
static size_t slurp(const char *path)
{
    int fd = GT_OK(open(path, O_RDONLY | O_CLOEXEC));
    size_t n = 0;
    ssize_t r;
    while ((r = GT_OK(read(fd, buf + n, sizeof(buf) - 1 - n))) > 0)
        n += (size_t)r;
    buf[n] = 0;
    close(fd);
    return n;
}
static long number_after(const char *key)
{
    char line[64];
    snprintf(line, sizeof(line), "\n%s", key);
    const char *s = !strncmp(buf, key, strlen(key)) ? buf : strstr(buf, line);
    if (!s)
        GT_FAIL("no %s", key);
    s += *s == '\n';
    return strtol(s + strlen(key), NULL, 10);
}

GT(meminfo)
{
    struct sysinfo si;
    slurp("/proc/meminfo");
    GT_OK(sysinfo(&si));
    GT_EQ(number_after("MemTotal:"), si.totalram * si.mem_unit / 1024);
    static const char *const keys[] = {
        "MemTotal:", "MemFree:", "MemAvailable:", "Buffers:", "Cached:", "SwapCached:", "Active:",
        "Inactive:", "SwapTotal:", "SwapFree:", "Dirty:", "Writeback:", "AnonPages:", "Mapped:",
        "Shmem:", "Slab:", "SReclaimable:", "SUnreclaim:", "PageTables:", "CommitLimit:",
        "Committed_AS:", "HugePages_Total:", "Hugepagesize:"};
    long last = -1;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        GT_TRUE(number_after(keys[i]) >= 0);
        long at = strstr(buf, keys[i]) - buf;
        GT_TRUE(at > last);
        last = at;
    }
    GT_TRUE(number_after("MemFree:") <= number_after("MemTotal:"));
    GT_TRUE(number_after("MemAvailable:") <= number_after("MemTotal:"));
    for (char *s = strtok(buf, "\n"); s; s = strtok(NULL, "\n"))
        GT_TRUE(strlen(s) >= 16 && (strstr(s, " kB") || !strncmp(s, "HugePages_", 10)));
}

GT(stat_lines)
{
    unsigned long v[10];
    slurp("/proc/stat");
    GT_EQ(sscanf(buf, "cpu  %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu\n", v, v + 1, v + 2, v + 3, v + 4,
                 v + 5, v + 6, v + 7, v + 8, v + 9), 10);
    int cpus = 0;
    for (char *s = strstr(buf, "\ncpu"); s; s = strstr(s + 1, "\ncpu"), cpus++)
        GT_EQ(sscanf(s, "\ncpu%lu %lu %lu", v, v + 1, v + 2), 3);
    GT_EQ(cpus, sysconf(_SC_NPROCESSORS_ONLN));
    GT_TRUE(strstr(buf, "\nintr ") && strstr(buf, "\nctxt ") && strstr(buf, "\nsoftirq "));
    long btime = number_after("btime "), now = time(NULL);
    struct timespec up;
    GT_OK(clock_gettime(CLOCK_BOOTTIME, &up));
    GT_TRUE(labs(btime + up.tv_sec - now) <= 2);
    GT_TRUE(number_after("processes ") > 0);
    GT_TRUE(number_after("procs_running ") > 0);
    GT_TRUE(number_after("procs_blocked ") >= 0);
}

GT(uptime_and_loadavg)
{
    double up, idle, a, b, c;
    int running, total, last;
    struct timespec ts;
    slurp("/proc/uptime");
    GT_EQ(sscanf(buf, "%lf %lf\n", &up, &idle), 2);
    GT_OK(clock_gettime(CLOCK_BOOTTIME, &ts));
    GT_TRUE(up >= (double)ts.tv_sec - 2 && up <= (double)ts.tv_sec + 2);
    GT_EQ(strspn(buf, "0123456789. \n"), strlen(buf));
    slurp("/proc/loadavg");
    GT_EQ(sscanf(buf, "%lf %lf %lf %d/%d %d\n", &a, &b, &c, &running, &total, &last), 6);
    GT_TRUE(running >= 1 && total >= running && last >= getpid());
    double l[3];
    GT_EQ(getloadavg(l, 3), 3);
}

GT(cpuinfo)
{
    slurp("/proc/cpuinfo");
    int n = 0;
    for (char *s = buf; s; s = strstr(s + 1, "\nprocessor"))
        n++;
    GT_EQ(n, sysconf(_SC_NPROCESSORS_ONLN));
    GT_TRUE(strncmp(buf, "processor\t: 0\n", 14) == 0);
    GT_TRUE(strstr(buf, "\nvendor_id\t: ") && strstr(buf, "\nmodel name\t: ") &&
            strstr(buf, "\nflags\t\t: "));
    GT_TRUE(strstr(buf, " sse2 "));
    GT_STR(buf + strlen(buf) - 2, "\n\n");
}

GT(version_and_uts)
{
    struct utsname u;
    char want[600];
    GT_OK(uname(&u));
    slurp("/proc/version");
    snprintf(want, sizeof(want), "%s version %s (", u.sysname, u.release);
    GT_TRUE(strncmp(buf, want, strlen(want)) == 0);
    static const struct { const char *path; size_t at; } rows[] = {
        {"/proc/sys/kernel/ostype", offsetof(struct utsname, sysname)},
        {"/proc/sys/kernel/osrelease", offsetof(struct utsname, release)},
        {"/proc/sys/kernel/version", offsetof(struct utsname, version)},
        {"/proc/sys/kernel/hostname", offsetof(struct utsname, nodename)},
        {"/proc/sys/kernel/domainname", offsetof(struct utsname, domainname)}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        slurp(rows[i].path);
        snprintf(want, sizeof(want), "%s\n", (char *)&u + rows[i].at);
        GT_STR(buf, want);
    }
}

GT(filesystems_and_mounts)
{
    slurp("/proc/filesystems");
    static const char *const want[] = {"nodev\tproc\n", "nodev\ttmpfs\n", "nodev\tsysfs\n",
                                       "nodev\tdevtmpfs\n", "nodev\tdevpts\n"};
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
        GT_TRUE(strstr(buf, want[i]));
    slurp("/proc/mounts");
    int fields = 0, lines = 0;
    for (char *s = buf; *s; s++) {
        fields += *s == ' ';
        lines += *s == '\n';
    }
    GT_TRUE(lines > 0);
    GT_EQ(fields, 5 * lines);
    slurp("/proc/self/mountinfo");
    for (char *s = strtok(buf, "\n"); s; s = strtok(NULL, "\n")) {
        int id, parent, major, minor;
        char root[512], dir[512], opts[512], type[64];
        GT_EQ(sscanf(s, "%d %d %d:%d %511s %511s %511s", &id, &parent, &major, &minor, root, dir, opts), 7);
        GT_TRUE(strncmp(opts, "rw", 2) == 0 || strncmp(opts, "ro", 2) == 0);
        char *dash = strstr(s, " - ");
        GT_TRUE(dash && sscanf(dash, " - %63s", type) == 1);
    }
}

GT(fixed_headings)
{
    slurp("/proc/swaps");
    GT_TRUE(strncmp(buf, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n", 41) == 0);
    slurp("/proc/partitions");
    GT_TRUE(buf[0] == 0 || strncmp(buf, "major minor  #blocks  name\n\n", 28) == 0);
    slurp("/proc/devices");
    GT_TRUE(strncmp(buf, "Character devices:\n", 19) == 0 && strstr(buf, "\n  1 mem\n") &&
            strstr(buf, "\nBlock devices:\n"));
    slurp("/proc/cgroups");
    GT_TRUE(strncmp(buf, "#subsys_name\thierarchy\tnum_cgroups\tenabled\n", 43) == 0);
    slurp("/proc/interrupts");
    GT_TRUE(strncmp(buf, "           CPU0       ", 22) == 0);
    slurp("/proc/vmstat");
    GT_TRUE(strstr(buf, "nr_free_pages ") && strstr(buf, "pgfault "));
    slurp("/proc/cmdline");
    GT_TRUE(strchr(buf, '\n') == buf + strlen(buf) - 1);
    slurp("/proc/diskstats");
    slurp("/proc/locks");
}

GT(net_headings)
{
    slurp("/proc/net/dev");
    GT_TRUE(strncmp(buf, "Inter-|   Receive                                                |  Transmit\n"
                         " face |bytes    packets errs drop fifo frame compressed multicast|bytes    "
                         "packets errs drop fifo colls carrier compressed\n", 200) == 0);
    GT_TRUE(strstr(buf, "\n    lo:"));
    slurp("/proc/net/tcp");
    GT_TRUE(strncmp(buf, "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt"
                         "   uid  timeout inode", 92) == 0);
    GT_EQ(strcspn(buf, "\n"), 149);
    slurp("/proc/net/udp");
    GT_EQ(strcspn(buf, "\n"), 127);
    slurp("/proc/net/route");
    GT_EQ(strcspn(buf, "\n"), 127);
    slurp("/proc/net/unix");
    GT_TRUE(strncmp(buf, "Num       RefCount Protocol Flags    Type St Inode Path\n", 56) == 0);
    slurp("/proc/net/snmp");
    GT_TRUE(strncmp(buf, "Ip: Forwarding DefaultTTL ", 26) == 0 && strstr(buf, "\nTcp: RtoAlgorithm "));
    slurp("/proc/net/sockstat");
    GT_TRUE(strncmp(buf, "sockets: used ", 14) == 0);
}

GT(sysctl_values)
{
    static const struct { const char *path; long min, max; int fields; } rows[] = {
        {"kernel/pid_max", 300, 4194304, 1},
        {"kernel/threads-max", 1, 1 << 30, 1},
        {"kernel/cap_last_cap", 37, 63, 1},
        {"kernel/ngroups_max", 65536, 65536, 1},
        {"kernel/overflowuid", 65534, 65534, 1},
        {"kernel/overflowgid", 65534, 65534, 1},
        {"kernel/randomize_va_space", 0, 2, 1},
        {"kernel/random/entropy_avail", 0, 4096, 1},
        {"kernel/tainted", 0, 1 << 30, 1},
        {"kernel/shmmni", 1, 32768, 1},
        {"kernel/msgmax", 1, 1 << 30, 1},
        {"kernel/sem", 1, 1 << 30, 4},
        {"kernel/printk", 0, 15, 4},
        {"fs/file-nr", 0, 1 << 30, 3},
        {"fs/nr_open", 1024, 1 << 30, 1},
        {"fs/pipe-max-size", 4096, 1 << 30, 1},
        {"fs/inotify/max_user_watches", 1, 1 << 30, 1},
        {"fs/inotify/max_user_instances", 1, 1 << 30, 1},
        {"fs/inotify/max_queued_events", 1, 1 << 30, 1},
        {"fs/inode-nr", 0, 1 << 30, 2},
        {"vm/overcommit_memory", 0, 2, 1},
        {"vm/max_map_count", 1000, 1 << 30, 1},
        {"vm/swappiness", 0, 200, 1},
        {"vm/mmap_min_addr", 0, 1 << 20, 1},
        {"net/core/somaxconn", 128, 65535, 1},
        {"net/ipv4/ip_local_port_range", 1, 65535, 2},
        {"net/ipv4/tcp_rmem", 4096, 1 << 30, 3},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "/proc/sys/%s", rows[i].path);
        slurp(path);
        int fields = 0;
        GT_TRUE(buf[strlen(buf) - 1] == '\n');
        for (char *s = strtok(buf, "\t\n"); s; s = strtok(NULL, "\t\n"), fields++) {
            long v = strtol(s, NULL, 10);
            if (!fields && (v < rows[i].min || v > rows[i].max))
                GT_FAIL("%s is %ld", path, v);
        }
        GT_EQ(fields, rows[i].fields);
    }
    struct stat st;
    GT_OK(stat("/proc/sys", &st));
    GT_EQ(st.st_mode, S_IFDIR | 0555);
    GT_OK(stat("/proc/sys/kernel/osrelease", &st));
    GT_EQ(st.st_mode, S_IFREG | 0444);
    GT_ERR(open("/proc/sys/kernel/nothing", O_RDONLY), ENOENT);
}

GT(random_uuids)
{
    char a[64], b[64];
    slurp("/proc/sys/kernel/random/uuid");
    GT_EQ(strlen(buf), 37);
    strcpy(a, buf);
    slurp("/proc/sys/kernel/random/uuid");
    GT_TRUE(strcmp(a, buf) != 0);
    GT_TRUE(buf[8] == '-' && buf[13] == '-' && buf[14] == '4' && buf[18] == '-' && buf[23] == '-');
    GT_TRUE(strchr("89ab", buf[19]));
    // A reader who goes on gets the rest of the same one.
    int fd = GT_OK(open("/proc/sys/kernel/random/boot_id", O_RDONLY));
    GT_EQ(read(fd, a, 37), 37);
    a[37] = 0;
    slurp("/proc/sys/kernel/random/boot_id");
    strcpy(b, buf);
    GT_STR(a, b);
}

GT(sysctl_writes)
{
    if (geteuid() != 0)
        GT_SKIP("needs root");
    if (unshare(CLONE_NEWUTS | CLONE_NEWNS))
        GT_SKIP("no right to unshare");
    int fd = open("/proc/sys/kernel/hostname", O_RDWR);
    if (fd < 0 && errno == EROFS)
        GT_SKIP("/proc/sys is read-only");
    GT_TRUE(fd >= 0);
    GT_EQ(write(fd, "gt-host\n", 8), 8);
    struct utsname u;
    GT_OK(uname(&u));
    GT_STR(u.nodename, "gt-host");
    slurp("/proc/sys/kernel/hostname");
    GT_STR(buf, "gt-host\n");
    GT_EQ(lseek(fd, 0, SEEK_SET), 0);
    GT_OK(sethostname("other", 5));
    GT_EQ(read(fd, buf, 6), 6);
    GT_EQ(memcmp(buf, "other\n", 6), 0);
    fd = GT_OK(open("/proc/sys/fs/pipe-max-size", O_RDWR));
    GT_ERR(write(fd, "x", 1), EINVAL);
}

GT_MAIN
