// SPDX-License-Identifier: Apache-2.0
// prctl(2), arch_prctl(2), personality(2). What is not here answers EINVAL, as a kernel without it.
#include "abi/errno.h"
#include "mem/mm.h"
#include "sys/protos.h"
#include "task/internal.h"
#include "task/seccomp.h"
#include <asm/prctl.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <string.h>

constexpr int ARCH_XCOMP_SUPP = 0x1021, ARCH_XCOMP_PERM = 0x1022, ARCH_REQ_XCOMP = 0x1023;

static long change_cred(struct task *t, void (*fn)(struct cred *, uint64_t), uint64_t arg)
{
    struct cred *c = cred_dup(t->cred);
    if (!c)
        return -ENOMEM;
    fn(c, arg);
    task_commit_cred(t, c);
    return 0;
}

static void do_keepcaps(struct cred *c, uint64_t on)
{
    c->securebits = on ? c->securebits | SECBIT_KEEP_CAPS : c->securebits & ~(uint32_t)SECBIT_KEEP_CAPS;
}

static void do_nnp(struct cred *c, uint64_t on)
{
    c->no_new_privs = true;
}

static void do_securebits(struct cred *c, uint64_t v)
{
    c->securebits = (uint32_t)v;
}

static void do_bound_drop(struct cred *c, uint64_t cap)
{
    c->cap_bounding &= ~(1ull << cap);
}

static void do_ambient_raise(struct cred *c, uint64_t cap)
{
    c->cap_ambient |= 1ull << cap;
}

static void do_ambient_lower(struct cred *c, uint64_t cap)
{
    c->cap_ambient &= ~(1ull << cap);
}

static void do_ambient_clear(struct cred *c, uint64_t cap)
{
    c->cap_ambient = 0;
}

static long ambient(struct task *t, uint64_t op, uint64_t cap, uint64_t a4, uint64_t a5)
{
    const struct cred *c = t->cred;
    if (op == PR_CAP_AMBIENT_CLEAR_ALL)
        return cap | a4 | a5 ? -EINVAL : change_cred(t, do_ambient_clear, 0);
    if (a4 | a5 || cap > CAP_LAST_CAP)
        return -EINVAL;
    switch (op) {
    case PR_CAP_AMBIENT_IS_SET:
        return c->cap_ambient >> cap & 1;
    case PR_CAP_AMBIENT_RAISE:
        if (!(c->cap_permitted >> cap & 1) || !(c->cap_inheritable >> cap & 1) ||
            (c->securebits & SECBIT_NO_CAP_AMBIENT_RAISE))
            return -EPERM;
        return change_cred(t, do_ambient_raise, cap);
    case PR_CAP_AMBIENT_LOWER:
        return change_cred(t, do_ambient_lower, cap);
    default:
        return -EINVAL;
    }
}

static long securebits_set(struct task *t, uint64_t v)
{
    uint32_t old = t->cred->securebits;
    uint32_t locked = (old & SECURE_ALL_LOCKS) >> 1;
    if ((locked & (old ^ v)) || (old & SECURE_ALL_LOCKS & ~v) || (v & ~(uint64_t)(SECURE_ALL_LOCKS | SECURE_ALL_BITS)))
        return -EPERM;
    return cred_capable(t->cred, CAP_SETPCAP) ? change_cred(t, do_securebits, v) : -EPERM;
}

static long prctl_cred(struct task *t, int op, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
    const struct cred *c = t->cred;
    switch (op) {
    case PR_GET_KEEPCAPS:
        return !!(c->securebits & SECBIT_KEEP_CAPS);
    case PR_SET_KEEPCAPS:
        if (a2 > 1)
            return -EINVAL;
        return c->securebits & SECBIT_KEEP_CAPS_LOCKED ? -EPERM : change_cred(t, do_keepcaps, a2);
    case PR_SET_NO_NEW_PRIVS:
        return a2 != 1 || a3 || a4 || a5 ? -EINVAL : change_cred(t, do_nnp, 1);
    case PR_GET_NO_NEW_PRIVS:
        return a2 || a3 || a4 || a5 ? -EINVAL : task_no_new_privs(t);
    case PR_CAPBSET_READ:
        return a2 > CAP_LAST_CAP ? -EINVAL : (long)(c->cap_bounding >> a2 & 1);
    case PR_CAPBSET_DROP:
        if (!cred_capable(c, CAP_SETPCAP))
            return -EPERM;
        return a2 > CAP_LAST_CAP ? -EINVAL : change_cred(t, do_bound_drop, a2);
    case PR_CAP_AMBIENT:
        return ambient(t, a2, a3, a4, a5);
    case PR_GET_SECUREBITS:
        return c->securebits;
    default:
        return securebits_set(t, a2);
    }
}

static long name_set(struct task *t, uaddr_t p)
{
    char name[16];
    long n = copy_in_str(t->mm, name, p, sizeof(name));
    if (n == -EFAULT)
        return -EFAULT;
    name[15] = 0;
    task_set_comm(t, name);
    return 0;
}

static long name_get(struct task *t, uaddr_t p)
{
    char name[16];
    spin_lock(&t->task_lock);
    memcpy(name, t->comm, sizeof(name));
    spin_unlock(&t->task_lock);
    return copy_out(t->mm, p, name, sizeof(name));
}

static long dumpable_set(struct task *t, uint64_t v)
{
    if (v > 1)
        return -EINVAL;
    mutex_lock(&t->mm->lock);
    t->mm->dumpable = v;
    mutex_unlock(&t->mm->lock);
    return 0;
}

static long vma_name(struct task *t, uint64_t op, uint64_t addr, uint64_t len, uaddr_t p)
{
    char name[80];
    if (op != PR_SET_VMA_ANON_NAME)
        return -EINVAL;
    if (uaddr_null(p))
        return mm_set_anon_name(t->mm, addr, len, nullptr);
    long n = copy_in_str(t->mm, name, p, sizeof(name));
    if (n < 0)
        return n == -ENAMETOOLONG ? -EINVAL : n;
    for (long i = 0; i < n; i++)
        if (name[i] <= 0x1f || name[i] >= 0x7f || strchr("\\`$[]", name[i]))
            return -EINVAL;
    return mm_set_anon_name(t->mm, addr, len, name);
}

static long auxv_get(struct task *t, uaddr_t p, size_t n)
{
    size_t have = t->mm->auxv_len;
    if (copy_out(t->mm, p, t->mm->auxv, MIN(n, have)) != 0)
        return -EFAULT;
    return (long)have;
}

static long subreaper(struct task *t, int op, uint64_t a2)
{
    mutex_lock(&tasklist_lock);
    int v = t->group->is_subreaper;
    if (op == PR_SET_CHILD_SUBREAPER)
        t->group->is_subreaper = a2 != 0;
    mutex_unlock(&tasklist_lock);
    return op == PR_SET_CHILD_SUBREAPER ? 0 : put_user(t->mm, UADDR(a2), v);
}

static long prctl_task(struct task *t, int op, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
    int v;
    switch (op) {
    case PR_SET_PDEATHSIG:
        if (a2 > (uint64_t)NSIG_MAX)
            return -EINVAL;
        WRITE_SHARED(t->pdeath_signal, (int)a2);
        return 0;
    case PR_GET_PDEATHSIG:
        v = t->pdeath_signal;
        return put_user(t->mm, UADDR(a2), v);
    case PR_SET_NAME:
        return name_set(t, UADDR(a2));
    case PR_GET_NAME:
        return name_get(t, UADDR(a2));
    case PR_GET_DUMPABLE:
        return READ_SHARED(t->mm->dumpable);
    case PR_SET_DUMPABLE:
        return dumpable_set(t, a2);
    case PR_SET_CHILD_SUBREAPER:
    case PR_GET_CHILD_SUBREAPER:
        return subreaper(t, op, a2);
    case PR_SET_TIMERSLACK:
        t->timer_slack = a2 && (int64_t)a2 > 0 ? a2 : 50000;
        return 0;
    case PR_GET_TIMERSLACK:
        return (long)MIN(t->timer_slack, (uint64_t)INT64_MAX);
    case PR_SET_THP_DISABLE:
        if (a3 || a4 || a5)
            return -EINVAL;
        t->thp_disable = a2 != 0;
        return 0;
    case PR_GET_THP_DISABLE:
        return a2 || a3 || a4 || a5 ? -EINVAL : t->thp_disable;
    case PR_GET_TSC:
        v = t->tsc_sigsegv ? PR_TSC_SIGSEGV : PR_TSC_ENABLE;
        return put_user(t->mm, UADDR(a2), v);
    case PR_SET_TSC: // the host decides: only what is so anyway
        return a2 == PR_TSC_ENABLE ? 0 : -EINVAL;
    case PR_GET_TIMING:
        return PR_TIMING_STATISTICAL;
    case PR_SET_TIMING:
        return a2 == PR_TIMING_STATISTICAL ? 0 : -EINVAL;
    case PR_MCE_KILL_GET:
        return a2 || a3 || a4 || a5 ? -EINVAL : PR_MCE_KILL_DEFAULT;
    case PR_GET_TID_ADDRESS:
        return put_user(t->mm, UADDR(a2), t->clear_child_tid);
    case PR_SET_VMA:
        return vma_name(t, a2, a3, a4, UADDR(a5));
    case PR_SET_MM:
        return cred_capable(t->cred, CAP_SYS_RESOURCE) ? -EINVAL : -EPERM;
    case 0x41555856: // PR_GET_AUXV
        return a4 || a5 ? -EINVAL : auxv_get(t, UADDR(a2), a3);
    default:
        return -EINVAL;
    }
}

long sys_prctl(struct task *t, int op, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
    switch (op) {
    case PR_GET_KEEPCAPS:
    case PR_SET_KEEPCAPS:
    case PR_SET_NO_NEW_PRIVS:
    case PR_GET_NO_NEW_PRIVS:
    case PR_CAPBSET_READ:
    case PR_CAPBSET_DROP:
    case PR_CAP_AMBIENT:
    case PR_GET_SECUREBITS:
    case PR_SET_SECUREBITS:
        return prctl_cred(t, op, a2, a3, a4, a5);
    case PR_GET_SECCOMP:
    case PR_SET_SECCOMP:
        return prctl_seccomp(t, op, a2, UADDR(a3));
    default:
        return prctl_task(t, op, a2, a3, a4, a5);
    }
}

long sys_arch_prctl(struct task *t, int op, uint64_t arg)
{
    uint64_t v = 0;
    switch (op) {
    case ARCH_SET_FS:
    case ARCH_SET_GS:
        if (arg >= t->ctx->ops->task_size())
            return -EPERM;
        *(op == ARCH_SET_FS ? &t->regs.fs_base : &t->regs.gs_base) = arg;
        return 0;
    case ARCH_GET_FS:
        return put_user(t->mm, UADDR(arg), t->regs.fs_base);
    case ARCH_GET_GS:
        return put_user(t->mm, UADDR(arg), t->regs.gs_base);
    case ARCH_GET_CPUID:
        return 1;
    case ARCH_SET_CPUID:
        return arg ? 0 : -ENODEV;
    case ARCH_XCOMP_SUPP: // nothing beyond what every task has
    case ARCH_XCOMP_PERM:
        return put_user(t->mm, UADDR(arg), v);
    case ARCH_REQ_XCOMP:
        return -EOPNOTSUPP;
    default:
        return -EINVAL;
    }
}

long sys_personality(struct task *t, uint32_t persona)
{
    uint32_t old = t->personality;
    if (persona != 0xffffffffu)
        t->personality = persona;
    return old;
}
