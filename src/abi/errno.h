// SPDX-License-Identifier: Apache-2.0
// errno values (Linux UAPI) and the restart codes that never reach a guest (linux/errno.h).
#pragma once
#include <errno.h>

constexpr int ERESTARTSYS = 512;           // restart if SA_RESTART or no handler
constexpr int ERESTARTNOINTR = 513;        // always restart
constexpr int ERESTARTNOHAND = 514;        // restart only if no handler ran
constexpr int ERESTART_RESTARTBLOCK = 516; // restart through task->restart (restart_syscall)
