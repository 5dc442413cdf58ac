// SPDX-License-Identifier: Apache-2.0
// Compiler attributes behind names of our own: what is clang's alone is empty elsewhere.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK [[nodiscard]]
#define UNUSED [[maybe_unused]]
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NOINLINE __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NONSTRING __attribute__((nonstring))
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define PACKED __attribute__((packed))
#define ALIGNED(n) __attribute__((aligned(n)))

#if defined(__clang__)
#define CAPABILITY(n) __attribute__((capability(n)))
#define GUARDED_BY(l) __attribute__((guarded_by(l)))
#define REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define TRY_ACQUIRES(...) __attribute__((try_acquire_capability(__VA_ARGS__)))
#define NO_LOCK_ANALYSIS __attribute__((no_thread_safety_analysis))
#else
#define CAPABILITY(n)
#define GUARDED_BY(l)
#define REQUIRES(...)
#define ACQUIRES(...)
#define RELEASES(...)
#define TRY_ACQUIRES(...)
#define NO_LOCK_ANALYSIS
#endif
#if __has_attribute(counted_by)
#define COUNTED_BY(n) __attribute__((counted_by(n)))
#else
#define COUNTED_BY(n)
#endif

#define container_of(p, type, member) \
    ((type *)((char *)(1 ? (p) : &((type *)nullptr)->member) - offsetof(type, member)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
// A large buffer of which only what has been written is read: not cleared first.
#define UNINIT __attribute__((uninitialized))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

// One read or write of a word that another party may change at any time. A value that comes
// from a hostile party is read once with READ_SHARED into a local, checked, and only then used.
#define READ_SHARED(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_SHARED(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
// A change, under its lock, of a word that is also read without the lock (by READ_SHARED).
#define ADD_SHARED(x, n) WRITE_SHARED((x), (x) + (n))

constexpr size_t PAGE_SIZE = 4096;
constexpr size_t PAGE_SHIFT = 12;
#define PAGE_ALIGN_DOWN(x) ((x) & ~(uint64_t)(PAGE_SIZE - 1))
#define PAGE_ALIGN_UP(x) (((x) + (PAGE_SIZE - 1)) & ~(uint64_t)(PAGE_SIZE - 1))
