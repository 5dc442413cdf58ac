// SPDX-License-Identifier: Apache-2.0
// System V shared memory. A segment is a memory object; each mapping holds a reference to it, so
// the reference count is the number of attachments (plus the table's own), and a segment that was
// removed goes with its last mapping, whatever ended it (shmdt, munmap, exec, exit).
#include "abi/errno.h"
#include "base/slab.h"
#include "kern/sysctl.h"
#include "mem/vma.h"
#include "sys/sysvipc.h"
#include "sys/protos.h"
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/shm.h>

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
constexpr uint32_t SHM_DEST_BIT = 01000, SHM_LOCKED_BIT = 02000;

struct shm {
    struct ipc_obj ipc;       // its reference: the table's while not removed, and the mapping object's
    struct memobj map;        // what is mapped; the table holds one reference until IPC_RMID
    struct memobj *mem;       // ref: the memory
    uint64_t size;            // [C] as asked for
    int64_t atime, dtime, ctime; // [lock] seconds
    struct kpid *cpid, *lpid; // [lock] refs
};
SLAB_DEFINE(shm_slab, struct shm);
static struct ipc_table shms;
static uint64_t total_pages; // [shms.lock]

static struct shm *shm_of(struct ipc_obj *o)
{
    return container_of(o, struct shm, ipc);
}

static void shm_free(struct ipc_obj *o)
{
    struct shm *s = shm_of(o);
    memobj_put(s->mem);
    if (s->cpid)
        kpid_put(s->cpid);
    if (s->lpid)
        kpid_put(s->lpid);
    slab_free(&shm_slab, s);
}

// --- the mapped object -------------------------------------------------------------------------
static int shm_hostfd(struct memobj *m, bool shared, bool write, int *fd)
{
    struct shm *s = container_of(m, struct shm, map);
    return s->mem->ops->hostfd(s->mem, shared, write, fd);
}

static void shm_describe(struct memobj *m, uint64_t *dev, uint64_t *ino, struct strbuf *path)
{
    struct shm *s = container_of(m, struct shm, map);
    *dev = 1;
    *ino = (uint64_t)s->ipc.id;
    strbuf_fmt(path, "/SYSV%08x (deleted)", s->ipc.key);
}

// The last mapping of a removed segment is gone (the table gave up its reference at IPC_RMID).
static void shm_map_release(struct memobj *m)
{
    struct shm *s = container_of(m, struct shm, map);
    mutex_lock(&shms.lock);
    ipc_unlink(&shms, &s->ipc);
    total_pages -= PAGE_ALIGN_UP(s->size) / PAGE_SIZE;
    mutex_unlock(&shms.lock);
    ipc_put(&shms, &s->ipc);
}
static const struct memobj_ops shm_map_ops = {
    .hostfd = shm_hostfd,
    .describe = shm_describe,
    .release = shm_map_release,
};

static uint64_t attachments(const struct shm *s)
{
    uint32_t n = ref_count(&s->map.ref);
    return s->ipc.mode & SHM_DEST_BIT ? n : n - 1;
}

// --- shmget ------------------------------------------------------------------------------------
static int shm_new(struct task *t, int key, uint64_t size, int flags)
{
    if (size < 1 || size > READ_SHARED(sysctls.shmmax) || size > (uint64_t)INT64_MAX - PAGE_SIZE)
        return -EINVAL;
    struct shm *s = slab_alloc(&shm_slab);
    if (!s)
        return -ENOMEM;
    int err = shmobj_new(PAGE_ALIGN_UP(size), "SYSV", &s->mem);
    if (err) {
        slab_free(&shm_slab, s);
        return err;
    }
    s->size = size;
    s->map.ops = &shm_map_ops;
    ref_init(&s->map.ref);
    s->ctime = ipc_now();
    s->cpid = kpid_get(t->group->tgid_pid);
    uint64_t pages = PAGE_ALIGN_UP(size) / PAGE_SIZE;
    mutex_lock(&shms.lock);
    // Somebody may have been faster.
    struct ipc_obj *o = key == IPC_PRIVATE ? nullptr : ipc_by_key(&shms, t->ipc, key);
    if (o)
        err = -EEXIST;
    else if (total_pages + pages > READ_SHARED(sysctls.shmall))
        err = -ENOSPC;
    else
        err = ipc_add(&shms, &s->ipc, key, (uint32_t)flags, t);
    if (!err)
        total_pages += pages;
    int id = s->ipc.id;
    mutex_unlock(&shms.lock);
    if (err) {
        shm_free(&s->ipc);
        return err;
    }
    return id;
}

long sys_shmget(struct task *t, int key, size_t size, int flags)
{
    struct ipc_obj *o;
    for (;;) {
        mutex_lock(&shms.lock);
        int ret = ipc_get(&shms, key, flags, t, &o);
        if (!ret && o)
            ret = size > shm_of(o)->size ? -EINVAL : o->id;
        mutex_unlock(&shms.lock);
        if (ret || o)
            return ret;
        ret = shm_new(t, key, size, flags);
        if (ret != -EEXIST)
            return ret;
    }
}

// --- attaching ---------------------------------------------------------------------------------
// A reference to the mapping object, after the permission check.
static int shm_grab(struct task *t, int id, int flags, struct shm **out)
{
    uint32_t want = (flags & SHM_RDONLY ? 0444 : 0666) | (flags & SHM_EXEC ? 0111 : 0);
    mutex_lock(&shms.lock);
    struct ipc_obj *o = ipc_by_id(&shms, t->ipc, id);
    int err = o ? ipc_may(o, t->cred, want) : -EINVAL;
    // A removed segment without attachments is on its way out.
    if (!err && !ref_get_unless_zero(&shm_of(o)->map.ref))
        err = -EIDRM;
    mutex_unlock(&shms.lock);
    if (!err)
        *out = shm_of(o);
    return err;
}

static void touch(struct shm *s, struct task *t, bool attach)
{
    struct kpid *old, *now = kpid_get(t->group->tgid_pid);
    mutex_lock(&shms.lock);
    *(attach ? &s->atime : &s->dtime) = ipc_now();
    old = s->lpid;
    s->lpid = now;
    mutex_unlock(&shms.lock);
    if (old)
        kpid_put(old);
}

long sys_shmat(struct task *t, int id, uaddr_t at, int flags)
{
    struct shm *s;
    uint64_t addr = at.v;
    if (addr & (PAGE_SIZE - 1)) {
        if (!(flags & SHM_RND))
            return -EINVAL;
        addr = PAGE_ALIGN_DOWN(addr);
    }
    if (!addr && (flags & SHM_REMAP))
        return -EINVAL;
    int err = shm_grab(t, id, flags, &s);
    if (err)
        return err;
    struct mmap_args a = {
        .addr = addr,
        .len = s->size,
        .prot = PROT_READ | (flags & SHM_RDONLY ? 0 : PROT_WRITE) | (flags & SHM_EXEC ? PROT_EXEC : 0),
        .flags = MAP_SHARED | (!addr ? 0 : flags & SHM_REMAP ? MAP_FIXED : MAP_FIXED_NOREPLACE),
        .obj = &s->map,
        .may_write = !(flags & SHM_RDONLY),
        .may_exec = true,
        .lim = task_mm_limits(t),
    };
    long ret = mm_mmap(t->mm, t->ctx, &a);
    if (ret >= 0 || ret < -4095)
        touch(s, t, true);
    else if (ret == -EEXIST)
        ret = -EINVAL;
    memobj_put(&s->map);
    return ret;
}

// The parts of the address space that show this attachment of the segment at addr.
struct range {
    uint64_t start, end;
};
static size_t find_ranges(struct mm *mm, uint64_t addr, struct range *r, size_t max, struct shm **out)
{
    size_t n = 0;
    struct memobj *obj = nullptr;
    mutex_lock(&mm->lock);
    for (struct vma *v = vma_find(mm->vmas, addr); v && n < max; v = v->next) {
        if (v->start < addr)
            continue;
        if (!v->obj || v->obj->ops != &shm_map_ops || v->start - v->off != addr) {
            if (obj && v->start - addr >= container_of(obj, struct shm, map)->size)
                break;
            continue;
        }
        if (!obj)
            obj = memobj_get(v->obj);
        if (v->obj == obj)
            r[n++] = (struct range){v->start, v->end};
    }
    mutex_unlock(&mm->lock);
    *out = obj ? container_of(obj, struct shm, map) : nullptr;
    return n;
}

long sys_shmdt(struct task *t, uaddr_t at)
{
    struct range r[32];
    struct shm *s;
    long ret = -EINVAL;
    if (at.v & (PAGE_SIZE - 1))
        return -EINVAL;
    for (;;) {
        size_t n = find_ranges(t->mm, at.v, r, ARRAY_LEN(r), &s);
        if (!n)
            break;
        for (size_t i = 0; i < n; i++)
            ret = mm_munmap(t->mm, t->ctx, r[i].start, r[i].end - r[i].start);
        touch(s, t, false);
        memobj_put(&s->map);
        if (ret || n < ARRAY_LEN(r))
            break;
    }
    return ret;
}

// --- shmctl ------------------------------------------------------------------------------------
static void stat_out(struct shm *s, struct task *t, struct shmid_ds *d)
{
    *d = (struct shmid_ds){.shm_segsz = s->size, .shm_atime = s->atime, .shm_dtime = s->dtime,
                           .shm_ctime = s->ctime, .shm_nattch = attachments(s)};
    ipc_perm_out(&s->ipc, &d->shm_perm);
    d->shm_cpid = kpid_nr_in(s->cpid, t->pidns);
    d->shm_lpid = s->lpid ? kpid_nr_in(s->lpid, t->pidns) : 0;
}

static long shm_stat(struct task *t, int id, int cmd, uaddr_t buf)
{
    struct shmid_ds d;
    long ret;
    mutex_lock(&shms.lock);
    struct ipc_obj *o = cmd == IPC_STAT ? ipc_by_id(&shms, t->ipc, id) : ipc_by_index(&shms, t->ipc, id);
    ret = !o ? -EINVAL : cmd == SHM_STAT_ANY ? 0 : ipc_may(o, t->cred, 0444);
    if (!ret) {
        stat_out(shm_of(o), t, &d);
        ret = cmd == IPC_STAT ? 0 : o->id;
    }
    mutex_unlock(&shms.lock);
    return ret >= 0 && put_user(t->mm, buf, d) ? -EFAULT : ret;
}

static long shm_set(struct task *t, int id, uaddr_t buf)
{
    struct shmid_ds d;
    if (get_user(t->mm, buf, d))
        return -EFAULT;
    mutex_lock(&shms.lock);
    struct ipc_obj *o = ipc_by_id(&shms, t->ipc, id);
    int err = o ? ipc_owner(o, t->cred) : -EINVAL;
    if (!err) {
        ipc_perm_in(o, &d.shm_perm);
        shm_of(o)->ctime = ipc_now();
    }
    mutex_unlock(&shms.lock);
    return err;
}

// [lock] True: the table's reference to the mapping object is the caller's to drop.
static bool mark_removed(struct ipc_obj *o)
{
    if (o->mode & SHM_DEST_BIT)
        return false;
    o->mode |= SHM_DEST_BIT;
    o->key = IPC_PRIVATE;
    return true;
}

static long shm_remove(struct task *t, int id)
{
    mutex_lock(&shms.lock);
    struct ipc_obj *o = ipc_by_id(&shms, t->ipc, id);
    int err = o ? ipc_owner(o, t->cred) : -EINVAL;
    bool drop = !err && mark_removed(o);
    mutex_unlock(&shms.lock);
    if (drop)
        memobj_put(&shm_of(o)->map); // the table's
    return err;
}

static long shm_lock(struct task *t, int id, bool lock)
{
    mutex_lock(&shms.lock);
    struct ipc_obj *o = ipc_by_id(&shms, t->ipc, id);
    int err = !o ? -EINVAL
              : cred_capable(t->cred, CAP_IPC_LOCK) || !ipc_owner(o, t->cred) ? 0 : -EPERM;
    if (!err)
        o->mode = lock ? o->mode | SHM_LOCKED_BIT : o->mode & ~SHM_LOCKED_BIT;
    mutex_unlock(&shms.lock);
    return err;
}

static long shm_info(struct task *t, int cmd, uaddr_t buf)
{
    int top;
    struct shm_info si = {};
    mutex_lock(&shms.lock);
    si.used_ids = (int)ipc_count(&shms, t->ipc, &top);
    for (int i = 0; i <= top; i++) {
        struct ipc_obj *o = ipc_by_index(&shms, t->ipc, i);
        si.shm_tot += o ? PAGE_ALIGN_UP(shm_of(o)->size) / PAGE_SIZE : 0;
    }
    mutex_unlock(&shms.lock);
    si.shm_rss = si.shm_tot;
    struct shminfo lim = {.shmmax = sysctls.shmmax, .shmmin = 1, .shmmni = sysctls.shmmni,
                          .shmseg = sysctls.shmmni, .shmall = sysctls.shmall};
    int err = cmd == IPC_INFO ? put_user(t->mm, buf, lim) : put_user(t->mm, buf, si);
    return err ? err : top;
}

long sys_shmctl(struct task *t, int id, int cmd, uaddr_t buf)
{
    switch (cmd) {
    case IPC_STAT: case SHM_STAT: case SHM_STAT_ANY:
        return shm_stat(t, id, cmd, buf);
    case IPC_SET:
        return shm_set(t, id, buf);
    case IPC_RMID:
        return shm_remove(t, id);
    case SHM_LOCK: case SHM_UNLOCK:
        return shm_lock(t, id, cmd == SHM_LOCK);
    case IPC_INFO: case SHM_INFO:
        return shm_info(t, cmd, buf);
    default:
        return -EINVAL;
    }
}

// The end of a namespace: what is attached nowhere goes at once.
static void shm_ns_release(struct ipcns *ns)
{
    for (uint32_t i = 0; i < IPC_SLOTS_MAX; i++) {
        mutex_lock(&shms.lock);
        bool end = i >= shms.nslots;
        struct ipc_obj *o = ipc_by_index(&shms, ns, (int)i);
        bool drop = o && mark_removed(o);
        mutex_unlock(&shms.lock);
        if (end)
            return;
        if (drop)
            memobj_put(&shm_of(o)->map);
    }
}

__attribute__((constructor)) static void shm_setup(void)
{
    ipcns_on_release(shm_ns_release);
    ipc_table_init(&shms, &sysctls.shmmni, shm_free);
}
