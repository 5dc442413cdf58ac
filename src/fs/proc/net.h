// SPDX-License-Identifier: Apache-2.0
// Lists of /proc/net whose owners are in higher folders; set by their constructors.
#pragma once
#include "base/strbuf.h"

extern void (*proc_net_unix_hook)(struct strbuf *out); // all lines after the heading
// All lines after the heading of the tables "arp", "netlink", "packet", "raw", "raw6", "route",
// "ipv6_route", "tcp", "tcp6", "udp", "udp6"; those that the hook does not know stay empty.
extern void (*proc_net_table_hook)(const char *table, struct strbuf *out);
// Statistics of one interface for "dev": called for each in turn until it returns false.
struct proc_net_device {
    char name[16];
    uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
    uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
};
extern bool (*proc_net_device_hook)(int n, struct proc_net_device *d);
