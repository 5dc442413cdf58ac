// SPDX-License-Identifier: Apache-2.0
// Length decoder; see decode.h. Freestanding: no tables of pointers, general registers only.
#include "platform/stub/decode.h"

enum : uint8_t {
    M = 1,       // ModRM follows
    I8 = 2,      // immediate of a byte
    I16 = 4,
    IZ = 8,      // 4 bytes, 2 with the operand-size prefix
    IV = 16,     // as IZ, 8 with REX.W
    F = 32,      // INSN_FLOW
    X = 64,      // not an instruction, or not one that we want to know
    E = 128,     // INSN_END
};
#define R4(v) v, v, v, v
#define R8(v) R4(v), R4(v)
#define ALU M, M, M, M, I8, IZ, X, X
// Prefixes and escapes are taken before the table is asked.
static const uint8_t one[256] = {
    ALU, ALU, ALU, ALU, ALU, ALU, ALU, ALU,                       // 00
    R8(X), R8(X), R8(0), R8(0),                                   // 40 REX, 50 push, pop
    X, X, X, M, X, X, X, X, IZ, M | IZ, I8, M | I8, R4(0),        // 60
    R8(I8 | F), R8(I8 | F),                                       // 70 jcc
    M | I8, M | IZ, X, M | I8, R4(M), R8(M),                      // 80
    R8(0), 0, 0, X, 0, 0, 0, 0, 0,                                // 90
    R4(X), R4(0), I8, IZ, 0, 0, R4(0),                            // a0
    R8(I8), R8(IV),                                               // b0
    M | I8, M | I8, I16 | F | E, F | E, X, X, M | I8, M | IZ,     // c0
    I16 | I8, 0, I16 | F | E, F | E, F | E, I8 | F, X, F | E,     // c8
    R4(M), X, X, X, 0, R8(M),                                     // d0
    R4(I8 | F), R4(I8), IZ | F, IZ | F | E, X, I8 | F | E, R4(0), // e0
    X, F | E, X, X, F | E, 0, M, M, 0, 0, 0, 0, 0, 0, M, M,       // f0
};
static const uint8_t two[256] = {
    M, M, M, M, X, F, X, F | E, 0, 0, X, F | E, X, M, 0, X,                  // 00
    R8(M), R8(M), R4(M), R4(X), R8(M),                                       // 10, 20
    0, 0, 0, 0, F, F | E, X, 0, R8(X),                                       // 30
    R8(M), R8(M), R8(M), R8(M), R8(M), R8(M),                                // 40, 50, 60
    R4(M | I8), M, M, M, 0, M, M, X, X, R4(M),                               // 70
    R8(IZ | F), R8(IZ | F), R8(M), R8(M),                                    // 80 jcc, 90
    0, 0, 0, M, M | I8, M, X, X, 0, 0, F, M, M | I8, M, M, M,                // a0
    R8(M), M, M | F | E, M | I8, M, R4(M),                                   // b0
    M, M, M | I8, M, M | I8, M | I8, M | I8, M, R8(0),                       // c0
    R8(M), R8(M), R8(M), R8(M), R8(M), M, M, M, M, M, M, M, X,               // d0, e0, f0
};

struct state {
    const uint8_t *p;
    size_t n, at;
    bool opsize, addrsize, rep, rexw, rex, gs, vex, bad;
    uint8_t flags, disp_off;
};

static uint8_t next(struct state *s)
{
    if (s->at >= s->n) {
        s->bad = true;
        return 0;
    }
    return s->p[s->at++];
}

static uint8_t modrm(struct state *s)
{
    uint8_t b = next(s), mod = b >> 6, rm = b & 7;
    if (mod == 3)
        return b;
    size_t disp = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    if (rm == 4) {
        uint8_t sib = next(s);
        if (mod == 0 && (sib & 7) == 5)
            disp = 4;
    } else if (mod == 0 && rm == 5) {
        s->flags |= INSN_RIP;
        s->disp_off = (uint8_t)s->at;
        disp = 4;
    }
    s->at += disp;
    return b;
}

static bool prefix(struct state *s, uint8_t b)
{
    switch (b) {
    case 0x66: s->opsize = true; return true;
    case 0x67: s->addrsize = true; return true;
    case 0xf2:
    case 0xf3: s->rep = true; return true;
    case 0x65: s->gs = true; return true;
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0xf0: return true;
    }
    return false;
}

// After a VEX or EVEX prefix: the map's number and the opcode.
static uint8_t vector_op(struct state *s, unsigned map, uint8_t op)
{
    s->vex = true;
    if (s->opsize || s->rep || s->rex)
        return X;
    if (map == 3)
        return M | I8;
    if (map == 2 || map == 5 || map == 6)
        return M;
    if (map != 1)
        return X;
    if (op == 0x77)
        return 0;
    return two[op] & (X | F) ? X : M | (two[op] & I8);
}

static uint8_t vex(struct state *s, uint8_t b)
{
    uint8_t p0 = next(s);
    if (b == 0xc5)
        return vector_op(s, 1, next(s));
    (void)next(s);
    unsigned map = p0 & (b == 0x62 ? 7 : 31);
    if (b == 0x62)
        (void)next(s);
    return vector_op(s, map, next(s));
}

static uint8_t escape(struct state *s, uint8_t *op)
{
    *op = next(s);
    if (*op == 0x38) {
        (void)next(s);
        return M;
    }
    if (*op == 0x3a) {
        (void)next(s);
        return M | I8;
    }
    // Of two minds: AMD takes the operand-size prefix of near jumps for what it says.
    if ((two[*op] & F) && (two[*op] & IZ) && s->opsize)
        return X;
    return two[*op];
}

// What depends on the ModRM byte.
static uint8_t group(uint8_t op, uint8_t kind, uint8_t mrm)
{
    uint8_t reg = mrm >> 3 & 7;
    switch (op) {
    case 0x8f:
    case 0xc6:
    case 0xc7: return reg ? X : kind; // XOP, xabort, xbegin
    case 0xf6: return reg < 2 ? kind | I8 : kind;
    case 0xf7: return reg < 2 ? kind | IZ : kind;
    case 0xfe: return reg < 2 ? kind : X;
    case 0xff:
        if (reg == 7)
            return X;
        return reg >= 2 && reg <= 5 ? kind | F | (reg >= 4 ? E : 0) : kind;
    }
    return kind;
}

static void immediate(struct state *s, uint8_t kind)
{
    if (kind & I8)
        s->at += 1;
    if (kind & I16)
        s->at += 2;
    if (kind & IZ)
        s->at += s->opsize && !s->rexw ? 2 : 4;
    if (kind & IV)
        s->at += s->rexw ? 8 : s->opsize ? 2 : 4;
}

struct insn insn_decode(const uint8_t *p, size_t n)
{
    struct state s = {.p = p, .n = n < 15 ? n : 15};
    uint8_t op = next(&s), kind;
    while (!s.bad && prefix(&s, op))
        op = next(&s);
    if ((op & 0xf0) == 0x40) {
        s.rex = true;
        s.rexw = op & 8;
        op = next(&s);
        if ((op & 0xf0) == 0x40 || prefix(&s, op))
            return (struct insn){};
    }
    bool plain = false;
    if (op == 0x0f) {
        kind = escape(&s, &op);
    } else if (op == 0xc4 || op == 0xc5 || op == 0x62) {
        kind = vex(&s, op);
    } else {
        kind = one[op];
        plain = true;
        if ((op == 0xe8 || op == 0xe9) && s.opsize)
            kind = X;
        if (op >= 0xa0 && op <= 0xa3) {
            kind = 0;
            s.at += s.addrsize ? 4 : 8;
        }
    }
    if (kind & M) {
        uint8_t mrm = modrm(&s);
        if (plain)
            kind = group(op, kind, mrm);
    }
    immediate(&s, kind);
    if (s.bad || (kind & X) || s.at > s.n)
        return (struct insn){};
    if (plain && s.rep && ((op >= 0x6c && op <= 0x6f) || (op >= 0xa4 && op <= 0xaf && op != 0xa8 && op != 0xa9)))
        s.flags |= INSN_REP;
    if (s.gs)
        s.flags |= INSN_GS;
    if (s.addrsize && (s.flags & INSN_RIP))
        return (struct insn){}; // relative to eip
    return (struct insn){.len = (uint8_t)s.at,
                         .flags = (uint8_t)(s.flags | (kind & F ? INSN_FLOW : 0) |
                                            (kind & E ? INSN_END : 0)),
                         .disp_off = s.disp_off};
}

// Decoding falls into step after a few instructions wherever it starts: where nearly all starts
// agree on the last boundary, it is one.
size_t insn_before(const uint8_t *p, size_t at)
{
    constexpr size_t NEAR = 16;
    uint8_t last[INSN_LOOK]; // from here the last one before `at` has this length; 0: out of step
    unsigned votes[16] = {}, all = 0;
    size_t n = at < INSN_LOOK ? at : INSN_LOOK;
    for (size_t back = 1; back <= n; back++) {
        size_t len = insn_decode(p + at - back, back).len;
        last[back - 1] = (uint8_t)(!len ? 0 : len == back ? len : last[back - len - 1]);
        if (back < NEAR || !last[back - 1])
            continue;
        votes[last[back - 1]]++;
        all++;
    }
    unsigned best = 0;
    for (unsigned len = 1; len < 16; len++)
        if (votes[len] > votes[best])
            best = len;
    return best && votes[best] >= 8 && votes[best] * 8 >= all * 7 ? at - best : 0;
}

size_t insn_run(const uint8_t *p, size_t at)
{
    size_t start = at, len;
    do {
        size_t before = insn_before(p, start);
        if (!before || at - before > INSN_RUN_MAX)
            return 0;
        len = start - before;
        struct insn i = insn_decode(p + before, len);
        if (i.len != len || (i.flags & (INSN_FLOW | INSN_GS | INSN_REP)))
            return 0;
        if (insn_padding(p + before, len))
            return 0; // dead, perhaps, and what follows comes by a jump
        start = before;
    } while (len < INSN_JUMP);
    return at - start;
}

bool insn_move(uint8_t *p, size_t n, int64_t by)
{
    for (size_t at = 0; at < n;) {
        struct insn i = insn_decode(p + at, n - at);
        if (!i.len)
            return false;
        if (i.flags & INSN_RIP) {
            uint8_t *disp = p + at + i.disp_off;
            uint32_t v = 0;
            for (int k = 0; k < 4; k++)
                v |= (uint32_t)disp[k] << 8 * k;
            int64_t d = (int64_t)(int32_t)v - by;
            if (d != (int32_t)d)
                return false;
            for (int k = 0; k < 4; k++)
                disp[k] = (uint8_t)((uint64_t)d >> 8 * k);
        }
        at += i.len;
    }
    return true;
}

size_t insn_padding(const uint8_t *p, size_t n)
{
    size_t at = 0;
    while (at < n) {
        const uint8_t *q = p + at;
        size_t k = 0;
        while (at + k < n && k < 12 && (q[k] == 0x66 || q[k] == 0x2e))
            k++;
        if (at + k >= n)
            break;
        if (q[k] == 0x90 || (q[k] == 0xcc && !k)) {
            at += k + 1;
            continue;
        }
        struct insn i = insn_decode(q, n - at);
        if (!i.len || k + 1 >= i.len || q[k] != 0x0f || q[k + 1] != 0x1f)
            break;
        at += i.len;
    }
    return at;
}
