// SPDX-License-Identifier: Apache-2.0
// Generated file trees; see pseudo.h. The text of an open file is a snapshot: parts read one after
// the other fit together, and a read from offset 0 makes a new one, as with Linux's seq_file.
#include "fs/pseudo.h"
#include "abi/errno.h"
#include "base/slab.h"
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct pseudo_node {
    struct inode inode;
    char *name;                  // owned [C]
    char *target;                // owned; symlinks [C]
    char *text;                  // owned; constant text [C]
    pseudo_show_fn *show;        // [C]
    pseudo_store_fn *store;      // [C]
    void *arg;                   // [C]
    struct pseudo_node *parent;  // weak; the tree lives as long as its superblock
    struct pseudo_node *first, *last, *next; // [C after build] children; each holds one inode ref
    uint32_t nchildren;
};
struct pseudo_super {
    struct pseudo_node *root;
    bool failed;
};
SLAB_DEFINE(node_slab, struct pseudo_node);
SLAB_DEFINE(super_slab, struct pseudo_super);

static struct pseudo_node *node_of(struct inode *i)
{
    return container_of(i, struct pseudo_node, inode);
}

// --- open text files ---------------------------------------------------------------------------
struct text_file {
    struct mutex lock;  // RANK_FILE is f->pos_lock's; this one nests inside it
    struct strbuf text; // [lock]
    bool made;          // [lock]
    pseudo_show_fn *show;
    void *arg;
};
SLAB_DEFINE(text_slab, struct text_file);

int text_file_open(struct file *f, pseudo_show_fn *show, void *arg)
{
    struct text_file *t = slab_alloc(&text_slab);
    if (!t)
        return -ENOMEM;
    mutex_init(&t->lock, RANK_NONE);
    t->show = show;
    t->arg = arg;
    f->data = t;
    return 0;
}

void *text_file_arg(struct file *f)
{
    return ((struct text_file *)f->data)->arg;
}

static int text_make(struct text_file *t)
{
    strbuf_reset(&t->text);
    t->made = false;
    int err = t->show(&t->text, t->arg);
    if (err == 0 && t->text.bad) {
        strbuf_free(&t->text);
        err = -ENOMEM;
    }
    t->made = err == 0;
    return err;
}

long text_file_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct text_file *t = f->data;
    long ret = 0;
    mutex_lock(&t->lock);
    if (!t->made || *pos == 0)
        ret = text_make(t);
    if (ret == 0 && *pos >= 0 && (uint64_t)*pos < t->text.len) {
        ret = uio_copy_to(u, t->text.p + *pos, MIN(u->resid, t->text.len - (size_t)*pos));
        if (ret > 0)
            *pos += ret;
    }
    mutex_unlock(&t->lock);
    return ret;
}

int64_t text_file_llseek(struct file *f, int64_t off, int whence)
{
    if (whence == SEEK_CUR && __builtin_add_overflow(off, f->pos, &off))
        return -EOVERFLOW;
    if ((whence != SEEK_SET && whence != SEEK_CUR) || off < 0)
        return -EINVAL;
    return f->pos = off;
}

void text_file_release(struct file *f)
{
    struct text_file *t = f->data;
    if (!t)
        return;
    strbuf_free(&t->text);
    slab_free(&text_slab, t);
}

// --- files of the tree ---------------------------------------------------------------------------
static int show_text(struct strbuf *out, void *arg)
{
    strbuf_str(out, arg);
    return 0;
}

static int node_file_open(struct file *f)
{
    struct pseudo_node *n = node_of(f->inode);
    if (n->text)
        return text_file_open(f, show_text, n->text);
    return text_file_open(f, n->show, n->arg);
}

static long node_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct pseudo_node *n = node_of(f->inode);
    char buf[PAGE_SIZE];
    if (!n->store)
        return -EINVAL;
    long got = uio_copy_from(u, buf, MIN(u->resid, sizeof(buf) - 1));
    if (got < 0)
        return got;
    buf[got] = 0;
    int err = n->store(buf, (size_t)got, n->arg);
    if (err)
        return err;
    *pos += got;
    return got;
}

static int dir_readdir(struct file *f, struct dir_context *dc)
{
    struct pseudo_node *dir = node_of(f->inode);
    struct pseudo_node *up = dir->parent ? dir->parent : dir;
    if (dc->pos == 0) {
        if (!dc->emit(dc, ".", 1, dir->inode.ino, DT_DIR, 1))
            return 0;
        dc->pos = 1;
    }
    if (dc->pos == 1) {
        if (!dc->emit(dc, "..", 2, up->inode.ino, DT_DIR, 2))
            return 0;
        dc->pos = 2;
    }
    int64_t at = 2;
    for (struct pseudo_node *n = dir->first; n; n = n->next, at++) {
        if (at < dc->pos)
            continue;
        if (!dc->emit(dc, n->name, strlen(n->name), n->inode.ino, (uint8_t)IFTODT(n->inode.mode),
                      at + 1))
            return 0;
        dc->pos = at + 1;
    }
    return 0;
}

static int dir_lookup(struct inode *dir, struct dentry *d)
{
    for (struct pseudo_node *n = node_of(dir)->first; n; n = n->next) {
        if (!strcmp(n->name, d->name)) {
            dentry_instantiate(d, inode_get(&n->inode));
            break;
        }
    }
    return 0;
}

static int link_readlink(struct inode *i, struct strbuf *out)
{
    strbuf_str(out, node_of(i)->target);
    return out->bad ? -ENOMEM : 0;
}

static int node_setattr(struct inode *i, const struct iattr *a)
{
    return a->valid & ~(uint32_t)(IATTR_SIZE | IATTR_MTIME | IATTR_CTIME) ? -EPERM : 0;
}

static void node_release(struct inode *i)
{
    struct pseudo_node *n = node_of(i);
    mem_free(n->name);
    mem_free(n->target);
    mem_free(n->text);
    slab_free(&node_slab, n);
}

static const struct inode_ops dir_iops = {
    .lookup = dir_lookup,
    .setattr = node_setattr,
    .release = node_release,
};
static const struct inode_ops file_iops = {.setattr = node_setattr, .release = node_release};
static const struct inode_ops link_iops = {
    .readlink = link_readlink,
    .setattr = node_setattr,
    .release = node_release,
};
static const struct file_ops dir_fops = {.readdir = dir_readdir};
static const struct file_ops file_fops = {
    .open = node_file_open,
    .read = text_file_read,
    .write = node_write,
    .llseek = text_file_llseek,
    .release = text_file_release,
};

// --- building ------------------------------------------------------------------------------------
static void tree_free(struct pseudo_node *n)
{
    // The depth is that of a tree written in this program, not of anything a guest chose.
    for (struct pseudo_node *c = n->first, *next; c; c = next) {
        next = c->next;
        tree_free(c);
    }
    inode_put(&n->inode);
}

static void pseudo_release(struct super *sb)
{
    struct pseudo_super *p = sb->fsdata;
    if (!p)
        return;
    if (p->root)
        tree_free(p->root);
    slab_free(&super_slab, p);
}

static const struct super_ops pseudo_super_ops = {.release = pseudo_release};

static struct pseudo_node *node_new(struct super *sb, struct pseudo_node *dir, const char *name,
                                    const struct inode_ops *iops, const struct file_ops *fops,
                                    uint32_t mode)
{
    struct pseudo_super *p = sb->fsdata;
    struct pseudo_node *n = slab_alloc(&node_slab);
    if (!n || !(n->name = mem_strdup(name))) {
        if (n)
            slab_free(&node_slab, n);
        p->failed = true;
        return nullptr;
    }
    inode_init(&n->inode, sb, iops, fops, mode, nullptr);
    n->inode.nlink = S_ISDIR(mode) ? 2 : 1;
    n->parent = dir;
    if (dir) {
        *(dir->last ? &dir->last->next : &dir->first) = n;
        dir->last = n;
        dir->inode.nlink += S_ISDIR(mode);
    }
    return n;
}

int pseudo_super_new(const struct fs_type *t, uint64_t magic, struct super **out,
                     struct pseudo_node **root)
{
    struct super *sb = super_new(t, &pseudo_super_ops);
    if (!sb)
        return -ENOMEM;
    struct pseudo_super *p = slab_alloc(&super_slab);
    if (!p) {
        super_put(sb);
        return -ENOMEM;
    }
    sb->fsdata = p;
    sb->magic = magic;
    p->root = node_new(sb, nullptr, "/", &dir_iops, &dir_fops, S_IFDIR | 0555);
    sb->root = p->root ? dentry_new_root(sb, inode_get(&p->root->inode)) : nullptr;
    if (!sb->root) {
        super_put(sb);
        return -ENOMEM;
    }
    *out = sb;
    *root = p->root;
    return 0;
}

struct pseudo_node *pseudo_add_dir(struct pseudo_node *dir, const char *name)
{
    return dir ? node_new(dir->inode.sb, dir, name, &dir_iops, &dir_fops, S_IFDIR | 0555) : nullptr;
}

struct pseudo_node *pseudo_add_file(struct pseudo_node *dir, const char *name, uint32_t mode,
                                    pseudo_show_fn *show, pseudo_store_fn *store, void *arg)
{
    struct pseudo_node *n =
        dir ? node_new(dir->inode.sb, dir, name, &file_iops, &file_fops, S_IFREG | mode) : nullptr;
    if (!n)
        return nullptr;
    n->show = show;
    n->store = store;
    n->arg = arg;
    n->inode.size = PAGE_SIZE; // as sysfs shows
    return n;
}

struct pseudo_node *pseudo_add_text(struct pseudo_node *dir, const char *name, const char *text)
{
    struct pseudo_node *n = pseudo_add_file(dir, name, 0444, show_text, nullptr, nullptr);
    if (n && !(n->text = mem_strdup(text))) {
        n->text = nullptr;
        n->show = nullptr;
        ((struct pseudo_super *)dir->inode.sb->fsdata)->failed = true;
    }
    return n;
}

struct pseudo_node *pseudo_add_link(struct pseudo_node *dir, const char *name, const char *target)
{
    struct pseudo_node *n =
        dir ? node_new(dir->inode.sb, dir, name, &link_iops, nullptr, S_IFLNK | 0777) : nullptr;
    if (n && !(n->target = mem_strdup(target)))
        ((struct pseudo_super *)dir->inode.sb->fsdata)->failed = true;
    if (n)
        n->inode.size = strlen(target);
    return n;
}

bool pseudo_failed(const struct super *sb)
{
    return ((const struct pseudo_super *)sb->fsdata)->failed;
}
