// SPDX-License-Identifier: Apache-2.0
// The systrap platform's own structures; private to this folder. See ../README.md for the protocol.
//
// Trust: everything in a slot is the guest's. Slot fields are read with READ_SHARED, once, into
// locals; what is checked is the local. A struct st_context remembers on our side what matters
// (where the frame is, what its registers are).
//
// Locks: st_aspace.lock (RANK_PLATFORM) covers the control socket's messages to the stub and forks;
// the spinlocks are leaves: st_aspace.ctx_lock, and the pid table's and the list of spaces' in
// space.c (order: space list, then ctx_lock).
#pragma once
#include "base/list.h"
#include "platform/internal.h"
#include "platform/marshal.h"
#include "sched/fiber.h"
#include "sched/mutex.h"
#include "sched/timer.h"

struct st_aspace {
    struct aspace base;
    int claimed;                   // [pid table's lock] what its parent said; registered
    int pid;                       // [A] the same once proved, 0 before: see st_prove
    struct st_context *first;      // [lock] whose slot shows the birth; null once proved
    int ctl, bell;                 // [C] our end of the control socket; the doorbell
    uint32_t parity;               // [C] which numbers they have in the stub
    uint64_t nonce;                // [C]
    uint8_t *slots;                // [C] our mapping of the sysmsg memfd
    struct ppublic *pub;           // [C] our mapping of the published pages; null: the zygote
    bool dead;                     // [A] killed or gone: nothing more is believed or awaited
    struct mutex lock;             // messages to the stub, forks
    struct spinlock ctx_lock;
    struct list ctxs;              // [ctx_lock] st_context.link
    uint32_t nctx;                 // [A] of these
    uint64_t used[SLOT_COUNT / 64];// [ctx_lock] slots
    uint64_t leaving[SLOT_COUNT / 64]; // [ctx_lock] of these: the thread has been told to end
    uint32_t nleaving;             // [ctx_lock]
    struct list gates;             // [ctx_lock] who waits for a deferred call (later.c)
    uint32_t later_seq;            // [A] counts ends of such calls that were waited for
    uint32_t shape;                // [A] counts changes after which memory may no longer be writable
    struct st_batch *batch;        // [exec's fiber] calls put off, before the first context has run; or null
    struct hostpoll bell_poll, ctl_poll;
    bool polled;                   // these are registered
    uint32_t patch_tries;          // [A] a stub may say that a site is hot as often as it likes
    struct list all_link;          // [space list's lock]
    struct list grave_link;        // [grave's lock]
    struct list pid_link;          // [pid table's lock]
};

// The arguments of the system call that a context's fiber answers, as its stub marshalled them: what
// was read from the slot once and checked. Only the bytes themselves stay hostile. [owner fiber]
struct st_marshal {
    uint32_t n;                    // of r
    uint32_t shape;                // of the space when the buffers were found writable
    struct slot_out r[6 + 6 + SLOT_EXTRA_MAX]; // copied in at off, or SLOT_PROBED: can be written
    uint32_t used;                 // of the data area
    uint32_t nout;                 // results that the stub is to write before it returns
    bool failed;                   // one could not be written
    struct slot_out pending[SLOT_OUT_MAX];
};

constexpr uint8_t ST_YOUNG = 8;
// Of a deferred call: kept here; being made by a list of its own; with the stub, which says in its slot
// when it is done; refused, and the kernel above has not dealt with that.
enum st_later : uint8_t { LATER_NONE, LATER_SET, LATER_MAKING, LATER_SENT, LATER_REFUSED };
enum st_wait : uint8_t { ST_IDLE, ST_USER, ST_WORK, ST_BORN };
struct st_context {
    struct pcontext base;
    struct list link;              // [ctx_lock]
    uint32_t index;                // [C] slot
    struct slot *slot;             // [C] in as->slots; hostile memory
    int tid;                       // [C after birth] as the stub says; only used with as->pid
    // What the stub's frame holds. [owner fiber]
    struct user_regs cur;
    uint32_t uc_off;               // checked
    uint32_t fp_home;              // where fp_off was before fp_reset
    uint32_t fp_off;               // through st_fp_find(); 0: none, the guest will see the initial one
    struct stub_work later;        // [owner fiber] deferred (st_defer), if later_state is SET
    enum st_later later_state;     // [A] written by the owner fiber
    uint32_t later_waited;         // [A] somebody waits for it (st_await)
    int refused;                   // [owner fiber] what became of it, if it failed: -errno, not yet told
    int64_t cpu_ns;                // the stub sent it with the current call; 0: ask
    bool cur_valid;                // cur is what the frame holds
    bool live;                     // the frame is a trampoline's: its return loads no FP state
    bool fast;                     // the frame is a system call's and may be left without sigreturn
    uint8_t young;                 // returns to the guest that are still a time for chores
    struct st_marshal m;
    // Shared with other fibers and callbacks.
    enum st_wait waiting;          // [A] what we wait for from the stub
    uint32_t intr;                 // [A] interrupt() since the last return to the caller
    uint32_t nevents;              // [A] times that the stub has come to us
    uint32_t drain_from;           // [ctx_lock] nevents when the drain began
    bool given_up;                 // [A] its task has been killed
    bool drain;                    // [ctx_lock] st_drain() waits for us
    uint32_t wait_tick;            // [A] tick at which waiting or intr began
    struct fiber *fiber;           // [A] who waits in us; read by others under ctx_lock
    struct user_wait uw;
};
static inline struct st_aspace *st_as(struct aspace *as)
{
    return container_of(as, struct st_aspace, base);
}
static inline struct st_context *st_ctx(struct pcontext *c)
{
    return container_of(c, struct st_context, base);
}
static inline struct st_aspace *st_space_of(struct st_context *c)
{
    return st_as(c->base.as);
}
static inline bool st_dead(struct st_aspace *as)
{
    return __atomic_load_n(&as->dead, __ATOMIC_ACQUIRE);
}
// What a running call found writable may be so no longer.
static inline void st_shape_changes(struct st_aspace *as)
{
    __atomic_fetch_add(&as->shape, 1, __ATOMIC_SEQ_CST);
}
// boot.c
int st_init(const struct platform_config *cfg);
// A fresh space, from a zygote; null: the master.
int st_spawn(struct pzygote *from, struct aspace **as, struct pcontext **ctx);
int st_zygote_new(struct pzygote **z, int *host_pid);
void st_zygote_free(struct pzygote *z);
bool st_spawn_refill(void);                                // the next one to be is begun

// space.c
MUST_CHECK int st_aspace_alloc(uint32_t parity, struct st_aspace **as, int *stub_sock, int *memfd);
MUST_CHECK int st_aspace_watch(struct st_aspace *as);      // registers the doorbell
void st_aspace_destroy(struct st_aspace *as); // kills, frees, reaps later
void st_kill(struct st_aspace *as, const char *why);       // from anywhere
MUST_CHECK int st_claim(struct st_aspace *as, int64_t pid); // takes a reported pid, or -ESRCH
// Waits until the process is born and proves its pid. Before that nothing is written to it, and no
// signal sent. Every operation begins with it; 0 or -ESRCH (-EPERM: the host forbids).
int st_prove_slow(struct st_aspace *as);
static inline int st_prove(struct st_aspace *as)
{
    return likely(__atomic_load_n(&as->pid, __ATOMIC_ACQUIRE)) ? 0 : st_prove_slow(as);
}
MUST_CHECK int st_send_fd(struct st_aspace *as, int fd);
// A space without a process, its birth messages sent, and the end of its socket that goes to the stub:
// the one made in advance, or a new one. refill: makes one in advance, unless it is there (false).
MUST_CHECK int st_space_take(uint32_t parity, bool watch, struct st_aspace **as, int *stub_sock);
bool st_space_refill(void);
void st_watch_waits(void);                                 // a wait on a stub has begun
uint32_t st_tick(void);                                    // advances while there are waits
int st_fork(struct pcontext *caller, struct aspace **as, struct pcontext **ctx);
void st_aspace_free(struct aspace *as);
// Work that nobody waits for, put off until a new program or process has just begun to run: the ends of
// old spaces, the making of what the next one needs. A timer does the former at the latest. One piece
// at a time, so that the new one's first call need not wait for all of it.
void st_chore(void);
extern bool st_chores_due;                    // [A]

// ctx.c
MUST_CHECK int st_context_alloc(struct st_aspace *as, struct st_context **ctx);
enum st_slot_fate : int { ST_SLOT_FREE, ST_SLOT_LEAVING, ST_SLOT_KEPT };
void st_context_drop(struct st_context *c, enum st_slot_fate fate);
void st_frame_prepare(struct st_context *c, struct st_context *from); // from: FP state, or null
MUST_CHECK int st_wait_born(struct st_context *c);
int st_context_new(struct pcontext *caller, struct pcontext **ctx);
void st_context_free(struct pcontext *ctx);
void st_run(struct pcontext *ctx, struct user_regs *regs, struct pevent *ev);
void st_interrupt(struct pcontext *ctx);
void st_give_up(struct pcontext *ctx);
// [ctx] Hands a list to the stub and waits. Results are in the slot's memory no longer, but in
// items[].ret. -ESRCH when the stub is gone. With `user`, interrupt() reaches the stub meanwhile.
MUST_CHECK int st_work(struct st_context *c, struct stub_work *items, uint32_t n, bool user);
// The two halves of st_work: a list of which nobody waits yet.
void st_work_start(struct st_context *c, const struct stub_work *items, uint32_t n);
MUST_CHECK int st_work_finish(struct st_context *c, struct stub_work *items, uint32_t n);

// marshal.c
void st_marshal_take(struct st_context *c, const struct user_regs *r); // a system call has come in
bool st_marshal_send(struct st_context *c); // before a return to the guest; true: the stub has to write
void st_marshal_end(struct st_context *c);  // from here on memory is copied the slow way
long st_read_mem(struct aspace *as, void *dst, uaddr_t src, size_t n);
long st_write_mem(struct aspace *as, uaddr_t dst, const void *src, size_t n);
long st_copy_vec(struct aspace *as, bool write, void *buf, const struct pvec *v, size_t n);
size_t st_read_str(struct aspace *as, char *dst, uaddr_t src, size_t size);

// fp.c
constexpr uint32_t FP_UNKNOWN = ~0u, FP_LIVE = ~1u; // LIVE: still in the CPU
bool st_fp_save(struct st_context *c, struct stub_work *w); // a work item, if it is needed
void st_fp_saved(struct st_context *c, bool ok);
uint32_t st_fp_find(struct st_context *c); // offset in the slot, 0: none
size_t st_fp_size(struct pcontext *ctx);
int st_fp_get(struct pcontext *ctx, void *buf, size_t n);
int st_fp_set(struct pcontext *ctx, const void *buf, size_t n);
void st_fp_reset(struct pcontext *ctx);

// mem.c
int st_map(struct pcontext *ctx, uint64_t addr, uint64_t len, int prot, int flags, int hostfd,
           uint64_t off);
int st_map_window(struct pcontext *ctx, uint32_t index, int hostfd, uint64_t *va, uint64_t *len);
int st_unmap(struct pcontext *ctx, uint64_t addr, uint64_t len);
int st_protect(struct pcontext *ctx, uint64_t addr, uint64_t len, int prot);
int st_remap(struct pcontext *ctx, uint64_t old, uint64_t old_len, uint64_t new_addr,
             uint64_t new_len);
int st_advise(struct pcontext *ctx, uint64_t addr, uint64_t len, int advice);
void st_batch(struct pcontext *ctx);
int st_batch_flush(struct st_aspace *as);     // makes the calls put off so far; the first failure of all
// Puts off a copy to guest memory. False: not this way.
bool st_batch_copy(struct st_aspace *as, uaddr_t dst, const void *src, size_t n);
long st_futex(struct pcontext *ctx, const struct pfutex *f);
int st_cmpxchg32(struct pcontext *ctx, uaddr_t addr, uint32_t expect, uint32_t desired,
                 uint32_t *old);
uint64_t st_cpu_time(struct pcontext *ctx);

// later.c
bool st_defer(struct pcontext *ctx, const struct pdefer *d);
int st_settle(struct pcontext *ctx);
bool st_deferred(struct pcontext *ctx);
void st_await(struct pcontext *ctx, struct mutex *m);
void st_deferred_end(struct pcontext *ctx);
void st_later(struct st_context *c);          // makes the deferred call; c->refused if it fails
void st_later_send(struct st_context *c);     // it goes with the next reply: work[0] is written
void st_later_state(struct st_context *c, enum st_later state); // and wakes who waits
int st_refusal(const struct stub_work *w);    // its result: 0 or -errno
void st_gates_wake(struct st_aspace *as, bool everybody) REQUIRES(as->ctx_lock);
// The look of every second: true: somebody waits; *late: for too long.
bool st_gates_sweep(struct st_aspace *as, uint32_t patience, bool *late) REQUIRES(as->ctx_lock);
static inline bool st_later_is(const struct st_context *c, enum st_later s)
{
    return READ_SHARED(c->later_state) == s; // [owner fiber]
}

// patch.c
int st_patch(struct pcontext *ctx, struct ppatch *p);
int st_poke(struct pcontext *ctx, uint64_t addr, const uint8_t *bytes, size_t n, int prot);
void st_drain(struct pcontext *ctx);
void st_patch_count(struct st_context *c); // its thread has ended
void st_report(void);
bool st_hot(struct st_aspace *as);         // may another site be patched?
