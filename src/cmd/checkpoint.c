// SPDX-License-Identifier: Apache-2.0
// nacre checkpoint, restore: not there yet. Engines ask for them by name, and get a clear answer.
#include "cmd/cmd.h"
#include <errno.h>

static int refuse(struct globals *g, int argc, char **argv, struct err *e)
{
    (void)g;
    (void)argc;
    return err_set(e, 1, "%s is not supported: the state of a sandbox cannot be saved yet", argv[0]);
}

const struct command command_checkpoint = {.name = "checkpoint", .args = "ID", .run = refuse};
const struct command command_restore = {.name = "restore", .args = "ID", .run = refuse};
