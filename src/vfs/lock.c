// SPDX-License-Identifier: Apache-2.0
// File locks: POSIX record locks (owner: a descriptor table), OFD locks (owner: the open file) and
// flock(2) (owner: the open file, whole file), with the rules of fcntl_locking(2) and flock(2).
// They are advisory and do not see each other across the two families.
//
// One spinlock guards all of it, with short lists. A waiter sleeps on its inode's queue and tries
// again; POSIX waiters are also on a list of who waits for whom, in which EDEADLK is looked for.
#include "vfs/internal.h"
#include "abi/errno.h"
#include "sched/fiber.h"
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

struct held { // one held lock
    struct list link;  // in its inode's list, sorted by start for POSIX
    struct list all;   // for /proc/locks
    struct inode *i;   // weak: locks_inode_free goes first
    void *owner;
    struct file *f;    // weak: the file for OFD and flock, null for POSIX
    bool flock;
    struct kflock l;
};
struct file_locks {
    struct list posix, flock;
    struct waitq wq;
};
struct blocked { // a POSIX request that sleeps, on its fiber's stack
    struct list link;
    void *owner, *waits_for;
};
SLAB_DEFINE(held_slab, struct held);
SLAB_DEFINE(locks_slab, struct file_locks);
static struct spinlock locks_spin = SPINLOCK_INIT;
static struct list all_locks = LIST_INIT(all_locks);
static struct list all_blocked = LIST_INIT(all_blocked);

static struct file_locks *locks_known(struct inode *i)
{
    return READ_SHARED(inode_common_known(i)->locks);
}
static struct file_locks *locks_of(struct inode *i)
{
    i = inode_common(i);
    struct file_locks *fl = __atomic_load_n(&i->locks, __ATOMIC_ACQUIRE), *none = nullptr;
    if (fl)
        return fl;
    fl = slab_alloc(&locks_slab);
    if (!fl)
        return nullptr;
    list_init(&fl->posix);
    list_init(&fl->flock);
    waitq_init(&fl->wq);
    if (__atomic_compare_exchange_n(&i->locks, &none, fl, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return fl;
    slab_free(&locks_slab, fl);
    return none;
}

static void held_drop_locked(struct held *h)
{
    list_del(&h->link);
    list_del(&h->all);
    slab_free(&held_slab, h);
}

void locks_inode_free(struct inode *i)
{
    struct file_locks *fl = i->locks;
    if (!fl)
        return;
    spin_lock(&locks_spin);
    list_for_each_safe(it, &fl->posix)
        held_drop_locked(list_entry(it, struct held, link));
    list_for_each_safe(it, &fl->flock)
        held_drop_locked(list_entry(it, struct held, link));
    spin_unlock(&locks_spin);
    i->locks = nullptr;
    slab_free(&locks_slab, fl);
}

static bool overlaps(const struct kflock *a, const struct kflock *b)
{
    return a->start <= b->end && b->start <= a->end;
}

static struct held *conflict_locked(struct file_locks *fl, void *owner, const struct kflock *l)
{
    list_for_each(it, &fl->posix) {
        struct held *h = list_entry(it, struct held, link);
        if (h->owner != owner && overlaps(&h->l, l) &&
            (h->l.type == F_WRLCK || l->type == F_WRLCK))
            return h;
    }
    return nullptr;
}

// Would `owner` waiting for `target` close a circle?
static bool deadlock_locked(void *owner, void *target)
{
    for (int depth = 0; depth < 1000; depth++) {
        struct blocked *b = nullptr;
        list_for_each(it, &all_blocked) {
            struct blocked *x = list_entry(it, struct blocked, link);
            if (x->owner == target) {
                b = x;
                break;
            }
        }
        if (!b)
            return false;
        if (b->waits_for == owner)
            return true;
        target = b->waits_for;
    }
    return false;
}

static void insert_sorted(struct file_locks *fl, struct held *h)
{
    struct list *at = &fl->posix;
    list_for_each(it, &fl->posix)
        if (list_entry(it, struct held, link)->l.start > h->l.start) {
            at = it;
            break;
        }
    list_insert_between(&h->link, at->prev, at);
    list_push_back(&all_locks, &h->all);
}

static void held_fill(struct held *h, struct inode *i, struct file *f, void *owner,
                      const struct kflock *l)
{
    h->i = i;
    h->owner = owner;
    h->f = owner == f ? f : nullptr;
    h->l = *l;
}

// Puts l in place of whatever owner holds there: overlapped locks are cut, split or swallowed, and
// neighbours of the same type joined. spare[2] are consumed (set null) as needed.
static void posix_apply_locked(struct file_locks *fl, struct file *f, void *owner,
                               const struct kflock *want, struct held *spare[2])
{
    struct kflock l = *want;
    list_for_each_safe(it, &fl->posix) {
        struct held *h = list_entry(it, struct held, link);
        if (h->owner != owner)
            continue;
        if (h->l.type == l.type) { // join also when they only touch
            bool apart = (h->l.end != INT64_MAX && h->l.end + 1 < l.start) ||
                         (l.end != INT64_MAX && l.end + 1 < h->l.start);
            if (apart)
                continue;
            l.start = MIN(l.start, h->l.start);
            l.end = MAX(l.end, h->l.end);
            held_drop_locked(h);
            continue;
        }
        if (!overlaps(&h->l, &l))
            continue;
        if (h->l.start < l.start && h->l.end > l.end) { // a hole in the middle
            struct held *tail = spare[1];
            spare[1] = nullptr;
            struct kflock rest = h->l;
            rest.start = l.end + 1;
            held_fill(tail, f->inode, f, owner, &rest);
            h->l.end = l.start - 1;
            insert_sorted(fl, tail);
        } else if (h->l.start < l.start) {
            h->l.end = l.start - 1;
        } else if (h->l.end > l.end) {
            h->l.start = l.end + 1;
            list_del(&h->link);
            list_del(&h->all);
            insert_sorted(fl, h);
        } else {
            held_drop_locked(h);
        }
    }
    if (l.type == F_UNLCK)
        return;
    struct held *n = spare[0];
    spare[0] = nullptr;
    held_fill(n, f->inode, f, owner, &l);
    insert_sorted(fl, n);
}

static int posix_try(struct file_locks *fl, struct file *f, void *owner, const struct kflock *l,
                     struct held *spare[2], struct blocked *b, bool wait)
{
    int err = 0;
    spin_lock(&locks_spin);
    list_del(&b->link);
    struct held *h = l->type == F_UNLCK ? nullptr : conflict_locked(fl, owner, l);
    if (!h) {
        posix_apply_locked(fl, f, owner, l, spare);
    } else if (!wait) {
        err = -EAGAIN;
    } else if (owner != f && !h->f && deadlock_locked(owner, h->owner)) {
        err = -EDEADLK;
    } else {
        err = 1;
        b->owner = owner;
        b->waits_for = h->owner;
        if (owner != f)
            list_push_back(&all_blocked, &b->link);
    }
    spin_unlock(&locks_spin);
    return err;
}

static int posix_wait(struct file_locks *fl, struct file *f, void *owner, const struct kflock *l,
                      struct held *spare[2], bool wait)
{
    struct blocked b;
    list_init(&b.link);
    int err = posix_try(fl, f, owner, l, spare, &b, wait);
    if (err != 1)
        return err;
    struct waiter w;
    waiter_init(&w);
    waitq_add(&fl->wq, &w);
    while ((err = posix_try(fl, f, owner, l, spare, &b, true)) == 1) {
        int intr = fiber_park(KTIME_MAX, PARK_INTERRUPTIBLE);
        if (intr) {
            err = -ERESTARTSYS;
            break;
        }
    }
    waitq_remove(&w);
    spin_lock(&locks_spin);
    list_del(&b.link);
    spin_unlock(&locks_spin);
    return err;
}

int posix_lock(struct file *f, void *owner, const struct kflock *l, bool wait)
{
    struct file_locks *fl = l->type == F_UNLCK ? locks_known(f->inode) : locks_of(f->inode);
    if (!fl)
        return l->type == F_UNLCK ? 0 : -ENOLCK;
    struct held *spare[2] = {slab_alloc(&held_slab), slab_alloc(&held_slab)};
    int err = -ENOLCK;
    if (spare[0] && spare[1]) {
        for (int i = 0; i < 2; i++) {
            list_init(&spare[i]->link);
            list_init(&spare[i]->all);
        }
        err = posix_wait(fl, f, owner, l, spare, wait);
    }
    for (int i = 0; i < 2; i++)
        if (spare[i])
            slab_free(&held_slab, spare[i]);
    if (!err)
        waitq_wake_all(&fl->wq, ~0u);
    return err;
}

int posix_lock_test(struct file *f, void *owner, struct kflock *l)
{
    struct file_locks *fl = READ_SHARED(inode_common(f->inode)->locks);
    struct held *h = nullptr;
    spin_lock(&locks_spin);
    if (fl && (h = conflict_locked(fl, owner, l))) {
        int pid = h->f ? -1 : h->l.pid;
        *l = h->l;
        l->pid = pid;
    }
    spin_unlock(&locks_spin);
    if (!h)
        l->type = F_UNLCK;
    return 0;
}

static struct held *flock_find_locked(struct file_locks *fl, struct file *f)
{
    list_for_each(it, &fl->flock) {
        struct held *h = list_entry(it, struct held, link);
        if (h->f == f)
            return h;
    }
    return nullptr;
}

// 1: must wait. *spare is consumed when the lock is granted.
static int flock_try(struct file_locks *fl, struct file *f, int type, struct held **spare)
{
    int res = 0;
    spin_lock(&locks_spin);
    struct held *mine = flock_find_locked(fl, f);
    if (mine && mine->l.type == type) {
        spin_unlock(&locks_spin);
        return 0;
    }
    if (mine) // a change is an unlock first: somebody else may come in between
        held_drop_locked(mine);
    list_for_each(it, &fl->flock) {
        struct held *h = list_entry(it, struct held, link);
        if (type != F_UNLCK && (type == F_WRLCK || h->l.type == F_WRLCK)) {
            res = 1;
            break;
        }
    }
    if (!res && type != F_UNLCK) {
        struct held *h = *spare;
        *spare = nullptr;
        h->i = f->inode;
        h->owner = h->f = f;
        h->flock = true;
        h->l = (struct kflock){.type = type, .end = INT64_MAX,
                               .pid = vfs_hooks.current_tgid ? vfs_hooks.current_tgid() : 0};
        list_push_back(&fl->flock, &h->link);
        list_push_back(&all_locks, &h->all);
    }
    spin_unlock(&locks_spin);
    if (mine)
        waitq_wake_all(&fl->wq, ~0u);
    return res;
}

int flock_lock(struct file *f, int op)
{
    static const int types[] = {[LOCK_SH] = F_RDLCK, [LOCK_EX] = F_WRLCK, [LOCK_UN] = F_UNLCK};
    int what = op & ~LOCK_NB;
    if (what != LOCK_SH && what != LOCK_EX && what != LOCK_UN)
        return -EINVAL;
    int type = types[what];
    struct file_locks *fl = type == F_UNLCK ? locks_known(f->inode) : locks_of(f->inode);
    if (!fl)
        return type == F_UNLCK ? 0 : -ENOLCK;
    struct held *spare = slab_alloc(&held_slab);
    if (!spare)
        return -ENOLCK;
    list_init(&spare->link);
    list_init(&spare->all);
    int err = flock_try(fl, f, type, &spare), res = 0;
    if (err == 1 && (op & LOCK_NB)) {
        err = -EWOULDBLOCK;
    } else if (err == 1) {
        res = wait_event(&fl->wq, (err = flock_try(fl, f, type, &spare)) != 1, KTIME_MAX,
                         PARK_INTERRUPTIBLE);
        if (res)
            err = -ERESTARTSYS;
    }
    if (spare)
        slab_free(&held_slab, spare);
    return err;
}

void locks_release_owner(struct inode *i, void *owner)
{
    struct file_locks *fl = locks_known(i);
    if (!fl)
        return;
    bool any = false;
    spin_lock(&locks_spin);
    list_for_each_safe(it, &fl->posix) {
        struct held *h = list_entry(it, struct held, link);
        if (h->owner == owner) {
            held_drop_locked(h);
            any = true;
        }
    }
    spin_unlock(&locks_spin);
    if (any)
        waitq_wake_all(&fl->wq, ~0u);
}

void locks_release_file(struct file *f)
{
    struct file_locks *fl = locks_known(f->inode);
    if (!fl)
        return;
    locks_release_owner(f->inode, f); // OFD locks
    bool any = false;
    spin_lock(&locks_spin);
    struct held *h = flock_find_locked(fl, f);
    if (h) {
        held_drop_locked(h);
        any = true;
    }
    spin_unlock(&locks_spin);
    if (any)
        waitq_wake_all(&fl->wq, ~0u);
}

// "1: POSIX  ADVISORY  WRITE 4321 00:15:4711 0 EOF"
void locks_show(struct strbuf *out)
{
    int n = 0;
    spin_lock(&locks_spin);
    list_for_each(it, &all_locks) {
        struct held *h = list_entry(it, struct held, all);
        const char *kind = h->flock ? "FLOCK " : h->f ? "OFDLCK" : "POSIX ";
        uint64_t dev = h->i->sb->dev;
        strbuf_fmt(out, "%d: %s ADVISORY  %s %d %02x:%02x:%lu %ld ", ++n, kind,
                   h->l.type == F_WRLCK ? "WRITE" : "READ ", h->f && !h->flock ? -1 : h->l.pid,
                   (unsigned)(dev >> 8 & 0xfff), (unsigned)(dev & 0xff), h->i->ino, h->l.start);
        if (h->l.end == INT64_MAX)
            strbuf_str(out, "EOF\n");
        else
            strbuf_fmt(out, "%ld\n", h->l.end);
    }
    spin_unlock(&locks_spin);
}
