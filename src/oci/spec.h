// SPDX-License-Identifier: Apache-2.0
// What a container is made of: config.json (or the flags of `do`) as typed values. Made by the
// command line, handed to the Sentry as bytes (specwire.c), read there by cmd/boot.c.
// All pointers are owned; spec_free() frees everything, also of a spec that was half filled in.
#pragma once
#include "oci/resources.h"

struct strlist {
    char **v;
    size_t n;
};
struct spec_kv {
    char *key, *value;
};
struct spec_kvs {
    struct spec_kv *v;
    size_t n;
};
struct spec_rlimit {
    uint32_t which; // RLIMIT_*
    uint64_t soft, hard;
};
enum spec_caps : int { CAPS_BOUNDING, CAPS_EFFECTIVE, CAPS_INHERITABLE, CAPS_PERMITTED, CAPS_AMBIENT,
                       CAPS_SETS };
struct spec_process {
    bool terminal;
    uint32_t term_rows, term_cols; // consoleSize; 0: not given
    struct strlist args, env;
    char *cwd;
    char *user;          // "name", "name:group", looked up inside the root; null: uid and gid hold
    uint32_t uid, gid;
    bool has_umask;
    uint32_t umask;
    uint32_t *gids;
    size_t ngids;
    uint64_t caps[CAPS_SETS];
    struct spec_rlimit *rlimits;
    size_t nrlimits;
    bool no_new_privs;
    bool has_oom_score_adj;
    int32_t oom_score_adj;
    struct strlist warnings; // what was read and does not apply here; stays with the command line
};
struct spec_hook {
    char *path;
    struct strlist args, env; // args[0] is the program's name for itself
    uint32_t timeout;         // seconds; 0: none
};
struct spec_hooks {
    struct spec_hook *v;
    size_t n;
};
enum hook_kind : int { HOOK_PRESTART, HOOK_CREATE_RUNTIME, HOOK_CREATE_CONTAINER,
                       HOOK_START_CONTAINER, HOOK_POSTSTART, HOOK_POSTSTOP, HOOK_KINDS };
struct spec_namespace {
    uint32_t type; // CLONE_NEW*
    char *path;    // null: a new one
};
struct spec_id_map {
    uint32_t inside, outside, count;
};
struct spec_id_maps {
    struct spec_id_map *v;
    size_t n;
};
struct spec_device {
    char *path;
    uint32_t type; // S_IFCHR, S_IFBLK, S_IFIFO
    uint32_t major, minor, mode, uid, gid;
};
struct spec_mount {
    char *dest, *type, *source;
    char *data;          // options that are the file system's own, comma-separated
    uint32_t flags;      // MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, ...
    bool bind, recursive;
    int32_t gofer_root;  // bind: index among the Gofer's roots, else -1
    bool is_file;        // bind: the source is not a directory
    uint32_t dev_mode, dev_major, dev_minor; // bind: the source is a device of this kind; mode 0: is none
    bool optional;       // `do`: silently left out when it cannot be made
};
struct spec_seccomp {
    uint64_t *insns;     // struct sock_filter each; null: no filter
    size_t n;
    uint32_t flags;      // SECCOMP_FILTER_FLAG_*
};
struct spec {
    char *version, *id;
    char *root_path;
    bool root_readonly;
    char *hostname, *domainname;
    struct spec_process process;
    struct spec_mount *mounts;
    size_t nmounts;
    struct spec_kvs annotations;
    struct spec_kvs sysctl;
    struct strlist masked_paths, readonly_paths;
    struct spec_hooks hooks[HOOK_KINDS];
    struct spec_namespace *namespaces;
    size_t nnamespaces;
    struct spec_id_maps uid_maps, gid_maps;
    struct spec_device *devices;
    size_t ndevices;
    struct spec_seccomp seccomp;
    char *rootfs_propagation, *mount_label;
    char *cgroups_path;
    struct resources resources; // linux.resources; stays with the command line
    uint64_t memory_limit; // linux.resources.memory.limit; 0: none
    uint64_t pids_limit;   // linux.resources.pids.limit; 0: none
};

struct spec *spec_new(void); // null: no memory
void spec_free(struct spec *s);
void spec_process_free(struct spec_process *p); // what it points to
void spec_hooks_free(struct spec_hooks *h);
// The namespace of that type (CLONE_NEW*) in linux.namespaces, or null.
const struct spec_namespace *spec_namespace(const struct spec *s, uint32_t type);
void strlist_free(struct strlist *l);
MUST_CHECK int strlist_add(struct strlist *l, const char *s);          // copies; 0 or -ENOMEM
MUST_CHECK int strlist_add_n(struct strlist *l, const char *s, size_t n);
MUST_CHECK int spec_kv_add(struct spec_kvs *l, const char *key, const char *value);
MUST_CHECK struct spec_mount *spec_mount_add(struct spec *s, const char *dest, const char *type,
                                             const char *source); // null: no memory
// name=value in env replaces an earlier value of the same name.
MUST_CHECK int env_set(struct strlist *env, const char *assignment);
const char *env_get(const struct strlist *env, const char *name); // value or null

// --- config.c: config.json. `text` is n bytes, need not end in NUL. ---
constexpr size_t SPEC_JSON_MAX = 4u << 20;
constexpr int SPEC_JSON_DEPTH = 64;
MUST_CHECK int spec_parse(struct spec *s, const char *text, size_t n, struct err *e);
// Reads BUNDLE/config.json; a relative root path is made absolute below the bundle.
MUST_CHECK int spec_load(struct spec *s, const char *bundle, struct err *e);
// A process object alone, as `exec --process` gets it.
MUST_CHECK int spec_load_process(struct spec_process *p, const char *path, struct err *e);
// The text of a default config.json, as `nacre spec` writes it.
const char *spec_template(void);
const char *hook_kind_name(enum hook_kind k); // as in config.json

// --- names.c ---
int cap_from_name(const char *name);        // CAP_CHOWN ... -> number; -1
const char *cap_to_name(int cap);           // null past the last
int rlimit_from_name(const char *name);     // RLIMIT_NOFILE ... -> number; -1
constexpr uint64_t CAPS_ALL = (1ull << 41) - 1;
bool device_known(const struct spec_device *d); // one that a sandbox has
bool mount_device_known(const struct spec_mount *m);
const char *mount_option_name(size_t i); // null past the last
// One mount option: sets a flag, or bind, or goes to data. -ENOMEM; -EINVAL for one that we refuse.
MUST_CHECK int spec_mount_option(struct spec_mount *m, const char *option);
