// SPDX-License-Identifier: Apache-2.0
#include "kern/limits.h"

struct machine machine = {.ncpus = 1, .mem_total = 1ull << 30, .tasks_max = 4096};
