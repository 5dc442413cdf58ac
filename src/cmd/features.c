// SPDX-License-Identifier: Apache-2.0
// nacre features: the structure of the specification's features document.
#include "cmd/cmd.h"
#include "oci/state.h"
#include <json-c/json.h>
#include <stdio.h>

static struct json_object *strings(const char *const *v, size_t n)
{
    struct json_object *a = json_object_new_array();
    for (size_t i = 0; i < n; i++)
        json_object_array_add(a, json_object_new_string(v[i]));
    return a;
}
#define STRINGS(...) strings((const char *const[]){__VA_ARGS__}, \
                             sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static void flag(struct json_object *o, const char *key, bool v)
{
    json_object_object_add(o, key, json_object_new_boolean(v));
}
// An object of its own that says "enabled".
static void feature(struct json_object *o, const char *key, bool enabled)
{
    struct json_object *f = json_object_new_object();
    flag(f, "enabled", enabled);
    json_object_object_add(o, key, f);
}

static struct json_object *linux_features(void)
{
    struct json_object *l = json_object_new_object(), *caps = json_object_new_array(),
                       *cgroup = json_object_new_object(), *seccomp = json_object_new_object(),
                       *mounts = json_object_new_object();
    for (int i = 0; cap_to_name(i); i++)
        json_object_array_add(caps, json_object_new_string(cap_to_name(i)));
    json_object_object_add(l, "namespaces", STRINGS("cgroup", "ipc", "mount", "network", "pid",
                                                    "time", "user", "uts"));
    json_object_object_add(l, "capabilities", caps);
    flag(cgroup, "v1", true);
    flag(cgroup, "v2", true);
    flag(cgroup, "systemd", true);
    flag(cgroup, "systemdUser", true);
    flag(cgroup, "rdma", false);
    json_object_object_add(l, "cgroup", cgroup);
    flag(seccomp, "enabled", true);
    json_object_object_add(
        seccomp, "actions",
        STRINGS("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"));
    json_object_object_add(
        seccomp, "operators",
        STRINGS("SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"));
    json_object_object_add(seccomp, "archs", STRINGS("SCMP_ARCH_X32", "SCMP_ARCH_X86",
                                                     "SCMP_ARCH_X86_64"));
    json_object_object_add(
        seccomp, "knownFlags",
        STRINGS("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                "SECCOMP_FILTER_FLAG_TSYNC"));
    json_object_object_add(
        seccomp, "supportedFlags",
        STRINGS("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                "SECCOMP_FILTER_FLAG_TSYNC"));
    json_object_object_add(l, "seccomp", seccomp);
    feature(l, "apparmor", false);
    feature(l, "selinux", false);
    feature(l, "intelRdt", false);
    feature(mounts, "idmap", false);
    json_object_object_add(l, "mountExtensions", mounts);
    return l;
}

static int features_run(struct globals *g, int argc, char **argv, struct err *e)
{
    (void)g;
    if (argc > 1)
        return err_set(e, 1, "unexpected argument %s", argv[1]);
    struct json_object *o = json_object_new_object(), *options = json_object_new_array();
    struct json_object *notes = json_object_new_object();
    json_object_object_add(o, "ociVersionMin", json_object_new_string("1.0.0"));
    json_object_object_add(o, "ociVersionMax", json_object_new_string(STATE_OCI_VERSION));
    json_object_object_add(o, "hooks", STRINGS("prestart", "createRuntime", "createContainer",
                                               "startContainer", "poststart", "poststop"));
    const char *name;
    for (size_t i = 0; (name = mount_option_name(i)) != nullptr; i++)
        json_object_array_add(options, json_object_new_string(name));
    json_object_object_add(o, "mountOptions", options);
    json_object_object_add(o, "linux", linux_features());
    json_object_object_add(notes, "dev.nacre.platforms", json_object_new_string("systrap,ptrace"));
    json_object_object_add(o, "annotations", notes);
    puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                               JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
    return 0;
}

const struct command command_features = {
    .name = "features", .args = "", .help = "print what this runtime can do, as JSON",
    .run = features_run,
};
