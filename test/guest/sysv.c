// SPDX-License-Identifier: Apache-2.0
// System V shared memory, semaphores, message queues.
#include "gt.h"
#include <pthread.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};
static int key(void)
{
    return 0x5a000000 | (getpid() & 0xffffff);
}

GT(shm_basic)
{
    int id = (int)GT_OK(shmget(IPC_PRIVATE, 5000, IPC_CREAT | 0600));
    struct shmid_ds d;
    char *a = shmat(id, 0, 0), *b = shmat(id, 0, SHM_RDONLY);
    GT_TRUE(a != (void *)-1 && b != (void *)-1 && a != b);
    strcpy(a, "shared");
    GT_STR(b, "shared");
    GT_OK(shmctl(id, IPC_STAT, &d));
    GT_EQ(d.shm_nattch, 2);
    GT_EQ(d.shm_segsz, 5000);
    GT_EQ(d.shm_cpid, getpid());
    GT_EQ(d.shm_perm.mode & 0777, 0600);
    pid_t c = fork();
    if (!c) {
        shmctl(id, IPC_STAT, &d);
        strcpy(a + 4096, "child");
        _exit(d.shm_nattch == 4 ? 0 : 1);
    }
    int st;
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
    GT_STR(b + 4096, "child");
    GT_OK(shmctl(id, IPC_STAT, &d));
    GT_EQ(d.shm_nattch, 2);
    GT_OK(shmdt(b));
    GT_ERR(shmdt(b), EINVAL);
    GT_OK(shmctl(id, IPC_RMID, 0));
    a[1] = 'H'; // lives as long as it is mapped
    GT_OK(shmctl(id, IPC_STAT, &d));
    GT_TRUE(d.shm_perm.mode & 01000);
    GT_OK(shmdt(a));
    GT_ERR(shmctl(id, IPC_STAT, &d), EINVAL);
}

GT(shm_keys)
{
    int k = key(), id = (int)GT_OK(shmget(k, 4096, IPC_CREAT | IPC_EXCL | 0600));
    GT_ERR(shmget(k, 4096, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
    GT_EQ(shmget(k, 0, 0), id);
    GT_ERR(shmget(k, 8192, 0), EINVAL);
    GT_OK(shmctl(id, IPC_RMID, 0));
    GT_ERR(shmget(k, 4096, 0), ENOENT);
    GT_ERR(shmget(IPC_PRIVATE, 0, IPC_CREAT), EINVAL);
    GT_ERR(shmat(id, 0, 0) == (void *)-1 ? -1 : 0, EINVAL);
}

GT(shm_places)
{
    int id = (int)GT_OK(shmget(IPC_PRIVATE, 8192, 0600));
    char *area = mmap(0, 1 << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GT_TRUE(shmat(id, area, 0) == (void *)-1 && errno == EINVAL); // something is there
    GT_TRUE(shmat(id, area, SHM_REMAP) == area);
    GT_TRUE(shmat(id, area + 100, 0) == (void *)-1 && errno == EINVAL);
    munmap(area + 8192, (1 << 16) - 8192);
    GT_TRUE(shmat(id, area + 16384 + 100, SHM_RND) == area + 16384);
    GT_OK(munmap(area, 4096)); // half of an attachment
    area[4096] = 1;
    GT_OK(shmdt(area));
    GT_EQ(area[16384 + 4096], 1);
    GT_OK(shmctl(id, IPC_RMID, 0));
    GT_OK(shmdt(area + 16384));
}

static int sem_new(int n)
{
    return (int)GT_OK(semget(IPC_PRIVATE, n, 0600));
}
static int op(int id, int num, int v, int flg)
{
    struct sembuf b = {num, v, flg};
    return semop(id, &b, 1);
}
static int val(int id, int num)
{
    return (int)GT_OK(semctl(id, num, GETVAL));
}

GT(sem_basic)
{
    int id = sem_new(3);
    unsigned short all[3] = {5, 6, 7};
    union semun u = {.array = all};
    GT_OK(semctl(id, 0, SETALL, u));
    GT_OK(op(id, 1, -6, 0));
    GT_ERR(op(id, 1, -1, IPC_NOWAIT), EAGAIN);
    GT_OK(op(id, 1, 0, 0));
    GT_ERR(op(id, 0, 0, IPC_NOWAIT), EAGAIN);
    GT_OK(semctl(id, 0, GETALL, u));
    GT_TRUE(all[0] == 5 && all[1] == 0 && all[2] == 7);
    GT_EQ(semctl(id, 1, GETPID), getpid());
    GT_ERR(op(id, 3, 1, 0), EFBIG);
    u.val = 40000;
    GT_ERR(semctl(id, 0, SETVAL, u), ERANGE);
    GT_ERR(semctl(0x7fffffff, 9, SETVAL, u), ERANGE); // before the set is looked for
    GT_ERR(semctl(id, 9, GETVAL), EINVAL);
    u.val = 32767;
    GT_ERR(semctl(id, 9, SETVAL, u), EINVAL);
    GT_OK(semctl(id, 0, SETVAL, u));
    GT_ERR(op(id, 0, 1, 0), ERANGE);
    struct sembuf b[600] = {0};
    GT_ERR(semop(id, b, 600), E2BIG);
    GT_ERR(semop(id, b, 0), EINVAL);
    GT_ERR(semget(IPC_PRIVATE, 0, 0600), EINVAL);
    GT_OK(semctl(id, 0, IPC_RMID));
    GT_ERR(op(id, 0, 1, 0), EINVAL);
}

GT(sem_all_or_nothing)
{
    int id = sem_new(2);
    struct sembuf b[2] = {{0, 1, 0}, {1, -1, IPC_NOWAIT}};
    GT_ERR(semop(id, b, 2), EAGAIN);
    GT_EQ(val(id, 0), 0);
    b[1].sem_op = 1;
    GT_OK(semop(id, b, 2));
    GT_EQ(val(id, 0), 1);
    GT_OK(semctl(id, 0, IPC_RMID));
}

GT(sem_blocks)
{
    int id = sem_new(1), st;
    pid_t c = fork();
    if (!c)
        _exit(op(id, 0, -2, 0));
    for (int i = 0; i < 200 && semctl(id, 0, GETNCNT) != 1; i++)
        usleep(5000);
    GT_EQ(semctl(id, 0, GETNCNT), 1);
    GT_OK(op(id, 0, 1, 0));
    GT_EQ(waitpid(c, &st, WNOHANG), 0);
    GT_OK(op(id, 0, 1, 0));
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
    GT_EQ(val(id, 0), 0);
    c = fork();
    if (!c)
        _exit(op(id, 0, -1, 0) == -1 && errno == EIDRM ? 0 : 1);
    for (int i = 0; i < 200 && semctl(id, 0, GETNCNT) != 1; i++)
        usleep(5000);
    GT_OK(semctl(id, 0, IPC_RMID));
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
}

static void on_sig(int s)
{
}

GT(sem_timeout_and_signal)
{
    int id = sem_new(1);
    struct sembuf b = {0, -1, 0};
    struct timespec ts = {0, 30000000};
    GT_ERR(semtimedop(id, &b, 1, &ts), EAGAIN);
    struct sigaction sa = {.sa_handler = on_sig, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, 0);
    gt_alarm(20);
    GT_ERR(semop(id, &b, 1), EINTR);
    GT_EQ(semctl(id, 0, GETNCNT), 0);
    GT_OK(semctl(id, 0, IPC_RMID));
}

GT(sem_undo)
{
    int id = sem_new(2), st;
    union semun u = {.val = 5};
    GT_OK(semctl(id, 0, SETVAL, u));
    pid_t c = fork();
    if (!c) {
        if (op(id, 0, -3, SEM_UNDO) || op(id, 1, 4, SEM_UNDO) || op(id, 1, -1, 0))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    GT_EQ(waitpid(c, &st, 0), c);
    GT_TRUE(WIFSIGNALED(st));
    GT_EQ(val(id, 0), 5);
    GT_EQ(val(id, 1), 0); // 3 - 4, not below zero
    c = fork();
    if (!c) {
        op(id, 0, -1, SEM_UNDO);
        semctl(id, 0, SETVAL, u); // forgets the adjustment
        _exit(0);
    }
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(val(id, 0), 5);
    GT_OK(semctl(id, 0, IPC_RMID));
}

static int counter, sem_id;
static void *locker(void *arg)
{
    for (int i = 0; i < 500; i++) {
        op(sem_id, 0, -1, 0);
        int v = counter;
        if (i % 50 == 0)
            sched_yield();
        counter = v + 1;
        op(sem_id, 0, 1, 0);
    }
    return 0;
}

GT(sem_mutex)
{
    pthread_t th[4];
    union semun u = {.val = 1};
    sem_id = sem_new(1);
    GT_OK(semctl(sem_id, 0, SETVAL, u));
    for (int i = 0; i < 4; i++)
        pthread_create(&th[i], 0, locker, 0);
    for (int i = 0; i < 4; i++)
        pthread_join(th[i], 0);
    GT_EQ(counter, 2000);
    GT_OK(semctl(sem_id, 0, IPC_RMID));
}

struct m {
    long type;
    char text[64];
};

GT(msg_types)
{
    int q = (int)GT_OK(msgget(IPC_PRIVATE, 0600));
    struct m m;
    for (int i = 1; i <= 4; i++) {
        m.type = 5 - i;
        m.text[0] = '0' + i;
        GT_OK(msgsnd(q, &m, i, 0)); // types 4 3 2 1, sizes 1 2 3 4
    }
    struct msqid_ds d;
    GT_OK(msgctl(q, IPC_STAT, &d));
    GT_EQ(d.msg_qnum, 4);
    GT_EQ(d.__msg_cbytes, 10);
    GT_EQ(d.msg_lspid, getpid());
    GT_EQ(msgrcv(q, &m, 64, 3, 0), 2);
    GT_EQ(m.text[0], '2');
    GT_ERR(msgrcv(q, &m, 2, -2, IPC_NOWAIT), E2BIG);
    GT_EQ(msgrcv(q, &m, 2, -2, MSG_NOERROR), 2); // lowest type: 1
    GT_EQ(m.type, 1);
    GT_EQ(msgrcv(q, &m, 64, 4, MSG_EXCEPT), 3);
    GT_EQ(m.type, 2);
    GT_EQ(msgrcv(q, &m, 64, 0, 0), 1);
    GT_EQ(m.type, 4);
    GT_ERR(msgrcv(q, &m, 64, 0, IPC_NOWAIT), ENOMSG);
    m.type = 0;
    GT_ERR(msgsnd(q, &m, 1, 0), EINVAL);
    m.type = 1;
    GT_ERR(msgsnd(q, &m, 10000, 0), EINVAL);
    GT_OK(msgctl(q, IPC_RMID, 0));
    GT_ERR(msgsnd(q, &m, 1, 0), EINVAL);
}

GT(msg_blocks)
{
    int q = (int)GT_OK(msgget(IPC_PRIVATE, 0600)), st;
    static char big[9000];
    struct m m = {.type = 1};
    *(long *)big = 1;
    GT_OK(msgsnd(q, big, 8192, 0));
    GT_OK(msgsnd(q, big, 8192, 0));
    GT_ERR(msgsnd(q, &m, 1, IPC_NOWAIT), EAGAIN);
    pid_t c = fork();
    if (!c)
        _exit(msgsnd(q, &m, 1, 0) != 0);
    usleep(30000);
    GT_EQ(waitpid(c, &st, WNOHANG), 0);
    GT_EQ(msgrcv(q, big, 8192, 0, 0), 8192);
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
    c = fork();
    if (!c)
        _exit(msgrcv(q, &m, 64, 77, 0) == -1 && errno == EIDRM ? 0 : 1);
    usleep(30000);
    GT_OK(msgctl(q, IPC_RMID, 0));
    GT_EQ(waitpid(c, &st, 0), c);
    GT_EQ(st, 0);
}

GT(permissions)
{
    int q = (int)GT_OK(msgget(IPC_PRIVATE, 0600)), s = sem_new(1),
        m = (int)GT_OK(shmget(IPC_PRIVATE, 4096, 0640));
    if (setuid(4321))
        GT_SKIP("not root");
    struct m x;
    struct msqid_ds d;
    GT_ERR(msgrcv(q, &x, 10, 0, IPC_NOWAIT), EACCES);
    GT_ERR(msgctl(q, IPC_STAT, &d), EACCES);
    GT_ERR(msgctl(q, IPC_RMID, 0), EPERM);
    GT_ERR(semctl(s, 0, GETVAL), EACCES);
    GT_TRUE(shmat(m, 0, 0) == (void *)-1 && errno == EACCES);
}

GT_MAIN
