// SPDX-License-Identifier: Apache-2.0
// The log writer. Formats into a fixed buffer on the stack, escapes what is not printable (guests
// choose names and arguments), and writes the line with one host call that the filters allow.
#include "base/log.h"
#include "host/raw.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

enum log_level log_level_now = LOG_WARN;
static int the_fd = -1;
static enum log_format the_format = LOG_TEXT;
static char the_name[32];
static const char *const level_names[] = {"error", "warning", "info", "debug"};
constexpr size_t LOG_MSG_MAX = 1024;
constexpr size_t LOG_LINE_MAX = 3 * LOG_MSG_MAX; // what escaping makes longer is cut

void log_init(int fd, enum log_format format, enum log_level level, const char *who)
{
    snprintf(the_name, sizeof(the_name), "%s", who ? who : "nacre");
    the_format = format;
    log_level_now = level;
    the_fd = fd;
}

int log_fd(void)
{
    return the_fd;
}

struct line {
    char p[LOG_LINE_MAX];
    size_t n;
};
static void line_put(struct line *l, const char *s, size_t n)
{
    n = MIN(n, sizeof(l->p) - 4 - l->n); // 4: the closing "}\n
    memcpy(l->p + l->n, s, n);
    l->n += n;
}
static void line_str(struct line *l, const char *s)
{
    line_put(l, s, strlen(s));
}
// Decimal with leading zeros.
static void line_num(struct line *l, uint64_t v, int width)
{
    char d[20];
    for (int i = width - 1; i >= 0; i--, v /= 10)
        d[i] = (char)('0' + v % 10);
    line_put(l, d, (size_t)width);
}

// Length of the well-formed UTF-8 sequence at s (C1 controls do not count), or 0.
static size_t utf8_len(const uint8_t *s, size_t n)
{
    static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000};
    size_t len = s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;
    if (s[0] >= 0xf5 || len == 0 || len > n)
        return 0;
    uint32_t c = s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    // Surrogates, and the marks that reorder text on a terminal, are not printed either.
    bool bad = c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ||
               (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
               (c >= 0x2066 && c <= 0x2069);
    return bad ? 0 : len;
}

static void line_escape_byte(struct line *l, uint8_t c, bool json)
{
    static const char hex[] = "0123456789abcdef";
    const char *s = c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : nullptr;
    if (s) {
        line_put(l, s, 2);
    } else if (json && c >= 0x80) {
        line_put(l, "\\ufffd", 6);
    } else if (json) {
        char e[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        line_put(l, e, 6);
    } else {
        char e[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
        line_put(l, e, 4);
    }
}

static void line_escaped(struct line *l, const char *msg, size_t n, bool json)
{
    const uint8_t *s = (const uint8_t *)msg;
    // An escape is never cut in two: 8 bytes are kept for the last one.
    for (size_t i = 0; i < n && l->n < sizeof(l->p) - 16;) {
        size_t len = s[i] >= 0x20 && s[i] < 0x7f ? 1 : s[i] >= 0x80 ? utf8_len(s + i, n - i) : 0;
        if (len == 1 && json && (s[i] == '"' || s[i] == '\\'))
            line_put(l, "\\", 1);
        if (len)
            line_put(l, msg + i, len);
        else
            line_escape_byte(l, s[i], json);
        i += len ? len : 1;
    }
}

// UTC date of a day number since 1970, without the C library's time zone locks.
static void line_time(struct line *l)
{
    struct timespec ts = {};
    clock_gettime(CLOCK_REALTIME, &ts);
    int64_t secs = ts.tv_sec, days = secs / 86400, rem = secs % 86400;
    int64_t z = days + 719468, era = z / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 3 : mp - 9;
    line_num(l, (uint64_t)(yoe + era * 400 + (month <= 2)), 4);
    line_put(l, "-", 1);
    line_num(l, (uint64_t)month, 2);
    line_put(l, "-", 1);
    line_num(l, (uint64_t)(doy - (153 * mp + 2) / 5 + 1), 2);
    line_put(l, "T", 1);
    line_num(l, (uint64_t)(rem / 3600), 2);
    line_put(l, ":", 1);
    line_num(l, (uint64_t)(rem / 60 % 60), 2);
    line_put(l, ":", 1);
    line_num(l, (uint64_t)(rem % 60), 2);
    line_put(l, ".", 1);
    line_num(l, (uint64_t)ts.tv_nsec / 1000, 6);
    line_put(l, "Z", 1);
}

NOINLINE static void log_emit(enum log_level level, const char *msg, size_t n)
{
    struct line l;
    l.n = 0;
    const char *name = level_names[level];
    if (the_format == LOG_JSON) {
        line_str(&l, "{\"level\":\"");
        line_str(&l, name);
        line_str(&l, "\",\"time\":\"");
        line_time(&l);
        line_str(&l, "\",\"who\":\"");
        line_escaped(&l, the_name, strlen(the_name), true);
        line_str(&l, "\",\"msg\":\"");
        line_escaped(&l, msg, n, true);
        memcpy(l.p + l.n, "\"}", 2);
        l.n += 2;
    } else {
        line_time(&l);
        line_str(&l, " ");
        line_str(&l, name);
        line_str(&l, " ");
        line_str(&l, the_name);
        line_str(&l, ": ");
        line_escaped(&l, msg, n, false);
    }
    l.p[l.n++] = '\n';
    struct iovec iov = {l.p, l.n};
    host_call(__NR_pwritev2, the_fd, &iov, 1, -1, -1, 0);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    if (the_fd < 0 || (unsigned)level >= ARRAY_LEN(level_names))
        return;
    char msg[LOG_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    size_t len = MIN((size_t)n, sizeof(msg) - 1);
    while (len && msg[len - 1] == '\n')
        len--;
    log_emit(level, msg, len);
}
