// SPDX-License-Identifier: Apache-2.0
// The ptrace platform: slow, works wherever ptrace does, and the reference that systrap is compared
// with. This file is the fibers' side: each operation becomes a request to the tracer.
#include "platform/ptrace/ptrace.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

static int init(const struct platform_config *cfg)
{
    int err = zygote_prepare(cfg);
    return err ? err : pt_tracer_start(cfg);
}
static uint64_t task_size(void)
{
    return st.task_size;
}
static void vdso(uint64_t *base, uint64_t *start, uint64_t *end)
{
    *base = st.vdso;
    *start = st.vdso_start;
    *end = st.vdso_end;
}
static int host_pid(struct aspace *as)
{
    return pt_space(as)->pid;
}
static bool dead(const struct pt_context *c)
{
    return __atomic_load_n(&pt_space(c->base.as)->dead, __ATOMIC_ACQUIRE);
}

// --- spaces and contexts ---------------------------------------------------------------------------
static int fork_from(struct pt_context *p, struct aspace **as, struct pcontext **ctx)
{
    struct pt_space *ps = pt_space(p->base.as);
    int sock;
    struct pt_space *s = pt_space_alloc(!ps->parity, &sock);
    struct pt_context *c = s ? pt_context_alloc(s) : nullptr;
    if (!c) {
        if (s) {
            host_call(__NR_close, sock);
            pt_space_drop(s);
        }
        return -ENOMEM;
    }
    struct pt_req r = {.op = PT_FORK, .ctx = p, .space = s, .out = c};
    uint64_t data = 0;
    mutex_lock(&ps->lock);
    long sent = fd_send(ps->ctl, &data, sizeof(data), &sock, 1, MSG_DONTWAIT);
    int err = sent < 0 ? (int)sent : pt_request(&r);
    mutex_unlock(&ps->lock);
    host_call(__NR_close, sock);
    if (!err) {
        *as = &s->base;
        *ctx = &c->base;
        return 0;
    }
    if (!r.taken) {
        pt_context_drop(c);
        pt_space_drop(s);
    }
    return err;
}

struct pzygote {
    struct pt_context *ctx;
};
SLAB_DEFINE(zygote_slab, struct pzygote);

static int aspace_new(struct pzygote *from, struct aspace **as, struct pcontext **ctx)
{
    return fork_from(from ? from->ctx : pt_zygote_ctx, as, ctx);
}
static int zygote_new(struct pzygote **out, int *host_pid)
{
    struct pzygote *z = slab_alloc(&zygote_slab);
    struct aspace *as;
    struct pcontext *ctx;
    int err = z ? fork_from(pt_zygote_ctx, &as, &ctx) : -ENOMEM;
    if (err) {
        if (z)
            slab_free(&zygote_slab, z);
        return err;
    }
    z->ctx = pt_ctx(ctx);
    *host_pid = pt_space(as)->pid;
    *out = z;
    return 0;
}
static int aspace_fork(struct pcontext *caller, struct aspace **as, struct pcontext **ctx)
{
    return fork_from(pt_ctx(caller), as, ctx);
}

static int context_new(struct pcontext *caller, struct pcontext **ctx)
{
    struct pt_context *c = pt_context_alloc(pt_space(caller->as));
    if (!c)
        return -ENOMEM;
    struct pt_req r = {.op = PT_THREAD, .ctx = pt_ctx(caller), .out = c};
    int err = pt_request(&r);
    if (!err)
        *ctx = &c->base;
    else if (!r.taken)
        pt_context_drop(c);
    return err;
}

static void context_free(struct pcontext *ctx)
{
    struct pt_req r = {.op = PT_END, .ctx = pt_ctx(ctx)};
    pt_request(&r);
}
static void aspace_free(struct aspace *as)
{
    struct pt_req r = {.op = PT_KILL, .space = pt_space(as)};
    pt_request(&r);
}

static void zygote_free(struct pzygote *z)
{
    aspace_free(z->ctx->base.as);
    slab_free(&zygote_slab, z);
}

// --- running -----------------------------------------------------------------------------------------
// As in systrap: say that a signal reaches us, then look whether somebody wanted us back. True: so.
static bool enter(struct pt_context *c)
{
    __atomic_store_n(&c->in_user, true, __ATOMIC_SEQ_CST);
    if (!__atomic_exchange_n(&c->intr, 0, __ATOMIC_SEQ_CST))
        return false;
    __atomic_store_n(&c->in_user, false, __ATOMIC_SEQ_CST);
    return true;
}
static bool leave(struct pt_context *c)
{
    __atomic_store_n(&c->in_user, false, __ATOMIC_SEQ_CST);
    return __atomic_exchange_n(&c->intr, 0, __ATOMIC_SEQ_CST);
}

static void run(struct pcontext *ctx, struct user_regs *regs, struct pevent *ev)
{
    struct pt_context *c = pt_ctx(ctx);
    for (;;) {
        *ev = (struct pevent){.kind = PEV_DEAD};
        if (enter(c)) {
            *ev = (struct pevent){.kind = PEV_INTERRUPT};
            return;
        }
        struct pt_req r = {.op = PT_RUN, .ctx = c, .regs = regs, .ev = ev};
        int err = pt_request(&r);
        bool wanted = leave(c);
        if (err)
            *ev = (struct pevent){.kind = PEV_DEAD};
        if (err || wanted || ev->kind != PEV_INTERRUPT)
            return;
    }
}

static void interrupt(struct pcontext *ctx)
{
    struct pt_context *c = pt_ctx(ctx);
    if (!__atomic_exchange_n(&c->intr, 1, __ATOMIC_SEQ_CST) &&
        __atomic_load_n(&c->in_user, __ATOMIC_SEQ_CST) && !dead(c))
        host_call(__NR_tgkill, pt_space(ctx->as)->pid, c->tid, STUB_SIGNAL);
}

static size_t fp_size(struct pcontext *ctx)
{
    return st.fp_ext;
}
static int fp_get(struct pcontext *ctx, void *buf, size_t n)
{
    struct pt_req r = {.op = PT_FP_GET, .ctx = pt_ctx(ctx), .fp = buf};
    return n < st.fp_ext ? -EINVAL : pt_request(&r);
}
static int fp_put(struct pcontext *ctx, const uint8_t *buf, int kind)
{
    uint8_t *fp = mem_alloc(st.fp_ext);
    if (!fp)
        return -ENOMEM;
    fp_store(fp, buf, kind);
    struct pt_req r = {.op = PT_FP_SET, .ctx = pt_ctx(ctx), .fp = fp};
    int err = pt_request(&r);
    mem_free(fp);
    return err;
}
static int fp_set(struct pcontext *ctx, const void *buf, size_t n)
{
    int kind = fp_check(buf, n);
    return kind < 0 ? kind : fp_put(ctx, buf, kind);
}
static void fp_reset(struct pcontext *ctx)
{
    uint8_t *fp = mem_alloc(st.fp_ext);
    if (!fp)
        return;
    fp_initial(fp);
    fp_put(ctx, fp, FP_EXTENDED);
    mem_free(fp);
}

static uint64_t cpu_time(struct pcontext *ctx)
{
    struct pt_context *c = pt_ctx(ctx);
    struct timespec ts = {};
    struct pt_call k = {.nr = __NR_clock_gettime, .a = {CLOCK_THREAD_CPUTIME_ID, pt_scratch(c)}};
    struct pt_req r = {.op = PT_CALLS, .ctx = c, .calls = &k, .n = 1, .out_buf = &ts,
                       .out_len = sizeof(ts)};
    if (pt_request(&r) || k.ret || ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec > 999999999)
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

// --- memory --------------------------------------------------------------------------------------------
static int call(struct pcontext *ctx, struct pt_call k)
{
    struct pt_req r = {.op = PT_CALLS, .ctx = pt_ctx(ctx), .calls = &k, .n = 1};
    int err = pt_request(&r);
    if (err)
        return err;
    return k.ret < 0 && k.ret >= -4095 ? (int)stub_result(k.ret) : 0;
}

static int map(struct pcontext *ctx, uint64_t addr, uint64_t len, int prot, int flags, int hostfd,
               uint64_t off)
{
    struct pt_space *s = pt_space(ctx->as);
    if (!guest_range_ok(addr, len))
        return -EINVAL;
    struct pt_call k[2] = {
        {.flags = PT_CALL_TAKE_FD},
        {.nr = __NR_mmap,
         .a = {addr, len, (uint64_t)prot, (uint64_t)(flags | MAP_FIXED), ~0ull, off}}};
    if (hostfd < 0)
        return call(ctx, k[1]);
    k[1].flags = PT_CALL_USE_FD;
    struct pt_req r = {.op = PT_CALLS, .ctx = pt_ctx(ctx), .calls = k, .n = 2};
    uint64_t data = 0;
    mutex_lock(&s->lock);
    long sent = fd_send(s->ctl, &data, sizeof(data), &hostfd, 1, MSG_DONTWAIT);
    int err = sent < 0 ? (int)sent : pt_request(&r);
    mutex_unlock(&s->lock);
    if (err)
        return err;
    if (k[0].ret < 0)
        return -ENOMEM;
    return k[1].ret < 0 && k[1].ret >= -4095 ? (int)stub_result(k[1].ret) : 0;
}

static int unmap(struct pcontext *ctx, uint64_t addr, uint64_t len)
{
    if (!guest_range_ok(addr, len))
        return -EINVAL;
    return call(ctx, (struct pt_call){.nr = __NR_munmap, .a = {addr, len}});
}
static int protect(struct pcontext *ctx, uint64_t addr, uint64_t len, int prot)
{
    if (!guest_range_ok(addr, len))
        return -EINVAL;
    return call(ctx, (struct pt_call){.nr = __NR_mprotect, .a = {addr, len, (uint64_t)prot}});
}
static int remap(struct pcontext *ctx, uint64_t old, uint64_t old_len, uint64_t new_addr,
                 uint64_t new_len)
{
    if (!guest_range_ok(old, old_len) || !guest_range_ok(new_addr, new_len))
        return -EINVAL;
    uint64_t flags = new_addr == old ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED;
    return call(ctx, (struct pt_call){.nr = __NR_mremap, .a = {old, old_len, new_len, flags, new_addr}});
}
static int advise(struct pcontext *ctx, uint64_t addr, uint64_t len, int advice)
{
    if (!guest_range_ok(addr, len))
        return -EINVAL;
    return call(ctx, (struct pt_call){.nr = __NR_madvise, .a = {addr, len, (uint64_t)advice}});
}

static long futex(struct pcontext *ctx, const struct pfutex *f)
{
    struct pt_context *c = pt_ctx(ctx);
    int cmd = f->op & FUTEX_CMD_MASK;
    bool waits = cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET;
    struct timespec ts = {f->timeout_ns / 1000000000, f->timeout_ns % 1000000000};
    if (f->uaddr.v >= st.task_size || f->uaddr2.v >= st.task_size)
        return -EFAULT;
    for (;;) {
        uint64_t fourth = f->has_timeout ? pt_scratch(c) : waits ? 0 : f->val2;
        struct pt_call k = {.nr = __NR_futex,
                            .a = {f->uaddr.v, (uint64_t)f->op, f->val, fourth, f->uaddr2.v, f->val3}};
        struct pt_req r = {.op = waits ? PT_FUTEX : PT_CALLS, .ctx = c, .calls = &k, .n = 1};
        if (f->has_timeout) {
            r.in = &ts;
            r.in_len = sizeof(ts);
        }
        if (waits && enter(c))
            return -EINTR;
        int err = pt_request(&r);
        bool wanted = waits && leave(c);
        if (err)
            return err;
        if (k.ret != -EINTR || wanted)
            return stub_result(k.ret);
    }
}

static long copy(enum pt_op op, struct aspace *as, void *buf, uaddr_t addr, size_t n)
{
    struct pt_req r = {.op = op, .space = pt_space(as), .addr = addr, .buf = buf, .len = n};
    return pt_request(&r) ? -ESRCH : r.copied;
}
static long read_mem(struct aspace *as, void *dst, uaddr_t src, size_t n)
{
    return copy(PT_READ, as, dst, src, n);
}
static long write_mem(struct aspace *as, uaddr_t dst, const void *src, size_t n)
{
    return copy(PT_WRITE, as, (void *)src, dst, n);
}

static int cmpxchg32(struct pcontext *ctx, uaddr_t addr, uint32_t expect, uint32_t desired,
                     uint32_t *old)
{
    if (addr.v % 4 || addr.v >= st.task_size)
        return -EFAULT;
    struct pt_call k = {.a = {addr.v, expect, desired}};
    struct pt_req r = {.op = PT_CMPXCHG, .ctx = pt_ctx(ctx), .calls = &k, .n = 1};
    int err = pt_request(&r);
    if (err || k.ret < 0)
        return err ? err : -EFAULT;
    *old = (uint32_t)k.ret;
    return 0;
}

const struct platform_ops ptrace_ops = {
    .name = "ptrace",
    .init = init,
    .task_size = task_size,
    .vdso = vdso,
    .aspace_new = aspace_new,
    .zygote_new = zygote_new,
    .zygote_free = zygote_free,
    .aspace_fork = aspace_fork,
    .context_new = context_new,
    .context_free = context_free,
    .aspace_free = aspace_free,
    .run = run,
    .interrupt = interrupt,
    .fp_size = fp_size,
    .fp_get = fp_get,
    .fp_set = fp_set,
    .fp_reset = fp_reset,
    .cpu_time = cpu_time,
    .map = map,
    .unmap = unmap,
    .protect = protect,
    .remap = remap,
    .advise = advise,
    .futex = futex,
    .read_mem = read_mem,
    .write_mem = write_mem,
    .cmpxchg32 = cmpxchg32,
    .host_pid = host_pid,
};
