// SPDX-License-Identifier: Apache-2.0
// System calls that are forms of others (the *at, l*, older and newer ones), and what an ordinary user
// is told by those that administer the machine.
#include "gt.h"
#include <linux/capability.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <utime.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
static struct stat lst(const char *p)
{
    struct stat st;
    GT_OK(lstat(p, &st));
    return st;
}
static void file(const char *name)
{
    unlink(name);
    close(GT_OK(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644)));
}

GT(variants_owner)
{
    if (geteuid() != 0)
        GT_SKIP("needs root");
    file("own");
    unlink("ownl");
    GT_OK(symlink("own", "ownl"));
    GT_OK(syscall(SYS_lchown, "ownl", 5, 6));
    GT_EQ(lst("ownl").st_uid, 5);
    GT_EQ(lst("own").st_uid, 0);
    GT_OK(syscall(SYS_fchownat, AT_FDCWD, "ownl", 7, -1, 0));
    GT_EQ(lst("own").st_uid, 7);
    GT_EQ(lst("ownl").st_uid, 5);
    GT_OK(syscall(SYS_fchownat, AT_FDCWD, "ownl", -1, 9, AT_SYMLINK_NOFOLLOW));
    GT_EQ(lst("ownl").st_gid, 9);
    int fd = GT_OK(open("own", O_RDONLY));
    GT_OK(syscall(SYS_fchownat, fd, "", 8, 8, AT_EMPTY_PATH));
    GT_EQ(lst("own").st_uid, 8);
    GT_ERR(syscall(SYS_fchownat, fd, "", 8, 8, 0), ENOENT);
    GT_ERR(syscall(SYS_fchownat, AT_FDCWD, "own", 1, 1, 0x8000), EINVAL);
    GT_ERR(syscall(SYS_fchownat, fd, "x", 1, 1, 0), ENOTDIR);
}

GT(variants_mode)
{
    file("mode");
    unlink("model");
    GT_OK(symlink("mode", "model"));
    GT_OK(syscall(SYS_fchmodat, AT_FDCWD, "model", 0600));
    GT_EQ(lst("mode").st_mode & 07777, 0600);
    GT_ERR(syscall(SYS_fchmodat, 99, "mode", 0600), EBADF);
    long r = syscall(SYS_fchmodat2, AT_FDCWD, "mode", 0640, 0);
    if (r < 0 && errno == ENOSYS)
        return;
    GT_EQ(lst("mode").st_mode & 07777, 0640);
    GT_ERR(syscall(SYS_fchmodat2, AT_FDCWD, "model", 0640, AT_SYMLINK_NOFOLLOW), EOPNOTSUPP);
    int fd = GT_OK(open("mode", O_PATH));
    GT_OK(syscall(SYS_fchmodat2, fd, "", 0604, AT_EMPTY_PATH));
    GT_EQ(lst("mode").st_mode & 07777, 0604);
    GT_ERR(syscall(SYS_fchmodat2, AT_FDCWD, "mode", 0640, 0x8000), EINVAL);
}

GT(variants_access)
{
    file("acc");
    GT_OK(chmod("acc", 0400));
    unlink("accl");
    GT_OK(symlink("nowhere", "accl"));
    GT_OK(syscall(SYS_faccessat2, AT_FDCWD, "acc", R_OK, 0));
    GT_OK(syscall(SYS_faccessat2, AT_FDCWD, "accl", F_OK, AT_SYMLINK_NOFOLLOW));
    GT_ERR(syscall(SYS_faccessat2, AT_FDCWD, "accl", F_OK, 0), ENOENT);
    GT_ERR(syscall(SYS_faccessat2, AT_FDCWD, "acc", 8, 0), EINVAL);
    GT_ERR(syscall(SYS_faccessat2, AT_FDCWD, "acc", R_OK, 0x8000), EINVAL);
    GT_ERR(syscall(SYS_faccessat2, AT_FDCWD, "acc", X_OK, 0), EACCES); // for root, too: no x bit at all
    int fd = GT_OK(open("acc", O_PATH));
    GT_OK(syscall(SYS_faccessat2, fd, "", R_OK, AT_EMPTY_PATH));
    if (geteuid() == 0) { // the real ids count, unless AT_EACCESS says otherwise
        GT_OK(chmod(".", 0755));
        GT_OK(chown("acc", 65534, 65534));
        GT_OK(setresuid(0, 65534, 0));
        GT_OK(syscall(SYS_faccessat2, AT_FDCWD, "acc", R_OK, AT_EACCESS));
        GT_ERR(syscall(SYS_faccessat2, AT_FDCWD, "acc", W_OK, AT_EACCESS), EACCES);
        GT_OK(syscall(SYS_faccessat2, AT_FDCWD, "acc", W_OK, 0));
    }
}

GT(variants_times)
{
    file("tm");
    struct utimbuf ub = {1000, 2000};
    GT_OK(syscall(SYS_utime, "tm", &ub));
    GT_EQ(lst("tm").st_atime, 1000);
    GT_EQ(lst("tm").st_mtime, 2000);
    struct timeval tv[2] = {{3000, 7}, {4000, 999999}};
    GT_OK(syscall(SYS_utimes, "tm", tv));
    GT_EQ(lst("tm").st_mtim.tv_nsec, 999999000);
    tv[0].tv_usec = 1000000;
    GT_ERR(syscall(SYS_utimes, "tm", tv), EINVAL);
    tv[0].tv_usec = 5;
    tv[1].tv_sec = 5000;
    GT_OK(syscall(SYS_futimesat, AT_FDCWD, "tm", tv));
    GT_EQ(lst("tm").st_mtime, 5000);
    int fd = GT_OK(open("tm", O_RDONLY));
    GT_OK(syscall(SYS_futimesat, fd, NULL, tv));
    GT_OK(syscall(SYS_utime, "tm", NULL));
    GT_TRUE(lst("tm").st_mtime > 1000000000);
    GT_ERR(syscall(SYS_utime, "nowhere", &ub), ENOENT);
    GT_ERR(syscall(SYS_utimes, "tm", (void *)8), EFAULT);
}

GT(variants_names)
{
    mkdir("nd", 0755);
    int d = GT_OK(open("nd", O_DIRECTORY));
    unlinkat(d, "f", 0);
    unlinkat(d, "g", 0);
    GT_OK(syscall(SYS_mknodat, d, "f", S_IFREG | 0640, 0));
    GT_EQ(lst("nd/f").st_mode & ~022, (S_IFREG | 0640) & ~022);
    GT_ERR(syscall(SYS_mknodat, d, "f", S_IFREG | 0640, 0), EEXIST);
    GT_ERR(syscall(SYS_mknodat, d, "h", S_IFDIR | 0755, 0), EPERM);
    GT_OK(syscall(SYS_renameat, d, "f", d, "g"));
    GT_ERR(syscall(SYS_renameat, d, "f", d, "g"), ENOENT);
    GT_OK(syscall(SYS_mknodat, d, "f", S_IFIFO | 0600, 0));
    GT_TRUE(S_ISFIFO(lst("nd/f").st_mode));
    GT_ERR(syscall(SYS_renameat, AT_FDCWD, "nd", d, "nd"), EINVAL);
}

GT(variants_xattrs_of_links)
{
    file("xa");
    unlink("xal");
    GT_OK(symlink("xa", "xal"));
    char buf[64];
    if (setxattr("xa", "user.a", "1", 1, 0) < 0)
        GT_SKIP("no user attributes here");
    GT_TRUE(llistxattr("xa", buf, sizeof(buf)) >= 7);
    GT_TRUE(memmem(buf, sizeof(buf), "user.a", 7) != NULL);
    long n = llistxattr("xal", buf, sizeof(buf));
    GT_TRUE(n < 7 || !memmem(buf, n, "user.a", 7));
    GT_EQ(lremovexattr("xal", "user.a"), -1); // the link itself has none, and may have none
    GT_TRUE(errno == EPERM || errno == ENODATA || errno == EOPNOTSUPP);
    GT_OK(lremovexattr("xa", "user.a"));
    GT_ERR(lremovexattr("xa", "user.a"), ENODATA);
    GT_ERR(llistxattr("nowhere", buf, sizeof(buf)), ENOENT);
}

GT(variants_events)
{
    int e = GT_OK(syscall(SYS_eventfd2, 3, EFD_SEMAPHORE | EFD_NONBLOCK));
    uint64_t v;
    GT_EQ(read(e, &v, 8), 8);
    GT_EQ(v, 1);
    GT_ERR(syscall(SYS_eventfd2, 0, 0x40), EINVAL);
    int ep = GT_OK(epoll_create1(0));
    struct epoll_event ev = {EPOLLIN, {.u32 = 7}}, out;
    GT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
    struct timespec none = {0, 0}, some = {0, 3000000}, wrong = {0, 1000000000};
    GT_EQ(syscall(SYS_epoll_pwait2, ep, &out, 1, &none, NULL, 8), 1);
    GT_EQ(out.data.u32, 7);
    GT_ERR(syscall(SYS_epoll_pwait2, ep, &out, 1, &wrong, NULL, 8), EINVAL);
    GT_ERR(syscall(SYS_epoll_pwait2, ep, &out, 0, &none, NULL, 8), EINVAL);
    while (read(e, &v, 8) == 8)
        ;
    GT_EQ(syscall(SYS_epoll_pwait2, ep, &out, 1, &some, NULL, 8), 0);
}

GT(variants_memory)
{
    long page = sysconf(_SC_PAGESIZE);
    char *p = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_OK(syscall(SYS_mlock2, p, page, 1)); // MLOCK_ONFAULT
    GT_OK(munlock(p, page));
    GT_ERR(syscall(SYS_mlock2, p, page, 2), EINVAL);
    GT_OK(munmap(p + page, page));
    GT_ERR(syscall(SYS_mlock2, p, 3 * page, 0), ENOMEM);
    file("ff");
    int fd = GT_OK(open("ff", O_RDWR));
    GT_OK(syscall(SYS_fadvise64, fd, 0, 0, POSIX_FADV_SEQUENTIAL));
    GT_ERR(syscall(SYS_fadvise64, fd, 0, 0, 77), EINVAL);
    GT_ERR(syscall(SYS_fadvise64, 99, 0, 0, 0), EBADF);
    int pp[2];
    GT_OK(pipe(pp));
    GT_ERR(syscall(SYS_fadvise64, pp[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
    GT_ERR(syscall(SYS_remap_file_pages, p, page, PROT_READ, 0, 0), EINVAL);
    int mode = -1;
    long r = syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0);
    if (r == 0)
        GT_EQ(mode, 0);
    else
        GT_EQ(errno, ENOSYS);
    if (r == 0) {
        unsigned long nodes = 1;
        GT_OK(syscall(SYS_set_mempolicy, 2, &nodes, 64)); // MPOL_BIND to node 0
        GT_OK(syscall(SYS_get_mempolicy, &mode, &nodes, 64, NULL, 0));
        GT_EQ(mode, 2);
        GT_ERR(syscall(SYS_set_mempolicy, 99, NULL, 0), EINVAL);
        GT_OK(syscall(SYS_mbind, p, page, 1, &nodes, 64, 0));
        GT_ERR(syscall(SYS_mbind, p + 1, page, 1, &nodes, 64, 0), EINVAL);
        int st = -1;
        void *pages[] = {p};
        *p = 1;
        GT_OK(syscall(SYS_move_pages, 0, 1, pages, NULL, &st, 0));
        GT_EQ(st, 0);
        GT_OK(syscall(SYS_migrate_pages, 0, 64, &nodes, &nodes));
    }
}

GT(variants_queue)
{
    struct mq_attr a = {0, 4, 16, 0}, got;
    mqd_t q = mq_open("/gt_variants", O_CREAT | O_RDWR, 0600, &a);
    if (q < 0)
        GT_SKIP("no queues");
    mq_unlink("/gt_variants");
    a.mq_flags = O_NONBLOCK;
    a.mq_maxmsg = 99; // not to be changed
    GT_OK(syscall(SYS_mq_getsetattr, q, &a, &got));
    GT_EQ(got.mq_flags, 0);
    GT_OK(syscall(SYS_mq_getsetattr, q, NULL, &got));
    GT_EQ(got.mq_flags, O_NONBLOCK);
    GT_EQ(got.mq_maxmsg, 4);
    a.mq_flags = 1;
    GT_ERR(syscall(SYS_mq_getsetattr, q, &a, NULL), EINVAL);
}

GT(variants_scheduling)
{
    struct sched_param sp = {0};
    GT_OK(syscall(SYS_sched_setparam, 0, &sp));
    sp.sched_priority = 5;
    GT_ERR(syscall(SYS_sched_setparam, 0, &sp), EINVAL); // SCHED_OTHER has no priorities
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t prio;
        uint64_t run, dl, period;
    } sa = {48, SCHED_BATCH, 0, 3, 0};
    GT_OK(syscall(SYS_sched_setattr, 0, &sa, 0));
    GT_EQ(sched_getscheduler(0), SCHED_BATCH);
    sa.policy = 77;
    GT_ERR(syscall(SYS_sched_setattr, 0, &sa, 0), EINVAL);
    GT_ERR(syscall(SYS_sched_setattr, 0, &sa, 9), EINVAL);
    GT_OK(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6));
    GT_EQ(syscall(SYS_ioprio_get, 1, 0), 2 << 13 | 6);
    GT_ERR(syscall(SYS_ioprio_set, 1, 0, 7 << 13), EINVAL);
    GT_ERR(syscall(SYS_ioprio_get, 9, 0), EINVAL);
    GT_ERR(syscall(SYS_ioprio_get, 1, 999999), ESRCH);
}

GT(variants_thread_id_address)
{
    int word = 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(syscall(SYS_set_tid_address, &word) == syscall(SYS_gettid) ? 0 : 1);
    int st;
    GT_OK(waitpid(pid, &st, 0));
    GT_EQ(st, 0);
}

GT(variants_for_administrators)
{
    if (geteuid() == 0) {
        GT_OK(setresgid(65534, 65534, 65534));
        GT_OK(setresuid(65534, 65534, 65534));
    }
    struct timeval tv = {0, 0};
    struct timespec ts = {0, 0};
    struct timex tx = {.modes = 0};
    char buf[64];
    GT_ERR(syscall(SYS_settimeofday, &tv, NULL), EPERM);
    tv.tv_usec = 1000000;
    GT_ERR(syscall(SYS_settimeofday, &tv, NULL), EINVAL);
    GT_ERR(syscall(SYS_clock_settime, CLOCK_REALTIME, &ts), EPERM);
    GT_ERR(syscall(SYS_clock_settime, CLOCK_MONOTONIC, &ts), EINVAL);
    GT_TRUE(syscall(SYS_adjtimex, &tx) >= 0); // reading is everybody's
    GT_TRUE(syscall(SYS_clock_adjtime, CLOCK_REALTIME, &tx) >= 0);
    tx.modes = ADJ_FREQUENCY;
    GT_ERR(syscall(SYS_adjtimex, &tx), EPERM);
    GT_ERR(syscall(SYS_clock_adjtime, CLOCK_REALTIME, &tx), EPERM);
    GT_ERR(syscall(SYS_clock_adjtime, 77, &tx), EINVAL);
    GT_ERR(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL), EPERM);
    GT_ERR(syscall(SYS_setdomainname, "x", 1), EPERM);
    GT_ERR(syscall(SYS_vhangup), EPERM);
    GT_EQ(syscall(SYS_syslog, 99, buf, 10), -1); // EPERM comes first where dmesg is restricted
    GT_TRUE(errno == EINVAL || errno == EPERM);
    GT_ERR(syscall(SYS_syslog, 5, NULL, 0), EPERM); // clear
    GT_ERR(syscall(SYS_setns, 99, 0), EBADF);
    int fd = GT_OK(open("/dev/null", O_RDONLY));
    GT_ERR(syscall(SYS_setns, fd, 0), EINVAL);
    GT_ERR(syscall(SYS_ustat, 0xfefe, buf), EINVAL);
}
GT_MAIN
