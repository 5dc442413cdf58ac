// SPDX-License-Identifier: Apache-2.0
// pidfd files: a descriptor for a process (or, with PIDFD_THREAD, a thread) that never comes to mean
// another one. Readable once it has ended.
#include "abi/errno.h"
#include "task/internal.h"
#include <fcntl.h>

constexpr unsigned PIDFD_THREAD_FLAG = O_EXCL;

static uint32_t pidfd_poll(struct file *f, struct poll_table *pt)
{
    struct kpid *p = f->data;
    poll_wait(pt, &p->exit_wait);
    uint32_t r = __atomic_load_n(&p->exited, __ATOMIC_ACQUIRE) ? POLLIN | POLLRDNORM : 0;
    if (r && !READ_SHARED(p->users))
        r |= POLLHUP; // and has been waited for
    return r;
}

static void pidfd_release(struct file *f)
{
    kpid_put(f->data);
}

static void pidfd_fdinfo(struct file *f, struct strbuf *out)
{
    struct kpid *p = f->data;
    struct task *t = task_current();
    int nr = t ? kpid_nr_in(p, t->pidns) : 0;
    if (!READ_SHARED(p->users))
        nr = -1;
    strbuf_fmt(out, "Pid:\t%d\nNSpid:\t%d\n", nr, nr);
}

static const struct file_ops pidfd_ops = {
    .poll = pidfd_poll,
    .release = pidfd_release,
    .fdinfo = pidfd_fdinfo,
    .stream = true,
};

int pidfd_file_new(struct kpid *p, unsigned flags, struct file **out)
{
    struct task *t = task_current();
    int err = file_new_anon(&pidfd_ops, "anon_inode:[pidfd]",
                            O_RDWR | (int)(flags & (O_NONBLOCK | PIDFD_THREAD_FLAG)), kpid_get(p),
                            t->cred, out);
    if (err)
        kpid_put(p);
    return err;
}

int pidfd_kpid(struct file *f, struct kpid **out, unsigned *flags)
{
    if (f->ops != &pidfd_ops)
        return -EBADF;
    if (flags)
        *flags = READ_SHARED(f->flags);
    *out = kpid_get(f->data);
    return 0;
}
