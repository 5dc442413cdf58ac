// SPDX-License-Identifier: Apache-2.0
// One host file in two containers of a pod: each has a Gofer, mounts and inodes of its own, but locks,
// bound sockets, FIFOs and futexes in shared mappings must meet. They are on an inode that is found
// by the host's device and inode number: those of a donated descriptor, else those that the Gofer
// tells. (A Gofer that lies about them reaches what its pod's other containers hold on such files,
// not the files.) Only for bind mounts: a root file system is its container's alone.
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/gofer/gfs.h"
#include "host/raw.h"
#include <sys/stat.h>

struct gfs_common {
    struct inode vfs;   // of which locks, sock, fifo and the lock are used
    struct hnode hnode; // [common_lock]
    uint64_t dev, ino;  // [C] the host's
};
SLAB_DEFINE(common_slab, struct gfs_common);
static struct spinlock common_lock;
static struct htab commons; // [common_lock] by device and number

static uint64_t key_of(uint64_t dev, uint64_t ino)
{
    return hash_u64(ino ^ dev * 0x9e3779b97f4a7c15ull);
}

static void common_release(struct inode *i)
{
    struct gfs_common *c = container_of(i, struct gfs_common, vfs);
    spin_lock(&common_lock);
    htab_remove(&commons, &c->hnode);
    spin_unlock(&common_lock);
    slab_free(&common_slab, c);
}
static const struct inode_ops common_iops = {.release = common_release};

static int identify(struct gofer_inode *gi, uint64_t *dev, uint64_t *ino)
{
    if (S_ISREG(gi->vfs.mode) &&
        (gfs_fds_pin_cached(gi, GFS_READ) || gfs_fds_pin_cached(gi, GFS_WRITE))) {
        struct stat st;
        long r = host_call(__NR_fstat, gi->fds->ro >= 0 ? gi->fds->ro : gi->fds->wr, &st);
        gfs_fds_unpin(gi);
        *dev = st.st_dev;
        *ino = st.st_ino;
        return (int)r;
    }
    struct c9_node n;
    int err = gfs_walk_here(gi, &n);
    if (err)
        return err;
    *dev = n.attr.gen;
    *ino = n.attr.data_version;
    return *ino ? 0 : -ENOENT; // another server, which does not tell
}

static struct gfs_common *find_locked(uint64_t dev, uint64_t ino)
{
    for (struct hnode *h = htab_chain(&commons, key_of(dev, ino)); h; h = htab_chain_next(h)) {
        struct gfs_common *c = container_of(h, struct gfs_common, hnode);
        if (c->dev == dev && c->ino == ino && ref_get_unless_zero(&c->vfs.ref))
            return c;
    }
    return nullptr;
}

// With a reference; null: no memory.
static struct gfs_common *find_or_make(uint64_t dev, uint64_t ino, uint32_t type)
{
    struct gfs_common *neu = slab_alloc(&common_slab), *c;
    if (!neu)
        return nullptr;
    inode_init(&neu->vfs, vfs_anon_super(), &common_iops, nullptr, type, nullptr);
    neu->dev = dev;
    neu->ino = ino;
    spin_lock(&common_lock);
    c = find_locked(dev, ino);
    if (!c && htab_insert(&commons, &neu->hnode, key_of(dev, ino)) == 0) {
        c = neu;
        neu = nullptr;
    }
    spin_unlock(&common_lock);
    if (neu)
        slab_free(&common_slab, neu);
    return c;
}

struct inode *gfs_common(struct inode *i)
{
    uint64_t dev, ino;
    struct inode *none = nullptr;
    if (gs_of(i->sb)->exclusive || identify(gi_of(i), &dev, &ino))
        return i;
    struct gfs_common *c = find_or_make(dev, ino, i->mode & S_IFMT);
    if (!c)
        return i;
    if (__atomic_compare_exchange_n(&i->common, &none, &c->vfs, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return &c->vfs;
    inode_put(&c->vfs);
    return none;
}
