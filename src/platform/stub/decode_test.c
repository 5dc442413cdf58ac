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
