// SPDX-License-Identifier: Apache-2.0
// nacre install, uninstall: the engines' configuration files. Docker's is JSON: parsed, one member
// set, everything else kept. containerd's and podman's are TOML: a block of lines between two marks
// is added or taken away, nothing else is touched. What was there before is kept beside the file;
// writes are atomic; doing it twice changes nothing.
#include "base/slab.h"
#include "base/strbuf.h"
#include "cmd/cmd.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct edit {
    const char *name;      // of the runtime
    const char *file;
    char exe[4096];
    char backup[4096];
    char real[PATH_MAX];   // where file leads, if it is a link
    bool install;
    char *old;             // owned; "" when there is no file
    bool existed;
    struct stat st;
    struct strbuf new;
    bool empty;            // what is left is nothing: the file goes if it was ours
};
constexpr off_t CONFIG_MAX = 4 << 20;

// --- files ------------------------------------------------------------------------------------------
static int read_old(struct edit *x, struct err *e)
{
    int fd = open(x->file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        return err_errno(e, -errno, "%s", x->file);
    if (fd < 0)
        return (x->old = mem_strdup("")) ? 0 : err_set(e, -ENOMEM, "out of memory");
    int err = fstat(fd, &x->st) < 0 ? -errno : 0;
    if (!err && (!S_ISREG(x->st.st_mode) || x->st.st_size > CONFIG_MAX))
        err = -EFBIG;
    if (!err && !(x->old = mem_alloc((size_t)x->st.st_size + 1)))
        err = -ENOMEM;
    if (!err && pread(fd, x->old, (size_t)x->st.st_size, 0) != x->st.st_size)
        err = -EIO;
    close(fd);
    x->existed = true;
    return err ? err_errno(e, err, "%s", x->file) : 0;
}

static int write_file(const char *path, const char *text, size_t n, const struct stat *st,
                      struct err *e)
{
    char tmp[4200];
    if ((size_t)snprintf(tmp, sizeof(tmp), "%s.nacre-new", path) >= sizeof(tmp))
        return err_set(e, -ENAMETOOLONG, "%s: name too long", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int err = fd < 0 ? -errno : 0;
    if (!err && (write(fd, text, n) != (ssize_t)n || fsync(fd) < 0))
        err = -EIO;
    if (!err && fchmod(fd, st ? st->st_mode & 0777 : 0644) < 0)
        err = -errno;
    if (!err && st && (st->st_uid != geteuid() || st->st_gid != getegid()) &&
        fchown(fd, st->st_uid, st->st_gid) < 0)
        err = -errno;
    if (fd >= 0)
        close(fd);
    if (!err && rename(tmp, path) < 0)
        err = -errno;
    if (err && fd >= 0)
        unlink(tmp);
    return err ? err_errno(e, err, "%s", path) : 0;
}

static int make_parents(const char *file, struct err *e)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof(path), "%s", file) >= sizeof(path))
        return err_set(e, -ENAMETOOLONG, "%s: name too long", file);
    for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return err_errno(e, -errno, "%s", path);
        *p = '/';
    }
    return 0;
}

static int write_new(struct edit *x, struct err *e)
{
    struct stat st;
    bool kept = lstat(x->backup, &st) == 0;
    if (x->new.bad)
        return err_set(e, -ENOMEM, "out of memory");
    if (strcmp(x->old, x->new.p ? x->new.p : "") == 0) {
        printf("%s: nothing to do\n", x->file);
        return 0;
    }
    if (!x->install && x->empty && !kept) { // install made it
        if (unlink(x->file) < 0)
            return err_errno(e, -errno, "%s", x->file);
        printf("%s: removed\n", x->file);
        return 0;
    }
    int err = make_parents(x->file, e);
    if (!err && x->install && x->existed && !kept)
        err = write_file(x->backup, x->old, strlen(x->old), &x->st, e);
    if (!err)
        err = write_file(x->file, x->new.p, x->new.len, x->existed ? &x->st : nullptr, e);
    if (err)
        return err;
    if (!x->install && kept)
        unlink(x->backup);
    printf("%s: runtime %s %s\n", x->file, x->name, x->install ? "installed" : "removed");
    return 0;
}

// --- docker -----------------------------------------------------------------------------------------
static int edit_json(struct edit *x, struct err *e)
{
    struct json_object *all = nullptr, *runtimes = nullptr, *one = nullptr, *def = nullptr;
    if (x->old[strspn(x->old, " \t\r\n")]) {
        enum json_tokener_error je;
        struct json_tokener *tok = json_tokener_new_ex(64);
        json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
        all = json_tokener_parse_ex(tok, x->old, (int)strlen(x->old));
        je = json_tokener_get_error(tok);
        json_tokener_free(tok);
        if (je != json_tokener_success || !json_object_is_type(all, json_type_object))
            return err_set(e, -EINVAL, "%s: not a JSON object: %s; left as it is", x->file,
                           json_tokener_error_desc(je));
    } else {
        all = json_object_new_object();
    }
    bool have = json_object_object_get_ex(all, "runtimes", &runtimes);
    if (have && !json_object_is_type(runtimes, json_type_object))
        return err_set(e, -EINVAL, "%s: runtimes: not an object; left as it is", x->file);
    bool there = have && json_object_object_get_ex(runtimes, x->name, &one) &&
                 json_object_is_type(one, json_type_object);
    struct json_object *path = nullptr;
    bool same = there && json_object_object_get_ex(one, "path", &path) &&
                strcmp(json_object_get_string(path), x->exe) == 0;
    if (x->install ? same : !there) {
        strbuf_str(&x->new, x->old);
    } else if (x->install) {
        if (!have)
            json_object_object_add(all, "runtimes", runtimes = json_object_new_object());
        if (!there)
            json_object_object_add(runtimes, x->name, one = json_object_new_object());
        json_object_object_add(one, "path", json_object_new_string(x->exe));
    } else {
        json_object_object_del(runtimes, x->name);
        if (json_object_object_length(runtimes) == 0)
            json_object_object_del(all, "runtimes");
        if (json_object_object_get_ex(all, "default-runtime", &def) &&
            strcmp(json_object_get_string(def), x->name) == 0)
            json_object_object_del(all, "default-runtime");
    }
    if (!x->new.len) {
        x->empty = json_object_object_length(all) == 0;
        strbuf_str(&x->new, json_object_to_json_string_ext(
            all, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
        strbuf_str(&x->new, "\n");
    }
    json_object_put(all);
    return 0;
}

// --- TOML -------------------------------------------------------------------------------------------
// The text without our block; false if a begin has no end.
static bool without_block(struct edit *x, struct strbuf *out)
{
    char begin[160], end[160];
    snprintf(begin, sizeof(begin), "# begin nacre %s\n", x->name);
    snprintf(end, sizeof(end), "# end nacre %s\n", x->name);
    const char *b = strstr(x->old, begin), *t = b ? strstr(b, end) : nullptr;
    if (b && (!t || (b != x->old && b[-1] != '\n')))
        return false;
    if (!b) {
        strbuf_str(out, x->old);
        return true;
    }
    strbuf_put(out, x->old, (size_t)(b - x->old));
    strbuf_str(out, t + strlen(end));
    return true;
}

// The first line that, without blanks at its ends and a comment, is `want`: the place after it.
static const char *line_after(const char *text, const char *want)
{
    for (const char *line = text; *line;) {
        const char *next = strchrnul(line, '\n');
        const char *p = line + strspn(line, " \t");
        size_t n = strlen(want);
        if (strncmp(p, want, n) == 0 && strspn(p + n, " \t\r") <= (size_t)(next - p) - n &&
            strchr("\n#", p[n + strspn(p + n, " \t\r")]))
            return *next ? next + 1 : next;
        line = *next ? next + 1 : next;
    }
    return nullptr;
}

// Does another runtime of this containerd keep to systemd's cgroups? The kubelet has one driver for all.
static bool uses_systemd(const char *text)
{
    return line_after(text, "SystemdCgroup = true") || line_after(text, "SystemdCgroup=true");
}

static int containerd_version(const char *text)
{
    for (const char *line = text; line && *line && line[strspn(line, " \t")] != '[';) {
        int v;
        if (sscanf(line, " version = %d", &v) == 1)
            return v;
        line = strchr(line, '\n');
        line += line != nullptr;
    }
    return *text ? 1 : 2;
}

static void marked(struct edit *x, const char *text)
{
    strbuf_fmt(&x->new, "# begin nacre %s\n%s# end nacre %s\n", x->name, text, x->name);
}

static int edit_containerd(struct edit *x, struct err *e)
{
    struct strbuf rest = {};
    char block[9000], table[300];
    if (!without_block(x, &rest))
        return err_set(e, -EINVAL, "%s: its nacre block has no end; left as it is", x->file);
    const char *text = rest.p ? rest.p : "";
    int version = containerd_version(text);
    snprintf(table, sizeof(table), "plugins.%s.containerd.runtimes.%s",
             version >= 3   ? "\"io.containerd.cri.v1.runtime\""
             : version == 2 ? "\"io.containerd.grpc.v1.cri\"" : "cri", x->name);
    char header[320];
    snprintf(header, sizeof(header), "[%s]", table);
    if (x->install && line_after(text, header))
        return err_set(e, -EEXIST, "%s: has a table %s that nacre did not make; left as it is", x->file,
                       header);
    if (!*text && x->install)
        strbuf_str(&x->new, "version = 2\n");
    strbuf_str(&x->new, text);
    if (*text && text[strlen(text) - 1] != '\n')
        strbuf_str(&x->new, "\n");
    if (x->install) {
        snprintf(block, sizeof(block),
                 "[%s]\n  runtime_type = \"io.containerd.runc.v2\"\n"
                 "  pod_annotations = [\"io.kubernetes.cri.*\"]\n[%s.options]\n  BinaryName = \"%s\"\n%s",
                 table, table, x->exe, uses_systemd(text) ? "  SystemdCgroup = true\n" : "");
        marked(x, block);
    }
    x->empty = strcmp(text, "version = 2\n") == 0;
    strbuf_free(&rest);
    return 0;
}

static int edit_podman(struct edit *x, struct err *e)
{
    static const char header[] = "[engine.runtimes]";
    struct strbuf rest = {};
    char block[4500];
    if (!without_block(x, &rest))
        return err_set(e, -EINVAL, "%s: its nacre block has no end; left as it is", x->file);
    const char *text = rest.p ? rest.p : "", *at = line_after(text, header);
    for (const char *p = at; p && *p && p[strspn(p, " \t")] != '[';) {
        size_t blank = strspn(p, " \t"), n = strlen(x->name);
        if (x->install && strncmp(p + blank, x->name, n) == 0 &&
            p[blank + n + strspn(p + blank + n, " \t")] == '=')
            return err_set(e, -EEXIST, "%s: %s has an entry %s that nacre did not make; left as it is",
                           x->file, header, x->name);
        p = strchrnul(p, '\n');
        p += *p == '\n';
    }
    snprintf(block, sizeof(block), "%s%s = [\"%s\"]\n", at ? "" : "[engine.runtimes]\n", x->name,
             x->exe);
    strbuf_put(&x->new, text, at ? (size_t)(at - text) : strlen(text));
    if (x->new.len && x->new.p[x->new.len - 1] != '\n')
        strbuf_str(&x->new, "\n");
    if (x->install)
        marked(x, block);
    if (at)
        strbuf_str(&x->new, at);
    x->empty = !*text;
    strbuf_free(&rest);
    return 0;
}

// --- commands ---------------------------------------------------------------------------------------
static const struct engine {
    const char *name, *file, *then;
    int (*edit)(struct edit *x, struct err *e);
} engines[] = {
    {"docker", "/etc/docker/daemon.json", "systemctl reload docker; docker run --runtime %s ...",
     edit_json},
    {"containerd", "/etc/containerd/config.toml",
     "systemctl restart containerd; in Kubernetes a RuntimeClass with handler: %s", edit_containerd},
    {"podman", "/etc/containers/containers.conf", "podman --runtime %s run ...", edit_podman},
};

static int prepare(struct edit *x, const struct engine *g, struct err *e)
{
    static char own[4096];
    const char *home = getenv("HOME");
    ssize_t n = readlink("/proc/self/exe", x->exe, sizeof(x->exe) - 1);
    if (n < 0)
        return err_errno(e, -errno, "/proc/self/exe");
    if (x->exe[strcspn(x->exe, "\"\\\n")])
        return err_set(e, -EINVAL, "%s: a path that cannot be written into a configuration", x->exe);
    if (x->name[strspn(x->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")] ||
        !*x->name || strlen(x->name) > 100)
        return err_set(e, -EINVAL, "--runtime-name %s: letters, digits, - and _ only", x->name);
    if (!x->file)
        x->file = g->file;
    if (x->file == g->file && geteuid() != 0 && home && strcmp(g->name, "podman") == 0) {
        snprintf(own, sizeof(own), "%.4000s/.config/containers/containers.conf", home);
        x->file = own;
    }
    // What a link leads to is edited; the link stays.
    if (realpath(x->file, x->real))
        x->file = x->real;
    if ((size_t)snprintf(x->backup, sizeof(x->backup), "%s.before-nacre", x->file) >= sizeof(x->backup))
        return err_set(e, -ENAMETOOLONG, "%s: name too long", x->file);
    return 0;
}

static int change(int argc, char **argv, bool install, struct err *e)
{
    static struct edit x;
    const struct engine *g = nullptr;
    x.name = "nacre";
    x.install = install;
    const struct opt opts[] = {{"runtime-name", OPT_STR, &x.name}, {"config", OPT_STR, &x.file}};
    int i = 1;
    if (opts_parse(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    for (size_t k = 0; i < argc && k < ARRAY_LEN(engines); k++)
        if (strcmp(engines[k].name, argv[i]) == 0)
            g = &engines[k];
    i++;
    if (!g || opts_parse(opts, ARRAY_LEN(opts), argc, argv, &i, e) || i != argc)
        return e->text[0] ? 1 : err_set(e, 1, "one engine is needed: docker, containerd or podman");
    if (prepare(&x, g, e) || read_old(&x, e))
        return 1;
    if (!install && !x.existed) {
        printf("%s: nothing to do\n", x.file);
        return 0;
    }
    if (g->edit(&x, e) || write_new(&x, e))
        return 1;
    if (install) {
        printf("then: ");
        const char *at = strstr(g->then, "%s");
        printf("%.*s%s%s\n", (int)(at - g->then), g->then, x.name, at + 2);
    }
    return 0;
}

static int install_run(struct globals *g, int argc, char **argv, struct err *e)
{
    return change(argc, argv, true, e);
}
static int uninstall_run(struct globals *g, int argc, char **argv, struct err *e)
{
    return change(argc, argv, false, e);
}

const struct command command_install = {
    .name = "install", .args = "[flags] docker|containerd|podman",
    .help = "make this program a runtime of an engine",
    .flags = "  --runtime-name NAME   what the engine calls it (default nacre)\n"
             "  --config FILE         the engine's configuration, if not where it usually is\n",
    .run = install_run,
};
const struct command command_uninstall = {
    .name = "uninstall", .args = "[flags] docker|containerd|podman",
    .help = "take that back",
    .flags = "  --runtime-name NAME, --config FILE   as for install\n",
    .run = uninstall_run,
};
