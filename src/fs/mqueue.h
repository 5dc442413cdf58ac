// SPDX-License-Identifier: Apache-2.0
// POSIX message queues (mq_overview(7)): the file system and what the system calls need of it.
#pragma once
#include "task/task.h"
#include <mqueue.h>

// The file system of an IPC namespace, for a mount: a reference.
MUST_CHECK int mqueue_super(struct ipcns *ns, struct super **out);
// mq_open(2): name without a slash. attr null: defaults. flags: O_*.
MUST_CHECK int mqueue_open(struct task *t, const char *name, int flags, uint32_t mode,
                           const struct mq_attr *attr, struct file **out);
MUST_CHECK int mqueue_unlink(struct task *t, const char *name);
bool mqueue_is(const struct file *f);
// Deadline on CLOCK_REALTIME in ns; INT64_MAX none. buf is kernel memory.
int mqueue_send(struct file *f, const void *buf, size_t n, unsigned prio, int64_t until);
long mqueue_receive(struct file *f, void *buf, size_t n, unsigned *prio, int64_t until);
void mqueue_attr(struct file *f, struct mq_attr *a);
size_t mqueue_msgsize(struct file *f);
// mq_notify(2): sev null removes. SIGEV_NONE and SIGEV_SIGNAL.
int mqueue_notify(struct file *f, struct task *t, const struct sigevent *sev);
