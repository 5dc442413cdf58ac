// SPDX-License-Identifier: Apache-2.0
// The umask: who shares it and who does not, while it changes often enough for a kernel to have made a
// short cut of the call; and everything that makes a file finds the value that the last call left.
#include "gt.h"
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static long set(unsigned v) { return syscall(SYS_umask, v); }
static long status_umask(pid_t pid)
{
    char path[64], buf[4096], *p;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    int fd = GT_OK(open(path, O_RDONLY));
    long n = GT_OK(read(fd, buf, sizeof(buf) - 1));
    close(fd);
    buf[n] = 0;
    p = strstr(buf, "\nUmask:");
    GT_TRUE(p);
    return strtol(p + 7, 0, 8);
}
static unsigned mode_at(int dir, const char *name)
{
    struct stat st;
    GT_OK(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW));
    return st.st_mode & 07777;
}
static unsigned mode_of(const char *name) { return mode_at(AT_FDCWD, name); }
static unsigned made_mode(void) // of a file made now
{
    close(GT_OK(open("um.f", O_CREAT | O_EXCL | O_WRONLY, 0777)));
    unsigned m = mode_of("um.f");
    GT_OK(unlink("um.f"));
    return m;
}
static void reap(pid_t p)
{
    int st = -1;
    GT_EQ(waitpid(p, &st, __WALL), p);
    GT_EQ(st, 0);
}
static void *stack_new(void)
{
    char *m = mmap(0, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(m != MAP_FAILED);
    return m + (1 << 16);
}
static void warm(unsigned v) // several calls, then v
{
    for (unsigned i = 0; i < 20; i++)
        set(i);
    GT_EQ(set(v), 19);
}

GT(umask_values)
{
    set(0);
    for (unsigned i = 0; i < 3000; i++)
        GT_EQ(set(i + 1), i & 0777);
    set(022);
    GT_EQ(set(0xfffffe51), 022);
    GT_EQ(set(~0u), 0xfffffe51 & 0777);
    GT_EQ(set(022), 0777);
    for (unsigned i = 0; i < 40; i++) {
        unsigned v = (i * 37 + 5) & 0177; // the owner may read
        set(v);
        GT_EQ(status_umask(getpid()), v);
        GT_EQ(made_mode(), 0777 & ~v);
        GT_EQ(set(v), v);
    }
}
GT(umask_makers)
{
    static const unsigned masks[] = {0, 077, 022, 0137};
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "um.sock"};
    warm(022);
    for (int i = 0; i < 8; i++) {
        unsigned v = masks[i % 4], want = 0777 & ~v;
        set(v);
        GT_EQ(made_mode(), want);
        GT_OK(mkdir("um.d", 0777));
        GT_EQ(mode_of("um.d"), want);
        GT_OK(rmdir("um.d"));
        GT_OK(mkfifo("um.p", 0777));
        GT_EQ(mode_of("um.p"), want);
        GT_OK(unlink("um.p"));
        GT_OK(symlink("x", "um.l")); // has no mode of its own
        GT_EQ(mode_of("um.l"), 0777);
        GT_OK(unlink("um.l"));
        int s = GT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
        GT_OK(bind(s, (void *)&a, sizeof(a)));
        GT_EQ(mode_of("um.sock"), want);
        close(s);
        GT_OK(unlink("um.sock"));
        char name[64];
        struct stat st;
        snprintf(name, sizeof(name), "/um-test-%d", (int)getpid());
        mqd_t q = GT_OK(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0777, 0));
        GT_OK(fstat(q, &st));
        GT_EQ(st.st_mode & 0777, want);
        mq_close(q);
        GT_OK(mq_unlink(name));
    }
}
GT(umask_fork)
{
    warm(027);
    for (int i = 0; i < 20; i++) {
        pid_t p = GT_OK(fork());
        if (!p) {
            GT_EQ(set(0111), 027);
            GT_EQ(set(0123), 0111);
            GT_EQ(made_mode(), 0777 & ~0123);
            GT_EQ(status_umask(getppid()), 027);
            _exit(0);
        }
        reap(p);
        GT_EQ(set(027), 027);
    }
}
// Another's umask in the same memory.
GT(umask_vfork)
{
    warm(027);
    for (int i = 0; i < 20; i++) {
        static volatile long before, between;
        pid_t p = vfork();
        if (!p) {
            before = set(0100);
            between = set(0111);
            for (int j = 0; j < 5; j++)
                set(0777);
            _exit(0);
        }
        reap(GT_OK(p));
        GT_EQ(before, 027);
        GT_EQ(between, 0100);
        GT_EQ(status_umask(getpid()), 027);
        GT_EQ(set(026), 027);
        GT_EQ(set(027), 026);
    }
}
static volatile long wrong;
static volatile int stop;
static int own_umask(void *arg) // nobody else changes it
{
    unsigned tag = (unsigned)(uintptr_t)arg;
    set(tag);
    for (unsigned i = 0; i < 2000; i++) {
        unsigned was = i ? tag | (i - 1) % 8 : tag;
        if (set(tag | i % 8) != (long)was)
            wrong++;
    }
    return 0;
}
GT(umask_apart_in_one_memory)
{
    warm(022);
    pid_t p[3];
    for (unsigned i = 0; i < 3; i++)
        p[i] = GT_OK(clone(own_umask, stack_new(), CLONE_VM | SIGCHLD, (void *)(uintptr_t)(0100 * (i + 1))));
    own_umask((void *)0400);
    for (int i = 0; i < 3; i++)
        reap(p[i]);
    GT_EQ(wrong, 0);
}
static void *unshared(void *arg)
{
    if (unshare(CLONE_FS))
        wrong++;
    return (void *)(uintptr_t)own_umask(arg);
}
GT(umask_unshare)
{
    pthread_t t[3];
    warm(0333);
    for (unsigned i = 0; i < 3; i++)
        GT_EQ(pthread_create(&t[i], 0, unshared, (void *)(uintptr_t)(0100 * (i + 1))), 0);
    for (int i = 0; i < 3000; i++)
        if (set(i % 2 ? 0333 : 0334) != (i && i % 2 ? 0334 : 0333))
            wrong++;
    for (int i = 0; i < 3; i++)
        GT_EQ(pthread_join(t[i], 0), 0);
    GT_EQ(wrong, 0);
    GT_EQ(set(0), 0333);
}

// Everybody who shares it puts a value of his own in and takes another out: none is lost, and none
// comes twice. Threads, and a process with memory of its own.
enum { PLAYERS = 4, ROUNDS = 2000, BASE = 0100 };
struct game {
    int ready;
    unsigned hand[PLAYERS + 1];
};
static struct game *game;
static int play(int me)
{
    unsigned v = BASE + me;
    __atomic_add_fetch(&game->ready, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&game->ready, __ATOMIC_SEQ_CST) < PLAYERS)
        sched_yield();
    for (int i = 0; i < ROUNDS; i++)
        v = (unsigned)set(v);
    game->hand[me] = v;
    return 0;
}
static void *play_thread(void *arg) { return (void *)(uintptr_t)play((int)(uintptr_t)arg); }
static int play_process(void *arg) { return play((int)(uintptr_t)arg); }
static void game_begin(void)
{
    game = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(game != MAP_FAILED);
    warm(BASE + PLAYERS);
}
static void game_end(void)
{
    unsigned seen = 0;
    game->hand[PLAYERS] = (unsigned)set(0);
    for (int i = 0; i <= PLAYERS; i++) {
        GT_TRUE(game->hand[i] >= BASE && game->hand[i] <= BASE + PLAYERS);
        seen |= 1u << (game->hand[i] - BASE);
    }
    GT_EQ(seen, (1u << (PLAYERS + 1)) - 1);
}
GT(umask_threads)
{
    pthread_t t[PLAYERS];
    game_begin();
    for (int i = 0; i < PLAYERS; i++)
        GT_EQ(pthread_create(&t[i], 0, play_thread, (void *)(uintptr_t)i), 0);
    for (int i = 0; i < 50; i++) { // who only looks sees one of the values, and changes nothing
        long now = status_umask(getpid());
        GT_TRUE(now >= BASE && now <= BASE + PLAYERS);
        unsigned m = ~made_mode() & 0777;
        GT_TRUE(m >= BASE && m <= BASE + PLAYERS);
    }
    for (int i = 0; i < PLAYERS; i++)
        GT_EQ(pthread_join(t[i], 0), 0);
    game_end();
}
GT(umask_shared_by_processes)
{
    pid_t p[PLAYERS];
    game_begin();
    for (int i = 1; i < PLAYERS; i++) // one of them in our memory
        p[i] = GT_OK(clone(play_process, stack_new(), CLONE_FS | (i == 1 ? CLONE_VM : 0) | SIGCHLD,
                           (void *)(uintptr_t)i));
    play(0);
    for (int i = 1; i < PLAYERS; i++)
        reap(p[i]);
    game_end();
}

// --- exec keeps it, and keeps whom it is shared with ---
static char *const check[] = {"sh", "-c", "test \"$(umask)\" = 0151 || exit 1; umask 0027; test \"$(umask)\" = 0027", 0};
static int exec_sh(void *arg)
{
    set(0151);
    execv("/bin/sh", check);
    return 1;
}
GT(umask_exec)
{
    warm(022);
    reap(GT_OK(clone(exec_sh, stack_new(), SIGCHLD, 0)));
    GT_EQ(set(022), 022);
    reap(GT_OK(clone(exec_sh, stack_new(), CLONE_VM | CLONE_VFORK | SIGCHLD, 0)));
    GT_EQ(set(022), 022);
    for (int i = 0; i < 3; i++) {
        warm(0);
        reap(GT_OK(clone(exec_sh, stack_new(), CLONE_FS | CLONE_VM | CLONE_VFORK | SIGCHLD, 0)));
        GT_EQ(set(0), 027);
        GT_EQ(set(0), 0);
    }
}
// Whom it was shared with is gone, and so is the memory from which it was changed last.
static int change_and_exit(void *arg)
{
    for (unsigned i = 0; i < 10; i++)
        set(i);
    set(0147);
    return 0;
}
GT(umask_survives)
{
    for (int i = 0; i < 20; i++) {
        warm(0);
        reap(GT_OK(clone(change_and_exit, stack_new(), CLONE_FS | SIGCHLD, 0)));
        GT_EQ(status_umask(getpid()), 0147);
        GT_EQ(made_mode(), 0777 & ~0147);
        GT_EQ(set(1), 0147);
        GT_EQ(set(2), 1);
    }
}
// A call that a signal comes to is made once.
static volatile int hits;
static void hit(int sig)
{
    struct itimerval next = {{0, 0}, {0, 200}}; // the slowest of kernels gets on in between
    hits++;
    setitimer(ITIMER_REAL, &next, 0);
}
GT(umask_signals)
{
    signal(SIGALRM, hit);
    set(0);
    hit(SIGALRM);
    for (unsigned i = 0; i < 10000 || hits < 20; i++)
        GT_EQ(set(i + 1), i & 0777);
}
GT_MAIN
