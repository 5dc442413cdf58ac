// SPDX-License-Identifier: Apache-2.0
// mmap, munmap, mprotect, madvise, msync, mincore, mlock: results, errors and what memory holds.
#include "gt.h"
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define PG 4096ul
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
static char *anon(size_t pages, int prot)
{
    char *p = mmap(0, pages * PG, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(p != MAP_FAILED);
    return p;
}
static int tmpfile_pages(int pages)
{
    char name[] = "gt-mmap-XXXXXX";
    int fd = GT_OK(mkstemp(name));
    GT_OK(unlink(name));
    for (int i = 0; i < pages; i++) {
        char b[PG];
        memset(b, 'a' + i, sizeof(b));
        GT_EQ(write(fd, b, sizeof(b)), sizeof(b));
    }
    return fd;
}
static sigjmp_buf jb;
static volatile int got_sig, got_code;
static void *volatile got_addr;
static void on_fault(int sig, siginfo_t *si, void *uc)
{
    got_sig = sig;
    got_code = si->si_code;
    got_addr = si->si_addr;
    siglongjmp(jb, 1);
}
static int faults(volatile char *p, int write)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &sa, 0);
    sigaction(SIGBUS, &sa, 0);
    got_sig = 0;
    if (!sigsetjmp(jb, 1)) {
        if (write)
            *p = 1;
        else
            (void)*p;
    }
    return got_sig;
}

GT(mmap_anonymous_is_zero)
{
    char *p = anon(4, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < 4 * PG; i++)
        GT_EQ(p[i], 0);
    memset(p, 7, 4 * PG);
    GT_OK(munmap(p, 4 * PG));
    GT_EQ(faults(p, 0), SIGSEGV);
    GT_EQ(got_code, SEGV_MAPERR);
    GT_TRUE(got_addr == p);
}

GT(mmap_errors)
{
    int fd = tmpfile_pages(1);
    GT_ERR((long)mmap(0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
    GT_ERR((long)mmap(0, PG, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
    GT_ERR((long)mmap(0, PG, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
    GT_ERR((long)mmap(0, PG, PROT_READ, MAP_PRIVATE, fd, 100), EINVAL);
    GT_ERR((long)mmap(0, -PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    GT_ERR((long)mmap(0, 1ul << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    GT_ERR((long)mmap((void *)(1ul << 60), PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), ENOMEM);
    GT_ERR((long)mmap((void *)0x10000001ul, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
    GT_ERR((long)syscall(SYS_mmap, 0, 2 * PG, PROT_READ, MAP_PRIVATE, fd, -PG), EOVERFLOW);
    int d = GT_OK(open(".", O_RDONLY));
    GT_ERR((long)mmap(0, PG, PROT_READ, MAP_PRIVATE, d, 0), ENODEV);
    int p[2];
    GT_OK(pipe(p));
    GT_ERR((long)mmap(0, PG, PROT_READ, MAP_PRIVATE, p[0], 0), ENODEV);
    GT_ERR((long)mmap(0, PG, PROT_READ, MAP_SHARED_VALIDATE | 0x200000, fd, 0), EOPNOTSUPP);
}

GT(mmap_access_modes)
{
    char name[] = "gt-mmap-XXXXXX";
    int rw = GT_OK(mkstemp(name));
    GT_EQ(write(rw, "hello", 5), 5);
    int ro = GT_OK(open(name, O_RDONLY)), wo = GT_OK(open(name, O_WRONLY));
    int op = GT_OK(open(name, O_PATH));
    unlink(name);
    GT_ERR((long)mmap(0, PG, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0), EACCES);
    GT_ERR((long)mmap(0, PG, PROT_READ, MAP_SHARED, wo, 0), EACCES);
    GT_ERR((long)mmap(0, PG, PROT_READ, MAP_PRIVATE, wo, 0), EACCES);
    GT_ERR((long)mmap(0, PG, PROT_READ, MAP_PRIVATE, op, 0), EBADF);
    char *p = mmap(0, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE, ro, 0);
    GT_TRUE(p != MAP_FAILED);
    p[0] = 'J';
    char b[5];
    GT_EQ(pread(ro, b, 5, 0), 5);
    GT_EQ(b[0], 'h'); // private
    char *s = mmap(0, PG, PROT_READ, MAP_SHARED, ro, 0);
    GT_TRUE(s != MAP_FAILED);
    GT_ERR(mprotect(s, PG, PROT_READ | PROT_WRITE), EACCES);
    GT_OK(mprotect(s, PG, PROT_NONE));
    GT_OK(mprotect(s, PG, PROT_READ));
    char *w = mmap(0, PG, PROT_READ, MAP_SHARED, rw, 0);
    GT_OK(mprotect(w, PG, PROT_READ | PROT_WRITE));
    w[1] = 'E';
    GT_EQ(pread(ro, b, 5, 0), 5);
    GT_EQ(b[1], 'E');
    GT_EQ(s[1], 'E');
}

GT(mmap_shared_file_coherent_with_io)
{
    int fd = tmpfile_pages(3);
    char *p = mmap(0, 2 * PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PG);
    GT_TRUE(p != MAP_FAILED);
    GT_EQ(p[0], 'b');
    GT_EQ(p[PG], 'c');
    GT_EQ(pwrite(fd, "XY", 2, PG), 2);
    GT_EQ(p[0], 'X');
    p[1] = 'Z';
    char b[2];
    GT_EQ(pread(fd, b, 2, PG), 2);
    GT_EQ(b[1], 'Z');
    GT_OK(msync(p, 2 * PG, MS_SYNC));
    GT_OK(close(fd));
    p[2] = 'q'; // outlives the descriptor
    GT_OK(munmap(p, 2 * PG));
}

GT(mmap_beyond_eof_is_sigbus)
{
    int fd = tmpfile_pages(1);
    char *p = mmap(0, 3 * PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    GT_TRUE(p != MAP_FAILED);
    GT_EQ(faults(p + PG, 0), SIGBUS);
    GT_EQ(got_code, BUS_ADRERR);
    GT_OK(ftruncate(fd, 3 * PG));
    GT_EQ(faults(p + PG, 0), 0);
    GT_EQ(p[PG], 0);
    GT_OK(ftruncate(fd, 10));
    GT_EQ(faults(p + PG, 1), SIGBUS);
    GT_EQ(p[0], 'a');
    GT_EQ(p[10], 0); // the tail of the last page is cleared
}

GT(mmap_fixed_replaces)
{
    char *p = anon(5, PROT_READ | PROT_WRITE);
    memset(p, 1, 5 * PG);
    GT_TRUE(mmap(p + PG, 2 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + PG);
    GT_EQ(p[0], 1);
    GT_EQ(p[PG], 0);
    GT_EQ(p[2 * PG], 0);
    GT_EQ(p[3 * PG], 1);
    GT_ERR((long)mmap(p + PG, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    GT_OK(munmap(p + PG, PG));
    GT_TRUE(mmap(p + PG, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p + PG);
    GT_TRUE(mmap(p + PG, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != p + PG); // a hint only
    GT_OK(munmap(p + 2 * PG, PG));
    GT_TRUE(mmap(p + 2 * PG, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == p + 2 * PG);
}

GT(mmap_32bit)
{
    char *p = mmap(0, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    GT_TRUE(p != MAP_FAILED && (unsigned long)p < 1ul << 31);
}

GT(munmap_edges)
{
    char *p = anon(6, PROT_READ | PROT_WRITE);
    GT_ERR(munmap(p + 1, PG), EINVAL);
    GT_ERR(munmap(p, 0), EINVAL);
    GT_ERR(munmap((void *)-PG, PG), EINVAL);
    GT_OK(munmap(p + 2 * PG, PG));
    GT_OK(munmap(p + 2 * PG, PG)); // nothing there: fine
    p[PG] = 1;
    p[3 * PG] = 1;
    GT_OK(munmap(p, 6 * PG)); // over a hole
}

GT(mprotect_faults_and_holes)
{
    char *p = anon(4, PROT_READ | PROT_WRITE);
    p[PG] = 5;
    GT_OK(mprotect(p + PG, PG, PROT_READ));
    GT_EQ(faults(p + PG, 1), SIGSEGV);
    GT_EQ(got_code, SEGV_ACCERR);
    GT_EQ(p[PG], 5);
    GT_OK(mprotect(p + PG, PG, PROT_NONE));
    GT_EQ(faults(p + PG, 0), SIGSEGV);
    GT_OK(mprotect(p + PG, 1, PROT_READ | PROT_WRITE));
    GT_EQ(faults(p + PG, 1), 0);
    GT_OK(munmap(p + 2 * PG, PG));
    GT_ERR(mprotect(p, 4 * PG, PROT_READ), ENOMEM);
    GT_EQ(faults(p, 1), SIGSEGV);         // in front of the hole: done
    GT_EQ(faults(p + 3 * PG, 1), 0);      // behind it: not
    GT_ERR(mprotect(p + 1, PG, PROT_READ), EINVAL);
    GT_ERR(mprotect(p, PG, 0x100), EINVAL);
    GT_OK(mprotect(p + 2 * PG, 0, PROT_READ));
    GT_ERR(mprotect(p, PG, PROT_READ | PROT_GROWSDOWN), EINVAL);
}

GT(mprotect_exec)
{
    unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
    char *p = anon(1, PROT_READ | PROT_WRITE);
    memcpy(p, code, sizeof(code));
    GT_OK(mprotect(p, PG, PROT_READ | PROT_EXEC));
    GT_EQ(((int (*)(void))p)(), 42);
    GT_OK(mprotect(p, PG, PROT_READ | PROT_WRITE));
    p[1] = 43;
    GT_OK(mprotect(p, PG, PROT_READ | PROT_EXEC));
    GT_EQ(((int (*)(void))p)(), 43);
}

GT(mmap_shared_anonymous_across_fork)
{
    volatile int *p = mmap(0, PG, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    volatile int *q = mmap(0, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *p = *q = 1;
    pid_t c = GT_OK(fork());
    if (!c) {
        *p = 2;
        *q = 2;
        _exit(0);
    }
    GT_EQ(waitpid(c, 0, 0), c);
    GT_EQ(*p, 2);
    GT_EQ(*q, 1);
}

GT(madvise_contents)
{
    char *p = anon(4, PROT_READ | PROT_WRITE);
    memset(p, 3, 4 * PG);
    GT_OK(madvise(p + PG, PG, MADV_DONTNEED));
    GT_EQ(p[0], 3);
    GT_EQ(p[PG], 0);
    GT_EQ(p[2 * PG], 3);
    int fd = tmpfile_pages(1);
    char *f = mmap(0, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    f[0] = 'z';
    GT_OK(madvise(f, PG, MADV_DONTNEED));
    GT_EQ(f[0], 'a');
    GT_OK(madvise(p, 4 * PG, MADV_FREE));
    GT_ERR(madvise(f, PG, MADV_FREE), EINVAL);
    GT_OK(madvise(p, 4 * PG, MADV_WILLNEED));
    GT_OK(madvise(p, 4 * PG, MADV_SEQUENTIAL));
    GT_OK(madvise(p, 4 * PG, MADV_RANDOM));
    GT_OK(madvise(p, 4 * PG, MADV_NORMAL));
    GT_ERR(madvise(p, 4 * PG, 9999), EINVAL);
    GT_ERR(madvise(p + 1, PG, MADV_DONTNEED), EINVAL);
    GT_OK(madvise(p, 0, MADV_DONTNEED));
    GT_OK(munmap(p + 2 * PG, PG));
    memset(p + 3 * PG, 4, PG);
    GT_ERR(madvise(p, 4 * PG, MADV_DONTNEED), ENOMEM);
    GT_EQ(p[3 * PG], 0); // behind the hole it is done all the same
}

GT(madvise_remove_and_populate)
{
    char *p = mmap(0, 2 * PG, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(p, 9, 2 * PG);
    GT_OK(madvise(p, PG, MADV_REMOVE));
    GT_EQ(p[0], 0);
    GT_EQ(p[PG], 9);
    char *q = anon(2, PROT_READ | PROT_WRITE);
    GT_ERR(madvise(q, PG, MADV_REMOVE), EINVAL);
    if (madvise(q, 2 * PG, MADV_POPULATE_WRITE))
        GT_EQ(errno, EINVAL); // before Linux 5.14
    else
        GT_ERR(madvise(anon(1, PROT_READ), PG, MADV_POPULATE_WRITE), EINVAL);
}

GT(madvise_fork_behaviour)
{
    char *keep = anon(1, PROT_READ | PROT_WRITE), *gone = anon(1, PROT_READ | PROT_WRITE);
    char *wipe = anon(1, PROT_READ | PROT_WRITE);
    *keep = *gone = *wipe = 1;
    GT_OK(madvise(gone, PG, MADV_DONTFORK));
    GT_OK(madvise(wipe, PG, MADV_WIPEONFORK));
    pid_t c = GT_OK(fork());
    if (!c) {
        GT_EQ(*keep, 1);
        GT_EQ(*wipe, 0);
        GT_EQ(faults(gone, 0), SIGSEGV);
        GT_EQ(got_code, SEGV_MAPERR);
        // The place is free in the child.
        GT_TRUE(mmap(gone, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == gone);
        _exit(0);
    }
    int st;
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
    GT_OK(madvise(gone, PG, MADV_DOFORK));
    GT_OK(madvise(wipe, PG, MADV_KEEPONFORK));
    c = GT_OK(fork());
    if (!c) {
        GT_EQ(*gone, 1);
        GT_EQ(*wipe, 1);
        _exit(0);
    }
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
    int fd = tmpfile_pages(1);
    GT_ERR(madvise(mmap(0, PG, PROT_READ, MAP_PRIVATE, fd, 0), PG, MADV_WIPEONFORK), EINVAL);
}

GT(msync_and_mincore_errors)
{
    char *p = anon(3, PROT_READ | PROT_WRITE);
    unsigned char vec[3];
    GT_OK(msync(p, 3 * PG, MS_ASYNC));
    GT_ERR(msync(p, PG, MS_ASYNC | MS_SYNC), EINVAL);
    GT_ERR(msync(p + 1, PG, MS_SYNC), EINVAL);
    GT_ERR(msync(p, PG, 0x80), EINVAL);
    memset(p, 1, 3 * PG);
    GT_OK(mincore(p, 3 * PG, vec));
    GT_EQ(vec[2] & 1, 1);
    GT_ERR(mincore(p + 1, PG, vec), EINVAL);
    GT_ERR(mincore(p, PG, (void *)8), EFAULT);
    GT_OK(munmap(p + PG, PG));
    GT_ERR(msync(p, 3 * PG, MS_SYNC), ENOMEM);
    GT_ERR(mincore(p, 3 * PG, vec), ENOMEM);
}

GT(mlock_limits)
{
    struct rlimit r = {2 * PG, 2 * PG};
    if (geteuid() == 0 && setresuid(1000, 1000, 1000))
        GT_SKIP("cannot drop privileges");
    GT_OK(setrlimit(RLIMIT_MEMLOCK, &r));
    char *p = anon(4, PROT_READ | PROT_WRITE);
    GT_OK(mlock(p + 1, PG)); // two pages
    GT_ERR(mlock(p, 3 * PG), ENOMEM);
    GT_OK(mlock(p, 2 * PG));
    GT_ERR(madvise(p, PG, MADV_DONTNEED), EINVAL);
    GT_OK(munlock(p, PG));
    GT_OK(mlock(p + 2 * PG, PG));
    GT_ERR(mlockall(MCL_CURRENT), ENOMEM);
    GT_ERR(mlockall(0), EINVAL);
    GT_OK(munlockall());
    GT_OK(munmap(p + PG, PG));
    GT_ERR(munlock(p, 4 * PG), ENOMEM);
    r.rlim_cur = 0;
    GT_OK(setrlimit(RLIMIT_MEMLOCK, &r));
    GT_ERR(mlock(p, PG), EPERM);
}

GT(mmap_rlimits)
{
    struct rlimit r = {1ul << 30, 1ul << 30};
    GT_OK(setrlimit(RLIMIT_AS, &r));
    GT_ERR((long)mmap(0, 2ul << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), ENOMEM);
    char *p = mmap(0, 256ul << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(p != MAP_FAILED);
    r.rlim_cur = r.rlim_max = 64 << 20;
    GT_OK(setrlimit(RLIMIT_DATA, &r));
    GT_ERR((long)mmap(0, 128 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    GT_TRUE(mmap(0, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    GT_ERR(mprotect(p, 256ul << 20, PROT_READ | PROT_WRITE), ENOMEM);
}

GT(mmap_many)
{
    // Alternating protections, so that nothing merges; then all in one munmap.
    char *p = anon(4000, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 4000; i += 2)
        GT_OK(mprotect(p + i * PG, PG, PROT_READ));
    for (int i = 1; i < 4000; i += 2)
        p[i * PG] = 1;
    GT_OK(mprotect(p, 4000 * PG, PROT_READ | PROT_WRITE));
    GT_EQ(p[1 * PG], 1);
    GT_OK(munmap(p, 4000 * PG));
}

static volatile int stop;
static void *churn(void *arg)
{
    while (!stop) {
        char *p = mmap(0, 3 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return (void *)1;
        p[0] = p[PG] = p[2 * PG] = 1;
        if (munmap(p + PG, PG) || mprotect(p, PG, PROT_READ) || munmap(p, 3 * PG))
            return (void *)2;
    }
    return 0;
}
GT(mmap_threads_race)
{
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        GT_EQ(pthread_create(&t[i], 0, churn, 0), 0);
    usleep(300000);
    stop = 1;
    for (int i = 0; i < 4; i++) {
        void *r;
        GT_EQ(pthread_join(t[i], &r), 0);
        GT_TRUE(r == 0);
    }
}

GT(kernel_copies_respect_protection)
{
    int p[2];
    GT_OK(pipe(p));
    char *ro = anon(1, PROT_READ), *rw = anon(2, PROT_READ | PROT_WRITE);
    GT_EQ(write(p[1], "abcdef", 6), 6);
    GT_ERR(read(p[0], ro, 3), EFAULT);
    GT_OK(munmap(rw + PG, PG));
    memset(rw, 'x', PG);
    GT_ERR(write(p[1], rw + PG, 4), EFAULT);
    GT_ERR(open((char *)8, O_RDONLY), EFAULT);
    memcpy(rw + PG - 2, "/", 2); // a string that ends with its page
    GT_OK(open(rw + PG - 2, O_RDONLY));
    memset(rw + PG - 2, '/', 2);
    GT_ERR(open(rw + PG - 2, O_RDONLY), EFAULT);
    GT_ERR(write(p[1], (void *)0xffffffff80000000, 4), EFAULT);
}

GT(process_vm_between_processes)
{
    char *p = anon(2, PROT_READ | PROT_WRITE);
    strcpy(p, "parent");
    int a[2], b[2];
    GT_OK(pipe(a));
    GT_OK(pipe(b));
    pid_t c = GT_OK(fork());
    if (!c) {
        strcpy(p, "child");
        char x;
        write(a[1], "x", 1);
        read(b[0], &x, 1);
        _exit(strcmp(p, "CHILD") != 0);
    }
    char x, buf[16] = {};
    GT_EQ(read(a[0], &x, 1), 1);
    struct iovec l[2] = {{buf, 2}, {buf + 2, 4}}, r = {p, 6};
    GT_EQ(process_vm_readv(c, l, 2, &r, 1, 0), 6);
    GT_STR(buf, "child");
    l[0] = (struct iovec){"CHILD", 6};
    GT_EQ(process_vm_writev(c, l, 1, &r, 1, 0), 6);
    GT_EQ(write(b[1], "x", 1), 1);
    int st;
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
    r = (struct iovec){p, 2 * PG + 10}; // partial
    char *big = anon(4, PROT_READ | PROT_WRITE);
    GT_OK(munmap(p + PG, PG));
    l[0] = (struct iovec){big, 3 * PG};
    GT_EQ(process_vm_readv(getpid(), l, 1, &r, 1, 0), PG);
    r = (struct iovec){(void *)8, 8};
    GT_ERR(process_vm_readv(getpid(), l, 1, &r, 1, 0), EFAULT);
    GT_ERR(process_vm_readv(getpid(), l, 1, &r, 1, 1), EINVAL);
    GT_ERR(process_vm_readv(getpid(), l, 2000, &r, 1, 0), EINVAL);
    GT_ERR(process_vm_readv(999999, l, 1, &r, 1, 0), ESRCH);
    GT_EQ(process_vm_readv(getpid(), l, 0, &r, 1, 0), 0);
}


GT(mmap_growsdown)
{
    // A mapping that grows by faults just below it.
    char *area = anon(600, PROT_NONE);
    GT_OK(munmap(area, 600 * PG));
    char *p = mmap(area + 590 * PG, 4 * PG, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
    GT_TRUE(p != MAP_FAILED);
    GT_EQ(faults(p - 1, 1), 0);
    GT_EQ(faults(p - 3 * PG, 1), 0);
    p[-5 * (long)PG] = 3;
    GT_EQ(p[-5 * (long)PG], 3);
}
static int deep(int n)
{
    volatile char b[8000];
    b[0] = (char)n;
    return n ? deep(n - 1) + b[0] : 0;
}
GT(stack_grows)
{
    deep(600); // 4.8 MB of the usual 8
    char big[3 << 20]; // the kernel writes far below what was touched
    int p[2];
    GT_OK(pipe(p));
    GT_EQ(write(p[1], "hello", 5), 5);
    GT_EQ(read(p[0], big, 5), 5);
    GT_EQ(memcmp(big, "hello", 5), 0);
}
GT(stack_overflow_is_segv)
{
    pid_t c = GT_OK(fork());
    if (!c) {
        struct rlimit r = {0, 0};
        setrlimit(RLIMIT_CORE, &r);
        deep(100000);
        _exit(0);
    }
    int st;
    GT_EQ(waitpid(c, &st, 0), c);
    GT_TRUE(WIFSIGNALED(st));
    GT_EQ(WTERMSIG(st), SIGSEGV);
}
GT(pkey_without_hardware_or_with)
{
    char *p = anon(1, PROT_READ);
    GT_OK(syscall(SYS_pkey_mprotect, p, PG, PROT_READ | PROT_WRITE, -1));
    *p = 1;
    GT_ERR(syscall(SYS_pkey_alloc, 1, 0), EINVAL);
    GT_ERR(syscall(SYS_pkey_alloc, 0, 8), EINVAL);
    GT_ERR(syscall(SYS_pkey_free, 9), EINVAL);
}
GT_MAIN
