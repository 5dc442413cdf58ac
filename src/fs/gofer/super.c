// SPDX-License-Identifier: Apache-2.0
// Mounting an attach name of a Gofer; statfs; revalidation of cached names in shared mounts.
#include "fs/gofer/gfs.h"
#include "base/slab.h"
#include <errno.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/vfs.h>

static int gofer_statfs(struct super *sb, void *out)
{
    struct np_rstatfs r;
    int err = c9_statfs(gs_of(sb)->c, gs_of(sb)->root_fid, &r);
    if (err)
        return err;
    struct statfs *b = out;
    *b = (struct statfs){
        .f_type = (long)sb->magic, .f_bsize = r.bsize ? r.bsize : 4096, .f_blocks = r.blocks,
        .f_bfree = r.bfree, .f_bavail = r.bavail, .f_files = r.files, .f_ffree = r.ffree,
        .f_namelen = NP_NAME_MAX, .f_frsize = r.bsize ? r.bsize : 4096,
    };
    return 0;
}

// Shared mounts: is the name still what we think? One round trip, which also brings attributes.
static int gofer_revalidate(struct dentry *d)
{
    if (d->parent == d || gs_of(d->sb)->exclusive)
        return 1;
    // Every path below a directory comes through here: it is asked about once a millisecond.
    ktime_t now = ktime_now();
    bool isdir = d->inode && S_ISDIR(d->inode->mode);
    if (isdir && (uint64_t)now - READ_SHARED(d->revalidate_at) < GFS_DIR_FRESH_NS)
        return 1;
    struct np_names one = {.n = 1};
    struct dentry *parent;
    struct c9_node n;
    size_t found;
    uint32_t fid;
    char name[256];
    one.v[0] = span_of(name, dentry_position(d, name, &parent));
    struct gofer_inode *dir = gi_of(parent->inode);
    int err = gfs_fid_get(dir, &fid);
    if (!err) {
        err = c9_walk(gc_of(dir), fid, NP_NOFID, &one, &found, &n);
        gfs_fid_put(dir);
    }
    dentry_put(parent);
    if (err)
        return err == -ENOENT || err == -ESTALE || err == -ENOTDIR ? 0 : err;
    if (!found)
        return d->inode ? 0 : 1;
    if (!d->inode || d->inode->ino != n.qid.path || ((d->inode->mode ^ n.attr.mode) & S_IFMT))
        return 0;
    gfs_attr_update(gi_of(d->inode), &n.attr);
    WRITE_SHARED(d->revalidate_at, (uint64_t)now);
    return 1;
}

static void super_free(struct gofer_super *gs)
{
    gfs_ahead_drop(gs->c, gs);
    htab_free(&gs->inodes);
    gofer_client_put(gs->c);
    mem_free(gs);
}
static void gofer_super_release(struct super *sb)
{
    super_free(gs_of(sb));
}
static void gofer_show(struct super *sb, struct strbuf *out)
{
    strbuf_str(out, gs_of(sb)->exclusive ? ",cache=exclusive" : ",cache=revalidate");
}
static const struct super_ops gofer_exclusive_sops = {
    .statfs = gofer_statfs,
    .release = gofer_super_release,
    .show_options = gofer_show,
};
static const struct super_ops gofer_shared_sops = {
    .statfs = gofer_statfs,
    .d_revalidate = gofer_revalidate,
    .release = gofer_super_release,
    .show_options = gofer_show,
};
// Not in the table of types: made at boot for the mounts that the container's configuration asks.
static const struct fs_type gofer_type = {.name = "9p", .nodev = true};

static int root_inode(struct super *sb, struct gofer_super *gs, struct gofer_inode **out)
{
    struct np_names none = {};
    struct c9_node n;
    size_t found;
    int err = c9_walk(gs->c, gs->root_fid, NP_NOFID, &none, &found, &n);
    if (!err)
        err = gfs_inode(sb, &n, nullptr, np_cstr(""), true, out);
    if (err)
        return err;
    spin_lock(&gs->c->inode_lock);
    (*out)->fid = gs->root_fid; // never idle: it has no parent
    gs->c->nfids++;
    spin_unlock(&gs->c->inode_lock);
    return 0;
}
int gofer_mount(struct gofer_client *c, const char *aname, bool exclusive, bool readonly,
                struct super **out)
{
    struct gofer_super *gs = mem_alloc(sizeof(*gs));
    if (!gs)
        return -ENOMEM;
    gs->c = gofer_client_get(c);
    gs->exclusive = exclusive;
    gs->readonly = readonly;
    gs->root_fid = c9_fid_new(c);
    list_init(&gs->orphans);
    int err = gs->root_fid == NP_NOFID ? -ENFILE : c9_attach(c, gs->root_fid, aname);
    if (err) {
        c9_fid_unused(c, gs->root_fid);
        super_free(gs);
        return err;
    }
    struct super *sb = super_new(&gofer_type, exclusive ? &gofer_exclusive_sops : &gofer_shared_sops);
    if (!sb) {
        c9_clunk(c, gs->root_fid);
        super_free(gs);
        return -ENOMEM;
    }
    struct gofer_inode *root;
    gs->sb = sb;
    sb->steady = exclusive;
    sb->fsdata = gs;
    sb->magic = V9FS_MAGIC;
    sb->flags |= readonly ? MS_RDONLY : 0;
    sb->dev = vfs_new_dev();
    err = root_inode(sb, gs, &root);
    if (err) {
        c9_clunk(c, gs->root_fid);
        super_put(sb);
        return err;
    }
    sb->root = dentry_new_root(sb, &root->vfs);
    if (!sb->root) {
        super_put(sb);
        return -ENOMEM;
    }
    *out = sb;
    return 0;
}
