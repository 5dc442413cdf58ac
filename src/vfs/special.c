// SPDX-License-Identifier: Apache-2.0
// Registration of what opening a FIFO or a device means: see special.h. The table is filled before
// any guest runs and constant afterwards.
#include "vfs/special.h"
#include "abi/errno.h"
#include "base/assert.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct chrdev {
    unsigned major, minor, count;
    const char *name;
    const struct file_ops *ops;
    special_open_fn *fn;
};
static struct chrdev chrdevs[32];
static size_t nchrdevs;
static special_open_fn *fifo_fn;

void vfs_register_fifo(special_open_fn *fn)
{
    fifo_fn = fn;
}

void chrdev_register(unsigned major, unsigned minor, unsigned count, const char *name,
                     const struct file_ops *ops, special_open_fn *fn)
{
    CHECK(nchrdevs < ARRAY_LEN(chrdevs));
    chrdevs[nchrdevs++] = (struct chrdev){major, minor, count, name, ops, fn};
}

static int chrdev_open(struct inode *i, struct file *f)
{
    unsigned ma = major(i->rdev), mi = minor(i->rdev);
    for (size_t k = 0; k < nchrdevs; k++) {
        const struct chrdev *d = &chrdevs[k];
        if (d->major != ma || mi < d->minor || mi - d->minor >= d->count)
            continue;
        if (d->ops)
            f->ops = d->ops;
        return d->fn ? d->fn(i, f) : 0;
    }
    return -ENXIO;
}

int vfs_open_special(struct inode *i, struct file *f)
{
    if (i->fops && i->fops->own_open) {
        f->ops = i->fops;
        return i->fops->open ? i->fops->open(f) : 0;
    }
    if (S_ISFIFO(i->mode))
        return fifo_fn ? fifo_fn(i, f) : -ENXIO;
    if (S_ISCHR(i->mode))
        return chrdev_open(i, f);
    return -ENXIO;
}

void chrdev_show(struct strbuf *out)
{
    strbuf_str(out, "Character devices:\n");
    for (unsigned ma = 0; ma < 512; ma++) {
        for (size_t k = 0; k < nchrdevs; k++) {
            size_t before = 0; // one line per major and name
            while (before < k && (chrdevs[before].major != ma ||
                                  strcmp(chrdevs[before].name, chrdevs[k].name) != 0))
                before++;
            if (chrdevs[k].major == ma && before == k)
                strbuf_fmt(out, "%3u %s\n", ma, chrdevs[k].name);
        }
    }
    strbuf_str(out, "\nBlock devices:\n");
}
