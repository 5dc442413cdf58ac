// SPDX-License-Identifier: Apache-2.0
// POSIX message queues. There is one superblock per IPC namespace: mq_open(2) works on it whether it is
// mounted or not, and every mount of type mqueue that is made there shows it.
//
// A queue is an inode. Its messages are a list ordered by priority, oldest first within one; the
// inode's own spinlock guards them. Names live in the directory's list under the directory's lock.
#include "fs/mqueue.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "kern/sysctl.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#ifndef MQUEUE_MAGIC
#define MQUEUE_MAGIC 0x19800202
#endif
constexpr long HARD_MSGMAX = 65536, HARD_MSGSIZEMAX = 16 << 20;
constexpr size_t FILENT_SIZE = 80; // what read(2) shows

struct mq_msg {
    struct list link;
    unsigned prio;
    uint32_t n;
    uint8_t data[];
};
struct mq_inode {
    struct inode inode;
    struct list dlink;          // [dir lock] in the directory; self when unlinked
    char *name;                 // owned [C]
    struct spinlock lock;
    struct list msgs;           // [lock]
    long maxmsg, msgsize;       // [C]
    long nmsgs;                 // [lock]
    uint64_t bytes;             // [lock]
    struct waitq senders, receivers; // exclusive sleepers
    struct waitq poll;
    int nreceivers;             // [lock] sleeping
    struct thread_group *owner; // [lock] ref: who asked to be told
    struct sigevent sev;        // [lock]
    uint32_t uid;               // [C] charged
    uint64_t charge;            // [C]
};
SLAB_DEFINE(mq_slab, struct mq_inode);
extern const struct fs_type mqueue_type;
static const struct inode_ops mq_iops, root_iops;
static const struct file_ops mq_fops, root_fops;

static struct mutex setup_lock;
static uint32_t nqueues;         // [A]
static uint64_t user_bytes[256]; // [A] ids that share a bucket share a limit
struct root_inode {
    struct mq_inode base;        // of which only the inode is used
    struct list names;           // [inode lock] mq_inode.dlink
};
SLAB_DEFINE(root_slab, struct root_inode);

static struct mq_inode *mq_of(struct inode *i)
{
    return container_of(i, struct mq_inode, inode);
}
static struct root_inode *root_of(struct inode *i)
{
    return container_of(i, struct root_inode, base.inode);
}
bool mqueue_is(const struct file *f)
{
    return f->ops == &mq_fops;
}

// --- making queues -----------------------------------------------------------------------------
static int check_attr(const struct mq_attr *a, const struct cred *c)
{
    bool may = cred_capable(c, CAP_SYS_RESOURCE);
    long max = may ? HARD_MSGMAX : (long)READ_SHARED(sysctls.mq_msg_max);
    long size = may ? HARD_MSGSIZEMAX : (long)READ_SHARED(sysctls.mq_msgsize_max);
    return a->mq_maxmsg <= 0 || a->mq_msgsize <= 0 || a->mq_maxmsg > max || a->mq_msgsize > size ? -EINVAL : 0;
}

static uint64_t *bytes_of(uint32_t uid)
{
    return &user_bytes[(uid * 2654435761u) >> 24];
}

static int charge(struct mq_inode *q, const struct mq_attr *a, const struct cred *c, uint64_t limit)
{
    uint64_t per = (uint64_t)a->mq_msgsize + 64, n;
    if (__builtin_mul_overflow(per, (uint64_t)a->mq_maxmsg, &n))
        return -EOVERFLOW;
    uint64_t now = __atomic_add_fetch(bytes_of(c->uid), n, __ATOMIC_RELAXED);
    if (now > limit) {
        __atomic_fetch_sub(bytes_of(c->uid), n, __ATOMIC_RELAXED);
        return -EMFILE;
    }
    q->uid = c->uid;
    q->charge = n;
    return 0;
}

static int make_queue(struct inode *dir, struct dentry *d, uint32_t mode, const struct mq_attr *attr,
                      const struct cred *c)
{
    struct mq_attr a = {.mq_maxmsg = MIN(10, (long)sysctls.mq_msg_max),
                        .mq_msgsize = MIN(8192, (long)sysctls.mq_msgsize_max)};
    if (attr)
        a = *attr;
    int err = check_attr(&a, c);
    if (err)
        return err;
    struct task *t = task_current();
    if (__atomic_add_fetch(&nqueues, 1, __ATOMIC_RELAXED) > sysctls.mq_queues_max &&
        !cred_capable(c, CAP_SYS_RESOURCE)) {
        __atomic_fetch_sub(&nqueues, 1, __ATOMIC_RELAXED);
        return -ENOSPC;
    }
    struct mq_inode *q = slab_alloc(&mq_slab);
    char *name = q ? mem_strdup(d->name) : nullptr;
    err = !name ? -ENOMEM : charge(q, &a, c, t ? task_rlimit(t, RLIMIT_MSGQUEUE) : UINT64_MAX);
    if (err) {
        __atomic_fetch_sub(&nqueues, 1, __ATOMIC_RELAXED);
        mem_free(name);
        if (q)
            slab_free(&mq_slab, q);
        return err;
    }
    inode_init(&q->inode, dir->sb, &mq_iops, &mq_fops, S_IFREG | (mode & 0777), c);
    q->inode.nlink = 1;
    q->inode.size = FILENT_SIZE;
    q->name = name;
    q->maxmsg = a.mq_maxmsg;
    q->msgsize = a.mq_msgsize;
    list_init(&q->msgs);
    waitq_init(&q->senders);
    waitq_init(&q->receivers);
    waitq_init(&q->poll);
    list_push_back(&root_of(dir)->names, &q->dlink);
    dentry_instantiate(d, inode_get(&q->inode)); // one reference for the name, one for the dentry
    return 0;
}

static int root_create(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *c)
{
    return make_queue(dir, d, mode, nullptr, c);
}

static int root_lookup(struct inode *dir, struct dentry *d)
{
    list_for_each(l, &root_of(dir)->names) {
        struct mq_inode *q = list_entry(l, struct mq_inode, dlink);
        if (!strcmp(q->name, d->name)) {
            dentry_instantiate(d, inode_get(&q->inode));
            break;
        }
    }
    return 0;
}

static int root_unlink(struct inode *dir, struct dentry *d)
{
    struct mq_inode *q = mq_of(d->inode);
    list_del(&q->dlink);
    mutex_lock(&q->inode.lock);
    q->inode.nlink = 0;
    mutex_unlock(&q->inode.lock);
    __atomic_fetch_sub(&nqueues, 1, __ATOMIC_RELAXED);
    inode_put(&q->inode); // the name's
    return 0;
}

static int root_readdir(struct file *f, struct dir_context *dc)
{
    int64_t at = 2;
    if (!dir_emit_dots(f, dc))
        return 0;
    mutex_lock(&f->inode->lock);
    list_for_each(l, &root_of(f->inode)->names) {
        struct mq_inode *q = list_entry(l, struct mq_inode, dlink);
        if (at++ < dc->pos)
            continue;
        if (!dc->emit(dc, q->name, strlen(q->name), q->inode.ino, DT_REG, at))
            break;
        dc->pos = at;
    }
    mutex_unlock(&f->inode->lock);
    return 0;
}

static void mq_release(struct inode *i)
{
    struct mq_inode *q = mq_of(i);
    while (!list_empty(&q->msgs)) {
        struct mq_msg *m = list_first(&q->msgs, struct mq_msg, link);
        list_del(&m->link);
        mem_free(m);
    }
    __atomic_fetch_sub(bytes_of(q->uid), q->charge, __ATOMIC_RELAXED);
    if (q->owner)
        group_put(q->owner);
    mem_free(q->name);
    slab_free(&mq_slab, q);
}

static void root_release(struct inode *i)
{
    slab_free(&root_slab, root_of(i));
}

static const struct inode_ops mq_iops = {.release = mq_release};
static const struct inode_ops root_iops = {
    .lookup = root_lookup,
    .create = root_create,
    .unlink = root_unlink,
    .release = root_release,
};
static const struct file_ops root_fops = {.readdir = root_readdir};

// --- the superblock ----------------------------------------------------------------------------
static int mq_statfs(struct super *sb, void *out)
{
    *(struct statfs *)out = (struct statfs){.f_type = MQUEUE_MAGIC, .f_bsize = 4096, .f_frsize = 4096,
                                            .f_namelen = 255};
    return 0;
}
static const struct super_ops mq_sops = {.statfs = mq_statfs};

static int build_super(struct ipcns *ns)
{
    struct super *sb = super_new(&mqueue_type, &mq_sops);
    struct root_inode *r = sb ? slab_alloc(&root_slab) : nullptr;
    struct cred *c = r ? cred_new() : nullptr;
    if (!c) {
        if (r)
            slab_free(&root_slab, r);
        if (sb)
            super_put(sb);
        return -ENOMEM;
    }
    inode_init(&r->base.inode, sb, &root_iops, &root_fops, S_IFDIR | S_ISVTX | 0777, c);
    cred_put(c);
    r->base.inode.nlink = 2;
    list_init(&r->names);
    sb->magic = MQUEUE_MAGIC;
    sb->nocache_negative = true;
    sb->root = dentry_new_root(sb, &r->base.inode);
    if (sb->root)
        ns->mqueue_mount = mount_new(sb, sb->root, 0); // for the paths of queues opened by mq_open
    if (!ns->mqueue_mount) {
        super_put(sb);
        return -ENOMEM;
    }
    ns->mqueue = sb;
    return 0;
}

int mqueue_super(struct ipcns *ns, struct super **out)
{
    mutex_lock(&setup_lock);
    int err = ns->mqueue ? 0 : build_super(ns);
    if (!err)
        *out = super_get(ns->mqueue);
    mutex_unlock(&setup_lock);
    return err;
}
static void ns_release(struct ipcns *ns)
{
    if (ns->mqueue_mount)
        mount_put(ns->mqueue_mount);
    if (ns->mqueue)
        super_put(ns->mqueue);
}

static int mqueue_mount(const struct fs_type *t, const char *source, const char *options,
                        const struct cred *c, struct super **out)
{
    struct task *now = task_current();
    return now && now->ipc ? mqueue_super(now->ipc, out) : -EINVAL;
}
const struct fs_type mqueue_type = {
    .name = "mqueue",
    .nodev = true,
    .user_mount = true,
    .mount = mqueue_mount,
};

__attribute__((constructor)) static void mqueue_setup(void)
{
    mutex_init(&setup_lock, RANK_CGROUP);
    ipcns_on_release(ns_release);
}

// --- messages ----------------------------------------------------------------------------------
static void insert(struct mq_inode *q, struct mq_msg *m) // [lock]
{
    struct list *at = q->msgs.prev;
    while (at != &q->msgs && list_entry(at, struct mq_msg, link)->prio < m->prio)
        at = at->prev;
    list_insert_between(&m->link, at, at->next);
    ADD_SHARED(q->nmsgs, 1);
    q->bytes += m->n;
}

// Tells who asked for it that the empty queue has a message. [lock]; the group is the caller's.
static struct thread_group *take_notify(struct mq_inode *q, siginfo_t *si)
{
    struct thread_group *g = q->owner;
    if (!g || q->nmsgs != 1 || q->nreceivers)
        return nullptr;
    q->owner = nullptr;
    *si = (siginfo_t){.si_signo = q->sev.sigev_notify == SIGEV_SIGNAL ? q->sev.sigev_signo : 0,
                      .si_code = SI_MESGQ};
    si->si_value = q->sev.sigev_value;
    return g;
}

// Sleeps on wq until `deadline` of the realtime clock. -EAGAIN, -ETIMEDOUT, -ERESTARTSYS.
static int mq_sleep(struct file *f, struct waitq *wq, int *count, struct spinlock *lock, int64_t until)
{
    if (READ_SHARED(f->flags) & O_NONBLOCK)
        return -EAGAIN;
    ktime_t deadline = KTIME_MAX;
    if (until != INT64_MAX) {
        int64_t left = until - ktime_realtime();
        if (left <= 0)
            return -ETIMEDOUT;
        deadline = ktime_now() + left;
    }
    struct waiter w;
    waiter_init(&w);
    w.exclusive = true;
    waitq_add(wq, &w);
    if (count)
        (*count)++;
    spin_unlock(lock);
    int err = fiber_park(deadline, PARK_INTERRUPTIBLE);
    waitq_remove(&w);
    spin_lock(lock);
    if (count)
        (*count)--;
    return err == -EINTR ? -ERESTARTSYS : 0; // the deadline is looked at again by the caller's loop
}

int mqueue_send(struct file *f, const void *buf, size_t n, unsigned prio, int64_t until)
{
    struct mq_inode *q = mq_of(f->inode);
    siginfo_t si;
    if (n > (size_t)q->msgsize)
        return -EMSGSIZE;
    struct mq_msg *m = mem_alloc(sizeof(*m) + n);
    if (!m)
        return -ENOMEM;
    m->prio = prio;
    m->n = (uint32_t)n;
    if (n)
        memcpy(m->data, buf, n);
    int err = 0;
    spin_lock(&q->lock);
    while (!err && q->nmsgs >= q->maxmsg)
        err = mq_sleep(f, &q->senders, nullptr, &q->lock, until);
    struct thread_group *g = nullptr;
    if (!err) {
        insert(q, m);
        g = take_notify(q, &si);
    }
    spin_unlock(&q->lock);
    if (err) {
        mem_free(m);
        return err;
    }
    waitq_wake(&q->receivers, ~0u);
    waitq_wake(&q->poll, POLLIN | POLLRDNORM);
    if (g) {
        struct task *t = task_current();
        si.si_pid = task_tgid_in(t, t->pidns);
        si.si_uid = t->cred->uid;
        if (si.si_signo)
            signal_send_group(g, &si);
        group_put(g);
    }
    return 0;
}

long mqueue_receive(struct file *f, void *buf, size_t n, unsigned *prio, int64_t until)
{
    struct mq_inode *q = mq_of(f->inode);
    if (n < (size_t)q->msgsize)
        return -EMSGSIZE;
    int err = 0;
    spin_lock(&q->lock);
    while (!err && list_empty(&q->msgs))
        err = mq_sleep(f, &q->receivers, &q->nreceivers, &q->lock, until);
    struct mq_msg *m = err ? nullptr : list_first(&q->msgs, struct mq_msg, link);
    if (m) {
        list_del(&m->link);
        ADD_SHARED(q->nmsgs, -1);
        q->bytes -= m->n;
    }
    bool more = q->nmsgs > 0;
    spin_unlock(&q->lock);
    if (more)
        waitq_wake(&q->receivers, ~0u); // a wake-up that we did not need, or did not use
    if (!m)
        return err;
    waitq_wake(&q->senders, ~0u);
    waitq_wake(&q->poll, POLLOUT | POLLWRNORM);
    long ret = (long)m->n;
    if (m->n)
        memcpy(buf, m->data, m->n);
    *prio = m->prio;
    mem_free(m);
    return ret;
}

void mqueue_attr(struct file *f, struct mq_attr *a)
{
    struct mq_inode *q = mq_of(f->inode);
    spin_lock(&q->lock);
    *a = (struct mq_attr){.mq_flags = READ_SHARED(f->flags) & O_NONBLOCK,
                          .mq_maxmsg = q->maxmsg,
                          .mq_msgsize = q->msgsize,
                          .mq_curmsgs = q->nmsgs};
    spin_unlock(&q->lock);
}

size_t mqueue_msgsize(struct file *f)
{
    return (size_t)mq_of(f->inode)->msgsize;
}

int mqueue_notify(struct file *f, struct task *t, const struct sigevent *sev)
{
    struct mq_inode *q = mq_of(f->inode);
    struct thread_group *old = nullptr;
    int err = 0;
    spin_lock(&q->lock);
    if (!sev) {
        if (q->owner == t->group) {
            old = q->owner;
            q->owner = nullptr;
        }
    } else if (q->owner) {
        err = -EBUSY;
    } else {
        q->owner = group_get(t->group);
        q->sev = *sev;
    }
    spin_unlock(&q->lock);
    if (old)
        group_put(old);
    return err;
}

// --- the files ---------------------------------------------------------------------------------
static long mq_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct mq_inode *q = mq_of(f->inode);
    char text[FILENT_SIZE];
    spin_lock(&q->lock);
    bool owned = q->owner != nullptr;
    struct thread_group *g = owned ? group_get(q->owner) : nullptr;
    int n = snprintf(text, sizeof(text), "QSIZE:%-10lu NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:", q->bytes,
                     owned ? q->sev.sigev_notify : 0,
                     owned && q->sev.sigev_notify == SIGEV_SIGNAL ? q->sev.sigev_signo : 0);
    spin_unlock(&q->lock);
    struct task *t = task_current();
    n += snprintf(text + n, sizeof(text) - (size_t)n, "%-6d\n", g && t ? group_tgid_in(g, t->pidns) : 0);
    if (g)
        group_put(g);
    if (*pos >= n)
        return 0;
    long got = uio_copy_to(u, text + *pos, MIN(u->resid, (size_t)(n - *pos)));
    if (got > 0)
        *pos += got;
    return got;
}

static uint32_t mq_poll(struct file *f, struct poll_table *pt)
{
    struct mq_inode *q = mq_of(f->inode);
    poll_wait(pt, &q->poll);
    long n = READ_SHARED(q->nmsgs);
    return (n ? POLLIN | POLLRDNORM : 0) | (n < q->maxmsg ? POLLOUT | POLLWRNORM : 0);
}

// Closing any descriptor of the queue ends the process's wish to be told.
static int mq_flush(struct file *f, void *owner)
{
    struct task *t = task_current();
    return t ? mqueue_notify(f, t, nullptr) : 0;
}

static const struct file_ops mq_fops = {
    .read = mq_read,
    .poll = mq_poll,
    .flush = mq_flush,
};

// --- opening by name ---------------------------------------------------------------------------
static int check_name(const char *name)
{
    size_t n = strlen(name);
    if (!n)
        return -ENOENT;
    if (n > 255)
        return -ENAMETOOLONG;
    return strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..") ? -EACCES : 0;
}

static int create_named(struct super *sb, const char *name, uint32_t mode, const struct mq_attr *attr,
                        const struct cred *c, bool *created)
{
    struct inode *dir = sb->root->inode;
    struct dentry *d;
    mutex_lock(&dir->lock);
    int err = dentry_lookup_locked(sb->root, name, strlen(name), &d);
    if (!err) {
        if (!d->inode) {
            err = make_queue(dir, d, mode, attr, c);
            *created = !err;
        }
        dentry_put(d);
    }
    mutex_unlock(&dir->lock);
    return err;
}

int mqueue_open(struct task *t, const char *name, int flags, uint32_t mode, const struct mq_attr *attr,
                struct file **out)
{
    struct super *sb;
    struct dentry *d;
    bool created = false;
    int err = check_name(name);
    if (!err)
        err = mqueue_super(t->ipc, &sb);
    if (err)
        return err;
    if (flags & O_CREAT) {
        if (attr)
            err = check_attr(attr, t->cred);
        if (!err)
            err = create_named(sb, name, mode & ~fs_umask(t->fs), attr, t->cred, &created);
    }
    if (!err)
        err = vfs_lookup_child(sb->root, name, strlen(name), &d);
    super_put(sb);
    if (err)
        return err;
    static const int want[] = {4, 2, 6, 6};
    struct path p = {.mnt = t->ipc->mqueue_mount, .dentry = d};
    if (!d->inode)
        err = -ENOENT;
    else if (!created && (flags & O_CREAT) && (flags & O_EXCL))
        err = -EEXIST;
    else if ((flags & O_ACCMODE) == O_ACCMODE)
        err = -EINVAL;
    else if (!created)
        err = inode_permission(d->inode, want[flags & O_ACCMODE], t->cred);
    if (!err)
        err = file_new(&mq_fops, d->inode, &p, flags & (O_ACCMODE | O_NONBLOCK), t->cred, out);
    dentry_put(d);
    return err;
}

int mqueue_unlink(struct task *t, const char *name)
{
    struct super *sb;
    struct dentry *d;
    int err = check_name(name);
    if (!err)
        err = mqueue_super(t->ipc, &sb);
    if (err)
        return err;
    struct inode *dir = sb->root->inode;
    mutex_lock(&dir->lock);
    err = dentry_lookup_locked(sb->root, name, strlen(name), &d);
    if (!err) {
        struct inode *i = d->inode;
        if (!i)
            err = -ENOENT;
        else if (t->cred->fsuid != i->uid && t->cred->fsuid != dir->uid && !cred_capable(t->cred, CAP_FOWNER))
            err = -EPERM; // the directory is sticky
        if (!err) {
            err = root_unlink(dir, d);
            dentry_unhash(d);
        }
        dentry_put(d);
    }
    mutex_unlock(&dir->lock);
    super_put(sb);
    return err;
}
