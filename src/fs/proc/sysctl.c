// SPDX-License-Identifier: Apache-2.0
// /proc/sys: the settings that exist in this kernel, and the constants that programs ask for.
#include "abi/errno.h"
#include "fs/proc/proc.h"
#include "host/raw.h"
#include "kern/limits.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

constexpr int CAP_SYS_ADMIN_NR = 21;

// A constant: its text is the row's own name looked up here, so that a row is one line.
static const struct { const char *name, *text; } constants[] = {
    {"ostype", UTS_SYSNAME}, {"osrelease", UTS_RELEASE}, {"version", UTS_VERSION},
    {"pid_max", "32768"}, {"cap_last_cap", "40"}, {"ngroups_max", "65536"},
    {"overflowuid", "65534"}, {"overflowgid", "65534"}, {"core_pattern", "core"},
    {"core_uses_pid", "0"}, {"randomize_va_space", "2"}, {"shmmax", "18446744073692774399"},
    {"shmall", "18446744073692774399"}, {"shmmni", "4096"}, {"msgmax", "8192"},
    {"msgmnb", "16384"}, {"msgmni", "32000"}, {"sem", "32000\t1024000000\t500\t32000"},
    {"printk", "4\t4\t1\t7"}, {"tainted", "0"}, {"ctrl-alt-del", "0"}, {"panic", "0"},
    {"sched_child_runs_first", "0"}, {"unprivileged_userns_clone", "0"}, {"dmesg_restrict", "1"},
    {"kptr_restrict", "1"}, {"perf_event_paranoid", "4"}, {"entropy_avail", "256"},
    {"poolsize", "256"}, {"ptrace_scope", "1"}, {"file-max", "9223372036854775807"},
    {"file-nr", "0\t0\t9223372036854775807"}, {"nr_open", "1048576"}, {"pipe-max-size", "1048576"},
    {"pipe-user-pages-soft", "16384"}, {"pipe-user-pages-hard", "0"},
    {"inode-nr", "0\t0"}, {"inode-state", "0\t0\t0\t0\t0\t0\t0"}, {"aio-max-nr", "65536"},
    {"lease-break-time", "45"}, {"protected_hardlinks", "0"}, {"protected_symlinks", "0"},
    {"suid_dumpable", "0"}, {"max_queued_events", "16384"}, {"max_user_instances", "128"},
    {"max_user_watches", "65536"}, {"overcommit_memory", "0"}, {"overcommit_ratio", "50"},
    {"max_map_count", "65530"}, {"swappiness", "60"}, {"mmap_min_addr", "65536"},
    {"dirty_ratio", "20"}, {"dirty_background_ratio", "10"}, {"nr_hugepages", "0"},
    {"somaxconn", "4096"}, {"rmem_max", "212992"}, {"wmem_max", "212992"},
    {"rmem_default", "212992"}, {"wmem_default", "212992"}, {"max_dgram_qlen", "512"},
    {"ip_local_port_range", "32768\t60999"}, {"tcp_rmem", "4096\t131072\t6291456"},
    {"tcp_wmem", "4096\t16384\t4194304"}, {"ip_forward", "0"}, {"msg_max", "10"},
    {"msgsize_max", "8192"}, {"queues_max", "256"}};

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
    strbuf_fmt(out, "%lu\n", machine.tasks_max ? machine.tasks_max : 32768);
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

#define K(n) {.name = n, .mode = S_IFREG | 0444, .show = constant_show}
#define DIR(n, c) {.name = n, .mode = S_IFDIR | 0555, .children = c}
static const struct proc_entry random_entries[] = {
    {.name = "boot_id", .mode = S_IFREG | 0444, .show = uuid_show}, K("entropy_avail"), K("poolsize"),
    {.name = "uuid", .mode = S_IFREG | 0444, .show = uuid_show}, {}};
static const struct proc_entry yama_entries[] = {K("ptrace_scope"), {}};
static const struct proc_entry kernel_entries[] = {
    K("cap_last_cap"), K("core_pattern"), K("core_uses_pid"), K("ctrl-alt-del"), K("dmesg_restrict"),
    {.name = "domainname", .mode = S_IFREG | 0644, .show = uts_show, .store = uts_store},
    {.name = "hostname", .mode = S_IFREG | 0644, .show = uts_show, .store = uts_store},
    K("kptr_restrict"), K("msgmax"), K("msgmnb"), K("msgmni"), K("ngroups_max"), K("osrelease"),
    K("ostype"), K("overflowgid"), K("overflowuid"), K("panic"), K("perf_event_paranoid"),
    K("pid_max"), K("printk"), DIR("random", random_entries), K("randomize_va_space"),
    K("sched_child_runs_first"), K("sem"), K("shmall"), K("shmmax"), K("shmmni"), K("tainted"),
    {.name = "threads-max", .mode = S_IFREG | 0444, .show = threads_max_show},
    K("unprivileged_userns_clone"), K("version"), DIR("yama", yama_entries), {}};
static const struct proc_entry inotify_entries[] = {
    K("max_queued_events"), K("max_user_instances"), K("max_user_watches"), {}};
static const struct proc_entry mqueue_entries[] = {
    K("msg_max"), K("msgsize_max"), K("queues_max"), {}};
static const struct proc_entry fs_entries[] = {
    K("aio-max-nr"), K("file-max"), K("file-nr"), K("inode-nr"), K("inode-state"),
    DIR("inotify", inotify_entries), K("lease-break-time"), DIR("mqueue", mqueue_entries),
    K("nr_open"), K("pipe-max-size"), K("pipe-user-pages-hard"), K("pipe-user-pages-soft"),
    K("protected_hardlinks"), K("protected_symlinks"), K("suid_dumpable"), {}};
static const struct proc_entry vm_entries[] = {
    K("dirty_background_ratio"), K("dirty_ratio"), K("max_map_count"), K("mmap_min_addr"),
    K("nr_hugepages"), K("overcommit_memory"), K("overcommit_ratio"), K("swappiness"), {}};
static const struct proc_entry core_entries[] = {
    K("rmem_default"), K("rmem_max"), K("somaxconn"), K("wmem_default"), K("wmem_max"), {}};
static const struct proc_entry ipv4_entries[] = {
    K("ip_forward"), K("ip_local_port_range"), K("tcp_rmem"), K("tcp_wmem"), {}};
static const struct proc_entry net_unix_entries[] = {K("max_dgram_qlen"), {}};
static const struct proc_entry net_entries[] = {
    DIR("core", core_entries), DIR("ipv4", ipv4_entries), DIR("unix", net_unix_entries), {}};
const struct proc_entry proc_sys_entries[] = {
    DIR("fs", fs_entries), DIR("kernel", kernel_entries), DIR("net", net_entries),
    DIR("vm", vm_entries), {}};
