// SPDX-License-Identifier: Apache-2.0
// Copies to and from stub processes. The pid is one that the platform has proved; addresses are the
// guest's, any value.
#include "abi/errno.h"
#include "host/raw.h"
#include "platform/internal.h"
#include <sys/uio.h>

bool guest_range_ok(uint64_t addr, uint64_t len)
{
    return len > 0 && len <= st.task_size && addr <= st.task_size - len &&
           (addr | len) % PAGE_SIZE == 0;
}

static long copy(long nr, int pid, void *buf, uint64_t addr, size_t n)
{
    if (n == 0)
        return 0;
    struct iovec l = {buf, n}, r = {(void *)addr, n};
    long ret = host_call(nr, pid, &l, 1, &r, 1, 0);
    return ret == 0 || ret == -ENOMEM ? -EFAULT : ret;
}

// Guest memory, and the vDSO for reading. Short at its end.
static size_t clamp(uint64_t addr, size_t n, bool write)
{
    uint64_t end = st.task_size;
    if (!write && addr >= st.vdso && addr < st.vdso_end)
        end = st.vdso_end;
    return addr >= end ? 0 : MIN(n, end - addr);
}

long guest_read(int pid, void *dst, uaddr_t src, size_t n)
{
    size_t m = clamp(src.v, n, false);
    return n && !m ? -EFAULT : copy(__NR_process_vm_readv, pid, dst, src.v, m);
}
long guest_write(int pid, uaddr_t dst, const void *src, size_t n)
{
    size_t m = clamp(dst.v, n, true);
    return n && !m ? -EFAULT : copy(__NR_process_vm_writev, pid, (void *)src, dst.v, m);
}
long guest_copy_vec(int pid, bool write, void *buf, const struct pvec *v, size_t n)
{
    struct iovec l = {buf, 0}, r[PVEC_MAX];
    size_t k = 0;
    for (; k < n && k < PVEC_MAX && clamp(v[k].addr, v[k].len, true) == v[k].len; k++) {
        r[k] = (struct iovec){(void *)v[k].addr, v[k].len};
        l.iov_len += v[k].len;
    }
    if (!l.iov_len)
        return -EFAULT;
    long ret = host_call(write ? __NR_process_vm_writev : __NR_process_vm_readv, pid, &l, 1, r, k, 0);
    return ret == 0 || ret == -ENOMEM ? -EFAULT : ret;
}
long stub_read(int pid, void *dst, uint64_t src, size_t n)
{
    return copy(__NR_process_vm_readv, pid, dst, src, n);
}
long stub_write(int pid, uint64_t dst, const void *src, size_t n)
{
    return copy(__NR_process_vm_writev, pid, (void *)src, dst, n);
}
