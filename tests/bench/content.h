/* Blobs of any size whose digests cost nothing: all share a beginning that is hashed once, and end with 64 bytes of their own.
 *
 *      content_init(&c, bytes, true, &e);       hashes the beginning: before the clock starts
 *      content_make(&c, &one);                  any number of times, any thread: new bytes, never made before
 *      one.body, one.digest, one.bytes
 *
 * Framed content is in chunks of 32 KiB (RFC 9112, 7.1), as Docker's client sends them. */
#pragma once

#include "wire.h"

#include "base/sha.h"

#define CONTENT_TAIL 64
#define CONTENT_CHUNK 32768
#define CONTENT_UNIT (1024 * 1024)
#define CONTENT_DIGEST (7 + 64)

struct content {
        uint64_t bytes;
        bool chunked;
        struct sha beginning;
        struct buf framed;              /* the pattern with its frames, if chunked */
        struct slice unit;              /* borrowed from the two: what is repeated */
        uint64_t repeated;              /* bytes of the repeated part, framed if chunked */
        size_t rest_plain;              /* bytes of content that follow it, the tail included */
        char *pattern;                  /* owned: CONTENT_UNIT bytes */
        size_t rest_at;                 /* where the rest begins in the pattern */
};

struct content_one {
        char digest[CONTENT_DIGEST + 1];
        char rest[CONTENT_CHUNK + CONTENT_TAIL + 32];
        struct wire_body body;          /* refers to rest */
};

RESULT content_init(struct content *c, uint64_t bytes, bool chunked, struct err *e);
void content_fini(struct content *c);
void content_make(const struct content *c, struct content_one *ret_one);
/* "sha256:" and the hash of these bytes. */
void content_digest(struct slice bytes, char ret_digest[static CONTENT_DIGEST + 1]);
