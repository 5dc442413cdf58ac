// SPDX-License-Identifier: Apache-2.0
// The compiler against an oracle that reads the rows directly, over random policies and arguments at
// the edges of both halves of the word.
#include "host/seccomp.h"
#include "base/test.h"
#include <asm/unistd.h>
#include <errno.h>
#include <linux/audit.h>

static uint64_t state = 88172645463325252u;
static uint64_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static const uint64_t list[] = {1, 5, 7, 0x100000005, UINT64_MAX, 9};
static uint64_t edge(void)
{
    static const uint64_t e[] = {0, 1, 2, 3, 5, 7, 9, 15, 16, 17, 63, 64, 0x100000003, 0x100000005,
                                 0x80000000, 0xffffffff, 0x100000000, UINT64_MAX, UINT64_MAX - 1,
                                 INT64_MAX, 0x500000000, 0x4ffffffff};
    uint64_t r = rnd() % 30;
    return r < ARRAY_LEN(e) ? e[r] : rnd() >> (rnd() % 64);
}
static bool cond_holds(const struct seccomp_cond *c, uint64_t v)
{
    switch (c->op) {
    case SC_OP_NONE:
        return true;
    case SC_OP_EQ:
        return v == c->a;
    case SC_OP_NE:
        return v != c->a;
    case SC_OP_SUBSET:
        return !(v & ~c->a);
    case SC_OP_MASKED:
        return (v & c->a) == c->b;
    case SC_OP_RANGE:
        return v >= c->a && v <= c->b;
    case SC_OP_IN:
        for (int i = 0; i < c->n; i++)
            if (c->list[i] == v)
                return true;
        return false;
    }
    return false;
}
static uint32_t oracle(const struct seccomp_policy *p, const struct seccomp_data *d)
{
    bool in = !p->ip_check ||
              (d->instruction_pointer > p->ip_start && d->instruction_pointer <= p->ip_end);
    if (d->arch != AUDIT_ARCH_X86_64)
        return p->bad_arch;
    for (size_t i = 0; i < p->n; i++) {
        const struct seccomp_rule *r = &p->rules[i];
        bool all = r->nr == (uint32_t)d->nr && (in || r->any_ip);
        for (int k = 0; all && k < SECCOMP_MAX_CONDS; k++)
            all = cond_holds(&r->c[k], d->args[r->c[k].arg]);
        if (all)
            return r->action ? r->action : SECCOMP_RET_ALLOW;
    }
    return in ? p->otherwise : p->bad_ip;
}
static void random_rule(struct seccomp_rule *r, bool ip)
{
    *r = (struct seccomp_rule){.nr = (uint32_t)(rnd() % 50), .hot = rnd() % 6 == 0};
    r->any_ip = ip && rnd() % 5 == 0;
    r->action = rnd() % 7 == 0 ? SECCOMP_RET_ERRNO | 5 : 0;
    for (uint64_t k = 0, n = rnd() % 4; k < n; k++) {
        struct seccomp_cond c = {.op = (enum seccomp_op)(1 + rnd() % 6), .arg = rnd() % 6,
                                 .a = edge(), .b = edge(), .list = list, .n = 1 + rnd() % 6};
        if (c.op == SC_OP_RANGE && c.a > c.b) {
            uint64_t t = c.a;
            c.a = c.b;
            c.b = t;
        }
        if (c.op == SC_OP_MASKED)
            c.b &= c.a;
        r->c[k] = c;
    }
}

TEST(seccomp_random_policies)
{
    static struct sock_filter prog[SECCOMP_MAX_INSNS];
    for (int round = 0; round < 400; round++) {
        struct seccomp_rule rules[60];
        size_t n = rnd() % 60;
        bool ip = round % 2;
        for (size_t i = 0; i < n; i++)
            random_rule(&rules[i], ip);
        struct seccomp_policy p = {
            .rules = rules, .n = n, .otherwise = SECCOMP_RET_TRAP, .ip_check = ip,
            .bad_arch = SECCOMP_RET_KILL_PROCESS, .bad_ip = SECCOMP_RET_TRAP | 1,
            .ip_start = round % 4 == 1 ? 0x7fffffff0000 : 0x7ffff000,
            .ip_end = round % 4 == 1 ? 0x800000001000 : 0x80001000};
        int len = seccomp_compile(&p, prog, ARRAY_LEN(prog));
        assert_true(len > 0);
        for (int q = 0; q < 1000; q++) {
            struct seccomp_data d = {.nr = (int)(rnd() % 53), .arch = AUDIT_ARCH_X86_64};
            const uint64_t ips[] = {p.ip_start, p.ip_start + 1, p.ip_end, p.ip_end + 1,
                                    p.ip_end - 1, p.ip_start + (1ull << 32)};
            for (int k = 0; k < 6; k++)
                d.args[k] = edge();
            d.instruction_pointer = ips[rnd() % ARRAY_LEN(ips)];
            if (rnd() % 20 == 0)
                d.arch = AUDIT_ARCH_I386;
            if (rnd() % 40 == 0)
                d.nr |= 0x40000000; // x32
            assert_int_equal(seccomp_eval(prog, (size_t)len, &d), oracle(&p, &d));
        }
    }
}

TEST(seccomp_bad_rows)
{
    struct sock_filter prog[64];
    struct seccomp_rule r = {SECCOMP_NR(read), .c = {SC_EQ(6, 0)}};
    struct seccomp_policy p = {.rules = &r, .n = 1};
    assert_int_equal(seccomp_compile(&p, prog, 64), -EINVAL);
    r.c[0] = (struct seccomp_cond)SC_RANGE(1, 5, 4);
    assert_int_equal(seccomp_compile(&p, prog, 64), -EINVAL);
    r.c[0] = (struct seccomp_cond)SC_MASKED(1, 1, 2);
    assert_int_equal(seccomp_compile(&p, prog, 64), -EINVAL);
    r.c[0] = (struct seccomp_cond)SC_EQ(1, 5);
    assert_int_equal(seccomp_compile(&p, prog, 4), -E2BIG);
    assert_true(seccomp_compile(&p, prog, 64) > 0);
}

// The first example of security.md: a range test must see the high half.
TEST(seccomp_high_half)
{
    struct sock_filter prog[64];
    static const struct seccomp_rule r = {SECCOMP_NR(close), .c = {SC_RANGE(0, 16, 63)}};
    struct seccomp_policy p = {.rules = &r, .n = 1, .otherwise = SECCOMP_RET_TRAP};
    int n = seccomp_compile(&p, prog, 64);
    assert_true(n > 0);
    struct seccomp_data d = {.nr = __NR_close, .arch = AUDIT_ARCH_X86_64, .args = {20}};
    assert_int_equal(seccomp_eval(prog, (size_t)n, &d), SECCOMP_RET_ALLOW);
    d.args[0] = 0x100000014;
    assert_int_equal(seccomp_eval(prog, (size_t)n, &d), SECCOMP_RET_TRAP);
    d.args[0] = 3;
    assert_int_equal(seccomp_eval(prog, (size_t)n, &d), SECCOMP_RET_TRAP);
}
