// SPDX-License-Identifier: Apache-2.0
// A terminal for a program whose caller has one, but not on all standard streams (output into a
// pipe, say): the program gets a new host terminal, and the command stands between it and the
// caller's streams, as runc does. With all three on a terminal the program gets those themselves.
// Runs in the command, never in the confined supervisor. Only bytes pass; nothing in them is parsed.
#pragma once
#include "cmd/cmd.h"
#include <poll.h>
#include <signal.h>
#include <sys/types.h>
#include <termios.h>

constexpr int RELAY_POLL = 3;
struct relay {
    int master, slave; // slave: who becomes the program's session takes it; -1 afterwards
    int tty;           // the caller's terminal
    bool raw;          // its modes are to be put back
    struct termios modes;
    bool in_end, gone; // standard input has ended; nobody inside has the terminal any more
    size_t in_n, out_n;
    char in[4096], out[4096]; // what a pipe that is ready takes without blocking
};
// Is process.terminal to be served this way, in the foreground?
bool relay_wanted(void);
// Opens the terminal, with the size of the caller's. Fails, as runc, where there is none.
MUST_CHECK int relay_open(struct relay *r, const struct spec_process *p, struct err *e);
// The program runs in another process: our slave goes, keys of the caller's terminal are bytes now.
void relay_begin(struct relay *r);
void relay_poll(const struct relay *r, struct pollfd p[RELAY_POLL]);
void relay_step(struct relay *r, const struct pollfd p[RELAY_POLL]);
// Signals that came to us: the size of the terminal, or one to pass on to pid.
void relay_signal(struct relay *r, pid_t pid, int sig);
// The child has ended: passes on what is left, puts the caller's terminal right.
void relay_end(struct relay *r);
// Until the child has ended; its wait status.
int relay_run(struct relay *r, pid_t pid, int sigfd);
