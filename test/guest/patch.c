// SPDX-License-Identifier: Apache-2.0
// A system call leaves everything as it was but rax, rcx and r11, however often its site is used, and
// the text that it is in is what the program put there: to who reads it, rewrites it, maps over it,
// forks, or looks at it from a signal. (Here: sites of a kind that a kernel may patch.)
#include "gt.h"
#include <asm/prctl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <ucontext.h>

#define PG 4096ul
#define OFTEN 40 // enough for a site to be noticed
typedef long (*fn_t)(long, long, long);
enum form { A, A2, B, C, E, FORMS };
struct site {
    fn_t fn;
    unsigned char *start, *call, *end;
};

// A function that makes call nr, of the given form, at p. Some harmless instructions go first.
static struct site emit(unsigned char *p, enum form form, int nr)
{
    struct site s = {.start = p, .fn = (fn_t)p};
    for (int i = 0; i < 10; i++) {
        memcpy(p, i & 1 ? "\x48\x89\xff" : "\x48\x89\xf6", 3); // mov %rdi,%rdi; mov %rsi,%rsi
        p += 3;
    }
    if (form == E) {
        memcpy(p, "\x31\xc0\xb0", 3); // xor %eax,%eax; mov $nr,%al
        p[3] = nr;
        p += 4;
    } else {
        if (form == A2)
            *p++ = 0x48, *p++ = 0xc7, *p++ = 0xc0;
        else
            *p++ = 0xb8;
        memcpy(p, &nr, 4);
        p += 4;
        if (form == B) {
            memcpy(p, "\x4c\x8b\x4c\x24\xf8", 5); // mov -8(%rsp),%r9
            p += 5;
        } else if (form == C) { // short ones that leave everything as it is
            memcpy(p, "\x4d\x89\xc0\x50\x58", 5); // mov %r8,%r8; push %rax; pop %rax
            p += 5;
        }
    }
    s.call = p;
    memcpy(p, "\x0f\x05\xc3", 3);
    p += 3;
    while ((uintptr_t)p & 15) { // padding: nops of two bytes and one
        if ((uintptr_t)p % 16 < 15)
            *p++ = 0x66;
        *p++ = 0x90;
    }
    s.end = p;
    return s;
}
static unsigned char *text(size_t len)
{
    unsigned char *p = mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(p != MAP_FAILED);
    memset(p, 0xcc, len);
    return p;
}
static struct site one(enum form form, int nr)
{
    unsigned char *p = text(PG);
    struct site s = emit(p + 512, form, nr);
    GT_OK(mprotect(p, PG, PROT_READ | PROT_EXEC));
    return s;
}
static void often(struct site s, long want)
{
    for (int i = 0; i < OFTEN; i++)
        GT_EQ(s.fn(0, 0, 0), want);
}

// --- registers -----------------------------------------------------------------------------------
struct regs {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, flags;
};
void call_regs(void *fn, const struct regs *in, struct regs *out);
__asm__(".text\n.balign 16\ncall_regs:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdx; push %rdi\n"
        "mov %rsi,%rax; pushq 120(%rax); popfq\n"
        "mov 8(%rax),%rbx; mov 16(%rax),%rcx; mov 24(%rax),%rdx; mov 32(%rax),%rsi; mov 40(%rax),%rdi\n"
        "mov 48(%rax),%rbp; mov 56(%rax),%r8; mov 64(%rax),%r9; mov 72(%rax),%r10; mov 80(%rax),%r11\n"
        "mov 88(%rax),%r12; mov 96(%rax),%r13; mov 104(%rax),%r14; mov 112(%rax),%r15; mov (%rax),%rax\n"
        "call *(%rsp)\n"
        "pushfq; push %rax; mov 24(%rsp),%rax\n"
        "mov %rbx,8(%rax); mov %rcx,16(%rax); mov %rdx,24(%rax); mov %rsi,32(%rax); mov %rdi,40(%rax)\n"
        "mov %rbp,48(%rax); mov %r8,56(%rax); mov %r9,64(%rax); mov %r10,72(%rax); mov %r11,80(%rax)\n"
        "mov %r12,88(%rax); mov %r13,96(%rax); mov %r14,104(%rax); mov %r15,112(%rax)\n"
        "pop %rbx; mov %rbx,(%rax); pop %rbx; mov %rbx,120(%rax); pushq $0x202; popfq\n"
        "add $16,%rsp; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

static void check_regs(struct site s, enum form form, long want, uint64_t flags)
{
    struct regs in, out;
    uint64_t *v = (uint64_t *)&in;
    for (int i = 0; i < 15; i++)
        v[i] = 0x1111111111111111ull * (i + 1) ^ 0x8000000000000000ull;
    in.flags = flags;
    for (int i = 0; i < OFTEN; i++) {
        call_regs(s.fn, &in, &out);
        GT_EQ(out.rax, want);
        GT_EQ(out.rcx, (uintptr_t)s.call + 2);
        GT_EQ(out.r11 & ~0x10000ull, out.flags & ~0x10000ull);
        if (form == E) // its xor sets some
            GT_EQ(out.flags & 0x40702, flags & 0x40702);
        else
            GT_EQ(out.flags, flags);
        GT_EQ(out.rbx, in.rbx);
        GT_EQ(out.rdx, in.rdx);
        GT_EQ(out.rsi, in.rsi);
        GT_EQ(out.rdi, in.rdi);
        GT_EQ(out.rbp, in.rbp);
        GT_EQ(out.r8, in.r8);
        if (form != B)
            GT_EQ(out.r9, in.r9);
        GT_EQ(out.r10, in.r10);
        GT_EQ(out.r12, in.r12);
        GT_EQ(out.r13, in.r13);
        GT_EQ(out.r14, in.r14);
        GT_EQ(out.r15, in.r15);
    }
}
GT(patch_registers)
{
    static const uint64_t flags[] = {0x202, 0x203, 0xad7 | 0x200, 0x602, 0x246, 0x40202};
    for (int form = 0; form < FORMS; form++)
        for (unsigned i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
            check_regs(one(form, SYS_getpid), form, getpid(), flags[i] & (form == E ? ~0x8d5ull : ~0ull));
            check_regs(one(form, SYS_dup), form, -EBADF, flags[i] & (form == E ? ~0x8d5ull : ~0ull));
            // not a call at all
            check_regs(one(form, 211), form, -ENOSYS, flags[i] & (form == E ? ~0x8d5ull : ~0ull));
        }
}

// long call_red(fn): how many bytes of the red zone of a leaf that makes a call have changed.
long call_red(void *call);
__asm__(".balign 16\ncall_red:\n"
        "push %rbx; mov %rdi,%rdx\n"
        "mov $16,%ecx\n"
        "1: movabs $0x5a5a5a5a5a5a5a5a,%rax; mov %rax,-136(%rsp,%rcx,8); dec %ecx; jnz 1b\n"
        "mov $39,%eax; nopl 0(%rax,%rax,1); lea 2f(%rip),%rbx\n"
        "syscall\n"
        "2: xor %ebx,%ebx; mov $16,%ecx\n"
        "3: movabs $0x5a5a5a5a5a5a5a5a,%rax; cmp %rax,-136(%rsp,%rcx,8); je 4f; inc %ebx\n"
        "4: dec %ecx; jnz 3b; mov %rbx,%rax; pop %rbx; ret; .balign 16\n");
GT(patch_red_zone)
{
    for (int i = 0; i < OFTEN; i++)
        GT_EQ(call_red(0), 0);
}

static uint8_t vec_in[32 * 64] __attribute__((aligned(64))), vec_out[32 * 64] __attribute__((aligned(64)));
#define L16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define H16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
static void vectors(fn_t fn, int a, int b)
{
    long nr = 0;
    memset(vec_out, 0, sizeof(vec_out));
    if (__builtin_cpu_supports("avx512bw")) {
#define LD(n) "vmovdqa64 64*" #n "(%1),%%zmm" #n "\n"
#define ST(n) "vmovdqa64 %%zmm" #n ",64*" #n "(%2)\n"
        __asm__ volatile(L16(LD) H16(LD) "kmovq 8(%1),%%k1; kmovq 16(%1),%%k7; call *%3\n" L16(ST) H16(ST)
                         "kmovq %%k1,%%rcx; cmp 8(%1),%%rcx; jne 1f; kmovq %%k7,%%rcx; cmp 16(%1),%%rcx; je 2f\n"
                         "1: ud2\n2:"
                         : "=a"(nr)
                         : "b"(vec_in), "r"(vec_out), "r"(fn), "D"((long)a), "S"((long)b)
                         : "rcx", "r11", "r9", "memory", "cc");
        GT_EQ(memcmp(vec_in, vec_out, 32 * 64), 0);
    } else if (__builtin_cpu_supports("avx")) {
#define LY(n) "vmovdqa 64*" #n "(%1),%%ymm" #n "\n"
#define SY(n) "vmovdqa %%ymm" #n ",64*" #n "(%2)\n"
        __asm__ volatile(L16(LY) "call *%3\n" L16(SY)
                         : "=a"(nr)
                         : "b"(vec_in), "r"(vec_out), "r"(fn), "D"((long)a), "S"((long)b)
                         : "rcx", "r11", "r9", "memory", "cc");
        for (int i = 0; i < 16; i++)
            GT_EQ(memcmp(vec_in + 64 * i, vec_out + 64 * i, 32), 0);
    }
}
static volatile sig_atomic_t handled;
static void on_vector(int sig)
{
    __asm__ volatile("pxor %%xmm0,%%xmm0; pxor %%xmm7,%%xmm7; pxor %%xmm15,%%xmm15" : : : "xmm0", "xmm7", "xmm15");
    handled++;
}
GT(patch_vectors)
{
    signal(SIGUSR1, on_vector);
    for (size_t i = 0; i < sizeof(vec_in); i++)
        vec_in[i] = (uint8_t)(i * 7 + (i >> 8) + 1);
    for (int form = 0; form < FORMS; form++) {
        struct site get = one(form, SYS_getpid), mask = one(form, SYS_umask), kil = one(form, SYS_kill);
        int before = handled;
        for (int i = 0; i < OFTEN; i++) {
            vectors(get.fn, 0, 0);
            vectors(mask.fn, 022, 0);
            vectors(kil.fn, getpid(), SIGUSR1); // a handler runs before it returns
        }
        GT_EQ(handled - before, OFTEN);
    }
}

GT(patch_jump_into_the_middle)
{
    for (int form = 0; form < FORMS; form++) {
        struct site s = one(form, SYS_getpid);
        often(s, getpid());
        long r;
        for (int i = 0; i < OFTEN; i++) {
            __asm__ volatile("call *%1" : "=a"(r) : "r"(s.call), "0"((long)SYS_getppid) : "rcx", "r11", "memory");
            GT_EQ(r, getppid());
            if (form != C)
                continue;
            for (int back = 1; back <= 5; back += back == 2 ? 3 : 1) { // pop; push, pop; all three
                __asm__ volatile("sub $128,%%rsp; cmp $1,%2; jne 1f; lea 2f(%%rip),%%r11; push %%r11; push %%rax; jmp *%1;"
                                 "1: call *%1; 2: add $128,%%rsp"
                                 : "=a"(r)
                                 : "r"(s.call - back), "r"(back), "0"((long)SYS_getppid)
                                 : "rcx", "r11", "memory", "cc");
                GT_EQ(r, getppid());
            }
        }
        often(s, getpid());
    }
}

// A loop that begins between an instruction and the call that it could be taken for a part of.
GT(patch_loop_into_the_middle)
{
    unsigned char *m = text(PG), *p = m + 512;
    for (int i = 0; i < 20; i++, p += 3)
        memcpy(p, "\x48\x89\xf6", 3);
    memcpy(p, "\x45\x31\xc0\xba\x03\0\0\0", 8);  // xor %r8d,%r8d; mov $3,%edx
    memcpy(p + 8, "\x49\xff\xc0\x31\xc0\xb0", 6); // 1: inc %r8; xor %eax,%eax; mov $39,%al
    memcpy(p + 14, "\x27\x0f\x05", 3);             // syscall
    memcpy(p + 17, "\xff\xca\x75\xf3", 4);         // dec %edx; jnz 1b
    memcpy(p + 21, "\x48\x89\x07\x4c\x89\xc0\xc3", 7); // mov %rax,(%rdi); mov %r8,%rax; ret
    GT_OK(mprotect(m, PG, PROT_READ | PROT_EXEC));
    for (int i = 0; i < 4 * OFTEN; i++) {
        long pid = 0;
        GT_EQ(((fn_t)(m + 512))((long)&pid, 0, 0), 3);
        GT_EQ(pid, getpid());
    }
}

// Functions close together: what was changed for one must not mislead who looks at the next.
GT(patch_neighbours)
{
    for (int twice = 0; twice < 2; twice++) {
        unsigned char *m = text(PG), *p = m + 512, *first = p, *second;
        for (int i = 0; i < 17; i++, p += 3)
            memcpy(p, i & 1 ? "\x48\x89\xff" : "\x48\x89\xf6", 3);
        memcpy(p, "\x31\xc0\xb0\x6e\x0f\x05\xc3", 7); // getppid, patched through the padding
        p += 7;
        memcpy(p, "\x66\x0f\x1f\x44\x00\x00", 6); // one instruction, longer than a jump
        p += 6;
        GT_EQ((uintptr_t)p & 15, 0);
        second = p;
        memcpy(p, "\xb8\x27\x00\x00\x00\x0f\x05\xc3", 8); // getpid
        p += 8;
        memcpy(p, "\x66\x0f\x1f\x84\x00\x00\x02\x00", 8);
        p += 8;
        unsigned char *third = p;
        for (int i = 0; i < 6; i++, p += 3)
            memcpy(p, i & 1 ? "\x48\x89\xff" : "\x48\x89\xf6", 3);
        memcpy(p, "\x31\xc0\xb0\x66", 4); // getuid, by the instruction in front: 9 bytes
        memcpy(p + 4, "\x4c\x8b\x8c\x24\xf8\xff\xff\xff\x90", 8);
        memcpy(p + 12, "\x0f\x05\xc3", 3);
        p += 15;
        unsigned char *fourth = p;
        memcpy(p, "\xb8\x27\x00\x00\x00\x0f\x05\xc3", 8);
        GT_OK(mprotect(m, PG, PROT_READ | PROT_EXEC));
        fn_t f[] = {(fn_t)first, (fn_t)second, (fn_t)third, (fn_t)fourth};
        long want[] = {getppid(), getpid(), getuid(), getpid()};
        for (int i = 0; i < 4 * OFTEN; i++) {
            int k = i / OFTEN;
            k = twice ? 3 - k : k;
            GT_EQ(f[k](0, 0, 0), want[k]);
        }
        for (int i = 0; i < 4; i++)
            GT_EQ(f[i](0, 0, 0), want[i]);
        munmap(m, PG);
    }
}

// Every alignment, so that instructions cross words, lines and pages.
GT(patch_everywhere)
{
    unsigned char *p = text(64 * PG), *end = p + 64 * PG - 128;
    static struct site sites[1024];
    int n = 0;
    for (unsigned char *q = p; q < end && n < 1024; n++) {
        sites[n] = emit(q, n % FORMS, n & 1 ? SYS_getpid : SYS_getuid);
        q = sites[n].end + 1 + n % 37; // wherever
    }
    GT_OK(mprotect(p, 64 * PG, PROT_READ | PROT_EXEC));
    long pid = getpid(), uid = getuid();
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 12; k++)
            GT_EQ(sites[i].fn(0, 0, 0), i & 1 ? pid : uid);
    for (int i = 0; i < n; i++)
        GT_EQ(sites[i].fn(0, 0, 0), i & 1 ? pid : uid);
}

// Where a page ends: the call in the next one, or half of it, and what is in front of it here.
static void read_self(const unsigned char *p, unsigned char *buf, size_t n, int how);
GT(patch_across_pages)
{
    unsigned char before[2 * PG];
    for (int form = 0; form < FORMS; form++) {
        unsigned char scratch[256];
        struct site s = emit(scratch, form, SYS_getpid);
        long front = s.call - s.start;
        for (int off = -8; off < 12; off++) {
            unsigned char *p = text(2 * PG);
            s = emit(p + PG + off - front, form, SYS_getpid);
            memcpy(before, p, 2 * PG);
            GT_OK(mprotect(p, 2 * PG, PROT_READ | PROT_EXEC));
            for (int round = 0; round < 2; round++) {
                often(s, getpid());
                unsigned char now[256];
                read_self(p + PG - 128, now, 256, 0);
                GT_EQ(memcmp(now, before + PG - 128, 256), 0);
                // The second page alone is rewritten: bswap %eax.
                GT_OK(mprotect(p + PG, PG, PROT_READ | PROT_WRITE));
                GT_EQ(memcmp(p + PG, before + PG, PG), 0);
                if (off >= -1) {
                    s.call[1] = 0xc8;
                    GT_OK(mprotect(p + PG, PG, PROT_READ | PROT_EXEC));
                    GT_EQ((unsigned)s.fn(0, 0, 0), (unsigned)SYS_getpid << 24);
                    GT_EQ((unsigned)s.fn(0, 0, 0), (unsigned)SYS_getpid << 24);
                    GT_OK(mprotect(p + PG, PG, PROT_READ | PROT_WRITE));
                    s.call[1] = 0x05;
                }
                GT_OK(mprotect(p + PG, PG, PROT_READ | PROT_EXEC));
                often(s, getpid());
                GT_OK(mprotect(p, PG, PROT_READ | PROT_WRITE)); // the first
                GT_EQ(memcmp(p, before, PG), 0);
                GT_OK(mprotect(p, PG, PROT_READ | PROT_EXEC));
            }
            munmap(p, 2 * PG);
        }
    }
}

// --- who reads it, who changes it ----------------------------------------------------------------
static void read_self(const unsigned char *p, unsigned char *buf, size_t n, int how)
{
    struct iovec l = {buf, n}, r = {(void *)p, n};
    int fd, pp[2];
    memset(buf, 0, n);
    switch (how) {
    case 0:
        fd = GT_OK(open("/proc/self/mem", O_RDONLY));
        GT_EQ(pread(fd, buf, n, (off_t)(uintptr_t)p), n);
        close(fd);
        break;
    case 1: GT_EQ(process_vm_readv(getpid(), &l, 1, &r, 1, 0), n); break;
    case 2:
        GT_OK(pipe(pp));
        GT_EQ(write(pp[1], p, n), n);
        GT_EQ(read(pp[0], buf, n), n);
        close(pp[0]);
        close(pp[1]);
        break;
    }
}
GT(patch_readers)
{
    unsigned char before[512], after[512];
    for (int form = 0; form < FORMS; form++) {
        struct site s = one(form, SYS_getppid);
        size_t n = s.end - s.start;
        memcpy(before, s.start, n);
        often(s, getppid());
        for (int how = 0; how < 3; how++) {
            read_self(s.start, after, n, how);
            GT_EQ(memcmp(before, after, n), 0);
            read_self(s.call, after, 2, how);
            GT_EQ(memcmp(before + (s.call - s.start), after, 2), 0);
        }
        pid_t child = fork(); // a child's text, seen from here
        if (!child) {
            often(s, getppid());
            pause();
        }
        struct iovec l = {after, n}, r = {s.start, n};
        if (process_vm_readv(child, &l, 1, &r, 1, 0) == (ssize_t)n)
            GT_EQ(memcmp(before, after, n), 0);
        kill(child, SIGKILL);
        GT_EQ(waitpid(child, 0, 0), child);
        often(s, getppid());
    }
}

GT(patch_rewritten)
{
    unsigned char before[512];
    for (int form = 0; form < FORMS; form++) {
        struct site s = one(form, SYS_getpid);
        unsigned char *page = (unsigned char *)((uintptr_t)s.start & -PG);
        size_t n = s.end - s.start;
        memcpy(before, s.start, n);
        for (int round = 0; round < 6; round++) {
            often(s, round & 1 ? getppid() : getpid());
            GT_OK(mprotect(page, PG, PROT_READ | PROT_WRITE));
            if (round == 0)
                GT_EQ(memcmp(before, s.start, n), 0);
            s = emit(s.start, form, round & 1 ? SYS_getpid : SYS_getppid);
            GT_OK(mprotect(page, PG, PROT_READ | PROT_EXEC));
        }
        // Writable all the time, as some compilers have it.
        GT_OK(mprotect(page, PG, PROT_READ | PROT_WRITE | PROT_EXEC));
        for (int round = 0; round < 60; round++) {
            s = emit(s.start, form, round & 1 ? SYS_getpid : SYS_getppid);
            GT_EQ(s.fn(0, 0, 0), round & 1 ? getpid() : getppid());
            GT_EQ(s.fn(0, 0, 0), round & 1 ? getpid() : getppid());
        }
    }
}

GT(patch_mapped_over)
{
    for (int form = 0; form < FORMS; form++) {
        struct site s = one(form, SYS_getpid), t = one(form, SYS_getuid);
        unsigned char *page = (unsigned char *)((uintptr_t)s.start & -PG);
        often(s, getpid());
        often(t, getuid());
        GT_TRUE(mmap(page, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page);
        s = emit(s.start, form, SYS_getppid);
        GT_OK(mprotect(page, PG, PROT_READ | PROT_EXEC));
        often(s, getppid());
        // It moves, and its bytes with it.
        unsigned char copy[512], *to = text(PG);
        size_t n = s.end - s.start;
        read_self(s.start, copy, n, 0);
        GT_TRUE(mremap(page, PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
        GT_EQ(memcmp(to + (s.start - page), copy, n), 0);
        s.fn = (fn_t)(to + (s.start - page));
        often(s, getppid());
        GT_OK(munmap(to, PG));
        often(t, getuid());
        GT_OK(madvise((void *)((uintptr_t)t.start & -PG), PG, MADV_DONTNEED)); // anonymous: zeros
        GT_EQ(*t.start, 0);
    }
}

// All that is free within reach of a site is taken, whatever may lie there unseen.
GT(patch_neighbourhood_taken)
{
    for (int form = 0; form < FORMS; form++) {
        struct site s = one(form, SYS_getpid);
        often(s, getpid());
        FILE *f = fopen("/proc/self/maps", "r");
        static struct { unsigned long from, to; } hole[512];
        unsigned long a, b, last = 0x10000, at = (unsigned long)s.start;
        char line[512];
        int n = 0;
        while (fgets(line, sizeof(line), f) && n < 512) {
            GT_EQ(sscanf(line, "%lx-%lx", &a, &b), 2);
            unsigned long lo = last > at - (1ul << 31) ? last : at - (1ul << 31);
            unsigned long hi = a < at + (1ul << 31) ? a : at + (1ul << 31);
            if (strstr(line, "[stack]") && hi > (64ul << 20))
                hi = hi - (64ul << 20) > lo ? hi - (64ul << 20) : lo; // room to grow
            lo = (lo + PG - 1) & -PG;
            hi &= -PG;
            if (lo < hi && a < 0x7f0000000000)
                hole[n].from = lo, hole[n++].to = hi;
            last = b;
        }
        fclose(f);
        for (int i = 0; i < n; i++) {
            char *p = mmap((void *)hole[i].from, hole[i].to - hole[i].from, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
            GT_TRUE(p == (char *)hole[i].from);
        }
        often(s, getpid());
        for (int i = 0; i < n; i++)
            GT_OK(munmap((void *)hole[i].from, hole[i].to - hole[i].from));
        often(s, getpid());
    }
}

// File-backed text; dropping a page brings the file's bytes back.
GT(patch_file_text)
{
    char name[] = "patch.XXXXXX";
    int fd = GT_OK(mkstemp(name));
    unsigned char *p = text(PG);
    struct site s[FORMS];
    for (int form = 0; form < FORMS; form++)
        s[form] = emit(p + 64 + 256 * form, form, SYS_getpid);
    GT_EQ(write(fd, p, PG), PG);
    for (int shared = 0; shared < 2; shared++) {
        unsigned char *q = mmap(0, PG, PROT_READ | PROT_EXEC, shared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
        if (q == MAP_FAILED)
            GT_SKIP("no executable files here");
        unsigned char disk[PG];
        for (int round = 0; round < 4; round++) {
            for (int form = 0; form < FORMS; form++) {
                struct site t = {.fn = (fn_t)(q + (s[form].start - p))};
                often(t, getpid());
            }
            GT_EQ(pread(fd, disk, PG, 0), PG);
            GT_EQ(memcmp(disk, p, PG), 0);
            GT_OK(madvise(q, PG, MADV_DONTNEED));
            GT_EQ(memcmp(q, p, PG), 0);
        }
        GT_OK(munmap(q, PG));
    }
    unlink(name);
}

// --- threads, forks, signals ---------------------------------------------------------------------
static struct site storm[256];
static int nstorm, storm_rounds, stop;
static void *storm_thread(void *arg)
{
    long pid = getpid(), uid = getuid(), *bad = arg;
    for (int round = 0; round < storm_rounds && !*bad; round++)
        for (int i = 0; i < nstorm; i++)
            if (storm[i].fn(0, 0, 0) != (i & 1 ? pid : uid))
                *bad = i + 1;
    return 0;
}
static void storm_make(void)
{
    unsigned char *p = text(8 * PG), *q = p;
    for (nstorm = 0; nstorm < 256; nstorm++) {
        storm[nstorm] = emit(q, nstorm / 2 % FORMS, nstorm & 1 ? SYS_getpid : SYS_getuid);
        q = storm[nstorm].end + nstorm % 41;
    }
    GT_OK(mprotect(p, 8 * PG, PROT_READ | PROT_EXEC));
}
GT(patch_threads)
{
    for (int round = 0; round < 4; round++) {
        pthread_t t[6];
        long bad = 0;
        storm_make();
        nstorm = round ? 20 * round : 256;
        storm_rounds = round ? 150 / round : 16;
        for (int i = 0; i < 6; i++)
            GT_EQ(pthread_create(&t[i], 0, storm_thread, &bad), 0);
        for (int i = 0; i < 6; i++)
            pthread_join(t[i], 0);
        GT_EQ(bad, 0);
    }
}

// Threads run sites of a page that another one keeps making writable (and so unpatched) and not.
static void *flip_thread(void *arg)
{
    unsigned char *page = arg;
    for (int i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
        GT_OK(mprotect(page, PG, PROT_READ | PROT_WRITE | PROT_EXEC));
        GT_OK(mprotect(page, PG, PROT_READ | PROT_EXEC));
        if (i % 16 == 0)
            usleep(2000);
    }
    return 0;
}
GT(patch_threads_and_restores)
{
    pthread_t t[3], f;
    long bad = 0;
    storm_make();
    nstorm = 60;
    storm_rounds = 100;
    GT_EQ(pthread_create(&f, 0, flip_thread, (void *)((uintptr_t)storm[10].start & -PG)), 0);
    for (int i = 0; i < 3; i++)
        GT_EQ(pthread_create(&t[i], 0, storm_thread, &bad), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], 0);
    stop = 1;
    pthread_join(f, 0);
    GT_EQ(bad, 0);
}

GT(patch_forks)
{
    storm_make();
    storm_rounds = 12;
    long bad = 0;
    for (int i = 0; i < 24; i++) {
        storm[i].fn(0, 0, 0);
        pid_t p = GT_OK(i & 1 ? vfork() : fork());
        if (!p) {
            if (i & 1) {
                for (int k = 0; k < OFTEN; k++)
                    if (storm[i].fn(0, 0, 0) != getpid())
                        _exit(1);
                _exit(0);
            }
            storm_thread(&bad);
            _exit(bad != 0);
        }
        int st;
        GT_EQ(waitpid(p, &st, 0), p);
        GT_EQ(st, 0);
    }
    storm_thread(&bad);
    GT_EQ(bad, 0);
}

// What a handler sees of the interrupted program is its own code, and at a call only the two places
// where a thread can be.
static struct { unsigned long from, to; } known[256];
static int nknown;
static volatile long strange, seen_at_call;
static struct site watched[FORMS * 3];
static void on_tick(int sig, siginfo_t *si, void *ctx)
{
    unsigned long rip = ((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RIP];
    int ok = 0;
    for (int i = 0; i < nknown; i++)
        ok |= rip >= known[i].from && rip < known[i].to;
    if (!ok)
        strange = (long)rip;
    for (unsigned i = 0; i < sizeof(watched) / sizeof(*watched); i++) {
        struct site *s = &watched[i];
        if (rip > (unsigned long)s->call + 2 && rip < (unsigned long)s->end)
            strange = (long)rip; // behind its ret
        seen_at_call += rip >= (unsigned long)s->call && rip <= (unsigned long)s->call + 2;
    }
    handled++;
}
static void know_text(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], perm[8];
    for (nknown = 0; nknown < 256 && fgets(line, sizeof(line), f);)
        if (sscanf(line, "%lx-%lx %7s", &known[nknown].from, &known[nknown].to, perm) == 3 && perm[2] == 'x')
            nknown++;
    fclose(f);
}
GT(patch_signal_storm)
{
    struct sigaction sa = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    int p[2];
    GT_OK(pipe(p));
    for (int form = 0; form < FORMS; form++) {
        watched[3 * form] = one(form, SYS_getpid);
        watched[3 * form + 1] = one(form, SYS_umask);
        watched[3 * form + 2] = one(form, SYS_dup);
    }
    know_text();
    GT_OK(sigaction(SIGALRM, &sa, 0));
    struct timespec t0, t;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (int i = 0; i < 50; i++)
        syscall(SYS_getppid);
    clock_gettime(CLOCK_MONOTONIC, &t);
    int us = ((t.tv_sec - t0.tv_sec) * 1000000000 + t.tv_nsec - t0.tv_nsec) / 50000 * 60;
    struct itimerval it = {{0, us > 150 ? us : 150}, {0, us > 150 ? us : 150}};
    GT_OK(setitimer(ITIMER_REAL, &it, 0));
    long pid = getpid(), old = umask(0);
    umask(old);
    do {
        for (int i = 0; i < 20; i++)
            for (int form = 0; form < FORMS; form++) {
                GT_EQ(watched[3 * form].fn(0, 0, 0), pid);
                GT_EQ(watched[3 * form + 1].fn(old, 0, 0), old);
                long fd = watched[3 * form + 2].fn(p[0], 0, 0);
                GT_TRUE(fd > 2);
                GT_EQ(close(fd), 0);
            }
        clock_gettime(CLOCK_MONOTONIC, &t);
    } while (t.tv_sec - t0.tv_sec < 3 || handled <= 10); // however busy the machine is
    it = (struct itimerval){};
    GT_OK(setitimer(ITIMER_REAL, &it, 0));
    alarm(gtalarm());
    dprintf(1, "# %d signals, %ld of them at a call\n", (int)handled, seen_at_call);
    GT_EQ(strange, 0);
}

// A call that is interrupted is made again, from its own instruction.
static int slow_pipe[2];
static void *slow_writer(void *arg)
{
    for (int i = 0; i < 30; i++) {
        usleep(3000);
        kill(getpid(), SIGUSR2);
        usleep(3000);
        write(slow_pipe[1], "x", 1);
    }
    return 0;
}
static void on_nothing(int sig) { handled++; }
GT(patch_restart)
{
    for (int form = 0; form < FORMS; form++) {
        pthread_t t;
        char c;
        struct sigaction sa = {.sa_handler = on_nothing, .sa_flags = SA_RESTART};
        GT_OK(sigaction(SIGUSR2, &sa, 0));
        GT_OK(pipe(slow_pipe));
        struct site s = one(form, SYS_read);
        for (int i = 0; i < OFTEN; i++) { // by now it is known
            GT_EQ(write(slow_pipe[1], "y", 1), 1);
            GT_EQ(s.fn(slow_pipe[0], (long)&c, 1), 1);
        }
        GT_EQ(pthread_create(&t, 0, slow_writer, 0), 0);
        for (int i = 0; i < 30; i++) {
            GT_EQ(s.fn(slow_pipe[0], (long)&c, 1), 1);
            GT_EQ(c, 'x');
        }
        pthread_join(t, 0);
        GT_EQ(s.fn(-1, (long)&c, 1), -EBADF);
        GT_EQ(write(slow_pipe[1], "z", 1), 1);
        GT_EQ(s.fn(slow_pipe[0], 8, 1), -EFAULT);
        close(slow_pipe[0]);
        close(slow_pipe[1]);
    }
}

// Faults of the instruction in front of a call are its own.
static volatile unsigned long fault_rip;
#include <setjmp.h>
static sigjmp_buf jb;
static void on_segv(int sig, siginfo_t *si, void *ctx)
{
    fault_rip = ((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RIP];
    siglongjmp(jb, 1);
}
GT(patch_fault_in_front)
{
    unsigned char *p = text(PG), *q = p + 256;
    long good = 5;
    for (int i = 0; i < 10; i++, q += 3)
        memcpy(q, "\x48\x89\xf6", 3);
    *q = 0xb8, memcpy(q + 1, "\x27\0\0\0", 4), q += 5;
    unsigned char *front = q;
    memcpy(q, "\x4c\x8b\x87\0\0\0\0", 7), q += 7; // mov 0(%rdi),%r8
    memcpy(q, "\x0f\x05\xc3", 3);
    GT_OK(mprotect(p, PG, PROT_READ | PROT_EXEC));
    fn_t fn = (fn_t)(p + 256);
    struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER};
    GT_OK(sigaction(SIGSEGV, &sa, 0));
    for (int i = 0; i < OFTEN; i++) {
        GT_EQ(fn((long)&good, 0, 0), getpid());
        if (!sigsetjmp(jb, 1)) {
            fn(8, 0, 0);
            GT_FAIL("no fault");
        }
        GT_EQ(fault_rip, (unsigned long)front);
    }
}

// A signal between an instruction that gets patched and its call: by a fault of one in between. The
// handler uses the site often, and goes back to where it was interrupted.
static struct site faulty;
static unsigned char *faulty_at;
static int on_faulty_often;
static void on_faulty(int sig, siginfo_t *si, void *ctx)
{
    static long good = 7;
    greg_t *r = ((ucontext_t *)ctx)->uc_mcontext.gregs;
    fault_rip = r[REG_RIP];
    if ((int)r[REG_RAX] != SYS_getppid || r[REG_RSI] != 1234)
        fault_rip = 1;
    for (int i = 0; i < on_faulty_often; i++)
        if (faulty.fn((long)&good, 1234, 0) != getppid())
            fault_rip = 2;
    r[REG_RDI] = (long)&good;
}
GT(patch_fault_in_between)
{
    struct sigaction sa = {.sa_sigaction = on_faulty, .sa_flags = SA_SIGINFO};
    GT_OK(sigaction(SIGSEGV, &sa, 0));
    for (int round = 0; round < 3; round++) {
        unsigned char *p = text(PG), *q = p + 256;
        for (int i = 0; i < 20; i++, q += 3)
            memcpy(q, "\x48\x89\xf6", 3);
        memcpy(q, "\xb8\x6e\0\0\0\x50\x58", 7); // mov $110,%eax; push %rax; pop %rax
        faulty_at = q += 7;
        memcpy(q, "\x4c\x8b\x07\x4d\x89\xc1\x0f\x05\xc3", 9); // mov (%rdi),%r8; mov %r8,%r9; syscall
        GT_OK(mprotect(p, PG, PROT_READ | PROT_EXEC));
        faulty = (struct site){.fn = (fn_t)(p + 256), .start = p, .call = q + 6, .end = q + 9};
        for (int i = 0; i < OFTEN; i++) {
            on_faulty_often = round == 0 ? 1 : round == 1 ? OFTEN : i == 10 ? OFTEN : 0;
            fault_rip = 0;
            GT_EQ(faulty.fn(8, 1234, 0), getppid());
            GT_EQ(fault_rip, (unsigned long)faulty_at);
        }
    }
}

// Single steps: only the program's own instructions are seen.
static volatile long steps, odd_step;
static struct site stepped;
static volatile unsigned char stepped_on[64]; // at an offset in it, how often
static void on_step(int sig, siginfo_t *si, void *ctx)
{
    unsigned long rip = ((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RIP];
    steps++;
    int ok = 0;
    for (int i = 0; i < nknown; i++)
        ok |= rip >= known[i].from && rip < known[i].to;
    if (!ok || (rip > (unsigned long)stepped.call + 2 && rip < (unsigned long)stepped.end))
        odd_step = (long)rip;
    if (rip - (unsigned long)stepped.start < sizeof(stepped_on))
        stepped_on[rip - (unsigned long)stepped.start]++;
}
GT(patch_single_step)
{
    struct sigaction sa = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    GT_OK(sigaction(SIGTRAP, &sa, 0));
    for (int form = 0; form < FORMS; form++) {
        stepped = one(form, SYS_getpid);
        know_text();
        often(stepped, getpid());
        memset((void *)stepped_on, 0, sizeof(stepped_on));
        for (int i = 0; i < 5; i++) {
            long r, before = steps;
            __asm__ volatile("sub $256,%%rsp; pushfq; orl $0x100,(%%rsp); popfq; call *%1; pushfq; andl $~0x100,(%%rsp); popfq; add $256,%%rsp"
                             : "=a"(r)
                             : "r"(stepped.fn)
                             : "rcx", "r11", "r9", "memory", "cc");
            GT_EQ(r, getpid());
            GT_TRUE(steps - before >= 12);
        }
        GT_EQ(odd_step, 0);
        long call = stepped.call - stepped.start;
        GT_EQ(stepped_on[call], 5);
        for (int back = 1; back <= 5 && form == C; back += back == 2 ? 3 : 1)
            GT_EQ(stepped_on[call - back], 5);
    }
}

// %gs is the program's.
GT(patch_gs)
{
    unsigned long base, v[4] = {11, 22, 33, 44}, got;
    struct site s[FORMS];
    for (int form = 0; form < FORMS; form++)
        s[form] = one(form, SYS_getpid);
    for (int round = 0; round < 3; round++) {
        for (int form = 0; form < FORMS; form++)
            often(s[form], getpid());
        GT_OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &base));
        GT_EQ(base, 0);
        GT_OK(syscall(SYS_arch_prctl, ARCH_SET_GS, v));
        for (int form = 0; form < FORMS; form++) {
            often(s[form], getpid());
            __asm__ volatile("mov %%gs:16,%0" : "=r"(got));
            GT_EQ(got, 33);
        }
        GT_OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &base));
        GT_EQ(base, (unsigned long)v);
        GT_EQ(v[0] + v[1] + v[2] + v[3], 110);
        GT_OK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
        __asm__ volatile("mov %0,%%gs" : : "r"(0)); // may or may not clear the base
        for (int form = 0; form < FORMS; form++)
            often(s[form], getpid());
    }
}

GT(patch_maps_unchanged)
{
    static char a[1 << 16], b[1 << 16];
    struct site s = one(A, SYS_getpid);
    for (int k = 0; k < 2; k++) {
        int fd = GT_OK(open("/proc/self/maps", O_RDONLY));
        char *to = k ? b : a;
        ssize_t n = 0, r;
        while ((r = read(fd, to + n, sizeof(a) - 1 - n)) > 0)
            n += r;
        close(fd);
        often(s, getpid());
    }
    GT_STR(a, b);
}
GT_MAIN
