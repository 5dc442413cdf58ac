// SPDX-License-Identifier: Apache-2.0
// NUMA policy as a kernel on a machine with one node answers: masks are checked, policies are
// remembered, and every page is on node 0.
#include "abi/errno.h"
#include "sys/protos.h"
#include <linux/capability.h>
#include <linux/mempolicy.h>

#ifndef MPOL_PREFERRED_MANY
#define MPOL_PREFERRED_MANY 5
#endif
#ifndef MPOL_F_NUMA_BALANCING
#define MPOL_F_NUMA_BALANCING (1 << 13)
#endif
constexpr int MODE_FLAGS = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | MPOL_F_NUMA_BALANCING;

// Node masks are arrays of longs of maxnode - 1 bits; any bit but the first names a missing node.
static int get_nodes(struct mm *mm, uaddr_t mask, uint64_t maxnode, uint64_t *nodes)
{
    *nodes = 0;
    if (!maxnode || uaddr_null(mask) || --maxnode == 0)
        return 0;
    if (maxnode > PAGE_SIZE * 8)
        return -EINVAL;
    for (uint64_t bit = 0; bit < maxnode; bit += 64) {
        uint64_t w;
        if (get_user(mm, uaddr_add(mask, bit / 8), w))
            return -EFAULT;
        if (maxnode - bit < 64)
            w &= (1ull << (maxnode - bit)) - 1;
        if (bit ? w : w & ~1ull)
            return -EINVAL;
        *nodes |= w;
    }
    return 0;
}

static int check_policy(int mode, uint64_t nodes)
{
    int flags = mode & MODE_FLAGS;
    mode &= ~MODE_FLAGS;
    if (mode < 0 || mode > MPOL_PREFERRED_MANY ||
        (flags & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES)) ==
            (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES) ||
        ((flags & MPOL_F_NUMA_BALANCING) && mode != MPOL_BIND))
        return -EINVAL;
    if (mode == MPOL_DEFAULT || mode == MPOL_LOCAL)
        return nodes || (mode == MPOL_LOCAL && flags) ? -EINVAL : 0;
    if (mode == MPOL_PREFERRED)
        return !nodes && flags ? -EINVAL : 0;
    return nodes ? 0 : -EINVAL;
}

long sys_set_mempolicy(struct task *t, int mode, uaddr_t mask, uint64_t maxnode)
{
    uint64_t nodes;
    int err = get_nodes(t->mm, mask, maxnode, &nodes);
    if (!err)
        err = check_policy(mode, nodes);
    if (err)
        return err;
    if (mode == MPOL_PREFERRED && !nodes)
        mode = MPOL_LOCAL;
    t->mempolicy = (uint32_t)mode;
    t->mempolicy_nodes = nodes;
    return 0;
}

static int put_nodes(struct mm *mm, uaddr_t mask, uint64_t maxnode, uint64_t nodes)
{
    if (uaddr_null(mask))
        return 0;
    if (maxnode < 1 + 1) // one node needs a mask of one bit, and maxnode is one more
        return -EINVAL;
    uint64_t bytes = (maxnode - 1 + 63) / 64 * 8;
    if (bytes > PAGE_SIZE)
        return -EINVAL;
    if (put_user(mm, mask, nodes))
        return -EFAULT;
    return bytes > 8 ? clear_user(mm, uaddr_add(mask, 8), bytes - 8) : 0;
}

long sys_get_mempolicy(struct task *t, uaddr_t umode, uaddr_t mask, uint64_t maxnode, uint64_t addr,
                       uint64_t flags)
{
    int mode = (int)t->mempolicy;
    uint64_t nodes = t->mempolicy_nodes;
    if (flags & ~(uint64_t)(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED))
        return -EINVAL;
    if (flags & MPOL_F_MEMS_ALLOWED) {
        if (flags & (MPOL_F_NODE | MPOL_F_ADDR))
            return -EINVAL;
        mode = 0;
        nodes = 1;
    } else if (flags & MPOL_F_ADDR) {
        if (!mm_range_mapped(t->mm, PAGE_ALIGN_DOWN(addr), 1))
            return -EFAULT;
        if (flags & MPOL_F_NODE)
            mode = 0; // the node of the page
    } else {
        if (addr)
            return -EINVAL;
        if (flags & MPOL_F_NODE) {
            if ((mode & ~MODE_FLAGS) != MPOL_INTERLEAVE)
                return -EINVAL;
            mode = 0; // the next node of the interleaving
        }
    }
    if (!uaddr_null(umode) && put_user(t->mm, umode, mode))
        return -EFAULT;
    return put_nodes(t->mm, mask, maxnode, nodes);
}

long sys_mbind(struct task *t, uint64_t addr, uint64_t len, int mode, uaddr_t mask,
               uint64_t maxnode, uint32_t flags)
{
    uint64_t nodes;
    if (flags & ~(uint32_t)(MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL))
        return -EINVAL;
    if ((flags & MPOL_MF_MOVE_ALL) && !cred_capable(t->cred, CAP_SYS_NICE))
        return -EPERM;
    if (addr & (PAGE_SIZE - 1))
        return -EINVAL;
    int err = get_nodes(t->mm, mask, maxnode, &nodes);
    if (!err)
        err = check_policy(mode, nodes);
    if (err)
        return err;
    uint64_t size = PAGE_ALIGN_UP(len);
    if (addr + size < addr)
        return -EINVAL;
    if (!size)
        return 0;
    return mm_range_mapped(t->mm, addr, size) ? 0 : -EFAULT;
}

static struct task *find_target(struct task *t, int pid)
{
    return pid ? task_find(t->pidns, pid) : task_get(t);
}

long sys_migrate_pages(struct task *t, int pid, uint64_t maxnode, uaddr_t from, uaddr_t to)
{
    uint64_t old, new;
    int err = get_nodes(t->mm, from, maxnode, &old);
    if (!err)
        err = get_nodes(t->mm, to, maxnode, &new);
    if (err)
        return err;
    struct task *o = find_target(t, pid);
    if (!o)
        return -ESRCH;
    err = o == t ? 0 : task_may_access(o);
    if (!err && !(new & 1))
        err = -EINVAL; // no memory on any of them
    task_put(o);
    return err;
}

static int page_status(struct mm *mm, uint64_t addr, const int *node)
{
    if (node && *node != 0)
        return -ENODEV;
    return mm_range_mapped(mm, PAGE_ALIGN_DOWN(addr), 1) ? 0 : -EFAULT;
}

long sys_move_pages(struct task *t, int pid, uint64_t count, uaddr_t pages, uaddr_t nodes,
                    uaddr_t status, int flags)
{
    if (flags & ~(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL))
        return -EINVAL;
    if ((flags & MPOL_MF_MOVE_ALL) && !cred_capable(t->cred, CAP_SYS_NICE))
        return -EPERM;
    struct task *o = find_target(t, pid);
    if (!o)
        return -ESRCH;
    int err = o == t ? 0 : task_may_access(o);
    struct mm *mm = err ? nullptr : task_mm_get(o);
    task_put(o);
    if (!mm)
        return err ? err : -EINVAL;
    for (uint64_t i = 0; !err && i < count; i++) {
        uint64_t addr;
        int node = 0, st;
        if (get_user(t->mm, uaddr_add(pages, i * 8), addr) ||
            (!uaddr_null(nodes) && get_user(t->mm, uaddr_add(nodes, i * 4), node)))
            err = -EFAULT;
        st = err ? 0 : page_status(mm, addr, &node);
        if (!err && st == -ENODEV)
            err = -ENODEV;
        else if (!err && put_user(t->mm, uaddr_add(status, i * 4), st))
            err = -EFAULT;
        if (signal_pending(t) && !err)
            err = -ERESTARTNOHAND;
    }
    mm_put(mm);
    return err;
}
