// SPDX-License-Identifier: Apache-2.0
// Flags: --name=value, --name value, --bool, -x value. See cmd.h.
#include "cmd/cmd.h"
#include <errno.h>
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

int opts_parse(const struct opt *opts, size_t n, int argc, char **argv, int *i, struct err *e)
{
    while (*i < argc && argv[*i][0] == '-' && argv[*i][1]) {
        const char *arg = argv[(*i)++];
        if (strcmp(arg, "--") == 0)
            return 0;
        const char *name = arg + (arg[1] == '-' ? 2 : 1), *eq = strchr(name, '=');
        size_t len = eq ? (size_t)(eq - name) : strlen(name);
        const struct opt *o = find(opts, n, name, len);
        if (!o || (arg[1] != '-' && len != 1))
            return err_set(e, -EINVAL, "unknown flag %s (see nacre help)", arg);
        int err;
        if (eq)
            err = store(o, eq + 1, e);
        else if (o->kind == OPT_BOOL)
            err = store(o, "true", e);
        else if (o->kind == OPT_MAYBE)
            err = store(o, nullptr, e);
        else if (*i < argc)
            err = store(o, argv[(*i)++], e);
        else
            err = err_set(e, -EINVAL, "flag %s needs a value", arg);
        if (err)
            return err;
    }
    return 0;
}
