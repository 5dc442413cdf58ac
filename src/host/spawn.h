// SPDX-License-Identifier: Apache-2.0
// Processes in namespaces of their own. Used by the command line only, single-threaded.
#pragma once
#include "base/attr.h"
#include <sys/types.h>

// As fork(), the child in the new namespaces of `flags` (CLONE_NEW*; all of them at once, also
// CLONE_NEWTIME with offset 0). Child: 0. Parent: pid, and *pidfd (close-on-exec). Or -errno.
MUST_CHECK pid_t spawn_clone(uint64_t flags, int *pidfd);
// The same, the child in the cgroup (v2) of that directory from its first instruction; -1: in ours.
MUST_CHECK pid_t spawn_clone_into(uint64_t flags, int cgroup, int *pidfd);
// Maps user id 0 of pid's user namespace to host uid, group id 0 to host gid, one id each. Without
// privilege (uid, gid are the caller's own) setgroups has to be forbidden: deny_setgroups.
MUST_CHECK int spawn_map_ids(pid_t pid, uid_t uid, gid_t gid, bool deny_setgroups);
// With privilege: whole maps, n ranges each of three numbers (inside, outside, count).
MUST_CHECK int spawn_map_ranges(pid_t pid, const uint32_t (*uids)[3], size_t nuids,
                                const uint32_t (*gids)[3], size_t ngids);
// Runs the binary behind exefd with these arguments and an empty environment. -errno if it fails.
int spawn_exec(int exefd, const char *const *argv);
