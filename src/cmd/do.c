// SPDX-License-Identifier: Apache-2.0
// nacre do: one program over a host directory (by default the host's root), which stays as it is:
// what the program writes goes to a throw-away overlay in memory.
#include "base/slab.h"
#include "cmd/cmd.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

extern char **environ;

struct do_flags {
    const char *root, *cwd, *user;
    struct strlist volumes, env;
};

static int nomem(struct err *e)
{
    return err_set(e, -ENOMEM, "out of memory");
}

// The file systems that every Linux program expects.
static int add_system_mounts(struct spec *s, struct err *e)
{
    static const struct {
        const char *dest, *type, *data;
        uint32_t flags;
    } mounts[] = {
        {"/proc", "proc", "", MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"/sys", "sysfs", "", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY},
        {"/sys/fs/cgroup", "cgroup2", "", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY},
        {"/dev", "devtmpfs", "mode=755", MS_NOSUID | MS_NOEXEC},
        {"/dev/pts", "devpts", "mode=620,ptmxmode=666,gid=5", MS_NOSUID | MS_NOEXEC},
        {"/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV},
        {"/dev/mqueue", "mqueue", "", MS_NOSUID | MS_NODEV | MS_NOEXEC},
    };
    for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
        struct spec_mount *m = spec_mount_add(s, mounts[i].dest, mounts[i].type, mounts[i].type);
        char *data = mem_strdup(mounts[i].data);
        if (!m || !data) {
            mem_free(data);
            return nomem(e);
        }
        mem_free(m->data);
        m->data = data;
        m->flags = mounts[i].flags;
        m->optional = strcmp(mounts[i].type, "mqueue") == 0 || strcmp(mounts[i].type, "cgroup2") == 0;
    }
    return 0;
}

// src:dst[:ro]
static int add_volume(struct boot_config *c, const char *v, struct err *e)
{
    const char *dst = strchr(v, ':');
    const char *opt = dst ? strchr(dst + 1, ':') : nullptr;
    size_t dst_n = !dst ? 0 : opt ? (size_t)(opt - dst - 1) : strlen(dst + 1);
    bool ro = opt && strcmp(opt, ":ro") == 0;
    if (!dst || dst == v || dst_n == 0 || dst[1] != '/' || (opt && !ro && strcmp(opt, ":rw") != 0))
        return err_set(e, -EINVAL, "--volume %s: must be SOURCE:/DESTINATION[:ro]", v);
    char *src = mem_strndup(v, (size_t)(dst - v)), *dest = mem_strndup(dst + 1, dst_n);
    int err = src && dest ? 0 : nomem(e), root = -1;
    bool is_file = false;
    if (!err) {
        root = config_add_root(c, src, ro, true, &is_file, e);
        if (root < 0) {
            err = root;
            err_prefix(e, "--volume %s: ", v);
        }
    }
    struct spec_mount *m = err ? nullptr : spec_mount_add(c->spec, dest, "bind", src);
    if (!err && !m)
        err = nomem(e);
    if (m) {
        m->bind = m->recursive = true;
        m->gofer_root = root;
        m->is_file = is_file;
        m->flags = ro ? MS_RDONLY : 0;
    }
    mem_free(src);
    mem_free(dest);
    return err;
}

// uid[:gid] in numbers, or names for the Sentry to look up inside the root.
static int set_user(struct spec_process *p, const char *user, struct err *e)
{
    if (!user)
        return 0;
    char *end;
    errno = 0;
    unsigned long uid = strtoul(user, &end, 10), gid = uid;
    if (end != user && *end == ':' && end[1] >= '0' && end[1] <= '9')
        gid = strtoul(end + 1, &end, 10);
    if (end != user && !*end && !errno && uid < UINT32_MAX && gid < UINT32_MAX &&
        strchr(user, ':')) {
        p->uid = (uint32_t)uid;
        p->gid = (uint32_t)gid;
        return 0;
    }
    if (!user[0] || user[0] == ':')
        return err_set(e, -EINVAL, "--user %s: must be USER[:GROUP]", user);
    return (p->user = mem_strdup(user)) ? 0 : nomem(e);
}

static int fill_process(struct spec *s, const struct do_flags *f, int argc, char **argv,
                        struct err *e)
{
    struct spec_process *p = &s->process;
    char cwd[4096];
    int err = 0;
    for (int i = 0; i < argc && !err; i++)
        err = strlist_add(&p->args, argv[i]);
    for (char **v = environ; *v && !err; v++)
        err = strlist_add(&p->env, *v);
    for (size_t i = 0; i < f->env.n && !err; i++) {
        if (!strchr(f->env.v[i], '='))
            return err_set(e, -EINVAL, "--env %s: must be NAME=VALUE", f->env.v[i]);
        err = env_set(&p->env, f->env.v[i]);
    }
    if (!err && !env_get(&p->env, "PATH"))
        err = env_set(&p->env,
                      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    if (err)
        return nomem(e);
    const char *dir = f->cwd;
    if (!dir)
        dir = f->root || !getcwd(cwd, sizeof(cwd)) || cwd[0] != '/' ? "/" : cwd;
    if (dir[0] != '/')
        return err_set(e, -EINVAL, "--cwd %s: must be an absolute path", dir);
    if (!(p->cwd = mem_strdup(dir)))
        return nomem(e);
    for (int i = 0; i < CAPS_SETS; i++)
        p->caps[i] = i == CAPS_AMBIENT || i == CAPS_INHERITABLE ? 0 : CAPS_ALL;
    return set_user(p, f->user, e);
}

static int do_run(struct globals *g, int argc, char **argv, struct err *e)
{
    struct do_flags f = {};
    const struct opt opts[] = {
        {"root", OPT_STR, &f.root}, {"cwd", OPT_STR, &f.cwd}, {"user", OPT_STR, &f.user},
        {"u", OPT_STR, &f.user},    {"volume", OPT_LIST, &f.volumes}, {"v", OPT_LIST, &f.volumes},
        {"env", OPT_LIST, &f.env},  {"e", OPT_LIST, &f.env},
    };
    int i = 1;
    if (opts_parse(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    if (i >= argc)
        return err_set(e, 1, "no program given");
    struct spec *s = spec_new();
    if (!s)
        return nomem(e), 1;
    char id[32];
    snprintf(id, sizeof(id), "do-%d", (int)getpid());
    if (fill_process(s, &f, argc - i, argv + i, e))
        return 1;
    s->root_path = mem_strdup(f.root ? f.root : "/");
    s->id = mem_strdup(id);
    s->hostname = mem_strdup("nacre");
    struct boot_config *c = s->root_path && s->id && s->hostname ? config_new(g, s, e) : nullptr;
    if (!c)
        return nomem(e), 1;
    if (config_add_root(c, s->root_path, true, false, nullptr, e) < 0) {
        err_prefix(e, "--root: ");
        return 1;
    }
    if (add_system_mounts(s, e))
        return 1;
    for (size_t k = 0; k < f.volumes.n; k++)
        if (add_volume(c, f.volumes.v[k], e))
            return 1;
    c->killable = true;
    return launch_run(c, &g->launch, nullptr, e);
}

const struct command command_do = {
    .name = "do", .args = "[flags] [--] PROGRAM [ARGUMENT...]",
    .help = "run a program in a sandbox over the host's files, which stay as they are",
    .flags = "  --root DIR               the program's root (default: the host's)\n"
             "  --volume SRC:DST[:ro]    a host directory or file, shared for writing unless :ro\n"
             "  --cwd DIR                working directory\n"
             "  --env NAME=VALUE         set in its environment (otherwise the caller's)\n"
             "  --user USER[:GROUP]      names are looked up inside the root\n",
    .run = do_run,
};
