// SPDX-License-Identifier: Apache-2.0
// Inside the stub: calls about regular files, answered from what the kernel published (window.c).
#pragma once
#include "platform/stub/stub.h"

HIDDEN bool window_call(const struct ppublic *p, struct stub_ucontext *uc, long *ret);
