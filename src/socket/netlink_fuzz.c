// SPDX-License-Identifier: Apache-2.0
// Netlink requests, as a guest sends them.
#include "socket/netlink.h"
#include <linux/netlink.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

// Answers must be well-formed: what a parser in a guest relies on.
static int check(void *arg, const void *p, size_t n)
{
    const uint8_t *b = p;
    while (n) {
        struct nlmsghdr h;
        CHECK(n >= sizeof(h));
        memcpy(&h, b, sizeof(h));
        CHECK(h.nlmsg_len >= sizeof(h) && h.nlmsg_len <= n && h.nlmsg_len % 4 == 0);
        b += h.nlmsg_len;
        n -= h.nlmsg_len;
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct cred *c;
    if (!c)
        c = cred_new();
    netlink_requests(n & 1 ? NETLINK_ROUTE : NETLINK_KOBJECT_UEVENT, p, n, 1, c, check, nullptr);
    netlink_requests(NETLINK_ROUTE, p, n, 1, c, check, nullptr);
    return 0;
}
