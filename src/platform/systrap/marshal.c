// SPDX-License-Identifier: Apache-2.0
// Copies from and to guest memory: from what the stub marshalled with the system call that the current
// fiber answers, into what it is to write when it returns, else through process_vm_readv/writev.
//
// The stub's word counts for nothing but its own memory: a lie about an argument's bytes is the
// guest's own bytes at another time, one about a writable buffer an EFAULT at the return. Offsets and
// lengths are read once, bounded, and kept in st_marshal; the bytes are copied once. Results wait in
// the slot only if they lie in a probed argument and no mapping changed since; whatever else reads or
// writes that memory in the same call has them written first, so the order of effects is kept.
#include "abi/errno.h"
#include "host/raw.h"
#include "platform/systrap/systrap.h"
#include <string.h>

// --- the slot ------------------------------------------------------------------------------------
// A range of guest memory that the stub says to have copied in at off, or probed.
static void range_add(struct st_marshal *m, uint64_t addr, uint32_t off, uint32_t len)
{
    if (off != SLOT_PROBED) {
        if (len > SLOT_DATA_SIZE || off > SLOT_DATA_SIZE - len)
            return;
        m->used = MAX(m->used, off + len);
    }
    if (len)
        m->r[m->n++] = (struct slot_out){addr, off, len};
}

void st_marshal_take(struct st_context *c, const struct user_regs *r)
{
    struct slot_marshal *s = &c->slot->marshal;
    struct st_marshal *m = &c->m;
    uint32_t nr = (uint32_t)r->orig_rax;
    uint32_t any = marshal_rows && nr < MARSHAL_ROWS ? marshal_rows[nr].any : 0;
    m->n = m->used = m->nout = 0;
    m->failed = false;
    if (!any)
        return;
    uint32_t valid = READ_SHARED(s->valid);
    const uint64_t a[6] = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9};
    for (uint32_t bits = (valid | valid >> 8) & any; bits; bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(bits);
        if (valid & 1u << i)
            range_add(m, a[i], READ_SHARED(s->in_off[i]), READ_SHARED(s->in_len[i]));
        if (valid & 0x100u << i)
            range_add(m, a[i], SLOT_PROBED, READ_SHARED(s->out_len[i]));
    }
    uint32_t extra = valid >> 31 ? READ_SHARED(s->nextra) : 0;
    for (uint32_t i = 0; i < extra && i < SLOT_EXTRA_MAX; i++)
        range_add(m, READ_SHARED(s->extra[i].addr), READ_SHARED(s->extra[i].off),
                  READ_SHARED(s->extra[i].len));
    m->used = (m->used + 15) & ~15u;
    m->shape = __atomic_load_n(&st_space_of(c)->shape, __ATOMIC_SEQ_CST);
    fiber_set_local(c);
}

bool st_marshal_send(struct st_context *c)
{
    struct slot_marshal *s = &c->slot->marshal;
    struct st_marshal *m = &c->m;
    uint32_t n = m->nout;
    if (!n)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        WRITE_SHARED(s->out[i].addr, m->pending[i].addr);
        WRITE_SHARED(s->out[i].off, m->pending[i].off);
        WRITE_SHARED(s->out[i].len, m->pending[i].len);
    }
    WRITE_SHARED(s->nout, n);
    m->nout = 0;
    return true;
}

void st_marshal_end(struct st_context *c)
{
    c->m.n = 0;
}

// --- the running call ----------------------------------------------------------------------------
static struct st_context *running(struct aspace *as)
{
    struct st_context *c = fiber_local();
    return c && c->base.as == as && (c->m.n | c->m.nout) ? c : nullptr;
}
static uint8_t *data_of(struct st_context *c)
{
    return (uint8_t *)c->slot + SLOT_DATA_OFF;
}
static bool overlap(uint64_t a, uint64_t na, uint64_t b, uint64_t nb)
{
    return a < b + nb && b < a + na;
}

// What waits is written now: somebody wants to see it.
static void flush(struct st_context *c)
{
    struct st_marshal *m = &c->m;
    for (uint32_t i = 0; i < m->nout; i++) {
        struct slot_out *o = &m->pending[i];
        if (guest_write(st_space_of(c)->pid, UADDR(o->addr), data_of(c) + o->off, o->len) !=
            (long)o->len)
            m->failed = true;
    }
    m->nout = 0;
}
static void flush_overlap(struct st_context *c, uint64_t addr, size_t n)
{
    for (uint32_t i = 0; i < c->m.nout; i++) {
        if (overlap(addr, n, c->m.pending[i].addr, c->m.pending[i].len)) {
            flush(c);
            return;
        }
    }
}
// Memory is about to change: what was copied in from there counts no longer.
static void forget_overlap(struct st_context *c, uint64_t addr, size_t n)
{
    for (uint32_t i = 0; i < c->m.n; i++) {
        struct slot_out *r = &c->m.r[i];
        if (r->off != SLOT_PROBED && overlap(addr, n, r->addr, r->len))
            r->len = 0;
    }
}

// Offset in the data area of marshalled guest bytes, and how many there are from addr on; 0: none.
static size_t find_in(const struct st_marshal *m, uint64_t addr, uint32_t *off)
{
    for (uint32_t i = 0; i < m->n; i++) {
        const struct slot_out *r = &m->r[i];
        uint64_t at = addr - r->addr;
        if (r->off != SLOT_PROBED && at < r->len) {
            *off = r->off + (uint32_t)at;
            return r->len - (size_t)at;
        }
    }
    return 0;
}

static bool may_wait(struct st_context *c, uint64_t addr, size_t n)
{
    const struct st_marshal *m = &c->m;
    for (uint32_t i = 0; i < m->n; i++) {
        const struct slot_out *r = &m->r[i];
        uint64_t at = addr - r->addr;
        if (r->off == SLOT_PROBED && at < r->len && n <= r->len - at)
            return m->shape == __atomic_load_n(&st_space_of(c)->shape, __ATOMIC_SEQ_CST);
    }
    return false;
}

// True: the stub will write it.
static bool put_out(struct st_context *c, uint64_t addr, const void *src, size_t n)
{
    struct st_marshal *m = &c->m;
    if (!m->n || n > SLOT_DATA_SIZE - m->used || !may_wait(c, addr, n))
        return false;
    struct slot_out *last = m->nout ? &m->pending[m->nout - 1] : nullptr;
    bool joins = last && last->addr + last->len == addr && last->off + last->len == m->used;
    if (!joins && m->nout == SLOT_OUT_MAX)
        return false;
    memcpy(data_of(c) + m->used, src, n);
    if (joins)
        last->len += (uint32_t)n;
    else
        m->pending[m->nout++] = (struct slot_out){addr, m->used, (uint32_t)n};
    m->used += (uint32_t)n;
    return true;
}

long st_read_mem(struct aspace *as, void *dst, uaddr_t src, size_t n)
{
    struct st_context *c = running(as);
    uint32_t off;
    if (st_prove(st_as(as)) || (st_as(as)->batch && st_batch_flush(st_as(as))))
        return -ESRCH;
    if (c) {
        if (find_in(&c->m, src.v, &off) >= n && n) {
            memcpy(dst, data_of(c) + off, n);
            return (long)n;
        }
        flush_overlap(c, src.v, n);
    }
    return guest_read(st_as(as)->pid, dst, src, n);
}

long st_write_mem(struct aspace *as, uaddr_t dst, const void *src, size_t n)
{
    struct st_context *c = running(as);
    if (st_prove(st_as(as)))
        return -ESRCH;
    if (st_as(as)->batch) {
        if (st_batch_copy(st_as(as), dst, src, n))
            return (long)n;
        if (st_batch_flush(st_as(as)))
            return -ESRCH;
    }
    if (c && n) {
        forget_overlap(c, dst.v, n);
        if (put_out(c, dst.v, src, n))
            return (long)n;
        flush_overlap(c, dst.v, n);
    }
    return guest_write(st_as(as)->pid, dst, src, n);
}

long st_copy_vec(struct aspace *as, bool write, void *buf, const struct pvec *v, size_t n)
{
    struct st_context *c = running(as);
    if (st_prove(st_as(as)) || (st_as(as)->batch && st_batch_flush(st_as(as))))
        return -ESRCH;
    for (size_t i = 0; c && i < n; i++) {
        if (write)
            forget_overlap(c, v[i].addr, v[i].len);
        flush_overlap(c, v[i].addr, v[i].len);
    }
    return guest_copy_vec(st_as(as)->pid, write, buf, v, n);
}

size_t st_read_str(struct aspace *as, char *dst, uaddr_t src, size_t size)
{
    struct st_context *c = running(as);
    uint32_t off;
    size_t n = c && !st_dead(st_as(as)) ? find_in(&c->m, src.v, &off) : 0;
    n = MIN(n, size);
    if (!n)
        return 0;
    memcpy(dst, data_of(c) + off, n); // once: the guest may change it meanwhile
    const char *nul = memchr(dst, 0, n);
    return nul ? (size_t)(nul - dst) + 1 : 0;
}
