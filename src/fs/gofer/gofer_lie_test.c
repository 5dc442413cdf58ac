// SPDX-License-Identifier: Apache-2.0
// A server that lies: nothing that it says may do more than make calls fail.
#include "fs/gofer/gofer_test.h"
#include "base/test.h"
#include "kern/cred.h"
#include "mem/uio.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void lie(struct server *sv, long n, uint32_t x)
{
    uint32_t at = (x >> 8) % (uint32_t)n;
    switch (x % 8) {
    case 0: // any byte of the body
        sv->tx[at < 7 ? 7 % n : at] ^= (uint8_t)(x >> 24);
        break;
    case 1:
        sv->tx[at] = (uint8_t)(x >> 24);
        break;
    case 2: // another size
        memcpy(sv->tx, &x, 4);
        break;
    case 3: { // a descriptor that nobody may want
        int *fd = sv->nmany ? &sv->many[x % sv->nmany] : &sv->donated;
        if (*fd >= 0)
            close(*fd);
        *fd = x & 0x1000 ? open("/", O_RDONLY) : x & 0x2000 ? open("/dev/null", O_RDWR)
                                                            : open("/etc/passwd", O_PATH);
        break;
    }
    case 4: // none
        server_drop(sv);
        break;
    case 5: // big numbers
        for (long i = at; i < n && i < (long)at + 8; i++)
            if (i >= 7)
                sv->tx[i] = 0xff;
        break;
    }
}
void lying_server(struct setup *s, int sock, uint32_t seed)
{
    struct gofer_root root = {.fd = s->hostdir, .parent = -1, .donate = true};
    struct server sv;
    if (server_init(&sv, sock, &root, 1))
        _exit(1);
    for (int served = 0;; served++) {
        long n = recv(sock, sv.rx, NP_MSIZE_MAX, 0);
        if (n <= 0)
            _exit(0);
        n = server_handle(&sv, sv.rx, (size_t)n);
        if (n <= 0)
            _exit(0);
        seed = seed * 1664525 + 1013904223;
        if (served > 3 && (seed >> 16) % 12 == 0)
            lie(&sv, n, seed >> 3);
        if (server_reply(&sv, (size_t)n))
            _exit(0);
    }
}
static void try_all(struct setup *s)
{
    char buf[64];
    for (int i = 0; i < 60 && !s->c->dead; i++) {
        struct file *f;
        struct path p;
        struct kstat st;
        struct counter k = {.dc = {.emit = count_one}};
        snprintf(buf, sizeof(buf), "/f%d", i % 5);
        if (vfs_open(&s->ctx, AT_FDCWD, buf, O_RDWR | O_CREAT, 0644, 0, &f) == 0) {
            struct uiovec v;
            struct uio u = uio_kernel(&v, buf, 8);
            (void)!file_write(f, &u, nullptr);
            (void)!file_read_kernel(f, buf, 8, 0);
            struct memobj *o;
            int fd;
            if (f->ops->mmap(f, &o) == 0) {
                (void)!o->ops->hostfd(o, i & 1, i & 1, &fd);
                memobj_put(o);
            }
            file_put(f);
        }
        (void)!vfs_mkdir(&s->ctx, AT_FDCWD, "/d", 0755);
        (void)!vfs_symlink(&s->ctx, "d", AT_FDCWD, "/ln");
        (void)!vfs_link(&s->ctx, AT_FDCWD, "/f1", AT_FDCWD, "/d/g", 0);
        (void)!vfs_rename(&s->ctx, AT_FDCWD, "/f2", AT_FDCWD, "/d/h", 0);
        if (vfs_open(&s->ctx, AT_FDCWD, "/ln", O_RDONLY | O_DIRECTORY, 0, 0, &f) == 0) {
            (void)!f->ops->readdir(f, &k.dc);
            file_put(f);
        }
        if (path_lookup(&s->ctx, AT_FDCWD, "/d/h", 0, &p) == 0) {
            (void)!vfs_getattr(&p, &st);
            (void)!p.dentry->inode->ops->listxattr(p.dentry->inode, buf, sizeof(buf));
            path_put(p);
        }
        (void)!vfs_unlink(&s->ctx, AT_FDCWD, "/d/h");
        if (i % 10 == 0 && vfs_open(&s->ctx, AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0, 0, &f) == 0) {
            (void)!f->ops->readdir(f, &k.dc); // for what is opened ahead
            file_put(f);
        }
        for (int n = 0; n < 5; n++) {
            snprintf(buf, sizeof(buf), "/f%d", n);
            if (i % 10 == 0 && vfs_open(&s->ctx, AT_FDCWD, buf, O_RDONLY, 0, 0, &f) == 0) {
                (void)!file_read_kernel(f, buf, 8, 0);
                file_put(f);
            }
        }
        dcache_shrink(s->sb, 0);
    }
}
static void lied_to(void *arg)
{
    struct setup *s = arg;
    if (gofer_client_new(s->sock, &s->c) == 0) {
        if (gofer_mount(s->c, "0", s->exclusive, false, &s->sb) == 0) {
            mount_at_root(s);
            try_all(s);
            fs_context_put(s->ctx.fs);
            cred_put((struct cred *)s->ctx.cred);
            super_put(s->sb);
        }
        EQ(ref_count(&s->c->ref), 1);
        gofer_client_put(s->c);
    }
    fiber_exit(last_one, nullptr);
}
TEST(gofer_that_lies)
{
    for (uint32_t seed = 1; seed <= 60; seed++) {
        struct setup s = {.donate = true, .exclusive = seed & 1, .seed = seed};
        serve(&s);
        struct sched_config cfg = {.nworkers = 1};
        assert_int_equal(sched_init(&cfg), 0);
        struct fiber *f = fiber_new(lied_to, &s, nullptr);
        assert_non_null(f);
        fiber_start(f);
        sched_run();
        clean(&s, 0);
    }
}
