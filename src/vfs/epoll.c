// SPDX-License-Identifier: Apache-2.0
// epoll(7). A wake-up costs O(1): the wait queue's callback puts the item on its set's ready list
// and wakes one waiter. Waiting takes items off the list one by one *before* looking at the file,
// so a callback that comes later puts the item back, and nothing is lost.
//
// Locks: topology (nesting, release of sets and of files) > ep->mtx (items, transfer to the user;
// nested sets: outer before inner) > ep->lock (spinlock: ready list; the only one that callbacks
// take) ; items_lock (spinlock) guards every file's list of items.
//
// A file that is in sets has no reference from them: its last file_put() comes to
// epoll_file_release() first, and until that has returned its poll operation may be called.
#include "vfs/epoll.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "vfs/special.h"
#include <fcntl.h>

constexpr uint32_t EP_PRIVATE = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;
constexpr uint32_t EP_EXCLUSIVE_OK =
    EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
constexpr int EP_MAX_NESTS = 4;
constexpr size_t EP_BATCH = 32;
static_assert(sizeof(struct epoll_event) == 12);

struct epitem;
struct ep_waiter {
    struct waiter w;
    struct epitem *item;
    struct ep_waiter *next; // beyond the two inside the item
};
struct eventpoll {
    struct mutex mtx;
    struct htab items;      // [mtx]
    struct spinlock lock;
    struct list ready;      // [lock] epitem.rdlink
    struct waitq wq;        // epoll_wait
    struct waitq pollq;     // sets that contain this one, and poll(2)
    struct list inner;      // [topology] epitem.nest: our items that are epoll files
    struct list outer;      // [topology] epitem.outer: items of other sets that are us
    uint64_t check_gen;     // [topology] loop check: seen
    int check_depth;        // [topology] and its result
};
struct epitem {
    struct hnode hnode;     // [ep->mtx]
    struct list rdlink;     // [ep->lock]
    struct list flink;      // [items_lock] in file->epoll_items
    struct list nest, outer;// [topology] when file is an epoll file
    struct eventpoll *ep;   // [C]
    struct file *file;      // [C] weak, see above
    int fd;                 // [C]
    uint32_t events;        // [ep->lock] written also with mtx; private bits only: disabled
    uint64_t data;          // [ep->mtx]
    struct ep_waiter w[2];
    struct ep_waiter *more; // owned
    size_t nw;
};
SLAB_DEFINE(ep_slab, struct eventpoll);
SLAB_DEFINE(item_slab, struct epitem);
SLAB_DEFINE(waiter_slab, struct ep_waiter);

static struct mutex topology;
static struct spinlock items_lock;
static uint32_t watches;
static uint64_t check_gen;
uint32_t epoll_max_watches = 1u << 20;
static const struct file_ops epoll_fops;

__attribute__((constructor)) static void epoll_setup(void)
{
    mutex_init(&topology, RANK_EPOLL);
}

static bool is_epoll(const struct file *f)
{
    return f->ops == &epoll_fops;
}

// --- wake-ups ----------------------------------------------------------------------------------
static void ep_wake(struct eventpoll *ep)
{
    if (waitq_active(&ep->wq))
        waitq_wake(&ep->wq, POLLIN | POLLRDNORM);
    if (waitq_active(&ep->pollq))
        waitq_wake(&ep->pollq, POLLIN | POLLRDNORM);
}

static void ep_callback(struct waiter *w, uint32_t key)
{
    struct epitem *it = container_of(w, struct ep_waiter, w)->item;
    struct eventpoll *ep = it->ep;
    spin_lock(&ep->lock);
    bool wanted = (it->events & ~EP_PRIVATE) && (key & it->events);
    if (wanted && list_empty(&it->rdlink))
        list_push_back(&ep->ready, &it->rdlink);
    spin_unlock(&ep->lock);
    if (wanted)
        ep_wake(ep);
}

// --- looking at a file -------------------------------------------------------------------------
struct ep_register {
    struct poll_table pt;
    struct epitem *item;
    bool nomem;
};

static void ep_wait_on(struct poll_table *pt, struct waitq *q)
{
    struct ep_register *r = container_of(pt, struct ep_register, pt);
    struct epitem *it = r->item;
    struct ep_waiter *w;
    if (it->nw < ARRAY_LEN(it->w)) {
        w = &it->w[it->nw];
    } else {
        w = slab_alloc(&waiter_slab);
        if (!w) {
            r->nomem = true;
            return;
        }
        w->next = it->more;
        it->more = w;
    }
    it->nw++;
    w->item = it;
    // Which events count is the callback's business: the set of them changes with EPOLL_CTL_MOD.
    waiter_init_fn(&w->w, ep_callback, it->events & EPOLLEXCLUSIVE ? it->events : ~0u);
    w->w.exclusive = it->events & EPOLLEXCLUSIVE;
    waitq_add(q, &w->w);
}

static uint32_t ep_look(struct epitem *it, struct poll_table *pt)
{
    // A file on its way out cannot get a new user; what it says does not matter any more.
    if (!ref_count(&it->file->ref))
        return 0;
    return file_poll(it->file, pt) & it->events;
}

// --- items -------------------------------------------------------------------------------------
static uint64_t item_hash(const struct file *f, int fd)
{
    return hash_u64((uint64_t)(uintptr_t)f ^ (uint64_t)(uint32_t)fd << 48);
}

static struct epitem *ep_find(struct eventpoll *ep, const struct file *f, int fd) REQUIRES(ep->mtx)
{
    for (struct hnode *n = htab_chain(&ep->items, item_hash(f, fd)); n; n = htab_chain_next(n)) {
        struct epitem *it = container_of(n, struct epitem, hnode);
        if (it->file == f && it->fd == fd)
            return it;
    }
    return nullptr;
}

// The waiters go first and the file's list last: after that the file may be freed.
static void item_unhook(struct epitem *it)
{
    for (size_t i = 0; i < MIN(it->nw, ARRAY_LEN(it->w)); i++)
        waitq_remove(&it->w[i].w);
    while (it->more) {
        struct ep_waiter *w = it->more;
        it->more = w->next;
        waitq_remove(&w->w);
        slab_free(&waiter_slab, w);
    }
    spin_lock(&it->ep->lock);
    if (!list_empty(&it->rdlink))
        list_del(&it->rdlink);
    spin_unlock(&it->ep->lock);
    if (is_epoll(it->file)) {
        list_del(&it->nest);
        list_del(&it->outer);
    }
    spin_lock(&items_lock);
    list_del(&it->flink);
    spin_unlock(&items_lock);
    __atomic_fetch_sub(&watches, 1, __ATOMIC_RELAXED);
}

static void ep_remove(struct eventpoll *ep, struct epitem *it) REQUIRES(ep->mtx)
{
    item_unhook(it);
    htab_remove(&ep->items, &it->hnode);
    slab_free(&item_slab, it);
}

static void item_make_ready(struct epitem *it)
{
    spin_lock(&it->ep->lock);
    if (list_empty(&it->rdlink))
        list_push_back(&it->ep->ready, &it->rdlink);
    spin_unlock(&it->ep->lock);
    ep_wake(it->ep);
}

static int ep_insert(struct eventpoll *ep, struct file *f, int fd, const struct epoll_event *ev)
    REQUIRES(ep->mtx)
{
    if (__atomic_fetch_add(&watches, 1, __ATOMIC_RELAXED) >= epoll_max_watches) {
        __atomic_fetch_sub(&watches, 1, __ATOMIC_RELAXED);
        return -ENOSPC;
    }
    struct epitem *it = slab_alloc(&item_slab);
    int err = it ? htab_insert(&ep->items, &it->hnode, item_hash(f, fd)) : -ENOMEM;
    if (err) {
        __atomic_fetch_sub(&watches, 1, __ATOMIC_RELAXED);
        if (it)
            slab_free(&item_slab, it);
        return err;
    }
    it->ep = ep;
    it->file = f;
    it->fd = fd;
    it->events = ev->events | EPOLLERR | EPOLLHUP;
    it->data = ev->data.u64;
    list_init(&it->rdlink);
    list_init(&it->nest);
    list_init(&it->outer);
    WRITE_SHARED(f->epolled, true);
    spin_lock(&items_lock);
    list_push_back(&f->epoll_items, &it->flink);
    spin_unlock(&items_lock);
    if (is_epoll(f)) {
        list_push_back(&ep->inner, &it->nest);
        list_push_back(&((struct eventpoll *)f->data)->outer, &it->outer);
    }
    struct ep_register r = {.pt = {.wait = ep_wait_on}, .item = it};
    uint32_t revents = ep_look(it, &r.pt);
    if (r.nomem) {
        ep_remove(ep, it);
        return -ENOMEM;
    }
    if (revents)
        item_make_ready(it);
    return 0;
}

static int ep_modify(struct eventpoll *ep, struct epitem *it, const struct epoll_event *ev)
    REQUIRES(ep->mtx)
{
    if ((it->events | ev->events) & EPOLLEXCLUSIVE)
        return -EINVAL;
    spin_lock(&ep->lock);
    it->events = ev->events | EPOLLERR | EPOLLHUP;
    spin_unlock(&ep->lock);
    it->data = ev->data.u64;
    if (ep_look(it, nullptr))
        item_make_ready(it);
    return 0;
}

// --- nesting -----------------------------------------------------------------------------------
// Levels below ep, with ep itself 0; more than EP_MAX_NESTS when `forbidden` is among them. The
// depth bounds the recursion; the generation mark keeps it linear.
static int depth_below(struct eventpoll *ep, const struct eventpoll *forbidden, int level)
    REQUIRES(topology)
{
    if (ep == forbidden || level > EP_MAX_NESTS)
        return EP_MAX_NESTS + 1;
    if (ep->check_gen == check_gen)
        return ep->check_depth;
    int depth = 0;
    list_for_each(l, &ep->inner) {
        struct epitem *it = list_entry(l, struct epitem, nest);
        int d = 1 + depth_below(it->file->data, forbidden, level + 1);
        depth = MAX(depth, d);
    }
    ep->check_gen = check_gen;
    ep->check_depth = depth;
    return depth;
}

static int depth_above(struct eventpoll *ep, int level) REQUIRES(topology)
{
    if (level > EP_MAX_NESTS)
        return level;
    int depth = 0;
    list_for_each(l, &ep->outer) {
        int d = 1 + depth_above(list_entry(l, struct epitem, outer)->ep, level + 1);
        depth = MAX(depth, d);
        if (depth > EP_MAX_NESTS)
            break;
    }
    return depth;
}

static int ep_check_nesting(struct eventpoll *ep, struct file *target) REQUIRES(topology)
{
    check_gen++;
    int below = depth_below(target->data, ep, 0);
    if (below > EP_MAX_NESTS || below + 1 + depth_above(ep, 0) > EP_MAX_NESTS)
        return -ELOOP;
    return 0;
}

static int ep_control_locked(struct eventpoll *ep, int op, int fd, struct file *target,
                             const struct epoll_event *ev) REQUIRES(ep->mtx)
{
    struct epitem *it = ep_find(ep, target, fd);
    switch (op) {
    case EPOLL_CTL_ADD:
        return it ? -EEXIST : ep_insert(ep, target, fd, ev);
    case EPOLL_CTL_MOD:
        return it ? ep_modify(ep, it, ev) : -ENOENT;
    case EPOLL_CTL_DEL:
        if (!it)
            return -ENOENT;
        ep_remove(ep, it);
        return 0;
    default:
        return -EINVAL;
    }
}

NO_LOCK_ANALYSIS int epoll_control(struct file *epf, int op, int fd, struct file *target,
                                   const struct epoll_event *ev)
{
    if (!target->ops->poll)
        return -EPERM;
    if (target == epf || !is_epoll(epf))
        return -EINVAL;
    bool nested = is_epoll(target);
    if (op != EPOLL_CTL_DEL && (ev->events & EPOLLEXCLUSIVE)) {
        if (op == EPOLL_CTL_MOD || (ev->events & ~EP_EXCLUSIVE_OK) || nested)
            return -EINVAL;
    }
    struct eventpoll *ep = epf->data;
    int err = 0;
    if (nested)
        mutex_lock(&topology);
    if (nested && op == EPOLL_CTL_ADD)
        err = ep_check_nesting(ep, target);
    if (!err) {
        mutex_lock_nested(&ep->mtx);
        err = ep_control_locked(ep, op, fd, target, ev);
        mutex_unlock(&ep->mtx);
    }
    if (nested)
        mutex_unlock(&topology);
    return err;
}

// --- waiting -----------------------------------------------------------------------------------
static struct epitem *pop_ready(struct eventpoll *ep, struct list *from)
{
    spin_lock(&ep->lock);
    struct epitem *it = list_first(from, struct epitem, rdlink);
    if (it)
        list_del(&it->rdlink);
    spin_unlock(&ep->lock);
    return it;
}

static void splice_front(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->prev->next = to->next;
    to->next->prev = from->prev;
    to->next = from->next;
    from->next->prev = to;
    list_init(from);
}

struct ep_batch {
    struct epoll_event ev[EP_BATCH];
    struct epitem *item[EP_BATCH];
    size_t n;
};

// Items of `tx` whose file is ready go into the batch.
static void ep_fill(struct eventpoll *ep, struct list *tx, struct ep_batch *b, size_t max)
{
    struct epitem *it;
    b->n = 0;
    while (b->n < max && (it = pop_ready(ep, tx))) {
        uint32_t revents = ep_look(it, nullptr);
        if (!revents)
            continue;
        b->ev[b->n] = (struct epoll_event){.events = revents, .data.u64 = it->data};
        b->item[b->n++] = it;
    }
}

// After a batch has reached the user (or has not): what is to be reported again.
static void ep_settle(struct eventpoll *ep, struct ep_batch *b, bool delivered)
{
    spin_lock(&ep->lock);
    for (size_t i = 0; i < b->n; i++) {
        struct epitem *it = b->item[i];
        if (delivered && (it->events & EPOLLONESHOT)) {
            it->events &= EP_PRIVATE;
            continue;
        }
        if ((!delivered || !(it->events & EPOLLET)) && list_empty(&it->rdlink))
            list_push_back(&ep->ready, &it->rdlink);
    }
    spin_unlock(&ep->lock);
}

static long ep_send(struct eventpoll *ep, struct epoll_sink *sink, int max)
{
    struct ep_batch b;
    struct list tx;
    long total = 0;
    list_init(&tx);
    mutex_lock(&ep->mtx);
    spin_lock(&ep->lock);
    splice_front(&tx, &ep->ready);
    spin_unlock(&ep->lock);
    while (total < max) {
        ep_fill(ep, &tx, &b, MIN(EP_BATCH, (size_t)(max - total)));
        if (!b.n)
            break;
        bool ok = !sink->put(sink, (size_t)total, b.ev, b.n);
        ep_settle(ep, &b, ok);
        if (!ok) {
            total = total ? total : -EFAULT;
            break;
        }
        total += (long)b.n;
    }
    spin_lock(&ep->lock);
    splice_front(&ep->ready, &tx);
    bool more = !list_empty(&ep->ready);
    spin_unlock(&ep->lock);
    mutex_unlock(&ep->mtx);
    if (more)
        ep_wake(ep); // another waiter may take the rest
    return total;
}

// An unlocked look: a waiter is on ep->wq before it looks, and who adds wakes ep->wq afterwards.
__attribute__((no_sanitize("thread"))) static bool ep_has_ready(struct eventpoll *ep)
{
    return ((const volatile struct list *)&ep->ready)->next != &ep->ready;
}

long epoll_collect(struct file *epf, struct epoll_sink *sink, int max, ktime_t deadline)
{
    if (!is_epoll(epf))
        return -EINVAL;
    struct eventpoll *ep = epf->data;
    for (;;) {
        if (ep_has_ready(ep)) {
            long n = ep_send(ep, sink, max);
            if (n)
                return n;
        }
        if (deadline <= 0)
            return 0;
        if (fiber_interrupted(PARK_INTERRUPTIBLE))
            return -EINTR;
        struct waiter w;
        waiter_init(&w);
        w.exclusive = true;
        waitq_add(&ep->wq, &w);
        int err = ep_has_ready(ep) ? 0 : fiber_park(deadline, PARK_INTERRUPTIBLE);
        waitq_remove(&w);
        if (err == -ETIMEDOUT)
            deadline = 0; // one last look
        else if (err && ep_has_ready(ep))
            ep_wake(ep);  // a wake-up for us is somebody else's now
    }
}

// --- the file ----------------------------------------------------------------------------------
// Readable when an item really is. Items that turn out not to be leave the list.
NO_LOCK_ANALYSIS static uint32_t epoll_fpoll(struct file *f, struct poll_table *pt)
{
    struct eventpoll *ep = f->data;
    uint32_t mask = 0;
    struct epitem *it;
    struct list tx;
    poll_wait(pt, &ep->pollq);
    if (!ep_has_ready(ep))
        return 0;
    list_init(&tx);
    mutex_lock_nested(&ep->mtx); // within an outer set: that one's lock is held
    spin_lock(&ep->lock);
    splice_front(&tx, &ep->ready);
    spin_unlock(&ep->lock);
    while (!mask && (it = pop_ready(ep, &tx))) {
        if (!ep_look(it, nullptr))
            continue;
        mask = POLLIN | POLLRDNORM;
        spin_lock(&ep->lock);
        if (list_empty(&it->rdlink))
            list_push_front(&ep->ready, &it->rdlink);
        spin_unlock(&ep->lock);
    }
    spin_lock(&ep->lock);
    splice_front(&ep->ready, &tx);
    spin_unlock(&ep->lock);
    mutex_unlock(&ep->mtx);
    return mask;
}

static void epoll_frelease(struct file *f)
{
    struct eventpoll *ep = f->data;
    mutex_lock(&topology);
    mutex_lock_nested(&ep->mtx);
    for (size_t i = 0; i < ep->items.n; i++) {
        while (ep->items.b[i])
            ep_remove(ep, container_of(ep->items.b[i], struct epitem, hnode));
    }
    mutex_unlock(&ep->mtx);
    mutex_unlock(&topology);
    htab_free(&ep->items);
    slab_free(&ep_slab, ep);
}

NO_LOCK_ANALYSIS void epoll_file_release(struct file *f)
{
    if (!READ_SHARED(f->epolled))
        return;
    mutex_lock(&topology);
    for (;;) {
        spin_lock(&items_lock);
        struct epitem *it = list_first(&f->epoll_items, struct epitem, flink);
        spin_unlock(&items_lock);
        if (!it)
            break;
        struct eventpoll *ep = it->ep; // cannot go: its release needs topology
        mutex_lock_nested(&ep->mtx);
        ep_remove(ep, it);
        mutex_unlock(&ep->mtx);
    }
    mutex_unlock(&topology);
}

static void epoll_fdinfo(struct file *f, struct strbuf *out)
{
    struct eventpoll *ep = f->data;
    mutex_lock(&ep->mtx);
    for (size_t i = 0; i < ep->items.n; i++) {
        for (struct hnode *n = ep->items.b[i]; n; n = n->next) {
            struct epitem *it = container_of(n, struct epitem, hnode);
            strbuf_fmt(out, "tfd: %8d events: %8x data: %16lx  pos:%ld ino:%lx sdev:%lx\n", it->fd,
                       it->events, it->data, (long)it->file->pos, it->file->inode->ino,
                       it->file->inode->sb ? it->file->inode->sb->dev : 0);
        }
    }
    mutex_unlock(&ep->mtx);
}

static const struct file_ops epoll_fops = {
    .poll = epoll_fpoll,
    .release = epoll_frelease,
    .fdinfo = epoll_fdinfo,
    .llseek = file_noop_llseek,
    .stream = true,
};

int epoll_new(const struct cred *c, struct file **out)
{
    struct eventpoll *ep = slab_alloc(&ep_slab);
    if (!ep)
        return -ENOMEM;
    mutex_init(&ep->mtx, RANK_EPOLL);
    spin_init(&ep->lock);
    list_init(&ep->ready);
    list_init(&ep->inner);
    list_init(&ep->outer);
    waitq_init(&ep->wq);
    waitq_init(&ep->pollq);
    int err = file_new_anon(&epoll_fops, "anon_inode:[eventpoll]", O_RDWR, ep, c, out);
    if (err)
        slab_free(&ep_slab, ep);
    return err;
}
