// SPDX-License-Identifier: Apache-2.0
// Transport of the 9P client: one SOCK_SEQPACKET record per frame, up to 256 requests in flight,
// each waited for by a fiber. The socket is read in a worker's loop (hostpoll); a caller outside any
// fiber (boot, tests) reads it itself. A reply that breaks the protocol ends the connection: every
// request then fails with EIO.
#include "fs/gofer/client.h"
#include "base/log.h"
#include "base/slab.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

constexpr size_t NOTAG_SLOT = C9_TAGS;
constexpr size_t SEND_INLINE = 1024;
bool c9_offer_plain;

static void close_fds(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        host_call(__NR_close, fds[i]);
}

static void connection_lost(struct gofer_client *c, const char *why)
{
    spin_lock(&c->lock);
    bool was = c->dead;
    WRITE_SHARED(c->dead, true);
    for (size_t i = 0; i <= C9_TAGS; i++) {
        struct c9_reply *r = c->calls[i];
        if (!r || r->done)
            continue;
        r->failed = true;
        source_got(&c->source);
        __atomic_store_n(&r->done, true, __ATOMIC_RELEASE);
        if (r->fiber)
            fiber_wake(r->fiber);
    }
    spin_unlock(&c->lock);
    if (!was)
        log_error("gofer connection lost: %s", why);
    waitq_wake_all(&c->tag_wait, ~0u);
    waitq_wake_all(&c->send_wait, ~0u);
}

// --- receiving ---
// Puts the record where the waiting call wants it. False: it answers nothing that we asked.
static bool deliver(struct gofer_client *c, const uint8_t *p, size_t n, int *fds, size_t nfds, bool lost)
{
    struct span s = span_of(p, n);
    uint32_t size = span_u32le(&s);
    uint8_t type = span_u8(&s);
    uint16_t tag = span_u16le(&s);
    size_t slot = tag == NP_NOTAG ? NOTAG_SLOT : tag;
    if (!span_ok(&s) || size != n || slot > C9_TAGS) {
        close_fds(fds, nfds);
        return false;
    }
    uint8_t *heap = nullptr;
    if (n > C9_INLINE)
        heap = mem_alloc(n); // before the lock; given back when the caller has room
    spin_lock(&c->lock);
    struct c9_reply *r = c->calls[slot];
    bool ok = r && !r->done && (nfds <= 1 || r->fds);
    if (ok) {
        uint8_t *to = r->buf && r->cap >= n ? r->buf : n <= C9_INLINE ? r->inl : heap;
        if (to)
            memcpy(to, p, n);
        r->failed = !to;
        if (to == heap)
            r->heap = heap, heap = nullptr;
        r->buf = to;
        r->len = n;
        if (r->fds)
            memcpy(r->fds, fds, nfds * sizeof(int));
        else if (nfds)
            r->fd = fds[0];
        r->nfds = r->fds ? nfds : 0;
        r->fd_lost = lost;
        nfds = 0;
        source_got(&c->source);
        __atomic_store_n(&r->done, true, __ATOMIC_RELEASE);
        if (r->fiber)
            fiber_wake(r->fiber);
    } else if (slot < C9_TAGS && c->clunking[slot] != NP_NOFID &&
               (type == NP_rclunk || type == NP_rlerror)) {
        ok = true;
        if (c->nfree < c->free_cap)
            c->free_fids[c->nfree++] = c->clunking[slot];
        c->clunking[slot] = NP_NOFID;
        c->tags[slot / 64] &= ~(1ull << (slot % 64));
    }
    spin_unlock(&c->lock);
    mem_free(heap);
    close_fds(fds, nfds);
    if (waitq_active(&c->tag_wait))
        waitq_wake(&c->tag_wait, ~0u);
    return ok;
}

// One record; false when there is none (or the connection ended).
static bool receive_one(struct gofer_client *c)
{
    union {
        struct cmsghdr align;
        uint8_t buf[CMSG_SPACE(NP_OPEN_MAX * sizeof(int))];
    } control;
    struct iovec v = {c->rx, NP_MSIZE_DEFAULT};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control.buf,
                       .msg_controllen = sizeof(control.buf)};
    long n = host_call(__NR_recvmsg, c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n == -EAGAIN)
        return false;
    if (n == -EINTR)
        return true;
    if (n <= 0) {
        connection_lost(c, n ? "receive error" : "closed by the gofer");
        return false;
    }
    int fds[NP_OPEN_MAX];
    size_t nfds = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t k = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < k && nfds < ARRAY_LEN(fds); i++)
            memcpy(&fds[nfds++], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
    }
    bool bad = m.msg_flags & MSG_TRUNC;
    bool lost = m.msg_flags & MSG_CTRUNC; // at RLIMIT_NOFILE
    if (bad)
        close_fds(fds, nfds);
    if (bad || !deliver(c, c->rx, (size_t)n, fds, nfds, lost)) {
        connection_lost(c, "protocol error");
        return false;
    }
    return true;
}

// Reads all there is. Whoever holds rx_lock also does the work of those who came meanwhile.
static void receive(struct gofer_client *c)
{
    do {
        if (!spin_trylock(&c->rx_lock)) {
            __atomic_store_n(&c->rx_again, true, __ATOMIC_SEQ_CST);
            if (!spin_trylock(&c->rx_lock))
                return;
        }
        __atomic_store_n(&c->rx_again, false, __ATOMIC_SEQ_CST);
        while (!READ_SHARED(c->dead) && receive_one(c))
            ;
        spin_unlock(&c->rx_lock);
    } while (__atomic_load_n(&c->rx_again, __ATOMIC_SEQ_CST));
}

static void flush_clunks(struct gofer_client *c);
// Idle workers look for answers by themselves (source_look); events come only when asked for, once.
static void source_look(struct source *s)
{
    receive(container_of(s, struct gofer_client, source));
}
static void arm_locked(struct gofer_client *c) REQUIRES(c->arm_lock)
{
    c->source.armed = true;
    hostpoll_change(&c->poll, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT | (c->want_out ? EPOLLOUT : 0u));
}
static void source_arm(struct source *s)
{
    struct gofer_client *c = container_of(s, struct gofer_client, source);
    spin_lock(&c->arm_lock);
    if (!c->source.armed)
        arm_locked(c);
    spin_unlock(&c->arm_lock);
}
static void wait_for_room(struct gofer_client *c)
{
    spin_lock(&c->arm_lock);
    c->want_out = true;
    arm_locked(c);
    spin_unlock(&c->arm_lock);
}
static void on_poll(struct hostpoll *hp, uint32_t events)
{
    struct gofer_client *c = container_of(hp, struct gofer_client, poll);
    spin_lock(&c->arm_lock);
    if (events & EPOLLOUT)
        c->want_out = false;
    if (c->want_out) {
        arm_locked(c); // what still waits for room
    } else {
        c->source.armed = false;
        hostpoll_change(&c->poll, EPOLLRDHUP | (uint32_t)EPOLLET); // the end is heard of in any case
    }
    spin_unlock(&c->arm_lock);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        receive(c);
    if (events & EPOLLOUT) {
        __atomic_add_fetch(&c->send_gen, 1, __ATOMIC_RELEASE);
        waitq_wake_all(&c->send_wait, ~0u);
        flush_clunks(c);
    }
}

// --- sending ---
static long try_send(struct gofer_client *c, const void *p, size_t n)
{
    struct iovec v = {(void *)p, n};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    long r;
    do
        r = host_call(__NR_sendmsg, c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (r == -EINTR);
    return r;
}
static void wait_outside_fiber(struct gofer_client *c)
{
    receive(c);
    host_call(__NR_sched_yield);
}
static int send_frame(struct gofer_client *c, const void *p, size_t n)
{
    for (;;) {
        uint32_t gen = __atomic_load_n(&c->send_gen, __ATOMIC_ACQUIRE);
        long r = READ_SHARED(c->dead) ? -EPIPE : try_send(c, p, n);
        if (r == (long)n)
            return 0;
        if (r != -EAGAIN) {
            connection_lost(c, "send error");
            return -EIO;
        }
        if (!fiber_current())
            wait_outside_fiber(c);
        else
            (void)!wait_event(&c->send_wait,
                              (wait_for_room(c), false) || gen != __atomic_load_n(&c->send_gen, __ATOMIC_ACQUIRE) ||
                                  READ_SHARED(c->dead),
                              KTIME_MAX, PARK_UNINTERRUPTIBLE);
    }
}

static int tag_alloc_locked(struct gofer_client *c)
{
    for (size_t i = 0; i < ARRAY_LEN(c->tags); i++) {
        if (c->tags[i] != ~0ull) {
            int b = __builtin_ctzll(~c->tags[i]);
            c->tags[i] |= 1ull << b;
            return (int)(i * 64) + b;
        }
    }
    return -1;
}
static bool tag_take(struct gofer_client *c, struct c9_reply *r, int *tag)
{
    spin_lock(&c->lock);
    *tag = tag_alloc_locked(c);
    if (*tag >= 0) {
        c->calls[*tag] = r;
        source_expect(&c->source);
    }
    spin_unlock(&c->lock);
    return *tag >= 0;
}
static void slot_free(struct gofer_client *c, size_t slot)
{
    spin_lock(&c->lock);
    if (!c->calls[slot]->done) // was never sent
        source_got(&c->source);
    c->calls[slot] = nullptr;
    if (slot < C9_TAGS)
        c->tags[slot / 64] &= ~(1ull << (slot % 64));
    spin_unlock(&c->lock);
    if (waitq_active(&c->tag_wait))
        waitq_wake(&c->tag_wait, ~0u);
}
static bool reply_there(struct gofer_client *c, struct c9_reply *r)
{
    if (!__atomic_load_n(&r->done, __ATOMIC_ACQUIRE))
        return false;
    spin_lock(&c->lock); // the one who delivers is out of *r once it has let go of the lock
    spin_unlock(&c->lock);
    return true;
}

void c9_reply_init(struct c9_reply *r)
{
    r->buf = nullptr;
    r->cap = 0;
    r->heap = nullptr;
    r->fd = -1;
    r->fds = nullptr;
}
void c9_done(struct c9_reply *r)
{
    mem_free(r->heap);
    r->heap = nullptr;
}

void c9_close_fd(int fd)
{
    host_call(__NR_close, fd);
}

static int check_reply(const struct np_msg *t, struct c9_reply *r)
{
    if (r->failed || np_decode(r->buf, r->len, &r->m))
        return -EIO;
    if (r->m.type == NP_rlerror) {
        uint32_t e = r->m.rlerror.ecode; // restart codes (512..) are the kernel's own
        return e > 0 && e < 134 ? -(int)e : -EIO;
    }
    return r->m.type == t->type + 1 ? 0 : -EIO;
}
// A descriptor that we may keep: a regular file, opened for reading, writing or both.
bool c9_fd_ok(int fd)
{
    struct stat st;
    if (host_call(__NR_fstat, fd, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    long fl = host_call(__NR_fcntl, fd, F_GETFL, 0);
    return fl >= 0 && !(fl & (O_PATH | O_DIRECT | O_ASYNC));
}

// Descriptors that nobody asked for, or that come with an error, go.
static int check_donated(const struct np_msg *t, struct c9_reply *r, int err)
{
    bool may_donate = t->type == NP_twalkopen || t->type == NP_tcreateopen;
    if (r->fd >= 0 && (err || !may_donate || !c9_fd_ok(r->fd))) {
        host_call(__NR_close, r->fd);
        r->fd = -1;
        err = err ? err : -EIO;
    }
    if (r->fds && err) {
        close_fds(r->fds, r->nfds);
        r->nfds = 0;
    }
    return err;
}

int c9_call(struct gofer_client *c, struct np_msg *t, struct c9_reply *r)
{
    uint8_t small[SEND_INLINE], *out = small, *heap = nullptr;
    struct wspan w = wspan_of(small, sizeof(small));
    int tag = -1;
    r->m.type = 0;
    r->done = r->failed = false;
    r->fd = -1;
    r->nfds = 0;
    r->fd_lost = false;
    r->fiber = fiber_current();
    if (READ_SHARED(c->dead))
        return -EIO;
    if (t->type == NP_tversion) {
        spin_lock(&c->lock);
        c->calls[NOTAG_SLOT] = r;
        source_expect(&c->source);
        spin_unlock(&c->lock);
    } else if (!r->fiber) {
        while (!tag_take(c, r, &tag) && !READ_SHARED(c->dead))
            wait_outside_fiber(c);
    } else {
        (void)!wait_event(&c->tag_wait, tag_take(c, r, &tag) || READ_SHARED(c->dead), KTIME_MAX,
                          PARK_UNINTERRUPTIBLE);
    }
    size_t slot = t->type == NP_tversion ? NOTAG_SLOT : (size_t)tag;
    if (slot > C9_TAGS)
        return -EIO;
    t->tag = tag < 0 ? NP_NOTAG : (uint16_t)tag;
    int err = np_encode(&w, t);
    if (err) { // large: a write, or long names
        out = heap = mem_alloc(c->msize);
        w = wspan_of(heap, heap ? c->msize : 0);
        err = heap ? np_encode(&w, t) : -ENOMEM;
    }
    __atomic_add_fetch(&c->ncalls, 1, __ATOMIC_RELAXED);
    if (!err)
        err = send_frame(c, out, w.used);
    mem_free(heap);
    if (err == 0) {
        while (!reply_there(c, r)) {
            if (r->fiber)
                fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE);
            else
                wait_outside_fiber(c);
        }
    }
    slot_free(c, slot);
    if (!err)
        err = check_reply(t, r);
    err = check_donated(t, r, err);
    if (err)
        c9_done(r);
    if (READ_SHARED(c->nclunk))
        flush_clunks(c);
    return err;
}

// --- fid numbers ---
static bool grow(uint32_t **p, size_t *cap, size_t want)
{
    if (*cap >= want)
        return true;
    size_t n = *cap ? *cap * 2 : 256;
    uint32_t *q = mem_realloc(*p, n * sizeof(uint32_t));
    if (!q)
        return false;
    *p = q;
    *cap = n;
    return true;
}
uint32_t c9_fid_new(struct gofer_client *c)
{
    uint32_t fid = NP_NOFID;
    spin_lock(&c->lock);
    if (c->nfree)
        fid = c->free_fids[--c->nfree];
    else if (c->next_fid < 65536 * 2 &&
             grow(&c->free_fids, &c->free_cap, c->next_fid + 1)) // room to give it back
        fid = c->next_fid++;
    spin_unlock(&c->lock);
    return fid;
}
void c9_fid_unused(struct gofer_client *c, uint32_t fid)
{
    if (fid == NP_NOFID)
        return;
    spin_lock(&c->lock);
    if (c->nfree < c->free_cap)
        c->free_fids[c->nfree++] = fid;
    spin_unlock(&c->lock);
}
static void clunk_push_locked(struct gofer_client *c, uint32_t fid)
{
    size_t n = c->nclunk;
    if (grow(&c->clunk_queue, &c->clunk_cap, n + 1)) {
        c->clunk_queue[n] = fid;
        WRITE_SHARED(c->nclunk, n + 1); // looked at without the lock
    }
}
static uint32_t clunk_pop_locked(struct gofer_client *c)
{
    size_t n = c->nclunk - 1;
    WRITE_SHARED(c->nclunk, n);
    return c->clunk_queue[n];
}
static void flush_clunks(struct gofer_client *c)
{
    for (;;) {
        struct np_msg t = {.type = NP_tclunk};
        uint8_t buf[16];
        struct wspan w = wspan_of(buf, sizeof(buf));
        spin_lock(&c->lock);
        int tag = c->nclunk && !c->dead ? tag_alloc_locked(c) : -1;
        if (tag >= 0)
            c->clunking[tag] = t.tclunk.fid = clunk_pop_locked(c);
        spin_unlock(&c->lock);
        if (tag < 0)
            return;
        t.tag = (uint16_t)tag;
        CHECK(np_encode(&w, &t) == 0);
        if (try_send(c, buf, w.used) == (long)w.used)
            continue;
        spin_lock(&c->lock); // later: on EPOLLOUT, or with the next request
        c->clunking[tag] = NP_NOFID;
        c->tags[tag / 64] &= ~(1ull << (tag % 64));
        clunk_push_locked(c, t.tclunk.fid);
        spin_unlock(&c->lock);
        wait_for_room(c);
        return;
    }
}
void c9_clunk(struct gofer_client *c, uint32_t fid)
{
    if (fid == NP_NOFID)
        return;
    spin_lock(&c->lock);
    clunk_push_locked(c, fid);
    spin_unlock(&c->lock);
    flush_clunks(c);
}

// --- life ---
static int negotiate(struct gofer_client *c)
{
    struct np_msg t = {.type = NP_tversion};
    struct c9_reply r;
    t.tversion.msize = NP_MSIZE_DEFAULT;
    t.tversion.version = np_cstr(c9_offer_plain ? NP_VERSION : NP_VERSION_EXT);
    c9_reply_init(&r);
    int err = c9_call(c, &t, &r);
    if (err)
        return err;
    struct span v = r.m.rversion.version;
    c->ext = v.n == strlen(NP_VERSION_EXT) && !memcmp(v.p, NP_VERSION_EXT, v.n);
    bool plain = v.n == strlen(NP_VERSION) && !memcmp(v.p, NP_VERSION, v.n);
    c->msize = r.m.rversion.msize;
    if ((!c->ext && !plain) || c->msize > NP_MSIZE_DEFAULT || c->msize < NP_MSIZE_MIN)
        err = -EIO;
    c9_done(&r);
    return err;
}
int gofer_client_new(int sockfd, struct gofer_client **out)
{
    struct gofer_client *c = mem_alloc(sizeof(*c));
    if (!c)
        return -ENOMEM;
    ref_init(&c->ref);
    c->fd = sockfd;
    c->msize = NP_MSIZE_DEFAULT;
    c->max_fds = C9_MAX_FDS;
    for (size_t i = 0; i < C9_TAGS; i++)
        c->clunking[i] = NP_NOFID;
    waitq_init(&c->tag_wait);
    waitq_init(&c->send_wait);
    list_init(&c->idle_fids);
    list_init(&c->idle_fds);
    list_init(&c->listings);
    c->attrs_wanted = C9_ATTRS_WANTED;
    c->rx = mem_alloc(NP_MSIZE_DEFAULT);
    int err = c->rx ? hostpoll_add(&c->poll, sockfd, EPOLLRDHUP | (uint32_t)EPOLLET, on_poll) : -ENOMEM;
    c->polled = err == 0;
    c->source.look = source_look;
    c->source.arm = source_arm;
    source_add(&c->source);
    if (!err)
        err = negotiate(c);
    if (err) {
        gofer_client_put(c);
        return err;
    }
    *out = c;
    return 0;
}
struct gofer_client *gofer_client_get(struct gofer_client *c)
{
    ref_get(&c->ref);
    return c;
}
void gofer_client_put(struct gofer_client *c)
{
    if (!c || !ref_put(&c->ref))
        return;
    source_del(&c->source);
    if (c->polled)
        hostpoll_del(&c->poll);
    host_call(__NR_close, c->fd);
    mem_free(c->rx);
    mem_free(c->free_fids);
    mem_free(c->clunk_queue);
    mem_free(c);
}
