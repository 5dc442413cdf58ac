// SPDX-License-Identifier: Apache-2.0
// Guest files that are host descriptors of the container's creator: standard input and output, and
// the terminal. The open file description may be shared with programs outside the sandbox, so its
// O_NONBLOCK flag is never touched, and its position is the host's.
#pragma once
#include "fs/tty.h"

// Takes over hostfd on success. A fiber only (the first host poll registration may sleep). The
// inode belongs to c's user. Files for the same host terminal should be one file, installed at
// several descriptors.
MUST_CHECK int hostfile_new(int hostfd, const struct cred *c, struct file **out);
// Gives the terminal behind f a number and a name in this devpts. The number, or -errno.
MUST_CHECK int hostfile_tty_name(struct file *f, struct super *devpts, const struct cred *cred);
