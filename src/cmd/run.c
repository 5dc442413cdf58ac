// SPDX-License-Identifier: Apache-2.0
// nacre run: creates a container from an OCI bundle and starts it. In the foreground (its state is
// removed at the end), or detached: then it is as create and start.
#include "cmd/container.h"

static int run_run(struct globals *g, int argc, char **argv, struct err *e)
{
    struct container_args a = {};
    int i = container_options(&a, true, argc, argv, e);
    return i ? container_run(g, &a, argc, argv, i, e) : 1;
}

const struct command command_run = {
    .name = "run", .args = "[flags] ID",
    .help = "run a container from an OCI bundle",
    .flags = "  --bundle DIR            where config.json is (default: the working directory)\n"
             "  --detach                return as soon as it runs; its state stays until delete\n"
             "  --keep                  in the foreground too\n"
             "  --pid-file FILE         the process that stands for the container\n"
             "  --console-socket PATH   who gets the terminal, with --detach\n"
             "  --preserve-fds N        the program gets descriptors 3 to 3+N-1, too\n"
             "  --no-pivot, --no-new-keyring, --no-subreaper\n"
             "                          accepted: nothing of them applies\n",
    .run = run_run,
};
