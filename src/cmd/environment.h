// SPDX-License-Identifier: Apache-2.0
// What a container's supervisor is on the host before the sandbox is started: in the namespaces that
// the configuration names, with the hooks run that belong there.
#pragma once
#include "cmd/launch.h"
#include "oci/hooks.h"

// Says once what of the configuration does not apply here.
void environment_warn(const struct spec *s);
// Joins or makes the network namespace: /proc/PID/ns/net of this process is the container's from
// now on. Then the hooks prestart, createRuntime and createContainer.
MUST_CHECK int environment_enter(const struct spec *s, const char *bundle, struct err *e);
// Engines enter the mount namespace of the process that they know by its number, and read and write
// there what they take for the container's files (podman cp): from here on they find its root, and
// nothing of the host. Where that needs rights that we do not have nothing changes.
MUST_CHECK int environment_leave_host(const char *root, struct err *e);
