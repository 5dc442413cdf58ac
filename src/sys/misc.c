// SPDX-License-Identifier: Apache-2.0
// System calls about the machine as a whole: names, memory, randomness, the kernel's log.
#include "abi/errno.h"
#include "host/raw.h"
#include "kern/limits.h"
#include "sys/protos.h"
#include "task/internal.h"
#include <linux/capability.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

constexpr int NAME_MAX_UTS = 64;
constexpr uint32_t PER_UNAME26 = 0x0020000;

long sys_uname(struct task *t, uaddr_t buf)
{
    struct utsname u = {};
    struct utsns *ns = t->uts;
    memcpy(u.sysname, UTS_SYSNAME, sizeof(UTS_SYSNAME));
    memcpy(u.release, UTS_RELEASE, sizeof(UTS_RELEASE));
    if (t->personality & PER_UNAME26)
        memcpy(u.release, "2.6.60", 7);
    memcpy(u.version, UTS_VERSION, sizeof(UTS_VERSION));
    memcpy(u.machine, UTS_MACHINE, sizeof(UTS_MACHINE));
    mutex_lock(&ns->lock);
    memcpy(u.nodename, ns->nodename, sizeof(ns->nodename));
    memcpy(u.domainname, ns->domainname, sizeof(ns->domainname));
    mutex_unlock(&ns->lock);
    return put_user(t->mm, buf, u);
}

static long set_uts(struct task *t, uaddr_t name, int len, char dst[65])
{
    char buf[65] = {};
    if (!cred_capable(t->cred, CAP_SYS_ADMIN))
        return -EPERM;
    if (len < 0 || len > NAME_MAX_UTS)
        return -EINVAL;
    if (copy_in(t->mm, buf, name, (size_t)len) != 0)
        return -EFAULT;
    mutex_lock(&t->uts->lock);
    memcpy(dst, buf, sizeof(buf));
    mutex_unlock(&t->uts->lock);
    return 0;
}

long sys_sethostname(struct task *t, uaddr_t name, int len)
{
    return set_uts(t, name, len, t->uts->nodename);
}

long sys_setdomainname(struct task *t, uaddr_t name, int len)
{
    return set_uts(t, name, len, t->uts->domainname);
}

static uint64_t memory_used(struct task *t, uint64_t *shared)
{
    struct memory_figures f;
    *shared = 0;
    if (machine_memory(&f)) {
        *shared = f.shmem;
        return f.usage;
    }
    struct thread_group *g;
    uint64_t pages = 0;
    for (int nr = 1; (g = group_next(t->pidns, &nr)); nr++) {
        uint64_t p[7] = {};
        struct task *l = group_leader_get(g);
        struct mm *mm = l ? task_mm_get(l) : nullptr;
        if (mm) {
            mm_statm(mm, p);
            mm_put(mm);
        }
        pages += p[1];
        task_put(l);
        group_put(g);
    }
    return pages * PAGE_SIZE;
}

long sys_sysinfo(struct task *t, uaddr_t info)
{
    uint64_t shared, used = memory_used(t, &shared);
    struct sysinfo s = {
        .uptime = ktime_boottime() / 1000000000,
        .totalram = machine_mem_total(),
        .freeram = machine_mem_total() - MIN(used, machine_mem_total()),
        .sharedram = shared,
        .procs = (unsigned short)MIN(t->pidns->ntasks, UINT16_MAX),
        .mem_unit = 1,
    };
    return put_user(t->mm, info, s);
}

long sys_getrandom(struct task *t, uaddr_t buf, size_t count, uint32_t flags)
{
    uint8_t chunk[256];
    size_t done = 0;
    if (flags & ~(uint32_t)(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE))
        return -EINVAL;
    if ((flags & (GRND_INSECURE | GRND_RANDOM)) == (GRND_INSECURE | GRND_RANDOM))
        return -EINVAL;
    count = MIN(count, (size_t)INT32_MAX);
    while (done < count) {
        size_t n = MIN(count - done, sizeof(chunk));
        long r = host_call(__NR_getrandom, chunk, n, 0);
        if (r <= 0)
            return done ? (long)done : r ? r : -EAGAIN;
        long put = copy_out_partial(t->mm, uaddr_add(buf, done), chunk, (size_t)r);
        explicit_bzero(chunk, sizeof(chunk));
        if (put < 0)
            return done ? (long)done : put;
        done += (size_t)put;
        if (put < r || (done % PAGE_SIZE == 0 && signal_pending(t)))
            break; // as Linux: a page is never cut short by a signal
        if (done % 65536 == 0)
            fiber_yield();
    }
    return (long)done;
}

// In a pid namespace the call ends its init, by the signal that Linux chooses.
long sys_reboot(struct task *t, int magic1, int magic2, int cmd, uaddr_t arg)
{
    if (!cred_capable(t->cred, CAP_SYS_BOOT))
        return -EPERM;
    if ((unsigned)magic1 != LINUX_REBOOT_MAGIC1 ||
        (magic2 != LINUX_REBOOT_MAGIC2 && magic2 != LINUX_REBOOT_MAGIC2A &&
         magic2 != LINUX_REBOOT_MAGIC2B && magic2 != LINUX_REBOOT_MAGIC2C))
        return -EINVAL;
    int sig;
    switch ((unsigned)cmd) {
    case LINUX_REBOOT_CMD_RESTART:
    case LINUX_REBOOT_CMD_RESTART2:
        sig = SIGHUP;
        break;
    case LINUX_REBOOT_CMD_POWER_OFF:
    case LINUX_REBOOT_CMD_HALT:
        sig = SIGINT;
        break;
    default:
        return -EINVAL;
    }
    mutex_lock(&tasklist_lock);
    struct thread_group *g = t->pidns->init ? group_get(t->pidns->init->group) : nullptr;
    mutex_unlock(&tasklist_lock);
    if (!g)
        return -ESRCH;
    spin_lock(&g->sig_lock);
    group_kill_locked(g, sig);
    spin_unlock(&g->sig_lock);
    group_put(g);
    return 0;
}

long sys_syslog(struct task *t, int type, uaddr_t buf, int len)
{
    constexpr int BUFFER_SIZE = 1 << 17;
    bool may = cred_capable(t->cred, CAP_SYSLOG) || cred_capable(t->cred, CAP_SYS_ADMIN);
    if (type != 3 && type != 10 && !may)
        return -EPERM;
    switch (type) {
    case 0: // close, open
    case 1:
    case 5: // clear
    case 6: // console off, on
    case 7:
        return 0;
    case 2: // read: there will never be anything
        while (fiber_park(KTIME_MAX, PARK_INTERRUPTIBLE) == 0)
            ;
        return -ERESTARTSYS;
    case 3: // read all, read and clear
    case 4:
        if (uaddr_null(buf) || len < 0)
            return -EINVAL;
        return 0;
    case 8: // console level
        return len < 1 || len > 8 ? -EINVAL : 0;
    case 9: // unread
        return 0;
    case 10: // size
        return BUFFER_SIZE;
    default:
        return -EINVAL;
    }
}

long sys_vhangup(struct task *t)
{
    if (!cred_capable(t->cred, CAP_SYS_TTY_CONFIG))
        return -EPERM;
    struct session *s = group_session_get(t->group);
    bool tty = s && READ_SHARED(s->tty);
    if (s)
        session_put(s);
    return tty ? -ENOSYS : 0;
}
