// SPDX-License-Identifier: Apache-2.0
// What the kernel publishes of open regular files, so that a stub answers fstat, pread, read and lseek by
// itself (platform/stub/window.c): attributes, and a read-only mapping of the file's beginning. A line
// belongs to a descriptor of a table in an address space.
//
// The position of an open file is leased to one line at a time: its stub moves it. Whoever wants to know or
// move it here takes it back first, whichever process and descriptor the call comes by; so does the end
// of the line. What comes back is what a holder of the file may set by lseek, and no more is believed.
//
// A change of an inode lies between inode_change_begin() and _end(): the first takes back what was
// published before the change can be seen; nothing is published between the two. inode_changed() is
// both, for what has just changed without data or size. Publishing is refused when a change began or
// ended since window_gen().
#pragma once
#include "vfs/file.h"

struct mm;
struct pcontext;
void window_retract(struct inode *i);
static inline void inode_change_begin(struct inode *i)
{
    __atomic_fetch_add(&i->change_begun, 1, __ATOMIC_SEQ_CST);
    if (unlikely(__atomic_load_n(&i->published, __ATOMIC_SEQ_CST) != nullptr))
        window_retract(i);
}
static inline void inode_change_end(struct inode *i)
{
    __atomic_fetch_add(&i->change_ended, 1, __ATOMIC_SEQ_CST);
}
static inline void inode_changed(struct inode *i)
{
    inode_change_begin(i);
    inode_change_end(i);
}

// May anything be published of f: a regular file whose every change we see. *real: where its data is.
bool window_possible(struct file *f, struct file **real);
// Before attributes are read; 0: a change is under way.
uint64_t window_gen(struct file *f, struct file *real);
struct window_args {
    struct file *f, *real;
    uint64_t gen;
    uint64_t size;
    const void *stat;   // struct stat, 144 bytes
    bool data;          // map its beginning as well
    bool pos;           // and lease the position
};
// [ctx] True: with data and position, if that was asked for; else perhaps the attributes.
bool window_publish(struct mm *mm, struct pcontext *ctx, struct fdtab *t, int fd,
                    const struct window_args *a);
// The position is ours: before f->pos is used, under f->pos_lock.
void window_recall(struct file *f);
static inline void file_pos_mine(struct file *f)
{
    if (unlikely(__atomic_load_n(&f->lease, __ATOMIC_ACQUIRE) != nullptr))
        window_recall(f);
}
void window_flush(void);                      // takes all mapped data back: reads are to be seen
// The descriptor is another one now. False: the table has no published line any more. Under its lock.
bool window_forget(struct fdtab *t, int fd);

// fdtab.c: runs fn(arg) under the table's lock if fd is f there. inotify.c: is anything watched.
bool fdtab_if(struct fdtab *t, int fd, const struct file *f, void (*fn)(void *arg, bool *published),
              void *arg);
bool fsnotify_active(void);
