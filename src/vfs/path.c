// SPDX-License-Identifier: Apache-2.0
// Paths as text: what getcwd(2), /proc/PID/fd, /proc/PID/maps and mountinfo print.
#include "vfs/mount_int.h"
#include "abi/errno.h"
#include <string.h>
#include <sys/stat.h>

constexpr size_t PATH_TEXT_MAX = 4096;

struct backwards { // text built from its end
    char *buf;
    size_t at;
    bool overflow;
};

static void prepend(struct backwards *b, const char *s, size_t n)
{
    if (n > b->at) {
        b->overflow = true;
        return;
    }
    b->at -= n;
    memcpy(b->buf + b->at, s, n);
}

// 0: root reached; 1: the top of another tree. root may be null (the topmost mount counts).
static int walk_up(const struct path *p, const struct path *root, struct backwards *b)
{
    struct mount *m = p->mnt;
    struct dentry *d = p->dentry;
    int res = 0;
    spin_lock(&mount_spin);
    spin_lock(&dentry_lock);
    while (!root || d != root->dentry || m != root->mnt) {
        if (m && d == m->root) {
            if (!m->parent) {
                res = root ? 1 : 0;
                break;
            }
            d = m->mountpoint;
            m = m->parent;
            continue;
        }
        if (d->parent == d) { // moved out of what the mount shows
            res = 1;
            break;
        }
        prepend(b, d->name, d->namelen);
        prepend(b, "/", 1);
        d = d->parent;
    }
    spin_unlock(&dentry_lock);
    spin_unlock(&mount_spin);
    return res;
}

static bool dentry_is_deleted(const struct dentry *d)
{
    return __atomic_load_n(&d->unhashed, __ATOMIC_ACQUIRE) && d->parent != d;
}

int path_print_reachable(const struct path *p, const struct path *root, struct strbuf *out,
                         bool *reachable)
{
    if (!p->mnt) { // anonymous: the dentry carries the whole name
        *reachable = true;
        strbuf_put(out, p->dentry->name, p->dentry->namelen);
        return out->bad ? -ENOMEM : 0;
    }
    struct backwards b = {.buf = mem_alloc(PATH_TEXT_MAX), .at = PATH_TEXT_MAX};
    if (!b.buf)
        return -ENOMEM;
    if (dentry_is_deleted(p->dentry))
        prepend(&b, " (deleted)", 10);
    *reachable = walk_up(p, root, &b) == 0;
    if (b.at == PATH_TEXT_MAX)
        prepend(&b, "/", 1);
    int err = b.overflow ? -ENAMETOOLONG : 0;
    if (!err) {
        strbuf_put(out, b.buf + b.at, PATH_TEXT_MAX - b.at);
        err = out->bad ? -ENOMEM : 0;
    }
    mem_free(b.buf);
    return err;
}

int path_print(const struct path *p, const struct path *root, struct strbuf *out)
{
    bool reachable;
    return path_print_reachable(p, root, out, &reachable);
}

int path_print_cwd(const struct path *p, const struct path *root, struct strbuf *out)
{
    if (dentry_is_deleted(p->dentry))
        return -ENOENT;
    struct strbuf s = {};
    bool reachable;
    int err = path_print_reachable(p, root, &s, &reachable);
    if (!err) {
        if (!reachable)
            strbuf_str(out, "(unreachable)");
        strbuf_put(out, s.p, s.len);
        err = out->bad ? -ENOMEM : 0;
    }
    strbuf_free(&s);
    return err;
}

// The path of d inside its file system (mountinfo's field 4).
void dentry_print(struct dentry *d, struct strbuf *out)
{
    struct backwards b = {.buf = mem_alloc(PATH_TEXT_MAX), .at = PATH_TEXT_MAX};
    if (!b.buf) {
        out->bad = true;
        return;
    }
    bool deleted = dentry_is_deleted(d);
    if (deleted)
        prepend(&b, "//deleted", 9);
    spin_lock(&dentry_lock);
    for (; d->parent != d; d = d->parent) {
        prepend(&b, d->name, d->namelen);
        prepend(&b, "/", 1);
    }
    spin_unlock(&dentry_lock);
    if (b.at == PATH_TEXT_MAX)
        prepend(&b, "/", 1);
    strbuf_put(out, b.buf + b.at, PATH_TEXT_MAX - b.at);
    mem_free(b.buf);
}
