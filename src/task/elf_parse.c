// SPDX-License-Identifier: Apache-2.0
// See elf.h. Pure functions of a span: no file, no task, no allocation; fuzzed by elf_fuzz.c.
#include "task/elf.h"
#include "abi/errno.h"
#include <elf.h>
#include <stdckdint.h>
#include <sys/mman.h>

int elf_parse_header(struct span file, struct elf_header *h)
{
    const uint8_t *ident = span_take(&file, EI_NIDENT);
    if (!ident || memcmp(ident, ELFMAG, SELFMAG) != 0 || ident[EI_CLASS] != ELFCLASS64 ||
        ident[EI_DATA] != ELFDATA2LSB)
        return -ENOEXEC;
    uint16_t type = span_u16le(&file), machine = span_u16le(&file);
    span_u32le(&file); // e_version: nobody looks
    h->entry = span_u64le(&file);
    h->phoff = span_u64le(&file);
    span_u64le(&file); // e_shoff
    span_u32le(&file); // e_flags
    span_u16le(&file); // e_ehsize
    uint16_t phentsize = span_u16le(&file);
    h->phnum = span_u16le(&file);
    h->dyn = type == ET_DYN;
    size_t size = (size_t)h->phnum * ELF_PHDR_SIZE;
    uint64_t end;
    if (!span_ok(&file) || (type != ET_EXEC && type != ET_DYN) || machine != EM_X86_64 ||
        phentsize != ELF_PHDR_SIZE || !size || size > ELF_PHDRS_MAX ||
        ckd_add(&end, h->phoff, size) || end > INT64_MAX)
        return -ENOEXEC;
    return 0;
}

struct phdr {
    uint32_t type, flags;
    uint64_t off, vaddr, filesz, memsz, align;
};

static struct phdr take_phdr(struct span *s)
{
    struct phdr p = {.type = span_u32le(s), .flags = span_u32le(s)};
    p.off = span_u64le(s);
    p.vaddr = span_u64le(s);
    span_u64le(s); // p_paddr
    p.filesz = span_u64le(s);
    p.memsz = span_u64le(s);
    p.align = span_u64le(s);
    return p;
}

static void note_extent(struct elf_image *img, const struct phdr *p)
{
    uint64_t fend = p->vaddr + p->filesz, mend = p->vaddr + p->memsz;
    if (p->flags & PF_X) {
        img->start_code = MIN(img->start_code, p->vaddr);
        img->end_code = MAX(img->end_code, fend);
    }
    img->start_data = MAX(img->start_data, p->vaddr);
    img->end_data = MAX(img->end_data, fend);
    img->brk = MAX(img->brk, mend);
    img->low = MIN(img->low, PAGE_ALIGN_DOWN(p->vaddr));
    img->high = MAX(img->high, PAGE_ALIGN_UP(mend));
    if (!img->phdr && img->h.phoff >= p->off && img->h.phoff < p->off + p->filesz)
        img->phdr = img->h.phoff - p->off + p->vaddr;
}

static int add_load(struct elf_image *img, const struct phdr *p)
{
    uint64_t end;
    if (p->filesz > p->memsz)
        return -EINVAL;
    if (p->align > img->align && (p->align & (p->align - 1)) == 0)
        img->align = p->align;
    if (!p->memsz)
        return 0;
    // Nothing lies beyond the 47 bits of user space; this bounds every later sum as well.
    if (ckd_add(&end, p->vaddr, p->memsz) || end > 1ull << 47)
        return -ENOEXEC;
    if (p->filesz && (ckd_add(&end, p->off, p->filesz) || end > INT64_MAX - PAGE_SIZE))
        return -ENOEXEC;
    if (p->filesz && (p->off - p->vaddr) & (PAGE_SIZE - 1))
        return -ENOEXEC;
    if (img->nseg >= img->h.phnum)
        return -ENOEXEC;
    int prot = (p->flags & PF_R ? PROT_READ : 0) | (p->flags & PF_W ? PROT_WRITE : 0) |
               (p->flags & PF_X ? PROT_EXEC : 0);
    img->seg[img->nseg++] = (struct elf_segment){.vaddr = p->vaddr,
                                                 .memsz = p->memsz,
                                                 .filesz = p->filesz,
                                                 .off = p->off,
                                                 .prot = (uint8_t)prot};
    note_extent(img, p);
    return 0;
}

int elf_parse_phdrs(struct span table, struct elf_image *img)
{
    constexpr uint64_t PATH_MAX_LEN = 4096, MAX_ALIGN = 1ull << 40;
    img->nseg = 0;
    img->low = img->start_code = UINT64_MAX;
    img->high = img->end_code = img->start_data = img->end_data = img->brk = img->phdr = 0;
    img->align = PAGE_SIZE;
    img->interp_len = 0;
    img->interp_off = 0;
    img->exec_stack = false;
    for (unsigned i = 0; i < img->h.phnum; i++) {
        struct phdr p = take_phdr(&table);
        if (!span_ok(&table))
            return -ENOEXEC;
        int err = 0;
        if (p.type == PT_LOAD) {
            err = add_load(img, &p);
        } else if (p.type == PT_INTERP && !img->interp_len) {
            if (p.filesz > PATH_MAX_LEN || p.filesz < 2 || p.off > INT64_MAX - PATH_MAX_LEN)
                return -ENOEXEC;
            img->interp_off = p.off;
            img->interp_len = (uint32_t)p.filesz;
        } else if (p.type == PT_GNU_STACK) {
            img->exec_stack = p.flags & PF_X;
        }
        if (err)
            return err;
    }
    if (!img->nseg || img->align > MAX_ALIGN)
        return -ENOEXEC;
    return 0;
}

// --- scripts -------------------------------------------------------------------------------------

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

// Linux's rules: the line ends at a newline, or at the end of the buffer if the interpreter's name
// ends before it; everything behind the name, trimmed, is one argument.
int script_parse(struct span file, struct script *s)
{
    char buf[EXEC_BUF_SIZE] = {};
    memcpy(buf, file.p, MIN(file.n, EXEC_BUF_SIZE - 1));
    if (file.n < 2 || buf[0] != '#' || buf[1] != '!')
        return -ENOEXEC;
    size_t end = 2, name = 2;
    while (end < EXEC_BUF_SIZE - 1 && buf[end] != '\n')
        end++;
    bool cut = end == EXEC_BUF_SIZE - 1;
    while (end > 2 && blank(buf[end - 1]))
        end--;
    while (name < end && blank(buf[name]))
        name++;
    size_t sep = name;
    while (sep < end && buf[sep] && !blank(buf[sep]))
        sep++;
    if (sep == name)
        return -ENOEXEC;
    if (cut && sep == EXEC_BUF_SIZE - 1)
        return -ENOEXEC; // the name may go on
    memset(s, 0, sizeof(*s));
    memcpy(s->interp, buf + name, sep - name);
    size_t arg = sep;
    while (arg < end && blank(buf[arg]))
        arg++;
    if (arg < end && buf[sep]) {
        size_t n = strnlen(buf + arg, end - arg);
        memcpy(s->arg, buf + arg, n);
        s->has_arg = n > 0;
    }
    return 0;
}
