// SPDX-License-Identifier: Apache-2.0
// The Gofer against a hostile peer and a changing host: requests are handed to server_handle()
// directly, on a fresh directory.
#include "base/test.h"
#include "gofer/server.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct rig {
    char dir[64];
    struct server s;
    struct gofer_root roots[3];
    struct np_msg r; // views into s.tx
};
static int sh(struct rig *g, const char *cmd)
{
    char buf[512];
    snprintf(buf, sizeof(buf), "cd %s && %s", g->dir, cmd);
    return system(buf);
}
static void send_msg(struct rig *g, const struct np_msg *t)
{
    uint8_t buf[4096];
    struct wspan w = wspan_of(buf, sizeof(buf));
    assert_int_equal(np_encode(&w, t), 0);
    server_drop(&g->s);
    long n = server_handle(&g->s, buf, w.used);
    assert_true(n > 0);
    assert_int_equal(np_decode(g->s.tx, (size_t)n, &g->r), 0);
}
// 0, or the error of the reply.
static int call(struct rig *g, const struct np_msg *t)
{
    send_msg(g, t);
    if (g->r.type == NP_rlerror)
        return (int)g->r.rlerror.ecode;
    assert_int_equal(g->r.type, t->type + 1);
    return 0;
}
static void rig_init(struct rig *g, const char *version)
{
    memset(g, 0, sizeof(*g));
    strcpy(g->dir, "/tmp/nacre-serve-XXXXXX");
    assert_non_null(mkdtemp(g->dir));
    assert_int_equal(sh(g, "echo -n hello > f; mkdir d; echo -n in > d/i; ln -s /etc/passwd l;"
                           "ln -s d ld; mkfifo p; chmod 644 f"),
                     0);
    int fd = open(g->dir, O_PATH | O_DIRECTORY);
    g->roots[0] = (struct gofer_root){.fd = fd, .parent = -1, .donate = true};
    g->roots[1] = (struct gofer_root){.fd = fd, .parent = -1, .readonly = true};
    g->roots[2] = (struct gofer_root){.fd = openat(fd, "f", O_PATH), .parent = fd, .name = "f",
                                      .donate = true};
    assert_int_equal(server_init(&g->s, -1, g->roots, 3), 0);
    struct np_msg t = {.type = NP_tversion, .tag = NP_NOTAG};
    t.tversion.msize = 65536;
    t.tversion.version = np_cstr(version);
    assert_int_equal(call(g, &t), 0);
}
static void rig_free(struct rig *g)
{
    server_drop(&g->s);
    server_free(&g->s);
    close(g->roots[0].fd);
    close(g->roots[2].fd);
    char cmd[128];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", g->dir);
    assert_int_equal(system(cmd), 0);
}
static int attach(struct rig *g, uint32_t fid, const char *aname)
{
    struct np_msg t = {.type = NP_tattach};
    t.tattach.fid = fid;
    t.tattach.afid = NP_NOFID;
    t.tattach.aname = np_cstr(aname);
    return call(g, &t);
}
static int walk(struct rig *g, uint32_t fid, uint32_t newfid, const char *a, const char *b)
{
    struct np_msg t = {.type = NP_twalk};
    t.twalk = (struct np_twalk){.fid = fid, .newfid = newfid};
    if (a)
        t.twalk.names.v[t.twalk.names.n++] = np_cstr(a);
    if (b)
        t.twalk.names.v[t.twalk.names.n++] = np_cstr(b);
    return call(g, &t);
}
static int lopen(struct rig *g, uint32_t fid, uint32_t flags)
{
    struct np_msg t = {.type = NP_tlopen};
    t.tlopen = (struct np_tlopen){fid, flags};
    return call(g, &t);
}
static int clunk(struct rig *g, uint32_t fid)
{
    struct np_msg t = {.type = NP_tclunk};
    t.tclunk.fid = fid;
    return call(g, &t);
}
static int create(struct rig *g, uint32_t dir, uint32_t newfid, const char *name, uint32_t mode)
{
    struct np_msg t = {.type = NP_tcreateopen};
    t.tcreateopen = (struct np_tcreateopen){dir, newfid, np_cstr(name), O_RDWR, mode, getuid(), getgid()};
    return call(g, &t);
}
static uint32_t host_mode(struct rig *g, const char *name)
{
    struct stat st = {};
    assert_int_equal(fstatat(g->roots[0].fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st.st_mode;
}

TEST(serve_session_rules)
{
    struct rig g;
    rig_init(&g, NP_VERSION_EXT);
    assert_int_equal(attach(&g, 1, "9"), ENOENT);
    assert_int_equal(attach(&g, 1, "0x"), ENOENT);
    assert_int_equal(attach(&g, 1, "99999999"), ENOENT);
    assert_int_equal(attach(&g, 1, "0"), 0);
    assert_int_equal(attach(&g, 1, "0"), EBADF);        // the fid is taken
    assert_int_equal(attach(&g, NP_NOFID, "0"), EBADF);
    assert_int_equal(walk(&g, 7, 8, nullptr, nullptr), EBADF);
    assert_int_equal(clunk(&g, 7), EBADF);
    // A new version starts a new session.
    struct np_msg t = {.type = NP_tversion, .tag = NP_NOTAG};
    t.tversion.msize = 8192;
    t.tversion.version = np_cstr(NP_VERSION);
    assert_int_equal(call(&g, &t), 0);
    assert_int_equal(g.r.rversion.version.n, strlen(NP_VERSION));
    assert_int_equal(g.s.nfids, 0);
    assert_int_equal(attach(&g, 1, "0"), 0);
    assert_int_equal(create(&g, 1, 2, "x", 0600), EOPNOTSUPP); // extensions were not agreed
    t.tversion.msize = 100;
    assert_int_equal(call(&g, &t), EINVAL);
    rig_free(&g);
}

TEST(serve_stays_inside)
{
    struct rig g;
    rig_init(&g, NP_VERSION_EXT);
    assert_int_equal(attach(&g, 1, "0"), 0);
    assert_int_equal(walk(&g, 1, 2, "..", nullptr), 0); // of the root: itself
    assert_int_equal(walk(&g, 2, 3, "f", nullptr), 0);
    assert_int_equal(clunk(&g, 2), 0);
    assert_int_equal(walk(&g, 1, 2, "d", ".."), 0);
    assert_int_equal(clunk(&g, 2), 0);
    assert_int_equal(walk(&g, 1, 2, ".", nullptr), EINVAL);
    // Links are not followed, neither in the middle nor at the end.
    assert_int_equal(walk(&g, 1, 2, "ld", "i"), 0);
    assert_int_equal(g.r.rwalk.qids.n, 1); // found the link, not what is below
    assert_int_equal(clunk(&g, 2), EBADF);
    assert_int_equal(walk(&g, 1, 2, "l", nullptr), 0);
    assert_int_equal(lopen(&g, 2, O_RDONLY), ENXIO);
    // ".." is no name to make, remove or open.
    assert_int_equal(create(&g, 1, 9, "..", 0600), EINVAL);
    struct np_msg t = {.type = NP_tunlinkat};
    t.tunlinkat = (struct np_tunlinkat){1, np_cstr(".."), AT_REMOVEDIR};
    assert_int_equal(call(&g, &t), EINVAL);
    t.type = NP_twalkgetattr;
    t.twalkgetattr = (struct np_twalkgetattr){.fid = 1, .newfid = NP_NOFID, .names = {.n = 1}};
    t.twalkgetattr.names.v[0] = np_cstr("..");
    assert_int_equal(call(&g, &t), EINVAL);
    // A link that takes a directory's place after it was walked.
    assert_int_equal(walk(&g, 1, 5, "d", nullptr), 0);
    assert_int_equal(sh(&g, "mv d d2; ln -s /etc d"), 0);
    assert_int_equal(walk(&g, 5, 6, "passwd", nullptr), ENOENT);
    assert_int_equal(walk(&g, 5, 6, "i", nullptr), 0);
    rig_free(&g);
}

TEST(serve_opens_regular_files_only)
{
    struct rig g;
    rig_init(&g, NP_VERSION_EXT);
    assert_int_equal(attach(&g, 1, "0"), 0);
    assert_int_equal(walk(&g, 1, 2, "p", nullptr), 0);
    assert_int_equal(lopen(&g, 2, O_RDONLY), ENXIO); // and does not hang
    assert_int_equal(walk(&g, 1, 3, "f", nullptr), 0);
    assert_int_equal(lopen(&g, 3, O_RDONLY), 0);
    assert_true(g.s.donated >= 0);
    assert_int_equal(fcntl(g.s.donated, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(lopen(&g, 3, O_RDWR), 0); // a descriptor of its own each time
    assert_int_equal(fcntl(g.s.donated, F_GETFL) & O_ACCMODE, O_RDWR);
    assert_int_equal(lopen(&g, 3, O_ACCMODE), EINVAL);
    assert_int_equal(lopen(&g, 3, O_RDWR | O_CREAT), EINVAL);
    assert_int_equal(lopen(&g, 1, O_RDWR), EISDIR);
    // The name means something else now.
    assert_int_equal(sh(&g, "mv f g; mkfifo f"), 0);
    assert_int_equal(lopen(&g, 3, O_RDONLY), ESTALE);
    assert_int_equal(sh(&g, "rm f; ln -s g f"), 0);
    assert_int_equal(lopen(&g, 3, O_RDONLY), ESTALE);
    assert_int_equal(sh(&g, "rm f; echo other > f"), 0);
    assert_int_equal(lopen(&g, 3, O_RDWR | O_TRUNC), ESTALE);
    assert_int_equal(sh(&g, "test -s f"), 0); // and was not truncated
    assert_int_equal(sh(&g, "rm f; mv g f"), 0);
    assert_int_equal(lopen(&g, 3, O_RDONLY), 0);
    rig_free(&g);
}

TEST(serve_stores_no_setid_bits)
{
    struct rig g;
    rig_init(&g, NP_VERSION_EXT);
    assert_int_equal(attach(&g, 1, "0"), 0);
    mode_t old = umask(0);
    assert_int_equal(create(&g, 1, 2, "suid", 06755), 0);
    assert_int_equal(host_mode(&g, "suid"), S_IFREG | 0755);
    struct np_msg t = {.type = NP_tsetattr};
    t.tsetattr = (struct np_tsetattr){.fid = 2, .valid = NP_SET_MODE, .mode = 06711};
    assert_int_equal(call(&g, &t), 0);
    assert_int_equal(host_mode(&g, "suid"), S_IFREG | 0711);
    t.type = NP_tmakenode;
    t.tmakenode = (struct np_tmakenode){.fid = 1, .name = np_cstr("dir"), .mode = S_IFDIR | 07777,
                                        .uid = getuid(), .gid = getgid()};
    assert_int_equal(call(&g, &t), 0);
    assert_int_equal(host_mode(&g, "dir"), S_IFDIR | 01777);
    t.tmakenode.name = np_cstr("dev");
    t.tmakenode.mode = S_IFBLK | 0600;
    t.tmakenode.rdev = 0x801;
    assert_int_equal(call(&g, &t), EPERM);
    t.tmakenode.mode = S_IFCHR | 0600;
    t.tmakenode.rdev = 0x103;
    assert_int_equal(call(&g, &t), EPERM);
    t.type = NP_txattrset;
    t.txattrset = (struct np_txattrset){2, np_cstr("security.capability"), 0, 0, span_of("x", 1)};
    assert_int_equal(call(&g, &t), EOPNOTSUPP);
    t.txattrset.name = np_cstr("trusted.overlay.opaque");
    assert_int_equal(call(&g, &t), EOPNOTSUPP);
    umask(old);
    rig_free(&g);
}

TEST(serve_readonly_root)
{
    struct rig g;
    rig_init(&g, NP_VERSION_EXT);
    assert_int_equal(attach(&g, 1, "1"), 0);
    assert_int_equal(walk(&g, 1, 2, "f", nullptr), 0);
    assert_int_equal(lopen(&g, 2, O_RDWR), EROFS);
    assert_int_equal(lopen(&g, 2, O_RDONLY | O_TRUNC), EROFS);
    assert_int_equal(create(&g, 1, 3, "n", 0600), EROFS);
    struct np_msg t = {.type = NP_tsetattr};
    t.tsetattr = (struct np_tsetattr){.fid = 2, .valid = NP_SET_MODE, .mode = 0600};
    assert_int_equal(call(&g, &t), EROFS);
    t = (struct np_msg){.type = NP_tremove};
    t.tremove.fid = 2;
    assert_int_equal(call(&g, &t), EROFS);
    t = (struct np_msg){.type = NP_tlink};
    assert_int_equal(walk(&g, 1, 4, "f", nullptr), 0);
    t.tlink = (struct np_tlink){1, 4, np_cstr("n")};
    assert_int_equal(call(&g, &t), EROFS);
    // Between roots nothing moves.
    assert_int_equal(attach(&g, 10, "0"), 0);
    t = (struct np_msg){.type = NP_tlink};
    t.tlink = (struct np_tlink){10, 4, np_cstr("n")};
    assert_int_equal(call(&g, &t), EXDEV);
    rig_free(&g);
}

TEST(serve_single_file_root)
{
    struct rig g;
    rig_init(&g, NP_VERSION_EXT);
    assert_int_equal(attach(&g, 1, "2"), 0);
    assert_int_equal(lopen(&g, 1, O_RDWR), 0);
    assert_true(g.s.donated >= 0);
    assert_int_equal(walk(&g, 1, 2, "..", nullptr), 0); // no way up
    assert_int_equal(walk(&g, 2, 3, "d", nullptr), ENOTDIR);
    struct np_msg t = {.type = NP_tremove};
    t.tremove.fid = 2;
    assert_int_equal(call(&g, &t), EBUSY);
    rig_free(&g);
}

TEST(serve_limits)
{
    struct rig g;
    rig_init(&g, NP_VERSION_EXT);
    assert_int_equal(attach(&g, 0, "0"), 0);
    uint32_t i = 1;
    while (walk(&g, 0, i, nullptr, nullptr) == 0) // shares the node: costs the host nothing
        i++;
    assert_int_equal(g.r.rlerror.ecode, ENFILE);
    assert_int_equal(i, GOFER_MAX_FIDS);
    assert_int_equal(clunk(&g, 5), 0);
    assert_int_equal(walk(&g, 0, 5, "f", nullptr), 0);
    struct np_msg t = {.type = NP_txattrcreate};
    t.txattrcreate = (struct np_txattrcreate){5, np_cstr("user.x"), 1ull << 40, 0};
    assert_int_equal(call(&g, &t), E2BIG);
    t = (struct np_msg){.type = NP_tread};
    t.tread = (struct np_tread){5, UINT64_MAX, UINT32_MAX};
    assert_int_equal(call(&g, &t), EBADF);
    assert_int_equal(lopen(&g, 5, O_RDONLY | NP_OPEN_NODONATE), 0);
    assert_int_equal(g.s.donated, -1);
    assert_int_equal(call(&g, &t), EINVAL);
    t.tread.offset = 1;
    assert_int_equal(call(&g, &t), 0);
    assert_int_equal(g.r.rread.data.n, 4);
    rig_free(&g);
}

static int listtree(struct rig *g, uint32_t count, const char *a, const char *b)
{
    uint8_t names[600];
    struct wspan w = wspan_of(names, sizeof(names));
    struct np_msg t = {.type = NP_tlisttree};
    assert_true(np_name_add(&w, np_cstr(a)) && np_name_add(&w, np_cstr(b)));
    t.tlisttree = (struct np_tlisttree){0, count, 0, span_of(names, w.used)};
    return call(g, &t);
}
TEST(serve_lists_trees)
{
    struct rig g;
    struct np_tree_dir d;
    struct np_dirent e;
    rig_init(&g, NP_VERSION_EXT);
    assert_int_equal(sh(&g, "mkdir -p d/k/m t/u; touch t/u/v"), 0);
    assert_int_equal(attach(&g, 0, "0"), 0);
    assert_int_equal(listtree(&g, 60000, "d", "t"), 0);
    struct span s = g.r.rlisttree.data;
    static const struct { const char *name; uint32_t parent; int n; } want[] = {
        {"d", NP_NOFID, 2}, {"k", 0, 1}, {"m", 1, 0}, {"t", NP_NOFID, 1}, {"u", 3, 1}};
    for (size_t i = 0; i < 5; i++) {
        assert_true(np_tree_get(&s, &d));
        assert_true(str_is(d.name, want[i].name));
        assert_int_equal(d.parent, want[i].parent);
        int n = 0;
        while (np_dirent_plus_get(&d.entries, &e))
            n += np_name_ok(e.name) && e.has_attr == (e.type == 4); // DT_DIR
        assert_int_equal(n, want[i].n);
    }
    assert_false(np_tree_get(&s, &d));
    assert_true(span_ok(&s));
    // Only whole directories, and nothing but directories, below this one.
    assert_int_equal(listtree(&g, 300, "d", "t"), 0);
    s = g.r.rlisttree.data;
    while (np_tree_get(&s, &d))
        assert_true(span_ok(&d.entries) && d.entries.n < 300);
    assert_int_equal(listtree(&g, 60000, "ld", "p"), 0);
    assert_int_equal(g.r.rlisttree.data.n, 0);
    assert_int_equal(listtree(&g, 60000, "..", "f"), 0);
    assert_int_equal(g.r.rlisttree.data.n, 0);
    assert_int_equal(listtree(&g, 3, "d", "t"), 0);
    assert_int_equal(g.r.rlisttree.data.n, 0);
    rig_free(&g);
}

TEST(serve_looks_names_up)
{
    struct rig g;
    struct np_msg t = {.type = NP_tlookup};
    rig_init(&g, NP_VERSION_EXT);
    assert_int_equal(attach(&g, 0, "0"), 0);
    static const struct { const char *name, *target; bool there, dir; } want[] = {
        {"f", "", true, false}, {"d", "", true, true}, {"l", "/etc/passwd", true, false},
        {"ld", "d", true, false}, {"p", "", true, false}, {"none", "", false, false}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct fid *made;
        t.tlookup = (struct np_tlookup){0, 7, np_cstr(want[i].name)};
        assert_int_equal(call(&g, &t), 0);
        assert_int_equal(g.r.rlookup.nodes.n, want[i].there);
        assert_true(str_is(g.r.rlookup.target, want[i].target));
        assert_int_equal(fid_file(&g.s, 7, &made) == 0, want[i].dir);
        struct np_msg clunk = {.type = NP_tclunk, .tclunk = {.fid = 7}};
        assert_int_equal(call(&g, &clunk), want[i].dir ? 0 : EBADF);
    }
    t.tlookup = (struct np_tlookup){0, 0, np_cstr("d")};
    assert_int_equal(call(&g, &t), EBADF);
    t.tlookup = (struct np_tlookup){0, NP_NOFID, np_cstr("..")};
    assert_int_equal(call(&g, &t), EINVAL);
    t.tlookup.name = np_cstr("d");
    assert_int_equal(call(&g, &t), 0);
    assert_int_equal(attach(&g, 3, "2"), 0);
    t.tlookup = (struct np_tlookup){3, NP_NOFID, np_cstr("i")};
    assert_int_equal(call(&g, &t), ENOTDIR);
    rig_free(&g);
}
static int openfiles(struct rig *g, const char *const *v, size_t n)
{
    uint8_t names[2048];
    struct wspan w = wspan_of(names, sizeof(names));
    struct np_msg t = {.type = NP_topenfiles};
    for (size_t i = 0; i < n; i++)
        assert_true(np_name_add(&w, np_cstr(v[i])));
    t.topenfiles = (struct np_topenfiles){0, span_of(names, w.used)};
    return call(g, &t);
}
TEST(serve_opens_files)
{
    struct rig g;
    struct np_opened o;
    char buf[8] = {};
    static const char *const v[] = {"f", "d", "l", "p", "..", "none", "f2"};
    static const bool open[] = {true, false, false, false, false, false, true};
    rig_init(&g, NP_VERSION_EXT);
    assert_int_equal(sh(&g, "echo -n two > f2"), 0);
    assert_int_equal(attach(&g, 0, "0"), 0);
    assert_int_equal(openfiles(&g, v, 7), 0);
    struct span s = g.r.ropenfiles.data;
    for (size_t i = 0; i < 7; i++) {
        assert_true(np_opened_get(&s, &o));
        assert_int_equal(o.open, open[i]);
        assert_true(!o.open == !o.ino);
    }
    assert_false(np_opened_get(&s, &o));
    assert_true(span_ok(&s));
    assert_int_equal(g.s.nmany, 2);
    assert_int_equal(read(g.s.many[1], buf, 8), 3);
    assert_int_equal(fcntl(g.s.many[1], F_GETFL) & O_ACCMODE, O_RDONLY);
    const char *many[NP_OPEN_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = "f";
    assert_int_equal(openfiles(&g, many, NP_OPEN_MAX), 0);
    assert_int_equal(g.s.nmany, NP_OPEN_MAX);
    assert_int_equal(openfiles(&g, many, NP_OPEN_MAX + 1), EPROTO);
    assert_int_equal(g.s.nmany, 0);
    // Not from a root that does not donate, and below a directory only.
    struct np_msg t = {.type = NP_tclunk};
    assert_int_equal(call(&g, &t), 0);
    assert_int_equal(attach(&g, 0, "1"), 0);
    assert_int_equal(openfiles(&g, v, 1), EOPNOTSUPP);
    assert_int_equal(call(&g, &t), 0);
    assert_int_equal(attach(&g, 0, "2"), 0);
    assert_int_equal(openfiles(&g, v, 1), ENOTDIR);
    rig_free(&g);
}

TEST(serve_replies_are_errors_as_requests)
{
    struct rig g;
    rig_init(&g, NP_VERSION_EXT);
    struct np_msg t = {.type = NP_rclunk};
    send_msg(&g, &t);
    assert_int_equal(g.r.type, NP_rlerror);
    assert_int_equal(g.r.rlerror.ecode, EPROTO);
    uint8_t junk[16] = {16, 0, 0, 0, 250, 1, 0};
    long n = server_handle(&g.s, junk, sizeof(junk));
    assert_true(n > 0);
    assert_int_equal(np_decode(g.s.tx, (size_t)n, &g.r), 0);
    assert_int_equal(g.r.rlerror.ecode, EPROTO);
    assert_true(server_handle(&g.s, junk, 3) < 0); // no header: hang up
    rig_free(&g);
}

TEST(serve_loop_ends_with_the_peer)
{
    int sv[2];
    struct rig g;
    rig_init(&g, NP_VERSION_EXT);
    for (int type = 0; type < 2; type++) {
        assert_int_equal(socketpair(AF_UNIX, type ? SOCK_STREAM : SOCK_SEQPACKET, 0, sv), 0);
        pid_t p = fork();
        if (p == 0) {
            close(sv[0]);
            _exit(gofer_main(sv[1], g.roots, 3) ? 1 : 0);
        }
        close(sv[1]);
        uint8_t buf[64];
        struct wspan w = wspan_of(buf, sizeof(buf));
        struct np_msg t = {.type = NP_tversion, .tag = NP_NOTAG}, r;
        t.tversion.msize = 8192;
        t.tversion.version = np_cstr(NP_VERSION);
        assert_int_equal(np_encode(&w, &t), 0);
        if (type) { // a stream may be cut anywhere
            assert_int_equal(write(sv[0], buf, 3), 3);
            usleep(1000);
            assert_int_equal(write(sv[0], buf + 3, w.used - 3), (long)w.used - 3);
        } else {
            assert_int_equal(write(sv[0], buf, w.used), (long)w.used);
        }
        long n = read(sv[0], buf, sizeof(buf));
        assert_int_equal(np_decode(buf, (size_t)n, &r), 0);
        assert_int_equal(r.rversion.msize, 8192);
        int st = -1;
        if (type) { // a frame that claims too much
            memset(buf, 0xff, 8);
            assert_int_equal(write(sv[0], buf, 8), 8);
            waitpid(p, &st, 0);
            assert_int_equal(st, 0x100);
            close(sv[0]);
        } else {
            close(sv[0]);
            waitpid(p, &st, 0);
            assert_int_equal(st, 0);
        }
    }
    rig_free(&g);
}
