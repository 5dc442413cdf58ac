// SPDX-License-Identifier: Apache-2.0
// Specs as bytes, see wire.h.
#include "oci/wire.h"
#include "base/slab.h"

constexpr uint32_t STR_NULL = UINT32_MAX;
constexpr uint32_t STR_MAX = 4u << 20;

static void wire_raw(struct wire *w, void *p, size_t n)
{
    if (w->bad)
        return;
    if (w->writing) {
        strbuf_put(&w->out, p, n);
        w->bad = w->out.bad;
        return;
    }
    const uint8_t *src = span_take(&w->in, n);
    if (src)
        memcpy(p, src, n);
    else
        w->bad = true;
}
void wire_u32(struct wire *w, uint32_t *v)
{
    wire_raw(w, v, sizeof(*v));
}
void wire_u64(struct wire *w, uint64_t *v)
{
    wire_raw(w, v, sizeof(*v));
}
void wire_bool(struct wire *w, bool *v)
{
    uint8_t b = w->writing ? *v : 0;
    wire_raw(w, &b, 1);
    if (b > 1)
        w->bad = true;
    if (!w->writing)
        *v = b == 1;
}
static void wire_i32(struct wire *w, int32_t *v)
{
    wire_raw(w, v, sizeof(*v));
}

void wire_str(struct wire *w, char **s)
{
    uint32_t n = w->writing ? (*s ? (uint32_t)strlen(*s) : STR_NULL) : 0;
    wire_u32(w, &n);
    if (w->bad || n == STR_NULL)
        return;
    if (w->writing) {
        wire_raw(w, *s, n);
        return;
    }
    const uint8_t *p = n <= STR_MAX ? span_take(&w->in, n) : nullptr;
    if (!p || memchr(p, 0, n) || *s || !(*s = mem_strndup((const char *)p, n)))
        w->bad = true;
}

size_t wire_array(struct wire *w, size_t *n, void **v, size_t size)
{
    uint32_t k = w->writing ? (uint32_t)*n : 0;
    wire_u32(w, &k);
    if (w->bad)
        return 0;
    if (w->writing)
        return k;
    if (k > w->in.n || *v) {
        w->bad = true;
        return 0;
    }
    if (k && !(*v = mem_alloc_array(k, size))) {
        w->bad = true;
        return 0;
    }
    *n = k;
    return k;
}
void wire_strlist(struct wire *w, struct strlist *l)
{
    size_t n = wire_array(w, &l->n, (void **)&l->v, sizeof(*l->v));
    for (size_t i = 0; i < n; i++) {
        wire_str(w, &l->v[i]);
        if (!w->bad && !l->v[i])
            w->bad = true;
    }
}
static void wire_kvs(struct wire *w, struct spec_kvs *l)
{
    size_t n = wire_array(w, &l->n, (void **)&l->v, sizeof(*l->v));
    for (size_t i = 0; i < n; i++) {
        wire_str(w, &l->v[i].key);
        wire_str(w, &l->v[i].value);
        if (!w->bad && !(l->v[i].key && l->v[i].value))
            w->bad = true;
    }
}

void wire_process(struct wire *w, struct spec_process *p)
{
    wire_bool(w, &p->terminal);
    wire_u32(w, &p->term_rows);
    wire_u32(w, &p->term_cols);
    wire_strlist(w, &p->args);
    wire_strlist(w, &p->env);
    wire_str(w, &p->cwd);
    wire_str(w, &p->user);
    wire_u32(w, &p->uid);
    wire_u32(w, &p->gid);
    wire_bool(w, &p->has_umask);
    wire_u32(w, &p->umask);
    size_t n = wire_array(w, &p->ngids, (void **)&p->gids, sizeof(*p->gids));
    for (size_t i = 0; i < n; i++)
        wire_u32(w, &p->gids[i]);
    for (int i = 0; i < CAPS_SETS; i++)
        wire_u64(w, &p->caps[i]);
    n = wire_array(w, &p->nrlimits, (void **)&p->rlimits, sizeof(*p->rlimits));
    for (size_t i = 0; i < n; i++) {
        wire_u32(w, &p->rlimits[i].which);
        wire_u64(w, &p->rlimits[i].soft);
        wire_u64(w, &p->rlimits[i].hard);
    }
    wire_bool(w, &p->no_new_privs);
    wire_bool(w, &p->has_oom_score_adj);
    wire_i32(w, &p->oom_score_adj);
}
static void wire_mount(struct wire *w, struct spec_mount *m)
{
    wire_str(w, &m->dest);
    wire_str(w, &m->type);
    wire_str(w, &m->source);
    wire_str(w, &m->data);
    wire_u32(w, &m->flags);
    wire_bool(w, &m->bind);
    wire_bool(w, &m->recursive);
    wire_i32(w, &m->gofer_root);
    wire_bool(w, &m->is_file);
    wire_u32(w, &m->dev_mode);
    wire_u32(w, &m->dev_major);
    wire_u32(w, &m->dev_minor);
    wire_bool(w, &m->optional);
    if (!w->bad && !(m->dest && m->type && m->source && m->data))
        w->bad = true;
}

static void wire_hooks(struct wire *w, struct spec_hooks *h)
{
    size_t n = wire_array(w, &h->n, (void **)&h->v, sizeof(*h->v));
    for (size_t i = 0; i < n; i++) {
        wire_str(w, &h->v[i].path);
        wire_strlist(w, &h->v[i].args);
        wire_strlist(w, &h->v[i].env);
        wire_u32(w, &h->v[i].timeout);
        if (!w->bad && !h->v[i].path)
            w->bad = true;
    }
}
static void wire_devices(struct wire *w, struct spec *s)
{
    size_t n = wire_array(w, &s->ndevices, (void **)&s->devices, sizeof(*s->devices));
    for (size_t i = 0; i < n; i++) {
        struct spec_device *d = &s->devices[i];
        wire_str(w, &d->path);
        wire_u32(w, &d->type);
        wire_u32(w, &d->major);
        wire_u32(w, &d->minor);
        wire_u32(w, &d->mode);
        wire_u32(w, &d->uid);
        wire_u32(w, &d->gid);
        if (!w->bad && !d->path)
            w->bad = true;
    }
}
// Hooks of other kinds, namespaces and id maps are the command line's business: the processes that
// it starts never hear of them.
void wire_spec(struct wire *w, struct spec *s)
{
    wire_str(w, &s->version);
    wire_str(w, &s->id);
    wire_str(w, &s->root_path);
    wire_bool(w, &s->root_readonly);
    wire_str(w, &s->hostname);
    wire_str(w, &s->domainname);
    wire_process(w, &s->process);
    size_t n = wire_array(w, &s->nmounts, (void **)&s->mounts, sizeof(*s->mounts));
    for (size_t i = 0; i < n; i++)
        wire_mount(w, &s->mounts[i]);
    wire_kvs(w, &s->annotations);
    wire_kvs(w, &s->sysctl);
    wire_strlist(w, &s->masked_paths);
    wire_strlist(w, &s->readonly_paths);
    n = wire_array(w, &s->seccomp.n, (void **)&s->seccomp.insns, sizeof(*s->seccomp.insns));
    for (size_t i = 0; i < n; i++)
        wire_u64(w, &s->seccomp.insns[i]);
    wire_u32(w, &s->seccomp.flags);
    wire_hooks(w, &s->hooks[HOOK_START_CONTAINER]);
    wire_devices(w, s);
    wire_str(w, &s->cgroups_path);
    wire_u64(w, &s->memory_limit);
    wire_u64(w, &s->pids_limit);
    if (!w->bad && s->process.args.n == 0)
        w->bad = true;
}
