// SPDX-License-Identifier: Apache-2.0
// execve: errors, scripts, arguments, auxiliary vector, what survives and what does not. The program
// runs itself again: "exec -child WHAT ...".
#include "gt.h"
#include <elf.h>
#include <stdarg.h>
#include <stddef.h>
#include <link.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int child_main(int argc, char **argv);
static char self[4096];
__attribute__((constructor)) static void find_self(void)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = 0;
}
// Runs fn in a child that is expected to exec; returns the wait status.
static int run(void (*fn)(void *), void *arg)
{
    pid_t c = GT_OK(fork());
    if (!c) {
        fn(arg);
        _exit(120);
    }
    int st;
    GT_EQ(waitpid(c, &st, 0), c);
    return st;
}
static void exec_self(void *what)
{
    char *argv[] = {"exec", "-child", what, "a1", "", 0}, *envp[] = {"E1=x", "E2=", 0};
    execve(self, argv, envp);
}
static void expect_child(char *what)
{
    int st = run(exec_self, what);
    if (st)
        GT_FAIL("child %s: status 0x%x", what, st);
}
static char *file_with(const char *name, const void *data, size_t n, int mode)
{
    int fd = GT_OK(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0700));
    GT_EQ(write(fd, data, n), n);
    GT_OK(fchmod(fd, mode));
    GT_OK(close(fd));
    return (char *)name;
}
static int exec_error(const char *path)
{
    char *argv[] = {"x", 0}, *envp[] = {0};
    execve(path, argv, envp);
    return errno;
}

GT(exec_arguments_and_environment) { expect_child("args"); }
GT(exec_auxiliary_vector) { expect_child("auxv"); }
GT(exec_registers_and_stack) { expect_child("stack"); }

GT(exec_errors)
{
    GT_EQ(exec_error("/nonexistent"), ENOENT);
    GT_EQ(exec_error(""), ENOENT);
    GT_EQ(exec_error("/tmp"), EACCES);
    GT_EQ(exec_error("/etc/passwd/x"), ENOTDIR);
    GT_EQ(exec_error((char *)8), EFAULT);
    GT_EQ(exec_error(file_with("gt-plain", "x", 1, 0600)), EACCES);
    GT_EQ(exec_error(file_with("gt-empty", "", 0, 0700)), ENOEXEC);
    GT_EQ(exec_error(file_with("gt-text", "hello\n", 6, 0700)), ENOEXEC);
    GT_EQ(exec_error(file_with("gt-short", "\177ELF\2\1\1", 7, 0700)), ENOEXEC);
    Elf64_Ehdr e = {.e_type = ET_EXEC, .e_machine = EM_AARCH64, .e_phentsize = 56, .e_phnum = 1};
    memcpy(e.e_ident, "\177ELF\2\1\1", 7);
    GT_EQ(exec_error(file_with("gt-arm", &e, sizeof(e), 0700)), ENOEXEC);
    e.e_machine = EM_X86_64;
    e.e_phentsize = 12;
    GT_EQ(exec_error(file_with("gt-phent", &e, sizeof(e), 0700)), ENOEXEC);
    char loop[] = "gt-loop";
    GT_OK(symlink(loop, loop));
    GT_EQ(exec_error(loop), ELOOP);
    const char *names[] = {"gt-plain", "gt-empty", "gt-text", "gt-short", "gt-arm", "gt-phent", "gt-loop"};
    for (int i = 0; i < 7; i++)
        unlink(names[i]);
}

struct elf_file {
    Elf64_Ehdr e;
    Elf64_Phdr p[2];
    char interp[64];
};
GT(exec_interpreter_errors)
{
    struct elf_file f = {.e = {.e_type = ET_DYN, .e_machine = EM_X86_64, .e_phoff = 64, .e_phentsize = 56, .e_phnum = 2}};
    memcpy(f.e.e_ident, "\177ELF\2\1\1", 7);
    f.p[0] = (Elf64_Phdr){.p_type = PT_INTERP, .p_offset = offsetof(struct elf_file, interp), .p_filesz = 64};
    f.p[1] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = 5, .p_filesz = sizeof(f), .p_memsz = sizeof(f), .p_align = 4096};
    strcpy(f.interp, "/nonexistent/ld.so");
    GT_EQ(exec_error(file_with("gt-ld", &f, sizeof(f), 0700)), ENOENT);
    strcpy(f.interp, "gt-nold");
    char text[256] = "not ELF but long enough";
    file_with("gt-nold", text, sizeof(text), 0700);
    GT_EQ(exec_error(file_with("gt-ld", &f, sizeof(f), 0700)), ELIBBAD);
    file_with("gt-nold", "short", 5, 0700);
    GT_EQ(exec_error("gt-ld"), EIO);
    GT_OK(chmod("gt-nold", 0600));
    GT_EQ(exec_error("gt-ld"), EACCES);
    f.interp[63] = 'x'; // no terminator
    GT_EQ(exec_error(file_with("gt-ld", &f, sizeof(f), 0700)), ENOEXEC);
    unlink("gt-ld");
    unlink("gt-nold");
}

static void exec_path(void *path)
{
    char *argv[] = {"zero", "one", "two", 0}, *envp[] = {0};
    execve(path, argv, envp);
    dprintf(1, "# exec %s: %s\n", (char *)path, strerror(errno));
}
static char *script(const char *name, const char *fmt, ...)
{
    char b[8192];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(b, sizeof(b), fmt, ap);
    va_end(ap);
    return file_with(name, b, n, 0700);
}
GT(exec_scripts)
{
    char link[] = "./gt-x"; // a short name for ourselves
    unlink(link);
    GT_OK(symlink(self, link));
    GT_EQ(run(exec_path, script("gt-s1", "#!./gt-x -child\n")), 0x100 * 3); // "-child" then "gt-s1": unknown
    GT_EQ(run(exec_path, script("gt-s2", "#! \t./gt-x   -script  x y \t\nrest")), 0);
    GT_EQ(exec_error(script("gt-s3", "#!\n./gt-x\n")), ENOEXEC);
    GT_EQ(exec_error(script("gt-s3", "#!/nonexistent/sh\n")), ENOENT);
    GT_EQ(exec_error(script("gt-s3", "#!/tmp\n")), EACCES);
    char longer[400];
    memset(longer, 'a', sizeof(longer));
    memcpy(longer, "#!/", 3);
    GT_EQ(exec_error(file_with("gt-s3", longer, sizeof(longer), 0700)), ENOEXEC);
    // Five scripts deep is fine, six is not.
    script("gt-d0", "#!./gt-x -deep");
    char n[16];
    for (int i = 1; i <= 5; i++) {
        snprintf(n, sizeof(n), "gt-d%d", i);
        script(n, "#!./gt-d%d\n", i - 1);
    }
    GT_EQ(run(exec_path, "gt-d4"), 0);
    GT_EQ(exec_error("gt-d5"), ELOOP);
    for (int i = 0; i <= 5; i++) {
        snprintf(n, sizeof(n), "gt-d%d", i);
        unlink(n);
    }
    unlink("gt-s1");
    unlink("gt-s2");
    unlink("gt-s3");
    unlink(link);
}

GT(exec_text_busy)
{
    int in = GT_OK(open(self, O_RDONLY));
    struct stat st;
    GT_OK(fstat(in, &st));
    char *data = malloc(st.st_size);
    GT_EQ(read(in, data, st.st_size), st.st_size);
    file_with("gt-busy", data, st.st_size, 0700);
    int p[2], q[2];
    GT_OK(pipe(p));
    GT_OK(pipe(q));
    pid_t c = GT_OK(fork());
    if (!c) {
        dup2(p[0], 0);
        dup2(q[1], 1);
        close(p[1]);
        char *argv[] = {"exec", "-child", "wait", 0};
        execve("./gt-busy", argv, environ);
        _exit(1);
    }
    char b;
    GT_EQ(read(q[0], &b, 1), 1);
    GT_ERR(open("gt-busy", O_WRONLY), ETXTBSY);
    GT_ERR(open("gt-busy", O_RDWR | O_TRUNC), ETXTBSY);
    GT_ERR(truncate("gt-busy", 0), ETXTBSY);
    close(p[1]);
    int s;
    GT_EQ(waitpid(c, &s, 0), c);
    GT_EQ(s, 0);
    int w = GT_OK(open("gt-busy", O_WRONLY));
    int e = exec_error("gt-busy");
    GT_TRUE(e == ETXTBSY);
    close(w);
    unlink("gt-busy");
}

GT(exec_argument_limits)
{
    static char big[200 << 10];
    memset(big, 'x', sizeof(big) - 1);
    char *argv[] = {"exec", "-child", "count", big, 0}, *envp[] = {0};
    GT_ERR(execve(self, argv, envp), E2BIG); // one string of 128 KiB is the limit
    char **many = calloc(400000, sizeof(char *));
    many[0] = "exec";
    many[1] = "-child";
    many[2] = "count";
    for (int i = 3; i < 390000; i++)
        many[i] = "0123456789";
    GT_ERR(execve(self, many, envp), E2BIG); // a quarter of the stack
    many[50000] = 0;
    pid_t c = GT_OK(fork());
    if (!c) {
        execve(self, many, envp);
        _exit(1);
    }
    int st;
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
    GT_ERR(execve(self, (char **)8, envp), EFAULT);
    char *bad[] = {"x", (char *)8, 0};
    GT_ERR(execve(self, bad, envp), EFAULT);
}

static void empty_argv(void *arg)
{
    char *argv[] = {0}, *envp[] = {"GT_EMPTY=1", 0};
    execve(self, argv, envp);
}
GT(exec_without_arguments)
{
    GT_EQ(run(empty_argv, 0), 0);
}

static void handler(int s) {}
static void with_signals(void *arg)
{
    stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&ss, 0);
    signal(SIGUSR1, handler);
    signal(SIGUSR2, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_SETMASK, &set, 0);
    int fd = open("/dev/null", O_RDONLY);
    fcntl(dup2(fd, 70), F_SETFD, FD_CLOEXEC);
    dup2(fd, 71);
    prctl(PR_SET_NAME, "before");
    exec_self("state");
}
GT(exec_resets_and_keeps)
{
    GT_EQ(run(with_signals, 0), 0);
}

static void *exec_in_thread(void *arg)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", getpid());
    char *argv[] = {"exec", "-child", "thread", pid, 0}, *envp[] = {0};
    execve(self, argv, envp);
    return 0;
}
static void *sleeper(void *arg)
{
    for (;;)
        pause();
}
static void threads(void *arg)
{
    pthread_t t;
    for (int i = 0; i < 4; i++)
        pthread_create(&t, 0, sleeper, 0);
    pthread_create(&t, 0, exec_in_thread, 0);
    pthread_join(t, 0);
}
GT(exec_from_a_thread)
{
    GT_EQ(run(threads, 0), 0); // the thread has taken over the process's number
}
static void *exec_many(void *arg)
{
    exec_self("args");
    return 0;
}
static void racing(void *arg)
{
    pthread_t t[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&t[i], 0, exec_many, 0);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], 0);
}
GT(exec_races_with_itself)
{
    for (int i = 0; i < 10; i++)
        GT_EQ(run(racing, 0), 0);
}

GT(exec_vfork)
{
    volatile int flag = 0;
    pid_t c = vfork();
    if (!c) {
        flag = 1;
        exec_self("args");
        _exit(1);
    }
    GT_EQ(flag, 1);
    int st;
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
}

static void do_execveat(void *arg)
{
    char *argv[] = {"exec", "-child", "args", "a1", "", 0}, *envp[] = {"E1=x", "E2=", 0};
    int fd = open(self, O_PATH);
    syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
}
GT(exec_by_descriptor)
{
    GT_EQ(run(do_execveat, 0), 0);
    char *argv[] = {"x", 0};
    GT_ERR(syscall(SYS_execveat, -1, "x", argv, argv + 1, 0), EBADF);
    GT_ERR(syscall(SYS_execveat, AT_FDCWD, self, argv, argv + 1, 0x40000000), EINVAL);
    GT_ERR(syscall(SYS_execveat, AT_FDCWD, "", argv, argv + 1, 0), ENOENT);
}

static void norandom(void *arg)
{
    personality(ADDR_NO_RANDOMIZE);
    exec_self("norandom");
}
GT(exec_without_randomisation)
{
    GT_EQ(run(norandom, 0), 0);
}
static void small_stack(void *arg)
{
    struct rlimit r = {256 << 10, RLIM_INFINITY};
    setrlimit(RLIMIT_STACK, &r);
    exec_self("smallstack");
}
GT(exec_stack_limit)
{
    int st = run(small_stack, 0);
    GT_TRUE(WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV);
}
GT(exec_unreadable)
{
    char dir[] = "/tmp/gt-exec-XXXXXX";
    GT_TRUE(mkdtemp(dir));
    GT_OK(chdir(dir));
    pid_t pid = fork(); // for the one who may remove the folder
    if (pid > 0) {
        int st;
        GT_EQ(waitpid(pid, &st, 0), pid);
        unlink("s");
        GT_OK(rmdir(dir));
        GT_EQ(st, 0);
        return;
    }
    GT_OK(chmod(dir, 0777));
    if (geteuid() == 0 && setresuid(1000, 1000, 1000))
        GT_SKIP("needs another user");
    script("s", "#!/bin/true\n");
    GT_OK(chmod("s", 0111));
    GT_EQ(exec_error("s") == 0, 0);
    _exit(0);
}

// --- the other side ------------------------------------------------------------------------------

static int child_args(int argc, char **argv)
{
    GT_EQ(argc, 5);
    GT_STR(argv[0], "exec");
    GT_STR(argv[3], "a1");
    GT_STR(argv[4], "");
    GT_TRUE(!argv[5]);
    GT_STR(environ[0], "E1=x");
    GT_STR(environ[1], "E2=");
    GT_TRUE(!environ[2]);
    // /proc shows the same.
    char b[64];
    int fd = GT_OK(open("/proc/self/cmdline", O_RDONLY));
    GT_EQ(read(fd, b, sizeof(b)), 5 + 7 + 5 + 3 + 1);
    GT_EQ(memcmp(b, "exec\0-child\0args\0a1\0", 21), 0);
    fd = GT_OK(open("/proc/self/environ", O_RDONLY));
    GT_EQ(read(fd, b, sizeof(b)), 9);
    GT_EQ(memcmp(b, "E1=x\0E2=", 9), 0);
    return 0;
}
extern const char __ehdr_start[];
static int child_auxv(void)
{
    GT_EQ(getauxval(AT_PAGESZ), 4096);
    GT_EQ(getauxval(AT_CLKTCK), 100);
    GT_EQ(getauxval(AT_PHENT), sizeof(Elf64_Phdr));
    GT_EQ(getauxval(AT_UID), getuid());
    GT_EQ(getauxval(AT_EGID), getegid());
    GT_EQ(getauxval(AT_SECURE), 0);
    GT_STR((char *)getauxval(AT_EXECFN), self);
    GT_STR((char *)getauxval(AT_PLATFORM), "x86_64");
    const Elf64_Ehdr *e = (void *)__ehdr_start;
    GT_EQ(getauxval(AT_PHDR), (unsigned long)e + e->e_phoff);
    GT_EQ(getauxval(AT_PHNUM), e->e_phnum);
    GT_EQ(getauxval(AT_ENTRY), (unsigned long)e + e->e_entry);
    Elf64_Ehdr *ld = (void *)getauxval(AT_BASE);
    GT_EQ(memcmp(ld, "\177ELF", 4), 0);
    unsigned char *r = (void *)getauxval(AT_RANDOM), zero[16] = {};
    GT_TRUE(memcmp(r, zero, 16) != 0);
    unsigned long vdso = getauxval(AT_SYSINFO_EHDR);
    if (vdso)
        GT_EQ(memcmp((void *)vdso, "\177ELF", 4), 0);
    unsigned long v[128];
    int fd = GT_OK(open("/proc/self/auxv", O_RDONLY));
    long n = GT_OK(read(fd, v, sizeof(v)));
    GT_TRUE(n >= 16 * 15 && n % 16 == 0);
    GT_EQ(v[n / 8 - 2], AT_NULL);
    return 0;
}
static int child_stack(char **argv)
{
    unsigned long sp = (unsigned long)argv - 8;
    GT_EQ(sp % 16, 0);
    GT_EQ(*(long *)sp, 5);
    // Strings lie in order: argv, then envp, then the file's name.
    GT_TRUE(argv[1] == argv[0] + 5);
    GT_TRUE(environ[0] == argv[4] + 1);
    GT_TRUE((char *)getauxval(AT_EXECFN) == environ[1] + 4);
    return 0;
}
static int child_state(void)
{
    struct sigaction sa;
    sigaction(SIGUSR1, 0, &sa);
    GT_TRUE(sa.sa_handler == SIG_DFL);
    sigaction(SIGUSR2, 0, &sa);
    GT_TRUE(sa.sa_handler == SIG_IGN);
    sigset_t set;
    sigprocmask(SIG_SETMASK, 0, &set);
    GT_EQ(sigismember(&set, SIGWINCH), 1);
    stack_t ss;
    sigaltstack(0, &ss);
    GT_EQ(ss.ss_flags, SS_DISABLE);
    GT_ERR(fcntl(70, F_GETFD), EBADF);
    GT_EQ(fcntl(71, F_GETFD), 0);
    char name[16], want[16] = {};
    prctl(PR_GET_NAME, name);
    const char *slash = strrchr(self, '/');
    strncpy(want, slash + 1, 15);
    GT_STR(name, want);
    return 0;
}
static int child_norandom(void)
{
    unsigned long here = (unsigned long)__ehdr_start;
    GT_EQ(here % 4096, 0);
    GT_TRUE(here >= 0x500000000000ul && here < 0x560000000000ul);
    return 0;
}
static int grow(int n)
{
    volatile char b[4096];
    b[0] = n;
    return n ? grow(n - 1) + b[0] : 0;
}
static int child_main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[2] : "";
    if (!strcmp(what, "args"))
        return child_args(argc, argv);
    if (!strcmp(what, "auxv"))
        return child_auxv();
    if (!strcmp(what, "stack"))
        return child_stack(argv);
    if (!strcmp(what, "state"))
        return child_state();
    if (!strcmp(what, "norandom"))
        return child_norandom();
    if (!strcmp(what, "count"))
        return argc != 50000;
    if (!strcmp(what, "thread"))
        return getpid() != atoi(argv[3]) || syscall(SYS_gettid) != getpid();
    if (!strcmp(what, "smallstack"))
        return grow(1000) * 0 + 5;
    if (!strcmp(what, "wait")) {
        char b;
        write(1, "x", 1);
        read(0, &b, 1);
        return 0;
    }
    return 3;
}
int main(int argc, char **argv)
{
    if (getenv("GT_EMPTY"))
        return !(argc == 1 && argv[0][0] == 0 && !argv[1]);
    if (argc > 1 && !strcmp(argv[1], "-child"))
        return child_main(argc, argv);
    if (argc == 5 && !strcmp(argv[1], "-script  x y") && !strcmp(argv[2], "gt-s2"))
        return !(argv[3][0] == 'o' && !strcmp(argv[4], "two"));
    if (argc > 1 && !strcmp(argv[1], "-deep")) // -deep gt-d0 gt-d1 ... gt-d4 one two
        return !(argc == 9 && !strcmp(argv[2], "./gt-d0") && !strcmp(argv[6], "gt-d4") && !strcmp(argv[8], "two"));
    return gt_main(argc, argv);
}
