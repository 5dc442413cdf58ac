// SPDX-License-Identifier: Apache-2.0
// Marshalling in the stub: arguments into the slot's data area before a call is handed over, results
// from there into the guest's memory before it returns. Runs on the guest's behalf with the guest's
// rights; every access to its memory may fault and is then left to the Sentry, who finds out why.
// The table is read-only here; what the guest makes of slot or table concerns its own memory only.
#include "platform/stub/marshal.h"

HIDDEN int64_t stub_copy_str(void *dst, const void *src, uint64_t max);
HIDDEN uint64_t stub_probe(uint64_t addr);
extern HIDDEN const struct marshal_row stub_table[MARSHAL_ROWS];

AI void *user(uint64_t addr)
{
    return (void *)(uintptr_t)addr;
}

// The length of argument i in bytes; over the limits when there is none to be had.
static uint64_t arg_len(uint16_t m, const uint64_t a[6], uint32_t i)
{
    uint64_t size = marshal_size(m), n = 1;
    uint32_t ref = 0;
    switch (m & MARSHAL_LEN) {
    case MARSHAL_NEXT: n = i < 5 ? a[i + 1] : 0; break;
    case MARSHAL_PREV: n = i > 0 ? a[i - 1] : 0; break;
    case MARSHAL_REF:
        if (i < 5 && a[i + 1] && stub_copy(&ref, user(a[i + 1]), 4) == 0)
            n = ref;
        break;
    }
    return n > 0x100000 ? 0x100000 : n * size;
}

// Bytes of [addr, addr+len) from its start that may be written.
static uint32_t probe(uint64_t addr, uint64_t len)
{
    uint64_t end = addr + len;
    for (uint64_t at = addr; at < end; at = (at | 4095) + 1)
        if (stub_probe(at))
            return (uint32_t)(at - addr);
    return (uint32_t)len;
}

// Below the stub's region, so that the slot never names the stub's own pages.
AI bool plausible(uint64_t addr)
{
    return addr && addr < 0x7f0000000000 - 0x100000;
}

// One call's data area.
struct area {
    struct slot_marshal *m;
    uint8_t *data;
    uint32_t used, probed;
};

// n bytes of guest memory: their offset in the data area, or ~0.
static uint32_t take_in(struct area *ar, uint64_t addr, uint64_t n)
{
    uint32_t off = ar->used;
    if (!n || n > MARSHAL_IN_MAX || n > SLOT_DATA_SIZE - 8 - off || !plausible(addr) ||
        stub_copy(ar->data + off, user(addr), n))
        return ~0u;
    ar->used = (off + (uint32_t)n + 7) & ~7u;
    return off;
}

// A buffer that is no argument itself. Its offset, or ~0.
static uint32_t take_extra(struct area *ar, uint64_t addr, uint64_t n, bool out)
{
    struct slot_marshal *m = ar->m;
    uint32_t off = SLOT_PROBED, i = m->nextra;
    if (!n || i >= SLOT_EXTRA_MAX || !plausible(addr))
        return ~0u;
    if (out) {
        uint32_t room = ar->probed < MARSHAL_OUT_MAX ? MARSHAL_OUT_MAX - ar->probed : 0;
        n = probe(addr, n < room ? n : room);
        ar->probed += (uint32_t)n;
    } else if ((off = take_in(ar, addr, n)) == ~0u) {
        return ~0u;
    }
    m->extra[i].addr = addr;
    m->extra[i].off = off;
    m->extra[i].len = (uint32_t)n;
    m->nextra = i + 1;
    return off;
}

static void take_vector(struct area *ar, uint32_t off, uint64_t n, bool out)
{
    for (uint64_t i = 0; i < n && ar->m->nextra < SLOT_EXTRA_MAX; i++) {
        const uint64_t *v = (const uint64_t *)(ar->data + off) + 2 * i;
        take_extra(ar, v[0], v[1], out);
    }
}

// struct msghdr: name, its length, vector, its length, control data, its length.
static void take_message(struct area *ar, uint32_t off, bool out)
{
    const uint64_t *h = (const uint64_t *)(ar->data + off);
    uint64_t name = h[0], nname = (uint32_t)h[1], vec = h[2], nvec = h[3], ctl = h[4], nctl = h[5];
    if (nname <= 128)
        take_extra(ar, name, nname, out);
    if (nctl <= MARSHAL_CONTROL_MAX || out)
        take_extra(ar, ctl, nctl < MARSHAL_CONTROL_MAX ? nctl : MARSHAL_CONTROL_MAX, out);
    if (nvec <= 64) {
        uint32_t at = take_extra(ar, vec, nvec * MARSHAL_IOVEC, false);
        if (at != ~0u)
            take_vector(ar, at, nvec, out);
    }
}

static void take_nested(struct area *ar, uint16_t how, uint32_t off, uint64_t n)
{
    bool out = how & MARSHAL_NEST_OUT;
    if (marshal_size(how) == MARSHAL_MSGHDR)
        take_message(ar, off, out);
    else
        take_vector(ar, off, n / MARSHAL_IOVEC, out);
}

// The string argument at addr: its length, 0: not within the room that is left, or a fault.
static uint32_t take_str(struct area *ar, uint64_t addr)
{
    uint32_t room = SLOT_DATA_SIZE - 8 - ar->used;
    int64_t n = stub_copy_str(ar->data + ar->used, user(addr),
                              room < MARSHAL_STR_MAX ? room : MARSHAL_STR_MAX);
    if (n <= 0)
        return 0;
    ar->used = (ar->used + (uint32_t)n + 7) & ~7u;
    return (uint32_t)n;
}

void stub_marshal(struct slot *s, const struct stub_ucontext *uc)
{
    const uint64_t a[6] = {uc->rdi, uc->rsi, uc->rdx, uc->r10, uc->r8, uc->r9};
    uint64_t nr = (uint32_t)uc->rax;
    struct slot_marshal *m = &s->marshal;
    struct area ar = {.m = m, .data = (uint8_t *)s + SLOT_DATA_OFF};
    uint32_t valid = 0, any = nr < MARSHAL_ROWS ? stub_table[nr].any : 0;
    if (!any) {
        if (m->valid)
            m->valid = 0;
        return;
    }
    m->nextra = 0;
    for (; any; any &= any - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(any) % 6, off = ar.used;
        uint16_t how = stub_table[nr].arg[i];
        if (!plausible(a[i]))
            continue;
        if (how & MARSHAL_STR) {
            uint32_t n = take_str(&ar, a[i]);
            m->in_off[i] = (uint16_t)off;
            m->in_len[i] = (uint16_t)n;
            valid |= n ? 1u << i : 0;
            continue;
        }
        uint64_t n = arg_len(how, a, i);
        if ((how & MARSHAL_OUT) && n) {
            m->out_len[i] = (uint16_t)probe(a[i], n < MARSHAL_OUT_MAX ? n : MARSHAL_OUT_MAX);
            valid |= 0x100u << i;
        }
        if ((how & MARSHAL_IN) && take_in(&ar, a[i], n) != ~0u) {
            m->in_off[i] = (uint16_t)off;
            m->in_len[i] = (uint16_t)n;
            valid |= 1u << i;
            if (how & MARSHAL_NEST)
                take_nested(&ar, how, off, n);
        }
    }
    m->valid = valid | (m->nextra ? 1u << 31 : 0);
}

bool stub_unmarshal(struct slot *s)
{
    struct slot_marshal *m = &s->marshal;
    uint32_t n = m->nout;
    bool ok = true;
    m->nout = 0;
    for (uint32_t i = 0; i < n && i < SLOT_OUT_MAX; i++)
        if (stub_copy(user(m->out[i].addr),
                      (uint8_t *)s + SLOT_DATA_OFF + m->out[i].off % SLOT_DATA_SIZE, m->out[i].len))
            ok = false;
    return ok;
}
