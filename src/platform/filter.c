// SPDX-License-Identifier: Apache-2.0
// The seccomp filter of every stub process: table A of doc/security.md, for calls made from the
// stub's text. Everything else, from anywhere, becomes SIGSYS; that is how guest system calls come
// to us, so nothing here may kill. Inherited by fork and clone, never changed.
//
// The guest can jump to the stub's own `syscall` instruction: this list is what a hostile guest may
// call, with any values that the rows let through.
#include "host/raw.h"
#include "host/seccomp.h"
#include "platform/internal.h"
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#define PROT_RWX (PROT_READ | PROT_WRITE | PROT_EXEC)
#define MAP_PLACED(bit) SC_MASKED(3, (bit), (bit))
#define MAP_ANY \
    (MAP_PRIVATE | MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK | MAP_FIXED | \
     MAP_FIXED_NOREPLACE)

static const struct seccomp_rule rules[] = {
    {SECCOMP_NR(rt_sigreturn), .hot = true},
    {SECCOMP_NR(futex), .hot = true,
     .c = {SC_IN(1, FUTEX_WAIT, FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE, FUTEX_WAIT_BITSET_PRIVATE,
                 FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, FUTEX_WAKE_BITSET_PRIVATE,
                 FUTEX_REQUEUE_PRIVATE, FUTEX_CMP_REQUEUE_PRIVATE)}},
    // Placed private memory or private file; placed shared file.
    {SECCOMP_NR(mmap), .hot = true,
     .c = {SC_SUBSET(2, PROT_RWX), SC_SUBSET(3, MAP_ANY),
           SC_MASKED(3, MAP_SHARED | MAP_PRIVATE, MAP_PRIVATE), MAP_PLACED(MAP_FIXED)}},
    {SECCOMP_NR(mmap),
     .c = {SC_SUBSET(2, PROT_RWX), SC_SUBSET(3, MAP_ANY),
           SC_MASKED(3, MAP_SHARED | MAP_PRIVATE, MAP_PRIVATE), MAP_PLACED(MAP_FIXED_NOREPLACE)}},
    {SECCOMP_NR(mmap),
     .c = {SC_SUBSET(2, PROT_RWX), SC_SUBSET(3, MAP_ANY),
           SC_MASKED(3, MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED), SC_RANGE(4, 0, 63),
           MAP_PLACED(MAP_FIXED)}},
    {SECCOMP_NR(mmap),
     .c = {SC_SUBSET(2, PROT_RWX), SC_SUBSET(3, MAP_ANY),
           SC_MASKED(3, MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED), SC_RANGE(4, 0, 63),
           MAP_PLACED(MAP_FIXED_NOREPLACE)}},
    {SECCOMP_NR(munmap), .hot = true},
    {SECCOMP_NR(mprotect), .c = {SC_SUBSET(2, PROT_RWX)}},
    // An old length of 0 would duplicate a shared mapping.
    {SECCOMP_NR(mremap),
     .c = {SC_NE(1, 0), SC_IN(3, 0, MREMAP_MAYMOVE, MREMAP_MAYMOVE | MREMAP_FIXED)}},
    {SECCOMP_NR(madvise),
     .c = {SC_IN(2, MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED,
                 MADV_FREE, MADV_DONTFORK, MADV_DOFORK, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
                 MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_COLD,
                 22 /* POPULATE_READ */, 23 /* POPULATE_WRITE */)}},
    {SECCOMP_NR(clone), .c = {SC_IN(0, STUB_CLONE_FORK, STUB_CLONE_THREAD)}},
    {SECCOMP_NR(recvmsg), .c = {SC_IN(0, 0, 1), SC_EQ(2, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)}},
    {SECCOMP_NR(close), .c = {SC_RANGE(0, 0, 63)}},
    {SECCOMP_NR(write), .c = {SC_IN(0, 2, 3), SC_EQ(2, 8)}},
    {SECCOMP_NR(clock_gettime), .c = {SC_EQ(0, CLOCK_THREAD_CPUTIME_ID)}},
    {SECCOMP_NR(sigaltstack)},
    {SECCOMP_NR(restart_syscall)},
    {SECCOMP_NR(sched_yield)},
    {SECCOMP_NR(exit)},
};
static_assert(STUB_CLONE_FORK == (CLONE_PARENT | SIGCHLD));
static_assert(STUB_CLONE_THREAD == (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
                                    CLONE_THREAD | CLONE_SYSVSEM));

int stub_filter_build(uint64_t start, uint64_t end, struct sock_filter *out, size_t cap)
{
    const struct seccomp_policy p = {.rules = rules,
                                     .n = ARRAY_LEN(rules),
                                     .otherwise = SECCOMP_RET_TRAP,
                                     .bad_arch = SECCOMP_RET_TRAP,
                                     .ip_check = true,
                                     .bad_ip = SECCOMP_RET_TRAP,
                                     .ip_start = start,
                                     .ip_end = end};
    return seccomp_compile(&p, out, cap);
}
