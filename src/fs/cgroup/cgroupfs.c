// SPDX-License-Identifier: Apache-2.0
// cgroup2 inside: the container's own group, as a cgroup namespace shows it, with the limits that the
// host enforces and what is used of them. Always v2's files, whatever the host has, because there is
// one form of them to be truthful in; always read-only: nothing inside can change them.
//
// Limits come from the command line (kern/limits.h), memory figures from the host's own files, the
// tasks from our own tables.
#include "abi/errno.h"
#include "fs/proc/proc.h"
#include "fs/pseudo.h"
#include "kern/limits.h"
#include "task/task.h"
#include <linux/magic.h>
#include <string.h>

constexpr uint64_t NS_PER_US = 1000;

static int show_max(struct strbuf *out, uint64_t v)
{
    if (v == UINT64_MAX)
        strbuf_str(out, "max\n");
    else
        strbuf_fmt(out, "%lu\n", v);
    return 0;
}
static int show_text(struct strbuf *out, void *arg)
{
    strbuf_str(out, arg);
    return 0;
}
static int refuse(const char *text, size_t n, void *arg)
{
    return -EROFS;
}

// --- memory -----------------------------------------------------------------------------------------
static uint64_t memory_current(struct memory_figures *f)
{
    struct proc_totals t;
    if (machine_memory(f))
        return f->usage;
    proc_sum(&t);
    *f = (struct memory_figures){.anon = t.rss_pages * PAGE_SIZE};
    return f->anon;
}
static int show_memory_current(struct strbuf *out, void *arg)
{
    struct memory_figures f;
    strbuf_fmt(out, "%lu\n", memory_current(&f));
    return 0;
}
static int show_memory_max(struct strbuf *out, void *arg)
{
    struct cgroup_view v;
    machine_get_view(&v);
    return show_max(out, v.memory_max);
}
static int show_memory_low(struct strbuf *out, void *arg)
{
    struct cgroup_view v;
    machine_get_view(&v);
    return show_max(out, v.memory_low);
}
static int show_memory_high(struct strbuf *out, void *arg)
{
    struct cgroup_view v;
    machine_get_view(&v);
    return show_max(out, v.memory_high);
}
static int show_memory_min(struct strbuf *out, void *arg)
{
    struct cgroup_view v;
    machine_get_view(&v);
    return show_max(out, v.memory_min);
}
static int show_swap_max(struct strbuf *out, void *arg)
{
    struct cgroup_view v;
    machine_get_view(&v);
    return show_max(out, v.swap_max);
}
static int show_memory_events(struct strbuf *out, void *arg)
{
    uint64_t kills, ooms;
    if (!machine_oom(&kills, &ooms))
        kills = ooms = 0;
    strbuf_fmt(out, "low 0\nhigh 0\nmax 0\noom %lu\noom_kill %lu\noom_group_kill 0\n", ooms, kills);
    return 0;
}
static int show_memory_stat(struct strbuf *out, void *arg)
{
    struct memory_figures f;
    memory_current(&f);
    uint64_t file = f.inactive_file + f.active_file + f.shmem;
    strbuf_fmt(out, "anon %lu\nfile %lu\nkernel 0\nshmem %lu\nfile_mapped 0\nfile_dirty 0\n"
                    "file_writeback 0\nswapcached 0\ninactive_anon %lu\nactive_anon 0\n"
                    "inactive_file %lu\nactive_file %lu\nunevictable 0\nslab_reclaimable 0\n"
                    "slab_unreclaimable 0\nslab 0\n",
               f.anon, file, f.shmem, f.anon, f.inactive_file, f.active_file);
    return 0;
}

// --- cpu --------------------------------------------------------------------------------------------
static int show_cpu_max(struct strbuf *out, void *arg)
{
    struct cgroup_view v;
    machine_get_view(&v);
    if (v.cpu_quota > 0)
        strbuf_fmt(out, "%ld %lu\n", v.cpu_quota, v.cpu_period);
    else
        strbuf_fmt(out, "max %lu\n", v.cpu_period);
    return 0;
}
static int show_cpu_weight(struct strbuf *out, void *arg)
{
    struct cgroup_view v;
    machine_get_view(&v);
    strbuf_fmt(out, "%lu\n", v.cpu_weight);
    return 0;
}
static int show_cpu_stat(struct strbuf *out, void *arg)
{
    struct proc_totals t;
    proc_sum(&t);
    strbuf_fmt(out, "usage_usec %lu\nuser_usec %lu\nsystem_usec 0\n", t.cpu_ns / NS_PER_US,
               t.cpu_ns / NS_PER_US);
    return 0;
}
static int show_cpus(struct strbuf *out, void *arg)
{
    int n = machine_ncpus();
    if (n > 1)
        strbuf_fmt(out, "0-%d\n", n - 1);
    else
        strbuf_str(out, "0\n");
    return 0;
}
static int show_cpus_given(struct strbuf *out, void *arg)
{
    struct cgroup_view v;
    machine_get_view(&v);
    if (v.cpus)
        return show_cpus(out, arg);
    strbuf_char(out, '\n');
    return 0;
}

// --- tasks ------------------------------------------------------------------------------------------
// Those of the reader's container, by the numbers that it sees.
static int show_tasks(struct strbuf *out, void *arg)
{
    const struct task *self = task_current();
    const struct task_container *own = self ? self->group->container : nullptr;
    struct pidns *ns = proc_pidns();
    struct thread_group *g;
    bool threads = arg;
    for (int nr = 1; ns && (g = group_next(ns, &nr)) != nullptr; nr++) {
        if (g->container == own && !threads)
            strbuf_fmt(out, "%d\n", nr);
        struct task *t;
        for (int tid = 1; g->container == own && threads &&
                          (t = group_next_thread(g, ns, &tid)) != nullptr; tid++) {
            strbuf_fmt(out, "%d\n", tid);
            task_put(t);
        }
        group_put(g);
    }
    return out->bad ? -ENOMEM : 0;
}
static void task_numbers(int *now, int *most)
{
    const struct task *self = task_current();
    *now = *most = 0;
    if (!self)
        return;
    mutex_lock(&tasklist_lock);
    *now = self->group->container->ntasks;
    *most = self->group->container->max_tasks;
    mutex_unlock(&tasklist_lock);
}
static int show_pids_current(struct strbuf *out, void *arg)
{
    int now, most;
    task_numbers(&now, &most);
    strbuf_fmt(out, "%d\n", now);
    return 0;
}
static int show_pids_max(struct strbuf *out, void *arg)
{
    int now, most;
    task_numbers(&now, &most);
    return show_max(out, most > 0 ? (uint64_t)most : UINT64_MAX);
}

// --- the tree ---------------------------------------------------------------------------------------
static const struct {
    const char *name;
    pseudo_show_fn *show;
    const char *text; // its argument
    bool constant;    // not to be written on Linux either
} files[] = {
    {"cgroup.controllers", show_text, "cpuset cpu memory pids\n", true},
    {"cgroup.events", show_text, "populated 1\nfrozen 0\n", true},
    {"cgroup.freeze", show_text, "0\n", false},
    {"cgroup.max.depth", show_text, "max\n", false},
    {"cgroup.max.descendants", show_text, "max\n", false},
    {"cgroup.procs", show_tasks, nullptr, false},
    {"cgroup.stat", show_text, "nr_descendants 0\nnr_dying_descendants 0\n", true},
    {"cgroup.subtree_control", show_text, "\n", false},
    {"cgroup.threads", show_tasks, "threads", false},
    {"cgroup.type", show_text, "domain\n", false},
    {"cpu.idle", show_text, "0\n", false},
    {"cpu.max", show_cpu_max, nullptr, false},
    {"cpu.max.burst", show_text, "0\n", false},
    {"cpu.stat", show_cpu_stat, nullptr, true},
    {"cpu.weight", show_cpu_weight, nullptr, false},
    {"cpuset.cpus", show_cpus_given, nullptr, false},
    {"cpuset.cpus.effective", show_cpus, nullptr, true},
    {"cpuset.mems", show_text, "\n", false},
    {"cpuset.mems.effective", show_text, "0\n", true},
    {"memory.current", show_memory_current, nullptr, true},
    {"memory.events", show_memory_events, nullptr, true},
    {"memory.high", show_memory_high, nullptr, false},
    {"memory.low", show_memory_low, nullptr, false},
    {"memory.max", show_memory_max, nullptr, false},
    {"memory.min", show_memory_min, nullptr, false},
    {"memory.oom.group", show_text, "0\n", false},
    {"memory.stat", show_memory_stat, nullptr, true},
    {"memory.swap.current", show_text, "0\n", true},
    {"memory.swap.max", show_swap_max, nullptr, false},
    {"pids.current", show_pids_current, nullptr, true},
    {"pids.max", show_pids_max, nullptr, false},
};

static bool option_known(const char *o, size_t n)
{
    static const char *const known[] = {"nsdelegate", "memory_recursiveprot", "memory_localevents",
                                        "favordynmods", "memory_hugetlb_accounting"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strlen(known[i]) == n && strncmp(known[i], o, n) == 0)
            return true;
    return n == 0;
}

static int cgroup2_mount(const struct fs_type *t, const char *source, const char *options,
                         const struct cred *c, struct super **out)
{
    struct pseudo_node *root;
    for (const char *o = options; o && *o; o += strcspn(o, ","), o += *o == ',')
        if (!option_known(o, strcspn(o, ",")))
            return -EINVAL;
    int err = pseudo_super_new(t, CGROUP2_SUPER_MAGIC, out, &root);
    if (err)
        return err;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        pseudo_add_file(root, files[i].name, files[i].constant ? 0444 : 0644, files[i].show,
                        files[i].constant ? nullptr : refuse, (void *)files[i].text);
    if (!pseudo_failed(*out))
        return 0;
    super_put(*out);
    return -ENOMEM;
}

const struct fs_type cgroup2_type = {
    .name = "cgroup2",
    .nodev = true,
    .user_mount = true,
    .mount = cgroup2_mount,
};
