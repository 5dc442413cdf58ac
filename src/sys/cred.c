// SPDX-License-Identifier: Apache-2.0
// User and group ids, supplementary groups, capabilities. Each change makes a new struct cred and
// publishes it (task_commit_cred).
#include "abi/errno.h"
#include "base/slab.h"
#include "sys/protos.h"
#include "task/internal.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdlib.h>
#include <string.h>

constexpr uint32_t NO_ID = UINT32_MAX;
#define CAPBIT(c) (1ull << (c))
constexpr uint64_t CAPS_FS = CAPBIT(CAP_CHOWN) | CAPBIT(CAP_MKNOD) | CAPBIT(CAP_DAC_OVERRIDE) |
                             CAPBIT(CAP_DAC_READ_SEARCH) | CAPBIT(CAP_FOWNER) | CAPBIT(CAP_FSETID) |
                             CAPBIT(CAP_LINUX_IMMUTABLE) | CAPBIT(CAP_MAC_OVERRIDE);

long sys_getuid(struct task *t)
{
    return t->cred->uid;
}

long sys_geteuid(struct task *t)
{
    return t->cred->euid;
}

long sys_getgid(struct task *t)
{
    return t->cred->gid;
}

long sys_getegid(struct task *t)
{
    return t->cred->egid;
}

// Leaving uid 0 drops capabilities, entering it as effective id raises them.
static void fixup_caps(struct cred *c, const struct cred *old)
{
    if (c->securebits & SECBIT_NO_SETUID_FIXUP)
        return;
    bool was_root = !old->uid || !old->euid || !old->suid;
    if (was_root && c->uid && c->euid && c->suid) {
        if (!(c->securebits & SECBIT_KEEP_CAPS))
            c->cap_permitted = c->cap_effective = 0;
        c->cap_ambient = 0;
    }
    if (!old->euid && c->euid)
        c->cap_effective = 0;
    if (old->euid && !c->euid)
        c->cap_effective = c->cap_permitted;
}

static long commit_uid(struct task *t, struct cred *c)
{
    fixup_caps(c, t->cred);
    bool changed = c->uid != t->cred->uid;
    task_commit_cred(t, c);
    if (changed)
        t->nproc_exceeded = rlimit_nproc_exceeded(t);
    return 0;
}

static long refuse(struct cred *c)
{
    cred_put(c);
    return -EPERM;
}

long sys_setuid(struct task *t, uint32_t uid)
{
    const struct cred *old = t->cred;
    if (uid == NO_ID)
        return -EINVAL;
    struct cred *c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    if (cred_capable(old, CAP_SETUID))
        c->uid = c->suid = uid;
    else if (uid != old->uid && uid != old->suid)
        return refuse(c);
    c->euid = c->fsuid = uid;
    return commit_uid(t, c);
}

long sys_setgid(struct task *t, uint32_t gid)
{
    const struct cred *old = t->cred;
    if (gid == NO_ID)
        return -EINVAL;
    struct cred *c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    if (cred_capable(old, CAP_SETGID))
        c->gid = c->sgid = gid;
    else if (gid != old->gid && gid != old->sgid)
        return refuse(c);
    c->egid = c->fsgid = gid;
    task_commit_cred(t, c);
    return 0;
}

long sys_setreuid(struct task *t, uint32_t ruid, uint32_t euid)
{
    const struct cred *old = t->cred;
    bool cap = cred_capable(old, CAP_SETUID);
    struct cred *c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    if (ruid != NO_ID) {
        c->uid = ruid;
        if (ruid != old->uid && ruid != old->euid && !cap)
            return refuse(c);
    }
    if (euid != NO_ID) {
        c->euid = euid;
        if (euid != old->uid && euid != old->euid && euid != old->suid && !cap)
            return refuse(c);
    }
    if (ruid != NO_ID || (euid != NO_ID && euid != old->uid))
        c->suid = c->euid;
    c->fsuid = c->euid;
    return commit_uid(t, c);
}

long sys_setregid(struct task *t, uint32_t rgid, uint32_t egid)
{
    const struct cred *old = t->cred;
    bool cap = cred_capable(old, CAP_SETGID);
    struct cred *c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    if (rgid != NO_ID) {
        c->gid = rgid;
        if (rgid != old->gid && rgid != old->egid && !cap)
            return refuse(c);
    }
    if (egid != NO_ID) {
        c->egid = egid;
        if (egid != old->gid && egid != old->egid && egid != old->sgid && !cap)
            return refuse(c);
    }
    if (rgid != NO_ID || (egid != NO_ID && egid != old->gid))
        c->sgid = c->egid;
    c->fsgid = c->egid;
    task_commit_cred(t, c);
    return 0;
}

static bool id_ok(uint32_t id, uint32_t a, uint32_t b, uint32_t s)
{
    return id == NO_ID || id == a || id == b || id == s;
}

long sys_setresuid(struct task *t, uint32_t ruid, uint32_t euid, uint32_t suid)
{
    const struct cred *o = t->cred;
    if (!cred_capable(o, CAP_SETUID) &&
        (!id_ok(ruid, o->uid, o->euid, o->suid) || !id_ok(euid, o->uid, o->euid, o->suid) ||
         !id_ok(suid, o->uid, o->euid, o->suid)))
        return -EPERM;
    struct cred *c = cred_dup(o);
    if (!c)
        return -ENOMEM;
    if (ruid != NO_ID)
        c->uid = ruid;
    if (euid != NO_ID)
        c->euid = euid;
    if (suid != NO_ID)
        c->suid = suid;
    c->fsuid = c->euid;
    return commit_uid(t, c);
}

long sys_setresgid(struct task *t, uint32_t rgid, uint32_t egid, uint32_t sgid)
{
    const struct cred *o = t->cred;
    if (!cred_capable(o, CAP_SETGID) &&
        (!id_ok(rgid, o->gid, o->egid, o->sgid) || !id_ok(egid, o->gid, o->egid, o->sgid) ||
         !id_ok(sgid, o->gid, o->egid, o->sgid)))
        return -EPERM;
    struct cred *c = cred_dup(o);
    if (!c)
        return -ENOMEM;
    if (rgid != NO_ID)
        c->gid = rgid;
    if (egid != NO_ID)
        c->egid = egid;
    if (sgid != NO_ID)
        c->sgid = sgid;
    c->fsgid = c->egid;
    task_commit_cred(t, c);
    return 0;
}

static long put3(struct task *t, uaddr_t a, uint32_t x, uaddr_t b, uint32_t y, uaddr_t d, uint32_t z)
{
    return put_user(t->mm, a, x) || put_user(t->mm, b, y) || put_user(t->mm, d, z) ? -EFAULT : 0;
}

long sys_getresuid(struct task *t, uaddr_t r, uaddr_t e, uaddr_t s)
{
    const struct cred *c = t->cred;
    return put3(t, r, c->uid, e, c->euid, s, c->suid);
}

long sys_getresgid(struct task *t, uaddr_t r, uaddr_t e, uaddr_t s)
{
    const struct cred *c = t->cred;
    return put3(t, r, c->gid, e, c->egid, s, c->sgid);
}

long sys_setfsuid(struct task *t, uint32_t uid)
{
    const struct cred *o = t->cred;
    uint32_t old = o->fsuid;
    bool ok = uid != NO_ID && (uid == o->uid || uid == o->euid || uid == o->suid || uid == o->fsuid ||
                               cred_capable(o, CAP_SETUID));
    struct cred *c = ok && uid != old ? cred_dup(o) : nullptr;
    if (!c)
        return old;
    c->fsuid = uid;
    if (!(c->securebits & SECBIT_NO_SETUID_FIXUP)) {
        if (!old && uid)
            c->cap_effective &= ~CAPS_FS;
        else if (old && !uid)
            c->cap_effective |= c->cap_permitted & CAPS_FS;
    }
    task_commit_cred(t, c);
    return old;
}

long sys_setfsgid(struct task *t, uint32_t gid)
{
    const struct cred *o = t->cred;
    uint32_t old = o->fsgid;
    bool ok = gid != NO_ID && (gid == o->gid || gid == o->egid || gid == o->sgid || gid == o->fsgid ||
                               cred_capable(o, CAP_SETGID));
    struct cred *c = ok && gid != old ? cred_dup(o) : nullptr;
    if (!c)
        return old;
    c->fsgid = gid;
    task_commit_cred(t, c);
    return old;
}

long sys_getgroups(struct task *t, int size, uaddr_t list)
{
    const struct cred *c = t->cred;
    if (size < 0)
        return -EINVAL;
    if (!size)
        return c->ngroups;
    if ((uint32_t)size < c->ngroups)
        return -EINVAL;
    if (c->ngroups && copy_out(t->mm, list, c->groups, c->ngroups * sizeof(*c->groups)) != 0)
        return -EFAULT;
    return c->ngroups;
}

static int id_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

long sys_setgroups(struct task *t, int size, uaddr_t list)
{
    if (!cred_capable(t->cred, CAP_SETGID))
        return -EPERM;
    if (size < 0 || size > NGROUPS_LIMIT)
        return -EINVAL;
    uint32_t *g = nullptr;
    if (size) {
        g = mem_alloc_array((size_t)size, sizeof(*g));
        if (!g)
            return -ENOMEM;
        if (copy_in(t->mm, g, list, (size_t)size * sizeof(*g)) != 0) {
            mem_free(g);
            return -EFAULT;
        }
        for (int i = 0; i < size; i++) {
            if (g[i] == NO_ID) {
                mem_free(g);
                return -EINVAL;
            }
        }
        qsort(g, (size_t)size, sizeof(*g), id_compare);
    }
    struct cred *c = cred_dup(t->cred);
    if (!c) {
        mem_free(g);
        return -ENOMEM;
    }
    mem_free(c->groups);
    c->groups = g;
    c->ngroups = (uint32_t)size;
    task_commit_cred(t, c);
    return 0;
}

// --- capabilities ---
struct cap_header {
    uint32_t version;
    int32_t pid;
};
struct cap_data {
    uint32_t effective, permitted, inheritable;
};

// How many struct cap_data the version has; an unknown one is answered with the newest.
static int cap_version(struct task *t, uaddr_t header, struct cap_header *h, int *n)
{
    if (get_user(t->mm, header, *h) != 0)
        return -EFAULT;
    switch (h->version) {
    case _LINUX_CAPABILITY_VERSION_1:
        *n = 1;
        return 0;
    case _LINUX_CAPABILITY_VERSION_2:
    case _LINUX_CAPABILITY_VERSION_3:
        *n = 2;
        return 0;
    }
    uint32_t newest = _LINUX_CAPABILITY_VERSION_3;
    return put_user(t->mm, header, newest) != 0 ? -EFAULT : -EINVAL;
}

long sys_capget(struct task *t, uaddr_t header, uaddr_t data)
{
    struct cap_header h;
    int n;
    int err = cap_version(t, header, &h, &n);
    if (err || uaddr_null(data))
        return err == -EINVAL && uaddr_null(data) ? 0 : err;
    if (h.pid < 0)
        return -EINVAL;
    struct task *o = h.pid ? task_find(t->pidns, h.pid) : task_get(t);
    if (!o)
        return -ESRCH;
    struct cred *c = task_cred_get(o);
    struct cap_data d[2] = {
        {(uint32_t)c->cap_effective, (uint32_t)c->cap_permitted, (uint32_t)c->cap_inheritable},
        {(uint32_t)(c->cap_effective >> 32), (uint32_t)(c->cap_permitted >> 32),
         (uint32_t)(c->cap_inheritable >> 32)},
    };
    cred_put(c);
    task_put(o);
    return copy_out(t->mm, data, d, (size_t)n * sizeof(d[0]));
}

long sys_capset(struct task *t, uaddr_t header, uaddr_t data)
{
    struct cap_header h;
    struct cap_data d[2] = {};
    int n;
    const struct cred *o = t->cred;
    int err = cap_version(t, header, &h, &n);
    if (err)
        return err;
    if (h.pid && h.pid != task_tid_in(t, t->pidns))
        return -EPERM;
    if (copy_in(t->mm, d, data, (size_t)n * sizeof(d[0])) != 0)
        return -EFAULT;
    uint64_t known = CAPBIT(CAP_LAST_CAP + 1) - 1;
    uint64_t e = (d[0].effective | (uint64_t)d[1].effective << 32) & known;
    uint64_t p = (d[0].permitted | (uint64_t)d[1].permitted << 32) & known;
    uint64_t i = (d[0].inheritable | (uint64_t)d[1].inheritable << 32) & known;
    if (!cred_capable(o, CAP_SETPCAP) && (i & ~(o->cap_inheritable | o->cap_permitted)))
        return -EPERM;
    if ((i & ~(o->cap_inheritable | o->cap_bounding)) || (p & ~o->cap_permitted) || (e & ~p))
        return -EPERM;
    struct cred *c = cred_dup(o);
    if (!c)
        return -ENOMEM;
    c->cap_effective = e;
    c->cap_permitted = p;
    c->cap_inheritable = i;
    c->cap_ambient &= p & i;
    task_commit_cred(t, c);
    return 0;
}
