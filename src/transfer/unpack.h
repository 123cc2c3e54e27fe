/* A stream of bytes from a file, decompressed where it is compressed with gzip (RFC 1952) or zstd (RFC 8878); its first bytes tell.
 *
 *      TRY(unpack_open(fd, &unpack, e));
 *      TRY(unpack_read(unpack, room, size, &n, e));    fewer than size bytes only at the end
 *      TRY(unpack_skip(unpack, bytes, e));
 *      unpack_free(unpack);                            the descriptor stays open
 *
 * One thread; blocks. ERR_INVALID: damaged, or it ends too early. ERR_IO. */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

struct unpack;

RESULT unpack_open(int fd, struct unpack **ret_unpack, struct err *e);
void unpack_free(struct unpack *unpack);
DEFINE_CLEANUP(struct unpack *, unpack_free)

RESULT unpack_read(struct unpack *unpack, void *room, size_t size, size_t *ret_n, struct err *e);
RESULT unpack_skip(struct unpack *unpack, uint64_t bytes, struct err *e);
uint64_t unpack_position(const struct unpack *unpack);  /* bytes of the file that were used */
