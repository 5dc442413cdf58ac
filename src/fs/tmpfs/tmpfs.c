// SPDX-License-Identifier: Apache-2.0
// tmpfs: superblock, options, inodes, memfd.
#include "abi/errno.h"
#include "fs/tmpfs/internal.h"
#include "kern/limits.h"
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u // Linux 6.3
#endif

SLAB_DEFINE(quota_slab, struct tmpfs_quota);
SLAB_DEFINE(tmpfs_super_slab, struct tmpfs_super);
SLAB_DEFINE(tmpfs_inode_slab, struct tmpfs_inode);

// --- accounting --------------------------------------------------------------------------------------
static void quota_put(struct tmpfs_quota *q)
{
    if (ref_put(&q->ref))
        slab_free(&quota_slab, q);
}
// All mounts together, and files that belong to none, hold at most what the machine has: a mount
// without limit must not take the Sentry down.
static uint64_t total_pages; // [A]
static bool total_add(uint64_t pages)
{
    uint64_t limit = machine_mem_total() / PAGE_SIZE;
    uint64_t now = __atomic_add_fetch(&total_pages, pages, __ATOMIC_RELAXED);
    if (!limit || now <= limit)
        return true;
    __atomic_sub_fetch(&total_pages, pages, __ATOMIC_RELAXED);
    return false;
}
int tmpfs_charge(struct tmpfs_quota *q, uint64_t pages)
{
    if (!total_add(pages))
        return -ENOSPC;
    spin_lock(&q->lock);
    bool fits = !q->max_pages || pages <= q->max_pages - MIN(q->pages, q->max_pages);
    if (fits)
        q->pages += pages;
    spin_unlock(&q->lock);
    if (!fits)
        __atomic_sub_fetch(&total_pages, pages, __ATOMIC_RELAXED);
    return fits ? 0 : -ENOSPC;
}
void tmpfs_charge_force(struct tmpfs_quota *q, uint64_t pages)
{
    __atomic_add_fetch(&total_pages, pages, __ATOMIC_RELAXED);
    spin_lock(&q->lock);
    q->pages += pages;
    spin_unlock(&q->lock);
}
void tmpfs_uncharge(struct tmpfs_quota *q, uint64_t pages)
{
    __atomic_sub_fetch(&total_pages, pages, __ATOMIC_RELAXED);
    spin_lock(&q->lock);
    CHECK(pages <= q->pages);
    q->pages -= pages;
    spin_unlock(&q->lock);
}
uint64_t tmpfs_free_pages(struct tmpfs_quota *q)
{
    uint64_t limit = machine_mem_total() / PAGE_SIZE, total = READ_SHARED(total_pages);
    uint64_t all = !limit ? UINT64_MAX : limit > total ? limit - total : 0;
    spin_lock(&q->lock);
    uint64_t n = !q->max_pages ? UINT64_MAX : q->max_pages > q->pages ? q->max_pages - q->pages : 0;
    spin_unlock(&q->lock);
    return MIN(n, all);
}

// --- inodes -----------------------------------------------------------------------------------------------
struct tmpfs_inode *tmpfs_inode_new(struct super *sb, struct inode *dir, uint32_t mode,
                                    const struct cred *c)
{
    struct tmpfs_super *ts = sb->fsdata;
    struct tmpfs_quota *q = ts->quota;
    spin_lock(&q->lock);
    bool fits = !q->max_inodes || q->inodes < q->max_inodes;
    q->inodes += fits;
    spin_unlock(&q->lock);
    struct tmpfs_inode *t = fits ? slab_alloc(&tmpfs_inode_slab) : nullptr;
    if (!t) {
        spin_lock(&q->lock);
        q->inodes -= fits;
        spin_unlock(&q->lock);
        return nullptr;
    }
    const struct inode_ops *iops = S_ISDIR(mode)   ? &tmpfs_dir_iops
                                   : S_ISREG(mode) ? &tmpfs_file_iops
                                   : S_ISLNK(mode) ? &tmpfs_link_iops
                                                   : &tmpfs_node_iops;
    const struct file_ops *fops = S_ISDIR(mode)   ? &tmpfs_dir_fops
                                  : S_ISREG(mode) ? &tmpfs_file_fops
                                                  : nullptr;
    inode_init(&t->inode, sb, iops, fops, mode, c);
    if (dir)
        inode_inherit(&t->inode, dir);
    t->inode.nlink = S_ISDIR(mode) ? 2 : 1;
    ref_get(&q->ref);
    t->quota = q;
    list_init(&t->entries);
    list_init(&t->xattrs);
    t->next_cookie = 2; // 0 and 1 are "." and ".."
    if (S_ISREG(mode)) {
        t->seals = F_SEAL_SEAL;
        tmpfs_obj_init(t);
    }
    return t;
}

void tmpfs_release(struct inode *i)
{
    struct tmpfs_inode *t = tmpfs_i(i);
    if (S_ISDIR(i->mode))
        tmpfs_dir_free(t);
    tmpfs_data_free(t);
    tmpfs_xattr_free(t);
    mem_free(t->target);
    mem_free(t->memfd_name);
    struct tmpfs_quota *q = t->quota;
    spin_lock(&q->lock);
    q->inodes--;
    spin_unlock(&q->lock);
    slab_free(&tmpfs_inode_slab, t);
    quota_put(q);
}

// --- options ------------------------------------------------------------------------------------------------
struct tmpfs_options {
    uint64_t size, inodes;
    uint32_t mode, uid, gid;
};
// Bytes with k, m, g, t suffix, or N% of memory. -EINVAL.
static int parse_size(const char *s, uint64_t *out)
{
    char *end;
    if (*s < '0' || *s > '9')
        return -EINVAL;
    uint64_t v = strtoull(s, &end, 10);
    int shift = 0;
    switch (*end | 0x20) {
    case 'k': shift = 10; end++; break;
    case 'm': shift = 20; end++; break;
    case 'g': shift = 30; end++; break;
    case 't': shift = 40; end++; break;
    case '%' | 0x20:
        v = machine_mem_total() / 100 * MIN(v, 100ull);
        end++;
        break;
    }
    if (*end || v > UINT64_MAX >> shift)
        return -EINVAL;
    *out = v << shift;
    return 0;
}
static int parse_number(const char *s, int base, uint32_t *out)
{
    char *end;
    if (*s < '0' || *s > '9')
        return -EINVAL;
    uint64_t v = strtoull(s, &end, base);
    if (*end || v > UINT32_MAX)
        return -EINVAL;
    *out = (uint32_t)v;
    return 0;
}
static int parse_option(char *opt, struct tmpfs_options *o)
{
    static const char *const ignored[] = {"huge", "mpol", "inode32", "inode64", "noswap", "swap", "rw", "ro"};
    char *value = strchr(opt, '=');
    if (value)
        *value++ = 0;
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        if (!strcmp(opt, ignored[i]))
            return 0;
    if (!value)
        return -EINVAL;
    if (!strcmp(opt, "size"))
        return parse_size(value, &o->size);
    if (!strcmp(opt, "nr_inodes"))
        return parse_size(value, &o->inodes);
    if (!strcmp(opt, "nr_blocks")) {
        int err = parse_size(value, &o->size);
        return err ? err : __builtin_mul_overflow(o->size, PAGE_SIZE, &o->size) ? -EINVAL : 0;
    }
    if (!strcmp(opt, "mode")) {
        int err = parse_number(value, 8, &o->mode);
        o->mode &= 07777;
        return err;
    }
    if (!strcmp(opt, "uid"))
        return parse_number(value, 10, &o->uid);
    if (!strcmp(opt, "gid"))
        return parse_number(value, 10, &o->gid);
    return -EINVAL;
}
static int parse_options(const char *text, struct tmpfs_options *o)
{
    char *copy = mem_strdup(text ? text : ""), *save = nullptr;
    int err = copy ? 0 : -ENOMEM;
    for (char *p = copy ? strtok_r(copy, ",", &save) : nullptr; p && !err; p = strtok_r(nullptr, ",", &save))
        err = parse_option(p, o);
    mem_free(copy);
    return err;
}

// --- superblock -----------------------------------------------------------------------------------------------
static int tmpfs_statfs(struct super *sb, void *out)
{
    struct tmpfs_quota *q = ((struct tmpfs_super *)sb->fsdata)->quota;
    struct statfs *s = out;
    spin_lock(&q->lock);
    s->f_blocks = q->max_pages;
    s->f_bfree = s->f_bavail = q->max_pages > q->pages ? q->max_pages - q->pages : 0;
    s->f_files = q->max_inodes;
    s->f_ffree = q->max_inodes > q->inodes ? q->max_inodes - q->inodes : 0;
    spin_unlock(&q->lock);
    s->f_bsize = s->f_frsize = PAGE_SIZE;
    s->f_namelen = 255;
    return 0;
}
static int tmpfs_remount(struct super *sb, const char *options)
{
    struct tmpfs_quota *q = ((struct tmpfs_super *)sb->fsdata)->quota;
    struct tmpfs_options o = {.size = q->max_pages * PAGE_SIZE, .inodes = q->max_inodes};
    int err = parse_options(options, &o);
    if (err)
        return err;
    uint64_t pages = (o.size + PAGE_SIZE - 1) / PAGE_SIZE;
    spin_lock(&q->lock);
    if ((pages && pages < q->pages) || (o.inodes && o.inodes < q->inodes)) {
        err = -EINVAL;
    } else {
        q->max_pages = pages;
        q->max_inodes = o.inodes;
    }
    spin_unlock(&q->lock);
    return err;
}
static void tmpfs_super_release(struct super *sb)
{
    struct tmpfs_super *ts = sb->fsdata;
    if (!ts)
        return;
    quota_put(ts->quota);
    slab_free(&tmpfs_super_slab, ts);
}
static void tmpfs_show_options(struct super *sb, struct strbuf *out)
{
    struct tmpfs_super *ts = sb->fsdata;
    if (ts->quota->max_pages)
        strbuf_fmt(out, ",size=%luk", ts->quota->max_pages * (PAGE_SIZE / 1024));
    if (ts->quota->max_inodes)
        strbuf_fmt(out, ",nr_inodes=%lu", ts->quota->max_inodes);
    if (ts->mode != 01777)
        strbuf_fmt(out, ",mode=%o", ts->mode);
    if (ts->uid)
        strbuf_fmt(out, ",uid=%u", ts->uid);
    if (ts->gid)
        strbuf_fmt(out, ",gid=%u", ts->gid);
}
static const struct super_ops tmpfs_super_ops = {
    .statfs = tmpfs_statfs,
    .remount = tmpfs_remount,
    .release = tmpfs_super_release,
    .show_options = tmpfs_show_options,
};

static int super_fill(struct super *sb, const struct tmpfs_options *o)
{
    struct tmpfs_super *ts = slab_alloc(&tmpfs_super_slab);
    struct tmpfs_quota *q = slab_alloc(&quota_slab);
    if (!ts || !q) {
        if (ts)
            slab_free(&tmpfs_super_slab, ts);
        if (q)
            slab_free(&quota_slab, q);
        return -ENOMEM;
    }
    ref_init(&q->ref);
    q->max_pages = (o->size + PAGE_SIZE - 1) / PAGE_SIZE;
    q->max_inodes = o->inodes;
    *ts = (struct tmpfs_super){.quota = q, .mode = o->mode, .uid = o->uid, .gid = o->gid};
    sb->fsdata = ts;
    sb->magic = TMPFS_MAGIC;
    struct tmpfs_inode *root = tmpfs_inode_new(sb, nullptr, S_IFDIR | o->mode, nullptr);
    if (!root)
        return -ENOMEM;
    root->inode.uid = o->uid;
    root->inode.gid = o->gid;
    sb->root = dentry_new_root(sb, &root->inode);
    return sb->root ? 0 : -ENOMEM;
}

static int tmpfs_mount(const struct fs_type *t, const char *source, const char *options,
                       const struct cred *c, struct super **out)
{
    struct tmpfs_options o = {.size = machine_mem_total() / 2, .inodes = machine_mem_total() / 2 / PAGE_SIZE,
                              .mode = 01777, .uid = c ? c->fsuid : 0, .gid = c ? c->fsgid : 0};
    int err = parse_options(options, &o);
    if (err)
        return err;
    struct super *sb = super_new(t, &tmpfs_super_ops);
    if (!sb)
        return -ENOMEM;
    err = super_fill(sb, &o);
    sb->steady = true;
    if (err) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}
const struct fs_type tmpfs_type = {
    .name = "tmpfs", .nodev = true, .user_mount = true, .mount = tmpfs_mount};

// --- memfd -------------------------------------------------------------------------------------------------
static struct super *memfd_super; // [memfd_lock] made on first use, kept
static struct mutex memfd_lock = {.rank = RANK_RENAME, .waiters = LIST_INIT(memfd_lock.waiters)};

static struct super *memfd_super_get(void)
{
    mutex_lock(&memfd_lock);
    if (!memfd_super && tmpfs_mount(&tmpfs_type, "tmpfs", "size=100%,nr_inodes=0", nullptr, &memfd_super))
        memfd_super = nullptr;
    mutex_unlock(&memfd_lock);
    return memfd_super;
}

int memfd_file_new(const char *name, unsigned flags, const struct cred *c, struct file **out)
{
    struct super *sb = memfd_super_get();
    struct strbuf label = {};
    if (!sb)
        return -ENOMEM;
    uint32_t mode = S_IFREG | (flags & MFD_NOEXEC_SEAL ? 0666 : 0777);
    struct tmpfs_inode *t = tmpfs_inode_new(sb, nullptr, mode, c);
    if (!t)
        return -ENOMEM;
    t->inode.nlink = 0;
    t->is_memfd = true;
    t->sealable = flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    t->seals = t->sealable ? (flags & MFD_NOEXEC_SEAL ? 0x20 /* F_SEAL_EXEC */ : 0) : F_SEAL_SEAL;
    strbuf_fmt(&label, "/memfd:%s", name);
    t->memfd_name = label.bad ? nullptr : mem_strdup(label.p);
    strbuf_str(&label, " (deleted)");
    int err = label.bad || !t->memfd_name ? -ENOMEM
                        : file_new_on_inode(&tmpfs_file_fops, &t->inode, label.p, O_RDWR | O_LARGEFILE,
                                            nullptr, c, out);
    strbuf_free(&label);
    inode_put(&t->inode);
    return err;
}
