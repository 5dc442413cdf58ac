// SPDX-License-Identifier: Apache-2.0
// Pseudo terminals (pty(7)): a line discipline between a master file and slave files. The directory
// that names the slaves is devpts.c.
#pragma once
#include "fs/devpts/ldisc.h"
#include "fs/tty.h"
#include "vfs/file.h"
#include <sys/ioctl.h>

struct devpts; // one mounted instance
struct pty {
    struct tty_ctl ctl;        // its reference count is the pty's
    struct mutex lock;         // RANK_TTY
    struct ldisc *ld;          // [lock] owned
    struct winsize ws;         // [lock]
    struct waitq slave_wq, master_wq;
    uint8_t *pending;          // [lock] owned: what the master wrote and ld has no room for
    size_t npending;
    bool master_open;          // [lock]
    bool slave_gone;           // [lock] the last slave was closed: the master reads EIO
    bool slave_locked;         // [lock] TIOCSPTLCK
    bool packet, exclusive;    // [lock]
    int slaves;                // [lock] open slave files, dead ones too
    int64_t generation;        // [lock] a hang-up begins a new one; f->pos is that of a file
    struct devpts *fs;         // [C] ref
    int index;                 // [C]
    struct inode *inode;       // [C] ref: the slave's node
};
extern const struct file_ops pts_fops;    // slave: inode->fops of the nodes
extern const struct file_ops ptmx_fops;   // master

struct pty *pty_get(struct pty *p);
void pty_put(struct pty *p);
// A new pair in this instance; f becomes the master.
MUST_CHECK int pty_open_master(struct devpts *fs, struct file *f);

// Shared by pty.c and pty_ioctl.c.
static inline bool pty_hung(const struct pty *p, const struct file *f)
{
    return READ_SHARED(p->generation) != f->pos;
}
void pty_feed(struct pty *p);             // [lock] pending input goes into the line discipline
uint64_t pty_take_signals(struct pty *p); // [lock]
void pty_after(struct pty *p, uint64_t signals); // no lock: wake-ups and signals of a change
size_t pty_type(struct pty *p, const uint8_t *buf, size_t n); // as the master's write; bytes taken
long pts_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg);
long ptmx_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg);

// --- devpts.c ---
constexpr unsigned PTS_MAJOR = 136;
constexpr uint64_t DEVPTS_MAGIC = 0x1cd1;
// Takes an index and makes the node (p->index, p->inode, p->fs).
MUST_CHECK int devpts_add(struct devpts *fs, struct pty *p, const struct cred *c);
void devpts_hide(struct pty *p);   // the master is closed: no new opens by name
void devpts_remove(struct pty *p); // at the end
// A terminal that is no pty of ours gets a number and a node in this instance, which opens it
// (c->ops->open). The number, or -errno. The node is a weak reference to c: remove it before c goes.
MUST_CHECK int devpts_add_tty(struct super *sb, struct tty_ctl *c, const struct cred *cred,
                              struct inode **node);
void devpts_remove_tty(struct inode *node); // drops the reference
// The slave that the node means; a reference, or null when it is gone.
struct pty *devpts_pty_of(struct inode *i);
// For TIOCGPTPEER: the path of the slave in the mount that f (the master) came from.
MUST_CHECK int devpts_slave_path(struct file *master, struct pty *p, struct path *out);
