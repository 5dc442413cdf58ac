// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: names, connections, life and death. unix(7).
#include "socket/unix.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/proc/net.h"
#include "mem/uaccess.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

SLAB_DEFINE(unix_slab, struct unix_sock);
SLAB_DEFINE(addr_slab, struct unix_addr);

static struct spinlock table_lock;
static struct htab abstract_names;              // [table_lock] unix_sock.abstract
static struct list all_socks = LIST_INIT(all_socks); // [table_lock]
static uint32_t autobind_next;
static const struct socket_ops unix_ops;

// --- life --------------------------------------------------------------------------------------
struct unix_sock *unix_get(struct unix_sock *u)
{
    ref_get(&u->ref);
    return u;
}

static void addr_put(struct unix_addr *a)
{
    if (a && ref_put(&a->ref))
        slab_free(&addr_slab, a);
}

void unix_put(struct unix_sock *u)
{
    if (!u || !ref_put(&u->ref))
        return;
    spin_lock(&table_lock);
    list_del(&u->all_link);
    spin_unlock(&table_lock);
    addr_put(u->addr);
    mem_free(u->spare);
    if (u->cred_pid)
        kpid_put(u->cred_pid);
    if (u->cred)
        cred_put(u->cred);
    slab_free(&unix_slab, u);
}

// The peer's queue has room again: tell who polls us. Runs under the peer's wait queue lock.
static void relay_wake(struct waiter *w, uint32_t key)
{
    struct unix_sock *u = container_of(w, struct unix_sock, relay);
    waitq_wake(&u->sk.wq, POLLOUT | POLLWRNORM | POLLWRBAND);
}

static struct unix_sock *unix_new(int type)
{
    struct unix_sock *u = slab_alloc(&unix_slab);
    if (!u)
        return nullptr;
    socket_init(&u->sk, &unix_ops, AF_UNIX, type, 0);
    ref_init(&u->ref);
    spin_init(&u->lock);
    mutex_init(&u->iolock, RANK_SOCKET);
    list_init(&u->rxq);
    list_init(&u->accq);
    list_init(&u->acc_link);
    list_init(&u->inflight_link);
    waitq_init(&u->peer_wait);
    waiter_init_fn(&u->relay, relay_wake, ~0u);
    spin_lock(&table_lock);
    list_push_back(&all_socks, &u->all_link);
    spin_unlock(&table_lock);
    return u;
}

static int unix_create(struct task *t, int type, int protocol, struct socket **out)
{
    if (protocol && protocol != PF_UNIX)
        return -EPROTONOSUPPORT;
    if (type == SOCK_RAW)
        type = SOCK_DGRAM;
    if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET)
        return -ESOCKTNOSUPPORT;
    struct unix_sock *u = unix_new(type);
    if (!u)
        return -ENOMEM;
    *out = &u->sk;
    return 0;
}

void unix_lock2(struct unix_sock *a, struct unix_sock *b) NO_LOCK_ANALYSIS
{
    if (a > b) {
        struct unix_sock *x = a;
        a = b;
        b = x;
    }
    spin_lock(&a->lock);
    if (a != b)
        spin_lock(&b->lock);
}

void unix_unlock2(struct unix_sock *a, struct unix_sock *b) NO_LOCK_ANALYSIS
{
    spin_unlock(&a->lock);
    if (a != b)
        spin_unlock(&b->lock);
}

struct unix_sock *unix_peer_get(struct unix_sock *u)
{
    spin_lock(&u->lock);
    struct unix_sock *p = u->peer ? unix_get(u->peer) : nullptr;
    spin_unlock(&u->lock);
    return p;
}

// --- names -------------------------------------------------------------------------------------
int unix_check_name(const struct sockaddr_storage *a, uint32_t len)
{
    if (len <= offsetof(struct sockaddr_un, sun_path) || len > sizeof(struct sockaddr_un) ||
        a->ss_family != AF_UNIX)
        return -EINVAL;
    return 0;
}

static uint64_t name_hash(const struct unix_addr *a, int type)
{
    return hash_bytes(&a->sun, a->len) ^ (uint64_t)type;
}

static struct unix_sock *abstract_find(const struct sockaddr_un *sun, uint32_t len, int type) // [table]
{
    uint64_t h = hash_bytes(sun, len) ^ (uint64_t)type;
    for (struct hnode *n = htab_chain(&abstract_names, h); n; n = htab_chain_next(n)) {
        struct unix_sock *u = container_of(n, struct unix_sock, abstract);
        if (u->addr->len == len && !memcmp(&u->addr->sun, sun, len) && u->sk.type == type)
            return u;
    }
    return nullptr;
}

static struct unix_addr *addr_new(const struct sockaddr_un *sun, uint32_t len)
{
    struct unix_addr *a = slab_alloc(&addr_slab);
    if (!a)
        return nullptr;
    ref_init(&a->ref);
    memcpy(&a->sun, sun, MIN(len, sizeof(a->sun)));
    a->len = len;
    return a;
}

// Enters u under an abstract name; takes over a on success.
static int abstract_bind(struct unix_sock *u, struct unix_addr *a)
{
    int err = 0;
    spin_lock(&table_lock);
    if (u->addr)
        err = -EINVAL;
    else if (abstract_find(&a->sun, a->len, u->sk.type))
        err = -EADDRINUSE;
    if (!err)
        err = htab_insert(&abstract_names, &u->abstract, name_hash(a, u->sk.type));
    if (!err) {
        u->hashed = true;
        __atomic_store_n(&u->addr, a, __ATOMIC_RELEASE);
    }
    spin_unlock(&table_lock);
    return err;
}

int unix_autobind(struct unix_sock *u)
{
    if (__atomic_load_n(&u->addr, __ATOMIC_ACQUIRE))
        return 0;
    for (int tries = 0; tries < 1 << 20; tries++) {
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        uint32_t n = __atomic_add_fetch(&autobind_next, 1, __ATOMIC_RELAXED) & 0xfffff;
        char name[8];
        snprintf(name, sizeof(name), "%05x", n);
        memcpy(sun.sun_path + 1, name, 5);
        struct unix_addr *a = addr_new(&sun, offsetof(struct sockaddr_un, sun_path) + 6);
        if (!a)
            return -ENOMEM;
        int err = abstract_bind(u, a);
        if (!err)
            return 0;
        addr_put(a);
        if (err == -EINVAL)
            return 0; // somebody else has just bound it
        if (err != -EADDRINUSE)
            return err;
    }
    return -ENOSPC;
}

static int bind_path(struct unix_sock *u, struct task *t, struct sockaddr_un *sun, uint32_t len)
{
    char name[sizeof(sun->sun_path) + 1] = {};
    size_t n = strnlen(sun->sun_path, len - offsetof(struct sockaddr_un, sun_path));
    memcpy(name, sun->sun_path, n);
    memset(sun->sun_path + n, 0, sizeof(sun->sun_path) - n);
    struct unix_addr *a = addr_new(sun, (uint32_t)(offsetof(struct sockaddr_un, sun_path) + n + 1));
    if (!a)
        return -ENOMEM;
    struct lookup_ctx ctx = task_lookup_ctx(t);
    struct path path;
    int err = vfs_bind_socket(&ctx, name, S_IFSOCK | (0777 & ~fs_umask(t->fs)), &path);
    if (err) {
        addr_put(a);
        return err;
    }
    spin_lock(&table_lock);
    err = u->addr ? -EINVAL : 0;
    if (!err) {
        u->path = path;
        __atomic_store_n(&u->addr, a, __ATOMIC_RELEASE);
    }
    spin_unlock(&table_lock);
    if (err) {
        addr_put(a);
        path_put(path);
        if (vfs_unlink(&ctx, AT_FDCWD, name)) // somebody else did
            return err;
        return err;
    }
    struct inode *i = inode_common(path.dentry->inode);
    mutex_lock(&i->lock);
    i->sock = u;
    mutex_unlock(&i->lock);
    return 0;
}

static int unix_bind(struct socket *s, struct task *t, const struct sockaddr_storage *a, uint32_t len)
{
    struct unix_sock *u = unix_of(s);
    struct sockaddr_un sun = {};
    if (len == sizeof(sa_family_t) && a->ss_family == AF_UNIX)
        return __atomic_load_n(&u->addr, __ATOMIC_ACQUIRE) ? -EINVAL : unix_autobind(u);
    int err = unix_check_name(a, len);
    if (err)
        return err;
    memcpy(&sun, a, len);
    if (sun.sun_path[0])
        return bind_path(u, t, &sun, len);
    struct unix_addr *n = addr_new(&sun, len);
    if (!n)
        return -ENOMEM;
    err = abstract_bind(u, n);
    if (err)
        addr_put(n);
    return err;
}

static int find_path(struct task *t, const struct sockaddr_un *sun, uint32_t len, int type,
                     struct unix_sock **out)
{
    char name[sizeof(sun->sun_path) + 1] = {};
    memcpy(name, sun->sun_path, strnlen(sun->sun_path, len - offsetof(struct sockaddr_un, sun_path)));
    struct lookup_ctx ctx = task_lookup_ctx(t);
    struct path p;
    int err = path_lookup(&ctx, AT_FDCWD, name, LOOKUP_FOLLOW, &p);
    if (err)
        return err;
    struct inode *i = p.dentry->inode;
    err = i ? inode_permission(i, 2, t->cred) : -ENOENT;
    if (!err && !S_ISSOCK(i->mode))
        err = -ECONNREFUSED;
    if (!err) {
        i = inode_common(i);
        mutex_lock(&i->lock);
        struct unix_sock *u = i->sock;
        if (!u || !ref_get_unless_zero(&u->ref))
            err = -ECONNREFUSED;
        else
            *out = u;
        mutex_unlock(&i->lock);
    }
    if (!err && (*out)->sk.type != type) {
        unix_put(*out);
        err = -EPROTOTYPE;
    }
    path_put(p);
    return err;
}

int unix_find(struct task *t, const struct sockaddr_storage *a, uint32_t len, int type,
              struct unix_sock **out)
{
    int err = unix_check_name(a, len);
    if (err)
        return err;
    struct sockaddr_un sun = {};
    memcpy(&sun, a, len);
    if (sun.sun_path[0])
        return find_path(t, &sun, len, type, out);
    spin_lock(&table_lock);
    struct unix_sock *u = abstract_find(&sun, len, type);
    err = u && ref_get_unless_zero(&u->ref) ? 0 : -ECONNREFUSED;
    spin_unlock(&table_lock);
    if (!err)
        *out = u;
    return err;
}

static int unix_getname(struct socket *s, struct sockaddr_storage *a, uint32_t *len, bool peer)
{
    struct unix_sock *u = unix_of(s);
    struct unix_sock *who = peer ? unix_peer_get(u) : unix_get(u);
    if (!who)
        return -ENOTCONN;
    struct unix_addr *n = __atomic_load_n(&who->addr, __ATOMIC_ACQUIRE);
    if (n) {
        memcpy(a, &n->sun, MIN(n->len, sizeof(n->sun)));
        *len = n->len;
    } else {
        a->ss_family = AF_UNIX;
        *len = sizeof(sa_family_t);
    }
    unix_put(who);
    return 0;
}

// --- connections -------------------------------------------------------------------------------
static void set_cred(struct unix_sock *u, struct kpid *pid, struct cred *c) // [l]
{
    if (u->cred_pid)
        kpid_put(u->cred_pid);
    if (u->cred)
        cred_put(u->cred);
    u->cred_pid = pid ? kpid_get(pid) : nullptr;
    u->cred = c ? cred_get(c) : nullptr;
}

static int unix_listen(struct socket *s, struct task *t, int backlog)
{
    struct unix_sock *u = unix_of(s);
    if (unix_is_dgram(u))
        return -EOPNOTSUPP;
    if (!__atomic_load_n(&u->addr, __ATOMIC_ACQUIRE))
        return -EINVAL;
    int err = 0;
    spin_lock(&u->lock);
    if (u->state == UNIX_CONNECTED) {
        err = -EINVAL;
    } else {
        if (backlog > u->backlog || u->state != UNIX_LISTENING)
            waitq_wake_all(&u->peer_wait, ~0u);
        WRITE_SHARED(u->backlog, backlog);
        WRITE_SHARED(u->state, UNIX_LISTENING);
        set_cred(u, t->group->tgid_pid, t->cred);
    }
    spin_unlock(&u->lock);
    return err;
}

// One try: 0, -EAGAIN (backlog full), -ECONNREFUSED, -EISCONN, -EINVAL.
static int try_connect(struct unix_sock *u, struct unix_sock *l, struct unix_sock *n, struct task *t)
{
    int err = 0;
    unix_lock2(u, l);
    if (u->state != UNIX_IDLE || u == l)
        err = u->state == UNIX_CONNECTED ? -EISCONN : -EINVAL;
    else if (l->dead || l->state != UNIX_LISTENING || (l->shut & UNIX_SHUT_RD))
        err = -ECONNREFUSED;
    else if ((int64_t)l->nacc > l->backlog)
        err = -EAGAIN;
    if (!err) {
        n->peer = unix_get(u);
        n->state = UNIX_CONNECTED;
        set_cred(n, t->group->tgid_pid, t->cred);
        n->sk.passcred = l->sk.passcred;
        if (l->addr) {
            ref_get(&l->addr->ref);
            n->addr = l->addr;
        }
        u->peer = unix_get(n);
        WRITE_SHARED(u->state, UNIX_CONNECTED);
        set_cred(u, l->cred_pid, l->cred);
        list_push_back(&l->accq, &n->acc_link); // our reference of n is the queue's now
        ADD_SHARED(l->nacc, 1);
    }
    unix_unlock2(u, l);
    return err;
}

static int connect_stream(struct unix_sock *u, struct task *t, const struct sockaddr_storage *a,
                          uint32_t len, bool nonblock)
{
    int err = unix_check_name(a, len);
    if (!err && u->sk.passcred)
        err = unix_autobind(u);
    if (err)
        return err;
    struct unix_sock *n = unix_new(u->sk.type), *l = nullptr;
    if (!n)
        return -ENOMEM;
    ktime_t deadline = socket_deadline(u->sk.sndtimeo, nonblock);
    for (;;) {
        err = unix_find(t, a, len, u->sk.type, &l);
        if (err)
            break;
        err = try_connect(u, l, n, t);
        if (err != -EAGAIN || !deadline)
            break;
        int w = wait_event(&l->peer_wait,
                           (int64_t)READ_SHARED(l->nacc) <= READ_SHARED(l->backlog) ||
                               READ_SHARED(l->dead) || READ_SHARED(l->state) != UNIX_LISTENING ||
                               (READ_SHARED(l->shut) & UNIX_SHUT_RD),
                           deadline, PARK_INTERRUPTIBLE);
        unix_put(l);
        l = nullptr;
        if (w) {
            err = w == -EINTR ? socket_intr(u->sk.sndtimeo) : -EAGAIN;
            break;
        }
    }
    if (!err)
        waitq_wake(&l->sk.wq, POLLIN | POLLRDNORM);
    else
        unix_put(n);
    if (l)
        unix_put(l);
    return err;
}

static int connect_dgram(struct unix_sock *u, struct task *t, const struct sockaddr_storage *a,
                         uint32_t len)
{
    struct unix_sock *other = nullptr, *old;
    if (len < sizeof(sa_family_t))
        return -EINVAL;
    if (a->ss_family != AF_UNSPEC) {
        int err = unix_check_name(a, len);
        if (!err && u->sk.passcred)
            err = unix_autobind(u);
        if (!err)
            err = unix_find(t, a, len, u->sk.type, &other);
        if (err)
            return err;
        // A socket that is connected takes datagrams from its peer only.
        struct unix_sock *pp = unix_peer_get(other);
        bool may = !pp || pp == u;
        unix_put(pp);
        if (!may) {
            unix_put(other);
            return -EPERM;
        }
    }
    spin_lock(&u->lock);
    old = u->peer;
    if (old)
        waitq_remove(&u->relay);
    u->peer = other;
    WRITE_SHARED(u->state, other ? UNIX_CONNECTED : UNIX_IDLE);
    spin_unlock(&u->lock);
    if (old) {
        waitq_wake_all(&old->peer_wait, ~0u);
        unix_put(old);
    }
    return 0;
}

static int unix_connect(struct socket *s, struct task *t, const struct sockaddr_storage *a,
                        uint32_t len, int flags)
{
    struct unix_sock *u = unix_of(s);
    return unix_is_dgram(u) ? connect_dgram(u, t, a, len)
                            : connect_stream(u, t, a, len, flags & O_NONBLOCK);
}

static int unix_pair(struct socket *a, struct socket *b, struct task *t)
{
    struct unix_sock *ua = unix_of(a), *ub = unix_of(b);
    ua->peer = unix_get(ub);
    ub->peer = unix_get(ua);
    set_cred(ua, t->group->tgid_pid, t->cred);
    set_cred(ub, t->group->tgid_pid, t->cred);
    ua->state = ub->state = UNIX_CONNECTED;
    return 0;
}

static struct unix_sock *accept_take(struct unix_sock *u, bool *bad)
{
    spin_lock(&u->lock);
    *bad = u->state != UNIX_LISTENING || (u->shut & UNIX_SHUT_RD);
    struct unix_sock *n = list_first(&u->accq, struct unix_sock, acc_link);
    if (n) {
        list_del(&n->acc_link);
        ADD_SHARED(u->nacc, -1u);
    }
    spin_unlock(&u->lock);
    return n;
}

static int unix_accept(struct socket *s, int flags, struct socket **out)
{
    struct unix_sock *u = unix_of(s), *n;
    bool bad;
    if (unix_is_dgram(u))
        return -EOPNOTSUPP;
    ktime_t deadline = socket_deadline(s->rcvtimeo, flags & O_NONBLOCK);
    while (!(n = accept_take(u, &bad))) {
        if (bad)
            return -EINVAL;
        if (!deadline)
            return -EAGAIN;
        struct waiter w;
        waiter_init(&w);
        w.exclusive = true;
        waitq_add(&s->wq, &w);
        int err = READ_SHARED(u->nacc) ? 0 : fiber_park(deadline, PARK_INTERRUPTIBLE);
        waitq_remove(&w);
        if (err == -EINTR) {
            if (READ_SHARED(u->nacc)) // that wake-up was for somebody else then
                waitq_wake(&s->wq, POLLIN | POLLRDNORM);
            return socket_intr(s->rcvtimeo);
        }
        if (err == -ETIMEDOUT)
            deadline = 0;
    }
    waitq_wake(&u->peer_wait, ~0u);
    *out = &n->sk;
    return 0;
}

// --- the end -----------------------------------------------------------------------------------
static int unix_shutdown(struct socket *s, int how)
{
    struct unix_sock *u = unix_of(s);
    uint8_t mine = (uint8_t)(how + 1), theirs = 0;
    spin_lock(&u->lock);
    WRITE_SHARED(u->shut, u->shut | mine);
    struct unix_sock *p = u->peer ? unix_get(u->peer) : nullptr;
    spin_unlock(&u->lock);
    if (p && !unix_is_dgram(u)) {
        if (mine & UNIX_SHUT_RD)
            theirs |= UNIX_SHUT_WR;
        if (mine & UNIX_SHUT_WR)
            theirs |= UNIX_SHUT_RD;
        spin_lock(&p->lock);
        WRITE_SHARED(p->shut, p->shut | theirs);
        spin_unlock(&p->lock);
        waitq_wake_all(&p->sk.wq, ~0u);
    }
    waitq_wake_all(&s->wq, ~0u);
    waitq_wake_all(&u->peer_wait, ~0u);
    unix_put(p);
    return 0;
}

static void unbind(struct unix_sock *u)
{
    spin_lock(&table_lock);
    if (u->hashed) {
        htab_remove(&abstract_names, &u->abstract);
        u->hashed = false;
    }
    spin_unlock(&table_lock);
    struct inode *i = u->path.dentry ? inode_common_known(u->path.dentry->inode) : nullptr;
    if (i) {
        mutex_lock(&i->lock);
        if (i->sock == u)
            i->sock = nullptr;
        mutex_unlock(&i->lock);
        path_put(u->path);
        u->path = (struct path){};
    }
}

// The other side of a connection that ends here. Unread data makes its next call fail.
static void orphan_peer(struct unix_sock *p, bool unread)
{
    spin_lock(&p->lock);
    WRITE_SHARED(p->shut, UNIX_SHUT_BOTH);
    if (unread)
        WRITE_SHARED(p->sk.so_error, ECONNRESET);
    spin_unlock(&p->lock);
    waitq_wake_all(&p->sk.wq, ~0u);
}

// Takes the socket out of the world; what hangs on it is freed outside all locks. New sockets that
// nobody accepted die with their listener (they cannot listen themselves: no deeper recursion).
static void unix_shut_down(struct unix_sock *u, bool embryo)
{
    struct list msgs, socks;
    list_init(&msgs);
    list_init(&socks);
    spin_lock(&u->lock);
    WRITE_SHARED(u->dead, true);
    WRITE_SHARED(u->shut, UNIX_SHUT_BOTH);
    struct unix_sock *p = u->peer;
    if (p)
        waitq_remove(&u->relay);
    u->peer = nullptr;
    enum unix_state was = u->state;
    WRITE_SHARED(u->state, UNIX_IDLE);
    while (!list_empty(&u->rxq)) {
        struct list *l = u->rxq.next;
        list_del(l);
        list_push_back(&msgs, l);
    }
    while (!list_empty(&u->accq)) {
        struct list *l = u->accq.next;
        list_del(l);
        list_push_back(&socks, l);
    }
    WRITE_SHARED(u->rxn, 0);
    WRITE_SHARED(u->nacc, 0);
    WRITE_SHARED(u->rxbytes, 0);
    spin_unlock(&u->lock);
    if (p) {
        if (!unix_is_dgram(u) && was == UNIX_CONNECTED)
            orphan_peer(p, embryo || !list_empty(&msgs));
        waitq_wake_all(&p->peer_wait, ~0u);
        unix_put(p);
    }
    waitq_wake_all(&u->peer_wait, ~0u);
    waitq_wake_all(&u->sk.wq, ~0u);
    unix_msgs_free(&msgs);
    while (!list_empty(&socks)) {
        struct unix_sock *n = list_first(&socks, struct unix_sock, acc_link);
        list_del(&n->acc_link);
        unix_shut_down(n, true);
        unix_put(n);
    }
}

static void unix_release(struct socket *s)
{
    struct unix_sock *u = unix_of(s);
    unbind(u);
    unix_shut_down(u, false);
    unix_put(u);
    unix_gc();
}

// --- the rest ----------------------------------------------------------------------------------
static uint32_t unix_poll(struct socket *s, struct poll_table *pt)
{
    struct unix_sock *u = unix_of(s);
    uint32_t mask = 0;
    poll_wait(pt, &s->wq);
    uint8_t shut = READ_SHARED(u->shut);
    if (READ_SHARED(s->so_error))
        mask |= POLLERR;
    if (shut == UNIX_SHUT_BOTH)
        mask |= POLLHUP;
    if (shut & UNIX_SHUT_RD)
        mask |= POLLRDHUP | POLLIN | POLLRDNORM;
    if (READ_SHARED(u->rxn) || READ_SHARED(u->nacc))
        mask |= POLLIN | POLLRDNORM;
    enum unix_state st = READ_SHARED(u->state);
    if (!unix_is_dgram(u) && st == UNIX_IDLE)
        mask |= POLLHUP;
    bool writable = st != UNIX_LISTENING && unix_writable(u);
    if (writable && !unix_is_stream(u)) {
        // Hooked to the peer's queue for good while connected: the peer may go, the hook is ours.
        spin_lock(&u->lock);
        struct unix_sock *p = u->peer;
        if (p && p != u && READ_SHARED(p->peer) != u && unix_dgram_full(p)) {
            if (!u->relay.q)
                waitq_add(&p->peer_wait, &u->relay);
            writable = !unix_dgram_full(p);
        }
        spin_unlock(&u->lock);
    }
    if (writable)
        mask |= POLLOUT | POLLWRNORM | POLLWRBAND;
    return mask;
}

// /proc/net/unix below its heading: "Num RefCount Protocol Flags Type St Inode Path"
static void unix_show(struct strbuf *out)
{
    spin_lock(&table_lock);
    list_for_each(l, &all_socks) {
        struct unix_sock *u = list_entry(l, struct unix_sock, all_link);
        if (!ref_count(&u->ref) || u->dead)
            continue;
        bool listening = u->state == UNIX_LISTENING;
        int st = u->sk.ino ? (u->state == UNIX_CONNECTED ? 3 : 1) : (u->state == UNIX_CONNECTED ? 2 : 4);
        strbuf_fmt(out, "%016x: %08X %08X %08X %04X %02X %5lu", 0, ref_count(&u->ref), 0,
                   listening ? 0x10000 : 0, u->sk.type, st, u->sk.ino);
        if (u->addr) {
            size_t n = u->addr->len - offsetof(struct sockaddr_un, sun_path);
            const char *p = u->addr->sun.sun_path;
            strbuf_char(out, ' ');
            for (size_t i = 0; i < n; i++) {
                if (!p[i] && (p[0] || i > 0) && i + 1 == n && p[0])
                    break;
                strbuf_char(out, p[i] ? p[i] : '@');
            }
        }
        strbuf_char(out, '\n');
    }
    spin_unlock(&table_lock);
}

static const struct socket_ops unix_ops = {
    .bind = unix_bind,
    .connect = unix_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .pair = unix_pair,
    .getname = unix_getname,
    .send = unix_send,
    .recv = unix_recv,
    .shutdown = unix_shutdown,
    .setopt = unix_setopt,
    .getopt = unix_getopt,
    .poll = unix_poll,
    .ioctl = unix_ioctl,
    .release = unix_release,
};

__attribute__((constructor)) static void unix_register(void)
{
    socket_register_family(AF_UNIX, unix_create);
    proc_net_unix_hook = unix_show;
}
