/* Writes an archive of images: a tar file, standard output, or a folder.
 *
 *      TRY(archive_out_open(path, &out, e));                  "-": standard output; a folder, or a path that ends with "/": a folder
 *      TRY(archive_out_begin(out, "oci-layout", size, e));
 *      TRY(archive_out_write(out, bytes, e));                 until size bytes are there
 *      TRY(archive_out_finish(out, e));                       on stable storage, under its name
 *      archive_out_free(out);                                 without finish() no tar file stays
 *
 * A tar file of that name is replaced, whole or not at all. A folder must be new or empty. The bytes depend on nothing but what is
 * written: no times, no owners.
 *
 * One thread. ERR_EXISTS: the folder holds something. ERR_IO, ERR_FULL. */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

struct archive_out;

RESULT archive_out_open(const char *path, struct archive_out **ret_out, struct err *e);
void archive_out_free(struct archive_out *out);
DEFINE_CLEANUP(struct archive_out *, archive_out_free)

RESULT archive_out_begin(struct archive_out *out, const char *name, uint64_t size, struct err *e);
RESULT archive_out_write(struct archive_out *out, struct slice bytes, struct err *e);
/* begin() and write(). */
RESULT archive_out_put(struct archive_out *out, const char *name, struct slice bytes, struct err *e);
RESULT archive_out_finish(struct archive_out *out, struct err *e);
