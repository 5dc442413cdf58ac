// SPDX-License-Identifier: Apache-2.0
// config.json -> struct spec. The bytes are the bundle author's: hostile. json-c checks syntax and
// depth; everything above goes through the typed readers below, each of which names the place
// ("process.user.uid") when the value is not what it must be. Unknown keys are ignored, as the
// specification asks; keys that would change what a container may do and that we do not have are
// refused by name.
#include "base/slab.h"
#include "oci/reader.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

PRINTF_LIKE(2, 3) static int warn(struct spec_process *p, const char *fmt, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return strlist_add(&p->warnings, text);
}

struct cap_set {
    struct spec_process *process;
    uint64_t mask;
};
static int add_cap(struct place el, void *arg)
{
    struct cap_set *set = arg;
    char *s = nullptr;
    int err = el.v ? read_str(el, &s) : place_wrong(&el, "a string");
    if (err)
        return err;
    int cap = cap_from_name(s);
    if (cap >= 0)
        set->mask |= 1ull << cap;
    else
        err = warn(set->process, "%s: unknown capability %.100s: ignored", el.path, s);
    mem_free(s);
    return err;
}
static int add_gid(struct place el, void *arg)
{
    struct spec_process *p = arg;
    uint32_t gid = 0;
    if (!el.v)
        return place_wrong(&el, "an integer");
    int err = read_u32(el, &gid);
    if (err)
        return err;
    uint32_t *v = mem_realloc(p->gids, (p->ngids + 1) * sizeof(*v));
    if (!v)
        return err_set(el.e, -ENOMEM, "%s: out of memory", el.path);
    p->gids = v;
    v[p->ngids++] = gid;
    return 0;
}
static int add_rlimit(struct place el, void *arg)
{
    struct spec_process *p = arg;
    struct spec_rlimit r = {};
    char *type = nullptr;
    if (!el.v || place_is(&el, json_type_object, "an object"))
        return place_wrong(&el, "an object");
    struct place name = place_member(&el, "type");
    int err = name.v ? read_str(name, &type) : place_wrong(&name, "a string");
    if (!err)
        err = read_u64(place_member(&el, "soft"), &r.soft);
    if (!err)
        err = read_u64(place_member(&el, "hard"), &r.hard);
    int which = err ? 0 : rlimit_from_name(type);
    if (!err && which < 0)
        err = err_set(el.e, -EINVAL, "%s: unknown limit %s", name.path, type);
    if (!err && r.soft > r.hard)
        err = err_set(el.e, -EINVAL, "%s: soft limit above the hard limit of %s", el.path, type);
    for (size_t i = 0; !err && i < p->nrlimits; i++)
        if (p->rlimits[i].which == (uint32_t)which)
            err = err_set(el.e, -EINVAL, "%s: %s given twice", el.path, type);
    mem_free(type);
    if (err)
        return err;
    r.which = (uint32_t)which;
    struct spec_rlimit *v = mem_realloc(p->rlimits, (p->nrlimits + 1) * sizeof(*v));
    if (!v)
        return err_set(el.e, -ENOMEM, "%s: out of memory", el.path);
    p->rlimits = v;
    v[p->nrlimits++] = r;
    return 0;
}

static int read_caps(struct place c, struct spec_process *p)
{
    static const char *const names[CAPS_SETS] = {"bounding", "effective", "inheritable",
                                                 "permitted", "ambient"};
    int err = read_object(c);
    for (int i = 0; !err && i < CAPS_SETS; i++) {
        struct cap_set set = {.process = p};
        err = read_each(place_member(&c, names[i]), add_cap, &set);
        p->caps[i] = set.mask;
    }
    return err;
}

// Labels of the host's security modules: the sandbox has none, its walls are others.
static int read_label(struct place at, struct spec_process *p)
{
    char *s = nullptr;
    int err = read_str(at, &s);
    if (!err && s && s[0])
        err = warn(p, "%s: %.100s is not applied: there are no such labels inside", at.path, s);
    mem_free(s);
    return err;
}

static int read_process(struct place pl, struct spec_process *p)
{
    if (!pl.v)
        return err_set(pl.e, -EINVAL, "process: missing: nothing to run");
    int err = read_object(pl);
    struct place user = place_member(&pl, "user"), size = place_member(&pl, "consoleSize"), at;
    if (err || (err = read_object(user)) || (err = read_object(size)) ||
        (err = read_bool(place_member(&pl, "terminal"), &p->terminal)) ||
        (err = read_u32(place_member(&size, "height"), &p->term_rows)) ||
        (err = read_u32(place_member(&size, "width"), &p->term_cols)) ||
        (err = read_each(place_member(&pl, "args"), read_add_string, &p->args)) ||
        (err = read_each(place_member(&pl, "env"), read_add_string, &p->env)) ||
        (err = read_str(place_member(&pl, "cwd"), &p->cwd)) ||
        (err = read_u32(place_member(&user, "uid"), &p->uid)) ||
        (err = read_u32(place_member(&user, "gid"), &p->gid)) ||
        (err = read_each(place_member(&user, "additionalGids"), add_gid, p)) ||
        (err = read_caps(place_member(&pl, "capabilities"), p)) ||
        (err = read_each(place_member(&pl, "rlimits"), add_rlimit, p)) ||
        (err = read_label(place_member(&pl, "apparmorProfile"), p)) ||
        (err = read_label(place_member(&pl, "selinuxLabel"), p)) ||
        (err = read_bool(place_member(&pl, "noNewPrivileges"), &p->no_new_privs)))
        return err;
    at = place_member(&user, "umask");
    int64_t v = 0;
    if ((err = read_int(at, 0, 0777, &v)))
        return err;
    p->has_umask = at.v;
    p->umask = (uint32_t)v;
    at = place_member(&pl, "oomScoreAdj");
    v = 0;
    if ((err = read_int(at, -1000, 1000, &v)))
        return err;
    p->has_oom_score_adj = at.v;
    p->oom_score_adj = (int32_t)v;
    if (p->args.n == 0)
        return err_set(pl.e, -EINVAL, "process.args: empty: nothing to run");
    if (!p->cwd || p->cwd[0] != '/')
        return err_set(pl.e, -EINVAL, "process.cwd: must be an absolute path");
    return 0;
}

static int add_mount_option(struct place el, void *mount)
{
    char *s = nullptr;
    int err = el.v ? read_str(el, &s) : place_wrong(&el, "a string");
    if (err)
        return err;
    err = spec_mount_option(mount, s);
    if (err == -ENOMEM)
        err_set(el.e, err, "%s: out of memory", el.path);
    else if (err)
        err_set(el.e, err, "%s: option %s is not supported", el.path, s);
    mem_free(s);
    return err;
}
static int add_mount(struct place el, void *arg)
{
    struct spec *s = arg;
    if (!el.v || place_is(&el, json_type_object, "an object"))
        return place_wrong(&el, "an object");
    struct spec_mount *m = spec_mount_add(s, "", "", "");
    if (!m)
        return err_set(el.e, -ENOMEM, "%s: out of memory", el.path);
    int err;
    if ((err = read_str(place_member(&el, "destination"), &m->dest)) ||
        (err = read_str(place_member(&el, "type"), &m->type)) ||
        (err = read_str(place_member(&el, "source"), &m->source)) ||
        (err = read_each(place_member(&el, "options"), add_mount_option, m)))
        return err;
    if (m->dest[0] != '/') {
        struct place d = place_member(&el, "destination");
        return place_wrong(&d, "an absolute path");
    }
    if (strcmp(m->type, "bind") == 0)
        m->bind = true;
    if (m->bind && !m->source[0])
        return err_set(el.e, -EINVAL, "%s.source: empty, but the mount is a bind mount", el.path);
    if (!m->bind && !m->type[0])
        return err_set(el.e, -EINVAL, "%s.type: missing", el.path);
    return 0;
}

static int check_host_name(const struct place *root, const char *key, const char *v)
{
    if (v && strlen(v) > 64)
        return err_set(root->e, -EINVAL, "%s: longer than 64 bytes", key);
    return 0;
}

static int read_root(struct place top, struct spec *s)
{
    struct place root = place_member(&top, "root");
    int err;
    if ((err = read_str(place_member(&top, "ociVersion"), &s->version)))
        return err;
    if (!s->version)
        return err_set(top.e, -EINVAL, "ociVersion: missing");
    if (s->version[0] != '1' || s->version[1] != '.')
        return err_set(top.e, -EINVAL, "ociVersion: %s is not supported (1.x is)", s->version);
    if ((err = read_process(place_member(&top, "process"), &s->process)))
        return err;
    if (!root.v)
        return err_set(top.e, -EINVAL, "root: missing");
    if ((err = read_object(root)) || (err = read_str(place_member(&root, "path"), &s->root_path)) ||
        (err = read_bool(place_member(&root, "readonly"), &s->root_readonly)))
        return err;
    if (!s->root_path || !s->root_path[0])
        return err_set(top.e, -EINVAL, "root.path: missing");
    if ((err = read_str(place_member(&top, "hostname"), &s->hostname)) ||
        (err = read_str(place_member(&top, "domainname"), &s->domainname)) ||
        (err = check_host_name(&top, "hostname", s->hostname)) ||
        (err = check_host_name(&top, "domainname", s->domainname)) ||
        (err = read_each(place_member(&top, "mounts"), add_mount, s)) ||
        (err = read_each_member(place_member(&top, "annotations"), read_add_kv, &s->annotations)) ||
        (err = read_linux(place_member(&top, "linux"), s)))
        return err;
    return read_hooks(place_member(&top, "hooks"), s->hooks);
}

static int parse(const char *text, size_t n, int (*fn)(struct place top, void *arg), void *arg,
                 struct err *e)
{
    if (n > SPEC_JSON_MAX)
        return err_set(e, -EFBIG, "larger than %zu bytes", SPEC_JSON_MAX);
    struct json_tokener *tok = json_tokener_new_ex(SPEC_JSON_DEPTH);
    if (!tok)
        return err_set(e, -ENOMEM, "out of memory");
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 |
                                    JSON_TOKENER_ALLOW_TRAILING_CHARS);
    struct json_object *top = json_tokener_parse_ex(tok, text, (int)n);
    enum json_tokener_error jerr = json_tokener_get_error(tok);
    size_t end = json_tokener_get_parse_end(tok);
    int err = 0;
    if (jerr == json_tokener_continue)
        err = err_set(e, -EINVAL, "unexpected end of the file");
    else if (jerr != json_tokener_success)
        err = err_set(e, -EINVAL, "at byte %zu: %s", end, json_tokener_error_desc(jerr));
    for (size_t i = end; !err && i < n; i++)
        if (!strchr(" \t\r\n", text[i]) || !text[i])
            err = err_set(e, -EINVAL, "at byte %zu: something follows the object", i);
    if (!err) {
        struct place p = {.v = top, .e = e};
        err = json_object_is_type(top, json_type_object)
                  ? fn(p, arg)
                  : err_set(e, -EINVAL, "is not a JSON object");
    }
    json_object_put(top);
    json_tokener_free(tok);
    return err;
}

static int read_spec(struct place top, void *s)
{
    return read_root(top, s);
}
static int read_only_process(struct place top, void *p)
{
    return read_process(top, p);
}
int spec_parse(struct spec *s, const char *text, size_t n, struct err *e)
{
    return parse(text, n, read_spec, s, e);
}

// The whole file, at most SPEC_JSON_MAX + 1 bytes (the parser then refuses it).
// pipe: it may be one, too.
static int read_file(const char *path, bool pipe, char **out, size_t *len, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_errno(e, -errno, "%s", path);
    struct stat st;
    char *buf = nullptr;
    int err = 0;
    if (fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || (pipe && S_ISFIFO(st.st_mode))))
        err = err_set(e, -EINVAL, "%s: not a regular file", path);
    else if (S_ISFIFO(st.st_mode) && fcntl(fd, F_SETFL, O_RDONLY) < 0)
        err = err_errno(e, -errno, "%s", path);
    bool whole = !err && (S_ISFIFO(st.st_mode) || (uint64_t)st.st_size > SPEC_JSON_MAX);
    size_t cap = err ? 0 : whole ? SPEC_JSON_MAX + 1 : (size_t)st.st_size + 1;
    if (!err && !(buf = mem_alloc(cap)))
        err = err_set(e, -ENOMEM, "%s: out of memory", path);
    size_t n = 0;
    while (!err && n < cap) {
        ssize_t r = read(fd, buf + n, cap - n);
        if (r < 0)
            err = err_errno(e, -errno, "%s", path);
        if (r <= 0)
            break;
        n += (size_t)r;
    }
    close(fd);
    if (err) {
        mem_free(buf);
        return err;
    }
    *out = buf;
    *len = n;
    return 0;
}

int spec_load_process(struct spec_process *p, const char *path, struct err *e)
{
    char *text;
    size_t n;
    int err = read_file(path, true, &text, &n, e);
    if (err)
        return err;
    err = parse(text, n, read_only_process, p, e);
    mem_free(text);
    if (err)
        err_prefix(e, "%s: ", path);
    return err;
}

int spec_load(struct spec *s, const char *bundle, struct err *e)
{
    char path[4096], *text;
    size_t n;
    struct stat st;
    if (stat(bundle, &st) < 0)
        return err_errno(e, -errno, "bundle %s", bundle);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, -ENOTDIR, "bundle %s: not a directory", bundle);
    if ((size_t)snprintf(path, sizeof(path), "%s/config.json", bundle) >= sizeof(path))
        return err_set(e, -ENAMETOOLONG, "bundle %s: name too long", bundle);
    int err = read_file(path, false, &text, &n, e);
    if (err)
        return err;
    err = spec_parse(s, text, n, e);
    mem_free(text);
    if (err) {
        err_prefix(e, "%s: ", path);
        return err;
    }
    if (s->root_path[0] == '/')
        return 0;
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", bundle, s->root_path) >= sizeof(path))
        return err_set(e, -ENAMETOOLONG, "root.path: name too long");
    char *abs = mem_strdup(path);
    if (!abs)
        return err_set(e, -ENOMEM, "out of memory");
    mem_free(s->root_path);
    s->root_path = abs;
    return 0;
}
