// SPDX-License-Identifier: Apache-2.0
// The rows that the stub marshals by: sizes are those of the kernel's structures, lengths name
// arguments that exist.
#include "base/test.h"
#include "platform/marshal.h"
#include "sys/syscalls.h"
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/utsname.h>

static uint16_t arg(int nr, int i)
{
    return syscall_marshal[nr].arg[i];
}
static int size(int nr, int i)
{
    return (int)marshal_size(arg(nr, i));
}

TEST(marshal_rows_are_sound)
{
    for (int nr = 0; nr < MARSHAL_ROWS; nr++) {
        const struct marshal_row *r = &syscall_marshal[nr];
        for (int i = 0; i < 6; i++) {
            uint16_t m = r->arg[i], len = m & MARSHAL_LEN;
            CHECK(!!(r->any & 1u << i) == (m != 0));
            if (!m)
                continue;
            CHECK(i < syscall_table[nr].nargs);
            if (m & MARSHAL_STR) {
                CHECK(m == MARSHAL_STR);
                continue;
            }
            CHECK(m & (MARSHAL_IN | MARSHAL_OUT));
            CHECK(marshal_size(m) > 0);
            CHECK(!(m & MARSHAL_NEST) || ((m & MARSHAL_IN) && (marshal_size(m) == MARSHAL_IOVEC ||
                                                               marshal_size(m) == MARSHAL_MSGHDR)));
            CHECK(len == MARSHAL_FIXED || (len == MARSHAL_PREV ? i > 0 : i + 1 < syscall_table[nr].nargs));
            CHECK(len != MARSHAL_REF || (r->arg[i + 1] & MARSHAL_IN));
        }
        CHECK(!(r->any >> 6));
    }
}

TEST(marshal_sizes)
{
    CHECK(size(__NR_stat, 1) == sizeof(struct stat) && arg(__NR_stat, 0) == MARSHAL_STR);
    CHECK(size(__NR_newfstatat, 2) == sizeof(struct stat));
    CHECK(size(__NR_statx, 4) == sizeof(struct statx));
    CHECK(size(__NR_statfs, 1) == sizeof(struct statfs));
    CHECK(size(__NR_uname, 0) == sizeof(struct utsname));
    CHECK(size(__NR_sysinfo, 0) == sizeof(struct sysinfo));
    CHECK(size(__NR_getrusage, 1) == sizeof(struct rusage));
    CHECK(size(__NR_wait4, 3) == sizeof(struct rusage) && size(__NR_wait4, 1) == sizeof(int));
    CHECK(size(__NR_prlimit64, 2) == sizeof(struct rlimit));
    CHECK(size(__NR_adjtimex, 0) == sizeof(struct timex));
    CHECK(size(__NR_poll, 0) == sizeof(struct pollfd));
    CHECK(size(__NR_epoll_wait, 1) == sizeof(struct epoll_event));
    CHECK(size(__NR_writev, 1) == sizeof(struct iovec));
    CHECK(size(__NR_sendmsg, 1) == sizeof(struct msghdr));
    CHECK(size(__NR_rt_sigaction, 1) == 32 && size(__NR_sigaltstack, 0) == sizeof(stack_t));
    CHECK(size(__NR_waitid, 2) == sizeof(siginfo_t));
}

TEST(marshal_directions)
{
    CHECK(arg(__NR_read, 1) == MARSHAL_ARG(MARSHAL_OUT | MARSHAL_NEXT, 1));
    CHECK(arg(__NR_pwrite64, 1) == MARSHAL_ARG(MARSHAL_IN | MARSHAL_NEXT, 1));
    CHECK(arg(__NR_rename, 0) == MARSHAL_STR && arg(__NR_rename, 1) == MARSHAL_STR);
    CHECK(arg(__NR_recvfrom, 4) == MARSHAL_ARG(MARSHAL_OUT | MARSHAL_REF, 1));
    CHECK(arg(__NR_sched_getaffinity, 2) == MARSHAL_ARG(MARSHAL_OUT | MARSHAL_PREV, 1));
    // What others see before the caller returns, or what changes memory itself, is not kept waiting.
    CHECK(syscall_marshal[__NR_clone].any == 0);
    CHECK(syscall_marshal[__NR_futex].any == 0);
    CHECK(syscall_marshal[__NR_mmap].any == 0);
    CHECK(syscall_marshal[__NR_getpid].any == 0);
}
