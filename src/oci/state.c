// SPDX-License-Identifier: Apache-2.0
// State directories, see state.h. Everything goes through directory descriptors: a name is one
// component, never followed if it is a symbolic link.
#include "oci/state.h"
#include "base/slab.h"
#include "oci/cgroup.h"
#include "host/raw.h"
#include "oci/hooks.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char state_file[] = "state.json", state_tmp[] = "state.json.new",
                  state_socket[] = "control", state_exit[] = "exit";
constexpr size_t STATE_MAX = 4u << 20;

int state_check_id(const char *id, struct err *e)
{
    size_t n = strlen(id);
    bool ok = n >= 1 && n <= 255 && strcmp(id, ".") != 0 && strcmp(id, "..") != 0;
    for (size_t i = 0; ok && i < n; i++)
        ok = (id[i] >= 'a' && id[i] <= 'z') || (id[i] >= 'A' && id[i] <= 'Z') ||
             (id[i] >= '0' && id[i] <= '9') || (id[i] && strchr("_+.-", id[i]));
    return ok ? 0
              : err_set(e, -EINVAL, "container id \"%.300s\": must be 1 to 255 of letters, digits and _+.-",
                        id);
}

static int make_parents(const char *path, struct err *e)
{
    char buf[4096];
    if ((size_t)snprintf(buf, sizeof(buf), "%s", path) >= sizeof(buf))
        return err_set(e, -ENAMETOOLONG, "state directory %s: name too long", path);
    for (char *p = buf + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        if (mkdir(buf, 0755) < 0 && errno != EEXIST)
            return err_errno(e, -errno, "state directory %s", buf);
        *p = '/';
    }
    if (mkdir(buf, 0700) < 0 && errno != EEXIST)
        return err_errno(e, -errno, "state directory %s", buf);
    return 0;
}

int state_open_root(const char *path, struct err *e)
{
    struct stat st;
    int err = make_parents(path, e);
    if (err)
        return err;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, -errno, "state directory %s", path);
    if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 077)) {
        close(fd);
        return err_set(e, -EPERM, "state directory %s: must be yours and closed to others (chmod 700)", path);
    }
    return fd;
}

static void empty_dir(int dir)
{
    unlinkat(dir, state_tmp, 0);
    unlinkat(dir, state_file, 0);
    unlinkat(dir, state_socket, 0);
    unlinkat(dir, state_exit, 0);
    unlinkat(dir, CGROUP_RECORD, 0);
}

// --- reading ------------------------------------------------------------------------------------
static char *read_whole(int dir, const char *name, size_t max)
{
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    char *text = nullptr;
    if (fd < 0)
        return nullptr;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size <= max &&
        (text = mem_alloc((size_t)st.st_size + 1)) != nullptr &&
        read(fd, text, (size_t)st.st_size) != st.st_size) {
        mem_free(text);
        text = nullptr;
    }
    close(fd);
    return text;
}

static char *copy_string(struct json_object *o, const char *key)
{
    struct json_object *v;
    if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
        return nullptr;
    return mem_strdup(json_object_get_string(v));
}
static int64_t get_number(struct json_object *o, const char *key)
{
    struct json_object *v;
    return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}

// False: no state.json, or none that we can read.
static bool load(int dir, struct state_info *out)
{
    char *text = read_whole(dir, state_file, STATE_MAX);
    struct json_object *o = text ? json_tokener_parse(text) : nullptr, *a;
    mem_free(text);
    bool ok = o && json_object_is_type(o, json_type_object) &&
              get_number(o, "schema") == STATE_SCHEMA;
    if (ok) {
        out->bundle = copy_string(o, "bundle");
        out->rootfs = copy_string(o, "rootfs");
        out->created = copy_string(o, "created");
        out->owner = copy_string(o, "owner");
        out->pid = (pid_t)get_number(o, "pid");
        out->start_time = (uint64_t)get_number(o, "startTime");
        out->keep = get_number(o, "keep") != 0;
        ok = out->bundle && out->rootfs && out->created && out->owner && out->pid > 0;
    }
    if (ok && json_object_object_get_ex(o, "hooks", &a) && hooks_from_json(a, out->hooks))
        ok = false;
    if (ok && json_object_object_get_ex(o, "annotations", &a) &&
        json_object_is_type(a, json_type_object)) {
        json_object_object_foreach(a, key, v) {
            if (spec_kv_add(&out->annotations, key, json_object_get_string(v)))
                ok = false;
        }
    }
    json_object_put(o);
    return ok;
}

void state_info_free(struct state_info *i)
{
    mem_free(i->bundle);
    mem_free(i->rootfs);
    mem_free(i->created);
    mem_free(i->owner);
    for (size_t k = 0; k < i->annotations.n; k++) {
        mem_free(i->annotations.v[k].key);
        mem_free(i->annotations.v[k].value);
    }
    mem_free(i->annotations.v);
    for (int k = 0; k < HOOK_KINDS; k++)
        spec_hooks_free(&i->hooks[k]);
    *i = (struct state_info){};
}

static int open_dir(int root, const char *id, struct err *e)
{
    int err = state_check_id(id, e);
    if (err)
        return err;
    int dir = openat(root, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return errno == ENOENT ? err_set(e, -ENOENT, "container does not exist")
                               : err_errno(e, -errno, "state of %s", id);
    return dir;
}

int state_read(int root, const char *id, struct state_info *out, struct err *e)
{
    *out = (struct state_info){.exit_status = -1};
    int dir = open_dir(root, id, e);
    if (dir < 0)
        return dir;
    if (!load(dir, out)) {
        close(dir);
        state_info_free(out);
        return err_set(e, -ENOENT, "container does not exist");
    }
    snprintf(out->id, sizeof(out->id), "%s", id);
    // Shared: two that look do not disturb each other.
    out->alive = flock(dir, LOCK_SH | LOCK_NB) < 0;
    char *text = read_whole(dir, state_exit, 16);
    if (text && *text)
        out->exit_status = atoi(text);
    mem_free(text);
    close(dir);
    return 0;
}

static void socket_name(int dir, struct sockaddr_un *a)
{
    // A name of any length, below a directory that is open.
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", dir, state_socket);
}

// Whose folder is it? An id can be deleted and taken again while somebody looks at it.
static bool other_owner(int dir, const struct state_info *who)
{
    struct state_info now = {};
    bool other = load(dir, &now) && (now.pid != who->pid || now.start_time != who->start_time);
    state_info_free(&now);
    return other;
}

int state_connect(int root, const char *id, const struct state_info *who, struct err *e)
{
    struct sockaddr_un a;
    struct err why = {};
    int dir = open_dir(root, id, &why);
    if (dir == -ENOENT && who)
        return -ESTALE;
    if (dir < 0)
        return err_set(e, dir, "%s", why.text);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int err = fd < 0 ? -errno : 0;
    socket_name(dir, &a);
    if (!err && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        err = errno == ENOENT ? -ECONNREFUSED : -errno;
    if (who && other_owner(dir, who)) // looked at last: a folder never goes back to an earlier owner
        err = -ESTALE;
    close(dir);
    if (!err)
        return fd;
    if (fd >= 0)
        close(fd);
    return err == -ECONNREFUSED || err == -ESTALE
               ? err
               : err_errno(e, err, "control socket of %s", id);
}

// Field 22 of /proc/PID/stat, and in *run_state field 3; 0 when there is no such process.
static uint64_t start_time_of(pid_t pid, char *run_state)
{
    char path[64], buf[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
    if (fd >= 0)
        close(fd);
    buf[n < 0 ? 0 : n] = 0;
    const char *p = strrchr(buf, ')');
    *run_state = p && p[1] == ' ' ? p[2] : 0;
    for (int field = 2; p && field < 22; field++)
        if ((p = strchr(p, ' ')) != nullptr)
            p++;
    return p ? strtoull(p, nullptr, 10) : 0;
}

bool state_supervisor_stopped(const struct state_info *i)
{
    char now;
    return start_time_of(i->pid, &now) == i->start_time && (now == 'T' || now == 't');
}

int state_pidfd(const struct state_info *i)
{
    char now;
    int fd = (int)syscall(SYS_pidfd_open, i->pid, 0);
    if (fd < 0)
        return -ESRCH;
    if (start_time_of(i->pid, &now) == i->start_time)
        return fd;
    close(fd);
    return -ESRCH; // the number means somebody else now
}

// --- taking and leaving -------------------------------------------------------------------------
// Locks the directory for the caller alone. -EEXIST: somebody has it; -EAGAIN: it vanished.
static int lock_dir(int root, const char *id, int dir)
{
    struct stat a, b;
    if (flock(dir, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EEXIST : -errno;
    if (fstat(dir, &a) < 0 || fstatat(root, id, &b, AT_SYMLINK_NOFOLLOW) < 0 ||
        a.st_ino != b.st_ino || a.st_dev != b.st_dev)
        return -EAGAIN; // its owner has just removed it
    return 0;
}

static int take(struct state *s)
{
    if (mkdirat(s->root, s->id, 0700) < 0 && errno != EEXIST)
        return -errno;
    s->dir = openat(s->root, s->id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->dir < 0)
        return errno == ENOENT ? -EAGAIN : -errno;
    int err = lock_dir(s->root, s->id, s->dir);
    struct state_info old = {};
    if (!err && load(s->dir, &old) && old.keep)
        err = -EEXIST;
    state_info_free(&old);
    if (!err)
        err = cgroup_record_remove(s->dir);
    if (err)
        close(s->dir);
    else
        empty_dir(s->dir); // left behind by a supervisor that was killed
    return err;
}

static int make_files(struct state *s, struct err *e)
{
    struct sockaddr_un a;
    s->exit = openat(s->dir, state_exit, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socket_name(s->dir, &a);
    if (s->exit < 0 || s->listener < 0 ||
        bind(s->listener, (struct sockaddr *)&a, sizeof(a)) < 0)
        return err_errno(e, -errno, "control socket of %s", s->id);
    return 0;
}
int state_listen(struct state *s, struct err *e)
{
    constexpr int waiting = 64;
    return listen(s->listener, waiting) < 0
               ? err_errno(e, -errno, "control socket of %s", s->id)
               : 0;
}

int state_create(struct state *s, const char *root, const char *id, struct err *e)
{
    int err = state_check_id(id, e);
    if (err)
        return err;
    *s = (struct state){.root = -1, .dir = -1, .listener = -1, .exit = -1};
    snprintf(s->id, sizeof(s->id), "%s", id);
    s->root = state_open_root(root, e);
    if (s->root < 0)
        return s->root;
    err = -EAGAIN;
    for (int i = 0; i < 100 && err == -EAGAIN; i++)
        err = take(s);
    if (!err) {
        err = make_files(s, e);
        if (err)
            state_remove(s);
        return err;
    }
    close(s->root);
    if (err == -EEXIST)
        return err_set(e, err, "container with given ID already exists: %s", id);
    return err_errno(e, err, "state directory of %s", id);
}

static void add_string(struct json_object *o, const char *key, const char *v)
{
    json_object_object_add(o, key, json_object_new_string(v));
}

// From the file: name services would load libraries.
static void owner_name(char *out, size_t n)
{
    FILE *f = fopen("/etc/passwd", "re");
    struct passwd *pw = nullptr;
    while (f && (pw = fgetpwent(f)) != nullptr && pw->pw_uid != geteuid())
        ;
    if (pw)
        snprintf(out, n, "%s", pw->pw_name);
    else
        snprintf(out, n, "%u", (unsigned)geteuid());
    if (f)
        fclose(f);
}

int state_write(struct state *s, const struct spec *spec, const char *bundle, pid_t pid, bool keep,
                struct err *e)
{
    char when[64], run_state;
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t k = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(when + k, sizeof(when) - k, ".%09ldZ", now.tv_nsec);
    char owner[64];
    owner_name(owner, sizeof(owner));
    struct json_object *o = json_object_new_object(), *notes = json_object_new_object();
    json_object_object_add(o, "schema", json_object_new_int(STATE_SCHEMA));
    add_string(o, "id", s->id);
    json_object_object_add(o, "pid", json_object_new_int(pid));
    json_object_object_add(o, "startTime", json_object_new_int64((int64_t)start_time_of(pid, &run_state)));
    json_object_object_add(o, "keep", json_object_new_int(keep));
    add_string(o, "bundle", bundle);
    add_string(o, "rootfs", spec->root_path);
    add_string(o, "created", when);
    add_string(o, "owner", owner);
    for (size_t i = 0; i < spec->annotations.n; i++)
        add_string(notes, spec->annotations.v[i].key, spec->annotations.v[i].value);
    json_object_object_add(o, "annotations", notes);
    struct spec_hooks later[HOOK_KINDS] = {};
    later[HOOK_POSTSTART] = spec->hooks[HOOK_POSTSTART];
    later[HOOK_POSTSTOP] = spec->hooks[HOOK_POSTSTOP];
    json_object_object_add(o, "hooks", hooks_to_json(later));
    const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
    int fd = text ? openat(s->dir, state_tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                           0600)
                  : -1;
    int err = fd < 0 ? -errno : 0;
    if (!err && write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        err = -errno;
    if (fd >= 0)
        close(fd);
    if (!err && renameat(s->dir, state_tmp, s->dir, state_file) < 0)
        err = -errno;
    json_object_put(o);
    return err ? err_errno(e, err, "state of %s", s->id) : 0;
}

void state_exit_status(struct state *s, int status)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%d\n", status);
    struct iovec v = {text, (size_t)n};
    host_call(__NR_pwritev2, s->exit, &v, 1, -1, -1, 0);
}

void state_remove(struct state *s)
{
    empty_dir(s->dir);
    unlinkat(s->root, s->id, AT_REMOVEDIR);
    close(s->dir);
    close(s->root);
}

int state_delete(int root, const char *id, const struct state_info *who, struct err *e)
{
    int dir = open_dir(root, id, e);
    if (dir < 0)
        return dir;
    int err = lock_dir(root, id, dir);
    if (who && (!err || err == -EEXIST) && other_owner(dir, who))
        err = -EAGAIN;
    if (err == -EAGAIN) {
        err = err_set(e, -ENOENT, "container does not exist"); // another `delete` was faster
    } else if (err == -EEXIST) {
        err = -EBUSY; // it runs
    } else if (!err && (err = cgroup_record_remove(dir)) != 0) {
        err_errno(e, err, "cgroup of %s cannot be removed", id);
        err = -EIO;
    } else if (!err) {
        empty_dir(dir);
        if (unlinkat(root, id, AT_REMOVEDIR) < 0)
            err = err_errno(e, -errno, "state of %s", id);
    }
    close(dir);
    return err;
}
