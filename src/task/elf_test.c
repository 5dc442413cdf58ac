// SPDX-License-Identifier: Apache-2.0
// The parsers of program files and the layout of the initial stack.
#include "abi/errno.h"
#include "base/test.h"
#include "mem/mem_test.h"
#include "task/elf.h"
#include "task/exec_stack.h"
#include <elf.h>

static int parse_script(const char *s, struct script *out)
{
    return script_parse(span_of(s, strlen(s)), out);
}

TEST(script_lines)
{
    struct script s;
    assert_int_equal(parse_script("#!/bin/sh\n", &s), 0);
    assert_string_equal(s.interp, "/bin/sh");
    assert_false(s.has_arg);
    assert_int_equal(parse_script("#! \t/bin/sh  -e  x \nrest", &s), 0);
    assert_string_equal(s.interp, "/bin/sh");
    assert_string_equal(s.arg, "-e  x");
    assert_int_equal(parse_script("#!/bin/sh", &s), 0); // no newline, but the file ends
    assert_string_equal(s.interp, "/bin/sh");
    assert_int_equal(parse_script("#!\n/bin/sh", &s), -ENOEXEC);
    assert_int_equal(parse_script("#!  \t \n", &s), -ENOEXEC);
    assert_int_equal(parse_script("#", &s), -ENOEXEC);
    assert_int_equal(parse_script("", &s), -ENOEXEC);
    assert_int_equal(parse_script("##!/bin/sh", &s), -ENOEXEC);
    char longer[400];
    memset(longer, 'a', sizeof(longer));
    memcpy(longer, "#!/", 3);
    assert_int_equal(script_parse(span_of(longer, sizeof(longer)), &s), -ENOEXEC); // name cut
    longer[100] = ' ';
    assert_int_equal(script_parse(span_of(longer, sizeof(longer)), &s), 0); // argument cut
    assert_int_equal(strlen(s.interp), 98);
    assert_int_equal(strlen(s.arg), 255 - 101);
}

static Elf64_Ehdr good_ehdr(void)
{
    Elf64_Ehdr e = {.e_type = ET_DYN,
                    .e_machine = EM_X86_64,
                    .e_version = 1,
                    .e_entry = 0x1000,
                    .e_phoff = 64,
                    .e_ehsize = 64,
                    .e_phentsize = 56,
                    .e_phnum = 1};
    memcpy(e.e_ident, ELFMAG, SELFMAG);
    e.e_ident[EI_CLASS] = ELFCLASS64;
    e.e_ident[EI_DATA] = ELFDATA2LSB;
    return e;
}

static int parse_header(const Elf64_Ehdr *e)
{
    struct elf_header h;
    return elf_parse_header(span_of(e, sizeof(*e)), &h);
}

TEST(elf_header_checks)
{
    Elf64_Ehdr e = good_ehdr();
    struct elf_header h;
    assert_int_equal(parse_header(&e), 0);
    assert_int_equal(elf_parse_header(span_of(&e, 57), &h), -ENOEXEC);
    e.e_machine = EM_386;
    assert_int_equal(parse_header(&e), -ENOEXEC);
    e = good_ehdr();
    e.e_type = ET_REL;
    assert_int_equal(parse_header(&e), -ENOEXEC);
    e = good_ehdr();
    e.e_phentsize = 32;
    assert_int_equal(parse_header(&e), -ENOEXEC);
    e = good_ehdr();
    e.e_phnum = 0;
    assert_int_equal(parse_header(&e), -ENOEXEC);
    e.e_phnum = 1171; // more than 64 KiB of headers
    assert_int_equal(parse_header(&e), -ENOEXEC);
    e = good_ehdr();
    e.e_phoff = UINT64_MAX - 8;
    assert_int_equal(parse_header(&e), -ENOEXEC);
}

static struct elf_segment segs[8];
static int parse_phdrs(const Elf64_Phdr *p, size_t n, struct elf_image *img)
{
    *img = (struct elf_image){.h = {.dyn = true, .phoff = 64, .phnum = (uint16_t)n}, .seg = segs};
    return elf_parse_phdrs(span_of(p, n * sizeof(*p)), img);
}

TEST(elf_segments)
{
    struct elf_image img;
    Elf64_Phdr p[3] = {
        {.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_filesz = 0x800, .p_memsz = 0x800,
         .p_align = 0x1000},
        {.p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_offset = 0xe10, .p_vaddr = 0x3e10,
         .p_filesz = 0x200, .p_memsz = 0x5000, .p_align = 0x200000},
        {.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W | PF_X}};
    assert_int_equal(parse_phdrs(p, 3, &img), 0);
    assert_int_equal(img.nseg, 2);
    assert_int_equal(img.low, 0);
    assert_int_equal(img.high, 0x9000);
    assert_int_equal(img.brk, 0x8e10);
    assert_int_equal(img.align, 0x200000);
    assert_int_equal(img.phdr, 64);
    assert_int_equal(img.end_code, 0x800);
    assert_int_equal(img.start_data, 0x3e10);
    assert_true(img.exec_stack);
    p[1].p_filesz = 0x6000; // more in the file than in memory
    assert_int_equal(parse_phdrs(p, 3, &img), -EINVAL);
    p[1].p_filesz = 0x200;
    p[1].p_offset = 0xe11; // not congruent
    assert_int_equal(parse_phdrs(p, 3, &img), -ENOEXEC);
    p[1].p_offset = UINT64_MAX - 0x1ef; // congruent, wraps
    assert_int_equal(parse_phdrs(p, 3, &img), -ENOEXEC);
    p[1].p_offset = 0xe10;
    p[1].p_memsz = UINT64_MAX;
    assert_int_equal(parse_phdrs(p, 3, &img), -ENOEXEC);
    p[1].p_type = p[0].p_type = PT_NOTE; // nothing to load
    assert_int_equal(parse_phdrs(p, 3, &img), -ENOEXEC);
    p[1] = (Elf64_Phdr){.p_type = PT_INTERP, .p_filesz = 1};
    assert_int_equal(parse_phdrs(p, 3, &img), -ENOEXEC);
    p[1].p_filesz = 5000;
    assert_int_equal(parse_phdrs(p, 3, &img), -ENOEXEC);
}

TEST(exec_string_limits)
{
    static char big[200 << 10];
    memset(big, 'x', sizeof(big) - 1);
    struct exec_strings s = {
        .argv = big, .argv_len = sizeof(big), .argc = 1, .envp = "", .execfn = "f"};
    assert_int_equal(exec_strings_check(&s, 8 << 20), -E2BIG); // one string over MAX_ARG_STRLEN
    big[100 << 10] = 0;
    s.argc = 2;
    assert_int_equal(exec_strings_check(&s, 8 << 20), 0);
    assert_int_equal(exec_strings_check(&s, 64 << 10), -E2BIG); // a small stack still has 128 KiB
    s.argc = 3; // more than there are
    assert_int_equal(exec_strings_check(&s, 8 << 20), -E2BIG);
}

TEST(exec_stack_layout)
{
    struct mm *mm;
    struct pcontext *ctx;
    mm_use_platform(&fake_ops);
    assert_int_equal(mm_new(nullptr, &mm, &ctx), 0);
    uint64_t top = 1000 * PAGE_SIZE, w[64], sp;
    assert_int_equal(mm_map_stack(mm, ctx, top, 8 * PAGE_SIZE, 0, 3), 0);
    struct stack_plan p = {.str = {.argv = "prog\0arg", .argv_len = 9, .argc = 2, .envp = "A=1",
                                   .envp_len = 4, .envc = 1, .execfn = "/bin/prog"},
                           .entry = 0x1234, .sub_page = 1111, .uid = 5};
    stack_plan_at(&p, top);
    assert_int_equal(stack_plan_write(&p, mm), 0);
    sp = p.sp;
    assert_int_equal(sp % 16, 0);
    assert_int_equal(copy_in(mm, w, UADDR(sp), sizeof(w)), 0);
    assert_int_equal(w[0], 2);
    char b[16];
    assert_int_equal(copy_in_str(mm, b, UADDR(w[2]), 16), 3);
    assert_string_equal(b, "arg");
    assert_int_equal(w[3], 0);
    assert_int_equal(copy_in_str(mm, b, UADDR(w[4]), 16), 3);
    assert_string_equal(b, "A=1");
    assert_int_equal(w[5], 0);
    bool uid = false, end = false;
    for (size_t i = 6; i < 60 && !end; i += 2) {
        end = w[i] == AT_NULL;
        uid |= w[i] == AT_UID && w[i + 1] == 5;
        if (w[i] == AT_EXECFN || w[i] == AT_PLATFORM) {
            assert_true(copy_in_str(mm, b, UADDR(w[i + 1]), 16) > 0);
            assert_string_equal(b, w[i] == AT_EXECFN ? "/bin/prog" : "x86_64");
        }
    }
    assert_true(uid && end);
    assert_int_equal(mm->arg_end - mm->arg_start, 9);
    assert_int_equal(mm->env_end - mm->env_start, 4);
    fake_ctx_free(ctx);
    mm_put(mm);
}
