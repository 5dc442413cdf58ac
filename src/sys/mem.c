// SPDX-License-Identifier: Apache-2.0
// Memory calls: argument checks that belong to the call (files, access modes, capabilities); the
// work is in src/mem.
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/tmpfs/tmpfs.h"
#include "sys/protos.h"
#include <linux/capability.h>
#include <linux/memfd.h>
#include <linux/personality.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#define MFD_EXEC 16u
#endif

// Who has CAP_IPC_LOCK has no limit on locked memory.
static struct mm_limits limits(const struct task *t)
{
    struct mm_limits lim = task_mm_limits(t);
    if (cred_capable(t->cred, CAP_IPC_LOCK))
        lim.memlock = UINT64_MAX;
    return lim;
}

static bool on_noexec(const struct file *f)
{
    return f->path.mnt && (f->path.mnt->flags & MS_NOEXEC);
}

// The access rules of a file mapping (mmap(2), EACCES and EPERM), and the object behind it.
static int map_file_args(struct file *f, struct mmap_args *a)
{
    constexpr int LEGACY = MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE |
                           MAP_EXECUTABLE | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE |
                           MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB | MAP_32BIT |
                           0x7c000000; // the page size bits that MAP_HUGE_2MB and 1GB have
    int type = a->flags & MAP_TYPE;
    if (type == MAP_SHARED_VALIDATE) {
        if (a->flags & ~(LEGACY | MAP_SHARED_VALIDATE))
            return -EOPNOTSUPP;
        a->flags = (a->flags & ~MAP_TYPE) | MAP_SHARED;
        type = MAP_SHARED;
    }
    if (type != MAP_SHARED && type != MAP_PRIVATE)
        return -EINVAL;
    if (type == MAP_SHARED && (a->prot & PROT_WRITE) && !f->can_write)
        return -EACCES;
    if (!f->can_read)
        return -EACCES;
    if (on_noexec(f) && (a->prot & PROT_EXEC))
        return -EPERM;
    if (!f->ops->mmap)
        return -ENODEV;
    if (a->flags & MAP_GROWSDOWN)
        return -EINVAL;
    a->may_write = type == MAP_PRIVATE || f->can_write;
    if (type == MAP_SHARED && f->ops->fcntl) {
        int seals = f->ops->fcntl(f, nullptr, F_GET_SEALS, 0);
        if (seals > 0 && (seals & (F_SEAL_WRITE | 0x10 /* F_SEAL_FUTURE_WRITE */))) {
            if (a->prot & PROT_WRITE)
                return -EPERM;
            a->may_write = false;
        }
    }
    a->may_exec = !on_noexec(f);
    a->file = f;
    int err = f->ops->mmap(f, &a->obj);
    if (!err && !a->obj) { // /dev/zero: memory of nobody's
        a->flags |= MAP_ANONYMOUS;
        a->off = 0;
        a->may_write = true;
    }
    return err;
}

// MAP_DROPPABLE: memory that may be lost under pressure (ours is not), of which a child gets nothing
// and a core dump neither: where C libraries keep the state of the vDSO's generator.
static int map_droppable(struct task *t, uint64_t addr, uint64_t len)
{
    int err = mm_madvise(t->mm, t->ctx, addr, len, MADV_WIPEONFORK);
    if (!err)
        err = mm_madvise(t->mm, t->ctx, addr, len, MADV_DONTDUMP);
    if (err)
        (void)mm_munmap(t->mm, t->ctx, addr, len); // nobody has seen it
    return err;
}

static int map_anon_args(struct mmap_args *a, bool *droppable)
{
    int type = a->flags & MAP_TYPE;
    *droppable = type == MAP_DROPPABLE;
    if (*droppable) {
        if (a->flags & (MAP_LOCKED | MAP_HUGETLB | MAP_GROWSDOWN))
            return -EINVAL;
        type = MAP_PRIVATE;
        a->flags = (a->flags & ~MAP_TYPE) | MAP_PRIVATE | MAP_NORESERVE;
    }
    if (type != MAP_SHARED && type != MAP_PRIVATE)
        return -EINVAL;
    if (type == MAP_SHARED && (a->flags & MAP_GROWSDOWN))
        return -EINVAL;
    if (a->flags & MAP_HUGETLB)
        return -ENOMEM; // a machine without reserved huge pages
    a->off = 0;
    a->may_write = a->may_exec = true;
    return 0;
}

long sys_mmap(struct task *t, uint64_t addr, size_t len, int prot, int flags, int fd, uint64_t off)
{
    if (off & (PAGE_SIZE - 1))
        return -EINVAL;
    struct file *f = nullptr;
    if (!(flags & MAP_ANONYMOUS)) {
        f = fd_get(t->files, fd);
        if (!f)
            return -EBADF;
    }
    if ((t->personality & READ_IMPLIES_EXEC) && (prot & PROT_READ) && !(f && on_noexec(f)))
        prot |= PROT_EXEC;
    struct mmap_args a = {
        .addr = addr, .len = len, .off = off, .prot = prot, .flags = flags, .lim = limits(t)};
    long ret = -EINVAL;
    bool droppable = false;
    if (len && !(f && (flags & MAP_HUGETLB)))
        ret = f ? map_file_args(f, &a) : map_anon_args(&a, &droppable);
    if (ret && f && len) { // a bad place is reported before a bad file
        int err = mm_check_place(t->mm, addr, len, flags);
        ret = err ? err : ret;
    }
    if (!ret)
        ret = mm_mmap(t->mm, t->ctx, &a);
    if (droppable && ret >= 0) {
        int err = map_droppable(t, (uint64_t)ret, len);
        ret = err ? err : ret;
    }
    memobj_put(a.obj);
    if (f) {
        if (ret >= 0)
            file_accessed(f);
        file_put(f);
    }
    return ret;
}

long sys_munmap(struct task *t, uint64_t addr, size_t len)
{
    return mm_munmap(t->mm, t->ctx, addr, len);
}

long sys_mprotect(struct task *t, uint64_t addr, size_t len, int prot)
{
    if ((t->personality & READ_IMPLIES_EXEC) && (prot & PROT_READ))
        prot |= PROT_EXEC;
    return mm_mprotect(t->mm, t->ctx, addr, len, prot);
}

long sys_mremap(struct task *t, uint64_t old, size_t old_len, size_t new_len, int flags,
                uint64_t new_addr)
{
    struct mm_limits lim = limits(t);
    return mm_mremap(t->mm, t->ctx, old, old_len, new_len, flags, new_addr, &lim);
}

long sys_madvise(struct task *t, uint64_t addr, size_t len, int advice)
{
    return mm_madvise(t->mm, t->ctx, addr, len, advice);
}

long sys_brk(struct task *t, uint64_t brk)
{
    struct mm_limits lim = limits(t);
    return (long)mm_brk(t->mm, t->ctx, brk, &lim);
}

long sys_msync(struct task *t, uint64_t addr, size_t len, int flags)
{
    return mm_msync(t->mm, addr, len, flags);
}

// What is locked is faulted in as well; a page that cannot be is ENOMEM, and stays locked.
static long lock_and_fill(struct task *t, uint64_t addr, size_t len, bool onfault)
{
    struct mm_limits lim = limits(t);
    int err = mm_mlock2(t->mm, addr, len, onfault, &lim);
    if (err || onfault)
        return err;
    return mm_populate(t->mm, t->ctx, addr, len, false) ? -ENOMEM : 0;
}

long sys_mlock(struct task *t, uint64_t addr, size_t len)
{
    return lock_and_fill(t, addr, len, false);
}

long sys_mlock2(struct task *t, uint64_t addr, size_t len, int flags)
{
    if (flags & ~MLOCK_ONFAULT)
        return -EINVAL;
    return lock_and_fill(t, addr, len, flags & MLOCK_ONFAULT);
}

long sys_munlock(struct task *t, uint64_t addr, size_t len)
{
    struct mm_limits lim = limits(t);
    return mm_mlock(t->mm, addr, len, false, &lim);
}

long sys_mlockall(struct task *t, int flags)
{
    struct mm_limits lim = limits(t);
    if (!flags || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT)
        return -EINVAL;
    int err = mm_mlockall(t->mm, flags, &lim);
    if (!err && (flags & MCL_CURRENT) && !(flags & MCL_ONFAULT))
        (void)mm_populate(t->mm, t->ctx, 0, t->mm->task_size, true);
    return err;
}

long sys_munlockall(struct task *t)
{
    struct mm_limits lim = limits(t);
    return mm_mlockall(t->mm, 0, &lim);
}

long sys_mincore(struct task *t, uint64_t addr, size_t len, uaddr_t vec)
{
    uint8_t buf[1024];
    if (addr & (PAGE_SIZE - 1))
        return -EINVAL;
    if (addr > t->mm->task_size || len > t->mm->task_size - addr)
        return -ENOMEM;
    for (uint64_t left = PAGE_ALIGN_UP(len); left;) {
        uint64_t n = MIN(left, sizeof(buf) << PAGE_SHIFT);
        memset(buf, 0, sizeof(buf));
        int err = mm_mincore(t->mm, t->ctx, addr, n, buf);
        if (!err)
            err = copy_out(t->mm, vec, buf, n >> PAGE_SHIFT);
        if (err)
            return err;
        addr += n;
        left -= n;
        vec = uaddr_add(vec, n >> PAGE_SHIFT);
    }
    return 0;
}

long sys_memfd_create(struct task *t, uaddr_t uname, uint32_t flags)
{
    constexpr uint32_t ALL = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
    char name[250];
    if (flags & MFD_HUGETLB)
        return -ENOSYS;
    if ((flags & ~ALL) || (flags & (MFD_EXEC | MFD_NOEXEC_SEAL)) == (MFD_EXEC | MFD_NOEXEC_SEAL))
        return -EINVAL;
    long n = copy_in_str(t->mm, name, uname, sizeof(name));
    if (n < 0)
        return n == -ENAMETOOLONG ? -EINVAL : n;
    struct file *f;
    int err = memfd_file_new(name, flags, t->cred, &f);
    if (err)
        return err;
    int fd = fd_install(t->files, f, 0, flags & MFD_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
    if (fd < 0)
        file_put(f);
    return fd;
}

long sys_remap_file_pages(struct task *t, uint64_t addr, size_t size, int prot, uint64_t pgoff,
                          int flags)
{
    struct mm_limits lim = limits(t);
    if (prot)
        return -EINVAL;
    return mm_remap_file_pages(t->mm, t->ctx, addr, size, pgoff, flags, &lim);
}

long sys_pkey_mprotect(struct task *t, uint64_t addr, size_t len, int prot, int pkey)
{
    return pkey == -1 ? sys_mprotect(t, addr, len, prot) : -EINVAL;
}

long sys_pkey_alloc(struct task *t, uint64_t flags, uint64_t rights)
{
    return flags || (rights & ~3ull) ? -EINVAL : -ENOSPC;
}

long sys_pkey_free(struct task *t, int pkey)
{
    return -EINVAL;
}

long sys_membarrier(struct task *t, int cmd, uint32_t flags, int cpu)
{
    return flags ? -EINVAL : task_membarrier(t, cmd);
}
