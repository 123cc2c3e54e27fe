/* What the files of api/ share. */
#pragma once

#include "api/api.h"
#include "base/buf.h"
#include "oci/upload_id.h"

#include <pthread.h>
#include <stdatomic.h>

struct api {
        struct registry *registry;      /* borrowed */
        const char *version;
        char *cors_origin;              /* owned; NULL: none */
        _Atomic bool read_only, no_delete;
        _Atomic uint64_t manifest_bytes_max, page_max;
        struct http_route *routes;      /* owned: the table with the limits' places filled in */
        size_t route_count;
        pthread_mutex_t identity_lock;
        struct buf ca_pem, fingerprint; /* owned, under identity_lock */
};

/* What a policy must grant. Every route names one. */
enum api_action {
        ACTION_NONE,                    /* does not start */
        ACTION_PING,
        ACTION_SITE,                    /* the page, the authority's certificate, health */
        ACTION_PULL,
        ACTION_PUSH,
        ACTION_DELETE,
        ACTION_CATALOG,
};

static inline struct api *api_of(const struct http_request *rq)
{
        return rq->app;
}

static inline struct registry *registry_of(const struct http_request *rq)
{
        return api_of(rq)->registry;
}

/* The route's {name}. ERR_NAME_INVALID. */
RESULT api_repository(const struct http_request *rq, struct slice *ret_repository, struct err *e);
/* The route's {digest}. ERR_DIGEST_INVALID. */
RESULT api_digest(const struct http_request *rq, struct digest *ret_digest, struct err *e);
/* ?n=, lowered to the page's limit; the limit where it is absent. ERR_INVALID. */
RESULT api_page_size(const struct http_request *rq, size_t *ret_n, struct err *e);

/* Docker-Content-Digest and ETag. */
void api_digest_headers(struct http_request *rq, struct http_response *rs, const struct digest *digest);
/* The same headers, of an object from memory; the response takes the reference. */
void api_use_object(struct http_response *rs, struct registry_object *object);
/* Takes the buffer's bytes. ERR_NOMEM: it became too large. */
RESULT api_answer_buf(struct http_response *rs, int status, struct slice content_type, struct buf *body, struct err *e);
/* Link: <target>; rel="next" */
void api_link_next(struct http_request *rq, struct http_response *rs, struct slice path_and_query);
struct slice api_percent_encode(struct http_request *rq, struct slice text);

/* Text in the request's arena; never fails. For headers, not for bodies. */
struct slice api_text(struct http_request *rq, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct slice api_digest_text(struct http_request *rq, const struct digest *digest);

/* Answers an error; status 0: the one that belongs to its code. */
void api_fail(struct http_request *rq, struct http_response *rs, int status, const struct err *e);

/* For what a request began and does not wait for (try_soon): the request, which is the argument, is answered. */
void api_ended(void *request, struct result result, const struct err *e);

extern const struct http_route api_route_table[];
extern const size_t api_route_count;

/* The handlers, by file; routes.c has the table. */
bool blob_now(struct http_request *rq, struct http_response *rs);
RESULT blob_head(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT blob_get(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT blob_delete(struct http_request *rq, struct http_response *rs, struct err *e);

bool upload_post_soon(struct http_request *rq);
bool upload_patch_soon(struct http_request *rq);
bool upload_put_soon(struct http_request *rq);
RESULT upload_post(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT upload_post_finish(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT upload_get(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT upload_patch(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT upload_patch_finish(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT upload_put(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT upload_put_finish(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT upload_delete(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT upload_write(struct http_request *rq, struct slice bytes, struct err *e);
void upload_broken(struct http_request *rq);
void upload_fini(struct http_request *rq);

bool manifest_now(struct http_request *rq, struct http_response *rs);
RESULT manifest_get(struct http_request *rq, struct http_response *rs, struct err *e);
bool manifest_put_soon(struct http_request *rq);
RESULT manifest_put(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT manifest_delete(struct http_request *rq, struct http_response *rs, struct err *e);

RESULT tags_list(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT catalog_list(struct http_request *rq, struct http_response *rs, struct err *e);
RESULT referrers_list(struct http_request *rq, struct http_response *rs, struct err *e);

bool base_get(struct http_request *rq, struct http_response *rs);
bool preflight(struct http_request *rq, struct http_response *rs);
bool health_get(struct http_request *rq, struct http_response *rs);
RESULT ready_get(struct http_request *rq, struct http_response *rs, struct err *e);
bool landing_get(struct http_request *rq, struct http_response *rs);
bool authority_get(struct http_request *rq, struct http_response *rs);
