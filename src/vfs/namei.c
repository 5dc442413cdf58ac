// SPDX-License-Identifier: Apache-2.0
// Path resolution (path_resolution(7), symlink(7), openat2(2)). Paths come from guests: any bytes,
// any length up to the caller's buffer. Nothing recurses: texts of symbolic links are kept on a
// stack of at most 40.
//
// A walk holds references, not locks: a directory is locked only to look up a name that the cache
// does not know. ".." under RESOLVE_BENEATH or RESOLVE_IN_ROOT is refused with EAGAIN when any
// directory or mount moved since the walk began, since it might have moved out of the root.
#include "vfs/walk.h"
#include "abi/errno.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

constexpr unsigned LOOKUP_SCOPED = LOOKUP_BENEATH | LOOKUP_IN_ROOT;
constexpr uint32_t MS_NOSYMFOLLOW_FLAG = 256;

static struct path fs_path(const struct lookup_ctx *c, bool root)
{
    mutex_lock(&c->fs->lock);
    struct path p = path_get(root ? c->fs->root : c->fs->cwd);
    mutex_unlock(&c->fs->lock);
    return p;
}

static int start_dir(const struct lookup_ctx *c, int dirfd, const char *name, struct path *out)
{
    if (dirfd == AT_FDCWD) {
        *out = fs_path(c, false);
        return 0;
    }
    struct file *f = c->files ? fd_get_any(c->files, dirfd) : nullptr;
    if (!f)
        return -EBADF;
    int err = 0;
    if (*name && !S_ISDIR(f->inode->mode))
        err = -ENOTDIR;
    else
        *out = path_get(f->path);
    file_put(f);
    return err;
}

static int jump_root(struct walk *w)
{
    if (w->flags & LOOKUP_BENEATH)
        return -EXDEV;
    if ((w->flags & LOOKUP_NO_XDEV) && w->cur.dentry && w->cur.mnt != w->root.mnt)
        return -EXDEV;
    path_put(w->cur);
    w->cur = path_get(w->root);
    return 0;
}

int walk_start(struct walk *w, const struct lookup_ctx *c, int dirfd, const char *name,
               unsigned flags)
{
    memset(w, 0, offsetof(struct walk, stack));
    w->c = c;
    w->flags = flags;
    w->s = name;
    w->want_dir = flags & LOOKUP_DIRECTORY;
    if (!*name && !(flags & LOOKUP_EMPTY))
        return -ENOENT;
    w->seq = dcache_rename_seq();
    int err;
    if (flags & LOOKUP_SCOPED) {
        err = start_dir(c, dirfd, name, &w->cur);
        if (err)
            return err;
        w->root = path_get(w->cur);
        return *name == '/' ? jump_root(w) : 0;
    }
    w->root = fs_path(c, true);
    if (*name == '/')
        return jump_root(w);
    return start_dir(c, dirfd, name, &w->cur);
}

void walk_end(struct walk *w)
{
    path_put(w->cur);
    path_put(w->root);
    mem_free(w->buf);
    while (w->depth > 0)
        mem_free(w->stack[--w->depth].buf);
    memset(w, 0, offsetof(struct walk, stack));
}

static bool path_equal(const struct path *a, const struct path *b)
{
    return a->mnt == b->mnt && a->dentry == b->dentry;
}

static int walk_dotdot(struct walk *w)
{
    struct path p = path_get(w->cur);
    int err = 0;
    for (;;) {
        if (path_equal(&p, &w->root)) {
            err = w->flags & LOOKUP_BENEATH ? -EXDEV : 0;
            break;
        }
        if (!p.mnt || p.dentry != p.mnt->root) {
            struct dentry *d = dentry_parent_get(p.dentry);
            dentry_put(p.dentry);
            p.dentry = d;
            break;
        }
        if (!path_follow_up(&p)) // the top of everything
            break;
        if (w->flags & LOOKUP_NO_XDEV) {
            err = -EXDEV;
            break;
        }
    }
    if (!err && path_follow_mounts(&p) && (w->flags & LOOKUP_NO_XDEV))
        err = -EXDEV;
    if (!err && (w->flags & LOOKUP_SCOPED) && w->seq != dcache_rename_seq())
        err = -EAGAIN;
    if (err) {
        path_put(p);
        return err;
    }
    path_put(w->cur);
    w->cur = p;
    return 0;
}

// A child from the cache when it may be used without asking, else under the directory's lock.
static int lookup_child(struct walk *w, const char *name, size_t n, struct dentry **out)
{
    struct dentry *dir = w->cur.dentry;
    struct dentry *d = dcache_find(dir, name, n);
    if (d && d->sb->ops->d_revalidate) {
        int v = d->sb->ops->d_revalidate(d);
        if (v <= 0) {
            if (v == 0)
                dentry_unhash(d);
            dentry_put(d);
            if (v < 0)
                return v;
            d = nullptr;
        }
    }
    if (d) {
        *out = d;
        return 0;
    }
    struct inode *di = dentry_inode(dir);
    mutex_lock(&di->lock);
    int err = dentry_lookup_locked(dir, name, n, out);
    mutex_unlock(&di->lock);
    return err;
}

static int follow_magic(struct walk *w, struct dentry *d)
{
    struct path p = {};
    if (w->flags & LOOKUP_NO_MAGICLINKS)
        return -ELOOP;
    int err = dentry_inode(d)->ops->get_link(d, &p);
    if (err)
        return err;
    if ((w->flags & LOOKUP_SCOPED) || ((w->flags & LOOKUP_NO_XDEV) && p.mnt != w->cur.mnt)) {
        path_put(p);
        return -EXDEV;
    }
    path_put(w->cur);
    w->cur = p;
    return 0;
}

// The link at p (its directory is w->cur). 0: jumped; 1: w->s is the text, w->cur where it starts.
static int follow_link(struct walk *w, const struct path *p)
{
    struct inode *i = dentry_inode(p->dentry);
    if (w->nlinks++ >= MAX_LINKS || (w->flags & LOOKUP_NO_SYMLINKS) ||
        (mount_flags(p->mnt) & MS_NOSYMFOLLOW_FLAG))
        return -ELOOP;
    path_accessed(p);
    if (i->ops->get_link)
        return follow_magic(w, p->dentry);
    struct strbuf text = {};
    int err = i->ops->readlink ? i->ops->readlink(i, &text) : -EINVAL;
    if (!err && text.bad)
        err = -ENOMEM;
    if (!err && (!text.len || !text.p[0]))
        err = -ENOENT;
    if (!err && text.p[0] == '/')
        err = jump_root(w);
    if (err) {
        strbuf_free(&text);
        return err;
    }
    if (*w->s) { // more to come in the present text: keep it for later
        w->stack[w->depth++] = (struct walk_frame){.buf = w->buf, .rest = w->s};
    } else {
        mem_free(w->buf);
    }
    w->buf = text.p;
    w->s = text.p;
    return 1;
}

int walk_step_into(struct walk *w, struct dentry *d, bool follow)
{
    struct path p = {.mnt = w->cur.mnt ? mount_get(w->cur.mnt) : nullptr, .dentry = d};
    int err = 0;
    if (path_follow_mounts(&p) && (w->flags & LOOKUP_NO_XDEV)) {
        err = -EXDEV;
    } else {
        struct inode *i = dentry_inode(p.dentry);
        if (!i) {
            err = -ENOENT;
        } else if (follow && S_ISLNK(i->mode)) {
            err = follow_link(w, &p);
        } else {
            path_put(w->cur);
            w->cur = p;
            return 0;
        }
    }
    path_put(p);
    return err;
}

// Cuts the next component off w->s. False when the text is used up.
static bool next_component(struct walk *w)
{
    while (*w->s == '/')
        w->s++;
    if (!*w->s)
        return false;
    w->last = w->s;
    w->s = strchrnul(w->s, '/');
    w->last_len = (size_t)(w->s - w->last);
    w->slash = *w->s == '/';
    while (*w->s == '/')
        w->s++;
    w->last_type = LAST_NORM;
    if (w->last[0] == '.' && w->last_len == 1)
        w->last_type = LAST_DOT;
    else if (w->last[0] == '.' && w->last_len == 2 && w->last[1] == '.')
        w->last_type = LAST_DOTDOT;
    return true;
}

static void pop_text(struct walk *w)
{
    mem_free(w->buf);
    struct walk_frame f = w->stack[--w->depth];
    w->buf = f.buf;
    w->s = f.rest;
}

static int enter_component(struct walk *w)
{
    struct inode *i = dentry_inode(w->cur.dentry);
    if (!S_ISDIR(i->mode))
        return -ENOTDIR;
    return inode_permission(i, MAY_EXEC, w->c->cred);
}

static int walk_middle(struct walk *w)
{
    if (w->last_type == LAST_DOT)
        return 0;
    if (w->last_type == LAST_DOTDOT)
        return walk_dotdot(w);
    struct dentry *d;
    int err = lookup_child(w, w->last, w->last_len, &d);
    if (err)
        return err;
    return walk_step_into(w, d, true);
}

int walk_to_last(struct walk *w)
{
    for (;;) {
        if (!next_component(w)) {
            if (w->depth) {
                pop_text(w);
                continue;
            }
            w->last = "";
            w->last_len = 0;
            w->last_type = LAST_ROOT; // "/" or nothing at all: cur is it
            w->slash = false;
            return 0;
        }
        int err = enter_component(w);
        if (err)
            return err;
        if (!*w->s && !w->depth) {
            if (w->slash) { // also for every link that the last component leads through
                w->want_dir = true;
                w->flags |= LOOKUP_FOLLOW;
            }
            return 0;
        }
        err = walk_middle(w);
        if (err < 0)
            return err;
    }
}

int walk_last(struct walk *w)
{
    if (w->last_type == LAST_ROOT || w->last_type == LAST_DOT)
        return 0;
    if (w->last_type == LAST_DOTDOT)
        return walk_dotdot(w);
    struct dentry *d;
    int err = lookup_child(w, w->last, w->last_len, &d);
    if (err)
        return err;
    return walk_step_into(w, d, w->flags & LOOKUP_FOLLOW);
}

static bool path_is_under(const struct path *p, const struct path *root)
{
    struct path q = path_get(*p);
    while (q.mnt && q.mnt != root->mnt)
        if (!path_follow_up(&q))
            break;
    bool res = q.mnt == root->mnt && dentry_is_below(q.dentry, root->dentry);
    path_put(q);
    return res;
}

int walk_finish(struct walk *w)
{
    struct inode *i = dentry_inode(w->cur.dentry);
    if (!i)
        return -ENOENT;
    if (w->want_dir && !S_ISDIR(i->mode))
        return -ENOTDIR;
    if ((w->flags & LOOKUP_SCOPED) && !path_is_under(&w->cur, &w->root))
        return -EXDEV;
    return 0;
}

int path_lookup(const struct lookup_ctx *c, int dirfd, const char *name, unsigned flags,
                struct path *out)
{
    struct walk w UNINIT;
    int err = walk_start(&w, c, dirfd, name, flags);
    while (!err) {
        err = walk_to_last(&w);
        if (err)
            break;
        err = walk_last(&w);
        if (err <= 0)
            break;
        err = 0;
    }
    if (!err)
        err = walk_finish(&w);
    if (!err)
        *out = path_get(w.cur);
    walk_end(&w);
    return err;
}

int path_lookup_parent(const struct lookup_ctx *c, int dirfd, const char *name, unsigned flags,
                       struct path *parent, char *last, bool *slash)
{
    struct walk w UNINIT;
    int err = walk_start(&w, c, dirfd, name, flags & ~(unsigned)LOOKUP_EMPTY);
    if (!err)
        err = walk_to_last(&w);
    if (!err && (w.flags & LOOKUP_SCOPED) && !path_is_under(&w.cur, &w.root))
        err = -EXDEV;
    if (!err && w.last_len > NAME_LEN_MAX)
        err = -ENAMETOOLONG;
    if (!err) {
        memcpy(last, w.last, w.last_len);
        last[w.last_len] = '\0';
        if (slash)
            *slash = w.slash;
        *parent = path_get(w.cur);
    }
    walk_end(&w);
    return err;
}

int vfs_readlink(struct dentry *d, struct strbuf *out)
{
    struct inode *i = dentry_inode(d);
    if (!i)
        return -ENOENT;
    if (i->ops->readlink)
        return i->ops->readlink(i, out);
    if (!i->ops->get_link)
        return -EINVAL;
    struct path p = {};
    int err = i->ops->get_link(d, &p);
    if (err)
        return err;
    err = path_print(&p, nullptr, out);
    path_put(p);
    return err;
}
