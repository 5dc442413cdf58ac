// SPDX-License-Identifier: Apache-2.0
#include "kern/sysctl.h"

struct sysctls sysctls = {
    .somaxconn = 4096,
    .unprivileged_port_start = 1024,
    .local_port_range = {32768, 60999},
    .ping_group_range = {1, 0},
    .max_dgram_qlen = 512,
    .mq_msg_max = 10,
    .mq_msgsize_max = 8192,
    .mq_queues_max = 256,
    .shmmni = 4096,
    .msgmni = 32000,
    .msgmax = 8192,
    .msgmnb = 16384,
    .shmmax = 18446744073692774399u,
    .shmall = 18446744073692774399u,
    .sem = {32000, 1024000000, 500, 32000},
};
