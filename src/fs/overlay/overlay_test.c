// SPDX-License-Identifier: Apache-2.0
// The overlay over tmpfs layers, through the VFS: what test/guest/overlay.c checks from inside a
// guest, and what a guest cannot see (the layers themselves).
#include "base/assert.h"
#include "base/test.h"
#include "fs/overlay/ovl.h"
#include "kern/cred.h"
#include "mem/uio.h"
#include "sched/fiber.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#define OK(x)                                                          \
    ({                                                                 \
        long ok_v = (long)(x);                                         \
        if (ok_v < 0)                                                  \
            panic("%s:%d: %s gave %ld", __FILE__, __LINE__, #x, ok_v); \
        ok_v;                                                          \
    })
#define EQ(a, b)                                                                          \
    do {                                                                                  \
        long long eq_a = (long long)(a), eq_b = (long long)(b);                           \
        if (eq_a != eq_b)                                                                 \
            panic("%s:%d: %s is %lld, not %lld", __FILE__, __LINE__, #a, eq_a, eq_b);     \
    } while (0)

struct view { // a file system as a task at its root sees it
    struct super *sb;
    struct lookup_ctx ctx;
};
static void view_init(struct view *v, struct super *sb)
{
    struct mount *m = mount_new(sb, sb->root, 0);
    struct mntns *ns;
    CHECK(m);
    OK(mntns_new(m, &ns));
    v->sb = sb;
    v->ctx = (struct lookup_ctx){.fs = fs_context_new((struct path){m, sb->root}, ns),
                                 .cred = cred_new()};
    v->ctx.fs->umask = 022;
    mntns_put(ns);
    mount_put(m);
}
static void view_free(struct view *v)
{
    fs_context_put(v->ctx.fs);
    cred_put((struct cred *)v->ctx.cred);
    super_put(v->sb);
}
static struct super *tmpfs(void)
{
    struct super *sb;
    const struct fs_type *t = fs_type_find("tmpfs");
    OK(t->mount(t, "tmpfs", "", nullptr, &sb));
    return sb;
}
static struct file *open_at(struct view *v, const char *p, int flags)
{
    struct file *f;
    OK(vfs_open(&v->ctx, AT_FDCWD, p, flags, 0644, 0, &f));
    return f;
}
static void write_to(struct file *f, const char *text)
{
    struct uiovec iv;
    struct uio u = uio_kernel(&iv, (void *)text, strlen(text));
    EQ(file_write(f, &u, nullptr), strlen(text));
}
static void put(struct view *v, const char *p, const char *text, int flags)
{
    struct file *f = open_at(v, p, O_WRONLY | O_CREAT | flags);
    write_to(f, text);
    file_put(f);
}
static void expect(struct view *v, const char *p, const char *text)
{
    char buf[256];
    struct file *f = open_at(v, p, O_RDONLY);
    long n = file_read_kernel(f, buf, sizeof(buf), 0);
    if (n != (long)strlen(text) || memcmp(buf, text, (size_t)n))
        panic("%s is \"%.*s\", not \"%s\"", p, (int)n, buf, text);
    file_put(f);
}
static struct kstat stat_at(struct view *v, const char *p)
{
    struct path path;
    struct kstat st;
    OK(path_lookup(&v->ctx, AT_FDCWD, p, 0, &path));
    OK(vfs_getattr(&path, &st));
    path_put(path);
    return st;
}
static int exists(struct view *v, const char *p)
{
    struct path path;
    int err = path_lookup(&v->ctx, AT_FDCWD, p, 0, &path);
    if (!err)
        path_put(path);
    return err;
}
static void mkdir_at(struct view *v, const char *p)
{
    OK(vfs_mkdir(&v->ctx, AT_FDCWD, p, 0755));
}
static int rename_at(struct view *v, const char *a, const char *b, unsigned flags)
{
    return vfs_rename(&v->ctx, AT_FDCWD, a, AT_FDCWD, b, flags);
}

struct names {
    struct dir_context dc;
    char list[512];
    int n;
};
static bool note(struct dir_context *dc, const char *name, size_t n, uint64_t ino, uint8_t dtype,
                 int64_t next)
{
    struct names *k = container_of(dc, struct names, dc);
    dc->pos = next;
    if (name[0] == '.')
        return true;
    k->n++;
    if (strlen(k->list) + n + 2 < sizeof(k->list)) {
        strncat(k->list, name, n);
        strcat(k->list, " ");
    }
    return true;
}
static void expect_dir(struct view *v, const char *p, const char *list)
{
    struct names k = {.dc = {.emit = note}};
    struct file *f = open_at(v, p, O_RDONLY | O_DIRECTORY);
    OK(f->ops->readdir(f, &k.dc));
    file_put(f);
    if (strcmp(k.list, list))
        panic("%s holds \"%s\", not \"%s\"", p, k.list, list);
}

struct stack {
    struct view low, up, o;
};
// Lower: /a "lower", /d/{x,y}, /d/sub/deep "deep", /h1 = /h2 "hard", /s -> a, /empty
static void stack_init(struct stack *s)
{
    view_init(&s->low, tmpfs());
    view_init(&s->up, tmpfs());
    put(&s->low, "/a", "lower", 0);
    mkdir_at(&s->low, "/d");
    put(&s->low, "/d/x", "x", 0);
    put(&s->low, "/d/y", "y", 0);
    mkdir_at(&s->low, "/d/sub");
    put(&s->low, "/d/sub/deep", "deep", 0);
    put(&s->low, "/h1", "hard", 0);
    OK(vfs_link(&s->low.ctx, AT_FDCWD, "/h1", AT_FDCWD, "/h2", 0));
    OK(vfs_symlink(&s->low.ctx, "a", AT_FDCWD, "/s"));
    mkdir_at(&s->low, "/empty");
    struct super *sb;
    struct path lower = {.dentry = s->low.sb->root};
    OK(overlay_mount(&lower, 1, s->up.sb, &sb));
    view_init(&s->o, sb);
}
static void stack_free(struct stack *s)
{
    view_free(&s->o);
    expect(&s->low, "/a", "lower"); // whatever happened above
    expect(&s->low, "/d/sub/deep", "deep");
    expect_dir(&s->low, "/d", "x y sub ");
    EQ(ref_count(&s->low.sb->ref), 2); // ours and its mount's: the overlay is gone
    view_free(&s->up);
    view_free(&s->low);
}

static void copy_up(struct stack *s)
{
    struct view *o = &s->o;
    expect(o, "/a", "lower");
    struct kstat before = stat_at(o, "/a");
    struct file *old = open_at(o, "/a", O_RDONLY);
    put(o, "/a", "+", O_APPEND);
    expect(o, "/a", "lower+");
    EQ(stat_at(o, "/a").ino, before.ino);
    EQ(stat_at(o, "/a").dev, before.dev);
    EQ(stat_at(o, "/a").size, 6);
    char buf[8];
    EQ(file_read_kernel(old, buf, 8, 0), 6); // opened before, reads the copy
    file_put(old);
    dcache_shrink(o->sb, 0);
    EQ(stat_at(o, "/a").ino, before.ino); // also when all was forgotten
    put(o, "/d/sub/deep", "new", O_TRUNC);
    expect(o, "/d/sub/deep", "new");
    expect(&s->up, "/d/sub/deep", "new");
    EQ(exists(&s->up, "/d/x"), -ENOENT);
    expect(o, "/d/x", "x");
    struct path p;
    OK(path_lookup(&o->ctx, AT_FDCWD, "/d/x", 0, &p));
    struct iattr ia = {.valid = IATTR_MODE, .mode = 04755};
    OK(vfs_setattr(&p, &ia, o->ctx.cred));
    path_put(p);
    EQ(stat_at(o, "/d/x").mode, S_IFREG | 04755);
    expect(o, "/d/x", "x");
    expect_dir(o, "/d", "sub x y ");
    expect_dir(o, "/d/sub", "deep ");
}
static void removal(struct stack *s)
{
    struct view *o = &s->o;
    OK(vfs_unlink(&o->ctx, AT_FDCWD, "/d/x"));
    EQ(exists(o, "/d/x"), -ENOENT);
    expect_dir(o, "/d", "y sub ");
    EQ(stat_at(&s->up, "/d/x").mode, S_IFCHR);
    EQ(vfs_rmdir(&o->ctx, AT_FDCWD, "/d"), -ENOTEMPTY);
    OK(vfs_unlink(&o->ctx, AT_FDCWD, "/d/y"));
    OK(vfs_unlink(&o->ctx, AT_FDCWD, "/d/sub/deep"));
    OK(vfs_rmdir(&o->ctx, AT_FDCWD, "/d/sub"));
    expect_dir(o, "/d", "");
    OK(vfs_rmdir(&o->ctx, AT_FDCWD, "/d"));
    EQ(exists(o, "/d"), -ENOENT);
    mkdir_at(o, "/d"); // nothing of the old one shines through
    expect_dir(o, "/d", "");
    EQ(exists(o, "/d/y"), -ENOENT);
    dcache_shrink(o->sb, 0);
    expect_dir(o, "/d", "");
    put(o, "/d/y", "again", 0);
    expect(o, "/d/y", "again");
    // An open file survives its name, and can be changed.
    struct file *f = open_at(o, "/a", O_RDONLY);
    OK(vfs_unlink(&o->ctx, AT_FDCWD, "/a"));
    char buf[8];
    EQ(file_read_kernel(f, buf, 8, 0), 5);
    struct kstat st;
    OK(vfs_getattr(&f->path, &st));
    EQ(st.nlink, 0);
    struct iattr ia = {.valid = IATTR_MODE, .mode = 0600};
    OK(vfs_setattr(&f->path, &ia, o->ctx.cred));
    OK(vfs_getattr(&f->path, &st));
    EQ(st.mode, S_IFREG | 0600);
    EQ(exists(o, "/a"), -ENOENT);
    EQ(file_read_kernel(f, buf, 8, 0), 5);
    file_put(f);
    put(o, "/a", "fresh", 0);
    expect(o, "/a", "fresh");
}
static void renames(struct stack *s)
{
    struct view *o = &s->o;
    OK(rename_at(o, "/a", "/b", 0));
    EQ(exists(o, "/a"), -ENOENT);
    expect(o, "/b", "lower");
    EQ(exists(o, "/s"), 0); // the link itself
    mkdir_at(o, "/m");
    OK(rename_at(o, "/b", "/m/c", 0));
    expect(o, "/m/c", "lower");
    OK(rename_at(o, "/d/x", "/d/y", 0)); // over a lower file
    expect(o, "/d/y", "x");
    expect_dir(o, "/d", "y sub ");
    OK(rename_at(o, "/m/c", "/a", 0)); // onto its own whiteout
    expect(o, "/a", "lower");
    expect(o, "/s", "lower");
    dcache_shrink(o->sb, 0);
    expect(o, "/a", "lower");
    EQ(exists(o, "/d/x"), -ENOENT);
    OK(rename_at(o, "/d/y", "/h1", RENAME_EXCHANGE));
    expect(o, "/h1", "x");
    expect(o, "/d/y", "hard");
}
static void renamed_dirs(struct stack *s)
{
    struct view *o = &s->o;
    uint64_t ino = stat_at(o, "/d").ino;
    OK(rename_at(o, "/d", "/e", 0));
    EQ(exists(o, "/d"), -ENOENT);
    expect(o, "/e/sub/deep", "deep");
    expect_dir(o, "/e", "x y sub ");
    EQ(stat_at(o, "/e").ino, ino);
    dcache_shrink(o->sb, 0);
    expect(o, "/e/sub/deep", "deep");
    put(o, "/e/x", "X", O_TRUNC);
    expect(o, "/e/x", "X");
    // Again, deeper: a part of the moved one, and the moved one into it.
    mkdir_at(o, "/n");
    OK(rename_at(o, "/e/sub", "/n/sub", 0));
    expect(o, "/n/sub/deep", "deep");
    EQ(exists(o, "/e/sub"), -ENOENT);
    OK(rename_at(o, "/e", "/n/sub/e", 0));
    dcache_shrink(o->sb, 0);
    expect(o, "/n/sub/e/x", "X");
    expect(o, "/n/sub/e/y", "y");
    EQ(exists(o, "/n/sub/e/sub"), -ENOENT);
    mkdir_at(o, "/d"); // where it was
    expect_dir(o, "/d", "");
    OK(rename_at(o, "/n/sub/e", "/d", 0)); // over an empty one
    expect(o, "/d/y", "y");
    EQ(rename_at(o, "/d", "/n", 0), -ENOTEMPTY);
    EQ(rename_at(o, "/n", "/n/sub/n", 0), -EINVAL);
    OK(rename_at(o, "/n", "/d", RENAME_EXCHANGE));
    expect(o, "/d/sub/deep", "deep");
    expect(o, "/n/y", "y");
    OK(rename_at(o, "/n", "/empty", 0)); // over an empty lower one
    expect(o, "/empty/y", "y");
    dcache_shrink(o->sb, 0);
    expect(o, "/empty/y", "y");
    expect(o, "/d/sub/deep", "deep");
    EQ(exists(o, "/n"), -ENOENT);
}
static void hard_links(struct stack *s)
{
    struct view *o = &s->o;
    EQ(stat_at(o, "/h1").ino, stat_at(o, "/h2").ino);
    EQ(stat_at(o, "/h1").nlink, 2);
    put(o, "/h1", "er", O_APPEND);
    expect(o, "/h2", "harder"); // both names are still one file
    dcache_shrink(o->sb, 0);
    expect(o, "/h2", "harder");
    EQ(stat_at(o, "/h1").ino, stat_at(o, "/h2").ino);
    OK(vfs_link(&o->ctx, AT_FDCWD, "/h2", AT_FDCWD, "/d/h3", 0));
    EQ(stat_at(o, "/d/h3").nlink, 3);
    OK(vfs_unlink(&o->ctx, AT_FDCWD, "/h1"));
    EQ(stat_at(o, "/h2").nlink, 2);
    put(o, "/d/h3", "x", O_TRUNC);
    expect(o, "/h2", "x");
    OK(vfs_unlink(&o->ctx, AT_FDCWD, "/h2"));
    OK(vfs_unlink(&o->ctx, AT_FDCWD, "/d/h3"));
    EQ(exists(o, "/h2"), -ENOENT);
    // A link to a lower file copies it up.
    OK(vfs_link(&o->ctx, AT_FDCWD, "/a", AT_FDCWD, "/a2", 0));
    put(o, "/a2", "!", O_APPEND);
    expect(o, "/a", "lower!");
    EQ(stat_at(o, "/a").nlink, 2);
}
static void many(struct stack *s)
{
    struct view *o = &s->o;
    for (int i = 0; i < 300; i++) {
        char p[32];
        snprintf(p, sizeof(p), "/d/f%d", i);
        put(o, p, "", 0);
    }
    struct names k = {.dc = {.emit = note}};
    struct file *f = open_at(o, "/d", O_RDONLY | O_DIRECTORY);
    OK(f->ops->readdir(f, &k.dc));
    EQ(k.n, 303);
    for (int i = 0; i < 300; i++) {
        char p[32];
        snprintf(p, sizeof(p), "/d/f%d", i);
        OK(vfs_unlink(&o->ctx, AT_FDCWD, p));
    }
    k.dc.pos = 0;
    k.n = 0;
    OK(f->ops->readdir(f, &k.dc));
    EQ(k.n, 3);
    file_put(f);
}
static void metadata(struct stack *s)
{
    struct view *o = &s->o;
    struct path p;
    char buf[64];
    struct kstat d0 = stat_at(o, "/d");
    OK(path_lookup(&o->ctx, AT_FDCWD, "/d/x", 0, &p));
    struct inode *i = p.dentry->inode;
    mutex_lock(&i->lock);
    OK(i->ops->setxattr(i, "trusted.mine", "v", 1, 0));
    EQ(i->ops->setxattr(i, "trusted.overlay.opaque", "y", 1, 0), -EOPNOTSUPP);
    mutex_unlock(&i->lock);
    EQ(i->ops->getxattr(i, "trusted.mine", buf, sizeof(buf)), 1);
    EQ(i->ops->listxattr(i, buf, sizeof(buf)), strlen("trusted.mine") + 1); // not ours
    EQ(i->ops->listxattr(i, nullptr, 0), strlen("trusted.mine") + 1);
    path_put(p);
    struct kstat d1 = stat_at(o, "/d");
    EQ(d1.mtime.sec, d0.mtime.sec); // copy-up is no change of the directory
    EQ(d1.mtime.nsec, d0.mtime.nsec);
    EQ(vfs_mknod(&o->ctx, AT_FDCWD, "/w", S_IFCHR, 0), -EPERM);
    OK(vfs_mknod(&o->ctx, AT_FDCWD, "/fifo", S_IFIFO | 0600, 0));
    OK(rename_at(o, "/fifo", "/d/fifo", 0));
    EQ(stat_at(o, "/d/fifo").mode, S_IFIFO | 0600);
    OK(rename_at(o, "/s", "/d/s", 0));
    struct file *f;
    OK(vfs_open(&o->ctx, AT_FDCWD, "/d", O_RDWR | 020000000 | O_DIRECTORY, 0600, 0, &f));
    write_to(f, "tmp");
    EQ(file_read_kernel(f, buf, 8, 0), 3);
    file_put(f);
}

static void last_one(UNUSED void *arg)
{
    sched_stop();
}
static void body(void *arg)
{
    struct stack s;
    stack_init(&s);
    ((void (*)(struct stack *))arg)(&s);
    stack_free(&s);
    fiber_exit(last_one, nullptr);
}
static void run(void (*fn)(struct stack *))
{
    struct sched_config cfg = {.nworkers = 1};
    assert_int_equal(sched_init(&cfg), 0);
    struct fiber *f = fiber_new(body, (void *)fn, nullptr);
    assert_non_null(f);
    fiber_start(f);
    sched_run();
}
TEST(overlay_copy_up)
{
    run(copy_up);
}
TEST(overlay_removal)
{
    run(removal);
}
TEST(overlay_rename_files)
{
    run(renames);
}
TEST(overlay_rename_directories)
{
    run(renamed_dirs);
}
TEST(overlay_hard_links)
{
    run(hard_links);
}
TEST(overlay_many_entries)
{
    run(many);
}
TEST(overlay_metadata)
{
    run(metadata);
}
