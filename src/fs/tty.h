// SPDX-License-Identifier: Apache-2.0
// What every terminal has, pseudo terminal or host terminal: the session it controls, its
// foreground process group, and the job-control rules that follow (termios(3), tty_ioctl(4)).
//
// A session holds a reference to its terminal (session->tty) and the terminal one to its session;
// the leader's exit or a hang-up breaks the circle. The job-control calls send signals, which
// takes the outermost lock (tasklist): never call them with another lock held.
#pragma once
#include "task/task.h"

struct tty_ctl;
struct tty_ctl_ops {
    // Another open of this terminal, through /dev/tty or /dev/console: sets f->ops and f->data.
    int (*open)(struct tty_ctl *c, struct file *f);
    // The other end has gone or somebody asked for it: every open file is dead from now on.
    void (*hangup)(struct tty_ctl *c);
    void (*release)(struct tty_ctl *c); // last reference
};
struct tty_ctl {
    const struct tty_ctl_ops *ops; // [C]
    struct ref ref;
    uint64_t rdev;                 // [C] device number, for /proc/PID/stat
    struct spinlock lock;
    struct session *session;       // [lock] ref; null: controls nothing
    struct pgrp *fg;               // [lock] ref: foreground group
};
void tty_ctl_init(struct tty_ctl *c, const struct tty_ctl_ops *ops, uint64_t rdev);
struct tty_ctl *tty_ctl_get(struct tty_ctl *c);
void tty_ctl_put(struct tty_ctl *c);

// Is c the controlling terminal of t? Reference to that of t, or null.
bool tty_is_controlling(struct tty_ctl *c, struct task *t);
bool tty_controls_group(struct tty_ctl *c, struct thread_group *g); // the same of a group's session
struct tty_ctl *tty_current(struct task *t);
// Before a background process reads (SIGTTIN) or changes something, or writes with TOSTOP
// (SIGTTOU): 0, -EIO or -ERESTARTSYS after sending the signal.
MUST_CHECK int tty_check_background(struct tty_ctl *c, struct task *t, int sig);
// Opening a terminal without O_NOCTTY gives a session leader without one its terminal.
void tty_opened(struct tty_ctl *c, struct file *f);
// TIOCSCTTY, TIOCNOTTY, TIOCGPGRP, TIOCSPGRP, TIOCGSID. pty_master: the file is the other end.
// *handled false: not one of these.
long tty_ctl_ioctl(struct tty_ctl *c, struct file *f, struct task *t, unsigned cmd, uint64_t arg,
                   bool pty_master, bool *handled);
void tty_signal_foreground(struct tty_ctl *c, int sig);
void tty_hangup(struct tty_ctl *c); // SIGHUP and SIGCONT to the leader; the session loses it
// For /proc/PID/stat: device number and foreground group (-1: none) of a session.
void tty_session_info(struct session *s, const struct pidns *ns, uint64_t *rdev, int *tpgid);

// The terminal that /dev/console means in k: that of its first process. Takes a reference.
void tty_set_console(struct task_container *k, struct tty_ctl *c);
// The terminal behind an open file, or null (borrowed). Registered per kind of terminal.
struct tty_ctl *tty_of_file(struct file *f);
typedef struct tty_ctl *tty_of_file_fn(struct file *f);
void tty_register_kind(tty_of_file_fn *fn);
