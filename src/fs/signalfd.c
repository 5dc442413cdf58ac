// SPDX-License-Identifier: Apache-2.0
// signalfd(2): reads the signals of whoever reads, not of whoever made it. A poller hangs on the
// queue of its own thread group, so the file keeps every group that ever polled it: an epoll set
// may stay hooked to that queue after the group is gone.
#include "fs/signalfd.h"
#include "abi/errno.h"
#include "base/slab.h"
#include <fcntl.h>
#include <sys/signalfd.h>

struct polled_group {
    struct polled_group *next;  // owned
    struct thread_group *group; // ref
};
struct signalfd {
    struct spinlock lock;
    ksigset_t mask;               // [A]
    struct polled_group *groups;  // [lock] owned
};
SLAB_DEFINE(signalfd_slab, struct signalfd);
SLAB_DEFINE(polled_slab, struct polled_group);
static const struct file_ops signalfd_fops;
static_assert(sizeof(struct signalfd_siginfo) == 128);

static void fill(struct signalfd_siginfo *o, const siginfo_t *si)
{
    *o = (struct signalfd_siginfo){.ssi_signo = (uint32_t)si->si_signo,
                                   .ssi_errno = si->si_errno,
                                   .ssi_code = si->si_code};
    if (si->si_code == SI_TIMER) {
        o->ssi_tid = (uint32_t)si->si_timerid;
        o->ssi_overrun = (uint32_t)si->si_overrun;
        o->ssi_ptr = (uint64_t)(uintptr_t)si->si_value.sival_ptr;
        o->ssi_int = si->si_value.sival_int;
        return;
    }
    if (si->si_code > 0 && si->si_code < SI_KERNEL) {
        switch (si->si_signo) {
        case SIGCHLD:
            o->ssi_pid = (uint32_t)si->si_pid;
            o->ssi_uid = si->si_uid;
            o->ssi_status = si->si_status;
            o->ssi_utime = (uint64_t)si->si_utime;
            o->ssi_stime = (uint64_t)si->si_stime;
            return;
        case SIGILL: case SIGFPE: case SIGSEGV: case SIGBUS: case SIGTRAP:
            o->ssi_addr = (uint64_t)(uintptr_t)si->si_addr;
            return;
        case SIGPOLL:
            o->ssi_band = (uint32_t)si->si_band;
            o->ssi_fd = si->si_fd;
            return;
        }
    }
    o->ssi_pid = (uint32_t)si->si_pid;
    o->ssi_uid = si->si_uid;
    if (si->si_code != SI_USER && si->si_code != SI_KERNEL) {
        o->ssi_ptr = (uint64_t)(uintptr_t)si->si_value.sival_ptr;
        o->ssi_int = si->si_value.sival_int;
    }
}

static bool take(struct signalfd *s, struct task *t, siginfo_t *si)
{
    return signal_dequeue(t, READ_SHARED(s->mask), si) > 0;
}

static long signalfd_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct signalfd *s = f->data;
    struct task *t = task_current();
    struct signalfd_siginfo out;
    siginfo_t si;
    long total = 0;
    if (u->resid < sizeof(out))
        return -EINVAL;
    while (u->resid >= sizeof(out)) {
        if (!take(s, t, &si)) {
            if (total)
                break;
            if (READ_SHARED(f->flags) & O_NONBLOCK)
                return -EAGAIN;
            if (wait_event(&t->group->sig_wait, take(s, t, &si), KTIME_MAX, PARK_INTERRUPTIBLE))
                return -ERESTARTSYS;
        }
        fill(&out, &si);
        if (uio_copy_to(u, &out, sizeof(out)) != sizeof(out))
            return total ? total : -EFAULT;
        total += (long)sizeof(out);
    }
    return total;
}

// False: no memory to remember the group, so its queue must not be used.
static bool keep_group(struct signalfd *s, struct thread_group *g)
{
    struct polled_group *n = slab_alloc(&polled_slab);
    if (!n)
        return false;
    spin_lock(&s->lock);
    struct polled_group *p = s->groups;
    while (p && p->group != g)
        p = p->next;
    if (!p) {
        n->group = group_get(g);
        n->next = s->groups;
        s->groups = n;
        n = nullptr;
    }
    spin_unlock(&s->lock);
    if (n)
        slab_free(&polled_slab, n);
    return true;
}

static uint32_t signalfd_poll(struct file *f, struct poll_table *pt)
{
    struct signalfd *s = f->data;
    struct task *t = task_current();
    if (pt && pt->wait && keep_group(s, t->group))
        poll_wait(pt, &t->group->sig_wait);
    return signal_pending_set(t) & READ_SHARED(s->mask) ? POLLIN | POLLRDNORM : 0;
}

static void signalfd_release(struct file *f)
{
    struct signalfd *s = f->data;
    while (s->groups) {
        struct polled_group *p = s->groups;
        s->groups = p->next;
        group_put(p->group);
        slab_free(&polled_slab, p);
    }
    slab_free(&signalfd_slab, s);
}

static void signalfd_fdinfo(struct file *f, struct strbuf *out)
{
    struct signalfd *s = f->data;
    strbuf_fmt(out, "sigmask:\t%016lx\n", READ_SHARED(s->mask));
}

static const struct file_ops signalfd_fops = {
    .read = signalfd_read,
    .poll = signalfd_poll,
    .release = signalfd_release,
    .fdinfo = signalfd_fdinfo,
    .llseek = file_noop_llseek,
    .stream = true,
    .nowait = true,
};

static ksigset_t usable(ksigset_t mask)
{
    return mask & ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
}

int signalfd_set(struct file *f, ksigset_t mask)
{
    if (f->ops != &signalfd_fops)
        return -EINVAL;
    struct signalfd *s = f->data;
    WRITE_SHARED(s->mask, usable(mask));
    waitq_wake_all(&task_current()->group->sig_wait, ~0u);
    return 0;
}

int signalfd_new(ksigset_t mask, int flags, const struct cred *c, struct file **out)
{
    struct signalfd *s = slab_alloc(&signalfd_slab);
    if (!s)
        return -ENOMEM;
    spin_init(&s->lock);
    s->mask = usable(mask);
    int err = file_new_anon(&signalfd_fops, "anon_inode:[signalfd]", O_RDWR | (flags & SFD_NONBLOCK),
                            s, c, out);
    if (err)
        slab_free(&signalfd_slab, s);
    return err;
}
