// SPDX-License-Identifier: Apache-2.0
// Start of the platform, single-threaded and before lockdown, and the making of fresh address spaces:
// each is forked from the master zygote by that process's own stub thread, and one is always kept
// ready.
#include "abi/errno.h"
#include "base/log.h"
#include "host/raw.h"
#include "platform/systrap/systrap.h"
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

static struct {
    struct mutex lock;
    struct st_aspace *as;      // [C] the master zygote
    struct st_context *ctx;    // [lock]
    struct st_aspace *next;    // [lock] being born; null: none
    struct st_context *next_ctx;
    bool refill;               // [A] next is to be made
} zyg;

static int zygote_born(const struct zygote_report *report)
{
    struct slot *s = zyg.ctx->slot;
    for (int i = 0; i < 50000; i++) { // 5 s
        uint32_t state = __atomic_load_n(&s->state, __ATOMIC_ACQUIRE);
        if (state == SLOT_EVENT || state == SLOT_SLEEP)
            break;
        siginfo_t si = {};
        host_call(__NR_waitid, P_PID, zyg.as->claimed, &si, WNOHANG | WNOWAIT | WEXITED | __WALL, 0);
        if (si.si_pid) {
            zygote_log_failure(report);
            return -EIO;
        }
        struct timespec ts = {0, 100000};
        host_call(__NR_nanosleep, &ts, 0);
    }
    if (READ_SHARED(s->event) != STUB_EV_BORN)
        return -EIO;
    zygote_adopt(report);
    int err = st_prove(zyg.as);
    if (err == -EPERM)
        log_error("systrap: the host does not let us read our own stubs' memory "
                  "(process_vm_readv); see kernel.yama.ptrace_scope");
    return err;
}

// The zygote's stub begins to make the next process; nobody waits for it here.
static int spare_start(void)
{
    int sock;
    int err = st_space_take(!zyg.as->parity, zyg.as->polled, &zyg.next, &sock);
    if (err)
        return err;
    err = st_context_alloc(zyg.next, &zyg.next_ctx);
    if (!err)
        err = st_send_fd(zyg.as, sock);
    host_call(__NR_close, sock);
    if (err) {
        st_aspace_destroy(zyg.next);
        zyg.next = nullptr;
        return err;
    }
    st_frame_prepare(zyg.next_ctx, nullptr);
    __atomic_store_n(&zyg.next_ctx->slot->state, SLOT_STUB, __ATOMIC_RELEASE);
    struct stub_work w = {.op = WORK_FORK,
                          .a = {STUB_CTL_FD(zyg.next->parity), STUB_BELL_FD(zyg.next->parity)}};
    st_work_start(zyg.ctx, &w, 1);
    return 0;
}

static int spare_finish(void)
{
    struct stub_work w;
    int err = zyg.as->polled ? 0 : st_aspace_watch(zyg.as);
    if (!err && !zyg.next->polled) // the first one was made before there was anything to watch it
        err = st_aspace_watch(zyg.next);
    if (!err)
        err = st_work_finish(zyg.ctx, &w, 1);
    if (!err && w.ret < 0)
        err = w.ret == -EAGAIN || w.ret == -ENOMEM ? (int)w.ret : -ESRCH;
    if (!err)
        err = st_claim(zyg.next, w.ret);
    if (err)
        return err;
    zyg.next_ctx->tid = zyg.next->claimed;
    zyg.next->first = zyg.next_ctx;
    return 0;
}

int st_spawn(struct aspace **as, struct pcontext **ctx)
{
    mutex_lock(&zyg.lock);
    int err = zyg.next ? 0 : spare_start();
    if (!err)
        err = spare_finish();
    if (!err) {
        *as = &zyg.next->base;
        *ctx = &zyg.next_ctx->base;
    } else if (zyg.next) {
        st_aspace_destroy(zyg.next);
    }
    zyg.next = nullptr;
    mutex_unlock(&zyg.lock);
    WRITE_SHARED(zyg.refill, true);
    __atomic_store_n(&st_chores_due, true, __ATOMIC_SEQ_CST);
    return err;
}

// When the program that has taken the last one runs.
void st_spawn_refill(void)
{
    if (!READ_SHARED(zyg.refill) || !mutex_trylock(&zyg.lock))
        return;
    WRITE_SHARED(zyg.refill, false);
    if (!zyg.next && spare_start())
        log_debug("systrap: no spare stub process"); // the next one to need it tries again
    mutex_unlock(&zyg.lock);
    st_space_refill();
}

// The stub's fork of us, in which the zygote writes its report.
static int zygote_start(const struct platform_config *cfg)
{
    struct zygote_plan plan = {.cfg = cfg};
    int sock, memfd;
    int err = st_aspace_alloc(0, &zyg.as, &sock, &memfd);
    if (!err)
        err = st_context_alloc(zyg.as, &zyg.ctx);
    if (!err)
        err = st_send_fd(zyg.as, memfd);
    if (err)
        return err;
    plan.sock = sock;
    plan.bell = zyg.as->bell;
    plan.report = (struct zygote_report *)((uint8_t *)zyg.ctx->slot + SLOT_DATA_OFF);
    st_frame_prepare(zyg.ctx, nullptr);
    __atomic_store_n(&zyg.ctx->slot->state, SLOT_STUB, __ATOMIC_RELEASE);
    long pid = host_call(__NR_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        zygote_become(&plan);
    host_call(__NR_close, sock);
    host_call(__NR_close, memfd);
    zyg.as->first = zyg.ctx;
    err = pid < 0 ? (int)pid : st_claim(zyg.as, pid);
    if (!err)
        err = zygote_born(plan.report);
    zyg.ctx->tid = (int)pid;
    return err;
}

int st_init(const struct platform_config *cfg)
{
    if (!(getauxval(AT_HWCAP2) & 2)) {
        log_error("systrap needs the FSGSBASE instructions (Linux 5.9 or later on a CPU of 2012 or "
                  "later, without nofsgsbase)");
        return -ENOTSUP;
    }
    st.patching = !cfg->no_patching;
    mutex_init(&zyg.lock, RANK_PLATFORM);
    int err = zygote_prepare(cfg);
    if (!err)
        err = zygote_start(cfg);
    return err ? err : spare_start();
}
