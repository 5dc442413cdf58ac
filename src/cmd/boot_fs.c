// SPDX-License-Identifier: Apache-2.0
// Builds the container's mount tree inside the Sentry: see boot_fs.h. Every path here is resolved by
// our own VFS below the container's root: a symbolic link in an image leads nowhere else
// (the host's kernel never sees these names).
#include "cmd/boot_fs.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/gofer/gofer_fs.h"
#include "fs/overlay/overlay.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

static struct lookup_ctx ctx_of(const struct boot_fs *b)
{
    return (struct lookup_ctx){.fs = b->fs, .cred = b->cred};
}

static struct super *tmpfs_new(const struct boot_config *c, const char *options,
                               const struct cred *cred)
{
    const struct fs_type *t = fs_type_find("tmpfs");
    struct super *sb = nullptr;
    int err = t ? t->mount(t, "tmpfs", options, cred, &sb) : -ENODEV;
    if (err)
        boot_fail(1, "tmpfs: %s", strerror(-err));
    return sb;
}

static void make_root(const struct boot_config *c, struct gofer_client *gofer, struct boot_fs *b)
{
    struct super *lower, *upper, *sb;
    char options[64];
    int err = gofer_mount(gofer, "0", true, true, &lower);
    if (err)
        boot_fail(1, "root %s: %s", c->roots[0].path, strerror(-err));
    snprintf(options, sizeof(options), "mode=755,size=%llu", (unsigned long long)c->mem_total / 2);
    upper = tmpfs_new(c, options, b->cred);
    err = overlay_mount(&(struct path){.dentry = lower->root}, 1, upper, &sb);
    if (err)
        boot_fail(1, "overlay over %s: %s", c->roots[0].path, strerror(-err));
    super_put(lower);
    super_put(upper);
    struct mount *m = mount_new(sb, sb->root, 0);
    struct mntns *ns;
    if (!m || mntns_new(m, &ns))
        boot_fail(1, "root mount: out of memory");
    struct path root = {m, sb->root};
    b->fs = fs_context_new(root, ns);
    if (!b->fs)
        boot_fail(1, "root mount: out of memory");
    mntns_put(ns);
    mount_put(m);
    super_put(sb);
}

// Makes the directories of an absolute path that are missing, and the last component as a file if
// asked. Errors show when the path is looked up.
static void make_mountpoint(const struct boot_fs *b, const char *path, bool file)
{
    struct lookup_ctx lc = ctx_of(b);
    char buf[4096];
    if ((size_t)snprintf(buf, sizeof(buf), "%s", path) >= sizeof(buf))
        return;
    for (char *p = buf + 1;; p++) {
        if (*p && *p != '/')
            continue;
        bool last = !*p;
        *p = 0;
        if (last && file) {
            struct file *f;
            if (vfs_open(&lc, AT_FDCWD, buf, O_CREAT | O_WRONLY, 0644, LOOKUP_FOLLOW, &f) == 0)
                file_put(f);
            return;
        }
        int err = vfs_mkdir(&lc, AT_FDCWD, buf, 0755);
        if (last || (err && err != -EEXIST && err != -EROFS && err != -EISDIR))
            return;
        *p = '/';
    }
}

static int lookup_target(const struct boot_config *c, const struct boot_fs *b,
                         const struct spec_mount *m, struct path *out)
{
    struct lookup_ctx lc = ctx_of(b);
    int err = path_lookup(&lc, AT_FDCWD, m->dest, LOOKUP_FOLLOW, out);
    if (err == -ENOENT && c->make_mountpoints) {
        make_mountpoint(b, m->dest, m->is_file);
        err = path_lookup(&lc, AT_FDCWD, m->dest, LOOKUP_FOLLOW, out);
    }
    return err;
}

static int attach(struct super *sb, struct dentry *root, uint32_t flags, const struct path *at)
{
    struct mount *m = mount_new(sb, root, flags);
    if (!m)
        return -ENOMEM;
    int err = mount_attach(m, at);
    mount_put(m);
    return err;
}

static int mount_bind(const struct boot_config *c, struct gofer_client *gofer,
                      const struct spec_mount *m, const struct path *at)
{
    char aname[16];
    struct super *sb;
    if (m->gofer_root < 0 || (size_t)m->gofer_root >= c->nroots)
        return -EINVAL;
    snprintf(aname, sizeof(aname), "%d", m->gofer_root);
    int err = gofer_mount(gofer, aname, !c->roots[m->gofer_root].shared, m->flags & MS_RDONLY, &sb);
    if (err)
        return err;
    err = attach(sb, sb->root, m->flags, at);
    super_put(sb);
    return err;
}

// The options that a tmpfs for /dev gets from runc-like configurations mean our device file system.
static int mount_type(const struct boot_config *c, const struct boot_fs *b,
                      const struct spec_mount *m, const struct path *at)
{
    const char *type = m->type;
    uint32_t flags = m->flags;
    if (strcmp(type, "tmpfs") == 0 && strcmp(m->dest, "/dev") == 0)
        type = "devtmpfs";
    if (strcmp(type, "devtmpfs") == 0)
        flags &= ~(uint32_t)MS_NODEV;
    const struct fs_type *t = fs_type_find(type);
    struct super *sb;
    if (!t)
        return -ENODEV;
    int err = t->mount(t, m->source, m->data, b->cred, &sb);
    if (err)
        return err;
    if (m->source[0] && !sb->source)
        sb->source = mem_strdup(m->source);
    err = attach(sb, sb->root, flags, at);
    super_put(sb);
    return err;
}

static void make_mounts(const struct boot_config *c, struct gofer_client *gofer, struct boot_fs *b)
{
    for (size_t i = 0; i < c->spec->nmounts; i++) {
        const struct spec_mount *m = &c->spec->mounts[i];
        struct path at;
        // Engines put these into every configuration; few programs look.
        if (!m->bind && !fs_type_find(m->type) &&
            (strncmp(m->type, "cgroup", 6) == 0 || strcmp(m->type, "mqueue") == 0)) {
            log_info("mount of %s at %s left out: there is no such file system inside yet", m->type,
                     m->dest);
            continue;
        }
        int err = lookup_target(c, b, m, &at);
        if (!err) {
            err = m->bind ? mount_bind(c, gofer, m, &at) : mount_type(c, b, m, &at);
            path_put(at);
        }
        if (err && !m->optional)
            boot_fail(1, "mount of %s at %s: %s", m->bind ? m->source : m->type, m->dest,
                      strerror(-err));
    }
}

// A masked directory is covered by an empty one, a masked file by /dev/null's content: nothing.
static void mask_path(const struct boot_config *c, const struct boot_fs *b, const char *name)
{
    struct lookup_ctx lc = ctx_of(b);
    struct path at, null;
    struct kstat st;
    if (path_lookup(&lc, AT_FDCWD, name, LOOKUP_FOLLOW, &at))
        return; // nothing there to hide
    int err = vfs_getattr(&at, &st);
    if (!err && (st.mode & S_IFMT) == S_IFDIR) {
        struct super *sb = tmpfs_new(c, "size=0,mode=755", b->cred);
        err = attach(sb, sb->root, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, &at);
        super_put(sb);
    } else if (!err && (err = path_lookup(&lc, AT_FDCWD, "/dev/null", 0, &null)) == 0) {
        err = attach(null.mnt->sb, null.dentry, MS_NOSUID | MS_NOEXEC, &at);
        path_put(null);
    }
    path_put(at);
    if (err)
        boot_fail(1, "maskedPaths: %s: %s", name, strerror(-err));
}

static void readonly_path(const struct boot_fs *b, const char *name)
{
    struct lookup_ctx lc = ctx_of(b);
    struct path at;
    if (path_lookup(&lc, AT_FDCWD, name, LOOKUP_FOLLOW, &at))
        return;
    int err = attach(at.mnt->sb, at.dentry, at.mnt->flags | MS_RDONLY, &at);
    path_put(at);
    if (err)
        boot_fail(1, "readonlyPaths: %s: %s", name, strerror(-err));
}

static void set_sysctl(const struct boot_fs *b, const struct spec_kv *kv)
{
    struct lookup_ctx lc = ctx_of(b);
    char path[512];
    struct file *f;
    if ((size_t)snprintf(path, sizeof(path), "/proc/sys/%s", kv->key) >= sizeof(path))
        boot_fail(1, "linux.sysctl: %.100s...: name too long", kv->key);
    for (char *p = path; *p; p++)
        if (*p == '.')
            *p = '/';
    int err = vfs_open(&lc, AT_FDCWD, path, O_WRONLY, 0, LOOKUP_FOLLOW, &f);
    // There is no network stack to set up yet; engines set net.* for every container.
    if (err == -ENOENT && strncmp(kv->key, "net.", 4) == 0) {
        log_info("sysctl %s left out: there is no network", kv->key);
        return;
    }
    if (!err) {
        struct uiovec v;
        struct uio u = uio_kernel(&v, kv->value, strlen(kv->value));
        long r = file_write(f, &u, nullptr);
        err = r < 0 ? (int)r : 0;
        file_put(f);
    }
    if (err)
        boot_fail(1, "linux.sysctl: %s: %s", kv->key, strerror(-err));
}

void boot_fs_build(const struct boot_config *c, struct boot_fs *b)
{
    struct gofer_client *gofer;
    *b = (struct boot_fs){.cred = cred_new()};
    if (!b->cred)
        boot_fail(1, "out of memory");
    int err = gofer_client_new(BOOT_FD_NINEP, &gofer);
    if (err)
        boot_fail(1, "the file server did not answer: %s", strerror(-err));
    boot_stage(c, "file server connected");
    make_root(c, gofer, b);
    make_mounts(c, gofer, b);
    gofer_client_put(gofer);
    for (size_t i = 0; i < c->spec->sysctl.n; i++)
        set_sysctl(b, &c->spec->sysctl.v[i]);
    for (size_t i = 0; i < c->spec->masked_paths.n; i++)
        mask_path(c, b, c->spec->masked_paths.v[i]);
    for (size_t i = 0; i < c->spec->readonly_paths.n; i++)
        readonly_path(b, c->spec->readonly_paths.v[i]);
}

// The working directory must be one. In a bundle a missing one is made, as by runc.
static void check_cwd(const struct boot_config *c, const struct boot_fs *b)
{
    struct lookup_ctx lc = ctx_of(b);
    const char *cwd = c->spec->process.cwd;
    struct path at;
    int err = path_lookup(&lc, AT_FDCWD, cwd, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &at);
    if (err == -ENOENT && !c->killable) {
        make_mountpoint(b, cwd, false);
        err = path_lookup(&lc, AT_FDCWD, cwd, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &at);
    }
    if (err)
        boot_fail(1, "working directory %s: %s", cwd, strerror(-err));
    path_put(at);
}

void boot_fs_finish(const struct boot_config *c, struct boot_fs *b)
{
    check_cwd(c, b);
    struct mount *root = b->fs->root.mnt;
    if (c->spec->root_readonly)
        mount_set_flags(root, root->flags | MS_RDONLY);
}

// --- users -------------------------------------------------------------------------------------
constexpr size_t USER_FILE_MAX = 4u << 20;

// The whole file, NUL-terminated; null when it is not there.
static char *read_text(const struct boot_fs *b, const char *path)
{
    struct lookup_ctx lc = ctx_of(b);
    struct file *f;
    struct kstat st;
    if (vfs_open(&lc, AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0, LOOKUP_FOLLOW, &f))
        return nullptr;
    char *buf = nullptr;
    if (vfs_getattr(&f->path, &st) == 0 && (st.mode & S_IFMT) == S_IFREG &&
        st.size <= USER_FILE_MAX && (buf = mem_alloc(st.size + 1)) != nullptr) {
        long n = file_read_kernel(f, buf, st.size, 0);
        buf[n > 0 ? n : 0] = 0;
    }
    file_put(f);
    return buf;
}

// Splits the next line of *text at ':' into at most n fields (missing ones null). False at the end.
static bool next_entry(char **text, char **field, size_t n)
{
    char *line = strsep(text, "\n");
    if (!line)
        return false;
    for (size_t i = 0; i < n; i++)
        field[i] = line ? strsep(&line, ":") : nullptr;
    return true;
}
static bool number(const char *s, uint32_t *out)
{
    uint64_t v = 0;
    if (!s || !*s || strlen(s) > 10)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        v = v * 10 + (uint64_t)(*s - '0');
    }
    *out = (uint32_t)v;
    return v < UINT32_MAX;
}

static bool user_lookup(struct spec_process *p, char *passwd, const char *name, bool by_number)
{
    char *text = passwd, *f[6];
    while (text && next_entry(&text, f, 6)) {
        uint32_t uid, gid;
        if (!f[3] || !number(f[2], &uid) || !number(f[3], &gid) ||
            (by_number ? uid != p->uid : strcmp(f[0], name) != 0))
            continue;
        p->uid = uid;
        p->gid = gid;
        if (f[5] && f[5][0] == '/' && !env_get(&p->env, "HOME")) {
            char home[4096];
            if ((size_t)snprintf(home, sizeof(home), "HOME=%s", f[5]) < sizeof(home) &&
                env_set(&p->env, home))
                boot_fail(1, "out of memory");
        }
        return true;
    }
    return false;
}
// Supplementary groups of user name; the group named `group` gives p->gid.
static bool group_lookup(struct spec_process *p, char *groups, const char *name, const char *group)
{
    char *text = groups, *f[4];
    bool found = false;
    while (text && next_entry(&text, f, 4)) {
        uint32_t gid;
        if (!f[2] || !number(f[2], &gid))
            continue;
        if (group && strcmp(f[0], group) == 0) {
            p->gid = gid;
            found = true;
        }
        bool member = false;
        for (char *list = f[3], *u; list && (u = strsep(&list, ",")) != nullptr;)
            member |= strcmp(u, name) == 0;
        if (!member || group)
            continue;
        uint32_t *v = mem_realloc(p->gids, (p->ngids + 1) * sizeof(*v));
        if (!v)
            boot_fail(1, "out of memory");
        p->gids = v;
        v[p->ngids++] = gid;
    }
    return found || !group;
}

void boot_resolve_user(struct spec_process *p, const struct boot_fs *b)
{
    char *passwd = read_text(b, "/etc/passwd"), *groups = read_text(b, "/etc/group");
    if (!p->user) {
        uint32_t gid = p->gid;
        user_lookup(p, passwd, nullptr, true); // for HOME only
        p->gid = gid;
    } else {
        char *group = strchr(p->user, ':');
        if (group)
            *group++ = 0;
        if (number(p->user, &p->uid)) {
            p->gid = 0;
            user_lookup(p, passwd, nullptr, true);
        } else if (!user_lookup(p, passwd, p->user, false)) {
            boot_fail(1, "user %s: not in the root's /etc/passwd", p->user);
        }
        if (!(group && number(group, &p->gid)) && !group_lookup(p, groups, p->user, group))
            boot_fail(1, "group %s: not in the root's /etc/group", group);
    }
    mem_free(passwd);
    mem_free(groups);
}
