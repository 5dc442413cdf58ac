// SPDX-License-Identifier: Apache-2.0
// The codec: round trips, every truncation, and what must be refused.
#include "base/test.h"
#include "ninep/ninep.h"
#include <errno.h>

static size_t encode(uint8_t *buf, size_t n, const struct np_msg *m)
{
    struct wspan w = wspan_of(buf, n);
    assert_int_equal(np_encode(&w, m), 0);
    return w.used;
}
static struct np_msg walk_msg(void)
{
    struct np_msg m = {.type = NP_twalk, .tag = 7};
    m.twalk.fid = 1;
    m.twalk.newfid = 2;
    m.twalk.names.n = 3;
    m.twalk.names.v[0] = np_cstr("usr");
    m.twalk.names.v[1] = np_cstr("bin");
    m.twalk.names.v[2] = np_cstr("env");
    return m;
}

TEST(codec_round_trip)
{
    uint8_t a[512], b[512];
    struct np_msg m = walk_msg(), d;
    size_t n = encode(a, sizeof(a), &m);
    assert_int_equal(np_frame_size(a, n), n);
    assert_int_equal(np_decode(a, n, &d), 0);
    assert_int_equal(d.tag, 7);
    assert_int_equal(d.twalk.names.n, 3);
    assert_memory_equal(d.twalk.names.v[2].p, "env", 3);
    assert_int_equal(encode(b, sizeof(b), &d), n);
    assert_memory_equal(a, b, n);
}

TEST(codec_known_bytes) // as in the protocol's description
{
    struct np_msg m = {.type = NP_tversion, .tag = NP_NOTAG};
    m.tversion.msize = 8192;
    m.tversion.version = np_cstr(NP_VERSION);
    static const uint8_t want[] = {0x15, 0, 0, 0, 100, 0xff, 0xff, 0, 0x20, 0, 0,
                                   8, 0, '9', 'P', '2', '0', '0', '0', '.', 'L'};
    uint8_t buf[64];
    assert_int_equal(encode(buf, sizeof(buf), &m), sizeof(want));
    assert_memory_equal(buf, want, sizeof(want));
}

TEST(codec_truncations_and_tails)
{
    uint8_t a[512];
    struct np_msg m = walk_msg(), d;
    size_t n = encode(a, sizeof(a), &m);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(np_decode(a, i, &d), -EPROTO);
        if (i >= 4) {
            uint8_t c[512];
            memcpy(c, a, i);
            uint32_t size = (uint32_t)i;
            memcpy(c, &size, 4);
            assert_int_equal(np_decode(c, i, &d), -EPROTO);
        }
    }
    a[n] = 0;
    uint32_t size = (uint32_t)n + 1;
    memcpy(a, &size, 4);
    assert_int_equal(np_decode(a, n + 1, &d), -EPROTO);
}

TEST(codec_refuses_bad_names)
{
    uint8_t a[512];
    struct np_msg m = walk_msg(), d;
    m.twalk.names.v[1] = np_cstr("b/n");
    size_t n = encode(a, sizeof(a), &m);
    assert_int_equal(np_decode(a, n, &d), -EPROTO);
    m.twalk.names.v[1] = span_of("b\0n", 3);
    n = encode(a, sizeof(a), &m);
    assert_int_equal(np_decode(a, n, &d), -EPROTO);
    m.twalk.names.v[1] = np_cstr("");
    n = encode(a, sizeof(a), &m);
    assert_int_equal(np_decode(a, n, &d), -EPROTO);
    a[NP_HDR + 8] = 17; // nwname
    assert_int_equal(np_decode(a, n, &d), -EPROTO);
    assert_false(np_name_ok(np_cstr(".")));
    assert_false(np_name_ok(np_cstr("..")));
    assert_true(np_name_ok(np_cstr("...")));
    char longname[300];
    memset(longname, 'x', sizeof(longname));
    assert_true(np_name_ok(span_of(longname, 255)));
    assert_false(np_name_ok(span_of(longname, 256)));
}

TEST(codec_every_type_survives_noise)
{
    uint8_t a[400];
    uint32_t x = 1;
    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < sizeof(a); i++) {
            x = x * 1664525 + 1013904223;
            a[i] = x >> 24 & (round & 1 ? 0xff : 0x11);
        }
        uint32_t n = 7 + (x >> 16) % (sizeof(a) - 7);
        memcpy(a, &n, 4);
        a[4] = (uint8_t)round;
        struct np_msg m;
        uint8_t b[400];
        if (np_decode(a, n, &m) == 0) {
            struct strbuf s = {};
            np_print(&s, &m);
            strbuf_free(&s);
            assert_int_equal(encode(b, sizeof(b), &m), n);
        }
    }
}

TEST(codec_does_not_overflow)
{
    uint8_t buf[32];
    struct np_msg m = walk_msg();
    for (size_t cap = 0; cap < sizeof(buf); cap++) {
        struct wspan w = wspan_of(buf, cap);
        assert_int_equal(np_encode(&w, &m), -EMSGSIZE);
    }
}

TEST(codec_dirents)
{
    uint8_t buf[400];
    struct wspan w = wspan_of(buf, sizeof(buf));
    struct np_dirent d = {.qid = {NP_QTDIR, 1, 2}, .offset = 3, .type = 4, .name = np_cstr("dir"),
                          .has_attr = true, .attr = {.mode = 040755, .size = 99}};
    int n = 0;
    while (np_dirent_plus_put(&w, &d))
        n++;
    assert_int_equal(n, 2);
    struct span s = span_of(buf, w.used);
    struct np_dirent e;
    while (np_dirent_plus_get(&s, &e)) {
        assert_int_equal(e.attr.size, 99);
        assert_int_equal(e.name.n, 3);
        n--;
    }
    assert_int_equal(n, 0);
    assert_true(span_ok(&s));
}

TEST(codec_prints_escaped)
{
    struct strbuf b = {};
    struct np_msg m = walk_msg();
    m.twalk.names.v[0] = np_cstr("\x1b[31m");
    np_print(&b, &m);
    assert_null(strchr(b.p, 0x1b));
    assert_non_null(strstr(b.p, "twalk tag=7 fid=1 newfid=2"));
    strbuf_free(&b);
}
