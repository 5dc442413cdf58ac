// SPDX-License-Identifier: Apache-2.0
// What containers of a pod share, one word per call; built statically by pods.sh.
//   shm KEY [VALUE]   mq NAME [TEXT]   sem KEY [VALUE]     put, or get and print ("none")
//   lock FILE SECONDS   trylock FILE                       fcntl locks: "locked", "free" or "busy"
//   wait FILE   wake FILE                                  a futex in a shared mapping of FILE
//   listen PATH   connect PATH                             a stream socket
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int none(void)
{
    puts("none");
    return 0;
}

static int shm(int key, const char *value)
{
    int id = shmget(key, 4096, value ? IPC_CREAT | 0600 : 0);
    char *p = id < 0 ? NULL : shmat(id, NULL, 0);
    if (!p || p == (void *)-1)
        return none();
    if (value)
        snprintf(p, 4096, "%s", value);
    else
        puts(p);
    return 0;
}

static int sem(int key, const char *value)
{
    int id = semget(key, 1, value ? IPC_CREAT | 0600 : 0);
    if (id < 0)
        return none();
    if (value)
        return semctl(id, 0, SETVAL, atoi(value)) < 0;
    printf("%d\n", semctl(id, 0, GETVAL));
    return 0;
}

static int mq(const char *name, const char *text)
{
    char buf[8192];
    mqd_t q = mq_open(name, text ? O_CREAT | O_WRONLY | O_NONBLOCK : O_RDONLY | O_NONBLOCK, 0600, NULL);
    if (q == (mqd_t)-1)
        return none();
    if (text)
        return mq_send(q, text, strlen(text), 0) < 0;
    ssize_t n = mq_receive(q, buf, sizeof(buf), NULL);
    if (n < 0)
        return none();
    printf("%.*s\n", (int)n, buf);
    return 0;
}

static int lock(const char *file, int seconds)
{
    struct flock l = {.l_type = F_WRLCK};
    int fd = open(file, O_RDWR | O_CREAT, 0666);
    if (fd < 0)
        return 1;
    bool got = fcntl(fd, F_SETLK, &l) == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    puts(got ? seconds ? "locked" : "free" : errno == EAGAIN ? "busy" : strerror(errno));
    fflush(stdout);
    sleep((unsigned)seconds);
    return 0;
}

static int futex(const char *file, bool wake)
{
    int fd = open(file, O_RDWR | O_CREAT, 0666);
    if (fd < 0 || ftruncate(fd, 4096) < 0)
        return 1;
    int *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return 1;
    struct timespec limit = {.tv_sec = 10};
    if (wake) {
        for (int i = 0; i < 500; i++) {
            long n = syscall(SYS_futex, p, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
            if (n > 0)
                return printf("woke %ld\n", n) < 0;
            usleep(10000);
        }
        puts("nobody");
        return 0;
    }
    puts(syscall(SYS_futex, p, FUTEX_WAIT, 0, &limit, NULL, 0) == 0 ? "woken" : strerror(errno));
    return 0;
}

static int sock(const char *path, bool listening)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char buf[64] = "";
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    if (!listening) {
        for (int i = 0; i < 500; i++) {
            if (connect(s, (struct sockaddr *)&a, sizeof(a)) == 0) {
                ssize_t n = read(s, buf, sizeof(buf) - 1);
                printf("%.*s\n", n > 0 ? (int)n : 0, buf);
                return 0;
            }
            usleep(10000);
        }
        puts(strerror(errno));
        return 0;
    }
    unlink(path);
    if (bind(s, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(s, 1) < 0)
        return printf("bind: %s\n", strerror(errno)) < 0;
    int c = accept(s, NULL, NULL);
    return write(c, "hello", 5) != 5;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    const char *what = argv[1], *arg = argc > 3 ? argv[3] : NULL;
    alarm(30);
    if (!strcmp(what, "shm"))
        return shm(atoi(argv[2]), arg);
    if (!strcmp(what, "sem"))
        return sem(atoi(argv[2]), arg);
    if (!strcmp(what, "mq"))
        return mq(argv[2], arg);
    if (!strcmp(what, "lock"))
        return lock(argv[2], arg ? atoi(arg) : 1);
    if (!strcmp(what, "trylock"))
        return lock(argv[2], 0);
    if (!strcmp(what, "wait") || !strcmp(what, "wake"))
        return futex(argv[2], what[2] == 'k');
    if (!strcmp(what, "listen") || !strcmp(what, "connect"))
        return sock(argv[2], *what == 'l');
    return 2;
}
