// SPDX-License-Identifier: Apache-2.0
// Sockets: what all address families share. A family registers a constructor; its sockets embed
// struct socket first and supply the operations. The system calls (sys/socket.c) copy addresses,
// control data and vectors between the guest and the kernel; the families see kernel memory only,
// but for the data, which is a struct uio.
#pragma once
#include "abi/errno.h"
#include "task/task.h"
#include <sys/socket.h>

struct socket;

// One message on its way in or out.
struct sockmsg {
    struct sockaddr_storage addr; // send: destination; recv: source
    uint32_t addrlen;             // send: 0 none; recv: filled (full length, may exceed the user's)
    const uint8_t *control;       // send: the user's control data, copied in
    uint8_t *ctl_out;             // recv: where control messages go; null: none wanted
    size_t ctl_len;               // send: length; recv: capacity
    size_t ctl_used;              // recv: written
    int flags;                    // in: MSG_* (MSG_DONTWAIT set for O_NONBLOCK too)
    int out_flags;                // recv: MSG_TRUNC, MSG_CTRUNC, MSG_EOR
};

struct socket_ops {
    int (*bind)(struct socket *s, struct task *t, const struct sockaddr_storage *a, uint32_t len);
    int (*connect)(struct socket *s, struct task *t, const struct sockaddr_storage *a, uint32_t len,
                   int flags /* O_NONBLOCK */);
    int (*listen)(struct socket *s, struct task *t, int backlog);
    int (*accept)(struct socket *s, int flags /* O_NONBLOCK */, struct socket **out);
    int (*pair)(struct socket *a, struct socket *b, struct task *t); // default: -EOPNOTSUPP
    int (*getname)(struct socket *s, struct sockaddr_storage *a, uint32_t *len, bool peer);
    long (*send)(struct socket *s, struct task *t, struct sockmsg *m, struct uio *u);
    long (*recv)(struct socket *s, struct task *t, struct sockmsg *m, struct uio *u);
    int (*shutdown)(struct socket *s, int how);
    // Levels and options that socket.c does not handle itself. `val` is kernel memory of *len
    // bytes; get sets *len.                                       default: -ENOPROTOOPT
    int (*setopt)(struct socket *s, struct task *t, int level, int name, const void *val, uint32_t len);
    int (*getopt)(struct socket *s, struct task *t, int level, int name, void *val, uint32_t *len);
    uint32_t (*poll)(struct socket *s, struct poll_table *pt);
    long (*ioctl)(struct socket *s, struct task *t, unsigned cmd, uint64_t arg); // default: -ENOTTY
    void (*release)(struct socket *s); // the file is gone
};

struct socket {
    const struct socket_ops *ops;  // [C]
    int family, type, protocol;    // [C]
    uint64_t ino;                  // [C] once it has a file
    struct waitq wq;               // everything that poll reports
    uint32_t sndbuf, rcvbuf;       // [A]
    int64_t rcvtimeo, sndtimeo;    // [A] ns; 0: for ever
    int so_error;                  // [A] positive errno, taken by the next call
    uint32_t mark, priority, rcvlowat;
    struct linger linger;
    bool reuseaddr, reuseport, keepalive, broadcast, oobinline, passcred, passsec, timestamp,
        timestampns, no_check;
};

// type: SOCK_*, without flags. 0 and *out, or -errno (-EPROTONOSUPPORT, -ESOCKTNOSUPPORT, ...).
typedef int socket_create_fn(struct task *t, int type, int protocol, struct socket **out);
void socket_register_family(int family, socket_create_fn *fn); // from constructors
MUST_CHECK int socket_create(struct task *t, int family, int type, int protocol, struct socket **out);
void socket_init(struct socket *s, const struct socket_ops *ops, int family, int type, int protocol);
// A file for s; takes s over on success. flags: O_NONBLOCK.
MUST_CHECK int socket_file_new(struct socket *s, int flags, const struct cred *c, struct file **out);
struct socket *socket_of(struct file *f); // null: no socket
// Options of SOL_SOCKET that need nothing of the family; -ENOPROTOOPT passes on.
int socket_setopt(struct socket *s, struct task *t, int level, int name, const void *val, uint32_t len);
int socket_getopt(struct socket *s, struct task *t, int level, int name, void *val, uint32_t *len);
// Takes the pending error: -errno or 0.
int socket_take_error(struct socket *s);
// When the wait of a call with this timeout must end; and what a signal makes of it.
ktime_t socket_deadline(int64_t timeo, bool nonblock);
static inline int socket_intr(int64_t timeo)
{
    return timeo ? -EINTR : -ERESTARTSYS;
}
void socket_sigpipe(int flags); // unless MSG_NOSIGNAL
// Appends a control message; sets MSG_CTRUNC when it does not fit (then a prefix is stored).
void sockmsg_put(struct sockmsg *m, int level, int type, const void *data, size_t n);

constexpr uint32_t SOCK_BUF_DEFAULT = 212992; // and maximum: net.core.{r,w}mem_{default,max}
