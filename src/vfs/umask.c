// SPDX-License-Identifier: Apache-2.0
// The umask of a file system context, and its loan to the stub of one address space, which then answers
// umask(2) without a handover (platform/stub/fast.c). While it is lent the value lies in that space's
// word, hostile memory: whatever is there, nine bits of it are the umask that its tasks have chosen.
//
// The word names its context, so a call of the stub's that began before the word went to another one
// fails. Contexts shared by processes (CLONE_FS) are lent to the space that called last; the others'
// calls come here and take it back. Who only wants the value reads the word.
#include "host/raw.h"
#include "mem/mm.h"
#include "vfs/internal.h"

static struct spinlock lend_lock; // a leaf; who has lent nothing never takes it to read

static void recall_locked(struct fs_context *fs) REQUIRES(lend_lock)
{
    struct mm *mm = fs->umask_lent;
    if (!mm)
        return;
    uint64_t word = __atomic_exchange_n(mm->as->umask, 0, __ATOMIC_SEQ_CST);
    WRITE_SHARED(fs->umask, (uint32_t)(word & PUB_UMASK));
    __atomic_store_n(&fs->umask_lent, nullptr, __ATOMIC_RELEASE);
    WRITE_SHARED(mm->umask, nullptr);
}

uint32_t fs_umask(struct fs_context *fs)
{
    if (!__atomic_load_n(&fs->umask_lent, __ATOMIC_ACQUIRE))
        return READ_SHARED(fs->umask);
    spin_lock(&lend_lock);
    struct mm *mm = fs->umask_lent;
    uint32_t v = mm ? (uint32_t)(READ_SHARED(*mm->as->umask) & PUB_UMASK) : fs->umask;
    spin_unlock(&lend_lock);
    return v;
}

uint32_t fs_umask_set(struct fs_context *fs, uint32_t mask, struct mm *mm)
{
    spin_lock(&lend_lock);
    recall_locked(fs);
    uint32_t old = fs->umask;
    WRITE_SHARED(fs->umask, mask & PUB_UMASK);
    if (mm && mm->as->umask) {
        if (mm->umask)
            recall_locked(mm->umask);
        WRITE_SHARED(mm->umask, fs);
        __atomic_store_n(&fs->umask_lent, mm, __ATOMIC_RELEASE);
        __atomic_store_n(mm->as->umask, pub_umask(fs->id, mask), __ATOMIC_SEQ_CST);
    }
    spin_unlock(&lend_lock);
    return old;
}

void umask_recall(struct fs_context *fs)
{
    spin_lock(&lend_lock);
    recall_locked(fs);
    spin_unlock(&lend_lock);
}

static void space_free(struct mm *mm)
{
    spin_lock(&lend_lock);
    if (mm->umask)
        recall_locked(mm->umask);
    spin_unlock(&lend_lock);
}

[[gnu::constructor]] static void umask_init(void)
{
    mm_umask_free = space_free;
}
