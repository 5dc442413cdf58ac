// SPDX-License-Identifier: Apache-2.0
// User and group ids, capabilities, setuid programs.
#include "gt.h"
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void need_root(void)
{
    if (geteuid() != 0)
        GT_SKIP("needs root");
}
static uint64_t caps(int which) // 0 effective 1 permitted 2 inheritable
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    GT_OK(syscall(SYS_capget, &h, d));
    uint32_t *lo = (uint32_t *)&d[0], *hi = (uint32_t *)&d[1];
    return lo[which] | (uint64_t)hi[which] << 32;
}

GT(cred_setresuid)
{
    need_root();
    uid_t r, e, s;
    GT_OK(setresuid(1, 2, 3));
    GT_OK(getresuid(&r, &e, &s));
    GT_TRUE(r == 1 && e == 2 && s == 3);
    GT_EQ(getuid(), 1);
    GT_EQ(geteuid(), 2);
    GT_OK(setresuid(-1, 3, 1)); // any of the three
    GT_ERR(setresuid(9, -1, -1), EPERM);
    GT_ERR(setuid(9), EPERM);
    GT_OK(setuid(1));
    GT_OK(getresuid(&r, &e, &s));
    GT_TRUE(r == 1 && e == 1 && s == 1);
}

GT(cred_setuid_root_is_final)
{
    need_root();
    GT_OK(setuid(1000));
    GT_ERR(setuid(0), EPERM);
    GT_EQ(caps(0), 0);
    GT_EQ(caps(1), 0);
}

GT(cred_seteuid_toggles_effective)
{
    need_root();
    uint64_t all = caps(1);
    GT_OK(seteuid(1000));
    GT_EQ(caps(0), 0);
    GT_EQ(caps(1), all);
    GT_OK(seteuid(0));
    GT_EQ(caps(0), all);
}

GT(cred_keepcaps)
{
    need_root();
    uint64_t all = caps(1);
    GT_OK(prctl(PR_SET_KEEPCAPS, 1));
    GT_EQ(prctl(PR_GET_KEEPCAPS), 1);
    GT_OK(setresuid(1000, 1000, 1000));
    GT_EQ(caps(1), all);
    GT_EQ(caps(0), 0);
    GT_ERR(prctl(PR_SET_KEEPCAPS, 2), EINVAL);
}

GT(cred_setreuid)
{
    need_root();
    uid_t r, e, s;
    GT_OK(setreuid(5, 6));
    GT_OK(getresuid(&r, &e, &s));
    GT_TRUE(r == 5 && e == 6 && s == 6);
    GT_OK(setreuid(6, 5));
    GT_ERR(setreuid(7, -1), EPERM);
}

GT(cred_gids)
{
    need_root();
    gid_t r, e, s;
    GT_OK(setresgid(10, 11, 12));
    GT_OK(getresgid(&r, &e, &s));
    GT_TRUE(r == 10 && e == 11 && s == 12);
    GT_OK(setregid(20, -1));
    GT_OK(setgid(30));
    GT_OK(getresgid(&r, &e, &s));
    GT_TRUE(r == 30 && e == 30 && s == 30);
    GT_ERR(syscall(SYS_setgid, -1), EINVAL);
    GT_ERR(syscall(SYS_setuid, -1), EINVAL);
}

GT(cred_groups)
{
    need_root();
    gid_t g[3] = {5, 3, 4}, o[8];
    GT_OK(setgroups(3, g));
    GT_EQ(getgroups(0, 0), 3);
    GT_EQ(getgroups(8, o), 3);
    GT_ERR(getgroups(2, o), EINVAL);
    GT_ERR(syscall(SYS_getgroups, -1, o), EINVAL);
    GT_ERR(setgroups(65537, g), EINVAL);
    GT_OK(setuid(1000));
    GT_ERR(setgroups(1, g), EPERM);
}

GT(cred_fsuid)
{
    need_root();
    uint64_t all = caps(0);
    GT_EQ(setfsuid(77), 0);
    GT_EQ(setfsuid(-1), 77);
    GT_TRUE(caps(0) < all);
    GT_EQ(setfsuid(0), 77);
    GT_EQ(caps(0), all);
    GT_EQ(setfsgid(5), 0);
    GT_EQ(setfsgid(0), 5);
}

GT(cred_capset)
{
    need_root();
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {{1 << CAP_CHOWN, 1 << CAP_CHOWN | 1 << CAP_KILL, 1 << CAP_CHOWN}};
    GT_OK(syscall(SYS_capset, &h, d));
    GT_EQ(caps(0), 1 << CAP_CHOWN);
    GT_EQ(caps(1), 1 << CAP_CHOWN | 1 << CAP_KILL);
    d[0].permitted = ~0u;
    GT_ERR(syscall(SYS_capset, &h, d), EPERM);
    h.version = 0x12345;
    GT_ERR(syscall(SYS_capget, &h, d), EINVAL);
    GT_EQ(h.version, _LINUX_CAPABILITY_VERSION_3);
    h.version = 0;
    GT_OK(syscall(SYS_capget, &h, 0));
    h.pid = -5;
    GT_ERR(syscall(SYS_capget, &h, d), EINVAL);
    h.pid = 4000000;
    GT_ERR(syscall(SYS_capget, &h, d), ESRCH);
    h.pid = getppid();
    GT_ERR(syscall(SYS_capset, &h, d), EPERM);
}

GT(cred_bounding)
{
    need_root();
    GT_EQ(prctl(PR_CAPBSET_READ, CAP_SYS_PTRACE) >= 0, 1);
    GT_ERR(prctl(PR_CAPBSET_READ, 63), EINVAL);
    if (prctl(PR_CAPBSET_DROP, CAP_MKNOD) < 0 && errno == EPERM)
        GT_SKIP("no CAP_SETPCAP");
    GT_EQ(prctl(PR_CAPBSET_READ, CAP_MKNOD), 0);
    GT_TRUE(caps(1) >> CAP_MKNOD & 1);
    pid_t p = fork();
    if (!p) {
        execl("/proc/self/exe", "cred", "--no-mknod", (char *)0);
        _exit(9);
    }
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0); // after exec it is gone
}

GT(cred_ambient)
{
    need_root();
    GT_ERR(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0), EPERM); // not inheritable
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    GT_OK(syscall(SYS_capget, &h, d));
    d[0].inheritable |= 1 << CAP_CHOWN;
    GT_OK(syscall(SYS_capset, &h, d));
    GT_OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
    GT_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), 1);
    GT_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 0);
    GT_ERR(prctl(PR_CAP_AMBIENT, 77, CAP_KILL, 0, 0), EINVAL);
    d[0].inheritable &= ~(1 << CAP_CHOWN);
    GT_OK(syscall(SYS_capset, &h, d));
    GT_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), 0);
    GT_OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
}

static int run_setuid_copy(int nnp)
{
    char name[] = "/tmp/gtcredXXXXXX";
    int in = open("/proc/self/exe", O_RDONLY), fd = mkstemp(name);
    if (in < 0 || fd < 0)
        GT_SKIP("no place for a program");
    char buf[65536];
    long n;
    while ((n = read(in, buf, sizeof(buf))) > 0)
        GT_EQ(write(fd, buf, n), n);
    GT_OK(fchown(fd, 0, 0));
    GT_OK(fchmod(fd, 04755));
    close(fd);
    pid_t p = fork();
    if (!p) {
        if (setuid(1000))
            _exit(8);
        if (nnp)
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        execl(name, "cred", "--show-euid", (char *)0);
        _exit(9);
    }
    int st;
    waitpid(p, &st, 0);
    unlink(name);
    return WEXITSTATUS(st);
}

GT(cred_setuid_program)
{
    need_root();
    if (run_setuid_copy(0) == 3)
        GT_SKIP("nosuid mount");
    GT_EQ(run_setuid_copy(0), 2);
    GT_EQ(run_setuid_copy(1), 3); // no_new_privs: the bit means nothing
}

GT(cred_no_new_privs)
{
    GT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    GT_ERR(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
    GT_ERR(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0), EINVAL);
    GT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    GT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    pid_t p = fork();
    if (!p)
        _exit(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1);
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "--show-euid"))
        return getuid() != 1000 ? 7 : geteuid() == 0 ? 2 : 3;
    if (argc == 2 && !strcmp(argv[1], "--no-mknod"))
        return caps(1) >> CAP_MKNOD & 1;
    return gt_main(argc, argv);
}
