// SPDX-License-Identifier: Apache-2.0
// Controlling terminals and job control: see tty.h. /dev/tty and /dev/console open here.
#include "fs/tty.h"
#include "abi/errno.h"
#include "vfs/special.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/ioctl.h>

static tty_of_file_fn *kinds[4];
static size_t nkinds;

void tty_ctl_init(struct tty_ctl *c, const struct tty_ctl_ops *ops, uint64_t rdev)
{
    c->ops = ops;
    c->rdev = rdev;
    ref_init(&c->ref);
    spin_init(&c->lock);
}

struct tty_ctl *tty_ctl_get(struct tty_ctl *c)
{
    ref_get(&c->ref);
    return c;
}

void tty_ctl_put(struct tty_ctl *c)
{
    if (!c || !ref_put(&c->ref))
        return;
    if (c->fg)
        pgrp_put(c->fg);
    if (c->session)
        session_put(c->session);
    c->fg = nullptr;
    c->session = nullptr;
    c->ops->release(c);
}

static struct session *ctl_session(struct tty_ctl *c)
{
    spin_lock(&c->lock);
    struct session *s = c->session ? session_get(c->session) : nullptr;
    spin_unlock(&c->lock);
    return s;
}

static struct pgrp *ctl_foreground(struct tty_ctl *c)
{
    spin_lock(&c->lock);
    struct pgrp *p = c->fg ? pgrp_get(c->fg) : nullptr;
    spin_unlock(&c->lock);
    return p;
}

static void ctl_set_foreground(struct tty_ctl *c, struct pgrp *p) // takes over the reference
{
    spin_lock(&c->lock);
    struct pgrp *old = c->fg;
    WRITE_SHARED(c->fg, p);
    spin_unlock(&c->lock);
    if (old)
        pgrp_put(old);
}

static struct tty_ctl *session_tty(struct session *s)
{
    spin_lock(&s->tty_lock);
    struct tty_ctl *c = s->tty ? tty_ctl_get(s->tty) : nullptr;
    spin_unlock(&s->tty_lock);
    return c;
}

// Cuts the two pointers; each side's reference is dropped.
static void ctl_detach(struct session *s, struct tty_ctl *c)
{
    spin_lock(&s->tty_lock);
    bool mine = s->tty == c;
    if (mine)
        s->tty = nullptr;
    spin_unlock(&s->tty_lock);
    spin_lock(&c->lock);
    struct session *cs = c->session == s ? s : nullptr;
    struct pgrp *fg = nullptr;
    if (cs) {
        fg = c->fg;
        WRITE_SHARED(c->session, nullptr);
        WRITE_SHARED(c->fg, nullptr);
    }
    spin_unlock(&c->lock);
    if (fg)
        pgrp_put(fg);
    if (cs)
        session_put(cs);
    if (mine)
        tty_ctl_put(c);
}

struct tty_ctl *tty_current(struct task *t)
{
    struct session *s = group_session_get(t->group);
    if (!s)
        return nullptr;
    struct tty_ctl *c = session_tty(s);
    session_put(s);
    return c;
}

bool tty_is_controlling(struct tty_ctl *c, struct task *t)
{
    struct tty_ctl *cur = tty_current(t);
    if (cur)
        tty_ctl_put(cur);
    return cur == c;
}

bool tty_controls_group(struct tty_ctl *c, struct thread_group *g)
{
    struct session *s = group_session_get(g);
    struct tty_ctl *cur = s ? session_tty(s) : nullptr;
    if (cur)
        tty_ctl_put(cur);
    if (s)
        session_put(s);
    return c && cur == c;
}

// c becomes the terminal of t's session, t's group its foreground. Both were free when looked at;
// -EPERM when somebody was faster.
static int ctl_attach(struct tty_ctl *c, struct task *t)
{
    struct session *s = group_session_get(t->group);
    struct pgrp *p = group_pgrp_get(t->group);
    int err = s && p ? 0 : -EPERM;
    if (!err) {
        spin_lock(&s->tty_lock);
        spin_lock(&c->lock);
        if (s->tty || c->session) {
            err = -EPERM;
        } else {
            s->tty = tty_ctl_get(c);
            WRITE_SHARED(c->session, session_get(s));
            WRITE_SHARED(c->fg, pgrp_get(p));
        }
        spin_unlock(&c->lock);
        spin_unlock(&s->tty_lock);
    }
    if (s)
        session_put(s);
    if (p)
        pgrp_put(p);
    return err;
}

static void pgrp_signal(struct pgrp *p, int sig)
{
    siginfo_t si;
    siginfo_kernel(&si, sig);
    signal_send_pgrp(p, &si);
}

void tty_signal_foreground(struct tty_ctl *c, int sig)
{
    struct pgrp *p = ctl_foreground(c);
    if (!p)
        return;
    pgrp_signal(p, sig);
    pgrp_put(p);
}

int tty_check_background(struct tty_ctl *c, struct task *t, int sig)
{
    if (!READ_SHARED(c->fg) || !tty_is_controlling(c, t))
        return 0;
    struct pgrp *fg = ctl_foreground(c), *mine = group_pgrp_get(t->group);
    int err = 0;
    if (fg && mine && fg != mine) {
        if (signal_blocked_or_ignored(t, sig)) {
            err = sig == SIGTTIN ? -EIO : 0;
        } else if (pgrp_orphaned(mine)) {
            err = -EIO;
        } else {
            pgrp_signal(mine, sig);
            err = -ERESTARTSYS;
        }
    }
    if (fg)
        pgrp_put(fg);
    if (mine)
        pgrp_put(mine);
    return err;
}

void tty_opened(struct tty_ctl *c, struct file *f)
{
    struct task *t = task_current();
    if (!t || !f->wants_tty || !f->can_read || READ_SHARED(c->session))
        return;
    if (!group_is_session_leader(t->group))
        return;
    int err = ctl_attach(c, t);
    (void)err; // it has one already, or the terminal does: an ordinary open then
}

// --- hang-up -----------------------------------------------------------------------------------
static void leader_signal(struct session *s, int sig)
{
    mutex_lock(&tasklist_lock);
    struct thread_group *g = s->leader ? group_get(s->leader) : nullptr;
    mutex_unlock(&tasklist_lock);
    if (!g)
        return;
    siginfo_t si;
    siginfo_kernel(&si, sig);
    signal_send_group(g, &si);
    group_put(g);
}

void tty_hangup(struct tty_ctl *c)
{
    struct session *s = ctl_session(c);
    if (s) { // it tells its jobs itself, or they learn it from its exit
        leader_signal(s, SIGHUP);
        leader_signal(s, SIGCONT);
    }
    tty_ctl_get(c);
    if (s) {
        ctl_detach(s, c);
        session_put(s);
    }
    c->ops->hangup(c);
    tty_ctl_put(c);
}

// The leader exits: the foreground group gets SIGHUP. The files stay usable, as for all pseudo
// terminals in Linux.
static void tty_leader_exit(struct session *s)
{
    struct tty_ctl *c = session_tty(s);
    if (!c)
        return;
    struct pgrp *fg = ctl_foreground(c);
    if (fg) {
        pgrp_signal(fg, SIGHUP);
        pgrp_put(fg);
    }
    ctl_detach(s, c);
    tty_ctl_put(c);
}

// --- ioctls ------------------------------------------------------------------------------------
static long tty_set_controlling(struct tty_ctl *c, struct file *f, struct task *t, uint64_t arg)
{
    bool leader = group_is_session_leader(t->group);
    struct session *mine = group_session_get(t->group), *owner = ctl_session(c);
    struct tty_ctl *cur = mine ? session_tty(mine) : nullptr;
    long ret = 0;
    bool attach = false;
    if (leader && owner && owner == mine) {
        ret = 0;
    } else if (!leader || cur) {
        ret = -EPERM;
    } else if (owner && !(arg == 1 && cred_capable(t->cred, CAP_SYS_ADMIN))) {
        ret = -EPERM;
    } else if (!f->can_read && !cred_capable(t->cred, CAP_SYS_ADMIN)) {
        ret = -EPERM;
    } else {
        attach = true;
    }
    if (attach) {
        if (owner)
            ctl_detach(owner, c); // stolen
        ret = ctl_attach(c, t);
    }
    if (cur)
        tty_ctl_put(cur);
    if (mine)
        session_put(mine);
    if (owner)
        session_put(owner);
    return ret;
}

static long tty_no_tty(struct tty_ctl *c, struct task *t)
{
    if (!tty_is_controlling(c, t) || !group_is_session_leader(t->group))
        return -ENOTTY;
    struct session *s = group_session_get(t->group);
    struct pgrp *fg = ctl_foreground(c);
    if (fg) {
        pgrp_signal(fg, SIGHUP);
        pgrp_signal(fg, SIGCONT);
        pgrp_put(fg);
    }
    if (s) {
        ctl_detach(s, c);
        session_put(s);
    }
    return 0;
}

static long tty_get_pgrp(struct tty_ctl *c, struct task *t, uint64_t arg, bool master)
{
    if (!master && !tty_is_controlling(c, t))
        return -ENOTTY;
    struct pgrp *p = ctl_foreground(c);
    int nr = p ? kpid_nr_in(p->pid, t->pidns) : 0;
    if (p)
        pgrp_put(p);
    return put_user(t->mm, UADDR(arg), nr);
}

static long tty_set_pgrp(struct tty_ctl *c, struct task *t, uint64_t arg)
{
    int nr;
    int err = tty_check_background(c, t, SIGTTOU);
    if (err)
        return err == -EIO ? -ENOTTY : err;
    if (!tty_is_controlling(c, t))
        return -ENOTTY;
    if (get_user(t->mm, UADDR(arg), nr))
        return -EFAULT;
    if (nr < 0)
        return -EINVAL;
    struct pgrp *p = pgrp_find(t->pidns, nr);
    if (!p)
        return -ESRCH;
    struct session *mine = group_session_get(t->group);
    err = p->session == mine ? 0 : -EPERM;
    if (mine)
        session_put(mine);
    if (err)
        pgrp_put(p);
    else
        ctl_set_foreground(c, p);
    return err;
}

static long tty_get_sid(struct tty_ctl *c, struct task *t, uint64_t arg, bool master)
{
    if (!master && !tty_is_controlling(c, t))
        return -ENOTTY;
    struct session *s = ctl_session(c);
    if (!s)
        return -ENOTTY;
    int nr = kpid_nr_in(s->pid, t->pidns);
    session_put(s);
    return put_user(t->mm, UADDR(arg), nr);
}

long tty_ctl_ioctl(struct tty_ctl *c, struct file *f, struct task *t, unsigned cmd, uint64_t arg,
                   bool pty_master, bool *handled)
{
    *handled = true;
    switch (cmd) {
    case TIOCSCTTY:
        return tty_set_controlling(c, f, t, arg);
    case TIOCNOTTY:
        return tty_no_tty(c, t);
    case TIOCGPGRP:
        return tty_get_pgrp(c, t, arg, pty_master);
    case TIOCSPGRP:
        return tty_set_pgrp(c, t, arg);
    case TIOCGSID:
        return tty_get_sid(c, t, arg, pty_master);
    default:
        *handled = false;
        return -ENOTTY;
    }
}

void tty_session_info(struct session *s, const struct pidns *ns, uint64_t *rdev, int *tpgid)
{
    struct tty_ctl *c = session_tty(s);
    *rdev = 0;
    *tpgid = -1;
    if (!c)
        return;
    *rdev = c->rdev;
    struct pgrp *p = ctl_foreground(c);
    if (p) {
        *tpgid = kpid_nr_in(p->pid, ns);
        pgrp_put(p);
    }
    tty_ctl_put(c);
}

// --- /dev/tty, /dev/console, hooks -------------------------------------------------------------
static void console_release(struct task_container *k)
{
    tty_ctl_put(k->console);
}
void tty_set_console(struct task_container *k, struct tty_ctl *c)
{
    tty_ctl_get(c);
    spin_lock(&k->lock);
    struct tty_ctl *old = k->console;
    k->console = c;
    k->release = console_release;
    spin_unlock(&k->lock);
    tty_ctl_put(old);
}
static struct tty_ctl *console_get(struct task *t)
{
    struct task_container *k = t->group->container;
    spin_lock(&k->lock);
    struct tty_ctl *c = k->console ? tty_ctl_get(k->console) : nullptr;
    spin_unlock(&k->lock);
    return c;
}

void tty_register_kind(tty_of_file_fn *fn)
{
    CHECK(nkinds < ARRAY_LEN(kinds));
    kinds[nkinds++] = fn;
}

struct tty_ctl *tty_of_file(struct file *f)
{
    for (size_t i = 0; i < nkinds; i++) {
        struct tty_ctl *c = kinds[i](f);
        if (c)
            return c;
    }
    return nullptr;
}

static int dev_tty_open(struct inode *i, struct file *f)
{
    struct task *t = task_current();
    struct tty_ctl *c = t ? tty_current(t) : nullptr;
    if (!c)
        return -ENXIO;
    int err = c->ops->open(c, f);
    tty_ctl_put(c);
    return err;
}

static int dev_console_open(struct inode *i, struct file *f)
{
    struct task *t = task_current();
    struct tty_ctl *c = t ? console_get(t) : nullptr;
    int err = c ? c->ops->open(c, f) : -EIO;
    tty_ctl_put(c);
    return err;
}

static int hook_set_controlling(struct task *t, struct file *f)
{
    struct tty_ctl *c = tty_of_file(f);
    if (!c)
        return -ENOTTY;
    int err = ctl_attach(c, t);
    if (err == -EPERM) // another exec on the caller's terminal has it: this one can do without
        return 0;
    struct tty_ctl *now = console_get(t);
    if (!err && !now)
        tty_set_console(t->group->container, c);
    tty_ctl_put(now);
    return err;
}

static const struct tty_task_hooks hooks = {
    .session_leader_exit = tty_leader_exit,
    .set_controlling = hook_set_controlling,
};

__attribute__((constructor)) static void tty_register(void)
{
    tty_task_hooks = &hooks;
    chrdev_register(5, 0, 1, "/dev/tty", nullptr, dev_tty_open);
    chrdev_register(5, 1, 1, "/dev/console", nullptr, dev_console_open);
}
