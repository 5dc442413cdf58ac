// SPDX-License-Identifier: Apache-2.0
// devpts: the directory of pseudo terminals. Each mount is an instance of its own (as in Linux
// since 4.7), with a ptmx node inside; opening that makes a pair, whose slave then has a name here.
//
// The slave's inode belongs to its pty (ownership and mode set by chown and chmod stay) and points
// back weakly; a pty that is gone leaves inode->pty null. A terminal of another kind (the host's,
// that the container was started on) can have a number and a name here, too.
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/devpts/pty.h"
#include "vfs/special.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

constexpr int PTS_LIMIT = 4096;
constexpr uint64_t PTMX_INO = 2, FIRST_PTS_INO = 3;

struct pts_inode {
    struct inode inode;
    struct pty *pty;        // [fs lock] weak
    struct tty_ctl *tty;    // [fs lock] weak: a terminal that is no pty of ours
};
struct devpts {
    struct super *sb;       // weak; ptys hold a reference
    struct spinlock lock;
    struct inode *nodes[PTS_LIMIT]; // [lock] weak; NODE_COMES until it is there; null: free
    bool hidden[PTS_LIMIT]; // [lock] not there yet, or master closed
    int max;                // [C] options
    uint32_t mode, ptmxmode, uid, gid;
    bool set_uid, set_gid;
};
SLAB_DEFINE(pts_inode_slab, struct pts_inode);
static struct inode *const NODE_COMES = (struct inode *)1;
static const struct inode_ops pts_iops, ptmx_iops, root_iops;
static const struct file_ops ptmx_node_fops;
extern const struct fs_type devpts_type;

static struct devpts *fs_of(const struct super *sb)
{
    return sb->fsdata;
}

// --- nodes of ptys -----------------------------------------------------------------------------
static struct inode *node_new(struct super *sb, const struct inode_ops *ops, const struct file_ops *fops,
                              uint32_t mode, uint64_t ino, const struct cred *c)
{
    struct pts_inode *n = slab_alloc(&pts_inode_slab);
    if (!n)
        return nullptr;
    inode_init(&n->inode, sb, ops, fops, mode, c);
    n->inode.ino = ino;
    n->inode.nlink = 1;
    return &n->inode;
}

// Takes the first free number and makes its node: hidden, and pointing to nothing yet.
static int number_take(struct devpts *fs, const struct file_ops *fops, const struct cred *c,
                       struct inode **out)
{
    int i = 0;
    spin_lock(&fs->lock);
    while (i < fs->max && fs->nodes[i])
        i++;
    if (i < fs->max) {
        fs->nodes[i] = NODE_COMES;
        fs->hidden[i] = true;
    }
    spin_unlock(&fs->lock);
    if (i >= fs->max)
        return -ENOSPC;
    struct inode *n = node_new(fs->sb, &pts_iops, fops, S_IFCHR | fs->mode,
                               FIRST_PTS_INO + (uint64_t)i, c);
    if (n) {
        n->rdev = makedev(PTS_MAJOR, (unsigned)i);
        n->uid = fs->set_uid ? fs->uid : n->uid;
        n->gid = fs->set_gid ? fs->gid : n->gid;
        super_get(fs->sb);
    }
    spin_lock(&fs->lock);
    fs->nodes[i] = n;
    spin_unlock(&fs->lock);
    *out = n;
    return n ? i : -ENOMEM;
}
static void number_free(struct devpts *fs, struct inode *n)
{
    struct super *sb = fs->sb;
    struct pts_inode *pi = container_of(n, struct pts_inode, inode);
    spin_lock(&fs->lock);
    fs->nodes[n->ino - FIRST_PTS_INO] = nullptr;
    pi->pty = nullptr;
    pi->tty = nullptr;
    spin_unlock(&fs->lock);
    inode_put(n);
    super_put(sb);
}

int devpts_add(struct devpts *fs, struct pty *p, const struct cred *c)
{
    int i = number_take(fs, &pts_fops, c, &p->inode);
    if (i < 0)
        return i;
    p->index = i;
    p->fs = fs;
    spin_lock(&fs->lock);
    container_of(p->inode, struct pts_inode, inode)->pty = p;
    fs->hidden[i] = false;
    spin_unlock(&fs->lock);
    return 0;
}

void devpts_hide(struct pty *p)
{
    spin_lock(&p->fs->lock);
    p->fs->hidden[p->index] = true;
    spin_unlock(&p->fs->lock);
}

void devpts_remove(struct pty *p)
{
    number_free(p->fs, p->inode);
}

// --- terminals of another kind -----------------------------------------------------------------
static int foreign_open(struct file *f)
{
    struct devpts *fs = fs_of(f->inode->sb);
    spin_lock(&fs->lock);
    struct tty_ctl *c = container_of(f->inode, struct pts_inode, inode)->tty;
    if (c && !ref_get_unless_zero(&c->ref))
        c = nullptr;
    spin_unlock(&fs->lock);
    if (!c)
        return -EIO;
    int err = c->ops->open(c, f);
    tty_ctl_put(c);
    return err;
}
static const struct file_ops foreign_fops = {.open = foreign_open, .own_open = true};

int devpts_add_tty(struct super *sb, struct tty_ctl *c, const struct cred *cred, struct inode **node)
{
    if (sb->type != &devpts_type)
        return -ENODEV;
    struct devpts *fs = fs_of(sb);
    int i = number_take(fs, &foreign_fops, cred, node);
    if (i < 0)
        return i;
    spin_lock(&fs->lock);
    container_of(*node, struct pts_inode, inode)->tty = c;
    fs->hidden[i] = false;
    spin_unlock(&fs->lock);
    return i;
}
void devpts_remove_tty(struct inode *node)
{
    number_free(fs_of(node->sb), node);
}

struct pty *devpts_pty_of(struct inode *i)
{
    struct devpts *fs = fs_of(i->sb);
    spin_lock(&fs->lock);
    struct pty *p = container_of(i, struct pts_inode, inode)->pty;
    if (p && !ref_get_unless_zero(&p->ctl.ref))
        p = nullptr;
    spin_unlock(&fs->lock);
    return p;
}

// The devpts at /dev/pts of the caller.
static int find_devpts(struct path *out)
{
    struct task *t = task_current();
    if (!t)
        return -ENODEV;
    struct lookup_ctx ctx = task_lookup_ctx(t);
    int err = path_lookup(&ctx, AT_FDCWD, "/dev/pts", LOOKUP_FOLLOW | LOOKUP_DIRECTORY, out);
    if (!err && out->dentry->sb->type != &devpts_type) {
        path_put(*out);
        err = -ENODEV;
    }
    return err ? -ENODEV : 0;
}

int devpts_slave_path(struct file *master, struct pty *p, struct path *out)
{
    struct path at;
    char name[12];
    int n = snprintf(name, sizeof(name), "%d", p->index), err;
    if (master->path.mnt && master->path.mnt->sb == p->fs->sb)
        at = path_get(master->path);
    else if ((err = find_devpts(&at)))
        return err;
    struct dentry *d = nullptr;
    err = at.mnt->sb == p->fs->sb ? vfs_lookup_child(p->fs->sb->root, name, (size_t)n, &d) : -ENODEV;
    if (!err && !d->inode) {
        dentry_put(d);
        err = -EIO;
    }
    if (!err)
        *out = (struct path){.mnt = mount_get(at.mnt), .dentry = d};
    path_put(at);
    return err;
}

// --- the directory -----------------------------------------------------------------------------
static int root_lookup(struct inode *dir, struct dentry *d)
{
    struct devpts *fs = fs_of(dir->sb);
    if (!strcmp(d->name, "ptmx"))
        return 0; // pinned child: found by the cache, so gone if it gets here
    char *end;
    if (d->name[0] < '0' || d->name[0] > '9' || (d->name[0] == '0' && d->name[1]))
        return 0;
    long i = strtol(d->name, &end, 10);
    if (*end || i < 0 || i >= fs->max)
        return 0;
    spin_lock(&fs->lock);
    struct inode *inode = fs->nodes[i] && !fs->hidden[i] ? inode_get(fs->nodes[i]) : nullptr;
    spin_unlock(&fs->lock);
    if (inode)
        dentry_instantiate(d, inode);
    return 0;
}

// A cached name is good while the pty behind it is the one that has the number now.
static int pts_revalidate(struct dentry *d)
{
    if (!d->inode || d->inode->ops != &pts_iops)
        return d->inode != nullptr;
    struct devpts *fs = fs_of(d->sb);
    uint64_t i = d->inode->ino - FIRST_PTS_INO;
    spin_lock(&fs->lock);
    bool ok = !fs->hidden[i] && fs->nodes[i] == d->inode;
    spin_unlock(&fs->lock);
    return ok;
}

static int root_readdir(struct file *f, struct dir_context *dc)
{
    struct devpts *fs = fs_of(f->inode->sb);
    if (!dir_emit_dots(f, dc))
        return 0;
    if (dc->pos == 2) {
        if (!dc->emit(dc, "ptmx", 4, PTMX_INO, DT_CHR, 3))
            return 0;
        dc->pos = 3;
    }
    for (int64_t i = dc->pos - 3; i < fs->max; i++) {
        char name[12];
        if (fs->nodes[i] && !fs->hidden[i]) {
            int n = snprintf(name, sizeof(name), "%d", (int)i);
            if (!dc->emit(dc, name, (size_t)n, FIRST_PTS_INO + (uint64_t)i, DT_CHR, i + 4))
                return 0;
        }
        dc->pos = i + 4;
    }
    return 0;
}

static void node_release(struct inode *i)
{
    slab_free(&pts_inode_slab, container_of(i, struct pts_inode, inode));
}

static const struct inode_ops pts_iops = {.release = node_release};
static const struct inode_ops ptmx_iops = {.release = node_release};
static const struct inode_ops root_iops = {.lookup = root_lookup, .release = node_release};
static const struct file_ops root_fops = {.readdir = root_readdir};

// --- opening ptmx ------------------------------------------------------------------------------
static int ptmx_node_open(struct file *f)
{
    return pty_open_master(fs_of(f->inode->sb), f);
}
static const struct file_ops ptmx_node_fops = {
    .open = ptmx_node_open,
    .own_open = true,
};

// A ptmx node elsewhere (5:2) means the devpts at /dev/pts of the caller.
static int dev_ptmx_open(struct inode *i, struct file *f)
{
    struct path p;
    int err = find_devpts(&p);
    if (err)
        return err;
    err = pty_open_master(fs_of(p.dentry->sb), f);
    path_put(p);
    return err;
}

// --- mounting ----------------------------------------------------------------------------------
static int devpts_statfs(struct super *sb, void *out)
{
    struct statfs *s = out;
    *s = (struct statfs){.f_type = (long)DEVPTS_MAGIC, .f_bsize = 4096, .f_frsize = 4096, .f_namelen = 255};
    return 0;
}

static void devpts_super_release(struct super *sb)
{
    mem_free(sb->fsdata);
}

static void devpts_options(struct super *sb, struct strbuf *out)
{
    struct devpts *fs = fs_of(sb);
    if (fs->set_uid)
        strbuf_fmt(out, ",uid=%u", fs->uid);
    if (fs->set_gid)
        strbuf_fmt(out, ",gid=%u", fs->gid);
    strbuf_fmt(out, ",mode=%03o,ptmxmode=%03o", fs->mode, fs->ptmxmode);
    if (fs->max < PTS_LIMIT)
        strbuf_fmt(out, ",max=%d", fs->max);
}

static const struct super_ops devpts_sops = {
    .statfs = devpts_statfs,
    .d_revalidate = pts_revalidate,
    .release = devpts_super_release,
    .show_options = devpts_options,
};

static int parse_option(struct devpts *fs, const char *o, size_t n)
{
    static const char *const names[] = {"uid=", "gid=", "mode=", "ptmxmode=", "max="};
    if (!n || (n == 11 && !memcmp(o, "newinstance", n)))
        return 0;
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        size_t len = strlen(names[k]);
        char num[16] = {}, *end;
        if (n <= len || memcmp(o, names[k], len) || n - len >= sizeof(num))
            continue;
        memcpy(num, o + len, n - len);
        unsigned long v = strtoul(num, &end, k == 2 || k == 3 ? 8 : 10);
        if (*end || v > UINT32_MAX)
            return -EINVAL;
        switch (k) {
        case 0: fs->uid = (uint32_t)v; fs->set_uid = true; break;
        case 1: fs->gid = (uint32_t)v; fs->set_gid = true; break;
        case 2: fs->mode = (uint32_t)v & 0777; break;
        case 3: fs->ptmxmode = (uint32_t)v & 0777; break;
        case 4: fs->max = (int)MIN(v, (unsigned long)PTS_LIMIT); break;
        }
        return 0;
    }
    return -EINVAL;
}

static int parse_options(struct devpts *fs, const char *o)
{
    while (o && *o) {
        const char *end = strchrnul(o, ',');
        int err = parse_option(fs, o, (size_t)(end - o));
        if (err)
            return err;
        o = *end ? end + 1 : end;
    }
    return 0;
}

static int devpts_fill(struct super *sb, struct devpts *fs, const struct cred *c)
{
    struct inode *root = node_new(sb, &root_iops, &root_fops, S_IFDIR | 0755, 1, c);
    if (!root)
        return -ENOMEM;
    root->nlink = 2;
    sb->root = dentry_new_root(sb, root);
    struct inode *ptmx = node_new(sb, &ptmx_iops, &ptmx_node_fops, S_IFCHR | fs->ptmxmode, PTMX_INO, c);
    if (!sb->root || !ptmx) {
        if (ptmx)
            inode_put(ptmx);
        return -ENOMEM;
    }
    ptmx->rdev = makedev(5, 2);
    mutex_lock(&root->lock);
    int err = dentry_add_child(sb->root, "ptmx", ptmx, nullptr);
    mutex_unlock(&root->lock);
    return err;
}

static int devpts_mount(const struct fs_type *type, const char *source, const char *options,
                        const struct cred *c, struct super **out)
{
    struct devpts *fs = mem_alloc(sizeof(*fs));
    if (!fs)
        return -ENOMEM;
    spin_init(&fs->lock);
    fs->max = PTS_LIMIT;
    fs->mode = 0600;
    int err = parse_options(fs, options);
    struct super *sb = err ? nullptr : super_new(type, &devpts_sops);
    if (!sb) {
        mem_free(fs);
        return err ? err : -ENOMEM;
    }
    sb->magic = DEVPTS_MAGIC;
    sb->nocache_negative = true;
    sb->fsdata = fs;
    fs->sb = sb;
    err = devpts_fill(sb, fs, c);
    if (err) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}

const struct fs_type devpts_type = {
    .name = "devpts",
    .nodev = true,
    .user_mount = true,
    .mount = devpts_mount,
};

__attribute__((constructor)) static void devpts_register(void)
{
    chrdev_register(5, 2, 1, "/dev/ptmx", nullptr, dev_ptmx_open);
}
