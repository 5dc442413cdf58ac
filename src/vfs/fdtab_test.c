// SPDX-License-Identifier: Apache-2.0
// Descriptor tables and file locks (what does not sleep; the rest is in test/guest/lock.c).
#include "vfs/vfs_test.h"
#include <pthread.h>
#include <stdlib.h>
#include <sys/file.h>

static struct file *new_file(struct world *w, const char *name)
{
    struct file *f;
    OK(vfs_open(&w->c, AT_FDCWD, name, O_CREAT | O_RDWR, 0644, 0, &f));
    return f;
}

TEST(fdtab_numbers)
{
    struct world w;
    struct file *f, *old;
    world_open(&w);
    f = new_file(&w, "f");
    for (int i = 0; i < 200; i++)
        assert_int_equal(fd_install(w.files, file_get(f), 0, i & 1, 1000), i);
    OK(fd_close(w.files, 70, w.files));
    OK(fd_close(w.files, 5, w.files));
    ERR(fd_close(w.files, 5, w.files), EBADF);
    assert_int_equal(fd_install(w.files, file_get(f), 6, false, 1000), 70);
    assert_int_equal(fd_install(w.files, file_get(f), 0, false, 1000), 5);
    assert_int_equal(fd_install(w.files, file_get(f), 0, false, 1000), 200);
    assert_int_equal(fd_install(w.files, file_get(f), 500, false, 1000), 500);
    ERR(fd_install(w.files, f, 0, false, 201), EMFILE);
    assert_int_equal(fd_install_at(w.files, file_get(f), 900, true, 1000, &old), 900);
    assert_null(old);
    assert_int_equal(fd_install_at(w.files, file_get(f), 900, false, 1000, &old), 900);
    assert_ptr_equal(old, f);
    file_put(old);
    ERR(fd_install_at(w.files, f, 1000, false, 1000, &old), EBADF);
    assert_int_equal(fd_get_cloexec(w.files, 1), 1);
    assert_int_equal(fd_get_cloexec(w.files, 900), 0);
    assert_int_equal(fdtab_count(w.files), 203);
    assert_int_equal(fdtab_size(w.files), 1024);
    struct fdtab *copy = fdtab_dup(w.files, 100);
    assert_int_equal(fdtab_count(copy), 100);
    assert_int_equal(fdtab_size(copy), 128); // not the 1024 of the original
    fdtab_close_on_exec(copy, copy);
    assert_int_equal(fdtab_count(copy), 51); // 70 went, 5 came back without the flag
    fdtab_put(copy, nullptr);
    fdtab_close_range(w.files, 10, 899, w.files);
    assert_int_equal(fdtab_count(w.files), 11);
    fdtab_cloexec_range(w.files, 0, 2);
    assert_int_equal(fd_get_cloexec(w.files, 0), 1);
    assert_int_equal(fd_get_cloexec(w.files, 4), 0);
    file_put(f);
    world_close(&w);
}

static void *churn(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 5000; i++) {
        struct file *f = fd_get(w->files, 0);
        CHECK(f);
        int fd = fd_install(w->files, f, 1 + i % 300, false, 1024);
        CHECK(fd > 0);
        struct file *g = fd_get(w->files, fd);
        CHECK(g == f);
        file_put(g);
        CHECK(fd_close(w->files, fd, w->files) == 0);
    }
    return nullptr;
}
TEST(fdtab_threads)
{
    struct world w;
    pthread_t t[4];
    world_open(&w);
    assert_int_equal(world_fd(&w, new_file(&w, "f")), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], nullptr, churn, &w), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], nullptr);
    assert_int_equal(fdtab_count(w.files), 1);
    world_close(&w);
}

static int set(struct file *f, void *owner, int type, int64_t start, int64_t end)
{
    return posix_lock(f, owner, &(struct kflock){.type = type, .start = start, .end = end, .pid = 7}, false);
}
static int64_t test(struct file *f, int64_t start, int64_t end) // start of the first conflict, -1: none
{
    struct kflock l = {.type = F_WRLCK, .start = start, .end = end};
    posix_lock_test(f, &l, &l);
    return l.type == F_UNLCK ? -1 : l.start;
}
TEST(lock_posix_ranges)
{
    struct world w;
    int me, you;
    world_open(&w);
    struct file *f = new_file(&w, "f");
    OK(set(f, &me, F_WRLCK, 10, 19));
    ERR(set(f, &you, F_RDLCK, 19, 25), EAGAIN);
    OK(set(f, &you, F_RDLCK, 20, 25));
    OK(set(f, &me, F_RDLCK, 20, 30));
    ERR(set(f, &me, F_WRLCK, 25, 26), EAGAIN);
    OK(set(f, &you, F_UNLCK, 0, INT64_MAX));
    OK(set(f, &me, F_UNLCK, 12, 13));
    assert_int_equal(test(f, 12, 13), -1);
    assert_int_equal(test(f, 11, 14), 10);
    assert_int_equal(test(f, 14, 14), 14);
    OK(set(f, &me, F_WRLCK, 0, INT64_MAX));
    assert_int_equal(test(f, INT64_MAX, INT64_MAX), 0);
    OK(set(f, &me, F_UNLCK, INT64_MAX, INT64_MAX));
    assert_int_equal(test(f, INT64_MAX, INT64_MAX), -1);
    struct strbuf s = {};
    locks_show(&s);
    assert_non_null(strstr(s.p, "POSIX  ADVISORY  WRITE 7 "));
    strbuf_free(&s);
    locks_release_owner(f->inode, &me);
    assert_int_equal(test(f, 0, INT64_MAX), -1);
    file_put(f);
    world_close(&w);
}
// Every byte of a small file by a simple model, many random calls of two owners.
TEST(lock_posix_model)
{
    struct world w;
    enum { N = 24 };
    int owner[2], model[2][N] = {};
    world_open(&w);
    struct file *f = new_file(&w, "f");
    srand(99);
    for (int step = 0; step < 20000; step++) {
        int o = rand() & 1, start = rand() % N, end = start + rand() % (N - start), want = -1;
        static const int types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
        int type = types[rand() % 3];
        for (int i = start; i <= end && type != F_UNLCK; i++) {
            int theirs = model[!o][i];
            if (theirs && (theirs == 2 || type == F_WRLCK))
                want = -EAGAIN;
        }
        if (want != -EAGAIN) {
            want = 0;
            for (int i = start; i <= end; i++)
                model[o][i] = type == F_UNLCK ? 0 : type == F_WRLCK ? 2 : 1;
        }
        assert_int_equal(set(f, &owner[o], type, start, end), want);
        int at = rand() % N, theirs = model[0][at] | model[1][at];
        assert_int_equal(test(f, at, at) >= 0, theirs != 0);
    }
    locks_release_owner(f->inode, &owner[0]);
    locks_release_owner(f->inode, &owner[1]);
    assert_int_equal(test(f, 0, INT64_MAX), -1);
    file_put(f);
    world_close(&w);
}
TEST(lock_flock)
{
    struct world w;
    world_open(&w);
    struct file *a = new_file(&w, "f"), *b = new_file(&w, "f");
    OK(flock_lock(a, LOCK_SH));
    OK(flock_lock(b, LOCK_SH));
    ERR(flock_lock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    OK(flock_lock(a, LOCK_UN));
    OK(flock_lock(b, LOCK_EX | LOCK_NB));
    ERR(flock_lock(a, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    ERR(flock_lock(a, 0), EINVAL);
    file_put(b);
    OK(flock_lock(a, LOCK_EX | LOCK_NB));
    file_put(a);
    world_close(&w);
}
