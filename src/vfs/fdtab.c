// SPDX-License-Identifier: Apache-2.0
// Descriptor tables. One spinlock guards everything; memory is allocated and files are released
// outside of it. The lowest free number is found in a bitmap, from a hint below which every word is
// full.
#include "vfs/internal.h"
#include "vfs/window.h"
#include "abi/errno.h"
#include <fcntl.h>
#include <string.h>

constexpr uint32_t FD_MAX = 1u << 20; // nr_open
constexpr uint32_t FD_FIRST = 64;

struct fdtab {
    struct ref ref;
    struct spinlock lock;
    uint32_t cap;          // [lock] a multiple of 64
    uint32_t count;        // [lock]
    uint32_t hint;         // [lock] no free word of `used` before this one
    struct file **files;   // [lock] owned; each holds a reference
    uint64_t *used;        // [lock] owned, cap / 64 words
    uint64_t *cloexec;     // [lock] owned
    bool published;        // [lock] stubs have or had lines of our files (window.c)
    uint64_t id;           // [C]
};
SLAB_DEFINE(fdtab_slab, struct fdtab);

struct arrays {
    struct file **files;
    uint64_t *used, *cloexec;
};

static bool arrays_alloc(struct arrays *a, uint32_t cap)
{
    a->files = mem_alloc_array(cap, sizeof(*a->files));
    a->used = mem_alloc_array(cap / 64, sizeof(*a->used));
    a->cloexec = mem_alloc_array(cap / 64, sizeof(*a->cloexec));
    if (a->files && a->used && a->cloexec)
        return true;
    mem_free(a->files);
    mem_free(a->used);
    mem_free(a->cloexec);
    *a = (struct arrays){};
    return false;
}

static struct fdtab *fdtab_new_cap(uint32_t cap)
{
    struct fdtab *t = slab_alloc(&fdtab_slab);
    struct arrays a = {};
    if (!t || !arrays_alloc(&a, cap)) {
        if (t)
            slab_free(&fdtab_slab, t);
        return nullptr;
    }
    ref_init(&t->ref);
    t->cap = cap;
    t->files = a.files;
    t->used = a.used;
    t->cloexec = a.cloexec;
    static uint64_t last_id;
    t->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
    return t;
}
uint64_t fdtab_id(const struct fdtab *t)
{
    return t->id;
}

struct fdtab *fdtab_new(void)
{
    return fdtab_new_cap(FD_FIRST);
}

struct fdtab *fdtab_get(struct fdtab *t)
{
    ref_get(&t->ref);
    return t;
}

bool fdtab_shared(const struct fdtab *t)
{
    return ref_count(&t->ref) > 1;
}

// Makes room for descriptor `want`; the lock is dropped and taken again. False: no memory.
static bool grow_locked(struct fdtab *t, uint32_t want)
{
    while (want >= t->cap) {
        uint32_t cap = t->cap;
        while (cap <= want)
            cap *= 2;
        spin_unlock(&t->lock);
        struct arrays a;
        bool ok = arrays_alloc(&a, cap);
        spin_lock(&t->lock);
        if (!ok)
            return want < t->cap;
        struct arrays old = a;
        if (cap > t->cap) { // else somebody else was faster
            memcpy(a.files, t->files, t->cap * sizeof(*a.files));
            memcpy(a.used, t->used, t->cap / 8);
            memcpy(a.cloexec, t->cloexec, t->cap / 8);
            old = (struct arrays){t->files, t->used, t->cloexec};
            t->files = a.files;
            t->used = a.used;
            t->cloexec = a.cloexec;
            t->cap = cap;
        }
        spin_unlock(&t->lock);
        mem_free(old.files);
        mem_free(old.used);
        mem_free(old.cloexec);
        spin_lock(&t->lock);
    }
    return true;
}

static void slot_set(struct fdtab *t, uint32_t fd, struct file *f, bool cloexec)
{
    uint64_t bit = 1ull << (fd % 64);
    t->files[fd] = f;
    t->used[fd / 64] |= bit;
    t->cloexec[fd / 64] = cloexec ? t->cloexec[fd / 64] | bit : t->cloexec[fd / 64] & ~bit;
}

static struct file *slot_clear(struct fdtab *t, uint32_t fd)
{
    if (fd >= t->cap || !t->files[fd])
        return nullptr;
    struct file *f = t->files[fd];
    uint64_t bit = 1ull << (fd % 64);
    if (unlikely(t->published))
        t->published = window_forget(t, (int)fd);
    t->files[fd] = nullptr;
    t->used[fd / 64] &= ~bit;
    t->cloexec[fd / 64] &= ~bit;
    t->count--;
    if (fd / 64 < t->hint)
        t->hint = fd / 64;
    return f;
}

// As large a table as the descriptors below `upto` need.
static uint32_t cap_for_locked(const struct fdtab *t, uint32_t upto)
{
    uint32_t words = t->cap / 64, cap = FD_FIRST;
    words = words < upto / 64 + 1 ? words : upto / 64 + 1;
    while (words && !t->used[words - 1])
        words--;
    while (cap < words * 64)
        cap *= 2;
    return cap;
}

struct fdtab *fdtab_dup(struct fdtab *old, uint32_t upto)
{
    for (;;) {
        spin_lock(&old->lock);
        uint32_t cap = cap_for_locked(old, upto);
        spin_unlock(&old->lock);
        struct fdtab *t = fdtab_new_cap(cap);
        if (!t)
            return nullptr;
        spin_lock(&old->lock);
        if (cap_for_locked(old, upto) > cap) { // grew meanwhile
            spin_unlock(&old->lock);
            fdtab_put(t, nullptr);
            continue;
        }
        uint32_t words = (old->cap < cap ? old->cap : cap) / 64; // beyond is nothing to copy
        for (uint32_t w = 0; w < words; w++)
            for (uint64_t bits = old->used[w]; bits; bits &= bits - 1) {
                uint32_t fd = w * 64 + (uint32_t)__builtin_ctzll(bits);
                if (fd >= upto)
                    break;
                slot_set(t, fd, file_get(old->files[fd]), old->cloexec[w] >> (fd % 64) & 1);
                t->count++;
            }
        spin_unlock(&old->lock);
        return t;
    }
}

static int filp_close(struct file *f, void *owner)
{
    int err = 0;
    if (f->ops->flush && !f->opath)
        err = f->ops->flush(f, owner);
    if (READ_SHARED(inode_common_known(f->inode)->locks) && owner)
        locks_release_owner(f->inode, owner);
    file_put(f);
    return err;
}

void fdtab_put(struct fdtab *t, void *owner)
{
    if (!t || !ref_put(&t->ref))
        return;
    for (uint32_t w = 0; w < t->cap / 64; w++)
        while (t->used[w]) {
            uint32_t fd = w * 64 + (uint32_t)__builtin_ctzll(t->used[w]);
            filp_close(slot_clear(t, fd), owner ? owner : t);
        }
    mem_free(t->files);
    mem_free(t->used);
    mem_free(t->cloexec);
    slab_free(&fdtab_slab, t);
}

struct file *fd_get_any(struct fdtab *t, int fd)
{
    struct file *f = nullptr;
    spin_lock(&t->lock);
    if (fd >= 0 && (uint32_t)fd < t->cap && t->files[fd])
        f = file_get(t->files[fd]);
    spin_unlock(&t->lock);
    return f;
}

bool fdtab_if(struct fdtab *t, int fd, const struct file *f, void (*fn)(void *arg, bool *published),
              void *arg)
{
    spin_lock(&t->lock);
    bool same = fd >= 0 && (uint32_t)fd < t->cap && t->files[fd] == f;
    if (same)
        fn(arg, &t->published);
    spin_unlock(&t->lock);
    return same;
}

struct file *fd_get(struct fdtab *t, int fd)
{
    struct file *f = fd_get_any(t, fd);
    if (f && f->opath) {
        file_put(f);
        return nullptr;
    }
    return f;
}

// Lowest free number >= min, which may be t->cap (then the table must grow).
static uint32_t lowest_free(struct fdtab *t, uint32_t min)
{
    uint32_t words = t->cap / 64, w = min / 64;
    if (w >= words)
        return min;
    uint64_t free = ~t->used[w] & (~0ull << (min % 64));
    if (w < t->hint) {
        w = t->hint;
        free = w < words ? ~t->used[w] : 0;
    }
    while (!free && ++w < words)
        free = ~t->used[w];
    if (w >= words)
        return t->cap;
    return w * 64 + (uint32_t)__builtin_ctzll(free);
}

int fd_install(struct fdtab *t, struct file *f, int min, bool cloexec, uint64_t limit)
{
    if (limit > FD_MAX)
        limit = FD_MAX;
    if (min < 0 || (uint64_t)min >= limit)
        return min < 0 ? -EINVAL : -EMFILE;
    spin_lock(&t->lock);
    uint32_t fd;
    for (;;) {
        fd = lowest_free(t, (uint32_t)min);
        if (fd >= limit) {
            spin_unlock(&t->lock);
            return -EMFILE;
        }
        if (fd < t->cap)
            break;
        if (!grow_locked(t, fd)) {
            spin_unlock(&t->lock);
            return -ENOMEM;
        }
    }
    slot_set(t, fd, f, cloexec);
    t->count++;
    if (min == 0) // everything below was found taken
        t->hint = fd / 64;
    spin_unlock(&t->lock);
    return (int)fd;
}

int fd_install_at(struct fdtab *t, struct file *f, int fd, bool cloexec, uint64_t limit,
                  struct file **old)
{
    *old = nullptr;
    if (fd < 0 || (uint64_t)fd >= MIN(limit, (uint64_t)FD_MAX))
        return -EBADF;
    spin_lock(&t->lock);
    if (!grow_locked(t, (uint32_t)fd)) {
        spin_unlock(&t->lock);
        return -ENOMEM;
    }
    *old = slot_clear(t, (uint32_t)fd);
    slot_set(t, (uint32_t)fd, f, cloexec);
    t->count++;
    spin_unlock(&t->lock);
    return fd;
}

struct file *fd_remove(struct fdtab *t, int fd)
{
    spin_lock(&t->lock);
    struct file *f = fd < 0 ? nullptr : slot_clear(t, (uint32_t)fd);
    spin_unlock(&t->lock);
    return f;
}

int fd_close(struct fdtab *t, int fd, void *owner)
{
    struct file *f = fd_remove(t, fd);
    return f ? filp_close(f, owner) : -EBADF;
}

int file_close(struct file *f, void *owner)
{
    return filp_close(f, owner);
}

int fd_get_cloexec(struct fdtab *t, int fd)
{
    int res = -EBADF;
    spin_lock(&t->lock);
    if (fd >= 0 && (uint32_t)fd < t->cap && t->files[fd])
        res = (int)(t->cloexec[fd / 64] >> (fd % 64) & 1);
    spin_unlock(&t->lock);
    return res;
}

int fd_set_cloexec(struct fdtab *t, int fd, bool on)
{
    int res = -EBADF;
    spin_lock(&t->lock);
    if (fd >= 0 && (uint32_t)fd < t->cap && t->files[fd]) {
        slot_set(t, (uint32_t)fd, t->files[fd], on);
        res = 0;
    }
    spin_unlock(&t->lock);
    return res;
}

// Takes the first descriptor >= from whose bit is set in `map` out of the table.
static struct file *take_next(struct fdtab *t, bool cloexec_only, uint32_t *from, uint32_t last)
{
    struct file *f = nullptr;
    spin_lock(&t->lock);
    for (uint32_t w = *from / 64; w < t->cap / 64 && !f; w++) {
        uint64_t bits = t->used[w] & (cloexec_only ? t->cloexec[w] : ~0ull);
        if (w == *from / 64)
            bits &= ~0ull << (*from % 64);
        if (!bits)
            continue;
        uint32_t fd = w * 64 + (uint32_t)__builtin_ctzll(bits);
        if (fd > last)
            break;
        f = slot_clear(t, fd);
        *from = fd + 1;
    }
    spin_unlock(&t->lock);
    return f;
}

void fdtab_close_on_exec(struct fdtab *t, void *owner)
{
    uint32_t from = 0;
    for (struct file *f; (f = take_next(t, true, &from, UINT32_MAX));)
        filp_close(f, owner);
}

void fdtab_close_range(struct fdtab *t, uint32_t first, uint32_t last, void *owner)
{
    for (struct file *f; (f = take_next(t, false, &first, last));)
        filp_close(f, owner);
}

void fdtab_cloexec_range(struct fdtab *t, uint32_t first, uint32_t last)
{
    spin_lock(&t->lock);
    for (uint32_t w = first / 64; w < t->cap / 64 && w <= last / 64; w++) {
        uint64_t mask = ~0ull;
        if (w == first / 64)
            mask &= ~0ull << (first % 64);
        if (w == last / 64)
            mask &= ~0ull >> (63 - last % 64);
        t->cloexec[w] |= t->used[w] & mask;
    }
    spin_unlock(&t->lock);
}

void fdtab_iterate(struct fdtab *t, int from, bool (*fn)(int fd, struct file *f, void *arg),
                   void *arg)
{
    for (uint32_t fd = from < 0 ? 0 : (uint32_t)from;; fd++) {
        struct file *f = nullptr;
        spin_lock(&t->lock);
        for (uint32_t w = fd / 64; w < t->cap / 64 && !f; w++) {
            uint64_t bits = t->used[w];
            if (w == fd / 64)
                bits &= ~0ull << (fd % 64);
            if (bits) {
                fd = w * 64 + (uint32_t)__builtin_ctzll(bits);
                f = file_get(t->files[fd]);
            }
        }
        spin_unlock(&t->lock);
        if (!f)
            return;
        bool more = fn((int)fd, f, arg);
        file_put(f);
        if (!more)
            return;
    }
}

int fdtab_size(struct fdtab *t)
{
    return (int)READ_SHARED(t->cap);
}

int fdtab_count(struct fdtab *t)
{
    return (int)READ_SHARED(t->count);
}
