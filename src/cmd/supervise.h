// SPDX-License-Identifier: Apache-2.0
// The supervisor: what the command line becomes once the sandbox is started. No capabilities, a
// filter of ten host calls, no parsing but of two small fixed messages.
#pragma once
#include "oci/state.h"
#include <sys/types.h>

struct supervised {
    pid_t pid; // 0: none
    int pidfd, control;
};
struct supervisor {
    struct supervised sentry, gofer;
    int sigfd;
    int tty; // the caller's terminal, or -1
    unsigned char tty_modes[64]; // the kernel's struct termios
    bool debug;
    struct state *state; // removed at the end; null: none
};
// Blocks the signals that are to be forwarded and opens the signalfd. First of all.
MUST_CHECK int supervise_signals(struct supervisor *s, struct err *e);
// Kills and reaps whatever was started.
void supervise_abort(struct supervisor *s);
// Confines this process and runs until the sandbox is gone. The exit status; *e is filled in when
// it is not the program's own.
int supervise_run(struct supervisor *s, struct err *e);
