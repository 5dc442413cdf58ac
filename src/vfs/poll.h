// SPDX-License-Identifier: Apache-2.0
// Waiting for readiness of a set of files: the core of poll(2) and select(2).
#pragma once
#include "vfs/file.h"

struct poll_entry {
    struct file *file; // ref held by the caller; null: skipped
    uint32_t events;   // asked for (poll(2) adds POLLERR and POLLHUP itself)
    uint32_t revents;  // answer, within events
};
// Number of entries with revents, 0 at the deadline, -EINTR, -ENOMEM. A deadline of 0 only looks.
MUST_CHECK long poll_files(struct poll_entry *e, size_t n, ktime_t deadline);
