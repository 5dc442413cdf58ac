// SPDX-License-Identifier: Apache-2.0
// /proc/PID/mounts and /proc/PID/mountinfo (proc(5)).
#include "vfs/mount_int.h"
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

// Blank, tab, newline, backslash and '#' as octal escapes.
static void put_mangled(struct strbuf *out, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] && strchr(" \t\n\\#", s[i]))
            strbuf_fmt(out, "\\%03o", (unsigned char)s[i]);
        else
            strbuf_char(out, s[i]);
    }
}

static void show_mount_options(uint32_t f, struct strbuf *out)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } names[] = {{MS_NOSUID, ",nosuid"},         {MS_NODEV, ",nodev"},
                 {MS_NOEXEC, ",noexec"},         {MS_NOATIME, ",noatime"},
                 {MS_NODIRATIME, ",nodiratime"}, {MS_RELATIME, ",relatime"},
                 {256, ",nosymfollow"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (f & names[i].flag)
            strbuf_str(out, names[i].name);
}

static void show_super_options(struct super *sb, struct strbuf *out)
{
    if (sb->flags & MS_SYNCHRONOUS)
        strbuf_str(out, ",sync");
    if (sb->flags & MS_DIRSYNC)
        strbuf_str(out, ",dirsync");
}

static void show_source(struct super *sb, struct strbuf *out)
{
    const char *s = sb->source && *sb->source ? sb->source : "none";
    put_mangled(out, s, strlen(s));
}

static void show_mountinfo(struct mount *m, const struct strbuf *at, struct strbuf *out)
{
    struct strbuf root = {};
    dentry_print(m->root, &root);
    strbuf_fmt(out, "%lu %lu %u:%u ", m->id, m->parent ? m->parent->id : 1ul,
               major(m->sb->dev), minor(m->sb->dev));
    put_mangled(out, root.p ? root.p : "/", root.p ? root.len : 1);
    strbuf_free(&root);
    strbuf_char(out, ' ');
    put_mangled(out, at->p, at->len);
    strbuf_str(out, m->flags & MS_RDONLY ? " ro" : " rw");
    show_mount_options(m->flags, out);
    if (m->peer_group)
        strbuf_fmt(out, " shared:%lu", m->peer_group);
    if (m->master_group)
        strbuf_fmt(out, " master:%lu", m->master_group);
    if (m->unbindable)
        strbuf_str(out, " unbindable");
    strbuf_fmt(out, " - %s ", m->sb->type->name);
    show_source(m->sb, out);
    strbuf_str(out, m->sb->flags & MS_RDONLY ? " ro" : " rw");
    show_super_options(m->sb, out);
    if (m->sb->ops->show_options)
        m->sb->ops->show_options(m->sb, out);
    strbuf_char(out, '\n');
}

static void show_mounts(struct mount *m, const struct strbuf *at, struct strbuf *out)
{
    show_source(m->sb, out);
    strbuf_char(out, ' ');
    put_mangled(out, at->p, at->len);
    strbuf_fmt(out, " %s %s", m->sb->type->name, mount_readonly(m) ? "ro" : "rw");
    show_super_options(m->sb, out);
    show_mount_options(m->flags, out);
    if (m->sb->ops->show_options)
        m->sb->ops->show_options(m->sb, out);
    strbuf_str(out, " 0 0\n");
}

void mounts_show(struct mntns *ns, const struct path *root, struct strbuf *out, bool mountinfo)
{
    mutex_lock(&mount_lock);
    for (struct mount *m = ns->root; m; m = mount_next(m, ns->root, false)) {
        struct strbuf at = {};
        bool reachable = false;
        struct path p = {.mnt = m, .dentry = m->root};
        if (path_print_reachable(&p, root, &at, &reachable) == 0 && reachable) {
            if (mountinfo)
                show_mountinfo(m, &at, out);
            else
                show_mounts(m, &at, out);
        }
        strbuf_free(&at);
    }
    mutex_unlock(&mount_lock);
}
