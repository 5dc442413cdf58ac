// SPDX-License-Identifier: Apache-2.0
// Prints guest system calls one line each, after they return, so that output buffers can be shown.
// Everything printed comes from the guest: strings are cut and escaped here, and again by the log.
#include "sys/strace.h"
#include "abi/errno.h"
#include "base/log.h"
#include "sys/syscalls.h"
#include <string.h>

constexpr size_t STRACE_DATA_MAX = 48;
static bool wanted[SYSCALL_TABLE_LEN]; // [C after lockdown]

static int wanted_set(const char *name, size_t n)
{
    for (int i = 0; i < SYSCALL_TABLE_LEN; i++) {
        const char *have = syscall_table[i].name;
        if (have && strlen(have) == n && !memcmp(have, name, n)) {
            wanted[i] = true;
            return 0;
        }
    }
    return -EINVAL;
}

int strace_configure(const char *list, char *bad, size_t n)
{
    if (!list || !*list) {
        memset(wanted, 1, sizeof(wanted));
        return 0;
    }
    while (*list) {
        size_t len = strcspn(list, ",");
        if (len && wanted_set(list, len) != 0) {
            size_t keep = MIN(len, n - 1);
            memcpy(bad, list, keep);
            bad[keep] = 0;
            return -EINVAL;
        }
        list += len + (list[len] == ',');
    }
    return 0;
}

bool strace_wants(uint64_t nr)
{
    return nr < SYSCALL_TABLE_LEN && wanted[nr];
}

static void put_escaped(struct strbuf *b, const uint8_t *p, size_t n, bool cut)
{
    strbuf_char(b, '"');
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n')
            strbuf_str(b, "\\n");
        else if (p[i] == '"' || p[i] == '\\')
            strbuf_fmt(b, "\\%c", p[i]);
        else if (p[i] < 0x20 || p[i] >= 0x7f)
            strbuf_fmt(b, "\\x%02x", p[i]);
        else
            strbuf_char(b, (char)p[i]);
    }
    strbuf_str(b, cut ? "\"..." : "\"");
}

static void put_path(struct task *t, struct strbuf *b, uint64_t addr)
{
    char path[256];
    long n = addr ? copy_in_str(t->mm, path, UADDR(addr), sizeof(path)) : -EFAULT;
    if (n == -ENAMETOOLONG)
        put_escaped(b, (const uint8_t *)path, sizeof(path), true);
    else if (n >= 0)
        put_escaped(b, (const uint8_t *)path, (size_t)n, false);
    else
        strbuf_fmt(b, "0x%lx", addr);
}

static void put_data(struct task *t, struct strbuf *b, uint64_t addr, uint64_t len)
{
    uint8_t data[STRACE_DATA_MAX];
    size_t want = MIN(len, STRACE_DATA_MAX);
    long n = addr && want ? copy_in_partial(t->mm, data, UADDR(addr), want) : -EFAULT;
    if (n < 0)
        strbuf_fmt(b, "0x%lx", addr);
    else
        put_escaped(b, data, (size_t)n, len > (size_t)n);
}

// One argument. `kind` is its word in the row; data buffers are shown when the next argument is
// their size.
static void put_arg(struct task *t, struct strbuf *b, const char *kind, size_t n, bool sized,
                    const uint64_t *a, long result, bool returned)
{
#define IS(k) (n == sizeof(k) - 1 && !memcmp(kind, k, n))
    if (IS("path"))
        put_path(t, b, a[0]);
    else if (IS("fd") || IS("int") || IS("pid"))
        strbuf_fmt(b, "%d", (int)a[0]);
    else if (IS("sig"))
        strbuf_fmt(b, "SIG%d", (int)a[0]);
    else if (IS("mode"))
        strbuf_fmt(b, "0%o", (unsigned)a[0]);
    else if (IS("size") || IS("ulong"))
        strbuf_fmt(b, "%lu", a[0]);
    else if (IS("long") || IS("off"))
        strbuf_fmt(b, "%ld", (long)a[0]);
    else if (IS("uint"))
        strbuf_fmt(b, "%u", (unsigned)a[0]);
    else if (IS("inbuf") && sized)
        put_data(t, b, a[0], a[1]);
    else if (IS("outbuf") && sized && returned && result >= 0)
        put_data(t, b, a[0], MIN((uint64_t)result, a[1]));
    else
        strbuf_fmt(b, "0x%lx", a[0]);
#undef IS
}

static void put_result(struct strbuf *b, long result, bool returned)
{
    if (!returned)
        strbuf_str(b, " ...");
    else if (result < 0 && result >= -4095) {
        const char *name = strerrorname_np((int)-result);
        strbuf_fmt(b, " = %ld %s", result <= -ERESTARTSYS ? result : -1L, name ? name : "(restart)");
    } else if (result > 0xfffff)
        strbuf_fmt(b, " = 0x%lx", (unsigned long)result);
    else
        strbuf_fmt(b, " = %ld", result);
}

void strace_print(struct task *t, uint64_t nr, const uint64_t args[6], long result, bool returned)
{
    const struct syscall_row *row = nr < SYSCALL_TABLE_LEN ? &syscall_table[nr] : nullptr;
    struct strbuf b = {};
    if (!row || !row->name) {
        strbuf_fmt(&b, "syscall_%lu(0x%lx, 0x%lx, 0x%lx)", nr, args[0], args[1], args[2]);
    } else {
        strbuf_fmt(&b, "%s(", row->name);
        const char *k = row->kinds;
        for (int i = 0; i < row->nargs; i++) {
            size_t n = strcspn(k, " ");
            const char *next = strchr(k, ',');
            bool sized = next && !strncmp(next + 1, "size ", 5);
            if (i)
                strbuf_str(&b, ", ");
            put_arg(t, &b, k, n, sized && i < 5, &args[i], result, returned);
            k = next ? next + 1 : "";
        }
        strbuf_char(&b, ')');
    }
    put_result(&b, result, returned);
    if (!b.bad)
        log_write(LOG_INFO, "[%d %s] %s", task_tid_in(t, t->pidns), t->comm, b.p);
    strbuf_free(&b);
}
