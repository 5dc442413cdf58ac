// SPDX-License-Identifier: Apache-2.0
// nacre run: creates a container from an OCI bundle, runs it in the foreground, removes its state.
#include "base/slab.h"
#include "cmd/cmd.h"
#include "oci/state.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

// Without effective capabilities while the bundle's JSON is parsed; they come back afterwards.
static int parse_unprivileged(struct spec *s, const char *bundle, struct err *e)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct old[2], none[2];
    if (syscall(SYS_capget, &h, old) < 0)
        return err_errno(e, -errno, "capabilities");
    memcpy(none, old, sizeof(none));
    none[0].effective = none[1].effective = 0;
    // DAC_READ_SEARCH and DAC_OVERRIDE stay: the bundle may lie below a private directory.
    none[0].effective = old[0].effective & (1u << CAP_DAC_READ_SEARCH | 1u << CAP_DAC_OVERRIDE);
    if (syscall(SYS_capset, &h, none) < 0)
        return err_errno(e, -errno, "capabilities");
    int err = spec_load(s, bundle, e);
    if (syscall(SYS_capset, &h, old) < 0)
        return err_errno(e, -errno, "capabilities");
    return err;
}

// Gives each bind mount a root of the Gofer; checks the other types.
static int resolve_mounts(struct boot_config *c, const char *bundle, struct err *e)
{
    static const char *const types[] = {"tmpfs", "proc", "sysfs", "devpts", "mqueue", "devtmpfs",
                                        "cgroup", "cgroup2"};
    for (size_t i = 0; i < c->spec->nmounts; i++) {
        struct spec_mount *m = &c->spec->mounts[i];
        bool known = m->bind;
        for (size_t k = 0; k < ARRAY_LEN(types); k++)
            known |= strcmp(types[k], m->type) == 0;
        if (!known)
            return err_set(e, -EINVAL, "mounts[%zu].type: file system %s is not supported", i,
                           m->type);
        if (!m->bind)
            continue;
        char path[8192];
        snprintf(path, sizeof(path), "%s%s%s", m->source[0] == '/' ? "" : bundle,
                 m->source[0] == '/' ? "" : "/", m->source);
        int root = config_add_root(c, path, m->flags & MS_RDONLY, true, &m->is_file, e);
        if (root < 0) {
            err_prefix(e, "mounts[%zu].source: ", i);
            return root;
        }
        m->gofer_root = root;
    }
    return 0;
}

static int run_run(struct globals *g, int argc, char **argv, struct err *e)
{
    const char *bundle_arg = ".";
    static char bundle[4096];
    const struct opt opts[] = {{"bundle", OPT_STR, &bundle_arg}, {"b", OPT_STR, &bundle_arg}};
    int i = 1;
    if (opts_parse(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    if (i + 1 != argc)
        return err_set(e, 1, i < argc ? "unexpected argument %s" : "no container id given%s",
                       i < argc ? argv[i + 1] : "");
    if (state_check_id(argv[i], e))
        return 1;
    if (!realpath(bundle_arg, bundle))
        return err_errno(e, 1, "bundle %s", bundle_arg);
    struct spec *s = spec_new();
    if (!s || !(s->id = mem_strdup(argv[i])))
        return err_set(e, 1, "out of memory");
    if (parse_unprivileged(s, bundle, e))
        return 1;
    if (s->process.terminal && !isatty(0))
        return err_set(e, 1, "process.terminal: is true, but standard input is not a terminal");
    struct boot_config *c = config_new(g, s, e);
    if (!c)
        return 1;
    if (config_add_root(c, s->root_path, true, false, nullptr, e) < 0) {
        err_prefix(e, "root.path: ");
        return 1;
    }
    if (resolve_mounts(c, bundle, e))
        return 1;
    static struct state state;
    if (state_create(&state, g->launch.state_root, s->id, e))
        return 1;
    if (state_write(&state, bundle, getpid(), "running", e)) {
        state_remove(&state);
        return 1;
    }
    int status = launch_run(c, &g->launch, &state, e);
    return status;
}

const struct command command_run = {
    .name = "run", .args = "[--bundle DIR] ID",
    .help = "run a container from an OCI bundle in the foreground",
    .flags = "  --bundle DIR   where config.json is (default: the working directory)\n",
    .run = run_run,
};
