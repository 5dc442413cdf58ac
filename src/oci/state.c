// SPDX-License-Identifier: Apache-2.0
// State directories, see state.h. Everything goes through directory descriptors: a name is one
// component, never followed if it is a symbolic link.
#include "oci/state.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char state_file[] = "state.json", state_tmp[] = "state.json.new";

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

static int open_root(const char *path, struct err *e)
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
}

// 0 when ROOT/ID is ours now; -EEXIST when somebody has it; -EAGAIN when it vanished meanwhile.
static int take(struct state *s)
{
    struct stat a, b;
    if (mkdirat(s->root, s->id, 0700) < 0 && errno != EEXIST)
        return -errno;
    s->dir = openat(s->root, s->id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->dir < 0)
        return errno == ENOENT ? -EAGAIN : -errno;
    int err = 0;
    if (flock(s->dir, LOCK_EX | LOCK_NB) < 0)
        err = errno == EWOULDBLOCK ? -EEXIST : -errno;
    else if (fstat(s->dir, &a) < 0 || fstatat(s->root, s->id, &b, AT_SYMLINK_NOFOLLOW) < 0 ||
             a.st_ino != b.st_ino || a.st_dev != b.st_dev)
        err = -EAGAIN; // its owner has just removed it
    if (err)
        close(s->dir);
    else
        empty_dir(s->dir); // left behind by a supervisor that was killed
    return err;
}

int state_create(struct state *s, const char *root, const char *id, struct err *e)
{
    int err = state_check_id(id, e);
    if (err)
        return err;
    snprintf(s->id, sizeof(s->id), "%s", id);
    s->root = open_root(root, e);
    if (s->root < 0)
        return s->root;
    err = -EAGAIN;
    for (int i = 0; i < 100 && err == -EAGAIN; i++)
        err = take(s);
    if (!err)
        return 0;
    close(s->root);
    if (err == -EEXIST)
        return err_set(e, err, "container %s exists already", id);
    return err_errno(e, err, "state directory of %s", id);
}

int state_write(struct state *s, const char *bundle, pid_t pid, const char *status, struct err *e)
{
    char when[40];
    time_t now = time(nullptr);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "ociVersion", json_object_new_string("1.0.2"));
    json_object_object_add(o, "id", json_object_new_string(s->id));
    json_object_object_add(o, "status", json_object_new_string(status));
    json_object_object_add(o, "pid", json_object_new_int(pid));
    json_object_object_add(o, "bundle", json_object_new_string(bundle));
    json_object_object_add(o, "created", json_object_new_string(when));
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

void state_remove(struct state *s)
{
    empty_dir(s->dir);
    unlinkat(s->root, s->id, AT_REMOVEDIR);
    close(s->dir);
    close(s->root);
}
