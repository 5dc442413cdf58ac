// SPDX-License-Identifier: Apache-2.0
// inotify(7): instances, watches, events. fsnotify() and its relatives are declared in file.h and
// special.h; the system calls are in sys/inotify.c.
#pragma once
#include "vfs/file.h"

MUST_CHECK int inotify_new(int flags, const struct cred *c, struct file **out);
// Adds or changes a watch; the descriptor, or -errno. The caller has checked read permission.
MUST_CHECK int inotify_add(struct file *f, const struct path *p, uint32_t mask);
MUST_CHECK int inotify_remove(struct file *f, int wd);
extern uint32_t inotify_max_queued_events, inotify_max_user_instances, inotify_max_user_watches;
