// SPDX-License-Identifier: Apache-2.0
// eventfd(2).
#include "gt.h"
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

static short revents(int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT, 0};
    GT_OK(poll(&p, 1, 0));
    return p.revents;
}

GT(counter)
{
    int e = (int)GT_OK(eventfd(3, EFD_NONBLOCK));
    uint64_t v = 4;
    GT_EQ(revents(e), POLLIN | POLLOUT);
    GT_EQ(write(e, &v, 8), 8);
    GT_EQ(read(e, &v, 8), 8);
    GT_EQ(v, 7);
    GT_ERR(read(e, &v, 8), EAGAIN);
    GT_EQ(revents(e), POLLOUT);
    GT_ERR(read(e, &v, 7), EINVAL);
    GT_ERR(write(e, &v, 7), EINVAL);
    char big[16] = {1};
    GT_EQ(write(e, big, 8), 8);
    GT_EQ(read(e, big, 16), 8);
    GT_EQ(lseek(e, 5, SEEK_SET), 0);
    GT_ERR(pread(e, big, 8, 0), ESPIPE);
}

GT(semaphore)
{
    int e = (int)GT_OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC));
    uint64_t v;
    GT_EQ(read(e, &v, 8), 8);
    GT_EQ(v, 1);
    GT_EQ(read(e, &v, 8), 8);
    GT_EQ(v, 1);
    GT_ERR(read(e, &v, 8), EAGAIN);
    GT_EQ(fcntl(e, F_GETFD), FD_CLOEXEC);
}

GT(overflow)
{
    int e = (int)GT_OK(eventfd(0, EFD_NONBLOCK));
    uint64_t v = ~0ull;
    GT_ERR(write(e, &v, 8), EINVAL);
    v = ~0ull - 1;
    GT_EQ(write(e, &v, 8), 8);
    GT_EQ(revents(e), POLLIN);
    v = 1;
    GT_ERR(write(e, &v, 8), EAGAIN);
    v = 0;
    GT_EQ(write(e, &v, 8), 8);
    GT_EQ(read(e, &v, 8), 8);
    GT_EQ(v, ~0ull - 1);
}

static void *reader(void *arg)
{
    uint64_t v = 0;
    usleep(30000);
    read(*(int *)arg, &v, 8);
    return (void *)v;
}

GT(blocking_write)
{
    int e = (int)GT_OK(eventfd(0, 0));
    uint64_t v = ~0ull - 1;
    pthread_t th;
    void *r;
    GT_EQ(write(e, &v, 8), 8);
    pthread_create(&th, 0, reader, &e);
    v = 5;
    GT_EQ(write(e, &v, 8), 8);
    pthread_join(th, &r);
    GT_EQ((uint64_t)r, ~0ull - 1);
    GT_EQ(read(e, &v, 8), 8);
    GT_EQ(v, 5);
}

GT(blocking_read)
{
    int e = (int)GT_OK(eventfd(0, 0));
    uint64_t v;
    if (!fork()) {
        usleep(20000);
        v = 9;
        write(e, &v, 8);
        _exit(0);
    }
    GT_EQ(read(e, &v, 8), 8);
    GT_EQ(v, 9);
}

GT(bad_flags)
{
    GT_ERR(eventfd(0, 0x10), EINVAL);
}

GT_MAIN
