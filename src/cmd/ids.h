// SPDX-License-Identifier: Apache-2.0
// Which user ids this process may give to its sandboxes. Root on the machine has all of them; root
// in a user namespace (podman without privileges) those that are mapped there, perhaps only itself.
#pragma once
#include <stdint.h>

struct host_ids {
    bool initial;   // no user namespace around us
    uint32_t owner; // who id 0 is outside of the namespace
    uint32_t base;  // the first that sandboxes may have
    uint32_t pairs; // how many sandboxes; 0: none has ids of its own
};
struct host_ids host_ids_look(void);
// Where the state of containers is kept unless --root says otherwise.
const char *default_state_root(void);
