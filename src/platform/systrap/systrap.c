// SPDX-License-Identifier: Apache-2.0
// The systrap platform's table of operations.
#include "platform/systrap/systrap.h"

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
    return st_as(as)->claimed;
}

const struct platform_ops systrap_ops = {
    .name = "systrap",
    .init = st_init,
    .task_size = task_size,
    .vdso = vdso,
    .aspace_new = st_spawn,
    .zygote_new = st_zygote_new,
    .zygote_free = st_zygote_free,
    .aspace_fork = st_fork,
    .context_new = st_context_new,
    .context_free = st_context_free,
    .aspace_free = st_aspace_free,
    .run = st_run,
    .interrupt = st_interrupt,
    .give_up = st_give_up,
    .fp_size = st_fp_size,
    .fp_get = st_fp_get,
    .fp_set = st_fp_set,
    .fp_reset = st_fp_reset,
    .cpu_time = st_cpu_time,
    .map = st_map,
    .unmap = st_unmap,
    .protect = st_protect,
    .remap = st_remap,
    .advise = st_advise,
    .defer = st_defer,
    .settle = st_settle,
    .deferred = st_deferred,
    .await = st_await,
    .deferred_end = st_deferred_end,
    .batch = st_batch,
    .futex = st_futex,
    .read_mem = st_read_mem,
    .write_mem = st_write_mem,
    .copy_vec = st_copy_vec,
    .read_str = st_read_str,
    .map_window = st_map_window,
    .cmpxchg32 = st_cmpxchg32,
    .host_pid = host_pid,
    .patch = st_patch,
    .poke = st_poke,
    .drain = st_drain,
    .report = st_report,
};
