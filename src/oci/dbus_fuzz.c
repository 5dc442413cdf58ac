// SPDX-License-Identifier: Apache-2.0
// Messages of a bus, from hostile bytes.
#include "base/slab.h"
#include "oci/dbus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct dbus_message m;
    if (dbus_parse(&m, data, n) == 0)
        for (char *s; (s = dbus_take_str(&m.body, data)) != nullptr;)
            mem_free(s);
    return 0;
}
