// SPDX-License-Identifier: Apache-2.0
// Client and server against each other: a Gofer in a child process serves a fresh directory, a fiber
// works on it through the VFS. The same steps run with our extensions, without donation, as a shared
// mount and in plain 9P2000.L.
#include "fs/gofer/gofer_test.h"
#include "base/test.h"
#include "host/raw.h"
#include "kern/cred.h"
#include "mem/uio.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

void serve(struct setup *s)
{
    int sv[2];
    strcpy(s->dir, "/tmp/nacre-gofer-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
    s->hostdir = open(s->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    s->server = fork();
    if (s->server == 0) {
        close(sv[0]);
        umask(0);
        if (s->seed)
            lying_server(s, sv[1], s->seed);
        struct gofer_root root = {.fd = s->hostdir, .parent = -1, .donate = s->donate,
                                  .readonly = s->readonly};
        _exit(gofer_main(sv[1], &root, 1) != 0);
    }
    close(sv[1]);
    s->sock = sv[0];
}
void clean(struct setup *s, int want)
{
    int st = -1;
    waitpid(s->server, &st, 0);
    assert_int_equal(st, want);
    close(s->hostdir);
    char cmd[128];
    snprintf(cmd, sizeof(cmd), "chmod -R u+rwx %s; rm -rf %s", s->dir, s->dir);
    assert_int_equal(system(cmd), 0);
}

static struct file *open_at(struct setup *s, const char *p, int flags)
{
    struct file *f;
    OK(vfs_open(&s->ctx, AT_FDCWD, p, flags, 0644, 0, &f));
    return f;
}
static void put(struct setup *s, const char *p, const char *text, int flags)
{
    struct file *f = open_at(s, p, O_WRONLY | O_CREAT | flags);
    struct uiovec v;
    struct uio u = uio_kernel(&v, (void *)text, strlen(text));
    EQ(file_write(f, &u, nullptr), strlen(text));
    file_put(f);
}
static void expect(struct setup *s, const char *p, const char *text)
{
    char buf[256];
    struct file *f = open_at(s, p, O_RDONLY);
    EQ(file_read_kernel(f, buf, sizeof(buf), 0), strlen(text));
    CHECK(!memcmp(buf, text, strlen(text)));
    file_put(f);
}
static struct kstat stat_at(struct setup *s, const char *p)
{
    struct path path;
    struct kstat st;
    OK(path_lookup(&s->ctx, AT_FDCWD, p, 0, &path));
    OK(vfs_getattr(&path, &st));
    path_put(path);
    return st;
}
static int exists(struct setup *s, const char *p)
{
    struct path path;
    int err = path_lookup(&s->ctx, AT_FDCWD, p, 0, &path);
    if (!err)
        path_put(path);
    return err;
}
static void host(struct setup *s, const char *cmd)
{
    char buf[512];
    snprintf(buf, sizeof(buf), "cd %s && %s", s->dir, cmd);
    EQ(system(buf), 0);
}

bool count_one(struct dir_context *dc, const char *name, size_t n, uint64_t ino,
                      uint8_t dtype, int64_t next)
{
    struct counter *c = container_of(dc, struct counter, dc);
    if (c->n == 7) // full: the entry is not consumed
        return false;
    c->n++;
    dc->pos = next;
    return true;
}
static int count_dir(struct setup *s, const char *p)
{
    struct file *f = open_at(s, p, O_RDONLY | O_DIRECTORY);
    struct counter c = {.dc = {.emit = count_one}};
    int total = 0;
    do {
        c.n = 0;
        OK(f->ops->readdir(f, &c.dc));
        total += c.n;
    } while (c.n);
    file_put(f);
    return total;
}

static void files(struct setup *s)
{
    put(s, "/a", "hello", 0);
    expect(s, "/a", "hello");
    put(s, "/a", " world", O_APPEND);
    expect(s, "/a", "hello world");
    EQ(stat_at(s, "/a").size, 11);
    put(s, "/a", "x", O_TRUNC);
    expect(s, "/a", "x");
    EQ(stat_at(s, "/a").size, 1);
    host(s, "test \"$(cat a)\" = x");
    struct file *f = open_at(s, "/a", O_RDWR);
    OK(vfs_unlink(&s->ctx, AT_FDCWD, "/a"));
    EQ(exists(s, "/a"), -ENOENT);
    char buf[8];
    EQ(file_read_kernel(f, buf, 8, 0), 1);
    struct iattr ia = {.valid = IATTR_MODE, .mode = 0600};
    OK(vfs_setattr(&f->path, &ia, s->ctx.cred));
    struct kstat st;
    OK(vfs_getattr(&f->path, &st));
    EQ(st.mode, S_IFREG | 0600);
    if (s->exclusive)
        EQ(st.nlink, 0);
    file_put(f);
    // Big transfers, holes
    f = open_at(s, "/big", O_RDWR | O_CREAT);
    static uint8_t big[300000], back[300000];
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (uint8_t)(i * 7 + i / 251);
    struct uiovec v;
    struct uio u = uio_kernel(&v, big, sizeof(big));
    int64_t pos = 5000;
    EQ(file_write(f, &u, &pos), sizeof(big));
    EQ(file_read_kernel(f, back, sizeof(back), 5000), sizeof(big));
    CHECK(!memcmp(big, back, sizeof(big)));
    EQ(file_read_kernel(f, back, 100, 0), 100);
    EQ(back[0], 0);
    if (!s->plain) {
        OK(f->ops->fallocate(f, 0, 0, 400000));
        OK(vfs_getattr(&f->path, &st));
        EQ(st.size, 400000);
    }
    OK(vfs_fsync(f, false));
    file_put(f);
}
static void names(struct setup *s)
{
    OK(vfs_mkdir(&s->ctx, AT_FDCWD, "/d", 0755));
    EQ(vfs_mkdir(&s->ctx, AT_FDCWD, "/d", 0755), -EEXIST);
    put(s, "/d/f", "one", 0);
    OK(vfs_link(&s->ctx, AT_FDCWD, "/d/f", AT_FDCWD, "/l", 0));
    EQ(stat_at(s, "/l").ino, stat_at(s, "/d/f").ino);
    EQ(stat_at(s, "/l").nlink, 2);
    OK(vfs_unlink(&s->ctx, AT_FDCWD, "/d/f"));
    expect(s, "/l", "one"); // the name it was known by is gone
    EQ(stat_at(s, "/l").nlink, 1);
    OK(vfs_symlink(&s->ctx, "l", AT_FDCWD, "/s"));
    expect(s, "/s", "one");
    OK(vfs_rename(&s->ctx, AT_FDCWD, "/l", AT_FDCWD, "/d/m", 0));
    EQ(exists(s, "/l"), -ENOENT);
    expect(s, "/d/m", "one");
    struct path p;
    OK(path_lookup(&s->ctx, AT_FDCWD, "/d/m", 0, &p));
    struct iattr ia = {.valid = IATTR_SIZE | IATTR_MODE, .size = 2, .mode = 0604};
    OK(vfs_setattr(&p, &ia, s->ctx.cred));
    path_put(p);
    expect(s, "/d/m", "on");
    EQ(stat_at(s, "/d/m").mode, S_IFREG | 0604);
    EQ(vfs_rmdir(&s->ctx, AT_FDCWD, "/d"), -ENOTEMPTY);
    OK(vfs_mkdir(&s->ctx, AT_FDCWD, "/e", 0755));
    OK(vfs_rename(&s->ctx, AT_FDCWD, "/d", AT_FDCWD, "/e/d", 0));
    expect(s, "/e/d/m", "on");
    put(s, "/x", "x", 0);
    if (!s->plain) {
        OK(vfs_rename(&s->ctx, AT_FDCWD, "/x", AT_FDCWD, "/e/d/m", RENAME_EXCHANGE));
        expect(s, "/x", "on");
        expect(s, "/e/d/m", "x");
    }
    OK(vfs_rename(&s->ctx, AT_FDCWD, "/x", AT_FDCWD, "/e/d/m", 0));
    EQ(exists(s, "/x"), -ENOENT);
    OK(vfs_unlink(&s->ctx, AT_FDCWD, "/e/d/m"));
    OK(vfs_rmdir(&s->ctx, AT_FDCWD, "/e/d"));
    EQ(stat_at(s, "/e").nlink, 2);
    OK(vfs_mknod(&s->ctx, AT_FDCWD, "/fifo", S_IFIFO | 0600, 0));
    EQ(stat_at(s, "/fifo").mode, S_IFIFO | 0600);
    EQ(vfs_mknod(&s->ctx, AT_FDCWD, "/dev", S_IFBLK | 0600, 0x801), -EPERM);
}
static void deep(struct setup *s)
{
    struct strbuf b = {};
    for (int i = 0; i < 60; i++) {
        strbuf_fmt(&b, "/level-%d", i);
        OK(vfs_mkdir(&s->ctx, AT_FDCWD, b.p, 0700));
    }
    strbuf_str(&b, "/leaf");
    put(s, b.p, "deep", 0);
    dcache_shrink(s->sb, 0);
    expect(s, b.p, "deep");
    EQ(stat_at(s, b.p).size, 4);
    strbuf_free(&b);
}
static void many(struct setup *s)
{
    EQ(count_dir(s, "/many"), 1003);
    dcache_shrink(s->sb, 0);
    uint64_t before = s->c->ncalls;
    EQ(count_dir(s, "/many"), 1003);
    for (int i = 1; i <= 200; i++) {
        char p[64];
        snprintf(p, sizeof(p), "/many/file-%d", i);
        stat_at(s, p);
    }
    if (!s->plain && s->exclusive)
        CHECK(s->c->ncalls - before < 30); // not one per file
    if (s->donate && s->exclusive && !s->plain) {
        put(s, "/hot", "hot", 0);
        expect(s, "/hot", "hot");
        before = s->c->ncalls;
        for (int i = 0; i < 10; i++)
            expect(s, "/hot", "hot");
        stat_at(s, "/hot");
        EQ(exists(s, "/cold"), -ENOENT);
        uint64_t one = s->c->ncalls;
        EQ(exists(s, "/cold"), -ENOENT);
        EQ(s->c->ncalls, one);
        CHECK(one - before <= 1); // the first look-up of what is not there
        for (int i = 0; i < 5; i++)
            EQ(exists(s, i % 2 ? "/many/no-1" : "/many/no-2"), -ENOENT);
        one = s->c->ncalls;
        for (int i = 0; i < 100; i++) { // by now the names are known
            char p[64];
            snprintf(p, sizeof(p), "/many/absent-%d", i);
            EQ(exists(s, p), -ENOENT);
        }
        EQ(s->c->ncalls, one);
        put(s, "/many/absent-1", "here", 0);
        dcache_shrink(s->sb, 0);
        expect(s, "/many/absent-1", "here");
        OK(vfs_rename(&s->ctx, AT_FDCWD, "/many/absent-1", AT_FDCWD, "/many/absent-2", 0));
        dcache_shrink(s->sb, 0);
        expect(s, "/many/absent-2", "here");
    }
}
static int list_paths(struct setup *s, const char *fmt, int n)
{
    int total = 0;
    for (int i = 0; i < n; i++) {
        char p[64];
        snprintf(p, sizeof(p), fmt, i + 100);
        total += count_dir(s, p);
    }
    return total;
}
// A tree of 40 directories, each with a subdirectory and three files, walked; then changed.
static void tree(struct setup *s)
{
    uint64_t before = s->c->ncalls;
    bool cached = s->exclusive && !s->plain;
    EQ(count_dir(s, "/tree"), 42);
    for (int i = 0; i < 40; i++) {
        char p[64];
        snprintf(p, sizeof(p), "/tree/d-%d", i + 100);
        EQ(count_dir(s, p), 6);
        EQ(stat_at(s, p).nlink, 3);
        snprintf(p, sizeof(p), "/tree/d-%d/f2", i + 100);
        EQ(stat_at(s, p).size, 3);
        snprintf(p, sizeof(p), "/tree/d-%d/sub", i + 100);
        EQ(count_dir(s, p), 3);
    }
    if (cached)
        CHECK(s->c->ncalls - before < 40); // not three per directory
    before = s->c->ncalls;
    EQ(list_paths(s, "/tree/d-%d", 40), 240);
    if (cached)
        EQ(s->c->ncalls, before);
    // What we change is seen, wherever its listing was waiting.
    put(s, "/tree/d-103/new", "n", 0);
    OK(vfs_unlink(&s->ctx, AT_FDCWD, "/tree/d-104/f1"));
    OK(vfs_rename(&s->ctx, AT_FDCWD, "/tree/d-105/f1", AT_FDCWD, "/tree/d-106/g", 0));
    OK(vfs_mkdir(&s->ctx, AT_FDCWD, "/tree/d-107/sub/below", 0700));
    EQ(count_dir(s, "/tree/d-103"), 7);
    EQ(count_dir(s, "/tree/d-104"), 5);
    EQ(count_dir(s, "/tree/d-105"), 5);
    EQ(count_dir(s, "/tree/d-106"), 7);
    EQ(count_dir(s, "/tree/d-107/sub"), 4);
    EQ(exists(s, "/tree/d-105/f1"), -ENOENT);
    put(s, "/tree/d-108/f1", "longer", 0);
    OK(vfs_rename(&s->ctx, AT_FDCWD, "/tree/d-109", AT_FDCWD, "/tree/e-109", 0));
    dcache_shrink(s->sb, 0);
    EQ(stat_at(s, "/tree/d-108/f1").size, 6);
    EQ(count_dir(s, "/tree/e-109/sub"), 3);
    EQ(exists(s, "/tree/d-109"), -ENOENT);
    EQ(count_dir(s, "/tree"), 42);
    // Rewinding shows what is there now; seeking back finds the same entries.
    struct file *f = open_at(s, "/tree/d-110", O_RDONLY | O_DIRECTORY);
    struct counter c = {.dc = {.emit = count_one}};
    OK(f->ops->readdir(f, &c.dc));
    EQ(c.n, 6);
    put(s, "/tree/d-110/late", "l", 0);
    c = (struct counter){.dc = {.emit = count_one}};
    OK(f->ops->readdir(f, &c.dc));
    EQ(c.n, 7);
    file_put(f);
}
static void xattrs(struct setup *s)
{
    struct path p;
    char buf[64];
    put(s, "/xa", "", 0);
    OK(path_lookup(&s->ctx, AT_FDCWD, "/xa", 0, &p));
    struct inode *i = p.dentry->inode;
    mutex_lock(&i->lock);
    int err = i->ops->setxattr(i, "user.k", "value", 5, 0);
    mutex_unlock(&i->lock);
    if (err != -EOPNOTSUPP) {
        EQ(err, 0);
        EQ(i->ops->getxattr(i, "user.k", buf, sizeof(buf)), 5);
        EQ(i->ops->getxattr(i, "user.k", nullptr, 0), 5);
        EQ(i->ops->getxattr(i, "user.k", buf, 2), -ERANGE);
        EQ(i->ops->listxattr(i, buf, sizeof(buf)), 7);
        EQ(i->ops->getxattr(i, "user.none", buf, sizeof(buf)), -ENODATA);
        EQ(i->ops->setxattr(i, "trusted.x", "v", 1, 0), -EOPNOTSUPP);
    }
    path_put(p);
}
static void mappings(struct setup *s)
{
    put(s, "/map", "mapped file", O_TRUNC);
    struct file *f = open_at(s, "/map", O_RDWR);
    struct memobj *o;
    int fd = -1;
    OK(f->ops->mmap(f, &o));
    if (s->donate && !s->plain) {
        OK(o->ops->hostfd(o, false, true, &fd)); // private: the read-only one
        EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        OK(o->ops->hostfd(o, true, true, &fd));
        EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
    } else {
        EQ(o->ops->hostfd(o, true, true, &fd), -ENODEV);
    }
    file_put(f);
    memobj_put(o);
}
static void host_changes(struct setup *s)
{
    EQ(exists(s, "/late"), -ENOENT);
    host(s, "echo -n later > late");
    expect(s, "/late", "later");
    host(s, "echo -n longer-now > late2; mv late2 late");
    expect(s, "/late", "longer-now");
    EQ(stat_at(s, "/late").size, 10);
    host(s, "mv late late3; : > late"); // what is known by one name is there under another
    expect(s, "/late3", "longer-now");
    host(s, "rm late; mkdir -p from/below; echo -n in > from/below/f");
    EQ(exists(s, "/late"), -ENOENT);
    EQ(stat_at(s, "/from/below/f").size, 2);
    host(s, "mkdir to; mv from to/x; mkdir -p from/below; echo -n other > from/below/f");
    expect(s, "/to/x/below/f", "in");
    EQ(count_dir(s, "/to/x/below"), 3);
    put(s, "/log", "guest", 0);
    host(s, "echo -n host >> log");
    put(s, "/log", "guest", O_APPEND);
    expect(s, "/log", "guesthostguest");
}

// --- files opened one after the other ---
struct listed {
    struct dir_context dc;
    char name[64][16];
    int n;
};
static bool list_one(struct dir_context *dc, const char *name, size_t n, uint64_t ino, uint8_t dtype,
                     int64_t next)
{
    struct listed *l = container_of(dc, struct listed, dc);
    if (dtype == DT_REG)
        snprintf(l->name[l->n++], sizeof(l->name[0]), "%s", name);
    dc->pos = next;
    return true;
}
static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}
// Reads all files of /seq in l's order; how many requests the opens took (exclusive mounts).
static uint64_t read_all(struct setup *s, const struct listed *l)
{
    char p[64];
    for (int i = 0; i < l->n; i++) { // look-ups are another matter
        snprintf(p, sizeof(p), "/seq/%s", l->name[i]);
        stat_at(s, p);
    }
    uint64_t before = s->c->ncalls;
    for (int i = 0; i < l->n; i++) {
        snprintf(p, sizeof(p), "/seq/%s", l->name[i]);
        expect(s, p, l->name[i]);
    }
    return s->c->ncalls - before;
}
static void sequences(struct setup *s)
{
    static struct listed l; // too large for a fiber's stack
    l = (struct listed){.dc = {.emit = list_one}};
    struct file *f = open_at(s, "/seq", O_RDONLY | O_DIRECTORY);
    for (int64_t at = -1; at != l.dc.pos;) {
        at = l.dc.pos;
        OK(f->ops->readdir(f, &l.dc));
    }
    EQ(l.n, 60);
    bool ahead = s->donate && s->exclusive && !s->plain;
    uint64_t n = read_all(s, &l);
    CHECK(!ahead || n < 20);
    dcache_shrink(s->sb, 0); // and no descriptor of theirs is left
    qsort(l.name, 60, sizeof(l.name[0]), by_name);
    EQ(count_dir(s, "/seq"), 64); // the listing once more
    n = read_all(s, &l);
    CHECK(!ahead || n < 20);
    dcache_shrink(s->sb, 0);
    // What is opened ahead is not what the name means any more.
    for (int i = 0; i < 6; i++) {
        char p[64];
        snprintf(p, sizeof(p), "/seq/%s", l.name[i]);
        expect(s, p, l.name[i]);
    }
    char next[64], after[64];
    snprintf(next, sizeof(next), "/seq/%s", l.name[6]);
    snprintf(after, sizeof(after), "/seq/%s", l.name[7]);
    OK(vfs_unlink(&s->ctx, AT_FDCWD, next));
    EQ(exists(s, next), -ENOENT);
    put(s, next, "new", 0);
    expect(s, next, "new");
    OK(vfs_rename(&s->ctx, AT_FDCWD, next, AT_FDCWD, after, 0));
    expect(s, after, "new");
    if (!s->exclusive) {
        host(s, "for i in seq/*; do echo -n host > new; mv -f new $i; done; rm -rf seq/p");
        for (int i = 8; i < 60; i++) {
            snprintf(next, sizeof(next), "/seq/%s", l.name[i]);
            expect(s, next, "host");
        }
    }
    file_put(f);
}

static void start_mount(struct setup *s)
{
    c9_offer_plain = s->plain;
    OK(gofer_client_new(s->sock, &s->c));
    EQ(s->c->ext, !s->plain);
    OK(gofer_mount(s->c, "0", s->exclusive, s->readonly, &s->sb));
    mount_at_root(s);
}
void mount_at_root(struct setup *s)
{
    struct mount *m = mount_new(s->sb, s->sb->root, 0);
    CHECK(m);
    struct mntns *ns;
    OK(mntns_new(m, &ns));
    struct path root = {.mnt = m, .dentry = s->sb->root};
    struct fs_context *fs = fs_context_new(root, ns);
    CHECK(fs);
    fs->umask = 022;
    s->ctx = (struct lookup_ctx){.fs = fs, .cred = cred_new()};
    mntns_put(ns);
    mount_put(m);
}
static void end_mount(struct setup *s)
{
    fs_context_put(s->ctx.fs);
    cred_put((struct cred *)s->ctx.cred);
    super_put(s->sb);
    EQ(ref_count(&s->c->ref), 1); // nothing was left behind
    EQ(s->c->nfds, 0);
    EQ(s->c->nfids, 0);
    gofer_client_put(s->c);
}
void last_one(UNUSED void *arg)
{
    sched_stop();
}
static void whole(void *arg)
{
    struct setup *s = arg;
    host(s, "mkdir many && cd many && for i in $(seq 1000); do : > file-$i; done; ln -s x y");
    host(s, "mkdir tree && cd tree && for i in $(seq 100 139); do mkdir -p d-$i/sub; echo -n f1 > d-$i/f1; "
            "echo -n f02 > d-$i/f2; : > d-$i/f3; : > d-$i/sub/x; done");
    host(s, "mkdir seq && cd seq && for i in $(seq 60); do echo -n f-$i > f-$i; done; mkfifo p; ln -s f-1 l");
    start_mount(s);
    files(s);
    names(s);
    sequences(s);
    deep(s);
    many(s);
    tree(s);
    xattrs(s);
    mappings(s);
    if (!s->exclusive)
        host_changes(s);
    struct statfs b;
    OK(s->sb->ops->statfs(s->sb, &b));
    CHECK(b.f_blocks);
    end_mount(s);
    fiber_exit(last_one, nullptr);
}
static void readonly(void *arg)
{
    struct setup *s = arg;
    struct file *f;
    host(s, "echo -n there > f");
    start_mount(s);
    expect(s, "/f", "there");
    EQ(vfs_open(&s->ctx, AT_FDCWD, "/f", O_RDWR, 0, 0, &f), -EROFS);
    EQ(vfs_open(&s->ctx, AT_FDCWD, "/g", O_RDWR | O_CREAT, 0, 0, &f), -EROFS);
    EQ(vfs_mkdir(&s->ctx, AT_FDCWD, "/d", 0755), -EROFS);
    EQ(vfs_unlink(&s->ctx, AT_FDCWD, "/f"), -EROFS);
    end_mount(s);
    fiber_exit(last_one, nullptr);
}
// Fewer descriptors than files: the rest is read through the server.
static void few_descriptors(void *arg)
{
    struct setup *s = arg;
    struct file *f[200];
    struct rlimit old, low;
    char p[32], buf[8];
    start_mount(s);
    for (int i = 0; i < 200; i++) {
        snprintf(p, sizeof(p), "/n%d", i);
        put(s, p, p, 0);
    }
    CHECK(s->c->nfds >= 200);
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = 120;
    setrlimit(RLIMIT_NOFILE, &low);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 200; i++) {
            snprintf(p, sizeof(p), "/n%d", i);
            f[i] = open_at(s, p, round ? O_RDWR : O_RDONLY);
            EQ(file_read_kernel(f[i], buf, 8, 0), strlen(p));
            CHECK(!memcmp(buf, p, strlen(p)));
        }
        put(s, "/new", "x", O_TRUNC);
        for (int i = 0; i < 200; i++)
            file_put(f[i]);
        dcache_shrink(s->sb, 0);
    }
    setrlimit(RLIMIT_NOFILE, &old);
    end_mount(s);
    fiber_exit(last_one, nullptr);
}
static void lost(void *arg)
{
    struct setup *s = arg;
    struct path p;
    struct file *f;
    host(s, "echo -n there > f; echo -n more > g");
    start_mount(s);
    f = open_at(s, "/f", O_RDONLY);
    kill(s->server, SIGKILL);
    char buf[8];
    EQ(file_read_kernel(f, buf, 8, 0), 5); // what was donated stays
    EQ(path_lookup(&s->ctx, AT_FDCWD, "/g", 0, &p), -EIO);
    file_put(f);
    fs_context_put(s->ctx.fs);
    cred_put((struct cred *)s->ctx.cred);
    super_put(s->sb);
    gofer_client_put(s->c);
    fiber_exit(last_one, nullptr);
}

// --- many fibers at once: more than there are tags ---
constexpr int CROWD = 300;
static int crowd_left; // [A]
static void crowd_one(void *arg)
{
    struct setup *s = arg;
    static int next; // [A]
    int me = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
    char dir[32], a[64], b[64];
    snprintf(dir, sizeof(dir), "/c-%d", me % 10);
    int err = vfs_mkdir(&s->ctx, AT_FDCWD, dir, 0755);
    CHECK(!err || err == -EEXIST);
    snprintf(a, sizeof(a), "%s/a-%d", dir, me);
    snprintf(b, sizeof(b), "/c-%d/b-%d", (me + 1) % 10, me);
    for (int i = 0; i < 3; i++) {
        put(s, a, "text", O_TRUNC);
        expect(s, a, "text");
        err = vfs_mkdir(&s->ctx, AT_FDCWD, "/c-0", 0755);
        if (vfs_rename(&s->ctx, AT_FDCWD, a, AT_FDCWD, b, 0) == 0) { // (its directory may be yet to come)
            expect(s, b, "text");
            OK(vfs_unlink(&s->ctx, AT_FDCWD, b));
        } else {
            OK(vfs_unlink(&s->ctx, AT_FDCWD, a));
        }
        EQ(exists(s, a), -ENOENT);
        if (me % 16 == 0)
            dcache_shrink(s->sb, 0);
        stat_at(s, dir);
    }
    __atomic_sub_fetch(&crowd_left, 1, __ATOMIC_ACQ_REL);
    fiber_exit(nullptr, nullptr);
}
static void crowd(void *arg)
{
    struct setup *s = arg;
    start_mount(s);
    __atomic_store_n(&crowd_left, CROWD, __ATOMIC_RELEASE);
    for (int i = 0; i < CROWD; i++) {
        struct fiber *f = fiber_new(crowd_one, s, nullptr);
        CHECK(f);
        fiber_start(f);
    }
    while (__atomic_load_n(&crowd_left, __ATOMIC_ACQUIRE))
        fiber_park(ktime_now() + 1000000, PARK_UNINTERRUPTIBLE);
    end_mount(s);
    fiber_exit(last_one, nullptr);
}

static void run(struct setup s, void (*fn)(void *))
{
    serve(&s);
    struct sched_config cfg = {.nworkers = 2};
    assert_int_equal(sched_init(&cfg), 0);
    struct fiber *f = fiber_new(fn, &s, nullptr);
    assert_non_null(f);
    fiber_start(f);
    sched_run();
    clean(&s, fn == lost ? SIGKILL : 0);
}
TEST(gofer_exclusive)
{
    run((struct setup){.donate = true, .exclusive = true}, whole);
}
TEST(gofer_shared)
{
    run((struct setup){.donate = true}, whole);
}
TEST(gofer_without_donation)
{
    run((struct setup){.exclusive = true}, whole);
}
TEST(gofer_plain_protocol)
{
    run((struct setup){.exclusive = true, .plain = true}, whole);
}
TEST(gofer_plain_shared)
{
    run((struct setup){.plain = true, .donate = true}, whole);
}
TEST(gofer_readonly)
{
    run((struct setup){.donate = true, .exclusive = true, .readonly = true}, readonly);
}
TEST(gofer_connection_lost)
{
    run((struct setup){.donate = true, .exclusive = true}, lost);
}
TEST(gofer_crowd)
{
    run((struct setup){.donate = true, .exclusive = true}, crowd);
}
TEST(gofer_few_descriptors)
{
    run((struct setup){.donate = true, .exclusive = true}, few_descriptors);
}
