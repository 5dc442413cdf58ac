// SPDX-License-Identifier: Apache-2.0
// The supervisor: what the command line becomes once the sandbox is started. Each container has one;
// that of a container which joined another's sandbox (a pod) has no Sentry of its own to watch. No capabilities, a
// short filter, no parsing but of small fixed messages.
#pragma once
#include "cmd/launch.h"
#include "oci/state.h"
#include <signal.h>
#include <sys/types.h>

struct supervised {
    pid_t pid; // 0: none
    int pidfd, control;
};
// Another nacre command, connected to the state directory's control socket.
constexpr int SUPERVISOR_CLIENTS = 64;
struct client {
    int fd;         // -1: free
    uint32_t token; // the Sentry's name for it; never used twice
    uint32_t kind;  // of the request that is being worked on; 0: none
    bool process;   // runs a process of its own (exec)
};
struct supervisor {
    struct supervised sentry, gofer;
    bool member;         // the Sentry is another supervisor's: only the socket to it is ours
    int sigfd;
    int tty; // the caller's terminal, or -1
    unsigned char tty_modes[64]; // the kernel's struct termios
    bool debug;
    struct state *state; // null: none
    int janitor, janitor_fd; // it removes our cgroup once the descriptor is closed; 0: none
    bool detached;       // the state directory stays, for `delete`
    bool keep;           // it stays in any case (run --keep)
    bool hold;           // the program waits for `start`
    bool unwanted;       // who waited for its start was killed
    bool ending;         // member: we have asked for its end
    int notify;          // who waits for the end of the start, or -1
    uid_t uid;           // whose commands are obeyed, beside root's
    enum container_status status;
    uint32_t last_token;
    struct client clients[SUPERVISOR_CLIENTS];
};
// Blocks the signals that are to be forwarded and opens the signalfd. First of all.
MUST_CHECK int supervise_signals(struct supervisor *s, struct err *e);
void supervise_signal_set(sigset_t *set); // those that are forwarded
// Kills and reaps whatever was started.
void supervise_abort(struct supervisor *s);
// Confines this process and runs until the sandbox is gone. The exit status; *e is filled in when
// it is not the program's own.
int supervise_run(struct supervisor *s, struct err *e);

// --- requests.c: the control socket ---
void clients_init(struct supervisor *s);
void client_accept(struct supervisor *s);
// c's socket has something, or is at its end.
void client_serve(struct supervisor *s, struct client *c);
// An answer of the Sentry.
void client_answer(struct supervisor *s, const struct ctl_msg *m);
// The container is gone: those that wait hear its exit status; all are let go.
void clients_end(struct supervisor *s, int status);
