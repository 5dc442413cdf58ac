// SPDX-License-Identifier: Apache-2.0
// pipe(2), pipe2(2).
#include "fs/pipe.h"
#include "abi/errno.h"
#include "sys/protos.h"
#include <fcntl.h>

long sys_pipe2(struct task *t, uaddr_t fds, uint32_t flags)
{
    struct file *r, *w;
    int fd[2];
    if (flags & ~(uint32_t)(O_CLOEXEC | O_NONBLOCK | O_DIRECT))
        return -EINVAL;
    int err = pipe_create((int)flags, t->cred, &r, &w);
    if (err)
        return err;
    bool cloexec = flags & O_CLOEXEC;
    uint64_t limit = task_rlimit(t, RLIMIT_NOFILE);
    fd[0] = fd_install(t->files, r, 0, cloexec, limit);
    if (fd[0] < 0) {
        file_put(r);
        file_put(w);
        return fd[0];
    }
    fd[1] = fd_install(t->files, w, 0, cloexec, limit);
    if (fd[1] < 0) {
        file_put(w);
        fd_close(t->files, fd[0], t->files);
        return fd[1];
    }
    if (copy_out(t->mm, fds, fd, sizeof(fd))) {
        fd_close(t->files, fd[0], t->files);
        fd_close(t->files, fd[1], t->files);
        return -EFAULT;
    }
    return 0;
}

long sys_pipe(struct task *t, uaddr_t fds)
{
    return sys_pipe2(t, fds, 0);
}
