// SPDX-License-Identifier: Apache-2.0
// Which cgroup hierarchies the host has, and where a container's directories in them are. The text
// of /proc is the kernel's; cgroupsPath is the configuration's and hostile: every component of it is
// looked at here, before any of it becomes a directory.
#include "oci/cgroup.h"
#include "base/slab.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// --- /proc ------------------------------------------------------------------------------------------
static bool copy(char *out, size_t n, const char *s)
{
    size_t len = strlen(s);
    if (len >= n)
        return false;
    memcpy(out, s, len + 1);
    return true;
}
// Options of a v1 superblock -> the controllers among them: what is neither a flag nor an option
// with a value, but for name=.
static void controllers_of(char *out, size_t n, char *options)
{
    static const char *const known[] = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer",
                                        "blkio", "pids", "hugetlb", "net_cls", "net_prio",
                                        "perf_event", "rdma", "misc"};
    size_t len = 0;
    out[0] = 0;
    for (char *o, *rest = options; (o = strsep(&rest, ",\n")) != nullptr;) {
        bool take = strncmp(o, "name=", 5) == 0;
        for (size_t i = 0; i < ARRAY_LEN(known) && !take; i++)
            take = strcmp(o, known[i]) == 0;
        size_t add = strlen(o) + (len > 0);
        if (!take || len + add >= n)
            continue;
        snprintf(out + len, n - len, "%s%s", len ? "," : "", o);
        len += add;
    }
}
static void parse_mount(struct cgroup_host *h, char *line)
{
    char *field[6] = {}, *rest = line;
    for (int i = 0; i < 6; i++)
        if (!(field[i] = strsep(&rest, " ")))
            return;
    char *dash = rest ? strstr(rest, "- ") : nullptr;
    char *type = nullptr, *options = nullptr;
    if (dash && (dash == rest || dash[-1] == ' ')) {
        rest = dash + 2;
        type = strsep(&rest, " ");
        strsep(&rest, " "); // source
        options = rest;
    }
    if (!type || !options || h->n == CGROUP_HIERARCHIES ||
        (strcmp(type, "cgroup") != 0 && strcmp(type, "cgroup2") != 0))
        return;
    struct cgroup_mount *m = &h->m[h->n];
    *m = (struct cgroup_mount){.v2 = strcmp(type, "cgroup2") == 0};
    if (!copy(m->point, sizeof(m->point), field[4]) || !copy(m->root, sizeof(m->root), field[3]) ||
        strchr(m->point, '\\')) // an escaped name: not one that we would use
        return;
    if (!m->v2)
        controllers_of(m->controllers, sizeof(m->controllers), options);
    for (int i = 0; i < h->n; i++) // mounted in two places: the first will do
        if (h->m[i].v2 == m->v2 && strcmp(h->m[i].controllers, m->controllers) == 0)
            return;
    if (m->v2 || m->controllers[0])
        h->n++;
}

bool cgroup_has_controller(const struct cgroup_mount *m, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = m->controllers; *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == n && strncmp(p, name, n) == 0)
            return true;
    return false;
}

// A line of /proc/self/cgroup: "4:memory:/a/b". What is outside the mount's own root is not ours.
static void parse_own(struct cgroup_host *h, char *line)
{
    char *rest = line;
    strsep(&rest, ":");
    char *names = strsep(&rest, ":"), *path = rest;
    if (!names || !path || path[0] != '/')
        return;
    for (int i = 0; i < h->n; i++) {
        struct cgroup_mount *m = &h->m[i];
        char first[128];
        snprintf(first, sizeof(first), "%.*s", (int)strcspn(names, ","), names);
        if (m->v2 ? names[0] != 0 : !names[0] || !cgroup_has_controller(m, first))
            continue;
        size_t n = strcmp(m->root, "/") == 0 ? 0 : strlen(m->root);
        if (strncmp(path, m->root, n) != 0 || (path[n] && path[n] != '/') || strstr(path, "/.."))
            continue;
        copy(m->own, sizeof(m->own), path[n] ? path + n : "/");
    }
}

void cgroup_host_parse(struct cgroup_host *h, char *mountinfo, char *own)
{
    *h = (struct cgroup_host){};
    for (char *line, *rest = mountinfo; (line = strsep(&rest, "\n")) != nullptr;)
        parse_mount(h, line);
    h->unified = h->n > 0;
    for (int i = 0; i < h->n; i++)
        h->unified &= h->m[i].v2;
    for (char *line, *rest = own; (line = strsep(&rest, "\n")) != nullptr;)
        parse_own(h, line);
}

static char *read_proc(const char *path)
{
    constexpr size_t most = 1 << 20, step = 16 << 10;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = nullptr;
    size_t n = 0;
    for (ssize_t r = fd < 0 ? 0 : 1; r > 0 && n < most; n += (size_t)r) {
        char *bigger = mem_realloc(text, n + step + 1);
        r = bigger ? read(fd, bigger + n, step) : -1;
        text = bigger ? bigger : text;
        if (r < 0)
            break;
    }
    if (fd >= 0)
        close(fd);
    if (text)
        text[n] = 0;
    return text;
}
int cgroup_host_read(struct cgroup_host *h, struct err *e)
{
    char *mountinfo = read_proc("/proc/self/mountinfo"), *own = read_proc("/proc/self/cgroup");
    int err = 0;
    if (mountinfo && own)
        cgroup_host_parse(h, mountinfo, own);
    else
        err = err_set(e, -EIO, "/proc/self/mountinfo, /proc/self/cgroup: cannot be read");
    mem_free(mountinfo);
    mem_free(own);
    return err;
}

// --- paths ------------------------------------------------------------------------------------------
// Appends the components of s, each after a "/". "." and ".." are refused, empty ones left out.
static int append(char *out, size_t n, const char *s, struct err *e)
{
    size_t len = strlen(out);
    for (; *s; s += strcspn(s, "/")) {
        s += strspn(s, "/");
        size_t k = strcspn(s, "/");
        if (!k)
            break;
        if ((k == 1 && s[0] == '.') || (k == 2 && s[0] == '.' && s[1] == '.'))
            return err_set(e, -EINVAL, "linux.cgroupsPath: \"%.*s\" in it is not allowed", (int)k, s);
        for (size_t i = 0; i < k; i++)
            if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
                return err_set(e, -EINVAL, "linux.cgroupsPath: control character");
        if (k > 255 || len + k + 2 > n)
            return err_set(e, -ENAMETOOLONG, "linux.cgroupsPath: too long");
        out[len++] = '/';
        memcpy(out + len, s, k);
        out[len += k] = 0;
    }
    return 0;
}

int cgroup_path_of(char *out, size_t n, const char *path, const char *id, const char *own, bool v2,
                   struct err *e)
{
    int err = 0;
    out[0] = 0;
    if (!path || !*path)
        path = id;
    if (path[0] != '/') {
        char base[512];
        snprintf(base, sizeof(base), "%s", own);
        // Processes live in our own group, so that it cannot hand out controllers: its parent does.
        char *slash = v2 ? strrchr(base, '/') : nullptr;
        if (slash)
            *slash = 0;
        err = append(out, n, base, e);
    }
    if (!err)
        err = append(out, n, path, e);
    if (!err && !out[0])
        err = err_set(e, -EINVAL, "linux.cgroupsPath: %s names no group", path);
    return err;
}

static int check_unit(const char *s, size_t n, const char *what, struct err *e)
{
    bool ok = n > 0 && n < 200;
    for (size_t i = 0; ok && i < n; i++)
        ok = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
             (s[i] >= '0' && s[i] <= '9') || (s[i] && strchr(":-_.\\@", s[i]));
    return ok ? 0 : err_set(e, -EINVAL, "linux.cgroupsPath: \"%.*s\" cannot be %s", (int)MIN(n, 200ul),
                            s, what);
}
// "a-b.slice" is below "a.slice".
static int expand_slice(char *out, size_t n, const char *slice, struct err *e)
{
    size_t len = strlen(slice), at = 0;
    constexpr size_t suffix = 6;
    if (strcmp(slice, "-.slice") == 0)
        return 0;
    if (len <= suffix || strcmp(slice + len - suffix, ".slice") != 0 || slice[0] == '-' ||
        slice[len - suffix - 1] == '-' || strstr(slice, "--"))
        return err_set(e, -EINVAL, "linux.cgroupsPath: %s is no slice", slice);
    for (size_t i = 1; i <= len - suffix; i++)
        if (slice[i] == '-' || i == len - suffix) {
            int k = snprintf(out + at, n - at, "/%.*s.slice", (int)i, slice);
            if (k < 0 || (size_t)k >= n - at)
                return err_set(e, -ENAMETOOLONG, "linux.cgroupsPath: too long");
            at += (size_t)k;
        }
    return 0;
}

int cgroup_systemd_path(char *out, size_t n, char slice[300], char unit[300], const char *path,
                        const char *id, bool user, struct err *e)
{
    const char *a = path ? strchr(path, ':') : nullptr, *b = a ? strchr(a + 1, ':') : nullptr;
    if (path && *path && (!b || strchr(b + 1, ':')))
        return err_set(e, -EINVAL, "linux.cgroupsPath: %.200s: expected slice:prefix:name", path);
    const char *name = b ? b + 1 : id, *prefix = a ? a + 1 : "nacre";
    size_t prefix_len = b ? (size_t)(b - prefix) : strlen(prefix), name_len = strlen(name);
    const char *s = a && a > path ? path : user ? "user.slice" : "system.slice";
    size_t slice_len = a && a > path ? (size_t)(a - path) : strlen(s);
    int err = check_unit(s, slice_len, "a slice", e);
    if (err || (err = check_unit(name, name_len, "the name of a unit", e)) ||
        (prefix_len && (err = check_unit(prefix, prefix_len, "the prefix of a unit", e))))
        return err;
    snprintf(slice, 300, "%.*s", (int)slice_len, s);
    bool is_slice = name_len > 6 && strcmp(name + name_len - 6, ".slice") == 0;
    if (is_slice)
        snprintf(unit, 300, "%s", name);
    else
        snprintf(unit, 300, "%.*s%s%s.scope", (int)prefix_len, prefix, prefix_len ? "-" : "", name);
    out[0] = 0;
    err = is_slice ? expand_slice(out, n, unit, e) : expand_slice(out, n, slice, e);
    return err || is_slice ? err : append(out, n, unit, e);
}

// Does the v2 hierarchy beside v1 ones have a controller that these resources want?
static bool wanted_beside_v1(const struct cgroup_host *h, const struct resources *r)
{
    bool huge = r->nhuge > 0;
    for (int i = 0; i < h->n; i++)
        huge &= h->m[i].v2 || !cgroup_has_controller(&h->m[i], "hugetlb");
    return huge || r->nunified > 0;
}

int cgroup_locate(struct cgroup *c, const struct cgroup_host *h, const char *path, const char *id,
                  enum cgroup_manager by, const struct resources *wanted, struct err *e)
{
    bool user = by == CGROUP_SYSTEMD_USER;
    *c = (struct cgroup){.unified = h->unified, .given = path && *path, .user = user};
    bool beside = !h->unified && wanted_beside_v1(h, wanted);
    for (int i = 0; i < h->n; i++) {
        const struct cgroup_mount *m = &h->m[i];
        struct cgroup_dir *d = &c->d[c->n];
        if ((m->v2 && !h->unified && !beside) || !m->own[0])
            continue;
        *d = (struct cgroup_dir){.v2 = m->v2};
        copy(d->point, sizeof(d->point), m->point);
        copy(d->controllers, sizeof(d->controllers), m->controllers);
        int err = by == CGROUP_FS
                      ? cgroup_path_of(d->path, sizeof(d->path), path, id, m->own,
                                       m->v2 && h->unified, e)
                      : cgroup_systemd_path(d->path, sizeof(d->path), c->slice, c->unit, path, id,
                                            user, e);
        if (err)
            return err;
        c->n++;
    }
    return c->n ? 0 : err_set(e, -ENOENT, "no cgroup file system is mounted");
}

int cgroup_move_below(struct cgroup *c, const struct cgroup_host *h, const char *top, struct err *e)
{
    size_t n = strlen(top);
    c->apart = true;
    for (int i = 0; i < c->n; i++) {
        struct cgroup_dir *d = &c->d[i];
        char path[sizeof(d->path)] = "";
        int err = append(path, sizeof(path), top, e);
        if (err || (err = append(path, sizeof(path), d->path, e)) != 0)
            return err;
        copy(d->path, sizeof(d->path), path);
    }
    for (int i = 0; i < h->n; i++)
        if (h->m[i].v2 && strncmp(h->m[i].own, top, n) == 0 && (!h->m[i].own[n] || h->m[i].own[n] == '/'))
            c->apart = false;
    return 0;
}

const struct cgroup_dir *cgroup_find(const struct cgroup *c, const char *controller)
{
    const struct cgroup_dir *v2 = nullptr;
    for (int i = 0; i < c->n; i++) {
        const struct cgroup_dir *d = &c->d[i];
        struct cgroup_mount m = {};
        copy(m.controllers, sizeof(m.controllers), d->controllers);
        if (d->v2)
            v2 = d;
        else if (cgroup_has_controller(&m, controller))
            return d;
    }
    return v2;
}

// --- the record -------------------------------------------------------------------------------------
bool cgroup_record_parse(struct cgroup *c, char *text)
{
    *c = (struct cgroup){};
    for (char *line, *rest = text; (line = strsep(&rest, "\n")) != nullptr && *line;) {
        char *kind = strsep(&line, "\t"), *a = strsep(&line, "\t"), *b = strsep(&line, "\t"),
             *d = strsep(&line, "\t");
        struct err ignored = {};
        if (kind && a && b && strcmp(kind, "unit") == 0) {
            if (check_unit(a, strlen(a), "", &ignored) || check_unit(b, strlen(b), "", &ignored))
                return false;
            copy(c->slice, sizeof(c->slice), a);
            copy(c->unit, sizeof(c->unit), b);
            c->user = d && strcmp(d, "user") == 0;
            continue;
        }
        char again[sizeof(c->d[0].path)] = "";
        if (!kind || !a || !b || !d || c->n == CGROUP_HIERARCHIES || a[0] != '/' || b[0] != '/' ||
            (strcmp(kind, "v1") != 0 && strcmp(kind, "v2") != 0) ||
            append(again, sizeof(again), b, &ignored) || strcmp(again, b) != 0)
            return false;
        struct cgroup_dir *e = &c->d[c->n];
        e->v2 = kind[1] == '2';
        if (!copy(e->point, sizeof(e->point), a) || !copy(e->path, sizeof(e->path), b) ||
            !copy(e->controllers, sizeof(e->controllers), d))
            return false;
        c->n++;
    }
    c->unified = c->n > 0;
    for (int i = 0; i < c->n; i++)
        c->unified &= c->d[i].v2;
    return c->n > 0;
}

int cgroup_record_write(int dir, const struct cgroup *c, struct err *e)
{
    int fd = openat(dir, CGROUP_RECORD, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? nullptr : fdopen(fd, "w");
    if (!f)
        return err_errno(e, -errno, "record of the cgroups");
    if (c->unit[0])
        fprintf(f, "unit\t%s\t%s%s\n", c->slice, c->unit, c->user ? "\tuser" : "");
    for (int i = 0; i < c->n; i++)
        fprintf(f, "%s\t%s\t%s\t%s\n", c->d[i].v2 ? "v2" : "v1", c->d[i].point, c->d[i].path,
                c->d[i].controllers);
    bool bad = ferror(f);
    return fclose(f) != 0 || bad ? err_set(e, -EIO, "record of the cgroups: cannot be written") : 0;
}
bool cgroup_record_read(int dir, struct cgroup *c)
{
    constexpr size_t most = 64 << 10;
    int fd = openat(dir, CGROUP_RECORD, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    char *text = mem_alloc(most + 1);
    ssize_t n = text ? read(fd, text, most) : -1;
    close(fd);
    bool ok = n > 0 && cgroup_record_parse(c, text);
    mem_free(text);
    return ok;
}
