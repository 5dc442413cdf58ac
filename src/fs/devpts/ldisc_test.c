// SPDX-License-Identifier: Apache-2.0
// The line discipline by itself: editing, echo, modes, and random input against its invariants.
#include "fs/devpts/ldisc.h"
#include "base/test.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct ldisc *ld_new(void)
{
    struct ldisc *l = calloc(1, sizeof(*l));
    assert_non_null(l);
    ldisc_init(l);
    return l;
}
static void in(struct ldisc *l, const char *s)
{
    ldisc_receive(l, (const uint8_t *)s, strlen(s));
}
static void reads(struct ldisc *l, const char *want, bool want_eol)
{
    uint8_t b[8192];
    bool eol;
    size_t n = ldisc_read(l, b, sizeof(b), &eol);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(b, want, n);
    assert_int_equal(eol, want_eol);
}
static void shows(struct ldisc *l, const char *want)
{
    uint8_t b[8192];
    size_t n = ldisc_out_take(l, b, sizeof(b));
    assert_int_equal(n, strlen(want));
    assert_memory_equal(b, want, n);
}

TEST(ldisc_lines_and_echo)
{
    struct ldisc *l = ld_new();
    in(l, "ab");
    assert_false(ldisc_readable(l, false));
    in(l, "\177c\r");
    assert_true(ldisc_readable(l, true));
    assert_int_equal(ldisc_count(l), 3);
    reads(l, "ac\n", true);
    shows(l, "ab\b \bc\r\n");
    in(l, "x\004\004");
    reads(l, "x", true);
    reads(l, "", true); // end of file
    free(l);
}

TEST(ldisc_signals)
{
    struct ldisc *l = ld_new();
    in(l, "typed\003");
    assert_int_equal(l->signals, 1u << SIGINT);
    assert_int_equal(l->head, l->tail); // flushed
    shows(l, "^C");
    struct termios2 t = l->tio;
    t.c_lflag |= NOFLSH;
    ldisc_set_termios(l, &t);
    in(l, "kept\034\n");
    assert_true(l->signals & 1u << SIGQUIT);
    reads(l, "kept\n", true);
    free(l);
}

TEST(ldisc_utf8_erase)
{
    struct ldisc *l = ld_new();
    struct termios2 t = l->tio;
    t.c_iflag |= IUTF8;
    ldisc_set_termios(l, &t);
    in(l, "a\303\244\177b\n");
    reads(l, "ab\n", true);
    shows(l, "a\303\244\b \bb\r\n");
    free(l);
}

TEST(ldisc_full_line)
{
    struct ldisc *l = ld_new();
    struct termios2 t = l->tio;
    t.c_lflag &= ~(uint32_t)ECHO;
    ldisc_set_termios(l, &t);
    for (int i = 0; i < 5000; i++) {
        assert_true(ldisc_room(l) > 0);
        in(l, "x");
    }
    in(l, "\n");
    assert_int_equal(ldisc_room(l), 0);
    uint8_t b[8192];
    bool eol;
    assert_int_equal(ldisc_read(l, b, sizeof(b), &eol), LDISC_IN);
    assert_true(eol && b[LDISC_IN - 1] == '\n');
    assert_true(ldisc_room(l) > 0);
    free(l);
}

// PARMRK doubles 0xff, so the last place can be gone before the end comes: it goes over the last byte.
TEST(ldisc_end_of_file_without_a_place)
{
    struct ldisc *l = ld_new();
    struct termios2 t = l->tio;
    t.c_lflag &= ~(uint32_t)ECHO;
    t.c_iflag |= PARMRK;
    ldisc_set_termios(l, &t);
    in(l, "first");
    for (uint32_t i = 5; i < LDISC_IN - 2; i++)
        in(l, "x");
    in(l, "\377");
    assert_int_equal(l->head - l->tail, LDISC_IN);
    in(l, "\004");
    assert_int_equal(l->head - l->tail, LDISC_IN);
    uint8_t b[8192];
    bool eol;
    assert_int_equal(ldisc_read(l, b, sizeof(b), &eol), LDISC_IN - 1);
    assert_true(eol);
    assert_memory_equal(b, "first", 5);
    free(l);
}

TEST(ldisc_mode_switch_keeps_input)
{
    struct ldisc *l = ld_new();
    struct termios2 t = l->tio, raw = t;
    raw.c_lflag &= ~(uint32_t)(ICANON | ECHO);
    in(l, "half");
    ldisc_set_termios(l, &raw);
    assert_true(ldisc_readable(l, false));
    reads(l, "half", false);
    in(l, "more");
    ldisc_set_termios(l, &t);
    assert_true(ldisc_readable(l, false));
    reads(l, "more", true);
    free(l);
}

TEST(ldisc_random)
{
    struct ldisc *l = ld_new();
    uint64_t s = 42;
    for (int i = 0; i < 60000; i++) {
        s = s * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t r = (uint32_t)(s >> 33);
        uint8_t b[64];
        bool eol;
        switch (r % 8) {
        case 0: {
            struct termios2 t = l->tio;
            t.c_iflag ^= 1u << (r >> 8) % 15;
            t.c_oflag ^= 1u << (r >> 12) % 13;
            t.c_lflag ^= 1u << (r >> 16) % 16;
            ldisc_set_termios(l, &t);
            break;
        }
        case 1:
            ldisc_out_take(l, b, r >> 8 & 63);
            break;
        case 2:
            ldisc_read(l, b, r >> 8 & 63, &eol);
            break;
        case 3:
            for (size_t k = 0; k < sizeof(b); k++)
                b[k] = (uint8_t)(r >> (k % 24));
            ldisc_write(l, b, r >> 8 & 63);
            break;
        default:
            for (size_t k = 0; k < sizeof(b); k++)
                b[k] = (uint8_t)(k * 37 + (r >> 5));
            ldisc_receive(l, b, MIN(ldisc_room(l), (size_t)(r >> 8 & 63)));
            break;
        }
        assert_true(l->head - l->tail <= LDISC_IN);
        assert_true(l->canon - l->tail <= l->head - l->tail);
        assert_true(l->out_len <= sizeof(l->out));
    }
    free(l);
}
