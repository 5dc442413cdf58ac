// SPDX-License-Identifier: Apache-2.0
// /proc/sys: the settings that exist in this kernel, and the constants that programs ask for.
#include "abi/errno.h"
#include "base/assert.h"
#include "fs/pipe.h"
#include "fs/proc/proc.h"
#include "host/raw.h"
#include "kern/limits.h"
#include "kern/sysctl.h"
#include "vfs/epoll.h"
#include <stdckdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

constexpr int CAP_SYS_ADMIN_NR = 21;

// A constant: its text is the row's own name looked up here, so that a row is one line.
static const struct { const char *name, *text; } constants[] = {
    {"ostype", UTS_SYSNAME}, {"osrelease", UTS_RELEASE}, {"version", UTS_VERSION},
    {"arch", "x86_64"}, {"pid_max", "32768"}, {"cap_last_cap", "40"}, {"ngroups_max", "65536"},
    {"overflowuid", "65534"}, {"overflowgid", "65534"}, {"core_pattern", "core"},
    {"core_uses_pid", "0"}, {"core_pipe_limit", "0"}, {"randomize_va_space", "2"},
    {"auto_msgmni", "0"}, {"shm_rmid_forced", "0"}, {"printk", "4\t4\t1\t7"}, {"tainted", "0"},
    {"ctrl-alt-del", "0"}, {"panic", "0"}, {"panic_on_oops", "0"}, {"sched_child_runs_first", "0"},
    {"sched_rr_timeslice_ms", "100"}, {"sched_rt_period_us", "1000000"},
    {"sched_rt_runtime_us", "950000"}, {"hung_task_timeout_secs", "0"}, {"modules_disabled", "1"},
    {"sysrq", "0"}, {"sysctl_writes_strict", "1"}, {"unprivileged_bpf_disabled", "2"},
    {"unprivileged_userns_clone", "0"}, {"io_uring_disabled", "2"}, {"numa_balancing", "0"},
    {"dmesg_restrict", "1"}, {"kptr_restrict", "1"}, {"perf_event_paranoid", "4"},
    {"perf_event_max_sample_rate", "100000"}, {"entropy_avail", "256"}, {"poolsize", "256"},
    {"write_wakeup_threshold", "256"}, {"urandom_min_reseed_secs", "60"}, {"ptrace_scope", "1"},
    {"actions_avail", "kill_process kill_thread trap errno trace log allow"},
    {"aio-nr", "0"}, {"aio-max-nr", "65536"}, {"dentry-state", "0\t0\t45\t0\t0\t0"},
    {"dir-notify-enable", "1"}, {"file-max", "9223372036854775807"},
    {"file-nr", "0\t0\t9223372036854775807"}, {"nr_open", "1048576"}, {"mount-max", "100000"},
    {"leases-enable", "1"}, {"lease-break-time", "45"}, {"inode-nr", "0\t0"},
    {"inode-state", "0\t0\t0\t0\t0\t0\t0"}, {"protected_hardlinks", "0"},
    {"protected_symlinks", "0"}, {"protected_fifos", "0"}, {"protected_regular", "0"},
    {"suid_dumpable", "0"}, {"max_queued_events", "16384"}, {"max_user_instances", "128"},
    {"max_inotify_watches", "65536"}, {"max_inotify_instances", "128"}, {"overcommit_memory", "0"},
    {"overcommit_ratio", "50"}, {"overcommit_kbytes", "0"}, {"max_map_count", "65530"},
    {"swappiness", "60"}, {"mmap_min_addr", "65536"}, {"admin_reserve_kbytes", "8192"},
    {"user_reserve_kbytes", "131072"}, {"min_free_kbytes", "67584"}, {"vfs_cache_pressure", "100"},
    {"page-cluster", "3"}, {"panic_on_oom", "0"}, {"oom_kill_allocating_task", "0"},
    {"unprivileged_userfaultfd", "0"}, {"legacy_va_layout", "0"}, {"memfd_noexec", "0"},
    {"zone_reclaim_mode", "0"}, {"dirty_ratio", "20"}, {"dirty_background_ratio", "10"},
    {"dirty_expire_centisecs", "3000"}, {"dirty_writeback_centisecs", "500"}, {"nr_hugepages", "0"},
    {"nr_overcommit_hugepages", "0"}, {"netdev_max_backlog", "1000"}, {"optmem_max", "131072"},
    {"default_qdisc", "pfifo_fast"}, {"rmem_max", "212992"}, {"wmem_max", "212992"},
    {"rmem_default", "212992"}, {"wmem_default", "212992"}, {"tcp_rmem", "4096\t131072\t6291456"},
    {"tcp_wmem", "4096\t16384\t4194304"}, {"tcp_mem", "94350\t125801\t188700"},
    {"udp_mem", "188700\t251602\t377400"}, {"udp_rmem_min", "4096"}, {"udp_wmem_min", "4096"},
    {"ip_forward", "0"}, {"forwarding", "0"}, {"rp_filter", "0"}, {"disable_ipv6", "0"},
    {"bindv6only", "0"}, {"ip_default_ttl", "64"}, {"ip_nonlocal_bind", "0"},
    {"ip_local_reserved_ports", ""}, {"icmp_echo_ignore_all", "0"},
    {"tcp_available_congestion_control", "reno cubic"},
    {"tcp_allowed_congestion_control", "reno cubic"}, {"tcp_congestion_control", "cubic"},
    {"tcp_ecn", "2"}, {"tcp_fastopen", "0"}, {"tcp_fin_timeout", "60"},
    {"tcp_keepalive_intvl", "75"}, {"tcp_keepalive_probes", "9"}, {"tcp_keepalive_time", "7200"},
    {"tcp_max_orphans", "8192"}, {"tcp_max_syn_backlog", "512"}, {"tcp_max_tw_buckets", "8192"},
    {"tcp_moderate_rcvbuf", "1"}, {"tcp_no_metrics_save", "0"}, {"tcp_retries1", "3"},
    {"tcp_retries2", "15"}, {"tcp_rfc1337", "0"}, {"tcp_sack", "1"},
    {"tcp_slow_start_after_idle", "1"}, {"tcp_syn_retries", "6"}, {"tcp_synack_retries", "5"},
    {"tcp_syncookies", "0"}, {"tcp_timestamps", "1"}, {"tcp_tw_reuse", "2"},
    {"tcp_window_scaling", "1"}, {"max_user_namespaces", "0"}, {"max_pid_namespaces", "8"},
    {"max_mnt_namespaces", "65536"}, {"max_net_namespaces", "0"}, {"max_ipc_namespaces", "0"},
    {"max_uts_namespaces", "65536"}, {"max_cgroup_namespaces", "0"}, {"max_time_namespaces", "0"},
};

// Words that the kernel reads and that a write changes at once; `n` of them, in [min, max].
static const struct {
    const char *name;
    void *at;
    uint8_t n, width;
    uint64_t min, max;
} words[] = {
    {"somaxconn", &sysctls.somaxconn, 1, 4, 0, INT32_MAX},
    {"ip_unprivileged_port_start", &sysctls.unprivileged_port_start, 1, 4, 0, 65535},
    {"ip_local_port_range", sysctls.local_port_range, 2, 4, 1, 65535},
    {"ping_group_range", sysctls.ping_group_range, 2, 4, 0, INT32_MAX},
    {"max_dgram_qlen", &sysctls.max_dgram_qlen, 1, 4, 0, INT32_MAX},
    {"msg_max", &sysctls.mq_msg_max, 1, 4, 1, 65536},
    {"msgsize_max", &sysctls.mq_msgsize_max, 1, 4, 128, 16 << 20},
    {"queues_max", &sysctls.mq_queues_max, 1, 4, 0, INT32_MAX},
    {"shmmni", &sysctls.shmmni, 1, 4, 0, 32768},
    {"shmmax", &sysctls.shmmax, 1, 8, 0, UINT64_MAX},
    {"shmall", &sysctls.shmall, 1, 8, 0, UINT64_MAX},
    {"msgmni", &sysctls.msgmni, 1, 4, 0, 32768},
    {"msgmax", &sysctls.msgmax, 1, 4, 0, INT32_MAX},
    {"msgmnb", &sysctls.msgmnb, 1, 4, 0, INT32_MAX},
    {"sem", sysctls.sem, 4, 4, 0, INT32_MAX},
    {"pipe-max-size", &pipe_max_size, 1, 4, PAGE_SIZE, 1u << 31},
    {"pipe-user-pages-soft", &pipe_user_pages_soft, 1, 4, 0, INT32_MAX},
    {"pipe-user-pages-hard", &pipe_user_pages_hard, 1, 4, 0, INT32_MAX},
    {"max_user_watches", &epoll_max_watches, 1, 4, 0, INT32_MAX},
};
static int word_row(const struct proc_inode *p)
{
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (!strcmp(words[i].name, p->e->name))
            return (int)i;
    panic("no sysctl %s", p->e->name);
}
static int words_show(struct strbuf *out, struct proc_inode *p)
{
    int r = word_row(p);
    for (int i = 0; i < words[r].n; i++) {
        uint64_t v = words[r].width == 8 ? READ_SHARED(((uint64_t *)words[r].at)[i])
                                         : READ_SHARED(((uint32_t *)words[r].at)[i]);
        strbuf_fmt(out, "%s%lu", i ? "\t" : "", v);
    }
    strbuf_char(out, '\n');
    return 0;
}
static bool parse_decimal(const char **s, uint64_t *v)
{
    const char *start = *s;
    for (*v = 0; **s >= '0' && **s <= '9'; ++*s)
        if (ckd_mul(v, *v, 10u) || ckd_add(v, *v, (uint64_t)(**s - '0')))
            return false;
    return *s != start && (!**s || strchr(" \t\n", **s));
}
// Numbers separated by blanks. Fewer than there are: the others stay, as with Linux.
static int words_store(const char *text, size_t n, struct proc_inode *p)
{
    int r = word_row(p), got = 0;
    uint64_t v[4];
    while (got < words[r].n) {
        text += strspn(text, " \t\n");
        if (!*text)
            break;
        if (!parse_decimal(&text, &v[got]) || v[got] < words[r].min || v[got] > words[r].max)
            return -EINVAL;
        got++;
    }
    if (got == 0 || (words[r].at == sysctls.local_port_range && got == 2 && v[0] > v[1]))
        return -EINVAL;
    for (int i = 0; i < got; i++) {
        if (words[r].width == 8)
            WRITE_SHARED(((uint64_t *)words[r].at)[i], v[i]);
        else
            WRITE_SHARED(((uint32_t *)words[r].at)[i], (uint32_t)v[i]);
    }
    return 0;
}

static int constant_show(struct strbuf *out, struct proc_inode *p)
{
    for (size_t i = 0; i < ARRAY_LEN(constants); i++) {
        if (!strcmp(constants[i].name, p->e->name)) {
            strbuf_fmt(out, "%s\n", constants[i].text);
            return 0;
        }
    }
    return -EIO;
}

static int threads_max_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_fmt(out, "%lu\n", machine_tasks_max() ? machine_tasks_max() : 32768);
    return 0;
}

static int uts_show(struct strbuf *out, struct proc_inode *p)
{
    struct task *t = task_current();
    if (!t || !t->uts)
        return -EIO;
    mutex_lock(&t->uts->lock);
    strbuf_fmt(out, "%.64s\n", !strcmp(p->e->name, "hostname") ? t->uts->nodename : t->uts->domainname);
    mutex_unlock(&t->uts->lock);
    return 0;
}
static int uts_store(const char *text, size_t n, struct proc_inode *p)
{
    struct task *t = task_current();
    size_t len = strcspn(text, "\n");
    if (!t || !cred_capable(t->cred, CAP_SYS_ADMIN_NR))
        return -EPERM;
    if (len > 64)
        return -EINVAL;
    char *dst = !strcmp(p->e->name, "hostname") ? t->uts->nodename : t->uts->domainname;
    mutex_lock(&t->uts->lock);
    memset(dst, 0, 65);
    memcpy(dst, text, len);
    mutex_unlock(&t->uts->lock);
    return 0;
}

static void put_uuid(struct strbuf *out, const uint8_t b[16])
{
    for (int i = 0; i < 16; i++)
        strbuf_fmt(out, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", b[i]);
    strbuf_char(out, '\n');
}
static int uuid_show(struct strbuf *out, struct proc_inode *p)
{
    static uint8_t boot[16]; // [boot_lock]
    static struct spinlock boot_lock;
    uint8_t b[16];
    long n = host_call(__NR_getrandom, b, sizeof(b), 0);
    if (n != sizeof(b))
        return -EIO;
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    if (!strcmp(p->e->name, "boot_id")) {
        spin_lock(&boot_lock);
        if (!boot[6])
            memcpy(boot, b, sizeof(b));
        memcpy(b, boot, sizeof(b));
        spin_unlock(&boot_lock);
    }
    put_uuid(out, b);
    return 0;
}

// The name is also that of an epoll setting.
static int inotify_watches_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "65536\n");
    return 0;
}
static int last_pid_show(struct strbuf *out, struct proc_inode *p)
{
    struct pidns *ns = proc_pidns();
    strbuf_fmt(out, "%d\n", ns ? READ_SHARED(ns->last_pid) : 0);
    return 0;
}

// K: constant. W: words. DIR: folder.
#define K(n) {.name = n, .mode = S_IFREG | 0444, .show = constant_show}
#define W(n) {.name = n, .mode = S_IFREG | 0644, .show = words_show, .store = words_store}
#define DIR(n, c) {.name = n, .mode = S_IFDIR | 0555, .children = c}
static const struct proc_entry random_entries[] = {
    {.name = "boot_id", .mode = S_IFREG | 0444, .show = uuid_show}, K("entropy_avail"), K("poolsize"),
    K("urandom_min_reseed_secs"), {.name = "uuid", .mode = S_IFREG | 0444, .show = uuid_show},
    K("write_wakeup_threshold"), {}};
static const struct proc_entry yama_entries[] = {K("ptrace_scope"), {}};
static const struct proc_entry seccomp_entries[] = {K("actions_avail"), {}};
static const struct proc_entry kernel_entries[] = {
    K("arch"), K("auto_msgmni"), K("cap_last_cap"), K("core_pattern"), K("core_pipe_limit"),
    K("core_uses_pid"), K("ctrl-alt-del"), K("dmesg_restrict"),
    {.name = "domainname", .mode = S_IFREG | 0644, .show = uts_show, .store = uts_store},
    {.name = "hostname", .mode = S_IFREG | 0644, .show = uts_show, .store = uts_store},
    K("hung_task_timeout_secs"), K("io_uring_disabled"), K("kptr_restrict"), K("modules_disabled"),
    W("msgmax"), W("msgmnb"), W("msgmni"), K("ngroups_max"),
    {.name = "ns_last_pid", .mode = S_IFREG | 0444, .show = last_pid_show}, K("numa_balancing"),
    K("osrelease"), K("ostype"), K("overflowgid"), K("overflowuid"), K("panic"), K("panic_on_oops"),
    K("perf_event_max_sample_rate"), K("perf_event_paranoid"), K("pid_max"), K("printk"),
    DIR("random", random_entries), K("randomize_va_space"), K("sched_child_runs_first"),
    K("sched_rr_timeslice_ms"), K("sched_rt_period_us"), K("sched_rt_runtime_us"),
    DIR("seccomp", seccomp_entries), W("sem"), W("shmall"), W("shmmax"), W("shmmni"),
    K("shm_rmid_forced"), K("sysctl_writes_strict"), K("sysrq"), K("tainted"),
    {.name = "threads-max", .mode = S_IFREG | 0444, .show = threads_max_show},
    K("unprivileged_bpf_disabled"), K("unprivileged_userns_clone"), K("version"),
    DIR("yama", yama_entries), {}};
static const struct proc_entry epoll_entries[] = {W("max_user_watches"), {}};
static const struct proc_entry inotify_entries[] = {
    K("max_queued_events"), K("max_user_instances"),
    {.name = "max_user_watches", .mode = S_IFREG | 0444, .show = inotify_watches_show}, {}};
static const struct proc_entry mqueue_entries[] = {
    W("msg_max"), W("msgsize_max"), W("queues_max"), {}};
static const struct proc_entry fs_entries[] = {
    K("aio-max-nr"), K("aio-nr"), K("dentry-state"), K("dir-notify-enable"),
    DIR("epoll", epoll_entries), K("file-max"), K("file-nr"), K("inode-nr"), K("inode-state"),
    DIR("inotify", inotify_entries), K("lease-break-time"), K("leases-enable"), K("mount-max"),
    DIR("mqueue", mqueue_entries), K("nr_open"), K("overflowgid"), K("overflowuid"),
    W("pipe-max-size"), W("pipe-user-pages-hard"), W("pipe-user-pages-soft"), K("protected_fifos"),
    K("protected_hardlinks"), K("protected_regular"), K("protected_symlinks"), K("suid_dumpable"), {}};
static const struct proc_entry vm_entries[] = {
    K("admin_reserve_kbytes"), K("dirty_background_ratio"), K("dirty_expire_centisecs"),
    K("dirty_ratio"), K("dirty_writeback_centisecs"), K("legacy_va_layout"), K("max_map_count"),
    K("memfd_noexec"), K("min_free_kbytes"), K("mmap_min_addr"), K("nr_hugepages"),
    K("nr_overcommit_hugepages"), K("oom_kill_allocating_task"), K("overcommit_kbytes"),
    K("overcommit_memory"), K("overcommit_ratio"), K("page-cluster"), K("panic_on_oom"),
    K("swappiness"), K("unprivileged_userfaultfd"), K("user_reserve_kbytes"),
    K("vfs_cache_pressure"), K("zone_reclaim_mode"), {}};
static const struct proc_entry core_entries[] = {
    K("default_qdisc"), K("netdev_max_backlog"), K("optmem_max"), K("rmem_default"), K("rmem_max"),
    W("somaxconn"), K("wmem_default"), K("wmem_max"), {}};
static const struct proc_entry conf4_entries[] = {K("forwarding"), K("rp_filter"), {}};
static const struct proc_entry conf4_dirs[] = {
    DIR("all", conf4_entries), DIR("default", conf4_entries), DIR("lo", conf4_entries), {}};
static const struct proc_entry ipv4_entries[] = {
    DIR("conf", conf4_dirs), K("icmp_echo_ignore_all"), K("ip_default_ttl"), K("ip_forward"),
    W("ip_local_port_range"), K("ip_local_reserved_ports"), K("ip_nonlocal_bind"),
    W("ip_unprivileged_port_start"), W("ping_group_range"), K("tcp_allowed_congestion_control"),
    K("tcp_available_congestion_control"), K("tcp_congestion_control"), K("tcp_ecn"),
    K("tcp_fastopen"), K("tcp_fin_timeout"), K("tcp_keepalive_intvl"), K("tcp_keepalive_probes"),
    K("tcp_keepalive_time"), K("tcp_max_orphans"), K("tcp_max_syn_backlog"), K("tcp_max_tw_buckets"),
    K("tcp_mem"), K("tcp_moderate_rcvbuf"), K("tcp_no_metrics_save"), K("tcp_retries1"),
    K("tcp_retries2"), K("tcp_rfc1337"), K("tcp_rmem"), K("tcp_sack"),
    K("tcp_slow_start_after_idle"), K("tcp_syn_retries"), K("tcp_synack_retries"),
    K("tcp_syncookies"), K("tcp_timestamps"), K("tcp_tw_reuse"), K("tcp_window_scaling"),
    K("tcp_wmem"), K("udp_mem"), K("udp_rmem_min"), K("udp_wmem_min"), {}};
static const struct proc_entry conf6_entries[] = {K("disable_ipv6"), K("forwarding"), {}};
static const struct proc_entry conf6_dirs[] = {
    DIR("all", conf6_entries), DIR("default", conf6_entries), DIR("lo", conf6_entries), {}};
static const struct proc_entry ipv6_entries[] = {
    K("bindv6only"), DIR("conf", conf6_dirs), K("ip_nonlocal_bind"), {}};
static const struct proc_entry net_unix_entries[] = {W("max_dgram_qlen"), {}};
static const struct proc_entry net_entries[] = {
    DIR("core", core_entries), DIR("ipv4", ipv4_entries), DIR("ipv6", ipv6_entries),
    DIR("unix", net_unix_entries), {}};
static const struct proc_entry user_entries[] = {
    K("max_cgroup_namespaces"), K("max_inotify_instances"), K("max_inotify_watches"),
    K("max_ipc_namespaces"), K("max_mnt_namespaces"), K("max_net_namespaces"),
    K("max_pid_namespaces"), K("max_time_namespaces"), K("max_user_namespaces"),
    K("max_uts_namespaces"), {}};
const struct proc_entry proc_sys_entries[] = {
    DIR("fs", fs_entries), DIR("kernel", kernel_entries), DIR("net", net_entries),
    DIR("user", user_entries), DIR("vm", vm_entries), {}};
