// SPDX-License-Identifier: Apache-2.0
// The files of /proc that describe the machine, as the sandbox is one.
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/proc/proc.h"
#include "host/raw.h"
#include "kern/limits.h"
#include "vfs/special.h"
#include <fcntl.h>
#include <string.h>

constexpr uint64_t NS_PER_TICK = 10'000'000; // USER_HZ = 100
constexpr uint64_t NS_PER_SEC = 1'000'000'000;

// The host's description of its first processor, "key : value" lines; what CPUID tells any guest.
static char *cpu_text; // [C after boot]

void proc_boot_init(void)
{
    static char buf[8192];
    long fd = host_call(__NR_open, "/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    long n = host_call(__NR_read, fd, buf, sizeof(buf) - 1);
    host_call(__NR_close, fd);
    if (n <= 0)
        return;
    buf[n] = 0;
    char *end = strstr(buf, "\n\n");
    if (end) {
        end[1] = 0;
        cpu_text = mem_strdup(buf);
    }
}

static void cpu_line(struct strbuf *out, const char *line, size_t n, int cpu)
{
    size_t key = strcspn(line, "\t:");
    const struct { const char *name; int value; } own[] = {
        {"processor", cpu}, {"physical id", 0}, {"siblings", machine_ncpus()}, {"core id", cpu},
        {"cpu cores", machine_ncpus()}, {"apicid", cpu}, {"initial apicid", cpu}};
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        if (strlen(own[i].name) == key && !memcmp(line, own[i].name, key)) {
            size_t tabs = strcspn(line, ":");
            strbuf_put(out, line, tabs);
            strbuf_fmt(out, ": %d\n", own[i].value);
            return;
        }
    }
    strbuf_put(out, line, n);
    strbuf_char(out, '\n');
}

int proc_show_cpuinfo(struct strbuf *out, struct proc_inode *p)
{
    for (int cpu = 0; cpu < machine_ncpus(); cpu++) {
        const char *s = cpu_text ? cpu_text : "processor\t: 0\n";
        while (*s) {
            size_t n = strcspn(s, "\n");
            cpu_line(out, s, n, cpu);
            s += n + (s[n] == '\n');
        }
        strbuf_char(out, '\n');
    }
    return 0;
}

int proc_show_cmdline(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "ro quiet\n");
    return 0;
}
int proc_show_devices(struct strbuf *out, struct proc_inode *p)
{
    chrdev_show(out);
    return 0;
}
int proc_show_filesystems(struct strbuf *out, struct proc_inode *p)
{
    size_t n;
    const struct fs_type *const *all = fs_type_all(&n);
    for (size_t i = 0; i < n; i++)
        strbuf_fmt(out, "%s\t%s\n", all[i]->nodev ? "nodev" : "", all[i]->name);
    return 0;
}
int proc_show_locks(struct strbuf *out, struct proc_inode *p)
{
    locks_show(out);
    return 0;
}
int proc_show_loadavg(struct strbuf *out, struct proc_inode *p)
{
    struct proc_totals t;
    struct pidns *ns = proc_pidns();
    proc_sum(&t);
    strbuf_fmt(out, "0.00 0.00 0.00 %d/%d %d\n", t.running, t.threads, ns ? ns->last_pid : 0);
    return 0;
}
int proc_show_meminfo(struct strbuf *out, struct proc_inode *p)
{
    struct proc_totals t = {};
    struct memory_figures f;
    // What the host has charged; without a cgroup what the address spaces have, at most.
    if (!machine_memory(&f)) {
        proc_sum(&t);
        f.usage = f.anon = t.rss_pages * PAGE_SIZE;
    }
    uint64_t total = machine_mem_total() / 1024, all = MIN(f.usage / 1024, total), free = total - all,
             inactive = f.inactive_file / 1024, active = f.active_file / 1024, shmem = f.shmem / 1024,
             used = MIN(f.anon / 1024, all), cached = inactive + active + shmem;
    const struct { const char *name; uint64_t kb; } rows[] = {
        {"MemTotal", total}, {"MemFree", free}, {"MemAvailable", MIN(free + inactive + active, total)}, {"Buffers", 0},
        {"Cached", cached}, {"SwapCached", 0}, {"Active", used + active}, {"Inactive", inactive}, {"Active(anon)", used},
        {"Inactive(anon)", 0}, {"Active(file)", active}, {"Inactive(file)", inactive}, {"Unevictable", 0},
        {"Mlocked", 0}, {"SwapTotal", 0}, {"SwapFree", 0}, {"Dirty", 0}, {"Writeback", 0},
        {"AnonPages", used}, {"Mapped", 0}, {"Shmem", shmem}, {"KReclaimable", 0}, {"Slab", 0},
        {"SReclaimable", 0}, {"SUnreclaim", 0}, {"KernelStack", 0}, {"PageTables", 0},
        {"NFS_Unstable", 0}, {"Bounce", 0}, {"WritebackTmp", 0}, {"CommitLimit", total},
        {"Committed_AS", used}, {"VmallocTotal", 34359738367}, {"VmallocUsed", 0},
        {"VmallocChunk", 0}, {"Percpu", 0}, {"AnonHugePages", 0}, {"ShmemHugePages", 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n = strlen(rows[i].name);
        strbuf_fmt(out, "%s:%*s%8lu kB\n", rows[i].name, n < 15 ? (int)(15 - n) : 1, "", rows[i].kb);
    }
    strbuf_str(out, "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n"
                    "HugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    return 0;
}
int proc_show_global_stat(struct strbuf *out, struct proc_inode *p)
{
    struct proc_totals t;
    struct pidns *ns = proc_pidns();
    proc_sum(&t);
    uint64_t up = (uint64_t)ktime_boottime() / NS_PER_TICK, busy = t.cpu_ns / NS_PER_TICK;
    uint64_t cpus = (uint64_t)machine_ncpus();
    uint64_t idle = up * cpus > busy ? up * cpus - busy : 0;
    strbuf_fmt(out, "cpu  %lu 0 0 %lu 0 0 0 0 0 0\n", busy, idle);
    for (uint64_t i = 0; i < cpus; i++)
        strbuf_fmt(out, "cpu%lu %lu 0 0 %lu 0 0 0 0 0 0\n", i, busy / cpus, idle / cpus);
    int64_t btime = (ktime_realtime() - ktime_boottime()) / (int64_t)NS_PER_SEC;
    strbuf_fmt(out, "intr 0\nctxt 0\nbtime %ld\nprocesses %d\nprocs_running %d\nprocs_blocked 0\n"
                    "softirq 0 0 0 0 0 0 0 0 0 0 0\n", btime, ns ? ns->last_pid : 0, MAX(1, t.running));
    return 0;
}
int proc_show_uptime(struct strbuf *out, struct proc_inode *p)
{
    struct proc_totals t;
    proc_sum(&t);
    uint64_t up = (uint64_t)ktime_boottime() / NS_PER_TICK;
    uint64_t busy = t.cpu_ns / NS_PER_TICK, all = up * (uint64_t)machine_ncpus();
    uint64_t idle = all > busy ? all - busy : 0;
    strbuf_fmt(out, "%lu.%02lu %lu.%02lu\n", up / 100, up % 100, idle / 100, idle % 100);
    return 0;
}
int proc_show_version(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, UTS_SYSNAME " version " UTS_RELEASE " (nacre) (clang) " UTS_VERSION "\n");
    return 0;
}
int proc_show_vmstat(struct strbuf *out, struct proc_inode *p)
{
    struct proc_totals t;
    proc_sum(&t);
    uint64_t total = machine_mem_total() / PAGE_SIZE;
    strbuf_fmt(out, "nr_free_pages %lu\nnr_anon_pages %lu\nnr_mapped 0\nnr_file_pages 0\nnr_dirty 0\n"
                    "nr_writeback 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault 0\n",
               total - MIN(total, t.rss_pages), t.rss_pages);
    return 0;
}
int proc_show_swaps(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    return 0;
}
int proc_show_cgroups(struct strbuf *out, struct proc_inode *p)
{
    // On v2's one hierarchy, as fs/cgroup/ shows it.
    strbuf_str(out, "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
                    "cpuset\t0\t1\t1\ncpu\t0\t1\t1\nmemory\t0\t1\t1\npids\t0\t1\t1\n");
    return 0;
}
int proc_show_partitions(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "major minor  #blocks  name\n\n");
    return 0;
}
int proc_show_interrupts(struct strbuf *out, struct proc_inode *p)
{
    // No device raises any: the heading is what tools count CPUs by.
    bool soft = !strcmp(p->e->name, "softirqs");
    strbuf_str(out, soft ? "                    " : "           ");
    for (int i = 0; i < machine_ncpus(); i++)
        strbuf_fmt(out, "CPU%-8d", i);
    strbuf_char(out, '\n');
    static const char *const kinds[] = {"HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL",
                                        "TASKLET", "SCHED", "HRTIMER", "RCU"};
    for (size_t k = 0; soft && k < ARRAY_LEN(kinds); k++) {
        strbuf_fmt(out, "%12s:", kinds[k]);
        for (int i = 0; i < machine_ncpus(); i++)
            strbuf_fmt(out, " %10d", 0);
        strbuf_char(out, '\n');
    }
    return 0;
}
int proc_show_empty(struct strbuf *out, struct proc_inode *p)
{
    return 0;
}
