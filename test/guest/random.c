// SPDX-License-Identifier: Apache-2.0
// getrandom, called often enough for a kernel to have made a short cut of it: no bytes come twice,
// whoever asks (threads, children of every kind, new images), nothing of the caller changes but the
// buffer, and errors and flags are as at the first call.
#include "gt.h"
#include <elf.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>

static long rnd(void *buf, size_t n, unsigned flags) { return syscall(SYS_getrandom, buf, n, flags); }
static void reap(pid_t p)
{
    int st = -1;
    GT_EQ(waitpid(p, &st, __WALL), p);
    GT_EQ(st, 0);
}

// Draws of 16 bytes from everybody; sorted at the end, no two are the same.
enum { DRAWS = 65536 };
struct draws {
    unsigned n;
    unsigned char d[DRAWS][16];
};
static struct draws *all;
static void draws_begin(void)
{
    all = mmap(0, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(all != MAP_FAILED);
}
static int draw(int n)
{
    while (n--) {
        unsigned i = __atomic_fetch_add(&all->n, 1, __ATOMIC_SEQ_CST);
        if (i >= DRAWS || rnd(all->d[i], 16, 0) != 16)
            return 1;
    }
    return 0;
}
static int cmp16(const void *a, const void *b) { return memcmp(a, b, 16); }
static void draws_end(unsigned least)
{
    unsigned n = all->n, zeros = 0;
    GT_TRUE(n >= least && n <= DRAWS);
    qsort(all->d, n, 16, cmp16);
    for (unsigned i = 1; i < n; i++)
        GT_TRUE(memcmp(all->d[i - 1], all->d[i], 16));
    for (unsigned i = 0; i < n; i++)
        for (int j = 0; j < 16; j++)
            zeros += !all->d[i][j];
    GT_TRUE(zeros <= n / 4 + 64); // n / 16 are expected
}
static void *draw_thread(void *arg) { return (void *)(uintptr_t)draw((int)(uintptr_t)arg); }
static int draw_child(void *arg) { return draw((int)(uintptr_t)arg); }
static void *stack_new(void)
{
    char *m = mmap(0, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(m != MAP_FAILED);
    return m + (1 << 16);
}

GT(random_threads)
{
    pthread_t t[4];
    void *r;
    draws_begin();
    for (int round = 0; round < 3; round++) { // later threads where earlier ones have been
        for (int i = 0; i < 4; i++)
            GT_EQ(pthread_create(&t[i], 0, draw_thread, (void *)1000), 0);
        GT_EQ(draw(500), 0);
        for (int i = 0; i < 4; i++) {
            GT_EQ(pthread_join(t[i], &r), 0);
            GT_TRUE(!r);
        }
    }
    draws_end(3 * 4500);
}
GT(random_children)
{
    draws_begin();
    for (int i = 0; i < 30; i++) {
        GT_EQ(draw(25), 0);
        pid_t p = GT_OK(fork());
        if (!p) { // what the parent draws next is not what we do
            if (draw(25))
                _exit(1);
            pid_t q = fork();
            if (!q)
                _exit(draw(25));
            if (draw(25))
                _exit(1);
            reap(q);
            _exit(0);
        }
        GT_EQ(draw(25), 0);
        p = GT_OK(p);
        reap(p);
        reap(GT_OK(clone(draw_child, stack_new(), CLONE_VM | SIGCHLD, (void *)25)));
        reap(GT_OK(clone(draw_child, stack_new(), CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)25)));
    }
    draws_end(30 * 175);
}
// A new image begins with bytes of its own.
__attribute__((constructor)) static void image(void)
{
    const char *fd = getenv("RANDOM_DRAWS");
    if (!fd)
        return;
    all = mmap(0, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED, atoi(fd), 0);
    _exit(all == MAP_FAILED || draw(25));
}
GT(random_exec)
{
    char *argv[] = {"random", 0}, env[32], *envp[] = {env, 0};
    int fd = GT_OK(memfd_create("draws", 0));
    GT_OK(ftruncate(fd, sizeof(*all)));
    all = mmap(0, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    GT_TRUE(all != MAP_FAILED);
    snprintf(env, sizeof(env), "RANDOM_DRAWS=%d", fd);
    for (int i = 0; i < 20; i++) {
        GT_EQ(draw(25), 0);
        pid_t p = GT_OK(fork());
        if (!p) {
            if (i % 2)
                draw(25);
            execve("/proc/self/exe", argv, envp);
            _exit(9);
        }
        reap(p);
    }
    draws_end(20 * 62);
}

GT(random_sizes)
{
    unsigned char buf[1024 + 16];
    for (int round = 0; round < 3; round++) {
        for (size_t n = 0; n <= 1024; n += n < 300 ? 1 : 77) {
            memset(buf, 0, sizeof(buf));
            GT_EQ(rnd(buf + 8, n, n % 5), n);
            for (int i = 0; i < 8; i++) // nothing beside
                GT_TRUE(!buf[i] && !buf[8 + n + i]);
            int zeros = 0;
            for (size_t i = 0; i < n; i++)
                zeros += !buf[8 + i];
            GT_TRUE(zeros <= 12 + (int)n / 64);
        }
    }
}
GT(random_flags)
{
    unsigned char b[32];
    for (int round = 0; round < 20; round++) {
        for (unsigned f = 0; f < 8; f++) {
            if ((f & 6) == 6)
                GT_ERR(rnd(b, 32, f), EINVAL);
            else
                GT_EQ(rnd(b, 32, f), 32);
        }
        GT_ERR(rnd(b, 32, 8), EINVAL);
        GT_ERR(rnd(b, 32, ~0u), EINVAL);
        GT_ERR(rnd(b, 0, 8), EINVAL);
        GT_EQ(rnd(b, 0, 0), 0);
    }
}
GT(random_bad_buffer)
{
    unsigned char b[32], *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(m != MAP_FAILED);
    GT_OK(mprotect(m + 4096, 4096, PROT_READ));
    for (int round = 0; round < 20; round++) {
        GT_EQ(rnd(b, 32, 0), 32);
        GT_ERR(rnd(0, 32, 0), EFAULT);
        GT_ERR(rnd((void *)~0ul, 32, 0), EFAULT);
        GT_ERR(rnd((void *)(1ul << 63), 1, 0), EFAULT);
        GT_ERR(rnd(m + 4096, 32, 0), EFAULT);
        memset(m + 4000, 0, 96);
        GT_EQ(rnd(m + 4096 - 24, 64, 0), 24); // what fits
        int zeros = 0;
        for (int i = 0; i < 24; i++)
            zeros += !m[4096 - 24 + i];
        GT_TRUE(zeros < 8 && !m[4096 - 25]);
        GT_EQ(m[4096], 0);
    }
    unsigned char *big = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(big != MAP_FAILED);
    GT_OK(munmap(big + (1 << 19), 1 << 19));
    GT_EQ(rnd(big, 1 << 20, 0), 1 << 19);
}

// Whatever the registers hold, a system call leaves them.
struct regs {
    unsigned char xmm[16][16], ymm[16][32], zmm[32][64];
    uint64_t k[8];
};
static struct regs in, out;
static long call_xmm(void *buf, size_t n)
{
    long r;
    register long flags __asm__("rdx") = 0;
    __asm__ volatile(".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\tmovups 16*\\i(%[in]), %%xmm\\i\n\t.endr\n\t"
                     "mov $318, %%eax\n\tsyscall\n\t"
                     ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\tmovups %%xmm\\i, 16*\\i(%[out])\n\t.endr"
                     : "=&a"(r)
                     : "D"(buf), "S"(n), "r"(flags), [in] "r"(in.xmm), [out] "r"(out.xmm)
                     : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return r;
}
__attribute__((target("avx"))) static long call_ymm(void *buf, size_t n)
{
    long r;
    register long flags __asm__("rdx") = 0;
    __asm__ volatile(".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\tvmovups 32*\\i(%[in]), %%ymm\\i\n\t.endr\n\t"
                     "mov $318, %%eax\n\tsyscall\n\t"
                     ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\tvmovups %%ymm\\i, 32*\\i(%[out])\n\t.endr\n\t"
                     "vzeroupper"
                     : "=&a"(r)
                     : "D"(buf), "S"(n), "r"(flags), [in] "r"(in.ymm), [out] "r"(out.ymm)
                     : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return r;
}
#define IRP32 ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
__attribute__((target("avx512f,avx512bw"))) static long call_zmm(void *buf, size_t n)
{
    long r;
    register long flags __asm__("rdx") = 0;
    __asm__ volatile(IRP32 "vmovups 64*\\i(%[in]), %%zmm\\i\n\t.endr\n\t"
                     ".irp i,0,1,2,3,4,5,6,7\n\tkmovq 8*\\i(%[kin]), %%k\\i\n\t.endr\n\t"
                     "mov $318, %%eax\n\tsyscall\n\t"
                     ".irp i,0,1,2,3,4,5,6,7\n\tkmovq %%k\\i, 8*\\i(%[kout])\n\t.endr\n\t"
                     IRP32 "vmovups %%zmm\\i, 64*\\i(%[out])\n\t.endr\n\t"
                     "vzeroupper"
                     : "=&a"(r)
                     : "D"(buf), "S"(n), "r"(flags), [in] "r"(in.zmm), [out] "r"(out.zmm), [kin] "r"(in.k),
                       [kout] "r"(out.k)
                     : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17",
                       "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27",
                       "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7");
    return r;
}
static void vectors(long (*call)(void *, size_t), unsigned char *from, unsigned char *to, size_t n)
{
    unsigned char buf[300];
    for (int round = 0; round < 200; round++) {
        size_t len = 1 + round * 13 % 270;
        for (size_t i = 0; i < sizeof(in); i++)
            ((unsigned char *)&in)[i] = (unsigned char)(i * 7 + round + 1);
        memset(&out, 0, sizeof(out));
        GT_EQ(call(buf, len), len);
        GT_TRUE(!memcmp(from, to, n));
        GT_TRUE(call != call_zmm || !memcmp(in.k, out.k, sizeof(in.k)));
    }
}
GT(random_sse) { vectors(call_xmm, in.xmm[0], out.xmm[0], sizeof(in.xmm)); }
GT(random_avx)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx"))
        GT_SKIP("no AVX");
    vectors(call_ymm, in.ymm[0], out.ymm[0], sizeof(in.ymm));
}
GT(random_avx512)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw"))
        GT_SKIP("no AVX-512");
    vectors(call_zmm, in.zmm[0], out.zmm[0], sizeof(in.zmm));
}

// Signals come anywhere, and their handlers ask, too.
static volatile int hits, failed;
static void hit(int sig)
{
    struct itimerval next = {{0, 0}, {0, 150}}; // the slowest of kernels gets on in between
    hits++;
    failed |= draw(1);
    setitimer(ITIMER_REAL, &next, 0);
}
GT(random_signals)
{
    draws_begin();
    signal(SIGALRM, hit);
    hit(SIGALRM);
    for (int i = 0; i < 3000 || (hits < 40 && i < 50000); i++)
        GT_EQ(draw(1), 0);
    signal(SIGALRM, SIG_IGN);
    GT_EQ(failed, 0);
    draws_end(3000);
}
static volatile int stop;
static void *ask(void *arg)
{
    unsigned char b[64];
    while (!stop)
        if (rnd(b, 1 + (uintptr_t)arg * 20, 0) < 0)
            failed = 1;
    return 0;
}
GT(random_killed_inside)
{
    for (int i = 0; i < 20; i++) {
        pid_t p = GT_OK(fork());
        if (!p) {
            pthread_t t;
            for (uintptr_t k = 0; k < 3; k++)
                pthread_create(&t, 0, ask, (void *)k);
            ask((void *)1);
        }
        struct timespec nap = {0, 1000000 + i * 300000};
        nanosleep(&nap, 0);
        GT_OK(kill(p, i % 2 ? SIGKILL : SIGTERM));
        int st;
        GT_EQ(waitpid(p, &st, 0), p);
        GT_TRUE(WIFSIGNALED(st));
    }
}

// As C libraries do it that know the vDSO's generator.
typedef ssize_t vdso_fn(void *, size_t, unsigned, void *, size_t);
static vdso_fn *vdso_find(void)
{
    char *b = (char *)getauxval(AT_SYSINFO_EHDR);
    Elf64_Ehdr *e = (void *)b;
    for (int i = 0; b && i < e->e_shnum; i++) {
        Elf64_Shdr *sh = (Elf64_Shdr *)(b + e->e_shoff) + i;
        if (sh->sh_type != SHT_DYNSYM)
            continue;
        Elf64_Sym *sym = (void *)(b + sh->sh_offset);
        const char *names = b + ((Elf64_Shdr *)(b + e->e_shoff) + sh->sh_link)->sh_offset;
        for (size_t k = 0; k < sh->sh_size / sizeof(*sym); k++)
            if (!strcmp(names + sym[k].st_name, "__vdso_getrandom"))
                return (vdso_fn *)(b + sym[k].st_value);
    }
    return 0;
}
GT(random_vdso_of_the_guest)
{
    struct {
        uint32_t size, prot, flags, reserved[13];
    } want;
    vdso_fn *fn = vdso_find();
    if (!fn)
        GT_SKIP("the vDSO has no getrandom");
    GT_EQ(fn(0, 0, 0, &want, ~0ul), 0);
    char *state = mmap(0, 4096, want.prot, want.flags, -1, 0);
    if (state == MAP_FAILED && errno == EINVAL)
        GT_SKIP("the kernel's MAP_DROPPABLE is missing");
    GT_TRUE(state != MAP_FAILED);
    draws_begin();
    char *mark = mmap(0, 4096, want.prot, want.flags, -1, 0);
    GT_TRUE(mark != MAP_FAILED);
    mark[5] = 1;
    for (int i = 0; i < 10; i++) {
        for (int j = 0; j < 100; j++)
            GT_EQ(fn(all->d[all->n++], 16, 0, state, want.size), 16);
        pid_t p = GT_OK(fork());
        if (!p) {
            if (mark[5])
                _exit(1);
            for (int j = 0; j < 100; j++)
                if (fn(all->d[all->n++], 16, 0, state, want.size) != 16)
                    _exit(2);
            _exit(0);
        }
        reap(p);
        mark[5] = 1; // it may have been lost
    }
    draws_end(2000);
    GT_ERR(mmap(0, 4096, want.prot, want.flags | MAP_LOCKED, -1, 0) == MAP_FAILED ? -1 : 0, EINVAL);
    GT_ERR(mmap(0, 4096, want.prot, want.flags | MAP_GROWSDOWN, -1, 0) == MAP_FAILED ? -1 : 0, EINVAL);
}
GT_MAIN
