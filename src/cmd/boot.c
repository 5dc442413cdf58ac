// SPDX-License-Identifier: Apache-2.0
// "nacre boot": the Sentry, from a fresh execution in new namespaces to the container's first
// program. Order matters: everything that needs host calls beyond the filter (namespaces, mounts,
// capabilities, the zygote, threads) comes before it; the filter comes before the first byte from
// the Gofer, the container's files or a guest is looked at.
#include "abi/errno.h"
#include "base/htab.h"
#include "base/slab.h"
#include "cmd/boot_fs.h"
#include "cmd/boot_task.h"
#include "cmd/hostcalls.h"
#include "fs/hostfile.h"
#include "fs/proc/proc.h"
#include "host/crash.h"
#include "host/confine.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include "kern/limits.h"
#include "sys/strace.h"
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

// --- descriptors of --preserve-fds ----------------------------------------------------------------
static int preserved[PRESERVE_MAX];
static void receive_preserved(const struct boot_config *c)
{
    struct ctl_msg m;
    int fds[PRESERVE_MAX], n = PRESERVE_MAX;
    if (c->npreserve == 0)
        return;
    long r = fd_recv(BOOT_FD_CONTROL, &m, sizeof(m), fds, &n, 0);
    if (r != sizeof(m) || m.kind != CTL_FDS || n != (int)c->npreserve)
        boot_fail(1, "--preserve-fds: the descriptors did not come");
    for (int i = 0; i < n; i++) { // above all fixed numbers
        long high = host_call(__NR_fcntl, fds[i], F_DUPFD_CLOEXEC, CONFINE_TMPFS_FD + 1);
        if (high < 0)
            boot_fail(1, "--preserve-fds: %s", strerror((int)-high));
        host_call(__NR_close, fds[i]);
        preserved[i] = (int)high;
    }
}

// --- from the first fiber on ----------------------------------------------------------------------
static void boot_fiber(void *arg)
{
    struct boot_config *c = arg;
    struct boot_container *b = boot_container_new(c->spec->id ? c->spec->id : "", BOOT_FD_CONTROL,
                                                  true);
    char text[900];
    int fds[3];
    if (!b)
        boot_fail(1, "out of memory");
    for (int i = 0; i < 3; i++) // each may be absent
        fds[i] = host_call(__NR_fcntl, BOOT_FD_STDIN + i, F_GETFL) < 0 ? -1 : BOOT_FD_STDIN + i;
    memcpy(b->preserve, preserved, sizeof(preserved));
    b->npreserve = (int)c->npreserve;
    int status = boot_container_build(b, c, BOOT_FD_NINEP, fds, text, sizeof(text));
    if (status)
        boot_fail(status, "%s", text);
    boot_config_free(c);
    fiber_exit(nullptr, nullptr);
}

// --- strace ------------------------------------------------------------------------------------
static void args_of(const struct task *t, uint64_t a[6])
{
    const uint64_t v[6] = {t->regs.rdi, t->regs.rsi, t->regs.rdx, t->regs.r10, t->regs.r8,
                           t->regs.r9};
    memcpy(a, v, sizeof(v));
}
// What does not come back, or comes back with other registers.
static bool prints_early(uint64_t nr)
{
    return nr == __NR_exit || nr == __NR_exit_group || nr == __NR_execve || nr == __NR_execveat ||
           nr == __NR_rt_sigreturn;
}
static void on_strace_enter(struct task *t)
{
    uint64_t a[6];
    args_of(t, a);
    if (strace_wants(t->regs.orig_rax) && prints_early(t->regs.orig_rax))
        strace_print(t, t->regs.orig_rax, a, 0, false);
}
static void on_strace_exit(struct task *t, long result)
{
    uint64_t a[6];
    args_of(t, a);
    if (strace_wants(t->regs.orig_rax) && !(prints_early(t->regs.orig_rax) && result >= 0))
        strace_print(t, t->regs.orig_rax, a, result, true);
}

// --- before lockdown -----------------------------------------------------------------------------
static void must(int err, const char *what)
{
    if (err)
        boot_fail(1, "Sentry: %s: %s", what, strerror(-err));
}

static int figure(int fd)
{
    return host_call(__NR_fcntl, fd, F_GETFD) >= 0 ? fd : -1;
}
static void set_machine(const struct boot_config *c)
{
    if (c->spec->pids_limit)
        machine.tasks_max = c->spec->pids_limit;
    machine.memory_usage_fd = figure(BOOT_FD_MEMORY_USAGE);
    machine.memory_stat_fd = figure(BOOT_FD_MEMORY_STAT);
    machine.memory_events_fd = figure(BOOT_FD_MEMORY_EVENTS);
    machine.events_v1 = c->memory_v1;
    machine.boot_realtime_ns = (uint64_t)(ktime_realtime() - ktime_boottime());
}

// The first stub, and with it all others, is what the host's OOM killer is to take before the Sentry,
// which goes up for as long as the stub is made. (Back down needs no right: oom_score_adj_min.)
static int oom_score_fd = -1;
static void open_oom_score(void)
{
    constexpr int above = 64;
    long low = host_call(__NR_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0);
    if (low < 0)
        return;
    oom_score_fd = (int)host_call(__NR_fcntl, low, F_DUPFD_CLOEXEC, above);
    host_call(__NR_close, low);
}
static void set_oom_score(int32_t score)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%d", (int)score);
    struct iovec v = {text, (size_t)n};
    if (oom_score_fd >= 0) // where it is not allowed, all are equal
        host_call(__NR_pwritev2, oom_score_fd, &v, 1, 0, 0, 0);
}

// Opens what the platform reads after /proc is gone.
static int confine_sentry(const struct boot_config *c)
{
    int dirfd;
    long maps = host_call(__NR_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    if (maps >= 0 && maps <= CONFINE_TMPFS_FD) { // that number is taken
        long low = maps;
        maps = host_call(__NR_fcntl, low, F_DUPFD_CLOEXEC, CONFINE_TMPFS_FD + 1);
        host_call(__NR_close, low);
    }
    must(confine_die_with_parent(), "parent death signal");
    open_oom_score();
    proc_boot_init(); // the last look at the host's files
    int err = confine_empty_root();
    if (err)
        boot_fail(1, "Sentry: empty root%s: %s", userns_hint(c->privileged), strerror(-err));
    must(confine_private_tmpfs(c->tmpfs_size, &dirfd), "private tmpfs");
    static_assert(CONFINE_TMPFS_FD == BOOT_FD_END);
    if (dirfd != CONFINE_TMPFS_FD) {
        long r = host_call(__NR_dup3, dirfd, CONFINE_TMPFS_FD, O_CLOEXEC);
        must(r < 0 ? (int)r : 0, "private tmpfs");
        host_call(__NR_close, dirfd);
    }
    must(shmobj_init_dir(CONFINE_TMPFS_FD), "private tmpfs");
    must(confine_rlimits(0), "resource limits");
    must(confine_caps(0), "capabilities");
    must(confine_no_new_privs(), "no_new_privs");
    boot_stage(c, "confined");
    return maps > 0 ? (int)maps : 0;
}

static const struct platform_ops *platform_of(const struct boot_config *c)
{
    if (strcmp(c->platform, "ptrace") == 0)
        return &ptrace_ops;
    return &systrap_ops;
}

void boot_main(void)
{
    constexpr uint64_t fixed = 1 << 0 | 1 << 1 | 1 << 2 | 1 << BOOT_FD_CONTROL |
                               1 << BOOT_FD_CONFIG | 1 << BOOT_FD_LOG | 1 << BOOT_FD_NINEP;
    uint64_t want = fixed;
    for (int fd = BOOT_FD_STDIN; fd <= BOOT_FD_MEMORY_EVENTS; fd++) // each may be absent
        want |= (uint64_t)(host_call(__NR_fcntl, fd, F_GETFD) >= 0) << fd;
    if (confine_check_fds(want, BOOT_FD_END))
        boot_fail(1, "Sentry: unexpected descriptors");
    struct boot_config *c = boot_config_read();
    log_init(BOOT_FD_LOG, (enum log_format)c->log_format, (enum log_level)c->log_level, "sentry");
    crash_report_init();
    receive_preserved(c);
    boot_stage(c, "executed");
    signal(SIGPIPE, SIG_IGN);
    // One arena: libc would count CPUs and look for overcommit settings in files, later.
    mallopt(M_ARENA_MAX, 1);
    uint8_t key[16];
    char bad[64];
    must(getrandom(key, sizeof(key), 0) == sizeof(key) ? 0 : -EIO, "random key");
    hash_seed(key);
    if (c->strace && strace_configure(c->strace_list, bad, sizeof(bad)))
        boot_fail(1, "--strace: there is no system call %s", bad);
    strace_enter = on_strace_enter;
    strace_exit = on_strace_exit;
    set_machine(c);
    uint32_t headroom = boot_set_limits(c);
    int maps = confine_sentry(c);
    const struct platform_ops *ops = platform_of(c);
    set_oom_score(c->oom_stubs);
    must(ops->init(&(struct platform_config){.maps_fd = maps, .no_answers = c->fast_off,
                                             .no_patching = c->patching_off}), "platform");
    set_oom_score(c->oom_own);
    host_call(__NR_close, oom_score_fd);
    mm_use_platform(ops);
    mm_set_total_memory(c->host_memory); // as under Linux, a cgroup does not count before pages are there
    boot_stage(c, "platform");
    must(confine_not_dumpable(), "dumpable");
    must(sched_init(&(struct sched_config){.nworkers = (int)c->ncpus, .poll = true,
                                           .headroom = headroom}), "threads");
    must(hostcalls_install(ops == &ptrace_ops ? TABLE_SENTRY_PTRACE : TABLE_SENTRY, c->debug, true),
         "seccomp filter");
    boot_stage(c, "locked down");
    struct fiber *f = fiber_new(boot_fiber, c, nullptr);
    if (!f)
        boot_fail(1, "out of memory");
    fiber_start(f);
    sched_run();
    for (;;)
        host_call(__NR_exit_group, 1);
}
