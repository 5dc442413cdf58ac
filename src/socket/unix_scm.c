// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: descriptors and credentials in messages, and the collector for sockets that only hold
// each other in flight.
//
// A socket's file in a queue counts in `inflight`. When all references of a file are from queues,
// the socket is a candidate; subtracting the references that come from candidates' own queues
// leaves those from outside. Candidates that nobody outside reaches are garbage: their queues are
// emptied, and the files go. gc_lock guards the counts; a message leaves the counts only after it
// has left its queue, so one that is just being received counts as "outside".
#include "abi/errno.h"
#include "base/slab.h"
#include "socket/unix.h"
#include <linux/capability.h>
#include <string.h>

constexpr uint32_t SCM_MAX_FDS = 253;

static struct mutex gc_lock;
static struct list inflight_socks = LIST_INIT(inflight_socks); // [gc_lock]
static uint32_t ninflight;                                    // [gc_lock] length of that list
static uint32_t inflight_by_user[256]; // [A] ids that share a bucket share a limit

// Files to be dropped: a release may free a queue with more files, so a loop and no recursion.
struct dropped {
    struct list link;
    struct unix_fds *fds;
};
SLAB_DEFINE(dropped_slab, struct dropped);
static struct spinlock drop_lock;
static struct list drop_list = LIST_INIT(drop_list); // [drop_lock]
static bool dropping;                                // [drop_lock]

__attribute__((constructor)) static void scm_setup(void)
{
    mutex_init(&gc_lock, RANK_SOCKET);
}

struct unix_sock *unix_sock_of_file(struct file *f)
{
    struct socket *s = socket_of(f);
    return s && s->family == AF_UNIX ? unix_of(s) : nullptr;
}

static uint32_t *user_bucket(uint32_t uid)
{
    return &inflight_by_user[(uid * 2654435761u) >> 24];
}

// --- parsing -----------------------------------------------------------------------------------
static int parse_rights(struct task *t, const uint8_t *data, size_t len, struct unix_scm *out)
{
    size_t n = len / sizeof(int), have = out->fds ? out->fds->n : 0;
    if (n + have > SCM_MAX_FDS)
        return -EINVAL;
    if (!n)
        return 0;
    struct unix_fds *fds = mem_alloc(sizeof(*fds) + (n + have) * sizeof(fds->f[0]));
    if (!fds)
        return -ENOMEM;
    fds->n = (uint32_t)(n + have);
    fds->uid = t->cred->uid;
    for (size_t i = 0; i < have; i++)
        fds->f[i] = out->fds->f[i];
    size_t i = 0;
    for (; i < n; i++) {
        int fd;
        memcpy(&fd, data + i * sizeof(fd), sizeof(fd));
        struct file *f = fd < 0 ? nullptr : fd_get_any(t->files, fd);
        if (!f)
            break;
        fds->f[have + i] = f;
    }
    if (i < n) {
        while (i-- > 0)
            file_put(fds->f[have + i]);
        mem_free(fds);
        return -EBADF;
    }
    mem_free(out->fds);
    out->fds = fds;
    return 0;
}

static int parse_cred(struct task *t, const uint8_t *data, size_t len, struct unix_scm *out)
{
    struct ucred uc;
    const struct cred *c = t->cred;
    if (len != sizeof(uc))
        return -EINVAL;
    memcpy(&uc, data, sizeof(uc));
    if (uc.pid != task_tgid_in(t, t->pidns) && !cred_capable(c, CAP_SYS_ADMIN))
        return -EPERM;
    if (uc.uid != c->uid && uc.uid != c->euid && uc.uid != c->suid && !cred_capable(c, CAP_SETUID))
        return -EPERM;
    if (uc.gid != c->gid && uc.gid != c->egid && uc.gid != c->sgid && !cred_capable(c, CAP_SETGID))
        return -EPERM;
    struct kpid *pid = kpid_find(t->pidns, uc.pid);
    if (!pid)
        return -ESRCH;
    if (out->pid)
        kpid_put(out->pid);
    out->pid = pid;
    out->uid = uc.uid;
    out->gid = uc.gid;
    return 0;
}

static int check_inflight_limit(struct task *t, const struct unix_scm *scm)
{
    if (!scm->fds)
        return 0;
    uint32_t now = __atomic_load_n(user_bucket(t->cred->uid), __ATOMIC_RELAXED);
    if (now > task_rlimit(t, RLIMIT_NOFILE) && !cred_capable(t->cred, CAP_SYS_RESOURCE) &&
        !cred_capable(t->cred, CAP_SYS_ADMIN))
        return -ETOOMANYREFS;
    return 0;
}

int unix_scm_parse(struct task *t, const struct sockmsg *m, struct unix_scm *out)
{
    size_t off = 0;
    int err = 0;
    while (!err && m->ctl_len - off >= sizeof(struct cmsghdr)) {
        struct cmsghdr h;
        memcpy(&h, m->control + off, sizeof(h));
        if (h.cmsg_len < sizeof(h) || h.cmsg_len > m->ctl_len - off) {
            err = -EINVAL;
            break;
        }
        const uint8_t *data = m->control + off + sizeof(h);
        size_t len = h.cmsg_len - sizeof(h);
        if (h.cmsg_level == SOL_SOCKET) {
            if (h.cmsg_type == SCM_RIGHTS)
                err = parse_rights(t, data, len, out);
            else if (h.cmsg_type == SCM_CREDENTIALS)
                err = parse_cred(t, data, len, out);
            else
                err = -EINVAL;
        }
        size_t step = CMSG_ALIGN(h.cmsg_len);
        off = step > m->ctl_len - off ? m->ctl_len : off + step;
    }
    if (!err)
        err = check_inflight_limit(t, out);
    if (err)
        unix_scm_free(out);
    return err;
}

void unix_scm_free(struct unix_scm *scm)
{
    if (scm->fds)
        unix_fds_free(scm->fds);
    if (scm->pid)
        kpid_put(scm->pid);
    *scm = (struct unix_scm){};
}

// --- delivery ----------------------------------------------------------------------------------
static void deliver_fds(struct task *t, struct sockmsg *m, struct unix_fds *fds)
{
    int nr[SCM_MAX_FDS];
    size_t room = m->ctl_out && m->ctl_len > m->ctl_used + sizeof(struct cmsghdr)
                      ? (m->ctl_len - m->ctl_used - sizeof(struct cmsghdr)) / sizeof(int)
                      : 0;
    size_t n = 0;
    while (n < fds->n && n < room) {
        struct file *f = file_get(fds->f[n]);
        int fd = fd_install(t->files, f, 0, m->flags & MSG_CMSG_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
        if (fd < 0) {
            file_put(f);
            break;
        }
        nr[n++] = fd;
    }
    if (n)
        sockmsg_put(m, SOL_SOCKET, SCM_RIGHTS, nr, n * sizeof(int));
    if (n < fds->n)
        m->out_flags |= MSG_CTRUNC;
}

void unix_scm_deliver(struct unix_sock *u, struct task *t, struct sockmsg *m,
                      const struct unix_msg *msg, struct unix_fds *fds)
{
    if (u->sk.passcred) {
        struct ucred uc = {.uid = msg->uid, .gid = msg->gid};
        if (msg->pid)
            uc.pid = kpid_nr_in(msg->pid, t->pidns);
        sockmsg_put(m, SOL_SOCKET, SCM_CREDENTIALS, &uc, sizeof(uc));
    }
    if (fds)
        deliver_fds(t, m, fds);
}

struct unix_fds *unix_fds_dup(const struct unix_fds *fds)
{
    struct unix_fds *d = mem_alloc(sizeof(*d) + fds->n * sizeof(d->f[0]));
    if (!d)
        return nullptr;
    d->n = fds->n;
    d->uid = fds->uid;
    // The collector must not be half-way when a second set of references appears.
    mutex_lock_nested(&gc_lock);
    for (uint32_t i = 0; i < fds->n; i++)
        d->f[i] = file_get(fds->f[i]);
    mutex_unlock(&gc_lock);
    return d;
}

// --- in flight ---------------------------------------------------------------------------------
void unix_fds_enter(struct unix_fds *fds)
{
    __atomic_fetch_add(user_bucket(fds->uid), fds->n, __ATOMIC_RELAXED);
    mutex_lock_nested(&gc_lock);
    fds->counted = true;
    for (uint32_t i = 0; i < fds->n; i++) {
        struct unix_sock *s = unix_sock_of_file(fds->f[i]);
        if (!s)
            continue;
        s->file = fds->f[i];
        if (!s->inflight++) {
            list_push_back(&inflight_socks, &s->inflight_link);
            ADD_SHARED(ninflight, 1);
        }
    }
    mutex_unlock(&gc_lock);
}

void unix_fds_leave(struct unix_fds *fds)
{
    if (!fds->counted)
        return;
    __atomic_fetch_sub(user_bucket(fds->uid), fds->n, __ATOMIC_RELAXED);
    mutex_lock_nested(&gc_lock);
    fds->counted = false;
    for (uint32_t i = 0; i < fds->n; i++) {
        struct unix_sock *s = unix_sock_of_file(fds->f[i]);
        if (s && !--s->inflight) {
            list_del(&s->inflight_link);
            ADD_SHARED(ninflight, -1u);
        }
    }
    mutex_unlock(&gc_lock);
}

void unix_fds_free(struct unix_fds *fds)
{
    struct dropped *d = slab_alloc(&dropped_slab);
    CHECK(d); // a few bytes; without them files would leak
    d->fds = fds;
    spin_lock(&drop_lock);
    list_push_back(&drop_list, &d->link);
    bool mine = !dropping;
    dropping = true;
    while (mine && (d = list_first(&drop_list, struct dropped, link))) {
        list_del(&d->link);
        spin_unlock(&drop_lock);
        for (uint32_t i = 0; i < d->fds->n; i++)
            file_put(d->fds->f[i]);
        mem_free(d->fds);
        slab_free(&dropped_slab, d);
        spin_lock(&drop_lock);
    }
    if (mine)
        dropping = false;
    spin_unlock(&drop_lock);
}

// --- the collector -----------------------------------------------------------------------------
// Calls fn for every unix socket in u's queue, and in those of sockets nobody accepted yet.
static void scan_queue(struct unix_sock *u, void (*fn)(struct unix_sock *child))
{
    spin_lock(&u->lock);
    list_for_each(l, &u->rxq) {
        struct unix_fds *fds = list_entry(l, struct unix_msg, link)->fds;
        for (uint32_t i = 0; fds && i < fds->n; i++) {
            struct unix_sock *s = unix_sock_of_file(fds->f[i]);
            if (s)
                fn(s);
        }
    }
    spin_unlock(&u->lock);
}

static void scan_children(struct unix_sock *u, void (*fn)(struct unix_sock *child))
{
    scan_queue(u, fn);
    // The accept queue only changes by accept (nobody can, of a candidate) and connect, which adds
    // at the end, under u->lock; entries stay while gc_lock keeps the candidate from going.
    spin_lock(&u->lock);
    struct list *l = u->accq.next;
    spin_unlock(&u->lock);
    while (l != &u->accq) {
        scan_queue(list_entry(l, struct unix_sock, acc_link), fn);
        spin_lock(&u->lock);
        l = l->next;
        spin_unlock(&u->lock);
    }
}

static void child_minus(struct unix_sock *s)
{
    if (s->gc_candidate && s->gc_left)
        s->gc_left--;
}

static struct unix_sock *live_todo; // [gc_lock] found live, children not yet looked at
static void child_live(struct unix_sock *s)
{
    if (s->gc_candidate && !s->gc_live) {
        s->gc_live = true;
        s->gc_next = live_todo;
        live_todo = s;
    }
}

// Marks what is reachable from outside: each socket's queue is looked at once.
static void mark_live(void)
{
    list_for_each(l, &inflight_socks) {
        struct unix_sock *s = list_entry(l, struct unix_sock, inflight_link);
        if (s->gc_left)
            child_live(s);
    }
    while (live_todo) {
        struct unix_sock *s = live_todo;
        live_todo = s->gc_next;
        scan_children(s, child_live);
    }
}

static void purge(struct unix_sock *u, struct list *out)
{
    spin_lock(&u->lock);
    list_for_each_safe(l, &u->rxq) {
        struct unix_msg *m = list_entry(l, struct unix_msg, link);
        if (!m->fds)
            continue;
        list_del(l);
        ADD_SHARED(u->rxn, -1u);
        ADD_SHARED(u->rxbytes, -(uint64_t)(m->len - m->off));
        list_push_back(out, l);
    }
    spin_unlock(&u->lock);
}

// Called at each close of a socket. With many in flight only once in a while, so that the cost of a
// close stays bounded.
void unix_gc(void)
{
    static uint32_t closes; // [A] since the last run
    struct list garbage;
    list_init(&garbage);
    uint32_t n = READ_SHARED(ninflight);
    if (!n || __atomic_add_fetch(&closes, 1, __ATOMIC_RELAXED) < n / 64)
        return;
    mutex_lock(&gc_lock);
    WRITE_SHARED(closes, 0);
    list_for_each(l, &inflight_socks) {
        struct unix_sock *s = list_entry(l, struct unix_sock, inflight_link);
        s->gc_candidate = ref_count(&s->file->ref) == s->inflight;
        s->gc_live = false;
        s->gc_left = s->inflight;
    }
    list_for_each(l, &inflight_socks) {
        struct unix_sock *s = list_entry(l, struct unix_sock, inflight_link);
        if (s->gc_candidate)
            scan_children(s, child_minus);
    }
    mark_live();
    list_for_each(l, &inflight_socks) {
        struct unix_sock *s = list_entry(l, struct unix_sock, inflight_link);
        if (!s->gc_candidate || s->gc_live)
            continue;
        purge(s, &garbage);
        spin_lock(&s->lock);
        struct list *a = s->accq.next;
        spin_unlock(&s->lock);
        for (; a != &s->accq; a = a->next)
            purge(list_entry(a, struct unix_sock, acc_link), &garbage);
    }
    mutex_unlock(&gc_lock);
    unix_msgs_free(&garbage);
}
