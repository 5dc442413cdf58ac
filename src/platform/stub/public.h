// SPDX-License-Identifier: Apache-2.0
// What the kernel publishes about a task, so that its own host thread can answer for it: one line of
// values for each thread of an address space. Written by the Sentry through its own mapping; in the
// stub the pages are read-only for good (the memory file is sealed against further writers), and
// they hold nothing of another process.
#pragma once
#include <stdint.h>

// ppublic.full: why no call of this task is answered outside the kernel. 0: the values are true.
enum : uint32_t {
    PUB_STALE = 1,  // a number has changed (or was never written): the task writes it on its way out
    PUB_TRACED = 2, // the kernel wants to see every call: strace, ptrace, a seccomp filter
    PUB_OFF = 4,    // --systrap-fast=off
};
struct ppublic {
    uint32_t full;
    uint32_t tid, tgid, ppid, pgid, sid; // as its own pid namespace numbers them
    uint32_t uid, euid, gid, egid;
    uint32_t ncpus;
    uint32_t altstack_flags;
    uint64_t altstack_sp, altstack_size;
    uint64_t affinity;
    uint64_t pending; // signals, its own and its group's: a mask that touches one is the kernel's to set
    uint64_t files;   // the task's descriptor table: which of the pub_file lines are its
    uint64_t fs;      // the number of what its umask belongs to: see pub_umask()
    uint64_t pad[4];
};
static_assert(sizeof(struct ppublic) == 128);

// One word of each space, which every thread of the guest's process can write: the umask of the tasks
// whose ppublic.fs it names, as long as it is not 0. A call of umask is one compare-and-swap. The kernel
// lends it, and takes it back by an exchange (vfs/umask.c); any value is a valid mask.
constexpr uint64_t PUB_UMASK = 0777;
static inline uint64_t pub_umask(uint64_t fs, uint64_t mask)
{
    return fs << 9 | (mask & PUB_UMASK);
}

// One line for each of the first descriptors of the space: what the kernel last said about a regular
// file, and where its first bytes are mapped. Valid while seq is even and the same before and after;
// every change of the file or the descriptor makes it another one first.
enum : uint32_t { PUBF_STAT = 1, PUBF_DATA = 2 };
struct pub_file {
    uint32_t seq, flags;
    uint64_t files;         // ppublic.files of whom it is for
    uint64_t size;          // of the file
    uint64_t win, win_len;  // bytes [0, win_len) of the file are mapped there, as far as they exist
    uint64_t pad[3];
    uint8_t stat[144];      // struct stat
    uint8_t pad2[48];
};
static_assert(sizeof(struct pub_file) == 256);
constexpr int PUB_FILES = 512, PUB_WINDOWS = 32;
constexpr uint64_t PUB_WINDOW_SIZE = 16 << 20;

// One word for each of these lines, in memory that every thread of the guest's process can write: the
// file position, as long as the word is VALID and the line has data. A call that moves the position is one
// compare-and-swap; each makes the word another one (COUNT). The kernel takes the position back by an
// exchange before it uses it, and before the line becomes invalid. Any value is a valid position.
constexpr uint64_t PUB_POS_MAX = (1ull << 36) - 1;
constexpr uint64_t PUB_POS_COUNT = 1ull << 36, PUB_POS_VALID = 1ull << 63;
struct pub_pos {
    uint64_t word;
    uint64_t pad[7];
};
// The word after `word`, with another position.
static inline uint64_t pub_pos_next(uint64_t word, uint64_t pos)
{
    uint64_t count = (word + PUB_POS_COUNT) & ~(PUB_POS_VALID | PUB_POS_MAX);
    return (word & PUB_POS_VALID) | count | (pos & PUB_POS_MAX);
}
