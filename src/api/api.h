/* The API: the table of routes and their handlers, between the HTTP engine and the registry.
 *
 *      api_new(&config, &api, e)
 *      struct http_app app = api_http_app(api);        hand it to the engine
 *      ...
 *      api_free(api)                                   after the engine has stopped
 *
 * Implements the distribution specification ("Endpoints" end-1 to end-13), `_catalog`, /healthz, /readyz, /ca.crt and the page
 * at /. Any thread. */
#pragma once

#include "base/cleanup.h"
#include "http/handler.h"
#include "registry/registry.h"

struct api;

/* What a manifest PUT by digest may name in ?tag=, at most: each is a response header. */
#define API_TAGS_PER_PUT_MAX 16

/* What may change while the registry runs. */
struct api_policy {
        bool read_only;                 /* pushes and deletions get 405 */
        bool no_delete;                 /* deletions get 405 */
        uint64_t manifest_bytes_max;
        uint64_t page_max;              /* entries of a page of tags, repositories or referrers */
};

struct api_config {
        struct registry *registry;      /* borrowed, outlives the API */
        const char *version;            /* static */
        /* The origin whose web pages may call this API (Fetch standard, "CORS protocol"), "*" for all; NULL: none. Copied. */
        const char *cors_origin;
        struct api_policy policy;
};

RESULT api_new(const struct api_config *config, struct api **ret_api, struct err *e);
void api_free(struct api *api);
DEFINE_CLEANUP(struct api *, api_free)
struct http_app api_http_app(struct api *api);
void api_set_policy(struct api *api, const struct api_policy *policy);         /* any time */

/* What the landing page and /ca.crt show; copied. Empty: no TLS, or not the registry's own authority. Any time. */
struct api_identity {
        struct slice ca_pem;
        struct slice fingerprint;       /* SHA-256 of the server's certificate */
};
RESULT api_set_identity(struct api *api, const struct api_identity *identity, struct err *e);
