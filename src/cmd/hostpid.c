// SPDX-License-Identifier: Apache-2.0
// See hostpid.h. Reads the host's /proc; what it says of processes that end meanwhile is passed over.
#include "cmd/hostpid.h"
#include "base/slab.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool look_at(const char *name, struct host_process *h)
{
    char path[300], line[256], *end;
    snprintf(path, sizeof(path), "/proc/%s/status", name);
    FILE *f = fopen(path, "re");
    *h = (struct host_process){.pid = atoi(name)};
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "PPid:", 5) == 0)
            h->ppid = atoi(line + 5);
        if (strncmp(line, "NSpid:", 6) != 0)
            continue;
        for (char *p = line + 6; *p && *p != '\n'; p = end) {
            long v = strtol(p, &end, 10);
            if (end == p)
                break;
            h->inner = (int)v;
        }
    }
    if (f)
        fclose(f);
    return h->ppid > 0 && h->inner > 0;
}
int host_processes_read(struct host_processes *all)
{
    DIR *d = opendir("/proc");
    struct host_process h;
    for (struct dirent *ent; d && (ent = readdir(d)) != nullptr;) {
        if (!isdigit((unsigned char)ent->d_name[0]) || !look_at(ent->d_name, &h))
            continue;
        struct host_process *v = mem_realloc(all->v, (all->n + 1) * sizeof(*v));
        if (!v)
            break;
        all->v = v;
        v[all->n++] = h;
    }
    if (d)
        closedir(d);
    return d ? 0 : -EIO;
}
static const struct host_process *find(const struct host_processes *all, int pid)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->v[i].pid == pid)
            return &all->v[i];
    return nullptr;
}
int host_process_inside(const struct host_processes *all, int supervisor, int inner)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct host_process *parent =
            all->v[i].inner == inner ? find(all, all->v[i].ppid) : nullptr;
        if (parent && parent->ppid == supervisor)
            return all->v[i].pid;
    }
    return 0;
}

bool host_process_is(int pid, int supervisor, int inner)
{
    struct host_process h, parent;
    char name[16];
    snprintf(name, sizeof(name), "%d", pid);
    if (!look_at(name, &h) || h.inner != inner)
        return false;
    snprintf(name, sizeof(name), "%d", h.ppid);
    return look_at(name, &parent) && parent.ppid == supervisor;
}

void host_processes_free(struct host_processes *all)
{
    mem_free(all->v);
    *all = (struct host_processes){};
}
