// SPDX-License-Identifier: Apache-2.0
// The container's mounts, as the Sentry's first fiber builds them: the overlay over the Gofer's
// root, the file systems of the configuration, masked and read-only paths, sysctls.
#pragma once
#include "cmd/launch.h"
#include "vfs/file.h"

struct boot_fs {
    struct fs_context *fs; // ref
    struct ipcns *ipc;     // borrowed: whose message queues are mounted
    struct cred *cred;     // ref: root with all capabilities, for the building only
    struct err err;        // why something did not work
};
// All of it, from the Gofer at the other end of the socket ninep, which is taken over. -errno, with
// the reason in err.
MUST_CHECK int boot_fs_build(const struct boot_config *c, int ninep, struct boot_fs *out);
void boot_fs_free(struct boot_fs *b);
// After everything else: checks the working directory; the root becomes read-only if the
// configuration says so.
MUST_CHECK int boot_fs_finish(const struct boot_config *c, struct boot_fs *b);
// The container's terminal becomes /dev/console, too.
void boot_fs_console(const struct boot_fs *b, const char *pts);
// Ids of process.user ("name" or "name:group"), and HOME of a user id; from the container's own
// /etc/passwd and /etc/group.
MUST_CHECK int boot_resolve_user(struct spec_process *p, const struct boot_fs *b, struct err *e);
