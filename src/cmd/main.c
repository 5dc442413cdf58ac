// SPDX-License-Identifier: Apache-2.0
// The command line: flags that hold for all subcommands, then the subcommand. Errors are one line
// on standard error (and a record in --log's file) that names the object and the cause.
#include "cmd/cmd.h"
#include "cmd/ids.h"
#include "host/raw.h"
#include "oci/state.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static const struct command *const commands[] = {
#define COMMAND(name) &command_##name,
#include "cmd/commands.def"
#undef COMMAND
};

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return nullptr;
}

int help_print(const char *name, struct err *e)
{
    if (name) {
        const struct command *c = command_find(name);
        if (!c)
            return err_set(e, 1, "No help topic for '%s': no such command", name);
        printf("usage: nacre [global flags] %s %s\n\n%s\n%s", c->name, c->args,
               c->help ? c->help : "", c->flags ? c->flags : "");
        return 0;
    }
    puts("usage: nacre [global flags] COMMAND [flags] [arguments]\n\ncommands:");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i]->help)
            printf("  %-10s %s\n", commands[i]->name, commands[i]->help);
    puts("\nglobal flags:\n"
         "  --platform=systrap|ptrace  how guest code runs (default systrap)\n"
         "  --network=none             a loopback interface only (the only mode so far)\n"
         "  --overlay=memory|none      where what a container writes to its root goes: memory, until its\n"
         "                             end (default), or the root itself (docker commit, build)\n"
         "  --systrap-fast=on|off      may system calls be answered without the kernel (default on)\n"
         "  --systrap-patching=on|off  may system call sites be patched (default on)\n"
         "  --strace[=call,...]        print the container's system calls on the log\n"
         "  --debug                    print stages of the start, report filter violations\n"
         "  --debug-log DIR            one log file for each process of a sandbox\n"
         "  --log FILE                 log file (default: standard error)\n"
         "  --log-format text|json\n"
         "  --root DIR                 state directory (default /run/nacre)\n"
         "  --version, --help");
    return 0;
}

// Strings of others (a Sentry, a file name) must not reach a terminal as they are.
static void escape(const char *from, char *to, size_t n)
{
    size_t k = 0;
    for (; *from && k + 5 < n; from++) {
        if ((unsigned char)*from >= 0x20 && *from != 0x7f)
            to[k++] = *from;
        else
            k += (size_t)snprintf(to + k, n - k, "\\x%02x", (unsigned char)*from);
    }
    to[k] = 0;
}

// May run under the supervisor's filter: writes only.
static void report(const char *command, const struct err *e, bool log_file)
{
    char text[1500], line[1700];
    if (!e->text[0])
        return;
    escape(e->text, text, sizeof(text));
    int n = snprintf(line, sizeof(line), "nacre%s%s: %s\n", command ? " " : "",
                     command ? command : "", text);
    struct iovec v = {line, MIN((size_t)MAX(n, 0), sizeof(line) - 1)};
    host_call(__NR_pwritev2, 2, &v, 1, -1, -1, 0);
    if (log_file)
        log_error("%s", e->text);
}

static int open_own_log(const struct globals *g, struct err *e)
{
    enum log_level level = g->launch.debug ? LOG_DEBUG : LOG_WARN;
    int fd = 2;
    if (g->launch.log_file &&
        (fd = open(g->launch.log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
        return err_errno(e, -errno, "--log: %s", g->launch.log_file);
    log_init(fd, g->launch.log_format, level, "nacre");
    return 0;
}

static int parse_globals(struct globals *g, int argc, char **argv, int *i, bool *done,
                         struct err *e)
{
    const char *network = "none", *format = "text", *fast = "on", *patching = "on";
    const char *overlay = "memory";
    struct opt_maybe strace = {};
    bool version = false, help = false;
    const char *rootless = nullptr, *criu = nullptr;
    const struct opt opts[] = {
        {"platform", OPT_STR, &g->launch.platform},
        {"network", OPT_STR, &network},
        {"overlay", OPT_STR, &overlay},
        {"systrap-fast", OPT_STR, &fast},
        {"systrap-patching", OPT_STR, &patching},
        {"debug", OPT_BOOL, &g->launch.debug},
        {"debug-log", OPT_STR, &g->launch.debug_log_dir},
        {"strace", OPT_MAYBE, &strace},
        {"log", OPT_STR, &g->launch.log_file},
        {"log-format", OPT_STR, &format},
        {"root", OPT_STR, &g->launch.state_root},
        {"systemd-cgroup", OPT_BOOL, &g->launch.systemd_cgroup},
        {"rootless", OPT_STR, &rootless}, // engines give them; nothing here depends on them
        {"criu", OPT_STR, &criu},
        {"version", OPT_BOOL, &version},
        {"v", OPT_BOOL, &version},
        {"help", OPT_BOOL, &help},
        {"h", OPT_BOOL, &help},
    };
    g->launch.platform = "systrap";
    g->launch.notify = -1;
    int err = opts_parse(opts, ARRAY_LEN(opts), argc, argv, i, e);
    if (err)
        return err;
    if (version || help) {
        *done = true;
        if (version)
            puts("nacre version 0.1.0\nspec: " STATE_OCI_VERSION "");
        return version ? 0 : help_print(nullptr, e);
    }
    if (strcmp(g->launch.platform, "systrap") != 0 && strcmp(g->launch.platform, "ptrace") != 0)
        return err_set(e, -EINVAL, "--platform: there is no platform %s (systrap, ptrace)",
                       g->launch.platform);
    if (strcmp(network, "none") != 0)
        return err_set(e, -EINVAL, "--network: mode %s is not supported (only none is)", network);
    if (strcmp(overlay, "memory") != 0 && strcmp(overlay, "none") != 0)
        return err_set(e, -EINVAL, "--overlay: %s is neither memory nor none", overlay);
    if (strcmp(fast, "on") != 0 && strcmp(fast, "off") != 0)
        return err_set(e, -EINVAL, "--systrap-fast: %s is neither on nor off", fast);
    if (strcmp(patching, "on") != 0 && strcmp(patching, "off") != 0)
        return err_set(e, -EINVAL, "--systrap-patching: %s is neither on nor off", patching);
    if (strcmp(format, "json") != 0 && strcmp(format, "text") != 0)
        return err_set(e, -EINVAL, "--log-format: %s is neither text nor json", format);
    g->launch.log_format = format[0] == 'j' ? LOG_JSON : LOG_TEXT;
    g->launch.overlay_off = overlay[0] == 'n';
    g->launch.fast_off = fast[1] == 'f';
    g->launch.patching_off = patching[1] == 'f';
    g->launch.strace = strace.given;
    g->launch.strace_list = strace.value;
    if (!g->launch.state_root)
        g->launch.state_root = default_state_root();
    return open_own_log(g, e);
}

// How many descriptors --preserve-fds asks to keep; the command looks closer.
static unsigned preserved(int argc, char **argv)
{
    static const char flag[] = "--preserve-fds";
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        size_t n = sizeof(flag) - 1;
        if (strncmp(argv[i], flag, n) != 0 || (argv[i][n] && argv[i][n] != '='))
            continue;
        const char *value = argv[i][n] ? argv[i] + n + 1 : i + 1 < argc ? argv[i + 1] : "0";
        unsigned long v = strtoul(value, nullptr, 10);
        return v <= PRESERVE_MAX ? (unsigned)v : 0;
    }
    return 0;
}

// The file with the process or the limits, when the command got it open: it stays so until it is read.
static int named_file(int argc, char **argv, int i)
{
    static const char *const flags[] = {"--process", "-p", "--resources", "-r"};
    for (size_t k = 0; k < ARRAY_LEN(flags); k++) {
        size_t n = strlen(flags[k]);
        if (strcmp(argv[i], flags[k]) == 0)
            return i + 1 < argc ? fd_named(argv[i + 1]) : -1;
        if (strncmp(argv[i], flags[k], n) == 0 && argv[i][n] == '=')
            return fd_named(argv[i] + n + 1);
    }
    return -1;
}

// Nothing that the caller left open reaches a container (CVE-2024-21626), or stays open here.
static void close_inherited(int argc, char **argv)
{
    unsigned keep = 3 + preserved(argc, argv);
    int named = -1;
    for (int i = 1; i < argc && named < 0; i++)
        named = named_file(argc, argv, i);
    if (named >= (int)keep && fcntl(named, F_SETFD, FD_CLOEXEC) == 0) {
        if ((unsigned)named > keep)
            close_range(keep, (unsigned)named - 1, 0);
        close_range((unsigned)named + 1, ~0u, 0);
    } else {
        close_range(keep, ~0u, 0);
    }
    if (keep > 3)
        close_range(3, keep - 1, CLOSE_RANGE_CLOEXEC);
}

int main(int argc, char **argv)
{
    static struct globals g;
    static struct err e;
    if (argc == 2 && strcmp(argv[1], "boot") == 0)
        boot_main();
    if (argc == 2 && strcmp(argv[1], "gofer") == 0)
        gofer_boot_main();
    close_inherited(argc, argv);
    int i = 1;
    bool done = false;
    if (parse_globals(&g, argc, argv, &i, &done, &e)) {
        report(nullptr, &e, false);
        return 1;
    }
    if (done)
        return 0;
    if (i >= argc) {
        err_set(&e, 1, "no command given (see nacre help)");
        report(nullptr, &e, false);
        return 1;
    }
    const struct command *c = command_find(argv[i]);
    if (!c) {
        constexpr int no_topic = 3; // words and status are runc's
        err_set(&e, 1, "No help topic for '%s': no such command (see nacre help)", argv[i]);
        report(nullptr, &e, g.launch.log_file);
        return no_topic;
    }
    if (i + 1 < argc && (strcmp(argv[i + 1], "-h") == 0 || strcmp(argv[i + 1], "--help") == 0))
        return help_print(c->name, &e);
    int status = c->run(&g, argc - i, argv + i, &e);
    report(c->name, &e, g.launch.log_file);
    fflush(stdout);
    _exit(status);
}
