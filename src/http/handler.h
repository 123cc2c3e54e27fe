/* What the engine hands to a handler, and what a handler gives back. No epoll, no socket, no TLS here; HTTP/1.1 today, another
 * transport under the same handlers tomorrow.
 *
 * A route is one row of a table: methods, pattern, the action that a policy must grant, how the body travels, the functions.
 *
 *      BODY_NONE     begin -> answer                        (a body that comes all the same is read and thrown away, bounded)
 *      BODY_WHOLE    the body arrives whole (at most *body_max, else 413) -> finish -> answer
 *      BODY_STREAM   begin -> write, write, ... -> finish -> answer
 *                    begin may answer at once (response status set): the body is not read then;
 *                    where the peer goes away, is too slow or sends a malformed body: broken instead of finish
 *
 * Threads: `try_now` runs on the connection's loop and must not block, do I/O or take long: it answers from memory, or returns
 * false and leaves the response untouched. `try_soon` is the same for a request whose body is there (BODY_WHOLE, or BODY_STREAM
 * where it came whole with its head) and stands in rq->body, as far as the loop can go: it sets rq->later, which the engine calls
 * at once, on the loop. That starts what takes time elsewhere, and whoever ends it calls http_request_answer(), which has rq->answer
 * word the answer. All others run on a worker, one after another for one request, and may block.
 * `fini` runs last, on any thread, whatever happened, once `begin`, `finish` or one of the two above answered or failed; where
 * another thread than the loop ran, before the answer goes out, so that a client that has its answer finds nothing held.
 *
 * Memory: what a handler allocates from rq->arena lives until the answer is sent. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

enum http_method {
        HTTP_GET = 1 << 0,
        HTTP_HEAD = 1 << 1,
        HTTP_POST = 1 << 2,
        HTTP_PUT = 1 << 3,
        HTTP_PATCH = 1 << 4,
        HTTP_DELETE = 1 << 5,
        HTTP_OPTIONS = 1 << 6,
        HTTP_OTHER = 1 << 7,            /* a token that no route knows */
};

struct http_header {
        struct slice name, value;       /* as sent; value is trimmed */
};

struct http_response;

#define ROUTE_PARAMS_MAX 4
#define REQUEST_ID_LENGTH 16
#define HTTP_RESPONSE_HEADERS_MAX 24

struct http_request {
        enum http_method method;
        struct slice method_text;
        struct slice target;            /* as sent: path and query */
        struct slice path;              /* raw */
        struct slice query;             /* raw, without "?"; .p NULL: none */
        const struct http_header *headers;
        size_t header_count;
        const struct http_route *route;
        struct slice params[ROUTE_PARAMS_MAX];  /* what the pattern's {…} stand for, percent-decoded */
        bool has_length;                /* Content-Length was sent */
        uint64_t length;
        struct slice body;              /* BODY_WHOLE, in finish; in try_soon */
        void (*later)(struct http_request *rq);         /* see try_soon */
        void (*answer)(struct http_request *rq, struct http_response *rs);
        struct arena *arena;
        struct slice peer;              /* "192.0.2.1:4711", "unix" */
        bool tls;
        char id[REQUEST_ID_LENGTH + 1]; /* also in the answer's X-Request-Id */
        void *app;                      /* borrowed: the application, see struct http_app */
        void *state;                    /* the handler's own, freed by its fini */
};

/* The end of what rq->later began, on any thread, once. OK: rq->answer sets the response; otherwise e becomes it. Whoever calls this has
 * returned from it before http_server_free(). */
void http_request_answer(struct http_request *rq, struct result result, const struct err *e);
/* The first header of that name (any case); .p NULL where there is none. */
struct slice http_request_header(const struct http_request *rq, struct slice name);
/* The first value of a query parameter, percent-decoded ("+" is a plus sign) into the arena; .p NULL where there is none or where
 * it is malformed. Calls with rising `index` give further values of the same name. */
struct slice http_request_query(const struct http_request *rq, struct slice name, size_t index);

enum http_body_kind {
        HTTP_BODY_EMPTY,
        HTTP_BODY_BYTES,
        HTTP_BODY_FILE,
};

struct http_response {
        int status;                     /* 0: not answered yet */
        enum http_body_kind kind;
        struct slice bytes;             /* HTTP_BODY_BYTES */
        void (*release)(void *arg);     /* called when the bytes are sent; NULL: they live in the arena */
        void *release_arg;
        int fd;                         /* HTTP_BODY_FILE: owned by the response */
        uint64_t size;                  /* of the whole body; for HEAD too */
        struct slice content_type;      /* arena or static; empty: no such header */
        struct slice etag;              /* with the quotes; empty: none. With it If-None-Match gives 304 on GET and HEAD */
        bool ranges;                    /* answer Range and If-Range (206, 416, multipart/byteranges), say Accept-Ranges */
        struct http_header headers[HTTP_RESPONSE_HEADERS_MAX];/* arena or static */
        size_t header_count;
        bool close;                     /* close the connection after this answer */
};

void http_response_header(struct http_response *rs, struct slice name, struct slice value);
void http_response_bytes(struct http_response *rs, int status, struct slice content_type, struct slice bytes);
void http_response_file(struct http_response *rs, int status, struct slice content_type, int fd, uint64_t size);
void http_response_empty(struct http_response *rs, int status);

enum http_body_mode { BODY_NONE, BODY_WHOLE, BODY_STREAM };

struct http_route {
        unsigned methods;               /* enum http_method, or-ed; GET does not imply HEAD */
        /* Segments separated by "/"; {x} stands for one segment, {x...} for one or more (at most one such in a pattern):
         * "/v2/{name...}/blobs/{digest}". A trailing slash in the request is accepted where `slash` is set. */
        const char *pattern;
        unsigned action;                /* what a policy must grant; 0 does not start */
        enum http_body_mode body;
        bool slash;
        const _Atomic uint64_t *body_max;       /* BODY_WHOLE: read for each request; its value may change at any time */
        bool (*try_now)(struct http_request *rq, struct http_response *rs);             /* optional */
        bool (*try_soon)(struct http_request *rq);                                      /* optional */
        RESULT_FN(begin, (struct http_request *rq, struct http_response *rs, struct err *e));
        RESULT_FN(write, (struct http_request *rq, struct slice bytes, struct err *e));
        RESULT_FN(finish, (struct http_request *rq, struct http_response *rs, struct err *e));
        void (*broken)(struct http_request *rq);                                        /* optional */
        void (*fini)(struct http_request *rq);                                          /* optional */
};

struct http_app {
        const struct http_route *routes;
        size_t route_count;
        void *app;
        /* Turns an error into an answer, on any thread and without blocking: the handlers' (status 0: the application maps
         * e->code) and the engine's own (status set: 400, 404, 405, 408, 413, 414, 431, 501, 503, 505; e tells what is wrong).
         * Must set the response's status and body. */
        void (*fail)(struct http_request *rq, struct http_response *rs, int status, const struct err *e);
        /* May this request be run? Called on the loop after routing and before any handler; false: rs is the answer. */
        bool (*allow)(struct http_request *rq, struct http_response *rs);
};
