// SPDX-License-Identifier: Apache-2.0
// inotify(7).
#include "gt.h"
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static char dir[200];
static void setup(void)
{
    const char *d = getenv("GT_DIR");
    snprintf(dir, sizeof(dir), "%s/ino.%d", d ? d : "/tmp", getpid());
    GT_OK(mkdir(dir, 0755));
    GT_OK(chdir(dir));
}
static int ino_new(void)
{
    return (int)GT_OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
}
static char buf[65536];
static size_t have, at;
// The next event, or null.
static struct inotify_event *next(int fd)
{
    if (at == have) {
        ssize_t n = read(fd, buf, sizeof(buf));
        if (n < 0) {
            GT_EQ(errno, EAGAIN);
            return 0;
        }
        have = n;
        at = 0;
    }
    struct inotify_event *e = (void *)(buf + at);
    at += sizeof(*e) + e->len;
    return e;
}
static void expect(int fd, int wd, uint32_t mask, const char *name)
{
    struct inotify_event *e = next(fd);
    if (!e)
        GT_FAIL("no event, wanted %x %s", mask, name ? name : "");
    if (e->wd != wd || e->mask != mask || strcmp(e->len ? e->name : "", name ? name : ""))
        GT_FAIL("got wd %d mask %x name '%s', wanted %d %x '%s'", e->wd, e->mask, e->len ? e->name : "", wd,
                mask, name ? name : "");
}
static void touch(const char *n, const char *text)
{
    int f = (int)GT_OK(open(n, O_CREAT | O_WRONLY, 0644));
    if (text)
        GT_EQ(write(f, text, strlen(text)), strlen(text));
    close(f);
}

GT(files_in_directory)
{
    setup();
    int fd = ino_new(), wd = (int)GT_OK(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
    GT_EQ(wd, 1);
    touch("a", "x");
    expect(fd, wd, IN_CREATE, "a");
    expect(fd, wd, IN_OPEN, "a");
    expect(fd, wd, IN_MODIFY, "a");
    expect(fd, wd, IN_CLOSE_WRITE, "a");
    int f = (int)GT_OK(open("a", O_RDONLY));
    char c;
    GT_EQ(read(f, &c, 1), 1);
    close(f);
    expect(fd, wd, IN_OPEN, "a");
    expect(fd, wd, IN_ACCESS, "a");
    expect(fd, wd, IN_CLOSE_NOWRITE, "a");
    GT_OK(chmod("a", 0600));
    expect(fd, wd, IN_ATTRIB, "a");
    GT_OK(truncate("a", 0));
    expect(fd, wd, IN_MODIFY, "a");
    GT_OK(unlink("a"));
    expect(fd, wd, IN_DELETE, "a");
    GT_OK(mkdir("d", 0755));
    expect(fd, wd, IN_CREATE | IN_ISDIR, "d");
    GT_OK(rmdir("d"));
    expect(fd, wd, IN_DELETE | IN_ISDIR, "d");
    GT_TRUE(!next(fd));
}

GT(moves)
{
    setup();
    GT_OK(mkdir("x", 0755));
    GT_OK(mkdir("y", 0755));
    touch("x/f", 0);
    int fd = ino_new();
    int x = (int)GT_OK(inotify_add_watch(fd, "x", IN_MOVE)), y = (int)GT_OK(inotify_add_watch(fd, "y", IN_MOVE));
    int f = (int)GT_OK(inotify_add_watch(fd, "x/f", IN_MOVE_SELF));
    GT_OK(rename("x/f", "y/g"));
    struct inotify_event *e = next(fd);
    GT_TRUE(e && e->wd == x && e->mask == IN_MOVED_FROM && !strcmp(e->name, "f") && e->cookie);
    uint32_t cookie = e->cookie;
    e = next(fd);
    GT_TRUE(e && e->wd == y && e->mask == IN_MOVED_TO && !strcmp(e->name, "g"));
    GT_EQ(e->cookie, cookie);
    expect(fd, f, IN_MOVE_SELF, 0);
}

GT(delete_self)
{
    setup();
    touch("f", 0);
    int fd = ino_new(), wd = (int)GT_OK(inotify_add_watch(fd, "f", IN_DELETE_SELF | IN_ATTRIB));
    GT_OK(unlink("f"));
    expect(fd, wd, IN_ATTRIB, 0); // the link count
    expect(fd, wd, IN_DELETE_SELF, 0);
    expect(fd, wd, IN_IGNORED, 0);
    GT_ERR(inotify_rm_watch(fd, wd), EINVAL);
    GT_OK(mkdir("d", 0755));
    wd = (int)GT_OK(inotify_add_watch(fd, "d", IN_DELETE_SELF));
    GT_OK(rmdir("d"));
    expect(fd, wd, IN_DELETE_SELF, 0); // without IN_ISDIR
    expect(fd, wd, IN_IGNORED, 0);
}

GT(remove_and_numbers)
{
    setup();
    touch("f", 0);
    touch("g", 0);
    int fd = ino_new(), wd = (int)GT_OK(inotify_add_watch(fd, "f", IN_MODIFY));
    GT_EQ(inotify_add_watch(fd, "f", IN_OPEN), wd); // the same inode: changed
    GT_OK(inotify_rm_watch(fd, wd));
    expect(fd, wd, IN_IGNORED, 0);
    int w2 = (int)GT_OK(inotify_add_watch(fd, "g", IN_OPEN));
    GT_EQ(w2, wd + 1);
    GT_ERR(inotify_rm_watch(fd, 77), EINVAL);
    GT_ERR(inotify_rm_watch(0, w2), EINVAL);
    GT_ERR(inotify_add_watch(fd, "nothing", IN_OPEN), ENOENT);
    GT_ERR(inotify_add_watch(fd, "g", 0), EINVAL);
    GT_ERR(inotify_add_watch(fd, "g", IN_OPEN | IN_ONLYDIR), ENOTDIR);
    GT_ERR(inotify_add_watch(fd, "g", IN_OPEN | IN_MASK_CREATE), EEXIST);
    GT_ERR(inotify_add_watch(fd, "g", IN_OPEN | IN_MASK_CREATE | IN_MASK_ADD), EINVAL);
    GT_ERR(inotify_init1(3), EINVAL);
}

GT(mask_add)
{
    setup();
    touch("f", 0);
    int fd = ino_new(), wd = (int)GT_OK(inotify_add_watch(fd, "f", IN_OPEN));
    GT_EQ(inotify_add_watch(fd, "f", IN_CLOSE_NOWRITE | IN_MASK_ADD), wd);
    close((int)GT_OK(open("f", O_RDONLY)));
    expect(fd, wd, IN_OPEN, 0);
    expect(fd, wd, IN_CLOSE_NOWRITE, 0);
}

GT(oneshot)
{
    setup();
    touch("f", 0);
    int fd = ino_new(), wd = (int)GT_OK(inotify_add_watch(fd, "f", IN_OPEN | IN_ONESHOT));
    close((int)GT_OK(open("f", O_RDONLY)));
    close((int)GT_OK(open("f", O_RDONLY)));
    expect(fd, wd, IN_OPEN, 0);
    expect(fd, wd, IN_IGNORED, 0);
    GT_TRUE(!next(fd));
}

GT(repeats_are_merged)
{
    setup();
    touch("f", 0);
    int fd = ino_new(), wd = (int)GT_OK(inotify_add_watch(fd, "f", IN_MODIFY));
    int f = (int)GT_OK(open("f", O_WRONLY));
    for (int i = 0; i < 5; i++)
        GT_EQ(write(f, "x", 1), 1);
    int n;
    GT_OK(ioctl(fd, FIONREAD, &n));
    GT_EQ(n, sizeof(struct inotify_event));
    expect(fd, wd, IN_MODIFY, 0);
    GT_TRUE(!next(fd));
}

GT(small_buffer)
{
    setup();
    int fd = ino_new(), wd = (int)GT_OK(inotify_add_watch(fd, ".", IN_CREATE));
    touch("name", 0);
    char b[20];
    GT_ERR(read(fd, b, sizeof(b)), EINVAL);
    expect(fd, wd, IN_CREATE, "name");
    struct pollfd p = {fd, POLLIN};
    GT_EQ(poll(&p, 1, 0), 0);
    touch("other", 0);
    GT_EQ(poll(&p, 1, 0), 1);
}

GT(blocking_read)
{
    setup();
    int fd = (int)GT_OK(inotify_init());
    GT_OK(inotify_add_watch(fd, ".", IN_CREATE));
    if (!fork()) {
        usleep(30000);
        touch("late", 0);
        _exit(0);
    }
    GT_EQ(read(fd, buf, sizeof(buf)), sizeof(struct inotify_event) + 16);
    GT_STR(((struct inotify_event *)buf)->name, "late");
}

GT(hard_link_and_symlink)
{
    setup();
    touch("f", 0);
    int fd = ino_new(), wd = (int)GT_OK(inotify_add_watch(fd, ".", IN_CREATE | IN_DELETE | IN_ATTRIB));
    GT_OK(link("f", "g"));
    struct inotify_event *e = next(fd);
    GT_TRUE(e);
    if (e->mask == IN_ATTRIB) // the link count, seen by name or not
        e = next(fd);
    GT_TRUE(e && e->mask == IN_CREATE && !strcmp(e->name, "g"));
    while (next(fd))
        ;
    GT_OK(symlink("f", "s"));
    expect(fd, wd, IN_CREATE, "s");
}

GT(watched_file_stays_known) // the cache may not forget what is watched
{
    setup();
    touch("keep", 0);
    int fd = ino_new(), wd = (int)GT_OK(inotify_add_watch(fd, "keep", IN_OPEN));
    char n[32];
    for (int i = 0; i < 3000; i++) {
        snprintf(n, sizeof(n), "n%d", i);
        access(n, F_OK);
    }
    close((int)GT_OK(open("keep", O_RDONLY)));
    expect(fd, wd, IN_OPEN, 0);
}

GT_MAIN
