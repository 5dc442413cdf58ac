// SPDX-License-Identifier: Apache-2.0
// AF_UNIX from several fibers: data, descriptors in flight, the collector. A task is faked as far
// as sending and receiving look at it.
#include "base/test.h"
#include "base/assert.h"
#include "socket/unix.h"
#include "sched/fiber_test.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct task task;
static struct thread_group group;
static struct kpid pid;

static void spawn(void (*fn)(void *), void *arg)
{
    spawn_with(fn, arg, &task);
}
static void run(void (*fn)(void *), void *arg)
{
    struct sched_config cfg = {.nworkers = 3};
    task = (struct task){.group = &group, .cred = cred_new(), .files = fdtab_new()};
    pid = (struct kpid){};
    group = (struct thread_group){.tgid_pid = &pid};
    ref_init(&pid.ref);
    group.rlim[RLIMIT_NOFILE].rlim_cur = 1000;
    assert_true(task.cred && task.files);
    static struct unix_sock *(*volatile need)(struct unix_sock *) = unix_get; // links unix.c in
    assert_non_null(need);
    assert_int_equal(sched_init(&cfg), 0);
    spawn(fn, arg);
    sched_run();
    assert_int_equal(alive, 0);
    fdtab_put(task.files, task.files);
    cred_put(task.cred);
}

static void pair(int type, struct file *f[2])
{
    struct socket *s[2];
    for (int i = 0; i < 2; i++) {
        CHECK(socket_create(&task, AF_UNIX, type, 0, &s[i]) == 0);
        CHECK(socket_file_new(s[i], 0, task.cred, &f[i]) == 0);
    }
    CHECK(s[0]->ops->pair(s[0], s[1], &task) == 0);
}
static long put(struct file *f, const void *p, size_t n, int flags)
{
    struct uiovec v;
    struct uio u = uio_kernel(&v, (void *)(uintptr_t)p, n);
    struct sockmsg m = {.flags = flags | MSG_NOSIGNAL};
    struct socket *s = socket_of(f);
    return s->ops->send(s, &task, &m, &u);
}
static long get(struct file *f, void *p, size_t n, int flags)
{
    struct uiovec v;
    struct uio u = uio_kernel(&v, p, n);
    struct sockmsg m = {.flags = flags};
    struct socket *s = socket_of(f);
    return s->ops->recv(s, &task, &m, &u);
}
// Sends a file as a descriptor, or receives and drops one.
static long pass(struct file *f, struct file *what)
{
    struct uiovec v;
    char x = 'x', ctl[CMSG_SPACE(sizeof(int))] = {};
    int fd = fd_install(task.files, file_get(what), 0, false, 1000);
    CHECK(fd >= 0);
    struct cmsghdr h = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(ctl, &h, sizeof(h));
    memcpy(ctl + sizeof(h), &fd, sizeof(fd));
    struct uio u = uio_kernel(&v, &x, 1);
    struct sockmsg m = {.flags = MSG_NOSIGNAL | MSG_DONTWAIT, .control = (uint8_t *)ctl, .ctl_len = sizeof(ctl)};
    struct socket *s = socket_of(f);
    long r = s->ops->send(s, &task, &m, &u);
    fd_close(task.files, fd, task.files);
    return r;
}

// --- data --------------------------------------------------------------------------------------
constexpr size_t TOTAL = 400000;
static struct file *sp[2];
static void sender(UNUSED void *arg)
{
    static uint8_t chunk[9000];
    size_t left = TOTAL;
    for (size_t k = 1; left; k = k * 11 % 8999 + 1) {
        size_t n = MIN(k, left);
        CHECK(put(sp[0], chunk, n, 0) == (long)n);
        left -= n;
    }
    file_put(sp[0]);
}
static void receiver(void *arg)
{
    uint8_t b[4000];
    size_t *sum = arg;
    long n;
    while ((n = get(sp[1], b, sizeof(b), *sum % 5 == 0 ? MSG_PEEK : 0)) > 0) {
        if (*sum % 5 == 0)
            n = get(sp[1], b, (size_t)n, 0);
        CHECK(n > 0);
        *sum += (size_t)n;
    }
    CHECK(n == 0);
    file_put(sp[1]);
}
static void streams(void *arg)
{
    pair(SOCK_STREAM, sp);
    spawn(sender, nullptr);
    spawn(receiver, arg);
}
TEST(unix_stream_transfer)
{
    size_t sum = 0;
    run(streams, &sum);
    assert_int_equal(sum, TOTAL);
}

// --- descriptors in flight ---------------------------------------------------------------------
static struct file *hub[2];
static int busy;
static void cycles(UNUSED void *arg) // garbage of several shapes, and things that live
{
    for (int i = 0; i < 150; i++) {
        struct file *a[2], *b[2];
        pair(SOCK_STREAM, a);
        pair(SOCK_DGRAM, b);
        CHECK(pass(a[0], a[1]) == 1); // holds itself
        CHECK(pass(a[0], b[1]) == 1);
        CHECK(pass(b[0], a[1]) == 1); // and each other
        long r = pass(hub[0], b[0]);
        CHECK(r == 1 || r == -EAGAIN);
        for (int k = 0; k < 2; k++) {
            file_put(a[k]);
            file_put(b[k]);
        }
    }
    if (__atomic_sub_fetch(&busy, 1, __ATOMIC_SEQ_CST) == 0)
        file_put(hub[0]);
}
static void drain(UNUSED void *arg)
{
    char b[16];
    while (get(hub[1], b, 1, 0) > 0)
        ;
    file_put(hub[1]);
}
static void collecting(UNUSED void *arg)
{
    pair(SOCK_STREAM, hub);
    busy = 2;
    spawn(cycles, nullptr);
    spawn(cycles, nullptr);
    spawn(drain, nullptr);
}
TEST(unix_collector)
{
    run(collecting, nullptr);
}
