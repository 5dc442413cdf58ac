// SPDX-License-Identifier: Apache-2.0
// The state of one path walk: namei.c drives it; open.c needs it to create on the way.
#pragma once
#include "vfs/internal.h"

constexpr int MAX_LINKS = 40;
enum last_type : int { LAST_NORM, LAST_ROOT, LAST_DOT, LAST_DOTDOT };
struct walk_frame {
    char *buf;        // owned: text of a symbolic link
    const char *rest; // where to go on in it
};
struct walk {
    const struct lookup_ctx *c;
    struct path cur;            // ref
    struct path root;           // ref: what "/" and the top ".." mean
    unsigned flags;             // LOOKUP_*
    bool want_dir;              // a trailing slash was seen, or LOOKUP_DIRECTORY
    bool slash;                 // the present last component has a trailing slash
    int nlinks, depth;
    uint64_t seq;               // dcache_rename_seq() at the start
    const char *s;              // what is left of the innermost text
    char *buf;                  // owned memory of it, or null for the caller's
    const char *last;           // last component, into the innermost text
    size_t last_len;
    enum last_type last_type;
    struct walk_frame stack[MAX_LINKS]; // `depth` of them
};
MUST_CHECK int walk_start(struct walk *w, const struct lookup_ctx *c, int dirfd, const char *name,
                          unsigned flags);
void walk_end(struct walk *w);
// Goes on until `last` is the last component of the whole path and cur its directory.
MUST_CHECK int walk_to_last(struct walk *w);
// Resolves the last component into cur. 1: it was a symbolic link that is followed, go on.
MUST_CHECK int walk_last(struct walk *w);
// Moves onto the (positive) child d of cur, whose reference it takes; follows mounts, and links
// when follow. 1: a link's text is next.
MUST_CHECK int walk_step_into(struct walk *w, struct dentry *d, bool follow);
// Checks at the very end: scope and directory.
MUST_CHECK int walk_finish(struct walk *w);
