// SPDX-License-Identifier: Apache-2.0
// AF_NETLINK route dumps: what getifaddrs(3) needs.
#include "gt.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

GT(getifaddrs)
{
    struct ifaddrs *l;
    int lo4 = 0;
    GT_OK(getifaddrs(&l));
    for (struct ifaddrs *i = l; i; i = i->ifa_next) {
        if (strcmp(i->ifa_name, "lo") || !i->ifa_addr)
            continue;
        GT_TRUE(i->ifa_flags & IFF_LOOPBACK);
        if (i->ifa_addr->sa_family == AF_INET)
            lo4 += ((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr == htonl(0x7f000001);
    }
    freeifaddrs(l);
    GT_EQ(lo4, 1);
}

static int nl(void)
{
    return (int)GT_OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
}

GT(ack_and_errors)
{
    int s = nl();
    struct {
        struct nlmsghdr h;
        struct rtgenmsg g;
    } q = {{NLMSG_LENGTH(sizeof(q.g)), 0x7f2, NLM_F_REQUEST | NLM_F_ACK, 7, 0}, {AF_UNSPEC}};
    char b[8192];
    GT_EQ(send(s, &q, q.h.nlmsg_len, 0), q.h.nlmsg_len);
    long n = GT_OK(recv(s, b, sizeof(b), 0));
    struct nlmsghdr *h = (void *)b;
    GT_TRUE(n >= NLMSG_LENGTH(sizeof(struct nlmsgerr)));
    GT_EQ(h->nlmsg_type, NLMSG_ERROR);
    GT_EQ(h->nlmsg_seq, 7);
    GT_EQ(((struct nlmsgerr *)NLMSG_DATA(h))->error, -EOPNOTSUPP);
    GT_ERR(recv(s, b, sizeof(b), MSG_DONTWAIT), EAGAIN);
    GT_ERR(accept(s, 0, 0), EOPNOTSUPP);
    GT_ERR(socket(AF_NETLINK, SOCK_STREAM, 0), ESOCKTNOSUPPORT);
    GT_ERR(socket(AF_NETLINK, SOCK_RAW, 200), EPROTONOSUPPORT);
}

GT(names)
{
    int s = nl(), t = nl();
    struct sockaddr_nl a = {.nl_family = AF_NETLINK}, o;
    socklen_t n = sizeof(o);
    GT_OK(bind(s, (void *)&a, sizeof(a)));
    GT_OK(getsockname(s, (void *)&o, &n));
    GT_EQ(o.nl_pid, getpid());
    GT_OK(bind(t, (void *)&a, sizeof(a)));
    n = sizeof(o);
    GT_OK(getsockname(t, (void *)&o, &n));
    GT_TRUE(o.nl_pid != getpid() && o.nl_pid);
    a.nl_pid = getpid();
    int u = nl();
    GT_ERR(bind(u, (void *)&a, sizeof(a)), EADDRINUSE);
    GT_ERR(bind(u, (void *)&a, 3), EINVAL);
}

GT(dump_in_pieces)
{
    int s = nl(), done = 0, links = 0;
    struct {
        struct nlmsghdr h;
        struct ifinfomsg i;
    } q = {{NLMSG_LENGTH(sizeof(q.i)), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 9, 0}, {AF_UNSPEC}};
    struct sockaddr_nl from;
    socklen_t fl = sizeof(from);
    char b[32768];
    GT_EQ(send(s, &q, q.h.nlmsg_len, 0), q.h.nlmsg_len);
    GT_TRUE(recv(s, b, 1, MSG_PEEK | MSG_TRUNC) > 100);
    while (!done) {
        long n = GT_OK(recvfrom(s, b, sizeof(b), 0, (void *)&from, &fl));
        GT_EQ(from.nl_pid, 0);
        for (struct nlmsghdr *h = (void *)b; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
            GT_EQ(h->nlmsg_seq, 9);
            done |= h->nlmsg_type == NLMSG_DONE;
            links += h->nlmsg_type == RTM_NEWLINK;
        }
    }
    GT_TRUE(links >= 1);
}

GT_MAIN
