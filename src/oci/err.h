// SPDX-License-Identifier: Apache-2.0
// Errors of the command line: one line that names the object and the cause. Functions return 0 or
// -errno and fill the text; the first text stays (the innermost one knows best).
#pragma once
#include "base/attr.h"

struct err {
    char text[1024];
};
// Returns code, so that a function can end in `return err_set(e, -EINVAL, "...", ...)`.
PRINTF_LIKE(3, 4) int err_set(struct err *e, int code, const char *fmt, ...);
// As err_set, with ": strerror(code)" at the end.
PRINTF_LIKE(3, 4) int err_errno(struct err *e, int code, const char *fmt, ...);
// Puts text in front of what is there.
PRINTF_LIKE(2, 3) void err_prefix(struct err *e, const char *fmt, ...);
