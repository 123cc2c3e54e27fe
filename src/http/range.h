/* Ranges: RFC 9110, section 14. Which bytes of a body of `size` bytes does `Range: bytes=0-99,200-,-5` ask for?
 *
 *      switch (range_parse(value, size, arena, &ranges, &count))
 *              RANGE_WHOLE             no range that we serve: 200 and the whole body
 *              RANGE_PARTS             206; one range, or several as multipart/byteranges (below)
 *              RANGE_UNSATISFIABLE     416 and `Content-Range: bytes *` "/size"
 *
 * Ranges are given in the order in which they were asked for and are not joined: clients that ask for many read the parts one by
 * one. Instead, what would cost more than the whole body, or is more than RANGE_PARTS_MAX, gets the whole body (section 14.2).
 * Pure; any thread; the array is in the arena. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

#define RANGE_PARTS_MAX 1024

struct range {
        uint64_t first, last;           /* both inclusive; first <= last < size */
};

enum range_kind { RANGE_WHOLE, RANGE_PARTS, RANGE_UNSATISFIABLE };

/* Other units and malformed values are RANGE_WHOLE, as section 14.2 says, but for one: where a last position stands before the
 * first, "bytes=500-0", clients of registries expect 416. An empty body has no ranges: it is whole. */
enum range_kind range_parse(struct slice value, uint64_t size, struct arena *arena, struct range **ret_ranges, size_t *ret_count);

/* If-Range (section 13.1.5): may the range be served? Only for the same strong ETag; a date never matches, nothing here has one. */
bool range_if_range(struct slice if_range, struct slice etag);

/* Content-Range of an upload's chunk: "first-last", both inclusive, without a unit (distribution-spec, "Pushing a blob in chunks").
 * RFC 9110's form, "bytes first-last/size" or with "*" for the size, is understood too. false: it is neither. */
bool range_parse_chunk(struct slice value, uint64_t *ret_first, uint64_t *ret_last);

/* A multipart/byteranges body (section 14.6): for each i the head, then the bytes of ranges[i]; then the end.
 *
 *      multipart_init(&m, ranges, count, size, content_type);
 *      Content-Length: multipart_length(&m), Content-Type: multipart/byteranges; boundary=<m.boundary> */
#define MULTIPART_BOUNDARY_LENGTH 32

struct multipart {
        const struct range *ranges;     /* borrowed */
        size_t count;
        uint64_t size;                  /* of the whole body */
        struct slice content_type;      /* of a part, borrowed; empty: none */
        char boundary[MULTIPART_BOUNDARY_LENGTH + 1];   /* random: no content can know it */
};

#define MULTIPART_HEAD_BYTES_MAX 512    /* of one part; a content type that does not fit is left out */

void multipart_init(struct multipart *m, const struct range *ranges, size_t count, uint64_t size, struct slice content_type);
uint64_t multipart_length(const struct multipart *m);
void multipart_put_head(const struct multipart *m, size_t i, struct buf *b);
void multipart_put_end(const struct multipart *m, struct buf *b);
