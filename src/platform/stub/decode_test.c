// SPDX-License-Identifier: Apache-2.0
// The stub's length decoder against known encodings, and against objdump's reading of this very
// program where objdump is there (nothing is compared without it).
#include "platform/stub/decode.c"
#include "base/test.h"
#include <stdio.h>
#include <string.h>

static void check(const char *hex, unsigned len, unsigned flags)
{
    uint8_t buf[16];
    size_t n = 0;
    for (const char *s = hex; *s && n < sizeof(buf); s++) {
        unsigned b;
        if (sscanf(s, "%2x", &b) != 1)
            break;
        buf[n++] = (uint8_t)b;
        s++;
        if (!s[1])
            break;
    }
    struct insn i = insn_decode(buf, n);
    if (i.len != len || i.flags != flags)
        fprintf(stderr, "%s: len %u flags %u\n", hex, i.len, i.flags);
    assert_int_equal(i.len, len);
    assert_int_equal(i.flags, flags);
    if (len) // never longer than what is there
        assert_int_equal(insn_decode(buf, len - 1).len, 0);
}

TEST(decode_lengths)
{
    check("b827000000", 5, 0);
    check("48c7c027000000", 7, 0);
    check("0f05", 2, INSN_FLOW);
    check("4c8b4c2408", 5, 0);
    check("48b88877665544332211", 10, 0);
    check("66b83412", 4, 0);
    check("8b0578563412", 6, INSN_RIP);
    check("678b0578563412", 0, 0);
    check("c705785634127856341290", 10, INSN_RIP);
    check("658b042500000000", 8, INSN_GS);
    check("64488b042528000000", 9, 0);
    check("f3a4", 2, INSN_REP);
    check("e900000000", 5, INSN_FLOW | INSN_END);
    check("66e90000", 0, 0);
    check("0f8400000000", 6, INSN_FLOW);
    check("c3", 1, INSN_FLOW | INSN_END);
    check("ffe0", 2, INSN_FLOW | INSN_END);
    check("ff1500000000", 6, INSN_FLOW | INSN_RIP);
    check("f7c001000000", 6, 0);
    check("f7d8", 2, 0);
    check("48f7048578563412ffffffff", 12, 0);
    check("c5fc77", 3, 0);
    check("c5fc774883", 3, 0);
    check("c5f877", 3, 0);
    check("c4e37d39c101", 6, 0);
    check("62f17c4810442401", 8, 0);
    check("62f37d483b442401aa", 9, 0);
    check("660f3a0fc108", 6, 0);
    check("660f3800c1", 5, 0);
    check("0f1f440000", 5, 0);
    check("66660f1f840000000000", 10, 0);
    check("f30f1efa", 4, 0);
    check("c8100001", 4, 0);
    check("06", 0, 0);
    check("666666666666666666666666666666", 0, 0);
}

TEST(decode_before_votes)
{
    // movl $39,-0x48(%rbp) ends like mov $39,%eax and is not it.
    static const uint8_t text[] = {
        0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x48, 0x89, 0xfb, 0x48, 0x89, 0xf5,
        0x31, 0xc0, 0x48, 0x8b, 0x45, 0xf8, 0x48, 0x01, 0xd8, 0x48, 0x89, 0x45, 0xf0, 0x48,
        0x85, 0xc0, 0x74, 0x10, 0x89, 0xc1, 0x48, 0x89, 0xca, 0xc7, 0x45, 0xb8, 0x27, 0x00,
        0x00, 0x00, 0x0f, 0x05,
    };
    size_t at = sizeof(text) - 2;
    size_t before = insn_before(text, at);
    assert_true(before == 0 || before == at - 7);
    static const uint8_t good[] = {
        0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x48, 0x89, 0xfb, 0x48, 0x89, 0xf5,
        0x31, 0xc0, 0x48, 0x8b, 0x45, 0xf8, 0x48, 0x01, 0xd8, 0x48, 0x89, 0x45, 0xf0, 0x48,
        0x85, 0xc0, 0x74, 0x10, 0x89, 0xc1, 0x48, 0x89, 0xca, 0xb8, 0x27, 0x00, 0x00, 0x00,
    };
    assert_int_equal(insn_before(good, sizeof(good)), sizeof(good) - 5);
    assert_int_equal(insn_before(good, 4), 0); // too little to be sure
}

// What the run in front of a call is: FILL, then `tail`, which ends at the call.
static size_t run_of(const char *tail, size_t n)
{
    uint8_t text[128];
    for (size_t i = 0; i < 60; i += 3)
        memcpy(text + i, i & 1 ? "\x48\x89\xff" : "\x48\x89\xf6", 3); // mov %rdi,%rdi; %rsi,%rsi
    memcpy(text + 60, tail, n);
    return insn_run(text, 60 + n);
}
#define RUN(tail) run_of(tail, sizeof(tail) - 1)
#define MOV_NR "\xb8\x27\0\0\0"      // mov $39,%eax
#define SHORT "\x4d\x89\xc0"          // mov %r8,%r8
TEST(decode_runs)
{
    assert_int_equal(RUN(MOV_NR), 5);
    assert_int_equal(RUN("\x48\xc7\xc0\x27\0\0\0"), 7);
    assert_int_equal(RUN(MOV_NR SHORT), 8);
    assert_int_equal(RUN(MOV_NR MOV_NR SHORT), 8); // the last that has room
    assert_int_equal(RUN(MOV_NR "\x31\xd2\x50\x58" SHORT), 12);
    assert_int_equal(RUN("\x48\x8d\x35\0\x10\0\0" SHORT SHORT), 13); // lea 0x1000(%rip),%rsi
    assert_int_equal(RUN(MOV_NR SHORT SHORT SHORT SHORT SHORT), 20);
    // Too long; none with room; one that says where execution goes on, uses %gs, repeats; a nop.
    assert_int_equal(RUN(MOV_NR SHORT SHORT SHORT SHORT SHORT SHORT), 0);
    assert_int_equal(RUN(SHORT SHORT), 0);
    assert_int_equal(RUN(MOV_NR "\x85\xc0\x74\x03" SHORT), 0);
    assert_int_equal(RUN(MOV_NR "\x0f\x05" SHORT), 0);
    assert_int_equal(RUN(MOV_NR "\xff\xd0" SHORT), 0);
    assert_int_equal(RUN(MOV_NR "\xcc" SHORT), 0);
    assert_int_equal(RUN("\xe8\0\0\0\0" SHORT), 0);
    assert_int_equal(RUN(MOV_NR "\x65\x48\x8b\x00"), 0);
    assert_int_equal(RUN("\x65\x48\x8b\x04\x25\0\0\0\0"), 0);
    assert_int_equal(RUN(MOV_NR "\xf3\xa4"), 0);
    assert_int_equal(RUN("\xc3\x0f\x1f\x84\0\0\0\0\0"), 0);
    assert_int_equal(RUN("\xc3\x0f\x1f\x84\0\0\0\0\0" SHORT), 0);
    assert_int_equal(RUN(MOV_NR "\x66\x90" SHORT), 0);
    assert_int_equal(RUN(MOV_NR "\x06" SHORT), 0); // not known
}
TEST(decode_moves)
{
    // mov 0x10(%rip),%eax; mov %r8,%r8; cmpl $1,-8(%rip)
    static const uint8_t text[] = {0x8b, 0x05, 0x10, 0, 0, 0, 0x4d, 0x89, 0xc0, 0x83, 0x3d, 0xf8, 0xff, 0xff, 0xff, 1};
    static const uint8_t want[] = {0x8b, 0x05, 0x10, 0xf0, 0xff, 0xff, 0x4d, 0x89, 0xc0, 0x83, 0x3d, 0xf8, 0xef, 0xff, 0xff, 1};
    uint8_t p[sizeof(text)];
    memcpy(p, text, sizeof(p));
    assert_true(insn_move(p, sizeof(p), 0x1000));
    assert_memory_equal(p, want, sizeof(p));
    assert_true(insn_move(p, sizeof(p), -0x1000));
    assert_memory_equal(p, text, sizeof(p));
    assert_true(insn_move(p, sizeof(p), 0x7fffff00)); // the operands lie just within reach
    assert_false(insn_move(p, sizeof(p), 0x7fffff00));
    assert_false(insn_move(p, sizeof(p) - 1, 0)); // not whole
}

TEST(decode_padding)
{
    static const uint8_t pad[] = {0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x66, 0x90, 0xcc, 0xc3};
    assert_int_equal(insn_padding(pad, sizeof(pad)), 13);
    assert_int_equal(insn_padding(pad + 13, 1), 0);
    assert_int_equal(insn_padding(pad, 9), 0); // cut off
}

// Every instruction that objdump sees in this program's text.
TEST(decode_like_objdump)
{
    FILE *f = popen("objdump -d -w \"$(readlink /proc/$PPID/exe)\" 2>/dev/null | head -200000", "r");
    if (!f)
        return;
    char line[512];
    unsigned seen = 0, unknown = 0;
    while (fgets(line, sizeof(line), f)) {
        uint8_t buf[16];
        unsigned n = 0, b;
        char *s = strchr(line, '\t');
        if (!s || line[0] != ' ' || strstr(line, "(bad)"))
            continue;
        for (s++; n < 15 && *s != ' ' && *s != '\t' && sscanf(s, "%2x", &b) == 1 && s[2] == ' '; s += 3)
            buf[n++] = (uint8_t)b;
        if (!n)
            continue;
        struct insn i = insn_decode(buf, n);
        seen++;
        if (!i.len) {
            unknown++;
        } else if (i.len != n && buf[0] != 0x9b /* fwait: a pair to objdump */) {
            fprintf(stderr, "%u: %s", i.len, line);
            assert_int_equal(i.len, n);
        }
    }
    pclose(f);
    assert_true(unknown * 1000 <= seen);
}
