// SPDX-License-Identifier: Apache-2.0
// Prototypes of all system call handlers, made from the table: a file in sys/ that includes this
// cannot disagree with its rows.
#pragma once
#include "sys/syscalls.h"

// Argument kinds: the C type of the handler's parameter, the conversion, and what strace prints.
#define KIND_fd int
#define KIND_int int
#define KIND_sig int
#define KIND_pid int
#define KIND_mode uint32_t
#define KIND_uint uint32_t
#define KIND_flags uint32_t
#define KIND_flags64 uint64_t
#define KIND_long long
#define KIND_ulong uint64_t
#define KIND_off int64_t
#define KIND_size size_t
#define KIND_path uaddr_t
#define KIND_uin uaddr_t
#define KIND_uout uaddr_t
#define KIND_uinout uaddr_t
#define KIND_uaddr uaddr_t
// Memory of a known size, in all directions (kinds.def).
#define BUFFER(kind, flags) ADDRESS_KIND(kind)
#define NESTED(kind, flags, bytes) ADDRESS_KIND(kind)
#define STRUCT(name, bytes)                                                       \
    ADDRESS_KIND(in_##name) ADDRESS_KIND(out_##name) ADDRESS_KIND(io_##name)      \
    ADDRESS_KIND(ina_##name) ADDRESS_KIND(outa_##name) ADDRESS_KIND(ioa_##name)
#define ADDRESS_KIND(kind)               \
    typedef uaddr_t KIND_##kind;         \
    static inline uaddr_t TO_##kind(uint64_t v) { return UADDR(v); }
#include "sys/kinds.def"
#undef ADDRESS_KIND
#undef BUFFER
#undef NESTED
#undef STRUCT
#define TO_fd(v) ((int)(v))
#define TO_int(v) ((int)(v))
#define TO_sig(v) ((int)(v))
#define TO_pid(v) ((int)(v))
#define TO_mode(v) ((uint32_t)(v))
#define TO_uint(v) ((uint32_t)(v))
#define TO_flags(v) ((uint32_t)(v))
#define TO_flags64(v) ((uint64_t)(v))
#define TO_long(v) ((long)(v))
#define TO_ulong(v) ((uint64_t)(v))
#define TO_off(v) ((int64_t)(v))
#define TO_size(v) ((size_t)(v))
#define TO_path(v) UADDR(v)
#define TO_uin(v) UADDR(v)
#define TO_uout(v) UADDR(v)
#define TO_uinout(v) UADDR(v)
#define TO_uaddr(v) UADDR(v)

#define SYS0(name, level, note) long sys_##name(struct task *t);
#define SYS1(name, level, k0, a0, note) long sys_##name(struct task *t, KIND_##k0 a0);
#define SYS2(name, level, k0, a0, k1, a1, note) long sys_##name(struct task *t, KIND_##k0 a0, KIND_##k1 a1);
#define SYS3(name, level, k0, a0, k1, a1, k2, a2, note) long sys_##name(struct task *t, KIND_##k0 a0, KIND_##k1 a1, KIND_##k2 a2);
#define SYS4(name, level, k0, a0, k1, a1, k2, a2, k3, a3, note) long sys_##name(struct task *t, KIND_##k0 a0, KIND_##k1 a1, KIND_##k2 a2, KIND_##k3 a3);
#define SYS5(name, level, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, note) long sys_##name(struct task *t, KIND_##k0 a0, KIND_##k1 a1, KIND_##k2 a2, KIND_##k3 a3, KIND_##k4 a4);
#define SYS6(name, level, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, k5, a5, note) long sys_##name(struct task *t, KIND_##k0 a0, KIND_##k1 a1, KIND_##k2 a2, KIND_##k3 a3, KIND_##k4 a4, KIND_##k5 a5);
#define NOSYS(name, note)
#define NEEDCAP(name, cap, note)
#include "sys/syscalls.def"
#undef SYS0
#undef SYS1
#undef SYS2
#undef SYS3
#undef SYS4
#undef SYS5
#undef SYS6
#undef NOSYS
#undef NEEDCAP
