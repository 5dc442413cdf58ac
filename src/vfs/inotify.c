// SPDX-License-Identifier: Apache-2.0
// inotify(7): events of this kernel's own operations. (What happens to a bind mount from outside
// the sandbox is not seen.)
//
// A watch holds its inode, and keeps its dentry cached without a reference, because the end of the
// dentry is how the removal of the file is noticed. One mutex (marks_lock)
// guards all lists of watches: of an inode, and of an instance. The queue of an instance has its
// own spinlock. Adding events never sleeps for long and needs no lock of the caller's.
#include "vfs/inotify.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "mem/uaccess.h"
#include "base/list.h"
#include "vfs/special.h"
#include "vfs/window.h"
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

constexpr uint32_t MASK_EVENTS = IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED;

struct notify_event {
    struct list link;
    int wd;
    uint32_t mask, cookie, len; // len: of name with its NULs, padded
    char name[];
};
struct instance {
    struct spinlock lock;
    struct list queue;       // [lock]
    uint32_t nqueued;        // [lock]
    uint64_t bytes;          // [lock] what FIONREAD says
    bool overflowed;         // [lock] the overflow event is queued
    struct waitq wq;
    struct list watches;     // [marks_lock] watch.ilink
    struct htab by_wd;       // [marks_lock]
    int next_wd;             // [marks_lock]
    uint32_t uid;            // [C] charged
};
struct watch {
    struct list ilink;       // [marks_lock] in instance
    struct list nlink;       // [marks_lock] in inode
    struct hnode hnode;      // [marks_lock] by wd
    struct instance *ins;    // [C] weak: the instance removes its watches first
    struct inode *inode;     // [C] ref
    struct dentry *dentry;   // [marks_lock] weak: cleared when it goes (with its file's last link)
    int wd;                  // [C]
    uint32_t mask;           // [marks_lock]
};
struct inotify_marks {       // inode->marks
    struct list watches;     // [marks_lock] watch.nlink
};
SLAB_DEFINE(instance_slab, struct instance);
SLAB_DEFINE(watch_slab, struct watch);
SLAB_DEFINE(marks_slab, struct inotify_marks);

uint32_t inotify_max_queued_events = 16384, inotify_max_user_instances = 128;
uint32_t inotify_max_user_watches = 65536;
static struct mutex marks_lock;
static uint32_t nwatches;              // [A] anywhere: 0 makes fsnotify() cheap
static uint32_t user_watches[256], user_instances[256]; // [A] ids that share a bucket share a limit
static const struct file_ops inotify_fops;

__attribute__((constructor)) static void inotify_setup(void)
{
    mutex_init(&marks_lock, RANK_LEAF);
}

static uint32_t bucket(uint32_t uid)
{
    return (uid * 2654435761u) >> 24;
}

// --- the queue ---------------------------------------------------------------------------------
static bool same_event(const struct notify_event *e, int wd, uint32_t mask, uint32_t cookie,
                       const char *name)
{
    return e->wd == wd && e->mask == mask && e->cookie == cookie && !strcmp(e->len ? e->name : "", name);
}

static struct notify_event *event_new(int wd, uint32_t mask, uint32_t cookie, const char *name)
{
    size_t n = name[0] ? strlen(name) + 1 : 0;
    size_t padded = (n + sizeof(struct inotify_event) - 1) / sizeof(struct inotify_event) *
                    sizeof(struct inotify_event);
    struct notify_event *e = mem_alloc(sizeof(*e) + padded);
    if (!e)
        return nullptr;
    *e = (struct notify_event){.wd = wd, .mask = mask, .cookie = cookie, .len = (uint32_t)padded};
    if (n)
        memcpy(e->name, name, n);
    return e;
}

static void queue_event(struct instance *ins, int wd, uint32_t mask, uint32_t cookie, const char *name)
{
    struct notify_event *e = event_new(wd, mask, cookie, name ? name : "");
    spin_lock(&ins->lock);
    struct notify_event *last = list_last(&ins->queue, struct notify_event, link);
    bool drop = !e || (last && same_event(last, wd, mask, cookie, name ? name : ""));
    if (!drop && ins->nqueued >= inotify_max_queued_events) {
        drop = ins->overflowed;
        ins->overflowed = true;
        e->wd = -1;
        e->mask = IN_Q_OVERFLOW;
        e->cookie = e->len = 0;
    }
    if (!drop) {
        list_push_back(&ins->queue, &e->link);
        ADD_SHARED(ins->nqueued, 1);
        ADD_SHARED(ins->bytes, sizeof(struct inotify_event) + e->len);
    }
    spin_unlock(&ins->lock);
    if (drop)
        mem_free(e);
    else
        waitq_wake(&ins->wq, POLLIN | POLLRDNORM);
}

// --- watches -----------------------------------------------------------------------------------
static void watch_unlink(struct watch *w) // [marks_lock]
{
    struct inode *i = w->inode;
    if (w->dentry && !dentry_unwatch(w->dentry))
        w->dentry = nullptr; // else a reference now: watch_free puts it
    list_del(&w->nlink);
    list_del(&w->ilink);
    htab_remove(&w->ins->by_wd, &w->hnode);
    if (list_empty(&i->marks->watches)) {
        slab_free(&marks_slab, i->marks);
        WRITE_SHARED(i->marks, nullptr);
    }
    __atomic_fetch_sub(&nwatches, 1, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&user_watches[bucket(w->ins->uid)], 1, __ATOMIC_RELAXED);
}

// Drops what an unlinked watch holds; no lock held (may free the inode).
static void watch_free(struct watch *w)
{
    if (w->dentry)
        dentry_put(w->dentry);
    inode_put(w->inode);
    slab_free(&watch_slab, w);
}

static void watches_free(struct list *l)
{
    while (!list_empty(l)) {
        struct watch *w = list_first(l, struct watch, ilink);
        list_del(&w->ilink);
        watch_free(w);
    }
}

static struct watch *find_wd(struct instance *ins, int wd) // [marks_lock]
{
    for (struct hnode *n = htab_chain(&ins->by_wd, hash_u64((uint64_t)wd)); n; n = htab_chain_next(n)) {
        struct watch *w = container_of(n, struct watch, hnode);
        if (w->wd == wd)
            return w;
    }
    return nullptr;
}

static struct watch *find_inode(struct instance *ins, struct inode *i) // [marks_lock]
{
    if (!i->marks)
        return nullptr;
    list_for_each(l, &i->marks->watches) {
        struct watch *w = list_entry(l, struct watch, nlink);
        if (w->ins == ins)
            return w;
    }
    return nullptr;
}

static int watch_insert(struct instance *ins, struct watch *w) // [marks_lock]
{
    struct inode *i = w->inode;
    struct inotify_marks *m = i->marks;
    uint32_t *acc = &user_watches[bucket(ins->uid)];
    if (__atomic_load_n(acc, __ATOMIC_RELAXED) >= inotify_max_user_watches)
        return -ENOSPC;
    w->wd = ins->next_wd + 1;
    int err = htab_insert(&ins->by_wd, &w->hnode, hash_u64((uint64_t)w->wd));
    if (err)
        return err;
    if (!m) {
        m = slab_alloc(&marks_slab);
        if (!m) {
            htab_remove(&ins->by_wd, &w->hnode);
            return -ENOMEM;
        }
        list_init(&m->watches);
        WRITE_SHARED(i->marks, m);
    }
    ins->next_wd++;
    list_push_back(&m->watches, &w->nlink);
    list_push_back(&ins->watches, &w->ilink);
    __atomic_fetch_add(acc, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&nwatches, 1, __ATOMIC_SEQ_CST);
    window_flush(); // from now on reads are told
    return 0;
}

int inotify_add(struct file *f, const struct path *p, uint32_t mask)
{
    if (f->ops != &inotify_fops)
        return -EINVAL;
    struct instance *ins = f->data;
    struct inode *i = p->dentry->inode;
    uint32_t keep = mask & (MASK_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK);
    struct watch *n = slab_alloc(&watch_slab);
    if (!n)
        return -ENOMEM;
    n->ins = ins;
    n->inode = inode_get(i);
    n->mask = keep | IN_IGNORED | IN_UNMOUNT;
    int ret;
    mutex_lock(&marks_lock);
    struct watch *w = find_inode(ins, i);
    if (w && (mask & IN_MASK_CREATE)) {
        ret = -EEXIST;
    } else if (w) {
        w->mask = (mask & IN_MASK_ADD ? w->mask | keep : keep) | IN_IGNORED | IN_UNMOUNT;
        ret = w->wd;
    } else {
        ret = watch_insert(ins, n);
        if (!ret) {
            n->dentry = p->dentry;
            dentry_watch(n->dentry);
            ret = n->wd;
            n = nullptr;
        }
    }
    mutex_unlock(&marks_lock);
    if (n)
        watch_free(n);
    return ret;
}

int inotify_remove(struct file *f, int wd)
{
    if (f->ops != &inotify_fops)
        return -EINVAL;
    struct instance *ins = f->data;
    mutex_lock(&marks_lock);
    struct watch *w = find_wd(ins, wd);
    if (w) {
        watch_unlink(w);
        queue_event(ins, wd, IN_IGNORED, 0, nullptr);
    }
    mutex_unlock(&marks_lock);
    if (!w)
        return -EINVAL;
    watch_free(w);
    return 0;
}

// --- events ------------------------------------------------------------------------------------
uint32_t fsnotify_cookie(void)
{
    static uint32_t cookie;
    return __atomic_add_fetch(&cookie, 1, __ATOMIC_RELAXED);
}

// Tells the watches on i; those that end with this event go to `ended`.
static void tell(struct inode *i, uint32_t mask, const char *name, uint32_t cookie, bool child_unlinked,
                 struct list *ended) // [marks_lock]
{
    if (!i->marks)
        return;
    uint32_t ev = mask & MASK_EVENTS;
    list_for_each_safe(l, &i->marks->watches) {
        struct watch *w = list_entry(l, struct watch, nlink);
        bool last = !i->marks || l_n == &i->marks->watches;
        if (!(w->mask & ev) || ((w->mask & IN_EXCL_UNLINK) && child_unlinked)) {
            if (last)
                break;
            continue;
        }
        queue_event(w->ins, w->wd, mask & (MASK_EVENTS | IN_ISDIR), cookie, name);
        if ((w->mask & IN_ONESHOT) && !(ev & IN_IGNORED)) {
            watch_unlink(w);
            queue_event(w->ins, w->wd, IN_IGNORED, 0, nullptr);
            list_push_back(ended, &w->ilink);
        }
        if (last)
            break; // the list head may be gone with the last watch
    }
}

bool fsnotify_active(void)
{
    return __atomic_load_n(&nwatches, __ATOMIC_SEQ_CST) != 0;
}

void fsnotify(struct inode *i, struct dentry *d, uint32_t mask, const char *name, uint32_t cookie)
{
    // Changes of data and attributes say so themselves (window.h); links and names only here.
    if ((mask & (IN_ATTRIB | IN_MOVE_SELF)) && S_ISREG(i->mode))
        inode_changed(i);
    if (!__atomic_load_n(&nwatches, __ATOMIC_RELAXED))
        return;
    char own[256];
    struct dentry *up = nullptr;
    if (d)
        dentry_position(d, own, &up);
    struct inode *pi = up && up != d ? READ_SHARED(up->inode) : nullptr;
    if (!READ_SHARED(i->marks) && !(pi && READ_SHARED(pi->marks))) {
        if (up)
            dentry_put(up);
        return;
    }
    struct list ended;
    list_init(&ended);
    mutex_lock(&marks_lock);
    if (pi && pi != i)
        tell(pi, mask, own, cookie, READ_SHARED(d->unhashed), &ended);
    tell(i, mask, name, cookie, false, &ended);
    mutex_unlock(&marks_lock);
    watches_free(&ended);
    if (up)
        dentry_put(up);
}

void fsnotify_entry(struct inode *dir, struct dentry *d, uint32_t mask)
{
    char name[256];
    struct dentry *up;
    if (!__atomic_load_n(&nwatches, __ATOMIC_RELAXED))
        return;
    dentry_position(d, name, &up);
    dentry_put(up);
    fsnotify(dir, nullptr, mask, name, 0);
}

void inotify_dentry_gone(struct dentry *d)
{
    mutex_lock(&marks_lock);
    if (d->inode->marks) {
        list_for_each(l, &d->inode->marks->watches) {
            struct watch *w = list_entry(l, struct watch, nlink);
            if (w->dentry == d)
                w->dentry = nullptr;
        }
    }
    mutex_unlock(&marks_lock);
}

// Every watch on i ends with this event.
static void end_watches(struct inode *i, uint32_t mask, struct list *ended) // [marks_lock]
{
    while (i->marks) {
        struct watch *w = list_first(&i->marks->watches, struct watch, nlink);
        if (w->mask & mask)
            queue_event(w->ins, w->wd, mask, 0, nullptr);
        watch_unlink(w); // frees i->marks with the last one
        queue_event(w->ins, w->wd, IN_IGNORED, 0, nullptr);
        list_push_back(ended, &w->ilink);
    }
}

void fsnotify_inode_removed(struct inode *i)
{
    struct list ended;
    if (!READ_SHARED(i->marks))
        return;
    list_init(&ended);
    mutex_lock(&marks_lock);
    end_watches(i, IN_DELETE_SELF, &ended);
    mutex_unlock(&marks_lock);
    watches_free(&ended);
}

// All instances that exist, for unmounts.
static struct list instances = LIST_INIT(instances); // [marks_lock] instance_link.link
struct instance_link {
    struct list link;
    struct instance *ins;
};
SLAB_DEFINE(ilink_slab, struct instance_link);

void fsnotify_unmount(struct super *sb)
{
    struct list ended;
    if (!__atomic_load_n(&nwatches, __ATOMIC_RELAXED))
        return;
    list_init(&ended);
    mutex_lock(&marks_lock);
    list_for_each(l, &instances) {
        struct instance *ins = list_entry(l, struct instance_link, link)->ins;
        list_for_each_safe(k, &ins->watches) {
            struct watch *w = list_entry(k, struct watch, ilink);
            if (w->inode->sb != sb)
                continue;
            queue_event(ins, w->wd, IN_UNMOUNT, 0, nullptr);
            watch_unlink(w);
            queue_event(ins, w->wd, IN_IGNORED, 0, nullptr);
            list_push_back(&ended, &w->ilink);
        }
    }
    mutex_unlock(&marks_lock);
    watches_free(&ended);
}

// --- the file ----------------------------------------------------------------------------------
// The first event if it fits into n bytes. -EINVAL: it does not.
static int take(struct instance *ins, size_t n, struct notify_event **out)
{
    int err = 0;
    spin_lock(&ins->lock);
    struct notify_event *e = list_first(&ins->queue, struct notify_event, link);
    if (e && sizeof(struct inotify_event) + e->len > n) {
        err = -EINVAL;
    } else if (e) {
        list_del(&e->link);
        ADD_SHARED(ins->nqueued, -1u);
        ADD_SHARED(ins->bytes, -(sizeof(struct inotify_event) + e->len));
        if (e->mask & IN_Q_OVERFLOW)
            ins->overflowed = false;
    }
    spin_unlock(&ins->lock);
    *out = err ? nullptr : e;
    return err;
}

static long inotify_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct instance *ins = f->data;
    long total = 0;
    for (;;) {
        struct notify_event *e;
        int err = take(ins, u->resid, &e);
        if (err)
            return total ? total : err;
        if (e) {
            struct inotify_event h = {.wd = e->wd, .mask = e->mask, .cookie = e->cookie, .len = e->len};
            bool ok = uio_copy_to(u, &h, sizeof(h)) == sizeof(h) &&
                      (!e->len || uio_copy_to(u, e->name, e->len) == (long)e->len);
            total += (long)(sizeof(h) + e->len);
            mem_free(e);
            if (!ok)
                return -EFAULT;
            continue;
        }
        if (total)
            return total;
        if (READ_SHARED(f->flags) & O_NONBLOCK)
            return -EAGAIN;
        if (wait_event(&ins->wq, READ_SHARED(ins->nqueued), KTIME_MAX, PARK_INTERRUPTIBLE))
            return -ERESTARTSYS;
    }
}

static uint32_t inotify_poll(struct file *f, struct poll_table *pt)
{
    struct instance *ins = f->data;
    poll_wait(pt, &ins->wq);
    return READ_SHARED(ins->nqueued) ? POLLIN | POLLRDNORM : 0;
}

static long inotify_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct instance *ins = f->data;
    if (cmd != FIONREAD)
        return -ENOTTY;
    int n = (int)READ_SHARED(ins->bytes);
    return put_user(vfs_hooks.task_mm(t), UADDR(arg), n);
}

static void inotify_release(struct file *f)
{
    struct instance *ins = f->data;
    struct list ended;
    list_init(&ended);
    mutex_lock(&marks_lock);
    while (!list_empty(&ins->watches)) {
        struct watch *w = list_first(&ins->watches, struct watch, ilink);
        watch_unlink(w);
        list_push_back(&ended, &w->ilink);
    }
    list_for_each_safe(l, &instances) {
        struct instance_link *k = list_entry(l, struct instance_link, link);
        if (k->ins == ins) {
            list_del(l);
            slab_free(&ilink_slab, k);
        }
    }
    mutex_unlock(&marks_lock);
    watches_free(&ended);
    while (!list_empty(&ins->queue)) {
        struct notify_event *e = list_first(&ins->queue, struct notify_event, link);
        list_del(&e->link);
        mem_free(e);
    }
    __atomic_fetch_sub(&user_instances[bucket(ins->uid)], 1, __ATOMIC_RELAXED);
    htab_free(&ins->by_wd);
    slab_free(&instance_slab, ins);
}

static void inotify_fdinfo(struct file *f, struct strbuf *out)
{
    struct instance *ins = f->data;
    mutex_lock(&marks_lock);
    list_for_each(l, &ins->watches) {
        struct watch *w = list_entry(l, struct watch, ilink);
        strbuf_fmt(out, "inotify wd:%x ino:%lx sdev:%lx mask:%x ignored_mask:0\n", w->wd, w->inode->ino,
                   w->inode->sb->dev, w->mask & IN_ALL_EVENTS);
    }
    mutex_unlock(&marks_lock);
}

static const struct file_ops inotify_fops = {
    .read = inotify_read,
    .poll = inotify_poll,
    .ioctl = inotify_ioctl,
    .release = inotify_release,
    .fdinfo = inotify_fdinfo,
    .llseek = file_noop_llseek,
    .stream = true,
    .nowait = true,
};

int inotify_new(int flags, const struct cred *c, struct file **out)
{
    uint32_t *acc = &user_instances[bucket(c->uid)];
    if (__atomic_fetch_add(acc, 1, __ATOMIC_RELAXED) >= inotify_max_user_instances) {
        __atomic_fetch_sub(acc, 1, __ATOMIC_RELAXED);
        return -EMFILE;
    }
    struct instance *ins = slab_alloc(&instance_slab);
    struct instance_link *k = slab_alloc(&ilink_slab);
    int err = ins && k ? 0 : -ENOMEM;
    if (!err) {
        spin_init(&ins->lock);
        list_init(&ins->queue);
        list_init(&ins->watches);
        waitq_init(&ins->wq);
        ins->uid = c->uid;
        k->ins = ins;
        err = file_new_anon(&inotify_fops, "anon_inode:inotify", O_RDONLY | (flags & O_NONBLOCK), ins, c, out);
    }
    if (err) {
        __atomic_fetch_sub(acc, 1, __ATOMIC_RELAXED);
        if (ins)
            slab_free(&instance_slab, ins);
        if (k)
            slab_free(&ilink_slab, k);
        return err;
    }
    mutex_lock(&marks_lock);
    list_push_back(&instances, &k->link);
    mutex_unlock(&marks_lock);
    return 0;
}
