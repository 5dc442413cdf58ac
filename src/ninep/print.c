// SPDX-License-Identifier: Apache-2.0
// One line of text per 9P message, for --debug logs and tests; from the rows of ninep.def. Strings
// are escaped: they come from the other side.
#include "ninep/ninep.h"

static void pr_u64(struct strbuf *b, const uint64_t *v)
{
    strbuf_fmt(b, "%llu", (unsigned long long)*v);
}
static void pr_u32(struct strbuf *b, const uint32_t *v)
{
    strbuf_fmt(b, "%u", *v);
}
static void pr_u16(struct strbuf *b, const uint16_t *v)
{
    strbuf_fmt(b, "%u", *v);
}
static void pr_u8(struct strbuf *b, const uint8_t *v)
{
    strbuf_fmt(b, "%u", *v);
}
static void pr_str(struct strbuf *b, const struct span *v)
{
    strbuf_char(b, '"');
    for (size_t i = 0; i < v->n; i++) {
        uint8_t c = v->p[i];
        if (c < ' ' || c >= 0x7f || c == '"' || c == '\\')
            strbuf_fmt(b, "\\x%02x", c);
        else
            strbuf_char(b, (char)c);
    }
    strbuf_char(b, '"');
}
#define pr_name pr_str
static void pr_names(struct strbuf *b, const struct np_names *v)
{
    for (size_t i = 0; i < v->n; i++) {
        if (i)
            strbuf_char(b, '/');
        pr_str(b, &v->v[i]);
    }
}
static void pr_qid(struct strbuf *b, const struct np_qid *q)
{
    strbuf_fmt(b, "%02x.%x.%llx", q->type, q->version, (unsigned long long)q->path);
}
static void pr_qids(struct strbuf *b, const struct np_qids *v)
{
    for (size_t i = 0; i < v->n; i++) {
        if (i)
            strbuf_char(b, ',');
        pr_qid(b, &v->v[i]);
    }
}
static void pr_attr(struct strbuf *b, const struct np_attr *a)
{
    strbuf_fmt(b, "0%o %u:%u nlink %llu size %llu", a->mode, a->uid, a->gid,
               (unsigned long long)a->nlink, (unsigned long long)a->size);
}
static void pr_nodes(struct strbuf *b, const struct np_nodes *v)
{
    struct span s = v->raw;
    struct np_qid q;
    struct np_attr a;
    strbuf_fmt(b, "%u:", v->n);
    while (np_node_get(&s, &q, &a)) {
        strbuf_char(b, ' ');
        pr_qid(b, &q);
        strbuf_char(b, ' ');
        pr_attr(b, &a);
    }
}
static void pr_data(struct strbuf *b, const struct span *v)
{
    strbuf_fmt(b, "<%zu bytes>", v->n);
}

#define MSG(name, number, fields)                                                     \
    static void pm_##name(UNUSED struct strbuf *b, UNUSED const struct np_##name *m)  \
    {                                                                                 \
        fields                                                                        \
    }
#define F(kind, name)            \
    strbuf_str(b, " " #name "="); \
    pr_##kind(b, &m->name);
#include "ninep/ninep.def"
#undef F
#undef MSG

const char *np_type_name(uint8_t type)
{
    switch (type) {
#define MSG(name, number, fields) \
    case number:                  \
        return #name;
#include "ninep/ninep.def"
#undef MSG
    default:
        return nullptr;
    }
}

void np_print(struct strbuf *b, const struct np_msg *m)
{
    const char *name = np_type_name(m->type);
    strbuf_fmt(b, "%s tag=%u", name ? name : "unknown", m->tag);
    switch (m->type) {
#define MSG(name, number, fields) \
    case number:                  \
        pm_##name(b, &m->name);   \
        break;
#include "ninep/ninep.def"
#undef MSG
    default:
        break;
    }
}
