// SPDX-License-Identifier: Apache-2.0
// seccomp(2) and PR_SET_SECCOMP. Programs are the guest's: copied in once, checked by task/seccomp.c.
#include "task/seccomp.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "sys/protos.h"
#include <linux/capability.h>
#include <linux/prctl.h>

static long set_filter(struct task *t, uint32_t flags, uaddr_t args)
{
    constexpr uint32_t known = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG |
                               SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
    struct {
        uint16_t len, pad[3];
        uint64_t insns;
    } prog;
    if (flags & ~known)
        return -EINVAL;
    if (copy_in(t->mm, &prog, args, sizeof(prog)) != 0)
        return -EFAULT;
    if (prog.len == 0 || prog.len > CBPF_MAX || prog.insns == 0)
        return -EINVAL;
    if (!task_no_new_privs(t) && !cred_capable(t->cred, CAP_SYS_ADMIN))
        return -EACCES;
    struct sock_filter *insns = mem_alloc_array(prog.len, sizeof(*insns));
    if (!insns)
        return -ENOMEM;
    long ret = -EFAULT;
    if (copy_in(t->mm, insns, UADDR(prog.insns), prog.len * sizeof(*insns)) == 0)
        ret = seccomp_attach(t, insns, prog.len, flags);
    mem_free(insns);
    return ret;
}

static long action_available(struct task *t, uint32_t flags, uaddr_t args)
{
    uint32_t action;
    if (flags)
        return -EINVAL;
    if (copy_in(t->mm, &action, args, sizeof(action)) != 0)
        return -EFAULT;
    switch (action) {
    case SECCOMP_RET_KILL_PROCESS:
    case SECCOMP_RET_KILL_THREAD:
    case SECCOMP_RET_TRAP:
    case SECCOMP_RET_ERRNO:
    case SECCOMP_RET_TRACE:
    case SECCOMP_RET_LOG:
    case SECCOMP_RET_ALLOW: return 0;
    default: return -EOPNOTSUPP;
    }
}

long sys_seccomp(struct task *t, uint32_t op, uint32_t flags, uaddr_t args)
{
    switch (op) {
    case SECCOMP_SET_MODE_STRICT: return flags || !uaddr_null(args) ? -EINVAL : seccomp_set_strict(t);
    case SECCOMP_SET_MODE_FILTER: return set_filter(t, flags, args);
    case SECCOMP_GET_ACTION_AVAIL: return action_available(t, flags, args);
    default: return -EINVAL;
    }
}

long prctl_seccomp(struct task *t, int op, uint64_t mode, uaddr_t args)
{
    if (op == PR_GET_SECCOMP)
        return seccomp_mode(t);
    switch (mode) {
    case SECCOMP_MODE_STRICT: return seccomp_set_strict(t);
    case SECCOMP_MODE_FILTER: return set_filter(t, 0, args);
    default: return -EINVAL;
    }
}
