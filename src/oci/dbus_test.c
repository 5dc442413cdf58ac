// SPDX-License-Identifier: Apache-2.0
// The client against a bus of our own making, and messages that are not what they should be.
#include "base/slab.h"
#include "base/test.h"
#include "oci/cgroup.h"
#include "oci/dbus.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

TEST(dbus_message_bytes)
{
    struct strbuf out = {}, body = {};
    dbus_put_str(&body, "x");
    dbus_build_call(&out, 7, false, "a.b", "/p", "i.f", "Member", "s", &body);
    struct dbus_message m;
    assert_int_equal(out.len % 2, 0);
    assert_int_equal(dbus_length((const uint8_t *)out.p), (int64_t)out.len);
    assert_int_equal(dbus_parse(&m, out.p, out.len), 0);
    assert_int_equal(m.type, 1);
    assert_int_equal(m.serial, 7);
    assert_string_equal(m.member, "Member");
    assert_string_equal(m.signature, "s");
    char *s = dbus_take_str(&m.body, m.body.p);
    assert_string_equal(s, "x");
    mem_free(s);
    for (size_t n = 0; n < out.len; n++) // every prefix is refused
        assert_true(dbus_parse(&m, out.p, n) < 0);
    for (size_t i = 0; i < out.len * 8; i++) { // no flipped bit leads anywhere
        out.p[i / 8] ^= (char)(1 << i % 8);
        if (dbus_parse(&m, out.p, out.len) == 0)
            mem_free(dbus_take_str(&m.body, m.body.p));
        out.p[i / 8] ^= (char)(1 << i % 8);
    }
    strbuf_free(&out);
    strbuf_free(&body);
}

// --- a bus ------------------------------------------------------------------------------------------
static char called[256];
static void reply(int fd, uint8_t type, uint32_t to, const char *member, const char *signature,
                  const struct strbuf *body)
{
    struct strbuf out = {};
    const char head[4] = {'l', (char)type, 0, 1};
    strbuf_put(&out, head, 4);
    dbus_put_u32(&out, (uint32_t)body->len);
    dbus_put_u32(&out, 99);
    size_t at = dbus_array_begin(&out, 8);
    strbuf_char(&out, type == 4 ? 3 : 5);
    dbus_put_sig(&out, type == 4 ? "s" : "u");
    if (type == 4)
        dbus_put_str(&out, member);
    else
        dbus_put_u32(&out, to);
    dbus_align(&out, 8);
    strbuf_char(&out, 8);
    dbus_put_sig(&out, "g");
    dbus_put_sig(&out, signature);
    dbus_array_end(&out, at, 8);
    dbus_align(&out, 8);
    if (body->len)
        strbuf_put(&out, body->p, body->len);
    if (write(fd, out.p, out.len) != (ssize_t)out.len)
        abort();
    strbuf_free(&out);
}
static void read_all(int fd, void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = read(fd, (char *)p + done, n - done);
        if (r <= 0)
            pthread_exit(nullptr);
        done += (size_t)r;
    }
}
static void *serve(void *arg)
{
    int fd = accept(*(int *)arg, nullptr, nullptr);
    // As to a root of a user namespace: the number is refused, what the bus sees itself is taken.
    static const char *const answers[] = {"REJECTED EXTERNAL\r\n", "DATA\r\n", "OK 1234\r\n", ""};
    char c = 0;
    for (size_t lines = 0; lines < ARRAY_LEN(answers); lines += c == '\n') {
        read_all(fd, &c, 1);
        size_t n = strlen(answers[lines]);
        if (c == '\n' && write(fd, answers[lines], n) != (ssize_t)n)
            abort();
    }
    for (;;) {
        static uint8_t msg[8192];
        struct dbus_message m;
        struct strbuf body = {};
        read_all(fd, msg, 16);
        int64_t n = dbus_length(msg);
        if (n < 16 || n > (int64_t)sizeof(msg))
            abort();
        read_all(fd, msg + 16, (size_t)n - 16);
        if (dbus_parse(&m, msg, (size_t)n))
            abort();
        snprintf(called + strlen(called), sizeof(called) - strlen(called), "%s(%s) ", m.member, m.signature);
        bool job = strncmp(m.member, "StartTransientUnit", 9) == 0;
        if (job) { // first a signal about somebody else's
            dbus_put_u32(&body, 1);
            dbus_put_str(&body, "/job/0");
            dbus_put_str(&body, "other");
            dbus_put_str(&body, "failed");
            reply(fd, 4, 0, "JobRemoved", "uoss", &body);
            strbuf_reset(&body);
        }
        bool property = strcmp(m.member, "Get") == 0;
        if (property)
            dbus_put_sig(&body, "s");
        dbus_put_str(&body, property ? "252.1-x" : "/job/5");
        reply(fd, 2, m.serial, nullptr, property ? "v" : job ? "o" : "s", &body);
        strbuf_reset(&body);
        if (job) {
            dbus_put_u32(&body, 5);
            dbus_put_str(&body, "/job/5");
            dbus_put_str(&body, "unit");
            dbus_put_str(&body, "done");
            reply(fd, 4, 0, "JobRemoved", "uoss", &body);
        }
        strbuf_free(&body);
    }
}
TEST(dbus_start_of_a_scope)
{
    char dir[] = "/tmp/nacre-dbus.XXXXXX";
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    assert_non_null(mkdtemp(dir));
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/bus", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 1), 0);
    pthread_t t;
    pthread_create(&t, nullptr, serve, &fd);
    setenv("XDG_RUNTIME_DIR", dir, 1);
    unsetenv("DBUS_SESSION_BUS_ADDRESS");
    struct dbus d;
    struct err e = {};
    struct strbuf b = {};
    char *job = nullptr, *version = nullptr, result[32] = "";
    assert_int_equal(dbus_open(&d, true, &e), 0);
    assert_int_equal(dbus_property(&d, "Version", &version, &e), 0);
    assert_string_equal(version, "252.1-x");
    mem_free(version);
    dbus_put_str(&b, "x.scope");
    assert_int_equal(dbus_call(&d, "StartTransientUnit", "s", &b, &job, &e), 0);
    assert_string_equal(job, "/job/5");
    assert_int_equal(dbus_await_job(&d, job, result, sizeof(result), &e), 0);
    assert_string_equal(result, "done");
    mem_free(job);
    strbuf_free(&b);
    dbus_close(&d);
    pthread_join(t, nullptr);
    close(fd);
    unlink(a.sun_path);
    rmdir(dir);
    assert_string_equal(called, "Hello() AddMatch(s) Subscribe() Get(ss) StartTransientUnit(s) ");
}
TEST(dbus_nobody_there)
{
    struct dbus d;
    struct err e = {};
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
    setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/b,guid=1;unix:path=/c", 1);
    assert_true(dbus_open(&d, true, &e) < 0);
    assert_non_null(strstr(e.text, "no connection to systemd (/nonexistent/b)"));
    unsetenv("DBUS_SESSION_BUS_ADDRESS");
}
