// SPDX-License-Identifier: Apache-2.0
// Credentials across execve (capabilities(7), "Transformation of capabilities during execve").
// File capabilities are not supported: a file has none. Set-id bits count unless the mount is
// nosuid or the task has no_new_privs.
#include "abi/errno.h"
#include "task/internal.h"
#include "task/seccomp.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/mount.h>
#include <sys/stat.h>

static void apply_setid(struct cred *c, const struct file *exe)
{
    const struct inode *i = exe->inode;
    uint32_t mode = READ_SHARED(i->mode);
    if (c->no_new_privs || (exe->path.mnt && (READ_SHARED(exe->path.mnt->flags) & MS_NOSUID)))
        return;
    if (mode & S_ISUID)
        c->euid = READ_SHARED(i->uid);
    if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
        c->egid = READ_SHARED(i->gid);
}

static void apply_caps(struct cred *c, const struct cred *old)
{
    bool setid = c->euid != old->uid || c->egid != old->gid;
    bool root = !(c->securebits & SECBIT_NOROOT) && (c->uid == 0 || c->euid == 0);
    bool effective = root && c->euid == 0;
    uint64_t permitted = root ? c->cap_bounding | c->cap_inheritable : 0;
    if (c->no_new_privs && (setid || (permitted & ~old->cap_permitted)))
        permitted &= old->cap_permitted;
    if (setid)
        c->cap_ambient = 0;
    c->cap_permitted = permitted | c->cap_ambient;
    c->cap_effective = effective ? c->cap_permitted : c->cap_ambient;
}

int cred_exec(struct task *t, struct file *exe, struct cred **out, bool *secure)
{
    const struct cred *old = t->cred;
    if (t->nproc_exceeded && rlimit_nproc_exceeded(t))
        return -EAGAIN;
    t->nproc_exceeded = false;
    struct cred *c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    c->no_new_privs |= task_no_new_privs(t);
    c->euid = old->euid;
    c->egid = old->egid;
    apply_setid(c, exe);
    apply_caps(c, old);
    c->suid = c->fsuid = c->euid;
    c->sgid = c->fsgid = c->egid;
    c->securebits &= ~(uint32_t)SECBIT_KEEP_CAPS;
    *secure = c->euid != old->uid || c->egid != old->gid ||
              (c->uid != 0 && (c->cap_permitted & ~c->cap_ambient));
    *out = c;
    return 0;
}
