// SPDX-License-Identifier: Apache-2.0
// signalfd(2).
#pragma once
#include "task/task.h"

MUST_CHECK int signalfd_new(ksigset_t mask, int flags, const struct cred *c, struct file **out);
// Changes the mask of an existing one. -EINVAL: f is no signalfd.
MUST_CHECK int signalfd_set(struct file *f, ksigset_t mask);
