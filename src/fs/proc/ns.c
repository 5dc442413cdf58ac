// SPDX-License-Identifier: Apache-2.0
// /proc/PID/ns: magic links into nsfs. A namespace has one inode number; the file that a link leads
// to can be stat'ed (that is how programs compare namespaces), held open, and asked for its type.
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/proc/proc.h"
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>

// Initial namespaces have the fixed inode numbers of linux/proc_ns.h.
static const struct ns_row {
    const char *name; // of the link
    uint32_t ino, clone_flag;
} ns_rows[] = {
    {"cgroup", 0xEFFFFFFB, CLONE_NEWCGROUP},
    {"ipc", 0xEFFFFFFF, CLONE_NEWIPC},
    {"mnt", 0xF0000000, CLONE_NEWNS},
    {"net", 0xF0000001, CLONE_NEWNET},
    {"pid", 0xEFFFFFFC, CLONE_NEWPID},
    {"pid_for_children", 0xEFFFFFFC, CLONE_NEWPID},
    {"time", 0xEFFFFFFA, 0x80 /* CLONE_NEWTIME */},
    {"time_for_children", 0xEFFFFFFA, 0x80},
    {"user", 0xEFFFFFFD, CLONE_NEWUSER},
    {"uts", 0xEFFFFFFE, CLONE_NEWUTS},
};
struct ns_inode {
    struct inode inode;
    const struct ns_row *row;
};
SLAB_DEFINE(ns_inode_slab, struct ns_inode);

static const struct ns_row *ns_row_of(const struct proc_inode *p)
{
    for (size_t i = 0; i < ARRAY_LEN(ns_rows); i++)
        if (!strcmp(ns_rows[i].name, p->e->name))
            return &ns_rows[i];
    return nullptr;
}

static uint64_t ns_number(const struct ns_row *row, struct task *t)
{
    uint64_t ino = 0;
    if (row->clone_flag == CLONE_NEWPID) {
        ino = t->pidns->ino;
    } else if (row->clone_flag == CLONE_NEWUTS) {
        spin_lock(&t->task_lock);
        ino = t->uts ? t->uts->ino : 0;
        spin_unlock(&t->task_lock);
    } else if (row->clone_flag == CLONE_NEWIPC) {
        spin_lock(&t->task_lock);
        ino = t->ipc ? t->ipc->ino : 0;
        spin_unlock(&t->task_lock);
    } else if (row->clone_flag == CLONE_NEWNS) {
        struct fs_context *fs = task_fs_get(t);
        ino = fs ? fs->ns->ino : 0;
        if (fs)
            fs_context_put(fs);
    }
    return ino ? ino : row->ino;
}

static int ns_text(struct strbuf *out, struct proc_inode *p)
{
    const struct ns_row *row = ns_row_of(p);
    strbuf_fmt(out, "%.*s:[%lu]", (int)strcspn(row->name, "_"), row->name, ns_number(row, p->task));
    return 0;
}

static void ns_release(struct inode *i)
{
    slab_free(&ns_inode_slab, container_of(i, struct ns_inode, inode));
}

static long ns_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    if (cmd == NS_GET_NSTYPE)
        return container_of(f->inode, struct ns_inode, inode)->row->clone_flag;
    return cmd == NS_GET_USERNS || cmd == NS_GET_PARENT ? -EPERM : -ENOTTY;
}

static const struct inode_ops ns_iops = {.release = ns_release};
static const struct file_ops ns_fops = {.ioctl = ns_ioctl};
static const struct super_ops ns_super_ops = {};
static const struct fs_type nsfs_type = {.name = "nsfs", .nodev = true};

static struct super *nsfs_super(void)
{
    static struct super *the_super; // [A] made once, never goes
    struct super *sb = __atomic_load_n(&the_super, __ATOMIC_ACQUIRE), *none = nullptr;
    if (sb || !(sb = super_new(&nsfs_type, &ns_super_ops)))
        return sb;
    sb->magic = NSFS_MAGIC;
    if (__atomic_compare_exchange_n(&the_super, &none, sb, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return sb;
    super_put(sb);
    return none;
}

static int ns_get(struct path *out, struct proc_inode *p)
{
    struct super *sb = nsfs_super();
    struct ns_inode *n = sb ? slab_alloc(&ns_inode_slab) : nullptr;
    struct strbuf name = {};
    if (!n)
        return -ENOMEM;
    inode_init(&n->inode, sb, &ns_iops, &ns_fops, S_IFREG | 0444, nullptr);
    n->row = ns_row_of(p);
    n->inode.ino = ns_number(n->row, p->task);
    n->inode.nlink = 1;
    ns_text(&name, p);
    struct dentry *d = name.bad ? nullptr : dentry_new_anon(sb, &n->inode, name.p);
    strbuf_free(&name);
    if (!d) {
        inode_put(&n->inode);
        return -ENOMEM;
    }
    *out = (struct path){.dentry = d};
    return 0;
}

#define NS(n) \
    {.name = n, .mode = S_IFLNK | 0777, .readlink = ns_text, .get_link = ns_get, .owner_only = true}
const struct proc_entry proc_ns_entries[] = {
    NS("cgroup"), NS("ipc"), NS("mnt"), NS("net"), NS("pid"), NS("pid_for_children"), NS("time"),
    NS("time_for_children"), NS("user"), NS("uts"), {}};
