// SPDX-License-Identifier: Apache-2.0
// /proc/PID and /proc/PID/task/TID: rows, links and the fd, fdinfo, task and ns directories.
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/proc/proc.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// --- links ---------------------------------------------------------------------------------------
static int path_text(struct strbuf *out, const struct path *p)
{
    struct task *self = task_current();
    struct fs_context *fs = self ? task_fs_get(self) : nullptr;
    struct path root = {};
    if (fs) {
        mutex_lock(&fs->lock);
        root = path_get(fs->root);
        mutex_unlock(&fs->lock);
        fs_context_put(fs);
    }
    int err = path_print(p, root.dentry ? &root : nullptr, out);
    path_put(root);
    return err;
}

static int fs_path(struct proc_inode *p, bool cwd, struct path *out)
{
    struct fs_context *fs = task_fs_get(p->task);
    if (!fs)
        return -ENOENT;
    mutex_lock(&fs->lock);
    *out = path_get(cwd ? fs->cwd : fs->root);
    mutex_unlock(&fs->lock);
    fs_context_put(fs);
    return 0;
}
static int cwd_get(struct path *out, struct proc_inode *p) { return fs_path(p, true, out); }
static int root_get(struct path *out, struct proc_inode *p) { return fs_path(p, false, out); }

static struct file *exe_file(struct proc_inode *p)
{
    struct mm *mm = task_mm_get(p->task);
    struct file *f = nullptr;
    if (!mm)
        return nullptr;
    mutex_lock(&mm->lock);
    if (mm->exe_file)
        f = file_get(mm->exe_file);
    mutex_unlock(&mm->lock);
    mm_put(mm);
    return f;
}
static int exe_get(struct path *out, struct proc_inode *p)
{
    struct file *f = exe_file(p);
    if (!f)
        return -ENOENT;
    *out = path_get(f->path);
    file_put(f);
    return 0;
}
static int link_text(struct strbuf *out, struct proc_inode *p)
{
    struct path at;
    int err = p->e->get_link(&at, p);
    if (err)
        return err;
    err = path_text(out, &at);
    path_put(at);
    return err;
}

// --- fd and fdinfo ---------------------------------------------------------------------------------
static struct file *fd_file(struct proc_inode *p)
{
    struct fdtab *files = task_files_get(p->task);
    if (!files)
        return nullptr;
    struct file *f = fd_get_any(files, p->nr);
    fdtab_put(files, nullptr);
    return f;
}
static int fd_get_path(struct path *out, struct proc_inode *p)
{
    struct file *f = fd_file(p);
    if (!f)
        return -ENOENT;
    *out = path_get(f->path);
    file_put(f);
    return 0;
}
static int fd_text(struct strbuf *out, struct proc_inode *p)
{
    struct file *f = fd_file(p);
    struct path root = {};
    if (!f)
        return -ENOENT;
    struct task *self = task_current();
    if (self && self->fs) {
        mutex_lock(&self->fs->lock);
        root = path_get(self->fs->root);
        mutex_unlock(&self->fs->lock);
    }
    int err = file_print(f, root.dentry ? &root : nullptr, out);
    path_put(root);
    file_put(f);
    return err;
}
static int fdinfo_show(struct strbuf *out, struct proc_inode *p)
{
    struct file *f = fd_file(p);
    if (!f)
        return -ENOENT;
    struct fdtab *files = task_files_get(p->task);
    int cloexec = files ? fd_get_cloexec(files, p->nr) : 0;
    if (files)
        fdtab_put(files, nullptr);
    strbuf_fmt(out, "pos:\t%ld\nflags:\t0%o\nmnt_id:\t%lu\nino:\t%lu\n", file_pos_peek(f),
               READ_SHARED(f->flags) | (cloexec > 0 ? 02000000u : 0), f->path.mnt ? f->path.mnt->id : 0,
               f->inode ? f->inode->ino : 0);
    if (f->ops->fdinfo)
        f->ops->fdinfo(f, out);
    file_put(f);
    return 0;
}
static const struct proc_entry fd_entry = {
    .name = "fd", .mode = S_IFLNK | 0700, .get_link = fd_get_path, .readlink = fd_text,
    .owner_only = true};
static const struct proc_entry fdinfo_entry = {
    .name = "fdinfo", .mode = S_IFREG | 0444, .show = fdinfo_show, .owner_only = true};

static int fd_lookup_as(struct proc_inode *dir, const char *name, const struct proc_entry *e,
                        struct inode **out)
{
    struct proc_inode probe = {.task = dir->task, .nr = proc_parse_number(name)};
    if (probe.nr < 0)
        return -ENOENT;
    struct file *f = fd_file(&probe);
    if (!f)
        return -ENOENT;
    int err = proc_inode_new(dir->inode.sb, e, dir->task, probe.nr, out);
    if (!err && S_ISLNK(e->mode)) {
        (*out)->mode = S_IFLNK | (f->can_read ? 0500 : 0) | (f->can_write ? 0300 : 0);
        (*out)->size = 64; // as Linux says, whatever the length
    }
    file_put(f);
    return err;
}
static int fd_lookup(struct proc_inode *dir, const char *name, struct inode **out)
{
    return fd_lookup_as(dir, name, &fd_entry, out);
}
static int fdinfo_lookup(struct proc_inode *dir, const char *name, struct inode **out)
{
    return fd_lookup_as(dir, name, &fdinfo_entry, out);
}

// Numbers are collected first: emit may fault on guest memory, and the table's lock is a spinlock.
struct fd_batch {
    int fd[64];
    int n;
};
static bool fd_collect(int fd, struct file *f, void *arg)
{
    struct fd_batch *b = arg;
    b->fd[b->n++] = fd;
    return b->n < (int)ARRAY_LEN(b->fd);
}
static int fd_readdir(struct proc_inode *dir, struct file *f, struct dir_context *dc, int64_t base)
{
    uint8_t type = dir->e->lookup == fd_lookup ? DT_LNK : DT_REG;
    for (;;) {
        struct fdtab *files = task_files_get(dir->task);
        struct fd_batch b = {};
        if (!files)
            return 0;
        fdtab_iterate(files, (int)(dc->pos - base), fd_collect, &b);
        fdtab_put(files, nullptr);
        for (int i = 0; i < b.n; i++) {
            char name[16];
            int n = snprintf(name, sizeof(name), "%d", b.fd[i]);
            if (!dc->emit(dc, name, (size_t)n, (uint64_t)b.fd[i] + 1, type, base + b.fd[i] + 1))
                return 0;
            dc->pos = base + b.fd[i] + 1;
        }
        if (b.n < (int)ARRAY_LEN(b.fd))
            return 0;
    }
}

// --- task/ ---------------------------------------------------------------------------------------------
static int task_dir_lookup(struct proc_inode *dir, const char *name, struct inode **out)
{
    struct pidns *ns = proc_pidns();
    int nr = proc_parse_number(name);
    struct task *t = nr > 0 && ns ? task_find(ns, nr) : nullptr;
    if (!t)
        return -ENOENT;
    int err = t->group != dir->task->group
                  ? -ENOENT
                  : proc_inode_new(dir->inode.sb, &proc_tid_dir, t, 0, out);
    task_put(t);
    return err;
}
static int task_dir_readdir(struct proc_inode *dir, struct file *f, struct dir_context *dc,
                            int64_t base)
{
    struct pidns *ns = proc_pidns();
    int nr = (int)(dc->pos - base);
    struct task *t;
    if (!ns)
        return 0;
    while ((t = group_next_thread(dir->task->group, ns, &nr)) != nullptr) {
        char name[16];
        int n = snprintf(name, sizeof(name), "%d", nr);
        task_put(t);
        if (!dc->emit(dc, name, (size_t)n, (uint64_t)nr | 2ull << 32, DT_DIR, base + nr + 1))
            return 0;
        dc->pos = base + nr + 1;
        nr++;
    }
    return 0;
}

// --- memory files -----------------------------------------------------------------------------------------
static int mem_range(struct strbuf *out, struct proc_inode *p, bool env)
{
    struct mm *mm = task_mm_get(p->task);
    char buf[PAGE_SIZE];
    if (!mm)
        return 0;
    mutex_lock(&mm->lock);
    uint64_t at = env ? mm->env_start : mm->arg_start, end = env ? mm->env_end : mm->arg_end;
    mutex_unlock(&mm->lock);
    while (at < end && out->len < (1u << 21)) {
        long n = copy_in_partial(mm, buf, UADDR(at), MIN(end - at, sizeof(buf)));
        if (n <= 0)
            break;
        strbuf_put(out, buf, (size_t)n);
        at += (uint64_t)n;
    }
    mm_put(mm);
    return 0;
}
static int cmdline_show(struct strbuf *out, struct proc_inode *p) { return mem_range(out, p, false); }
static int environ_show(struct strbuf *out, struct proc_inode *p) { return mem_range(out, p, true); }

static int maps_common(struct strbuf *out, struct proc_inode *p, bool smaps)
{
    struct mm *mm = task_mm_get(p->task);
    if (!mm)
        return 0;
    mm_show_maps(mm, out, smaps);
    mm_put(mm);
    return 0;
}
static int maps_show(struct strbuf *out, struct proc_inode *p) { return maps_common(out, p, false); }
static int smaps_show(struct strbuf *out, struct proc_inode *p) { return maps_common(out, p, true); }

// Sums of the smaps rows under one heading; the text is the interface of mem/ to both files.
static int smaps_rollup_show(struct strbuf *out, struct proc_inode *p)
{
    static const char *const keys[] = {
        "Rss", "Pss", "Pss_Dirty", "Pss_Anon", "Pss_File", "Pss_Shmem", "Shared_Clean",
        "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced", "Anonymous", "KSM",
        "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb",
        "Private_Hugetlb", "Swap", "SwapPss", "Locked"};
    uint64_t sum[ARRAY_LEN(keys)] = {}, start = 0, end = 0;
    struct strbuf text = {};
    int err = maps_common(&text, p, true);
    if (err || text.bad || !text.p) {
        bool bad = text.bad;
        strbuf_free(&text);
        return err ? err : bad ? -ENOMEM : 0;
    }
    for (char *s = text.p; *s; s += strcspn(s, "\n") + 1) {
        size_t n = strcspn(s, ":\n ");
        if (s[n] != ':') { // "start-end prot ..."
            char *dash;
            uint64_t from = strtoul(s, &dash, 16);
            start = start ? start : from;
            end = *dash == '-' ? strtoul(dash + 1, nullptr, 16) : end;
        }
        for (size_t k = 0; s[n] == ':' && k < ARRAY_LEN(keys); k++)
            if (strlen(keys[k]) == n && !memcmp(keys[k], s, n))
                sum[k] += strtoul(s + n + 1, nullptr, 10);
    }
    strbuf_free(&text);
    strbuf_fmt(out, "%08lx-%08lx ---p 00000000 00:00 0 %24s [rollup]\n", start, end, "");
    for (size_t k = 0; k < ARRAY_LEN(keys); k++)
        strbuf_fmt(out, "%s:%*s%8lu kB\n", keys[k], (int)(15 - strlen(keys[k])), "", sum[k]);
    return 0;
}

static int auxv_show(struct strbuf *out, struct proc_inode *p)
{
    struct mm *mm = task_mm_get(p->task);
    if (!mm)
        return 0;
    strbuf_put(out, mm->auxv, MIN(mm->auxv_len, sizeof(mm->auxv)));
    mm_put(mm);
    return 0;
}

// /proc/PID/mem: the position is the address (proc(5)).
static long mem_rw(struct file *f, struct uio *u, int64_t *pos, bool write)
{
    struct mm *mm = task_mm_get(proc_file(f)->task);
    char buf[PAGE_SIZE];
    long done = 0;
    if (!mm)
        return 0;
    while (u->resid) {
        size_t want = MIN(u->resid, sizeof(buf) - ((size_t)*pos & (sizeof(buf) - 1)));
        long n = write ? uio_copy_from(u, buf, want)
                       : copy_in_partial(mm, buf, UADDR(*pos), want);
        if (n > 0)
            n = write ? copy_out_partial(mm, UADDR(*pos), buf, (size_t)n)
                      : uio_copy_to(u, buf, (size_t)n);
        if (n <= 0) {
            done = done ? done : n == -EFAULT ? -EIO : n;
            break;
        }
        done += n;
        *pos += n;
    }
    mm_put(mm);
    return done;
}
static long mem_read(struct file *f, struct uio *u, int64_t *pos) { return mem_rw(f, u, pos, false); }
static long mem_write(struct file *f, struct uio *u, int64_t *pos) { return mem_rw(f, u, pos, true); }
static int64_t mem_llseek(struct file *f, int64_t off, int whence)
{
    if (whence == SEEK_CUR)
        off += f->pos;
    else if (whence != SEEK_SET)
        return -EINVAL;
    return f->pos = off;
}
static int mem_open(struct file *f)
{
    return task_may_access(proc_file(f)->task) ? -EACCES : 0;
}
static const struct file_ops mem_fops = {
    .open = mem_open, .read = mem_read, .write = mem_write, .llseek = mem_llseek};

// --- small texts -----------------------------------------------------------------------------------------
static int comm_show(struct strbuf *out, struct proc_inode *p)
{
    char comm[16];
    spin_lock(&p->task->task_lock);
    memcpy(comm, p->task->comm, sizeof(comm));
    spin_unlock(&p->task->task_lock);
    strbuf_fmt(out, "%.15s\n", comm);
    return 0;
}
static int comm_store(const char *text, size_t n, struct proc_inode *p)
{
    char comm[16] = {};
    struct task *self = task_current();
    if (!self || self->group != p->task->group)
        return -EINVAL;
    memcpy(comm, text, MIN(strcspn(text, "\n"), sizeof(comm) - 1));
    task_set_comm(p->task, comm);
    return 0;
}
static int oom_score_show(struct strbuf *out, struct proc_inode *p)
{
    int adj = READ_SHARED(p->task->group->oom_score_adj);
    strbuf_fmt(out, "%d\n", MAX(0, 666 + adj * 2 / 3));
    return 0;
}
static int oom_adj_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_fmt(out, "%d\n", READ_SHARED(p->task->group->oom_score_adj));
    return 0;
}
static int oom_adj_store(const char *text, size_t n, struct proc_inode *p)
{
    char *end;
    long v = strtol(text, &end, 10);
    struct task *self = task_current();
    if (end == text || (*end && *end != '\n') || v < -1000 || v > 1000)
        return -EINVAL;
    struct thread_group *g = p->task->group;
    if (v < READ_SHARED(g->oom_score_adj_min) && self && !cred_capable(self->cred, 24))
        return -EACCES;
    WRITE_SHARED(g->oom_score_adj, (int)v);
    return 0;
}
static int mounts_common(struct strbuf *out, struct proc_inode *p, bool info)
{
    struct fs_context *fs = task_fs_get(p->task);
    if (!fs)
        return -EINVAL;
    mutex_lock(&fs->lock);
    struct path root = path_get(fs->root);
    mutex_unlock(&fs->lock);
    mounts_show(fs->ns, &root, out, info);
    path_put(root);
    fs_context_put(fs);
    return 0;
}
static int mounts_show_(struct strbuf *out, struct proc_inode *p) { return mounts_common(out, p, false); }
static int mountinfo_show(struct strbuf *out, struct proc_inode *p) { return mounts_common(out, p, true); }
// "device proc mounted on /proc with fstype proc", from the six columns of mounts.
static int mountstats_show(struct strbuf *out, struct proc_inode *p)
{
    struct strbuf text = {};
    int err = mounts_common(&text, p, false);
    for (char *s = err || text.bad ? nullptr : text.p; s && *s; s += strcspn(s, "\n") + 1) {
        size_t dev = strcspn(s, " "), dir = strcspn(s + dev + 1, " ");
        const char *type = s + dev + 1 + dir + 1;
        strbuf_str(out, "device ");
        strbuf_put(out, s, dev);
        strbuf_str(out, " mounted on ");
        strbuf_put(out, s + dev + 1, dir);
        strbuf_fmt(out, " with fstype %.*s\n", (int)strcspn(type, " "), type);
    }
    if (!err && text.bad)
        err = -ENOMEM;
    strbuf_free(&text);
    return err;
}
static int cgroup_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "0::/\n");
    return 0;
}
static int id_map_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_fmt(out, "%10u %10u %10u\n", 0, 0, 4294967295u);
    return 0;
}
static int setgroups_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "allow\n");
    return 0;
}
static int loginuid_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "4294967295");
    return 0;
}
static int wchan_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_char(out, '0');
    return 0;
}
static int personality_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_fmt(out, "%08x\n", p->task->personality);
    return 0;
}
static int children_show(struct strbuf *out, struct proc_inode *p)
{
    struct pidns *ns = proc_pidns();
    mutex_lock(&tasklist_lock);
    list_for_each(n, &p->task->group->children) {
        struct thread_group *c = list_entry(n, struct thread_group, sibling);
        if (c->parent_thread == p->task && ns)
            strbuf_fmt(out, "%d ", group_tgid_in(c, ns));
    }
    mutex_unlock(&tasklist_lock);
    return 0;
}
static int cpuset_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "/\n");
    return 0;
}
static int schedstat_show(struct strbuf *out, struct proc_inode *p)
{
    struct task *t = p->task;
    strbuf_fmt(out, "%lu 0 %lu\n", READ_SHARED(t->cpu_ns) + READ_SHARED(t->stime_ns),
               READ_SHARED(t->nvcsw) + READ_SHARED(t->nivcsw));
    return 0;
}
static int sessionid_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "4294967295");
    return 0;
}
static int timens_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "monotonic           0         0\nboottime            0         0\n");
    return 0;
}
static int timerslack_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_fmt(out, "%lu\n", p->task->timer_slack);
    return 0;
}
static int coredump_filter_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "00000033\n");
    return 0;
}

#define TEXT(n, fn) {.name = n, .mode = S_IFREG | 0444, .show = fn}
#define OWNER_TEXT(n, m, fn) {.name = n, .mode = S_IFREG | m, .show = fn, .owner_only = true}
// --- rows ---------------------------------------------------------------------------------------------------
#define LINK(n, get)                                                                               \
    {.name = n, .mode = S_IFLNK | 0777, .get_link = get, .readlink = link_text, .owner_only = true}
#define COMMON_ENTRIES                                                                             \
    OWNER_TEXT("auxv", 0400, auxv_show), TEXT("cgroup", cgroup_show),                              \
    TEXT("cmdline", cmdline_show),                                                                 \
    {.name = "comm", .mode = S_IFREG | 0644, .show = comm_show, .store = comm_store},              \
    TEXT("cpuset", cpuset_show), LINK("cwd", cwd_get),                                             \
    OWNER_TEXT("environ", 0400, environ_show), LINK("exe", exe_get),                               \
    {.name = "fd", .mode = S_IFDIR | 0500, .lookup = fd_lookup, .readdir = fd_readdir,             \
     .owner_only = true},                                                                          \
    {.name = "fdinfo", .mode = S_IFDIR | 0555, .lookup = fdinfo_lookup, .readdir = fd_readdir,     \
     .owner_only = true},                                                                          \
    {.name = "gid_map", .mode = S_IFREG | 0644, .show = id_map_show},                              \
    OWNER_TEXT("io", 0400, proc_show_io), TEXT("limits", proc_show_limits),                        \
    TEXT("loginuid", loginuid_show), OWNER_TEXT("maps", 0444, maps_show),                          \
    {.name = "mem", .mode = S_IFREG | 0600, .fops = &mem_fops},                                    \
    TEXT("mountinfo", mountinfo_show), TEXT("mounts", mounts_show_),                               \
    {.name = "net", .mode = S_IFDIR | 0555, .children = proc_net_entries},                         \
    {.name = "ns", .mode = S_IFDIR | 0511, .children = proc_ns_entries},                           \
    TEXT("oom_score", oom_score_show),                                                             \
    {.name = "oom_score_adj", .mode = S_IFREG | 0644, .show = oom_adj_show,                        \
     .store = oom_adj_store},                                                                      \
    OWNER_TEXT("personality", 0400, personality_show),                                             \
    {.name = "projid_map", .mode = S_IFREG | 0644, .show = id_map_show}, LINK("root", root_get),   \
    TEXT("schedstat", schedstat_show), TEXT("sessionid", sessionid_show),                          \
    {.name = "setgroups", .mode = S_IFREG | 0644, .show = setgroups_show},                         \
    OWNER_TEXT("smaps", 0444, smaps_show), OWNER_TEXT("smaps_rollup", 0444, smaps_rollup_show),    \
    TEXT("statm", proc_show_statm), TEXT("status", proc_show_status),                              \
    {.name = "uid_map", .mode = S_IFREG | 0644, .show = id_map_show}, TEXT("wchan", wchan_show)

static const struct proc_entry tid_entries[] = {
    COMMON_ENTRIES, TEXT("children", children_show), TEXT("stat", proc_show_tid_stat), {}};
const struct proc_entry proc_pid_entries[] = {
    COMMON_ENTRIES,
    OWNER_TEXT("mountstats", 0400, mountstats_show),
    TEXT("stat", proc_show_stat),
    TEXT("timens_offsets", timens_show),
    TEXT("timerslack_ns", timerslack_show),
    TEXT("coredump_filter", coredump_filter_show),
    {.name = "task", .mode = S_IFDIR | 0555, .lookup = task_dir_lookup, .readdir = task_dir_readdir},
    {},
};
const struct proc_entry proc_pid_dir = {
    .name = "pid", .mode = S_IFDIR | 0555, .children = proc_pid_entries};
const struct proc_entry proc_tid_dir = {
    .name = "tid", .mode = S_IFDIR | 0555, .children = tid_entries};
