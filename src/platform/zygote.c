// SPDX-License-Identifier: Apache-2.0
// The first stub process: a fork of the Sentry, made before lockdown, that keeps the stub, its filter,
// its limits and nothing else. It never runs guest code; every other stub process comes from it.
#include "abi/errno.h"
#include "base/log.h"
#include "host/raw.h"
#include "host/seccomp.h"
#include "platform/internal.h"
#include "platform/marshal.h"
#include "stub_syms.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <ucontext.h>

#ifndef __NR_mseal
#define __NR_mseal 462
#endif
constexpr uint64_t STUB_LOW = STUB_GUEST_END, STUB_HIGH = 0x7ff000000000;
constexpr uint64_t USER_TOP = 0x7ffffffff000;
constexpr size_t FILTER_MAX = 1024;
constexpr int VDSO_PARTS = 4;
extern const uint8_t stub_blob[STUB_SIZE];

struct st_global st;
const struct marshal_row *marshal_rows;
struct part {
    uint64_t start, end;
};
static struct { // made by zygote_prepare
    struct part vdso[VDSO_PARTS]; // vvar and vDSO mappings, ascending
    int nvdso;
    uint64_t vdso_base;           // of the code, within them
    uint64_t clock_off;           // of clock_gettime in the code, 0: none
    uint64_t random_off;          // of getrandom
    struct sock_filter filter[FILTER_MAX];
    size_t nfilter;
} host;

// --- what this host looks like --------------------------------------------------------------------
static void learn_frame(int sig, siginfo_t *si, void *ucontext)
{
    const ucontext_t *uc = ucontext;
    const uint8_t *fp = (const uint8_t *)uc->uc_mcontext.fpregs;
    uint32_t magic, mask;
    memcpy(&magic, fp + 464, 4);
    if (magic != 0x46505853)
        return;
    memcpy(&st.fp_ext, fp + 468, 4);
    memcpy(&st.fp_features, fp + 472, 8);
    memcpy(&st.fp_xstate, fp + 480, 4);
    memcpy(&mask, fp + 28, 4);
    st.mxcsr_mask = mask ? mask : 0xffbf;
}

static int learn_fp(void)
{
    struct sigaction sa = {.sa_sigaction = learn_frame, .sa_flags = SA_SIGINFO}, old;
    if (sigaction(SIGUSR2, &sa, &old) || raise(SIGUSR2) || sigaction(SIGUSR2, &old, nullptr))
        return -EINVAL;
    if (st.fp_xstate < 576 || st.fp_ext != st.fp_xstate + 4 || st.fp_ext > 4096) {
        log_error("platform: FP state of %u bytes in signal frames is not supported", st.fp_ext);
        return -ENOTSUP;
    }
    st.boot_fp = (SLOT_SIZE - st.fp_ext) & ~63u;
    st.boot_uc = (st.boot_fp - 512) & ~63u;
    return 0;
}

static bool parse_hex(const char **p, uint64_t *v)
{
    const char *s = *p;
    *v = 0;
    for (; (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'f'); s++)
        *v = *v << 4 | (uint64_t)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
    bool ok = s != *p;
    *p = s;
    return ok;
}

static void vdso_line(const char *line)
{
    struct part part;
    bool code = strstr(line, "[vdso]");
    if ((!code && !strstr(line, "[vvar")) || host.nvdso == VDSO_PARTS)
        return;
    if (!parse_hex(&line, &part.start) || *line++ != '-' || !parse_hex(&line, &part.end))
        return;
    if (code)
        host.vdso_base = part.start;
    host.vdso[host.nvdso++] = part;
}

// The vDSO and its data, from /proc/self/maps. Without /proc guests have no vDSO.
static void find_vdso(int fd)
{
    char buf[4096], line[256];
    size_t len = 0;
    if (fd <= 0)
        fd = (int)host_call(__NR_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    for (long n; fd >= 0 && (n = host_call(__NR_read, fd, buf, sizeof(buf))) > 0;) {
        for (long i = 0; i < n; i++) {
            if (buf[i] == '\n') {
                line[len] = 0;
                vdso_line(line);
                len = 0;
            } else if (len < sizeof(line) - 1) {
                line[len++] = buf[i];
            }
        }
    }
    if (fd >= 0)
        host_call(__NR_close, fd);
    bool ok = host.vdso_base != 0;
    for (int i = 1; i < host.nvdso; i++)
        ok = ok && host.vdso[i].start == host.vdso[i - 1].end;
    if (ok && host.vdso[host.nvdso - 1].end - host.vdso[0].start <= STUB_VDSO_MAX)
        return;
    log_warn("platform: no usable vDSO found, guests do without");
    host.nvdso = 0;
    host.vdso_base = 0;
}

static void find_vdso_calls(void)
{
    if (!host.vdso_base)
        return;
    host.clock_off = vdso_symbol(host.vdso_base, "__vdso_clock_gettime");
    uint64_t random = vdso_symbol(host.vdso_base, "__vdso_getrandom");
    st.random_len = random ? vdso_random_state(host.vdso_base + random) : 0;
    host.random_off = st.random_len ? random : 0;
}

// A place that is free in us, and so in the zygote.
static int choose_base(uint64_t wish)
{
    for (int i = 0; i < 100; i++) {
        uint64_t r;
        if (host_call(__NR_getrandom, &r, sizeof(r), 0) != sizeof(r))
            return -EIO;
        uint64_t base = wish ? wish : STUB_LOW + PAGE_ALIGN_DOWN(r % (STUB_HIGH - STUB_LOW));
        long p = host_call(__NR_mmap, base, STUB_SPAN, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (p != (long)base)
            continue;
        host_call(__NR_munmap, base, STUB_SPAN);
        st.base = base;
        st.slots = base + STUB_SLOTS_OFF;
        return 0;
    }
    return -ENOMEM;
}

// --- in the zygote ---------------------------------------------------------------------------------
[[noreturn]] static void zygote_fail(struct zygote_plan *plan, int step, long err)
{
    plan->report->failed = (uint64_t)step << 32 | (uint32_t)-err;
    for (;;)
        host_call(__NR_exit_group, 1);
}
#define STEP(plan, n, call)                  \
    do {                                     \
        long step_r = (call);                \
        if (step_r < 0 && step_r >= -4095)   \
            zygote_fail((plan), (n), step_r); \
    } while (0)

static void zygote_identity(struct zygote_plan *plan)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2] = {};
    if (plan->cfg->gid && plan->cfg->gid != (int)host_call(__NR_getegid)) {
        STEP(plan, 10, host_call(__NR_setgroups, 0, 0));
        STEP(plan, 11, host_call(__NR_setresgid, plan->cfg->gid, plan->cfg->gid, plan->cfg->gid));
    }
    if (plan->cfg->uid && plan->cfg->uid != (int)host_call(__NR_geteuid))
        STEP(plan, 12, host_call(__NR_setresuid, plan->cfg->uid, plan->cfg->uid, plan->cfg->uid));
    STEP(plan, 13, host_call(__NR_capset, &h, d));
    STEP(plan, 14, host_call(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    // process_vm_readv by the Sentry needs it; changing ids has cleared it.
    STEP(plan, 15, host_call(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0));
    host_call(__NR_prctl, PR_SET_NAME, "nacre-stub", 0, 0, 0);
    host_call(__NR_setsid);
}

static void zygote_limits(struct zygote_plan *plan)
{
    static const struct {
        int what;
        uint64_t n;
    } limits[] = {{RLIMIT_NOFILE, 64},  {RLIMIT_MEMLOCK, 0},     {RLIMIT_MSGQUEUE, 0},
                  {RLIMIT_RTPRIO, 0},   {RLIMIT_SIGPENDING, 64}, {RLIMIT_CORE, 1}};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct rlimit64 r = {limits[i].n, limits[i].n}, now;
        if (!host_call(__NR_prlimit64, 0, limits[i].what, 0, &now) && now.rlim_max < r.rlim_max)
            r.rlim_cur = r.rlim_max = now.rlim_max;
        STEP(plan, 20 + (int)i, host_call(__NR_prlimit64, 0, limits[i].what, &r, 0));
    }
}

// What the C library registered with the kernel for this thread.
static void zygote_forget_libc(struct zygote_plan *plan)
{
    constexpr int unregister = 1;
    constexpr uint32_t sig = 0x53053053;
    if (__rseq_size) {
        char *rseq = (char *)__builtin_thread_pointer() + __rseq_offset;
        long err = host_call(__NR_rseq, rseq, 32, unregister, sig);
        for (size_t len = 64; err && len <= 1024; len += 32)
            err = host_call(__NR_rseq, rseq, len, unregister, sig);
        STEP(plan, 30, err);
    }
    STEP(plan, 31, host_call(__NR_set_robust_list, 0, 24));
    host_call(__NR_set_tid_address, 0);
    stack_t none = {.ss_flags = SS_DISABLE};
    host_call(__NR_sigaltstack, &none, 0);
}

static void zygote_signals(struct zygote_plan *plan)
{
    struct {
        uint64_t handler, flags, restorer, mask;
    } sa = {};
    constexpr uint64_t restorer = 0x04000000;
    static const int ours[] = {SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGILL, STUB_SIGNAL};
    static const int fatal[] = {SIGPIPE, SIGCHLD, SIGKILL, SIGSTOP};
    // A terminal's signals to the process group are for the Sentry.
    for (int sig = 1; sig <= 64; sig++) {
        sa.handler = (uint64_t)(uintptr_t)SIG_IGN;
        for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
            if (sig == fatal[i])
                sa.handler = (uint64_t)(uintptr_t)SIG_DFL;
        host_call(__NR_rt_sigaction, sig, &sa, 0, 8);
    }
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        sa.handler = st.base + (plan->traced ? OFF_stub_trap : OFF_stub_signal);
        sa.restorer = st.base + OFF_stub_restorer;
        sa.flags = SA_SIGINFO | SA_ONSTACK | restorer;
        if (ours[i] != STUB_SIGNAL)
            sa.flags |= SA_NODEFER;
        STEP(plan, 40, host_call(__NR_rt_sigaction, ours[i], &sa, 0, 8));
    }
    sa.mask = 0;
    host_call(__NR_rt_sigprocmask, SIG_SETMASK, &sa.mask, 0, 8);
}

// Away from where it lies in the Sentry, whose layout is no guest's business. Where the host has
// sealed it, it stays if it is out of the guest's way.
static struct part zygote_vdso(struct zygote_plan *plan)
{
    struct part p = {};
    if (!host.nvdso)
        return p;
    uint64_t start = host.vdso[0].start, end = host.vdso[host.nvdso - 1].end;
    uint64_t to = st.base + STUB_VDSO_OFF;
    for (int i = 0; i < host.nvdso; i++) {
        uint64_t at = host.vdso[i].start, len = host.vdso[i].end - at;
        long r = host_call(__NR_mremap, at, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
                           to + (at - start));
        if (r == (long)(to + (at - start)))
            continue;
        if (i > 0)
            zygote_fail(plan, 50, r);
        p = start >= STUB_LOW ? (struct part){start, end} : (struct part){};
        to = 0;
        break;
    }
    if (to)
        p = (struct part){to, to + (end - start)};
    plan->report->vdso_start = p.start;
    plan->report->vdso_end = p.end;
    return p;
}

// Without a sysmsg memfd: the slots are only signal stacks and scratch space.
static void zygote_private_slots(struct zygote_plan *plan)
{
    STEP(plan, 65, host_call(__NR_mmap, st.slots, (uint64_t)SLOT_SIZE * SLOT_COUNT,
                             PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0));
    stack_t ss = {.ss_sp = (void *)(st_slot_va(0) + SLOT_STACK_OFF), .ss_size = SLOT_STACK_SIZE};
    STEP(plan, 66, host_call(__NR_sigaltstack, &ss, 0));
}

static void zygote_map(struct zygote_plan *plan)
{
    constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    constexpr uint64_t rows = PAGE_ALIGN_UP(MARSHAL_ROWS * sizeof(struct marshal_row));
    uint64_t fork = st.base + STUB_FORK_OFF, text = PAGE_ALIGN_UP(STUB_SIZE);
    static_assert(OFF_stub_table == PAGE_ALIGN_UP(STUB_SIZE));
    STEP(plan, 60, host_call(__NR_mmap, st.base, text + rows, PROT_READ | PROT_WRITE, flags, -1, 0));
    STEP(plan, 61, host_call(__NR_mmap, fork, STUB_FORK_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0));
    memcpy((void *)st.base, stub_blob, STUB_SIZE);
    if (marshal_rows)
        memcpy((void *)(st.base + text), marshal_rows, MARSHAL_ROWS * sizeof(struct marshal_row));
    STEP(plan, 62, host_call(__NR_mprotect, st.base, text, PROT_READ | PROT_EXEC));
    STEP(plan, 63, host_call(__NR_mprotect, st.base + text, rows, PROT_READ));
    host_call(__NR_mseal, st.base, text + rows, 0); // where the host has it
    if (plan->traced)
        zygote_private_slots(plan);
    struct part vdso = zygote_vdso(plan), none = {USER_TOP, USER_TOP};
    struct part keep[4] = {{st.base, st.base + text + rows},
                           {fork, fork + STUB_FORK_SIZE},
                           plan->traced ? (struct part){st.slots, st.base + STUB_SPAN} : none,
                           vdso.end ? vdso : none};
    for (int i = 3; i > 0 && keep[i].start < keep[i - 1].start; i--) {
        struct part t = keep[i];
        keep[i] = keep[i - 1];
        keep[i - 1] = t;
    }
    struct fork_args *fa = (struct fork_args *)fork;
    fa->ctl_fd = STUB_CTL_FD(0);
    fa->bell_fd = STUB_BELL_FD(0);
    fa->old_ctl = fa->old_bell = ~0u;
    fa->traced = plan->traced;
    uint64_t at = 0;
    for (int i = 0; i < 4; i++) {
        fa->unmap[fa->nunmap].start = at;
        fa->unmap[fa->nunmap++].len = keep[i].start - at;
        at = keep[i].end;
    }
    fa->unmap[fa->nunmap].start = at;
    fa->unmap[fa->nunmap++].len = at < USER_TOP ? USER_TOP - at : 0;
}

// Exactly these, at the numbers of parity 0.
static void zygote_fds(struct zygote_plan *plan)
{
    int ctl = (int)host_call(__NR_fcntl, plan->sock, F_DUPFD_CLOEXEC, 4), bell = -1;
    STEP(plan, 70, ctl);
    if (plan->bell >= 0) {
        bell = (int)host_call(__NR_fcntl, plan->bell, F_DUPFD_CLOEXEC, 4);
        STEP(plan, 71, bell);
    }
    STEP(plan, 72, host_call(__NR_dup3, ctl, STUB_CTL_FD(0), O_CLOEXEC));
    STEP(plan, 73, host_call(__NR_close_range, STUB_CTL_FD(0) + 1, bell >= 0 ? 3 : ~0u, 0));
    if (bell >= 0) {
        STEP(plan, 74, host_call(__NR_dup3, bell, STUB_BELL_FD(0), O_CLOEXEC));
        STEP(plan, 75, host_call(__NR_close_range, STUB_BELL_FD(0) + 1, ~0u, 0));
    }
}

void zygote_become(struct zygote_plan *plan)
{
    zygote_forget_libc(plan);
    zygote_identity(plan);
    zygote_limits(plan);
    zygote_fds(plan);
    zygote_map(plan);
    zygote_signals(plan);
    STEP(plan, 80, seccomp_install(host.filter, host.nfilter, 0));
    // No host call from here on but by the stub.
    uint64_t sp = st.base + STUB_FORK_OFF + STUB_FORK_SIZE - 64;
    __asm__ volatile("mov %0, %%rsp\n\txor %%ebp, %%ebp\n\tcall *%1\n\tud2"
                     :
                     : "r"(sp), "r"(st.base + OFF_stub_child)
                     : "memory");
    __builtin_unreachable();
}

// --- in the Sentry ---------------------------------------------------------------------------------
int zygote_prepare(const struct platform_config *cfg)
{
    st.self = (int)host_call(__NR_getpid);
    st.task_size = STUB_LOW;
    int err = learn_fp();
    if (!err)
        err = choose_base(cfg->stub_base);
    if (err)
        return err;
    find_vdso(cfg->maps_fd);
    find_vdso_calls();
    st.no_answers = cfg->no_answers;
    int n = stub_filter_build(st.base, st.base + STUB_SIZE, host.filter, FILTER_MAX);
    if (n < 0)
        return n;
    host.nfilter = (size_t)n;
    return 0;
}

void zygote_adopt(const struct zygote_report *r)
{
    st.vdso_start = READ_SHARED(r->vdso_start);
    st.vdso_end = READ_SHARED(r->vdso_end);
    if (st.vdso_start)
        st.vdso = st.vdso_start + (host.vdso_base - host.vdso[0].start);
    if (st.vdso && host.clock_off)
        st.vdso_clock = st.vdso + host.clock_off;
    if (st.vdso && host.random_off)
        st.vdso_random = st.vdso + host.random_off;
}

void zygote_log_failure(const struct zygote_report *r)
{
    uint64_t failed = READ_SHARED(r->failed);
    log_error("platform: the first stub process failed at step %u: errno %u",
              (unsigned)(failed >> 32), (unsigned)failed);
}
