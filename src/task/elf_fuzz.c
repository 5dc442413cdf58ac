// SPDX-License-Identifier: Apache-2.0
// Fuzzes the ELF header parser and the "#!" parser. Besides crashes it looks for images that the
// loader would trust and must not: segments outside the extent, sums that wrap.
#include "base/assert.h"
#include "task/elf.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_image(const struct elf_image *img)
{
    CHECK(img->nseg > 0 && img->nseg <= img->h.phnum);
    CHECK(img->low < img->high && img->high <= (1ull << 47) && img->low % PAGE_SIZE == 0);
    CHECK(img->align >= PAGE_SIZE && (img->align & (img->align - 1)) == 0);
    for (size_t i = 0; i < img->nseg; i++) {
        const struct elf_segment *s = &img->seg[i];
        CHECK(s->memsz && s->filesz <= s->memsz);
        CHECK(s->vaddr >= img->low && s->vaddr + s->memsz > s->vaddr &&
              s->vaddr + s->memsz <= img->high);
        CHECK(!s->filesz || (s->off - s->vaddr) % PAGE_SIZE == 0);
        CHECK(!s->filesz || s->off + s->filesz >= s->off);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s;
    if (script_parse(span_of(data, size), &s) == 0) {
        CHECK(s.interp[0] && memchr(s.interp, 0, sizeof(s.interp)));
        CHECK(memchr(s.arg, 0, sizeof(s.arg)) && s.has_arg == (s.arg[0] != 0));
    }
    struct elf_image img = {};
    if (elf_parse_header(span_of(data, size), &img.h))
        return 0;
    size_t n = img.h.phnum * ELF_PHDR_SIZE;
    if (img.h.phoff > size || n > size - img.h.phoff)
        return 0; // the loader reads the table whole or not at all
    img.seg = calloc(img.h.phnum, sizeof(*img.seg));
    if (elf_parse_phdrs(span_of(data + img.h.phoff, n), &img) == 0)
        check_image(&img);
    free(img.seg);
    return 0;
}
