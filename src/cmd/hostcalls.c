// SPDX-License-Identifier: Apache-2.0
// Rows of host calls -> filters and their documentation.
#include "cmd/hostcalls.h"
#include "base/log.h"
#include "host/confine.h"
#include "host/raw.h"
#include "platform/platform.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <ucontext.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#ifndef FUTEX_WAIT_BITSET_PRIVATE
#error "linux/futex.h is too old"
#endif
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif

#define ROW(nr_, hot_, why_, text_, ...) \
    {.nr = nr_, .hot = hot_, .why = why_, .text = text_, .c = {__VA_ARGS__}},
#define SENTRY_CALL(name, why, ...)
#define SENTRY_HOT(name, why, ...)
#define SENTRY_PTRACE(name, why, ...)
#define SUPERVISOR_CALL(name, why, ...)

#undef SENTRY_CALL
#undef SENTRY_HOT
#define SENTRY_CALL(name, why, ...) ROW(__NR_##name, false, why, #__VA_ARGS__, __VA_ARGS__)
#define SENTRY_HOT(name, why, ...) ROW(__NR_##name, true, why, #__VA_ARGS__, __VA_ARGS__)
static const struct seccomp_rule sentry_rows[] = {
#include "host/hostcalls.def"
};
#undef SENTRY_PTRACE
#define SENTRY_PTRACE(name, why, ...) ROW(__NR_##name, true, why, #__VA_ARGS__, __VA_ARGS__)
static const struct seccomp_rule sentry_ptrace_rows[] = {
#include "host/hostcalls.def"
};
#undef SENTRY_CALL
#undef SENTRY_HOT
#undef SENTRY_PTRACE
#undef SUPERVISOR_CALL
#define SENTRY_CALL(name, why, ...)
#define SENTRY_HOT(name, why, ...)
#define SENTRY_PTRACE(name, why, ...)
#define SUPERVISOR_CALL(name, why, ...) ROW(__NR_##name, false, why, #__VA_ARGS__, __VA_ARGS__)
static const struct seccomp_rule supervisor_rows[] = {
#include "host/hostcalls.def"
};
#define GOFER_CALL(name, why, ...) ROW(__NR_##name, false, why, #__VA_ARGS__, __VA_ARGS__)
static const struct seccomp_rule gofer_rows[] = {
#include "gofer/hostcalls.def"
};

struct table {
    const char *name, *title;
    const struct seccomp_rule *rows;
    size_t n;
};
static const struct table tables[TABLE_COUNT] = {
    [TABLE_SENTRY] = {"sentry", "Sentry", sentry_rows, ARRAY_LEN(sentry_rows)},
    [TABLE_SENTRY_PTRACE] = {"sentry-ptrace", "Sentry with --platform=ptrace", sentry_ptrace_rows,
                             ARRAY_LEN(sentry_ptrace_rows)},
    [TABLE_GOFER] = {"gofer", "Gofer", gofer_rows, ARRAY_LEN(gofer_rows)},
    [TABLE_SUPERVISOR] = {"supervisor", "Supervisor", supervisor_rows, ARRAY_LEN(supervisor_rows)},
};
// Names of the numbers, for messages and documents: from the same rows.
static const struct {
    uint32_t nr;
    const char *name;
} call_names[] = {
#define NAME(n) {__NR_##n, #n},
#undef SENTRY_CALL
#undef SENTRY_HOT
#undef SENTRY_PTRACE
#undef SUPERVISOR_CALL
#undef GOFER_CALL
#define SENTRY_CALL(name, why, ...) NAME(name)
#define SENTRY_HOT(name, why, ...) NAME(name)
#define SENTRY_PTRACE(name, why, ...) NAME(name)
#define SUPERVISOR_CALL(name, why, ...) NAME(name)
#define GOFER_CALL(name, why, ...) NAME(name)
#include "gofer/hostcalls.def"
#include "host/hostcalls.def"
    NAME(clone) NAME(sigaltstack) // of the stub's
};

static struct table table_of(enum hostcall_table t)
{
    if (t < TABLE_COUNT)
        return tables[t];
    struct table stub = {.name = "stub", .title = "Stub, from its own text (all else is SIGSYS)"};
    stub.rows = stub_filter_rows(&stub.n);
    return stub;
}
const char *hostcall_table_name(enum hostcall_table t)
{
    return table_of(t).name;
}
static const char *call_name(uint32_t nr)
{
    for (size_t i = 0; i < ARRAY_LEN(call_names); i++)
        if (call_names[i].nr == nr)
            return call_names[i].name;
    return "a call that is on no list";
}

int hostcalls_compile(enum hostcall_table t, bool debug, struct sock_filter *out, size_t cap)
{
    struct seccomp_policy p = {
        .rules = tables[t].rows,
        .n = tables[t].n,
        .otherwise = debug ? SECCOMP_RET_TRAP : SECCOMP_RET_KILL_PROCESS,
        .bad_arch = SECCOMP_RET_KILL_PROCESS,
    };
    return seccomp_compile(&p, out, cap);
}

static void on_violation(int sig, siginfo_t *si, void *uc)
{
    const greg_t *r = ((ucontext_t *)uc)->uc_mcontext.gregs;
    (void)sig;
    log_error("host call %d (%s) is not allowed: args %llx %llx %llx %llx %llx %llx at %p",
              si->si_syscall, call_name((uint32_t)si->si_syscall), r[REG_RDI], r[REG_RSI],
              r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9], si->si_call_addr);
    for (;;)
        host_call(__NR_exit_group, 159);
}

int hostcalls_install(enum hostcall_table t, bool debug, bool all_threads)
{
    static struct sock_filter prog[SECCOMP_MAX_INSNS];
    int n = hostcalls_compile(t, debug, prog, ARRAY_LEN(prog));
    if (n < 0)
        return n;
    if (debug) {
        struct sigaction sa = {.sa_sigaction = on_violation, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        if (sigaction(SIGSYS, &sa, nullptr) < 0)
            return -errno;
    }
    return seccomp_install(prog, (size_t)n, all_threads ? SECCOMP_FILTER_FLAG_TSYNC : 0);
}

// "SC_EQ(2, 0), SC_SUBSET(3, A | B)" as the document says it.
static void cond_text(const char *t, struct strbuf *out)
{
    static const struct {
        const char *op, *text;
    } ops[] = {{"SC_EQ(", " is "}, {"SC_NE(", " is not "}, {"SC_IN(", " in "},
               {"SC_SUBSET(", " within "}, {"SC_MASKED(", " masked by "}, {"SC_RANGE(", " range "}};
    while (*t) {
        size_t i;
        for (i = 0; i < ARRAY_LEN(ops); i++)
            if (strncmp(t, ops[i].op, strlen(ops[i].op)) == 0)
                break;
        if (i == ARRAY_LEN(ops)) {
            strbuf_char(out, *t++);
            continue;
        }
        t += strlen(ops[i].op);
        strbuf_fmt(out, "arg%c%s", *t, ops[i].text);
        for (t += *t ? 1 : 0; *t == ',' || *t == ' '; t++)
            ;
        for (int depth = 1; *t; t++) {
            depth += *t == '(' ? 1 : *t == ')' ? -1 : 0;
            if (depth == 0) {
                t++;
                break;
            }
            if (*t == '|')
                strbuf_str(out, "\\|");
            else
                strbuf_char(out, *t);
        }
        if (*t == ',') {
            strbuf_str(out, " and");
            t++;
        }
    }
}

static void table_markdown(const struct table *t, bool ptrace_only, struct strbuf *out)
{
    size_t calls = 0;
    for (size_t i = 0; i < t->n; i++) {
        size_t k = 0;
        while (t->rows[k].nr != t->rows[i].nr)
            k++;
        calls += k == i;
    }
    strbuf_fmt(out, "### %s: %zu host calls\n\n| call | rule | why |\n|---|---|---|\n", t->title,
               calls);
    for (size_t i = 0; i < t->n; i++) {
        const struct seccomp_rule *r = &t->rows[i];
        if (ptrace_only && r->nr != __NR_ptrace)
            continue; // the others are those of the Sentry
        strbuf_fmt(out, "| %s | ", call_name(r->nr));
        if (r->text[0])
            cond_text(r->text, out);
        else
            strbuf_char(out, '-');
        strbuf_fmt(out, " | %s |\n", r->why);
    }
    strbuf_char(out, '\n');
}
void hostcalls_markdown(struct strbuf *out)
{
    static const enum hostcall_table order[] = {TABLE_STUB, TABLE_SENTRY, TABLE_SENTRY_PTRACE,
                                                TABLE_GOFER, TABLE_SUPERVISOR};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        struct table t = table_of(order[i]);
        table_markdown(&t, order[i] == TABLE_SENTRY_PTRACE, out);
    }
}

void hostcalls_golden(enum hostcall_table t, struct strbuf *out)
{
    static const char *const ops[] = {"", "==", "!=", "in", "within", "masked", "range"};
    const struct table tab = table_of(t);
    for (size_t i = 0; i < tab.n; i++) {
        const struct seccomp_rule *r = &tab.rows[i];
        strbuf_fmt(out, "%u %s", r->nr, call_name(r->nr));
        for (int k = 0; k < SECCOMP_MAX_CONDS && r->c[k].op != SC_OP_NONE; k++) {
            const struct seccomp_cond *c = &r->c[k];
            strbuf_fmt(out, " [%u %s", c->arg, ops[c->op]);
            if (c->op == SC_OP_IN)
                for (int j = 0; j < c->n; j++)
                    strbuf_fmt(out, " %#llx", (unsigned long long)c->list[j]);
            else
                strbuf_fmt(out, " %#llx", (unsigned long long)c->a);
            if (c->op == SC_OP_MASKED || c->op == SC_OP_RANGE)
                strbuf_fmt(out, " %#llx", (unsigned long long)c->b);
            strbuf_char(out, ']');
        }
        strbuf_char(out, '\n');
    }
}
