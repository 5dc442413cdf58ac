// SPDX-License-Identifier: Apache-2.0
// Shared memory objects: an unlinked file each in the Sentry's private tmpfs, opened twice, because
// read-only for a stub means a read-only descriptor (a writable one could be mprotected writable).
// The directory is handed over before lockdown; names exist for microseconds and nobody else sees
// the directory.
#include "mem/memobj.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "host/raw.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>

struct shm_view {
    uint8_t *at;
    uint64_t pages[SHM_VIEW / PAGE_SIZE / 64]; // bit: written since the last cut, it is there
};
struct shmobj {
    struct memobj base;
    int rw, ro;    // host descriptors, owned
    uint64_t ino;  // [C] as the guest sees it
    char *name;    // owned, may be null
    uint32_t writes;       // [the caller's lock] while there is no view
    struct shm_view *view; // [the caller's lock] owned
};
SLAB_DEFINE(shmobj_slab, struct shmobj);
SLAB_DEFINE(shm_view_slab, struct shm_view);
constexpr uint32_t VIEW_AFTER = 16; // writes
constexpr uint32_t VIEWS_MAX = 1024; // mappings and their page tables are the kernel's
static uint32_t views;              // [A]

static int shm_dirfd = -1;
static uint64_t shm_serial;

static struct shmobj *to_shmobj(struct memobj *o)
{
    return container_of(o, struct shmobj, base);
}

int shmobj_init_dir(int tmpfs_dirfd)
{
    shm_dirfd = tmpfs_dirfd;
    return 0;
}

static int open_pair(struct shmobj *s)
{
    if (shm_dirfd < 0) { // unit tests: no private tmpfs, one descriptor serves as both
        long fd = host_call(__NR_memfd_create, "nacre-test", MFD_CLOEXEC);
        if (fd < 0)
            return (int)fd;
        s->rw = (int)fd;
        long ro = host_call(__NR_fcntl, fd, F_DUPFD_CLOEXEC, 0);
        s->ro = (int)ro;
        return ro < 0 ? (int)ro : 0;
    }
    char name[24] = "o";
    size_t n = 1;
    for (uint64_t v = s->ino; v; v /= 10)
        name[n++] = (char)('0' + v % 10);
    long fd = host_call(__NR_openat, shm_dirfd, name,
                        O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return (int)fd;
    s->rw = (int)fd;
    long ro = host_call(__NR_openat, shm_dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    long err = host_call(__NR_unlinkat, shm_dirfd, name, 0);
    s->ro = (int)ro;
    return ro < 0 ? (int)ro : (int)err;
}

static void shmobj_release(struct memobj *o)
{
    struct shmobj *s = to_shmobj(o);
    if (s->view) {
        host_call(__NR_munmap, s->view->at, SHM_VIEW);
        slab_free(&shm_view_slab, s->view);
        __atomic_sub_fetch(&views, 1, __ATOMIC_RELAXED);
    }
    if (s->rw >= 0)
        host_call(__NR_close, s->rw);
    if (s->ro >= 0)
        host_call(__NR_close, s->ro);
    mem_free(s->name);
    slab_free(&shmobj_slab, s);
}

static int shmobj_hostfd(struct memobj *o, bool shared, bool write, int *fd)
{
    *fd = shared && write ? to_shmobj(o)->rw : to_shmobj(o)->ro;
    return 0;
}

static void shmobj_describe(struct memobj *o, uint64_t *dev, uint64_t *ino, struct strbuf *path)
{
    const struct shmobj *s = to_shmobj(o);
    *dev = 1; // 00:01, Linux's internal shm mount
    *ino = s->ino;
    if (s->name) {
        strbuf_str(path, s->name);
        strbuf_str(path, " (deleted)");
    }
}

static int shmobj_punch(struct memobj *o, uint64_t off, uint64_t len)
{
    return (int)host_call(__NR_fallocate, to_shmobj(o)->rw,
                          FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

static const struct memobj_ops shmobj_ops = {
    .hostfd = shmobj_hostfd,
    .describe = shmobj_describe,
    .release = shmobj_release,
    .punch = shmobj_punch,
};

int shmobj_new(uint64_t size, const char *name, struct memobj **out)
{
    if (size > INT64_MAX)
        return -EFBIG;
    struct shmobj *s = slab_alloc(&shmobj_slab);
    if (!s)
        return -ENOMEM;
    s->base.ops = &shmobj_ops;
    ref_init(&s->base.ref);
    s->rw = s->ro = -1;
    s->ino = __atomic_add_fetch(&shm_serial, 1, __ATOMIC_RELAXED);
    int err = 0;
    if (name && !(s->name = mem_strdup(name)))
        err = -ENOMEM;
    if (!err)
        err = open_pair(s);
    if (!err)
        err = (int)host_call(__NR_ftruncate, s->rw, size);
    if (err) {
        shmobj_release(&s->base);
        return err;
    }
    *out = &s->base;
    return 0;
}

int shmobj_rdwr_fd(struct memobj *o)
{
    return o->ops == &shmobj_ops ? to_shmobj(o)->rw : -1;
}

// --- the kernel's view ----------------------------------------------------------------------------
static struct shm_view *view_new(struct shmobj *s)
{
    if (++s->writes < VIEW_AFTER)
        return nullptr;
    s->writes = 0;
    struct shm_view *v = nullptr;
    if (__atomic_add_fetch(&views, 1, __ATOMIC_RELAXED) <= VIEWS_MAX)
        v = slab_alloc(&shm_view_slab);
    long at = v ? host_call(__NR_mmap, 0, SHM_VIEW, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                            s->rw, 0)
                : -ENOMEM;
    if (at < 0 && at >= -4095) {
        if (v)
            slab_free(&shm_view_slab, v);
        __atomic_sub_fetch(&views, 1, __ATOMIC_RELAXED);
        return nullptr;
    }
    v->at = (uint8_t *)at;
    return v;
}

void shmobj_written(struct memobj *o, uint64_t off, size_t n)
{
    struct shmobj *s = to_shmobj(o);
    if (!n || off >= SHM_VIEW || n > SHM_VIEW - off)
        return;
    if (!s->view && !(s->view = view_new(s)))
        return;
    for (uint64_t i = off / PAGE_SIZE; i <= (off + n - 1) / PAGE_SIZE; i++)
        s->view->pages[i / 64] |= 1ull << (i % 64);
}

uint8_t *shmobj_view(const struct memobj *o, uint64_t off, size_t n)
{
    const struct shm_view *v = container_of(o, const struct shmobj, base)->view;
    if (!v || !n || off >= SHM_VIEW || n > SHM_VIEW - off)
        return nullptr;
    for (uint64_t i = off / PAGE_SIZE; i <= (off + n - 1) / PAGE_SIZE; i++)
        if (!(v->pages[i / 64] >> (i % 64) & 1))
            return nullptr;
    return v->at + off;
}

void shmobj_cut(struct memobj *o)
{
    struct shm_view *v = to_shmobj(o)->view;
    if (v)
        memset(v->pages, 0, sizeof(v->pages));
}
