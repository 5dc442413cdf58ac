// SPDX-License-Identifier: Apache-2.0
// FP state of a context: it lies in the frame in the slot, where the kernel saved it and will load it
// from (see ../fpstate.c for its form).
#include "abi/errno.h"
#include "platform/systrap/systrap.h"
#include <string.h>

size_t st_fp_size(struct pcontext *ctx)
{
    return st.fp_ext;
}

// After a trampoline's call: the thread itself puts its FP state into the frame. The work item for
// that (false: the state is there already), and what becomes of it.
bool st_fp_save(struct st_context *c, struct stub_work *w)
{
    *w = (struct stub_work){.op = WORK_XSAVE, .a = {st.fp_features, st.boot_fp}};
    return c->fp_off == FP_LIVE;
}
void st_fp_saved(struct st_context *c, bool ok)
{
    c->fp_home = st.boot_fp;
    c->fp_off = ok ? st.boot_fp : 0;
    if (ok)
        fp_seal((uint8_t *)c->slot + st.boot_fp);
}
static uint32_t fp_save(struct st_context *c)
{
    struct stub_work w;
    (void)st_fp_save(c, &w);
    st_fp_saved(c, st_work(c, &w, 1, false) == 0 && w.ret == 0);
    return c->fp_off;
}

// Where the kernel put the FP state of the frame; looked up when first asked for. What makes no
// sense counts as none.
uint32_t st_fp_find(struct st_context *c)
{
    if (c->fp_off == FP_LIVE)
        return fp_save(c);
    if (c->fp_off != FP_UNKNOWN)
        return c->fp_off;
    struct stub_ucontext *uc = (struct stub_ucontext *)((uint8_t *)c->slot + c->uc_off);
    uint64_t off = READ_SHARED(uc->fpstate) - st_slot_va(c->index);
    bool ok = off >= SLOT_STACK_OFF && off <= SLOT_SIZE - st.fp_ext && off % 64 == 0;
    c->fp_off = c->fp_home = ok ? (uint32_t)off : 0;
    return c->fp_off;
}

int st_fp_get(struct pcontext *ctx, void *buf, size_t n)
{
    struct st_context *c = st_ctx(ctx);
    if (n < st.fp_ext)
        return -EINVAL;
    uint32_t off = st_fp_find(c);
    if (!off) {
        fp_initial(buf);
        return 0;
    }
    memcpy(buf, (uint8_t *)c->slot + off, st.fp_ext);
    fp_seal(buf);
    return 0;
}

int st_fp_set(struct pcontext *ctx, const void *buf, size_t n)
{
    struct st_context *c = st_ctx(ctx);
    int kind = fp_check(buf, n);
    if (kind < 0)
        return kind;
    uint32_t off = st_fp_find(c);
    if (!off) { // a prepared frame without FP state, or one that fp_reset has stripped of it
        struct stub_ucontext *uc = (struct stub_ucontext *)((uint8_t *)c->slot + c->uc_off);
        off = c->fp_home ? c->fp_home : st.boot_fp;
        WRITE_SHARED(uc->fpstate, st_slot_va(c->index) + off);
        WRITE_SHARED(uc->uc_flags,
                     STUB_UC_FP_XSTATE | STUB_UC_SIGCONTEXT_SS | STUB_UC_STRICT_SS);
        c->fp_off = off;
    }
    fp_store((uint8_t *)c->slot + off, buf, kind);
    c->fast = c->fast && !c->live; // a live call's return would not load it
    return 0;
}

void st_fp_reset(struct pcontext *ctx)
{
    struct st_context *c = st_ctx(ctx);
    if (!st_fp_find(c))
        return;
    struct stub_ucontext *uc = (struct stub_ucontext *)((uint8_t *)c->slot + c->uc_off);
    WRITE_SHARED(uc->fpstate, (uint64_t)0);
    c->fp_home = c->fp_off;
    c->fp_off = 0;
    c->fast = false;
}
