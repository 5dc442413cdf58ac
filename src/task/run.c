// SPDX-License-Identifier: Apache-2.0
// The fiber body of every task: user mode, event, dispatch, signals, again.
//
// The short path is a system call in, dispatch, and out, with one look at sig_work: a sender sets
// sig_work and then looks at in_user, we set in_user and then look at sig_work, so one of the two
// sees the other. Everything in an event is what the stub says and has been checked for form by
// the platform; signal numbers and codes are mapped again here.
#include "abi/errno.h"
#include "task/internal.h"
#include "task/seccomp.h"
#include <linux/audit.h>

long (*task_syscall)(struct task *t);
void (*strace_enter)(struct task *t);
void (*strace_exit)(struct task *t, long result);

// The host has refused a memory call that was to go with the return of the last system call.
static long refused(struct task *t, int err)
{
    long r = mm_refused(t->mm, t->ctx, err);
    if (r == -ESRCH)
        task_exit_group(t, SIGKILL);
    return r;
}

// Before anything but that return happens.
static void settle(struct task *t)
{
    int err = t->ctx->ops->settle ? t->ctx->ops->settle(t->ctx) : 0;
    if (unlikely(err))
        t->regs.rax = (uint64_t)refused(t, err);
}

static inline bool is_restart(long r)
{
    return r <= -ERESTARTSYS && r >= -ERESTART_RESTARTBLOCK;
}

static long call_checked(struct task *t, uint32_t arch)
{
    constexpr uint64_t X32_BIT = 0x40000000;
    long r;
    if (unlikely(READ_SHARED(t->seccomp) || READ_SHARED(t->seccomp_strict)) &&
        !seccomp_allows(t, arch, &r))
        return r;
    if (unlikely(arch != AUDIT_ARCH_X86_64 || (t->regs.orig_rax & X32_BIT)))
        return -ENOSYS;
    return task_syscall(t);
}

static long call_traced(struct task *t, uint32_t arch)
{
    uint64_t nr = t->regs.orig_rax;
    if (strace_enter)
        strace_enter(t);
    long r = call_checked(t, arch);
    int err = t->ctx && t->ctx->ops->settle ? t->ctx->ops->settle(t->ctx) : 0;
    if (err) // what is printed is what the guest gets
        r = refused(t, err);
    uint64_t now = t->regs.orig_rax;
    t->regs.orig_rax = nr; // sigreturn clears it; the printer wants the call's number
    if (strace_exit)
        strace_exit(t, r);
    t->regs.orig_rax = now;
    return r;
}

static void run_syscall(struct task *t, const struct pevent *ev)
{
    t->futex_deadline = ev->deadline;
    for (;;) {
        long r = unlikely(t->strace) ? call_traced(t, ev->arch) : call_checked(t, ev->arch);
        t->regs.rax = (uint64_t)r;
        if (likely(!is_restart(r) && !READ_SHARED(t->sig_work)))
            return;
        settle(t);
        task_freeze_point(t);
        if (!signal_deliver(t, true))
            return;
    }
}

// The codes a guest may see for a fault of its own; anything else from the stub becomes SI_KERNEL.
static int fault_code(int signo, int code)
{
    int top;
    switch (signo) {
    case SIGSEGV:
        top = SEGV_PKUERR;
        break;
    case SIGBUS:
        top = BUS_MCEERR_AO;
        break;
    case SIGFPE:
        top = FPE_FLTSUB;
        break;
    case SIGILL:
        top = ILL_BADSTK;
        break;
    case SIGTRAP:
        top = TRAP_HWBKPT;
        break;
    default:
        return SI_KERNEL;
    }
    return code >= 1 && code <= top ? code : SI_KERNEL;
}

static void run_fault(struct task *t, const struct pevent *ev)
{
    int signo = ev->signo, code = fault_code(signo, ev->code);
    t->regs.orig_rax = ~0ull;
    if (signo == SIGSEGV || signo == SIGBUS) {
        struct mm_limits lim = task_mm_limits(t);
        int mm_code = code;
        if (code != SI_KERNEL) {
            if (mm_handle_fault(t->mm, t->ctx, ev->addr, ev->err, t->regs.rsp, &lim, &mm_code))
                return;
            code = mm_code;
        }
    } else if (signo != SIGFPE && signo != SIGILL && signo != SIGTRAP) {
        signo = SIGSEGV;
    }
    siginfo_t si = {.si_signo = signo, .si_code = code};
    if (code != SI_KERNEL)
        si.si_addr = (void *)(uintptr_t)ev->addr; // NOLINT: a guest address on its way to a guest
    t->fault_trapno = ev->trapno;
    t->fault_err = ev->err;
    t->fault_addr = ev->addr;
    signal_force(t, &si);
}

static void run_dead(struct task *t)
{
    task_exit_group(t, SIGKILL);
}

static void task_start(struct task *t)
{
    if (!uaddr_null(t->set_child_tid) && t->mm) {
        int tid = task_tid_in(t, t->pidns);
        if (put_user(t->mm, t->set_child_tid, tid) != 0)
            t->set_child_tid = UADDR(0); // as Linux: the child runs all the same
    }
}

static void task_put_fn(void *t)
{
    task_put(t);
}

void task_main(void *arg)
{
    struct task *t = arg;
    struct pevent ev;
    if (t->dead) // made, but never published: see clone_abort
        fiber_exit(task_put_fn, t);
    task_start(t);
    if (task_frozen(t))
        WRITE_SHARED(t->sig_work, true);
    for (;;) {
        task_user_enter(t);
        if (unlikely(READ_SHARED(t->sig_work))) {
            __atomic_store_n(&t->in_user, false, __ATOMIC_RELEASE);
            settle(t);
            task_freeze_point(t);
            (void)signal_deliver(t, false);
            continue;
        }
        t->ctx->ops->run(t->ctx, &t->regs, &ev);
        task_user_leave(t);
        switch (ev.kind) {
        case PEV_SYSCALL:
            if (unlikely(ev.hot))
                mm_patch_site(t->mm, t->ctx, t->regs.rip);
            run_syscall(t, &ev);
            break;
        case PEV_FAULT:
            run_fault(t, &ev);
            break;
        case PEV_INTERRUPT:
            t->regs.orig_rax = ~0ull;
            t->nivcsw++;
            break;
        case PEV_REFUSED:
            t->regs.rax = (uint64_t)refused(t, -ev.code);
            break;
        case PEV_DEAD:
            run_dead(t);
            break;
        }
        if (unlikely(READ_SHARED(t->sample_cpu)))
            task_sample_cpu(t);
        if (unlikely(READ_SHARED(t->group->cpu_timer_armed)))
            timers_check_cpu(t);
    }
}
