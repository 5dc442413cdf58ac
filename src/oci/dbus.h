// SPDX-License-Identifier: Apache-2.0
// As much of D-Bus as it takes to ask systemd for a scope: one connection, method calls, replies and
// signals. Little-endian, protocol 1. What comes back is the bus's: checked, lengths first.
#pragma once
#include "base/span.h"
#include "base/strbuf.h"
#include "oci/err.h"

struct dbus {
    int fd;
    uint32_t serial;
    bool direct; // a socket of systemd's own, without a bus between
};
// Writers: aligned to the start of the message's body.
void dbus_put_u32(struct strbuf *b, uint32_t v);
void dbus_put_u64(struct strbuf *b, uint64_t v);
void dbus_put_str(struct strbuf *b, const char *s); // also object paths
void dbus_put_sig(struct strbuf *b, const char *s);
void dbus_align(struct strbuf *b, size_t n);
// Array of elements that are aligned to `align`: returns where its length goes, for dbus_array_end().
size_t dbus_array_begin(struct strbuf *b, size_t align);
void dbus_array_end(struct strbuf *b, size_t at, size_t align);

// One message, whole: what is needed of its header, and the body.
struct dbus_message {
    uint8_t type; // 1 call, 2 return, 3 error, 4 signal
    uint32_t serial, reply_to;
    char member[128], error[128], signature[128];
    struct span body;
};
// From a whole message; -EBADMSG. Hostile.
MUST_CHECK int dbus_parse(struct dbus_message *m, const void *p, size_t n);
// The length of the message that begins with these 16 bytes, or -EBADMSG.
MUST_CHECK int64_t dbus_length(const uint8_t head[16]);
// A string of the body; null: there is none. Owned by the caller.
char *dbus_take_str(struct span *body, const void *start);

// To the system's manager, or the caller's own.
MUST_CHECK int dbus_open(struct dbus *d, bool user, struct err *e);
void dbus_close(struct dbus *d);
// Calls a method of systemd's manager. The reply's first string in *reply if asked (owned).
MUST_CHECK int dbus_call(struct dbus *d, const char *member, const char *signature,
                         const struct strbuf *body, char **reply, struct err *e);
// A property of the manager that is a text (owned).
MUST_CHECK int dbus_property(struct dbus *d, const char *name, char **value, struct err *e);
// Waits for the signal JobRemoved of that job; its result ("done") in result.
MUST_CHECK int dbus_await_job(struct dbus *d, const char *job, char *result, size_t n, struct err *e);
// The bytes of a call.
void dbus_build_call(struct strbuf *out, uint32_t serial, bool direct, const char *destination,
                     const char *path, const char *interface, const char *member,
                     const char *signature, const struct strbuf *body);
