// SPDX-License-Identifier: Apache-2.0
// The container's processes that are started from outside: its first program, those of exec; and
// the requests of the supervisor. Inside the Sentry, after lockdown.
#pragma once
#include "cmd/boot_fs.h"
#include "task/task.h"

// boot_task.c: processes. Loads the first program; starts it unless the configuration holds it.
void boot_start_program(struct boot_config *c, struct boot_fs *b);
struct exec_request {
    uint32_t token;
    struct spec_process *process;
    int stdio[3]; // owned; -1: closed
};
// A further process. 0, or an exit status with the reason in text. r keeps nothing that is used.
int boot_exec(struct exec_request *r, char *text, size_t n);
void boot_exec_signal(uint32_t token, int sig); // SIGWINCH: the terminal has another size
void boot_exec_hangup(uint32_t token);

struct boot_tasks {
    struct task *first;   // ref: the container's first process
    bool held;            // [A] it waits for CTL_START
};
extern struct boot_tasks boot_tasks;

// boot_ctl.c: listens to the supervisor.
void boot_control_open(void);
