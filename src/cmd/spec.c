// SPDX-License-Identifier: Apache-2.0
// nacre spec: writes a config.json to start from.
#include "base/slab.h"
#include "cmd/cmd.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// As an ordinary user may run it: in a user namespace that maps the caller, without a network
// namespace of its own, nothing owned by other groups.
static char *rootless_text(void)
{
    struct json_object *o = json_tokener_parse(spec_template()), *lin, *spaces, *mounts, *options;
    struct json_object *user = json_object_new_object(), *kept = json_object_new_array();
    if (!o || !json_object_object_get_ex(o, "linux", &lin) ||
        !json_object_object_get_ex(lin, "namespaces", &spaces) ||
        !json_object_object_get_ex(o, "mounts", &mounts))
        return nullptr;
    for (size_t i = 0; i < json_object_array_length(spaces); i++) {
        struct json_object *n = json_object_array_get_idx(spaces, i), *type;
        if (json_object_object_get_ex(n, "type", &type) &&
            strcmp(json_object_get_string(type), "network") != 0)
            json_object_array_add(kept, json_object_get(n));
    }
    json_object_object_add(user, "type", json_object_new_string("user"));
    json_object_array_add(kept, user);
    json_object_object_add(lin, "namespaces", kept);
    const struct {
        const char *key;
        unsigned id;
    } maps[] = {{"uidMappings", geteuid()}, {"gidMappings", getegid()}};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
        struct json_object *list = json_object_new_array(), *m = json_object_new_object();
        json_object_object_add(m, "containerID", json_object_new_int(0));
        json_object_object_add(m, "hostID", json_object_new_int64(maps[i].id));
        json_object_object_add(m, "size", json_object_new_int(1));
        json_object_array_add(list, m);
        json_object_object_add(lin, maps[i].key, list);
    }
    for (size_t i = 0; i < json_object_array_length(mounts); i++) {
        if (!json_object_object_get_ex(json_object_array_get_idx(mounts, i), "options", &options))
            continue;
        for (size_t k = json_object_array_length(options); k-- > 0;)
            if (strncmp(json_object_get_string(json_object_array_get_idx(options, k)), "gid=", 4) == 0)
                json_object_array_del_idx(options, k, 1);
    }
    return mem_strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
                                                           JSON_C_TO_STRING_PRETTY_TAB |
                                                           JSON_C_TO_STRING_NOSLASHESCAPE));
}

static int spec_run(struct globals *g, int argc, char **argv, struct err *e)
{
    const char *bundle = ".";
    char path[4096];
    int i = 1;
    bool rootless = false;
    const struct opt opts[] = {{"bundle", OPT_STR, &bundle}, {"b", OPT_STR, &bundle},
                               {"rootless", OPT_BOOL, &rootless}};
    if (opts_parse_anywhere(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    if (i < argc)
        return err_set(e, 1, "unexpected argument %s", argv[i]);
    if ((size_t)snprintf(path, sizeof(path), "%s/config.json", bundle) >= sizeof(path))
        return err_set(e, 1, "bundle %s: name too long", bundle);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_set(e, 1, "%s: %s", path,
                         errno == EEXIST ? "exists already" : strerror(errno));
    const char *text = rootless ? rootless_text() : spec_template();
    if (!text)
        return err_set(e, 1, "out of memory");
    size_t n = strlen(text);
    int status = write(fd, text, n) == (ssize_t)n ? 0 : 1;
    if (close(fd) < 0 || status)
        return err_set(e, 1, "%s: %s", path, strerror(errno));
    return 0;
}
const struct command command_spec = {
    .name = "spec", .args = "[--bundle DIR] [--rootless]", .help = "write a config.json to start from",
    .flags = "  --bundle DIR   where (default: the working directory)\n"
             "  --rootless     for a user without privileges\n", .run = spec_run,
};
