// SPDX-License-Identifier: Apache-2.0
// /proc/net: tables of sockets, routes and interfaces. The headings are Linux's; the lines come from
// the socket layer through hooks. Without one there is a loopback interface and nothing else.
#include "fs/proc/net.h"
#include "abi/errno.h"
#include "fs/proc/proc.h"
#include <string.h>
#include <sys/stat.h>

void (*proc_net_unix_hook)(struct strbuf *out);
void (*proc_net_table_hook)(const char *table, struct strbuf *out);
bool (*proc_net_device_hook)(int n, struct proc_net_device *d);

#define V4_HEAD "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
#define V6_HEAD                                                                          \
    "  sl  local_address                         remote_address                        " \
    "st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
#define DGRAM_TAIL " ref pointer drops"
static const struct {
    const char *table, *head;
    int width; // lines of some tables are padded
} headings[] = {
    {"arp", "IP address       HW type     Flags       HW address            Mask     Device", 0},
    {"ipv6_route", "", 0},
    {"netlink",
     "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode", 0},
    {"packet", "sk               RefCnt Type Proto  Iface R Rmem   User   Inode", 0},
    {"raw", V4_HEAD DGRAM_TAIL, 0},
    {"raw6", V6_HEAD DGRAM_TAIL, 0},
    {"route",
     "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT", 127},
    {"tcp", V4_HEAD, 149},
    {"tcp6", V6_HEAD, 0},
    {"udp", " " V4_HEAD DGRAM_TAIL, 127},
    {"udp6", V6_HEAD DGRAM_TAIL, 0},
    {"udplite", " " V4_HEAD DGRAM_TAIL, 127},
    {"udplite6", V6_HEAD DGRAM_TAIL, 0},
};

static int table_show(struct strbuf *out, struct proc_inode *p)
{
    for (size_t i = 0; i < ARRAY_LEN(headings); i++)
        if (!strcmp(headings[i].table, p->e->name) && *headings[i].head)
            strbuf_fmt(out, "%-*s\n", headings[i].width, headings[i].head);
    if (proc_net_table_hook)
        proc_net_table_hook(p->e->name, out);
    return 0;
}

static int dev_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "Inter-|   Receive                                                |  Transmit\n"
                    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets"
                    " errs drop fifo colls carrier compressed\n");
    struct proc_net_device d = {.name = "lo"};
    for (int n = 0; proc_net_device_hook ? proc_net_device_hook(n, &d) : n == 0; n++)
        strbuf_fmt(out,
                   "%6s: %7lu %7lu %4lu %4lu    0     0          0         0 "
                   "%8lu %7lu %4lu %4lu    0     0       0          0\n",
                   d.name, d.rx_bytes, d.rx_packets, d.rx_errors, d.rx_dropped, d.tx_bytes,
                   d.tx_packets, d.tx_errors, d.tx_dropped);
    return 0;
}

static int unix_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "Num       RefCount Protocol Flags    Type St Inode Path\n");
    if (proc_net_unix_hook)
        proc_net_unix_hook(out);
    return 0;
}

static int if_inet6_show(struct strbuf *out, struct proc_inode *p)
{
    strbuf_str(out, "00000000000000000000000000000001 01 80 10 80       lo\n");
    return 0;
}

// Counters that nothing counts: zeros under the names that nstat(8) and netstat(8) look for.
static int zeros_show(struct strbuf *out, struct proc_inode *p)
{
    static const struct { const char *file, *group, *names; } groups[] = {
        {"snmp", "Ip",
         "Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos "
         "InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs "
         "ReasmFails FragOKs FragFails FragCreates OutTransmits"},
        {"snmp", "Icmp",
         "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs "
         "InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps "
         "OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds "
         "OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps "
         "OutTimestampReps OutAddrMasks OutAddrMaskReps"},
        {"snmp", "Tcp",
         "RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets "
         "CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors"},
        {"snmp", "Udp",
         "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors "
         "IgnoredMulti MemErrors"},
        {"snmp", "UdpLite",
         "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors "
         "IgnoredMulti MemErrors"},
        {"netstat", "TcpExt",
         "SyncookiesSent SyncookiesRecv SyncookiesFailed ListenOverflows ListenDrops TCPTimeouts "
         "TCPLostRetransmit TCPFastRetrans TCPSlowStartRetrans TCPAbortOnMemory"},
        {"netstat", "IpExt",
         "InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets "
         "OutOctets"},
    };
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        if (strcmp(groups[i].file, p->e->name))
            continue;
        strbuf_fmt(out, "%s: %s\n%s:", groups[i].group, groups[i].names, groups[i].group);
        for (const char *s = groups[i].names; s; s = strchr(s, ' ') ? strchr(s, ' ') + 1 : nullptr)
            strbuf_str(out, !strncmp(s, "Forwarding", 10)   ? " 2"
                            : !strncmp(s, "DefaultTTL", 10) ? " 64"
                            : !strncmp(s, "RtoAlgo", 7)     ? " 1"
                            : !strncmp(s, "RtoMin", 6)      ? " 200"
                            : !strncmp(s, "RtoMax", 6)      ? " 120000"
                            : !strncmp(s, "MaxConn", 7)     ? " -1"
                                                            : " 0");
        strbuf_char(out, '\n');
    }
    return 0;
}

static int fixed_show(struct strbuf *out, struct proc_inode *p)
{
    static const struct { const char *name, *text; } rows[] = {
        {"protocols", "protocol  size sockets  memory press maxhdr  slab module     "
                      "cl co di ac io in de sh ss gs se re bi br ha uh gp em\n"},
        {"psched", "000003e8 00000040 000f4240 3b9aca00\n"},
        {"ptype", "Type Device      Function\n"},
        {"sockstat", "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\n"
                     "UDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"},
        {"sockstat6", "TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\n"
                      "FRAG6: inuse 0 memory 0\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (!strcmp(rows[i].name, p->e->name))
            strbuf_str(out, rows[i].text);
    return 0;
}

#define TEXT(n, fn) {.name = n, .mode = S_IFREG | 0444, .show = fn}
const struct proc_entry proc_net_entries[] = {
    TEXT("arp", table_show),        TEXT("dev", dev_show),         TEXT("dev_mcast", fixed_show),
    TEXT("if_inet6", if_inet6_show), TEXT("ipv6_route", table_show), TEXT("netlink", table_show),
    TEXT("netstat", zeros_show),    TEXT("packet", table_show),    TEXT("protocols", fixed_show),
    TEXT("psched", fixed_show),     TEXT("ptype", fixed_show),     TEXT("raw", table_show),
    TEXT("raw6", table_show),       TEXT("route", table_show),     TEXT("snmp", zeros_show),
    TEXT("sockstat", fixed_show),   TEXT("sockstat6", fixed_show), TEXT("tcp", table_show),
    TEXT("tcp6", table_show),       TEXT("udp", table_show),       TEXT("udp6", table_show),
    TEXT("udplite", table_show),    TEXT("udplite6", table_show),  TEXT("unix", unix_show),
    {},
};
