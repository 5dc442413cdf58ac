// SPDX-License-Identifier: Apache-2.0
// The books of patched call sites, over a host that patches by overwriting: who reads the text, what
// restores it, what a fork takes along, and that no trampoline's page is ever in the guest's way.
#include "base/test.h"
#include "mem/mem_test.h"

static struct platform_ops ops;
static unsigned drains, pokes;
static bool refuse;
static struct mm *mm;
static struct pcontext *ctx;

// The 7 bytes in front of rip; and, when rip is odd, 5 more behind it.
static int fake_patch(struct pcontext *c, struct ppatch *p)
{
    uint8_t *mem = fake(c)->mem;
    CHECK(p->tramp % PATCH_TRAMP == 0 && p->tramp % PAGE_SIZE);
    uint64_t page = PAGE_ALIGN_DOWN(p->rip - 2);
    CHECK(fake(c)->page[p->tramp / PAGE_SIZE].used && p->hi == page + PAGE_SIZE);
    CHECK(p->lo == page || p->lo == page - PAGE_SIZE);
    CHECK(fake(c)->page[p->lo / PAGE_SIZE].prot == p->prot && !(p->prot & PROT_WRITE));
    if (refuse || p->rip - p->lo < 7 || (p->rip - 7) % PAGE_SIZE > PAGE_SIZE - 5)
        return -ENOENT;
    p->addr = p->rip - 7;
    p->len = 5;
    memcpy(p->bytes, mem + p->addr, 5);
    memset(mem + p->addr, 0xe9, 5);
    p->hole = p->rip & 1 && p->addr >= page && p->rip + 10 < p->hi ? p->rip + 5 : 0;
    p->hole_len = p->hole ? 5 : 0;
    if (p->hole) {
        memcpy(p->hole_bytes, mem + p->hole, 5);
        memset(mem + p->hole, 0xeb, 5);
    }
    return 0;
}
static int fake_poke(struct pcontext *c, uint64_t addr, const uint8_t *bytes, size_t n, int prot)
{
    CHECK(fake(c)->page[addr / PAGE_SIZE].used && fake(c)->page[addr / PAGE_SIZE].prot == prot);
    memcpy(fake(c)->mem + addr, bytes, n);
    pokes++;
    return 0;
}
static void fake_drain(struct pcontext *c)
{
    drains++;
}

static void use(struct mm *m, struct pcontext *c)
{
    ops = fake_ops;
    ops.patch = fake_patch;
    ops.poke = fake_poke;
    ops.drain = fake_drain;
    m->as->ops = c->ops = &ops;
}
static void setup(void)
{
    mm_use_platform(&fake_ops);
    fake_fail_in = 0;
    drains = pokes = 0;
    refuse = false;
    CHECK(mm_new(nullptr, &mm, &ctx) == 0);
    mm->mmap_base = 512 * PAGE_SIZE;
    use(mm, ctx);
}
static void teardown(void)
{
    fake_ctx_free(ctx);
    mm_put(mm);
}
static uint8_t text_byte(uint64_t addr)
{
    return (uint8_t)(addr * 31 + (addr >> 12));
}
// Pages of text at page number `at`.
static uint64_t text_map(uint64_t at, uint64_t n, int flags)
{
    struct mmap_args a = {.addr = at * PAGE_SIZE, .len = n * PAGE_SIZE, .lim = no_limits,
                          .prot = PROT_READ | PROT_WRITE,
                          .flags = MAP_ANONYMOUS | MAP_FIXED | MAP_PRIVATE | flags,
                          .may_write = true, .may_exec = true};
    CHECK(mm_mmap(mm, ctx, &a) == (long)(at * PAGE_SIZE));
    for (uint64_t i = 0; i < n * PAGE_SIZE; i++)
        fake(ctx)->mem[a.addr + i] = text_byte(a.addr + i);
    CHECK(!mm_mprotect(mm, ctx, a.addr, a.len, PROT_READ | PROT_EXEC));
    return a.addr;
}
static bool raw_is_text(struct mm *m, uint64_t addr, uint64_t n)
{
    struct fake_as *a = container_of(m->as, struct fake_as, as);
    for (uint64_t i = addr; i < addr + n; i++)
        if (a->mem[i] != text_byte(i))
            return false;
    return true;
}
static void reads_as_text(struct mm *m, uint64_t addr, uint64_t n)
{
    static uint8_t buf[4 * PAGE_SIZE];
    CHECK(!copy_in(m, buf, UADDR(addr), n));
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(buf[i], text_byte(addr + i));
}
static const struct vma *tramps(const struct mm *m, unsigned *n)
{
    const struct vma *found = nullptr;
    *n = 0;
    for (const struct vma *v = m->vmas->first; v; v = v->next) {
        if (v->flags & VMA_TRAMP) {
            found = v;
            *n += (unsigned)((v->end - v->start) / PAGE_SIZE);
        }
    }
    return found;
}

TEST(mm_patch_reads_and_restores)
{
    unsigned n;
    setup();
    uint64_t at = text_map(100, 4, 0);
    for (int i = 0; i < 40; i++) // twice the same: once
        mm_patch_site(mm, ctx, at + 200 + (uint64_t)(i / 2) * 801);
    assert_non_null(tramps(mm, &n));
    assert_int_equal(n, 1);
    assert_false(raw_is_text(mm, at, 4 * PAGE_SIZE));
    reads_as_text(mm, at, 4 * PAGE_SIZE);
    for (uint64_t i = 0; i < 700; i++) // in pieces that begin and end anywhere
        reads_as_text(mm, at + 190 + i, 1 + i % 9);
    fake_compare(mm);
    // What may change a page restores it, and only it.
    CHECK(!mm_mprotect(mm, ctx, at, PAGE_SIZE, PROT_READ | PROT_WRITE));
    assert_true(raw_is_text(mm, at, PAGE_SIZE));
    assert_false(raw_is_text(mm, at + PAGE_SIZE, PAGE_SIZE));
    unsigned before = pokes;
    CHECK(!mm_mprotect(mm, ctx, at + PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_EXEC)); // nothing new
    assert_int_equal(pokes, before);
    uint64_t to = 200 * PAGE_SIZE;
    assert_int_equal(mm_mremap(mm, ctx, at + PAGE_SIZE, PAGE_SIZE, PAGE_SIZE,
                               MREMAP_MAYMOVE | MREMAP_FIXED, to, &no_limits), to);
    for (uint64_t i = 0; i < PAGE_SIZE; i++)
        assert_int_equal(fake(ctx)->mem[to + i], text_byte(at + PAGE_SIZE + i));
    CHECK(!mm_madvise(mm, ctx, at + 2 * PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED));
    before = pokes;
    CHECK(!mm_munmap(mm, ctx, at, 4 * PAGE_SIZE));
    assert_true(pokes > before);
    assert_true(drains > 0); // some had padding
    fake_compare(mm);
    teardown();
}

// The call lies in the page behind the one that is changed, or half of it does.
TEST(mm_patch_across_pages)
{
    setup();
    for (uint64_t behind = 1; behind < 8; behind++) {
        uint64_t at = text_map(100, 3, 0), end = at + PAGE_SIZE;
        for (int round = 0; round < 3; round++) {
            mm_patch_site(mm, ctx, end + behind);
            assert_int_equal(raw_is_text(mm, at, 2 * PAGE_SIZE), behind > 2 && behind < 7);
            if (behind <= 2)
                assert_true(raw_is_text(mm, end, PAGE_SIZE));
            reads_as_text(mm, at, 3 * PAGE_SIZE);
            uint64_t from = round == 0 ? at : round == 1 ? end : end + PAGE_SIZE;
            CHECK(!mm_mprotect(mm, ctx, from, PAGE_SIZE, PROT_READ | PROT_WRITE));
            if (round == 1 || (round == 0 && behind < 7))
                assert_true(raw_is_text(mm, at, 3 * PAGE_SIZE));
            CHECK(!mm_mprotect(mm, ctx, from, PAGE_SIZE, PROT_READ | PROT_EXEC));
        }
        CHECK(!mm_munmap(mm, ctx, at, 3 * PAGE_SIZE));
        fake_compare(mm);
    }
    // The next page is none of it.
    uint64_t at = text_map(100, 1, 0), next = text_map(101, 1, 0);
    CHECK(!mm_mprotect(mm, ctx, next, PAGE_SIZE, PROT_READ | PROT_EXEC | PROT_WRITE));
    mm_patch_site(mm, ctx, next + 1);
    assert_true(raw_is_text(mm, at, 2 * PAGE_SIZE));
    teardown();
}

TEST(mm_patch_only_private_text)
{
    unsigned n;
    setup();
    uint64_t at = text_map(100, 1, 0), shared = 110 * PAGE_SIZE;
    mm_patch_site(mm, ctx, 300 * PAGE_SIZE);      // nothing there
    mm_patch_site(mm, ctx, at + PAGE_SIZE + 1);   // half of the call would lie behind it
    mm_patch_site(mm, ctx, 0);
    mm_patch_site(mm, ctx, 1);
    mm_patch_site(mm, ctx, UINT64_MAX);
    CHECK(!mm_mprotect(mm, ctx, at, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC));
    mm_patch_site(mm, ctx, at + 100);
    CHECK(!mm_mprotect(mm, ctx, at, PAGE_SIZE, PROT_READ));
    mm_patch_site(mm, ctx, at + 100);
    static struct fake_obj obj = {{&fake_obj_ops, {1}}, 1000};
    struct mmap_args a = {.addr = shared, .len = PAGE_SIZE, .prot = PROT_READ | PROT_EXEC,
                          .flags = MAP_SHARED | MAP_FIXED, .obj = &obj.o, .may_exec = true,
                          .lim = no_limits};
    CHECK(mm_mmap(mm, ctx, &a) == (long)shared);
    mm_patch_site(mm, ctx, shared + 100);
    assert_null(tramps(mm, &n));
    assert_true(raw_is_text(mm, at, PAGE_SIZE));
    // Refused by the stub: nothing is recorded, and the page for trampolines is kept.
    CHECK(!mm_mprotect(mm, ctx, at, PAGE_SIZE, PROT_READ | PROT_EXEC));
    refuse = true;
    for (int i = 0; i < 10; i++)
        mm_patch_site(mm, ctx, at + 100);
    assert_non_null(tramps(mm, &n));
    assert_int_equal(n, 1);
    fake_compare(mm);
    teardown();
}

TEST(mm_patch_forks)
{
    struct mm *child;
    struct pcontext *cctx;
    setup();
    uint64_t at = text_map(100, 2, 0);
    for (uint64_t i = 0; i < 100; i++) // more than one block
        mm_patch_site(mm, ctx, at + 50 + i * 61);
    CHECK(!mm_fork(mm, ctx, &child, &cctx));
    use(child, cctx);
    reads_as_text(child, at, 2 * PAGE_SIZE);
    assert_false(raw_is_text(child, at, PAGE_SIZE));
    fake_compare(child);
    CHECK(!mm_mprotect(child, cctx, at, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE));
    assert_true(raw_is_text(child, at, 2 * PAGE_SIZE));
    assert_false(raw_is_text(mm, at, PAGE_SIZE));
    reads_as_text(mm, at, 2 * PAGE_SIZE);
    fake_ctx_free(cctx);
    mm_put(child);
    teardown();
}

// The guest takes all there is, trampolines' pages too.
TEST(mm_patch_gives_way)
{
    unsigned n;
    setup();
    uint64_t at = text_map(600, 1, 0);
    for (int how = 0; how < 4; how++) {
        mm_patch_site(mm, ctx, at + 100);
        const struct vma *t = tramps(mm, &n);
        assert_non_null(t);
        uint64_t page = t->start;
        assert_false(raw_is_text(mm, at, PAGE_SIZE));
        struct mmap_args a = {.addr = page, .len = PAGE_SIZE, .prot = PROT_READ, .lim = no_limits,
                              .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED};
        unsigned before = drains;
        switch (how) {
        case 0: CHECK(mm_mmap(mm, ctx, &a) == (long)page); break;
        case 1: CHECK(!mm_munmap(mm, ctx, page - PAGE_SIZE, 3 * PAGE_SIZE)); break;
        case 2: {
            struct mmap_args b = a;
            b.addr = 20 * PAGE_SIZE;
            CHECK(mm_mmap(mm, ctx, &b) == (long)b.addr);
            assert_int_equal(mm_mremap(mm, ctx, b.addr, PAGE_SIZE, PAGE_SIZE,
                                       MREMAP_MAYMOVE | MREMAP_FIXED, page, &no_limits), page);
            break;
        }
        case 3: assert_int_equal(mm_madvise(mm, ctx, MM_MIN_ADDR, FAKE_SIZE - MM_MIN_ADDR,
                                            MADV_DONTNEED), -ENOMEM);
        }
        assert_null(tramps(mm, &n));
        assert_true(drains > before);
        if (how < 3)
            assert_true(raw_is_text(mm, at, PAGE_SIZE));
        fake_compare(mm);
        // MAP_FIXED_NOREPLACE finds the place free, as the guest does in maps.
        (void)mm_munmap(mm, ctx, page, PAGE_SIZE);
        for (uint64_t i = 0; how == 3 && i < PAGE_SIZE; i++)
            fake(ctx)->mem[at + i] = text_byte(at + i);
    }
    mm_patch_site(mm, ctx, at + 100);
    const struct vma *t = tramps(mm, &n);
    struct mmap_args a = {.addr = t->start, .len = PAGE_SIZE, .prot = PROT_READ, .lim = no_limits,
                          .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE};
    uint64_t page = t->start;
    assert_int_equal(mm_mmap(mm, ctx, &a), page);
    assert_true(raw_is_text(mm, at, PAGE_SIZE));
    fake_compare(mm);
    teardown();
}

// Room was made for a site that the stub then refused: the records of the others are found.
TEST(mm_patch_refused_after_a_full_block)
{
    setup();
    uint64_t at = text_map(100, 2, 0);
    for (uint64_t i = 0; i < 64; i++)
        mm_patch_site(mm, ctx, at + 50 + i * 61);
    refuse = true;
    mm_patch_site(mm, ctx, at + 50 + 64 * 61);
    refuse = false;
    CHECK(!mm_mprotect(mm, ctx, at, PAGE_SIZE, PROT_READ | PROT_WRITE));
    assert_true(raw_is_text(mm, at, PAGE_SIZE));
    for (uint64_t i = 70; i < 90; i++)
        mm_patch_site(mm, ctx, at + 50 + i * 61);
    reads_as_text(mm, at, 2 * PAGE_SIZE);
    CHECK(!mm_mprotect(mm, ctx, at, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE));
    assert_true(raw_is_text(mm, at, 2 * PAGE_SIZE));
    fake_compare(mm);
    teardown();
}

// More sites than a space may have, and than a page of trampolines holds.
TEST(mm_patch_many)
{
    unsigned n;
    setup();
    uint64_t at = text_map(100, 64, 0);
    for (uint64_t i = 0; i < 3000; i++)
        mm_patch_site(mm, ctx, at + 40 + i * 61);
    assert_non_null(tramps(mm, &n));
    assert_int_equal(n, 16);
    reads_as_text(mm, at, 4 * PAGE_SIZE);
    fake_compare(mm);
    CHECK(!mm_munmap(mm, ctx, at, 64 * PAGE_SIZE));
    fake_compare(mm);
    teardown();
}
