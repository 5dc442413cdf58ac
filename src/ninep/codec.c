// SPDX-License-Identifier: Apache-2.0
// 9P2000.L encoder, decoder and printer, made from the rows of ninep.def. See ninep.h for what is
// checked; the input is hostile whoever calls.
#include "ninep/ninep.h"
#include <errno.h>

// --- decoding: one reader per kind ---
static void get_u8(struct span *s, uint8_t *v)
{
    *v = span_u8(s);
}
static void get_u16(struct span *s, uint16_t *v)
{
    *v = span_u16le(s);
}
static void get_u32(struct span *s, uint32_t *v)
{
    *v = span_u32le(s);
}
static void get_u64(struct span *s, uint64_t *v)
{
    *v = span_u64le(s);
}
static void get_str(struct span *s, struct span *v)
{
    *v = span_sub(s, span_u16le(s));
    if (v->n > NP_STR_MAX || (v->n && memchr(v->p, 0, v->n)))
        s->bad = true;
}
static void get_name(struct span *s, struct span *v)
{
    get_str(s, v);
    // ".." is legal in a plain walk; whoever opens things asks np_name_ok.
    if (!v->n || v->n > NP_NAME_MAX || memchr(v->p, '/', v->n))
        s->bad = true;
}
static void get_names(struct span *s, struct np_names *v)
{
    v->n = span_u16le(s);
    if (v->n > NP_MAXWALK) {
        v->n = 0;
        s->bad = true;
    }
    for (size_t i = 0; i < v->n && span_ok(s); i++)
        get_name(s, &v->v[i]);
}
static void get_qid(struct span *s, struct np_qid *q)
{
    q->type = span_u8(s);
    q->version = span_u32le(s);
    q->path = span_u64le(s);
}
static void get_qids(struct span *s, struct np_qids *v)
{
    v->n = span_u16le(s);
    if (v->n > NP_MAXWALK) {
        v->n = 0;
        s->bad = true;
    }
    for (size_t i = 0; i < v->n; i++)
        get_qid(s, &v->v[i]);
}
static void get_attr(struct span *s, struct np_attr *a)
{
    a->mode = span_u32le(s);
    a->uid = span_u32le(s);
    a->gid = span_u32le(s);
    for (uint64_t *p = &a->nlink; p <= &a->data_version; p++)
        *p = span_u64le(s);
}
static void get_nodes(struct span *s, struct np_nodes *v)
{
    v->n = span_u16le(s);
    if (v->n > NP_MAXWALK) {
        v->n = 0;
        s->bad = true;
    }
    v->raw = span_sub(s, v->n * NP_NODE_SIZE);
}
static void get_data(struct span *s, struct span *v)
{
    *v = span_sub(s, span_u32le(s));
}

// --- encoding ---
static void put_u8(struct wspan *w, const uint8_t *v)
{
    wspan_u8(w, *v);
}
static void put_u16(struct wspan *w, const uint16_t *v)
{
    wspan_u16le(w, *v);
}
static void put_u32(struct wspan *w, const uint32_t *v)
{
    wspan_u32le(w, *v);
}
static void put_u64(struct wspan *w, const uint64_t *v)
{
    wspan_u64le(w, *v);
}
static void put_str(struct wspan *w, const struct span *v)
{
    if (v->n > NP_STR_MAX)
        w->bad = true;
    wspan_u16le(w, (uint16_t)v->n);
    wspan_put(w, v->p, v->n);
}
#define put_name put_str
static void put_names(struct wspan *w, const struct np_names *v)
{
    if (v->n > NP_MAXWALK) {
        w->bad = true;
        return;
    }
    wspan_u16le(w, v->n);
    for (size_t i = 0; i < v->n; i++)
        put_str(w, &v->v[i]);
}
static void put_qid(struct wspan *w, const struct np_qid *q)
{
    wspan_u8(w, q->type);
    wspan_u32le(w, q->version);
    wspan_u64le(w, q->path);
}
static void put_qids(struct wspan *w, const struct np_qids *v)
{
    if (v->n > NP_MAXWALK) {
        w->bad = true;
        return;
    }
    wspan_u16le(w, v->n);
    for (size_t i = 0; i < v->n; i++)
        put_qid(w, &v->v[i]);
}
static void put_attr(struct wspan *w, const struct np_attr *a)
{
    wspan_u32le(w, a->mode);
    wspan_u32le(w, a->uid);
    wspan_u32le(w, a->gid);
    for (const uint64_t *p = &a->nlink; p <= &a->data_version; p++)
        wspan_u64le(w, *p);
}
static void put_nodes(struct wspan *w, const struct np_nodes *v)
{
    if (v->raw.n != v->n * NP_NODE_SIZE) {
        w->bad = true;
        return;
    }
    wspan_u16le(w, v->n);
    wspan_put(w, v->raw.p, v->raw.n);
}
static void put_data(struct wspan *w, const struct span *v)
{
    if (v->n > NP_MSIZE_MAX) {
        w->bad = true;
        return;
    }
    wspan_u32le(w, (uint32_t)v->n);
    // A server reads file data straight into the place where the reply has it.
    if (!w->bad && v->p == w->p + w->used && v->n <= w->n - w->used)
        w->used += v->n;
    else
        wspan_put(w, v->p, v->n);
}

#define MSG(name, number, fields)                                                     \
    static void dec_##name(UNUSED struct span *s, UNUSED struct np_##name *m) \
    {                                                                                 \
        fields                                                                        \
    }
#define F(kind, name) get_##kind(s, &m->name);
#include "ninep/ninep.def"
#undef F
#undef MSG
#define MSG(name, number, fields)                                                            \
    static void enc_##name(UNUSED struct wspan *w, UNUSED const struct np_##name *m) \
    {                                                                                        \
        fields                                                                               \
    }
#define F(kind, name) put_##kind(w, &m->name);
#include "ninep/ninep.def"
#undef F
#undef MSG

uint32_t np_frame_size(const void *p, size_t n)
{
    struct span s = span_of(p, n);
    return span_u32le(&s);
}

int np_decode(const void *p, size_t n, struct np_msg *m)
{
    struct span s = span_of(p, n);
    uint32_t size = span_u32le(&s);
    m->type = span_u8(&s);
    m->tag = span_u16le(&s);
    if (!span_ok(&s)) {
        m->tag = NP_NOTAG;
        return -EPROTO;
    }
    if (size != n)
        return -EPROTO;
    switch (m->type) {
#define MSG(name, number, fields) \
    case number:                  \
        dec_##name(&s, &m->name); \
        break;
#include "ninep/ninep.def"
#undef MSG
    default:
        return -EPROTO;
    }
    return span_ok(&s) && s.n == 0 ? 0 : -EPROTO;
}

int np_encode(struct wspan *w, const struct np_msg *m)
{
    size_t start = w->used;
    wspan_u32le(w, 0);
    wspan_u8(w, m->type);
    wspan_u16le(w, m->tag);
    switch (m->type) {
#define MSG(name, number, fields) \
    case number:                  \
        enc_##name(w, &m->name);  \
        break;
#include "ninep/ninep.def"
#undef MSG
    default:
        w->bad = true;
    }
    if (w->bad)
        return -EMSGSIZE;
    uint32_t size = (uint32_t)(w->used - start);
    memcpy(w->p + start, &size, sizeof(size));
    return 0;
}

bool np_name_ok(struct span s)
{
    if (s.bad || !s.n || s.n > NP_NAME_MAX || memchr(s.p, '/', s.n) || memchr(s.p, 0, s.n))
        return false;
    return !(s.p[0] == '.' && (s.n == 1 || (s.n == 2 && s.p[1] == '.')));
}

bool np_node_get(struct span *s, struct np_qid *q, struct np_attr *a)
{
    if (!s->n)
        return false;
    get_qid(s, q);
    get_attr(s, a);
    return span_ok(s);
}
void np_node_put(struct wspan *w, const struct np_qid *q, const struct np_attr *a)
{
    put_qid(w, q);
    put_attr(w, a);
}

static bool dirent_get(struct span *s, struct np_dirent *d, bool plus)
{
    if (!s->n)
        return false;
    get_qid(s, &d->qid);
    d->offset = span_u64le(s);
    d->type = span_u8(s);
    d->has_attr = plus && span_u8(s);
    if (d->has_attr)
        get_attr(s, &d->attr);
    get_name(s, &d->name);
    return span_ok(s);
}
static bool dirent_put(struct wspan *w, const struct np_dirent *d, bool plus)
{
    size_t mark = w->used;
    put_qid(w, &d->qid);
    wspan_u64le(w, d->offset);
    wspan_u8(w, d->type);
    if (plus)
        wspan_u8(w, d->has_attr);
    if (plus && d->has_attr)
        put_attr(w, &d->attr);
    put_name(w, &d->name);
    if (!w->bad)
        return true;
    w->used = mark;
    w->bad = false;
    return false;
}
bool np_dirent_get(struct span *s, struct np_dirent *d)
{
    return dirent_get(s, d, false);
}
bool np_dirent_put(struct wspan *w, const struct np_dirent *d)
{
    return dirent_put(w, d, false);
}
bool np_dirent_plus_get(struct span *s, struct np_dirent *d)
{
    return dirent_get(s, d, true);
}
bool np_dirent_plus_put(struct wspan *w, const struct np_dirent *d)
{
    return dirent_put(w, d, true);
}

bool np_name_next(struct span *s, struct span *name)
{
    if (!s->n)
        return false;
    get_name(s, name);
    return span_ok(s);
}
bool np_name_add(struct wspan *w, struct span name)
{
    size_t mark = w->used;
    put_name(w, &name);
    if (!w->bad)
        return true;
    w->used = mark;
    w->bad = false;
    return false;
}
bool np_tree_get(struct span *s, struct np_tree_dir *d)
{
    if (!s->n)
        return false;
    d->parent = span_u32le(s);
    d->ino = span_u64le(s);
    get_name(s, &d->name);
    d->entries = span_sub(s, span_u32le(s));
    if (span_ok(s) && !np_name_ok(d->name))
        s->bad = true;
    return span_ok(s);
}
size_t np_tree_begin(struct wspan *w, uint32_t parent, uint64_t ino, struct span name)
{
    size_t mark = w->used;
    wspan_u32le(w, parent);
    wspan_u64le(w, ino);
    put_name(w, &name);
    wspan_u32le(w, 0);
    if (!w->bad)
        return w->used;
    w->used = mark;
    w->bad = false;
    return 0;
}
void np_tree_end(struct wspan *w, size_t begin)
{
    struct wspan len = wspan_of(w->p + begin - 4, 4);
    wspan_u32le(&len, (uint32_t)(w->used - begin));
}
bool np_opened_get(struct span *s, struct np_opened *o)
{
    if (!s->n)
        return false;
    uint8_t open = span_u8(s);
    o->open = open;
    o->ino = span_u64le(s);
    if (open > 1)
        s->bad = true;
    return span_ok(s);
}
bool np_opened_put(struct wspan *w, const struct np_opened *o)
{
    size_t mark = w->used;
    wspan_u8(w, o->open);
    wspan_u64le(w, o->ino);
    if (!w->bad)
        return true;
    w->used = mark;
    w->bad = false;
    return false;
}
