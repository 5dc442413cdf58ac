// SPDX-License-Identifier: Apache-2.0
// What a mapping maps: an object with a host descriptor behind it (a donated regular file, or a
// file of the Sentry's private tmpfs). The VFS implements one per mapped inode.
#pragma once
#include "base/ref.h"
#include "base/strbuf.h"

struct memobj;
struct memobj_ops {
    // The host descriptor to map: writable only when the mapping is MAP_SHARED and may be written.
    // Stays valid while the memobj is referenced. 0 / -errno (ENODEV: cannot be mapped,
    // EACCES). May do Gofer round trips.
    int (*hostfd)(struct memobj *o, bool shared, bool write, int *fd);
    // For /proc/PID/maps: device, inode number and path. Path as seen from the reader's root is
    // approximated by the path at open time.
    void (*describe)(struct memobj *o, uint64_t *dev, uint64_t *ino, struct strbuf *path);
    void (*release)(struct memobj *o);
    // MADV_REMOVE: the bytes become zero and their memory is freed.     default: -EOPNOTSUPP
    int (*punch)(struct memobj *o, uint64_t off, uint64_t len);
    // What shared futexes in it go by: objects that show the same memory have the same. Valid while o is
    // referenced.                                                       default: o
    void *(*identity)(struct memobj *o);
    // msync(MS_SYNC): to stable storage.                                default: nothing to do
    int (*sync)(struct memobj *o);
};
struct memobj {
    const struct memobj_ops *ops; // [C]
    struct ref ref;
};
static inline struct memobj *memobj_get(struct memobj *o)
{
    ref_get(&o->ref);
    return o;
}
static inline void memobj_put(struct memobj *o)
{
    if (o && ref_put(&o->ref))
        o->ops->release(o);
}
// An object on a new unlinked file of the Sentry's private tmpfs, for MAP_SHARED|MAP_ANONYMOUS,
// SysV shm, memfd and tmpfs files that get mapped.  (mem/shmobj.c)
MUST_CHECK int shmobj_new(uint64_t size, const char *name, struct memobj **out);
int shmobj_rdwr_fd(struct memobj *o);                  // descriptor for the kernel's own I/O
// The kernel's own view of its first SHM_VIEW bytes, for small writes that come again and again to the same
// pages. Only pages that were written through the descriptor are seen there (shmobj_written), until the
// object is cut or punched (shmobj_cut): they exist, so that an access cannot fault. The caller keeps
// all of these calls and the accesses in order by a lock of its own, and is the only one who cuts.
constexpr uint64_t SHM_VIEW = 16 << 20;
uint8_t *shmobj_view(const struct memobj *o, uint64_t off, size_t n); // null: by the descriptor
void shmobj_written(struct memobj *o, uint64_t off, size_t n);
void shmobj_cut(struct memobj *o);
int shmobj_init_dir(int tmpfs_dirfd);                  // before lockdown
