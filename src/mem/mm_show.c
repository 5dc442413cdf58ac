// SPDX-License-Identifier: Apache-2.0
// /proc/PID/maps, smaps and statm text (proc_pid_maps(5)).
#include "mem/mm_int.h"
#include <string.h>
#include <sys/sysmacros.h>

constexpr size_t NAME_COLUMN = 72;

static void show_name(const struct mm *mm, const struct vma *v, struct strbuf *path,
                      struct strbuf *out, size_t line)
{
    const char *name = nullptr;
    if (v->obj && path->len)
        name = path->p;
    else if (v->special)
        name = v->special;
    else if (!v->obj && v->start < mm->brk && v->end > mm->brk_start)
        name = "[heap]";
    else if (!v->obj && v->start <= mm->start_stack && v->end >= mm->start_stack && mm->start_stack)
        name = "[stack]";
    if (v->name || name)
        while (out->len - line < NAME_COLUMN && !out->bad)
            strbuf_char(out, ' ');
    if (v->name)
        strbuf_fmt(out, v->obj ? " [anon_shmem:%s]" : " [anon:%s]", v->name->s);
    else if (name)
        strbuf_fmt(out, " %s", name);
    strbuf_char(out, '\n');
}

static void show_line(const struct mm *mm, const struct vma *v, struct strbuf *out)
{
    uint64_t dev = 0, ino = 0;
    struct strbuf path = {};
    size_t line = out->len;
    if (v->obj)
        v->obj->ops->describe(v->obj, &dev, &ino, &path);
    strbuf_fmt(out, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", v->start, v->end,
               v->prot & PROT_READ ? 'r' : '-', v->prot & PROT_WRITE ? 'w' : '-',
               v->prot & PROT_EXEC ? 'x' : '-', v->flags & VMA_SHARED ? 's' : 'p', v->off,
               major(dev), minor(dev), ino);
    show_name(mm, v, &path, out, line);
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

void mm_show_maps(struct mm *mm, struct strbuf *out, bool smaps)
{
    mutex_lock(&mm->lock);
    for (struct vma *v = vma_find_visible(mm->vmas, 0); v; v = vma_next_visible(v)) {
        show_line(mm, v, out);
        if (smaps)
            show_smap(v, out);
    }
    mutex_unlock(&mm->lock);
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
    pages[1] = bound;
    pages[2] = shared_bound;
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
