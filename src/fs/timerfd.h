// SPDX-License-Identifier: Apache-2.0
// timerfd_create(2).
#pragma once
#include "vfs/file.h"
#include <time.h>

MUST_CHECK int timerfd_new(int clock, int flags, const struct cred *c, struct file **out);
// flags: TFD_TIMER_*; new is valid. *old is filled. -EINVAL: f is no timerfd.
MUST_CHECK int timerfd_set(struct file *f, int flags, const struct itimerspec *new_value,
                           struct itimerspec *old);
MUST_CHECK int timerfd_get(struct file *f, struct itimerspec *cur);
