// SPDX-License-Identifier: Apache-2.0
// The host's cgroups, as the command line uses them: where they are mounted (v1, v2, or both), which
// directories a container has there, what is written to their files. Called before the supervisor
// gives up its rights, and by other commands; never by the Sentry or the Gofer.
//
// Paths come from config.json: no component is "..", no symbolic link is followed, no mount is
// crossed, and every descriptor is proved to be on a cgroup file system before it is used.
#pragma once
#include "kern/limits.h"
#include "oci/resources.h"
#include <sys/types.h>

// Groups of a host: /proc/self/mountinfo and /proc/self/cgroup.
constexpr int CGROUP_HIERARCHIES = 24;
struct cgroup_mount {
    char point[256];
    char root[512];         // what of the hierarchy is mounted there
    char controllers[128];  // v1: "cpu,cpuacct" or "name=systemd"; v2: empty
    char own[512];          // our own group in it, below `point`; empty: outside
    bool v2;
};
struct cgroup_host {
    struct cgroup_mount m[CGROUP_HIERARCHIES];
    int n;
    bool unified; // v2 only
};
MUST_CHECK int cgroup_host_read(struct cgroup_host *h, struct err *e);
void cgroup_host_parse(struct cgroup_host *h, char *mountinfo, char *own); // both are cut up
bool cgroup_has_controller(const struct cgroup_mount *m, const char *name);

// A container's groups.
struct cgroup_dir {
    char point[256], path[1024]; // path is below point, begins with "/"
    char controllers[128];
    bool v2;
};
struct cgroup {
    struct cgroup_dir d[CGROUP_HIERARCHIES];
    int n;
    bool unified;    // v2 only: one directory, whose child CGROUP_INNER holds Sentry and Gofer
    bool given;      // config.json names it
    char unit[300];  // systemd's name for it; empty: we made it ourselves
    char slice[300];
    bool user;       // of the caller's own systemd, not the system's
    bool apart;      // we are not below that systemd's group: it moves processes, we may not
};
enum cgroup_manager : uint8_t { CGROUP_FS, CGROUP_SYSTEMD, CGROUP_SYSTEMD_USER };
#define CGROUP_INNER "nacre"

// linux.cgroupsPath -> the directories; nothing is made yet. wanted: hierarchies of v2 beside v1
// are used only if these resources need them.
MUST_CHECK int cgroup_locate(struct cgroup *c, const struct cgroup_host *h, const char *cgroups_path,
                             const char *id, enum cgroup_manager by, const struct resources *wanted,
                             struct err *e);
// The path in one hierarchy: absolute, or below (v2: beside) our own group. Pure.
MUST_CHECK int cgroup_path_of(char *out, size_t n, const char *cgroups_path, const char *id,
                              const char *own, bool v2, struct err *e);
// "slice:prefix:name" -> "/a.slice/a-b.slice/prefix-name.scope", and the names. Pure.
MUST_CHECK int cgroup_systemd_path(char *out, size_t n, char slice[300], char unit[300],
                                   const char *cgroups_path, const char *id, bool user,
                                   struct err *e);

// All directories moved below `top` (a user's systemd has its own group there). Pure.
MUST_CHECK int cgroup_move_below(struct cgroup *c, const struct cgroup_host *h, const char *top,
                                 struct err *e);

MUST_CHECK int cgroup_create(const struct cgroup *c, struct err *e);
// update: of one that is there, also in systemd's records.
MUST_CHECK int cgroup_apply(const struct cgroup *c, const struct resources *r, bool update,
                            struct err *e);
// Removes them, waiting a while for processes that are dying. -EBUSY: somebody is in there.
int cgroup_remove(const struct cgroup *c);
// Is there a process in it or, on v2, below it? False when it is not there.
bool cgroup_populated(const struct cgroup *c);
MUST_CHECK int cgroup_freeze(const struct cgroup *c, bool freeze, struct err *e);
bool cgroup_frozen(const struct cgroup *c);
bool cgroup_found_frozen(const struct cgroup *c); // before it is made: by whom, we do not know

// --- entering: for single-threaded processes ---
// Descriptors by which processes get in.
struct cgroup_entry {
    int n;
    int tasks[CGROUP_HIERARCHIES];  // v1: to write "0" to; -1: v2
    int outer, inner;               // v2: the group and CGROUP_INNER, for CLONE_INTO_CGROUP; -1: none
    int freezer;                    // index of the v1 freezer; -1
};
MUST_CHECK int cgroup_entry_open(struct cgroup_entry *n, const struct cgroup *c, struct err *e);
// The caller into all v1 hierarchies of n, those in which a supervisor stays outside (the freezer)
// only if asked. 0 or -errno.
MUST_CHECK int cgroup_enter(const struct cgroup_entry *n, bool supervisor_too, bool freezer);

// Another single-threaded process, by its number here, into all but the freezer's: v2: the group itself.
MUST_CHECK int cgroup_place(const struct cgroup_entry *n, pid_t pid);

// --- files ---
// The directory of `controller` (v2: of all), or null.
const struct cgroup_dir *cgroup_find(const struct cgroup *c, const char *controller);
MUST_CHECK int cgroup_open_file(const struct cgroup_dir *d, const char *file, int flags);
// NUL-terminated, without the newline at the end; its length, or -errno.
long cgroup_read(const struct cgroup_dir *d, const char *file, char *buf, size_t n);
MUST_CHECK int cgroup_write(const struct cgroup_dir *d, const char *file, const char *value);

// --- what is written (cgroup_plan.c), pure ---
struct cgroup_setting {
    char controller[16], file[64];
    char value[256];
    bool optional; // the kernel may lack it
};
constexpr int CGROUP_SETTINGS = 96;
struct cgroup_plan {
    struct cgroup_setting s[CGROUP_SETTINGS];
    int n;
};
MUST_CHECK int cgroup_plan(struct cgroup_plan *p, const struct resources *r, bool v2, struct err *e);
uint64_t cgroup_weight_of_shares(uint64_t shares);
// What the host allows beyond the guest's own limit: every guest task is a host thread, and execve
// has two for a moment; the sandbox's own threads come on top.
int64_t cgroup_host_pids(int64_t guest_limit);

// --- what the guest is told ---
void cgroup_view_read(const struct cgroup *c, struct cgroup_view *v);

// --- the record of a container's groups in its state directory: written before they are made ---
#define CGROUP_RECORD "cgroup"
MUST_CHECK int cgroup_record_write(int dir, const struct cgroup *c, struct err *e);
// False: none. A malformed one counts as none.
bool cgroup_record_read(int dir, struct cgroup *c);
bool cgroup_record_parse(struct cgroup *c, char *text); // cut up
// Removes the groups of a state directory whose owner is gone. 0, or -EBUSY.
int cgroup_record_remove(int dir);

// --- systemd (cgroup_systemd.c) ---
// Of a user's systemd: where its groups are, and whether we are among them.
MUST_CHECK int cgroup_systemd_locate(struct cgroup *c, const struct cgroup_host *h, struct err *e);
// A transient scope with these properties and, from the start, process pid. Waits until it is there.
MUST_CHECK int cgroup_systemd_start(const struct cgroup *c, pid_t pid, const struct resources *r,
                                    struct err *e);
int cgroup_systemd_stop(const struct cgroup *c);
MUST_CHECK int cgroup_systemd_update(const struct cgroup *c, const struct resources *r,
                                     struct err *e);
// Puts a process into the scope.
MUST_CHECK int cgroup_systemd_attach(const struct cgroup *c, pid_t pid, struct err *e);
// The limits as properties, a(sv) without the array; what this version of systemd does not know is
// left out, as is what it would refuse. Pure.
struct strbuf;
MUST_CHECK int cgroup_systemd_limits(struct strbuf *b, const struct resources *r, bool v2,
                                     unsigned version, struct err *e);

// --- statistics (cgroup_stats.c): the "data" of `events` ---
struct json_object;
struct json_object *cgroup_stats(const struct cgroup *c);
