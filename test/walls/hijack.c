// SPDX-License-Identifier: Apache-2.0
// A guest that takes over its own stub, beside a victim of another uid that checks its own memory,
// files, pipes and children. hijack SECONDS; the last line is "victim N rounds, attackers M".
//
// The attackers find the stub (it lies below the vDSO), jump to its system call instruction with
// random and with spiteful arguments, scribble over their slots, jump into the middle of its text,
// close and map its descriptors, make rogue threads and processes, forge signal frames. What becomes
// of them does not matter; whatever the victim finds changed, and any end of the sandbox, is a failure.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { POS_SLOT = 4095, SLOTS_OFF = 0x300000, SLOT = 0x8000, VDSO_OFF = 0x180000, FORK_OFF = 0x100000 };
static uint64_t stub, text_end, gadget; // gadget: syscall; ret
static unsigned long long deadline;
static unsigned long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}
static _Thread_local uint64_t seed = 88172645463325252ull;
static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

// --- victim ---------------------------------------------------------------------------------------
#define WORDS (1 << 17)
static uint64_t *mine;
static uint64_t sum(uint64_t s)
{
    uint64_t h = s;
    for (int i = 0; i < WORDS; i++)
        h = (h ^ mine[i]) * 0x100000001b3ull;
    return h;
}
static void die(const char *what)
{
    printf("victim: %s (errno %d)\n", what, errno);
    fflush(stdout);
    _exit(1);
}
static void *ping(void *arg)
{
    int *p = arg;
    char c;
    while (read(p[0], &c, 1) == 1)
        if (write(p[3], &c, 1) != 1)
            break;
    return NULL;
}
static int victim(void)
{
    char name[64], buf[512];
    int p[4], rounds = 0;
    pthread_t th;
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    mine = mmap(NULL, WORDS * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < WORDS; i++)
        mine[i] = rnd();
    uint64_t want = sum(1);
    if (pipe(p) || pipe(p + 2) || pthread_create(&th, NULL, ping, p))
        die("set-up");
    snprintf(name, sizeof(name), "/tmp/victim.%d", getpid());
    while (now() < deadline) {
        if (sum(1) != want)
            die("my memory has changed");
        char c = (char)rounds, back = 0;
        if (write(p[1], &c, 1) != 1 || read(p[2], &back, 1) != 1 || back != c)
            die("my pipe lost something");
        int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || write(fd, mine, sizeof(buf)) != sizeof(buf) || pread(fd, buf, sizeof(buf), 0) != sizeof(buf) ||
            memcmp(buf, mine, sizeof(buf)) || close(fd) || unlink(name))
            die("my file");
        if (getuid() != geteuid() || getpid() != syscall(SYS_getpid))
            die("who am I");
        pid_t pid = fork();
        if (pid < 0 && errno != EAGAIN)
            die("fork");
        if (pid == 0)
            _exit(sum(1) == want ? 42 : 1);
        int st = 0;
        if (pid > 0 && (waitpid(pid, &st, 0) != pid || !WIFEXITED(st) || WEXITSTATUS(st) != 42))
            die("my child");
        pthread_mutex_lock(&m);
        pthread_mutex_unlock(&m);
        rounds++;
    }
    return rounds;
}

// --- attackers ------------------------------------------------------------------------------------
static sigjmp_buf fault;
static void on_fault(int sig)
{
    (void)sig;
    siglongjmp(fault, 1);
}
static int readable(uint64_t a)
{
    if (sigsetjmp(fault, 1))
        return 0;
    (void)*(volatile char *)a;
    return 1;
}
static int find_stub(void)
{
    uint64_t vdso = getauxval(AT_SYSINFO_EHDR);
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    for (uint64_t b = vdso - VDSO_OFF; b > vdso - VDSO_OFF - 64 * 4096; b -= 4096)
        if (readable(b) && !readable(b - 4096)) {
            stub = b;
            break;
        }
    if (!stub)
        return 0;
    for (text_end = stub; readable(text_end); text_end += 4096)
        ;
    for (uint64_t a = stub; a + 3 <= text_end && !gadget; a++)
        if (!memcmp((void *)a, "\x0f\x05\xc3", 3))
            gadget = a;
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    return gadget != 0;
}
static long host(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
    register uint64_t r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long ret;
    __asm__ volatile("sub $256, %%rsp; call *%[g]; add $256, %%rsp"
                     : "=a"(ret)
                     : [g] "r"(gadget), "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
static char stacks[8][65536];
static uint64_t address(void)
{
    switch (rnd() % 8) {
    case 0: return stub + rnd() % 0x10000;
    case 1: return stub + SLOTS_OFF + (rnd() % 8 ? 0 : (uint64_t)POS_SLOT * SLOT) + rnd() % (4 * SLOT);
    case 2: return stub + FORK_OFF;
    case 3: return (uint64_t)stacks + rnd() % sizeof(stacks);
    case 4: return getauxval(AT_SYSINFO_EHDR) - rnd() % 0x20000;
    case 5: return rnd();
    case 6: return (rnd() % 0x7f0000000ull) << 12;
    default: return rnd() % 4 << 12;
    }
}
static uint64_t number(void)
{
    static const uint64_t some[] = {0, 1, 2, 3, 7, 9, 10, 16, 31, 63, 64, 4096, 0x8000, 0x200000, 0x7fffffff,
                                    0xffffffff, 0x100000003, 1ull << 62, ~0ull, ~0ull - 1};
    return rnd() % 3 ? some[rnd() % (sizeof(some) / sizeof(some[0]))] : rnd();
}
static void host_random(void)
{
    static const int calls[] = {
        SYS_futex, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_recvmsg, SYS_close,
        SYS_write, SYS_sigaltstack, SYS_restart_syscall, SYS_sched_yield, SYS_clock_gettime, SYS_arch_prctl,
        SYS_kill, SYS_tgkill, SYS_process_vm_writev, SYS_open, SYS_socket, SYS_ptrace, SYS_execve, SYS_prctl};
    int nr = calls[rnd() % (sizeof(calls) / sizeof(calls[0]))];
    uint64_t a[6];
    for (int i = 0; i < 6; i++)
        a[i] = rnd() % 2 ? address() : number();
    if (nr == SYS_mmap) { // what it was given, as shared and writable as it gets
        a[0] = address() & ~4095ull;
        a[1] = 4096 * (1 + rnd() % 64);
        a[2] = rnd() % 8;
        a[3] = 0x10 | (rnd() % 2 ? 1 : 2) | (rnd() % 2 ? 0x20 : 0);
        a[4] = rnd() % 66;
        a[5] = (rnd() % 64) * 4096;
    } else if (nr == SYS_close || nr == SYS_write || nr == SYS_recvmsg) {
        a[0] = rnd() % 66;
    } else if (nr == SYS_kill || nr == SYS_tgkill) {
        a[0] = rnd() % 4 ? rnd() % 64 : (uint64_t)-1;
        a[1] = nr == SYS_kill ? 9 : rnd() % 64;
    } else if (nr == SYS_futex) {
        a[1] = rnd() % 16 | (rnd() % 2 ? 128 : 0);
        a[3] = 0;
        if ((a[1] & 127) == 0 || (a[1] & 127) == 9)
            a[2] = 1 + rnd(); // mostly another value: no sleep
    }
    host(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
static void scribble(void)
{
    uint64_t *s = (uint64_t *)(stub + SLOTS_OFF + (rnd() % 4) * SLOT);
    int n = rnd() % 4 ? 1 : 64;
    while (n--)
        s[rnd() % (rnd() % 4 ? 64 : SLOT / 8)] = rnd() % 2 ? number() : address();
}
// A file position that the stub moves: lies in its word, while every kind of call wants it.
static volatile uint64_t *word_of(int fd)
{
    return (uint64_t *)(stub + SLOTS_OFF + (uint64_t)POS_SLOT * SLOT + (uint64_t)fd * 64);
}
static void lie(void)
{
    char c[16];
    int fd = open("/proc/self/exe", O_RDONLY);
    if (fd < 0)
        return;
    for (int i = 0; i < 40; i++)
        read(fd, c, sizeof(c));
    *word_of(fd) = rnd() % 2 ? rnd() | 1ull << 63 : rnd() % 2 ? number() | 1ull << 63 : number();
    int copy = rnd() % 2 ? dup(fd) : fd;
    if (rnd() % 2)
        lseek(copy, rnd() % 2 ? 0 : (off_t)number(), rnd() % 3);
    if (rnd() % 2)
        *word_of(fd) = rnd();
    read(copy, c, sizeof(c));
    close(fd);
    close(copy);
}
// One that does nothing else: what others find must be a position.
static int liar(void)
{
    char name[64], file[64], b[256];
    snprintf(name, sizeof(name), "/tmp/liar.%d", getpid());
    int made = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int i = 0; i < 64; i++)
        if (write(made, b, sizeof(b)) != sizeof(b))
            return 2;
    while (now() < deadline) {
        int fd = open(name, O_RDONLY), st;
        for (int i = 0; i < 40; i++)
            if (read(fd, b, 16) != 16)
                return 3;
        *word_of(fd) = rnd() % 4 ? rnd() | 1ull << 63 : number();
        pid_t pid = fork();
        if (pid == 0) {
            long shown = -1, at;
            snprintf(file, sizeof(file), "/proc/self/fdinfo/%d", fd);
            int info = open(file, O_RDONLY);
            if (read(info, b, sizeof(b)) <= 0 || sscanf(b, "pos: %ld", &shown) != 1 || shown < 0)
                _exit(4);
            at = lseek(fd, 0, SEEK_CUR);
            if (at != shown || lseek(fd, 0, SEEK_CUR) != at || read(fd, b, 16) < 0 || lseek(fd, 16, SEEK_SET) != 16)
                _exit(5);
            _exit(read(fd, b, 16) == 16 && lseek(fd, 0, SEEK_CUR) == 32 ? 42 : 6);
        }
        if (pid > 0 && (waitpid(pid, &st, 0) != pid || !WIFEXITED(st) || WEXITSTATUS(st) != 42))
            return WIFEXITED(st) ? WEXITSTATUS(st) : 7;
        if (pid > 0 && (lseek(fd, 0, SEEK_CUR) != 32 || read(fd, b, 16) != 16))
            return 8;
        close(fd);
    }
    unlink(name);
    return 0;
}
static void rogue(int i)
{
    int thread = rnd() % 2;
    uint64_t *sp = (uint64_t *)(stacks[i % 8] + sizeof(stacks[0]) - 4096);
    for (int k = 0; k < 64; k++)
        sp[k] = stub + rnd() % (text_end - stub);
    host(SYS_clone, thread ? 0x50f00 : 0x8011, (uint64_t)sp, 0, 0, 0, 0);
}
static void forge(void)
{
    static uint64_t frame[256];
    for (int i = 0; i < 256; i++)
        frame[i] = rnd() % 2 ? address() : number();
    __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; jmp *%1" ::"r"(frame + rnd() % 64), "r"(gadget) : "memory");
}
static void *attack(void *arg)
{
    seed = (uint64_t)arg * 0x9e3779b97f4a7c15ull + 1;
    for (int i = 0; i < 3000; i++) {
        switch (rnd() % 24) {
        case 0: scribble(); break;
        case 7: lie(); break;
        case 1: syscall(SYS_getppid); break;
        case 2: syscall(SYS_mmap, NULL, 4096, 3, 0x22, -1, 0); break;
        case 3:
            if (rnd() % 40 == 0)
                rogue(i);
            break;
        case 4:
            if (rnd() % 200 == 0)
                forge();
            break;
        case 5:
            if (rnd() % 200 == 0)
                ((void (*)(void))(stub + rnd() % (text_end - stub)))();
            break;
        case 6:
            if (rnd() % 20 == 0 && fork() == 0)
                _exit(0);
            break;
        default: host_random();
        }
    }
    return NULL;
}
static int attacker(uint64_t n)
{
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t th;
        close_range(0, ~0u, 0); // what it writes where is not to reach us as files
        if (n % 2)
            pthread_create(&th, NULL, attack, (void *)(n * 2 + 1));
        attack((void *)(n * 2));
        _exit(0);
    }
    if (pid < 0)
        return 0;
    for (int i = 0; waitpid(pid, NULL, WNOHANG) == 0; i++) {
        if (i == 300) { // it sleeps, or blocks its interrupts
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            break;
        }
        usleep(1000);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    return 1;
}

int main(int argc, char **argv)
{
    deadline = now() + (argc > 1 ? strtoull(argv[1], NULL, 0) : 5) * 1000000000ull;
    if (!find_stub()) {
        puts("no stub found");
        return 2;
    }
    int p[2], rounds = 0;
    if (pipe(p))
        return 2;
    pid_t v = fork();
    if (v == 0) {
        if (getuid() == 0 && (setgid(20002) || setuid(20002)))
            die("setuid");
        rounds = victim();
        return write(p[1], &rounds, sizeof(rounds)) != sizeof(rounds);
    }
    pid_t l = fork();
    if (l == 0)
        _exit(getuid() == 0 && (setgid(20002) || setuid(20002)) ? 1 : liar());
    uint64_t n = 1 + (argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)getpid()) * 1000003;
    int st;
    for (pid_t a; now() < deadline; waitpid(a, &st, 0), n += 1000) // its own children may kill it
        if ((a = fork()) == 0) {
            int made = 0;
            setsid();
            if (getuid() == 0 && (setgid(10001) || setuid(10001)))
                _exit(2);
            while (now() < deadline)
                made += attacker(n++);
            printf("attackers %d\n", made);
            fflush(stdout);
            _exit(0);
        }
    waitpid(v, &st, 0);
    int ok = WIFEXITED(st) && WEXITSTATUS(st) == 0 && read(p[0], &rounds, sizeof(rounds)) == sizeof(rounds);
    if (!ok)
        printf("victim ended with status 0x%x\n", st);
    waitpid(l, &st, 0);
    if (st)
        printf("liar ended with status 0x%x\n", st);
    ok = ok && st == 0;
    printf("victim %d rounds\n", rounds);
    return ok && rounds > 0 ? 0 : 1;
}
