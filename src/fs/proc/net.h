// SPDX-License-Identifier: Apache-2.0
// Lists of /proc/net whose owners are in higher folders; set by their constructors.
#pragma once
#include "base/strbuf.h"

extern void (*proc_net_unix_hook)(struct strbuf *out); // all lines after the heading
