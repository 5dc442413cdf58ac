// SPDX-License-Identifier: Apache-2.0
// Making and freeing specs, and the small lists in them.
#include "oci/spec.h"
#include "base/slab.h"
#include <errno.h>
#include <string.h>

struct spec *spec_new(void)
{
    struct spec *s = mem_alloc(sizeof(*s));
    return s;
}

void strlist_free(struct strlist *l)
{
    for (size_t i = 0; i < l->n; i++)
        mem_free(l->v[i]);
    mem_free(l->v);
    *l = (struct strlist){};
}
static void kvs_free(struct spec_kvs *l)
{
    for (size_t i = 0; i < l->n; i++) {
        mem_free(l->v[i].key);
        mem_free(l->v[i].value);
    }
    mem_free(l->v);
    *l = (struct spec_kvs){};
}

void spec_process_free(struct spec_process *p)
{
    strlist_free(&p->args);
    strlist_free(&p->env);
    mem_free(p->cwd);
    mem_free(p->user);
    mem_free(p->gids);
    mem_free(p->rlimits);
    strlist_free(&p->warnings);
    *p = (struct spec_process){};
}
void spec_hooks_free(struct spec_hooks *h)
{
    for (size_t i = 0; i < h->n; i++) {
        mem_free(h->v[i].path);
        strlist_free(&h->v[i].args);
        strlist_free(&h->v[i].env);
    }
    mem_free(h->v);
    *h = (struct spec_hooks){};
}
static void linux_free(struct spec *s)
{
    for (int i = 0; i < HOOK_KINDS; i++)
        spec_hooks_free(&s->hooks[i]);
    for (size_t i = 0; i < s->nnamespaces; i++)
        mem_free(s->namespaces[i].path);
    mem_free(s->namespaces);
    mem_free(s->uid_maps.v);
    mem_free(s->gid_maps.v);
    for (size_t i = 0; i < s->ndevices; i++)
        mem_free(s->devices[i].path);
    mem_free(s->devices);
    mem_free(s->rootfs_propagation);
    mem_free(s->mount_label);
}
const struct spec_namespace *spec_namespace(const struct spec *s, uint32_t type)
{
    for (size_t i = 0; i < s->nnamespaces; i++)
        if (s->namespaces[i].type == type)
            return &s->namespaces[i];
    return nullptr;
}

void spec_free(struct spec *s)
{
    if (!s)
        return;
    spec_process_free(&s->process);
    for (size_t i = 0; i < s->nmounts; i++) {
        mem_free(s->mounts[i].dest);
        mem_free(s->mounts[i].type);
        mem_free(s->mounts[i].source);
        mem_free(s->mounts[i].data);
    }
    mem_free(s->mounts);
    kvs_free(&s->annotations);
    kvs_free(&s->sysctl);
    strlist_free(&s->masked_paths);
    strlist_free(&s->readonly_paths);
    mem_free(s->seccomp.insns);
    linux_free(s);
    mem_free(s->cgroups_path);
    resources_free(&s->resources);
    mem_free(s->version);
    mem_free(s->id);
    mem_free(s->root_path);
    mem_free(s->hostname);
    mem_free(s->domainname);
    mem_free(s);
}

int strlist_add_n(struct strlist *l, const char *s, size_t n)
{
    char *copy = mem_strndup(s, n);
    char **v = copy ? mem_realloc(l->v, (l->n + 1) * sizeof(*v)) : nullptr;
    if (!v) {
        mem_free(copy);
        return -ENOMEM;
    }
    l->v = v;
    v[l->n++] = copy;
    return 0;
}
int strlist_add(struct strlist *l, const char *s)
{
    return strlist_add_n(l, s, strlen(s));
}

int spec_kv_add(struct spec_kvs *l, const char *key, const char *value)
{
    struct spec_kv kv = {mem_strdup(key), mem_strdup(value)};
    struct spec_kv *v =
        kv.key && kv.value ? mem_realloc(l->v, (l->n + 1) * sizeof(*v)) : nullptr;
    if (!v) {
        mem_free(kv.key);
        mem_free(kv.value);
        return -ENOMEM;
    }
    l->v = v;
    v[l->n++] = kv;
    return 0;
}

struct spec_mount *spec_mount_add(struct spec *s, const char *dest, const char *type,
                                  const char *source)
{
    struct spec_mount *v = mem_realloc(s->mounts, (s->nmounts + 1) * sizeof(*v));
    if (!v)
        return nullptr;
    s->mounts = v;
    struct spec_mount *m = &v[s->nmounts];
    *m = (struct spec_mount){.gofer_root = -1};
    m->dest = mem_strdup(dest);
    m->type = mem_strdup(type);
    m->source = mem_strdup(source);
    m->data = mem_strdup("");
    s->nmounts++;
    return m->dest && m->type && m->source && m->data ? m : nullptr;
}

static size_t name_len(const char *assignment)
{
    const char *eq = strchr(assignment, '=');
    return eq ? (size_t)(eq - assignment) : strlen(assignment);
}

int env_set(struct strlist *env, const char *assignment)
{
    size_t n = name_len(assignment);
    for (size_t i = 0; i < env->n; i++)
        if (name_len(env->v[i]) == n && strncmp(env->v[i], assignment, n) == 0) {
            char *copy = mem_strdup(assignment);
            if (!copy)
                return -ENOMEM;
            mem_free(env->v[i]);
            env->v[i] = copy;
            return 0;
        }
    return strlist_add(env, assignment);
}

const char *env_get(const struct strlist *env, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < env->n; i++)
        if (strncmp(env->v[i], name, n) == 0 && env->v[i][n] == '=')
            return env->v[i] + n + 1;
    return nullptr;
}
