// SPDX-License-Identifier: Apache-2.0
// poll(2), ppoll(2), select(2), pselect6(2).
#include "vfs/poll.h"
#include "base/slab.h"
#include "sys/protos.h"
#include "sys/waitarg.h"
#include <sys/select.h>
#include <sys/time.h>

constexpr size_t POLL_INLINE = 16;

// Copies in nfds pollfds and takes the files; entries whose descriptor is not open have no file.
static void poll_take(struct task *t, struct pollfd *p, struct poll_entry *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        e[i].events = (uint16_t)p[i].events | POLLERR | POLLHUP;
        e[i].file = p[i].fd < 0 ? nullptr : fd_get(t->files, p[i].fd);
        e[i].revents = 0;
    }
}

static long poll_run_entries(struct task *t, struct pollfd *p, struct poll_entry *e, size_t n,
                             ktime_t deadline)
{
    long bad = 0;
    poll_take(t, p, e, n);
    for (size_t i = 0; i < n; i++)
        bad += p[i].fd >= 0 && !e[i].file;
    long ret = poll_files(e, n, bad ? 0 : deadline);
    for (size_t i = 0; i < n; i++) {
        p[i].revents = (short)(p[i].fd >= 0 && !e[i].file ? POLLNVAL : e[i].revents);
        if (e[i].file)
            file_put(e[i].file);
    }
    return ret < 0 ? ret : ret + bad;
}

static long do_poll(struct task *t, uaddr_t fds, uint32_t nfds, ktime_t deadline)
{
    if (nfds > task_rlimit(t, RLIMIT_NOFILE))
        return -EINVAL;
    struct pollfd small[POLL_INLINE], *p = small;
    struct poll_entry smalle[POLL_INLINE], *e = smalle;
    if (nfds > POLL_INLINE) {
        p = mem_alloc_array(nfds, sizeof(*p));
        e = mem_alloc_array(nfds, sizeof(*e));
    }
    long ret = -ENOMEM;
    if (p && e) {
        ret = -EFAULT;
        if (!nfds || !copy_in(t->mm, p, fds, nfds * sizeof(*p))) {
            ret = poll_run_entries(t, p, e, nfds, deadline);
            // Only revents is written back: another thread may be changing the rest.
            if (ret >= 0 && nfds && copy_out(t->mm, fds, p, nfds * sizeof(*p)))
                ret = -EFAULT;
        }
    }
    if (nfds > POLL_INLINE) {
        mem_free(p);
        mem_free(e);
    }
    return ret;
}

static long poll_restart(struct task *t)
{
    long ret = do_poll(t, t->restart.poll.fds, t->restart.poll.nfds, t->restart.poll.deadline);
    return ret == -EINTR ? -ERESTART_RESTARTBLOCK : ret;
}

long sys_poll(struct task *t, uaddr_t fds, uint32_t nfds, int timeout_ms)
{
    ktime_t deadline = timeout_ms < 0    ? KTIME_MAX
                       : timeout_ms == 0 ? 0
                                         : deadline_after((int64_t)timeout_ms * 1000000);
    long ret = do_poll(t, fds, nfds, deadline);
    if (ret == -EINTR) {
        t->restart.poll.fds = fds;
        t->restart.poll.nfds = nfds;
        t->restart.poll.deadline = deadline;
        t->restart_fn = poll_restart;
        ret = -ERESTART_RESTARTBLOCK;
    }
    return ret;
}

// Linux writes the time left back (if it can: a read-only timeout is no error).
static void timespec_writeback(struct task *t, uaddr_t tsp, ktime_t deadline)
{
    if (uaddr_null(tsp) || (t->personality & 0x4000000 /* STICKY_TIMEOUTS */))
        return;
    struct timespec left = deadline_left(deadline);
    if (put_user(t->mm, tsp, left))
        return;
}

long sys_ppoll(struct task *t, uaddr_t fds, uint32_t nfds, uaddr_t tsp, uaddr_t sigmask, size_t size)
{
    ktime_t deadline;
    int err = deadline_from_user(t, tsp, &deadline);
    if (!err)
        err = sigmask_enter(t, sigmask, size);
    if (err)
        return err;
    long ret = do_poll(t, fds, nfds, deadline);
    sigmask_leave(t, ret == -EINTR);
    if (ret == -EINTR)
        ret = -ERESTARTNOHAND;
    timespec_writeback(t, tsp, deadline);
    return ret;
}

// --- select ------------------------------------------------------------------------------------
constexpr uint32_t SEL_IN = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR;
constexpr uint32_t SEL_OUT = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR;
constexpr uint32_t SEL_EX = POLLPRI;

struct select_sets {
    uint64_t *set[3]; // within one allocation; null: not given
    uint64_t *mem;    // owned
    size_t words;
};

static int select_copy_in(struct task *t, struct select_sets *s, int n, const uaddr_t u[3])
{
    s->words = ((size_t)n + 63) / 64;
    s->mem = mem_alloc_array(s->words ? s->words : 1, 3 * sizeof(uint64_t));
    if (!s->mem)
        return -ENOMEM;
    for (int k = 0; k < 3; k++) {
        if (uaddr_null(u[k]))
            continue;
        s->set[k] = s->mem + (size_t)k * s->words;
        if (s->words && copy_in(t->mm, s->set[k], u[k], s->words * 8))
            return -EFAULT;
    }
    if (n % 64 && s->words) {
        for (int k = 0; k < 3; k++) {
            if (s->set[k])
                s->set[k][s->words - 1] &= (1ull << (n % 64)) - 1;
        }
    }
    return 0;
}

static uint32_t select_wants(const struct select_sets *s, int fd)
{
    static const uint32_t want[3] = {SEL_IN, SEL_OUT, SEL_EX};
    uint32_t m = 0;
    for (int k = 0; k < 3; k++) {
        if (s->set[k] && (s->set[k][fd / 64] >> (fd % 64) & 1))
            m |= want[k];
    }
    return m;
}

// One entry for each descriptor named in any set: their numbers go to fds.
static long select_wait(struct task *t, struct select_sets *s, int n, ktime_t deadline)
{
    size_t cnt = 0;
    for (int fd = 0; fd < n; fd++)
        cnt += select_wants(s, fd) != 0;
    struct poll_entry *e = mem_alloc_array(cnt + 1, sizeof(*e));
    int *fds = mem_alloc_array(cnt + 1, sizeof(*fds));
    long ret = e && fds ? 0 : -ENOMEM;
    size_t used = 0;
    for (int fd = 0; fd < n && !ret; fd++) {
        uint32_t m = select_wants(s, fd);
        if (!m)
            continue;
        e[used].file = fd_get(t->files, fd);
        if (!e[used].file) {
            ret = -EBADF;
            break;
        }
        e[used].events = m;
        fds[used++] = fd;
    }
    if (!ret)
        ret = poll_files(e, used, deadline);
    if (ret >= 0) {
        ret = 0;
        struct select_sets in = *s;
        uint64_t *res = mem_alloc_array(s->words ? s->words : 1, 3 * sizeof(uint64_t));
        if (!res)
            ret = -ENOMEM;
        for (size_t i = 0; i < used && res; i++) {
            static const uint32_t want[3] = {SEL_IN, SEL_OUT, SEL_EX};
            int fd = fds[i];
            for (int k = 0; k < 3; k++) {
                if (in.set[k] && (in.set[k][fd / 64] >> (fd % 64) & 1) && (e[i].revents & want[k])) {
                    res[(size_t)k * s->words + (size_t)fd / 64] |= 1ull << (fd % 64);
                    ret++;
                }
            }
        }
        if (res) {
            mem_free(s->mem);
            s->mem = res;
            for (int k = 0; k < 3; k++)
                s->set[k] = s->set[k] ? res + (size_t)k * s->words : nullptr;
        }
    }
    for (size_t i = 0; i < used; i++)
        file_put(e[i].file);
    mem_free(e);
    mem_free(fds);
    return ret;
}

static long do_select(struct task *t, int n, uaddr_t in, uaddr_t out, uaddr_t ex, ktime_t deadline)
{
    const uaddr_t u[3] = {in, out, ex};
    struct select_sets s = {};
    if (n < 0)
        return -EINVAL;
    // Sets end where the table of descriptors ends: nothing beyond is read, judged or written.
    int size = fdtab_size(t->files);
    if (n > size)
        n = size;
    long ret = select_copy_in(t, &s, n, u);
    if (!ret)
        ret = select_wait(t, &s, n, deadline);
    if (ret >= 0) {
        for (int k = 0; k < 3; k++) {
            if (s.set[k] && s.words && copy_out(t->mm, u[k], s.set[k], s.words * 8))
                ret = -EFAULT;
        }
    }
    mem_free(s.mem);
    return ret;
}

long sys_select(struct task *t, int n, uaddr_t in, uaddr_t out, uaddr_t ex, uaddr_t tvp)
{
    ktime_t deadline = KTIME_MAX;
    if (!uaddr_null(tvp)) {
        struct timeval tv;
        if (get_user(t->mm, tvp, tv))
            return -EFAULT;
        if (tv.tv_sec < 0 || tv.tv_usec < 0)
            return -EINVAL;
        // Linux normalises microseconds above one second.
        struct timespec ts = {.tv_nsec = tv.tv_usec % 1000000 * 1000};
        if (__builtin_add_overflow(tv.tv_sec, tv.tv_usec / 1000000, &ts.tv_sec))
            ts.tv_sec = INT64_MAX;
        int64_t ns = timespec_ns(&ts);
        deadline = ns ? deadline_after(ns) : 0;
    }
    long ret = do_select(t, n, in, out, ex, deadline);
    if (ret == -EINTR)
        ret = -ERESTARTNOHAND;
    if (!uaddr_null(tvp) && !(t->personality & 0x4000000)) {
        struct timespec left = deadline_left(deadline);
        struct timeval tv = {.tv_sec = left.tv_sec, .tv_usec = left.tv_nsec / 1000};
        if (put_user(t->mm, tvp, tv)) // read-only timeouts are no error
            return ret;
    }
    return ret;
}

long sys_pselect6(struct task *t, int n, uaddr_t in, uaddr_t out, uaddr_t ex, uaddr_t tsp, uaddr_t sig)
{
    struct {
        uint64_t mask, size;
    } sa = {};
    ktime_t deadline;
    if (!uaddr_null(sig) && get_user(t->mm, sig, sa))
        return -EFAULT;
    int err = deadline_from_user(t, tsp, &deadline);
    if (!err)
        err = sigmask_enter(t, UADDR(sa.mask), sa.size);
    if (err)
        return err;
    long ret = do_select(t, n, in, out, ex, deadline);
    sigmask_leave(t, ret == -EINTR);
    if (ret == -EINTR)
        ret = -ERESTARTNOHAND;
    timespec_writeback(t, tsp, deadline);
    return ret;
}
