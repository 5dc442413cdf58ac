// SPDX-License-Identifier: Apache-2.0
// sysfs: what programs look for there (CPU topology and counts, NUMA, the loopback interface, the
// usual empty classes). Synthetic: nothing of the host's /sys is seen.
#include "abi/errno.h"
#include "fs/pseudo.h"
#include "kern/limits.h"
#include <cpuid.h>
#include <linux/magic.h>
#include <stdio.h>

struct text_row {
    const char *name, *text;
};
static void add_texts(struct pseudo_node *dir, const struct text_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pseudo_add_text(dir, rows[i].name, rows[i].text);
}
#define ADD_TEXTS(dir, rows) add_texts((dir), (rows), ARRAY_LEN(rows))

// --- CPUs ----------------------------------------------------------------------------------------
static void cpu_range(char *buf, size_t n)
{
    if (machine_ncpus() > 1)
        snprintf(buf, n, "0-%d\n", machine_ncpus() - 1);
    else
        snprintf(buf, n, "0\n");
}
// A mask as the kernel prints it: 32-bit groups, highest first, as many digits as there are CPUs.
static void cpu_mask(char *buf, size_t n, int first, int last)
{
    size_t at = 0;
    int groups = (machine_ncpus() + 31) / 32;
    for (int g = groups - 1; g >= 0 && at < n; g--) {
        uint32_t v = 0;
        for (int i = 0; i < 32; i++)
            if (g * 32 + i >= first && g * 32 + i <= last)
                v |= 1u << i;
        int bits = g == groups - 1 ? machine_ncpus() - g * 32 : 32;
        int r = snprintf(buf + at, n - at, "%0*x%s", (bits + 3) / 4, v, g ? "," : "\n");
        at += r > 0 ? (size_t)r : 0;
    }
}

static void add_topology(struct pseudo_node *cpu, int nr)
{
    struct pseudo_node *top = pseudo_add_dir(cpu, "topology");
    char id[16], one[64 * 9], all[64 * 9], range[32];
    snprintf(id, sizeof(id), "%d\n", nr);
    cpu_mask(one, sizeof(one), nr, nr);
    cpu_mask(all, sizeof(all), 0, machine_ncpus() - 1);
    cpu_range(range, sizeof(range));
    const struct text_row rows[] = {
        {"cluster_cpus", one}, {"cluster_cpus_list", id}, {"cluster_id", "65535\n"},
        {"core_cpus", one}, {"core_cpus_list", id}, {"core_id", id}, {"core_siblings", all},
        {"core_siblings_list", range}, {"die_cpus", all}, {"die_cpus_list", range},
        {"die_id", "0\n"}, {"package_cpus", all}, {"package_cpus_list", range},
        {"physical_package_id", "0\n"}, {"thread_siblings", one}, {"thread_siblings_list", id}};
    ADD_TEXTS(top, rows);
}

// Caches as CPUID describes them to any program (leaf 4, or AMD's 0x8000001d, which has its form).
// Read once for all CPUs: in a virtual machine each CPUID is a trip to the hypervisor.
constexpr int CACHES_MAX = 8;
struct cache_leaves {
    unsigned r[CACHES_MAX][4];
    unsigned n;
};
static void read_caches(struct cache_leaves *c)
{
    static const unsigned leaves[] = {4, 0x8000001d};
    for (size_t k = 0; c->n == 0 && k < ARRAY_LEN(leaves); k++) {
        if (__get_cpuid_max(leaves[k] & 0x80000000, nullptr) < leaves[k])
            continue;
        for (unsigned i = 0; i < CACHES_MAX; i++, c->n++) {
            unsigned *r = c->r[i];
            __cpuid_count(leaves[k], i, r[0], r[1], r[2], r[3]);
            if (!(r[0] & 31) || (r[0] & 31) > 3)
                break;
        }
    }
}

static void add_caches(struct pseudo_node *cpu, int nr, const struct cache_leaves *c)
{
    static const char *const types[] = {"", "Data\n", "Instruction\n", "Unified\n"};
    struct pseudo_node *cache = c->n ? pseudo_add_dir(cpu, "cache") : nullptr;
    for (unsigned i = 0; i < c->n; i++) {
        const unsigned *r = c->r[i];
        unsigned type = r[0] & 31, level = r[0] >> 5 & 7, line = (r[1] & 0xfff) + 1;
        unsigned parts = (r[1] >> 12 & 0x3ff) + 1, ways = (r[1] >> 22) + 1, sets = r[2] + 1;
        bool shared = level >= 3;
        char index[16], t[7][24], map[64 * 9], list[32];
        snprintf(index, sizeof(index), "index%u", i);
        struct pseudo_node *d = pseudo_add_dir(cache, index);
        const unsigned long v[7] = {line, shared ? 0u : (unsigned)nr, level, sets, parts,
                                    (unsigned long)line * parts * ways * sets / 1024, ways};
        for (int k = 0; k < 7; k++)
            snprintf(t[k], sizeof(t[k]), k == 5 ? "%luK\n" : "%lu\n", v[k]);
        cpu_mask(map, sizeof(map), shared ? 0 : nr, shared ? machine_ncpus() - 1 : nr);
        snprintf(list, sizeof(list), "%d\n", nr);
        if (shared)
            cpu_range(list, sizeof(list));
        const struct text_row rows[] = {
            {"coherency_line_size", t[0]}, {"id", t[1]}, {"level", t[2]}, {"number_of_sets", t[3]},
            {"physical_line_partition", t[4]}, {"shared_cpu_list", list}, {"shared_cpu_map", map},
            {"size", t[5]}, {"type", types[type]}, {"ways_of_associativity", t[6]}};
        ADD_TEXTS(d, rows);
    }
}

static void add_cpus(struct pseudo_node *system)
{
    struct pseudo_node *cpus = pseudo_add_dir(system, "cpu");
    struct cache_leaves caches = {};
    char range[32], name[16];
    read_caches(&caches);
    cpu_range(range, sizeof(range));
    const struct text_row rows[] = {{"online", range}, {"possible", range}, {"present", range},
                                    {"offline", "\n"}, {"isolated", "\n"}, {"kernel_max", "8191\n"}};
    ADD_TEXTS(cpus, rows);
    struct pseudo_node *smt = pseudo_add_dir(cpus, "smt");
    pseudo_add_text(smt, "active", "0\n");
    pseudo_add_text(smt, "control", "notimplemented\n");
    for (int i = 0; i < machine_ncpus(); i++) {
        snprintf(name, sizeof(name), "cpu%d", i);
        struct pseudo_node *cpu = pseudo_add_dir(cpus, name);
        if (i > 0)
            pseudo_add_text(cpu, "online", "1\n");
        add_caches(cpu, i, &caches);
        pseudo_add_link(cpu, "node0", "../../node/node0");
        pseudo_add_link(cpu, "subsystem", "../../../../bus/cpu");
        add_topology(cpu, i);
    }
}

static int node_meminfo(struct strbuf *out, void *arg)
{
    // What is used is told by /proc/meminfo, whose owner is the task layer.
    uint64_t kb = machine_mem_total() / 1024;
    static const char *const zero[] = {"MemUsed", "Active", "Inactive", "Dirty", "Writeback",
                                       "FilePages", "Mapped", "AnonPages", "Shmem", "Slab"};
    strbuf_fmt(out, "Node 0 MemTotal:       %8lu kB\nNode 0 MemFree:        %8lu kB\n", kb, kb);
    for (size_t i = 0; i < ARRAY_LEN(zero); i++)
        strbuf_fmt(out, "Node 0 %s:%*s%8d kB\n", zero[i],
                   (int)(15 - __builtin_strlen(zero[i])), "", 0);
    strbuf_str(out, "Node 0 HugePages_Total:     0\nNode 0 HugePages_Free:      0\n"
                    "Node 0 HugePages_Surp:      0\n");
    return 0;
}

static void add_nodes(struct pseudo_node *system)
{
    struct pseudo_node *nodes = pseudo_add_dir(system, "node");
    static const char *const lists[] = {"has_cpu", "has_memory", "has_normal_memory", "online",
                                        "possible"};
    char range[32], map[64 * 9], name[16], target[32];
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        pseudo_add_text(nodes, lists[i], "0\n");
    struct pseudo_node *node = pseudo_add_dir(nodes, "node0");
    cpu_range(range, sizeof(range));
    cpu_mask(map, sizeof(map), 0, machine_ncpus() - 1);
    for (int i = 0; i < machine_ncpus(); i++) {
        snprintf(name, sizeof(name), "cpu%d", i);
        snprintf(target, sizeof(target), "../../cpu/cpu%d", i);
        pseudo_add_link(node, name, target);
    }
    pseudo_add_text(node, "cpulist", range);
    pseudo_add_text(node, "cpumap", map);
    pseudo_add_text(node, "distance", "10\n");
    pseudo_add_file(node, "meminfo", 0444, node_meminfo, nullptr, nullptr);
    pseudo_add_text(node, "numastat", "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\n"
                                      "local_node 0\nother_node 0\n");
}

// --- the loopback interface ------------------------------------------------------------------------
static void add_loopback(struct pseudo_node *virtual_net, struct pseudo_node *class_net)
{
    struct pseudo_node *lo = pseudo_add_dir(virtual_net, "lo");
    static const struct text_row rows[] = {
        {"addr_assign_type", "0\n"}, {"addr_len", "6\n"}, {"address", "00:00:00:00:00:00\n"},
        {"broadcast", "00:00:00:00:00:00\n"}, {"carrier", "1\n"}, {"carrier_changes", "0\n"},
        {"dev_id", "0x0\n"}, {"dev_port", "0\n"}, {"dormant", "0\n"}, {"flags", "0x9\n"},
        {"gro_flush_timeout", "0\n"}, {"ifalias", ""}, {"ifindex", "1\n"}, {"iflink", "1\n"},
        {"link_mode", "0\n"}, {"mtu", "65536\n"}, {"netdev_group", "0\n"},
        {"operstate", "unknown\n"}, {"proto_down", "0\n"}, {"tx_queue_len", "1000\n"},
        {"type", "772\n"}, {"uevent", "INTERFACE=lo\nIFINDEX=1\n"}};
    static const char *const counters[] = {
        "collisions", "multicast", "rx_bytes", "rx_compressed", "rx_crc_errors", "rx_dropped",
        "rx_errors", "rx_fifo_errors", "rx_frame_errors", "rx_length_errors", "rx_missed_errors",
        "rx_nohandler", "rx_over_errors", "rx_packets", "tx_aborted_errors", "tx_bytes",
        "tx_carrier_errors", "tx_compressed", "tx_dropped", "tx_errors", "tx_fifo_errors",
        "tx_heartbeat_errors", "tx_packets", "tx_window_errors"};
    ADD_TEXTS(lo, rows);
    struct pseudo_node *stat = pseudo_add_dir(lo, "statistics");
    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        pseudo_add_text(stat, counters[i], "0\n");
    struct pseudo_node *q = pseudo_add_dir(lo, "queues");
    pseudo_add_dir(q, "rx-0");
    pseudo_add_dir(q, "tx-0");
    pseudo_add_link(lo, "subsystem", "../../../../class/net");
    pseudo_add_link(class_net, "lo", "../../devices/virtual/net/lo");
}

// --- kernel/ -----------------------------------------------------------------------------------------
static void add_kernel(struct pseudo_node *root)
{
    struct pseudo_node *k = pseudo_add_dir(root, "kernel"), *d;
    static const struct text_row own[] = {{"address_bits", "64\n"}, {"cpu_byteorder", "little\n"},
                                          {"fscaps", "1\n"}, {"profiling", "0\n"},
                                          {"uevent_seqnum", "0\n"}};
    static const struct text_row thp[] = {
        {"defrag", "always defer defer+madvise [madvise] never\n"},
        {"enabled", "always [madvise] never\n"}, {"hpage_pmd_size", "2097152\n"},
        {"shmem_enabled", "always within_size advise [never] deny force\n"},
        {"use_zero_page", "1\n"}};
    static const struct text_row huge[] = {
        {"free_hugepages", "0\n"}, {"nr_hugepages", "0\n"}, {"nr_hugepages_mempolicy", "0\n"},
        {"nr_overcommit_hugepages", "0\n"}, {"resv_hugepages", "0\n"}, {"surplus_hugepages", "0\n"}};
    ADD_TEXTS(k, own);
    pseudo_add_dir(k, "debug");
    pseudo_add_dir(k, "security");
    pseudo_add_dir(k, "tracing");
    struct pseudo_node *mm = pseudo_add_dir(k, "mm");
    d = pseudo_add_dir(mm, "hugepages");
    static const char *const sizes[] = {"hugepages-1048576kB", "hugepages-2048kB"};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        ADD_TEXTS(pseudo_add_dir(d, sizes[i]), huge);
    d = pseudo_add_dir(mm, "transparent_hugepage");
    ADD_TEXTS(d, thp);
    d = pseudo_add_dir(d, "khugepaged");
    pseudo_add_text(d, "defrag", "1\n");
}

static int sysfs_mount(const struct fs_type *t, const char *source, const char *options,
                       const struct cred *c, struct super **out)
{
    struct pseudo_node *root, *d;
    struct super *sb;
    int err = pseudo_super_new(t, SYSFS_MAGIC, &sb, &root);
    if (err)
        return err;
    static const char *const empty[] = {"block", "firmware", "hypervisor", "power"};
    for (size_t i = 0; i < ARRAY_LEN(empty); i++)
        pseudo_add_dir(root, empty[i]);
    d = pseudo_add_dir(root, "bus");
    pseudo_add_dir(d, "cpu");
    pseudo_add_dir(pseudo_add_dir(d, "pci"), "devices");
    d = pseudo_add_dir(root, "class");
    pseudo_add_dir(d, "block");
    pseudo_add_dir(d, "dmi");
    struct pseudo_node *class_net = pseudo_add_dir(d, "net");
    pseudo_add_dir(d, "power_supply");
    pseudo_add_dir(d, "thermal");
    pseudo_add_dir(d, "tty");
    d = pseudo_add_dir(root, "dev");
    pseudo_add_dir(d, "block");
    pseudo_add_dir(d, "char");
    struct pseudo_node *devices = pseudo_add_dir(root, "devices");
    d = pseudo_add_dir(devices, "system");
    struct pseudo_node *clock = pseudo_add_dir(pseudo_add_dir(d, "clocksource"), "clocksource0");
    pseudo_add_text(clock, "available_clocksource", "tsc \n");
    pseudo_add_text(clock, "current_clocksource", "tsc\n");
    add_cpus(d);
    add_nodes(d);
    d = pseudo_add_dir(devices, "virtual");
    add_loopback(pseudo_add_dir(d, "net"), class_net);
    pseudo_add_dir(pseudo_add_dir(root, "fs"), "cgroup");
    add_kernel(root);
    pseudo_add_dir(root, "module");
    if (pseudo_failed(sb)) {
        super_put(sb);
        return -ENOMEM;
    }
    *out = sb;
    return 0;
}

const struct fs_type sysfs_type = {
    .name = "sysfs",
    .nodev = true,
    .user_mount = true,
    .mount = sysfs_mount,
};
