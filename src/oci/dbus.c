// SPDX-License-Identifier: Apache-2.0
// A D-Bus client in the size of one question, see dbus.h. (Our binary is static: libsystemd cannot be
// loaded into it, and a library for this is more code in a privileged process than this is.)
#include "oci/dbus.h"
#include "base/slab.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

constexpr size_t MESSAGE_MAX = 1 << 20;
constexpr int TIMEOUT_MS = 30000;
static const char systemd_name[] = "org.freedesktop.systemd1", systemd_path[] = "/org/freedesktop/systemd1",
                  manager[] = "org.freedesktop.systemd1.Manager", bus_name[] = "org.freedesktop.DBus",
                  bus_path[] = "/org/freedesktop/DBus";

// --- writing ----------------------------------------------------------------------------------------
void dbus_align(struct strbuf *b, size_t n)
{
    while (b->len % n && !b->bad)
        strbuf_char(b, 0);
}
void dbus_put_u32(struct strbuf *b, uint32_t v)
{
    dbus_align(b, sizeof(v));
    strbuf_put(b, &v, sizeof(v));
}
void dbus_put_u64(struct strbuf *b, uint64_t v)
{
    dbus_align(b, sizeof(v));
    strbuf_put(b, &v, sizeof(v));
}
void dbus_put_str(struct strbuf *b, const char *s)
{
    dbus_put_u32(b, (uint32_t)strlen(s));
    strbuf_put(b, s, strlen(s) + 1);
}
void dbus_put_sig(struct strbuf *b, const char *s)
{
    strbuf_char(b, (char)strlen(s));
    strbuf_put(b, s, strlen(s) + 1);
}
size_t dbus_array_begin(struct strbuf *b, size_t align)
{
    dbus_put_u32(b, 0);
    size_t at = b->len - sizeof(uint32_t);
    dbus_align(b, align);
    return at;
}
void dbus_array_end(struct strbuf *b, size_t at, size_t align)
{
    size_t start = (at + sizeof(uint32_t) + align - 1) / align * align;
    uint32_t n = (uint32_t)(b->len - start);
    if (!b->bad)
        memcpy(b->p + at, &n, sizeof(n));
}

static void header_field(struct strbuf *b, char code, const char *type, const char *value)
{
    dbus_align(b, 8);
    strbuf_char(b, code);
    dbus_put_sig(b, type);
    if (*type == 'g')
        dbus_put_sig(b, value);
    else
        dbus_put_str(b, value);
}
void dbus_build_call(struct strbuf *out, uint32_t serial, bool direct, const char *destination,
                     const char *path, const char *interface, const char *member,
                     const char *signature, const struct strbuf *body)
{
    const char head[4] = {'l', 1, 0, 1}; // little-endian, call, no flags, version
    strbuf_put(out, head, sizeof(head));
    dbus_put_u32(out, body ? (uint32_t)body->len : 0);
    dbus_put_u32(out, serial);
    size_t at = dbus_array_begin(out, 8);
    header_field(out, 1, "o", path);
    header_field(out, 2, "s", interface);
    header_field(out, 3, "s", member);
    if (!direct)
        header_field(out, 6, "s", destination);
    if (*signature)
        header_field(out, 8, "g", signature);
    dbus_array_end(out, at, 8);
    dbus_align(out, 8);
    if (body)
        strbuf_put(out, body->p, body->len);
    out->bad |= body && body->bad;
}

// --- reading ----------------------------------------------------------------------------------------
static uint32_t u32_at(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}
int64_t dbus_length(const uint8_t h[16])
{
    uint64_t body = u32_at(h + 4), fields = u32_at(h + 12);
    if (h[0] != 'l' || h[3] != 1 || body > MESSAGE_MAX || fields > MESSAGE_MAX)
        return -EBADMSG;
    return (int64_t)((16 + fields + 7) / 8 * 8 + body);
}

// The reader's place is the distance from the start, by which everything is aligned.
static bool skip_to(struct span *s, const uint8_t *start, size_t align)
{
    size_t at = (size_t)(s->p - start), pad = (align - at % align) % align;
    return span_take(s, pad) != nullptr || pad == 0;
}
static const uint8_t *take_u32(struct span *s, const uint8_t *start, uint32_t *v)
{
    const uint8_t *p = skip_to(s, start, sizeof(*v)) ? span_take(s, sizeof(*v)) : nullptr;
    if (p)
        *v = u32_at(p);
    return p;
}
static const char *take_text(struct span *s, const uint8_t *start, bool signature)
{
    uint32_t n = 0;
    const uint8_t *p;
    if (signature) {
        if (!(p = span_take(s, 1)))
            return nullptr;
        n = *p;
    } else if (!take_u32(s, start, &n)) {
        return nullptr;
    }
    if (n > MESSAGE_MAX || !(p = span_take(s, (size_t)n + 1)) || p[n] || memchr(p, 0, n))
        return nullptr;
    return (const char *)p;
}

static bool take_field(struct dbus_message *m, struct span *s, const uint8_t *start)
{
    const uint8_t *code = skip_to(s, start, 8) ? span_take(s, 1) : nullptr;
    const char *type = code ? take_text(s, start, true) : nullptr;
    uint32_t n = 0;
    if (!type || strlen(type) != 1)
        return false;
    if (*type == 'u') {
        if (!take_u32(s, start, &n))
            return false;
        if (*code == 5)
            m->reply_to = n;
        return true;
    }
    if (!strchr("sog", *type))
        return false;
    const char *v = take_text(s, start, *type == 'g');
    if (!v)
        return false;
    if (*code == 3)
        snprintf(m->member, sizeof(m->member), "%s", v);
    else if (*code == 4)
        snprintf(m->error, sizeof(m->error), "%s", v);
    else if (*code == 8)
        snprintf(m->signature, sizeof(m->signature), "%s", v);
    return true;
}
int dbus_parse(struct dbus_message *m, const void *p, size_t n)
{
    const uint8_t *start = p;
    *m = (struct dbus_message){};
    if (n < 16 || dbus_length(start) != (int64_t)n)
        return -EBADMSG;
    m->type = start[1];
    m->serial = u32_at(start + 8);
    size_t fields = u32_at(start + 12), body = u32_at(start + 4);
    struct span s = span_of(start + 16, fields);
    while (s.n > 0)
        if (!take_field(m, &s, start))
            return -EBADMSG;
    m->body = span_of(start + n - body, body);
    return 0;
}
char *dbus_take_str(struct span *body, const void *start)
{
    const char *s = take_text(body, start, false);
    return s ? mem_strdup(s) : nullptr;
}

// --- the connection ---------------------------------------------------------------------------------
static int wait_for(const struct dbus *d, short what)
{
    struct pollfd p = {.fd = d->fd, .events = what};
    int r = poll(&p, 1, TIMEOUT_MS);
    return r > 0 ? 0 : r == 0 ? -ETIMEDOUT : -errno;
}
static int send_all(struct dbus *d, const void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = send(d->fd, (const char *)p + done, n - done, MSG_NOSIGNAL);
        if (r < 0 && errno != EINTR)
            return -errno;
        done += r > 0 ? (size_t)r : 0;
    }
    return 0;
}
static int receive_all(struct dbus *d, void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        int err = wait_for(d, POLLIN);
        if (err)
            return err;
        ssize_t r = recv(d->fd, (char *)p + done, n - done, 0);
        if (r == 0)
            return -ECONNRESET;
        if (r < 0 && errno != EINTR)
            return -errno;
        done += r > 0 ? (size_t)r : 0;
    }
    return 0;
}

static int auth_answer(struct dbus *d, char *answer, size_t n)
{
    size_t len = 0;
    int err = 0;
    while (!err && len < n - 1 && (len == 0 || answer[len - 1] != '\n'))
        if ((err = receive_all(d, answer + len, 1)) == 0)
            len++;
    answer[len] = 0;
    return err;
}
static int authenticate(struct dbus *d)
{
    char uid[16], line[128], hex[40] = "", answer[256];
    snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
    for (size_t i = 0; uid[i]; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned)uid[i]);
    int n = snprintf(line, sizeof(line), "%cAUTH EXTERNAL %s\r\n", 0, hex);
    int err = send_all(d, line, (size_t)n);
    if (!err && (err = auth_answer(d, answer, sizeof(answer))) == 0 &&
        strncmp(answer, "REJECTED", 8) == 0) {
        // In a user namespace our id is not what the bus sees: it is to take what it sees.
        static const char again[] = "AUTH EXTERNAL\r\n", nothing[] = "DATA\r\n";
        if ((err = send_all(d, again, sizeof(again) - 1)) == 0 &&
            (err = auth_answer(d, answer, sizeof(answer))) == 0 && strncmp(answer, "DATA", 4) == 0 &&
            (err = send_all(d, nothing, sizeof(nothing) - 1)) == 0)
            err = auth_answer(d, answer, sizeof(answer));
    }
    if (!err && strncmp(answer, "OK ", 3) != 0)
        err = -EACCES;
    return err ? err : send_all(d, "BEGIN\r\n", 7);
}

static int connect_to(struct dbus *d, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(a.sun_path))
        return -ENAMETOOLONG;
    memcpy(a.sun_path, path, strlen(path));
    d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (d->fd < 0)
        return -errno;
    int err = connect(d->fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : authenticate(d);
    if (err)
        close(d->fd);
    return err;
}

// The next message that matters: an answer to `serial`, or (0) any signal. Owned bytes in *out.
static int next_message(struct dbus *d, struct dbus_message *m, uint8_t **out)
{
    uint8_t head[16];
    int err = receive_all(d, head, sizeof(head));
    int64_t n = err ? err : dbus_length(head);
    if (n < 0)
        return (int)n;
    uint8_t *p = mem_alloc((size_t)n);
    if (!p)
        return -ENOMEM;
    memcpy(p, head, sizeof(head));
    err = receive_all(d, p + sizeof(head), (size_t)n - sizeof(head));
    if (!err)
        err = dbus_parse(m, p, (size_t)n);
    if (err)
        mem_free(p);
    else
        *out = p;
    return err;
}

// The string that an answer begins with, also in a variant. Owned; null: none.
static char *first_text(struct dbus_message *m)
{
    const uint8_t *start = m->body.p;
    const char *type = m->signature;
    if (*type == 'v' && !(type = take_text(&m->body, start, true)))
        return nullptr;
    return *type && strchr("so", *type) ? dbus_take_str(&m->body, start) : nullptr;
}

static int call(struct dbus *d, const char *destination, const char *path, const char *interface,
                const char *member, const char *signature, const struct strbuf *body, char **reply,
                struct err *e)
{
    struct strbuf out = {};
    uint32_t serial = ++d->serial;
    dbus_build_call(&out, serial, d->direct, destination, path, interface, member, signature, body);
    int err = out.bad ? -ENOMEM : send_all(d, out.p, out.len);
    strbuf_free(&out);
    while (!err) {
        struct dbus_message m;
        uint8_t *bytes;
        if ((err = next_message(d, &m, &bytes)) != 0)
            break;
        bool mine = (m.type == 2 || m.type == 3) && m.reply_to == serial;
        char *text = mine ? first_text(&m) : nullptr;
        mem_free(bytes);
        if (!mine)
            continue;
        if (m.type == 3)
            err = err_set(e, -EIO, "systemd: %s: %s: %s", member, m.error, text ? text : "");
        if (reply && !err)
            *reply = text;
        else
            mem_free(text);
        return err;
    }
    return err_errno(e, err, "systemd: %s", member);
}

// A user's bus: what DBUS_SESSION_BUS_ADDRESS says, or where it usually is.
static void user_bus(char *path, size_t n, char *private_path, size_t private_n)
{
    static const char scheme[] = "unix:path=";
    const char *runtime = getenv("XDG_RUNTIME_DIR"), *address = getenv("DBUS_SESSION_BUS_ADDRESS");
    if (!runtime || runtime[0] != '/')
        runtime = "/nonexistent";
    snprintf(path, n, "%s/bus", runtime);
    snprintf(private_path, private_n, "%s/systemd/private", runtime);
    if (address && strncmp(address, scheme, sizeof(scheme) - 1) == 0) {
        address += sizeof(scheme) - 1;
        snprintf(path, n, "%.*s", (int)strcspn(address, ",;"), address);
    }
}
int dbus_open(struct dbus *d, bool user, struct err *e)
{
    char path[128] = "/run/dbus/system_bus_socket", direct[128] = "/run/systemd/private";
    *d = (struct dbus){.fd = -1};
    if (user)
        user_bus(path, sizeof(path), direct, sizeof(direct));
    int err = connect_to(d, path);
    if (err) {
        d->direct = connect_to(d, direct) == 0;
        err = d->direct ? 0 : err;
    }
    if (err)
        return err_errno(e, err, "systemd cgroups: no connection to systemd (%s)", path);
    if (d->direct)
        return 0;
    struct strbuf match = {};
    dbus_put_str(&match, "type='signal',sender='org.freedesktop.systemd1',"
                         "interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
    if ((err = call(d, bus_name, bus_path, bus_name, "Hello", "", nullptr, nullptr, e)) == 0 &&
        (err = call(d, bus_name, bus_path, bus_name, "AddMatch", "s", &match, nullptr, e)) == 0)
        err = call(d, systemd_name, systemd_path, manager, "Subscribe", "", nullptr, nullptr, e);
    strbuf_free(&match);
    if (err)
        dbus_close(d);
    return err;
}
void dbus_close(struct dbus *d)
{
    close(d->fd);
    d->fd = -1;
}
int dbus_call(struct dbus *d, const char *member, const char *signature, const struct strbuf *body,
              char **reply, struct err *e)
{
    return call(d, systemd_name, systemd_path, manager, member, signature, body, reply, e);
}

int dbus_property(struct dbus *d, const char *name, char **value, struct err *e)
{
    struct strbuf b = {};
    dbus_put_str(&b, manager);
    dbus_put_str(&b, name);
    *value = nullptr;
    int err = call(d, systemd_name, systemd_path, "org.freedesktop.DBus.Properties", "Get", "ss", &b,
                   value, e);
    strbuf_free(&b);
    return err || *value ? err : err_set(e, -EBADMSG, "systemd: property %s is no text", name);
}

int dbus_await_job(struct dbus *d, const char *job, char *result, size_t n, struct err *e)
{
    for (;;) {
        struct dbus_message m;
        uint8_t *bytes;
        int err = next_message(d, &m, &bytes);
        if (err)
            return err_errno(e, err, "systemd: waiting for %s", job);
        bool found = false;
        if (m.type == 4 && strcmp(m.member, "JobRemoved") == 0 && strcmp(m.signature, "uoss") == 0) {
            const uint8_t *start = m.body.p;
            struct span b = m.body;
            uint32_t id;
            char *path = take_u32(&b, start, &id) ? dbus_take_str(&b, start) : nullptr,
                 *unit = path ? dbus_take_str(&b, start) : nullptr,
                 *what = unit ? dbus_take_str(&b, start) : nullptr;
            found = what && strcmp(path, job) == 0;
            if (found)
                snprintf(result, n, "%s", what);
            mem_free(path);
            mem_free(unit);
            mem_free(what);
        }
        mem_free(bytes);
        if (found)
            return 0;
    }
}
