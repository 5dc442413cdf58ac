// SPDX-License-Identifier: Apache-2.0
// Logging: one line per message, text or JSON, written with one write(2) to an append-only
// descriptor that was opened before lockdown. Async-signal-safe. Strings that come from a guest
// are escaped by the writer. Levels below the current one cost one load.
#pragma once
#include "base/attr.h"

enum log_level : int { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format : int { LOG_TEXT, LOG_JSON };
extern enum log_level log_level_now;
void log_init(int fd, enum log_format format, enum log_level level, const char *who);
int log_fd(void); // -1 when none
PRINTF_LIKE(2, 3) void log_write(enum log_level level, const char *fmt, ...);
#define log_at(l, ...) ((l) <= log_level_now ? log_write((l), __VA_ARGS__) : (void)0)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
