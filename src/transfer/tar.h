/* Headers of tar files: POSIX ustar and pax (IEEE Std 1003.1, pax, "ustar Interchange Format" and "pax Header Block"), with GNU tar's
 * long names and large numbers. Pure functions; any thread. What is parsed comes from anywhere.
 *
 * A file is a row of entries, each a header of TAR_BLOCK bytes and its data, padded to whole blocks. An entry whose kind is TAR_PAX,
 * TAR_LONG_NAME or TAR_LONG_LINK tells more about the next one: its data goes to tar_extend(). */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum { TAR_BLOCK = 512, TAR_NAME_MAX = 4096, TAR_EXTENSION_MAX = 64 * 1024 };

enum tar_kind {
        TAR_END,                        /* a block of zeros */
        TAR_FILE,
        TAR_HARD_LINK,
        TAR_SYMBOLIC_LINK,
        TAR_OTHER,                      /* folders, devices, pax headers for all entries, … */
        TAR_PAX,
        TAR_LONG_NAME,
        TAR_LONG_LINK,
};
struct tar_header {
        enum tar_kind kind;
        uint64_t size;                  /* bytes of data that follow */
        char name[TAR_NAME_MAX], link[TAR_NAME_MAX];
};

/* What earlier entries told about the next one. */
struct tar_extension {
        bool has_size;
        uint64_t size;
        char name[TAR_NAME_MAX], link[TAR_NAME_MAX];   /* "": nothing */
};

/* ERR_INVALID: not a header, damaged, or of a kind that is not supported (sparse files). */
RESULT tar_parse(const unsigned char block[static TAR_BLOCK], struct tar_header *ret_header, struct err *e);
/* The data of a TAR_PAX, TAR_LONG_NAME or TAR_LONG_LINK entry. */
RESULT tar_extend(struct tar_extension *extension, enum tar_kind kind, struct slice data, struct err *e);
/* Gives the entry what was told about it, and forgets it. */
void tar_apply(struct tar_extension *extension, struct tar_header *header);

static inline uint64_t tar_padding(uint64_t size)
{
        return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

/* Writes the header of a regular file, mode 0644, owner 0, time 0; with a pax header before it where name or size need one. */
void tar_put_file(struct buf *b, const char *name, uint64_t size);
