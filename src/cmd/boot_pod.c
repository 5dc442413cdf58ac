// SPDX-License-Identifier: Apache-2.0
// The containers of a sandbox from their configuration to their end, see boot_task.h. The supervisor
// of the sandbox passes on who wants to join; from then on the new container's own socket is used. A
// configuration comes from the command line, which we trust; it is read once.
#include "cmd/boot_task.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include "mem/mm.h"
#include "sched/waitq.h"
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

SLAB_DEFINE(boot_container_slab, struct boot_container);
static struct mutex containers_lock = MUTEX_INIT(containers_lock, RANK_NONE);
static struct list containers = LIST_INIT(containers); // [containers_lock]

struct boot_container *boot_container_new(const char *id, int fd, bool sandbox)
{
    struct boot_container *b = slab_alloc(&boot_container_slab);
    if (!b)
        return nullptr;
    if (!(b->id = mem_strdup(id))) {
        slab_free(&boot_container_slab, b);
        return nullptr;
    }
    ref_init(&b->ref);
    b->fd = fd;
    b->sandbox = sandbox;
    mutex_lock(&containers_lock);
    list_push_back(&containers, &b->link);
    mutex_unlock(&containers_lock);
    return b;
}

struct boot_container *boot_container_get(struct boot_container *b)
{
    ref_get(&b->ref);
    return b;
}

void boot_container_put(struct boot_container *b)
{
    if (!b || !ref_put(&b->ref))
        return;
    boot_fs_free(&b->fs);
    boot_hooks_free(b);
    if (b->first)
        task_put(b->first);
    if (b->terminal)
        file_put(b->terminal);
    if (b->zygote) // nothing of it can start any more
        mm_platform()->zygote_free(b->zygote);
    task_container_put(b->tasks);
    ipcns_put(b->ipc);
    host_call(__NR_close, b->fd);
    mem_free(b->seccomp.insns);
    mem_free(b->id);
    slab_free(&boot_container_slab, b);
}

// Off the list, its socket not listened to any more. Drops the list's reference.
static void container_remove(struct boot_container *b)
{
    if (__atomic_exchange_n(&b->listening, false, __ATOMIC_ACQ_REL))
        hostpoll_del(&b->control);
    mutex_lock(&containers_lock);
    list_del(&b->link);
    mutex_unlock(&containers_lock);
    boot_container_put(b);
}

static struct boot_container *container_find(const char *id)
{
    struct boot_container *found = nullptr;
    mutex_lock(&containers_lock);
    list_for_each(it, &containers) {
        struct boot_container *b = list_entry(it, struct boot_container, link);
        if (!found && strcmp(b->id, id) == 0 && __atomic_load_n(&b->ready, __ATOMIC_ACQUIRE))
            found = boot_container_get(b);
    }
    mutex_unlock(&containers_lock);
    return found;
}

void boot_machine_changed(void)
{
    struct list *it;
    struct boot_container *last = nullptr; // the one done; it keeps its place on the list meanwhile
    for (;;) {
        struct boot_container *b = nullptr;
        mutex_lock(&containers_lock);
        // From the start again if that one has ended: twice does no harm.
        it = last && !list_empty(&last->link) ? last->link.next : containers.next;
        for (; it != &containers && !b; it = it->next) {
            b = list_entry(it, struct boot_container, link);
            b = __atomic_load_n(&b->ready, __ATOMIC_ACQUIRE) ? boot_container_get(b) : nullptr;
        }
        mutex_unlock(&containers_lock);
        boot_container_put(last);
        if (!b)
            return;
        task_machine_changed(b->first);
        last = b;
    }
}

// --- the end ------------------------------------------------------------------------------------
// From the last fiber of its first process.
static void on_first_exit(struct thread_group *g, int wait_status, void *arg)
{
    struct boot_container *b = arg;
    (void)g;
    if (__atomic_exchange_n(&b->ended, true, __ATOMIC_ACQ_REL))
        return;
    if (!b->sandbox)
        task_end_all(b->first); // in a shared pid namespace the others live on
    ctl_tell(b->fd, CTL_EXITED, 0, wait_status, nullptr);
    if (b->sandbox && mm_platform()->report)
        mm_platform()->report();
    // Pid 1 of the namespace: the kernel kills and reaps every stub before our parent sees our end.
    while (b->sandbox)
        host_call(__NR_exit_group, 0);
    container_remove(b);
}

void boot_container_abandon(struct boot_container *b)
{
    if (!__atomic_load_n(&b->ended, __ATOMIC_ACQUIRE))
        boot_signal(b, SIGKILL, true);
}

// --- the beginning --------------------------------------------------------------------------------
// The namespaces that its configuration names by the containers that have them.
struct shared {
    struct boot_container *pid, *uts, *ipc; // refs, or null
};
static int shared_find(struct shared *s, const struct boot_config *c, char *text, size_t n)
{
    const struct {
        const char *id;
        struct boot_container **to;
    } want[] = {{c->pid_of, &s->pid}, {c->uts_of, &s->uts}, {c->ipc_of, &s->ipc}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        if (!want[i].id)
            continue;
        *want[i].to = container_find(want[i].id);
        if (!*want[i].to) {
            snprintf(text, n, "container %.255s, whose namespace is wanted, is not running",
                     want[i].id);
            return 1;
        }
    }
    return 0;
}
static void shared_put(struct shared *s)
{
    boot_container_put(s->pid);
    boot_container_put(s->uts);
    boot_container_put(s->ipc);
}

// A process from which all others of the container come, which the one who joins puts into the
// container's cgroups on the host before there are any: from then on the host's limits are its own.
struct answer {
    struct hostpoll poll;
    struct waitq q;
    bool there; // [A]
};
static void on_answer(struct hostpoll *hp, uint32_t events)
{
    struct answer *a = container_of(hp, struct answer, poll);
    (void)events;
    __atomic_store_n(&a->there, true, __ATOMIC_RELEASE);
    waitq_wake_all(&a->q, ~0u);
}
static int zygote_placed(struct boot_container *b)
{
    struct ctl_msg m;
    struct answer a = {.q = WAITQ_INIT(a.q)};
    int err = hostpoll_add(&a.poll, b->fd, EPOLLIN | EPOLLRDHUP | (uint32_t)EPOLLET, on_answer), n = 0;
    if (err)
        return err;
    long r;
    for (;;) {
        r = fd_recv(b->fd, &m, sizeof(m), nullptr, &n, MSG_DONTWAIT);
        if (r != -EAGAIN && r != -EINTR)
            break;
        err = wait_event(&a.q, __atomic_exchange_n(&a.there, false, __ATOMIC_ACQ_REL), KTIME_MAX,
                         PARK_UNINTERRUPTIBLE);
        CHECK(err == 0);
    }
    hostpoll_del(&a.poll);
    return r == sizeof(m) && m.kind == CTL_GO ? 0 : -EPIPE;
}
static int build_zygote(struct boot_container *b, char *text, size_t n)
{
    int pid = 0, err = mm_platform()->zygote_new(&b->zygote, &pid);
    if (!err) {
        b->tasks->zygote = b->zygote;
        ctl_tell(b->fd, CTL_ZYGOTE, 0, pid, nullptr);
        err = zygote_placed(b);
    }
    if (err)
        snprintf(text, n, "process for the container's cgroups: %s", strerror(-err));
    return err;
}

static int build_fs(struct boot_container *b, struct boot_config *c, int ninep)
{
    struct spec_process *p = &c->spec->process;
    int err = boot_fs_build(c, ninep, &b->fs);
    if (err)
        return err;
    boot_stage(c, "mounts");
    err = boot_resolve_user(p, &b->fs, &b->fs.err);
    if (p->user && p->uid != 0)
        p->caps[CAPS_EFFECTIVE] = p->caps[CAPS_PERMITTED] = 0;
    return err ? err : boot_fs_finish(c, &b->fs);
}

static int build(struct boot_container *b, struct boot_config *c, int ninep,
                 const struct shared *with, int fds[3], char *text, size_t n)
{
    uint64_t limit = c->spec->pids_limit;
    b->tasks = task_container_new(limit && limit < 1 << 22 ? (int)limit : 4096);
    b->ipc = with->ipc ? ipcns_get(with->ipc->ipc) : ipcns_new();
    if (!b->tasks || !b->ipc) {
        snprintf(text, n, "out of memory");
        host_call(__NR_close, ninep);
        return 1;
    }
    if (c->sandbox && c->own_cgroup && build_zygote(b, text, n)) {
        host_call(__NR_close, ninep);
        return 1;
    }
    b->strace = c->strace;
    b->fs.ipc = b->ipc;
    if (build_fs(b, c, ninep)) {
        snprintf(text, n, "%s", b->fs.err.text);
        return 1;
    }
    struct init_args a = {
        .exit_hook = on_first_exit, .exit_hook_arg = b, .ipc = b->ipc,
        .share_pid = with->pid ? with->pid->first : nullptr,
        .share_uts = with->uts ? with->uts->first : nullptr,
    };
    return boot_start_program(b, c, &a, fds, text, n);
}

int boot_container_build(struct boot_container *b, struct boot_config *c, int ninep, int fds[3],
                         char *text, size_t n)
{
    struct shared with = {};
    int status = shared_find(&with, c, text, n);
    if (status)
        host_call(__NR_close, ninep);
    else
        status = build(b, c, ninep, &with, fds, text, n);
    shared_put(&with);
    if (status)
        return status;
    b->held = c->hold;
    __atomic_store_n(&b->ready, true, __ATOMIC_RELEASE);
    boot_stage(c, "program loaded");
    if (!c->hold && boot_hooks_run(b, text, n)) {
        if (!b->sandbox)
            task_end_held(b->first, SIGKILL);
        return 1;
    }
    // Listening first: what ends it must be heard.
    ctl_tell(b->fd, CTL_STARTED, 0, 0, nullptr);
    int err = boot_control_open(b);
    if (err) {
        snprintf(text, n, "control socket: %s", strerror(-err));
        task_end_held(b->first, SIGKILL); // removes it
        return 1;
    }
    if (!c->hold)
        task_start_held(b->first);
    return 0;
}

// --- joining --------------------------------------------------------------------------------------
enum { JOIN_CONTROL, JOIN_CONFIG, JOIN_NINEP, JOIN_STREAMS };

// fds, taken over, one by one; -1 when it is not there.
static int take(int *fds, int nfds, int i)
{
    int fd = i < nfds ? fds[i] : -1;
    if (fd >= 0)
        fds[i] = -1;
    return fd;
}

// The new container, known by its name from here on; null with text.
static struct boot_container *join_begin(struct boot_config *c, int *fds, int nfds, char *text,
                                         size_t n)
{
    struct boot_container *same = c ? container_find(c->spec->id) : nullptr, *b = nullptr;
    if (!c || nfds < JOIN_STREAMS)
        snprintf(text, n, "malformed request");
    else if (same)
        snprintf(text, n, "container %.255s is in this sandbox already", c->spec->id);
    else if (!(b = boot_container_new(c->spec->id, fds[JOIN_CONTROL], false)))
        snprintf(text, n, "out of memory");
    else
        (void)take(fds, nfds, JOIN_CONTROL);
    boot_container_put(same);
    return b;
}

void boot_join(struct boot_container *sandbox, uint32_t token, int *fds, int nfds, int streams)
{
    char text[900];
    struct boot_config *c = nfds > JOIN_CONFIG ? boot_config_parse(fds[JOIN_CONFIG]) : nullptr;
    struct boot_container *b = join_begin(c, fds, nfds, text, sizeof(text));
    ctl_tell(sandbox->fd, CTL_REPLY, token, b ? 0 : 1, b ? nullptr : text);
    if (b) { // the list's reference is ours until it runs
        int stdio[3] = {-1, -1, -1}, next = JOIN_STREAMS;
        for (int i = 0; i < 3; i++)
            if (streams & 1 << i)
                stdio[i] = take(fds, nfds, next++);
        for (; next < nfds && b->npreserve < PRESERVE_MAX && b->npreserve < (int)c->npreserve; next++)
            b->preserve[b->npreserve++] = take(fds, nfds, next);
        boot_container_get(b);
        int status = boot_container_build(b, c, take(fds, nfds, JOIN_NINEP), stdio, text,
                                          sizeof(text));
        if (status) {
            ctl_tell(b->fd, CTL_FAILED, 0, status, text);
            if (!b->ready) // else its program's end removes it
                container_remove(b);
        }
        for (int i = 0; i < 3; i++)
            if (stdio[i] >= 0)
                host_call(__NR_close, stdio[i]);
        for (int i = 0; i < b->npreserve; i++) // those that became files are -1
            if (b->preserve[i] >= 0)
                host_call(__NR_close, b->preserve[i]);
        b->npreserve = 0;
        boot_container_put(b);
    }
    boot_config_free(c);
}
