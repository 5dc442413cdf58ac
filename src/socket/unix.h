// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: internals shared by the files unix*.c.
//
// Life: a socket's file holds one reference; each of two connected sockets holds one on the other
// (until it is released); a queued message holds its sender, whose send buffer it is charged to.
// Locks: `lock` is a spinlock and guards everything marked [l]; of two sockets the lower address
// goes first (unix_lock2). `iolock` (mutex) keeps one reader at a time and is taken before it.
#pragma once
#include "base/htab.h"
#include "kern/sysctl.h"
#include "socket/socket.h"
#include <sys/un.h>

enum unix_state : uint8_t { UNIX_IDLE, UNIX_LISTENING, UNIX_CONNECTED };
enum : uint8_t { UNIX_SHUT_RD = 1, UNIX_SHUT_WR = 2, UNIX_SHUT_BOTH = 3 };

struct unix_addr {
    struct ref ref;
    uint32_t len;           // of sun, as getsockname gives it
    struct sockaddr_un sun;
};
struct unix_fds { // SCM_RIGHTS in flight
    uint32_t n;
    uint32_t uid;           // charged
    bool counted;           // entered in the in-flight counts
    struct file *f[] COUNTED_BY(n); // refs
};
struct unix_msg {
    struct list link;
    struct unix_sock *from; // ref: charged
    uint32_t charge;
    uint32_t len, off;      // data is [off, len)
    struct unix_fds *fds;   // owned
    struct kpid *pid;       // ref; null: no credentials
    uint32_t uid, gid;
    uint32_t cap;           // room in data
    uint8_t data[];
};
struct unix_sock {
    struct socket sk;
    struct ref ref;
    struct spinlock lock;
    struct mutex iolock;           // RANK_SOCKET
    enum unix_state state;         // [l]
    uint8_t shut;                  // [l, A] UNIX_SHUT_*
    bool dead;                     // [l, A] released
    struct unix_sock *peer;        // [l] ref
    struct unix_addr *addr;        // [l] ref; set once
    struct path path;              // [l] ref; bound in the file system
    struct hnode abstract;         // [table lock] when bound in the abstract name space
    bool hashed;                   // [table lock]
    struct list rxq;               // [l] struct unix_msg
    uint32_t rxn;                  // [l, A] messages
    uint64_t rxbytes;              // [l, A] unread data
    struct unix_msg *spare;        // [A] owned: memory of a large message, for the next one
    uint32_t wmem;                 // [A] charge of our messages that nobody has read
    struct waitq peer_wait;        // senders and connectors waiting for room in rxq / accq
    struct waiter relay;           // [l] hooked to peer->peer_wait: wakes our pollers
    // listening
    struct list accq;              // [l] unix_sock.acc_link of new sockets, refs
    struct list acc_link;
    uint32_t nacc;                 // [l, A]
    int backlog;                   // [l]
    // who connected or listened, for SO_PEERCRED
    struct kpid *cred_pid;         // [l] ref
    struct cred *cred;             // [l] ref
    // garbage collection of descriptors in flight [gc lock]
    struct list inflight_link;     // while inflight > 0
    uint32_t inflight;             // how often our file is in a queue
    uint32_t gc_left;
    struct unix_sock *gc_next; // [gc_lock] live, children still to be marked
    bool gc_candidate, gc_live;
    struct file *file;             // weak
    struct list all_link;          // [table lock] for /proc/net/unix
};

struct unix_sock *unix_get(struct unix_sock *u);
void unix_put(struct unix_sock *u);
static inline struct unix_sock *unix_of(struct socket *s)
{
    return container_of(s, struct unix_sock, sk);
}
void unix_lock2(struct unix_sock *a, struct unix_sock *b);
void unix_unlock2(struct unix_sock *a, struct unix_sock *b);
struct unix_sock *unix_peer_get(struct unix_sock *u); // ref or null
static inline bool unix_is_stream(const struct unix_sock *u)
{
    return u->sk.type == SOCK_STREAM;
}
static inline bool unix_is_dgram(const struct unix_sock *u)
{
    return u->sk.type == SOCK_DGRAM;
}
static inline bool unix_dgram_full(struct unix_sock *u)
{
    return READ_SHARED(u->rxn) > READ_SHARED(sysctls.max_dgram_qlen);
}
static inline bool unix_writable(struct unix_sock *u)
{
    return (uint64_t)READ_SHARED(u->wmem) * 4 <= READ_SHARED(u->sk.sndbuf);
}
int unix_autobind(struct unix_sock *u);
// The socket that a name means; ref. -ECONNREFUSED, -EPROTOTYPE, and path errors.
int unix_find(struct task *t, const struct sockaddr_storage *a, uint32_t len, int type,
              struct unix_sock **out);
int unix_check_name(const struct sockaddr_storage *a, uint32_t len);

// unix_io.c
long unix_send(struct socket *s, struct task *t, struct sockmsg *m, struct uio *u);
long unix_recv(struct socket *s, struct task *t, struct sockmsg *m, struct uio *u);
void unix_msg_free(struct unix_msg *msg);
void unix_msgs_free(struct list *msgs);

// unix_opt.c: struct socket_ops
long unix_ioctl(struct socket *s, struct task *t, unsigned cmd, uint64_t arg);
int unix_getopt(struct socket *s, struct task *t, int level, int name, void *val, uint32_t *len);
int unix_setopt(struct socket *s, struct task *t, int level, int name, const void *val, uint32_t len);

// unix_scm.c
struct unix_scm { // control data of one send
    struct unix_fds *fds; // owned
    struct kpid *pid;     // ref
    uint32_t uid, gid;
};
int unix_scm_parse(struct task *t, const struct sockmsg *m, struct unix_scm *out);
void unix_scm_free(struct unix_scm *scm);
// Descriptors and credentials to the reader. No lock held.
void unix_scm_deliver(struct unix_sock *u, struct task *t, struct sockmsg *m,
                      const struct unix_msg *msg, struct unix_fds *fds);
struct unix_fds *unix_fds_dup(const struct unix_fds *fds); // for MSG_PEEK; null: no memory
void unix_fds_enter(struct unix_fds *fds); // the message goes into a queue
void unix_fds_leave(struct unix_fds *fds); // it has left it
void unix_fds_free(struct unix_fds *fds);  // drops the files
void unix_gc(void);
struct unix_sock *unix_sock_of_file(struct file *f);
