// SPDX-License-Identifier: Apache-2.0
// Reading an ELF file's headers once into kernel memory and mapping its segments: private maps of
// the file's memobj, so that text is the host's page cache, shared between sandboxes.
#include "task/elf_load.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "mem/uaccess.h"
#include "vfs/file.h"
#include <sys/mman.h>

void elf_file_free(struct elf_file *e)
{
    mem_free(e->img.seg);
    memobj_put(e->obj);
    *e = (struct elf_file){};
}

int elf_file_read(struct file *f, const uint8_t *start, size_t n, struct elf_file *e)
{
    *e = (struct elf_file){.file = f};
    int err = elf_parse_header(span_of(start, n), &e->img.h);
    if (err)
        return err;
    size_t size = e->img.h.phnum * ELF_PHDR_SIZE;
    uint8_t *table = mem_alloc(size);
    e->img.seg = mem_alloc_array(e->img.h.phnum, sizeof(*e->img.seg));
    err = table && e->img.seg ? 0 : -ENOMEM;
    if (!err) {
        long r = file_read_kernel(f, table, size, (int64_t)e->img.h.phoff);
        err = r < 0 ? (int)r : (size_t)r < size ? -ENOEXEC : 0;
    }
    if (!err)
        err = elf_parse_phdrs(span_of(table, size), &e->img);
    if (!err)
        err = f->ops->mmap ? f->ops->mmap(f, &e->obj) : -ENOEXEC;
    if (err == -ENODEV)
        err = -ENOEXEC;
    mem_free(table);
    if (err)
        elf_file_free(e);
    return err;
}

int elf_interp_name(struct file *f, const struct elf_file *e, char *path)
{
    uint32_t len = e->img.interp_len;
    long r = file_read_kernel(f, path, len, (int64_t)e->img.interp_off);
    if (r < 0)
        return (int)r;
    if ((uint32_t)r < len)
        return -EIO;
    return path[len - 1] == 0 ? 0 : -ENOEXEC;
}

static int map_file_part(struct mm *mm, struct pcontext *ctx, const struct elf_file *e,
                         const struct elf_segment *s, bool may_exec, const struct mm_limits *lim)
{
    uint64_t in_page = s->vaddr & (PAGE_SIZE - 1);
    struct mmap_args a = {.addr = e->bias + s->vaddr - in_page,
                          .len = s->filesz + in_page,
                          .off = s->off - in_page,
                          .prot = s->prot,
                          .flags = MAP_PRIVATE | MAP_FIXED,
                          .obj = e->obj,
                          .file = e->file,
                          .may_write = true,
                          .may_exec = may_exec,
                          .lim = *lim};
    long r = mm_mmap(mm, ctx, &a);
    return r < 0 ? (int)r : 0;
}

// What memory has and the file has not: the rest of the last file page is cleared, whole pages are
// anonymous (writable, as Linux has it, whatever the segment's flags).
static int map_bss(struct mm *mm, struct pcontext *ctx, const struct elf_file *e,
                   const struct elf_segment *s, const struct mm_limits *lim)
{
    uint64_t from = e->bias + s->vaddr + s->filesz, to = e->bias + s->vaddr + s->memsz;
    uint64_t page = s->filesz ? PAGE_ALIGN_UP(from) : PAGE_ALIGN_DOWN(from);
    if (s->filesz && page > from && (s->prot & PROT_WRITE)) { // else it fails, and Linux does not mind
        int err = clear_user(mm, UADDR(from), page - from);
        if (err)
            return err;
    }
    if (PAGE_ALIGN_UP(to) <= page)
        return 0;
    struct mmap_args a = {.addr = page,
                          .len = PAGE_ALIGN_UP(to) - page,
                          .prot = PROT_READ | PROT_WRITE | (s->prot & PROT_EXEC),
                          .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                          .lim = *lim};
    long r = mm_mmap(mm, ctx, &a);
    return r < 0 ? (int)r : 0;
}

int elf_load(struct mm *mm, struct pcontext *ctx, struct elf_file *e, bool may_exec,
             const struct mm_limits *lim)
{
    for (size_t i = 0; i < e->img.nseg; i++) {
        const struct elf_segment *s = &e->img.seg[i];
        int err = s->filesz ? map_file_part(mm, ctx, e, s, may_exec, lim) : 0;
        if (!err && s->memsz > s->filesz)
            err = map_bss(mm, ctx, e, s, lim);
        if (err)
            return err;
    }
    return 0;
}
