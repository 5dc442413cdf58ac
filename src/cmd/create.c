// SPDX-License-Identifier: Apache-2.0
// nacre create: the sandbox is set up, its program loaded; `start` lets it run.
#include "cmd/container.h"

static int create_run(struct globals *g, int argc, char **argv, struct err *e)
{
    struct container_args a = {.detach = true, .hold = true};
    int i = container_options(&a, false, argc, argv, e);
    return i ? container_run(g, &a, argc, argv, i, e) : 1;
}

const struct command command_create = {
    .name = "create", .args = "[flags] ID",
    .help = "make a container from an OCI bundle, ready to start",
    .flags = "  --bundle DIR            where config.json is (default: the working directory)\n"
             "  --pid-file FILE         the process that stands for the container\n"
             "  --console-socket PATH   who gets the terminal\n"
             "  --preserve-fds N        the program gets descriptors 3 to 3+N-1, too\n"
             "  --no-pivot, --no-new-keyring\n"
             "                          accepted: nothing of them applies\n",
    .run = create_run,
};
