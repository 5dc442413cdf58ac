// SPDX-License-Identifier: Apache-2.0
// Descriptors over sockets: counts, what does not fit, close-on-exec.
#include "host/fdpass.h"
#include "base/test.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static int next_fd(void)
{
    int fd = open("/dev/null", O_RDONLY);
    close(fd);
    return fd;
}
TEST(fdpass_round_trip)
{
    int s[2], fds[2] = {0, 1}, got[4], n = 4;
    char c;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
    assert_int_equal(fd_send(s[0], "x", 1, fds, 2, 0), 1);
    assert_int_equal(fd_recv(s[1], &c, 1, got, &n, 0), 1);
    assert_int_equal(n, 2);
    assert_int_equal(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    close(got[0]);
    close(got[1]);
    n = 4;
    assert_int_equal(fd_recv(s[1], &c, 1, got, &n, MSG_DONTWAIT), -EAGAIN);
    close(s[0]);
    n = 0;
    assert_int_equal(fd_recv(s[1], &c, 1, nullptr, &n, 0), 0);
    close(s[1]);
}
// More descriptors than wanted, also where padding would let one more in: all closed.
TEST(fdpass_too_many)
{
    int s[2], fds[4] = {0, 1, 2, 0}, got[4];
    char c;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
    for (int room = 0; room < 3; room++)
        for (int k = room + 1; k <= 4; k++) {
            int before = next_fd(), n = room;
            assert_int_equal(fd_send(s[0], "x", 1, fds, k, 0), 1);
            assert_int_equal(fd_recv(s[1], &c, 1, got, &n, 0), -EMSGSIZE);
            assert_int_equal(n, 0);
            assert_int_equal(next_fd(), before);
        }
    int n = 0;
    assert_int_equal(fd_send(s[0], "xyz", 3, nullptr, 0, 0), 3);
    assert_int_equal(fd_recv(s[1], &c, 1, nullptr, &n, 0), -EMSGSIZE);
    close(s[0]);
    close(s[1]);
}
