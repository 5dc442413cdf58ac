// SPDX-License-Identifier: Apache-2.0
// How the processes of a sandbox are started and what they say to each other. The command line
// becomes the supervisor; Sentry ("nacre boot") and Gofer ("nacre gofer") are fresh executions of
// the same binary, which find fixed descriptors and their configuration in a sealed memory file.
#pragma once
#include "base/log.h"
#include "kern/limits.h"
#include "oci/wire.h"

// Descriptors of a started process, after 0-2, which are /dev/null.
enum boot_fd : int {
    BOOT_FD_CONTROL = 3, // SOCK_SEQPACKET to the supervisor: struct ctl_msg
    BOOT_FD_CONFIG,      // sealed memory file: struct boot_config
    BOOT_FD_LOG,         // append-only; may be absent
    BOOT_FD_NINEP,       // Gofer <-> Sentry
    BOOT_FD_STDIN,       // Sentry only: the guest's 0-2; each may be absent
    BOOT_FD_STDOUT,
    BOOT_FD_STDERR,
    BOOT_FD_MEMORY_USAGE, // Sentry only: the host's figures of our cgroup; each may be absent
    BOOT_FD_MEMORY_STAT,
    BOOT_FD_MEMORY_EVENTS,
    BOOT_FD_END,
};

enum ctl_kind : uint32_t {
    CTL_FDS = 1,    // supervisor -> Sentry, before it is confined: the descriptors of --preserve-fds
    CTL_GO,     // supervisor -> child: id maps are written; -> Sentry: the zygote is in its place
    CTL_STARTED,    // Sentry -> supervisor: the first program is loaded
    CTL_FAILED,     // -> supervisor: value is the exit status to use, text says why
    CTL_EXITED,     // Sentry -> supervisor: value is the wait status of the container's init
    CTL_SIGNAL,     // supervisor -> Sentry: value is a signal for the container's init
    CTL_WINCH,      // supervisor -> Sentry: the terminal's size has changed

    // Requests of other commands, over the control socket of the state directory. The supervisor
    // answers CTL_STATE and CTL_WAIT itself and passes the others on, with a token that names the
    // asking connection; the Sentry's answers carry the same token.
    CTL_STATE,      // answer: value is an enum container_status
    CTL_WAIT,       // answer at the end, CTL_EXITED: value is the exit status
    CTL_START,      // the program that was loaded by `create`
    CTL_KILL,       // value is a signal for the container's init
    CTL_KILL_ALL,   // for all its processes
    // value: bits of the standard streams given, CTL_EXEC_PAUSED; descriptors: process, streams, those
    // of --preserve-fds
    CTL_EXEC,
    CTL_EXEC_SIGNAL, CTL_EXEC_WINCH, // for the process of this connection
    CTL_PAUSE, CTL_RESUME,
    // A further container for the sandbox. value: bits of the standard streams given; descriptors:
    // control socket, configuration, socket to its Gofer, streams, those of --preserve-fds. The answer says that it is taken;
    // what then happens (CTL_STARTED, CTL_FAILED, CTL_EXITED, requests) is told over its own socket.
    CTL_JOIN,
    CTL_UPDATE,     // text: struct cgroup_view, the limits that hold from now on
    CTL_PS,         // descriptor: a memory file for the list
    CTL_HANGUP,     // supervisor -> Sentry: the connection of this token is gone
    CTL_REPLY,      // value: 0, or an exit status with the reason in text
    CTL_ZYGOTE,     // Sentry -> who joins: value is the process, in the Sentry's namespace, that all of the
                    // container's come from; the Sentry waits for CTL_GO
};
constexpr int CTL_EXEC_PAUSED = 8; // also when it is paused: it runs when that ends
struct ctl_msg {
    uint32_t kind;
    int32_t value;
    uint32_t token;
    char text[1024]; // NUL-terminated
};
enum container_status : int32_t {
    CONTAINER_CREATING, CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_PAUSED, CONTAINER_STOPPED,
};

// With a mapped Gofer: how many trees one message brings, in the order of the roots.
constexpr size_t TREES_AT_ONCE = 200;

// Descriptors of the caller that a program may get from 3 on (--preserve-fds).
constexpr int PRESERVE_MAX = 240; // with those of a request they fit in one message

struct boot_root { // one root that the Gofer serves; its index is its name
    char *path;
    bool readonly, is_file;
    bool shared;   // others change it too: the Sentry revalidates
};
struct boot_config {
    struct spec *spec;
    struct boot_root *roots; // [0] is the container's root
    size_t nroots;
    char *platform;
    uint32_t ncpus;
    uint64_t mem_total;      // what the guest may believe to have
    uint32_t host_cpus;      // without the container's own limits
    uint64_t host_memory;
    struct cgroup_view view; // those limits
    bool memory_v1;          // BOOT_FD_MEMORY_EVENTS has v1's form
    int32_t oom_own, oom_stubs; // oom_score_adj: of Sentry and Gofer, of the guest's processes
    uint64_t tmpfs_size;     // of the Sentry's private tmpfs
    uint32_t log_format, log_level;
    bool debug;              // filter violations are reported before they kill
    bool strace;
    bool fast_off;           // systrap: every call comes to the kernel
    bool patching_off;       // systrap: every call comes by SIGSYS
    char *strace_list;
    bool make_mountpoints;   // missing mount points are made in the root
    bool overlay_off;        // what is written to the root goes to the root itself
    bool privileged;         // started by root: the Gofer works with real ids
    bool mapped;             // the Gofer is in the container's user namespace, as its root
    bool hold;               // `create`: the program waits for `start`
    bool killable;           // `do`: its program is no init, a signal of its own kills it
    uint32_t gofer_uid, gofer_gid; // privileged: what the Gofer runs as
    char *sandbox;           // id of the sandbox that it joins (pods); null: it is one itself
    bool own_cgroup;         // with sandbox: its processes are to be put into cgroups of its own
    char *pid_of, *uts_of, *ipc_of; // whose namespace it shares, by container id; null: its own
    uint32_t npreserve;      // descriptors that come over the control socket, for the program
    char *hook_state;        // what startContainer hooks hear; null without any
    uint64_t t0;             // CLOCK_MONOTONIC ns at the start of the command
};
void wire_boot_config(struct wire *w, struct boot_config *c);
// Reads a configuration, once; null: malformed. To be freed.
struct boot_config *boot_config_parse(int fd);
void boot_config_free(struct boot_config *c);
// Reads and checks BOOT_FD_CONFIG; ends the process with a message to the supervisor if it is bad.
struct boot_config *boot_config_read(void);

// --- the side that starts (launch.c) ---
struct cgroup_entry;
struct launch_options {
    const char *platform, *state_root;
    const char *log_file, *debug_log_dir;
    enum log_format log_format;
    bool debug, strace, fast_off, patching_off, overlay_off;
    const char *strace_list; // null: all
    bool detached;           // nobody reads what we write; state stays at the end
    bool keep;               // the state stays, though somebody reads what we write
    bool systemd_cgroup;     // cgroupsPath is slice:prefix:name
    const struct cgroup_entry *cgroup; // where the processes go, or null
    int janitor, janitor_fd; // foreground: a process that removes the cgroup when this closes; or 0
    int notify;              // who waits for CTL_STARTED or CTL_FAILED; -1: nobody
};
// Runs the container in the foreground until its end. The exit status for the shell, with *e filled
// in when it is not the program's own. state (may be null) is removed at the end. Afterwards this
// process is confined: it may write a message and end, nothing else.
struct state;
int launch_run(struct boot_config *cfg, const struct launch_options *o, struct state *state,
               struct err *e);

// --- the started side (cmd/boot.c, cmd/gofer.c) ---
[[noreturn]] void boot_main(void);
[[noreturn]] void gofer_boot_main(void);
// To the supervisor, from a started process. Never blocks for long; errors are ignored (a
// supervisor that is gone takes us with it).
void ctl_send(enum ctl_kind kind, int value, const char *text);
void ctl_tell(int fd, enum ctl_kind kind, uint32_t token, int value, const char *text);
// Reports and ends this process.
PRINTF_LIKE(2, 3) [[noreturn]] void boot_fail(int exit_status, const char *fmt, ...);
// For messages: the host's setting that keeps an ordinary user from namespaces, if it is one; or "".
const char *userns_hint(bool privileged);
// `--debug`: time since t0 for a stage of the start.
void boot_stage(const struct boot_config *c, const char *what);
