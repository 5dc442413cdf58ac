// SPDX-License-Identifier: Apache-2.0
// Program files: what the parser (elf_parse.c, pure, fuzzed) makes of their bytes, and the loader
// (elf.c) that puts an image into an address space. Everything in a program file is hostile: its
// bytes are read once into kernel memory, and every number is checked before it is used.
#pragma once
#include "base/span.h"

constexpr size_t EXEC_BUF_SIZE = 256; // BINPRM_BUF_SIZE: what decides on the format
constexpr size_t ELF_EHDR_SIZE = 64, ELF_PHDR_SIZE = 56;
constexpr size_t ELF_PHDRS_MAX = 65536; // bytes

struct elf_header {
    bool dyn;          // ET_DYN, else ET_EXEC
    uint64_t entry, phoff;
    uint16_t phnum;
};
struct elf_segment { // a PT_LOAD with memsz > 0
    uint64_t vaddr, memsz, filesz;
    uint64_t off;      // congruent to vaddr modulo the page size
    uint8_t prot;      // PROT_*
};
struct elf_image {
    struct elf_header h;
    struct elf_segment *seg; // owned by the caller: h.phnum entries
    size_t nseg;
    uint64_t low, high;      // page-aligned extent of all segments
    uint64_t align;          // largest p_align of a PT_LOAD, at least a page
    uint64_t phdr;           // vaddr of the program headers; 0: in no segment
    uint64_t start_code, end_code, start_data, end_data, brk;
    uint64_t interp_off;
    uint32_t interp_len;     // with NUL; 0: none
    bool exec_stack;
};
// The first bytes of a file. 0, or -ENOEXEC.
MUST_CHECK int elf_parse_header(struct span file, struct elf_header *h);
// The program header table. img->h and img->seg are set. 0, -ENOEXEC or -EINVAL.
MUST_CHECK int elf_parse_phdrs(struct span table, struct elf_image *img);

struct script {
    char interp[EXEC_BUF_SIZE];
    char arg[EXEC_BUF_SIZE]; // "" when has_arg is false
    bool has_arg;
};
// "#!" line in the first bytes of a file. 0, or -ENOEXEC.
MUST_CHECK int script_parse(struct span file, struct script *s);
