// SPDX-License-Identifier: Apache-2.0
// State directories: an id that is deleted and taken again while a command still looks at its first owner.
#include "oci/state.h"
#include "base/test.h"
#include "base/slab.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void make(struct state *s, const char *root, pid_t pid, bool keep)
{
    char path[] = "/rootfs";
    struct spec spec = {.root_path = path};
    struct err e = {};
    assert_int_equal(state_create(s, root, "x", &e), 0);
    assert_int_equal(state_write(s, &spec, "/bundle", pid, keep, &e), 0);
    assert_int_equal(state_listen(s, &e), 0);
}
static void end(struct state *s) // as a supervisor that is killed
{
    close(s->dir);
    close(s->root);
    close(s->exit);
    close(s->listener);
}

static void check_other(int root, struct state_info *first, bool second_lives)
{
    struct err e = {};
    assert_int_equal(state_connect(root, "x", first, &e), -ESTALE);
    assert_int_equal(e.text[0], 0);
    assert_int_equal(state_delete(root, "x", first, &e), -ENOENT);
    struct state_info second;
    e.text[0] = 0;
    assert_int_equal(state_read(root, "x", &second, &e), 0); // it is still there
    assert_int_equal(second.alive, second_lives);
    if (second_lives) {
        int fd = state_connect(root, "x", &second, &e);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(state_delete(root, "x", &second, &e), -EBUSY);
        assert_int_equal(state_delete(root, "x", nullptr, &e), -EBUSY);
    }
    state_info_free(&second);
}

TEST(state_of_an_id_taken_again)
{
    char root_path[] = "/tmp/nacre-state.XXXXXX";
    struct state a, b;
    struct state_info first;
    struct err e = {};
    assert_non_null(mkdtemp(root_path));
    int root = state_open_root(root_path, &e);
    assert_true(root >= 0);
    make(&a, root_path, getpid(), true);
    assert_int_equal(state_read(root, "x", &first, &e), 0);
    assert_int_equal(state_delete(root, "x", &first, &e), -EBUSY);
    int fd = state_connect(root, "x", &first, &e);
    assert_true(fd >= 0);
    close(fd);
    end(&a);
    assert_int_equal(state_connect(root, "x", &first, &e), -ECONNREFUSED);
    assert_int_equal(state_delete(root, "x", &first, &e), 0);
    assert_int_equal(state_connect(root, "x", &first, &e), -ESTALE); // nobody's
    assert_int_equal(state_delete(root, "x", &first, &e), -ENOENT);
    make(&b, root_path, getpid() + 1, true); // another container
    check_other(root, &first, true);
    end(&b);
    check_other(root, &first, false);
    e.text[0] = 0;
    assert_int_equal(state_delete(root, "x", nullptr, &e), 0);
    // One that was not kept: the next one takes its folder over, which stays the same.
    make(&a, root_path, getpid(), false);
    end(&a);
    make(&b, root_path, getpid() + 1, true);
    check_other(root, &first, true);
    state_remove(&b);
    close(b.exit);
    close(b.listener);
    state_info_free(&first);
    close(root);
    assert_int_equal(rmdir(root_path), 0);
}
