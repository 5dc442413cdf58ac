// SPDX-License-Identifier: Apache-2.0
// Pseudo terminals: line discipline, job control, hang-up, ioctls.
#include "gt.h"
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

static int m, s;
static char sname[64];
static void open_pair(void)
{
    m = (int)GT_OK(posix_openpt(O_RDWR | O_NOCTTY));
    GT_OK(grantpt(m));
    GT_OK(unlockpt(m));
    GT_OK(ptsname_r(m, sname, sizeof(sname)));
    s = (int)GT_OK(open(sname, O_RDWR | O_NOCTTY));
}
static void flags(int clear_l, int set_l, int clear_i, int set_i, int clear_o, int set_o)
{
    struct termios t;
    GT_OK(tcgetattr(s, &t));
    t.c_lflag = (t.c_lflag & ~clear_l) | set_l;
    t.c_iflag = (t.c_iflag & ~clear_i) | set_i;
    t.c_oflag = (t.c_oflag & ~clear_o) | set_o;
    GT_OK(tcsetattr(s, TCSANOW, &t));
}
static int avail(int fd, int ms)
{
    struct pollfd p = {fd, POLLIN};
    return poll(&p, 1, ms) == 1 && (p.revents & POLLIN);
}
static void type(const char *t)
{
    GT_EQ(write(m, t, strlen(t)), strlen(t));
}
// What read returns must be exactly this text.
#define READS(fd, want)                                                              \
    do {                                                                             \
        char rb_[256] = {0};                                                         \
        if (!avail(fd, 2000))                                                        \
            GT_FAIL("nothing to read, wanted \"%s\"", want);                         \
        long rn_ = GT_OK(read(fd, rb_, sizeof(rb_) - 1));                            \
        if (rn_ != (long)strlen(want) || memcmp(rb_, want, rn_))                     \
            GT_FAIL("read %ld \"%s\", wanted \"%s\"", rn_, rb_, want);               \
    } while (0)
static volatile sig_atomic_t got;
static void on_sig(int x)
{
    got = x;
}

// One process with both ends: nobody reads, and nothing waits for that.
GT(nothing_to_drain)
{
    struct termios t;
    open_pair();
    flags(0, 0, 0, 0, OPOST, 0);
    GT_EQ(write(s, "out", 3), 3);
    GT_OK(tcdrain(s));
    GT_OK(tcsendbreak(s, 0));
    GT_OK(tcgetattr(s, &t));
    GT_OK(tcsetattr(s, TCSADRAIN, &t));
    type("typed\n");
    GT_TRUE(avail(s, 2000));
    GT_OK(tcsetattr(s, TCSAFLUSH, &t));
    GT_TRUE(!avail(s, 0));
    char got_all[16];
    for (int n = 0; n < 9; n += (int)GT_OK(read(m, got_all + n, sizeof(got_all) - n)))
        GT_TRUE(avail(m, 2000)); // the echo may come later
    GT_TRUE(!memcmp(got_all, "outtyped\n", 9));
}

GT(basics)
{
    open_pair();
    struct stat st;
    int n;
    GT_OK(fstat(s, &st));
    GT_TRUE(S_ISCHR(st.st_mode));
    GT_OK(ioctl(m, TIOCGPTN, &n));
    GT_EQ(st.st_rdev >> 8 & 0xff, 136);
    char want[64];
    snprintf(want, sizeof(want), "/dev/pts/%d", n);
    GT_STR(sname, want);
    GT_TRUE(isatty(s) && isatty(m));
    char tn[64];
    GT_EQ(ttyname_r(s, tn, sizeof(tn)), 0);
    GT_STR(tn, sname);
    GT_ERR(lseek(s, 0, SEEK_SET), ESPIPE);
    close(s);
    close(m);
    GT_ERR(open(sname, O_RDWR | O_NOCTTY), ENOENT);
}

GT(locked)
{
    m = (int)GT_OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
    GT_OK(ptsname_r(m, sname, sizeof(sname)));
    GT_ERR(open(sname, O_RDWR | O_NOCTTY), EIO);
    int v = -1;
    GT_OK(ioctl(m, TIOCGPTLCK, &v));
    GT_EQ(v, 1);
    GT_OK(unlockpt(m));
    GT_OK(open(sname, O_RDWR | O_NOCTTY));
    int p = (int)GT_OK(ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY));
    GT_TRUE(isatty(p));
}

GT(canonical_and_echo)
{
    open_pair();
    type("hel");
    GT_TRUE(!avail(s, 20)); // no line yet
    READS(m, "hel");        // but an echo
    type("lo\r");
    READS(s, "hello\n");
    READS(m, "lo\r\n");
    GT_EQ(write(s, "out\n", 4), 4);
    READS(m, "out\r\n");
}

GT(editing)
{
    open_pair();
    type("abx\177c\n");
    READS(s, "abc\n");
    READS(m, "abx\b \bc\r\n");
    type("one two\027x\n"); // ^W
    READS(s, "one x\n");
    READS(m, "one two\b \b\b \b\b \bx\r\n");
    type("junk\025ok\n"); // ^U
    READS(s, "ok\n");
    READS(m, "junk\b \b\b \b\b \b\b \bok\r\n");
    type("a\026\003b\n"); // ^V ^C
    READS(s, "a\003b\n");
    READS(m, "a^\b^Cb\r\n");
    type("\177\177q\n"); // nothing to erase
    READS(s, "q\n");
}

GT(end_of_file)
{
    open_pair();
    char b[8];
    type("\004");
    GT_EQ(read(s, b, 8), 0);
    type("ab\004");
    READS(s, "ab");
    type("x\n");
    READS(s, "x\n");
}

GT(lines_one_at_a_time)
{
    open_pair();
    char b[8];
    type("one\ntwo\n");
    READS(s, "one\n");
    GT_EQ(read(s, b, 2), 2);
    READS(s, "o\n");
    int n;
    type("four\n");
    GT_TRUE(avail(s, 1000)); // Linux hands typed bytes on later
    GT_OK(ioctl(s, FIONREAD, &n));
    GT_EQ(n, 5);
}

GT(raw)
{
    open_pair();
    struct termios t;
    GT_OK(tcgetattr(s, &t));
    cfmakeraw(&t);
    GT_OK(tcsetattr(s, TCSANOW, &t));
    type("a\003\r\177");
    READS(s, "a\003\r\177");
    GT_EQ(write(s, "x\ny", 3), 3);
    READS(m, "x\ny");
}

GT(vmin_vtime)
{
    open_pair();
    struct termios t;
    char b[16];
    GT_OK(tcgetattr(s, &t));
    cfmakeraw(&t);
    t.c_cc[VMIN] = 3;
    t.c_cc[VTIME] = 0;
    GT_OK(tcsetattr(s, TCSANOW, &t));
    if (!fork()) {
        for (int i = 0; i < 3; i++) {
            usleep(20000);
            write(m, "z", 1);
        }
        _exit(0);
    }
    GT_EQ(read(s, b, 16), 3);
    wait(0);
    t.c_cc[VMIN] = 0;
    t.c_cc[VTIME] = 1;
    GT_OK(tcsetattr(s, TCSANOW, &t));
    GT_EQ(read(s, b, 16), 0);
    t.c_cc[VTIME] = 0;
    GT_OK(tcsetattr(s, TCSANOW, &t));
    GT_EQ(read(s, b, 16), 0);
    type("q");
    GT_EQ(read(s, b, 16), 1);
    t.c_cc[VMIN] = 5; // gives up between bytes
    t.c_cc[VTIME] = 1;
    GT_OK(tcsetattr(s, TCSANOW, &t));
    type("pq");
    GT_EQ(read(s, b, 16), 2);
}

GT(nonblocking)
{
    open_pair();
    char b[8];
    fcntl(s, F_SETFL, O_RDWR | O_NONBLOCK);
    fcntl(m, F_SETFL, O_RDWR | O_NONBLOCK);
    GT_ERR(read(s, b, 8), EAGAIN);
    GT_ERR(read(m, b, 8), EAGAIN);
    type("x");
    GT_ERR(read(s, b, 8), EAGAIN);
    type("\n");
    GT_EQ(read(s, b, 8), 2);
}

GT(output_flags)
{
    open_pair();
    flags(0, 0, 0, 0, ONLCR, 0);
    GT_EQ(write(s, "a\n", 2), 2);
    READS(m, "a\n");
    flags(0, 0, 0, 0, 0, ONLCR | XTABS);
    GT_EQ(write(s, "\ra\tb\n", 5), 5);
    READS(m, "\ra       b\r\n");
    flags(0, 0, 0, 0, 0, OCRNL);
    GT_EQ(write(s, "c\r", 2), 2);
    READS(m, "c\n");
}

GT(input_flags)
{
    open_pair();
    flags(ECHO, 0, ICRNL, INLCR, 0, 0);
    type("a\n");
    GT_TRUE(!avail(s, 20)); // became \r, no line end
    flags(0, 0, INLCR, IGNCR, 0, 0);
    type("b\r\n");
    READS(s, "a\rb\n");
    flags(0, 0, IGNCR, ICRNL, 0, 0);
    type("c\r");
    READS(s, "c\n");
}

GT(flow_control)
{
    open_pair();
    type("\023"); // ^S
    usleep(30000);
    fcntl(s, F_SETFL, O_RDWR | O_NONBLOCK);
    GT_ERR(write(s, "x", 1), EAGAIN);
    type("\021");
    usleep(30000);
    GT_EQ(write(s, "x", 1), 1);
    READS(m, "x");
    GT_OK(tcflow(s, TCOOFF));
    GT_ERR(write(s, "x", 1), EAGAIN);
    GT_OK(tcflow(s, TCOON));
    GT_EQ(write(s, "x", 1), 1);
}

GT(hangup_by_master)
{
    open_pair();
    char b[8];
    struct termios t;
    close(m);
    GT_EQ(read(s, b, 8), 0);
    GT_ERR(write(s, "x", 1), EIO);
    GT_ERR(tcgetattr(s, &t), EIO);
    struct pollfd p = {s, POLLIN | POLLOUT};
    GT_EQ(poll(&p, 1, 0), 1);
    GT_EQ(p.revents, POLLIN | POLLOUT | POLLERR | POLLHUP);
}

GT(slave_closed)
{
    open_pair();
    char b[8];
    GT_EQ(write(s, "last", 4), 4);
    close(s);
    READS(m, "last");
    GT_ERR(read(m, b, 8), EIO);
    struct pollfd p = {m, POLLIN | POLLOUT};
    GT_EQ(poll(&p, 1, 0), 1);
    GT_EQ(p.revents, POLLOUT | POLLHUP);
    s = (int)GT_OK(open(sname, O_RDWR | O_NOCTTY)); // and back
    type("again\n");
    READS(s, "again\n");
}

GT(window_size)
{
    open_pair();
    struct winsize w = {24, 80, 1, 2}, r;
    GT_OK(ioctl(m, TIOCSWINSZ, &w));
    GT_OK(ioctl(s, TIOCGWINSZ, &r));
    GT_EQ(memcmp(&w, &r, sizeof(w)), 0);
}

// Runs fn in a new session whose controlling terminal is the slave.
static pid_t in_session(void (*fn)(void))
{
    pid_t c = fork();
    if (!c) {
        if (setsid() < 0 || ioctl(s, TIOCSCTTY, 0))
            _exit(90);
        fn();
        _exit(0);
    }
    return c;
}
static void finish(pid_t c)
{
    int st;
    GT_EQ(waitpid(c, &st, 0), c);
    if (st)
        GT_FAIL("child status 0x%x", st);
}

static void ctty_child(void)
{
    if (tcgetpgrp(s) != getpid() || tcgetsid(s) != getpid())
        _exit(1);
    int t = open("/dev/tty", O_RDWR);
    if (t < 0)
        _exit(2);
    if (write(t, "via tty", 7) != 7)
        _exit(3);
    char line[512];
    FILE *f = fopen("/proc/self/stat", "r");
    int nr, tp;
    if (!f || fscanf(f, "%*d %*s %*c %*d %*d %*d %d %d", &nr, &tp) != 2)
        _exit(4);
    struct stat st;
    fstat(s, &st);
    if (nr != (int)st.st_rdev || tp != getpid())
        _exit(5);
    if (ioctl(s, TIOCNOTTY) == 0) { // the leader gives it up: SIGHUP to itself
        _exit(6);
    }
}
GT(controlling_terminal)
{
    open_pair();
    pid_t c = fork();
    if (!c) {
        signal(SIGHUP, SIG_IGN);
        if (setsid() < 0 || open("/dev/tty", O_RDWR) >= 0 || errno != ENXIO)
            _exit(91);
        int t = open(sname, O_RDWR); // becomes ours
        if (t < 0 || tcgetpgrp(t) != getpid())
            _exit(92);
        int d = open("/dev/tty", O_RDWR);
        if (d < 0 || write(d, "via tty", 7) != 7)
            _exit(93);
        FILE *f = fopen("/proc/self/stat", "r");
        int nr, tp;
        struct stat st;
        fstat(s, &st);
        if (!f || fscanf(f, "%*d %*s %*c %*d %*d %*d %d %d", &nr, &tp) != 2 || nr != (int)st.st_rdev || tp != getpid())
            _exit(94);
        if (ioctl(d, TIOCNOTTY) || open("/dev/tty", O_RDWR) >= 0)
            _exit(95);
        _exit(0);
    }
    READS(m, "via tty");
    finish(c);
    (void)ctty_child;
    GT_ERR(tcgetpgrp(s), ENOTTY); // not ours
}

GT(noctty)
{
    open_pair();
    pid_t c = fork();
    if (!c) {
        if (setsid() < 0 || open(sname, O_RDWR | O_NOCTTY) < 0 || open("/dev/tty", O_RDWR) >= 0)
            _exit(1);
        if (ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY) < 0 || open("/dev/tty", O_RDWR) >= 0)
            _exit(2);
        _exit(ioctl(s, TIOCSCTTY, 0) ? 3 : 0);
    }
    finish(c);
}

static void sig_child(void)
{
    static const int sigs[] = {SIGINT, SIGQUIT, SIGTSTP, SIGWINCH};
    for (int i = 0; i < 4; i++)
        signal(sigs[i], on_sig);
    write(s, "R", 1);
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 200 && got != sigs[i]; k++)
            usleep(10000);
        if (got != sigs[i])
            _exit(10 + i);
        char c = 'A' + i;
        write(s, &c, 1);
    }
}
GT(signals_from_keys)
{
    open_pair();
    pid_t c = in_session(sig_child);
    READS(m, "R");
    char b[64];
    static const char *keys[] = {"\003", "\034", "\032"};
    for (int i = 0; i < 3; i++) {
        char seen = 0, want = 'A' + i;
        type(keys[i]);
        while (seen != want) // past the echo
            GT_EQ(read(m, &seen, 1), 1);
    }
    struct winsize w = {30, 90};
    GT_OK(ioctl(m, TIOCSWINSZ, &w));
    READS(m, "D");
    finish(c);
    (void)b;
}

static void background(void)
{
    int st;
    pid_t c = fork();
    if (!c) {
        char b;
        setpgid(0, 0);
        signal(SIGTTIN, SIG_DFL);
        read(s, &b, 1);
        _exit(b == 'k' ? 0 : 1);
    }
    setpgid(c, c);
    if (waitpid(c, &st, WUNTRACED) != c || !WIFSTOPPED(st) || WSTOPSIG(st) != SIGTTIN)
        _exit(20);
    if (tcsetpgrp(s, c))
        _exit(21);
    kill(-c, SIGCONT);
    write(s, "G", 1);
    if (waitpid(c, &st, 0) != c || st)
        _exit(22);
    // Now we are in the background ourselves: changing anything sends SIGTTOU.
    signal(SIGTTOU, SIG_IGN);
    if (tcsetpgrp(s, getpid()))
        _exit(23);
    c = fork();
    if (!c) {
        struct termios t;
        setpgid(0, 0);
        signal(SIGTTOU, SIG_DFL);
        tcgetattr(s, &t);
        tcsetattr(s, TCSANOW, &t);
        _exit(0);
    }
    setpgid(c, c);
    if (waitpid(c, &st, WUNTRACED) != c || !WIFSTOPPED(st) || WSTOPSIG(st) != SIGTTOU)
        _exit(24);
    kill(c, SIGKILL);
    waitpid(c, &st, 0);
    c = fork();
    if (!c) { // ignored: read fails instead
        char b;
        setpgid(0, 0);
        signal(SIGTTIN, SIG_IGN);
        _exit(read(s, &b, 1) == -1 && errno == EIO ? 0 : 1);
    }
    setpgid(c, c);
    if (waitpid(c, &st, 0) != c || st)
        _exit(25);
    struct termios t;
    tcgetattr(s, &t);
    t.c_lflag |= TOSTOP;
    tcsetattr(s, TCSANOW, &t);
    c = fork();
    if (!c) {
        setpgid(0, 0);
        signal(SIGTTOU, SIG_DFL);
        write(s, "never", 5);
        _exit(0);
    }
    setpgid(c, c);
    if (waitpid(c, &st, WUNTRACED) != c || !WIFSTOPPED(st) || WSTOPSIG(st) != SIGTTOU)
        _exit(26);
    kill(c, SIGKILL);
    waitpid(c, &st, 0);
    if (tcsetpgrp(s, 1 << 21) != -1)
        _exit(27);
}
GT(job_control)
{
    open_pair();
    pid_t c = in_session(background);
    READS(m, "G");
    type("k\n");
    finish(c);
}

static void leader_exits(void)
{
    if (!fork()) {
        signal(SIGHUP, on_sig);
        write(s, "R", 1);
        for (int k = 0; k < 300 && got != SIGHUP; k++)
            usleep(10000);
        // The terminal still works, but is nobody's.
        write(s, got == SIGHUP && open("/dev/tty", O_RDWR) == -1 ? "ok" : "no", 2);
        _exit(0);
    }
    usleep(50000);
    _exit(0);
}
GT(leader_exit)
{
    open_pair();
    pid_t c = in_session(leader_exits);
    READS(m, "R");
    finish(c);
    READS(m, "ok");
    char b[8];
    close(s);
    GT_ERR(read(m, b, 8), EIO);
}

static void wait_hup(void)
{
    close(m);
    signal(SIGHUP, on_sig);
    write(s, "R", 1);
    for (int k = 0; k < 300 && got != SIGHUP; k++)
        usleep(10000);
    _exit(got == SIGHUP ? 0 : 1);
}
GT(master_close_sends_sighup)
{
    open_pair();
    pid_t c = in_session(wait_hup);
    READS(m, "R");
    close(m);
    finish(c);
}

GT(packet_mode)
{
    open_pair();
    int on = 1;
    char b[32];
    GT_OK(ioctl(m, TIOCPKT, &on));
    GT_EQ(write(s, "hi", 2), 2);
    GT_EQ(read(m, b, 32), 3);
    GT_EQ(b[0], TIOCPKT_DATA);
    GT_OK(tcflush(s, TCIFLUSH));
    struct pollfd p = {m, POLLIN | POLLPRI};
    GT_EQ(poll(&p, 1, 1000), 1);
    GT_EQ(p.revents & POLLPRI, POLLPRI);
    GT_EQ(read(m, b, 32), 1);
    GT_EQ(b[0] & TIOCPKT_FLUSHREAD, TIOCPKT_FLUSHREAD);
}

GT(lots_of_output)
{
    open_pair();
    pid_t c = fork();
    if (!c) {
        static char line[80];
        memset(line, 'x', sizeof(line));
        line[79] = '\n';
        for (int i = 0; i < 5000; i++)
            if (write(s, line, 80) != 80)
                _exit(1);
        _exit(0);
    }
    close(s);
    char b[4096];
    long total = 0, n;
    while ((n = read(m, b, sizeof(b))) > 0)
        total += n;
    GT_EQ(errno, EIO);
    GT_EQ(total, 5000 * 81);
    finish(c);
}

GT(lots_of_input)
{
    open_pair();
    flags(ICANON | ECHO, 0, 0, 0, 0, 0);
    pid_t c = fork();
    if (!c) {
        static char b[1000];
        for (int i = 0; i < 200; i++)
            if (write(m, b, 1000) != 1000)
                _exit(1);
        _exit(0);
    }
    char b[700];
    long total = 0;
    while (total < 200000)
        total += GT_OK(read(s, b, sizeof(b)));
    GT_EQ(total, 200000);
    finish(c);
}

GT(long_line_is_cut)
{
    open_pair();
    flags(ECHO, 0, 0, 0, 0, 0);
    static char b[6000];
    memset(b, 'y', 5000);
    b[5000] = '\n';
    GT_EQ(write(m, b, 5001), 5001);
    long n = GT_OK(read(s, b, 6000));
    GT_EQ(n, 4096);
    GT_EQ(b[4095], '\n');
}

GT(devpts_directory)
{
    struct stat st;
    open_pair();
    GT_OK(stat("/dev/pts/ptmx", &st));
    GT_TRUE(S_ISCHR(st.st_mode));
    GT_EQ(fchmod(s, 0640), 0);
    GT_OK(stat(sname, &st));
    GT_EQ(st.st_mode & 0777, 0640);
    GT_ERR(open("/dev/pts/999", O_RDWR), ENOENT);
    GT_TRUE(open("/dev/pts/new", O_CREAT | O_RDWR, 0600) == -1);
}

GT_MAIN
