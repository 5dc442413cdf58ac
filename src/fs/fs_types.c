// SPDX-License-Identifier: Apache-2.0
// The table of file systems, from the rows of fs.def.
#include "vfs/vfs.h"
#include <string.h>

#define FS(t) extern const struct fs_type t;
#include "fs/fs.def"
#undef FS
#define FS(t) &t,
static const struct fs_type *const types[] = {
#include "fs/fs.def"
};
#undef FS

const struct fs_type *const *fs_type_all(size_t *n)
{
    *n = ARRAY_LEN(types);
    return types;
}

const struct fs_type *fs_type_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return nullptr;
}
