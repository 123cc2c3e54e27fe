/* The head of a request: RFC 9112, sections 2 to 6; RFC 9110, sections 5 to 7. Pure: bytes in, a struct http_request out.
 *
 *      struct head_scan scan = { 0 };                         one a request
 *      switch (head_scan(&scan, buffered, &limits, &skip, &head_bytes, &status, &e))
 *              HEAD_MORE       read on, call again with the same bytes and what came
 *              HEAD_COMPLETE   head_parse() of the `head_bytes` behind the first `skip` bytes; what follows them is the body or
 *                              the next request
 *              HEAD_BAD        answer `status` and close
 *
 * Scanning costs once per byte, however they arrive, and a head that is above a limit is refused at the byte that makes it so.
 * Parsing is strict: what two readers could take for two different things is refused (RFC 9112, section 11.2), never mended.
 *
 * Memory: all slices point into the head's bytes, which must stay until the answer is sent; the array of headers is in rq->arena.
 * Any thread. Errors are for the person on the other side. */
#pragma once

#include "http/handler.h"

struct head_limits {
        size_t line_bytes_max;          /* the request line, without its CRLF */
        size_t head_bytes_max;          /* all of it, with the empty line */
        unsigned fields_max;
};

enum head_state { HEAD_MORE, HEAD_COMPLETE, HEAD_BAD };

struct head_scan {
        size_t at;                      /* scanned so far */
        size_t skip;                    /* leading empty lines */
        size_t line;                    /* where the line that is being scanned begins */
        unsigned lines;                 /* complete ones, without the leading empty lines */
};

/* `buffered` begins at the same byte in each call. *ret_skip and *ret_head_bytes are written on HEAD_COMPLETE; *ret_status (400,
 * 414, 431) and e on HEAD_BAD. Up to two leading empty lines are passed over (RFC 9112, section 2.2). */
enum head_state head_scan(struct head_scan *scan, struct slice buffered, const struct head_limits *limits, size_t *ret_skip,
                          size_t *ret_head_bytes, int *ret_status, struct err *e);

struct head {
        unsigned version_minor;         /* of HTTP/1.x: 0 or 1 */
        bool keep_alive;                /* what the client wishes */
        bool expect_continue;           /* it waits for 100 before it sends the body; never without a body */
        bool chunked;                   /* the body is chunked; otherwise it has `length` bytes, 0 without Content-Length */
        bool has_length;
        uint64_t length;                /* at most INT64_MAX */
};

/* Fills in rq's method, method_text, target, path, query, headers, has_length and length. On failure *ret_status is 400, 414, 417,
 * 431, 503 or 505; the body, if there is one, cannot be found then: close. rq's method and path are set as far as they are known,
 * so that the failure can be logged and answered; rq->arena must be set before. */
RESULT head_parse(struct slice head_bytes, const struct head_limits *limits, struct http_request *rq, struct head *ret_head,
                  int *ret_status, struct err *e);
