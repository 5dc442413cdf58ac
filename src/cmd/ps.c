// SPDX-License-Identifier: Apache-2.0
// nacre ps. The table is the container's own view. The JSON list is for engines, which look for its
// numbers among the host's processes (docker top runs the host's ps): the process that stands for the
// container, in place of its first one, and the host processes of the others.
#include "base/slab.h"
#include "cmd/client.h"
#include "cmd/container.h"
#include "cmd/hostpid.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int ps_fetch(const struct container *c, char **out, struct err *e)
{
    struct ctl_msg m;
    struct stat st;
    int fd = memfd_create("ps", MFD_CLOEXEC), sock = state_connect(c->root, c->info.id, &c->info, e);
    if (fd < 0 || sock < 0)
        return err_set(e, -EIO, "container not running");
    static struct frozen frozen;
    frozen.frozen = false;
    container_wake(&frozen, c, false);
    int err = control_send(sock, CTL_PS, 0, &fd, 1);
    if (!err)
        err = container_answer(sock, &frozen, &m);
    container_sleep(&frozen);
    if (!err && m.value != 0)
        err = err_set(e, -EIO, "%s", m.text);
    constexpr int64_t most = 64 << 20;
    char *text = nullptr;
    if (!err && (fstat(fd, &st) < 0 || st.st_size > most ||
                 !(text = mem_alloc((size_t)st.st_size + 1)) ||
                 pread(fd, text, (size_t)st.st_size, 0) != st.st_size))
        err = -EIO;
    close(fd);
    close(sock);
    *out = text;
    return err ? err_set(e, err, "container not running") : 0;
}

// Whose child the Sentry is.
static int sandbox_supervisor(const struct container *c)
{
    const char *id = pod_sandbox(&c->info.annotations);
    struct state_info info;
    struct err ignored = {};
    if (!id || strcmp(id, c->info.id) == 0 || state_read(c->root, id, &info, &ignored))
        return (int)c->info.pid;
    int pid = (int)info.pid;
    state_info_free(&info);
    return pid;
}

// --- output -------------------------------------------------------------------------------------
struct ps_line {
    unsigned uid;
    int pid, ppid, host;
    char *name;
};
static bool parse(char *line, struct ps_line *p)
{
    int at = 0;
    if (sscanf(line, "%u %d %d %d %n", &p->uid, &p->pid, &p->ppid, &p->host, &at) != 4 || !at)
        return false;
    p->name = line + at;
    for (char *s = p->name; *s; s++) // names are the container's: no control characters
        *s = (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s;
    return true;
}

static void print_json(const struct container *c, char *text)
{
    struct host_processes all = {};
    struct json_object *list = json_object_new_array();
    char *rest;
    struct ps_line p;
    int supervisor = sandbox_supervisor(c), seen = host_processes_read(&all);
    bool first = true;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(nullptr, "\n", &rest)) {
        if (!parse(line, &p))
            continue;
        int pid = first           ? (int)c->info.pid
                  : seen || !p.host ? 0
                                    : host_process_inside(&all, supervisor, p.host);
        first = false;
        bool twice = false;
        for (size_t i = 0; i < json_object_array_length(list); i++) // one that shares its memory
            twice |= json_object_get_int(json_object_array_get_idx(list, i)) == pid;
        if (pid && !twice)
            json_object_array_add(list, json_object_new_int(pid));
    }
    puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN));
}

static void print_table(char *text)
{
    char *rest;
    struct ps_line p;
    printf("%-10s %7s %7s %s\n", "UID", "PID", "PPID", "CMD");
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(nullptr, "\n", &rest))
        if (parse(line, &p))
            printf("%-10u %7d %7d %s\n", p.uid, p.pid, p.ppid, p.name);
}

static int ps_run(struct globals *g, int argc, char **argv, struct err *e)
{
    struct container c;
    const char *format = "table";
    const struct opt opts[] = {{"format", OPT_STR, &format}, {"f", OPT_STR, &format}};
    int i = 1;
    char *text;
    if (opts_parse(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    if (i >= argc)
        return err_set(e, 1, "no container id given");
    bool json = strcmp(format, "json") == 0;
    if (!json && strcmp(format, "table") != 0)
        return err_set(e, 1, "invalid format option: %s", format);
    if (container_find(g, argv[i], &c, e))
        return 1;
    if (c.status == CONTAINER_STOPPED) { // nothing is left to list, which is no error in runc's
        if (json)
            puts("null");
        else
            print_table(&(char){0});
        return 0;
    }
    if (container_unreachable(&c, e))
        return 1;
    if (ps_fetch(&c, &text, e))
        return 1;
    if (json)
        print_json(&c, text);
    else
        print_table(text);
    return 0;
}

const struct command command_ps = {
    .name = "ps", .args = "[--format table|json] ID", .help = "list the processes of a container",
    .flags = "  --format table|json   json: their numbers on the host; the first is the process that\n"
             "                        stands for the container\n",
    .run = ps_run,
};
