// SPDX-License-Identifier: Apache-2.0
// Overlay: one writable file system over read-only ones, with the semantics of Linux's overlayfs.
// Used at boot for the container's root and by mount(2) with lowerdir=, upperdir=, workdir=.
#pragma once
#include "vfs/vfs.h"

constexpr size_t OVL_MAX_LOWERS = 64;
// lowers: top one first; references are taken. upper: a fresh super (usually tmpfs) whose root
// becomes the upper directory, or null: read-only.
MUST_CHECK int overlay_mount(const struct path *lowers, size_t n, struct super *upper,
                             struct super **out);
