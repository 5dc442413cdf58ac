// SPDX-License-Identifier: Apache-2.0
// Settings of /proc/sys that layers above read and a guest with the right may change. One word each:
// read with READ_SHARED. Those of pipes live in fs/pipe.h.
#pragma once
#include "base/attr.h"

struct sysctls {
    uint32_t somaxconn;                       // net.core: listen(2) backlogs are cut to this
    uint32_t unprivileged_port_start;         // net.ipv4: ports below need CAP_NET_BIND_SERVICE
    uint32_t local_port_range[2];             // net.ipv4: first and last port for bind(0), connect
    uint32_t ping_group_range[2];             // net.ipv4: who may open ICMP sockets
    uint32_t max_dgram_qlen;                  // net.unix
    uint32_t mq_msg_max, mq_msgsize_max, mq_queues_max;       // fs.mqueue
    uint32_t shmmni, msgmni, msgmax, msgmnb;                  // kernel.*: System V objects
    uint64_t shmmax, shmall;
    uint32_t sem[4];                          // SEMMSL SEMMNS SEMOPM SEMMNI
};
extern struct sysctls sysctls;
