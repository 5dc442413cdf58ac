// SPDX-License-Identifier: Apache-2.0
// fstat and pread of regular files without a word to the kernel: attributes from the published line of
// the descriptor, bytes from a window on the file that only reads. The kernel makes a line invalid
// before a change of the file or of the descriptor is seen by anybody, so an answer that began and
// ended with the same line is one that the kernel would have given in between. Everything odd goes to
// the kernel, with nothing done: a bad pointer, a place beyond the window, a file that was cut
// shorter under the copy (SIGBUS there is a fault like any other).
#include "platform/stub/window.h"
#include "platform/stub/marshal.h"
#include <asm/unistd.h>

AI bool guest(uint64_t addr, uint64_t n)
{
    return n < STUB_GUEST_END && addr < STUB_GUEST_END - n;
}

// The line of a descriptor, when it says what is wanted of it; *seq is what it must still be later.
static const struct pub_file *line(const struct ppublic *p, uint32_t fd, uint32_t what, uint32_t *seq)
{
    const struct pub_file *e = (const struct pub_file *)(stub_pub + STUB_PUB_FILES_OFF) + fd;
    if (fd >= (uint32_t)PUB_FILES)
        return 0;
    *seq = LOAD(e->seq);
    if ((*seq & 1) || !(e->flags & what) || e->files != p->files)
        return 0;
    return e;
}
AI bool still(const struct pub_file *e, uint32_t seq)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return LOAD(e->seq) == seq;
}

static bool get_stat(const struct ppublic *p, uint32_t fd, uint64_t to)
{
    uint32_t seq;
    const struct pub_file *e = line(p, fd, PUBF_STAT, &seq);
    return e && guest(to, sizeof(e->stat)) &&
           stub_copy((void *)(uintptr_t)to, e->stat, sizeof(e->stat)) == 0 && still(e, seq);
}

// newfstatat(fd, "", to, AT_EMPTY_PATH): how libc spells fstat.
static bool get_statat(const struct ppublic *p, struct stub_ucontext *uc)
{
    constexpr uint32_t empty_path = 0x1000;
    char first = 1;
    if ((uint32_t)uc->r10 != empty_path || !guest(uc->rsi, 1) ||
        stub_copy(&first, (const void *)(uintptr_t)uc->rsi, 1) || first)
        return false;
    return get_stat(p, (uint32_t)uc->rdi, uc->rdx);
}

static bool get_data(const struct ppublic *p, struct stub_ucontext *uc, long *ret)
{
    uint32_t seq;
    uint64_t n = uc->rdx, pos = uc->r10;
    const struct pub_file *e = line(p, (uint32_t)uc->rdi, PUBF_DATA, &seq);
    if (!e || !guest(uc->rsi, n))
        return false;
    uint64_t size = e->size, win = e->win, len = e->win_len;
    if (pos >= size || !n) {
        *ret = 0;
        return pos < 1ull << 62 && n && still(e, seq);
    }
    n = n < size - pos ? n : size - pos;
    if (pos + n > len || !still(e, seq))
        return false;
    *ret = (long)n;
    return stub_copy((void *)(uintptr_t)uc->rsi, (const void *)(uintptr_t)(win + pos), n) == 0 &&
           still(e, seq);
}

bool window_call(const struct ppublic *p, struct stub_ucontext *uc, long *ret)
{
    *ret = 0;
    switch ((uint32_t)uc->rax) {
    case __NR_pread64: return get_data(p, uc, ret);
    case __NR_fstat: return get_stat(p, (uint32_t)uc->rdi, uc->rsi);
    case __NR_newfstatat: return get_statat(p, uc);
    }
    return false;
}
