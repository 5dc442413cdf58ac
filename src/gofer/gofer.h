// SPDX-License-Identifier: Apache-2.0
// The Gofer: serves a container's host files to its Sentry over 9P2000.L (with our extensions, when
// asked for) on one socket. It believes nobody: the peer's frames are hostile, the host's files may
// change under it at any time. Called by cmd/gofer.c after namespaces, mounts and the seccomp
// filter (rows in gofer/hostcalls.def) are in place, with umask 0.
#pragma once
#include "base/attr.h"

struct gofer_root { // aname is its index in decimal: "0", "1", ...
    int fd;         // O_PATH: a directory, or a single file
    // For a single file, how to open it: `name` in the directory `parent` (O_PATH). A bind source
    // that is a file is mounted over an empty file of the Gofer's own tmpfs. Unused (-1, null) for
    // directories.
    int parent;
    const char *name;
    bool readonly;
    bool donate;    // hand descriptors of regular files to the Sentry
    bool host_suid; // --host-suid: setuid and setgid bits are stored as asked (needs a wider filter)
};
// Serves until the peer is gone (0) or breaks the protocol (-errno). sockfd: a blocking
// SOCK_SEQPACKET (one frame per record) or SOCK_STREAM socket.
int gofer_main(int sockfd, const struct gofer_root *roots, size_t n);
