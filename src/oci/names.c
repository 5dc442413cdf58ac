// SPDX-License-Identifier: Apache-2.0
// Names of the OCI specification: capabilities, resource limits, mount options.
#include "base/slab.h"
#include "oci/spec.h"
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

static const char *const cap_names[] = {
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
    "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
};
static_assert(CAPS_ALL == (1ull << ARRAY_LEN(cap_names)) - 1);

int cap_from_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(cap_names); i++)
        if (strcmp(cap_names[i], name) == 0)
            return (int)i;
    return -1;
}
const char *cap_to_name(int cap)
{
    return cap >= 0 && (size_t)cap < ARRAY_LEN(cap_names) ? cap_names[cap] : nullptr;
}

static const struct {
    const char *name;
    int which;
} rlimit_names[] = {
    {"RLIMIT_AS", RLIMIT_AS}, {"RLIMIT_CORE", RLIMIT_CORE}, {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA}, {"RLIMIT_FSIZE", RLIMIT_FSIZE}, {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE}, {"RLIMIT_NOFILE", RLIMIT_NOFILE}, {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS}, {"RLIMIT_RTPRIO", RLIMIT_RTPRIO}, {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING}, {"RLIMIT_STACK", RLIMIT_STACK},
};
int rlimit_from_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(rlimit_names); i++)
        if (strcmp(rlimit_names[i].name, name) == 0)
            return rlimit_names[i].which;
    return -1;
}

static const struct {
    const char *name;
    uint32_t set, clear;
} mount_flags[] = {
    {"ro", MS_RDONLY, 0}, {"rw", 0, MS_RDONLY}, {"rro", MS_RDONLY, 0},
    {"nosuid", MS_NOSUID, 0}, {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0}, {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0}, {"exec", 0, MS_NOEXEC},
    {"noatime", MS_NOATIME, 0}, {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME, 0}, {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, 0}, {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, 0}, {"nostrictatime", 0, MS_STRICTATIME},
    {"sync", MS_SYNCHRONOUS, 0}, {"async", 0, MS_SYNCHRONOUS},
    {"defaults", 0, 0},
    // Propagation has no meaning between the host and the sandbox: nothing crosses.
    {"private", 0, 0}, {"rprivate", 0, 0}, {"shared", 0, 0}, {"rshared", 0, 0},
    {"slave", 0, 0}, {"rslave", 0, 0}, {"unbindable", 0, 0}, {"runbindable", 0, 0},
};

bool device_known(const struct spec_device *d)
{
    static const struct {
        uint32_t major, minor;
    } known[] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}}; // null ... urandom, tty, ptmx
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (d->type == S_IFCHR && known[i].major == d->major && known[i].minor == d->minor)
            return true;
    return d->type == S_IFIFO;
}

bool mount_device_known(const struct spec_mount *m)
{
    return device_known(&(struct spec_device){
        .type = m->dev_mode & S_IFMT, .major = m->dev_major, .minor = m->dev_minor});
}

const char *mount_option_name(size_t i)
{
    static const char *const others[] = {"bind", "rbind"};
    if (i < ARRAY_LEN(mount_flags))
        return mount_flags[i].name;
    i -= ARRAY_LEN(mount_flags);
    return i < ARRAY_LEN(others) ? others[i] : nullptr;
}

int spec_mount_option(struct spec_mount *m, const char *option)
{
    if (strcmp(option, "bind") == 0 || strcmp(option, "rbind") == 0) {
        m->bind = true;
        m->recursive = option[0] == 'r';
        return 0;
    }
    if (strcmp(option, "remount") == 0 || strcmp(option, "idmap") == 0 ||
        strcmp(option, "ridmap") == 0)
        return -EINVAL;
    for (size_t i = 0; i < ARRAY_LEN(mount_flags); i++)
        if (strcmp(mount_flags[i].name, option) == 0) {
            m->flags = (m->flags | mount_flags[i].set) & ~mount_flags[i].clear;
            return 0;
        }
    size_t have = strlen(m->data), more = strlen(option);
    char *data = mem_realloc(m->data, have + more + 2);
    if (!data)
        return -ENOMEM;
    m->data = data;
    if (have)
        data[have++] = ',';
    memcpy(data + have, option, more + 1);
    return 0;
}
