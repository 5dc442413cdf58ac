// SPDX-License-Identifier: Apache-2.0
// System V IPC identifiers: see sysvipc.h. An identifier is sequence * 32768 + slot, so that an old one
// does not mean a new object.
#include "sys/sysvipc.h"
#include "abi/errno.h"
#include "base/slab.h"
#include <linux/capability.h>

void ipc_table_init(struct ipc_table *t, const uint32_t *max, void (*release)(struct ipc_obj *))
{
    mutex_init(&t->lock, RANK_LEAF);
    t->max = max;
    t->release = release;
}

void ipc_put(struct ipc_table *t, struct ipc_obj *o)
{
    if (o && ref_put(&o->ref))
        t->release(o);
}

static int grow(struct ipc_table *t)
{
    uint32_t n = t->nslots ? t->nslots * 2 : 16;
    struct ipc_obj **s = mem_alloc_array(n, sizeof(*s));
    if (!s)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->nslots; i++)
        s[i] = t->slot[i];
    mem_free(t->slot);
    t->slot = s;
    t->nslots = n;
    return 0;
}

int ipc_add(struct ipc_table *t, struct ipc_obj *o, int key, uint32_t mode, const struct task *by)
{
    const struct cred *c = by->cred;
    int top;
    if (t->used >= IPC_SLOTS_MAX || ipc_count(t, by->ipc, &top) >= *t->max)
        return -ENOSPC;
    uint32_t i = 0;
    while (i < t->nslots && t->slot[i])
        i++;
    if (i == t->nslots) {
        int err = grow(t);
        if (err)
            return err;
    }
    t->slot[i] = o;
    t->used++;
    t->top = MAX(t->top, i + 1);
    o->id = (int)((uint32_t)(t->seq++ & 0x7fff) * IPC_SLOTS_MAX + i);
    o->ns = by->ipc->ino;
    o->key = key;
    o->uid = o->cuid = c->euid;
    o->gid = o->cgid = c->egid;
    o->mode = mode & 0777;
    ref_init(&o->ref);
    return 0;
}

struct ipc_obj *ipc_by_index(struct ipc_table *t, const struct ipcns *ns, int i)
{
    struct ipc_obj *o = i >= 0 && (uint32_t)i < t->nslots ? t->slot[i] : nullptr;
    return o && o->ns == ns->ino ? o : nullptr;
}

struct ipc_obj *ipc_by_id(struct ipc_table *t, const struct ipcns *ns, int id)
{
    struct ipc_obj *o = id < 0 ? nullptr : ipc_by_index(t, ns, id % IPC_SLOTS_MAX);
    return o && o->id == id ? o : nullptr;
}

uint32_t ipc_count(const struct ipc_table *t, const struct ipcns *ns, int *top)
{
    uint32_t n = 0;
    *top = 0;
    for (uint32_t i = 0; i < t->top; i++) {
        if (t->slot[i] && t->slot[i]->ns == ns->ino) {
            n++;
            *top = (int)i;
        }
    }
    return n;
}

struct ipc_obj *ipc_by_key(struct ipc_table *t, const struct ipcns *ns, int key)
{
    for (uint32_t i = 0; i < t->top; i++) {
        if (t->slot[i] && t->slot[i]->ns == ns->ino && t->slot[i]->key == key && !t->slot[i]->dead)
            return t->slot[i];
    }
    return nullptr;
}

void ipc_unlink(struct ipc_table *t, struct ipc_obj *o)
{
    t->slot[o->id % IPC_SLOTS_MAX] = nullptr;
    t->used--;
    while (t->top && !t->slot[t->top - 1])
        t->top--;
    o->dead = true;
    o->key = IPC_PRIVATE;
}

int ipc_may(const struct ipc_obj *o, const struct cred *c, uint32_t want)
{
    uint32_t need = (want >> 6 | want >> 3 | want) & 7, have = o->mode;
    if (c->euid == o->cuid || c->euid == o->uid)
        have >>= 6;
    else if (cred_in_group(c, o->cgid) || cred_in_group(c, o->gid))
        have >>= 3;
    return (need & ~have) && !cred_capable(c, CAP_IPC_OWNER) ? -EACCES : 0;
}

int ipc_owner(const struct ipc_obj *o, const struct cred *c)
{
    return c->euid == o->cuid || c->euid == o->uid || cred_capable(c, CAP_SYS_ADMIN) ? 0 : -EPERM;
}

void ipc_perm_out(const struct ipc_obj *o, struct ipc_perm *p)
{
    *p = (struct ipc_perm){.__key = o->key, .uid = o->uid, .gid = o->gid, .cuid = o->cuid,
                           .cgid = o->cgid, .mode = (uint16_t)o->mode,
                           .__seq = (uint16_t)(o->id / IPC_SLOTS_MAX)};
}

void ipc_perm_in(struct ipc_obj *o, const struct ipc_perm *p)
{
    o->uid = p->uid;
    o->gid = p->gid;
    o->mode = (o->mode & ~0777u) | (p->mode & 0777u);
}

int ipc_get(struct ipc_table *t, int key, int flags, const struct task *by, struct ipc_obj **out)
{
    *out = key == IPC_PRIVATE ? nullptr : ipc_by_key(t, by->ipc, key);
    if (!*out)
        return key == IPC_PRIVATE || (flags & IPC_CREAT) ? 0 : -ENOENT;
    if ((flags & IPC_CREAT) && (flags & IPC_EXCL))
        return -EEXIST;
    return ipc_may(*out, by->cred, (uint32_t)flags & 0777);
}
