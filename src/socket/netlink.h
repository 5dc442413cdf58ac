// SPDX-License-Identifier: Apache-2.0
// The netlink request parser, apart from its sockets so that it can be fuzzed.
#pragma once
#include "socket/socket.h"

// Takes a datagram of requests apart (hostile bytes) and calls answer() with each reply datagram
// for `port`. The first error of answer() ends it.
int netlink_requests(int protocol, const uint8_t *p, size_t n, uint32_t port, const struct cred *c,
                     int (*answer)(void *arg, const void *p, size_t n), void *arg);
