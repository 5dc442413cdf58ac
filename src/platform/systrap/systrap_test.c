// SPDX-License-Identifier: Apache-2.0
// The walls around a hostile guest, seen from both sides: the filter as compiled, and guests that
// jump into the stub or scribble over their slots. See platform_test.c for the harness.
#include "host/raw.h"
#include "host/seccomp.h"
#include "platform/platform_test.h"
#include "platform/systrap/systrap.h"
#include <linux/audit.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

// --- the filter ------------------------------------------------------------------------------------
static struct sock_filter prog[1024];
static int prog_len;
constexpr uint64_t IP = 0x7f1234567000;

struct call {
    int nr;
    uint64_t a[6];
    bool allowed;
};
static uint32_t verdict(const struct call *c, uint64_t ip, uint32_t arch)
{
    struct seccomp_data d = {.nr = c->nr, .arch = arch, .instruction_pointer = ip};
    memcpy(d.args, c->a, sizeof(d.args));
    return seccomp_eval(prog, (size_t)prog_len, &d);
}
#define H 0x100000000ull
static const struct call calls[] = {
    {__NR_rt_sigreturn, {}, true},
    {__NR_futex, {0, FUTEX_WAIT}, true},
    {__NR_futex, {0, FUTEX_WAIT | H}, false},
    {__NR_futex, {0, FUTEX_WAKE}, false},
    {__NR_futex, {0, FUTEX_WAKE_PRIVATE}, true},
    {__NR_futex, {0, FUTEX_REQUEUE}, false},
    {__NR_futex, {0, FUTEX_CMP_REQUEUE_PRIVATE}, true},
    {__NR_futex, {0, FUTEX_LOCK_PI_PRIVATE}, false},
    {__NR_futex, {0, FUTEX_WAKE_OP_PRIVATE}, false},
    {__NR_futex, {0, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME}, true},
    {__NR_mmap, {0, 1, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~0ull}, true},
    {__NR_mmap, {0, 1, 7, MAP_PRIVATE | MAP_ANONYMOUS, ~0ull}, false},
    {__NR_mmap, {0, 1, 8, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~0ull}, false},
    {__NR_mmap, {0, 1, 7 | H, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~0ull}, false},
    {__NR_mmap, {0, 1, 3, MAP_SHARED | MAP_FIXED, 63}, true},
    {__NR_mmap, {0, 1, 3, MAP_SHARED | MAP_FIXED_NOREPLACE, 2}, true},
    {__NR_mmap, {0, 1, 3, MAP_SHARED | MAP_FIXED, 64}, false},
    {__NR_mmap, {0, 1, 3, MAP_SHARED | MAP_FIXED, 3 | H}, false},
    {__NR_mmap, {0, 1, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, 3}, false},
    {__NR_mmap, {0, 1, 3, MAP_SHARED_VALIDATE | MAP_FIXED, 3}, false},
    {__NR_mmap, {0, 1, 3, MAP_PRIVATE | MAP_FIXED | MAP_POPULATE, 3}, false},
    {__NR_mmap, {0, 1, 3, MAP_PRIVATE | MAP_FIXED | MAP_HUGETLB, 3}, false},
    {__NR_mmap, {0, 1, 3, MAP_PRIVATE | MAP_FIXED | MAP_LOCKED, 3}, false},
    {__NR_mmap, {0, 1, 3, MAP_PRIVATE | MAP_FIXED | MAP_GROWSDOWN, 3}, false},
    {__NR_munmap, {~0ull, ~0ull}, true},
    {__NR_mprotect, {0, 1, 7}, true},
    {__NR_mprotect, {0, 1, PROT_GROWSDOWN}, false},
    {__NR_mprotect, {0, 1, 7 | H}, false},
    {__NR_mremap, {0, 1, 1, 0}, true},
    {__NR_mremap, {0, 0, 1, 0}, false},
    {__NR_mremap, {0, H, 1, 3}, true},
    {__NR_mremap, {0, 1, 1, 4 | MREMAP_MAYMOVE}, false},
    {__NR_madvise, {0, 1, MADV_DONTNEED}, true},
    {__NR_madvise, {0, 1, MADV_REMOVE}, false},
    {__NR_madvise, {0, 1, MADV_MERGEABLE}, false},
    {__NR_madvise, {0, 1, 21}, false},
    {__NR_madvise, {0, 1, 25}, false},
    {__NR_madvise, {0, 1, MADV_HWPOISON}, false},
    {__NR_madvise, {0, 1, H}, false},
    {__NR_clone, {CLONE_PARENT | SIGCHLD}, true},
    {__NR_clone, {SIGCHLD}, false},
    {__NR_clone, {CLONE_PARENT | SIGCHLD | CLONE_NEWUSER}, false},
    {__NR_clone, {CLONE_PARENT | SIGCHLD | H}, false},
    {__NR_clone, {STUB_CLONE_THREAD}, true},
    {__NR_clone, {STUB_CLONE_THREAD | CLONE_CHILD_CLEARTID}, false},
    {__NR_clone3, {}, false},
    {__NR_recvmsg, {1, 0, 0x40000040}, true},
    {__NR_recvmsg, {2, 0, 0x40000040}, false},
    {__NR_recvmsg, {1, 0, 0x40}, false},
    {__NR_close, {63}, true},
    {__NR_close, {64}, false},
    {__NR_close, {3 | H}, false},
    {__NR_write, {2, 0, 8}, true},
    {__NR_write, {3, 0, 8}, true},
    {__NR_write, {1, 0, 8}, false},
    {__NR_write, {2, 0, 9}, false},
    {__NR_clock_gettime, {3}, true},
    {__NR_clock_gettime, {0}, false},
    {__NR_sigaltstack, {}, true},
    {__NR_restart_syscall, {}, true},
    {__NR_sched_yield, {}, true},
    {__NR_exit, {}, true},
    {__NR_exit_group, {}, false},
    {__NR_rt_sigaction, {}, false},
    {__NR_rt_sigprocmask, {}, false},
    {__NR_arch_prctl, {}, false},
    {__NR_execve, {}, false},
    {__NR_openat, {}, false},
    {__NR_kill, {}, false},
};

TEST(systrap_filter_table)
{
    static const int listed[] = {__NR_rt_sigreturn, __NR_futex, __NR_mmap, __NR_munmap,
                                 __NR_mprotect, __NR_mremap, __NR_madvise, __NR_clone, __NR_recvmsg,
                                 __NR_close, __NR_write, __NR_clock_gettime, __NR_sigaltstack,
                                 __NR_restart_syscall, __NR_sched_yield, __NR_exit};
    prog_len = stub_filter_build(IP, IP + 0x1000, prog, ARRAY_LEN(prog));
    assert_true(prog_len > 0);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        uint32_t v = verdict(&calls[i], IP + 2, AUDIT_ARCH_X86_64);
        if (v != (calls[i].allowed ? SECCOMP_RET_ALLOW : SECCOMP_RET_TRAP))
            fail_msg("row %zu: call %d gives %#x", i, calls[i].nr, v);
        // From the guest's own code, just outside, as i386, as x32: SIGSYS.
        assert_int_equal(verdict(&calls[i], 0x400000, AUDIT_ARCH_X86_64), SECCOMP_RET_TRAP);
        assert_int_equal(verdict(&calls[i], IP, AUDIT_ARCH_X86_64), SECCOMP_RET_TRAP);
        assert_int_equal(verdict(&calls[i], IP + 0x1001, AUDIT_ARCH_X86_64), SECCOMP_RET_TRAP);
        assert_int_equal(verdict(&calls[i], IP + 2, AUDIT_ARCH_I386), SECCOMP_RET_TRAP);
        struct call x32 = calls[i];
        x32.nr |= 0x40000000;
        assert_int_equal(verdict(&x32, IP + 2, AUDIT_ARCH_X86_64), SECCOMP_RET_TRAP);
    }
    for (int nr = -1; nr < 600; nr++) { // nothing else, with no arguments or with all ones
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(listed); i++)
            known |= listed[i] == nr;
        struct call zero = {.nr = nr}, ones = {.nr = nr};
        memset(ones.a, 0xff, sizeof(ones.a));
        if (!known) {
            assert_int_equal(verdict(&zero, IP + 2, AUDIT_ARCH_X86_64), SECCOMP_RET_TRAP);
            assert_int_equal(verdict(&ones, IP + 2, AUDIT_ARCH_X86_64), SECCOMP_RET_TRAP);
        }
    }
}

// --- guests that know the stub ----------------------------------------------------------------------
extern const uint8_t stub_blob[];
extern const char h_start[], h_end[], h_gadget[], h_spin[], h_masked[], h_scribble[], h_calls[],
    h_seeds[];
__asm__(".pushsection .rodata\n"
        ".balign 64\n"
        "h_start:\n"
        // rbx = the stub's `syscall; ret`: one host call of the guest's choice, then exit(result)
        "h_gadget: call *%rbx; mov %rax, %rdi; mov $60, %eax; syscall; ud2\n"
        "h_spin: inc %r12; jmp h_spin\n"
        // rsp = a signal frame at rsp + 8's place, rbx = gadget: rt_sigreturn with every signal blocked
        "h_masked: mov $15, %eax; jmp *%rbx\n"
        // writes r13-dependent junk over [rdi, rdi + rsi) for ever, one byte here and there
        "h_scribble: imul $0x5851f42d, %r13, %r13; add $0x14057b7d, %r13\n"
        "   mov %r13, %rax; shr $16, %rax; xor %edx, %edx; mov %rax, %r8; and $0xffffffff, %eax\n"
        "   div %rsi; mov %r8, %rax; shr $7, %rax; mov %al, (%rdi,%rdx); jmp h_scribble\n"
        "h_calls: mov $39, %eax; syscall; jmp h_calls\n"
        // rdi = its slot: asks for a key again and again (STUB_EV_SEED, SLOT_EVENT)
        "h_seeds: movl $8, 4(%rdi); movl $1, (%rdi)\n"
        "1: pause; cmpl $0, (%rdi); jne 1b; jmp h_seeds\n"
        "h_end:\n"
        ".popsection\n");

static uint64_t gadget(void)
{
    for (size_t i = 0; i < 0x1000; i++)
        if (stub_blob[i] == 0x0f && stub_blob[i + 1] == 0x05 && stub_blob[i + 2] == 0xc3)
            return st.base + i;
    panic("no gadget");
}
static void hostile_new(struct guest *g, const char *entry)
{
    CHECK(!P->aspace_new(nullptr, &g->as, &g->ctx));
    guest_load(g->as, g->ctx, h_start, h_end);
    guest_regs(&g->r, h_start, entry);
    g->r.rbx = gadget();
}
static int64_t hijack(struct guest *g, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                      uint64_t e, uint64_t f)
{
    guest_regs(&g->r, h_start, h_gadget);
    g->r.rbx = gadget();
    g->r.rax = (uint64_t)nr;
    g->r.rdi = a, g->r.rsi = b, g->r.rdx = c, g->r.r10 = d, g->r.r8 = e, g->r.r9 = f;
    guest_run(g);
    CHECK(g->ev.kind == PEV_SYSCALL);
    return (int64_t)g->exit_code;
}

SYSTRAP_TEST(hijacked_stub_calls)
{
    struct guest g = {};
    hostile_new(&g, h_gadget);
    static const int refused[] = {__NR_openat, __NR_execve, __NR_socket, __NR_kill, __NR_ptrace,
                                  __NR_getpid, __NR_clone3, __NR_rt_sigaction, __NR_prctl,
                                  __NR_process_vm_readv, __NR_sendmsg, __NR_io_uring_setup};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        CHECK(hijack(&g, refused[i], 0, 0, 0, 0, 0, 0) == -ENOSYS);
    CHECK(hijack(&g, __NR_close, 0x100000003, 0, 0, 0, 0, 0) == -ENOSYS);
    CHECK(hijack(&g, __NR_futex, DATA, FUTEX_WAKE, 1, 0, 0, 0) == -ENOSYS);
    CHECK(hijack(&g, __NR_futex, DATA, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0) == 0);
    // The stub's descriptors are of no use as memory, and there are no others.
    for (uint64_t fd = 0; fd < 64; fd++)
        CHECK(hijack(&g, __NR_mmap, 0x10000000, 4096, 3, MAP_SHARED | MAP_FIXED, fd, 0) < 0);
    // Its text is sealed where the host can do that; an old host lets it destroy itself.
    if (host_call(462, 0, 0, 0) == 0) {
        CHECK(hijack(&g, __NR_munmap, st.base, 4096, 0, 0, 0, 0) == -EPERM);
        CHECK(hijack(&g, __NR_mprotect, st.base, 4096, 7, 0, 0, 0) == -EPERM);
        CHECK(hijack(&g, __NR_mmap, st.base, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~0ull,
                     0) == -EPERM);
    }
    guest_free(&g);
}

static bool dead_child(void)
{
    siginfo_t si = {};
    host_call(__NR_waitid, P_ALL, 0, &si, WNOHANG | WNOWAIT | WEXITED | __WALL, 0);
    return si.si_pid != 0;
}
SYSTRAP_TEST(rogue_children)
{
    struct guest g = {}, victim = {};
    hostile_new(&g, h_gadget);
    hostile_new(&victim, h_gadget);
    for (int i = 0; i < 20; i++) {
        int64_t pid = hijack(&g, __NR_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0, 0);
        CHECK(pid > 1 && pid != P->host_pid(g.as)); // it dies of its first system call: no slots
    }
    int64_t pid = P->host_pid(victim.as);
    CHECK(hijack(&victim, __NR_sched_yield, 0, 0, 0, 0, 0, 0) == 0);
    CHECK(pid == P->host_pid(victim.as));
    guest_free(&g);
    guest_free(&victim);
    for (int i = 0; i < 500 && dead_child(); i++) { // the end of any process makes us look for others
        hostile_new(&g, h_gadget);
        guest_free(&g);
        guest_sleep_ms(20);
    }
    CHECK(!dead_child());
}

SYSTRAP_TEST(exited_host_thread)
{
    struct guest g = {}, t = {};
    hostile_new(&g, h_gadget);
    CHECK(!P->context_new(g.ctx, &t.ctx));
    t.as = g.as;
    guest_regs(&t.r, h_start, h_gadget);
    t.r.rbx = gadget();
    t.r.rax = __NR_exit;
    guest_spawn(&t);
    guest_sleep_ms(20);
    P->interrupt(t.ctx);
    guest_join(&t);
    CHECK(t.ev.kind == PEV_DEAD);
    guest_free(&g);
}

// rt_sigreturn lets a guest block our interrupt: it is killed when it does not answer.
SYSTRAP_TEST(masked_interrupt)
{
    struct guest g = {};
    hostile_new(&g, h_masked);
    struct stub_ucontext uc = {.uc_flags = 6, .rip = g.r.rip + (uint64_t)(h_spin - h_masked),
                               .rsp = STACK + 0x8000, .rflags = 0x202, .cs = 0x33, .ss = 0x2b,
                               .sigmask = ~0ull};
    CHECK(P->write_mem(g.as, UADDR(DATA + 8), &uc, sizeof(uc)) == sizeof(uc));
    g.r.rsp = DATA + 8;
    guest_spawn(&g);
    guest_sleep_ms(30);
    ktime_t t0 = ktime_now();
    P->interrupt(g.ctx);
    guest_join(&g);
    CHECK(g.ev.kind == PEV_DEAD && ktime_now() - t0 > 1000000000);
    P->aspace_free(g.as);
}

// A stub that wants keys and nothing else gets none when it should answer, and is killed for insisting.
SYSTRAP_TEST(seeds_without_end)
{
    static_assert(STUB_EV_SEED == 8 && SLOT_EVENT == 1 && offsetof(struct slot, event) == 4);
    struct guest g = {.keep = true}, by = {};
    hostile_new(&by, h_gadget);
    hostile_new(&g, h_masked);
    struct stub_ucontext uc = {.uc_flags = 6, .rip = g.r.rip + (uint64_t)(h_seeds - h_masked),
                               .rdi = st_slot_va(0), .rsp = STACK + 0x8000, .rflags = 0x202,
                               .cs = 0x33, .ss = 0x2b, .sigmask = ~0ull};
    CHECK(P->write_mem(g.as, UADDR(DATA + 8), &uc, sizeof(uc)) == sizeof(uc));
    g.r.rsp = DATA + 8;
    guest_spawn(&g);
    while (!__atomic_load_n(&g.done, __ATOMIC_SEQ_CST)) { // it may not have come that far
        guest_sleep_ms(20);
        P->interrupt(g.ctx);
    }
    guest_join(&g);
    CHECK(g.ev.kind == PEV_DEAD);
    P->aspace_free(g.as);
    CHECK(hijack(&by, __NR_sched_yield, 0, 0, 0, 0, 0, 0) == 0);
    guest_free(&by);
}

// Threads that overwrite their own space's slots at random while others make calls, fork and map.
// Whatever happens to them, the Sentry (this process, with its checks) and a bystander live.
static bool call_fork_and_map(struct guest *g)
{
    struct guest f = {};
    if (g->calls % 8 == 0 && P->aspace_fork(g->ctx, &f.as, &f.ctx) == 0)
        guest_free(&f);
    return P->map(g->ctx, 0x10000000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != -ESRCH;
}
SYSTRAP_TEST(scribbled_slots)
{
    struct guest by = {};
    hostile_new(&by, h_gadget);
    for (int round = 0; round < 40; round++) {
        struct guest g = {.call = call_fork_and_map}, t[2] = {};
        hostile_new(&g, h_calls);
        for (int i = 0; i < 2; i++) {
            CHECK(!P->context_new(g.ctx, &t[i].ctx));
            guest_regs(&t[i].r, h_start, i ? h_calls : h_scribble);
        }
        t[0].r.r13 = (uint64_t)round * 77 + 1; // over the leader's mailbox; over all three slots
        t[0].r.rdi = st.slots;
        t[0].r.rsi = round % 2 ? 512 : 3 * SLOT_SIZE;
        guest_spawn(&t[0]);
        guest_spawn(&t[1]);
        guest_spawn(&g);
        guest_sleep_ms(20);
        st_kill(st_as(g.as), nullptr);
        for (int i = 0; i < 2; i++)
            guest_join(&t[i]);
        guest_join(&g);
        P->aspace_free(g.as);
        CHECK(hijack(&by, __NR_sched_yield, 0, 0, 0, 0, 0, 0) == 0);
    }
    guest_free(&by);
}

SYSTRAP_TEST(pid_claims)
{
    struct guest a = {};
    struct st_aspace *as;
    int sock, memfd;
    hostile_new(&a, h_gadget);
    CHECK(!st_aspace_alloc(1, &as, &sock, &memfd));
    int64_t other = P->host_pid(a.as);
    int64_t stranger = host_call(__NR_clone, SIGCHLD, 0, 0, 0, 0); // a child of ours, but no stub
    if (stranger == 0)
        for (;;)
            host_call(__NR_sched_yield);
    const int64_t lies[] = {st.self, 0, 1, -1, other, INT64_MAX, 1ll << 32 | other, 999999};
    for (size_t i = 0; i < ARRAY_LEN(lies); i++)
        CHECK(st_claim(as, lies[i]) == -ESRCH);
    // It passes for ours until its slots are asked for: it has none, is not signalled, is let go.
    struct st_context *c;
    CHECK(!st_context_alloc(as, &c));
    WRITE_SHARED(c->slot->event, (uint32_t)STUB_EV_BORN);
    as->first = c;
    CHECK(st_claim(as, stranger) == 0 && st_prove(as) == -ESRCH && as->pid == 0);
    CHECK(as->claimed == 0 && st_dead(as) && host_call(__NR_kill, stranger, 0) == 0);
    CHECK(host_call(__NR_kill, stranger, SIGKILL) == 0);
    siginfo_t si;
    CHECK(host_call(__NR_waitid, P_PID, stranger, &si, WEXITED | WNOWAIT | __WALL, 0) == 0);
    CHECK(st_claim(as, stranger) == -EAGAIN); // dead: reaped, not taken
    CHECK(st_claim(as, stranger) == -ESRCH);
    host_call(__NR_close, sock);
    host_call(__NR_close, memfd);
    st_aspace_destroy(as);
    guest_free(&a);
}

// --- made together, made in advance ----------------------------------------------------------------
static int file_of(const char *what, uint64_t mark)
{
    int fd = (int)host_call(__NR_memfd_create, what, MFD_CLOEXEC);
    CHECK(fd >= 0 && !host_call(__NR_ftruncate, fd, 0x4000));
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t v = mark + i;
        CHECK(host_call(__NR_pwrite64, fd, &v, sizeof(v), i * 0x1000) == sizeof(v));
    }
    return fd;
}

SYSTRAP_TEST(batch)
{
    constexpr int RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS;
    struct aspace *as;
    struct pcontext *ctx;
    int fd[2] = {file_of("a", 1000), file_of("b", 2000)};
    CHECK(!P->aspace_new(nullptr, &as, &ctx));
    P->batch(ctx);
    // More than fit into one list, descriptors that change and come again, copies in between.
    for (uint64_t i = 0; i < 70; i++) {
        uint64_t at = DATA + i * 0x10000, v = i * 3 + 1;
        CHECK(!P->map(ctx, at, 0x1000, RW, ANON, -1, 0));
        CHECK(P->write_mem(as, UADDR(at + i), &v, sizeof(v)) == sizeof(v));
        CHECK(!P->map(ctx, at + 0x1000, 0x1000, PROT_READ, MAP_PRIVATE, fd[i / 3 % 2], i % 4 * 0x1000));
    }
    CHECK(!P->settle(ctx));
    for (uint64_t i = 0; i < 70; i++) {
        uint64_t at = DATA + i * 0x10000, v = 0, w = 0;
        CHECK(P->read_mem(as, &v, UADDR(at + i), sizeof(v)) == sizeof(v) && v == i * 3 + 1);
        CHECK(P->read_mem(as, &w, UADDR(at + 0x1000), sizeof(w)) == sizeof(w));
        CHECK(w == (i / 3 % 2 ? 2000 : 1000) + i % 4);
    }
    CHECK(!P->settle(ctx) && !P->map(ctx, TEXT, 0x1000, RW, ANON, -1, 0)); // as ever from here on
    P->context_free(ctx);
    P->aspace_free(as);
    // What the host refuses is told at the end, and by what comes after it in another list.
    int bell = (int)host_call(__NR_eventfd2, 0, 0);
    for (int k = 0; k < 3; k++) {
        uint64_t v = 0;
        CHECK(!P->aspace_new(nullptr, &as, &ctx));
        P->batch(ctx);
        CHECK(!P->map(ctx, DATA, 0x1000, RW, ANON, -1, 0));
        if (k == 0)
            CHECK(!P->map(ctx, TEXT, 0x1000, PROT_READ, MAP_PRIVATE, bell, 0));
        else
            CHECK(P->write_mem(as, UADDR(STACK), &v, sizeof(v)) == sizeof(v));
        if (k == 2)
            CHECK(P->read_mem(as, &v, UADDR(DATA), sizeof(v)) < 0 &&
                  P->map(ctx, TEXT, 0x1000, RW, ANON, -1, 0) == -EFAULT);
        CHECK(P->settle(ctx) == (k == 0 ? -ENODEV : -EFAULT));
        P->context_free(ctx);
        P->aspace_free(as);
    }
    host_call(__NR_close, bell);
    host_call(__NR_close, fd[0]);
    host_call(__NR_close, fd[1]);
}

SYSTRAP_TEST(spare_spaces)
{
    struct st_aspace *a, *b;
    int sock[2];
    CHECK(!st_space_take(0, true, &a, &sock[0]));
    (void)st_space_refill();
    CHECK(!st_space_refill()); // one is enough
    CHECK(!st_space_take(1, true, &b, &sock[1]));
    CHECK(a != b && a->nonce != b->nonce && a->slots != b->slots && a->pub != b->pub);
    CHECK(a->parity == 0 && b->parity == 1 && a->ctl != b->ctl && a->bell != b->bell);
    CHECK(!b->claimed && !b->pid && b->polled && list_empty(&b->ctxs));
    for (size_t i = 0; i < 4 * SLOT_SIZE; i++)
        CHECK(b->slots[i] == 0);
    for (size_t i = 0; i < STUB_PUB_SIZE; i++)
        CHECK(((uint8_t *)b->pub)[i] == 0);
    host_call(__NR_close, sock[0]);
    host_call(__NR_close, sock[1]);
    st_aspace_destroy(a);
    st_aspace_destroy(b);
}
