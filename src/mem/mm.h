// SPDX-License-Identifier: Apache-2.0
// A guest's address space: the VMA tree (placement, permissions, limits, /proc/PID/maps). The host
// kernel keeps the pages; each change here is carried out by the platform. Shared by the tasks that
// CLONE_VM'ed (reference-counted).
//
// Locking: mm->lock (RANK_MM) guards everything not marked [C]; it is held across the platform's
// memory calls. No guest memory is copied under it. The tree may be ahead of the host by calls that
// were deferred (mm_later.c): whoever acts on the host's part of a range settles it first.
#pragma once
#include "abi/uaddr.h"
#include "base/ref.h"
#include "base/strbuf.h"
#include "mem/memobj.h"
#include "platform/platform.h"
#include "sched/mutex.h"

struct vma_tree; // mem/vma.h
// A call that has been deferred, and how to take it back if the host refuses it after all (mm_later.c).
enum mm_undo_kind : int { MM_UNDO_NONE, MM_UNDO_MAP, MM_UNDO_UNMAP, MM_UNDO_PROTECT };
struct mm_undo {
    struct pcontext *ctx;       // whose
    enum mm_undo_kind kind;
    uint64_t start, end;
    uint8_t prot;
    uint32_t flags;
    uint64_t brk;               // the break as it was, which the call then returns; 0: it is no brk
};
struct mm_limits { // RLIMIT_* in bytes, read at each call from the caller's thread group
    uint64_t as, data, stack, memlock;
};
struct mm {
    struct ref ref;
    struct aspace *as;          // [C] owned
    struct mutex lock;
    struct vma_tree *vmas;      // [lock] owned
    struct vma *dead;           // [lock] removed, to be freed without the lock
    uint64_t mmap_base;         // [C after exec] top of the mmap area (grows down)
    uint64_t brk_start, brk;    // [lock]
    uint64_t start_code, end_code, start_data, end_data, start_stack;
    uint64_t arg_start, arg_end, env_start, env_end; // [lock] for /proc/PID/{cmdline,environ}
    uint8_t auxv[512];          // [C after exec]
    size_t auxv_len;
    uint64_t total_vm, data_vm, stack_vm, locked_vm; // [lock] pages
    struct memobj *exe;         // [lock] ref: the executable, for /proc/PID/exe (its struct file's)
    void *exe_file;             // [lock] struct file *, ref held; owned by the exec code
    bool dumpable;              // [lock]
    uint64_t membarrier_state;  // [A] MEMBARRIER_CMD_*: what has been registered
    bool shared;                // [A] processes of several thread groups have had it
    const struct mm_exe_ops *exe_ops; // [C after exec] with exe_file
    uint64_t task_size;         // [C]
    uint64_t vdso_start, vdso_end; // [C] incl. vvar; readable by the kernel even above task_size
    bool legacy_layout;         // [C after exec] bottom-up placement (ADDR_COMPAT_LAYOUT)
    uint32_t def_flags;         // [lock] VMA_LOCKED... of mlockall(MCL_FUTURE)
    uint64_t reserve_end;       // [lock] end of the stack's hidden reservation; 0: none
    struct mm_limits lim;       // [lock] as last seen, for calls that are not given them
    struct mm_patches *patches; // [A] set once, with mm->lock: mm_patch.c
    struct winspace *windows;   // [vfs/window.c] owned; null: nothing was published
    struct fs_context *umask;   // [vfs/umask.c] weak: whose umask lies in as->umask; or null
    struct mm_undo later[8];    // [lock] each context's last deferred call, if it matters any more
    unsigned nlater;            // [lock; A] of these
    unsigned nsettle;           // [lock] who waits for them; nothing more is deferred until then
    uint64_t retry_addr;        // [lock] fault that was retried, and how often in a row
    unsigned retry_n;
};
// What fork and the last mm_put do with exe_file, which is above this layer.
struct mm_exe_ops {
    void (*get)(void *exe_file);
    void (*put)(void *exe_file);
};
// The same for the files that are mapped (mmap_args.file), and their names in maps.
struct mm_file_ops {
    void (*get)(void *file);
    void (*put)(void *file);
    // st_dev, st_ino and path, as the mapped file itself shows them (an overlay's, say, and not those
    // of the layer that the pages come from).
    void (*print)(void *file, uint64_t *dev, uint64_t *ino, struct strbuf *out);
    // The stack pointer of the calling task if mm is its own, else 0: so that a task that reads its
    // maps finds the stack it stands on.
    uint64_t (*current_sp)(const struct mm *mm);
};
// Start-up, before the first mm_new.
void mm_use_platform(const struct platform_ops *ops);
const struct platform_ops *mm_platform(void);
void mm_use_file_ops(const struct mm_file_ops *ops);
void mm_set_total_memory(uint64_t bytes); // what overcommit is measured against
// Resident and shared pages of a host process (asked of the supervisor); without it statm and
// smaps give upper bounds.
void mm_set_rss_source(int (*fn)(int host_pid, uint64_t *resident, uint64_t *shared));
// A fresh address space with one context, from a zygote (null: the platform's own). *ctx belongs to
// the caller.
MUST_CHECK int mm_new(struct pzygote *from, struct mm **mm, struct pcontext **ctx);
// [ctx] fork: copies VMAs (MADV_DONTFORK/WIPEONFORK honoured) and makes the child's context.
MUST_CHECK int mm_fork(struct mm *mm, struct pcontext *caller, struct mm **child,
                       struct pcontext **ctx);
struct mm *mm_get(struct mm *mm);
void mm_put(struct mm *mm); // last: aspace_free

// Before the address space goes; set by vfs/window.c and vfs/umask.c.
extern void (*mm_windows_free)(struct mm *mm);
extern void (*mm_umask_free)(struct mm *mm);

struct mmap_args {
    uint64_t addr, len, off;
    int prot, flags;            // guest's, already checked for unknown bits
    struct memobj *obj;         // null: anonymous. A reference is taken if needed.
    void *file;                 // struct file of obj, or null (shm); a reference is taken
    bool may_write, may_exec;   // of the file: may a later mprotect add these
    struct mm_limits lim;
};
// All [ctx]: `ctx` is the calling task's context in mm. Return the address / 0 / -errno as the
// system call.
long mm_mmap(struct mm *mm, struct pcontext *ctx, const struct mmap_args *a);
// The error that mmap would give for the place alone (before it looks at a file), or 0.
int mm_check_place(struct mm *mm, uint64_t addr, uint64_t len, int flags);
int mm_munmap(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t len);
int mm_mprotect(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t len, int prot);
long mm_mremap(struct mm *mm, struct pcontext *ctx, uint64_t old, uint64_t old_len,
               uint64_t new_len, int flags, uint64_t new_addr, const struct mm_limits *lim);
int mm_madvise(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t len, int advice);
uint64_t mm_brk(struct mm *mm, struct pcontext *ctx, uint64_t brk, const struct mm_limits *lim);
int mm_msync(struct mm *mm, uint64_t addr, uint64_t len, int flags);
int mm_mlock(struct mm *mm, uint64_t addr, uint64_t len, bool lock, const struct mm_limits *lim);
int mm_mincore(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t len, uint8_t *vec);
// [T] The host has refused a deferred call with err: the tree is as before, the system call returns
// this. -ESRCH: it cannot be put right, the process has to end.
long mm_refused(struct mm *mm, struct pcontext *ctx, int err);
// [ctx] Before the context is freed.
void mm_leave(struct mm *mm, struct pcontext *ctx);
// A fault that the stub reported as SIGSEGV/SIGBUS: true when it was ours to mend (stack growth)
// and the instruction is to be retried; else *code is the si_code a guest must see.
bool mm_handle_fault(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t err,
                     uint64_t rsp, const struct mm_limits *lim, int *code);
// /proc/PID/maps and smaps text, statm numbers.
void mm_show_maps(struct mm *mm, struct strbuf *out, bool smaps);
void mm_statm(struct mm *mm, uint64_t pages[7]);
// Is addr in a MAP_SHARED mapping (for futex keys): the object and offset, or null for private.
struct memobj *mm_shared_object(struct mm *mm, uint64_t addr, uint64_t *off); // ref taken

// --- for exec ---
// [ctx] The initial stack: [top - size, top) visible, reserved down to `reserve` bytes.
MUST_CHECK int mm_map_stack(struct mm *mm, struct pcontext *ctx, uint64_t top, uint64_t size,
                            uint64_t reserve, int prot);
// A free place for len bytes, as mmap without a hint would choose (len a multiple of PAGE_SIZE).
MUST_CHECK int mm_find_gap(struct mm *mm, uint64_t len, uint64_t align, uint64_t *addr);
// The stack has been seen at sp: maps shows it from there. Cheap; call with the registers at hand.
void mm_note_stack(struct mm *mm, uint64_t sp);
// --- patched system call sites (mm_patch.c) ---
// [ctx] A system call from rip (behind the instruction) came the slow way again and again.
void mm_patch_site(struct mm *mm, struct pcontext *ctx, uint64_t rip);
// What was copied from guest memory at addr, as it was before patches.
void mm_patch_hide(struct mm *mm, uint64_t addr, void *buf, size_t n);
// --- further calls ---
constexpr int MM_MAX_MAP_COUNT = 65530;
constexpr uint64_t MM_MIN_ADDR = 65536;
int mm_mlock2(struct mm *mm, uint64_t addr, uint64_t len, bool onfault,
              const struct mm_limits *lim);
// Faults pages in (mlock, MAP_POPULATE). -EFAULT when a page cannot be; with `all` the rest is done.
int mm_populate(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t len, bool all);
int mm_mlockall(struct mm *mm, int flags, const struct mm_limits *lim); // flags 0: munlockall
long mm_remap_file_pages(struct mm *mm, struct pcontext *ctx, uint64_t addr, uint64_t size,
                         uint64_t pgoff, int flags, const struct mm_limits *lim);
int mm_set_anon_name(struct mm *mm, uint64_t addr, uint64_t len, const char *name); // null: none
// Is [addr, addr+len) mapped without holes; is none of it taken.
bool mm_range_mapped(struct mm *mm, uint64_t addr, uint64_t len);
bool mm_range_free(struct mm *mm, uint64_t addr, uint64_t len);
