// SPDX-License-Identifier: Apache-2.0
// Calls on behalf of stopped tracees. The tracer's thread only.
//
// A thread that is pointed at the stub's `syscall; int3` stops again with SIGTRAP behind it. Short
// calls are waited for on the spot; signals that come meanwhile are dropped (an interrupt is on
// record in the context, and nothing else is meant for a stub).
#include "abi/errno.h"
#include "host/raw.h"
#include "platform/ptrace/ptrace.h"
#include "stub_syms.h"
#include <elf.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

static long pt(long request, int tid, void *addr, void *data)
{
    return host_call(__NR_ptrace, request, tid, addr, data);
}

uint64_t pt_scratch(const struct pt_context *c)
{
    return st_slot_va(c->index) + SLOT_DATA_OFF;
}
uint64_t pt_call_rip(void)
{
    return st.base + OFF_stub_traced_call;
}

bool pt_regs_get(struct pt_context *c, struct user_regs *r)
{
    return pt(PTRACE_GETREGS, c->tid, nullptr, r) == 0;
}

static uint64_t canonical(uint64_t v)
{
    return (uint64_t)((int64_t)(v << 16) >> 16) == v && v < 1ull << 47 ? v : 0;
}
// What the kernel would refuse as a whole is put right: selectors, bases.
bool pt_regs_set(struct pt_context *c, const struct user_regs *regs)
{
    struct user_regs r = *regs;
    r.cs = 0x33;
    r.ss = 0x2b;
    r.ds = r.es = r.fs = r.gs = 0;
    r.fs_base = canonical(r.fs_base);
    r.gs_base = canonical(r.gs_base);
    r.orig_rax = ~0ull; // no restart of whatever call it was stopped in
    return pt(PTRACE_SETREGS, c->tid, nullptr, &r) == 0;
}

// The next stop of this thread. False: it has ended (the event is lost to the main loop: recorded).
static bool wait_for(struct pt_context *c, int *status)
{
    long r;
    do
        r = host_call(__NR_wait4, c->tid, status, __WALL, 0);
    while (r == -EINTR);
    if (r == c->tid && WIFSTOPPED(*status))
        return true;
    c->gone = true;
    return false;
}

int pt_inject_start(struct pt_context *c, uint64_t rip, uint32_t nr, const uint64_t a[6])
{
    struct user_regs r;
    if (!pt_regs_get(c, &r))
        return -ESRCH;
    r.rip = rip;
    r.rax = nr;
    r.rdi = a[0], r.rsi = a[1], r.rdx = a[2], r.r10 = a[3], r.r8 = a[4], r.r9 = a[5];
    r.rsp = st_slot_va(c->index) + SLOT_SIZE - 256;
    r.rflags = 0x202;
    if (!pt_regs_set(c, &r) || pt(PTRACE_CONT, c->tid, nullptr, nullptr) < 0)
        return -ESRCH;
    return 0;
}

// Runs to the int3 after the code at `rip`; *ret is rax there, -ENOSYS when the filter said no,
// -EFAULT after a fault.
static bool inject(struct pt_context *c, uint64_t rip, uint32_t nr, const uint64_t a[6],
                   int64_t *ret, int *child)
{
    struct user_regs r;
    int status;
    if (pt_inject_start(c, rip, nr, a))
        return false;
    for (;;) {
        if (!wait_for(c, &status))
            return false;
        int sig = WSTOPSIG(status), event = status >> 16;
        if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_CLONE) {
            unsigned long msg = 0;
            if (pt(PTRACE_GETEVENTMSG, c->tid, nullptr, &msg) == 0 && child)
                *child = (int)msg;
        } else if (event == 0) {
            if (sig == SIGSYS || sig == SIGSEGV || sig == SIGBUS) {
                *ret = sig == SIGSYS ? -ENOSYS : -EFAULT;
                return true;
            }
            if (sig == SIGTRAP) {
                if (!pt_regs_get(c, &r))
                    return false;
                *ret = (int64_t)r.rax;
                return true;
            }
        }
        if (pt(PTRACE_CONT, c->tid, nullptr, nullptr) < 0)
            return false;
    }
}

bool pt_inject(struct pt_context *c, uint32_t nr, const uint64_t a[6], int64_t *ret)
{
    return inject(c, pt_call_rip(), nr, a, ret, nullptr);
}

bool pt_inject_cmpxchg(struct pt_context *c, const uint64_t a[6], int64_t *ret)
{
    const uint64_t args[6] = {a[0], 0, a[2]}; // rdi, -, edx; eax = expected
    if (!inject(c, st.base + OFF_stub_traced_cmpxchg, (uint32_t)a[1], args, ret, nullptr))
        return false;
    if (*ret != -EFAULT)
        *ret = (int64_t)(uint32_t)*ret;
    return true;
}

bool pt_inject_clone(struct pt_context *c, uint64_t flags, int64_t *tid)
{
    const uint64_t a[6] = {flags};
    int child = 0;
    if (!inject(c, pt_call_rip(), __NR_clone, a, tid, &child))
        return false;
    if (*tid < 0)
        return true;
    if (*tid != child) {
        *tid = -ESRCH;
        return true;
    }
    int status; // its first stop
    struct pt_context tmp = {.tid = child};
    if (!wait_for(&tmp, &status))
        *tid = -ESRCH;
    return true;
}

struct recv_args {
    struct msghdr m;
    struct iovec iov;
    uint64_t data;
    union {
        struct cmsghdr h;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control;
};
// The scratch memory is the guest's: a wrong number harms the guest only, it has no other
// descriptors than its own.
bool pt_take_fd(struct pt_context *c, int64_t *fd)
{
    struct pt_space *s = pt_space(c->base.as);
    uint64_t at = pt_scratch(c);
    struct recv_args ra = {.m = {.msg_iov = (void *)(at + offsetof(struct recv_args, iov)),
                                 .msg_iovlen = 1,
                                 .msg_control = (void *)(at + offsetof(struct recv_args, control)),
                                 .msg_controllen = sizeof(ra.control)},
                           .iov = {(void *)(at + offsetof(struct recv_args, data)), 8}};
    const uint64_t a[6] = {STUB_CTL_FD(s->parity), at, MSG_CMSG_CLOEXEC | MSG_DONTWAIT};
    *fd = -EBADF;
    if (stub_write(s->pid, at, &ra, sizeof(ra)) != sizeof(ra))
        return true;
    if (!pt_inject(c, __NR_recvmsg, a, fd))
        return false;
    if (*fd < 0)
        return true;
    int n = -1;
    if (stub_read(s->pid, &ra, at, sizeof(ra)) == sizeof(ra) &&
        ra.control.h.cmsg_len == CMSG_LEN(sizeof(int)) && ra.control.h.cmsg_level == SOL_SOCKET &&
        ra.control.h.cmsg_type == SCM_RIGHTS)
        memcpy(&n, CMSG_DATA(&ra.control.h), sizeof(n));
    *fd = n < 0 ? -EBADF : n;
    return true;
}

// --- FP state ----------------------------------------------------------------------------------------
// As the kernel shows it, which may have room for more than signal frames carry.
static uint8_t xstate[16384] ALIGNED(64);

static long xstate_get(struct pt_context *c)
{
    struct iovec iov = {xstate, sizeof(xstate)};
    long r = pt(PTRACE_GETREGSET, c->tid, (void *)(long)NT_X86_XSTATE, &iov);
    if (r < 0)
        return r;
    return iov.iov_len >= st.fp_xstate ? (long)iov.iov_len : -EINVAL;
}

long pt_fp_get(struct pt_context *c, uint8_t *fp)
{
    long n = xstate_get(c);
    if (n < 0)
        return n;
    memcpy(fp, xstate, st.fp_xstate);
    fp_seal(fp);
    return 0;
}

long pt_fp_set(struct pt_context *c, const uint8_t *fp)
{
    long n = xstate_get(c);
    if (n < 0)
        return n;
    memset(xstate + st.fp_xstate, 0, (size_t)n - st.fp_xstate);
    memcpy(xstate, fp, st.fp_xstate);
    struct iovec iov = {xstate, (size_t)n};
    return pt(PTRACE_SETREGSET, c->tid, (void *)(long)NT_X86_XSTATE, &iov);
}

// --- faults --------------------------------------------------------------------------------------------
// ptrace does not show trapno and err: the signal is let through to a handler that is an int3, and
// they are read from its frame. Registers are written anew by the next run, FP state here.
bool pt_fault_info(struct pt_context *c, int sig, uint64_t *trapno, uint64_t *err)
{
    static uint8_t fp[4096 + 64] ALIGNED(64);
    struct user_regs r;
    uint64_t words[2] = {};
    int status;
    bool have_fp = pt_fp_get(c, fp) == 0;
    if (pt(PTRACE_CONT, c->tid, nullptr, (void *)(long)sig) < 0)
        return false;
    for (;;) {
        if (!wait_for(c, &status))
            return false;
        if (status >> 16 == 0 && WSTOPSIG(status) != STUB_SIGNAL)
            break;
        if (pt(PTRACE_CONT, c->tid, nullptr, nullptr) < 0)
            return false;
    }
    if (WSTOPSIG(status) == SIGTRAP && pt_regs_get(c, &r) &&
        stub_read(pt_space(c->base.as)->pid, words,
                  r.rdx + offsetof(struct stub_ucontext, err), sizeof(words)) == sizeof(words)) {
        *err = words[0];
        *trapno = words[1];
    }
    if (have_fp)
        pt_fp_set(c, fp);
    return true;
}
