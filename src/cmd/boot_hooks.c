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

struct hook_run {
    struct waitq wait;
    bool done;   // [A]
    int status;  // before done
    struct ref ref; // ours, and the exit hook's: it wakes after the end is seen
};
static void run_put(struct hook_run *r)
{
    if (ref_put(&r->ref))
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

// A pipe that holds the state and has no writer any more; where output goes.
static int open_streams(struct boot_container *b, struct init_args *a)
{
    struct lookup_ctx lc = {.fs = b->fs.fs, .cred = b->fs.cred};
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
    if (vfs_open(&lc, AT_FDCWD, "/dev/null", O_WRONLY, 0, LOOKUP_FOLLOW, &a->stdio[1]) == 0)
        a->stdio[2] = file_get(a->stdio[1]);
    return 0;
}

static int follow(struct hook_run *r, struct task *t, uint32_t timeout)
{
    constexpr ktime_t second = 1000000000;
    ktime_t end = timeout ? ktime_now() + timeout * second : KTIME_MAX;
    if (wait_event(&r->wait, __atomic_load_n(&r->done, __ATOMIC_SEQ_CST), end,
                   PARK_UNINTERRUPTIBLE) == 0)
        return 0;
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
    int err = open_streams(b, &a), status = 1;
    if (err)
        snprintf(why, n, "standard input: %s", strerror(-err));
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
            snprintf(why, n, "signal: %s", strsignal(WTERMSIG(r->status)));
        else
            snprintf(why, n, "exit status %d", WEXITSTATUS(r->status));
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
