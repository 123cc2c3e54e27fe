/* File system steps, each durable one by name; all I/O on our own files goes through these few functions.
 * Any thread; these block. Errors are ERR_IO (ERR_FULL where the disk is full) with the path in the message. */
#pragma once

#include "base/err.h"
#include "base/buf.h"

#include <sys/types.h>

/* A folder and its parents; those that exist are fine, those that are new have their names synced. */
RESULT fs_mkdir(const char *path, mode_t mode, struct err *e);
/* One level, and its name is durable once its folder is synced: for many at once. */
RESULT fs_mkdir_one(const char *path, mode_t mode, struct err *e);
RESULT fs_sync_dir(const char *path, struct err *e);
RESULT fs_sync(int fd, const char *path, struct err *e);                        /* fdatasync */
RESULT fs_write_at(int fd, uint64_t offset, const void *bytes, size_t n, const char *path, struct err *e);
RESULT fs_read_at(int fd, uint64_t offset, void *ret_bytes, size_t n, size_t *ret_n, const char *path, struct err *e);
/* The whole file, at most b->max. ERR_NOT_FOUND. */
RESULT fs_read_file(const char *path, struct buf *b, struct err *e);
/* A new file takes the place of `path` whole or not at all: temporary file, sync, rename, folder synced. */
RESULT fs_publish_file(const char *path, struct slice bytes, mode_t mode, struct err *e);
RESULT fs_rename(const char *from, const char *to, struct err *e);
RESULT fs_remove(const char *path, struct err *e);                              /* one that is not there is fine */
/* An exclusive lock that lasts until *ret_fd is closed. ERR_BUSY: held by another process (its pid is in the message). */
RESULT fs_lock(const char *path, int *ret_fd, struct err *e);
