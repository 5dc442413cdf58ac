// SPDX-License-Identifier: Apache-2.0
// SCM_RIGHTS and SCM_CREDENTIALS.
#include "gt.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int send_fds(int s, const int *fds, int n, const char *data, int len)
{
    char ctl[CMSG_SPACE(300 * sizeof(int))] = {0};
    struct iovec v = {(void *)data, len};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    return sendmsg(s, &m, MSG_NOSIGNAL);
}
// Returns bytes; descriptors in fds, their number in *n, flags in *fl.
static int recv_fds(int s, int *fds, int *n, int room, char *data, int len, int flags, int *fl)
{
    char ctl[CMSG_SPACE(300 * sizeof(int))] = {0};
    struct iovec v = {data, len};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = room ? CMSG_SPACE(room * sizeof(int)) : 0};
    int r = recvmsg(s, &m, flags);
    *n = 0;
    if (fl)
        *fl = m.msg_flags;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); r >= 0 && c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_type == SCM_RIGHTS) {
            *n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(c), *n * sizeof(int));
        }
    }
    return r;
}

GT(pass_one)
{
    int s[2], p[2], fd, n, fl;
    char b[8];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_OK(pipe(p));
    GT_EQ(send_fds(s[0], &p[0], 1, "x", 1), 1);
    close(p[0]);
    GT_EQ(recv_fds(s[1], &fd, &n, 1, b, 8, MSG_CMSG_CLOEXEC, &fl), 1);
    GT_EQ(n, 1);
    GT_EQ(fl, MSG_CMSG_CLOEXEC);
    GT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    GT_EQ(write(p[1], "q", 1), 1);
    GT_EQ(read(fd, b, 8), 1);
}

GT(boundary_in_stream)
{
    int s[2], fd, n;
    char b[8];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    int z = 0;
    GT_EQ(write(s[0], "ab", 2), 2);
    GT_EQ(send_fds(s[0], &z, 1, "cd", 2), 2);
    GT_EQ(write(s[0], "ef", 2), 2);
    GT_EQ(recv_fds(s[1], &fd, &n, 1, b, 8, 0, 0), 4); // stops behind the message with descriptors
    GT_EQ(n, 1);
    GT_EQ(recv_fds(s[1], &fd, &n, 1, b, 8, 0, 0), 2);
    GT_EQ(n, 0);
}

GT(plain_read_drops)
{
    int s[2], p[2];
    char b[8];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_OK(pipe(p));
    GT_EQ(send_fds(s[0], &p[1], 1, "x", 1), 1);
    close(p[1]);
    GT_EQ(read(s[1], b, 8), 1);
    GT_EQ(read(p[0], b, 8), 0); // the write end is gone
}

GT(truncated)
{
    int s[2], fds[4], n, fl, z[3] = {0, 1, 2};
    char b[8];
    GT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    GT_EQ(send_fds(s[0], z, 3, "x", 1), 1);
    GT_EQ(recv_fds(s[1], fds, &n, 0, b, 8, 0, &fl), 1);
    GT_EQ(n, 0);
    GT_EQ(fl, MSG_CTRUNC);
    GT_EQ(send_fds(s[0], z, 3, "x", 1), 1);
    GT_EQ(recv_fds(s[1], fds, &n, 1, b, 8, 0, &fl), 1);
    GT_TRUE(n >= 1 && n < 3);
    GT_EQ(fl, MSG_CTRUNC);
}

GT(peek_duplicates)
{
    int s[2], p[2], a, b2, n;
    char b[8];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_OK(pipe(p));
    GT_EQ(send_fds(s[0], &p[1], 1, "x", 1), 1);
    GT_EQ(recv_fds(s[1], &a, &n, 1, b, 8, MSG_PEEK, 0), 1);
    GT_EQ(n, 1);
    GT_EQ(recv_fds(s[1], &b2, &n, 1, b, 8, 0, 0), 1);
    GT_EQ(n, 1);
    GT_EQ(write(a, "1", 1), 1);
    GT_EQ(write(b2, "2", 1), 1);
    GT_EQ(read(p[0], b, 8), 2);
}

GT(errors)
{
    int s[2], bad = 999, many[254];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_ERR(send_fds(s[0], &bad, 1, "x", 1), EBADF);
    for (int i = 0; i < 254; i++)
        many[i] = 0;
    GT_ERR(send_fds(s[0], many, 254, "x", 1), EINVAL);
    GT_EQ(send_fds(s[0], many, 253, "x", 1), 1);
}

GT(last_reference_in_flight)
{
    int s[2], p[2];
    char b[8];
    GT_OK(pipe(p));
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_EQ(send_fds(s[0], &p[1], 1, "x", 1), 1);
    close(p[1]);
    close(s[0]);
    close(s[1]); // drops the message and with it the pipe's writer
    GT_EQ(read(p[0], b, 8), 0);
}

GT(cycle_is_collected)
{
    int p[2];
    char b[8];
    GT_OK(pipe(p));
    int s[2], w[2] = {0, p[1]};
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    w[0] = s[1];
    GT_EQ(send_fds(s[0], w, 2, "x", 1), 1); // s[1] holds itself, and the pipe
    close(p[1]);
    close(s[0]);
    close(s[1]);
    for (int i = 0; i < 20; i++) { // collection is prompted by closing sockets
        int t[2];
        GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, t));
        close(t[0]);
        close(t[1]);
    }
    GT_EQ(read(p[0], b, 8), 0);
}

GT(cycle_of_two_with_listener)
{
    int p[2], a[2], c[2];
    char b[8];
    GT_OK(pipe(p));
    GT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, a));
    GT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, c));
    int x[2] = {c[1], p[1]}, y[1] = {a[1]};
    GT_EQ(send_fds(a[0], x, 2, "x", 1), 1); // a[1] holds c[1]
    GT_EQ(send_fds(c[0], y, 1, "x", 1), 1); // c[1] holds a[1]
    close(p[1]);
    close(a[1]);
    close(c[1]);
    // Still reachable? No: a[0] and c[0] are only the senders.
    close(a[0]);
    close(c[0]);
    GT_EQ(read(p[0], b, 8), 0);
}

GT(live_in_flight_survives)
{
    int a[2], c[2], fd, n;
    char b[8];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, a));
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, c));
    GT_EQ(send_fds(a[0], &c[0], 1, "x", 1), 1);
    GT_EQ(write(c[1], "kept", 4), 4);
    close(c[0]); // only in flight now, but a[1] can fetch it
    for (int i = 0; i < 5; i++) {
        int t[2];
        GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, t));
        close(t[0]);
        close(t[1]);
    }
    GT_EQ(recv_fds(a[1], &fd, &n, 1, b, 8, 0, 0), 1);
    GT_EQ(read(fd, b, 8), 4);
}

GT(deep_chain) // sockets within sockets: no recursion
{
    int prev = -1;
    for (int i = 0; i < 2000; i++) {
        int s[2];
        GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
        if (prev >= 0) {
            int r = send_fds(s[0], &prev, 1, "x", 1);
            close(prev);
            if (r < 0) {
                GT_EQ(errno, ETOOMANYREFS); // Linux limits the depth
                close(s[0]);
                close(s[1]);
                return;
            }
        }
        close(s[0]);
        prev = s[1];
    }
    close(prev);
}

static int get_cred(int s, struct ucred *uc)
{
    char ctl[100] = {0}, b;
    struct iovec v = {&b, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
    GT_EQ(recvmsg(s, &m, 0), 1);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (!c || c->cmsg_type != SCM_CREDENTIALS)
        return 0;
    memcpy(uc, CMSG_DATA(c), sizeof(*uc));
    return 1;
}

GT(credentials)
{
    int s[2], on = 1;
    struct ucred uc;
    GT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    GT_EQ(write(s[0], "x", 1), 1);
    GT_EQ(get_cred(s[1], &uc), 0);
    GT_OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
    GT_EQ(write(s[0], "x", 1), 1);
    GT_EQ(get_cred(s[1], &uc), 1);
    GT_EQ(uc.pid, getpid());
    GT_EQ(uc.uid, getuid());
    GT_EQ(uc.gid, getgid());
    pid_t c = fork();
    if (!c) {
        write(s[0], "y", 1);
        _exit(0);
    }
    GT_EQ(get_cred(s[1], &uc), 1);
    GT_EQ(uc.pid, c);
    waitpid(c, 0, 0);
}

GT(explicit_credentials)
{
    int s[2], on = 1;
    char ctl[CMSG_SPACE(sizeof(struct ucred))] = {0};
    struct ucred uc = {getpid(), getuid(), getgid()}, o;
    struct iovec v = {"x", 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_CREDENTIALS;
    c->cmsg_len = CMSG_LEN(sizeof(uc));
    memcpy(CMSG_DATA(c), &uc, sizeof(uc));
    GT_EQ(sendmsg(s[0], &m, 0), 1);
    GT_EQ(get_cred(s[1], &o), 1);
    GT_EQ(o.pid, getpid());
    if (setuid(1234) == 0) {
        uc.uid = 0;
        memcpy(CMSG_DATA(c), &uc, sizeof(uc));
        GT_ERR(sendmsg(s[0], &m, 0), EPERM);
        uc.uid = 1234;
        uc.pid = 1;
        memcpy(CMSG_DATA(c), &uc, sizeof(uc));
        if (getpid() != 1)
            GT_ERR(sendmsg(s[0], &m, 0), EPERM);
    }
}

static int shared[2];
static void *passer(void *arg)
{
    for (int i = 0; i < 500; i++) {
        int t[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, t))
            _exit(3);
        send_fds(t[0], &t[1], 1, "x", 1);
        send_fds(shared[0], &t[0], 1, "x", 1);
        close(t[0]);
        close(t[1]);
    }
    return 0;
}
static void *taker(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        int fd, n;
        char b[4];
        if (recv_fds(shared[1], &fd, &n, 1, b, 1, 0, 0) == 1 && n == 1)
            close(fd);
    }
    return 0;
}

GT(collector_races)
{
    pthread_t th[3];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, shared));
    pthread_create(&th[0], 0, passer, 0);
    pthread_create(&th[1], 0, passer, 0);
    pthread_create(&th[2], 0, taker, 0);
    for (int i = 0; i < 3; i++)
        pthread_join(th[i], 0);
}

GT_MAIN
