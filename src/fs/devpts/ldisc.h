// SPDX-License-Identifier: Apache-2.0
// The N_TTY line discipline (termios(3)) as a machine without locks or waiting: bytes from the
// master go in, bytes for the reader and bytes for the master (echo, output) come out. The pty
// around it locks, waits, wakes and sends the signals that are asked for in `signals`.
#pragma once
#include "base/attr.h"
#include <asm/termbits.h>

constexpr uint32_t LDISC_IN = 4096;      // input line buffer, as Linux's
constexpr uint32_t LDISC_OUT = 65536;    // towards the master
constexpr uint32_t LDISC_ECHO = 4096;    // echo may go beyond LDISC_OUT by this much

struct ldisc {
    struct termios2 tio;
    // Input: free-running indices into in[]. [tail, canon) is complete lines (canonical mode),
    // [tail, head) everything.
    uint8_t in[LDISC_IN];
    uint8_t in_flag[LDISC_IN / 8];       // this byte ends a line
    uint32_t head, canon, tail;
    bool lnext, erasing;                 // after VLNEXT; inside \.../ of ECHOPRT
    bool stopped;                        // output stopped by VSTOP or TCOOFF
    uint32_t column, canon_column;       // of the output cursor
    // Output: a ring.
    uint8_t out[LDISC_OUT + LDISC_ECHO];
    uint32_t out_tail, out_len;
    uint64_t signals;                    // asked for: bit n = signal n
    uint8_t pkt;                         // TIOCPKT_* to tell a master in packet mode
};
void ldisc_init(struct ldisc *l);
// New settings (already merged into *tio by the caller).
void ldisc_set_termios(struct ldisc *l, const struct termios2 *tio);
// How many bytes ldisc_receive may get now; 0: the reader has to read first.
size_t ldisc_room(const struct ldisc *l);
void ldisc_receive(struct ldisc *l, const uint8_t *p, size_t n);
// Is there something for a reader? poll: as poll(2) sees it (VMIN counts).
bool ldisc_readable(const struct ldisc *l, bool poll);
// Takes up to n bytes: at most one line in canonical mode. *eol: the line (or end of file) is
// complete, so the read must return even with 0 bytes.
size_t ldisc_read(struct ldisc *l, uint8_t *p, size_t n, bool *eol);
// Bytes that FIONREAD counts.
size_t ldisc_count(const struct ldisc *l);
// Output processing of what the slave writes: bytes taken.
size_t ldisc_write(struct ldisc *l, const uint8_t *p, size_t n);
static inline size_t ldisc_out_room(const struct ldisc *l)
{
    return l->out_len < LDISC_OUT ? LDISC_OUT - l->out_len : 0;
}
size_t ldisc_out_take(struct ldisc *l, uint8_t *p, size_t n); // for the master's read
void ldisc_flush_in(struct ldisc *l);
void ldisc_flush_out(struct ldisc *l);
void ldisc_set_stopped(struct ldisc *l, bool stopped);
