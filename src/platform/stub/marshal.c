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
    uint64_t size = m >> MARSHAL_SIZE_SHIFT, n = 1;
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

void stub_marshal(struct slot *s, const struct stub_ucontext *uc)
{
    const uint64_t a[6] = {uc->rdi, uc->rsi, uc->rdx, uc->r10, uc->r8, uc->r9};
    uint64_t nr = (uint32_t)uc->rax;
    struct slot_marshal *m = &s->marshal;
    uint8_t *data = (uint8_t *)s + SLOT_DATA_OFF;
    uint32_t used = 0, valid = 0;
    uint32_t any = nr < MARSHAL_ROWS ? stub_table[nr].any : 0;
    for (; any; any &= any - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(any) % 6, room = SLOT_DATA_SIZE - 8 - used;
        uint16_t how = stub_table[nr].arg[i];
        if (!plausible(a[i]))
            continue;
        if (how & MARSHAL_STR) {
            uint64_t max = room < MARSHAL_STR_MAX ? room : MARSHAL_STR_MAX;
            int64_t n = stub_copy_str(data + used, user(a[i]), max);
            if (n <= 0)
                continue;
            m->in_off[i] = (uint16_t)used;
            m->in_len[i] = (uint16_t)n;
            used = (used + (uint32_t)n + 7) & ~7u;
            valid |= 1u << i;
            continue;
        }
        uint64_t n = arg_len(how, a, i);
        if ((how & MARSHAL_IN) && n && n <= MARSHAL_IN_MAX && n <= room &&
            stub_copy(data + used, user(a[i]), n) == 0) {
            m->in_off[i] = (uint16_t)used;
            m->in_len[i] = (uint16_t)n;
            used = (used + (uint32_t)n + 7) & ~7u;
            valid |= 1u << i;
        }
        if ((how & MARSHAL_OUT) && n) {
            m->out_len[i] = (uint16_t)probe(a[i], n < MARSHAL_OUT_MAX ? n : MARSHAL_OUT_MAX);
            valid |= 0x100u << i;
        }
    }
    STORE(m->valid, valid);
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
