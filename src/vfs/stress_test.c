// SPDX-License-Identifier: Apache-2.0
// Several threads walk, create, rename and remove in the same few directories: for the sanitizers,
// and for references (nothing may be left when the world ends).
#include "vfs/vfs_test.h"
#include <pthread.h>
#include <stdlib.h>

static struct world w;
static uint32_t pick(uint64_t *s, uint32_t n)
{
    *s = *s * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*s >> 33) % n;
}
static void name_of(uint64_t *s, char *b, size_t n)
{
    static const char *const parts[] = {"a", "b", "c", "..", ".", "l"};
    int used = 0;
    for (uint32_t depth = 1 + pick(s, 4); depth; depth--)
        used += snprintf(b + used, n - (size_t)used, "%s%s", used ? "/" : "", parts[pick(s, 6)]);
}
static void check(int err)
{
    static const int fine[] = {0, ENOENT, EEXIST, ENOTDIR, EISDIR, ENOTEMPTY, EINVAL, EBUSY, EPERM, ELOOP, EXDEV,
                               EAGAIN, EFBIG, ETXTBSY};
    for (size_t i = 0; i < ARRAY_LEN(fine); i++)
        if (err == -fine[i])
            return;
    panic("unexpected error %d", err);
}
static void *worker(void *arg)
{
    uint64_t s = (uint64_t)(uintptr_t)arg * 77777;
    char a[64], b[64], buf[32];
    struct kstat st;
    for (int i = 0; i < 4000; i++) {
        name_of(&s, a, sizeof(a));
        name_of(&s, b, sizeof(b));
        switch (pick(&s, 10)) {
        case 0:
        case 1:
            check(vfs_mkdir(&w.c, AT_FDCWD, a, 0755));
            break;
        case 2:
            check(world_make(&w, a, "text"));
            break;
        case 3:
            check(vfs_unlink(&w.c, AT_FDCWD, a));
            break;
        case 4:
            check(vfs_rmdir(&w.c, AT_FDCWD, a));
            break;
        case 5:
            check(vfs_rename(&w.c, AT_FDCWD, a, AT_FDCWD, b, pick(&s, 3) ? 0 : RENAME_EXCHANGE));
            break;
        case 6:
            check(vfs_symlink(&w.c, b, AT_FDCWD, a));
            break;
        case 7:
            check(vfs_link(&w.c, AT_FDCWD, a, AT_FDCWD, b, 0));
            break;
        case 8: {
            long n = world_read(&w.c, a, buf, sizeof(buf));
            check(n < 0 ? (int)n : 0);
            break;
        }
        default:
            check(world_stat(&w.c, a, pick(&s, 2) ? LOOKUP_FOLLOW : LOOKUP_BENEATH, &st));
            if (i % 64 == 0)
                dcache_shrink(nullptr, 10);
        }
    }
    return nullptr;
}
TEST(vfs_stress)
{
    pthread_t t[4];
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "base", 0755));
    struct path p;
    OK(path_lookup(&w.c, AT_FDCWD, "base", 0, &p));
    path_put(w.fs->cwd);
    w.fs->cwd = p;
    struct super *sb = super_get(p.dentry->sb);
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], nullptr, worker, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], nullptr);
    world_close(&w);
    assert_int_equal(ref_count(&sb->ref), 1);
    super_put(sb);
}
static void *mounter(void *arg)
{
    const char *dir = arg;
    struct kstat st;
    for (int i = 0; i < 500; i++) {
        CHECK(vfs_mount(&w.c, "x", dir, "tmpfs", 0, "") == 0);
        check(world_stat(&w.c, "m1/../m2/.", 0, &st));
        check(world_stat(&w.c, "m2/../m1/..", 0, &st));
        CHECK(vfs_umount(&w.c, dir, i % 2 ? MNT_DETACH : 0) == 0 ||
              vfs_umount(&w.c, dir, MNT_DETACH) == 0); // a walk may hold it for a moment
    }
    return nullptr;
}
TEST(mount_stress)
{
    pthread_t t[2];
    world_open(&w);
    OK(vfs_mkdir(&w.c, AT_FDCWD, "m1", 0755));
    OK(vfs_mkdir(&w.c, AT_FDCWD, "m2", 0755));
    assert_int_equal(pthread_create(&t[0], nullptr, mounter, (void *)"m1"), 0);
    assert_int_equal(pthread_create(&t[1], nullptr, mounter, (void *)"m2"), 0);
    pthread_join(t[0], nullptr);
    pthread_join(t[1], nullptr);
    world_close(&w);
}
