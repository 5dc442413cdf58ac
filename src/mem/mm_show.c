// SPDX-License-Identifier: Apache-2.0
// /proc/PID/maps, smaps and statm text (proc_pid_maps(5)).
#include "mem/mm_int.h"
#include <string.h>
#include <sys/sysmacros.h>

constexpr size_t NAME_COLUMN = 72;

struct bounds { // what gives VMAs their names, copied under the lock
    uint64_t brk_start, brk, stack;
};

// As seq_path: a newline in a name must not look like the end of the line.
static void put_path(struct strbuf *out, const struct strbuf *path)
{
    strbuf_char(out, ' ');
    for (size_t i = 0; i < path->len; i++)
        if (path->p[i] == '\n')
            strbuf_str(out, "\\012");
        else
            strbuf_char(out, path->p[i]);
}

static void show_name(const struct bounds *b, const struct vma *v, const struct strbuf *path,
                      struct strbuf *out, size_t line)
{
    const char *name = v->special;
    if (!v->obj && !name) {
        if (v->start < b->brk && v->end > b->brk_start)
            name = "[heap]";
        else if (b->stack && v->start <= b->stack && v->end >= b->stack)
            name = "[stack]";
    }
    if (v->name || name || path->len)
        while (out->len - line < NAME_COLUMN && !out->bad)
            strbuf_char(out, ' ');
    if (v->name)
        strbuf_fmt(out, v->obj ? " [anon_shmem:%s]" : " [anon:%s]", v->name->s);
    else if (path->len)
        put_path(out, path);
    else if (name)
        strbuf_fmt(out, " %s", name);
    strbuf_char(out, '\n');
}

static void show_line(const struct bounds *b, const struct vma *v, struct strbuf *out)
{
    uint64_t dev = 0, ino = 0;
    struct strbuf path = {};
    size_t line = out->len;
    if (v->obj)
        v->obj->ops->describe(v->obj, &dev, &ino, &path);
    if (v->file && vma_file_ops()->print) {
        strbuf_reset(&path);
        vma_file_ops()->print(v->file, &dev, &ino, &path);
    }
    strbuf_fmt(out, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", v->start, v->end,
               v->prot & PROT_READ ? 'r' : '-', v->prot & PROT_WRITE ? 'w' : '-',
               v->prot & PROT_EXEC ? 'x' : '-', v->flags & VMA_SHARED ? 's' : 'p',
               v->obj ? v->off : 0, major(dev), minor(dev), ino);
    show_name(b, v, &path, out, line);
    strbuf_free(&path);
}

static const struct {
    uint32_t flag;
    char name[4];
} flag_names[] = {
    {VMA_SHARED, "sh"}, {VMA_GROWSDOWN, "gd"}, {VMA_LOCKED, "lo"}, {VMA_SEQ, "sr"},
    {VMA_RAND, "rr"}, {VMA_DONTFORK, "dc"}, {VMA_SPECIAL, "de"}, {VMA_ACCOUNT, "ac"},
    {VMA_NORESERVE, "nr"}, {VMA_LOCKONFAULT, "lf"}, {VMA_WIPEONFORK, "wf"}, {VMA_DONTDUMP, "dd"},
    {VMA_HUGE, "hg"}, {VMA_NOHUGE, "nh"},
};

// The host alone knows which pages are there: Rss and what follows from it are the upper bound.
static void show_smap(const struct vma *v, struct strbuf *out)
{
    uint64_t kb = (v->end - v->start) >> 10, rss = v->prot ? kb : 0;
    bool shared = v->flags & VMA_SHARED, dirty = v->prot & PROT_WRITE;
    const struct {
        const char *name;
        uint64_t kb;
    } rows[] = {
        {"Size:", kb}, {"KernelPageSize:", 4}, {"MMUPageSize:", 4}, {"Rss:", rss}, {"Pss:", rss},
        {"Pss_Dirty:", dirty ? rss : 0}, {"Shared_Clean:", shared && !dirty ? rss : 0},
        {"Shared_Dirty:", shared && dirty ? rss : 0},
        {"Private_Clean:", !shared && !dirty ? rss : 0},
        {"Private_Dirty:", !shared && dirty ? rss : 0}, {"Referenced:", rss},
        {"Anonymous:", v->obj ? 0 : rss}, {"KSM:", 0}, {"LazyFree:", 0}, {"AnonHugePages:", 0},
        {"ShmemPmdMapped:", 0}, {"FilePmdMapped:", 0}, {"Shared_Hugetlb:", 0},
        {"Private_Hugetlb:", 0}, {"Swap:", 0}, {"SwapPss:", 0},
        {"Locked:", v->flags & VMA_LOCKED ? rss : 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        strbuf_fmt(out, "%-16s%8lu kB\n", rows[i].name, rows[i].kb);
    strbuf_str(out, "THPeligible:           0\nVmFlags: ");
    if (v->prot & PROT_READ)
        strbuf_str(out, "rd ");
    if (v->prot & PROT_WRITE)
        strbuf_str(out, "wr ");
    if (v->prot & PROT_EXEC)
        strbuf_str(out, "ex ");
    strbuf_str(out, "mr ");
    if (v->flags & VMA_MAYWRITE)
        strbuf_str(out, "mw ");
    if (v->flags & VMA_MAYEXEC)
        strbuf_str(out, "me ");
    for (size_t i = 0; i < ARRAY_LEN(flag_names); i++)
        if (v->flags & flag_names[i].flag)
            strbuf_fmt(out, "%s ", flag_names[i].name);
    strbuf_char(out, '\n');
}

// Copies of up to n VMAs from `from` on, linked by next; names and paths are looked up without the
// lock, since they belong to layers whose locks come first.
static struct vma *copy_batch(struct mm *mm, uint64_t from, int n, struct bounds *b, int *err)
{
    struct vma *first = nullptr, **tail = &first;
    mutex_lock(&mm->lock);
    *b = (struct bounds){mm->brk_start, mm->brk, mm->start_stack};
    struct vma *v = vma_find_visible(mm->vmas, from);
    for (; v && n > 0; v = vma_next_visible(v), n--) {
        struct vma_pool p = {};
        *err = vma_pool_fill(&p, 1);
        if (*err)
            break;
        struct vma *c = vma_pool_take(&p);
        vma_copy_kind(c, v);
        c->start = v->start;
        c->end = v->end;
        *tail = c;
        tail = &c->next;
    }
    mutex_unlock(&mm->lock);
    return first;
}

void mm_show_maps(struct mm *mm, struct strbuf *out, bool smaps)
{
    const struct mm_file_ops *ops = vma_file_ops();
    uint64_t from = 0, sp = ops && ops->current_sp ? ops->current_sp(mm) : 0;
    struct bounds b;
    int err = 0;
    if (sp)
        mm_note_stack(mm, sp);
    for (;;) {
        struct vma *v = copy_batch(mm, from, 64, &b, &err);
        if (!v)
            break;
        while (v) {
            struct vma *next = v->next;
            from = v->end;
            show_line(&b, v, out);
            if (smaps)
                show_smap(v, out);
            vma_free(v);
            v = next;
        }
    }
    if (err)
        out->bad = true;
}

void mm_statm(struct mm *mm, uint64_t pages[7])
{
    mutex_lock(&mm->lock);
    uint64_t bound = 0, shared_bound = 0;
    for (struct vma *v = vma_find_visible(mm->vmas, 0); v; v = vma_next_visible(v)) {
        uint64_t n = v->prot ? (v->end - v->start) >> PAGE_SHIFT : 0;
        bound += n;
        shared_bound += v->obj ? n : 0;
    }
    pages[0] = mm->total_vm;
    pages[1] = MIN(bound, mm->total_vm); // the vDSO is shown but not counted
    pages[2] = MIN(shared_bound, pages[1]);
    pages[3] = (PAGE_ALIGN_UP(mm->end_code) - PAGE_ALIGN_DOWN(mm->start_code)) >> PAGE_SHIFT;
    pages[4] = 0;
    pages[5] = mm->data_vm + mm->stack_vm;
    pages[6] = 0;
    mutex_unlock(&mm->lock);
    uint64_t resident, shared;
    if (mm_rss(mm, &resident, &shared)) {
        pages[1] = resident;
        pages[2] = shared;
    }
}
