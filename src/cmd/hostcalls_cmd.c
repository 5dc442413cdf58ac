// SPDX-License-Identifier: Apache-2.0
// nacre hostcalls (not listed): the host calls of each process, for doc/security.md and for tests.
#include "cmd/cmd.h"
#include "cmd/hostcalls.h"
#include <stdio.h>
#include <string.h>

static int hostcalls_run(struct globals *g, int argc, char **argv, struct err *e)
{
    const char *format = "md", *table = nullptr;
    const struct opt opts[] = {{"format", OPT_STR, &format}, {"table", OPT_STR, &table}};
    int i = 1;
    if (opts_parse(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    struct strbuf out = {};
    if (strcmp(format, "md") == 0) {
        hostcalls_markdown(&out);
    } else if (strcmp(format, "golden") == 0 || strcmp(format, "bpf") == 0) {
        for (int t = 0; t <= TABLE_STUB; t++) {
            if (!table || strcmp(hostcall_table_name((enum hostcall_table)t), table) != 0)
                continue;
            if (format[0] == 'g') {
                hostcalls_golden((enum hostcall_table)t, &out);
                continue;
            }
            if (t == TABLE_STUB)
                return err_set(e, 1, "--format bpf: the stub's filter depends on its address");
            static struct sock_filter prog[SECCOMP_MAX_INSNS];
            int n = hostcalls_compile((enum hostcall_table)t, false, prog, ARRAY_LEN(prog));
            if (n < 0)
                return err_errno(e, 1, "table %s", table);
            for (int k = 0; k < n; k++)
                strbuf_fmt(&out, "%04x %u %u %08x\n", prog[k].code, prog[k].jt, prog[k].jf,
                           prog[k].k);
        }
        if (!out.len)
            return err_set(e, 1, "--table: stub, sentry, sentry-ptrace, gofer or supervisor");
    } else {
        return err_set(e, 1, "--format: %s is none of md, golden, bpf", format);
    }
    if (out.bad)
        return err_set(e, 1, "out of memory");
    fwrite(out.p, 1, out.len, stdout);
    strbuf_free(&out);
    return 0;
}
const struct command command_hostcalls = {
    .name = "hostcalls", .args = "[--format md|golden|bpf] [--table NAME]", .run = hostcalls_run,
};
