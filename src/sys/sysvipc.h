// SPDX-License-Identifier: Apache-2.0
// System V IPC: what shared memory, semaphores and message queues have in common: identifiers,
// keys and permissions (sysvipc(7)). One table of each per sandbox; an object belongs to an IPC
// namespace, and only tasks of that one find it.
#pragma once
#include "task/task.h"
#include <sys/ipc.h>

struct ipc_obj { // embedded first
    struct ref ref;
    int id;                         // [C]
    uint64_t ns;                    // [C] struct ipcns.ino
    int key;                        // [table lock] IPC_PRIVATE after removal
    uint32_t uid, gid, cuid, cgid;  // [table lock]
    uint32_t mode;                  // [table lock]
    bool dead;                      // [table lock] removed
};
struct ipc_table {
    struct mutex lock;       // RANK_LEAF; guest memory is never copied under it
    struct ipc_obj **slot;   // [lock] owned array
    uint32_t nslots, used, top; // [lock] top: one above the highest in use
    uint16_t seq;            // [lock]
    const uint32_t *max;     // [C] sysctl
    void (*release)(struct ipc_obj *o); // last reference, no lock held
};
constexpr int IPC_SLOTS_MAX = 32768;

void ipc_table_init(struct ipc_table *t, const uint32_t *max, void (*release)(struct ipc_obj *));
void ipc_put(struct ipc_table *t, struct ipc_obj *o);
// All with the lock held.
int ipc_add(struct ipc_table *t, struct ipc_obj *o, int key, uint32_t mode, const struct task *by);
// Borrowed. null: EINVAL or EIDRM.
struct ipc_obj *ipc_by_id(struct ipc_table *t, const struct ipcns *ns, int id);
struct ipc_obj *ipc_by_index(struct ipc_table *t, const struct ipcns *ns, int i);
struct ipc_obj *ipc_by_key(struct ipc_table *t, const struct ipcns *ns, int key);
// How many there are in ns; *top: the highest index in use (0: none).
uint32_t ipc_count(const struct ipc_table *t, const struct ipcns *ns, int *top);
void ipc_unlink(struct ipc_table *t, struct ipc_obj *o);    // the table's reference is the caller's
int ipc_may(const struct ipc_obj *o, const struct cred *c, uint32_t want /* 0444 0222 */);
int ipc_owner(const struct ipc_obj *o, const struct cred *c); // -EPERM: may not IPC_SET, IPC_RMID
void ipc_perm_out(const struct ipc_obj *o, struct ipc_perm *p);
void ipc_perm_in(struct ipc_obj *o, const struct ipc_perm *p);
// The object of xxxget(key, flags): *out borrowed, or null: make a new one.
int ipc_get(struct ipc_table *t, int key, int flags, const struct task *by, struct ipc_obj **out);
static inline int64_t ipc_now(void)
{
    return ktime_realtime() / 1000000000;
}
