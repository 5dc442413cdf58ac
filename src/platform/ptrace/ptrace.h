// SPDX-License-Identifier: Apache-2.0
// The ptrace platform's own structures; private to this folder.
//
// One host thread, the tracer, owns every stub thread: all ptrace and wait4 calls are made there.
// Fibers queue requests and park; the tracer sleeps in wait4, out of which a request gets it with a
// signal (wait.S closes the gap between its last look at the queue and its sleep). Guest code never
// makes a host call: PTRACE_SYSEMU stops it first. The tracer makes calls on its behalf by pointing
// the stopped thread at the stub's `syscall; int3`.
//
// Trust: registers and events come from the kernel. What the guest can write (its slots: scratch
// memory of injected calls, frames of faults) is not believed for anything that matters.
//
// Fields marked [t] are the tracer's.
#pragma once
#include "abi/regs.h"
#include "base/list.h"
#include "platform/internal.h"
#include "sched/fiber.h"
#include "sched/mutex.h"

struct pt_space {
    struct aspace base;
    int pid;                       // [C] leader
    int ctl;                       // [C] control socket: descriptors to be mapped
    uint32_t parity;               // [C] its number there
    struct mutex lock;             // from the sending of a descriptor to its use
    bool dead;                     // [A]
    bool freed;                    // [t] the kernel has let go of it
    uint32_t nthreads;             // [t] not yet seen to end
    struct list ctxs;              // [t] pt_context.space_link
    uint64_t used[SLOT_COUNT / 64];// [t] slots
};
enum pt_mode : uint8_t {
    PT_STOPPED, // in a ptrace stop, nothing asked
    PT_USER,    // PTRACE_SYSEMU
    PT_CALL,    // in an injected call that may take long (futex)
    PT_ENDING,  // told to end
};
struct pt_context {
    struct pcontext base;
    struct list link;              // [t] by tid
    struct list space_link;        // [t]
    int tid;                       // [C]
    uint32_t index;                // [C] slot: alternate stack and scratch
    enum pt_mode mode;             // [t]
    bool orphan;                   // [t] the kernel's side is gone: freed at its end
    bool gone;                     // [t] seen to end
    struct pt_req *req;            // [t] what it is busy with
    uint32_t intr;                 // [A] as in systrap
    bool in_user;                  // [A] a tgkill reaches it
};
static inline struct pt_space *pt_space(struct aspace *as)
{
    return container_of(as, struct pt_space, base);
}
static inline struct pt_context *pt_ctx(struct pcontext *c)
{
    return container_of(c, struct pt_context, base);
}

enum pt_op : int {
    PT_RUN,     // regs, ev
    PT_CALLS,   // calls[0..n): short ones, in order, until one fails
    PT_FUTEX,   // calls[0], interruptible
    PT_CMPXCHG, // calls[0].a = addr, expect, desired
    PT_FORK,    // space (new), out
    PT_THREAD,  // out
    PT_FP_GET, PT_FP_SET, // fp, st.fp_ext bytes; SET: as fp_store makes it
    PT_READ, PT_WRITE, // guest memory at addr, buf, n: here, since here the pid cannot be another's
    PT_END,     // end the thread (the leader just stays) and forget the context
    PT_KILL,    // kill the process and forget the space
};
enum : uint32_t { PT_CALL_TAKE_FD = 1, PT_CALL_USE_FD = 2 };
struct pt_call {
    uint32_t nr, flags;
    uint64_t a[6];
    int64_t ret;
};
struct pt_req {
    struct list link;
    enum pt_op op;
    int err;                       // 0, or -errno when the thing asked for could not be done
    bool done;                     // [A]
    bool taken;                    // out (and space) are the tracer's business, even on failure
    struct fiber *waiter;
    struct pt_space *space;
    struct pt_context *ctx;
    struct user_regs *regs;
    struct pevent *ev;
    struct pt_call *calls;
    uint32_t n;
    const void *in;                // copied to the context's scratch memory first
    size_t in_len;
    void *out_buf;                 // and from there at the end
    size_t out_len;
    uint8_t *fp;
    uaddr_t addr;                  // PT_READ, PT_WRITE
    void *buf;
    size_t len;
    long copied;
    struct pt_context *out;
};
extern struct pt_context *pt_zygote_ctx; // [C] after init: of the master zygote, always stopped

// tracer.c
MUST_CHECK int pt_tracer_start(const struct platform_config *cfg);
int pt_request(struct pt_req *r); // queues, parks the fiber until done; r->err
struct pt_space *pt_space_alloc(uint32_t parity, int *stub_sock); // null: no memory, no descriptors
void pt_space_drop(struct pt_space *s);                           // one without a process
struct pt_context *pt_context_alloc(struct pt_space *s);
void pt_context_drop(struct pt_context *c);                       // one without a thread

// inject.c: all [t], the thread is stopped
// One call made by the thread, waited for. False: the thread is gone.
MUST_CHECK bool pt_inject(struct pt_context *c, uint32_t nr, const uint64_t a[6], int64_t *ret);
MUST_CHECK bool pt_inject_cmpxchg(struct pt_context *c, const uint64_t a[6], int64_t *ret);
// Starts one and does not wait.
int pt_inject_start(struct pt_context *c, uint64_t rip, uint32_t nr, const uint64_t a[6]);
// A descriptor from the control socket: number or -errno.
MUST_CHECK bool pt_take_fd(struct pt_context *c, int64_t *fd);
// clone with one of the stub's two flag words; *tid is the new tracee, stopped, or -errno.
MUST_CHECK bool pt_inject_clone(struct pt_context *c, uint64_t flags, int64_t *tid);
bool pt_regs_get(struct pt_context *c, struct user_regs *r);
bool pt_regs_set(struct pt_context *c, const struct user_regs *r);
long pt_fp_get(struct pt_context *c, uint8_t *fp);
long pt_fp_set(struct pt_context *c, const uint8_t *fp);
uint64_t pt_scratch(const struct pt_context *c);
// The number that an injected call's stop leaves rip at.
uint64_t pt_call_rip(void);
// trapno and err of a fault stop with signal sig, from the frame that the kernel makes for it.
bool pt_fault_info(struct pt_context *c, int sig, uint64_t *trapno, uint64_t *err);

// wait.S: wait4(-1, status, __WALL, 0) unless *flag; -EINTR then, and when a signal comes.
long pt_wait(int *status, uint32_t *flag);
extern const char pt_wait_window[], pt_wait_end[], pt_wait_abort[];
