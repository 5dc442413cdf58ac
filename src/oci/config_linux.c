// SPDX-License-Identifier: Apache-2.0
// config.json: `linux` and `hooks`. What is only checked here (paths of namespaces, devices) is
// looked at by the command line before anything is started.
#include "base/slab.h"
#include "oci/reader.h"
#include "oci/seccomp.h"
#include <errno.h>
#include <linux/sched.h>
#include <stdckdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

// One more element, zeroed, at the end of an array that is owned by its structure.
static void *array_add(struct place *el, void *array, size_t *n, size_t size)
{
    void **v = array;
    size_t bytes;
    void *more = ckd_mul(&bytes, *n + 1, size) ? nullptr : mem_realloc(*v, bytes);
    if (!more) {
        err_set(el->e, -ENOMEM, "%s: out of memory", el->path);
        return nullptr;
    }
    *v = more;
    void *last = (char *)more + size * *n;
    memset(last, 0, size);
    ++*n;
    return last;
}
static int must_be_object(struct place *el)
{
    return el->v ? place_is(el, json_type_object, "an object") : place_wrong(el, "an object");
}

// --- namespaces, id maps ----------------------------------------------------------------------------
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
    const char *names[ARRAY_LEN(namespace_names)];
    uint32_t which;
    char *path = nullptr;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        names[i] = namespace_names[i].name;
    int err = must_be_object(&el);
    if (err || (err = read_name(place_member(&el, "type"), names, ARRAY_LEN(names), &which)) ||
        (err = read_str(place_member(&el, "path"), &path)))
        return err;
    uint32_t type = namespace_names[which].type;
    struct spec_namespace *n = nullptr;
    if (path && path[0] && path[0] != '/')
        err = err_set(el.e, -EINVAL, "%s.path: must be an absolute path", el.path);
    else if (spec_namespace(s, type))
        err = err_set(el.e, -EINVAL, "%s.type: %s is given twice", el.path, names[which]);
    else if (!(n = array_add(&el, &s->namespaces, &s->nnamespaces, sizeof(*n))))
        err = -ENOMEM;
    if (!err) {
        n->type = type;
        if (path && path[0]) {
            n->path = path;
            path = nullptr;
        }
    }
    mem_free(path);
    return err;
}

static int add_id_map(struct place el, void *maps)
{
    struct spec_id_maps *l = maps;
    struct spec_id_map m = {};
    constexpr size_t most = 340; // the kernel's own limit
    int err = must_be_object(&el);
    if (err || (err = read_u32(place_member(&el, "containerID"), &m.inside)) ||
        (err = read_u32(place_member(&el, "hostID"), &m.outside)) ||
        (err = read_u32(place_member(&el, "size"), &m.count)))
        return err;
    uint32_t end;
    if (m.count == 0 || ckd_add(&end, m.inside, m.count) || ckd_add(&end, m.outside, m.count) ||
        l->n >= most)
        return err_set(el.e, -EINVAL, "%s: %s", el.path,
                       l->n >= most ? "too many" : "size is out of range");
    struct spec_id_map *v = array_add(&el, &l->v, &l->n, sizeof(*v));
    if (!v)
        return -ENOMEM;
    *v = m;
    return 0;
}

// --- devices ----------------------------------------------------------------------------------------
static int add_device(struct place el, void *arg)
{
    struct spec *s = arg;
    static const char *const types[] = {"c", "u", "b", "p"};
    static const uint32_t modes[] = {S_IFCHR, S_IFCHR, S_IFBLK, S_IFIFO};
    uint32_t type;
    int64_t mode = 0666;
    int err = must_be_object(&el);
    if (err)
        return err;
    struct spec_device *d = array_add(&el, &s->devices, &s->ndevices, sizeof(*d));
    struct place path = place_member(&el, "path");
    if (!d)
        return -ENOMEM;
    if ((err = read_name(place_member(&el, "type"), types, ARRAY_LEN(types), &type)) ||
        (err = path.v ? read_str(path, &d->path) : place_wrong(&path, "a string")) ||
        (err = read_u32(place_member(&el, "major"), &d->major)) ||
        (err = read_u32(place_member(&el, "minor"), &d->minor)) ||
        (err = read_int(place_member(&el, "fileMode"), 0, 0177777, &mode)) ||
        (err = read_u32(place_member(&el, "uid"), &d->uid)) ||
        (err = read_u32(place_member(&el, "gid"), &d->gid)))
        return err;
    d->type = modes[type];
    d->mode = (uint32_t)mode & 07777;
    return d->path[0] == '/' ? 0 : place_wrong(&path, "an absolute path");
}

// --- linux ------------------------------------------------------------------------------------------
static int check_propagation(struct place p, const char *v)
{
    static const char *const known[] = {"private", "rprivate", "slave", "rslave", "shared", "rshared",
                                        "unbindable", "runbindable", ""};
    for (size_t i = 0; v && i < ARRAY_LEN(known); i++)
        if (strcmp(known[i], v) == 0)
            return 0;
    return v ? err_set(p.e, -EINVAL, "%s: %s is not known", p.path, v) : 0;
}

static int read_resources(struct place res, struct spec *s)
{
    struct resources *r = &s->resources;
    int err = resources_read(r, res.v, res.path, res.e);
    s->memory_limit = r->v[RES_MEMORY] > 0 ? (uint64_t)r->v[RES_MEMORY] : 0;
    s->pids_limit = r->v[RES_PIDS] > 0 ? (uint64_t)r->v[RES_PIDS] : 0;
    static const char *const nothing[] = {"network", "rdma"}; // what a sandbox has none of
    for (size_t i = 0; !err && i < ARRAY_LEN(nothing); i++) {
        struct place p = res.v ? place_member(&res, nothing[i]) : (struct place){};
        char text[320];
        if (!json_object_is_type(p.v, json_type_object) || json_object_object_length(p.v) == 0)
            continue;
        snprintf(text, sizeof(text), "%s is not applied: there is no such thing inside", p.path);
        err = strlist_add(&s->process.warnings, text);
    }
    return err;
}

int read_linux(struct place l, struct spec *s)
{
    int err = read_object(l);
    if (err ||
        (err = read_each(place_member(&l, "namespaces"), add_namespace, s)) ||
        (err = read_each(place_member(&l, "uidMappings"), add_id_map, &s->uid_maps)) ||
        (err = read_each(place_member(&l, "gidMappings"), add_id_map, &s->gid_maps)) ||
        (err = read_each(place_member(&l, "devices"), add_device, s)) ||
        (err = spec_seccomp_compile(place_member(&l, "seccomp").v, &s->seccomp, l.e)) ||
        (err = read_each_member(place_member(&l, "sysctl"), read_add_kv, &s->sysctl)) ||
        (err = read_each(place_member(&l, "maskedPaths"), read_add_string, &s->masked_paths)) ||
        (err = read_each(place_member(&l, "readonlyPaths"), read_add_string, &s->readonly_paths)) ||
        (err = read_str(place_member(&l, "cgroupsPath"), &s->cgroups_path)) ||
        (err = read_str(place_member(&l, "mountLabel"), &s->mount_label)) ||
        (err = read_str(place_member(&l, "rootfsPropagation"), &s->rootfs_propagation)) ||
        (err = check_propagation(place_member(&l, "rootfsPropagation"), s->rootfs_propagation)))
        return err;
    return read_resources(place_member(&l, "resources"), s);
}

// --- hooks ------------------------------------------------------------------------------------------
static const char *const hook_names[HOOK_KINDS] = {"prestart", "createRuntime", "createContainer",
                                                   "startContainer", "poststart", "poststop"};
const char *hook_kind_name(enum hook_kind k)
{
    return hook_names[k];
}

static int add_hook(struct place el, void *arg)
{
    struct spec_hooks *l = arg;
    int err = must_be_object(&el);
    if (err)
        return err;
    struct spec_hook *h = array_add(&el, &l->v, &l->n, sizeof(*h));
    struct place path = place_member(&el, "path"), timeout = place_member(&el, "timeout");
    int64_t seconds = 0;
    constexpr int64_t most = INT32_MAX / 1000;
    if (!h)
        return -ENOMEM;
    if ((err = path.v ? read_str(path, &h->path) : place_wrong(&path, "a string")) ||
        (err = read_each(place_member(&el, "args"), read_add_string, &h->args)) ||
        (err = read_each(place_member(&el, "env"), read_add_string, &h->env)) ||
        (err = read_int(timeout, INT64_MIN, INT64_MAX, &seconds)))
        return err;
    if (timeout.v && seconds <= 0)
        return place_wrong(&timeout, "a number above 0");
    h->timeout = (uint32_t)(seconds < most ? seconds : most);
    return h->path[0] == '/' ? 0 : place_wrong(&path, "an absolute path");
}

int read_hooks(struct place hooks, struct spec_hooks out[HOOK_KINDS])
{
    int err = read_object(hooks);
    for (int i = 0; i < HOOK_KINDS && !err; i++)
        err = read_each(place_member(&hooks, hook_names[i]), add_hook, &out[i]);
    return err;
}
