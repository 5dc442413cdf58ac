// SPDX-License-Identifier: Apache-2.0
// nacre state, list: what is there, for engines and for people.
#include "cmd/client.h"
#include <dirent.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void add(struct json_object *o, const char *key, const char *v)
{
    json_object_object_add(o, key, json_object_new_string(v));
}
static int pid_of(const struct container *c)
{
    return c->status == CONTAINER_STOPPED ? 0 : (int)c->info.pid;
}

static struct json_object *state_json(const struct container *c)
{
    struct json_object *o = json_object_new_object(), *notes = json_object_new_object();
    add(o, "ociVersion", STATE_OCI_VERSION);
    add(o, "id", c->info.id);
    json_object_object_add(o, "pid", json_object_new_int(pid_of(c)));
    add(o, "status", container_status_name(c->status));
    add(o, "bundle", c->info.bundle);
    add(o, "rootfs", c->info.rootfs);
    add(o, "created", c->info.created);
    for (size_t i = 0; i < c->info.annotations.n; i++)
        add(notes, c->info.annotations.v[i].key, c->info.annotations.v[i].value);
    if (c->info.annotations.n)
        json_object_object_add(o, "annotations", notes);
    else
        json_object_put(notes);
    add(o, "owner", c->info.owner);
    return o;
}

static int state_run(struct globals *g, int argc, char **argv, struct err *e)
{
    struct container c;
    const char *id = only_id(argc, argv, e);
    if (!id || container_find(g, id, &c, e))
        return 1;
    struct json_object *o = state_json(&c);
    puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                               JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
    return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}
static int not_hidden(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static int list_run(struct globals *g, int argc, char **argv, struct err *e)
{
    const char *format = "table";
    bool quiet = false;
    const struct opt opts[] = {{"format", OPT_STR, &format}, {"f", OPT_STR, &format},
                               {"quiet", OPT_BOOL, &quiet}, {"q", OPT_BOOL, &quiet}};
    int i = 1;
    struct dirent **names;
    if (opts_parse_anywhere(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    bool json = strcmp(format, "json") == 0;
    if (i < argc || (!json && strcmp(format, "table") != 0))
        return err_set(e, 1, i < argc ? "unexpected argument %s" : "invalid format option: %s",
                       i < argc ? argv[i] : format);
    int root = state_open_root(g->launch.state_root, e);
    if (root < 0)
        return 1;
    int n = scandirat(root, ".", &names, not_hidden, by_name);
    if (n < 0)
        return err_set(e, 1, "%s: cannot be read", g->launch.state_root);
    struct json_object *all = json_object_new_array();
    if (!json && !quiet)
        printf("%-24s %-10s %-10s %-32s %-30s %s\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED",
               "OWNER");
    for (int k = 0; k < n; k++) {
        struct container c;
        struct err ignored = {}; // gone meanwhile, or not ours
        if (container_look(root, names[k]->d_name, &c, &ignored))
            continue;
        if (quiet)
            puts(c.info.id);
        else if (json)
            json_object_array_add(all, state_json(&c));
        else
            printf("%-24s %-10d %-10s %-32s %-30s %s\n", c.info.id, pid_of(&c),
                   container_status_name(c.status), c.info.bundle, c.info.created, c.info.owner);
        state_info_free(&c.info);
    }
    if (json && !quiet)
        puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PLAIN |
                                                     JSON_C_TO_STRING_NOSLASHESCAPE));
    return 0;
}

const struct command command_state = {
    .name = "state", .args = "ID", .help = "print the state of a container", .run = state_run,
};
const struct command command_list = {
    .name = "list", .args = "[--format table|json] [--quiet]", .help = "list containers",
    .flags = "  --format table|json\n  --quiet             ids only\n", .run = list_run,
};
