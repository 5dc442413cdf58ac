// SPDX-License-Identifier: Apache-2.0
// How guest code runs. The kernel above knows this table and nothing of a particular platform.
//
// Two objects: an address space (struct aspace, one host process with the stub in it) and a context
// (struct pcontext, one per guest task, one host thread of that process). Each concrete platform
// embeds these structs first in its own.
//
// Calls marked [ctx] are carried out by the context's own host thread: only the fiber that owns the
// context may make them, while the context is stopped in the kernel (not inside run()). Everything
// that comes back from a stub is hostile and is checked here, in the platform, before it is returned.
//
// Failure of a [ctx] memory call that the host refused: -errno as mmap(2) etc. A stub that breaks
// the protocol, dies, or does not answer an interrupt in time: -ESRCH, and run() reports PEV_DEAD;
// the task is then killed with SIGKILL by the kernel.
#pragma once
#include "abi/regs.h"
#include "abi/uaddr.h"
#include "base/ref.h"
#include "platform/stub/public.h"

struct aspace {
    const struct platform_ops *ops;
    struct pub_file *files; // PUB_FILES lines that the stub reads (vfs/window.c writes them); or null
    struct pub_pos *pos;    // with them: their file positions, in hostile memory
    uint64_t *umask;        // with them: the word that vfs/umask.c lends, in hostile memory
};
struct pcontext {
    const struct platform_ops *ops;
    struct aspace *as;
    // Where the host thread answers calls of its own accord; null where it does not. The kernel keeps
    // *pub true (task/public.c). *mask is the guest's signal mask while it is in user mode, *sleeping
    // says that it waits for a futex there; both are hostile memory.
    struct ppublic *pub;
    uint64_t *mask;
    const uint32_t *sleeping;
};

struct mutex;
struct pzygote; // a process that never runs guest code: fresh address spaces come from it

struct pvec { // a range of guest memory
    uint64_t addr;
    size_t len;
};
constexpr size_t PVEC_MAX = 16;

enum pevent_kind : int {
    PEV_SYSCALL,   // regs->orig_rax = number; rip is after the instruction, rax = -ENOSYS
    PEV_FAULT,     // signo, code, addr, trapno, err as in siginfo / ucontext
    PEV_INTERRUPT, // interrupt() was called, or the host preempted us: regs are valid
    PEV_DEAD,      // the host thread or process is gone
    PEV_REFUSED,   // the deferred call has failed with -code; the guest has not gone on, *regs stand
};
// A memory call that is made on the way back to user mode, with the return of a system call.
struct pdefer {
    enum : int { PDEFER_MAP, PDEFER_UNMAP, PDEFER_PROTECT, PDEFER_ADVISE } kind;
    uint64_t addr, len;
    int prot, flags;       // as map (anonymous), protect; advise: the advice in prot
};
struct pevent {
    enum pevent_kind kind;
    int signo, code;
    uint64_t addr, trapno, err;
    uint32_t arch; // PEV_SYSCALL: AUDIT_ARCH_* as the host reported (int 0x80 comes as i386)
    int64_t deadline; // PEV_SYSCALL, a private FUTEX_WAIT that was interrupted in user mode: until when
                      // (CLOCK_MONOTONIC, ns) it waits; 0: it begins now
    bool hot; // PEV_SYSCALL: this site comes often, and by the slow way; see patch()
};
// A system call site that is to be reached without a signal (stub/patch.c).
struct ppatch {
    uint64_t rip;          // behind the system call instruction
    uint64_t lo, hi;       // what may be read and changed around it, in the page where it begins and the
                           // one before; half of it may lie behind hi
    int prot;              // of these pages
    uint64_t tramp;        // where its trampoline goes; PATCH_TRAMP bytes in a page that is mapped
    // Result: what was there before. hole 0: there is none.
    uint64_t addr, hole;
    uint8_t len, bytes[8], hole_len, hole_bytes[8];
};
constexpr uint64_t PATCH_TRAMP = 64, PATCH_REACH = 0x7ff00000; // of a jump from text to trampoline
struct pfutex { // a private futex call done in the host's queue by the context's thread
    uaddr_t uaddr, uaddr2;
    int op;                // FUTEX_* with FUTEX_PRIVATE_FLAG
    uint32_t val, val3;
    uint64_t val2;         // or
    bool has_timeout;      // absolute (WAIT_BITSET) in timeout_ns, clock by FUTEX_CLOCK_REALTIME
    int64_t timeout_ns;
};
struct platform_config {
    int uid, gid;          // ids the stubs run under, in the Sentry's namespace; 0: the Sentry's own
    uint64_t stub_base;    // 0: chosen at random
    int maps_fd;           // /proc/self/maps, opened while there was a /proc; 0: look oneself
    bool no_answers;       // every call comes to the kernel
    bool no_patching;      // every call comes by SIGSYS
};

struct platform_ops {
    const char *name;
    // MANDATORY, all of them.
    // Before lockdown, single-threaded: creates the master zygote.
    int (*init)(const struct platform_config *cfg);
    // The first guest-usable address past the end: guest mappings lie in [PAGE_SIZE, task_size).
    uint64_t (*task_size)(void);
    // Host vDSO of the stubs (base, length incl. vvar); 0 when there is none.
    void (*vdso)(uint64_t *vdso, uint64_t *start, uint64_t *end);
    // --- address spaces ---
    // A fresh, empty address space with one context in it. from: null for the master zygote.
    int (*aspace_new)(struct pzygote *from, struct aspace **as, struct pcontext **ctx);
    // A zygote of its own for a container: what the host does to it (its cgroups, its oom_score_adj)
    // holds for all processes that come from it afterwards. *host_pid: in the Sentry's namespace. To
    // be freed when nobody takes spaces from it any more; those that it has given live on.
    int (*zygote_new)(struct pzygote **z, int *host_pid);
    void (*zygote_free)(struct pzygote *z);
    // [ctx] Copy of the caller's address space (host fork), with one context whose registers, FP
    // state included, are the caller's.
    int (*aspace_fork)(struct pcontext *caller, struct aspace **as, struct pcontext **ctx);
    // [ctx] One more context in the caller's address space; FP state is copied.
    int (*context_new)(struct pcontext *caller, struct pcontext **ctx);
    // Ends the context's host thread. Its aspace lives on until aspace_free.
    void (*context_free)(struct pcontext *ctx);
    // Kills and reaps the host process. All contexts must be freed before or are freed with it.
    void (*aspace_free)(struct aspace *as);
    // --- running ---
    // [ctx] Enters user mode with *regs and comes back with the next event and the new *regs.
    void (*run)(struct pcontext *ctx, struct user_regs *regs, struct pevent *ev);
    // From anywhere: makes a run() (or futex()) of this context return soon; sticky if it is not
    // in one: the next run() returns at once with PEV_INTERRUPT.
    void (*interrupt)(struct pcontext *ctx);
    // From anywhere, optional: the context's task has been killed. What its stub does not finish soon
    // from here on it will not, and its address space ends.
    void (*give_up)(struct pcontext *ctx);
    // [ctx] FP state: the XSAVE area as it goes into a signal frame (with the sw_reserved magic).
    size_t (*fp_size)(struct pcontext *ctx);
    int (*fp_get)(struct pcontext *ctx, void *buf, size_t n);
    int (*fp_set)(struct pcontext *ctx, const void *buf, size_t n); // checked; -EINVAL
    void (*fp_reset)(struct pcontext *ctx);                         // as after execve
    // [ctx] CPU time of this context's host thread so far, ns.
    uint64_t (*cpu_time)(struct pcontext *ctx);
    // --- memory [ctx] --- addresses and lengths page-aligned and inside task_size (checked above).
    // map: fixed placement; prot/flags are the host's (MAP_PRIVATE|MAP_SHARED|MAP_ANONYMOUS|
    // MAP_NORESERVE); MAP_FIXED is added; hostfd -1 for anonymous. The descriptor is passed to the
    // stub for this call only.
    int (*map)(struct pcontext *ctx, uint64_t addr, uint64_t len, int prot, int flags, int hostfd,
               uint64_t off);
    int (*unmap)(struct pcontext *ctx, uint64_t addr, uint64_t len);
    int (*protect)(struct pcontext *ctx, uint64_t addr, uint64_t len, int prot);
    int (*remap)(struct pcontext *ctx, uint64_t old, uint64_t old_len, uint64_t new_addr,
                 uint64_t new_len); // MREMAP_MAYMOVE|FIXED when new_addr != old, else in place
    int (*advise)(struct pcontext *ctx, uint64_t addr, uint64_t len, int advice);
    // OPTIONAL, all or none. defer: the next run() has the call made before the guest goes on, or
    // any other [ctx] call before its own; a refusal is run()'s event, or settle()'s result: -errno,
    // which is dealt with and then ended by deferred_end. False: not now: use the calls above. settle:
    // what is deferred is made now; 0 also when nothing is.
    // For what must come after another context's deferred call: deferred() says whether it has still
    // to be made or a refusal to be dealt with; await() sleeps until that may be over, and releases m
    // meanwhile. Both from any fiber, under the lock m that keeps ctx from being freed and all
    // contexts of the space from deferring anything.
    bool (*defer)(struct pcontext *ctx, const struct pdefer *d);
    int (*settle)(struct pcontext *ctx);
    bool (*deferred)(struct pcontext *ctx);
    void (*await)(struct pcontext *ctx, struct mutex *m);
    void (*deferred_end)(struct pcontext *ctx);
    // OPTIONAL, with settle. [ctx] Of a fresh space that nobody else knows yet, before it runs: from
    // here to settle(), map and write_mem may be put off and answered as done; settle() then returns
    // the first failure. Descriptors that are mapped stay open until then.
    void (*batch)(struct pcontext *ctx);
    long (*futex)(struct pcontext *ctx, const struct pfutex *f); // result or -errno; -EINTR if interrupted
    // --- memory, from any fiber ---
    // Bytes copied before the first fault (may be short), or -EFAULT when none, -ESRCH when dead.
    long (*read_mem)(struct aspace *as, void *dst, uaddr_t src, size_t n);
    long (*write_mem)(struct aspace *as, uaddr_t dst, const void *src, size_t n);
    // Optional: as read_mem and write_mem for up to PVEC_MAX ranges below task_size, one after another
    // from or to buf: one host call. May stop early anywhere before a fault.
    long (*copy_vec)(struct aspace *as, bool write, void *buf, const struct pvec *v, size_t n);
    // Optional: a string argument of the system call that the current fiber answers, with its terminator
    // into dst[size], when the stub has copied it already. Its length, or 0: use read_mem.
    size_t (*read_str)(struct aspace *as, char *dst, uaddr_t src, size_t size);
    // Optional, where as->files is there. [ctx] Window `index` of the space (below PUB_WINDOWS) becomes
    // a read-only mapping of the first *len bytes of hostfd (opened for reading only) at *va, outside
    // of what the guest sees.
    int (*map_window)(struct pcontext *ctx, uint32_t index, int hostfd, uint64_t *va, uint64_t *len);
    // [ctx] *old = value found; stored when it equals expect. 0, -EFAULT.
    int (*cmpxchg32)(struct pcontext *ctx, uaddr_t addr, uint32_t expect, uint32_t desired,
                     uint32_t *old);
    // --- optional ---
    // [ctx] Patches a site. -ENOENT: it has no form that can be.
    int (*patch)(struct pcontext *ctx, struct ppatch *p);
    // [ctx] Writes n (at most 8) bytes into text, in one page whose protection is prot.
    int (*poke)(struct pcontext *ctx, uint64_t addr, const uint8_t *bytes, size_t n, int prot);
    // [ctx] Returns when no thread of the space is in a trampoline that it entered before. (A thread
    // that does not answer is killed, and the space with it.)
    void (*drain)(struct pcontext *ctx);
    // Writes counters to the debug log.
    void (*report)(void);
    // Host pid of the address space's process: for the supervisor's statm/smaps look-ups, logs.
    int (*host_pid)(struct aspace *as);
};
extern const struct platform_ops systrap_ops;
extern const struct platform_ops ptrace_ops;
// The rows of the filter that stub processes run under, for the document and tests. (filter.c)
struct seccomp_rule;
const struct seccomp_rule *stub_filter_rows(size_t *n);
