// SPDX-License-Identifier: Apache-2.0
// The container's mounts, as the Sentry's first fiber builds them: the overlay over the Gofer's
// root, the file systems of the configuration, masked and read-only paths, sysctls.
#pragma once
#include "cmd/launch.h"
#include "vfs/file.h"

struct boot_fs {
    struct fs_context *fs; // ref
    struct cred *cred;     // ref: root with all capabilities, for the building only
};
// All of it; errors are reported by boot_fail() and do not come back.
void boot_fs_build(const struct boot_config *c, struct boot_fs *out);
// After everything else: checks the working directory; the root becomes read-only if the
// configuration says so.
void boot_fs_finish(const struct boot_config *c, struct boot_fs *b);
// Ids of process.user ("name" or "name:group"), and HOME of a user id; from the container's own
// /etc/passwd and /etc/group.
void boot_resolve_user(struct spec_process *p, const struct boot_fs *b);
