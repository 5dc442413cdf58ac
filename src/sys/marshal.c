// SPDX-License-Identifier: Apache-2.0
// The argument kinds of the system call table as rows for the stub (platform/marshal.h).
#include "platform/marshal.h"
#include "sys/syscalls.h"
#include <sys/syscall.h>

// Kinds by size; every other kind is no memory, or memory that only the handler understands.
enum : uint16_t {
    M_fd, M_int = 0, M_sig = 0, M_pid = 0, M_mode = 0, M_uint = 0, M_flags = 0, M_flags64 = 0,
    M_long = 0, M_ulong = 0, M_off = 0, M_size = 0, M_uaddr = 0, M_uin = 0, M_uout = 0, M_uinout = 0,
    M_path = MARSHAL_ARG(MARSHAL_STR, 0),
#define BUFFER(kind, flags) M_##kind = MARSHAL_ARG(flags, 1),
#define NESTED(kind, flags, bytes) M_##kind = MARSHAL_ARG(flags, bytes),
#define STRUCT(name, bytes)                                              \
    M_in_##name = MARSHAL_ARG(MARSHAL_IN, bytes),                        \
    M_out_##name = MARSHAL_ARG(MARSHAL_OUT, bytes),                      \
    M_io_##name = MARSHAL_ARG(MARSHAL_IN | MARSHAL_OUT, bytes),          \
    M_ina_##name = MARSHAL_ARG(MARSHAL_IN | MARSHAL_NEXT, bytes),        \
    M_outa_##name = MARSHAL_ARG(MARSHAL_OUT | MARSHAL_NEXT, bytes),      \
    M_ioa_##name = MARSHAL_ARG(MARSHAL_IN | MARSHAL_OUT | MARSHAL_NEXT, bytes),
#include "sys/kinds.def"
#undef BUFFER
#undef NESTED
#undef STRUCT
};

#define ROW(name, ...) \
    [__NR_##name] = {.arg = {__VA_ARGS__}, .any = ANY(__VA_ARGS__, 0, 0, 0, 0, 0, 0)},
#define ANY(...) ANY6(__VA_ARGS__)
#define ANY6(a, b, c, d, e, f, ...) \
    ((a) ? 1 : 0) | ((b) ? 2 : 0) | ((c) ? 4 : 0) | ((d) ? 8 : 0) | ((e) ? 16 : 0) | ((f) ? 32 : 0)
#define SYS0(name, level, note)
#define SYS1(name, level, k0, a0, note) ROW(name, M_##k0)
#define SYS2(name, level, k0, a0, k1, a1, note) ROW(name, M_##k0, M_##k1)
#define SYS3(name, level, k0, a0, k1, a1, k2, a2, note) ROW(name, M_##k0, M_##k1, M_##k2)
#define SYS4(name, level, k0, a0, k1, a1, k2, a2, k3, a3, note) \
    ROW(name, M_##k0, M_##k1, M_##k2, M_##k3)
#define SYS5(name, level, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, note) \
    ROW(name, M_##k0, M_##k1, M_##k2, M_##k3, M_##k4)
#define SYS6(name, level, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, k5, a5, note) \
    ROW(name, M_##k0, M_##k1, M_##k2, M_##k3, M_##k4, M_##k5)
#define NOSYS(name, note)
#define NEEDCAP(name, cap, note)
static const struct marshal_row rows[MARSHAL_ROWS] = {
#include "sys/syscalls.def"
};
static_assert(MARSHAL_ROWS == SYSCALL_TABLE_LEN);
const struct marshal_row *const syscall_marshal = rows;

[[gnu::constructor]] static void marshal_register(void)
{
    marshal_rows = rows;
}
