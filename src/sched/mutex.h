// SPDX-License-Identifier: Apache-2.0
// The sleeping locks of the kernel: a waiter parks its fiber (a worker outside a fiber, or an I/O
// thread, sleeps on a host futex). Ranks are the tree of doc/locking.md: debug builds panic when a
// lock is taken whose rank is not above every one that the fiber holds (same rank: by address, or
// with mutex_lock_nested). Lower number = taken first (outer).
#pragma once
#include "base/list.h"
#include "base/lock.h"

enum lock_rank : int {
    RANK_NONE = 0,      // unranked: leaf locks of tests
    RANK_FPOS = 5,      // position of an open file: held across its read, write, readdir
    RANK_CGROUP = 10,
    RANK_RENAME = 40,   // cross-directory rename, per superblock
    RANK_MOUNT = 50,    // mount tree
    RANK_OVERLAY = 51,  // overlay inodes and copy-up, by stacking depth: 51 to 56
    RANK_DIR = 60,      // directory inode (ancestor first)
    RANK_INODE = 70,    // file inode: may be held across Gofer round trips
    RANK_FILE = 80,     // open file: position
    RANK_FDTAB = 90,
    RANK_EPOLL = 100,
    RANK_SOCKET = 110,
    RANK_PIPE = 120,
    RANK_TTY = 130,
    RANK_TASKLIST = 140,// pid tables, process tree: taken under a directory lock by /proc look-ups
    RANK_GROUP = 145,   // thread group
    RANK_MM = 150,      // VMA tree: may be held across memory calls of the stub
    RANK_FUTEX = 160,
    RANK_GOFER = 170,   // 9P client: fid tables
    RANK_PLATFORM = 180,// per address space fork/descriptor lock
    RANK_LEAF = 200,
};
struct CAPABILITY("mutex") mutex {
    uint32_t state;        // [A] see mutex.c
    uint8_t rank;
    struct spinlock lock;  // guards waiters
    struct list waiters;   // [lock]
    void *owner;           // [A] fiber, or the stand-in of a thread
};
// For statically allocated locks; the others use mutex_init.
#define MUTEX_INIT(m, r) {.rank = (r), .waiters = LIST_INIT((m).waiters)}
struct CAPABILITY("rwsem") rwsem {
    struct spinlock lock;
    uint8_t rank;
    int32_t readers;       // [lock] -1: a writer
    uint32_t wwaiting;     // [lock] writers waiting: no new reader passes them
    struct list waiters;   // [lock]
};
#define RWSEM_INIT(s, r) {.rank = (r), .waiters = LIST_INIT((s).waiters)}
void mutex_init(struct mutex *m, enum lock_rank rank);
void mutex_lock(struct mutex *m) ACQUIRES(*m);
void mutex_lock_nested(struct mutex *m) ACQUIRES(*m); // same rank, the caller states the order
bool mutex_trylock(struct mutex *m) TRY_ACQUIRES(true, *m);
void mutex_unlock(struct mutex *m) RELEASES(*m);
bool mutex_is_held(const struct mutex *m); // by the caller
void rwsem_init(struct rwsem *s, enum lock_rank rank);
void rwsem_read_lock(struct rwsem *s) ACQUIRES(*s);
void rwsem_read_unlock(struct rwsem *s) RELEASES(*s);
void rwsem_write_lock(struct rwsem *s) ACQUIRES(*s);
void rwsem_write_unlock(struct rwsem *s) RELEASES(*s);
