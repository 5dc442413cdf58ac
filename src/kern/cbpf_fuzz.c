// SPDX-License-Identifier: Apache-2.0
// Seccomp programs from hostile bytes: 64 bytes of struct seccomp_data, then instructions. What
// passes the check must run to an end inside its bounds, and "always allows" must be true of it.
#include "base/assert.h"
#include "kern/cbpf.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sock_filter prog[CBPF_MAX];
    struct seccomp_data d;
    if (size < sizeof(d))
        return 0;
    memcpy(&d, data, sizeof(d));
    size_t n = MIN((size - sizeof(d)) / sizeof(prog[0]), CBPF_MAX);
    memcpy(prog, data + sizeof(d), n * sizeof(prog[0]));
    if (cbpf_check_seccomp(prog, n) != 0)
        return 0;
    uint32_t r = cbpf_run(prog, &d);
    if (cbpf_always_allows(prog, d.arch, d.nr))
        CHECK(r == SECCOMP_RET_ALLOW);
    return 0;
}
