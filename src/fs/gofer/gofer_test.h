// SPDX-License-Identifier: Apache-2.0
// Harness of the 9P client's tests, see gofer_test.c: a server in a child process, a fiber that works
// on its tree. In fibers: OK, EQ and CHECK, not cmocka's assertions.
#pragma once
#include "base/assert.h"
#include "fs/gofer/gfs.h"
#include "gofer/server.h"

struct setup {
    bool donate, exclusive, plain, readonly;
    uint32_t seed; // not 0: a server that lies
    char dir[64];
    int sock, hostdir;
    pid_t server;
    struct gofer_client *c;
    struct lookup_ctx ctx;
    struct super *sb;
};

#define OK(x)                                                          \
    ({                                                                 \
        long ok_v = (long)(x);                                         \
        if (ok_v < 0)                                                  \
            panic("%s:%d: %s gave %ld", __FILE__, __LINE__, #x, ok_v); \
        ok_v;                                                          \
    })
#define EQ(a, b)                                                                          \
    do {                                                                                  \
        long long eq_a = (long long)(a), eq_b = (long long)(b);                           \
        if (eq_a != eq_b)                                                                 \
            panic("%s:%d: %s is %lld, not %lld", __FILE__, __LINE__, #a, eq_a, eq_b);     \
    } while (0)

struct counter {
    struct dir_context dc;
    int n;
};
bool count_one(struct dir_context *dc, const char *name, size_t n, uint64_t ino, uint8_t dtype,
               int64_t next);
void serve(struct setup *s);              // starts the server
void clean(struct setup *s, int want);    // it has ended with this wait status; its tree goes
void mount_at_root(struct setup *s);
void last_one(void *arg);                 // of fiber_exit: the scheduler stops
[[noreturn]] void lying_server(struct setup *s, int sock, uint32_t seed); // gofer_lie_test.c
