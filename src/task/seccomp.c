// SPDX-License-Identifier: Apache-2.0
// Chains of seccomp filters, see seccomp.h. Sources: seccomp(2), Documentation/userspace-api/
// seccomp_filter.rst. Programs come from the guest and have been checked by kern/cbpf.c.
#include "task/seccomp.h"
#include "abi/errno.h"
#include "base/log.h"
#include "base/slab.h"
#include "task/internal.h"
#include <linux/audit.h>
#include <string.h>
#include <sys/syscall.h>

constexpr size_t CHAIN_INSNS_MAX = 32768, CHAIN_PENALTY = 4; // as Linux counts them
constexpr int CALLS = 512;
struct seccomp_filter {
    struct ref ref;
    struct seccomp_filter *prev;     // [C] ref: older
    uint32_t count;                  // [C] filters from here on
    uint32_t n;                      // [C]
    size_t total;                    // [C] instructions from here on, with penalties
    bool log;                        // [C]
    uint64_t always[CALLS / 64];     // [C] calls that every filter from here on always allows
    struct sock_filter *prog;        // [C] owned
};
SLAB_DEFINE(filter_slab, struct seccomp_filter);

// What the platform's stub may answer without us (platform/stub/fast.c): a filter that wants to see
// one of these sends every call of its task to the kernel.
static const uint16_t stub_answers[] = {
    __NR_getpid, __NR_gettid, __NR_getppid, __NR_getpgrp, __NR_getpgid, __NR_getsid, __NR_getuid,
    __NR_geteuid, __NR_getgid, __NR_getegid, __NR_sched_yield, __NR_getcpu, __NR_sched_getaffinity,
    __NR_clock_gettime, __NR_gettimeofday, __NR_time, __NR_rt_sigprocmask, __NR_sigaltstack,
    __NR_futex, __NR_read, __NR_pread64, __NR_lseek, __NR_fstat, __NR_newfstatat, __NR_umask,
    __NR_getrandom,
    __NR_madvise, __NR_mprotect, __NR_munmap, __NR_mmap,
};

static struct seccomp_filter *filter_get(struct seccomp_filter *f)
{
    if (f)
        ref_get(&f->ref);
    return f;
}
static void filter_put(struct seccomp_filter *f)
{
    while (f && ref_put(&f->ref)) {
        struct seccomp_filter *prev = f->prev;
        mem_free(f->prog);
        slab_free(&filter_slab, f);
        f = prev;
    }
}
static bool is_ancestor(const struct seccomp_filter *a, const struct seccomp_filter *of)
{
    while (of && of != a)
        of = of->prev;
    return of == a; // null is everybody's
}

static int filter_new(const struct sock_filter *prog, size_t n, struct seccomp_filter **out)
{
    int err = cbpf_check_seccomp(prog, n);
    if (err)
        return err;
    struct seccomp_filter *f = slab_alloc(&filter_slab);
    if (!f)
        return -ENOMEM;
    ref_init(&f->ref);
    f->prog = mem_alloc_array(n, sizeof(*prog));
    if (!f->prog) {
        filter_put(f);
        return -ENOMEM;
    }
    memcpy(f->prog, prog, n * sizeof(*prog));
    f->n = (uint32_t)n;
    for (int nr = 0; nr < CALLS; nr++)
        if (cbpf_always_allows(f->prog, AUDIT_ARCH_X86_64, nr))
            f->always[nr / 64] |= 1ull << (nr % 64);
    *out = f;
    return 0;
}
static int filter_link(struct seccomp_filter *f, struct seccomp_filter *prev)
{
    f->total = f->n + (prev ? prev->total + CHAIN_PENALTY : 0);
    if (f->total > CHAIN_INSNS_MAX)
        return -ENOMEM;
    f->count = 1 + (prev ? prev->count : 0);
    if (prev)
        for (int i = 0; i < CALLS / 64; i++)
            f->always[i] &= prev->always[i];
    f->prev = filter_get(prev);
    return 0;
}

// The first thread that does not run under our filters or older ones of ours; 0: none.
static int stray_thread_locked(struct task *t)
{
    list_for_each(it, &t->group->threads) {
        struct task *o = list_entry(it, struct task, thread_link);
        if (o == t || o->exiting)
            continue;
        if (o->seccomp_strict || !is_ancestor(o->seccomp, t->seccomp))
            return task_tid_in(o, t->pidns);
    }
    return 0;
}
// The old chain stays alive inside the new one: whoever reads it now loses nothing.
static void replace_locked(struct task *t, struct seccomp_filter *f)
{
    struct seccomp_filter *old = t->seccomp;
    __atomic_store_n(&t->seccomp, filter_get(f), __ATOMIC_RELEASE);
    filter_put(old);
}

long seccomp_attach(struct task *t, const struct sock_filter *prog, size_t n, unsigned flags)
{
    struct thread_group *g = t->group;
    struct seccomp_filter *f;
    int err = filter_new(prog, n, &f);
    if (err)
        return err;
    f->log = flags & SECCOMP_FILTER_FLAG_LOG;
    bool tsync = flags & (SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH);
    mutex_lock(&tasklist_lock); // for what is published of the tasks
    spin_lock(&g->sig_lock);
    long ret = t->seccomp_strict ? -EINVAL : 0;
    if (!ret && tsync) {
        ret = stray_thread_locked(t);
        if (ret && (flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH))
            ret = -ESRCH;
    }
    if (!ret)
        ret = filter_link(f, t->seccomp);
    if (!ret && tsync) {
        bool nnp = task_no_new_privs(t);
        list_for_each(it, &g->threads) {
            struct task *o = list_entry(it, struct task, thread_link);
            if (o == t || o->exiting)
                continue;
            replace_locked(o, f);
            if (nnp)
                WRITE_SHARED(o->nnp_synced, true);
        }
    }
    if (!ret)
        replace_locked(t, f);
    spin_unlock(&g->sig_lock);
    group_public_stale_locked(g);
    mutex_unlock(&tasklist_lock);
    filter_put(f);
    return ret;
}

int seccomp_set_strict(struct task *t)
{
    spin_lock(&t->group->sig_lock);
    int err = t->seccomp ? -EINVAL : 0;
    if (!err)
        WRITE_SHARED(t->seccomp_strict, true);
    spin_unlock(&t->group->sig_lock);
    task_public_stale_self(t);
    return err;
}

static struct seccomp_filter *chain_of(const struct task *t)
{
    return __atomic_load_n(&t->seccomp, __ATOMIC_ACQUIRE);
}
int seccomp_mode(const struct task *t)
{
    if (READ_SHARED(t->seccomp_strict))
        return SECCOMP_MODE_STRICT;
    return chain_of(t) ? SECCOMP_MODE_FILTER : SECCOMP_MODE_DISABLED;
}
uint32_t seccomp_count(const struct task *t)
{
    const struct seccomp_filter *f = chain_of(t);
    return f ? f->count : 0;
}
bool task_no_new_privs(const struct task *t)
{
    return t->cred->no_new_privs || READ_SHARED(t->nnp_synced);
}
bool seccomp_always_allows(const struct task *t, int nr)
{
    const struct seccomp_filter *f = chain_of(t);
    if (READ_SHARED(t->seccomp_strict))
        return false;
    return !f || (nr >= 0 && nr < CALLS && (f->always[nr / 64] >> (nr % 64) & 1));
}

bool seccomp_wants_all(const struct task *t)
{
    if (likely(seccomp_mode(t) == SECCOMP_MODE_DISABLED))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(stub_answers); i++)
        if (!seccomp_always_allows(t, stub_answers[i]))
            return true;
    return false;
}

void seccomp_inherit_locked(struct task *child, const struct task *parent)
{
    struct seccomp_filter *old = child->seccomp;
    child->seccomp = filter_get(parent->seccomp);
    filter_put(old);
    child->seccomp_strict = parent->seccomp_strict;
    child->nnp_synced = parent->nnp_synced;
}
void seccomp_drop(struct task *t)
{
    filter_put(t->seccomp);
    t->seccomp = nullptr;
}

// --- the call ------------------------------------------------------------------------------------
static void log_call(const struct task *t, uint32_t action)
{
    log_debug("seccomp: task %d (%.16s), system call %d, action 0x%x", t->pid->nr[0], t->comm,
              (int)t->regs.orig_rax, action);
}

// The smallest action as a signed word wins; among equals the newest filter's.
static uint32_t run_chain(const struct seccomp_filter *f, const struct seccomp_data *d, bool *log)
{
    uint32_t best = SECCOMP_RET_ALLOW;
    for (; f; f = f->prev) {
        uint32_t r = cbpf_run(f->prog, d);
        if ((int32_t)(r & SECCOMP_RET_ACTION_FULL) < (int32_t)(best & SECCOMP_RET_ACTION_FULL)) {
            best = r;
            *log = f->log;
        }
    }
    return best;
}

static void send_sigsys(struct task *t, uint32_t arch, uint32_t data)
{
    siginfo_t si = {.si_signo = SIGSYS, .si_errno = (int)data, .si_code = 1}; // SYS_SECCOMP
    si.si_call_addr = (void *)(uintptr_t)t->regs.rip; // NOLINT: a guest address on its way to a guest
    si.si_syscall = (int)t->regs.orig_rax;
    si.si_arch = arch;
    signal_force(t, &si);
}

static void kill_thread(struct task *t, int sig, bool whole)
{
    spin_lock(&t->group->sig_lock);
    whole = whole || t->group->nlive <= 1;
    spin_unlock(&t->group->sig_lock);
    if (!whole)
        task_exit(t, sig);
    task_exit_group(t, sig);
}

static bool strict_allows(struct task *t, uint32_t arch, long *ret)
{
    uint32_t nr = (uint32_t)t->regs.orig_rax;
    if (arch == AUDIT_ARCH_X86_64 &&
        (nr == __NR_read || nr == __NR_write || nr == __NR_exit || nr == __NR_rt_sigreturn))
        return true;
    kill_thread(t, SIGKILL, false);
    *ret = -ENOSYS;
    return false;
}

// After SIGSYS, and where the task does not come back, rax is as before the call and nothing is
// restarted.
static long call_undone(struct task *t)
{
    long nr = (long)(int32_t)t->regs.orig_rax;
    t->regs.orig_rax = ~0ull;
    return nr;
}

bool seccomp_allows(struct task *t, uint32_t arch, long *ret)
{
    if (READ_SHARED(t->seccomp_strict))
        return strict_allows(t, arch, ret);
    uint32_t nr = (uint32_t)t->regs.orig_rax;
    const struct seccomp_filter *f = chain_of(t);
    if (arch == AUDIT_ARCH_X86_64 && nr < CALLS && (f->always[nr / 64] >> (nr % 64) & 1))
        return true;
    const struct seccomp_data d = {
        .nr = (int)nr, .arch = arch, .instruction_pointer = t->regs.rip,
        .args = {t->regs.rdi, t->regs.rsi, t->regs.rdx, t->regs.r10, t->regs.r8, t->regs.r9}};
    bool log = false;
    uint32_t r = run_chain(f, &d, &log), data = r & SECCOMP_RET_DATA;
    if (log && (r & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ALLOW)
        log_call(t, r);
    switch (r & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW: return true;
    case SECCOMP_RET_LOG: log_call(t, r); return true;
    case SECCOMP_RET_ERRNO: *ret = -(long)MIN(data, 4095u); return false;
    case SECCOMP_RET_TRACE:      // no tracer
    case SECCOMP_RET_USER_NOTIF: // no listener: there are none
        *ret = -ENOSYS;
        return false;
    case SECCOMP_RET_TRAP:
        send_sigsys(t, arch, data);
        *ret = call_undone(t);
        return false;
    case SECCOMP_RET_KILL_THREAD:
        log_call(t, r);
        kill_thread(t, SIGSYS, false);
        break;
    default: // SECCOMP_RET_KILL_PROCESS, and what nobody knows
        log_call(t, r);
        kill_thread(t, SIGSYS, true);
    }
    *ret = call_undone(t);
    return false;
}
