// SPDX-License-Identifier: Apache-2.0
// execve and execveat: copies the strings in, opens the program, and hands over to task/exec.c.
#include "abi/errno.h"
#include "base/slab.h"
#include "sys/protos.h"
#include "task/internal.h"
#include <fcntl.h>
#include <string.h>

constexpr size_t ARG_STRING_MAX = 131072;    // MAX_ARG_STRLEN
constexpr size_t ARG_TOTAL_MAX = 6u << 20;   // the exact limit is checked with the stack's
constexpr size_t EXEC_PATH_MAX = 4096;

// Strings and pointer arrays lie close together: pages are read whole, each mostly once.
struct arg_page {
    uint64_t start;
    size_t have; // 0: nothing
    char data[PAGE_SIZE];
};
struct arg_reader {
    struct mm *mm;
    unsigned next;
    struct arg_page page[4];
};

// What is readable from addr to the end of its page; null: nothing.
static const char *args_at(struct arg_reader *r, uint64_t addr, size_t *n)
{
    uint64_t start = PAGE_ALIGN_DOWN(addr);
    size_t off = addr - start;
    struct arg_page *p = nullptr;
    for (size_t i = 0; i < ARRAY_LEN(r->page) && !p; i++)
        if (r->page[i].have && r->page[i].start == start)
            p = &r->page[i];
    if (!p) {
        p = &r->page[r->next++ % ARRAY_LEN(r->page)];
        long got = copy_in_partial(r->mm, p->data, UADDR(start), PAGE_SIZE);
        p->start = start;
        p->have = got > 0 ? (size_t)got : 0;
    }
    if (off >= p->have)
        return nullptr;
    *n = p->have - off;
    return p->data + off;
}

static int args_word(struct arg_reader *r, uint64_t addr, uint64_t *word)
{
    for (size_t done = 0, n; done < sizeof(*word); done += n) {
        const char *p = args_at(r, addr + done, &n);
        if (!p)
            return -EFAULT;
        n = MIN(n, sizeof(*word) - done);
        memcpy((char *)word + done, p, n);
    }
    return 0;
}

// One string with its NUL, of at most max bytes with it.
static int args_string(struct arg_reader *r, uint64_t addr, size_t max, struct strbuf *out)
{
    for (size_t done = 0, n; done < max; done += n) {
        const char *p = args_at(r, addr + done, &n);
        if (!p)
            return -EFAULT;
        n = MIN(n, max - done);
        const char *nul = memchr(p, 0, n);
        strbuf_put(out, p, nul ? (size_t)(nul - p) + 1 : n);
        if (out->bad)
            return -ENOMEM;
        if (nul)
            return 0;
    }
    return -E2BIG;
}

// A null-terminated array of string pointers; a null array is an empty one.
static int copy_args(struct arg_reader *r, uaddr_t array, struct strbuf *out, int *count)
{
    uint64_t p;
    *count = 0;
    if (uaddr_null(array))
        return 0;
    for (uint64_t at = array.v;; at += sizeof(p)) {
        int err = args_word(r, at, &p);
        if (err || !p)
            return err;
        err = args_string(r, p, ARG_STRING_MAX, out);
        if (err)
            return err;
        ++*count;
        if (out->len > ARG_TOTAL_MAX)
            return -E2BIG;
        if (*count % 64 == 0 && fiber_interrupted(PARK_KILLABLE))
            return -EINTR;
    }
}

static int exec_strings(struct task *t, struct file *exe, const char *name, struct arg_reader *r,
                        uaddr_t argv, uaddr_t envp)
{
    struct strbuf a = {}, e = {};
    int argc, envc;
    int err = copy_args(r, argv, &a, &argc);
    if (!err)
        err = copy_args(r, envp, &e, &envc);
    if (!err)
        err = task_exec(t, exe, name, &a, argc, &e, envc);
    strbuf_free(&a);
    strbuf_free(&e);
    return err;
}

// The name that the program sees (AT_EXECFN, scripts): of a descriptor, as Linux makes it.
static int exec_name(int dirfd, const char *path, struct strbuf *name)
{
    if (dirfd == AT_FDCWD || *path == '/')
        strbuf_str(name, path);
    else if (!*path)
        strbuf_fmt(name, "/dev/fd/%d", dirfd);
    else
        strbuf_fmt(name, "/dev/fd/%d/%s", dirfd, path);
    return name->bad ? -ENOMEM : 0;
}

long sys_execveat(struct task *t, int dirfd, uaddr_t path, uaddr_t argv, uaddr_t envp, uint32_t flags)
{
    struct strbuf name = {}, file = {};
    struct file *exe = nullptr;
    if (flags & ~(uint32_t)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
        return -EINVAL;
    struct arg_reader *r = mem_alloc(sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->mm = t->mm;
    int err = args_string(r, path.v, EXEC_PATH_MAX, &file);
    if (err == -E2BIG)
        err = -ENAMETOOLONG;
    if (!err && !*file.p && !(flags & AT_EMPTY_PATH))
        err = -ENOENT;
    if (!err)
        err = exec_name(dirfd, file.p, &name);
    if (!err)
        err = exec_open(t, dirfd, file.p, (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
                        (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0), &exe);
    strbuf_free(&file);
    if (!err)
        err = exec_strings(t, exe, name.p, r, argv, envp);
    mem_free(r);
    if (exe)
        file_put(exe);
    strbuf_free(&name);
    return err;
}

long sys_execve(struct task *t, uaddr_t path, uaddr_t argv, uaddr_t envp)
{
    return sys_execveat(t, AT_FDCWD, path, argv, envp, 0);
}
