// SPDX-License-Identifier: Apache-2.0
// System call sites are patched to jump to a trampoline, which comes to the stub without a signal.
// At the Sentry's request (WORK_PATCH), by the guest's own thread, in the guest's own private text.
//
//   form  before                          after
//   A     mov $nr,%eax (5);   syscall     jmp rel32;              syscall
//   A2    mov $nr,%rax (7);   syscall     jmp rel32, 2 left over; syscall
//   B     any insn (5..15);   syscall     jmp rel32, left over;   syscall
//   C     such an insn; short ones; syscall    as B
//   E     syscall ... ret, padding        jmp rel8 ... ret, jmp rel32 in the padding
//
// A, A2, B and C keep the system call instruction: who jumps to it, and whom we cannot serve, gets
// SIGSYS as before. C keeps the short instructions in front of it, too, and has copies of them in the
// trampoline: the jump lies within one instruction, so that whoever is at any of the others, or jumps
// there by whatever means, goes on in the text. Nowhere is a boundary between instructions written over.
// E's trampoline has a system call of its own. A trampoline: the replaced instructions, a test that
// %gs is the slot (by rcx and without touching the flags), the return address to rcx, and off to
// stub_tramp. rcx and r11 are free, since the call would overwrite them.
//
// No thread ever sees a half-written instruction: during the change its page is not executable.
// Who runs into that faults, waits here for the end, and tries again; for unlike a store to
// running code, a fault and its return make a processor fetch anew. Everything that is changed
// for a site lies in one page, so that dropping a page (MADV_DONTNEED) drops all of it. The call itself
// may lie in the next one, or half of it: the Sentry has us restore the text when either changes.
#include "platform/stub/decode.h"
#include "platform/stub/marshal.h"
#include "platform/stub/stub.h"
#include <asm/unistd.h>

#define PAGE 4096
#define PROT_RW 3
#define PROT_RX 5
// At a trampoline page's start: the mark, and for each form its entry of stub_tramp. At the end of each place:
// return address | length of the replaced and copied instructions << 48 | form << 56.
#define TRAMP_META 56
#define TRAMP_SLOW_E 17 // offset of the system call in E's

AI uint64_t page_mark(uint64_t page)
{
    return 0x6e6163726574726dull ^ page ^ (uintptr_t)stub_start;
}
AI uint64_t page_of(uint64_t addr)
{
    return addr & ~(uint64_t)(PAGE - 1);
}
AI struct slot *space_slot(void)
{
    return (struct slot *)stub_slots;
}

// --- hot sites -----------------------------------------------------------------------------------
static uint32_t hit_key(uint64_t rip)
{
    return (uint32_t)(rip * 0x9e3779b97f4a7c15ull >> 32);
}
static uint32_t *hit_set(struct slot *s, uint32_t key)
{
    return s->hits + key % STUB_HIT_SETS * STUB_HIT_WAYS;
}
AI bool hit_is(uint32_t entry, uint32_t key)
{
    return !((entry ^ key) & ~0xffu);
}

// Said once in a while only: it may be a site that cannot be patched, or one whose text has changed
// since. A new site takes the place of the one that came least; now and then of any, or those that
// come no more would stay for ever.
bool site_hot(struct slot *s, uint64_t rip)
{
    constexpr uint32_t enough = 8, again = 255;
    uint32_t key = hit_key(rip), *set = hit_set(s, key), *e = set;
    unsigned way = 0;
    for (; way < STUB_HIT_WAYS && !hit_is(set[way], key); way++)
        if ((set[way] & 0xff) < (*e & 0xff))
            e = &set[way];
    if (way < STUB_HIT_WAYS)
        e = &set[way];
    else if (s->sigsys % 16 == 0)
        e = &set[s->sigsys / 16 % STUB_HIT_WAYS];
    uint32_t n = hit_is(*e, key) && (*e & 0xff) != again ? *e & 0xff : 0;
    *e = (key & ~0xffu) | (n + 1);
    return n == enough;
}

static void hit_forget(struct slot *s, uint64_t rip)
{
    uint32_t key = hit_key(rip), *set = hit_set(s, key);
    for (unsigned way = 0; way < STUB_HIT_WAYS; way++)
        if (hit_is(set[way], key))
            set[way] = 0;
}

// --- writing -------------------------------------------------------------------------------------
static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}
static uint64_t get_bytes(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}
static void copy(uint8_t *to, const uint8_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((volatile uint8_t *)to)[i] = from[i];
}
// A jump or call at `at` (opcode written by the caller) whose 4 bytes end at `end`.
AI void put_rel32(uint8_t *p, uint64_t end, uint64_t target)
{
    put32(p, (uint32_t)(target - end));
}
AI bool reach32(uint64_t from, uint64_t to)
{
    int64_t d = (int64_t)(to - from);
    return d > -0x7fff0000 && d < 0x7fff0000;
}

AI long protect(uint64_t page, int prot)
{
    return call6(__NR_mprotect, page, PAGE, (uint64_t)prot, 0, 0, 0);
}
static void window_begin(void)
{
    __atomic_fetch_add(&space_slot()->patch_gen, 1, __ATOMIC_SEQ_CST);
}
static void window_end(void)
{
    __atomic_fetch_add(&space_slot()->patch_gen, 1, __ATOMIC_SEQ_CST);
}

AI bool marked(uint64_t addr)
{
    uint64_t page = page_of(addr);
    return stub_peek(page) == page_mark(page) && addr - page >= TRAMP_SIZE;
}
// The trampoline that a jump at `at` leads to (v: the bytes there), or 0.
static uint64_t tramp_of_jump(uint64_t at, uint64_t v)
{
    uint64_t to = at + 5 + (uint64_t)(int64_t)(int32_t)(v >> 8);
    return (uint8_t)v == 0xe9 && to % TRAMP_SIZE == 0 && marked(to) ? to : 0;
}

// --- choosing a form -----------------------------------------------------------------------------
struct site {
    uint64_t rip, lo, hi;      // behind the system call; what may be read, hi may cut it in two
    uint64_t tramp;
    enum patch_form form;
    struct patch_made made;
    uint8_t insn[INSN_RUN_MAX]; // as they run in the trampoline
    uint8_t insn_len;
};

// The text around the site as a decoder has to see it: sites that were patched before leave bytes
// that are in step with nothing. Replaced instructions are put back; a used hole becomes one-byte
// instructions that are no padding.
#define VIEW_BEFORE (INSN_LOOK + INSN_RUN_MAX)
#define VIEW_AFTER 160
struct view {
    uint64_t from, to;
    uint8_t b[VIEW_BEFORE + 2 + VIEW_AFTER + 8];
};
static void view_put(struct view *v, uint64_t at, uint8_t byte)
{
    if (at >= v->from && at < v->to)
        v->b[at - v->from] = byte;
}
static void view_undo(struct view *v, uint64_t at, uint64_t tramp)
{
    uint64_t meta = *(uint64_t *)(tramp + TRAMP_META), ret = meta & 0xffffffffffff;
    if (meta >> 56 != PATCH_E) {
        for (uint64_t i = 0; i < (meta >> 48 & 0xff); i++)
            view_put(v, at + i, ((const uint8_t *)tramp)[i]);
        return;
    }
    for (uint64_t i = at; i < ((at + 15) & ~15ull); i++)
        view_put(v, i, 0x98); // cwtl
    view_put(v, ret - 2, 0x0f);
    view_put(v, ret - 1, 0x05);
}
static bool view_make(struct view *v, const struct site *t)
{
    uint64_t call = t->rip - 2;
    v->from = call - t->lo > VIEW_BEFORE ? call - VIEW_BEFORE : t->lo;
    v->to = t->rip + VIEW_AFTER < t->hi ? t->rip + VIEW_AFTER : t->hi;
    if (stub_copy(v->b, (const uint8_t *)v->from, v->to - v->from))
        return false;
    uint64_t first = v->from - t->lo > 15 ? v->from - 15 : t->lo;
    for (uint64_t at = first; at + 5 <= v->to; at++) {
        const uint8_t *p = (const uint8_t *)at;
        uint64_t tramp = *p == 0xe9 ? tramp_of_jump(at, get_bytes(p, 5)) : 0;
        if (tramp)
            view_undo(v, at, tramp);
    }
    return true;
}

static bool choose_before(struct site *t, const struct view *v)
{
    uint64_t call = t->rip - 2, from = v->from;
    const uint8_t *p = v->b;
    size_t at = call - from, len = insn_run(p, at), start = at - len;
    if (!len)
        return false;
    const uint8_t *q = p + start;
    copy(t->insn, q, len);
    if (!insn_move(t->insn, len, (int64_t)(t->tramp - (from + start))))
        return false;
    t->insn_len = (uint8_t)len;
    t->form = insn_decode(q, len).len < len ? PATCH_C
              : len == 5 && q[0] == 0xb8    ? PATCH_A
              : len == 7 && q[0] == 0x48 && q[1] == 0xc7 && q[2] == 0xc0 ? PATCH_A2
                                                                         : PATCH_B;
    t->made = (struct patch_made){.addr = from + start, .bytes = get_bytes(q, 5), .len = 5};
    return true;
}

// Dead bytes: behind an instruction that ends a run, up to the next multiple of 16, where compilers
// let functions and loops begin. What padding there follows may be a function's first instructions.
static bool choose_hole(struct site *t, const struct view *v)
{
    uint64_t at = t->rip, limit = t->rip + 127;
    limit = limit < t->hi ? limit : t->hi;
    while (at < limit) {
        struct insn i = insn_decode(v->b + (at - v->from), v->to - at);
        if (!i.len)
            return false;
        at += i.len;
        if (!(i.flags & INSN_END))
            continue;
        uint64_t end = (at + 15) & ~15ull;
        if (end > v->to || at > limit)
            return false;
        if (insn_padding(v->b + (at - v->from), end - at) != end - at)
            continue;
        if (end - at >= 5) {
            t->form = PATCH_E;
            t->made = (struct patch_made){.addr = t->rip - 2,
                                          .bytes = 0x050f,
                                          .len = 2,
                                          .hole = at,
                                          .hole_bytes = get_bytes((const uint8_t *)at, 5)};
            return true;
        }
        at = end;
    }
    return false;
}

// --- the trampoline ------------------------------------------------------------------------------
static void tramp_write(const struct site *t, uint8_t *code)
{
    uint64_t page = page_of(t->tramp), at = t->tramp;
    size_t n = 0;
    if (t->form != PATCH_E) {
        copy(code, t->insn, t->insn_len);
        n = t->insn_len;
    }
    static const uint8_t test[] = {
        0x65, 0x8b, 0x0c, 0x25, S_TAG, 0, 0, 0, // mov %gs:S_TAG,%ecx
        0x48, 0x8d, 0x89,                       // lea -TRAMP_TAG(%rcx),%rcx
    };
    copy(code + n, test, sizeof(test));
    n += sizeof(test);
    put32(code + n, -(uint32_t)TRAMP_TAG);
    n += 4;
    code[n++] = 0xe3; // jrcxz
    if (t->form == PATCH_E) {
        code[n++] = 7;
        code[n++] = 0x0f; // syscall
        code[n++] = 0x05;
        code[n] = 0xe9;
        put_rel32(code + n + 1, at + n + 5, t->rip);
    } else {
        code[n++] = 5;
        code[n] = 0xe9;
        put_rel32(code + n + 1, at + n + 5, t->rip - 2);
    }
    n += 5;
    code[n] = 0x48; // lea rip(%rip),%rcx
    code[n + 1] = 0x8d;
    code[n + 2] = 0x0d;
    put_rel32(code + n + 3, at + n + 7, t->rip);
    n += 7;
    code[n] = 0xff; // jmp *page+8*form(%rip)
    code[n + 1] = 0x25;
    put_rel32(code + n + 2, at + n + 6, page + 8 * t->form);
    uint64_t meta = t->rip | (uint64_t)t->insn_len << 48 | (uint64_t)t->form << 56;
    put32(code + TRAMP_META, (uint32_t)meta);
    put32(code + TRAMP_META + 4, (uint32_t)(meta >> 32));
}
static_assert(sizeof((struct site){}.insn) + 11 + 4 + 2 + 5 + 7 + 6 <= TRAMP_META);

static_assert(8 * PATCH_FORMS <= TRAMP_SIZE);

static int64_t tramp_make(const struct site *t)
{
    uint64_t page = page_of(t->tramp);
    uint8_t code[TRAMP_SIZE] = {};
    tramp_write(t, code);
    long r = protect(page, PROT_RW);
    if (r < 0)
        return r;
    ((volatile uint64_t *)page)[0] = page_mark(page);
    for (unsigned form = 1; form < PATCH_FORMS; form++)
        ((volatile uint64_t *)page)[form] = (uintptr_t)stub_tramp + (form - 1) * TRAMP_ENTRY;
    copy((uint8_t *)t->tramp, code, sizeof(code));
    return protect(page, PROT_RX);
}

static void site_write(const struct site *t)
{
    uint8_t jump[5] = {0xe9};
    const struct patch_made *m = &t->made;
    if (t->form == PATCH_E) {
        put_rel32(jump + 1, m->hole + 5, t->tramp);
        copy((uint8_t *)m->hole, jump, 5);
        uint8_t hop[2] = {0xeb, (uint8_t)(m->hole - t->rip)};
        copy((uint8_t *)m->addr, hop, 2);
    } else {
        put_rel32(jump + 1, m->addr + 5, t->tramp);
        copy((uint8_t *)m->addr, jump, 5);
    }
}

int64_t patch_site(struct slot *s, struct stub_work *w)
{
    struct site t = {.rip = w->a[0], .lo = w->a[1], .hi = w->a[2], .tramp = w->a[3]};
    uint64_t page = page_of(t.rip - 2);
    int prot = (int)w->a[4];
    if (t.lo < page - PAGE || t.hi > page + PAGE || t.rip - 2 < t.lo || t.rip - 1 > t.hi ||
        t.tramp % TRAMP_SIZE || t.tramp % PAGE == 0 || !reach32(t.rip, t.tramp))
        return -22;
    uint8_t call[2];
    struct view v;
    if (stub_copy(call, (const uint8_t *)t.rip - 2, 2) || get_bytes(call, 2) != 0x050f ||
        !view_make(&v, &t) || (!choose_before(&t, &v) && !choose_hole(&t, &v)))
        return -2;
    page = page_of(t.made.addr);
    if (page_of(t.made.addr + t.made.len - 1) != page)
        return -2;
    if (t.made.len == 5 && tramp_of_jump(t.made.addr, get_bytes((const uint8_t *)t.made.addr, 5)))
        return -2; // it has one
    window_begin();
    long r = tramp_make(&t);
    if (r >= 0)
        r = protect(page, PROT_RW);
    if (r >= 0) {
        site_write(&t);
        r = protect(page, prot);
        if (r < 0)
            r = -5; // the text cannot run any more
    }
    window_end();
    if (r < 0)
        return r;
    hit_forget(s, t.rip);
    w->a[0] = t.made.addr;
    w->a[1] = t.made.bytes;
    w->a[2] = t.made.len;
    w->a[3] = t.made.hole;
    w->a[4] = t.made.hole_bytes;
    return t.form;
}

int64_t patch_poke(const struct stub_work *w)
{
    uint64_t at = w->a[0], page = page_of(at);
    size_t n = w->a[2];
    uint8_t bytes[8];
    if (n > 8 || at + n > page + PAGE)
        return -22;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(w->a[1] >> 8 * i);
    window_begin();
    long r = protect(page, PROT_RW);
    if (r >= 0) {
        copy((uint8_t *)at, bytes, n);
        r = protect(page, (int)w->a[3]);
    }
    window_end();
    return r;
}

// --- signals -------------------------------------------------------------------------------------
// Text is being changed, or was between the fault and now: once more. At most once per change.
static bool fetch_again(struct slot *s)
{
    uint32_t *word = &space_slot()->patch_gen, gen;
    for (unsigned i = 0; (gen = LOAD(*word)) & 1; i++) {
        __asm__ volatile("pause");
        if (i % 64 == 63)
            call6(__NR_sched_yield, 0, 0, 0, 0, 0, 0);
    }
    if (gen == s->seen_gen)
        return false;
    s->seen_gen = gen;
    return true;
}

// Are we at the jump in the padding? Its trampoline, or 0.
static uint64_t at_hole(uint64_t rip)
{
    uint64_t to = tramp_of_jump(rip, stub_peek(rip));
    return to && *(uint64_t *)(to + TRAMP_META) >> 56 == PATCH_E ? to : 0;
}

// Single steps: a site's jump and its trampoline are one instruction for who looks on.
static bool step(struct stub_ucontext *uc, uint64_t t, uint64_t off, uint64_t ret, unsigned form,
                 unsigned len)
{
    switch (form) {
    case PATCH_A:
    case PATCH_A2: // after the jump: as if the mov had been done
        if (off == 0)
            uc->rax = form == PATCH_A ? get_bytes((uint8_t *)t + 1, 4)
                                      : (uint64_t)(int64_t)(int32_t)get_bytes((uint8_t *)t + 3, 4);
        uc->rip = ret - 2;
        return false;
    case PATCH_B:
    case PATCH_C: // after the jump nothing has been done; after an instruction: go on behind it
        if (off == 0)
            return true;
        uc->rip = ret - 2 - (off < len ? len - off : 0);
        return false;
    default: // go on with a system call that is seen
        if (off < TRAMP_SLOW_E)
            uc->rip = t + TRAMP_SLOW_E;
        return true;
    }
}

static bool in_tramp(struct slot *s, int sig, struct stub_ucontext *uc)
{
    uint64_t t = uc->rip & ~(uint64_t)(TRAMP_SIZE - 1), off = uc->rip - t;
    uint64_t meta = *(uint64_t *)(t + TRAMP_META), ret = meta & 0xffffffffffff;
    unsigned form = (unsigned)(meta >> 56), len = meta >> 48 & 0xff;
    bool e = form == PATCH_E;
    switch (sig) {
    case 31: // SIGSYS
        if (e && off == TRAMP_SLOW_E + 2)
            uc->rip = uc->rcx = ret;
        return false;
    case STUB_SIGNAL: // back to the text: nothing else has been done that the call would not undo
        if (e)
            uc->rip = off > TRAMP_SLOW_E && off < TRAMP_SLOW_E + 7 ? ret : ret - 2;
        else
            uc->rip = ret - 2 - (off < len ? len - off : 0);
        return false;
    case 5: // SIGTRAP
        return step(uc, t, off, ret, form, len);
    default:
        if (!e && off < len) { // the guest's own instruction
            uc->rip = ret - 2 - (len - off);
            return false;
        }
        // %gs is not the slot, and points nowhere.
        uint64_t gs;
        __asm__ volatile("rdgsbase %0" : "=r"(gs));
        if (!gs)
            __asm__ volatile("wrgsbase %0" : : "r"(s));
        uc->rip = e ? t + TRAMP_SLOW_E : ret - 2;
        return true;
    }
}

bool patch_signal(struct slot *s, int sig, struct stub_ucontext *uc, int code)
{
    constexpr uint64_t PF_INSTR = 16;
    if (sig == 11 && uc->trapno == 14 && (uc->err & PF_INSTR))
        return code == 2 && fetch_again(s);
    if (marked(uc->rip))
        return in_tramp(s, sig, uc);
    uint64_t t = sig == STUB_SIGNAL || sig == 5 ? at_hole(uc->rip) : 0;
    if (!t)
        return false;
    if (sig == 5)
        return true; // a step on the way to the trampoline
    uc->rip = (*(uint64_t *)(t + TRAMP_META) & 0xffffffffffff) - 2;
    return false;
}
