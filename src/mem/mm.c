// SPDX-License-Identifier: Apache-2.0
// An address space's life, its accounting and the edits of its tree that the calls are made of.
#include "mem/mm.h"
#include "mem/mm_int.h"
#include "abi/errno.h"
#include "base/slab.h"
#include <stdckdint.h>
#include <string.h>

SLAB_DEFINE(mm_slab, struct mm);
SLAB_DEFINE(vma_tree_slab, struct vma_tree);

static const struct platform_ops *platform; // set once at start
static uint64_t total_pages = UINT64_MAX >> PAGE_SHIFT;
static int (*rss_source)(int host_pid, uint64_t *resident, uint64_t *shared);

void mm_use_platform(const struct platform_ops *ops)
{
    platform = ops;
}

const struct platform_ops *mm_platform(void)
{
    return platform;
}

void mm_use_file_ops(const struct mm_file_ops *ops)
{
    vma_use_file_ops(ops);
}

void mm_set_total_memory(uint64_t bytes)
{
    total_pages = bytes >> PAGE_SHIFT;
}

void mm_set_rss_source(int (*fn)(int host_pid, uint64_t *resident, uint64_t *shared))
{
    rss_source = fn;
}

bool mm_rss(const struct mm *mm, uint64_t *resident, uint64_t *shared)
{
    return rss_source && rss_source(mm_ops(mm)->host_pid(mm->as), resident, shared) == 0;
}

NO_LOCK_ANALYSIS void mm_unlock(struct mm *mm)
{
    struct vma *dead = mm->dead;
    mm->dead = nullptr;
    mutex_unlock(&mm->lock);
    while (dead) {
        struct vma *next = dead->next;
        vma_free(dead);
        dead = next;
    }
}

static struct mm *mm_alloc(void)
{
    struct mm *mm = slab_alloc(&mm_slab);
    if (!mm)
        return nullptr;
    mm->vmas = slab_alloc(&vma_tree_slab);
    if (!mm->vmas) {
        slab_free(&mm_slab, mm);
        return nullptr;
    }
    ref_init(&mm->ref);
    mutex_init(&mm->lock, RANK_MM);
    mm->dumpable = true;
    mm->lim = (struct mm_limits){UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    return mm;
}

void (*mm_windows_free)(struct mm *mm);
void (*mm_umask_free)(struct mm *mm);

static void mm_free(struct mm *mm)
{
    for (struct vma *v = mm->vmas->first, *next; v; v = next) {
        next = v->next;
        vma_free(v);
    }
    if (mm->exe_ops && mm->exe_file)
        mm->exe_ops->put(mm->exe_file);
    memobj_put(mm->exe);
    mm_patch_free(mm);
    slab_free(&vma_tree_slab, mm->vmas);
    slab_free(&mm_slab, mm);
}

// [vvar] and [vdso] are the host's own, mapped in every stub at the same place.
static int add_vdso(struct mm *mm)
{
    uint64_t vdso = 0, start = 0, end = 0;
    mm_ops(mm)->vdso(&vdso, &start, &end);
    if (!vdso)
        return 0;
    mm->vdso_start = start;
    mm->vdso_end = end;
    struct vma_pool pool = {};
    int err = vma_pool_fill(&pool, start < vdso ? 2 : 1);
    if (err)
        return err;
    if (start < vdso) {
        struct vma *v = vma_pool_take(&pool);
        v->start = start;
        v->end = vdso;
        v->prot = PROT_READ;
        v->flags = VMA_SPECIAL | VMA_DONTDUMP;
        v->special = "[vvar]";
        mm_insert(mm, v);
    }
    struct vma *v = vma_pool_take(&pool);
    v->start = vdso;
    v->end = end;
    v->prot = PROT_READ | PROT_EXEC;
    v->flags = VMA_SPECIAL | VMA_MAYWRITE | VMA_MAYEXEC;
    v->special = "[vdso]";
    mm_insert(mm, v);
    return 0;
}

int mm_new(struct pzygote *from, struct mm **out, struct pcontext **ctx)
{
    struct mm *mm = mm_alloc();
    if (!mm)
        return -ENOMEM;
    int err = platform->aspace_new(from, &mm->as, ctx);
    if (err) {
        mm_free(mm);
        return err;
    }
    mm->task_size = platform->task_size();
    mm->mmap_base = mm->task_size;
    err = add_vdso(mm);
    if (err) {
        platform->context_free(*ctx);
        mm_put(mm);
        return err;
    }
    *out = mm;
    return 0;
}

static int copy_tree(struct mm *to, const struct mm *from)
{
    for (const struct vma *v = from->vmas->first; v; v = v->next) {
        if (v->flags & VMA_DONTFORK)
            continue;
        struct vma_pool pool = {};
        int err = vma_pool_fill(&pool, 1);
        if (err)
            return err;
        struct vma *c = vma_pool_take(&pool);
        vma_copy_kind(c, v);
        c->start = v->start;
        c->end = v->end;
        c->flags &= ~(uint32_t)(VMA_LOCKED | VMA_LOCKONFAULT);
        vma_insert(to->vmas, c);
        mm_account(to, c, true);
    }
    return 0;
}

static void copy_fields(struct mm *c, const struct mm *mm)
{
    c->task_size = mm->task_size;
    c->vdso_start = mm->vdso_start;
    c->vdso_end = mm->vdso_end;
    c->mmap_base = mm->mmap_base;
    c->legacy_layout = mm->legacy_layout;
    c->brk_start = mm->brk_start;
    c->brk = mm->brk;
    c->start_code = mm->start_code;
    c->end_code = mm->end_code;
    c->start_data = mm->start_data;
    c->end_data = mm->end_data;
    c->start_stack = mm->start_stack;
    c->arg_start = mm->arg_start;
    c->arg_end = mm->arg_end;
    c->env_start = mm->env_start;
    c->env_end = mm->env_end;
    memcpy(c->auxv, mm->auxv, sizeof(c->auxv));
    c->auxv_len = mm->auxv_len;
    c->reserve_end = mm->reserve_end;
    c->dumpable = mm->dumpable;
    c->membarrier_state = READ_SHARED(mm->membarrier_state);
    c->lim = mm->lim;
    if (mm->exe)
        c->exe = memobj_get(mm->exe);
    if (mm->exe_file && mm->exe_ops) {
        c->exe_ops = mm->exe_ops;
        c->exe_file = mm->exe_file;
        c->exe_ops->get(c->exe_file);
    }
}

int mm_fork(struct mm *mm, struct pcontext *caller, struct mm **child, struct pcontext **ctx)
{
    struct mm *c = mm_alloc();
    if (!c)
        return -ENOMEM;
    mutex_lock(&mm->lock);
    mm_settle_all(mm, caller);
    copy_fields(c, mm);
    int err = copy_tree(c, mm);
    if (!err)
        err = mm_patch_fork(c, mm);
    if (!err)
        err = mm_ops(mm)->aspace_fork(caller, &c->as, ctx);
    mutex_unlock(&mm->lock);
    if (err) {
        mm_free(c);
        return err;
    }
    *child = c;
    return 0;
}

struct mm *mm_get(struct mm *mm)
{
    ref_get(&mm->ref);
    return mm;
}

void mm_put(struct mm *mm)
{
    if (!mm || !ref_put(&mm->ref))
        return;
    if (mm->windows)
        mm_windows_free(mm);
    if (READ_SHARED(mm->umask))
        mm_umask_free(mm);
    mm_ops(mm)->aspace_free(mm->as);
    mm_free(mm);
}

// --- accounting ----------------------------------------------------------------------------------

bool mm_is_data(uint32_t flags, int prot)
{
    return (prot & PROT_WRITE) && !(flags & (VMA_SHARED | VMA_GROWSDOWN));
}

void mm_account(struct mm *mm, const struct vma *v, bool add)
{
    if (v->flags & (VMA_RESERVE | VMA_SPECIAL))
        return;
    uint64_t n = (v->end - v->start) >> PAGE_SHIFT;
    if (!add)
        n = -n;
    mm->total_vm += n;
    if (v->flags & VMA_GROWSDOWN)
        mm->stack_vm += n;
    else if (mm_is_data(v->flags, v->prot))
        mm->data_vm += n;
    if (v->flags & VMA_LOCKED)
        mm->locked_vm += n;
}

bool mm_may_expand(const struct mm *mm, uint64_t pages, bool data, const struct mm_limits *lim)
{
    uint64_t sum;
    if (ckd_add(&sum, mm->total_vm, pages) || sum > lim->as >> PAGE_SHIFT)
        return false;
    return !data || mm->data_vm + pages <= lim->data >> PAGE_SHIFT;
}

// The "heuristic" policy: only what could never be backed is refused.
bool mm_overcommit_ok(uint64_t pages)
{
    return pages <= total_pages;
}

// --- edits ---------------------------------------------------------------------------------------

void mm_insert(struct mm *mm, struct vma *v)
{
    mm_account(mm, v, true);
    vma_insert(mm->vmas, v);
    vma_merge(mm->vmas, v);
}

int mm_reserve_splits(struct mm *mm, uint64_t start, uint64_t end, struct vma_pool *p)
{
    int n = splits_at(mm->vmas, start) + splits_at(mm->vmas, end);
    if (n && mm->vmas->count + (size_t)n > (size_t)MM_MAX_MAP_COUNT + 1)
        return -ENOMEM;
    return vma_pool_fill(p, n);
}

// The first VMA at or after start, when the cuts at both ends have been made.
static struct vma *cut_range(struct mm *mm, uint64_t start, uint64_t end, struct vma_pool *p)
{
    struct vma *v = vma_find(mm->vmas, start);
    if (v && v->start < start)
        v = vma_split(mm->vmas, v, start, p);
    struct vma *last = vma_find(mm->vmas, end);
    if (last && last->start < end)
        vma_split(mm->vmas, last, end, p);
    return v;
}

void mm_clear_range(struct mm *mm, uint64_t start, uint64_t end, struct vma_pool *p)
{
    struct vma *v = cut_range(mm, start, end, p);
    while (v && v->start < end) {
        struct vma *next = v->next;
        mm_account(mm, v, false);
        vma_remove(mm->vmas, v);
        v->next = mm->dead;
        mm->dead = v;
        v = next;
    }
}

void mm_edit_range(struct mm *mm, uint64_t start, uint64_t end, struct vma_pool *p,
                   void (*edit)(struct vma *v, void *arg), void *arg)
{
    struct vma *v = cut_range(mm, start, end, p);
    for (; v && v->start < end; v = v->next) {
        mm_account(mm, v, false);
        edit(v, arg);
        mm_account(mm, v, true);
    }
    v = vma_find(mm->vmas, start ? start - 1 : 0);
    while (v && v->start <= end) {
        v = vma_merge(mm->vmas, v);
        v = v->next;
    }
}

void mm_check_reserve(struct mm *mm, struct pcontext *ctx)
{
    if (!mm->reserve_end)
        return;
    struct vma *r = vma_find(mm->vmas, mm->reserve_end - 1);
    if (!r || !(r->flags & VMA_RESERVE) || r->end != mm->reserve_end) {
        mm->reserve_end = 0;
        return;
    }
    if (r->next && r->next->start == r->end && (r->next->flags & VMA_GROWSDOWN))
        return;
    if (mm_ops(mm)->unmap(ctx, r->start, r->end - r->start))
        return; // still mapped, still marked: nobody is given the place
    mm->reserve_end = 0;
    vma_remove(mm->vmas, r);
    vma_free(r);
}

bool mm_range_mapped(struct mm *mm, uint64_t addr, uint64_t len)
{
    uint64_t end;
    if (ckd_add(&end, addr, len))
        return false;
    mutex_lock(&mm->lock);
    struct vma *v = vma_find_visible(mm->vmas, addr);
    while (v && v->start <= addr && v->end < end) {
        addr = v->end;
        v = vma_next_visible(v);
    }
    bool ok = v && v->start <= addr && v->end >= end;
    mutex_unlock(&mm->lock);
    return ok;
}

bool mm_range_free(struct mm *mm, uint64_t addr, uint64_t len)
{
    uint64_t end;
    if (ckd_add(&end, addr, len))
        return false;
    mutex_lock(&mm->lock);
    bool ok = !vma_intersect(mm->vmas, addr, end);
    mutex_unlock(&mm->lock);
    return ok;
}

struct memobj *mm_shared_object(struct mm *mm, uint64_t addr, uint64_t *off)
{
    struct memobj *o = nullptr;
    mutex_lock(&mm->lock);
    struct vma *v = vma_find(mm->vmas, addr);
    if (v && v->start <= addr && (v->flags & VMA_SHARED)) {
        o = memobj_get(v->obj);
        *off = v->off + (addr - v->start);
    }
    mutex_unlock(&mm->lock);
    return o;
}
