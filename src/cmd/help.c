// SPDX-License-Identifier: Apache-2.0
// nacre help [COMMAND]
#include "cmd/cmd.h"

static int help_run(struct globals *g, int argc, char **argv, struct err *e)
{
    return help_print(argc > 1 ? argv[1] : nullptr, e);
}
const struct command command_help = {
    .name = "help", .args = "[COMMAND]", .help = "print this list, or a command's flags",
    .run = help_run,
};
