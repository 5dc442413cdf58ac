// SPDX-License-Identifier: Apache-2.0
// Start of the platform, single-threaded and before lockdown, and the making of fresh address spaces:
// each is forked from the master zygote, or from a container's own, by that process's own stub thread,
// and one is always kept ready.
#include "abi/errno.h"
#include "base/log.h"
#include "base/slab.h"
#include "host/raw.h"
#include "platform/systrap/systrap.h"
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

struct pzygote {
    struct mutex lock;
    struct st_aspace *as;      // [C]
    struct st_context *ctx;    // [lock]
    struct st_aspace *next;    // [lock] being born; null: none
    struct st_context *next_ctx;
    bool refill;               // [A] next is to be made
};
static struct pzygote master;
SLAB_DEFINE(zygote_slab, struct pzygote);

static int zygote_born(const struct zygote_report *report)
{
    struct slot *s = master.ctx->slot;
    for (int i = 0; i < 50000; i++) { // 5 s
        uint32_t state = __atomic_load_n(&s->state, __ATOMIC_ACQUIRE);
        if (state == SLOT_EVENT || state == SLOT_SLEEP)
            break;
        siginfo_t si = {};
        host_call(__NR_waitid, P_PID, master.as->claimed, &si, WNOHANG | WNOWAIT | WEXITED | __WALL, 0);
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
    int err = st_prove(master.as);
    if (err == -EPERM)
        log_error("systrap: the host does not let us read our own stubs' memory "
                  "(process_vm_readv); see kernel.yama.ptrace_scope");
    return err;
}

// The zygote's stub begins to make the next process; nobody waits for it here.
static int spare_start(struct pzygote *z)
{
    int sock;
    int err = st_space_take(!z->as->parity, z->as->polled, &z->next, &sock);
    if (err)
        return err;
    err = st_context_alloc(z->next, &z->next_ctx);
    if (!err)
        err = st_send_fd(z->as, sock);
    host_call(__NR_close, sock);
    if (err) {
        st_aspace_destroy(z->next);
        z->next = nullptr;
        return err;
    }
    st_frame_prepare(z->next_ctx, nullptr);
    __atomic_store_n(&z->next_ctx->slot->state, SLOT_STUB, __ATOMIC_RELEASE);
    struct stub_work w = {.op = WORK_FORK,
                          .a = {STUB_CTL_FD(z->next->parity), STUB_BELL_FD(z->next->parity)}};
    st_work_start(z->ctx, &w, 1);
    WRITE_SHARED(z->ctx->slot->worker_cpu, ~0u); // nothing to spin for afterwards
    return 0;
}

static int spare_finish(struct pzygote *z)
{
    struct stub_work w;
    int err = z->as->polled ? 0 : st_aspace_watch(z->as);
    if (!err && !z->next->polled) // the first one was made before there was anything to watch it
        err = st_aspace_watch(z->next);
    if (!err)
        err = st_work_finish(z->ctx, &w, 1);
    if (!err && w.ret < 0)
        err = w.ret == -EAGAIN || w.ret == -ENOMEM ? (int)w.ret : -ESRCH;
    if (!err)
        err = st_claim(z->next, w.ret);
    if (err)
        return err;
    z->next_ctx->tid = z->next->claimed;
    z->next->first = z->next_ctx;
    return 0;
}

int st_spawn(struct pzygote *z, struct aspace **as, struct pcontext **ctx)
{
    z = z ? z : &master;
    mutex_lock(&z->lock);
    int err = z->next ? 0 : spare_start(z);
    if (!err)
        err = spare_finish(z);
    if (!err) {
        *as = &z->next->base;
        *ctx = &z->next_ctx->base;
    } else if (z->next) {
        st_aspace_destroy(z->next);
    }
    z->next = nullptr;
    if (z != &master && !err && spare_start(z)) // the master's is a chore
        log_debug("systrap: no spare stub process"); // the next one to need it tries again
    mutex_unlock(&z->lock);
    WRITE_SHARED(master.refill, true);
    __atomic_store_n(&st_chores_due, true, __ATOMIC_SEQ_CST);
    return err;
}

// When the program that has taken the last one runs.
bool st_spawn_refill(void)
{
    if (!READ_SHARED(master.refill) || !mutex_trylock(&master.lock))
        return false;
    WRITE_SHARED(master.refill, false);
    if (!master.next && spare_start(&master))
        log_debug("systrap: no spare stub process"); // the next one to need it tries again
    mutex_unlock(&master.lock);
    return true;
}

// A fresh space that stays as it is. No spare yet: whoever wants it does something to it first.
int st_zygote_new(struct pzygote **out, int *host_pid)
{
    struct pzygote *z = slab_alloc(&zygote_slab);
    struct aspace *as;
    struct pcontext *ctx;
    if (!z)
        return -ENOMEM;
    int err = st_spawn(nullptr, &as, &ctx);
    if (err) {
        slab_free(&zygote_slab, z);
        return err;
    }
    mutex_init(&z->lock, RANK_PLATFORM);
    z->as = st_as(as);
    z->ctx = st_ctx(ctx);
    err = st_prove(z->as);
    if (err) {
        st_zygote_free(z);
        return err;
    }
    *host_pid = z->as->pid;
    *out = z;
    return 0;
}

void st_zygote_free(struct pzygote *z)
{
    // Nobody else has z any more, so the lock is not needed. One that is being born is waited for:
    // it would be nobody's.
    int err = z->next ? spare_finish(z) : 0;
    if (err)
        log_debug("systrap: a spare stub process was not born: %d", err);
    if (z->next)
        st_aspace_destroy(z->next);
    st_aspace_destroy(z->as);
    slab_free(&zygote_slab, z);
}

// The stub's fork of us, in which the zygote writes its report.
static int zygote_start(const struct platform_config *cfg)
{
    struct zygote_plan plan = {.cfg = cfg};
    int sock, memfd;
    int err = st_aspace_alloc(0, &master.as, &sock, &memfd);
    if (!err)
        err = st_context_alloc(master.as, &master.ctx);
    if (!err)
        err = st_send_fd(master.as, memfd);
    if (err)
        return err;
    plan.sock = sock;
    plan.bell = master.as->bell;
    plan.report = (struct zygote_report *)((uint8_t *)master.ctx->slot + SLOT_DATA_OFF);
    st_frame_prepare(master.ctx, nullptr);
    __atomic_store_n(&master.ctx->slot->state, SLOT_STUB, __ATOMIC_RELEASE);
    long pid = host_call(__NR_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        zygote_become(&plan);
    host_call(__NR_close, sock);
    host_call(__NR_close, memfd);
    master.as->first = master.ctx;
    err = pid < 0 ? (int)pid : st_claim(master.as, pid);
    if (!err)
        err = zygote_born(plan.report);
    master.ctx->tid = (int)pid;
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
    mutex_init(&master.lock, RANK_PLATFORM);
    int err = zygote_prepare(cfg);
    if (!err)
        err = zygote_start(cfg);
    return err ? err : spare_start(&master);
}
