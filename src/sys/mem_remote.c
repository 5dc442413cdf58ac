// SPDX-License-Identifier: Apache-2.0
// process_vm_readv and process_vm_writev: from one address space to another through a buffer of the
// kernel's, 64 KiB at a time. Both vectors are a guest's; they are read once.
#include "abi/errno.h"
#include "base/slab.h"
#include "sys/protos.h"
#include <limits.h>
#include <string.h>

constexpr size_t CHUNK = 64 << 10;

// A vector of at most UIO_MAXIOV pieces; *total is bounded as Linux bounds it (MAX_RW_COUNT).
static int import(struct mm *mm, uaddr_t uvec, uint64_t n, struct uiovec **out, uint64_t *total)
{
    constexpr uint64_t MAX_RW = 0x7ffff000;
    *total = 0;
    *out = nullptr;
    if (n > 1024)
        return -EINVAL;
    if (!n)
        return 0;
    struct uiovec *v = mem_alloc_array(n, sizeof(*v)); // as struct iovec of the ABI
    if (!v)
        return -ENOMEM;
    int err = copy_in(mm, v, uvec, n * sizeof(*v));
    for (uint64_t i = 0; !err && i < n; i++) {
        if (v[i].len > INT64_MAX)
            err = -EINVAL;
        v[i].len = MIN(v[i].len, MAX_RW - *total);
        *total += v[i].len;
    }
    if (err) {
        mem_free(v);
        return err;
    }
    *out = v;
    return 0;
}

static long transfer(struct mm *mm, struct mm *remote, struct uiovec *lv, size_t nl,
                     struct uiovec *rv, size_t nr, uint64_t total, bool write)
{
    struct uio l = {.mm = mm, .v = lv, .nv = nl, .resid = total};
    struct uio r = {.mm = remote, .v = rv, .nv = nr, .resid = total};
    struct uio *from = write ? &l : &r, *to = write ? &r : &l;
    char *buf = mem_alloc(CHUNK);
    if (!buf)
        return -ENOMEM;
    uint64_t done = 0;
    long err = 0;
    while (done < total) {
        long n = uio_copy_from(from, buf, MIN(CHUNK, total - done));
        if (n <= 0) {
            err = n;
            break;
        }
        long k = uio_copy_to(to, buf, (size_t)n);
        if (k < 0)
            err = k;
        else
            done += (uint64_t)k;
        if (k < n)
            break;
    }
    mem_free(buf);
    return done ? (long)done : err;
}

static long process_vm(struct task *t, int pid, uaddr_t ulv, uint64_t nl, uaddr_t urv, uint64_t nr,
                       uint64_t flags, bool write)
{
    struct uiovec *lv, *rv = nullptr;
    uint64_t ltotal, rtotal;
    if (flags)
        return -EINVAL;
    long ret = import(t->mm, ulv, nl, &lv, &ltotal);
    if (!ret && ltotal)
        ret = import(t->mm, urv, nr, &rv, &rtotal);
    if (ret || !ltotal || !rtotal)
        goto out;
    struct task *other = task_find(t->pidns, pid);
    ret = other ? task_may_access(other) : -ESRCH;
    struct mm *remote = ret ? nullptr : task_mm_get(other);
    if (!ret && !remote)
        ret = -ESRCH;
    if (!ret)
        ret = transfer(t->mm, remote, lv, nl, rv, nr, MIN(ltotal, rtotal), write);
    mm_put(remote);
    if (other)
        task_put(other);
out:
    mem_free(lv);
    mem_free(rv);
    return ret;
}

long sys_process_vm_readv(struct task *t, int pid, uaddr_t lvec, uint64_t liovcnt, uaddr_t rvec,
                          uint64_t riovcnt, uint64_t flags)
{
    return process_vm(t, pid, lvec, liovcnt, rvec, riovcnt, flags, false);
}

long sys_process_vm_writev(struct task *t, int pid, uaddr_t lvec, uint64_t liovcnt, uaddr_t rvec,
                           uint64_t riovcnt, uint64_t flags)
{
    return process_vm(t, pid, lvec, liovcnt, rvec, riovcnt, flags, true);
}
