// SPDX-License-Identifier: Apache-2.0
// tmpfs data: the page tree and whole files against simple models, before and after the move to a
// shared memory object; limits and what they charge.
#include "fs/tmpfs/internal.h"
#include "mem/memobj.h"
#include "vfs/vfs_test.h"
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

TEST(tmpfs_page_tree)
{
    enum { N = 3000 };
    static uint64_t index[N];
    static struct tmpfs_page pages[N];
    struct tmpfs_pages t = {};
    srand(5);
    assert_int_equal(tmpfs_pages_next(&t, 0), UINT64_MAX);
    for (int i = 0; i < N; i++) {
        uint64_t at = i < 64 ? (uint64_t)i * 3 : ((uint64_t)rand() << 20 | (uint64_t)rand() % 4096) % TMPFS_PAGES_MAX;
        if (tmpfs_pages_get(&t, at))
            at = TMPFS_PAGES_MAX - 1 - (uint64_t)i;
        index[i] = at;
        OK(tmpfs_pages_put(&t, at, &pages[i]));
    }
    ERR(tmpfs_pages_put(&t, TMPFS_PAGES_MAX, &pages[0]), EFBIG);
    assert_int_equal(t.count, N);
    for (int i = 0; i < N; i++)
        assert_ptr_equal(tmpfs_pages_get(&t, index[i]), &pages[i]);
    uint64_t n = 0, last = 0;
    for (uint64_t i = 0; (i = tmpfs_pages_next(&t, i)) != UINT64_MAX; i++, n++) {
        assert_true(n == 0 || i > last);
        last = i;
    }
    assert_int_equal(n, N);
    for (int i = 0; i < N; i += 2)
        assert_ptr_equal(tmpfs_pages_take(&t, index[i]), &pages[i]);
    for (int i = 0; i < N; i++)
        assert_ptr_equal(tmpfs_pages_get(&t, index[i]), i % 2 ? &pages[i] : nullptr);
    assert_null(tmpfs_pages_take(&t, index[0]));
    for (uint64_t i = 0; (i = tmpfs_pages_next(&t, i)) != UINT64_MAX; i++)
        assert_non_null(tmpfs_pages_take(&t, i));
    assert_null(t.root);
    assert_int_equal(t.count, 0);
}

static long write_at(struct file *f, const void *b, size_t n, int64_t at)
{
    struct uiovec v;
    struct uio u = uio_kernel(&v, (void *)b, n);
    return file_write(f, &u, &at);
}
enum { SPACE = 60000 };
struct model {
    uint8_t b[SPACE];
    size_t size;
};
static void compare(struct file *f, const struct model *m)
{
    static uint8_t got[SPACE + 10];
    assert_int_equal(f->inode->size, m->size);
    assert_int_equal(file_read_kernel(f, got, sizeof(got), 0), m->size);
    assert_memory_equal(got, m->b, m->size);
}
static void random_step(struct file *f, struct model *m, struct cred *c)
{
    static uint8_t data[SPACE];
    size_t at = (size_t)rand() % SPACE, n = (size_t)rand() % (SPACE - at);
    if (rand() % 2)
        n %= 5000;
    switch (rand() % 4) {
    case 0:
        if (!n)
            break;
        memset(data, rand(), n);
        assert_int_equal(write_at(f, data, n, (int64_t)at), n);
        memcpy(m->b + at, data, n);
        m->size = MAX(m->size, at + n);
        break;
    case 1:
        OK(inode_truncate(f->inode, at, c));
        if (at < m->size)
            memset(m->b + at, 0, m->size - at);
        m->size = at;
        break;
    case 2:
        if (!n)
            break;
        OK(f->ops->fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (int64_t)at, (int64_t)n));
        memset(m->b + at, 0, n);
        break;
    default:
        if (!n)
            break;
        OK(f->ops->fallocate(f, rand() % 2 ? FALLOC_FL_KEEP_SIZE : 0, (int64_t)at, (int64_t)n));
        break;
    }
    if (f->inode->size > m->size) // the fallocate that extends
        m->size = f->inode->size;
}
static struct file *fresh(struct world *w, const char *name)
{
    struct file *f;
    OK(vfs_open(&w->c, AT_FDCWD, name, O_CREAT | O_RDWR, 0644, 0, &f));
    return f;
}
static void use_shm_dir(void)
{
    static bool done;
    if (!done)
        OK(shmobj_init_dir(open("/dev/shm", O_RDONLY | O_DIRECTORY)));
    done = true;
}
TEST(tmpfs_data_model)
{
    struct world w;
    static struct model m;
    world_open(&w);
    use_shm_dir();
    srand(77);
    for (int round = 0; round < 2; round++) {
        struct file *f = fresh(&w, round ? "shm" : "pages");
        struct memobj *obj = nullptr;
        m = (struct model){};
        for (int i = 0; i < 3000; i++) {
            random_step(f, &m, w.root);
            compare(f, &m);
            if (round && i == 100) // mapped now: the data moves, nothing else changes
                OK(f->ops->mmap(f, &obj));
        }
        memobj_put(obj);
        file_put(f);
    }
    world_close(&w);
}
static void free_is(struct super *sb, uint64_t pages)
{
    struct statfs s = {};
    OK(sb->ops->statfs(sb, &s));
    assert_int_equal(s.f_bfree, pages);
}
TEST(tmpfs_limits)
{
    struct world w;
    static uint8_t b[65536];
    world_open(&w);
    use_shm_dir();
    OK(vfs_mkdir(&w.c, AT_FDCWD, "m", 0755));
    OK(vfs_mount(&w.c, "x", "m", "tmpfs", 0, "size=32k,nr_inodes=3"));
    for (int mapped = 0; mapped < 2; mapped++) {
        struct memobj *obj = nullptr;
        struct file *f = fresh(&w, "m/f");
        struct super *sb = f->inode->sb;
        if (mapped)
            OK(f->ops->mmap(f, &obj));
        assert_int_equal(write_at(f, b, sizeof(b), 0), 32768);
        free_is(sb, 0);
        ERR(write_at(f, b, 1, 32768), ENOSPC);
        assert_int_equal(write_at(f, b, 100, 0), 100);
        OK(inode_truncate(f->inode, 4097, w.root));
        free_is(sb, 6);
        ERR(f->ops->fallocate(f, 0, 0, 40000), ENOSPC);
        free_is(sb, 6);
        OK(f->ops->fallocate(f, FALLOC_FL_KEEP_SIZE, 0, 32768));
        free_is(sb, 0);
        OK(f->ops->fallocate(f, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 4096, 1 << 20));
        free_is(sb, 7);
        OK(vfs_unlink(&w.c, AT_FDCWD, "m/f"));
        free_is(sb, 7);
        memobj_put(obj);
        super_get(sb);
        file_put(f);
        free_is(sb, 8);
        super_put(sb);
    }
    file_put(fresh(&w, "m/1"));
    file_put(fresh(&w, "m/2"));
    struct file *f;
    ERR(vfs_open(&w.c, AT_FDCWD, "m/3", O_CREAT | O_RDWR, 0644, 0, &f), ENOSPC);
    ERR(vfs_mkdir(&w.c, AT_FDCWD, "m/3", 0755), ENOSPC);
    ERR(vfs_symlink(&w.c, "x", AT_FDCWD, "m/3"), ENOSPC);
    ERR(vfs_mount(&w.c, nullptr, "m", nullptr, MS_REMOUNT, "nr_inodes=2"), EINVAL);
    OK(vfs_mount(&w.c, nullptr, "m", nullptr, MS_REMOUNT, "nr_inodes=4"));
    file_put(fresh(&w, "m/3"));
    ERR(vfs_mount(&w.c, "x", "m", "tmpfs", 0, "size=1x"), EINVAL);
    ERR(vfs_mount(&w.c, "x", "m", "tmpfs", 0, "nonsense"), EINVAL);
    world_close(&w);
}
TEST(tmpfs_far_page)
{
    struct world w;
    world_open(&w);
    struct file *f = fresh(&w, "far");
    int64_t far = 1ll << 45;
    assert_int_equal(write_at(f, "z", 1, far), 1);
    assert_int_equal(file_seek(f, 0, SEEK_DATA), far);
    assert_int_equal(file_seek(f, 0, SEEK_HOLE), 0);
    ERR(file_seek(f, far + 1, SEEK_DATA), ENXIO);
    assert_int_equal(f->inode->blocks, 8);
    file_put(f);
    world_close(&w);
}
struct lister {
    struct dir_context dc;
    int n, limit;
    char last[256];
};
static bool list_emit(struct dir_context *dc, const char *name, size_t n, uint64_t ino, uint8_t type,
                      int64_t next)
{
    struct lister *l = container_of(dc, struct lister, dc);
    if (l->n == l->limit)
        return false;
    memcpy(l->last, name, n);
    l->last[n] = 0;
    l->n++;
    return true;
}
TEST(tmpfs_readdir_positions)
{
    struct world w;
    char name[32];
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "d", 0755));
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "d/%d", i);
        OK(world_make(&w, name, ""));
    }
    struct file *f;
    OK(vfs_open(&w.c, AT_FDCWD, "d", O_RDONLY, 0, 0, &f));
    struct lister l = {.dc.emit = list_emit};
    bool seen[500] = {};
    for (int step = 0;; step++) { // one at a time, while others come and go
        l.n = 0;
        l.limit = 1;
        OK(f->ops->readdir(f, &l.dc));
        if (!l.n)
            break;
        if (l.last[0] == '.' || l.last[0] == 'x')
            continue;
        int at = atoi(l.last);
        assert_false(seen[at]);
        seen[at] = true;
        if (step < 200) {
            snprintf(name, sizeof(name), "d/%d", at);
            OK(vfs_unlink(&w.c, AT_FDCWD, name));
            snprintf(name, sizeof(name), "d/x%d", step);
            OK(world_make(&w, name, ""));
        }
    }
    for (int i = 0; i < 500; i++)
        assert_true(seen[i]);
    file_put(f);
    world_close(&w);
}
