// SPDX-License-Identifier: Apache-2.0
// AF_UNIX datagram sockets.
#include "gt.h"
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static short revents(int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT, 0};
    GT_OK(poll(&p, 1, 0));
    return p.revents;
}
static socklen_t name(struct sockaddr_un *a, const char *s)
{
    memset(a, 0, sizeof(*a));
    a->sun_family = AF_UNIX;
    snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "%s.%d", s, getpid());
    return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(a->sun_path + 1);
}
static int dgram(const char *n, struct sockaddr_un *a, socklen_t *len)
{
    int s = (int)GT_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    if (n) {
        *len = name(a, n);
        GT_OK(bind(s, (void *)a, *len));
    }
    return s;
}

GT(boundaries_and_truncation)
{
    int s[2];
    char b[8];
    GT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    GT_EQ(write(s[0], "one", 3), 3);
    GT_EQ(write(s[0], "", 0), 0);
    GT_EQ(write(s[0], "twotwo", 6), 6);
    GT_EQ(recv(s[1], b, 8, MSG_PEEK), 3);
    GT_EQ(read(s[1], b, 8), 3);
    // write(fd, "", 0) sends an empty datagram on sockets.
    int n;
    GT_OK(ioctl(s[1], FIONREAD, &n));
    GT_EQ(recv(s[1], b, 8, 0), 0);
    struct iovec v = {b, 2};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    GT_EQ(recvmsg(s[1], &m, 0), 2);
    GT_EQ(m.msg_flags, MSG_TRUNC);
    GT_EQ(write(s[0], "four", 4), 4);
    GT_EQ(recv(s[1], b, 1, MSG_TRUNC), 4);
}

GT(addresses)
{
    struct sockaddr_un a, b, from;
    socklen_t la, lb, lf = sizeof(from);
    int x = dgram("x", &a, &la), y = dgram("y", &b, &lb), z = dgram(0, 0, 0);
    char buf[8];
    GT_EQ(sendto(y, "hi", 2, 0, (void *)&a, la), 2);
    GT_EQ(recvfrom(x, buf, 8, 0, (void *)&from, &lf), 2);
    GT_EQ(lf, lb);
    GT_EQ(memcmp(&from, &b, lb), 0);
    GT_EQ(sendto(z, "anon", 4, 0, (void *)&a, la), 4);
    lf = sizeof(from);
    GT_EQ(recvfrom(x, buf, 8, 0, (void *)&from, &lf), 4);
    GT_EQ(lf, 0);
    GT_ERR(send(z, "x", 1, 0), ENOTCONN);
    GT_OK(connect(z, (void *)&a, la));
    GT_EQ(send(z, "c", 1, 0), 1);
    GT_EQ(read(x, buf, 8), 1);
    GT_ERR(listen(x, 1), EOPNOTSUPP);
    GT_ERR(accept(x, 0, 0), EOPNOTSUPP);
}

GT(connected_takes_from_peer_only)
{
    struct sockaddr_un a, b;
    socklen_t la, lb;
    int x = dgram("cx", &a, &la), y = dgram("cy", &b, &lb), z = dgram(0, 0, 0);
    GT_OK(connect(x, (void *)&b, lb));
    GT_ERR(sendto(z, "q", 1, 0, (void *)&a, la), EPERM);
    GT_ERR(connect(z, (void *)&a, la), EPERM);
    GT_EQ(sendto(y, "q", 1, 0, (void *)&a, la), 1);
    struct sockaddr un = {.sa_family = AF_UNSPEC};
    GT_OK(connect(x, &un, sizeof(un)));
    GT_EQ(sendto(z, "q", 1, 0, (void *)&a, la), 1);
}

GT(peer_gone)
{
    struct sockaddr_un a;
    socklen_t la;
    int x = dgram("pg", &a, &la), z = dgram(0, 0, 0);
    GT_OK(connect(z, (void *)&a, la));
    close(x);
    GT_ERR(send(z, "q", 1, 0), ECONNREFUSED);
    GT_ERR(send(z, "q", 1, 0), ENOTCONN);
    GT_ERR(sendto(z, "q", 1, 0, (void *)&a, la), ECONNREFUSED);
}

GT(too_big)
{
    int s[2], v = 4096;
    GT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    GT_OK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof(v)));
    char *b = calloc(1, 20000);
    GT_ERR(send(s[0], b, 20000, 0), EMSGSIZE);
    GT_EQ(send(s[0], b, 4000, 0), 4000);
}

GT(full_queue)
{
    struct sockaddr_un a;
    socklen_t la;
    int x = dgram("fq", &a, &la), z = dgram(0, 0, 0), n = 0;
    char b[8];
    GT_OK(connect(z, (void *)&a, la));
    while (send(z, "x", 1, MSG_DONTWAIT) == 1)
        n++;
    GT_EQ(errno, EAGAIN);
    GT_TRUE(n >= 10);
    GT_EQ(revents(z), 0);
    pid_t c = fork();
    if (!c) {
        usleep(30000);
        while (n--)
            read(x, b, 8);
        _exit(0);
    }
    struct pollfd p = {z, POLLOUT};
    GT_EQ(poll(&p, 1, 3000), 1);
    GT_EQ(send(z, "y", 1, 0), 1);
    GT_EQ(waitpid(c, 0, 0), c);
}

GT(shutdown)
{
    int s[2];
    char b[4];
    GT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    GT_OK(shutdown(s[0], SHUT_RD));
    GT_EQ(read(s[0], b, 4), 0);
    GT_ERR(recv(s[0], b, 4, MSG_DONTWAIT), EAGAIN);
    GT_ERR(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
    GT_OK(shutdown(s[0], SHUT_WR));
    GT_ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
}

GT(many_messages)
{
    int s[2];
    GT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    struct mmsghdr m[4] = {0};
    struct iovec v[4];
    char b[4][4] = {"a", "bb", "ccc", "d"};
    for (int i = 0; i < 4; i++) {
        v[i] = (struct iovec){b[i], strlen(b[i])};
        m[i].msg_hdr.msg_iov = &v[i];
        m[i].msg_hdr.msg_iovlen = 1;
    }
    GT_EQ(sendmmsg(s[0], m, 4, 0), 4);
    GT_EQ(m[2].msg_len, 3);
    for (int i = 0; i < 4; i++)
        v[i].iov_len = 4;
    GT_EQ(recvmmsg(s[1], m, 2, 0, 0), 2);
    GT_EQ(m[1].msg_len, 2);
    GT_EQ(recvmmsg(s[1], m, 4, MSG_WAITFORONE, 0), 2);
    GT_EQ(m[0].msg_len, 3);
    GT_ERR(recvmmsg(s[1], m, 4, MSG_DONTWAIT, 0), EAGAIN);
}

GT(empty_read_takes_nothing)
{
    int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    for (int i = 0; i < 2; i++) {
        int s[2];
        char b[8];
        struct iovec v = {b, 0};
        GT_OK(socketpair(AF_UNIX, types[i], 0, s));
        GT_EQ(read(s[1], b, 0), 0); // does not wait either
        GT_EQ(send(s[0], "ab", 2, 0), 2);
        GT_EQ(read(s[1], b, 0), 0);
        GT_EQ(readv(s[1], &v, 1), 0);
        GT_EQ(recv(s[1], b, sizeof(b), 0), 2);
        GT_EQ(send(s[0], "ab", 2, 0), 2);
        GT_EQ(recv(s[1], b, 0, 0), 0); // recv does take it
        GT_ERR(recv(s[1], b, 0, MSG_DONTWAIT), EAGAIN);
    }
}

GT_MAIN
