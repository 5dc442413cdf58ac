// SPDX-License-Identifier: Apache-2.0
// The loader's side of exec: from an open file to segments in an address space. For exec.c only.
#pragma once
#include "mem/mm.h"
#include "task/elf.h"

struct file;
struct elf_file { // an ELF file being executed: the program, or its interpreter
    struct elf_image img;
    struct memobj *obj;   // ref: what the segments map
    struct file *file;    // borrowed from the exec
    uint64_t bias;        // added to every vaddr, once loaded
};
// Reads and parses; `start` holds the file's first n bytes. -ENOEXEC, -EINVAL, -EIO, -ENOMEM.
MUST_CHECK int elf_file_read(struct file *f, const uint8_t *start, size_t n, struct elf_file *e);
void elf_file_free(struct elf_file *e);
// The PT_INTERP string into path[4096]. -ENOEXEC, -EIO.
MUST_CHECK int elf_interp_name(struct file *f, const struct elf_file *e, char *path);
// Maps all segments at e->bias. [ctx]
MUST_CHECK int elf_load(struct mm *mm, struct pcontext *ctx, struct elf_file *e, bool may_exec,
                        const struct mm_limits *lim);
