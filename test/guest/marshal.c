// SPDX-License-Identifier: Apache-2.0
// Arguments and results in memory that ends, changes or goes away: what a kernel copies ahead or behind
// must give what one gives that copies in place.
#include "gt.h"
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

enum { PG = 4096 };
// n pages, followed by one that is not mapped.
static char *pages(int n)
{
    char *p = mmap(0, (size_t)(n + 1) * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(p != MAP_FAILED);
    GT_OK(munmap(p + n * PG, PG));
    return p;
}
static char dir[64];
static int temp_file(const char *data, size_t n)
{
    char name[] = "/tmp/marshal.XXXXXX";
    int fd = (int)GT_OK(mkstemp(name));
    GT_OK(unlink(name));
    GT_EQ(write(fd, data, n), (long)n);
    return fd;
}
static void in_temp_dir(void)
{
    strcpy(dir, "/tmp/marshal-d.XXXXXX");
    GT_TRUE(mkdtemp(dir));
    GT_OK(chdir(dir));
}
static void out_of_temp_dir(void)
{
    GT_OK(chdir("/"));
    GT_OK(rmdir(dir));
}

GT(path_ends_with_its_page)
{
    struct stat st;
    char *p = pages(2), *end = p + 2 * PG;
    for (int len = 1; len < 40; len++) {
        char *s = end - len - 1;
        memset(s, '/', (size_t)len);
        s[len] = 0;
        GT_OK(stat(s, &st));
        GT_TRUE(S_ISDIR(st.st_mode));
        GT_OK(close(open(s, O_RDONLY)));
        GT_OK(access(s, F_OK));
        s[len] = 'x';
        GT_ERR(stat(s, &st), EFAULT); // no terminator before the page that is not there
        GT_ERR(open(s, O_RDONLY), EFAULT);
    }
    for (int at = PG - 20; at < PG; at++) { // across a page that is there
        memcpy(p + at, "/././././proc/../tmp", 21);
        GT_OK(stat(p + at, &st));
    }
    GT_ERR(stat(end, &st), EFAULT);
    GT_ERR(stat(0, &st), EFAULT);
    GT_ERR(stat((char *)8, &st), EFAULT);
    GT_ERR(stat((char *)0x7fffffffffff, &st), EFAULT);
    GT_ERR(stat((char *)0xffff800000000000, &st), EFAULT);
    GT_ERR(stat("", &st), ENOENT);
}

GT(path_max)
{
    struct stat st;
    char *p = pages(3);
    for (int start = 0; start < 16; start += 5) {
        char *s = p + start;
        memset(s, '/', 4095);
        s[4095] = 0;
        GT_OK(stat(s, &st)); // 4095 and the terminator
        s[4095] = '/';
        s[4096] = 0;
        GT_ERR(stat(s, &st), ENAMETOOLONG);
        memset(s, 'a', 3 * PG - 32);
        GT_ERR(stat(s, &st), ENAMETOOLONG);
        GT_ERR(rename(s, s), ENAMETOOLONG);
    }
    char *tail = p + 3 * PG - 4096;
    memset(tail, '/', 4095);
    tail[4095] = 0;
    GT_OK(stat(tail, &st));
    tail[4095] = '/';
    GT_ERR(stat(tail, &st), ENAMETOOLONG); // all of PATH_MAX was there to be read
    GT_ERR(stat(tail + 1, &st), EFAULT);
}

GT(two_paths)
{
    char *p = pages(2), *q = pages(1);
    in_temp_dir();
    char *a = p + 2 * PG - 3, *b = q + PG - 2;
    strcpy(a, "aa");
    strcpy(b, "b");
    GT_OK(close(creat(a, 0600)));
    GT_OK(rename(a, b));
    GT_ERR(access(a, F_OK), ENOENT);
    GT_OK(access(b, F_OK));
    b[1] = 'x';
    GT_ERR(rename(a, b), EFAULT);
    b[1] = 0;
    GT_OK(link(b, a));
    GT_OK(unlink(a));
    GT_OK(symlink(b, a));
    char buf[8] = "-------";
    GT_EQ(readlink(a, buf, 8), 1);
    GT_EQ(buf[0], 'b');
    GT_EQ(buf[1], '-');
    GT_OK(unlink(a));
    GT_OK(unlink(b));
    out_of_temp_dir();
}

GT(struct_out_at_the_edge)
{
    char *p = pages(1), *end = p + PG;
    int fd = temp_file("x", 1), fds[2];
    struct stat st;
    GT_OK(fstat(fd, (struct stat *)(end - sizeof(st))));
    GT_OK(fstat(fd, &st));
    GT_TRUE(!memcmp(&st, end - sizeof(st), sizeof(st)));
    GT_ERR(fstat(fd, (struct stat *)(end - sizeof(st) + 8)), EFAULT);
    GT_ERR(fstat(fd, (struct stat *)end), EFAULT);
    GT_ERR(fstat(-1, (struct stat *)end), EBADF); // the descriptor comes first
    GT_ERR(stat("/nowhere/at/all", (struct stat *)end), ENOENT);
    GT_OK(mprotect(p, PG, PROT_READ));
    GT_ERR(fstat(fd, (struct stat *)p), EFAULT);
    GT_ERR(syscall(SYS_pipe, p), EFAULT);
    GT_ERR(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, end - 4), EFAULT);
    GT_OK(pipe(fds)); // none was leaked
    GT_EQ(fds[0], fd + 1);
    GT_EQ(fds[1], fd + 2);
}

GT(buffers_at_the_edge)
{
    char *p = pages(2), *end = p + 2 * PG, text[300];
    int fds[2];
    for (int i = 0; i < 300; i++)
        text[i] = (char)(i * 7);
    int fd = temp_file(text, 300);
    GT_EQ(pread(fd, end - 100, 100, 3), 100);
    GT_TRUE(!memcmp(end - 100, text + 3, 100));
    memset(end - 100, 0, 100);
    GT_EQ(pread(fd, end - 100, 200, 0), 100); // a file: what fits
    GT_TRUE(!memcmp(end - 100, text, 100));
    GT_ERR(pread(fd, end, 1, 0), EFAULT);
    GT_EQ(pread(fd, end, 0, 0), 0);
    GT_EQ(pread(fd, end, 1, 300), 0); // end of file: nothing is copied
    GT_OK(pipe(fds));
    GT_EQ(write(fds[1], text, 300), 300);
    GT_ERR(read(fds[0], end - 100, 300), EFAULT); // a pipe: nothing is taken
    GT_ERR(read(fds[0], end, 10), EFAULT);
    GT_EQ(read(fds[0], end - 300, 300), 300);
    GT_TRUE(!memcmp(end - 300, text, 300));
    GT_EQ(pwrite(fd, end - 100, 100, 0), 100);
    GT_ERR(write(fds[1], end, 1), EFAULT);
    GT_ERR(write(fds[1], end - 1 + 1, 0x7fffffff), EFAULT);
    GT_EQ(write(fds[1], end, 0), 0);
    GT_EQ(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    char c;
    GT_ERR(read(fds[0], &c, 1), EAGAIN); // nothing of the failed writes is there
}

GT(larger_than_any_window)
{
    enum { N = 200000 };
    char *a = malloc(N), *b = malloc(N);
    for (int i = 0; i < N; i++)
        a[i] = (char)(i * 31 >> 3);
    int fd = temp_file("", 0);
    static const int sizes[] = {1, 7, 8, 9, 127, 128, 129, 4095, 4096, 4097, 8191, 8192, 8193,
                                12287, 12288, 12289, 65536, 131071, N - 5};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        int n = sizes[i];
        for (int skew = 0; skew < 5; skew += 3) {
            GT_EQ(pwrite(fd, a + skew, (size_t)n, 0), n);
            memset(b, 1, N);
            GT_EQ(pread(fd, b + 5 - skew, (size_t)n, 0), n);
            GT_TRUE(!memcmp(b + 5 - skew, a + skew, (size_t)n));
            GT_EQ(b[5 - skew - 1], 1);
            if (5 - skew + n < N)
                GT_EQ(b[5 - skew + n], 1);
        }
    }
    // A buffer far larger than what comes.
    GT_OK(ftruncate(fd, 10));
    memset(b, 1, N);
    GT_EQ(pread(fd, b, N, 0), 10);
    GT_EQ(b[10], 1);
    GT_EQ(b[9000], 1);
}

GT(in_and_out_in_one_place)
{
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    GT_OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &s, &s, 8)); // read before it is written
    GT_TRUE(!sigismember(&s, SIGUSR1));
    GT_OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &s, &s, 8));
    GT_TRUE(sigismember(&s, SIGUSR1));
    struct itimerval it = {{0, 0}, {1000, 0}};
    GT_OK(syscall(SYS_setitimer, ITIMER_REAL, &it, &it));
    GT_TRUE(it.it_value.tv_sec < 900); // the harness's alarm, or none
    GT_OK(syscall(SYS_setitimer, ITIMER_REAL, &it, &it));
    GT_TRUE(it.it_value.tv_sec >= 990);
    struct rlimit r = {64, 64}, old;
    GT_OK(getrlimit(RLIMIT_NOFILE, &old));
    r = old;
    r.rlim_cur = 77;
    GT_OK(prlimit(0, RLIMIT_NOFILE, &r, &r));
    GT_EQ(r.rlim_cur, old.rlim_cur);
    int fds[2];
    GT_OK(pipe(fds));
    GT_EQ(write(fds[1], "x", 1), 1);
    struct pollfd pf[3] = {{fds[0], POLLIN, 99}, {fds[1], POLLOUT, 99}, {-1, 1, 99}};
    GT_EQ(poll(pf, 3, -1), 2);
    GT_EQ(pf[0].revents, POLLIN);
    GT_EQ(pf[1].revents, POLLOUT);
    GT_EQ(pf[2].revents, 0);
    GT_EQ(pf[0].fd, fds[0]);
    fd_set in, out;
    FD_ZERO(&in);
    FD_SET(fds[0], &in);
    FD_SET(fds[1], &in);
    memcpy(&out, &in, sizeof(in));
    struct timeval tv = {5, 0};
    GT_EQ(select(fds[1] + 1, &in, &out, 0, &tv), 2);
    GT_TRUE(FD_ISSET(fds[0], &in) && !FD_ISSET(fds[1], &in));
    GT_TRUE(FD_ISSET(fds[1], &out) && !FD_ISSET(fds[0], &out));
    // The same set for reading and writing: the last to be written stays.
    FD_ZERO(&in);
    FD_SET(fds[0], &in);
    FD_SET(fds[1], &in);
    GT_EQ(select(fds[1] + 1, &in, &in, 0, &tv), 2);
    GT_TRUE(FD_ISSET(fds[1], &in) && !FD_ISSET(fds[0], &in));
}

GT(select_with_a_short_set)
{
    // Only as many words as n needs are touched.
    char *end = pages(1) + PG;
    unsigned long *set = (unsigned long *)(end - 8);
    int fds[2];
    GT_OK(pipe(fds));
    *set = 1ul << fds[1];
    GT_EQ(select(fds[1] + 1, 0, (fd_set *)set, 0, 0), 1);
    GT_EQ(*set, 1ul << fds[1]);
    // ... and of those only as many as the table of descriptors has room for: 200 makes it 256.
    GT_OK(close(GT_OK(dup2(fds[0], 200))));
    GT_ERR(select(65, 0, (fd_set *)set, 0, 0), EFAULT);
    static unsigned long many[1 << 14]; // a table of 256: what is named beyond was never open
    many[0] = *set;
    many[(1 << 14) - 1] = 1;
    GT_EQ(select(1 << 20, 0, (fd_set *)many, 0, 0), 1);
    GT_EQ(many[(1 << 14) - 1], 1);
}

GT(addresses_of_sockets)
{
    int s[2];
    struct sockaddr_un a = {.sun_family = AF_UNIX}, b;
    char *end = pages(1) + PG, buf[8];
    memcpy(a.sun_path, "\0marshal-test", 13);
    a.sun_path[12] = (char)('A' + getpid() % 26);
    socklen_t al = 2 + 13, *lp = (socklen_t *)(end - 4);
    s[0] = (int)GT_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    s[1] = (int)GT_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    GT_OK(bind(s[0], (struct sockaddr *)&a, al));
    struct sockaddr_un c = {.sun_family = AF_UNIX};
    memcpy(c.sun_path, "\0marshal-two", 13);
    c.sun_path[12] = a.sun_path[12];
    GT_OK(bind(s[1], (struct sockaddr *)&c, al));
    GT_EQ(sendto(s[1], "hello", 5, 0, (struct sockaddr *)&a, al), 5);
    *lp = 6; // shorter than the address: cut, and the true length told
    memset(&b, 0x55, sizeof(b));
    GT_EQ(recvfrom(s[0], buf, 8, 0, (struct sockaddr *)&b, lp), 5);
    GT_EQ(*lp, al);
    GT_TRUE(!memcmp(&b, &c, 6));
    GT_EQ(((char *)&b)[6], 0x55);
    GT_EQ(sendto(s[1], "hello", 5, 0, (struct sockaddr *)&a, al), 5);
    GT_ERR(recvfrom(s[0], end, 8, MSG_DONTWAIT, 0, 0), EFAULT);
    int v = 0;
    *lp = 4;
    GT_OK(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, lp));
    GT_EQ(v, SOCK_DGRAM);
    GT_ERR(getsockopt(s[0], SOL_SOCKET, SO_TYPE, end, lp), EFAULT);
    GT_ERR(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, (socklen_t *)end), EFAULT);
    GT_ERR(setsockopt(s[0], SOL_SOCKET, SO_RCVBUF, end - 3, 4), EFAULT);
    memset(&b, 0, sizeof(b));
    *lp = sizeof(b);
    GT_OK(getsockname(s[0], (struct sockaddr *)&b, lp));
    GT_EQ(*lp, al);
    GT_TRUE(!memcmp(&a, &b, al));
}

GT(results_of_wait)
{
    int *status = (int *)(pages(1) + PG - 4);
    struct rusage ru;
    memset(&ru, 0xff, sizeof(ru));
    pid_t pid = fork();
    if (!pid)
        _exit(5);
    GT_EQ(wait4(pid, status, 0, &ru), pid);
    GT_TRUE(WIFEXITED(*status) && WEXITSTATUS(*status) == 5);
    GT_TRUE(ru.ru_utime.tv_sec == 0);
    pid = fork();
    if (!pid)
        _exit(6);
    GT_ERR(wait4(pid, status + 1, 0, 0), EFAULT); // reaped all the same
    GT_ERR(wait4(pid, status, 0, 0), ECHILD);
}

// --- memory that changes while the call waits -----------------------------------------------------------
static int wp[2];
static char *wbuf;
static volatile int got, got_errno;
static void *reader(void *arg)
{
    got = (int)read(wp[0], wbuf, 100);
    got_errno = errno;
    return 0;
}
static void blocked_read(void (*change)(void))
{
    pthread_t t;
    GT_OK(pipe(wp));
    wbuf = mmap(0, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_EQ(pthread_create(&t, 0, reader, 0), 0);
    usleep(50000);
    change();
    GT_EQ(write(wp[1], "hello", 5), 5);
    GT_EQ(pthread_join(t, 0), 0);
    GT_EQ(got, -1);
    GT_EQ(got_errno, EFAULT);
    char b[8];
    GT_EQ(read(wp[0], b, 8), 5); // it is still there
    GT_TRUE(!memcmp(b, "hello", 5));
}
static void change_unmap(void) { GT_OK(munmap(wbuf, PG)); }
static void change_protect(void) { GT_OK(mprotect(wbuf, PG, PROT_READ)); }
static void change_move(void)
{
    char *to = mmap(0, PG, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(mremap(wbuf, PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
}
static void change_replace(void)
{
    GT_TRUE(mmap(wbuf, PG, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == wbuf);
}
GT(unmapped_while_waiting) { blocked_read(change_unmap); }
GT(protected_while_waiting) { blocked_read(change_protect); }
GT(moved_while_waiting) { blocked_read(change_move); }
GT(replaced_while_waiting) { blocked_read(change_replace); }

static volatile int stop;
static char flip[64] = "/tmp";
static void *flipper(void *arg)
{
    while (!stop) {
        memcpy(flip, "/", 2);
        memcpy(flip, "/nowhere/at/all", 16);
        memcpy(flip, "/proc/self/../../tmp", 21);
    }
    return 0;
}
GT(path_changes_under_the_call)
{
    pthread_t t;
    struct stat st;
    GT_EQ(pthread_create(&t, 0, flipper, 0), 0);
    for (int i = 0; i < 20000; i++)
        if (stat(flip, &st))
            GT_TRUE(errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG);
        else
            GT_TRUE(S_ISDIR(st.st_mode));
    stop = 1;
    GT_EQ(pthread_join(t, 0), 0);
}

static char *torn;
static void *protector(void *arg)
{
    while (!stop) {
        mprotect(torn + PG, PG, PROT_NONE);
        mprotect(torn + PG, PG, PROT_READ | PROT_WRITE);
    }
    return 0;
}
GT(protection_changes_under_the_call)
{
    pthread_t t;
    torn = pages(2);
    int fd = temp_file("0123456789", 10), faults = 0, fine = 0;
    GT_EQ(pthread_create(&t, 0, protector, 0), 0);
    struct stat *st = (struct stat *)(torn + PG - 64);
    for (int i = 0; i < 3000; i++) {
        if (fstat(fd, st) == 0)
            fine++;
        else if (errno == EFAULT)
            faults++;
        else
            GT_FAIL("fstat: %d", errno);
        long n = pread(fd, torn + PG - 5, 10, 0);
        GT_TRUE(n == 10 || n == 5 || (n == -1 && errno == EFAULT));
        GT_TRUE(n < 0 || torn[PG - 1] == '4');
    }
    stop = 1;
    GT_EQ(pthread_join(t, 0), 0);
    GT_EQ(fine + faults, 3000);
}

GT(shared_memory_takes_results)
{
    char *p = mmap(0, PG, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int fd = temp_file("0123456789", 10), st;
    pid_t pid = fork();
    if (!pid)
        _exit(pread(fd, p + 7, 10, 0) == 10 ? 0 : 1);
    GT_EQ(waitpid(pid, &st, 0), pid);
    GT_EQ(st, 0);
    GT_TRUE(!memcmp(p + 7, "0123456789", 10));
}

// --- signals ---------------------------------------------------------------------------------------------
static volatile int hits;
static void on_alarm(int sig, siginfo_t *si, void *uc)
{
    GT_EQ(si->si_signo, sig);
    hits++;
}
GT(rest_of_a_sleep_where_the_frame_goes)
{
    // The kernel writes the rest of the time, then the frame, which may cover it.
    char *stack = pages(16);
    stack_t ss = {.ss_sp = stack, .ss_size = 16 * PG};
    GT_OK(sigaltstack(&ss, 0));
    struct sigaction sa = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    GT_OK(sigaction(SIGVTALRM, &sa, 0));
    GT_OK(sigaction(SIGALRM, &sa, 0));
    // Again and again, should the first come before the sleep.
    struct itimerval it = {{0, 20000}, {0, 2000}};
    for (int off = 16; off < 6000; off += 248) {
        struct timespec req = {5, 0}, *rem = (struct timespec *)(stack + 16 * PG - off);
        GT_OK(setitimer(ITIMER_REAL, &it, 0));
        GT_ERR(nanosleep(&req, rem), EINTR);
    }
    GT_TRUE(hits >= (6000 - 16 + 247) / 248);
    struct timespec req = {5, 0}, rem = {9, 9};
    GT_OK(setitimer(ITIMER_REAL, &it, 0));
    GT_ERR(nanosleep(&req, &rem), EINTR);
    GT_TRUE(rem.tv_sec == 4 && rem.tv_nsec > 0);
    GT_OK(setitimer(ITIMER_REAL, &it, 0));
    GT_ERR(nanosleep(&req, &req), EINTR);
    GT_EQ(req.tv_sec, 4);
    GT_OK(setitimer(ITIMER_REAL, &it, 0));
    GT_ERR(syscall(SYS_nanosleep, &req, (void *)1), EFAULT);
}

GT(direction_flag)
{
    int fds[2];
    char in[200], out[200];
    GT_OK(pipe(fds));
    memset(in, 'q', sizeof(in));
    in[0] = 'a';
    in[199] = 'z';
    for (int i = 0; i < 50; i++) {
        long r;
        register long nr __asm__("rax") = SYS_write;
        __asm__ volatile("std; syscall; cld"
                         : "=a"(r)
                         : "a"(nr), "D"((long)fds[1]), "S"(in), "d"(200l)
                         : "rcx", "r11", "memory", "cc");
        GT_EQ(r, 200);
        memset(out, 0, sizeof(out));
        __asm__ volatile("std; syscall; cld"
                         : "=a"(r)
                         : "a"((long)SYS_read), "D"((long)fds[0]), "S"(out), "d"(200l)
                         : "rcx", "r11", "memory", "cc");
        GT_EQ(r, 200);
        GT_TRUE(!memcmp(in, out, 200));
    }
}

GT(many_small_results)
{
    int fd = temp_file("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH", 44);
    struct iovec v[44];
    char b[200];
    memset(b, '.', sizeof(b));
    for (int i = 0; i < 44; i++)
        v[i] = (struct iovec){b + 4 * i, 1};
    GT_EQ(preadv(fd, v, 44, 0), 44);
    for (int i = 0; i < 44; i++) {
        GT_EQ(b[4 * i], "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH"[i]);
        GT_EQ(b[4 * i + 1], '.');
    }
    // Into the vector itself: it has been read before.
    struct iovec w[3] = {{(char *)w, 8}, {(char *)w + 16, 16}, {b, 4}};
    GT_EQ(preadv(fd, w, 3, 0), 28);
    GT_TRUE(!memcmp(w, "01234567", 8));
    GT_TRUE(!memcmp(b, "opqr", 4));
}

GT(vectors_at_the_edge)
{
    char *end = pages(2) + 2 * PG, b[64];
    int fd = temp_file("", 0);
    struct iovec *v = (struct iovec *)(end - 2 * sizeof(*v)); // ends with the page
    v[0] = (struct iovec){"0123456789", 10};
    v[1] = (struct iovec){end, 10};
    GT_EQ(pwritev(fd, v, 2, 0), 10); // what could be read
    GT_ERR(pwritev(fd, v + 1, 1, 0), EFAULT);
    GT_ERR(pwritev(fd, v, 3, 0), EFAULT);
    v[1] = (struct iovec){"abcdef", 6};
    GT_EQ(pwritev(fd, v, 2, 5), 16);
    v[0] = (struct iovec){b, 7};
    v[1] = (struct iovec){b + 32, 100};
    GT_EQ(preadv(fd, v, 2, 0), 21);
    GT_TRUE(!memcmp(b, "0123401", 7) && !memcmp(b + 32, "23456789abcdef", 14));
    v[1].iov_base = end - 2 * sizeof(*v) - 5;
    v[1].iov_len = 5;
    GT_EQ(preadv(fd, v, 2, 0), 12);
    GT_TRUE(!memcmp(end - 2 * sizeof(*v) - 5, "23456", 5));
    v[0] = (struct iovec){b, 4};
    v[1] = (struct iovec){end, 4};
    GT_EQ(preadv(fd, v, 2, 0), 4);
    v[0].iov_len = 0;
    GT_ERR(preadv(fd, v, 2, 0), EFAULT);
    v[0].iov_len = -1ul;
    GT_ERR(preadv(fd, v, 1, 0), EINVAL);
    struct iovec many[40];
    char big[40 * 700], back[40 * 700];
    for (int i = 0; i < 40 * 700; i++)
        big[i] = (char)(i * 13 >> 2);
    for (int i = 0; i < 40; i++)
        many[i] = (struct iovec){big + i * 700, 700};
    GT_EQ(pwritev(fd, many, 40, 0), 40 * 700);
    for (int i = 0; i < 40; i++)
        many[i].iov_base = back + i * 700;
    GT_EQ(preadv(fd, many, 40, 0), 40 * 700);
    GT_TRUE(!memcmp(big, back, sizeof(big)));
}

GT(large_vectors)
{
    enum { N = 30, L = 3000 };
    static char big[N * L], back[N * (L + 100)];
    char *end = pages(2) + 2 * PG;
    struct iovec v[N];
    int fd = temp_file("", 0);
    for (int i = 0; i < N * L; i++)
        big[i] = (char)(i * 29 >> 2);
    for (int i = 0; i < N; i++)
        v[i] = (struct iovec){big + i * L, i % 7 == 3 ? 0 : L};
    long want = 0;
    for (int i = 0; i < N; i++)
        want += (long)v[i].iov_len;
    GT_EQ(pwritev(fd, v, N, 0), want);
    for (int i = 0; i < N; i++)
        v[i].iov_base = back + i * (L + 100);
    GT_EQ(preadv(fd, v, N, 0), want);
    for (int i = 0; i < N; i++)
        GT_TRUE(i % 7 == 3 || !memcmp(back + i * (L + 100), big + i * L, L));
    // A fault in the middle: everything before it counts.
    memset(back, 0, sizeof(back));
    v[9] = (struct iovec){end - 1000, L};
    want = 0;
    for (int i = 0; i < 9; i++)
        want += (long)v[i].iov_len;
    long n = preadv(fd, v, N, 0);
    GT_EQ(n, want + 1000);
    char *check = malloc((size_t)n);
    GT_EQ(pread(fd, check, (size_t)n, 0), n);
    GT_TRUE(!memcmp(check + want, end - 1000, 1000));
    GT_TRUE(!memcmp(check, back, L));
    int fd2 = temp_file("", 0);
    n = pwritev(fd2, v, N, 0);
    GT_EQ(n, want + 1000);
    // End of the file inside of a vector.
    v[9] = (struct iovec){end - 1000, 500};
    GT_OK(ftruncate(fd, 5000));
    GT_EQ(preadv(fd, v, N, 0), 5000);
}

GT(messages_at_the_edge)
{
    char *end = pages(2) + 2 * PG, b[64], *ctl = end - CMSG_SPACE(4);
    int s[2];
    GT_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
    struct iovec v[2] = {{"hello ", 6}, {"world", 5}};
    struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
    GT_EQ(sendmsg(s[0], &m, 0), 11);
    struct iovec w[2] = {{b, 3}, {b + 8, 20}};
    struct msghdr r = {.msg_iov = w, .msg_iovlen = 2, .msg_control = ctl, .msg_controllen = CMSG_SPACE(4),
                       .msg_flags = 77, .msg_name = b, .msg_namelen = 8};
    GT_EQ(recvmsg(s[1], &r, 0), 11);
    GT_TRUE(!memcmp(b, "hel", 3) && !memcmp(b + 8, "lo world", 8));
    GT_EQ(r.msg_controllen, 0);
    GT_TRUE(!(r.msg_flags & ~MSG_EOR));
    GT_EQ(r.msg_namelen, 0);
    // A descriptor, its control data at the end of the page.
    struct cmsghdr *c = (struct cmsghdr *)ctl;
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(4)};
    memcpy(CMSG_DATA(c), &s[0], 4);
    m.msg_control = ctl;
    m.msg_controllen = CMSG_SPACE(4);
    GT_EQ(sendmsg(s[0], &m, 0), 11);
    memset(ctl, 0, CMSG_SPACE(4));
    r.msg_control = ctl;
    r.msg_controllen = CMSG_SPACE(4);
    r.msg_name = 0;
    GT_EQ(recvmsg(s[1], &r, 0), 11);
    GT_EQ(r.msg_controllen, CMSG_SPACE(4));
    int got;
    memcpy(&got, CMSG_DATA(c), 4);
    GT_OK(fcntl(got, F_GETFD));
    m.msg_control = end - 8;
    GT_ERR(sendmsg(s[0], &m, 0), EFAULT);
    m.msg_control = 0;
    m.msg_controllen = 0;
    v[1].iov_base = end - 2;
    GT_ERR(sendmsg(s[0], &m, 0), EFAULT);
    m.msg_iov = (struct iovec *)(end - 8);
    GT_ERR(sendmsg(s[0], &m, 0), EFAULT);
    GT_ERR(sendmsg(s[0], (struct msghdr *)(end - 40), 0), EFAULT);
    GT_ERR(recv(s[1], b, 1, MSG_DONTWAIT), EAGAIN); // none of these was sent
    // A buffer that holds the header itself: read before it is written.
    struct msghdr *own = (struct msghdr *)(end - 256);
    struct iovec *ov = (struct iovec *)(end - 128);
    *ov = (struct iovec){own, 200};
    *own = (struct msghdr){.msg_iov = ov, .msg_iovlen = 1};
    char fill[200];
    memset(fill, 'f', sizeof(fill));
    GT_EQ(send(s[0], fill, 200, 0), 200);
    GT_EQ(recvmsg(s[1], own, 0), 200);
    GT_TRUE(((char *)own)[16] == 'f' && ((char *)own)[199] == 'f');
}
GT_MAIN
