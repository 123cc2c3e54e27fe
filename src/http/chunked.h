/* Decoder of chunked bodies: RFC 9112, section 7.1. Incremental: any split of the input gives the same data.
 *
 *      struct chunked c;
 *      chunked_init(&c);
 *      while ((state = chunked_feed(&c, &in, &data)) == CHUNKED_DATA)
 *              use(data);                                     part of `in`, never empty
 *      CHUNKED_MORE    `in` is used up: read on
 *      CHUNKED_END     the body is over; `in` begins with the next request
 *      CHUNKED_BAD     malformed, c.wrong says how: answer 400 and close. Further calls say the same
 *
 * Strict: CRLF only, at most 16 digits, sizes up to INT64_MAX. Extensions and trailers are passed over, within bounds. A value: no
 * memory of its own; any thread. */
#pragma once

#include "base/slice.h"

/* Extensions may be longer than the data that came so far by this much, so that nobody sends a body of nothing else. */
#define CHUNKED_EXTENSION_BYTES_MAX 4096
#define CHUNKED_TRAILER_BYTES_MAX 8192

enum chunked_state { CHUNKED_MORE, CHUNKED_DATA, CHUNKED_END, CHUNKED_BAD };

struct chunked {
        uint64_t left;                  /* bytes of this chunk that are still to come */
        const char *wrong;              /* static; what CHUNKED_BAD is about */
        unsigned step;                  /* enum step in chunked.c */
        unsigned digits;
        unsigned extension_bytes, trailer_bytes;
};

void chunked_init(struct chunked *c);
enum chunked_state chunked_feed(struct chunked *c, struct slice *in, struct slice *ret_data);
