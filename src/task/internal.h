// SPDX-License-Identifier: Apache-2.0
// What the files of task/ share among themselves and with the task system calls in sys/.
// Suffix _locked: tasklist_lock is held, unless the comment says sig_lock.
#pragma once
#include "task/task.h"

// --- pid.c ---
MUST_CHECK int pidns_new(struct pidns *parent, struct pidns **out);
// A fresh number at every level of ns; set_tid[0..n) are wanted numbers, innermost first. Charges
// the task limits of ns. Undone by kpid_drop_locked after kpid_attach, or kpid_unalloc_locked.
MUST_CHECK int kpid_alloc_locked(struct pidns *ns, const int *set_tid, size_t n, struct kpid **out);
void kpid_unalloc_locked(struct kpid *p); // never attached to a task: gives everything back
void kpid_use_locked(struct kpid *p);
void kpid_unuse_locked(struct kpid *p);
struct kpid *kpid_find_locked(struct pidns *ns, int nr);
void pidns_uncharge_locked(struct pidns *ns); // one task is gone
bool pidns_is_ancestor(const struct pidns *a, const struct pidns *of); // or equal
MUST_CHECK int pgrp_new_locked(struct session *s, struct kpid *pid, struct pgrp **out);
MUST_CHECK int session_new_locked(struct thread_group *leader, struct kpid *pid, struct pgrp **out);
void group_join_pgrp_locked(struct thread_group *g, struct pgrp *p);
void group_leave_pgrp_locked(struct thread_group *g);
bool pgrp_orphaned_locked(struct pgrp *p, const struct thread_group *ignored);

// --- task.c ---
MUST_CHECK struct task *task_alloc(void);
MUST_CHECK struct thread_group *group_alloc(void);
MUST_CHECK struct sighand *sighand_new(const struct sighand *from); // null: all default
struct sighand *sighand_get(struct sighand *s);
void sighand_put(struct sighand *s);
// Per-uid counts: RLIMIT_NPROC and RLIMIT_SIGPENDING.
enum ucount_kind : int { UCOUNT_TASKS, UCOUNT_SIGNALS, UCOUNT_KINDS };
// Adds one if the count stays within limit; -EAGAIN otherwise, -ENOMEM.
MUST_CHECK int ucount_charge(uint32_t uid, enum ucount_kind k, uint64_t limit);
void ucount_uncharge(uint32_t uid, enum ucount_kind k);
void rlimits_default(struct rlimit64 rlim[RLIM_NLIMITS]);
// CPU time. Of a task: exact for the caller itself, else asks a running thread for a sample.
uint64_t task_cpu_ns(struct task *t);
uint64_t group_cpu_ns(struct thread_group *g);
void task_sample_cpu(struct task *t);                 // [T] refreshes t->cpu_ns
void group_rusage(struct thread_group *g, struct rusage *ru);          // RUSAGE_SELF
void group_rusage_children(struct thread_group *g, struct rusage *ru); // RUSAGE_CHILDREN
void task_rusage(struct task *t, struct rusage *ru);                   // RUSAGE_THREAD

// --- exit.c ---
void release_task_locked(struct task *t);          // off every list, numbers given back
void group_reap_locked(struct thread_group *g);    // a zombie group: everything gone
int group_wait_status_locked(const struct thread_group *g);
void task_vfork_done(struct task *t);
void group_kill_locked(struct thread_group *g, int status); // [sig_lock] every thread has to exit

// --- public.c --- [sig_lock]
ksigset_t task_mask_locked(const struct task *t);   // its mask as it is now
// Signals have become pending: of t, or (null) of the group.
void public_pending_locked(struct thread_group *g, struct task *t);

// --- signal.c ---
void sigpending_init(struct sigpending *p);
void signal_unqueue_locked(struct sigpending *p, struct sigqueue_entry *e); // [sig_lock]
void sigpending_flush(struct sigpending *p);       // [sig_lock] or unpublished
int signal_send_pgrp_locked(struct pgrp *p, const siginfo_t *si);
static inline bool task_frozen(const struct task *t)
{
    return __atomic_load_n(&t->group->container->frozen, __ATOMIC_ACQUIRE);
}
void task_freeze_point(struct task *t); // waits while its container is paused, or until killed
// -EAGAIN: too many tasks; -ENOMEM: it ends.
MUST_CHECK int task_container_charge_locked(struct task_container *c);
void task_container_uncharge_locked(struct task_container *c);
void signal_wake_locked(struct task *t, bool fatal);   // [sig_lock]
void signal_recalc_locked(struct task *t);             // [sig_lock], self: clears sig_work when idle
int signal_send_locked(struct thread_group *g, struct task *t, bool group, const siginfo_t *si,
                       struct sigqueue_entry *own);    // [sig_lock] see signal.c
void signal_notify_poll(struct thread_group *g);       // after dropping sig_lock
int signal_dequeue_locked(struct task *t, ksigset_t mask, siginfo_t *si); // [sig_lock]
void signal_flush_ignored(struct task *t, ksigset_t set); // sigaction to ignore: drop pending
bool sig_default_ignored(int sig);
void signal_exec_reset(struct task *t);
bool signal_exit(struct task *t, int status); // takes no signals any more; true: the group's last thread
// A message to the parent: CLD_STOPPED, CLD_CONTINUED. Takes tasklist_lock.
void group_notify_parent_stop(struct thread_group *g, int why);
constexpr ksigset_t SIGMASK_STOP = SIGBIT(SIGSTOP) | SIGBIT(SIGTSTP) | SIGBIT(SIGTTIN) | SIGBIT(SIGTTOU);
constexpr ksigset_t SIGMASK_KERNEL = SIGBIT(SIGKILL) | SIGBIT(SIGSTOP);
constexpr ksigset_t SIGMASK_SYNC = SIGBIT(SIGSEGV) | SIGBIT(SIGBUS) | SIGBIT(SIGILL) |
                                   SIGBIT(SIGTRAP) | SIGBIT(SIGFPE) | SIGBIT(SIGSYS);

// --- sigframe.c ---
MUST_CHECK int sigframe_setup(struct task *t, int sig, const struct ksigaction *ka,
                              const siginfo_t *si, ksigset_t oldset);
bool altstack_on(const struct task *t, uint64_t sp);

// --- wait.c ---
struct wait_request {
    enum : int { WAIT_ANY, WAIT_PID, WAIT_PGRP } type;
    struct kpid *pid;   // borrowed: WAIT_PID
    struct pgrp *pgrp;  // borrowed: WAIT_PGRP; null: no such group
    int options;        // W* of waitid
    // out
    int nr, uid, status, code; // status in wait form; code CLD_*
    struct rusage ru;
};
long task_wait(struct task *t, struct wait_request *w); // 1 found, 0 WNOHANG, -ECHILD, -ERESTARTSYS

// --- pidfd.c ---
MUST_CHECK int pidfd_file_new(struct kpid *p, unsigned flags, struct file **out);
// The number behind a pidfd file; a reference. -EBADF when f is none.
MUST_CHECK int pidfd_kpid(struct file *f, struct kpid **out, unsigned *flags);

// --- timers.c ---
struct ktimerspec {
    int64_t value, interval; // ns; value 0: disarmed
};
MUST_CHECK struct posix_timers *timers_new(struct thread_group *g);
void timers_stop(struct thread_group *g);   // the group's last thread exits
void timers_exec(struct thread_group *g);   // POSIX timers go, itimers stay
void timers_free(struct posix_timers *ts);
void timer_signal_dequeued(struct thread_group *g, struct sigqueue_entry *e, siginfo_t *si); // [sig_lock]
void itimer_signal_dequeued(struct thread_group *g); // [sig_lock] SIGALRM taken
void timers_check_cpu(struct task *t);      // [T] while g->cpu_timer_armed
void timers_rlimit_cpu(struct thread_group *g); // RLIMIT_CPU changed
void itimer_get(struct task *t, int which, struct ktimerspec *out);
void itimer_set(struct task *t, int which, const struct ktimerspec *in, struct ktimerspec *old);
enum timer_clock : int { TCLOCK_MONOTONIC, TCLOCK_REALTIME, TCLOCK_BOOTTIME, TCLOCK_PROCESS, TCLOCK_THREAD };
struct timer_event {
    int notify, signo;      // SIGEV_*
    uint64_t value;
    struct task *target;    // SIGEV_THREAD_ID: reference taken over on success
};
// id_value: the signal's value is the timer's number (no sigevent was given). The number.
MUST_CHECK int ptimer_create(struct task *t, enum timer_clock clock, const struct timer_event *ev,
                             bool id_value);
int ptimer_settime(struct task *t, int id, bool abs, const struct ktimerspec *in, struct ktimerspec *old);
int ptimer_gettime(struct task *t, int id, struct ktimerspec *out);
int ptimer_overrun(struct task *t, int id);
int ptimer_delete(struct task *t, int id);

// --- futex.c ---
void futex_exit(struct task *t);            // robust list, PI waiters

// --- init.c, sys ---
bool rlimit_nproc_exceeded(struct task *t);
