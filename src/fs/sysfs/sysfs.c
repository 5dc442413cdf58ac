// SPDX-License-Identifier: Apache-2.0
// sysfs: what programs look for there (CPU topology and counts, the usual empty classes). Synthetic:
// nothing of the host's /sys is seen.
#include "abi/errno.h"
#include "fs/pseudo.h"
#include "kern/limits.h"
#include <linux/magic.h>
#include <stdio.h>

static void cpu_range(char *buf, size_t n)
{
    if (machine.ncpus > 1)
        snprintf(buf, n, "0-%d\n", machine.ncpus - 1);
    else
        snprintf(buf, n, "0\n");
}

static void add_topology(struct pseudo_node *cpu, int nr)
{
    struct pseudo_node *top = pseudo_add_dir(cpu, "topology");
    char id[16], mask[32], list[16];
    snprintf(id, sizeof(id), "%d\n", nr);
    snprintf(mask, sizeof(mask), "%lx\n", nr < 64 ? 1ul << nr : 0ul);
    snprintf(list, sizeof(list), "%d\n", nr);
    pseudo_add_text(top, "core_id", id);
    pseudo_add_text(top, "physical_package_id", "0\n");
    pseudo_add_text(top, "thread_siblings", mask);
    pseudo_add_text(top, "thread_siblings_list", list);
    pseudo_add_text(top, "core_cpus", mask);
    pseudo_add_text(top, "core_cpus_list", list);
}

static void add_cpus(struct pseudo_node *system)
{
    struct pseudo_node *cpus = pseudo_add_dir(system, "cpu");
    char range[32], name[16];
    cpu_range(range, sizeof(range));
    pseudo_add_text(cpus, "online", range);
    pseudo_add_text(cpus, "possible", range);
    pseudo_add_text(cpus, "present", range);
    pseudo_add_text(cpus, "offline", "\n");
    pseudo_add_text(cpus, "kernel_max", "8191\n");
    for (int i = 0; i < machine.ncpus; i++) {
        snprintf(name, sizeof(name), "cpu%d", i);
        struct pseudo_node *cpu = pseudo_add_dir(cpus, name);
        if (i > 0)
            pseudo_add_text(cpu, "online", "1\n");
        add_topology(cpu, i);
    }
}

static void add_nodes(struct pseudo_node *system)
{
    struct pseudo_node *nodes = pseudo_add_dir(system, "node");
    char range[32];
    cpu_range(range, sizeof(range));
    pseudo_add_text(nodes, "online", "0\n");
    pseudo_add_text(nodes, "possible", "0\n");
    pseudo_add_text(nodes, "has_cpu", "0\n");
    pseudo_add_text(nodes, "has_memory", "0\n");
    struct pseudo_node *node = pseudo_add_dir(nodes, "node0");
    pseudo_add_text(node, "cpulist", range);
    pseudo_add_text(node, "distance", "10\n");
}

static int sysfs_mount(const struct fs_type *t, const char *source, const char *options,
                       const struct cred *c, struct super **out)
{
    struct pseudo_node *root, *d;
    struct super *sb;
    int err = pseudo_super_new(t, SYSFS_MAGIC, &sb, &root);
    if (err)
        return err;
    static const char *const empty[] = {"block", "bus", "firmware", "power"};
    for (size_t i = 0; i < ARRAY_LEN(empty); i++)
        pseudo_add_dir(root, empty[i]);
    d = pseudo_add_dir(root, "class");
    pseudo_add_dir(d, "block");
    pseudo_add_dir(d, "net");
    pseudo_add_dir(d, "power_supply");
    pseudo_add_dir(d, "tty");
    d = pseudo_add_dir(root, "dev");
    pseudo_add_dir(d, "block");
    pseudo_add_dir(d, "char");
    d = pseudo_add_dir(pseudo_add_dir(root, "devices"), "system");
    add_cpus(d);
    add_nodes(d);
    pseudo_add_dir(pseudo_add_dir(root, "fs"), "cgroup");
    d = pseudo_add_dir(root, "kernel");
    pseudo_add_dir(d, "debug");
    pseudo_add_dir(d, "tracing");
    pseudo_add_dir(d, "security");
    d = pseudo_add_dir(pseudo_add_dir(d, "mm"), "transparent_hugepage");
    pseudo_add_text(d, "enabled", "always [madvise] never\n");
    pseudo_add_text(d, "hpage_pmd_size", "2097152\n");
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
