// SPDX-License-Identifier: Apache-2.0
// linux.seccomp of config.json -> a classic BPF program, which the Sentry runs on the guest's calls.
// The JSON is hostile; libseccomp compiles it, in the command line, and the Sentry checks the
// program again. Semantics as runc's: names that nobody knows are skipped, conditions on different
// arguments are all wanted and several on one argument are alternatives, calls newer than the
// profile answer ENOSYS when they would be refused.
#include "base/slab.h"
#include "oci/seccomp.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct profile {
    scmp_filter_ctx ctx;
    uint32_t otherwise; // libseccomp's action for everything else
    int newest;         // largest number that a rule names
    struct err *e;
};

static const char *text(struct json_object *o, const char *key)
{
    struct json_object *v;
    return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string)
               ? json_object_get_string(v)
               : nullptr;
}
static int bad(struct profile *p, const char *what, const char *value)
{
    return err_set(p->e, -EINVAL, "linux.seccomp.%s: %s", what, value ? value : "missing or of another type");
}

static int action_of(struct profile *p, const char *where, const char *name, struct json_object *o,
                     const char *errno_key, uint32_t *out)
{
    static const struct {
        const char *name;
        uint32_t action;
    } known[] = {
        {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW}, {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
        {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD}, {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
        {"SCMP_ACT_TRAP", SCMP_ACT_TRAP}, {"SCMP_ACT_LOG", SCMP_ACT_LOG},
        {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0)}, {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0)},
    };
    struct json_object *v;
    uint32_t data = EPERM;
    if (json_object_object_get_ex(o, errno_key, &v)) {
        if (!json_object_is_type(v, json_type_int) || json_object_get_int64(v) < 0 ||
            json_object_get_int64(v) > 0xffff)
            return bad(p, errno_key, nullptr);
        data = (uint32_t)json_object_get_int64(v);
    }
    if (name && strcmp(name, "SCMP_ACT_NOTIFY") == 0)
        return err_set(p->e, -ENOTSUP, "linux.seccomp.%s: SCMP_ACT_NOTIFY is not supported", where);
    for (size_t i = 0; name && i < ARRAY_LEN(known); i++)
        if (strcmp(known[i].name, name) == 0) {
            bool has_data = known[i].action == SCMP_ACT_ERRNO(0) || known[i].action == SCMP_ACT_TRACE(0);
            *out = known[i].action | (has_data ? data : 0);
            return 0;
        }
    return bad(p, where, name);
}

static int compare_of(struct profile *p, struct json_object *a, struct scmp_arg_cmp *out)
{
    static const char *const ops[] = {
        [SCMP_CMP_NE] = "SCMP_CMP_NE", [SCMP_CMP_LT] = "SCMP_CMP_LT", [SCMP_CMP_LE] = "SCMP_CMP_LE",
        [SCMP_CMP_EQ] = "SCMP_CMP_EQ", [SCMP_CMP_GE] = "SCMP_CMP_GE", [SCMP_CMP_GT] = "SCMP_CMP_GT",
        [SCMP_CMP_MASKED_EQ] = "SCMP_CMP_MASKED_EQ"};
    struct json_object *index, *value, *two;
    const char *op = text(a, "op");
    if (!json_object_object_get_ex(a, "index", &index) || !json_object_is_type(index, json_type_int) ||
        json_object_get_int64(index) < 0 || json_object_get_int64(index) > 5)
        return bad(p, "syscalls.args.index", nullptr);
    if (!json_object_object_get_ex(a, "value", &value) || !json_object_is_type(value, json_type_int))
        return bad(p, "syscalls.args.value", nullptr);
    *out = (struct scmp_arg_cmp){.arg = (unsigned)json_object_get_int64(index),
                                 .datum_a = json_object_get_uint64(value)};
    if (json_object_object_get_ex(a, "valueTwo", &two)) {
        if (!json_object_is_type(two, json_type_int))
            return bad(p, "syscalls.args.valueTwo", nullptr);
        out->datum_b = json_object_get_uint64(two);
    }
    for (size_t i = 0; op && i < ARRAY_LEN(ops); i++)
        if (ops[i] && strcmp(ops[i], op) == 0) {
            out->op = (enum scmp_compare)i;
            return 0;
        }
    return bad(p, "syscalls.args.op", op);
}

static int rule_add(struct profile *p, const char *name, uint32_t action,
                    const struct scmp_arg_cmp *args, unsigned n)
{
    int nr = seccomp_syscall_resolve_name(name);
    if (nr == __NR_SCMP_ERROR)
        return 0; // of another kernel
    if (nr >= 0 && nr > p->newest)
        p->newest = nr;
    int err = seccomp_rule_add_array(p->ctx, action, nr, n, args);
    if (err == -EEXIST || err == -EDOM)
        err = 0; // said before; has no such arguments on some architecture
    return err ? err_set(p->e, err, "linux.seccomp.syscalls: %s: %s", name, strerror(-err)) : 0;
}

static int rule_read(struct profile *p, struct json_object *rule)
{
    struct json_object *names, *args = nullptr;
    struct scmp_arg_cmp cmp[6];
    uint32_t action;
    unsigned seen = 0;
    bool alternatives = false;
    if (!json_object_is_type(rule, json_type_object) ||
        !json_object_object_get_ex(rule, "names", &names) || !json_object_is_type(names, json_type_array))
        return bad(p, "syscalls.names", nullptr);
    int err = action_of(p, "syscalls.action", text(rule, "action"), rule, "errnoRet", &action);
    if (err || action == p->otherwise)
        return err;
    size_t n = json_object_object_get_ex(rule, "args", &args) && json_object_is_type(args, json_type_array)
                   ? json_object_array_length(args)
                   : 0;
    if (n > ARRAY_LEN(cmp))
        return bad(p, "syscalls.args", "more than 6");
    for (size_t i = 0; i < n; i++) {
        if ((err = compare_of(p, json_object_array_get_idx(args, i), &cmp[i])))
            return err;
        alternatives |= seen >> cmp[i].arg & 1;
        seen |= 1u << cmp[i].arg;
    }
    for (size_t i = 0; i < json_object_array_length(names); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(names, i));
        if (!name)
            return bad(p, "syscalls.names", nullptr);
        for (size_t k = 0; alternatives && k < n; k++)
            if ((err = rule_add(p, name, action, &cmp[k], 1)))
                return err;
        if (!alternatives && (err = rule_add(p, name, action, cmp, (unsigned)n)))
            return err;
    }
    return 0;
}

static int architectures_read(struct profile *p, struct json_object *list)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        const char *a = json_object_get_string(json_object_array_get_idx(list, i));
        if (!a || strncmp(a, "SCMP_ARCH_", 10) != 0)
            return bad(p, "architectures", a);
        // Guests are x86-64; others' rules could never match.
        uint32_t arch = strcmp(a, "SCMP_ARCH_X86") == 0   ? SCMP_ARCH_X86
                        : strcmp(a, "SCMP_ARCH_X32") == 0 ? SCMP_ARCH_X32
                                                          : 0;
        int err = arch ? seccomp_arch_add(p->ctx, arch) : 0;
        if (err && err != -EEXIST)
            return err_set(p->e, err, "linux.seccomp.architectures: %s: %s", a, strerror(-err));
    }
    return 0;
}

static int flags_read(struct profile *p, struct json_object *list, uint32_t *flags)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        const char *f = json_object_get_string(json_object_array_get_idx(list, i));
        if (f && strcmp(f, "SECCOMP_FILTER_FLAG_LOG") == 0)
            *flags |= SECCOMP_FILTER_FLAG_LOG;
        else if (!f || (strcmp(f, "SECCOMP_FILTER_FLAG_TSYNC") != 0 && // one thread: nothing to do
                        strcmp(f, "SECCOMP_FILTER_FLAG_SPEC_ALLOW") != 0))
            return bad(p, "flags", f);
    }
    return 0;
}

// In front: calls newer than the profile, which its author could not have meant, do not exist.
static size_t prefix(const struct profile *p, struct sock_filter out[5])
{
    if (p->otherwise == SCMP_ACT_ALLOW || p->otherwise == SCMP_ACT_LOG || p->newest < 0)
        return 0;
    const struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)p->newest, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS)};
    memcpy(out, f, sizeof(f));
    return ARRAY_LEN(f);
}

static int export(struct profile *p, struct spec_seccomp *out)
{
    struct sock_filter *prog = mem_alloc_array(BPF_MAXINSNS, sizeof(*prog));
    int fd = memfd_create("seccomp", MFD_CLOEXEC);
    int err = !prog ? -ENOMEM : fd < 0 ? -errno : seccomp_export_bpf(p->ctx, fd);
    size_t head = err ? 0 : prefix(p, prog);
    ssize_t n = err ? 0 : pread(fd, prog + head, (BPF_MAXINSNS - head) * sizeof(*prog), 0);
    if (!err && (n <= 0 || (size_t)n % sizeof(*prog) || lseek(fd, 0, SEEK_END) != n))
        err = -E2BIG;
    if (fd >= 0)
        close(fd);
    if (err) {
        mem_free(prog);
        return err_set(p->e, err, "linux.seccomp: cannot be compiled: %s", strerror(-err));
    }
    static_assert(sizeof(*prog) == sizeof(*out->insns));
    out->insns = (uint64_t *)(void *)prog;
    out->n = head + (size_t)n / sizeof(*prog);
    return 0;
}

static int compile(struct profile *p, struct json_object *o, struct spec_seccomp *out)
{
    struct json_object *v;
    int err = 0;
    (void)seccomp_attr_set(p->ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); // a tree
    if (json_object_object_get_ex(o, "architectures", &v) && json_object_is_type(v, json_type_array))
        err = architectures_read(p, v);
    if (!err && json_object_object_get_ex(o, "flags", &v) && json_object_is_type(v, json_type_array))
        err = flags_read(p, v, &out->flags);
    if (!err && json_object_object_get_ex(o, "syscalls", &v) && json_object_is_type(v, json_type_array))
        for (size_t i = 0; !err && i < json_object_array_length(v); i++)
            err = rule_read(p, json_object_array_get_idx(v, i));
    return err ? err : export(p, out);
}

int spec_seccomp_compile(struct json_object *o, struct spec_seccomp *out, struct err *e)
{
    struct profile p = {.newest = -1, .e = e};
    if (!o)
        return 0;
    if (!json_object_is_type(o, json_type_object))
        return err_set(e, -EINVAL, "linux.seccomp: expected an object");
    int err = action_of(&p, "defaultAction", text(o, "defaultAction"), o, "defaultErrnoRet", &p.otherwise);
    if (err)
        return err;
    p.ctx = seccomp_init(p.otherwise);
    if (!p.ctx)
        return err_set(e, -ENOMEM, "linux.seccomp: out of memory");
    err = compile(&p, o, out);
    seccomp_release(p.ctx);
    return err;
}
