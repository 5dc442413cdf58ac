// SPDX-License-Identifier: Apache-2.0
// nacre spec: writes a config.json to start from.
#include "cmd/cmd.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int spec_run(struct globals *g, int argc, char **argv, struct err *e)
{
    const char *bundle = ".";
    char path[4096];
    int i = 1;
    const struct opt opts[] = {{"bundle", OPT_STR, &bundle}, {"b", OPT_STR, &bundle}};
    if (opts_parse(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    if (i < argc)
        return err_set(e, 1, "unexpected argument %s", argv[i]);
    if ((size_t)snprintf(path, sizeof(path), "%s/config.json", bundle) >= sizeof(path))
        return err_set(e, 1, "bundle %s: name too long", bundle);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_set(e, 1, "%s: %s", path,
                         errno == EEXIST ? "exists already" : strerror(errno));
    const char *text = spec_template();
    size_t n = strlen(text);
    int status = write(fd, text, n) == (ssize_t)n ? 0 : 1;
    if (close(fd) < 0 || status)
        return err_set(e, 1, "%s: %s", path, strerror(errno));
    return 0;
}
const struct command command_spec = {
    .name = "spec", .args = "[--bundle DIR]", .help = "write a config.json to start from",
    .flags = "  --bundle DIR   where (default: the working directory)\n", .run = spec_run,
};
