// SPDX-License-Identifier: Apache-2.0
// splice(2), tee(2), vmsplice(2).
#include "gt.h"
#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int tmpf(const char *text)
{
    char n[200];
    const char *d = getenv("GT_DIR");
    snprintf(n, sizeof(n), "%s/sp.%d", d ? d : "/tmp", getpid());
    int f = (int)GT_OK(open(n, O_RDWR | O_CREAT | O_TRUNC, 0600));
    unlink(n);
    GT_EQ(write(f, text, strlen(text)), strlen(text));
    GT_OK(lseek(f, 0, SEEK_SET));
    return f;
}

GT(file_to_pipe_and_back)
{
    int p[2], f = tmpf("hello world"), g = tmpf("");
    char b[32];
    loff_t off = 6;
    GT_OK(pipe(p));
    GT_EQ(splice(f, 0, p[1], 0, 5, 0), 5);
    GT_EQ(lseek(f, 0, SEEK_CUR), 5);
    GT_EQ(splice(f, &off, p[1], 0, 100, 0), 5);
    GT_EQ(off, 11);
    GT_EQ(lseek(f, 0, SEEK_CUR), 5);
    GT_EQ(splice(p[0], 0, g, 0, 100, 0), 10);
    GT_EQ(lseek(g, 0, SEEK_CUR), 10);
    off = 2;
    GT_EQ(write(p[1], "XY", 2), 2);
    GT_EQ(splice(p[0], 0, g, &off, 2, 0), 2);
    GT_EQ(off, 4);
    GT_EQ(pread(g, b, 32, 0), 10);
    GT_EQ(memcmp(b, "heXYoworld", 10), 0);
    GT_EQ(splice(f, &(loff_t){11}, p[1], 0, 10, 0), 0); // end of file
}

GT(errors)
{
    int p[2], q[2], f = tmpf("x"), s[2];
    loff_t off = 0;
    GT_OK(pipe(p));
    GT_OK(pipe(q));
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_ERR(splice(f, 0, s[0], 0, 1, 0), EINVAL); // no pipe
    GT_ERR(splice(p[0], &off, q[1], 0, 1, 0), ESPIPE);
    GT_ERR(splice(p[0], 0, p[1], 0, 1, 0), EINVAL);
    GT_ERR(splice(f, 0, p[1], 0, 1, 0x80), EINVAL);
    GT_ERR(splice(f, 0, p[0], 0, 1, 0), EBADF);
    GT_ERR(splice(999, 0, p[1], 0, 1, 0), EBADF);
    GT_EQ(splice(999, 0, p[1], 0, 0, 0), 0);
    GT_ERR(splice(p[0], 0, f, 0, 1, SPLICE_F_NONBLOCK), EAGAIN);
    int a = (int)GT_OK(dup(f));
    GT_OK(fcntl(a, F_SETFL, O_APPEND));
    GT_EQ(write(p[1], "1", 1), 1);
    GT_ERR(splice(p[0], 0, a, 0, 1, 0), EINVAL);
    off = -1;
    GT_OK(fcntl(a, F_SETFL, 0));
    GT_ERR(splice(f, &off, p[1], 0, 1, 0), EINVAL);
    GT_ERR(tee(p[0], p[1], 1, 0), EINVAL);
    GT_ERR(tee(f, p[1], 1, 0), EINVAL);
    GT_ERR(tee(q[0], p[1], 1, SPLICE_F_NONBLOCK), EAGAIN);
    close(q[1]);
    GT_EQ(splice(q[0], 0, p[1], 0, 10, 0), 0);
    signal(SIGPIPE, SIG_IGN);
    close(p[0]);
    GT_ERR(splice(f, 0, p[1], 0, 1, 0), EPIPE);
}

GT(pipe_to_pipe)
{
    int p[2], q[2];
    char b[16];
    GT_OK(pipe(p));
    GT_OK(pipe(q));
    GT_EQ(write(p[1], "abcdef", 6), 6);
    GT_EQ(splice(p[0], 0, q[1], 0, 2, 0), 2);
    GT_EQ(splice(p[0], 0, q[1], 0, 100, 0), 4);
    GT_EQ(read(q[0], b, 16), 6);
    GT_EQ(memcmp(b, "abcdef", 6), 0);
}

GT(tee_copies)
{
    int p[2], q[2];
    char b[16];
    GT_OK(pipe(p));
    GT_OK(pipe(q));
    GT_EQ(write(p[1], "abcdef", 6), 6);
    GT_EQ(tee(p[0], q[1], 4, 0), 4);
    GT_EQ(read(q[0], b, 16), 4);
    GT_EQ(read(p[0], b, 16), 6);
    GT_EQ(write(q[1], "Z", 1), 1);
    GT_EQ(read(q[0], b, 16), 1);
    GT_EQ(b[0], 'Z');
}

GT(teed_data_is_not_shared)
{
    int p[2], q[2];
    char b[16];
    GT_OK(pipe(p));
    GT_OK(pipe(q));
    GT_EQ(write(p[1], "ab", 2), 2);
    GT_EQ(tee(p[0], q[1], 2, 0), 2);
    GT_EQ(write(p[1], "cd", 2), 2);
    GT_EQ(write(q[1], "12", 2), 2);
    GT_EQ(read(p[0], b, 16), 4);
    GT_EQ(memcmp(b, "abcd", 4), 0);
    long n = GT_OK(read(q[0], b, 16));
    if (n == 2)
        n += GT_OK(read(q[0], b + 2, 14));
    GT_EQ(n, 4);
    GT_EQ(memcmp(b, "ab12", 4), 0);
}

GT(vectors)
{
    int p[2];
    char b[8];
    struct iovec v[2] = {{"foo", 3}, {"bar", 3}}, r = {b, 8};
    GT_OK(pipe(p));
    GT_EQ(vmsplice(p[1], v, 2, 0), 6);
    GT_EQ(vmsplice(p[0], &r, 1, 0), 6);
    GT_EQ(memcmp(b, "foobar", 6), 0);
    GT_ERR(vmsplice(p[0], &r, 1, SPLICE_F_NONBLOCK), EAGAIN);
    GT_ERR(vmsplice(0, v, 1, 0), EBADF);
}

GT(sockets)
{
    int p[2], s[2];
    char b[16];
    GT_OK(pipe(p));
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_EQ(write(s[0], "from socket", 11), 11);
    GT_EQ(splice(s[1], 0, p[1], 0, 100, 0), 11);
    GT_EQ(splice(p[0], 0, s[1], 0, 100, 0), 11);
    GT_EQ(read(s[0], b, 16), 11);
}

static void *reader(void *arg)
{
    char b[5000];
    long total = 0, n;
    while ((n = read(*(int *)arg, b, sizeof(b))) > 0)
        total += n;
    return (void *)total;
}

GT(large)
{
    char n[200];
    const char *d = getenv("GT_DIR");
    int p[2], left = 3 << 20;
    pthread_t th;
    void *r;
    snprintf(n, sizeof(n), "%s/spl.%d", d ? d : "/tmp", getpid());
    int f = (int)GT_OK(open(n, O_RDWR | O_CREAT | O_TRUNC, 0600));
    unlink(n);
    GT_OK(ftruncate(f, left));
    GT_OK(pipe(p));
    pthread_create(&th, 0, reader, &p[0]);
    while (left)
        left -= GT_OK(splice(f, 0, p[1], 0, left, SPLICE_F_MOVE | SPLICE_F_MORE));
    close(p[1]);
    pthread_join(th, &r);
    GT_EQ((long)r, 3 << 20);
}

GT_MAIN
