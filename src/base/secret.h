// SPDX-License-Identifier: Apache-2.0
// Random words of this process, drawn once at start: free-list mangling and the default hash key.
#pragma once
#include "base/attr.h"

extern uint64_t base_secret[4];
