// SPDX-License-Identifier: Apache-2.0
// Address spaces: their making by fork, the proof of the pid that a stub reports (security.md 2.1),
// the doorbell, the watch over stubs that do not answer, killing and reaping.
//
// An st_aspace stays in the pid table from the claim until its process has been reaped, so a pid in
// the table can never be another process's.
#include "abi/errno.h"
#include "base/log.h"
#include "base/slab.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include "platform/systrap/systrap.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

SLAB_DEFINE(aspace_slab, struct st_aspace);
constexpr size_t SLOTS_BYTES = (size_t)SLOT_SIZE * SLOT_COUNT;
constexpr int SEALS_SIZE = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
constexpr int PID_BUCKETS = 1024;

static struct spinlock pid_lock = SPINLOCK_INIT;
static struct list pid_table[PID_BUCKETS]; // [pid_lock] st_aspace.pid_link
static struct list dying = LIST_INIT(dying); // [pid_lock] st_aspace.all_link: killed, not reaped
static struct spinlock all_lock = SPINLOCK_INIT;
static struct list all = LIST_INIT(all);   // [all_lock] st_aspace.all_link: alive
static struct timer reap_timer, sweep_timer;
static bool reap_armed, sweep_armed;       // [A]
static uint32_t tick, reap_delay_ms;       // [A]

static struct { // see st_aspace_free
    struct spinlock lock;
    struct list list;     // [lock] st_aspace.grave_link
    struct timer timer;
    bool armed;           // [A]
} grave;

static void reap(struct timer *t);
static void sweep(struct timer *t);
static void grave_timer(struct timer *t);

[[gnu::constructor]] static void tables_init(void)
{
    for (int i = 0; i < PID_BUCKETS; i++)
        list_init(&pid_table[i]);
    timer_init(&reap_timer, reap);
    timer_init(&sweep_timer, sweep);
    list_init(&grave.list);
    timer_init(&grave.timer, grave_timer);
}

// --- pids ----------------------------------------------------------------------------------------
static struct st_aspace *pid_find_locked(int pid)
{
    list_for_each (it, &pid_table[pid % PID_BUCKETS]) {
        struct st_aspace *as = list_entry(it, struct st_aspace, pid_link);
        if (as->claimed == pid)
            return as;
    }
    return nullptr;
}

// The state of a child of ours: 1 runs, 0 is dead and not reaped, -ECHILD.
static int child_state(int pid)
{
    siginfo_t si = {};
    long r = host_call(__NR_waitid, P_PID, pid, &si, WNOHANG | WNOWAIT | WEXITED | __WALL, 0);
    if (r < 0)
        return (int)r;
    return si.si_pid == pid ? 0 : 1;
}

static void unclaim(struct st_aspace *as)
{
    spin_lock(&pid_lock);
    list_del(&as->pid_link);
    as->claimed = 0;
    spin_unlock(&pid_lock);
}

// A pid from a stub is a claim. -EAGAIN: a child of ours indeed, but dead already.
int st_claim(struct st_aspace *as, int64_t claimed)
{
    if (claimed <= 1 || claimed > INT32_MAX || claimed == st.self)
        return -ESRCH;
    int pid = (int)claimed;
    spin_lock(&pid_lock);
    bool known = pid_find_locked(pid);
    if (!known) {
        as->claimed = pid;
        list_push_back(&pid_table[pid % PID_BUCKETS], &as->pid_link);
    }
    spin_unlock(&pid_lock);
    if (known)
        return -ESRCH;
    int state = child_state(pid);
    if (state == 1)
        return 0;
    if (state == 0)
        host_call(__NR_wait4, pid, 0, WNOHANG | __WALL, 0);
    unclaim(as);
    return state == 0 ? -EAGAIN : -ESRCH;
}

// Is it the process that has our slots? If not, the claim is void.
static int nonce_check(struct st_aspace *as)
{
    uint64_t got = 0;
    long n = stub_read(as->claimed, &got, st_slot_va(0) + offsetof(struct slot, nonce), sizeof(got));
    if (n == sizeof(got) && got == as->nonce) {
        __atomic_store_n(&as->pid, as->claimed, __ATOMIC_RELEASE);
        return 0;
    }
    unclaim(as);
    return n == -EPERM ? -EPERM : -ESRCH;
}

int st_prove_slow(struct st_aspace *as)
{
    int err = -ESRCH;
    mutex_lock(&as->lock);
    if (as->pid) {
        err = 0;
    } else if (as->claimed && as->first) {
        err = st_wait_born(as->first);
        if (!err)
            err = nonce_check(as);
        as->first = nullptr;
    }
    mutex_unlock(&as->lock);
    if (err)
        st_kill(as, as->claimed ? "it was not born" : "its pid was a lie");
    return err;
}

// --- making --------------------------------------------------------------------------------------
// A memory file, mapped by us for writing, then sealed.
static int shared_memfd(const char *name, size_t size, int seals, void **map, int *out)
{
    int fd = (int)host_call(__NR_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return fd;
    long err = host_call(__NR_ftruncate, fd, size);
    if (!err)
        err = host_call(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (err >= -4095 && err < 0) {
        host_call(__NR_close, fd);
        return (int)err;
    }
    *map = (void *)err;
    err = host_call(__NR_fcntl, fd, F_ADD_SEALS, seals);
    if (err) {
        host_call(__NR_munmap, *map, size);
        host_call(__NR_close, fd);
        *map = nullptr;
        return (int)err;
    }
    *out = fd;
    return 0;
}

// A space without a process. The caller sends stub_sock and memfd (and the doorbell) to the stub
// and closes them.
int st_aspace_alloc(uint32_t parity, struct st_aspace **out, int *stub_sock, int *memfd)
{
    int sv[2] = {-1, -1}, fd = -1, bell = -1;
    void *slots = nullptr;
    struct st_aspace *as = slab_alloc(&aspace_slab);
    if (!as)
        return -ENOMEM;
    long err = host_call(__NR_getrandom, &as->nonce, sizeof(as->nonce), 0);
    if (err >= 0)
        err = shared_memfd("sysmsg", SLOTS_BYTES, SEALS_SIZE, &slots, &fd);
    if (!err)
        err = host_call(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                        sv);
    if (!err) {
        bell = (int)host_call(__NR_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
        err = bell < 0 ? bell : 0;
    }
    if (err < 0) {
        if (fd >= 0) {
            host_call(__NR_close, fd);
            host_call(__NR_munmap, slots, SLOTS_BYTES);
        }
        if (bell >= 0)
            host_call(__NR_close, bell);
        if (sv[0] >= 0) {
            host_call(__NR_close, sv[0]);
            host_call(__NR_close, sv[1]);
        }
        slab_free(&aspace_slab, as);
        return (int)err;
    }
    as->slots = slots;
    as->used[SLOT_POS / 64] = 1ull << SLOT_POS % 64;
    as->base.ops = &systrap_ops;
    as->parity = parity;
    as->ctl = sv[0];
    as->bell = bell;
    mutex_init(&as->lock, RANK_PLATFORM);
    list_init(&as->ctxs);
    list_init(&as->gates);
    list_init(&as->pid_link);
    list_init(&as->all_link);
    spin_lock(&all_lock);
    list_push_back(&all, &as->all_link);
    spin_unlock(&all_lock);
    *stub_sock = sv[1];
    *memfd = fd;
    *out = as;
    return 0;
}

int st_send_fd(struct st_aspace *as, int fd)
{
    uint64_t data = 0;
    long r = fd_send(as->ctl, &data, sizeof(data), &fd, 1, MSG_DONTWAIT);
    return r < 0 ? (int)r : 0;
}

// What a new process finds on its control socket.
static int send_slots(struct st_aspace *as, int memfd, int pubfd)
{
    uint64_t data = 0;
    int fds[3] = {as->bell, memfd, pubfd};
    long r = fd_send(as->ctl, &data, sizeof(data), fds, 3, MSG_DONTWAIT);
    return r < 0 ? (int)r : 0;
}

// The published pages of a space that runs guest code; before its first context is made. Our own
// mapping stays the only one that can be written.
static int pub_alloc(struct st_aspace *as, int *fd)
{
    void *map;
    int err = shared_memfd("public", STUB_PUB_SIZE, SEALS_SIZE | F_SEAL_FUTURE_WRITE, &map, fd);
    if (!err) {
        as->pub = map;
        as->base.files = (struct pub_file *)((uint8_t *)map + STUB_PUB_FILES_OFF);
        as->base.pos = (struct pub_pos *)(as->slots + (size_t)SLOT_POS * SLOT_SIZE);
        as->base.umask = &((struct slot *)as->slots)->umask;
    }
    return err;
}

// --- a space made in advance ---------------------------------------------------------------------
// The next space but for its process, with all that it is told at birth already in its socket. Made
// while a stub is busy making a process and nobody waits for us; it has never been shown to anyone.
static struct {
    struct spinlock lock;
    struct st_aspace *as; // [lock; A] or null
    int sock;             // [lock] the stub's end
} spare;

static int space_make(bool watch, struct st_aspace **out, int *sock)
{
    struct st_aspace *as;
    int memfd, pubfd = -1;
    int err = st_aspace_alloc(0, &as, sock, &memfd);
    if (err)
        return err;
    err = pub_alloc(as, &pubfd);
    if (!err && watch)
        err = st_aspace_watch(as);
    if (!err)
        err = send_slots(as, memfd, pubfd);
    host_call(__NR_close, memfd);
    if (pubfd >= 0)
        host_call(__NR_close, pubfd);
    if (err) {
        host_call(__NR_close, *sock);
        st_aspace_destroy(as);
        return err;
    }
    *out = as;
    return 0;
}

// `watch`: what st_aspace_watch does is to be done by now.
int st_space_take(uint32_t parity, bool watch, struct st_aspace **as, int *sock)
{
    spin_lock(&spare.lock);
    *as = spare.as;
    *sock = spare.sock;
    WRITE_SHARED(spare.as, nullptr);
    spin_unlock(&spare.lock);
    int err = *as ? 0 : space_make(watch, as, sock);
    if (!err)
        (*as)->parity = parity;
    return err;
}

bool st_space_refill(void)
{
    struct st_aspace *as;
    int sock;
    if (READ_SHARED(spare.as) || space_make(true, &as, &sock))
        return false; // who needs one makes it
    // Our own mappings' first pages, so that its user does not wait for them.
    WRITE_SHARED(*(uint64_t *)(void *)as->slots, 0);
    WRITE_SHARED(*(uint64_t *)(void *)(as->slots + st.boot_uc), 0);
    WRITE_SHARED(as->pub->full, 0);
    spin_lock(&spare.lock);
    bool taken = !spare.as;
    if (taken) {
        WRITE_SHARED(spare.as, as);
        spare.sock = sock;
    }
    spin_unlock(&spare.lock);
    if (taken)
        return true;
    host_call(__NR_close, sock);
    st_aspace_destroy(as);
    return false;
}

// --- fork ----------------------------------------------------------------------------------------
int st_fork(struct pcontext *caller, struct aspace **out, struct pcontext **ctx)
{
    struct st_context *p = st_ctx(caller), *c = nullptr;
    struct st_aspace *pas = st_space_of(p), *as;
    int sock;
    int err = st_prove(pas);
    if (!err)
        err = st_space_take(!pas->parity, true, &as, &sock);
    if (err)
        return err;
    err = st_context_alloc(as, &c);
    struct stub_work w[2] = {};
    uint32_t n = 0;
    if (!err) {
        __atomic_store_n(&c->slot->state, SLOT_STUB, __ATOMIC_RELEASE);
        n = st_fp_save(p, &w[0]);
        w[n++] = (struct stub_work){.op = WORK_FORK,
                                    .a = {STUB_CTL_FD(as->parity), STUB_BELL_FD(as->parity)}};
        mutex_lock(&pas->lock);
        err = st_send_fd(pas, sock);
        host_call(__NR_close, sock);
        if (!err)
            err = st_dead(pas) ? -ESRCH : 0;
        if (!err) {
            st_later(p);
            st_work_start(p, w, n);
            (void)st_space_refill(); // in the time that the host's clone takes
            err = st_work_finish(p, w, n);
        }
        mutex_unlock(&pas->lock);
    } else {
        host_call(__NR_close, sock);
    }
    int64_t pid = n ? w[n - 1].ret : 0;
    if (!err) { // the child needs its frame only when it is told to go on
        if (n > 1)
            st_fp_saved(p, w[0].ret == 0);
        st_frame_prepare(c, p);
    }
    if (!err && pid < 0)
        err = pid == -EAGAIN || pid == -ENOMEM ? (int)pid : -ESRCH;
    if (!err)
        err = st_claim(as, pid);
    if (err) {
        if (err == -ESRCH)
            st_kill(pas, "a fork went wrong");
        st_aspace_destroy(as);
        return err;
    }
    as->first = c; // its birth is waited for when it is needed
    c->tid = as->claimed;
    *out = &as->base;
    *ctx = &c->base;
    return 0;
}

// --- doorbell ------------------------------------------------------------------------------------
static void wake_locked(struct st_aspace *as, bool everybody) REQUIRES(as->ctx_lock)
{
    list_for_each (it, &as->ctxs) {
        struct st_context *c = list_entry(it, struct st_context, link);
        struct fiber *f = __atomic_load_n(&c->fiber, __ATOMIC_SEQ_CST);
        if (f && __atomic_load_n(&c->waiting, __ATOMIC_SEQ_CST) != ST_IDLE &&
            (everybody || c->uw.ready(&c->uw)))
            fiber_wake(f);
    }
    st_gates_wake(as, everybody);
}

// The eventfd is never read: each write is an edge, and its count does not overflow in our lifetime
// (a stub that adds a large number gets EAGAIN and deafens itself).
static void doorbell(struct hostpoll *hp, uint32_t events)
{
    struct st_aspace *as = container_of(hp, struct st_aspace, bell_poll);
    spin_lock(&as->ctx_lock);
    wake_locked(as, false);
    spin_unlock(&as->ctx_lock);
}

// The stub's end of the control socket is closed: its process is gone. It sends nothing.
static void hangup(struct hostpoll *hp, uint32_t events)
{
    if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        st_kill(container_of(hp, struct st_aspace, ctl_poll), nullptr);
}

int st_aspace_watch(struct st_aspace *as)
{
    int err = hostpoll_add(&as->bell_poll, as->bell, EPOLLIN, doorbell);
    if (err)
        return err;
    err = hostpoll_add(&as->ctl_poll, as->ctl, EPOLLRDHUP, hangup);
    if (err)
        hostpoll_del(&as->bell_poll);
    else
        as->polled = true;
    return err;
}

// --- the end -------------------------------------------------------------------------------------
static void kill_locked(struct st_aspace *as, const char *why) REQUIRES(as->ctx_lock)
{
    if (__atomic_exchange_n(&as->dead, true, __ATOMIC_SEQ_CST))
        return;
    // A guest can make us say this as often as it forks.
    static uint32_t said;
    if (why && __atomic_fetch_add(&said, 1, __ATOMIC_RELAXED) < 1000)
        log_warn("guest process (host pid %d) killed: %s", as->claimed, why);
    if (as->pid)
        host_call(__NR_tgkill, as->pid, as->pid, SIGKILL);
    wake_locked(as, true);
}

void st_kill(struct st_aspace *as, const char *why)
{
    spin_lock(&as->ctx_lock);
    kill_locked(as, why);
    spin_unlock(&as->ctx_lock);
}

static void reap_later(void)
{
    if (!__atomic_exchange_n(&reap_armed, true, __ATOMIC_SEQ_CST))
        timer_arm(&reap_timer, ktime_now() + (ktime_t)READ_SHARED(reap_delay_ms) * 1000000);
}

// Rogue children (a hostile stub may clone what it does not report) and stubs that died by
// themselves; the first dead child that we must keep ends the look-around. True: perhaps more.
static bool reap_others(void)
{
    for (int i = 0; i < 64; i++) {
        siginfo_t si = {};
        if (host_call(__NR_waitid, P_ALL, 0, &si, WNOHANG | WNOWAIT | WEXITED | __WALL, 0) < 0 ||
            si.si_pid == 0)
            return false;
        spin_lock(&pid_lock);
        bool known = pid_find_locked(si.si_pid);
        spin_unlock(&pid_lock);
        if (known)
            return false;
        host_call(__NR_wait4, si.si_pid, 0, WNOHANG | __WALL, 0);
    }
    return true;
}

// In a worker's loop. wait4(WNOHANG) does not block; what is not dead yet is looked at again.
static void reap(struct timer *t)
{
    __atomic_store_n(&reap_armed, false, __ATOMIC_SEQ_CST);
    struct list done = LIST_INIT(done);
    spin_lock(&pid_lock);
    list_for_each_safe (it, &dying) {
        struct st_aspace *as = list_entry(it, struct st_aspace, all_link);
        if (host_call(__NR_wait4, as->claimed, 0, WNOHANG | __WALL, 0) == 0)
            continue;
        list_del(&as->pid_link);
        list_del(&as->all_link);
        list_push_back(&done, &as->all_link);
    }
    bool more = !list_empty(&dying);
    spin_unlock(&pid_lock);
    list_for_each_safe (it, &done)
        slab_free(&aspace_slab, list_entry(it, struct st_aspace, all_link));
    more |= reap_others();
    if (more) {
        WRITE_SHARED(reap_delay_ms, MIN(2 * READ_SHARED(reap_delay_ms) + 1, 100));
        reap_later();
    }
}

void st_aspace_destroy(struct st_aspace *as)
{
    if (as->claimed && !st_dead(as))
        (void)st_prove(as); // so that it can be killed
    st_kill(as, nullptr);
    if (as->polled) {
        hostpoll_del(&as->bell_poll);
        hostpoll_del(&as->ctl_poll);
    }
    host_call(__NR_close, as->bell);
    host_call(__NR_close, as->ctl);
    mem_free(as->batch);
    while (!list_empty(&as->ctxs)) // nobody else can reach them any more
        st_context_drop(list_first(&as->ctxs, struct st_context, link), ST_SLOT_KEPT);
    spin_lock(&all_lock);
    list_del(&as->all_link);
    spin_unlock(&all_lock);
    host_call(__NR_munmap, as->slots, SLOTS_BYTES);
    if (as->pub)
        host_call(__NR_munmap, as->pub, STUB_PUB_SIZE);
    if (as->pid == 0) { // no process, or one that is not ours to kill
        if (as->claimed)
            unclaim(as);
        slab_free(&aspace_slab, as);
        return;
    }
    spin_lock(&pid_lock);
    list_push_back(&dying, &as->all_link);
    spin_unlock(&pid_lock);
    WRITE_SHARED(reap_delay_ms, 1);
    reap_later();
}

// The host's part of a space's end takes longer than whoever waits for its task should: it comes later.
bool st_chores_due;
constexpr int GRAVE_BURST = 8; // of a timer's call

static bool grave_serve(void)
{
    struct st_aspace *as = nullptr;
    spin_lock(&grave.lock);
    if (!list_empty(&grave.list)) {
        as = list_first(&grave.list, struct st_aspace, grave_link);
        list_del(&as->grave_link);
    }
    spin_unlock(&grave.lock);
    if (as)
        st_aspace_destroy(as);
    return as;
}

static void grave_arm(ktime_t delay)
{
    if (!__atomic_exchange_n(&grave.armed, true, __ATOMIC_SEQ_CST))
        timer_arm(&grave.timer, ktime_now() + delay);
}

static void grave_timer(struct timer *t)
{
    __atomic_store_n(&grave.armed, false, __ATOMIC_SEQ_CST);
    for (int i = 0; i < GRAVE_BURST && grave_serve(); i++)
        continue;
    spin_lock(&grave.lock);
    bool more = !list_empty(&grave.list);
    spin_unlock(&grave.lock);
    if (more)
        grave_arm(0);
}

void st_chore(void)
{
    __atomic_store_n(&st_chores_due, false, __ATOMIC_SEQ_CST);
    if (st_spawn_refill() || st_space_refill() || grave_serve())
        __atomic_store_n(&st_chores_due, true, __ATOMIC_SEQ_CST); // perhaps more
}

void st_aspace_free(struct aspace *base)
{
    struct st_aspace *as = st_as(base);
    if (as->claimed && !st_dead(as))
        (void)st_prove(as); // so that it can be killed
    while (!list_empty(&as->ctxs)) // nobody else can reach them any more
        st_context_drop(list_first(&as->ctxs, struct st_context, link), ST_SLOT_KEPT);
    spin_lock(&grave.lock);
    list_push_back(&grave.list, &as->grave_link);
    spin_unlock(&grave.lock);
    __atomic_store_n(&st_chores_due, true, __ATOMIC_SEQ_CST);
    grave_arm(1000000);
}

// --- stubs that do not answer --------------------------------------------------------------------
// Counted in ticks of a timer of one second that runs only while somebody waits: a machine that was
// frozen or starved counts few ticks.
constexpr uint32_t TICKS_WORK = 60, TICKS_BORN = 10, TICKS_INTERRUPT = 4, TICKS_GIVEN_UP = 2;

uint32_t st_tick(void)
{
    return READ_SHARED(tick);
}
void st_watch_waits(void)
{
    if (!__atomic_load_n(&sweep_armed, __ATOMIC_SEQ_CST) &&
        !__atomic_exchange_n(&sweep_armed, true, __ATOMIC_SEQ_CST))
        timer_arm(&sweep_timer, ktime_now() + 1000000000);
}

static bool sweep_space(struct st_aspace *as) REQUIRES(as->ctx_lock)
{
    bool again = false, nudge = false;
    list_for_each (it, &as->ctxs) {
        struct st_context *c = list_entry(it, struct st_context, link);
        uint32_t age = READ_SHARED(tick) - READ_SHARED(c->wait_tick);
        enum st_wait w = __atomic_load_n(&c->waiting, __ATOMIC_SEQ_CST);
        if (w == ST_IDLE)
            continue;
        if (c->uw.ready(&c->uw)) { // a guest can silence its own doorbell, but not live on for it
            nudge |= w != ST_USER || __atomic_load_n(&c->intr, __ATOMIC_SEQ_CST);
            continue;
        }
        if (w == ST_WORK || w == ST_BORN) {
            again = true;
            bool given_up = __atomic_load_n(&c->given_up, __ATOMIC_SEQ_CST);
            if (age > (given_up ? TICKS_GIVEN_UP : w == ST_BORN ? TICKS_BORN : TICKS_WORK))
                kill_locked(as, "its stub does not finish a call");
        } else if (__atomic_load_n(&c->intr, __ATOMIC_SEQ_CST)) {
            again = true;
            if (age > TICKS_INTERRUPT)
                kill_locked(as, "it ignores interrupts");
            else if (host_call(__NR_tgkill, as->pid, c->tid, STUB_SIGNAL) == -ESRCH)
                kill_locked(as, "a host thread is gone");
        }
    }
    bool late = false, gates = st_gates_sweep(as, TICKS_WORK, &late);
    if (late)
        kill_locked(as, "its stub does not finish a deferred call");
    if (nudge)
        wake_locked(as, false);
    return again || nudge || gates;
}

static void sweep(struct timer *t)
{
    __atomic_store_n(&sweep_armed, false, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&tick, 1, __ATOMIC_SEQ_CST);
    bool again = false;
    spin_lock(&all_lock);
    list_for_each (it, &all) {
        struct st_aspace *as = list_entry(it, struct st_aspace, all_link);
        spin_lock(&as->ctx_lock);
        again |= !st_dead(as) && sweep_space(as);
        spin_unlock(&as->ctx_lock);
    }
    spin_unlock(&all_lock);
    if (again)
        st_watch_waits();
}
