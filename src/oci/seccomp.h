// SPDX-License-Identifier: Apache-2.0
// linux.seccomp -> program, see seccomp.c. For config.c.
#pragma once
#include "oci/spec.h"
#include <json-c/json.h>

// o: the object, or null (out stays empty). 0; -EINVAL, -ENOTSUP (SCMP_ACT_NOTIFY), -E2BIG, -ENOMEM.
// Reads a whole profile or fails; out->insns is owned by the caller's spec.
MUST_CHECK int spec_seccomp_compile(struct json_object *o, struct spec_seccomp *out, struct err *e);
