// SPDX-License-Identifier: Apache-2.0
// config.json -> struct spec. The bytes are the bundle author's: hostile. json-c checks syntax and
// depth; everything above goes through the typed readers below, each of which names the place
// ("process.user.uid") when the value is not what it must be. Unknown keys are ignored, as the
// specification asks; keys that would change what a container may do and that we do not have are
// refused by name.
#include "base/slab.h"
#include "oci/seccomp.h"
#include "oci/spec.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

// A value and where it stands.
struct place {
    struct json_object *v; // borrowed; null: not there
    char path[256];
    struct err *e;
};

static struct place place_of(const struct place *p, struct json_object *v, const char *fmt,
                             const char *name, size_t index)
{
    struct place c = {.v = v, .e = p->e};
    int n = snprintf(c.path, sizeof(c.path), "%s", p->path);
    if (n >= 0 && (size_t)n < sizeof(c.path)) {
        if (name)
            snprintf(c.path + n, sizeof(c.path) - (size_t)n, fmt, n ? "." : "", name);
        else
            snprintf(c.path + n, sizeof(c.path) - (size_t)n, "[%zu]", index);
    }
    return c;
}
static struct place member(const struct place *p, const char *name)
{
    struct json_object *v = nullptr;
    if (p->v)
        json_object_object_get_ex(p->v, name, &v);
    return place_of(p, v, "%s%s", name, 0);
}
static struct place element(const struct place *p, size_t i)
{
    return place_of(p, json_object_array_get_idx(p->v, i), nullptr, nullptr, i);
}

static int wrong(const struct place *p, const char *what)
{
    return err_set(p->e, -EINVAL, "%s: expected %s, found %s", p->path, what,
                   p->v ? json_object_to_json_string_ext(p->v, JSON_C_TO_STRING_PLAIN) : "nothing");
}
static int is_type(const struct place *p, json_type t, const char *what)
{
    return json_object_is_type(p->v, t) ? 0 : wrong(p, what);
}

// Readers: an absent value leaves *out as it is.
static int get_bool(struct place p, bool *out)
{
    if (!p.v)
        return 0;
    if (is_type(&p, json_type_boolean, "true or false"))
        return -EINVAL;
    *out = json_object_get_boolean(p.v);
    return 0;
}
static int get_int(struct place p, int64_t lo, int64_t hi, int64_t *out)
{
    if (!p.v)
        return 0;
    if (is_type(&p, json_type_int, "an integer"))
        return -EINVAL;
    int64_t v = json_object_get_int64(p.v);
    if (v < lo || v > hi || (v == INT64_MAX && json_object_get_uint64(p.v) > INT64_MAX))
        return err_set(p.e, -EINVAL, "%s: %s is out of range", p.path, json_object_get_string(p.v));
    *out = v;
    return 0;
}
static int get_u32(struct place p, uint32_t *out)
{
    int64_t v = *out;
    int err = get_int(p, 0, UINT32_MAX, &v);
    *out = (uint32_t)v;
    return err;
}
// Unsigned 64 bits; -1 means "no limit" to some writers.
static int get_u64(struct place p, uint64_t *out)
{
    if (!p.v)
        return 0;
    if (is_type(&p, json_type_int, "an integer"))
        return -EINVAL;
    if (json_object_get_int64(p.v) < 0)
        return err_set(p.e, -EINVAL, "%s: %s is out of range", p.path, json_object_get_string(p.v));
    *out = json_object_get_uint64(p.v);
    return 0;
}
static int get_str(struct place p, char **out)
{
    if (!p.v)
        return 0;
    if (is_type(&p, json_type_string, "a string"))
        return -EINVAL;
    const char *s = json_object_get_string(p.v);
    if (strlen(s) != (size_t)json_object_get_string_len(p.v))
        return err_set(p.e, -EINVAL, "%s: contains a NUL character", p.path);
    char *copy = mem_strdup(s);
    if (!copy)
        return err_set(p.e, -ENOMEM, "%s: out of memory", p.path);
    mem_free(*out);
    *out = copy;
    return 0;
}
// Calls fn for each element of an array that may be absent or null.
static int each(struct place p, int (*fn)(struct place el, void *arg), void *arg)
{
    if (!p.v)
        return 0;
    if (is_type(&p, json_type_array, "an array"))
        return -EINVAL;
    for (size_t i = 0; i < json_object_array_length(p.v); i++) {
        int err = fn(element(&p, i), arg);
        if (err)
            return err;
    }
    return 0;
}
static int each_member(struct place p, int (*fn)(struct place el, const char *key, void *arg),
                       void *arg)
{
    if (!p.v)
        return 0;
    if (is_type(&p, json_type_object, "an object"))
        return -EINVAL;
    json_object_object_foreach(p.v, key, val)
    {
        int err = fn(place_of(&p, val, "%s%s", key, 0), key, arg);
        if (err)
            return err;
    }
    return 0;
}
static int object(struct place p)
{
    return p.v ? is_type(&p, json_type_object, "an object") : 0;
}

static int add_string(struct place el, void *list)
{
    char *s = nullptr;
    int err = el.v ? get_str(el, &s) : wrong(&el, "a string");
    if (!err && strlist_add(list, s))
        err = err_set(el.e, -ENOMEM, "%s: out of memory", el.path);
    mem_free(s);
    return err;
}
static int add_cap(struct place el, void *mask)
{
    char *s = nullptr;
    int err = el.v ? get_str(el, &s) : wrong(&el, "a string");
    if (err)
        return err;
    int cap = cap_from_name(s);
    if (cap >= 0)
        *(uint64_t *)mask |= 1ull << cap;
    else
        err = err_set(el.e, -EINVAL, "%s: unknown capability %s", el.path, s);
    mem_free(s);
    return err;
}
static int add_gid(struct place el, void *arg)
{
    struct spec_process *p = arg;
    uint32_t gid = 0;
    if (!el.v)
        return wrong(&el, "an integer");
    int err = get_u32(el, &gid);
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
    if (!el.v || is_type(&el, json_type_object, "an object"))
        return wrong(&el, "an object");
    struct place name = member(&el, "type");
    int err = name.v ? get_str(name, &type) : wrong(&name, "a string");
    if (!err)
        err = get_u64(member(&el, "soft"), &r.soft);
    if (!err)
        err = get_u64(member(&el, "hard"), &r.hard);
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
    int err = object(c);
    for (int i = 0; !err && i < CAPS_SETS; i++)
        err = each(member(&c, names[i]), add_cap, &p->caps[i]);
    return err;
}

static int read_process(struct place pl, struct spec_process *p)
{
    if (!pl.v)
        return err_set(pl.e, -EINVAL, "process: missing: nothing to run");
    int err = object(pl);
    struct place user = member(&pl, "user"), size = member(&pl, "consoleSize"), at;
    if (err || (err = object(user)) || (err = object(size)) ||
        (err = get_bool(member(&pl, "terminal"), &p->terminal)) ||
        (err = get_u32(member(&size, "height"), &p->term_rows)) ||
        (err = get_u32(member(&size, "width"), &p->term_cols)) ||
        (err = each(member(&pl, "args"), add_string, &p->args)) ||
        (err = each(member(&pl, "env"), add_string, &p->env)) ||
        (err = get_str(member(&pl, "cwd"), &p->cwd)) ||
        (err = get_u32(member(&user, "uid"), &p->uid)) ||
        (err = get_u32(member(&user, "gid"), &p->gid)) ||
        (err = each(member(&user, "additionalGids"), add_gid, p)) ||
        (err = read_caps(member(&pl, "capabilities"), p)) ||
        (err = each(member(&pl, "rlimits"), add_rlimit, p)) ||
        (err = get_bool(member(&pl, "noNewPrivileges"), &p->no_new_privs)))
        return err;
    at = member(&user, "umask");
    int64_t v = 0;
    if ((err = get_int(at, 0, 0777, &v)))
        return err;
    p->has_umask = at.v;
    p->umask = (uint32_t)v;
    at = member(&pl, "oomScoreAdj");
    v = 0;
    if ((err = get_int(at, -1000, 1000, &v)))
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
    int err = el.v ? get_str(el, &s) : wrong(&el, "a string");
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
    if (!el.v || is_type(&el, json_type_object, "an object"))
        return wrong(&el, "an object");
    struct spec_mount *m = spec_mount_add(s, "", "", "");
    if (!m)
        return err_set(el.e, -ENOMEM, "%s: out of memory", el.path);
    int err;
    if ((err = get_str(member(&el, "destination"), &m->dest)) ||
        (err = get_str(member(&el, "type"), &m->type)) ||
        (err = get_str(member(&el, "source"), &m->source)) ||
        (err = each(member(&el, "options"), add_mount_option, m)))
        return err;
    if (m->dest[0] != '/') {
        struct place d = member(&el, "destination");
        return wrong(&d, "an absolute path");
    }
    if (strcmp(m->type, "bind") == 0)
        m->bind = true;
    if (m->bind && !m->source[0])
        return err_set(el.e, -EINVAL, "%s.source: empty, but the mount is a bind mount", el.path);
    if (!m->bind && !m->type[0])
        return err_set(el.e, -EINVAL, "%s.type: missing", el.path);
    return 0;
}

static int add_kv(struct place el, const char *key, void *list)
{
    char *s = nullptr;
    int err = el.v ? get_str(el, &s) : wrong(&el, "a string");
    if (!err && spec_kv_add(list, key, s))
        err = err_set(el.e, -ENOMEM, "%s: out of memory", el.path);
    mem_free(s);
    return err;
}

static const struct {
    const char *name;
    uint32_t type;
} namespace_names[] = {
    {"pid", CLONE_NEWPID}, {"network", CLONE_NEWNET}, {"mount", CLONE_NEWNS}, {"ipc", CLONE_NEWIPC},
    {"uts", CLONE_NEWUTS}, {"user", CLONE_NEWUSER}, {"cgroup", CLONE_NEWCGROUP},
    {"time", CLONE_NEWTIME},
};
static int add_namespace(struct place el, void *arg)
{
    struct spec *s = arg;
    char *type = nullptr, *path = nullptr;
    if (!el.v || is_type(&el, json_type_object, "an object"))
        return wrong(&el, "an object");
    struct place t = member(&el, "type");
    int err = t.v ? get_str(t, &type) : wrong(&t, "a string");
    if (!err)
        err = get_str(member(&el, "path"), &path);
    size_t i = 0;
    while (!err && i < ARRAY_LEN(namespace_names) && strcmp(type, namespace_names[i].name) != 0)
        i++;
    if (!err && i == ARRAY_LEN(namespace_names))
        err = err_set(el.e, -EINVAL, "%s: unknown namespace %s", t.path, type);
    struct spec_namespace *v = nullptr;
    if (!err && !(v = mem_realloc(s->namespaces, (s->nnamespaces + 1) * sizeof(*v))))
        err = err_set(el.e, -ENOMEM, "%s: out of memory", el.path);
    if (!err) {
        s->namespaces = v;
        v[s->nnamespaces++] = (struct spec_namespace){
            .type = namespace_names[i].type, .path = path && path[0] ? path : nullptr};
        if (path && path[0])
            path = nullptr;
    }
    mem_free(type);
    mem_free(path);
    return err;
}

static int read_linux(struct place l, struct spec *s)
{
    int err = object(l);
    struct place res = member(&l, "resources");
    if (err || (err = object(res)))
        return err;
    struct place mem = member(&res, "memory"), pids = member(&res, "pids");
    int64_t limit = 0, npids = 0;
    if ((err = each(member(&l, "namespaces"), add_namespace, s)) ||
        (err = each_member(member(&l, "sysctl"), add_kv, &s->sysctl)) ||
        (err = each(member(&l, "maskedPaths"), add_string, &s->masked_paths)) ||
        (err = each(member(&l, "readonlyPaths"), add_string, &s->readonly_paths)) ||
        (err = spec_seccomp_compile(member(&l, "seccomp").v, &s->seccomp, l.e)) ||
        (err = get_str(member(&l, "cgroupsPath"), &s->cgroups_path)) || (err = object(mem)) ||
        (err = object(pids)) ||
        (err = get_int(member(&mem, "limit"), -1, INT64_MAX, &limit)) ||
        (err = get_int(member(&pids, "limit"), -1, INT64_MAX, &npids)))
        return err;
    s->memory_limit = limit > 0 ? (uint64_t)limit : 0;
    s->pids_limit = npids > 0 ? (uint64_t)npids : 0;
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
    struct place root = member(&top, "root");
    int err;
    if ((err = get_str(member(&top, "ociVersion"), &s->version)))
        return err;
    if (!s->version)
        return err_set(top.e, -EINVAL, "ociVersion: missing");
    if (s->version[0] != '1' || s->version[1] != '.')
        return err_set(top.e, -EINVAL, "ociVersion: %s is not supported (1.x is)", s->version);
    if ((err = read_process(member(&top, "process"), &s->process)))
        return err;
    if (!root.v)
        return err_set(top.e, -EINVAL, "root: missing");
    if ((err = object(root)) || (err = get_str(member(&root, "path"), &s->root_path)) ||
        (err = get_bool(member(&root, "readonly"), &s->root_readonly)))
        return err;
    if (!s->root_path || !s->root_path[0])
        return err_set(top.e, -EINVAL, "root.path: missing");
    if ((err = get_str(member(&top, "hostname"), &s->hostname)) ||
        (err = get_str(member(&top, "domainname"), &s->domainname)) ||
        (err = check_host_name(&top, "hostname", s->hostname)) ||
        (err = check_host_name(&top, "domainname", s->domainname)) ||
        (err = each(member(&top, "mounts"), add_mount, s)) ||
        (err = each_member(member(&top, "annotations"), add_kv, &s->annotations)) ||
        (err = read_linux(member(&top, "linux"), s)))
        return err;
    struct place hooks = member(&top, "hooks");
    if (hooks.v && json_object_is_type(hooks.v, json_type_object) &&
        json_object_object_length(hooks.v) > 0)
        return err_set(top.e, -ENOTSUP, "hooks: not supported");
    return 0;
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
static int read_file(const char *path, char **out, size_t *len, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_errno(e, -errno, "%s", path);
    struct stat st;
    char *buf = nullptr;
    int err = 0;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        err = err_set(e, -EINVAL, "%s: not a regular file", path);
    size_t cap = err ? 0 : (uint64_t)st.st_size > SPEC_JSON_MAX ? SPEC_JSON_MAX + 1
                                                               : (size_t)st.st_size + 1;
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
    int err = read_file(path, &text, &n, e);
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
    int err = read_file(path, &text, &n, e);
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
