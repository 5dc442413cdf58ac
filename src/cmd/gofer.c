// SPDX-License-Identifier: Apache-2.0
// "nacre gofer": from a fresh execution in new namespaces to the confined file server. The mounts
// that it will serve are detached copies, nodev and nosuid, read-only where asked, in a tmpfs that
// becomes the root; nothing else of the host's tree stays. No procfs is left inside: whatever
// kernel file system lies below a root is covered by an empty read-only directory.
#include "base/slab.h"
#include "cmd/hostcalls.h"
#include "cmd/launch.h"
#include "gofer/gofer.h"
#include "host/crash.h"
#include "host/confine.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

constexpr size_t MAX_ROOTS = 512;
constexpr size_t MAX_COVERS = 1024;
struct cover { // a mount point below a root that must not be seen
    size_t root;
    char *rel; // owned
};
struct roots {
    struct boot_config *cfg;
    int tmp;            // the tmpfs that becomes the root
    int *tree;          // detached copies
    char (*real)[4096]; // sources without symbolic links
    struct cover covers[MAX_COVERS];
    size_t ncovers;
};

static const char *const kernel_fs[] = {
    "proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "mqueue", "securityfs", "debugfs",
    "tracefs", "bpf", "configfs", "pstore", "efivarfs", "binfmt_misc", "fusectl", "selinuxfs",
    "hugetlbfs", "autofs", "nsfs", "rpc_pipefs", "nfsd",
};
static bool is_kernel_fs(const char *type)
{
    for (size_t i = 0; i < ARRAY_LEN(kernel_fs); i++)
        if (strcmp(kernel_fs[i], type) == 0)
            return true;
    return false;
}

// The part of path below dir, without a leading '/'; null when it is not below it.
static const char *below(const char *path, const char *dir)
{
    size_t n = strcmp(dir, "/") == 0 ? 0 : strlen(dir);
    if (strncmp(path, dir, n) != 0 || path[n] != '/')
        return nullptr;
    return path[n + 1] ? path + n + 1 : nullptr;
}

// mountinfo writes blanks and backslashes as \ooo.
static void unescape(char *s)
{
    char *to = s;
    while (*s) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
            *to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 4;
        } else {
            *to++ = *s++;
        }
    }
    *to = 0;
}

static void note_cover(struct roots *r, size_t root, const char *rel)
{
    for (size_t i = 0; i < r->ncovers; i++) // below one that is covered already
        if (r->covers[i].root == root &&
            (strcmp(rel, r->covers[i].rel) == 0 ||
             (strncmp(rel, r->covers[i].rel, strlen(r->covers[i].rel)) == 0 &&
              rel[strlen(r->covers[i].rel)] == '/')))
            return;
    char *copy = mem_strdup(rel);
    if (!copy || r->ncovers == MAX_COVERS)
        boot_fail(1, "gofer: too many mounts below %s", r->cfg->roots[root].path);
    r->covers[r->ncovers++] = (struct cover){root, copy};
}

static void find_covers(struct roots *r)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = nullptr;
    size_t cap = 0;
    if (!f)
        boot_fail(1, "gofer: /proc/self/mountinfo: %s", strerror(errno));
    while (getline(&line, &cap, f) > 0) {
        char *at = nullptr, *type = strstr(line, " - "), *save = line;
        for (int i = 0; i < 5; i++)
            at = strsep(&save, " ");
        if (!type || !at)
            continue;
        type += 3;
        type[strcspn(type, " \n")] = 0;
        if (!is_kernel_fs(type))
            continue;
        unescape(at);
        for (size_t i = 0; i < r->cfg->nroots; i++) {
            const char *rel = r->cfg->roots[i].is_file ? nullptr : below(at, r->real[i]);
            if (rel)
                note_cover(r, i, rel);
        }
    }
    free(line);
    fclose(f);
}

// What lies on a kernel file system itself: procfs is refused, the others become read-only.
static void check_source(struct boot_root *root, int tree)
{
    struct statfs fs;
    if (fstatfs(tree, &fs) < 0)
        boot_fail(1, "gofer: %s: %s", root->path, strerror(errno));
    if (fs.f_type == PROC_SUPER_MAGIC)
        boot_fail(1, "%s lies on the host's procfs, which is never given to a container",
                  root->path);
    if (fs.f_type == SYSFS_MAGIC || fs.f_type == CGROUP_SUPER_MAGIC ||
        fs.f_type == CGROUP2_SUPER_MAGIC)
        root->readonly = true;
}

static void copy_tree(struct roots *r, size_t i)
{
    const char *path = r->cfg->roots[i].path;
    if (!realpath(path, r->real[i]))
        boot_fail(1, "%s: %s", path, strerror(errno));
    long fd = host_call(__NR_open_tree, AT_FDCWD, r->real[i],
                        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (fd < 0)
        boot_fail(1, "%s: copy of the mount: %s", path, strerror((int)-fd));
    r->tree[i] = (int)fd;
}

// In the container's user namespace: the copies come from the one who starts us, who reaches them all.
static void receive_trees(struct roots *r)
{
    for (size_t i = 0; i < r->cfg->nroots;) {
        struct ctl_msg m;
        int fds[TREES_AT_ONCE], n = TREES_AT_ONCE;
        long got = fd_recv(BOOT_FD_CONTROL, &m, sizeof(m), fds, &n, 0);
        if (got == -EINTR)
            continue;
        if (got != sizeof(m) || m.kind != CTL_FDS || n <= 0 || (size_t)n > r->cfg->nroots - i)
            boot_fail(1, "gofer: the mounts did not come");
        for (int k = 0; k < n; k++, i++) {
            r->tree[i] = fds[k];
            snprintf(r->real[i], sizeof(r->real[i]), "%s", r->cfg->roots[i].path);
        }
    }
}

static void copy_trees(struct roots *r)
{
    if (r->cfg->mapped)
        receive_trees(r);
    for (size_t i = 0; i < r->cfg->nroots; i++) {
        struct boot_root *root = &r->cfg->roots[i];
        if (!r->cfg->mapped)
            copy_tree(r, i);
        int fd = r->tree[i];
        check_source(root, fd);
        struct stat st;
        if (fstat(fd, &st) < 0 || root->is_file == S_ISDIR(st.st_mode))
            boot_fail(1, "%s: has changed while the container was started", root->path);
        struct mount_attr a = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                               .propagation = 1 << 18 /* MS_PRIVATE */};
        if (root->readonly)
            a.attr_set |= MOUNT_ATTR_RDONLY;
        long e = host_call(__NR_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &a, sizeof(a));
        if (e < 0)
            boot_fail(1, "%s: nosuid, nodev%s: %s", root->path, root->readonly ? ", ro" : "",
                      strerror((int)-e));
    }
}

static void attach(int tree, int dir, const char *name, const char *what)
{
    long e = host_call(__NR_move_mount, tree, "", dir, name,
                       MOVE_MOUNT_F_EMPTY_PATH | (name[0] ? 0 : MOVE_MOUNT_T_EMPTY_PATH));
    if (e < 0)
        boot_fail(1, "gofer: attaching %s: %s", what, strerror((int)-e));
}

static void attach_trees(struct roots *r)
{
    for (size_t i = 0; i < r->cfg->nroots; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%zu", i);
        long e = r->cfg->roots[i].is_file
                     ? host_call(__NR_mknodat, r->tmp, name, S_IFREG | 0600, 0)
                     : host_call(__NR_mkdirat, r->tmp, name, 0700);
        if (e < 0)
            boot_fail(1, "gofer: mount point %s: %s", name, strerror((int)-e));
        attach(r->tree[i], r->tmp, name, r->cfg->roots[i].path);
        close(r->tree[i]);
    }
}

static void attach_covers(struct roots *r)
{
    for (size_t i = 0; i < r->ncovers; i++) {
        char path[4200];
        snprintf(path, sizeof(path), "%zu/%s", r->covers[i].root, r->covers[i].rel);
        struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        long at = host_call(__NR_openat2, r->tmp, path, &how, sizeof(how));
        int empty = -1;
        struct stat st;
        if (at == -ENOENT || at == -ENOTDIR) { // another mount hides it, here as on the host
            mem_free(r->covers[i].rel);
            continue;
        }
        if (at < 0 || fstat((int)at, &st) < 0)
            boot_fail(1, "gofer: mount point %s: %s", path, strerror(at < 0 ? (int)-at : errno));
        int err = S_ISDIR(st.st_mode) ? confine_empty_mount(&empty) : -ENOTDIR;
        if (err)
            boot_fail(1, "gofer: cover of %s: %s", path, strerror(-err));
        attach(empty, (int)at, "", path);
        close(empty);
        close((int)at);
        mem_free(r->covers[i].rel);
    }
}

static void open_roots(struct roots *r, struct gofer_root *out)
{
    for (size_t i = 0; i < r->cfg->nroots; i++) {
        struct boot_root *root = &r->cfg->roots[i];
        char name[16];
        snprintf(name, sizeof(name), "%zu", i);
        int fd = openat(r->tmp, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            boot_fail(1, "gofer: %s: %s", root->path, strerror(errno));
        out[i] = (struct gofer_root){.fd = fd, .parent = -1, .readonly = root->readonly,
                                     .donate = true};
        if (root->is_file) {
            out[i].parent = r->tmp;
            out[i].name = mem_strdup(name);
            if (!out[i].name)
                boot_fail(1, "gofer: out of memory");
        }
    }
}

static struct gofer_root *build_root(struct boot_config *cfg)
{
    static struct roots r;
    int err;
    r.cfg = cfg;
    r.tree = mem_alloc_array(cfg->nroots, sizeof(*r.tree));
    r.real = mem_alloc_array(cfg->nroots, sizeof(*r.real));
    struct gofer_root *out = mem_alloc_array(cfg->nroots, sizeof(*out));
    if (!r.tree || !r.real || !out)
        boot_fail(1, "gofer: out of memory");
    if ((err = confine_private_mounts()))
        boot_fail(1, "gofer: private mounts%s: %s", userns_hint(cfg->privileged), strerror(-err));
    copy_trees(&r);
    find_covers(&r);
    // From here on names are resolved below the tmpfs only.
    if ((err = confine_private_tmpfs(1 << 20, &r.tmp)))
        boot_fail(1, "gofer: tmpfs: %s", strerror(-err));
    if ((err = confine_attach_root(r.tmp)))
        boot_fail(1, "gofer: tmpfs over the root: %s", strerror(-err));
    attach_trees(&r);
    attach_covers(&r);
    if ((err = confine_pivot(r.tmp, true)))
        boot_fail(1, "gofer: pivot_root: %s", strerror(-err));
    open_roots(&r, out);
    mem_free(r.tree);
    mem_free(r.real);
    return out;
}

static void drop_privileges(const struct boot_config *cfg)
{
    constexpr uint64_t keep = 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_FOWNER |
                              1ull << CAP_FSETID;
    int err = confine_rlimits(0);
    if (!err && cfg->privileged && !cfg->mapped) {
        // An id of our own, not the host's root; capabilities survive the change.
        if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0 ||
            setgroups(0, nullptr) < 0 ||
            setresgid(cfg->gofer_gid, cfg->gofer_gid, cfg->gofer_gid) < 0 ||
            setresuid(cfg->gofer_uid, cfg->gofer_uid, cfg->gofer_uid) < 0)
            err = -errno;
    }
    if (!err)
        err = confine_caps(keep);
    if (!err)
        err = confine_no_new_privs();
    if (!err)
        err = confine_die_with_parent();
    if (!err)
        err = confine_not_dumpable();
    if (err)
        boot_fail(1, "gofer: dropping privileges: %s", strerror(-err));
}

void gofer_boot_main(void)
{
    int err = confine_check_fds(1 << 0 | 1 << 1 | 1 << 2 | 1 << BOOT_FD_CONTROL |
                                    1 << BOOT_FD_CONFIG | 1 << BOOT_FD_LOG | 1 << BOOT_FD_NINEP,
                                BOOT_FD_END);
    if (err)
        boot_fail(1, "gofer: unexpected descriptors");
    struct boot_config *cfg = boot_config_read();
    log_init(BOOT_FD_LOG, (enum log_format)cfg->log_format, (enum log_level)cfg->log_level,
             "gofer");
    crash_report_init();
    if ((err = confine_die_with_parent()))
        boot_fail(1, "gofer: %s", strerror(-err));
    if (cfg->nroots > MAX_ROOTS)
        boot_fail(1, "too many bind mounts: %zu (at most %zu)", cfg->nroots, MAX_ROOTS);
    struct gofer_root *roots = build_root(cfg);
    drop_privileges(cfg);
    umask(0);
    if ((err = hostcalls_install(TABLE_GOFER, cfg->debug, false)))
        boot_fail(1, "gofer: seccomp filter: %s", strerror(-err));
    boot_stage(cfg, "gofer ready");
    host_call(__NR_close, BOOT_FD_CONTROL);
    err = gofer_main(BOOT_FD_NINEP, roots, cfg->nroots);
    if (err)
        log_error("the Sentry broke the protocol: %s", strerror(-err));
    for (;;)
        host_call(__NR_exit_group, err ? 1 : 0);
}
