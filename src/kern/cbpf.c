// SPDX-License-Identifier: Apache-2.0
// Classic BPF, see cbpf.h. Semantics: the Linux kernel's documentation (networking/filter.rst) and
// seccomp(2); behaviour checked against the host's kernel by test/guest/seccomp.c.
#include "kern/cbpf.h"
#include "abi/errno.h"
#include <stddef.h>
#include <string.h>

// The operations that seccomp(2) admits: 1, or a bit set of extra checks.
enum : uint8_t { OP_OK = 1, OP_LOAD_ABS = 2, OP_SHIFT_K = 4, OP_DIV_K = 8, OP_MEM = 16, OP_STORE = 32 };
static const uint8_t seccomp_ops[256] = {
    [BPF_LD | BPF_W | BPF_ABS] = OP_OK | OP_LOAD_ABS,
    [BPF_LD | BPF_W | BPF_LEN] = OP_OK,
    [BPF_LDX | BPF_W | BPF_LEN] = OP_OK,
    [BPF_LD | BPF_IMM] = OP_OK,
    [BPF_LDX | BPF_IMM] = OP_OK,
    [BPF_LD | BPF_MEM] = OP_OK | OP_MEM,
    [BPF_LDX | BPF_MEM] = OP_OK | OP_MEM,
    [BPF_ST] = OP_OK | OP_STORE,
    [BPF_STX] = OP_OK | OP_STORE,
    [BPF_RET | BPF_K] = OP_OK,
    [BPF_RET | BPF_A] = OP_OK,
    [BPF_MISC | BPF_TAX] = OP_OK,
    [BPF_MISC | BPF_TXA] = OP_OK,
    [BPF_ALU | BPF_NEG] = OP_OK,
#define ALU(op, extra)                        \
    [BPF_ALU | (op) | BPF_K] = OP_OK | (extra), \
    [BPF_ALU | (op) | BPF_X] = OP_OK
    ALU(BPF_ADD, 0), ALU(BPF_SUB, 0), ALU(BPF_MUL, 0), ALU(BPF_DIV, OP_DIV_K), ALU(BPF_AND, 0),
    ALU(BPF_OR, 0), ALU(BPF_XOR, 0), ALU(BPF_LSH, OP_SHIFT_K), ALU(BPF_RSH, OP_SHIFT_K),
#undef ALU
    [BPF_JMP | BPF_JA] = OP_OK,
#define JUMP(op) [BPF_JMP | (op) | BPF_K] = OP_OK, [BPF_JMP | (op) | BPF_X] = OP_OK
    JUMP(BPF_JEQ), JUMP(BPF_JGE), JUMP(BPF_JGT), JUMP(BPF_JSET),
#undef JUMP
};

static bool insn_ok(const struct sock_filter *f, size_t i, size_t n)
{
    uint8_t op = f->code < 256 ? seccomp_ops[f->code] : 0;
    if (!op || ((op & OP_LOAD_ABS) && (f->k >= sizeof(struct seccomp_data) || f->k & 3)) ||
        ((op & OP_SHIFT_K) && f->k >= 32) || ((op & OP_DIV_K) && f->k == 0) ||
        ((op & (OP_MEM | OP_STORE)) && f->k >= BPF_MEMWORDS))
        return false;
    if (BPF_CLASS(f->code) != BPF_JMP)
        return true;
    if (BPF_OP(f->code) == BPF_JA)
        return f->k < n - i - 1;
    return i + f->jt + 1 < n && i + f->jf + 1 < n;
}

// Jumps go forward only, so one pass sees every way to an instruction before the instruction.
static bool scratch_ok(const struct sock_filter *prog, size_t n)
{
    static_assert(BPF_MEMWORDS == 16);
    uint16_t written[CBPF_MAX]; // on every way here
    memset(written, 0xff, sizeof(written));
    uint16_t now = 0;
    for (size_t i = 0; i < n; i++) {
        const struct sock_filter *f = &prog[i];
        now &= written[i];
        uint8_t op = seccomp_ops[f->code];
        if (op & OP_STORE)
            now |= (uint16_t)(1u << f->k);
        else if ((op & OP_MEM) && !(now & 1u << f->k))
            return false;
        if (BPF_CLASS(f->code) == BPF_RET) {
            now = 0xffff; // what follows is reached by jumps only
        } else if (BPF_CLASS(f->code) == BPF_JMP) {
            if (BPF_OP(f->code) == BPF_JA) {
                written[i + 1 + f->k] &= now;
            } else {
                written[i + 1 + f->jt] &= now;
                written[i + 1 + f->jf] &= now;
            }
            now = 0xffff;
        }
    }
    return true;
}

int cbpf_check_seccomp(const struct sock_filter *prog, size_t n)
{
    if (n == 0 || n > CBPF_MAX || BPF_CLASS(prog[n - 1].code) != BPF_RET)
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (!insn_ok(&prog[i], i, n))
            return -EINVAL;
    return scratch_ok(prog, n) ? 0 : -EINVAL;
}

static bool alu(uint16_t op, uint32_t *a, uint32_t b)
{
    switch (op) {
    case BPF_ADD: *a += b; break;
    case BPF_SUB: *a -= b; break;
    case BPF_MUL: *a *= b; break;
    case BPF_DIV:
        if (b == 0)
            return false;
        *a /= b;
        break;
    case BPF_AND: *a &= b; break;
    case BPF_OR: *a |= b; break;
    case BPF_XOR: *a ^= b; break;
    case BPF_LSH: *a <<= b & 31; break;
    case BPF_RSH: *a >>= b & 31; break;
    case BPF_NEG: *a = 0u - *a; break;
    }
    return true;
}
static bool jump(uint16_t op, uint32_t a, uint32_t b)
{
    switch (op) {
    case BPF_JEQ: return a == b;
    case BPF_JGE: return a >= b;
    case BPF_JGT: return a > b;
    default: return a & b;
    }
}

uint32_t cbpf_run(const struct sock_filter *prog, const struct seccomp_data *d)
{
    uint32_t a = 0, x = 0, mem[BPF_MEMWORDS] = {};
    for (const struct sock_filter *f = prog;; f++) {
        uint32_t k = f->k;
        switch (BPF_CLASS(f->code)) {
        case BPF_LD:
        case BPF_LDX: {
            uint32_t v = k;
            if (BPF_MODE(f->code) == BPF_ABS)
                memcpy(&v, (const char *)d + k, sizeof(v));
            else if (BPF_MODE(f->code) == BPF_LEN)
                v = sizeof(*d);
            else if (BPF_MODE(f->code) == BPF_MEM)
                v = mem[k];
            *(BPF_CLASS(f->code) == BPF_LD ? &a : &x) = v;
            break;
        }
        case BPF_ST: mem[k] = a; break;
        case BPF_STX: mem[k] = x; break;
        case BPF_ALU:
            if (!alu(BPF_OP(f->code), &a, BPF_SRC(f->code) == BPF_X ? x : k))
                return 0;
            break;
        case BPF_JMP:
            if (BPF_OP(f->code) == BPF_JA)
                f += k;
            else
                f += jump(BPF_OP(f->code), a, BPF_SRC(f->code) == BPF_X ? x : k) ? f->jt : f->jf;
            break;
        case BPF_RET: return BPF_RVAL(f->code) == BPF_A ? a : k;
        default: // BPF_MISC
            if (BPF_MISCOP(f->code) == BPF_TAX)
                x = a;
            else
                a = x;
        }
    }
}

bool cbpf_always_allows(const struct sock_filter *prog, uint32_t arch, int nr)
{
    uint32_t a = 0;
    for (const struct sock_filter *f = prog;; f++) {
        switch (f->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            if (f->k == offsetof(struct seccomp_data, nr))
                a = (uint32_t)nr;
            else if (f->k == offsetof(struct seccomp_data, arch))
                a = arch;
            else
                return false;
            break;
        case BPF_RET | BPF_K: return f->k == SECCOMP_RET_ALLOW;
        case BPF_JMP | BPF_JA: f += f->k; break;
        case BPF_JMP | BPF_JEQ | BPF_K:
        case BPF_JMP | BPF_JGE | BPF_K:
        case BPF_JMP | BPF_JGT | BPF_K:
        case BPF_JMP | BPF_JSET | BPF_K: f += jump(BPF_OP(f->code), a, f->k) ? f->jt : f->jf; break;
        case BPF_ALU | BPF_AND | BPF_K: a &= f->k; break;
        default: return false;
        }
    }
}
