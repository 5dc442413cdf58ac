// SPDX-License-Identifier: Apache-2.0
// Tests of base/: hash table, string buffer, slabs, log lines, spinlock, panic.
#include "base/assert.h"
#include "base/htab.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/ref.h"
#include "base/slab.h"
#include "base/span.h"
#include "base/strbuf.h"
#include "base/test.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct item {
    struct hnode node;
    uint64_t key;
    char pad[40];
};
SLAB_DEFINE(item_slab, struct item);

static struct item *find(const struct htab *t, uint64_t key)
{
    for (struct hnode *n = htab_chain(t, hash_u64(key)); n; n = htab_chain_next(n))
        if (container_of(n, struct item, node)->key == key)
            return container_of(n, struct item, node);
    return nullptr;
}

TEST(htab_insert_find_remove)
{
    struct htab t = {};
    constexpr uint64_t N = 5000;
    assert_null(find(&t, 1));
    for (uint64_t i = 0; i < N; i++) {
        struct item *it = slab_alloc(&item_slab);
        assert_non_null(it);
        it->key = i;
        assert_int_equal(htab_insert(&t, &it->node, hash_u64(i)), 0);
    }
    assert_int_equal(t.count, N);
    for (uint64_t i = 0; i < N; i += 2) {
        struct item *it = find(&t, i);
        assert_non_null(it);
        htab_remove(&t, &it->node);
        slab_free(&item_slab, it);
    }
    for (uint64_t i = 0; i < N; i++)
        assert_int_equal(find(&t, i) != nullptr, i & 1);
    for (uint64_t i = 1; i < N; i += 2) {
        struct item *it = find(&t, i);
        htab_remove(&t, &it->node);
        slab_free(&item_slab, it);
    }
    assert_int_equal(t.count, 0);
    htab_free(&t);
    assert_int_equal(item_slab.live, 0);
}

TEST(siphash13_vectors)
{
    // Reference vectors of SipHash-1-3 for the key 00..0f and the message 00..len-1.
    uint8_t key[16], msg[16];
    for (int i = 0; i < 16; i++)
        key[i] = msg[i] = (uint8_t)i;
    hash_seed(key);
    assert_true(hash_bytes(msg, 0) == 0xabac0158050fc4dcu);
    assert_true(hash_bytes(msg, 1) == 0xc9f49bf37d57ca93u);
    uint64_t v = 0x0706050403020100u;
    assert_true(hash_u64(v) == hash_bytes(msg, 8));
    assert_true(hash_bytes(msg, 15) != hash_bytes(msg, 16));
}

TEST(strbuf_grows_and_formats)
{
    struct strbuf b = {};
    for (int i = 0; i < 1000; i++)
        strbuf_fmt(&b, "%04d,", i);
    assert_false(b.bad);
    assert_int_equal(b.len, 5000);
    assert_memory_equal(b.p + 4995, "0999,", 6);
    strbuf_reset(&b);
    assert_string_equal(b.p, "");
    char big[500];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    strbuf_fmt(&b, "<%s>", big);
    strbuf_str(&b, "ab");
    strbuf_char(&b, 'c');
    assert_int_equal(b.len, 504);
    assert_memory_equal(b.p + 499, "x>abc", 6);
    strbuf_free(&b);
    strbuf_put(&b, "", 0);
    assert_string_equal(b.p, "");
    strbuf_put(&b, big, SIZE_MAX - 8);
    assert_true(b.bad);
    assert_string_equal(b.p, "");
    strbuf_free(&b);
}

TEST(slab_zeroed_and_reused)
{
    struct item *a[300];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(a); i++) {
            a[i] = slab_alloc(&item_slab);
            assert_non_null(a[i]);
            assert_int_equal((uintptr_t)a[i] % 16, 0);
            static const struct item zero;
            assert_memory_equal(a[i], &zero, sizeof(zero));
            memset(a[i], 0xaa, sizeof(*a[i]));
        }
        for (size_t i = 0; i < ARRAY_LEN(a); i++)
            slab_free(&item_slab, a[i]);
    }
    assert_int_equal(item_slab.live, 0);
}

TEST(mem_alloc_family)
{
    assert_null(mem_alloc(((size_t)1 << 30) + 1));
    assert_null(mem_alloc_array(SIZE_MAX / 4, 8));
    for (size_t n = 0; n < 300000; n = n * 3 / 2 + 1) {
        uint8_t *p = mem_alloc(n);
        assert_non_null(p);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        if (n)
            memset(p, 7, n);
        p = mem_realloc(p, n * 2 + 1);
        assert_non_null(p);
        if (n)
            assert_int_equal(p[n - 1], 7);
        p = mem_realloc(p, 1);
        assert_non_null(p);
        mem_free(p);
    }
    char *s = mem_strndup("hello", 3);
    assert_string_equal(s, "hel");
    mem_free(s);
    s = mem_strdup("hello");
    assert_string_equal(s, "hello");
    mem_free(s);
    mem_free(nullptr);
}

#if !__has_feature(address_sanitizer)
static void double_free(void)
{
    struct item *a = slab_alloc(&item_slab);
    slab_free(&item_slab, a);
    slab_free(&item_slab, a);
}
static void write_after_free(void)
{
    struct item *volatile a = slab_alloc(&item_slab);
    slab_free(&item_slab, a);
    ((volatile uint64_t *)a)[1] = 1;
    a = slab_alloc(&item_slab);
}
static void mem_double_free(void)
{
    char *p = mem_alloc(100);
    mem_free(p);
    mem_free(p);
}
TEST(heap_misuse_panics)
{
    assert_panics(double_free);
    assert_panics(write_after_free);
    assert_panics(mem_double_free);
}
#endif

static void check_fails(void)
{
    int zero = getpid() < 0;
    CHECK(zero);
}
static void unlock_unheld(void)
{
    struct spinlock l = SPINLOCK_INIT;
    spin_unlock(&l);
}
static void ref_underflow(void)
{
    struct ref r;
    ref_init(&r);
    if (ref_put(&r) && ref_put(&r))
        _exit(0);
}
static void hook_exits(void)
{
    _exit(33);
}
static void panic_with_hook(void)
{
    panic_hook = hook_exits;
    panic("to the hook");
}
TEST(panics)
{
    assert_panics(check_fails);
    assert_panics(unlock_unheld);
    assert_panics(ref_underflow);
    assert_false(test_panics(panic_with_hook)); // left through the hook
}

static struct spinlock counter_lock;
static long counter;
static void *count_up(UNUSED void *arg)
{
    for (int i = 0; i < 100000; i++) {
        spin_lock(&counter_lock);
        counter++;
        spin_unlock(&counter_lock);
    }
    return nullptr;
}
TEST(spinlock_excludes)
{
    pthread_t t[4];
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        assert_int_equal(pthread_create(&t[i], nullptr, count_up, nullptr), 0);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], nullptr);
    assert_int_equal(counter, 400000);
    assert_true(spin_trylock(&counter_lock));
    assert_false(spin_trylock(&counter_lock));
    spin_unlock(&counter_lock);
}

static void read_line(int fd, char *buf, size_t cap)
{
    ssize_t n = read(fd, buf, cap - 1);
    assert_true(n > 0);
    buf[n] = 0;
}
TEST(log_lines)
{
    int fds[2];
    char buf[8192];
    assert_int_equal(pipe(fds), 0);
    log_init(fds[1], LOG_TEXT, LOG_INFO, "unit");
    log_debug("not shown");
    log_info("name %s\n", "a\x1b[1m\xff\xc3\xa9\n.");
    read_line(fds[0], buf, sizeof(buf));
    assert_non_null(strstr(buf, "Z info unit: name a\\x1b[1m\\xff\xc3\xa9\\n.\n"));
    assert_int_equal(buf[4], '-');
    assert_int_equal(buf[10], 'T');
    log_init(fds[1], LOG_JSON, LOG_DEBUG, "unit");
    log_error("say \"%s\"", "\\\x01\xff");
    read_line(fds[0], buf, sizeof(buf));
    assert_true(strncmp(buf, "{\"level\":\"error\",\"time\":\"20", 27) == 0);
    assert_non_null(strstr(buf, "\"msg\":\"say \\\"\\\\\\u0001\\ufffd\\\"\"}\n"));
    char big[4000];
    memset(big, 1, sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    log_error("%s", big);
    read_line(fds[0], buf, sizeof(buf));
    assert_int_equal(buf[strlen(buf) - 1], '\n');
    assert_true(strlen(buf) <= 3 * 1024);
    assert_non_null(strstr(buf, "\\u0001\"}\n"));
    log_init(-1, LOG_TEXT, LOG_WARN, nullptr);
    log_error("dropped");
    close(fds[0]);
    close(fds[1]);
}

TEST(span_readers)
{
    const uint8_t d[] = {1, 2, 3, 4, 5, 6, 7};
    struct span s = span_of(d, sizeof(d));
    assert_int_equal(span_u16le(&s), 0x0201);
    assert_int_equal(span_u32be(&s), 0x03040506);
    assert_int_equal(span_u16le(&s), 0);
    assert_false(span_ok(&s));
    assert_int_equal(span_u8(&s), 0);
}
