// SPDX-License-Identifier: Apache-2.0
// Sparse files: holes, SEEK_DATA and SEEK_HOLE, fallocate.
#include "gtfs.h"

GT(holes_read_zero)
{
    char b[10000];
    int fd = open("h", O_CREAT | O_RDWR, 0644);
    struct stat st;
    GT_EQ(pwrite(fd, "end", 3, 1 << 20), 3);
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, (1 << 20) + 3);
    GT_TRUE(st.st_blocks < 256);
    memset(b, 'x', sizeof(b));
    GT_EQ(pread(fd, b, sizeof(b), 5000), (long)sizeof(b));
    for (size_t i = 0; i < sizeof(b); i++)
        GT_EQ(b[i], 0);
    GT_EQ(pread(fd, b, 100, 1 << 20), 3);
}
GT(seek_data_hole)
{
    int fd = open("s", O_CREAT | O_RDWR, 0644);
    GT_EQ(pwrite(fd, "a", 1, 65536), 1);
    GT_EQ(pwrite(fd, "b", 1, 4 * 65536), 1);
    GT_OK(ftruncate(fd, 6 * 65536));
    GT_EQ(lseek(fd, 0, SEEK_DATA), 65536);
    GT_EQ(lseek(fd, 0, SEEK_HOLE), 0);
    off_t hole = lseek(fd, 65536, SEEK_HOLE);
    GT_TRUE(hole > 65536 && hole <= 2 * 65536);
    GT_EQ(lseek(fd, hole, SEEK_DATA), 4 * 65536);
    GT_EQ(lseek(fd, 65536, SEEK_DATA), 65536);
    GT_ERR(lseek(fd, 5 * 65536, SEEK_DATA), ENXIO);
    GT_EQ(lseek(fd, 5 * 65536, SEEK_HOLE), 5 * 65536);
    GT_ERR(lseek(fd, 6 * 65536, SEEK_DATA), ENXIO);
    GT_ERR(lseek(fd, 6 * 65536, SEEK_HOLE), ENXIO);
    GT_ERR(lseek(fd, -1, SEEK_DATA), ENXIO);
    int e = open("e", O_CREAT | O_RDWR, 0644);
    GT_ERR(lseek(e, 0, SEEK_DATA), ENXIO);
    GT_ERR(lseek(e, 0, SEEK_HOLE), ENXIO);
}
GT(fallocate_modes)
{
    char b[8];
    struct stat st;
    int fd = gtfs_file("f", "data");
    GT_OK(fallocate(fd, 0, 0, 100000));
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, 100000);
    GT_TRUE(st.st_blocks * 512 >= 100000);
    GT_OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 100000, 100000));
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, 100000);
    gtfs_is("f", "data");
    GT_EQ(pwrite(fd, "12345678", 8, 8190), 8);
    blkcnt_t before = st.st_blocks;
    GT_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192));
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, 100000);
    GT_TRUE(st.st_blocks < before);
    GT_EQ(pread(fd, b, 8, 8188), 8);
    GT_EQ(memcmp(b, "\0\0\0\0003456", 8), 0);
    GT_EQ(lseek(fd, 0, SEEK_DATA), 8192);
    GT_ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 8192), EOPNOTSUPP);
    GT_ERR(fallocate(fd, 0, -1, 5), EINVAL);
    GT_ERR(fallocate(fd, 0, 0, 0), EINVAL);
    GT_ERR(fallocate(fd, 0x4000, 0, 10), EOPNOTSUPP);
    GT_ERR(fallocate(fd, 0, INT64_MAX - 5, 100), EFBIG);
    int r = open("f", O_RDONLY), p[2];
    GT_ERR(fallocate(r, 0, 0, 10), EBADF);
    GT_OK(pipe(p));
    GT_ERR(fallocate(p[1], 0, 0, 10), ESPIPE);
}
GT(punch_inside_page)
{
    char b[5000];
    int fd = open("p", O_CREAT | O_RDWR, 0644);
    memset(b, 'x', sizeof(b));
    GT_EQ(write(fd, b, sizeof(b)), 5000);
    GT_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 50));
    GT_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4000, 200));
    GT_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4900, 9000)); // past the end
    GT_EQ(pread(fd, b, 5000, 0), 5000);
    for (int i = 0; i < 5000; i++) {
        int hole = (i >= 100 && i < 150) || (i >= 4000 && i < 4200) || i >= 4900;
        GT_EQ(b[i], hole ? 0 : 'x');
    }
    struct stat st;
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, 5000);
}
GT(far_offsets)
{
    char c;
    int fd = open("far", O_CREAT | O_RDWR, 0644);
    off_t far = 1ll << 42; // 4 TiB: an index, not an array
    if (ftruncate(fd, far) && errno == EFBIG)
        GT_SKIP("file system has smaller files");
    GT_EQ(pwrite(fd, "z", 1, far - 1), 1);
    GT_EQ(pread(fd, &c, 1, far - 1), 1);
    GT_EQ(c, 'z');
    GT_EQ(pread(fd, &c, 1, far / 2), 1);
    GT_EQ(c, 0);
    off_t data = lseek(fd, 0, SEEK_DATA);
    GT_TRUE(data >= far - 4096 && data < far);
    GT_OK(ftruncate(fd, 0));
}
GT(truncate_into_hole)
{
    char b[4096];
    int fd = open("t", O_CREAT | O_RDWR, 0644);
    GT_EQ(pwrite(fd, "abc", 3, 20000), 3);
    GT_OK(ftruncate(fd, 10000));
    GT_OK(ftruncate(fd, 30000));
    GT_EQ(pread(fd, b, 3, 20000), 3);
    GT_EQ(memcmp(b, "\0\0\0", 3), 0);
    GT_ERR(lseek(fd, 0, SEEK_DATA), ENXIO);
}
GT_MAIN
