// SPDX-License-Identifier: Apache-2.0
// /proc/PID/{stat,status,statm,limits,io}: formats of proc(5), field for field.
#include "abi/errno.h"
#include "fs/proc/proc.h"
#include "fs/tty.h"
#include "kern/limits.h"
#include "task/seccomp.h"
#include <string.h>
#include <sys/sysmacros.h>

constexpr uint64_t NS_PER_TICK = 10'000'000; // USER_HZ = 100

static char state_char(struct task *t)
{
    enum task_state state = READ_SHARED(t->state);
    int mode = -1;
    if (state == TASK_RUNNING || state == TASK_SLEEPING) {
        spin_lock(&t->group->sig_lock);
        if (!t->dead && !READ_SHARED(t->in_user)) // the fiber exists
            mode = fiber_park_mode(t->fiber);
        spin_unlock(&t->group->sig_lock);
        if (mode < 0 && task_user_sleeping(t))
            return 'S';
        return mode < 0 ? 'R' : mode == PARK_INTERRUPTIBLE ? 'S' : 'D';
    }
    switch (state) {
    case TASK_STOPPED: return 'T';
    case TASK_TRACED: return 't';
    case TASK_ZOMBIE: return 'Z';
    default: return 'X';
    }
}
static const char *state_name(char c)
{
    return c == 'R' ? "running" : c == 'S' ? "sleeping" : c == 'D' ? "disk sleep" : c == 'T' ? "stopped"
         : c == 't' ? "tracing stop" : c == 'Z' ? "zombie" : "dead";
}

struct signal_view {
    ksigset_t thread, shared, blocked, ignored, caught;
    uint64_t queued;
};
static void signal_view(struct task *t, struct signal_view *v)
{
    struct thread_group *g = t->group;
    *v = (struct signal_view){.blocked = task_blocked(t)};
    spin_lock(&g->sig_lock);
    v->thread = t->pending.set;
    v->shared = g->pending.set;
    list_for_each(n, &g->pending.queue) v->queued++;
    list_for_each(n, &t->pending.queue) v->queued++;
    struct sighand *h = t->sighand;
    if (h) {
        spin_lock(&h->lock);
        for (int i = 0; i < NSIG_MAX; i++) {
            if (h->action[i].handler == (uint64_t)SIG_IGN)
                v->ignored |= 1ull << i;
            else if (h->action[i].handler != (uint64_t)SIG_DFL)
                v->caught |= 1ull << i;
        }
        spin_unlock(&h->lock);
    }
    spin_unlock(&g->sig_lock);
}

struct times_view {
    uint64_t utime, stime, cutime, cstime, minflt, majflt, nvcsw, nivcsw;
    int nthreads;
};
static void times_view(struct task *t, bool whole, struct times_view *v)
{
    struct thread_group *g = t->group;
    *v = (struct times_view){};
    spin_lock(&g->sig_lock);
    v->nthreads = g->nthreads;
    v->cutime = g->cutime_ns;
    v->cstime = g->cstime_ns;
    v->minflt = g->minflt;
    v->majflt = g->majflt;
    if (whole) {
        v->utime = g->utime_ns;
        v->stime = g->stime_ns;
        list_for_each(n, &g->threads) {
            struct task *o = list_entry(n, struct task, thread_link);
            v->utime += READ_SHARED(o->cpu_ns);
            v->stime += READ_SHARED(o->stime_ns);
        }
    } else {
        v->utime = READ_SHARED(t->cpu_ns);
        v->stime = READ_SHARED(t->stime_ns);
    }
    v->nvcsw = READ_SHARED(t->nvcsw);
    v->nivcsw = READ_SHARED(t->nivcsw);
    spin_unlock(&g->sig_lock);
}

static void put_escaped_comm(struct strbuf *out, const char *comm)
{
    for (; *comm; comm++) {
        if (*comm == '\n')
            strbuf_str(out, "\\n");
        else if (*comm == '\\')
            strbuf_str(out, "\\\\");
        else
            strbuf_char(out, *comm);
    }
}
static void comm_copy(struct task *t, char comm[16])
{
    spin_lock(&t->task_lock);
    memcpy(comm, t->comm, 16);
    spin_unlock(&t->task_lock);
    comm[15] = 0;
}

// Number of the controlling terminal as the kernel shows it, and its foreground group.
static int tty_view(struct thread_group *g, const struct pidns *ns, int *tpgid)
{
    uint64_t dev = 0;
    *tpgid = -1;
    struct session *s = group_session_get(g);
    if (s) {
        tty_session_info(s, ns, &dev, tpgid);
        session_put(s);
    }
    unsigned mi = minor(dev);
    return (int)((mi & 0xff) | major(dev) << 8 | (mi & ~0xffu) << 12);
}

static int show_stat(struct strbuf *out, struct proc_inode *p, bool whole)
{
    struct task *t = p->task;
    struct thread_group *g = t->group;
    struct pidns *ns = proc_pidns();
    struct signal_view sv;
    struct times_view tv;
    char comm[16];
    uint64_t pages[7] = {}, a[12] = {};
    if (!ns)
        return -ESRCH;
    comm_copy(t, comm);
    signal_view(t, &sv);
    times_view(t, whole, &tv);
    struct mm *mm = task_mm_get(t);
    if (mm) {
        mm_statm(mm, pages);
        mutex_lock(&mm->lock);
        uint64_t v[] = {mm->start_code, mm->end_code, mm->start_stack, mm->start_data, mm->end_data,
                        mm->brk_start, mm->arg_start, mm->arg_end, mm->env_start, mm->env_end};
        memcpy(a, v, sizeof(v));
        mutex_unlock(&mm->lock);
        mm_put(mm);
    }
    int pgid = group_pgid_in(g, ns);
    int tpgid, tty_nr = tty_view(g, ns, &tpgid);
    strbuf_fmt(out, "%d (%s) %c %d %d %d %d %d 0 ", whole ? task_tgid_in(t, ns) : task_tid_in(t, ns),
               comm, state_char(t), group_ppid_in(g, ns), pgid, group_sid_in(g, ns), tty_nr, tpgid);
    strbuf_fmt(out, "%lu 0 %lu 0 %lu %lu %lu %lu ", tv.minflt, tv.majflt, tv.utime / NS_PER_TICK,
               tv.stime / NS_PER_TICK, tv.cutime / NS_PER_TICK, tv.cstime / NS_PER_TICK);
    int nice = READ_SHARED(t->nice);
    strbuf_fmt(out, "%d %d %d 0 %lu %lu %lu %lu ", 20 + nice, nice, tv.nthreads,
               (uint64_t)t->start_time_ns / NS_PER_TICK, pages[0] * PAGE_SIZE, pages[1],
               task_rlimit(t, RLIMIT_RSS));
    strbuf_fmt(out, "%lu %lu %lu 0 0 %lu %lu %lu %lu 0 0 0 ", a[0], a[1], a[2],
               (sv.thread | sv.shared) & 0x7fffffff, sv.blocked & 0x7fffffff,
               sv.ignored & 0x7fffffff, sv.caught & 0x7fffffff);
    strbuf_fmt(out, "%d 0 %d %d 0 0 0 %lu %lu %lu %lu %lu %lu %lu 0\n", g->exit_signal,
               READ_SHARED(t->rt_priority), READ_SHARED(t->policy), a[3], a[4], a[5], a[6], a[7], a[8],
               a[9]);
    return 0;
}
int proc_show_stat(struct strbuf *out, struct proc_inode *p) { return show_stat(out, p, true); }
int proc_show_tid_stat(struct strbuf *out, struct proc_inode *p) { return show_stat(out, p, false); }

// One number per namespace, from the reader's down to the task's own.
static void status_numbers(struct strbuf *out, struct task *t, const struct pidns *ns)
{
    const struct pidns *chain[PIDNS_MAX_LEVEL];
    int n = 0;
    for (const struct pidns *at = t->pidns; at && n < PIDNS_MAX_LEVEL; at = at->parent) {
        chain[n++] = at;
        if (at == ns)
            break;
    }
    static const char *const names[] = {"NStgid", "NSpid", "NSpgid", "NSsid"};
    strbuf_char(out, '\n');
    for (int k = 0; k < 4; k++) {
        strbuf_fmt(out, "%s:", names[k]);
        for (int i = n - 1; i >= 0; i--)
            strbuf_fmt(out, "\t%d", k == 0   ? task_tgid_in(t, chain[i])
                                    : k == 1 ? task_tid_in(t, chain[i])
                                    : k == 2 ? group_pgid_in(t->group, chain[i])
                                             : group_sid_in(t->group, chain[i]));
        strbuf_char(out, '\n');
    }
}
static void status_ids(struct strbuf *out, struct task *t, struct pidns *ns)
{
    struct cred *c = task_cred_get(t);
    strbuf_fmt(out, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", c->uid, c->euid, c->suid,
               c->fsuid, c->gid, c->egid, c->sgid, c->fsgid);
    struct fdtab *files = task_files_get(t);
    int fds = files ? fdtab_size(files) : 0;
    if (files)
        fdtab_put(files, nullptr);
    strbuf_fmt(out, "FDSize:\t%d\nGroups:\t", fds);
    for (uint32_t i = 0; i < c->ngroups; i++)
        strbuf_fmt(out, "%u ", c->groups[i]);
    cred_put(c);
    status_numbers(out, t, ns);
}
static void status_memory(struct strbuf *out, struct task *t)
{
    uint64_t p[7];
    struct mm *mm = task_mm_get(t);
    if (!mm)
        return;
    mm_statm(mm, p);
    mutex_lock(&mm->lock);
    uint64_t locked = mm->locked_vm, stack = mm->stack_vm, data = mm->data_vm;
    uint64_t code = (mm->end_code - mm->start_code + 1023) / 1024;
    mutex_unlock(&mm->lock);
    mm_put(mm);
    strbuf_fmt(out, "VmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmLck:\t%8lu kB\nVmPin:\t       0 kB\n",
               p[0] * 4, p[0] * 4, locked * 4);
    strbuf_fmt(out, "VmHWM:\t%8lu kB\nVmRSS:\t%8lu kB\nRssAnon:\t%8lu kB\nRssFile:\t%8lu kB\n"
                    "RssShmem:\t       0 kB\n", p[1] * 4, p[1] * 4, (p[1] - MIN(p[1], p[2])) * 4, p[2] * 4);
    strbuf_fmt(out, "VmData:\t%8lu kB\nVmStk:\t%8lu kB\nVmExe:\t%8lu kB\nVmLib:\t       0 kB\n"
                    "VmPTE:\t      64 kB\nVmSwap:\t       0 kB\nHugetlbPages:\t       0 kB\n",
               data * 4, stack * 4, code);
}
int proc_show_status(struct strbuf *out, struct proc_inode *p)
{
    struct task *t = p->task;
    struct pidns *ns = proc_pidns();
    struct signal_view sv;
    struct times_view tv;
    char comm[16], state = state_char(t);
    struct fs_context *fs = task_fs_get(t);
    if (!ns)
        return -ESRCH;
    comm_copy(t, comm);
    strbuf_str(out, "Name:\t");
    put_escaped_comm(out, comm);
    if (fs) {
        strbuf_fmt(out, "\nUmask:\t%04o", fs_umask(fs));
        fs_context_put(fs);
    }
    strbuf_fmt(out, "\nState:\t%c (%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n",
               state, state_name(state), task_tgid_in(t, ns), task_tid_in(t, ns),
               group_ppid_in(t->group, ns));
    status_ids(out, t, ns);
    status_memory(out, t);
    signal_view(t, &sv);
    times_view(t, true, &tv);
    strbuf_fmt(out, "CoreDumping:\t0\nTHP_enabled:\t%d\nThreads:\t%d\nSigQ:\t%lu/%lu\n",
               !t->thp_disable, tv.nthreads, sv.queued, task_rlimit(t, RLIMIT_SIGPENDING));
    strbuf_fmt(out, "SigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n",
               sv.thread, sv.shared, sv.blocked, sv.ignored, sv.caught);
    struct cred *c = task_cred_get(t);
    strbuf_fmt(out, "CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\nCapAmb:\t%016lx\n",
               c->cap_inheritable, c->cap_permitted, c->cap_effective, c->cap_bounding, c->cap_ambient);
    strbuf_fmt(out, "NoNewPrivs:\t%d\nSeccomp:\t%d\nSeccomp_filters:\t%u\n",
               c->no_new_privs || READ_SHARED(t->nnp_synced), seccomp_mode(t), seccomp_count(t));
    cred_put(c);
    uint64_t cpus = READ_SHARED(t->cpu_affinity) & cpus_visible();
    strbuf_fmt(out, "Speculation_Store_Bypass:\tvulnerable\nCpus_allowed:\t%lx\nCpus_allowed_list:\t", cpus);
    bool first = true;
    for (int i = 0; i < 64; i++) {
        int j = i;
        if (!(cpus >> i & 1))
            continue;
        while (j < 63 && cpus >> (j + 1) & 1)
            j++;
        strbuf_fmt(out, i == j ? "%s%d" : "%s%d-%d", first ? "" : ",", i, j);
        first = false;
        i = j;
    }
    strbuf_fmt(out, "\nMems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t%lu\n"
                    "nonvoluntary_ctxt_switches:\t%lu\n", tv.nvcsw, tv.nivcsw);
    return 0;
}

int proc_show_statm(struct strbuf *out, struct proc_inode *p)
{
    uint64_t n[7] = {};
    struct mm *mm = task_mm_get(p->task);
    if (mm) {
        mm_statm(mm, n);
        mm_put(mm);
    }
    strbuf_fmt(out, "%lu %lu %lu %lu %lu %lu %lu\n", n[0], n[1], n[2], n[3], n[4], n[5], n[6]);
    return 0;
}

int proc_show_limits(struct strbuf *out, struct proc_inode *p)
{
    static const struct { const char *name, *unit; int which; } rows[] = {
        {"Max cpu time", "seconds", RLIMIT_CPU}, {"Max file size", "bytes", RLIMIT_FSIZE},
        {"Max data size", "bytes", RLIMIT_DATA}, {"Max stack size", "bytes", RLIMIT_STACK},
        {"Max core file size", "bytes", RLIMIT_CORE}, {"Max resident set", "bytes", RLIMIT_RSS},
        {"Max processes", "processes", RLIMIT_NPROC}, {"Max open files", "files", RLIMIT_NOFILE},
        {"Max locked memory", "bytes", RLIMIT_MEMLOCK}, {"Max address space", "bytes", RLIMIT_AS},
        {"Max file locks", "locks", RLIMIT_LOCKS}, {"Max pending signals", "signals", RLIMIT_SIGPENDING},
        {"Max msgqueue size", "bytes", RLIMIT_MSGQUEUE}, {"Max nice priority", "", RLIMIT_NICE},
        {"Max realtime priority", "", RLIMIT_RTPRIO}, {"Max realtime timeout", "us", RLIMIT_RTTIME}};
    strbuf_fmt(out, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t v[2] = {task_rlimit(p->task, rows[i].which), task_rlimit_max(p->task, rows[i].which)};
        strbuf_fmt(out, "%-25s ", rows[i].name);
        for (int k = 0; k < 2; k++) {
            if (v[k] == RLIM64_INFINITY)
                strbuf_fmt(out, "%-20s ", "unlimited");
            else
                strbuf_fmt(out, "%-20lu ", v[k]);
        }
        strbuf_fmt(out, "%-10s\n", rows[i].unit);
    }
    return 0;
}

int proc_show_io(struct strbuf *out, struct proc_inode *p)
{
    // Bytes are not counted by task: all zero, as for a kernel thread.
    strbuf_str(out, "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\n"
                    "cancelled_write_bytes: 0\n");
    return 0;
}

void proc_sum(struct proc_totals *s)
{
    struct pidns *ns = proc_pidns();
    struct thread_group *g;
    int nr = 1;
    *s = (struct proc_totals){};
    while (ns && (g = group_next(ns, &nr)) != nullptr) {
        struct task *t = group_leader_get(g);
        if (t) {
            struct times_view tv;
            uint64_t pages[7];
            times_view(t, true, &tv);
            s->cpu_ns += tv.utime + tv.stime + tv.cutime + tv.cstime;
            s->threads += tv.nthreads;
            s->running += state_char(t) == 'R';
            struct mm *mm = task_mm_get(t);
            if (mm) {
                mm_statm(mm, pages);
                s->rss_pages += pages[1];
                mm_put(mm);
            }
            task_put(t);
        }
        s->processes++;
        group_put(g);
        nr++;
    }
}
