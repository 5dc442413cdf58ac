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

// A row: call, tested first or not, why, conditions. Printed in doc/security.md.
#define ROW(name_, hot_, why_, ...) \
    {SECCOMP_NR(name_), .hot = (hot_), .why = (why_), .text = #__VA_ARGS__, .c = {__VA_ARGS__}},
// clang-format off
static const struct seccomp_rule rules[] = {
    ROW(rt_sigreturn, true, "back from the stub's handlers")
    ROW(futex, true, "the guest's private futexes; waiting on the own slot",
        SC_IN(1, FUTEX_WAIT, FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE, FUTEX_WAIT_BITSET_PRIVATE,
              FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, FUTEX_WAKE_BITSET_PRIVATE,
              FUTEX_REQUEUE_PRIVATE, FUTEX_CMP_REQUEUE_PRIVATE))
    ROW(mmap, true, "placed private memory or private file",
        SC_SUBSET(2, PROT_RWX), SC_SUBSET(3, MAP_ANY),
        SC_MASKED(3, MAP_SHARED | MAP_PRIVATE, MAP_PRIVATE), MAP_PLACED(MAP_FIXED))
    ROW(mmap, false, "the same where nothing may be",
        SC_SUBSET(2, PROT_RWX), SC_SUBSET(3, MAP_ANY),
        SC_MASKED(3, MAP_SHARED | MAP_PRIVATE, MAP_PRIVATE), MAP_PLACED(MAP_FIXED_NOREPLACE))
    ROW(mmap, false, "placed shared file",
        SC_SUBSET(2, PROT_RWX), SC_SUBSET(3, MAP_ANY),
        SC_MASKED(3, MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED), SC_RANGE(4, 0, 63),
        MAP_PLACED(MAP_FIXED))
    ROW(mmap, false, "the same where nothing may be",
        SC_SUBSET(2, PROT_RWX), SC_SUBSET(3, MAP_ANY),
        SC_MASKED(3, MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED), SC_RANGE(4, 0, 63),
        MAP_PLACED(MAP_FIXED_NOREPLACE))
    ROW(munmap, true, "own memory")
    ROW(mprotect, false, "own memory", SC_SUBSET(2, PROT_RWX))
    ROW(mremap, false, "an old length of 0 would duplicate a shared mapping",
        SC_NE(1, 0), SC_IN(3, 0, MREMAP_MAYMOVE, MREMAP_MAYMOVE | MREMAP_FIXED))
    ROW(madvise, false, "never REMOVE, MERGEABLE, PAGEOUT, COLLAPSE, HWPOISON; 22, 23: POPULATE",
        SC_IN(2, MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED,
              MADV_FREE, MADV_DONTFORK, MADV_DOFORK, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
              MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_COLD, 22, 23))
    ROW(clone, false, "fork of the guest, thread of the guest",
        SC_IN(0, STUB_CLONE_FORK, STUB_CLONE_THREAD))
    ROW(recvmsg, false, "descriptors to map, by the control socket",
        SC_IN(0, 0, 1), SC_EQ(2, MSG_CMSG_CLOEXEC | MSG_DONTWAIT))
    ROW(close, false, "descriptors after their mapping", SC_RANGE(0, 0, 63))
    ROW(write, false, "the doorbell", SC_IN(0, 2, 3), SC_EQ(2, 8))
    ROW(clock_gettime, false, "CPU time of the thread", SC_EQ(0, CLOCK_THREAD_CPUTIME_ID))
    ROW(sigaltstack, false, "once per thread")
    ROW(restart_syscall, false, "after SIGSTOP or the freezer")
    ROW(sched_yield, false, "spinning")
    ROW(exit, false, "end of a thread")
};
// clang-format on
const struct seccomp_rule *stub_filter_rows(size_t *n)
{
    *n = ARRAY_LEN(rules);
    return rules;
}
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
