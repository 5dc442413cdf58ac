// SPDX-License-Identifier: Apache-2.0
// tmpfs, as far as others call it.
#pragma once
struct cred;
struct file;

// memfd_create: a file named "/memfd:NAME" on an internal tmpfs mount, open O_RDWR. flags: MFD_*
// (checked by the caller; MFD_CLOEXEC is the caller's business). Does not count as a writer of its
// inode, so that it can be executed. Seals through fcntl(F_ADD_SEALS, F_GET_SEALS).
[[nodiscard]] int memfd_file_new(const char *name, unsigned flags, const struct cred *c,
                                 struct file **out);
