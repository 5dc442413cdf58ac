// SPDX-License-Identifier: Apache-2.0
// AF_UNIX stream and seqpacket sockets: names, connections, data, shutdown, poll, options.
#include "gt.h"
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <linux/sockios.h>

static short revents(int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    GT_OK(poll(&p, 1, 0));
    return p.revents;
}
static socklen_t name(struct sockaddr_un *a, const char *s) // "@x": abstract
{
    memset(a, 0, sizeof(*a));
    a->sun_family = AF_UNIX;
    if (s[0] == '@') {
        snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "%s.%d", s + 1, getpid());
        return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(a->sun_path + 1);
    }
    const char *d = getenv("GT_DIR");
    snprintf(a->sun_path, sizeof(a->sun_path), "%s/%s.%d", d ? d : "/tmp", s, getpid());
    return sizeof(*a);
}
static int listener(const char *n, int type, struct sockaddr_un *a, socklen_t *len, int backlog)
{
    int s = (int)GT_OK(socket(AF_UNIX, type, 0));
    *len = name(a, n);
    GT_OK(bind(s, (void *)a, *len));
    GT_OK(listen(s, backlog));
    return s;
}
static int got;
static void on_sig(int s)
{
    got = s;
}

GT(pair)
{
    int s[2];
    char b[16];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s));
    GT_EQ(fcntl(s[0], F_GETFD), FD_CLOEXEC);
    GT_EQ(fcntl(s[0], F_GETFL), O_RDWR | O_NONBLOCK);
    GT_ERR(read(s[0], b, 1), EAGAIN);
    GT_EQ(write(s[0], "ab", 2), 2);
    GT_EQ(write(s[0], "cd", 2), 2);
    GT_EQ(read(s[1], b, 16), 4); // a stream has no boundaries
    GT_EQ(memcmp(b, "abcd", 4), 0);
    GT_EQ(write(s[1], "x", 1), 1);
    GT_EQ(read(s[0], b, 16), 1);
    struct stat st;
    GT_OK(fstat(s[0], &st));
    GT_TRUE(S_ISSOCK(st.st_mode));
    GT_ERR(lseek(s[0], 0, SEEK_CUR), ESPIPE);
    GT_EQ(read(s[0], b, 0), 0);
    GT_EQ(send(s[0], b, 0, 0), 0);
}

GT(errors)
{
    int s, sp[2];
    GT_ERR(socket(AF_UNIX, 77, 0), EINVAL);
    GT_ERR(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
    GT_ERR(socket(AF_UNIX, SOCK_STREAM, 5), EPROTONOSUPPORT);
    GT_ERR(socket(60, SOCK_STREAM, 0), EAFNOSUPPORT);
    s = (int)GT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    char b[4];
    GT_ERR(read(s, b, 4), EINVAL);
    GT_ERR(send(s, b, 4, MSG_NOSIGNAL), ENOTCONN);
    GT_ERR(listen(s, 5), EINVAL);
    GT_ERR(accept(s, 0, 0), EINVAL);
    struct sockaddr_un a;
    socklen_t len = name(&a, "@nobody");
    GT_ERR(connect(s, (void *)&a, len), ECONNREFUSED);
    len = name(&a, "nofile");
    GT_ERR(connect(s, (void *)&a, len), ENOENT);
    GT_ERR(connect(s, (void *)&a, 2), EINVAL);
    GT_ERR(connect(s, (void *)&a, 300), EINVAL);
    a.sun_family = AF_INET;
    GT_ERR(bind(s, (void *)&a, sizeof(a)), EINVAL);
    GT_ERR(getpeername(s, (void *)&a, &len), ENOTCONN);
    GT_ERR(accept(0, 0, 0), ENOTSOCK);
    GT_ERR(accept(999, 0, 0), EBADF);
    GT_EQ(revents(s), POLLOUT | POLLHUP);
    GT_ERR(shutdown(s, 3), EINVAL);
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sp));
    GT_ERR(connect(sp[0], (void *)&a, sizeof(a)), EINVAL);
    GT_ERR(sendto(sp[0], b, 1, 0, (void *)&a, sizeof(a)), EISCONN);
}

GT(names)
{
    struct sockaddr_un a, b;
    socklen_t len, blen = sizeof(b);
    int l = listener("sock", SOCK_STREAM, &a, &len, 5);
    struct stat st;
    GT_OK(stat(a.sun_path, &st));
    GT_TRUE(S_ISSOCK(st.st_mode));
    GT_ERR(open(a.sun_path, O_RDONLY), ENXIO);
    GT_OK(getsockname(l, (void *)&b, &blen));
    GT_EQ(blen, offsetof(struct sockaddr_un, sun_path) + strlen(a.sun_path) + 1);
    GT_STR(b.sun_path, a.sun_path);
    GT_ERR(bind(l, (void *)&a, len), EADDRINUSE);
    strcat(a.sun_path, "x");
    GT_ERR(bind(l, (void *)&a, len), EINVAL);
    GT_ERR(stat(a.sun_path, &st), ENOENT);
    a.sun_path[strlen(a.sun_path) - 1] = 0;
    int s = (int)GT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    GT_ERR(bind(s, (void *)&a, len), EADDRINUSE);
    GT_OK(connect(s, (void *)&a, len));
    blen = sizeof(b);
    int c = (int)GT_OK(accept(l, (void *)&b, &blen));
    GT_EQ(blen, 2); // the client has no name
    blen = sizeof(b);
    GT_OK(getsockname(c, (void *)&b, &blen));
    GT_STR(b.sun_path, a.sun_path);
    blen = sizeof(b);
    GT_OK(getpeername(s, (void *)&b, &blen));
    GT_STR(b.sun_path, a.sun_path);
    blen = 4; // cut, but the full length is told
    GT_OK(getpeername(s, (void *)&b, &blen));
    GT_TRUE(blen > 4);
    close(l);
    int t = (int)GT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    GT_ERR(connect(t, (void *)&a, len), ECONNREFUSED);
    unlink(a.sun_path);
    GT_ERR(connect(t, (void *)&a, len), ENOENT);
}

GT(abstract)
{
    struct sockaddr_un a, b;
    socklen_t len, blen = sizeof(b);
    int l = listener("@abs", SOCK_STREAM, &a, &len, 5);
    int s = (int)GT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), d = (int)GT_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    GT_ERR(bind(s, (void *)&a, len), EADDRINUSE);
    GT_ERR(connect(s, (void *)&a, len + 1), ECONNREFUSED); // the length is part of the name
    GT_OK(connect(s, (void *)&a, len));
    GT_ERR(connect(s, (void *)&a, len), EISCONN);
    int c = (int)GT_OK(accept4(l, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC));
    GT_EQ(fcntl(c, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    close(l);
    GT_OK(bind(d, (void *)&a, len)); // free again
    int auto_s = (int)GT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    a.sun_family = AF_UNIX;
    GT_OK(bind(auto_s, (void *)&a, sizeof(sa_family_t)));
    GT_OK(getsockname(auto_s, (void *)&b, &blen));
    GT_EQ(blen, 8);
    GT_EQ(b.sun_path[0], 0);
}

GT(type_mismatch)
{
    struct sockaddr_un a;
    socklen_t len;
    listener("tm", SOCK_STREAM, &a, &len, 1);
    int d = (int)GT_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    GT_ERR(connect(d, (void *)&a, len), EPROTOTYPE);
    unlink(a.sun_path);
}

GT(backlog)
{
    struct sockaddr_un a;
    socklen_t len;
    int l = listener("@bl", SOCK_STREAM, &a, &len, 1), n = 0, s;
    GT_EQ(revents(l), 0);
    for (;; n++) {
        s = (int)GT_OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
        if (connect(s, (void *)&a, len))
            break;
    }
    GT_EQ(errno, EAGAIN);
    GT_EQ(n, 2);
    GT_EQ(revents(l), POLLIN);
    GT_OK(accept(l, 0, 0));
    GT_OK(connect(s, (void *)&a, len));
    // Blocking connect waits for room.
    pid_t c = fork();
    if (!c) {
        int x = socket(AF_UNIX, SOCK_STREAM, 0);
        _exit(connect(x, (void *)&a, len) != 0);
    }
    usleep(30000);
    int st;
    GT_EQ(waitpid(c, &st, WNOHANG), 0);
    GT_OK(accept(l, 0, 0));
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
}

GT(close_with_pending)
{
    struct sockaddr_un a;
    socklen_t len;
    int l = listener("@cp", SOCK_STREAM, &a, &len, 5), s = (int)GT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    char b;
    GT_OK(connect(s, (void *)&a, len));
    close(l);
    GT_ERR(read(s, &b, 1), ECONNRESET);
    GT_EQ(read(s, &b, 1), 0);
    GT_ERR(send(s, &b, 1, MSG_NOSIGNAL), EPIPE);
}

GT(hangup)
{
    int s[2];
    char b[8];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_EQ(write(s[0], "bye", 3), 3);
    close(s[0]);
    GT_EQ(revents(s[1]), POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    GT_EQ(read(s[1], b, 8), 3);
    GT_EQ(read(s[1], b, 8), 0);
    signal(SIGPIPE, on_sig);
    GT_ERR(write(s[1], "x", 1), EPIPE);
    GT_EQ(got, SIGPIPE);
    got = 0;
    GT_ERR(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
    GT_EQ(got, 0);
    // Unread data at close is a reset.
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_EQ(write(s[1], "lost", 4), 4);
    close(s[0]);
    GT_EQ(revents(s[1]) & POLLERR, POLLERR);
    int err;
    socklen_t n = sizeof(err);
    GT_OK(getsockopt(s[1], SOL_SOCKET, SO_ERROR, &err, &n));
    GT_EQ(err, ECONNRESET);
    GT_EQ(read(s[1], b, 8), 0);
}

GT(shutdown_directions)
{
    int s[2];
    char b[8];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_OK(shutdown(s[0], SHUT_WR));
    GT_ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    GT_EQ(read(s[1], b, 8), 0);
    GT_EQ(revents(s[1]), POLLIN | POLLOUT | POLLRDHUP);
    GT_EQ(write(s[1], "ok", 2), 2);
    GT_EQ(read(s[0], b, 8), 2);
    GT_OK(shutdown(s[0], SHUT_RD));
    GT_ERR(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
    GT_EQ(revents(s[0]), POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
}

GT(flow_control)
{
    int s[2], out;
    char b[4096] = {0};
    long total = 0, n;
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
    while ((n = write(s[0], b, sizeof(b))) > 0)
        total += n;
    GT_EQ(errno, EAGAIN);
    GT_TRUE(total >= 65536 && total <= 1 << 20);
    GT_EQ(revents(s[0]), 0);
    GT_OK(ioctl(s[1], SIOCINQ, &out));
    GT_EQ(out, total);
    GT_OK(ioctl(s[0], SIOCOUTQ, &out));
    GT_TRUE(out >= total);
    while (total > 0)
        total -= GT_OK(read(s[1], b, sizeof(b)));
    GT_EQ(revents(s[0]), POLLOUT);
    GT_OK(ioctl(s[0], SIOCOUTQ, &out));
    GT_EQ(out, 0);
}

static void *drain(void *arg)
{
    char b[3000];
    long total = 0, n;
    while ((n = read(*(int *)arg, b, sizeof(b))) > 0)
        total += n;
    return (void *)total;
}

GT(big_transfer)
{
    int s[2];
    pthread_t th;
    void *r;
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    pthread_create(&th, 0, drain, &s[1]);
    char *b = calloc(1, 4 << 20);
    GT_EQ(write(s[0], b, 4 << 20), 4 << 20);
    close(s[0]);
    pthread_join(th, &r);
    GT_EQ((long)r, 4 << 20);
}

GT(peek_waitall_trunc)
{
    int s[2];
    char b[8];
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_EQ(write(s[0], "abc", 3), 3);
    GT_EQ(recv(s[1], b, 2, MSG_PEEK), 2);
    GT_EQ(recv(s[1], b, 8, MSG_PEEK), 3);
    GT_EQ(recv(s[1], b, 8, MSG_DONTWAIT), 3);
    GT_ERR(recv(s[1], b, 8, MSG_DONTWAIT), EAGAIN);
    if (!fork()) {
        write(s[0], "12", 2);
        usleep(30000);
        write(s[0], "345", 3);
        _exit(0);
    }
    GT_EQ(recv(s[1], b, 5, MSG_WAITALL), 5);
    GT_EQ(memcmp(b, "12345", 5), 0);
}

GT(timeouts)
{
    int s[2];
    char b[4096] = {0};
    struct timeval tv = {0, 30000}, o;
    socklen_t n = sizeof(o);
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
    GT_OK(setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
    GT_OK(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &o, &n));
    GT_TRUE(o.tv_usec >= 28000 && o.tv_usec <= 32000);
    GT_ERR(read(s[0], b, 1), EAGAIN);
    while (write(s[0], b, sizeof(b)) > 0)
        ;
    GT_EQ(errno, EAGAIN);
    tv.tv_usec = 1000000;
    GT_ERR(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), EDOM);
}

GT(options)
{
    int s[2], v, l;
    socklen_t n = sizeof(v);
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
#define OPT(o) (n = sizeof(v), GT_OK(getsockopt(s[0], SOL_SOCKET, o, &v, &n)), v)
    GT_EQ(OPT(SO_TYPE), SOCK_STREAM);
    GT_EQ(OPT(SO_DOMAIN), AF_UNIX);
    GT_EQ(OPT(SO_PROTOCOL), 0);
    GT_EQ(OPT(SO_ERROR), 0);
    GT_EQ(OPT(SO_ACCEPTCONN), 0);
    GT_EQ(OPT(SO_SNDBUF), 212992);
    v = 10000;
    GT_OK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof(v)));
    GT_EQ(OPT(SO_SNDBUF), 20000);
    v = 1;
    GT_OK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof(v)));
    GT_EQ(OPT(SO_SNDBUF), 4608);
    struct ucred uc;
    n = sizeof(uc);
    GT_OK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &uc, &n));
    GT_EQ(uc.pid, getpid());
    GT_EQ(uc.uid, geteuid());
    GT_ERR(setsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, sizeof(v)), ENOPROTOOPT);
    GT_ERR(setsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, &v, 1), EINVAL);
    GT_ERR(getsockopt(s[0], SOL_SOCKET, 9999, &v, &n), ENOPROTOOPT);
    GT_ERR(getsockopt(s[0], 6, 1, &v, &n), EOPNOTSUPP);
    struct sockaddr_un a;
    l = listener("@op", SOCK_STREAM, &a, &n, 5);
    n = sizeof(v);
    GT_OK(getsockopt(l, SOL_SOCKET, SO_ACCEPTCONN, &v, &n));
    GT_EQ(v, 1);
}

GT(peercred_of_client_and_server)
{
    struct sockaddr_un a;
    socklen_t len, n;
    struct ucred uc;
    int l = listener("@pc", SOCK_STREAM, &a, &len, 5), st;
    pid_t parent = getpid(), c = fork();
    if (!c) {
        int s = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(s, (void *)&a, len))
            _exit(1);
        n = sizeof(uc);
        if (getsockopt(s, SOL_SOCKET, SO_PEERCRED, &uc, &n) || uc.pid != parent)
            _exit(2);
        char b;
        read(s, &b, 1);
        _exit(0);
    }
    int s = (int)GT_OK(accept(l, 0, 0));
    n = sizeof(uc);
    GT_OK(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &uc, &n));
    GT_EQ(uc.pid, c);
    write(s, "x", 1);
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
}

GT(seqpacket)
{
    int s[2];
    char b[8];
    GT_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
    GT_EQ(write(s[0], "abcdef", 6), 6);
    GT_EQ(write(s[0], "g", 1), 1);
    GT_EQ(read(s[1], b, 3), 3); // the rest of the record is lost
    GT_EQ(read(s[1], b, 8), 1);
    GT_EQ(send(s[0], "abc", 3, 0), 3);
    GT_EQ(recv(s[1], b, 1, MSG_TRUNC), 3);
    close(s[0]);
    GT_EQ(read(s[1], b, 8), 0);
    GT_EQ(revents(s[1]) & POLLHUP, POLLHUP);
    GT_ERR(send(s[1], "x", 1, 0), EPIPE); // no SIGPIPE for records
}

GT(interrupted)
{
    int s[2];
    char b;
    struct sigaction sa = {.sa_handler = on_sig};
    sigaction(SIGALRM, &sa, 0);
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    gt_alarm(20);
    GT_ERR(read(s[0], &b, 1), EINTR);
    GT_EQ(got, SIGALRM);
    struct sockaddr_un a;
    socklen_t len;
    int l = listener("@in", SOCK_STREAM, &a, &len, 5);
    gt_alarm(20);
    GT_ERR(accept(l, 0, 0), EINTR);
}

GT(accept_wakes_one_each)
{
    struct sockaddr_un a;
    socklen_t len;
    int l = listener("@aw", SOCK_STREAM, &a, &len, 16);
    for (int i = 0; i < 5; i++) {
        if (!fork())
            _exit(accept(l, 0, 0) < 0);
    }
    usleep(30000);
    for (int i = 0; i < 5; i++) {
        int s = (int)GT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), st;
        GT_OK(connect(s, (void *)&a, len));
        GT_OK(wait(&st));
        GT_EQ(st, 0);
    }
}

GT(proc_net_unix)
{
    struct sockaddr_un a;
    socklen_t len;
    listener("@shown", SOCK_STREAM, &a, &len, 5);
    FILE *f = fopen("/proc/net/unix", "r");
    GT_TRUE(f);
    char line[300], want[64];
    int found = 0;
    snprintf(want, sizeof(want), "@%s", a.sun_path + 1);
    while (fgets(line, sizeof(line), f))
        found |= strstr(line, want) && strstr(line, "00010000 0001 01");
    GT_TRUE(found);
}

GT_MAIN
