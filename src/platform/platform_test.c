// SPDX-License-Identifier: Apache-2.0
// Both platforms against the same guests: hand-written code that the test itself is the kernel of.
// Each test boots the platform in a child that is pid 1 of a pid namespace, as the Sentry is, and
// runs its body in a fiber there (so: CHECK, not cmocka's assertions).
#include "base/log.h"
#include "host/raw.h"
#include "platform/platform_test.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// --- guest code: position-independent, copied to TEXT ---------------------------------------------
extern const char g_fault[], g_mixed[],
    g_call[], g_int80[], g_add[], g_store[], g_xmm_wait[], g_vsyscall[], g_masked[], g_fork_bomb[],
    g_form_c[], g_form_c_call[], g_dead_nop[];
__asm__(".pushsection .rodata\n"
        ".irp n, g_start, g_end, g_regs, g_spin, g_zmm, g_ymm\n.globl \\n\n.hidden \\n\n.endr\n"
        ".balign 64\n"
        "g_start:\n"
        // rbx = rounds; every register has a pattern, the result must be rbx + 1000.
        "g_regs:\n"
        "1: mov $0x1111111111111111, %rdi; mov $0x2222222222222222, %rsi\n"
        "   mov $0x3333333333333333, %rdx; mov $0x4444444444444444, %r10\n"
        "   mov $0x5555555555555555, %r8; mov $0x6666666666666666, %r9\n"
        "   mov $0x7777777777777777, %r12; mov $0x8888888888888888, %r13\n"
        "   mov $0x9999999999999999, %r14; mov $0xaaaaaaaaaaaaaaaa, %r15\n"
        "   mov $0xbbbbbbbbbbbbbbbb, %rbp\n"
        "   mov %rbx, -8(%rsp); mov %rbx, -128(%rsp)\n" // the red zone
        "   mov $39, %eax; cmp $39, %eax; stc; mov $39, %eax; syscall\n" // as compilers have it
        "2: jnc 9f\n" // flags kept
        "   lea 2b(%rip), %r11; cmp %r11, %rcx; jne 9f\n"
        "   lea 1000(%rbx), %rcx; cmp %rcx, %rax; jne 9f\n"
        "   cmp %rbx, -8(%rsp); jne 9f; cmp %rbx, -128(%rsp); jne 9f\n"
        "   mov $0x1111111111111111, %rax; cmp %rax, %rdi; jne 9f\n"
        "   mov $0x2222222222222222, %rax; cmp %rax, %rsi; jne 9f\n"
        "   mov $0x3333333333333333, %rax; cmp %rax, %rdx; jne 9f\n"
        "   mov $0x4444444444444444, %rax; cmp %rax, %r10; jne 9f\n"
        "   mov $0x5555555555555555, %rax; cmp %rax, %r8; jne 9f\n"
        "   mov $0x6666666666666666, %rax; cmp %rax, %r9; jne 9f\n"
        "   mov $0x7777777777777777, %rax; cmp %rax, %r12; jne 9f\n"
        "   mov $0x8888888888888888, %rax; cmp %rax, %r13; jne 9f\n"
        "   mov $0x9999999999999999, %rax; cmp %rax, %r14; jne 9f\n"
        "   mov $0xaaaaaaaaaaaaaaaa, %rax; cmp %rax, %r15; jne 9f\n"
        "   mov $0xbbbbbbbbbbbbbbbb, %rax; cmp %rax, %rbp; jne 9f\n"
        "   dec %rbx; jnz 1b\n"
        "   mov $60, %eax; syscall\n"
        "9: ud2\n"
        // reads (rdi), then exits with the value in rdi
        "g_fault: mov (%rdi), %rdi; mov $60, %eax; syscall; ud2\n"
        // r12 counts for ever
        "g_spin: inc %r12; jmp g_spin\n"
        // r12 counts, a call each 64 rounds: r13 = calls; r12 must be 64 * r13 after each
        "g_mixed: mov $64, %ecx\n"
        "1: inc %r12; dec %ecx; jnz 1b\n"
        "   inc %r13; mov $39, %eax; syscall\n"
        "   cmp %r13, %rax; jne 9b\n"
        "   mov %r13, %rax; shl $6, %rax; cmp %rax, %r12; jne 9b\n"
        "   cmp %r14, %r13; jb g_mixed\n"
        "   mov $60, %eax; syscall; ud2\n"
        // rbx rounds: 32 zmm and 8 mask registers, x87 and mxcsr control from rsi (2 KiB + 64), kept
        "g_zmm:\n"
        "   mov %rsi, %r12; mov %rdi, %r13\n"
        "   ldmxcsr 2112(%r12); fldcw 2116(%r12)\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
        "   vmovdqu64 \\n*64(%r12), %zmm\\n\n"
        ".endr\n"
        ".irp n,0,1,2,3,4,5,6,7\n"
        "   kmovq 2048+8*\\n(%r12), %k\\n\n"
        ".endr\n"
        "1: mov $39, %eax; syscall\n"
        "   dec %rbx; jnz 1b\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
        "   vmovdqu64 %zmm\\n, \\n*64(%r13)\n"
        ".endr\n"
        ".irp n,0,1,2,3,4,5,6,7\n"
        "   kmovq %k\\n, 2048+8*\\n(%r13)\n"
        ".endr\n"
        "   stmxcsr 2112(%r13); fnstcw 2116(%r13); mov $60, %eax; syscall; ud2\n"
        "g_ymm:\n"
        "   mov %rsi, %r12; mov %rdi, %r13\n"
        "   ldmxcsr 2112(%r12); fldcw 2116(%r12)\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
        "   vmovdqu \\n*32(%r12), %ymm\\n\n"
        ".endr\n"
        "1: mov $39, %eax; syscall\n"
        "   dec %rbx; jnz 1b\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
        "   vmovdqu %ymm\\n, \\n*32(%r13)\n"
        ".endr\n"
        "   stmxcsr 2112(%r13); fnstcw 2116(%r13); mov $60, %eax; syscall; ud2\n"
        // one call as the registers say, then exit(result)
        "g_call: syscall; mov %rax, %rdi; mov $60, %eax; syscall; ud2\n"
        "g_int80: mov $20, %eax; int $0x80; mov %rax, %rdi; mov $60, %eax; syscall; ud2\n"
        "g_vsyscall: mov $0xffffffffff600400, %rax; call *%rax\n"
        "   mov %rax, %rdi; mov $60, %eax; syscall; ud2\n"
        // rbx times: lock incl (rdi); exit
        "g_add: lock incl (%rdi); dec %rbx; jnz g_add; mov $60, %eax; syscall; ud2\n"
        // (rdi) = rsi; exit((rdi))
        "g_store: mov %rsi, (%rdi); mov (%rdi), %rdi; mov $60, %eax; syscall; ud2\n"
        // rbx rounds, entered in turn at each of the instructions in front of the call; result rbx
        "g_form_c: mov $77, %ebp\n"
        "1: mov %rbx, %rcx; and $3, %ecx; mov $39, %eax; lea 2f(%rip), %rdx; mov %rbx, %rdi; mov %rdi, %r8\n"
        "   cmp $1, %ecx; je 3f; cmp $2, %ecx; je 4f; cmp $3, %ecx; je g_form_c_call\n"
        "   xor %eax, %eax; xor %edx, %edx; xor %edi, %edi; xor %r8d, %r8d\n"
        "   mov $39, %eax; lea 2f(%rip), %rdx\n"
        "3: mov %rbx, %rdi\n"
        "4: mov %rdi, %r8\n"
        "g_form_c_call: syscall\n"
        "2: cmp %rcx, %rdx; jne 9f; cmp %rax, %rbx; jne 9f; cmp %rdi, %r8; jne 9f; cmp $77, %ebp; jne 9f\n"
        "   dec %rbx; jnz 1b\n"
        "   mov $60, %eax; syscall\n"
        "9: ud2\n"
        // rbx rounds; the call comes by a jump, what lies before it is dead
        "g_dead_nop: mov $39, %eax; jmp 1f\n"
        "   nopw 0x200(%rax,%rax,1)\n"
        "1: syscall; dec %rbx; jnz g_dead_nop\n"
        "   mov $60, %eax; syscall; ud2\n"
        // rdi = stub's restorer: rt_sigreturn from a frame at rsi with all signals blocked
        "g_masked: mov %rsi, %rsp; jmp *%rdi\n"
        "g_end:\n"
        ".popsection\n");

const struct platform_ops *P;

// --- harness ---------------------------------------------------------------------------------------
static void (*body)(void);
static void body_fiber(void *arg)
{
    body();
    sched_stop();
    fiber_exit(nullptr, nullptr);
}
[[noreturn]] static void boot_main(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int sig = 1; sig < 32; sig++) // cmocka's would go on with the next test, here
        signal(sig, SIG_DFL);
    log_init(2, LOG_TEXT, LOG_INFO, "test");
    struct platform_config cfg = {.uid = (int)geteuid(), .gid = (int)getegid()};
    int err = P->init(&cfg);
    if (err) {
        fprintf(stderr, "platform init: %d\n", err);
        _exit(1);
    }
    struct sched_config sc = {.nworkers = 2, .poll = true};
    CHECK(!sched_init(&sc));
    struct fiber *f = fiber_new(body_fiber, nullptr, nullptr);
    CHECK(f);
    fiber_start(f);
    sched_run();
    _exit(0);
}
void platform_boot(const struct platform_ops *p, void (*fn)(void))
{
    P = p;
    body = fn;
    unsigned long flags = CLONE_NEWPID | SIGCHLD | (geteuid() ? CLONE_NEWUSER : 0);
    long pid = syscall(SYS_clone, flags, 0, 0, 0, 0);
    if (pid == 0)
        boot_main();
    assert_true(pid > 0);
    int status = 0;
    for (int i = 0; i < 48000; i++) { // minutes: the machine may be busy
        if (waitpid((pid_t)pid, &status, WNOHANG | __WALL) == pid) {
            assert_int_equal(status, 0);
            return;
        }
        usleep(5000);
    }
    kill((pid_t)pid, SIGKILL);
    waitpid((pid_t)pid, &status, __WALL);
    fail_msg("timed out");
}
void guest_regs(struct user_regs *r, const char *start, const char *entry)
{
    *r = (struct user_regs){.rip = TEXT + (uint64_t)(entry - start),
                            .rsp = STACK + SIZE - 256,
                            .cs = 0x33,
                            .ss = 0x2b,
                            .rflags = 0x202,
                            .orig_rax = ~0ull};
}
void guest_load(struct aspace *as, struct pcontext *ctx, const char *start, const char *end)
{
    constexpr int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
    CHECK(!P->map(ctx, TEXT, SIZE, rw, anon, -1, 0));
    CHECK(!P->map(ctx, STACK, SIZE, rw, anon | MAP_NORESERVE, -1, 0));
    CHECK(!P->map(ctx, DATA, SIZE, rw, anon, -1, 0));
    long n = end - start;
    CHECK(P->write_mem(as, UADDR(TEXT), start, (size_t)n) == n);
    CHECK(!P->protect(ctx, TEXT, SIZE, PROT_READ | PROT_EXEC));
}
void guest_new(struct guest *g, const char *entry)
{
    CHECK(!P->aspace_new(nullptr, &g->as, &g->ctx));
    guest_load(g->as, g->ctx, g_start, g_end);
    guest_regs(&g->r, g_start, entry);
}
void guest_free(struct guest *g)
{
    P->context_free(g->ctx);
    P->aspace_free(g->as);
}
// As the kernel does with a site that comes often; each guest has a page of its own for trampolines.
static void guest_patch(struct guest *g)
{
    static uint64_t pages;
    struct ppatch p = {.rip = g->r.rip, .lo = PAGE_ALIGN_DOWN(g->r.rip - 2), .prot = PROT_READ | PROT_EXEC};
    if (!g->tramp) {
        uint64_t n = __atomic_fetch_add(&pages, 1, __ATOMIC_RELAXED);
        g->tramp = TEXT - SIZE - n % 512 * PAGE_SIZE;
        int err = P->map(g->ctx, g->tramp, PAGE_SIZE, PROT_READ | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(!err || err == -ESRCH);
    }
    p.hi = p.lo + PAGE_SIZE;
    p.tramp = g->tramp + PATCH_TRAMP * (1 + g->patches);
    if (p.lo < TEXT || p.rip > p.hi || p.hi > TEXT + SIZE || g->patches == 63)
        return;
    int err = P->patch(g->ctx, &p);
    CHECK(!err || err == -ENOENT || err == -EINVAL || err == -ESRCH);
    if (err)
        return;
    CHECK(p.addr >= p.lo && p.addr + p.len <= p.rip && p.len >= 2);
    g->patches++;
    g->patched = p;
}
void guest_run(struct guest *g)
{
    for (;;) {
        P->run(g->ctx, &g->r, &g->ev);
        if (g->ev.kind == PEV_INTERRUPT) {
            ADD_SHARED(g->interrupts, 1); // read by the fiber that interrupts
            continue;
        }
        if (g->ev.kind != PEV_SYSCALL)
            break;
        WRITE_SHARED(g->calls, g->calls + 1);
        if (g->r.orig_rax == 60 && g->ev.arch == AUDIT_ARCH_X86_64) {
            g->exit_code = g->r.rdi;
            break;
        }
        if (g->ev.hot && P->patch)
            guest_patch(g);
        g->r.rax = 0;
        if (g->call && !g->call(g))
            break;
    }
}
static void run_fiber(void *arg)
{
    struct guest *g = arg;
    guest_run(g);
    struct fiber *w = g->waiter;
    if (!g->keep)
        P->context_free(g->ctx);
    __atomic_store_n(&g->done, true, __ATOMIC_SEQ_CST);
    fiber_wake(w);
    fiber_exit(nullptr, nullptr);
}
void guest_spawn(struct guest *g)
{
    g->waiter = fiber_current();
    struct fiber *f = fiber_new(run_fiber, g, nullptr);
    CHECK(f);
    fiber_start(f);
}
void guest_join(struct guest *g)
{
    while (!__atomic_load_n(&g->done, __ATOMIC_SEQ_CST))
        fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE);
}
void guest_sleep_ms(int ms)
{
    ktime_t end = ktime_now() + (ktime_t)ms * 1000000;
    while (ktime_now() < end)
        fiber_park(end, PARK_UNINTERRUPTIBLE);
}
bool guest_stop_after_2000(struct guest *g)
{
    return g->calls < 2000;
}
void check_exit(struct guest *g, uint64_t code)
{
    if (g->ev.kind != PEV_SYSCALL || g->exit_code != code)
        panic("guest: event %d signal %d code %d addr %#lx rip %#lx, exit %#lx for %#lx", g->ev.kind,
              g->ev.signo, g->ev.code, g->ev.addr, g->r.rip, g->exit_code, code);
}

// --- tests -----------------------------------------------------------------------------------------
bool call_regs(struct guest *g)
{
    CHECK(g->r.orig_rax == 39 && g->ev.arch == AUDIT_ARCH_X86_64);
    g->r.rax = g->r.rbx + 1000;
    return true;
}
PLATFORM_TEST(registers)
{
    struct guest g = {.call = call_regs};
    guest_new(&g, g_regs);
    g.r.rbx = 20000;
    guest_run(&g);
    check_exit(&g, 0x1111111111111111);
    CHECK(g.calls == 20001);
    guest_free(&g);
}

// The same text after its patches have been taken back, with the site's own bytes.
SYSTRAP_TEST(patched_and_restored)
{
    struct guest g = {.call = call_regs};
    guest_new(&g, g_regs);
    for (int round = 0; round < 3; round++) {
        uint64_t patches = g.patches;
        guest_regs(&g.r, g_start, g_regs);
        g.r.rbx = 600; // more than it takes to be asked again
        guest_run(&g);
        check_exit(&g, 0x1111111111111111);
        CHECK(g.patches == patches + 1 && g.patched.bytes[0] != 0xe9);
        uint8_t now[8];
        CHECK(P->read_mem(g.as, now, UADDR(g.patched.addr), g.patched.len) == g.patched.len);
        CHECK(now[0] == 0xe9);
        CHECK(!P->poke(g.ctx, g.patched.addr, g.patched.bytes, g.patched.len, PROT_READ | PROT_EXEC));
        P->drain(g.ctx);
        CHECK(P->read_mem(g.as, now, UADDR(g.patched.addr), g.patched.len) == g.patched.len);
        CHECK(!memcmp(now, g_start + (g.patched.addr - TEXT), g.patched.len));
    }
    guest_free(&g);
}

// The jump goes to an instruction further up, and none of those between it and the call is touched,
// so that they may be jumped to.
static bool call_form_c(struct guest *g)
{
    CHECK(g->r.orig_rax == 39 && g->r.rdi == g->r.rbx && g->r.r8 == g->r.rbx);
    CHECK(g->r.rip == TEXT + (uint64_t)(g_form_c_call - g_start) + 2);
    g->r.rax = g->r.rbx;
    return true;
}
SYSTRAP_TEST(patch_form_c)
{
    struct guest g = {.call = call_form_c};
    guest_new(&g, g_form_c);
    for (int round = 0; round < 2; round++) {
        guest_regs(&g.r, g_start, g_form_c);
        g.r.rbx = 2000;
        guest_run(&g);
        CHECK(g.ev.kind == PEV_SYSCALL && g.r.orig_rax == 60 && g.r.rbx == 0);
        uint64_t lea = TEXT + (uint64_t)(g_form_c_call - g_start) - 13; // 7 + 3 + 3 bytes
        CHECK(g.patches == 1 + (unsigned)round && g.patched.addr == lea && g.patched.len == 5);
        CHECK(!g.patched.hole && !memcmp(g.patched.bytes, "\x48\x8d\x15", 3));
        uint8_t now[15];
        CHECK(P->read_mem(g.as, now, UADDR(lea), sizeof(now)) == sizeof(now));
        CHECK(now[0] == 0xe9 && !memcmp(now + 5, g_form_c_call - 13 + 5, sizeof(now) - 5));
        CHECK(!P->poke(g.ctx, lea, g.patched.bytes, 5, PROT_READ | PROT_EXEC));
        P->drain(g.ctx);
        CHECK(P->read_mem(g.as, now, UADDR(lea), sizeof(now)) == sizeof(now));
        CHECK(!memcmp(now, g_form_c_call - 13, sizeof(now)));
    }
    guest_free(&g);
}
SYSTRAP_TEST(patch_leaves_dead_nops)
{
    struct guest g = {};
    guest_new(&g, g_dead_nop);
    g.r.rbx = 600;
    guest_run(&g);
    CHECK(g.ev.kind == PEV_SYSCALL && g.r.orig_rax == 60 && g.calls == 601);
    CHECK(!g.patches);
    guest_free(&g);
}

// Requests that make no sense are refused, and what is no call is left alone.
SYSTRAP_TEST(patch_refused)
{
    struct guest g = {.call = call_regs};
    guest_new(&g, g_regs);
    g.r.rbx = 1;
    guest_run(&g);
    uint8_t before[PAGE_SIZE], after[PAGE_SIZE];
    CHECK(P->read_mem(g.as, before, UADDR(TEXT), PAGE_SIZE) == PAGE_SIZE);
    static const struct ppatch bad[] = {
        {.rip = TEXT + 100, .lo = TEXT, .hi = TEXT + PAGE_SIZE, .tramp = TEXT - PAGE_SIZE},
        {.rip = TEXT + 100, .lo = TEXT, .hi = TEXT + PAGE_SIZE, .tramp = TEXT - PAGE_SIZE + 65},
        {.rip = TEXT + 100, .lo = TEXT, .hi = TEXT + 2 * PAGE_SIZE, .tramp = TEXT - PAGE_SIZE + 64},
        {.rip = TEXT + 1, .lo = TEXT, .hi = TEXT + PAGE_SIZE, .tramp = TEXT - PAGE_SIZE + 64},
        {.rip = TEXT + 100, .lo = TEXT, .hi = TEXT + PAGE_SIZE, .tramp = TEXT + (1ull << 40) + 64},
        {.rip = TEXT + 100, .lo = TEXT, .hi = TEXT + PAGE_SIZE, .tramp = TEXT - PAGE_SIZE + 64},
        {.rip = 1ull << 47, .lo = 1ull << 47, .hi = (1ull << 47) + PAGE_SIZE, .tramp = TEXT + 64},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct ppatch p = bad[i];
        p.prot = PROT_READ | PROT_EXEC;
        CHECK(P->patch(g.ctx, &p) < 0);
    }
    CHECK(P->poke(g.ctx, TEXT + PAGE_SIZE - 4, before, 8, PROT_READ | PROT_EXEC) == -EINVAL);
    CHECK(P->poke(g.ctx, TEXT + 64 * SIZE, before, 8, PROT_READ | PROT_EXEC) < 0);
    CHECK(P->read_mem(g.as, after, UADDR(TEXT), PAGE_SIZE) == PAGE_SIZE);
    CHECK(!memcmp(before, after, PAGE_SIZE));
    guest_free(&g);
}

// Every way out of run() changes something else each time.
static bool call_slow(struct guest *g)
{
    if (g->calls % 2)
        g->r.fs_base = 0x1000 * g->calls;
    else
        CHECK(g->r.fs_base == 0x1000 * (g->calls - 1));
    return call_regs(g);
}
PLATFORM_TEST(registers_changed)
{
    struct guest g = {.call = call_slow};
    guest_new(&g, g_regs);
    g.r.rbx = 2000;
    guest_run(&g);
    check_exit(&g, 0x1111111111111111);
    guest_free(&g);
}

PLATFORM_TEST(fault)
{
    struct guest g = {};
    guest_new(&g, g_fault);
    g.r.rdi = 0x900010;
    guest_run(&g);
    CHECK(g.ev.kind == PEV_FAULT && g.ev.signo == SIGSEGV && g.ev.code == SEGV_MAPERR);
    CHECK(g.ev.addr == 0x900010 && g.ev.trapno == 14 && (g.ev.err & 7) == 4);
    CHECK(g.r.rip == TEXT + (uint64_t)(g_fault - g_start) && g.r.orig_rax == ~0ull);
    // Mend it and go on.
    uint64_t v = 0x123456789;
    CHECK(!P->map(g.ctx, 0x900000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(P->write_mem(g.as, UADDR(0x900010), &v, 8) == 8);
    guest_run(&g);
    check_exit(&g, v);
    // An instruction that is none, and a jump to nowhere.
    guest_regs(&g.r, g_start, g_end);
    guest_run(&g);
    guest_regs(&g.r, g_start, g_start);
    g.r.rip = 0x123;
    guest_run(&g);
    CHECK(g.ev.kind == PEV_FAULT && g.ev.signo == SIGSEGV && g.ev.addr == 0x123);
    // The stack pointer does not matter.
    guest_regs(&g.r, g_start, g_fault);
    g.r.rsp = 0xdead0000;
    g.r.rdi = 0;
    guest_run(&g);
    CHECK(g.ev.kind == PEV_FAULT && g.r.rsp == 0xdead0000);
    guest_free(&g);
}

PLATFORM_TEST(int80_and_vsyscall)
{
    struct guest g = {};
    guest_new(&g, g_int80);
    P->run(g.ctx, &g.r, &g.ev);
    CHECK(g.ev.kind == PEV_SYSCALL && g.ev.arch == AUDIT_ARCH_I386 && g.r.orig_rax == 20);
    g.r.rax = 77;
    guest_run(&g);
    check_exit(&g, 77);
    guest_regs(&g.r, g_start, g_vsyscall);
    P->run(g.ctx, &g.r, &g.ev);
    if (g.ev.kind == PEV_SYSCALL) { // else the host has none
        CHECK(g.r.orig_rax == 201);
        g.r.rax = 4711;
        guest_run(&g);
        check_exit(&g, 4711);
    }
    guest_free(&g);
}

PLATFORM_TEST(memory_calls)
{
    struct guest g = {};
    guest_new(&g, g_store);
    uint64_t at = 0x10000000, v = 0;
    constexpr int rw = PROT_READ | PROT_WRITE;
    int fd = memfd_create("t", 0);
    CHECK(fd >= 0 && ftruncate(fd, 8192) == 0 && pwrite(fd, "filedata", 8, 4096) == 8);
    for (int i = 0; i < 200; i++) { // descriptors must not pile up in the stub
        CHECK(!P->map(g.ctx, at, 4096, rw, MAP_SHARED, fd, 4096));
        CHECK(!P->map(g.ctx, at + 4096, 4096, rw, MAP_PRIVATE, fd, 4096));
    }
    g.r.rdi = at;
    g.r.rsi = 0x6c6c6c6c6c6c6c6c;
    guest_run(&g);
    check_exit(&g, 0x6c6c6c6c6c6c6c6c);
    CHECK(pread(fd, &v, 8, 4096) == 8 && v == 0x6c6c6c6c6c6c6c6c);
    CHECK(P->read_mem(g.as, &v, UADDR(at + 4096), 8) == 8 && v == 0x6c6c6c6c6c6c6c6c);
    CHECK(P->map(g.ctx, at, 4096, rw, MAP_SHARED, open("/dev/null", 0), 0) == -ENODEV ||
          P->map(g.ctx, at, 4096, rw, MAP_SHARED, open("/proc/self/stat", 0), 0) < 0);
    CHECK(!P->map(g.ctx, at + 0x10000, 8192, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    v = 99;
    CHECK(P->write_mem(g.as, UADDR(at + 0x11000), &v, 8) == 8);
    CHECK(!P->remap(g.ctx, at + 0x10000, 8192, at + 0x20000, 16384));
    CHECK(P->read_mem(g.as, &v, UADDR(at + 0x21000), 8) == 8 && v == 99);
    CHECK(P->read_mem(g.as, &v, UADDR(at + 0x10000), 8) == -EFAULT);
    CHECK(!P->remap(g.ctx, at + 0x20000, 16384, at + 0x20000, 4096));
    CHECK(P->read_mem(g.as, &v, UADDR(at + 0x21000), 8) == -EFAULT);
    CHECK(!P->protect(g.ctx, at + 0x20000, 4096, PROT_READ));
    CHECK(P->write_mem(g.as, UADDR(at + 0x20000), &v, 8) == -EFAULT);
    CHECK(!P->advise(g.ctx, DATA, 4096, MADV_DONTNEED));
    CHECK(P->advise(g.ctx, DATA, 4096, 9 /* REMOVE */) < 0);
    CHECK(!P->unmap(g.ctx, at, 0x30000));
    CHECK(P->unmap(g.ctx, P->task_size() - 4096, 8192) == -EINVAL);
    CHECK(P->map(g.ctx, P->task_size(), 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -EINVAL);
    // Copies stop where the mapping does.
    static uint8_t buf[3 * 4096];
    CHECK(!P->map(g.ctx, at, 8192, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(P->read_mem(g.as, buf, UADDR(at + 100), sizeof(buf)) == 8192 - 100);
    CHECK(P->write_mem(g.as, UADDR(at + 8190), buf, 100) == 2);
    CHECK(P->read_mem(g.as, buf, UADDR(P->task_size()), 1) == -EFAULT);
    CHECK(P->read_mem(g.as, buf, UADDR(~0ull - 10), 100) == -EFAULT);
    CHECK(P->read_mem(g.as, buf, UADDR(0), 0) == 0);
    guest_free(&g);
}

PLATFORM_TEST(vdso_readable)
{
    uint64_t vdso, start, end;
    uint8_t magic[4];
    struct guest g = {};
    guest_new(&g, g_spin);
    P->vdso(&vdso, &start, &end);
    CHECK(!vdso || (vdso >= start && vdso < end && start >= P->task_size()));
    if (vdso) {
        CHECK(P->read_mem(g.as, magic, UADDR(vdso), 4) == 4 && !memcmp(magic, "\177ELF", 4));
        CHECK(P->write_mem(g.as, UADDR(vdso), magic, 4) == -EFAULT);
    }
    guest_free(&g);
}

PLATFORM_TEST(fork_copies)
{
    struct guest g[6] = {};
    uint64_t v;
    guest_new(&g[0], g_fault);
    for (int i = 1; i < 6; i++) { // a chain: both numbers of the control socket
        v = 100 + (uint64_t)i;
        CHECK(P->write_mem(g[i - 1].as, UADDR(DATA), &v, 8) == 8);
        CHECK(!P->aspace_fork(g[i - 1].ctx, &g[i].as, &g[i].ctx));
        v = 0;
        CHECK(P->write_mem(g[i - 1].as, UADDR(DATA), &v, 8) == 8);
        CHECK(P->host_pid(g[i].as) != P->host_pid(g[i - 1].as));
    }
    for (int i = 5; i >= 0; i--) {
        guest_regs(&g[i].r, g_start, g_fault);
        g[i].r.rdi = DATA;
        guest_run(&g[i]);
        check_exit(&g[i], i == 5 ? 105 : 0);
        guest_free(&g[i]);
    }
}

PLATFORM_TEST(threads_share_memory)
{
    constexpr int N = 8;
    struct guest g = {}, t[N] = {};
    uint32_t sum = 0;
    guest_new(&g, g_add);
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < N; i++) {
            t[i] = (struct guest){.as = g.as};
            CHECK(!P->context_new(g.ctx, &t[i].ctx));
            guest_regs(&t[i].r, g_start, g_add);
            t[i].r.rdi = DATA;
            t[i].r.rbx = 1000;
            guest_spawn(&t[i]);
        }
        for (int i = 0; i < N; i++) {
            guest_join(&t[i]);
            CHECK(t[i].ev.kind == PEV_SYSCALL);
        }
    }
    CHECK(P->read_mem(g.as, &sum, UADDR(DATA), 4) == 4 && sum == 1000 * N * 30);
    // The leader's task may go first: the space lives on.
    struct guest last = {.as = g.as};
    CHECK(!P->context_new(g.ctx, &last.ctx));
    P->context_free(g.ctx);
    guest_regs(&last.r, g_start, g_fault);
    last.r.rdi = DATA;
    guest_run(&last);
    CHECK(last.ev.kind == PEV_SYSCALL && (uint32_t)last.exit_code == sum);
    P->context_free(last.ctx);
    P->aspace_free(g.as);
}

PLATFORM_TEST(interrupt_running)
{
    struct guest g = {};
    guest_new(&g, g_spin);
    g.waiter = fiber_current();
    P->interrupt(g.ctx); // sticky
    P->run(g.ctx, &g.r, &g.ev);
    CHECK(g.ev.kind == PEV_INTERRUPT && g.r.r12 == 0);
    struct fiber *kick(struct guest *, int);
    for (int i = 0; i < 20; i++) {
        uint64_t before = g.r.r12;
        kick(&g, 5);
        P->run(g.ctx, &g.r, &g.ev);
        CHECK(g.ev.kind == PEV_INTERRUPT && g.r.r12 >= before);
        CHECK(g.r.rip >= TEXT && g.r.rip < TEXT + 4096);
        guest_sleep_ms(7); // the kicker ends
    }
    CHECK(g.r.r12 > 0);
    guest_free(&g);
}
static struct kick {
    struct guest *g;
    int ms;
} kick_arg;
static void kick_fiber(void *arg)
{
    guest_sleep_ms(kick_arg.ms);
    P->interrupt(kick_arg.g->ctx);
    fiber_exit(nullptr, nullptr);
}
struct fiber *kick(struct guest *, int);
struct fiber *kick(struct guest *g, int ms)
{
    kick_arg = (struct kick){g, ms};
    struct fiber *f = fiber_new(kick_fiber, nullptr, nullptr);
    CHECK(f);
    fiber_start(f);
    return f;
}

// Interrupts as fast as they go, into a guest that is in its code, in the stub, or on its way
// between them: no register is lost, every call is made once, every interrupt is seen.
static bool call_mixed(struct guest *g)
{
    g->r.rax = g->r.r13;
    CHECK(g->r.orig_rax == 39 && g->r.r12 == 64 * g->r.r13 && g->calls == g->r.r13);
    return true;
}
// The guest goes on until it has seen enough of them, however the CPUs are shared out; more calls than
// that, when they do not take long.
static ktime_t storm_start;
static bool call_storm(struct guest *g)
{
    const uint64_t rounds = P == &ptrace_ops ? 10000 : 300000;
    (void)call_mixed(g);
    return READ_SHARED(g->interrupts) <= 200 ||
           (g->calls < rounds && ktime_now() - storm_start < 5000000000);
}
PLATFORM_TEST(interrupt_storm)
{
    struct guest g = {.call = call_mixed}, t = {.call = call_storm, .keep = true};
    guest_new(&g, g_mixed);
    CHECK(!P->context_new(g.ctx, &t.ctx));
    t.as = g.as;
    t.r = g.r;
    t.r.rsp -= 4096;
    t.r.r14 = UINT64_MAX;
    storm_start = ktime_now();
    guest_spawn(&t);
    uint64_t sent = 0;
    for (; !__atomic_load_n(&t.done, __ATOMIC_SEQ_CST); sent++) {
        P->interrupt(t.ctx);
        fiber_yield();
    }
    CHECK(t.ev.kind == PEV_SYSCALL && t.r.orig_rax == 39 && t.r.r13 == t.calls);
    printf("  interrupt storm: %lu sent, %lu seen\n", sent, t.interrupts);
    P->context_free(t.ctx);
    guest_free(&g);
}

PLATFORM_TEST(futex_calls)
{
    struct guest g = {};
    uint32_t v = 5;
    guest_new(&g, g_spin);
    CHECK(P->write_mem(g.as, UADDR(DATA), &v, 4) == 4);
    struct pfutex f = {.uaddr = UADDR(DATA), .op = FUTEX_WAIT_BITSET_PRIVATE, .val = 4, .val3 = ~0u};
    CHECK(P->futex(g.ctx, &f) == -EAGAIN);
    f.val = 5;
    f.has_timeout = true;
    f.timeout_ns = ktime_now() + 3000000;
    CHECK(P->futex(g.ctx, &f) == -ETIMEDOUT);
    f.has_timeout = false;
    kick(&g, 5);
    CHECK(P->futex(g.ctx, &f) == -EINTR);
    guest_sleep_ms(7);
    P->interrupt(g.ctx);
    CHECK(P->futex(g.ctx, &f) == -EINTR);
    f = (struct pfutex){.uaddr = UADDR(DATA), .op = FUTEX_WAKE_PRIVATE, .val = 1};
    CHECK(P->futex(g.ctx, &f) == 0);
    f.uaddr = UADDR(0x20000000);
    CHECK(P->futex(g.ctx, &f) == 0 || P->futex(g.ctx, &f) == -EFAULT);
    uint32_t old;
    CHECK(!P->cmpxchg32(g.ctx, UADDR(DATA), 5, 6, &old) && old == 5);
    CHECK(!P->cmpxchg32(g.ctx, UADDR(DATA), 5, 7, &old) && old == 6);
    CHECK(P->cmpxchg32(g.ctx, UADDR(0x20000000), 5, 7, &old) == -EFAULT);
    CHECK(P->cmpxchg32(g.ctx, UADDR(P->task_size()), 5, 7, &old) == -EFAULT);
    guest_free(&g);
}

PLATFORM_TEST(cpu_time)
{
    struct guest g = {};
    guest_new(&g, g_spin);
    ktime_t began = ktime_now();
    uint64_t t0 = P->cpu_time(g.ctx), t1;
    do { // until it has got a CPU for that long
        kick(&g, 30);
        P->run(g.ctx, &g.r, &g.ev);
        t1 = P->cpu_time(g.ctx);
    } while (t1 - t0 < 1000000);
    CHECK(t1 - t0 <= (uint64_t)(ktime_now() - began) + 50000000);
    guest_sleep_ms(5);
    guest_free(&g);
}

// What a pause of the container does: the wait goes on, with its own deadline (restart_syscall).
static void pause_fiber(void *arg)
{
    struct guest *g = arg;
    guest_sleep_ms(10);
    CHECK(!kill(P->host_pid(g->as), SIGSTOP));
    guest_sleep_ms(10);
    CHECK(!kill(P->host_pid(g->as), SIGCONT));
    fiber_exit(nullptr, nullptr);
}
PLATFORM_TEST(stopped_and_continued)
{
    struct guest g = {.call = call_regs};
    guest_new(&g, g_regs);
    struct pfutex f = {.uaddr = UADDR(DATA), .op = FUTEX_WAIT_BITSET_PRIVATE, .val3 = ~0u,
                       .has_timeout = true};
    for (int i = 0; i < 3; i++) {
        struct fiber *p = fiber_new(pause_fiber, &g, nullptr);
        CHECK(p);
        fiber_start(p);
        ktime_t t0 = ktime_now();
        f.timeout_ns = t0 + 50000000;
        CHECK(P->futex(g.ctx, &f) == -ETIMEDOUT && ktime_now() - t0 >= 50000000);
    }
    struct fiber *p = fiber_new(pause_fiber, &g, nullptr);
    CHECK(p);
    fiber_start(p);
    for (ktime_t t0 = ktime_now(); ktime_now() - t0 < 50000000;) {
        guest_regs(&g.r, g_start, g_regs);
        g.r.rbx = 50;
        guest_run(&g);
        check_exit(&g, 0x1111111111111111);
    }
    guest_free(&g);
}
