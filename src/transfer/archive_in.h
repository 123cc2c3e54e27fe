/* Reads an archive of images entry by entry: a tar file (plain, or compressed with gzip or zstd), standard input, or a
 * folder that holds what the tar file would.
 *
 *      TRY(archive_in_open(path, &in, e));                    "-": standard input
 *      while (TRY(archive_in_next(in, &entry, &found, e)), found)
 *              TRY(archive_in_read(in, room, size, &n, e));   until n is 0; what is not read is passed over
 *      archive_in_free(in);
 *
 * An archive comes from anywhere, so its names are checked: relative, without "..", without control characters, of bounded length
 * and number. Nothing is ever written under such a name. Memory does not grow with the archive.
 *
 * One thread. ERR_INVALID: not an archive, damaged, or a name that is not allowed. ERR_LIMIT: too many entries. ERR_NOT_FOUND. ERR_IO. */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

enum { ARCHIVE_PATH_MAX = 512, ARCHIVE_ENTRIES_MAX = 200 * 1000 };

struct archive_in;

enum archive_kind {
        ARCHIVE_FILE,
        ARCHIVE_LINK,           /* to another entry; a hard link or a symbolic one */
        ARCHIVE_OTHER,          /* folders, devices */
};
struct archive_entry_in {
        enum archive_kind kind;
        const char *path;       /* borrowed until the next entry; without a leading "./" */
        const char *target;     /* of a link: the other entry's path */
        uint64_t size;          /* of a file */
};

RESULT archive_in_open(const char *path, struct archive_in **ret_in, struct err *e);
void archive_in_free(struct archive_in *in);
DEFINE_CLEANUP(struct archive_in *, archive_in_free)

RESULT archive_in_next(struct archive_in *in, struct archive_entry_in *ret_entry, bool *ret_found, struct err *e);
RESULT archive_in_read(struct archive_in *in, void *room, size_t size, size_t *ret_n, struct err *e);

/* For progress: bytes of the file that were read, and its size; 0: not known. */
void archive_in_position(struct archive_in *in, uint64_t *ret_done, uint64_t *ret_total);

/* "a/./b/../c" from the folder "x" to "x/a/c". false: it leads out of the archive, or is too long. */
bool archive_path_join(struct slice folder, struct slice path, char ret_path[static ARCHIVE_PATH_MAX]);
