// SPDX-License-Identifier: Apache-2.0
// What a handler finds on its stack and what rt_sigreturn makes of it.
#include "gt.h"
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>

static volatile int seen;
static ucontext_t ctx;
static void *handler_sp, *info_at, *uc_at;
static void grab(int sig, siginfo_t *si, void *uc)
{
    seen++;
    memcpy(&ctx, uc, sizeof(ctx) < 968 ? sizeof(ctx) : 968);
    handler_sp = __builtin_frame_address(0);
    info_at = si;
    uc_at = uc;
}
static void handle(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
    struct sigaction sa = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags};
    GT_OK(sigaction(sig, &sa, 0));
}

GT(sigframe_layout)
{
    handle(SIGUSR1, grab, 0);
    raise(SIGUSR1);
    GT_EQ(seen, 1);
    GT_EQ((char *)info_at - (char *)uc_at, 304);
    GT_EQ(((uintptr_t)uc_at - 8) % 16, 8); // the frame looks like one after a call
    unsigned long flags = *(unsigned long *)uc_at;
    GT_TRUE(flags & 1); // UC_FP_XSTATE
    GT_EQ(flags & 6, 6); // UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS
    GT_TRUE(ctx.uc_mcontext.fpregs != 0);
    GT_EQ((uintptr_t)ctx.uc_mcontext.fpregs % 64, 0);
    GT_EQ(ctx.uc_mcontext.gregs[REG_CSGSFS] & 0xffff, 0x33);
    GT_EQ((ctx.uc_mcontext.gregs[REG_CSGSFS] >> 48) & 0xffff, 0x2b);
    unsigned magic;
    memcpy(&magic, (char *)ctx.uc_mcontext.fpregs + 464, 4);
    GT_EQ(magic, 0x46505853); // FP_XSTATE_MAGIC1
    unsigned size, magic2;
    memcpy(&size, (char *)ctx.uc_mcontext.fpregs + 464 + 16, 4); // xstate_size
    memcpy(&magic2, (char *)ctx.uc_mcontext.fpregs + size, 4);
    GT_EQ(magic2, 0x46505845);
}

static void change(int sig, siginfo_t *si, void *p)
{
    ucontext_t *uc = p;
    uc->uc_mcontext.gregs[REG_RBX] = 0x1122334455667788;
    uc->uc_mcontext.gregs[REG_RIP] += 2; // over ud2
    sigaddset(&uc->uc_sigmask, SIGUSR2);
}

GT(sigframe_changes_take_effect)
{
    handle(SIGILL, change, 0);
    long b;
    __asm__ volatile("xor %%ebx, %%ebx\n\tud2\n\tmov %%rbx, %0" : "=r"(b) : : "rbx");
    GT_EQ(b, 0x1122334455667788);
    sigset_t s;
    sigprocmask(SIG_BLOCK, 0, &s);
    GT_TRUE(sigismember(&s, SIGUSR2));
}

static void clobber(int sig)
{
    double z = 0;
    __asm__ volatile("movsd %0, %%xmm3\n\tfninit" ::"m"(z) : "xmm3");
    seen++;
}

GT(sigframe_fp_saved)
{
    signal(SIGUSR1, clobber);
    double a = 3.25, b = 0;
    long r, pid = getpid();
    __asm__ volatile("movsd %2, %%xmm3\n\t"
                     "mov %3, %%rdi\n\tmov %4, %%rsi\n\tmov %5, %%eax\n\tsyscall\n\t"
                     "movsd %%xmm3, %0"
                     : "=m"(b), "=&a"(r)
                     : "m"(a), "r"(pid), "r"((long)SIGUSR1), "i"(SYS_kill)
                     : "rdi", "rsi", "rcx", "r11", "xmm3", "memory");
    GT_EQ(seen, 1);
    GT_TRUE(b == 3.25);
}

static void fpchange(int sig, siginfo_t *si, void *p)
{
    ucontext_t *uc = p;
    double v = 8.5;
    memcpy(&uc->uc_mcontext.fpregs->_xmm[5], &v, 8);
    // xmm state is in use: say so in xstate_bv
    *(uint64_t *)((char *)uc->uc_mcontext.fpregs + 512) |= 2;
}

GT(sigframe_fp_changed)
{
    handle(SIGUSR1, fpchange, 0);
    double b = 0;
    long r, pid = getpid();
    __asm__ volatile("mov %2, %%rdi\n\tmov %3, %%rsi\n\tmov %4, %%eax\n\tsyscall\n\tmovsd %%xmm5, %0"
                     : "=m"(b), "=&a"(r)
                     : "r"(pid), "r"((long)SIGUSR1), "i"(SYS_kill)
                     : "rdi", "rsi", "rcx", "r11", "xmm5", "memory");
    GT_TRUE(b == 8.5);
}

static char alt[65536];
static void on_alt(int sig)
{
    char here;
    seen += &here >= alt && &here < alt + sizeof(alt);
    stack_t o;
    if (sigaltstack(0, &o) || o.ss_flags != SS_ONSTACK)
        seen += 100;
    stack_t n = {.ss_sp = alt, .ss_size = sizeof(alt)};
    if (sigaltstack(&n, 0) == 0 || errno != EPERM)
        seen += 1000;
}

GT(sigframe_altstack)
{
    stack_t n = {.ss_sp = alt, .ss_size = sizeof(alt)}, o;
    GT_OK(sigaltstack(0, &o));
    GT_EQ(o.ss_flags, SS_DISABLE);
    GT_OK(sigaltstack(&n, 0));
    struct sigaction sa = {.sa_handler = on_alt, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &sa, 0);
    raise(SIGUSR1);
    GT_EQ(seen, 1);
    GT_OK(sigaltstack(0, &o));
    GT_TRUE(o.ss_sp == alt && o.ss_size == sizeof(alt) && o.ss_flags == 0);
    n.ss_size = 100;
    GT_ERR(sigaltstack(&n, 0), ENOMEM);
    n.ss_flags = 77;
    GT_ERR(sigaltstack(&n, 0), EINVAL);
    n.ss_flags = SS_DISABLE;
    GT_OK(sigaltstack(&n, 0));
    GT_OK(sigaltstack(0, &o));
    GT_EQ(o.ss_flags, SS_DISABLE);
}

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif
static void on_disarmed(int sig)
{
    stack_t o;
    sigaltstack(0, &o);
    seen += o.ss_flags == SS_DISABLE;
    char here;
    seen += 10 * (&here >= alt && &here < alt + sizeof(alt));
}

GT(sigframe_autodisarm)
{
    stack_t n = {.ss_sp = alt, .ss_size = sizeof(alt), .ss_flags = SS_AUTODISARM}, o;
    GT_OK(sigaltstack(&n, 0));
    struct sigaction sa = {.sa_handler = on_disarmed, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &sa, 0);
    raise(SIGUSR1);
    GT_EQ(seen, 11);
    GT_OK(sigaltstack(0, &o));
    GT_EQ((unsigned)o.ss_flags, SS_AUTODISARM);
    GT_TRUE(o.ss_sp == alt);
}

static sigjmp_buf jb;
static void on_overflow(int sig, siginfo_t *si, void *uc)
{
    seen++;
    siglongjmp(jb, 1);
}
static int recurse(int n)
{
    volatile char buf[4096];
    buf[0] = (char)n;
    return recurse(n + 1) + buf[0];
}

GT(sigframe_stack_overflow_on_altstack)
{
    stack_t n = {.ss_sp = alt, .ss_size = sizeof(alt)};
    sigaltstack(&n, 0);
    handle(SIGSEGV, on_overflow, SA_ONSTACK);
    if (!sigsetjmp(jb, 1))
        recurse(0);
    GT_EQ(seen, 1);
}

GT(sigframe_bad_stack_kills)
{
    pid_t p = fork();
    int st;
    if (!p) {
        handle(SIGUSR1, grab, 0);
        handle(SIGSEGV, grab, 0);
        __asm__ volatile("mov $0x1000, %%rsp\n\tmov %0, %%rdi\n\tmov $10, %%esi\n\tmov $62, %%eax\n\tsyscall"
                         ::"r"((long)getpid()) : "memory");
        __builtin_unreachable();
    }
    waitpid(p, &st, 0);
    GT_TRUE(WIFSIGNALED(st));
    GT_EQ(WTERMSIG(st), SIGSEGV);
}

static void bad_rip(int sig, siginfo_t *si, void *p)
{
    ((ucontext_t *)p)->uc_mcontext.gregs[REG_RIP] = 0x8000000000000000ull;
}
static void bad_cs(int sig, siginfo_t *si, void *p)
{
    ((ucontext_t *)p)->uc_mcontext.gregs[REG_CSGSFS] = 0x002b000000000008ull; // a kernel segment
}

GT(sigframe_bad_return_kills)
{
    void (*fn[])(int, siginfo_t *, void *) = {bad_rip, bad_cs};
    for (int i = 0; i < 2; i++) {
        pid_t p = fork();
        int st;
        if (!p) {
            handle(SIGUSR1, fn[i], 0);
            raise(SIGUSR1);
            _exit(0);
        }
        waitpid(p, &st, 0);
        GT_TRUE(WIFSIGNALED(st));
        GT_EQ(WTERMSIG(st), SIGSEGV);
    }
}

GT(sigframe_sigreturn_without_frame)
{
    pid_t p = fork();
    int st;
    if (!p) {
        __asm__ volatile("mov $0x10000, %%rsp\n\tmov $15, %%eax\n\tsyscall" ::: "memory", "rax");
        __builtin_unreachable();
    }
    waitpid(p, &st, 0);
    GT_TRUE(WIFSIGNALED(st));
    GT_EQ(WTERMSIG(st), SIGSEGV);
}

static volatile unsigned long handler_flags;
static void on_flags(int sig)
{
    unsigned long f;
    __asm__ volatile("pushfq\n\tpop %0" : "=r"(f));
    handler_flags = f;
}

GT(sigframe_direction_flag_cleared)
{
    signal(SIGUSR1, on_flags);
    long r, pid = getpid();
    unsigned long after;
    __asm__ volatile("std\n\tmov %2, %%rdi\n\tmov $10, %%esi\n\tmov $62, %%eax\n\tsyscall\n\tpushfq\n\tpop %0\n\tcld"
                     : "=&r"(after), "=&a"(r) : "r"(pid) : "rdi", "rsi", "rcx", "r11", "memory");
    GT_EQ(handler_flags & 0x400, 0);
    GT_EQ(after & 0x400, 0x400);
}

static void on_red(int sig)
{
    char big[256];
    memset(big, 0xee, sizeof(big));
    __asm__ volatile("" ::"r"(big) : "memory");
    seen++;
}

GT(sigframe_red_zone_survives)
{
    signal(SIGUSR1, on_red);
    long r, pid = getpid(), v;
    __asm__ volatile("movq $0x5a5a, -120(%%rsp)\n\tmov %2, %%rdi\n\tmov $10, %%esi\n\tmov $62, %%eax\n\tsyscall\n\t"
                     "mov -120(%%rsp), %0"
                     : "=&r"(v), "=&a"(r) : "r"(pid) : "rdi", "rsi", "rcx", "r11", "memory");
    GT_EQ(seen, 1);
    GT_EQ(v, 0x5a5a);
}

static void on_siglongjmp(int sig)
{
    siglongjmp(jb, sig);
}

GT(sigframe_longjmp_out_many_times)
{
    signal(SIGUSR1, on_siglongjmp);
    for (volatile int i = 0; i < 1000; i++)
        if (!sigsetjmp(jb, 1))
            raise(SIGUSR1);
    sigset_t s;
    sigprocmask(SIG_BLOCK, 0, &s);
    GT_TRUE(!sigismember(&s, SIGUSR1));
}

static int nested[4], nn;
static void on_nested(int sig)
{
    nested[nn++] = sig;
}

GT(sigframe_several_at_once)
{
    sigset_t s, o;
    signal(SIGUSR1, on_nested);
    signal(SIGUSR2, on_nested);
    signal(SIGALRM, on_nested);
    sigfillset(&s);
    sigprocmask(SIG_BLOCK, &s, &o);
    raise(SIGUSR1);
    raise(SIGUSR2);
    raise(SIGALRM);
    sigprocmask(SIG_SETMASK, &o, 0);
    // frames are stacked in number order, so the last one built runs first
    GT_EQ(nn, 3);
    GT_EQ(nested[0], SIGALRM);
    GT_EQ(nested[1], SIGUSR2);
    GT_EQ(nested[2], SIGUSR1);
}
GT_MAIN
