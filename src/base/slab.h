// SPDX-License-Identifier: Apache-2.0
// Typed slabs: one cache per struct type; memory of a cache never becomes another type. Objects
// come zeroed and are cleared when freed. Usable from any thread.
//
//     SLAB_DEFINE(pipe_slab, struct pipe);
//     struct pipe *p = slab_alloc(&pipe_slab);   // null when out of memory
//     slab_free(&pipe_slab, p);
//
// Variable-sized buffers (names, arrays) come from mem_alloc/mem_free, which is malloc with a
// zeroed result and a size limit; a failure gives null and the caller answers -ENOMEM.
#pragma once
#include "base/attr.h"
#include "base/lock.h"

struct slab {
    const char *name;
    uint32_t size;
    uint32_t live;   // [l] objects in use
    struct spinlock lock;
    void *free_head; // [l]
    void *chunks;    // [l]
};
#define SLAB_DEFINE(var, type) \
    static struct slab var = {.name = #type, .size = (sizeof(type) + 15) & ~(uint32_t)15}
MUST_CHECK void *slab_alloc(struct slab *s);
void slab_free(struct slab *s, void *p);

MUST_CHECK void *mem_alloc(size_t n);                      // zeroed; null on failure
MUST_CHECK void *mem_alloc_array(size_t n, size_t size);   // overflow-checked
MUST_CHECK void *mem_realloc(void *p, size_t n);           // new tail is NOT zeroed
MUST_CHECK char *mem_strdup(const char *s);
MUST_CHECK char *mem_strndup(const char *s, size_t n);
void mem_free(void *p);
