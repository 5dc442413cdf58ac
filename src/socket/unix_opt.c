// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: what is asked of a socket by option or ioctl. unix(7).
#include "abi/errno.h"
#include "mem/uaccess.h"
#include "socket/unix.h"
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

long unix_ioctl(struct socket *s, struct task *t, unsigned cmd, uint64_t arg)
{
    struct unix_sock *u = unix_of(s);
    int v;
    switch (cmd) {
    case SIOCOUTQ:
        v = (int)READ_SHARED(u->wmem);
        break;
    case SIOCINQ:
        if (READ_SHARED(u->state) == UNIX_LISTENING)
            return -EINVAL;
        spin_lock(&u->lock);
        if (unix_is_dgram(u)) {
            struct unix_msg *m = list_first(&u->rxq, struct unix_msg, link);
            v = m ? (int)m->len : 0;
        } else {
            v = (int)MIN(u->rxbytes, (uint64_t)INT32_MAX);
        }
        spin_unlock(&u->lock);
        break;
    default:
        return -ENOTTY;
    }
    return put_user(t->mm, UADDR(arg), v);
}

int unix_getopt(struct socket *s, struct task *t, int level, int name, void *val, uint32_t *len)
{
    struct unix_sock *u = unix_of(s);
    if (level != SOL_SOCKET)
        return -EOPNOTSUPP;
    switch (name) {
    case SO_PEERCRED: {
        struct ucred uc = {.uid = (uid_t)-1, .gid = (gid_t)-1};
        spin_lock(&u->lock);
        if (u->cred_pid)
            uc.pid = kpid_nr_in(u->cred_pid, t->pidns);
        if (u->cred) {
            uc.uid = u->cred->euid;
            uc.gid = u->cred->egid;
        }
        spin_unlock(&u->lock);
        *len = MIN(*len, sizeof(uc));
        memcpy(val, &uc, *len);
        return 0;
    }
    case SO_PEERGROUPS: {
        spin_lock(&u->lock);
        struct cred *c = u->cred ? cred_get(u->cred) : nullptr;
        spin_unlock(&u->lock);
        if (!c)
            return -ENODATA;
        uint32_t need = c->ngroups * (uint32_t)sizeof(uint32_t);
        int err = *len < need ? -ERANGE : 0;
        if (!err && need)
            memcpy(val, c->groups, need);
        *len = need;
        cred_put(c);
        return err;
    }
    case SO_ACCEPTCONN: {
        int v = READ_SHARED(u->state) == UNIX_LISTENING;
        *len = MIN(*len, sizeof(v));
        memcpy(val, &v, *len);
        return 0;
    }
    default:
        return -ENOPROTOOPT;
    }
}

int unix_setopt(struct socket *s, struct task *t, int level, int name, const void *val,
                uint32_t len)
{
    return level == SOL_SOCKET ? -ENOPROTOOPT : -EOPNOTSUPP;
}
