// SPDX-License-Identifier: Apache-2.0
// Tasks, thread groups, process groups and sessions.
//
// A task is one guest thread: a fiber in the kernel and a context in the platform. Fields marked
// [T] are touched by the task's own fiber only. tasklist_lock (RANK_TASKLIST, a mutex) guards the
// process tree, pid tables and group membership. Signals are sent from timer callbacks too, so
// signal state is guarded by a spinlock, group->sig_lock (then sighand->lock, nested inside).
// Lists that both sides walk (group->threads) change under both locks.
//
// Whoever makes a task's signal state need attention sets task.sig_work under sig_lock; the task
// looks at that one word on its way to user mode. in_user tells the sender whether the platform's
// interrupt() is needed in addition to fiber_interrupt().
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

struct posix_timer;
struct sigqueue_entry {
    struct list link;
    siginfo_t si;
    uint32_t uid;              // whose RLIMIT_SIGPENDING it counts against
    struct posix_timer *timer; // weak: set for the entry that a POSIX timer owns
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

// --- process numbers (pid.c) ---
constexpr int PIDNS_MAX_LEVEL = 8;
constexpr int PID_MAX = 32768;
constexpr int PID_LEAF = 512;
struct pidns {
    struct ref ref;
    struct pidns *parent;  // [C] ref, null: root
    int level;             // [C]
    struct kpid **leaf[PID_MAX / PID_LEAF]; // [tasklist] number -> kpid, leaves owned
    int last_pid;          // [tasklist]
    int ntasks, max_tasks; // [tasklist] threads in here and below; 0: no limit
    struct task *init;     // [tasklist] weak: leader of the reaper group
    uint64_t ino;          // [C]
    bool dying;            // [tasklist] init has exited: no new tasks
};
// The processes of one container: what was started in it from outside, and all that descend from
// them. Usually those of one pid namespace, but the containers of a pod may share that.
struct task_container {
    struct ref ref;
    bool frozen;           // [A] they stop on their way to user mode
    struct waitq thaw;     // woken when that is over
    bool dying;            // [tasklist] no new tasks
    int ntasks, max_tasks; // [tasklist] threads; max 0: no limit
    struct waitq empty;    // woken when the last one has gone
    struct spinlock lock;
    void *console;         // [lock] struct tty_ctl *: what /dev/console means; see fs/tty.c
    void (*release)(struct task_container *c); // [C] drops the console
    struct pzygote *zygote; // [C] borrowed: where its address spaces come from; null: the platform's own
};
// A process number: one per task, living on while a process group or session is named by it.
// pidfds hold a reference, so it says "gone" and never means somebody else.
struct kpid {
    struct ref ref;
    struct pidns *ns;             // [C] ref: innermost
    int nr[PIDNS_MAX_LEVEL];      // [C] by level, 0 = root namespace
    int users;                    // [tasklist] task, pgrp, session: hashed while > 0
    struct task *task;            // [tasklist] weak: the thread
    struct thread_group *group;   // [tasklist] weak: the process, if the thread leads one
    struct pgrp *pgrp;            // [tasklist] weak
    struct session *session;      // [tasklist] weak
    struct waitq exit_wait;       // pidfd pollers: woken when the process (or thread) is a zombie
    int exit_status;              // [tasklist] wait status, valid once `exited`
    bool exited;                  // [A]
};
struct session {
    struct ref ref;
    struct kpid *pid;             // [C] ref: of the leader
    struct thread_group *leader;  // [tasklist] weak, null when gone
    struct spinlock tty_lock;
    void *tty;                    // [tty_lock] struct tty *, controlling terminal; see tty hooks
    struct list pgrps;            // [tasklist]
};
struct pgrp {
    struct ref ref;
    struct kpid *pid;        // [C] ref
    struct session *session; // [C] ref
    struct list link;        // [tasklist] in session
    struct list members;     // [tasklist] thread_group.pgrp_link
};

struct posix_timers; // ITIMER_* and POSIX timers: task/timers.c

struct thread_group {
    struct ref ref;
    struct list threads;            // [tasklist + sig_lock] struct task.thread_link
    int nthreads;                   // [tasklist + sig_lock] on the list
    int nlive;                      // [sig_lock] not yet in task_exit
    struct task *leader;            // [tasklist] weak
    struct kpid *tgid_pid;          // [C] ref: the process's number
    struct task_container *container; // [C] ref
    struct thread_group *parent;    // [tasklist] ref; null: started from outside
    struct task *parent_thread;     // [tasklist] weak: who cloned us (or took over), for __WNOTHREAD
    struct list children, sibling;  // [tasklist]
    struct pgrp *pgrp;              // [tasklist] ref
    struct list pgrp_link;          // [tasklist]
    struct spinlock sig_lock;       // guards all signal state of the group and its tasks
    struct sigpending pending;      // [sig_lock] shared
    struct waitq child_wait;        // woken when a child changes state
    struct waitq sig_wait;          // signalfd pollers
    bool exiting;                   // [sig_lock] exit_group in progress
    bool unkillable;                // [sig_lock] init of a pid namespace
    int exit_code;                  // [sig_lock] wait status (code << 8 | signal)
    int exit_signal;                // [tasklist] to the parent, usually SIGCHLD; 0 none
    int stop_count;                 // [sig_lock] threads that have yet to stop
    int stop_sig;                   // [sig_lock]
    bool stopped, continued;        // [sig_lock] state, as wait sees it
    bool stop_reportable;           // [sig_lock] stopped and not yet reported by wait
    bool cld_notify;                // [sig_lock] cld_why still to be sent by a thread
    int cld_why;                    // [sig_lock] CLD_STOPPED or CLD_CONTINUED
    struct task *exec_task;         // [sig_lock] the thread in task_exec_begin, others die
    bool zombie, autoreap;          // [tasklist]
    bool is_subreaper, has_execed;  // [tasklist]
    bool reap_orphans;              // [C] children adopted by this init are reaped at once
    void (*exit_hook)(struct thread_group *g, int wait_status, void *arg); // [C] started from outside
    void *exit_hook_arg;
    struct spinlock rlim_lock;
    struct rlimit64 rlim[RLIM_NLIMITS]; // [rlim_lock]
    uint64_t utime_ns, stime_ns;    // [sig_lock] of exited threads
    uint64_t cutime_ns, cstime_ns;  // [sig_lock] of waited-for children
    uint64_t nvcsw, nivcsw, minflt, majflt, cnvcsw, cnivcsw;  // [sig_lock]
    uint64_t maxrss_kb, cmaxrss_kb; // [sig_lock]
    struct posix_timers *timers;    // [C] owned
    bool cpu_timer_armed;           // [A] a timer on CPU time is armed: threads look at it
    int64_t start_time_ns;          // [C] boottime
    int oom_score_adj;              // [A]
    int oom_score_adj_min;          // [A]
};

enum task_state : int { TASK_RUNNING, TASK_SLEEPING, TASK_STOPPED, TASK_TRACED, TASK_ZOMBIE, TASK_DEAD };

struct task {
    struct ref ref;
    struct fiber *fiber;               // [C]; not to be touched once `dead` (sig_lock)
    struct thread_group *group;        // [C] ref
    struct list thread_link;           // [tasklist + sig_lock]
    struct kpid *pid;                  // [A] ref; changes only when exec takes the leader's
    struct kpid *old_pid;              // [T] ref: the one before that exec
    struct pidns *pidns;               // [C] ref: the innermost
    struct pidns *pidns_children;      // [T] ref or null: unshare(CLONE_NEWPID), setns
    // --- running [T] ---
    struct mm *mm;                     // [T] ref; changes at exec; others read it under task_lock
    struct pcontext *ctx;              // [T] owned; changes through task_set_ctx()
    struct user_regs regs;             // [T]
    struct fdtab *files;               // [T] ref; others: task_lock
    struct fs_context *fs;             // [T] ref; others: task_lock
    struct utsns *uts;                 // [T] ref; others: task_lock
    struct ipcns *ipc;                 // [T] ref, until exit; others: task_lock
    struct cred *cred;                 // [T] published under task_lock; others: task_cred_get()
    struct spinlock task_lock;         // guards mm, files, fs, uts, cred, comm against other tasks
    char comm[16];                     // [task_lock]
    bool started;                      // [sig_lock] the fiber runs: it can be woken
    bool in_user;                      // [A] in the platform's run() or futex(): task_user_enter()
    bool user_futex;                   // [A] in the platform's futex()
    bool sig_work;                     // [A] set under sig_lock: signal_deliver has something to do
    uint64_t barrier_seen;             // [A] task_barriers when it last came in: membarrier.c
    bool sample_cpu;                   // [A] somebody waits for a fresh cpu_ns
    uint64_t fault_trapno, fault_err, fault_addr; // [T] of the last fault, for signal frames
    // --- signals: [group->sig_lock] ---
    struct sighand *sighand;           // [sig_lock] ref; changes at exec by self
    struct sigpending pending;
    ksigset_t blocked;                 // written by self under sig_lock; in_user: public.c
    int64_t futex_deadline;            // [T] pevent.deadline of the call in progress
    ksigset_t real_blocked;            // what rt_sigtimedwait took out of `blocked`
    ksigset_t saved_mask;              // [T] of sigsuspend, ppoll, ...: restored on the way out
    bool restore_saved_mask;           // [T]
    uint64_t altstack_sp, altstack_size; // [T]
    int altstack_flags;                // [T]
    bool jobctl_stop_pending;          // [sig_lock] has to take part in a group stop
    bool jobctl_stopped;               // [sig_lock] parked in it
    bool stop_dequeued;                // [sig_lock] took a stop signal; SIGCONT clears it
    bool killed;                       // [sig_lock] has to exit
    bool exiting;                      // [sig_lock] in task_exit: takes no signals any more
    bool dead;                         // [sig_lock] fiber and context are gone
    int pdeath_signal;                 // [A]
    // --- life ---
    enum task_state state;             // [A] for /proc
    int exit_code;                     // [tasklist] wait status form
    uaddr_t clear_child_tid, set_child_tid; // [T]
    uaddr_t robust_list;               // [A]
    uint64_t robust_len;               // [A]
    struct waitq vfork_wait;           // our vfork parent waits here
    bool vfork_done;                   // [A] true: we have exec'ed or exited (or are no vfork child)
    // --- system call in progress [T] ---
    long (*restart_fn)(struct task *); // restart_syscall
    union {
        struct { ktime_t deadline; uaddr_t rem; int clock; int flags; } nanosleep;
        struct { uaddr_t uaddr; uint32_t val, bitset; int64_t deadline; int op; } futex;
        struct { uaddr_t fds; uint32_t nfds; ktime_t deadline; } poll;
    } restart;
    bool strace;                       // --strace: print calls
    void *ptrace;                      // later: tracer state
    struct seccomp_filter *seccomp;    // [sig_lock; self reads without] ref: filters, seccomp.h
    bool seccomp_strict;               // [A] SECCOMP_MODE_STRICT
    bool nnp_synced;                   // [A] no_new_privs came with another thread's TSYNC
    uint64_t cpu_ns;                   // [A] CPU time of the host thread, when last looked
    uint64_t cpu_base_ns;              // [T] of earlier contexts (exec)
    uint64_t stime_ns;                 // [A]
    uint64_t nvcsw, nivcsw;            // [A]
    int nice, policy, rt_priority;     // [A]
    bool reset_on_fork;                // [A]
    bool nproc_exceeded;               // [T] set*id went over RLIMIT_NPROC: execve fails
    int ioprio;                        // [A]
    uint64_t cpu_affinity;             // [A]
    uint64_t timer_slack;              // [T]
    uint32_t personality;              // [T]
    uint32_t mempolicy;                // [T] MPOL_*, and its nodes (sys/mem_numa.c)
    uint64_t mempolicy_nodes;          // [T]
    bool thp_disable, tsc_sigsegv;     // [T] prctl
    int64_t start_time_ns;             // [C] boottime
};

extern struct mutex tasklist_lock;
static inline struct task *task_current(void)
{
    return fiber_data();
}
struct task *task_get(struct task *t);
void task_put(struct task *t);
struct thread_group *group_get(struct thread_group *g);
void group_put(struct thread_group *g);

// --- numbers (pid.c) --- 0 when not visible in ns.
int kpid_nr_in(const struct kpid *p, const struct pidns *ns);
struct kpid *kpid_get(struct kpid *p);
void kpid_put(struct kpid *p);
struct pidns *pidns_get(struct pidns *ns);
void pidns_put(struct pidns *ns);
int task_tid_in(const struct task *t, const struct pidns *ns);
int task_tgid_in(const struct task *t, const struct pidns *ns);
int group_tgid_in(const struct thread_group *g, const struct pidns *ns);
int group_ppid_in(struct thread_group *g, const struct pidns *ns);  // takes tasklist_lock
int group_pgid_in(struct thread_group *g, const struct pidns *ns);  // takes tasklist_lock
int group_sid_in(struct thread_group *g, const struct pidns *ns);   // takes tasklist_lock
// By number in ns; a reference, or null. Take tasklist_lock.
struct task *task_find(struct pidns *ns, int tid);
struct thread_group *group_find(struct pidns *ns, int tgid);
struct pgrp *pgrp_find(struct pidns *ns, int pgid);
struct kpid *kpid_find(struct pidns *ns, int nr);
// For /proc: the process (leader still known, zombies too) with the smallest number >= *tgid, and
// the thread of g with the smallest number >= *tid; null at the end. References.
struct thread_group *group_next(struct pidns *ns, int *tgid);
struct task *group_next_thread(struct thread_group *g, struct pidns *ns, int *tid);
struct task *group_leader_get(struct thread_group *g); // reference or null
struct pgrp *pgrp_get(struct pgrp *p);
void pgrp_put(struct pgrp *p);
struct session *session_get(struct session *s);
void session_put(struct session *s);
struct pgrp *group_pgrp_get(struct thread_group *g);       // reference; takes tasklist_lock
struct session *group_session_get(struct thread_group *g); // reference; takes tasklist_lock
bool group_is_session_leader(struct thread_group *g);      // takes tasklist_lock
// Orphaned: no member has a parent in another group of the same session. Takes tasklist_lock.
bool pgrp_orphaned(struct pgrp *p);

struct cred *task_cred_get(struct task *t);        // ref, from any task
struct mm *task_mm_get(struct task *t);            // ref or null, from any task
struct fdtab *task_files_get(struct task *t);      // ref or null
struct fs_context *task_fs_get(struct task *t);    // ref or null
struct ipcns *task_ipc_get(struct task *t);        // ref or null
uint64_t task_rlimit(const struct task *t, int which); // soft limit
uint64_t task_rlimit_max(const struct task *t, int which); // hard limit
// May the caller look into t (ptrace_may_access with real or fs credentials)? 0 or -EPERM.
int task_may_access(struct task *t);
// Publishes new credentials (takes over the reference): per-user counts, pdeath signal, dumpable.
void task_commit_cred(struct task *t, struct cred *c);
void task_set_comm(struct task *t, const char *comm);
static inline struct lookup_ctx task_lookup_ctx(struct task *t)
{
    return (struct lookup_ctx){.fs = t->fs, .files = t->files, .cred = t->cred};
}
struct mm_limits task_mm_limits(const struct task *t);

// --- terminals: the tty code fills this in before lockdown; called with no lock held ---
struct tty_task_hooks {
    // The leader of a session with a controlling terminal exits: hang up the foreground group,
    // drop the terminal (session->tty).
    void (*session_leader_exit)(struct session *s);
    // f (a terminal) becomes the controlling terminal of t's new session. 0 or -errno.
    int (*set_controlling)(struct task *t, struct file *f);
};
extern const struct tty_task_hooks *tty_task_hooks; // may be null

// --- making and ending (clone.c, exit.c, exec.c) ---
struct clone_args_k {
    uint64_t flags;
    uaddr_t pidfd, child_tid, parent_tid;
    uint64_t exit_signal, stack, stack_size, tls;
    int set_tid[PIDNS_MAX_LEVEL]; // wanted numbers, innermost first; permission was checked
    size_t set_tid_size;
};
long task_clone(struct task *parent, const struct clone_args_k *a); // child's tid in parent's ns
[[noreturn]] void task_exit(struct task *t, int status);            // this thread; wait-status form
void task_exit_group(struct task *t, int status); // marks the group; the caller exits in the loop
// The file to execute, by name: a regular file with an x bit for t, not on a noexec mount, opened by
// the kernel in its own name (x without r is enough). -EACCES, -ELOOP, -ENOENT...
MUST_CHECK int exec_open(struct task *t, int dirfd, const char *name, unsigned lookup_flags,
                         struct file **out);
// execve: on success the new image's registers are in t->regs. argv/envp already copied in.
int task_exec(struct task *t, struct file *exe, const char *filename, struct strbuf *argv,
              int argc, struct strbuf *envp, int envc);
MUST_CHECK int task_unshare_files(struct task *t); // its own descriptor table, if others have it
// What exec.c calls, in this order, around its own work (all in exit.c / credexec.c):
//   1. task_exec_begin: the point of no return is near: kills the other threads, takes the
//      leader's number, unshares signal handlers. 0, or -EINTR when we are dying ourselves.
//   2. task_exec_release_mm: while t->mm is still the old one: robust list, clear_child_tid.
//   3. task_set_mm: swaps mm and context, frees the old context, drops the old mm.
//   4. task_exec_commit: handlers reset, timers gone, close-on-exec, comm, credentials (taken
//      over), vfork parent woken.
MUST_CHECK int task_exec_begin(struct task *t);
void task_exec_release_mm(struct task *t);
void task_set_mm(struct task *t, struct mm *mm, struct pcontext *ctx);
void task_exec_commit(struct task *t, const char *comm, struct cred *c);
// The credentials after exec of exe by t (setuid bits, file capabilities are not supported,
// securebits, ambient); *secure: AT_SECURE. The caller owns *out.
MUST_CHECK int cred_exec(struct task *t, struct file *exe, struct cred **out, bool *secure);
// The fiber body of every task (run.c): enter user mode, handle the event, deliver signals.
void task_main(void *task);
// The system call table, which is above this folder: handles the call in t->regs; the result is
// not yet stored. Set by its constructor.
extern long (*task_syscall)(struct task *t);
// --strace: called around each system call of tasks with t->strace; null when not used.
extern void (*strace_enter)(struct task *t);
extern void (*strace_exit)(struct task *t, long result);

// --- the first task of a container, or a further one started from outside (init.c) ---
struct init_args {
    struct path root;              // ref stays the caller's
    struct mntns *mntns;           // borrowed
    const char *cwd;               // null: "/"
    const char *const *argv, *const *envp; // null-terminated
    const char *program;           // null: argv[0], looked for in $PATH
    const char *hostname, *domainname;
    struct cred *cred;             // borrowed
    const struct rlimit64 *rlimits;// RLIM_NLIMITS entries, or null for defaults
    uint32_t umask;
    struct file *stdio[3];         // borrowed; null: closed
    struct file *const *more;      // borrowed; nmore of them, from descriptor 3 on
    int nmore;
    struct file *terminal;         // borrowed; becomes the controlling terminal
    bool reap;                     // orphans adopted by it are reaped for it
    bool killable;                 // an ordinary program: signals kill it although it is pid 1
    bool no_new_privs, strace;
    bool hold;                     // loaded, not started: task_start_held() does that
    int oom_score_adj;
    const struct sock_filter *seccomp; // the filter of the container's profile, or null (borrowed)
    size_t nseccomp;
    uint32_t seccomp_flags;
    int pids_max;                  // 0: no limit
    struct task *join;             // exec into the container of this task: its namespaces instead
                                   // of new ones (borrowed)
    struct task_container *container; // without join: what it belongs to; null: a new one (borrowed)
    // Namespaces of these tasks instead of new ones (borrowed; null: new).
    struct task *share_pid, *share_uts;
    struct ipcns *ipc;             // borrowed; null, without join: a new one
    // When the process has ended and nobody inside waits for it; from its last fiber, may park.
    void (*exit_hook)(struct thread_group *g, int wait_status, void *arg);
    void *exit_hook_arg;
};
// Makes the task and starts it. Its program is looked up and loaded by the caller's fiber, so an
// error (-ENOENT, -EACCES, -ENOEXEC) is the caller's to report (127, 126). Call from a fiber.
// -ESRCH: it was killed meanwhile, or its container is.
MUST_CHECK int task_create_init(const struct init_args *a, struct task **out);
void task_start_held(struct task *t); // once
void task_end_held(struct task *t, int sig); // instead: it ends, as if killed by sig, and never runs
// For the runtime, on all processes of init's container (outside.c). From a fiber.
void task_signal_all(struct task *init, int sig);
void task_freeze_all(struct task *init, bool freeze);
bool task_container_ending(struct task *init); // killed or gone: nothing can start in it any more
void task_set_max(struct task *init, int max_tasks); // 0: no limit; those that are there stay
int task_count(struct task *init);
void task_machine_changed(struct task *init); // its number of CPUs; over all tasks of its namespace
void task_list_all(struct task *init, struct strbuf *out); // lines "uid pid ppid hostpid name"
void task_end_all(struct task *init); // kills all that are left, returns when they are gone
MUST_CHECK struct task_container *task_container_new(int max_tasks);
struct task_container *task_container_get(struct task_container *c);
void task_container_put(struct task_container *c);
extern void (*container_exit_hook)(struct task *init, int wait_status); // pid 1 of a root pidns
extern void (*group_exit_hook)(struct thread_group *g); // last thread; System V semaphores' undo

// --- what the task's host thread answers itself (public.c) ---
void task_public_stale(struct task *t);                       // a published value has changed
void task_public_stale_self(struct task *t);                  // [T]
uint64_t cpus_visible(void);                                  // of the machine
void group_public_stale_locked(struct thread_group *g);       // [tasklist] of all its threads
ksigset_t task_blocked(struct task *t);                       // its mask, from any task
bool task_user_sleeping(struct task *t);                      // in user mode, in a futex; from any task
void task_user_enter_slow(struct task *t);
void task_user_mask(struct task *t);
long task_membarrier(struct task *t, int cmd);                // [T] membarrier(2) without flags
// [T] Around each run() or futex() of the platform.
static inline void task_user_enter(struct task *t)
{
    if (t->ctx->pub)
        task_user_enter_slow(t);
    __atomic_store_n(&t->in_user, true, __ATOMIC_SEQ_CST);
}
extern uint64_t task_barriers;
static inline void task_user_leave(struct task *t)
{
    if (t->ctx->mask)
        task_user_mask(t);
    uint64_t nr = __atomic_load_n(&task_barriers, __ATOMIC_ACQUIRE);
    if (unlikely(t->barrier_seen != nr))
        __atomic_store_n(&t->barrier_seen, nr, __ATOMIC_RELEASE);
    __atomic_store_n(&t->in_user, false, __ATOMIC_RELEASE);
}

// --- signals (signal.c) ---
int signal_send_task(struct task *t, const siginfo_t *si);           // tgkill-like
int signal_send_group(struct thread_group *g, const siginfo_t *si);  // kill-like
int signal_send_pgrp(struct pgrp *p, const siginfo_t *si);           // takes tasklist_lock
void signal_force(struct task *t, const siginfo_t *si);   // synchronous: SIGSEGV and friends
static inline bool signal_pending(struct task *t)         // anything deliverable or fatal
{
    return READ_SHARED(t->sig_work);
}
void signal_set_blocked(struct task *t, ksigset_t set);   // [T]
// ppoll, epoll_pwait, ...: set becomes the mask until the way out (signal_deliver), where the
// saved one comes back; signal_restore_mask() undoes it at once when the call was not interrupted.
void signal_set_temp_mask(struct task *t, ksigset_t set);
void signal_restore_mask(struct task *t);
// Takes a pending signal of mask, thread's own first; its number, or 0. For signalfd and
// rt_sigtimedwait. Woken through group->sig_wait (and by fiber_interrupt when not blocked).
int signal_dequeue(struct task *t, ksigset_t mask, siginfo_t *si);
ksigset_t signal_pending_set(struct task *t);             // pending, thread and group, any mask
// Is sig blocked or ignored by t (SIGTTIN/SIGTTOU decisions)?
bool signal_blocked_or_ignored(struct task *t, int sig);
// Before going back to user mode: delivers what is pending, handles stops and death, restarts.
// `syscall` says that regs come from a system call (restart handling looks at rax). True: the
// system call in regs.orig_rax is to be done again.
bool signal_deliver(struct task *t, bool syscall);
long signal_return(struct task *t);                       // rt_sigreturn
// Sending from timer callbacks and file owners (SIGIO, SIGALRM) never sleeps.
void siginfo_kernel(siginfo_t *si, int sig);              // SI_KERNEL
void siginfo_user(siginfo_t *si, int sig, struct task *sender);
// SIGIO and friends (file owners): may cred signal t?
bool signal_may_send(const struct cred *c, struct task *t, int sig);
// How a guest clears a futex word and wakes its waiters (the Sentry's queue): clear_child_tid.
int futex_wake_addr(struct mm *mm, uaddr_t addr, int count);
