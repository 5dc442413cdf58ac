// SPDX-License-Identifier: Apache-2.0
// execve: finds the program behind scripts, builds the whole new image in a fresh address space,
// and only then, past task_exec_begin(), lets go of the old one. So nearly every failure is still
// an error of the call, where Linux would have to kill the process.
#include "abi/errno.h"
#include "base/slab.h"
#include "host/raw.h"
#include "task/elf_load.h"
#include "task/exec_stack.h"
#include "task/task.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/personality.h>
#include <stdckdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

constexpr int SCRIPT_DEPTH = 5;
constexpr uint64_t ONE_GIB = 1ull << 30;

struct exec {
    struct task *t;
    struct file *file;           // ref, writing denied: the program that is loaded in the end
    struct file *ldso;           // ref, writing denied: its PT_INTERP, or null
    struct elf_file elf, ldso_elf;
    struct exec_strings str;     // borrows the caller's, or own_argv
    struct strbuf own_argv;      // rewritten by scripts
    struct cred *cred;           // owned until committed
    bool secure, unreadable, randomize;
    uint32_t personality;
    struct mm_limits lim;
    struct mm *mm;
    struct pcontext *ctx;
    uint64_t entry;
    uint64_t sp;
};

// --- files ---------------------------------------------------------------------------------------

static bool may_map_exec(const struct file *f)
{
    return !f->path.mnt || !(f->path.mnt->flags & MS_NOEXEC);
}

int exec_open(struct task *t, int dirfd, const char *name, unsigned lookup_flags, struct file **out)
{
    struct lookup_ctx lc = task_lookup_ctx(t);
    struct path p;
    int err = path_lookup(&lc, dirfd, name, lookup_flags, &p);
    if (err)
        return err;
    struct inode *i = p.dentry->inode;
    if (S_ISLNK(i->mode))
        err = -ELOOP;
    else if (!S_ISREG(i->mode) || (p.mnt && (p.mnt->flags & MS_NOEXEC)))
        err = -EACCES;
    else
        err = inode_permission(i, 1, t->cred);
    // Execution needs no right to read: the kernel reads in its own name.
    struct cred *kernel = err ? nullptr : cred_new();
    if (!err)
        err = kernel ? vfs_open_path(&p, O_RDONLY, kernel, out) : -ENOMEM;
    if (kernel)
        cred_put(kernel);
    path_put(p);
    return err;
}

static int hold_exe(struct file *f, struct file **slot)
{
    if (!f->inode || !S_ISREG(f->inode->mode) || !may_map_exec(f))
        return -EACCES;
    int err = inode_deny_write(f->inode);
    if (!err)
        *slot = file_get(f);
    return err;
}

static void drop_exe(struct file **slot)
{
    if (!*slot)
        return;
    inode_allow_write((*slot)->inode);
    file_put(*slot);
    *slot = nullptr;
}

static void exe_get(void *f)
{
    struct file *file = file_get(f);
    int err = inode_deny_write(file->inode); // the mm that is copied denies already
    CHECK(!err);
}

static void exe_put(void *f)
{
    struct file *file = f;
    drop_exe(&file);
}

static void mapped_get(void *f)
{
    file_get(f);
}

static void mapped_put(void *f)
{
    file_put(f);
}

// The path as the reader of maps sees it.
static void mapped_print(void *f, uint64_t *dev, uint64_t *ino, struct strbuf *out)
{
    const struct inode *i = ((struct file *)f)->inode;
    *dev = i->sb->dev;
    *ino = i->ino;
    struct task *t = task_current();
    struct path root = {};
    if (t && t->fs) {
        mutex_lock(&t->fs->lock);
        root = path_get(t->fs->root);
        mutex_unlock(&t->fs->lock);
    }
    (void)file_print(f, root.mnt ? &root : nullptr, out);
    path_put(root);
}

static uint64_t current_sp(const struct mm *mm)
{
    const struct task *t = task_current();
    return t && t->mm == mm ? t->regs.rsp : 0;
}

static const struct mm_file_ops mapped_ops = {
    .get = mapped_get, .put = mapped_put, .print = mapped_print, .current_sp = current_sp};

__attribute__((constructor)) static void register_file_ops(void)
{
    mm_use_file_ops(&mapped_ops);
}

static const struct mm_exe_ops exe_ops = {.get = exe_get, .put = exe_put};

// --- scripts -------------------------------------------------------------------------------------

// argv becomes: interpreter, its argument, the script's name, argv[1...].
static int rewrite_argv(struct exec *x, const struct script *s, const char *script_name)
{
    struct strbuf b = {};
    const char *old = x->str.argv;
    size_t skip = x->str.argc ? strnlen(old, x->str.argv_len) + 1 : 0;
    skip = MIN(skip, x->str.argv_len);
    strbuf_put(&b, s->interp, strlen(s->interp) + 1);
    if (s->has_arg)
        strbuf_put(&b, s->arg, strlen(s->arg) + 1);
    strbuf_put(&b, script_name, strlen(script_name) + 1);
    strbuf_put(&b, old + skip, x->str.argv_len - skip);
    if (b.bad) {
        strbuf_free(&b);
        return -ENOMEM;
    }
    strbuf_free(&x->own_argv);
    x->own_argv = b;
    x->str.argc = (x->str.argc ? x->str.argc - 1 : 0) + 2 + s->has_arg;
    x->str.argv = b.p;
    x->str.argv_len = b.len;
    return 0;
}

// Follows "#!" lines from exe to an ELF file: x->file, its headers in x->elf.
static int find_program(struct exec *x, struct file *exe, const char *filename)
{
    struct script s, prev;
    uint8_t buf[EXEC_BUF_SIZE];
    int err = hold_exe(exe, &x->file);
    for (int depth = 0; !err; depth++) {
        if (depth > SCRIPT_DEPTH)
            return -ELOOP;
        memset(buf, 0, sizeof(buf));
        long n = file_read_kernel(x->file, buf, sizeof(buf), 0);
        if (n < 0)
            return (int)n;
        // Who may run but not read a file must not get at its text through a core or ptrace.
        x->unreadable |= inode_permission(x->file->inode, 4, x->t->cred) != 0;
        if (n < 2 || buf[0] != '#' || buf[1] != '!')
            return elf_file_read(x->file, buf, (size_t)n, &x->elf);
        err = script_parse(span_of(buf, (size_t)n), &s);
        if (!err)
            err = rewrite_argv(x, &s, depth ? prev.interp : filename);
        struct file *f = nullptr;
        if (!err)
            err = exec_open(x->t, AT_FDCWD, s.interp, LOOKUP_FOLLOW, &f);
        if (err)
            return err;
        drop_exe(&x->file);
        err = hold_exe(f, &x->file);
        file_put(f);
        prev = s;
    }
    return err;
}

static int find_ldso(struct exec *x)
{
    if (!x->elf.img.interp_len)
        return 0;
    char *path = mem_alloc(PATH_MAX);
    if (!path)
        return -ENOMEM;
    struct file *f = nullptr;
    int err = elf_interp_name(x->file, &x->elf, path);
    if (!err)
        err = exec_open(x->t, AT_FDCWD, path, LOOKUP_FOLLOW, &f);
    mem_free(path);
    if (err)
        return err;
    err = hold_exe(f, &x->ldso);
    file_put(f);
    if (err)
        return err;
    uint8_t buf[EXEC_BUF_SIZE];
    long n = file_read_kernel(x->ldso, buf, sizeof(buf), 0);
    if (n < 0)
        return (int)n;
    if ((size_t)n < ELF_EHDR_SIZE)
        return -EIO;
    x->unreadable |= inode_permission(x->ldso->inode, 4, x->t->cred) != 0;
    err = elf_file_read(x->ldso, buf, (size_t)n, &x->ldso_elf);
    return err == -ENOEXEC ? -ELIBBAD : err;
}

// --- the layout ----------------------------------------------------------------------------------

static uint64_t random_pages(const struct exec *x, int bits)
{
    uint64_t r = 0;
    if (!x->randomize || host_call(__NR_getrandom, &r, sizeof(r), 0) != sizeof(r))
        return 0;
    return (r & ((1ull << bits) - 1)) << PAGE_SHIFT;
}

// As arch/x86/mm/mmap.c: room for the stack with its randomisation, then up to a TiB more.
static void set_mmap_base(struct exec *x)
{
    struct mm *mm = x->mm;
    uint64_t gap = x->lim.stack, pad = STACK_GUARD_GAP_BYTES;
    constexpr uint64_t MIN_GAP = 128ull << 20;
    if (x->randomize)
        pad += 0x3fffffull << PAGE_SHIFT;
    mm->legacy_layout = x->lim.stack == UINT64_MAX || (x->personality & ADDR_COMPAT_LAYOUT);
    if (ckd_add(&gap, gap, pad))
        gap = UINT64_MAX;
    gap = MAX(gap, MIN_GAP);
    gap = MIN(gap, mm->task_size / 6 * 5);
    mm->mmap_base = PAGE_ALIGN_UP(mm->task_size - gap - random_pages(x, 28));
}

// ELF_ET_DYN_BASE of a full 47-bit address space: without randomisation programs lie where
// debuggers and their users expect them.
static uint64_t dyn_base(const struct exec *x)
{
    constexpr uint64_t LINUX_BASE = 0x7ffffffff000ull / 3 * 2;
    uint64_t size = x->mm->task_size;
    return size > LINUX_BASE + (1ull << 44) ? LINUX_BASE : size / 3 * 2;
}

// Where a position-independent image goes: with an interpreter two thirds up, alone like a mapping.
static int place_program(struct exec *x)
{
    struct elf_image *img = &x->elf.img;
    uint64_t len = img->high - img->low, addr = 0;
    x->elf.bias = 0;
    if (!img->h.dyn)
        return img->high <= x->mm->task_size && mm_range_free(x->mm, img->low, len) ? 0 : -ENOMEM;
    for (int tries = 0; x->ldso && tries < 8; tries++) {
        addr = PAGE_ALIGN_DOWN(dyn_base(x) + random_pages(x, 28)) & ~(img->align - 1);
        if (addr >= MM_MIN_ADDR && addr < x->mm->task_size && len < x->mm->task_size - addr &&
            mm_range_free(x->mm, addr, len))
            goto found;
    }
    int err = mm_find_gap(x->mm, len, img->align, &addr);
    if (err)
        return err;
found:
    // The first segment's own page offset within the alignment stays as it was linked.
    x->elf.bias = addr - (img->low & ~(img->align - 1));
    if (!mm_range_free(x->mm, x->elf.bias + img->low, len))
        x->elf.bias = addr - img->low;
    return 0;
}

static int place_ldso(struct exec *x)
{
    struct elf_image *img = &x->ldso_elf.img;
    uint64_t len = img->high - img->low, addr;
    if (!img->h.dyn) {
        x->ldso_elf.bias = 0;
        return img->high <= x->mm->task_size && mm_range_free(x->mm, img->low, len) ? 0 : -ENOMEM;
    }
    int err = mm_find_gap(x->mm, len, img->align, &addr);
    x->ldso_elf.bias = err ? 0 : addr - img->low;
    return err;
}

static void set_segments(struct exec *x)
{
    const struct elf_image *img = &x->elf.img;
    struct mm *mm = x->mm;
    uint64_t b = x->elf.bias, brk = PAGE_ALIGN_UP(img->brk + b);
    mm->start_code = img->start_code == UINT64_MAX ? 0 : img->start_code + b;
    mm->end_code = img->end_code + (img->end_code ? b : 0);
    mm->start_data = img->start_data + b;
    mm->end_data = img->end_data + b;
    // A loader run by itself sits among the mappings: its heap goes where programs go.
    if (x->randomize && img->h.dyn && !x->ldso)
        brk = PAGE_ALIGN_DOWN(dyn_base(x));
    brk += random_pages(x, 18); // up to 1 GiB
    mm->brk = mm->brk_start = MIN(brk, mm->task_size - PAGE_SIZE);
}

static int load_images(struct exec *x)
{
    set_mmap_base(x);
    int err = place_program(x);
    if (!err)
        err = elf_load(x->mm, x->ctx, &x->elf, may_map_exec(x->file), &x->lim);
    if (err)
        return err;
    set_segments(x);
    x->entry = x->elf.bias + x->elf.img.h.entry;
    if (x->ldso) {
        err = place_ldso(x);
        if (!err)
            err = elf_load(x->mm, x->ctx, &x->ldso_elf, may_map_exec(x->ldso), &x->lim);
        x->entry = x->ldso_elf.bias + x->ldso_elf.img.h.entry;
    }
    // A program that starts nowhere would fault at once; Linux refuses it as well.
    return err ? err : x->entry >= x->mm->task_size ? -EINVAL : 0;
}

// --- the stack -----------------------------------------------------------------------------------

static int build_stack(struct exec *x)
{
    struct mm *mm = x->mm;
    const struct elf_image *img = &x->elf.img;
    struct stack_plan p = {
        .str = x->str,
        .phdr = img->phdr ? img->phdr + x->elf.bias : 0,
        .phnum = img->h.phnum,
        .entry = x->elf.bias + img->h.entry,
        .base = x->ldso ? x->ldso_elf.bias : 0,
        .uid = x->cred->uid,
        .euid = x->cred->euid,
        .gid = x->cred->gid,
        .egid = x->cred->egid,
        .secure = x->secure,
    };
    uint64_t vdso = 0, start, end;
    mm_platform()->vdso(&vdso, &start, &end);
    p.vdso = vdso;
    uint64_t limit = x->lim.stack, below = 0;
    if (x->randomize && (host_call(__NR_getrandom, &below, sizeof(below), 0) != sizeof(below)))
        below = 0;
    p.sub_page = below % 8192;
    if (host_call(__NR_getrandom, p.random, sizeof(p.random), 0) != sizeof(p.random))
        return -EIO;
    int prot = PROT_READ | PROT_WRITE | (img->exec_stack ? PROT_EXEC : 0);
    // The vDSO may be in the way of a stack: try elsewhere, at last right below it.
    int err = -ENOMEM;
    for (int tries = 0; err == -ENOMEM && tries < 6; tries++) {
        uint64_t top = mm->task_size;
        if (tries == 5 && mm->vdso_start && mm->vdso_start < top)
            top = mm->vdso_start;
        else
            top = PAGE_ALIGN_UP(top - random_pages(x, 22));
        stack_plan_at(&p, top);
        uint64_t size = top - PAGE_ALIGN_DOWN(p.strings) + (128 << 10);
        size = MAX(size, top - PAGE_ALIGN_DOWN(p.sp));
        err = mm_map_stack(mm, x->ctx, top, size, MIN(limit, ONE_GIB) & ~(PAGE_SIZE - 1), prot);
    }
    if (!err)
        err = stack_plan_write(&p, mm);
    if (err)
        return err;
    x->sp = p.sp;
    mm->start_stack = p.sp;
    return 0;
}

// --- the whole -----------------------------------------------------------------------------------

static int build_image(struct exec *x)
{
    int err = mm_new(x->t->group->container->zygote, &x->mm, &x->ctx);
    if (err)
        return err;
    x->mm->dumpable = false; // until committed
    const struct platform_ops *ops = mm_platform();
    if (ops->batch)
        ops->batch(x->ctx);
    err = load_images(x);
    if (!err)
        err = build_stack(x);
    int late = ops->batch ? ops->settle(x->ctx) : 0;
    err = late ? late : err;
    if (err)
        return err;
    x->mm->exe_ops = &exe_ops;
    x->mm->exe_file = x->file; // with its write denial
    x->file = nullptr;
    return 0;
}

static void exec_cleanup(struct exec *x)
{
    if (x->ctx)
        mm_platform()->context_free(x->ctx);
    mm_put(x->mm);
    elf_file_free(&x->elf);
    elf_file_free(&x->ldso_elf);
    drop_exe(&x->file);
    drop_exe(&x->ldso);
    strbuf_free(&x->own_argv);
    if (x->cred)
        cred_put(x->cred);
}

static void commit(struct exec *x, const char *filename)
{
    struct task *t = x->t;
    const char *slash = strrchr(filename, '/');
    x->mm->dumpable = !x->secure && !x->unreadable && x->cred->uid == x->cred->euid &&
                      x->cred->gid == x->cred->egid;
    t->personality = x->personality;
    task_exec_release_mm(t);
    mm_platform()->fp_reset(x->ctx);
    task_set_mm(t, x->mm, x->ctx);
    x->mm = nullptr;
    x->ctx = nullptr;
    task_exec_commit(t, slash ? slash + 1 : filename, x->cred);
    x->cred = nullptr;
    t->regs = (struct user_regs){
        .rip = x->entry, .rsp = x->sp, .rflags = 0x202, .cs = 0x33, .ss = 0x2b, .orig_rax = ~0ull};
}

int task_exec(struct task *t, struct file *exe, const char *filename, struct strbuf *argv,
              int argc, struct strbuf *envp, int envc)
{
    struct exec x = {.t = t, .lim = task_mm_limits(t)};
    x.str = (struct exec_strings){.argv = argv->p,
                                  .argv_len = argv->len,
                                  .envp = envp->p,
                                  .envp_len = envp->len,
                                  .argc = argc,
                                  .envc = envc,
                                  .execfn = filename};
    if (argc == 0) { // since Linux 5.18 nobody starts without argv[0]
        x.str.argv = "";
        x.str.argv_len = 1;
        x.str.argc = 1;
    }
    int err = find_program(&x, exe, filename);
    if (!err)
        err = exec_strings_check(&x.str, x.lim.stack);
    if (!err)
        err = find_ldso(&x);
    if (!err)
        err = cred_exec(t, x.file, &x.cred, &x.secure);
    if (!err) {
        x.personality = t->personality & ~(uint32_t)READ_IMPLIES_EXEC;
        if (x.secure)
            x.personality &= ~(uint32_t)PER_CLEAR_ON_SETID;
        x.randomize = !(x.personality & ADDR_NO_RANDOMIZE);
        err = build_image(&x);
    }
    if (!err)
        err = task_exec_begin(t);
    if (!err)
        commit(&x, filename);
    exec_cleanup(&x);
    return err;
}
