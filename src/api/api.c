/* The API as a whole, and what its handlers share. */
#include "api/internal.h"

#include "oci/error.h"
#include "oci/reference.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { CA_PEM_MAX = 64 * 1024, FINGERPRINT_MAX = 256, ERROR_BODY_MAX = 4096 };

/* --- Life ------------------------------------------------------------------------------------------------------------- */

static RESULT copy_routes(struct api *api, struct err *e)
{
        api->routes = calloc(api_route_count, sizeof *api->routes);
        if (!api->routes)
                return FAIL(e, ERR_NOMEM, ENOMEM, "prepare the routes");
        api->route_count = api_route_count;
        for (size_t i = 0; i < api_route_count; i++) {
                api->routes[i] = api_route_table[i];
                api->routes[i].body_max = &api->manifest_bytes_max;     /* only manifests arrive whole */
        }
        return OK;
}

RESULT api_new(const struct api_config *config, struct api **ret_api, struct err *e)
{
        _cleanup_(api_freep) struct api *api = calloc(1, sizeof *api);

        if (!api)
                return FAIL(e, ERR_NOMEM, ENOMEM, "prepare the API");
        pthread_mutex_init(&api->identity_lock, NULL);
        api->registry = config->registry;
        api->version = config->version;
        api->ca_pem = BUF_INIT(CA_PEM_MAX);
        api->fingerprint = BUF_INIT(FINGERPRINT_MAX);
        api_set_policy(api, &config->policy);
        if (config->cors_origin) {
                api->cors_origin = strdup(config->cors_origin);
                if (!api->cors_origin)
                        return FAIL(e, ERR_NOMEM, ENOMEM, "prepare the API");
        }
        TRY(copy_routes(api, e));
        *ret_api = TAKE_PTR(api);
        return OK;
}

void api_free(struct api *api)
{
        if (!api)
                return;
        buf_fini(&api->ca_pem);
        buf_fini(&api->fingerprint);
        pthread_mutex_destroy(&api->identity_lock);
        free(api->routes);
        free(api->cors_origin);
        free(api);
}

void api_set_policy(struct api *api, const struct api_policy *policy)
{
        api->read_only = policy->read_only;
        api->no_delete = policy->no_delete;
        api->manifest_bytes_max = policy->manifest_bytes_max;
        api->page_max = policy->page_max;
}

RESULT api_set_identity(struct api *api, const struct api_identity *identity, struct err *e)
{
        bool ok;

        pthread_mutex_lock(&api->identity_lock);
        buf_reset(&api->ca_pem);
        buf_reset(&api->fingerprint);
        buf_put(&api->ca_pem, identity->ca_pem);
        buf_put(&api->fingerprint, identity->fingerprint);
        ok = buf_ok(&api->ca_pem) && buf_ok(&api->fingerprint);
        pthread_mutex_unlock(&api->identity_lock);
        return ok ? OK : FAIL(e, ERR_LIMIT, 0, "the authority's certificate is larger than %d bytes", CA_PEM_MAX);
}

/* --- Errors ----------------------------------------------------------------------------------------------------------- */

/* What went wrong inside is for the log; the client gets what it needs to ask about it. That what it asks for is damaged, and that
 * a push mends it, it has to know. */
static struct slice client_message(struct http_request *rq, int status, const struct err *e)
{
        if (e->code == ERR_FULL)
                return S("the registry's storage is full; nothing that it holds is lost: make room, then push again");
        if (status < 500 || e->code == ERR_UNSUPPORTED || e->code == ERR_BUSY || e->code == ERR_LIMIT || e->code == ERR_INVALID ||
            (e->code == ERR_CORRUPT && !e->sys_errno))
                return slice_from(e->message);
        return api_text(rq, "the registry failed at this; its log tells why, beside request id %s", rq->id);
}

void api_fail(struct http_request *rq, struct http_response *rs, int status, const struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(ERROR_BODY_MAX);
        struct err ignored;

        if (status == 0)
                status = error_status(e->code);
        error_body(&body, error_name(e->code, status), client_message(rq, status, e));
        /* Without memory for the text the status alone has to do. */
        if (!api_answer_buf(rs, status, S("application/json"), &body, &ignored).ok)
                http_response_empty(rs, status);
        if (status == 503)
                http_response_header(rs, S("Retry-After"), S("5"));
}

/* Web pages of the origin that the configuration names may read the answer (Fetch standard, "CORS protocol"). */
static void cors_headers(struct api *api, struct http_response *rs)
{
        if (!api->cors_origin)
                return;
        http_response_header(rs, S("Access-Control-Allow-Origin"), slice_from(api->cors_origin));
        http_response_header(rs, S("Access-Control-Expose-Headers"),
                             S("Docker-Content-Digest, Link, Location, OCI-Subject, OCI-Tag, OCI-Filters-Applied, Range, "
                               "WWW-Authenticate"));
        if (strcmp(api->cors_origin, "*") != 0)
                http_response_header(rs, S("Vary"), S("Origin"));
}

static void app_fail(struct http_request *rq, struct http_response *rs, int status, const struct err *e)
{
        *rs = (struct http_response){ .fd = -1, .close = rs->close };
        cors_headers(api_of(rq), rs);
        api_fail(rq, rs, status, e);
}

void api_ended(void *request, struct result result, const struct err *e)
{
        http_request_answer(request, result, e);
}

static bool refuse(struct http_request *rq, struct http_response *rs, const char *message)
{
        struct err e;

        IGNORE(FAIL(&e, ERR_READ_ONLY, 0, "%s", message));
        api_fail(rq, rs, 0, &e);
        return false;
}

/* The permission that there is today: what the whole registry allows. */
static bool app_allow(struct http_request *rq, struct http_response *rs)
{
        struct api *api = api_of(rq);
        unsigned action = rq->route->action;

        cors_headers(api, rs);
        if (api->read_only && (action == ACTION_PUSH || action == ACTION_DELETE))
                return refuse(rq, rs, "this registry is read-only: it takes no pushes and no deletions");
        if (api->no_delete && action == ACTION_DELETE)
                return refuse(rq, rs, "this registry does not allow deletions");
        return true;
}

struct http_app api_http_app(struct api *api)
{
        return (struct http_app){
                .routes = api->routes,
                .route_count = api->route_count,
                .app = api,
                .fail = app_fail,
                .allow = app_allow,
        };
}

/* --- Parameters ------------------------------------------------------------------------------------------------------- */

RESULT api_repository(const struct http_request *rq, struct slice *ret_repository, struct err *e)
{
        TRY(reference_check_repository(rq->params[0], e));
        *ret_repository = rq->params[0];
        return OK;
}

RESULT api_digest(const struct http_request *rq, struct digest *ret_digest, struct err *e)
{
        return digest_parse(rq->params[1], ret_digest, e);
}

RESULT api_page_size(const struct http_request *rq, size_t *ret_n, struct err *e)
{
        struct slice text = http_request_query(rq, S("n"), 0);
        uint64_t n, max = api_of(rq)->page_max;

        if (!text.p)
                n = max;
        else if (!slice_to_u64(text, &n))
                return FAIL(e, ERR_INVALID, 0, "n must be a number of entries, not \"%.*s\"", SLICE_ARG(slice_head(text, 64)));
        *ret_n = (size_t)MIN(n, max);
        return OK;
}

/* --- Answers ---------------------------------------------------------------------------------------------------------- */

/* Clients decide how full the arena is (a page of referrers, a manifest's parts), so what the headers need may go past its bound:
 * that is a few KiB, a multiple of the request's own head. */
static char *api_memory(struct http_request *rq, size_t n)
{
        char *p = arena_alloc(rq->arena, n);

        if (!p) {
                rq->arena->max += n + 64;       /* and the arena's rounding */
                p = arena_alloc(rq->arena, n);
        }
        CHECK(p);                               /* the machine's memory is at its end */
        return p;
}

struct slice api_text(struct http_request *rq, const char *fmt, ...)
{
        _cleanup_free_ char *text = NULL;
        struct slice copy;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        CHECK(n >= 0);
        copy.n = (size_t)n;
        copy.p = memcpy(api_memory(rq, copy.n + 1), text, copy.n + 1);
        return copy;
}

struct slice api_digest_text(struct http_request *rq, const struct digest *digest)
{
        return api_text(rq, "%s", digest_format(digest).s);
}

struct slice api_percent_encode(struct http_request *rq, struct slice text)
{
        static const char digits[] = "0123456789ABCDEF";
        char *out = api_memory(rq, text.n * 3 + 1);
        size_t n = 0;

        for (size_t i = 0; i < text.n; i++) {
                unsigned char c = (unsigned char)text.p[i];

                if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-._~/:", c))) {
                        out[n++] = (char)c;
                } else {
                        out[n++] = '%';
                        out[n++] = digits[c >> 4];
                        out[n++] = digits[c & 15];
                }
        }
        return (struct slice){ out, n };
}

void api_digest_headers(struct http_request *rq, struct http_response *rs, const struct digest *digest)
{
        struct slice text = api_digest_text(rq, digest);

        http_response_header(rs, S("Docker-Content-Digest"), text);
        rs->etag = api_text(rq, "\"%.*s\"", SLICE_ARG(text));
}

static void release_object(void *object)
{
        registry_object_unref(object);
}

void api_use_object(struct http_response *rs, struct registry_object *object)
{
        rs->release = release_object;
        rs->release_arg = object;
        rs->etag = object->etag;
        http_response_header(rs, S("Docker-Content-Digest"), object->digest);
}

RESULT api_answer_buf(struct http_response *rs, int status, struct slice content_type, struct buf *body, struct err *e)
{
        if (!buf_ok(body))
                return FAIL(e, ERR_NOMEM, 0, "the answer is larger than %zu bytes", body->max);
        http_response_bytes(rs, status, content_type, buf_slice(body));
        rs->release = free;
        rs->release_arg = TAKE_PTR(body->p);
        buf_fini(body);
        return OK;
}

void api_link_next(struct http_request *rq, struct http_response *rs, struct slice path_and_query)
{
        http_response_header(rs, S("Link"), api_text(rq, "<%.*s>; rel=\"next\"", SLICE_ARG(path_and_query)));
}
