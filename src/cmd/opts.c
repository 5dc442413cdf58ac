// SPDX-License-Identifier: Apache-2.0
// Flags: --name=value, --name value, --bool, -x value. See cmd.h.
#include "cmd/cmd.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct opt *find(const struct opt *opts, size_t n, const char *name, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(opts[i].name) == len && strncmp(opts[i].name, name, len) == 0)
            return &opts[i];
    return nullptr;
}

static int store(const struct opt *o, const char *value, struct err *e)
{
    switch (o->kind) {
    case OPT_STR:
        *(const char **)o->out = value;
        return 0;
    case OPT_LIST:
        return strlist_add(o->out, value) ? err_set(e, -ENOMEM, "out of memory") : 0;
    case OPT_MAYBE:
        *(struct opt_maybe *)o->out = (struct opt_maybe){true, value};
        return 0;
    case OPT_BOOL:
        if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
            return err_set(e, -EINVAL, "flag --%s: %s is neither true nor false", o->name, value);
        *(bool *)o->out = value[0] == 't';
        return 0;
    }
    return -EINVAL;
}

// argv[*i] is a flag: it and its value are consumed.
static int parse_one(const struct opt *opts, size_t n, int argc, char **argv, int *i, struct err *e)
{
    const char *arg = argv[(*i)++];
    const char *name = arg + (arg[1] == '-' ? 2 : 1), *eq = strchr(name, '=');
    size_t len = eq ? (size_t)(eq - name) : strlen(name);
    const struct opt *o = find(opts, n, name, len);
    if (!o || (arg[1] != '-' && len != 1))
        return err_set(e, -EINVAL, "unknown flag %s (see nacre help)", arg);
    if (eq)
        return store(o, eq + 1, e);
    if (o->kind == OPT_BOOL)
        return store(o, "true", e);
    if (o->kind == OPT_MAYBE)
        return store(o, nullptr, e);
    if (*i < argc)
        return store(o, argv[(*i)++], e);
    return err_set(e, -EINVAL, "flag %s needs a value", arg);
}

int opts_parse(const struct opt *opts, size_t n, int argc, char **argv, int *i, struct err *e)
{
    while (*i < argc && argv[*i][0] == '-' && argv[*i][1]) {
        if (strcmp(argv[*i], "--") == 0) {
            (*i)++;
            return 0;
        }
        int err = parse_one(opts, n, argc, argv, i, e);
        if (err)
            return err;
    }
    return 0;
}

int opts_parse_anywhere(const struct opt *opts, size_t n, int argc, char **argv, int *i,
                        struct err *e)
{
    int kept = 0, first = *i;
    while (*i < argc && strcmp(argv[*i], "--") != 0) {
        if (argv[*i][0] != '-' || !argv[*i][1]) {
            argv[first + kept++] = argv[(*i)++]; // over what has been read already
            continue;
        }
        int err = parse_one(opts, n, argc, argv, i, e);
        if (err)
            return err;
    }
    if (*i < argc)
        (*i)++; // "--"
    *i -= kept;
    memmove(argv + *i, argv + first, (size_t)kept * sizeof(*argv));
    return 0;
}

int fd_named(const char *path)
{
    static const char *const dirs[] = {"/dev/fd/", "/proc/self/fd/"};
    for (size_t i = 0; path && i < ARRAY_LEN(dirs); i++) {
        size_t n = strlen(dirs[i]);
        char *end;
        if (strncmp(path, dirs[i], n) != 0 || path[n] < '0' || path[n] > '9')
            continue;
        unsigned long fd = strtoul(path + n, &end, 10);
        return *end || fd > 1 << 20 ? -1 : (int)fd;
    }
    return -1;
}
