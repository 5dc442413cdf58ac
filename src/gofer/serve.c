// SPDX-License-Identifier: Apache-2.0
// The Gofer's loop: receive a frame, decode, serve, reply, one after the other. Anything malformed
// that still has a tag is answered with EPROTO; a frame whose size cannot be believed ends the
// connection. Runs until the peer is gone.
#include "base/log.h"
#include "base/slab.h"
#include "gofer/server.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int root_node(struct server *s, const struct gofer_root *root, struct node **out)
{
    struct stat st;
    int err = (int)host_call(__NR_newfstatat, root->fd, "", &st,
                             AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    if (err)
        return err;
    struct node *parent = nullptr;
    if (!S_ISDIR(st.st_mode)) {
        if (!S_ISREG(st.st_mode) || root->parent < 0 || !root->name ||
            !np_name_ok(np_cstr(root->name)))
            return -EINVAL;
        struct stat pst;
        err = (int)host_call(__NR_newfstatat, root->parent, "", &pst,
                             AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
        if (!err)
            err = node_new(s, nullptr, nullptr, np_cstr(""), root->parent, &pst, &parent);
        if (err)
            return err;
        parent->borrowed = true;
    }
    struct np_qid q;
    qid_of(s, &st, &q); // numbers the devices in the order of the roots
    err = node_new(s, parent, root, np_cstr(parent ? root->name : ""), root->fd, &st, out);
    if (!err)
        (*out)->borrowed = true;
    node_put(s, parent);
    return err;
}

int server_init(struct server *s, int sock, const struct gofer_root *roots, size_t n)
{
    *s = (struct server){.sock = sock, .roots = roots, .donated = -1};
    s->rx = mem_alloc(NP_MSIZE_MAX);
    s->tx = mem_alloc(NP_MSIZE_MAX);
    s->scratch = mem_alloc(GOFER_SCRATCH);
    s->root_nodes = mem_alloc_array(n ? n : 1, sizeof(struct node *));
    if (!s->rx || !s->tx || !s->scratch || !s->root_nodes)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        int err = root_node(s, &roots[i], &s->root_nodes[i]);
        if (err)
            return err;
        s->nroots++;
    }
    return 0;
}

void server_free(struct server *s)
{
    fids_reset(s);
    htab_free(&s->fids);
    for (size_t i = 0; i < s->nroots; i++)
        node_put(s, s->root_nodes[i]);
    mem_free(s->root_nodes);
    mem_free(s->rx);
    mem_free(s->tx);
    mem_free(s->scratch);
}

void server_drop(struct server *s)
{
    if (s->donated >= 0)
        host_call(__NR_close, s->donated);
    s->donated = -1;
    while (s->nmany)
        host_call(__NR_close, s->many[--s->nmany]);
}

static int dispatch(struct server *s, const struct np_msg *t, struct np_msg *r)
{
    if (s->msize == 0 && t->type != NP_tversion)
        return -EPROTO;
    if (t->type >= NP_EXT_FIRST && !s->ext)
        return -EOPNOTSUPP;
    switch (t->type) {
#define X(name)     \
    case NP_##name: \
        return op_##name(s, t, r);
        GOFER_OPS(X)
#undef X
    default: // a reply sent as a request
        return -EPROTO;
    }
}

long server_handle(struct server *s, const uint8_t *p, size_t n)
{
    struct np_msg t = {}, r = {};
    uint32_t limit = s->msize ? s->msize : NP_MSIZE_MIN;
    s->donated = -1;
    s->nmany = 0;
    int err = np_decode(p, n, &t);
    if (err && t.tag == NP_NOTAG)
        return err;
    if (!err) {
        r.type = (uint8_t)(t.type + 1);
        err = dispatch(s, &t, &r);
    }
    r.tag = t.tag;
    struct wspan w = wspan_of(s->tx, limit);
    if (!err)
        err = np_encode(&w, &r);
    if (err) {
        server_drop(s);
        w = wspan_of(s->tx, limit);
        r.type = NP_rlerror;
        r.rlerror.ecode = (uint32_t)-err;
        err = np_encode(&w, &r);
    }
    return err ? err : (long)w.used;
}

int server_reply(struct server *s, size_t n)
{
    union {
        struct cmsghdr align;
        uint8_t buf[CMSG_SPACE(NP_OPEN_MAX * sizeof(int))];
    } control;
    const int *fds = s->donated >= 0 ? &s->donated : s->many;
    size_t nfds = s->donated >= 0 ? 1 : s->nmany, done = 0;
    int err = 0;
    while (done < n && !err) {
        struct iovec v = {s->tx + done, n - done};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
        if (nfds && done == 0) {
            memset(control.buf, 0, CMSG_SPACE(nfds * sizeof(int)));
            m.msg_control = control.buf;
            m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
            struct cmsghdr *c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
            memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
        }
        long r = host_call(__NR_sendmsg, s->sock, &m, MSG_NOSIGNAL);
        if (r >= 0)
            done += (size_t)r;
        else if (r != -EINTR)
            err = (int)r;
    }
    server_drop(s);
    return err;
}

// Handles the whole frames at the front of rx; moves the rest (of a stream) to the front.
static int serve_buffered(struct server *s, size_t *have)
{
    size_t off = 0;
    while (*have - off >= 4) {
        uint32_t size = np_frame_size(s->rx + off, *have - off);
        uint32_t limit = s->msize ? s->msize : NP_MSIZE_MIN;
        if (size < NP_HDR || size > limit)
            return -EPROTO;
        if (size > *have - off)
            break;
        long n = server_handle(s, s->rx + off, size);
        int err = n < 0 ? (int)n : server_reply(s, (size_t)n);
        if (err)
            return err;
        off += size;
    }
    *have -= off;
    if (off && *have)
        memmove(s->rx, s->rx + off, *have);
    return 0;
}

int gofer_main(int sockfd, const struct gofer_root *roots, size_t n)
{
    struct server s;
    int err = server_init(&s, sockfd, roots, n);
    size_t have = 0;
    while (!err) {
        struct iovec v = {s.rx + have, NP_MSIZE_MAX - have};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1}; // no control data: descriptors are dropped
        long r = host_call(__NR_recvmsg, sockfd, &m, 0);
        if (r == -EINTR)
            continue;
        if (r <= 0) {
            err = (int)r;
            break;
        }
        if (m.msg_flags & MSG_TRUNC) {
            err = -EPROTO;
            break;
        }
        have += (size_t)r;
        err = serve_buffered(&s, &have);
    }
    if (err == -EPIPE || err == -ECONNRESET)
        err = 0; // the Sentry is gone: our work is done
    if (err)
        log_error("gofer: connection ended: error %d", -err);
    server_free(&s);
    return err;
}
