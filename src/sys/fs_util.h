// SPDX-License-Identifier: Apache-2.0
// What the file system calls share: user paths, descriptors, user I/O vectors.
#pragma once
#include "abi/errno.h"
#include "base/slab.h"
#include "sys/protos.h"
#include <fcntl.h>
#include <limits.h>

constexpr size_t RW_MAX = 0x7ffff000; // MAX_RW_COUNT: what one call moves at most

// A path argument, copied in once. `p` is null on error. Freed by the CLEANUP attribute:
//     USER_PATH(name, t, addr);   if (name.err) return name.err;
struct user_path {
    char *p;
    int err;
};
struct user_path user_path_get(struct task *t, uaddr_t addr);
static inline void user_path_free(struct user_path *u)
{
    mem_free(u->p);
}
#define USER_PATH(var, t, addr) \
    struct user_path var CLEANUP(user_path_free) = user_path_get((t), (addr))

static inline void file_put_cleanup(struct file **f)
{
    if (*f)
        file_put(*f);
}
// A descriptor's file for the rest of the scope; null: EBADF.
#define FD_FILE(var, t, fd) struct file *var CLEANUP(file_put_cleanup) = fd_get((t)->files, (fd))
#define FD_FILE_ANY(var, t, fd) \
    struct file *var CLEANUP(file_put_cleanup) = fd_get_any((t)->files, (fd))

static inline void path_put_cleanup(struct path *p)
{
    path_put(*p);
}
#define PATH_VAR(var) struct path var CLEANUP(path_put_cleanup) = {}

// A pread has gone the slow way, up to `end`: its stub may do the next ones (fs_attr.c).
void fd_was_read(struct task *t, int fd, struct file *f, uint64_t end, bool by_pos);

// An iovec array from the guest, as a uio over its memory; total capped at RW_MAX, addresses
// checked by the copies. Freed with user_iov_free.
constexpr size_t IOV_FAST = 8;
struct user_iov {
    struct uiovec fast[IOV_FAST];
    struct uiovec *v; // fast or owned
    struct uio uio;
};
MUST_CHECK int user_iov_get(struct task *t, struct user_iov *u, uaddr_t iov, uint64_t n);
void user_iov_free(struct user_iov *u);

// The dirfd-relative path for calls that take AT_EMPTY_PATH and AT_SYMLINK_NOFOLLOW.
MUST_CHECK int user_path_lookup(struct task *t, int dirfd, uaddr_t name, unsigned flags,
                                struct path *out);
