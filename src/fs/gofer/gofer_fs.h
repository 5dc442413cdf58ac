// SPDX-License-Identifier: Apache-2.0
// The Sentry's client of a Gofer: one connection per container, a file system per attach name.
// Called at boot (outside fibers too, then it waits by polling) and by the VFS. Whatever the Gofer
// answers is hostile: lengths, names, types, sizes and descriptors are checked before use.
#pragma once
#include "vfs/vfs.h"

struct gofer_client;
// Takes over sockfd (SOCK_SEQPACKET). After sched_init(). -EIO: no Gofer that speaks 9P2000.L.
MUST_CHECK int gofer_client_new(int sockfd, struct gofer_client **out);
struct gofer_client *gofer_client_get(struct gofer_client *c);
void gofer_client_put(struct gofer_client *c); // a mounted file system holds its own reference
// exclusive: nobody but us changes the files, so dentries, attributes and absences are cached
// without asking again. Otherwise each use of a cached name is revalidated.
MUST_CHECK int gofer_mount(struct gofer_client *c, const char *aname, bool exclusive, bool readonly,
                           struct super **out);
