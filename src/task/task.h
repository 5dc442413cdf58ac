// SPDX-License-Identifier: Apache-2.0
// Tasks, thread groups, process groups and sessions.
//
// A task is one guest thread: a fiber in the kernel and a context in the platform. Fields marked
// [T] are touched by the task's own fiber only. tasklist_lock (RANK_TASKLIST, a mutex) guards the
// process tree, pid tables and group membership; group->lock (RANK_GROUP, a mutex... see below)
// guards signal state. Signal queues are short and are sent from timer callbacks, so sig_lock is a
// spinlock.
#pragma once
#include "abi/regs.h"
#include "base/htab.h"
#include "base/list.h"
#include "base/ref.h"
#include "kern/cred.h"
#include "kern/nsproxy.h"
#include "mem/mm.h"
#include "mem/uaccess.h"
#include "sched/mutex.h"
#include "sched/timer.h"
#include "sched/waitq.h"
#include "vfs/file.h"
#include <signal.h>
#include <sys/resource.h>

typedef uint64_t ksigset_t; // bit n-1 = signal n
#define SIGBIT(n) (1ull << ((n) - 1))
constexpr int NSIG_MAX = 64;

struct ksiginfo { // the 128 bytes that user space sees (siginfo_t), already laid out
    siginfo_t si;
};
struct sigqueue_entry {
    struct list link;
    siginfo_t si;
};
struct sigpending {
    ksigset_t set;     // [sig_lock]
    struct list queue; // [sig_lock] struct sigqueue_entry
};
struct ksigaction {
    uint64_t handler, flags, restorer;
    ksigset_t mask;
};
struct sighand { // shared by CLONE_SIGHAND
    struct ref ref;
    struct spinlock lock;
    struct ksigaction action[NSIG_MAX]; // [lock]
};

struct pidns {
    struct ref ref;
    struct pidns *parent;  // ref, null: root
    int level;
    struct htab tasks;     // [tasklist_lock] tid -> struct pid_entry
    int last_pid, pid_max; // [tasklist_lock]
    struct task *init;     // [tasklist_lock] weak: the reaper
    uint64_t ino;
    bool dying;            // init has exited: no new tasks
};
constexpr int PIDNS_MAX_LEVEL = 8;
struct pid_entry {         // one per namespace level of a task
    struct hnode hnode;
    int nr;
    struct task *task;
};

struct session {
    struct ref ref;
    struct thread_group *leader;  // [tasklist] weak
    int sid;                      // root-namespace number of the leader
    void *tty;                    // [tasklist] struct tty *, weak, controlling terminal
    struct list pgrps;            // [tasklist]
};
struct pgrp {
    struct ref ref;
    struct session *session; // ref
    int pgid;                // root-namespace number
    struct list link;        // [tasklist] in session
    struct list members;     // [tasklist] thread_group.pgrp_link
};

struct itimer; // ITIMER_REAL and POSIX timers: task/timers.c

struct thread_group {
    struct ref ref;
    struct list threads;            // [tasklist] struct task.thread_link
    int nthreads;                   // [tasklist]
    struct task *leader;            // [tasklist] weak
    struct thread_group *parent;    // [tasklist] weak
    struct list children, sibling;  // [tasklist]
    struct pgrp *pgrp;              // [tasklist] ref
    struct list pgrp_link;          // [tasklist]
    struct spinlock sig_lock;       // guards all signal state of the group and its tasks
    struct sigpending pending;      // [sig_lock] shared
    struct sighand *sighand;        // [C per task] of the leader
    struct waitq child_wait;        // woken when a child changes state
    struct waitq sig_wait;          // signalfd pollers
    bool exiting;                   // [sig_lock] exit_group in progress
    int exit_code;                  // [sig_lock] wait status (code << 8 | signal)
    int exit_signal;                // [tasklist] to the parent, usually SIGCHLD
    bool stopped, continued, stop_reported; // [sig_lock] job control
    int stop_sig;                   // [sig_lock]
    struct task *exec_task;         // [sig_lock] the thread in de_thread, others die
    bool zombie, is_subreaper, has_execed, keep_caps_dummy; // [tasklist]
    struct spinlock rlim_lock;
    struct rlimit64 rlim[RLIM_NLIMITS]; // [rlim_lock]
    uint64_t utime_ns, stime_ns;    // [sig_lock] of exited threads
    uint64_t cutime_ns, cstime_ns;  // [tasklist] of waited-for children
    uint64_t nvcsw, nivcsw, minflt, majflt, maxrss_kb, cmaxrss_kb;
    struct itimer *timers;          // task/timers.c
    int64_t start_time_ns;          // boottime
    int oom_score_adj;
    void *personality_dummy;
};

enum task_state : int { TASK_RUNNING, TASK_SLEEPING, TASK_STOPPED, TASK_TRACED, TASK_ZOMBIE, TASK_DEAD };

struct task {
    struct ref ref;
    struct fiber *fiber;               // [C]
    struct thread_group *group;        // [C] ref
    struct list thread_link;           // [tasklist]
    struct pidns *pidns;               // [C] ref: the innermost
    struct pid_entry pids[PIDNS_MAX_LEVEL]; // [tasklist] pids[level].nr, 0 = root namespace
    // --- running [T] ---
    struct mm *mm;                     // [T] ref; changes at exec; others read it under task_lock
    struct pcontext *ctx;              // [T] owned
    struct user_regs regs;             // [T]
    struct fdtab *files;               // [T] ref; others: task_lock
    struct fs_context *fs;             // [T] ref; others: task_lock
    struct utsns *uts;                 // ref
    struct cred *cred;                 // published with release; others: task_cred_get()
    struct spinlock task_lock;         // guards mm, files, fs, cred, comm against other tasks
    char comm[16];                     // [task_lock]
    // --- signals: [group->sig_lock] ---
    struct sighand *sighand;           // [C] ref
    struct sigpending pending;
    ksigset_t blocked;                 // written by self under sig_lock
    ksigset_t saved_mask;              // [T] of sigsuspend, ppoll, ...: restored on the way out
    bool restore_saved_mask;           // [T]
    uint64_t altstack_sp, altstack_size; // [T]
    int altstack_flags;                // [T]
    bool jobctl_stop_pending, killed;  // [sig_lock]
    int pdeath_signal;                 // [T]
    // --- life ---
    enum task_state state;             // [A] for /proc
    int exit_code;                     // [tasklist] wait status form
    uaddr_t clear_child_tid, set_child_tid; // [T]
    uaddr_t robust_list;               // [T]
    uint64_t robust_len;               // [T]
    struct task *vfork_parent;         // [sig_lock] ref: waits until we exec or exit
    struct waitq vfork_wait;
    bool vfork_done;                   // [A]
    // --- system call in progress [T] ---
    long (*restart_fn)(struct task *); // restart_syscall
    union {
        struct { ktime_t deadline; uaddr_t rem; int clock; int flags; } nanosleep;
        struct { uaddr_t uaddr; uint32_t val, bitset; ktime_t deadline; int op; bool has_deadline; bool realtime; } futex;
        struct { uaddr_t fds; uint32_t nfds; ktime_t deadline; } poll;
    } restart;
    bool strace;                       // --strace: print calls
    void *ptrace;                      // later: tracer state
    void *seccomp;                     // later: filter chain
    uint64_t stime_ns, utime_ns;       // [A]
    uint64_t nvcsw, nivcsw;
    int nice, policy, rt_priority;
    uint64_t cpu_affinity;             // [A]
    uint64_t dumpable_dummy;
    uint64_t timer_slack;
    uint32_t personality;
    bool no_setgroups_dummy;
};

extern struct mutex tasklist_lock;
static inline struct task *task_current(void)
{
    return fiber_data();
}
struct task *task_get(struct task *t);
void task_put(struct task *t);
int task_tid_in(const struct task *t, const struct pidns *ns);   // 0 when not visible
int task_tgid_in(const struct task *t, const struct pidns *ns);
// By number in ns; a reference, or null.
struct task *task_find(struct pidns *ns, int tid);
struct thread_group *group_find(struct pidns *ns, int tgid);
struct thread_group *group_get(struct thread_group *g);
void group_put(struct thread_group *g);
struct cred *task_cred_get(struct task *t);        // ref, from any task
struct mm *task_mm_get(struct task *t);            // ref or null, from any task
struct fdtab *task_files_get(struct task *t);
struct fs_context *task_fs_get(struct task *t);
uint64_t task_rlimit(const struct task *t, int which); // soft limit
static inline struct lookup_ctx task_lookup_ctx(struct task *t)
{
    return (struct lookup_ctx){.fs = t->fs, .files = t->files, .cred = t->cred};
}
struct mm_limits task_mm_limits(const struct task *t);

// --- making and ending (clone.c, exit.c, exec.c) ---
struct clone_args_k {
    uint64_t flags;
    uaddr_t pidfd, child_tid, parent_tid;
    uint64_t exit_signal, stack, stack_size, tls;
};
long task_clone(struct task *parent, const struct clone_args_k *a); // child's tid in parent's ns
[[noreturn]] void task_exit(struct task *t, int status);            // this thread; wait-status form
void task_exit_group(struct task *t, int status); // marks the group; the caller exits in the loop
// execve: on success the new image's registers are in t->regs. argv/envp already copied in.
int task_exec(struct task *t, struct file *exe, const char *filename, struct strbuf *argv,
              int argc, struct strbuf *envp, int envc);
// The fiber body of every task (run.c): enter user mode, handle the event, deliver signals.
void task_main(void *task);
// The first task of a container.
struct init_args;
MUST_CHECK int task_create_init(const struct init_args *a, struct task **out);

// --- signals (signal.c) ---
int signal_send_task(struct task *t, const siginfo_t *si);           // tgkill-like
int signal_send_group(struct thread_group *g, const siginfo_t *si);  // kill-like
int signal_send_pgrp(struct pgrp *p, const siginfo_t *si);
void signal_force(struct task *t, const siginfo_t *si);   // synchronous: SIGSEGV and friends
bool signal_pending(struct task *t);                      // anything deliverable or fatal
void signal_set_blocked(struct task *t, ksigset_t set);   // [T]
// Before going back to user mode: delivers what is pending, handles stops and death, restarts.
// `syscall` says that regs come from a system call (restart handling looks at rax).
void signal_deliver(struct task *t, bool syscall);
long signal_return(struct task *t);                       // rt_sigreturn
// For timer callbacks and file owners (SIGIO, SIGALRM): never sleeps.
void siginfo_kernel(siginfo_t *si, int sig);              // SI_KERNEL
void siginfo_user(siginfo_t *si, int sig, struct task *sender);
