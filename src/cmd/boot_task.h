// SPDX-License-Identifier: Apache-2.0
// The containers of this sandbox, their processes that are started from outside (the first program,
// those of exec), and the requests of the processes that stand for them outside. Inside the Sentry,
// after lockdown.
//
// The first container is the sandbox itself: with its end everything ends. Others join it (pods),
// each with a control socket, a Gofer and mounts of its own. Below the Sentry they are one trust
// domain; inside it they see of each other what their configurations share.
#pragma once
#include "base/list.h"
#include "cmd/boot_fs.h"
#include "sched/fiber.h"
#include "task/task.h"

struct boot_container {
    struct list link;             // [containers_lock]
    struct ref ref;               // the list's, a request's, a process's of exec
    char *id;                     // [C] owned
    bool sandbox;                 // [C]
    bool strace;                  // [C]
    int fd;                       // [C] owned: to the one who stands for it
    struct hostpoll control;      // of fd, while `listening`
    bool listening, ended;        // [A]
    bool ready;                   // [A] its first process is there
    struct boot_fs fs;            // [C] once it is running
    struct task_container *tasks; // [C] ref
    struct pzygote *zygote;       // [C] owned: where their processes come from; null: the sandbox's
    struct ipcns *ipc;            // [C] ref
    struct task *first;           // [C] ref: its first process
    struct file *terminal;        // [C] ref: of that one, or null
    struct spec_seccomp seccomp;  // [C] owned: the profile that all its processes start with
    bool held;                    // [A] it waits for CTL_START
    int preserve[PRESERVE_MAX];   // [C] descriptors for the first program, from 3 on; then -1
    int npreserve;                // [C]
    struct spec_hooks hooks;      // [C] startContainer: to be run before it
    char *hook_state;             // [C] owned: what they hear; null without any
    struct spec_process hook_process; // [C] whose rights they have
};
// boot_pod.c: the containers.
MUST_CHECK struct boot_container *boot_container_new(const char *id, int fd, bool sandbox);
struct boot_container *boot_container_get(struct boot_container *b);
void boot_container_put(struct boot_container *b);
// Mounts and the first program. 0, or an exit status with the reason in text. fds: the program's
// standard streams; those that it took are -1 afterwards.
MUST_CHECK int boot_container_build(struct boot_container *b, struct boot_config *c, int ninep,
                                    int fds[3], char *text, size_t n);
// CTL_JOIN: control socket, configuration, socket to the Gofer, then standard streams by the bits of
// `streams`; those that are kept become -1. Answers; what comes after that goes to the new socket.
void boot_join(struct boot_container *sandbox, uint32_t token, int *fds, int nfds, int streams);
void boot_machine_changed(void); // limits: for the tasks of all of them
// Nobody stands for it any more.
void boot_container_abandon(struct boot_container *b);

// boot_task.c: processes. Loads the first program, which waits for task_start_held(). In a: the exit
// hook and what it shares with other containers.
MUST_CHECK int boot_start_program(struct boot_container *b, struct boot_config *c,
                                  struct init_args *a, int fds[3], char *text, size_t n);
// Makes a process, what all kinds have in common: process -> a. 0, or an exit status with text.
MUST_CHECK int boot_create_process(struct boot_container *b, struct init_args *a,
                                   struct spec_process *p, int fds[3], struct task **out,
                                   char *text, size_t n);
// Host descriptors as files of the guest, at a->more; taken ones become -1. As above.
MUST_CHECK int boot_open_more(struct init_args *a, int *fds, int nfds, const struct cred *c,
                              char *text, size_t n);
void boot_put_more(struct init_args *a);
struct exec_request {
    uint32_t token;
    struct spec_process *process;
    int stdio[3]; // owned; -1: closed
    int *more, nmore; // owned: from descriptor 3 on
};
// A further process. 0, or an exit status with the reason in text. r keeps nothing that is used.
MUST_CHECK int boot_exec(struct boot_container *b, struct exec_request *r, char *text, size_t n);
void boot_exec_signal(struct boot_container *b, uint32_t token, int sig); // SIGWINCH: another size
void boot_exec_hangup(struct boot_container *b, uint32_t token);

// boot_hooks.c: hooks of the kind startContainer are processes of the container. Takes from c what
// they need; runs them, before the first program starts. 0, or an exit status with the reason.
void boot_hooks_take(struct boot_container *b, struct boot_config *c);
void boot_hooks_free(struct boot_container *b);
MUST_CHECK int boot_hooks_run(struct boot_container *b, char *text, size_t n);

// boot_ctl.c: listens to the one who stands for it.
MUST_CHECK int boot_control_open(struct boot_container *b);
void boot_signal(struct boot_container *b, int sig, bool everybody);
// The limits at the start: of the machine that the guest sees, and of polling.
uint32_t boot_set_limits(const struct boot_config *c);
