// SPDX-License-Identifier: Apache-2.0
// nacre events: the figures of a container's cgroup, once or again and again, and a line whenever the
// host's OOM killer had to be called for it. One JSON object for each line, as runc prints them.
#include "cmd/cgroups.h"
#include "cmd/client.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

// "5s", "1m30s", "500ms", as Go writes durations. Milliseconds, or -1.
static long parse_interval(const char *s)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"ms", 1}, {"us", 1e-3}, {"ns", 1e-6}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    double sum = 0;
    if (!*s)
        return -1;
    while (*s) {
        char *end;
        double v = strtod(s, &end);
        size_t n = strcspn(end, "0123456789."), k = 0;
        while (k < ARRAY_LEN(units) && !(strlen(units[k].unit) == n && strncmp(end, units[k].unit, n) == 0))
            k++;
        if (end == s || v < 0 || k == ARRAY_LEN(units))
            return -1;
        sum += v * units[k].ms;
        s = end + n;
    }
    constexpr double most = 1e9;
    return sum < 1 || sum > most ? -1 : (long)sum;
}

static void print(const char *type, const char *id, struct json_object *data)
{
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "type", json_object_new_string(type));
    json_object_object_add(o, "id", json_object_new_string(id));
    if (data)
        json_object_object_add(o, "data", data);
    puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    fflush(stdout);
    json_object_put(o);
}

struct oom_watch {
    const struct cgroup_dir *d;
    int fd;         // v1: eventfd; v2: memory.events, ready with POLLPRI
    uint64_t kills; // v2: seen so far
};
static uint64_t v2_kills(const struct oom_watch *w)
{
    char text[512];
    const char *at = cgroup_read(w->d, "memory.events", text, sizeof(text)) > 0
                         ? strstr(text, "oom_kill ") : nullptr;
    return at ? strtoull(at + 9, nullptr, 10) : 0;
}
static void watch_oom(struct oom_watch *w, const struct cgroup *c)
{
    *w = (struct oom_watch){.d = cgroup_find(c, "memory"), .fd = -1};
    if (!w->d)
        return;
    if (w->d->v2) {
        char text[512];
        w->fd = cgroup_open_file(w->d, "memory.events", O_RDONLY);
        if (w->fd >= 0 && read(w->fd, text, sizeof(text)) < 0) // from here on changes are told
            w->kills = 0;
        w->kills = v2_kills(w);
        return;
    }
    char line[64];
    int control = cgroup_open_file(w->d, "memory.oom_control", O_RDONLY);
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    snprintf(line, sizeof(line), "%d %d", w->fd, control);
    if (control < 0 || w->fd < 0 || cgroup_write(w->d, "cgroup.event_control", line)) {
        close(w->fd);
        w->fd = -1;
    }
    if (control >= 0)
        close(control);
}
// Something is to be read: how many times the killer came.
static bool oom_happened(struct oom_watch *w)
{
    uint64_t n = 0;
    if (!w->d->v2) {
        // The group's end is told the same way.
        char text[64];
        return read(w->fd, &n, sizeof(n)) == sizeof(n) &&
               cgroup_read(w->d, "memory.oom_control", text, sizeof(text)) > 0;
    }
    char text[512];
    if (lseek(w->fd, 0, SEEK_SET) < 0 || read(w->fd, text, sizeof(text)) < 0)
        return false;
    n = v2_kills(w);
    bool more = n > w->kills;
    w->kills = n;
    return more;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
// Until the container has ended: its supervisor hangs up on the connection that waits for it.
static int stream(const struct container *c, const struct cgroup *cg, long interval, struct err *e)
{
    struct oom_watch w;
    int sock = state_connect(c->root, c->info.id, &c->info, e);
    if (sock < 0 || control_send(sock, CTL_WAIT, 0, nullptr, 0))
        return err_set(e, 1, "container not running");
    watch_oom(&w, cg);
    int64_t next = now_ms() + interval;
    for (;;) {
        struct pollfd p[2] = {{.fd = sock, .events = POLLIN},
                              {.fd = w.fd, .events = (short)(w.d && w.d->v2 ? POLLPRI : POLLIN)}};
        int64_t left = next - now_ms();
        int r = poll(p, 2, (int)MAX(left, (int64_t)0));
        if (r < 0 && errno != EINTR)
            break;
        if (r > 0 && p[1].revents && oom_happened(&w))
            print("oom", c->info.id, nullptr);
        if (r > 0 && p[0].revents)
            break;
        if (now_ms() >= next) {
            print("stats", c->info.id, cgroup_stats(cg));
            next += interval;
        }
    }
    close(sock);
    return 0;
}

static int events_run(struct globals *g, int argc, char **argv, struct err *e)
{
    static struct cgroup cg;
    const char *interval = "5s";
    bool once = false;
    const struct opt opts[] = {{"interval", OPT_STR, &interval}, {"stats", OPT_BOOL, &once}};
    struct container c;
    int i = 1;
    if (opts_parse_anywhere(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    if (i + 1 != argc)
        return err_set(e, 1, "exactly one argument, the container's id, is needed");
    long ms = parse_interval(interval);
    if (ms <= 0)
        return err_set(e, 1, "duration interval must be greater than 0");
    if (container_find(g, argv[i], &c, e))
        return 1;
    if (c.status == CONTAINER_STOPPED)
        return err_set(e, 1, "container with id %s is not running", c.info.id);
    if (!cgroups_of(c.root, c.info.id, &cg))
        return err_set(e, 1, "container %s has no cgroup: it was made without limits", c.info.id);
    if (!once)
        return stream(&c, &cg, ms, e);
    print("stats", c.info.id, cgroup_stats(&cg));
    return 0;
}

const struct command command_events = {
    .name = "events", .args = "[--stats] [--interval DURATION] ID",
    .help = "print what a container uses, and when it ran out of memory",
    .flags = "  --stats               once\n"
             "  --interval DURATION   otherwise each so long (default 5s)\n",
    .run = events_run,
};
