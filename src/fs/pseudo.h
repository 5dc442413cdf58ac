// SPDX-License-Identifier: Apache-2.0
// Trees of generated files that do not change shape after they are built (sysfs, parts of /proc).
// Built before the superblock is published; afterwards only read, so the tree has no lock.
#pragma once
#include "base/strbuf.h"
#include "vfs/file.h"

// Writes the file's text. `arg` is what pseudo_add_file() got. 0 or -errno (the read's result).
typedef int pseudo_show_fn(struct strbuf *out, void *arg);
// A whole write(2), NUL-terminated, at most PAGE_SIZE - 1 bytes. 0 or -errno.
typedef int pseudo_store_fn(const char *text, size_t n, void *arg);

struct pseudo_node; // a directory, file or link of the tree
MUST_CHECK int pseudo_super_new(const struct fs_type *t, uint64_t magic, struct super **out,
                                struct pseudo_node **root);
// Each returns null when out of memory or when `dir` is null, so that a builder checks once at the
// end with pseudo_failed(). Names are constant strings or copied.
struct pseudo_node *pseudo_add_dir(struct pseudo_node *dir, const char *name);
struct pseudo_node *pseudo_add_file(struct pseudo_node *dir, const char *name, uint32_t mode,
                                    pseudo_show_fn *show, pseudo_store_fn *store, void *arg);
struct pseudo_node *pseudo_add_text(struct pseudo_node *dir, const char *name, const char *text);
struct pseudo_node *pseudo_add_link(struct pseudo_node *dir, const char *name, const char *target);
bool pseudo_failed(const struct super *sb);

// The same generated-file reading for other file systems: a struct file whose text is made by
// show(out, arg) at the first read and again at every read from offset 0. read/llseek/release go
// into the file system's own file_ops; data is set by text_file_open().
MUST_CHECK int text_file_open(struct file *f, pseudo_show_fn *show, void *arg);
long text_file_read(struct file *f, struct uio *u, int64_t *pos);
int64_t text_file_llseek(struct file *f, int64_t off, int whence);
void text_file_release(struct file *f);
void *text_file_arg(struct file *f);
