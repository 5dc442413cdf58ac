// SPDX-License-Identifier: Apache-2.0
// Mounting an overlay: from the boot code with a fresh upper file system, or by mount(2) with
// directories that the caller names.
#include "fs/overlay/ovl.h"
#include "task/task.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>

extern const struct fs_type overlay_type;

static int ovl_statfs(struct super *sb, void *out)
{
    struct ovl_super *os = os_of(sb);
    struct super *real = os->upper.mnt ? os->upper.mnt->sb : os->lower[0].mnt->sb;
    int err = real->ops->statfs ? real->ops->statfs(real, out) : -ENOSYS;
    if (!err)
        ((struct statfs *)out)->f_type = (long)sb->magic;
    return err;
}
static int ovl_sync(struct super *sb)
{
    struct super *real = os_of(sb)->upper.mnt ? os_of(sb)->upper.mnt->sb : nullptr;
    return real && real->ops->sync ? real->ops->sync(real) : 0;
}
static void ovl_d_release(struct dentry *d)
{
    if (d->inode)
        ovl_alias_drop(oi_of(d->inode), d);
}
// Only where a lower layer may change by itself: looks the layers' entries over again.
static int layer_valid(struct dentry *d)
{
    return d->parent != d && d->sb->ops->d_revalidate ? d->sb->ops->d_revalidate(d) : 1;
}
static int ovl_revalidate(struct dentry *d)
{
    if (d->parent == d)
        return 1;
    if (!d->inode)
        return 0;
    struct ovl_inode *oi = oi_of(d->inode);
    struct dentry *u = ovl_upper(oi);
    int v = u ? layer_valid(u) : 1;
    for (size_t k = 0; v > 0 && k < oi->nlower && (!u || S_ISDIR(oi->vfs.mode)); k++) {
        v = layer_valid(oi->lower[k].dentry);
        if (v == 0)
            dentry_unhash(oi->lower[k].dentry);
    }
    if (v > 0)
        ovl_mirror(oi);
    return v;
}
static void ovl_free(struct ovl_super *os)
{
    for (;;) { // hard-linked files that were kept
        spin_lock(&os->lock);
        struct ovl_inode *oi = list_first(&os->pinned, struct ovl_inode, pin);
        if (oi) {
            list_del(&oi->pin);
            oi->pinned = false;
        }
        spin_unlock(&os->lock);
        if (!oi)
            break;
        inode_put(&oi->vfs);
    }
    htab_free(&os->inodes);
    for (size_t i = 0; i < os->nlower; i++)
        mount_put(os->lower[i].mnt);
    mount_put(os->upper.mnt);
    mem_free(os->lower);
    cred_put((struct cred *)os->cred);
    mem_free(os);
}
static void ovl_super_release(struct super *sb)
{
    ovl_free(os_of(sb));
}
static const struct super_ops ovl_sops = {
    .statfs = ovl_statfs,
    .sync = ovl_sync,
    .d_release = ovl_d_release,
    .release = ovl_super_release,
};
static const struct super_ops ovl_revalidating_sops = {
    .statfs = ovl_statfs,
    .sync = ovl_sync,
    .d_release = ovl_d_release,
    .d_revalidate = ovl_revalidate,
    .release = ovl_super_release,
};

static int layer_init(struct ovl_super *os, struct ovl_layer *l, struct super *sb,
                      struct dentry *root, uint32_t flags)
{
    if (!root->inode || !S_ISDIR(root->inode->mode))
        return -ENOTDIR;
    if (sb->type == &overlay_type)
        os->depth = MAX(os->depth, os_of(sb)->depth + 1);
    if (os->depth > 2)
        return -EINVAL;
    os->revalidate |= sb->ops->d_revalidate != nullptr;
    os->unsteady |= !sb->steady;
    l->mnt = mount_new(sb, root, flags);
    l->root = root;
    return l->mnt ? 0 : -ENOMEM;
}
// Whether the upper file system keeps trusted.* attributes, or at least user.* ones.
static void probe_xattr(struct ovl_super *os)
{
    char v[8];
    long r = ovl_meta_get(os, os->upper.root, "opaque", v, sizeof(v));
    os->user_xattr = r == -EOPNOTSUPP;
}
static int new_super(const struct path *lowers, size_t n, struct super *upper_sb,
                     struct dentry *upper, struct super **out)
{
    struct ovl_super *os = mem_alloc(sizeof(*os));
    if (!os)
        return -ENOMEM;
    list_init(&os->pinned);
    os->depth = 1;
    os->cred = cred_new();
    os->lower = mem_alloc_array(n ? n : 1, sizeof(*os->lower));
    int err = os->cred && os->lower ? 0 : -ENOMEM;
    for (size_t i = 0; !err && i < n; i++) {
        err = layer_init(os, &os->lower[i], lowers[i].dentry->sb, lowers[i].dentry, MS_RDONLY);
        os->nlower += !err;
    }
    if (!err && upper_sb)
        err = layer_init(os, &os->upper, upper_sb, upper, 0);
    if (!err && os->upper.mnt)
        probe_xattr(os);
    struct super *sb = nullptr;
    if (!err) {
        sb = super_new(&overlay_type, os->revalidate ? &ovl_revalidating_sops : &ovl_sops);
        err = sb ? 0 : -ENOMEM;
    }
    if (err) {
        ovl_free(os);
        return err;
    }
    os->sb = sb;
    sb->steady = !os->unsteady;
    sb->fsdata = os;
    sb->magic = OVERLAYFS_SUPER_MAGIC;
    sb->flags |= os->upper.mnt ? 0 : MS_RDONLY;
    *out = sb;
    return 0;
}
static int make_root(struct super *sb)
{
    struct ovl_super *os = os_of(sb);
    struct ovl_lower lower[OVL_MAX_LOWERS];
    struct ovl_inode *oi;
    for (size_t i = 0; i < os->nlower; i++)
        lower[i] = (struct ovl_lower){dentry_get(os->lower[i].root), i};
    struct dentry *u = os->upper.mnt ? dentry_get(os->upper.root) : nullptr;
    int err = ovl_inode_new(sb, u, lower, os->nlower, &oi);
    if (err)
        return err;
    sb->root = dentry_new_root(sb, &oi->vfs);
    if (!sb->root) {
        inode_put(&oi->vfs);
        return -ENOMEM;
    }
    sb->root->fsdata = oi;
    ovl_alias_set(oi, sb->root);
    return 0;
}
static int mount_layers(const struct path *lowers, size_t n, struct super *upper_sb,
                        struct dentry *upper, struct super **out)
{
    if (!n || n > OVL_MAX_LOWERS)
        return -EINVAL;
    int err = new_super(lowers, n, upper_sb, upper, out);
    if (err)
        return err;
    err = make_root(*out);
    if (err)
        super_put(*out);
    return err;
}
// A fresh upper root looks like the directory that it covers.
static void copy_root_attrs(struct super *sb)
{
    struct ovl_super *os = os_of(sb);
    struct inode *l = os->lower[0].root->inode, *u = os->upper.root->inode;
    struct iattr a = {.valid = IATTR_MODE | IATTR_UID | IATTR_GID | IATTR_ATIME | IATTR_MTIME |
                               IATTR_ATIME_SET | IATTR_MTIME_SET,
                      .mode = l->mode, .uid = l->uid, .gid = l->gid, .atime = l->atime,
                      .mtime = l->mtime};
    mutex_lock(&u->lock);
    if (u->ops->setattr)
        (void)!u->ops->setattr(u, &a);
    else
        inode_setattr_fields(u, &a);
    mutex_unlock(&u->lock);
    ovl_mirror(oi_of(sb->root->inode));
}
int overlay_mount(const struct path *lowers, size_t n, struct super *upper, struct super **out)
{
    int err = mount_layers(lowers, n, upper, upper ? upper->root : nullptr, out);
    if (!err && upper)
        copy_root_attrs(*out);
    return err;
}

// --- mount(2) ---
struct options {
    char *lower, *upper, *work; // into a copy of the option string
};
static char *cut_option(char **rest) // up to a comma that no backslash precedes
{
    char *s = *rest, *w = s;
    if (!s || !*s)
        return nullptr;
    char *r = s;
    while (*r && *r != ',') {
        if (*r == '\\' && r[1] == ',')
            r++;
        *w++ = *r++;
    }
    *rest = *r ? r + 1 : r;
    *w = 0;
    return s;
}
static int parse(char *s, struct options *o)
{
    for (char *opt; (opt = cut_option(&s));) {
        char *v = strchr(opt, '=');
        if (v)
            *v++ = 0;
        if (!*opt)
            continue;
        if (v && !strcmp(opt, "lowerdir"))
            o->lower = v;
        else if (v && !strcmp(opt, "upperdir"))
            o->upper = v;
        else if (v && !strcmp(opt, "workdir"))
            o->work = v;
        else if (strcmp(opt, "userxattr") && strcmp(opt, "volatile") && strcmp(opt, "ro") &&
                 strcmp(opt, "rw") &&
                 !(v && (!strcmp(opt, "redirect_dir") || !strcmp(opt, "index") ||
                         !strcmp(opt, "xino") || !strcmp(opt, "metacopy") || !strcmp(opt, "uuid") ||
                         !strcmp(opt, "nfs_export"))))
            return -EINVAL;
    }
    return o->lower && !o->upper == !o->work ? 0 : -EINVAL;
}
static int lookup_dir(const char *name, struct path *out)
{
    struct task *t = task_current();
    if (!t)
        return -EINVAL;
    struct lookup_ctx c = task_lookup_ctx(t);
    return path_lookup(&c, AT_FDCWD, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, out);
}
// "a:b:c", the top one first; "\:" is a colon of a name.
static int lookup_lowers(char *s, struct path *v, size_t *n)
{
    while (*s) {
        char *start = s, *w = s;
        while (*s && *s != ':') {
            if (*s == '\\' && s[1] == ':')
                s++;
            *w++ = *s++;
        }
        if (*s)
            s++;
        *w = 0;
        if (*n == OVL_MAX_LOWERS || !*start)
            return -EINVAL;
        int err = lookup_dir(start, &v[*n]);
        if (err)
            return err;
        ++*n;
    }
    return 0;
}
static int mount_options(struct options *o, struct super **out)
{
    struct path *lowers = mem_alloc_array(OVL_MAX_LOWERS, sizeof(*lowers));
    struct path upper = {}, work = {};
    size_t n = 0;
    int err = lowers ? lookup_lowers(o->lower, lowers, &n) : -ENOMEM;
    if (!err && o->upper)
        err = lookup_dir(o->upper, &upper);
    if (!err && o->work)
        err = lookup_dir(o->work, &work);
    if (!err && o->upper && (upper.mnt != work.mnt || upper.dentry == work.dentry))
        err = -EINVAL;
    if (!err && o->upper && mount_readonly(upper.mnt))
        err = -EROFS;
    if (!err)
        err = mount_layers(lowers, n, o->upper ? upper.dentry->sb : nullptr, upper.dentry, out);
    path_put(upper);
    path_put(work);
    for (size_t i = 0; i < n; i++)
        path_put(lowers[i]);
    mem_free(lowers);
    return err;
}
static int ovl_mount(const struct fs_type *t, const char *source, const char *options,
                     const struct cred *c, struct super **out)
{
    char *copy = mem_strdup(options ? options : "");
    struct options o = {};
    int err = copy ? parse(copy, &o) : -ENOMEM;
    if (!err)
        err = mount_options(&o, out);
    if (!err && options) { // for mountinfo
        (*out)->source = mem_strdup(source ? source : "overlay");
    }
    mem_free(copy);
    return err;
}
const struct fs_type overlay_type = {
    .name = "overlay",
    .nodev = true,
    .user_mount = true,
    .mount = ovl_mount,
};
