// SPDX-License-Identifier: Apache-2.0
// Subcommands: one file each, ending in one `const struct command`; the list is commands.def.
#pragma once
#include "cmd/launch.h"

struct globals { // flags before the subcommand
    struct launch_options launch;
    bool root_given;
};
struct command {
    const char *name;
    const char *args;  // for the usage line
    const char *help;  // one line; null: not listed
    const char *flags; // lines "  --flag  text\n" for `help COMMAND`; may be null
    // argv[0] is the subcommand's name. The exit status; *e is printed when it is filled in.
    int (*run)(struct globals *g, int argc, char **argv, struct err *e);
};
#define COMMAND(name) extern const struct command command_##name;
#include "cmd/commands.def"
#undef COMMAND
const struct command *command_find(const char *name);
int help_print(const char *name, struct err *e); // null: the list

// --- flags ---
enum opt_kind : int {
    OPT_BOOL,   // bool *
    OPT_STR,    // const char **
    OPT_LIST,   // struct strlist *: may be repeated
    OPT_MAYBE,  // struct opt_maybe *: --flag or --flag=value
};
struct opt_maybe {
    bool given;
    const char *value;
};
struct opt {
    const char *name; // without "--"; a single letter works as "-x" too
    enum opt_kind kind;
    void *out;
};
// Consumes flags from argv[*i] on ("--" ends them and is consumed). 0, or -EINVAL and *e.
MUST_CHECK int opts_parse(const struct opt *opts, size_t n, int argc, char **argv, int *i,
                          struct err *e);

// The same, where flags may stand behind arguments, too (all of runc's commands but exec and ps); the
// arguments are moved to the end of argv.
MUST_CHECK int opts_parse_anywhere(const struct opt *opts, size_t n, int argc, char **argv, int *i,
                                   struct err *e);
// Descriptors that a file's name stands for, as shells write it: "/dev/fd/63". -1: none.
int fd_named(const char *path);

// --- shared by do and run ---
// A configuration around spec (taken over), with the machine's figures filled in.
MUST_CHECK struct boot_config *config_new(struct globals *g, struct spec *spec, struct err *e);
// Adds a root for the Gofer; its index, or -errno with *e. Checks that the path is there.
MUST_CHECK int config_add_root(struct boot_config *c, const char *path, bool readonly, bool shared,
                               bool *is_file, struct err *e);
