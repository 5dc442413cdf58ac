// SPDX-License-Identifier: Apache-2.0
// The compiler from rows to classic BPF, and an interpreter for tests.
//
// Code is generated backwards, from the last instruction to the first: the targets of a jump exist
// when the jump is made, so its distance is known, and a target beyond the reach of a conditional
// jump (255) gets an unconditional one placed in between. A label is the number of instructions
// from its target to the end of the program.
#include "host/seccomp.h"
#include "host/raw.h"
#include <errno.h>
#include <linux/audit.h>
#include <string.h>

struct gen {
    struct sock_filter *buf; // filled from the end
    size_t cap, count;
    bool full;
};
typedef size_t label_t;

constexpr uint32_t OFF_NR = offsetof(struct seccomp_data, nr);
constexpr uint32_t OFF_ARCH = offsetof(struct seccomp_data, arch);
constexpr uint32_t OFF_IP = offsetof(struct seccomp_data, instruction_pointer);
constexpr uint32_t OFF_ARGS = offsetof(struct seccomp_data, args);

static label_t emit(struct gen *g, uint16_t code, uint32_t k, size_t jt, size_t jf)
{
    if (g->count == g->cap) {
        g->full = true;
        return g->count;
    }
    g->count++;
    g->buf[g->cap - g->count] =
        (struct sock_filter){.code = code, .k = k, .jt = (uint8_t)jt, .jf = (uint8_t)jf};
    return g->count;
}
static label_t emit_ret(struct gen *g, uint32_t action)
{
    return emit(g, BPF_RET | BPF_K, action, 0, 0);
}
static label_t emit_load(struct gen *g, uint32_t off)
{
    return emit(g, BPF_LD | BPF_W | BPF_ABS, off, 0, 0);
}
// An unconditional jump to l in reach of what comes next, unless l is in reach itself (with room
// for the island of the other branch).
static label_t island(struct gen *g, label_t l)
{
    if (g->count - l < 254)
        return l;
    return emit(g, BPF_JMP | BPF_JA, (uint32_t)(g->count - l), 0, 0);
}
static label_t emit_jump(struct gen *g, uint16_t op, uint32_t k, label_t yes, label_t no)
{
    label_t y = island(g, yes), n = island(g, no);
    return emit(g, (uint16_t)(BPF_JMP | op | BPF_K), k, g->count - y, g->count - n);
}
// Falls into a label that is not the next instruction.
static label_t emit_goto(struct gen *g, label_t l)
{
    return g->count == l ? l : emit(g, BPF_JMP | BPF_JA, (uint32_t)(g->count - l), 0, 0);
}

// Both halves of the 64-bit word at off, for the comparisons below.
static label_t gen_eq(struct gen *g, uint32_t off, uint64_t v, label_t yes, label_t no)
{
    emit_jump(g, BPF_JEQ, (uint32_t)v, yes, no);
    label_t lo = emit_load(g, off);
    emit_jump(g, BPF_JEQ, (uint32_t)(v >> 32), lo, no);
    return emit_load(g, off + 4);
}
static label_t gen_masked(struct gen *g, uint32_t off, uint64_t m, uint64_t v, label_t yes,
                          label_t no)
{
    emit_jump(g, BPF_JEQ, (uint32_t)v, yes, no);
    emit(g, BPF_ALU | BPF_AND | BPF_K, (uint32_t)m, 0, 0);
    label_t lo = emit_load(g, off);
    emit_jump(g, BPF_JEQ, (uint32_t)(v >> 32), lo, no);
    emit(g, BPF_ALU | BPF_AND | BPF_K, (uint32_t)(m >> 32), 0, 0);
    return emit_load(g, off + 4);
}
static label_t gen_subset(struct gen *g, uint32_t off, uint64_t bits, label_t yes, label_t no)
{
    emit_jump(g, BPF_JSET, (uint32_t)~bits, no, yes);
    label_t lo = emit_load(g, off);
    emit_jump(g, BPF_JSET, (uint32_t)(~bits >> 32), no, lo);
    return emit_load(g, off + 4);
}
// word >= v
static label_t gen_ge(struct gen *g, uint32_t off, uint64_t v, label_t yes, label_t no)
{
    emit_jump(g, BPF_JGE, (uint32_t)v, yes, no);
    label_t lo = emit_load(g, off);
    label_t eq = emit_jump(g, BPF_JEQ, (uint32_t)(v >> 32), lo, no);
    emit_jump(g, BPF_JGT, (uint32_t)(v >> 32), yes, eq);
    return emit_load(g, off + 4);
}
static label_t gen_range(struct gen *g, uint32_t off, uint64_t a, uint64_t b, label_t yes,
                         label_t no)
{
    if (a >> 32 == b >> 32) {
        label_t gt = emit_jump(g, BPF_JGT, (uint32_t)b, no, yes);
        emit_jump(g, BPF_JGE, (uint32_t)a, gt, no);
        label_t lo = emit_load(g, off);
        emit_jump(g, BPF_JEQ, (uint32_t)(a >> 32), lo, no);
        return emit_load(g, off + 4);
    }
    label_t below = b == UINT64_MAX ? yes : gen_ge(g, off, b + 1, no, yes);
    return gen_ge(g, off, a, below, no);
}
// Values with one high half after the other; almost always that is one group.
static label_t gen_in(struct gen *g, uint32_t off, const uint64_t *list, size_t n, label_t yes,
                      label_t no)
{
    label_t next = no;
    bool reload = false;
    for (size_t i = n; i-- > 0;) {
        uint32_t hi = (uint32_t)(list[i] >> 32);
        bool seen = false;
        for (size_t k = i + 1; k < n && !seen; k++)
            seen = list[k] >> 32 == hi;
        if (seen)
            continue;
        // This is the last value of its high half: the whole group is made here.
        label_t low = no;
        for (size_t k = i + 1; k-- > 0;)
            if (list[k] >> 32 == hi)
                low = emit_jump(g, BPF_JEQ, (uint32_t)list[k], yes, low);
        low = emit_load(g, off);
        next = emit_jump(g, BPF_JEQ, hi, low, next);
        reload = true;
    }
    return reload ? emit_load(g, off + 4) : emit_goto(g, no);
}

static label_t gen_cond(struct gen *g, const struct seccomp_cond *c, label_t yes, label_t no)
{
    uint32_t off = OFF_ARGS + 8u * c->arg;
    switch (c->op) {
    case SC_OP_EQ:
        return gen_eq(g, off, c->a, yes, no);
    case SC_OP_NE:
        return gen_eq(g, off, c->a, no, yes);
    case SC_OP_SUBSET:
        return gen_subset(g, off, c->a, yes, no);
    case SC_OP_MASKED:
        return gen_masked(g, off, c->a, c->b, yes, no);
    case SC_OP_RANGE:
        return gen_range(g, off, c->a, c->b, yes, no);
    case SC_OP_IN:
        return gen_in(g, off, c->list, c->n, yes, no);
    case SC_OP_NONE:
        break;
    }
    return yes;
}

static bool rule_valid(const struct seccomp_rule *r)
{
    bool ended = false;
    for (int i = 0; i < SECCOMP_MAX_CONDS; i++) {
        const struct seccomp_cond *c = &r->c[i];
        if (c->op == SC_OP_NONE) {
            ended = true;
            continue;
        }
        if (ended || c->arg > 5 || c->op > SC_OP_RANGE || (c->op == SC_OP_IN && !(c->list && c->n)) ||
            (c->op == SC_OP_RANGE && c->a > c->b) || (c->op == SC_OP_MASKED && (c->b & ~c->a)))
            return false;
    }
    return true;
}

struct exits { // the ends of the program
    label_t allow, otherwise, bad_arch, bad_ip;
};
// Instructions outside the range see the any_ip rows only; those inside see all.
static bool in_pass(const struct seccomp_rule *r, bool outside)
{
    return !outside || r->any_ip;
}
// The instruction pointer that the kernel reports is that of the instruction after the call.
static label_t gen_ip(struct gen *g, const struct seccomp_policy *p, label_t yes, label_t no)
{
    return gen_range(g, OFF_IP, p->ip_start + 1, p->ip_end, yes, no);
}
// All alternatives of number nr; the accumulator holds anything.
static label_t gen_nr(struct gen *g, const struct seccomp_policy *p, uint32_t nr, bool outside,
                      const struct exits *x)
{
    label_t next = x->otherwise;
    bool some = false;
    for (size_t i = p->n; i-- > 0;) {
        const struct seccomp_rule *r = &p->rules[i];
        if (r->nr != nr || !in_pass(r, outside))
            continue;
        some = true;
        label_t here = r->action ? emit_ret(g, r->action) : x->allow;
        for (int k = SECCOMP_MAX_CONDS; k-- > 0;)
            here = gen_cond(g, &r->c[k], here, next);
        next = here;
    }
    return some ? emit_goto(g, next) : x->otherwise;
}

// Is rule i the first row of its number in this pass?
static bool first_of_nr(const struct seccomp_policy *p, size_t i, bool outside)
{
    for (size_t k = 0; k < i; k++)
        if (p->rules[k].nr == p->rules[i].nr && in_pass(&p->rules[k], outside))
            return false;
    return true;
}
static bool nr_is_hot(const struct seccomp_policy *p, uint32_t nr)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->rules[i].nr == nr && p->rules[i].hot)
            return true;
    return false;
}
// The smallest number above *nr (start with -1) of a row that is not hot.
static bool next_nr(const struct seccomp_policy *p, bool outside, int64_t *nr)
{
    int64_t best = -1;
    for (size_t i = 0; i < p->n; i++) {
        int64_t v = p->rules[i].nr;
        if (in_pass(&p->rules[i], outside) && v > *nr && (best < 0 || v < best) &&
            !nr_is_hot(p, (uint32_t)v))
            best = v;
    }
    if (best < 0)
        return false;
    *nr = best;
    return true;
}

constexpr size_t MAX_NUMBERS = 128;
struct leaf {
    uint32_t nr;
    label_t at;
};
// A balanced tree of comparisons over sorted leaves, the number in the accumulator. The tree is
// made bottom-up without recursion: level by level, pairs of neighbours are joined.
static label_t gen_search(struct gen *g, const struct leaf *leaves, size_t n, label_t otherwise)
{
    struct leaf node[MAX_NUMBERS]; // nr: smallest number below the node
    if (n == 0)
        return emit_goto(g, otherwise);
    for (size_t i = n; i-- > 0;)
        node[i] = (struct leaf){
            leaves[i].nr, emit_jump(g, BPF_JEQ, leaves[i].nr, leaves[i].at, otherwise)};
    while (n > 1) {
        size_t out = n / 2 + n % 2;
        struct leaf up[MAX_NUMBERS];
        for (size_t i = out; i-- > 0;) {
            if (2 * i + 1 == n) {
                up[i] = node[2 * i];
                continue;
            }
            up[i] = (struct leaf){node[2 * i].nr, emit_jump(g, BPF_JGE, node[2 * i + 1].nr,
                                                            node[2 * i + 1].at, node[2 * i].at)};
        }
        for (size_t i = 0; i < out; i++)
            node[i] = up[i];
        n = out;
    }
    return emit_goto(g, node[0].at);
}
// Dispatch over the rows of a pass: hot numbers in row order, then the search.
static label_t gen_dispatch(struct gen *g, const struct seccomp_policy *p, bool outside,
                            label_t otherwise, const struct exits *x)
{
    struct leaf cold[MAX_NUMBERS], hot[MAX_NUMBERS];
    size_t ncold = 0, nhot = 0;
    for (int64_t nr = -1; next_nr(p, outside, &nr);) {
        if (ncold == MAX_NUMBERS) {
            g->full = true;
            return otherwise;
        }
        cold[ncold++].nr = (uint32_t)nr;
    }
    for (size_t i = 0; i < p->n; i++)
        if (in_pass(&p->rules[i], outside) && first_of_nr(p, i, outside) && nr_is_hot(p, p->rules[i].nr)) {
            if (nhot == MAX_NUMBERS) {
                g->full = true;
                return otherwise;
            }
            hot[nhot++].nr = p->rules[i].nr;
        }
    for (size_t i = ncold; i-- > 0;)
        cold[i].at = gen_nr(g, p, cold[i].nr, outside, x);
    for (size_t i = nhot; i-- > 0;)
        hot[i].at = gen_nr(g, p, hot[i].nr, outside, x);
    label_t at = gen_search(g, cold, ncold, otherwise);
    for (size_t i = nhot; i-- > 0;)
        at = emit_jump(g, BPF_JEQ, hot[i].nr, hot[i].at, at);
    return at;
}

static bool any_ip_rows(const struct seccomp_policy *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->rules[i].any_ip)
            return true;
    return false;
}

int seccomp_compile(const struct seccomp_policy *p, struct sock_filter *out, size_t cap)
{
    if (cap > SECCOMP_MAX_INSNS)
        cap = SECCOMP_MAX_INSNS;
    if (p->ip_check && (p->ip_start >= p->ip_end))
        return -EINVAL;
    for (size_t i = 0; i < p->n; i++)
        if (!rule_valid(&p->rules[i]) || (p->rules[i].any_ip && !p->ip_check))
            return -EINVAL;
    struct gen g = {.buf = out, .cap = cap};
    struct exits x;
    x.allow = emit_ret(&g, SECCOMP_RET_ALLOW);
    x.otherwise = emit_ret(&g, p->otherwise);
    x.bad_arch = emit_ret(&g, p->bad_arch);
    x.bad_ip = p->ip_check ? emit_ret(&g, p->bad_ip) : x.otherwise;
    gen_dispatch(&g, p, false, x.otherwise, &x);
    label_t at = emit_load(&g, OFF_NR);
    if (p->ip_check) {
        label_t outside = x.bad_ip;
        if (any_ip_rows(p)) {
            struct exits y = x;
            y.otherwise = x.bad_ip;
            gen_dispatch(&g, p, true, x.bad_ip, &y);
            outside = emit_load(&g, OFF_NR);
        }
        at = gen_ip(&g, p, at, outside);
    }
    emit_jump(&g, BPF_JEQ, AUDIT_ARCH_X86_64, at, x.bad_arch);
    emit_load(&g, OFF_ARCH);
    if (g.full)
        return -E2BIG;
    for (size_t i = 0; i < g.count; i++)
        out[i] = out[cap - g.count + i];
    return (int)g.count;
}

int seccomp_install(const struct sock_filter *prog, size_t n, unsigned flags)
{
    struct sock_fprog fp = {.len = (unsigned short)n, .filter = (struct sock_filter *)prog};
    if (n == 0 || n > SECCOMP_MAX_INSNS)
        return -EINVAL;
    long r = host_call(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &fp);
    return r > 0 ? -ESRCH : (int)r;
}

uint32_t seccomp_eval(const struct sock_filter *prog, size_t n, const struct seccomp_data *d)
{
    uint32_t acc = 0;
    for (size_t pc = 0; pc < n; pc++) {
        const struct sock_filter *f = &prog[pc];
        bool take;
        switch (f->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            if (f->k > sizeof(*d) - 4 || f->k % 4)
                return SECCOMP_RET_KILL_PROCESS;
            memcpy(&acc, (const char *)d + f->k, 4);
            continue;
        case BPF_ALU | BPF_AND | BPF_K:
            acc &= f->k;
            continue;
        case BPF_RET | BPF_K:
            return f->k;
        case BPF_JMP | BPF_JA:
            pc += f->k;
            continue;
        case BPF_JMP | BPF_JEQ | BPF_K:
            take = acc == f->k;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            take = acc > f->k;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            take = acc >= f->k;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            take = acc & f->k;
            break;
        default:
            return SECCOMP_RET_KILL_PROCESS;
        }
        pc += take ? f->jt : f->jf;
    }
    return SECCOMP_RET_KILL_PROCESS;
}
