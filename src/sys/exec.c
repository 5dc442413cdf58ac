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
constexpr size_t ARG_CHUNK = 4096;
constexpr size_t ARG_POINTERS = 64;
constexpr size_t EXEC_PATH_MAX = 4096;

// One string of any length up to the limit, with its NUL.
static int copy_arg(struct task *t, uint64_t addr, struct strbuf *out, char *chunk)
{
    for (size_t done = 0; done < ARG_STRING_MAX; done += ARG_CHUNK) {
        long n = copy_in_str(t->mm, chunk, UADDR(addr + done), ARG_CHUNK);
        if (n >= 0) {
            strbuf_put(out, chunk, (size_t)n + 1);
            return out->bad ? -ENOMEM : 0;
        }
        if (n != -ENAMETOOLONG)
            return (int)n;
        strbuf_put(out, chunk, ARG_CHUNK);
        if (out->bad)
            return -ENOMEM;
    }
    return -E2BIG;
}

// A null-terminated array of string pointers; a null array is an empty one.
static int copy_args(struct task *t, uaddr_t array, struct strbuf *out, int *count, char *chunk)
{
    uint64_t p[ARG_POINTERS];
    *count = 0;
    if (uaddr_null(array))
        return 0;
    for (uint64_t at = array.v;; at += sizeof(p)) {
        long n = copy_in_partial(t->mm, p, UADDR(at), sizeof(p));
        if (n < (long)sizeof(p[0]))
            return -EFAULT;
        size_t have = (size_t)n / sizeof(p[0]);
        for (size_t i = 0; i < have; i++) {
            if (!p[i])
                return 0;
            int err = copy_arg(t, p[i], out, chunk);
            if (err)
                return err;
            ++*count;
            if (out->len > ARG_TOTAL_MAX)
                return -E2BIG;
        }
        if (have < ARG_POINTERS)
            return -EFAULT;
        if (fiber_interrupted(PARK_KILLABLE))
            return -EINTR;
    }
}

static int exec_strings(struct task *t, struct file *exe, const char *name, uaddr_t argv, uaddr_t envp)
{
    struct strbuf a = {}, e = {};
    int argc, envc;
    char *chunk = mem_alloc(ARG_CHUNK);
    int err = chunk ? copy_args(t, argv, &a, &argc, chunk) : -ENOMEM;
    if (!err)
        err = copy_args(t, envp, &e, &envc, chunk);
    mem_free(chunk);
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
    struct strbuf name = {};
    struct file *exe = nullptr;
    if (flags & ~(uint32_t)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
        return -EINVAL;
    char *buf = mem_alloc(EXEC_PATH_MAX);
    if (!buf)
        return -ENOMEM;
    long n = copy_in_str(t->mm, buf, path, EXEC_PATH_MAX);
    int err = n < 0 ? (int)n : 0;
    if (!err && n == 0 && !(flags & AT_EMPTY_PATH))
        err = -ENOENT;
    if (!err)
        err = exec_name(dirfd, buf, &name);
    if (!err)
        err = exec_open(t, dirfd, buf, (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
                        (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0), &exe);
    mem_free(buf);
    if (!err)
        err = exec_strings(t, exe, name.p, argv, envp);
    if (exe)
        file_put(exe);
    strbuf_free(&name);
    return err;
}

long sys_execve(struct task *t, uaddr_t path, uaddr_t argv, uaddr_t envp)
{
    return sys_execveat(t, AT_FDCWD, path, argv, envp, 0);
}
