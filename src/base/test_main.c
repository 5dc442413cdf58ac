// SPDX-License-Identifier: Apache-2.0
// Runs the registered unit tests, by file and name. Arguments choose: a test runs when one of them
// is part of "path:name". NACRE_TEST_XML=1 and the like are cmocka's own environment variables.
#include "base/test.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test_case *all;
static size_t count;

void test_register(struct test_case *t)
{
    t->next = all;
    all = t;
    count++;
}

bool test_panics(void (*fn)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (fd >= 0)
            dup2(fd, 2);
        fn();
        _exit(0);
    }
    int status = 0;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 134;
}

static int by_name(const void *a, const void *b)
{
    const struct test_case *x = *(struct test_case *const *)a, *y = *(struct test_case *const *)b;
    int r = strcmp(x->file, y->file);
    return r ? r : strcmp(x->name, y->name);
}

static bool chosen(const struct test_case *t, int argc, char **argv)
{
    char id[512];
    snprintf(id, sizeof(id), "%s:%s", t->file, t->name);
    for (int i = 1; i < argc; i++)
        if (strstr(id, argv[i]))
            return true;
    return argc < 2;
}

int main(int argc, char **argv)
{
    struct test_case **tests = calloc(count + 1, sizeof(*tests));
    struct CMUnitTest *run = calloc(count + 1, sizeof(*run));
    if (!tests || !run)
        return 2;
    size_t n = 0, m = 0;
    for (struct test_case *t = all; t; t = t->next)
        tests[n++] = t;
    qsort(tests, n, sizeof(struct test_case *), by_name);
    for (size_t i = 0; i < n; i++)
        if (chosen(tests[i], argc, argv))
            run[m++] = (struct CMUnitTest){.name = tests[i]->name, .test_func = tests[i]->fn};
    setvbuf(stdout, nullptr, _IOLBF, 0);
    // The macro wants an array; this is what it calls.
    int failed = _cmocka_run_group_tests("nacre", run, m, nullptr, nullptr);
    free(run);
    free(tests);
    return failed ? 1 : 0;
}
