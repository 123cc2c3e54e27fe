/* The head of an answer: RFC 9112, section 4; RFC 9110. Pure; any thread; memory in rq->arena.
 *
 *      message_select(rq, rs, &sel)            after the handler answered: 200 may become 206, 304 or 416
 *      message_head(&b, rq, rs, &sel, &facts)  status line, headers, empty line
 *
 * Whatever bytes a handler puts into a header's value, the answer stays one answer: control characters become spaces
 * (RFC 9110, section 5.5). */
#pragma once

#include "base/buf.h"
#include "http/handler.h"
#include "http/range.h"

/* Before a body that the client holds back (RFC 9110, section 10.1.1). */
#define MESSAGE_CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

/* What of the response is sent. */
struct message_selection {
        int status;
        bool has_length;                /* Content-Length is sent: not with 204 and 304 */
        bool has_body;                  /* the bytes are sent: not for HEAD, 204, 304 */
        uint64_t length;                /* of the body on the wire */
        struct range *ranges;           /* 206; in rq->arena. 1: these bytes; more: multipart. NULL: the whole body */
        size_t range_count;
        struct multipart multipart;     /* for range_count > 1 */
};

/* Evaluates If-None-Match, If-Range and Range where the response allows it (GET and HEAD answered with 200; ranges for GET only;
 * RFC 9110, section 13.2.2).
 *
 * Status 416 means: drop the response's body (message_drop_body()), have the application word the error (http_app.fail), and set
 * `Content-Range: bytes *` "/size" (message_unsatisfied_range()) on it; then select again. */
void message_select(const struct http_request *rq, const struct http_response *rs, struct message_selection *ret_selection);
struct slice message_unsatisfied_range(uint64_t size, struct arena *arena);    /* .p NULL: no memory */

/* If-None-Match (RFC 9110, section 13.1.2): weak comparison with each of the list, "*" matches all. Digests without quotes, as
 * some clients send them, match too. */
bool message_etag_listed(struct slice list, struct slice etag);

/* Closes the file or releases the bytes; the response has no body then. For what is answered otherwise or not sent to its end. */
void message_drop_body(struct http_response *rs);

struct message_facts {
        struct slice date;              /* IMF-fixdate, http/date.h */
        unsigned version_minor;         /* of the request */
        bool keep_alive;                /* the connection stays open after this answer */
};

/* The caller checks buf_ok(). Every body has its size, so no answer needs to be chunked. */
void message_head(struct buf *b, const struct http_request *rq, const struct http_response *rs,
                  const struct message_selection *selection, const struct message_facts *facts);

struct slice message_reason(int status);                /* "Not Found"; empty for a status that is not in the table */
