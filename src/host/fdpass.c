// SPDX-License-Identifier: Apache-2.0
// SCM_RIGHTS, see fdpass.h.
#include "host/fdpass.h"
#include "host/raw.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

// Most messages carry few or none; the large buffer is for those that do.
constexpr int FEW = 16;
union few {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(FEW * sizeof(int))];
};
union many {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(FD_PASS_MAX * sizeof(int))];
};

static long send_with(char *control, int sock, const void *buf, size_t n, const int *fds, int nfds,
                      int flags)
{
    struct iovec iov = {.iov_base = (void *)buf, .iov_len = n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (nfds > 0) {
        size_t len = (size_t)nfds * sizeof(int);
        m.msg_control = control;
        m.msg_controllen = CMSG_SPACE(len);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(len);
        memcpy(CMSG_DATA(h), fds, len);
    }
    return host_call(__NR_sendmsg, sock, &m, flags | MSG_NOSIGNAL);
}
[[gnu::noinline]] static long send_many(int sock, const void *buf, size_t n, const int *fds, int nfds,
                                        int flags)
{
    union many c = {};
    return send_with(c.bytes, sock, buf, n, fds, nfds, flags);
}
long fd_send(int sock, const void *buf, size_t n, const int *fds, int nfds, int flags)
{
    union few c = {};
    if (nfds < 0 || nfds > FD_PASS_MAX)
        return -EINVAL;
    return nfds > FEW ? send_many(sock, buf, n, fds, nfds, flags)
                      : send_with(c.bytes, sock, buf, n, fds, nfds, flags);
}

static long recv_with(char *control, int sock, void *buf, size_t n, int *fds, int *nfds, int flags)
{
    struct iovec iov = {.iov_base = buf, .iov_len = n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    int room = nfds ? *nfds : 0, got = 0;
    if (nfds)
        *nfds = 0;
    if (room > 0) {
        m.msg_control = control;
        m.msg_controllen = CMSG_SPACE((size_t)room * sizeof(int));
    }
    long r = host_call(__NR_recvmsg, sock, &m, flags | MSG_CMSG_CLOEXEC);
    if (r < 0)
        return r;
    bool bad = m.msg_flags & (MSG_CTRUNC | MSG_TRUNC);
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS || h->cmsg_len < CMSG_LEN(0))
            continue;
        size_t k = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < k; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
            // An even number of slots fits where an odd one was asked for: padding.
            if (got < room && !bad) {
                fds[got++] = fd;
            } else {
                host_call(__NR_close, fd);
                bad = true;
            }
        }
    }
    if (bad) {
        while (got > 0)
            host_call(__NR_close, fds[--got]);
        return -EMSGSIZE;
    }
    if (nfds)
        *nfds = got;
    return r;
}
[[gnu::noinline]] static long recv_many(int sock, void *buf, size_t n, int *fds, int *nfds, int flags)
{
    union many c = {};
    return recv_with(c.bytes, sock, buf, n, fds, nfds, flags);
}
long fd_recv(int sock, void *buf, size_t n, int *fds, int *nfds, int flags)
{
    union few c = {};
    int room = nfds ? *nfds : 0;
    if (room < 0 || room > FD_PASS_MAX)
        return -EINVAL;
    return room > FEW ? recv_many(sock, buf, n, fds, nfds, flags)
                      : recv_with(c.bytes, sock, buf, n, fds, nfds, flags);
}
