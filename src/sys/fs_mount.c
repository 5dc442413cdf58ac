// SPDX-License-Identifier: Apache-2.0
// mount(2), umount2(2), pivot_root(2): privilege and arguments; the work is the VFS's.
#include "sys/fs_util.h"
#include <sys/mount.h>

constexpr int CAP_SYS_ADMIN_NR = 21;

long sys_mount(struct task *t, uaddr_t source, uaddr_t target, uaddr_t type, uint64_t flags, uaddr_t data)
{
    struct lookup_ctx c = task_lookup_ctx(t);
    char options[PAGE_SIZE] = "", fstype[64] = "";
    if (!cred_capable(t->cred, CAP_SYS_ADMIN_NR))
        return -EPERM;
    if ((flags & 0xffff0000u) == 0xC0ED0000u) // MS_MGC_VAL of old programs
        flags &= ~0xffff0000ull;
    if (!uaddr_null(type)) {
        long n = copy_in_str(t->mm, fstype, type, sizeof(fstype));
        if (n < 0)
            return n == -ENAMETOOLONG ? -ENODEV : n;
    }
    // Mounts that only the boot code makes (9P) do not exist for a guest.
    const struct fs_type *known = *fstype ? fs_type_find(fstype) : nullptr;
    bool fresh = !(flags & (MS_REMOUNT | MS_BIND | MS_MOVE | MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE));
    if (fresh && known && !known->user_mount)
        return -ENODEV;
    const char *name = uaddr_null(type) ? nullptr : fstype;
    if (!uaddr_null(data)) {
        long n = copy_in_str(t->mm, options, data, sizeof(options));
        if (n < 0)
            return n == -ENAMETOOLONG ? -EINVAL : n;
    }
    USER_PATH(to, t, target);
    if (to.err)
        return to.err;
    if (uaddr_null(source))
        return vfs_mount(&c, nullptr, to.p, name, (uint32_t)flags, options);
    USER_PATH(from, t, source);
    if (from.err)
        return from.err;
    return vfs_mount(&c, from.p, to.p, name, (uint32_t)flags, options);
}

long sys_umount2(struct task *t, uaddr_t target, uint32_t flags)
{
    struct lookup_ctx c = task_lookup_ctx(t);
    if (flags & ~(uint32_t)(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW))
        return -EINVAL;
    if (!cred_capable(t->cred, CAP_SYS_ADMIN_NR))
        return -EPERM;
    USER_PATH(path, t, target);
    return path.err ? path.err : vfs_umount(&c, path.p, (int)flags);
}

// Whoever stands at the old root stands at the new one (chroot_fs_refs of Linux).
static void move_everybody(struct task *t, const struct path *from, const struct path *to)
{
    struct thread_group *g;
    for (int tgid = 1; (g = group_next(t->pidns, &tgid)); tgid++, group_put(g)) {
        struct task *o;
        for (int tid = 1; (o = group_next_thread(g, t->pidns, &tid)); tid++, task_put(o)) {
            struct fs_context *fs = task_fs_get(o);
            if (fs)
                fs_context_replace(fs, from, to);
            fs_context_put(fs);
        }
    }
}
long sys_pivot_root(struct task *t, uaddr_t new_root, uaddr_t put_old)
{
    struct lookup_ctx c = task_lookup_ctx(t);
    if (!cred_capable(t->cred, CAP_SYS_ADMIN_NR))
        return -EPERM;
    USER_PATH(to, t, new_root);
    if (to.err)
        return to.err;
    USER_PATH(old, t, put_old);
    if (old.err)
        return old.err;
    mutex_lock(&t->fs->lock);
    PATH_VAR(before);
    before = path_get(t->fs->root);
    mutex_unlock(&t->fs->lock);
    int err = vfs_pivot_root(&c, to.p, old.p);
    if (err)
        return err;
    mutex_lock(&t->fs->lock);
    PATH_VAR(after);
    after = path_get(t->fs->root);
    mutex_unlock(&t->fs->lock);
    move_everybody(t, &before, &after);
    return 0;
}
