// SPDX-License-Identifier: Apache-2.0
// Superblocks, and the device numbers of file systems without a device. A superblock lives as long
// as its mounts and whoever else holds a reference; its dentries do not keep it alive and go first.
#include "vfs/internal.h"
#include <string.h>
#include <sys/sysmacros.h>

SLAB_DEFINE(super_slab, struct super);
static uint32_t next_minor = 20;

uint64_t vfs_new_dev(void)
{
    return makedev(0, __atomic_add_fetch(&next_minor, 1, __ATOMIC_RELAXED));
}

struct super *super_new(const struct fs_type *t, const struct super_ops *ops)
{
    struct super *sb = slab_alloc(&super_slab);
    if (!sb)
        return nullptr;
    sb->type = t;
    sb->ops = ops;
    ref_init(&sb->ref);
    mutex_init(&sb->rename_lock, RANK_RENAME);
    sb->dev = vfs_new_dev();
    sb->maxbytes = INT64_MAX;
    return sb;
}

struct super *super_get(struct super *sb)
{
    ref_get(&sb->ref);
    return sb;
}

void super_put(struct super *sb)
{
    if (!sb || !ref_put(&sb->ref))
        return;
    fsnotify_unmount(sb);
    dcache_kill(sb);
    if (sb->ops->release)
        sb->ops->release(sb);
    mem_free(sb->source);
    slab_free(&super_slab, sb);
}

static const struct super_ops anon_ops = {};
static const struct fs_type anon_type = {.name = "anon_inodefs", .nodev = true};

// Made once, before any guest runs, by whoever comes first; never goes.
struct super *vfs_anon_super(void)
{
    static struct super *anon;
    struct super *sb = __atomic_load_n(&anon, __ATOMIC_ACQUIRE), *none = nullptr;
    if (sb)
        return sb;
    sb = super_new(&anon_type, &anon_ops);
    CHECK(sb);
    sb->magic = 0x09041934; // ANON_INODE_FS_MAGIC
    if (__atomic_compare_exchange_n(&anon, &none, sb, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return sb;
    super_put(sb);
    return none;
}
