// SPDX-License-Identifier: Apache-2.0
// /proc/PID: formats that libraries and tools parse, links, permissions, life of entries.
#include "gt.h"
#include <dirent.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <linux/magic.h>

// The whole file; length. Read in small pieces so that partial reads are exercised.
static size_t slurp(const char *path, char *buf, size_t cap)
{
    int fd = GT_OK(open(path, O_RDONLY | O_CLOEXEC));
    size_t n = 0;
    for (;;) {
        size_t left = cap - 1 - n;
        ssize_t r = read(fd, buf + n, left < 1000 ? left : 1000);
        if (r < 0)
            GT_FAIL("read %s: %s", path, strerror(errno));
        if (r == 0)
            break;
        n += (size_t)r;
    }
    buf[n] = 0;
    close(fd);
    return n;
}
static char buf[1 << 20];

// The value after "key" in a status-like file, to the end of the line.
static const char *field(const char *text, const char *key, char out[256])
{
    size_t k = strlen(key);
    for (const char *s = text; s && *s; s = strchr(s, '\n') ? strchr(s, '\n') + 1 : NULL) {
        if (strncmp(s, key, k))
            continue;
        s += k;
        while (*s == ' ' || *s == '\t')
            s++;
        snprintf(out, 256, "%.*s", (int)strcspn(s, "\n"), s);
        return out;
    }
    GT_FAIL("no field %s", key);
    return NULL;
}

GT(proc_is_procfs)
{
    struct statfs st;
    GT_OK(statfs("/proc", &st));
    GT_EQ(st.f_type, PROC_SUPER_MAGIC);
    struct stat s;
    GT_OK(stat("/proc", &s));
    GT_EQ(s.st_mode, S_IFDIR | 0555);
    GT_ERR(open("/proc/newfile", O_CREAT | O_RDWR, 0600), ENOENT);
    GT_ERR(mkdir("/proc/newdir", 0700), ENOENT);
    GT_ERR(unlink("/proc/uptime"), EPERM);
    GT_ERR(open("/proc/0", O_RDONLY), ENOENT);
    GT_ERR(open("/proc/01", O_RDONLY), ENOENT);
    GT_ERR(open("/proc/99999999999", O_RDONLY), ENOENT);
}

GT(self_links)
{
    char l[64], want[64];
    ssize_t n = GT_OK(readlink("/proc/self", l, sizeof(l) - 1));
    l[n] = 0;
    snprintf(want, sizeof(want), "%d", getpid());
    GT_STR(l, want);
    n = GT_OK(readlink("/proc/thread-self", l, sizeof(l) - 1));
    l[n] = 0;
    snprintf(want, sizeof(want), "%d/task/%d", getpid(), getpid());
    GT_STR(l, want);
    n = GT_OK(readlink("/proc/mounts", l, sizeof(l) - 1));
    l[n] = 0;
    GT_STR(l, "self/mounts");
    n = GT_OK(readlink("/proc/net", l, sizeof(l) - 1));
    l[n] = 0;
    GT_STR(l, "self/net");
    GT_ERR(readlink("/proc/uptime", l, sizeof(l)), EINVAL);
    struct stat st;
    GT_OK(lstat("/proc/self", &st));
    GT_TRUE(S_ISLNK(st.st_mode));
    GT_OK(stat("/proc/self/", &st));
    GT_EQ(st.st_mode, S_IFDIR | 0555);
    GT_EQ(st.st_uid, geteuid());
}

GT(stat_has_52_fields)
{
    prctl(PR_SET_NAME, "a) b (c");
    slurp("/proc/self/stat", buf, sizeof(buf));
    char *end = strrchr(buf, ')');
    GT_TRUE(end);
    GT_TRUE(strncmp(strchr(buf, '('), "(a) b (c)", 9) == 0);
    GT_EQ(atoi(buf), getpid());
    int fields = 2;
    long long v[64] = {0};
    char state = 0;
    for (char *s = strtok(end + 1, " \n"); s; s = strtok(NULL, " \n")) {
        fields++;
        GT_TRUE(fields < 60);
        if (fields == 3)
            state = *s;
        else
            v[fields] = strtoll(s, NULL, 10);
    }
    GT_EQ(fields, 52);
    GT_EQ(state, 'R');
    GT_EQ(v[4], getppid());
    GT_EQ(v[5], getpgrp());
    GT_EQ(v[6], getsid(0));
    GT_EQ(v[20], 1);              // threads
    GT_EQ(v[38], SIGCHLD);        // exit signal
    GT_TRUE(v[22] > 0);           // start time
    GT_TRUE(v[23] > 4096);        // vsize
    GT_TRUE(v[24] > 0);           // rss
    GT_EQ(v[18] + 0, 20);         // priority
    GT_EQ(v[19], 0);              // nice
    GT_TRUE(v[28] > (long long)(uintptr_t)&end); // startstack
}

GT(stat_of_others)
{
    int p[2];
    GT_OK(pipe(p));
    pid_t pid = GT_OK(fork());
    if (pid == 0) {
        char c;
        close(p[1]);
        _exit(read(p[0], &c, 1) == 0 ? 3 : 4);
    }
    close(p[0]);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    char state = 0;
    for (int i = 0; i < 2000 && state != 'S'; i++) {
        slurp(path, buf, sizeof(buf));
        state = strrchr(buf, ')')[2];
        usleep(1000);
    }
    GT_EQ(state, 'S');
    int dir = GT_OK(open((snprintf(path, sizeof(path), "/proc/%d", pid), path), O_RDONLY));
    int fd = GT_OK(openat(dir, "stat", O_RDONLY));
    close(p[1]);
    siginfo_t si;
    GT_OK(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT));
    GT_TRUE(pread(fd, buf, 1000, 0) > 0);
    GT_EQ(strrchr(buf, ')')[2], 'Z');
    // A zombie has no memory, no exe, an empty cmdline.
    char l[64];
    int c = GT_OK(openat(dir, "cmdline", O_RDONLY));
    GT_EQ(read(c, buf, 100), 0);
    GT_ERR(readlinkat(dir, "exe", l, sizeof(l)), ENOENT);
    GT_ERR(readlinkat(dir, "cwd", l, sizeof(l)), ENOENT);
    GT_EQ(waitpid(pid, NULL, 0), pid);
    // Reaped: open descriptors say ESRCH, names are gone.
    GT_ERR(pread(fd, buf, 1000, 0), ESRCH);
    GT_ERR(openat(dir, "stat", O_RDONLY), ESRCH);
    GT_ERR(open(path, O_RDONLY), ENOENT);
}

GT(status_fields)
{
    char v[256], want[256];
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGUSR2, SIG_IGN);
    raise(SIGUSR1);
    umask(027);
    prctl(PR_SET_NAME, "st\\at\nus");
    slurp("/proc/self/status", buf, sizeof(buf));
    static const char *const order[] = {
        "Name:", "Umask:", "State:", "Tgid:", "Ngid:", "Pid:", "PPid:", "TracerPid:", "Uid:", "Gid:",
        "FDSize:", "Groups:", "NStgid:", "NSpid:", "NSpgid:", "NSsid:", "VmPeak:", "VmSize:",
        "VmLck:", "VmPin:", "VmHWM:", "VmRSS:", "RssAnon:", "RssFile:", "RssShmem:", "VmData:",
        "VmStk:", "VmExe:", "VmLib:", "VmPTE:", "VmSwap:", "Threads:", "SigQ:", "SigPnd:",
        "ShdPnd:", "SigBlk:", "SigIgn:", "SigCgt:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:",
        "CapAmb:", "NoNewPrivs:", "Seccomp:", "Cpus_allowed:", "Cpus_allowed_list:",
        "Mems_allowed_list:", "voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"};
    const char *at = buf;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        char line[64];
        snprintf(line, sizeof(line), "\n%s", order[i]);
        const char *next = i ? strstr(at, line) : buf;
        if (!next)
            GT_FAIL("%s missing or out of order", order[i]);
        at = next;
    }
    GT_STR(field(buf, "Name:", v), "st\\\\at\\nus");
    GT_STR(field(buf, "Umask:", v), "0027");
    GT_STR(field(buf, "State:", v), "R (running)");
    GT_EQ(atoi(field(buf, "Tgid:", v)), getpid());
    GT_EQ(atoi(field(buf, "PPid:", v)), getppid());
    snprintf(want, sizeof(want), "%u\t%u\t%u\t%u", getuid(), geteuid(), geteuid(), geteuid());
    GT_STR(field(buf, "Uid:", v), want);
    GT_STR(field(buf, "Threads:", v), "1");
    GT_EQ(strtoull(field(buf, "SigBlk:", v), NULL, 16), 1ull << (SIGUSR1 - 1));
    GT_EQ(strtoull(field(buf, "SigPnd:", v), NULL, 16), 1ull << (SIGUSR1 - 1)); // raise: tgkill
    GT_EQ(strtoull(field(buf, "ShdPnd:", v), NULL, 16), 0);
    GT_TRUE(strtoull(field(buf, "SigIgn:", v), NULL, 16) & 1ull << (SIGUSR2 - 1));
    GT_EQ(strtoull(field(buf, "SigCgt:", v), NULL, 16) & 1ull << (SIGUSR2 - 1), 0);
    GT_TRUE(strstr(field(buf, "VmRSS:", v), " kB"));
    GT_EQ(atoi(field(buf, "TracerPid:", v)), 0);
}

GT(cmdline_comm_environ)
{
    char a[4096], b[64];
    size_t n = slurp("/proc/self/cmdline", a, sizeof(a));
    GT_TRUE(n > 0 && a[n - 1] == 0);
    slurp("/proc/self/comm", b, sizeof(b));
    GT_TRUE(strchr(b, '\n') == b + strlen(b) - 1);
    int fd = GT_OK(open("/proc/self/comm", O_RDWR));
    GT_EQ(write(fd, "0123456789abcdefXYZ", 19), 19);
    GT_OK(lseek(fd, 0, SEEK_SET));
    n = (size_t)GT_OK(read(fd, b, sizeof(b)));
    b[n] = 0;
    GT_STR(b, "0123456789abcde\n");
    GT_OK(prctl(PR_GET_NAME, b));
    GT_STR(b, "0123456789abcde");
    GT_OK(lseek(fd, 0, SEEK_SET));
    GT_EQ(write(fd, "short\n", 6), 6);
    GT_OK(prctl(PR_GET_NAME, b));
    GT_TRUE(strncmp(b, "short", 5) == 0);
    pid_t pid = GT_OK(fork());
    if (pid == 0) {
        char *env[] = {"A=1", "BB=22", NULL}, *argv[] = {"cat", "/proc/self/environ", NULL};
        dup2(open("/dev/null", O_WRONLY), 1);
        execve("/bin/cat", argv, env);
        _exit(9);
    }
    int st;
    GT_EQ(waitpid(pid, &st, 0), pid);
    GT_EQ(st, 0);
}

GT(cmdline_of_exec)
{
    int p[2], q[2];
    GT_OK(pipe(p));
    GT_OK(pipe(q));
    pid_t pid = GT_OK(fork());
    if (pid == 0) {
        char *env[] = {"A=1", "BB=22", NULL}, *argv[] = {"my cat", "-", "", "x", NULL};
        dup2(p[0], 0);
        dup2(q[1], 1);
        close(p[1]);
        close(q[0]);
        execve("/bin/cat", argv, env);
        _exit(9);
    }
    char path[64], c;
    GT_EQ(write(p[1], "!", 1), 1);
    GT_EQ(read(q[0], &c, 1), 1); // it runs
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    GT_EQ(slurp(path, buf, sizeof(buf)), 12);
    GT_EQ(memcmp(buf, "my cat\0-\0\0x\0", 12), 0);
    snprintf(path, sizeof(path), "/proc/%d/environ", pid);
    GT_EQ(slurp(path, buf, sizeof(buf)), 10);
    GT_EQ(memcmp(buf, "A=1\0BB=22\0", 10), 0);
    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    slurp(path, buf, sizeof(buf));
    GT_STR(buf, "cat\n");
    kill(pid, SIGKILL);
    GT_EQ(waitpid(pid, NULL, 0), pid);
}

GT(exe_cwd_root)
{
    char l[4096], r[4096];
    ssize_t n = GT_OK(readlink("/proc/self/exe", l, sizeof(l) - 1));
    l[n] = 0;
    struct stat a, b;
    GT_OK(stat("/proc/self/exe", &a));
    GT_OK(stat(l, &b));
    GT_TRUE(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    int fd = GT_OK(open("/proc/self/exe", O_RDONLY));
    GT_EQ(read(fd, buf, 4), 4);
    GT_EQ(memcmp(buf, "\177ELF", 4), 0);
    GT_ERR(open("/proc/self/exe", O_RDWR), ETXTBSY);
    char dir[] = "/tmp/gt_procXXXXXX";
    GT_TRUE(mkdtemp(dir));
    GT_OK(chdir(dir));
    n = GT_OK(readlink("/proc/self/cwd", l, sizeof(l) - 1));
    l[n] = 0;
    GT_TRUE(realpath(dir, r));
    GT_STR(l, r);
    GT_OK(rmdir(dir));
    n = GT_OK(readlink("/proc/self/cwd", l, sizeof(l) - 1));
    l[n] = 0;
    strcat(r, " (deleted)");
    GT_STR(l, r);
    GT_OK(stat("/proc/self/cwd/.", &a)); // the link goes to the directory, not to the text
    GT_EQ(a.st_nlink, 0);
    n = GT_OK(readlink("/proc/self/root", l, sizeof(l) - 1));
    l[n] = 0;
    GT_STR(l, "/");
    GT_ERR(open("/proc/self/cwd", O_RDONLY | O_NOFOLLOW), ELOOP);
}

GT(fd_links)
{
    char name[64], l[256], want[256];
    int p[2];
    struct stat st, st2;
    GT_OK(pipe(p));
    GT_OK(fstat(p[0], &st));
    snprintf(name, sizeof(name), "/proc/self/fd/%d", p[0]);
    ssize_t n = GT_OK(readlink(name, l, sizeof(l) - 1));
    l[n] = 0;
    snprintf(want, sizeof(want), "pipe:[%lu]", (unsigned long)st.st_ino);
    GT_STR(l, want);
    GT_OK(lstat(name, &st2));
    GT_EQ(st2.st_mode, S_IFLNK | 0500);
    GT_EQ(st2.st_size, 64);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", p[1]);
    GT_OK(lstat(name, &st2));
    GT_EQ(st2.st_mode, S_IFLNK | 0300);
    GT_OK(stat(name, &st2)); // follows into the pipe
    GT_EQ(st2.st_ino, st.st_ino);
    int w = GT_OK(open(name, O_WRONLY)); // a new description of the same pipe
    GT_EQ(write(w, "x", 1), 1);
    GT_EQ(read(p[0], l, 1), 1);

    char tmp[] = "/tmp/gt_procXXXXXX";
    int fd = GT_OK(mkstemp(tmp));
    GT_EQ(write(fd, "hello", 5), 5);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    n = GT_OK(readlink(name, l, sizeof(l) - 1));
    l[n] = 0;
    GT_STR(l, tmp);
    int again = GT_OK(open(name, O_RDONLY));
    GT_EQ(read(again, l, 5), 5); // its own position
    GT_OK(unlink(tmp));
    n = GT_OK(readlink(name, l, sizeof(l) - 1));
    l[n] = 0;
    strcat(strcpy(want, tmp), " (deleted)");
    GT_STR(l, want);
    again = GT_OK(open(name, O_RDWR)); // still reachable by the link
    GT_EQ(read(again, l, 5), 5);
    GT_OK(close(fd));
    GT_ERR(readlink(name, l, sizeof(l)), ENOENT);
    GT_ERR(readlink("/proc/self/fd/x", l, sizeof(l)), ENOENT);
    GT_ERR(readlink("/proc/self/fd/-1", l, sizeof(l)), ENOENT);
    int opath = GT_OK(open("/tmp", O_PATH));
    snprintf(name, sizeof(name), "/proc/self/fd/%d/", opath);
    GT_OK(stat(name, &st));
    GT_TRUE(S_ISDIR(st.st_mode));
}

GT(fd_directory)
{
    int seen[3] = {0}, count = 0;
    int far = GT_OK(fcntl(0, F_DUPFD, 200));
    DIR *d = opendir("/proc/self/fd");
    GT_TRUE(d);
    struct dirent *e;
    int last = -1, has_far = 0;
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        int nr = atoi(e->d_name);
        GT_TRUE(nr > last);
        last = nr;
        GT_EQ(e->d_type, DT_LNK);
        if (nr < 3)
            seen[nr]++;
        has_far |= nr == far;
        count++;
    }
    GT_TRUE(seen[0] == 1 && seen[1] == 1 && seen[2] == 1 && has_far);
    GT_TRUE(count >= 5);
    closedir(d);
    struct stat st;
    GT_OK(stat("/proc/self/fd", &st));
    GT_EQ(st.st_mode, S_IFDIR | 0500);
    GT_OK(stat("/proc/self/fdinfo", &st));
    GT_EQ(st.st_mode, S_IFDIR | 0555);
}

GT(fdinfo_text)
{
    char tmp[] = "/tmp/gt_procXXXXXX", name[64], v[256];
    int fd = GT_OK(mkostemp(tmp, O_APPEND | O_CLOEXEC));
    unlink(tmp);
    GT_EQ(write(fd, "hello", 5), 5);
    snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
    slurp(name, buf, sizeof(buf));
    GT_TRUE(strncmp(buf, "pos:\t5\nflags:\t0", 15) == 0);
    GT_EQ(strtol(field(buf, "flags:", v), NULL, 8) & (O_APPEND | O_CLOEXEC | O_ACCMODE),
          O_APPEND | O_CLOEXEC | O_RDWR);
    struct stat st;
    GT_OK(fstat(fd, &st));
    GT_EQ(strtoull(field(buf, "ino:", v), NULL, 10), st.st_ino);
    GT_TRUE(atoi(field(buf, "mnt_id:", v)) > 0);
}

static void *sleeper(void *arg)
{
    prctl(PR_SET_NAME, "sleeper");
    *(int *)arg = (int)syscall(SYS_gettid);
    for (;;)
        pause();
    return NULL;
}
GT(task_directory)
{
    static int tid; // written by the thread
    pthread_t t;
    GT_EQ(pthread_create(&t, NULL, sleeper, &tid), 0);
    while (!*(volatile int *)&tid)
        usleep(100);
    char name[128], v[256];
    DIR *d = opendir("/proc/self/task");
    struct dirent *e;
    int seen = 0;
    GT_TRUE(d);
    while ((e = readdir(d)))
        seen |= atoi(e->d_name) == tid ? 1 : atoi(e->d_name) == getpid() ? 2 : 0;
    GT_EQ(seen, 3);
    snprintf(name, sizeof(name), "/proc/self/task/%d/comm", tid);
    slurp(name, buf, sizeof(buf));
    GT_STR(buf, "sleeper\n");
    snprintf(name, sizeof(name), "/proc/self/task/%d/status", tid);
    slurp(name, buf, sizeof(buf));
    GT_EQ(atoi(field(buf, "Pid:", v)), tid);
    GT_EQ(atoi(field(buf, "Tgid:", v)), getpid());
    GT_STR(field(buf, "Threads:", v), "2");
    // A thread's number works in /proc, but is not listed.
    snprintf(name, sizeof(name), "/proc/%d/status", tid);
    slurp(name, buf, sizeof(buf));
    GT_EQ(atoi(field(buf, "Tgid:", v)), getpid());
    snprintf(name, sizeof(name), "/proc/%d", tid);
    DIR *root = opendir("/proc");
    while ((e = readdir(root)))
        GT_TRUE(atoi(e->d_name) != tid);
    snprintf(name, sizeof(name), "/proc/self/task/%d", getppid());
    GT_ERR(open(name, O_RDONLY), ENOENT);
    struct stat st;
    GT_OK(stat("/proc/self/task", &st));
    GT_EQ(st.st_mode, S_IFDIR | 0555);
    GT_EQ(st.st_nlink, 4); // one per thread, and two
}

GT(maps_lines)
{
    char *m = mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(m != MAP_FAILED);
    GT_OK(mprotect(m + 4096, 4096, PROT_READ | PROT_WRITE));
    char tmp[] = "/tmp/gt_procXXXXXX";
    int fd = GT_OK(mkstemp(tmp));
    GT_OK(ftruncate(fd, 8192));
    char *f = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 4096);
    GT_TRUE(f != MAP_FAILED);
    size_t n = slurp("/proc/self/maps", buf, sizeof(buf));
    GT_TRUE(n > 0 && buf[n - 1] == '\n');
    int mine = 0, stack = 0, file = 0, self = 0, vdso = 0;
    unsigned long last = 0;
    char exe[4096];
    ssize_t l = GT_OK(readlink("/proc/self/exe", exe, sizeof(exe) - 1));
    exe[l] = 0;
    for (char *s = strtok(buf, "\n"); s; s = strtok(NULL, "\n")) {
        unsigned long a, b, off, ino;
        unsigned maj, min;
        char prot[8];
        int at = 0;
        GT_EQ(sscanf(s, "%lx-%lx %4s %lx %x:%x %lu%n", &a, &b, prot, &off, &maj, &min, &ino, &at), 7);
        GT_TRUE(a < b && a >= last);
        last = b;
        const char *name = s + at;
        while (*name == ' ')
            name++;
        if (*name)
            GT_EQ(name - s, 73); // column of the name
        if (a == (unsigned long)m + 4096) {
            GT_EQ(b, a + 4096);
            GT_STR(prot, "rw-p");
            mine++;
        }
        if (a == (unsigned long)f) {
            GT_STR(prot, "r--s");
            GT_EQ(off, 4096);
            GT_STR(name, tmp);
            struct stat st;
            GT_OK(fstat(fd, &st));
            GT_EQ(ino, st.st_ino);
            file++;
        }
        stack += !strcmp(name, "[stack]") && (unsigned long)&n >= a && (unsigned long)&n < b;
        self += !strcmp(name, exe);
        vdso += !strcmp(name, "[vdso]") && a == getauxval(AT_SYSINFO_EHDR);
    }
    unlink(tmp);
    GT_EQ(mine, 1);
    GT_EQ(file, 1);
    GT_EQ(stack, 1);
    GT_TRUE(self >= 2);
    GT_TRUE(vdso == 1 || !getauxval(AT_SYSINFO_EHDR));
}

GT(smaps_and_rollup)
{
    char v[256];
    slurp("/proc/self/smaps", buf, sizeof(buf));
    static const char *const keys[] = {"Size:", "KernelPageSize:", "MMUPageSize:", "Rss:", "Pss:",
                                       "Shared_Clean:", "Private_Dirty:", "Referenced:",
                                       "Anonymous:", "Swap:", "Locked:", "VmFlags:"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        field(buf, keys[i], v);
    GT_STR(field(buf, "KernelPageSize:", v), "4 kB");
    slurp("/proc/self/smaps_rollup", buf, sizeof(buf));
    GT_TRUE(strstr(buf, "---p 00000000 00:00 0                          [rollup]\n"));
    GT_TRUE(atoi(field(buf, "Rss:", v)) > 0);
}

GT(mem_file)
{
    static volatile int word = 1234;
    const char *text = "read-only text";
    int fd = GT_OK(open("/proc/self/mem", O_RDWR)), v = 0;
    GT_EQ(pread(fd, &v, sizeof(v), (off_t)(uintptr_t)&word), 4);
    GT_EQ(v, 1234);
    v = 77;
    GT_EQ(pwrite(fd, &v, sizeof(v), (off_t)(uintptr_t)&word), 4);
    GT_EQ(word, 77);
    char b[32];
    GT_EQ(pread(fd, b, 14, (off_t)(uintptr_t)text), 14);
    GT_EQ(memcmp(b, text, 14), 0);
    GT_ERR(pread(fd, b, 1, 0), EIO);
    GT_ERR(pwrite(fd, b, 1, 16), EIO);
    // Across the end of a mapping: what is there.
    char *m = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_OK(munmap(m + 4096, 4096));
    GT_EQ(pread(fd, b, 32, (off_t)(uintptr_t)m + 4096 - 10), 10);
    GT_EQ(lseek(fd, (off_t)(uintptr_t)m, SEEK_SET), (off_t)(uintptr_t)m);
    GT_EQ(read(fd, b, 4), 4);
    GT_ERR(lseek(fd, 0, SEEK_END), EINVAL);
}

GT(small_files)
{
    char b[256];
    slurp("/proc/self/oom_score_adj", b, sizeof(b));
    int fd = GT_OK(open("/proc/self/oom_score_adj", O_RDWR));
    GT_EQ(write(fd, "500\n", 4), 4);
    slurp("/proc/self/oom_score_adj", b, sizeof(b));
    GT_STR(b, "500\n");
    GT_ERR(write(fd, "1001", 4), EINVAL);
    GT_ERR(write(fd, "x", 1), EINVAL);
    slurp("/proc/self/oom_score", b, sizeof(b));
    GT_TRUE(atoi(b) >= 0 && strchr(b, '\n'));
    slurp("/proc/self/statm", b, sizeof(b));
    long v[7];
    GT_EQ(sscanf(b, "%ld %ld %ld %ld %ld %ld %ld", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6), 7);
    GT_TRUE(v[0] >= v[1] && v[1] > 0 && v[4] == 0 && v[6] == 0);
    slurp("/proc/self/personality", b, sizeof(b));
    GT_STR(b, "00000000\n");
    slurp("/proc/self/io", buf, sizeof(buf));
    GT_TRUE(strncmp(buf, "rchar: ", 7) == 0 && strstr(buf, "\ncancelled_write_bytes: "));
    slurp("/proc/self/limits", buf, sizeof(buf));
    GT_TRUE(strncmp(buf, "Limit                     Soft Limit           Hard Limit           Units     \n",
                    78) == 0);
    struct rlimit rl;
    GT_OK(getrlimit(RLIMIT_NOFILE, &rl));
    snprintf(b, sizeof(b), "Max open files            %-20lu %-20lu files     \n", (long)rl.rlim_cur,
             (long)rl.rlim_max);
    GT_TRUE(strstr(buf, b));
    int n = (int)slurp("/proc/self/auxv", buf, sizeof(buf));
    GT_EQ(n % 16, 0);
    unsigned long *a = (unsigned long *)buf;
    int pagesz = 0;
    for (int i = 0; i < n / 16; i++)
        pagesz |= a[2 * i] == AT_PAGESZ && a[2 * i + 1] == 4096;
    GT_TRUE(pagesz);
    GT_EQ(a[n / 8 - 2], AT_NULL);
    n = (int)slurp("/proc/self/wchan", b, sizeof(b));
    GT_TRUE(n >= 1 && b[n - 1] != '\n');
    GT_TRUE(slurp("/proc/self/cgroup", buf, sizeof(buf)) > 0);
    GT_TRUE(strchr(buf, ':'));
    slurp("/proc/self/mountinfo", buf, sizeof(buf));
    GT_TRUE(strstr(buf, " - proc "));
    slurp("/proc/self/mounts", buf, sizeof(buf));
    GT_TRUE(strstr(buf, " /proc proc "));
}

GT(id_maps)
{
    unsigned a, b, c;
    slurp("/proc/self/uid_map", buf, sizeof(buf));
    GT_EQ(sscanf(buf, "%u %u %u", &a, &b, &c), 3);
    GT_TRUE(a == 0 && c > 0);
    GT_EQ(strcspn(buf, "\n"), 32);
    slurp("/proc/self/setgroups", buf, sizeof(buf));
    GT_STR(buf, "allow\n");
}

GT(children_file)
{
    int p[2];
    char c, want[32];
    GT_OK(pipe(p));
    pid_t pid = GT_OK(fork());
    if (pid == 0) {
        close(p[1]);
        _exit((int)read(p[0], &c, 1));
    }
    snprintf(buf, sizeof(buf), "/proc/self/task/%d/children", getpid());
    if (access(buf, R_OK))
        GT_SKIP("no CONFIG_PROC_CHILDREN");
    char path[64];
    strcpy(path, buf);
    slurp(path, buf, sizeof(buf));
    snprintf(want, sizeof(want), "%d ", pid);
    GT_STR(buf, want);
    close(p[1]);
    waitpid(pid, NULL, 0);
    GT_EQ(slurp(path, buf, sizeof(buf)), 0);
}

GT(namespace_links)
{
    static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children",
                                        "user", "uts"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[64], l[64], want[64];
        snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
        ssize_t n = GT_OK(readlink(path, l, sizeof(l) - 1));
        l[n] = 0;
        struct stat st;
        GT_OK(stat(path, &st)); // into nsfs: the number in the text is the inode's
        snprintf(want, sizeof(want), "%.*s:[%lu]", (int)strcspn(names[i], "_"), names[i],
                 (unsigned long)st.st_ino);
        GT_STR(l, want);
        GT_EQ(st.st_mode, S_IFREG | 0444);
        int fd = GT_OK(open(path, O_RDONLY | O_CLOEXEC));
        struct statfs fs;
        GT_OK(fstatfs(fd, &fs));
        GT_EQ(fs.f_type, NSFS_MAGIC);
        GT_ERR(read(fd, l, 1), EINVAL);
        close(fd);
    }
    struct stat st;
    GT_OK(stat("/proc/self/ns", &st));
    GT_EQ(st.st_mode, S_IFDIR | 0511);
}

GT(other_users_are_shut_out)
{
    if (geteuid() != 0)
        GT_SKIP("needs root");
    int p[2];
    char c, path[64];
    GT_OK(pipe(p));
    pid_t pid = GT_OK(fork());
    if (pid == 0) {
        close(p[1]);
        _exit((int)read(p[0], &c, 1));
    }
    close(p[0]);
    GT_OK(setgid(65534));
    GT_OK(setuid(65534));
    char l[64];
    static const char *const shut[] = {"exe", "cwd", "root", "fd/0", "ns/net"};
    for (size_t i = 0; i < sizeof(shut) / sizeof(shut[0]); i++) {
        snprintf(path, sizeof(path), "/proc/%d/%s", pid, shut[i]);
        GT_ERR(readlink(path, l, sizeof(l)), EACCES);
    }
    static const char *const files[] = {"environ", "mem", "auxv", "io"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i]);
        GT_ERR(open(path, O_RDONLY), EACCES);
    }
    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    int fd = open(path, O_RDONLY);
    GT_TRUE(fd < 0 && errno == EACCES);
    static const char *const open_to_all[] = {"stat", "status", "statm", "cmdline", "comm", "limits"};
    for (size_t i = 0; i < sizeof(open_to_all) / sizeof(open_to_all[0]); i++) {
        snprintf(path, sizeof(path), "/proc/%d/%s", pid, open_to_all[i]);
        GT_TRUE(slurp(path, buf, sizeof(buf)) > 0);
    }
    close(p[1]);
}

GT(root_lists_processes)
{
    pid_t pid = GT_OK(fork());
    if (pid == 0) {
        for (;;)
            pause();
    }
    DIR *d = opendir("/proc");
    struct dirent *e;
    int me = 0, child = 0, self = 0, last = 0;
    GT_TRUE(d);
    while ((e = readdir(d))) {
        int nr = atoi(e->d_name);
        if (nr) {
            GT_TRUE(nr > last);
            GT_EQ(e->d_type, DT_DIR);
            last = nr;
        }
        me += nr == getpid();
        child += nr == pid;
        self += !strcmp(e->d_name, "self") && e->d_type == DT_LNK;
    }
    GT_TRUE(me == 1 && child == 1 && self == 1);
    // A second walk from a remembered position, with a small buffer.
    int fd = GT_OK(open("/proc", O_RDONLY | O_DIRECTORY)), found = 0;
    char b[256];
    long n;
    while ((n = syscall(SYS_getdents64, fd, b, sizeof(b))) > 0) {
        struct ent {
            uint64_t ino, off;
            uint16_t len;
            uint8_t type;
            char name[];
        } *ent;
        for (long at = 0; at < n; at += ent->len) {
            ent = (void *)(b + at);
            found += atoi(ent->name) == getpid();
        }
    }
    GT_EQ(found, 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

GT(reads_at_offsets)
{
    // A generated file is one text to a reader who goes through it in pieces.
    char one[65536], two[65536];
    size_t n = 0, r;
    slurp("/proc/self/limits", one, sizeof(one));
    int fd = GT_OK(open("/proc/self/limits", O_RDONLY));
    while ((r = (size_t)GT_OK(read(fd, two + n, 7))) > 0)
        n += r;
    two[n] = 0;
    GT_STR(two, one);
    GT_EQ(pread(fd, two, 5, 10), 5);
    GT_EQ(memcmp(two, one + 10, 5), 0);
    GT_EQ(pread(fd, two, 5, 100000), 0);
    GT_EQ(lseek(fd, 6, SEEK_SET), 6);
    GT_EQ(read(fd, two, 4), 4);
    GT_EQ(memcmp(two, one + 6, 4), 0);
    struct stat st;
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, 0);
    GT_ERR(open("/proc/self/limits/x", O_RDONLY), ENOTDIR);
    GT_TRUE(open("/proc/self/limits", O_WRONLY) < 0 || geteuid() == 0);
}

GT(own_descriptors_after_setuid)
{
    // A daemon that has given up root still opens /dev/stdout, though it is no longer dumpable.
    if (geteuid() != 0)
        return;
    int fd = GT_OK(open("/dev/null", O_RDWR));
    char name[64], info[64], text[64];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    snprintf(info, sizeof(info), "/proc/self/fdinfo/%d", fd);
    GT_OK(setresgid(54321, 54321, 54321));
    GT_OK(setresuid(54321, 54321, 54321));
    GT_EQ(prctl(PR_GET_DUMPABLE), 0);
    GT_OK(open(name, O_RDWR));
    GT_OK(readlink(name, text, sizeof(text)));
    GT_OK(open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
    GT_OK(open("/proc/thread-self/fd", O_RDONLY | O_DIRECTORY));
    GT_OK(open(info, O_RDONLY));
    GT_ERR(open("/proc/self/environ", O_RDONLY), EACCES);
    snprintf(name, sizeof(name), "/proc/%d/fd", getppid()); // somebody else's stay shut
    GT_ERR(open(name, O_RDONLY | O_DIRECTORY), EACCES);
}

GT_MAIN
