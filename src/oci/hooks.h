// SPDX-License-Identifier: Apache-2.0
// Hooks of a configuration: programs of the bundle's author on the host. They get exactly what the
// configuration gives them: hook.env and nothing else, the state on standard input, the bundle as
// working directory (never the container's root: CVE-2025-23266), no descriptor of ours.
#pragma once
#include "oci/spec.h"
#include <json-c/json.h>
#include <sys/types.h>

struct hook_context {
    const char *id, *bundle;
    pid_t pid; // 0: none any more
    const struct spec_kvs *annotations;
    int netns; // where hooks of the runtime's namespaces run; -1: where we are
};
// All of one kind, in order. The first that fails ends it: -errno, with the hook and its output.
MUST_CHECK int hooks_run(const struct spec_hooks *hooks, enum hook_kind kind,
                         const struct hook_context *c, struct err *e);
// Those after which nothing can be stopped: each failure is a warning, all are run.
void hooks_run_all(const struct spec_hooks *hooks, enum hook_kind kind,
                   const struct hook_context *c);
// The state of the specification as JSON text (owned), as hooks of that kind get it.
char *hook_state(enum hook_kind kind, const struct hook_context *c);

// For the state file.
struct json_object *hooks_to_json(const struct spec_hooks hooks[HOOK_KINDS]);
MUST_CHECK int hooks_from_json(struct json_object *o, struct spec_hooks hooks[HOOK_KINDS]);
