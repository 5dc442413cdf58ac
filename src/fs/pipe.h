// SPDX-License-Identifier: Apache-2.0
// Pipes and FIFOs (pipe(7), fifo(7)): a ring of page slots, as Linux has it, because the slot
// count is visible (atomicity, F_SETPIPE_SZ, when a writer blocks, splice).
#pragma once
#include "base/ref.h"
#include "vfs/file.h"

constexpr size_t PIPE_DEFAULT_SLOTS = 16;
constexpr size_t PIPE_MAX_SLOTS = 1u << 19;        // 2 GiB, before the sysctl
constexpr size_t PIPE_ATOMIC = 4096;               // PIPE_BUF

constexpr uint32_t PIPE_RUN = 16; // pages of one run, see struct pipe_pages

// The bytes behind slots: one page, or for large writes several in a row, so that one copy of guest
// memory fills (or empties) several slots. Each slot holds a reference.
struct pipe_pages {
    struct ref ref;
    uint32_t n;
    uint8_t data[];         // n pages
};
struct pipe_buf {           // one slot: at most a page
    struct pipe_pages *pages; // ref
    uint32_t off, len;      // into pages->data
    uint32_t end;           // where the slot's page ends
    bool packet;            // O_DIRECT: one read takes all of it
    bool merge;             // a later small write may be appended
};
struct pipe {
    struct ref ref;
    struct mutex lock;      // RANK_PIPE
    struct waitq rd, wr;    // readers wait for data or EOF; writers for room or EPIPE
    struct waitq partner;   // openers of a FIFO
    struct pipe_buf *bufs;  // [lock] owned, nslots long
    uint32_t nslots;        // [lock] a power of two
    uint32_t head, tail;    // [lock] free-running; head - tail slots are in use
    uint32_t readers, writers;         // [lock] open files
    uint32_t r_counter, w_counter;     // [lock] opens so far
    uint32_t uid;           // [C] charged
    uint32_t held;          // [lock] slots that splice has taken out and may put back
    struct pipe_pages *spare, *spare_run; // [lock] owned: a single page, a full run
};

extern const struct file_ops pipe_fops;
extern uint32_t pipe_max_size;         // /proc/sys/fs/pipe-max-size
extern uint32_t pipe_user_pages_soft;  // /proc/sys/fs/pipe-user-pages-soft
extern uint32_t pipe_user_pages_hard;

// pipe2(2): two files. flags: O_CLOEXEC is the caller's business; O_NONBLOCK, O_DIRECT.
MUST_CHECK int pipe_create(int flags, const struct cred *c, struct file **r, struct file **w);
// The pipe behind a file, or null.
struct pipe *pipe_of(struct file *f);

static inline bool pipe_empty(const struct pipe *p)
{
    return p->head == p->tail;
}
static inline bool pipe_full(const struct pipe *p)
{
    return p->head - p->tail + p->held >= p->nslots;
}
static inline struct pipe_buf *pipe_slot(struct pipe *p, uint32_t i)
{
    return &p->bufs[i & (p->nslots - 1)];
}
static inline uint32_t pipe_room(const struct pipe *p)
{
    uint32_t used = p->head - p->tail + p->held;
    return used < p->nslots ? p->nslots - used : 0;
}
struct pipe_pages *pipe_pages_get(struct pipe *p, uint32_t n); // [lock] one reference; null: no memory
void pipe_pages_put(struct pipe *p, struct pipe_pages *pg);    // [lock]
// [lock] Enters the first `bytes` of pg as slots, and takes over the reference. There is room.
void pipe_append_pages(struct pipe *p, struct pipe_pages *pg, size_t bytes, bool packet, bool merge);
// [lock] Sleeps with the lock dropped; -ERESTARTSYS when interrupted.
int pipe_sleep(struct pipe *p, struct waitq *q);
void pipe_sigpipe(void); // SIGPIPE to the calling task
// What read and write do; nonblock is the caller's choice.
long pipe_read_uio(struct pipe *p, struct uio *u, bool nonblock);
long pipe_write_uio(struct pipe *p, struct uio *u, bool nonblock, bool packet);

// For splice: all with the lock held.
// Waits until there is data. 1: there is; 0: end of file; -EAGAIN, -ERESTARTSYS.
int pipe_wait_data(struct pipe *p, bool nonblock);
// Waits until there is a free slot; -EPIPE (without the signal) when nobody reads.
int pipe_wait_room(struct pipe *p, bool nonblock);
// The first slot leaves the ring; it comes back by pipe_put_back (if bytes are left in it) or its
// page is put. `held` counts it until then.
struct pipe_buf pipe_take(struct pipe *p);
void pipe_put_back(struct pipe *p, const struct pipe_buf *b);
void pipe_append(struct pipe *p, const struct pipe_buf *b); // there is room
