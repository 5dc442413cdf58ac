// SPDX-License-Identifier: Apache-2.0
// N_TTY: see ldisc.h. Follows termios(3) and what Linux does where that is silent.
#include "fs/devpts/ldisc.h"
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#define IFLAG(f) (l->tio.c_iflag & (f))
#define LFLAG(f) (l->tio.c_lflag & (f))
#define OFLAG(f) (l->tio.c_oflag & (f))

static bool is_cc(const struct ldisc *l, int which, uint8_t c)
{
    return l->tio.c_cc[which] != 0 && l->tio.c_cc[which] == c; // 0 is _POSIX_VDISABLE
}
static uint8_t in_at(const struct ldisc *l, uint32_t i)
{
    return l->in[i % LDISC_IN];
}
static bool flag_at(const struct ldisc *l, uint32_t i)
{
    return l->in_flag[i % LDISC_IN / 8] >> (i % 8) & 1;
}
static void set_flag(struct ldisc *l, uint32_t i, bool on)
{
    uint8_t bit = (uint8_t)(1u << (i % 8)), *p = &l->in_flag[i % LDISC_IN / 8];
    *p = (uint8_t)(on ? *p | bit : *p & ~bit);
}

void ldisc_init(struct ldisc *l)
{
    static const uint8_t cc[NCCS] = {
        [VINTR] = 3, [VQUIT] = 28, [VERASE] = 127, [VKILL] = 21, [VEOF] = 4, [VMIN] = 1,
        [VSTART] = 17, [VSTOP] = 19, [VSUSP] = 26, [VREPRINT] = 18, [VDISCARD] = 15,
        [VWERASE] = 23, [VLNEXT] = 22};
    l->tio = (struct termios2){
        .c_iflag = ICRNL | IXON,
        .c_oflag = OPOST | ONLCR,
        .c_cflag = B38400 | CS8 | CREAD,
        .c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        .c_ispeed = 38400,
        .c_ospeed = 38400,
    };
    memcpy(l->tio.c_cc, cc, sizeof(cc));
}

// --- output ------------------------------------------------------------------------------------
static bool out_put(struct ldisc *l, uint8_t c, uint32_t limit)
{
    if (l->out_len >= limit)
        return false;
    l->out[(l->out_tail + l->out_len++) % sizeof(l->out)] = c;
    return true;
}

static uint32_t out_space(const struct ldisc *l, uint32_t limit)
{
    return l->out_len < limit ? limit - l->out_len : 0;
}

static bool utf8_continuation(const struct ldisc *l, uint8_t c)
{
    return IFLAG(IUTF8) && (c & 0xc0) == 0x80;
}

// A tab; with XTABS as the spaces that it stands for.
static bool opost_tab(struct ldisc *l, uint32_t limit)
{
    uint32_t spaces = 8 - (l->column & 7), space = out_space(l, limit);
    bool expand = OFLAG(TABDLY) == XTABS;
    if (space < (expand ? spaces : 1))
        return false;
    l->column += spaces;
    for (uint32_t i = 0; expand && i < spaces; i++)
        out_put(l, ' ', limit);
    return expand || out_put(l, '\t', limit);
}

// One byte through OPOST. False: no room, nothing done.
static bool opost(struct ldisc *l, uint8_t c, uint32_t limit)
{
    if (!OFLAG(OPOST))
        return out_put(l, c, limit);
    uint32_t space = out_space(l, limit);
    switch (c) {
    case '\n':
        if (OFLAG(ONLRET))
            l->column = 0;
        if (OFLAG(ONLCR)) {
            if (space < 2)
                return false;
            l->canon_column = l->column = 0;
            out_put(l, '\r', limit);
            return out_put(l, '\n', limit);
        }
        if (!space)
            return false;
        l->canon_column = l->column;
        break;
    case '\r':
        if (OFLAG(ONOCR) && l->column == 0)
            return true;
        if (!space)
            return false;
        if (OFLAG(OCRNL)) {
            c = '\n';
            if (OFLAG(ONLRET))
                l->canon_column = l->column = 0;
            break;
        }
        l->canon_column = l->column = 0;
        break;
    case '\t':
        return opost_tab(l, limit);
    case '\b':
        if (!space)
            return false;
        if (l->column > 0)
            l->column--;
        break;
    default:
        if (!space)
            return false;
        if (c >= ' ' && c != 127) {
            if (OFLAG(OLCUC) && c >= 'a' && c <= 'z')
                c = (uint8_t)(c - 'a' + 'A');
            if (!utf8_continuation(l, c))
                l->column++;
        }
        break;
    }
    return out_put(l, c, limit);
}

size_t ldisc_write(struct ldisc *l, const uint8_t *p, size_t n)
{
    size_t i = 0;
    if (l->stopped)
        return 0;
    while (i < n && opost(l, p[i], LDISC_OUT))
        i++;
    return i;
}

size_t ldisc_out_take(struct ldisc *l, uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n && l->out_len) {
        size_t run = MIN(MIN(n - i, (size_t)l->out_len), sizeof(l->out) - l->out_tail);
        memcpy(p + i, l->out + l->out_tail, run);
        l->out_tail = (uint32_t)((l->out_tail + run) % sizeof(l->out));
        l->out_len -= (uint32_t)run;
        i += run;
    }
    return i;
}

void ldisc_flush_out(struct ldisc *l)
{
    l->out_tail = l->out_len = 0;
}

void ldisc_set_stopped(struct ldisc *l, bool stopped)
{
    if (l->stopped == stopped)
        return;
    l->stopped = stopped;
    l->pkt &= (uint8_t)~(TIOCPKT_STOP | TIOCPKT_START);
    l->pkt |= stopped ? TIOCPKT_STOP : TIOCPKT_START;
}

// --- echo --------------------------------------------------------------------------------------
static void echo_raw(struct ldisc *l, uint8_t c)
{
    opost(l, c, sizeof(l->out));
}

static bool is_control(uint8_t c)
{
    return c < ' ' || c == 127;
}

static void echo(struct ldisc *l, uint8_t c)
{
    if (LFLAG(ECHOCTL) && is_control(c) && c != '\t') {
        echo_raw(l, '^');
        echo_raw(l, c ^ 0100);
        return;
    }
    echo_raw(l, c);
}

static void echo_str(struct ldisc *l, const char *s)
{
    while (*s)
        echo_raw(l, (uint8_t)*s++);
}

// --- erasing -----------------------------------------------------------------------------------
static void finish_erasing(struct ldisc *l)
{
    if (l->erasing) {
        echo_raw(l, '/');
        l->erasing = false;
    }
}

// Width on the screen of what stands before position i of the current line.
static uint32_t width_before(const struct ldisc *l, uint32_t i)
{
    uint32_t col = l->canon_column;
    for (uint32_t k = l->canon; k != i; k++) {
        uint8_t c = in_at(l, k);
        if (c == '\t')
            col = (col | 7) + 1;
        else if (is_control(c))
            col += LFLAG(ECHOCTL) ? 2 : 0;
        else if (!utf8_continuation(l, c))
            col++;
    }
    return col;
}

static void erase_echo(struct ldisc *l, uint8_t c)
{
    if (LFLAG(ECHOPRT)) {
        if (!l->erasing) {
            echo_raw(l, '\\');
            l->erasing = true;
        }
        echo(l, c);
        return;
    }
    if (!LFLAG(ECHOE)) {
        echo(l, l->tio.c_cc[VERASE]);
        return;
    }
    if (c == '\t') {
        uint32_t to = width_before(l, l->head);
        while (l->column > to)
            echo_raw(l, '\b');
        return;
    }
    uint32_t n = is_control(c) ? (LFLAG(ECHOCTL) ? 2 : 0) : 1;
    while (n--)
        echo_str(l, "\b \b");
}

// Removes the last character (all bytes of a UTF-8 one). False: the line is empty.
static bool erase_one(struct ldisc *l, bool show)
{
    if (l->head == l->canon)
        return false;
    uint8_t c;
    do {
        c = in_at(l, --l->head);
    } while (utf8_continuation(l, c) && l->head != l->canon);
    if (show && LFLAG(ECHO))
        erase_echo(l, c);
    return true;
}

static bool is_word(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c >= 128;
}

static void eraser(struct ldisc *l, uint8_t c)
{
    if (l->head == l->canon)
        return;
    if (is_cc(l, VERASE, c)) {
        erase_one(l, true);
        return;
    }
    if (is_cc(l, VWERASE, c)) {
        bool seen = false;
        while (l->head != l->canon) {
            bool word = is_word(in_at(l, l->head - 1));
            if (seen && !word)
                break;
            seen |= word;
            erase_one(l, true);
        }
        return;
    }
    // VKILL
    if (!LFLAG(ECHO)) {
        l->head = l->canon;
        return;
    }
    if (!LFLAG(ECHOK) || !LFLAG(ECHOKE) || !LFLAG(ECHOE)) {
        l->head = l->canon;
        finish_erasing(l);
        echo(l, c);
        if (LFLAG(ECHOK))
            echo_raw(l, '\n');
        return;
    }
    while (erase_one(l, true))
        ;
}

// --- input -------------------------------------------------------------------------------------
static bool in_full(const struct ldisc *l)
{
    return l->head - l->tail >= LDISC_IN - 1;
}

static void in_put(struct ldisc *l, uint8_t c)
{
    set_flag(l, l->head, false);
    l->in[l->head++ % LDISC_IN] = c;
}

static void end_line(struct ldisc *l, uint8_t c)
{
    if (l->head - l->tail >= LDISC_IN) // no place left (PARMRK doubles bytes): over the last one
        l->head--;
    uint32_t at = l->head;
    in_put(l, c);
    set_flag(l, at, true);
    l->canon = l->head;
}

static void raise_signal(struct ldisc *l, int sig, uint8_t c)
{
    if (!LFLAG(NOFLSH)) {
        ldisc_flush_in(l);
        ldisc_flush_out(l);
        l->pkt |= TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE;
    }
    if (IFLAG(IXON))
        ldisc_set_stopped(l, false);
    if (LFLAG(ECHO))
        echo(l, c);
    l->signals |= 1ull << sig;
}

// Flow control and signal characters. True: the byte was one.
static bool receive_control(struct ldisc *l, uint8_t c)
{
    if (IFLAG(IXON)) {
        if (is_cc(l, VSTART, c)) {
            ldisc_set_stopped(l, false);
            return true;
        }
        if (is_cc(l, VSTOP, c)) {
            ldisc_set_stopped(l, true);
            return true;
        }
    }
    if (!LFLAG(ISIG))
        return false;
    int sig = is_cc(l, VINTR, c) ? SIGINT : is_cc(l, VQUIT, c) ? SIGQUIT : is_cc(l, VSUSP, c) ? SIGTSTP : 0;
    if (sig)
        raise_signal(l, sig, c);
    return sig;
}

static void reprint(struct ldisc *l, uint8_t c)
{
    finish_erasing(l);
    echo(l, c);
    echo_raw(l, '\n');
    for (uint32_t i = l->canon; i != l->head; i++)
        echo(l, in_at(l, i));
}

// Canonical editing and line ends. True: dealt with.
static bool receive_canon(struct ldisc *l, uint8_t c)
{
    if (is_cc(l, VERASE, c) || is_cc(l, VKILL, c) || (is_cc(l, VWERASE, c) && LFLAG(IEXTEN))) {
        eraser(l, c);
        return true;
    }
    if (is_cc(l, VLNEXT, c) && LFLAG(IEXTEN)) {
        l->lnext = true;
        if (LFLAG(ECHO)) {
            finish_erasing(l);
            if (LFLAG(ECHOCTL)) {
                echo_raw(l, '^');
                echo_raw(l, '\b');
            }
        }
        return true;
    }
    if (is_cc(l, VREPRINT, c) && LFLAG(ECHO) && LFLAG(IEXTEN)) {
        reprint(l, c);
        return true;
    }
    if (c == '\n') {
        if (LFLAG(ECHO) || LFLAG(ECHONL))
            echo_raw(l, '\n');
        end_line(l, c);
        return true;
    }
    if (is_cc(l, VEOF, c)) {
        end_line(l, 0); // never shown to the reader
        return true;
    }
    if (is_cc(l, VEOL, c) || (is_cc(l, VEOL2, c) && LFLAG(IEXTEN))) {
        if (LFLAG(ECHO)) {
            if (l->canon == l->head)
                l->canon_column = l->column;
            echo(l, c);
        }
        end_line(l, c);
        return true;
    }
    return false;
}

static void receive_plain(struct ldisc *l, uint8_t c)
{
    if (LFLAG(ECHO)) {
        finish_erasing(l);
        if (c == '\n') {
            echo_raw(l, '\n');
        } else {
            if (l->canon == l->head)
                l->canon_column = l->column;
            echo(l, c);
        }
    }
    if (c == 0xff && IFLAG(PARMRK))
        in_put(l, c);
    in_put(l, c);
}

static void receive_byte(struct ldisc *l, uint8_t c)
{
    if (IFLAG(ISTRIP))
        c &= 0x7f;
    if (IFLAG(IUCLC) && LFLAG(IEXTEN) && c >= 'A' && c <= 'Z')
        c = (uint8_t)(c - 'A' + 'a');
    bool quoted = l->lnext;
    l->lnext = false;
    if (!quoted) {
        if (l->stopped && IFLAG(IXON) && IFLAG(IXANY) && !is_cc(l, VSTOP, c) && !is_cc(l, VSTART, c))
            ldisc_set_stopped(l, false);
        if (receive_control(l, c))
            return;
        if (c == '\r') {
            if (IFLAG(IGNCR))
                return;
            if (IFLAG(ICRNL))
                c = '\n';
        } else if (c == '\n' && IFLAG(INLCR)) {
            c = '\r';
        }
        // A full line takes nothing but its end.
        bool full = in_full(l);
        if (LFLAG(ICANON) && (!full || c == '\n' || is_cc(l, VEOF, c) || is_cc(l, VERASE, c) ||
                              is_cc(l, VKILL, c) || is_cc(l, VWERASE, c))) {
            if (receive_canon(l, c))
                return;
        }
    }
    if (in_full(l)) {
        if (IFLAG(IMAXBEL))
            echo_raw(l, '\a');
        return;
    }
    receive_plain(l, c);
}

size_t ldisc_room(const struct ldisc *l)
{
    uint32_t used = l->head - l->tail;
    if (used < LDISC_IN - 1)
        return LDISC_IN - 1 - used;
    // A full buffer without a complete line: bytes are taken and dropped, so that the end can come.
    return LFLAG(ICANON) && l->canon == l->tail ? 1 : 0;
}

void ldisc_receive(struct ldisc *l, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        receive_byte(l, p[i]);
    if (!LFLAG(ICANON))
        l->canon = l->head;
}

// --- reading -----------------------------------------------------------------------------------
bool ldisc_readable(const struct ldisc *l, bool poll)
{
    if (LFLAG(ICANON))
        return l->canon != l->tail;
    uint32_t min = poll && !l->tio.c_cc[VTIME] && l->tio.c_cc[VMIN] ? l->tio.c_cc[VMIN] : 1;
    return l->head - l->tail >= min;
}

size_t ldisc_count(const struct ldisc *l)
{
    if (!LFLAG(ICANON))
        return l->head - l->tail;
    size_t n = 0;
    for (uint32_t i = l->tail; i != l->canon; i++)
        n += !(flag_at(l, i) && in_at(l, i) == 0);
    return n;
}

size_t ldisc_read(struct ldisc *l, uint8_t *p, size_t n, bool *eol)
{
    size_t got = 0;
    *eol = false;
    if (!LFLAG(ICANON)) {
        while (got < n && l->tail != l->head)
            p[got++] = in_at(l, l->tail++);
        l->canon = l->head;
        return got;
    }
    while (l->tail != l->canon) {
        uint8_t c = in_at(l, l->tail);
        bool end = flag_at(l, l->tail);
        if (end && c == 0) { // end of file takes no room
            l->tail++;
            *eol = true;
            break;
        }
        if (got == n)
            break;
        p[got++] = c;
        l->tail++;
        if (end) {
            *eol = true;
            break;
        }
    }
    return got;
}

void ldisc_flush_in(struct ldisc *l)
{
    l->tail = l->canon = l->head;
    l->lnext = l->erasing = false;
}

void ldisc_set_termios(struct ldisc *l, const struct termios2 *tio)
{
    bool was_canon = LFLAG(ICANON), ixon = IFLAG(IXON);
    bool flow_before = ixon && l->tio.c_cc[VSTOP] == 19 && l->tio.c_cc[VSTART] == 17;
    l->tio = *tio;
    if (was_canon != !!LFLAG(ICANON)) {
        if (LFLAG(ICANON) && l->head != l->tail) {
            // What is there already becomes readable as a line, as it was before.
            l->canon = l->head;
            set_flag(l, l->head - 1, true);
        } else {
            l->canon = l->head;
        }
        l->lnext = l->erasing = false;
    }
    if (ixon && !IFLAG(IXON))
        ldisc_set_stopped(l, false);
    bool flow = IFLAG(IXON) && l->tio.c_cc[VSTOP] == 19 && l->tio.c_cc[VSTART] == 17;
    if (flow != flow_before) {
        l->pkt &= (uint8_t)~(TIOCPKT_DOSTOP | TIOCPKT_NOSTOP);
        l->pkt |= flow ? TIOCPKT_DOSTOP : TIOCPKT_NOSTOP;
    }
}
