// SPDX-License-Identifier: Apache-2.0
// libFuzzer harness: a sequence of frames (each with its size field) is served on a small tree in a
// fresh temporary directory. Nothing outside that directory may change. Seeds: test/corpus/gofer.
#include "base/assert.h"
#include "gofer/server.h"
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int rm_one(const char *p, const struct stat *st, int flag, struct FTW *f)
{
    return remove(p);
}
static void tree(int dir)
{
    mkdirat(dir, "d", 0755);
    close(openat(dir, "d/f", O_CREAT | O_RDWR, 0644));
    int fd = openat(dir, "f", O_CREAT | O_RDWR, 0644);
    CHECK(write(fd, "hello", 5) == 5);
    close(fd);
    CHECK(symlinkat("/etc", dir, "l") == 0);
    CHECK(mkfifoat(dir, "p", 0600) == 0);
}
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char top[] = "/tmp/nacre-fuzz-XXXXXX";
    CHECK(mkdtemp(top));
    // Tallocate and Tsetattr come with any size: none of it is to fill the disk.
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 20, 1 << 20}) == 0);
    int dir = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);
    tree(dir);
    struct gofer_root roots[2] = {{.fd = dir, .parent = -1, .donate = true},
                                  {.fd = dir, .parent = -1, .readonly = true}};
    struct server s;
    CHECK(server_init(&s, -1, roots, 2) == 0);
    size_t off = 0;
    while (n - off >= 4) {
        uint32_t size = np_frame_size(data + off, n - off);
        if (size < NP_HDR || size > n - off)
            break;
        long r = server_handle(&s, data + off, size);
        if (r < 0)
            break;
        struct np_msg m;
        CHECK(np_decode(s.tx, (size_t)r, &m) == 0);
        server_drop(&s);
        off += size;
    }
    server_free(&s);
    close(dir);
    nftw(top, rm_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
