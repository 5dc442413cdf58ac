// SPDX-License-Identifier: Apache-2.0
// Messages with descriptors over UNIX sockets. Raw host calls: usable from fibers. What arrives is
// believed by nobody: descriptors come close-on-exec, never more than asked for, and a message
// whose control data was cut off is refused with everything that it carried closed.
#pragma once
#include "base/attr.h"

constexpr int FD_PASS_MAX = 253; // Linux takes no more
// Bytes sent or -errno. flags: MSG_DONTWAIT; MSG_NOSIGNAL is always on.
MUST_CHECK long fd_send(int sock, const void *buf, size_t n, const int *fds, int nfds, int flags);
// Bytes received (0: end), or -errno. *nfds: in, room in fds (<= FD_PASS_MAX); out, received.
// -EMSGSIZE: message or control data did not fit. flags: MSG_DONTWAIT, MSG_PEEK is not allowed.
MUST_CHECK long fd_recv(int sock, void *buf, size_t n, int *fds, int *nfds, int flags);
