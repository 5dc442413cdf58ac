// SPDX-License-Identifier: Apache-2.0
// Patched system call sites of an address space: which text may be patched, where trampolines lie, what
// the text was before. The platform does the work (platform.h, patch()).
//
// To the guest the text is what it mapped: copies from guest memory get the original bytes
// (mm_patch_hide), and a range is restored before anything happens to it that would show or spread
// the change (mm_patch_clear). Trampolines lie in hidden pages of their own, at places that the
// guest has not taken; when it does take one, its sites are restored and the page goes.
//
// Locks: mm->lock for all changes; mm_patches.lock (a leaf) for the records, which readers of guest
// memory look at without mm->lock.
#include "mem/mm_int.h"
#include "abi/errno.h"
#include "base/slab.h"
#include <string.h>

constexpr size_t BLOCK = 32, BLOCKS_MAX = 32, PAGES_MAX = 16;
constexpr uint32_t PER_PAGE = PAGE_SIZE / PATCH_TRAMP; // place 0 is the page's head

struct patch {
    uint64_t rip, addr, hole, tramp;
    uint8_t len, hole_len, bytes[8], hole_bytes[8];
};
struct patch_block {
    struct patch_block *next;
    size_t n;
    struct patch p[BLOCK];
};
struct mm_patches {
    struct spinlock lock;
    uint64_t lo, hi;              // [A] all patched text lies within
    struct patch_block *blocks;   // [lock]
    size_t nblocks;
    struct tramp_page {
        uint64_t addr;
        uint32_t used;            // places given out; none is used again before exec
    } pages[PAGES_MAX];           // [mm->lock]
    size_t npages;
};
SLAB_DEFINE(patches_slab, struct mm_patches);
SLAB_DEFINE(block_slab, struct patch_block);

static bool overlaps(uint64_t a, uint64_t alen, uint64_t start, uint64_t end)
{
    return a < end && a + alen > start;
}
// All that a patch has changed lies in one page of text; what it stands for may reach into the next.
static bool patch_in(const struct patch *p, uint64_t start, uint64_t end)
{
    uint64_t page = PAGE_ALIGN_DOWN(p->addr);
    return overlaps(page, PAGE_ALIGN_UP(p->rip) - page, start, end);
}

// --- life ----------------------------------------------------------------------------------------
static struct mm_patches *patches_of(struct mm *mm)
{
    return __atomic_load_n(&mm->patches, __ATOMIC_ACQUIRE);
}

static struct mm_patches *patches_make(struct mm *mm)
{
    struct mm_patches *s = patches_of(mm);
    if (s || !(s = slab_alloc(&patches_slab)))
        return s;
    s->lo = UINT64_MAX;
    __atomic_store_n(&mm->patches, s, __ATOMIC_RELEASE);
    return s;
}

void mm_patch_free(struct mm *mm)
{
    struct mm_patches *s = mm->patches;
    if (!s)
        return;
    for (struct patch_block *b = s->blocks, *next; b; b = next) {
        next = b->next;
        slab_free(&block_slab, b);
    }
    slab_free(&patches_slab, s);
    mm->patches = nullptr;
}

// The child's memory has the same patches; its tree has the trampolines' pages already.
int mm_patch_fork(struct mm *child, const struct mm *mm)
{
    const struct mm_patches *from = mm->patches;
    if (!from)
        return 0;
    struct mm_patches *to = patches_make(child);
    if (!to)
        return -ENOMEM;
    to->lo = from->lo;
    to->hi = from->hi;
    memcpy(to->pages, from->pages, sizeof(to->pages));
    to->npages = from->npages;
    for (const struct patch_block *b = from->blocks; b; b = b->next) {
        struct patch_block *c = slab_alloc(&block_slab);
        if (!c)
            return -ENOMEM; // the caller frees what there is
        c->n = b->n;
        memcpy(c->p, b->p, b->n * sizeof(c->p[0]));
        c->next = to->blocks;
        to->blocks = c;
        to->nblocks++;
    }
    return 0;
}

// --- records -------------------------------------------------------------------------------------
static struct patch *patch_find(struct mm_patches *s, uint64_t rip)
{
    for (struct patch_block *b = s->blocks; b; b = b->next)
        for (size_t i = 0; i < b->n; i++)
            if (b->p[i].rip == rip)
                return &b->p[i];
    return nullptr;
}

// Room for one more, so that recording cannot fail.
static bool patches_room(struct mm_patches *s)
{
    if (s->blocks && s->blocks->n < BLOCK)
        return true;
    struct patch_block *b = s->nblocks < BLOCKS_MAX ? slab_alloc(&block_slab) : nullptr;
    if (!b)
        return false;
    spin_lock(&s->lock);
    b->next = s->blocks;
    s->blocks = b;
    s->nblocks++;
    spin_unlock(&s->lock);
    return true;
}

static void patch_record(struct mm_patches *s, const struct ppatch *p)
{
    struct patch n = {.rip = p->rip,
                      .addr = p->addr,
                      .hole = p->hole,
                      .tramp = p->tramp,
                      .len = p->len,
                      .hole_len = p->hole_len};
    memcpy(n.bytes, p->bytes, sizeof(n.bytes));
    memcpy(n.hole_bytes, p->hole_bytes, sizeof(n.hole_bytes));
    spin_lock(&s->lock);
    s->blocks->p[s->blocks->n++] = n;
    spin_unlock(&s->lock);
}

// [s->lock] An empty first block goes when another one follows it.
static void first_block_trim(struct mm_patches *s)
{
    struct patch_block *b = s->blocks;
    if (b->n || !b->next)
        return;
    s->blocks = b->next;
    s->nblocks--;
    slab_free(&block_slab, b);
}
// [s->lock] The last one of the first block takes its place. That block is empty when the site that
// room was made for could not be patched.
static void patch_forget(struct mm_patches *s, struct patch *p)
{
    first_block_trim(s);
    struct patch_block *b = s->blocks;
    *p = b->p[--b->n];
    first_block_trim(s);
}

static void hide(uint8_t *buf, uint64_t addr, size_t n, uint64_t at, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (at + i - addr < n)
            buf[at + i - addr] = bytes[i];
}

void mm_patch_hide(struct mm *mm, uint64_t addr, void *buf, size_t n)
{
    struct mm_patches *s = patches_of(mm);
    if (!s || addr >= __atomic_load_n(&s->hi, __ATOMIC_ACQUIRE) ||
        addr + n <= __atomic_load_n(&s->lo, __ATOMIC_ACQUIRE))
        return;
    spin_lock(&s->lock);
    for (const struct patch_block *b = s->blocks; b; b = b->next) {
        for (size_t i = 0; i < b->n; i++) {
            const struct patch *p = &b->p[i];
            hide(buf, addr, n, p->addr, p->bytes, p->len);
            hide(buf, addr, n, p->hole, p->hole_bytes, p->hole_len);
        }
    }
    spin_unlock(&s->lock);
}

// --- trampolines ---------------------------------------------------------------------------------
static bool reaches(uint64_t text, uint64_t page)
{
    uint64_t d = text > page ? text - page : page - text;
    return d < PATCH_REACH - PAGE_SIZE;
}

// Above the mmap area, where only the neighbourhood of the stack is; else right below what the text
// belongs to; else anywhere.
static bool tramp_place(const struct mm *mm, uint64_t text, uint64_t *addr)
{
    constexpr uint64_t reach = PATCH_REACH - 2 * PAGE_SIZE, strip = 1u << 20;
    uint64_t low = MAX(text > reach ? PAGE_ALIGN_DOWN(text - reach) + PAGE_SIZE : 0, MM_MIN_ADDR);
    uint64_t high = MIN(PAGE_ALIGN_DOWN(text + reach), mm->task_size);
    if (!mm->legacy_layout && mm->mmap_base > low && mm->mmap_base < high &&
        vma_gap_bottomup(mm->vmas, mm->mmap_base, MIN(high, mm->mmap_base + strip), PAGE_SIZE, addr))
        return true;
    return vma_gap_topdown(mm->vmas, low, PAGE_ALIGN_DOWN(text), PAGE_SIZE, addr) ||
           vma_gap_bottomup(mm->vmas, PAGE_ALIGN_DOWN(text), high, PAGE_SIZE, addr);
}

static struct tramp_page *tramp_new(struct mm *mm, struct pcontext *ctx, struct mm_patches *s,
                                    uint64_t text)
{
    struct vma_pool pool = {};
    uint64_t addr;
    if (s->npages == PAGES_MAX || mm->vmas->count >= (size_t)MM_MAX_MAP_COUNT ||
        !tramp_place(mm, text, &addr) || vma_pool_fill(&pool, 1))
        return nullptr;
    struct vma *v = vma_pool_take(&pool);
    v->start = v->off = addr;
    v->end = addr + PAGE_SIZE;
    v->prot = PROT_READ | PROT_EXEC;
    v->flags = VMA_RESERVE | VMA_TRAMP;
    if (mm_ops(mm)->map(ctx, addr, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                        0)) {
        vma_free(v);
        return nullptr;
    }
    mm_insert(mm, v);
    struct tramp_page *t = &s->pages[s->npages++];
    *t = (struct tramp_page){.addr = addr, .used = 1};
    return t;
}

static struct tramp_page *tramp_get(struct mm *mm, struct pcontext *ctx, struct mm_patches *s,
                                    uint64_t text)
{
    for (size_t i = 0; i < s->npages; i++)
        if (s->pages[i].used < PER_PAGE && reaches(text, s->pages[i].addr))
            return &s->pages[i];
    return tramp_new(mm, ctx, s, text);
}

// --- a site --------------------------------------------------------------------------------------
static void patch_locked(struct mm *mm, struct pcontext *ctx, uint64_t rip)
{
    uint64_t call = rip - 2, page = PAGE_ALIGN_DOWN(call);
    if (rip < 2 || rip > mm->task_size)
        return;
    const struct vma *v = vma_find_visible(mm->vmas, call);
    // Private text. What is writable is its writer's (a compiler's, say), what is shared not only ours.
    if (!v || v->start > call || v->end < rip || !(v->prot & PROT_EXEC) || (v->prot & PROT_WRITE) ||
        (v->flags & (VMA_SHARED | VMA_SPECIAL | VMA_GROWSDOWN)))
        return;
    struct mm_patches *s = patches_make(mm);
    if (!s || patch_find(s, rip) || !patches_room(s))
        return;
    struct tramp_page *t = tramp_get(mm, ctx, s, call);
    if (!t)
        return;
    // VMAs are made of pages; so all of this one's page is of this one.
    struct ppatch p = {.rip = rip,
                       .lo = MAX(v->start, page - PAGE_SIZE),
                       .hi = page + PAGE_SIZE,
                       .prot = host_prot(v->prot),
                       .tramp = t->addr + t->used * PATCH_TRAMP};
    __atomic_store_n(&s->lo, MIN(s->lo, p.lo), __ATOMIC_RELEASE);
    __atomic_store_n(&s->hi, MAX(s->hi, PAGE_ALIGN_UP(rip)), __ATOMIC_RELEASE);
    if (mm_ops(mm)->patch(ctx, &p))
        return;
    t->used++;
    patch_record(s, &p);
}

void mm_patch_site(struct mm *mm, struct pcontext *ctx, uint64_t rip)
{
    if (!mm_ops(mm)->patch)
        return;
    mutex_lock(&mm->lock);
    mm_settle_all(mm, ctx);
    patch_locked(mm, ctx, rip);
    mm_unlock(mm);
}

// --- restoring -----------------------------------------------------------------------------------
static bool in_pages(const struct mm_patches *s, uint64_t tramp, uint64_t start, uint64_t end)
{
    uint64_t page = PAGE_ALIGN_DOWN(tramp);
    return overlaps(page, PAGE_SIZE, start, end);
}

static struct patch *patch_next(struct mm_patches *s, uint64_t start, uint64_t end)
{
    for (struct patch_block *b = s->blocks; b; b = b->next)
        for (size_t i = 0; i < b->n; i++)
            if (patch_in(&b->p[i], start, end) || in_pages(s, b->p[i].tramp, start, end))
                return &b->p[i];
    return nullptr;
}

// The text's protection as the host has it; 0: it is not there any more.
static int text_prot(const struct mm *mm, uint64_t addr)
{
    const struct vma *v = vma_find_visible(mm->vmas, addr);
    return v && v->start <= addr ? host_prot(v->prot) : 0;
}

// Original bytes first, record after: who reads in between sees the same. What is in the padding
// stays until nobody can be on the way to it.
static void restore(struct mm *mm, struct pcontext *ctx, struct mm_patches *s, struct patch *p)
{
    const struct platform_ops *ops = mm_ops(mm);
    int prot = text_prot(mm, p->addr);
    if (prot && ops->poke(ctx, p->addr, p->bytes, p->len, prot) == 0 && p->hole) {
        ops->drain(ctx);
        (void)ops->poke(ctx, p->hole, p->hole_bytes, p->hole_len, prot);
    }
    spin_lock(&s->lock);
    patch_forget(s, p);
    spin_unlock(&s->lock);
}

static void tramp_drop(struct mm *mm, struct pcontext *ctx, struct vma *v, struct mm_patches *s)
{
    for (size_t i = 0; i < s->npages;) {
        if (s->pages[i].addr >= v->start && s->pages[i].addr < v->end)
            s->pages[i] = s->pages[--s->npages];
        else
            i++;
    }
    if (mm_ops(mm)->unmap(ctx, v->start, v->end - v->start))
        return; // still mapped, still marked
    vma_remove(mm->vmas, v);
    vma_free(v);
}

static bool touches(const struct mm_patches *s, uint64_t start, uint64_t end)
{
    if (s->lo < end && s->hi > start)
        return true;
    for (size_t i = 0; i < s->npages; i++)
        if (overlaps(s->pages[i].addr, PAGE_SIZE, start, end))
            return true;
    return false;
}

void mm_patch_clear(struct mm *mm, struct pcontext *ctx, uint64_t start, uint64_t end)
{
    struct mm_patches *s = patches_of(mm);
    if (!s || start >= end || !touches(s, start, end))
        return;
    struct patch *p;
    while ((p = patch_next(s, start, end)))
        restore(mm, ctx, s, p);
    bool drained = false;
    struct vma *v = vma_find(mm->vmas, start), *next;
    for (; v && v->start < end; v = next) {
        next = v->next;
        if (!(v->flags & VMA_TRAMP))
            continue;
        // Areas of several pages go as a whole.
        while ((p = patch_next(s, v->start, v->end)))
            restore(mm, ctx, s, p);
        if (!drained)
            mm_ops(mm)->drain(ctx);
        drained = true;
        tramp_drop(mm, ctx, v, s);
    }
}
