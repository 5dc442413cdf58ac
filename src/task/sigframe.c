// SPDX-License-Identifier: Apache-2.0
// Signal frames, as Linux on x86_64 lays them out (arch/x86 UAPI: asm/sigcontext.h, asm/ucontext.h):
//
//     high   [red zone 128] [XSAVE area, 64-aligned] [pretcode | ucontext | siginfo]   low = new rsp
//
// The frame is guest memory: rt_sigreturn reads it once and checks what the hardware would check
// (segments, canonical rip, XSAVE header); everything else in it is the guest's own business.
#include "abi/errno.h"
#include "base/slab.h"
#include "task/internal.h"
#include <asm/unistd.h>
#include <string.h>

struct frame_sigcontext {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
};
static_assert(sizeof(struct frame_sigcontext) == 256);
struct frame_stack {
    uint64_t sp;
    int32_t flags, pad;
    uint64_t size;
};
struct rt_frame {
    uint64_t pretcode;
    uint64_t uc_flags, uc_link;
    struct frame_stack stack;
    struct frame_sigcontext mc;
    uint64_t sigmask;
    siginfo_t info;
};
static_assert(sizeof(siginfo_t) == 128 && sizeof(struct rt_frame) == 440);

enum : uint64_t { UC_FP_XSTATE = 1, UC_SIGCONTEXT_SS = 2, UC_STRICT_RESTORE_SS = 4 };
constexpr uint64_t REDZONE = 128;
constexpr uint64_t CANONICAL_END = 1ull << 47; // the vDSO may lie above task_size
constexpr uint64_t EFLAGS_USER = 0x50dd5 /* AC|OF|DF|TF|SF|ZF|AF|PF|CF|RF */;
constexpr uint64_t EFLAGS_TF = 0x100, EFLAGS_DF = 0x400, EFLAGS_RF = 0x10000, EFLAGS_IF = 0x200;
constexpr uint16_t USER_CS = 0x33, USER_DS = 0x2b;
constexpr uint64_t KSA_RESTORER = 0x04000000;
constexpr int KSS_AUTODISARM = (int)(1u << 31);
constexpr size_t FP_LEGACY = 512;
constexpr uint64_t MIN_ALTSTACK = 2048;

bool altstack_on(const struct task *t, uint64_t sp)
{
    if (t->altstack_flags & KSS_AUTODISARM)
        return false; // it is not in use while a handler runs: it was disarmed
    return sp > t->altstack_sp && sp - t->altstack_sp <= t->altstack_size;
}

static int altstack_state(const struct task *t, uint64_t sp)
{
    if (!t->altstack_size)
        return SS_DISABLE;
    return altstack_on(t, sp) ? SS_ONSTACK : 0;
}

// Where the frame and the XSAVE area go; false when the alternate stack would overflow.
static bool frame_place(struct task *t, const struct ksigaction *ka, size_t fpsize, uint64_t *frame,
                        uint64_t *fp)
{
    uint64_t sp = t->regs.rsp;
    bool nested = altstack_state(t, sp) == SS_ONSTACK, entering = false;
    sp -= REDZONE;
    if ((ka->flags & SA_ONSTACK) && altstack_state(t, sp) == 0) {
        sp = t->altstack_sp + t->altstack_size;
        entering = true;
    }
    sp = (sp - fpsize) & ~63ull;
    *fp = sp;
    sp = ((sp - sizeof(struct rt_frame)) & ~15ull) - 8;
    *frame = sp;
    return !((nested || entering) && t->altstack_size &&
             !(sp > t->altstack_sp && sp - t->altstack_sp <= t->altstack_size));
}

static void frame_fill(struct task *t, struct rt_frame *f, const struct ksigaction *ka,
                       const siginfo_t *si, ksigset_t oldset, uint64_t fp)
{
    const struct user_regs *r = &t->regs;
    *f = (struct rt_frame){
        .pretcode = ka->restorer,
        .uc_flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
        .stack = {t->altstack_sp, t->altstack_size ? t->altstack_flags : SS_DISABLE, 0,
                  t->altstack_size},
        .mc = {r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, r->rdi, r->rsi, r->rbp,
               r->rbx, r->rdx, r->rax, r->rcx, r->rsp, r->rip, r->rflags, USER_CS, 0, 0, USER_DS,
               t->fault_err, t->fault_trapno, oldset, t->fault_addr, fp, {}},
        .sigmask = oldset,
        .info = *si,
    };
}

// Writes the XSAVE area at fp. A buffer of its own: it may be larger than a fiber's stack likes.
static int fp_save(struct task *t, uint64_t fp, size_t n)
{
    void *buf = mem_alloc(n);
    if (!buf)
        return -ENOMEM;
    int err = t->ctx->ops->fp_get(t->ctx, buf, n);
    if (!err)
        err = copy_out(t->mm, UADDR(fp), buf, n);
    mem_free(buf);
    return err;
}

int sigframe_setup(struct task *t, int sig, const struct ksigaction *ka, const siginfo_t *si,
                   ksigset_t oldset)
{
    uint64_t frame, fp;
    size_t fpsize = t->ctx->ops->fp_size(t->ctx);
    struct rt_frame f;
    if (!(ka->flags & KSA_RESTORER) || !frame_place(t, ka, fpsize, &frame, &fp))
        return -EFAULT;
    frame_fill(t, &f, ka, si, oldset, fp);
    if (fp_save(t, fp, fpsize) != 0 || copy_out(t->mm, UADDR(frame), &f, sizeof(f)) != 0)
        return -EFAULT;
    if (t->altstack_flags & KSS_AUTODISARM) {
        t->altstack_sp = t->altstack_size = 0;
        t->altstack_flags = SS_DISABLE;
    }
    struct user_regs *r = &t->regs;
    r->rdi = (uint64_t)sig;
    r->rsi = frame + offsetof(struct rt_frame, info);
    r->rdx = frame + offsetof(struct rt_frame, uc_flags);
    r->rax = 0;
    r->rip = ka->handler;
    r->rsp = frame;
    r->cs = USER_CS;
    r->ss = USER_DS;
    r->rflags &= ~(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF);
    r->orig_rax = ~0ull;
    t->ctx->ops->fp_reset(t->ctx);
    return 0;
}

// The FP state of a frame. A bad XSAVE header falls back to the legacy part, as the hardware's
// format promises that it stands alone; a bad one of that is the guest's fault.
static int fp_restore(struct task *t, uint64_t fp)
{
    if (!fp) {
        t->ctx->ops->fp_reset(t->ctx);
        return 0;
    }
    size_t n = t->ctx->ops->fp_size(t->ctx);
    void *buf = mem_alloc(n);
    if (!buf)
        return -ENOMEM;
    long got = copy_in_partial(t->mm, buf, UADDR(fp), n);
    int err = got < (long)FP_LEGACY ? -EFAULT : 0;
    if (!err)
        err = t->ctx->ops->fp_set(t->ctx, buf, (size_t)got);
    mem_free(buf);
    return err;
}

static void altstack_restore(struct task *t, const struct frame_stack *s)
{
    int mode = s->flags & ~KSS_AUTODISARM;
    if (altstack_state(t, t->regs.rsp) == SS_ONSTACK)
        return; // as sigaltstack(2): EPERM, which sigreturn ignores
    if (mode == SS_DISABLE) {
        t->altstack_sp = t->altstack_size = 0;
        t->altstack_flags = s->flags;
    } else if ((mode == 0 || mode == SS_ONSTACK) && s->size >= MIN_ALTSTACK) {
        t->altstack_sp = s->sp;
        t->altstack_size = s->size;
        t->altstack_flags = s->flags;
    }
}

static int regs_restore(struct task *t, const struct frame_sigcontext *c)
{
    struct user_regs *r = &t->regs;
    if ((c->cs | 3) != USER_CS || (c->ss | 3) != USER_DS || c->rip >= CANONICAL_END)
        return -EINVAL;
    uint64_t flags = (r->rflags & ~EFLAGS_USER) | (c->eflags & EFLAGS_USER) | EFLAGS_IF | 2;
    r->r8 = c->r8, r->r9 = c->r9, r->r10 = c->r10, r->r11 = c->r11;
    r->r12 = c->r12, r->r13 = c->r13, r->r14 = c->r14, r->r15 = c->r15;
    r->rdi = c->rdi, r->rsi = c->rsi, r->rbp = c->rbp, r->rbx = c->rbx;
    r->rdx = c->rdx, r->rax = c->rax, r->rcx = c->rcx, r->rsp = c->rsp;
    r->rip = c->rip;
    r->rflags = flags;
    r->cs = USER_CS;
    r->ss = USER_DS;
    return 0;
}

long signal_return(struct task *t)
{
    struct rt_frame f;
    siginfo_t segv;
    uint64_t frame = t->regs.rsp - 8;
    int err = copy_in(t->mm, &f, UADDR(frame), offsetof(struct rt_frame, info));
    if (!err) {
        signal_set_blocked(t, f.sigmask);
        err = regs_restore(t, &f.mc);
    }
    if (!err)
        err = fp_restore(t, f.mc.fpstate);
    t->regs.orig_rax = ~0ull; // never restarted
    if (err) {
        siginfo_kernel(&segv, SIGSEGV);
        signal_force(t, &segv);
        return 0;
    }
    altstack_restore(t, &f.stack);
    return (long)t->regs.rax;
}
