// SPDX-License-Identifier: Apache-2.0
// Futexes of the Sentry's own queue: shared ones, PI ones, and the words that the kernel itself
// writes (robust lists, clear_child_tid). Private ones wait in the host's queue, always; a word is
// never in both. As on Linux, a private and a shared operation on one word do not meet.
//
// No guest memory is read under a bucket's lock: a waiter queues itself first and reads the word
// then, so a waker that changes the word either is seen or finds the waiter.
#include "abi/errno.h"
#include "base/slab.h"
#include "task/futex.h"
#include "task/internal.h"
#include <linux/futex.h>

struct futex_key {
    void *id;     // what it is compared by: obj, or what obj has in common with others
    void *obj;    // struct memobj (shared mapping) or struct mm; ref held by whoever has the key
    uint64_t off; // in the object, or the address
    bool shared;
};
enum fw_state : int { FW_WAITING, FW_WOKEN, FW_CHOSEN, FW_FAILED };
struct futex_waiter {
    struct list link;          // [bucket lock]
    struct futex_bucket *b;    // [A] where it is queued; changes at requeue
    struct futex_key key;      // [bucket lock] with a reference
    uint32_t bitset;
    struct fiber *fiber;
    enum fw_state state;       // [A]
    bool pi;
    uint32_t tid;              // PI: whom the word will name, as the guest sees it
    struct task *owner;        // PI: weak, who held the lock when we came
};
struct futex_bucket {
    struct spinlock lock;
    struct list waiters;       // [lock] zeroed until first use
};
constexpr size_t FUTEX_BUCKETS = 512;
constexpr unsigned ROBUST_ENTRIES_MAX = 2048;
static struct futex_bucket buckets[FUTEX_BUCKETS];
static uint32_t pi_waiters; // [A]

// --- keys ---
static int key_get(struct mm *mm, uaddr_t addr, struct futex_key *k)
{
    uint32_t probe;
    if (addr.v & 3)
        return -EINVAL;
    int err = get_user(mm, addr, probe);
    if (err)
        return err;
    struct memobj *o = mm_shared_object(mm, addr.v, &k->off);
    if (o) {
        k->obj = o;
        k->id = o->ops->identity ? o->ops->identity(o) : o;
        k->shared = true;
    } else {
        k->obj = k->id = mm_get(mm);
        k->off = addr.v;
        k->shared = false;
    }
    return 0;
}

static void key_ref(const struct futex_key *k)
{
    if (k->shared)
        (void)memobj_get(k->obj);
    else
        (void)mm_get(k->obj);
}

static void key_put(struct futex_key *k)
{
    if (k->shared)
        memobj_put(k->obj);
    else
        mm_put(k->obj);
}

static bool key_equal(const struct futex_key *a, const struct futex_key *b)
{
    return a->id == b->id && a->off == b->off;
}

static struct futex_bucket *key_bucket(const struct futex_key *k)
{
    return &buckets[hash_u64((uintptr_t)k->id ^ k->off * 0x9e3779b97f4a7c15ull) % FUTEX_BUCKETS];
}

static void bucket_lock(struct futex_bucket *b)
{
    spin_lock(&b->lock);
    if (!b->waiters.next)
        list_init(&b->waiters);
}

static void bucket_lock2(struct futex_bucket *a, struct futex_bucket *b)
{
    bucket_lock(a < b ? a : b);
    if (a != b)
        bucket_lock(a < b ? b : a);
}

static void bucket_unlock2(struct futex_bucket *a, struct futex_bucket *b)
{
    spin_unlock(&a->lock);
    if (a != b)
        spin_unlock(&b->lock);
}

// The bucket a waiter is queued in, locked; it may be moved while we come.
static struct futex_bucket *waiter_lock(struct futex_waiter *w)
{
    for (;;) {
        struct futex_bucket *b = __atomic_load_n(&w->b, __ATOMIC_ACQUIRE);
        bucket_lock(b);
        if (b == __atomic_load_n(&w->b, __ATOMIC_RELAXED))
            return b;
        spin_unlock(&b->lock);
    }
}

static void waiter_queue(struct futex_waiter *w, const struct futex_key *k)
{
    w->key = *k;
    w->b = key_bucket(k);
    w->fiber = fiber_current();
    w->state = FW_WAITING;
    bucket_lock(w->b);
    list_push_back(&w->b->waiters, &w->link);
    spin_unlock(&w->b->lock);
}

// Off the queue; the state at that moment.
static enum fw_state waiter_unqueue(struct futex_waiter *w)
{
    struct futex_bucket *b = waiter_lock(w);
    enum fw_state s = w->state;
    if (s == FW_WAITING)
        list_del(&w->link);
    spin_unlock(&b->lock);
    return s;
}

// [bucket lock] The waiter's memory may be gone once its state is set: read the fiber first, and
// keep the lock, which the waiter takes before it leaves.
static void waiter_wake(struct futex_waiter *w)
{
    struct fiber *f = w->fiber;
    list_del(&w->link);
    __atomic_store_n(&w->state, FW_WOKEN, __ATOMIC_RELEASE);
    fiber_wake(f);
}

// --- WAIT, WAKE, REQUEUE ---
long futex_wait(struct task *t, uaddr_t addr, uint32_t val, uint32_t bitset, ktime_t deadline)
{
    struct futex_key k;
    struct futex_waiter w = {.bitset = bitset};
    uint32_t cur;
    if (!bitset)
        return -EINVAL;
    int err = key_get(t->mm, addr, &k);
    if (err)
        return err;
    waiter_queue(&w, &k);
    err = get_user(t->mm, addr, cur);
    if (!err && cur != val)
        err = -EAGAIN;
    while (!err && __atomic_load_n(&w.state, __ATOMIC_ACQUIRE) == FW_WAITING)
        err = fiber_park(deadline, PARK_INTERRUPTIBLE);
    if (waiter_unqueue(&w) == FW_WOKEN)
        err = 0;
    key_put(&w.key); // another one than k after a requeue
    return err;
}

static int wake_key(const struct futex_key *k, int n, uint32_t bitset)
{
    struct futex_bucket *b = key_bucket(k);
    int woken = 0;
    bucket_lock(b);
    list_for_each_safe(it, &b->waiters) {
        struct futex_waiter *w = list_entry(it, struct futex_waiter, link);
        if (!key_equal(&w->key, k) || w->pi || !(w->bitset & bitset))
            continue;
        waiter_wake(w);
        if (++woken >= n)
            break;
    }
    spin_unlock(&b->lock);
    return woken;
}

long futex_wake(struct task *t, uaddr_t addr, int n, uint32_t bitset)
{
    struct futex_key k;
    if (!bitset)
        return -EINVAL;
    int err = key_get(t->mm, addr, &k);
    if (err)
        return err;
    int woken = wake_key(&k, n, bitset);
    key_put(&k);
    return woken;
}

int futex_wake_addr(struct mm *mm, uaddr_t addr, int count)
{
    struct futex_key k;
    int err = key_get(mm, addr, &k);
    if (err)
        return err;
    int n = wake_key(&k, count, FUTEX_BITSET_MATCH_ANY);
    key_put(&k);
    return n;
}

// Wakes and moves; how many of each. [both buckets locked] Each moved waiter now holds k2.
static int requeue_locked(struct futex_bucket *b1, const struct futex_key *k1, const struct futex_key *k2,
                          int nwake, int nrequeue, int *moved)
{
    struct futex_bucket *b2 = key_bucket(k2);
    int done = 0;
    list_for_each_safe(it, &b1->waiters) {
        struct futex_waiter *w = list_entry(it, struct futex_waiter, link);
        if (!key_equal(&w->key, k1) || w->pi)
            continue;
        if (done >= nwake + (int64_t)nrequeue)
            break;
        if (done++ < nwake) {
            waiter_wake(w);
        } else if (!key_equal(k1, k2)) {
            list_del(&w->link);
            list_push_back(&b2->waiters, &w->link);
            w->key = *k2;
            key_ref(k2);
            (*moved)++;
            __atomic_store_n(&w->b, b2, __ATOMIC_RELEASE);
        }
    }
    return done;
}

long futex_requeue(struct task *t, uaddr_t from, uaddr_t to, int nwake, int nrequeue,
                   const uint32_t *expect)
{
    struct futex_key k1, k2;
    uint32_t cur;
    if (nwake < 0 || nrequeue < 0)
        return -EINVAL;
    int err = key_get(t->mm, from, &k1);
    if (err)
        return err;
    err = key_get(t->mm, to, &k2);
    if (err)
        goto out1;
    if (expect) {
        err = get_user(t->mm, from, cur);
        if (!err && cur != *expect)
            err = -EAGAIN;
        if (err)
            goto out2;
    }
    struct futex_bucket *b1 = key_bucket(&k1), *b2 = key_bucket(&k2);
    int moved = 0;
    bucket_lock2(b1, b2);
    err = requeue_locked(b1, &k1, &k2, nwake, nrequeue, &moved);
    bucket_unlock2(b1, b2);
    while (moved-- > 0)
        key_put(&k1); // the moved waiters'; ours is the last
out2:
    key_put(&k2);
out1:
    key_put(&k1);
    return err;
}

// --- WAKE_OP ---
// The word is changed by compare-and-exchange in the caller's stub; oldval decides the second wake.
static int atomic_op(struct task *t, uaddr_t addr, uint32_t enc, bool *wake2)
{
    unsigned op = enc >> 28 & 7, cmp = enc >> 24 & 15;
    int32_t oparg = (int32_t)(enc << 8) >> 20, cmparg = (int32_t)(enc << 20) >> 20;
    uint32_t old, new, seen;
    if (enc >> 31 & 1)
        oparg = (int32_t)(1u << (oparg & 31));
    int err = addr.v & 3 ? -EINVAL : get_user(t->mm, addr, old);
    if (err)
        return err;
    for (;;) {
        switch (op) {
        case FUTEX_OP_SET:
            new = (uint32_t)oparg;
            break;
        case FUTEX_OP_ADD:
            new = old + (uint32_t)oparg;
            break;
        case FUTEX_OP_OR:
            new = old | (uint32_t)oparg;
            break;
        case FUTEX_OP_ANDN:
            new = old & ~(uint32_t)oparg;
            break;
        case FUTEX_OP_XOR:
            new = old ^ (uint32_t)oparg;
            break;
        default:
            return -ENOSYS;
        }
        err = user_cmpxchg32(t->mm, t->ctx, addr, old, new, &seen);
        if (err)
            return err;
        if (seen == old)
            break;
        old = seen;
    }
    int32_t o = (int32_t)old;
    switch (cmp) {
    case FUTEX_OP_CMP_EQ:
        *wake2 = o == cmparg;
        return 0;
    case FUTEX_OP_CMP_NE:
        *wake2 = o != cmparg;
        return 0;
    case FUTEX_OP_CMP_LT:
        *wake2 = o < cmparg;
        return 0;
    case FUTEX_OP_CMP_LE:
        *wake2 = o <= cmparg;
        return 0;
    case FUTEX_OP_CMP_GT:
        *wake2 = o > cmparg;
        return 0;
    case FUTEX_OP_CMP_GE:
        *wake2 = o >= cmparg;
        return 0;
    default:
        return -ENOSYS;
    }
}

static long host_wake(struct task *t, uaddr_t addr, int n)
{
    struct pfutex p = {.uaddr = addr, .op = FUTEX_WAKE | FUTEX_PRIVATE_FLAG, .val = (uint32_t)n};
    return t->ctx->ops->futex(t->ctx, &p);
}

long futex_wake_op(struct task *t, uaddr_t a1, uaddr_t a2, int n1, int n2, uint32_t enc, bool private)
{
    bool wake2 = false;
    if (a1.v & 3)
        return -EINVAL;
    long err = atomic_op(t, a2, enc, &wake2);
    if (err)
        return err;
    long r = private ? host_wake(t, a1, n1) : futex_wake(t, a1, n1, FUTEX_BITSET_MATCH_ANY);
    if (r >= 0 && wake2) {
        long r2 = private ? host_wake(t, a2, n2) : futex_wake(t, a2, n2, FUTEX_BITSET_MATCH_ANY);
        r = r2 < 0 ? r2 : r + r2;
    }
    return r;
}

// --- priority-inheritance locks: the protocol, without the inheritance ---
static struct futex_waiter *pi_first(struct futex_bucket *b, const struct futex_key *k, bool *more)
{
    struct futex_waiter *first = nullptr;
    *more = false;
    list_for_each(it, &b->waiters) {
        struct futex_waiter *w = list_entry(it, struct futex_waiter, link);
        if (!w->pi || !key_equal(&w->key, k))
            continue;
        if (first) {
            *more = true;
            break;
        }
        first = w;
    }
    return first;
}

// Writes the new owner (w, or none) into the word that names `tid`. -EAGAIN with *cur renewed when
// a waiter came in the meantime and w is none.
static int pi_store(struct task *t, uaddr_t addr, uint32_t *cur, uint32_t tid,
                    const struct futex_waiter *w, bool more, uint32_t extra)
{
    for (;;) {
        uint32_t seen, new = extra | (w ? w->tid | (more ? FUTEX_WAITERS : 0) : 0);
        if ((*cur & FUTEX_TID_MASK) != tid)
            return -EPERM;
        int err = user_cmpxchg32(t->mm, t->ctx, addr, *cur, new, &seen);
        if (err || seen == *cur)
            return err;
        bool came = (seen & ~*cur) & FUTEX_WAITERS;
        *cur = seen;
        if (!w && came)
            return -EAGAIN;
        more |= came;
    }
}

// Hands the lock, whose word names `tid`, to the longest waiter, or frees it. extra: FUTEX_OWNER_DIED.
static int pi_hand_over(struct task *t, uaddr_t addr, const struct futex_key *k, uint32_t cur,
                        uint32_t tid, uint32_t extra)
{
    struct futex_bucket *b = key_bucket(k);
    struct futex_waiter *w;
    int err;
    do {
        bool more;
        bucket_lock(b);
        w = pi_first(b, k, &more);
        if (w) {
            list_del(&w->link);
            __atomic_store_n(&w->state, FW_CHOSEN, __ATOMIC_RELEASE);
        }
        spin_unlock(&b->lock);
        err = pi_store(t, addr, &cur, tid, w, more, extra);
    } while (err == -EAGAIN);
    if (w) {
        bucket_lock(b); // the waiter takes it before it leaves
        struct fiber *f = w->fiber;
        __atomic_store_n(&w->state, err ? FW_FAILED : FW_WOKEN, __ATOMIC_RELEASE);
        fiber_wake(f);
        spin_unlock(&b->lock);
    }
    return err;
}

// Tries to get the word: 1 got it, 0 the waiters bit is set, or -errno.
static int pi_try(struct task *t, uaddr_t addr, uint32_t tid, bool try_only, struct task **owner)
{
    uint32_t cur, seen;
    int err = get_user(t->mm, addr, cur);
    while (!err) {
        uint32_t holder = cur & FUTEX_TID_MASK, new;
        if (holder == tid)
            return -EDEADLK;
        if (!holder)
            new = tid | (cur & FUTEX_OWNER_DIED) | (cur & FUTEX_WAITERS);
        else if (try_only)
            return -EAGAIN;
        else
            new = cur | FUTEX_WAITERS;
        if (holder) {
            struct task *o = task_find(t->pidns, (int)holder);
            bool gone = !o || READ_SHARED(o->exiting);
            *owner = o;
            task_put(o); // compared only
            if (gone)
                return -ESRCH;
        }
        if (new == cur)
            return 0;
        err = user_cmpxchg32(t->mm, t->ctx, addr, cur, new, &seen);
        if (!err && seen == cur)
            return holder ? 0 : 1;
        cur = seen;
    }
    return err;
}

long futex_lock_pi(struct task *t, uaddr_t addr, ktime_t deadline, bool try_only)
{
    struct futex_key k;
    struct futex_waiter w = {.pi = true, .tid = (uint32_t)task_tid_in(t, t->pidns)};
    int err = key_get(t->mm, addr, &k);
    if (err)
        return err;
    if (try_only) {
        struct task *o;
        err = pi_try(t, addr, w.tid, true, &o);
        key_put(&k);
        return err == 1 ? 0 : err;
    }
    waiter_queue(&w, &k);
    __atomic_fetch_add(&pi_waiters, 1, __ATOMIC_SEQ_CST);
    err = pi_try(t, addr, w.tid, false, &w.owner);
    while (!err && __atomic_load_n(&w.state, __ATOMIC_ACQUIRE) == FW_WAITING)
        err = fiber_park(deadline, PARK_INTERRUPTIBLE);
    enum fw_state s = waiter_unqueue(&w);
    while (s == FW_CHOSEN) { // the lock is on its way to us
        (void)fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE);
        s = waiter_unqueue(&w);
    }
    __atomic_fetch_sub(&pi_waiters, 1, __ATOMIC_SEQ_CST);
    if (s == FW_WOKEN || err == 1)
        err = 0;
    else if (s == FW_FAILED)
        err = -EFAULT;
    key_put(&k);
    return err;
}

long futex_unlock_pi(struct task *t, uaddr_t addr)
{
    struct futex_key k;
    uint32_t cur, tid = (uint32_t)task_tid_in(t, t->pidns);
    int err = key_get(t->mm, addr, &k);
    if (err)
        return err;
    err = get_user(t->mm, addr, cur);
    if (!err && (cur & FUTEX_TID_MASK) != tid)
        err = -EPERM;
    if (!err)
        err = pi_hand_over(t, addr, &k, cur, tid, 0);
    key_put(&k);
    return err;
}

// --- the end of a thread ---
// A word of the robust list that names us: mark it and let one waiter look.
static int robust_death(struct task *t, uint64_t addr, bool pi, bool pending)
{
    uint32_t cur, seen, tid = (uint32_t)task_tid_in(t, t->pidns);
    if ((addr & 3) || get_user(t->mm, UADDR(addr), cur) != 0)
        return -EFAULT;
    if (pending && !pi && !cur)
        return futex_wake_addr(t->mm, UADDR(addr), 1);
    while ((cur & FUTEX_TID_MASK) == tid) {
        uint32_t new = (cur & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        if (pi && (cur & FUTEX_WAITERS)) {
            struct futex_key k;
            int err = key_get(t->mm, UADDR(addr), &k);
            if (err)
                return err;
            err = pi_hand_over(t, UADDR(addr), &k, cur, tid, FUTEX_OWNER_DIED);
            key_put(&k);
            return err;
        }
        int err = user_cmpxchg32(t->mm, t->ctx, UADDR(addr), cur, new, &seen);
        if (err)
            return err;
        if (seen == cur) {
            if (!pi && (cur & FUTEX_WAITERS))
                return futex_wake_addr(t->mm, UADDR(addr), 1);
            return 0;
        }
        cur = seen;
    }
    return 0;
}

static void robust_walk(struct task *t)
{
    struct { uint64_t next, offset, pending; } head;
    uint64_t list = t->robust_list.v;
    if (get_user(t->mm, t->robust_list, head) != 0)
        return;
    uint64_t e = head.next, seen = 0;
    for (unsigned i = 0; (e & ~1ull) != list && i < ROBUST_ENTRIES_MAX; i++) {
        uint64_t next;
        if (e == seen) // a ring that the head is not in: all of it has been looked at
            break;
        if ((i & (i - 1)) == 0)
            seen = e;
        int err = get_user(t->mm, UADDR(e & ~1ull), next);
        if ((e & ~1ull) != (head.pending & ~1ull) &&
            robust_death(t, (e & ~1ull) + head.offset, e & 1, false) < 0)
            return;
        if (err)
            return;
        e = next;
        if (i % 64 == 63)
            fiber_yield();
    }
    if (head.pending & ~1ull)
        (void)robust_death(t, (head.pending & ~1ull) + head.offset, head.pending & 1, true);
}

// PI waiters that wait for us, on words of this address space that we never unlocked.
static void pi_owner_exit(struct task *t)
{
    uint32_t tid = (uint32_t)task_tid_in(t, t->pidns);
    for (size_t i = 0; i < FUTEX_BUCKETS; i++) {
        struct futex_bucket *b = &buckets[i];
        struct futex_key k = {};
        bucket_lock(b);
        list_for_each(it, &b->waiters) {
            struct futex_waiter *w = list_entry(it, struct futex_waiter, link);
            if (w->pi && w->owner == t && w->key.obj == t->mm) {
                k = w->key;
                w->owner = nullptr; // one look each
                break;
            }
        }
        spin_unlock(&b->lock);
        uint32_t cur;
        if (!k.obj)
            continue;
        if (get_user(t->mm, UADDR(k.off), cur) == 0 && (cur & FUTEX_TID_MASK) == tid)
            (void)pi_hand_over(t, UADDR(k.off), &k, cur, tid, FUTEX_OWNER_DIED);
        i--; // there may be more in this bucket
    }
}

void futex_exit(struct task *t)
{
    if (!t->mm || !t->ctx)
        return;
    if (!uaddr_null(t->robust_list))
        robust_walk(t);
    t->robust_list = UADDR(0);
    if (__atomic_load_n(&pi_waiters, __ATOMIC_SEQ_CST))
        pi_owner_exit(t);
}
