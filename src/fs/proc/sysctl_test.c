// SPDX-License-Identifier: Apache-2.0
// Every row of /proc/sys shows a line; those of words take what they show and refuse nonsense.
#include "base/test.h"
#include "fs/proc/proc.h"
#include "kern/sysctl.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int rows, stores;

static void check_row(const struct proc_entry *e)
{
    struct proc_inode p = {.e = e};
    struct strbuf out = {};
    int err = e->show(&out, &p);
    if (err == -EIO && (!strcmp(e->name, "hostname") || !strcmp(e->name, "domainname")))
        return; // there is no task
    if (err || !out.p || !out.len || out.p[out.len - 1] != '\n')
        fail_msg("row %s: %d", e->name, err);
    if (e->store) {
        assert_int_equal(e->store(out.p, out.len, &p), 0);
        assert_int_equal(e->store("x", 1, &p), -EINVAL);
        assert_int_equal(e->store("-1", 2, &p), -EINVAL);
        assert_int_equal(e->store("99999999999999999999999", 23, &p), -EINVAL);
        stores++;
    }
    rows++;
    strbuf_free(&out);
}

static void check_rows(const struct proc_entry *e, int depth)
{
    assert_true(depth < 8);
    for (; e->name; e++) {
        if (S_ISDIR(e->mode))
            check_rows(e->children, depth + 1);
        else
            check_row(e);
    }
}

TEST(sysctl_rows_show_and_store)
{
    check_rows(proc_sys_entries, 0);
    assert_true(rows > 100);
    assert_true(stores > 10);
    assert_int_equal(sysctls.somaxconn, 4096);
}
