// SPDX-License-Identifier: Apache-2.0
// procfs: rows of entries; an inode is (row, task, number). Internal to fs/proc.
//
// A new file is one row in the table of its directory and one show function. show functions get the
// inode and append text; they take what locks they need and return 0 or -errno (-ESRCH when the
// task has gone).
#pragma once
#include "base/strbuf.h"
#include "task/task.h"
#include "vfs/file.h"

struct proc_entry;
struct proc_inode {
    struct inode inode;
    const struct proc_entry *e; // [C]
    struct task *task;          // [C] ref; null outside /proc/PID
    int nr;                     // [C] descriptor number in fd/ and fdinfo/
};
struct proc_entry {
    const char *name;
    uint32_t mode; // with the type
    int (*show)(struct strbuf *out, struct proc_inode *p);
    int (*store)(const char *text, size_t n, struct proc_inode *p);
    int (*readlink)(struct strbuf *out, struct proc_inode *p);
    int (*get_link)(struct path *out, struct proc_inode *p);
    const struct proc_entry *children; // rows up to the one with a null name
    // Directories with members that come and go, listed after `children`. lookup makes the inode.
    int (*lookup)(struct proc_inode *dir, const char *name, struct inode **out);
    int (*readdir)(struct proc_inode *dir, struct file *f, struct dir_context *dc, int64_t base);
    const struct file_ops *fops; // special files (mem)
    bool owner_only;             // entries below or behind need task_may_access()
};
extern const struct proc_entry proc_root_entries[], proc_sys_entries[], proc_pid_entries[];
extern const struct proc_entry proc_net_entries[], proc_ns_entries[];
extern const struct proc_entry proc_pid_dir, proc_tid_dir;

MUST_CHECK int proc_inode_new(struct super *sb, const struct proc_entry *e, struct task *t, int nr,
                              struct inode **out);
static inline struct proc_inode *proc_inode_of(struct inode *i)
{
    return container_of(i, struct proc_inode, inode);
}
static inline struct proc_inode *proc_file(struct file *f)
{
    return proc_inode_of(f->inode);
}
// False once the task has been reaped: its number may be somebody else's by now.
bool proc_task_exists(struct task *t);
// The pid namespace whose numbers are shown: the reader's.
struct pidns *proc_pidns(void);
// Decimal number without sign or leading zeros; -1 if it is none.
int proc_parse_number(const char *s);

// Reads the host's processor description; before lockdown. Without it cpuinfo is minimal.
void proc_boot_init(void);

// pidtext.c, info.c
int proc_show_stat(struct strbuf *out, struct proc_inode *p);
int proc_show_tid_stat(struct strbuf *out, struct proc_inode *p);
int proc_show_status(struct strbuf *out, struct proc_inode *p);
int proc_show_statm(struct strbuf *out, struct proc_inode *p);
int proc_show_limits(struct strbuf *out, struct proc_inode *p);
int proc_show_io(struct strbuf *out, struct proc_inode *p);
struct proc_totals { // over all processes that the reader sees
    uint64_t cpu_ns, rss_pages;
    int processes, threads, running;
};
void proc_sum(struct proc_totals *t);
int proc_show_cmdline(struct strbuf *out, struct proc_inode *p);
int proc_show_cpuinfo(struct strbuf *out, struct proc_inode *p);
int proc_show_devices(struct strbuf *out, struct proc_inode *p);
int proc_show_filesystems(struct strbuf *out, struct proc_inode *p);
int proc_show_loadavg(struct strbuf *out, struct proc_inode *p);
int proc_show_locks(struct strbuf *out, struct proc_inode *p);
int proc_show_meminfo(struct strbuf *out, struct proc_inode *p);
int proc_show_global_stat(struct strbuf *out, struct proc_inode *p);
int proc_show_uptime(struct strbuf *out, struct proc_inode *p);
int proc_show_version(struct strbuf *out, struct proc_inode *p);
int proc_show_vmstat(struct strbuf *out, struct proc_inode *p);
int proc_show_swaps(struct strbuf *out, struct proc_inode *p);
int proc_show_cgroups(struct strbuf *out, struct proc_inode *p);
int proc_show_partitions(struct strbuf *out, struct proc_inode *p);
int proc_show_empty(struct strbuf *out, struct proc_inode *p);
int proc_show_interrupts(struct strbuf *out, struct proc_inode *p);
