// SPDX-License-Identifier: Apache-2.0
// The umask's loan to an address space, with the space's word played by the test: what it holds is taken
// for nine bits, the word's owner changes, and whoever ends leaves the value behind.
#include "base/test.h"
#include "mem/mm.h"
#include "vfs/internal.h"

TEST(umask_loan)
{
    uint64_t words[2] = {};
    struct aspace as[3] = {{.umask = &words[0]}, {.umask = &words[1]}, {}}; // the last cannot borrow
    struct mm mm[3] = {{.as = &as[0]}, {.as = &as[1]}, {.as = &as[2]}};
    struct fs_context a = {.id = 5, .umask = 022}, b = {.id = 6, .umask = 027};

    assert_int_equal(fs_umask_set(&a, 0100, &mm[2]), 022);
    assert_null(a.umask_lent);
    assert_int_equal(fs_umask_set(&a, 0xfff0000 | 077, &mm[0]), 0100);
    assert_true(a.umask_lent == &mm[0] && mm[0].umask == &a);
    assert_true(words[0] == pub_umask(5, 077) && words[0] >> 9 == 5);
    words[0] = pub_umask(5, 0123); // the stub's call
    assert_int_equal(fs_umask(&a), 0123);

    words[0] = ~0ull; // a lie
    assert_int_equal(fs_umask(&a), 0777);
    words[0] = 0x123456789abcd000 | 0456; // names nobody
    assert_int_equal(fs_umask_set(&a, 1, &mm[1]), 0456);
    assert_true(words[0] == 0 && !mm[0].umask && a.umask_lent == &mm[1]);
    words[0] = pub_umask(5, 0555); // no longer asked
    assert_int_equal(fs_umask(&a), 1);

    words[1] = pub_umask(5, 2); // b takes the space over, a keeps its value
    assert_int_equal(fs_umask_set(&b, 3, &mm[1]), 027);
    assert_true(!a.umask_lent && mm[1].umask == &b && words[1] == pub_umask(6, 3));
    assert_int_equal(fs_umask(&a), 2);
    words[1] = pub_umask(6, 4);
    umask_recall(&b); // the context ends
    assert_true(b.umask == 4 && !b.umask_lent && !mm[1].umask && words[1] == 0);

    assert_int_equal(fs_umask_set(&a, 7, &mm[0]), 2);
    words[0] = pub_umask(5, 0750);
    mm_umask_free(&mm[0]); // the space ends
    assert_true(a.umask == 0750 && !a.umask_lent && !mm[0].umask);
    assert_int_equal(fs_umask(&a), 0750);
    mm_umask_free(&mm[0]);
    umask_recall(&a);
    assert_int_equal(fs_umask_set(&a, 0, nullptr), 0750);
}
