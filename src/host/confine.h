// SPDX-License-Identifier: Apache-2.0
// The steps by which a process of ours gives up what it does not need: descriptors, root directory,
// capabilities, limits. Called once at the start of Sentry, Gofer and supervisor, single-threaded,
// before anything untrusted is read. Every failure is fatal for the caller: nothing here is optional.
#pragma once
#include "base/attr.h"

// Child of a spawn, before exec: descriptor fds[i] becomes 3 + i (-1: stays closed), 0-2 become
// /dev/null, everything else closes at exec. 0 or -errno.
MUST_CHECK int confine_place_fds(const int *fds, int n);
// After exec: descriptors 0 .. n-1 are as `want` says (bit set: open), none above is open. 0 or
// -EBADF; whatever is above gets closed in any case.
MUST_CHECK int confine_check_fds(uint64_t want, int n);

// Capabilities are bit masks of CAP_*. Sets bounding, permitted and effective to `keep`, clears the
// others, and locks securebits so that user id 0 means nothing. The user id must be final already.
MUST_CHECK int confine_caps(uint64_t keep);
MUST_CHECK int confine_no_new_privs(void);
// SIGKILL when the parent dies; after the last change of ids (which would clear it).
MUST_CHECK int confine_die_with_parent(void);
MUST_CHECK int confine_not_dumpable(void);
// Core files off (1, not 0: piped core handlers ignore 0), open files as given (0: hard limit).
MUST_CHECK int confine_rlimits(uint64_t nofile);

// Makes every mount private, puts an empty read-only tmpfs in place of the root and drops the old
// one; the working directory is "/".
MUST_CHECK int confine_empty_root(void);
// The parts of it. A read-only tmpfs with nothing in it, attached nowhere.
MUST_CHECK int confine_empty_mount(int *dirfd);
MUST_CHECK int confine_private_mounts(void);
// Mounts the detached mount `dirfd` over the root; names still resolve in the old tree.
MUST_CHECK int confine_attach_root(int dirfd);
// Makes it the root and drops the old tree; working directory "/".
MUST_CHECK int confine_pivot(int dirfd, bool readonly);
// The Sentry's private tmpfs is behind this descriptor: its filter lets it open files nowhere else.
constexpr int CONFINE_TMPFS_FD = 13;
// A mount of its own attached nowhere: 0700, nosuid, nodev, at most `size` bytes. The directory.
MUST_CHECK int confine_private_tmpfs(uint64_t size, int *dirfd);
