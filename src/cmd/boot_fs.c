// SPDX-License-Identifier: Apache-2.0
// Builds the container's mount tree inside the Sentry: see boot_fs.h. Every path here is resolved by
// our own VFS below the container's root: a symbolic link in an image leads nowhere else
// (the host's kernel never sees these names).
#include "cmd/boot_fs.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/gofer/gofer_fs.h"
#include "fs/mqueue.h"
#include "fs/overlay/overlay.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

static struct lookup_ctx ctx_of(const struct boot_fs *b)
{
    return (struct lookup_ctx){.fs = b->fs, .cred = b->cred};
}

static int tmpfs_new(struct boot_fs *b, const char *options, struct super **out)
{
    const struct fs_type *t = fs_type_find("tmpfs");
    int err = t ? t->mount(t, "tmpfs", options, b->cred, out) : -ENODEV;
    return err ? err_errno(&b->err, err, "tmpfs") : 0;
}

static int make_context(struct boot_fs *b, struct super *sb)
{
    struct mount *m = mount_new(sb, sb->root, 0);
    struct mntns *ns = nullptr;
    if (m && mntns_new(m, &ns) == 0) {
        b->fs = fs_context_new((struct path){m, sb->root}, ns);
        mntns_put(ns);
    }
    if (m)
        mount_put(m);
    return b->fs ? 0 : err_set(&b->err, -ENOMEM, "root mount: out of memory");
}

static int make_root(const struct boot_config *c, struct gofer_client *gofer, struct boot_fs *b)
{
    struct super *lower, *upper = nullptr, *sb;
    char options[64];
    // Without the overlay the root is the engine's too: it copies files in, hooks write there.
    int err = gofer_mount(gofer, "0", !c->overlay_off, c->roots[0].readonly, &lower);
    if (err)
        return err_errno(&b->err, err, "root %s", c->roots[0].path);
    if (c->overlay_off) {
        err = make_context(b, lower);
        super_put(lower);
        return err;
    }
    snprintf(options, sizeof(options), "mode=755,size=%llu", (unsigned long long)c->mem_total / 2);
    err = tmpfs_new(b, options, &upper);
    if (!err) {
        err = overlay_mount(&(struct path){.dentry = lower->root}, 1, upper, &sb);
        if (err)
            err_errno(&b->err, err, "overlay over %s", c->roots[0].path);
        super_put(upper);
    }
    super_put(lower);
    if (!err) {
        err = make_context(b, sb);
        super_put(sb);
    }
    return err;
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

// *made: nothing was there.
static int lookup_target(const struct boot_config *c, const struct boot_fs *b,
                         const struct spec_mount *m, struct path *out, bool *made)
{
    struct lookup_ctx lc = ctx_of(b);
    int err = path_lookup(&lc, AT_FDCWD, m->dest, LOOKUP_FOLLOW, out);
    *made = err == -ENOENT && c->make_mountpoints;
    if (*made) {
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

// A node of our own, on a file system of its own: what is there may be any file of the image.
static int mount_device(struct boot_fs *b, const struct spec_mount *m, const struct path *at)
{
    struct super *sb;
    struct dentry *d = nullptr;
    int err = tmpfs_new(b, "size=0,mode=755", &sb);
    if (err)
        return err;
    struct inode *dir = sb->root->inode;
    mutex_lock(&dir->lock);
    err = dentry_lookup_locked(sb->root, "device", 6, &d);
    if (!err)
        err = dir->ops->mknod(dir, d, m->dev_mode, makedev(m->dev_major, m->dev_minor), b->cred);
    mutex_unlock(&dir->lock);
    if (!err)
        err = attach(sb, d, m->flags, at);
    if (d)
        dentry_put(d);
    super_put(sb);
    return err;
}

// Takes one option out of a comma-separated list.
static bool take_option(char *list, const char *name)
{
    size_t n = strlen(name);
    for (char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : nullptr) {
        if (strncmp(p, name, n) != 0 || (p[n] && p[n] != ','))
            continue;
        char *next = p[n] ? p + n + 1 : p + n;
        if (!*next && p > list)
            p--; // the comma before the last one
        memmove(p, next, strlen(next) + 1);
        return true;
    }
    return false;
}

// tmpcopyup: the tmpfs begins with what the directory has. Seen through, not copied.
static int over_directory(struct super **sb, const struct path *at)
{
    struct super *both;
    int err = overlay_mount(at, 1, *sb, &both);
    if (!err) {
        super_put(*sb);
        *sb = both;
    }
    return err;
}

// A tmpfs without mode= takes that of the directory it hides, as runc's does.
static void mode_of_directory(const struct path *at, const char *data, char *out, size_t n)
{
    struct kstat st;
    bool given = strncmp(data, "mode=", 5) == 0 || strstr(data, ",mode=");
    if (given || vfs_getattr(at, &st))
        snprintf(out, n, "%s", data);
    else
        snprintf(out, n, "mode=%o%s%s", (unsigned)st.mode & 07777, data[0] ? "," : "", data);
}

// Whatever the image has there, proc and sysfs are where programs look for them, or the start fails.
static int check_ordinary(struct boot_fs *b, const struct spec_mount *m)
{
    struct lookup_ctx lc = ctx_of(b);
    struct path at;
    struct kstat st;
    if ((strcmp(m->type, "proc") != 0 && strcmp(m->type, "sysfs") != 0) ||
        path_lookup(&lc, AT_FDCWD, m->dest, 0, &at))
        return 0;
    int err = vfs_getattr(&at, &st);
    path_put(at);
    if (!err && (st.mode & S_IFMT) != S_IFDIR)
        err = err_set(&b->err, -ENOTDIR, "filesystem \"%s\" must be mounted on ordinary directory: %s",
                      m->type, m->dest);
    return err;
}

// The options that a tmpfs for /dev gets from runc-like configurations mean our device file system.
static int mount_type(const struct boot_config *c, const struct boot_fs *b,
                      const struct spec_mount *m, const struct path *at, bool made)
{
    const char *type = m->type;
    char with_mode[1024];
    uint32_t flags = m->flags;
    if (strcmp(type, "tmpfs") == 0 && strcmp(m->dest, "/dev") == 0)
        type = "devtmpfs";
    if (strcmp(type, "cgroup") == 0 || strcmp(type, "cgroup2") == 0) { // one form, see fs/cgroup/
        type = "cgroup2";
        flags |= MS_RDONLY;
    }
    if (strcmp(type, "devtmpfs") == 0)
        flags &= ~(uint32_t)MS_NODEV;
    const struct fs_type *t = fs_type_find(type);
    struct super *sb;
    if (!t)
        return -ENODEV;
    // v1's options say which of its hierarchies: we have all controllers in one.
    const char *data = strcmp(m->type, "cgroup") == 0 ? "" : m->data;
    bool copy_up = strcmp(type, "tmpfs") == 0 && take_option(m->data, "tmpcopyup");
    if (strcmp(type, "tmpfs") == 0 && !made && strlen(data) < sizeof(with_mode) - 16) {
        mode_of_directory(at, data, with_mode, sizeof(with_mode));
        data = with_mode;
    }
    int err = strcmp(type, "mqueue") == 0 ? mqueue_super(b->ipc, &sb)
                                          : t->mount(t, m->source, data, b->cred, &sb);
    if (err)
        return err;
    err = copy_up ? over_directory(&sb, at) : 0;
    if (!err && m->source[0] && !sb->source)
        sb->source = mem_strdup(m->source);
    if (!err && strcmp(m->type, "tmpfs") == 0 && type != m->type)
        sb->type = fs_type_find("tmpfs"); // programs read in /proc/mounts what was asked for
    if (!err)
        err = attach(sb, sb->root, flags, at);
    super_put(sb);
    return err;
}

static int make_mounts(const struct boot_config *c, struct gofer_client *gofer, struct boot_fs *b)
{
    for (size_t i = 0; i < c->spec->nmounts; i++) {
        const struct spec_mount *m = &c->spec->mounts[i];
        struct path at;
        bool made;
        // Engines put these into every configuration; few programs look.
        if (!m->bind && !fs_type_find(m->type) && strcmp(m->type, "mqueue") == 0) {
            log_info("mount of %s at %s left out: there is no such file system inside yet", m->type,
                     m->dest);
            continue;
        }
        if (m->dev_mode && !mount_device_known(m))
            continue; // said by the command line
        int err = check_ordinary(b, m);
        if (err)
            return err;
        err = lookup_target(c, b, m, &at, &made);
        if (!err) {
            err = m->dev_mode ? mount_device(b, m, &at)
                  : m->bind   ? mount_bind(c, gofer, m, &at)
                              : mount_type(c, b, m, &at, made);
            path_put(at);
        }
        if (err && !m->optional)
            return err_errno(&b->err, err, "mount of %s at %s", m->bind ? m->source : m->type,
                             m->dest);
    }
    return 0;
}

// A masked directory is covered by an empty one, a masked file by /dev/null's content: nothing.
static int mask_path(struct boot_fs *b, const char *name)
{
    struct lookup_ctx lc = ctx_of(b);
    struct path at, null;
    struct kstat st;
    struct super *sb;
    if (path_lookup(&lc, AT_FDCWD, name, LOOKUP_FOLLOW, &at))
        return 0; // nothing there to hide
    int err = vfs_getattr(&at, &st);
    if (!err && (st.mode & S_IFMT) == S_IFDIR) {
        err = tmpfs_new(b, "size=0,mode=755", &sb);
        if (!err) {
            err = attach(sb, sb->root, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, &at);
            super_put(sb);
        }
    } else if (!err && (err = path_lookup(&lc, AT_FDCWD, "/dev/null", 0, &null)) == 0) {
        err = attach(null.mnt->sb, null.dentry, MS_NOSUID | MS_NOEXEC, &at);
        path_put(null);
    }
    path_put(at);
    return err ? err_errno(&b->err, err, "maskedPaths: %s", name) : 0;
}

static int readonly_path(struct boot_fs *b, const char *name)
{
    struct lookup_ctx lc = ctx_of(b);
    struct path at;
    if (path_lookup(&lc, AT_FDCWD, name, LOOKUP_FOLLOW, &at))
        return 0;
    int err = attach(at.mnt->sb, at.dentry, at.mnt->flags | MS_RDONLY, &at);
    path_put(at);
    return err ? err_errno(&b->err, err, "readonlyPaths: %s", name) : 0;
}

void boot_fs_console(const struct boot_fs *b, const char *pts)
{
    static const char name[] = "/dev/console";
    struct lookup_ctx lc = ctx_of(b);
    struct path at, tty;
    make_mountpoint(b, name, true);
    if (path_lookup(&lc, AT_FDCWD, name, LOOKUP_FOLLOW, &at))
        return; // an image without a /dev that can be written: no console, as with runc
    int err = path_lookup(&lc, AT_FDCWD, pts, LOOKUP_FOLLOW, &tty);
    if (!err) {
        err = attach(tty.mnt->sb, tty.dentry, MS_NOSUID | MS_NOEXEC, &at);
        path_put(tty);
    }
    path_put(at);
    if (err)
        log_warn("%s: %s", name, strerror(-err));
}

static int set_sysctl(struct boot_fs *b, const struct spec_kv *kv)
{
    if (strcmp(kv->key, "kernel.domainname") == 0)
        return 0; // the first process's, see boot_start_program()
    struct lookup_ctx lc = ctx_of(b);
    char path[512];
    struct file *f;
    if ((size_t)snprintf(path, sizeof(path), "/proc/sys/%s", kv->key) >= sizeof(path))
        return err_set(&b->err, -ENAMETOOLONG, "linux.sysctl: %.100s...: name too long", kv->key);
    for (char *p = path; *p; p++)
        if (*p == '.')
            *p = '/';
    int err = vfs_open(&lc, AT_FDCWD, path, O_WRONLY, 0, LOOKUP_FOLLOW, &f);
    if (!err) {
        struct uiovec v;
        struct uio u = uio_kernel(&v, kv->value, strlen(kv->value));
        long r = file_write(f, &u, nullptr);
        err = r < 0 ? (int)r : 0;
        file_put(f);
    }
    // There is no network stack to set up yet, so some are not there, others can only be read (EIO);
    // engines set net.* for every container.
    if ((err == -ENOENT || err == -EIO) && strncmp(kv->key, "net.", 4) == 0) {
        log_info("sysctl %s left out: there is no network", kv->key);
        return 0;
    }
    return err ? err_errno(&b->err, err, "linux.sysctl: %s", kv->key) : 0;
}

// Nodes that the configuration names, beside those that /dev has anyway. Devices are the Sentry's own;
// those that it does not have were left out with a warning.
static int make_device(struct boot_fs *b, const struct spec_device *d)
{
    struct lookup_ctx lc = ctx_of(b);
    struct path at;
    char dir[4096];
    if (!device_known(d) || (size_t)snprintf(dir, sizeof(dir), "%s", d->path) >= sizeof(dir))
        return 0;
    char *slash = strrchr(dir, '/');
    *slash = 0;
    if (*dir)
        make_mountpoint(b, dir, false);
    int err = vfs_mknod(&lc, AT_FDCWD, d->path, d->type | d->mode, makedev(d->major, d->minor));
    bool there = err == -EEXIST;
    if (there)
        err = 0; // with the rights that are wanted
    if (!err)
        err = path_lookup(&lc, AT_FDCWD, d->path, 0, &at);
    if (!err) {
        struct iattr a = {.valid = IATTR_MODE | IATTR_UID | IATTR_GID, .mode = d->mode,
                          .uid = d->uid, .gid = d->gid};
        err = vfs_setattr(&at, &a, b->cred);
        if (there && err == -EOPNOTSUPP)
            err = 0; // a link that /dev has, as ptmx is one
        path_put(at);
    }
    return err ? err_errno(&b->err, err, "linux.devices: %s", d->path) : 0;
}

int boot_fs_build(const struct boot_config *c, int ninep, struct boot_fs *b)
{
    struct gofer_client *gofer;
    if (!(b->cred = cred_new()))
        return err_set(&b->err, -ENOMEM, "out of memory");
    int err = gofer_client_new(ninep, &gofer);
    if (err)
        return err_errno(&b->err, err, "the file server did not answer");
    boot_stage(c, "file server connected");
    err = make_root(c, gofer, b);
    if (!err)
        err = make_mounts(c, gofer, b);
    gofer_client_put(gofer);
    for (size_t i = 0; i < c->spec->ndevices && !err; i++)
        err = make_device(b, &c->spec->devices[i]);
    for (size_t i = 0; i < c->spec->sysctl.n && !err; i++)
        err = set_sysctl(b, &c->spec->sysctl.v[i]);
    for (size_t i = 0; i < c->spec->masked_paths.n && !err; i++)
        err = mask_path(b, c->spec->masked_paths.v[i]);
    for (size_t i = 0; i < c->spec->readonly_paths.n && !err; i++)
        err = readonly_path(b, c->spec->readonly_paths.v[i]);
    return err;
}

void boot_fs_free(struct boot_fs *b)
{
    if (b->fs)
        fs_context_put(b->fs);
    if (b->cred)
        cred_put(b->cred);
    b->fs = nullptr;
    b->cred = nullptr;
}

// The working directory must be one. In a bundle a missing one is made, as by runc.
static int check_cwd(const struct boot_config *c, struct boot_fs *b)
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
        return err_errno(&b->err, err, "working directory %s", cwd);
    path_put(at);
    return 0;
}

int boot_fs_finish(const struct boot_config *c, struct boot_fs *b)
{
    int err = check_cwd(c, b);
    struct mount *root = b->fs->root.mnt;
    if (!err && c->spec->root_readonly)
        mount_set_flags(root, root->flags | MS_RDONLY);
    return err;
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

// 1: found, 0: not there, or -ENOMEM.
static int user_lookup(struct spec_process *p, char *passwd, const char *name, bool by_number)
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
                return -ENOMEM;
        }
        return 1;
    }
    return 0;
}
// Supplementary groups of user name; the group named `group` gives p->gid. As above.
static int group_lookup(struct spec_process *p, char *groups, const char *name, const char *group)
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
            return -ENOMEM;
        p->gids = v;
        v[p->ngids++] = gid;
    }
    return found || !group;
}

static int resolve(struct spec_process *p, char *passwd, char *groups, struct err *e)
{
    int r;
    uint32_t gid = p->gid;
    if (!p->user) {
        r = user_lookup(p, passwd, nullptr, true); // for HOME only
        p->gid = gid;
        return r < 0 ? err_set(e, r, "out of memory") : 0;
    }
    char *group = strchr(p->user, ':');
    if (group)
        *group++ = 0;
    if (number(p->user, &p->uid)) {
        p->gid = 0;
        r = user_lookup(p, passwd, nullptr, true);
    } else if ((r = user_lookup(p, passwd, p->user, false)) == 0) {
        return err_set(e, -ENOENT, "user %s: not in the root's /etc/passwd", p->user);
    }
    if (r >= 0 && !(group && number(group, &p->gid)) &&
        (r = group_lookup(p, groups, p->user, group)) == 0)
        return err_set(e, -ENOENT, "group %s: not in the root's /etc/group", group);
    return r < 0 ? err_set(e, r, "out of memory") : 0;
}

int boot_resolve_user(struct spec_process *p, const struct boot_fs *b, struct err *e)
{
    char *passwd = read_text(b, "/etc/passwd"), *groups = read_text(b, "/etc/group");
    int err = resolve(p, passwd, groups, e);
    mem_free(passwd);
    mem_free(groups);
    return err;
}
