// SPDX-License-Identifier: Apache-2.0
// fstat, pread, read and lseek of regular files without a word to the kernel: attributes from the published
// line of the descriptor, bytes from a window on the file that only reads. The kernel makes a line invalid
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

// --- with the file's position ----------------------------------------------------------------------
// The position is ours to move while its word is valid. The compare-and-swap at the end is the whole
// call: before it nothing has happened that others see, and when it succeeds the line has been valid up to
// it (the kernel takes the position before it changes the line). Of two threads that read the same bytes
// one fails and reads again. A thread that ends or is stopped in between holds nothing.
constexpr int MOVES = 8; // tries, then the kernel
static uint64_t *position(uint32_t fd)
{
    return &((struct pub_pos *)(stub_slots + (uint64_t)SLOT_POS * SLOT_SIZE))[fd].word;
}
AI bool move(uint64_t *at, uint64_t word, uint64_t pos)
{
    return __atomic_compare_exchange_n(at, &word, pub_pos_next(word, pos), false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

static bool get_read(const struct ppublic *p, struct stub_ucontext *uc, long *ret)
{
    uint32_t seq, fd = (uint32_t)uc->rdi;
    uint64_t n = uc->rdx;
    const struct pub_file *e = line(p, fd, PUBF_DATA, &seq);
    if (!e || !n || !guest(uc->rsi, n))
        return false;
    uint64_t size = e->size, win = e->win, len = e->win_len, *at = position(fd);
    for (int i = 0; i < MOVES; i++) {
        uint64_t word = LOAD(*at), pos = word & PUB_POS_MAX;
        if (!(word & PUB_POS_VALID) || !still(e, seq))
            return false;
        *ret = 0;
        if (pos >= size)
            return true;
        uint64_t part = n < size - pos ? n : size - pos;
        if (pos + part > len ||
            stub_copy((void *)(uintptr_t)uc->rsi, (const void *)(uintptr_t)(win + pos), part))
            return false;
        *ret = (long)part;
        if (move(at, word, pos + part))
            return true;
    }
    return false;
}

static bool seek(const struct ppublic *p, struct stub_ucontext *uc, long *ret)
{
    uint32_t seq, fd = (uint32_t)uc->rdi;
    const struct pub_file *e = line(p, fd, PUBF_DATA, &seq);
    if (!e)
        return false;
    uint64_t size = e->size, *at = position(fd);
    for (int i = 0; i < MOVES; i++) {
        uint64_t word = LOAD(*at), base = 0;
        if (!(word & PUB_POS_VALID) || !still(e, seq))
            return false;
        switch ((uint32_t)uc->rdx) {
        case 0: break;                          // SEEK_SET
        case 1: base = word & PUB_POS_MAX; break; // SEEK_CUR
        case 2: base = size; break;             // SEEK_END
        default: return false;
        }
        int64_t to;
        if (__builtin_add_overflow((int64_t)base, (int64_t)uc->rsi, &to) || to < 0 ||
            (uint64_t)to > PUB_POS_MAX)
            return false;
        *ret = to;
        if (move(at, word, (uint64_t)to))
            return true;
    }
    return false;
}

bool window_call(const struct ppublic *p, struct stub_ucontext *uc, long *ret)
{
    *ret = 0;
    switch ((uint32_t)uc->rax) {
    case __NR_read: return get_read(p, uc, ret);
    case __NR_lseek: return seek(p, uc, ret);
    case __NR_pread64: return get_data(p, uc, ret);
    case __NR_fstat: return get_stat(p, (uint32_t)uc->rdi, uc->rsi);
    case __NR_newfstatat: return get_statat(p, uc);
    }
    return false;
}
