// SPDX-License-Identifier: Apache-2.0
// Opening inodes that are not data of their file system: FIFOs, devices, sockets. The VFS's open
// calls vfs_open_special() for S_IFIFO, S_IFCHR and S_IFBLK inodes, in place of inode->fops, after
// the permission check; what implements them lives in higher folders and registers here at start.
#pragma once
#include "vfs/file.h"

// f is complete but not yet visible; the callee sets f->ops and f->data. May sleep.
// FIFO: blocking rules of fifo(7); -ENXIO, -ERESTARTSYS. Devices: -ENXIO when unknown. The caller
// refuses devices on MNT nodev mounts itself (-EACCES); sockets are -ENXIO.
MUST_CHECK int vfs_open_special(struct inode *i, struct file *f);

typedef int special_open_fn(struct inode *i, struct file *f);
// Called from constructors or at boot, before any guest runs.
void vfs_register_fifo(special_open_fn *fn);
// Devices major:[minor, minor+count). `ops` is installed in f first; fn may be null.
void chrdev_register(unsigned major, unsigned minor, unsigned count, const char *name,
                     const struct file_ops *ops, special_open_fn *fn);
// /proc/devices
void chrdev_show(struct strbuf *out);

// --- epoll (epoll.c) ---
// The first thing that the last file_put() does, before ops->release: leaves every epoll set. One
// load when the file was never in one.
void epoll_file_release(struct file *f);

// --- inotify (inotify.c); fsnotify() itself is in file.h ---
// fsnotify(i, d, mask, name, cookie): the event goes to the watches on i (with `name` when i is a
// directory and the event is about a child, else null). When d is not null the event also goes to
// the watches on d's parent directory, with d's name (open, access, modify, attrib, close of a
// file). IN_ISDIR is set by the caller. Costs one load when nothing is watched anywhere.
// Call with no inode lock held where possible; never sleeps.
// The VFS calls this when the last link of i is gone: IN_DELETE_SELF, then IN_IGNORED.
void fsnotify_inode_removed(struct inode *i);
// At unmount of i's file system: IN_UNMOUNT, then IN_IGNORED, for every watch below sb.
void fsnotify_unmount(struct super *sb);
uint32_t fsnotify_cookie(void); // pairs IN_MOVED_FROM with IN_MOVED_TO
