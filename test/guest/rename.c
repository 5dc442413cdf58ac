// SPDX-License-Identifier: Apache-2.0
// renameat2(2): replacing, flags, directories into themselves, races.
#include "gtfs.h"

static int rename2(const char *a, const char *b, unsigned flags)
{
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, flags);
}
GT(basic)
{
    close(gtfs_file("a", "A"));
    GT_OK(rename("a", "b"));
    GT_TRUE(!gtfs_exists("a"));
    gtfs_is("b", "A");
    GT_ERR(rename("a", "c"), ENOENT);
    GT_ERR(rename("", "c"), ENOENT);
    GT_ERR(rename("b", ""), ENOENT);
    GT_ERR(rename("b", "no/c"), ENOENT);
    GT_OK(rename("b", "b"));
    gtfs_is("b", "A");
}
GT(replace)
{
    struct stat st;
    close(gtfs_file("r1", "one"));
    int old = gtfs_file("r2", "two");
    GT_OK(rename("r1", "r2"));
    gtfs_is("r2", "one");
    GT_OK(fstat(old, &st));
    GT_EQ(st.st_nlink, 0);
    char b[4];
    GT_EQ(pread(old, b, 4, 0), 3);
    GT_EQ(b[0], 't');
}
GT(same_inode)
{
    close(gtfs_file("h1", "x"));
    GT_OK(link("h1", "h2"));
    GT_OK(rename("h1", "h2")); // does nothing, as POSIX wants
    GT_TRUE(gtfs_exists("h1") && gtfs_exists("h2"));
}
GT(types)
{
    GT_OK(mkdir("d1", 0755));
    GT_OK(mkdir("d2", 0755));
    gtfs_touch("f1");
    GT_ERR(rename("f1", "d1"), EISDIR);
    GT_ERR(rename("d1", "f1"), ENOTDIR);
    gtfs_touch("d2/full");
    GT_ERR(rename("d1", "d2"), ENOTEMPTY);
    GT_OK(unlink("d2/full"));
    GT_OK(rename("d1", "d2"));
    GT_TRUE(!gtfs_exists("d1"));
    GT_ERR(rename("f1", "f2/"), ENOTDIR);
    GT_ERR(rename("f1/", "f2"), ENOTDIR);
    GT_OK(rename("d2/", "d3/"));
    GT_ERR(rename(".", "x"), EBUSY);
    GT_ERR(rename("..", "x"), EBUSY);
    GT_ERR(rename("d3", "."), EBUSY);
    GT_ERR(rename("d3/.", "x"), EBUSY);
    GT_ERR(rename2("d3", "..", RENAME_NOREPLACE), EEXIST);
}
GT(into_itself)
{
    GT_OK(mkdir("p", 0755));
    GT_OK(mkdir("p/c", 0755));
    GT_OK(mkdir("p/c/g", 0755));
    GT_ERR(rename("p", "p/c/x"), EINVAL);
    GT_ERR(rename("p", "p/x"), EINVAL);
    GT_ERR(rename("p/c/g", "p"), ENOTEMPTY);
    GT_ERR(rename("p/c", "p"), ENOTEMPTY);
    GT_ERR(rename2("p/c/g", "p", RENAME_EXCHANGE), EINVAL);
    GT_OK(rename("p/c/g", "g"));
    GT_OK(rename("p", "g/p"));
    GT_OK(open("g/p/c", O_RDONLY));
    GT_OK(open("g/p/c/../..", O_RDONLY));
}
GT(flags)
{
    close(gtfs_file("x", "X"));
    close(gtfs_file("y", "Y"));
    GT_ERR(rename2("x", "y", RENAME_NOREPLACE), EEXIST);
    GT_OK(rename2("x", "z", RENAME_NOREPLACE));
    GT_OK(rename2("z", "y", RENAME_EXCHANGE));
    gtfs_is("z", "Y");
    gtfs_is("y", "X");
    GT_ERR(rename2("z", "missing", RENAME_EXCHANGE), ENOENT);
    GT_ERR(rename2("z", "y", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
    GT_ERR(rename2("z", "y", 0x100), EINVAL);
    GT_OK(mkdir("xd", 0755));
    GT_OK(mkdir("xd/sub", 0755));
    gtfs_touch("xd/sub/f");
    GT_OK(rename2("xd/sub", "y", RENAME_EXCHANGE)); // directory against file
    gtfs_is("xd/sub", "X");
    GT_TRUE(gtfs_exists("y/f"));
    struct stat st;
    GT_OK(stat("xd", &st));
    GT_EQ(st.st_nlink, 2);
    GT_OK(stat("y/..", &st));
    struct stat here;
    GT_OK(stat(".", &here));
    GT_EQ(st.st_ino, here.st_ino);
    GT_ERR(rename2("y/", "xd/sub/", RENAME_EXCHANGE), ENOTDIR);
}
GT(across_mounts)
{
    close(gtfs_file("am", "x"));
    GT_ERR(rename("am", "/proc/x"), EXDEV);
}
GT(moved_dir_keeps_open_files)
{
    GT_OK(mkdir("m1", 0755));
    GT_OK(mkdir("m2", 0755));
    int fd = gtfs_file("m1/f", "1");
    char link[64], text[400], want[400];
    GT_OK(rename("m1", "m2/m1x"));
    sprintf(link, "/proc/self/fd/%d", fd);
    long n = readlink(link, text, sizeof(text) - 1);
    GT_OK(n);
    text[n] = 0;
    sprintf(want, "%s/m2/m1x/f", gtfs_path);
    GT_STR(text, want);
    // A replaced file keeps its own name with "(deleted)".
    int over = gtfs_file("over", "2");
    gtfs_touch("new");
    GT_OK(rename("new", "over"));
    sprintf(link, "/proc/self/fd/%d", over);
    n = readlink(link, text, sizeof(text) - 1);
    GT_OK(n);
    text[n] = 0;
    sprintf(want, "%s/over (deleted)", gtfs_path);
    GT_STR(text, want);
}
GT(negative_then_positive)
{
    struct stat st;
    GT_ERR(stat("np", &st), ENOENT);
    gtfs_touch("npx");
    GT_OK(rename("npx", "np"));
    GT_OK(stat("np", &st));
    GT_ERR(stat("npx", &st), ENOENT);
    GT_OK(rename("np", "npx"));
    GT_ERR(stat("np", &st), ENOENT);
    GT_OK(stat("npx", &st));
}
// Two processes move a tree to and fro while two walk it: no hang, no error but ENOENT.
GT(race)
{
    GT_OK(mkdir("ra", 0755));
    GT_OK(mkdir("rb", 0755));
    GT_OK(mkdir("ra/t", 0755));
    GT_OK(mkdir("ra/t/u", 0755));
    gtfs_touch("ra/t/u/f");
    for (int p = 0; p < 4; p++)
        if (fork() == 0) {
            struct stat st;
            for (int i = 0; i < 3000; i++) {
                int r = p == 0   ? rename("ra/t", "rb/t")
                        : p == 1 ? rename("rb/t", "ra/t")
                        : p == 2 ? stat("ra/t/u/../u/f", &st)
                                 : stat("rb/t/u/../../t/u/f", &st);
                if (r && errno != ENOENT)
                    _exit(errno);
            }
            _exit(0);
        }
    for (int p = 0; p < 4; p++) {
        int st;
        GT_OK(wait(&st));
        GT_EQ(st, 0);
    }
    GT_TRUE(gtfs_exists("ra/t/u/f") != gtfs_exists("rb/t/u/f"));
}
// Atomic replacement: a reader always finds a whole file.
GT(race_replace)
{
    close(gtfs_file("target", "full"));
    pid_t w = fork();
    if (!w) {
        for (int i = 0; i < 2000; i++) {
            int fd = open("tmpname", O_CREAT | O_WRONLY | O_TRUNC, 0644);
            if (write(fd, "full", 4) != 4 || close(fd) || rename("tmpname", "target"))
                _exit(1);
        }
        _exit(0);
    }
    int st = -1;
    while (waitpid(w, &st, WNOHANG) == 0)
        gtfs_is("target", "full");
    GT_EQ(st, 0);
}
GT_MAIN
