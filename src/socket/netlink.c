// SPDX-License-Identifier: Apache-2.0
// AF_NETLINK, as far as programs ask for interfaces and addresses (getifaddrs(3), getaddrinfo(3),
// ip(8)): NETLINK_ROUTE answers dumps about a loopback interface that nobody can change.
// NETLINK_KOBJECT_UEVENT can be listened to; nothing ever happens there.
//
// Requests are hostile: every length is checked against the datagram (netlink(7) alignment).
#include "abi/errno.h"
#include "base/slab.h"
#include "socket/netlink.h"
#include <linux/capability.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/ioctl.h>

constexpr size_t REQUEST_MAX = 32768;
constexpr uint32_t LO_FLAGS = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP;

struct nl_msg {
    struct list link;
    uint32_t n;
    uint8_t data[];
};
struct nl_sock {
    struct socket sk;
    struct spinlock lock;
    struct list rxq;      // [lock]
    uint64_t bytes;       // [lock]
    uint32_t portid;      // [A] 0: not bound
    uint32_t groups;      // [A]
};
SLAB_DEFINE(nl_slab, struct nl_sock);
static uint32_t ports[1024]; // [ports_lock] in use; the table bounds the number of bound sockets
static struct spinlock ports_lock;

static struct nl_sock *nl_of(struct socket *s)
{
    return container_of(s, struct nl_sock, sk);
}

// --- building answers --------------------------------------------------------------------------
struct answer {
    struct strbuf b;
    uint32_t seq, port;
};

static void put_zeros(struct strbuf *b, size_t n)
{
    static const uint8_t zero[8];
    strbuf_put(b, zero, n);
}

static size_t msg_begin(struct answer *a, uint16_t type, uint16_t flags, const void *body, size_t n)
{
    size_t at = a->b.len;
    struct nlmsghdr h = {.nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = a->seq, .nlmsg_pid = a->port};
    strbuf_put(&a->b, &h, sizeof(h));
    strbuf_put(&a->b, body, n);
    put_zeros(&a->b, NLMSG_ALIGN(n) - n);
    return at;
}

static void msg_end(struct answer *a, size_t at)
{
    uint32_t len = (uint32_t)(a->b.len - at);
    if (!a->b.bad)
        memcpy(a->b.p + at + offsetof(struct nlmsghdr, nlmsg_len), &len, sizeof(len));
}

static void put_attr(struct answer *a, uint16_t type, const void *p, size_t n)
{
    struct rtattr r = {.rta_len = (uint16_t)RTA_LENGTH(n), .rta_type = type};
    strbuf_put(&a->b, &r, sizeof(r));
    strbuf_put(&a->b, p, n);
    put_zeros(&a->b, RTA_ALIGN(n) - n);
}
static void put_u32(struct answer *a, uint16_t type, uint32_t v)
{
    put_attr(a, type, &v, sizeof(v));
}
static void put_u8(struct answer *a, uint16_t type, uint8_t v)
{
    put_attr(a, type, &v, sizeof(v));
}

static void put_error(struct answer *a, int err, const struct nlmsghdr *req)
{
    struct nlmsgerr e = {.error = err, .msg = *req};
    msg_end(a, msg_begin(a, NLMSG_ERROR, err ? 0 : NLM_F_CAPPED, &e, sizeof(e)));
}
static void put_done(struct answer *a)
{
    int zero = 0;
    msg_end(a, msg_begin(a, NLMSG_DONE, NLM_F_MULTI, &zero, sizeof(zero)));
}

// --- what there is -----------------------------------------------------------------------------
static void put_lo(struct answer *a, uint16_t flags)
{
    static const uint8_t mac[6];
    struct ifinfomsg i = {.ifi_type = ARPHRD_LOOPBACK, .ifi_index = 1, .ifi_flags = LO_FLAGS};
    struct rtnl_link_stats64 stats = {};
    size_t at = msg_begin(a, RTM_NEWLINK, flags, &i, sizeof(i));
    put_attr(a, IFLA_IFNAME, "lo", 3);
    put_u32(a, IFLA_TXQLEN, 1000);
    put_u8(a, IFLA_OPERSTATE, 0);
    put_u8(a, IFLA_LINKMODE, 0);
    put_u32(a, IFLA_MTU, 65536);
    put_u32(a, IFLA_GROUP, 0);
    put_u32(a, IFLA_PROMISCUITY, 0);
    put_u32(a, IFLA_NUM_TX_QUEUES, 1);
    put_u32(a, IFLA_NUM_RX_QUEUES, 1);
    put_u8(a, IFLA_CARRIER, 1);
    put_attr(a, IFLA_QDISC, "noqueue", 8);
    put_attr(a, IFLA_ADDRESS, mac, sizeof(mac));
    put_attr(a, IFLA_BROADCAST, mac, sizeof(mac));
    put_attr(a, IFLA_STATS64, &stats, sizeof(stats));
    msg_end(a, at);
}

static void put_address(struct answer *a, uint8_t family)
{
    static const uint8_t v4[4] = {127, 0, 0, 1}, v6[16] = {[15] = 1};
    bool six = family == AF_INET6;
    struct ifaddrmsg m = {.ifa_family = family, .ifa_prefixlen = six ? 128 : 8,
                          .ifa_flags = IFA_F_PERMANENT, .ifa_scope = RT_SCOPE_HOST, .ifa_index = 1};
    struct ifa_cacheinfo ci = {.ifa_prefered = UINT32_MAX, .ifa_valid = UINT32_MAX};
    size_t at = msg_begin(a, RTM_NEWADDR, NLM_F_MULTI, &m, sizeof(m));
    put_attr(a, IFA_ADDRESS, six ? v6 : v4, six ? sizeof(v6) : sizeof(v4));
    if (!six) {
        put_attr(a, IFA_LOCAL, v4, sizeof(v4));
        put_attr(a, IFA_LABEL, "lo", 3);
    }
    put_u32(a, IFA_FLAGS, IFA_F_PERMANENT);
    put_attr(a, IFA_CACHEINFO, &ci, sizeof(ci));
    msg_end(a, at);
}

// Is this RTM_GETLINK about lo? By index or by name.
static int link_asked(const struct nlmsghdr *h, const uint8_t *body, size_t n)
{
    struct ifinfomsg i;
    if (n < sizeof(i))
        return -EINVAL;
    memcpy(&i, body, sizeof(i));
    if (i.ifi_index)
        return i.ifi_index == 1 ? 0 : -ENODEV;
    size_t off = NLMSG_ALIGN(sizeof(i));
    while (off <= n && n - off >= sizeof(struct rtattr)) {
        struct rtattr r;
        memcpy(&r, body + off, sizeof(r));
        if (r.rta_len < sizeof(r) || r.rta_len > n - off)
            return -EINVAL;
        size_t len = r.rta_len - sizeof(r);
        if (r.rta_type == IFLA_IFNAME)
            return len >= 2 && !strncmp((const char *)body + off + sizeof(r), "lo", MIN(len, 3)) ? 0 : -ENODEV;
        off += RTA_ALIGN(r.rta_len);
    }
    return -EINVAL;
}

// One request. What it changes is nothing.
static int route_request(struct answer *a, const struct nlmsghdr *h, const uint8_t *body, size_t n,
                         const struct cred *c)
{
    uint8_t family = n ? body[0] : AF_UNSPEC;
    bool dump = (h->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
    // Types come in fours: NEW, DEL, GET, SET.
    if ((h->nlmsg_type & 3) != 2)
        return cred_capable(c, CAP_NET_ADMIN) ? -EOPNOTSUPP : -EPERM;
    switch (h->nlmsg_type) {
    case RTM_GETLINK: {
        int err = dump ? 0 : link_asked(h, body, n);
        if (err)
            return err;
        put_lo(a, dump ? NLM_F_MULTI : 0);
        break;
    }
    case RTM_GETADDR:
        if (!dump)
            return -EOPNOTSUPP;
        if (family == AF_UNSPEC || family == AF_INET)
            put_address(a, AF_INET);
        if (family == AF_UNSPEC || family == AF_INET6)
            put_address(a, AF_INET6);
        break;
    case RTM_GETROUTE:
        if (!dump)
            return -ENETUNREACH;
        break;
    case RTM_GETNEIGH: case RTM_GETRULE: case RTM_GETQDISC: case RTM_GETTCLASS: case RTM_GETTFILTER:
    case RTM_GETMULTICAST: case RTM_GETANYCAST: case RTM_GETNEIGHTBL: case RTM_GETADDRLABEL:
    case RTM_GETNSID: case RTM_GETNETCONF: case RTM_GETSTATS: case RTM_GETMDB:
        if (!dump)
            return -EOPNOTSUPP;
        break;
    default:
        return -EOPNOTSUPP;
    }
    if (dump)
        put_done(a);
    return 0;
}

// --- queue -------------------------------------------------------------------------------------
static int deliver(void *arg, const void *p, size_t n)
{
    struct nl_sock *s = arg;
    struct nl_msg *m = mem_alloc(sizeof(*m) + n);
    if (!m)
        return -ENOBUFS;
    m->n = (uint32_t)n;
    memcpy(m->data, p, n);
    spin_lock(&s->lock);
    bool full = s->bytes + n > s->sk.rcvbuf;
    if (!full) {
        list_push_back(&s->rxq, &m->link);
        ADD_SHARED(s->bytes, n);
    }
    spin_unlock(&s->lock);
    if (full) {
        mem_free(m);
        return -ENOBUFS;
    }
    waitq_wake(&s->sk.wq, POLLIN | POLLRDNORM);
    return 0;
}

int netlink_requests(int protocol, const uint8_t *p, size_t n, uint32_t port, const struct cred *c,
                     int (*answer)(void *arg, const void *p, size_t n), void *arg)
{
    int ret = 0;
    while (n >= sizeof(struct nlmsghdr) && !ret) {
        struct nlmsghdr h;
        memcpy(&h, p, sizeof(h));
        if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > n)
            return 0; // the rest is not a message; Linux ignores it too
        if ((h.nlmsg_flags & NLM_F_REQUEST) && h.nlmsg_type >= NLMSG_MIN_TYPE) {
            struct answer a = {.seq = h.nlmsg_seq, .port = port};
            int err = protocol == NETLINK_ROUTE
                          ? route_request(&a, &h, p + sizeof(h), h.nlmsg_len - sizeof(h), c)
                          : -EOPNOTSUPP;
            bool dump = (h.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP && !err;
            if (err || ((h.nlmsg_flags & NLM_F_ACK) && !dump))
                put_error(&a, err, &h);
            ret = a.b.bad ? -ENOMEM : a.b.len ? answer(arg, a.b.p, a.b.len) : 0;
            strbuf_free(&a.b);
        }
        size_t step = NLMSG_ALIGN((size_t)h.nlmsg_len);
        if (step >= n)
            break;
        p += step;
        n -= step;
    }
    return ret;
}

// --- addresses ---------------------------------------------------------------------------------
static int take_port(struct nl_sock *s, uint32_t want, uint32_t tgid)
{
    uint32_t port = want ? want : tgid;
    spin_lock(&ports_lock);
    int err = !s->portid ? -ENOBUFS : want && want != s->portid ? -EINVAL : 0;
    for (int tries = 0; !s->portid && tries < 2048; tries++) {
        size_t free_at = ARRAY_LEN(ports);
        bool used = false;
        for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
            used |= ports[i] == port;
            if (!ports[i])
                free_at = i;
        }
        if (used && want) {
            err = -EADDRINUSE;
            break;
        }
        if (!used && port) {
            if (free_at < ARRAY_LEN(ports)) {
                ports[free_at] = port;
                WRITE_SHARED(s->portid, port);
                err = 0;
            }
            break;
        }
        port = (uint32_t)-4097 - (uint32_t)tries;
    }
    spin_unlock(&ports_lock);
    return err;
}

static int autobind(struct nl_sock *s, struct task *t)
{
    return READ_SHARED(s->portid) ? 0 : take_port(s, 0, (uint32_t)task_tgid_in(t, t->pidns));
}

static int nl_bind(struct socket *sk, struct task *t, const struct sockaddr_storage *a, uint32_t len)
{
    struct nl_sock *s = nl_of(sk);
    struct sockaddr_nl nl;
    if (len < sizeof(nl) || a->ss_family != AF_NETLINK)
        return -EINVAL;
    memcpy(&nl, a, sizeof(nl));
    int err = nl.nl_pid ? take_port(s, nl.nl_pid, 0) : autobind(s, t);
    if (!err)
        WRITE_SHARED(s->groups, nl.nl_groups);
    return err;
}

static int nl_connect(struct socket *sk, struct task *t, const struct sockaddr_storage *a, uint32_t len,
                      int flags)
{
    struct sockaddr_nl nl = {};
    if (len < sizeof(sa_family_t))
        return -EINVAL;
    if (a->ss_family == AF_UNSPEC)
        return 0;
    if (a->ss_family != AF_NETLINK || len < sizeof(nl))
        return -EINVAL;
    memcpy(&nl, a, sizeof(nl));
    return nl.nl_pid ? -ECONNREFUSED : autobind(nl_of(sk), t);
}

static int nl_getname(struct socket *sk, struct sockaddr_storage *a, uint32_t *len, bool peer)
{
    struct nl_sock *s = nl_of(sk);
    struct sockaddr_nl nl = {.nl_family = AF_NETLINK};
    if (!peer) {
        nl.nl_pid = READ_SHARED(s->portid);
        nl.nl_groups = READ_SHARED(s->groups);
    }
    memcpy(a, &nl, sizeof(nl));
    *len = sizeof(nl);
    return 0;
}

// --- data --------------------------------------------------------------------------------------
static long nl_send(struct socket *sk, struct task *t, struct sockmsg *m, struct uio *u)
{
    struct nl_sock *s = nl_of(sk);
    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (m->addrlen) {
        struct sockaddr_nl nl = {};
        if (m->addrlen < sizeof(nl) || m->addr.ss_family != AF_NETLINK)
            return -EINVAL;
        memcpy(&nl, &m->addr, sizeof(nl));
        if (nl.nl_pid)
            return -ECONNREFUSED; // no other sockets to talk to
        if (nl.nl_groups)
            return -EPERM;
    }
    size_t n = u->resid;
    if (n > REQUEST_MAX)
        return -EMSGSIZE;
    int err = autobind(s, t);
    uint8_t *buf = err ? nullptr : mem_alloc(n ? n : 1);
    if (!err && !buf)
        err = -ENOBUFS;
    if (!err && n && uio_copy_from(u, buf, n) != (long)n)
        err = -EFAULT;
    if (!err)
        err = netlink_requests(sk->protocol, buf, n, s->portid, t->cred, deliver, s);
    mem_free(buf);
    return err ? err : (long)n;
}

static long nl_recv(struct socket *sk, struct task *t, struct sockmsg *m, struct uio *u)
{
    struct nl_sock *s = nl_of(sk);
    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    bool peek = m->flags & MSG_PEEK;
    ktime_t deadline = socket_deadline(sk->rcvtimeo, m->flags & MSG_DONTWAIT);
    struct nl_msg *q;
    for (;;) {
        spin_lock(&s->lock);
        q = list_first(&s->rxq, struct nl_msg, link);
        if (q) { // also for a peek, so that nobody frees it meanwhile
            list_del(&q->link);
            ADD_SHARED(s->bytes, -(uint64_t)q->n);
        }
        spin_unlock(&s->lock);
        if (q)
            break;
        if (!deadline)
            return -EAGAIN;
        int err = wait_event(&sk->wq, READ_SHARED(s->bytes), deadline, PARK_INTERRUPTIBLE);
        if (err)
            return err == -EINTR ? socket_intr(sk->rcvtimeo) : -EAGAIN;
    }
    size_t n = MIN((size_t)q->n, u->resid);
    long ret = uio_copy_to(u, q->data, n) == (long)n || !n ? (long)n : -EFAULT;
    if (n < q->n)
        m->out_flags |= MSG_TRUNC;
    if (ret >= 0 && (m->flags & MSG_TRUNC))
        ret = (long)q->n;
    struct sockaddr_nl from = {.nl_family = AF_NETLINK};
    memcpy(&m->addr, &from, sizeof(from));
    m->addrlen = sizeof(from);
    if (ret >= 0 && sk->passcred) {
        struct ucred uc = {};
        sockmsg_put(m, SOL_SOCKET, SCM_CREDENTIALS, &uc, sizeof(uc));
    }
    if (peek) {
        spin_lock(&s->lock);
        list_push_front(&s->rxq, &q->link);
        ADD_SHARED(s->bytes, q->n);
        spin_unlock(&s->lock);
        waitq_wake(&sk->wq, POLLIN | POLLRDNORM); // who looked meanwhile found nothing
    } else {
        mem_free(q);
    }
    return ret;
}

static uint32_t nl_poll(struct socket *sk, struct poll_table *pt)
{
    struct nl_sock *s = nl_of(sk);
    poll_wait(pt, &sk->wq);
    return (READ_SHARED(s->bytes) ? POLLIN | POLLRDNORM : 0) | POLLOUT | POLLWRNORM | POLLWRBAND;
}

static int nl_setopt(struct socket *sk, struct task *t, int level, int name, const void *val, uint32_t len)
{
    if (level == SOL_SOCKET)
        return -ENOPROTOOPT;
    if (level != SOL_NETLINK || len < sizeof(int))
        return level == SOL_NETLINK ? -EINVAL : -ENOPROTOOPT;
    switch (name) {
    case NETLINK_ADD_MEMBERSHIP: case NETLINK_DROP_MEMBERSHIP: case NETLINK_PKTINFO:
    case NETLINK_BROADCAST_ERROR: case NETLINK_NO_ENOBUFS: case NETLINK_CAP_ACK: case NETLINK_EXT_ACK:
    case NETLINK_GET_STRICT_CHK:
        return 0; // they say what else may come, and nothing else comes
    default:
        return -ENOPROTOOPT;
    }
}

static int nl_refuse_listen(struct socket *s, struct task *t, int backlog)
{
    return -EOPNOTSUPP;
}
static int nl_refuse_accept(struct socket *s, int flags, struct socket **out)
{
    return -EOPNOTSUPP;
}
static int nl_refuse_shutdown(struct socket *s, int how)
{
    return -EOPNOTSUPP;
}

static void nl_release(struct socket *sk)
{
    struct nl_sock *s = nl_of(sk);
    spin_lock(&ports_lock);
    for (size_t i = 0; s->portid && i < ARRAY_LEN(ports); i++) {
        if (ports[i] == s->portid)
            ports[i] = 0;
    }
    spin_unlock(&ports_lock);
    while (!list_empty(&s->rxq)) {
        struct nl_msg *q = list_first(&s->rxq, struct nl_msg, link);
        list_del(&q->link);
        mem_free(q);
    }
    slab_free(&nl_slab, s);
}

static const struct socket_ops nl_ops = {
    .bind = nl_bind,
    .connect = nl_connect,
    .listen = nl_refuse_listen,
    .accept = nl_refuse_accept,
    .getname = nl_getname,
    .send = nl_send,
    .recv = nl_recv,
    .shutdown = nl_refuse_shutdown,
    .setopt = nl_setopt,
    .poll = nl_poll,
    .release = nl_release,
};

static int nl_create(struct task *t, int type, int protocol, struct socket **out)
{
    if (type != SOCK_RAW && type != SOCK_DGRAM)
        return -ESOCKTNOSUPPORT;
    if (protocol != NETLINK_ROUTE && protocol != NETLINK_KOBJECT_UEVENT)
        return -EPROTONOSUPPORT;
    struct nl_sock *s = slab_alloc(&nl_slab);
    if (!s)
        return -ENOMEM;
    socket_init(&s->sk, &nl_ops, AF_NETLINK, type, protocol);
    spin_init(&s->lock);
    list_init(&s->rxq);
    *out = &s->sk;
    return 0;
}

__attribute__((constructor)) static void nl_register(void)
{
    socket_register_family(AF_NETLINK, nl_create);
}
