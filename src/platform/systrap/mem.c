// SPDX-License-Identifier: Apache-2.0
// Memory calls: carried out by the context's own thread from a list in its slot. (Plain copies:
// marshal.c.) Nothing here touches the stub's region: ranges end at task_size.
#include "abi/errno.h"
#include "base/slab.h"
#include "host/raw.h"
#include "platform/systrap/systrap.h"
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>

// One host call; its result, -ESRCH when the stub is gone.
static long call(struct pcontext *ctx, struct stub_work w)
{
    int err = st_work(st_ctx(ctx), &w, 1, false);
    return err ? err : stub_result(w.ret);
}

// What must come back is `want`; anything else that is not an error is a lie.
static int call_expect(struct pcontext *ctx, struct stub_work w, uint64_t want)
{
    long r = call(ctx, w);
    if (r < 0)
        return (int)r;
    if ((uint64_t)r == want)
        return 0;
    st_kill(st_as(ctx->as), "the stub lied about a mapping");
    return -ESRCH;
}

// --- many calls in one handover --------------------------------------------------------------------
// While exec builds an image, in a space that nobody else has seen: maps and copies are collected,
// answered as if they had been made, and made together. What fails is told by settle().
struct st_batch {
    struct st_context *c;
    int err;                       // of any so far
    int fd;                        // the descriptor that the stub takes last in this list; -1: none
    uint32_t n, used;              // items, bytes of the data area
    struct stub_work w[SLOT_WORK_MAX];
};

void st_batch(struct pcontext *ctx)
{
    struct st_aspace *as = st_as(ctx->as);
    struct st_batch *b = as->batch ? nullptr : mem_alloc(sizeof(*b));
    if (!b)
        return; // one by one, then
    b->c = st_ctx(ctx);
    b->err = 0;
    b->fd = -1;
    b->n = b->used = 0;
    as->batch = b;
}

static int batch_result(struct st_aspace *as, const struct stub_work *w)
{
    if (w->ret < 0)
        return w->ret == -ECANCELED ? 0 : (int)stub_result(w->ret);
    if (w->op != WORK_CALL || (uint64_t)w->ret == w->a[0])
        return 0;
    st_kill(as, "the stub lied about a mapping");
    return -ESRCH;
}

int st_batch_flush(struct st_aspace *as)
{
    struct st_batch *b = as->batch;
    uint32_t n = b->n;
    if (!n)
        return b->err;
    b->n = b->used = 0; // st_work flushes what is there
    b->fd = -1;
    int err = st_prove(as);
    if (!err) {
        mutex_lock(&as->lock);
        err = st_work(b->c, b->w, n, false);
        mutex_unlock(&as->lock);
    }
    for (uint32_t i = 0; i < n && !err; i++)
        err = batch_result(as, &b->w[i]);
    if (err && !b->err)
        b->err = err;
    return b->err;
}

static int batch_room(struct st_aspace *as, uint32_t items)
{
    struct st_batch *b = as->batch;
    return b->n + items > SLOT_WORK_MAX ? st_batch_flush(as) : b->err;
}

// The descriptor of a mapping stays open as long as that is in the tree: the number that was sent
// last names the same file.
static int batch_map(struct st_aspace *as, const struct stub_work *w, int hostfd)
{
    struct st_batch *b = as->batch;
    int err = batch_room(as, 2);
    if (!err)
        err = st_prove(as);
    if (!err && hostfd >= 0 && hostfd != b->fd) {
        err = st_send_fd(as, hostfd);
        if (!err)
            b->w[b->n++] = (struct stub_work){.op = WORK_RECVFD};
        b->fd = hostfd;
    }
    if (err) {
        b->err = err;
        return err;
    }
    b->w[b->n] = *w;
    b->w[b->n++].flags = hostfd >= 0 ? WORK_FD : 0;
    return 0;
}

bool st_batch_copy(struct st_aspace *as, uaddr_t dst, const void *src, size_t n)
{
    struct st_batch *b = as->batch;
    if (n > SLOT_DATA_SIZE || dst.v >= st.task_size || n > st.task_size - dst.v)
        return false;
    const char *p = src;
    bool zeros = n > 8 && !p[0] && !memcmp(p, p + 1, n - 1); // the rest of a page behind a file
    int err = !zeros && n > SLOT_DATA_SIZE - b->used ? st_batch_flush(as) : batch_room(as, 1);
    if (err)
        return false;
    if (zeros) {
        b->w[b->n++] = (struct stub_work){.op = WORK_COPY, .a = {dst.v, WORK_ZEROS, n}};
        return true;
    }
    memcpy((uint8_t *)b->c->slot + SLOT_DATA_OFF + b->used, src, n);
    b->w[b->n++] = (struct stub_work){.op = WORK_COPY, .a = {dst.v, b->used, n}};
    b->used += (uint32_t)n;
    return true;
}

// list[0] takes hostfd, list[1] maps it at addr. 0, what the host said to that, or -ESRCH.
static int map_fd(struct pcontext *ctx, struct stub_work *list, uint32_t n, uint64_t addr, int hostfd)
{
    struct st_aspace *as = st_as(ctx->as);
    int err = st_prove(as);
    if (err)
        return err;
    mutex_lock(&as->lock);
    err = st_send_fd(as, hostfd);
    if (!err)
        err = st_work(st_ctx(ctx), list, n, false);
    mutex_unlock(&as->lock);
    if (err)
        return err;
    if (list[0].ret < 0 || (list[1].ret >= 0 && (uint64_t)list[1].ret != addr)) {
        st_kill(as, "the stub did not map a descriptor");
        return -ESRCH;
    }
    return list[1].ret < 0 ? (int)stub_result(list[1].ret) : 0;
}

int st_map(struct pcontext *ctx, uint64_t addr, uint64_t len, int prot, int flags, int hostfd,
           uint64_t off)
{
    struct st_aspace *as = st_as(ctx->as);
    if (!guest_range_ok(addr, len))
        return -EINVAL;
    st_shape_changes(st_as(ctx->as));
    struct stub_work w = {.op = WORK_CALL,
                          .nr = __NR_mmap,
                          .a = {addr, len, (uint64_t)prot, (uint64_t)(flags | MAP_FIXED), ~0ull, off}};
    if (as->batch)
        return batch_map(as, &w, hostfd);
    if (hostfd < 0)
        return call_expect(ctx, w, addr);
    struct stub_work list[2] = {{.op = WORK_RECVFD}, w};
    list[1].flags = WORK_FD;
    return map_fd(ctx, list, 2, addr, hostfd);
}

// Never inherited: a child has published pages of its own, with nothing in them.
int st_map_window(struct pcontext *ctx, uint32_t index, int hostfd, uint64_t *va, uint64_t *len)
{
    uint64_t addr = st.base + STUB_WIN_OFF + (uint64_t)index * STUB_WIN_SIZE;
    CHECK(index < STUB_WIN_COUNT);
    struct stub_work list[3] = {
        {.op = WORK_RECVFD},
        {.op = WORK_CALL,
         .flags = WORK_FD,
         .nr = __NR_mmap,
         .a = {addr, STUB_WIN_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, ~0ull, 0}},
        {.op = WORK_CALL, .nr = __NR_madvise, .a = {addr, STUB_WIN_SIZE, MADV_DONTFORK}}};
    int err = map_fd(ctx, list, 3, addr, hostfd);
    if (err)
        return err;
    *va = addr;
    *len = STUB_WIN_SIZE;
    return (int)stub_result(list[2].ret);
}

int st_unmap(struct pcontext *ctx, uint64_t addr, uint64_t len)
{
    if (!guest_range_ok(addr, len))
        return -EINVAL;
    st_shape_changes(st_as(ctx->as));
    return call_expect(ctx, (struct stub_work){.op = WORK_CALL, .nr = __NR_munmap, .a = {addr, len}},
                       0);
}

int st_protect(struct pcontext *ctx, uint64_t addr, uint64_t len, int prot)
{
    if (!guest_range_ok(addr, len))
        return -EINVAL;
    st_shape_changes(st_as(ctx->as));
    return call_expect(ctx,
                       (struct stub_work){.op = WORK_CALL,
                                          .nr = __NR_mprotect,
                                          .a = {addr, len, (uint64_t)prot}},
                       0);
}

int st_remap(struct pcontext *ctx, uint64_t old, uint64_t old_len, uint64_t new_addr,
             uint64_t new_len)
{
    if (!guest_range_ok(old, old_len) || !guest_range_ok(new_addr, new_len))
        return -EINVAL;
    st_shape_changes(st_as(ctx->as));
    uint64_t flags = new_addr == old ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED;
    return call_expect(ctx,
                       (struct stub_work){.op = WORK_CALL,
                                          .nr = __NR_mremap,
                                          .a = {old, old_len, new_len, flags, new_addr}},
                       new_addr);
}

int st_advise(struct pcontext *ctx, uint64_t addr, uint64_t len, int advice)
{
    if (!guest_range_ok(addr, len))
        return -EINVAL;
    st_shape_changes(st_as(ctx->as));
    return call_expect(ctx,
                       (struct stub_work){.op = WORK_CALL,
                                          .nr = __NR_madvise,
                                          .a = {addr, len, (uint64_t)advice}},
                       0);
}

long st_futex(struct pcontext *ctx, const struct pfutex *f)
{
    struct st_context *c = st_ctx(ctx);
    int cmd = f->op & FUTEX_CMD_MASK;
    bool waits = cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET;
    if (f->uaddr.v >= st.task_size || f->uaddr2.v >= st.task_size)
        return -EFAULT;
    for (;;) {
        struct stub_work w = {.op = WORK_FUTEX,
                              .flags = f->has_timeout ? WORK_TIMEOUT : 0,
                              .a = {f->uaddr.v, (uint64_t)f->op, f->val,
                                    waits ? 0 : f->val2, f->uaddr2.v, f->val3}};
        if (f->has_timeout) {
            WRITE_SHARED(c->slot->ts[0], f->timeout_ns / 1000000000);
            WRITE_SHARED(c->slot->ts[1], f->timeout_ns % 1000000000);
        }
        int err = st_work(c, &w, 1, waits);
        bool intr = waits && __atomic_exchange_n(&c->intr, 0, __ATOMIC_SEQ_CST);
        if (err)
            return err;
        // An interrupt that was meant for something earlier may end the wait; timeouts are absolute.
        if (w.ret != -EINTR || intr)
            return stub_result(w.ret);
    }
}

int st_cmpxchg32(struct pcontext *ctx, uaddr_t addr, uint32_t expect, uint32_t desired,
                 uint32_t *old)
{
    if (addr.v % 4 || addr.v >= st.task_size)
        return -EFAULT;
    struct stub_work w = {.op = WORK_CMPXCHG, .a = {addr.v, expect, desired}};
    int err = st_work(st_ctx(ctx), &w, 1, false);
    if (err)
        return err;
    if (w.ret < 0)
        return -EFAULT;
    *old = (uint32_t)w.ret;
    return 0;
}

uint64_t st_cpu_time(struct pcontext *ctx)
{
    struct st_context *c = st_ctx(ctx);
    struct stub_work w = {.op = WORK_CPUTIME};
    if (c->cpu_ns > 0)
        return (uint64_t)c->cpu_ns;
    return st_work(st_ctx(ctx), &w, 1, false) || w.ret < 0 ? 0 : (uint64_t)w.ret;
}
