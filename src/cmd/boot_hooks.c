// SPDX-License-Identifier: Apache-2.0
// Hooks of the kind startContainer, see boot_task.h: each is a process of the container like those
// of exec, with the first program's rights, hook.env as its environment and the state on standard
// input. The host never runs a program of an image.
#include "abi/errno.h"
#include "base/slab.h"
#include "cmd/boot_task.h"
#include "fs/pipe.h"
#include "sched/waitq.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

// What a hook writes to one of its streams; the beginning of it is told if it fails.
struct hook_output {
    struct file *from; // owned; null: none
    char text[300];
    size_t len;
};
struct hook_run {
    struct hook_output out, err;
    struct waitq wait;
    bool done;   // [A]
    int status;  // before done
    struct ref ref; // ours, and the exit hook's: it wakes after the end is seen
};
static void run_put(struct hook_run *r)
{
    if (!ref_put(&r->ref))
        return;
    if (r->out.from)
        file_put(r->out.from);
    if (r->err.from)
        file_put(r->err.from);
    mem_free(r);
}

void boot_hooks_take(struct boot_container *b, struct boot_config *c)
{
    struct spec *s = c->spec;
    if (s->hooks[HOOK_START_CONTAINER].n == 0)
        return;
    b->hooks = s->hooks[HOOK_START_CONTAINER];
    s->hooks[HOOK_START_CONTAINER] = (struct spec_hooks){};
    b->hook_state = c->hook_state;
    c->hook_state = nullptr;
    b->hook_process = s->process;
    s->process = (struct spec_process){};
    b->hook_process.terminal = false;
}

void boot_hooks_free(struct boot_container *b)
{
    spec_hooks_free(&b->hooks);
    mem_free(b->hook_state);
    spec_process_free(&b->hook_process);
}

static void on_hook_exit(struct thread_group *g, int wait_status, void *arg)
{
    struct hook_run *r = arg;
    (void)g;
    r->status = wait_status;
    __atomic_store_n(&r->done, true, __ATOMIC_SEQ_CST);
    waitq_wake_all(&r->wait, ~0u);
    run_put(r);
}

// We read without waiting, the hook writes as usual.
static int open_output(struct boot_container *b, struct hook_output *o, struct file **w)
{
    int err = pipe_create(O_NONBLOCK, b->fs.cred, &o->from, w);
    if (!err)
        (*w)->flags &= ~(uint32_t)O_NONBLOCK;
    return err;
}
// Takes what is there, so that the hook need not wait; keeps what there is room for.
static void read_output(struct hook_output *o)
{
    char buf[512];
    for (;;) {
        struct uiovec v;
        struct uio u = uio_kernel(&v, buf, sizeof(buf));
        long r = file_read(o->from, &u, nullptr);
        if (r <= 0)
            return;
        size_t k = MIN((size_t)r, sizeof(o->text) - 1 - o->len);
        memcpy(o->text + o->len, buf, k);
        o->len += k;
    }
}

// A pipe that holds the state and has no writer any more; pipes for output.
static int open_streams(struct boot_container *b, struct hook_run *run, struct init_args *a)
{
    struct file *w;
    int err = pipe_create(O_NONBLOCK, b->fs.cred, &a->stdio[0], &w);
    if (err)
        return err;
    struct uiovec v;
    size_t n = b->hook_state ? strlen(b->hook_state) : 0;
    struct uio u = uio_kernel(&v, b->hook_state, n);
    long r = n ? file_write(w, &u, nullptr) : 0;
    file_put(w);
    if (r != (long)n)
        return r < 0 ? (int)r : -E2BIG; // more annotations than a pipe holds
    a->stdio[0]->flags &= ~(uint32_t)O_NONBLOCK;
    err = open_output(b, &run->out, &a->stdio[1]);
    return err ? err : open_output(b, &run->err, &a->stdio[2]);
}

static int follow(struct hook_run *r, struct task *t, uint32_t timeout)
{
    constexpr ktime_t second = 1000000000, look = second / 50; // for output
    ktime_t end = timeout ? ktime_now() + timeout * second : KTIME_MAX;
    for (bool late = false; !late;) {
        ktime_t next = MIN(ktime_now() + look, end);
        int err = wait_event(&r->wait, __atomic_load_n(&r->done, __ATOMIC_SEQ_CST), next,
                             PARK_UNINTERRUPTIBLE);
        read_output(&r->out);
        read_output(&r->err);
        if (!err)
            return 0;
        late = ktime_now() >= end;
    }
    siginfo_t si;
    siginfo_kernel(&si, SIGKILL);
    signal_send_group(t->group, &si);
    (void)wait_event(&r->wait, __atomic_load_n(&r->done, __ATOMIC_SEQ_CST), KTIME_MAX,
                     PARK_UNINTERRUPTIBLE);
    return -ETIMEDOUT;
}

static int run(struct boot_container *b, struct spec_hook *h, char *why, size_t n)
{
    struct hook_run *r = mem_alloc(sizeof(*r));
    struct task *t;
    int none[3] = {-1, -1, -1};
    if (!r) {
        snprintf(why, n, "out of memory");
        return 1;
    }
    waitq_init(&r->wait);
    ref_init(&r->ref);
    struct spec_process p = b->hook_process;
    char *path[1] = {h->path}, root[] = "/";
    p.args = h->args.n ? h->args : (struct strlist){path, 1};
    p.env = h->env;
    p.cwd = root;
    struct init_args a = {.join = b->first, .hold = true, .ipc = b->ipc, .program = h->path,
                          .exit_hook = on_hook_exit, .exit_hook_arg = r};
    int err = open_streams(b, r, &a), status = 1;
    if (err)
        snprintf(why, n, "standard streams: %s", strerror(-err));
    else
        status = boot_create_process(b, &a, &p, none, &t, why, n);
    for (int i = 0; i < 3; i++)
        if (a.stdio[i])
            file_put(a.stdio[i]);
    if (!status) {
        ref_get(&r->ref);
        task_start_held(t);
        if (follow(r, t, h->timeout))
            snprintf(why, n, "hook ran past specified timeout of %u.0s", h->timeout);
        else if (WIFSIGNALED(r->status))
            snprintf(why, n, "signal: %s, stdout: %s, stderr: %s", strsignal(WTERMSIG(r->status)),
                     r->out.text, r->err.text);
        else
            snprintf(why, n, "exit status %d, stdout: %s, stderr: %s", WEXITSTATUS(r->status),
                     r->out.text, r->err.text);
        status = r->status ? 1 : 0;
        task_put(t);
    }
    run_put(r);
    return status;
}

int boot_hooks_run(struct boot_container *b, char *text, size_t n)
{
    char why[700];
    for (size_t i = 0; i < b->hooks.n; i++)
        if (run(b, &b->hooks.v[i], why, sizeof(why))) {
            snprintf(text, n, "error running startContainer hook #%zu: %s", i, why);
            return 1;
        }
    return 0;
}
