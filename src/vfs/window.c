// SPDX-License-Identifier: Apache-2.0
// See window.h. One spinlock, a leaf, covers all published lines; they are few and short-lived, and who
// has none never takes it. The pages are written here and never read: a stub cannot lie in them.
//
// Windows (mappings) of a space are handed out round robin, unused ones first. One whose lines have all
// gone stays mapped until it is used again: that keeps at most PUB_WINDOWS files of the size of a
// window alive that the space could read anyway.
#include "vfs/window.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "host/raw.h"
#include "mem/mm.h"
#include "sched/mutex.h"
#include "sched/timer.h"
#include "vfs/internal.h"
#include <string.h>
#include <sys/stat.h>

struct winfile;
struct window_ref {        // one for each inode that a line depends on
    struct window_ref *next;
    struct winfile *w;
    struct inode *inode;   // weak: the open file holds it, and its descriptor goes first
};
struct winfile {           // a published line
    struct list space_link, table_link;
    struct winspace *ws;
    struct fdtab *table;   // weak: forgets its lines before it goes
    int fd;
    int win;               // -1: attributes only
    struct file *leased;   // whose position we have; weak as inode
    struct window_ref ref[2];
};
struct winspace {
    struct list all_link;  // [win_lock]
    struct list files;     // [win_lock] winfile.space_link
    struct pub_file *lines;
    struct pub_pos *pos;   // hostile memory
    struct mutex lock;     // mappings
    struct {
        struct inode *key; // [win_lock] weak, while users > 0
        uint64_t va, len;  // [lock]
        uint32_t users;    // [win_lock]
    } win[PUB_WINDOWS];
    uint32_t next;         // [lock]
};
SLAB_DEFINE(winfile_slab, struct winfile);
SLAB_DEFINE(winspace_slab, struct winspace);
static struct spinlock win_lock;
static struct list spaces = LIST_INIT(spaces); // [win_lock]
static struct list tables[64];                 // [win_lock] winfile.table_link by descriptor table
constexpr ktime_t REFRESH = 3600ll * 1000000000;
static struct timer refresh;                   // access times are looked at again
static bool refresh_armed;                     // [A]

static struct list *table_list(const struct fdtab *t)
{
    return &tables[((uintptr_t)t >> 6) % ARRAY_LEN(tables)];
}

// --- lines ---------------------------------------------------------------------------------------
static void line_close(struct pub_file *e)
{
    uint32_t seq = e->seq | 1;
    __atomic_store_n(&e->seq, seq, __ATOMIC_SEQ_CST);
    WRITE_SHARED(e->flags, 0);
}

static void line_write(struct pub_file *e, const struct winfile *w, const struct window_args *a,
                       uint64_t table)
{
    line_close(e);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    WRITE_SHARED(e->files, table);
    WRITE_SHARED(e->size, a->size);
    WRITE_SHARED(e->win, w->win < 0 ? 0 : w->ws->win[w->win].va);
    WRITE_SHARED(e->win_len, w->win < 0 ? 0 : w->ws->win[w->win].len);
    memcpy(e->stat, a->stat, sizeof(e->stat));
    WRITE_SHARED(e->flags, PUBF_STAT | (w->win < 0 ? 0u : PUBF_DATA));
    __atomic_store_n(&e->seq, e->seq + 1, __ATOMIC_SEQ_CST);
}

static void ref_remove(struct window_ref *r)
{
    if (!r->inode)
        return;
    struct window_ref **p = &r->inode->published;
    while (*p != r)
        p = &(*p)->next;
    __atomic_store_n(p, r->next, __ATOMIC_SEQ_CST);
}
static void ref_add(struct window_ref *r, struct winfile *w, struct inode *i)
{
    r->w = w;
    r->inode = i;
    r->next = i->published;
    __atomic_store_n(&i->published, r, __ATOMIC_SEQ_CST);
}

// --- positions -------------------------------------------------------------------------------------
// f->pos belongs to the lock win_lock while f->lease is set, and is not true. Only a holder of f->pos_lock
// sets it; anybody may end it, and whoever then finds it null finds the position in f->pos.
static void lease_begin(struct winfile *w, struct file *f) REQUIRES(win_lock)
{
    uint64_t *word = &w->ws->pos[w->fd].word;
    uint64_t next = pub_pos_next(READ_SHARED(*word), (uint64_t)f->pos);
    w->leased = f;
    __atomic_store_n(&f->lease, w, __ATOMIC_RELEASE);
    __atomic_store_n(word, next | PUB_POS_VALID, __ATOMIC_SEQ_CST);
}

// From the exchange on no call of the stub's can succeed that began before; its count goes on, so that none
// takes a later lease for the one that it saw. The next one is far away: somebody else uses the file.
static void lease_end(struct winfile *w) REQUIRES(win_lock)
{
    struct file *f = w->leased;
    uint64_t *word = &w->ws->pos[w->fd].word;
    uint64_t last = __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(word, pub_pos_next(last, 0) & ~PUB_POS_VALID, __ATOMIC_SEQ_CST);
    WRITE_SHARED(f->pos, (int64_t)(last & PUB_POS_MAX));
    WRITE_SHARED(f->win_reads, 0);
    w->leased = nullptr;
    __atomic_store_n(&f->lease, nullptr, __ATOMIC_RELEASE);
}

void window_recall(struct file *f)
{
    spin_lock(&win_lock);
    if (f->lease)
        lease_end(f->lease);
    spin_unlock(&win_lock);
}

int64_t file_pos_peek(struct file *f)
{
    spin_lock(&win_lock);
    struct winfile *w = f->lease;
    int64_t pos = w ? (int64_t)(READ_SHARED(w->ws->pos[w->fd].word) & PUB_POS_MAX) : READ_SHARED(f->pos);
    spin_unlock(&win_lock);
    return pos;
}

static bool lease_possible(const struct file *f)
{
    return !f->ops->stream && !f->ops->own_position && f->inode->sb->maxbytes > PUB_POS_MAX &&
           f->pos >= 0 && (uint64_t)f->pos <= PUB_POS_MAX;
}

// --- lines and inodes ------------------------------------------------------------------------------
static void drop_locked(struct winfile *w) REQUIRES(win_lock)
{
    line_close(&w->ws->lines[w->fd]);
    if (w->leased)
        lease_end(w);
    ref_remove(&w->ref[0]);
    ref_remove(&w->ref[1]);
    list_del(&w->space_link);
    list_del(&w->table_link);
    if (w->win >= 0)
        w->ws->win[w->win].users--;
    slab_free(&winfile_slab, w);
}

void window_retract(struct inode *i)
{
    spin_lock(&win_lock);
    while (i->published)
        drop_locked(i->published->w);
    spin_unlock(&win_lock);
}

bool window_forget(struct fdtab *t, int fd)
{
    bool left = false;
    spin_lock(&win_lock);
    list_for_each_safe(it, table_list(t)) {
        struct winfile *w = list_entry(it, struct winfile, table_link);
        if (w->table == t && w->fd == fd)
            drop_locked(w);
        else
            left |= w->table == t;
    }
    spin_unlock(&win_lock);
    return left;
}

void window_flush(void)
{
    spin_lock(&win_lock);
    list_for_each(s, &spaces) {
        struct winspace *ws = list_entry(s, struct winspace, all_link);
        list_for_each_safe(it, &ws->files) {
            struct winfile *w = list_entry(it, struct winfile, space_link);
            if (w->win >= 0)
                drop_locked(w);
        }
    }
    spin_unlock(&win_lock);
}

// relatime: an access time is brought up to date once a day, and only the slow path does it.
static void refresh_now(struct timer *t)
{
    __atomic_store_n(&refresh_armed, false, __ATOMIC_SEQ_CST);
    window_flush();
}

// --- spaces --------------------------------------------------------------------------------------
static void space_free(struct mm *mm)
{
    struct winspace *ws = mm->windows;
    spin_lock(&win_lock);
    while (!list_empty(&ws->files))
        drop_locked(list_first(&ws->files, struct winfile, space_link));
    list_del(&ws->all_link);
    spin_unlock(&win_lock);
    mm->windows = nullptr;
    slab_free(&winspace_slab, ws);
}

static struct winspace *space_of(struct mm *mm)
{
    struct winspace *ws = __atomic_load_n(&mm->windows, __ATOMIC_ACQUIRE), *none = nullptr;
    if (ws)
        return ws;
    ws = slab_alloc(&winspace_slab);
    if (!ws)
        return nullptr;
    list_init(&ws->files);
    list_init(&ws->all_link);
    mutex_init(&ws->lock, RANK_FDTAB);
    ws->lines = mm->as->files;
    ws->pos = mm->as->pos;
    if (!__atomic_compare_exchange_n(&mm->windows, &none, ws, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        slab_free(&winspace_slab, ws);
        return none;
    }
    spin_lock(&win_lock);
    list_push_back(&spaces, &ws->all_link);
    spin_unlock(&win_lock);
    return ws;
}

[[gnu::constructor]] static void window_init(void)
{
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        list_init(&tables[i]);
    timer_init(&refresh, refresh_now);
    mm_windows_free = space_free;
}

// --- publishing ----------------------------------------------------------------------------------
bool window_possible(struct file *f, struct file **real)
{
    if (!S_ISREG(f->inode->mode) || f->opath || !f->inode->sb || !f->inode->sb->steady)
        return false;
    struct file *r = f->ops->real ? f->ops->real(f) : f;
    *real = r;
    return r == f || (!r->ops->real && r->inode->sb->steady);
}

uint64_t window_gen(struct file *f, struct file *real)
{
    uint32_t a = __atomic_load_n(&f->inode->change_ended, __ATOMIC_SEQ_CST);
    uint32_t b = __atomic_load_n(&real->inode->change_ended, __ATOMIC_SEQ_CST);
    if (a != __atomic_load_n(&f->inode->change_begun, __ATOMIC_SEQ_CST) ||
        b != __atomic_load_n(&real->inode->change_begun, __ATOMIC_SEQ_CST))
        return 0;
    return ((uint64_t)a << 32 | b) + 1;
}

struct install {
    struct winspace *ws;
    struct winfile *w;      // consumed when installed
    struct fdtab *table;
    int fd, win;
    const struct window_args *a;
    bool leased;            // out
};
// Under the lock of the descriptor table, where fd is a->f; with a->pos under a->f->pos_lock, too, and the
// position is ours.
static void install(void *arg, bool *published)
{
    struct install *in = arg;
    const struct window_args *a = in->a;
    struct winfile *w = in->w;
    spin_lock(&win_lock);
    list_for_each_safe(it, &in->ws->files) {
        struct winfile *old = list_entry(it, struct winfile, space_link);
        if (old->fd == in->fd)
            drop_locked(old);
    }
    w->ws = in->ws;
    w->table = in->table;
    w->fd = in->fd;
    w->win = in->win;
    ref_add(&w->ref[0], w, a->f->inode);
    if (a->real->inode != a->f->inode)
        ref_add(&w->ref[1], w, a->real->inode);
    list_push_back(&in->ws->files, &w->space_link);
    list_push_back(table_list(in->table), &w->table_link);
    *published = true;
    if (w->win >= 0) {
        in->ws->win[w->win].users++;
        in->ws->win[w->win].key = a->real->inode;
    }
    in->w = nullptr;
    // A change that began before we were on the inodes' lists is seen here, a later one sees us.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (window_gen(a->f, a->real) == a->gen && (w->win < 0 || !fsnotify_active())) {
        line_write(&in->ws->lines[w->fd], w, a, fdtab_id(in->table));
        in->leased = a->pos && w->win >= 0 && lease_possible(a->f);
        if (in->leased)
            lease_begin(w, a->f);
    } else {
        drop_locked(w);
    }
    spin_unlock(&win_lock);
}

// Under ws->lock: the number of a window on the file, -1: none is mapped.
static int window_find(struct winspace *ws, struct inode *key)
{
    int found = -1;
    spin_lock(&win_lock);
    for (int i = 0; i < PUB_WINDOWS && found < 0; i++)
        if (ws->win[i].users && ws->win[i].key == key)
            found = i;
    spin_unlock(&win_lock);
    return found;
}
static int window_take(struct winspace *ws)
{
    int win = -1;
    spin_lock(&win_lock);
    for (int i = 0; i < PUB_WINDOWS && win < 0; i++)
        if (!ws->win[(ws->next + (uint32_t)i) % PUB_WINDOWS].users)
            win = (int)((ws->next + (uint32_t)i) % PUB_WINDOWS);
    if (win < 0)
        win = (int)(ws->next % PUB_WINDOWS);
    list_for_each_safe(it, &ws->files) {
        struct winfile *w = list_entry(it, struct winfile, space_link);
        if (w->win == win)
            drop_locked(w);
    }
    spin_unlock(&win_lock);
    ws->next = (uint32_t)win + 1;
    return win;
}
static int window_map(struct winspace *ws, struct pcontext *ctx, int hostfd)
{
    int win = window_take(ws);
    uint64_t va, len;
    int err = ctx->ops->map_window(ctx, (uint32_t)win, hostfd, &va, &len);
    if (err)
        return -1;
    ws->win[win].va = va;
    ws->win[win].len = len;
    return win;
}

// A line with window `win`, or the file's own or a new one (hostfd), or none.
static bool publish(struct winspace *ws, struct pcontext *ctx, struct install *in, int hostfd)
{
    const struct window_args *a = in->a;
    mutex_lock(&ws->lock);
    in->win = hostfd >= 0 ? window_find(ws, a->real->inode) : -1;
    if (hostfd >= 0 && in->win < 0)
        in->win = window_map(ws, ctx, hostfd);
    fdtab_if(in->table, in->fd, a->f, install, in);
    mutex_unlock(&ws->lock);
    return in->win >= 0;
}

// The file to map. It is borrowed from *obj.
static int window_hostfd(const struct window_args *a, struct memobj **obj)
{
    int fd = -1;
    if (!a->data || !a->f->can_read || !a->real->ops->mmap || fsnotify_active() ||
        !file_atime_settled(a->real)) // an overlay's read touches the real file's time only
        return -1;
    int err = a->real->ops->mmap(a->real, obj);
    if (!err && *obj)
        err = (*obj)->ops->hostfd(*obj, true, false, &fd);
    return err ? -1 : fd;
}

bool window_publish(struct mm *mm, struct pcontext *ctx, struct fdtab *t, int fd,
                    const struct window_args *a)
{
    if (!mm->as->files || !ctx->ops->map_window || fd < 0 || fd >= PUB_FILES || !a->gen)
        return false;
    struct winspace *ws = space_of(mm);
    struct install in = {.w = slab_alloc(&winfile_slab), .ws = ws, .table = t, .fd = fd, .a = a};
    bool data = false;
    if (ws && in.w) {
        struct memobj *obj = nullptr;
        int hostfd = window_hostfd(a, &obj); // before the locks: the object's own come before them
        if (a->pos) {
            mutex_lock(&a->f->pos_lock);
            file_pos_mine(a->f);
            data = publish(ws, ctx, &in, hostfd);
            mutex_unlock(&a->f->pos_lock);
        } else {
            data = publish(ws, ctx, &in, hostfd);
        }
        memobj_put(obj);
    }
    if (data && !__atomic_exchange_n(&refresh_armed, true, __ATOMIC_SEQ_CST))
        timer_arm(&refresh, ktime_now() + REFRESH);
    if (in.w)
        slab_free(&winfile_slab, in.w);
    return (data || !a->data) && (in.leased || !a->pos);
}
