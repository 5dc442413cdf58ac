// SPDX-License-Identifier: Apache-2.0
// eventfd(2).
#pragma once
#include "vfs/file.h"

// flags: EFD_*, already checked.
MUST_CHECK int eventfd_new(uint32_t initval, int flags, const struct cred *c, struct file **out);
// Adds n (saturating) and wakes: for signalling from inside the kernel. False: f is no eventfd.
bool eventfd_signal(struct file *f, uint64_t n);
