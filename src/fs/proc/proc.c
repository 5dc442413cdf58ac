// SPDX-License-Identifier: Apache-2.0
// procfs: inodes made from rows on lookup, the root directory, the mount. Dentries are not kept
// once nobody uses them, and those of a task that has been reaped no longer validate.
#include "fs/proc/proc.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/pseudo.h"
#include <dirent.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

SLAB_DEFINE(proc_inode_slab, struct proc_inode);

struct pidns *proc_pidns(void)
{
    struct task *t = task_current();
    return t ? t->pidns : nullptr;
}

int proc_parse_number(const char *s)
{
    int64_t v = 0;
    if (*s == 0 || (s[0] == '0' && s[1]))
        return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || (v = v * 10 + (*s - '0')) > INT32_MAX)
            return -1;
    }
    return (int)v;
}

static const struct inode_ops proc_iops, proc_magic_iops;
static const struct file_ops proc_dir_fops, proc_file_fops;

int proc_inode_new(struct super *sb, const struct proc_entry *e, struct task *t, int nr,
                   struct inode **out)
{
    struct proc_inode *p = slab_alloc(&proc_inode_slab);
    if (!p)
        return -ENOMEM;
    const struct file_ops *fops = e->fops           ? e->fops
                                  : S_ISDIR(e->mode) ? &proc_dir_fops
                                                     : &proc_file_fops;
    inode_init(&p->inode, sb, e->get_link ? &proc_magic_iops : &proc_iops, fops, e->mode, nullptr);
    p->e = e;
    p->task = t ? task_get(t) : nullptr;
    p->nr = nr;
    uint64_t key[3] = {(uintptr_t)e, (uintptr_t)t, (uint64_t)nr};
    p->inode.ino = hash_bytes(key, sizeof(key)) >> 16 | 1;
    p->inode.nlink = S_ISDIR(e->mode) ? 2 : 1;
    if (t) { // files of a process belong to it
        struct cred *c = task_cred_get(t);
        p->inode.uid = c->euid;
        p->inode.gid = c->egid;
        cred_put(c);
    }
    *out = &p->inode;
    return 0;
}

static void proc_release(struct inode *i)
{
    struct proc_inode *p = proc_inode_of(i);
    if (p->task)
        task_put(p->task);
    slab_free(&proc_inode_slab, p);
}

static int proc_lookup(struct inode *dir, struct dentry *d)
{
    struct proc_inode *p = proc_inode_of(dir);
    struct inode *i = nullptr;
    for (const struct proc_entry *e = p->e->children; e && e->name; e++) {
        if (!strcmp(e->name, d->name)) {
            int err = proc_inode_new(dir->sb, e, p->task, p->nr, &i);
            if (err)
                return err;
            dentry_instantiate(d, i);
            return 0;
        }
    }
    // Not a negative dentry: also creating says ENOENT, as there is no way to make it.
    int err = p->e->lookup ? p->e->lookup(p, d->name, &i) : -ENOENT;
    if (!err)
        dentry_instantiate(d, i);
    return err;
}

static int proc_readlink(struct inode *i, struct strbuf *out)
{
    struct proc_inode *p = proc_inode_of(i);
    if (!p->e->readlink)
        return -EINVAL;
    if (p->e->owner_only && p->task) {
        int err = task_may_access(p->task);
        if (err)
            return -EACCES;
    }
    return p->e->readlink(out, p);
}

static int proc_get_link(struct dentry *d, struct path *out)
{
    struct proc_inode *p = proc_inode_of(d->inode);
    if (!p->e->get_link)
        return -EINVAL; // a plain symbolic link
    if (p->e->owner_only && p->task && task_may_access(p->task))
        return -EACCES;
    return p->e->get_link(out, p);
}

// The files of a process belong to its effective ids; those of one that must not be looked into (it
// ran a set-id program, prctl(PR_SET_DUMPABLE)) to root, the directories that all may list excepted.
static void proc_owner(struct proc_inode *p, uint32_t *uid, uint32_t *gid)
{
    struct mm *mm = p->inode.mode == (S_IFDIR | 0555) ? nullptr : task_mm_get(p->task);
    bool dumpable = !mm || READ_SHARED(mm->dumpable);
    struct cred *c = task_cred_get(p->task);
    *uid = dumpable ? c->euid : 0;
    *gid = dumpable ? c->egid : 0;
    cred_put(c);
    if (mm)
        mm_put(mm);
}

// What changes while the inode lives: owner (setuid), and the links of task/ (one per thread).
static int proc_getattr(struct inode *i, struct kstat *st)
{
    struct proc_inode *p = proc_inode_of(i);
    if (!p->task)
        return 0;
    proc_owner(p, &st->uid, &st->gid);
    if (S_ISDIR(i->mode) && !strcmp(p->e->name, "task"))
        st->nlink = 2 + (uint32_t)READ_SHARED(p->task->group->nthreads);
    return 0;
}

static int proc_setattr(struct inode *i, const struct iattr *a)
{
    return a->valid & (uint32_t)~(IATTR_SIZE | IATTR_MTIME | IATTR_CTIME) ? -EPERM : 0;
}

bool proc_task_exists(struct task *t)
{
    struct task *found = task_find(t->pidns, task_tid_in(t, t->pidns));
    if (found)
        task_put(found);
    return found == t;
}

static int proc_permission(struct inode *i, int mask, const struct cred *c)
{
    struct proc_inode *p = proc_inode_of(i);
    uint32_t mode = i->mode;
    if (S_ISDIR(mode) && p->task && !proc_task_exists(p->task))
        return -ESRCH;
    if (p->e->owner_only && S_ISDIR(mode) && p->task && task_may_access(p->task))
        return -EACCES;
    uint32_t uid = i->uid, gid = i->gid;
    if (p->task)
        proc_owner(p, &uid, &gid);
    uint32_t bits = c->fsuid == uid ? mode >> 6 : cred_in_group(c, gid) ? mode >> 3 : mode;
    if ((bits & (uint32_t)mask) == (uint32_t)mask)
        return 0;
    // One's own descriptors stay reachable after a change of ids has made the process undumpable:
    // what drops its privileges and then opens /dev/stdout relies on it.
    if (S_ISDIR(mode) && p->task && task_current() &&
        p->task->group == task_current()->group &&
        (!strcmp(p->e->name, "fd") || !strcmp(p->e->name, "fdinfo")))
        return 0;
    return cred_capable(c, 1 /* CAP_DAC_OVERRIDE */) ? 0 : -EACCES;
}

static const struct inode_ops proc_iops = {
    .lookup = proc_lookup,
    .readlink = proc_readlink,
    .getattr = proc_getattr,
    .setattr = proc_setattr,
    .permission = proc_permission,
    .release = proc_release,
};
// A link that is followed by what it names, not by its text.
static const struct inode_ops proc_magic_iops = {
    .lookup = proc_lookup,
    .readlink = proc_readlink,
    .get_link = proc_get_link,
    .getattr = proc_getattr,
    .setattr = proc_setattr,
    .permission = proc_permission,
    .release = proc_release,
};

static int proc_readdir(struct file *f, struct dir_context *dc)
{
    struct proc_inode *p = proc_file(f);
    int64_t at = 2;
    if (p->task && !proc_task_exists(p->task))
        return -ENOENT;
    if (!dir_emit_dots(f, dc))
        return 0;
    for (const struct proc_entry *e = p->e->children; e && e->name; e++, at++) {
        if (at < dc->pos)
            continue;
        uint64_t key[3] = {(uintptr_t)e, (uintptr_t)p->task, (uint64_t)p->nr};
        if (!dc->emit(dc, e->name, strlen(e->name), hash_bytes(key, sizeof(key)) >> 16 | 1,
                      (uint8_t)IFTODT(e->mode), at + 1))
            return 0;
        dc->pos = at + 1;
    }
    if (dc->pos < at)
        dc->pos = at;
    return p->e->readdir ? p->e->readdir(p, f, dc, at) : 0;
}

static int file_show(struct strbuf *out, void *arg)
{
    struct proc_inode *p = arg;
    if (p->task && !proc_task_exists(p->task))
        return -ESRCH;
    return p->e->show ? p->e->show(out, p) : -EINVAL;
}

static int proc_open(struct file *f)
{
    struct proc_inode *p = proc_file(f);
    if (p->e->owner_only && p->task && task_may_access(p->task))
        return -EACCES;
    return text_file_open(f, file_show, p); // f holds the inode
}

static long proc_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct proc_inode *p = proc_file(f);
    char buf[PAGE_SIZE];
    if (!p->e->store)
        return -EIO;
    long n = uio_copy_from(u, buf, MIN(u->resid, sizeof(buf) - 1));
    if (n < 0)
        return n;
    buf[n] = 0;
    int err = p->e->store(buf, (size_t)n, p);
    if (err)
        return err;
    *pos += n;
    return n;
}

static const struct file_ops proc_dir_fops = {.readdir = proc_readdir};
static const struct file_ops proc_file_fops = {
    .open = proc_open,
    .read = text_file_read,
    .write = proc_write,
    .llseek = text_file_llseek,
    .release = text_file_release,
};

// --- the root directory --------------------------------------------------------------------------
static int root_lookup(struct proc_inode *dir, const char *name, struct inode **out)
{
    int nr = proc_parse_number(name);
    struct pidns *ns = proc_pidns();
    if (nr <= 0 || !ns)
        return -ENOENT;
    // A thread's number works too, though it is not listed (proc(5)).
    struct task *t = task_find(ns, nr);
    if (!t)
        return -ENOENT;
    int err = proc_inode_new(dir->inode.sb, &proc_pid_dir, t, 0, out);
    task_put(t);
    return err;
}

static int root_readdir(struct proc_inode *dir, struct file *f, struct dir_context *dc,
                        int64_t base)
{
    struct pidns *ns = proc_pidns();
    int nr = (int)(dc->pos - base);
    struct thread_group *g;
    if (!ns)
        return 0;
    while ((g = group_next(ns, &nr)) != nullptr) {
        char name[16];
        snprintf(name, sizeof(name), "%d", nr);
        group_put(g);
        if (!dc->emit(dc, name, strlen(name), (uint64_t)nr | 1ull << 32, DT_DIR, base + nr + 1))
            return 0;
        dc->pos = base + nr + 1;
        nr++;
    }
    return 0;
}

static const struct proc_entry proc_root = {
    .name = "/",
    .mode = S_IFDIR | 0555,
    .children = proc_root_entries,
    .lookup = root_lookup,
    .readdir = root_readdir,
};

static int self_readlink(struct strbuf *out, struct proc_inode *p)
{
    struct task *t = task_current();
    if (!t)
        return -ENOENT;
    strbuf_fmt(out, "%d", task_tgid_in(t, t->pidns));
    return 0;
}

static int thread_self_readlink(struct strbuf *out, struct proc_inode *p)
{
    struct task *t = task_current();
    if (!t)
        return -ENOENT;
    strbuf_fmt(out, "%d/task/%d", task_tgid_in(t, t->pidns), task_tid_in(t, t->pidns));
    return 0;
}

static int mounts_readlink(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "self/mounts");
    return 0;
}

static int net_readlink(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "self/net");
    return 0;
}

const struct proc_entry proc_root_entries[] = {
    {.name = "cgroups", .mode = S_IFREG | 0444, .show = proc_show_cgroups},
    {.name = "cmdline", .mode = S_IFREG | 0444, .show = proc_show_cmdline},
    {.name = "cpuinfo", .mode = S_IFREG | 0444, .show = proc_show_cpuinfo},
    {.name = "devices", .mode = S_IFREG | 0444, .show = proc_show_devices},
    {.name = "diskstats", .mode = S_IFREG | 0444, .show = proc_show_empty},
    {.name = "filesystems", .mode = S_IFREG | 0444, .show = proc_show_filesystems},
    {.name = "interrupts", .mode = S_IFREG | 0444, .show = proc_show_interrupts},
    {.name = "loadavg", .mode = S_IFREG | 0444, .show = proc_show_loadavg},
    {.name = "locks", .mode = S_IFREG | 0444, .show = proc_show_locks},
    {.name = "meminfo", .mode = S_IFREG | 0444, .show = proc_show_meminfo},
    {.name = "modules", .mode = S_IFREG | 0444, .show = proc_show_empty},
    {.name = "mounts", .mode = S_IFLNK | 0777, .readlink = mounts_readlink},
    {.name = "net", .mode = S_IFLNK | 0777, .readlink = net_readlink},
    {.name = "partitions", .mode = S_IFREG | 0444, .show = proc_show_partitions},
    {.name = "self", .mode = S_IFLNK | 0777, .readlink = self_readlink},
    {.name = "softirqs", .mode = S_IFREG | 0444, .show = proc_show_interrupts},
    {.name = "stat", .mode = S_IFREG | 0444, .show = proc_show_global_stat},
    {.name = "swaps", .mode = S_IFREG | 0444, .show = proc_show_swaps},
    {.name = "sys", .mode = S_IFDIR | 0555, .children = proc_sys_entries},
    {.name = "thread-self", .mode = S_IFLNK | 0777, .readlink = thread_self_readlink},
    {.name = "uptime", .mode = S_IFREG | 0444, .show = proc_show_uptime},
    {.name = "version", .mode = S_IFREG | 0444, .show = proc_show_version},
    {.name = "vmstat", .mode = S_IFREG | 0444, .show = proc_show_vmstat},
    {},
};

// --- the file system --------------------------------------------------------------------------------
// A dentry of a task that has been reaped: the number may be somebody else's by now.
static int proc_d_revalidate(struct dentry *d)
{
    struct proc_inode *p = d->inode ? proc_inode_of(d->inode) : nullptr;
    if (!p)
        return 0;
    return !p->task || proc_task_exists(p->task);
}

static const struct super_ops proc_super_ops = {.d_revalidate = proc_d_revalidate};

static int proc_mount(const struct fs_type *t, const char *source, const char *options,
                      const struct cred *c, struct super **out)
{
    struct super *sb = super_new(t, &proc_super_ops);
    struct inode *root;
    if (!sb)
        return -ENOMEM;
    sb->magic = PROC_SUPER_MAGIC;
    sb->nocache = true;
    sb->nocache_negative = true;
    int err = proc_inode_new(sb, &proc_root, nullptr, 0, &root);
    if (!err) {
        root->ino = 1;
        sb->root = dentry_new_root(sb, root);
        err = sb->root ? 0 : -ENOMEM;
    }
    if (err) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}

const struct fs_type proc_type = {
    .name = "proc",
    .nodev = true,
    .user_mount = true,
    .mount = proc_mount,
};
